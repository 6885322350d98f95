//! One segment on its way into a backup: read once, every checksum checked, and on that way hashed,
//! summed up and, where it can't be shared, copied.

use std::path::PathBuf;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::moment::Piece;
use super::refused;
use crate::disk::{Disk, File};
use crate::engine::survey::Commit;
use crate::error::{Error, Result};
use crate::format::backup::{BackedUp, BackupFile};
use crate::format::manifest::SegmentEntry;
use crate::format::record;
use crate::log::contents::Builder;
use crate::log::scan::{Frame, Scan};
use crate::zoo::{Bug, unless};

/// Copies are written in pieces of this size.
const WRITE_LEN: usize = 1 << 20;

/// A file of the backup while it is written.
pub(super) struct Copy {
    file: Arc<dyn File>,
    path: PathBuf,
    written: u64,
    waiting: Vec<u8>,
}

impl Copy {
    /// Makes the file.
    pub(super) fn create(disk: &dyn Disk, name: &str) -> Result<Copy> {
        let path = disk.path().join(name);
        let file = disk.create(name).map_err(|e| Error::io("create", &path, e))?;
        Ok(Copy { file, path, written: 0, waiting: Vec::new() })
    }

    /// Adds bytes at its end.
    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.waiting.extend_from_slice(bytes);
        if self.waiting.len() >= WRITE_LEN { self.flush() } else { Ok(()) }
    }

    /// Makes its bytes durable. Its name is not.
    pub(super) fn finish(mut self) -> Result<()> {
        self.flush()?;
        let synced = unless(Bug::BackupNotSynced, || self.file.sync());
        synced.map_err(|e| Error::io("sync", &self.path, e))
    }

    fn flush(&mut self) -> Result<()> {
        let written = self.file.write_all_at(&self.waiting, self.written);
        written.map_err(|e| Error::io("write", &self.path, e))?;
        self.written += self.waiting.len() as u64;
        self.waiting.clear();
        Ok(())
    }
}

/// Reads a piece, into `copy` if there is one, and says what the backup keeps of it. If `earlier`,
/// the same segment in an earlier backup, is no longer than the piece, the piece must begin with
/// it.
///
/// # Errors
/// `Corrupt` if it is not sound: damage is not carried into a backup. `Io` of kind `InvalidInput`
/// if the earlier backup has other bytes: then its store's history is another one.
pub(super) fn read(
    piece: &Piece,
    earlier: Option<BackedUp<'_>>,
    copy: Option<Copy>,
) -> Result<(SegmentEntry, BackupFile)> {
    let segment = &*piece.segment;
    let mut header = vec![0; segment.first as usize];
    let read = segment.file.read_exact_at(&mut header, 0);
    read.map_err(|e| Error::io("read", &segment.path, e))?;
    let mut reader = Reader {
        piece,
        earlier: earlier.filter(|earlier| earlier.sealed.length <= piece.end),
        copy,
        hash: Sha256::new(),
        digest: crc32fast::Hasher::new(),
        summary: piece.entry.sealed.is_none().then(Builder::default),
        commit: Commit::default(),
        last_revision: 0,
    };
    reader.take(segment.first, &header)?;
    let written = piece.end.min(segment.written());
    let mut scan = Scan::new(&*segment.file, segment.salt, segment.base, segment.first, written);
    while let Some(frame) = scan.next().map_err(|e| Error::io("read", &segment.path, e))? {
        match frame {
            Ok(frame) => reader.frame(&frame)?,
            Err(bad) => return Err(Error::corrupt(&segment.path, scan.offset(), bad.to_string())),
        }
    }
    // What a reader has from the tail file.
    for (start, bytes) in segment.pieces(written) {
        let mut at = 0;
        while at < bytes.len() && start + (at as u64) < piece.end {
            let offset = start + at as u64;
            let bytes = &bytes[at..];
            let header = record::decode(bytes, segment.salt, segment.position(offset))
                .map_err(|bad| Error::corrupt(&segment.path, offset, bad.to_string()))?;
            let bytes = &bytes[..header.frame_len() as usize];
            reader.frame(&Frame { offset, header, bytes })?;
            at += bytes.len();
        }
    }
    reader.finish()
}

struct Reader<'a> {
    piece: &'a Piece,
    /// Until it was compared.
    earlier: Option<BackedUp<'a>>,
    copy: Option<Copy>,
    hash: Sha256,
    digest: crc32fast::Hasher,
    /// Of a segment that is not sealed yet: in the backup it is.
    summary: Option<Builder>,
    commit: Commit,
    last_revision: u64,
}

impl Reader<'_> {
    fn frame(&mut self, frame: &Frame<'_>) -> Result<()> {
        // Compaction dissolves commits; what is still written has them whole.
        if self.piece.entry.sealed.is_none() && !self.commit.takes(&frame.header) {
            let reason = "a commit's frames do not follow each other";
            return Err(Error::corrupt(&self.piece.segment.path, frame.offset, reason));
        }
        self.digest.update(frame.checksums());
        if let Some(summary) = &mut self.summary {
            summary.add(&self.piece.segment, frame)?;
        }
        self.last_revision = self.last_revision.max(frame.header.revision);
        self.take(frame.end(), frame.bytes)
    }

    /// Takes the bytes that end at the offset `end`.
    fn take(&mut self, end: u64, bytes: &[u8]) -> Result<()> {
        self.hash.update(bytes);
        if let Some(earlier) = self.earlier.take_if(|earlier| earlier.sealed.length == end)
            && self.hash.clone().finalize()[..] != earlier.file.sha256[..]
        {
            return Err(self.diverged());
        }
        match &mut self.copy {
            Some(copy) => copy.append(bytes),
            None => Ok(()),
        }
    }

    fn finish(mut self) -> Result<(SegmentEntry, BackupFile)> {
        let segment = &self.piece.segment;
        if !self.commit.is_whole() {
            let reason = "a commit that is not whole is called durable";
            return Err(Error::corrupt(&segment.path, self.piece.end, reason));
        }
        if self.earlier.is_some() {
            return Err(self.diverged());
        }
        if let Some(copy) = self.copy.take() {
            copy.finish()?;
        }
        let mut entry = self.piece.entry.clone();
        if let Some(summary) = self.summary.take() {
            entry.sealed = Some(summary.finish(self.piece.end).1);
        }
        let digest = self.digest.clone().finalize();
        if entry.sealed.as_ref().is_none_or(|sealed| sealed.digest != digest) {
            let reason = "this is not the segment that was sealed";
            return Err(Error::corrupt(&segment.path, 0, reason));
        }
        let sha256 = self.hash.finalize().to_vec();
        Ok((entry, BackupFile { sha256, last_revision: self.last_revision }))
    }

    fn diverged(&self) -> Error {
        let reason = "the earlier backup in the directory has other bytes in this segment: the \
                      histories parted; use another directory";
        refused(&self.piece.segment.path, reason)
    }
}
