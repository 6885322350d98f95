//! A file of which a medium that fails can't read every part.
//!
//! Whoever saves what is sound goes on where everybody else stops: what can't be read is read as
//! bytes that are no frame, so that it is passed over as damage, and it is known afterwards which
//! damage was that.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use crate::disk::{File, Map};
use crate::error::{Error, Result};
use crate::sync::Mutex;

/// What is said of what the medium failed to read.
pub(super) const UNREADABLE: &str = "it can't be read: the medium failed";
/// What stands in the place of what can't be read. Zeros would be room that was never written.
const FILLER: u8 = 0xff;
/// What can't be read whole is read in pieces of this size.
const PIECE_LEN: u64 = 4 << 10;
/// How Linux and macOS say that the medium failed.
const EIO: i32 = 5;

/// Reads on behind what can't be read. Writes nothing.
#[derive(Debug)]
pub(super) struct Lenient {
    file: Arc<dyn File>,
    /// The pieces that can't be read, by number.
    unreadable: Mutex<BTreeSet<u64>>,
}

impl Lenient {
    pub(super) fn new(file: Arc<dyn File>) -> Lenient {
        Lenient { file, unreadable: Mutex::default() }
    }

    /// Whether something in a range was asked for and could not be read.
    pub(super) fn failed_in(&self, range: Range<u64>) -> bool {
        let pieces = range.start / PIECE_LEN..range.end.div_ceil(PIECE_LEN);
        !pieces.is_empty() && self.unreadable.lock().range(pieces).next().is_some()
    }

    /// What is wrong with a range that is called `bad`.
    pub(super) fn why(&self, range: Range<u64>, bad: &dyn Display) -> String {
        if self.failed_in(range) { UNREADABLE.to_owned() } else { bad.to_string() }
    }

    fn read_pieces(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let (mut at, mut left) = (offset, buf);
        while !left.is_empty() {
            let piece = at / PIECE_LEN;
            let len = ((piece + 1) * PIECE_LEN - at).min(left.len() as u64);
            let (part, rest) = left.split_at_mut(len as usize);
            let known = self.unreadable.lock().contains(&piece);
            let read = if known { Err(medium_error()) } else { self.file.read_exact_at(part, at) };
            match read {
                Err(error) if is_of_medium(&error) => {
                    self.unreadable.lock().insert(piece);
                    part.fill(FILLER);
                }
                read => read?,
            }
            (at, left) = (at + len, rest);
        }
        Ok(())
    }
}

impl File for Lenient {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        if self.failed_in(offset..offset + buf.len() as u64) {
            return self.read_pieces(buf, offset);
        }
        match self.file.read_exact_at(buf, offset) {
            Err(error) if is_of_medium(&error) => self.read_pieces(buf, offset),
            read => read,
        }
    }

    fn write_all_at(&self, _buf: &[u8], _offset: u64) -> io::Result<()> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    fn sync(&self) -> io::Result<()> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    fn reserve(&self, _offset: u64, _len: u64) -> io::Result<()> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    fn set_len(&self, _len: u64) -> io::Result<()> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    fn map(&self, _capacity: u64) -> io::Result<Option<Arc<dyn Map>>> {
        Ok(None)
    }
}

fn medium_error() -> io::Error {
    io::Error::from_raw_os_error(EIO)
}

fn is_of_medium(error: &io::Error) -> bool {
    error.raw_os_error() == Some(EIO)
}

/// Why a file can't be read, where the directory is at fault and not this process, which may not,
/// or can't now: the file is damaged, the medium fails, or what has the file's name is no file.
///
/// # Errors
/// Any other error.
pub(super) fn not_to_be_read(error: Error) -> Result<String> {
    match error {
        Error::Corrupt { reason, .. } => Ok(reason),
        Error::Io { source, .. } if is_of_medium(&source) => Ok(UNREADABLE.to_owned()),
        Error::Io { source, .. } if source.kind() == io::ErrorKind::InvalidInput => {
            Ok(source.to_string())
        }
        error => Err(error),
    }
}

#[cfg(all(test, feature = "sim", not(kindlog_shuttle)))]
mod tests;
