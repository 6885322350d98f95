//! S1, MEM, CP.

use std::thread;
use std::time::{Duration, Instant};

use super::Context;
use crate::data::{self, Keys, Stream};
use crate::engine::Result;
use crate::measure::{Memory, bytes_on_disk, peak_memory};

/// No store that has not settled by then is waited for.
const LONGEST: Duration = Duration::from_secs(60);

/// Bytes on disk for each byte of key and value: loaded; after five puts for each record, and idle;
/// compacted, where the store can.
pub fn on_disk(context: &Context) -> Result<()> {
    let mut engine = context.open()?;
    context.load(&*engine)?;
    engine.sync()?;
    settled(context, "loaded_ratio", context.settle / 8)?;
    let stream = Stream::new(11, 0);
    for version in 0..context.ops / context.records {
        let first = version * context.records;
        let pick = |i| (stream.at(first + i) % context.records) as u32;
        let order: Vec<u32> = (0..context.records).map(pick).collect();
        context.put_in_batches(&*engine, &order, version + 1)?;
    }
    engine.sync()?;
    settled(context, "overwritten_ratio", context.settle)?;
    if engine.compact()? {
        engine.sync()?;
        settled(context, "compacted_ratio", context.settle / 8)?;
    }
    engine.close()
}

/// Waits until nothing has changed on disk for a while.
fn settled(context: &Context, metric: &str, settle: Duration) -> Result<()> {
    let start = Instant::now();
    let (mut bytes, mut since) = (bytes_on_disk(&context.dir)?, Instant::now());
    while since.elapsed() < settle && start.elapsed() < LONGEST {
        thread::sleep(Duration::from_millis(50));
        let now = bytes_on_disk(&context.dir)?;
        if now != bytes {
            (bytes, since) = (now, Instant::now());
        }
    }
    context.figure(metric, bytes as f64 / context.logical_bytes());
    Ok(())
}

/// The most memory that loading takes, beyond what this program itself has.
pub fn memory(context: &Context) -> Result<()> {
    let order = data::shuffled(context.records);
    let keys = Keys::of(order.iter().copied());
    let values = context.values()?;
    let before = Memory::now()?;
    let engine = context.open()?;
    let peak = peak_memory(|| {
        for (key, record) in keys.iter().zip(&order) {
            engine.put(key, values.of(*record, 0))?;
        }
        Ok(())
    })?;
    let after = Memory::now()?;
    let mib = |now: u64, before: u64| now.saturating_sub(before) as f64 / f64::from(1 << 20);
    context.figure("peak_heap_mib", mib(peak.anonymous, before.anonymous));
    context.figure("peak_resident_mib", mib(peak.resident, before.resident));
    context.figure("loaded_heap_mib", mib(after.anonymous, before.anonymous));
    engine.close()
}

/// The time to compact the loaded store; what comes behind reads it compacted.
pub fn compact(context: &Context) -> Result<()> {
    let mut engine = context.open()?;
    let start = Instant::now();
    if engine.compact()? {
        context.figure("compact_ms", start.elapsed().as_secs_f64() * 1e3);
    }
    engine.close()
}
