//! Backup, restore, and checking a backup, on the real disk.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kindlog::{Batch, Durability, Error, MIN_SEGMENT_SIZE, Options, Store};
use tempfile::TempDir;

use crate::support::{files, pattern};

/// A place for stores and backups.
struct Place(TempDir);

impl Place {
    fn new() -> Place {
        Place(tempfile::tempdir().expect("a temporary directory"))
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A store with several segments, of which all but the last are sealed.
    fn store(&self, name: &str) -> Store {
        let store = small().open(self.at(name)).unwrap();
        fill(&store, "first", 40);
        sealed(&self.at(name), 2);
        store
    }

    /// What a restored backup holds, and that it is sound and goes on.
    fn restored(&self, backup: &str) -> All {
        let report = Store::verify_backup(self.at(backup)).unwrap();
        assert!(report.is_clean(), "{:?}", report.problems);
        let to = self.0.path().join(format!("restored {}", files(self.0.path()).len()));
        let restored = Store::restore(self.at(backup), &to).unwrap();
        assert_eq!(restored.revision, report.revision);
        let found = all(&Options::new().read_only(true).open(&to).unwrap());
        let store = Store::open(&to).unwrap();
        assert!(store.recovery().clean);
        assert!(store.verify().unwrap().is_clean());
        assert!(Store::diagnose(self.at(backup)).is_err());
        assert_eq!(all(&store), found);
        let next = u64::from(store.put("After", "x", b"").unwrap());
        assert!(next > u64::from(restored.revision) + (1 << 32));
        store.close().unwrap();
        let diagnosis = Store::diagnose(&to).unwrap();
        assert!(diagnosis.is_healthy(), "{diagnosis:?}");
        found
    }
}

/// Small segments; synced when it is asked for.
fn small() -> Options {
    Options::new().segment_size(MIN_SEGMENT_SIZE).durability(Durability::Os)
}

fn fill(store: &Store, id: &str, count: u64) {
    for i in 0..count {
        store.put("Log", &format!("{id}-{i:03}"), pattern(i, 4000)).unwrap();
    }
}

/// Waits until the background has sealed that many segments.
fn sealed(dir: &Path, count: usize) {
    loop {
        let reader = Options::new().read_only(true).open(dir).unwrap();
        if reader.stats().segments.iter().filter(|segment| !segment.active).count() >= count {
            return;
        }
        std::thread::yield_now();
    }
}

type All = BTreeMap<String, (Vec<u8>, u64)>;

/// Each resource's bytes and revision.
fn all(store: &Store) -> All {
    let mut all = All::new();
    for kind in store.kinds().unwrap() {
        for resource in store.scan(&kind) {
            let resource = resource.unwrap();
            let key = format!("{}/{}", resource.kind, resource.id);
            all.insert(key, (resource.data.to_vec(), resource.revision.into()));
        }
    }
    all
}

fn segments(dir: &Path) -> Vec<String> {
    files(dir).into_iter().filter(|name| name.ends_with(".seg")).collect()
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, Error>, kind: ErrorKind, words: &str) {
    let Err(Error::Io { source, .. }) = &result else { panic!("{result:?}") };
    assert_eq!(source.kind(), kind, "{source}");
    assert!(source.to_string().contains(words), "{source}");
}

#[test]
fn what_comes_back_is_what_was_there_with_revisions_and_times() {
    let place = Place::new();
    let store = place.store("store");
    store.delete_prefix("Log", "first-00").unwrap();
    store.delete("Log", "first-012").unwrap();
    store.put("Agent", "a", b"\x0a\x03Ada").unwrap();
    let report = store.backup(place.at("backup")).unwrap();
    assert_eq!(report.revision, store.stats().revision);
    assert_eq!(report.bytes, report.copied_bytes + report.shared_bytes);
    assert_eq!(place.restored("backup"), all(&store));
    let time = |store: &Store| store.get_resource("Agent", "a").unwrap().unwrap().updated_at;
    Store::restore(place.at("backup"), place.at("again")).unwrap();
    assert_eq!(time(&Store::open(place.at("again")).unwrap()), time(&store));
}

/// Money is moved between accounts by batches while backups are made: in each of them all of it is
/// there, and whatever was committed before the call.
#[test]
fn a_backup_is_the_store_at_one_moment_while_writers_run() {
    const ACCOUNTS: u64 = 8;
    const SUM: i64 = 1000 * ACCOUNTS as i64;
    let place = Place::new();
    let store = small().open(place.at("store")).unwrap();
    let money = |store: &Store, account: u64| {
        let resource = store.get_resource("Account", &account.to_string()).unwrap().unwrap();
        i64::from_le_bytes(resource.data[..8].try_into().unwrap())
    };
    let stored = |money: i64| [&money.to_le_bytes()[..], &pattern(money as u64, 900)].concat();
    for account in 0..ACCOUNTS {
        store.put("Account", &account.to_string(), stored(1000)).unwrap();
    }
    let done = AtomicBool::new(false);
    /// Writers end also when the test fails.
    struct Stop<'a>(&'a AtomicBool);
    impl Drop for Stop<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    std::thread::scope(|scope| {
        let stop = Stop(&done);
        for pair in 0..ACCOUNTS / 2 {
            let (store, done) = (&store, &done);
            scope.spawn(move || {
                let (from, to) = (2 * pair, 2 * pair + 1);
                for n in 1.. {
                    let mut batch = Batch::new();
                    batch.put("Account", &from.to_string(), stored(money(store, from) - n));
                    batch.put("Account", &to.to_string(), stored(money(store, to) + n));
                    let levels = [Durability::Sync, Durability::Os, Durability::Buffered];
                    store.commit_with(batch, levels[n as usize % 3]).unwrap();
                    if done.load(Ordering::Relaxed) {
                        return;
                    }
                    // Space does not come back here: a second's work is enough for a backup.
                    std::thread::sleep(Duration::from_millis(1));
                }
            });
        }
        for n in 0..6 {
            let before = store.put("Backup", "number", [n]).unwrap();
            let report = store.backup(place.at("backup")).unwrap();
            assert!(report.revision >= before);
            let found = place.restored("backup");
            let accounts = found.iter().filter(|(key, _)| key.starts_with("Account/"));
            let sum: i64 = accounts
                .map(|(_, (data, _))| i64::from_le_bytes(data[..8].try_into().unwrap()))
                .sum();
            assert_eq!(sum, SUM, "backup {n}");
            assert_eq!(found["Backup/number"].0, [n]);
        }
        drop(stop);
    });
    assert!(store.verify().unwrap().is_clean());
}

