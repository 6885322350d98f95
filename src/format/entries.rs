//! Entries of a kind in a hint: ids in order, and where their newest records lie.
//!
//! ```text
//! entries = alphabet { block }
//! block   = { least width } bits
//! ```
//!
//! A block has [`BLOCK_LEN`] entries, the last one what is left. Each entry is six numbers and the
//! rest of its id, told by how they differ from the entry before; before the first there is the
//! prefix that all ids of the kind have in common, and a record that ends at offset 0:
//!
//! ```text
//! shared    how many bytes more than the common prefix the id has in common with the one before
//! id-len    the id's bytes
//! delete    1 if the record is a tombstone, 0 if it is a put
//! revision
//! offset    of the frame, in units, less the end of the one before: 0, -1, 1 are 0, 1, 2
//! len       of the frame, in units
//! ```
//!
//! Of each of the six numbers a block has the least there is, a varint, and the width of what the
//! others are above it, a byte. In `bits` there is one entry behind the other: the six, each in its
//! width, then the bytes of the id that are not shared, as the `alphabet` has them. Zeros fill the
//! last byte. In a segment that lies in the order of its keys, ids of the same length with frames
//! of the same length take their characters and the bits of `shared` and `revision`.

use super::alphabet::{Characters, Codes};
use super::bits::{self, BitWriter, WINDOW_BITS};
use super::location::UNIT;
use super::record::MAX_REVISION;
use super::varint;
use crate::key::{MAX_ID_LEN, common_len};

/// Entries of a block.
const BLOCK_LEN: usize = 128;
/// Numbers of an entry, and the most bits that each may have above the least.
const COLUMNS: usize = 6;
const MAX_WIDTHS: [u32; COLUMNS] = [16, 16, 1, 62, 34, 33];

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
pub(crate) struct Encoder<'a> {
    out: BitWriter,
    codes: &'a Codes,
    common: usize,
    id: &'a [u8],
    last: Fields,
    /// The block at hand: the numbers of its entries, and what of each one's id is not shared.
    rows: Vec<([u64; COLUMNS], &'a [u8])>,
}

impl<'a> Encoder<'a> {
    /// For ids that all start with `common`, and behind that have no characters but those of
    /// `codes`.
    pub(crate) fn new(common: &'a [u8], codes: &'a Codes) -> Encoder<'a> {
        let mut out = BitWriter::default();
        codes.encode(out.bytes());
        let (last, rows) = (Fields::default(), Vec::with_capacity(BLOCK_LEN));
        Encoder { out, codes, common: common.len(), id: common, last, rows }
    }

    /// Adds an entry. Its id is above the last one's.
    #[inline]
    pub(crate) fn push(&mut self, id: &'a [u8], fields: Fields) {
        let shared = common_len(&id[self.common..], &self.id[self.common..]);
        let gap = i64::from(fields.offset) - self.last.end() as i64;
        let row = [
            shared as u64,
            id.len() as u64,
            u64::from(fields.delete),
            fields.revision,
            varint::zigzag(gap),
            u64::from(fields.len),
        ];
        self.rows.push((row, &id[self.common + shared..]));
        (self.id, self.last) = (id, fields);
        if self.rows.len() == BLOCK_LEN {
            self.end_block();
        }
    }

    fn end_block(&mut self) {
        let Encoder { out, codes, rows, .. } = self;
        let mut columns = [Column::default(); COLUMNS];
        for (i, column) in columns.iter_mut().enumerate() {
            let numbers = rows.iter().map(|(row, _)| row[i]);
            let (least, most) = numbers.fold((u64::MAX, 0), |(a, b), n| (a.min(n), b.max(n)));
            *column = Column::new(least, bits::width(most - least));
            varint::put(out.bytes(), least);
            out.bytes().push(column.width as u8);
        }
        let width: u32 = columns.iter().map(|column| column.width).sum();
        for (row, rest) in rows.drain(..) {
            let numbers = columns.iter().zip(row);
            let numbers = numbers.map(|(column, number)| (number - column.least, column.width));
            if width <= u64::BITS {
                let (all, _) = numbers.fold((0, 0), |(all, at), (number, width)| {
                    (all | number.unbounded_shl(at), at + width)
                });
                out.put(all, width);
            } else {
                numbers.for_each(|(number, width)| out.put(number, width));
            }
            codes.put(rest, out);
        }
        out.align();
    }

    /// What was written; nothing if there is no entry.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        if self.last == Fields::default() {
            return Vec::new();
        }
        if !self.rows.is_empty() {
            self.end_block();
        }
        std::mem::take(self.out.bytes())
    }
}

