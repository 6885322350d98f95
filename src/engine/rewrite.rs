//! The owner's last step of opening: a place to write.
//!
//! After an unclean stop the bytes that no sync is known to cover can be read, but not trusted: the
//! kernel may hold pages that a failed fsync left clean and that will never reach the disk. So they
//! are written once more, into a new segment, and synced. The segments they came from are closed
//! behind what is durable, and never written again.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::load::{self, Builders, Loaded};
use super::recover::{Recovery, Source};
use super::report::RecoveryReport;
use super::roll::{CEILING_STEP, entry};
use crate::error::{Error, Result};
use crate::format::location::{SegmentId, UNIT};
use crate::format::manifest::{Manifest, Sealed, SegmentEntry};
use crate::format::names;
use crate::format::record::FramePlace;
use crate::format::segment::HEADER_LEN;
use crate::log::active::{Active, TRAILER_LEN};
use crate::log::contents::Builder;
use crate::log::gather::Gathered;
use crate::log::scan::Frame;
use crate::log::segment::Segment;
use crate::state::State;
use crate::sync::atomic::Ordering;
use crate::zoo::{Bug, planted};

/// Rewritten frames are flushed in steps of this size.
const FLUSH_LEN: u64 = 1 << 20;

/// Makes a store that has been read one that can be written.
pub(super) fn finish(mut recovery: Recovery) -> Result<(State, RecoveryReport)> {
    if recovery.manifest.segments.is_empty() {
        // Before the first segment: without a manifest beside it, a segment is the sign of damage.
        // One that is there may be there in memory alone: an earlier attempt has failed.
        recovery.state.manifest.update(|_| {})?;
    }
    let orphans = orphans(&recovery.state, &recovery.manifest)?;
    // How far the active segment has a hint.
    let mut hinted = 0;
    let torn_too = planted(Bug::AppendToTorn) && recovery.chain.tail.is_empty();
    let (active, revision) = match (recovery.report.clean || torn_too) && recovery.open.len() == 1 {
        true => go_on(&mut recovery, &mut hinted)?,
        false => start_anew(&mut recovery)?,
    };
    for orphan in orphans {
        let _ = recovery.state.disk.remove(&names::segment(orphan));
    }
    remove_orphan_hints(&recovery.state);
    let durable = recovery.state.manifest.get();
    let order = recovery.state.order.get_mut();
    order.revision = revision;
    order.ceiling = durable.revision_ceiling;
    order.durable = durable.watermark;
    order.commit_end = active.position();
    order.opened_at = active.position();
    order.hinted = hinted;
    order.active = Some(active);
    recovery.state.visible.store(revision, Ordering::Release);
    if !recovery.state.hints_due.lock().is_empty() {
        recovery.state.tell_now();
    }
    Ok((recovery.state, recovery.report))
}

/// Goes on in the segment that was closed in order.
fn go_on(recovery: &mut Recovery, hinted: &mut u64) -> Result<(Active, u64)> {
    let segment = recovery.open[0].clone();
    let active = Active::new(segment.clone(), recovery.chain.surveys[0].end);
    recovery.state.segments.insert(segment);
    *hinted = recovery.hinted.as_ref().map_or(0, |hinted| hinted.contents.totals.length);
    let seen = recovery.load_open(u64::MAX)?;
    let revision = recovery.fill_index(seen)?.max(recovery.manifest.revision_ceiling);
    let State { reserve, manifest, .. } = &recovery.state;
    reserve.with(|| {
        manifest.update(|manifest| {
            manifest.clean = planted(Bug::StaysClean);
            manifest.revision_ceiling = revision + CEILING_STEP;
        })
    })?;
    Ok((active, revision))
}

