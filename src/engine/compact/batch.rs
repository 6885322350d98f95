//! Records of the inputs, read many at a time: in the order in which they lie, and handed on in the
//! order of keys.
//!
//! In a store that was written at random, neighbours in the order of keys lie far apart. Read one
//! by one, each would cost a call and a wait of its own. Of a whole batch enough lie side by side
//! that the inputs are read in long pieces, from front to back.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use crate::error::Result;
use crate::format::location::{Location, Place};
use crate::format::record::{self, Header};
use crate::index::Kind;
use crate::log::segment::Segment;
use crate::log::segments::Segments;
use crate::state::compaction::Trouble;

/// What is read at once, where it lies close together. It stays in the processor's cache until the
/// records are checked and taken out.
const PIECE_LEN: u64 = 256 << 10;
/// Bytes between two records that are read along: to ask twice would cost more.
const MAX_GAP: u64 = 4 << 10;

/// Records that are to be copied, in the order of keys.
#[derive(Default)]
pub(super) struct Batch {
    /// The kinds, and with which record each begins.
    kinds: Vec<(usize, Arc<Kind>)>,
    wanted: Vec<Wanted>,
    /// Their ids, one behind the other.
    ids: Vec<u8>,
    /// How many bytes the records have together.
    len: u64,
    /// Those bytes. Longer than `len` if an earlier batch was: the room is used again.
    bytes: Vec<u8>,
    /// Of each record, why it can't be copied, if that is so.
    damage: BTreeMap<usize, Trouble>,
    /// The records in the order of their places.
    order: Vec<(Place, u32)>,
    /// The segments that they lie in.
    sources: Vec<Arc<Segment>>,
}

struct Wanted {
    location: Location,
    /// As far as it is known before it is read.
    revision: Option<u64>,
    tombstone: bool,
    /// Where its id ends.
    id_end: usize,
    /// Where its bytes begin.
    at: u64,
}

/// A record that was wanted.
pub(super) struct Record<'a> {
    pub(super) kind: &'a Arc<Kind>,
    pub(super) id: &'a [u8],
    /// As far as it is known.
    pub(super) revision: Option<u64>,
    pub(super) location: Location,
    pub(super) tombstone: bool,
    /// Its header and its frame; the reason if what was there is not what was written.
    pub(super) found: Result<(Header, &'a [u8]), Trouble>,
}

impl Batch {
    /// Forgets all records.
    pub(super) fn clear(&mut self) {
        self.kinds.clear();
        self.wanted.clear();
        self.ids.clear();
        self.len = 0;
        self.damage.clear();
        self.sources.clear();
    }

