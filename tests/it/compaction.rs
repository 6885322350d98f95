//! Space comes back, nothing that is live goes, and nothing that is deleted returns.

use std::fs;
use std::io::ErrorKind;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use kindlog::disk::sim::{Loss, OpKind, SimDisk};
use kindlog::fuzzing::compact_picked;
use kindlog::{Batch, Durability, Error, MIN_SEGMENT_SIZE, Options, Store};

use crate::support::{Medium, TestStore, full, pattern, store_dir};

/// Compacts when it is told to.
fn by_hand() -> Options {
    let options = Options::new().segment_size(MIN_SEGMENT_SIZE).durability(Durability::Os);
    options.sync_interval(Duration::from_secs(3600)).space_bound(f64::INFINITY)
}

/// The bytes of all files with this ending.
fn bytes_of(store: &TestStore, ending: &str) -> u64 {
    let files = store.files().into_iter().filter(|name| name.ends_with(ending));
    files.map(|name| fs::metadata(store.path(&name)).map_or(0, |meta| meta.len())).sum()
}

/// Waits, as long as it takes, for what the background does by itself.
fn wait_for(what: impl Fn() -> bool) {
    while !what() {
        thread::sleep(Duration::from_millis(20));
    }
}

fn value_of(store: &Store, kind: &str, id: &str) -> Option<Vec<u8>> {
    store.get_resource(kind, id).expect("read").map(|resource| resource.data.to_vec())
}

#[test]
fn ten_thousand_overwrites_of_a_key_end_in_kilobytes() {
    let mut store = TestStore::on(Medium::native(), Options::new().durability(Durability::Os));
    for n in 0..10_000 {
        store.put("Agent", "a", pattern(n, 250)).unwrap();
    }
    assert!(store.stats().disk_bytes > 2_500_000);
    wait_for(|| store.stats().disk_bytes < 200_000);
    assert_eq!(value_of(&store, "Agent", "a"), Some(pattern(9_999, 250)));
    store.reopen();
    assert_eq!(value_of(&store, "Agent", "a"), Some(pattern(9_999, 250)));
    assert!(bytes_of(&store, ".seg") < 200_000);
}

#[test]
fn an_idle_store_comes_down_to_its_bound() {
    let options = Options::new().segment_size(256 << 10).durability(Durability::Os);
    let store = TestStore::on(Medium::native(), options);
    for round in 0..5 {
        for n in 0..3_000 {
            let n = n * 7919 % 3_000;
            store.put("Log", &format!("{n:04}"), pattern(n + round, 300)).unwrap();
        }
    }
    let within = || {
        let stats = store.stats();
        let live: u64 = stats.kinds.iter().map(|kind| kind.live_bytes).sum();
        stats.disk_bytes <= live * 3 / 2 + (1 << 20)
    };
    wait_for(within);
    // Only what the manifest names is on disk.
    let on_disk = || bytes_of(&store, ".seg") <= store.stats().disk_bytes + (256 << 10);
    wait_for(on_disk);
    for n in 0..3_000 {
        let id = format!("{n:04}");
        assert_eq!(value_of(&store, "Log", &id), Some(pattern(n + 4, 300)), "{id}");
    }
}

#[test]
fn what_is_compacted_lies_in_the_order_of_keys() {
    let mut store = TestStore::on(Medium::native(), by_hand());
    for n in 0..400u64 {
        let n = n * 7919 % 400;
        store.put("Log", &format!("{n:03}"), pattern(n, 100)).unwrap();
    }
    store.delete_prefix("Log", "2").unwrap();
    store.put("Agent", "a", b"first kind").unwrap();
    store.compact().unwrap();
    let places: Vec<_> =
        (0..400u64).filter(|n| n / 100 != 2).map(|n| store.places_of(&pattern(n, 100))).collect();
    assert!(places.iter().all(|of_value| of_value.len() == 1), "each value is there once");
    assert!(places.is_sorted());
    let before = store.segments();
    store.compact().unwrap();
    assert_eq!(store.segments(), before, "there was nothing to do");
    store.reopen();
    store.compact().unwrap();
    assert_eq!(store.segments(), before, "and there still is not");
}

