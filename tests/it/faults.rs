//! Every operation of a workload fails, in each way that operating systems have: the store goes on
//! or refuses, reads go on, and nothing that was acknowledged is lost.

use std::io::ErrorKind;

use kindlog::disk::sim::{EACCES, EIO, EMFILE, ENOSPC, Fault, Loss, OpKind, SimDisk};
use kindlog::{Durability, Error, Options};

use crate::oracle::Crash;
use crate::support::full;
use crate::workload::{
    Run, Step, Went, assert_no_strays, brief, compacting, everything, options, put,
};

const FAULTS: [Fault; 9] = [
    Fault::Error(EIO),
    Fault::Error(ENOSPC),
    Fault::Error(EACCES),
    Fault::Error(EMFILE),
    Fault::ShortWrite { bytes: 0, code: ENOSPC },
    Fault::ShortWrite { bytes: 21, code: EIO },
    // All of it is written, and called failed all the same.
    Fault::ShortWrite { bytes: usize::MAX, code: EIO },
    Fault::SyncKeepsNew,
    Fault::SyncDropsNew,
];

/// Takes the steps while faults strike; whatever fails, the store must go on, or refuse until it is
/// reopened. At most `faults` steps may fail for another reason than that it refuses.
fn play(run: &mut Run, steps: &[Step], faults: usize, story: &str) {
    let mut wrong = 0;
    let mut note = |went: Went, what: &dyn std::fmt::Debug| match went {
        Went::Well => true,
        Went::Dead => panic!("{story}: nobody killed it"),
        Went::Wrong(Error::Poisoned) => false,
        Went::Wrong(error) => {
            wrong += 1;
            assert!(wrong <= faults, "{story}: {what:?} fails again: {error}");
            false
        }
    };
    for step in steps {
        for _ in 0..=faults {
            if run.store.is_none() {
                let went = run.open();
                note(went, &"open");
            }
        }
        assert!(run.store.is_some(), "{story}: it does not open any more");
        let went = run.step(step);
        let poisoned = matches!(went, Went::Wrong(Error::Poisoned));
        if !note(went, step) && run.store.is_some() {
            run.check_live();
        }
        if poisoned && run.store.is_some() {
            // It refuses until it is reopened; meanwhile it dies, or the power fails.
            check_images(run, story);
            let went = run.reopen();
            note(went, &"reopen");
        }
    }
}

/// What is left if the process dies now, or the power fails.
fn check_images(run: &Run, story: &str) -> u64 {
    let mut images = vec![(run.disk.kill(0), Crash::Kill)];
    for loss in [Loss::AllUnsynced, Loss::Nothing, Loss::Seed(7)] {
        images.push((run.disk.power_loss(loss), Crash::PowerLoss));
        images.push((run.disk.kill(0).power_loss(loss), Crash::PowerLoss));
    }
    let count = images.len() as u64;
    for (image, crash) in images {
        image.set_capacity(None);
        let store = options().open_on(&image);
        let store = store.unwrap_or_else(|error| panic!("{story}, then {crash:?}: {error}"));
        let found = run.oracle.read(&store).expect("reads work");
        if let Err(what) = run.oracle.check(&found, crash) {
            panic!("{story}, then {crash:?}: {what}");
        }
        // What was shown stays: also what could be read but was never synced.
        let later = image.power_loss(Loss::AllUnsynced);
        let later = options().open_on(&later).expect("it opens again");
        assert!(found == run.oracle.read(&later).expect("reads work"), "{story}: {crash:?}, again");
    }
    count
}

/// Plays `steps` with these faults at these operations, and checks what is left.
fn with_faults(steps: &[Step], faults: &[(u64, Fault)], with_tail: bool) -> (u64, u64) {
    let disk = SimDisk::new();
    disk.set_tail(with_tail);
    let mut run = Run::new(&disk);
    for (n, fault) in faults {
        disk.fail(*n, *fault);
        // What the kernel had is gone, and with it what rested on the kernel alone.
        run.drops_cache |= *fault == Fault::SyncDropsNew;
    }
    let story = format!("{faults:?}, tail {with_tail}");
    run.story.clone_from(&story);
    play(&mut run, steps, faults.len(), &story);
    let ops = disk.ops();
    let images = check_images(&run, &story);
    disk.clear_faults();
    for _ in 0..2 {
        if run.store.is_some() && matches!(run.reopen(), Went::Well) {
            break;
        }
        run.open();
    }
    run.check_live();
    let store = run.store.as_ref().expect("it is open");
    assert_no_strays(&disk, store, &story);
    store.compact().unwrap_or_else(|error| panic!("{story}: it is not compacted: {error}"));
    let report = store.verify().expect("verify runs");
    assert!(report.is_clean(), "{story}: {:?}", report.problems);
    assert!(matches!(run.reopen(), Went::Well), "{story}: it does not close and open");
    (ops, images + 1)
}

/// In the short form every `stride`th, another one for each fault.
fn every_operation(steps: &[Step], stride: usize, with_tail: bool) {
    let mut images = 0;
    for (i, fault) in FAULTS.into_iter().enumerate() {
        for n in 0.. {
            if !full() && !(n as usize + i).is_multiple_of(stride) {
                continue;
            }
            let (ops, checked) = with_faults(steps, &[(n, fault)], with_tail);
            images += checked;
            if n > ops {
                break;
            }
        }
    }
    eprintln!("faults, one each, tail {with_tail}: {images} images");
}

#[test]
fn every_operation_fails_once() {
    every_operation(&everything(), 6, true);
}

