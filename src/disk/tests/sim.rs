//! What the simulated disk loses, keeps and refuses.

use std::io::ErrorKind;

use crate::disk::Disk;
use crate::disk::sim::{EACCES, EIO, EMFILE, ENOSPC, Fault, Loss, OpKind, SimDisk};

const SEEDS: u64 = 500;

/// The images that power losses of many seeds leave.
fn losses(disk: &SimDisk) -> impl Iterator<Item = SimDisk> {
    (0..SEEDS).map(|seed| disk.power_loss(Loss::Seed(seed)))
}

/// A disk with one durable file.
fn disk_with(name: &str, bytes: &[u8]) -> SimDisk {
    let disk = SimDisk::new();
    let file = disk.create(name).unwrap();
    file.write_all_at(bytes, 0).unwrap();
    file.sync().unwrap();
    disk.sync_dir().unwrap();
    disk
}

fn content(disk: &SimDisk, name: &str) -> Vec<u8> {
    disk.read_file(name).unwrap()
}

/// Both happen over the seeds.
fn assert_both_ways(mut outcomes: impl Iterator<Item = bool>) {
    let first = outcomes.next().unwrap();
    assert!(outcomes.any(|outcome| outcome != first), "always {first}");
}

#[test]
fn what_was_synced_is_kept_by_every_loss() {
    let disk = disk_with("a", &[7; 3000]);
    disk.open("a").unwrap().write_all_at(&[8; 3000], 3000).unwrap();
    for image in losses(&disk) {
        assert_eq!(content(&image, "a")[..2560], [7; 2560]);
        // The sector that both writes share: every version of it holds the synced bytes.
        assert_eq!(content(&image, "a")[2560..3000], [7; 440]);
    }
    assert_eq!(content(&disk.power_loss(Loss::AllUnsynced), "a"), [7; 3000]);
    assert_eq!(content(&disk.power_loss(Loss::Nothing), "a").len(), 6000);
}

#[test]
fn unsynced_sectors_are_lost_each_by_itself() {
    let disk = disk_with("a", &[0; 2048]);
    disk.open("a").unwrap().write_all_at(&[1; 2048], 0).unwrap();
    let mut patterns = std::collections::BTreeSet::new();
    for image in losses(&disk) {
        let bytes = content(&image, "a");
        for sector in bytes.chunks(512) {
            assert!(sector.iter().all(|byte| *byte == sector[0]), "a sector is never torn");
        }
        patterns.insert(bytes.chunks(512).map(|sector| sector[0]).collect::<Vec<_>>());
    }
    assert_eq!(patterns.len(), 16, "every subset of four sectors is met");
}

#[test]
fn a_later_sector_may_survive_an_earlier_one_and_holds_what_shared_it() {
    let disk = disk_with("a", b"");
    let file = disk.open("a").unwrap();
    for step in 0..20 {
        file.write_all_at(&[step as u8 + 1; 100], step * 100).unwrap();
    }
    let mut out_of_order = false;
    for image in losses(&disk) {
        let bytes = content(&image, "a");
        for pair in bytes.chunks(512).collect::<Vec<_>>().windows(2) {
            out_of_order |= pair[0][0] == 0 && pair[1][0] != 0;
        }
        for sector in bytes.chunks(512) {
            let end = sector.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            assert!(!sector[..end].contains(&0), "a gap inside a sector that was written in order");
        }
    }
    assert!(out_of_order);
}

#[test]
fn length_and_data_survive_apart() {
    let disk = disk_with("a", b"old");
    disk.open("a").unwrap().write_all_at(&[1; 600], 3).unwrap();
    assert_both_ways(losses(&disk).map(|image| content(&image, "a").len() == 603));
    let long = losses(&disk).map(|image| content(&image, "a")).filter(|bytes| bytes.len() == 603);
    assert_both_ways(long.map(|bytes| bytes[602] == 1));
}

#[test]
fn reserved_room_comes_and_goes_like_a_length() {
    let disk = disk_with("a", b"old");
    disk.open("a").unwrap().reserve(0, 4096).unwrap();
    assert_both_ways(losses(&disk).map(|image| content(&image, "a").len() == 4096));
    assert!(losses(&disk).all(|image| content(&image, "a")[3..].iter().all(|byte| *byte == 0)));
}

