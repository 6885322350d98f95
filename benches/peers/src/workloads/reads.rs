//! R1, R1z, R2, each with one thread or two.

use super::Context;
use crate::data::{self, Keys, Stream, Zipfian};
use crate::engine::{Engine, Result};
use crate::measure::{in_threads, touch};

pub fn uniform(context: &Context) -> Result<()> {
    let records = data::shuffled(context.records);
    let pick = |random: u64| records[(random % context.records) as usize];
    gets(context, &picked(context, 1, true, pick), true)
}

pub fn zipfian(context: &Context) -> Result<()> {
    let records = data::shuffled(context.records);
    let zipfian = Zipfian::new(context.records);
    let pick = |random: u64| records[zipfian.rank(random)];
    gets(context, &picked(context, 2, true, pick), true)
}

pub fn missing(context: &Context) -> Result<()> {
    let records = data::shuffled(context.records);
    let pick = |random: u64| records[(random % context.records) as usize];
    gets(context, &picked(context, 3, false, pick), false)
}

/// Each thread's keys, or ones beside them that are nowhere.
fn picked(context: &Context, salt: u64, there: bool, pick: impl Fn(u64) -> u32) -> Vec<Keys> {
    let share = context.ops / context.threads;
    let of_thread = |t| {
        let stream = Stream::new(salt, t);
        let records = (0..share).map(|i| u64::from(pick(stream.at(i))));
        match there {
            true => Keys::of(records),
            false => Keys::missing(records),
        }
    };
    (0..context.threads).map(of_thread).collect()
}

fn gets(context: &Context, keys: &[Keys], there: bool) -> Result<()> {
    let engine = context.open_loaded()?;
    warm(context, &*engine)?;
    let time = in_threads(context.threads, |t| {
        for key in keys[t as usize].iter() {
            if engine.get(key, &mut touch)? != there {
                return Err(format!("{}: not what was expected", key.joined).into());
            }
        }
        Ok(())
    })?;
    context.rate("ops_per_s", context.ops, time);
    engine.close()
}

/// Brings everyone's caches and mappings in: a pass over all records, and a tenth of them at
/// random.
pub fn warm(context: &Context, engine: &dyn Engine) -> Result<()> {
    for kind in data::kinds() {
        engine.scan(data::whole_kind(&kind), usize::MAX, &mut touch)?;
    }
    let stream = Stream::new(9, 0);
    let some = (0..context.records / 10).map(|i| stream.at(i) % context.records);
    for key in Keys::of(some).iter() {
        engine.get(key, &mut touch)?;
    }
    Ok(())
}
