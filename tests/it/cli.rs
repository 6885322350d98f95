//! The program `kindlog`, run as a process: what it prints, and the code it exits with.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// A store that only the program touches, unless a test opens it.
struct Cli {
    dir: TempDir,
}

/// What a run answered.
struct Answer {
    code: i32,
    out: Vec<u8>,
    err: String,
}

impl Cli {
    fn new() -> Cli {
        Cli { dir: tempfile::tempdir().expect("a temporary directory") }
    }

    fn store(&self) -> std::path::PathBuf {
        self.dir.path().join("store")
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kindlog"));
        command.env_remove("KINDLOG_STORE").arg("--store").arg(self.store()).args(args);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn run(&self, args: &[&str]) -> Answer {
        answer(self.command(args).output().expect("run kindlog"))
    }

    fn run_with_input(&self, args: &[&str], input: &[u8]) -> Answer {
        let mut child = self.command(args).stdin(Stdio::piped()).spawn().expect("run kindlog");
        let mut stdin = child.stdin.take().expect("it is piped");
        // The program may have seen enough before it has read all.
        let _ = stdin.write_all(input);
        drop(stdin);
        answer(child.wait_with_output().expect("wait for kindlog"))
    }

    fn put(&self, key: &str, value: &[u8]) {
        self.run_with_input(&["put", key], value).expect(0);
    }
}

fn answer(output: Output) -> Answer {
    Answer {
        code: output.status.code().expect("not killed"),
        out: output.stdout,
        err: String::from_utf8(output.stderr).expect("UTF-8"),
    }
}

impl Answer {
    /// Checks the exit code, and that a failure is told in one line.
    #[track_caller]
    fn expect(self, code: i32) -> Answer {
        assert_eq!(self.code, code, "stderr: {}", self.err);
        if code == 0 {
            assert_eq!(self.err, "");
        } else {
            assert!(self.err.starts_with("kindlog: "), "{}", self.err);
            assert_eq!(self.err.lines().count(), 1, "{}", self.err);
        }
        self
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.out).expect("UTF-8")
    }
}

#[test]
fn values_come_back_byte_for_byte() {
    let cli = Cli::new();
    let value: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    cli.put("Blob/a/b", &value);
    assert_eq!(cli.run(&["get", "Blob/a/b", "-o", "raw"]).expect(0).out, value);
    assert_eq!(cli.run(&["get", "Blob", "a/b", "-o", "raw"]).expect(0).out, value);

    fs::write(cli.path("value"), b"\x08\x01").expect("write a file");
    let file = cli.path("value");
    let revision =
        cli.run(&["put", "Blob", "c", "--file", file.to_str().expect("UTF-8")]).expect(0);
    let revision: u64 = revision.text().trim().parse().expect("a revision");
    let shown = cli.run(&["get", "Blob/c"]).expect(0);
    assert!(shown.text().starts_with("# Blob/c\n"), "{}", shown.text());
    assert!(shown.text().contains(&format!("revision {revision}, updated 2")), "{}", shown.text());
    assert!(shown.text().ends_with(", 2 bytes\n1: 1\n"), "{}", shown.text());
    let json = cli.run(&["get", "Blob/c", "-o", "json"]).expect(0);
    assert!(json.text().starts_with("{\"kind\":\"Blob\",\"id\":\"c\",\"revision\":"));
    assert!(json.text().ends_with("\"data\":\"CAE=\"}\n"), "{}", json.text());
}

#[test]
fn each_failure_has_its_exit_code() {
    let cli = Cli::new();
    cli.run(&["kinds"]).expect(3);
    cli.run(&["delete", "Agent/a"]).expect(3);
    assert!(!cli.store().exists(), "only put, import and demo make a store");
    cli.run(&["put", "Agent/a", "--file", "/nonexistent/file"]).expect(3);
    cli.run(&["import", "/nonexistent/file"]).expect(3);
    assert!(!cli.store().exists(), "nothing to store, no store");

    cli.put("Agent/a", b"");
    cli.run(&["get", "Agent/b"]).expect(1);
    cli.run(&["delete", "Agent/b"]).expect(1);
    for key in ["Agent", "/a", "Agent/", "Agent/line\nbreak"] {
        cli.run(&["get", key]).expect(2);
        cli.run(&["put", key]).expect(2);
        cli.run(&["delete", key]).expect(2);
    }
    assert!(cli.run(&["list", "Ag/ent"]).expect(2).out.is_empty());
    assert_eq!(cli.run(&["frobnicate"]).code, 2);
    let nowhere = Command::new(env!("CARGO_BIN_EXE_kindlog"))
        .env_remove("KINDLOG_STORE")
        .arg("kinds")
        .output()
        .expect("run kindlog");
    answer(nowhere).expect(2);
    cli.run(&["delete", "Agent/a"]).expect(0);
    cli.run(&["get", "Agent/a"]).expect(1);

    // 4 and 5 have tests of their own.
    let help = cli.run(&["--help"]).expect(0);
    let codes = help.text().lines().skip_while(|line| *line != "Exit codes:").skip(1);
    let codes = codes.map_while(|line| line.split_whitespace().next());
    assert_eq!(codes.collect::<String>(), "012345");
}