#[test]
fn a_snapshot_reads_on_while_what_it_sees_is_compacted_away() {
    let mut store = TestStore::on(Medium::native(), by_hand());
    for n in 0..500u64 {
        store.put("Log", &format!("{n:03}"), pattern(n, 200)).unwrap();
    }
    let snapshot = store.snapshot();
    let mut begun = store.scan("Log").iter();
    assert_eq!(begun.next().unwrap().unwrap().id, "000");
    let held = store.get_resource("Log", "001").unwrap().unwrap();
    for n in 0..500u64 {
        store.put("Log", &format!("{n:03}"), pattern(n + 1, 200)).unwrap();
    }
    store.compact().unwrap();
    store.delete_kind("Log").unwrap();
    store.compact().unwrap();
    assert!(bytes_of(&store, ".seg") < 2 * MIN_SEGMENT_SIZE);
    let check = || {
        let seen: Vec<_> = snapshot.scan("Log").iter().map(Result::unwrap).collect();
        assert_eq!(seen.len(), 500);
        for (n, resource) in seen.iter().enumerate() {
            assert_eq!(resource.data, pattern(n as u64, 200));
        }
    };
    check();
    assert_eq!(begun.map(Result::unwrap).count(), 499);
    assert_eq!(held.data, pattern(1, 200));
    assert_eq!(value_of(&store, "Log", "001"), None);
    store.close();
    check();
}

/// The put is in the first segment, its delete in the second: while only the second is compacted
/// the delete has to stay, and once both are it may go.
#[test]
fn a_tombstone_stays_for_as_long_as_an_older_segment_holds_what_it_deletes() {
    for prefix in [false, true] {
        let mut store = TestStore::on(Medium::native(), by_hand());
        for n in 0..50 {
            store.put("Log", &format!("a/{n}"), b"old").unwrap();
        }
        store.put("Log", "kept", b"kept").unwrap();
        compact_picked(&store, true, |_| false).unwrap();
        if prefix {
            assert_eq!(store.delete_prefix("Log", "a/").unwrap(), 50);
        } else {
            (0..50).for_each(|n| assert!(store.delete("Log", &format!("a/{n}")).unwrap()));
        }
        compact_picked(&store, true, |_| false).unwrap();
        let first = u32::from_str_radix(&store.segments()[0][..8], 16).unwrap();
        for _ in 0..3 {
            compact_picked(&store, false, |number| number != first).unwrap();
            store.reopen();
            assert_eq!(store.count("Log").unwrap(), 1, "deleted data is back");
        }
        store.compact().unwrap();
        store.reopen();
        assert_eq!(store.count("Log").unwrap(), 1);
        let dead: u64 = store.stats().kinds.iter().map(|kind| kind.dead_bytes).sum();
        assert_eq!(dead, 0, "the tombstones are of no use any more");
    }
}

fn active(store: &Store) -> u32 {
    let segments = store.stats().segments;
    segments.iter().find(|segment| segment.active).expect("one is written").id
}

/// Ends the segment that is written, and returns its number.
fn end_segment(store: &Store) -> u32 {
    let ended = active(store);
    compact_picked(store, true, |_| false).unwrap();
    assert_ne!(active(store), ended);
    ended
}

fn put_all(store: &Store, ids: [&str; 3], value: &[u8]) {
    for id in ids {
        store.put("Log", id, value).unwrap();
    }
}

fn delete_a_and_b(store: &Store) {
    assert!(store.delete("Log", "a").unwrap());
    assert_eq!(store.delete_prefix("Log", "b/").unwrap(), 1);
}

/// A copy is made while the segment behind it is written: its number is the higher one, though all
/// in it is older than the tombstones that follow.
#[test]
fn a_tombstone_stays_whatever_the_numbers_of_segments_are() {
    let mut store = TestStore::on(Medium::native(), by_hand());
    put_all(&store, ["a", "b/1", "c"], b"old");
    end_segment(&store);
    compact_picked(&store, false, |_| true).unwrap();
    delete_a_and_b(&store);
    let tombstones = end_segment(&store);
    let copies = store.stats().segments.into_iter().filter(|segment| segment.live_bytes > 0);
    assert!(copies.into_iter().all(|copy| copy.id > tombstones));
    compact_picked(&store, false, |number| number == tombstones).unwrap();
    store.reopen();
    let left: Vec<String> = store.scan("Log").keys().map(Result::unwrap).collect();
    assert_eq!(left, ["c"], "deleted data is back");
}

