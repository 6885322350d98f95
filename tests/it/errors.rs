//! Each error, from a cause that users meet, with what it tells them and what became of the commit.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::PermissionsExt;

use kindlog::{Error, Expect, Options, Outcome, Store};

use crate::support::{Agent, Medium, TestStore, agent};

const MARKER: &[u8] = b"a value that stands in the log as it is, to be found there and damaged";

#[track_caller]
fn assert_io<T>(answer: Result<T, Error>, kind: ErrorKind) {
    match answer.map(drop) {
        Err(Error::Io { source, path, .. }) => {
            assert_eq!(source.kind(), kind, "{source}");
            assert!(!path.as_os_str().is_empty());
        }
        other => panic!("not an I/O error of kind {kind}: {other:?}"),
    }
}

#[test]
fn where_no_store_is_opening_without_creating_is_not_found() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("missing");
    assert_io(Options::new().create(false).open(&missing), ErrorKind::NotFound);
    assert_io(Options::new().read_only(true).open(&missing), ErrorKind::NotFound);
    assert!(!missing.exists());
    assert_io(Options::new().create(false).open(dir.path()), ErrorKind::NotFound);
    assert_io(Options::new().read_only(true).open(dir.path()), ErrorKind::NotFound);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "nothing was made");
    assert_io(Options::new().read_only(true).open_in_memory(), ErrorKind::NotFound);
}

#[test]
fn a_path_that_leads_to_a_file_is_not_a_directory() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, b"mine").unwrap();
    assert_io(Store::open(&file), ErrorKind::NotADirectory);
    assert_io(Store::open(file.join("below")), ErrorKind::NotADirectory);
    assert_eq!(fs::read(&file).unwrap(), b"mine");
}

