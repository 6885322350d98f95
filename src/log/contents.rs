//! A segment's contents, built from its frames.

use std::collections::BTreeMap;

use super::records::{FinishedKind, Records};
use super::scan::{Frame, Scan};
use super::segment::Segment;
use crate::error::{Error, Result};
use crate::format::contents::{Contents, KindParts, Totals};
use crate::format::manifest::{KindRange, Sealed};
use crate::format::record::FrameType;
use crate::key;
use crate::sync::Mutex;

impl Contents {
    /// Reads a segment's frames below `length`: what they are, and what the manifest keeps of a
    /// segment that ends there.
    ///
    /// # Errors
    /// `Corrupt` if they are not all sound: damage is never summed up, and so never sealed in.
    pub(crate) fn read(segment: &Segment, length: u64) -> Result<(Contents, Sealed)> {
        let mut builder = Builder::default();
        let mut scan = Scan::new(&*segment.file, segment.salt, segment.base, segment.first, length);
        while let Some(frame) = scan.next().map_err(|e| Error::io("read", &segment.path, e))? {
            let frame = match frame {
                Ok(frame) => frame,
                Err(bad) => {
                    return Err(Error::corrupt(&segment.path, scan.offset(), bad.to_string()));
                }
            };
            builder.add(segment, &frame)?;
        }
        Ok(builder.finish(length))
    }
}

/// What contents need of a frame but for its key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    pub(super) frame_type: FrameType,
    internal: bool,
    pub(super) revision: u64,
    pub(super) time: i64,
    kind_len: u8,
    id_len: u16,
    checksums: [u8; 8],
    pub(super) offset: u64,
    pub(super) len: u64,
}

impl Seen {
    #[inline]
    pub(crate) fn of(frame: &Frame<'_>) -> Seen {
        let record = frame.header.record(frame.bytes);
        Seen {
            frame_type: record.frame_type,
            internal: frame.header.internal,
            revision: record.revision,
            time: record.time,
            kind_len: record.kind.len() as u8,
            id_len: record.id.len() as u16,
            checksums: *frame.checksums(),
            offset: frame.offset,
            len: frame.header.frame_len(),
        }
    }

    /// How many bytes kind and id have.
    pub(crate) fn key_len(&self) -> usize {
        usize::from(self.kind_len) + usize::from(self.id_len)
    }
}

/// Takes frames one by one, in the order in which they lie in a segment.
#[derive(Debug, Default)]
pub(crate) struct Builder {
    digest: Digest,
    totals: Totals,
    puts: Option<(u64, u64)>,
    kinds: Kinds,
}

impl Builder {
    /// Adds the next frame, which is sound and lies in `segment`.
    ///
    /// # Errors
    /// `Corrupt` if its key is malformed: a sound checksum over one was not written by this store.
    #[inline(always)]
    pub(crate) fn add(&mut self, segment: &Segment, frame: &Frame<'_>) -> Result<()> {
        let record = frame.header.record(frame.bytes);
        self.digest.add(frame.checksums());
        self.add_record(segment, frame.offset, &Seen::of(frame), record.kind, record.id)
    }

    /// The same of a frame of which only this was kept, and its kind and id.
    pub(crate) fn add_seen(&mut self, segment: &Segment, seen: &Seen, key: &[u8]) -> Result<()> {
        let (kind, id) = key.split_at(usize::from(seen.kind_len));
        self.digest.add(&seen.checksums);
        self.add_record(segment, seen.offset, seen, kind, id)
    }

    /// Adds a frame that was copied from `segment` to another one, where it takes `len` bytes at
    /// `offset`. There is no digest of what is built so.
    pub(crate) fn add_copy(
        &mut self,
        segment: &Segment,
        frame: &Frame<'_>,
        offset: u64,
        len: u64,
    ) -> Result<()> {
        let record = frame.header.record(frame.bytes);
        let seen = Seen { offset, len, ..Seen::of(frame) };
        self.add_record(segment, frame.offset, &seen, record.kind, record.id)
    }

    /// Adds what was at the offset `from` of `segment`.
    #[inline(always)]
    fn add_record(
        &mut self,
        segment: &Segment,
        from: u64,
        seen: &Seen,
        kind: &[u8],
        id: &[u8],
    ) -> Result<()> {
        let totals = &mut self.totals;
        totals.revision = totals.revision.max(seen.revision);
        if !seen.frame_type.is_record() {
            return Ok(());
        }
        totals.records += 1;
        if seen.frame_type == FrameType::Put {
            let (first, last) = self.puts.unwrap_or((u64::MAX, 0));
            self.puts = Some((first.min(seen.revision), last.max(seen.revision)));
        }
        if seen.internal {
            totals.internal += 1;
            return Ok(());
        }
        let malformed = |error: Error| Error::corrupt(&segment.path, from, error.to_string());
        let records = self.kinds.find(kind).map_err(malformed)?;
        key::check_prefix_bytes(id).map_err(malformed)?;
        records.add(seen, id);
        Ok(())
    }

