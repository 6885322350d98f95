//! Bugs that were found, and must not come back. Each test opens with its story.

use std::time::Duration;

use kindlog::{Batch, Durability, Options, Store};

fn options() -> Options {
    Options::new().segment_size(64 << 10).sync_interval(Duration::from_secs(3600))
}

/// Idle open and close cycles each appended a watermark frame, without a look at the room that was
/// left: a nearly full segment ran over its capacity, and the store panicked, or was refused at the
/// next open. Now a store that was only opened and closed does not grow.
#[test]
fn opening_and_closing_does_not_fill_a_segment() {
    let dir = tempfile::tempdir().unwrap();
    let store = options().open(dir.path()).unwrap();
    store.put("A", "x", vec![7; (64 << 10) - 400]).unwrap();
    store.close().unwrap();
    let disk_bytes = |store: &Store| store.stats().disk_bytes;
    let before = disk_bytes(&options().open(dir.path()).unwrap());
    for _ in 0..20 {
        let store = options().open(dir.path()).unwrap();
        assert!(store.recovery().clean);
        assert_eq!(disk_bytes(&store), before);
        store.close().unwrap();
    }
    let store = options().open(dir.path()).unwrap();
    store.put("A", "y", vec![8; 1000]).unwrap();
    assert_eq!(store.count("A").unwrap(), 2);
    assert!(store.verify().unwrap().is_clean());
}

/// A segment size that is no multiple of 8 gave the next segment a base between two frames: the
/// manifest contradicted itself, and the store could not be opened again. Now sizes are rounded up.
#[test]
fn any_segment_size_can_be_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options::new().segment_size((64 << 10) + 3);
    let store = options.open(dir.path()).unwrap();
    for i in 0..30 {
        store.put("A", &format!("{i:02}"), vec![i; 10_000]).unwrap();
    }
    assert!(store.stats().segments.len() > 3);
    store.close().unwrap();
    let store = options.open(dir.path()).unwrap();
    assert_eq!(store.count("A").unwrap(), 30);
}

/// A segment that recovery had closed ends without an end frame, and doctor said of it that durable
/// bytes behind its end were gone: of every store that was ever killed, as soon as it had been
/// opened and written again. Now what counts of a sealed segment is its sealed length.
#[test]
fn a_store_that_recovered_is_healthy() {
    let (dir, left) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = options().open(dir.path()).unwrap();
    store.put("A", "x", b"before").unwrap();
    for name in ["MANIFEST", "00000000.seg"] {
        std::fs::copy(dir.path().join(name), left.path().join(name)).unwrap();
    }
    let store = options().open(left.path()).unwrap();
    assert!(!store.recovery().clean);
    store.put("A", "y", b"after").unwrap();
    store.close().unwrap();
    let diagnosis = Store::diagnose(left.path()).unwrap();
    assert!(diagnosis.is_healthy(), "{diagnosis:?}");
}

/// A text hashed as the bytes it is made of, and not as a `str`, so that no map of texts found
/// anything by a `str`. Now it hashes as one.
#[test]
fn a_map_of_texts_is_asked_with_a_str() {
    let store = Options::new().open_in_memory().unwrap();
    store.put("A", "x", b"").unwrap();
    let id = store.get_resource("A", "x").unwrap().unwrap().id;
    assert_eq!(std::collections::HashMap::from([(id, 7)]).get("x"), Some(&7));
}

