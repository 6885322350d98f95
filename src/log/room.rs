//! Room in a file ahead of what is written to it.

use super::active::TRAILER_LEN;
use super::segment::Segment;
use crate::error::{Error, Result};
use crate::zoo::{Bug, planted};

/// The steps in which the file's room is allocated ahead of its end.
const MIN_RESERVE: u64 = 64 << 10;
const MAX_RESERVE: u64 = 4 << 20;
const TIGHT_RESERVE: u64 = 4 << 10;

/// How far a segment's file has its blocks.
#[derive(Debug)]
pub(crate) struct Room {
    reserved: u64,
    /// The disk had no room for a step ahead: from then on steps are small.
    tight: bool,
}

impl Room {
    /// Of a file that ends at `end`.
    pub(crate) fn upto(end: u64) -> Room {
        Room { reserved: end, tight: false }
    }

    /// Allocates the file's blocks for `len` bytes behind `end`, those of a trailer, and a step
    /// ahead, so that a full disk shows before anything is written.
    pub(crate) fn reserve(&mut self, segment: &Segment, end: u64, len: u64) -> Result<()> {
        let need = end + len + TRAILER_LEN;
        if need <= self.reserved || planted(Bug::OrderWithoutRoom) {
            return Ok(());
        }
        let step = match self.tight {
            true => TIGHT_RESERVE,
            false => end.clamp(MIN_RESERVE, MAX_RESERVE),
        };
        let want = (need + step).min(segment.capacity).max(need);
        let reserve = |to: u64| segment.file.reserve(self.reserved, to - self.reserved);
        // Near the end of the disk what is needed may still fit where the step ahead does not.
        let reserved = match reserve(want) {
            Ok(()) => want,
            Err(_) => {
                self.tight = true;
                reserve(need).map_err(|e| Error::io("reserve", &segment.path, e))?;
                need
            }
        };
        self.reserved = reserved;
        Ok(())
    }

    /// Gives what lies behind `end` back to the file system.
    pub(crate) fn trim(&mut self, segment: &Segment, end: u64) -> Result<()> {
        self.reserved = end;
        segment.file.set_len(end).map_err(|e| Error::io("truncate", &segment.path, e))
    }
}
