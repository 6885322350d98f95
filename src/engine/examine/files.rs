//! Which file holds which segment, whatever its name is; and the tail file.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::{Damage, Examination, Misnamed};
use crate::disk::{Disk, File};
use crate::engine::lenient::{Lenient, UNREADABLE, not_to_be_read};
use crate::error::{Error, Result};
use crate::format::file::MAX_HEADER_LEN;
use crate::format::location::SegmentId;
use crate::format::manifest::{Manifest, SegmentEntry};
use crate::format::names;
use crate::format::segment::{HEADER_LEN, SegmentHeader};
use crate::log::segment::Segment;
use crate::log::segments;
use crate::log::tail::TailCopy;

/// A file with a segment's name.
struct Candidate {
    id: SegmentId,
    path: PathBuf,
    file: Arc<Lenient>,
    len: u64,
    /// What it says that it is, and where its frames begin; `None` if that is damaged.
    own: Option<(SegmentHeader, u64)>,
}

/// Files with segments' names, and what kept others from being opened.
#[derive(Default)]
struct Candidates {
    files: Vec<Candidate>,
    refused: BTreeMap<SegmentId, String>,
}

impl Examination {
    pub(super) fn whole_file_lost(&mut self, disk: &Arc<dyn Disk>, name: &str, reason: &str) {
        let (file, reason) = (disk.path().join(name), reason.to_owned());
        self.damages.push(Damage { file, offset: 0, len: 0, reason, torn: false, lost: None });
    }

    /// The segments that belong to the store, and how far each is to be read.
    pub(super) fn open_segments(
        &mut self,
        disk: &Arc<dyn Disk>,
    ) -> Result<Vec<(Arc<Segment>, u64)>> {
        let manifest = self.manifest.clone();
        let candidates = candidates(disk, manifest.as_ref())?;
        let mut segments = Vec::new();
        let Some(manifest) = manifest else {
            for (id, reason) in &candidates.refused {
                self.whole_file_lost(disk, &names::segment(*id), reason);
            }
            for candidate in &candidates.files {
                match candidate.own {
                    Some((header, _)) => {
                        segments.push((self.segment(candidate, header)?, candidate.len));
                    }
                    None => self.header_lost(disk, candidate.id),
                }
            }
            return Ok(segments);
        };
        for entry in &manifest.segments {
            let header = segments::header_of(entry, manifest.store_id());
            let Some(candidate) = self.find(disk, &candidates, entry, &header) else { continue };
            let segment = self.segment(candidate, header)?;
            let (len, sealed) = (candidate.len, entry.sealed.as_ref().map(|sealed| sealed.length));
            if let Some(gone) = sealed.and_then(|sealed| sealed.checked_sub(len)).filter(|n| *n > 0)
            {
                let reason = "durable bytes are gone, and with them what they held".to_owned();
                let (file, offset, len) = (segment.path.clone(), len, gone);
                self.damages.push(Damage { file, offset, len, reason, torn: false, lost: None });
            }
            segments.push((segment, sealed.unwrap_or(len).min(len)));
        }
        Ok(segments)
    }

