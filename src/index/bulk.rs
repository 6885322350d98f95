//! Filling a kind at once, from ids that come in order: when a store is opened.

use super::chunk::Chunk;
use super::kind::Kind;
use super::leaves::{Leaves, MAX_ENTRIES, MAX_ID_BYTES};
use super::points::Slots;
use super::usage::Usage;
use crate::format::location::{Location, SegmentId};

/// Takes a kind's ids in order, each once, and what its segments hold. Nothing of it is in the
/// kind before [`Kind::fill_with`].
///
/// It costs a tenth of putting them one by one: leaves are packed full and never touched again, and
/// slots are gathered by shard, so that the tables are filled one after the other, in the
/// processor's cache.
#[derive(Debug)]
pub(crate) struct Bulk<'a> {
    kind: &'a Kind,
    chunk: Chunk,
    pub(super) leaves: Leaves,
    pub(super) slots: Slots,
    pub(super) usage: Usage,
}

impl<'a> Bulk<'a> {
    pub(crate) fn new(kind: &'a Kind) -> Bulk<'a> {
        let (chunk, leaves) = (Chunk::new(), Leaves::default());
        Bulk { kind, chunk, leaves, slots: Slots::default(), usage: Usage::default() }
    }

    /// A segment has frames of the kind: so many bytes, live and dead. The times are those of
    /// [`SegmentUsage`](super::usage::SegmentUsage).
    pub(crate) fn segment(
        &mut self,
        segment: SegmentId,
        total_bytes: u64,
        oldest: i64,
        newest: i64,
    ) {
        self.usage.note_segment(segment, total_bytes, oldest, newest);
    }

    /// Adds an id, which is above all others, and where its record is, in one of the segments.
    #[inline]
    pub(crate) fn push(&mut self, id: &[u8], location: Location) {
        let full = self.chunk.len() == MAX_ENTRIES;
        if full || self.chunk.id_bytes() + id.len() > MAX_ID_BYTES {
            self.cut();
        }
        self.chunk.push(id, &[], location);
        self.slots.push(self.kind.hash(id), location.place);
        self.usage.note_live(location);
    }

    fn cut(&mut self) {
        if !self.chunk.is_empty() {
            self.leaves.append(&self.chunk);
            self.chunk.clear();
        }
    }

    /// Puts all of it into the kind, which is empty.
    pub(crate) fn finish(mut self) {
        self.cut();
        self.kind.fill_with(self);
    }
}
