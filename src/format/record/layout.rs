//! Where the parts of a frame lie.

use std::ops::Range;

use super::{crc, header_crc};
use crate::format::file::le_u32;
use crate::format::location::UNIT;

/// Where in a frame its parts begin, and how long they are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    /// Where the record begins, past `place`.
    pub(super) record_at: usize,
    /// Where the kind begins, past the header.
    pub(super) body_at: usize,
    pub(super) kind_len: usize,
    pub(super) id_len: usize,
    pub(super) value_len: usize,
}

impl Layout {
    /// Where kind, id and value lie.
    #[inline(always)]
    pub(crate) fn ranges(&self) -> [Range<usize>; 3] {
        let id_at = self.body_at + self.kind_len;
        let value_at = id_at + self.id_len;
        [self.body_at..id_at, id_at..value_at, value_at..value_at + self.value_len]
    }

    /// Where the value ends; padding follows.
    #[inline(always)]
    pub(crate) fn end(&self) -> usize {
        self.body_at + self.kind_len + self.id_len + self.value_len
    }

    /// The frame's length with padding.
    #[inline(always)]
    pub(crate) fn frame_len(&self) -> u64 {
        (self.end() as u64).next_multiple_of(UNIT)
    }

    /// Whether `bytes`, which hold the whole frame, are of this key.
    #[inline(always)]
    pub(crate) fn is_of(&self, bytes: &[u8], kind: &str, id: &[u8]) -> bool {
        let [k, i, _] = self.ranges();
        bytes[i] == *id && bytes[k] == *kind.as_bytes()
    }

    /// Whether `bytes`, which hold the whole header, have its checksum, for this segment and
    /// position.
    #[inline(always)]
    pub(crate) fn has_sound_header(&self, bytes: &[u8], salt: u64, position: u64) -> bool {
        le_u32(bytes, 0) == header_crc(&bytes[4..], self.body_at - 4, salt, position)
    }

    /// Whether `bytes`, which hold the whole frame, have the record's checksum.
    #[inline(always)]
    pub(crate) fn has_sound_body(&self, bytes: &[u8]) -> bool {
        le_u32(bytes, 4) == crc(&bytes[self.record_at..self.end()])
    }
}