#[test]
fn reads_work_while_another_process_owns_the_store() {
    let cli = Cli::new();
    cli.put("Agent/a", b"\x08\x01");
    let owner = kindlog::Store::open(cli.store()).expect("open");
    for args in [
        &["get", "Agent/a"][..],
        &["list", "Agent"],
        &["kinds"],
        &["stats"],
        &["verify"],
        &["export"],
        &["clean", "--kind", "Agent"],
    ] {
        cli.run(args).expect(0);
    }
    cli.run(&["put", "Agent/b"]).expect(5);
    cli.run(&["delete", "Agent/a"]).expect(5);
    cli.run(&["clean", "--kind", "Agent", "--yes"]).expect(5);
    cli.run(&["import"]).expect(5);
    owner.close().expect("close");
    cli.run(&["put", "Agent/b"]).expect(0);
}

#[test]
fn damage_is_an_exit_code_of_its_own() {
    let cli = Cli::new();
    let marker = b"these bytes are to be found in the files of the store, and changed";
    cli.put("Agent/a", marker);
    cli.put("Agent/b", b"behind it");
    cli.run(&["verify"]).expect(0);
    let mut damaged = 0;
    damage(&cli.store(), marker, &mut damaged);
    assert!(damaged > 0, "the value stands in some file as it is");
    cli.run(&["verify"]).expect(4);
    cli.run(&["get", "Agent/a"]).expect(4);
    cli.run(&["export"]).expect(4);
}

/// Flips a bit of the marker wherever it stands in a file of the store.
fn damage(dir: &Path, marker: &[u8], damaged: &mut u32) {
    for entry in fs::read_dir(dir).expect("list the store") {
        let path = entry.expect("list the store").path();
        if path.is_dir() {
            damage(&path, marker, damaged);
            continue;
        }
        let mut bytes = fs::read(&path).expect("read a file");
        if let Some(at) = bytes.windows(marker.len()).position(|window| window == marker) {
            bytes[at + 10] ^= 1;
            fs::write(&path, bytes).expect("write a file");
            *damaged += 1;
        }
    }
}

#[test]
fn an_empty_store_has_no_kinds_and_says_so() {
    let cli = Cli::new();
    kindlog::Store::open(cli.store()).expect("it opens").close().expect("it closes");
    let answer = cli.run(&["kinds"]);
    let told = "kindlog: there are no resources\n";
    assert_eq!((answer.code, &*answer.out, &*answer.err), (0, &b""[..], told));
}

#[test]
fn lists_page_filter_and_turn_round() {
    let cli = Cli::new();
    for id in ["a/1", "a/2", "a/3", "b/1"] {
        cli.put(&format!("Agent/{id}"), id.as_bytes());
    }
    cli.put("AgentExecution/x", b"");
    let ids = |args: &[&str]| {
        let args: Vec<&str> = [&["list", "Agent", "-o", "ids"], args].concat();
        cli.run(&args).expect(0).text().to_owned()
    };
    assert_eq!(ids(&[]), "a/1\na/2\na/3\nb/1\n");
    assert_eq!(ids(&["--prefix", "a/"]), "a/1\na/2\na/3\n");
    assert_eq!(ids(&["--after", "a/1", "--limit", "2"]), "a/2\na/3\n");
    assert_eq!(ids(&["--reverse", "--after", "a/3"]), "a/2\na/1\n");
    assert_eq!(ids(&["--prefix", "c"]), "");
    // To whoever looks on it is said that there is nothing; a script finds no line.
    let nothing = [
        (&["list", "Agt"][..], "kindlog: there are no resources of kind Agt\n"),
        (&["list", "Agt", "-o", "text"], "kindlog: there are no resources of kind Agt\n"),
        (&["list", "Agt", "-o", "json"], ""),
        (&["list", "Agt", "-o", "ids"], ""),
        (
            &["list", "Agent", "--prefix", "c"],
            "kindlog: none of the 4 resources of kind Agent is in range\n",
        ),
    ];
    for (args, told) in nothing {
        let answer = cli.run(args);
        assert_eq!((answer.code, &*answer.out, &*answer.err), (0, &b""[..], told));
    }
    assert_eq!(cli.run(&["list", "Agent"]).expect(0).text().lines().count(), 5);
    let shown = cli.run(&["list", "Agent", "-o", "text", "-n", "2"]).expect(0);
    assert!(shown.text().starts_with("# Agent/a/1\n# revision "), "{}", shown.text());
    assert!(shown.text().contains("\n\n# Agent/a/2\n"), "{}", shown.text());
    let json = cli.run(&["list", "Agent", "-o", "json", "-n", "1"]).expect(0);
    assert!(json.text().contains("\"id\":\"a/1\""));
    let kinds = cli.run(&["kinds"]).expect(0);
    let kinds: Vec<&str> = kinds.text().lines().skip(1).map(str::trim).collect();
    assert!(kinds[0].starts_with("4 ") && kinds[0].ends_with(" Agent"), "{kinds:?}");
    assert!(kinds[1].starts_with("1 ") && kinds[1].ends_with(" AgentExecution"), "{kinds:?}");
    let stats = cli.run(&["stats", "-o", "json"]).expect(0);
    assert!(stats.text().contains("\"live_count\":4"), "{}", stats.text());
}

