//! What can be had of a damaged store: doctor and salvage.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use kindlog::{Batch, Durability, Error, MIN_SEGMENT_SIZE, Options, Store};

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
    assert_eq!((&*lost.key, lost.certain), ("Draft/gond", false));
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

/// A store of four segments, of which the last is written, with twelve resources in each.
fn in_segments(dir: &Path) {
    let store = Options::new().segment_size(MIN_SEGMENT_SIZE).open(dir).unwrap();
    for n in 0..48 {
        store.put("Log", &format!("{n:02}"), vec![n; 5_000]).unwrap();
    }
    store.close().unwrap();
    assert!(dir.join("00000003.seg").exists());
}

/// A link, a directory or a pipe in the place of a file ended doctor and, if it was not a
/// segment's, salvage. It is the file that is missing, and the others are as good as ever.
#[test]
fn what_is_no_file_is_told_of_and_the_others_are_saved() {
    let ways: [fn(&Path, &Path); 3] = [
        |path, elsewhere| {
            fs::rename(path, elsewhere).unwrap();
            symlink(elsewhere, path).unwrap();
        },
        |path, _| {
            fs::remove_file(path).unwrap();
            fs::create_dir(path).unwrap();
        },
        |path, _| {
            fs::remove_file(path).unwrap();
            drop(std::os::unix::net::UnixListener::bind(path).unwrap());
        },
    ];
    for (file, saved) in [("00000001.seg", 36), ("00000003.seg", 36), ("MANIFEST", 48)] {
        for way in ways {
            let place = tempfile::tempdir().unwrap();
            let (dir, to) = (place.path().join("s"), place.path().join("to"));
            in_segments(&dir);
            way(&dir.join(file), &place.path().join("elsewhere"));
            let diagnosis = Store::diagnose(&dir).unwrap();
            assert!(diagnosis.open.is_err(), "{file}");
            let [damage] = &diagnosis.damages[..] else { panic!("{:?}", diagnosis.damages) };
            assert!(damage.file.ends_with(file) && damage.reason.contains("has its name"));
            assert_eq!(diagnosis.live, saved, "{file}");
            let report = Store::salvage(&dir, &to).unwrap();
            assert_eq!((report.saved, report.damages.len()), (saved, 1), "{file}");
        }
    }
}

/// Two segments that had changed names were read as each other: all that they held was called
/// damaged, and none of it saved. One with the name of none was not looked at at all.
#[test]
fn segments_with_other_names_are_known_by_what_they_say_they_are() {
    let renames: [&[(&str, &str)]; 3] = [
        &[("00000000.seg", "x"), ("00000001.seg", "00000000.seg"), ("x", "00000001.seg")],
        &[("00000001.seg", "000000aa.seg")],
        &[("00000003.seg", "x"), ("00000000.seg", "00000003.seg"), ("x", "00000000.seg")],
    ];
    for renames in renames {
        let (dir, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        in_segments(dir.path());
        let path = |name: &str| dir.path().join(name);
        renames.iter().for_each(|(from, to)| fs::rename(path(from), path(to)).unwrap());
        match Store::open(dir.path()) {
            Err(Error::Corrupt { file, reason, .. }) => {
                assert!(file.ends_with("00000000.seg"), "{file:?}");
                let other = if renames[0].0 == "00000003.seg" { 3 } else { 1 };
                assert!(reason.contains(&format!("holds what should be in 0000000{other}.seg")));
            }
            Err(Error::MissingSegment { file }) => assert!(file.ends_with("00000001.seg")),
            other => panic!("{other:?}"),
        }
        let diagnosis = Store::diagnose(dir.path()).unwrap();
        assert!(diagnosis.open.is_err() && !diagnosis.is_healthy());
        assert_eq!((diagnosis.live, diagnosis.damages.len()), (48, 0), "{diagnosis:?}");
        let report = Store::salvage(dir.path(), to.path()).unwrap();
        assert_eq!((report.saved, report.damages.len()), (48, 0));
        // As doctor says, they get their names back.
        for (at, misnamed) in diagnosis.misnamed.iter().enumerate() {
            fs::rename(&misnamed.file, path(&format!("{at}"))).unwrap();
        }
        for (at, misnamed) in diagnosis.misnamed.iter().enumerate() {
            fs::rename(path(&format!("{at}")), path(&misnamed.name)).unwrap();
        }
        assert_eq!(Store::open(dir.path()).unwrap().count("Log").unwrap(), 48);
    }
}

/// Doctor named what was lost as its damaged bytes read, which may be any name. A hint knows
/// better; and without one, the name is called uncertain.
#[test]
fn what_is_lost_is_named_by_the_hint() {
    let dir = tempfile::tempdir().unwrap();
    in_segments(dir.path());
    let (segment, hint) = (dir.path().join("00000000.seg"), dir.path().join("00000000.hint"));
    let mut bytes = fs::read(&segment).unwrap();
    let key = bytes.windows(5).position(|bytes| bytes == b"Log07").unwrap();
    bytes[key + 4] = b'9';
    fs::write(&segment, bytes).unwrap();
    for (name, certain) in [("Log/07", true), ("Log/09", false)] {
        let diagnosis = Store::diagnose(dir.path()).unwrap();
        let [damage] = &diagnosis.damages[..] else { panic!("{:?}", diagnosis.damages) };
        let lost = damage.lost.as_ref().unwrap();
        assert_eq!((&*lost.key, lost.certain, lost.newest.is_none()), (name, certain, certain));
        let _ = fs::remove_file(&hint);
    }
}

/// Another segment in the place of one, and that one nowhere: it is lost, and nothing else.
#[test]
fn a_segment_in_anothers_place_is_named_and_read_once() {
    let (dir, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    in_segments(dir.path());
    fs::copy(dir.path().join("00000001.seg"), dir.path().join("00000000.seg")).unwrap();
    let diagnosis = Store::diagnose(dir.path()).unwrap();
    assert_eq!((diagnosis.live, diagnosis.misnamed.len()), (36, 0));
    let [damage] = &diagnosis.damages[..] else { panic!("{:?}", diagnosis.damages) };
    assert!(damage.file.ends_with("00000000.seg"), "{damage:?}");
    assert!(damage.reason.contains("missing, with 12 records"), "{damage:?}");
    assert!(damage.reason.contains("it holds what should be in 00000001.seg"), "{damage:?}");
    assert_eq!(Store::salvage(dir.path(), to.path()).unwrap().saved, 36);
}
