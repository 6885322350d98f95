//! A segment's header.

use super::file::{self, FileType, HeaderError, le_u32, le_u64};
use super::location::SegmentId;

/// 16 random bytes that a store is born with.
pub(crate) type StoreId = [u8; 16];

/// The length of the header that this build writes; where a segment's first frame begins.
pub(crate) const HEADER_LEN: u64 = (file::PREAMBLE_LEN + FIELDS_LEN) as u64;
const FIELDS_LEN: usize = 48;

/// What a segment says of itself.
///
/// ```text
/// 24 16  store id
/// 40  8  salt: random; part of every frame's header checksum
/// 48  8  base: the position of the file's first byte
/// 56  8  capacity: the bytes that the segment may grow to
/// 64  4  number
/// 68  4  zero
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) store_id: StoreId,
    pub(crate) salt: u64,
    pub(crate) base: u64,
    pub(crate) capacity: u64,
    pub(crate) id: SegmentId,
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> Vec<u8> {
        file::encode(FileType::Segment, &self.fields())
    }

    /// Writes these fields into the bytes of another header, whose flags and extension stay.
    pub(crate) fn replace_in(&self, header: &mut [u8]) {
        file::replace_fields(header, &self.fields());
    }

    fn fields(&self) -> Vec<u8> {
        let mut fields = Vec::with_capacity(FIELDS_LEN);
        fields.extend_from_slice(&self.store_id);
        fields.extend_from_slice(&self.salt.to_le_bytes());
        fields.extend_from_slice(&self.base.to_le_bytes());
        fields.extend_from_slice(&self.capacity.to_le_bytes());
        fields.extend_from_slice(&self.id.0.to_le_bytes());
        fields.extend_from_slice(&[0; 4]);
        fields
    }

    /// The header, and the offset of the first frame.
    pub(crate) fn decode(bytes: &[u8]) -> Result<(SegmentHeader, u64), HeaderError> {
        let (fields, len) = file::decode(FileType::Segment, bytes, FIELDS_LEN)?;
        let header = SegmentHeader {
            store_id: fields[..16].try_into().expect("sixteen bytes"),
            salt: le_u64(fields, 16),
            base: le_u64(fields, 24),
            capacity: le_u64(fields, 32),
            id: SegmentId(le_u32(fields, 40)),
        };
        Ok((header, len as u64))
    }
}
