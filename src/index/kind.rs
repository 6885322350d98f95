//! One kind: its keys, and what is done to them.

use std::fmt;
use std::hash::{BuildHasher, Hasher};
use std::ops::Bound;
use std::sync::Arc;

use foldhash::quality::RandomState;

use super::bulk::Bulk;
use super::chunk::Chunk;
use super::history::{Detached, Earlier, History, Pruned};
use super::merger::Merger;
use super::ordered::Ordered;
use super::points::{Points, Probe, Retired};
use super::range::{IdRange, end_of, start_of};
use super::run::{Hashed, Run};
use super::scan::{Filler, Progress, View};
use super::settle::{Merging, Waiting};
use super::snapshots::Snapshots;
use super::stale::{Covering, Stale, covers};
use super::usage::{SegmentUsage, Usage};
use crate::format::location::{Location, Place, SegmentId};
use crate::sync::RwLock;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering::Acquire, Ordering::Release};
use crate::zoo::{Bug, planted};

/// How many saved states a change forgets: more than the one it may add.
const PRUNE_PER_CHANGE: usize = 4;
/// How much is done in one hold of the lock.
const PRUNE_PER_HOLD: usize = 256;

/// All ids of a kind. Once made it stays, empty or not.
///
/// The verbs that change something are called by one thread at a time, in the order of revisions:
/// the engine's apply lock is held. `clean`, `prune`, what merges, and everything that reads may be
/// called at any time.
///
/// Each change works in this order: history, ordered side, point table. A reader at a snapshot
/// works in the other: a lookup first, and [`Kind::earlier`] when that is done. So if the lookup
/// met a change, its history is there, and if it met none, `earlier` may say where the key *was*,
/// which is then the same.
///
/// The ordered side is under two locks, so that a change need not wait for merging: `recent` has
/// the changes that were made last, `ordered` those before them. Who takes both takes `ordered`
/// first. Changes move from the one to the other all at once, with both locks held: together they
/// are always all there is. `settle` has what is done about that.
pub(crate) struct Kind {
    name: Box<str>,
    hasher: RandomState,
    points: Points,
    stale: Stale,
    pub(super) count: AtomicU64,
    /// Whether there is any history, so that a reader at a snapshot seldom locks.
    has_history: AtomicBool,
    pub(super) merger: Arc<Merger>,
    pub(super) merging: Merging,
    pub(super) ordered: RwLock<Ordered>,
    pub(super) recent: RwLock<Recent>,
}

/// What a change touches together.
#[derive(Debug, Default)]
pub(super) struct Recent {
    /// Changes as they came, that nobody has begun to merge.
    pub(super) fresh: Run,
    /// How many changes were ever made.
    pub(super) pushed: u64,
    history: History,
    pub(super) usage: Usage,
}

/// What a delete has taken out. Drop it when no lock is held: there may be much to free.
#[derive(Debug, Default)]
#[must_use = "drop it off the locks"]
pub(crate) struct Garbage {
    tables: Option<Retired>,
    #[expect(dead_code, reason = "it is here to be dropped")]
    detached: Option<Arc<Detached>>,
    deletes: Option<Arc<[Arc<Detached>]>>,
}

/// Where a key most likely is.
pub(crate) enum Likely {
    /// At the first place that may hold it.
    At(Place),
    /// There is no such place: the key is absent, and that is certain.
    Nowhere,
    /// What lies at such a place may be hidden by a prefix delete.
    Unknown,
}

/// The places that may hold a key, one after another; nearly always the first does.
///
/// Read the record at each and compare its key. If it is the key, ask [`Lookup::covered`], and go
/// on if it is. A key without such a place is absent.
#[derive(Debug)]
pub(crate) struct Lookup<'a> {
    points: &'a Points,
    covering: Covering,
    probe: Probe,
}

impl Lookup<'_> {
    /// The next candidate.
    #[inline]
    pub(crate) fn candidate(&mut self) -> Option<Place> {
        self.probe.next(self.points)
    }

    /// Whether a prefix delete hides `id` as it was put at `record_revision`.
    #[inline]
    pub(crate) fn covered(&self, id: &[u8], record_revision: u64) -> bool {
        covers(&self.covering, id, record_revision)
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kind").field("name", &self.name).field("count", &self.count()).finish()
    }
}