#[test]
fn names_are_durable_only_with_the_directory() {
    let disk = disk_with("kept", b"");
    disk.create("new").unwrap().sync().unwrap();
    disk.remove("kept").unwrap();
    assert_both_ways(losses(&disk).map(|image| image.files().contains(&"new".to_owned())));
    assert_both_ways(losses(&disk).map(|image| image.files().contains(&"kept".to_owned())));
    assert_eq!(disk.power_loss(Loss::AllUnsynced).files(), ["kept"]);
    assert_eq!(disk.power_loss(Loss::Nothing).files(), ["new"]);
    disk.sync_dir().unwrap();
    assert!(losses(&disk).all(|image| image.files() == ["new"]));
}

#[test]
fn a_rename_without_the_directorys_sync_goes_either_way_and_never_half() {
    let disk = disk_with("manifest", b"old");
    let next = disk.create("next").unwrap();
    next.write_all_at(b"new", 0).unwrap();
    next.sync().unwrap();
    disk.sync_dir().unwrap();
    disk.rename("next", "manifest").unwrap();
    for image in losses(&disk) {
        match image.files().len() {
            1 => assert_eq!(content(&image, "manifest"), b"new"),
            _ => assert_eq!(
                (content(&image, "manifest"), content(&image, "next")),
                (b"old".to_vec(), b"new".to_vec())
            ),
        }
    }
    assert_both_ways(losses(&disk).map(|image| image.files().len() == 1));
}

#[test]
fn a_rename_before_the_sync_of_the_file_loses_both_contents() {
    let disk = disk_with("manifest", b"old");
    disk.create("next").unwrap().write_all_at(b"new", 0).unwrap();
    disk.rename("next", "manifest").unwrap();
    assert_both_ways(losses(&disk).map(|image| content(&image, "manifest").is_empty()));
}

#[test]
fn a_seed_decides_everything() {
    let disk = disk_with("a", &[0; 5000]);
    disk.open("a").unwrap().write_all_at(&[1; 9000], 100).unwrap();
    disk.create("b").unwrap().write_all_at(&[2; 900], 0).unwrap();
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..SEEDS {
        let [one, two] = [(); 2].map(|()| disk.power_loss(Loss::Seed(seed)));
        assert_eq!(one.files(), two.files());
        for name in one.files() {
            assert_eq!(one.read_file(&name), two.read_file(&name));
        }
        seen.insert((one.read_file("a"), one.read_file("b")));
    }
    assert!(seen.len() > 50, "{} images", seen.len());
}

#[test]
fn a_killed_process_loses_nothing_it_was_told_is_done() {
    let disk = SimDisk::new();
    let _lock = disk.lock("lock").unwrap().unwrap();
    disk.create("a").unwrap().write_all_at(b"unsynced", 0).unwrap();
    let image = disk.kill(0);
    assert_eq!(content(&image, "a"), b"unsynced");
    assert!(!image.is_locked("lock").unwrap(), "the lock dies with its owner");
    assert_eq!(image.ops(), 0);
    // It still isn't durable, whoever reads it now.
    assert_both_ways(losses(&image).map(|image| image.read_file("a").is_some()));
}

#[test]
fn a_write_that_the_process_dies_in_is_cut_anywhere() {
    let disk = disk_with("a", b"abc");
    let file = disk.open("a").unwrap();
    disk.crash_after(disk.ops());
    assert!(file.write_all_at(b"defgh", 3).is_err());
    for cut in 0..=5 {
        assert_eq!(content(&disk.kill(cut), "a"), b"abcdefgh"[..3 + cut]);
    }
    assert!(file.sync().is_err() && file.len().is_err() && disk.list().is_err());
    assert_eq!(disk.ops(), 4, "what a dead process tries doesn't count");
}

#[test]
fn every_operation_can_be_the_last() {
    let script = |disk: &SimDisk| -> std::io::Result<()> {
        let _lock = disk.lock("lock")?;
        let file = disk.create("a")?;
        file.reserve(0, 8)?;
        file.write_all_at(b"12345678", 0)?;
        file.set_len(6)?;
        file.sync()?;
        disk.rename("a", "b")?;
        disk.sync_dir()?;
        if let Some(mut tail) = disk.create_tail("tail", b"t", 4096)? {
            tail.store(1, b"xyz");
        }
        disk.remove("b")
    };
    let whole = SimDisk::new();
    script(&whole).unwrap();
    assert_eq!(whole.ops(), 11);
    for n in 0..whole.ops() {
        let disk = SimDisk::new();
        disk.crash_after(n);
        script(&disk).unwrap_err();
        assert_eq!(disk.trace(), whole.trace()[..n as usize]);
        for image in [disk.kill(0), disk.kill(1), disk.kill(99), disk.power_loss(Loss::Seed(n))] {
            image.create("next").unwrap().write_all_at(b"alive", 0).unwrap();
        }
    }
    let done = |cut| {
        let disk = SimDisk::new();
        disk.crash_after(6);
        script(&disk).unwrap_err();
        disk.kill(cut).files()
    };
    assert_eq!(
        (done(0), done(1)),
        (vec!["a".into(), "lock".into()], vec!["b".into(), "lock".into()])
    );
}

