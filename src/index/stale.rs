//! Prefix deletes whose slots in the point tables are still to be removed.

use std::ops::Bound;
use std::sync::Arc;

use super::history::Detached;
use super::points::Points;
use super::range::{IdRange, start_of};
use crate::sync::atomic::{AtomicUsize, Ordering::Acquire, Ordering::Release};
use crate::sync::{Mutex, RwLock};
use crate::zoo::{Bug, planted};

/// A prefix delete leaves the slots of what it deletes, so that it need not find them all. Until
/// [`clean`](Stale::clean) has removed them, a record that it covers reads as absent.
#[derive(Debug, Default)]
pub(super) struct Stale {
    deletes: RwLock<Arc<[Arc<Detached>]>>,
    /// How many there are, so that a lookup learns with one load that there is none.
    count: AtomicUsize,
    /// The last id of the first of `deletes` whose slot was removed.
    cleaned: Mutex<Option<Vec<u8>>>,
}

/// The prefix deletes in force when a lookup began.
pub(super) type Covering = Option<Arc<[Arc<Detached>]>>;

/// Whether a prefix delete hides `id` as it was put at `record_revision`.
pub(super) fn covers(covering: &Covering, id: &[u8], record_revision: u64) -> bool {
    let covering = covering.as_deref().filter(|_| !planted(Bug::StaleSlots));
    covering.is_some_and(|deletes| {
        deletes
            .iter()
            .any(|delete| delete.revision > record_revision && id.starts_with(&delete.prefix))
    })
}

impl Stale {
    /// What to hold against the slots. Take it before the slots are read: one that is read later
    /// may be cleaned, and its delete forgotten, in between.
    #[inline]
    pub(super) fn covering(&self) -> Covering {
        if self.count.load(Acquire) == 0 {
            return None;
        }
        Some(self.deletes.read().clone())
    }

    pub(super) fn len(&self) -> usize {
        self.count.load(Acquire)
    }

    pub(super) fn size(&self) -> usize {
        self.deletes.read().iter().map(|delete| delete.size()).sum()
    }

    pub(super) fn add(&self, delete: Arc<Detached>) {
        let mut deletes = self.deletes.write();
        *deletes = deletes.iter().cloned().chain([delete]).collect();
        self.count.store(deletes.len(), Release);
    }

    /// Forgets all deletes. Call it once the tables are empty. Returns what to drop off the locks.
    pub(super) fn clear(&self) -> Arc<[Arc<Detached>]> {
        let mut cleaned = self.cleaned.lock();
        let mut deletes = self.deletes.write();
        *cleaned = None;
        self.count.store(0, Release);
        std::mem::replace(&mut *deletes, Arc::new([]))
    }

    /// Removes the slots of up to `budget` deleted ids. True when none is left.
    pub(super) fn clean(
        &self,
        budget: usize,
        points: &Points,
        hash: impl Fn(&[u8]) -> u64,
    ) -> bool {
        let mut cleaned = self.cleaned.lock();
        let mut left = budget;
        loop {
            let Some(delete) = self.deletes.read().first().cloned() else { return true };
            let start = start_of(cleaned.as_deref().map_or(Bound::Unbounded, Bound::Excluded));
            let range = IdRange { start: start.as_slice().max(&*delete.prefix), ..delete.range() };
            let mut id = Vec::new();
            let ordered = delete.settled();
            for entry in ordered.leaves().range(range) {
                if left == 0 {
                    *cleaned = Some(id);
                    return false;
                }
                left -= 1;
                id.clear();
                id.extend_from_slice(entry.prefix);
                id.extend_from_slice(entry.suffix);
                points.remove(hash(&id), entry.location.place);
            }
            drop(ordered);
            *cleaned = None;
            let forgotten = {
                let mut deletes = self.deletes.write();
                let rest = deletes.iter().skip(1).cloned().collect();
                self.count.store(deletes.len() - 1, Release);
                std::mem::replace(&mut *deletes, rest)
            };
            drop(delete);
            drop(forgotten);
        }
    }
}
