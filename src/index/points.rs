//! From an id's hash to the places that may hold it: one cache miss instead of a walk.

use crate::disk::native::prefetch_item;
use crate::format::location::{Place, SegmentId};
use crate::sync::RwLock;

/// A power of two. More locks let readers and the writer meet less.
const SHARDS: usize = 16;
/// A table grows when it is fuller than this share.
const LOAD_NUM: usize = 4;
const LOAD_DEN: usize = 5;
/// A table that is made at once is filled up to this share.
const FILL_NUM: usize = 2;
const FILL_DEN: usize = 3;
const EMPTY: u32 = u32::MAX;

/// The point lookups of a kind: open-addressing tables in shards.
///
/// The keys are not held here. A slot whose hash matches is a candidate, and the caller compares
/// the key in the record, which it has to read anyway. Candidates come from a [`Probe`].
///
/// Keys that a prefix delete removed may still have slots: [`stale`](super::stale).
#[derive(Debug)]
pub(super) struct Points {
    shards: [RwLock<Table>; SHARDS],
}

/// A slot is 12 bytes.
#[derive(Clone, Copy, Debug)]
struct Slot {
    hash: u32,
    segment: u32,
    offset: u32,
}

const EMPTY_SLOT: Slot = Slot { hash: 0, segment: EMPTY, offset: 0 };

impl Slot {
    fn new(hash: u32, place: Place) -> Slot {
        Slot { hash, segment: place.segment.0, offset: place.offset }
    }

    fn place(self) -> Place {
        Place { segment: SegmentId(self.segment), offset: self.offset }
    }

    fn is_empty(self) -> bool {
        self.segment == EMPTY
    }
}

/// One shard: linear probing, without marks for removed slots. Slots lie in the order of their
/// hashes, but for collisions, so that growing copies from front to back, and by any factor.
#[derive(Debug, Default)]
struct Table {
    slots: Box<[Slot]>,
    len: u32,
    /// Changes whenever slots may have moved.
    version: u32,
}

/// Slots gathered by shard, so that each table is filled at once.
#[derive(Debug, Default)]
pub(super) struct Slots {
    shards: [Vec<Slot>; SHARDS],
}

impl Slots {
    #[inline]
    pub(super) fn push(&mut self, hash: u64, place: Place) {
        self.shards[shard(hash)].push(Slot::new(hash as u32, place));
    }
}

/// The slots of a detached table, to be freed elsewhere.
#[derive(Debug)]
pub(super) struct Retired {
    #[expect(dead_code, reason = "held to be dropped")]
    tables: Vec<Table>,
}

impl Table {
    /// A table that takes a good many more before it has to grow.
    fn with(slots: &[Slot]) -> Table {
        if slots.is_empty() {
            return Table::default();
        }
        let size = slots.len() * FILL_DEN / FILL_NUM + 4;
        let empty = vec![EMPTY_SLOT; size].into_boxed_slice();
        let mut table = Table { slots: empty, len: slots.len() as u32, version: 1 };
        slots.iter().for_each(|slot| table.put(*slot));
        table
    }

    #[inline]
    fn home(&self, hash: u32) -> usize {
        ((u64::from(hash) * self.slots.len() as u64) >> 32) as usize
    }

    #[inline]
    fn after(&self, at: usize) -> usize {
        if at + 1 == self.slots.len() { 0 } else { at + 1 }
    }

    /// The `nth` slot with this hash that `accept`s.
    #[inline]
    fn find(&self, hash: u32, mut nth: usize, accept: impl Fn(Slot) -> bool) -> Option<usize> {
        if self.slots.is_empty() {
            return None;
        }
        let mut at = self.home(hash);
        loop {
            let slot = self.slots[at];
            if slot.is_empty() {
                return None;
            }
            if slot.hash == hash && accept(slot) {
                if nth == 0 {
                    return Some(at);
                }
                nth -= 1;
            }
            at = self.after(at);
        }
    }

    fn insert(&mut self, hash: u32, place: Place) {
        if (self.len as usize + 1) * LOAD_DEN > self.slots.len() * LOAD_NUM {
            self.grow();
        }
        self.put(Slot::new(hash, place));
        self.len += 1;
    }

    fn put(&mut self, slot: Slot) {
        let mut at = self.home(slot.hash);
        while !self.slots[at].is_empty() {
            at = self.after(at);
        }
        self.slots[at] = slot;
    }

    fn grow(&mut self) {
        let size = (self.slots.len() + self.slots.len() / 2).max(4);
        let old = std::mem::replace(&mut self.slots, vec![EMPTY_SLOT; size].into_boxed_slice());
        for slot in old.iter().filter(|slot| !slot.is_empty()) {
            self.put(*slot);
        }
        self.version = self.version.wrapping_add(1);
    }