#[test]
fn clean_counts_first_and_deletes_when_told() {
    let cli = Cli::new();
    for id in ["a/1", "a/2", "b/1"] {
        cli.put(&format!("Log/{id}"), b"");
    }
    cli.put("Logs/x", b"");
    let clean = |args: &[&str]| {
        let args: Vec<&str> = [&["clean", "--kind", "Log"], args].concat();
        cli.run(&args).expect(0).text().to_owned()
    };
    assert!(clean(&[]).starts_with("would delete 3 resources"));
    assert!(clean(&["--prefix", "a/"]).starts_with("would delete 2 resources"));
    assert!(clean(&["--prefix", "a/", "--yes"]).starts_with("deleted 2 resources"));
    assert_eq!(cli.run(&["list", "Log", "-o", "ids"]).expect(0).text(), "b/1\n");
    assert!(clean(&["--yes"]).starts_with("deleted 1 resource "));
    assert_eq!(cli.run(&["list", "Logs", "-o", "ids"]).expect(0).text(), "x\n");
}

#[test]
fn what_is_exported_is_imported_byte_for_byte() {
    let from = Cli::new();
    for number in 0..300_usize {
        let value: Vec<u8> = (0..number * 7).map(|at| (at * number) as u8).collect();
        from.put(&format!("K{}/id {number} \"ü\"", number % 3), &value);
    }
    let table = |cli: &Cli| -> Vec<String> {
        let lines = cli.run(&["export"]).expect(0);
        let lines = lines.text().lines().map(|line| {
            let (key, rest) = line.split_once(",\"revision\":").expect("a revision");
            let (_, data) = rest.split_once(",\"data\":").expect("data");
            format!("{key} {data}")
        });
        lines.collect()
    };
    for format in ["jsonl", "delimited"] {
        let to = Cli::new();
        let exported = from.run(&["export", "--format", format]).expect(0);
        let stored =
            to.run_with_input(&["import", "--format", format, "--batch", "7"], &exported.out);
        assert!(stored.expect(0).text().starts_with("stored 300 resources, "));
        assert_eq!(table(&to), table(&from));

        let file = to.path("exported");
        let file = file.to_str().expect("UTF-8");
        from.run(&["export", "--format", format, "-o", file]).expect(0);
        assert_eq!(fs::read(file).expect("read"), exported.out);
        to.run(&["import", "--format", format, file]).expect(0);
        assert_eq!(table(&to), table(&from));
    }
    let one_kind = from.run(&["export", "--kind", "K1"]).expect(0);
    assert_eq!(one_kind.text().lines().count(), 100);
}

