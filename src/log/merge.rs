//! Several segments' contents as one: the newest record of each id.

use crate::format::contents::{Contents, KindContents};
use crate::format::entries::{Decoder, Fields, Malformed};
use crate::format::location::{Location, Place, SegmentId};

use super::covering::Covering;
use crate::zoo::{Bug, planted};

/// The contents of several segments, merged kind by kind.
///
/// The revision decides which record of an id is the newest, and what a tombstone covers; the
/// order of the segments means nothing. Kinds are independent of each other, so that several
/// threads can each merge one.
#[derive(Debug)]
pub(crate) struct Merge<'a> {
    sources: Vec<(SegmentId, &'a Contents)>,
}

impl<'a> Merge<'a> {
    pub(crate) fn new(sources: Vec<(SegmentId, &'a Contents)>) -> Merge<'a> {
        Merge { sources }
    }

    /// The kinds of which anything is there, tombstones and dead bytes too, in order.
    pub(crate) fn kinds(&self) -> Vec<&'a str> {
        let kinds = self.sources.iter().flat_map(|(_, contents)| contents.kinds());
        let mut names: Vec<&str> = kinds.map(|kind| &*kind.name).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Whether there may be a tombstone of a kind, or in it.
    pub(crate) fn may_delete(&self, name: &str) -> bool {
        let mut kinds = self.sources.iter().filter_map(|(_, contents)| contents.kind(name));
        kinds.any(KindContents::may_delete)
    }

    /// The segments that have anything of a kind, and how many entries.
    pub(crate) fn counts(&self, name: &str) -> impl Iterator<Item = (SegmentId, u64)> {
        let of_kind = |contents: &Contents| contents.kind(name).map(|kind| kind.count);
        self.sources.iter().filter_map(move |(id, contents)| Some((*id, of_kind(contents)?)))
    }

    /// The merge of one kind.
    pub(crate) fn kind(&self, name: &str) -> KindMerge<'a> {
        let mut sources = Vec::new();
        let mut prefixes: Vec<PrefixTombstone<'a>> = Vec::new();
        for (segment, contents) in &self.sources {
            let Some(kind) = contents.kind(name) else { continue };
            let (entries, left) = (contents.entries(kind), kind.max_entry_bytes);
            sources.push(Source { segment: *segment, entries, checked: kind.checked, left });
            prefixes.extend(kind.prefixes.iter().map(|tombstone| PrefixTombstone {
                prefix: &tombstone.prefix,
                segment: *segment,
                fields: tombstone.fields,
            }));
        }
        KindMerge::new(sources, newest(prefixes))
    }
}

/// Of each prefix the newest tombstone, in order; without those that another one makes useless: it
/// is newer, and its prefix is one of theirs.
fn newest(mut all: Vec<PrefixTombstone<'_>>) -> Vec<PrefixTombstone<'_>> {
    all.sort_unstable_by_key(|one| (one.prefix, std::cmp::Reverse(one.fields.revision)));
    all.dedup_by(|one, before| one.prefix == before.prefix);
    let pairs = all.iter().map(|one| (one.prefix, one.fields.revision)).collect();
    let mut covering = Covering::new(pairs);
    all.retain(|one| covering.revision(one.prefix) <= one.fields.revision);
    all
}

/// The newest tombstone of a prefix.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PrefixTombstone<'a> {
    pub(crate) prefix: &'a [u8],
    pub(crate) segment: SegmentId,
    pub(crate) fields: Fields,
}

/// The newest record of an id.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry<'a> {
    pub(crate) id: &'a [u8],
    pub(crate) revision: u64,
    pub(crate) location: Location,
    /// It is the tombstone of the id, not a put.
    pub(crate) delete: bool,
    /// A prefix tombstone is newer: the record is dead, put or not.
    pub(crate) covered: bool,
}

/// Goes through the ids of one kind in order.
#[derive(Debug)]
pub(crate) struct KindMerge<'a> {
    sources: Vec<Source<'a>>,
    /// The sources that have entries left, a heap: the least id on top, of one id the newest.
    heap: Vec<usize>,
    prefixes: Vec<PrefixTombstone<'a>>,
    covering: Covering<'a>,
    id: Vec<u8>,
    /// A segment whose entries turned out not to be sound, of those that nobody had checked.
    malformed: Option<SegmentId>,
}

