//! What can be had of a damaged store: doctor and salvage.

use std::fs;
use std::path::Path;

use kindlog::{Batch, Durability, Error, Store};

/// A store with a key that was overwritten, one that was deleted, a prefix that was deleted, and
/// a batch, closed in order. Returns its one segment file's bytes.
fn store(dir: &Path) -> Vec<u8> {
    let store = Store::open(dir).unwrap();
    store.put("Agent", "a", b"first version of a").unwrap();
    store.put("Agent", "b", b"only version of b").unwrap();
    store.put("Agent", "a", b"second version of a").unwrap();
    store.put("Draft", "gone", b"deleted one by one").unwrap();
    store.delete("Draft", "gone").unwrap();
    store.put("Log", "run/1", b"deleted by prefix").unwrap();
    assert_eq!(store.delete_prefix("Log", "run/").unwrap(), 1);
    let mut batch = Batch::new();
    batch.put("Batch", "x", b"x of the batch").put("Batch", "y", b"y of the batch");
    store.commit_with(batch, Durability::Os).unwrap();
    store.close().unwrap();
    fs::read(dir.join("00000000.seg")).unwrap()
}

fn damage(dir: &Path, bytes: &[u8], what: &[u8]) {
    let at = bytes.windows(what.len()).position(|window| window == what).unwrap();
    let mut damaged = bytes.to_vec();
    damaged[at] ^= 1;
    fs::write(dir.join("00000000.seg"), damaged).unwrap();
}

fn all(store: &Store) -> Vec<(String, Vec<u8>, u64)> {
    let mut all = Vec::new();
    for kind in store.kinds().unwrap() {
        for resource in store.scan(&kind) {
            let resource = resource.unwrap();
            let key = format!("{}/{}", resource.kind, resource.id);
            all.push((key, resource.data.to_vec(), resource.revision.into()));
        }
    }
    all
}

