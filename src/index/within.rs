//! Which of a kind's ids have their records in some segments: a walk over all of them.

use super::chunk::Chunk;
use super::kind::Kind;
use super::range::IdRange;
use crate::format::location::SegmentId;

/// A step ends when it has found ids of so many bytes.
const FOUND_LEN: usize = 256 << 10;
/// How many entries are looked at in one hold of the lock, about.
const WALK_LEN: usize = if cfg!(test) { 100 } else { 8 << 10 };

/// A walk under way.
pub(crate) struct Within<'a> {
    kind: &'a Kind,
    /// In order.
    segments: &'a [SegmentId],
    /// The least id that was not looked at; `None` at the end.
    next: Option<Vec<u8>>,
}

impl Kind {
    /// Looks for the ids whose records lie in `segments`, which are in order, and to which nothing
    /// is written any more. Finds all that do until the walk is over, and perhaps some that have
    /// changed meanwhile.
    ///
    /// It reads locations alone, side by side: some nanoseconds an id of the kind.
    pub(crate) fn within<'a>(&'a self, segments: &'a [SegmentId]) -> Within<'a> {
        debug_assert!(segments.is_sorted());
        self.prepare_scan();
        Within { kind: self, segments, next: Some(Vec::new()) }
    }
}

impl Within<'_> {
    /// Replaces what `chunk` holds with the next ones, in order, which may be none. False at the
    /// end.
    pub(crate) fn fill(&mut self, chunk: &mut Chunk) -> bool {
        chunk.clear();
        let Some(start) = self.next.take() else { return false };
        let ordered = self.kind.ordered.read();
        let mut left = WALK_LEN;
        for (leaf, range) in ordered.leaves().pieces(IdRange { start: &start, end: None }) {
            if left == 0 || chunk.id_bytes() >= FOUND_LEN {
                // Where it begins: the range does, but for the first leaf.
                let first = leaf.entry(range.start);
                self.next = Some([first.prefix, first.suffix].concat());
                return true;
            }
            left = left.saturating_sub(range.len());
            for at in range {
                let location = leaf.location(at);
                if self.segments.binary_search(&location.place.segment).is_ok() {
                    let entry = leaf.entry(at);
                    chunk.push(entry.prefix, entry.suffix, location);
                }
            }
        }
        true
    }
}
