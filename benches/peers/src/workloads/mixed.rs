//! The mixed loads, as YCSB has them: zipfian over all records.

use super::{Context, reads};
use crate::data::{self, Keys, Stream, Zipfian, mix};
use crate::engine::{Engine, Key, Result};
use crate::measure::{in_threads, touch};

pub fn a(context: &Context) -> Result<()> {
    popular(context, 5, 50, put)
}

pub fn b(context: &Context) -> Result<()> {
    popular(context, 6, 95, put)
}

pub fn c(context: &Context) -> Result<()> {
    popular(context, 7, 100, put)
}

/// Inserts records far behind the last, and gets the newest: the newest one most often.
pub fn d(context: &Context) -> Result<()> {
    let zipfian = Zipfian::new(context.records);
    let (mut inserted, stream) = (0, Stream::new(14, 0));
    let plan = Plan::new(context.ops, stream, 95, |i, is_read| match is_read {
        // Behind the loaded ones, those that were inserted are numbered on.
        true => match context.records + inserted - 1 - zipfian.rank(stream.at(i)) as u64 {
            loaded if loaded < context.records => loaded,
            newer => context.records + newer,
        },
        false => {
            inserted += 1;
            2 * context.records + inserted - 1
        }
    });
    run(context, &[plan], get, put)
}

/// Inserts records behind the last; scans begin at any record that was loaded.
pub fn e(context: &Context) -> Result<()> {
    let pick = data::zipfian(context.records);
    let stream = Stream::new(10, 0);
    let plan = Plan::new(context.ops, stream, 95, |i, is_read| match is_read {
        true => pick(stream.at(i)),
        false => context.records + i,
    });
    run(context, &[plan], scan, put)
}

pub fn f(context: &Context) -> Result<()> {
    popular(context, 8, 50, read_modify_write)
}

/// What the `i`th operation of a thread does, if it is a read.
type Read = fn(&dyn Engine, i: u64, key: Key<'_>) -> Result<()>;
/// What it does if it is not.
type Change = fn(&dyn Engine, key: Key<'_>, value: &[u8]) -> Result<()>;

fn get(engine: &dyn Engine, _: u64, key: Key<'_>) -> Result<()> {
    match engine.get(key, &mut touch)? {
        true => Ok(()),
        false => Err(format!("{} is missing", key.joined).into()),
    }
}

fn scan(engine: &dyn Engine, i: u64, from: Key<'_>) -> Result<()> {
    let len = 1 + mix(i) % 100;
    engine.scan(from, len as usize, &mut touch).map(drop)
}

fn put(engine: &dyn Engine, key: Key<'_>, value: &[u8]) -> Result<()> {
    engine.put(key, value)
}

/// A get, then a put of another value: not atomic, as in YCSB.
fn read_modify_write(engine: &dyn Engine, key: Key<'_>, value: &[u8]) -> Result<()> {
    engine.get(key, &mut touch)?;
    engine.put(key, value)
}

/// What a thread does: keys, and whether they are read.
struct Plan {
    keys: Keys,
    reads: Vec<bool>,
}

impl Plan {
    /// So many in a hundred read. `record` is asked in order.
    fn new(
        ops: u64,
        stream: Stream,
        reads_percent: u64,
        mut record: impl FnMut(u64, bool) -> u64,
    ) -> Plan {
        let reads: Vec<bool> = (0..ops).map(|i| among(stream.at(i), reads_percent)).collect();
        let keys = Keys::of((0..ops).zip(&reads).map(|(i, is_read)| record(i, *is_read)));
        Plan { keys, reads }
    }
}

/// Whether an operation is one of so many in a hundred.
fn among(random: u64, percent: u64) -> bool {
    mix(random ^ 0x5555) % 100 < percent
}

fn popular(context: &Context, salt: u64, gets_percent: u64, change: Change) -> Result<()> {
    let pick = data::zipfian(context.records);
    let of_thread = |t| {
        let (ops, stream) = (context.ops / context.threads, Stream::new(salt, t));
        Plan::new(ops, stream, gets_percent, |i, _| pick(stream.at(i)))
    };
    run(context, &(0..context.threads).map(of_thread).collect::<Vec<_>>(), get, change)
}

fn run(context: &Context, plans: &[Plan], read: Read, change: Change) -> Result<()> {
    let values = context.values()?;
    let engine = context.open_loaded()?;
    reads::warm(context, &*engine)?;
    let time = in_threads(context.threads, |t| {
        let Plan { keys, reads } = &plans[t as usize];
        for ((i, key), is_read) in (0..).zip(keys.iter()).zip(reads) {
            match is_read {
                true => read(&*engine, i, key)?,
                false => change(&*engine, key, values.of(i, t + 1))?,
            }
        }
        Ok(())
    })?;
    context.rate("ops_per_s", context.ops, time);
    engine.close()
}
