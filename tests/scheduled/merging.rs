//! The thread that merges changes into the index's leaves, beside changes, lookups and scans. In
//! these builds three changes are a long run.

use std::ops::Bound;
use std::sync::Arc;

use super::*;
use crate::format::location::{Location, SegmentId};
use crate::index::{Chunk, Index, Kind};
use crate::sync::Mutex;

fn location(n: u64) -> Location {
    Location::new(SegmentId(1), n * 8, 8)
}

/// The index as the engine uses it, without an engine.
struct Merged {
    index: Index,
    kind: Arc<Kind>,
    /// Stands for the apply lock; the last revision.
    applied: Mutex<u64>,
}

impl Merged {
    fn new() -> Arc<Merged> {
        let index = Index::new();
        index.merger().attend(true);
        let kind = index.kind_or_create("K").clone();
        Arc::new(Merged { index, kind, applied: Mutex::new(0) })
    }

    fn put(&self, id: &str, at: u64, old: Option<u64>) {
        let mut applied = self.applied.lock();
        *applied += 1;
        let (id, old) = (self.kind.hashed(id.as_bytes()), old.map(location));
        self.kind.put(id, location(at), old, *applied, 0, self.index.snapshots());
    }

    fn delete_prefix(&self, prefix: &str) -> u64 {
        let mut applied = self.applied.lock();
        *applied += 1;
        let counted = self.kind.count_prefix(prefix.as_bytes());
        let snapshots = self.index.snapshots();
        let (count, garbage) = self.kind.delete_prefix(prefix.as_bytes(), *applied, snapshots);
        drop(garbage);
        assert_eq!(count, counted);
        count
    }

    /// How many ids a scan finds, and how many there are when it begins.
    fn scan(&self) -> (u64, u64) {
        let (revision, generation, count) = {
            let applied = self.applied.lock();
            (*applied, self.index.snapshots().register(*applied), self.kind.count())
        };
        self.kind.prepare_scan();
        let (mut chunk, mut found, mut last) = (Chunk::new(), 0, Vec::new());
        loop {
            let bounds = (Bound::Excluded(&last[..]), Bound::Unbounded);
            self.kind.fill(&mut chunk, revision, bounds, false, 3);
            let Some(id) = chunk.last_id() else { break };
            found += chunk.len() as u64;
            last = id.to_vec();
        }
        self.index.snapshots().release(revision, generation);
        (found, count)
    }
}

/// Runs `work` beside the thread that merges, each on a thread of its own.
fn beside_merging(merged: &Arc<Merged>, work: Vec<fn(&Merged)>) {
    let merger = {
        let merged = merged.clone();
        thread::spawn(move || merged.index.merge_until_stopped())
    };
    let spawn = |work: fn(&Merged)| {
        let merged = merged.clone();
        thread::spawn(move || work(&merged))
    };
    all(work.into_iter().map(spawn).collect());
    let signals = &merged.index.merger().signals;
    signals.raise(&signals.stop);
    merger.join().expect("it ends");
}

#[test]
fn a_key_is_found_wherever_it_is_on_its_way() {
    explore("a_key_is_found_wherever_it_is_on_its_way", || {
        let merged = Merged::new();
        for n in 0..2 {
            merged.put(&format!("a/{n}"), n, None);
        }
        let writer = |merged: &Merged| {
            for n in 0..8 {
                merged.put(&format!("b/{n}"), 100 + n, None);
                // Goes from place to place in the log, and is never away.
                merged.put("a/1", 200 + n, Some(if n == 0 { 1 } else { 199 + n }));
            }
        };
        let reader = |merged: &Merged| {
            let mut last = 0;
            for _ in 0..6 {
                assert_eq!(merged.kind.find_ordered(b"a/0"), Some(location(0)));
                let now = merged.kind.find_ordered(b"a/1").expect("it was put before");
                let now = now.place.offset_bytes() / 8;
                assert!(now >= last, "at {now} after it was seen at {last}");
                last = now;
            }
        };
        beside_merging(&merged, vec![writer, reader]);
        assert_eq!(merged.scan(), (10, 10));
    });
}

#[test]
fn a_scan_sees_all_that_was_there_when_it_began() {
    explore("a_scan_sees_all_that_was_there_when_it_began", || {
        let merged = Merged::new();
        merged.put("a", 0, None);
        let writer = |merged: &Merged| {
            for n in 0..7 {
                merged.put(&format!("b/{}", n * 5 % 7), 100 + n, None);
            }
            assert_eq!(merged.delete_prefix("b/"), 7);
            for n in 0..5 {
                merged.put(&format!("b/{n}"), 200 + n, None);
            }
        };
        let scanner = |merged: &Merged| {
            for _ in 0..3 {
                let (found, count) = merged.scan();
                assert_eq!(found, count);
            }
        };
        beside_merging(&merged, vec![writer, scanner]);
        assert_eq!(merged.scan(), (6, 6));
        assert_eq!(merged.delete_prefix(""), 6);
    });
}

/// A thread that is told is not told for nothing: what was long is merged in the end, and what
/// stays short is, too, when the store has been idle for a while.
#[test]
fn all_is_merged_in_the_end() {
    explore("all_is_merged_in_the_end", || {
        let merged = Merged::new();
        let writer = |merged: &Merged| {
            (0..4 + below(4)).for_each(|n| merged.put(&format!("{n}"), n, None));
            while !merged.kind.is_settled() {
                thread::yield_now();
            }
        };
        beside_merging(&merged, vec![writer]);
    });
}

#[test]
fn a_store_scans_counts_and_finds_while_it_merges() {
    explore("a_store_scans_counts_and_finds_while_it_merges", || {
        let store = options().durability(any_durability()).open_on(&any_disk()).unwrap();
        let writer = go(&store, |store| {
            for n in 0..5 {
                put(store, &format!("a/{n}"), any_durability()).unwrap();
                assert_eq!(store.scan("K").prefix("a/").keys().count(), n + 1);
            }
            assert_eq!(store.delete_prefix("K", "a/").unwrap(), 5);
            // Its slot in the point table is still there, perhaps.
            assert!(!has(store, "a/3"));
            put(store, "a/3", any_durability()).unwrap();
            assert!(has(store, "a/3"));
        });
        let other = go(&store, |store| {
            for n in 0..4 {
                put(store, &format!("b/{n}"), any_durability()).unwrap();
                assert!(has(store, &format!("b/{n}")));
            }
        });
        all(vec![writer, other]);
        assert_eq!(store.scan("K").keys().count(), 5);
        assert!(store.verify().unwrap().is_clean());
        store.close().unwrap();
    });
}