/// A get that met commits of several changes was done again as a whole, checksum included, for as
/// long as such commits came: a large value was never read. Now only the lookup is done again.
#[test]
fn a_large_value_is_read_beside_batches() {
    let store = Options::new().durability(kindlog::Durability::Os).open_in_memory().unwrap();
    store.put("A", "large", vec![7; 32 << 20]).unwrap();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                let mut batch = kindlog::Batch::new();
                batch.put("A", "x", b"").put("A", "y", b"");
                store.commit(batch).unwrap();
            }
        });
        for _ in 0..3 {
            assert_eq!(store.get_resource("A", "large").unwrap().unwrap().data.len(), 32 << 20);
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

/// Every delete by prefix stayed in a list that each lookup walked, and that was copied for the
/// next one: thousands of them in a batch, or in a log that was opened, took minutes. Now they are
/// cleared as they come.
#[test]
fn thousands_of_prefix_deletes_are_exact() {
    let dir = tempfile::tempdir().unwrap();
    let open = || options().durability(kindlog::Durability::Os).open(dir.path()).unwrap();
    let (store, count) = (open(), 3000);
    let mut puts = kindlog::Batch::new();
    let mut deletes = kindlog::Batch::new();
    for i in 0..count {
        puts.put("A", &format!("{i:05}/x"), b"").put("A", &format!("{i:05}/y"), b"");
        deletes.delete_prefix("A", &format!("{i:05}/"));
    }
    deletes.put("A", "00007/x", b"again");
    store.commit(puts).unwrap();
    store.commit(deletes).unwrap();
    let only = |store: &Store| {
        assert_eq!(store.count("A").unwrap(), 1);
        assert!(store.contains("A", "00007/x").unwrap());
        assert!(!store.contains("A", "00007/y").unwrap());
        assert!(store.verify().unwrap().is_clean());
    };
    only(&store);
    drop(store);
    only(&open());
}

/// `stats` that had met batches three times held further ones up, and then asked for the lock that
/// the commit it held up was in: neither ever went on. Now it has asked before.
#[test]
fn stats_go_on_beside_batches() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    std::thread::scope(|scope| {
        let writers = ["A", "B"].map(|kind| {
            let store = store.clone();
            scope.spawn(move || {
                for round in 0..50 {
                    let mut batch = Batch::new();
                    for i in 0..1_000 {
                        batch.put(kind, &i.to_string(), [round]);
                    }
                    store.commit_with(batch, Durability::Buffered).unwrap();
                }
            })
        });
        while !writers.iter().all(|writer| writer.is_finished()) {
            let kinds = store.stats().kinds;
            assert!(kinds.iter().all(|kind| kind.live_count == 1_000), "half a batch");
        }
    });
}

#[cfg(feature = "sim")]
mod healing {
    use super::options;
    use kindlog::disk::sim::{EIO, ENOSPC, Fault, Loss, OpKind, SimDisk};
    use kindlog::{Batch, Durability, Store};

    fn one(id: &str, len: usize) -> Batch {
        let mut batch = Batch::new();
        batch.put("A", id, vec![7; len]);
        batch
    }

    /// Fills most of the first segment.
    fn filled(disk: &SimDisk) -> Store {
        let store = options().open_on(disk).unwrap();
        for i in 0..5 {
            store.commit_with(one(&i.to_string(), 10_000), Durability::Os).unwrap();
        }
        store
    }

    /// After a failed append the segment was sealed while a full one before it was not, and open
    /// read sealed segments first, without remembering their deletes for those it read later: the
    /// put in the earlier segment beat its delete in the later one. Deleted data came back. Now all
    /// full segments are sealed with the broken one, and deletes are remembered.
    #[test]
    fn a_delete_outlives_the_healing_of_its_segment() {
        let disk = SimDisk::new();
        let store = filled(&disk);
        store.commit_with(one("victim", 10_000), Durability::Os).unwrap();
        let mut batch = one("next", 20_000);
        batch.delete("A", "victim");
        store.commit_with(batch, Durability::Os).unwrap();
        assert!(!store.contains("A", "victim").unwrap());
        let last = disk.files().into_iter().filter(|name| name.ends_with(".seg")).max().unwrap();
        disk.fail_when(move |op, file| op == OpKind::Write && file == last, 0, Fault::Error(EIO));
        let _ = store.commit_with(one("other", 10), Durability::Sync);
        store.sync().unwrap();
        for image in [disk.kill(0), disk.power_loss(Loss::AllUnsynced)] {
            let store = options().open_on(&image).unwrap();
            assert!(!store.contains("A", "victim").unwrap());
            assert!(store.contains("A", "next").unwrap());
            assert!(store.verify().unwrap().is_clean());
        }
    }

