//! Closing in order: everything durable, and the manifest says where the log ends.

use super::{background, group, roll};
use crate::error::{Error, Result};
use crate::event::event;
use crate::format::contents::Contents;
use crate::format::manifest::Manifest;
use crate::format::names;
use crate::format::record::FrameType;
use crate::log::segment::Segment;
use crate::state::{Health, Order, State};
use crate::sync::MutexGuard;
use crate::sync::atomic::Ordering;
use crate::zoo::{Bug, unless};

/// How much of the last segment may be without a hint: it is soon read.
const UNHINTED_LEN: u64 = 1 << 20;

/// Closes the store for all its handles. What was handed out stays readable. The background thread
/// has ended.
pub(crate) fn close(state: &State) -> Result<()> {
    if state.closed.swap(true, Ordering::AcqRel) || state.options.read_only {
        return Ok(());
    }
    if !state.disk.same_process() {
        // A child after a fork: the files are its parent's, and so is whoever holds the locks.
        return Ok(());
    }
    // Nobody writes a copy, or the manifest, behind the lock's back.
    let _no_run = state.compaction.running.lock();
    let mut order = state.order.lock();
    while order.leading {
        state.synced.wait(&mut order);
    }
    let closed = match order.health {
        Health::Good | Health::Broken => finish(state, &mut order),
        Health::Poisoned => Err(Error::Poisoned),
        Health::Closed => Ok(()),
    };
    order.health = Health::Closed;
    for pending in order.pending.drain(..) {
        let _ = pending.ticket.set(Err(Error::Closed));
    }
    state.synced.notify_all();
    let last = order.active.as_ref().map(|active| (active.segment.clone(), active.end()));
    let hinted = order.hinted;
    drop(order);
    background::keep_reserve(state);
    background::write_hints(state);
    if let (Ok(()), Some((segment, end))) = (&closed, last)
        && !state.reserve.is_short()
    {
        hint_last(state, &segment, hinted, end);
    }
    drop(state.lock.lock().take());
    event!(info, "closed {}: {closed:?}", state.disk.path().display());
    closed
}

/// Writes a hint of the segment that the store is closed in, so that opening it reads no values,
/// unless there is one that tells of nearly all of it.
fn hint_last(state: &State, segment: &Segment, hinted: u64, end: u64) {
    if end - hinted.max(segment.first) <= UNHINTED_LEN {
        return;
    }
    // Damage, if that is what it is, is for the next open to find.
    match Contents::read(segment, end) {
        Ok((contents, _)) => background::write_hint(state, segment, &contents),
        Err(error) => event!(warn, "no hint for {}: {error}", segment.path.display()),
    }
}

fn finish(state: &State, order: &mut MutexGuard<'_, Order>) -> Result<()> {
    group::sync(state, order)?;
    group::drain(state, order)?;
    // Nobody orders a commit behind the last frame, also while the lock is let go below.
    order.health = Health::Closed;
    // The last frame says that all before it is durable, and is synced itself. The manifest says
    // so, too: a store that was only opened and closed need not grow.
    let (revision, durable, opened_at) = (order.revision, order.durable, order.opened_at);
    let active = order.active();
    if active.position() != opened_at && active.has_room(0) {
        state.reserve.with(|| active.reserve(0))?;
        active.append_bare(FrameType::Watermark, revision, durable);
        active.flush()?;
    }
    active.trim()?;
    let segment = active.segment.clone();
    let synced = unless(Bug::CloseWithoutSync, || segment.file.sync());
    synced.map_err(|e| Error::io("sync", &segment.path, e))?;
    let end = active.position();
    for rolled in order.rolled.iter_mut().filter(|rolled| !rolled.synced) {
        let segment = &rolled.segment;
        segment.file.sync().map_err(|e| Error::io("sync", &segment.path, e))?;
        rolled.synced = true;
    }
    order.durable = end;
    MutexGuard::unlocked(order, || state.reserve.with(|| background::seal_rolled(state)))?;
    let prepared = state.prepared.lock().take();
    let had_tail = state.manifest.get().tail;
    let update = |manifest: &mut Manifest| {
        manifest.clean = true;
        manifest.tail = false;
        manifest.watermark = end;
        manifest.revision_ceiling = revision;
        manifest.segments.retain(|entry| prepared.as_ref().is_none_or(|p| p.id != entry.id()));
    };
    state.reserve.with(|| state.manifest.update(update))?;
    if let Some(prepared) = prepared {
        roll::remove_file(state, &prepared);
    }
    if had_tail {
        let _ = state.disk.remove(names::TAIL);
    }
    Ok(())
}
