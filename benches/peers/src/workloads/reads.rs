//! R1, R1z, R2, each with one thread or two.

use super::Context;
use crate::data::{self, Keys, Stream};
use crate::engine::{Engine, Result, Role};
use crate::measure::{in_threads, touch};

pub fn uniform(context: &Context) -> Result<()> {
    gets(context, 1, Keys::of, true, data::uniform(context.records))
}

pub fn zipfian(context: &Context) -> Result<()> {
    gets(context, 2, Keys::of, true, data::zipfian(context.records))
}

pub fn missing(context: &Context) -> Result<()> {
    gets(context, 3, Keys::missing, false, data::uniform(context.records))
}

/// `keys` are those of the records that `pick` gives each thread, or ones beside them.
fn gets(
    context: &Context,
    salt: u64,
    keys: fn(Vec<u64>) -> Keys,
    there: bool,
    pick: impl Fn(u64) -> u64,
) -> Result<()> {
    let share = context.ops / context.threads;
    let of_thread = |t| {
        let stream = Stream::new(salt, t);
        keys((0..share).map(|i| pick(stream.at(i))).collect())
    };
    let keys: Vec<Keys> = (0..context.threads).map(of_thread).collect();
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
    let get = |keys: Keys| keys.iter().try_for_each(|key| engine.get(key, &mut touch).map(drop));
    if context.spec.role == Role::Points {
        get(Keys::of(0..context.records))?;
    } else {
        for kind in data::kinds() {
            engine.scan(data::whole_kind(&kind), usize::MAX, &mut touch)?;
        }
    }
    let stream = Stream::new(9, 0);
    get(Keys::of((0..context.records / 10).map(|i| stream.at(i) % context.records)))
}
