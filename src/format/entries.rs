//! Entries of a kind in a hint: ids in order, and where their newest records lie.
//!
//! ```text
//! entry = head [shared] [id-len] suffix revision [offset] [len]
//! ```
//!
//! Each is told by how it differs from the one before; before the first there is the prefix that
//! all ids of the kind have in common, a record that ends at offset 0, and zeros. `head` is a byte:
//!
//! ```text
//! bit 0     DELETE    the record is a tombstone, not a put
//! bit 1     FOLLOWS   the frame begins where that of the entry before ends: no `offset`
//! bit 2     SAME_LEN  the frame is as long as that of the entry before: no `len`
//! bit 3     SAME_ID   the id is as long as the one before: no `id-len`
//! bits 4-7  how many bytes more than the common prefix the id shares with the one before; 15:
//!           `shared` says how many more than 15 more
//! ```
//!
//! `shared`, `id-len` and `len` (in units) are varints, `revision` and `offset` (in units, from
//! where the frame before ends) signed ones. In a segment that lies in the order of its keys, an id
//! that shares all but `n` bytes takes `n` and about four more.

use super::location::UNIT;
use super::record::MAX_REVISION;
use super::varint;
use crate::key::MAX_ID_LEN;

const DELETE: u8 = 1;
const FOLLOWS: u8 = 2;
const SAME_LEN: u8 = 4;
const SAME_ID: u8 = 8;
const SHARED_SHIFT: u32 = 4;
const SHARED_MAX: usize = 15;

/// What an entry says of its id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fields {
    pub(crate) revision: u64,
    /// Where the frame begins in the segment's file, in units.
    pub(crate) offset: u32,
    /// The frame's length with padding, in units.
    pub(crate) len: u32,
    /// It is the tombstone of the id, not a put.
    pub(crate) delete: bool,
}

impl Fields {
    /// The frame's bytes with padding.
    pub(crate) fn len_bytes(&self) -> u64 {
        u64::from(self.len) * UNIT
    }

    /// Where the frame ends, in units.
    pub(crate) fn end(&self) -> u64 {
        u64::from(self.offset) + u64::from(self.len)
    }
}

/// Writes entries.
#[derive(Debug)]
pub(crate) struct Encoder {
    out: Vec<u8>,
    common: usize,
    id: Vec<u8>,
    last: Fields,
}

impl Encoder {
    /// For ids that all start with `common`.
    pub(crate) fn new(common: &[u8]) -> Encoder {
        let (out, id, last) = (Vec::new(), common.to_vec(), Fields::default());
        Encoder { out, common: common.len(), id, last }
    }

    /// Adds an entry. Its id is above the last one's.
    pub(crate) fn push(&mut self, id: &[u8], fields: Fields) {
        let Encoder { out, common, id: before, last } = self;
        let shared = *common
            + id[*common..].iter().zip(&before[*common..]).take_while(|(a, b)| a == b).count();
        let more = shared - *common;
        let mut head = (more.min(SHARED_MAX) as u8) << SHARED_SHIFT;
        head |= if fields.delete { DELETE } else { 0 };
        head |= if u64::from(fields.offset) == last.end() { FOLLOWS } else { 0 };
        head |= if fields.len == last.len { SAME_LEN } else { 0 };
        head |= if id.len() == before.len() { SAME_ID } else { 0 };
        out.push(head);
        if more >= SHARED_MAX {
            varint::put(out, (more - SHARED_MAX) as u64);
        }
        if head & SAME_ID == 0 {
            varint::put(out, id.len() as u64);
        }
        out.extend_from_slice(&id[shared..]);
        varint::put_signed(out, fields.revision as i64 - last.revision as i64);
        if head & FOLLOWS == 0 {
            varint::put_signed(out, i64::from(fields.offset) - last.end() as i64);
        }
        if head & SAME_LEN == 0 {
            varint::put(out, u64::from(fields.len));
        }
        before.truncate(shared);
        before.extend_from_slice(&id[shared..]);
        *last = fields;
    }

    /// What was written.
    pub(crate) fn finish(self) -> Vec<u8> {
        self.out
    }
}

/// Reads entries one after another.
#[derive(Debug)]
pub(crate) struct Decoder<'a> {
    bytes: &'a [u8],
    at: usize,
    common: usize,
    /// Where the segment ends, in units.
    end: u64,
    started: bool,
    id: Vec<u8>,
    last: Fields,
}

/// Bytes that no encoder wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

