//! Bugs of compaction that were found, and must not come back. Each test opens with its story.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kindlog::disk::sim::{EIO, ENOSPC, Fault, OpKind, SimDisk};
use kindlog::fuzzing::compact_picked;
use kindlog::{Durability, Error, MIN_SEGMENT_SIZE, Options, Store};

use crate::support::{Medium, TestStore, pattern};

/// Compacts when it is told to.
fn by_hand() -> Options {
    let options = Options::new().segment_size(MIN_SEGMENT_SIZE).durability(Durability::Os);
    options.sync_interval(Duration::from_secs(3600)).space_bound(f64::INFINITY)
}

/// Ends the segment that is written.
fn roll(store: &Store) {
    compact_picked(store, true, |_| false).unwrap();
}

/// Flips a bit in the only record that holds these bytes.
fn damage(store: &TestStore, bytes: &[u8]) -> String {
    let (file, offset) = store.places_of(bytes).remove(0);
    store.corrupt(&file, offset);
    file
}

/// How much a store may have beyond what is live was reckoned without a look at overflow: with no
/// bound at all, a compaction that was asked for panicked or, in a release build, left commits
/// giving way to it for ever.
#[test]
fn a_store_without_a_bound_is_compacted_all_the_same() {
    let store = TestStore::on(Medium::native(), by_hand().segment_size(1 << 20));
    for n in 0..300u64 {
        store.put("Log", &format!("{n:03}"), pattern(n, 10_000)).unwrap();
    }
    (0..300).step_by(2).for_each(|n| assert!(store.delete("Log", &format!("{n:03}")).unwrap()));
    store.compact().unwrap();
    assert!(store.stats().disk_bytes < 1_600_000);
}

/// Copies lie behind the log's end, and doctor took damage in one for a write that was cut short:
/// nobody's fault, and nothing to be done.
#[test]
fn damage_in_a_copy_is_not_called_torn() {
    let mut store = TestStore::on(Medium::native(), by_hand()).unverified();
    for n in 0..20u64 {
        store.put("Log", &format!("{n:02}"), pattern(n, 100)).unwrap();
    }
    store.compact().unwrap();
    store.close();
    damage(&store, &pattern(7, 100));
    let damages = Store::diagnose(store.dir()).unwrap().damages;
    assert_eq!(damages.len(), 1, "{damages:?}");
    assert!(!damages[0].torn, "{damages:?}");
}

/// The frames that had told how far the log is went with the segments that were compacted, and a
/// reader took the store for an older one than it was: its revision went back, and it refused to
/// add to a backup, since that seemed to have more than the store.
#[test]
fn a_reader_knows_the_last_revision_when_its_records_are_gone() {
    let (store, backup) =
        (TestStore::on(Medium::native(), by_hand()), tempfile::tempdir().unwrap());
    let to = backup.path().join("backup");
    store.put("Log", "a", b"1").unwrap();
    store.delete("Log", "a").unwrap();
    store.sync().unwrap();
    let reader = store.try_open_with(&by_hand().read_only(true)).unwrap();
    let before = reader.snapshot().revision();
    reader.backup(&to).unwrap();
    store.compact().unwrap();
    reader.refresh().unwrap();
    reader.backup(&to).unwrap();
    assert!(reader.snapshot().revision() >= before);
}

