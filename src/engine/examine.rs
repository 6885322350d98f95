//! Reading a store that may be damaged: everything that is sound, wherever it lies, and where the
//! rest is. Changes nothing, and believes nothing that has no checksum.

mod files;
mod lost;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

pub use self::lost::LostRecord;
use super::lenient::{Lenient, UNREADABLE, not_to_be_read};
use super::survey::Commit;
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::format::manifest::Manifest;
use crate::format::names;
use crate::format::record::{self, FrameType, Header};
use crate::log::manifest::ManifestFile;
use crate::log::scan::Scan;
use crate::log::segment::Segment;
use crate::log::tail::TailCopy;

/// A stretch of a file that holds no sound frame.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Damage {
    /// The file.
    pub file: PathBuf,
    /// Where the stretch begins.
    pub offset: u64,
    /// How long it is.
    pub len: u64,
    /// What is wrong.
    pub reason: String,
    /// Behind the durable end of the log: a write that was cut short, not the medium's fault.
    pub torn: bool,
    /// What the stretch begins with, where the header is sound and only the rest is not.
    pub lost: Option<LostRecord>,
}

/// A segment of the store whose file has the name of another one. It is as sound as if it had its
/// own, but the store does not open.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Misnamed {
    /// The file.
    pub file: PathBuf,
    /// The name that it should have.
    pub name: String,
}

/// Where a sound record lies.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sound {
    pub(super) source: usize,
    pub(super) offset: u64,
    pub(super) len: u64,
    pub(super) revision: u64,
    pub(super) frame_type: FrameType,
}

/// Bytes that frames were read from: a segment's file, or what of the tail file continues one.
pub(super) enum Source {
    File(Arc<Segment>),
    Tail {
        bytes: Bytes,
        segment: Arc<Segment>,
        /// The offset in the segment at which they belong.
        start: u64,
    },
}

/// Follows commits through the frames of one source.
#[derive(Default)]
struct Commits {
    commit: Commit,
    /// The records of the commit at hand.
    open: Vec<Candidate>,
}

/// All that is sound in a store.
#[derive(Default)]
pub(crate) struct Examination {
    pub(super) manifest: Option<Manifest>,
    pub(super) sources: Vec<Source>,
    /// The segments' files.
    files: Vec<(PathBuf, Arc<Lenient>)>,
    /// The newest sound record of each key, by kind and id.
    pub(super) newest: BTreeMap<(Vec<u8>, Vec<u8>), Sound>,
    /// Kind, prefix and revision of each delete by prefix.
    pub(super) prefixes: Vec<(Vec<u8>, Vec<u8>, u64)>,
    pub(super) damages: Vec<Damage>,
    pub(super) misnamed: Vec<Misnamed>,
    pub(super) records: u64,
    pub(super) revision: u64,
    /// The highest watermark in any sound frame and in the manifest.
    watermark: u64,
    /// Where the frames of each unsealed segment end that the log does not leave for another.
    ends: Vec<(Arc<Segment>, u64)>,
    /// Sound frames of commits that are not whole, until it is known whether they ever were.
    partial: Vec<Candidate>,
}

/// A sound record, before it is known whether it counts.
struct Candidate {
    kind: Vec<u8>,
    id: Vec<u8>,
    sound: Sound,
    position: u64,
}

