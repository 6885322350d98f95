//! More than one process: what a killed one leaves, and two on one store.
//!
//! The test binary runs itself: a child is told by an environment variable which store to use.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Lines, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, SystemTime};

use kindlog::{Batch, Durability, Error, Options, RecoveryReport, Store};

use crate::support::full;
use crate::support::{DURABILITIES, fork, pattern, store_dir};

const STORE: &str = "KINDLOG_TEST_CHILD_STORE";
const DURABILITY: &str = "KINDLOG_TEST_CHILD_DURABILITY";
/// What the children print begins so, since the test runner prints as well.
const MARK: &str = "child: ";

/// A child process that runs one of the tests below as its program.
struct Process {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Process {
    fn start(program: &str, store: &Path, durability: Durability) -> Process {
        let this = Command::new(std::env::current_exe().expect("this binary"));
        Process::run(this, program, store, durability)
    }

    /// One whose address space is so small that it can start `threads` threads beside its first.
    #[cfg(target_os = "linux")]
    fn with_threads(threads: u64, program: &str, store: &Path) -> Process {
        let stack_len = 1 << 30;
        let limit_kib = (stack_len * threads + stack_len / 2) >> 10;
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("ulimit -v {limit_kib}; exec \"$0\" \"$@\"")]);
        shell.arg(std::env::current_exe().expect("this binary"));
        shell.env("RUST_MIN_STACK", stack_len.to_string());
        Process::run(shell, program, store, Durability::Sync)
    }

    fn run(mut command: Command, program: &str, store: &Path, durability: Durability) -> Process {
        let test = format!("processes::{program}");
        let mut child = command
            .args([&test, "--exact", "--nocapture", "--test-threads=1"])
            .env(STORE, store)
            .env(DURABILITY, format!("{durability:?}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("start a child");
        let input = child.stdin.take().expect("it is piped");
        let output = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        Process { child, input, output }
    }

    /// The next thing that the child says; `None` when it has ended.
    fn hear(&mut self) -> Option<String> {
        loop {
            let line = self.output.next()?.expect("read from the child");
            // The runner's "test ... " stands before the child's first words.
            if let Some((_, said)) = line.split_once(MARK) {
                return Some(said.to_owned());
            }
        }
    }

    /// Tells the child something, and returns what it answers.
    fn ask(&mut self, line: &str) -> String {
        writeln!(self.input, "{line}").expect("write to the child");
        self.hear().expect("an answer")
    }

    fn kill(&mut self) {
        self.child.kill().expect("kill the child");
        self.child.wait().expect("wait for the child");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        let _ = self.child.wait();
    }
}

fn say(text: &str) {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{MARK}{text}").and_then(|()| stdout.flush()).expect("the parent listens");
}

/// What a child was told; nothing if this is no child.
fn told() -> Option<(String, Durability)> {
    let store = std::env::var(STORE).ok()?;
    let name = std::env::var(DURABILITY).ok()?;
    let durability = DURABILITIES.into_iter().find(|d| format!("{d:?}") == name)?;
    Some((store, durability))
}

/// Values and deletes of every kind, all of them told by the commit's number.
fn changes(number: u64) -> Batch {
    let mut batch = Batch::new();
    let len = (number * 379 % 4000) as usize;
    batch.put("Entry", &format!("{number:06}"), pattern(number, len));
    batch.put("Last", "last", number.to_le_bytes());
    batch.put("Log", &format!("{}/{number}", number % 3), pattern(number, 30));
    if let Some(old) = number.checked_sub(20) {
        batch.delete("Entry", &format!("{old:06}"));
    }
    match number % 25 {
        7 => batch.delete_prefix("Log", "1/"),
        13 => batch.delete_kind("Log"),
        _ => &mut batch,
    };
    batch
}

/// What is there after so many of them.
fn after(commits: u64) -> BTreeMap<(String, String), Vec<u8>> {
    let mut all = BTreeMap::new();
    let key = |kind: &str, id: String| (kind.to_owned(), id);
    for number in 1..=commits {
        let len = (number * 379 % 4000) as usize;
        all.insert(key("Entry", format!("{number:06}")), pattern(number, len));
        all.insert(key("Last", "last".to_owned()), number.to_le_bytes().to_vec());
        all.insert(key("Log", format!("{}/{number}", number % 3)), pattern(number, 30));
        all.remove(&key("Entry", format!("{:06}", number.wrapping_sub(20))));
        match number % 25 {
            7 => all.retain(|(kind, id), _| kind != "Log" || !id.starts_with("1/")),
            13 => all.retain(|(kind, _), _| kind != "Log"),
            _ => {}
        }
    }
    all
}

fn last(store: &Store) -> u64 {
    let last = store.get_resource("Last", "last").expect("read");
    last.map_or(0, |last| u64::from_le_bytes(last.data[..].try_into().expect("eight bytes")))
}

fn assert_is_prefix(store: &Store, commits: u64) {
    let mut all = BTreeMap::new();
    for kind in store.kinds().expect("the kinds") {
        for resource in store.scan(&kind) {
            let resource = resource.expect("a resource");
            all.insert((kind.clone(), resource.id.to_string()), resource.data.to_vec());
        }
    }
    let expected = after(commits);
    let names = |map: &BTreeMap<(String, String), Vec<u8>>| map.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&all), names(&expected), "after {commits} commits");
    assert!(all == expected, "values after {commits} commits");
    let report = store.verify().expect("verify");
    assert!(report.is_clean(), "{:?}", report.problems);
}

