//! A hint's header: which segment, how far, and what its frames come to.
//!
//! ```text
//! 24 16  store id
//! 40  8  the segment's salt
//! 48  8  length: the hint tells of the segment's frames below this offset
//! 56  8  records: puts and deletes, the store's own included
//! 64  8  the store's own among them
//! 72  8  the highest revision of a frame
//! 80  8  payload length in bytes
//! 88  4  the segment's number
//! 92  4  digest: CRC-32 of all those frames' two checksums, in order
//! 96  4  CRC-32 of the payload
//! 100 4  layout of the payload: 1
//!     .. the payload, see `contents`; the file ends with it
//! ```

use super::contents::{Contents, Totals};
use super::file::{self, FileType, HeaderError, le_u32, le_u64};
use super::location::{SegmentId, UNIT};
use super::record::MAX_REVISION;
use super::segment::StoreId;

const FIELDS_LEN: usize = 80;
/// The payload is laid out as `contents` says. Nobody who knows another one misreads it.
const LAYOUT: u32 = 1;

/// What a hint says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HintHeader {
    pub(crate) store_id: StoreId,
    pub(crate) salt: u64,
    pub(crate) id: SegmentId,
    pub(crate) totals: Totals,
    pub(crate) payload_len: u64,
    pub(crate) payload_crc: u32,
}

impl HintHeader {
    /// The header of a hint of these contents.
    pub(crate) fn new(
        store_id: StoreId,
        salt: u64,
        id: SegmentId,
        contents: &Contents,
    ) -> HintHeader {
        let (totals, payload) = (contents.totals, contents.payload());
        let (payload_len, payload_crc) = (payload.len() as u64, crc32fast::hash(payload));
        HintHeader { store_id, salt, id, totals, payload_len, payload_crc }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let Totals { length, digest, records, internal, revision } = self.totals;
        let mut fields = Vec::with_capacity(FIELDS_LEN);
        fields.extend_from_slice(&self.store_id);
        for number in [self.salt, length, records, internal, revision, self.payload_len] {
            fields.extend_from_slice(&number.to_le_bytes());
        }
        for number in [self.id.0, digest, self.payload_crc, LAYOUT] {
            fields.extend_from_slice(&number.to_le_bytes());
        }
        file::encode(FileType::Hint, &fields)
    }

    /// The header, and where the payload begins.
    pub(crate) fn decode(bytes: &[u8]) -> Result<(HintHeader, usize), HeaderError> {
        let (fields, len) = file::decode(FileType::Hint, bytes, FIELDS_LEN)?;
        let layout = le_u32(fields, 76);
        if layout != LAYOUT {
            return Err(HeaderError::Unknown(format!("layout {layout} of the payload")));
        }
        let totals = Totals {
            length: le_u64(fields, 24),
            records: le_u64(fields, 32),
            internal: le_u64(fields, 40),
            revision: le_u64(fields, 48),
            digest: le_u32(fields, 68),
        };
        let sound = totals.length.is_multiple_of(UNIT)
            && totals.length <= UNIT << 32
            && totals.internal <= totals.records
            && totals.records <= totals.length
            && totals.revision <= MAX_REVISION;
        if !sound {
            return Err(HeaderError::Damaged("the hint contradicts itself"));
        }
        let header = HintHeader {
            store_id: fields[..16].try_into().expect("sixteen bytes"),
            salt: le_u64(fields, 16),
            id: SegmentId(le_u32(fields, 64)),
            totals,
            payload_len: le_u64(fields, 56),
            payload_crc: le_u32(fields, 72),
        };
        Ok((header, len))
    }
}
