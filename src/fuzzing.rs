//! What the fuzzers reach of the private formats: thin functions, no logic of their own.

use bytes::BytesMut;

use crate::engine::compact::worker;
use crate::error::Result;
use crate::format::alphabet::Alphabet;
use crate::format::contents::{Contents, KindParts};
use crate::format::entries::{Encoder, Fields};
use crate::format::file::HeaderError;
use crate::format::hint::HintHeader;
use crate::format::location::SegmentId;
use crate::format::manifest::Manifest;
use crate::format::record::{self, FramePlace, FrameType, Header, Record};
use crate::format::segment::SegmentHeader;
use crate::format::tail;
use crate::log::merge::Merge;
use crate::log::scan;
use crate::store::Store;

/// A decoded frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// As the format numbers them.
    pub frame_type: u8,
    /// One of the store's own records.
    pub internal: bool,
    /// The commit's.
    pub revision: u64,
    /// Microseconds since 1970.
    pub time: i64,
    /// The kind's bytes.
    pub kind: &'a [u8],
    /// The id's bytes.
    pub id: &'a [u8],
    /// The value.
    pub value: &'a [u8],
    /// The durable watermark.
    pub watermark: Option<u64>,
    /// How many bytes of the commit follow.
    pub left: u64,
    /// The commit begins here.
    pub start: bool,
    /// The commit asked for `Sync`.
    pub sync: bool,
    /// The frame's length with padding.
    pub len: u64,
}

/// Decodes the frame that `bytes` begin with, all checksums checked.
pub fn decode_frame(bytes: &[u8], salt: u64, position: u64) -> Option<Frame<'_>> {
    let header = record::decode(bytes, salt, position).ok()?;
    let Record { frame_type, revision, time, kind, id, value } = header.record(bytes);
    let FramePlace { watermark, left, start, sync } = header.place;
    Some(Frame {
        frame_type: frame_type as u8,
        internal: header.internal,
        revision,
        time,
        kind,
        id,
        value,
        watermark,
        left,
        start,
        sync,
        len: header.frame_len(),
    })
}

/// Where the frame's header and where its value end, no checksum checked.
pub fn frame_ends(bytes: &[u8], position: u64) -> Option<(usize, usize)> {
    let [kind, _, value] = Header::decode(bytes, position).ok()?.layout.ranges();
    Some((kind.start, value.end))
}

/// Encodes a frame of a type between 1 and 5.
pub fn encode_frame(frame: &Frame<'_>, salt: u64, position: u64) -> Vec<u8> {
    let Frame { revision, time, kind, id, value, watermark, left, start, sync, .. } = *frame;
    let frame_type = match frame.frame_type {
        1 => FrameType::Put,
        2 => FrameType::Delete,
        3 => FrameType::DeletePrefix,
        4 => FrameType::Watermark,
        _ => FrameType::End,
    };
    let place = FramePlace { watermark, left, start, sync };
    let record = Record { frame_type, revision, time, kind, id, value };
    let mut out = BytesMut::new();
    record::encode(&mut out, salt, position, &place, &record);
    assert_eq!(out.len() as u64, record::encoded_len(position, &place, &record));
    assert!(out.len() as u64 <= record.max_frame_len());
    out.to_vec()
}

/// The frame that `bytes` begin with, which is sound, as a copy in another place.
pub fn copy_frame(bytes: &[u8], from: (u64, u64), to: (u64, u64)) -> Option<Vec<u8>> {
    let header = record::decode(bytes, from.0, from.1).ok()?;
    let place = FramePlace { watermark: None, ..header.place };
    let mut out = BytesMut::new();
    record::encode_copy(&mut out, to.0, to.1, &place, &header, bytes);
    Some(out.to_vec())
}

/// How many of the bytes are sound frames without a gap.
pub fn frames_len(bytes: &[u8], salt: u64, position: u64) -> usize {
    scan::frames_len(bytes, salt, position)
}

/// Decodes a manifest file and encodes it again.
pub fn decode_manifest(bytes: &[u8]) -> Result<Vec<u8>, String> {
    Manifest::decode_file(bytes).map(|manifest| manifest.encode_file()).map_err(reason)
}

/// Decodes a segment's header and encodes it again; with the offset of the first frame.
pub fn decode_segment_header(bytes: &[u8]) -> Result<(Vec<u8>, u64), String> {
    SegmentHeader::decode(bytes).map(|(header, len)| (header.encode(), len)).map_err(reason)
}

