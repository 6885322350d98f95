//! The next segment: made and named ahead of need, and moved on to when the active one is full.

use std::sync::Arc;

use super::{background, group, heal};
use crate::error::{Error, Result};
use crate::format::location::{SegmentId, UNIT};
use crate::format::manifest::SegmentEntry;
use crate::format::record::FrameType;
use crate::format::segment::HEADER_LEN;
use crate::log::active::{Active, TRAILER_LEN};
use crate::log::segment::Segment;
use crate::state::{Health, Order, Rolled, State};
use crate::sync::atomic::Ordering;

/// How far the manifest's ceiling is kept above the last revision.
pub(crate) const CEILING_STEP: u64 = 1 << 20;

/// Sees to it that a commit of `len` bytes and one more revision can be appended. On a full disk a
/// commit of `deletes` alone has what the store keeps back for them, and compaction is told to look
/// for more.
pub(crate) fn make_room(state: &State, order: &mut Order, len: u64, deletes: bool) -> Result<()> {
    let made = try_make_room(state, order, len);
    if !made.as_ref().is_err_and(Error::is_storage_full) {
        return made;
    }
    let compaction = &state.compaction;
    compaction.full.store(true, Ordering::Relaxed);
    compaction.signals.raise(&compaction.signals.now);
    let is_for_it = deletes && order.health == Health::Good;
    match is_for_it.then(|| state.reserve.release()).flatten() {
        Some(_released) => try_make_room(state, order, len),
        None => made,
    }
}

fn try_make_room(state: &State, order: &mut Order, len: u64) -> Result<()> {
    if !order.active().has_room(len) {
        roll(state, order, len)?;
    }
    if order.revision >= order.ceiling {
        raise_ceiling(state, order)?;
    }
    order.active().reserve(len)?;
    // At half the segment and half the ceiling's step the background prepares the next ones.
    let half = order.active().end() > order.active().segment.capacity / 2;
    if (half && !std::mem::replace(&mut order.asked, true))
        || order.ceiling - order.revision < CEILING_STEP / 2
    {
        state.tell_now();
    }
    Ok(())
}

/// Ends the active segment, whatever it has, and sees it synced and sealed.
pub(crate) fn end_early(state: &State) -> Result<()> {
    let mut order = state.lock_order()?;
    group::make_ready(state, &mut order, true)?;
    roll(state, &mut order, 0)?;
    while order.rolled.iter().any(|rolled| !rolled.synced) {
        group::check(&order)?;
        group::join(state, &mut order)?;
    }
    drop(order);
    background::seal_rolled(state)?;
    background::write_hints(state);
    Ok(())
}

/// Ends the active segment and goes on in the next.
fn roll(state: &State, order: &mut Order, len: u64) -> Result<()> {
    let next = take_next(state, len)?;
    let (revision, durable) = (order.revision, order.durable);
    let active = order.active();
    let end = active.end();
    let ended = active.reserve(0).and_then(|()| {
        active.append_bare(FrameType::End, revision, durable);
        active.flush()
    });
    if let Err(error) = ended {
        *state.prepared.lock() = Some(next);
        return Err(heal::append_failed(state, order, end, error));
    }
    let (segment, length) = (active.segment.clone(), active.end());
    state.segments.end(&segment);
    order.rolled.push(Rolled { segment, length, synced: false });
    let first = next.first;
    order.active = Some(Active::new(next, first));
    order.hinted = 0;
    order.asked = false;
    state.tell_now();
    Ok(())
}

/// The prepared segment, if a commit of `len` bytes fits into it, or a new one. Whoever can't use
/// it after all has to put it back: the log goes on in the segments in the order of their
/// positions.
pub(crate) fn take_next(state: &State, len: u64) -> Result<Arc<Segment>> {
    let mut prepared = state.prepared.lock();
    let need = (HEADER_LEN + len + TRAILER_LEN).next_multiple_of(UNIT);
    if prepared.as_ref().is_none_or(|next| next.capacity < need) {
        let capacity = state.options.segment_size.max(need);
        let made = make_segment(state, capacity, prepared.as_deref())?;
        *prepared = Some(made);
    }
    prepared.take().ok_or(Error::Closed)
}

/// Makes the next segment ahead of need.
pub(crate) fn prepare(state: &State) -> Result<()> {
    let mut prepared = state.prepared.lock();
    if prepared.is_none() {
        *prepared = Some(make_segment(state, state.options.segment_size, None)?);
    }
    Ok(())
}

/// Makes a segment and has the manifest name it, behind all others, instead of `unused`.
fn make_segment(state: &State, capacity: u64, unused: Option<&Segment>) -> Result<Arc<Segment>> {
    // The manifest on disk may name a segment of this number already; a new file in its place would
    // not be the one that it names, and the store would never open again.
    state.manifest.check_known()?;
    let capacity = capacity.next_multiple_of(UNIT);
    let manifest = state.manifest.get();
    let id = SegmentId(manifest.next_segment);
    let segment = state.segments.create(id, manifest.next_position, capacity)?;
    state.segments.publishable(&segment)?;
    // First there, then named: whoever goes by the manifest finds all that it names.
    state.segments.insert(segment.clone());
    let named = state.manifest.update(|manifest| {
        manifest.next_segment = id.0 + 1;
        manifest.next_position = segment.base + capacity;
        manifest.segments.retain(|entry| unused.is_none_or(|unused| entry.id() != unused.id));
        manifest.segments.push(entry(&segment));
    });
    if named.is_err() {
        state.segments.remove(id);
    }
    named?;
    if let Some(unused) = unused {
        remove_file(state, unused);
    }
    Ok(segment)
}

/// Takes a number and a stretch of positions for a segment that is written beside the log, and
/// named once it is whole. Whoever dies in between leaves a file that the next open removes.
pub(crate) fn take_number(state: &State, capacity: u64) -> Result<(SegmentId, u64)> {
    let _in_the_order_of_positions = state.prepared.lock();
    let mut taken = (SegmentId(0), 0);
    state.manifest.update(|manifest| {
        taken = (SegmentId(manifest.next_segment), manifest.next_position);
        manifest.next_segment += 1;
        manifest.next_position += capacity;
    })?;
    Ok(taken)
}

/// What the manifest says of a segment that may be written.
pub(crate) fn entry(segment: &Segment) -> SegmentEntry {
    SegmentEntry {
        number: segment.id.0,
        salt: segment.salt,
        base: segment.base,
        capacity: segment.capacity,
        sealed: None,
    }
}

/// Removes a segment that the manifest no longer names. If it fails, the next open does it.
pub(crate) fn remove_file(state: &State, segment: &Segment) {
    state.segments.remove(segment.id);
    let _ = state.disk.remove(&crate::format::names::segment(segment.id));
    let _ = state.segments.remove_hint(segment);
}

/// Raises the manifest's ceiling above the revisions to come.
pub(crate) fn raise_ceiling(state: &State, order: &mut Order) -> Result<()> {
    let ceiling = order.revision + CEILING_STEP;
    state.manifest.update(|manifest| manifest.revision_ceiling = ceiling)?;
    order.ceiling = ceiling;
    Ok(())
}
