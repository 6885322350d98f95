//! The set of segments: made, opened, found by number.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use crate::disk::native::prefetch_first;
use crate::disk::{Disk, File};
use crate::error::{Error, Result};
use crate::format::file::{HeaderError, MAX_HEADER_LEN};
use crate::format::location::{Place, SegmentId};
use crate::format::manifest::SegmentEntry;
use crate::format::names;
use crate::format::segment::{SegmentHeader, StoreId};
use crate::log::segment::Segment;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{RwLock, Striped};
use crate::zoo::{Bug, planted, unless};

/// The segments of a store, by number.
#[derive(Debug)]
pub(crate) struct Segments {
    disk: Arc<dyn Disk>,
    store_id: StoreId,
    mapped: bool,
    list: Striped<Vec<Listed>>,
    /// Segments whose files are gone, and the last generation of snapshots that may read them.
    retired: RwLock<Vec<(u64, Arc<Segment>)>>,
    /// Whether there may be any, so that who lets go of a snapshot need not look.
    any_retired: AtomicBool,
}

/// A segment, as the threads of a stripe find it.
struct Listed {
    id: SegmentId,
    /// What is final of a mapped file, or was a while ago: it ends where a frame does. A prefix of
    /// the stripe's own, since whoever reads a record counts it up, and all threads counting up the
    /// same one would wait for each other.
    window: Bytes,
    segment: Arc<Segment>,
}

/// Names no values.
impl fmt::Debug for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}, of which {} bytes", self.segment, self.window.len())
    }
}

/// Bytes of which some begin with a frame, and what the frame's checksum covers beside them.
pub(crate) struct Held {
    pub(crate) bytes: Bytes,
    /// Where the frame begins.
    pub(crate) at: usize,
    pub(crate) position: u64,
    pub(crate) salt: u64,
}

/// The bytes that begin with a record's frame, and what the frame's checksum covers beside them.
pub(crate) struct Frame {
    pub(crate) bytes: Bytes,
    pub(crate) position: u64,
    pub(crate) salt: u64,
}

impl Segments {
    pub(crate) fn new(disk: Arc<dyn Disk>, store_id: StoreId, mapped: bool) -> Segments {
        let (list, retired, any_retired) = Default::default();
        Segments { disk, store_id, mapped, list, retired, any_retired }
    }

    pub(super) fn disk(&self) -> &dyn Disk {
        &*self.disk
    }

    pub(super) fn store_id(&self) -> StoreId {
        self.store_id
    }

    /// The segment that a location points into.
    pub(crate) fn get(&self, id: SegmentId) -> Option<Arc<Segment>> {
        if let Some(listed) = find(&self.list.read(), id) {
            return Some(listed.segment.clone());
        }
        let retired = self.retired.read();
        retired.iter().find(|(_, segment)| segment.id == id).map(|(_, segment)| segment.clone())
    }

    /// The same, where not finding it is an error.
    pub(crate) fn find(&self, id: SegmentId) -> Result<Arc<Segment>> {
        self.get(id).ok_or_else(|| Error::MissingSegment { file: self.path(id) })
    }

    /// The frame at a place; `None` if its segment is missing.
    ///
    /// # Errors
    /// As [`Segment::frame`].
    pub(crate) fn frame(&self, place: Place) -> Result<Option<Frame>> {
        let offset = place.offset_bytes();
        let frame = |segment: &Segment, bytes: Bytes| {
            let (position, salt) = (segment.position(offset), segment.salt);
            Some(Frame { bytes, position, salt })
        };
        let read = |segment: &Segment| segment.frame(offset).map(|bytes| frame(segment, bytes));
        {
            // Most often the list is held, which this thread's stripe alone counts, and not the
            // segment, which all threads would.
            let list = self.list.read();
            if let Some(Listed { segment, window, .. }) = find(&list, place.segment) {
                if offset < window.len() as u64 {
                    return Ok(frame(segment, window.slice(offset as usize..)));
                }
                if segment.is_mapped() {
                    return read(segment);
                }
            }
        }
        self.get(place.segment).map_or(Ok(None), |segment| read(&segment))
    }

    /// What holds the frame at a place, if no file need be read for it. The processor is told to
    /// fetch `AHEAD` bytes of what lies there, but for what was just written, which it may have.
    #[inline(always)]
    pub(crate) fn held<const AHEAD: usize>(&self, place: Place) -> Option<Held> {
        let offset = place.offset_bytes();
        let list = self.list.read();
        let Listed { window, segment, .. } = find(&list, place.segment)?;
        let (position, salt) = (segment.position(offset), segment.salt);
        match window.get(offset as usize..) {
            Some(frame) if !frame.is_empty() => {
                prefetch_first::<AHEAD>(frame);
                Some(Held { bytes: window.clone(), at: offset as usize, position, salt })
            }
            _ => {
                let (bytes, at) = segment.held(offset).ok()??;
                Some(Held { bytes, at, position, salt })
            }
        }
    }

