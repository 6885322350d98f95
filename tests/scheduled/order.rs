//! Commits among each other: durable when acknowledged, visible in order, decided one by one.

use super::*;
use crate::Expect;

/// Every commit puts a new key, so what is visible has as many as there were revisions.
#[test]
fn acknowledged_commits_are_durable_and_visible_in_order() {
    explore("acknowledged_commits_are_durable_and_visible_in_order", || {
        let disk = any_disk();
        let store = open(&disk);
        let base = u64::from(put(&store, "first", Durability::Os).unwrap());
        let mut threads = Vec::new();
        for writer in 0..3 {
            let disk = disk.clone();
            threads.push(go(&store, move |store| {
                let mut last = 0;
                for round in 0..2 {
                    let (id, durability) = (format!("{writer}/{round}"), any_durability());
                    let revision = u64::from(put(store, &id, durability).unwrap());
                    assert!(revision > last, "{revision} after {last}");
                    last = revision;
                    assert!(has(store, &id), "{id} was acknowledged");
                    match durability {
                        Durability::Sync => assert!(has(&after_power_loss(&disk), &id), "{id}"),
                        Durability::Os => assert!(has(&look(&disk.kill(0)), &id), "{id}"),
                        _ => {}
                    }
                }
            }));
        }
        threads.push(go(&store, move |store| {
            let mut last = 0;
            for _ in 0..3 {
                let snapshot = store.snapshot();
                let visible = u64::from(snapshot.revision());
                assert!(visible >= last, "revisions go backwards");
                last = visible;
                let count = snapshot.scan("K").keys().count() as u64;
                assert_eq!(count, visible - base + 1, "each commit up to the last one");
                assert!(store.count("K").unwrap() >= count);
            }
        }));
        all(threads);
        assert_eq!(store.count("K").unwrap(), 7);
        store.sync().unwrap();
        assert_eq!(after_power_loss(&disk).count("K").unwrap(), 7);
        assert!(store.verify().unwrap().is_clean());
        store.close().unwrap();
    });
}

#[test]
fn a_sync_makes_weak_commits_durable() {
    explore("a_sync_makes_weak_commits_durable", || {
        let disk = any_disk();
        let store = open(&disk);
        let mut threads = Vec::new();
        for writer in 0..2 {
            let disk = disk.clone();
            threads.push(go(&store, move |store| {
                // Two in one segment are too many: a roll comes in between.
                for round in 0..2 {
                    let id = format!("{writer}/{round}");
                    put_len(store, &id, 30_000, Durability::Buffered).unwrap();
                }
                store.sync().unwrap();
                let left = after_power_loss(&disk);
                assert!(has(&left, &format!("{writer}/0")) && has(&left, &format!("{writer}/1")));
            }));
        }
        all(threads);
        store.close().unwrap();
        assert_eq!(look(&disk).count("K").unwrap(), 4);
    });
}

#[test]
fn of_conditional_puts_exactly_one_wins() {
    explore("of_conditional_puts_exactly_one_wins", || {
        let disk = any_disk();
        let store = options().durability(any_durability()).open_on(&disk).unwrap();
        let before = below(2);
        if before == 1 {
            store.put("K", "a", b"there before").unwrap();
        }
        let deletes = go(&store, |store| u64::from(store.delete("K", "a").unwrap()));
        let puts = (0..3).map(|_| {
            go(&store, |store| match store.put_if("K", "a", Expect::Absent, b"mine") {
                Ok(revision) => {
                    // Only the delete can take it away.
                    let now = store.get_resource("K", "a").unwrap().map(|found| found.revision);
                    assert!(now.is_none_or(|now| now >= revision));
                    1
                }
                Err(Error::Conflict { current: Some(_) }) => 0,
                Err(error) => panic!("{error}"),
            })
        });
        let puts: Vec<_> = puts.collect();
        let (won, deleted) = (all(puts).into_iter().sum::<u64>(), deletes.join().unwrap());
        let left = store.count("K").unwrap();
        // Whatever was there at any time was deleted or is there still.
        assert_eq!(before + won, deleted + left);
        store.close().unwrap();
        assert_eq!(look(&disk).count("K").unwrap(), left);
    });
}

#[test]
fn counting_by_expected_revisions_loses_nothing() {
    explore("counting_by_expected_revisions_loses_nothing", || {
        let disk = any_disk();
        let store = options().durability(any_durability()).open_on(&disk).unwrap();
        let count = |store: &Store| -> u64 {
            let found = store.get_resource("K", "counter").unwrap();
            found.map_or(0, |found| u64::from(found.data[0]))
        };
        let threads = (0..2).map(|_| {
            go(&store, move |store| {
                let mut added = 0;
                while added < 2 {
                    let found = store.get_resource("K", "counter").unwrap();
                    let expect =
                        found.as_ref().map_or(Expect::Absent, |f| Expect::Revision(f.revision));
                    let next = found.as_ref().map_or(0, |found| found.data[0]) + 1;
                    match store.put_if("K", "counter", expect, [next]) {
                        Ok(_) => added += 1,
                        Err(Error::Conflict { current }) => {
                            assert_ne!(current, found.map(|found| found.revision));
                        }
                        Err(error) => panic!("{error}"),
                    }
                }
            })
        });
        all(threads.collect());
        assert_eq!(count(&store), 4);
        store.close().unwrap();
        assert_eq!(count(&look(&disk)), 4);
    });
}

#[test]
fn deletes_of_a_kind_count_each_resource_once() {
    explore("deletes_of_a_kind_count_each_resource_once", || {
        let disk = any_disk();
        let store = options().durability(any_durability()).open_on(&disk).unwrap();
        let mut threads = Vec::new();
        for writer in 0..2 {
            threads.push(go(&store, move |store| {
                put(store, &format!("{writer}/0"), any_durability()).unwrap();
                put(store, &format!("{writer}/1"), any_durability()).unwrap();
                u64::from(store.delete("K", &format!("{writer}/0")).unwrap())
            }));
        }
        threads.push(go(&store, |store| store.delete_kind("K").unwrap()));
        threads.push(go(&store, |store| {
            store.delete_prefix("K", "1/").unwrap() + store.delete_prefix("K", "0").unwrap()
        }));
        let removed: u64 = all(threads).into_iter().sum();
        let left = store.count("K").unwrap();
        assert_eq!(removed + left, 4);
        assert_eq!(store.scan("K").keys().count() as u64, left);
        assert!(store.verify().unwrap().is_clean());
        store.close().unwrap();
        assert_eq!(look(&disk).count("K").unwrap(), left);
    });
}