#[test]
fn a_bad_line_is_named_and_loses_nothing_before_it() {
    for (bad, wrong) in [
        ("{\"kind\":\"K\",\"id\":\"c\"}", "missing field `data`"),
        ("{\"kind\":\"K\",\"id\":\"c\",\"data\":\"*\"}", "no base64"),
        ("{\"kind\":\"K/x\",\"id\":\"c\",\"data\":\"\"}", "invalid key"),
        ("{\"kind\":\"K\",\"id\":\"\\u0007\",\"data\":\"\"}", "invalid key"),
        ("nonsense", "expected"),
    ] {
        let cli = Cli::new();
        let lines = format!(
            "{{\"kind\":\"K\",\"id\":\"a\",\"data\":\"AQ==\"}}\n\n\
             {{\"kind\":\"K\",\"id\":\"b\",\"data\":\"\"}}\n{bad}\n\
             {{\"kind\":\"K\",\"id\":\"d\",\"data\":\"\"}}\n"
        );
        let answer = cli.run_with_input(&["import"], lines.as_bytes()).expect(2);
        assert!(answer.err.contains("standard input: line 4: "), "{}", answer.err);
        assert!(answer.err.contains(wrong), "{}", answer.err);
        assert!(answer.err.ends_with("2 resources stored before that\n"), "{}", answer.err);
        assert_eq!(cli.run(&["list", "K", "-o", "ids"]).expect(0).text(), "a\nb\n");
    }
}

#[test]
fn a_closed_pipe_is_a_quiet_end() {
    let cli = Cli::new();
    let lines: String = (0..20_000)
        .map(|number| format!("{{\"kind\":\"K\",\"id\":\"{number:06}\",\"data\":\"AAAA\"}}\n"))
        .collect();
    cli.run_with_input(&["import"], lines.as_bytes()).expect(0);
    for args in [&["list", "K"][..], &["list", "K", "-o", "ids"], &["export"]] {
        let mut child = cli.command(args).spawn().expect("run kindlog");
        let mut stdout = BufReader::new(child.stdout.take().expect("it is piped"));
        stdout.read_line(&mut String::new()).expect("a first line");
        drop(stdout);
        let mut err = String::new();
        child.stderr.take().expect("it is piped").read_to_string(&mut err).expect("read");
        assert_eq!((child.wait().expect("wait").code(), err.as_str()), (Some(0), ""), "{args:?}");
    }
}

#[test]
fn nothing_is_colored_in_a_pipe() {
    let cli = Cli::new();
    cli.put("K/a", b"\x0a\x04\x1b[1m\x10\x01");
    for args in [&["get", "K/a"][..], &["list", "K"], &["kinds"], &["stats"]] {
        let answer = cli.run(args).expect(0);
        assert!(!answer.out.contains(&0x1b), "{}", answer.text());
    }
}

#[test]
fn the_demo_finds_nothing_wrong_and_runs_again_in_its_own_store_only() {
    let cli = Cli::new();
    let demo = ["demo", "--resources", "1000"];
    for _ in 0..2 {
        let told = cli.run(&demo).expect(0);
        assert!(told.text().contains("acknowledged commit"), "{}", told.text());
        assert!(told.text().contains("sound: "), "{}", told.text());
    }
    cli.run(&["get", "Agent/team-b/agent-00001"]).expect(0);
    cli.run(&["delete", "Demo/started-at"]).expect(0);
    cli.run(&demo).expect(2);
    cli.run(&["get", "Agent/team-b/agent-00001"]).expect(0);
}

#[test]
fn the_demo_stays_out_of_the_store_that_the_environment_names() {
    let cli = Cli::new();
    let mut command = Command::new(env!("CARGO_BIN_EXE_kindlog"));
    command.env("KINDLOG_STORE", cli.store()).env("TMPDIR", cli.dir.path());
    let told = command.args(["demo", "--resources", "100"]).output().expect("run kindlog");
    let told = answer(told).expect(0);
    assert!(told.text().contains("sound: ") && !cli.store().exists(), "{}", told.text());
}

#[test]
fn stats_tells_a_segment_that_is_written_from_one_that_nobody_has_open() {
    let cli = Cli::new();
    let states = || {
        let told = cli.run(&["stats"]).expect(0);
        let rows = told.text().lines().skip_while(|line| !line.contains("SEGMENT")).skip(1);
        let states = rows.map(|row| row.split_whitespace().last().expect("a state").to_owned());
        states.collect::<Vec<String>>()
    };
    let owner = kindlog::Store::open(cli.store()).expect("open the store");
    owner.put("Agent", "a", b"1").expect("put");
    assert_eq!(states(), ["active"]);
    owner.close().expect("close");
    assert_eq!(states(), ["unsealed"]);
    let json = cli.run(&["stats", "-o", "json"]).expect(0);
    assert!(json.text().contains("\"active\":false"), "{}", json.text());
    cli.run(&["compact"]).expect(0);
    assert_eq!(states(), ["unsealed", "sealed"]);
}

