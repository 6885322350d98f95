//! The example in `docs/format.md`, made anew and compared byte by byte, so that the document can't
//! drift from the code.
//!
//! In the document a fenced block of the language `hex` is a file. Its first line is `; ` and the
//! name; in all others stand an offset, bytes, and behind a `;` what they are.

use bytes::BytesMut;

use super::alphabet::Alphabet;
use super::contents::{Contents, KindParts, Totals};
use super::entries::{Encoder, Fields};
use super::hint::HintHeader;
use super::location::{SegmentId, UNIT};
use super::manifest::{Manifest, SegmentEntry};
use super::record::{self, FramePlace, FrameType, Record};
use super::segment::{HEADER_LEN, SegmentHeader, StoreId};

const STORE_ID: StoreId = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
const SALT: u64 = 0x8877_6655_4433_2211;
const CAPACITY: u64 = 64 << 20;
/// 2026-01-18 00:00:00 UTC.
const TIME: i64 = 1_768_694_400_000_000;

/// A put, a batch of a delete and a put, and what syncs and a close add, as the engine writes them.
fn segment() -> Vec<u8> {
    let id = SegmentId(0);
    let header = SegmentHeader { store_id: STORE_ID, salt: SALT, base: 0, capacity: CAPACITY, id };
    let mut bytes = BytesMut::from(&*header.encode());
    let mut append = |watermark, left, start, sync, record: Record<'_>| {
        let (position, place) = (bytes.len() as u64, FramePlace { watermark, left, start, sync });
        record::encode(&mut bytes, SALT, position, &place, &record);
        bytes.len() as u64
    };
    let keyed = |frame_type, revision, id, value| Record {
        frame_type,
        revision,
        time: TIME,
        kind: b"Agent",
        id,
        value,
    };
    let mark = |revision| Record::bare(FrameType::Watermark, revision);
    let put = keyed(FrameType::Put, 1, b"a-1", b"\x0a\x03Ada");
    let durable = append(Some(72), 0, true, true, put);
    append(Some(durable), 0, true, false, mark(1));
    append(Some(durable), 40, true, true, keyed(FrameType::Delete, 2, b"a-1", b""));
    let put = keyed(FrameType::Put, 2, b"a-2", b"\x0a\x03Bob");
    let durable = append(None, 0, false, true, put);
    append(Some(durable), 0, true, false, mark(2));
    append(Some(durable), 0, true, false, mark(2));
    bytes.to_vec()
}

fn manifest(segment_len: u64) -> Vec<u8> {
    let (number, salt, base) = (0, SALT, 0);
    Manifest {
        revision_ceiling: 2,
        watermark: segment_len,
        next_segment: 1,
        next_position: CAPACITY,
        segments: vec![SegmentEntry { number, salt, base, capacity: CAPACITY, sealed: None }],
        ..Manifest::new(STORE_ID)
    }
    .encode_file()
}

/// What a hint of all of that segment says.
fn hint(segment: &[u8]) -> Vec<u8> {
    let (mut digest, mut at) = (crc32fast::Hasher::new(), HEADER_LEN as usize);
    let mut found = Vec::new();
    while at < segment.len() {
        let header = record::decode(&segment[at..], SALT, at as u64).expect("a sound frame");
        digest.update(&segment[at..at + 8]);
        found.push((header, (at as u64 / UNIT) as u32));
        at += header.frame_len() as usize;
    }
    found.retain(|(header, _)| header.frame_type.is_record());
    let codes = Alphabet::of([&b"1"[..], b"2"].into_iter()).codes();
    let mut entries = Encoder::new(b"a-", &codes);
    // The first put is older than the delete of the same id.
    for ((header, offset), id) in found[1..].iter().zip([b"a-1", b"a-2"]) {
        let (len, revision) = ((header.frame_len() / UNIT) as u32, header.revision);
        let delete = header.frame_type == FrameType::Delete;
        entries.push(id, Fields { revision, offset: *offset, len, delete });
    }
    let part = KindParts {
        name: "Agent".into(),
        total_bytes: found.iter().map(|(header, _)| header.frame_len()).sum(),
        oldest: TIME,
        newest: TIME,
        count: 2,
        puts_only: false,
        common: b"a-".to_vec(),
        entries: entries.finish(),
        prefixes: Vec::new(),
    };
    let (length, digest) = (segment.len() as u64, digest.finalize());
    let totals = Totals { length, digest, records: 3, internal: 0, revision: 2 };
    let contents = Contents::encode(totals, vec![part]);
    let mut bytes = HintHeader::new(STORE_ID, SALT, SegmentId(0), &contents).encode();
    bytes.extend_from_slice(contents.payload());
    bytes
}

/// The bytes that the document has for a file.
fn documented(name: &str) -> Vec<u8> {
    let document = include_str!("../../docs/format.md");
    let block = document
        .split("```hex\n; ")
        .skip(1)
        .filter_map(|block| block.split("```").next()?.split_once('\n'))
        .find(|(first, _)| *first == name);
    let mut bytes: Vec<u8> = Vec::new();
    for line in block.expect("docs/format.md has a block of this name").1.lines() {
        let mut words = line.split(';').next().unwrap_or("").split_whitespace();
        let number = |word| u64::from_str_radix(word, 16).expect("the block holds hex numbers");
        if let Some(offset) = words.next() {
            assert_eq!(number(offset), bytes.len() as u64, "the offset of {line}");
        }
        bytes.extend(words.map(|word| number(word) as u8));
    }
    bytes
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x} ")).collect()
}

#[test]
fn the_document_has_the_bytes_that_the_code_writes() {
    let segment = segment();
    assert_eq!(hex(&documented("00000000.seg")), hex(&segment));
    assert_eq!(hex(&documented("00000000.hint")), hex(&hint(&segment)));
    assert_eq!(hex(&documented("MANIFEST")), hex(&manifest(segment.len() as u64)));
}
