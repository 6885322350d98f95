//! Recent changes that wait to be merged into the leaves.

use std::ops::Range;

use super::leaf::common_len;
use crate::format::location::{Location, Place, SegmentId};

/// An id, and the hash that its kind knows it by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hashed<'a> {
    pub(crate) id: &'a [u8],
    pub(crate) hash: u64,
}

/// One change: of the id that ends at `end`.
#[derive(Clone, Copy, Debug)]
struct Change {
    end: u32,
    /// The low half of the id's hash, so that finding an id compares few.
    hash: u32,
    /// The id's new location; `NOWHERE` removes it.
    new: Location,
    /// What it was before: so that what a prefix delete takes away can be reckoned unmerged.
    old: Location,
}

/// Stands for the absence of a location, which so takes no room of its own.
const NOWHERE: Location =
    Location { place: Place { segment: SegmentId(u32::MAX), offset: 0 }, len: 0 };

fn some(location: Location) -> Option<Location> {
    Some(location).filter(|location| location.place.segment != NOWHERE.place.segment)
}

impl Change {
    /// By how much it changes the number of ids.
    fn delta(&self) -> i64 {
        i64::from(some(self.new).is_some()) - i64::from(some(self.old).is_some())
    }
}

/// Changes in the order they were made; a later one of the same id counts.
#[derive(Debug, Default)]
pub(super) struct Run {
    ids: Vec<u8>,
    changes: Vec<Change>,
}

/// A run sorted by id, each id once, with a mark up to which it has been merged.
#[derive(Debug, Default)]
pub(super) struct Sorted {
    run: Run,
    order: Vec<u32>,
    next: usize,
}

impl Run {
    /// Adds a change of an id: to `new`, from `old`.
    pub(super) fn push(&mut self, id: Hashed<'_>, new: Option<Location>, old: Option<Location>) {
        let (new, old) = (new.unwrap_or(NOWHERE), old.unwrap_or(NOWHERE));
        self.push_change(id.id, &Change { end: 0, hash: id.hash as u32, new, old });
    }

    fn push_change(&mut self, id: &[u8], change: &Change) {
        self.ids.extend_from_slice(id);
        self.changes.push(Change { end: self.ids.len() as u32, ..*change });
    }

