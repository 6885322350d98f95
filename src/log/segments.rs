//! The set of segments: made, opened, found by number.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::format::file::{HeaderError, MAX_HEADER_LEN};
use crate::format::location::SegmentId;
use crate::format::manifest::SegmentEntry;
use crate::format::names;
use crate::format::segment::{SegmentHeader, StoreId};
use crate::log::segment::Segment;
use crate::sync::RwLock;
use crate::zoo::{Bug, planted, unless};

/// The segments of a store, by number.
#[derive(Debug)]
pub(crate) struct Segments {
    disk: Arc<dyn Disk>,
    store_id: StoreId,
    mapped: bool,
    list: RwLock<Vec<Arc<Segment>>>,
    /// Segments whose files are gone, and the last generation of snapshots that may read them.
    retired: RwLock<Vec<(u64, Arc<Segment>)>>,
}

impl Segments {
    pub(crate) fn new(disk: Arc<dyn Disk>, store_id: StoreId, mapped: bool) -> Segments {
        let (list, retired) = Default::default();
        Segments { disk, store_id, mapped, list, retired }
    }

    pub(super) fn disk(&self) -> &dyn Disk {
        &*self.disk
    }

    pub(super) fn store_id(&self) -> StoreId {
        self.store_id
    }

    /// The segment that a location points into.
    pub(crate) fn get(&self, id: SegmentId) -> Option<Arc<Segment>> {
        let list = self.list.read();
        if let Ok(at) = list.binary_search_by_key(&id, |segment| segment.id) {
            return Some(list[at].clone());
        }
        drop(list);
        let retired = self.retired.read();
        retired.iter().find(|(_, segment)| segment.id == id).map(|(_, segment)| segment.clone())
    }

    /// The same, where not finding it is an error.
    pub(crate) fn find(&self, id: SegmentId) -> Result<Arc<Segment>> {
        self.get(id).ok_or_else(|| Error::MissingSegment { file: self.path(id) })
    }

    /// All segments, by number.
    pub(crate) fn all(&self) -> Vec<Arc<Segment>> {
        self.list.read().clone()
    }

    /// Adds a segment to those that are found.
    pub(crate) fn insert(&self, segment: Arc<Segment>) {
        let mut list = self.list.write();
        let at = list.partition_point(|other| other.id < segment.id);
        list.insert(at, segment);
    }

    /// Takes a segment out of those that are found.
    pub(crate) fn remove(&self, id: SegmentId) {
        self.list.write().retain(|segment| segment.id != id);
    }

    /// Takes a segment out of the store, which snapshots up to `generation` may still read.
    pub(crate) fn retire(&self, id: SegmentId, generation: u64) {
        if let Some(segment) = self.get(id) {
            // First there, then gone here: who looks for it in between finds it.
            self.retired.write().push((generation, segment));
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
        if self.retired.read().is_empty() {
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
        // Files are closed with no lock held.
        drop(retired);
    }

    /// Whether a segment is part of the store, and not only kept for snapshots.
    pub(crate) fn has(&self, id: SegmentId) -> bool {
        self.list.read().binary_search_by_key(&id, |segment| segment.id).is_ok()
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
        let len = file.len().map_err(|e| Error::io("read", &path, e))?;
        let mut bytes = vec![0; len.min(MAX_HEADER_LEN as u64) as usize];
        file.read_exact_at(&mut bytes, 0).map_err(|e| Error::io("read", &path, e))?;
        let (header, first) = match SegmentHeader::decode(&bytes) {
            Ok(decoded) => decoded,
            Err(HeaderError::Unknown(found)) => return Err(Error::Version { file: path, found }),
            Err(HeaderError::Damaged(reason)) => return Err(Error::corrupt(path, 0, reason)),
        };
        let named = SegmentHeader {
            store_id: self.store_id,
            salt: entry.salt,
            base: entry.base,
            capacity: entry.capacity,
            id: entry.id(),
        };
        if header != named || first > header.capacity {
            return Err(Error::corrupt(path, 0, "this is not the segment that the manifest names"));
        }
        Segment::new(header, first, path, file, self.mapped)
    }

    /// Where a segment's file is, for messages.
    pub(crate) fn path(&self, id: SegmentId) -> PathBuf {
        self.disk.path().join(names::segment(id))
    }
}

/// Eight random bytes from the operating system.
fn random_u64() -> io::Result<u64> {
    getrandom::u64().map_err(io::Error::from)
}
