//! The tail file: a ring that holds copies of the log's newest frames.
//!
//! ```text
//! 24 16  store id
//! 40  8  ring length in bytes
//! ```
//!
//! The ring begins at byte 4096. Position `p` of the log lies in it at `p mod ring length`.

use super::file::{self, FileType, HeaderError, le_u64};
use super::segment::StoreId;

/// Where the ring begins.
pub(crate) const RING_OFFSET: usize = 4096;
/// The ring's length: it stays in the processor's cache.
pub(crate) const RING_LEN: usize = 1 << 20;
const FIELDS_LEN: usize = 24;

/// The header's bytes, which the file begins with.
pub(crate) fn encode_header(store_id: &StoreId) -> Vec<u8> {
    let mut fields = Vec::with_capacity(FIELDS_LEN);
    fields.extend_from_slice(store_id);
    fields.extend_from_slice(&(RING_LEN as u64).to_le_bytes());
    file::encode(FileType::Tail, &fields)
}

/// The store that a tail file belongs to, and its ring's length.
pub(crate) fn decode_header(bytes: &[u8]) -> Result<(StoreId, u64), HeaderError> {
    let (fields, _) = file::decode(FileType::Tail, bytes, FIELDS_LEN)?;
    Ok((fields[..16].try_into().expect("sixteen bytes"), le_u64(fields, 16)))
}