#[test]
fn a_second_backup_adds_what_is_new_and_leaves_the_rest_as_it_is() {
    let place = Place::new();
    let store = place.store("store");
    let dir = place.at("backup");
    let first = store.backup(&dir).unwrap();
    assert!(first.shared_bytes > 0, "sealed segments are shared on one file system: {first:?}");
    let inodes = |dir: &Path| -> BTreeMap<String, u64> {
        let inode = |name: &String| fs::metadata(dir.join(name)).unwrap().ino();
        segments(dir).into_iter().map(|name| (name.clone(), inode(&name))).collect()
    };
    let before = inodes(&dir);
    assert_eq!(before.len() as u64, first.segments);

    let quiet = store.backup(&dir).unwrap();
    assert_eq!((quiet.copied_bytes, quiet.shared_bytes), (0, 0), "nothing is new: {quiet:?}");
    assert_eq!(quiet.kept_bytes, first.bytes);
    assert_eq!(inodes(&dir), before);

    fill(&store, "second", 20);
    let second = store.backup(&dir).unwrap();
    assert!(second.kept_bytes >= first.shared_bytes, "{second:?}");
    assert!(second.copied_bytes <= MIN_SEGMENT_SIZE * 2, "{second:?}");
    let after = inodes(&dir);
    let kept = before.iter().filter(|(name, inode)| after.get(*name) == Some(inode)).count();
    assert_eq!(kept, before.len() - 1, "all but the segment that was written");
    assert_eq!(after.len() as u64, second.segments, "what is no longer named is removed");
    assert_eq!(place.restored("backup"), all(&store));

    // The store closed, opened again, unclean or not: its history is the same one.
    store.close().unwrap();
    let store = small().open(place.at("store")).unwrap();
    store.backup(&dir).unwrap();
    fill(&store, "third", 3);
    assert!(store.backup(&dir).unwrap().kept_bytes >= second.kept_bytes);
    assert_eq!(place.restored("backup"), all(&store));
}

