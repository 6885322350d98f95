//! What a segment holds: the payload of a hint, and what is asked of it.
//!
//! ```text
//! payload = kinds { kind }
//! kind    = name-len name total-bytes oldest newest count prefixes common-len common
//!           entries-len entries { prefix-len prefix revision offset len }
//! ```
//!
//! `name-len` is a byte, `oldest` and `newest` are signed 8-byte integers, the other numbers are
//! varints. [`entries`](super::entries) has the entries.

use std::ops::Range;

use super::alphabet;
use super::entries::{Decoder, Fields, Malformed};
use super::file::le_u64;
use super::location::UNIT;
use super::manifest::Sealed;
use super::record::MAX_REVISION;
use super::varint;
use crate::key;

/// The figures of a whole segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    /// Frames below this offset are meant.
    pub(crate) length: u64,
    /// CRC-32 of all frames' two checksums, in order.
    pub(crate) digest: u32,
    /// Puts and deletes, live or not, the store's own ones included.
    pub(crate) records: u64,
    /// The store's own records among them. None of them is in the contents.
    pub(crate) internal: u64,
    /// The highest revision of any frame.
    pub(crate) revision: u64,
}

impl Totals {
    /// Whether these are a sealed segment's, all of it.
    pub(crate) fn is_of(&self, sealed: &Sealed) -> bool {
        let theirs = (sealed.length, sealed.digest, sealed.records);
        (self.length, self.digest, self.records) == theirs
    }
}

/// What a segment holds: by kind and id, the newest record of each id *in this segment*.
///
/// Older records of an id are left out, and so are those that a prefix tombstone of the same
/// segment covers (its revision is higher): whatever else the store holds, they are dead. What is
/// left is kept as a hint has it, encoded: less than half of what it would take unpacked.
#[derive(Debug)]
pub(crate) struct Contents {
    pub(crate) totals: Totals,
    kinds: Vec<KindContents>,
    payload: Vec<u8>,
}

/// What a segment holds of one kind.
#[derive(Debug)]
pub(crate) struct KindContents {
    pub(crate) name: Box<str>,
    /// The bytes of all its frames, live or not, tombstones included.
    pub(crate) total_bytes: u64,
    /// The oldest and the newest time of a put, live or not; of none, `i64::MAX` and `i64::MIN`.
    pub(crate) oldest: i64,
    pub(crate) newest: i64,
    /// How many entries there are.
    pub(crate) count: u64,
    common: Range<usize>,
    entries: Range<usize>,
    /// The entries were gone through, and are sound.
    pub(crate) checked: bool,
    /// The frames of sound entries have no more bytes together.
    pub(crate) max_entry_bytes: u64,
    /// The newest tombstone of each prefix, in the order of prefixes.
    pub(crate) prefixes: Vec<Prefix>,
    /// The entries were gone through, and none is a tombstone.
    puts_only: bool,
}

impl KindContents {
    /// Whether there may be a tombstone, of a key or of a prefix.
    pub(crate) fn may_delete(&self) -> bool {
        !self.puts_only || !self.prefixes.is_empty()
    }
}

/// The tombstone of all ids that start with a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Prefix {
    pub(crate) prefix: Box<[u8]>,
    pub(crate) fields: Fields,
}

/// A kind's figures, as the encoder takes them.
#[derive(Debug)]
pub(crate) struct KindParts {
    pub(crate) name: Box<str>,
    pub(crate) total_bytes: u64,
    pub(crate) oldest: i64,
    pub(crate) newest: i64,
    pub(crate) count: u64,
    /// None of them is a tombstone.
    pub(crate) puts_only: bool,
    pub(crate) common: Vec<u8>,
    /// What an encoder of so many entries wrote.
    pub(crate) entries: Vec<u8>,
    pub(crate) prefixes: Vec<Prefix>,
}

impl Contents {
    /// Puts contents together of their kinds, which come in order.
    pub(crate) fn encode(totals: Totals, parts: Vec<KindParts>) -> Contents {
        let mut payload = Vec::new();
        varint::put(&mut payload, parts.len() as u64);
        let kinds = parts.into_iter().map(|part| part.encode(&mut payload)).collect();
        payload.shrink_to_fit();
        Contents { totals, kinds, payload }
    }

