//! The tail file: a ring that holds copies of the log's newest frames.
//!
//! ```text
//! 24 16  store id
//! 40  8  ring length in bytes
//! ```
//!
//! The ring begins at byte 4096. Position `p` of the log lies in it at `p mod ring length`, a power
//! of two from 64 KiB to 16 MiB.

use super::file::{self, FileType, HeaderError, le_u64};
use super::segment::StoreId;

/// Where the ring begins.
pub(crate) const RING_OFFSET: usize = 4096;
/// The length of a ring that is made: with all that a commit goes through on its way it stays in
/// the processor's cache.
pub(crate) const RING_LEN: usize = 256 << 10;
const RING_LENS: std::ops::RangeInclusive<u64> = 64 << 10..=16 << 20;
/// No tail file has more bytes that count.
pub(crate) const MAX_LEN: u64 = RING_OFFSET as u64 + *RING_LENS.end();
const FIELDS_LEN: usize = 24;

/// The header's bytes, which the file begins with.
pub(crate) fn encode_header(store_id: &StoreId) -> Vec<u8> {
    let mut fields = Vec::with_capacity(FIELDS_LEN);
    fields.extend_from_slice(store_id);
    fields.extend_from_slice(&(RING_LEN as u64).to_le_bytes());
    file::encode(FileType::Tail, &fields)
}

/// The store that a tail file belongs to, and its ring's length.
pub(crate) fn decode_header(bytes: &[u8]) -> Result<(StoreId, usize), HeaderError> {
    let (fields, _) = file::decode(FileType::Tail, bytes, FIELDS_LEN)?;
    let ring_len = le_u64(fields, 16);
    if !ring_len.is_power_of_two() || !RING_LENS.contains(&ring_len) {
        return Err(HeaderError::Damaged(
            "no ring has the length that the tail file's header says",
        ));
    }
    Ok((fields[..16].try_into().expect("sixteen bytes"), ring_len as usize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_of_another_length_is_known_by_its_header() {
        let header = |ring_len: u64| {
            let mut fields = vec![5; 16];
            fields.extend_from_slice(&ring_len.to_le_bytes());
            file::encode(FileType::Tail, &fields)
        };
        assert_eq!(encode_header(&[5; 16]), header(RING_LEN as u64));
        for ring_len in [64 << 10, RING_LEN as u64, 1 << 20, 16 << 20] {
            let decoded = decode_header(&header(ring_len)).expect("it is a power of two");
            assert_eq!(decoded, ([5; 16], ring_len as usize));
        }
        for ring_len in [0, 1, 32 << 10, 100 << 10, 32 << 20, u64::MAX] {
            let decoded = decode_header(&header(ring_len));
            assert!(matches!(decoded, Err(HeaderError::Damaged(_))), "{ring_len}: {decoded:?}");
        }
    }
}