/// Compaction removes files of segments that a backup still has to copy. It does so by the open
/// handle.
#[test]
fn a_segment_whose_file_is_gone_is_copied_from_its_handle() {
    let place = Place::new();
    let store = place.store("store");
    let gone = place.at("store").join(&segments(&place.at("store"))[0]);
    let kept = place.at("kept");
    fs::rename(&gone, &kept).unwrap();
    // A stranger in its place must not be taken for it.
    fs::write(&gone, b"something else").unwrap();
    store.backup(place.at("backup")).unwrap();
    assert_eq!(place.restored("backup"), all(&store));
    fs::remove_file(&kept).unwrap();
    let report = store.backup(place.at("other")).unwrap();
    assert!(report.copied_bytes > 0);
    assert_eq!(place.restored("other"), all(&store));
}

/// The case of design rules 17 and 18: deleted data never comes back.
#[test]
fn what_was_deleted_after_a_backup_is_not_in_the_next() {
    let place = Place::new();
    let store = place.store("store");
    store.put("Agent", "a", b"alive").unwrap();
    store.backup(place.at("backup")).unwrap();
    store.delete("Agent", "a").unwrap();
    store.delete_prefix("Log", "first-0").unwrap();
    fill(&store, "second", 40);
    store.backup(place.at("backup")).unwrap();
    let found = place.restored("backup");
    assert_eq!(found, all(&store));
    assert!(!found.contains_key("Agent/a") && found.len() == 40, "{:?}", found.keys());
}

#[test]
fn other_directories_are_refused_and_left_as_they_are() {
    let place = Place::new();
    let (store, other) = (place.store("store"), place.store("other"));
    store.backup(place.at("backup")).unwrap();
    let before = files(&place.at("backup"));
    refused(other.backup(place.at("backup")), ErrorKind::InvalidInput, "another store");
    assert_eq!(files(&place.at("backup")), before);

    fs::create_dir(place.at("home")).unwrap();
    fs::write(place.at("home").join("letter"), b"dear").unwrap();
    refused(store.backup(place.at("home")), ErrorKind::AlreadyExists, "no backup");
    assert_eq!(files(&place.at("home")), ["letter"]);
    refused(store.backup(place.at("store")), ErrorKind::AlreadyExists, "no backup");
    // A backup that lost what names it is no rubbish.
    fs::remove_file(place.at("backup").join("BACKUP")).unwrap();
    refused(store.backup(place.at("backup")), ErrorKind::AlreadyExists, "no backup");
    refused(Store::verify_backup(place.at("backup")), ErrorKind::NotFound, "no backup");
    refused(Store::verify_backup(place.at("store")), ErrorKind::NotFound, "no backup");
    refused(Store::restore(place.at("store"), place.at("to")), ErrorKind::NotFound, "no backup");
    assert!(!place.at("to").exists() && !place.at("to.partial").exists());
}

#[test]
fn a_backup_is_not_opened_as_a_store() {
    let place = Place::new();
    place.store("store").backup(place.at("backup")).unwrap();
    let before = files(&place.at("backup"));
    for read_only in [true, false] {
        let opened = Options::new().read_only(read_only).open(place.at("backup"));
        refused(opened.map(drop), ErrorKind::InvalidInput, "it is a backup");
    }
    assert_eq!(files(&place.at("backup")), before);
}