    /// Reads a payload, all of it, so that whoever goes through its entries meets no surprise. What
    /// is allocated is in proportion to its length.
    pub(crate) fn decode(totals: Totals, payload: Vec<u8>) -> Result<Contents, Malformed> {
        Contents::read_payload(totals, payload, true)
    }

    /// Reads a payload, but leaves entries to be checked by the one who goes through them, where
    /// nothing more than that is to be checked. For whoever can start again.
    pub(crate) fn skim(totals: Totals, payload: Vec<u8>) -> Result<Contents, Malformed> {
        Contents::read_payload(totals, payload, false)
    }

    fn read_payload(totals: Totals, payload: Vec<u8>, all: bool) -> Result<Contents, Malformed> {
        let mut reader = Reader { bytes: &payload, at: 0, end: totals.length / UNIT, all };
        let mut kinds: Vec<KindContents> = Vec::new();
        let mut total_bytes = 0u64;
        for _ in 0..reader.number()? {
            let kind = reader.kind()?;
            total_bytes = total_bytes.saturating_add(kind.total_bytes);
            // Whoever plans by these figures takes what is live from what there is.
            if total_bytes > totals.length
                || kinds.last().is_some_and(|last| last.name >= kind.name)
            {
                return Err(Malformed);
            }
            kinds.push(kind);
        }
        match reader.at == payload.len() {
            true => Ok(Contents { totals, kinds, payload }),
            false => Err(Malformed),
        }
    }

    pub(crate) fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// The kinds, in order; also those of which nothing but dead bytes is there.
    pub(crate) fn kinds(&self) -> &[KindContents] {
        &self.kinds
    }

    /// One kind.
    pub(crate) fn kind(&self, name: &str) -> Option<&KindContents> {
        let at = self.kinds.binary_search_by(|kind| (*kind.name).cmp(name)).ok()?;
        Some(&self.kinds[at])
    }

    /// Whether there is any tombstone, of a key or of a prefix.
    pub(crate) fn has_tombstones(&self) -> bool {
        self.kinds.iter().filter(|kind| kind.may_delete()).any(|kind| {
            let mut entries = self.entries(kind);
            let mut any = !kind.prefixes.is_empty();
            while !any && entries.step() == Ok(true) {
                any = entries.fields().delete;
            }
            any
        })
    }

    /// A kind's entries in the order of ids.
    pub(crate) fn entries(&self, kind: &KindContents) -> Decoder<'_> {
        let bytes = |range: &Range<usize>| &self.payload[range.clone()];
        let end = self.totals.length / UNIT;
        Decoder::new(bytes(&kind.entries), kind.count, bytes(&kind.common), end)
    }
}

impl KindParts {
    fn encode(self, out: &mut Vec<u8>) -> KindContents {
        let KindParts { name, total_bytes, oldest, newest, count, common, .. } = self;
        out.push(name.len() as u8);
        out.extend_from_slice(name.as_bytes());
        varint::put(out, total_bytes);
        out.extend_from_slice(&oldest.to_le_bytes());
        out.extend_from_slice(&newest.to_le_bytes());
        varint::put(out, count);
        varint::put(out, self.prefixes.len() as u64);
        let common = put_bytes(out, &common);
        let entries = put_bytes(out, &self.entries);
        for Prefix { prefix, fields } in &self.prefixes {
            put_bytes(out, prefix);
            varint::put(out, fields.revision);
            varint::put(out, u64::from(fields.offset));
            varint::put(out, u64::from(fields.len));
        }
        KindContents {
            name,
            total_bytes,
            oldest,
            newest,
            count,
            common,
            entries,
            checked: true,
            max_entry_bytes: total_bytes,
            prefixes: self.prefixes,
            puts_only: self.puts_only,
        }
    }
}

/// Appends bytes behind their length, and returns where they are.
fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) -> Range<usize> {
    varint::put(out, bytes.len() as u64);
    let at = out.len();
    out.extend_from_slice(bytes);
    at..out.len()
}

/// A place in a payload that is read.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Where the segment ends, in units.
    end: u64,
    /// All entries are checked.
    all: bool,
}

