//! Who takes part: the stores here, and other programs.

use std::process::Command;
use std::time::Duration;

use crate::engine::{Result, Role, Spec};
use crate::line::{Description, EngineLine};
use crate::{engines, machine, process};

/// How long a program may think about what it is.
const DESCRIBE: Duration = Duration::from_secs(20);

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
        let known = engines::named(name).is_some();
        match name.is_empty() || command.is_empty() || known {
            true => Err(format!("{text}: wants a new name and a command").into()),
            false => Ok(Participant::External { name: name.to_owned(), command }),
        }
    }

    pub fn name(&self) -> &str {
        match self {
            Participant::Own(spec) => spec.name,
            Participant::External { name, .. } => name,
        }
    }

    pub fn role(&self) -> Role {
        match self {
            Participant::Own(spec) => spec.role,
            Participant::External { .. } => Role::Store,
        }
    }

    /// Whose loaded store it works on: a variant of a store has none of its own.
    pub fn owner(&self) -> &str {
        match self.role() {
            Role::Reader => "kindlog",
            _ => self.name(),
        }
    }

    pub fn command(&self, name: &str) -> Result<Command> {
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

    pub fn line(&self) -> Result<EngineLine> {
        match self {
            Participant::Own(spec) => Ok(EngineLine {
                name: spec.name.to_owned(),
                version: machine::version(spec),
                settings: spec.settings.to_owned(),
                survives_kill: spec.survives_kill,
                limit: spec.role != Role::Store,
            }),
            Participant::External { name, command } => {
                let mut words = Command::new(&command[0]);
                words.args(&command[1..]).arg("--describe");
                let failed = |error| format!("{name} --describe: {error}");
                let ended = process::output(&mut words, DESCRIBE).map_err(failed)?;
                let said: Description = serde_json::from_str(&ended.said)
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