/// What a hint says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hint {
    /// How far of its segment it tells.
    pub length: u64,
    /// Kind, id, revision, offset and length in units, and whether it is a delete; in order.
    pub entries: Vec<(String, Vec<u8>, u64, u32, u32, bool)>,
    /// Kind and prefix of each prefix tombstone, and its revision.
    pub prefixes: Vec<(String, Vec<u8>, u64)>,
}

/// Whether a hint is sound, all of it.
pub fn check_hint(file: &[u8]) -> bool {
    open_hint(file).is_ok()
}

/// Decodes a hint, merges it with itself, and encodes it again.
pub fn decode_hint(file: &[u8]) -> Result<(Hint, Vec<u8>), String> {
    let (header, contents) = open_hint(file)?;
    let mut hint = Hint { length: header.totals.length, entries: Vec::new(), prefixes: Vec::new() };
    let mut parts = Vec::new();
    for kind in contents.kinds() {
        let (mut decoder, mut common) = (contents.entries(kind), None::<Vec<u8>>);
        while decoder.step().map_err(|malformed| format!("{malformed:?}"))? {
            let (id, fields) = (decoder.id(), decoder.fields());
            let same = |a: &Vec<u8>| a.iter().zip(id).take_while(|(a, b)| a == b).count();
            common = Some(common.map_or(id.to_vec(), |common| id[..same(&common)].to_vec()));
            let Fields { revision, offset, len, delete } = fields;
            hint.entries.push((kind.name.to_string(), id.to_vec(), revision, offset, len, delete));
        }
        let common = common.unwrap_or_default();
        let of_kind = &hint.entries[hint.entries.len() - kind.count as usize..];
        let behind = of_kind.iter().map(|(_, id, ..)| &id[common.len()..]);
        let codes = Alphabet::of(behind).codes();
        let mut entries = Encoder::new(&common, &codes);
        for (_, id, revision, offset, len, delete) in of_kind {
            let (revision, offset, len, delete) = (*revision, *offset, *len, *delete);
            entries.push(id, Fields { revision, offset, len, delete });
        }
        let entries = entries.finish();
        let prefixes = kind.prefixes.clone();
        hint.prefixes.extend(
            prefixes.iter().map(|p| (kind.name.to_string(), p.prefix.to_vec(), p.fields.revision)),
        );
        let (total_bytes, oldest, newest) = (kind.total_bytes, kind.oldest, kind.newest);
        let (name, count) = (kind.name.clone(), kind.count);
        parts.push(KindParts {
            name,
            total_bytes,
            oldest,
            newest,
            count,
            puts_only: false,
            common,
            entries,
            prefixes,
        });
    }
    assert_eq!(merged(&contents), hint.entries.len());
    let again = Contents::encode(contents.totals, parts);
    let mut bytes = HintHeader::new(header.store_id, header.salt, header.id, &again).encode();
    bytes.extend_from_slice(again.payload());
    Ok((hint, bytes))
}

fn open_hint(file: &[u8]) -> Result<(HintHeader, Contents), String> {
    let (header, at) = HintHeader::decode(file).map_err(reason)?;
    let payload = &file[at..];
    if payload.len() as u64 != header.payload_len || crc32fast::hash(payload) != header.payload_crc
    {
        return Err("length or checksum".to_owned());
    }
    let contents = Contents::decode(header.totals, payload.to_vec());
    contents.map(|contents| (header, contents)).map_err(|malformed| format!("{malformed:?}"))
}

/// How many ids there are in the merge of contents with themselves.
fn merged(contents: &Contents) -> usize {
    let merge = Merge::new(vec![(SegmentId(1), contents), (SegmentId(0), contents)]);
    let mut count = 0;
    for name in merge.kinds() {
        let mut kind = merge.kind(name);
        while let Some(entry) = kind.next() {
            assert_eq!(entry.location.place.segment, SegmentId(1));
            count += 1;
        }
    }
    count
}

/// Decodes a tail file's header: the store's id and the ring's length.
pub fn decode_tail_header(bytes: &[u8]) -> Result<([u8; 16], usize), String> {
    tail::decode_header(bytes).map_err(reason)
}

fn reason(error: HeaderError) -> String {
    format!("{error:?}")
}

/// Compacts the segments whose numbers `pick` says, a run that no plan would make; the active one
/// too if it is to `roll`.
///
/// # Errors
/// As [`Store::compact`].
pub fn compact_picked(store: &Store, roll: bool, pick: impl Fn(u32) -> bool) -> Result<()> {
    worker::compact_picked(&*store.state()?, roll, &pick)
}
