//! Frames: the log's unit, a record in its place.
//!
//! ```text
//! frame    = header-crc body-crc place record padding
//! place    = flags [lag] [left]
//! record   = type record-flags kind-len id-len value-len revision time [extension] kind id value
//! ```
//!
//! `header-crc` (u32) covers the segment's salt and the frame's position, neither of which is
//! stored in the frame, and every byte from `body-crc` to the last one before `kind`. `body-crc`
//! (u32) covers the record and nothing of its place, so that compaction copies it unchanged.
//! `docs/format.md` has every field.

mod layout;
mod quick;

pub(crate) use layout::Layout;
pub(crate) use quick::{Skimmed, skim};

use std::sync::OnceLock;

use bytes::{BufMut, BytesMut};

use super::file::le_u64;
use super::location::UNIT;
use super::varint;
use crate::key::{MAX_ID_LEN, MAX_KIND_LEN};
use crate::zoo::{Bug, planted};

/// The most bytes a value may have: 1 GiB.
pub(crate) const MAX_VALUE_LEN: u64 = 1 << 30;
/// The most bytes a batch may take in the log: 2 GiB.
pub(crate) const MAX_BATCH_LEN: u64 = 2 << 30;
/// The most operations a batch may have.
pub(crate) const MAX_BATCH_OPS: usize = 1 << 24;
/// Revisions stay below this, so that no sum of them overflows.
pub(crate) const MAX_REVISION: u64 = 1 << 62;
/// The most bytes a record's extension may have.
const MAX_EXTENSION_LEN: u64 = 1024;
/// The bytes of a segment's salt and a frame's position.
const PLACE_LEN: usize = 16;
/// Enough for every header without its extension.
pub(crate) const MAX_HEADER_LEN: usize = 64;
/// How many bytes are needed to decode any header.
pub(crate) const MAX_EXTENDED_HEADER_LEN: usize = MAX_HEADER_LEN + MAX_EXTENSION_LEN as usize;

/// What a frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum FrameType {
    /// A resource.
    Put = 1,
    /// The tombstone of one key.
    Delete = 2,
    /// The tombstone of all ids of a kind that start with `id`, which may be empty.
    DeletePrefix = 3,
    /// Nothing but its lag: how far the log is durable. `revision` is the last commit's.
    Watermark = 4,
    /// The segment ends here, and the log goes on in the next one.
    End = 5,
}

impl FrameType {
    fn new(byte: u8) -> Option<FrameType> {
        Some(match byte {
            1 => FrameType::Put,
            2 => FrameType::Delete,
            3 => FrameType::DeletePrefix,
            4 => FrameType::Watermark,
            5 => FrameType::End,
            _ => return None,
        })
    }

    /// Whether frames of this type carry a key and belong to commits.
    pub(crate) fn is_record(self) -> bool {
        matches!(self, FrameType::Put | FrameType::Delete | FrameType::DeletePrefix)
    }
}

/// Flags of a frame's place.
mod place_flag {
    /// `left` is present.
    pub(super) const BATCH: u8 = 1;
    /// The commit begins here.
    pub(super) const START: u8 = 2;
    /// The commit asked for `Sync`.
    pub(super) const SYNC: u8 = 4;
    /// `lag` is present.
    pub(super) const LAG: u8 = 8;
    pub(super) const KNOWN: u8 = 15;
}

/// Flags of a record.
mod record_flag {
    /// An extension is present.
    pub(super) const EXTENSION: u8 = 1;
    /// One of the store's own records, outside users' names.
    pub(super) const INTERNAL: u8 = 2;
    pub(super) const KNOWN: u8 = 3;
}

/// What of a frame belongs to its place in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FramePlace {
    /// The durable watermark, a position, as it was when the commit was written.
    pub(crate) watermark: Option<u64>,
    /// How many bytes of the same commit follow this frame.
    pub(crate) left: u64,
    /// Whether the commit begins here.
    pub(crate) start: bool,
    /// Whether the commit asked for `Sync`.
    pub(crate) sync: bool,
}

/// What of a frame belongs to the record, wherever it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record<'a> {
    pub(crate) frame_type: FrameType,
    pub(crate) revision: u64,
    /// Microseconds since 1970, as the clock said.
    pub(crate) time: i64,
    pub(crate) kind: &'a [u8],
    pub(crate) id: &'a [u8],
    pub(crate) value: &'a [u8],
}