/// What can't be read may hold anything: also what a tombstone deletes. It may be read again later,
/// where it was the medium that failed, or somebody brings the file back.
#[test]
fn a_tombstone_stays_for_a_segment_that_can_not_be_read() {
    let mut store = TestStore::on(Medium::native(), by_hand());
    put_all(&store, ["a", "b/1", "c"], b"the old value");
    end_segment(&store);
    delete_a_and_b(&store);
    let tombstones = end_segment(&store);
    let (file, offset) = store.places_of(b"the old value").remove(0);
    store.corrupt(&file, offset);
    fs::remove_file(store.path(&file.replace(".seg", ".hint"))).unwrap();
    compact_picked(&store, false, |number| number == tombstones).unwrap();
    store.corrupt(&file, offset);
    store.reopen();
    let left: Vec<String> = store.scan("Log").keys().map(Result::unwrap).collect();
    assert_eq!(left, ["c"], "deleted data is back");
}

/// A sync of a segment that waits until it is let go; the rest of the disk goes on.
fn next_sync(store: &TestStore) -> (Receiver<()>, Sender<()>) {
    let ((begin, begun), (go, went)) = (channel(), channel::<()>());
    let is_it = |kind: OpKind, file: &str| kind == OpKind::Sync && file.ends_with(".seg");
    let wait = move || {
        begin.send(()).expect("the test waits for it");
        // A test that failed lets it go as well.
        let _dropped = went.recv();
    };
    store.disk().hold_up(is_it, wait);
    (begun, go)
}

fn abc(store: &Store) -> [Option<Vec<u8>>; 3] {
    ["a", "b", "c"].map(|id| value_of(store, "Log", id))
}

/// Between the copying of a record and the moving of its entry the key is written and deleted.
#[test]
fn what_is_written_while_a_copy_is_made_stays() {
    let mut test_store = TestStore::on(Medium::Sim(SimDisk::new()), by_hand());
    let store: &Store = &test_store;
    put_all(store, ["a", "b", "c"], b"old");
    end_segment(store);
    let expected = [Some(b"new".to_vec()), None, Some(b"old".to_vec())];
    thread::scope(|scope| {
        let (begun, go) = next_sync(&test_store);
        let compacting = scope.spawn(|| compact_picked(store, false, |_| true));
        begun.recv().expect("the copy is made, and not yet synced");
        store.put("Log", "a", b"new").unwrap();
        assert!(store.delete("Log", "b").unwrap());
        go.send(()).expect("it waits");
        compacting.join().unwrap().unwrap();
    });
    assert_eq!(abc(store), expected);
    store.compact().unwrap();
    assert_eq!(abc(store), expected);
    test_store.reopen();
    assert_eq!(abc(&test_store), expected);
}

/// A commit has been decided, and is not durable yet, when what it replaces moves.
#[test]
fn a_commit_in_flight_is_told_where_what_it_replaces_has_gone() {
    let mut test_store = TestStore::on(Medium::Sim(SimDisk::new()), by_hand());
    let store: &Store = &test_store;
    put_all(store, ["a", "b", "c"], b"old");
    let input = end_segment(store);
    let lives_in_input = || {
        let segments = store.stats().segments;
        segments.iter().any(|segment| segment.id == input && segment.live_bytes > 0)
    };
    let expected = [Some(b"new".to_vec()), None, Some(b"old".to_vec())];
    thread::scope(|scope| {
        let (begun, go) = next_sync(&test_store);
        let committing = scope.spawn(|| {
            let mut batch = Batch::new();
            batch.put("Log", "a", b"new");
            batch.delete("Log", "b");
            store.commit_with(batch, Durability::Sync)
        });
        begun.recv().expect("it is decided, and not yet synced");
        let compacting = scope.spawn(|| compact_picked(store, false, |number| number == input));
        wait_for(|| !lives_in_input());
        assert_eq!(value_of(store, "Log", "a"), Some(b"old".to_vec()));
        go.send(()).expect("it waits");
        committing.join().unwrap().unwrap();
        compacting.join().unwrap().unwrap();
    });
    assert_eq!(abc(store), expected);
    store.compact().unwrap();
    assert_eq!(abc(store), expected);
    test_store.reopen();
    assert_eq!(abc(&test_store), expected);
}

