//! The manifest as a file that is replaced: write new, fsync, rename, fsync the directory.

use std::io;
use std::sync::Arc;

use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::format::file::HeaderError;
use crate::format::manifest::Manifest;
use crate::format::names;
use crate::sync::Mutex;
use crate::zoo::{Bug, planted, unless};

/// A longer file is none of ours: more than any number of segments and kinds comes to.
const MAX_LEN: u64 = 1 << 30;

/// The manifest on disk and its last state. The lock is held across a replacement.
#[derive(Debug)]
pub(crate) struct ManifestFile {
    disk: Arc<dyn Disk>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    manifest: Manifest,
    /// A replacement failed where either the old or the new state may be the durable one.
    in_doubt: bool,
}

impl ManifestFile {
    /// Starts from what was read, or from a new store's manifest that is not written yet.
    pub(crate) fn new(disk: Arc<dyn Disk>, manifest: Manifest) -> ManifestFile {
        ManifestFile { disk, state: Mutex::new(State { manifest, in_doubt: false }) }
    }

    /// Reads the manifest; `None` if there is none.
    pub(crate) fn read(disk: &dyn Disk) -> Result<Option<Manifest>> {
        let path = disk.path().join(names::MANIFEST);
        let read = || -> io::Result<Vec<u8>> {
            let file = disk.open_read_only(names::MANIFEST)?;
            let len = file.len()?;
            if len > MAX_LEN {
                let reason = format!("a manifest of {len} bytes, at most {MAX_LEN}");
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
        match Manifest::decode_file(&bytes) {
            Ok(manifest) => Ok(Some(manifest)),
            Err(HeaderError::Unknown(found)) => Err(Error::Version { file: path, found }),
            Err(HeaderError::Damaged(reason)) => Err(Error::corrupt(path, 0, reason)),
        }
    }

    /// The last state.
    pub(crate) fn get(&self) -> Manifest {
        self.state.lock().manifest.clone()
    }

    /// Refuses when it can't be known which manifest is on disk: it may name files that the last
    /// state doesn't, and those must not be replaced.
    pub(crate) fn check_known(&self) -> Result<()> {
        if self.state.lock().in_doubt { Err(Error::Poisoned) } else { Ok(()) }
    }

    /// Changes the manifest, durably. After an error the old state stands; if it can't be known
    /// which of the two is on disk, every later change is refused.
    pub(crate) fn update(&self, change: impl FnOnce(&mut Manifest)) -> Result<()> {
        let mut state = self.state.lock();
        if state.in_doubt {
            return Err(Error::Poisoned);
        }
        let mut next = state.manifest.clone();
        change(&mut next);
        self.write_new(&next.encode_file())?;
        let path = self.disk.path();
        let renamed = unless(Bug::ManifestRenamedFirst, || self.rename_new())
            .map_err(|e| Error::io("rename", path.join(names::MANIFEST_NEW), e))
            .and_then(|()| {
                let named = unless(Bug::ManifestNameNotSynced, || self.disk.sync_dir());
                named.map_err(|e| Error::io("sync", path, e))
            });
        if renamed.is_err() {
            state.in_doubt = true;
            return renamed;
        }
        state.manifest = next;
        Ok(())
    }

    fn rename_new(&self) -> io::Result<()> {
        self.disk.rename(names::MANIFEST_NEW, names::MANIFEST)
    }

    /// Writes and syncs the new file. Nothing depends on it yet.
    fn write_new(&self, bytes: &[u8]) -> Result<()> {
        let write = || -> io::Result<()> {
            match self.disk.remove(names::MANIFEST_NEW) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
            let file = self.disk.create(names::MANIFEST_NEW)?;
            if planted(Bug::ManifestRenamedFirst) {
                self.rename_new()?;
            }
            file.write_all_at(bytes, 0)?;
            unless(Bug::ManifestNotSynced, || file.sync())
        };
        write().map_err(|e| Error::io("write", self.disk.path().join(names::MANIFEST_NEW), e))
    }
}
