//! Group commit: whoever needs a sync and finds none under way does one for everybody.
//!
//! The leader writes what is buffered, lets the order lock go, syncs, and makes visible what the
//! sync covered. Commits that are ordered meanwhile are covered by the next one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::apply::apply;
use super::heal;
use crate::disk::File;
use crate::error::{Error, Result};
use crate::event::event;
use crate::format::record::FrameType;
use crate::state::{Health, Order, State, Ticket};
use crate::sync::atomic::Ordering;
use crate::sync::{self, MutexGuard, thread};
use crate::zoo::{Bug, planted, unless};

/// From this many unsynced bytes on, the background is asked for a sync before its interval.
const SYNC_LEN: u64 = 8 << 20;
/// Above this many, commits wait.
const MAX_UNSYNCED_LEN: u64 = 64 << 20;

/// A watermark frame has no more bytes.
const MARK_LEN: u64 = 64;

/// Waits until a pending commit is visible, or has failed.
pub(crate) fn wait(
    state: &State,
    order: &mut MutexGuard<'_, Order>,
    ticket: &Arc<Ticket>,
) -> Result<()> {
    loop {
        match ticket.get() {
            Some(Ok(())) => return Ok(()),
            Some(Err(error)) => return Err(error.share()),
            // Its own failure reaches the commit through its ticket, if it was among the failed.
            None => {
                if !order.leading {
                    gather(order);
                }
                if join(state, order).is_err() && ticket.get().is_none() {
                    // Nothing can be written just now: whoever mends that needs the lock.
                    MutexGuard::unlocked(order, || thread::sleep(Duration::from_millis(1)));
                }
            }
        }
    }
}

/// Waits until nothing is pending.
pub(crate) fn drain(state: &State, order: &mut MutexGuard<'_, Order>) -> Result<()> {
    while !order.pending.is_empty() {
        join(state, order)?;
        check(order)?;
    }
    Ok(())
}

/// Makes everything that was committed so far durable.
pub(crate) fn sync(state: &State, order: &mut MutexGuard<'_, Order>) -> Result<()> {
    let target = order.commit_end;
    while order.durable < target {
        check(order)?;
        join(state, order)?;
    }
    Ok(())
}

/// Sees to it that a commit can be ordered: the log is in good health, not too much of it is
/// unsynced (it is what an unclean open rewrites), and, if it has to be `alone`, nothing is
/// pending. All of it holds when this returns: the lock is not let go behind the last look.
///
/// # Errors
/// Nothing was ordered, so what failed is certain not to have happened.
pub(crate) fn make_ready(
    state: &State,
    order: &mut MutexGuard<'_, Order>,
    alone: bool,
) -> Result<()> {
    if order.unsynced >= SYNC_LEN && !order.leading {
        state.tell_now();
    }
    loop {
        check(order)?;
        if order.health == Health::Broken {
            if order.leading {
                state.synced.wait(order);
            } else if let Err(error) = heal::heal(state, order) {
                check(order)?;
                return Err(certain(error));
            }
        } else if order.unsynced > MAX_UNSYNCED_LEN || (alone && !order.pending.is_empty()) {
            // If it fails, the log's health says so.
            let _ = join(state, order);
        } else {
            return Ok(());
        }
    }
}

/// The error for a commit that was never ordered.
pub(crate) fn certain(error: Error) -> Error {
    match error {
        Error::Io { op, path, source } => Error::io(op.name(), path, source),
        other => other,
    }
}

pub(crate) fn check(order: &Order) -> Result<()> {
    match order.health {
        Health::Poisoned => Err(Error::Poisoned),
        Health::Closed => Err(Error::Closed),
        Health::Good | Health::Broken => Ok(()),
    }
}

/// Waits for the sync that is under way, or does one.
pub(crate) fn join(state: &State, order: &mut MutexGuard<'_, Order>) -> Result<()> {
    if order.leading {
        state.synced.wait(order);
        return Ok(());
    }
    lead(state, order)
}

/// Gives those whom the last sync set free the time to come back with their next commits, up to
/// half of what a sync takes: else the first of them would sync alone, and all others wait for
/// twice that. Whoever commits alone never waits.
fn gather(order: &mut MutexGuard<'_, Order>) {
    let mut patience = sync::patience(order.sync_time / 2);
    order.leading = true;
    while order.pending.len() < order.company && patience() {
        MutexGuard::unlocked(order, thread::yield_now);
    }
    order.leading = planted(Bug::LeadsForEver);
}

