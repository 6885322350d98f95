//! What the segments hold, from their hints or by reading them; and the index, filled with it.
//!
//! A hint that is sound says what reading its segment would say, or it is not used. What the index
//! gets does not depend on which of the two it was, nor on the order of the segments: the revision
//! alone decides which record of a key is the newest, and what a tombstone covers.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::parallel;
use super::report::RecoveryReport;
use super::survey::Survey;
use crate::error::{Error, Result};
use crate::event::event;
use crate::format::contents::Contents;
use crate::format::location::SegmentId;
use crate::format::manifest::Sealed;
use crate::index::{Bulk, Index};
use crate::log::contents::Builder;
use crate::log::hint::{Check, Hint};
use crate::log::merge::Merge;
use crate::log::scan::Frame;
use crate::log::segment::Segment;
use crate::log::segments::Segments;
use crate::zoo::{Bug, planted};

/// Fewer records, or bytes, are dealt with sooner than threads are started.
const PARALLEL_RECORDS: u64 = 20_000;
const PARALLEL_BYTES: u64 = 1 << 20;

/// What a segment, or the part of it below some offset, holds.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) segment: Arc<Segment>,
    pub(super) contents: Contents,
    /// It is sealed and has no hint, or none that is good.
    pub(super) wants_hint: bool,
}

/// Loads sealed segments.
///
/// # Errors
/// `Corrupt` if one that is read, for want of a hint, is not what was sealed.
pub(super) fn sealed(
    segments: &Segments,
    wanted: &[(Arc<Segment>, &Sealed)],
    check: Check,
    report: &mut RecoveryReport,
) -> Result<Vec<Loaded>> {
    let bytes: u64 = wanted.iter().map(|(_, sealed)| sealed.length).sum();
    let load = |at: usize| {
        let (segment, sealed) = &wanted[at];
        let hint = segments.read_hint(segment, check, |totals| totals.is_of(sealed));
        if let Hint::Good(..) = hint {
            return Ok((hint, None));
        }
        let (contents, found) = Contents::read(segment, sealed.length)?;
        match found.digest == sealed.digest || planted(Bug::NoDigest) {
            true => Ok((hint, Some(contents))),
            false => {
                let reason = "this is not the segment that was sealed";
                Err(Error::corrupt(&segment.path, 0, reason))
            }
        }
    };
    let mut loaded = Vec::new();
    let done = parallel::map(wanted.len(), bytes > PARALLEL_BYTES, load);
    for ((segment, sealed), done) in wanted.iter().zip(done) {
        let (hint, read) = done?;
        let segment = segment.clone();
        report.note_hint(&segment, &hint);
        let wants_hint = read.is_some();
        let contents = match (hint, read) {
            (Hint::Good(contents, _), _) => contents,
            (_, Some(contents)) => {
                report.bytes_read += sealed.length;
                contents
            }
            (_, None) => continue,
        };
        loaded.push(Loaded { segment, contents, wants_hint });
    }
    Ok(loaded)
}

/// What the hint says of a segment that the store was closed in, whose frames end at `end`.
pub(super) fn closed(
    segments: &Segments,
    segment: &Arc<Segment>,
    end: u64,
    check: Check,
    report: &mut RecoveryReport,
) -> Result<Option<Loaded>> {
    let len = segment.file.len().map_err(|e| Error::io("read", &segment.path, e))?;
    let wanted = segment.first..=end.min(len);
    let hint = segments.read_hint(segment, check, |totals| wanted.contains(&totals.length));
    report.note_hint(segment, &hint);
    let Hint::Good(contents, _) = hint else { return Ok(None) };
    Ok(Some(Loaded { segment: segment.clone(), contents, wants_hint: false }))
}

