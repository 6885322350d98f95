//! The authoritative, ordered side of a kind, but for the changes that were made last.

use super::chunk::Chunk;
use super::leaves::Leaves;
use super::run::{Hashed, Run, Sorted};
use crate::format::location::Location;
use crate::zoo::{Bug, planted};

/// Ids in leaves, with changes on top that aren't in them yet.
///
/// A run of changes is taken over as it came, sorted, and then drained into the leaves bit by bit,
/// so that nobody waits for a merge of thousands. Whoever needs the leaves to be complete settles.
#[derive(Debug, Default)]
pub(super) struct Ordered {
    leaves: Leaves,
    draining: Sorted,
    /// Merging's buffer; given back with `draining`.
    scratch: Chunk,
    /// Changes that were taken over, or detached, and not sorted yet.
    unsorted: Run,
    /// How many changes were ever taken over.
    taken: u64,
}

impl Ordered {
    /// The leaves, which are complete once settled.
    pub(super) fn leaves(&self) -> &Leaves {
        &self.leaves
    }

    /// The leaves, in which only locations may be changed, of entries that no change waits for.
    pub(super) fn leaves_mut(&mut self) -> &mut Leaves {
        &mut self.leaves
    }

    /// An order of ids that are all in leaves.
    pub(super) fn settled_with(leaves: Leaves) -> Ordered {
        Ordered { leaves, ..Ordered::default() }
    }

    pub(super) fn size(&self) -> usize {
        self.leaves.size() + self.draining.size() + self.unsorted.size()
    }

    /// Takes all of a run, which ends with the `pushed`th change ever made. The last one has
    /// drained.
    pub(super) fn take_over(&mut self, fresh: &mut Run, pushed: u64) {
        debug_assert!(self.is_settled());
        self.unsorted = std::mem::take(fresh);
        self.taken = pushed;
    }

    /// How many changes were ever taken over.
    pub(super) fn taken(&self) -> u64 {
        self.taken
    }

    pub(super) fn sort(&mut self) {
        self.draining = std::mem::take(&mut self.unsorted).sort();
    }

    pub(super) fn is_draining(&self) -> bool {
        !self.draining.is_empty()
    }

    /// Merges changes into up to `leaves` leaves.
    pub(super) fn drain_some(&mut self, leaves: usize) {
        if self.draining.is_empty() {
            return;
        }
        self.leaves.merge_some(&mut self.draining, leaves, &mut self.scratch);
        if self.draining.is_empty() {
            self.draining = Sorted::default();
            self.scratch = Chunk::new();
        }
    }

    fn drain(&mut self) {
        while !self.draining.is_empty() {
            self.drain_some(usize::MAX);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.leaves.len() == 0 && self.is_settled()
    }

    pub(super) fn is_settled(&self) -> bool {
        self.unsorted.is_empty() && self.draining.is_empty()
    }

    /// Merges all changes into the leaves.
    pub(super) fn settle(&mut self) {
        self.drain();
        self.sort();
        self.drain();
    }

    pub(super) fn find(&self, id: Hashed<'_>) -> Option<Location> {
        let waiting = self.unsorted.find(id).or_else(|| self.draining.find(id.id));
        waiting.unwrap_or_else(|| self.leaves.find(id.id))
    }

    /// How many ids start with `prefix`.
    pub(super) fn count(&self, prefix: &[u8]) -> u64 {
        let waiting = self.unsorted.delta(prefix) + self.draining.delta(prefix);
        (self.leaves.count(prefix) as u64).wrapping_add_signed(waiting)
    }

    /// Takes out everything, with the changes of `fresh`, which were made last.
    pub(super) fn detach_all(&mut self, fresh: &mut Run) -> Ordered {
        debug_assert!(self.unsorted.is_empty());
        // Who is settling in steps goes by this.
        let empty = Ordered { taken: self.taken, ..Ordered::default() };
        let mut detached = std::mem::replace(self, empty);
        detached.unsorted = std::mem::take(fresh);
        detached
    }

    /// Takes out all ids that start with `prefix`, merged or not, also of `fresh`, which has the
    /// changes that were made last.
    pub(super) fn detach(&mut self, prefix: &[u8], fresh: &mut Run) -> Ordered {
        debug_assert!(self.unsorted.is_empty());
        let mut detached = Ordered { leaves: self.leaves.detach(prefix), ..Ordered::default() };
        self.draining.detach(prefix, &mut detached.unsorted);
        if !planted(Bug::DeleteOnlyMerged) {
            fresh.detach(prefix, &mut detached.unsorted);
        }
        detached
    }

    /// The changes that wait, of an order that was just detached with a prefix: new and old
    /// locations.
    pub(super) fn waiting(&self) -> impl Iterator<Item = (Option<Location>, Option<Location>)> {
        self.unsorted.locations()
    }
}