    /// Healing synced the broken segment alone, and then vouched for all that lies below its end,
    /// though a full segment before it had never been synced: after power loss the store refused
    /// to open, and `Sync` commits could be acknowledged that were not durable. Now full segments
    /// are synced first.
    #[test]
    fn healing_vouches_only_for_what_it_synced() {
        let disk = SimDisk::new();
        let store = filled(&disk);
        store.sync().unwrap();
        store.commit_with(one("before", 10_000), Durability::Os).unwrap();
        disk.fail_when(
            |op, file| op == OpKind::Write && file == "00000001.seg",
            1,
            Fault::Error(EIO),
        );
        let acknowledged = store.commit_with(one("next", 20_000), Durability::Sync).is_ok();
        let image = disk.power_loss(Loss::AllUnsynced);
        let store = options().open_on(&image).unwrap();
        assert!(store.contains("A", "0").unwrap());
        assert!(!acknowledged || store.contains("A", "next").unwrap());
        assert!(store.verify().unwrap().is_clean());
    }

    /// The tail file could not be made on a full disk, and that failed the commit, which had room
    /// in its segment. Now such commits go to the segment one by one.
    #[test]
    fn a_commit_does_without_the_tail_file_where_it_cannot_be_made() {
        let disk = SimDisk::new();
        disk.fail_when(|_, file| file == "TAIL", 0, Fault::Error(ENOSPC));
        let store = filled(&disk);
        let image = disk.kill(0);
        drop(store);
        let store = options().open_on(&image).unwrap();
        assert_eq!(store.count("A").unwrap(), 5);
    }
    /// The tail file had a sound copy of a durable frame that was rotten in the segment. Open took
    /// it as proof that all was well, left the frame where it was, and removed the tail file: the
    /// record was gone, its sound neighbour with it, and the next open refused. Now what the tail
    /// file gives is written anew.
    #[test]
    fn what_the_tail_file_saves_is_written_anew() {
        let disk = SimDisk::new();
        let store = options().open_on(&disk).unwrap();
        for id in ["k0", "k1", "k2"] {
            store.commit_with(one(id, 300), Durability::Os).unwrap();
        }
        store.sync().unwrap();
        let image = disk.kill(0);
        let bytes = image.read_file("00000000.seg").unwrap();
        let at = bytes.windows(3).position(|window| window == b"Ak1").unwrap();
        image.flip_bit("00000000.seg", (at as u64 + 100) * 8);
        for _ in 0..2 {
            let store = options().open_on(&image).unwrap();
            for id in ["k0", "k1", "k2"] {
                assert_eq!(store.get_resource("A", id).unwrap().unwrap().data.len(), 300);
            }
            assert!(store.verify().unwrap().is_clean());
            store.close().unwrap();
        }
    }

    /// A sync of the directory failed as a store was made, and the kernel called the names clean:
    /// the next attempt found a manifest that was in memory alone, and made a segment beside it.
    /// Where its last sync failed as well, the segment was left without a manifest, and nothing
    /// ever opened.
    #[test]
    fn a_store_is_made_where_two_attempts_failed() {
        for nth in 0..5 {
            let disk = SimDisk::new();
            disk.fail_when(|op, _| op == OpKind::SyncDir, 0, Fault::SyncKeepsNew);
            super::options().open_on(&disk).expect_err("the directory is not synced");
            disk.fail_when(|op, _| op == OpKind::SyncDir, nth, Fault::SyncDropsNew);
            // It may be made before that many syncs.
            let _ = super::options().open_on(&disk);
            disk.clear_faults();
            let store = super::options().open_on(&disk).unwrap_or_else(|e| panic!("{nth}: {e}"));
            store.put("Log", "a", b"").unwrap();
        }
    }
}

#[cfg(feature = "sim")]
mod compaction {
    use super::options;
    use kindlog::disk::sim::SimDisk;
    use kindlog::fuzzing::compact_picked;
    use kindlog::{Options, Store};

    const SEGMENT: &str = "00000000.seg";

    fn by_hand() -> Options {
        options().space_bound(f64::INFINITY)
    }

