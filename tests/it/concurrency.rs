//! Many threads on one store: what each may rely on, whatever the others do.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Barrier, Mutex};
use std::thread;

use kindlog::{
    Batch, Durability, Error, Expect, KeyIter, Options, Result, ScanIter, Snapshot, Store,
};

use crate::support::{Agent, DURABILITIES, Medium, TestStore, pattern};

/// Long enough that threads meet in every way, short enough for every test run.
const ROUNDS: u64 = 300;

fn small_segments() -> TestStore {
    TestStore::on(Medium::native(), Options::new().segment_size(64 << 10))
}

fn number(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes"))
}

/// Says when the writers are done, also when one of them panics.
struct Done<'a>(&'a AtomicU64);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Release);
    }
}

#[test]
fn handles_go_from_thread_to_thread() {
    fn shared<T: Clone + Send + Sync + 'static>() {}
    fn sent<T: Send + 'static>() {}
    shared::<Store>();
    shared::<Snapshot>();
    shared::<kindlog::Scan>();
    shared::<kindlog::Resource>();
    shared::<kindlog::Collection<Agent>>();
    sent::<ScanIter>();
    sent::<KeyIter>();
    sent::<kindlog::CollectionIter<Agent>>();
    sent::<Batch>();
    fn error<T: std::error::Error + Send + Sync + 'static>() {}
    error::<Error>();
}

#[test]
fn scans_and_snapshots_see_all_of_a_batch_or_nothing_of_it() {
    const WRITERS: u64 = 3;
    const TOTAL: u64 = 1000;
    let store = small_segments();
    // Each writer moves amounts between keys of its own, which lie apart in the scan.
    let amounts = |writer: u64, round: u64| {
        let mut batch = Batch::new();
        if round % 7 == 3 {
            batch.delete_prefix("Account", &format!("c/{writer}"));
        }
        let (a, b) = (round * 13 % TOTAL, round * 7 % (TOTAL - round * 13 % TOTAL));
        for (place, amount) in [("a", a), ("b", b), ("c", TOTAL - a - b)] {
            let mut value = amount.to_le_bytes().to_vec();
            value.extend(pattern(round, (round * 31 % 600) as usize));
            batch.put("Account", &format!("{place}/{writer}"), value);
        }
        batch
    };
    for writer in 0..WRITERS {
        store.commit(amounts(writer, 0)).unwrap();
    }
    let running = AtomicU64::new(WRITERS);
    let sum = |iter: ScanIter| -> (u64, usize) {
        let values: Vec<u64> = iter.map(|r| number(&r.unwrap().data)).collect();
        (values.iter().sum(), values.len())
    };
    let whole = (WRITERS * TOTAL, WRITERS as usize * 3);
    let (store, running, sum) = (&*store, &running, &sum);
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            scope.spawn(move || {
                let _done = Done(running);
                for round in 1..ROUNDS {
                    let durability = DURABILITIES[((writer + round) % 3) as usize];
                    store.commit_with(amounts(writer, round), durability).unwrap();
                }
            });
        }
        scope.spawn(move || {
            while running.load(Ordering::Acquire) > 0 {
                assert_eq!(sum(store.scan("Account").iter()), whole, "a scan");
                assert_eq!(sum(store.scan("Account").reverse().iter()), whole, "a reverse scan");
                assert_eq!(store.count("Account").unwrap(), 3 * WRITERS);
            }
        });
        scope.spawn(move || {
            let mut last = 0;
            while running.load(Ordering::Acquire) > 0 {
                let snapshot = store.snapshot();
                assert!(u64::from(snapshot.revision()) >= last, "revisions go backwards");
                last = snapshot.revision().into();
                for _ in 0..3 {
                    assert_eq!(sum(snapshot.scan("Account").iter()), whole, "a snapshot's scan");
                }
                let ids = snapshot.scan("Account").keys().map(Result::unwrap);
                let read = |id: String| snapshot.get_resource("Account", &id).unwrap();
                let points = ids.map(|id| number(&read(id).expect("it was scanned").data));
                assert_eq!(points.sum::<u64>(), whole.0, "a snapshot's point reads");
            }
        });
    });
}

#[test]
fn a_batchs_keys_read_one_after_the_other_never_go_backwards() {
    let store = small_segments();
    let running = AtomicU64::new(2);
    let (store, running) = (&*store, &running);
    let keys = |writer: u64| [format!("{writer}/z"), format!("{writer}/a")];
    let put = |writer: u64, round: u64| {
        let mut batch = Batch::new();
        if round % 5 == 1 {
            batch.delete_kind(&format!("Pair{writer}"));
        }
        for id in keys(writer) {
            batch.put(&format!("Pair{writer}"), &id, round.to_le_bytes());
        }
        batch
    };
    for writer in 0..2 {
        store.commit(put(writer, 0)).unwrap();
    }
    thread::scope(|scope| {
        for writer in 0..2 {
            scope.spawn(move || {
                let _done = Done(running);
                for round in 1..2 * ROUNDS {
                    let durability = DURABILITIES[(round % 3) as usize];
                    store.commit_with(put(writer, round), durability).unwrap();
                }
            });
            scope.spawn(move || {
                let read = |id: &str| {
                    let found = store.get_resource(&format!("Pair{writer}"), id).unwrap();
                    number(&found.expect("it is in every batch").data)
                };
                let (mut last, [first, second]) = (0, keys(writer));
                while running.load(Ordering::Acquire) > 0 {
                    for id in [&first, &second, &first] {
                        let now = read(id);
                        assert!(now >= last, "{id} is at {now}, after {last} was seen");
                        last = now;
                    }
                }
            });
        }
    });
}

