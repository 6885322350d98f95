//! Point reads: hash table, record, key; the ordered index where those three disagree.

use std::time::{Duration, SystemTime};

use bytes::{Buf, Bytes};

use crate::disk::native::prefetch;
use crate::error::{Error, Result};
use crate::format::location::{Location, Place};
use crate::format::record::{self, FrameType, Header, Layout, Skimmed};
use crate::index::{Earlier, Hashed, Kind, Likely};
use crate::key::check_key;
use crate::log::segments::{Frame, Held};
use crate::resource::{Resource, Revision, Text};
use crate::state::State;
use crate::sync::atomic::{Ordering, fence};
use crate::zoo::{Bug, planted};

/// How often a read is tried beside commits of several changes before it holds them up.
const TRIES: usize = 3;

/// So much of a record is fetched before its length is known.
const FETCHED_LEN: usize = 320;
/// So much of one has its header and most keys.
pub(crate) const KEYED_LEN: usize = 128;

/// A record that was found under a key. The body's checksum is not checked yet.
pub(crate) struct Found {
    pub(crate) place: Place,
    pub(crate) header: Header,
    bytes: Bytes,
    position: u64,
    salt: u64,
}

impl Found {
    /// The record's place and length.
    pub(crate) fn location(&self) -> Location {
        Location::new(self.place.segment, self.place.offset_bytes(), self.header.frame_len())
    }
}

/// What a get answers: all of the resource, or its value alone.
trait Answer: Sized {
    /// Of the record that has this header, and begins at `at`.
    fn of_record(kind: &Kind, id: &str, header: &Skimmed, bytes: Bytes, at: usize) -> Self;
    fn of_resource(resource: Resource) -> Self;
}

impl Answer for Resource {
    #[inline(always)]
    fn of_record(kind: &Kind, id: &str, header: &Skimmed, bytes: Bytes, at: usize) -> Resource {
        let revision = Revision::from(header.revision);
        let updated_at = time_from_micros(header.time);
        let (kind, id, data) = parts(kind, id, &header.layout, bytes, at);
        Resource { kind, id, data, updated_at, revision }
    }

    fn of_resource(resource: Resource) -> Resource {
        resource
    }
}

impl Answer for Bytes {
    #[inline(always)]
    fn of_record(_: &Kind, _: &str, header: &Skimmed, bytes: Bytes, at: usize) -> Bytes {
        value(&header.layout, bytes, at)
    }

    fn of_resource(resource: Resource) -> Bytes {
        resource.data
    }
}

/// The newest visible resource of a key, which is checked where nothing has it: what is there has
/// one that is well formed.
#[inline(always)]
pub(crate) fn get(state: &State, kind: &str, id: &str) -> Result<Option<Resource>> {
    get_as(state, kind, id)
}

/// Its value alone.
#[inline(always)]
pub(crate) fn get_value(state: &State, kind: &str, id: &str) -> Result<Option<Bytes>> {
    get_as(state, kind, id)
}

#[inline(always)]
fn get_as<T: Answer>(state: &State, kind: &str, id: &str) -> Result<Option<T>> {
    let Some(index) = state.index.kind(kind) else { return absent(kind, id) };
    let before = state.applying.load(Ordering::Acquire);
    let begun = begin::<FETCHED_LEN>(state, index, index.hash(id.as_bytes()));
    fence(Ordering::Acquire);
    let between = !before.is_multiple_of(2) || state.applying.load(Ordering::Acquire) != before;
    let between = between && !planted(Bug::HalfBatchQuickly);
    match begun {
        Begun::At(_, Held { bytes, at, .. }) if !between => {
            if let Some((header, frame)) = likely_header(index, id.as_bytes(), &bytes, at)
                && (!state.options.verify_reads || header.layout.has_sound_body(frame))
            {
                return Ok(Some(T::of_record(index, id, &header, bytes, at)));
            }
        }
        Begun::Absent if !between => return absent(kind, id),
        _ => {}
    }
    Ok(get_thoroughly(state, index, id)?.map(T::of_resource))
}

