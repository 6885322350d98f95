//! R3, R3b, R3c.

use std::time::Instant;

use super::{Context, reads};
use crate::data::{self, Keys, Stream};
use crate::engine::{Each, Engine, Key, Result};
use crate::measure::touch;

pub fn values(context: &Context) -> Result<()> {
    lists(context, |engine, kind, each| engine.scan(kind, usize::MAX, each))
}

pub fn keys(context: &Context) -> Result<()> {
    lists(context, |engine, kind, each| engine.keys(kind, each))
}

/// All kinds, one after the other, until as many records as the store has, and at least 100,000,
/// were listed.
fn lists(
    context: &Context,
    list: impl Fn(&dyn Engine, Key<'_>, Each<'_>) -> Result<u64>,
) -> Result<()> {
    let engine = context.open_loaded()?;
    reads::warm(context, &*engine)?;
    let mut listed = 0;
    let start = Instant::now();
    for _ in 0..100_000u64.div_ceil(context.records) {
        for kind in data::kinds() {
            listed += list(&*engine, data::whole_kind(&kind), &mut touch)?;
        }
    }
    let time = start.elapsed();
    if listed % context.records != 0 {
        return Err(format!("{listed} records were listed").into());
    }
    context.rate("records_per_s", listed, time);
    engine.close()
}

pub fn short(context: &Context) -> Result<()> {
    let (pick, stream) = (data::uniform(context.records), Stream::new(4, 0));
    let keys = Keys::of((0..context.ops).map(|i| pick(stream.at(i))));
    let engine = context.open_loaded()?;
    reads::warm(context, &*engine)?;
    let start = Instant::now();
    for key in keys.iter() {
        engine.scan(key, 100, &mut touch)?;
    }
    context.rate("scans_per_s", context.ops, start.elapsed());
    engine.close()
}
