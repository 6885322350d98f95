//! What a medium that fails in places does to reads of what lies elsewhere.

use std::collections::HashMap;
use std::sync::Arc;

use super::{consistent, contains, get, get_thoroughly, locate, locate_thoroughly};
use crate::disk::native::NativeDisk;
use crate::disk::sim::SimDisk;
use crate::engine::commit::{Change, What, commit};
use crate::engine::compact::worker;
use crate::engine::{recover, roll};
use crate::state::State;
use crate::{Durability, Options, ReadMode};

/// The short way to a record and the long one, in a store that is written, rolled and compacted,
/// with its keys in buffers, in files and hidden by prefix deletes.
#[test]
fn a_quick_look_and_a_thorough_one_agree() {
    let options = Options::new().durability(Durability::Os);
    let dir = tempfile::tempdir().expect("a directory");
    // The disks of memory have no mappings.
    let disk = NativeDisk::open(dir.path().join("store"), true).expect("a disk");
    let state = recover::open(Arc::new(disk), options).expect("it opens").0;
    let mut random = 0x9e37_79b9_7f4a_7c15u64;
    let mut below = |n: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % n
    };
    // Some are longer than what is held in place, or than the usual header has room for.
    let ids = [3, 38, 39, 127, 128, 300].map(|len| "i".repeat(len));
    let id = |n: u64| format!("{}/{}{n}", n % 3, ids[n as usize % ids.len()]);
    let (mut there, mut gone) = (0, 0);
    for step in 0..3_000 {
        let n = below(60);
        let (value, id_of) = (vec![n as u8; below(900) as usize], id(n));
        match below(40) {
            0..30 => change(&state, &id_of, What::Put(&value)),
            30..36 => change(&state, &id_of, What::Delete),
            36 => change(&state, &id_of[..2], What::DeletePrefix),
            37 if step % 5 == 0 => change(&state, "", What::DeletePrefix),
            38 => roll::end_early(&state).expect("there is room"),
            39 if step % 3 == 0 => worker::compact(&state).expect("there is room"),
            _ => state.order.lock().active().flush().expect("there is room"),
        }
        for n in (0..4).map(|_| below(60)) {
            let id = id(n);
            let quick = get(&state, "Log", &id).expect("it is sound");
            let Some(kind) = state.index.kind("Log") else { continue };
            let hashed = kind.hashed(id.as_bytes());
            assert_eq!(quick, get_thoroughly(&state, kind, &id).expect("it is sound"));
            let located = consistent(&state, || locate(&state, kind, hashed)).expect("sound");
            assert_eq!(located, locate_thoroughly(&state, kind, hashed).expect("it is sound"));
            assert_eq!(located.is_some(), quick.is_some());
            *if quick.is_some() { &mut there } else { &mut gone } += 1;
        }
    }
    assert!(there > 2_000 && gone > 2_000, "{there} were there and {gone} were not");
}

/// A store without threads, whose only segment is ended.
fn store(disk: &SimDisk, records: &[(&str, &[u8])]) -> Arc<State> {
    let options = Options::new().read_mode(ReadMode::Pread);
    let state = recover::open(Arc::new(disk.clone()), options).expect("it opens").0;
    records.iter().for_each(|(id, value)| change(&state, id, What::Put(value)));
    roll::end_early(&state).expect("there is room");
    state
}

fn change(state: &State, id: &str, what: What<'_>) {
    let change = Change { kind: "Log", id, what };
    commit(state, &[change], None, Durability::Sync).expect("there is room");
}

/// Has the medium fail in a byte of a key's record.
fn make_unreadable(disk: &SimDisk, state: &State, id: &str, byte: u64) {
    let kind = state.index.kind("Log").expect("there is one");
    let place = kind.find_ordered(id.as_bytes()).expect("it lives").place;
    let at = place.offset_bytes() + byte;
    disk.make_unreadable("00000000.seg", at..at + 1);
}

/// What a prefix delete takes has its slots for a while, and who asked for a key of it that can't
/// be read got that error, though nothing has to be read to know that it is gone.
#[test]
fn what_was_deleted_is_gone_though_it_can_not_be_read() {
    let disk = SimDisk::new();
    let state = store(&disk, &[("a/1", &[1; 100]), ("b/1", &[1; 100])]);
    make_unreadable(&disk, &state, "a/1", 0);
    get(&state, "Log", "a/1").expect_err("it can't be read");
    contains(&state, "Log", "a/1").expect_err("it can't be read");
    change(&state, "a/", What::DeletePrefix);
    assert!(get(&state, "Log", "a/1").expect("it is gone").is_none());
    assert!(!contains(&state, "Log", "a/1").expect("it is gone"));
    assert!(get(&state, "Log", "b/1").expect("it is sound").is_some());
}

/// The same of a key whose hash is that of one that can't be read.
#[test]
fn a_key_is_found_though_another_of_its_hash_can_not_be_read() {
    let disk = SimDisk::new();
    let state = store(&disk, &[]);
    let kind = state.index.kind_or_create("Log");
    // A slot has less of the hash than there is. With so many ids, some two are alike in it.
    let mut slots = HashMap::new();
    let mut ids = (0..u64::MAX).map(|n| n.to_string());
    let (one, other) = ids
        .find_map(|id| {
            let slot = kind.hashed(id.as_bytes()).hash % (1 << 36);
            slots.insert(slot, id.clone()).map(|earlier| (earlier, id))
        })
        .expect("some two are");
    for id in [&one, &other] {
        change(&state, id, What::Put(&[1; 2_000]));
    }
    roll::end_early(&state).expect("there is room");
    for (bad, sound) in [(&one, &other), (&other, &one)] {
        let place = kind.find_ordered(bad.as_bytes()).expect("it lives").place;
        let name = state.segments.path(place.segment);
        let name = name.file_name().and_then(|name| name.to_str()).expect("it has one");
        disk.make_unreadable(name, place.offset_bytes()..place.offset_bytes() + 1);
        get(&state, "Log", bad).expect_err("it can't be read");
        assert!(get(&state, "Log", sound).expect("it is sound").is_some());
        disk.clear_faults();
    }
}

/// To learn a record's length, more was read than the longest header has; if what lay behind the
/// record could not be read, neither could the record.
#[test]
fn a_record_is_read_though_what_lies_behind_it_can_not_be() {
    for len in [0, 1, 50, 500, 5_000] {
        let disk = SimDisk::new();
        let value = vec![7; len];
        let state = store(&disk, &[("a", &value), ("b", &[1; 100]), ("c", &value)]);
        make_unreadable(&disk, &state, "b", 0);
        for id in ["a", "c"] {
            assert_eq!(get(&state, "Log", id).expect("it is sound").expect("it lives").data, value);
        }
        get(&state, "Log", "b").expect_err("it can't be read");
    }
}
