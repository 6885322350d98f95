//! The leaves of a kind, and how they are split, joined and taken apart.

use std::collections::BTreeMap;
use std::ops::{Bound, Range};

use super::chunk::Chunk;
use super::leaf::{Entry, Leaf};
use super::range::{IdRange, prefix_end};
use super::run::Sorted;
use crate::format::location::Location;

/// The most entries of a leaf. More make the map above smaller, and a change dearer.
pub(super) const MAX_ENTRIES: usize = 128;
/// The most id bytes of a leaf with more than one entry, so that long ids don't make a change dear.
pub(super) const MAX_ID_BYTES: usize = 16 << 10;
/// What an entry of the map costs beside its key's and its leaf's bytes: the node's share, nodes
/// being two thirds full, and what the allocator adds.
const ENTRY_OVERHEAD: usize = 80;
/// A prefix of fewer leaves than this share of all is taken out leaf by leaf.
const FEW_SHARE: usize = 16;

/// Sorted leaves under their first ids. Each id is in the last leaf whose first id is not above it.
/// No leaf is empty.
#[derive(Debug, Default)]
pub(super) struct Leaves {
    map: BTreeMap<Box<[u8]>, Leaf>,
    entries: usize,
    heap: usize,
}

impl Leaves {
    /// How many ids there are.
    pub(super) fn len(&self) -> usize {
        self.entries
    }

    /// How many leaves they are in.
    #[cfg(test)]
    pub(super) fn leaves(&self) -> usize {
        self.map.len()
    }

    pub(super) fn size(&self) -> usize {
        self.heap
    }

    fn leaf_of(&self, id: &[u8]) -> Option<(&[u8], &Leaf)> {
        let upto = (Bound::Unbounded, Bound::Included(id));
        self.map.range::<[u8], _>(upto).next_back().map(|(first, leaf)| (&**first, leaf))
    }

    pub(super) fn find(&self, id: &[u8]) -> Option<Location> {
        let (_, leaf) = self.leaf_of(id)?;
        leaf.search(id).ok().map(|at| leaf.location(at))
    }

