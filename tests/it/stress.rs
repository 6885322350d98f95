//! Everything at once on a real disk, with real threads: whoever reads, in whichever way, finds the
//! sums that the batches keep, through rolled and compacted segments, prefix deletes and long-lived
//! snapshots.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use kindlog::{Batch, Durability, Expect, Options, ReadMode, Resource, Result, Snapshot, Store};

use crate::support::{DURABILITIES, Medium, TestStore, pattern};

const WRITERS: u64 = 3;
/// Of each writer.
const ACCOUNTS: u64 = 4;
/// What a writer's accounts hold together.
const TOTAL: u64 = 1_000_000;

/// How many batches each writer commits.
fn rounds() -> u64 {
    match std::env::var_os("KINDLOG_FULL").is_some_and(|value| value == "1") {
        true => 20_000,
        false => 150,
    }
}

fn account(writer: u64, n: u64) -> String {
    // A writer's accounts lie apart in the scan.
    format!("{n}/{writer}")
}

/// The round, the amount, and bytes that both give, so that a wrong record shows.
fn value(writer: u64, round: u64, amount: u64) -> Vec<u8> {
    let mut value = round.to_le_bytes().to_vec();
    value.extend(amount.to_le_bytes());
    value.extend(pattern(writer + round, (round * 37 % 900) as usize));
    value
}

fn read(resource: &Resource) -> (u64, u64) {
    let number =
        |at: usize| u64::from_le_bytes(resource.data[at..at + 8].try_into().expect("eight bytes"));
    let (round, amount) = (number(0), number(8));
    let writer = resource.id.rsplit('/').next().and_then(|w| w.parse().ok()).expect("a writer");
    assert!(resource.data == value(writer, round, amount), "{resource:?}");
    (round, amount)
}

/// A writer's accounts, divided anew.
fn divide(writer: u64, round: u64) -> Batch {
    let mut batch = Batch::new();
    if round % 7 == 3 {
        for n in 0..ACCOUNTS {
            batch.delete_prefix("Account", &account(writer, n));
        }
    }
    let mut left = TOTAL;
    for n in 0..ACCOUNTS {
        let amount = match n + 1 == ACCOUNTS {
            true => left,
            false => (round * 7919 + n * 104_729) % left.max(1),
        };
        left -= amount;
        batch.put("Account", &account(writer, n), value(writer, round, amount));
    }
    batch
}

/// All accounts add up, and each writer's are of one round.
fn check_whole(resources: impl Iterator<Item = Result<Resource>>) -> Vec<(String, u64)> {
    let (mut sum, mut rounds) = (0, Vec::new());
    for resource in resources {
        let resource = resource.expect("a sound resource");
        let (round, amount) = read(&resource);
        sum += amount;
        rounds.push((resource.id.to_string(), round));
    }
    assert_eq!(sum, WRITERS * TOTAL);
    assert_eq!(rounds.len() as u64, WRITERS * ACCOUNTS);
    for writer in 0..WRITERS {
        let ending = format!("/{writer}");
        let mut of_one = rounds.iter().filter(|(id, _)| id.ends_with(&ending)).map(|(_, r)| r);
        let first = of_one.next();
        assert!(of_one.all(|round| Some(round) == first), "parts of two batches: {rounds:?}");
    }
    rounds
}

fn scan(store: &Store) {
    check_whole(store.scan("Account").iter());
    check_whole(store.scan("Account").reverse().iter());
    assert_eq!(store.count("Account").expect("count"), WRITERS * ACCOUNTS);
}

/// The same by scan and by point, now and later.
fn check_snapshot(snapshot: &Snapshot) -> Vec<(String, u64)> {
    let seen = check_whole(snapshot.scan("Account").iter());
    for (id, round) in &seen {
        let found = snapshot.get_resource("Account", id).expect("sound").expect("it was scanned");
        assert_eq!(read(&found).0, *round, "{id}");
    }
    seen
}

/// Reads the accounts one by one: no writer's round ever goes backwards.
fn points(store: &Store, last: &mut [u64]) {
    for n in 0..ACCOUNTS {
        for writer in 0..WRITERS {
            let found = store.get_resource("Account", &account(writer, n)).expect("sound");
            let (round, _) = read(&found.expect("it is in every batch"));
            let last = &mut last[writer as usize];
            assert!(round >= *last, "writer {writer} is at {round}, after {last} was seen");
            *last = round;
        }
    }
}