#[derive(Debug)]
struct Source<'a> {
    segment: SegmentId,
    entries: Decoder<'a>,
    checked: bool,
    /// So many bytes may the frames of the entries that are left have.
    left: u64,
}

impl Source<'_> {
    /// Moves to the next entry; false if there is none.
    #[inline]
    fn advance(&mut self) -> Result<bool, Malformed> {
        match self.entries.step() {
            Ok(true) => {
                let left = self.left.checked_sub(self.entries.fields().len_bytes());
                self.left = left.ok_or(Malformed)?;
                Ok(true)
            }
            done => done,
        }
    }
}

impl<'a> KindMerge<'a> {
    fn new(sources: Vec<Source<'a>>, prefixes: Vec<PrefixTombstone<'a>>) -> KindMerge<'a> {
        let (heap, malformed) = (Vec::new(), None);
        let pairs = prefixes.iter().map(|one| (one.prefix, one.fields.revision)).collect();
        let covering = Covering::new(pairs);
        let id = Vec::new();
        let mut merge = KindMerge { sources, heap, prefixes, covering, id, malformed };
        merge.heap = (0..merge.sources.len()).filter(|at| merge.advance(*at)).collect();
        for at in (0..merge.heap.len() / 2).rev() {
            merge.sift(at);
        }
        merge
    }

    /// The prefix tombstones that count, in the order of prefixes.
    pub(crate) fn prefixes(&self) -> &[PrefixTombstone<'a>] {
        &self.prefixes
    }

    /// The next id.
    pub(crate) fn next(&mut self) -> Option<Entry<'_>> {
        let top = &self.sources[*self.heap.first()?];
        let (fields, segment) = (top.entries.fields(), top.segment);
        self.id.clear();
        self.id.extend_from_slice(top.entries.id());
        self.pop();
        let only = fields.delete && planted(Bug::ForgetTombstone);
        while !only
            && self.heap.first().is_some_and(|top| self.sources[*top].entries.id() == self.id)
        {
            // An older record of the same id.
            self.pop();
        }
        let over = self.covering.revision(&self.id);
        let covered = match planted(Bug::PrefixTombstoneTakesAll) {
            true => over > 0,
            false => over > fields.revision && !planted(Bug::ForgetPrefixTombstone),
        };
        let Fields { revision, offset, len, delete } = fields;
        let location = Location { place: Place { segment, offset }, len };
        Some(Entry { id: &self.id, revision, location, delete, covered })
    }

    /// At the end: whether all entries were sound. If they were not, nothing that was merged is to
    /// be believed.
    ///
    /// # Errors
    /// The segment whose were not.
    pub(crate) fn finish(self) -> Result<(), SegmentId> {
        self.malformed.map_or(Ok(()), Err)
    }

    /// Moves a source to its next entry; false if there is none.
    #[inline]
    fn advance(&mut self, at: usize) -> bool {
        let source = &mut self.sources[at];
        source.advance().unwrap_or_else(|Malformed| {
            assert!(!source.checked, "contents were gone through when they were made or read");
            self.malformed = Some(source.segment);
            false
        })
    }

    /// Moves the topmost source on.
    fn pop(&mut self) {
        let Some(&top) = self.heap.first() else { return };
        if !self.advance(top) {
            self.heap.swap_remove(0);
        }
        self.sift(0);
    }

    /// Whether a source's entry comes before another's: by id, then the newer one. A record that
    /// stands in two segments is the same in both.
    #[inline]
    fn is_before(&self, one: usize, other: usize) -> bool {
        let (one, other) = (&self.sources[one], &self.sources[other]);
        let rank = |source: &Source<'_>| match planted(Bug::FileOrder) {
            true => (0, source.segment),
            false => (source.entries.fields().revision, source.segment),
        };
        let order = one.entries.id().cmp(other.entries.id());
        order.then_with(|| rank(other).cmp(&rank(one))).is_lt()
    }

    fn sift(&mut self, mut at: usize) {
        loop {
            let (left, right) = (2 * at + 1, 2 * at + 2);
            if left >= self.heap.len() {
                return;
            }
            let right_is_less =
                right < self.heap.len() && self.is_before(self.heap[right], self.heap[left]);
            let least = if right_is_less { right } else { left };
            if !self.is_before(self.heap[least], self.heap[at]) {
                return;
            }
            self.heap.swap(at, least);
            at = least;
        }
    }
}
