//! Ordered iteration over a kind, on a view that writers don't disturb.

use std::fmt;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use super::read;
use super::records::Records;
use super::view::View;
use crate::error::{Error, Result};
use crate::index::{Chunk, Kind};
use crate::key;
use crate::resource::Resource;

/// How many entries are copied out of the index at a time, under its read lock.
const CHUNK_LEN: usize = 256;

/// Where a scan's view comes from.
pub(crate) type OpenView = Arc<dyn Fn() -> Result<Arc<View>> + Send + Sync>;

/// Which resources of a kind to list, and how. Made by [`Store::scan`](crate::Store::scan).
///
/// [`iter`](Scan::iter) and [`keys`](Scan::keys) begin; so does `for`, as `iter`. Ids come in
/// bytewise order. A malformed name, or a store that was closed, is the first item's error.
#[derive(Clone)]
pub struct Scan {
    open: OpenView,
    kind: String,
    prefix: String,
    start: Bound<String>,
    end: Bound<String>,
    after: Option<String>,
    reverse: bool,
    limit: usize,
}

impl Scan {
    pub(crate) fn new(open: OpenView, kind: &str) -> Scan {
        Scan {
            open,
            kind: kind.to_owned(),
            prefix: String::new(),
            start: Bound::Unbounded,
            end: Bound::Unbounded,
            after: None,
            reverse: false,
            limit: usize::MAX,
        }
    }

    /// Only ids that start so.
    pub fn prefix(mut self, prefix: impl AsRef<str>) -> Scan {
        self.prefix = prefix.as_ref().to_owned();
        self
    }

    /// Only ids in this range, such as `"a".."b"`.
    pub fn range<'a>(mut self, range: impl RangeBounds<&'a str>) -> Scan {
        self.start = range.start_bound().map(|id| (*id).to_owned());
        self.end = range.end_bound().map(|id| (*id).to_owned());
        self
    }

    /// Only what comes after this id in the scan's direction: the last id of the page before.
    pub fn after(mut self, id: impl AsRef<str>) -> Scan {
        self.after = Some(id.as_ref().to_owned());
        self
    }

    /// From the last id to the first.
    pub fn reverse(mut self) -> Scan {
        self.reverse = true;
        self
    }

    /// At most this many.
    pub fn limit(mut self, limit: usize) -> Scan {
        self.limit = limit;
        self
    }

    /// Begins, and yields whole resources. A record that is damaged is an error in its place; the
    /// scan goes on behind it.
    pub fn iter(&self) -> ScanIter {
        ScanIter { cursor: self.cursor(), records: Records::default() }
    }

    /// Begins, and yields ids alone. Reads no values: the cost is the index's.
    pub fn keys(&self) -> KeyIter {
        KeyIter { cursor: self.cursor() }
    }

    fn cursor(&self) -> Cursor {
        let opened = self.check().and_then(|()| (self.open)());
        let (view, error) = match opened {
            Ok(view) => (Some(view), None),
            Err(error) => (None, Some(error)),
        };
        let kind = view.as_ref().and_then(|view| view.state.index.kind(&self.kind).cloned());
        if let Some(kind) = &kind {
            kind.prepare_scan();
        }
        let (start, end) = self.bounds();
        Cursor {
            view,
            error,
            kind,
            start,
            end,
            reverse: self.reverse,
            left: self.limit,
            chunk: Chunk::new(),
            text: None,
            next: 0,
        }
    }

    /// Checks the kind, and whatever restricts the ids.
    fn check(&self) -> Result<()> {
        key::check_kind(&self.kind)?;
        key::check_prefix(&self.prefix)?;
        let ids = [&self.start, &self.end].into_iter().filter_map(|bound| match bound {
            Bound::Included(id) | Bound::Excluded(id) => Some(id),
            Bound::Unbounded => None,
        });
        ids.chain(&self.after).try_for_each(|id| key::check_prefix(id))
    }

    /// All restrictions as one range of bytes.
    fn bounds(&self) -> (Bound<Vec<u8>>, Bound<Vec<u8>>) {
        let bytes = |bound: &Bound<String>| bound.clone().map(String::into_bytes);
        let (mut start, mut end) = (bytes(&self.start), bytes(&self.end));
        if !self.prefix.is_empty() {
            let prefix = self.prefix.as_bytes();
            start = later(start, Bound::Included(prefix.to_vec()));
            end = earlier(end, behind_prefix(prefix));
        }
        if let Some(after) = &self.after {
            let after = Bound::Excluded(after.clone().into_bytes());
            match self.reverse {
                true => end = earlier(end, after),
                false => start = later(start, after),
            }
        }
        (start, end)
    }
}

/// The end of all strings that start with `prefix`: it, with its last byte that can be raised
/// raised, and cut there.
fn behind_prefix(prefix: &[u8]) -> Bound<Vec<u8>> {
    let Some(at) = prefix.iter().rposition(|byte| *byte != 0xff) else { return Bound::Unbounded };
    let mut end = prefix[..=at].to_vec();
    end[at] += 1;
    Bound::Excluded(end)
}

/// The stricter of two lower bounds.
fn later(a: Bound<Vec<u8>>, b: Bound<Vec<u8>>) -> Bound<Vec<u8>> {
    let rank = |bound: &Bound<Vec<u8>>| match bound {
        Bound::Unbounded => None,
        Bound::Included(id) => Some((id.clone(), false)),
        Bound::Excluded(id) => Some((id.clone(), true)),
    };
    if rank(&a) >= rank(&b) { a } else { b }
}

