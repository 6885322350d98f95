//! Backups whose directory fails, fills up, or whose process dies, at every operation: the store is
//! left alone, the earlier backup counts until the next one is complete, and the next attempt
//! succeeds.

use std::io::ErrorKind;

use kindlog::disk::sim::{EACCES, EIO, ENOSPC, Fault, Loss, OpKind, SimDisk};
use kindlog::{Durability, Error, Store};

use crate::oracle::{Found, Oracle};
use crate::support::full;
use crate::workload::{Step, delete, delete_prefix};
use crate::workload::{commit_to, is_dead, options, put};

/// A store that was backed up and has gone on since.
struct Scene {
    disk: SimDisk,
    store: Store,
    oracle: Oracle,
    /// With the first backup, or none.
    target: SimDisk,
    /// What is in the first backup, and what must be in the second.
    first: Option<Found>,
    second: Found,
}

fn play(store: &Store, oracle: &mut Oracle, steps: &[Step]) {
    for step in steps {
        let Step::Commit(changes, durability) = step else { panic!("commits alone") };
        let revision = commit_to(store, changes, *durability, oracle.next()).expect("it commits");
        oracle.attempted(changes, crate::oracle::Fate::Acknowledged(revision));
    }
}

/// Waits until the background has sealed that many segments.
fn wait_for_sealed(disk: &SimDisk, count: usize) {
    loop {
        let reader = options().read_only(true).open_on(disk).expect("it opens");
        if reader.stats().segments.iter().filter(|segment| !segment.active).count() >= count {
            return;
        }
        std::thread::yield_now();
    }
}

impl Scene {
    fn new(with_first: bool) -> Scene {
        use Durability::{Os, Sync};
        let (disk, target) = (SimDisk::new(), SimDisk::new());
        let store = options().open_on(&disk).expect("it opens");
        let mut oracle = Oracle::new();
        let steps = [
            put("Blob", "a", 30_000, Sync),
            put("Agent", "a", 40, Os),
            put("Blob", "b", 30_000, Os),
            put("Blob", "c", 30_000, Sync),
            put("Agent", "b", 40, Os),
        ];
        play(&store, &mut oracle, &steps);
        wait_for_sealed(&disk, 1);
        let first = with_first.then(|| {
            store.backup_on(&target).expect("the first backup");
            oracle.read(&store).expect("reads work")
        });
        let steps = [
            delete("Agent", "a", Os),
            put("Agent", "c", 40, Sync),
            put("Blob", "d", 30_000, Os),
            delete_prefix("Blob", "b", Sync),
            put("Blob", "e", 30_000, Os),
        ];
        play(&store, &mut oracle, &steps);
        // The background reads what it seals, and must not meet the faults below.
        wait_for_sealed(&disk, 2);
        let second = oracle.read(&store).expect("reads work");
        Scene { disk, store, oracle, target, first, second }
    }

    /// What is in the backup on a disk, if it is sound; `None` where there never was one.
    fn read(&self, backup: &SimDisk, story: &str) -> Option<Found> {
        match Store::verify_backup_on(backup) {
            Ok(report) => assert!(report.is_clean(), "{story}: {:?}", report.problems),
            Err(Error::Io { source, .. }) if source.kind() == ErrorKind::NotFound => return None,
            Err(error) => panic!("{story}: {error}"),
        }
        let to = SimDisk::new();
        Store::restore_on(backup, &to).unwrap_or_else(|error| panic!("{story}: restore: {error}"));
        let store = options().open_on(&to.power_loss(Loss::AllUnsynced));
        let store = store.unwrap_or_else(|error| panic!("{story}: open: {error}"));
        Some(self.oracle.read(&store).expect("reads work"))
    }

    /// What an attempt left is the first backup or, if it said so, the second; and the next one
    /// makes it the second, durably.
    fn check(&self, left: &SimDisk, done: bool, story: &str) {
        let found = self.read(left, story);
        let is_second = found.as_ref() == Some(&self.second);
        assert!(is_second || (!done && found == self.first), "{story}: {:?}", left.files());
        let left = left.kill(0);
        self.store.backup_on(&left).unwrap_or_else(|error| panic!("{story}, again: {error}"));
        let left = left.power_loss(Loss::AllUnsynced);
        let found = self.read(&left, story);
        assert!(found.as_ref() == Some(&self.second), "{story}, again");
    }

