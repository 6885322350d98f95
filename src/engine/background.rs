//! The thread that does what commits leave behind: syncs, seals, prepares, cleans.

use std::sync::Arc;

use super::{group, roll};
use crate::error::{Error, Result};
use crate::event::event;
use crate::format::contents::Contents;
use crate::log::segment::Segment;
use crate::state::{Health, State};
use crate::sync::atomic::Ordering;
use crate::sync::thread::{Builder, JoinHandle};

/// How many slots of deleted keys are cleared in one go.
const CLEAN_LEN: usize = 16 << 10;

/// Starts the thread. It ends when it is told to.
pub(crate) fn start(state: &Arc<State>) -> Result<JoinHandle<()>> {
    let shared = state.clone();
    let spawned = Builder::new().name("kindlog".to_owned()).spawn(move || run(&shared));
    spawned.map_err(|e| Error::io("start a thread for", state.disk.path(), e))
}

/// Tells both threads to end, and waits for them.
pub(crate) fn stop(state: &State, threads: Vec<JoinHandle<()>>) {
    let signals = [&state.compaction.signals, &state.background];
    signals.iter().for_each(|signals| signals.raise(&signals.stop));
    for thread in threads {
        let _ = thread.join();
    }
}

fn run(state: &State) {
    let background = &state.background;
    while !background.wait(state.options.sync_interval) {
        // Errors reach whoever commits next. A full disk is tried again at the next interval.
        let done = [sync_due(state), seal_rolled(state), prepare(state)];
        for error in done.iter().filter_map(|done| done.as_ref().err()) {
            event!(warn, "in the background: {error}");
        }
        if done.iter().any(Result::is_err) {
            let order = state.order.lock();
            if order.health == Health::Broken || !order.rolled.is_empty() {
                state.tell_dirty();
            }
        }
        clean(state);
        keep_reserve(state);
        write_hints(state);
    }
}

fn sync_due(state: &State) -> Result<()> {
    let mut order = state.lock_order()?;
    group::sync(state, &mut order)
}

/// Takes down, durably, that full segments end where they end. Their hints are due then: on a full
/// disk they would take the room of the next manifest.
pub(crate) fn seal_rolled(state: &State) -> Result<()> {
    let _one_at_a_time = state.sealing.lock();
    loop {
        let next = {
            let order = state.order.lock();
            let rolled = order.rolled.iter().find(|rolled| rolled.synced);
            rolled.map(|rolled| (rolled.segment.clone(), rolled.length, order.durable))
        };
        let Some((segment, length, durable)) = next else { return Ok(()) };
        let (contents, sealed) = Contents::read(&segment, length)?;
        state.manifest.update(|manifest| {
            manifest.watermark = manifest.watermark.max(durable);
            manifest.seal(segment.id, sealed);
        })?;
        // The room ahead that was never used. The length is already what counts.
        let _ = segment.file.set_len(length);
        state.order.lock().rolled.retain(|rolled| rolled.segment.id != segment.id);
        state.hints_due.lock().push((segment, contents));
    }
}

/// Sees to it that a full disk can be emptied. Before hints are written: they can wait.
pub(crate) fn keep_reserve(state: &State) {
    let log_len = state.segments.all().iter().map(|segment| segment.len()).sum();
    if let Err(error) = state.reserve.keep(log_len) {
        event!(debug, "no reserve: {error}");
    }
}

/// Writes the hints that sealed segments lack, unless the disk is full. What fails is left to the
/// next open.
pub(crate) fn write_hints(state: &State) {
    while !state.reserve.is_short() {
        let Some((segment, contents)) = state.hints_due.lock().pop() else { return };
        write_hint(state, &segment, &contents);
    }
}

/// Writes a segment's hint, unless the segment has gone meanwhile.
pub(crate) fn write_hint(state: &State, segment: &Segment, contents: &Contents) {
    if !state.segments.has(segment.id) {
        return;
    }
    if let Err(error) = state.segments.write_hint(segment, contents) {
        event!(warn, "no hint for {}: {error}", segment.path.display());
    }
    if !state.segments.has(segment.id) {
        // Compaction has removed the segment, and may have done so before the hint was there.
        let _ = state.segments.remove_hint(segment);
    }
}

/// Makes the next segment, and raises the ceiling, ahead of need.
fn prepare(state: &State) -> Result<()> {
    let (asked, low) = {
        let order = state.order.lock();
        (order.asked, order.ceiling - order.revision < roll::CEILING_STEP / 2)
    };
    if asked {
        roll::prepare(state)?;
    }
    if low {
        let ceiling = state.order.lock().revision + roll::CEILING_STEP;
        state.manifest.update(|manifest| {
            manifest.revision_ceiling = manifest.revision_ceiling.max(ceiling);
        })?;
        let mut order = state.order.lock();
        order.ceiling = order.ceiling.max(ceiling);
    }
    Ok(())
}

fn clean(state: &State) {
    for kind in state.index.kinds() {
        while !kind.clean(CLEAN_LEN) {
            let background = &state.background;
            if background.stop.load(Ordering::Acquire) || background.dirty.load(Ordering::Acquire) {
                // What is left waits: commits want to be synced.
                return state.tell_dirty();
            }
        }
    }
}
