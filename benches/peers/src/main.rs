//! kindlog measured against other embedded stores: one data set, one set of workloads, equal
//! durability, one run. README.md says how, and how a program in another language takes part.

mod data;
mod engine;
mod engines;
mod line;
mod machine;
mod measure;
mod participant;
mod process;
mod report;
mod runner;
mod size;
mod workloads;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use rustix::process::{Signal, set_parent_process_death_signal};

use crate::data::{Keys, Values};
use crate::engine::{Level, Result, Role};
use crate::participant::Participant;
use crate::runner::Plan;
use crate::workloads::Context;

/// Bytes of a value of `scale`.
const SCALE_VALUE_LEN: usize = 200;

#[derive(Parser)]
#[command(about = "kindlog measured against other embedded stores")]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Measures, and writes a file of JSON lines.
    Run(RunArgs),
    /// Measures how kindlog's figures grow with the number of keys, and writes such a file.
    Scale(ScaleArgs),
    /// Writes tables and charts from such files.
    Report(ReportArgs),
    /// Lists the workloads and the stores.
    List,
    /// Prints the first records of the data set, for programs in other languages to compare.
    Dataset(DatasetArgs),
    /// One workload of one store, in this process.
    #[command(hide = true)]
    Child(ChildArgs),
}

#[derive(Args)]
struct RunArgs {
    /// Stores, with commas; all that this program was built with.
    #[arg(long, value_delimiter = ',')]
    engines: Vec<String>,
    /// Workloads, with commas; all.
    #[arg(long, value_delimiter = ',')]
    workloads: Vec<String>,
    /// Records; unless given 1,000,000, or as many as make 512 MiB with their values.
    #[arg(long)]
    records: Option<u64>,
    /// The values' length in bytes: 200, 1024, 16384.
    #[arg(long, default_value_t = 200)]
    value: usize,
    /// How often all is done, 3 times unless given; figures are medians.
    #[arg(long)]
    runs: Option<u32>,
    /// Workloads and stores, with commas, that take part in the first run only.
    #[arg(long, value_delimiter = ',')]
    once: Vec<String>,
    /// What takes too long: STORE:WORKLOAD, with commas.
    #[arg(long, value_delimiter = ',')]
    skip: Vec<String>,
    /// 10,000 records, once.
    #[arg(long)]
    quick: bool,
    /// How many seconds a workload of a store may take before it is killed and counts as missing.
    #[arg(long, default_value_t = 600)]
    limit: u64,
    /// One more store, run by a program: NAME=COMMAND. README.md says what it has to do.
    #[arg(long)]
    external: Vec<String>,
    /// Where the stores lie meanwhile.
    #[arg(long, default_value = "target/stores")]
    dir: PathBuf,
    /// Where the figures go.
    #[arg(long, default_value = "target/results.jsonl")]
    out: PathBuf,
}

#[derive(Args)]
struct ScaleArgs {
    /// How many keys, with commas: each ten times the one before, for the report's ratios.
    #[arg(long, value_delimiter = ',', default_value = "10000,100000,1000000,10000000")]
    sizes: Vec<u64>,
    /// How many seconds a workload may take.
    #[arg(long, default_value_t = 600)]
    limit: u64,
    #[arg(long, default_value = "target/stores")]
    dir: PathBuf,
    #[arg(long, default_value = "target/scale.jsonl")]
    out: PathBuf,
}

#[derive(Args)]
struct ReportArgs {
    /// Files of results; the charts are the first one's.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// The folder with benchmarks.md, whose marked part is replaced.
    #[arg(long, default_value = "../../docs")]
    docs: PathBuf,
    /// Also if the machine was busy with something else; the page then says so.
    #[arg(long)]
    loaded: bool,
    /// Prints the tables and changes no file.
    #[arg(long)]
    print: bool,
}

#[derive(Args)]
struct DatasetArgs {
    #[arg(long, default_value_t = 1_000_000)]
    records: u64,
    #[arg(long, default_value_t = 200)]
    value: usize,
    /// How many to print.
    #[arg(long, default_value_t = 3)]
    count: usize,
}

#[derive(Args)]
struct ChildArgs {
    #[arg(long)]
    engine: String,
    #[arg(long)]
    workload: String,
    #[arg(long)]
    dir: PathBuf,
    #[arg(long)]
    level: Level,
    #[arg(long)]
    records: u64,
    #[arg(long)]
    value: usize,
    #[arg(long)]
    threads: u64,
    #[arg(long)]
    ops: u64,
    #[arg(long)]
    settle_ms: u64,
    #[arg(long)]
    acked: u64,
}