    /// The images of a disk that count: as a dead process leaves it, and a dead machine.
    fn images(disk: &SimDisk, n: u64) -> Vec<(SimDisk, String)> {
        let mut images = vec![
            (disk.kill(0), "killed".to_owned()),
            (disk.kill(usize::MAX), "killed behind it".to_owned()),
            (disk.kill(100 + n as usize), "killed in it".to_owned()),
        ];
        let losses = [Loss::AllUnsynced, Loss::Nothing, Loss::Seed(n), Loss::Seed(n + 1000)];
        for loss in losses {
            images.push((disk.power_loss(loss), format!("{loss:?}")));
        }
        images
    }

    fn crashes(&self) {
        for n in 0.. {
            let disk = self.target.kill(0);
            disk.crash_after(n);
            let done = self.store.backup_on(&disk).is_ok();
            for (i, (image, how)) in Scene::images(&disk, n).into_iter().enumerate() {
                let story = format!("dead in operation {n}, {how}");
                self.check(&image, done, &story);
                // The next attempt dies, too, early or late.
                if full() || (i == 0 && (self.first.is_some() || n % 3 == 0)) {
                    for later in [0, 1, 2, 5, 13] {
                        let again = image.kill(0);
                        again.crash_after(later);
                        let done = self.store.backup_on(&again).is_ok();
                        // These two change what the earlier attempt left.
                        let seeds = if full() || matches!(later, 1 | 2) { 12 } else { 1 };
                        let seeds = (0..seeds).map(|i| Loss::Seed(n * 1000 + later * 16 + i));
                        for loss in seeds.chain([Loss::AllUnsynced]) {
                            let left = again.power_loss(loss);
                            self.check(&left, done, &format!("{story}, then in {later}"));
                        }
                    }
                }
            }
            if !is_dead(&disk) {
                return;
            }
        }
    }

    fn faults(&self) {
        let faults = [
            Fault::Error(EIO),
            Fault::Error(ENOSPC),
            Fault::Error(EACCES),
            Fault::ShortWrite { bytes: 21, code: ENOSPC },
            Fault::SyncKeepsNew,
            Fault::SyncDropsNew,
        ];
        for (i, fault) in faults.into_iter().enumerate() {
            for n in 0.. {
                if !full() && !(n as usize + i).is_multiple_of(3) {
                    continue;
                }
                let disk = self.target.kill(0);
                let ops = disk.ops();
                disk.fail(n, fault);
                let done = self.store.backup_on(&disk);
                let story = format!("{fault:?} in operation {n}");
                if let Err(error) = &done {
                    assert!(matches!(error, Error::Io { .. }), "{story}: {error}");
                }
                for (image, how) in Scene::images(&disk, n) {
                    self.check(&image, done.is_ok(), &format!("{story}, {how}"));
                }
                // The same process tries again: what the kernel calls clean is not trusted.
                disk.clear_faults();
                self.store.backup_on(&disk).unwrap_or_else(|e| panic!("{story}, again: {e}"));
                let left = disk.power_loss(Loss::AllUnsynced);
                assert!(self.read(&left, &story).as_ref() == Some(&self.second), "{story}, again");
                if n > disk.ops() - ops {
                    break;
                }
            }
        }
    }

    /// Whatever happened to backups of it, the store is as it was.
    fn finish(self) {
        let found = self.oracle.read(&self.store).expect("reads work");
        assert!(found == self.second);
        assert!(self.store.verify().expect("verify runs").is_clean());
        drop(self.store);
        let store = options().open_on(&self.disk).expect("it opens again");
        assert!(self.oracle.read(&store).expect("reads work") == self.second);
    }
}

#[test]
fn a_crash_at_every_operation_leaves_the_earlier_backup_or_the_next() {
    let scene = Scene::new(true);
    scene.crashes();
    scene.finish();
}

#[test]
fn a_crash_at_every_operation_of_the_first_backup_leaves_none_or_all_of_it() {
    let scene = Scene::new(false);
    scene.crashes();
    scene.finish();
}

#[test]
fn every_failing_operation_leaves_the_earlier_backup_or_the_next() {
    for with_first in [true, false] {
        let scene = Scene::new(with_first);
        scene.faults();
        scene.finish();
    }
}

