//! What compaction keeps between its runs.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use crate::format::location::{Place, SegmentId};
use crate::index::Kind;
use crate::sync::atomic::{AtomicBool, AtomicU64};
use crate::sync::{Mutex, Signals};

/// Shared by the worker, whoever asks for a compaction, and whoever asks what it is up to.
#[derive(Debug, Default)]
pub(crate) struct Compaction {
    /// One run at a time. Taken before any other lock.
    pub(crate) running: Mutex<()>,
    pub(crate) signals: Signals,
    pub(crate) findings: Mutex<Findings>,
    /// A run is under way, and more is dead than the bound allows: commits give way to it.
    pub(crate) behind: AtomicBool,
    /// Bytes that were committed meanwhile since a commit last paused, less those that its pause
    /// was too long for. Held while one pauses; no other lock is taken or held then.
    pub(crate) owed: Mutex<i64>,
    /// A commit has found the disk full: every byte that can be had is wanted.
    pub(crate) full: AtomicBool,
    pub(crate) counters: Counters,
}

/// Since the store was opened.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) runs: AtomicU64,
    pub(crate) copied_bytes: AtomicU64,
    pub(crate) reclaimed_bytes: AtomicU64,
}

/// What earlier runs found, and the log does not say.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// Segments with something in them that is needed and damaged.
    pub(crate) damaged: BTreeMap<SegmentId, Damaged>,
    /// The tombstones of a segment that are needed still.
    pub(crate) needed: BTreeMap<SegmentId, Needed>,
    /// Why the last run failed, if it did.
    pub(crate) failure: Option<String>,
}

/// What keeps a segment from being compacted.
#[derive(Debug)]
pub(crate) struct Damaged {
    /// Where, and what is wrong with it.
    pub(crate) trouble: Trouble,
    /// The damaged record, if it is one that is live: once it no longer is, the segment can go.
    /// Without it, nothing but opening the store again brings another look.
    pub(crate) live: Option<LiveRecord>,
}

/// What is wrong with a record or a segment.
#[derive(Clone, Debug)]
pub(crate) struct Trouble {
    pub(crate) reason: String,
    /// The system refused to read it. It may do so another time.
    pub(crate) unread: bool,
}

impl Trouble {
    pub(crate) fn damage(reason: impl Into<String>) -> Trouble {
        Trouble { reason: reason.into(), unread: false }
    }

    pub(crate) fn unread(error: &io::Error) -> Trouble {
        Trouble { reason: format!("it can't be read: {error}"), unread: true }
    }
}

/// A record that the index pointed to.
#[derive(Debug)]
pub(crate) struct LiveRecord {
    pub(crate) kind: Arc<Kind>,
    pub(crate) id: Box<[u8]>,
    /// As far as it is known.
    pub(crate) revision: Option<u64>,
    pub(crate) place: Place,
}

impl LiveRecord {
    /// Whether the index still points to it.
    fn is_live(&self) -> bool {
        let LiveRecord { kind, id, revision, place } = self;
        match revision {
            Some(revision) => kind.is_at(kind.hashed(id), *revision, *place),
            None => kind.find_ordered(id).is_some_and(|location| location.place == *place),
        }
    }
}

/// Tombstones that can't go, since other segments hold what they delete.
#[derive(Debug, Default)]
pub(crate) struct Needed {
    pub(crate) bytes: u64,
    /// Those segments. When one of them is gone, it is time to look again.
    pub(crate) by: BTreeSet<SegmentId>,
}

impl Findings {
    /// Why a segment is left alone, if it is.
    pub(crate) fn left_alone(&self, id: SegmentId) -> Option<&str> {
        let Damaged { trouble, live } = self.damaged.get(&id)?;
        live.as_ref().is_none_or(LiveRecord::is_live).then_some(&*trouble.reason)
    }

    /// All segments that are left alone.
    pub(crate) fn all_left_alone(&self) -> BTreeSet<SegmentId> {
        self.damaged.keys().copied().filter(|id| self.left_alone(*id).is_some()).collect()
    }

    /// How much of what is dead in a segment can't go: all of it where it is left alone, else the
    /// tombstones that one that is left alone needs.
    pub(crate) fn staying(&self, id: SegmentId, dead: u64) -> u64 {
        let is_left = |id: &SegmentId| self.left_alone(*id).is_some();
        let needed = self.needed.get(&id).filter(|needed| needed.by.iter().any(is_left));
        if is_left(&id) { dead } else { needed.map_or(0, |needed| needed.bytes.min(dead)) }
    }

    /// Forgets which segments could not be read, and names them: somebody asks for another try.
    pub(crate) fn forget_unread(&mut self) -> BTreeSet<SegmentId> {
        let unread = self.damaged.iter().filter(|(_, damaged)| damaged.trouble.unread);
        let unread: BTreeSet<SegmentId> = unread.map(|(id, _)| *id).collect();
        self.damaged.retain(|id, _| !unread.contains(id));
        unread
    }

    /// A segment that could not be read, if there is one, and why.
    pub(crate) fn unread(&self) -> Option<(SegmentId, &str)> {
        let (id, damaged) = self.damaged.iter().find(|(_, damaged)| damaged.trouble.unread)?;
        Some((*id, &damaged.trouble.reason))
    }

    /// Forgets what was found about segments that are gone, and what they were needed for.
    pub(crate) fn forget(&mut self, gone: &[SegmentId]) {
        self.damaged.retain(|id, _| !gone.contains(id));
        self.needed.retain(|id, needed| {
            !gone.contains(id) && !gone.iter().any(|gone| needed.by.contains(gone))
        });
    }
}
