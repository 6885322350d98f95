//! D1.

use std::time::Instant;

use super::Context;
use crate::data;
use crate::engine::Result;
use crate::measure::touch;

/// Deletes the third kind, and holds the count against a listing before and after.
pub fn kind(context: &Context) -> Result<()> {
    let kind = data::kinds().nth(2).ok_or("there are eight kinds")?;
    let kind = data::whole_kind(&kind);
    let engine = context.open_loaded()?;
    let there = engine.keys(kind, &mut touch)?;
    let start = Instant::now();
    let deleted = engine.delete_kind(kind)?;
    let time = start.elapsed();
    let left = engine.keys(kind, &mut touch)?;
    if deleted != there || left != 0 {
        return Err(format!("{deleted} of {there} deleted, {left} left").into());
    }
    context.figure("delete_ms", time.as_secs_f64() * 1e3);
    engine.close()
}
