//! One run: a few segments in, what is live of them out.

use std::sync::Arc;

use super::batch::Batch;
use super::copy::{Copier, leave_alone};
use super::handover::Handover;
use super::pace::Pace;
use super::publish::retire;
use super::tombstones::{Tombstones, place_of};
use super::{contents, unreadable};
use crate::error::{Error, Result};
use crate::event::event;
use crate::format::contents::Contents;
use crate::format::location::{Location, SegmentId};
use crate::index::{Chunk, Kind};
use crate::log::merge::Merge;
use crate::state::State;
use crate::state::compaction::Trouble;
use crate::sync::atomic::Ordering;
use crate::sync::{processors, spawn_scoped, thread};
use crate::zoo::{Bug, planted};

/// About how much is read before it is copied. The more it is, the closer together lie what is
/// read; a run that was asked for has three times as much in memory.
const BATCH_LEN: u64 = 16 << 20;
/// To look at an id's location in passing takes so much less than to look up an entry: decoded,
/// merged, and its slot fetched from memory.
const WALK_SHARE: u64 = 16;
/// From so many bytes on it pays to read in one thread and to write in another.
const WORTHWHILE: u64 = if cfg!(all(test, kindlog_shuttle)) { 1 } else { 4 << 20 };

/// Compacts `inputs`, which are sealed. One run at a time.
pub(super) fn run(state: &State, inputs: &[SegmentId], gentle: bool) -> Result<()> {
    let held = read_inputs(state, inputs)?;
    let inputs: Vec<SegmentId> = held.iter().map(|(id, _)| *id).collect();
    if inputs.is_empty() {
        return Ok(());
    }
    // Healing seals a segment before its commits enter the index, all of it under this lock. And a
    // poisoned store takes no copy: its entries could not be moved, and the next run would begin
    // anew.
    drop(state.lock_order()?);
    let merge = Merge::new(held.iter().map(|(id, contents)| (*id, contents)).collect());
    let tombstones = Tombstones::find(state, &merge, &inputs)?;
    let mut copier = Copier::new(state, &inputs, &tombstones.by, gentle);
    let mut in_order = inputs.clone();
    in_order.sort_unstable();
    let reader = Reader {
        state,
        inputs: &in_order,
        merge: &merge,
        tombstones: &tombstones,
        batch: Batch::default(),
        pace: Pace::new(state, gentle),
    };
    let len: u64 = held.iter().map(|(_, contents)| contents.totals.length).sum();
    match !gentle && len >= WORTHWHILE && processors() > 1 {
        true => side_by_side(reader, &mut copier)?,
        false => one_by_one(reader, &mut copier)?,
    }
    copier.finish()?;
    let reclaimed = retire(state, &held, &copier.kept)?;
    leave_what_stays(state, &inputs);
    let counters = &state.compaction.counters;
    counters.runs.fetch_add(1, Ordering::Relaxed);
    counters.reclaimed_bytes.fetch_add(reclaimed, Ordering::Relaxed);
    // What is kept back goes by the log's length.
    state.tell_now();
    event!(debug, "compacted {} segments of {reclaimed} bytes", inputs.len());
    Ok(())
}

/// All that was found to live in the inputs has moved. If the index still points into one, and no
/// damage says why, no other run would make it go: it is left alone, so that none tries for ever.
fn leave_what_stays(state: &State, inputs: &[SegmentId]) {
    let kinds = state.index.kinds();
    for id in inputs {
        let stays = state.segments.has(*id) && kinds.iter().any(|kind| kind.live_in(*id) > 0);
        if stays && !state.compaction.findings.lock().damaged.contains_key(id) {
            let trouble = Trouble::damage("it was compacted, and is still in use");
            leave_alone(state, *id, trouble, None);
        }
    }
}

/// Reads and writes in turn.
fn one_by_one(mut reader: Reader<'_>, copier: &mut Copier<'_>) -> Result<()> {
    reader.read_all(|batch| {
        copier.copy(&batch)?;
        Ok(batch)
    })
}

/// Reads in this thread and writes in another one, if the system lets it have one.
fn side_by_side(mut reader: Reader<'_>, copier: &mut Copier<'_>) -> Result<()> {
    let handover = Handover::default();
    let (giving, taking) = (handover.end(), handover.end());
    let writes = &mut *copier;
    let done = thread::scope(|scope| {
        let copying = spawn_scoped(scope, move || {
            let mut used = None;
            while let Some(batch) = taking.take(used.take()) {
                writes.copy(&batch)?;
                used = Some(batch);
            }
            Ok(())
        });
        let copying = copying.ok()?;
        // If nobody takes it any more, whoever did says why.
        let read = reader.read_all(|batch| giving.give(batch).ok_or(Error::Closed));
        drop(giving);
        match copying.join() {
            Ok(copied) => Some(copied.and(read)),
            Err(panicked) => std::panic::resume_unwind(panicked),
        }
    });
    done.unwrap_or_else(|| one_by_one(reader, copier))
}

