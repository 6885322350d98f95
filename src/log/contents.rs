//! A segment's contents, built from its frames.

use std::collections::BTreeMap;

use super::covering::Covering;
use super::scan::{Frame, Scan};
use super::segment::Segment;
use crate::error::{Error, Result};
use crate::format::alphabet::Alphabet;
use crate::format::contents::{Contents, KindParts, Prefix, Totals};
use crate::format::entries::{Encoder, Fields};
use crate::format::location::UNIT;
use crate::format::manifest::{KindRange, Sealed};
use crate::format::record::FrameType;
use crate::key;
use crate::sync::Mutex;
use crate::zoo::{Bug, planted};

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
    frame_type: FrameType,
    internal: bool,
    revision: u64,
    time: i64,
    kind_len: u8,
    id_len: u16,
    checksums: [u8; 8],
    offset: u64,
    len: u64,
}

impl Seen {
    pub(crate) fn of(frame: &Frame<'_>) -> Seen {
        let record = frame.header.record(frame.bytes);
        Seen {
            frame_type: record.frame_type,
            internal: frame.header.internal,
            revision: record.revision,
            time: record.time,
            kind_len: record.kind.len() as u8,
            id_len: record.id.len() as u16,
            checksums: frame.checksums().try_into().expect("eight bytes"),
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
    digest: crc32fast::Hasher,
    totals: Totals,
    puts: Option<(u64, u64)>,
    kinds: BTreeMap<Box<str>, Records>,
}

impl Builder {
    /// Adds the next frame, which is sound and lies in `segment`.
    ///
    /// # Errors
    /// `Corrupt` if its key is malformed: a sound checksum over one was not written by this store.
    pub(crate) fn add(&mut self, segment: &Segment, frame: &Frame<'_>) -> Result<()> {
        let record = frame.header.record(frame.bytes);
        self.digest.update(frame.checksums());
        self.add_record(segment, frame.offset, &Seen::of(frame), record.kind, record.id)
    }

    /// The same of a frame of which only this was kept, and its kind and id.
    pub(crate) fn add_seen(&mut self, segment: &Segment, seen: &Seen, key: &[u8]) -> Result<()> {
        let (kind, id) = key.split_at(usize::from(seen.kind_len));
        self.digest.update(&seen.checksums);
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
        let kind = check_key(kind, id)
            .map_err(|error| Error::corrupt(&segment.path, from, error.to_string()))?;
        let records = match self.kinds.get_mut(kind) {
            Some(records) => records,
            None => self.kinds.entry(kind.into()).or_default(),
        };
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
        let kinds = self.kinds.into_iter().map(|(name, records)| (name, Mutex::new(records)));
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

/// A kind's part of the contents, and the first and the last id that was put, if any was.
pub(crate) struct FinishedKind {
    part: KindParts,
    range: Option<KindRange>,
}

/// The kind, if it and the id are well formed.
fn check_key<'a>(kind: &'a [u8], id: &'a [u8]) -> Result<&'a str> {
    let utf8 = |bytes: &'a [u8]| {
        let invalid = |_| Error::InvalidKey { reason: "not UTF-8".to_owned() };
        std::str::from_utf8(bytes).map_err(invalid)
    };
    let kind = utf8(kind)?;
    key::check_kind(kind)?;
    key::check_prefix(utf8(id)?)?;
    Ok(kind)
}

/// The records of one kind, in the order in which they lie.
#[derive(Debug, Default)]
struct Records {
    /// All ids, one behind the other.
    ids: Vec<u8>,
    puts_and_deletes: Vec<Keyed>,
    prefixes: BTreeMap<Box<[u8]>, Fields>,
    total_bytes: u64,
    times: Option<(i64, i64)>,
}

/// A put or a delete, and where its id ends in `ids`.
#[derive(Debug)]
struct Keyed {
    end: usize,
    fields: Fields,
}

impl Records {
    fn add(&mut self, seen: &Seen, id: &[u8]) {
        let Seen { frame_type, revision, time, offset, len, .. } = *seen;
        self.total_bytes += len;
        let (offset, len) = ((offset / UNIT) as u32, (len / UNIT) as u32);
        let delete = frame_type != FrameType::Put;
        let fields = Fields { revision, offset, len, delete };
        let forgotten = match frame_type {
            FrameType::Delete => planted(Bug::ForgetDelete),
            FrameType::DeletePrefix => planted(Bug::ForgetPrefixDelete),
            _ => false,
        };
        if forgotten {
            return;
        }
        if frame_type == FrameType::DeletePrefix {
            let newest = self.prefixes.entry(id.into()).or_insert(fields);
            if newest.revision < revision {
                *newest = fields;
            }
            return;
        }
        if !delete {
            let (oldest, newest) = self.times.unwrap_or((time, time));
            self.times = Some((oldest.min(time), newest.max(time)));
        }
        self.ids.extend_from_slice(id);
        self.puts_and_deletes.push(Keyed { end: self.ids.len(), fields });
    }

    #[inline]
    fn id(&self, at: usize) -> &[u8] {
        let start = if at == 0 { 0 } else { self.puts_and_deletes[at - 1].end };
        &self.ids[start..self.puts_and_deletes[at].end]
    }

    /// By id, the newest record of each first.
    ///
    /// Sorted by the eight bytes after what all ids have in common, which decide nearly always: the
    /// ids themselves lie scattered in memory.
    fn order(&self, common: usize) -> Vec<u32> {
        let head = |at: usize| {
            let rest = &self.id(at)[common..];
            let mut head = [0; 8];
            let len = rest.len().min(8);
            head[..len].copy_from_slice(&rest[..len]);
            (u64::from_be_bytes(head), at as u32)
        };
        let mut keys: Vec<(u64, u32)> = (0..self.puts_and_deletes.len()).map(head).collect();
        keys.sort_unstable_by(|a, b| {
            let id = |at: u32| &self.id(at as usize)[common..];
            let age = |at: u32| (self.puts_and_deletes[at as usize].fields.revision, at);
            a.0.cmp(&b.0).then_with(|| id(a.1).cmp(id(b.1))).then_with(|| age(b.1).cmp(&age(a.1)))
        });
        keys.into_iter().map(|(_, at)| at).collect()
    }

    fn finish(self, name: &str) -> FinishedKind {
        let count = self.puts_and_deletes.len();
        let common = (1..count)
            .fold(if count == 0 { 0 } else { self.id(0).len() }, |common, at| {
                common_len(&self.id(0)[..common], self.id(at))
            });
        let order = self.order(common);
        let common =
            order.first().map_or(Vec::new(), |at| self.id(*at as usize)[..common].to_vec());
        let prefixes = self.prefixes.iter().map(|(prefix, fields)| (&**prefix, fields.revision));
        let mut covering = Covering::new(prefixes.collect());
        let behind = (0..self.puts_and_deletes.len()).map(|at| &self.id(at)[common.len()..]);
        let mut entries = Encoder::new(&common, &Alphabet::of(behind));
        let (mut count, mut last): (u64, Option<&[u8]>) = (0, None);
        let mut puts: Option<(&[u8], &[u8])> = None;
        let mut puts_only = true;
        for at in order {
            let (id, fields) = (self.id(at as usize), self.puts_and_deletes[at as usize].fields);
            if !fields.delete {
                puts = Some((puts.map_or(id, |(first, _)| first), id));
            }
            if last == Some(id) {
                continue;
            }
            last = Some(id);
            if covering.revision(id) <= fields.revision {
                entries.push(id, fields);
                count += 1;
                puts_only &= !fields.delete;
            }
        }
        let text = |id| String::from_utf8_lossy(id).into_owned();
        let range = puts.map(|(first, last)| KindRange {
            kind: name.to_owned(),
            first_id: text(first),
            last_id: text(last),
        });
        let prefixes = self.prefixes.into_iter();
        let prefixes = prefixes.map(|(prefix, fields)| Prefix { prefix, fields }).collect();
        let (oldest, newest) = self.times.unwrap_or((i64::MAX, i64::MIN));
        let (total_bytes, entries) = (self.total_bytes, entries.finish());
        let name = name.into();
        let part = KindParts {
            name,
            total_bytes,
            oldest,
            newest,
            count,
            puts_only,
            common,
            entries,
            prefixes,
        };
        FinishedKind { part, range }
    }
}

fn common_len(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}