/// The stricter of two upper bounds.
fn earlier(a: Bound<Vec<u8>>, b: Bound<Vec<u8>>) -> Bound<Vec<u8>> {
    let rank = |bound: &Bound<Vec<u8>>| match bound {
        Bound::Unbounded => (true, Vec::new(), false),
        Bound::Included(id) => (false, id.clone(), true),
        Bound::Excluded(id) => (false, id.clone(), false),
    };
    if rank(&a) <= rank(&b) { a } else { b }
}

impl fmt::Debug for Scan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scan").field("kind", &self.kind).field("bounds", &self.bounds()).finish()
    }
}

impl IntoIterator for Scan {
    type Item = Result<Resource>;
    type IntoIter = ScanIter;
    fn into_iter(self) -> ScanIter {
        self.iter()
    }
}

impl IntoIterator for &Scan {
    type Item = Result<Resource>;
    type IntoIter = ScanIter;
    fn into_iter(self) -> ScanIter {
        self.iter()
    }
}

/// The resources of a kind, in order. Owns its view: writers neither change nor wait for it.
#[derive(Debug)]
pub struct ScanIter {
    cursor: Cursor,
    records: Records,
}

impl Iterator for ScanIter {
    type Item = Result<Resource>;

    fn next(&mut self) -> Option<Result<Resource>> {
        let at = match self.cursor.advance()? {
            Ok(at) => at,
            Err(error) => return Some(Err(error)),
        };
        let Cursor { view, kind, chunk, .. } = &self.cursor;
        let (Some(view), Some(kind)) = (view, kind) else { return None };
        self.records.look_ahead(&view.state, chunk, at);
        let location = chunk.location(at);
        Some(match self.cursor.id(at) {
            Ok(id) => self.records.read(&view.state, kind, id, location),
            Err(id) => {
                let reason = "its key is not UTF-8";
                Err(read::damaged(&view.state, kind, id, location.place, reason))
            }
        })
    }
}

/// The ids of a kind, in order.
#[derive(Debug)]
pub struct KeyIter {
    cursor: Cursor,
}

impl Iterator for KeyIter {
    type Item = Result<String>;

    fn next(&mut self) -> Option<Result<String>> {
        let at = match self.cursor.advance()? {
            Ok(at) => at,
            Err(error) => return Some(Err(error)),
        };
        Some(self.cursor.id(at).map(str::to_owned).map_err(|id| Error::InvalidKey {
            reason: format!("an id is not UTF-8: {:?}", String::from_utf8_lossy(id)),
        }))
    }
}

/// A place in a kind, on a view. No lock is held between two steps.
struct Cursor {
    view: Option<Arc<View>>,
    error: Option<Error>,
    kind: Option<Arc<Kind>>,
    start: Bound<Vec<u8>>,
    end: Bound<Vec<u8>>,
    reverse: bool,
    left: usize,
    chunk: Chunk,
    /// The ids of the chunk: one check that they are UTF-8 for all of them.
    text: Option<String>,
    next: usize,
}

impl Cursor {
    /// Moves to the next entry: its index in the chunk.
    #[inline(always)]
    fn advance(&mut self) -> Option<Result<usize>> {
        if self.left == 0 || self.next == self.chunk.len() {
            match self.turn_page() {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => return Some(Err(error)),
            }
        }
        self.next += 1;
        self.left -= 1;
        Some(Ok(self.next - 1))
    }

    /// Fills the chunk anew. False if there is nothing more.
    #[cold]
    fn turn_page(&mut self) -> Result<bool> {
        if let Some(error) = self.error.take() {
            return Err(error);
        }
        let more = self.left > 0 && self.fill();
        if !more {
            self.left = 0;
        }
        Ok(more)
    }

    /// The id of an entry of the chunk; its bytes, if they aren't UTF-8.
    #[inline(always)]
    fn id(&self, at: usize) -> Result<&str, &[u8]> {
        match &self.text {
            Some(text) => {
                let range = self.chunk.range(at);
                text.get(range.clone()).ok_or(&text.as_bytes()[range])
            }
            None => std::str::from_utf8(self.chunk.id(at)).map_err(|_| self.chunk.id(at)),
        }
    }

    fn fill(&mut self) -> bool {
        let (Some(view), Some(kind)) = (&self.view, &self.kind) else { return false };
        if let Some(text) = self.text.take() {
            self.chunk.give_back(text);
        }
        if let Some(last) = self.chunk.last_id() {
            let last = Bound::Excluded(last.to_vec());
            match self.reverse {
                true => self.end = last,
                false => self.start = last,
            }
        }
        if is_empty(&self.start, &self.end) {
            return false;
        }
        fn slices(bound: &Bound<Vec<u8>>) -> Bound<&[u8]> {
            bound.as_ref().map(Vec::as_slice)
        }
        let bounds = (slices(&self.start), slices(&self.end));
        let max = self.left.min(CHUNK_LEN);
        kind.fill(&mut self.chunk, view.revision, bounds, self.reverse, max);
        self.text = self.chunk.take_text();
        self.next = 0;
        !self.chunk.is_empty()
    }
}

/// Whether nothing can lie between the bounds.
fn is_empty(start: &Bound<Vec<u8>>, end: &Bound<Vec<u8>>) -> bool {
    match (start, end) {
        (Bound::Included(start), Bound::Included(end)) => start > end,
        (
            Bound::Included(start) | Bound::Excluded(start),
            Bound::Included(end) | Bound::Excluded(end),
        ) => start >= end,
        _ => false,
    }
}

impl fmt::Debug for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cursor").field("kind", &self.kind).field("left", &self.left).finish()
    }
}