fn options() -> Options {
    Options::new().segment_size(64 << 10).sync_interval(Duration::from_millis(5))
}

/// A child: commits until it is killed, and says so each time.
#[test]
fn a_child_that_commits() {
    let Some((path, durability)) = told() else { return };
    let store = options().durability(durability).open(path).expect("open");
    let mut number = last(&store);
    say(&format!("{number}"));
    loop {
        number += 1;
        store.commit(changes(number)).expect("commit");
        say(&format!("{number}"));
    }
}

/// Whether what is torn ends where a page does: the kernel may end a write there when it kills the
/// process, and what is left of the commit can't tell that it was not acknowledged.
fn is_cut(report: &RecoveryReport) -> bool {
    report.discarded.iter().all(|torn| (torn.offset + torn.len).is_multiple_of(4096))
}

#[test]
fn a_killed_process_leaves_all_that_was_acknowledged_and_a_prefix_of_all() {
    let rounds = if full() { 700 } else { 6 };
    for durability in DURABILITIES {
        let mut dir = tempfile::tempdir().expect("a temporary directory");
        let mut found = 0;
        for round in 0..rounds {
            if round % 30 == 29 {
                (dir, found) = (tempfile::tempdir().expect("a temporary directory"), 0);
            }
            let path = store_dir(&dir);
            let mut child = Process::start("a_child_that_commits", &path, durability);
            let began = child.hear().expect("a number").parse::<u64>().expect("a number");
            assert_eq!(began, found, "the child and this process find the same");
            let mut acknowledged = began;
            for _ in 0..10 + round % 30 * 23 {
                acknowledged = child.hear().expect("a number").parse().expect("a number");
            }
            child.kill();
            // What it said before it died and was not read yet.
            while let Some(number) = child.hear().and_then(|said| said.parse().ok()) {
                acknowledged = number;
            }
            let store = match round % 2 {
                0 => options().open(&path).expect("open"),
                _ => options().read_only(true).open(&path).expect("open read-only"),
            };
            found = last(&store);
            assert!(!store.recovery().clean, "it was killed");
            let report = store.recovery();
            assert!(!report.lost_acknowledged || is_cut(report), "{report:?}");
            if durability != Durability::Buffered {
                assert!(found >= acknowledged, "{durability:?}: {found} of {acknowledged}");
            }
            assert!(found <= acknowledged + 1, "{found}, told of {acknowledged}");
            assert_is_prefix(&store, found);
            drop(store);
        }
    }
}

/// A child: does what it is told, line by line.
#[test]
fn a_child_that_obeys() {
    let Some((path, durability)) = told() else { return };
    let options = Options::new().durability(durability).sync_interval(Duration::from_secs(3600));
    let mut store = Some(options.open(&path).expect("open"));
    say("open");
    for line in std::io::stdin().lines() {
        let line = line.expect("the parent speaks");
        let words: Vec<&str> = line.split(' ').collect();
        let open = store.as_ref();
        match words[..] {
            ["put", id, value] => {
                let revision = open.expect("open").put("K", id, value).expect("put");
                say(&revision.to_string());
            }
            ["large", id, len] => {
                let value = vec![1; len.parse().expect("a length")];
                say(&open.expect("open").put("K", id, value).expect("put").to_string());
            }
            ["sync"] => say(&format!("{:?}", open.expect("open").sync().is_ok())),
            ["close"] => say(&format!("{:?}", open.expect("open").close().is_ok())),
            ["drop"] => {
                drop(store.take());
                say("dropped");
            }
            ["buffered", id] => {
                let mut batch = Batch::new();
                batch.put("K", id, b"");
                let done = open.expect("open").commit_with(batch, Durability::Buffered);
                say(&format!("{:?}", done.is_ok()));
            }
            ["fork"] => {
                let inherits = || inherits_nothing(store.take().expect("open"), &path);
                say(&format!("{:?}", fork::in_a_child(inherits)));
            }
            ["open"] => say(match options.open(&path) {
                Ok(opened) => {
                    store = Some(opened);
                    "open"
                }
                Err(Error::Locked { .. }) => "locked",
                Err(_) => "failed",
            }),
            _ => panic!("told {line:?}"),
        }
    }
}