#[test]
fn every_operation_fails_once_without_a_tail_file() {
    every_operation(&everything(), 6, false);
}

#[test]
fn every_operation_of_compactions_fails_once() {
    every_operation(&compacting(), 31, true);
}

#[test]
fn every_operation_of_compactions_fails_once_without_a_tail_file() {
    every_operation(&compacting(), 47, false);
}

#[test]
fn two_operations_fail() {
    let steps = brief();
    let (ops, _) = with_faults(&steps, &[], true);
    let mut images = 0;
    let mut number = 0u64;
    for first in 0..ops {
        for second in first + 1..ops + 8 {
            for kinds in 0..FAULTS.len() * FAULTS.len() {
                number += 1;
                if !full() && !number.wrapping_mul(0x9E37_79B9_7F4A_7C15).is_multiple_of(601) {
                    continue;
                }
                let faults =
                    [(first, FAULTS[kinds % FAULTS.len()]), (second, FAULTS[kinds / FAULTS.len()])];
                images += with_faults(&steps, &faults, number.is_multiple_of(2)).1;
            }
        }
    }
    eprintln!("faults, in pairs: {images} images");
}

fn refuses_for_want_of_room(went: Went) {
    match went {
        Went::Wrong(Error::Io { source, .. }) => {
            assert_eq!(source.kind(), ErrorKind::StorageFull, "{source}");
        }
        other => panic!("{other:?}, where the disk is full"),
    }
}

/// Writes that find no room are refused and take no revision; reads go on; when there is room
/// again, so do writes, without a reopen. `Run` checks that revisions go on without a gap.
#[test]
fn a_full_disk_refuses_until_there_is_room() {
    for with_tail in [true, false] {
        for durability in [Durability::Sync, Durability::Os] {
            for room in [0, 1, 100, 1000, 5000, 70_000] {
                let disk = SimDisk::new();
                disk.set_tail(with_tail);
                let mut run = Run::new(&disk);
                assert!(matches!(run.open(), Went::Well));
                assert!(matches!(run.step(&put("A", "x", 100, durability)), Went::Well));
                disk.set_capacity(Some(used(&disk) + room));
                let mut refused = 0;
                for i in 0..12 {
                    let went = run.step(&put("A", &format!("{i}"), 20_000, durability));
                    if !matches!(went, Went::Well) {
                        refused += 1;
                        refuses_for_want_of_room(went);
                    }
                    run.check_live();
                }
                assert!(refused > 0, "{room} bytes were enough");
                check_images(&run, "a full disk");
                disk.set_capacity(None);
                for i in 0..12 {
                    let went = run.step(&put("B", &format!("{i}"), 20_000, durability));
                    assert!(matches!(went, Went::Well), "{went:?}, where there is room again");
                }
                check_images(&run, "a disk that was full");
                assert!(matches!(run.reopen(), Went::Well));
            }
        }
    }
}

/// The same where the file system answers so without being full, for as long as it likes.
#[test]
fn refused_operations_resume_without_a_reopen() {
    let kinds = [OpKind::Write, OpKind::Reserve, OpKind::Create];
    let mut images = 0;
    let mut steps = everything();
    steps.retain(|step| !matches!(step, Step::Reopen));
    for with_tail in [true, false] {
        for subset in 1..1 << kinds.len() {
            for skipped in 0..steps.len() - 3 {
                if !full() && skipped % 3 != subset % 3 {
                    continue;
                }
                let disk = SimDisk::new();
                disk.set_tail(with_tail);
                let mut run = Run::new(&disk);
                run.open();
                let story = format!("{subset:03b} refused from step {skipped}, tail {with_tail}");
                let failing = move |kind: OpKind, _: &str| {
                    kinds.iter().enumerate().any(|(i, k)| *k == kind && subset >> i & 1 == 1)
                };
                for (i, step) in steps.iter().enumerate() {
                    if i == skipped {
                        disk.fail_always(failing, Fault::Error(ENOSPC));
                    }
                    let went = run.step(step);
                    if (skipped..skipped + 3).contains(&i) {
                        if !matches!(went, Went::Well) {
                            refuses_for_want_of_room(went);
                            run.check_live();
                        }
                        if i == skipped + 2 {
                            images += check_images(&run, &story);
                            disk.clear_faults();
                        }
                        continue;
                    }
                    assert!(matches!(went, Went::Well), "{story}: {step:?}: {went:?}");
                }
                disk.clear_faults();
                run.check_live();
                images += check_images(&run, &format!("{story}, resumed"));
            }
        }
    }
    eprintln!("faults, for a while: {images} images");
}

fn used(disk: &SimDisk) -> u64 {
    disk.files().iter().filter_map(|file| disk.read_file(file)).map(|b| b.len() as u64).sum()
}

/// Everything that can fail while a store is opened read-only leaves it as it was.
#[test]
fn a_reader_changes_nothing() {
    let disk = SimDisk::new();
    let mut run = Run::new(&disk);
    run.open();
    for step in brief() {
        run.step(&step);
    }
    let image = disk.kill(0);
    let before: Vec<_> = image.files().iter().map(|file| image.read_file(file)).collect();
    let reader: Options = options().read_only(true);
    let found = run.oracle.read(&reader.open_on(&image).expect("it opens")).expect("reads work");
    run.oracle.check(&found, Crash::Kill).expect("a prefix");
    let after: Vec<_> = image.files().iter().map(|file| image.read_file(file)).collect();
    assert!(before == after && image.ops() == 0);
}