#[test]
fn the_trace_says_what_was_done_where() {
    let disk = disk_with("a", b"");
    disk.open("a").unwrap().write_all_at(b"123", 5).unwrap();
    let op = disk.trace().pop().unwrap();
    assert_eq!((op.kind, op.file.as_str(), op.offset, op.len), (OpKind::Write, "a", 5, 3));
    assert_eq!(op.number + 1, disk.ops());
}

#[test]
fn faults_strike_by_number_or_by_match_once_or_for_good() {
    let disk = SimDisk::new();
    disk.fail(0, Fault::Error(EMFILE));
    assert_eq!(disk.create("a").unwrap_err().raw_os_error(), Some(EMFILE));
    let file = disk.create("a").unwrap();

    disk.fail_when(|kind, name| kind == OpKind::Write && name == "a", 1, Fault::Error(EIO));
    file.write_all_at(b"1", 0).unwrap();
    assert_eq!(file.write_all_at(b"2", 0).unwrap_err().raw_os_error(), Some(EIO));
    file.write_all_at(b"3", 0).unwrap();

    disk.fail_when(|kind, _| kind == OpKind::Open, 0, Fault::Error(EACCES));
    assert_eq!(disk.open("a").unwrap_err().kind(), ErrorKind::PermissionDenied);
    disk.open("a").unwrap();

    disk.fail_always(|kind, _| kind == OpKind::Read, Fault::Error(EIO));
    assert!(file.read_exact_at(&mut [0], 0).is_err() && file.len().is_err());
    disk.clear_faults();
    assert_eq!(file.len().unwrap(), 1);
}

#[test]
fn a_short_write_leaves_its_first_bytes() {
    let disk = disk_with("a", b"");
    let file = disk.open("a").unwrap();
    disk.fail(disk.ops(), Fault::ShortWrite { bytes: 3, code: ENOSPC });
    assert_eq!(file.write_all_at(b"abcdef", 0).unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!(content(&disk, "a"), b"abc");
}

#[test]
fn a_failed_sync_that_keeps_the_new_bytes_never_saves_them() {
    let disk = disk_with("a", b"old");
    let file = disk.open("a").unwrap();
    file.write_all_at(b"new", 0).unwrap();
    disk.fail(disk.ops(), Fault::SyncKeepsNew);
    assert_eq!(file.sync().unwrap_err().raw_os_error(), Some(EIO));
    assert_eq!(content(&disk, "a"), b"new", "the lie that the cache tells");
    file.sync().unwrap();
    assert!(losses(&disk).all(|image| content(&image, "a") == b"old"));
    // A write to the same sector makes the whole of it dirty again.
    file.write_all_at(b"!", 3).unwrap();
    file.sync().unwrap();
    assert!(losses(&disk).all(|image| content(&image, "a") == b"new!"));
}

#[test]
fn a_failed_sync_that_drops_the_new_bytes_shows_the_old_ones() {
    let disk = disk_with("a", b"old");
    let file = disk.open("a").unwrap();
    file.write_all_at(b"newer", 0).unwrap();
    disk.fail(disk.ops(), Fault::SyncDropsNew);
    file.sync().unwrap_err();
    assert_eq!(content(&disk, "a"), b"old\0\0");
}

#[test]
fn a_failed_sync_with_a_plain_error_can_be_made_good() {
    let disk = disk_with("a", b"old");
    let file = disk.open("a").unwrap();
    file.write_all_at(b"new", 0).unwrap();
    disk.fail(disk.ops(), Fault::Error(EIO));
    file.sync().unwrap_err();
    file.sync().unwrap();
    assert!(losses(&disk).all(|image| content(&image, "a") == b"new"));
}

#[test]
fn a_failed_sync_of_the_directory_loses_its_names_too() {
    for (fault, seen) in [(Fault::SyncKeepsNew, true), (Fault::SyncDropsNew, false)] {
        let disk = disk_with("a", b"");
        disk.create("b").unwrap();
        disk.fail(disk.ops(), fault);
        disk.sync_dir().unwrap_err();
        assert_eq!(disk.files().contains(&"b".to_owned()), seen);
        disk.sync_dir().unwrap();
        assert_eq!(disk.power_loss(Loss::Nothing).files(), ["a"]);
    }
}

#[test]
fn a_full_disk_refuses_until_something_is_removed() {
    let disk = disk_with("a", &[1; 60]);
    disk.set_capacity(Some(100));
    let file = disk.open("a").unwrap();
    let full = |result: std::io::Result<()>| {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::StorageFull);
    };
    full(file.reserve(60, 41));
    assert_eq!(file.len().unwrap(), 60, "a refused reservation changes nothing");
    full(disk.create_tail("tail", b"", 4096).map(drop));
    full(file.write_all_at(&[2; 50], 60));
    assert_eq!(file.len().unwrap(), 100, "what fits is written");
    full(disk.create("b").map(drop));
    file.write_all_at(&[3; 100], 0).unwrap();

    disk.remove("a").unwrap();
    full(disk.create("b").map(drop));
    drop(file);
    disk.create("b").unwrap().reserve(0, 100).unwrap();
}

