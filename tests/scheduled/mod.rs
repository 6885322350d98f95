//! The engine's threads in orders that the test chooses: `shuttle` runs one of them at a time, and
//! picks the next one at each lock, wait, atomic and operation of the simulated disk.
//!
//! Each scenario runs under a random scheduler and under one that gives threads priorities and
//! changes them at a few points (PCT, at two depths). A deadlock, a wakeup that is lost and a loop
//! that never ends are failures as well. What is not modelled is weak memory: every atomic is
//! sequentially consistent.
//!
//! Compiled only with `--cfg kindlog_shuttle`; docs/testing.md has the command.

mod close;
mod compaction;
mod faults;
mod merging;
mod order;
mod readers;
mod views;
#[cfg(kindlog_zoo)]
mod zoo;

use std::time::{Duration, Instant};

use crate::disk::sim::{Loss, SimDisk};
use crate::{Batch, Durability, Error, Options, Outcome, Result, Revision, Store};
use shuttle::rand::Rng;
use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::thread::{self, JoinHandle};
use shuttle::{Config, Runner};

pub(crate) const DURABILITIES: [Durability; 3] =
    [Durability::Sync, Durability::Os, Durability::Buffered];

/// How often each scheduler runs a scenario, unless `KINDLOG_SCHEDULES` says otherwise.
const SCHEDULES: usize = 2000;

/// Runs a scenario in many orders, and says in how many.
fn explore(name: &str, scenario: fn()) {
    let asked = std::env::var("KINDLOG_SCHEDULES").ok().and_then(|asked| asked.parse().ok());
    let each = asked.unwrap_or(SCHEDULES);
    let started = Instant::now();
    let mut count = run(RandomScheduler::new(each), scenario);
    count += run(PctScheduler::new(2, each), scenario);
    count += run(PctScheduler::new(5, each), scenario);
    println!("{name}: {count} schedules in {:.1?}", started.elapsed());
}

fn run(scheduler: impl Scheduler + 'static, scenario: fn()) -> usize {
    let mut config = Config::new();
    config.stack_size = 1 << 20;
    config.silence_warnings = true;
    Runner::new(scheduler, config).run(scenario)
}

/// A number below `n`, of the schedule's choice.
fn below(n: u64) -> u64 {
    shuttle::rand::thread_rng().gen_range(0..n)
}

fn any_durability() -> Durability {
    DURABILITIES[below(3) as usize]
}

/// Small segments. Time passes as the scheduler likes, so the interval is of no account.
fn options() -> Options {
    Options::new().segment_size(64 << 10).sync_interval(Duration::from_millis(100))
}

/// With a tail file or, mostly, without: it makes every image larger.
fn any_disk() -> SimDisk {
    let disk = SimDisk::new();
    disk.set_tail(below(4) == 0);
    disk
}

fn open(disk: &SimDisk) -> Store {
    options().open_on(disk).expect("open")
}

/// Without an owner and without a thread: what recovery would keep of an image.
fn look(image: &SimDisk) -> Store {
    options().read_only(true).open_on(image).expect("open what is left")
}

/// One thread of the scenario.
fn go<T: Send + 'static>(
    store: &Store,
    work: impl FnOnce(&Store) -> T + Send + 'static,
) -> JoinHandle<T> {
    let store = store.clone();
    thread::spawn(move || work(&store))
}

fn all<T>(threads: Vec<JoinHandle<T>>) -> Vec<T> {
    threads.into_iter().map(|thread| thread.join().expect("it ends")).collect()
}

fn put(store: &Store, id: &str, durability: Durability) -> Result<Revision> {
    put_len(store, id, 100, durability)
}

fn put_len(store: &Store, id: &str, len: usize, durability: Durability) -> Result<Revision> {
    let mut batch = Batch::new();
    batch.put("K", id, vec![7; len]);
    store.commit_with(batch, durability)
}

fn has(store: &Store, id: &str) -> bool {
    store.contains("K", id).expect("a sound record")
}

/// What a power failure leaves that takes all it may.
fn after_power_loss(disk: &SimDisk) -> Store {
    look(&disk.power_loss(Loss::AllUnsynced))
}

/// Each commit is there if it was acknowledged, and not if its error says so.
fn check_outcomes(store: &Store, commits: &[(String, Result<Revision>)], what: &str) {
    for (id, result) in commits {
        let there = has(store, id);
        match result {
            Ok(revision) => {
                let found = store.get_resource("K", id).expect("a sound record");
                let found = found.unwrap_or_else(|| panic!("{what}: acknowledged {id} is gone"));
                assert_eq!(found.revision, *revision, "{what}: {id}");
            }
            Err(error) if error.outcome() == Outcome::NotCommitted => {
                assert!(!there, "{what}: {id} came to be though {error}");
            }
            Err(_) => {}
        }
    }
    assert!(store.verify().expect("verify").is_clean(), "{what}");
}

fn is_refusal(error: &Error) -> bool {
    matches!(error, Error::Poisoned | Error::Closed)
}
