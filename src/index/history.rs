//! Earlier states, for as long as a snapshot may ask for them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::ordered::Ordered;
use super::range::{IdRange, prefix_end};
use super::run::Hashed;
use super::snapshots::Snapshots;
use crate::format::location::Location;
use crate::sync::{RwLock, RwLockReadGuard};
use crate::zoo::{Bug, planted};

/// What a saved state costs beside its id: the nodes' share and the allocator's.
const SAVED_OVERHEAD: usize = 150;

/// What a key was, as a snapshot sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Earlier {
    /// What it is now.
    Unchanged,
    /// At another place, or absent.
    Was(Option<Location>),
}

/// What a change at `revision` found.
#[derive(Clone, Copy, Debug)]
struct Saved {
    revision: u64,
    before: Option<Location>,
}

/// The ids that a prefix delete took out, as they were before it. Nothing in it changes any more.
#[derive(Debug)]
pub(super) struct Detached {
    pub(super) revision: u64,
    pub(super) prefix: Box<[u8]>,
    end: Option<Box<[u8]>>,
    ordered: RwLock<Ordered>,
}

impl Detached {
    pub(super) fn new(revision: u64, prefix: &[u8], ordered: Ordered) -> Detached {
        let (end, prefix) = (prefix_end(prefix), prefix.into());
        Detached { revision, prefix, end, ordered: RwLock::new(ordered) }
    }

    /// The whole range of ids that were deleted.
    pub(super) fn range(&self) -> IdRange<'_> {
        IdRange { start: &self.prefix, end: self.end.as_deref() }
    }

    pub(super) fn find(&self, id: Hashed<'_>) -> Option<Location> {
        self.ordered.read().find(id)
    }

    /// With complete leaves: the first who asks merges what waited when it was detached.
    pub(super) fn settled(&self) -> RwLockReadGuard<'_, Ordered> {
        if !self.ordered.read().is_settled() {
            self.ordered.write().settle();
        }
        self.ordered.read()
    }

    pub(super) fn size(&self) -> usize {
        self.ordered.read().size()
    }
}

/// The states that snapshots may still ask for: nothing is versioned in the leaves, and while no
/// snapshot lives, nothing is saved.
///
/// The state of a key at revision s is what the first change after s found. A change that found a
/// snapshot at or after s alive saved it, unless a change between that snapshot and itself had
/// already. If there was none, the key is as it is now, in the table as in the leaves, merged or
/// not. A prefix delete saves no states but its leaves, which hold all it found; changes before
/// it, and after s, are still found in `saved`.
#[derive(Debug, Default)]
pub(super) struct History {
    /// By id, then in the order of revisions.
    saved: BTreeMap<Arc<[u8]>, Vec<Saved>>,
    /// The same in the order of revisions, for pruning.
    queue: VecDeque<(u64, Arc<[u8]>)>,
    /// In the order of revisions.
    detached: VecDeque<Arc<Detached>>,
    id_bytes: usize,
}

