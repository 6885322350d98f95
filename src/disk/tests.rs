//! The contract, held against every disk; then what only one of them does.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::Arc;

use super::memory::MemoryDisk;
use super::native::NativeDisk;
use super::{Disk, File};

#[cfg(feature = "sim")]
mod sim;

fn native() -> (tempfile::TempDir, NativeDisk) {
    let dir = tempfile::tempdir().unwrap();
    let disk = NativeDisk::open(dir.path().join("store"), true).unwrap();
    (dir, disk)
}

/// Runs a test on a fresh disk of each sort.
fn on_every_disk(test: impl Fn(&dyn Disk)) {
    let (_dir, disk) = native();
    test(&disk);
    test(&MemoryDisk::new());
    #[cfg(feature = "sim")]
    test(&super::sim::SimDisk::new());
}

fn read(file: &Arc<dyn File>, offset: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0xEE; len];
    file.read_exact_at(&mut bytes, offset).unwrap();
    bytes
}

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort();
    names
}

#[test]
fn a_file_reads_back_what_was_written() {
    on_every_disk(|disk| {
        let file = disk.create("a").unwrap();
        assert_eq!(file.len().unwrap(), 0);
        file.write_all_at(b"hello", 0).unwrap();
        file.write_all_at(b"J", 0).unwrap();
        file.write_all_at(b"far", 10).unwrap();
        file.sync().unwrap();
        assert_eq!(file.len().unwrap(), 13);
        assert_eq!(read(&file, 0, 13), b"Jello\0\0\0\0\0far");
        assert_eq!(read(&disk.open("a").unwrap(), 1, 4), b"ello");
        assert_eq!(read(&disk.open_read_only("a").unwrap(), 10, 3), b"far");
    });
}

#[test]
fn a_read_past_the_end_is_an_error_and_not_a_short_one() {
    on_every_disk(|disk| {
        let file = disk.create("a").unwrap();
        file.write_all_at(b"four", 0).unwrap();
        let mut buf = [0; 5];
        assert_eq!(file.read_exact_at(&mut buf, 0).unwrap_err().kind(), ErrorKind::UnexpectedEof);
        assert_eq!(file.read_exact_at(&mut buf, 9).unwrap_err().kind(), ErrorKind::UnexpectedEof);
        file.read_exact_at(&mut [], 4).unwrap();
    });
}