impl Record<'_> {
    /// A frame without a key: a watermark or an end.
    pub(crate) fn bare(frame_type: FrameType, revision: u64) -> Record<'static> {
        Record { frame_type, revision, time: 0, kind: b"", id: b"", value: b"" }
    }

    /// No frame of this record is longer than this.
    pub(crate) fn max_frame_len(&self) -> u64 {
        let body = self.kind.len() + self.id.len() + self.value.len();
        (MAX_HEADER_LEN + body) as u64
    }
}

/// A decoded frame header.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    pub(crate) frame_type: FrameType,
    pub(crate) place: FramePlace,
    pub(crate) internal: bool,
    pub(crate) revision: u64,
    pub(crate) time: i64,
    pub(crate) layout: Layout,
}

/// Why bytes are not a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bad {
    /// The bytes end before the frame does.
    Short,
    /// A field is outside its bounds.
    Field(&'static str),
    /// The header's checksum does not match.
    HeaderChecksum,
    /// The record's checksum does not match.
    BodyChecksum,
}

impl std::fmt::Display for Bad {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Bad::Short => f.write_str("the bytes end before the frame does"),
            Bad::Field(what) => write!(f, "a frame's {what} is out of bounds"),
            Bad::HeaderChecksum => f.write_str("a frame header's checksum does not match"),
            Bad::BodyChecksum => f.write_str("a record's checksum does not match"),
        }
    }
}

impl Header {
    /// Reads the fields of a header, with bounds but without checksums. `position` is the frame's.
    #[inline(always)]
    pub(crate) fn decode(bytes: &[u8], position: u64) -> Result<Header, Bad> {
        match bytes.first_chunk().and_then(|head| quick::put(head, position)) {
            Some(header) => Ok(header),
            None => Header::decode_thoroughly(bytes, position),
        }
    }

    #[cold]
    fn decode_thoroughly(bytes: &[u8], position: u64) -> Result<Header, Bad> {
        let mut at = 8;
        let flags = next(bytes, &mut at)?;
        if flags & !place_flag::KNOWN != 0 {
            return Err(Bad::Field("place flags"));
        }
        let mut place = FramePlace {
            watermark: None,
            left: 0,
            start: flags & place_flag::START != 0,
            sync: flags & place_flag::SYNC != 0,
        };
        if flags & place_flag::LAG != 0 {
            let lag = number(bytes, &mut at)?.checked_mul(UNIT).ok_or(Bad::Field("lag"))?;
            place.watermark = Some(position.checked_sub(lag).ok_or(Bad::Field("lag"))?);
        }
        if flags & place_flag::BATCH != 0 {
            let left = number(bytes, &mut at)?.checked_mul(UNIT).ok_or(Bad::Field("rest"))?;
            place.left = Some(left).filter(|l| *l <= MAX_BATCH_LEN).ok_or(Bad::Field("rest"))?;
        }
        let record_at = at;
        let frame_type = FrameType::new(next(bytes, &mut at)?).ok_or(Bad::Field("type"))?;
        let flags = next(bytes, &mut at)?;
        if flags & !record_flag::KNOWN != 0 {
            return Err(Bad::Field("record flags"));
        }
        let kind_len = usize::from(next(bytes, &mut at)?);
        let id_len = bounded(bytes, &mut at, MAX_ID_LEN as u64, "id length")?;
        let value_len = bounded(bytes, &mut at, MAX_VALUE_LEN, "value length")?;
        let revision = number(bytes, &mut at)?;
        if revision > MAX_REVISION {
            return Err(Bad::Field("revision"));
        }
        let time = bytes.get(at..at + 8).map(|b| le_u64(b, 0) as i64).ok_or(Bad::Short)?;
        at += 8;
        if flags & record_flag::EXTENSION != 0 {
            let len = bounded(bytes, &mut at, MAX_EXTENSION_LEN, "extension length")?;
            check_extension(bytes.get(at..at + len).ok_or(Bad::Short)?)?;
            at += len;
        }
        let internal = flags & record_flag::INTERNAL != 0;
        let layout = Layout { record_at, body_at: at, kind_len, id_len, value_len };
        let header = Header { frame_type, place, internal, revision, time, layout };
        header.check_shape()?;
        Ok(header)
    }

    /// The lengths that go with the frame's type.
    fn check_shape(&self) -> Result<(), Bad> {
        let Layout { kind_len, id_len, value_len, .. } = self.layout;
        let keyed = kind_len > 0 && kind_len <= MAX_KIND_LEN;
        let right = match self.frame_type {
            FrameType::Put => keyed && id_len > 0,
            FrameType::Delete => keyed && id_len > 0 && value_len == 0,
            FrameType::DeletePrefix => keyed && value_len == 0,
            FrameType::Watermark | FrameType::End => {
                kind_len + id_len + value_len == 0 && self.place.left == 0
            }
        };
        if right { Ok(()) } else { Err(Bad::Field("key or value length")) }
    }