    /// A segment, and what was final of its file a while ago; nothing if it is not mapped.
    ///
    /// # Errors
    /// `MissingSegment`.
    pub(crate) fn source(&self, id: SegmentId) -> Result<(Arc<Segment>, Bytes)> {
        if let Some(listed) = find(&self.list.read(), id) {
            return Ok((listed.segment.clone(), listed.window.clone()));
        }
        let segment = self.find(id)?;
        let window = segment.window();
        Ok((segment, window))
    }

    /// More of a segment's file is final. Who reads it just now learns of that another time.
    pub(crate) fn grow(&self, segment: &Segment) {
        if segment.is_mapped() {
            self.list.update_idle(|list| set_window(list, segment));
        }
    }

    /// All of a segment's file is final, and nothing comes behind it.
    pub(crate) fn end(&self, segment: &Segment) {
        if segment.is_mapped() {
            self.list.update(|list| set_window(list, segment));
        }
    }

    /// All segments, by number.
    pub(crate) fn all(&self) -> Vec<Arc<Segment>> {
        self.list.read().iter().map(|listed| listed.segment.clone()).collect()
    }

    /// Adds a segment to those that are found.
    pub(crate) fn insert(&self, segment: Arc<Segment>) {
        self.list.update(|list| {
            let at = list.partition_point(|other| other.id < segment.id);
            let (id, window) = (segment.id, segment.window());
            list.insert(at, Listed { id, window, segment: segment.clone() });
        });
    }

    /// Takes a segment out of those that are found.
    pub(crate) fn remove(&self, id: SegmentId) {
        // The last reference closes the file: not under a lock.
        let removed = self.get(id);
        self.list.update(|list| list.retain(|other| other.id != id));
        drop(removed);
    }

    /// Takes a segment out of the store, which snapshots up to `generation` may still read.
    pub(crate) fn retire(&self, id: SegmentId, generation: u64) {
        if let Some(segment) = self.get(id) {
            if planted(Bug::GoneBeforeRetired) {
                self.remove(id);
            }
            // First there, then gone here: who looks for it in between finds it.
            let mut retired = self.retired.write();
            retired.push((generation, segment));
            self.any_retired.store(true, Ordering::Release);
            drop(retired);
            self.remove(id);
        }
    }

    /// The segments that are only kept for snapshots.
    pub(crate) fn retired(&self) -> Vec<Arc<Segment>> {
        self.retired.read().iter().map(|(_, segment)| segment.clone()).collect()
    }

    /// Lets go of the retired segments that no snapshot can read: `oldest` says which is the oldest
    /// generation of which one lives.
    pub(crate) fn let_go(&self, oldest: impl FnOnce() -> Option<u64>) {
        // Whoever retires a segment asks for the snapshots behind that: it hears of one that is let
        // go of now, or that one has seen the flag.
        if !self.any_retired.load(Ordering::Acquire) {
            return;
        }
        let mut gone = Vec::new();
        let mut retired = self.retired.write();
        // Asked with the list in hand: an answer from before a segment came in doesn't know of the
        // snapshots that were taken since, and read it.
        let oldest = oldest();
        let pinned = |generation: u64| {
            oldest.is_some_and(|oldest| oldest <= generation) && !planted(Bug::LetGoPinned)
        };
        retired.retain(|(generation, segment)| {
            let keep = pinned(*generation);
            if !keep {
                gone.push(segment.clone());
            }
            keep
        });
        self.any_retired.store(!retired.is_empty(), Ordering::Release);
        // Files are closed with no lock held.
        drop(retired);
    }

    /// Whether a segment is part of the store, and not only kept for snapshots.
    pub(crate) fn has(&self, id: SegmentId) -> bool {
        find(&self.list.read(), id).is_some()
    }

