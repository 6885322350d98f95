//! What the worker does with segments that damage or wrong counts keep, and on a full disk.

use std::sync::Arc;
use std::time::Instant;

use super::why;
use super::worker::{
    IDLE_LEN, PAUSE, Pressure, Pulse, bring_down, compact, compact_picked, excess, rows, try_unread,
};
use crate::disk::sim::{EIO, Fault, OpKind, SimDisk};
use crate::engine::commit::{Change, What, commit};
use crate::engine::{read, recover, roll};
use crate::format::location::{Location, SegmentId};
use crate::state::State;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::{Durability, MIN_SEGMENT_SIZE, Options, WhyHeld};

mod bad_sectors;

/// A store without threads.
fn open(disk: &SimDisk) -> Arc<State> {
    let options = Options::new().segment_size(MIN_SEGMENT_SIZE);
    recover::open(Arc::new(disk.clone()), options).expect("it opens").0
}

fn change(state: &State, kind: &str, id: &str, what: What<'_>) {
    let change = Change { kind, id, what };
    commit(state, &[change], None, Durability::Buffered).expect("there is room");
}

/// Ends the segment that is written.
fn end(state: &State) {
    roll::end_early(state).expect("there is room");
}

/// How many bytes the files have.
fn len(disk: &SimDisk) -> u64 {
    let len = |file: &String| disk.read_file(file).map_or(0, |bytes| bytes.len() as u64);
    disk.files().iter().map(len).sum()
}

/// The offset at which a key's record lies in its segment.
fn place_of(state: &State, kind: &str, id: &str) -> u64 {
    let kind = state.index.kind(kind).expect("there is one");
    kind.find_ordered(id.as_bytes()).expect("it lives").place.offset_bytes()
}

/// What is said to be wrong with a segment, if anything is.
fn damage_of(state: &State, segment: u32) -> Option<String> {
    let held = why::compaction(state).held.into_iter().find(|held| held.segment == segment);
    match held?.why {
        WhyHeld::Damaged { reason } => Some(reason),
        _ => None,
    }
}

/// Nothing lives in the segment that takes least, by what is known of it, but all of its
/// tombstones are needed, and the disk had no room for them. No other segment was tried, so the
/// store stayed full.
#[test]
fn on_a_full_disk_another_segment_is_tried_where_the_cheapest_has_no_room() {
    let disk = SimDisk::new();
    let state = open(&disk);
    let long = "x".repeat(500);
    let gone: Vec<String> = (0..28).map(|n| format!("{n}{long}")).collect();
    for (n, id) in gone.iter().enumerate() {
        change(&state, "Gone", id, What::Put(b""));
        change(&state, "Keep", &n.to_string(), What::Put(&[7; 1_000]));
    }
    end(&state);
    gone.iter().for_each(|id| change(&state, "Gone", id, What::Delete));
    end(&state);
    (0..12).for_each(|n| change(&state, "Hot", "a", What::Put(&[n; 4_000])));
    end(&state);
    disk.set_capacity(Some(len(&disk) + 12_000));
    bring_down(&state, || Pressure::Full).expect("one of them has room");
    let left: Vec<u64> = rows(&state).iter().map(|row| row.total - row.live).collect();
    assert!(left.iter().sum::<u64>() < 2_000, "{left:?}");
    let get = |kind: &str, id: &str| read::get(&state, kind, id).expect("it is sound");
    assert_eq!(get("Hot", "a").expect("it lives").data, [11; 4_000][..]);
    assert!(gone.iter().all(|id| get("Gone", id).is_none()));
    assert!((0..28).all(|n| get("Keep", &n.to_string()).is_some()));
}