/// One number of all entries of a block.
#[derive(Clone, Copy, Debug, Default)]
struct Column {
    least: u64,
    width: u32,
    mask: u64,
}

impl Column {
    fn new(least: u64, width: u32) -> Column {
        Column { least, width, mask: bits::mask(width) }
    }
}

/// Reads entries one after another.
#[derive(Debug)]
pub(crate) struct Decoder<'a> {
    bytes: &'a [u8],
    /// The next bit.
    at: usize,
    /// How many entries are left: all told, and in the block at hand.
    left: u64,
    left_in_block: usize,
    columns: [Column; COLUMNS],
    /// The bits of the six numbers of an entry.
    width: u32,
    characters: Option<Characters>,
    common: usize,
    /// Where the segment ends, in units.
    end: u64,
    /// The id is what stands there first.
    id: Vec<u8>,
    id_len: usize,
    last: Fields,
}

/// Bytes that no encoder wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

impl<'a> Decoder<'a> {
    /// Reads what an encoder wrote for so many ids with this common prefix, whose frames lie below
    /// `end`, in units.
    pub(crate) fn new(bytes: &'a [u8], count: u64, common: &[u8], end: u64) -> Decoder<'a> {
        Decoder {
            bytes,
            at: 0,
            left: count,
            left_in_block: 0,
            columns: Default::default(),
            width: 0,
            characters: None,
            common: common.len(),
            end,
            id: common.to_vec(),
            id_len: common.len(),
            last: Fields::default(),
        }
    }

    /// The id of the entry that was read last.
    #[inline]
    pub(crate) fn id(&self) -> &[u8] {
        &self.id[..self.id_len]
    }

    /// The rest of it.
    #[inline]
    pub(crate) fn fields(&self) -> Fields {
        self.last
    }

    /// Reads the next entry; false at the end. Ids ascend, frames lie inside the segment, numbers
    /// are within their limits, or it is an error.
    pub(crate) fn step(&mut self) -> Result<bool, Malformed> {
        if self.left_in_block == 0 {
            if self.left == 0 {
                return self.finish();
            }
            self.begin_block()?;
        }
        let [shared, id_len, delete, revision, gap, len] = self.numbers();
        let shared = self.common as u64 + shared;
        let is_sound = shared <= id_len
            && shared <= self.id_len as u64
            && (1..=MAX_ID_LEN as u64).contains(&id_len)
            && delete <= 1
            && revision <= MAX_REVISION
            && len > 0;
        let offset = self.last.end().checked_add_signed(varint::unzigzag(gap));
        let offset = offset.filter(|offset| offset + len <= self.end).ok_or(Malformed)?;
        if !is_sound {
            return Err(Malformed);
        }
        self.take_suffix(shared as usize, id_len as usize)?;
        let (offset, len) = (offset as u32, len as u32);
        self.last = Fields { revision, offset, len, delete: delete == 1 };
        self.left_in_block -= 1;
        self.left -= 1;
        Ok(true)
    }

    /// The numbers of the next entry.
    #[inline]
    fn numbers(&mut self) -> [u64; COLUMNS] {
        let mut numbers = [0; COLUMNS];
        if self.width <= WINDOW_BITS {
            let mut window = bits::window(self.bytes, self.at);
            for (number, column) in numbers.iter_mut().zip(&self.columns) {
                *number = column.least + (window & column.mask);
                window >>= column.width;
            }
            self.at += self.width as usize;
        } else {
            for (number, column) in numbers.iter_mut().zip(&self.columns) {
                *number = column.least + bits::get(self.bytes, &mut self.at, column.width);
            }
        }
        numbers
    }

    /// Reads the bytes of an id of `len` that come behind the `shared` ones.
    #[inline]
    fn take_suffix(&mut self, shared: usize, len: usize) -> Result<(), Malformed> {
        let characters = self.characters.as_ref().ok_or(Malformed)?;
        let end = self.at + characters.width(len - shared);
        if end > self.bytes.len() * 8 {
            return Err(Malformed);
        }
        if len > self.id.len() {
            self.id.resize(len, 0);
        }
        let before = if shared < self.id_len { self.id[shared] } else { 0 };
        characters.read(self.bytes, self.at, &mut self.id[shared..len])?;
        (self.at, self.id_len) = (end, len);
        // What is shared is all that is, so the first byte behind it decides. Only the first id may
        // be the common prefix itself.
        let ascends = match len > shared {
            true => before < self.id[shared],
            false => self.last == Fields::default(),
        };
        if ascends { Ok(()) } else { Err(Malformed) }
    }

    fn begin_block(&mut self) -> Result<(), Malformed> {
        if self.characters.is_none() {
            let (characters, len) = Characters::decode(self.bytes, self.left)?;
            self.characters = Some(characters);
            self.at = len * 8;
        }
        let mut at = self.at.div_ceil(8);
        for (column, most) in self.columns.iter_mut().zip(MAX_WIDTHS) {
            let least = varint::get(self.bytes, &mut at).ok_or(Malformed)?;
            let width = u32::from(*self.bytes.get(at).ok_or(Malformed)?);
            at += 1;
            // So no sum overflows.
            if width > most || least > MAX_REVISION {
                return Err(Malformed);
            }
            *column = Column::new(least, width);
        }
        self.width = self.columns.iter().map(|column| column.width).sum();
        self.at = at * 8;
        self.left_in_block = self.left.min(BLOCK_LEN as u64) as usize;
        Ok(())
    }

    /// The end: nothing may follow.
    fn finish(&self) -> Result<bool, Malformed> {
        if self.at.div_ceil(8) == self.bytes.len() { Ok(false) } else { Err(Malformed) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::alphabet::Alphabet;

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

    /// What is written of ids that start with `common`.
    fn written(common: &[u8], entries: &[(Vec<u8>, Fields)]) -> Vec<u8> {
        let behind = entries.iter().map(|(id, _)| &id[common.len()..]);
        let codes = Alphabet::of(behind).codes();
        let mut encoder = Encoder::new(common, &codes);
        entries.iter().for_each(|(id, fields)| encoder.push(id, *fields));
        encoder.finish()
    }

    fn encoded() -> Vec<u8> {
        written(b"run/", &entries())
    }

    #[test]
    fn what_is_written_is_read() {
        is_read(b"run/", &entries());
        is_read(b"", &entries());
        is_read(b"", &[]);
    }

    fn is_read(common: &[u8], entries: &[(Vec<u8>, Fields)]) {
        let bytes = written(common, entries);
        let mut decoder = Decoder::new(&bytes, entries.len() as u64, common, 1 << 32);
        for (id, fields) in entries {
            assert_eq!(decoder.step(), Ok(true));
            assert_eq!((decoder.id(), decoder.fields()), (&**id, *fields));
        }
        assert_eq!((decoder.step(), decoder.step()), (Ok(false), Ok(false)));
    }

    /// Every size of alphabet, over several blocks, and ids that are no text of one byte a
    /// character.
    #[test]
    fn ids_of_any_characters_are_read() {
        let random = |n: u64| n.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29) >> 20;
        for size in 1..=255u64 {
            let byte = |n: u64| (random(n) % size) as u8 + 1;
            let id = |n: u64| (0..1 + random(n) % 40).map(|i| byte(n * 100 + i)).collect();
            let ids: std::collections::BTreeSet<Vec<u8>> = (0..300).map(id).collect();
            let fields = |n: usize| {
                let n = n as u64;
                let (revision, offset) = (random(n) % 5000, (random(n + 1) % 1000) as u32);
                Fields { revision, offset, len: 1 + n as u32 % 3, delete: n.is_multiple_of(7) }
            };
            let entries = ids.into_iter().enumerate().map(|(n, id)| (id, fields(n)));
            is_read(b"", &entries.collect::<Vec<_>>());
        }
    }

    /// 16 characters of 32 that are random behind a few that ascend, as in a ULID.
    #[test]
    fn an_entry_in_key_order_takes_five_bits_a_character_and_three_bytes() {
        let digit = |n: u64| b"0123456789ABCDEFGHJKMNPQRSTVWXYZ"[(n % 32) as usize] as char;
        let random = |n: u64| n.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29);
        let entry = |n: u64| {
            let time = [n / 1024, n / 32, n].map(digit);
            let tail = (0..16).map(|i| digit(random(n * 16 + i)));
            let id: String = "exe-01HF7YA".chars().chain(time).chain(tail).collect();
            let (revision, offset) = (random(n) % 1_000_000, 9 + 34 * n as u32);
            (id.into_bytes(), Fields { revision, offset, len: 34, delete: false })
        };
        let entries: Vec<_> = (0..10_000).map(entry).collect();
        let len = written(b"exe-01HF7YA", &entries).len();
        assert!(len < 10_000 * 17 * 5 / 8 + 10_000 * 3, "{len}");
    }

    /// Whatever the bytes are, what is read of them keeps the rules.
    #[test]
    fn bytes_that_were_changed_are_malformed_or_keep_the_rules() {
        let bytes = encoded();
        let check = |bytes: &[u8], end: u64| {
            let mut decoder = Decoder::new(bytes, 7, b"run/", end);
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
