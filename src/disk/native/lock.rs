//! The lock that owning a store for writing means. No `unsafe` here: that is the file above.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::process;

use parking_lot::Mutex;

use crate::disk::Lock;

/// What a file is, whatever its name: device and inode.
pub(super) type Identity = (u64, u64);

pub(super) fn identity(file: &File) -> io::Result<Identity> {
    let meta = file.metadata()?;
    Ok((meta.dev(), meta.ino()))
}

/// The lock files that this process holds, with its id, since a child after `fork` inherits the
/// list but not what it says. File locks alone don't do on file systems that keep them by process.
static HELD: Mutex<Option<HashMap<Identity, u32>>> = Mutex::new(None);

fn held_here(held: &Option<HashMap<Identity, u32>>, file: Identity) -> bool {
    held.as_ref().is_some_and(|held| held.get(&file) == Some(&process::id()))
}

/// The lock on a store, held.
#[derive(Debug)]
pub(super) struct NativeLock {
    pub(super) file: File,
    identity: Identity,
    pid: u32,
}

impl Lock for NativeLock {}

/// Whether someone holds the lock on `file`, asked without taking it for longer than an instant.
pub(super) fn is_locked(file: &File) -> io::Result<bool> {
    if held_here(&HELD.lock(), identity(file)?) {
        return Ok(true);
    }
    match file.try_lock_shared() {
        Ok(()) => file.unlock().map(|()| false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(err)) => Err(err),
    }
}

impl NativeLock {
    /// Tries once, without waiting. Where someone else holds it: who, as they signed.
    pub(super) fn take(file: File) -> io::Result<Result<NativeLock, Option<u32>>> {
        let identity = identity(&file)?;
        let pid = process::id();
        let mut held = HELD.lock();
        if held_here(&held, identity) {
            return Ok(Err(Some(pid)));
        }
        match file.try_lock() {
            Ok(()) => {
                held.get_or_insert_default().insert(identity, pid);
                Ok(Ok(NativeLock { file, identity, pid }))
            }
            Err(TryLockError::WouldBlock) => Ok(Err(read_owner(&file))),
            Err(TryLockError::Error(err)) => Err(err),
        }
    }

    /// Writes into the file who holds it, for messages. Nothing else rests on it, so that it may
    /// fail; and it never shortens the file, so that it needs no new room on a full disk.
    pub(super) fn sign(&self) {
        let _ = self.file.write_all_at(format!("{:<10}\n", self.pid).as_bytes(), 0);
    }
}

impl Drop for NativeLock {
    fn drop(&mut self) {
        // The lock belongs to the open file, which a forked child shares: unlocked by the child it
        // would be gone for the parent.
        if self.pid != process::id() {
            return;
        }
        let mut held = HELD.lock();
        if let Some(held) = held.as_mut() {
            held.remove(&self.identity);
        }
        // Closing isn't enough: a child between fork and exec holds a copy of the descriptor.
        let _ = self.file.unlock();
    }
}

/// The process that signed a lock file, if what it holds reads as one.
fn read_owner(file: &File) -> Option<u32> {
    let mut text = [0; 16];
    let len = file.read_at(&mut text, 0).ok()?;
    std::str::from_utf8(&text[..len]).ok()?.lines().next()?.trim().parse().ok()
}
