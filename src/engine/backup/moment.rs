//! What a backup holds: the store at one moment.

use std::sync::Arc;

use crate::engine::group;
use crate::error::{Error, Result};
use crate::format::manifest::{Manifest, SegmentEntry};
use crate::log::segment::Segment;
use crate::state::{Order, State};
use crate::sync::atomic::Ordering;

/// The store's bytes at one moment. None of them changes any more; and since the segments are held
/// open, compaction may remove their files while they are copied.
pub(super) struct Moment {
    pub(super) manifest: Manifest,
    /// The highest revision that the store has given out, as far as this handle knows.
    pub(super) revision: u64,
    /// In the order of their bases. Those without a frame are left out.
    pub(super) pieces: Vec<Piece>,
}

/// The part of a segment that goes into a backup.
pub(super) struct Piece {
    pub(super) entry: SegmentEntry,
    pub(super) segment: Arc<Segment>,
    /// Where its last commit ends.
    pub(super) end: u64,
}

impl Moment {
    /// Of the owner's handle: everything committed before, durably. Of a reader's: what it sees.
    pub(super) fn take(state: &State) -> Result<Moment> {
        if state.options.read_only {
            let manifest = state.manifest.get();
            let visible = state.visible.load(Ordering::Acquire);
            // After a close the ceiling is the last revision, also where no record has it.
            let closed_at = if manifest.clean { manifest.revision_ceiling } else { 0 };
            return Moment::of(state, manifest, visible.max(closed_at), |segment, entry| {
                entry.sealed.as_ref().map_or(segment.len(), |sealed| sealed.length)
            });
        }
        let mut order = state.lock_order()?;
        group::sync(state, &mut order)?;
        // The lock is kept from here on: the segments that are written and the manifest's must be
        // those of one moment. A segment that compaction retires meanwhile is in no later manifest.
        loop {
            let manifest = state.manifest.get();
            let ended =
                |segment: &Segment, entry: &SegmentEntry| durable_end(&order, segment, entry);
            match Moment::of(state, manifest.clone(), order.revision, ended) {
                Err(Error::MissingSegment { .. }) if state.manifest.get() != manifest => {}
                taken => return taken,
            }
        }
    }

    fn of(
        state: &State,
        manifest: Manifest,
        revision: u64,
        ended: impl Fn(&Segment, &SegmentEntry) -> u64,
    ) -> Result<Moment> {
        let mut pieces = Vec::with_capacity(manifest.segments.len());
        for entry in &manifest.segments {
            let segment = state.segments.find(entry.id())?;
            let end = ended(&segment, entry);
            if end > segment.first {
                pieces.push(Piece { entry: entry.clone(), segment, end });
            }
        }
        Ok(Moment { manifest, revision, pieces })
    }
}

/// How far a segment is durable. That is always behind a commit, never inside one.
fn durable_end(order: &Order, segment: &Segment, entry: &SegmentEntry) -> u64 {
    if let Some(sealed) = &entry.sealed {
        return sealed.length;
    }
    let rolled = order.rolled.iter().find(|rolled| rolled.segment.id == segment.id);
    let active = order.active.as_ref().filter(|active| active.segment.id == segment.id);
    let end = match (rolled, active) {
        (Some(rolled), _) => rolled.length,
        (None, Some(active)) => active.end(),
        // Made ahead of need.
        (None, None) => 0,
    };
    end.min(order.durable.saturating_sub(segment.base))
}
