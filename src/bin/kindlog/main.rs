//! The command line `kindlog`: looks into a store, changes it, moves it, and shows it at work.
//!
//! One file for each group of commands (`read`, `change`, `inspect`, `compact`, `doctor`, `backup`,
//! `import`, `export`, `demo`), and one for each thing they share: `wire` and `print` decode
//! Protobuf without a schema, `jsonl` and `delimited` are the formats of import and export,
//! `failure` holds the exit codes.

mod args;
mod backup;
mod change;
mod compact;
mod delimited;
mod demo;
mod doctor;
#[rustfmt::skip]
#[allow(unreachable_pub, clippy::all)]
mod examples;
mod export;
mod failure;
mod import;
mod inspect;
mod jsonl;
mod key;
mod output;
mod print;
mod progress;
mod read;
#[rustfmt::skip]
#[allow(unreachable_pub, clippy::all)]
mod resource_proto;
mod time;
mod wire;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::parser::ValueSource;
use clap::{CommandFactory, FromArgMatches};
use kindlog::{Options, Store};

use crate::args::{Cli, Command};
use crate::failure::{Failure, Outcome};

fn main() -> ExitCode {
    let matches = Cli::command().get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    match run(cli, matches.value_source("store")) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::ClosedPipe) => ExitCode::SUCCESS,
        Err(failure) => {
            let error = output::Styles::stderr().error;
            let text = failure.to_string();
            let text = output::escape_hidden(&text);
            // Nobody is left to tell if this fails too.
            let _ = writeln!(std::io::stderr(), "{error}kindlog:{error:#} {text}");
            ExitCode::from(failure.exit_code())
        }
    }
}

/// Does what is asked. `said` is where the store's directory was said, if anywhere.
fn run(cli: Cli, said: Option<ValueSource>) -> Outcome {
    let place = Place(cli.store);
    match cli.command {
        Command::Put(args) => change::put(&place, &args),
        Command::Get(args) => read::get(&place, &args),
        Command::List(args) => read::list(&place, &args),
        Command::Kinds => read::kinds(&place),
        Command::Delete { key } => change::delete(&place, &key),
        Command::Clean(args) => change::clean(&place, &args),
        Command::Stats { output, why } => inspect::stats(&place, output, why),
        Command::Compact => compact::compact(&place),
        Command::Verify { backup: None } => inspect::verify(&place),
        Command::Verify { backup: Some(backup) } => backup::verify(&backup),
        Command::Backup { dir } => backup::backup(&place, &dir),
        Command::Restore { backup, to } => backup::restore(&backup, &to),
        Command::Doctor => doctor::doctor(&place),
        Command::Salvage { to } => doctor::salvage(&place, &to),
        Command::Import(args) => import::import(&place, &args),
        Command::Export(args) => export::export(&place, &args),
        Command::Completions { shell } => completions(shell),
        // Not in the store that the environment names: that one is for work.
        Command::Demo(args) => {
            demo::demo(place.0.filter(|_| said == Some(ValueSource::CommandLine)), &args)
        }
        Command::DemoWriter { seed, from } => demo::writer::run(place.path()?, seed, from),
    }
}

fn completions(shell: clap_complete::Shell) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "kindlog", &mut script);
    let mut out = output::Output::stdout();
    out.raw(&script)?;
    out.finish()
}

/// Where the store is, if that was said.
pub(crate) struct Place(Option<PathBuf>);

impl Place {
    fn path(&self) -> Outcome<&PathBuf> {
        self.0.as_ref().ok_or_else(|| {
            Failure::Usage("which store? Say --store PATH, or set KINDLOG_STORE".into())
        })
    }

    /// Opens the store for reading: without its lock, changing no byte.
    pub(crate) fn open_to_read(&self) -> Outcome<Store> {
        Ok(Options::new().read_only(true).create(false).open(self.path()?)?)
    }

    /// Opens the store for changing what is in it.
    pub(crate) fn open_to_change(&self) -> Outcome<Store> {
        Ok(Options::new().create(false).open(self.path()?)?)
    }

    /// Opens the store for adding to it, and makes it where there is none.
    pub(crate) fn open_to_add(&self) -> Outcome<Store> {
        Ok(Options::new().open(self.path()?)?)
    }
}
