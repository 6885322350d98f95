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
/// Leaves without a change of their own that merging passes before it goes down the map anew.
const MAX_SKIPPED: usize = 2;
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

    /// The leaf that has `id`, if any has.
    pub(super) fn leaf_of_mut(&mut self, id: &[u8]) -> Option<&mut Leaf> {
        let upto = (Bound::Unbounded, Bound::Included(id));
        self.map.range_mut::<[u8], _>(upto).next_back().map(|(_, leaf)| leaf)
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

    /// Merges changes that wait at the head of `run`: those of up to `most` leaves, at least one.
    pub(super) fn merge_some(&mut self, run: &mut Sorted, most: usize, scratch: &mut Chunk) {
        let mut left = most;
        while left > 0 && !run.is_empty() {
            let (id, _) = run.get(0);
            let home = self.leaf_of(id).map(|(first, _)| first);
            let Some(home) = home.or(self.map.keys().next().map(|first| &**first)) else {
                let count = run.len().min(MAX_ENTRIES);
                self.rebuild(None, run, count, scratch);
                left -= 1;
                continue;
            };
            let home: Box<[u8]> = home.into();
            if let Some((at, count)) = self.sweep(&home, run, &mut left) {
                self.rebuild(Some(at.unwrap_or(home)), run, count, scratch);
                left = left.saturating_sub(1);
            }
        }
    }

    /// Merges changes into the leaf at `home`, and into those behind it as long as they are near,
    /// one after the other. Counts `left` down for each. Ends early at a leaf that has to be built
    /// anew: returns its first id, unless it is `home`, and how many changes are for it.
    fn sweep(
        &mut self,
        home: &[u8],
        run: &mut Sorted,
        left: &mut usize,
    ) -> Option<(Option<Box<[u8]>>, usize)> {
        let Leaves { map, entries, heap } = self;
        let mut leaves = map.range_mut::<[u8], _>((Bound::Included(home), Bound::Unbounded));
        let mut here = leaves.next()?;
        let (mut at_home, mut skipped) = (true, 0);
        while *left > 0 && !run.is_empty() {
            let next = leaves.next();
            let end = next.as_ref().map(|(first, _)| &***first);
            let belongs = |run: &Sorted, nth| end.is_none_or(|end| run.get(nth).0 < end);
            // What is below the first leaf's first id is for it all the same.
            let most = run.len().min(MAX_ENTRIES);
            let count =
                (usize::from(at_home)..most).find(|&nth| !belongs(run, nth)).unwrap_or(most);
            if count > 0 {
                skipped = 0;
                *left -= 1;
                let leaf = &mut *here.1;
                let before = (leaf.len(), leaf.size());
                let rest = merge_into(leaf, run, count);
                *entries = *entries + leaf.len() - before.0;
                *heap = *heap + leaf.size() - before.1;
                if rest > 0 {
                    return Some(((!at_home).then(|| here.0.clone()), rest));
                }
            }
            // The one that was last looked at may have more, and so may the next.
            if count > 0 && !run.is_empty() && belongs(run, 0) {
                return None;
            }
            skipped += 1;
            if skipped > MAX_SKIPPED {
                return None;
            }
            at_home = false;
            here = next?;
        }
        None
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

/// Makes the next `count` changes in a leaf that they belong to, if that is a simple matter.
/// Returns how many of them are left; those want the leaf built anew. May do with fewer than
/// `count`: what has no room behind a leaf's last id is left for another turn.
fn merge_into(leaf: &mut Leaf, run: &mut Sorted, count: usize) -> usize {
    let room = leaf.room_behind(run.get(0).0);
    let count = if room > 0 { count.min(room) } else { count };
    match leaf.apply(run, count) {
        true => {
            run.advance(count);
            0
        }
        false => count,
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
