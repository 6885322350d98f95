//! Room and files that are there ahead of need. On a full disk, what is kept back for it is enough
//! to open, to close, and to get out of it.

use std::io::ErrorKind;
use std::thread;
use std::time::Duration;

use kindlog::disk::sim::{Loss, Op, OpKind, SimDisk};
use kindlog::{Batch, Durability, Error, MIN_SEGMENT_SIZE, Options, Store};

use crate::support::{Medium, TestStore, pattern};

const RESERVE: &str = "RESERVE";

/// Nothing is compacted, and what the background leaves behind comes soon.
fn quick() -> Options {
    let options = Options::new().durability(Durability::Os).space_bound(f64::INFINITY);
    options.sync_interval(Duration::from_millis(5))
}

fn key(n: u64) -> String {
    format!("{n:04}")
}

fn used(disk: &SimDisk) -> u64 {
    disk.files().iter().filter_map(|file| disk.read_file(file)).map(|b| b.len() as u64).sum()
}

fn has_reserve(disk: &SimDisk) -> bool {
    disk.files().iter().any(|name| name == RESERVE)
}

/// Whether it was given up since an operation; it is made anew as soon as there is room.
fn was_needed(disk: &SimDisk, since: u64) -> bool {
    let is_given_up = |op: &Op| op.kind == OpKind::Remove && op.file == RESERVE;
    disk.trace().iter().any(|op| op.number >= since && is_given_up(op))
}

/// Waits, as long as it takes, until the store keeps something back.
fn wait_for_reserve(store: &Store, disk: &SimDisk) {
    store.sync().unwrap();
    while !has_reserve(disk) {
        thread::sleep(Duration::from_millis(5));
    }
}

/// Puts until there is no room for it. Returns how many there were.
fn fill_up(store: &Store) -> u64 {
    let mut n = 0;
    loop {
        match store.put("Extra", &key(n), pattern(n, 1_000)) {
            Ok(_) => n += 1,
            Err(Error::Io { source, .. }) if source.kind() == ErrorKind::StorageFull => return n,
            Err(error) => panic!("{error}"),
        }
    }
}

/// After a kill and after power loss: the next segment, and the manifest that names it, have room.
#[test]
fn a_store_opens_after_a_crash_on_a_full_disk() {
    let disk = SimDisk::new();
    let store = quick().open_on(&disk).unwrap();
    for n in 0..2_000 {
        store.put("Log", &key(n), pattern(n, 1_000)).unwrap();
    }
    wait_for_reserve(&store, &disk);
    for image in [disk.kill(0), disk.power_loss(Loss::Nothing)] {
        image.set_capacity(Some(used(&image)));
        let reopened = quick().open_on(&image).expect("opening has room");
        assert!(!reopened.recovery().clean && was_needed(&image, 0));
        assert_eq!(reopened.count("Log").unwrap(), 2_000);
        assert!(reopened.delete("Log", &key(7)).expect("a delete has room"));
        reopened.close().expect("closing has room");
        let again = quick().open_on(&image).expect("opening has room");
        assert!(again.recovery().clean);
        assert_eq!(again.count("Log").unwrap(), 1_999);
    }
}

/// What was kept back for a large log was kept when the log had become a small one.
#[test]
fn a_log_that_has_shrunk_has_no_more_kept_back_than_it_wants() {
    let disk = SimDisk::new();
    let store = quick().open_on(&disk).unwrap();
    let kept = || disk.read_file(RESERVE).map_or(0, |bytes| bytes.len() as u64);
    let wait_until = |there: &dyn Fn(u64) -> bool| {
        while !there(kept()) {
            thread::sleep(Duration::from_millis(5));
        }
    };
    let mut batch = Batch::new();
    for n in 0..96 {
        batch.put("Log", &key(n), vec![7; 1 << 20]);
    }
    store.commit_with(batch, Durability::Sync).unwrap();
    wait_until(&|kept| kept > 350 << 10);
    store.delete_kind("Log").unwrap();
    store.put("Agent", "a", pattern(1, 2 << 20)).unwrap();
    store.compact().unwrap();
    wait_until(&|kept| kept == 256 << 10);
    assert_eq!(store.count("Agent").unwrap(), 1);
}

/// The manifest that says that the store was closed in order is far larger than what closing gives
/// back of the last segment's room. A full segment that could not be sealed for want of room is
/// sealed then: that had not been allowed the reserve, and its hint was written into the room of
/// the manifest, so that closing failed either way.
#[test]
fn a_store_closes_on_a_full_disk() {
    let disk = SimDisk::new();
    let store = quick().segment_size(MIN_SEGMENT_SIZE).open_on(&disk).unwrap();
    let long = "x".repeat(500);
    for n in 0..2_000 {
        store.put("Log", &format!("{}{long}", key(n)), pattern(n, 500)).unwrap();
    }
    wait_for_reserve(&store, &disk);
    while disk.read_file("MANIFEST").is_none_or(|bytes| bytes.len() < 20_000) {
        thread::sleep(Duration::from_millis(5));
    }
    disk.set_capacity(Some(used(&disk)));
    let extra = fill_up(&store);
    assert!(has_reserve(&disk), "puts do not get it");
    let before = disk.ops();
    store.close().expect("closing has room");
    assert!(was_needed(&disk, before));
    let store = quick().segment_size(MIN_SEGMENT_SIZE).open_on(&disk).expect("and so has opening");
    assert!(store.recovery().clean);
    assert_eq!((store.count("Log").unwrap(), store.count("Extra").unwrap()), (2_000, extra));
}

/// Compaction could not end the segment that was written, in which nearly all dead bytes lay: the
/// next one had no room, and what is kept back was not for that. Such a store stayed full until
/// somebody made room elsewhere.
#[test]
fn a_full_disk_whose_dead_bytes_lie_in_the_active_segment_is_emptied() {
    let options = quick().space_bound(1.5);
    let store = TestStore::on(Medium::Sim(SimDisk::new()), options);
    for n in 0..2_000 {
        store.put("Log", &key(n % 100), pattern(n, 1_000)).unwrap();
    }
    let disk = store.disk();
    wait_for_reserve(&store, disk);
    disk.set_capacity(Some(used(disk)));
    fill_up(&store);
    while let Err(refused) = store.put("Log", "more", vec![7; 100_000]) {
        let stats = store.stats().compaction;
        assert!(stats.failure.is_none(), "{refused}; {stats:?}");
        thread::sleep(Duration::from_millis(5));
    }
    for n in 1_900..2_000 {
        let found = store.get_resource("Log", &key(n % 100)).unwrap().unwrap();
        assert_eq!(found.data, pattern(n, 1_000));
    }
    disk.set_capacity(None);
}

/// The first commit need not wait for it. In a store that is small it does: that may never be
/// written again, and stays small.
#[test]
fn a_store_of_some_size_has_its_tail_file_before_the_first_commit() {
    for (len, ahead) in [(1_000, false), (2 << 20, true)] {
        let options = Options::new().durability(Durability::Os);
        let mut store = TestStore::on(Medium::Sim(SimDisk::new()), options);
        let mut batch = Batch::new();
        batch.put("Log", "a", pattern(1, len));
        store.commit_with(batch, Durability::Sync).unwrap();
        store.reopen();
        let has_tail = || store.disk().files().contains(&"TAIL".to_owned());
        while ahead && !has_tail() {
            thread::yield_now();
        }
        assert_eq!(has_tail(), ahead);
        store.put("Log", "b", pattern(2, len)).unwrap();
        assert!(has_tail());
    }
}
