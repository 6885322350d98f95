//! What the machine is, and whether it is quiet.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use crate::engine::{Result, Spec};
use crate::line::Setup;
use crate::runner::Plan;

/// Describes the machine and what it is to do.
pub fn setup(plan: &Plan) -> Result<Setup> {
    let cpus = fs::read_to_string("/proc/cpuinfo")?;
    let memory = fs::read_to_string("/proc/meminfo")?;
    let after_colon = |text: &str, name: &str| -> String {
        let line = text.lines().find(|line| line.starts_with(name));
        line.and_then(|line| Some(line.split_once(':')?.1.trim().to_owned())).unwrap_or_default()
    };
    let total = after_colon(&memory, "MemTotal");
    let total_kib: u64 = total.split(' ').next().unwrap_or_default().parse()?;
    Ok(Setup {
        date: said_by("date", &["-u", "+%Y-%m-%d"])?,
        cpu: after_colon(&cpus, "model name"),
        cores: thread::available_parallelism()?.get(),
        memory_gib: (total_kib + (1 << 19)) >> 20,
        kernel: said_by("uname", &["-sr"])?,
        file_system: file_system(&plan.dir)?,
        records: plan.records,
        value_len: plan.value_len,
        runs: plan.runs,
        growth: plan.growth,
    })
}

/// The type of the file system that holds a directory.
fn file_system(dir: &Path) -> Result<String> {
    let dir = dir.canonicalize()?;
    let mounts = fs::read_to_string("/proc/mounts")?;
    let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let holding = fields.filter(|fields| fields.len() > 2 && dir.starts_with(fields[1]));
    let nearest = holding.max_by_key(|fields| fields[1].len());
    Ok(nearest.map(|fields| fields[2].to_owned()).unwrap_or_default())
}

/// The bytes that are free for us where a directory lies.
pub fn free_bytes(dir: &Path) -> Result<u64> {
    let dir = dir.to_str().ok_or("the directory's name is not UTF-8")?;
    let said = said_by("df", &["--output=avail", "-B1", dir])?;
    Ok(said.lines().nth(1).ok_or("df is not understood")?.trim().parse()?)
}

fn said_by(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program).args(arguments).output()?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The share of all cores' time that others use, over two seconds in which this program sleeps.
pub fn busy() -> Result<f64> {
    let before = cpu_times()?;
    thread::sleep(Duration::from_secs(2));
    let after = cpu_times()?;
    let (idle, all) = (after.0 - before.0, after.1 - before.1);
    Ok(1.0 - idle as f64 / (all as f64).max(1.0))
}

/// Idle and all time of all cores, in ticks.
fn cpu_times() -> Result<(u64, u64)> {
    let stat = fs::read_to_string("/proc/stat")?;
    let fields = stat.lines().next().unwrap_or_default().split_whitespace().skip(1).take(8);
    let ticks = fields.map(str::parse::<u64>).collect::<Result<Vec<_>, _>>()?;
    let idle = ticks.get(3).zip(ticks.get(4)).ok_or("/proc/stat is not understood")?;
    Ok((idle.0 + idle.1, ticks.iter().sum()))
}

/// A package's version as Cargo.lock has it; of kindlog, with the commit.
pub fn version(spec: &Spec) -> String {
    let package = spec.package;
    let lock = include_str!("../Cargo.lock");
    let version = lock.split("[[package]]").find_map(|entry| {
        let mut lines = entry.trim().lines();
        (lines.next()? == format!("name = \"{package}\"")).then_some(())?;
        Some(lines.next()?.trim_start_matches("version = ").trim_matches('"'))
    });
    match (version, package) {
        (None, _) => String::new(),
        (Some(version), "kindlog") => {
            let folder = env!("CARGO_MANIFEST_DIR");
            let commit = said_by("git", &["-C", folder, "rev-parse", "--short=9", "HEAD"]);
            format!("{version} {}", commit.unwrap_or_default()).trim().to_owned()
        }
        (Some(version), _) => format!("{package} {version}"),
    }
}