    /// The frame's length with padding.
    #[inline]
    pub(crate) fn frame_len(&self) -> u64 {
        self.layout.frame_len()
    }

    /// Whether `bytes` have the header's checksum, for this segment and position.
    #[inline]
    pub(crate) fn check(&self, bytes: &[u8], salt: u64, position: u64) -> Result<(), Bad> {
        match self.layout.has_sound_header(bytes, salt, position) {
            true => Ok(()),
            false => Err(Bad::HeaderChecksum),
        }
    }

    /// Whether `bytes` hold the whole frame and have the record's checksum.
    #[inline(always)]
    pub(crate) fn check_body(&self, bytes: &[u8]) -> Result<(), Bad> {
        if bytes.len() < self.layout.end() {
            return Err(Bad::Short);
        }
        if self.layout.has_sound_body(bytes) { Ok(()) } else { Err(Bad::BodyChecksum) }
    }

    /// The record in `bytes`, which hold the whole frame.
    #[inline]
    pub(crate) fn record<'a>(&self, bytes: &'a [u8]) -> Record<'a> {
        let [kind, id, value] = self.layout.ranges().map(|range| &bytes[range]);
        let Header { frame_type, revision, time, .. } = *self;
        Record { frame_type, revision, time, kind, id, value }
    }
}

/// Decodes the frame that `bytes` begin with, and checks all of it.
#[inline(always)]
pub(crate) fn decode(bytes: &[u8], salt: u64, position: u64) -> Result<Header, Bad> {
    let header = Header::decode(bytes, position)?;
    header.check(bytes, salt, position)?;
    header.check_body(bytes)?;
    Ok(header)
}

/// Appends a frame to `out`, whose first byte (not the frame's) may be anywhere in the log.
///
/// The header is put together apart, behind the salt and the position that its checksum covers, so
/// that each checksum is taken over one piece.
pub(crate) fn encode(
    out: &mut BytesMut,
    salt: u64,
    position: u64,
    place: &FramePlace,
    record: &Record<'_>,
) {
    debug_assert!(position.is_multiple_of(UNIT));
    let mut covered = [0; PLACE_LEN + MAX_HEADER_LEN];
    covered[..PLACE_LEN].copy_from_slice(&covered_place(salt, position));
    let mut rest = &mut covered[PLACE_LEN + 4..];
    encode_place(&mut rest, position, place);
    let record_at = 4 + MAX_HEADER_LEN - rest.len();
    rest.put_u8(record.frame_type as u8);
    rest.put_u8(0);
    rest.put_u8(record.kind.len() as u8);
    varint::put(&mut rest, record.id.len() as u64);
    varint::put(&mut rest, record.value.len() as u64);
    varint::put(&mut rest, record.revision);
    rest.put_i64_le(record.time);
    let end = PLACE_LEN + MAX_HEADER_LEN - rest.len();

    let from = out.len();
    out.reserve(record.max_frame_len() as usize);
    out.put_u32_le(0);
    out.extend_from_slice(&covered[PLACE_LEN..end]);
    out.extend_from_slice(record.kind);
    out.extend_from_slice(record.id);
    out.extend_from_slice(record.value);
    let body_crc = crc(&out[from + record_at..]).to_le_bytes();
    covered[PLACE_LEN..PLACE_LEN + 4].copy_from_slice(&body_crc);
    let header_crc = crc(&covered[..end]).to_le_bytes();
    out[from..from + 4].copy_from_slice(&header_crc);
    out[from + 4..from + 8].copy_from_slice(&body_crc);
    pad(out, from);
}

/// Appends the frame of a record that was read elsewhere, in a new place. The record and its
/// checksum are copied as they are, so damage stays visible.
pub(crate) fn encode_copy(
    out: &mut BytesMut,
    salt: u64,
    position: u64,
    place: &FramePlace,
    header: &Header,
    bytes: &[u8],
) {
    let from = out.len();
    out.put_u32_le(0);
    out.extend_from_slice(&bytes[4..8]);
    encode_place(out, position, place);
    let Layout { record_at, body_at, .. } = header.layout;
    let body_at = out.len() + body_at - record_at;
    out.extend_from_slice(&bytes[record_at..header.layout.end()]);
    let crc = header_crc(&out[from + 4..], body_at - from - 4, salt, position);
    out[from..from + 4].copy_from_slice(&crc.to_le_bytes());
    pad(out, from);
}

