//! Runs each workload of each store in a process of its own, the stores interleaved: all of them do
//! one workload, then all of them the next, beginning with another one each time. What the one
//! before has not written to the disk yet, and the room that it has given up, are seen to before.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::engine::{Level, Result};
use crate::line::{Acked, Figure, Line, Printed};
use crate::measure::forget_files;
use crate::participant::Participant;
use crate::workloads::{self, KILLED, Store, Workload};
use crate::{machine, process};

/// Above this share of foreign work figures are not worth keeping.
pub const QUIET: f64 = 0.1;
/// An external program ends with this code if it can't do a workload.
const CANNOT: i32 = 3;

pub struct Plan {
    pub engines: Vec<Participant>,
    pub workloads: Vec<&'static Workload>,
    pub records: u64,
    pub value_len: usize,
    pub runs: u32,
    /// Whether it is one of several, to see how figures grow.
    pub growth: bool,
    /// Workloads and stores that only the first run has.
    pub once: Vec<String>,
    /// What a store leaves out: its name and a workload's.
    pub skip: Vec<(String, String)>,
    pub settle_ms: u64,
    /// How long one process may take.
    pub limit: Duration,
    pub dir: PathBuf,
}

/// Runs all of them and writes a line for each figure to `out`; how many workloads failed.
pub fn run(plans: &[Plan], out: &Path) -> Result<usize> {
    if let Some(folder) = out.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut out = File::create(out)?;
    let mut failed = 0;
    for plan in plans {
        failed += run_one(plan, &mut out)?;
    }
    Ok(failed)
}

fn run_one(plan: &Plan, out: &mut File) -> Result<usize> {
    fs::create_dir_all(&plan.dir)?;
    let mut run = Run { plan, out, number: 0, failed: 0, not_loaded: BTreeSet::new() };
    run.write(&Line::Setup(machine::setup(plan)?))?;
    for participant in &plan.engines {
        run.write(&Line::Engine(participant.line()?))?;
    }
    for number in 1..=plan.runs {
        run.number = number;
        run.once()?;
    }
    Ok(run.failed)
}

struct Run<'a> {
    plan: &'a Plan,
    out: &'a mut File,
    number: u32,
    failed: usize,
    /// The stores that could not be loaded in this run.
    not_loaded: BTreeSet<String>,
}

/// How a process ended that did as asked.
enum Outcome {
    Figures(Vec<Printed>),
    Cannot,
}

