//! Runs each workload of each store in a process of its own, the stores interleaved: all of them do
//! one workload, then all of them the next, beginning with another one each time.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::engine::{Level, Result, Role, Spec};
use crate::line::{Acked, Description, EngineLine, Figure, Line, Printed};
use crate::machine;
use crate::workloads::{self, KILLED, Store, Workload};

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
    pub settle_ms: u64,
    pub dir: PathBuf,
}

/// A store that takes part.
pub enum Participant {
    Own(&'static Spec),
    /// Another program, given as `NAME=COMMAND`: README.md says what it has to do.
    External {
        name: String,
        command: Vec<String>,
    },
}

impl Participant {
    pub fn external(text: &str) -> Result<Participant> {
        let (name, command) = text.split_once('=').ok_or("--external wants NAME=COMMAND")?;
        let command: Vec<String> = command.split_whitespace().map(str::to_owned).collect();
        let known = crate::engines::named(name).is_some();
        match name.is_empty() || command.is_empty() || known {
            true => Err(format!("{text}: wants a new name and a command").into()),
            false => Ok(Participant::External { name: name.to_owned(), command }),
        }
    }

    fn name(&self) -> &str {
        match self {
            Participant::Own(spec) => spec.name,
            Participant::External { name, .. } => name,
        }
    }

    fn role(&self) -> Role {
        match self {
            Participant::Own(spec) => spec.role,
            Participant::External { .. } => Role::Store,
        }
    }

    /// Whose loaded store it works on: a variant of a store has none of its own.
    fn owner(&self) -> &str {
        match self.role() {
            Role::Reader => "kindlog",
            _ => self.name(),
        }
    }

    fn command(&self, name: &str) -> Result<Command> {
        Ok(match self {
            Participant::Own(_) => {
                let mut command = Command::new(std::env::current_exe()?);
                command.args(["child", "--engine", name]);
                command
            }
            Participant::External { command: words, .. } => {
                let mut command = Command::new(&words[0]);
                command.args(&words[1..]).args(["--engine", name]);
                command
            }
        })
    }

    fn line(&self) -> Result<EngineLine> {
        match self {
            Participant::Own(spec) => Ok(EngineLine {
                name: spec.name.to_owned(),
                version: machine::version(spec),
                settings: spec.settings.to_owned(),
                survives_kill: spec.survives_kill,
                limit: spec.role != Role::Store,
            }),
            Participant::External { name, command } => {
                let output =
                    Command::new(&command[0]).args(&command[1..]).arg("--describe").output()?;
                let said: Description = serde_json::from_slice(&output.stdout)
                    .map_err(|error| format!("{name} --describe: {error}"))?;
                Ok(EngineLine {
                    name: name.clone(),
                    version: said.version,
                    settings: said.settings,
                    survives_kill: said.survives_kill,
                    limit: false,
                })
            }
        }
    }
}

/// Runs all of it and appends a line for each figure to `out`; how many workloads failed.
pub fn run(plan: &Plan, out: &Path) -> Result<usize> {
    fs::create_dir_all(&plan.dir)?;
    if let Some(folder) = out.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut run = Run { plan, out: File::create(out)?, number: 0, failed: 0 };
    let setup = machine::setup(&plan.dir, plan.records, plan.value_len, plan.runs)?;
    run.write(&Line::Setup(setup))?;
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
    out: File,
    number: u32,
    failed: usize,
}

/// How a process ended that did as asked.
enum Outcome {
    Figures(Vec<Printed>),
    Cannot,
}

impl Run<'_> {
    fn write(&mut self, line: &Line) -> Result<()> {
        Ok(writeln!(self.out, "{}", serde_json::to_string(line)?)?)
    }

    fn once(&mut self) -> Result<()> {
        let share = machine::busy()?;
        self.write(&Line::Busy { run: self.number, share })?;
        if share > QUIET {
            eprintln!("the machine is {:.0} % busy with something else", share * 100.0);
        }
        for (i, workload) in self.plan.workloads.iter().enumerate() {
            let count = self.plan.engines.len();
            for place in 0..count {
                let engine = &self.plan.engines[(place + i + self.number as usize) % count];
                if workload.needs.met_by(engine.role()) {
                    self.measure(engine, workload)?;
                }
            }
        }
        for engine in &self.plan.engines {
            remove(&self.plan.dir.join(engine.owner()))?;
        }
        Ok(())
    }

    fn measure(&mut self, engine: &Participant, workload: &Workload) -> Result<()> {
        let (run, name) = (self.number, engine.name().to_owned());
        let workload_name = workload.name.to_owned();
        let reason = match self.in_its_directory(engine, workload) {
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

    fn in_its_directory(&self, engine: &Participant, workload: &Workload) -> Result<Outcome> {
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
            Store::Loads => {
                remove(&loaded)?;
                fs::create_dir_all(&loaded)?;
                self.child(engine, engine.name(), workload, &loaded, 0)
            }
            Store::Loaded => {
                if !loaded.exists() {
                    fs::create_dir_all(&loaded)?;
                    let load = workloads::named("W2").ok_or("W2 loads the store")?;
                    self.child(engine, engine.owner(), load, &loaded, 0)?;
                }
                self.child(engine, engine.name(), workload, &loaded, 0)
            }
        }
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
        let output = self.command(engine, name, workload, dir, acked)?.output()?;
        if output.status.code() == Some(CANNOT) {
            return Ok(Outcome::Cannot);
        }
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(format!("{}: {}", output.status, said.trim()).into());
        }
        let said = String::from_utf8(output.stdout)?;
        let figures = said.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
        Ok(Outcome::Figures(figures))
    }

    /// Kills a writer when it has said that half of its puts have returned, and returns how many it
    /// said last.
    fn kill_amid_puts(&self, engine: &Participant, dir: &Path) -> Result<u64> {
        let workload = workloads::named(KILLED).ok_or("it is not in the tables")?;
        let mut command = self.command(engine, engine.name(), workload, dir, 0)?;
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let said = child.stdout.take().ok_or("its output is piped")?;
        let half = (workload.ops)(self.plan.records) / 2;
        let mut acked = 0;
        let mut killed = false;
        // What it said before it died still comes after the kill.
        for line in BufReader::new(said).lines() {
            let Ok(Acked { acked: last }) = serde_json::from_str(&line?) else { break };
            acked = last;
            if acked >= half && !killed {
                child.kill()?;
                killed = true;
            }
        }
        let status = child.wait()?;
        match killed {
            true => Ok(acked),
            false => Err(format!("the writer ended by itself: {status}").into()),
        }
    }
}

fn remove(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}
