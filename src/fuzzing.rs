//! What the fuzzers reach of the private formats: thin functions, no logic of their own.

use bytes::BytesMut;

use crate::engine::compact::worker;
use crate::error::Result;

use crate::format::file::HeaderError;
use crate::format::manifest::Manifest;
use crate::format::record::{self, FramePlace, FrameType, Header, Record};
use crate::format::segment::SegmentHeader;
use crate::format::tail;
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
    let [kind, _, value] = Header::decode(bytes, position).ok()?.ranges();
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

/// Decodes a tail file's header: the store's id and the ring's length.
pub fn decode_tail_header(bytes: &[u8]) -> Result<([u8; 16], u64), String> {
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
