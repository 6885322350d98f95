//! Restoring: a new store out of a backup.
//!
//! It is a store of its own. It gets an id of its own, so that its backups and the original's never
//! mix, and its revisions go on well past all that the original can have given out.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use super::copy::Copy;
use crate::disk::{Disk, File};
use crate::engine::recover::random_id;
use crate::engine::salvage::{REVISION_JUMP, check_empty};
use crate::error::{Error, Result};
use crate::format::backup::BackedUp;
use crate::format::file::{HeaderError, MAX_HEADER_LEN};
use crate::format::manifest::Manifest;
use crate::format::names;
use crate::format::record::MAX_REVISION;
use crate::format::segment::{SegmentHeader, StoreId};
use crate::log::manifest::ManifestFile;
use crate::resource::Revision;
use crate::zoo::{Bug, planted};

const CHUNK_LEN: u64 = 1 << 20;

/// What [`Store::restore`](crate::Store::restore) made.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct RestoreReport {
    /// The newest commit in it.
    pub revision: Revision,
    /// How many segments it consists of.
    pub segments: u64,
    /// Their bytes, all of them read and written.
    pub bytes: u64,
    /// How long it took.
    pub elapsed: Duration,
}

/// Makes a store of a backup on another disk, which must be empty.
pub(crate) fn restore(from: &dyn Disk, to: &Arc<dyn Disk>) -> Result<RestoreReport> {
    let started = Instant::now();
    let backup = super::open(from)?;
    check_empty(&**to, "restore to")?;
    let given_out = backup.manifest().revision_ceiling.max(backup.revision);
    let ceiling = given_out + REVISION_JUMP;
    if ceiling > MAX_REVISION {
        return Err(Error::TooLarge { limit: MAX_REVISION, len: ceiling });
    }
    let store_id = match planted(Bug::RestoreKeepsId) {
        true => backup.manifest().store_id(),
        false => random_id(&**to)?,
    };
    let revision = Revision::from(backup.revision);
    let mut report = RestoreReport { revision, ..RestoreReport::default() };
    let mut made = Vec::new();
    let restored = backup.segments().try_for_each(|segment| {
        report.segments += 1;
        report.bytes += segment.sealed.length;
        let name = names::segment(segment.entry.id());
        let copy = Copy::create(&**to, &name)?;
        made.push(name);
        restore_segment(from, &segment, &backup.manifest().store_id(), &store_id, copy)
    });
    let restored = restored.and_then(|()| {
        to.sync_dir().map_err(|e| Error::io("sync", to.path(), e))?;
        // Last: a segment without a manifest is never taken for a store.
        let manifest = Manifest {
            store_id: store_id.to_vec(),
            revision_ceiling: ceiling,
            ..backup.manifest().clone()
        };
        made.extend([names::MANIFEST_NEW.to_owned(), names::MANIFEST.to_owned()]);
        ManifestFile::new(to.clone(), manifest).update(|_| {})
    });
    if let Err(error) = restored {
        // In reverse: segments without a manifest can't be taken for a store, a manifest might be.
        made.iter().rev().for_each(|name| drop(to.remove(name)));
        return Err(error);
    }
    report.elapsed = started.elapsed();
    Ok(report)
}

/// Copies one segment, if it is what was backed up, and gives its header the new store's id.
fn restore_segment(
    from: &dyn Disk,
    segment: &BackedUp<'_>,
    old: &StoreId,
    new: &StoreId,
    mut copy: Copy,
) -> Result<()> {
    let name = segment.name();
    let path = from.path().join(&name);
    let file = open_file(from, &name)?;
    let len = segment.sealed.length;
    let mut hash = Sha256::new();
    let mut at = 0;
    let mut chunk = Vec::new();
    while at < len {
        chunk.resize((len - at).min(CHUNK_LEN) as usize, 0);
        file.read_exact_at(&mut chunk, at).map_err(|e| Error::io("read", &path, e))?;
        hash.update(&chunk);
        if at == 0 {
            let (header, first) = header(from, segment, &chunk, old)?;
            SegmentHeader { store_id: *new, ..header }.replace_in(&mut chunk[..first as usize]);
        }
        copy.append(&chunk)?;
        at += chunk.len() as u64;
    }
    if hash.finalize()[..] != segment.file.sha256[..] {
        return Err(Error::corrupt(&path, 0, "these are not the bytes that were backed up"));
    }
    copy.finish()
}

/// Opens a file that a backup consists of.
pub(super) fn open_file(from: &dyn Disk, name: &str) -> Result<Arc<dyn File>> {
    let path = from.path().join(name);
    match from.open_read_only(name) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            Err(Error::MissingSegment { file: path })
        }
        opened => opened.map_err(|e| Error::io("open", path, e)),
    }
}

/// The header of a segment in a backup, if it is the right one's, and where its frames begin.
/// `bytes` begin with it.
pub(super) fn header(
    from: &dyn Disk,
    segment: &BackedUp<'_>,
    bytes: &[u8],
    store_id: &StoreId,
) -> Result<(SegmentHeader, u64)> {
    let path = || from.path().join(segment.name());
    let entry = segment.entry;
    let named = SegmentHeader {
        store_id: *store_id,
        salt: entry.salt,
        base: entry.base,
        capacity: entry.capacity,
        id: entry.id(),
    };
    match SegmentHeader::decode(&bytes[..bytes.len().min(MAX_HEADER_LEN)]) {
        Ok((header, first)) if header == named && first <= segment.sealed.length => {
            Ok((header, first))
        }
        Ok(_) => Err(Error::corrupt(path(), 0, "this is not the segment that was backed up")),
        Err(HeaderError::Unknown(found)) => Err(Error::Version { file: path(), found }),
        Err(HeaderError::Damaged(reason)) => Err(Error::corrupt(path(), 0, reason)),
    }
}
