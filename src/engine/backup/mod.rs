//! Backup: the store at one moment, in a directory of its own, while it is used.
//!
//! Sealed segments never change, nor do the durable bytes of those that are written. So a backup is
//! a moment under the order lock, in which it is noted how long each segment is, and then, without
//! any lock, the files: sealed ones shared with the store where the file system can, all others
//! copied. On a second backup into the same directory those that it has are left as they are.
//!
//! Left out: the tail file, whose bytes are part of the segments here, and hints, which are made
//! anew.

mod copy;
mod moment;
pub(crate) mod restore;
mod target;
pub(crate) mod verify;

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use self::copy::Copy;
use self::moment::{Moment, Piece};
use self::target::Target;
use crate::disk::Disk;
use crate::engine::read::now_micros;
use crate::error::{Error, Result};
use crate::event::event;
use crate::format::backup::{BackedUp, Backup, BackupFile};
use crate::format::manifest::{Manifest, SegmentEntry};
use crate::format::names;
use crate::log::whole;
use crate::resource::Revision;
use crate::state::State;

/// What [`Store::backup`](crate::Store::backup) did.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct BackupReport {
    /// The newest commit in the backup. It holds all up to it, and none behind.
    pub revision: Revision,
    /// How many segments it consists of.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Of these, what was copied.
    pub copied_bytes: u64,
    /// What is shared with the store: it takes no room of its own for as long as the store has it.
    pub shared_bytes: u64,
    /// What the directory had from the backup before. It was not written again.
    pub kept_bytes: u64,
    /// How long it took.
    pub elapsed: Duration,
}

/// Backs an open store up to a directory.
pub(crate) fn backup(state: &State, to: &dyn Disk) -> Result<BackupReport> {
    let started = Instant::now();
    let target = Target::open(to, &state.manifest.get())?;
    let moment = Moment::take(state)?;
    if target.earlier.revision > moment.revision {
        let reason = format!(
            "it holds a backup up to revision {}, and the store is at {}: the histories parted, or \
             the store lost what the backup has; use another directory",
            target.earlier.revision, moment.revision
        );
        return Err(refused(to.path(), &reason));
    }
    target.settle()?;
    let mut work = Work { target: &target, made: Vec::new(), report: BackupReport::default() };
    let replaced = match work.fill(&moment) {
        Ok(backup) => target.replace(&backup).map(|()| backup),
        Err(error) => Err((false, error)),
    };
    let backup = match replaced {
        Ok(backup) => backup,
        Err((may_be_named, error)) => {
            if !may_be_named {
                // A full disk gets its room back. What stays is removed by the next attempt.
                work.made.iter().for_each(|name| drop(to.remove(name)));
            }
            return Err(error);
        }
    };
    let mut report = work.report;
    // What can't be removed is left for the next backup.
    target.strays(&backup).iter().flatten().for_each(|name| drop(to.remove(name)));
    report.revision = Revision::from(backup.revision);
    report.elapsed = started.elapsed();
    event!(
        info,
        "backed up {} to {}: revision {}, {} bytes copied, {} shared, {} kept, in {:?}",
        state.disk.path().display(),
        to.path().display(),
        report.revision,
        report.copied_bytes,
        report.shared_bytes,
        report.kept_bytes,
        report.elapsed
    );
    Ok(report)
}

/// A backup that is being made.
struct Work<'a> {
    target: &'a Target<'a>,
    /// The files that are new in the directory.
    made: Vec<String>,
    report: BackupReport,
}

impl Work<'_> {
    /// Sees to it that the directory has every piece.
    fn fill(&mut self, moment: &Moment) -> Result<Backup> {
        let (mut segments, mut files) = (Vec::new(), Vec::new());
        for piece in &moment.pieces {
            let (entry, file) = self.add(piece)?;
            segments.push(entry);
            files.push(file);
            self.report.segments += 1;
            self.report.bytes += piece.end;
        }
        let last = moment.pieces.last();
        let manifest = Manifest {
            watermark: last.map_or(0, |last| last.segment.position(last.end)),
            clean: true,
            tail: false,
            segments,
            ..moment.manifest.clone()
        };
        Ok(Backup {
            revision: files.iter().map(|file| file.last_revision).max().unwrap_or(0),
            manifest: Some(manifest),
            files,
            created_us: now_micros(),
            complete: true,
        })
    }

    fn add(&mut self, piece: &Piece) -> Result<(SegmentEntry, BackupFile)> {
        let (target, end) = (self.target, piece.end);
        let earlier = target.segment(piece.entry.salt);
        let same = earlier.filter(|earlier| earlier.sealed.length == end);
        let there = match &same {
            Some(same) => target.has(same)?,
            None => false,
        };
        let kept = same.filter(|same| there && is_sealed_as(piece, same));
        if let Some(kept) = kept {
            self.report.kept_bytes += end;
            return Ok((piece.entry.clone(), kept.file.clone()));
        }
        if there {
            // It can't have changed, unless somebody else's history continued the same segment.
            self.report.kept_bytes += end;
            return copy::read(piece, earlier, None);
        }
        let name = names::backup_segment(piece.entry.salt, end);
        let path = target.disk.path().join(&name);
        target.discard(&name)?;
        self.made.push(name.clone());
        let shared = piece.entry.sealed.is_some()
            && (target.disk.adopt(&name, &*piece.segment.file, end))
                .map_err(|e| Error::io("create", &path, e))?;
        if shared {
            self.report.shared_bytes += end;
            return copy::read(piece, earlier, None);
        }
        self.report.copied_bytes += end;
        copy::read(piece, earlier, Some(Copy::create(target.disk, &name)?))
    }
}

/// Whether a piece is a sealed segment, and the one that was backed up: then it need not be read.
fn is_sealed_as(piece: &Piece, earlier: &BackedUp<'_>) -> bool {
    piece.entry.sealed.as_ref().is_some_and(|sealed| sealed.digest == earlier.sealed.digest)
}

/// Reads what a finished backup consists of. Not while one is being made there: then files may go.
fn open(from: &dyn Disk) -> Result<Backup> {
    let path = from.path();
    let read = || match whole::read(from, names::BACKUP, Backup::decode_file)? {
        Some(backup) if backup.complete => Ok(backup),
        found => {
            let reason = match found {
                None => "there is no backup here",
                Some(_) => "no backup was ever finished here",
            };
            let source = io::Error::new(io::ErrorKind::NotFound, reason);
            Err(Error::io("open", path, source))
        }
    };
    read()?;
    match from.is_locked(names::LOCK) {
        // One may have been finished since it was read.
        Ok(false) => read(),
        Ok(true) => Err(Error::Locked { path: path.to_owned(), owner: None }),
        Err(e) => Err(Error::io("lock", path.join(names::LOCK), e)),
    }
}

/// The error for a directory that this store must not be backed up to.
fn refused(path: &Path, reason: &str) -> Error {
    Error::io("back up to", path, io::Error::new(io::ErrorKind::InvalidInput, reason))
}
