//! What was handed out stays good: bytes, resources, iterators and snapshots, whatever happens to
//! the store. And the files that it lies in are its own.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use bytes::Bytes;
use kindlog::{Batch, Error, Options, ReadMode, Resource};

use crate::support::{Medium, TestStore, agent, pattern};

const SECRET: &str = "hunter2-is-what-nobody-may-see-in-a-log";

/// Every way in which a store hands out bytes.
fn all_stores() -> Vec<TestStore> {
    let options = || Options::new().segment_size(64 << 10);
    let mut stores = vec![
        TestStore::on(Medium::native(), options()),
        TestStore::on(Medium::native(), options().read_mode(ReadMode::Pread)),
        TestStore::on(Medium::native(), options().verify_reads(false)),
        TestStore::on(Medium::Memory, options()),
    ];
    #[cfg(feature = "sim")]
    stores.push(TestStore::on(Medium::Sim(kindlog::disk::sim::SimDisk::new()), options()));
    stores.iter_mut().for_each(fill);
    stores
}

const COUNT: u64 = 600;

fn id(number: u64) -> String {
    format!("{number:04}")
}

fn value(number: u64) -> Vec<u8> {
    pattern(number, number as usize)
}

/// Over several segments, the last resources still in buffers.
fn fill(store: &mut TestStore) {
    let put = |store: &TestStore, numbers: std::ops::Range<u64>| {
        let mut batch = Batch::new();
        for number in numbers {
            batch.put("K", &id(number), value(number));
        }
        store.commit(batch).unwrap();
    };
    (0..5).for_each(|part| put(store, part * 100..(part + 1) * 100));
    store.reopen();
    put(store, 500..COUNT);
}

fn assert_whole(resources: &[Resource]) {
    assert_eq!(resources.len() as u64, COUNT);
    for (number, resource) in resources.iter().enumerate() {
        assert!(resource.kind == "K" && resource.id == id(number as u64));
        assert!(resource.data == value(number as u64), "{resource:?}");
    }
}

#[test]
fn what_was_handed_out_outlives_overwriting_deleting_closing_and_dropping() {
    for mut store in all_stores() {
        let read = |number| store.get_resource("K", &id(number)).unwrap().expect("stored");
        let resources: Vec<Resource> = (0..COUNT).map(read).collect();
        let data: Bytes = resources[599].data.clone();
        let detached: Vec<Resource> = resources.iter().map(Resource::detach).collect();
        assert_eq!(store.scan("K").iter().map(Result::unwrap).collect::<Vec<_>>(), resources);
        let snapshot = store.snapshot();
        let mut begun = store.scan("K").iter();
        let first: Vec<Resource> = begun.by_ref().take(10).map(Result::unwrap).collect();
        let (unbegun, mut keys) = (store.scan("K").iter(), store.scan("K").reverse().keys());
        let check = |what: &str| {
            assert_whole(&resources);
            assert_whole(&detached);
            assert_whole(&snapshot.scan("K").iter().map(Result::unwrap).collect::<Vec<_>>());
            let found = snapshot.get_resource("K", "0300").unwrap();
            assert!(found.expect(what).data == value(300));
            assert!(snapshot.get_resource("K", "new").unwrap().is_none(), "{what}");
        };
        for number in 0..COUNT {
            store.put("K", &id(number), b"overwritten").unwrap();
        }
        check("after overwriting");
        assert_eq!(keys.next().expect("an id").unwrap(), id(COUNT - 1));
        assert_eq!(store.delete_kind("K").unwrap(), COUNT);
        store.put("K", "new", pattern(1, 100_000)).unwrap();
        check("after deleting the kind");
        store.reopen();
        check("after reopening");
        let handle = store.clone();
        store.close();
        check("after closing");
        drop(handle);
        check("after dropping the last handle");
        let rest = first.into_iter().chain(begun.map(Result::unwrap));
        assert_whole(&rest.collect::<Vec<_>>());
        assert_whole(&unbegun.map(Result::unwrap).collect::<Vec<_>>());
        assert_eq!(keys.count() as u64, COUNT - 1);
        drop((snapshot, resources));
        assert!(data == value(599));
    }
}

#[test]
fn what_was_handed_out_outlives_the_directory() {
    let store = TestStore::on(Medium::native(), Options::new().segment_size(64 << 10));
    let mut store = store.unverified();
    fill(&mut store);
    let snapshot = store.snapshot();
    let resources: Vec<_> = store.scan("K").iter().map(Result::unwrap).collect();
    let dir = store.dir();
    drop(store);
    fs::remove_dir_all(dir).ok();
    assert_whole(&resources);
    assert_whole(&snapshot.scan("K").iter().map(Result::unwrap).collect::<Vec<_>>());
}