/// Where the counts are wrong and say that something lives where no key is, a segment was
/// compacted again and again, without a rest, and whoever asked for a compaction waited for ever.
/// On a full disk that was so even when there was a guard against it, which each single segment
/// that was compacted then made forget. Now such a segment is left alone, and the others go.
#[test]
fn a_segment_that_does_not_go_is_compacted_once_and_told_of() {
    // Whether live records are looked for in the index or, beside tombstones, in the contents.
    for (full, walked) in [(false, false), (false, true), (true, false), (true, true)] {
        let disk = SimDisk::new();
        let state = open(&disk);
        (0..12).for_each(|n| change(&state, "Hot", "a", What::Put(&[n; 4_000])));
        if !walked {
            change(&state, "Hot", "a", What::Delete);
        }
        end(&state);
        let kind = state.index.kind("Hot").expect("there is one");
        let nowhere = Location::new(SegmentId(0), 8, 800);
        kind.put(kind.hashed(b"ghost"), nowhere, None, 1, 0, state.index.snapshots());
        for n in 0..10 {
            change(&state, "Hot", "b", What::Put(&[n; 4_000]));
            change(&state, "Keep", &n.to_string(), What::Put(&[n; 1_500]));
        }
        end(&state);
        if full {
            disk.set_capacity(Some(len(&disk) + 10_000));
        }
        // So that what never ends fails.
        let reads = AtomicU64::new(0);
        let too_many =
            move |op, _: &str| op == OpKind::Read && reads.fetch_add(1, Ordering::Relaxed) >= 1_000;
        disk.fail_always(too_many, Fault::Error(EIO));
        let done = bring_down(&state, || Pressure::Full);
        assert_eq!(done.is_err(), full, "{done:?}");
        assert!(done.err().is_none_or(|error| error.is_storage_full()));
        disk.clear_faults();
        let told = damage_of(&state, 0).expect("it is told of");
        assert!(told.contains(if walked { "at byte 8, " } else { "still in use" }), "{told}");
        let dead: Vec<u64> = rows(&state).iter().skip(1).map(|row| row.total - row.live).collect();
        assert_eq!(dead.iter().sum::<u64>() > 2_000, full, "{dead:?}");
        disk.set_capacity(None);
        bring_down(&state, || Pressure::Full).expect("there is room");
        let left = rows(&state).into_iter().filter(|row| row.total - row.live > 2_000);
        assert!(left.map(|row| row.id).eq([SegmentId(0)]));
    }
}

/// A record that lives and can't be read ended each run with an error, and the next one took the
/// same segments: no space came back any more, wherever it was. Now its segment is left alone.
#[test]
fn what_can_not_be_read_keeps_its_segment_and_no_other() {
    let disk = SimDisk::new();
    let state = open(&disk);
    for segment in 0..3 {
        for n in 0..12 {
            change(&state, "Hot", "a", What::Put(&[n; 3_000]));
            change(&state, "Keep", &format!("{segment}/{n}"), What::Put(&[segment; 1_000]));
        }
        end(&state);
    }
    let place = place_of(&state, "Keep", "0/5");
    disk.make_unreadable("00000000.seg", place..place + 1);
    for _ in 0..2 {
        bring_down(&state, || Pressure::Full).expect("the others can be compacted");
        let told = damage_of(&state, 0).expect("it is told of");
        assert!(told.contains(&format!("at byte {place}, it can't be read")), "{told}");
        let rows = rows(&state);
        assert!(rows.iter().all(|row| row.id == SegmentId(0) || row.total - row.live < 2_000));
        assert_eq!(rows.iter().filter(|row| row.id == SegmentId(0)).count(), 1);
    }
    let get = |segment, n| read::get(&state, "Keep", &format!("{segment}/{n}"));
    for (segment, n) in (0..3).flat_map(|segment| (0..12).map(move |n| (segment, n))) {
        let found = get(segment, n).map(|found| found.is_some());
        assert_eq!(found.ok(), ((segment, n) != (0, 5)).then_some(true), "{segment}/{n}");
    }
    // Who asks for it is told, and has it tried again; the others are not copied once more for it.
    let copied = || state.compaction.counters.copied_bytes.load(Ordering::Relaxed);
    compact(&state).expect_err("it can't be read");
    let before = copied();
    let told = compact(&state).expect_err("it still can't be read").to_string();
    assert!(told.contains("00000000.seg") && told.contains("can't be read"), "{told}");
    assert_eq!(copied(), before);
    // Nothing of it was lost, and the next process looks again, as does this one when it is asked.
    let image = disk.kill(0);
    disk.clear_faults();
    compact(&state).expect("it can be read");
    assert!(rows(&state).iter().all(|row| row.id != SegmentId(0)));
    drop(state);
    let state = open(&image);
    bring_down(&state, || Pressure::Full).expect("all can be read");
    assert!(rows(&state).iter().all(|row| row.id != SegmentId(0)));
    assert!(read::get(&state, "Keep", "0/5").expect("it is sound").is_some());
}

