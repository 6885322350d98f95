//! The tables, in Markdown.

use std::fmt::Write;

use super::figures::{Figures, OURS, Row, Runs, shown};
use super::goals;
use crate::line::{EngineLine, Setup};

/// A section for each file of results. What the goals were not set for gets a shorter one.
pub fn sections(runs: &[Figures]) -> Vec<String> {
    let mut sections = Vec::new();
    for (i, figures) in runs.iter().enumerate() {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = section(&mut text, figures, runs[..i].last());
        sections.push(text);
    }
    sections
}

fn section(text: &mut String, figures: &Figures, before: Option<&Figures>) -> std::fmt::Result {
    let with_goals = figures.setup.value_len == goals::VALUE_LEN;
    machine(text, figures)?;
    if with_goals {
        goals::table(text, figures)?;
    }
    losses(text, figures)?;
    all(text, figures, with_goals)?;
    if before.is_none_or(|before| before.engines != figures.engines) {
        engines(text, figures)?;
    }
    missing(text, figures)
}

fn machine(text: &mut String, figures: &Figures) -> std::fmt::Result {
    let setup = &figures.setup;
    let (records, runs) = (grouped(setup.records), figures.runs_done());
    writeln!(text, "### {records} records, values of {} bytes\n", setup.value_len)?;
    writeln!(
        text,
        "{}; each figure the median of {}{} where no other number is given. Before each run others \
         used at most {:.0} % of the machine.\n",
        on(setup),
        Runs::from(runs),
        planned(figures, runs),
        figures.busiest * 100.0
    )
}

/// When and where.
pub fn on(setup: &Setup) -> String {
    format!(
        "{}, {}, {} cores, {} GiB, {}, {}",
        setup.date, setup.cpu, setup.cores, setup.memory_gib, setup.kernel, setup.file_system
    )
}

/// What a run that was ended early has to say beside the number of its runs.
pub fn planned(figures: &Figures, done: usize) -> String {
    match figures.setup.runs {
        planned if planned as usize == done => String::new(),
        planned => format!(" of {planned} planned"),
    }
}

pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn engines(text: &mut String, figures: &Figures) -> std::fmt::Result {
    writeln!(text, "#### Stores\n\n| store | version | settings |\n| --- | --- | --- |")?;
    for engine in &figures.engines {
        writeln!(text, "| {} | {} | {} |", named(engine), engine.version, engine.settings)?;
    }
    writeln!(
        text,
        "\n† is measured at less than equal durability, since it has no level that survives \
         `kill -9` without an fsync each: `lost_share` of O1b is what that cost.\n"
    )
}

fn named(engine: &EngineLine) -> String {
    let equal = engine.survives_kill || engine.limit;
    format!("{}{}", engine.name, if equal { "" } else { " †" })
}

fn all(text: &mut String, figures: &Figures, about: bool) -> std::fmt::Result {
    writeln!(
        text,
        "#### All rows\n\nIn brackets: how many times as good as that store kindlog is, the median \
         of the ratios within each run.\n"
    )?;
    write!(text, "| |{} metric |", if about { " workload |" } else { "" })?;
    let done = figures.runs_done();
    for engine in &figures.engines {
        write!(text, " {}{} |", named(engine), fewer(figures.runs_of(&engine.name).into(), done))?;
    }
    let engines = " ---: |".repeat(figures.engines.len());
    writeln!(text, "\n| --- |{} --- |{engines}", if about { " --- |" } else { "" })?;
    for row in figures.rows() {
        let fewer = fewer(figures.runs(row), done);
        match about {
            true => write!(text, "| {} | {}{fewer} | {} |", row.workload, row.about(), row.unit())?,
            false => write!(text, "| {}{fewer} | {} |", row.workload, row.unit())?,
        }
        for engine in &figures.engines {
            write!(text, " {} |", cell(figures, row, &engine.name))?;
        }
        writeln!(text)?;
    }
    writeln!(text)
}

/// How many runs there are of something, where that is not the number of most.
fn fewer(runs: Runs, done: usize) -> String {
    if runs == done.into() { String::new() } else { format!(" ({runs})") }
}

fn cell(figures: &Figures, row: &Row, engine: &str) -> String {
    let Some(value) = figures.median(row, engine) else { return String::new() };
    match figures.times(row, engine) {
        Some(times) if engine != OURS => format!("{} ({times:.2})", shown(value)),
        _ => shown(value),
    }
}

/// The rows in which another store is better.
fn losses(text: &mut String, figures: &Figures) -> std::fmt::Result {
    writeln!(text, "#### Where kindlog loses\n")?;
    let best: Vec<f64> = figures.rows().filter_map(|row| figures.times_best(row)).collect();
    let ahead = best.iter().filter(|times| **times > 1.0).count();
    writeln!(text, "It is ahead of every other store in {ahead} of {} rows.\n", best.len())?;
    let mut lost = String::new();
    for row in figures.rows() {
        let peers = figures.engines.iter().filter(|engine| !engine.limit && engine.name != OURS);
        let better = peers.filter(|peer| figures.times(row, &peer.name).is_some_and(|t| t < 1.0));
        let better =
            better.map(|peer| format!("{} {}", named(peer), cell(figures, row, &peer.name)));
        let better = better.collect::<Vec<_>>().join(", ");
        if let Some(ours) = figures.median(row, OURS).filter(|_| !better.is_empty()) {
            let (about, ours) = (row.about(), shown(ours));
            writeln!(lost, "| {} | {about} | {} | {ours} | {better} |", row.workload, row.unit())?;
        }
    }
    if lost.is_empty() {
        return Ok(());
    }
    writeln!(text, "| | workload | metric | kindlog | ahead of it (times) |")?;
    writeln!(text, "| --- | --- | --- | ---: | --- |\n{lost}")
}

fn missing(text: &mut String, figures: &Figures) -> std::fmt::Result {
    if figures.missing.is_empty() {
        return Ok(());
    }
    writeln!(text, "#### Without a figure\n")?;
    for ((engine, workload, reason), count) in &figures.missing {
        let reason: String = reason.lines().next().unwrap_or_default().chars().take(200).collect();
        let often = if *count > 1 { format!(", {count} times") } else { String::new() };
        writeln!(text, "- {engine}, {workload}{often}: {reason}")?;
    }
    writeln!(text)
}

impl Figures {
    /// Against the best of the others.
    fn times_best(&self, row: &Row) -> Option<f64> {
        self.times(row, &self.best_peer(row)?.name)
    }
}
