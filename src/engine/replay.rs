//! Records, read from the log one by one, become the index.
//!
//! The revision decides which version of a key is newest, never the order in which files are read:
//! compaction writes old records into new segments. So a tombstone is remembered for as long as
//! a segment that is read later may hold what it deletes.

use std::collections::HashMap;
use std::ops::Bound;

use super::read::{self, Found};
use crate::error::{Error, Result};
use crate::format::location::Location;
use crate::format::record::{FrameType, Header, Record};
use crate::index::{Chunk, Kind};
use crate::key;
use crate::state::{State, overlay_key};

/// Fills the index of a store that is being opened.
#[derive(Default)]
pub(crate) struct Replay {
    /// The highest revision seen.
    pub(crate) revision: u64,
    pub(crate) records: u64,
    /// The least revision of a put in any segment that is read later.
    pub(crate) oldest_to_come: u64,
    deleted: HashMap<Vec<u8>, u64>,
    deleted_prefixes: Vec<(String, Vec<u8>, u64)>,
}

impl Replay {
    /// Takes the next record, which lies at `location` and is sound. The store's own records are
    /// none of the index's.
    ///
    /// # Errors
    /// What is wrong with its key, for whoever knows the file: a sound checksum over a malformed
    /// key was not written by this store.
    pub(crate) fn record(
        &mut self,
        state: &State,
        header: &Header,
        bytes: &[u8],
        location: Location,
    ) -> Result<()> {
        let record = &header.record(bytes);
        let in_order = record.revision >= self.revision;
        self.revision = self.revision.max(record.revision);
        if !record.frame_type.is_record() || header.internal {
            return Ok(());
        }
        self.records += 1;
        let kind = utf8(record.kind)?;
        let id = utf8(record.id)?;
        key::check_kind(kind)?;
        key::check_prefix(id)?;
        let kind = state.index.kind_or_create(kind);
        match record.frame_type {
            FrameType::Put => self.put(state, &kind, record, location),
            FrameType::Delete => self.delete(state, &kind, record, location),
            FrameType::DeletePrefix => self.delete_prefix(state, &kind, record, location, in_order),
            FrameType::Watermark | FrameType::End => Ok(()),
        }
    }

    fn put(
        &mut self,
        state: &State,
        kind: &Kind,
        record: &Record<'_>,
        location: Location,
    ) -> Result<()> {
        let old = find(state, kind, record.id)?;
        let newer = old.as_ref().is_some_and(|(_, revision)| *revision > record.revision);
        if newer || self.is_deleted(kind, record) {
            kind.note_dead(location.place.segment, location.len_bytes());
            return Ok(());
        }
        let old = old.map(|(location, _)| location);
        let Record { id, revision, time, .. } = *record;
        kind.put(id, location, old, revision, time, state.index.snapshots());
        Ok(())
    }

    fn delete(
        &mut self,
        state: &State,
        kind: &Kind,
        record: &Record<'_>,
        location: Location,
    ) -> Result<()> {
        kind.note_dead(location.place.segment, location.len_bytes());
        if let Some((old, revision)) = find(state, kind, record.id)?
            && revision < record.revision
        {
            kind.delete(record.id, old, record.revision, state.index.snapshots());
        }
        if self.oldest_to_come < record.revision {
            let revision = self.deleted.entry(overlay_key(kind.name(), record.id)).or_default();
            *revision = record.revision.max(*revision);
        }
        Ok(())
    }

    fn delete_prefix(
        &mut self,
        state: &State,
        kind: &Kind,
        record: &Record<'_>,
        location: Location,
        in_order: bool,
    ) -> Result<()> {
        kind.note_dead(location.place.segment, location.len_bytes());
        if in_order {
            drop(kind.delete_prefix(record.id, record.revision, state.index.snapshots()));
            // At once: every lookup to come would hold its key against what is left of it.
            kind.clean(usize::MAX);
        } else {
            delete_older(state, kind, record)?;
        }
        if self.oldest_to_come < record.revision {
            let kind = kind.name().to_owned();
            self.deleted_prefixes.push((kind, record.id.to_vec(), record.revision));
        }
        Ok(())
    }

    fn is_deleted(&self, kind: &Kind, record: &Record<'_>) -> bool {
        if !self.deleted.is_empty()
            && let Some(revision) = self.deleted.get(&overlay_key(kind.name(), record.id))
            && *revision > record.revision
        {
            return true;
        }
        // At equal revision a prefix delete comes before the puts of its commit.
        self.deleted_prefixes.iter().any(|(name, prefix, revision)| {
            name == kind.name() && *revision > record.revision && record.id.starts_with(prefix)
        })
    }
}

/// A prefix delete that comes after records which are newer than itself spares them.
fn delete_older(state: &State, kind: &Kind, record: &Record<'_>) -> Result<()> {
    let snapshots = state.index.snapshots();
    snapshots.register(u64::MAX);
    kind.prepare_scan();
    let mut chunk = Chunk::new();
    let mut start = Bound::Included(record.id.to_vec());
    let mut older = Vec::new();
    loop {
        let from = start.as_ref().map(Vec::as_slice);
        kind.fill(&mut chunk, u64::MAX, (from, Bound::Unbounded), false, 1024);
        let covered = chunk.iter().take_while(|(id, _)| id.starts_with(record.id));
        let before = older.len();
        older.extend(covered.map(|(id, location)| (id.to_vec(), location)));
        match chunk.last_id() {
            Some(last) if older.len() - before == chunk.len() => {
                start = Bound::Excluded(last.to_vec());
            }
            _ => break,
        }
    }
    snapshots.release(u64::MAX);
    for (id, location) in older {
        let found = read::at(state, kind, &id, location)?;
        if found.header.revision < record.revision {
            kind.delete(&id, location, record.revision, snapshots);
        }
    }
    Ok(())
}

/// A key's place so far, and the revision of what lies there.
fn find(state: &State, kind: &Kind, id: &[u8]) -> Result<Option<(Location, u64)>> {
    let found = read::find(state, kind, id)?;
    Ok(found.map(|found: Found| (found.location(), found.header.revision)))
}

fn utf8(bytes: &[u8]) -> Result<&str> {
    std::str::from_utf8(bytes).map_err(|_| Error::InvalidKey { reason: "not UTF-8".to_owned() })
}