#[test]
fn commits_become_visible_in_the_order_of_revisions_without_gaps() {
    const WRITERS: u64 = 4;
    let store = small_segments();
    let base = u64::from(store.put("Other", "first", b"").unwrap());
    let running = AtomicU64::new(WRITERS);
    let (store, running) = (&*store, &running);
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            scope.spawn(move || {
                let _done = Done(running);
                let mut last = 0;
                for round in 0..ROUNDS {
                    let mut batch = Batch::new();
                    let id = format!("{writer}/{round:04}");
                    batch.put("Log", &id, pattern(round, (round * 17 % 900) as usize));
                    let durability = DURABILITIES[((writer + round) % 3) as usize];
                    let revision = u64::from(store.commit_with(batch, durability).unwrap());
                    assert!(revision > last, "{revision} after {last}");
                    last = revision;
                    let mine = store.get_resource("Log", &id).unwrap().expect("acknowledged");
                    assert_eq!(u64::from(mine.revision), revision);
                }
            });
        }
        for _ in 0..2 {
            scope.spawn(move || {
                while running.load(Ordering::Acquire) > 0 {
                    let snapshot = store.snapshot();
                    let revisions: BTreeSet<u64> =
                        snapshot.scan("Log").iter().map(|r| r.unwrap().revision.into()).collect();
                    let visible = base + 1..=u64::from(snapshot.revision());
                    assert!(revisions.into_iter().eq(visible), "each commit up to the last one");
                }
            });
        }
    });
    assert_eq!(store.count("Log").unwrap(), WRITERS * ROUNDS);
    assert_eq!(u64::from(store.snapshot().revision()), base + WRITERS * ROUNDS);
}

#[test]
fn writers_that_sync_share_fsyncs() {
    const WRITERS: u64 = 8;
    let store = TestStore::native();
    let start = Barrier::new(WRITERS as usize);
    let (handle, start) = (&*store, &start);
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            scope.spawn(move || {
                start.wait();
                for round in 0..100 {
                    handle.put("Log", &format!("{writer}/{round}"), pattern(round, 300)).unwrap();
                }
            });
        }
    });
    let stats = store.stats();
    assert_eq!(stats.commits, WRITERS * 100);
    assert!(stats.fsyncs < stats.commits, "{} fsyncs", stats.fsyncs);
}

#[test]
fn conditional_writers_lose_no_update() {
    const WRITERS: u64 = 4;
    const EACH: u64 = 60;
    let store = small_segments();
    let handle = &*store;
    let add = |durability: Durability| loop {
        // By hand, as `update` does it.
        let now = handle.get_resource("Counter", "by hand").unwrap();
        let expect = now.as_ref().map_or(Expect::Absent, |r| Expect::Revision(r.revision));
        let next = now.as_ref().map_or(0, |r| number(&r.data)) + 1;
        match handle.put_if("Counter", "by hand", expect, next.to_le_bytes()) {
            Ok(_) => return,
            Err(Error::Conflict { current }) => {
                assert_ne!(current, now.map(|r| r.revision), "what was expected is no conflict");
                let mut other = Batch::new();
                other.put("Other", "in between", b"");
                handle.commit_with(other, durability).unwrap();
            }
            Err(error) => panic!("{error}"),
        }
    };
    let taken = &Mutex::new(Vec::new());
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            let add = &add;
            scope.spawn(move || {
                for round in 0..EACH {
                    add(DURABILITIES[(writer % 3) as usize]);
                    let updated = handle.update("Counter", "updated", |old: Option<Agent>| {
                        let mut counter = old.unwrap_or_default();
                        counter.runs += 1;
                        Ok(counter)
                    });
                    taken.lock().unwrap().push(updated.unwrap().runs);
                    // Only one of all gets each name.
                    let id = format!("{round}");
                    match handle.put_if("Name", &id, Expect::Absent, writer.to_le_bytes()) {
                        Ok(_) => {
                            handle.put("Won", &format!("{round}/{writer}"), b"").unwrap();
                        }
                        Err(Error::Conflict { current: Some(_) }) => {
                            assert!(handle.contains("Name", &id).unwrap(), "as the answer says");
                        }
                        Err(error) => panic!("{error}"),
                    }
                }
            });
        }
    });
    let by_hand = store.get_resource("Counter", "by hand").unwrap().expect("counted");
    assert_eq!(number(&by_hand.data), WRITERS * EACH);
    let mut taken = taken.lock().unwrap().clone();
    taken.sort_unstable();
    assert!(taken.into_iter().eq(1..=WRITERS * EACH), "each number once");
    assert_eq!(store.count("Won").unwrap(), EACH);
}

