//! After an append that failed: the segment is closed, durably, behind its last good byte, and
//! writing goes on in a new one.
//!
//! What was acknowledged before is in the buffers and, as `Os` promises, in the tail file. It is
//! written again, the same bytes at the same place. What was not acknowledged is withdrawn: once
//! the shortened length is durable it is certain never to come back.

use super::group::{in_doubt, poison, publish};
use super::roll;
use crate::error::{Error, Result};
use crate::event::event;
use crate::format::contents::Contents;
use crate::log::active::Active;
use crate::state::{Health, Order, State};
use crate::sync::atomic::Ordering;
use crate::zoo::{Bug, planted};

/// Handles a failed append. `cut` is the offset behind the last acknowledged byte, pending commits
/// apart. Returns the error for whoever's commit failed.
pub(crate) fn append_failed(state: &State, order: &mut Order, cut: u64, error: Error) -> Error {
    order.health = Health::Broken;
    event!(warn, "an append failed: {error}");
    order.failures += 1;
    let written = order.active().written_position();
    let kept = order.pending.partition_point(|pending| pending.end <= written);
    let failed: Vec<_> = order.pending.drain(kept..).collect();
    let cut = failed.first().map_or(cut, |pending| pending.start);
    order.active().withdraw(cut);
    order.commit_end = order.commit_end.min(order.active().position());
    order.unsynced -= failed.iter().map(|pending| pending.len).sum::<u64>().min(order.unsynced);
    order.revision = match order.pending.back() {
        Some(last) => last.revision,
        None => state.visible.load(Ordering::Acquire),
    };
    order.overlay.clear();
    order.overlay_prefixes.clear();
    let pending = std::mem::take(&mut order.pending);
    pending.iter().for_each(|pending| order.overlay_commit(pending));
    order.pending = pending;
    let error = match heal(state, order) {
        Ok(()) => error,
        Err(_) if planted(Bug::SayCertain) => error,
        Err(_) => in_doubt(&error),
    };
    for pending in failed {
        let _ = pending.ticket.set(Err(error.share()));
    }
    state.synced.notify_all();
    error
}

/// Closes a broken segment and goes on in the next. Nothing to do in good health.
///
/// # Errors
/// As long as it can't be done, nothing is committed, and the next commit tries again.
pub(crate) fn heal(state: &State, order: &mut Order) -> Result<()> {
    match order.health {
        Health::Good => return Ok(()),
        Health::Broken if planted(Bug::WriteOnBroken) => {
            order.health = Health::Good;
            return Ok(());
        }
        Health::Broken => {}
        Health::Poisoned => return Err(Error::Poisoned),
        Health::Closed => return Err(Error::Closed),
    }
    if order.leading {
        // The kernel reports a failed write to one of two syncs: to the leader's, which is under
        // way, or to this one, which then would vouch for what is lost.
        let source = std::io::Error::new(std::io::ErrorKind::ResourceBusy, "a sync is under way");
        return Err(Error::io("write", &order.active().segment.path, source));
    }
    order.active().flush()?;
    let (segment, end) = (order.active().segment.clone(), order.active().end());
    // Together with the full segments before it: sealed alone, it would count as durable up to its
    // end while they are not, and be read before them at the next open, so that what its tombstones
    // deleted would come back.
    let rolled = order.rolled.iter().map(|rolled| (rolled.segment.clone(), rolled.length));
    let rolled = rolled.filter(|_| !planted(Bug::HealAlone));
    let closing: Vec<_> = rolled.chain([(segment.clone(), end)]).collect();
    let (mut sealed, mut hints) = (Vec::with_capacity(closing.len()), Vec::new());
    for (segment, length) in &closing {
        if let Err(source) = segment.file.sync() {
            let error = Error::in_doubt("sync", &segment.path, source);
            poison(order, &error);
            return Err(error);
        }
        let (contents, seal) = Contents::read(segment, *length)?;
        sealed.push((segment.id, seal));
        hints.push((segment.clone(), contents));
    }
    let next = roll::take_next(state, 0)?;
    let durable = segment.position(end);
    let closed = state.manifest.update(|manifest| {
        manifest.watermark = manifest.watermark.max(durable);
        sealed.drain(..).for_each(|(id, sealed)| manifest.seal(id, sealed));
    });
    if let Err(error) = closed {
        *state.prepared.lock() = Some(next);
        return Err(error);
    }
    order.rolled.clear();
    state.hints_due.lock().append(&mut hints);
    state.tell_now();
    for (segment, length) in &closing {
        // The room ahead that was never used. The length is already what counts.
        let _ = segment.file.set_len(*length);
    }
    state.segments.end(&segment);
    let first = next.first;
    order.active = Some(Active::new(next, first));
    order.hinted = 0;
    order.durable = order.durable.max(durable);
    order.asked = false;
    order.health = Health::Good;
    event!(warn, "closed {} at byte {end} after a failed append", segment.path.display());
    publish(state, order);
    Ok(())
}