fn encode_place(out: &mut impl BufMut, position: u64, place: &FramePlace) {
    let mut flags = 0;
    flags |= if place.left > 0 || !place.start { place_flag::BATCH } else { 0 };
    flags |= if place.start { place_flag::START } else { 0 };
    flags |= if place.sync { place_flag::SYNC } else { 0 };
    flags |= if place.watermark.is_some() { place_flag::LAG } else { 0 };
    out.put_u8(flags);
    if let Some(watermark) = place.watermark {
        varint::put(out, (position - watermark) / UNIT);
    }
    if flags & place_flag::BATCH != 0 {
        varint::put(out, place.left / UNIT);
    }
}

/// Pads the frame that begins at `from`.
fn pad(out: &mut BytesMut, from: usize) {
    let len = out.len() - from;
    out.put_bytes(0, len.next_multiple_of(UNIT as usize) - len);
}

/// CRC-32 of a few bytes. The hasher asks what the processor can do when it is made, which takes
/// longer than they do: it is made once.
#[inline]
fn crc(bytes: &[u8]) -> u32 {
    static NEW: OnceLock<crc32fast::Hasher> = OnceLock::new();
    let mut crc = NEW.get_or_init(crc32fast::Hasher::new).clone();
    crc.update(bytes);
    crc.finalize()
}

/// The checksum of a header that has so many bytes behind its own checksum, where `bytes` begin.
#[inline]
fn header_crc(bytes: &[u8], len: usize, salt: u64, position: u64) -> u32 {
    let place = covered_place(salt, position);
    match bytes.first_chunk::<MAX_HEADER_LEN>() {
        Some(head) if len <= head.len() => {
            // In one piece, and more of it than is needed: what is copied in lengths that the
            // compiler knows can be read again at once.
            let mut covered = [0; PLACE_LEN + MAX_HEADER_LEN];
            covered[..PLACE_LEN].copy_from_slice(&place);
            covered[PLACE_LEN..].copy_from_slice(head);
            crc(&covered[..PLACE_LEN + len])
        }
        _ => {
            let mut crc = crc32fast::Hasher::new();
            crc.update(&place);
            crc.update(&bytes[..len]);
            crc.finalize()
        }
    }
}

/// What a header's checksum covers before the header.
fn covered_place(salt: u64, position: u64) -> [u8; PLACE_LEN] {
    let mut place = [0; PLACE_LEN];
    let salt = if planted(Bug::NoSalt) { 0 } else { salt };
    let position = if planted(Bug::NoPosition) { 0 } else { position };
    place[..8].copy_from_slice(&salt.to_le_bytes());
    place[8..].copy_from_slice(&position.to_le_bytes());
    place
}

/// An extension is a row of tag, length and bytes. One with an even tag may be passed over; an odd
/// one has to be understood, and none is yet.
fn check_extension(extension: &[u8]) -> Result<(), Bad> {
    let mut at = 0;
    while at < extension.len() {
        if !number(extension, &mut at)?.is_multiple_of(2) {
            return Err(Bad::Field("extension, which needs a newer kindlog,"));
        }
        at += bounded(extension, &mut at, MAX_EXTENSION_LEN, "extension")?;
    }
    if at == extension.len() { Ok(()) } else { Err(Bad::Field("extension")) }
}

fn next(bytes: &[u8], at: &mut usize) -> Result<u8, Bad> {
    let byte = *bytes.get(*at).ok_or(Bad::Short)?;
    *at += 1;
    Ok(byte)
}

fn number(bytes: &[u8], at: &mut usize) -> Result<u64, Bad> {
    let from = *at;
    varint::get(bytes, at).ok_or_else(|| {
        let short = bytes.len() < from + varint::MAX_LEN;
        if short { Bad::Short } else { Bad::Field("number") }
    })
}

fn bounded(bytes: &[u8], at: &mut usize, limit: u64, what: &'static str) -> Result<usize, Bad> {
    let value = number(bytes, at)?;
    if value <= limit { Ok(value as usize) } else { Err(Bad::Field(what)) }
}

/// The exact length of the frame that [`encode`] makes.
pub(crate) fn encoded_len(position: u64, place: &FramePlace, record: &Record<'_>) -> u64 {
    let lag = place.watermark.map_or(0, |w| varint::len((position - w) / UNIT));
    let left = if place.left > 0 || !place.start { varint::len(place.left / UNIT) } else { 0 };
    let lens = varint::len(record.id.len() as u64) + varint::len(record.value.len() as u64);
    let header = 9 + lag + left + 3 + lens + varint::len(record.revision) + 8;
    let body = record.kind.len() + record.id.len() + record.value.len();
    ((header + body) as u64).next_multiple_of(UNIT)
}