/// The frame that begins at `at`, and its header, if it is the key's and has the header that nearly
/// all have. No checksum is looked at.
///
/// This is short, so that the processor is done with it while it waits for memory, and goes on to
/// what comes next.
#[inline(always)]
fn likely_header<'a>(
    kind: &Kind,
    id: &[u8],
    bytes: &'a [u8],
    at: usize,
) -> Option<(Skimmed, &'a [u8])> {
    let frame = bytes.get(at..)?;
    let header = record::skim(frame.first_chunk()?)?;
    let is_it = header.layout.end() <= frame.len() && header.layout.is_of(frame, kind.name(), id);
    is_it.then_some((header, frame))
}

/// There is nothing: whoever asked may have had a key that there can't be.
#[cold]
fn absent<T>(kind: &str, id: &str) -> Result<Option<T>> {
    check_key(kind, id).map(|()| None)
}

#[inline(never)]
fn get_thoroughly(state: &State, kind: &Kind, id: &str) -> Result<Option<Resource>> {
    // The record itself never changes: its checksum is not part of what may have to be done again.
    let found = consistent(state, || find(state, kind, kind.hashed(id.as_bytes())))?;
    let Some(found) = found else { return absent(kind.name(), id) };
    match resource(state, kind, id, found) {
        Err(Error::Corrupt { .. }) if planted(Bug::DamageIsAbsence) => Ok(None),
        read => read.map(Some),
    }
}

/// Whether a key is there. Reads its record's header, not its value.
pub(crate) fn contains(state: &State, kind: &str, id: &str) -> Result<bool> {
    let Some(kind) = state.index.kind(kind) else { return Ok(false) };
    Ok(consistent(state, || locate(state, kind, kind.hashed(id.as_bytes())))?.is_some())
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
    let now = find(state, kind_index, kind_index.hashed(id.as_bytes()));
    let found = match kind_index.earlier(id.as_bytes(), revision) {
        Earlier::Unchanged => now?,
        Earlier::Was(None) => None,
        Earlier::Was(Some(location)) => Some(at(state, kind_index, id.as_bytes(), location)?),
    };
    found.map(|found| resource(state, kind_index, id, found)).transpose()
}

/// Runs a read so that it sees all of a commit of several changes, or nothing of it: again if one
/// came in between, and if that happens too often, with such commits held up.
#[inline(always)]
pub(crate) fn consistent<T>(state: &State, mut read: impl FnMut() -> Result<T>) -> Result<T> {
    let mut tries = 0;
    loop {
        // While it is held, nothing comes in between.
        let held_up = (tries == TRIES).then(|| state.apply.lock());
        let anyway = held_up.is_some() || planted(Bug::HalfBatchVisible);
        let before = state.applying.load(Ordering::Acquire);
        if before.is_multiple_of(2) || anyway {
            let result = read();
            fence(Ordering::Acquire);
            if anyway || state.applying.load(Ordering::Acquire) == before {
                return result;
            }
        }
        drop(state.apply.lock());
        tries += 1;
    }
}

/// The newest record of a key in the index.
#[inline(always)]
pub(crate) fn find(state: &State, kind: &Kind, id: Hashed<'_>) -> Result<Option<Found>> {
    let mut lookup = kind.lookup(id.hash);
    let id = id.id;
    let mut passed = false;
    while let Some(place) = lookup.candidate() {
        if let Some(found) = examine(state, kind, id, place)?
            && !lookup.covered(id, found.header.revision)
        {
            return Ok(Some(found));
        }
        passed = true;
    }
    // Slots that were passed over may have moved meanwhile: the ordered side decides.
    if passed { find_ordered(state, kind, id) } else { Ok(None) }
}