/// The contents of the inputs that can be compacted. The others are left alone from then on.
fn read_inputs(state: &State, inputs: &[SegmentId]) -> Result<Vec<(SegmentId, Contents)>> {
    let manifest = state.manifest.get();
    let mut held = Vec::new();
    for id in inputs {
        // What was damaged is written over since, or is found once more.
        state.compaction.findings.lock().damaged.remove(id);
        let entry = manifest.segments.iter().find(|entry| entry.id() == *id);
        let Some(sealed) = entry.and_then(|entry| entry.sealed.as_ref()) else { continue };
        let why = match contents(state, *id, sealed) {
            Ok(contents) if contents.totals.internal == 0 => {
                held.push((*id, contents));
                continue;
            }
            Ok(_) => Trouble::damage("it holds records that this version does not know"),
            Err(error) => unreadable(error)?,
        };
        leave_alone(state, *id, why, None);
    }
    Ok(held)
}

/// Goes through the inputs in the order of keys, and reads what is needed of them.
struct Reader<'a> {
    state: &'a State,
    /// In order.
    inputs: &'a [SegmentId],
    merge: &'a Merge<'a>,
    tombstones: &'a Tombstones,
    batch: Batch,
    pace: Pace,
}

impl Reader<'_> {
    /// Has each batch copied by `copy`, which returns one to be used again.
    fn read_all(&mut self, mut copy: impl FnMut(Batch) -> Result<Batch>) -> Result<()> {
        for name in self.merge.kinds() {
            self.read_kind(name, &mut copy)?;
        }
        self.hand_on(&mut copy)
    }

    fn read_kind(
        &mut self,
        name: &str,
        copy: &mut impl FnMut(Batch) -> Result<Batch>,
    ) -> Result<()> {
        let kind = self.state.index.kind_or_create(name).clone();
        let mut entries = self.merge.kind(name);
        for tombstone in entries.prefixes().to_vec() {
            let place = place_of(&tombstone);
            if self.tombstones.has(place) && !planted(Bug::DropPrefixTombstones) {
                let location = Location { place, len: tombstone.fields.len };
                let revision = Some(tombstone.fields.revision);
                self.want(&kind, tombstone.prefix, (revision, location, true), copy)?;
            }
        }
        if !self.merge.may_delete(name) && self.is_walked(&kind, name) {
            return self.read_live(&kind, copy);
        }
        // What all lives in needs no look for each record.
        let lives = |(id, count): &(SegmentId, u64)| kind.live_in(*id) == *count;
        let live: Vec<SegmentId> =
            self.merge.counts(name).filter(lives).map(|(id, _)| id).collect();
        while let Some(entry) = entries.next() {
            let (location, revision) = (entry.location, entry.revision);
            let needed = match entry.delete {
                true => !entry.covered && self.tombstones.has(location.place),
                false => {
                    live.contains(&location.place.segment)
                        || kind.is_at(kind.hashed(entry.id), revision, location.place)
                }
            };
            if needed {
                self.want(&kind, entry.id, (Some(revision), location, entry.delete), copy)?;
            }
        }
        Ok(())
    }

    /// Whether to go through all ids of a kind costs less than to look each of the inputs' entries
    /// up, of which many may be dead.
    fn is_walked(&self, kind: &Kind, name: &str) -> bool {
        let entries: u64 = self.merge.counts(name).map(|(_, count)| count).sum();
        kind.count() <= WALK_SHARE * entries
    }

    /// Reads what is live of a kind that has nothing but puts in the inputs.
    fn read_live(
        &mut self,
        kind: &Arc<Kind>,
        copy: &mut impl FnMut(Batch) -> Result<Batch>,
    ) -> Result<()> {
        let inputs = self.inputs;
        let (mut walk, mut chunk) = (kind.within(inputs), Chunk::new());
        while walk.fill(&mut chunk) {
            for (id, location) in chunk.iter() {
                self.want(kind, id, (None, location, false), copy)?;
            }
        }
        Ok(())
    }

    /// Adds a record to those that are read next.
    fn want(
        &mut self,
        kind: &Arc<Kind>,
        id: &[u8],
        (revision, location, tombstone): (Option<u64>, Location, bool),
        copy: &mut impl FnMut(Batch) -> Result<Batch>,
    ) -> Result<()> {
        if !self.batch.is_empty() && self.batch.len() + location.len_bytes() > BATCH_LEN {
            self.hand_on(copy)?;
        }
        self.batch.push(kind, id, revision, location, tombstone);
        Ok(())
    }

    fn hand_on(&mut self, copy: &mut impl FnMut(Batch) -> Result<Batch>) -> Result<()> {
        let mut batch = std::mem::take(&mut self.batch);
        batch.read(&self.state.segments, |len| self.pace.go(self.state, len))?;
        batch = copy(batch)?;
        batch.clear();
        self.batch = batch;
        Ok(())
    }
}
