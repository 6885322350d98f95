//! One run: a few segments in, what is live of them out.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::contents;
use super::copy::{self, Output, Sound};
use super::publish::{publish, retire};
use super::tombstones::{Tombstones, place_of};
use crate::error::{Error, Result};
use crate::event::event;
use crate::format::contents::Contents;
use crate::format::location::{Location, SegmentId};
use crate::index::Kind;
use crate::log::merge::Merge;
use crate::state::State;
use crate::state::compaction::{Damaged, LiveRecord, Needed};
use crate::sync::atomic::Ordering;
use crate::sync::thread;
use crate::zoo::{Bug, planted};

/// How much is copied between two looks at what else goes on.
const STEP_LEN: u64 = 1 << 20;
/// The longest rest between two of them.
const MAX_REST: Duration = Duration::from_millis(50);

/// A run under way.
struct Run<'a> {
    state: &'a State,
    inputs: &'a [SegmentId],
    tombstones: Tombstones,
    /// Inputs with a tombstone that is needed, and damaged.
    kept: BTreeSet<SegmentId>,
    output: Option<Output<'a>>,
    /// Rests as long as it works, so that commits and reads keep half of the machine.
    gentle: bool,
    step: u64,
    step_began: Instant,
    commits: u64,
}

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
    let commits = state.counters.commits.load(Ordering::Relaxed);
    let mut run = Run {
        state,
        inputs: &inputs,
        tombstones,
        kept: BTreeSet::new(),
        output: None,
        gentle,
        step: 0,
        step_began: Instant::now(),
        commits,
    };
    for name in merge.kinds() {
        run.kind(&merge, name)?;
    }
    run.finish_output()?;
    let reclaimed = retire(state, &held, &run.kept)?;
    let counters = &state.compaction.counters;
    counters.runs.fetch_add(1, Ordering::Relaxed);
    counters.reclaimed_bytes.fetch_add(reclaimed, Ordering::Relaxed);
    event!(debug, "compacted {} segments of {reclaimed} bytes", inputs.len());
    Ok(())
}

/// The contents of the inputs that can be compacted. The others are left alone from then on.
fn read_inputs(state: &State, inputs: &[SegmentId]) -> Result<Vec<(SegmentId, Contents)>> {
    let manifest = state.manifest.get();
    let mut held = Vec::new();
    for id in inputs {
        let entry = manifest.segments.iter().find(|entry| entry.id() == *id);
        let Some(sealed) = entry.and_then(|entry| entry.sealed.as_ref()) else { continue };
        let why = match contents(state, *id, sealed) {
            Ok(contents) if contents.totals.internal == 0 => {
                held.push((*id, contents));
                continue;
            }
            Ok(_) => "it holds records that this version does not know".to_owned(),
            Err(Error::Corrupt { reason, .. }) => reason,
            Err(error) => return Err(error),
        };
        leave_alone(state, *id, why, None);
    }
    Ok(held)
}

fn leave_alone(state: &State, id: SegmentId, reason: String, live: Option<LiveRecord>) {
    event!(error, "segment {} can't be compacted: {reason}", id.0);
    state.compaction.findings.lock().damaged.insert(id, Damaged { reason, live });
}

impl<'a> Run<'a> {
    fn kind(&mut self, merge: &Merge<'_>, name: &str) -> Result<()> {
        let kind = self.state.index.kind_or_create(name).clone();
        let mut entries = merge.kind(name);
        for tombstone in entries.prefixes().to_vec() {
            let place = place_of(&tombstone);
            if self.tombstones.has(place) && !planted(Bug::DropPrefixTombstones) {
                let location = Location { place, len: tombstone.fields.len };
                let key = (name, tombstone.prefix);
                self.tombstone(location, key, tombstone.fields.revision)?;
            }
        }
        while let Some(entry) = entries.next() {
            let (location, key, revision) = (entry.location, (name, entry.id), entry.revision);
            if entry.delete {
                if !entry.covered && self.tombstones.has(location.place) {
                    self.tombstone(location, key, revision)?;
                }
            } else if kind.is_at(kind.hashed(entry.id), revision, location.place)
                && let Some(record) = self.read(location, key, revision, Some(&kind))?
            {
                self.output(location.len_bytes())?.put(&kind, location, &record)?;
                self.pace(location.len_bytes())?;
            }
        }
        Ok(())
    }

    fn tombstone(&mut self, location: Location, key: (&str, &[u8]), revision: u64) -> Result<()> {
        let Some(record) = self.read(location, key, revision, None)? else {
            // Nothing lives there, but its hint still says what was deleted.
            self.kept.insert(location.place.segment);
            return Ok(());
        };
        self.output(location.len_bytes())?.tombstone(&record)?;
        self.pace(location.len_bytes())
    }

    /// Reads a record that is needed: a put that is live, if its kind is told, or a tombstone. If
    /// it is damaged its segment stays, and so does the damage, for whoever reads it to be told.
    fn read(
        &mut self,
        location: Location,
        key: (&str, &[u8]),
        revision: u64,
        live: Option<&Arc<Kind>>,
    ) -> Result<Option<Sound>> {
        let place = location.place;
        let segment = self.state.segments.find(place.segment)?;
        match copy::read(&segment, location, key, revision)? {
            Ok(record) => Ok(Some(record)),
            Err(reason) => {
                let reason = format!("at byte {}, {reason}", place.offset_bytes());
                let record = |kind: &Arc<Kind>| LiveRecord {
                    kind: kind.clone(),
                    id: key.1.into(),
                    revision,
                    place,
                };
                leave_alone(self.state, segment.id, reason, live.map(record));
                Ok(None)
            }
        }
    }

    /// The segment that the next record, of `len` bytes, goes to.
    fn output(&mut self, len: u64) -> Result<&mut Output<'a>> {
        if self.output.as_ref().is_some_and(|output| !output.has_room(len)) {
            self.finish_output()?;
        }
        let output = match self.output.take() {
            Some(output) => output,
            None => Output::create(self.state, len)?,
        };
        Ok(self.output.insert(output))
    }

    fn finish_output(&mut self) -> Result<()> {
        let Some(output) = self.output.take() else { return Ok(()) };
        let copy = output.finish()?;
        let (id, bytes) = (copy.segment.id, copy.tombstone_bytes);
        let counters = &self.state.compaction.counters;
        counters.copied_bytes.fetch_add(copy.sealed.length, Ordering::Relaxed);
        publish(self.state, self.inputs, copy)?;
        if bytes > 0 {
            let needed = Needed { bytes, by: self.tombstones.by.clone() };
            self.state.compaction.findings.lock().needed.insert(id, needed);
        }
        Ok(())
    }

    /// Gives way to whoever closes the store; and, now and then, to everybody.
    fn pace(&mut self, len: u64) -> Result<()> {
        self.step += len;
        if self.step < STEP_LEN {
            return Ok(());
        }
        self.step = 0;
        let compaction = &self.state.compaction;
        if compaction.signals.stop.load(Ordering::Acquire) {
            return Err(Error::Closed);
        }
        let commits = self.state.counters.commits.load(Ordering::Relaxed);
        let alone = std::mem::replace(&mut self.commits, commits) == commits;
        super::worker::note_behind(self.state);
        if self.gentle && !alone && !compaction.behind.load(Ordering::Relaxed) {
            thread::sleep(self.step_began.elapsed().min(MAX_REST));
        }
        self.step_began = Instant::now();
        Ok(())
    }
}