fn main() -> ExitCode {
    let done = match Cli::parse().verb {
        Verb::Run(args) => run(args),
        Verb::Scale(args) => scale(&args),
        Verb::Report(args) => report::report(&args.files, &args.docs, args.loaded, args.print),
        Verb::List => list(),
        Verb::Dataset(args) => dataset(&args),
        Verb::Child(args) => child(args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: RunArgs) -> Result<()> {
    let mut engines = Vec::new();
    let all = engines::all().into_iter();
    let known: Vec<_> = all.map(|spec| spec.name.to_owned()).collect();
    for name in if args.engines.is_empty() { &known } else { &args.engines } {
        let spec = engines::named(name).ok_or_else(|| {
            format!("no store {name}: this program was built with {}", known.join(", "))
        })?;
        engines.push(Participant::Own(spec));
    }
    for external in &args.external {
        engines.push(Participant::external(external)?);
    }
    let pair = |text: &String| text.split_once(':').map(|(a, b)| (a.to_owned(), b.to_owned()));
    let skip: Option<Vec<_>> = args.skip.iter().map(pair).collect();
    let skip = skip.ok_or("--skip wants STORE:WORKLOAD")?;
    let known = |name: &String| engines.iter().any(|engine| engine.name() == name);
    let once = args.once.iter().filter(|name| !known(name));
    for name in args.workloads.iter().chain(once).chain(skip.iter().map(|pair| &pair.1)) {
        workloads::named(name).ok_or_else(|| format!("no workload {name}: see list"))?;
    }
    let asked = |name: &str| args.workloads.is_empty() || args.workloads.iter().any(|w| w == name);
    let plan = Plan {
        engines,
        workloads: workloads::ALL.iter().filter(|workload| asked(workload.name)).collect(),
        records: args.records.unwrap_or_else(|| size::records(args.value, args.quick)),
        value_len: args.value,
        runs: args.runs.unwrap_or(if args.quick { 1 } else { 3 }),
        growth: false,
        once: args.once,
        skip,
        // kindlog looks every second whether it is idle.
        settle_ms: if args.quick { 2400 } else { 4000 },
        limit: Duration::from_secs(args.limit),
        dir: args.dir,
    };
    Values::new(plan.value_len)?;
    std::fs::create_dir_all(&plan.dir)?;
    let stores = plan.engines.iter().filter(|engine| engine.role() == Role::Store).count();
    size::check(plan.records, plan.value_len, stores as u64, &plan.dir)?;
    ran(&[plan], &args.out)
}

fn ran(plans: &[Plan], out: &Path) -> Result<()> {
    match runner::run(plans, out)? {
        0 => Ok(()),
        failed => Err(format!("{failed} failed: {} says why", out.display()).into()),
    }
}

/// One plan a size, the small ones more often: they take less time, and more of it is chance.
fn scale(args: &ScaleArgs) -> Result<()> {
    let ours = engines::named("kindlog").ok_or("kindlog is always built")?;
    std::fs::create_dir_all(&args.dir)?;
    let mut plans = Vec::new();
    for records in &args.sizes {
        size::check_load(*records, SCALE_VALUE_LEN, &args.dir)?;
        plans.push(Plan {
            engines: vec![Participant::Own(ours)],
            workloads: workloads::GROWTH.iter().collect(),
            records: *records,
            value_len: SCALE_VALUE_LEN,
            runs: match records {
                ..100_000 => 9,
                100_000..1_000_000 => 5,
                1_000_000..10_000_000 => 3,
                _ => 1,
            },
            growth: true,
            once: Vec::new(),
            skip: Vec::new(),
            settle_ms: 0,
            limit: Duration::from_secs(args.limit),
            dir: args.dir.clone(),
        });
    }
    ran(&plans, &args.out)
}

fn list() -> Result<()> {
    for workload in workloads::ALL {
        println!("{:6} {}", workload.name, workload.about);
    }
    println!();
    for spec in engines::all() {
        println!("{:18} {:26} {}", spec.name, machine::version(spec), spec.settings);
    }
    Ok(())
}

fn dataset(args: &DatasetArgs) -> Result<()> {
    let values = Values::new(args.value)?;
    let in_order: Vec<u32> = data::in_order(args.records).map(|record| record as u32).collect();
    for (name, order) in [("in order", in_order), ("at random", data::shuffled(args.records))] {
        println!("{name}");
        for record in order.iter().take(args.count) {
            let record = u64::from(*record);
            let keys = Keys::one(record);
            let value = values.of(record, 0);
            let hex: String = value.iter().take(48).map(|byte| format!("{byte:02x}")).collect();
            println!(
                "{record} {} {} {hex}... CRC-32 {:08x}",
                keys.get(0).joined,
                value.len(),
                crc32fast::hash(value)
            );
        }
    }
    Ok(())
}

fn child(args: ChildArgs) -> Result<()> {
    // Who kills the run wants nobody left behind that goes on for minutes.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let spec = engines::named(&args.engine).ok_or("no such store")?;
    let workload = workloads::named(&args.workload).ok_or("no such workload")?;
    let context = Context {
        spec,
        dir: args.dir,
        level: args.level,
        records: args.records,
        value_len: args.value,
        threads: args.threads,
        ops: args.ops,
        settle: Duration::from_millis(args.settle_ms),
        acked: args.acked,
    };
    (workload.run)(&context)
}
