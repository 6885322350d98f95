//! Every record against its checksums and the index, by `pread`, while the store is used.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::PathBuf;
use std::sync::Arc;

use super::lenient::Lenient;
use super::view::View;
use crate::error::{Error, Result};
use crate::format::location::{Location, Place, SegmentId};
use crate::format::manifest::Sealed;
use crate::format::record::{FrameType, Record};
use crate::index::{Chunk, Kind};
use crate::log::scan::Scan;
use crate::log::segment::Segment;
use crate::state::{Health, State};

/// What [`Store::verify`](crate::Store::verify) found.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct VerifyReport {
    /// Sound records: puts and deletes, live or not.
    pub records: u64,
    /// Resources that the index has, each of them found and read.
    pub live: u64,
    /// Bytes read.
    pub bytes: u64,
    /// What is wrong; empty in a sound store.
    pub problems: Vec<Problem>,
}

/// Something that is wrong with a store.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Problem {
    /// The damaged file.
    pub file: PathBuf,
    /// Where in it.
    pub offset: u64,
    /// The resource that is lost, where one is.
    pub key: Option<String>,
    /// What is wrong.
    pub reason: String,
}

impl VerifyReport {
    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.problems.is_empty()
    }
}

/// The resources that a view has in one segment: offset (in units), kind, hash of the id; sorted.
type Expected = Vec<(u32, u32, u64)>;

/// Reads all segments as far as they are written. Costs 16 bytes of memory per key.
pub(crate) fn verify(state: &Arc<State>) -> Result<VerifyReport> {
    let view = View::new(state.clone());
    if !state.options.read_only {
        match state.lock_order() {
            // What can't be written now is passed over, too; the next commit finds out.
            Ok(mut order) => {
                if order.active().flush().is_err() {
                    order.health = Health::Broken;
                }
            }
            // Nothing is written any more. What never was is passed over.
            Err(Error::Poisoned) => {}
            Err(error) => return Err(error),
        }
    }
    let kinds = state.index.kinds();
    let mut expected: BTreeMap<SegmentId, Expected> = BTreeMap::new();
    for (i, kind) in kinds.iter().enumerate() {
        each_entry(&view, kind, |id, location| {
            let entry = (location.place.offset, i as u32, kind.hash(id));
            expected.entry(location.place.segment).or_default().push(entry);
        });
    }
    let mut report = VerifyReport::default();
    // With those that compaction took away meanwhile: the view may see records in them.
    let mut segments = [state.segments.all(), state.segments.retired()].concat();
    segments.sort_by_key(|segment| segment.id);
    segments.dedup_by_key(|segment| segment.id);
    let manifest = state.manifest.get();
    for segment in segments {
        let entry = manifest.segments.iter().find(|entry| entry.id() == segment.id);
        let sealed = entry.and_then(|entry| entry.sealed.as_ref());
        let mut expected = expected.remove(&segment.id).unwrap_or_default();
        expected.sort_unstable();
        let lost = verify_segment(&segment, sealed, &kinds, expected, &mut report)?;
        name_lost(&view, &kinds, &segment, &lost, &mut report);
    }
    for (id, entries) in expected {
        let segment_path = state.segments.path(id);
        let reason = format!("{} resources lie in a segment that is not there", entries.len());
        report.problems.push(Problem { file: segment_path, offset: 0, key: None, reason });
    }
    Ok(report)
}

fn each_entry(view: &View, kind: &Kind, mut f: impl FnMut(&[u8], Location)) {
    kind.prepare_scan();
    let mut chunk = Chunk::new();
    let mut start = Bound::Unbounded;
    loop {
        let from = match &start {
            Bound::Unbounded => Bound::Unbounded,
            Bound::Included(id) | Bound::Excluded(id) => Bound::Excluded(Vec::as_slice(id)),
        };
        kind.fill(&mut chunk, view.revision, (from, Bound::Unbounded), false, 1024);
        chunk.iter().for_each(|(id, location)| f(id, location));
        match chunk.last_id() {
            Some(last) => start = Bound::Excluded(last.to_vec()),
            None => return,
        }
    }
}