impl History {
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.detached.is_empty()
    }

    /// Whether no change to a single key is saved.
    pub(super) fn has_no_changes(&self) -> bool {
        self.saved.is_empty()
    }

    pub(super) fn size(&self) -> usize {
        // What still has slots to clean is counted there.
        let detached = self.detached.iter().filter(|detached| Arc::strong_count(detached) == 1);
        let detached: usize = detached.map(|detached| detached.size()).sum();
        self.queue.len() * SAVED_OVERHEAD + self.id_bytes + detached
    }

    /// Saves what the change at `revision` of `id` finds, unless no snapshot could ask for it.
    pub(super) fn save(
        &mut self,
        id: &[u8],
        before: Option<Location>,
        revision: u64,
        snapshots: &Snapshots,
    ) {
        let newest = snapshots.newest().filter(|_| !planted(Bug::NoHistory));
        let Some(newest) = newest else { return };
        let saved = Saved { revision, before };
        if let Some(states) = self.saved.get_mut(id) {
            if states.last().is_some_and(|last| last.revision > newest) {
                return;
            }
            states.push(saved);
            snapshots.saved();
            // The key in the map, for the queue to share.
            if let Some((id, _)) = self.saved.get_key_value(id) {
                self.queue.push_back((revision, id.clone()));
            }
        } else {
            let id: Arc<[u8]> = id.into();
            snapshots.saved();
            self.id_bytes += id.len();
            self.queue.push_back((revision, id.clone()));
            self.saved.insert(id, vec![saved]);
        }
    }

    pub(super) fn push_detached(&mut self, detached: Arc<Detached>, snapshots: &Snapshots) {
        snapshots.saved();
        self.detached.push_back(detached);
    }

    /// Forgets up to `most` saved states, and one detached range, that no snapshot needs. Returns
    /// what to drop off the lock, or `None` when nothing is left to forget.
    pub(super) fn prune(&mut self, snapshots: &Snapshots, most: usize) -> Option<Pruned> {
        if self.is_empty() {
            return None;
        }
        // Read with the kind's lock held: what a later snapshot needs is not saved yet.
        let oldest = snapshots.oldest().unwrap_or(u64::MAX);
        let mut pruned = Pruned { detached: None, count: 0 };
        while pruned.count < most && self.queue.front().is_some_and(|front| front.0 <= oldest) {
            let Some((revision, id)) = self.queue.pop_front() else { break };
            pruned.count += 1;
            if let Some(states) = self.saved.get_mut(&id) {
                states.retain(|saved| saved.revision != revision);
                if states.is_empty() {
                    self.saved.remove(&id);
                    self.id_bytes -= id.len();
                }
            }
        }
        if self.detached.front().is_some_and(|front| front.revision <= oldest) {
            pruned.detached = self.detached.pop_front();
        }
        let forgotten = pruned.count + usize::from(pruned.detached.is_some());
        if forgotten == 0 {
            return None;
        }
        snapshots.forgotten(forgotten);
        Some(pruned)
    }

    /// What `id` was at revision `snapshot`.
    pub(super) fn earlier(&self, id: Hashed<'_>, snapshot: u64) -> Earlier {
        let covers = |detached: &&Detached| id.id.starts_with(&detached.prefix);
        let base = self.detached_after(snapshot).find(covers);
        let until = base.map_or(u64::MAX, |detached| detached.revision);
        let states = self.saved.get(id.id).map_or(&[][..], |states| states);
        if let Some(before) = first_change(states, snapshot, until) {
            return Earlier::Was(before);
        }
        base.map_or(Earlier::Unchanged, |detached| Earlier::Was(detached.find(id)))
    }

    /// A detached range after revision `snapshot` that a reader should first settle, without the
    /// kind's lock.
    pub(super) fn unsettled(&self, snapshot: u64) -> Option<Arc<Detached>> {
        let unsettled = |detached: &&Arc<Detached>| {
            // Not to be read while another reader settles it either: the kind's lock is held.
            let ordered = detached.ordered.try_read();
            detached.revision > snapshot && ordered.is_none_or(|ordered| !ordered.is_settled())
        };
        self.detached.iter().find(unsettled).cloned()
    }

    /// The prefix deletes after revision `snapshot`, the earliest first: the first that covers an
    /// id has what it was.
    pub(super) fn detached_after(&self, snapshot: u64) -> impl Iterator<Item = &Detached> {
        let after = move |detached: &&Arc<Detached>| detached.revision > snapshot;
        self.detached.iter().filter(after).map(|detached| &**detached)
    }

    /// The ids of a range that were changed after revision `snapshot` and before revision `until`,
    /// with what they were.
    pub(super) fn changed<'a>(
        &'a self,
        range: IdRange<'a>,
        snapshot: u64,
        until: u64,
    ) -> impl DoubleEndedIterator<Item = (&'a [u8], Option<Location>)> {
        self.saved.range::<[u8], _>(range.bounds()).filter_map(move |(id, states)| {
            first_change(states, snapshot, until).map(|before| (&**id, before))
        })
    }
}

/// What the first change after `snapshot` found, if it was made before `until`.
fn first_change(states: &[Saved], snapshot: u64, until: u64) -> Option<Option<Location>> {
    let first = states.iter().find(|saved| saved.revision > snapshot)?;
    (first.revision < until).then_some(first.before)
}

/// What pruning removed. Dropping it may free much.
#[derive(Debug)]
pub(super) struct Pruned {
    pub(super) detached: Option<Arc<Detached>>,
    pub(super) count: usize,
}
