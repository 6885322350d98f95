//! Commits whose sync is under way: nobody sees them, and everybody who comes after is decided
//! against them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use kindlog::disk::sim::{Fault, OpKind, SimDisk};
use kindlog::{Durability, Error, Expect, Options, Outcome, Result, Revision, Store};

use crate::support::{Medium, TestStore};

/// A sync that is held up until it is let go, and then succeeds or fails.
struct HeldUp {
    begun: Receiver<()>,
    go: Sender<()>,
}

impl HeldUp {
    /// The disk's next sync.
    fn next(store: &TestStore, fails: bool) -> HeldUp {
        let ((begin, begun), (go, went)) = (channel(), channel());
        let first = AtomicBool::new(true);
        let held_up = move |kind: OpKind, _: &str| {
            if kind != OpKind::Sync || !first.swap(false, Ordering::Relaxed) {
                return false;
            }
            begin.send(()).expect("the test waits for it");
            // A test that failed lets it go as well.
            let _dropped = went.recv();
            fails
        };
        store.disk().fail_when(held_up, 0, Fault::SyncKeepsNew);
        HeldUp { begun, go }
    }

    fn wait(&self) {
        self.begun.recv().expect("a sync begins");
    }

    fn let_go(&self) {
        self.go.send(()).expect("the sync waits");
    }
}

/// Runs `first` until it syncs; `looks`; begins `second`, and lets the sync go. What the two
/// answered.
fn overlapping<A: Send, B: Send>(
    store: &TestStore,
    fails: bool,
    first: impl FnOnce(&Store) -> A + Send,
    looks: impl FnOnce(&Store),
    second: impl FnOnce(&Store) -> B + Send,
) -> (A, B) {
    let (held_up, handle) = (HeldUp::next(store, fails), &**store);
    let about_to = &AtomicBool::new(false);
    thread::scope(|scope| {
        // Dropped in here, also when `looks` panics, so that the first thread can end.
        let sync = held_up;
        let first = scope.spawn(move || first(handle));
        sync.wait();
        looks(handle);
        let second = scope.spawn(move || {
            about_to.store(true, Ordering::Release);
            second(handle)
        });
        while !about_to.load(Ordering::Acquire) {
            thread::yield_now();
        }
        // It may not have got far yet. That would find less, and never find what is not there.
        (0..2000).for_each(|_| thread::yield_now());
        sync.let_go();
        (first.join().expect("the first"), second.join().expect("the second"))
    })
}

fn put(value: &'static [u8]) -> impl FnOnce(&Store) -> Result<Revision> + Send {
    move |store| store.put("K", "a", value)
}

fn nothing_to_see(store: &Store) {
    // First what asks the index alone: the disk, which is held up, takes no reads.
    assert_eq!((store.count("K").unwrap(), store.kinds().unwrap().len()), (0, 0));
    assert_eq!(store.scan("K").keys().count(), 0);
    assert!(!store.contains("K", "a").unwrap() && store.get_resource("K", "a").unwrap().is_none());
    assert_eq!(store.snapshot().scan("K").iter().count(), 0);
}

/// By the index alone, as well.
fn still_there(store: &Store) {
    assert_eq!((store.count("K").unwrap(), store.scan("K").keys().count()), (1, 1));
}

#[test]
fn a_commit_is_not_seen_before_it_is_durable() {
    let store = TestStore::sim();
    let (first, ()) = overlapping(&store, false, put(b"1"), nothing_to_see, |_| ());
    assert_eq!(store.get_resource("K", "a").unwrap().expect("stored").revision, first.unwrap());
}