    /// Empties a slot, and moves back those behind it that would no longer be found.
    fn remove(&mut self, mut hole: usize) {
        let size = self.slots.len();
        let mut at = self.after(hole);
        while !self.slots[at].is_empty() {
            // A slot may move into the hole unless its home lies behind the hole.
            let home = self.home(self.slots[at].hash);
            let from_home = if at >= home { at - home } else { at + size - home };
            let from_hole = if at >= hole { at - hole } else { at + size - hole };
            if from_home >= from_hole {
                self.slots[hole] = self.slots[at];
                hole = at;
            }
            at = self.after(at);
        }
        self.slots[hole] = EMPTY_SLOT;
        self.len -= 1;
        self.version = self.version.wrapping_add(1);
    }
}

/// A hash's shard, by its high half; its low half is the slot's.
#[inline]
fn shard(hash: u64) -> usize {
    (hash >> 32) as usize % SHARDS
}

/// A lookup under way: the candidates for one hash, one after another.
///
/// Between two of them the table may change. If slots moved in between, it starts over, and may
/// give a candidate twice, but never misses the place of a key that was there all along.
#[derive(Debug)]
pub(super) struct Probe {
    hash: u64,
    nth: usize,
    version: u32,
}

impl Probe {
    pub(super) fn new(hash: u64) -> Probe {
        Probe { hash, nth: 0, version: 0 }
    }

    #[inline]
    pub(super) fn next(&mut self, points: &Points) -> Option<Place> {
        let table = points.shard(self.hash).read();
        if table.version != self.version {
            self.nth = 0;
            self.version = table.version;
        }
        let at = table.find(self.hash as u32, self.nth, |_| true)?;
        self.nth += 1;
        Some(table.slots[at].place())
    }
}

impl Points {
    pub(super) fn new() -> Points {
        Points { shards: std::array::from_fn(|_| RwLock::default()) }
    }

    #[inline]
    fn shard(&self, hash: u64) -> &RwLock<Table> {
        &self.shards[shard(hash)]
    }

    /// The first candidate for a hash.
    #[inline(always)]
    pub(super) fn first(&self, hash: u64) -> Option<Place> {
        let table = self.shard(hash).read();
        table.find(hash as u32, 0, |_| true).map(|at| table.slots[at].place())
    }

    /// Fills the tables, which are empty.
    pub(super) fn fill(&self, slots: Slots) {
        for (shard, slots) in self.shards.iter().zip(slots.shards) {
            *shard.write() = Table::with(&slots);
        }
    }

    /// Has the processor fetch the slots where a hash would be.
    #[inline]
    pub(super) fn prefetch(&self, hash: u64) {
        let table = self.shard(hash).read();
        if let Some(slot) = table.slots.get(table.home(hash as u32)) {
            prefetch_item(slot);
        }
    }

    pub(super) fn insert(&self, hash: u64, place: Place) {
        self.shard(hash).write().insert(hash as u32, place);
    }

    /// Points the slot of `old` to `new`. False if there is none.
    pub(super) fn replace(&self, hash: u64, old: Place, new: Place) -> bool {
        let mut table = self.shard(hash).write();
        let Some(at) = table.find(hash as u32, 0, |slot| slot.place() == old) else { return false };
        table.slots[at] = Slot::new(hash as u32, new);
        true
    }

    /// Whether there is a slot of `place`.
    pub(super) fn contains(&self, hash: u64, place: Place) -> bool {
        let table = self.shard(hash).read();
        table.find(hash as u32, 0, |slot| slot.place() == place).is_some()
    }

    /// Removes the slot of `old`. False if there is none.
    pub(super) fn remove(&self, hash: u64, old: Place) -> bool {
        let mut table = self.shard(hash).write();
        let found = table.find(hash as u32, 0, |slot| slot.place() == old);
        if let Some(at) = found {
            table.remove(at);
        }
        found.is_some()
    }

    /// Removes all slots, and returns them for the caller to free.
    pub(super) fn retire(&self) -> Retired {
        let retire = |shard: &RwLock<Table>| {
            let mut table = shard.write();
            let version = table.version.wrapping_add(1);
            std::mem::replace(&mut *table, Table { version, ..Table::default() })
        };
        Retired { tables: self.shards.iter().map(retire).collect() }
    }

    /// How many slots are taken, stale ones included.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.read().len as usize).sum()
    }

    pub(super) fn size(&self) -> usize {
        self.shards.iter().map(|shard| shard.read().slots.len() * size_of::<Slot>()).sum()
    }
}
