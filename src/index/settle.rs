//! How a kind's changes get into its leaves.
//!
//! A change is pushed to the fresh run, under `recent` alone. When that is long it is taken over:
//! with both locks held it moves to the ordered side at one stroke. From there it is merged under
//! `ordered` alone, a few leaves in each hold of the lock, while new changes go to a new run. So
//! whoever holds both locks sees all changes there are, in three places of which the earlier
//! one counts: the fresh run, the run that is being merged, the leaves.
//!
//! That is done by the thread of [`merge_until_stopped`](super::Index::merge_until_stopped), by
//! scans, which need the leaves to be complete, and where the thread lags, or where there is none,
//! by changes themselves, so that what waits is bounded.

use super::kind::Kind;
use super::ordered::Ordered;
use crate::format::location::Location;
use crate::sync::atomic::{
    AtomicBool, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};
use crate::sync::unlock_fair;
use crate::zoo::{Bug, planted};

/// Changes wait in a run until it has this many, or a sixteenth of the kind's ids. A longer run
/// visits each leaf for more changes at once, and costs memory.
const RUN_MAX: usize = 16 << 10;
const RUN_MIN: usize = if cfg!(all(test, kindlog_shuttle)) { 3 } else { 128 };
const RUN_SHARE: usize = 16;
/// Or until their ids have this many bytes.
const RUN_ID_BYTES: usize = 1 << 20;
/// Where a thread merges, changes help it from so many times that length on, unless it is just
/// at it; and from so many, they wait for their turn.
const HELP: usize = 2;
const WAIT: usize = 4;
/// How many leaves are changed in one hold of the lock.
const LEAVES_PER_HOLD: usize = 16;

/// What is to be merged, for those who look without a lock.
#[derive(Debug, Default)]
pub(super) struct Merging {
    /// The fresh run is long.
    long: AtomicBool,
    /// A run is being merged.
    draining: AtomicBool,
    /// How many changes there ever were when the thread that merges last looked.
    seen: AtomicU64,
}

/// How many changes wait after one of them, and what they are held against.
#[derive(Clone, Copy)]
pub(super) struct Waiting {
    pub(super) changes: usize,
    pub(super) id_bytes: usize,
    /// How many ids the kind has.
    pub(super) count: u64,
}

impl Waiting {
    /// Whether `times` as many wait as should.
    fn reaches(self, times: usize) -> bool {
        let most = (self.count as usize / RUN_SHARE).clamp(RUN_MIN, RUN_MAX);
        self.changes >= times * most || self.id_bytes >= times * RUN_ID_BYTES
    }
}

impl Kind {
    /// After each change: has it merged if it is time. What the change itself does of that is at
    /// most to sort a run, or to merge one leaf's worth.
    #[inline]
    pub(super) fn merge_if_due(&self, waiting: Waiting) {
        let long = waiting.reaches(1);
        if self.merger.is_attended() {
            match long {
                false => self.merger.tell_changed(),
                true => self.long_but_attended(waiting),
            }
        } else if long || self.merging.draining.load(Acquire) {
            self.step(&mut self.ordered.write(), 1);
        }
    }

    #[cold]
    fn long_but_attended(&self, waiting: Waiting) {
        if !self.merging.long.load(Relaxed) {
            self.merging.long.store(true, Release);
        }
        self.merger.tell_long();
        if waiting.reaches(WAIT) {
            self.step(&mut self.ordered.write(), 1);
        } else if waiting.reaches(HELP)
            && let Some(mut ordered) = self.ordered.try_write()
        {
            self.step(&mut ordered, 1);
        }
    }

    /// Whether a run is long, or being merged.
    pub(super) fn merges(&self) -> bool {
        self.merging.long.load(Acquire) || self.merging.draining.load(Acquire)
    }

    /// One hold of the lock's worth of merging.
    pub(super) fn merge_some(&self) {
        let mut ordered = self.ordered.write();
        self.step(&mut ordered, LEAVES_PER_HOLD);
        // Or a scan would find the lock taken again before it has woken up.
        unlock_fair(ordered);
    }

    /// Merges changes into up to `leaves` leaves; first takes the fresh run over and sorts it, if
    /// the last one is merged.
    fn step(&self, ordered: &mut Ordered, leaves: usize) {
        if !ordered.is_draining() {
            let mut recent = self.recent.write();
            // Before `recent` is let go: who finds nothing there goes on with a look at this flag.
            if !planted(Bug::MergedTooSoon) {
                self.merging.draining.store(!recent.fresh.is_empty(), Release);
            }
            self.merging.long.store(false, Release);
            let pushed = recent.pushed;
            ordered.take_over(&mut recent.fresh, pushed);
            drop(recent);
            ordered.sort();
        }
        ordered.drain_some(leaves);
        if !ordered.is_draining() && self.merging.draining.load(Relaxed) {
            self.merging.draining.store(false, Release);
        }
    }

    /// Where `id` is, without a look at any record. Slower than [`Kind::lookup`].
    ///
    /// The two locks are taken one after the other. A change of `id` that is in neither place when
    /// it is looked at has no chance to hide: it moves from the first to the second. And what is
    /// found in the second is what `id` was at some moment in between: when the first was looked
    /// at, if no run with a change of `id` was taken over since; else when the last such was
    /// taken over, which left none behind.
    pub(crate) fn find_ordered(&self, id: &[u8]) -> Option<Location> {
        let id = self.hashed(id);
        let fresh = self.recent.read().fresh.find(id);
        fresh.unwrap_or_else(|| self.ordered.read().find(id))
    }

    /// Merges the changes so far into the leaves. Call it once for a scan, after its snapshot is
    /// registered: what changes from then on is in the history, so that [`Kind::fill`] needn't know
    /// whether it is in the leaves.
    pub(crate) fn prepare_scan(&self) {
        self.settle(|| false);
    }

    /// Merges the changes so far, unless it is to stop before it has.
    fn settle(&self, stop: impl Fn() -> bool) {
        let goal = {
            let recent = self.recent.read();
            match recent.fresh.is_empty() {
                // All of them were taken over, so that all are merged once nothing is draining.
                true => 0,
                false => recent.pushed,
            }
        };
        if goal == 0 && !self.merging.draining.load(Acquire) {
            return;
        }
        while !stop() {
            let mut ordered = self.ordered.write();
            let merged = !ordered.is_draining() || planted(Bug::ScanWhileMerging);
            if merged && ordered.taken() >= goal {
                return;
            }
            self.step(&mut ordered, LEAVES_PER_HOLD);
        }
    }

    /// Merges what waits if nothing has changed since this was called last. False if something has.
    pub(super) fn settle_idle(&self, stop: impl Fn() -> bool) -> bool {
        let (pushed, waits) = {
            let recent = self.recent.read();
            (recent.pushed, !recent.fresh.is_empty())
        };
        if !waits && !self.merging.draining.load(Acquire) {
            return true;
        }
        if self.merging.seen.swap(pushed, Relaxed) != pushed {
            return false;
        }
        self.settle(stop);
        true
    }
}