impl<'a> Decoder<'a> {
    /// Reads what an encoder wrote for ids with this common prefix, whose frames lie below `end`,
    /// in units.
    pub(crate) fn new(bytes: &'a [u8], common: &[u8], end: u64) -> Decoder<'a> {
        Decoder {
            bytes,
            at: 0,
            common: common.len(),
            end,
            started: false,
            id: common.to_vec(),
            last: Fields::default(),
        }
    }

    /// The id of the entry that was read last.
    #[inline]
    pub(crate) fn id(&self) -> &[u8] {
        &self.id
    }

    /// The rest of it.
    #[inline]
    pub(crate) fn fields(&self) -> Fields {
        self.last
    }

    /// Reads the next entry; false at the end. Ids ascend, frames lie inside the segment, numbers
    /// are within their limits, or it is an error.
    pub(crate) fn step(&mut self) -> Result<bool, Malformed> {
        let Some(&head) = self.bytes.get(self.at) else { return Ok(false) };
        self.at += 1;
        let mut shared = self.common + usize::from(head >> SHARED_SHIFT);
        if usize::from(head >> SHARED_SHIFT) == SHARED_MAX {
            shared += self.number(MAX_ID_LEN as u64)? as usize;
        }
        let id_len = match head & SAME_ID {
            0 => self.number(MAX_ID_LEN as u64)? as usize,
            _ => self.id.len(),
        };
        if shared > self.id.len() || shared > id_len || id_len == 0 {
            return Err(Malformed);
        }
        let suffix = self.bytes.get(self.at..self.at + id_len - shared).ok_or(Malformed)?;
        self.at += suffix.len();
        if self.started && *suffix <= self.id[shared..] {
            return Err(Malformed);
        }
        self.id.truncate(shared);
        self.id.extend_from_slice(suffix);
        self.started = true;
        let revision = self.signed(self.last.revision)?;
        let offset = match head & FOLLOWS {
            0 => self.signed(self.last.end())?,
            _ => self.last.end(),
        };
        let len = match head & SAME_LEN {
            0 => self.number(self.end.min(u64::from(u32::MAX)))?,
            _ => u64::from(self.last.len),
        };
        if len == 0 || offset + len > self.end {
            return Err(Malformed);
        }
        let (offset, len) = (offset as u32, len as u32);
        self.last = Fields { revision, offset, len, delete: head & DELETE != 0 };
        Ok(true)
    }

    fn number(&mut self, limit: u64) -> Result<u64, Malformed> {
        let number = varint::get(self.bytes, &mut self.at).ok_or(Malformed)?;
        if number <= limit { Ok(number) } else { Err(Malformed) }
    }

    /// A number of at most 2^62, told by how it differs from `from`.
    fn signed(&mut self, from: u64) -> Result<u64, Malformed> {
        let delta = varint::get_signed(self.bytes, &mut self.at).ok_or(Malformed)?;
        from.checked_add_signed(delta).filter(|number| *number <= MAX_REVISION).ok_or(Malformed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries() -> Vec<(Vec<u8>, Fields)> {
        let fields = |revision, offset, len, delete| Fields { revision, offset, len, delete };
        let long = format!("run/{}", "x".repeat(40));
        let ids = ["run/", "run/1", "run/10", "run/2", &long, &format!("{long}y"), "run/z"];
        let last = u32::MAX - 8;
        let fields = [
            fields(7, 9, 5, false),
            fields(1 << 61, 14, 5, true),
            fields(8, 1 << 30, 1, false),
            fields(9, 19, 1, false),
            fields(10, last, 9, false),
            fields(11, 20, 300, true),
            fields(11, 320, 300, false),
        ];
        ids.iter().zip(fields).map(|(id, fields)| (id.as_bytes().to_vec(), fields)).collect()
    }

    fn encoded() -> Vec<u8> {
        let mut encoder = Encoder::new(b"run/");
        entries().iter().for_each(|(id, fields)| encoder.push(id, *fields));
        encoder.finish()
    }

    #[test]
    fn what_is_written_is_read() {
        let bytes = encoded();
        let mut decoder = Decoder::new(&bytes, b"run/", 1 << 32);
        for (id, fields) in entries() {
            assert_eq!(decoder.step(), Ok(true));
            assert_eq!((decoder.id(), decoder.fields()), (&*id, fields));
        }
        assert_eq!(decoder.step(), Ok(false));
    }

    #[test]
    fn an_entry_in_key_order_takes_its_suffix_and_four_bytes() {
        let mut encoder = Encoder::new(b"agent-");
        for n in 0..1000u32 {
            let fields = Fields {
                revision: 40_000 - 30 * u64::from(n),
                offset: 9 + 34 * n,
                len: 34,
                delete: false,
            };
            encoder.push(format!("agent-{:08x}", n.wrapping_mul(4_000_000)).as_bytes(), fields);
        }
        assert!(encoder.finish().len() < 1000 * (6 + 4));
    }

    /// Whatever the bytes are, what is read of them keeps the rules.
    #[test]
    fn bytes_that_were_changed_are_malformed_or_keep_the_rules() {
        let bytes = encoded();
        let check = |bytes: &[u8], end: u64| {
            let mut decoder = Decoder::new(bytes, b"run/", end);
            let mut before: Option<Vec<u8>> = None;
            while decoder.step() == Ok(true) {
                let (id, fields) = (decoder.id().to_vec(), decoder.fields());
                assert!(before.is_none_or(|before| before < id) && id.len() <= MAX_ID_LEN);
                assert!(fields.revision <= MAX_REVISION && fields.len > 0);
                assert!(fields.end() <= end);
                before = Some(id);
            }
        };
        for at in 0..bytes.len() {
            check(&bytes[..at], 1 << 32);
            for value in 0..=255 {
                let mut changed = bytes.clone();
                changed[at] = value;
                check(&changed, 1 << 32);
                check(&changed, 400);
            }
        }
    }
}