    /// How many bytes the records have.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.wanted.is_empty()
    }

    /// Adds a record: a put, or a tombstone of its id or of a prefix.
    pub(super) fn push(
        &mut self,
        kind: &Arc<Kind>,
        id: &[u8],
        revision: Option<u64>,
        location: Location,
        tombstone: bool,
    ) {
        if self.kinds.last().is_none_or(|(_, last)| !Arc::ptr_eq(last, kind)) {
            self.kinds.push((self.wanted.len(), kind.clone()));
        }
        self.ids.extend_from_slice(id);
        let (id_end, at) = (self.ids.len(), self.len);
        self.wanted.push(Wanted { location, revision, tombstone, id_end, at });
        self.len += location.len_bytes();
    }

    /// Reads all records, and checks their checksums. Between two pieces, `pace` hears how many
    /// bytes have come.
    pub(super) fn read(
        &mut self,
        segments: &Segments,
        mut pace: impl FnMut(u64) -> Result<()>,
    ) -> Result<()> {
        if self.bytes.len() < self.len as usize {
            self.bytes.resize(self.len as usize, 0);
        }
        self.order.clear();
        let places = self.wanted.iter().enumerate();
        self.order.extend(places.map(|(at, wanted)| (wanted.location.place, at as u32)));
        self.order.sort_unstable();
        let (mut from, mut piece) = (0, Vec::new());
        while let Some((place, _)) = self.order.get(from) {
            let segment = match self.sources.last().filter(|last| last.id == place.segment) {
                Some(segment) => segment.clone(),
                None => {
                    let segment = segments.find(place.segment)?;
                    self.sources.push(segment.clone());
                    segment
                }
            };
            let (to, len) = self.piece(from);
            self.read_piece(&segment, from..to, &mut piece, len as usize);
            from = to;
            pace(len)?;
        }
        Ok(())
    }

    fn record_at(&self, nth: usize) -> &Wanted {
        &self.wanted[self.order[nth].1 as usize]
    }

    /// Behind which record the piece ends that begins with this one, and how many bytes it has.
    fn piece(&self, from: usize) -> (usize, u64) {
        let first = self.record_at(from).location;
        let (start, mut to) = (first.place.offset_bytes(), from + 1);
        let mut end = start + first.len_bytes();
        while let Some((place, _)) = self.order.get(to)
            && place.segment == first.place.segment
            && place.offset_bytes() <= end + MAX_GAP
        {
            let behind = place.offset_bytes() + self.record_at(to).location.len_bytes();
            if behind > start + PIECE_LEN {
                break;
            }
            end = end.max(behind);
            to += 1;
        }
        (to, end - start)
    }

    /// Reads records that lie close together.
    fn read_piece(
        &mut self,
        segment: &Segment,
        range: Range<usize>,
        piece: &mut Vec<u8>,
        len: usize,
    ) {
        let start = self.order[range.start].0.offset_bytes();
        let alone = range.len() == 1;
        if piece.len() < len && !alone {
            piece.resize(len, 0);
        }
        if alone || segment.file.read_exact_at(&mut piece[..len], start).is_err() {
            // What can't be read may lie between them, and nobody needs it.
            range.into_iter().for_each(|nth| self.read_alone(segment, nth));
            return;
        }
        for nth in range {
            let (place, at) = self.order[nth];
            let slot = self.slot(at as usize);
            let from = (place.offset_bytes() - start) as usize;
            let frame = &piece[from..from + slot.len()];
            self.bytes[slot].copy_from_slice(frame);
            check(segment, place, frame, at as usize, &mut self.damage);
        }
    }

    fn read_alone(&mut self, segment: &Segment, nth: usize) {
        let (place, at) = self.order[nth];
        let slot = self.slot(at as usize);
        let frame = &mut self.bytes[slot];
        match segment.file.read_exact_at(frame, place.offset_bytes()) {
            Ok(()) => check(segment, place, frame, at as usize, &mut self.damage),
            // One bad sector is no reason to keep all that is dead elsewhere.
            Err(error) => {
                self.damage.insert(at as usize, Trouble::unread(&error));
            }
        }
    }

    /// Where a record's bytes are.
    fn slot(&self, at: usize) -> Range<usize> {
        let Wanted { at, location, .. } = &self.wanted[at];
        *at as usize..(*at + location.len_bytes()) as usize
    }

    /// The records, in the order of keys.
    pub(super) fn records(&self) -> impl Iterator<Item = Record<'_>> {
        let ends = self.kinds.iter().skip(1).map(|(from, _)| *from).chain([self.wanted.len()]);
        let of_kinds = self.kinds.iter().zip(ends);
        of_kinds.flat_map(|((from, kind), to)| (*from..to).map(|at| self.record(kind, at)))
    }

    fn record<'a>(&'a self, kind: &'a Arc<Kind>, at: usize) -> Record<'a> {
        let Wanted { location, revision, tombstone, id_end, .. } = self.wanted[at];
        let id_from = at.checked_sub(1).map_or(0, |before| self.wanted[before].id_end);
        let id = &self.ids[id_from..id_end];
        let found = match self.damage.get(&at) {
            Some(trouble) => Err(trouble.clone()),
            None => self.frame(at).map_err(Trouble::damage).and_then(|(header, frame)| {
                let there = header.layout.is_of(frame, kind.name(), id)
                    && revision.is_none_or(|revision| header.revision == revision);
                let found = there.then_some((header, frame));
                found.ok_or_else(|| Trouble::damage("another record is in its place"))
            }),
        };
        let read = found.as_ref().ok().map(|(header, _)| header.revision);
        let revision = revision.or(read);
        Record { kind, id, revision, location, tombstone, found }
    }

    /// The frame of a record whose checksums were right.
    fn frame(&self, at: usize) -> Result<(Header, &[u8]), String> {
        let place = self.wanted[at].location.place;
        let source = self.sources.binary_search_by_key(&place.segment, |source| source.id);
        let source = &self.sources[source.map_err(|_| "it was not read".to_owned())?];
        let frame = &self.bytes[self.slot(at)];
        let header = Header::decode(frame, source.position(place.offset_bytes()));
        header.map(|header| (header, frame)).map_err(|bad| bad.to_string())
    }
}

/// Notes what is wrong with a frame that was read, if anything is.
fn check(
    segment: &Segment,
    place: Place,
    frame: &[u8],
    at: usize,
    damage: &mut BTreeMap<usize, Trouble>,
) {
    let position = segment.position(place.offset_bytes());
    if let Err(bad) = record::decode(frame, segment.salt, position) {
        damage.insert(at, Trouble::damage(bad.to_string()));
    }
}
