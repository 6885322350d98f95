//! A copy becomes part of the store, and inputs stop being part of it.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::copy::{Finished, Moves};
use crate::engine::{background, group, roll};
use crate::error::{Error, Result};
use crate::format::contents::Contents;
use crate::format::location::{Location, Place, SegmentId};
use crate::format::manifest::SegmentEntry;
use crate::format::names;
use crate::index::{Hashed, Kind, Move};
use crate::log::segment::Segment;
use crate::state::{Effect, Order, State, overlay_key};
use crate::zoo::{Bug, planted, unless};

/// So many entries move in one hold of the order lock: commits wait for no more.
const MOVES_PER_HOLD: usize = 16;

/// Has the manifest name a copy, and points the index to it wherever it points to an input.
pub(super) fn publish(state: &State, inputs: &[SegmentId], copy: Finished) -> Result<()> {
    let Finished { segment, sealed, contents, moves, .. } = copy;
    let entry = SegmentEntry { sealed: Some(sealed), ..roll::entry(&segment) };
    // First there, then named: whoever goes by the manifest finds all that it names.
    state.segments.insert(segment.clone());
    let published = state.manifest.update(|manifest| {
        let at = manifest.segments.partition_point(|other| other.base < entry.base);
        manifest.segments.insert(at, entry);
    });
    if let Err(error) = published {
        state.segments.remove(segment.id);
        // If it can't be known which manifest is on disk, it may name the file.
        if state.manifest.check_known().is_ok() {
            let _ = state.disk.remove(&names::segment(segment.id));
        }
        return Err(error);
    }
    for kind in contents.kinds() {
        let index = state.index.kind_or_create(&kind.name);
        index.note_segment(segment.id, kind.total_bytes, kind.oldest, kind.newest);
    }
    let moved =
        moves.iter().try_for_each(|moves| move_kind(state, inputs, &segment, &contents, moves));
    state.hints_due.lock().push((segment, contents));
    background::write_hints(state);
    moved
}

/// Entries to be moved, side by side in one arena.
#[derive(Default)]
struct Moving {
    ids: Vec<u8>,
    /// Of each: where its id ends, its hash, its revision, and whence and whither.
    moves: Vec<(usize, u64, u64, Location, Location)>,
}

impl Moving {
    fn moves(&self) -> impl Iterator<Item = Move<'_>> {
        let mut id_from = 0;
        self.moves.iter().map(move |&(id_end, hash, revision, from, to)| {
            let id = &self.ids[std::mem::replace(&mut id_from, id_end)..id_end];
            let id = Hashed { id, hash };
            Move { id, revision, from, to }
        })
    }
}

fn move_kind(
    state: &State,
    inputs: &[SegmentId],
    segment: &Arc<Segment>,
    contents: &Contents,
    moves: &Moves,
) -> Result<()> {
    let Moves { kind, from } = moves;
    let Some(of_kind) = contents.kind(kind.name()) else {
        return Err(Error::corrupt(&segment.path, 0, "what was copied is not there"));
    };
    let mut entries = contents.entries(of_kind);
    let mut from = from.iter().copied();
    let mut moving = Moving::default();
    while entries.step().expect("contents were gone through when they were made or read") {
        let fields = entries.fields();
        if fields.delete {
            continue;
        }
        let place = Place { segment: segment.id, offset: fields.offset };
        let to = Location { place, len: fields.len };
        let Some(from) = from.next() else { break };
        debug_assert!(inputs.contains(&from.place.segment));
        let hash = kind.hash(entries.id());
        kind.prefetch(hash);
        moving.ids.extend_from_slice(entries.id());
        moving.moves.push((moving.ids.len(), hash, fields.revision, from, to));
        if moving.moves.len() == MOVES_PER_HOLD {
            move_some(state, kind, &mut moving)?;
        }
    }
    move_some(state, kind, &mut moving)
}

