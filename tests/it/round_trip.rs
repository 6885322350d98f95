//! Every verb once, on a store in memory, and two threads on one.

use std::thread;
use std::time::Duration;

use kindlog::{Batch, Durability, Error, Expect, Options, Resource};

use crate::support::{Agent, DURABILITIES, Medium, TestStore, agent, pattern};

fn store() -> TestStore {
    TestStore::on(
        Medium::Memory,
        Options::new().segment_size(64 << 10).sync_interval(Duration::from_secs(3600)),
    )
}

/// Four of them roll a segment.
const LARGE: usize = 20_000;

fn one(id: &str, value: &[u8]) -> Batch {
    let mut batch = Batch::new();
    batch.put("K", id, value);
    batch
}

#[test]
fn every_verb_once() {
    let store = store();
    for (i, durability) in DURABILITIES.into_iter().enumerate() {
        store.commit_with(one(&format!("a/{i}"), &pattern(i as u64, 50)), durability).unwrap();
    }
    let snapshot = store.snapshot();
    let first = store.get_resource("K", "a/0").unwrap().expect("stored");
    assert!(first.data == pattern(0, 50));
    // Past the end of the segment, and out of the buffers.
    for i in 0..4 {
        store.commit_with(one("large", &pattern(i, LARGE)), Durability::Os).unwrap();
    }
    store.sync().unwrap();
    assert!(store.stats().segments.len() > 1);
    assert!(store.get_resource("K", "large").unwrap().expect("stored").data == pattern(3, LARGE));
    assert!(matches!(store.put_if("K", "a/0", Expect::Absent, b""), Err(Error::Conflict { .. })));
    store.put_if("K", "a/0", Expect::Revision(first.revision), b"new").unwrap();
    assert!(store.delete("K", "a/1").unwrap() && !store.delete("K", "a/1").unwrap());
    assert_eq!(store.delete_prefix("K", "a/").unwrap(), 2);
    assert_eq!(store.count("K").unwrap(), 1);
    let ids = |resources: Vec<Resource>| -> Vec<String> {
        resources.iter().map(|resource| resource.id.to_string()).collect()
    };
    let forwards = snapshot.scan("K").iter().collect::<Result<_, _>>().unwrap();
    assert_eq!(ids(forwards), ["a/0", "a/1", "a/2"]);
    let backwards = snapshot.scan("K").reverse().limit(2).iter().collect::<Result<_, _>>();
    assert_eq!(ids(backwards.unwrap()), ["a/2", "a/1"]);
    store.save("Agent", "a", &agent("Maria", 1)).unwrap();
    assert_eq!(store.get::<Agent>("Agent", "a").unwrap(), Some(agent("Maria", 1)));
    assert_eq!(store.delete_kind("Agent").unwrap(), 1);
    (*store).close().unwrap();
    assert!(matches!(store.put("K", "b", b""), Err(Error::Closed)));
    assert!(first.data == pattern(0, 50) && snapshot.get_resource("K", "a/2").unwrap().is_some());
}

#[test]
fn a_writer_beside_a_reader() {
    let store = store();
    let both = |round: u8| {
        let mut batch = Batch::new();
        batch.put("K", "a", [round; 30]).put("K", "b", [round; 30]);
        batch
    };
    store.commit(both(0)).unwrap();
    let handle = &*store;
    thread::scope(|scope| {
        scope.spawn(move || {
            for round in 1..10 {
                handle.commit_with(both(round), DURABILITIES[usize::from(round % 3)]).unwrap();
            }
        });
        scope.spawn(move || {
            for _ in 0..5 {
                let seen: Vec<_> = handle.scan("K").iter().map(|r| r.unwrap().data).collect();
                assert!(seen.len() == 2 && seen[0] == seen[1]);
                assert_eq!(handle.get_resource("K", "a").unwrap().expect("stored").data.len(), 30);
            }
        });
    });
}
