//! What makes a kind and an id well formed. A key is `Kind/ID`; the first `/` ends the kind.

use crate::error::{Error, Result};

/// The most bytes a kind may have.
pub const MAX_KIND_LEN: usize = 255;
/// The most bytes an id may have.
pub const MAX_ID_LEN: usize = 65_535;

/// Checks a kind: 1 to 255 bytes, no `/`, no control character.
pub(crate) fn check_kind(kind: &str) -> Result<()> {
    if kind.is_empty() {
        return Err(invalid("the kind is empty".into()));
    }
    if kind.len() > MAX_KIND_LEN {
        return Err(invalid(format!("the kind has {} bytes, at most {MAX_KIND_LEN}", kind.len())));
    }
    if let Some(at) = kind.bytes().position(|b| b == b'/') {
        return Err(invalid(format!("the kind {kind:?} has a '/' at byte {at}")));
    }
    check_control("kind", kind)
}

/// Checks an id: 1 to 65,535 bytes, no control character.
pub(crate) fn check_id(id: &str) -> Result<()> {
    if id.is_empty() {
        return Err(invalid("the id is empty".into()));
    }
    check_prefix(id)
}

/// Checks what the ids of a range start with: an id, or nothing.
pub(crate) fn check_prefix(prefix: &str) -> Result<()> {
    if prefix.len() > MAX_ID_LEN {
        return Err(invalid(format!("the id has {} bytes, at most {MAX_ID_LEN}", prefix.len())));
    }
    check_control("id", prefix)
}

/// Checks both halves of a key.
pub(crate) fn check_key(kind: &str, id: &str) -> Result<()> {
    check_kind(kind)?;
    check_id(id)
}

fn check_control(what: &str, text: &str) -> Result<()> {
    // Plain printable ASCII is the common case, and needs no decoding. Only C0, DEL and the
    // two-byte C1 (0xC2 0x80..=0x9F) are control characters.
    if is_plain(text.as_bytes()) {
        return Ok(());
    }
    match text.char_indices().find(|(_, c)| c.is_control()) {
        None => Ok(()),
        Some((at, c)) => {
            Err(invalid(format!("the {what} has a control character, {c:?}, at byte {at}")))
        }
    }
}

/// Whether all bytes are printable ASCII. Looks at eight at a time; the last eight may overlap
/// those before them.
#[inline]
fn is_plain(text: &[u8]) -> bool {
    const ONES: u64 = 0x0101_0101_0101_0101;
    // A byte's high bit comes from itself, from a borrow below 0x20, or from a carry at 0x7f.
    let plain = |word: &[u8; 8]| {
        let word = u64::from_le_bytes(*word);
        (word | word.wrapping_sub(0x20 * ONES) | word.wrapping_add(ONES)) & (0x80 * ONES) == 0
    };
    match text.last_chunk() {
        Some(last) => plain(last) && text.as_chunks().0.iter().all(plain),
        None => text.iter().all(|b| (0x20..0x7f).contains(b)),
    }
}

fn invalid(reason: String) -> Error {
    Error::InvalidKey { reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each byte at each place of keys of all lengths around a word's.
    #[test]
    fn a_word_at_a_time_sees_what_byte_by_byte_does() {
        for len in 0..20 {
            for at in 0..len {
                for byte in 0..=255 {
                    let mut bytes = vec![b'~'; len];
                    bytes[at] = byte;
                    let plain = (0x20..0x7f).contains(&byte);
                    assert_eq!(is_plain(&bytes), plain, "{byte:#x} at {at} of {len}");
                }
            }
            assert!(is_plain(&vec![b' '; len]));
        }
    }
}