impl Run<'_> {
    /// In one piece: whoever ends this early leaves whole lines.
    fn write(&mut self, line: &Line) -> Result<()> {
        let text = serde_json::to_string(line)? + "\n";
        Ok(self.out.write_all(text.as_bytes())?)
    }

    fn once(&mut self) -> Result<()> {
        self.not_loaded.clear();
        let share = machine::busy()?;
        self.write(&Line::Busy { run: self.number, share })?;
        if share > QUIET {
            eprintln!("the machine is {:.0} % busy with something else", share * 100.0);
        }
        for (i, workload) in self.plan.workloads.iter().enumerate() {
            let count = self.plan.engines.len();
            for place in 0..count {
                let engine = &self.plan.engines[(place + i + self.number as usize) % count];
                if self.is_due(engine, workload) {
                    self.measure(engine, workload)?;
                }
            }
        }
        for engine in &self.plan.engines {
            remove(&self.plan.dir.join(engine.owner()))?;
        }
        Ok(())
    }

    fn is_due(&self, engine: &Participant, workload: &Workload) -> bool {
        let once = |name: &String| name == workload.name || name == engine.name();
        let again = self.number > 1 && self.plan.once.iter().any(once);
        let skip =
            |(store, name): &(String, String)| store == engine.name() && name == workload.name;
        workload.needs.met_by(engine.role()) && !again && !self.plan.skip.iter().any(skip)
    }

    fn measure(&mut self, engine: &Participant, workload: &Workload) -> Result<()> {
        let (run, name) = (self.number, engine.name().to_owned());
        let workload_name = workload.name.to_owned();
        rustix::fs::sync();
        let start = Instant::now();
        let outcome = self.in_its_directory(engine, workload);
        let seconds = start.elapsed().as_secs_f64();
        let took = (name.clone(), workload_name.clone());
        self.write(&Line::Took { run, engine: took.0, workload: took.1, seconds })?;
        let reason = match outcome {
            Ok(Outcome::Figures(figures)) => {
                for Printed { metric, value } in figures {
                    eprintln!("{run}  {workload_name:5} {name:18} {metric:20} {value:>14.3}");
                    let (engine, workload) = (name.clone(), workload_name.clone());
                    self.write(&Line::Figure(Figure { run, engine, workload, metric, value }))?;
                }
                return Ok(());
            }
            Ok(Outcome::Cannot) => "the program says that it can't".to_owned(),
            Err(error) => {
                self.failed += 1;
                error.to_string()
            }
        };
        eprintln!("{run}  {workload_name:5} {name:18} no figure: {reason}");
        self.write(&Line::Missing { run, engine: name, workload: workload_name, reason })
    }

    fn in_its_directory(&mut self, engine: &Participant, workload: &Workload) -> Result<Outcome> {
        let loaded = self.plan.dir.join(engine.owner()).join("loaded");
        let fresh = self.plan.dir.join(engine.name()).join("fresh");
        match workload.store {
            Store::Fresh => {
                remove(&fresh)?;
                fs::create_dir_all(&fresh)?;
                let acked = match workload.name {
                    "O1b" => self.kill_amid_puts(engine, &fresh)?,
                    _ => 0,
                };
                let outcome = self.child(engine, engine.name(), workload, &fresh, acked);
                remove(&fresh)?;
                outcome
            }
            Store::Loads => self.load(engine, workload, &loaded),
            Store::Loaded | Store::Cold => {
                if self.not_loaded.contains(engine.owner()) {
                    return Err("W2 did not load the store".into());
                }
                if !loaded.exists() {
                    let load = workloads::named("W2").ok_or("W2 loads the store")?;
                    self.load(engine, load, &loaded)?;
                }
                if workload.store == Store::Cold {
                    forget_files(&loaded)?;
                }
                self.child(engine, engine.name(), workload, &loaded, 0)
            }
        }
    }

    /// Nothing is measured on what is left if this fails: it has fewer records than it is said to.
    fn load(&mut self, engine: &Participant, load: &Workload, dir: &Path) -> Result<Outcome> {
        remove(dir)?;
        fs::create_dir_all(dir)?;
        let outcome = self.child(engine, engine.owner(), load, dir, 0);
        if !matches!(outcome, Ok(Outcome::Figures(_))) {
            self.not_loaded.insert(engine.owner().to_owned());
        }
        outcome
    }

    fn command(
        &self,
        engine: &Participant,
        name: &str,
        workload: &Workload,
        dir: &Path,
        acked: u64,
    ) -> Result<Command> {
        let level = match workload.level {
            Level::Os => "os",
            Level::Sync => "sync",
        };
        let mut command = engine.command(name)?;
        command.args(["--workload", workload.name, "--level", level]);
        command.arg("--dir").arg(dir);
        for (flag, value) in [
            ("--records", self.plan.records),
            ("--value", self.plan.value_len as u64),
            ("--threads", workload.threads),
            ("--ops", (workload.ops)(self.plan.records)),
            ("--settle-ms", self.plan.settle_ms),
            ("--acked", acked),
        ] {
            command.arg(flag).arg(value.to_string());
        }
        Ok(command)
    }

    fn child(
        &self,
        engine: &Participant,
        name: &str,
        workload: &Workload,
        dir: &Path,
        acked: u64,
    ) -> Result<Outcome> {
        let mut command = self.command(engine, name, workload, dir, acked)?;
        let ended = process::output(&mut command, self.plan.limit)?;
        if ended.status.code() == Some(CANNOT) {
            return Ok(Outcome::Cannot);
        }
        if !ended.status.success() {
            return Err(format!("{}: {}", ended.status, ended.complained.trim()).into());
        }
        let figures = ended.said.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
        Ok(Outcome::Figures(figures))
    }

    /// Kills a writer when it has said that half of its puts have returned, and returns how many it
    /// said last.
    fn kill_amid_puts(&self, engine: &Participant, dir: &Path) -> Result<u64> {
        let mut command = self.command(engine, engine.name(), KILLED, dir, 0)?;
        let half = (KILLED.ops)(self.plan.records) / 2;
        let mut acked = 0;
        let ended = process::kill_when(&mut command, self.plan.limit, |line| {
            let Ok(Acked { acked: last }) = serde_json::from_str(line) else { return false };
            acked = last;
            acked >= half
        })?;
        match ended {
            None => Ok(acked),
            Some(status) => Err(format!("the writer ended by itself: {status}").into()),
        }
    }
}