/// A full disk is a clear error, gets its room back, and is good for a backup when there is room.
#[test]
fn a_directory_without_room_keeps_what_it_has() {
    let scene = Scene::new(true);
    let used = |disk: &SimDisk| -> u64 {
        disk.files().iter().filter_map(|file| disk.read_file(file)).map(|b| b.len() as u64).sum()
    };
    let before = used(&scene.target);
    for room in [0, 1, 100, 1000, 30_000, 60_000] {
        let disk = scene.target.kill(0);
        disk.set_capacity(Some(before + room));
        let error = scene.store.backup_on(&disk).expect_err("there is no room");
        let Error::Io { source, .. } = &error else { panic!("{error}") };
        assert_eq!(source.kind(), ErrorKind::StorageFull, "{error}");
        assert!(used(&disk) <= before + 1024, "{room}: the room is given back");
        assert!(scene.read(&disk, "full") == scene.first);
        disk.set_capacity(None);
        scene.check(&disk, false, "room again");
    }
    scene.finish();
}

/// Restoring to a disk that fails leaves nothing that passes for a store.
#[test]
fn a_restore_is_whole_or_not_there() {
    let scene = Scene::new(true);
    for n in 0.. {
        let to = SimDisk::new();
        to.fail(n, Fault::Error(EIO));
        let restored = Store::restore_on(&scene.target, &to);
        if restored.is_ok() {
            break;
        }
        assert!(to.files().iter().all(|name| name != "MANIFEST"), "{n}: {:?}", to.files());
        assert!(options().read_only(true).open_on(&to).is_err());
        let to = SimDisk::new();
        to.crash_after(n);
        assert!(Store::restore_on(&scene.target, &to).is_err());
        for (image, how) in Scene::images(&to, n) {
            let opened = options().read_only(true).open_on(&image);
            // Only the last step is the one that makes it a store, and then it is all there.
            if let Ok(store) = opened {
                let found = scene.oracle.read(&store).expect("reads work");
                assert!(Some(found) == scene.first, "{n}, {how}");
            }
        }
    }
    scene.finish();
}

/// What the store's own disk does to a backup ends the backup, and nothing else.
#[test]
fn a_store_that_cannot_be_read_or_synced_is_not_backed_up() {
    let scene = Scene::new(true);
    let target = scene.target.kill(0);
    scene.disk.fail_when(|kind, file| kind == OpKind::Read && file.ends_with(".seg"), 2, EIO_FAULT);
    let unread = scene.store.backup_on(&target);
    assert!(matches!(unread, Err(Error::Io { .. })), "{unread:?}");
    assert!(scene.read(&target, "unread") == scene.first);
    scene.store.backup_on(&target).expect("it was but once");
    scene.store.put("Agent", "z", b"more").expect("it goes on");
    scene.store.commit_with(one("y"), Durability::Os).expect("it goes on");
    scene.disk.fail_always(|kind, _| kind == OpKind::Sync, EIO_FAULT);
    assert!(scene.store.backup_on(&target).is_err());
    assert!(matches!(scene.store.backup_on(&target), Err(Error::Poisoned)));
    assert!(scene.read(&target, "unsynced").as_ref() == Some(&scene.second));
    // What is on the disk all the same can be had through a reader, or after a reopen.
    scene.disk.clear_faults();
    let disk = scene.disk.kill(0);
    let reader = options().read_only(true).open_on(&disk).expect("it opens");
    reader.backup_on(&target).expect("a reader's backup");
    assert!(scene.read(&target, "reader").expect("a backup").len() > scene.second.len());
}

/// A bad sector under a backup ended verifying it with an error, and nobody heard of what else is
/// damaged in it.
#[test]
fn what_can_not_be_read_of_a_backup_is_a_problem_and_not_the_last() {
    let scene = Scene::new(true);
    let segments: Vec<String> =
        scene.target.files().into_iter().filter(|name| name.ends_with(".seg")).collect();
    assert!(segments.len() > 1, "{segments:?}");
    // In its header's piece, and behind that.
    for (name, at) in segments.iter().zip([200, 9_000]) {
        scene.target.make_unreadable(name, at..at + 1);
    }
    let report = Store::verify_backup_on(&scene.target).expect("it reads what there is");
    let mut told: Vec<String> = report
        .problems
        .iter()
        .filter(|problem| problem.reason.contains("can't be read"))
        .map(|problem| problem.file.file_name().expect("a name").display().to_string())
        .collect();
    told.sort();
    told.dedup();
    assert_eq!(told, segments, "{:?}", report.problems);
    assert!(Store::restore_on(&scene.target, &SimDisk::new()).is_err());
}

const EIO_FAULT: Fault = Fault::Error(EIO);

fn one(id: &str) -> kindlog::Batch {
    let mut batch = kindlog::Batch::new();
    batch.put("Agent", id, b"one");
    batch
}