/// The same of segments that have no hint and can't be read to the end: as an input, and as one
/// that may hold what a tombstone deletes.
#[test]
fn a_segment_that_can_not_be_looked_through_does_not_keep_the_others() {
    let disk = SimDisk::new();
    let state = open(&disk);
    change(&state, "Log", "gone", What::Put(&[1; 1_000]));
    (0..12).for_each(|n| change(&state, "Hot", "a", What::Put(&[n; 4_000])));
    end(&state);
    change(&state, "Log", "gone", What::Delete);
    (0..12).for_each(|n| change(&state, "Hot", "a", What::Put(&[n; 4_000])));
    end(&state);
    if disk.read_file("00000000.hint").is_some() {
        disk.remove_file("00000000.hint");
    }
    disk.make_unreadable("00000000.seg", 500..501);
    bring_down(&state, || Pressure::Full).expect("the other can be compacted");
    assert!(!try_unread(&state, true).expect("one is as before"));
    assert!(damage_of(&state, 0).is_some_and(|told| told.contains("can't be read")));
    let dead: Vec<u64> = rows(&state).iter().skip(1).map(|row| row.total - row.live).collect();
    assert!(dead.iter().sum::<u64>() < 2_000, "{dead:?}");
    let image = disk.kill(0);
    // It may have been for a moment.
    disk.clear_faults();
    assert!(try_unread(&state, true).expect("all can be read"));
    bring_down(&state, || Pressure::Full).expect("all can be compacted");
    let dead: u64 = rows(&state).iter().map(|row| row.total - row.live).sum();
    assert!(dead < 200, "{dead}");
    drop(state);
    for image in [image, disk.kill(0)] {
        let state = open(&image);
        assert!(read::get(&state, "Log", "gone").expect("it reads").is_none(), "it is back");
    }
}

/// What was dead in a segment that damage keeps counted against the bound: nothing could bring the
/// store within it, so the other segments were compacted whole for every little that died in them,
/// and commits gave way to that.
#[test]
fn what_damage_keeps_is_not_looked_for_in_the_others() {
    let disk = SimDisk::new();
    let state = open(&disk);
    for segment in ["00000000.seg", "00000001.seg"] {
        change(&state, "Keep", segment, What::Put(&[7; 1_000]));
        let place = place_of(&state, "Keep", segment);
        (0..15).for_each(|n| change(&state, "Hot", "a", What::Put(&[n; 4_000])));
        end(&state);
        disk.make_unreadable(segment, place..place + 1);
    }
    (0..50).for_each(|n| change(&state, "Keep", &n.to_string(), What::Put(&[7; 1_000])));
    end(&state);
    bring_down(&state, || Pressure::Full).expect("it goes on");
    let copied = || state.compaction.counters.copied_bytes.load(Ordering::Relaxed);
    let before = copied();
    change(&state, "Keep", "1", What::Put(&[8; 1_000]));
    end(&state);
    bring_down(&state, || Pressure::Full).expect("it goes on");
    assert_eq!(copied(), before, "a thousand bytes of fifty are dead");
    let held = why::compaction(&state).held;
    let due: Vec<_> = held.iter().filter(|held| held.why == WhyHeld::Due).collect();
    assert!(due.is_empty(), "{due:?}");
}