#[test]
fn names_are_created_once_renamed_over_and_removed() {
    on_every_disk(|disk| {
        let old = disk.create("manifest").unwrap();
        old.write_all_at(b"old", 0).unwrap();
        assert_eq!(disk.create("manifest").unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(disk.open("none").unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(disk.open_read_only("none").unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(disk.remove("none").unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(disk.rename("none", "x").unwrap_err().kind(), ErrorKind::NotFound);

        disk.create("new").unwrap().write_all_at(b"new", 0).unwrap();
        disk.rename("new", "manifest").unwrap();
        disk.sync_dir().unwrap();
        assert_eq!(disk.list().unwrap(), ["manifest"]);
        assert_eq!(read(&disk.open("manifest").unwrap(), 0, 3), b"new");
        assert_eq!(read(&old, 0, 3), b"old", "a replaced file stays good in an open handle");

        disk.remove("manifest").unwrap();
        disk.sync_dir().unwrap();
        assert!(disk.list().unwrap().is_empty());
        old.write_all_at(b"!", 3).unwrap();
        assert_eq!(read(&old, 0, 4), b"old!");
    });
}

#[test]
fn reserved_room_reads_as_zeros_and_keeps_what_was_there() {
    on_every_disk(|disk| {
        let file = disk.create("a").unwrap();
        file.write_all_at(b"kept", 0).unwrap();
        file.reserve(0, 100).unwrap();
        assert_eq!(file.len().unwrap(), 100);
        assert_eq!(read(&file, 0, 6), b"kept\0\0");
        file.reserve(10, 20).unwrap();
        assert_eq!(file.len().unwrap(), 100, "room within the file doesn't cut it");
    });
}

#[test]
fn what_a_shorter_length_cuts_off_never_comes_back() {
    on_every_disk(|disk| {
        let file = disk.create("a").unwrap();
        file.write_all_at(b"secret", 0).unwrap();
        file.set_len(2).unwrap();
        file.set_len(6).unwrap();
        assert_eq!(read(&file, 0, 6), b"se\0\0\0\0");
    });
}

#[test]
fn a_read_only_handle_does_not_write() {
    on_every_disk(|disk| {
        disk.create("a").unwrap();
        let file = disk.open_read_only("a").unwrap();
        assert!(file.write_all_at(b"x", 0).is_err());
        assert!(file.set_len(9).is_err());
        assert_eq!(file.len().unwrap(), 0);
    });
}

#[test]
fn the_lock_is_held_once_and_given_back() {
    on_every_disk(|disk| {
        assert!(!disk.is_locked("lock").unwrap());
        assert!(disk.list().unwrap().is_empty(), "asking makes no file");
        let held = disk.lock("lock").unwrap().unwrap();
        assert!(disk.is_locked("lock").unwrap());
        assert_eq!(disk.lock("lock").unwrap().unwrap_err(), Some(std::process::id()));
        drop(held);
        assert!(!disk.is_locked("lock").unwrap());
        drop(disk.lock("lock").unwrap().unwrap());
        assert_eq!(disk.list().unwrap(), ["lock"]);
    });
}

#[test]
fn the_tail_is_read_through_its_file_and_starts_afresh_each_time() {
    on_every_disk(|disk| {
        let Some(mut tail) = disk.create_tail("tail", b"head", 8192).unwrap() else { return };
        tail.store(4090, b"0123456789");
        tail.store(8191, b"z");
        tail.store(8192, b"");
        let file = disk.open_read_only("tail").unwrap();
        assert_eq!(file.len().unwrap(), 8192);
        assert_eq!(read(&file, 0, 6), b"head\0\0");
        assert_eq!(read(&file, 4090, 11), b"0123456789\0");
        drop(tail);
        assert_eq!(read(&file, 8190, 2), b"\0z");

        drop(disk.create_tail("tail", b"HEAD", 4096).unwrap().unwrap());
        let file = disk.open_read_only("tail").unwrap();
        assert_eq!(file.len().unwrap(), 4096);
        assert_eq!(read(&file, 0, 5), b"HEAD\0");
        assert_eq!(read(&file, 4090, 6), [0; 6]);
    });
}

#[test]
fn no_store_leaves_the_tail() {
    on_every_disk(|disk| {
        for (offset, len) in [(4096, 1), (4095, 2), (usize::MAX, 2)] {
            let Some(mut tail) = disk.create_tail("tail", b"", 4096).unwrap() else { return };
            let store = std::panic::AssertUnwindSafe(|| tail.store(offset, &vec![1; len]));
            assert!(std::panic::catch_unwind(store).is_err(), "{len} bytes at {offset}");
            let file = disk.create("file").unwrap();
            let write = std::panic::AssertUnwindSafe(|| tail.write_to(offset, len, &*file, 0));
            assert!(std::panic::catch_unwind(write).is_err(), "{len} bytes at {offset}");
            disk.remove("file").unwrap();
        }
    });
}

#[test]
fn a_file_gets_what_the_tail_holds() {
    on_every_disk(|disk| {
        let Some(mut tail) = disk.create_tail("tail", b"head", 9000).unwrap() else { return };
        tail.store(4096, b"before");
        tail.store(4102, b"after");
        let file = disk.create("file").unwrap();
        file.write_all_at(&[7; 20], 0).unwrap();
        tail.write_to(4098, 8, &*file, 5).unwrap();
        tail.write_to(9000, 0, &*file, 0).unwrap();
        tail.store(4098, b"another lap");
        assert_eq!(
            read(&file, 0, 20),
            *b"\x07\x07\x07\x07\x07foreafte\x07\x07\x07\x07\x07\x07\x07"
        );
        let read_only = disk.open_read_only("file").unwrap();
        assert!(tail.write_to(4096, 1, &*read_only, 0).is_err());
    });
}

#[test]
fn a_disk_belongs_to_the_process_that_opened_it() {
    on_every_disk(|disk| assert!(disk.same_process()));
}

// The native disk alone.

fn mode_of(path: impl AsRef<std::path::Path>) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn files_and_directories_are_the_owners_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a/b");
    let disk = NativeDisk::open(&path, true).unwrap();
    disk.create("file").unwrap();
    let _lock = disk.lock("lock").unwrap().unwrap();
    assert_eq!(mode_of(dir.path().join("a")), 0o700);
    assert_eq!(mode_of(&path), 0o700);
    assert_eq!(mode_of(path.join("file")), 0o600);
    assert_eq!(mode_of(path.join("lock")), 0o600);
    if disk.create_tail("tail", b"", 4096).unwrap().is_some() {
        assert_eq!(mode_of(path.join("tail")), 0o600);
    }
}

#[test]
fn a_missing_directory_is_made_only_on_request() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    assert_eq!(NativeDisk::open(&path, false).unwrap_err().kind(), ErrorKind::NotFound);
    NativeDisk::open(&path, true).unwrap();
    NativeDisk::open(&path, true).unwrap();
    NativeDisk::open(&path, false).unwrap();
}

#[test]
fn a_path_that_is_a_file_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    fs::write(&path, "").unwrap();
    for (path, create) in [(path.clone(), false), (path.clone(), true), (path.join("x"), true)] {
        let err = NativeDisk::open(&path, create).unwrap_err();
        assert_eq!(err.kind(), ErrorKind::NotADirectory, "{err}");
    }
    let message = NativeDisk::open(&path, true).unwrap_err().to_string();
    assert!(message.ends_with("file is not a directory"), "{message}");
}

#[test]
fn links_pipes_and_directories_are_not_files() {
    let (dir, disk) = native();
    let store = dir.path().join("store");
    let victim = dir.path().join("victim");
    fs::write(&victim, "precious").unwrap();
    symlink(&victim, store.join("link")).unwrap();
    symlink(dir.path().join("nowhere"), store.join("dangling")).unwrap();
    fs::create_dir(store.join("sub")).unwrap();
    let made = std::process::Command::new("mkfifo").arg(store.join("pipe")).status().unwrap();
    assert!(made.success());

    assert!(disk.list().unwrap().is_empty());
    for name in ["link", "dangling", "sub", "pipe"] {
        assert!(disk.open(name).is_err(), "{name}");
        assert!(disk.open_read_only(name).is_err(), "{name}");
        assert!(disk.create(name).is_err(), "{name}");
        assert!(disk.lock(name).is_err(), "{name}");
        assert!(!matches!(disk.create_tail(name, b"", 4096), Ok(Some(_))), "{name}");
    }
    assert_eq!(fs::read(&victim).unwrap(), b"precious");
    assert!(!dir.path().join("nowhere").exists());

    fs::hard_link(&victim, store.join("hard")).unwrap();
    assert!(!matches!(disk.create_tail("hard", b"", 4096), Ok(Some(_))));
    assert_eq!(fs::read(&victim).unwrap(), b"precious");
}

#[test]
fn no_name_leads_out_of_the_directory() {
    let (_dir, disk) = native();
    for name in ["", ".", "..", "../x", "sub/x", "/tmp"] {
        assert_eq!(disk.open(name).unwrap_err().kind(), ErrorKind::InvalidInput, "{name}");
        assert!(disk.create(name).is_err() && disk.remove(name).is_err(), "{name}");
        assert!(disk.rename("a", name).is_err(), "{name}");
    }
}

#[test]
fn a_renamed_directory_stays_the_stores() {
    let (dir, disk) = native();
    fs::rename(dir.path().join("store"), dir.path().join("moved")).unwrap();
    disk.create("a").unwrap();
    disk.sync_dir().unwrap();
    assert_eq!(disk.list().unwrap(), ["a"]);
    assert!(dir.path().join("moved/a").exists());
}

#[test]
fn names_that_are_not_ours_to_read_are_left_out() {
    use std::os::unix::ffi::OsStrExt;
    let (dir, disk) = native();
    let name = std::ffi::OsStr::from_bytes(b"not-utf8-\xFF");
    // Some file systems refuse such a name, and then there is nothing to leave out.
    let _ = fs::write(dir.path().join("store").join(name), "");
    disk.create("b").unwrap();
    disk.create("a").unwrap();
    assert_eq!(sorted(disk.list().unwrap()), ["a", "b"]);
}

#[test]
fn the_lock_is_one_for_all_disks_of_a_directory() {
    let (dir, disk) = native();
    let again = NativeDisk::open(dir.path().join("store"), false).unwrap();
    let held = disk.lock("lock").unwrap().unwrap();
    assert_eq!(again.lock("lock").unwrap().unwrap_err(), Some(std::process::id()));
    assert!(again.is_locked("lock").unwrap());
    drop(held);
    drop(again.lock("lock").unwrap().unwrap());
}

#[test]
fn a_probe_of_the_lock_does_not_keep_an_owner_out() {
    let (dir, disk) = native();
    drop(disk.lock("lock").unwrap().unwrap());
    let path = dir.path().join("store/lock");
    let probe = fs::File::open(&path).unwrap();
    // A probe that lasts: on a busy machine one may last longer than an owner is patient.
    let taken_beside_a_probe = || {
        probe.lock_shared().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(std::time::Duration::from_millis(15));
                probe.unlock().unwrap();
            });
            disk.lock("lock").unwrap().is_ok()
        })
    };
    assert!((0..50).any(|_| taken_beside_a_probe()));
}

