//! What the verbs of the engine share, and the order of its locks.
//!
//! **Lock order.** A thread that holds one of these takes only ones behind it:
//!
//! 0. `Compaction::running`, `State::sealing` — one compaction, one sealing at a time.
//! 1. `State::order` — the log's end: who is next, what is in flight. Held while a commit is
//!    ordered, encoded and handed to the kernel; not across the log's fsyncs. The exceptions are
//!    rare, and show in the tail latency: rolling without a prepared segment, making the tail file,
//!    raising the ceiling, healing, closing.
//! 2. `State::apply` — held while a commit's changes enter the index, and while a view is
//!    registered, so that a view has all of a commit or nothing.
//! 3. `State::prepared` — held while a segment is made and named, so that segments enter the
//!    manifest in the order of their positions.
//! 4. the manifest's lock — held across its replacement.
//! 5. the index's locks (kinds, then one kind's table shards, or its `ordered` and then its
//!    `recent` side).
//! 6. the lists of segments; behind those a segment's buffers, and the list of living snapshots.
//!
//! Point reads take 5 and 6 alone, unless they meet a commit of several changes that is just
//! entering the index: then they wait for 2. Views take 2.

pub(crate) mod compaction;

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use self::compaction::Compaction;
use crate::disk::{Disk, Lock};
use crate::error::{Error, Result};
use crate::format::contents::Contents;
use crate::format::location::Location;
use crate::format::manifest::Manifest;
use crate::index::{Hashed, Index, Kind};
use crate::log::active::Active;
use crate::log::manifest::ManifestFile;
use crate::log::reserve::Reserve;
use crate::log::segment::Segment;
use crate::log::segments::Segments;
use crate::log::tail::Tail;
use crate::options::Options;
use crate::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use crate::sync::{Condvar, Mutex, MutexGuard, SPINS, Signals, thread};

/// So long is a pause between two looks at the order lock.
const SPIN_LEN: usize = 16;

/// An open store.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) options: Options,
    pub(crate) manifest: ManifestFile,
    pub(crate) segments: Segments,
    pub(crate) index: Index,
    pub(crate) order: Mutex<Order>,
    /// Commits have had to wait for the order lock of late.
    pub(crate) order_wanted: AtomicBool,
    /// How many commits wait for their turn at the order lock.
    pub(crate) order_awaited: AtomicU32,
    /// Told when a sync ends, well or not.
    pub(crate) synced: Condvar,
    pub(crate) apply: Mutex<()>,
    /// The next segment, made and named ahead of need. Held while one is made.
    pub(crate) prepared: Mutex<Option<Arc<Segment>>>,
    /// The newest revision that readers see.
    pub(crate) visible: AtomicU64,
    /// Odd while a commit of several changes enters the index, so that point reads see all of it
    /// or nothing.
    pub(crate) applying: AtomicU64,
    pub(crate) closed: AtomicBool,
    /// Somebody had the store open for writing when it was opened: this process, or, of a read-only
    /// handle, another one.
    pub(crate) owned: bool,
    pub(crate) lock: Mutex<Option<Box<dyn Lock>>>,
    /// What hints are to be written of, in the background. No lock is taken while it is held.
    pub(crate) hints_due: Mutex<Vec<(Arc<Segment>, Contents)>>,
    pub(crate) background: Signals,
    /// One at a time seals full segments.
    pub(crate) sealing: Mutex<()>,
    pub(crate) compaction: Compaction,
    pub(crate) reserve: Reserve,
    pub(crate) counters: Counters,
}

/// Since the store was opened.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) commits: AtomicU64,
    pub(crate) fsyncs: AtomicU64,
}