    /// Makes a segment file with its header. Not durable, and not part of the store before the
    /// manifest names it.
    pub(crate) fn create(&self, id: SegmentId, base: u64, capacity: u64) -> Result<Arc<Segment>> {
        let salt = random_u64().map_err(|e| Error::io("draw a salt for", self.path(id), e))?;
        let header = SegmentHeader { store_id: self.store_id, salt, base, capacity, id };
        let bytes = header.encode();
        let path = self.path(id);
        let fail = |e| Error::io("create", &path, e);
        let name = names::segment(id);
        // A file of this name was made by someone who died before it was named.
        match self.disk.remove(&name) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(fail(e)),
            _ => {}
        }
        let file = self.disk.create(&name).map_err(fail)?;
        let first = bytes.len() as u64;
        let made = (file.write_all_at(&bytes, 0).map_err(fail))
            .and_then(|()| Segment::new(header, first, path.clone(), file, self.mapped));
        if made.is_err() {
            // Each try has a number of its own: on a full disk they would add up.
            let _ = self.disk.remove(&name);
        }
        let segment = made?;
        segment.set_written(first);
        Ok(Arc::new(segment))
    }

    /// Makes a segment durable, so that the manifest may name it.
    pub(crate) fn publishable(&self, segment: &Segment) -> Result<()> {
        let synced = unless(Bug::SegmentNotSynced, || segment.file.sync());
        synced.map_err(|e| Error::io("sync", &segment.path, e))?;
        let named = unless(Bug::SegmentNameNotSynced, || self.disk.sync_dir());
        named.map_err(|e| Error::io("sync", self.disk.path(), e))
    }

    /// Opens a segment that the manifest names, and checks that it is the one.
    pub(crate) fn open(&self, entry: &SegmentEntry, writable: bool) -> Result<Segment> {
        let name = names::segment(entry.id());
        let path = self.path(entry.id());
        let opened = if writable { self.disk.open(&name) } else { self.disk.open_read_only(&name) };
        let file = match opened {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Err(Error::MissingSegment { file: path });
            }
            opened => opened.map_err(|e| Error::io("open", &path, e))?,
        };
        let bytes = read_start(&*file).map_err(|e| Error::io("read", &path, e))?;
        let (header, first) = match SegmentHeader::decode(&bytes) {
            Ok(decoded) => decoded,
            Err(HeaderError::Unknown(found)) => return Err(Error::Version { file: path, found }),
            Err(HeaderError::Damaged(reason)) => return Err(Error::corrupt(path, 0, reason)),
        };
        let named = header_of(entry, self.store_id);
        if header != named || first > header.capacity {
            return Err(Error::corrupt(path, 0, not_named(&header, &named)));
        }
        Segment::new(header, first, path, file, self.mapped)
    }

    /// Where a segment's file is, for messages.
    pub(crate) fn path(&self, id: SegmentId) -> PathBuf {
        self.disk.path().join(names::segment(id))
    }
}

/// What a file begins with: as much as a header may have. Between a look at its length and the
/// reading, a reader's owner may cut off what was allocated ahead.
fn read_start(file: &dyn File) -> io::Result<Vec<u8>> {
    let mut len = file.len()?;
    loop {
        let mut bytes = vec![0; len.min(MAX_HEADER_LEN as u64) as usize];
        match file.read_exact_at(&mut bytes, 0) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                let before = std::mem::replace(&mut len, file.len()?);
                if len >= before {
                    return Err(error);
                }
            }
            read => return read.map(|()| bytes),
        }
    }
}

/// The header of a segment that the manifest names.
pub(crate) fn header_of(entry: &SegmentEntry, store_id: StoreId) -> SegmentHeader {
    let SegmentEntry { salt, base, capacity, .. } = *entry;
    SegmentHeader { store_id, salt, base, capacity, id: entry.id() }
}

/// What is said of a file whose header is sound, and not the one that the manifest names.
pub(crate) fn not_named(own: &SegmentHeader, named: &SegmentHeader) -> String {
    let holds = match own.store_id == named.store_id {
        false => "it is of another store".to_owned(),
        true if own.id == named.id => "it is another one of the same name".to_owned(),
        true => format!("it holds what should be in {}", names::segment(own.id)),
    };
    format!("this is not the segment that the manifest names: by its header {holds}")
}

#[inline(always)]
fn find(list: &[Listed], id: SegmentId) -> Option<&Listed> {
    list.binary_search_by_key(&id, |listed| listed.id).ok().map(|at| &list[at])
}

fn set_window(list: &mut [Listed], segment: &Segment) {
    if let Ok(at) = list.binary_search_by_key(&segment.id, |listed| listed.id) {
        list[at].window = segment.window();
    }
}

/// Eight random bytes from the operating system.
fn random_u64() -> io::Result<u64> {
    getrandom::u64().map_err(io::Error::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::Map;
    use crate::sync::atomic::AtomicU64;

    /// A file whose owner cuts it off at 200 bytes once somebody has asked how long it is.
    #[derive(Debug)]
    struct CutOff(AtomicU64);

    impl File for CutOff {
        fn len(&self) -> io::Result<u64> {
            Ok(self.0.swap(200, Ordering::Relaxed))
        }

        fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
            if offset + buf.len() as u64 > self.0.load(Ordering::Relaxed) {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            buf.fill(7);
            Ok(())
        }

        fn write_all_at(&self, _buf: &[u8], _offset: u64) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }

        fn sync(&self) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }

        fn reserve(&self, _offset: u64, _len: u64) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }

        fn set_len(&self, _len: u64) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }

        fn map(&self, _capacity: u64) -> io::Result<Option<Arc<dyn Map>>> {
            Ok(None)
        }
    }

    /// A reader beside a busy owner failed to refresh: the segment that it opened was just sealed.
    #[test]
    fn a_segment_that_is_cut_off_while_it_is_opened_is_read_again() {
        let start = read_start(&CutOff(AtomicU64::new(64 << 10))).expect("it has so much");
        assert_eq!(start, [7; 200]);
    }
}
