//! A read-only handle beside an owner that comes, writes, compacts and goes while it reads.

use super::*;
use crate::fuzzing::compact_picked;

/// The number of the last commit seen. Each puts its number under two keys.
fn shown(reader: &Store) -> u64 {
    let numbers: Vec<u8> = reader.scan("K").iter().map(|r| r.expect("sound").data[0]).collect();
    assert!(numbers.len() == 2 && numbers[0] == numbers[1], "half a commit: {numbers:?}");
    numbers[0].into()
}

fn commit(store: &Store, number: u8, durability: Durability) {
    let mut batch = Batch::new();
    batch.put("K", "a", [number; 20]).put("K", "b", [number; 20_000]);
    store.commit_with(batch, durability).expect("commit");
}

/// What a killed owner left: one commit that is durable, one in the segment, one in the tail file.
fn left_by_a_killed_one() -> SimDisk {
    let disk = SimDisk::new();
    let store = open(&disk);
    commit(&store, 1, Durability::Sync);
    commit(&store, 2, Durability::Os);
    let left = disk.kill(0);
    store.close().expect("close");
    left
}

#[test]
fn a_reader_is_right_beside_an_owner_that_comes_and_goes() {
    explore("a_reader_is_right_beside_an_owner_that_comes_and_goes", || {
        let disk = left_by_a_killed_one();
        let shared = disk.clone();
        let owner = thread::spawn(move || {
            for turn in 0..2 {
                let store = open(&shared);
                let first = 3 + 2 * turn;
                commit(&store, first, Durability::Os);
                commit(&store, first + 1, any_durability());
                store.close().expect("close");
            }
        });
        let shared = disk.clone();
        let reader = thread::spawn(move || {
            let reader = look(&shared);
            let first = shown(&reader);
            assert!((1..=6).contains(&first));
            for _ in 0..2 {
                let held = reader.snapshot();
                let before = shown(&reader);
                reader.refresh().expect("refresh");
                assert!((1..=6).contains(&shown(&reader)));
                let still = held.get_resource("K", "a").expect("sound").expect("there");
                assert_eq!(u64::from(still.data[0]), before);
            }
        });
        owner.join().unwrap();
        reader.join().unwrap();
        assert_eq!(shown(&look(&disk)), 6);
    });
}

/// The shortest way for an owner to come and go between two steps of a reader: what the reader
/// began with, the tail file among it, is gone when it gets there.
#[test]
fn a_reader_that_an_owner_overtakes_looks_again() {
    explore("a_reader_that_an_owner_overtakes_looks_again", || {
        let disk = left_by_a_killed_one();
        let shared = disk.clone();
        let owner = thread::spawn(move || drop(open(&shared)));
        let reader = thread::spawn(move || shown(&look(&disk)));
        owner.join().unwrap();
        // The second commit was not durable before the owner made it so.
        assert!((1..=2).contains(&reader.join().unwrap()));
    });
}

/// What compaction lets go of has been replaced, and whoever reads beside it finds what replaced
/// it.
#[test]
fn a_reader_beside_compaction_finds_all_that_is_there() {
    explore("a_reader_beside_compaction_finds_all_that_is_there", || {
        let disk = any_disk();
        let options = options().space_bound(f64::INFINITY);
        let store = options.open_on(&disk).expect("open");
        commit(&store, 1, Durability::Sync);
        compact_picked(&store, true, |_| false).unwrap();
        let compacts = go(&store, |store| compact_picked(store, false, |_| true).unwrap());
        let commits = go(&store, |store| {
            for number in 2..4 {
                commit(store, number, any_durability());
            }
        });
        let reader = look(&disk);
        let mut last = shown(&reader);
        for _ in 0..3 {
            reader.refresh().expect("refresh");
            let now = shown(&reader);
            assert!(now >= last, "{now} after {last}");
            last = now;
        }
        all(vec![compacts, commits]);
        store.close().unwrap();
    });
}
