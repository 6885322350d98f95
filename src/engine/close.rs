//! Closing in order: everything durable, and the manifest says where the log ends.

use super::{background, group, roll};
use crate::error::{Error, Result};
use crate::event::event;
use crate::format::names;
use crate::format::record::FrameType;
use crate::state::{Health, Order, State};
use crate::sync::MutexGuard;
use crate::sync::atomic::Ordering;

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
    drop(order);
    drop(state.lock.lock().take());
    event!(info, "closed {}: {closed:?}", state.disk.path().display());
    closed
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
        active.reserve(0)?;
        active.append_bare(FrameType::Watermark, revision, durable);
        active.flush()?;
    }
    active.trim()?;
    let segment = active.segment.clone();
    segment.file.sync().map_err(|e| Error::io("sync", &segment.path, e))?;
    let end = active.position();
    for rolled in order.rolled.iter_mut().filter(|rolled| !rolled.synced) {
        let segment = &rolled.segment;
        segment.file.sync().map_err(|e| Error::io("sync", &segment.path, e))?;
        rolled.synced = true;
    }
    order.durable = end;
    MutexGuard::unlocked(order, || background::seal_rolled(state))?;
    let prepared = state.prepared.lock().take();
    let had_tail = state.manifest.get().tail;
    state.manifest.update(|manifest| {
        manifest.clean = true;
        manifest.tail = false;
        manifest.watermark = end;
        manifest.revision_ceiling = revision;
        manifest.segments.retain(|entry| prepared.as_ref().is_none_or(|p| p.id != entry.id()));
    })?;
    if let Some(prepared) = prepared {
        roll::remove_file(state, &prepared);
    }
    if had_tail {
        let _ = state.disk.remove(names::TAIL);
    }
    Ok(())
}
