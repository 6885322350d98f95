//! The commands for copies of a whole store: backup, restore, and verify of a backup.

use std::path::Path;

use kindlog::Store;

use crate::Place;
use crate::failure::Outcome;
use crate::inspect::{described, verdict};
use crate::output::{Output, counted, escape_hidden, size};
use crate::time::rfc3339;

/// Backs the store up, beside its owner if it has one.
pub(crate) fn backup(place: &Place, dir: &Path) -> Outcome {
    let report = place.open_to_read()?.backup(dir)?;
    let mut out = Output::stdout();
    let (revision, dir) = (report.revision, dir.display());
    let segments = counted(report.segments, "segment");
    let line = format!("backed up to revision {revision} in {dir}: {segments}");
    out.line(escape_hidden(&line))?;
    out.line(format!("copied  {}", size(report.copied_bytes)))?;
    out.line(format!("shared  {}", size(report.shared_bytes)))?;
    out.line(format!("kept    {}", size(report.kept_bytes)))?;
    out.finish()
}

/// Makes a new store of a backup.
pub(crate) fn restore(backup: &Path, to: &Path) -> Outcome {
    let report = Store::restore(backup, to)?;
    let mut out = Output::stdout();
    let (revision, to, bytes) = (report.revision, to.display(), size(report.bytes));
    let segments = counted(report.segments, "segment");
    let line = format!("restored to revision {revision} in {to}: {segments}, {bytes}");
    out.line(escape_hidden(&line))?;
    out.finish()
}

/// Checks a backup without restoring it.
pub(crate) fn verify(backup: &Path) -> Outcome {
    let report = Store::verify_backup(backup)?;
    let mut out = Output::stdout();
    let (revision, created) = (report.revision, rfc3339(report.created));
    out.line(format!("a backup of revision {revision}, made {created}"))?;
    for problem in &report.problems {
        out.line(escape_hidden(&described(problem)))?;
    }
    let verdict = verdict(report.records, report.bytes, report.problems.len());
    if let Ok(line) = &verdict {
        out.line(line)?;
    }
    out.finish()?;
    verdict.map(drop)
}