/// The log's end.
#[derive(Debug)]
pub(crate) struct Order {
    /// Absent in a store that was opened read-only.
    pub(crate) active: Option<Active>,
    /// Segments that were active, written to their ends but not sealed.
    pub(crate) rolled: Vec<Rolled>,
    pub(crate) tail: TailState,
    /// The last revision that was given out.
    pub(crate) revision: u64,
    /// The revision above which none may be given out before the manifest says so.
    pub(crate) ceiling: u64,
    /// The durable watermark, a position.
    pub(crate) durable: u64,
    /// The position behind the last commit.
    pub(crate) commit_end: u64,
    /// The position at which the log ended when it was opened.
    pub(crate) opened_at: u64,
    /// The offset in the active segment below which its hint tells of it; 0 without one.
    pub(crate) hinted: u64,
    /// Bytes of commits that no sync has covered.
    pub(crate) unsynced: u64,
    /// Commits that are ordered but not visible, oldest first.
    pub(crate) pending: VecDeque<Pending>,
    /// What the pending commits change, by `kind/id`: what the next commit is decided against.
    pub(crate) overlay: HashMap<Vec<u8>, Overlaid>,
    /// Kinds and prefixes that a pending commit deletes; the overlay's keys are newer.
    pub(crate) overlay_prefixes: Vec<(String, Box<[u8]>)>,
    /// How often commits that were in flight have failed.
    pub(crate) failures: u64,
    /// Somebody is syncing, or about to.
    pub(crate) leading: bool,
    /// How long the last sync took, and how many commits waited for it.
    pub(crate) sync_time: Duration,
    pub(crate) company: usize,
    /// How many commits, one behind the other, got this lock without waiting.
    pub(crate) alone: u32,
    /// The background was asked to prepare the next segment.
    pub(crate) asked: bool,
    pub(crate) health: Health,
}

/// Whether the log can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Health {
    Good,
    /// An append failed. What was acknowledged is in buffers and in the tail file; nothing else may
    /// be appended before the segment is closed, durably, behind it.
    Broken,
    /// An fsync failed. Nothing is written any more.
    Poisoned,
    Closed,
}

/// A segment that is full.
#[derive(Debug)]
pub(crate) struct Rolled {
    pub(crate) segment: Arc<Segment>,
    pub(crate) length: u64,
    pub(crate) synced: bool,
}

/// The tail file's state.
#[derive(Debug)]
pub(crate) enum TailState {
    /// Made at the first commit that wants it, so that an empty store stays small.
    NotYet,
    Mapped(Tail),
    /// The file system isn't known to overwrite in place: `Os` commits are written by `pwrite`.
    Unavailable,
}

/// An ordered commit that waits to become visible.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) revision: u64,
    pub(crate) time: i64,
    /// Where its first frame begins, in the segment that was active.
    pub(crate) start: u64,
    /// The position behind its last byte.
    pub(crate) end: u64,
    pub(crate) len: u64,
    pub(crate) changes: Vec<Applied>,
    pub(crate) ticket: Arc<Ticket>,
}

/// Says how a commit that somebody waits for ended.
pub(crate) type Ticket = OnceLock<Result<()>>;

/// One change as the index needs it.
#[derive(Debug)]
pub(crate) struct Applied {
    pub(crate) kind: Arc<Kind>,
    pub(crate) id: Box<[u8]>,
    pub(crate) hash: u64,
    pub(crate) effect: Effect,
}

impl Applied {
    pub(crate) fn id(&self) -> Hashed<'_> {
        Hashed { id: &self.id, hash: self.hash }
    }
}

/// What a change does to the index, decided when it was ordered.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Effect {
    Put { new: Location, old: Option<Location> },
    Delete { tombstone: Location, old: Location },
    DeletePrefix { tombstone: Location },
}

/// A key's state after the pending commits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Overlaid {
    /// The commit that made it so.
    pub(crate) revision: u64,
    /// `None`: deleted.
    pub(crate) location: Option<Location>,
}

