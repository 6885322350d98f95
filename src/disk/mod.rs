//! The only door to the operating system: a directory of files behind a trait.
//!
//! The engine sees a [`Disk`]: one flat directory. `native` is the real one, `memory` keeps
//! everything in the process, and `sim` (feature `sim`) is the memory disk with a medium that
//! loses, tears and refuses. What each method promises, and what a crash may do to it, is said here
//! once, and all three keep it.
//!
//! Names are built by `format::names` from integers, never from input.

// Public for the tests and the fuzzers, under the feature `sim` alone.
#![cfg_attr(not(feature = "sim"), allow(unreachable_pub))]

pub(crate) mod memory;
pub(crate) mod native;
#[cfg(feature = "sim")]
pub mod sim;
#[cfg(test)]
mod tests;

use std::fmt::Debug;
use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

/// A directory of files that belongs to one store.
///
/// *Durable* below means: survives power loss. What was done but is not durable may, after power
/// loss, be there or not, in any combination and in any order; data in units of 512-byte sectors.
/// The death of the process alone loses nothing that a method returned from.
pub trait Disk: Debug + Send + Sync {
    /// The directory, for messages. Not necessarily a real path.
    fn path(&self) -> &Path;

    /// The names of all files in the directory, in no order. Subdirectories and links are left out.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Creates a file, open for reading and writing, mode 0600. `AlreadyExists` if there is
    /// anything of that name. The name is durable after [`sync_dir`](Disk::sync_dir).
    fn create(&self, name: &str) -> io::Result<Arc<dyn File>>;

    /// Opens a file for reading and writing. `NotFound` if it is missing; an error, not its target,
    /// if it is a symbolic link.
    fn open(&self, name: &str) -> io::Result<Arc<dyn File>>;

    /// Opens a file for reading alone; otherwise as [`open`](Disk::open).
    fn open_read_only(&self, name: &str) -> io::Result<Arc<dyn File>>;

    /// Atomically gives a file the name of another, which it replaces. Durable after
    /// [`sync_dir`](Disk::sync_dir); after a crash before that, either name's old state may be
    /// back.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a name. Open handles and mappings of the file stay good. Durable after
    /// [`sync_dir`](Disk::sync_dir).
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes all creations, renames and removals so far durable.
    fn sync_dir(&self) -> io::Result<()>;

    /// Gives this directory, under `name`, a file whose first `len` bytes are those of `file`,
    /// without copying them: its blocks shared, or the same file under a second name. Both promise
    /// the caller's: nobody writes those bytes again. `false`, and nothing done, where that can't
    /// be had: then they are copied. They are durable if they were, and the name after
    /// [`sync_dir`](Disk::sync_dir). `AlreadyExists` if there is anything of that name.
    fn adopt(&self, name: &str, file: &dyn File, len: u64) -> io::Result<bool>;

    /// Takes the exclusive lock that owning the store for writing means, on the file `name`, which
    /// is created where missing. `Ok(Err(owner))` if someone else holds it, with the process where
    /// that is known. The lock is given back when the guard drops.
    fn lock(&self, name: &str) -> io::Result<Result<Box<dyn Lock>, Option<u32>>>;

    /// Whether someone holds the lock on the file `name` just now. Changes nothing.
    fn is_locked(&self, name: &str) -> io::Result<bool>;

    /// Creates the file `name`, or replaces what it holds, with `header` followed by zeros up to
    /// `len` bytes, its blocks written so that they exist, and maps it for writing: the one
    /// writable mapping there is. `None` on a file system that isn't known to overwrite in place.
    fn create_tail(
        &self,
        name: &str,
        header: &[u8],
        len: usize,
    ) -> io::Result<Option<Box<dyn TailMap>>>;

    /// Whether this process may still use its handles: false in a child after `fork`.
    fn same_process(&self) -> bool {
        true
    }
}

/// Held while a store is owned for writing.
pub trait Lock: Debug + Send + Sync {}

/// One open file.
#[allow(clippy::len_without_is_empty)]
pub trait File: Debug + Send + Sync {
    /// The length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Reads exactly `buf.len()` bytes at `offset`; `UnexpectedEof` if the file ends before.
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()>;

    /// Writes all of `buf` at `offset`, extending the file where needed. After an error any part of
    /// it may have been written. Durable after [`sync`](File::sync).
    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()>;

    /// Makes the file's bytes and length durable. After an error nothing is known about any write
    /// since the last success, also not after a later success: the kernel may have marked the
    /// pages clean.
    fn sync(&self) -> io::Result<()>;

    /// Allocates room for `len` bytes at `offset`, which then read as zeros, and extends the file
    /// over it, so that writes there neither run out of space nor grow the file. Bytes that the
    /// file already has in the range stay. A full disk is an error of kind `StorageFull`, and
    /// nothing is changed. Where the file system can't, a no-op: the length is then what it was.
    fn reserve(&self, offset: u64, len: u64) -> io::Result<()>;

    /// Cuts or extends the file, with zeros, to `len` bytes.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// The operating system's handle, where there is one.
    fn handle(&self) -> Option<&std::fs::File> {
        None
    }

    /// Maps the file's first `capacity` bytes for reading, also those that it doesn't have yet.
    /// `None` where there are no mappings: then readers use `read_exact_at`.
    fn map(&self, capacity: u64) -> io::Result<Option<Arc<dyn Map>>>;
}

/// A read-only, shared mapping of a file that may still grow.
pub trait Map: Debug + Send + Sync {
    /// The first `len` bytes, without a copy. The caller promises that the file has them and that
    /// they will never be written again: no slice ever spans bytes that still change. The mapping
    /// lives as long as any slice of it.
    fn prefix(self: Arc<Self>, len: u64) -> Bytes;
}

/// The tail file's writable mapping.
pub trait TailMap: Debug + Send + Sync {
    /// Copies `bytes` to `offset`. The kernel has them when this returns, so they survive the death
    /// of the process; power loss may keep any subset of the pages.
    ///
    /// # Panics
    /// If the range is not inside the mapping.
    fn store(&mut self, offset: usize, bytes: &[u8]);

    /// Writes the `len` bytes at `offset` to `file` at `to`, as [`File::write_all_at`] does. From a
    /// real mapping it makes no copy of them first.
    ///
    /// # Panics
    /// If the range is not inside the mapping.
    fn write_to(&self, offset: usize, len: usize, file: &dyn File, to: u64) -> io::Result<()>;
}
