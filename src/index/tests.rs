//! What the index promises, case by case; [`model`] has the general case.

mod model;

use std::collections::BTreeMap;
use std::ops::Bound;

use super::points::{Points, Probe};
use super::*;
use crate::format::location::{Location, Place, SegmentId};

/// xorshift64*: the same sequence for the same seed, on every machine.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % n
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// Under miri, where a step takes a thousand times as long, a little has to do.
const INTERPRETED: bool = cfg!(miri);

#[test]
fn ids_in_order_fill_their_leaves() {
    let index = Index::new();
    let kind = index.kind_or_create("Agent");
    for n in 0..20_000u64 {
        let id = format!("agent-{n:020}");
        kind.put(kind.hashed(id.as_bytes()), location(n), None, n + 1, 0, index.snapshots());
    }
    kind.prepare_scan();
    let (entries, leaves) = kind.leaf_counts();
    assert_eq!(entries, 20_000);
    assert!(leaves <= entries / leaves::MAX_ENTRIES + 1, "{leaves} leaves");
}

#[test]
fn a_kind_that_shrinks_joins_its_leaves() {
    let index = Index::new();
    let kind = index.kind_or_create("Agent");
    let id = |n: u64| format!("agent-{n:020}");
    for n in 0..20_000 {
        kind.put(kind.hashed(id(n).as_bytes()), location(n), None, n + 1, 0, index.snapshots());
    }
    for n in (0..20_000).filter(|n| n % 100 != 0) {
        kind.delete(kind.hashed(id(n).as_bytes()), location(n), 20_001 + n, index.snapshots());
    }
    kind.prepare_scan();
    let (entries, leaves) = kind.leaf_counts();
    assert_eq!(entries, 200);
    assert!(leaves <= 20, "{leaves} leaves");
}

#[test]
fn an_empty_kind_is_small() {
    let index = Index::new();
    for n in 0..1000u64 {
        let kind = index.kind_or_create(&format!("Kind{n}"));
        kind.put(kind.hashed(b"only"), location(n), None, n + 1, 0, index.snapshots());
    }
    assert!(index.memory_bytes() < 1000 * 1600, "{} bytes", index.memory_bytes());
}

#[test]
fn the_longest_ids_fit_in_leaves() {
    let index = Index::new();
    let kind = index.kind_or_create("Agent");
    let id = |n: u64| format!("{n:05}{}", "x".repeat(65_530)).into_bytes();
    for n in 0..200 {
        kind.put(kind.hashed(&id(n * 7 % 200)), location(n), None, n + 1, 0, index.snapshots());
    }
    kind.prepare_scan();
    for n in 0..200 {
        assert_eq!(kind.find_ordered(&id(n * 7 % 200)), Some(location(n)));
    }
}

fn location(n: u64) -> Location {
    Location::new(SegmentId(1), n * 8, 8)
}

/// Hashes that agree in nearly all bits fill one shard and run into each other, also around the
/// end of the table.
#[test]
fn points_survive_collisions() {
    for seed in 1..=if INTERPRETED { 1 } else { 50 } {
        let mut random = Random::new(seed);
        let (points, mut model) = (Points::new(), BTreeMap::<u64, Vec<Place>>::new());
        for n in 0..if INTERPRETED { 300 } else { 3_000 } {
            let hash = match random.below(3) {
                0 => u64::from(u32::MAX) - random.below(20) as u64,
                1 => random.below(20) as u64,
                _ => random.below(1 << 32) as u64,
            };
            let places = model.entry(hash).or_default();
            let place = Place { segment: SegmentId(0), offset: n };
            match places.len() {
                1.. if random.one_in(2) || places.len() > 5 => {
                    let old = places.swap_remove(random.below(places.len()));
                    assert!(points.remove(hash, old));
                    assert!(!points.remove(hash, old));
                }
                1.. if random.one_in(2) => {
                    let at = random.below(places.len());
                    assert!(points.replace(hash, places[at], place));
                    places[at] = place;
                }
                _ => {
                    points.insert(hash, place);
                    places.push(place);
                }
            }
        }
        for (hash, places) in &mut model {
            let mut probe = Probe::new(*hash);
            let mut found: Vec<Place> = std::iter::from_fn(|| probe.next(&points)).collect();
            found.sort();
            places.sort();
            assert_eq!(&found, places);
        }
        assert_eq!(points.len(), model.values().map(Vec::len).sum::<usize>());
    }
}