    pub(super) fn len(&self) -> usize {
        self.changes.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    pub(super) fn id_bytes(&self) -> usize {
        self.ids.len()
    }

    pub(super) fn size(&self) -> usize {
        self.ids.capacity() + self.changes.capacity() * size_of::<Change>()
    }

    #[inline]
    fn id(&self, at: usize) -> &[u8] {
        let start = if at == 0 { 0 } else { self.changes[at - 1].end as usize };
        &self.ids[start..self.changes[at].end as usize]
    }

    /// The last change of `id`: its location, or that it was removed. Looks at the hash of every
    /// change.
    pub(super) fn find(&self, id: Hashed<'_>) -> Option<Option<Location>> {
        let hash = id.hash as u32;
        let is_it = |&at: &usize| self.changes[at].hash == hash && self.id(at) == id.id;
        let at = (0..self.len()).rev().find(is_it)?;
        Some(some(self.changes[at].new))
    }

    /// By how much the run changes the number of ids that start with `prefix`.
    pub(super) fn delta(&self, prefix: &[u8]) -> i64 {
        let covered = (0..self.len()).filter(|&at| self.id(at).starts_with(prefix));
        covered.map(|at| self.changes[at].delta()).sum()
    }

    /// Moves the changes of ids that start with `prefix` to `to`.
    pub(super) fn detach(&mut self, prefix: &[u8], to: &mut Run) {
        let all = std::mem::take(self);
        for (at, change) in all.changes.iter().enumerate() {
            let id = all.id(at);
            let run = if id.starts_with(prefix) { &mut *to } else { &mut *self };
            run.push_change(id, change);
        }
    }

    /// What the changes put in place, and what they took away.
    pub(super) fn locations(&self) -> impl Iterator<Item = (Option<Location>, Option<Location>)> {
        self.changes.iter().map(|change| (some(change.new), some(change.old)))
    }

    /// Sorts by the eight bytes after what all ids have in common, which decide nearly always: the
    /// ids themselves, scattered, are compared only on a tie.
    pub(super) fn sort(mut self) -> Sorted {
        if self.is_empty() {
            return Sorted::default();
        }
        let first = self.id(0);
        let common =
            (1..self.len()).fold(first.len(), |n, at| common_len(&first[..n], self.id(at)));
        let key = |at: usize| {
            u128::from(head(&self.id(at)[common..])) << u32::BITS | u128::from(at as u32)
        };
        let mut keys: Vec<u128> = (0..self.len()).map(key).collect();
        keys.sort_unstable();
        let number = |key: &u128| *key as u32 as usize;
        let mut order: Vec<u32> = Vec::with_capacity(keys.len());
        for tie in keys.chunk_by_mut(|a, b| a >> u32::BITS == b >> u32::BITS) {
            // Stable: of one id the later change comes later.
            tie.sort_by(|a, b| self.id(number(a)).cmp(self.id(number(b))));
            let first = order.len();
            for at in tie.iter().map(number) {
                match order[first..].last_mut() {
                    // The last change of an id counts, as one from what the first one found.
                    Some(last) if self.id(*last as usize) == self.id(at) => {
                        self.changes[at].old = self.changes[*last as usize].old;
                        *last = at as u32;
                    }
                    _ => order.push(at as u32),
                }
            }
        }
        Sorted { run: self, order, next: 0 }
    }
}

/// The first eight bytes as a number that sorts as they do; zeros where there are fewer.
fn head(bytes: &[u8]) -> u64 {
    let mut head = [0; 8];
    let len = bytes.len().min(8);
    head[..len].copy_from_slice(&bytes[..len]);
    u64::from_be_bytes(head)
}

impl Sorted {
    /// How many changes wait.
    pub(super) fn len(&self) -> usize {
        self.order.len() - self.next
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn size(&self) -> usize {
        self.run.size() + self.order.capacity() * size_of::<u32>()
    }

    /// The `nth` change that waits.
    pub(super) fn get(&self, nth: usize) -> (&[u8], Option<Location>) {
        let at = self.order[self.next + nth] as usize;
        (self.run.id(at), some(self.run.changes[at].new))
    }

    /// Marks `count` more as merged.
    pub(super) fn advance(&mut self, count: usize) {
        self.next += count;
    }

    pub(super) fn find(&self, id: &[u8]) -> Option<Option<Location>> {
        let waiting = &self.order[self.next..];
        let at = waiting.binary_search_by(|&at| self.run.id(at as usize).cmp(id)).ok()?;
        Some(some(self.run.changes[waiting[at] as usize].new))
    }

    /// Where the changes of ids that start with `prefix` stand in `order`.
    fn covered(&self, prefix: &[u8]) -> Range<usize> {
        let waiting = &self.order[self.next..];
        let id = |at: &u32| self.run.id(*at as usize);
        let from = self.next + waiting.partition_point(|at| id(at) < prefix);
        let len = self.order[from..].partition_point(|at| id(at).starts_with(prefix));
        from..from + len
    }

    pub(super) fn delta(&self, prefix: &[u8]) -> i64 {
        let covered = &self.order[self.covered(prefix)];
        covered.iter().map(|&at| self.run.changes[at as usize].delta()).sum()
    }

    /// Moves the changes of ids that start with `prefix` to `to`.
    pub(super) fn detach(&mut self, prefix: &[u8], to: &mut Run) {
        let covered = self.covered(prefix);
        for at in self.order.drain(covered) {
            let change = &self.run.changes[at as usize];
            to.push_change(self.run.id(at as usize), change);
        }
    }
}