    /// What the frames are, which end at `length`.
    pub(crate) fn finish(self, length: u64) -> (Contents, Sealed) {
        self.finish_with(length, |kinds, finish| (0..kinds).map(finish).collect())
    }

    /// The same, where `each` finishes kinds by number, each once, on several threads if it likes.
    /// It answers in their order.
    pub(crate) fn finish_with(
        self,
        length: u64,
        each: impl FnOnce(usize, &(dyn Fn(usize) -> FinishedKind + Sync)) -> Vec<FinishedKind>,
    ) -> (Contents, Sealed) {
        let totals = Totals { length, digest: self.digest.finalize(), ..self.totals };
        let kinds = self.kinds.in_order();
        let kinds = kinds.into_iter().map(|(name, records)| (name, Mutex::new(records)));
        let kinds: Vec<(Box<str>, Mutex<Records>)> = kinds.collect();
        let finished = each(kinds.len(), &|at| {
            let (name, records) = &kinds[at];
            // What was sorted is let go before the next kind is.
            let records = std::mem::take(&mut *records.lock());
            records.finish(name)
        });
        let (parts, ranges): (Vec<KindParts>, Vec<Option<KindRange>>) =
            finished.into_iter().map(|kind| (kind.part, kind.range)).unzip();
        let ranges = ranges.into_iter().flatten().collect();
        let contents = Contents::encode(totals, parts);
        let (first_put_revision, last_put_revision) = self.puts.unwrap_or((0, 0));
        let Totals { digest, records, .. } = totals;
        let sealed = Sealed {
            length,
            digest,
            records,
            first_put_revision,
            last_put_revision,
            kinds: ranges,
            ordered: false,
        };
        (contents, sealed)
    }
}

/// So many kinds are found without looking for them. A power of two.
const RECENT: usize = 64;

/// The kinds that were met, by name.
#[derive(Debug)]
struct Kinds {
    all: Vec<(Box<str>, Records)>,
    /// Where each one is among all.
    places: BTreeMap<Box<[u8]>, u32>,
    /// The same, by a few of the name's bytes, of the one that was asked for last.
    recent: [u32; RECENT],
}

impl Default for Kinds {
    fn default() -> Kinds {
        Kinds { all: Vec::new(), places: BTreeMap::new(), recent: [0; RECENT] }
    }
}

impl Kinds {
    /// The records of a kind, none if it is new.
    ///
    /// # Errors
    /// `InvalidKey` if it is malformed.
    #[inline]
    fn find(&mut self, name: &[u8]) -> Result<&mut Records> {
        let [first, .., last] = name else { return self.find_slowly(name, 0) };
        let [first, last] = [*first, *last].map(usize::from);
        let slot = (first * 5 + last * 11 + name.len() * 23) % RECENT;
        let recent = self.recent[slot] as usize;
        match self.all.get(recent) {
            Some((kind, _)) if kind.as_bytes() == name => Ok(&mut self.all[recent].1),
            _ => self.find_slowly(name, slot),
        }
    }

    #[cold]
    fn find_slowly(&mut self, name: &[u8], slot: usize) -> Result<&mut Records> {
        let place = match self.places.get(name) {
            Some(place) => *place,
            None => self.add(name)?,
        };
        self.recent[slot] = place;
        Ok(&mut self.all[place as usize].1)
    }

    fn add(&mut self, name: &[u8]) -> Result<u32> {
        let invalid = |_| Error::InvalidKey { reason: "not UTF-8".to_owned() };
        let text = std::str::from_utf8(name).map_err(invalid)?;
        key::check_kind(text)?;
        let place = self.all.len() as u32;
        self.all.push((text.into(), Records::default()));
        self.places.insert(name.into(), place);
        Ok(place)
    }

    fn in_order(mut self) -> Vec<(Box<str>, Records)> {
        self.all.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        self.all
    }
}

/// CRC-32 of all frames' checksums, several frames at a time: a checksum of few bytes costs by the
/// piece.
#[derive(Debug)]
struct Digest {
    crc: crc32fast::Hasher,
    waiting: [u8; 256],
    len: usize,
}

impl Default for Digest {
    fn default() -> Digest {
        Digest { crc: crc32fast::Hasher::new(), waiting: [0; 256], len: 0 }
    }
}

impl Digest {
    /// Adds the checksums of the next frame.
    #[inline]
    fn add(&mut self, checksums: &[u8; 8]) {
        self.waiting[self.len..][..8].copy_from_slice(checksums);
        self.len += 8;
        if self.len == self.waiting.len() {
            self.crc.update(&self.waiting);
            self.len = 0;
        }
    }

    fn finalize(mut self) -> u32 {
        self.crc.update(&self.waiting[..self.len]);
        self.crc.finalize()
    }
}
