//! A disk in memory, for stores that need not outlive the process, and for tests.
//!
//! Clones share the disk, so a store can be closed and opened again on it. Nothing is ever lost and
//! no call waits; the syncs do nothing. There are no mappings to read from, so readers of a memory
//! disk take the path that reads through [`File::read_exact_at`].

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::process;
use std::sync::Arc;

use super::{Disk, File, Lock, Map, TailMap};
use crate::sync::{Mutex, RwLock};

/// A directory in memory.
#[derive(Clone, Debug, Default)]
pub(crate) struct MemoryDisk {
    dir: Arc<Mutex<Directory>>,
}

#[derive(Debug, Default)]
struct Directory {
    files: BTreeMap<String, Content>,
    locked: BTreeSet<String>,
}

/// A file's bytes: shared by its name, its handles and its mapping, like an inode.
#[derive(Clone, Default)]
struct Content(Arc<RwLock<Vec<u8>>>);

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.0.read().len())
    }
}

impl MemoryDisk {
    /// An empty disk.
    pub(crate) fn new() -> MemoryDisk {
        MemoryDisk::default()
    }

    fn handle(&self, name: &str, writable: bool) -> io::Result<Arc<dyn File>> {
        let dir = self.dir.lock();
        let content = dir.files.get(name).ok_or(io::ErrorKind::NotFound)?.clone();
        Ok(Arc::new(MemoryFile { content, writable }))
    }
}

impl Disk for MemoryDisk {
    fn path(&self) -> &Path {
        Path::new("(memory)")
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.dir.lock().files.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let mut dir = self.dir.lock();
        if dir.files.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let content = Content::default();
        dir.files.insert(name.to_owned(), content.clone());
        Ok(Arc::new(MemoryFile { content, writable: true }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        self.handle(name, true)
    }

    fn open_read_only(&self, name: &str) -> io::Result<Arc<dyn File>> {
        self.handle(name, false)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut dir = self.dir.lock();
        let content = dir.files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        dir.files.insert(to.to_owned(), content);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.dir.lock().files.remove(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(())
    }

    fn sync_dir(&self) -> io::Result<()> {
        Ok(())
    }

    fn adopt(&self, name: &str, _file: &dyn File, _len: u64) -> io::Result<bool> {
        match self.dir.lock().files.contains_key(name) {
            true => Err(io::ErrorKind::AlreadyExists.into()),
            false => Ok(false),
        }
    }

    fn lock(&self, name: &str) -> io::Result<Result<Box<dyn Lock>, Option<u32>>> {
        let mut dir = self.dir.lock();
        if !dir.locked.insert(name.to_owned()) {
            return Ok(Err(Some(process::id())));
        }
        dir.files.entry(name.to_owned()).or_default();
        Ok(Ok(Box::new(MemoryLock { disk: self.clone(), name: name.to_owned() })))
    }

    fn is_locked(&self, name: &str) -> io::Result<bool> {
        Ok(self.dir.lock().locked.contains(name))
    }

    fn create_tail(
        &self,
        name: &str,
        header: &[u8],
        len: usize,
    ) -> io::Result<Option<Box<dyn TailMap>>> {
        let content = self.dir.lock().files.entry(name.to_owned()).or_default().clone();
        let mut bytes = header.to_vec();
        bytes.resize(len, 0);
        *content.0.write() = bytes;
        Ok(Some(Box::new(MemoryTail { content })))
    }
}

#[derive(Debug)]
struct MemoryFile {
    content: Content,
    writable: bool,
}

impl MemoryFile {
    fn check_writable(&self) -> io::Result<()> {
        if self.writable { Ok(()) } else { Err(io::ErrorKind::PermissionDenied.into()) }
    }
}

impl File for MemoryFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.content.0.read().len() as u64)
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        read_exact_at(&self.content.0.read(), buf, offset)
    }

    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.check_writable()?;
        write_all_at(&mut self.content.0.write(), buf, offset)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn reserve(&self, offset: u64, len: u64) -> io::Result<()> {
        self.check_writable()?;
        let end = end_of(offset, len)?;
        let mut bytes = self.content.0.write();
        if end > bytes.len() {
            bytes.resize(end, 0);
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.check_writable()?;
        self.content.0.write().resize(end_of(0, len)?, 0);
        Ok(())
    }

    fn map(&self, _capacity: u64) -> io::Result<Option<Arc<dyn Map>>> {
        Ok(None)
    }
}

/// Reads from a file's bytes as [`File::read_exact_at`] does.
pub(super) fn read_exact_at(bytes: &[u8], buf: &mut [u8], offset: u64) -> io::Result<()> {
    let end = end_of(offset, buf.len() as u64)?;
    let found = bytes.get(end - buf.len()..end).ok_or(io::ErrorKind::UnexpectedEof)?;
    buf.copy_from_slice(found);
    Ok(())
}

/// Writes to a file's bytes as [`File::write_all_at`] does; a gap reads as zeros.
pub(super) fn write_all_at(bytes: &mut Vec<u8>, buf: &[u8], offset: u64) -> io::Result<()> {
    if buf.is_empty() {
        return Ok(());
    }
    let end = end_of(offset, buf.len() as u64)?;
    if end > bytes.len() {
        bytes.resize(end, 0);
    }
    bytes[end - buf.len()..end].copy_from_slice(buf);
    Ok(())
}

/// Where a range ends, if memory can hold a file of that length.
pub(super) fn end_of(offset: u64, len: u64) -> io::Result<usize> {
    offset
        .checked_add(len)
        .and_then(|end| isize::try_from(end).ok())
        .map(isize::unsigned_abs)
        .ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

#[derive(Debug)]
struct MemoryLock {
    disk: MemoryDisk,
    name: String,
}

impl Lock for MemoryLock {}

impl Drop for MemoryLock {
    fn drop(&mut self) {
        self.disk.dir.lock().locked.remove(&self.name);
    }
}

#[derive(Debug)]
struct MemoryTail {
    content: Content,
}

impl TailMap for MemoryTail {
    fn store(&mut self, offset: usize, bytes: &[u8]) {
        self.content.0.write()[offset..offset + bytes.len()].copy_from_slice(bytes);
    }

    fn write_to(&self, offset: usize, len: usize, file: &dyn File, to: u64) -> io::Result<()> {
        let bytes = self.content.0.read()[offset..offset + len].to_vec();
        file.write_all_at(&bytes, to)
    }
}
