//! Copying what is sound of a damaged store into a new one.
//!
//! Each record is copied as it is, with its revision, its time and its checksum. The new store has
//! an id of its own, and its revisions go on well past all that the old one can have given out.

use std::sync::Arc;

use super::examine::{Damage, Examination, Sound, Source, examine};
use super::{close, recover, roll};
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::format::location::Location;
use crate::format::record::{self, FramePlace, Header};
use crate::key;
use crate::options::Options;
use crate::state::State;
use crate::sync::atomic::Ordering;

/// How far the revisions of a store jump that is made of another one.
pub(super) const REVISION_JUMP: u64 = 1 << 32;
const FLUSH_LEN: u64 = 1 << 20;

/// What [`Store::salvage`](crate::Store::salvage) copied, and what it could not.
#[derive(Debug)]
#[non_exhaustive]
pub struct SalvageReport {
    /// Resources in the new store.
    pub saved: u64,
    /// What was not sound: exactly this is lost, and what deletes in it had deleted may be back.
    pub damages: Vec<Damage>,
}

/// Reads what there is to save of a store that nobody writes.
pub(crate) fn prepare(from: &Arc<dyn Disk>) -> Result<Examination> {
    recover::check_unlocked(&**from)?;
    let seen = examine(from)?;
    match seen.manifest.is_none() && seen.sources.is_empty() {
        true => Err(recover::no_store(&**from)),
        false => Ok(seen),
    }
}

/// Copies it into a new store on another disk, which must be empty.
pub(crate) fn salvage(seen: Examination, to: Arc<dyn Disk>) -> Result<SalvageReport> {
    check_empty(&*to, "salvage to")?;
    let (state, _) = recover::open(to, Options::new())?;
    let mut gone_bad = Vec::new();
    let copied = copy(&seen, &state, &mut gone_bad);
    let closed = close::close(&state);
    let saved = copied?;
    closed?;
    let mut damages = seen.damages;
    damages.append(&mut gone_bad);
    Ok(SalvageReport { saved, damages })
}

/// Refuses a directory that holds files.
pub(crate) fn check_empty(to: &dyn Disk, op: &'static str) -> Result<()> {
    let files = to.list().map_err(|e| Error::io("list", to.path(), e))?;
    if files.is_empty() {
        return Ok(());
    }
    let source = std::io::Error::new(std::io::ErrorKind::AlreadyExists, "it is not empty");
    Err(Error::io(op, to.path(), source))
}

/// Copies what is live. What was sound when it was looked at, and no longer is, goes to `gone_bad`.
fn copy(seen: &Examination, state: &State, gone_bad: &mut Vec<Damage>) -> Result<u64> {
    let mut saved = 0;
    for ((kind, id), sound) in &seen.newest {
        if !seen.is_live(kind, id, sound) {
            continue;
        }
        let (Ok(kind), Ok(id)) = (std::str::from_utf8(kind), std::str::from_utf8(id)) else {
            continue;
        };
        if key::check_key(kind, id).is_err() {
            continue;
        }
        match read(&seen.sources[sound.source], sound) {
            Ok((header, bytes)) => append(state, kind, id, &header, &bytes)?,
            // A medium that fails fails more and more.
            Err(Error::Corrupt { reason, .. }) => {
                gone_bad.push(seen.gone_bad(kind, id, sound, &reason));
                continue;
            }
            Err(error) => return Err(error),
        }
        saved += 1;
    }
    let mut order = state.lock_order()?;
    order.revision = seen.revision.max(order.revision) + REVISION_JUMP;
    state.visible.store(order.revision, Ordering::Release);
    roll::raise_ceiling(state, &mut order)?;
    Ok(saved)
}

/// Reads a record again, which was found sound before.
fn read(source: &Source, sound: &Sound) -> Result<(Header, bytes::Bytes)> {
    match source {
        Source::File(segment) => {
            let bytes = segment.frame(sound.offset)?;
            let position = segment.position(sound.offset);
            let header = record::decode(&bytes, segment.salt, position).map_err(|bad| {
                Error::corrupt(&segment.path, sound.offset, format!("changed while read: {bad}"))
            })?;
            Ok((header, bytes))
        }
        Source::Tail { bytes, segment, start } => {
            let at = sound.offset as usize;
            let bytes = bytes.slice(at..at + sound.len as usize);
            let position = segment.position(start + sound.offset);
            let header = Header::decode(&bytes, position).map_err(|bad| {
                Error::corrupt(&segment.path, start + sound.offset, bad.to_string())
            })?;
            Ok((header, bytes))
        }
    }
}

fn append(state: &State, kind: &str, id: &str, header: &Header, bytes: &[u8]) -> Result<()> {
    let mut order = state.lock_order()?;
    let len = header.frame_len() + record::MAX_HEADER_LEN as u64;
    roll::make_room(state, &mut order, len, false)?;
    let place = FramePlace { watermark: None, left: 0, start: true, sync: false };
    let active = order.active();
    let (offset, len) = active.copy(&place, header, bytes);
    let location = Location::new(active.segment.id, offset, len);
    if active.unwritten() >= FLUSH_LEN {
        active.flush()?;
    }
    order.commit_end = order.active().position();
    order.revision = order.revision.max(header.revision);
    let kind = state.index.kind_or_create(kind);
    let snapshots = state.index.snapshots();
    kind.put(kind.hashed(id.as_bytes()), location, None, header.revision, header.time, snapshots);
    Ok(())
}
