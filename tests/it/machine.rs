//! The real binary and the real operating system: calls that fail, a disk that is full.
//!
//! What a machine lacks (strace, the right to mount) is skipped, and said so.

use std::fs;
use std::io;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use kindlog::{Durability, Error, Options, Outcome, Store};

const BIN: &str = env!("CARGO_BIN_EXE_kindlog");

fn available(program: &str, arg: &str) -> bool {
    let status =
        Command::new(program).arg(arg).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// Strace, which notes each call of one kind.
fn traced(trace: &Path, call: &str) -> Command {
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-e", &format!("trace={call}"), "-o"]).arg(trace);
    strace
}

/// How many such calls there are before the command's own: the loader's, which does not survive all
/// of them, and that says nothing about the store.
fn calls_to_start(call: &str) -> u32 {
    let trace = tempfile::NamedTempFile::new().unwrap();
    let output = traced(trace.path(), call).args([BIN, "--version"]).output();
    assert!(output.expect("run strace").status.success());
    let calls = fs::read_to_string(trace.path()).expect("a trace");
    calls.lines().filter(|line| line.contains('=')).count() as u32
}

/// Runs `kindlog put` with the n-th call of one kind made to fail, and tells whether one did.
fn put_with_failing_call(
    store: &Path,
    id: &str,
    call: &str,
    error: &str,
    n: u32,
) -> (Output, bool) {
    let trace = store.with_extension("trace");
    let inject = format!("inject={call}:error={error}:when={n}");
    let output = traced(&trace, call)
        .args(["-e", &inject])
        .arg(BIN)
        .arg("-s")
        .arg(store)
        .args(["put", "Key", id, "--file", "/proc/self/comm"])
        .stdin(Stdio::null())
        .output()
        .expect("run strace");
    let injected = fs::read_to_string(&trace).expect("a trace").contains("(INJECTED)");
    (output, injected)
}

/// Each call of each kind fails once. The command says so or gets by; what was acknowledged before
/// stays, what it acknowledges is there, and the store opens and can be written again.
#[test]
fn every_failing_system_call_is_survived() {
    if !available("strace", "-V") {
        eprintln!("skipped: there is no strace");
        return;
    }
    let full = std::env::var_os("KINDLOG_FULL").is_some();
    let calls = [
        ("pwrite64", "EIO"),
        ("pwrite64", "ENOSPC"),
        ("fdatasync", "EIO"),
        ("fsync", "EIO"),
        ("renameat,renameat2,rename", "EIO"),
        ("openat", "EMFILE"),
        ("fallocate", "ENOSPC"),
        ("ftruncate", "EIO"),
        ("unlinkat", "EIO"),
        ("mmap", "ENOMEM"),
        ("pread64", "EIO"),
        ("flock", "EIO"),
    ];
    let mut runs = 0;
    for (call, error) in calls {
        let step = match call {
            "openat" | "mmap" | "pread64" if !full => 3,
            _ => 1,
        };
        let first = calls_to_start(call) + 1;
        for n in (first..200).step_by(step) {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("store");
            Store::open(&path).unwrap().put("Key", "before", b"kept").unwrap();
            let (output, injected) = put_with_failing_call(&path, "during", call, error, n);
            if !injected {
                break;
            }
            runs += 1;
            let context = format!("{call} {error} at {n}: {output:?}");
            let code = output.status.code().unwrap_or_else(|| panic!("a signal: {context}"));
            assert!(matches!(code, 0 | 3 | 5 | 127 | 101), "{context}");
            assert!(code != 101, "a panic: {context}");
            let store = Store::open(&path).unwrap_or_else(|e| panic!("{e}: {context}"));
            let read = |id| store.get_resource("Key", id).unwrap();
            assert_eq!(&read("before").expect(&context).data[..], b"kept");
            assert!(code != 0 || read("during").is_some(), "{context}");
            store.put("Key", "after", b"goes on").unwrap();
            assert!(store.verify().unwrap().is_clean(), "{context}");
        }
    }
    println!("{runs} calls failed");
    assert!(runs > 20, "{runs} calls failed: too few to mean anything");
}

/// A file system of one mebibyte.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount() -> Option<SmallDisk> {
        let dir = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"])
            .arg(dir.path())
            .stderr(Stdio::null())
            .status();
        mounted.is_ok_and(|status| status.success()).then_some(SmallDisk(dir))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

/// On a full disk writes fail with `StorageFull` and are certain not to have happened, reads go on,
/// and writing resumes, without a reopen, when there is room again.
#[test]
fn a_full_disk_refuses_and_resumes() {
    for durability in [Durability::Sync, Durability::Os, Durability::Buffered] {
        let Some(disk) = SmallDisk::mount() else {
            eprintln!("skipped: no right to mount a file system");
            return;
        };
        let ballast = disk.0.path().join("ballast");
        fs::write(&ballast, vec![1; 400 << 10]).unwrap();
        let options = Options::new().durability(durability).segment_size(128 << 10);
        let store = options.open(disk.0.path().join("store")).unwrap();
        let id = |i: u32| format!("{i:06}");
        let mut stored = 0;
        let error = loop {
            match store.put("Key", &id(stored), vec![stored as u8; 4000]) {
                Ok(_) => stored += 1,
                Err(error) => break error,
            }
            assert!(stored < 1000, "more was stored than there is room for");
        };
        let Error::Io { source, .. } = &error else { panic!("{error:?}") };
        assert_eq!(source.kind(), io::ErrorKind::StorageFull, "{error}");
        assert_eq!(error.outcome(), Outcome::NotCommitted, "{error}");
        let revision = store.stats().revision;
        assert_eq!(u64::from(revision), u64::from(stored), "a refused write takes no revision");
        let all_there = |store: &Store, stored: u32| {
            for i in 0..stored {
                let resource = store.get_resource("Key", &id(i)).unwrap().expect("stored");
                assert!(resource.data.iter().all(|byte| *byte == i as u8));
            }
            assert_eq!(store.count("Key").unwrap(), u64::from(stored));
        };
        all_there(&store, stored);
        fs::remove_file(&ballast).unwrap();
        for _ in 0..20 {
            store.put("Key", &id(stored), vec![stored as u8; 4000]).unwrap();
            stored += 1;
        }
        all_there(&store, stored);
        store.close().unwrap();
        drop(store);
        let store = options.open(disk.0.path().join("store")).unwrap();
        all_there(&store, stored);
        assert!(store.verify().unwrap().is_clean());
    }
}

/// A backup to a full disk is `StorageFull`, gives the room back and leaves the store alone. The
/// one before it stays.
#[test]
fn a_backup_to_a_full_disk_keeps_the_earlier_one() {
    let Some(disk) = SmallDisk::mount() else {
        eprintln!("skipped: no right to mount a file system");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let store = Options::new().segment_size(128 << 10).open(dir.path().join("store")).unwrap();
    let target = disk.0.path().join("backup");
    store.put("Key", "first", vec![1; 100_000]).unwrap();
    store.backup(&target).unwrap();
    for i in 0..12 {
        store.put("Key", &format!("{i:02}"), vec![i; 90_000]).unwrap();
    }
    let error = store.backup(&target).unwrap_err();
    let Error::Io { source, .. } = &error else { panic!("{error:?}") };
    assert_eq!(source.kind(), io::ErrorKind::StorageFull, "{error}");
    let report = Store::verify_backup(&target).unwrap();
    assert!(report.is_clean() && u64::from(report.revision) == 1, "{report:?}");
    let to = dir.path().join("restored");
    Store::restore(&target, &to).unwrap();
    assert_eq!(Store::open(&to).unwrap().count("Key").unwrap(), 1);
    let full = disk.0.path().join("to");
    assert!(Store::restore(&target, &full).is_ok(), "the room was given back");
    fs::remove_dir_all(&full).unwrap();
    let error = store.backup(&target).unwrap_err();
    assert!(matches!(error, Error::Io { .. }), "{error}");
    store.delete_prefix("Key", "0").unwrap();
    assert_eq!(store.count("Key").unwrap(), 3);
    assert!(store.verify().unwrap().is_clean());
}
