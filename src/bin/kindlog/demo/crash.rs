//! Step 3: a process that owns the store is killed (SIGKILL) in mid-write, again and again. After
//! each time the store must hold every commit that was acknowledged, and of what came after only
//! the one that was under way, whole or not at all.

use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use kindlog::{Options, RecoveryReport, Store};

use super::data::Rng;
use super::writer::{Change, KIND, Model};
use super::{SEED, Teller, check};
use crate::failure::{Failure, Outcome};
use crate::output::{counted, size};
use crate::time::elapsed;

/// How many acknowledgements a round waits for before it kills: at least, and at most.
const ROUNDS: &[(u64, u64)] = &[(200, 400), (500, 2000), (500, 2000), (1000, 3000), (1, 50)];

const SIGKILL: i32 = 9;

pub(super) fn run(dir: &Path, teller: &mut Teller) -> Outcome {
    teller.title("3. Killed in mid-write: another process owns the store, and gets SIGKILL")?;
    let mut model = Model::new();
    // The number of the next commit, which is how many there have been.
    let mut next = 0;
    for (round, &(least, most)) in ROUNDS.iter().enumerate() {
        let wanted = least + Rng::new(SEED, 7, round as u64).below(most - least);
        let acknowledged = write_and_kill(dir, next, wanted)?;
        let store = Options::new().create(false).open(dir)?;
        for number in next..next + acknowledged {
            Change::of(SEED, number).apply(&mut model);
        }
        next += acknowledged;
        let under_way = compare(&store, &mut model, next)?;
        next += u64::from(under_way);
        teller.line(&format!(
            "round {}: killed after {}",
            round + 1,
            counted(acknowledged, "acknowledged commit")
        ))?;
        teller.line(&format!(
            "  {} there, every byte the same, nothing else; the commit under way: {}",
            counted(model.len() as u64, "key"),
            if under_way { "whole" } else { "absent" }
        ))?;
        teller.line(&format!("  {}", told(store.recovery())))?;
        store.close()?;
    }
    Ok(())
}

fn told(report: &RecoveryReport) -> String {
    let lost = if report.lost_acknowledged { "; it fears for Sync commits" } else { "" };
    format!(
        "recovery: {}, {} read in {}; {} torn and cut off{lost}",
        counted(report.records, "record"),
        size(report.bytes_read),
        elapsed(report.elapsed),
        counted(report.torn_bytes, "byte"),
    )
}

/// Kills the child also where an error ends the round.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Lets a child make commits from `first` on, kills it when `wanted` are acknowledged, and answers
/// how many were until it was dead.
fn write_and_kill(dir: &Path, first: u64, wanted: u64) -> Outcome<u64> {
    let failed = |error| Failure::io("the writing process", error);
    let program = std::env::current_exe().map_err(failed)?;
    let mut command = Command::new(program);
    command.arg("--store").arg(dir).arg("demo-writer");
    command.args(["--seed", &SEED.to_string(), "--from", &first.to_string()]);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = Killed(command.spawn().map_err(failed)?);
    let mut acknowledgements = BufReader::new(child.0.stdout.take().expect("it is piped"));

    let mut acknowledged = 0;
    let mut line = String::new();
    // Acknowledgements written before the kill are still in the pipe after it, and count.
    while acknowledgements.read_line(&mut line).map_err(failed)? > 0 {
        check(line == format!("{}\n", first + acknowledged), || {
            format!("the writing process acknowledged {line:?} as commit {acknowledged}")
        })?;
        acknowledged += 1;
        line.clear();
        if acknowledged == wanted {
            child.0.kill().map_err(failed)?;
        }
    }
    let status = child.0.wait().map_err(failed)?;
    check(status.signal() == Some(SIGKILL) && acknowledged >= wanted, || {
        format!("the writing process ended by itself, {status}, after {acknowledged} commits")
    })?;
    Ok(acknowledged)
}

/// Compares the store with what the acknowledged commits add up to; or else, with commit `next` on
/// top, which was under way. Answers whether that one is there.
fn compare(store: &Store, model: &mut Model, next: u64) -> Outcome<bool> {
    let mut found = Model::new();
    for resource in store.scan(KIND).iter() {
        let resource = resource?;
        found.insert(String::from(&resource.id), resource.data.to_vec());
    }
    if found == *model {
        return Ok(false);
    }
    let without = difference(&found, model);
    Change::of(SEED, next).apply(model);
    check(found == *model, || {
        let with = difference(&found, model);
        format!("after {next} commits, {without}; and were commit {next} there too, {with}")
    })?;
    Ok(true)
}

/// The first key in which the store is not what it should be.
fn difference(found: &Model, expected: &Model) -> String {
    for (id, value) in expected {
        match found.get(id) {
            None => return format!("{KIND}/{id} was acknowledged, and is lost"),
            Some(other) if other != value => return format!("{KIND}/{id} holds other bytes"),
            Some(_) => {}
        }
    }
    match found.keys().find(|id| !expected.contains_key(*id)) {
        Some(id) => format!("{KIND}/{id} should not be there: deleted, or never stored"),
        None => "nothing differs".into(),
    }
}
