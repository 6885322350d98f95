//! Readers beside writers: all of a commit or nothing, and never an older state after a newer one.

use super::*;

const TOTAL: u64 = 100;

/// Two accounts of a writer, whose amounts make `TOTAL`; the first also says which round it is.
fn transfer(writer: u64, round: u64, deletes: bool) -> Batch {
    let mut batch = Batch::new();
    if deletes {
        batch.delete_prefix("K", &format!("b/{writer}"));
    }
    let amount = |n: u64| n.to_le_bytes();
    batch.put("K", &format!("a/{writer}"), amount(round));
    batch.put("K", &format!("b/{writer}"), amount(TOTAL - round));
    batch
}

fn amount(data: &[u8]) -> u64 {
    u64::from_le_bytes(data.try_into().expect("eight bytes"))
}

fn started(disk: &SimDisk) -> Store {
    let store = open(disk);
    for writer in 0..2 {
        store.commit_with(transfer(writer, 0, false), Durability::Os).unwrap();
    }
    store
}

fn writers(store: &Store) -> Vec<JoinHandle<()>> {
    let writers = (0..2).map(|writer| {
        go(store, move |store| {
            for round in 1..3 {
                let batch = transfer(writer, round, below(2) == 0);
                store.commit_with(batch, any_durability()).unwrap();
            }
        })
    });
    writers.collect()
}

fn ended(store: &Store) {
    for id in ["a/0", "a/1"] {
        assert_eq!(amount(&store.get_resource("K", id).unwrap().expect("there").data), 2);
    }
    assert!(store.verify().unwrap().is_clean());
    store.close().unwrap();
}

#[test]
fn point_reads_never_go_backwards_nor_miss_a_key() {
    explore("point_reads_never_go_backwards_nor_miss_a_key", || {
        let store = started(&any_disk());
        let mut threads = writers(&store);
        for writer in 0..2 {
            threads.push(go(&store, move |store| {
                let mut last = 0;
                for place in ["a", "b", "a", "b"] {
                    let found = store.get_resource("K", &format!("{place}/{writer}")).unwrap();
                    let found = amount(&found.expect("it is in every batch").data);
                    let round = if place == "a" { found } else { TOTAL - found };
                    assert!(round >= last, "{place} is at {round}, after {last} was seen");
                    last = round;
                }
                assert!(has(store, &format!("b/{writer}")));
                assert_eq!(store.count("K").unwrap(), 4);
            }));
        }
        all(threads);
        ended(&store);
    });
}

#[test]
fn scans_see_all_of_a_batch_or_nothing() {
    explore("scans_see_all_of_a_batch_or_nothing", || {
        let store = started(&any_disk());
        let mut threads = writers(&store);
        threads.push(go(&store, |store| {
            for _ in 0..2 {
                let whole = store.scan("K").iter().map(|r| amount(&r.unwrap().data));
                assert_eq!(whole.sum::<u64>(), 2 * TOTAL);
            }
            let backwards = store.scan("K").reverse().iter().map(|r| amount(&r.unwrap().data));
            assert_eq!(backwards.sum::<u64>(), 2 * TOTAL);
        }));
        all(threads);
        ended(&store);
    });
}

#[test]
fn a_snapshot_stays_as_it_was_by_scan_and_by_point() {
    explore("a_snapshot_stays_as_it_was_by_scan_and_by_point", || {
        let store = started(&any_disk());
        let mut threads = writers(&store);
        for _ in 0..2 {
            threads.push(go(&store, |store| {
                let mut last = 0;
                for _ in 0..2 {
                    let snapshot = store.snapshot();
                    assert!(u64::from(snapshot.revision()) >= last);
                    last = snapshot.revision().into();
                    let point = |id: &str| {
                        let found = snapshot.get_resource("K", id).unwrap();
                        amount(&found.expect("it is in every batch").data)
                    };
                    let points = ["a/0", "a/1", "b/0", "b/1"].map(point);
                    assert_eq!(points.iter().sum::<u64>(), 2 * TOTAL);
                    let scanned = snapshot.scan("K").iter().map(|r| amount(&r.unwrap().data));
                    assert_eq!(scanned.collect::<Vec<_>>(), points);
                }
            }));
        }
        all(threads);
        ended(&store);
    });
}

/// Prefix deletes leave slots in the point tables, which the background clears while the same ids
/// are put again and looked up.
#[test]
fn clearing_what_was_deleted_hides_nothing_that_is_there() {
    explore("clearing_what_was_deleted_hides_nothing_that_is_there", || {
        let store = open(&any_disk());
        let fill = |store: &Store, round: u8| {
            let mut batch = Batch::new();
            batch.delete_kind("K");
            for i in 0..3 {
                batch.put("K", &format!("{i}"), [round]);
            }
            store.commit_with(batch, Durability::Os).unwrap();
        };
        fill(&store, 0);
        let writer = go(&store, move |store| (1..4).for_each(|round| fill(store, round)));
        let reader = go(&store, |store| {
            let mut last = 0;
            for id in ["0", "1", "2", "1", "0"] {
                let found = store.get_resource("K", id).unwrap().expect("in every batch");
                assert!(found.data[0] >= last);
                last = found.data[0];
                assert_eq!(store.count("K").unwrap(), 3);
            }
        });
        all(vec![writer, reader]);
        assert!(store.verify().unwrap().is_clean());
        store.close().unwrap();
    });
}
