//! Who merges the changes of kinds into their leaves, and when.

use std::time::Duration;

use super::Index;
use crate::sync::atomic::{AtomicBool, Ordering::Acquire, Ordering::Release};
use crate::sync::{Signals, Woken};

/// How long nothing may change in a kind for its run, however short, to be merged.
const PAUSE: Duration = Duration::from_secs(1);

/// What the kinds and the thread that merges have in common.
///
/// Without such a thread each change merges what is due itself, one leaf's worth at a time. With
/// it, a change only says that its kind's run is long; it helps where the thread lags behind.
#[derive(Debug, Default)]
pub(crate) struct Merger {
    pub(crate) signals: Signals,
    attended: AtomicBool,
}

impl Merger {
    /// From now on a thread merges; or none does any more.
    pub(crate) fn attend(&self, attended: bool) {
        self.attended.store(attended, Release);
    }

    #[inline]
    pub(super) fn is_attended(&self) -> bool {
        self.attended.load(Acquire)
    }

    /// Something has changed: a run that stays short is merged when it has lain for a while.
    #[inline]
    pub(super) fn tell_changed(&self) {
        self.signals.raise(&self.signals.dirty);
    }

    /// A run is long.
    #[inline]
    pub(super) fn tell_long(&self) {
        self.signals.raise(&self.signals.now);
    }

    fn is_stopped(&self) -> bool {
        self.signals.stop.load(Acquire)
    }
}

impl Index {
    /// Merges runs that are long, and those that nobody has touched for a while, until it is told
    /// to stop.
    pub(crate) fn merge_until_stopped(&self) {
        let merger = self.merger();
        loop {
            match merger.signals.wait_for_work(PAUSE) {
                Woken::Now => self.merge_long(),
                Woken::Interval => self.merge_idle(),
                Woken::ToStop => return merger.attend(false),
            }
        }
    }

    /// Merges all runs that are long.
    pub(super) fn merge_long(&self) {
        for kind in self.kinds() {
            while kind.merges() && !self.merger.is_stopped() {
                kind.merge_some();
            }
        }
        // What stays short is looked at later.
        self.merger.tell_changed();
    }

    /// Merges the runs, however short, of kinds that are as they were the last time.
    pub(super) fn merge_idle(&self) {
        let mut waiting = false;
        for kind in self.kinds() {
            waiting |= !kind.settle_idle(|| self.merger.is_stopped());
        }
        if waiting {
            self.merger.tell_changed();
        }
    }
}
