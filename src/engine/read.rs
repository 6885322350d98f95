//! Point reads: hash table, record, key; the ordered index where those three disagree.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use crate::error::{Error, Result};
use crate::format::location::{Location, Place};
use crate::format::record::{FrameType, Header};
use crate::index::{Earlier, Kind};
use crate::log::segment::Segment;
use crate::resource::{Resource, Revision, Text};
use crate::state::State;
use crate::sync::atomic::{Ordering, fence};
use crate::zoo::{Bug, planted};

/// How often a read is tried beside commits of several changes before it holds them up.
const TRIES: usize = 3;

/// A record that was found under a key. The body's checksum is not checked yet.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) place: Place,
    pub(crate) header: Header,
    pub(crate) bytes: Bytes,
}

impl Found {
    /// The record's place and length.
    pub(crate) fn location(&self) -> Location {
        Location::new(self.place.segment, self.place.offset_bytes(), self.header.frame_len())
    }
}

/// The newest visible resource of a key.
pub(crate) fn get(state: &State, kind: &str, id: &str) -> Result<Option<Resource>> {
    let id = id.as_bytes();
    let Some(kind) = state.index.kind(kind) else { return Ok(None) };
    // The record itself never changes: its checksum is not part of what may have to be done again.
    let found = consistent(state, || find(state, &kind, id))?;
    match found.map(|found| resource(state, &kind, id, found)).transpose() {
        Err(Error::Corrupt { .. }) if planted(Bug::DamageIsAbsence) => Ok(None),
        read => read,
    }
}

/// Whether a key is there. Reads its record's header, not its value.
pub(crate) fn contains(state: &State, kind: &str, id: &str) -> Result<bool> {
    let Some(kind) = state.index.kind(kind) else { return Ok(false) };
    Ok(consistent(state, || find_sound(state, &kind, id.as_bytes()))?.is_some())
}

/// The resource of a key as it was at a revision that a view holds.
pub(crate) fn get_at(
    state: &State,
    kind: &str,
    id: &str,
    revision: u64,
) -> Result<Option<Resource>> {
    let Some(kind_index) = state.index.kind(kind) else { return Ok(None) };
    // The table first, then the history: a writer saves what was before it changes the table.
    let now = find(state, &kind_index, id.as_bytes());
    let found = match kind_index.earlier(id.as_bytes(), revision) {
        Earlier::Unchanged => now?,
        Earlier::Was(None) => None,
        Earlier::Was(Some(location)) => Some(at(state, &kind_index, id.as_bytes(), location)?),
    };
    found.map(|found| resource(state, &kind_index, id.as_bytes(), found)).transpose()
}

/// Runs a read so that it sees all of a commit of several changes, or nothing of it: again if one
/// came in between, and if that happens too often, with such commits held up.
pub(crate) fn consistent<T>(state: &State, mut read: impl FnMut() -> Result<T>) -> Result<T> {
    if planted(Bug::HalfBatchVisible) {
        return read();
    }
    for _ in 0..TRIES {
        let before = state.applying.load(Ordering::Acquire);
        if before.is_multiple_of(2) {
            let result = read();
            fence(Ordering::Acquire);
            if state.applying.load(Ordering::Acquire) == before {
                return result;
            }
        }
        drop(state.apply.lock());
    }
    let _held_up = state.apply.lock();
    read()
}

/// The newest record of a key in the index.
pub(crate) fn find(state: &State, kind: &Kind, id: &[u8]) -> Result<Option<Found>> {
    let mut lookup = kind.lookup(kind.hash(id));
    let mut passed = false;
    while let Some(place) = lookup.candidate() {
        match examine(state, kind, id, place)? {
            Some(found) if !lookup.covered(id, found.header.revision) => return Ok(Some(found)),
            _ => passed = true,
        }
    }
    if !passed {
        return Ok(None);
    }
    // Slots that were passed over may have moved meanwhile: the ordered side decides.
    let mut location = kind.find_ordered(id);
    loop {
        let Some(here) = location else { return Ok(None) };
        match at(state, kind, id, here) {
            Err(Error::MissingSegment { file }) => {
                // Compaction has moved the record on, or it is gone.
                location = kind.find_ordered(id);
                if location == Some(here) {
                    return Err(Error::MissingSegment { file });
                }
            }
            found => return found.map(Some),
        }
    }
}

/// The same, with the header's checksum checked: for whoever goes by its revision or its length
/// without a look at the record's own.
pub(crate) fn find_sound(state: &State, kind: &Kind, id: &[u8]) -> Result<Option<Found>> {
    loop {
        let Some(found) = find(state, kind, id)? else { return Ok(None) };
        // Without its segment, the record has been moved on since.
        let Some(segment) = state.segments.get(found.place.segment) else { continue };
        let position = segment.position(found.place.offset_bytes());
        return match found.header.check(&found.bytes, segment.salt, position) {
            Ok(()) => Ok(Some(found)),
            Err(bad) => Err(damaged(state, kind, id, found.place, &bad.to_string())),
        };
    }
}

