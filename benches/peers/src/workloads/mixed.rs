//! The mixed loads, as YCSB has them: zipfian over all records.

use super::{Context, reads};
use crate::data::{self, Keys, Stream, Zipfian, mix};
use crate::engine::{Engine, Result};
use crate::measure::{in_threads, touch};

pub fn a(context: &Context) -> Result<()> {
    gets_and(context, 5, 50, put)
}

pub fn b(context: &Context) -> Result<()> {
    gets_and(context, 6, 95, put)
}

pub fn c(context: &Context) -> Result<()> {
    gets_and(context, 7, 100, put)
}

pub fn f(context: &Context) -> Result<()> {
    gets_and(context, 8, 50, read_modify_write)
}

type Change = fn(&dyn Engine, crate::engine::Key<'_>, &[u8]) -> Result<()>;

fn put(engine: &dyn Engine, key: crate::engine::Key<'_>, value: &[u8]) -> Result<()> {
    engine.put(key, value)
}

/// A get, then a put of another value: not atomic, as in YCSB.
fn read_modify_write(engine: &dyn Engine, key: crate::engine::Key<'_>, value: &[u8]) -> Result<()> {
    engine.get(key, &mut touch)?;
    engine.put(key, value)
}

/// Whether the `i`th operation is one of so many in a hundred.
fn among(random: u64, percent: u64) -> bool {
    mix(random ^ 0x5555) % 100 < percent
}

fn gets_and(context: &Context, salt: u64, gets_percent: u64, change: Change) -> Result<()> {
    let share = context.ops / context.threads;
    let records = data::shuffled(context.records);
    let zipfian = Zipfian::new(context.records);
    let pick = |random: u64| u64::from(records[zipfian.rank(random)]);
    let of_thread = |t| {
        let stream = Stream::new(salt, t);
        let keys = Keys::of((0..share).map(|i| pick(stream.at(i))));
        let gets: Vec<bool> = (0..share).map(|i| among(stream.at(i), gets_percent)).collect();
        (keys, gets)
    };
    let plans: Vec<_> = (0..context.threads).map(of_thread).collect();
    let values = context.values()?;
    let engine = context.open_loaded()?;
    reads::warm(context, &*engine)?;
    let time = in_threads(context.threads, |t| {
        let (keys, gets) = &plans[t as usize];
        for (i, (key, is_get)) in keys.iter().zip(gets).enumerate() {
            match is_get {
                true if !engine.get(key, &mut touch)? => {
                    return Err(format!("{} is missing", key.joined).into());
                }
                true => {}
                false => change(&*engine, key, values.of(i as u64, t + 1))?,
            }
        }
        Ok(())
    })?;
    context.rate("ops_per_s", context.ops, time);
    engine.close()
}

/// Inserts records behind the last; scans begin at any record that was loaded.
pub fn e(context: &Context) -> Result<()> {
    let records = data::shuffled(context.records);
    let zipfian = Zipfian::new(context.records);
    let stream = Stream::new(10, 0);
    let scans: Vec<bool> = (0..context.ops).map(|i| among(stream.at(i), 95)).collect();
    let target = |i: u64| match scans[i as usize] {
        true => u64::from(records[zipfian.rank(stream.at(i))]),
        false => context.records + i,
    };
    let keys = Keys::of((0..context.ops).map(target));
    let values = context.values()?;
    let engine = context.open_loaded()?;
    reads::warm(context, &*engine)?;
    let time = in_threads(1, |_| {
        for (i, (key, is_scan)) in keys.iter().zip(&scans).enumerate() {
            match is_scan {
                true => {
                    let len = 1 + mix(i as u64) % 100;
                    engine.scan(key, len as usize, &mut touch)?;
                }
                false => engine.put(key, values.of(i as u64, 0))?,
            }
        }
        Ok(())
    })?;
    context.rate("ops_per_s", context.ops, time);
    engine.close()
}