fn lead(state: &State, order: &mut MutexGuard<'_, Order>) -> Result<()> {
    // Those who came while this one gathered wait for a sync that does not come.
    let target = flush(state, order).inspect_err(|_| {
        if !planted(Bug::FailsInSilence) {
            state.synced.notify_all();
        }
    })?;
    let covered = std::mem::take(&mut order.unsynced);
    let mut files: Vec<(Arc<dyn File>, std::path::PathBuf)> = Vec::new();
    for rolled in order.rolled.iter().filter(|rolled| !rolled.synced && !planted(Bug::SealUnsynced))
    {
        files.push((rolled.segment.file.clone(), rolled.segment.path.clone()));
    }
    let rolled: Vec<_> = order.rolled.iter().map(|rolled| rolled.segment.id).collect();
    let segment = &order.active().segment;
    files.push((segment.file.clone(), segment.path.clone()));
    order.leading = true;
    let began = Instant::now();
    let synced = MutexGuard::unlocked(order, || {
        state.counters.fsyncs.fetch_add(files.len() as u64, Ordering::Relaxed);
        files.iter().try_for_each(|(file, path)| {
            let synced = unless(Bug::SkipLogSync, || file.sync());
            let synced =
                synced.or_else(|e| if planted(Bug::RetrySync) { file.sync() } else { Err(e) });
            synced.map_err(|source| Error::in_doubt("sync", path, source))
        })
    });
    order.leading = false;
    match &synced {
        Ok(()) => {
            // Those that were there when the sync began: others may have joined or left since.
            for full in order.rolled.iter_mut().filter(|full| rolled.contains(&full.segment.id)) {
                full.synced = true;
            }
            order.durable = order.durable.max(target);
            order.sync_time = began.elapsed();
            order.company = publish(state, order);
            mark_durable(state, order, target);
        }
        Err(error) => {
            order.unsynced += covered;
            poison(order, error);
        }
    }
    state.synced.notify_all();
    synced
}

/// Writes what is buffered, and returns the position up to which a sync would do something.
fn flush(state: &State, order: &mut Order) -> Result<u64> {
    if let Err(error) = heal::heal(state, order) {
        // What was written before the append that failed can still be synced.
        let written = order.active().written_position();
        let waiting = order.pending.front().is_some_and(|pending| pending.end <= written);
        return if order.health == Health::Broken && waiting { Ok(written) } else { Err(error) };
    }
    let cut = order.active().end();
    if let Err(error) = order.active().flush() {
        return Err(heal::append_failed(state, order, cut, error));
    }
    state.segments.grow(&order.active().segment);
    Ok(order.active().position())
}

/// Makes visible, in order, what is durable. Returns how many commits that were.
pub(crate) fn publish(state: &State, order: &mut Order) -> usize {
    let before = order.pending.len();
    while order.pending.front().is_some_and(|pending| pending.end <= order.durable) {
        let Some(pending) = order.pending.pop_front() else { break };
        let changes = pending.changes.iter().map(|c| (&*c.kind, c.id(), c.effect));
        apply(state, pending.revision, pending.time, changes);
        order.overlay_done(&pending);
        let _ = pending.ticket.set(Ok(()));
    }
    before - order.pending.len()
}

/// Says in the log that it is durable up to here, for whoever opens it next, or reads beside this
/// owner. Not synced: it is evidence, not data. Commits that came during the sync are written
/// along: they don't know of it yet, and readers would not see what it covered before a later one
/// tells.
fn mark_durable(state: &State, order: &mut Order, target: u64) {
    let (revision, durable) = (order.revision, order.durable);
    if order.health != Health::Good || planted(Bug::NoWatermarkFrame) {
        // Behind the last good byte of a broken segment lies what is left of a failed append.
        return;
    }
    let active = order.active();
    let (overtaken, cut) = (active.position() != target, active.end());
    // The room for a trailer is that of the last commit, and is not for this one.
    let len = if overtaken { MARK_LEN } else { 0 };
    if (overtaken && !active.has_room(len)) || active.reserve(len).is_err() {
        return;
    }
    active.append_bare(FrameType::Watermark, revision, durable);
    match active.flush() {
        Ok(()) => {}
        Err(error) if overtaken => {
            // Whose commit it was is told so.
            heal::append_failed(state, order, cut, error);
        }
        Err(_) => {
            order.health = Health::Broken;
            state.tell_dirty();
        }
    }
}

/// After a failed fsync the kernel may have dropped what it could not write, and calls its pages
/// clean: no retry can be trusted, so there is none.
pub(crate) fn poison(order: &mut Order, error: &Error) {
    if !planted(Bug::NoPoison) {
        order.health = Health::Poisoned;
    }
    event!(error, "no more writes until the store is opened again: {error}");
    order.failures += 1;
    order.overlay.clear();
    order.overlay_prefixes.clear();
    for pending in order.pending.drain(..) {
        let _ = pending.ticket.set(Err(in_doubt(error)));
    }
}

/// The error of a commit that may or may not be there after the store is opened again.
pub(crate) fn in_doubt(error: &Error) -> Error {
    match error.share() {
        Error::Io { op, path, source } => Error::in_doubt(op.name(), path, source),
        other => other,
    }
}