/// In the small, and with many more power losses than the sweeps have for each operation.
#[test]
fn power_loss_in_any_operation_of_a_compaction_loses_nothing() {
    let store = TestStore::on(Medium::Sim(SimDisk::new()), by_hand());
    put_all(&store, ["a", "b/1", "c"], b"old");
    end_segment(&store);
    delete_a_and_b(&store);
    end_segment(&store);
    for n in 0.. {
        let disk = store.disk().kill(0).power_loss(Loss::Nothing);
        let dying = by_hand().open_on(&disk).unwrap();
        disk.crash_after(disk.ops() + n);
        let died = dying.compact().is_err();
        for seed in 0..24 {
            let left = by_hand().open_on(&disk.power_loss(Loss::Seed(seed)));
            let left = left.unwrap_or_else(|error| panic!("operation {n}, seed {seed}: {error}"));
            let ids: Vec<String> = left.scan("Log").keys().map(Result::unwrap).collect();
            assert_eq!(ids, ["c"], "operation {n}, seed {seed}");
        }
        if !died {
            break;
        }
    }
}

/// A thousand in the full form.
#[test]
fn many_crashes_leave_few_files() {
    let mut store = TestStore::on(Medium::native(), Options::new().durability(Durability::Os));
    let crashes = if full() { 1_000 } else { 200 };
    for n in 0..crashes {
        store.put("Log", &format!("{n:04}"), pattern(n, 100)).unwrap();
        store.crash();
        if n % 100 == 99 {
            wait_for(|| store.segments().len() <= 40);
        }
    }
    wait_for(|| store.segments().len() <= 40);
    assert_eq!(store.count("Log").unwrap(), crashes);
    assert!(bytes_of(&store, ".seg") < 1 << 20);
}

#[test]
fn a_damaged_record_that_is_live_keeps_its_segment_and_is_told_of() {
    let mut store = TestStore::on(Medium::native(), by_hand()).unverified();
    for n in 0..100 {
        store.put("Log", &format!("{n:02}"), pattern(n, 100)).unwrap();
    }
    compact_picked(&store, true, |_| false).unwrap();
    for n in (0..100).filter(|n| n % 10 != 0) {
        store.delete("Log", &format!("{n:02}")).unwrap();
    }
    let (file, offset) = store.places_of(&pattern(50, 100)).remove(0);
    store.corrupt(&file, offset + 3);
    store.compact().unwrap();
    assert!(store.segments().contains(&file), "with the damage in it");
    match store.get_resource("Log", "50") {
        Err(Error::Corrupt { reason, .. }) => assert!(reason.contains("Log/50"), "{reason}"),
        other => panic!("{other:?}"),
    }
    for n in (0..100).filter(|n| n % 10 == 0 && *n != 50) {
        assert_eq!(value_of(&store, "Log", &format!("{n:02}")), Some(pattern(n, 100)));
    }
    store.close();
}

