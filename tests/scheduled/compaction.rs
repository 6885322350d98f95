//! Compaction beside readers, writers, failures and backups.

use std::sync::Arc;

use super::*;
use crate::disk::sim::{EIO, Fault, OpKind};
use crate::format::location::SegmentId;
use crate::format::segment::StoreId;
use crate::fuzzing::compact_picked;
use crate::log::segments::Segments;
use crate::sync::{STRIPES, Striped};

/// No thread compacts by itself: the scenario does.
fn by_hand(disk: &SimDisk) -> Store {
    options().space_bound(f64::INFINITY).open_on(disk).expect("open")
}

/// A store of three segments with something dead in each; `b` was deleted, `a` and `c` are there.
fn started(disk: &SimDisk) -> Store {
    let store = by_hand(disk);
    for id in ["a", "b", "c"] {
        put(&store, id, Durability::Os).unwrap();
    }
    compact_picked(&store, true, |_| false).unwrap();
    store.delete("K", "b").unwrap();
    put(&store, "a", Durability::Os).unwrap();
    compact_picked(&store, true, |_| false).unwrap();
    store
}

fn compact_some(store: &Store) {
    let (roll, seed) = (below(2) == 0, below(4) as u32);
    compact_picked(store, roll, |number| (number + seed) % 4 != 0).unwrap();
}

#[test]
fn a_view_reads_on_while_segments_go() {
    explore("a_view_reads_on_while_segments_go", || {
        let store = started(&any_disk());
        let mut threads = vec![go(&store, |store| (0..3).for_each(|_| compact_some(store)))];
        for _ in 0..2 {
            threads.push(go(&store, |store| {
                for _ in 0..2 {
                    let snapshot = store.snapshot();
                    let ids = snapshot.scan("K").iter().map(|r| r.expect("sound").id.to_string());
                    assert_eq!(ids.collect::<Vec<_>>(), ["a", "c"]);
                    assert!(snapshot.get_resource("K", "a").expect("sound").is_some());
                    assert!(has(store, "c") && !has(store, "b"));
                }
            }));
        }
        all(threads);
        assert!(store.verify().unwrap().is_clean());
        store.close().unwrap();
    });
}

/// Whoever has a segment pinned finds it, also while it goes over to those that are kept for
/// snapshots.
#[test]
fn a_segment_is_found_while_it_is_retired() {
    explore("a_segment_is_found_while_it_is_retired", || {
        let (id, store_id) = (SegmentId(0), StoreId::default());
        let segments = Arc::new(Segments::new(Arc::new(SimDisk::new()), store_id, false));
        segments.insert(segments.create(id, 0, 64 << 10).unwrap());
        let shared = segments.clone();
        let retires = thread::spawn(move || shared.retire(id, 1));
        for _ in 0..3 {
            assert!(segments.find(id).is_ok());
        }
        retires.join().unwrap();
        assert!(segments.find(id).is_ok() && !segments.has(id));
        segments.let_go(|| None);
        assert!(segments.find(id).is_err());
    });
}

/// The list of segments is kept once a stripe: changes that are made side by side leave all alike.
#[test]
fn changes_come_to_all_stripes_in_the_same_order() {
    explore("changes_come_to_all_stripes_in_the_same_order", || {
        let striped: Arc<Striped<Vec<u32>>> = Arc::default();
        let spawn = |work: fn(&Striped<Vec<u32>>, u32) -> Vec<u32>, n| {
            let striped = striped.clone();
            thread::spawn(move || work(&striped, n))
        };
        let change = |striped: &Striped<Vec<u32>>, n| {
            striped.update(|list| list.push(n));
            Vec::new()
        };
        all((0..2).map(|n| spawn(change, n)).collect());
        // Threads that are started one after the other have a stripe each.
        let look = |striped: &Striped<Vec<u32>>, _| striped.read().clone();
        let seen = all((0..STRIPES as u32).map(|n| spawn(look, n)).collect());
        assert!(seen[0].len() == 2 && seen.iter().all(|list| *list == seen[0]), "{seen:?}");
    });
}

/// An append fails, and healing seals segments whose commits are still on their way into the
/// index.
#[test]
fn what_is_acknowledged_or_deleted_stays_so_beside_healing() {
    explore("what_is_acknowledged_or_deleted_stays_so_beside_healing", || {
        let disk = any_disk();
        let store = started(&disk);
        disk.fail_when(
            |op, file| op == OpKind::Write && file.ends_with(".seg"),
            below(3),
            Fault::Error(EIO),
        );
        let mut threads = vec![go(&store, |store| {
            for _ in 0..2 {
                let (roll, seed) = (below(2) == 0, below(3) as u32);
                // It may be the one that fails.
                let _ = compact_picked(store, roll, |number| (number + seed) % 3 != 0);
            }
        })];
        for id in ["x", "a"] {
            threads.push(go(&store, move |store| {
                let deleted = match id {
                    "a" => store.delete_prefix("K", "a").is_ok(),
                    _ => false,
                };
                let acknowledged = put_len(store, "x", 100, Durability::Sync).is_ok();
                assert!(!deleted || !has(store, "a"));
                assert!(!acknowledged || has(store, "x"));
            }));
        }
        all(threads);
        disk.clear_faults();
        let (a, x) = (has(&store, "a"), has(&store, "x"));
        for _ in 0..2 {
            let _ = compact_picked(&store, true, |_| true);
        }
        let _ = store.sync();
        assert_eq!((has(&store, "a"), has(&store, "x")), (a, x));
        let left = after_power_loss(&disk);
        assert!(!has(&left, "b") && has(&left, "c"));
        assert!(x <= has(&left, "x") && has(&left, "a") <= a);
        assert!(left.verify().unwrap().is_clean());
        let _ = store.close();
    });
}

#[test]
fn a_backup_beside_compaction_is_whole() {
    explore("a_backup_beside_compaction_is_whole", || {
        let store = started(&any_disk());
        let to = SimDisk::new();
        let compacts = go(&store, |store| (0..2).for_each(|_| compact_some(store)));
        let into = to.clone();
        let backs_up = go(&store, move |store| {
            for _ in 0..2 {
                store.backup_on(&into).expect("a backup");
            }
        });
        all(vec![compacts, backs_up]);
        let restored = SimDisk::new();
        Store::restore_on(&to, &restored).expect("a restore");
        let restored = look(&restored);
        assert!(has(&restored, "a") && has(&restored, "c") && !has(&restored, "b"));
        store.close().unwrap();
    });
}