    fn with_one_more(disk: &SimDisk, id: &str) -> Store {
        let store = by_hand().open_on(disk).unwrap();
        store.put("Log", id, b"value").unwrap();
        compact_picked(&store, true, |_| false).unwrap();
        store
    }

    /// Where a segment had no hint, compaction read it and did not hold it against its digest. With
    /// the file of another copy of the store in its place a tombstone was dropped as of no use; and
    /// once the right file was brought back the deleted key was, too. Now such a segment may hold
    /// anything.
    #[test]
    fn a_tombstone_stays_for_a_segment_that_is_not_what_was_sealed() {
        let disk = SimDisk::new();
        let store = by_hand().open_on(&disk).unwrap();
        store.put("Log", "kept", b"value").unwrap();
        store.close().unwrap();
        let [disk, copy] = [disk.kill(0), disk.kill(0)];
        with_one_more(&copy, "b").close().unwrap();
        let store = with_one_more(&disk, "a");
        assert!(store.delete("Log", "a").unwrap());
        compact_picked(&store, true, |_| false).unwrap();
        store.close().unwrap();
        let segment = disk.read_file(SEGMENT).unwrap();
        disk.write_file(SEGMENT, &copy.read_file(SEGMENT).unwrap());
        // By its hint it opens.
        let store = by_hand().open_on(&disk).unwrap();
        disk.remove_file("00000000.hint");
        compact_picked(&store, false, |number| number == 1).unwrap();
        store.close().unwrap();
        disk.write_file(SEGMENT, &segment);
        let store = by_hand().open_on(&disk).unwrap();
        let left: Vec<String> = store.scan("Log").keys().map(Result::unwrap).collect();
        assert_eq!(left, ["kept"], "deleted data is back");
    }
}

#[cfg(feature = "sim")]
mod unread {
    use super::options;
    use kindlog::disk::sim::SimDisk;
    use kindlog::fuzzing::compact_picked;
    use kindlog::{Batch, ReadMode, Store};

    /// A record that the medium could not read could neither be written over nor deleted: whoever
    /// tried got the error of reading it. So it stayed, and its segment with it, until the medium
    /// was a new one. Damage was in nobody's way.
    #[test]
    fn what_can_not_be_read_can_be_written_over_and_deleted() {
        let options = options().read_mode(ReadMode::Pread);
        let writes: [&dyn Fn(&Store); 4] = [
            &|store| assert!(store.put("Log", "a", b"new").is_ok()),
            &|store| assert!(store.delete("Log", "a").unwrap()),
            &|store| assert_eq!(store.delete_prefix("Log", "a").unwrap(), 1),
            &|store| {
                let mut batch = Batch::new();
                batch.put("Log", "b", b"new").delete("Log", "a");
                assert!(store.commit(batch).is_ok());
            },
        ];
        for (nth, write) in writes.iter().enumerate() {
            let disk = SimDisk::new();
            let store = options.open_on(&disk).unwrap();
            store.put("Log", "a", [7; 300]).unwrap();
            store.put("Log", "c", [7; 300]).unwrap();
            compact_picked(&store, true, |_| false).unwrap();
            let segment = disk.read_file("00000000.seg").unwrap();
            let at = segment.windows(3).position(|window| window == [7; 3]).unwrap() as u64;
            disk.make_unreadable("00000000.seg", at..at + 1);
            store.get_resource("Log", "a").expect_err("it can't be read");
            write(&store);
            let is_new = |store: &Store| {
                let found = store.get_resource("Log", "a").unwrap();
                assert_eq!(found.is_some(), nth == 0);
                assert!(found.is_none_or(|found| found.data == b"new"[..]));
                assert_eq!(store.get_resource("Log", "c").unwrap().unwrap().data, [7; 300][..]);
            };
            is_new(&store);
            // Nobody needs it any more, and it is in nobody's way.
            store.compact().unwrap();
            assert!(!disk.files().contains(&"00000000.seg".to_owned()));
            is_new(&store);
            drop(store);
            is_new(&options.open_on(&disk).unwrap());
        }
    }
}
