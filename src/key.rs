//! What makes a kind and an id well formed. A key is `Kind/ID`; the first `/` ends the kind.

use crate::error::{Error, Result};

/// The most bytes a kind may have.
pub const MAX_KIND_LEN: usize = 255;
/// The most bytes an id may have.
pub const MAX_ID_LEN: usize = 65_535;

/// Checks a kind: 1 to 255 bytes, no `/`, no control character.
#[inline]
pub(crate) fn check_kind(kind: &str) -> Result<()> {
    let slash = u64::from(b'/') * ONES;
    let is_plain = |word: u64| is_plain_word(word) && !has_zero(word ^ slash);
    match (1..=MAX_KIND_LEN).contains(&kind.len()) && all_words(kind.as_bytes(), is_plain) {
        true => Ok(()),
        false => check_kind_thoroughly(kind),
    }
}

#[cold]
fn check_kind_thoroughly(kind: &str) -> Result<()> {
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

/// The same of bytes, which are to be UTF-8, too.
#[inline]
pub(crate) fn check_prefix_bytes(prefix: &[u8]) -> Result<()> {
    if prefix.len() <= MAX_ID_LEN && is_plain(prefix) {
        return Ok(());
    }
    let text = std::str::from_utf8(prefix).map_err(|_| invalid("not UTF-8".into()))?;
    check_prefix(text)
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

/// A word with 1 in each byte.
const ONES: u64 = 0x0101_0101_0101_0101;

/// Whether all bytes are printable ASCII.
#[inline]
fn is_plain(text: &[u8]) -> bool {
    all_words(text, is_plain_word)
}

#[inline]
fn is_plain_word(word: u64) -> bool {
    // A byte's high bit comes from itself, from a borrow below 0x20, or from a carry at 0x7f.
    (word | word.wrapping_sub(0x20 * ONES) | word.wrapping_add(ONES)) & (0x80 * ONES) == 0
}

/// Whether a word of bytes below 0x80 has one that is zero.
#[inline]
fn has_zero(word: u64) -> bool {
    word.wrapping_sub(ONES) & !word & (0x80 * ONES) != 0
}

/// Whether a condition on each byte holds, of words that have all of them: some may come twice, and
/// where there are fewer than four, spaces with them.
#[inline]
fn all_words(text: &[u8], holds: impl Fn(u64) -> bool) -> bool {
    let long = |word: &[u8; 8]| holds(u64::from_le_bytes(*word));
    let half = |half: &[u8; 4]| u64::from(u32::from_le_bytes(*half));
    match (text.last_chunk(), text.first_chunk(), text.last_chunk()) {
        (Some(last), ..) => long(last) && text.as_chunks().0.iter().all(long),
        (None, Some(first), Some(last)) => holds(half(first) | half(last) << 32),
        _ => {
            let mut word = [b' '; 8];
            word[..text.len()].copy_from_slice(text);
            long(&word)
        }
    }
}

/// How many bytes two ids have in common before they differ.
#[inline]
pub(crate) fn common_len(a: &[u8], b: &[u8]) -> usize {
    let (a_words, b_words) = (a.as_chunks::<8>().0, b.as_chunks::<8>().0);
    for (at, (a, b)) in a_words.iter().zip(b_words).enumerate() {
        let differ = u64::from_le_bytes(*a) ^ u64::from_le_bytes(*b);
        if differ != 0 {
            return at * 8 + differ.trailing_zeros() as usize / 8;
        }
    }
    let same = a_words.len().min(b_words.len()) * 8;
    let rest = a[same..].iter().zip(&b[same..]);
    same + rest.take_while(|(a, b)| a == b).count()
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

    /// A kind with a slash would be another one's key.
    #[test]
    fn a_slash_is_seen_at_each_place_of_a_kind() {
        let lengths = (1..20).chain([MAX_KIND_LEN - 1, MAX_KIND_LEN]);
        for (len, filler) in lengths.flat_map(|len| ['.', '0', '~', 'k'].map(|c| (len, c))) {
            let kind = filler.to_string().repeat(len);
            assert!(check_kind(&kind).is_ok(), "{kind}");
            for at in 0..len {
                let mut slashed = kind.clone();
                slashed.replace_range(at..=at, "/");
                assert!(check_kind(&slashed).is_err(), "{slashed}");
            }
        }
    }

    #[test]
    fn the_common_length_is_where_the_first_byte_differs() {
        for len in 0..40 {
            let a: Vec<u8> = (0..len).collect();
            for cut in 0..=a.len() {
                assert_eq!(common_len(&a, &a[..cut]), cut);
                assert_eq!(common_len(&a[..cut], &a), cut);
                let mut b = a.clone();
                b.truncate(cut + 9);
                if let Some(byte) = b.get_mut(cut) {
                    *byte ^= 0x80;
                    assert_eq!(common_len(&a, &b), cut);
                }
            }
        }
    }

    /// Bytes of every sort are taken or refused as the text is that they are.
    #[test]
    fn bytes_are_checked_as_their_text_is() {
        for bytes in [&b""[..], b"a", b"a/b", b"a\x7f", b"\xc2\x80", "\u{e4}".as_bytes(), b"\xff"] {
            let text = std::str::from_utf8(bytes).is_ok_and(|text| check_prefix(text).is_ok());
            assert_eq!(check_prefix_bytes(bytes).is_ok(), text, "{bytes:?}");
        }
        assert!(check_prefix_bytes(&vec![b'a'; MAX_ID_LEN]).is_ok());
        assert!(check_prefix_bytes(&vec![b'a'; MAX_ID_LEN + 1]).is_err());
    }
}
