//! A packed, sorted piece of a kind's ids.

use std::cmp::Ordering;
use std::ops::Range;

use super::chunk::Chunk;
use super::leaves::MAX_ENTRIES;
use crate::format::location::{Location, Place, SegmentId};

pub(super) const END_LEN: usize = 2;
pub(super) const LOCATION_LEN: usize = 12;

/// Up to [`MAX_ENTRIES`] ids in order, with their locations, in one
/// allocation of the exact size. Ids never change; a location may be overwritten in place.
///
/// ```text
/// prefix      what all ids start with
/// suffixes    the rest of each id, one after another
/// ends        n x u16: where each suffix ends, counted from the first one's start
/// locations   n x 12 bytes: segment, offset, length; u32 each
/// ```
///
/// Integers are little-endian. The lengths stand outside, in the map's node, so that counting
/// entries touches no leaf.
#[derive(Debug)]
pub(super) struct Leaf {
    bytes: Box<[u8]>,
    len: u16,
    prefix_len: u16,
}

/// One entry of a leaf. Its id is `prefix` followed by `suffix`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry<'a> {
    pub(super) prefix: &'a [u8],
    pub(super) suffix: &'a [u8],
    pub(super) location: Location,
}

impl Entry<'_> {
    pub(super) fn cmp_id(&self, id: &[u8]) -> Ordering {
        let split = self.prefix.len().min(id.len());
        self.prefix.cmp(&id[..split]).then_with(|| self.suffix.cmp(&id[split..]))
    }
}

impl Leaf {
    /// Packs the entries `range` of `chunk`: at least one, and not more bytes than
    /// [`MAX_ID_BYTES`](super::leaves::MAX_ID_BYTES) unless it is one alone.
    pub(super) fn build(chunk: &Chunk, range: Range<usize>) -> Leaf {
        let len = range.len();
        let prefix_len = common_len(chunk.id(range.start), chunk.id(range.end - 1));
        let suffixes_len: usize = range.clone().map(|at| chunk.id(at).len() - prefix_len).sum();
        debug_assert!(suffixes_len <= usize::from(u16::MAX));
        let size = prefix_len + suffixes_len + len * (END_LEN + LOCATION_LEN);
        let mut bytes = Vec::with_capacity(size);
        bytes.extend_from_slice(&chunk.id(range.start)[..prefix_len]);
        for at in range.clone() {
            bytes.extend_from_slice(&chunk.id(at)[prefix_len..]);
        }
        let mut end = 0u16;
        for at in range.clone() {
            end += (chunk.id(at).len() - prefix_len) as u16;
            bytes.extend_from_slice(&end.to_le_bytes());
        }
        for at in range {
            bytes.extend_from_slice(&encode(chunk.location(at)));
        }
        debug_assert_eq!(bytes.len(), size);
        Leaf::from_parts(bytes.into_boxed_slice(), len, prefix_len)
    }

    pub(super) fn from_parts(bytes: Box<[u8]>, len: usize, prefix_len: usize) -> Leaf {
        Leaf { bytes, len: len as u16, prefix_len: prefix_len as u16 }
    }

    pub(super) fn len(&self) -> usize {
        usize::from(self.len)
    }

    /// The heap bytes of the leaf.
    pub(super) fn size(&self) -> usize {
        self.bytes.len()
    }

    /// The bytes of all ids together, each with its prefix.
    pub(super) fn id_bytes(&self) -> usize {
        let prefix_len = usize::from(self.prefix_len);
        self.len() * prefix_len + self.ends_at() - prefix_len
    }

    pub(super) fn prefix(&self) -> &[u8] {
        &self.bytes[..usize::from(self.prefix_len)]
    }

    pub(super) fn suffixes(&self) -> &[u8] {
        &self.bytes[usize::from(self.prefix_len)..self.ends_at()]
    }

    pub(super) fn ends(&self) -> &[u8] {
        &self.bytes[self.ends_at()..self.locations_at()]
    }

    pub(super) fn locations(&self) -> &[u8] {
        &self.bytes[self.locations_at()..]
    }

    /// Where in `suffixes` the suffix of the entry `at` starts; of the one after the last, the end.
    #[inline]
    pub(super) fn start(&self, at: usize) -> usize {
        let Some(before) = at.checked_sub(1) else { return 0 };
        let ends = self.ends();
        usize::from(u16::from_le_bytes([ends[END_LEN * before], ends[END_LEN * before + 1]]))
    }

    fn ends_at(&self) -> usize {
        self.bytes.len() - self.len() * (END_LEN + LOCATION_LEN)
    }

    fn locations_at(&self) -> usize {
        self.bytes.len() - self.len() * LOCATION_LEN
    }

    #[inline]
    fn suffix(&self, at: usize) -> &[u8] {
        &self.suffixes()[self.start(at)..self.start(at + 1)]
    }

    #[inline]
    pub(super) fn location(&self, at: usize) -> Location {
        decode(&self.locations().as_chunks().0[at])
    }

    pub(super) fn set_location(&mut self, at: usize, location: Location) {
        let start = self.locations_at() + at * LOCATION_LEN;
        self.bytes[start..start + LOCATION_LEN].copy_from_slice(&encode(location));
    }

