//! Small files that are read and replaced as a whole: the manifest, and a backup's.

use std::io;

use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::format::file::HeaderError;
use crate::format::names;
use crate::zoo::{Bug, planted, unless};

/// A longer file is none of ours: more than any number of segments and kinds comes to.
const MAX_LEN: u64 = 1 << 30;

/// Reads a file and decodes it; `None` if there is none.
pub(crate) fn read<T>(
    disk: &dyn Disk,
    name: &str,
    decode: impl FnOnce(&[u8]) -> Result<T, HeaderError>,
) -> Result<Option<T>> {
    let path = disk.path().join(name);
    let read = || -> io::Result<Vec<u8>> {
        let file = disk.open_read_only(name)?;
        let len = file.len()?;
        if len > MAX_LEN {
            let reason = format!("the file has {len} bytes, at most {MAX_LEN}");
            return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
        }
        let mut bytes = vec![0; len as usize];
        file.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    };
    let bytes = match read() {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) if e.kind() == io::ErrorKind::InvalidData => {
            return Err(Error::corrupt(path, MAX_LEN, e.to_string()));
        }
        read => read.map_err(|e| Error::io("read", &path, e))?,
    };
    match decode(&bytes) {
        Ok(decoded) => Ok(Some(decoded)),
        Err(HeaderError::Unknown(found)) => Err(Error::Version { file: path, found }),
        Err(HeaderError::Damaged(reason)) => Err(Error::corrupt(path, 0, reason)),
    }
}

/// Writes and syncs a file's next state under the name `new`. Nothing depends on it yet.
pub(crate) fn write_new(disk: &dyn Disk, new: &str, bytes: &[u8]) -> Result<()> {
    let write = || -> io::Result<()> {
        match disk.remove(new) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let file = disk.create(new)?;
        if planted(Bug::ManifestRenamedFirst) && new == names::MANIFEST_NEW {
            disk.rename(new, names::MANIFEST)?;
        }
        file.write_all_at(bytes, 0)?;
        unless(Bug::ManifestNotSynced, || file.sync())
    };
    write().map_err(|e| Error::io("write", disk.path().join(new), e))
}

/// Puts the next state in the place of the last one, durably. After an error either may be there.
pub(crate) fn switch(disk: &dyn Disk, new: &str, name: &str) -> Result<()> {
    unless(Bug::ManifestRenamedFirst, || disk.rename(new, name))
        .map_err(|e| Error::io("rename", disk.path().join(new), e))?;
    unless(Bug::ManifestNameNotSynced, || disk.sync_dir())
        .map_err(|e| Error::io("sync", disk.path(), e))
}