#[test]
fn a_store_is_backed_up_beside_its_owner_checked_and_restored() {
    let cli = Cli::new();
    let owner = kindlog::Store::open(cli.store()).expect("open the store");
    owner.put("Agent", "a", b"\x0a\x03Ada").expect("put");
    let (backup, to) = (cli.path("backup"), cli.path("to"));
    let (backup, to) = (backup.to_str().expect("UTF-8"), to.to_str().expect("UTF-8"));
    let run_in = |store: &str, args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kindlog"));
        answer(command.args(["--store", store]).args(args).output().expect("run kindlog"))
    };
    let first = cli.run(&["backup", backup]).expect(0);
    assert!(first.text().starts_with("backed up to revision 1 in "), "{}", first.text());
    let again = cli.run(&["backup", backup]).expect(0);
    assert!(again.text().contains("copied  0 B\n"), "{}", again.text());
    owner.close().expect("close");

    let sound = cli.run(&["verify", backup]).expect(0);
    assert!(sound.text().starts_with("a backup of revision 1, made 2"), "{}", sound.text());
    assert!(sound.text().contains("\nsound: 1 record in "), "{}", sound.text());
    cli.run(&["restore", backup, to]).expect(0);
    let restored = run_in(to, &["get", "Agent/a", "-o", "raw"]).expect(0);
    assert_eq!(restored.out, b"\x0a\x03Ada");
    cli.run(&["restore", backup, to]).expect(3);
    run_in(to, &["backup", backup]).expect(3);
    cli.run(&["verify", to]).expect(3);
    run_in(backup, &["put", "Agent/b"]).expect(3);

    let files = fs::read_dir(backup).expect("list the backup");
    let mut paths = files.map(|file| file.expect("list the backup").path());
    let segment = paths.find(|path| path.extension().is_some()).expect("a segment");
    let mut bytes = fs::read(&segment).expect("read the segment");
    let at = bytes.windows(3).position(|window| window == b"Ada").expect("the value");
    bytes[at] ^= 1;
    fs::write(&segment, bytes).expect("damage the segment");
    let damaged = cli.run(&["verify", backup]).expect(4);
    assert!(damaged.text().contains("checksum does not match"), "{}", damaged.text());
    cli.run(&["restore", backup, cli.path("other").to_str().expect("UTF-8")]).expect(4);
    assert!(!cli.path("other").exists());
}

#[test]
fn a_store_is_compacted_and_says_what_is_dead_and_why() {
    let cli = Cli::new();
    for round in 0..3 {
        for id in 0..20 {
            cli.put(&format!("Log/{id}"), &[round; 2_000]);
        }
    }
    let live = 20 * 2_000;
    let before = cli.run(&["stats", "--why"]).expect(0);
    assert!(before.text().contains("\ndead       8"), "{}", before.text());
    assert!(before.text().contains("the segment may still be written"), "{}", before.text());
    let plain = cli.run(&["stats", "-o", "json"]).expect(0);
    assert!(!plain.text().contains("compaction"), "{}", plain.text());

    let told = cli.run(&["compact"]).expect(0);
    let bytes: Vec<u64> = told.text().lines().take(2).map(number_in).collect();
    assert!(bytes[0] > 3 * live && (live..live + 3_000).contains(&bytes[1]), "{}", told.text());
    let after = cli.run(&["stats", "--why", "-o", "json"]).expect(0);
    let after: serde_json::Value = serde_json::from_str(after.text()).expect("JSON");
    assert!(after["compaction"]["dead_bytes"].as_u64().is_some_and(|dead| dead < 200), "{after}");
    assert!(after["compaction"]["allowed_bytes"].as_u64() > Some(live / 2), "{after}");
    assert!(after["compaction"]["held"].is_array(), "{after}");
}

/// The number behind the first word, its thousands told apart by commas.
fn number_in(line: &str) -> u64 {
    let number = line.split_whitespace().nth(1).expect("a number");
    number.replace(',', "").parse().expect("a number")
}

#[test]
fn what_is_dead_is_told_beside_an_owner_but_only_the_owner_compacts() {
    let cli = Cli::new();
    let options = kindlog::Options::new().segment_size(kindlog::MIN_SEGMENT_SIZE);
    let owner = options.space_bound(f64::INFINITY).open(cli.store()).expect("open the store");
    for n in 0..600 {
        owner.put("Log", &(n % 10).to_string(), [7; 1_000]).expect("put");
    }
    let told = cli.run(&["stats", "--why"]).expect(0);
    assert!(told.text().contains("over its bound"), "{}", told.text());
    let locked = cli.run(&["compact"]).expect(5);
    assert!(locked.err.contains("is open for writing in process"), "{}", locked.err);
    owner.close().expect("close");
    cli.run(&["compact"]).expect(0);
    let told = cli.run(&["stats", "--why"]).expect(0);
    assert!(!told.text().contains("over its bound"), "{}", told.text());
}