impl RecoveryReport {
    fn note_hint(&mut self, segment: &Segment, hint: &Hint) {
        match hint {
            Hint::Good(_, len) => {
                self.hints_used += 1;
                self.bytes_read += len;
            }
            Hint::Missing => {}
            Hint::Bad(reason) => {
                self.hints_rejected += 1;
                event!(warn, "passed over the hint of {}: {reason}", segment.path.display());
            }
        }
    }
}

/// What was built of frames that end at `end`.
pub(super) fn finish(builder: Builder, end: u64) -> (Contents, Sealed) {
    builder.finish_with(end, |kinds, job| parallel::map(kinds, end > PARALLEL_BYTES, job))
}

/// What frames are that are read one by one, from several segments.
#[derive(Default)]
pub(super) struct Builders {
    builders: BTreeMap<SegmentId, Building>,
}

struct Building {
    segment: Arc<Segment>,
    end: u64,
    builder: Builder,
}

impl Builders {
    /// Goes on behind what was gathered of segments while the log's end was looked for.
    pub(super) fn resume(segments: &[Arc<Segment>], surveys: &mut [Survey]) -> Builders {
        let gathered = segments.iter().zip(surveys).filter_map(|(segment, survey)| {
            let end = survey.gathered.settled();
            let builder = survey.gathered.take_builder()?;
            Some((segment.id, Building { segment: segment.clone(), end, builder }))
        });
        Builders { builders: gathered.collect() }
    }

    /// Takes the next frame of a segment.
    pub(super) fn add(&mut self, segment: &Arc<Segment>, frame: &Frame<'_>) -> Result<()> {
        let building = self.builders.entry(segment.id).or_insert_with(|| Building {
            segment: segment.clone(),
            end: segment.first,
            builder: Builder::default(),
        });
        building.end = frame.end();
        building.builder.add(segment, frame)
    }

    /// What they are, and what the manifest would keep of each segment if it ended there.
    pub(super) fn finish(self) -> Vec<(Loaded, Sealed)> {
        let sum_up = |Building { segment, end, builder }| {
            let (contents, sealed) = finish(builder, end);
            (Loaded { segment, contents, wants_hint: false }, sealed)
        };
        self.builders.into_values().map(sum_up).collect()
    }
}

/// Fills the index, which is empty, with all that the segments hold.
///
/// # Errors
/// `Corrupt` if a hint that nobody has checked is malformed, its checksum notwithstanding.
pub(super) fn fill(index: &Index, loaded: &[Loaded]) -> Result<()> {
    let merge = Merge::new(loaded.iter().map(|one| (one.segment.id, &one.contents)).collect());
    let count = |name: &str| {
        let kinds = loaded.iter().filter_map(|one| one.contents.kind(name));
        kinds.map(|kind| kind.count).sum::<u64>()
    };
    let mut names: Vec<(u64, &str)> =
        merge.kinds().into_iter().map(|name| (count(name), name)).collect();
    // The largest first, so that no thread begins with it when the others are done.
    names.sort_by(|a, b| b.cmp(a));
    let all: u64 = names.iter().map(|(count, _)| count).sum();
    let filled = parallel::map(names.len(), all > PARALLEL_RECORDS, |at| {
        let (_, name) = names[at];
        let kind = index.kind_or_create(name);
        let mut bulk = Bulk::new(kind);
        for one in loaded {
            if let Some(kind) = one.contents.kind(name) {
                bulk.segment(one.segment.id, kind.total_bytes, kind.oldest, kind.newest);
            }
        }
        let mut entries = merge.kind(name);
        while let Some(entry) = entries.next() {
            if !entry.delete && !entry.covered {
                bulk.push(entry.id, entry.location);
            }
        }
        bulk.finish();
        entries.finish()
    });
    let malformed = filled.into_iter().find_map(std::result::Result::err);
    let segment = loaded.iter().find(|one| Some(one.segment.id) == malformed);
    segment.map_or(Ok(()), |Loaded { segment, .. }| {
        Err(Error::corrupt(segment.path.with_extension("hint"), 0, "its entries are malformed"))
    })
}
