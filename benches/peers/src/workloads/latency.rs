//! L1.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::Context;
use crate::data::{Keys, Stream};
use crate::engine::{Engine, Result};
use crate::measure::{Histogram, in_threads, touch};

/// One thread overwrites records at random, twice as often as there are records, so that whatever
/// compacts has to; another gets them at random until that is over. Each waits for its answer
/// before it asks again, so a stall counts once, not for all that would have been asked meanwhile.
pub fn beside(context: &Context) -> Result<()> {
    let engine = context.open()?;
    context.load(&*engine)?;
    engine.sync()?;
    let values = context.values()?;
    let over = AtomicBool::new(false);
    let gets = std::sync::Mutex::new(Histogram::default());
    let puts = std::sync::Mutex::new(Histogram::default());
    let picked = |salt| {
        let stream = Stream::new(salt, 0);
        Keys::of((0..context.ops).map(move |i| stream.at(i) % context.records))
    };
    let (to_put, to_get) = (picked(12), picked(13));
    in_threads(2, |thread| match thread {
        0 => {
            let mut histogram = Histogram::default();
            let done = to_put.iter().enumerate().try_for_each(|(i, key)| {
                timed(&mut histogram, || engine.put(key, values.of(i as u64, 1)))
            });
            over.store(true, Ordering::Relaxed);
            *puts.lock().map_err(|_| "the other thread panicked")? = histogram;
            done
        }
        _ => {
            *gets.lock().map_err(|_| "the other thread panicked")? =
                reader(&*engine, &to_get, &over)?;
            Ok(())
        }
    })?;
    for (name, histogram) in [("put", puts), ("get", gets)] {
        let histogram = histogram.into_inner().map_err(|_| "a thread panicked")?;
        for (label, share) in [("p50", 0.5), ("p99", 0.99), ("p999", 0.999)] {
            context.figure(&format!("{name}_{label}_us"), histogram.percentile_us(share));
        }
        context.figure(&format!("{name}_max_us"), histogram.max_us());
    }
    engine.close()
}

fn reader(engine: &dyn Engine, keys: &Keys, over: &AtomicBool) -> Result<Histogram> {
    let mut histogram = Histogram::default();
    for i in (0..keys.len()).cycle() {
        if over.load(Ordering::Relaxed) {
            break;
        }
        timed(&mut histogram, || engine.get(keys.get(i), &mut touch).map(drop))?;
    }
    Ok(histogram)
}

fn timed(histogram: &mut Histogram, work: impl FnOnce() -> Result<()>) -> Result<()> {
    let start = Instant::now();
    let done = work();
    histogram.add(start.elapsed());
    done
}
