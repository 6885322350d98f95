//! The tail file: what it gives back, and what is written behind from it.

use std::ops::Range;
use std::time::Duration;

use kindlog::disk::sim::{OpKind, SimDisk};
use kindlog::{Batch, Durability, Options, Store};

/// Nothing is synced but what asks for it.
fn options() -> Options {
    let options = Options::new().segment_size(8 << 20).durability(Durability::Os);
    options.sync_interval(Duration::from_secs(3600))
}

fn put(store: &Store, id: &str, value: &[u8], durability: Durability) {
    let mut batch = Batch::new();
    batch.put("Log", id, value);
    store.commit_with(batch, durability).expect("there is room");
}

fn newest(store: &Store) {
    for n in 0..20 {
        let found = store.get_resource("Log", &format!("n{n}")).expect("it is sound");
        assert_eq!(found.expect("it was acknowledged").data, vec![n; 3000]);
    }
    assert!(store.verify().expect("it can be read").is_clean());
}

/// The tail file that a killed process left, as one with a larger ring would have left it: of the
/// log's bytes at `positions`, each where it has its place in that ring.
fn with_ring(tail: &[u8], ring_len: usize, positions: Range<usize>) -> Vec<u8> {
    let (header, ring) = tail.split_at(4096);
    assert!(positions.len() <= ring.len() && ring.len() < ring_len);
    let mut larger = header.to_vec();
    larger.resize(4096 + ring_len, 0);
    for position in positions {
        larger[4096 + position % ring_len] = ring[position % ring.len()];
    }
    larger[40..48].copy_from_slice(&(ring_len as u64).to_le_bytes());
    larger[20..24].fill(0);
    let checksum = crc32fast::hash(&larger[..48]);
    larger[20..24].copy_from_slice(&checksum.to_le_bytes());
    larger
}

/// Rings have not always had this length. What the killed process left in one of another length is
/// found by a reader, and recovered by an owner, who makes a ring of its own length of it, however
/// often that dies.
#[test]
fn a_ring_of_another_length_is_recovered() {
    for (before, ring_len) in
        [(0, 1 << 20), (300_000, 1 << 20), (1_300_000, 1 << 20), (1_300_000, 16 << 20)]
    {
        let disk = SimDisk::new();
        let store = options().open_on(&disk).expect("it opens");
        put(&store, "before", &vec![3; before], Durability::Os);
        (0..20).for_each(|n| put(&store, &format!("n{n}"), &[n; 3000], Durability::Os));
        let killed = disk.kill(usize::MAX);
        let tail = killed.read_file("TAIL").expect("there is a tail file");
        // The first segment's bytes have the positions from 0 on.
        let positions = before..before + 100_000;
        killed.write_file("TAIL", &with_ring(&tail, ring_len, positions));
        newest(&options().read_only(true).open_on(&killed).expect("a reader opens it"));
        for operation in 0.. {
            let image = killed.kill(usize::MAX);
            image.crash_after(operation);
            let goes_on = options().open_on(&image).is_ok_and(|store| {
                let mut batch = Batch::new();
                batch.put("Log", "later", vec![9; 100]);
                store.commit_with(batch, Durability::Os).is_ok()
            });
            newest(&options().open_on(&image.kill(1000)).expect("it opens"));
            if goes_on {
                break;
            }
        }
    }
}

/// How many bytes were written to segments.
fn written(disk: &SimDisk) -> u64 {
    let trace = disk.trace();
    let writes = trace.iter().filter(|op| op.kind == OpKind::Write && op.file.ends_with(".seg"));
    writes.map(|op| op.len).sum()
}

/// A commit that spanned a unit of what is written behind was written again, with all of its bytes,
/// behind each small commit that followed, until one of them ended a unit: four hundred puts after
/// one of a mebibyte wrote 419 MB.
#[test]
fn a_commit_that_spans_a_unit_is_written_once() {
    for (first, large, durability) in [
        (100_000, 170_000, Durability::Os),
        (0, 1 << 20, Durability::Buffered),
        (0, 300_000, Durability::Buffered),
        (10_000, 140_000, Durability::Buffered),
    ] {
        let disk = SimDisk::new();
        let store = options().open_on(&disk).expect("it opens");
        put(&store, "first", &vec![1; first], Durability::Sync);
        put(&store, "large", &vec![2; large], durability);
        for n in 0..400 {
            put(&store, &format!("{n:03}"), &[3; 200], durability);
        }
        let committed = (first + large + 400 * 256) as u64;
        assert!(written(&disk) < 2 * committed, "{} for {committed}", written(&disk));
        assert!(store.verify().expect("it can be read").is_clean());
    }
}
