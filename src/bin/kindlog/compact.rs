//! The command compact, and what stats --why tells: how much is dead, and what holds it.

use kindlog::{CompactionStats, Stats, WhyHeld};
use serde_json::{Value, json};

use crate::Place;
use crate::failure::Outcome;
use crate::output::{Output, counted, escape_hidden, size};

/// Compacts all there is, and says what that gave, and what is dead all the same.
pub(crate) fn compact(place: &Place) -> Outcome {
    let store = place.open_to_change()?;
    let before = store.stats();
    store.compact()?;
    let after = store.stats();
    store.close()?;
    let mut out = Output::stdout();
    out.line(format!("before  {}", extent(&before)))?;
    out.line(format!("after   {}", extent(&after)))?;
    // What the log has just written about itself is in the active segment, and no news.
    if after.compaction.held.iter().any(|held| held.why != WhyHeld::Active) {
        out.line("")?;
        held(&mut out, &after.compaction)?;
    }
    out.finish()
}

fn extent(stats: &Stats) -> String {
    let segments = counted(stats.segments.len() as u64, "segment");
    format!("{} in {segments}", counted(stats.disk_bytes, "byte"))
}

/// What is dead in a store that was opened for reading.
pub(crate) fn as_text(out: &mut Output, stats: &CompactionStats) -> Outcome {
    let (dead, allowed) = (size(stats.dead_bytes), size(stats.allowed_bytes));
    out.line(format!("dead       {dead}; by the default bound an idle owner leaves {allowed}"))?;
    out.line("")?;
    held(out, stats)?;
    out.line("")?;
    out.line(
        "This is what the files say. Tombstones that are needed, and what snapshots pin, only",
    )?;
    out.line("the process that owns the store can tell: its Store::stats has them.")
}

fn held(out: &mut Output, stats: &CompactionStats) -> Outcome {
    let name = out.styles.name;
    out.line(format!("{name}{:>10}  {:>10}  WHY IT IS THERE{name:#}", "SEGMENT", "DEAD"))?;
    for held in &stats.held {
        let (dead, why) = (size(held.dead_bytes), reason(&held.why));
        let row = format!("{:>10}  {dead:>10}  {}", held.segment, escape_hidden(&why));
        out.line(row)?;
    }
    Ok(())
}

fn reason(why: &WhyHeld) -> String {
    match why {
        WhyHeld::BelowBound => "the store is within its bound".to_owned(),
        WhyHeld::Due => "the store is over its bound: its owner will compact it".to_owned(),
        WhyHeld::Active => "the segment may still be written".to_owned(),
        WhyHeld::Tombstones { needed_by } => {
            let numbers: Vec<String> = needed_by.iter().map(u32::to_string).collect();
            format!("tombstones of what is still in segment {}", numbers.join(", "))
        }
        WhyHeld::Damaged { reason } => format!("damaged: {reason}"),
        WhyHeld::AutomaticOff => "nothing is compacted unless it is asked for".to_owned(),
        WhyHeld::Pinned => "a snapshot reads it".to_owned(),
        other => format!("{other:?}"),
    }
}

/// What only whoever compacts knows is left out.
pub(crate) fn as_json(stats: &CompactionStats) -> Value {
    let held: Vec<Value> = stats
        .held
        .iter()
        .map(|held| {
            let why = match &held.why {
                WhyHeld::BelowBound => "below_bound",
                WhyHeld::Due => "due",
                WhyHeld::Active => "active",
                WhyHeld::Tombstones { .. } => "tombstones",
                WhyHeld::Damaged { .. } => "damaged",
                WhyHeld::AutomaticOff => "automatic_off",
                WhyHeld::Pinned => "pinned",
                _ => "other",
            };
            json!({ "segment": held.segment, "dead_bytes": held.dead_bytes, "why": why })
        })
        .collect();
    json!({
        "dead_bytes": stats.dead_bytes,
        "allowed_bytes": stats.allowed_bytes,
        "held": held,
    })
}