    /// The file that is read as a segment that the manifest names: the one that says that it is it,
    /// by preference with the right name; or else the one with the right name.
    fn find<'a>(
        &mut self,
        disk: &Arc<dyn Disk>,
        candidates: &'a Candidates,
        entry: &SegmentEntry,
        header: &SegmentHeader,
    ) -> Option<&'a Candidate> {
        let (id, name) = (entry.id(), names::segment(entry.id()));
        let is_it = |candidate: &&Candidate| candidate.own.is_some_and(|(own, _)| own == *header);
        let named = candidates.files.iter().find(|candidate| candidate.id == id);
        if let Some(candidate) = named.filter(is_it) {
            return Some(candidate);
        }
        if let Some(candidate) = candidates.files.iter().find(is_it) {
            self.misnamed.push(Misnamed { file: candidate.path.clone(), name });
            return Some(candidate);
        }
        let why = match named.map(|candidate| candidate.own) {
            Some(None) => {
                self.header_lost(disk, id);
                return named;
            }
            Some(Some((own, _))) => {
                let why = segments::not_named(&own, header);
                if (own.salt, own.base) == (header.salt, header.base) {
                    // Of its frames there may be some, nevertheless.
                    self.whole_file_lost(disk, &name, &why);
                    return named;
                }
                Some(why)
            }
            None => candidates.refused.get(&id).cloned(),
        };
        let what = match &entry.sealed {
            Some(sealed) => format!("{} records", sealed.records),
            None => "all that it held".to_owned(),
        };
        let why = why.map(|why| format!(": {why}")).unwrap_or_default();
        self.whole_file_lost(disk, &name, &format!("the segment is missing, with {what}{why}"));
        None
    }

    fn header_lost(&mut self, disk: &Arc<dyn Disk>, id: SegmentId) {
        self.whole_file_lost(disk, &names::segment(id), "the segment's header is damaged");
    }

    fn segment(&mut self, candidate: &Candidate, header: SegmentHeader) -> Result<Arc<Segment>> {
        let Candidate { path, file, len, own, .. } = candidate;
        self.files.push((path.clone(), file.clone()));
        let first = own.map_or(HEADER_LEN, |(_, first)| first);
        let segment = Segment::new(header, first, path.clone(), file.clone(), false)?;
        segment.set_written(*len);
        Ok(Arc::new(segment))
    }

    /// The tail file, if it counts: what of it can be read.
    pub(super) fn open_tail(&mut self, disk: &Arc<dyn Disk>) -> Result<Option<TailCopy>> {
        let Some(manifest) = self.manifest.as_ref().filter(|manifest| manifest.tail) else {
            return Ok(None);
        };
        let store_id = manifest.store_id();
        let path = disk.path().join(names::TAIL);
        let read = match disk.open_read_only(names::TAIL) {
            Ok(file) => {
                let file = Lenient::new(file);
                let read = TailCopy::read_file(&file, &path, &store_id);
                if file.failed_in(0..u64::MAX) {
                    self.whole_file_lost(disk, names::TAIL, UNREADABLE);
                    return Ok(read.ok());
                }
                read
            }
            Err(error) => Err(TailCopy::not_opened(path, error)),
        };
        match read {
            Ok(tail) => Ok(Some(tail)),
            Err(error) => {
                let reason = not_to_be_read(error)?;
                self.whole_file_lost(disk, names::TAIL, &reason);
                Ok(None)
            }
        }
    }
}

/// All files with segments' names. Those that no manifest names may be anything.
fn candidates(disk: &Arc<dyn Disk>, manifest: Option<&Manifest>) -> Result<Candidates> {
    let names = disk.list().map_err(|e| Error::io("list", disk.path(), e))?;
    let mut ids: Vec<_> = names.iter().filter_map(|name| names::parse_segment(name)).collect();
    // What is no file isn't listed, and is told of by opening it.
    let named = manifest.map(|manifest| manifest.segments.iter().map(SegmentEntry::id));
    ids.extend(named.into_iter().flatten());
    ids.sort_unstable();
    ids.dedup();
    let mut candidates = Candidates::default();
    for id in ids {
        let path = disk.path().join(names::segment(id));
        match candidate(disk, id, path.clone()) {
            Ok(candidate) => candidates.files.push(candidate),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => {
                let reason = not_to_be_read(Error::io("open", path, e))?;
                candidates.refused.insert(id, reason);
            }
        }
    }
    Ok(candidates)
}

fn candidate(disk: &Arc<dyn Disk>, id: SegmentId, path: PathBuf) -> std::io::Result<Candidate> {
    let file = Arc::new(Lenient::new(disk.open_read_only(&names::segment(id))?));
    let len = file.len()?;
    let mut bytes = vec![0; len.min(MAX_HEADER_LEN as u64) as usize];
    file.read_exact_at(&mut bytes, 0)?;
    let own = SegmentHeader::decode(&bytes).ok();
    Ok(Candidate { id, path, file, len, own })
}
