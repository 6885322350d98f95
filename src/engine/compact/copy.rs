//! Records of the inputs are copied, as they are, into a segment of their own.

use std::sync::Arc;

use crate::disk::File;
use crate::engine::roll;
use crate::error::{Error, Result};
use crate::format::contents::Contents;
use crate::format::location::{Location, UNIT};
use crate::format::manifest::Sealed;
use crate::format::names;
use crate::format::record::{self, FramePlace, Header};
use crate::format::segment::HEADER_LEN;
use crate::index::Kind;
use crate::log::active::{Active, TRAILER_LEN};
use crate::log::segment::Segment;
use crate::state::State;
use crate::zoo::{Bug, unless};

/// What is copied reaches the file in pieces of this size: a large page.
const FLUSH_LEN: u64 = 2 << 20;
/// And the disk: a sync of all at once would hold up those of commits.
const SYNC_LEN: u64 = 8 << 20;

/// Each copied frame is a commit of its own, and says nothing about the log.
const PLACE: FramePlace = FramePlace { watermark: None, left: 0, start: true, sync: false };

/// A segment that is being written by a run.
pub(super) struct Output<'a> {
    state: &'a State,
    active: Active,
    synced: u64,
    moves: Vec<Moves>,
    pub(super) tombstone_bytes: u64,
    finished: bool,
}

/// The puts of one kind that were copied, in the order of ids: where they were.
pub(super) struct Moves {
    pub(super) kind: Arc<Kind>,
    pub(super) from: Vec<Location>,
}

/// A segment that is written, synced and read back.
pub(super) struct Finished {
    pub(super) segment: Arc<Segment>,
    pub(super) sealed: Sealed,
    pub(super) contents: Contents,
    pub(super) moves: Vec<Moves>,
    pub(super) tombstone_bytes: u64,
}

/// A record that was read back and is sound.
pub(super) struct Sound {
    header: Header,
    bytes: Vec<u8>,
}

/// Reads a record of a key by `pread`, all of it checked; the reason if it is not what was written.
pub(super) fn read(
    segment: &Segment,
    location: Location,
    (kind, id): (&str, &[u8]),
    revision: u64,
) -> Result<Result<Sound, String>> {
    let offset = location.place.offset_bytes();
    let mut bytes = vec![0; location.len_bytes() as usize];
    let file: &dyn File = &*segment.file;
    file.read_exact_at(&mut bytes, offset).map_err(|e| Error::io("read", &segment.path, e))?;
    Ok(match record::decode(&bytes, segment.salt, segment.position(offset)) {
        Ok(header) => {
            let record = header.record(&bytes);
            let found = (record.kind, record.id, record.revision);
            match found == (kind.as_bytes(), id, revision) {
                true => Ok(Sound { header, bytes }),
                false => Err("another record is in its place".to_owned()),
            }
        }
        Err(bad) => Err(bad.to_string()),
    })
}

impl<'a> Output<'a> {
    /// Makes a segment for records of which the first has `len` bytes.
    pub(super) fn create(state: &'a State, len: u64) -> Result<Output<'a>> {
        let need = HEADER_LEN + len + TRAILER_LEN + UNIT;
        let capacity = state.options.segment_size.max(need).next_multiple_of(UNIT);
        let (id, base) = roll::take_number(state, capacity)?;
        let segment = state.segments.create(id, base, capacity)?;
        let first = segment.first;
        let active = Active::new(segment, first);
        let (moves, synced) = (Vec::new(), first);
        Ok(Output { state, active, synced, moves, tombstone_bytes: 0, finished: false })
    }

    /// Whether a record of `len` bytes fits.
    pub(super) fn has_room(&self, len: u64) -> bool {
        // A frame's place may grow, by less than its least length.
        self.active.has_room(len + UNIT)
    }

    /// Copies a put that lies at `from`.
    pub(super) fn put(&mut self, kind: &Arc<Kind>, from: Location, record: &Sound) -> Result<()> {
        self.append(record)?;
        match self.moves.last_mut() {
            Some(last) if Arc::ptr_eq(&last.kind, kind) => last.from.push(from),
            _ => self.moves.push(Moves { kind: kind.clone(), from: vec![from] }),
        }
        Ok(())
    }

    /// Copies a tombstone.
    pub(super) fn tombstone(&mut self, record: &Sound) -> Result<()> {
        self.tombstone_bytes += self.append(record)?;
        Ok(())
    }

    fn append(&mut self, record: &Sound) -> Result<u64> {
        self.active.reserve(record.header.frame_len() + UNIT)?;
        let (_, len) = self.active.copy(&PLACE, &record.header, &record.bytes);
        self.active.flush_units(FLUSH_LEN)?;
        let written = self.active.end() - self.active.unwritten();
        if written - self.synced >= SYNC_LEN {
            self.sync()?;
            self.synced = written;
        }
        Ok(len)
    }

    /// Makes it durable, name and all, and reads it back.
    pub(super) fn finish(mut self) -> Result<Finished> {
        self.active.flush()?;
        self.active.trim()?;
        self.sync()?;
        let disk = &self.state.disk;
        let named = unless(Bug::CopyNameNotSynced, || disk.sync_dir());
        named.map_err(|e| Error::io("sync", disk.path(), e))?;
        let segment = self.active.segment.clone();
        let (contents, mut sealed) = Contents::read(&segment, self.active.end())?;
        sealed.ordered = true;
        self.finished = true;
        let (moves, tombstone_bytes) = (std::mem::take(&mut self.moves), self.tombstone_bytes);
        Ok(Finished { segment, sealed, contents, moves, tombstone_bytes })
    }

    fn sync(&self) -> Result<()> {
        let segment = &self.active.segment;
        let synced = unless(Bug::CopyNotSynced, || segment.file.sync());
        synced.map_err(|e| Error::io("sync", &segment.path, e))
    }
}

impl Drop for Output<'_> {
    /// What was not finished is part of no store.
    fn drop(&mut self) {
        if !self.finished {
            let _ = self.state.disk.remove(&names::segment(self.active.segment.id));
        }
    }
}
