//! What every file of a store begins with: magic, version, flags, a checksum, an extension.
//!
//! ```text
//!  0  7  "KINDLOG"
//!  7  1  file type: 'S' segment, 'M' manifest, 'T' tail, 'H' hint, 'B' backup
//!  8  2  version, 1
//! 10  2  extension length in bytes, a multiple of 8
//! 12  4  required flags: an unknown one refuses to open
//! 16  4  optional flags: an unknown one is ignored
//! 20  4  CRC-32 of the header (these fields, the type's own, the extension), this field as zero
//! 24  .. the type's own fields, a multiple of 8 bytes
//!     .. the extension
//! ```
//!
//! Magic and version are checked before the checksum, so that a later version may lay out all
//! that follows in another way and still be named, not called damage.

/// The length of the fields common to all types.
pub(crate) const PREAMBLE_LEN: usize = 24;
/// The version that this build writes and reads.
pub(crate) const VERSION: u16 = 1;
/// The most bytes that a header may have, so that one read of a fixed size gets it.
pub(crate) const MAX_HEADER_LEN: usize = 4096;

const MAGIC: &[u8; 7] = b"KINDLOG";
/// Required flags that this build knows: none yet.
const KNOWN_REQUIRED: u32 = 0;
/// The fields of a file that holds a message.
const MESSAGE_FIELDS_LEN: usize = 8;

/// The types of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileType {
    Segment = b'S' as isize,
    Manifest = b'M' as isize,
    Tail = b'T' as isize,
    Hint = b'H' as isize,
    Backup = b'B' as isize,
}

/// Why a header was refused.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum HeaderError {
    /// Made by a version, or with a feature, that this build does not know.
    Unknown(String),
    /// Not what was written.
    Damaged(&'static str),
}

/// Builds a header from the type's own fields.
pub(crate) fn encode(file_type: FileType, fields: &[u8]) -> Vec<u8> {
    debug_assert!(fields.len().is_multiple_of(8));
    let mut header = Vec::with_capacity(PREAMBLE_LEN + fields.len());
    header.extend_from_slice(MAGIC);
    header.push(file_type as u8);
    header.extend_from_slice(&VERSION.to_le_bytes());
    header.extend_from_slice(&[0; 14]);
    header.extend_from_slice(fields);
    let crc = crc32fast::hash(&header);
    header[20..24].copy_from_slice(&crc.to_le_bytes());
    header
}

/// Checks a header and returns the type's own fields and the header's length with its extension.
pub(crate) fn decode(
    file_type: FileType,
    bytes: &[u8],
    fields_len: usize,
) -> Result<(&[u8], usize), HeaderError> {
    let Some(preamble) = bytes.get(..PREAMBLE_LEN) else {
        return Err(HeaderError::Damaged("the file is shorter than its header"));
    };
    if preamble[..7] != MAGIC[..] || preamble[7] != file_type as u8 {
        return Err(HeaderError::Damaged("the file does not begin with its magic"));
    }
    let version = u16::from_le_bytes([preamble[8], preamble[9]]);
    if version != VERSION {
        return Err(HeaderError::Unknown(format!("format version {version}")));
    }
    let extension_len = usize::from(u16::from_le_bytes([preamble[10], preamble[11]]));
    let len = PREAMBLE_LEN + fields_len + extension_len;
    if len > MAX_HEADER_LEN || !extension_len.is_multiple_of(8) {
        return Err(HeaderError::Damaged("the header's extension length is out of bounds"));
    }
    let Some(header) = bytes.get(..len) else {
        return Err(HeaderError::Damaged("the file is shorter than its header"));
    };
    let mut crc = crc32fast::Hasher::new();
    crc.update(&header[..20]);
    crc.update(&[0; 4]);
    crc.update(&header[24..]);
    if crc.finalize() != le_u32(header, 20) {
        return Err(HeaderError::Damaged("the header's checksum does not match"));
    }
    let unknown = le_u32(header, 12) & !KNOWN_REQUIRED;
    if unknown != 0 {
        return Err(HeaderError::Unknown(format!("required flags {unknown:#x}")));
    }
    Ok((&header[PREAMBLE_LEN..PREAMBLE_LEN + fields_len], len))
}

/// Builds a file that holds one Protobuf message: the header, whose own fields are the message's
/// length and CRC-32, then the message.
pub(crate) fn encode_message(file_type: FileType, message: &[u8]) -> Vec<u8> {
    let mut fields = [0; MESSAGE_FIELDS_LEN];
    fields[..4].copy_from_slice(&(message.len() as u32).to_le_bytes());
    fields[4..].copy_from_slice(&crc32fast::hash(message).to_le_bytes());
    let mut bytes = encode(file_type, &fields);
    bytes.extend_from_slice(message);
    bytes
}

/// Checks such a file and returns the message's bytes.
pub(crate) fn decode_message(file_type: FileType, bytes: &[u8]) -> Result<&[u8], HeaderError> {
    let (fields, header_len) = decode(file_type, bytes, MESSAGE_FIELDS_LEN)?;
    let message = &bytes[header_len..];
    if message.len() != le_u32(fields, 0) as usize {
        return Err(HeaderError::Damaged("the payload's length does not match"));
    }
    if crc32fast::hash(message) != le_u32(fields, 4) {
        return Err(HeaderError::Damaged("the payload's checksum does not match"));
    }
    Ok(message)
}

/// Puts other fields of the same length into a header, and leaves the rest of it as it is.
pub(crate) fn replace_fields(header: &mut [u8], fields: &[u8]) {
    header[PREAMBLE_LEN..PREAMBLE_LEN + fields.len()].copy_from_slice(fields);
    header[20..24].fill(0);
    let crc = crc32fast::hash(header);
    header[20..24].copy_from_slice(&crc.to_le_bytes());
}

/// Four bytes at `at`, which the caller knows to be there.
#[inline]
pub(crate) fn le_u32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

/// Eight bytes at `at`, which the caller knows to be there.
#[inline]
pub(crate) fn le_u64(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resealed(change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut header = encode(FileType::Tail, &[7; 8]);
        change(&mut header);
        header[20..24].fill(0);
        let crc = crc32fast::hash(&header);
        header[20..24].copy_from_slice(&crc.to_le_bytes());
        header
    }

    #[test]
    fn every_flipped_bit_is_refused() {
        let header = encode(FileType::Tail, &[7; 8]);
        assert_eq!(decode(FileType::Tail, &header, 8), Ok((&[7; 8][..], 32)));
        for bit in 0..header.len() * 8 {
            let mut damaged = header.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(FileType::Tail, &damaged, 8).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn unknown_versions_and_required_flags_refuse_and_optional_ones_do_not() {
        let refused = |bytes: &[u8]| decode(FileType::Tail, bytes, 8).unwrap_err();
        assert_eq!(
            refused(&resealed(|h| h[8] = 2)),
            HeaderError::Unknown("format version 2".into())
        );
        assert_eq!(
            refused(&resealed(|h| h[12] = 4)),
            HeaderError::Unknown("required flags 0x4".into())
        );
        assert!(decode(FileType::Tail, &resealed(|h| h[16] = 4), 8).is_ok());
    }

    #[test]
    fn an_unknown_extension_is_skipped() {
        let header = resealed(|h| {
            h[10] = 8;
            h.extend_from_slice(&[9; 8]);
        });
        assert_eq!(decode(FileType::Tail, &header, 8), Ok((&[7; 8][..], 40)));
    }
}
