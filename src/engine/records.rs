//! Reading one record after another at places that the index gives, as scans do.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use super::read;
use crate::error::Result;
use crate::format::location::{Location, SegmentId};
use crate::index::{Chunk, Kind};
use crate::log::segment::Segment;
use crate::resource::{Resource, Text};
use crate::state::State;
use crate::zoo::{Bug, planted};

/// How many records are touched ahead, at first and at most: a scan may be over soon.
const FIRST_AHEAD: usize = 8;
const MAX_AHEAD: usize = 32;
/// So much of a record is touched. Of a longer one the processor sees itself what comes next.
const MAX_TOUCHED: usize = 16 * read::LINE_LEN;

/// Reads records, and keeps the segments that they lie in: no lock for a record, and one count for
/// its data.
///
/// Records that follow each other in the order of ids may lie all over the log, and each then costs
/// a wait for memory. So a few are touched ahead: the processor waits for all of them at once.
#[derive(Default)]
pub(super) struct Records {
    /// In the order of segments.
    sources: Vec<Source>,
    /// The one that was used last.
    last: usize,
    /// Entries of the chunk before this one are touched.
    touched: usize,
    ahead: usize,
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
    #[inline]
    fn source(&mut self, state: &State, id: SegmentId) -> Result<&Source> {
        if self.sources.get(self.last).is_none_or(|source| source.id != id) {
            self.last = match self.sources.binary_search_by_key(&id, |source| source.id) {
                Ok(at) => at,
                Err(at) => {
                    let segment = state.segments.find(id)?;
                    let window = segment.window();
                    self.sources.insert(at, Source { id, segment, window });
                    at
                }
            };
        }
        Ok(&self.sources[self.last])
    }

    /// Touches records of a chunk from `at` on, unless that is done.
    #[inline]
    pub(super) fn look_ahead(&mut self, state: &State, chunk: &Chunk, at: usize) {
        if at == 0 {
            self.touched = 0;
        }
        if at == self.touched {
            self.ahead = (2 * self.ahead).clamp(FIRST_AHEAD, MAX_AHEAD);
            self.touched = chunk.len().min(at + self.ahead);
            for next in at..self.touched {
                let location = chunk.location(next);
                // What can't be found is an error where it is read.
                let Ok(source) = self.source(state, location.place.segment) else { continue };
                if let Some(bytes) = source.windowed(location) {
                    read::touch(&bytes[..bytes.len().min(MAX_TOUCHED)]);
                }
            }
        }
    }

    /// The resource at a location that the index has for a key.
    pub(super) fn read(
        &mut self,
        state: &State,
        kind: &Kind,
        id: &str,
        location: Location,
    ) -> Result<Resource> {
        let kind_text = match &self.kind {
            Some(text) => text.clone(),
            None => self.kind.insert(Text::from(kind.name())).clone(),
        };
        let (place, offset) = (location.place, location.place.offset_bytes());
        let source = self.source(state, place.segment)?;
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
        let [_, i, v] = header.ranges();
        let id = Text::new(id, || buffer.slice(start + i.start..start + i.end));
        let data = buffer.slice(start + v.start..start + v.end);
        Ok(read::assemble(kind_text, id, data, &header))
    }
}
