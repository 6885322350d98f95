//! The tables, in Markdown.

use std::fmt::Write;

use super::figures::{Figures, OURS, Row, shown};
use super::goals;
use crate::engine::Result;

/// All of one file of results.
pub fn section(figures: &Figures) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _: Result<(), std::fmt::Error> = (|| {
        machine(&mut text, figures)?;
        goals::table(&mut text, figures)?;
        losses(&mut text, figures)?;
        all(&mut text, figures)?;
        engines(&mut text, figures)?;
        missing(&mut text, figures)
    })();
    text
}

type Written = Result<(), std::fmt::Error>;

fn machine(text: &mut String, figures: &Figures) -> Written {
    let setup = &figures.setup;
    writeln!(
        text,
        "### {} records, values of {} bytes\n",
        grouped(setup.records),
        setup.value_len
    )?;
    writeln!(
        text,
        "{}, {}, {} cores, {} GiB, {}, {}; each figure the median of {} where no other number is \
         given. Before each run others used at most {:.0} % of the machine.\n",
        setup.date,
        setup.cpu,
        setup.cores,
        setup.memory_gib,
        setup.kernel,
        setup.file_system,
        runs(setup.runs),
        figures.busiest * 100.0
    )
}

fn runs(runs: u32) -> String {
    match runs {
        1 => "a single run".to_owned(),
        runs => format!("{runs} runs"),
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

fn engines(text: &mut String, figures: &Figures) -> Written {
    writeln!(text, "#### Stores\n\n| store | version | settings |\n| --- | --- | --- |")?;
    for engine in &figures.engines {
        let name = marked(&engine.name, engine.survives_kill || engine.limit);
        writeln!(text, "| {name} | {} | {} |", engine.version, engine.settings)?;
    }
    writeln!(
        text,
        "\n† is measured at less than equal durability, since it has no level that survives \
         `kill -9` without an fsync each: `lost_share` of O1b is what that cost.\n"
    )
}

fn marked(name: &str, equal: bool) -> String {
    format!("{name}{}", if equal { "" } else { " †" })
}

fn all(text: &mut String, figures: &Figures) -> Written {
    writeln!(
        text,
        "#### All rows\n\nIn brackets: how many times as good as that store kindlog is, the median \
         of the ratios within each run.\n"
    )?;
    write!(text, "| | workload | metric |")?;
    for engine in &figures.engines {
        write!(text, " {} |", marked(&engine.name, engine.survives_kill || engine.limit))?;
    }
    writeln!(text, "\n| --- | --- | --- |{}", " ---: |".repeat(figures.engines.len()))?;
    for row in figures.rows() {
        let fewer = match figures.runs(row) {
            count if count as u32 == figures.setup.runs => String::new(),
            count => format!(" ({})", runs(count as u32)),
        };
        write!(text, "| {} | {}{fewer} | {} |", row.workload, row.about(), row.unit())?;
        for engine in &figures.engines {
            write!(text, " {} |", cell(figures, row, &engine.name))?;
        }
        writeln!(text)?;
    }
    writeln!(text)
}

fn cell(figures: &Figures, row: &Row, engine: &str) -> String {
    let Some(value) = figures.median(row, engine) else { return String::new() };
    match figures.times(row, engine) {
        Some(times) if engine != OURS => format!("{} ({times:.2})", shown(value)),
        _ => shown(value),
    }
}

/// The rows in which another store is better.
fn losses(text: &mut String, figures: &Figures) -> Written {
    writeln!(text, "#### Where kindlog loses\n")?;
    let best: Vec<f64> = figures.rows().filter_map(|row| figures.times_best(row)).collect();
    let ahead = best.iter().filter(|times| **times > 1.0).count();
    writeln!(text, "It is ahead of every other store in {ahead} of {} rows.\n", best.len())?;
    let mut lost = String::new();
    for row in figures.rows() {
        for engine in figures.engines.iter().filter(|engine| !engine.limit && engine.name != OURS) {
            let times = figures.times(row, &engine.name);
            let medians = (figures.median(row, OURS), figures.median(row, &engine.name));
            let (Some(times), (Some(ours), Some(theirs))) = (times, medians) else { continue };
            if times < 1.0 {
                writeln!(
                    lost,
                    "| {} | {} | {} | {} | {} | {} | {times:.2} |",
                    row.workload,
                    row.about(),
                    row.unit(),
                    shown(ours),
                    marked(&engine.name, engine.survives_kill),
                    shown(theirs),
                )?;
            }
        }
    }
    if lost.is_empty() {
        return Ok(());
    }
    writeln!(text, "| | workload | metric | kindlog | the other | its figure | times |")?;
    writeln!(text, "| --- | --- | --- | ---: | --- | ---: | ---: |\n{lost}")
}

fn missing(text: &mut String, figures: &Figures) -> Written {
    if figures.missing.is_empty() {
        return Ok(());
    }
    writeln!(text, "#### Without a figure\n")?;
    for (engine, workload, reason) in &figures.missing {
        let reason: String = reason.lines().next().unwrap_or_default().chars().take(200).collect();
        writeln!(text, "- {engine}, {workload}: {reason}")?;
    }
    writeln!(text)
}

impl Figures {
    /// Against the best of the others.
    fn times_best(&self, row: &Row) -> Option<f64> {
        self.times(row, &self.best_peer(row)?.name)
    }
}
