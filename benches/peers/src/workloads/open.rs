//! O1, O1b, O1c.

use std::io::Write;
use std::time::Instant;

use super::Context;
use crate::data::{self, Keys};
use crate::engine::{Engine, Result};
use crate::measure::{Memory, read_from_disk, touch};

/// Opens and gets the record in the middle. The figure is the time of both.
fn opened(context: &Context) -> Result<Box<dyn Engine>> {
    let keys = Keys::one(context.records / 2);
    let start = Instant::now();
    let engine = context.open()?;
    let there = engine.get(keys.get(0), &mut touch)?;
    let time = start.elapsed();
    if !there {
        return Err("what was stored before the close is missing".into());
    }
    context.figure("open_ms", time.as_secs_f64() * 1e3);
    Ok(engine)
}

/// Also what the process then has in memory: the index, where a store keeps one.
pub fn after_close(context: &Context) -> Result<()> {
    let before = Memory::now()?;
    let engine = opened(context)?;
    let grown = Memory::now()?.anonymous.saturating_sub(before.anonymous);
    context.figure("heap_bytes_per_key", grown as f64 / context.records as f64);
    if let Some(bytes) = engine.index_bytes() {
        context.figure("index_bytes_per_key", bytes as f64 / context.records as f64);
    }
    engine.close()
}

/// When nothing of its files is in memory; also what was read of them from the disk.
pub fn cold(context: &Context) -> Result<()> {
    let before = read_from_disk()?;
    let engine = opened(context)?;
    let read = read_from_disk()? - before;
    if read == 0 {
        return Err("nothing came from the disk: the files were still in memory".into());
    }
    context.figure("read_mib", read as f64 / f64::from(1 << 20));
    engine.close()
}

/// Puts, and says after each 64th that it has returned, until somebody kills it.
pub fn until_killed(context: &Context) -> Result<()> {
    let order = data::shuffled(context.records);
    let values = context.values()?;
    let keys = Keys::of(order.iter().copied());
    let engine = context.open()?;
    let mut out = std::io::stdout().lock();
    for (i, (key, record)) in keys.iter().zip(&order).take(context.ops as usize).enumerate() {
        engine.put(key, values.of(*record, 0))?;
        if (i + 1) % 64 == 0 {
            writeln!(out, "{{\"acked\":{}}}", i + 1)?;
            out.flush()?;
        }
    }
    Err("nobody killed the writer".into())
}

/// Opens what the killed process left, gets a record, then looks for all that had returned. What is
/// there has to be what was put.
pub fn after_kill(context: &Context) -> Result<()> {
    let order = data::shuffled(context.records);
    let acked = &order[..context.acked as usize];
    let keys = Keys::of(acked.iter().copied());
    let values = context.values()?;
    let start = Instant::now();
    let engine = context.open()?;
    engine.get(keys.get(0), &mut touch)?;
    let time = start.elapsed();
    let mut found = 0;
    for (key, record) in keys.iter().zip(acked) {
        let mut same = true;
        let expected = values.of(*record, 0);
        found += u64::from(engine.get(key, &mut |value| same = value == expected)?);
        if !same {
            return Err(format!("record {record} is not what was put").into());
        }
    }
    context.figure("open_ms", time.as_secs_f64() * 1e3);
    context.figure("lost_share", 1.0 - found as f64 / context.acked as f64);
    engine.close()
}
