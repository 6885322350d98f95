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
    /// So many use the room that it had.
    users: u32,
}

/// The room is not kept back again before this is dropped: it is for the one who has this.
#[must_use]
#[derive(Debug)]
pub(crate) struct Released<'a>(&'a Reserve);

impl Drop for Released<'_> {
    fn drop(&mut self) {
        self.0.kept.lock().users -= 1;
    }
}

impl Reserve {
    /// The reserve as an earlier process left it.
    pub(crate) fn new(disk: Arc<dyn Disk>) -> Reserve {
        let len = disk.open_read_only(names::RESERVE).and_then(|file| file.len()).unwrap_or(0);
        Reserve { disk, kept: Mutex::new(Kept { len, short: false, users: 0 }) }
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
        if kept.users > 0 {
            return Ok(());
        }
        self.remove()?;
        kept.len = 0;
        let made = self.disk.create(names::RESERVE).and_then(|file| file.reserve(0, want));
        match made {
            Ok(()) => *kept = Kept { len: want, short: false, users: 0 },
            Err(_) => self.remove()?,
        }
        made
    }

    /// Whether there is less than there should be.
    pub(crate) fn is_short(&self) -> bool {
        self.kept.lock().short
    }

    /// Gives the room back to the file system, for as long as what it returns is held. `None` if
    /// there was none.
    pub(crate) fn release(&self) -> Option<Released<'_>> {
        let mut kept = self.kept.lock();
        if kept.len == 0 || planted(Bug::KeepReserve) {
            return None;
        }
        *kept = Kept { len: 0, short: true, users: kept.users + 1 };
        let released = Released(self);
        let removed = self.remove();
        drop(kept);
        removed.is_ok().then_some(released)
    }

    /// Does what needs room, and once more with the reserve's if there is none left.
    pub(crate) fn with<T>(&self, mut job: impl FnMut() -> Result<T, Error>) -> Result<T, Error> {
        let is_for_it = |error: &Error| error.is_storage_full() && !planted(Bug::ReserveForDeletes);
        let done = job();
        if !done.as_ref().is_err_and(is_for_it) {
            return done;
        }
        match self.release() {
            Some(_released) => job(),
            None => done,
        }
    }

    fn remove(&self) -> io::Result<()> {
        match self.disk.remove(names::RESERVE) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    }
}

#[cfg(all(test, feature = "sim", not(kindlog_shuttle)))]
mod tests {
    use super::*;
    use crate::disk::sim::SimDisk;

    /// The background took the room back between the moment that somebody had it given up and the
    /// job that wanted it, which then had none after all: the disk stayed full.
    #[test]
    fn what_is_given_up_is_there_for_the_one_who_needs_it() {
        let disk = SimDisk::new();
        let reserve = Reserve::new(Arc::new(disk.clone()));
        let keep = || reserve.keep(MIN_STORE_LEN).expect("it is made, or left for later");
        let is_kept = || disk.files().contains(&names::RESERVE.to_owned());
        keep();
        assert!(is_kept() && !reserve.is_short());
        let mut tries = 0;
        let job = || {
            tries += 1;
            keep();
            let full = || Error::io("do", "it", io::ErrorKind::StorageFull.into());
            if is_kept() { Err(full()) } else { Ok(()) }
        };
        reserve.with(job).expect("it has the room");
        assert!(tries == 2 && reserve.is_short());
        keep();
        assert!(is_kept() && !reserve.is_short());
    }
}
