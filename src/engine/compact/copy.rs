//! Records of the inputs are copied, as they are, into segments of their own.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::batch::{Batch, Record};
use super::pace::Pace;
use super::publish::publish;
use crate::engine::roll;
use crate::error::{Error, Result};
use crate::event::event;
use crate::format::contents::Contents;
use crate::format::location::{Location, SegmentId, UNIT};
use crate::format::manifest::Sealed;
use crate::format::names;
use crate::format::record::Header;
use crate::format::segment::HEADER_LEN;
use crate::index::Kind;
use crate::log::active::TRAILER_LEN;
use crate::log::aside::Aside;
use crate::log::segment::Segment;
use crate::state::State;
use crate::state::compaction::{Damaged, LiveRecord, Needed, Trouble};
use crate::sync::atomic::Ordering;
use crate::zoo::{Bug, unless};

/// What is written is synced in steps: all of it at once would hold up the syncs of commits.
const SYNC_LEN: u64 = 8 << 20;

/// Takes what a run copies, batch by batch, and publishes it, segment by segment.
pub(super) struct Copier<'a> {
    state: &'a State,
    inputs: &'a [SegmentId],
    /// The segments that tombstones are needed for.
    needed_by: &'a BTreeSet<SegmentId>,
    /// Inputs with a tombstone that is needed, and damaged.
    pub(super) kept: BTreeSet<SegmentId>,
    output: Option<Output<'a>>,
    pace: Pace,
}

/// A segment that is being written.
struct Output<'a> {
    state: &'a State,
    aside: Aside,
    synced: u64,
    moves: Vec<Moves>,
    tombstone_bytes: u64,
    /// Not there any more once it is whole.
    file: Unfinished<'a>,
}

/// The puts of one kind that were copied, in the order of ids: where they were.
pub(super) struct Moves {
    pub(super) kind: Arc<Kind>,
    pub(super) from: Vec<Location>,
}

/// A segment that is written and synced.
pub(super) struct Finished {
    pub(super) segment: Arc<Segment>,
    pub(super) sealed: Sealed,
    pub(super) contents: Contents,
    pub(super) moves: Vec<Moves>,
}

impl<'a> Copier<'a> {
    pub(super) fn new(
        state: &'a State,
        inputs: &'a [SegmentId],
        needed_by: &'a BTreeSet<SegmentId>,
        gentle: bool,
    ) -> Copier<'a> {
        let (kept, pace) = (BTreeSet::new(), Pace::new(state, gentle));
        Copier { state, inputs, needed_by, kept, output: None, pace }
    }

    /// Copies what was read, but for what is damaged: its segment stays, and so does the damage,
    /// for whoever reads it to be told.
    pub(super) fn copy(&mut self, batch: &Batch) -> Result<()> {
        for record in batch.records() {
            let len = record.location.len_bytes();
            match &record.found {
                Ok((header, frame)) => self.output(len)?.append(&record, header, frame)?,
                Err(trouble) => self.note_damage(&record, trouble),
            }
            self.pace.go(self.state, len)?;
        }
        Ok(())
    }

    fn note_damage(&mut self, record: &Record<'_>, trouble: &Trouble) {
        let Record { location: Location { place, .. }, revision, tombstone, .. } = *record;
        let Trouble { reason, unread } = trouble;
        let reason = format!("at byte {}, {reason}", place.offset_bytes());
        let trouble = Trouble { reason, unread: *unread };
        let live =
            || LiveRecord { kind: record.kind.clone(), id: record.id.into(), revision, place };
        let live = (!tombstone).then(live);
        leave_alone(self.state, place.segment, trouble, live);
        if tombstone {
            // Nothing lives there, but its hint still says what was deleted.
            self.kept.insert(place.segment);
        }
    }

    /// The segment that the next record, of `len` bytes, goes to.
    fn output(&mut self, len: u64) -> Result<&mut Output<'a>> {
        if self.output.as_ref().is_some_and(|output| !output.aside.has_room(len)) {
            self.finish()?;
        }
        let output = match self.output.take() {
            Some(output) => output,
            None => Output::create(self.state, len)?,
        };
        Ok(self.output.insert(output))
    }

    /// Publishes what was copied last.
    pub(super) fn finish(&mut self) -> Result<()> {
        let Some(output) = self.output.take() else { return Ok(()) };
        let bytes = output.tombstone_bytes;
        let copy = output.finish()?;
        let id = copy.segment.id;
        let counters = &self.state.compaction.counters;
        counters.copied_bytes.fetch_add(copy.sealed.length, Ordering::Relaxed);
        publish(self.state, self.inputs, copy)?;
        if bytes > 0 {
            let needed = Needed { bytes, by: self.needed_by.clone() };
            self.state.compaction.findings.lock().needed.insert(id, needed);
        }
        Ok(())
    }
}

