//! Checksums put right again, so that what was changed gets past them.

use kindlog::fuzzing;

/// The length of what all files' headers begin with.
pub const PREAMBLE_LEN: usize = 24;

/// A file's header from its type and the type's own fields.
pub fn file_header(file_type: u8, fields: &[u8]) -> Vec<u8> {
    let mut header = b"KINDLOG".to_vec();
    header.push(file_type);
    header.extend([1, 0]);
    header.extend([0; 14]);
    header.extend(fields);
    seal_header(&mut header, fields.len());
    header
}

/// A manifest file around a payload.
pub fn manifest_file(payload: &[u8]) -> Vec<u8> {
    let mut fields = (payload.len() as u32).to_le_bytes().to_vec();
    fields.extend(crc32fast::hash(payload).to_le_bytes());
    let mut file = file_header(b'M', &fields);
    file.extend(payload);
    file
}

/// The length of a hint's header.
pub const HINT_HEADER_LEN: usize = PREAMBLE_LEN + 80;

/// A hint around a payload, of the first `length` bytes of a segment.
pub fn hint_file(payload: &[u8], length: u64) -> Vec<u8> {
    let mut fields = [0; 80];
    fields[24..32].copy_from_slice(&length.to_le_bytes());
    fields[76] = 1;
    let mut file = file_header(b'H', &fields);
    file.extend(payload);
    seal_hint(&mut file);
    file
}

/// Puts length and checksums of a hint right.
pub fn seal_hint(file: &mut [u8]) {
    if file.len() < HINT_HEADER_LEN {
        return;
    }
    let (header, payload) = file.split_at_mut(HINT_HEADER_LEN);
    header[80..88].copy_from_slice(&(payload.len() as u64).to_le_bytes());
    header[96..100].copy_from_slice(&crc32fast::hash(payload).to_le_bytes());
    seal_header(file, 80);
}

/// Puts the checksum of a file's header right, if there is a whole one.
pub fn seal_header(file: &mut [u8], fields_len: usize) {
    if file.len() < PREAMBLE_LEN {
        return;
    }
    let extension_len = usize::from(u16::from_le_bytes([file[10], file[11]]));
    let Some(header) = file.get_mut(..PREAMBLE_LEN + fields_len + extension_len) else { return };
    header[20..24].fill(0);
    let crc = crc32fast::hash(header);
    header[20..24].copy_from_slice(&crc.to_le_bytes());
}

/// Puts length and checksums of a manifest file right.
pub fn seal_manifest(file: &mut [u8]) {
    const HEADER_LEN: usize = PREAMBLE_LEN + 8;
    if file.len() < HEADER_LEN {
        return;
    }
    let (header, payload) = file.split_at_mut(HEADER_LEN);
    header[24..28].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    header[28..32].copy_from_slice(&crc32fast::hash(payload).to_le_bytes());
    seal_header(file, 8);
}

/// Puts both checksums of the frame that `bytes` begin with right, if they can be one, and returns
/// its length without padding.
pub fn seal_frame(bytes: &mut [u8], salt: u64, position: u64) -> Option<usize> {
    let (body_at, end) = fuzzing::frame_ends(bytes, position)?;
    let record = bytes.get(record_at(bytes)?..end)?;
    let crc = crc32fast::hash(record);
    bytes[4..8].copy_from_slice(&crc.to_le_bytes());
    let mut crc = crc32fast::Hasher::new();
    crc.update(&salt.to_le_bytes());
    crc.update(&position.to_le_bytes());
    crc.update(&bytes[4..body_at]);
    bytes[..4].copy_from_slice(&crc.finalize().to_le_bytes());
    Some(end)
}

/// Where a frame's record begins: behind its place, which is flags and up to two varints.
pub fn record_at(bytes: &[u8]) -> Option<usize> {
    let flags = *bytes.get(8)?;
    let mut at = 9;
    for flag in [8, 1] {
        if flags & flag != 0 {
            at += bytes.get(at..)?.iter().position(|byte| *byte < 0x80)? + 1;
        }
    }
    Some(at)
}
