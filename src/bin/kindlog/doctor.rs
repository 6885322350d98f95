//! The commands for a store that is damaged: doctor, salvage.

use std::path::Path;

use kindlog::{Damage, Store};

use crate::Place;
use crate::failure::{Failure, Outcome};
use crate::output::{Output, count, counted, escape_hidden};

/// Says what is sound, torn and rotten, what is lost, and what to do. Changes nothing.
pub(crate) fn doctor(place: &Place) -> Outcome {
    let diagnosis = Store::diagnose(place.path()?)?;
    let mut out = Output::stdout();
    let records = counted(diagnosis.records, "record");
    out.line(format!("sound: {records}, {} of them live", count(diagnosis.live)))?;
    damages(&mut out, &diagnosis.damages)?;
    for misnamed in &diagnosis.misnamed {
        let (file, name) = (misnamed.file.display(), &misnamed.name);
        out.line(escape_hidden(&format!("misnamed: {file}: it holds what should be in {name}")))?;
    }
    let rotten = diagnosis.damages.iter().any(|damage| !damage.torn);
    let verdict = match &diagnosis.open {
        Ok(_) if diagnosis.is_healthy() => "healthy: nothing to do",
        Ok(_) if !rotten => {
            "the end of the log is torn, as after a crash: open the store, and it goes on from \
             what is sound"
        }
        Ok(_) => "it opens, but part of it is damaged: salvage it, or restore a backup",
        Err(error) => {
            out.line(format!("it refuses to open: {}", escape_hidden(&error.to_string())))?;
            match diagnosis.misnamed.is_empty() {
                true => "copy what is sound to a new store, or restore a backup:",
                false => {
                    "give the files the names of what they hold, or copy what is sound to a new \
                     store:"
                }
            }
        }
    };
    out.line(verdict)?;
    if diagnosis.open.is_err() {
        let store = place.path()?.display().to_string();
        out.line(escape_hidden(&format!("  kindlog -s '{store}' salvage TO")))?;
    }
    out.finish()?;
    match diagnosis.open.is_err() || rotten {
        true => Err(Failure::Damage("the store is damaged".to_owned())),
        false => Ok(()),
    }
}

/// Copies what is sound into a new store, and lists what is not.
pub(crate) fn salvage(place: &Place, to: &Path) -> Outcome {
    let report = Store::salvage(place.path()?, to)?;
    let mut out = Output::stdout();
    damages(&mut out, &report.damages)?;
    let saved = counted(report.saved, "resource");
    out.line(format!("saved {saved} to {}", to.display()))?;
    out.finish()?;
    match report.damages.iter().filter(|damage| !damage.torn).count() as u64 {
        0 => Ok(()),
        lost => {
            Err(Failure::Damage(format!("{} could not be saved", counted(lost, "damaged place"))))
        }
    }
}

fn damages(out: &mut Output, damages: &[Damage]) -> Outcome {
    for damage in damages {
        let kind = if damage.torn { "torn" } else { "rotten" };
        let (file, offset) = (damage.file.display(), damage.offset);
        let stretch = match damage.len {
            0 => String::new(),
            len => format!(", {} from byte {offset}", counted(len, "byte")),
        };
        out.line(escape_hidden(&format!("{kind}: {file}{stretch}: {}", damage.reason)))?;
        if let Some(lost) = &damage.lost {
            let what = match (lost.is_delete, lost.newest) {
                (true, _) => "a delete is lost, what it deleted may be back".to_owned(),
                (false, Some(newest)) if newest > lost.revision => {
                    format!("overwritten since, at revision {newest}")
                }
                (false, Some(newest)) => format!("back at revision {newest}"),
                (false, None) => "lost".to_owned(),
            };
            // What is damaged may be the name itself.
            let doubt = if lost.certain { "" } else { " (if its name is not damaged, too)" };
            let line = format!("  {}{doubt} at revision {}: {what}", lost.key, lost.revision);
            out.line(escape_hidden(&line))?;
        }
    }
    Ok(())
}