/// Has a segment be left alone from now on.
pub(super) fn leave_alone(
    state: &State,
    id: SegmentId,
    trouble: Trouble,
    live: Option<LiveRecord>,
) {
    event!(error, "segment {} can't be compacted: {}", id.0, trouble.reason);
    let mut findings = state.compaction.findings.lock();
    // Of a segment's troubles the one that may pass, so that it is tried again.
    let known = findings.damaged.get(&id).is_some_and(|known| known.trouble.unread);
    if trouble.unread || !known {
        findings.damaged.insert(id, Damaged { trouble, live });
    }
}

impl<'a> Output<'a> {
    /// Makes a segment for records of which the first has `len` bytes.
    fn create(state: &'a State, len: u64) -> Result<Output<'a>> {
        let need = HEADER_LEN + len + TRAILER_LEN;
        let capacity = state.options.segment_size.max(need).next_multiple_of(UNIT);
        let (id, base) = roll::take_number(state, capacity)?;
        let segment = state.segments.create(id, base, capacity)?;
        let (file, synced) = (Unfinished { state, id: Some(id) }, segment.first);
        let (aside, moves) = (Aside::new(segment), Vec::new());
        Ok(Output { state, aside, synced, moves, tombstone_bytes: 0, file })
    }

    fn append(&mut self, record: &Record<'_>, header: &Header, frame: &[u8]) -> Result<()> {
        let len = self.aside.copy(header, frame)?;
        if record.tombstone {
            self.tombstone_bytes += len;
        } else {
            match self.moves.last_mut() {
                Some(last) if Arc::ptr_eq(&last.kind, record.kind) => {
                    last.from.push(record.location);
                }
                _ => {
                    let (kind, from) = (record.kind.clone(), vec![record.location]);
                    self.moves.push(Moves { kind, from });
                }
            }
        }
        let written = self.aside.written();
        if written - self.synced >= SYNC_LEN {
            sync(&self.aside.segment)?;
            self.synced = written;
        }
        Ok(())
    }

    /// Makes it durable, name and all.
    fn finish(mut self) -> Result<Finished> {
        let segment = self.aside.segment.clone();
        let (contents, mut sealed) = self.aside.finish()?;
        sealed.ordered = true;
        sync(&segment)?;
        let disk = &self.state.disk;
        let named = unless(Bug::CopyNameNotSynced, || disk.sync_dir());
        named.map_err(|e| Error::io("sync", disk.path(), e))?;
        self.file.id = None;
        Ok(Finished { segment, sealed, contents, moves: self.moves })
    }
}

fn sync(segment: &Segment) -> Result<()> {
    let synced = unless(Bug::CopyNotSynced, || segment.file.sync());
    synced.map_err(|e| Error::io("sync", &segment.path, e))
}

/// What was not finished is part of no store: its file goes when this is dropped.
struct Unfinished<'a> {
    state: &'a State,
    id: Option<SegmentId>,
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            let _ = self.state.disk.remove(&names::segment(id));
        }
    }
}