/// Writers, readers and scanners go on beside a compaction that never ends.
#[test]
fn everything_goes_on_beside_a_compaction() {
    let test_store = TestStore::on(Medium::native(), by_hand());
    let store: &Store = &test_store;
    let key = |n: u64| format!("{n:03}");
    for n in 0..200 {
        store.put("Log", &key(n), pattern(n, 300)).unwrap();
    }
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for round in 1..40 {
                for n in 0..200 {
                    let level = if n % 50 == 0 { Durability::Sync } else { Durability::Os };
                    let mut batch = Batch::new();
                    batch.put("Log", &key(n), pattern(n + round * 1000, 300));
                    batch.put("Twin", &key(n), pattern(n + round * 1000, 300));
                    store.commit_with(batch, level).unwrap();
                }
                store.delete_prefix("Twin", "1").unwrap();
            }
        });
        let reader = scope.spawn(move || {
            while !writer.is_finished() {
                for n in 0..200 {
                    let found = value_of(store, "Log", &key(n)).expect("it was never deleted");
                    assert_eq!(found.len(), 300);
                }
            }
        });
        let scanner = scope.spawn(move || {
            while !reader.is_finished() {
                let snapshot = store.snapshot();
                let all: Vec<_> = snapshot.scan("Log").iter().map(Result::unwrap).collect();
                assert_eq!(all.len(), 200);
                for twin in snapshot.scan("Twin").iter().map(Result::unwrap) {
                    let one = all.iter().find(|one| one.id == twin.id).unwrap();
                    assert_eq!(one.data, twin.data, "both are of one commit");
                }
            }
        });
        while !scanner.is_finished() {
            store.compact().unwrap();
            compact_picked(store, true, |number| number % 3 != 0).unwrap();
        }
    });
    store.compact().unwrap();
    let bytes = bytes_of(&test_store, ".seg");
    assert!(bytes < 4 * MIN_SEGMENT_SIZE, "{bytes}: {:?}", store.stats());
}

#[test]
fn closing_ends_a_compaction() {
    let test_store = TestStore::on(Medium::native(), by_hand().segment_size(1 << 20));
    let store: &Store = &test_store;
    for n in 0..20_000u64 {
        store.put("Log", &format!("{n:05}"), pattern(n, 500)).unwrap();
    }
    thread::scope(|scope| {
        let compacting = scope.spawn(|| store.compact());
        thread::sleep(Duration::from_millis(5));
        store.close().unwrap();
        match compacting.join().unwrap() {
            Ok(()) | Err(Error::Closed) => {}
            Err(error) => panic!("{error}"),
        }
    });
}

#[test]
fn a_bound_that_can_not_be_kept_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    for bound in [0.0, 1.0, -3.0, f64::NAN] {
        let refused = Options::new().space_bound(bound).open(store_dir(&dir));
        assert!(matches!(refused, Err(Error::Io { op, .. }) if op == "set"), "{bound}");
    }
}

/// Puts find no room, deletes do; and what they delete gives room to puts, with no reopening.
#[test]
fn a_full_disk_is_emptied_by_deletes() {
    let options = Options::new().segment_size(256 << 10).durability(Durability::Os);
    let options = options.sync_interval(Duration::from_millis(5));
    let store = TestStore::on(Medium::Sim(SimDisk::new()), options);
    let key = |n: u64| format!("{n:04}");
    for n in 0..3_000 {
        store.put("Log", &key(n), pattern(n, 1_000)).unwrap();
    }
    let disk = store.disk();
    wait_for(|| disk.files().iter().any(|name| name == "RESERVE"));
    let len = |name: &String| disk.read_file(name).map_or(0, |bytes| bytes.len() as u64);
    disk.set_capacity(Some(disk.files().iter().map(len).sum()));
    let mut extra = 0;
    let full = loop {
        match store.put("Extra", &key(extra), pattern(extra, 1_000)) {
            Ok(_) => extra += 1,
            Err(error) => break error,
        }
    };
    match &full {
        Error::Io { source, .. } => assert_eq!(source.kind(), ErrorKind::StorageFull, "{full}"),
        other => panic!("{other}"),
    }
    for n in (0..3_000).filter(|n| n % 3 != 0) {
        assert!(store.delete("Log", &key(n)).expect("a delete has room"), "{n}");
    }
    wait_for(|| store.put("Big", "one", vec![7; 500_000]).is_ok());
    for n in (0..3_000).step_by(3) {
        assert_eq!(value_of(&store, "Log", &key(n)), Some(pattern(n, 1_000)));
    }
    assert_eq!(store.count("Log").unwrap(), 1_000);
    assert_eq!(store.count("Extra").unwrap(), extra);
    disk.set_capacity(None);
}