/// Whether the record at `place` is the key's. A record that is damaged, where the ordered side
/// says that the key is, is an error.
fn examine(state: &State, kind: &Kind, id: &[u8], place: Place) -> Result<Option<Found>> {
    let damage = match state.segments.get(place.segment) {
        None => "its segment is missing".to_owned(),
        Some(segment) => {
            let bytes = segment.frame(place.offset_bytes())?;
            match decode(&segment, place, &bytes) {
                Ok(header) => {
                    let [k, i, _] = header.ranges();
                    if bytes[k] == *kind.name().as_bytes() && bytes[i] == *id {
                        return Ok(Some(Found { place, header, bytes }));
                    }
                    match header.check_body(&bytes) {
                        Ok(()) => return Ok(None),
                        Err(bad) => bad.to_string(),
                    }
                }
                Err(reason) => reason,
            }
        }
    };
    match kind.find_ordered(id) {
        Some(location) if location.place == place => Err(damaged(state, kind, id, place, &damage)),
        _ => Ok(None),
    }
}

/// The record at a location that the index gives for a key.
pub(crate) fn at(state: &State, kind: &Kind, id: &[u8], location: Location) -> Result<Found> {
    at_cached(state, kind, id, location, &mut None)
}

/// The same for one record after the other: `last` keeps the segment between calls.
pub(crate) fn at_cached(
    state: &State,
    kind: &Kind,
    id: &[u8],
    location: Location,
    last: &mut Option<Arc<Segment>>,
) -> Result<Found> {
    let place = location.place;
    let segment = match last {
        Some(segment) if segment.id == place.segment => segment,
        _ => last.insert(state.segments.find(place.segment)?),
    };
    let bytes = segment.frame(place.offset_bytes())?;
    let header = decode(segment, place, &bytes).map_err(|e| damaged(state, kind, id, place, &e))?;
    let [k, i, _] = header.ranges();
    if bytes[k] != *kind.name().as_bytes() || bytes[i] != *id {
        return Err(damaged(state, kind, id, place, "another key's record is in its place"));
    }
    Ok(Found { place, header, bytes })
}

/// Decodes the header of a put whose whole frame is in `bytes`.
pub(crate) fn decode(segment: &Segment, place: Place, bytes: &[u8]) -> Result<Header, String> {
    let position = segment.position(place.offset_bytes());
    let header = Header::decode(bytes, position).map_err(|bad| bad.to_string())?;
    if header.frame_len() > bytes.len() as u64 || header.frame_type != FrameType::Put {
        return Err("no resource's frame is in its place".to_owned());
    }
    Ok(header)
}

/// Checks a record as the options ask, and hands it out without a copy.
pub(crate) fn resource(state: &State, kind: &Kind, id: &[u8], found: Found) -> Result<Resource> {
    let Found { place, header, bytes } = found;
    if state.options.verify_reads && !planted(Bug::ValueUnchecked) {
        header
            .check_body(&bytes)
            .map_err(|bad| damaged(state, kind, id, place, &bad.to_string()))?;
    }
    let [k, i, v] = header.ranges();
    match (Text::new(bytes.slice(k)), Text::new(bytes.slice(i))) {
        (Some(kind_text), Some(id_text)) => Ok(Resource {
            kind: kind_text,
            id: id_text,
            data: bytes.slice(v),
            updated_at: time_from_micros(header.time),
            revision: Revision::from(header.revision),
        }),
        _ => Err(damaged(state, kind, id, place, "its key is not UTF-8")),
    }
}

/// The error that names a damaged record by its key and its place.
pub(crate) fn damaged(state: &State, kind: &Kind, id: &[u8], place: Place, reason: &str) -> Error {
    let file = state.segments.path(place.segment);
    let (kind, id) = (kind.name(), String::from_utf8_lossy(id));
    Error::corrupt(file, place.offset_bytes(), format!("{kind}/{id}: {reason}"))
}

/// A record's time as the standard library has it. What it can't express becomes 1970.
pub(crate) fn time_from_micros(micros: i64) -> SystemTime {
    let distance = Duration::from_micros(micros.unsigned_abs());
    let time = match micros >= 0 {
        true => SystemTime::UNIX_EPOCH.checked_add(distance),
        false => SystemTime::UNIX_EPOCH.checked_sub(distance),
    };
    time.unwrap_or(SystemTime::UNIX_EPOCH)
}

/// The clock, in microseconds since 1970.
pub(crate) fn now_micros() -> i64 {
    match SystemTime::now().duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => after.as_micros() as i64,
        Err(before) => -(before.duration().as_micros() as i64),
    }
}