fn remove(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// Takes part as README.md has it: W1 has a figure, in both runs, W2b it can't do, W3 hangs, of
    /// O1b it is killed amid the puts, R1 fails, D1 is left out.
    const SCRIPT: &str = r#"#!/bin/sh
if [ "$1" = --describe ]; then
    echo '{"version":"script 1","settings":"none","survives_kill":true}'
    exit
fi
while [ $# -gt 0 ]; do
    case $1 in
    --workload) workload=$2 ;;
    --dir) dir=$2 ;;
    --acked) acked=$2 ;;
    esac
    shift 2
done
case $workload in
W1) [ -d "$dir" ] && echo '{"metric":"ops_per_s","value":5.5}' ;;
W2b) exit 3 ;;
W3) exec sleep 600 ;;
O1b-write) echo '{"acked":64}' && echo '{"acked":1024}' && exec sleep 600 ;;
O1b) echo "{\"metric\":\"open_ms\",\"value\":$acked}" ;;
W2) touch "$dir/loaded" ;;
R1) [ -f "$dir/loaded" ] && echo no such record >&2 && exit 1 ;;
esac
"#;

    /// Runs some workloads of a script twice, all but the first one once: what came of it, and how
    /// many failed.
    fn outcomes(script: &str, names: &[&str]) -> (Vec<String>, usize) {
        let folder = format!("kindlog-peers-{}-{}", std::process::id(), names.len());
        let folder = std::env::temp_dir().join(folder);
        fs::create_dir_all(&folder).expect("a folder");
        let file = folder.join("script");
        fs::write(&file, script).expect("a file");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o700)).expect("its owner may");
        let external = Participant::external(&format!("script={}", file.display()));
        let workloads = names.iter().map(|name| workloads::named(name).expect("there is one"));
        let plan = Plan {
            engines: vec![external.expect("a name and a command")],
            workloads: workloads.collect(),
            records: 10_000,
            value_len: 200,
            runs: 2,
            growth: false,
            once: names.iter().skip(1).map(|name| (*name).to_owned()).collect(),
            skip: vec![("script".to_owned(), "D1".to_owned())],
            settle_ms: 0,
            limit: Duration::from_secs(2),
            dir: folder.join("stores"),
        };
        let out = folder.join("results.jsonl");
        let failed = run(&[plan], &out).expect("a run");
        let lines = crate::line::parse(&fs::read_to_string(&out).expect("a file")).expect("lines");
        fs::remove_dir_all(&folder).expect("the folder goes");
        let said = lines.into_iter().filter_map(|line| match line {
            Line::Engine(engine) => Some(engine.version),
            Line::Figure(figure) => Some(format!("{} {}", figure.workload, figure.value)),
            Line::Missing { workload, reason, .. } => Some(format!("{workload} {reason}")),
            Line::Setup(_) | Line::Busy { .. } | Line::Took { .. } => None,
        });
        (said.collect(), failed)
    }

    #[test]
    fn a_program_takes_part() {
        let (said, failed) = outcomes(SCRIPT, &["W1", "W2b", "W3", "O1b", "R1", "D1"]);
        let expected = [
            "script 1",
            "W1 5.5",
            "W2b the program says that it can't",
            "W3 killed: it was not done after 2 s",
            "O1b 1024",
            "R1 exit status: 1: no such record",
            "W1 5.5",
        ];
        assert_eq!(said, expected);
        assert_eq!(failed, 2);
    }

    /// A load that took too long left half a store, and what came behind it had figures of that.
    #[test]
    fn what_was_loaded_in_part_is_not_measured() {
        let script = SCRIPT.replace(r#"W2) touch "$dir/loaded" ;;"#, "W2) exec sleep 600 ;;");
        let (said, failed) = outcomes(&script, &["R1", "W2", "O1c"]);
        let late = "killed: it was not done after 2 s";
        let expected = [
            "script 1".to_owned(),
            format!("R1 {late}"),
            format!("W2 {late}"),
            "O1c W2 did not load the store".to_owned(),
            format!("R1 {late}"),
        ];
        assert_eq!(said, expected);
        assert_eq!(failed, 4);
    }
}
