//! The disk's contract, kept by a [`SimDisk`]: what the engine holds.

use std::io;
use std::path::Path;
use std::process;
use std::sync::Arc;

use super::medium::{Change, InodeId};
use super::{OpKind, SimDisk, State};
use crate::disk::memory::read_exact_at;
use crate::disk::{Disk, File, Lock, Map, TailMap};
use crate::sync::MutexGuard;

impl SimDisk {
    fn handle(&self, name: &str, writable: bool) -> io::Result<Arc<dyn File>> {
        let mut state = self.begin(OpKind::Open, name);
        state.look(OpKind::Open, name)?;
        let inode = state.medium.inode_of(name)?;
        let pin = state.medium.pin(inode);
        Ok(Arc::new(SimFile {
            disk: self.clone(),
            name: name.to_owned(),
            inode,
            writable,
            _pin: pin,
        }))
    }

    fn run(&self, file: &str, change: Change) -> io::Result<()> {
        self.begin(change.kind(), file).run(file, change)
    }

    /// Waits if the operation is to be held up.
    fn begin(&self, kind: OpKind, file: &str) -> MutexGuard<'_, State> {
        let mut state = self.state.lock();
        if let Some(held_up) = state.held_up.take_if(|held_up| (held_up.matches)(kind, file)) {
            drop(state);
            (held_up.wait)();
            state = self.state.lock();
        }
        state
    }
}

impl Disk for SimDisk {
    fn path(&self) -> &Path {
        Path::new("(simulated)")
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut state = self.state.lock();
        state.look(OpKind::Open, "")?;
        Ok(state.medium.names())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let mut state = self.state.lock();
        state.run(name, Change::Create { name: name.to_owned() })?;
        let inode = state.medium.inode_of(name)?;
        let pin = state.medium.pin(inode);
        let (disk, name) = (self.clone(), name.to_owned());
        Ok(Arc::new(SimFile { disk, name, inode, writable: true, _pin: pin }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        self.handle(name, true)
    }

    fn open_read_only(&self, name: &str) -> io::Result<Arc<dyn File>> {
        self.handle(name, false)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.run(to, Change::Rename { from: from.to_owned(), to: to.to_owned() })
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.run(name, Change::Remove { name: name.to_owned() })
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.run("", Change::SyncDir)
    }

    fn adopt(&self, name: &str, _file: &dyn File, _len: u64) -> io::Result<bool> {
        let mut state = self.state.lock();
        state.look(OpKind::Open, name)?;
        match state.medium.inode_of(name) {
            Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
            Err(_) => Ok(false),
        }
    }

    fn lock(&self, name: &str) -> io::Result<Result<Box<dyn Lock>, Option<u32>>> {
        let mut state = self.state.lock();
        state.check_alive()?;
        if state.locked.contains(name) {
            return Ok(Err(Some(process::id())));
        }
        state.run(name, Change::Touch { name: name.to_owned() })?;
        state.locked.insert(name.to_owned());
        Ok(Ok(Box::new(SimLock { disk: self.clone(), name: name.to_owned() })))
    }

    fn is_locked(&self, name: &str) -> io::Result<bool> {
        let mut state = self.begin(OpKind::Open, name);
        state.look(OpKind::Open, name)?;
        Ok(state.locked.contains(name))
    }

    fn create_tail(
        &self,
        name: &str,
        header: &[u8],
        len: usize,
    ) -> io::Result<Option<Box<dyn TailMap>>> {
        let mut state = self.state.lock();
        if state.without_tail {
            return Ok(None);
        }
        let mut bytes = header.to_vec();
        bytes.resize(len, 0);
        state.run(name, Change::CreateTail { name: name.to_owned(), bytes })?;
        let inode = state.medium.inode_of(name)?;
        let pin = state.medium.pin(inode);
        let (disk, name) = (self.clone(), name.to_owned());
        Ok(Some(Box::new(SimTail { disk, name, inode, len, _pin: pin })))
    }
}

#[derive(Debug)]
struct SimFile {
    disk: SimDisk,
    /// The name it was opened by, for the trace.
    name: String,
    inode: InodeId,
    writable: bool,
    _pin: Arc<()>,
}

impl SimFile {
    fn change(&self, change: Change) -> io::Result<()> {
        if !self.writable {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        self.disk.run(&self.name, change)
    }
}

impl File for SimFile {
    fn len(&self) -> io::Result<u64> {
        let mut state = self.disk.begin(OpKind::Read, &self.name);
        state.look(OpKind::Read, &self.name)?;
        Ok(state.medium.bytes(self.inode).len() as u64)
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let mut state = self.disk.begin(OpKind::Read, &self.name);
        state.look(OpKind::Read, &self.name)?;
        state.check_readable(&self.name, offset..offset + buf.len() as u64)?;
        read_exact_at(state.medium.bytes(self.inode), buf, offset)
    }

    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.change(Change::Write { inode: self.inode, offset, bytes: buf.to_vec() })
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.run(&self.name, Change::Sync { inode: self.inode })
    }

    fn reserve(&self, offset: u64, len: u64) -> io::Result<()> {
        self.change(Change::Reserve { inode: self.inode, offset, len })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.change(Change::SetLen { inode: self.inode, len })
    }

    fn map(&self, _capacity: u64) -> io::Result<Option<Arc<dyn Map>>> {
        Ok(None)
    }
}

#[derive(Debug)]
struct SimLock {
    disk: SimDisk,
    name: String,
}

impl Lock for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        self.disk.state.lock().locked.remove(&self.name);
    }
}

#[derive(Debug)]
struct SimTail {
    disk: SimDisk,
    name: String,
    inode: InodeId,
    len: usize,
    _pin: Arc<()>,
}

impl TailMap for SimTail {
    fn store(&mut self, offset: usize, bytes: &[u8]) {
        assert!(offset <= self.len && bytes.len() <= self.len - offset);
        let (offset, bytes) = (offset as u64, bytes.to_vec());
        let change = Change::TailStore { inode: self.inode, offset, bytes };
        // A dead process stores nothing, and nobody is left to hear of it.
        let _ = self.disk.run(&self.name, change);
    }

    fn write_to(&self, offset: usize, len: usize, file: &dyn File, to: u64) -> io::Result<()> {
        let bytes = self.disk.state.lock().medium.bytes(self.inode)[offset..offset + len].to_vec();
        file.write_all_at(&bytes, to)
    }
}