/// A record that is live and damaged keeps its segment, but the run had left out the tombstones of
/// what else is dead in there, since it took that segment to go: at the next open what had been
/// deleted was back. Now segments with tombstones stay as long as one of the run does.
#[test]
fn what_was_deleted_stays_so_in_a_segment_that_damage_keeps() {
    for prefix in [false, true] {
        let store = TestStore::on(Medium::native(), by_hand()).unverified();
        store.put("Log", "damaged", pattern(1, 100)).unwrap();
        store.put("Log", "gone/1", pattern(2, 100)).unwrap();
        roll(&store);
        match prefix {
            true => assert_eq!(store.delete_prefix("Log", "gone/").unwrap(), 1),
            false => assert!(store.delete("Log", "gone/1").unwrap()),
        }
        roll(&store);
        damage(&store, &pattern(1, 100));
        for _ in 0..3 {
            store.compact().unwrap();
            assert!(!store.contains("Log", "gone/1").unwrap());
        }
        store.put("Log", "more", pattern(3, 100)).unwrap();
        store.compact().unwrap();
        let image = store.killed().unverified();
        assert!(!image.try_open().unwrap().contains("Log", "gone/1").unwrap(), "it is back");
    }
}

/// A tombstone that was needed, and could not be copied since it was damaged, went with its
/// segment, in which nothing was live. The hint had told of it up to then; afterwards nothing did,
/// and what it had deleted was back. Now a segment with damage stays.
#[test]
fn a_damaged_tombstone_that_is_needed_keeps_its_segment() {
    for prefix in [false, true] {
        let store = TestStore::on(Medium::native(), by_hand()).unverified();
        store.put("Log", "gone/1", pattern(1, 100)).unwrap();
        store.put("Log", "kept", pattern(2, 100)).unwrap();
        roll(&store);
        match prefix {
            true => assert_eq!(store.delete_prefix("Log", "gone/").unwrap(), 1),
            false => assert!(store.delete("Log", "gone/1").unwrap()),
        }
        roll(&store);
        let (file, offset) = store.places_of(b"Loggone/").pop().unwrap();
        store.corrupt(&file, offset + 3);
        let number = u32::from_str_radix(&file[..8], 16).unwrap();
        for _ in 0..2 {
            compact_picked(&store, false, |picked| picked == number).unwrap();
        }
        let image = store.killed().unverified();
        assert!(image.segments().contains(&file), "with the damage in it");
        assert!(!image.try_open().unwrap().contains("Log", "gone/1").unwrap(), "it is back");
    }
}

/// A poisoned store was compacted on and on: each run copied, named the copy, and could not move a
/// single entry to it, so that the next one began anew. The disk filled up with copies. Now a run
/// ends before it begins.
#[test]
fn a_poisoned_store_is_not_compacted() {
    let disk = SimDisk::new();
    let store = by_hand().open_on(&disk).unwrap();
    for n in 0..100u64 {
        store.put("Log", &format!("{n:02}"), pattern(n, 100)).unwrap();
    }
    roll(&store);
    (0..50).for_each(|n| assert!(store.delete("Log", &format!("{n:02}")).unwrap()));
    let is_sync = |op, file: &str| op == OpKind::Sync && file.ends_with(".seg");
    disk.fail_when(is_sync, 0, Fault::Error(EIO));
    assert!(store.sync().is_err());
    let before = (disk.files(), disk.read_file("MANIFEST"));
    for _ in 0..3 {
        let refused = compact_picked(&store, false, |_| true);
        assert!(matches!(refused, Err(Error::Poisoned)), "{refused:?}");
    }
    assert!(before == (disk.files(), disk.read_file("MANIFEST")));
}

/// A segment whose header could not be written stayed in the directory until the store was opened
/// again, and each try makes one of another number. Now it is removed.
#[test]
fn a_segment_that_can_not_be_made_leaves_no_file() {
    let disk = SimDisk::new();
    let store = by_hand().open_on(&disk).unwrap();
    for n in 0..100u64 {
        store.put("Log", &format!("{n:02}"), pattern(n, 100)).unwrap();
    }
    roll(&store);
    let before = disk.files();
    let known = before.clone();
    disk.fail_always(
        move |op, file| {
            op == OpKind::Write && file.ends_with(".seg") && !known.contains(&file.to_owned())
        },
        Fault::Error(ENOSPC),
    );
    for _ in 0..3 {
        assert!(matches!(compact_picked(&store, false, |_| true), Err(Error::Io { .. })));
        assert_eq!(disk.files(), before);
    }
    disk.clear_faults();
    compact_picked(&store, false, |_| true).unwrap();
    assert_eq!(store.count("Log").unwrap(), 100);
    assert!(store.verify().unwrap().is_clean());
}