    /// Changes where `id` is, if it is at `from`.
    pub(super) fn relocate(&mut self, id: &[u8], from: Location, to: Location) -> bool {
        let at = self.search(id).ok().filter(|at| self.location(*at) == from);
        if let Some(at) = at {
            self.set_location(at, to);
        }
        at.is_some()
    }

    #[inline]
    pub(super) fn entry(&self, at: usize) -> Entry<'_> {
        Entry { prefix: self.prefix(), suffix: self.suffix(at), location: self.location(at) }
    }

    pub(super) fn entries(
        &self,
        range: Range<usize>,
    ) -> impl DoubleEndedIterator<Item = Entry<'_>> {
        range.map(|at| self.entry(at))
    }

    pub(super) fn all_locations(&self) -> impl Iterator<Item = Location> {
        self.locations().as_chunks().0.iter().map(decode)
    }

    /// How many more entries the leaf takes, if `id` comes behind all it has; otherwise 0.
    pub(super) fn room_behind(&self, id: &[u8]) -> usize {
        if self.cmp_last(id).is_lt() { MAX_ENTRIES.saturating_sub(self.len()) } else { 0 }
    }

    /// How the leaf's last id compares to `id`.
    pub(super) fn cmp_last(&self, id: &[u8]) -> Ordering {
        self.entry(self.len() - 1).cmp_id(id)
    }

    /// Where `id` stands, or where it would.
    pub(super) fn search(&self, id: &[u8]) -> Result<usize, usize> {
        self.search_from(0, id)
    }

    /// The same, if all entries before `low` are known to be below `id`.
    pub(super) fn search_from(&self, mut low: usize, id: &[u8]) -> Result<usize, usize> {
        let split = usize::from(self.prefix_len).min(id.len());
        match self.prefix().cmp(&id[..split]) {
            Ordering::Less => return Err(self.len()),
            Ordering::Greater => return Err(low),
            Ordering::Equal => {}
        }
        let rest = &id[split..];
        // Once: where they are is reckoned anew in each call.
        let (suffixes, ends) = (self.suffixes(), self.ends().as_chunks::<END_LEN>().0);
        let end = |at: usize| usize::from(u16::from_le_bytes(ends[at]));
        let mut high = self.len();
        while low < high {
            let middle = low.midpoint(high);
            let start = middle.checked_sub(1).map_or(0, end);
            match cmp(&suffixes[start..end(middle)], rest) {
                Ordering::Less => low = middle + 1,
                Ordering::Greater => high = middle,
                Ordering::Equal => return Ok(middle),
            }
        }
        Err(low)
    }

    /// The first entry that is not below `id`.
    pub(super) fn lower_bound(&self, id: &[u8]) -> usize {
        self.search(id).unwrap_or_else(|at| at)
    }

    /// Adds the entries `range` to `chunk`.
    pub(super) fn copy_to(&self, chunk: &mut Chunk, range: Range<usize>) {
        let (prefix, suffixes) = (self.prefix(), self.suffixes());
        let ends = self.ends().as_chunks::<END_LEN>().0[range.clone()].iter();
        let locations = self.locations().as_chunks::<LOCATION_LEN>().0[range.clone()].iter();
        let mut start = self.start(range.start);
        chunk.reserve(range.len(), range.len() * prefix.len());
        for (end, location) in ends.zip(locations) {
            let end = usize::from(u16::from_le_bytes(*end));
            chunk.push(prefix, &suffixes[start..end], decode(location));
            start = end;
        }
    }
}

/// Compares ids, whose first eight bytes decide nearly always.
#[inline]
fn cmp(a: &[u8], b: &[u8]) -> Ordering {
    if let (Some(x), Some(y)) = (a.first_chunk(), b.first_chunk()) {
        let order = u64::from_be_bytes(*x).cmp(&u64::from_be_bytes(*y));
        if order.is_ne() {
            return order;
        }
    }
    a.cmp(b)
}

/// How many bytes `a` and `b` start with in common.
pub(super) fn common_len(a: &[u8], b: &[u8]) -> usize {
    let words = a.as_chunks::<8>().0.iter().zip(b.as_chunks::<8>().0);
    let same = 8 * words.take_while(|(a, b)| a == b).count();
    same + a[same..].iter().zip(&b[same..]).take_while(|(a, b)| a == b).count()
}

pub(super) fn encode(location: Location) -> [u8; LOCATION_LEN] {
    let mut bytes = [0; LOCATION_LEN];
    bytes[..4].copy_from_slice(&location.place.segment.0.to_le_bytes());
    bytes[4..8].copy_from_slice(&location.place.offset.to_le_bytes());
    bytes[8..].copy_from_slice(&location.len.to_le_bytes());
    bytes
}

/// Takes an array, so that its length is checked once and not for each byte.
#[inline]
fn decode(bytes: &[u8; LOCATION_LEN]) -> Location {
    let [a, b, c, d, e, f, g, h, i, j, k, l] = *bytes;
    let segment = SegmentId(u32::from_le_bytes([a, b, c, d]));
    let place = Place { segment, offset: u32::from_le_bytes([e, f, g, h]) };
    Location { place, len: u32::from_le_bytes([i, j, k, l]) }
}
