//! Compactions that read in one thread and write in another: several batches, several outputs.

use std::time::Duration;

use kindlog::disk::sim::{EIO, Fault, OpKind, SimDisk};
use kindlog::{Durability, Error, Options, Store};

use crate::support::pattern;

const RECORDS: u64 = 9_000;

fn open(disk: &SimDisk) -> Store {
    let options = Options::new().segment_size(8 << 20).durability(Durability::Os);
    let options = options.sync_interval(Duration::from_secs(3600)).space_bound(f64::INFINITY);
    options.open_on(disk).unwrap()
}

/// Kinds and ids in an order of their own; some are written twice, some are gone.
fn load(store: &Store) {
    let key =
        |n: u64| (["Agent", "Log", "Task"][n as usize % 3], format!("{:05}", n * 7919 % RECORDS));
    for n in (0..RECORDS).chain((0..RECORDS).step_by(5)) {
        let (kind, id) = key(n);
        store.put(kind, &id, pattern(n, 2_000 + n as usize % 900)).unwrap();
    }
    for n in (0..RECORDS).step_by(7) {
        let (kind, id) = key(n);
        assert!(store.delete(kind, &id).unwrap());
    }
}

fn all_of(store: &Store) -> Vec<(String, Vec<u8>)> {
    let of_kind = |kind: &str| -> Vec<(String, Vec<u8>)> {
        let resources = store.scan(kind).iter().map(|resource| resource.unwrap());
        resources
            .map(|resource| (format!("{kind}/{}", resource.id), resource.data.to_vec()))
            .collect()
    };
    ["Agent", "Log", "Task"].into_iter().flat_map(of_kind).collect()
}

#[test]
fn what_lives_is_the_same_behind_it() {
    let disk = SimDisk::new();
    let store = open(&disk);
    load(&store);
    let before = all_of(&store);
    store.compact().unwrap();
    assert_eq!(store.stats().compaction.dead_bytes / (1 << 20), 0);
    assert!(all_of(&store) == before);
    store.close().unwrap();
    let store = open(&disk);
    assert!(all_of(&store) == before);
    assert!(store.verify().unwrap().problems.is_empty());
}

/// What fails in either thread ends both, and is what is told.
#[test]
fn a_failure_of_either_side_is_told_and_loses_nothing() {
    let disk = SimDisk::new();
    let store = open(&disk);
    load(&store);
    let before = all_of(&store);
    for op in [OpKind::Write, OpKind::Sync, OpKind::Read] {
        let last = disk.files().into_iter().filter(|name| name.ends_with(".seg")).max().unwrap();
        // Behind the first few, so that a batch is under way on the other side.
        let (number, skip) = (last.clone(), if op == OpKind::Sync { 1 } else { 4 });
        let of_copies = move |at, file: &str| {
            let is_copy = file.ends_with(".seg") && *file > *number;
            at == op && file.ends_with(".seg") && (op == OpKind::Read || is_copy)
        };
        match op {
            OpKind::Read => disk.fail_always(of_copies, Fault::Error(EIO)),
            _ => disk.fail_when(of_copies, skip, Fault::Error(EIO)),
        }
        let failed = store.compact().unwrap_err();
        assert!(matches!(failed, Error::Io { .. }), "{op:?}: {failed:?}");
        disk.clear_faults();
        assert!(all_of(&store) == before, "{op:?}");
    }
    store.compact().unwrap();
    assert!(all_of(&store) == before);
}
