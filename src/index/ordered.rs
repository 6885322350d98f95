//! The authoritative, ordered side of a kind.

use super::chunk::Chunk;
use super::leaves::Leaves;
use super::run::{Run, Sorted};
use crate::format::location::Location;

/// Changes wait in a run until it has this many, or a sixteenth of the kind's ids. A longer run
/// visits each leaf for more changes at once, and costs memory.
const RUN_MAX: usize = 16 << 10;
const RUN_MIN: usize = 128;
const RUN_SHARE: usize = 16;
/// Or until their ids have this many bytes.
const RUN_ID_BYTES: usize = 1 << 20;

/// Ids in leaves, with two runs of changes on top that aren't in them yet.
///
/// `fresh` takes the changes as they come. When it is long enough it is sorted and becomes
/// `draining`, of which every further change merges one leaf's worth: that is at least one
/// change, so it has drained before `fresh` is long enough again, and no change waits for a merge
/// of thousands. Whoever needs the leaves to be complete settles.
#[derive(Debug, Default)]
pub(super) struct Ordered {
    leaves: Leaves,
    draining: Sorted,
    /// Merging's buffer; given back with `draining`.
    scratch: Chunk,
    fresh: Run,
    /// How many changes were ever made, and how many of them are in the leaves or in `draining`.
    pushed: u64,
    sorted: u64,
}

impl Ordered {
    /// The leaves, which are complete once settled.
    pub(super) fn leaves(&self) -> &Leaves {
        &self.leaves
    }

    /// An order of ids that are all in leaves.
    pub(super) fn settled_with(leaves: Leaves) -> Ordered {
        Ordered { leaves, ..Ordered::default() }
    }

    pub(super) fn size(&self) -> usize {
        self.leaves.size() + self.draining.size() + self.fresh.size()
    }

    /// Points `id` to `new`, or removes it; `old` is what it was.
    pub(super) fn push(&mut self, id: &[u8], new: Option<Location>, old: Option<Location>) {
        self.fresh.push(id, new, old);
        self.pushed += 1;
        self.drain_some();
        let most = (self.leaves.len() / RUN_SHARE).clamp(RUN_MIN, RUN_MAX);
        if self.fresh.len() >= most || self.fresh.id_bytes() >= RUN_ID_BYTES {
            self.drain();
            self.sort();
        }
    }

    fn sort(&mut self) {
        self.draining = std::mem::take(&mut self.fresh).sort();
        self.sorted = self.pushed;
    }

    fn drain_some(&mut self) {
        if self.draining.is_empty() {
            return;
        }
        self.leaves.merge_some(&mut self.draining, &mut self.scratch);
        if self.draining.is_empty() {
            self.draining = Sorted::default();
            self.scratch = Chunk::new();
        }
    }

    fn drain(&mut self) {
        while !self.draining.is_empty() {
            self.drain_some();
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.leaves.len() == 0 && self.is_settled()
    }

    pub(super) fn is_settled(&self) -> bool {
        self.fresh.is_empty() && self.draining.is_empty()
    }

    /// Merges all changes into the leaves.
    pub(super) fn settle(&mut self) {
        self.drain();
        self.sort();
        self.drain();
    }

    /// How many changes were ever made: the goal of [`settle_some`](Ordered::settle_some).
    pub(super) fn pushed(&self) -> u64 {
        self.pushed
    }

    /// Merges changes into up to `steps` leaves; true once the first `goal` changes are merged.
    pub(super) fn settle_some(&mut self, goal: u64, steps: usize) -> bool {
        for _ in 0..steps {
            if self.draining.is_empty() {
                if self.sorted >= goal {
                    return true;
                }
                self.sort();
            }
            self.drain_some();
        }
        false
    }

    pub(super) fn find(&self, id: &[u8]) -> Option<Location> {
        let recent = self.fresh.find(id).or_else(|| self.draining.find(id));
        recent.unwrap_or_else(|| self.leaves.find(id))
    }

    /// How many ids start with `prefix`.
    pub(super) fn count(&self, prefix: &[u8]) -> u64 {
        let recent = self.fresh.delta(prefix) + self.draining.delta(prefix);
        (self.leaves.count(prefix) as i64 + recent) as u64
    }

    /// Takes out everything.
    pub(super) fn detach_all(&mut self) -> Ordered {
        // Who is settling in steps goes by these: nothing is left to be merged.
        let empty = Ordered { pushed: self.pushed, sorted: self.pushed, ..Ordered::default() };
        std::mem::replace(self, empty)
    }

    /// Takes out all ids that start with `prefix`, merged or not.
    pub(super) fn detach(&mut self, prefix: &[u8]) -> Ordered {
        let mut detached = Ordered { leaves: self.leaves.detach(prefix), ..Ordered::default() };
        self.draining.detach(prefix, &mut detached.fresh);
        self.fresh.detach(prefix, &mut detached.fresh);
        detached
    }

    /// The changes that wait, of an order that was just detached: new and old locations.
    pub(super) fn waiting(&self) -> impl Iterator<Item = (Option<Location>, Option<Location>)> {
        self.fresh.locations()
    }
}
