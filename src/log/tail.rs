//! The tail file: how a commit reaches the kernel without a system call, and how recovery gets it
//! back.
//!
//! What the segment lacks is copied into a small mapped ring; the segment's own write comes later
//! and in bulk. The pages are the kernel's, so they outlive the process. Power loss may lose any of
//! them, and what it promises rests on the segment and its fsync alone.

use std::io;
use std::path::{Path, PathBuf};

use crate::disk::{Disk, File, TailMap};
use crate::error::{Error, Result};
use crate::format::file::HeaderError;
use crate::format::names;
use crate::format::segment::StoreId;
use crate::format::tail::{MAX_LEN, RING_LEN, RING_OFFSET, decode_header, encode_header};
use crate::log::scan;
use crate::zoo::{Bug, planted};

/// The tail file takes a commit if no more than this lies behind the segment file's end with it.
pub(crate) const MAX_UNWRITTEN_LEN: u64 = RING_LEN as u64 / 4 * 3;

/// The tail file, mapped for writing.
#[derive(Debug)]
pub(crate) struct Tail {
    map: Box<dyn TailMap>,
}

impl Tail {
    /// Creates the file; durable when this returns. `None` where the file system isn't known to
    /// overwrite in place. The manifest does not name it yet: if it can't be made, what there is of
    /// it goes, and takes no room.
    pub(crate) fn create(disk: &dyn Disk, store_id: &StoreId) -> io::Result<Option<Tail>> {
        let len = RING_OFFSET + RING_LEN;
        let made = disk.create_tail(names::TAIL, &encode_header(store_id), len);
        let made = made.and_then(|map| disk.sync_dir().map(|()| map));
        if made.is_err() {
            let _ = disk.remove(names::TAIL);
        }
        Ok(made?.map(|map| Tail { map }))
    }

    /// Copies the log's bytes at `position`. The caller sees to it that what they overwrite, a ring
    /// length before, is in its segment.
    pub(crate) fn store(&mut self, position: u64, bytes: &[u8]) {
        let (at, len) = in_ring(position, bytes.len());
        let (first, rest) = bytes.split_at(len);
        self.map.store(at, first);
        if !rest.is_empty() {
            self.map.store(RING_OFFSET, rest);
        }
    }

    /// Writes the log's bytes at `position`, no more than a ring's and all of them here, to their
    /// segment's file at `offset`.
    pub(crate) fn write_to(
        &self,
        file: &dyn File,
        position: u64,
        len: usize,
        offset: u64,
    ) -> io::Result<()> {
        let (at, first) = in_ring(position, len);
        self.map.write_to(at, first, file, offset)?;
        match len - first {
            0 => Ok(()),
            rest => self.map.write_to(RING_OFFSET, rest, file, offset + first as u64),
        }
    }
}

/// Where in the file the bytes at `position` begin, and how many of `len` lie before the ring's
/// end.
fn in_ring(position: u64, len: usize) -> (usize, usize) {
    let at = (position % RING_LEN as u64) as usize;
    (RING_OFFSET + at, len.min(RING_LEN - at))
}

/// A copy of the ring that a dead process left.
pub(crate) struct TailCopy {
    ring: Vec<u8>,
}

impl TailCopy {
    /// Reads the tail file that the manifest says is there.
    pub(crate) fn read(disk: &dyn Disk, store_id: &StoreId) -> Result<TailCopy> {
        let path = disk.path().join(names::TAIL);
        match disk.open_read_only(names::TAIL) {
            Ok(file) => TailCopy::read_file(&*file, &path, store_id),
            Err(error) => Err(TailCopy::not_opened(path, error)),
        }
    }

    /// The error of a tail file that can't be opened.
    pub(crate) fn not_opened(path: PathBuf, error: io::Error) -> Error {
        match error.kind() {
            io::ErrorKind::NotFound => {
                Error::corrupt(path, 0, "the tail file is missing: the manifest names it")
            }
            _ => Error::io("read", path, error),
        }
    }

    /// Reads it from a file.
    pub(crate) fn read_file(file: &dyn File, path: &Path, store_id: &StoreId) -> Result<TailCopy> {
        let read = || -> io::Result<Vec<u8>> {
            let mut bytes = vec![0; file.len()?.min(MAX_LEN) as usize];
            file.read_exact_at(&mut bytes, 0)?;
            Ok(bytes)
        };
        let mut bytes = read().map_err(|e| Error::io("read", path, e))?;
        match decode_header(&bytes) {
            Err(HeaderError::Unknown(found)) => {
                Err(Error::Version { file: path.to_owned(), found })
            }
            Err(HeaderError::Damaged(reason)) => Err(Error::corrupt(path, 0, reason)),
            Ok((id, _)) if id != *store_id => {
                Err(Error::corrupt(path, 0, "the tail file belongs to another store"))
            }
            Ok((_, ring_len)) if bytes.len() < RING_OFFSET + ring_len => {
                Err(Error::corrupt(path, bytes.len() as u64, "the tail file is cut short"))
            }
            Ok((_, ring_len)) => {
                bytes.truncate(RING_OFFSET + ring_len);
                Ok(TailCopy { ring: bytes.split_off(RING_OFFSET) })
            }
        }
    }

    /// The frames that continue a segment at `position` without a gap.
    pub(crate) fn following(&self, salt: u64, position: u64) -> Vec<u8> {
        let mut bytes = self.ring.clone();
        bytes.rotate_left((position % self.ring.len() as u64) as usize);
        if !planted(Bug::TrustTail) {
            bytes.truncate(scan::frames_len(&bytes, salt, position));
        }
        bytes
    }
}