/// A record that can't be read showed in the middle of a run, and kept all inputs of that run that
/// have tombstones, their copies beside them. The next one tried that record again in one run with
/// all others, and found and kept the same.
#[test]
fn who_asks_has_all_compacted_but_what_can_not_be_read() {
    let disk = SimDisk::new();
    let state = open(&disk);
    for segment in 0..3 {
        let id = |n| format!("{segment}/{n}");
        for n in 0..12 {
            change(&state, "Keep", &id(n), What::Put(&[segment; 1_000]));
            change(&state, "Gone", &id(n), What::Put(&[segment; 3_000]));
        }
        (0..12).for_each(|n| change(&state, "Gone", &id(n), What::Delete));
        end(&state);
    }
    let place = place_of(&state, "Keep", "0/5");
    disk.make_unreadable("00000000.seg", place..place + 1);
    for _ in 0..2 {
        let told = compact(&state).expect_err("one record can't be read").to_string();
        assert!(told.contains("00000000.seg") && told.contains("can't be read"), "{told}");
        let others = rows(&state).into_iter().filter(|row| row.id != SegmentId(0));
        let dead: u64 = others.map(|row| row.total - row.live).sum();
        assert!(dead < 2_000, "{dead}");
    }
    disk.clear_faults();
    compact(&state).expect("it can be read");
    assert!(rows(&state).iter().all(|row| row.total - row.live < 100));
    let there = |kind, id: &str| read::get(&state, kind, id).expect("it is sound").is_some();
    let ids = (0..3).flat_map(|segment| (0..12).map(move |n| format!("{segment}/{n}")));
    assert!(ids.into_iter().all(|id| there("Keep", &id) && !there("Gone", &id)));
}

/// The same of tombstones that can't go because of what damage keeps.
#[test]
fn tombstones_that_damage_keeps_are_not_looked_for_in_the_others() {
    let disk = SimDisk::new();
    let state = open(&disk);
    let long = "x".repeat(500);
    let gone: Vec<String> = (0..40).map(|n| format!("{n}{long}")).collect();
    change(&state, "Keep", "x", What::Put(&[7; 1_000]));
    let place = place_of(&state, "Keep", "x");
    gone.iter().for_each(|id| change(&state, "Gone", id, What::Put(b"")));
    end(&state);
    disk.make_unreadable("00000000.seg", place..place + 1);
    gone.iter().for_each(|id| change(&state, "Gone", id, What::Delete));
    end(&state);
    (0..50).for_each(|n| change(&state, "Keep", &n.to_string(), What::Put(&[7; 1_000])));
    end(&state);
    let compacted = || {
        bring_down(&state, || Pressure::Full).expect("it goes on");
        state.compaction.counters.copied_bytes.load(Ordering::Relaxed)
    };
    let before = compacted();
    change(&state, "Keep", "1", What::Put(&[8; 1_000]));
    end(&state);
    assert_eq!(compacted(), before, "a thousand bytes of fifty are dead");
    let due = why::compaction(&state).held.into_iter().find(|held| held.why == WhyHeld::Due);
    assert_eq!(due, None);
    let get = |kind, id: &str| read::get(&state, kind, id);
    assert!(gone.iter().all(|id| get("Gone", id).expect("it is sound").is_none()));
}

/// Where what could not be read can be read again, it went, and what had been kept for it stayed:
/// tombstones, and what lay in another order. Whoever asked for a compaction was told that it was
/// done. And as long as it could not be read, those tombstones were copied each time.
#[test]
fn what_was_kept_for_what_could_not_be_read_goes_with_it() {
    let disk = SimDisk::new();
    let state = open(&disk);
    for n in 0..12 {
        change(&state, "Keep", &format!("a/{n}"), What::Put(&[1; 1_000]));
        change(&state, "Gone", &n.to_string(), What::Put(&[1; 1_000]));
    }
    end(&state);
    for n in 0..12 {
        change(&state, "Gone", &n.to_string(), What::Delete);
        change(&state, "Keep", &format!("a/{n}/b"), What::Put(&[1; 1_000]));
    }
    end(&state);
    let place = place_of(&state, "Keep", "a/5");
    disk.make_unreadable("00000000.seg", place..place + 1);
    compact(&state).expect_err("one record can't be read");
    let copied = || state.compaction.counters.copied_bytes.load(Ordering::Relaxed);
    let before = copied();
    compact(&state).expect_err("it still can't be read");
    assert_eq!(copied(), before);
    disk.clear_faults();
    compact(&state).expect("it can be read");
    let rows: Vec<_> = rows(&state).into_iter().filter(|row| row.ordered.is_some()).collect();
    assert!(rows.len() == 1 && rows[0].total == rows[0].live, "{} segments", rows.len());
    let there = |kind, id: &str| read::get(&state, kind, id).expect("it is sound").is_some();
    assert!((0..12).all(|n| !there("Gone", &n.to_string()) && there("Keep", &format!("a/{n}"))));
}

