//! Instructions for each operation, counted by valgrind: `cargo bench --bench instructions`.
//!
//! For comparing two commits on a machine that others use, too: a count is the same however busy
//! it is. It knows nothing of caches and of what the kernel does, so a change that saves
//! instructions may still lose time.
//!
//! Each verb runs in a process under callgrind, which counts what the calling thread does in it,
//! and neither filling the store nor what the store's own threads do meanwhile: that differs from
//! run to run.
#![allow(missing_docs)]

use std::error::Error;
use std::hint::black_box;
use std::io::ErrorKind;
use std::process::{Command, ExitCode};
use std::time::Duration;

use kindlog::{Batch, Durability, Options, Store};

const RECORDS: u64 = 10_000;
/// Has no divisor in common with that, so its multiples meet each record once.
const STRIDE: u64 = 7_919;
const KINDS: [&str; 8] =
    ["Agent00", "Session", "Workfl1", "Workfl2", "Execut1", "Execut2", "LogChnk", "Project"];

/// A verb, and how often it is done.
const VERBS: [(&str, u64); 7] = [
    ("put", 8_000),
    ("overwrite", 8_000),
    ("batch", 80),
    ("get", 8_000),
    ("value", 8_000),
    ("miss", 8_000),
    ("scan", 200),
];

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words[..] {
        ["--child", verb, operations] => child(verb, operations),
        _ => compare(&words),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn compare(wanted: &[&str]) -> Result<()> {
    for (verb, operations) in VERBS {
        if wanted.is_empty() || wanted.contains(&verb) {
            let each = counted(verb, operations)? / operations;
            println!("{verb:10} {each:>8} instructions each");
        }
    }
    Ok(())
}

/// The instructions of [`act`], all calls together.
fn counted(verb: &str, operations: u64) -> Result<u64> {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    valgrind.args(["--collect-atstart=no", "--toggle-collect=instructions::act"]);
    valgrind.arg(std::env::current_exe()?).args(["--child", verb, &operations.to_string()]);
    let output = valgrind.output().map_err(|error| match error.kind() {
        ErrorKind::NotFound => "valgrind is not installed, and nothing else is counted here: \
            `apt-get install valgrind`, or the like"
            .to_owned(),
        _ => format!("valgrind: {error}"),
    })?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let collected = said.lines().find_map(|line| line.split_once("Collected : "));
    match collected.map(|(_, count)| count.trim()) {
        Some("0") => Err("valgrind did not find what it was to count".into()),
        Some(count) if output.status.success() => Ok(count.parse()?),
        _ => Err(format!("valgrind {}: {said}", output.status).into()),
    }
}

/// What valgrind looks at.
fn child(verb: &str, operations: &str) -> Result<()> {
    let operations = operations.parse()?;
    let dir = tempfile::tempdir()?;
    // No sync comes in between, since how many do is a matter of time.
    let options =
        Options::new().durability(Durability::Os).sync_interval(Duration::from_secs(3600));
    let store = options.open(dir.path())?;
    let value = [b'v'; 200];
    let mixed = |i| i * STRIDE % RECORDS;
    let keys: Vec<_> = (0..RECORDS).map(|i| key(mixed(i))).collect();
    let others: Vec<_> = (0..RECORDS).map(|i| key(RECORDS + mixed(i))).collect();
    for (kind, id) in &keys {
        store.put(kind, id, value)?;
    }
    for at in 0..operations {
        act(&store, verb, &keys, &others, at, &value)?;
    }
    Ok(store.close()?)
}

#[inline(never)]
fn act(
    store: &Store,
    verb: &str,
    keys: &[(&str, String)],
    others: &[(&str, String)],
    at: usize,
    value: &[u8],
) -> Result<()> {
    let ((kind, id), other) = (&keys[at], &others[at]);
    match verb {
        "put" => {
            store.put(other.0, &other.1, value)?;
        }
        "overwrite" => {
            store.put(kind, id, value)?;
        }
        "batch" => {
            let mut batch = Batch::new();
            for (kind, id) in &others[at * 100..][..100] {
                batch.put(kind, id, value);
            }
            store.commit(batch)?;
        }
        "get" => {
            black_box(store.get_resource(kind, id)?.ok_or("it was put")?);
        }
        "value" => {
            black_box(store.get_value(kind, id)?.ok_or("it was put")?);
        }
        "miss" => {
            black_box(store.get_resource(other.0, &other.1)?);
        }
        "scan" => {
            for resource in store.scan(kind).after(id).limit(100).iter() {
                black_box(resource?);
            }
        }
        _ => return Err(format!("no verb {verb}").into()),
    }
    Ok(())
}

/// Numbers that look random, the same in every run.
fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

fn key(i: u64) -> (&'static str, String) {
    (KINDS[(i % 8) as usize], format!("rsrc-01J{:07X}{:016X}", i / 8, mix(i)))
}