/// Rewrites what may not be durable, and closes the segments it came from.
fn start_anew(recovery: &mut Recovery) -> Result<(Active, u64)> {
    // Segments are closed here, so all of each must be known, and sound.
    if !planted(Bug::HintOfTorn) && recovery.hinted.take().is_some() {
        recovery.report.hints_used -= 1;
        // What was gathered begins behind it.
        let (segment, survey) = (&recovery.open[0], &mut recovery.chain.surveys[0]);
        survey.gathered = Gathered::new(segment.first);
    }
    let watermark = recovery.chain.watermark;
    let mut len = recovery.chain.tail.len() as u64;
    for (segment, survey) in recovery.open.iter().zip(&recovery.chain.surveys) {
        segment.set_written(survey.end);
        recovery.state.segments.insert(segment.clone());
        let durable = watermark.saturating_sub(segment.base).max(segment.first);
        len += survey.end.saturating_sub(durable);
    }
    // The manifest that was read may be one that died between its rename and the directory's sync.
    // If power loss took it back while it left the segment made below, that segment would look like
    // one of a later manifest, and the store refuse to open.
    let disk = &recovery.state.disk;
    disk.sync_dir().map_err(|e| Error::io("sync", disk.path(), e))?;
    let next = make_next(recovery, len)?;
    recovery.state.segments.insert(next.clone());
    let mut rewrite = Rewrite {
        watermark,
        active: Active::new(next.clone(), next.first),
        copying: false,
        kept: recovery.gathered(),
        copied: Builder::default(),
    };
    let seen = recovery
        .read_open(u64::MAX, |source, segment, frame| rewrite.place(source, segment, frame))?;
    let Rewrite { mut active, kept, copied, .. } = rewrite;
    active.flush()?;
    let (contents, _) = load::finish(copied, active.end());
    recovery.loaded.push(Loaded { segment: next.clone(), contents, wants_hint: false });
    let mut seals = BTreeMap::new();
    for (mut loaded, sealed) in kept.finish() {
        seals.insert(loaded.segment.id, sealed);
        loaded.wants_hint = true;
        recovery.loaded.push(loaded);
    }
    let seen = recovery.fill_index(seen)?;
    recovery.report.rewritten_bytes = active.end() - next.first;
    recovery.state.segments.publishable(&next)?;
    let ceiling = recovery.manifest.revision_ceiling;
    let revision = if planted(Bug::ReuseRevisions) { seen } else { seen.max(ceiling) };
    if planted(Bug::TailUnlinkedFirst) {
        let _ = recovery.state.disk.remove(names::TAIL);
    }
    let mut dropped = Vec::new();
    publish(recovery, &active, seals, revision, &mut dropped)?;
    for (segment, survey) in recovery.open.iter().zip(&recovery.chain.surveys) {
        // The room ahead that was never used. Not what is sealed away: a reader that found the
        // store with no owner may have it mapped.
        let _ = segment.file.set_len(survey.end);
    }
    for id in dropped {
        recovery.state.segments.remove(id);
        let _ = recovery.state.disk.remove(&names::segment(id));
    }
    if recovery.manifest.tail {
        let _ = recovery.state.disk.remove(names::TAIL);
    }
    Ok((active, revision))
}

/// Makes the segment that takes the copies, of `len` bytes so far, and their room.
fn make_next(recovery: &Recovery, len: u64) -> Result<Arc<Segment>> {
    let id = SegmentId(recovery.manifest.next_segment);
    // A frame's place grows by less than half of the smallest frame.
    let need = (HEADER_LEN + len + len / 2 + TRAILER_LEN).next_multiple_of(UNIT);
    let capacity = recovery.state.options.segment_size.max(need).next_multiple_of(UNIT);
    recovery.state.reserve.with(|| {
        let position = recovery.manifest.next_position;
        let next = recovery.state.segments.create(id, position, capacity)?;
        // A full disk shows here, where it can be helped.
        let room = next.file.reserve(next.first, need - next.first);
        room.map_err(|e| Error::io("reserve", &next.path, e)).map(|()| next)
    })
}