/// Reads a store's directory.
///
/// # Errors
/// `Version` if a newer kindlog wrote it; `Io`.
pub(super) fn examine(disk: &Arc<dyn Disk>) -> Result<Examination> {
    let mut seen = Examination::default();
    match ManifestFile::read(&**disk) {
        Ok(Some(manifest)) => seen.manifest = Some(manifest),
        Ok(None) => seen.whole_file_lost(disk, names::MANIFEST, "the manifest is missing"),
        Err(Error::Corrupt { reason, .. }) => {
            seen.whole_file_lost(disk, names::MANIFEST, &reason);
        }
        Err(error) => {
            let reason = not_to_be_read(error)?;
            seen.whole_file_lost(disk, names::MANIFEST, &reason);
        }
    }
    seen.watermark = seen.manifest.as_ref().map_or(0, |manifest| manifest.watermark);
    let mut segments = seen.open_segments(disk)?;
    segments.sort_by_key(|(segment, _)| segment.base);
    let tail = seen.open_tail(disk)?;
    for (segment, end) in segments {
        seen.read_segment(&segment, end)?;
        if let Some(tail) = &tail {
            seen.read_tail(tail, &segment);
        }
    }
    seen.settle_partial();
    seen.find_missing();
    let Examination { manifest, damages, sources, files, watermark, .. } = &mut seen;
    let is_sealed = |id| {
        let mut entries = manifest.iter().flat_map(|manifest| &manifest.segments);
        entries.any(|entry| entry.id() == id && entry.sealed.is_some())
    };
    for damage in damages {
        let open = sources.iter().find_map(|source| match source {
            // What compaction wrote lies beside the log, and may lie above its watermark.
            Source::File(segment) if segment.path == damage.file => {
                Some(segment).filter(|segment| !is_sealed(segment.id))
            }
            _ => None,
        });
        damage.torn &= open.is_some_and(|s| s.position(damage.offset) >= *watermark);
        let range = damage.offset..damage.offset + damage.len.max(1);
        let is_unread = |(path, file): &(PathBuf, Arc<Lenient>)| {
            *path == damage.file && file.failed_in(range.clone())
        };
        if files.iter().any(is_unread) {
            damage.torn = false;
            UNREADABLE.clone_into(&mut damage.reason);
        }
    }
    seen.name_lost(disk);
    Ok(seen)
}

impl Examination {
    fn read_segment(&mut self, segment: &Arc<Segment>, end: u64) -> Result<()> {
        let failed = |e| Error::io("read", &segment.path, e);
        let source = self.sources.len();
        self.sources.push(Source::File(segment.clone()));
        let mut scan =
            Scan::new(&*segment.file, segment.salt, segment.base, segment.first.min(end), end);
        let mut commits = Commits::default();
        let mut ended = false;
        loop {
            while let Some(Ok(frame)) = scan.next().map_err(failed)? {
                ended = frame.header.frame_type == FrameType::End;
                let position = segment.position(frame.offset);
                self.take(&mut commits, source, frame.offset, position, &frame.header, frame.bytes);
            }
            self.partial.append(&mut commits.open);
            let offset = scan.offset();
            // Behind the last frame there may be room that was never written.
            let rest = if offset >= end { 0 } else { scan.rest().map_err(failed)? };
            if rest == 0 {
                if !ended {
                    self.ends.push((segment.clone(), offset));
                }
                return Ok(());
            }
            let (lost, reason) = match scan.peek().map_err(failed)? {
                Ok(header) => {
                    (lost::record(segment, offset, &header), "a record is damaged".to_owned())
                }
                Err(bad) => (None, bad.to_string()),
            };
            let found = scan.search(end).map_err(failed)?;
            let len = if found { scan.offset() - offset } else { rest };
            let file = segment.path.clone();
            self.damages.push(Damage { file, offset, len, reason, torn: true, lost });
            if !found {
                self.ends.push((segment.clone(), offset + len));
                return Ok(());
            }
        }
    }

    /// Takes what of the tail file continues a segment.
    fn read_tail(&mut self, tail: &TailCopy, segment: &Arc<Segment>) {
        let own = self.newest_end(segment);
        let bytes = Bytes::from(tail.following(segment.salt, segment.position(own)));
        let source = self.sources.len();
        let (mut at, mut commits) = (0, Commits::default());
        while at < bytes.len() {
            let position = segment.position(own + at as u64);
            let Ok(header) = record::decode(&bytes[at..], segment.salt, position) else { break };
            self.take(&mut commits, source, at as u64, position, &header, &bytes[at..]);
            at += header.frame_len() as usize;
        }
        self.partial.append(&mut commits.open);
        for (_, end) in self.ends.iter_mut().filter(|(of, _)| of.id == segment.id) {
            *end = (*end).max(own + at as u64);
        }
        self.sources.push(Source::Tail { bytes, segment: segment.clone(), start: own });
    }

