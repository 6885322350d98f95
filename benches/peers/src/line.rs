//! The lines of a file of results, and what a process that runs a workload prints.

use serde::{Deserialize, Serialize};

use crate::engine::Result;

/// One line of a file of results: JSON with the field `line` saying which.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "line", rename_all = "snake_case")]
pub enum Line {
    /// The first one.
    Setup(Setup),
    /// One for each store, before its figures.
    Engine(EngineLine),
    /// How busy the machine was just before a run, while this program slept: 0 to 1.
    Busy {
        run: u32,
        share: f64,
    },
    Figure(Figure),
    /// How long a workload took, all told: for whoever plans the next run.
    Took {
        run: u32,
        engine: String,
        workload: String,
        seconds: f64,
    },
    /// A workload that failed, or that an external program says it can't do.
    Missing {
        run: u32,
        engine: String,
        workload: String,
        reason: String,
    },
}

/// The machine and what was asked for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Setup {
    pub date: String,
    pub cpu: String,
    pub cores: usize,
    pub memory_gib: u64,
    pub kernel: String,
    pub file_system: String,
    pub records: u64,
    pub value_len: usize,
    /// As many as were planned.
    pub runs: u32,
    /// Whether it is one of several numbers of keys, to see how figures grow.
    #[serde(default)]
    pub growth: bool,
}

/// A store as it was measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineLine {
    pub name: String,
    pub version: String,
    pub settings: String,
    /// Whether at `os` all that returned survives `kill -9`.
    pub survives_kill: bool,
    /// Not a store that is compared, but a limit or a variant of one.
    pub limit: bool,
}

/// One figure of one run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Figure {
    pub run: u32,
    pub engine: String,
    pub workload: String,
    /// Its end is its unit. What ends in `_per_s` is better the greater, all else the smaller.
    pub metric: String,
    pub value: f64,
}

/// What a process that runs a workload prints, a line each.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Printed {
    pub metric: String,
    pub value: f64,
}

/// What a process prints that waits to be killed.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Acked {
    pub acked: u64,
}

/// What an external program prints when it is asked to `--describe` itself.
#[derive(Clone, Debug, Deserialize)]
pub struct Description {
    pub version: String,
    pub settings: String,
    pub survives_kill: bool,
}

pub fn print_figure(metric: &str, value: f64) {
    println!("{}", serde_json::json!({ "metric": metric, "value": value }));
}

pub fn parse(text: &str) -> Result<Vec<Line>> {
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    lines
        .map(|line| serde_json::from_str(line).map_err(|e| format!("{line}: {e}").into()))
        .collect()
}