#[test]
fn a_store_that_another_process_owns_is_locked_until_it_closes_drops_or_dies() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = store_dir(&dir);
    let mut child = Process::start("a_child_that_obeys", &path, Durability::Sync);
    assert_eq!(child.hear().as_deref(), Some("open"));
    let assert_locked = |child: &Process| match Store::open(&path).map(drop) {
        Err(Error::Locked { path: named, owner }) => {
            assert_eq!((named, owner), (path.clone(), Some(child.child.id())));
        }
        other => panic!("{other:?}"),
    };
    assert_locked(&child);
    assert_eq!(child.ask("put a 1"), "1");
    assert_locked(&child);

    for end in ["close", "drop"] {
        child.ask(end);
        let store = Store::open(&path).expect("the lock is free");
        assert_eq!(store.count("K").expect("count"), 1);
        assert_eq!(child.ask("open"), "locked");
        match end {
            "close" => store.close().expect("close"),
            _ => drop(store),
        }
        assert_eq!(child.ask("open"), "open");
        assert_locked(&child);
    }
    child.ask("put b 2");
    child.kill();
    let store = Store::open(&path).expect("the dead hold no lock");
    assert_eq!(store.count("K").expect("count"), 2);
}

/// Whether a handle that a fork carried here refuses, and closes and drops without a word.
fn inherits_nothing(store: Store, path: &str) -> bool {
    let refuses = matches!(store.put("K", "child", b""), Err(Error::Closed))
        && matches!(store.get_resource("K", "a"), Err(Error::Closed))
        && matches!(store.sync(), Err(Error::Closed))
        && matches!(Store::open(path), Err(Error::Locked { .. }));
    let closes = store.clone().close().is_ok();
    drop(store);
    refuses && closes && matches!(Store::open(path), Err(Error::Locked { .. }))
}

/// The child's copy of a handle, of the buffers and of the lock's descriptor are not its own: what
/// it flushes would be written twice, and what it unlocks would be free for anyone.
#[test]
fn a_forked_child_neither_writes_nor_unlocks_what_its_parent_has_open() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = store_dir(&dir);
    let mut child = Process::start("a_child_that_obeys", &path, Durability::Sync);
    assert_eq!(child.hear().as_deref(), Some("open"));
    assert_eq!(child.ask("put a 1"), "1");
    assert_eq!(child.ask("buffered b"), "true");
    let before = files(&path);
    assert_eq!(child.ask("fork"), "true", "the grandchild could use its handle, or died");
    assert!(files(&path) == before, "the grandchild wrote");
    assert!(matches!(Store::open(&path), Err(Error::Locked { .. })), "the grandchild unlocked");
    assert_eq!(child.ask("put c 3"), "3", "its own handle is as good as before");
    assert_eq!(child.ask("close"), "true");
    let store = Store::open(&path).expect("the lock is free");
    assert!(store.recovery().clean);
    assert_eq!(ids(&store), ["a", "b", "c"]);
}

/// Every file's bytes and time of change.
fn files(path: &Path) -> BTreeMap<String, (Vec<u8>, SystemTime)> {
    let entries = fs::read_dir(path).expect("list");
    let entry = |entry: fs::DirEntry| {
        let modified = entry.metadata().expect("metadata").modified().expect("a time");
        let name = entry.file_name().into_string().expect("UTF-8");
        (name, (fs::read(entry.path()).expect("read"), modified))
    };
    entries.map(|e| entry(e.expect("list"))).collect()
}

fn ids(store: &Store) -> Vec<String> {
    store.scan("K").keys().map(|id| id.expect("an id")).collect()
}