    /// Where the first damage of a segment begins, or its written end.
    fn newest_end(&self, segment: &Segment) -> u64 {
        let damaged =
            self.damages.iter().filter(|damage| damage.file == segment.path && damage.len > 0);
        let first = damaged.map(|damage| damage.offset).min();
        let len = segment.written();
        let mut scan = Scan::new(
            &*segment.file,
            segment.salt,
            segment.base,
            segment.first.min(len),
            first.unwrap_or(len),
        );
        while let Ok(Some(Ok(_))) = scan.next() {}
        scan.offset()
    }

    /// Takes a sound frame. Its record counts once its commit is whole.
    fn take(
        &mut self,
        commits: &mut Commits,
        source: usize,
        offset: u64,
        position: u64,
        header: &Header,
        bytes: &[u8],
    ) {
        self.watermark = self.watermark.max(header.place.watermark.unwrap_or(0));
        self.revision = self.revision.max(header.revision);
        if !commits.commit.takes(header) {
            self.partial.append(&mut commits.open);
            commits.commit = Commit::resume(header);
        }
        if header.frame_type.is_record() && !header.internal {
            let record = header.record(bytes);
            let (kind, id) = (record.kind.to_vec(), record.id.to_vec());
            let (len, revision) = (header.frame_len(), header.revision);
            let sound = Sound { source, offset, len, revision, frame_type: header.frame_type };
            commits.open.push(Candidate { kind, id, sound, position });
        }
        if commits.commit.is_whole() {
            commits.open.drain(..).for_each(|candidate| self.count(candidate));
        }
    }

    fn count(&mut self, candidate: Candidate) {
        let Candidate { kind, id, sound, .. } = candidate;
        self.records += 1;
        if sound.frame_type == FrameType::DeletePrefix {
            self.prefixes.push((kind, id, sound.revision));
            return;
        }
        let newest = self.newest.entry((kind, id)).or_insert(sound);
        if newest.revision <= sound.revision {
            *newest = sound;
        }
    }

    /// What is left of a commit counts if the commit was durable once: then it is damaged. Above
    /// the watermark it was never whole, and never acknowledged as durable: none of it counts.
    fn settle_partial(&mut self) {
        for candidate in std::mem::take(&mut self.partial) {
            if candidate.position < self.watermark {
                self.count(candidate);
            }
        }
    }

    /// Whether a record is what its key holds: a resource that no delete covers.
    pub(super) fn is_live(&self, kind: &[u8], id: &[u8], sound: &Sound) -> bool {
        let covers = |(k, prefix, revision): &(Vec<u8>, Vec<u8>, u64)| {
            k == kind && id.starts_with(prefix) && *revision > sound.revision
        };
        sound.frame_type == FrameType::Put && !self.prefixes.iter().any(covers)
    }

    /// Durable bytes that no file has any more: a segment that ends, without damage, below the
    /// watermark was cut short. What they held can't be known.
    fn find_missing(&mut self) {
        // One that recovery closed, or that came of a backup, ends without an end frame.
        let sealed_len = |id| {
            let entries = &self.manifest.as_ref()?.segments;
            let entry = entries.iter().find(|entry| entry.id() == id)?;
            entry.sealed.as_ref().map(|sealed| sealed.length)
        };
        for (segment, end) in &self.ends {
            let watermark = self.watermark.saturating_sub(segment.base).min(segment.capacity);
            let durable = sealed_len(segment.id).unwrap_or(watermark);
            let known = self.damages.iter().filter(|damage| damage.file == segment.path);
            let known = known.map(|damage| damage.offset + damage.len).max().unwrap_or(0);
            let end = known.max(*end);
            if durable > end {
                let reason =
                    "bytes that were durable are gone, and with them what they held".to_owned();
                let (file, len) = (segment.path.clone(), durable - end);
                let damage = Damage { file, offset: end, len, reason, torn: false, lost: None };
                self.damages.push(damage);
            }
        }
    }
}
