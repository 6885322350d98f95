//! Segments whose records are in no order of revisions, as compaction writes them: which record of
//! a key counts is told by the revision alone, and a tombstone is remembered until all that it may
//! delete has been read.
//!
//! The frames of two sealed segments are written anew here, and the manifest with them.

use kindlog::disk::sim::SimDisk;
use kindlog::fuzzing::{self, Frame};
use kindlog::{Batch, Durability, Options, Store};
use prost::Message;

use crate::workload::options;

#[path = "../../src/format/manifest_proto.rs"]
#[rustfmt::skip]
#[allow(unreachable_pub)]
mod manifest_proto;

use manifest_proto::{Manifest, Sealed};

const MANIFEST: &str = "MANIFEST";
/// Of a manifest: what all files begin with, and its own fields.
const MANIFEST_HEADER_LEN: usize = 32;
const SEGMENT_HEADER_LEN: usize = 72;

const PUT: u8 = 1;
const DELETE: u8 = 2;
const DELETE_PREFIX: u8 = 3;

/// What one record says: its type, revision and id. The value of a put is its revision.
type Said = (u8, u64, &'static str);

/// A closed store with two sealed segments and one that is not, and revisions up to 20 given out.
fn store() -> SimDisk {
    let disk = SimDisk::new();
    let store = options().open_on(&disk).expect("open");
    for number in 0..20 {
        let mut batch = Batch::new();
        let len = if number < 7 { 20_000 } else { 8 };
        batch.put("Other", &format!("{number}"), vec![7; len]);
        store.commit_with(batch, Durability::Buffered).expect("commit");
    }
    store.close().expect("close");
    disk.kill(0)
}

/// Has the two sealed segments hold these records, and none else.
fn rewrite(disk: &SimDisk, segments: [&[Said]; 2]) {
    let file = disk.read_file(MANIFEST).expect("a manifest");
    let mut manifest = Manifest::decode(&file[MANIFEST_HEADER_LEN..]).expect("a manifest");
    assert_eq!(manifest.segments.iter().filter(|entry| entry.sealed.is_some()).count(), 2);
    for (entry, records) in manifest.segments.iter_mut().zip(segments) {
        let name = format!("{:08x}.seg", entry.number);
        let mut bytes = disk.read_file(&name).expect("a segment");
        bytes.truncate(SEGMENT_HEADER_LEN);
        let mut digest = crc32fast::Hasher::new();
        for (frame_type, revision, id) in records {
            let position = entry.base + bytes.len() as u64;
            let frame = encode(*frame_type, *revision, id, entry.salt, position);
            digest.update(&frame[..8]);
            bytes.extend(frame);
        }
        let puts = || records.iter().filter(|said| said.0 == PUT).map(|said| said.1);
        entry.sealed = Some(Sealed {
            length: bytes.len() as u64,
            digest: digest.finalize(),
            records: records.len() as u64,
            first_put_revision: puts().min().unwrap_or(0),
            last_put_revision: puts().max().unwrap_or(0),
            kinds: Vec::new(),
            ordered: false,
        });
        disk.write_file(&name, &bytes);
    }
    disk.write_file(MANIFEST, &sealed(&file[..MANIFEST_HEADER_LEN], &manifest.encode_to_vec()));
}

fn encode(frame_type: u8, revision: u64, id: &str, salt: u64, position: u64) -> Vec<u8> {
    let value = revision.to_le_bytes();
    let frame = Frame {
        frame_type,
        internal: false,
        revision,
        time: 0,
        kind: b"Key",
        id: id.as_bytes(),
        value: if frame_type == PUT { &value } else { &[] },
        watermark: None,
        left: 0,
        start: true,
        sync: false,
        len: 0,
    };
    fuzzing::encode_frame(&frame, salt, position)
}

/// A manifest file with its length and checksums put right.
fn sealed(header: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut header = header.to_vec();
    header[20..24].fill(0);
    header[24..28].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    header[28..32].copy_from_slice(&crc32fast::hash(payload).to_le_bytes());
    let crc = crc32fast::hash(&header);
    header[20..24].copy_from_slice(&crc.to_le_bytes());
    [&header, payload].concat()
}

/// What is there of the kind: ids and revisions.
fn found(store: &Store) -> Vec<(String, u64)> {
    let resources = store.scan("Key").iter().map(|resource| resource.expect("a sound resource"));
    let found: Vec<_> = resources
        .map(|resource| {
            let revision = u64::from(resource.revision);
            assert_eq!(resource.data, revision.to_le_bytes()[..]);
            (resource.id.to_string(), revision)
        })
        .collect();
    assert_eq!(store.count("Key").expect("count"), found.len() as u64);
    for (_, _, id) in [A, B, P].concat() {
        let got = store.get_resource("Key", id).expect("read").map(|r| u64::from(r.revision));
        let scanned = found.iter().find(|(key, _)| key == id).map(|(_, revision)| *revision);
        assert_eq!(got, scanned, "{id}, by itself");
    }
    found
}

const A: &[Said] = &[(PUT, 3, "a")];
const B: &[Said] = &[(PUT, 4, "b")];
const P: &[Said] = &[(PUT, 2, "p/1"), (PUT, 5, "p/2"), (PUT, 12, "p/3")];

/// The same records in either order of segments, to an owner, to a reader, and after a crash.
#[track_caller]
fn check(one: &[Said], other: &[Said], expected: &[(&str, u64)]) {
    let expected: Vec<_> =
        expected.iter().map(|(id, revision)| ((*id).into(), *revision)).collect();
    for segments in [[one, other], [other, one]] {
        let disk = store();
        rewrite(&disk, segments);
        let open = |options: Options, disk: &SimDisk| options.open_on(disk).expect("open");
        assert_eq!(found(&open(options().read_only(true), &disk)), expected, "to a reader");
        let store = open(options(), &disk);
        assert_eq!(found(&store), expected);
        assert!(store.verify().expect("verify").is_clean());
        store.put("Other", "0", b"").expect("put");
        assert_eq!(found(&open(options(), &disk.kill(0))), expected, "after a crash");
    }
}

#[test]
fn the_revision_says_which_record_of_a_key_counts() {
    check(A, &[(PUT, 9, "a")], &[("a", 9)]);
    check(&[A, B].concat(), &[(PUT, 1, "a"), (PUT, 9, "b")], &[("a", 3), ("b", 9)]);
}

#[test]
fn a_tombstone_deletes_what_is_older_wherever_it_lies() {
    check(&[A, B].concat(), &[(DELETE, 9, "a")], &[("b", 4)]);
    check(&[A, B].concat(), &[(DELETE, 2, "a"), (DELETE, 8, "b")], &[("a", 3)]);
}

#[test]
fn a_prefix_tombstone_deletes_what_is_older_wherever_it_lies() {
    check(&[A, P].concat(), &[(DELETE_PREFIX, 9, "p/")], &[("a", 3), ("p/3", 12)]);
    check(&[A, P].concat(), &[(DELETE_PREFIX, 4, "")], &[("p/2", 5), ("p/3", 12)]);
    check(P, &[(DELETE_PREFIX, 4, "p/"), (PUT, 6, "p/1")], &[("p/1", 6), ("p/2", 5), ("p/3", 12)]);
}