/// Where a key was before the lock was had may be where it no longer is.
#[test]
fn a_key_that_several_make_and_delete_is_made_as_often_as_it_is_deleted() {
    const THREADS: u64 = 3;
    let store = small_segments();
    let (made, deleted, handle) = (&AtomicU64::new(0), &AtomicU64::new(0), &*store);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(move || {
                for round in 0..10 * ROUNDS {
                    let id = "a";
                    match round % 3 {
                        0 => match handle.put_if("Agent", id, Expect::Absent, b"") {
                            Ok(_) => made.fetch_add(1, Ordering::Relaxed),
                            Err(Error::Conflict { .. }) => 0,
                            Err(error) => panic!("{error}"),
                        },
                        1 => {
                            let existed = handle.delete("Agent", id).unwrap();
                            deleted.fetch_add(u64::from(existed), Ordering::Relaxed)
                        }
                        _ => u64::from(handle.contains("Agent", id).unwrap()),
                    };
                }
            });
        }
    });
    let left = store.count("Agent").unwrap();
    assert_eq!(store.scan("Agent").keys().count() as u64, left);
    let [made, deleted] = [made, deleted].map(|count| count.load(Ordering::Relaxed));
    assert!(made > THREADS, "they have met");
    assert_eq!(made, deleted + left);
}

#[test]
fn deletes_count_each_resource_once_however_they_race() {
    const WRITERS: u64 = 3;
    let store = small_segments();
    let (removed, running) = (&AtomicU64::new(0), &AtomicU64::new(WRITERS));
    let handle = &*store;
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            scope.spawn(move || {
                let _done = Done(running);
                for round in 0..ROUNDS {
                    let mut batch = Batch::new();
                    // Never the same id twice, so that what is put is new.
                    batch.put("Chunk", &format!("a/{writer}/{round}"), pattern(round, 100));
                    batch.put("Chunk", &format!("b/{writer}/{round}"), b"");
                    handle.commit_with(batch, DURABILITIES[(round % 3) as usize]).unwrap();
                    let existed = handle.delete("Chunk", &format!("a/{writer}/{}", round / 2));
                    removed.fetch_add(u64::from(existed.unwrap()), Ordering::Relaxed);
                }
            });
        }
        for prefix in ["a/", "a/1", "b/", ""] {
            scope.spawn(move || {
                while running.load(Ordering::Acquire) > 0 {
                    let count = handle.delete_prefix("Chunk", prefix).unwrap();
                    removed.fetch_add(count, Ordering::Relaxed);
                    thread::yield_now();
                }
            });
        }
    });
    let left = store.scan("Chunk").keys().count() as u64;
    assert_eq!(store.count("Chunk").unwrap(), left);
    assert_eq!(removed.load(Ordering::Relaxed) + left, 2 * WRITERS * ROUNDS);
}

#[test]
fn closing_in_the_middle_of_everything_keeps_all_that_was_acknowledged() {
    for durability in DURABILITIES {
        let options = Options::new().segment_size(64 << 10).durability(durability);
        let mut store = TestStore::on(Medium::native(), options);
        let acknowledged = &Mutex::new(Vec::new());
        let enough = &AtomicBool::new(false);
        let handle = (*store).clone();
        thread::scope(|scope| {
            for writer in 0..4_u64 {
                let handle = handle.clone();
                scope.spawn(move || {
                    for round in 0.. {
                        let id = format!("{writer}/{round}");
                        match handle.put("Log", &id, pattern(round, 500)) {
                            Ok(revision) => acknowledged.lock().unwrap().push((id, revision)),
                            Err(Error::Closed) => return,
                            Err(error) => panic!("{error}"),
                        }
                        if round == 50 {
                            enough.store(true, Ordering::Release);
                        }
                    }
                });
            }
            let reader = handle.clone();
            scope.spawn(move || {
                loop {
                    let scanned: Result<Vec<_>> = reader.scan("Log").iter().collect();
                    match (scanned, reader.count("Log"), reader.verify()) {
                        (Ok(_), Ok(_), Ok(report)) => assert!(report.is_clean(), "{report:?}"),
                        (Err(Error::Closed), ..)
                        | (_, Err(Error::Closed), _)
                        | (_, _, Err(Error::Closed)) => return,
                        other => panic!("{other:?}"),
                    }
                }
            });
            let closer = handle.clone();
            scope.spawn(move || {
                while !enough.load(Ordering::Acquire) {
                    thread::yield_now();
                }
                closer.close().expect("close");
            });
        });
        drop(handle);
        store.close();
        store.open();
        assert!(store.recovery().clean);
        let acknowledged = acknowledged.lock().unwrap();
        assert!(acknowledged.len() > 50);
        for (id, revision) in acknowledged.iter() {
            let found = store.get_resource("Log", id).unwrap().expect("acknowledged");
            assert_eq!(found.revision, *revision, "{id}");
        }
        assert_eq!(store.count("Log").unwrap(), acknowledged.len() as u64, "{durability:?}");
    }
}
