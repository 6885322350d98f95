//! What the store keeps and hands out: resources, revisions, and text that shares its buffer.

use std::borrow::Borrow;
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
/// `kind`, `id` and `data` are slices of one buffer or mapping, which lives as long as any of them.
/// To keep a small resource for long without that, [`detach`](Resource::detach) it.
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
        let kind = Text(data.split_to(self.kind.len()));
        let id = Text(data.split_to(self.id.len()));
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

/// UTF-8 text that shares the buffer it was read from. It is a `str` wherever one is wanted.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Text(Bytes);

impl Text {
    /// Takes bytes that are UTF-8; `None` if they are not.
    pub(crate) fn new(bytes: Bytes) -> Option<Text> {
        std::str::from_utf8(&bytes).is_ok().then_some(Text(bytes))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("checked when it was made")
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
        Text(Bytes::copy_from_slice(text.as_bytes()))
    }
}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl PartialEq<String> for Text {
    fn eq(&self, other: &String) -> bool {
        self.0 == other.as_bytes()
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