#[test]
fn a_lock_that_another_process_holds_names_it() {
    let (dir, disk) = native();
    drop(disk.lock("lock").unwrap().unwrap());
    let path = dir.path().join("store/lock");
    // What another process does, as far as can be seen from here: a lock that isn't in our list.
    let other = fs::File::options().read(true).write(true).open(&path).unwrap();
    other.lock().unwrap();
    fs::write(&path, "4242\n").unwrap();
    assert_eq!(disk.lock("lock").unwrap().unwrap_err(), Some(4242));
    assert!(disk.is_locked("lock").unwrap());
    fs::write(&path, "nonsense").unwrap();
    assert_eq!(disk.lock("lock").unwrap().unwrap_err(), None);
}

#[test]
fn a_mapping_sees_what_is_appended_after_it_was_made() {
    let (_dir, disk) = native();
    let file = disk.create("a").unwrap();
    file.write_all_at(b"first", 0).unwrap();
    let map = file.map(1 << 20).unwrap().unwrap();
    let first = map.clone().prefix(5);
    file.write_all_at(&[b'x'; 10_000], 5).unwrap();
    let all = map.clone().prefix(10_005);
    assert_eq!(first, &b"first"[..]);
    assert_eq!(&all[..7], b"firstxx");
    assert_eq!(all[10_004], b'x');
    assert_eq!(map.clone().prefix(0).len(), 0);
}

