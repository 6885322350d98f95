//! What names, values, batches and options may be, and that each verb says so.

use kindlog::{
    Batch, Error, Expect, MAX_ID_LEN, MAX_KIND_LEN, MAX_SEGMENT_SIZE, MIN_SEGMENT_SIZE, Options,
    Result,
};

use crate::support::{Agent, TestStore, agent};

/// Kinds that are none, and why.
fn bad_kinds() -> Vec<(String, &'static str)> {
    let mut bad = vec![
        (String::new(), "empty"),
        ("a/b".to_owned(), "'/'"),
        ("/".to_owned(), "'/'"),
        ("k".repeat(256), "256 bytes"),
        ("\u{e9}".repeat(128), "256 bytes"),
    ];
    bad.extend(control_characters().map(|c| (format!("k{c}"), "control character")));
    bad
}

fn bad_ids() -> Vec<(String, &'static str)> {
    let mut bad = vec![(String::new(), "empty"), ("i".repeat(65_536), "65536 bytes")];
    bad.extend(control_characters().map(|c| (format!("{c}i"), "control character")));
    bad
}

fn control_characters() -> impl Iterator<Item = char> {
    ['\0', '\t', '\n', '\r', '\u{1f}', '\u{7f}', '\u{80}', '\u{85}', '\u{9f}'].into_iter()
}

#[track_caller]
fn assert_invalid<T: std::fmt::Debug>(answer: Result<T>, why: &str) {
    match answer {
        Err(Error::InvalidKey { reason }) => assert!(reason.contains(why), "{reason}"),
        other => panic!("not refused as {why}: {other:?}"),
    }
}

fn batch(fill: impl FnOnce(&mut Batch) -> &mut Batch) -> Batch {
    let mut batch = Batch::new();
    batch.put("Fine", "fine", b"");
    fill(&mut batch);
    batch
}

#[test]
fn every_verb_refuses_a_kind_that_is_none() {
    let store = TestStore::memory();
    let expect = Expect::Revision(1.into());
    for (kind, why) in bad_kinds() {
        let kind = kind.as_str();
        assert_invalid(store.put(kind, "i", b""), why);
        assert_invalid(store.save(kind, "i", &agent("", 0)), why);
        assert_invalid(store.put_if(kind, "i", Expect::Absent, b""), why);
        assert_invalid(store.delete_if(kind, "i", expect), why);
        assert_invalid(store.update(kind, "i", |_: Option<Agent>| Ok(agent("", 0))), why);
        assert_invalid(store.delete(kind, "i"), why);
        assert_invalid(store.delete_kind(kind), why);
        assert_invalid(store.delete_prefix(kind, "i"), why);
        assert_invalid(store.get_resource(kind, "i"), why);
        assert_invalid(store.get_value(kind, "i"), why);
        assert_invalid(store.get::<Agent>(kind, "i"), why);
        assert_invalid(store.contains(kind, "i"), why);
        assert_invalid(store.count(kind), why);
        assert_invalid(store.list::<Agent>(kind), why);
        assert_invalid(store.collection::<Agent>(kind), why);
        assert_invalid(store.scan(kind).iter().next().expect("an item"), why);
        assert_invalid(store.scan(kind).keys().next().expect("an item"), why);
        for scan in [store.scan(kind), store.scan(kind).limit(0), store.scan(kind).reverse()] {
            let (mut values, mut keys) = (scan.iter(), scan.keys());
            let items = (0..3).map(|_| (values.next().is_some(), keys.next().is_some()));
            let once = [(true, true), (false, false), (false, false)];
            assert_eq!(items.collect::<Vec<_>>(), once, "the error is all there is");
        }
        let snapshot = store.snapshot();
        assert_invalid(snapshot.get_resource(kind, "i"), why);
        assert_invalid(snapshot.get::<Agent>(kind, "i"), why);
        assert_invalid(snapshot.list::<Agent>(kind), why);
        assert_invalid(snapshot.scan(kind).keys().next().expect("an item"), why);
        assert_invalid(store.commit(batch(|b| b.put(kind, "i", b""))), why);
        assert_invalid(store.commit(batch(|b| b.delete(kind, "i"))), why);
        assert_invalid(store.commit(batch(|b| b.delete_kind(kind))), why);
        assert_invalid(store.commit(batch(|b| b.delete_prefix(kind, "i"))), why);
    }
    assert_eq!((store.kinds().unwrap().len(), store.stats().commits), (0, 0), "all or nothing");
}

#[test]
fn every_verb_refuses_an_id_that_is_none() {
    let store = TestStore::memory();
    for (id, why) in bad_ids() {
        let id = id.as_str();
        assert_invalid(store.put("K", id, b""), why);
        assert_invalid(store.save("K", id, &agent("", 0)), why);
        assert_invalid(store.put_if("K", id, Expect::Absent, b""), why);
        assert_invalid(store.delete_if("K", id, Expect::Absent), why);
        assert_invalid(store.update("K", id, |_: Option<Agent>| Ok(agent("", 0))), why);
        assert_invalid(store.delete("K", id), why);
        assert_invalid(store.get_resource("K", id), why);
        assert_invalid(store.get_value("K", id), why);
        assert_invalid(store.get::<Agent>("K", id), why);
        assert_invalid(store.contains("K", id), why);
        assert_invalid(store.snapshot().get_resource("K", id), why);
        assert_invalid(store.commit(batch(|b| b.put("K", id, b""))), why);
        assert_invalid(store.commit(batch(|b| b.delete("K", id))), why);
        if !id.is_empty() {
            assert_invalid(store.delete_prefix("K", id), why);
            assert_invalid(store.commit(batch(|b| b.delete_prefix("K", id))), why);
        }
    }
    assert_eq!((store.kinds().unwrap().len(), store.stats().commits), (0, 0), "all or nothing");
}