/// Checks one segment, and returns which of the expected resources are not there as expected.
fn verify_segment(
    segment: &Segment,
    sealed: Option<&Sealed>,
    kinds: &[Arc<Kind>],
    expected: Expected,
    report: &mut VerifyReport,
) -> Result<Vec<u32>> {
    let failed = |e| Error::io("read", &segment.path, e);
    let (mut lost, mut expected) = (Vec::new(), expected.into_iter().peekable());
    let (mut digest, problems) = (crc32fast::Hasher::new(), report.problems.len());
    // What can't be read is a problem as any other, and behind it may be more.
    let (file, written) = (Lenient::new(segment.file.clone()), segment.written());
    let mut scan = Scan::new(&file, segment.salt, segment.base, segment.first, written);
    loop {
        match scan.next().map_err(failed)? {
            None => break,
            Some(Err(bad)) => {
                let offset = scan.offset();
                let found = scan.search(written).map_err(failed)?;
                let reason = file.why(offset..if found { scan.offset() } else { written }, &bad);
                let file = segment.path.clone();
                report.problems.push(Problem { file, offset, key: None, reason });
                if !found {
                    break;
                }
            }
            Some(Ok(frame)) => {
                // Behind its length may lie what recovery has copied to another segment.
                if sealed.is_none_or(|sealed| frame.end() <= sealed.length) {
                    digest.update(frame.checksums());
                }
                report.records += u64::from(frame.header.frame_type.is_record());
                report.bytes += frame.header.frame_len();
                let at = Place::new(segment.id, frame.offset).offset;
                while let Some((missed, ..)) = expected.next_if(|(offset, ..)| *offset < at) {
                    lost.push(missed);
                }
                if let Some((_, kind, hash)) = expected.next_if(|(offset, ..)| *offset == at) {
                    let record = frame.header.record(frame.bytes);
                    match is_key(&record, &kinds[kind as usize], hash) {
                        true => report.live += 1,
                        false => lost.push(at),
                    }
                }
            }
        }
    }
    // Opening it by its hint doesn't tell; two copies of a store have segments of the same name,
    // salt and length.
    let whole = report.problems.len() == problems;
    if whole && sealed.is_some_and(|sealed| sealed.digest != digest.finalize()) {
        report.problems.push(Problem {
            file: segment.path.clone(),
            offset: 0,
            key: None,
            reason: "this is not the segment that was sealed".to_owned(),
        });
    }
    // What lies in a reader's copy of the tail file is in no segment file yet, and was checked when
    // it was copied.
    let written = Place::new(segment.id, segment.written()).offset;
    for (offset, ..) in expected {
        if offset < written { lost.push(offset) } else { report.live += 1 }
    }
    Ok(lost)
}

fn is_key(record: &Record<'_>, kind: &Kind, hash: u64) -> bool {
    record.frame_type == FrameType::Put
        && record.kind == kind.name().as_bytes()
        && kind.hash(record.id) == hash
}

/// Finds the names of the resources that the index has at places where they are not.
fn name_lost(
    view: &View,
    kinds: &[Arc<Kind>],
    segment: &Segment,
    lost: &[u32],
    report: &mut VerifyReport,
) {
    if lost.is_empty() {
        return;
    }
    for kind in kinds {
        each_entry(view, kind, |id, location| {
            let Location { place, .. } = location;
            if place.segment == segment.id && lost.contains(&place.offset) {
                let key = format!("{}/{}", kind.name(), String::from_utf8_lossy(id));
                let reason = "the index has a resource here, and no sound record of it is";
                report.problems.push(Problem {
                    file: segment.path.clone(),
                    offset: place.offset_bytes(),
                    key: Some(key),
                    reason: reason.to_owned(),
                });
            }
        });
    }
}
