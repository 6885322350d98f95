//! What a store says of its dead bytes: how many there are, and why they are still there.

use std::time::Duration;

use kindlog::fuzzing::compact_picked;
use kindlog::{CompactionStats, Durability, MIN_SEGMENT_SIZE, Options, Store, WhyHeld};

use crate::support::{Medium, TestStore, pattern};

/// Compacts when it is told to.
fn by_hand() -> Options {
    let options = Options::new().segment_size(MIN_SEGMENT_SIZE).durability(Durability::Os);
    options.sync_interval(Duration::from_secs(3600)).space_bound(f64::INFINITY)
}

fn fill(store: &Store, seed: u64) {
    for n in 0..50 {
        store.put("Log", &format!("{n:02}"), pattern(n + seed, 500)).unwrap();
    }
}

/// Ends the segment that is written.
fn roll(store: &Store) {
    compact_picked(store, true, |_| false).unwrap();
}

/// The figures, after a look whether they add up.
fn figures(store: &Store) -> CompactionStats {
    let stats = store.stats().compaction;
    let pinned = |why: &WhyHeld| *why == WhyHeld::Pinned;
    let sum = |pins: bool| -> u64 {
        let held = stats.held.iter().filter(|held| pinned(&held.why) == pins);
        held.map(|held| held.dead_bytes).sum()
    };
    assert_eq!((sum(false), sum(true)), (stats.dead_bytes, stats.pinned_bytes), "{stats:?}");
    stats
}

/// The reasons for which a segment is held, and how many bytes for each.
fn held(store: &Store, segment: u32) -> Vec<(WhyHeld, u64)> {
    let held = figures(store).held.into_iter().filter(|held| held.segment == segment);
    held.map(|held| (held.why, held.dead_bytes)).collect()
}

#[test]
fn what_is_dead_waits_for_somebody_to_ask() {
    let mut store = TestStore::on(Medium::native(), by_hand());
    fill(&store, 0);
    assert_eq!(figures(&store).dead_bytes, 0);
    fill(&store, 1);
    assert!(matches!(*held(&store, 0), [(WhyHeld::Active, dead)] if dead > 25_000));
    roll(&store);
    assert!(matches!(*held(&store, 0), [(WhyHeld::AutomaticOff, dead)] if dead > 25_000));
    // A store with a bound says whether it is within it, and so does who only reads.
    let read_only = by_hand().read_only(true);
    let bounds = [(1.5, WhyHeld::BelowBound), (f64::INFINITY, WhyHeld::AutomaticOff)];
    for (bound, why) in bounds {
        let reader = store.try_open_with(&read_only.clone().space_bound(bound)).unwrap();
        assert_eq!(held(&reader, 0).first().map(|(why, _)| why), Some(&why));
    }
    let runs = figures(&store).runs;
    store.compact().unwrap();
    let stats = figures(&store);
    assert_eq!((stats.runs, stats.running), (runs + 1, false), "{stats:?}");
    assert!(stats.dead_bytes < 100, "a watermark: {stats:?}");
    assert!(stats.failure.is_none(), "{stats:?}");
    assert!((25_000..30_000).contains(&stats.copied_bytes), "{stats:?}");
    assert!(stats.reclaimed_bytes > stats.copied_bytes + 25_000, "{stats:?}");
    store.reopen();
    assert_eq!(figures(&store).runs, 0, "since the store was opened");
}

#[test]
fn a_store_over_its_bound_says_that_it_is_due() {
    let mut store = TestStore::on(Medium::native(), by_hand());
    (0..10).for_each(|round| fill(&store, round));
    store.close();
    let reader = store.try_open_with(&Options::new().read_only(true)).unwrap();
    assert_eq!(held(&reader, 0).first().map(|(why, _)| why), Some(&WhyHeld::Due));
    store.open();
}

#[test]
fn tombstones_name_the_segments_that_need_them() {
    let store = TestStore::on(Medium::native(), by_hand());
    fill(&store, 0);
    roll(&store);
    assert_eq!(store.delete_prefix("Log", "1").unwrap(), 10);
    assert!(store.delete("Log", "20").unwrap());
    roll(&store);
    compact_picked(&store, false, |number| number == 1).unwrap();
    let copy = figures(&store).held.last().expect("a copy of the tombstones").clone();
    assert_eq!(copy.why, WhyHeld::Tombstones { needed_by: vec![0] });
    assert!(copy.dead_bytes < 200);
    assert!(matches!(*held(&store, 0), [(WhyHeld::AutomaticOff, dead)] if dead > 5_500));
    store.compact().unwrap();
    let stats = figures(&store);
    assert!(stats.held.iter().all(|held| held.why == WhyHeld::Active), "{stats:?}");
}

#[test]
fn damage_and_snapshots_are_told_of() {
    let mut store = TestStore::on(Medium::native(), by_hand()).unverified();
    fill(&store, 0);
    roll(&store);
    let (file, offset) = store.places_of(&pattern(33, 500)).remove(0);
    store.corrupt(&file, offset);
    let snapshot = store.snapshot();
    fill(&store, 100);
    store.put("Log", "33", pattern(33, 500)).unwrap();
    roll(&store);
    store.compact().unwrap();
    assert!(held(&store, 0).iter().all(|(why, _)| *why == WhyHeld::Pinned), "nobody needs it");
    assert!(figures(&store).pinned_bytes > 50_000);
    drop(snapshot);
    assert_eq!(figures(&store).pinned_bytes, 0);

    let (file, offset) = store.places_of(&pattern(33, 500)).remove(0);
    let segment = u32::from_str_radix(&file[..8], 16).unwrap();
    store.corrupt(&file, offset);
    store.delete("Log", "01").unwrap();
    store.compact().unwrap();
    match &*held(&store, segment) {
        [(WhyHeld::Damaged { reason }, dead)] => {
            assert!(reason.starts_with("at byte "), "{reason}");
            assert!(*dead > 20_000, "all but the damaged record has moved");
        }
        other => panic!("{other:?}"),
    }
    store.close();
}
