//! Read-only handles that an owner overtakes: whatever it does between any two looks of theirs at
//! the disk, they see a state that was, no older than what was durable when they began.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

use kindlog::disk::sim::{ENOSPC, Fault, OpKind, SimDisk};
use kindlog::fuzzing::compact_picked;
use kindlog::{Batch, Durability, MIN_SEGMENT_SIZE, Options, Store};

/// Compacts, and syncs, when it is told to.
fn by_hand() -> Options {
    let options = Options::new().segment_size(MIN_SEGMENT_SIZE).durability(Durability::Os);
    options.sync_interval(Duration::from_secs(3600)).space_bound(f64::INFINITY)
}

fn look(disk: &SimDisk) -> Store {
    by_hand().read_only(true).open_on(disk).unwrap()
}

/// Each commit puts its number under two keys.
fn commit(store: &Store, number: u8, durability: Durability) {
    let mut batch = Batch::new();
    batch.put("K", "a", [number; 20]).put("K", "b", [number; 15_000]);
    store.commit_with(batch, durability).unwrap();
}

/// The number of the last commit seen.
fn shown(store: &Store) -> u8 {
    let numbers: Vec<u8> = store.scan("K").iter().map(|r| r.unwrap().data[0]).collect();
    assert!(numbers.len() == 2 && numbers[0] == numbers[1], "half a commit: {numbers:?}");
    numbers[0]
}

/// What an owner does. It ends with commit 9, which is durable then.
type Deed = fn(&SimDisk, Option<Store>) -> Option<Store>;

fn roll(store: &Store) {
    compact_picked(store, true, |_| false).unwrap();
}

fn compact(store: &Store) {
    compact_picked(store, true, |_| true).unwrap();
}

fn last(store: &Store) {
    commit(store, 9, Durability::Sync);
}

const BESIDE: [(&str, Deed); 8] = [
    ("commits", |_, store| store.inspect(last)),
    ("ends a segment", |_, store| {
        store.inspect(|store| {
            roll(store);
            last(store);
        })
    }),
    ("fills segments", |_, store| {
        store.inspect(|store| {
            (4..9).for_each(|number| commit(store, number, Durability::Os));
            last(store);
        })
    }),
    ("compacts", |_, store| {
        store.inspect(|store| {
            compact(store);
            last(store);
        })
    }),
    ("compacts twice", |_, store| {
        store.inspect(|store| {
            compact(store);
            last(store);
            compact(store);
        })
    }),
    ("fails and heals", |disk, store| {
        let is_log = |kind: OpKind, file: &str| kind == OpKind::Write && file.ends_with(".seg");
        disk.fail_when(is_log, 0, Fault::ShortWrite { bytes: 15_100, code: ENOSPC });
        store.inspect(|store| {
            let mut batch = Batch::new();
            batch.put("K", "a", [7; 20]).put("K", "b", [7; 15_000]).put("K", "c", [7; 9]);
            assert!(store.commit_with(batch, Durability::Sync).is_err());
            last(store);
        })
    }),
    ("goes", |_, store| {
        store.inspect(|store| {
            last(store);
            store.close().unwrap();
        });
        None
    }),
    ("goes and comes", |disk, store| {
        drop(store);
        let store = by_hand().open_on(disk).unwrap();
        compact(&store);
        last(&store);
        Some(store)
    }),
];

const COMES: [(&str, Deed); 4] = [
    ("comes", |disk, _| {
        let store = by_hand().open_on(disk).unwrap();
        last(&store);
        Some(store)
    }),
    ("comes and goes", |disk, _| {
        last(&by_hand().open_on(disk).unwrap());
        None
    }),
    ("comes and goes twice", |disk, _| {
        drop(by_hand().open_on(disk).unwrap());
        last(&by_hand().open_on(disk).unwrap());
        None
    }),
    ("comes and compacts", |disk, _| {
        let store = by_hand().open_on(disk).unwrap();
        compact(&store);
        last(&store);
        compact(&store);
        Some(store)
    }),
];

/// The deed is done between two looks of a reader, any two of them.
fn overtake(what: &str, deed: Deed, prepare: fn() -> (SimDisk, Option<Store>)) -> u64 {
    for at in 0.. {
        let (disk, store) = prepare();
        let reader = look(&disk);
        let before = (shown(&reader), reader.snapshot().revision());
        let (looks, done) = (AtomicU64::new(0), Arc::new(AtomicBool::new(false)));
        let is_it = move |kind: OpKind, _: &str| {
            let is_look = matches!(kind, OpKind::Open | OpKind::Read);
            is_look && looks.fetch_add(1, Ordering::Relaxed) == at
        };
        let (owned, says, (gives, takes)) = (disk.clone(), done.clone(), channel());
        disk.hold_up(is_it, move || {
            let store = deed(&owned, store);
            says.store(true, Ordering::Relaxed);
            gives.send(store).unwrap();
        });
        reader.refresh().unwrap_or_else(|e| panic!("{what}, before look {at}: {e}"));
        if !done.load(Ordering::Relaxed) {
            return at;
        }
        let store = takes.recv().unwrap();
        let now = (shown(&reader), reader.snapshot().revision());
        assert!(now >= before, "{what}, before look {at}: {now:?} after {before:?}");
        let report = reader.verify().unwrap();
        assert!(report.is_clean(), "{what}, before look {at}: {:?}", report.problems);
        let (backup, restored) = (SimDisk::new(), SimDisk::new());
        let made = reader.backup_on(&backup);
        made.unwrap_or_else(|e| panic!("{what}, before look {at}: {e}"));
        Store::restore_on(&backup, &restored).unwrap();
        assert_eq!(shown(&look(&restored)), now.0, "{what}, before look {at}");
        reader.refresh().unwrap();
        assert_eq!(shown(&reader), 9, "{what}, before look {at}");
        drop(store);
        assert_eq!(shown(&look(&disk)), 9, "{what}, before look {at}");
    }
    unreachable!()
}

#[test]
fn a_reader_beside_an_owner_may_be_overtaken_anywhere() {
    for (what, deed) in BESIDE {
        let looks = overtake(what, deed, || {
            let disk = SimDisk::new();
            let store = by_hand().open_on(&disk).unwrap();
            commit(&store, 1, Durability::Os);
            roll(&store);
            commit(&store, 2, Durability::Sync);
            (disk, Some(store))
        });
        assert!(looks > 5, "{looks}");
    }
}

#[test]
fn a_reader_without_an_owner_may_be_overtaken_anywhere() {
    for (what, deed) in COMES {
        for clean in [false, true] {
            let prepare: fn() -> (SimDisk, Option<Store>) = match clean {
                true => || (left(true), None),
                false => || (left(false), None),
            };
            overtake(what, deed, prepare);
        }
    }
}

/// What an owner leaves.
fn left(clean: bool) -> SimDisk {
    let disk = SimDisk::new();
    let store = by_hand().open_on(&disk).unwrap();
    commit(&store, 1, Durability::Sync);
    roll(&store);
    commit(&store, 2, Durability::Sync);
    commit(&store, 3, Durability::Os);
    if !clean {
        return disk.kill(0);
    }
    store.close().unwrap();
    disk
}
