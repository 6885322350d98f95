//! W1, W1b, W2, W2b, W3, W3b.

use std::time::Instant;

use super::Context;
use crate::data::{self, Keys};
use crate::engine::{Engine, Result, Role};
use crate::measure::in_threads;

pub fn in_order(context: &Context) -> Result<()> {
    puts(context, &sorted(context))
}

pub fn at_random(context: &Context) -> Result<()> {
    puts(context, &data::shuffled(context.records))
}

pub fn batches_in_order(context: &Context) -> Result<()> {
    batches(context, &sorted(context))
}

pub fn batches_at_random(context: &Context) -> Result<()> {
    batches(context, &data::shuffled(context.records))
}

fn sorted(context: &Context) -> Vec<u32> {
    data::in_order(context.records).map(|record| record as u32).collect()
}

/// Puts the first of these; thread `t` of `n` puts each `n`th from the `t`th on.
fn puts(context: &Context, order: &[u32]) -> Result<()> {
    let (threads, ops) = (context.threads as usize, context.ops as usize);
    let order = &order[..ops.min(order.len())];
    let share = |t: usize| order.iter().skip(t).step_by(threads).copied();
    let keys: Vec<Keys> = (0..threads).map(|t| Keys::of(share(t))).collect();
    let values = context.values()?;
    let engine = context.open()?;
    let time = in_threads(context.threads, |t| {
        for (key, record) in keys[t as usize].iter().zip(share(t as usize)) {
            engine.put(key, values.of(record, 0))?;
        }
        Ok(())
    })?;
    context.rate("ops_per_s", order.len() as u64, time);
    check(context, &*engine, order)?;
    engine.close()
}

fn batches(context: &Context, order: &[u32]) -> Result<()> {
    let keys = Keys::of(order.iter().copied());
    let values = context.values()?;
    let records = keys.iter().zip(order);
    let puts: Vec<_> = records.map(|(key, record)| (key, values.of(*record, 0))).collect();
    let engine = context.open()?;
    let start = Instant::now();
    for batch in puts.chunks(100) {
        engine.put_batch(batch)?;
    }
    context.rate("ops_per_s", puts.len() as u64, start.elapsed());
    check(context, &*engine, order)?;
    engine.close()
}

/// That a store has what it was given: a hundred of the records, byte by byte.
fn check(context: &Context, engine: &dyn Engine, order: &[u32]) -> Result<()> {
    if matches!(context.spec.role, Role::Log | Role::Points) {
        return Ok(());
    }
    let values = context.values()?;
    for record in order.iter().step_by(order.len().div_ceil(100)) {
        let mut same = false;
        let keys = Keys::one(u64::from(*record));
        engine.get(keys.get(0), &mut |value| same = value == values.of(*record, 0))?;
        if !same {
            return Err(format!("record {record} is not what was put").into());
        }
    }
    Ok(())
}