/// A segment with two bad records was known to be damaged when the first of them was written over,
/// and so it was not news when the second was come upon. What that had kept in the same run was
/// not compacted once more, and whoever had asked was told that it was done.
#[test]
fn what_damage_keeps_is_compacted_though_its_segment_was_damaged_before() {
    let disk = SimDisk::new();
    let state = open(&disk);
    (0..12).for_each(|n| change(&state, "Keep", &n.to_string(), What::Put(&[1; 1_000])));
    end(&state);
    for id in ["3", "7"] {
        let place = place_of(&state, "Keep", id);
        disk.flip_bit("00000000.seg", 8 * (place + 100));
    }
    compact(&state).expect("all could be read");
    assert!(damage_of(&state, 0).is_some());
    let other = (0..12).map(|n| n.to_string());
    for id in other.clone() {
        change(&state, "Gone", &id, What::Put(&[1; 1_000]));
        change(&state, "Gone", &id, What::Delete);
    }
    // Of the two the one that was come upon last.
    change(&state, "Keep", "7", What::Put(&[2; 1_000]));
    end(&state);
    compact(&state).expect("all could be read");
    assert!(damage_of(&state, 0).is_some());
    let others = rows(&state).into_iter().filter(|row| row.id != SegmentId(0));
    let dead: u64 = others.map(|row| row.total - row.live).sum();
    assert!(dead < 100, "{dead}");
    assert!(other.into_iter().all(|id| read::get(&state, "Gone", &id).is_ok_and(|r| r.is_none())));
}

/// Where a segment has damage behind what can't be read, the damage was all that was remembered,
/// and whoever asked for a compaction was told that it was done.
#[test]
fn what_can_not_be_read_is_told_of_though_there_is_damage_too() {
    for (unread, damaged) in [("3", "7"), ("7", "3")] {
        let disk = SimDisk::new();
        let state = open(&disk);
        (0..12).for_each(|n| change(&state, "Keep", &n.to_string(), What::Put(&[1; 1_000])));
        end(&state);
        let place = place_of(&state, "Keep", unread);
        disk.make_unreadable("00000000.seg", place..place + 1);
        disk.flip_bit("00000000.seg", 8 * (place_of(&state, "Keep", damaged) + 100));
        for _ in 0..2 {
            let told = compact(&state).expect_err("a record can't be read").to_string();
            assert!(told.contains("can't be read"), "{told}");
        }
        change(&state, "Keep", unread, What::Put(&[2; 1_000]));
        compact(&state).expect("all can be read");
        assert!(damage_of(&state, 0).is_some_and(|told| told.contains("checksum")));
        change(&state, "Keep", damaged, What::Put(&[2; 1_000]));
        compact(&state).expect("all can be read");
        assert!(rows(&state).iter().all(|row| row.id != SegmentId(0)));
    }
}

/// A store without its threads, in whose first segment nothing counts, and the disk that it is on.
fn replaced() -> (Arc<State>, SimDisk) {
    let disk = SimDisk::new();
    let state = open(&disk);
    change(&state, "Log", "a", What::Put(b"old"));
    end(&state);
    change(&state, "Log", "a", What::Put(b"new"));
    (state, disk)
}

