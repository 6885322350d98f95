//! Reading one record after another at places that the index gives, as scans do.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use super::read;
use crate::disk::native::prefetch;
use crate::error::Result;
use crate::format::location::{Location, SegmentId};
use crate::index::{Chunk, Kind};
use crate::log::segment::Segment;
use crate::resource::{Resource, Text};
use crate::state::State;
use crate::zoo::{Bug, planted};

/// How many records are fetched ahead.
const AHEAD: usize = 8;
/// So much of a record is fetched. Of a longer one the processor sees itself what comes next.
const MAX_FETCHED: usize = 1 << 10;

/// Reads records, and keeps the segments that they lie in: no lock for a record, and one count for
/// its data.
///
/// Records that follow each other in the order of ids may lie all over the log, and each would then
/// cost a wait for memory. So the processor is told ahead which ones come next.
#[derive(Default)]
pub(super) struct Records {
    /// In the order of segments.
    sources: Vec<Source>,
    /// The one that was used last.
    last: usize,
    /// Entries of the chunk before this one are fetched.
    fetched: usize,
    /// The kind's name, as resources have it.
    kind: Option<Text>,
}

struct Source {
    id: SegmentId,
    segment: Arc<Segment>,
    /// What was final of the file when it was met; empty without a mapping.
    window: Bytes,
}

/// Names the segments, and not what they hold: values.
impl fmt::Debug for Records {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let segments = self.sources.iter().map(|source| source.id);
        f.debug_struct("Records").field("segments", &segments.collect::<Vec<_>>()).finish()
    }
}

impl Source {
    /// The bytes of a record in the window. The others are read from the segment.
    #[inline]
    fn windowed(&self, location: Location) -> Option<&[u8]> {
        let start = location.place.offset_bytes() as usize;
        self.window.get(start..start + location.len_bytes() as usize)
    }
}

impl Records {
    /// Which of the sources is the segment.
    #[inline(always)]
    fn source(&mut self, state: &State, id: SegmentId) -> Result<usize> {
        match self.sources.get(self.last) {
            Some(source) if source.id == id => Ok(self.last),
            _ => self.turn_to(state, id),
        }
    }

    fn turn_to(&mut self, state: &State, id: SegmentId) -> Result<usize> {
        // Nearly always all segments from the first on are there.
        let likely = self.sources.first().map(|first| id.0.wrapping_sub(first.id.0) as usize);
        let likely = likely.filter(|at| self.sources.get(*at).is_some_and(|s| s.id == id));
        let search = || self.sources.binary_search_by_key(&id, |source| source.id);
        self.last = match likely.map_or_else(search, Ok) {
            Ok(at) => at,
            Err(at) => {
                let (segment, window) = state.segments.source(id)?;
                self.sources.insert(at, Source { id, segment, window });
                at
            }
        };
        Ok(self.last)
    }

    /// Has the processor fetch records of a chunk ahead of the one at `at`.
    #[inline]
    pub(super) fn look_ahead(&mut self, state: &State, chunk: &Chunk, at: usize) {
        if at == 0 {
            self.fetched = 0;
        }
        let until = chunk.len().min(at + AHEAD);
        for next in self.fetched..until {
            let location = chunk.location(next);
            // What can't be found is an error where it is read.
            let Ok(source) = self.source(state, location.place.segment) else { continue };
            if let Some(bytes) = self.sources[source].windowed(location) {
                prefetch(&bytes[..bytes.len().min(MAX_FETCHED)]);
            }
        }
        self.fetched = until;
    }

    /// The resource at a location that the index has for a key.
    #[inline(always)]
    pub(super) fn read(
        &mut self,
        state: &State,
        kind: &Kind,
        id: &str,
        location: Location,
    ) -> Result<Resource> {
        let (place, offset) = (location.place, location.place.offset_bytes());
        let source = self.source(state, place.segment)?;
        let source = &self.sources[source];
        let position = source.segment.position(offset);
        let read;
        let (bytes, buffer, start) = match source.windowed(location) {
            Some(bytes) => (bytes, &source.window, offset as usize),
            None => {
                read = source.segment.frame(offset)?;
                (&read[..], &read, 0)
            }
        };
        let header = read::named(state, kind, id.as_bytes(), place, position, bytes)?;
        if !planted(Bug::ScanUnchecked) {
            read::check(state, kind, id.as_bytes(), place, &header, bytes)?;
        }
        let [_, i, v] = header.layout.ranges();
        let shared = || buffer.slice(start + i.start..start + i.end);
        let id = Text::new(id, &bytes[i.start..], shared);
        let data = buffer.slice(start + v.start..start + v.end);
        let kind = self.kind.get_or_insert_with(|| Text::from(kind.name())).clone();
        Ok(read::assemble(kind, id, data, &header))
    }
}