/// Moves entries that still point where they did.
///
/// Under the order lock, so that no commit is between finding a key's place and putting another
/// there: its change would be made to a place that is no longer the key's.
fn move_some(state: &State, kind: &Arc<Kind>, moving: &mut Moving) -> Result<()> {
    let mut order = state.lock_order()?;
    let guard = state.apply.lock();
    kind.relocate(moving.moves(), state.index.snapshots(), |one| {
        follow(&mut order, kind, one.id.id, one.from, one.to);
    });
    drop(guard);
    drop(order);
    state.let_commits_in();
    moving.ids.clear();
    moving.moves.clear();
    Ok(())
}

/// Tells the commits in flight where the record that they will replace is now.
fn follow(order: &mut Order, kind: &Arc<Kind>, id: &[u8], from: Location, to: Location) {
    if planted(Bug::NoFollow)
        || order.overlay.is_empty()
        || !order.overlay.contains_key(&overlay_key(kind.name(), id))
    {
        return;
    }
    let changes = order.pending.iter_mut().flat_map(|pending| &mut pending.changes);
    for change in changes.filter(|c| Arc::ptr_eq(&c.kind, kind) && *c.id == *id) {
        match &mut change.effect {
            Effect::Put { old: Some(old), .. } | Effect::Delete { old, .. } if *old == from => {
                *old = to;
            }
            _ => {}
        }
    }
}

/// Lets inputs go in which nothing lives any more, but for those to be `kept`. Returns how many
/// bytes that gives back.
pub(super) fn retire(
    state: &State,
    inputs: &[(SegmentId, Contents)],
    kept: &BTreeSet<SegmentId>,
) -> Result<u64> {
    let kinds = state.index.kinds();
    let is_dead = |id: &SegmentId| {
        planted(Bug::RetireLive) || kinds.iter().all(|kind| kind.live_in(*id) == 0)
    };
    let goes = |id: &SegmentId| !kept.contains(id) && is_dead(id);
    let mut going: Vec<&(SegmentId, Contents)> = inputs.iter().filter(|(id, _)| goes(id)).collect();
    if going.len() < inputs.len() && !planted(Bug::GoesBesideWhatStays) {
        // Tombstones were left out since all inputs would go. One stays, and what they delete may
        // lie in it: it would be back at the next open.
        going.retain(|(_, contents)| !contents.has_tombstones());
    }
    let gone: Vec<SegmentId> = going.iter().map(|(id, _)| *id).collect();
    if gone.is_empty() {
        return Ok(0);
    }
    // What made their records dead may be in memory alone. If it were lost after they are gone,
    // the keys would be, too, and with them commits that were durable.
    let mut order = state.lock_order()?;
    unless(Bug::RetireUnsynced, || group::sync(state, &mut order))?;
    let durable = order.durable;
    drop(order);
    let segments: Vec<_> = gone.iter().filter_map(|id| state.segments.get(*id)).collect();
    if planted(Bug::InputsUnlinkedFirst) {
        gone.iter().for_each(|id| drop(state.disk.remove(&names::segment(*id))));
    }
    state.manifest.update(|manifest| {
        // What took the place of these records is durable, and no frame may say so yet: a reader
        // beside this owner would see neither.
        manifest.watermark = manifest.watermark.max(durable);
        manifest.segments.retain(|entry| !gone.contains(&entry.id()));
    })?;
    {
        let _decisions = state.order.lock();
        let _views = state.apply.lock();
        let generation = state.index.snapshots().turn();
        gone.iter().for_each(|id| state.segments.retire(*id, generation));
    }
    // On a full disk hints wait, and would hold the files open: their room would not come back.
    state.hints_due.lock().retain(|(segment, _)| !gone.contains(&segment.id));
    let mut bytes = 0;
    for segment in &segments {
        bytes += segment.len();
        kinds.iter().for_each(|kind| kind.forget_segment(segment.id));
        // If it fails, the next open does it.
        let _ = state.segments.remove_hint(segment);
        let _ = state.disk.remove(&names::segment(segment.id));
    }
    state.segments.let_go(|| state.index.snapshots().oldest_generation());
    state.compaction.findings.lock().forget(&gone);
    Ok(bytes)
}
