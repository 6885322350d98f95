//! Entries side by side in one arena.

use std::ops::Range;

use crate::format::location::Location;

/// Ids and locations in order, copied out of the index.
///
/// A scan keeps one and has it filled again and again: its buffers are reused, so that a step
/// allocates nothing. Merging collects a leaf's entries in one, too.
#[derive(Debug, Default)]
pub(crate) struct Chunk {
    ids: Vec<u8>,
    /// Where each id ends in `ids`.
    ends: Vec<u32>,
    locations: Vec<Location>,
}

impl Chunk {
    pub(crate) fn new() -> Chunk {
        Chunk::default()
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The bytes of all ids together.
    pub(crate) fn id_bytes(&self) -> usize {
        self.ids.len()
    }

    pub(crate) fn id(&self, at: usize) -> &[u8] {
        &self.ids[self.range(at)]
    }

    #[inline]
    pub(crate) fn location(&self, at: usize) -> Location {
        self.locations[at]
    }

    /// The id to go on from.
    pub(crate) fn last_id(&self) -> Option<&[u8]> {
        self.len().checked_sub(1).map(|at| self.id(at))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[u8], Location)> {
        (0..self.len()).map(|at| (self.id(at), self.location(at)))
    }

    /// Makes room for more entries, whose ids have at least so many bytes.
    pub(super) fn reserve(&mut self, entries: usize, id_bytes: usize) {
        self.ids.reserve(id_bytes);
        self.ends.reserve(entries);
        self.locations.reserve(entries);
    }

    /// The ids as text, all at once, and one after another; they are no longer in the chunk, which
    /// [`fill`](super::Kind::fill) fills anew. If they are not UTF-8 they stay.
    pub(crate) fn take_text(&mut self) -> Option<String> {
        match String::from_utf8(std::mem::take(&mut self.ids)) {
            Ok(text) => Some(text),
            Err(error) => {
                self.ids = error.into_bytes();
                None
            }
        }
    }

    /// Gives back the text that was taken.
    pub(crate) fn give_back(&mut self, text: String) {
        self.ids = text.into_bytes();
    }

    /// Where in the text the id of an entry stands.
    #[inline]
    pub(crate) fn range(&self, at: usize) -> Range<usize> {
        let start = if at == 0 { 0 } else { self.ends[at - 1] as usize };
        start..self.ends[at] as usize
    }

    /// Adds an entry whose id comes in two pieces.
    #[inline]
    pub(super) fn push(&mut self, prefix: &[u8], suffix: &[u8], location: Location) {
        self.ids.extend_from_slice(prefix);
        self.ids.extend_from_slice(suffix);
        self.ends.push(self.ids.len() as u32);
        self.locations.push(location);
    }

    pub(super) fn clear(&mut self) {
        self.ids.clear();
        self.ends.clear();
        self.locations.clear();
    }
}