#[test]
fn debug_output_names_keys_and_lengths_and_never_a_values_bytes() {
    let store = TestStore::native();
    store.put("Agent", "a-key", SECRET).unwrap();
    let message = agent(SECRET, 1);
    store.save("Agent", "b", &message).unwrap();
    let mut batch = Batch::new();
    batch.put("Agent", "c", SECRET);
    let resource = store.get_resource("Agent", "a-key").unwrap().expect("stored");
    let agents = store.collection::<crate::support::Agent>("Agent").unwrap();
    let mut iter = store.scan("Agent").iter();
    let _begun = iter.next();
    let told = [
        format!("{:?} {:#?}", *store, *store),
        format!("{:?}", store.snapshot()),
        format!("{resource:?} {resource:#?}"),
        format!("{batch:?}"),
        format!("{:?} {iter:?} {:?}", store.scan("Agent"), store.scan("Agent").keys()),
        format!("{agents:?} {:?} {:?}", agents.scan(), agents.scan().iter()),
        format!("{:?} {:?}", store.stats(), store.verify().unwrap()),
        format!("{:?}", store.recovery()),
    ];
    let numbers: Vec<String> = SECRET.bytes().take(4).map(|byte| byte.to_string()).collect();
    for text in &told {
        assert!(!text.contains("hunter2"), "{text}");
        assert!(!text.contains(&numbers.join(", ")), "as numbers: {text}");
    }
    assert!(told[2].contains("a-key") && told[2].contains(&SECRET.len().to_string()));
    let shown = store.put_if("Agent", "a-key", kindlog::Expect::Absent, SECRET).unwrap_err();
    assert!(!format!("{shown} {shown:?}").contains("hunter2"));
    assert!(matches!(shown, Error::Conflict { .. }));
}

#[test]
fn unverified_reads_hand_out_what_the_log_holds() {
    for mode in [ReadMode::Mapped, ReadMode::Pread] {
        let options = Options::new().verify_reads(false).read_mode(mode);
        let mut store = TestStore::on(Medium::native(), options).unverified();
        store.put("K", "a", SECRET).unwrap();
        store.put("K", "b", SECRET).unwrap();
        store.reopen();
        let (file, offset) = store.places_of(SECRET.as_bytes()).remove(0);
        store.corrupt(&file, offset);
        let read = store.get_resource("K", "a").unwrap().expect("stored");
        assert_eq!(read.data.len(), SECRET.len());
        assert!(read.data != SECRET.as_bytes(), "not checked, as was asked for");
        assert!(store.get_resource("K", "b").unwrap().expect("stored").data == SECRET.as_bytes());
        assert!(!store.verify().unwrap().is_clean(), "verify checks all the same");
    }
}

#[test]
fn unknown_files_in_the_directory_are_left_alone() {
    let mut store = TestStore::native();
    let strange = ["notes.txt", "0000000G.seg", "00000001.seg.bak", ".hidden", "TAIL.old", "1.seg"];
    let put_there = |store: &TestStore| {
        for name in strange {
            fs::write(store.path(name), name).unwrap();
        }
        fs::create_dir_all(store.path("lost+found")).unwrap();
        fs::write(store.path("lost+found").join("00000001.seg"), b"deep").unwrap();
    };
    put_there(&store);
    for number in 0..20 {
        store.put("K", &id(number), value(number)).unwrap();
    }
    store.reopen();
    store.crash();
    put_there(&store);
    store.put("K", "x", b"").unwrap();
    store.reopen();
    assert!(store.verify().unwrap().is_clean());
    for name in strange {
        assert_eq!(fs::read(store.path(name)).unwrap(), name.as_bytes(), "{name}");
    }
    assert_eq!(fs::read(store.path("lost+found").join("00000001.seg")).unwrap(), b"deep");
    assert_eq!(store.count("K").unwrap(), 21);
}

#[test]
fn files_are_their_owners_alone() {
    let store = TestStore::on(
        Medium::native(),
        Options::new().segment_size(64 << 10).durability(kindlog::Durability::Os),
    );
    for number in 0..100 {
        store.put("K", &id(number), pattern(number, 2000)).unwrap();
    }
    let mode = |path| fs::metadata(path).expect("a file").permissions().mode() & 0o7777;
    assert_eq!(mode(store.dir()), 0o700);
    let files = store.files();
    assert!(files.len() > 4, "manifest, lock, segments: {files:?}");
    for file in files {
        assert_eq!(mode(store.path(&file)), 0o600, "{file}");
    }
}

#[test]
fn a_link_in_the_place_of_a_file_is_refused_and_its_target_not_touched() {
    let mut store = TestStore::native().unverified();
    store.put("K", "a", b"1").unwrap();
    store.close();
    let segment = store.segments().remove(0);
    for file in [segment.as_str(), "MANIFEST", "LOCK"] {
        let elsewhere = store.dir().parent().expect("a parent").join("elsewhere");
        fs::rename(store.path(file), &elsewhere).unwrap();
        symlink(&elsewhere, store.path(file)).unwrap();
        let before = fs::read(&elsewhere).unwrap();
        assert!(store.try_open().is_err(), "{file} is a link");
        assert_eq!(fs::read(&elsewhere).unwrap(), before, "what {file} leads to");
        fs::rename(&elsewhere, store.path(file)).unwrap();
    }
    store.open();
    assert_eq!(store.count("K").unwrap(), 1);
}

#[test]
fn an_empty_store_is_small() {
    let mut store = TestStore::native();
    let size = |store: &TestStore| -> u64 {
        let files = store.files().into_iter();
        files.map(|file| fs::metadata(store.path(&file)).unwrap().len()).sum()
    };
    assert!(size(&store) < 64 << 10, "{} bytes", size(&store));
    store.close();
    assert!(size(&store) < 64 << 10, "{} bytes, closed", size(&store));
}