    /// The entries of a range in order, or, reversed, in reverse.
    pub(super) fn range<'a>(
        &'a self,
        range: IdRange<'a>,
    ) -> impl DoubleEndedIterator<Item = Entry<'a>> {
        self.pieces(range).flat_map(|(leaf, piece)| leaf.entries(piece))
    }

    /// The leaves of a range in order, each with which of its entries lie in the range.
    pub(super) fn pieces<'a>(
        &'a self,
        range: IdRange<'a>,
    ) -> impl DoubleEndedIterator<Item = (&'a Leaf, Range<usize>)> {
        // The first leaf may begin before the range.
        let first = self.leaf_of(range.start).map_or(range.start, |(first, _)| first);
        let widened = IdRange { start: first, end: range.end };
        let bounds = if range.is_empty() {
            // Any range that holds nothing and isn't upside down.
            (Bound::Included(first), Bound::Excluded(first))
        } else {
            widened.bounds()
        };
        self.map.range::<[u8], _>(bounds).map(move |(first, leaf)| {
            let from = if &**first < range.start { leaf.lower_bound(range.start) } else { 0 };
            let to = match range.end {
                Some(end) if leaf.cmp_last(end).is_ge() => leaf.lower_bound(end),
                _ => leaf.len(),
            };
            (leaf, from..to.max(from))
        })
    }

    /// How many ids start with `prefix`. Looks into the leaves at the edges only.
    pub(super) fn count(&self, prefix: &[u8]) -> usize {
        let end = prefix_end(prefix);
        let below = |leaf: &Leaf| end.as_deref().map_or(leaf.len(), |end| leaf.lower_bound(end));
        let edge =
            self.map.range::<[u8], _>((Bound::Unbounded, Bound::Excluded(prefix))).next_back();
        let edge = edge.map_or(0, |(_, leaf)| below(leaf) - leaf.lower_bound(prefix));
        let range = IdRange { start: prefix, end: end.as_deref() };
        let mut inside = self.map.range::<[u8], _>(range.bounds());
        let last = inside.next_back().map_or(0, |(_, leaf)| below(leaf));
        edge + last + inside.map(|(_, leaf)| leaf.len()).sum::<usize>()
    }

    /// Every leaf's locations, for a walk that needs no ids.
    pub(super) fn locations(&self) -> impl Iterator<Item = Location> {
        self.map.values().flat_map(Leaf::all_locations)
    }

    /// Merges the changes that wait at the head of `run` and belong to one leaf: at least one, at
    /// most [`MAX_ENTRIES`].
    pub(super) fn merge_some(&mut self, run: &mut Sorted, scratch: &mut Chunk) {
        let (id, _) = run.get(0);
        let home =
            self.leaf_of(id).map(|(first, _)| first).or(self.map.keys().next().map(|k| &**k));
        let home: Option<Box<[u8]>> = home.map(Into::into);
        let after = Bound::Excluded(home.as_deref().unwrap_or(id));
        let next = self.map.range::<[u8], _>((after, Bound::Unbounded)).next();
        let belongs = |nth: usize| next.is_none_or(|(next, _)| run.get(nth).0 < &**next);
        let most = run.len().min(MAX_ENTRIES);
        let count = (1..most).find(|&nth| !belongs(nth)).unwrap_or(most);
        let Some(home) = home else {
            self.rebuild(None, run, count, scratch);
            return;
        };
        let room = self.map.get(&home).map_or(0, |leaf| leaf.room_behind(run.get(0).0));
        let count = if room > 0 { count.min(room) } else { count };
        let patched = self.patch(&home, run, count);
        run.advance(patched);
        if patched < count && !self.splice(&home, run, count - patched) {
            self.rebuild(Some(home), run, count - patched, scratch);
        }
    }

    /// Overwrites locations in place, up to the first change that needs more. Returns how many.
    fn patch(&mut self, home: &[u8], run: &Sorted, count: usize) -> usize {
        let Some(leaf) = self.map.get_mut(home) else { return 0 };
        for nth in 0..count {
            let (id, location) = run.get(nth);
            match (leaf.search(id), location) {
                (Ok(at), Some(location)) => leaf.set_location(at, location),
                _ => return nth,
            }
        }
        count
    }

    /// Replaces the leaf at `home` in place with one that has the next `count` changes. False if
    /// that is no simple matter.
    fn splice(&mut self, home: &[u8], run: &mut Sorted, count: usize) -> bool {
        let Some(leaf) = self.map.get_mut(home) else { return false };
        let Some(new) = leaf.splice(run, count) else { return false };
        self.entries = self.entries + new.len() - leaf.len();
        self.heap = self.heap + new.size() - leaf.size();
        *leaf = new;
        run.advance(count);
        true
    }

    /// Builds the leaf at `home` anew with the next `count` changes, splitting it where it grows
    /// too large, and joining it with another where it gets small.
    fn rebuild(
        &mut self,
        home: Option<Box<[u8]>>,
        run: &mut Sorted,
        count: usize,
        scratch: &mut Chunk,
    ) {
        scratch.clear();
        let old = home.as_deref().and_then(|home| self.map.get(home));
        let appended = old.is_none_or(|leaf| leaf.cmp_last(run.get(0).0).is_lt());
        // Ids that come in order fill a leaf and then leave it alone.
        let keep = appended && old.is_some_and(|leaf| leaf.len() >= MAX_ENTRIES);
        merge(old.filter(|_| !keep), run, count, scratch);
        run.advance(count);
        if !keep && let Some(home) = &home {
            self.take(home);
        }
        let pieces = scratch.len().div_ceil(MAX_ENTRIES).max(1);
        let most = if appended { MAX_ENTRIES } else { scratch.len().div_ceil(pieces) };
        let mut from = 0;
        while from < scratch.len() {
            let to = cut(scratch, from, most);
            self.add(scratch.id(from).into(), Leaf::build(scratch, from..to));
            from = to;
        }
        if !scratch.is_empty() && scratch.len() < MAX_ENTRIES / 4 {
            self.join(scratch);
        }
    }

    /// Joins a small leaf, whose entries are in `scratch`, with one next to it that has room.
    fn join(&mut self, scratch: &mut Chunk) {
        let first = scratch.id(0);
        let room = MAX_ENTRIES / 4 * 3 - scratch.len();
        let bytes = MAX_ID_BYTES.saturating_sub(scratch.id_bytes());
        let has_room = |leaf: &Leaf| leaf.len() <= room && leaf.id_bytes() <= bytes;
        let below = (Bound::Unbounded, Bound::Excluded(first));
        let above = (Bound::Excluded(first), Bound::Unbounded);
        let left = self.map.range::<[u8], _>(below).next_back().filter(|(_, leaf)| has_room(leaf));
        let right = || self.map.range::<[u8], _>(above).next().filter(|(_, leaf)| has_room(leaf));
        let (low, high) = match (left, right) {
            (Some((left, _)), _) => (left.clone(), Box::from(first)),
            (None, right) => match right() {
                Some((right, _)) => (Box::from(first), right.clone()),
                None => return,
            },
        };
        let (Some(left), Some(right)) = (self.take(&low), self.take(&high)) else { return };
        scratch.clear();
        left.copy_to(scratch, 0..left.len());
        right.copy_to(scratch, 0..right.len());
        self.add(low, Leaf::build(scratch, 0..scratch.len()));
    }

    /// Adds all that is in `chunk`, which fits a leaf and lies behind all there is, as a leaf.
    pub(super) fn append(&mut self, chunk: &Chunk) {
        self.add(chunk.id(0).into(), Leaf::build(chunk, 0..chunk.len()));
    }

    fn add(&mut self, first: Box<[u8]>, leaf: Leaf) {
        self.entries += leaf.len();
        self.heap += first.len() + leaf.size() + ENTRY_OVERHEAD;
        let old = self.map.insert(first, leaf);
        debug_assert!(old.is_none());
    }

    fn take(&mut self, first: &[u8]) -> Option<Leaf> {
        let leaf = self.map.remove(first)?;
        self.entries -= leaf.len();
        self.heap -= first.len() + leaf.size() + ENTRY_OVERHEAD;
        Some(leaf)
    }

    /// Takes out all ids that start with `prefix`. Whole leaves move; only those at the edges are
    /// split.
    pub(super) fn detach(&mut self, prefix: &[u8]) -> Leaves {
        let end = prefix_end(prefix);
        self.split_leaf(prefix);
        if let Some(end) = &end {
            self.split_leaf(end);
        }
        let bounds = IdRange { start: prefix, end: end.as_deref() }.bounds();
        let few = self.map.len() / FEW_SHARE + 1;
        let firsts: Vec<Box<[u8]>> =
            self.map.range::<[u8], _>(bounds).take(few).map(|(first, _)| first.clone()).collect();
        let mut detached = Leaves::default();
        if firsts.len() < few {
            for first in firsts {
                if let Some(leaf) = self.take(&first) {
                    detached.add(first, leaf);
                }
            }
            return detached;
        }
        detached.map = self.map.split_off(prefix);
        if let Some(end) = &end {
            self.map.append(&mut detached.map.split_off(&**end));
        }
        for (first, leaf) in &detached.map {
            detached.entries += leaf.len();
            detached.heap += first.len() + leaf.size() + ENTRY_OVERHEAD;
        }
        self.entries -= detached.entries;
        self.heap -= detached.heap;
        detached
    }

    /// Makes `id` the border between two leaves.
    fn split_leaf(&mut self, id: &[u8]) {
        let Some((first, leaf)) = self.leaf_of(id) else { return };
        let at = leaf.lower_bound(id);
        if at == 0 || at == leaf.len() {
            return;
        }
        let mut chunk = Chunk::new();
        leaf.copy_to(&mut chunk, 0..leaf.len());
        let first: Box<[u8]> = first.into();
        self.take(&first);
        self.add(first, Leaf::build(&chunk, 0..at));
        self.add(chunk.id(at).into(), Leaf::build(&chunk, at..chunk.len()));
    }
}

