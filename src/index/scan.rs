//! What a snapshot sees of a range: the leaves, overlaid with history.

use std::cmp::Ordering;
use std::ops::Range;

use super::chunk::Chunk;
use super::history::{Detached, History};
use super::leaf::{Entry, Leaf};
use super::leaves::Leaves;
use super::range::IdRange;
use crate::format::location::Location;

/// A chunk's ids have at most about so many bytes.
const CHUNK_ID_BYTES: usize = 256 << 10;

/// A kind as it was at a revision. Lives while the kind is locked for reading.
pub(super) struct View<'a> {
    pub(super) leaves: &'a Leaves,
    pub(super) history: &'a History,
    pub(super) snapshot: u64,
}

/// How far a step came.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// To the end of the range.
    End,
    /// The chunk is full; or it isn't empty, and enough was looked at.
    Filled,
    /// Enough was looked at, and nothing of it was there at the snapshot's revision. This was the
    /// last id looked at.
    Passed(Vec<u8>),
}

/// Fills a chunk, and counts what that takes.
pub(super) struct Filler<'a> {
    pub(super) chunk: &'a mut Chunk,
    /// The most entries in the chunk.
    pub(super) max: usize,
    /// The most entries to look at.
    pub(super) budget: usize,
}

impl Filler<'_> {
    /// Adds an entry, or passes one that wasn't there. Says whether to stop.
    #[inline]
    fn take(
        &mut self,
        prefix: &[u8],
        suffix: &[u8],
        location: Option<Location>,
    ) -> Option<Progress> {
        if let Some(location) = location {
            self.chunk.push(prefix, suffix, location);
            if self.chunk.len() >= self.max || self.chunk.id_bytes() >= CHUNK_ID_BYTES {
                return Some(Progress::Filled);
            }
        }
        self.budget = self.budget.saturating_sub(1);
        if self.budget > 0 {
            return None;
        }
        let passed = self.chunk.is_empty();
        Some(if passed { Progress::Passed([prefix, suffix].concat()) } else { Progress::Filled })
    }

    /// Adds entries that all were there.
    fn copy<'b>(
        &mut self,
        pieces: impl Iterator<Item = (&'b Leaf, Range<usize>)>,
    ) -> Option<Progress> {
        for (leaf, mut piece) in pieces {
            piece.end = piece.end.min(piece.start + self.max - self.chunk.len());
            leaf.copy_to(self.chunk, piece);
            if self.chunk.len() >= self.max || self.chunk.id_bytes() >= CHUNK_ID_BYTES {
                return Some(Progress::Filled);
            }
        }
        None
    }

    /// Merges the entries of a base with the ids that were changed since, both in the order in
    /// which the one that compares as `first` comes first.
    fn merge<'b>(
        &mut self,
        base: impl Iterator<Item = Entry<'b>>,
        changed: impl Iterator<Item = (&'b [u8], Option<Location>)>,
        first: Ordering,
    ) -> Option<Progress> {
        let mut changed = changed.peekable();
        for entry in base {
            let mut location = Some(entry.location);
            while let Some(&(id, before)) = changed.peek() {
                let order = entry.cmp_id(id);
                if order == first {
                    break;
                }
                changed.next();
                if order.is_eq() {
                    location = before;
                    break;
                }
                if let Some(progress) = self.take(id, &[], before) {
                    return Some(progress);
                }
            }
            if let Some(progress) = self.take(entry.prefix, entry.suffix, location) {
                return Some(progress);
            }
        }
        changed.find_map(|(id, before)| self.take(id, &[], before))
    }
}

impl View<'_> {
    /// Goes through a range in order or in reverse.
    ///
    /// Prefix deletes after the snapshot cut the range into stretches, in each of which one of
    /// them, or none, has the state to begin with.
    pub(super) fn fill(
        &self,
        range: IdRange<'_>,
        reverse: bool,
        filler: &mut Filler<'_>,
    ) -> Progress {
        let mut rest = range;
        while !rest.is_empty() {
            let stretch = if reverse { self.last_stretch(rest) } else { self.first_stretch(rest) };
            if let Some(progress) = self.fill_stretch(stretch, reverse, filler) {
                return progress;
            }
            match (reverse, stretch.end) {
                (true, _) => rest.end = Some(stretch.start),
                (false, Some(end)) => rest.start = end,
                (false, None) => return Progress::End,
            }
        }
        Progress::End
    }

    fn fill_stretch(
        &self,
        stretch: IdRange<'_>,
        reverse: bool,
        filler: &mut Filler<'_>,
    ) -> Option<Progress> {
        let base =
            self.history.detached_after(self.snapshot).find(|detached| covers(detached, stretch));
        let until = base.map_or(u64::MAX, |detached| detached.revision);
        let settled = base.map(Detached::settled);
        let leaves = settled.as_ref().map_or(self.leaves, |ordered| ordered.leaves());
        if self.history.has_no_changes() && !reverse {
            return filler.copy(leaves.pieces(stretch));
        }
        let entries = leaves.range(stretch);
        let changed = self.history.changed(stretch, self.snapshot, until);
        if reverse {
            filler.merge(entries.rev(), changed.rev(), Ordering::Greater)
        } else {
            filler.merge(entries, changed, Ordering::Less)
        }
    }

    /// The borders of the prefix deletes after the snapshot.
    fn borders(&self) -> impl Iterator<Item = &[u8]> {
        self.history
            .detached_after(self.snapshot)
            .map(Detached::range)
            .flat_map(|range| [Some(range.start), range.end].into_iter().flatten())
    }

    fn first_stretch<'r>(&'r self, range: IdRange<'r>) -> IdRange<'r> {
        let inside =
            |border: &&[u8]| *border > range.start && range.end.is_none_or(|end| *border < end);
        IdRange { end: self.borders().filter(inside).min().or(range.end), ..range }
    }

    fn last_stretch<'r>(&'r self, range: IdRange<'r>) -> IdRange<'r> {
        let inside =
            |border: &&[u8]| *border > range.start && range.end.is_none_or(|end| *border < end);
        IdRange { start: self.borders().filter(inside).max().unwrap_or(range.start), ..range }
    }
}

/// Whether a prefix delete covers a stretch, which it does wholly or not at all.
fn covers(detached: &Detached, stretch: IdRange<'_>) -> bool {
    stretch.start.starts_with(&detached.prefix)
}