impl State {
    /// A store in which nothing is yet but what the manifest says.
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        options: Options,
        manifest: Manifest,
        segments: Segments,
    ) -> State {
        State {
            order: Mutex::new(Order::new(&manifest)),
            manifest: ManifestFile::new(disk.clone(), manifest),
            reserve: Reserve::new(disk.clone()),
            disk,
            options,
            segments,
            index: Index::new(),
            order_wanted: AtomicBool::new(false),
            order_awaited: AtomicU32::new(0),
            synced: Condvar::new(),
            apply: Mutex::new(()),
            prepared: Mutex::new(None),
            visible: Default::default(),
            applying: Default::default(),
            closed: Default::default(),
            owned: false,
            lock: Mutex::new(None),
            hints_due: Mutex::default(),
            background: Default::default(),
            sealing: Default::default(),
            compaction: Default::default(),
            counters: Default::default(),
        }
    }

    /// Refuses a handle that was closed, or that a `fork` carried into a child.
    pub(crate) fn check_open(&self) -> Result<()> {
        match self.closed.load(Ordering::Acquire) || !self.disk.same_process() {
            true => Err(Error::Closed),
            false => Ok(()),
        }
    }

    /// Refuses what can't be written to.
    pub(crate) fn check_writable(&self) -> Result<()> {
        self.check_open()?;
        self.check_owner()
    }

    /// Refuses a handle that only reads.
    pub(crate) fn check_owner(&self) -> Result<()> {
        if self.options.read_only { Err(Error::ReadOnly) } else { Ok(()) }
    }

    /// Locks the log's end, for writing. Health is checked after the lock is taken: whoever held
    /// it may have found that a sync failed.
    pub(crate) fn lock_order(&self) -> Result<MutexGuard<'_, Order>> {
        self.check_writable()?;
        Self::good(self.order.lock())
    }

    /// The same if nobody else has it just now. Whoever asks has been told that it is writable.
    pub(crate) fn try_lock_order(&self) -> Result<Option<MutexGuard<'_, Order>>> {
        self.order.try_lock().map(Self::good).transpose()
    }

    /// Locks the log's end for a commit. It tries for some microseconds before it waits: nobody has
    /// the lock for long as a rule, and who sleeps or yields where more threads want to run than
    /// there are processors may not be back before a tick of the clock.
    pub(crate) fn await_order(&self) -> Result<MutexGuard<'_, Order>> {
        for _ in 0..SPINS {
            (0..SPIN_LEN).for_each(|_| std::hint::spin_loop());
            if let Some(order) = self.try_lock_order()? {
                return Ok(order);
            }
        }
        self.order_awaited.fetch_add(1, Ordering::Relaxed);
        let order = self.lock_order();
        self.order_awaited.fetch_sub(1, Ordering::Relaxed);
        order
    }

    /// Lets commits go first that wait for the order lock. Who lets it go and takes it again is
    /// quicker than who has to wake up for it.
    pub(crate) fn let_commits_in(&self) {
        if self.order_awaited.load(Ordering::Relaxed) > 0 {
            thread::yield_now();
        }
    }

    fn good(order: MutexGuard<'_, Order>) -> Result<MutexGuard<'_, Order>> {
        match order.health {
            Health::Good | Health::Broken => Ok(order),
            Health::Poisoned => Err(Error::Poisoned),
            Health::Closed => Err(Error::Closed),
        }
    }

    /// Tells the background thread that a sync is due within the interval.
    pub(crate) fn tell_dirty(&self) {
        self.background.raise(&self.background.dirty);
    }

    /// Tells the background thread to look now.
    pub(crate) fn tell_now(&self) {
        self.background.raise(&self.background.now);
    }
}

impl Order {
    fn new(manifest: &Manifest) -> Order {
        Order {
            active: None,
            rolled: Vec::new(),
            tail: TailState::NotYet,
            revision: 0,
            ceiling: manifest.revision_ceiling,
            durable: manifest.watermark,
            commit_end: 0,
            opened_at: 0,
            hinted: 0,
            unsynced: 0,
            pending: Default::default(),
            overlay: Default::default(),
            overlay_prefixes: Vec::new(),
            failures: 0,
            leading: false,
            sync_time: Duration::ZERO,
            company: 0,
            alone: u32::MAX,
            asked: false,
            health: Health::Good,
        }
    }

    /// The segment that is written. Only read-only stores have none, and they never come here.
    pub(crate) fn active(&mut self) -> &mut Active {
        self.active.as_mut().expect("a store that is written has an active segment")
    }
}

/// A key as the overlay has it.
pub(crate) fn overlay_key(kind: &str, id: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(kind.len() + 1 + id.len());
    key.extend_from_slice(kind.as_bytes());
    key.push(b'/');
    key.extend_from_slice(id);
    key
}