#[test]
fn a_sound_store_is_healthy_and_is_copied_whole() {
    let (dir, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    store(dir.path());
    let diagnosis = Store::diagnose(dir.path()).unwrap();
    assert!(diagnosis.is_healthy(), "{diagnosis:?}");
    assert_eq!((diagnosis.records, diagnosis.live), (9, 4));
    let report = Store::salvage(dir.path(), to.path().join("new")).unwrap();
    assert_eq!((report.saved, report.damages.len()), (4, 0));
    let (old, new) =
        (Store::open(dir.path()).unwrap(), Store::open(to.path().join("new")).unwrap());
    assert_eq!(all(&old), all(&new));
    let next = new.put("Agent", "c", b"").unwrap();
    assert!(u64::from(next) > u64::from(old.stats().revision) + (1 << 31));
    assert!(new.verify().unwrap().is_clean());
}

#[test]
fn damage_below_the_watermark_refuses_to_open_and_is_named_and_left_behind() {
    let (dir, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let bytes = store(dir.path());
    damage(dir.path(), &bytes, b"second version of a");
    assert!(matches!(Store::open(dir.path()), Err(Error::Corrupt { .. })));
    let diagnosis = Store::diagnose(dir.path()).unwrap();
    assert!(matches!(diagnosis.open, Err(Error::Corrupt { .. })));
    let [damage] = &diagnosis.damages[..] else { panic!("{:?}", diagnosis.damages) };
    assert!(!damage.torn);
    let lost = damage.lost.as_ref().unwrap();
    assert_eq!((lost.key.as_str(), lost.is_delete), ("Agent/a", false));
    assert!(lost.newest.unwrap() < lost.revision);
    let report = Store::salvage(dir.path(), to.path()).unwrap();
    assert_eq!((report.saved, report.damages.len()), (4, 1));
    let new = Store::open(to.path()).unwrap();
    let a = new.get_resource("Agent", "a").unwrap().unwrap();
    assert_eq!(&a.data[..], b"first version of a");
    assert!(!new.contains("Draft", "gone").unwrap());
    assert_eq!(new.count("Log").unwrap(), 0);
}

#[test]
fn a_damaged_delete_is_named_as_such() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = store(dir.path());
    // The second record of Draft/gone is its delete.
    let key = b"Draftgone";
    let first = bytes.windows(key.len()).position(|window| window == key).unwrap();
    let second = bytes[first + 1..].windows(key.len()).position(|w| w == key).unwrap() + first + 1;
    let mut damaged = bytes.clone();
    damaged[second + key.len() - 1] ^= 1;
    fs::write(dir.path().join("00000000.seg"), damaged).unwrap();
    let diagnosis = Store::diagnose(dir.path()).unwrap();
    let lost = diagnosis.damages.iter().find_map(|damage| damage.lost.as_ref()).unwrap();
    assert!(lost.is_delete);
    assert_eq!(lost.key, "Draft/gond");
}

#[test]
fn a_store_without_its_manifest_is_salvaged_by_its_segments() {
    let (dir, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    store(dir.path());
    fs::remove_file(dir.path().join("MANIFEST")).unwrap();
    assert!(matches!(Store::open(dir.path()), Err(Error::Corrupt { .. })));
    let report = Store::salvage(dir.path(), to.path()).unwrap();
    assert_eq!(report.saved, 4);
    assert!(report.damages.iter().any(|damage| damage.file.ends_with("MANIFEST")));
}

#[test]
fn half_a_batch_that_was_never_whole_is_not_saved() {
    let (dir, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let bytes = store(dir.path());
    // As a crash leaves it, had nothing behind the batch's first record reached the disk: no
    // manifest that vouches for it either.
    let at = bytes.windows(14).position(|window| window == b"y of the batch").unwrap();
    let mut torn = bytes[..at - 8].to_vec();
    torn.resize(bytes.len(), 0);
    fs::write(dir.path().join("00000000.seg"), torn).unwrap();
    fs::remove_file(dir.path().join("MANIFEST")).unwrap();
    let report = Store::salvage(dir.path(), to.path()).unwrap();
    assert_eq!(report.saved, 2);
    assert_eq!(Store::open(to.path()).unwrap().count("Batch").unwrap(), 0);
}

#[test]
fn salvage_overwrites_nothing_and_needs_a_store_that_nobody_writes() {
    let (dir, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    store(dir.path());
    fs::write(to.path().join("precious"), b"mine").unwrap();
    assert!(matches!(Store::salvage(dir.path(), to.path()), Err(Error::Io { .. })));
    assert_eq!(fs::read(to.path().join("precious")).unwrap(), b"mine");
    let owner = Store::open(dir.path()).unwrap();
    let other = to.path().join("new");
    assert!(matches!(Store::salvage(dir.path(), &other), Err(Error::Locked { .. })));
    drop(owner);
    let nothing = tempfile::tempdir().unwrap();
    assert!(matches!(Store::salvage(nothing.path(), &other), Err(Error::Io { .. })));
    assert!(matches!(Store::diagnose(nothing.path()), Err(Error::Io { .. })));
}

/// Salvage and doctor named what was damaged, and not what was gone: a file that was cut at the end
/// of a frame lost a `Sync` commit without a word. Now durable bytes that no file has are named.
#[test]
fn a_cut_between_two_frames_is_named() {
    let (dir, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let bytes = store(dir.path());
    let batch = bytes.windows(6).position(|window| window == b"Batchx").unwrap();
    // The batch is the last commit; its first frame begins less than 40 bytes before its key.
    let starts = (batch - 40..batch).filter(|at| at % 8 == 0);
    let mut named = 0;
    for cut in starts {
        fs::write(dir.path().join("00000000.seg"), &bytes[..cut]).unwrap();
        assert!(matches!(Store::open(dir.path()), Err(Error::Corrupt { .. })));
        let diagnosis = Store::diagnose(dir.path()).unwrap();
        assert!(diagnosis.damages.iter().any(|damage| !damage.torn && damage.len > 0));
        named += 1;
    }
    assert_eq!(named, 5);
    let report = Store::salvage(dir.path(), to.path().join("new")).unwrap();
    assert_eq!(report.saved, 2);
    assert!(!report.damages.is_empty());
    assert!(!to.path().join("new.partial").exists());
}