#[test]
fn names_may_be_as_long_as_the_limit_and_hold_whatever_is_printable() {
    let mut store = TestStore::native();
    let kinds = ["k".repeat(MAX_KIND_LEN), "\u{10ffff}".repeat(63), " ".into(), "\u{a0}".into()];
    let ids = ["i".repeat(MAX_ID_LEN), "\u{e9}".repeat(MAX_ID_LEN / 2), "/".into(), "//a/".into()];
    // Not normalised: these two look the same.
    let (composed, decomposed) = ("\u{e9}", "e\u{301}");
    for kind in &kinds {
        for id in ids.iter().map(String::as_str).chain([composed, decomposed]) {
            store.put(kind, id, id).unwrap();
        }
    }
    for _ in 0..2 {
        for kind in &kinds {
            assert_eq!(store.count(kind).unwrap(), 6);
            let resource = store.get_resource(kind, decomposed).unwrap().expect("stored");
            assert_eq!(resource.data, decomposed.as_bytes());
            let longest = store.get_resource(kind, &ids[0]).unwrap().expect("stored");
            assert!(longest.kind == *kind && longest.id == ids[0]);
            for resource in store.scan(kind) {
                let resource = resource.unwrap();
                assert_eq!(resource.data, resource.id.as_bytes());
            }
        }
        store.reopen();
    }
    for kind in &kinds {
        assert_eq!(store.delete_prefix(kind, &ids[0]).unwrap(), 1);
        assert_eq!(store.delete_kind(kind).unwrap(), 5);
    }
}

#[test]
fn a_value_may_have_no_bytes_and_is_there_all_the_same() {
    let mut store = TestStore::native();
    store.put("K", "empty", []).unwrap();
    store.reopen();
    assert!(store.contains("K", "empty").unwrap());
    assert_eq!(store.get_resource("K", "empty").unwrap().expect("stored").data.len(), 0);
    assert_eq!(store.get_value("K", "empty").unwrap().as_deref(), Some(&b""[..]));
    assert_eq!(store.get::<Agent>("K", "empty").unwrap(), Some(Agent::default()));
}

#[test]
fn a_value_over_one_gibibyte_is_refused_before_anything_is_written() {
    const LIMIT: u64 = 1 << 30;
    let store = TestStore::memory();
    // Zeroed when it is touched, which it never is.
    let value = vec![0; LIMIT as usize + 1];
    let refused = |answer: Result<_>| match answer {
        Err(Error::TooLarge { limit, len }) => assert_eq!((limit, len), (LIMIT, LIMIT + 1)),
        other => panic!("{other:?}"),
    };
    refused(store.put("K", "i", &value));
    refused(store.put_if("K", "i", Expect::Absent, &value));
    assert_eq!((store.count("K").unwrap(), store.stats().commits), (0, 0));
}

#[test]
fn a_batch_of_more_than_two_to_the_24_changes_is_refused() {
    const LIMIT: u64 = 1 << 24;
    let store = TestStore::memory();
    let mut batch = Batch::new();
    for _ in 0..=LIMIT {
        batch.delete_kind("K");
    }
    match store.commit(batch) {
        Err(Error::TooLarge { limit, len }) => assert_eq!((limit, len), (LIMIT, LIMIT + 1)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_segment_size_out_of_bounds_is_refused() {
    let open = |size| Options::new().segment_size(size).open_in_memory();
    for size in [0, MIN_SEGMENT_SIZE - 1] {
        match open(size) {
            Err(Error::Io { source, .. }) => {
                assert_eq!(source.kind(), std::io::ErrorKind::InvalidInput);
            }
            other => panic!("{size}: {other:?}"),
        }
    }
    for size in [MAX_SEGMENT_SIZE + 1, u64::MAX] {
        match open(size) {
            Err(Error::TooLarge { limit, len }) => {
                assert_eq!((limit, len), (MAX_SEGMENT_SIZE, size));
            }
            other => panic!("{size}: {other:?}"),
        }
    }
    for size in [MIN_SEGMENT_SIZE, MAX_SEGMENT_SIZE] {
        let store = open(size).expect("within the bounds");
        store.put("K", "i", vec![1; 1 << 17]).expect("larger than the smallest segment");
        assert_eq!(store.get_resource("K", "i").unwrap().expect("stored").data.len(), 1 << 17);
    }
}

#[test]
fn a_limit_of_nothing_finds_nothing_and_the_largest_finds_all() {
    let store = TestStore::memory();
    for number in 0..1000 {
        store.put("K", &format!("{number:04}"), []).unwrap();
    }
    assert_eq!(store.scan("K").limit(0).iter().count(), 0);
    assert_eq!(store.scan("K").limit(0).reverse().keys().count(), 0);
    assert_eq!(store.scan("K").limit(usize::MAX).iter().count(), 1000);
    assert_eq!(store.scan("K").limit(999).reverse().keys().count(), 999);
}
