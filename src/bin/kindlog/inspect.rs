//! The commands about the store as a whole: stats, verify.

use kindlog::{Problem, Stats, Store};
use serde_json::{Value, json};

use crate::Place;
use crate::args::StatsFormat;
use crate::compact;
use crate::failure::{Failure, Outcome};
use crate::output::{Output, count, counted, escape_hidden, size};
use crate::time::rfc3339;

pub(crate) fn stats(place: &Place, format: StatsFormat, why: bool) -> Outcome {
    let store = place.open_to_read()?;
    let stats = store.stats();
    let mut out = Output::stdout();
    match format {
        StatsFormat::Json => {
            let mut object = as_json(&stats);
            if why {
                object["compaction"] = compact::as_json(&stats.compaction);
            }
            out.line(object.to_string())?;
        }
        StatsFormat::Text => {
            as_text(&mut out, &stats)?;
            if why {
                out.line("")?;
                compact::as_text(&mut out, &stats.compaction)?;
            }
        }
    }
    out.finish()
}

fn as_text(out: &mut Output, stats: &Stats) -> Outcome {
    let name = out.styles.name;
    let resources = stats.kinds.iter().map(|kind| kind.live_count).sum();
    out.line(format!("revision   {}", stats.revision))?;
    out.line(format!("resources  {}", count(resources)))?;
    out.line(format!("on disk    {}", size(stats.disk_bytes)))?;
    out.line(format!("index      {} of memory", size(stats.index_bytes)))?;
    out.line("")?;
    out.line(format!(
        "{name}{:>13}  {:>10}  {:>10}  {:<27}  {:<27}  KIND{name:#}",
        "RESOURCES", "LIVE", "DEAD", "OLDEST (UTC)", "NEWEST (UTC)"
    ))?;
    for kind in &stats.kinds {
        let row = format!(
            "{:>13}  {:>10}  {:>10}  {:<27}  {:<27}  {}",
            count(kind.live_count),
            size(kind.live_bytes),
            size(kind.dead_bytes),
            kind.oldest.map(rfc3339).unwrap_or_default(),
            kind.newest.map(rfc3339).unwrap_or_default(),
            out.name(&kind.name)
        );
        out.line(row)?;
    }
    out.line("")?;
    out.line(format!("{name}{:>10}  {:>10}  {:>10}  STATE{name:#}", "SEGMENT", "LIVE", "TOTAL"))?;
    for segment in &stats.segments {
        out.line(format!(
            "{:>10}  {:>10}  {:>10}  {}",
            segment.id,
            size(segment.live_bytes),
            size(segment.total_bytes),
            match (segment.sealed, segment.active) {
                (true, _) => "sealed",
                (false, true) => "active",
                (false, false) => "unsealed",
            }
        ))?;
    }
    Ok(())
}

fn as_json(stats: &Stats) -> Value {
    let kinds: Vec<Value> = stats
        .kinds
        .iter()
        .map(|kind| {
            json!({
                "name": kind.name,
                "live_count": kind.live_count,
                "live_bytes": kind.live_bytes,
                "dead_bytes": kind.dead_bytes,
                "oldest": kind.oldest.map(rfc3339),
                "newest": kind.newest.map(rfc3339),
            })
        })
        .collect();
    let segments: Vec<Value> = stats
        .segments
        .iter()
        .map(|segment| {
            json!({
                "id": segment.id,
                "live_bytes": segment.live_bytes,
                "total_bytes": segment.total_bytes,
                "active": segment.active,
                "sealed": segment.sealed,
            })
        })
        .collect();
    json!({
        "revision": u64::from(stats.revision),
        "disk_bytes": stats.disk_bytes,
        "index_bytes": stats.index_bytes,
        "kinds": kinds,
        "segments": segments,
    })
}

pub(crate) fn verify(place: &Place) -> Outcome {
    let store = place.open_to_read()?;
    let mut out = Output::stdout();
    let torn = &store.recovery().discarded;
    for stretch in torn {
        let (file, offset) = (stretch.file.display(), stretch.offset);
        let line = format!("{file}, byte {offset}: torn, {}", counted(stretch.len, "byte"));
        out.line(escape_hidden(&line))?;
    }
    let line = verified(&store, |problem| {
        let problem = escape_hidden(problem).into_owned();
        out.line(problem)
    })?;
    out.line(line)?;
    out.finish()?;
    match torn.is_empty() {
        true => Ok(()),
        false => Err(Failure::Damage("the end of the log is torn".to_owned())),
    }
}

/// Verifies a store, tells `problem` about each problem, and answers in a line what was sound.
pub(crate) fn verified(store: &Store, mut problem: impl FnMut(&str) -> Outcome) -> Outcome<String> {
    let report = store.verify()?;
    for found in &report.problems {
        problem(&described(found))?;
    }
    verdict(report.records, report.bytes, report.problems.len())
}

/// A problem in a line.
pub(crate) fn described(found: &Problem) -> String {
    let key = found.key.as_ref().map(|key| format!("{key}: ")).unwrap_or_default();
    format!("{}, byte {}: {key}{}", found.file.display(), found.offset, found.reason)
}

/// What was read, and that it was sound, in a line; or how many problems there are.
pub(crate) fn verdict(records: u64, bytes: u64, problems: usize) -> Outcome<String> {
    let checked = format!("{} in {}", counted(records, "record"), counted(bytes, "byte"));
    if problems == 0 {
        return Ok(format!("sound: {checked}"));
    }
    let problems = counted(problems as u64, "problem");
    Err(Failure::Damage(format!("{problems} in {checked}")))
}