#[test]
fn a_slice_outlives_the_file_its_handle_and_its_disk() {
    let (dir, disk) = native();
    let file = disk.create("a").unwrap();
    file.write_all_at(b"still here", 0).unwrap();
    let slice = file.map(4096).unwrap().unwrap().prefix(10).slice(6..);
    disk.remove("a").unwrap();
    drop((file, disk, dir));
    assert_eq!(slice, &b"here"[..]);
}

#[test]
#[should_panic(expected = "a prefix of 4097 bytes")]
fn a_prefix_longer_than_the_mapping_panics() {
    let (_dir, disk) = native();
    let file = disk.create("a").unwrap();
    file.set_len(8192).unwrap();
    file.map(4096).unwrap().unwrap().prefix(4097);
}

#[test]
fn a_file_is_adopted_or_left_to_be_copied() {
    on_every_disk(|disk| {
        let file = disk.create("a").unwrap();
        file.write_all_at(b"sealed", 0).unwrap();
        if disk.adopt("b", &*file, 6).unwrap() {
            assert_eq!(read(&disk.open_read_only("b").unwrap(), 0, 6), b"sealed");
        } else {
            assert_eq!(sorted(disk.list().unwrap()), ["a"]);
            disk.create("b").unwrap();
        }
        let taken = disk.adopt("b", &*file, 6).unwrap_err();
        assert_eq!(taken.kind(), ErrorKind::AlreadyExists);
        assert!(!disk.adopt("c", &*file, 7).unwrap(), "it has no seven bytes");
    });
}

#[cfg(target_os = "linux")]
#[test]
fn what_is_adopted_is_the_open_file_and_not_what_has_its_name_now() {
    let (_dir, from) = native();
    let (_dir, to) = native();
    let file = from.create("a").unwrap();
    file.write_all_at(b"old", 0).unwrap();
    from.rename("a", "elsewhere").unwrap();
    from.create("a").unwrap().write_all_at(b"new", 0).unwrap();
    assert!(to.adopt("x", &*file, 3).unwrap());
    assert_eq!(read(&to.open_read_only("x").unwrap(), 0, 3), b"old");
    from.remove("elsewhere").unwrap();
    assert_eq!(read(&to.open_read_only("x").unwrap(), 0, 3), b"old");

    // With no name left there is nothing to give a second one to; shared blocks still do.
    to.remove("x").unwrap();
    if to.adopt("x", &*file, 3).unwrap() {
        assert_eq!(read(&to.open_read_only("x").unwrap(), 0, 3), b"old");
    } else {
        assert!(to.list().unwrap().is_empty());
    }
}