#[test]
fn a_directory_without_permission_is_refused_to_whoever_is_not_root() {
    let dir = tempfile::tempdir().unwrap();
    let closed = dir.path().join("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o000)).unwrap();
    // Root may do everything.
    if fs::read_dir(&closed).is_err() {
        assert_io(Store::open(&closed), ErrorKind::PermissionDenied);
    }
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn a_flipped_bit_of_a_value_is_corruption_that_names_the_key_on_every_read() {
    let mut store = TestStore::native().unverified();
    store.put("Agent", "sound", b"1").unwrap();
    store.put("Agent", "team/damaged", MARKER).unwrap();
    store.put("Agent", "zebra", b"2").unwrap();
    // Opened again, so that it is read from the file.
    store.reopen();
    let places = store.places_of(MARKER);
    let [(file, offset)] = &places[..] else { panic!("{places:?}") };
    store.corrupt(file, offset + 9);

    #[track_caller]
    fn assert_corrupt<T>(answer: Result<T, Error>, name: &str) {
        let error = answer.map(drop).expect_err("it is damaged");
        assert_eq!(error.outcome(), Outcome::NotCommitted);
        assert!(!error.to_string().contains("stands in the log"), "{error}");
        match error {
            Error::Corrupt { file, offset, reason } => {
                assert!(reason.contains("Agent/team/damaged"), "{reason}");
                assert!(file.ends_with(name) && offset > 0, "{} at {offset}", file.display());
            }
            other => panic!("{other:?}"),
        }
    }
    assert_corrupt(store.get_resource("Agent", "team/damaged"), file);
    assert_corrupt(store.get_value("Agent", "team/damaged"), file);
    assert_corrupt(store.get::<Agent>("Agent", "team/damaged"), file);
    for reverse in [false, true] {
        let scan = store.scan("Agent");
        let scan = if reverse { scan.reverse() } else { scan };
        let mut found: Vec<_> = scan.iter().collect();
        assert_eq!(found.len(), 3, "a scan neither skips nor ends early");
        assert!(found[0].is_ok() && found[2].is_ok());
        assert_corrupt(found.swap_remove(1), file);
    }
    let report = store.verify().unwrap();
    let key = report.problems.iter().find_map(|problem| problem.key.as_deref());
    assert_eq!(key, Some("Agent/team/damaged"), "{:?}", report.problems);
    store.close();

    // It was durable, so this is no torn tail: nothing is dropped.
    match store.try_open().map(drop) {
        Err(Error::Corrupt { file: named, .. }) => assert!(named.ends_with(file)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_damaged_resource_can_be_written_over_and_deleted() {
    let mut store = TestStore::native();
    for id in ["a", "b"] {
        store.put("Agent", id, MARKER).unwrap();
    }
    store.reopen();
    for (file, offset) in store.places_of(MARKER) {
        store.corrupt(&file, offset);
    }
    assert!(store.get_resource("Agent", "a").is_err());
    store.put("Agent", "a", b"new").unwrap();
    assert_eq!(store.get_resource("Agent", "a").unwrap().expect("stored").data, b"new"[..]);
    assert!(store.delete("Agent", "b").unwrap());
    assert!(store.get_resource("Agent", "b").unwrap().is_none());
    assert_eq!(store.count("Agent").unwrap(), 1);
    drop(store.unverified());
}

#[test]
fn a_segment_that_the_manifest_names_and_the_directory_lacks_is_missing() {
    let mut store =
        TestStore::on(Medium::native(), Options::new().segment_size(64 << 10)).unverified();
    for number in 0..40 {
        store.put("Agent", &number.to_string(), vec![1; 5000]).unwrap();
    }
    store.close();
    let segments = store.segments();
    assert!(segments.len() > 2, "{segments:?}");
    for name in segments {
        let aside = store.path("aside");
        fs::rename(store.path(&name), &aside).unwrap();
        for options in [Options::new(), Options::new().read_only(true)] {
            match store.try_open_with(&options).map(drop) {
                Err(Error::MissingSegment { file }) => assert_eq!(file, store.path(&name)),
                other => panic!("{name}: {other:?}"),
            }
        }
        fs::rename(&aside, store.path(&name)).unwrap();
    }
    store.open();
    assert_eq!(store.count("Agent").unwrap(), 40, "it was only looked for");
}

#[test]
fn a_manifest_that_is_gone_or_damaged_never_makes_an_empty_store() {
    let mut store = TestStore::native().unverified();
    store.put("Agent", "a", b"1").unwrap();
    store.close();
    let path = store.path("MANIFEST");
    let manifest = fs::read(&path).unwrap();
    store.corrupt("MANIFEST", manifest.len() as u64 / 2);
    assert!(matches!(store.try_open().map(drop), Err(Error::Corrupt { file, .. }) if file == path));
    fs::remove_file(&path).unwrap();
    assert!(matches!(store.try_open().map(drop), Err(Error::Corrupt { file, .. }) if file == path));
    fs::write(&path, &manifest).unwrap();
    store.open();
    assert_eq!(store.count("Agent").unwrap(), 1);
}

#[test]
fn a_second_open_for_writing_is_locked_and_says_by_whom() {
    let store = TestStore::native();
    match store.try_open().map(drop) {
        Err(error @ Error::Locked { .. }) => {
            assert_eq!(error.outcome(), Outcome::NotCommitted);
            let Error::Locked { path, owner } = error else { unreachable!() };
            assert_eq!((path, owner), (store.dir(), Some(std::process::id())));
        }
        other => panic!("{other:?}"),
    }
    store.put("Agent", "a", b"still the owner").unwrap();
}

#[test]
fn a_read_only_handle_refuses_every_change() {
    let store = TestStore::native();
    store.save("Agent", "a", &agent("a", 1)).unwrap();
    let reader = store.try_open_with(&Options::new().read_only(true)).unwrap();
    let answers = [
        reader.put("Agent", "a", b"").map(drop),
        reader.put_if("Agent", "a", Expect::Absent, b"").map(drop),
        reader.delete("Agent", "a").map(drop),
        reader.delete_kind("Agent").map(drop),
        reader.update("Agent", "a", |_: Option<Agent>| Ok(agent("a", 2))).map(drop),
        reader.commit(kindlog::Batch::new()).map(drop),
        reader.sync(),
    ];
    for answer in answers {
        let error = answer.expect_err("it is read-only");
        assert!(matches!(error, Error::ReadOnly), "{error}");
        assert_eq!(error.outcome(), Outcome::NotCommitted);
    }
    assert_eq!(reader.get::<Agent>("Agent", "a").unwrap(), Some(agent("a", 1)));
}

#[test]
fn bytes_that_are_no_such_message_are_a_decoding_error_that_names_the_key() {
    let store = TestStore::native();
    store.put("Agent", "a", b"\x0a\xff").unwrap();
    match store.get::<Agent>("Agent", "a") {
        Err(error @ Error::Decode { .. }) => {
            assert!(error.to_string().starts_with("Agent/a: "), "{error}");
            assert!(std::error::Error::source(&error).is_some());
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_callers_own_error_comes_out_as_it_went_in() {
    let store = TestStore::memory();
    let answer = store.update("Agent", "a", |_: Option<Agent>| {
        Err(Error::caller(io::Error::new(ErrorKind::AddrInUse, "mine")))
    });
    match answer {
        Err(Error::Caller(mine)) => {
            let mine = mine.downcast::<io::Error>().expect("the caller's own type");
            assert_eq!(mine.kind(), ErrorKind::AddrInUse);
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(store.stats().commits, 0);
}

/// Makes a file's header claim another version, or a required flag, with a checksum that is right.
fn reseal(store: &TestStore, file: &str, header_len: usize, at: usize, byte: u8) {
    let mut bytes = fs::read(store.path(file)).unwrap();
    bytes[at] = byte;
    bytes[20..24].fill(0);
    let crc = crc32fast::hash(&bytes[..header_len]);
    bytes[20..24].copy_from_slice(&crc.to_le_bytes());
    fs::write(store.path(file), bytes).unwrap();
}

#[test]
fn a_file_of_a_later_version_is_refused_and_named() {
    let mut store = TestStore::native().unverified();
    store.put("Agent", "a", b"1").unwrap();
    store.close();
    let segment = store.segments().remove(0);
    for (file, header_len) in [("MANIFEST", 32), (segment.as_str(), 72)] {
        // The version, and a required flag. An optional flag doesn't matter.
        for (at, byte, refused) in [(8, 2, true), (12, 0x80, true), (16, 0x80, false)] {
            let before = fs::read(store.path(file)).unwrap();
            reseal(&store, file, header_len, at, byte);
            match store.try_open_with(&Options::new().read_only(true)).map(drop) {
                Err(error @ Error::Version { .. }) if refused => {
                    let text = error.to_string();
                    assert!(text.contains(file) && text.contains("newer kindlog"), "{text}");
                    assert_eq!(error.outcome(), Outcome::NotCommitted);
                }
                Ok(()) if !refused => {}
                other => panic!("{file}, byte {at}: {other:?}"),
            }
            fs::write(store.path(file), before).unwrap();
        }
    }
    store.open();
    assert_eq!(store.count("Agent").unwrap(), 1);
}

#[test]
fn after_closing_every_verb_says_so() {
    let mut store = TestStore::native();
    store.save("Agent", "a", &agent("a", 1)).unwrap();
    let handle = store.clone();
    let reader = store.try_open_with(&Options::new().read_only(true)).unwrap();
    let refreshed = store.try_open_with(&Options::new().read_only(true)).unwrap();
    refreshed.refresh().unwrap();
    refreshed.close().unwrap();
    reader.close().unwrap();
    store.close();
    for (handle, what) in
        [(&handle, "the owner"), (&reader, "a reader"), (&refreshed, "a refreshed reader")]
    {
        let answers = [
            handle.put("Agent", "a", b"").map(drop),
            handle.put_if("Agent", "a", Expect::Absent, b"").map(drop),
            handle.delete("Agent", "a").map(drop),
            handle.delete_prefix("Agent", "a").map(drop),
            handle.commit(kindlog::Batch::new()).map(drop),
            handle.update("Agent", "a", |_: Option<Agent>| Ok(agent("", 0))).map(drop),
            handle.get_resource("Agent", "a").map(drop),
            handle.get_value("Agent", "a").map(drop),
            handle.contains("Agent", "a").map(drop),
            handle.count("Agent").map(drop),
            handle.kinds().map(drop),
            handle.list::<Agent>("Agent").map(drop),
            handle.scan("Agent").keys().next().expect("an item").map(drop),
            handle.sync(),
            handle.verify().map(drop),
            handle.refresh(),
        ];
        for (i, answer) in answers.into_iter().enumerate() {
            let error = answer.expect_err("it is closed");
            assert!(matches!(error, Error::Closed), "{what}, verb {i}: {error:?}");
            assert_eq!(error.outcome(), Outcome::NotCommitted);
        }
    }
    store.open();
}

#[cfg(feature = "sim")]
mod on_a_simulated_disk {
    use kindlog::disk::sim::{EIO, ENOSPC, Fault, OpKind};

    use super::*;

    #[test]
    fn after_a_failed_sync_the_store_takes_no_writes_and_reads_on() {
        let mut store = TestStore::sim().unverified();
        let before = store.put("Agent", "a", b"1").unwrap();
        store.disk().fail_when(|kind, _| kind == OpKind::Sync, 0, Fault::SyncKeepsNew);
        let error = store.put("Agent", "b", b"2").expect_err("its sync failed");
        assert_eq!(error.outcome(), Outcome::Unknown);
        match error {
            Error::Io { op, source, .. } => {
                assert_eq!((op.name(), source.raw_os_error()), ("sync", Some(EIO)));
            }
            other => panic!("{other:?}"),
        }
        let answers = [
            store.put("Agent", "c", b"").map(drop),
            store.delete("Agent", "a").map(drop),
            store.delete_kind("Agent").map(drop),
            store.sync(),
        ];
        for answer in answers {
            let error = answer.expect_err("it is poisoned");
            assert!(matches!(error, Error::Poisoned), "{error:?}");
            assert_eq!(error.outcome(), Outcome::NotCommitted);
        }
        // What was visible is, and nothing else.
        assert_eq!(store.snapshot().revision(), before);
        assert_eq!(store.get_resource("Agent", "a").unwrap().expect("stored").data, b"1"[..]);
        assert!(store.get_resource("Agent", "b").unwrap().is_none());
        assert_eq!(store.scan("Agent").keys().count(), 1);
        assert!(store.verify().unwrap().is_clean(), "checking writes nothing");
        assert!(matches!(store.clone().close(), Err(Error::Poisoned)));
        store.crash();
        assert_eq!(store.get_resource("Agent", "a").unwrap().expect("stored").data, b"1"[..]);
        let next = store.put("Agent", "d", b"4").unwrap();
        assert!(u64::from(next) > u64::from(before) + 1, "what was in doubt kept its revision");
    }

    /// A write that is called failed though all of its bytes are there. If the segment can be
    /// closed before them, the commit never happened; if it can't, nobody knows.
    #[test]
    fn a_failed_commit_whose_bytes_are_there_is_withdrawn_or_in_doubt() {
        for can_be_closed in [true, false] {
            let store = TestStore::sim().unverified();
            store.put("Agent", "a", b"1").unwrap();
            let whole = Fault::ShortWrite { bytes: usize::MAX, code: EIO };
            store.disk().fail_when(|kind, _| kind == OpKind::Write, 0, whole);
            if !can_be_closed {
                store.disk().fail_always(|kind, _| kind == OpKind::Create, Fault::Error(ENOSPC));
            }
            let error = store.put("Agent", "b", b"2").expect_err("its write failed");
            let (left, what) = (store.killed().unverified(), format!("closed: {can_be_closed}"));
            let there = left.try_open().unwrap().contains("Agent", "b").unwrap();
            assert_eq!(there, !can_be_closed, "{what}");
            let expected = if can_be_closed { Outcome::NotCommitted } else { Outcome::Unknown };
            assert_eq!(error.outcome(), expected, "{what}");
        }
    }

    #[test]
    fn a_full_disk_refuses_and_takes_writes_again_when_there_is_room() {
        let mut store = TestStore::sim();
        store.put("Agent", "a", b"1").unwrap();
        let last = store.snapshot().revision();
        let writes = |kind, _: &str| matches!(kind, OpKind::Write | OpKind::Reserve);
        store.disk().fail_always(writes, Fault::Error(ENOSPC));
        for _ in 0..3 {
            // Larger than what was reserved ahead.
            let error = store.put("Agent", "b", vec![2; 4 << 20]).expect_err("the disk is full");
            assert_io(Err::<(), _>(error), ErrorKind::StorageFull);
        }
        assert_eq!(store.snapshot().revision(), last);
        assert!(store.get_resource("Agent", "b").unwrap().is_none());
        store.disk().clear_faults();
        store.put("Agent", "c", b"3").unwrap();
        for _ in 0..2 {
            assert_eq!(
                store.scan("Agent").keys().map(Result::unwrap).collect::<Vec<_>>(),
                ["a", "c"]
            );
            store.crash();
        }
    }
}