/// Two copies of one directory go on, each for itself. What one backed up the other must not
/// replace: neither when it is behind nor when it is ahead.
#[test]
fn histories_that_parted_are_refused() {
    let place = Place::new();
    let store = Store::open(place.at("store")).unwrap();
    fill(&store, "both", 3);
    store.close().unwrap();
    fs::create_dir(place.at("copy")).unwrap();
    for name in files(&place.at("store")) {
        fs::copy(place.at("store").join(&name), place.at("copy").join(&name)).unwrap();
    }
    let (store, copy) =
        (Store::open(place.at("store")).unwrap(), Store::open(place.at("copy")).unwrap());
    fill(&store, "store", 5);
    store.backup(place.at("backup")).unwrap();
    let before = place.restored("backup");
    fill(&copy, "copy", 4);
    refused(copy.backup(place.at("backup")), ErrorKind::InvalidInput, "parted");
    let reader = Options::new().read_only(true).open(place.at("copy")).unwrap();
    refused(reader.backup(place.at("backup")), ErrorKind::InvalidInput, "parted");
    // As many commits, and as many bytes: only the bytes tell.
    copy.put("Log", "store-004", pattern(7, 4000)).unwrap();
    refused(copy.backup(place.at("backup")), ErrorKind::InvalidInput, "parted");
    fill(&copy, "copy", 9);
    refused(copy.backup(place.at("backup")), ErrorKind::InvalidInput, "parted");
    assert_eq!(place.restored("backup"), before);
    store.backup(place.at("backup")).unwrap();
}

/// A store of its own comes of a restore: neither goes on with the other's backups.
#[test]
fn a_restored_store_is_another_store() {
    let place = Place::new();
    let store = place.store("store");
    store.backup(place.at("backup")).unwrap();
    Store::restore(place.at("backup"), place.at("restored")).unwrap();
    let restored = small().open(place.at("restored")).unwrap();
    refused(restored.backup(place.at("backup")), ErrorKind::InvalidInput, "another store");
    fill(&restored, "later", 30);
    restored.backup(place.at("backup of the restored")).unwrap();
    assert_eq!(place.restored("backup of the restored"), all(&restored));
    refused(
        store.backup(place.at("backup of the restored")),
        ErrorKind::InvalidInput,
        "another store",
    );
    refused(
        Store::restore(place.at("backup"), place.at("restored")),
        ErrorKind::AlreadyExists,
        "not empty",
    );
    store.backup(place.at("backup")).unwrap();
}

#[test]
fn a_reader_backs_up_what_it_sees_beside_an_owner_and_after_its_death() {
    let place = Place::new();
    let store = place.store("store");
    store.sync().unwrap();
    let reader = small().read_only(true).open(place.at("store")).unwrap();
    let seen = all(&reader);
    fill(&store, "unseen", 30);
    reader.backup(place.at("backup")).unwrap();
    assert_eq!(place.restored("backup"), seen);
    reader.refresh().unwrap();
    store.sync().unwrap();
    let report = reader.backup(place.at("backup")).unwrap();
    assert!(report.kept_bytes > 0, "{report:?}");
    // The owner goes on with what the reader backed up.
    store.backup(place.at("backup")).unwrap();
    assert_eq!(place.restored("backup"), all(&store));

    // The owner is gone without a word: its last commits are in the tail file alone.
    let last = store.put("Agent", "last", b"in the tail file").unwrap();
    let left = place.at("left");
    fs::create_dir(&left).unwrap();
    for name in files(&place.at("store")) {
        fs::copy(place.at("store").join(&name), left.join(&name)).unwrap();
    }
    let reader = small().read_only(true).open(&left).unwrap();
    let report = reader.backup(place.at("backup")).unwrap();
    assert_eq!(report.revision, last);
    assert_eq!(place.restored("backup"), all(&store));
    // Recovery cuts the segment off and writes its end anew: still the same history.
    let store = small().open(&left).unwrap();
    store.backup(place.at("backup")).unwrap();
    assert_eq!(place.restored("backup"), all(&store));
}