/// Puts and deletes whose counts have to come out, between everyone else's.
fn count_exactly(store: &Store, round: u64) {
    let mut batch = Batch::new();
    for i in 0..5 {
        batch.put("Chunk", &format!("{round}/{i}"), pattern(i, 200));
    }
    store.commit_with(batch, DURABILITIES[(round % 3) as usize]).expect("commit");
    let taken = store.put_if("Chunk", &format!("{round}/0"), Expect::Absent, b"");
    assert!(matches!(taken, Err(kindlog::Error::Conflict { current: Some(_) })));
    assert!(store.delete("Chunk", &format!("{round}/4")).expect("delete"));
    let removed = store.delete_prefix("Chunk", &format!("{round}/")).expect("delete");
    assert_eq!(removed, 4);
    assert_eq!(store.delete_kind("Chunk").expect("delete"), 0);
}

/// How long all go on: until the writers are done, or somebody has failed. What a broken store does
/// after that may take for ever.
struct Running {
    writers: AtomicU64,
    failed: AtomicBool,
}

impl Running {
    fn goes_on(&self) -> bool {
        self.writers.load(Ordering::Acquire) > 0 && !self.failed.load(Ordering::Acquire)
    }

    /// Tells the others if this thread fails.
    fn watch(&self, work: impl FnOnce()) {
        struct Watched<'a>(&'a AtomicBool);
        impl Drop for Watched<'_> {
            fn drop(&mut self) {
                self.0.fetch_or(thread::panicking(), Ordering::Release);
            }
        }
        let _watched = Watched(&self.failed);
        work();
    }
}

/// What one writer does.
fn write(store: &Store, writer: u64, running: &Running) {
    for round in (1..=rounds()).take_while(|_| running.goes_on()) {
        let durability = DURABILITIES[((writer + round) % 3) as usize];
        store.commit_with(divide(writer, round), durability).expect("commit");
    }
    running.writers.fetch_sub(1, Ordering::Release);
}

fn run(options: Options) {
    let store = TestStore::on(Medium::native(), options.clone());
    let (writers, failed) = (AtomicU64::new(WRITERS), AtomicBool::new(false));
    let running = &Running { writers, failed };
    for writer in 0..WRITERS {
        store.commit(divide(writer, 0)).expect("commit");
    }
    store.sync().expect("sync");
    let (handle, path) = (&*store, store.dir());
    let until_done = move |work: &mut dyn FnMut()| {
        running.watch(|| {
            while running.goes_on() {
                work();
            }
        });
    };
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            scope.spawn(move || running.watch(|| write(handle, writer, running)));
        }
        scope.spawn(move || until_done(&mut || scan(handle)));
        scope.spawn(move || {
            let mut last = [0; WRITERS as usize];
            until_done(&mut || points(handle, &mut last));
        });
        scope.spawn(move || {
            let mut held = Vec::new();
            until_done(&mut || {
                let snapshot = handle.snapshot();
                held.push((check_snapshot(&snapshot), snapshot));
                if held.len() > 5 {
                    let (seen, oldest) = held.remove(0);
                    assert_eq!(check_snapshot(&oldest), seen, "a snapshot has changed");
                }
            });
        });
        scope.spawn(move || {
            let mut round = 0;
            until_done(&mut || {
                count_exactly(handle, round);
                round += 1;
            });
        });
        scope.spawn(move || {
            until_done(&mut || {
                handle.sync().expect("sync");
                let report = handle.verify().expect("verify");
                assert!(report.is_clean(), "{:?}", report.problems);
            });
        });
        scope.spawn(move || {
            running.watch(|| handle.compact().expect("compact"));
            until_done(&mut || handle.compact().expect("compact"));
        });
        scope.spawn(move || {
            let reader = options.read_only(true).open(path).expect("open beside the owner");
            until_done(&mut || {
                reader.refresh().expect("refresh");
                check_whole(reader.scan("Account").iter());
            });
        });
    });
    check_behind(store);
}

/// What there is when all are done, after a crash, and after it was opened again.
fn check_behind(mut store: TestStore) {
    // There may be a single one by now, if all that was compacted is dead.
    assert!(!store.files().contains(&"00000000.seg".to_owned()), "no segment has gone");
    scan(&store);
    assert!(store.crash());
    scan(&store);
    store.reopen();
    scan(&store);
    assert_eq!(store.count("Chunk").expect("count"), 0);
}

#[test]
fn everyone_sees_whole_batches_whatever_the_others_do() {
    let options = Options::new().segment_size(64 << 10).sync_interval(Duration::from_millis(5));
    for mode in [ReadMode::Mapped, ReadMode::Pread] {
        run(options.clone().durability(Durability::Os).read_mode(mode));
    }
}