/// A sync did not say in the log that it was over if commits had come meanwhile, and does not today
/// if the segment has no room for that. Until the next commit a reader beside the owner does not
/// take what the sync covered for durable, and what that had taken the place of was compacted away:
/// the key was gone, and from a backup that was made so, too.
#[test]
fn a_reader_finds_what_took_the_place_of_what_is_compacted_away() {
    let fits = |len: &usize| {
        let (state, disk) = replaced();
        let before = disk.files().len();
        change(&state, "Log", "b", What::Put(&vec![9; *len]));
        disk.files().len() == before
    };
    let lens: Vec<usize> = (1..MIN_SEGMENT_SIZE as usize).collect();
    let most = lens.partition_point(fits);
    let (state, disk) = replaced();
    let commits = state.clone();
    disk.hold_up(
        |op, file| op == OpKind::Sync && file.ends_with(".seg"),
        move || change(&commits, "Log", "b", What::Put(&vec![9; most])),
    );
    compact_picked(&state, false, &|number| number == 0).expect("the disk is sound");
    assert!(!disk.files().contains(&"00000000.seg".to_owned()), "it was not compacted");
    let reader = Options::new().read_only(true).open_on(&disk).expect("beside the owner");
    assert!(!reader.contains("Log", "b").expect("sound"), "nobody has synced it");
    let found = reader.get_resource("Log", "a").expect("sound");
    assert_eq!(found.expect("it is there").data, b"new"[..]);
}

/// Compaction rests less and less on the way from the bound to what is promised, and only beyond
/// that are commits held back.
#[test]
fn commits_are_held_back_only_where_compaction_no_longer_rests() {
    let state = open(&SimDisk::new());
    let step = || {
        change(&state, "Log", "a", What::Put(&[7; 4_000]));
        (excess(&state), state.compaction.behind.load(Ordering::Relaxed))
    };
    let steps: Vec<(f64, bool)> = (0..50).map(|_| step()).collect();
    assert!(steps.is_sorted_by(|a, b| a.0 <= b.0), "{steps:?}");
    assert_eq!((steps[0], steps[49]), ((0.0, false), (1.0, true)));
    let between = steps.iter().filter(|(excess, _)| (0.1..0.9).contains(excess)).count();
    assert!(between > 8, "{steps:?}");
    assert!(steps.iter().all(|(excess, behind)| !behind || *excess == 1.0), "{steps:?}");
}

/// A store that was idle was brought down to what an idle one may have, though commits had begun to
/// come meanwhile: what is asked of it now counts, before each run.
#[test]
fn what_is_asked_of_a_store_may_change_between_two_runs() {
    let state = open(&SimDisk::new());
    for n in 0..8 {
        (0..14).for_each(|at| change(&state, "Log", &at.to_string(), What::Put(&[n; 4_000])));
        end(&state);
    }
    let (before, mut asked) = (rows(&state).len(), 0);
    let pressure = || {
        asked += 1;
        if asked == 1 { Pressure::Idle } else { Pressure::Load }
    };
    (0..14).for_each(|at| change(&state, "Log", &at.to_string(), What::Put(b"small")));
    // And whoever was not held to an idle one's has to look again when it is idle.
    assert_eq!(bring_down(&state, pressure).expect("there is room"), Pressure::Load);
    assert_eq!(asked, 2);
    assert!(rows(&state).len() < before);
}

/// A store is idle when little was appended for a while, and no longer so once more is.
#[test]
fn a_store_is_idle_until_commits_come() {
    let state = open(&SimDisk::new());
    let a_while_ago = |pulse: &mut Pulse| pulse.judged = Instant::now() - PAUSE;
    let append = || change(&state, "Log", "a", What::Put(&[7; IDLE_LEN as usize]));
    append();
    let mut pulse = Pulse::new(&state);
    // However long this thread has to wait.
    pulse.judged = Instant::now() + 1_000 * PAUSE;
    assert!(!pulse.is_idle(&state), "nobody knows yet");
    append();
    a_while_ago(&mut pulse);
    assert!(!pulse.is_idle(&state), "since it was opened");
    a_while_ago(&mut pulse);
    assert!(pulse.is_idle(&state));
    append();
    assert!(!pulse.is_idle(&state));
    a_while_ago(&mut pulse);
    assert!(!pulse.is_idle(&state), "so much has come in that while");
}

/// A burst of commits was over, and the store larger than what is promised, before anyone looked.
#[test]
fn compaction_is_told_when_a_segment_is_full() {
    let state = open(&SimDisk::new());
    let now = &state.compaction.signals.now;
    change(&state, "Log", "a", What::Put(&[7; 1_000]));
    assert!(!now.load(Ordering::Relaxed));
    end(&state);
    assert!(now.load(Ordering::Relaxed));
}