impl Reader<'_> {
    fn kind(&mut self) -> Result<KindContents, Malformed> {
        let name_len = *self.bytes.get(self.at).ok_or(Malformed)?;
        self.at += 1;
        let name = self.range(u64::from(name_len))?;
        let name = std::str::from_utf8(&self.bytes[name]).map_err(|_| Malformed)?;
        key::check_kind(name).map_err(|_| Malformed)?;
        let total_bytes = self.number()?;
        let times = self.range(16)?;
        let (oldest, newest) =
            (le_u64(self.bytes, times.start), le_u64(self.bytes, times.start + 8));
        let (count, prefixes) = (self.number()?, self.number()?);
        let common_len = self.number()?;
        let common = self.range(common_len)?;
        let entries_len = self.number()?;
        let entries = self.range(entries_len)?;
        let (checked, puts_only) = match self.check_entries(&entries, &common, count)? {
            Some((bytes, puts_only)) => (Some(bytes), puts_only),
            None => (None, false),
        };
        let prefixes = self.prefixes(prefixes)?;
        let prefixes_bytes = prefixes.iter().map(|one| one.fields.len_bytes()).sum();
        let max_entry_bytes = total_bytes.checked_sub(prefixes_bytes).ok_or(Malformed)?;
        if checked.is_some_and(|bytes| bytes > max_entry_bytes) {
            return Err(Malformed);
        }
        let (oldest, newest, name) = (oldest as i64, newest as i64, name.into());
        let checked = checked.is_some();
        Ok(KindContents {
            name,
            total_bytes,
            oldest,
            newest,
            count,
            common,
            entries,
            checked,
            max_entry_bytes,
            prefixes,
            puts_only,
        })
    }

    /// Goes through a kind's entries, unless that can be left to others, and returns how many bytes
    /// their frames have, and whether all of them are puts.
    fn check_entries(
        &self,
        entries: &Range<usize>,
        common: &Range<usize>,
        count: u64,
    ) -> Result<Option<(u64, bool)>, Malformed> {
        let (entries, common) = (&self.bytes[entries.clone()], &self.bytes[common.clone()]);
        // All that is put together of this is UTF-8 without control characters.
        let is_text = check_id(common).is_ok() && alphabet::is_plain(entries);
        if is_text && !self.all {
            return Ok(None);
        }
        let mut decoder = Decoder::new(entries, count, common, self.end);
        let (mut bytes, mut puts_only) = (0u64, true);
        while decoder.step()? {
            if !is_text {
                check_id(decoder.id())?;
            }
            bytes = bytes.saturating_add(decoder.fields().len_bytes());
            puts_only &= !decoder.fields().delete;
        }
        Ok(Some((bytes, puts_only)))
    }

    fn prefixes(&mut self, count: u64) -> Result<Vec<Prefix>, Malformed> {
        let mut prefixes: Vec<Prefix> = Vec::new();
        for _ in 0..count {
            let len = self.number()?;
            let prefix: Box<[u8]> = self.bytes[self.range(len)?].into();
            check_id(&prefix)?;
            let (revision, offset, len) = (self.number()?, self.number()?, self.number()?);
            let inside = offset.checked_add(len).is_some_and(|end| end <= self.end);
            let above = prefixes.last().is_none_or(|last| last.prefix < prefix);
            if !inside || !above || len == 0 || revision > MAX_REVISION {
                return Err(Malformed);
            }
            let (offset, len) = (offset as u32, len as u32);
            prefixes
                .push(Prefix { prefix, fields: Fields { revision, offset, len, delete: true } });
        }
        Ok(prefixes)
    }

    fn number(&mut self) -> Result<u64, Malformed> {
        varint::get(self.bytes, &mut self.at).ok_or(Malformed)
    }

    fn range(&mut self, len: u64) -> Result<Range<usize>, Malformed> {
        let left = (self.bytes.len() - self.at) as u64;
        if len > left {
            return Err(Malformed);
        }
        let range = self.at..self.at + len as usize;
        self.at = range.end;
        Ok(range)
    }
}

fn check_id(id: &[u8]) -> Result<(), Malformed> {
    key::check_prefix_bytes(id).map_err(|_| Malformed)
}
