//! The records of one kind in a segment, and what contents have of them.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::contents::Seen;
use super::covering::Covering;
use super::order;
use crate::format::alphabet::{Alphabet, Codes};
use crate::format::contents::{KindParts, Prefix};
use crate::format::entries::{Encoder, Fields};
use crate::format::location::UNIT;
use crate::format::manifest::KindRange;
use crate::format::record::FrameType;
use crate::key::common_len;
use crate::zoo::{Bug, planted};

/// The records of one kind, in the order in which they lie.
#[derive(Debug, Default)]
pub(super) struct Records {
    /// All ids, one behind the other.
    ids: Vec<u8>,
    puts_and_deletes: Vec<Keyed>,
    /// Where the last id begins.
    last: usize,
    /// How many bytes all ids start with, and whether each is above the one before.
    common: usize,
    ascend: bool,
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

/// A kind's part of the contents, and the first and the last id that was put, if any was.
pub(crate) struct FinishedKind {
    pub(super) part: KindParts,
    pub(super) range: Option<KindRange>,
}

impl Records {
    #[inline]
    pub(super) fn add(&mut self, seen: &Seen, id: &[u8]) {
        let Seen { frame_type, revision, time, offset, len, .. } = *seen;
        self.total_bytes += len;
        let (offset, len) = ((offset / UNIT) as u32, (len / UNIT) as u32);
        let delete = frame_type != FrameType::Put;
        let fields = Fields { revision, offset, len, delete };
        if delete {
            return self.add_tombstone(frame_type, id, fields);
        }
        let (oldest, newest) = self.times.unwrap_or((time, time));
        self.times = Some((oldest.min(time), newest.max(time)));
        self.push(id, fields);
    }

    fn add_tombstone(&mut self, frame_type: FrameType, id: &[u8], fields: Fields) {
        let (one, bug) = match frame_type {
            FrameType::DeletePrefix => (false, Bug::ForgetPrefixDelete),
            _ => (true, Bug::ForgetDelete),
        };
        if planted(bug) {
            return;
        }
        if one {
            return self.push(id, fields);
        }
        let newest = self.prefixes.entry(id.into()).or_insert(fields);
        if newest.revision < fields.revision {
            *newest = fields;
        }
    }

    #[inline]
    fn push(&mut self, id: &[u8], fields: Fields) {
        if self.puts_and_deletes.is_empty() {
            (self.common, self.ascend) = (id.len(), true);
        } else {
            let last = &self.ids[self.last..];
            let shared = common_len(last, id);
            self.common = self.common.min(shared);
            self.ascend &= last.get(shared) < id.get(shared);
        }
        self.last = self.ids.len();
        self.ids.extend_from_slice(id);
        self.puts_and_deletes.push(Keyed { end: self.ids.len(), fields });
    }

    #[inline]
    fn id(&self, at: usize) -> &[u8] {
        let start = if at == 0 { 0 } else { self.puts_and_deletes[at - 1].end };
        &self.ids[start..self.puts_and_deletes[at].end]
    }

    /// By id, the newest record of each first.
    fn order(&self, codes: &Codes) -> Vec<u32> {
        let count = self.puts_and_deletes.len();
        if self.ascend {
            return (0..count as u32).collect();
        }
        let rest = |at: u32| &self.id(at as usize)[self.common..];
        let age = |at: u32| Reverse((self.puts_and_deletes[at as usize].fields.revision, at));
        order::by_text(count, codes, rest, |a, b| age(a).cmp(&age(b)))
    }

    /// What contents have of it, under the kind's name.
    pub(super) fn finish(self, name: &str) -> FinishedKind {
        let count = self.puts_and_deletes.len();
        let common = &self.ids[..self.common];
        let codes = Alphabet::of((0..count).map(|at| &self.id(at)[common.len()..])).codes();
        let prefixes = self.prefixes.iter().map(|(prefix, fields)| (&**prefix, fields.revision));
        let mut covering = Covering::new(prefixes.collect());
        let mut entries = Encoder::new(common, &codes);
        let (mut count, mut last): (u64, &[u8]) = (0, b"");
        let mut puts: Option<(&[u8], &[u8])> = None;
        let mut puts_only = true;
        for at in self.order(&codes) {
            let (id, fields) = (self.id(at as usize), self.puts_and_deletes[at as usize].fields);
            if !fields.delete {
                puts = Some((puts.map_or(id, |(first, _)| first), id));
            }
            if last == id {
                continue;
            }
            last = id;
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
        let (oldest, newest) = self.times.unwrap_or((i64::MAX, i64::MIN));
        let (entries, common) = (entries.finish(), common.to_vec());
        let prefixes = self.prefixes.into_iter();
        let part = KindParts {
            name: name.into(),
            total_bytes: self.total_bytes,
            oldest,
            newest,
            count,
            puts_only,
            common,
            entries,
            prefixes: prefixes.map(|(prefix, fields)| Prefix { prefix, fields }).collect(),
        };
        FinishedKind { part, range }
    }
}