/// The newest record of a key in the index's ordered side.
#[cold]
fn find_ordered(state: &State, kind: &Kind, id: &[u8]) -> Result<Option<Found>> {
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

/// Where the newest record of a key is, and its revision. Its header is checked, since nobody looks
/// at the rest of it.
#[inline(always)]
pub(crate) fn locate(
    state: &State,
    kind: &Kind,
    id: Hashed<'_>,
) -> Result<Option<(Location, u64)>> {
    locate_begun(state, kind, id, &begin::<KEYED_LEN>(state, kind, id.hash))
}

/// A look for a key's record that has begun.
pub(crate) enum Begun {
    /// This is what most likely holds it, and is on its way from memory.
    At(Place, Held),
    /// There is none.
    Absent,
    Unknown,
}

/// Begins to look for a key's record, of which `AHEAD` bytes are fetched. What else is to be done
/// can be done before it goes on, as long as nothing changes the index.
#[inline(always)]
pub(crate) fn begin<const AHEAD: usize>(state: &State, kind: &Kind, hash: u64) -> Begun {
    match kind.likely(hash) {
        Likely::At(place) => state
            .segments
            .held::<AHEAD>(place)
            .map_or(Begun::Unknown, |held| Begun::At(place, held)),
        Likely::Nowhere => Begun::Absent,
        Likely::Unknown => Begun::Unknown,
    }
}

/// Goes on with [`locate`].
#[inline(always)]
pub(crate) fn locate_begun(
    state: &State,
    kind: &Kind,
    id: Hashed<'_>,
    begun: &Begun,
) -> Result<Option<(Location, u64)>> {
    match begun {
        Begun::Absent => return Ok(None),
        Begun::At(place, held) => {
            let located = locate_in(kind, id.id, *place, held);
            if located.is_some() {
                return Ok(located);
            }
        }
        Begun::Unknown => {}
    }
    locate_thoroughly(state, kind, id)
}

/// The same, if all is as it nearly always is.
#[inline(always)]
fn locate_in(kind: &Kind, id: &[u8], place: Place, held: &Held) -> Option<(Location, u64)> {
    let (header, frame) = likely_header(kind, id, &held.bytes, held.at)?;
    let sound = header.layout.has_sound_header(frame, held.salt, held.position);
    let len = header.layout.frame_len();
    sound.then_some((Location::new(place.segment, place.offset_bytes(), len), header.revision))
}

#[inline(never)]
fn locate_thoroughly(
    state: &State,
    kind: &Kind,
    id: Hashed<'_>,
) -> Result<Option<(Location, u64)>> {
    let Some(found) = find(state, kind, id)? else { return Ok(None) };
    match found.header.check(&found.bytes, found.salt, found.position) {
        Ok(()) => Ok(Some((found.location(), found.header.revision))),
        Err(bad) => Err(damaged(state, kind, id.id, found.place, &bad.to_string())),
    }
}

/// Whether the record at `place` is the key's. A record that is damaged or can't be read, where the
/// ordered side says that the key is, is an error.
#[inline(always)]
fn examine(state: &State, kind: &Kind, id: &[u8], place: Place) -> Result<Option<Found>> {
    let damage = match state.segments.frame(place) {
        Err(error) => return unread(kind, id, place, error),
        Ok(None) => "its segment is missing".to_owned(),
        Ok(Some(Frame { bytes, position, salt })) => {
            // All lines at once, instead of one after the other as they are used.
            prefetch(&bytes[..bytes.len().min(FETCHED_LEN)]);
            match decode(position, &bytes) {
                Ok(header) => {
                    if header.layout.is_of(&bytes, kind.name(), id) {
                        return Ok(Some(Found { place, header, bytes, position, salt }));
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

/// What can't be read is an error to whoever asks for the key that lies there. It may be another
/// key's, whose hash is the same, or one that a prefix delete took.
#[cold]
fn unread(kind: &Kind, id: &[u8], place: Place, error: Error) -> Result<Option<Found>> {
    match kind.find_ordered(id) {
        Some(location) if location.place == place => Err(error),
        _ => Ok(None),
    }
}

/// The record at a location that the index gives for a key.
fn at(state: &State, kind: &Kind, id: &[u8], location: Location) -> Result<Found> {
    let place = location.place;
    let Some(Frame { bytes, position, salt }) = state.segments.frame(place)? else {
        return Err(Error::MissingSegment { file: state.segments.path(place.segment) });
    };
    let header = named(state, kind, id, place, position, &bytes)?;
    Ok(Found { place, header, bytes, position, salt })
}

/// Decodes the header of a key's record, whose whole frame is in `bytes`.
#[inline(always)]
pub(crate) fn named(
    state: &State,
    kind: &Kind,
    id: &[u8],
    place: Place,
    position: u64,
    bytes: &[u8],
) -> Result<Header> {
    let header = decode(position, bytes).map_err(|e| damaged(state, kind, id, place, &e))?;
    if !header.layout.is_of(bytes, kind.name(), id) {
        return Err(damaged(state, kind, id, place, "another key's record is in its place"));
    }
    Ok(header)
}

/// Decodes the header of a put whose whole frame is in `bytes`.
#[inline(always)]
fn decode(position: u64, bytes: &[u8]) -> Result<Header, String> {
    let header = Header::decode(bytes, position).map_err(|bad| bad.to_string())?;
    if header.frame_len() > bytes.len() as u64 || header.frame_type != FrameType::Put {
        return Err("no resource's frame is in its place".to_owned());
    }
    Ok(header)
}

/// Checks a record as the options ask.
#[inline(always)]
pub(crate) fn check(
    state: &State,
    kind: &Kind,
    id: &[u8],
    place: Place,
    header: &Header,
    bytes: &[u8],
) -> Result<()> {
    if !state.options.verify_reads || planted(Bug::ValueUnchecked) {
        return Ok(());
    }
    let checked = header.check_body(bytes);
    checked.map_err(|bad| damaged(state, kind, id, place, &bad.to_string()))
}

/// Checks a record, and hands it out without a copy.
#[inline(always)]
fn resource(state: &State, kind: &Kind, id: &str, found: Found) -> Result<Resource> {
    let Found { place, header, bytes, .. } = found;
    check(state, kind, id.as_bytes(), place, &header, &bytes)?;
    let (kind, id, data) = parts(kind, id, &header.layout, bytes, 0);
    Ok(assemble(kind, id, data, &header))
}

/// Kind, id and value of a key's record, whose frame begins at `at` in `bytes`.
#[inline(always)]
fn parts(kind: &Kind, id: &str, layout: &Layout, bytes: Bytes, at: usize) -> (Text, Text, Bytes) {
    let frame = &bytes[at..];
    let [k, i, _] = layout.ranges();
    let kind = Text::new(kind.name(), &frame[k.start..], || bytes.slice_ref(&frame[k]));
    let id = Text::new(id, &frame[i.start..], || bytes.slice_ref(&frame[i]));
    (kind, id, value(layout, bytes, at))
}

/// The value alone. Taken, not sliced: who shares the buffer is counted once a record.
#[inline(always)]
fn value(layout: &Layout, mut bytes: Bytes, at: usize) -> Bytes {
    let [.., value] = layout.ranges();
    bytes.truncate(at + value.end);
    bytes.advance(at + value.start);
    bytes
}

/// A resource from its parts.
#[inline(always)]
pub(crate) fn assemble(kind: Text, id: Text, data: Bytes, header: &Header) -> Resource {
    let updated_at = time_from_micros(header.time);
    Resource { kind, id, data, updated_at, revision: Revision::from(header.revision) }
}

/// The error that names a damaged record by its key and its place.
pub(crate) fn damaged(state: &State, kind: &Kind, id: &[u8], place: Place, reason: &str) -> Error {
    let file = state.segments.path(place.segment);
    let (kind, id) = (kind.name(), String::from_utf8_lossy(id));
    Error::corrupt(file, place.offset_bytes(), format!("{kind}/{id}: {reason}"))
}

/// A record's time as the standard library has it. What it can't express becomes 1970.
#[inline]
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

#[cfg(all(test, feature = "sim", not(kindlog_shuttle)))]
mod tests;
