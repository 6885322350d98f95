//! What lives where: the figures that compaction plans by.

use super::ordered::Ordered;
use crate::format::location::{Location, SegmentId};

/// The widest span of segments that is counted in an array.
const MAX_TALLY: usize = 1 << 16;

/// What one kind has in one segment. Bytes are those of whole frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentUsage {
    pub(crate) segment: SegmentId,
    pub(crate) live_count: u64,
    pub(crate) live_bytes: u64,
    /// Live and dead, tombstones included.
    pub(crate) total_bytes: u64,
    /// No put in the segment is older, in µs since 1970; greater than `newest` if it has none.
    pub(crate) oldest: i64,
    /// No put in the segment is newer.
    pub(crate) newest: i64,
}

/// A kind's figures, by segment.
#[derive(Debug, Default)]
pub(super) struct Usage {
    rows: Vec<SegmentUsage>,
}

impl Usage {
    pub(super) fn rows(&self) -> &[SegmentUsage] {
        &self.rows
    }

    pub(super) fn size(&self) -> usize {
        self.rows.capacity() * size_of::<SegmentUsage>()
    }

    /// The row of a segment. The active segment is the last, and asked for most.
    fn row(&mut self, segment: SegmentId) -> &mut SegmentUsage {
        let at = match self.rows.last() {
            Some(last) if last.segment == segment => self.rows.len() - 1,
            _ => self.rows.binary_search_by_key(&segment, |row| row.segment).unwrap_or_else(|at| {
                let (oldest, newest) = (i64::MAX, i64::MIN);
                let row = SegmentUsage {
                    segment,
                    live_count: 0,
                    live_bytes: 0,
                    total_bytes: 0,
                    oldest,
                    newest,
                };
                self.rows.insert(at, row);
                at
            }),
        };
        &mut self.rows[at]
    }

    /// A record was put.
    pub(super) fn put(&mut self, location: Location, time_micros: i64) {
        let row = self.row(location.place.segment);
        row.live_count += 1;
        row.live_bytes += location.len_bytes();
        row.total_bytes += location.len_bytes();
        row.oldest = row.oldest.min(time_micros);
        row.newest = row.newest.max(time_micros);
    }

    /// How many live records a segment has.
    pub(super) fn live_in(&self, segment: SegmentId) -> u64 {
        let row = self.rows.binary_search_by_key(&segment, |row| row.segment);
        row.map_or(0, |at| self.rows[at].live_count)
    }

    /// A live record became dead.
    pub(super) fn bury(&mut self, location: Location) {
        let row = self.row(location.place.segment);
        row.live_count -= 1;
        row.live_bytes -= location.len_bytes();
    }

    /// All ids of an order that was just detached are gone.
    pub(super) fn bury_detached(&mut self, ordered: &Ordered) {
        // The leaves still have what waiting changes have buried already: first raise that.
        for (_, old) in ordered.waiting() {
            if let Some(old) = old {
                let row = self.row(old.place.segment);
                row.live_count += 1;
                row.live_bytes += old.len_bytes();
            }
        }
        ordered.waiting().filter_map(|(new, _)| new).for_each(|new| self.bury(new));
        self.bury_all(ordered.leaves().locations());
    }

    /// Many records did. Neighbours in key order may lie in any segment, so it counts by segment
    /// first.
    fn bury_all(&mut self, locations: impl Iterator<Item = Location>) {
        let (Some(first), Some(last)) = (self.rows.first(), self.rows.last()) else { return };
        let base = first.segment.0;
        let span = (last.segment.0 - base) as usize + 1;
        if span > MAX_TALLY {
            locations.for_each(|location| self.bury(location));
            return;
        }
        let mut tally = vec![(0, 0); span];
        locations.for_each(|location| {
            let (count, bytes) = &mut tally[(location.place.segment.0 - base) as usize];
            *count += 1;
            *bytes += location.len_bytes();
        });
        for row in &mut self.rows {
            let (count, bytes) = tally[(row.segment.0 - base) as usize];
            row.live_count -= count;
            row.live_bytes -= bytes;
        }
    }

    /// Everything became dead.
    pub(super) fn bury_everything(&mut self) {
        for row in &mut self.rows {
            (row.live_count, row.live_bytes) = (0, 0);
        }
    }

    /// A segment holds so many bytes of the kind, live and dead.
    pub(super) fn note_segment(
        &mut self,
        segment: SegmentId,
        total_bytes: u64,
        oldest: i64,
        newest: i64,
    ) {
        let row = self.row(segment);
        row.total_bytes += total_bytes;
        row.oldest = row.oldest.min(oldest);
        row.newest = row.newest.max(newest);
    }

    /// Of the bytes of a segment that was noted, these are a live record.
    pub(super) fn note_live(&mut self, location: Location) {
        let row = self.row(location.place.segment);
        row.live_count += 1;
        row.live_bytes += location.len_bytes();
    }

    /// Forgets a segment in which nothing lives.
    pub(super) fn forget(&mut self, segment: SegmentId) {
        debug_assert!(self.rows.iter().all(|row| row.segment != segment || row.live_count == 0));
        self.rows.retain(|row| row.segment != segment);
    }

    /// Bytes were written that nothing will ever point to.
    pub(super) fn note_dead(&mut self, segment: SegmentId, bytes: u64) {
        self.row(segment).total_bytes += bytes;
    }
}