/// A reader that has seen a stale slot must still find the live one behind it when the stale one is
/// cleaned away in between; and must not take a slot for live because the delete that hid it is
/// done.
#[test]
fn a_lookup_is_not_fooled_by_cleaning() {
    let index = Index::new();
    let kind = index.kind_or_create("Agent");
    kind.put(kind.hashed(b"a/1"), location(1), None, 1, 0, index.snapshots());
    drop(kind.delete_prefix(b"a/", 2, index.snapshots()));
    kind.put(kind.hashed(b"a/1"), location(3), None, 3, 0, index.snapshots());
    let mut lookup = kind.lookup(kind.hash(b"a/1"));
    assert_eq!(lookup.candidate(), Some(location(1).place));
    assert!(kind.clean(10));
    assert!(lookup.covered(b"a/1", 1));
    assert!(!lookup.covered(b"a/1", 3));
    assert_eq!(lookup.candidate(), Some(location(3).place));
    assert_eq!(lookup.candidate(), None);
}

/// A scan that is being prepared merges in steps, and in between a delete may take away all that
/// it still waits for: it once merged the first of no changes, a panic in the reader.
#[test]
fn settling_survives_a_delete_in_between() {
    for prefix in ["", "a"] {
        let index = Index::new();
        index.merger().attend(true);
        let kind = index.kind_or_create("Agent");
        let put = |n: u64| {
            kind.put(
                kind.hashed(format!("a{n}").as_bytes()),
                location(n),
                None,
                n,
                0,
                index.snapshots(),
            );
        };
        (0..5_000).for_each(put);
        kind.merge_some();
        assert!(kind.merges());
        let (count, garbage) = kind.delete_prefix(prefix.as_bytes(), 5_001, index.snapshots());
        drop(garbage);
        assert_eq!(count, 5_000);
        kind.merge_some();
        kind.merge_some();
        assert!(!kind.merges());
        kind.prepare_scan();
        assert_eq!(kind.leaf_counts(), (0, 0));
    }
}

/// A step of a scan looks at a bounded number of entries. Where none of so many was there at the
/// snapshot's revision, it must go on, not take that for the end.
#[test]
fn a_scan_passes_whatever_is_younger_than_it() {
    let index = Index::new();
    let kind = index.kind_or_create("Agent");
    let put = |id: &str, n: u64| {
        kind.put(kind.hashed(id.as_bytes()), location(n), None, n, 0, index.snapshots());
    };
    put("a", 1);
    put("z", 2);
    index.snapshots().register(2);
    (3..8_000).for_each(|n| put(&format!("m{n}"), n));
    let step = |bounds, reverse| {
        let mut chunk = Chunk::new();
        kind.fill(&mut chunk, 2, bounds, reverse, 10);
        chunk.last_id().map(<[u8]>::to_vec)
    };
    for _ in 0..2 {
        let after_a = (Bound::Excluded(&b"a"[..]), Bound::Unbounded);
        assert_eq!(step(after_a, false).as_deref(), Some(&b"z"[..]));
        let before_z = (Bound::Unbounded, Bound::Excluded(&b"z"[..]));
        assert_eq!(step(before_z, true).as_deref(), Some(&b"a"[..]));
        let between = (Bound::Excluded(&b"a"[..]), Bound::Excluded(&b"z"[..]));
        assert_eq!(step(between, false), None);
        // The same once more with all in the leaves.
        kind.prepare_scan();
    }
}

/// With a thread that merges, changes wait for nobody as long as that keeps up; if it doesn't come,
/// they see to it that what waits is bounded.
#[test]
fn runs_are_bounded_though_nobody_merges() {
    let index = Index::new();
    index.merger().attend(true);
    let kind = index.kind_or_create("Agent");
    let mut longest = 0;
    for n in 0..if INTERPRETED { 600 } else { 20_000 } {
        let id = format!("agent-{}", n * 7919 % 20_011);
        kind.put(kind.hashed(id.as_bytes()), location(n), None, n + 1, 0, index.snapshots());
        longest = longest.max(kind.fresh_len());
        assert!(kind.fresh_len() <= 4 * 128.max(n as usize / 16 + 1), "{} wait", kind.fresh_len());
    }
    assert!(longest > 128, "nothing was left to the thread: {longest}");
}

/// What lies in a short run reaches the leaves once nobody changes anything, not before.
#[test]
fn short_runs_are_merged_when_a_kind_is_idle() {
    let index = Index::new();
    index.merger().attend(true);
    let (idle, busy) = (index.kind_or_create("Idle"), index.kind_or_create("Busy"));
    let put = |kind: &Kind, n: u64| {
        let id = format!("{n}");
        kind.put(kind.hashed(id.as_bytes()), location(n), None, n, 0, index.snapshots());
    };
    (1..10).for_each(|n| put(idle, n));
    (1..10).for_each(|n| put(busy, n));
    index.merge_idle();
    assert_eq!((idle.leaf_counts().0, busy.leaf_counts().0), (0, 0));
    put(busy, 10);
    index.merge_idle();
    assert_eq!((idle.leaf_counts().0, busy.leaf_counts().0), (9, 0));
    index.merge_idle();
    assert_eq!((idle.leaf_counts().0, busy.leaf_counts().0), (9, 10));
}