impl Kind {
    pub(super) fn new(name: &str, hasher: RandomState, merger: Arc<Merger>) -> Kind {
        Kind {
            name: name.into(),
            hasher,
            points: Points::new(),
            stale: Stale::default(),
            count: AtomicU64::new(0),
            has_history: AtomicBool::new(false),
            merger,
            merging: Merging::default(),
            ordered: RwLock::default(),
            recent: RwLock::default(),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The hash that the point table knows an id by.
    #[inline]
    pub(crate) fn hash(&self, id: &[u8]) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(id);
        hasher.finish()
    }

    /// An id with its hash, for those who ask more than once.
    #[inline]
    pub(crate) fn hashed<'a>(&self, id: &'a [u8]) -> Hashed<'a> {
        Hashed { id, hash: self.hash(id) }
    }

    /// Has the processor fetch what a lookup begins with.
    #[inline]
    pub(crate) fn prefetch(&self, hash: u64) {
        self.points.prefetch(hash);
    }

    /// Looks an id up by its hash.
    #[inline]
    pub(crate) fn lookup(&self, hash: u64) -> Lookup<'_> {
        // Before any slot is read: see `Stale::covering`.
        let covering = self.stale.covering();
        Lookup { points: &self.points, covering, probe: Probe::new(hash) }
    }

    /// Where an id most likely is. It is not where it seems to be if it is another of its hash, and
    /// only [`Lookup`] finds it then.
    #[inline(always)]
    pub(crate) fn likely(&self, hash: u64) -> Likely {
        // As in `lookup`.
        match self.stale.len() > 0 && !planted(Bug::StaleSlotsQuickly) {
            true => Likely::Unknown,
            false => self.points.first(hash).map_or(Likely::Nowhere, Likely::At),
        }
    }

    /// Points `id` to `new`. `old` is where it is, found by the caller: `None` if it is absent.
    pub(crate) fn put(
        &self,
        id: Hashed<'_>,
        new: Location,
        old: Option<Location>,
        revision: u64,
        time_micros: i64,
        snapshots: &Snapshots,
    ) {
        let mut recent = self.recent.write();
        recent.history.save(id.id, old, revision, snapshots);
        recent.usage.put(new, time_micros);
        if let Some(old) = old {
            recent.usage.bury(old);
        }
        let waiting = self.change(&mut recent, id, Some(new), old, snapshots);
        drop(recent);
        self.point_to(id.hash, new.place, old);
        self.merge_if_due(waiting);
    }

    /// Removes `id`, which is at `old`.
    pub(crate) fn delete(
        &self,
        id: Hashed<'_>,
        old: Location,
        revision: u64,
        snapshots: &Snapshots,
    ) {
        let mut recent = self.recent.write();
        recent.history.save(id.id, Some(old), revision, snapshots);
        recent.usage.bury(old);
        let waiting = self.change(&mut recent, id, None, Some(old), snapshots);
        drop(recent);
        let removed = self.points.remove(id.hash, old.place);
        debug_assert!(removed);
        self.merge_if_due(waiting);
    }

    /// Whether the record of `id` that was put at `revision` and lies at `place` is the key's
    /// present one. One look at the point table.
    pub(crate) fn is_at(&self, id: Hashed<'_>, revision: u64, place: Place) -> bool {
        self.is_at_under(&self.covering(), id, revision, place)
    }

    /// The prefix deletes that hide slots, for those who look at many. Before any slot is read.
    pub(super) fn covering(&self) -> Covering {
        self.stale.covering()
    }

    /// The same as [`is_at`](Kind::is_at), with what hides slots at hand.
    #[inline]
    pub(super) fn is_at_under(
        &self,
        covering: &Covering,
        id: Hashed<'_>,
        revision: u64,
        place: Place,
    ) -> bool {
        self.points.contains(id.hash, place) && !covers(covering, id.id, revision)
    }

    /// A segment was written that has `bytes` of the kind, none of them live yet, from puts between
    /// these times.
    pub(crate) fn note_segment(&self, segment: SegmentId, bytes: u64, oldest: i64, newest: i64) {
        self.recent.write().usage.note_segment(segment, bytes, oldest, newest);
    }

    /// How many resources lie in a segment.
    pub(crate) fn live_in(&self, segment: SegmentId) -> u64 {
        self.recent.read().usage.live_in(segment)
    }

    /// Forgets the figures of a segment in which nothing lives any more.
    pub(crate) fn forget_segment(&self, segment: SegmentId) {
        self.recent.write().usage.forget(segment);
    }

    pub(super) fn change(
        &self,
        recent: &mut Recent,
        id: Hashed<'_>,
        new: Option<Location>,
        old: Option<Location>,
        snapshots: &Snapshots,
    ) -> Waiting {
        let delta = i32::from(new.is_some()) - i32::from(old.is_some());
        recent.fresh.push(id, new, old);
        recent.pushed += 1;
        if !recent.history.is_empty() || self.has_history.load(Acquire) {
            self.prune_some(&mut recent.history, snapshots);
        }
        let count = self.count.load(Acquire).wrapping_add_signed(i64::from(delta));
        self.count.store(count, Release);
        Waiting { changes: recent.fresh.len(), id_bytes: recent.fresh.id_bytes(), count }
    }

    /// Forgets more than a change may have added, and notes whether there is any history.
    #[inline(never)]
    fn prune_some(&self, history: &mut History, snapshots: &Snapshots) {
        drop(history.prune(snapshots, PRUNE_PER_CHANGE));
        let has_history = !history.is_empty();
        if has_history != self.has_history.load(Acquire) {
            self.has_history.store(has_history, Release);
        }
    }

    pub(super) fn point_to(&self, hash: u64, new: Place, old: Option<Location>) {
        match old {
            Some(old) => {
                let replaced = self.points.replace(hash, old.place, new);
                debug_assert!(replaced);
            }
            None => self.points.insert(hash, new),
        }
    }

    /// Takes over all that was gathered for this kind, in which nothing is yet.
    pub(super) fn fill_with(&self, bulk: Bulk<'_>) {
        let Bulk { leaves, slots, usage, .. } = bulk;
        let mut ordered = self.ordered.write();
        let mut recent = self.recent.write();
        debug_assert!(ordered.is_empty() && recent.fresh.is_empty());
        self.count.store(leaves.len() as u64, Release);
        *ordered = Ordered::settled_with(leaves);
        recent.usage = usage;
        drop((ordered, recent));
        self.points.fill(slots);
    }

    /// A record was written that deletes something, or that is dead already.
    pub(crate) fn note_dead(&self, segment: SegmentId, bytes: u64) {
        self.recent.write().usage.note_dead(segment, bytes);
    }

    /// How many ids there are.
    pub(crate) fn count(&self) -> u64 {
        self.count.load(Acquire)
    }

    /// How many ids start with `prefix`. Walks the map above the leaves, not the leaves.
    pub(crate) fn count_prefix(&self, prefix: &[u8]) -> u64 {
        if prefix.is_empty() {
            return self.count();
        }
        let ordered = self.ordered.read();
        let recent = self.recent.read();
        ordered.count(prefix).wrapping_add_signed(recent.fresh.delta(prefix))
    }

    /// Removes all ids that start with `prefix`; with the empty prefix all there are. Returns how
    /// many, and what to drop off the locks.
    ///
    /// All of them read as absent at once. With a prefix, their slots in the point table stay:
    /// [`Kind::clean`] them.
    pub(crate) fn delete_prefix(
        &self,
        prefix: &[u8],
        revision: u64,
        snapshots: &Snapshots,
    ) -> (u64, Garbage) {
        let whole = prefix.is_empty();
        let mut ordered = self.ordered.write();
        let mut guard = self.recent.write();
        let recent = &mut *guard;
        let (count, taken) = if whole {
            recent.usage.bury_everything();
            (self.count(), ordered.detach_all(&mut recent.fresh))
        } else {
            let taken = ordered.detach(prefix, &mut recent.fresh);
            recent.usage.bury_detached(&taken);
            (taken.count(&[]), taken)
        };
        let detached = Arc::new(Detached::new(revision, prefix, taken));
        if snapshots.newest().is_some() {
            recent.history.push_detached(detached.clone(), snapshots);
            self.has_history.store(true, Release);
        }
        self.count.store(self.count() - count, Release);
        drop((ordered, guard));
        // From here on none of them is found, and all vanish at the same moment. Then the slots can
        // go one after another; and only after them the word that hides them.
        self.stale.add(detached.clone());
        let mut garbage = Garbage { detached: Some(detached), ..Garbage::default() };
        if whole {
            garbage.tables = Some(self.points.retire());
            garbage.deletes = Some(self.stale.clear());
        }
        (count, garbage)
    }

    /// How many prefix deletes have left slots in the point tables.
    pub(crate) fn stale_deletes(&self) -> usize {
        self.stale.len()
    }

    /// Removes up to `budget` slots that prefix deletes have left. True when none is left.
    ///
    /// Before that a slot may point into a segment that has been retired.
    pub(crate) fn clean(&self, budget: usize) -> bool {
        self.stale.clean(budget, &self.points, |id| self.hash(id))
    }

    /// What `id` was at the revision of a living snapshot. Ask after the lookup is done.
    pub(crate) fn earlier(&self, id: &[u8], snapshot: u64) -> Earlier {
        if !self.has_history.load(Acquire) {
            return Earlier::Unchanged;
        }
        self.recent.read().history.earlier(self.hashed(id), snapshot)
    }

    /// Replaces what `chunk` holds with the next entries that a living snapshot sees, up to `max`,
    /// at least one unless there is none. Go on from the last id.
    pub(crate) fn fill(
        &self,
        chunk: &mut Chunk,
        snapshot: u64,
        bounds: (Bound<&[u8]>, Bound<&[u8]>),
        reverse: bool,
        max: usize,
    ) {
        chunk.clear();
        let (mut start, mut end) = (start_of(bounds.0), end_of(bounds.1));
        loop {
            let ordered = self.ordered.read();
            let recent = self.recent.read();
            if let Some(detached) = recent.history.unsettled(snapshot) {
                drop((ordered, recent));
                drop(detached.settled());
                continue;
            }
            let view = View { leaves: ordered.leaves(), history: &recent.history, snapshot };
            let range = IdRange { start: &start, end: end.as_deref() };
            let mut filler = Filler { chunk: &mut *chunk, max, budget: 2 * max + 256 };
            match view.fill(range, reverse, &mut filler) {
                Progress::End | Progress::Filled => return,
                Progress::Passed(id) if reverse => end = Some(id),
                Progress::Passed(id) => start = start_of(Bound::Excluded(&id)),
            }
        }
    }

    /// Forgets what no snapshot needs any more, a little in each hold of the lock.
    pub(crate) fn prune(&self, snapshots: &Snapshots) {
        let prune = || -> Option<Pruned> {
            if !self.has_history.load(Acquire) {
                return None;
            }
            let mut recent = self.recent.write();
            let pruned = recent.history.prune(snapshots, PRUNE_PER_HOLD);
            self.has_history.store(!recent.history.is_empty(), Release);
            pruned
        };
        while prune().is_some() {}
    }

    /// What the kind has in each segment, in the order of segments.
    pub(crate) fn usage(&self) -> Vec<SegmentUsage> {
        self.recent.read().usage.rows().to_vec()
    }

    /// The heap bytes of all of it, as far as they are known.
    pub(crate) fn memory_bytes(&self) -> usize {
        let ordered = self.ordered.read();
        let recent = self.recent.read();
        let heap =
            ordered.size() + recent.fresh.size() + recent.history.size() + recent.usage.size();
        size_of::<Kind>() + self.name.len() + heap + self.stale.size() + self.points.size()
    }
}

/// What only tests ask.
#[cfg(test)]
impl Kind {
    /// How many slots the point table has, stale ones included.
    pub(super) fn slots(&self) -> usize {
        self.points.len()
    }

    pub(super) fn has_history(&self) -> bool {
        !self.recent.read().history.is_empty()
    }

    /// How many changes nobody has begun to merge.
    pub(super) fn fresh_len(&self) -> usize {
        self.recent.read().fresh.len()
    }

    /// Whether all changes are in the leaves.
    #[cfg(kindlog_shuttle)]
    pub(crate) fn is_settled(&self) -> bool {
        let ordered = self.ordered.read();
        self.recent.read().fresh.is_empty() && ordered.is_settled()
    }

    /// How many entries there are, and how many leaves they are in.
    pub(super) fn leaf_counts(&self) -> (usize, usize) {
        let ordered = self.ordered.read();
        (ordered.leaves().len(), ordered.leaves().leaves())
    }
}