#[test]
fn the_tail_survives_a_kill_and_loses_any_of_its_pages() {
    let disk = SimDisk::new();
    let mut tail = disk.create_tail("tail", b"head", 3 * 4096).unwrap().unwrap();
    disk.sync_dir().unwrap();
    for page in 0..3 {
        tail.store(page * 4096 + 10, &[1; 1000]);
    }
    tail.store(4090, &[2; 12]);
    let killed = content(&disk.kill(0), "tail");
    assert_eq!((killed[10], killed[4095], killed[4096], killed[9000]), (1, 2, 2, 1));
    let mut patterns = std::collections::BTreeSet::new();
    for image in losses(&disk) {
        let bytes = content(&image, "tail");
        assert_eq!((&bytes[..4], bytes.len()), (&b"head"[..], 3 * 4096));
        patterns.insert([10, 4106, 8202].map(|at| bytes[at]));
    }
    assert_eq!(patterns.len(), 8, "every subset of three pages is met");
    disk.set_tail(false);
    assert!(disk.create_tail("tail", b"", 4096).unwrap().is_none());
}

#[test]
fn a_tail_that_the_process_dies_in_making_never_has_both_header_and_old_frames() {
    let disk = SimDisk::new();
    disk.create_tail("tail", b"head", 8192).unwrap().unwrap().store(5000, b"frame");
    disk.crash_after(disk.ops());
    disk.create_tail("tail", b"HEAD", 8192).unwrap_err();
    for cut in [1, 4, 4096, 5002, 8191, 8192, usize::MAX] {
        let bytes = content(&disk.kill(cut), "tail");
        assert_eq!((bytes.len(), bytes[0] != 0), (8192, cut >= 8192), "{cut}");
        assert_eq!(&bytes[5000..5005] == b"frame", cut <= 5000, "{cut}");
    }
    assert_eq!(content(&disk.kill(0), "tail")[..4], *b"head");
}

/// The two ends of what a power loss can leave are what the process saw last, and what it saw when
/// it last synced: whatever it did, in whatever order.
#[test]
fn the_ends_of_a_loss_are_the_last_state_and_the_last_synced_one() {
    for seed in 1..60_u64 {
        let mut random = seed;
        let mut below = |bound: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (random >> 33) % bound
        };
        let disk = disk_with("a", b"");
        let file = disk.open("a").unwrap();
        let mut synced = Vec::new();
        for step in 0..80 {
            match below(6) {
                0 => file.set_len(below(3000)).unwrap(),
                1 => file.reserve(below(2000), below(2000)).unwrap(),
                2 => {
                    file.sync().unwrap();
                    synced = content(&disk, "a");
                }
                _ => {
                    let bytes = vec![step + 1; below(1500) as usize];
                    file.write_all_at(&bytes, below(2000)).unwrap();
                }
            }
            let seen = content(&disk, "a");
            assert_eq!(content(&disk.power_loss(Loss::Nothing), "a"), seen);
            assert_eq!(content(&disk.power_loss(Loss::AllUnsynced), "a"), synced);
            let between = content(&disk.power_loss(Loss::Seed(step.into())), "a");
            assert_eq!(content(&disk.kill(0).power_loss(Loss::Seed(step.into())), "a"), between);
        }
    }
}

#[test]
fn an_image_can_be_damaged() {
    let disk = disk_with("a", b"abc");
    disk.flip_bit("a", 8);
    assert_eq!(content(&disk, "a"), b"acc");
    disk.truncate("a", 1);
    disk.write_file("b", b"planted");
    assert_eq!(disk.files(), ["a", "b"]);
    disk.remove_file("a");
    for image in losses(&disk) {
        assert_eq!((image.files(), content(&image, "b")), (vec!["b".into()], b"planted".to_vec()));
    }
}
