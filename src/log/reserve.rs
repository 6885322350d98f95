//! Room that is kept back, so that a full disk can still be emptied.
//!
//! On a disk without a free byte a delete finds no room for its tombstone, and compaction none for
//! the copy that would give space back. So a store of some size keeps a file of allocated, unused
//! blocks, and removes it when one of those two, or opening, is refused for want of room. It is
//! made anew when there is room again. Nothing depends on it: it is never synced, and never read.
//!
//! While it is short, no hint is written: hints can wait, and would take the room that it had.

use std::io;
use std::sync::Arc;

use crate::disk::Disk;
use crate::error::Error;
use crate::format::names;
use crate::sync::Mutex;
use crate::zoo::{Bug, planted};

/// A store with fewer bytes has no reserve.
const MIN_STORE_LEN: u64 = 1 << 20;
/// The reserve is this share of the log, within these limits.
const SHARE: u64 = 256;
const MIN_LEN: u64 = 256 << 10;
const MAX_LEN: u64 = 4 << 20;

/// The reserve of one store.
#[derive(Debug)]
pub(crate) struct Reserve {
    disk: Arc<dyn Disk>,
    kept: Mutex<Kept>,
}

#[derive(Debug)]
struct Kept {
    /// How long the file is; 0 if there is none.
    len: u64,
    /// There is less than there should be: it was given up, or could not be made.
    short: bool,
}

impl Reserve {
    /// The reserve as an earlier process left it.
    pub(crate) fn new(disk: Arc<dyn Disk>) -> Reserve {
        let len = disk.open_read_only(names::RESERVE).and_then(|file| file.len()).unwrap_or(0);
        Reserve { disk, kept: Mutex::new(Kept { len, short: false }) }
    }

    /// Sees to it that there is as much as a log of `log_len` bytes wants, and not far more. What
    /// fails is tried again at the next occasion.
    pub(crate) fn keep(&self, log_len: u64) -> io::Result<()> {
        let want = (log_len / SHARE).clamp(MIN_LEN, MAX_LEN);
        let mut kept = self.kept.lock();
        // Not for every little growth of the log.
        if log_len < MIN_STORE_LEN || kept.len >= want - want / 4 {
            kept.short = false;
            if kept.len > want + want / 4 {
                self.disk.open(names::RESERVE)?.set_len(want)?;
                kept.len = want;
            }
            return Ok(());
        }
        kept.short = true;
        self.remove()?;
        kept.len = 0;
        let made = self.disk.create(names::RESERVE).and_then(|file| file.reserve(0, want));
        match made {
            Ok(()) => *kept = Kept { len: want, short: false },
            Err(_) => self.remove()?,
        }
        made
    }

    /// Whether there is less than there should be.
    pub(crate) fn is_short(&self) -> bool {
        self.kept.lock().short
    }

    /// Gives the room back to the file system. False if there was none.
    pub(crate) fn release(&self) -> bool {
        let mut kept = self.kept.lock();
        let had = kept.len > 0 && !planted(Bug::KeepReserve);
        if had {
            *kept = Kept { len: 0, short: true };
        }
        had && self.remove().is_ok()
    }

    /// Does what needs room, and once more with the reserve's if there is none left.
    pub(crate) fn with<T>(&self, mut job: impl FnMut() -> Result<T, Error>) -> Result<T, Error> {
        let is_for_it = |error: &Error| error.is_storage_full() && !planted(Bug::ReserveForDeletes);
        match job() {
            Err(error) if is_for_it(&error) && self.release() => job(),
            done => done,
        }
    }

    fn remove(&self) -> io::Result<()> {
        match self.disk.remove(names::RESERVE) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    }
}
