//! Where a record lies.

/// The alignment of frames, and the unit of offsets and lengths in a [`Location`].
pub(crate) const UNIT: u64 = 8;

/// A segment's number. Numbers increase and are never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SegmentId(pub(crate) u32);

/// Where a record's frame begins: 8 bytes, which is what a point lookup has to keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Place {
    pub(crate) segment: SegmentId,
    /// In units of 8 bytes from the start of the file.
    pub(crate) offset: u32,
}

/// A record's place and length: 12 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Location {
    pub(crate) place: Place,
    /// The frame's length with padding, in units of 8 bytes.
    pub(crate) len: u32,
}

impl Place {
    /// A place from a byte offset, which is a multiple of 8 below 32 GiB.
    pub(crate) fn new(segment: SegmentId, offset_bytes: u64) -> Place {
        debug_assert!(
            offset_bytes.is_multiple_of(UNIT) && offset_bytes / UNIT <= u64::from(u32::MAX)
        );
        Place { segment, offset: (offset_bytes / UNIT) as u32 }
    }

    #[inline]
    pub(crate) fn offset_bytes(&self) -> u64 {
        u64::from(self.offset) * UNIT
    }
}

impl Location {
    pub(crate) fn new(segment: SegmentId, offset_bytes: u64, len_bytes: u64) -> Location {
        debug_assert!(len_bytes.is_multiple_of(UNIT));
        Location { place: Place::new(segment, offset_bytes), len: (len_bytes / UNIT) as u32 }
    }

    #[inline]
    pub(crate) fn len_bytes(&self) -> u64 {
        u64::from(self.len) * UNIT
    }
}