/// Switches to the new segment: the one step at which recovery takes effect.
fn publish(
    recovery: &Recovery,
    active: &Active,
    mut seals: BTreeMap<SegmentId, Sealed>,
    revision: u64,
    dropped: &mut Vec<SegmentId>,
) -> Result<()> {
    let mut segments: Vec<SegmentEntry> = Vec::new();
    for mut old in recovery.manifest.segments.iter().cloned() {
        if old.sealed.is_none() {
            let Some(sealed) = seals.remove(&old.id()) else {
                dropped.push(old.id());
                continue;
            };
            old.sealed = Some(sealed);
        }
        segments.push(old);
    }
    segments.push(entry(&active.segment));
    let update = |manifest: &mut Manifest| {
        manifest.segments = segments.clone();
        manifest.next_segment = active.segment.id.0 + 1;
        manifest.next_position = active.segment.base + active.segment.capacity;
        manifest.watermark = active.position();
        manifest.revision_ceiling = revision + CEILING_STEP;
        manifest.clean = false;
        manifest.tail = false;
    };
    recovery.state.reserve.with(|| recovery.state.manifest.update(update))
}

/// Where each frame of the unsealed part ends up.
struct Rewrite {
    watermark: u64,
    active: Active,
    /// The commit at hand is copied.
    copying: bool,
    /// What stays where it is.
    kept: Builders,
    /// What was copied.
    copied: Builder,
}

impl Rewrite {
    /// Keeps a frame where it is, if its whole commit is known durable there, or copies it.
    fn place(&mut self, source: Source, segment: &Arc<Segment>, frame: &Frame<'_>) -> Result<()> {
        let Frame { offset, header, bytes } = frame;
        if header.place.start {
            let position = segment.position(*offset);
            let end = position + header.frame_len() + header.place.left;
            if position < self.watermark && self.watermark < end {
                let reason = "the durable watermark lies inside a commit";
                return Err(Error::corrupt(&segment.path, *offset, reason));
            }
            // What the tail file gave is not in the segment, or not sound there, also where it was
            // durable once.
            self.copying |=
                source == Source::Tail || (end > self.watermark && !planted(Bug::TrustUnsynced));
        }
        if !self.copying {
            return self.kept.add(segment, frame);
        }
        if !header.frame_type.is_record() {
            return Ok(());
        }
        let first = self.active.segment.position(self.active.segment.first);
        let place = FramePlace { watermark: header.place.watermark.map(|_| first), ..header.place };
        let (offset, len) = self.active.copy(&place, header, bytes);
        self.copied.add_copy(segment, frame, offset, len)?;
        if self.active.unwritten() >= FLUSH_LEN {
            self.active.flush()?;
        }
        Ok(())
    }
}

/// Hints whose segments the manifest doesn't name. They tell of nothing, and only take room.
fn remove_orphan_hints(state: &State) {
    let named = state.manifest.get();
    let is_named = |id: &SegmentId| named.segments.iter().any(|entry| entry.id() == *id);
    let Ok(files) = state.disk.list() else { return };
    let hints = files.iter().filter_map(|name| names::parse_hint(name));
    for id in hints.filter(|id| !is_named(id)) {
        let _ = state.disk.remove(&names::hint(id));
    }
}

/// Segment files of ours that the manifest does not name: retired, or made by someone who died
/// before they were named.
///
/// # Errors
/// `Corrupt` if there are later ones than one crash can leave: then it is the manifest that is old,
/// and what they hold must not be thrown away.
fn orphans(state: &State, manifest: &Manifest) -> Result<Vec<SegmentId>> {
    let path = state.disk.path();
    let files = state.disk.list().map_err(|e| Error::io("list", path, e))?;
    let named = |id: &SegmentId| manifest.segments.iter().any(|entry| entry.id() == *id);
    let ids = files.iter().filter_map(|name| names::parse_segment(name));
    let orphans: Vec<SegmentId> = ids.filter(|id| !named(id)).collect();
    match orphans.iter().find(|id| id.0 > manifest.next_segment) {
        None => Ok(orphans.into_iter().filter(|id| id.0 < manifest.next_segment).collect()),
        Some(id) => Err(Error::corrupt(
            path.join(names::MANIFEST),
            0,
            format!("the manifest is older than {}", names::segment(*id)),
        )),
    }
}