/// A segment with a damaged record that was live stayed until the store was opened again, also when
/// that record had been written over and nothing in the segment was live any more.
#[test]
fn a_segment_is_let_go_when_what_is_damaged_in_it_is_dead() {
    let store = TestStore::on(Medium::native(), by_hand()).unverified();
    for n in 0..4 {
        store.put("Log", &n.to_string(), pattern(n, 100)).unwrap();
    }
    roll(&store);
    let file = damage(&store, &pattern(1, 100));
    assert_eq!(damage(&store, &pattern(3, 100)), file);
    for n in [1, 3] {
        store.compact().unwrap();
        assert!(store.segments().contains(&file), "{n} is live, and damaged");
        store.put("Log", &n.to_string(), pattern(n + 10, 100)).unwrap();
    }
    store.compact().unwrap();
    assert!(!store.segments().contains(&file));
    assert!(store.verify().unwrap().is_clean());
}

/// One segment that could not be read, and had no hint, kept all others from being compacted, and
/// nobody was told. Now it is left alone, and the others go.
#[test]
fn a_segment_that_can_not_be_read_does_not_keep_the_others() {
    let store = TestStore::on(Medium::native(), by_hand()).unverified();
    store.put("Log", "damaged", pattern(1, 100)).unwrap();
    store.put("Log", "gone", pattern(2, 100)).unwrap();
    roll(&store);
    store.put("Log", "kept", pattern(3, 100)).unwrap();
    store.put("Log", "kept", pattern(4, 100)).unwrap();
    store.delete("Log", "gone").unwrap();
    let unreadable = damage(&store, &pattern(1, 100));
    std::fs::remove_file(store.path(&unreadable).with_extension("hint")).unwrap();
    store.compact().unwrap();
    assert!(store.segments().contains(&unreadable));
    assert_eq!(store.places_of(&pattern(3, 100)), []);
    assert_eq!(store.places_of(b"Loggone").len(), 2, "the tombstone is needed still");
    assert!(!store.contains("Log", "gone").unwrap() && store.contains("Log", "kept").unwrap());
}

/// On a full disk hints wait until there is room. What waited held its segment's file open, also
/// when compaction had removed it: the room did not come back, and the disk stayed full until the
/// store was opened anew. A segment that goes is no longer waited for.
#[test]
fn what_compaction_removes_gives_its_room_back_while_hints_wait() {
    let store = TestStore::on(Medium::Sim(SimDisk::new()), by_hand());
    let (disk, refused) = (store.disk(), Arc::new(AtomicBool::new(false)));
    let told = refused.clone();
    let makes_reserve = move |kind: OpKind, file: &str| {
        let matches = kind == OpKind::Create && file == "RESERVE";
        told.fetch_or(matches, Ordering::Relaxed);
        matches
    };
    disk.fail_always(makes_reserve, Fault::Error(ENOSPC));
    let mut puts = 0..;
    let mut fill = |count: usize| {
        for n in puts.by_ref().take(count) {
            store.put("Log", &format!("{}", n % 20), pattern(n, 1_000)).unwrap();
        }
    };
    while !refused.load(Ordering::Relaxed) {
        fill(1);
    }
    fill(1_000);
    store.compact().unwrap();
    assert!(!disk.files().contains(&"00000000.seg".to_owned()));
    let lens = disk.files().into_iter().map(|name| disk.read_file(&name).unwrap().len() as u64);
    disk.set_capacity(Some(lens.sum::<u64>() + 700_000));
    store.put("Big", "one", vec![7; 500_000]).expect("there is room");
    disk.clear_faults();
    disk.set_capacity(None);
}