#[test]
fn a_reader_beside_the_owner_sees_what_is_durable_and_changes_nothing() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = store_dir(&dir);
    let mut child = Process::start("a_child_that_obeys", &path, Durability::Os);
    assert_eq!(child.hear().as_deref(), Some("open"));
    child.ask("put a 1");
    child.ask("sync");
    // One that is in the tail file, and one that is too large for that and is in the segment.
    child.ask("put b 2");
    child.ask("large b2 900000");

    let before = files(&path);
    let reader = Options::new().read_only(true).open(&path).expect("open beside the owner");
    let other = Options::new().read_only(true).open(&path).expect("any number of them");
    assert_eq!(ids(&reader), ["a"], "what is not durable is not shown");
    let held = reader.snapshot();
    reader.refresh().expect("refresh");
    assert_eq!(ids(&reader), ["a"]);
    assert!(reader.verify().expect("verify").is_clean());
    assert!(files(&path) == before, "a reader changes no byte and no time");

    child.ask("sync");
    let before = files(&path);
    assert_eq!(ids(&reader), ["a"], "fixed until it is refreshed");
    reader.refresh().expect("refresh");
    assert_eq!(ids(&reader), ["a", "b", "b2"]);
    assert_eq!(ids(&other), ["a"]);
    assert_eq!(held.scan("K").keys().count(), 1, "a snapshot keeps what it had");
    assert!(files(&path) == before, "a refresh changes no byte and no time");

    child.ask("put c 3");
    child.kill();
    let before = files(&path);
    reader.refresh().expect("refresh");
    assert_eq!(ids(&reader), ["a", "b", "b2", "c"], "without an owner: what recovery would keep");
    drop((reader, other));
    assert!(files(&path) == before, "nor does dropping it");
    assert_eq!(ids(&Store::open(&path).expect("open")), ["a", "b", "b2", "c"]);
}

/// A child: opens the store twice, and once to read it.
#[cfg(target_os = "linux")]
#[test]
fn a_child_short_of_threads() {
    let Some((path, _)) = told() else { return };
    for _ in 0..2 {
        say(&Store::open(&path).expect_err("it needs threads").to_string());
    }
    let reader = Options::new().read_only(true).open(&path).expect("a reader needs none");
    say(&reader.count("B").expect("count").to_string());
}

/// A thread that could not be started left those before it running, and with them the store locked
/// for as long as the process lived. And opening panicked where it could not have a thread to help.
#[cfg(target_os = "linux")]
#[test]
fn a_store_whose_threads_can_not_all_be_started_is_closed_again() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = store_dir(&dir);
    let mut batch = Batch::new();
    // Enough for opening to divide the work.
    for n in 0..12_000 {
        batch.put("A", &n.to_string(), b"").put("B", &n.to_string(), b"");
    }
    Store::open(&path).and_then(|store| store.commit(batch)).expect("commit");
    for threads in [0, 1, 2] {
        let mut child = Process::with_threads(threads, "a_child_short_of_threads", &path);
        for _ in 0..2 {
            let said = child.hear().expect("it lives");
            assert!(said.contains("start a thread"), "with {threads}: {said}");
        }
        assert_eq!(child.hear().as_deref(), Some("12000"), "with {threads}");
    }
}

/// A child: compacts the store.
#[cfg(target_os = "linux")]
#[test]
fn a_child_that_compacts() {
    let Some((path, _)) = told() else { return };
    let store = Options::new().segment_size(1 << 20).open(&path).expect("it has its threads");
    store.compact().expect("it does without another one");
    let dead = store.stats().compaction.dead_bytes;
    say(&format!("{} live, {} MiB dead", store.count("A").expect("count"), dead >> 20));
}

/// Compacting a larger store panicked where it could not have a second thread.
#[cfg(target_os = "linux")]
#[test]
fn a_compaction_that_can_have_no_thread_beside_it_does_without() {
    const RECORDS: usize = 6_000;
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = store_dir(&dir);
    let store = Options::new().segment_size(1 << 20).durability(Durability::Os);
    let store = store.open(&path).expect("open");
    for n in (0..RECORDS).chain((0..RECORDS).step_by(3)) {
        store.put("A", &n.to_string(), [n as u8; 1_000]).expect("put");
    }
    store.close().expect("close");
    // As many as a store that is open has, and the test's own.
    let mut child = Process::with_threads(4, "a_child_that_compacts", &path);
    assert_eq!(child.hear(), Some(format!("{RECORDS} live, 0 MiB dead")));
}