/// Collects in `scratch` what `leaf` holds after the next `count` changes of `run`.
fn merge(leaf: Option<&Leaf>, run: &Sorted, count: usize, scratch: &mut Chunk) {
    let len = leaf.map_or(0, Leaf::len);
    let mut at = 0;
    for nth in 0..count {
        let (id, location) = run.get(nth);
        while let Some(leaf) = leaf.filter(|_| at < len) {
            let entry = leaf.entry(at);
            let order = entry.cmp_id(id);
            if order.is_gt() {
                break;
            }
            at += 1;
            if order.is_eq() {
                break;
            }
            scratch.push(entry.prefix, entry.suffix, entry.location);
        }
        if let Some(location) = location {
            scratch.push(id, &[], location);
        }
    }
    if let Some(leaf) = leaf {
        leaf.copy_to(scratch, at..len);
    }
}

/// Where a leaf that starts at `from` ends: after `most` entries, or before its ids get too long.
fn cut(chunk: &Chunk, from: usize, most: usize) -> usize {
    let mut bytes = chunk.id(from).len();
    for at in from + 1..chunk.len().min(from + most) {
        bytes += chunk.id(at).len();
        if bytes > MAX_ID_BYTES {
            return at;
        }
    }
    chunk.len().min(from + most)
}