/// Readers on another thread, while one thread changes everything: what is there from first to last
/// is found by every lookup, on either side, and by every scan, once. A third thread merges.
#[test]
fn readers_beside_a_writer_miss_nothing() {
    let index = Index::new();
    let kind = index.kind_or_create("Agent");
    let id = |n: u64| format!("{}/{n:05}", if n.is_multiple_of(10) { "keep" } else { "other" });
    let (keys, rounds) = if INTERPRETED { (300, 2) } else { (5_000, 20) };
    for n in 0..keys {
        kind.put(kind.hashed(id(n).as_bytes()), location(n), None, 1, 0, index.snapshots());
    }
    index.snapshots().register(1);
    index.merger().attend(true);
    std::thread::scope(|scope| {
        scope.spawn(|| index.merge_until_stopped());
        let writer = scope.spawn(|| {
            for round in 0..rounds {
                let revision = 2 + 2 * round;
                drop(kind.delete_prefix(b"other/", revision, index.snapshots()));
                for n in (0..keys).filter(|n| n % 10 != 0) {
                    let new = location(keys * (round + 1) + n);
                    kind.put(
                        kind.hashed(id(n).as_bytes()),
                        new,
                        None,
                        revision + 1,
                        0,
                        index.snapshots(),
                    );
                    if n % 50 == 1 {
                        kind.clean(100);
                    }
                }
            }
            let signals = &index.merger().signals;
            signals.raise(&signals.stop);
        });
        while !writer.is_finished() {
            for n in (0..keys).step_by(10) {
                let mut lookup = kind.lookup(kind.hash(id(n).as_bytes()));
                let found = std::iter::from_fn(|| lookup.candidate());
                assert!(found.take(100).any(|place| place == location(n).place));
                assert_eq!(kind.find_ordered(id(n).as_bytes()), Some(location(n)));
            }
            kind.prepare_scan();
            let (mut chunk, mut last, mut count) = (Chunk::new(), Vec::new(), 0);
            loop {
                let bounds = (Bound::Excluded(&last[..]), Bound::Unbounded);
                kind.fill(&mut chunk, 1, bounds, false, 97);
                for (found, place) in chunk.iter() {
                    let n: u64 =
                        str::from_utf8(found).unwrap().split_once('/').unwrap().1.parse().unwrap();
                    assert_eq!(place, location(n));
                }
                count += chunk.len();
                let Some(id) = chunk.last_id() else { break };
                last = id.to_vec();
            }
            assert_eq!(count as u64, keys);
        }
    });
}

/// Threads that add the same kinds in orders of their own, beside ones that look for them: each
/// name has one kind, and once it is found it is found for ever.
#[test]
fn a_kind_is_one_however_many_add_it() {
    let (names, rounds) = if INTERPRETED { (20, 1) } else { (400, 20) };
    for round in 0..rounds {
        let index = Index::new();
        let added: Vec<Vec<(usize, Arc<Kind>)>> = std::thread::scope(|scope| {
            let add = |thread: usize| {
                let index = &index;
                scope.spawn(move || {
                    let mut random = Random::new((round * 7 + thread) as u64);
                    let mut added = Vec::new();
                    for _ in 0..2 * names {
                        let n = random.below(names);
                        added.push((n, index.kind_or_create(&format!("Kind{n}")).clone()));
                        let (n, kind) = &added[random.below(added.len())];
                        let found = index.kind(&format!("Kind{n}")).expect("it was found before");
                        assert!(Arc::ptr_eq(found, kind));
                    }
                    added
                })
            };
            let threads: Vec<_> = (0..3).map(add).collect();
            threads.into_iter().map(|thread| thread.join().expect("it ends")).collect()
        });
        for (n, kind) in added.iter().flatten() {
            let name = format!("Kind{n}");
            assert_eq!(kind.name(), name);
            assert!(Arc::ptr_eq(index.kind(&name).expect("it was added"), kind));
        }
        let all = index.kinds();
        assert!(all.is_sorted_by(|a, b| a.name() < b.name()));
        let different: std::collections::BTreeSet<_> =
            added.iter().flatten().map(|a| a.0).collect();
        assert_eq!(all.len(), different.len());
        assert!(index.kind("Kind").is_none());
    }
}
