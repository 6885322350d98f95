//! What the store keeps and hands out: resources, revisions, and text that shares its buffer.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::time::SystemTime;

use bytes::Bytes;

/// A commit's number: strictly increasing, never reused, the only clock that orders anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(u64);

impl From<u64> for Revision {
    fn from(number: u64) -> Revision {
        Revision(number)
    }
}

impl From<Revision> for u64 {
    fn from(revision: Revision) -> u64 {
        revision.0
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A resource as it is stored: its key, its bytes, and which commit wrote it when.
///
/// `data`, and a long `kind` or `id`, are slices of one buffer or mapping, which lives as long as
/// any of them. To keep a small resource for long without that, [`detach`](Resource::detach) it.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Resource {
    /// The collection.
    pub kind: Text,
    /// The name inside the kind.
    pub id: Text,
    /// The encoded message, as it was given to `put` or `save`.
    pub data: Bytes,
    /// When it was written, as the clock said; in microseconds. Never compared by the store.
    pub updated_at: SystemTime,
    /// The commit that wrote it.
    pub revision: Revision,
}

impl Resource {
    /// Copies kind, id and data into one small buffer of their own, so that this resource no longer
    /// keeps a buffer or a segment's mapping alive.
    pub fn detach(&self) -> Resource {
        let mut copy = Vec::with_capacity(self.kind.len() + self.id.len() + self.data.len());
        copy.extend_from_slice(self.kind.as_bytes());
        copy.extend_from_slice(self.id.as_bytes());
        copy.extend_from_slice(&self.data);
        let mut data = Bytes::from(copy);
        let mut take = |text: &Text| {
            let taken = data.split_to(text.len());
            Text::new(text, &taken.clone(), || taken)
        };
        let (kind, id) = (take(&self.kind), take(&self.id));
        Resource { kind, id, data, updated_at: self.updated_at, revision: self.revision }
    }
}

impl fmt::Debug for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resource")
            .field("kind", &self.kind)
            .field("id", &self.id)
            .field("data_len", &self.data.len())
            .field("updated_at", &self.updated_at)
            .field("revision", &self.revision)
            .finish()
    }
}

/// The most bytes of text that is held in place: most ids, and nearly all kinds.
const IN_PLACE: usize = 38;

/// UTF-8 text as it was read. It is a `str` wherever one is wanted.
///
/// A short one is held in place, a longer one shares the buffer that it was read from: to count
/// those who share it, up and down, costs more than to copy a few bytes, and most of all where
/// several threads read from one buffer.
#[derive(Clone)]
pub struct Text(Repr);

#[derive(Clone)]
enum Repr {
    InPlace { len: u8, bytes: [u8; IN_PLACE] },
    Shared(Bytes),
}

impl Text {
    /// `text`, with which `from` begins, and which `shared` returns, too, if it is asked.
    ///
    /// Where `from` goes on for long enough, what lies behind the text is copied with it and never
    /// looked at: a length that the compiler knows is a few moves, and what was written in pieces
    /// of another length makes whoever reads it next wait.
    #[inline(always)]
    pub(crate) fn new(text: &str, from: &[u8], shared: impl FnOnce() -> Bytes) -> Text {
        debug_assert!(from.starts_with(text.as_bytes()));
        if text.len() > IN_PLACE {
            let shared = shared();
            debug_assert_eq!(shared, text.as_bytes());
            return Text(Repr::Shared(shared));
        }
        let bytes = from.first_chunk().copied().unwrap_or_else(|| padded(text));
        Text(Repr::InPlace { len: text.len() as u8, bytes })
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.bytes()).expect("it was made of a str")
    }

    fn bytes(&self) -> &[u8] {
        match &self.0 {
            Repr::InPlace { len, bytes } => &bytes[..usize::from(*len)],
            Repr::Shared(bytes) => bytes,
        }
    }
}

/// A short text, and zeros behind it.
fn padded(text: &str) -> [u8; IN_PLACE] {
    let mut bytes = [0; IN_PLACE];
    bytes[..text.len()].copy_from_slice(text.as_bytes());
    bytes
}

impl PartialEq for Text {
    fn eq(&self, other: &Text) -> bool {
        self.bytes() == other.bytes()
    }
}

impl Eq for Text {}

impl PartialOrd for Text {
    fn partial_cmp(&self, other: &Text) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Text {
    fn cmp(&self, other: &Text) -> Ordering {
        self.bytes().cmp(other.bytes())
    }
}

impl Deref for Text {
    type Target = str;
    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<str> for Text {
    fn as_ref(&self) -> &str {
        self
    }
}

// As `str` hashes: a map of texts is asked with a `str`.
impl Hash for Text {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl Borrow<str> for Text {
    fn borrow(&self) -> &str {
        self
    }
}

impl From<Text> for String {
    fn from(text: Text) -> String {
        text.as_str().to_owned()
    }
}

impl From<&Text> for String {
    fn from(text: &Text) -> String {
        text.as_str().to_owned()
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Text {
        Text::new(text, text.as_bytes(), || Bytes::copy_from_slice(text.as_bytes()))
    }
}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        self.bytes() == other.as_bytes()
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        self.bytes() == other.as_bytes()
    }
}

impl PartialEq<String> for Text {
    fn eq(&self, other: &String) -> bool {
        self.bytes() == other.as_bytes()
    }
}

impl PartialEq<Text> for str {
    fn eq(&self, other: &Text) -> bool {
        other == self
    }
}

impl PartialEq<Text> for &str {
    fn eq(&self, other: &Text) -> bool {
        other == self
    }
}

impl PartialEq<Text> for String {
    fn eq(&self, other: &Text) -> bool {
        other == self
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_any_length_is_what_it_was_made_of() {
        let of_len = |len: usize| "é".repeat(len / 2) + &"a".repeat(len % 2);
        let texts: Vec<Text> = (0..=2 * IN_PLACE).map(|len| Text::from(&*of_len(len))).collect();
        for (len, text) in texts.iter().enumerate() {
            assert_eq!(text.as_str(), of_len(len));
            assert_eq!(matches!(text.0, Repr::InPlace { .. }), len <= IN_PLACE);
            assert_eq!(*text, text.clone());
        }
        assert!(texts.is_sorted());
        // What lies behind it where it was read is no part of it.
        for (len, text) in texts.iter().enumerate() {
            let read = of_len(len) + &"z".repeat(2 * IN_PLACE);
            let shared = || Bytes::copy_from_slice(&read.as_bytes()[..len]);
            let read = Text::new(&read[..len], read.as_bytes(), shared);
            assert_eq!(read, *text);
            assert_eq!(read.as_str(), of_len(len));
        }
    }

    #[test]
    fn what_is_detached_stays_what_it_was_at_any_length() {
        const LENS: [usize; 4] = [1, IN_PLACE, IN_PLACE + 1, 200];
        for (kind_len, id_len) in LENS.into_iter().flat_map(|k| LENS.map(|i| (k, i))) {
            let (kind, id) = ("k".repeat(kind_len), "i".repeat(id_len));
            let detached = Resource {
                kind: Text::from(&*kind),
                id: Text::from(&*id),
                data: Bytes::from_static(b"data"),
                updated_at: SystemTime::UNIX_EPOCH,
                revision: Revision(7),
            }
            .detach();
            assert!(detached.kind == kind && detached.id == id, "{kind_len} and {id_len}");
            assert_eq!(detached.data, b"data"[..]);
        }
    }
}