#[test]
fn a_store_without_resources_is_backed_up_too() {
    let place = Place::new();
    let store = Store::open(place.at("store")).unwrap();
    let report = store.backup(place.at("backup")).unwrap();
    assert_eq!((report.segments, report.bytes), (0, 0));
    assert!(place.restored("backup").is_empty());
    let memory = Options::new().open_in_memory().unwrap();
    memory.put("Agent", "a", b"in memory").unwrap();
    memory.backup(place.at("from memory")).unwrap();
    assert_eq!(place.restored("from memory"), all(&memory));
    memory.close().unwrap();
    assert!(matches!(memory.backup(place.at("from memory")), Err(Error::Closed)));
}

/// Whatever bit of whatever file of a backup flips, verify finds it, and restore refuses it and
/// leaves nothing behind.
#[test]
fn every_flipped_bit_of_a_backup_is_found() {
    let place = Place::new();
    let store = Store::open(place.at("store")).unwrap();
    store.put("Agent", "a", b"\x0a\x03Ada").unwrap();
    store.delete("Agent", "a").unwrap();
    store.put("Agent", "b", b"\x0a\x03Bob").unwrap();
    let dir = place.at("backup");
    store.backup(&dir).unwrap();
    let full = std::env::var_os("KINDLOG_FULL").is_some();
    let found = |what: &str, with_restore: bool| {
        match Store::verify_backup(&dir) {
            Ok(report) => assert!(!report.is_clean(), "{what}"),
            Err(Error::Corrupt { .. } | Error::Version { .. }) => {}
            Err(error) => panic!("{what}: {error}"),
        }
        if !with_restore {
            return;
        }
        let restored = Store::restore(&dir, place.at("to"));
        let is_damage = matches!(
            restored,
            Err(Error::Corrupt { .. } | Error::Version { .. } | Error::MissingSegment { .. })
        );
        assert!(is_damage || what.contains("cut"), "{what}: {restored:?}");
        assert!(restored.is_err() && !place.at("to").exists(), "{what}");
        assert!(!place.at("to.partial").exists(), "{what}");
    };
    for name in files(&dir).into_iter().filter(|name| name != "LOCK") {
        let path = dir.join(&name);
        let bytes = fs::read(&path).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, damaged).unwrap();
            // A restore costs a few syncs.
            found(&format!("bit {bit} of {name}"), full || bit % 19 == 0);
        }
        for len in [0, bytes.len() / 2, bytes.len() - 1] {
            fs::write(&path, &bytes[..len]).unwrap();
            found(&format!("{name} cut to {len} bytes"), true);
        }
        fs::write(&path, bytes).unwrap();
    }
    let [segment] = &segments(&dir)[..] else { panic!("one segment") };
    fs::rename(dir.join(segment), dir.join("elsewhere")).unwrap();
    found("the segment's file gone", true);
    let told = Store::restore(&dir, place.at("to")).unwrap_err().to_string();
    let names = [segment.as_str(), "backup in ", dir.to_str().unwrap()];
    assert!(names.iter().all(|name| told.contains(name)), "{told}");
    // The store still has it: the next backup brings it back.
    assert!(store.backup(&dir).unwrap().copied_bytes > 0);
    assert!(Store::verify_backup(&dir).unwrap().is_clean());
}

/// A record that is damaged in the store ends a backup with an error, and the earlier one stands.
#[test]
fn damage_is_not_carried_into_a_backup() {
    let place = Place::new();
    let store = place.store("store");
    store.backup(place.at("backup")).unwrap();
    let before = place.restored("backup");
    fill(&store, "second", 40);
    sealed(&place.at("store"), 4);
    let held = files(&place.at("backup"));
    let path = place.at("store").join(&segments(&place.at("store"))[3]);
    let mut bytes = fs::read(&path).unwrap();
    bytes[2000] ^= 1;
    fs::write(&path, bytes).unwrap();
    let error = store.backup(place.at("backup")).unwrap_err();
    assert!(matches!(&error, Error::Corrupt { file, .. } if *file == path), "{error}");
    assert_eq!(files(&place.at("backup")), held);
    assert_eq!(place.restored("backup"), before);
}