#[test]
fn a_condition_is_decided_against_a_commit_in_flight() {
    let store = TestStore::sim();
    let (first, second) = overlapping(&store, false, put(b"1"), nothing_to_see, |store| {
        store.put_if("K", "a", Expect::Absent, b"2")
    });
    match second {
        Err(Error::Conflict { current }) => assert_eq!(current, Some(first.unwrap())),
        other => panic!("two that found it absent: {other:?}"),
    }
    let (deleted, second) = overlapping(
        &store,
        false,
        |store| store.delete("K", "a"),
        still_there,
        |store| (store.delete("K", "a"), store.put_if("K", "a", Expect::Absent, b"3")),
    );
    assert!(deleted.unwrap());
    assert!(!second.0.unwrap(), "both deleted it");
    second.1.expect("absent since the delete");
    assert_eq!(store.count("K").unwrap(), 1);
}

#[test]
fn a_prefix_delete_counts_what_is_in_flight() {
    let store = TestStore::sim();
    store.put("K", "b", b"").unwrap();
    let (first, removed) =
        overlapping(&store, false, put(b"1"), still_there, |store| store.delete_kind("K"));
    first.unwrap();
    // In whichever order they came.
    assert_eq!(removed.unwrap() + store.count("K").unwrap(), 2);
}

#[test]
fn a_weak_commit_behind_one_in_flight_waits_for_it() {
    let store = TestStore::sim();
    let (first, second) = overlapping(&store, true, put(b"1"), nothing_to_see, |store| {
        let mut batch = kindlog::Batch::new();
        batch.put("K", "weak", b"");
        store.commit_with(batch, Durability::Buffered)
    });
    assert_eq!(first.expect_err("its sync failed").outcome(), Outcome::Unknown);
    second.expect_err("it came behind what is in doubt");
    nothing_to_see(&store);
    drop(store.unverified());
}

#[test]
fn no_answer_rests_on_a_commit_that_then_fails() {
    type Verb = fn(&Store) -> Result<()>;
    let conditional: Verb = |store| store.put_if("K", "a", Expect::Absent, b"2").map(drop);
    let expected: Verb = |store| store.delete_if("K", "a", Expect::Revision(9.into())).map(drop);
    for verb in [conditional, expected] {
        let store = TestStore::sim().unverified();
        let (first, second) = overlapping(&store, true, put(b"1"), nothing_to_see, verb);
        first.expect_err("its sync failed");
        match second {
            Err(Error::Conflict { current: Some(revision) }) => {
                panic!("told of revision {revision}, which nobody will ever see")
            }
            Err(Error::Conflict { current: None } | Error::Poisoned | Error::Io { .. }) => {}
            other => panic!("{other:?}"),
        }
        nothing_to_see(&store);
    }
}

#[test]
fn no_delete_says_absent_because_of_a_delete_that_then_fails() {
    let store = TestStore::sim().unverified();
    store.put("K", "a", b"1").unwrap();
    let (first, second) = overlapping(
        &store,
        true,
        |store| store.delete("K", "a"),
        still_there,
        |store| store.delete("K", "a"),
    );
    first.expect_err("its sync failed");
    second.expect_err("nobody knows whether it is there");
    still_there(&store);
    assert!(store.contains("K", "a").unwrap());
}

/// The file does not have it yet, or has a part of it.
#[test]
fn what_is_being_written_is_read_from_memory() {
    let options = Options::new().sync_interval(Duration::from_secs(3600));
    let store =
        TestStore::on(Medium::Sim(SimDisk::new()), options.durability(Durability::Buffered));
    store.put("Agent", "a", b"1").unwrap();
    let ((begin, begun), (go, went)) = (channel(), channel::<()>());
    let is_log = |kind: OpKind, file: &str| kind == OpKind::Write && file.ends_with(".seg");
    store.disk().hold_up(is_log, move || {
        begin.send(()).expect("the test waits for it");
        let _dropped = went.recv();
    });
    let handle = &*store;
    let found = thread::scope(|scope| {
        let sync = scope.spawn(|| handle.sync());
        begun.recv().expect("a write begins");
        let found = handle.get_resource("Agent", "a");
        drop(go);
        sync.join().expect("it ends").expect("sync");
        found
    });
    assert_eq!(found.expect("it is sound").expect("stored").data, b"1"[..]);
}
