//! A simulated disk: the memory disk with a medium that loses, tears and refuses.
//!
//! A test runs the engine on a [`SimDisk`], kills the process or the power at an operation of its
//! choice, and opens the store again on the image that would be left. Everything is deterministic:
//! the same calls and the same seed give the same image.
//!
//! # What is modelled
//!
//! - Written bytes sit in a cache until their file is synced. Power loss takes each 512-byte sector
//!   by itself: the medium has it as it was before, or as any one of the last few writes left it.
//!   Sectors of one write part ways, and later ones may be there while earlier ones are not.
//! - A file's length is a state of its own. The old one may come back, data or not, and the new one
//!   may be there without the data, which then reads as zeros.
//! - Creations, renames and removals sit in the directory's cache until it is synced. Each may be
//!   lost by itself; a rename is there as a whole or not at all.
//! - The tail file loses whole 4 KiB pages, each as of any one of its last few stores.
//! - The death of the process loses only the operation under way: a write is cut at any byte.
//!   What wasn't durable before still isn't, so that a power loss can follow.
//! - Errors by operation or by file, short writes, a full disk, and syncs that fail in either way
//!   that kernels have: see [`Fault`].
//!
//! # What is not
//!
//! Stale bytes of other files in blocks never written, sectors torn within, media that rot while in
//! use (damage an image instead: [`SimDisk::flip_bit`]), mappings for reading, a failed sync that
//! got some of the bytes down, and locks seen by other machines.

mod handles;
mod inode;
mod medium;

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use inode::Rng;
use medium::{Change, Medium};

use crate::sync::Mutex;

/// A simulated disk. Clones share it.
#[derive(Clone, Debug)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OpKind {
    /// A file is created.
    Create,
    /// A file is opened. Not counted, since it changes nothing, but it can fail.
    Open,
    /// Bytes are read. Not counted, since it changes nothing, but it can fail.
    Read,
    /// Bytes are written.
    Write,
    /// A file is synced.
    Sync,
    /// Room is allocated.
    Reserve,
    /// A file's length is set.
    SetLen,
    /// A file gets another name.
    Rename,
    /// A name is removed.
    Remove,
    /// The directory is synced.
    SyncDir,
    /// The lock is taken, its file created where missing.
    Lock,
    /// The tail file is made.
    CreateTail,
    /// Bytes are stored to the tail file's mapping. It can't fail.
    TailStore,
}

/// One operation of the trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Op {
    /// Its place in the order of all operations that change or sync something, from 0.
    pub number: u64,
    /// What it does.
    pub kind: OpKind,
    /// The file's name: of a rename the new one, of the directory's sync none.
    pub file: String,
    /// Where in the file.
    pub offset: u64,
    /// How many bytes.
    pub len: u64,
}

/// How an operation fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// With this error of the operating system, having done nothing. A failed sync leaves what was
    /// to be synced as it was: a later one may save it.
    Error(i32),
    /// A write writes this many bytes and then fails; any other operation fails at once.
    ShortWrite {
        /// How many bytes reach the file.
        bytes: usize,
        /// The operating system's error.
        code: i32,
    },
    /// A sync fails with `EIO`; the new bytes can still be read but count as clean, so that a later
    /// sync succeeds and saves nothing of them (ext4, XFS).
    SyncKeepsNew,
    /// A sync fails with `EIO`, and the old bytes are back in the cache (btrfs, NFS).
    SyncDropsNew,
}

/// An operating system error's number; the same on Linux and macOS.
pub const EIO: i32 = 5;
/// Permission denied.
pub const EACCES: i32 = 13;
/// Too many open files.
pub const EMFILE: i32 = 24;
/// The disk is full.
pub const ENOSPC: i32 = 28;

/// What a power loss leaves of the things that were not durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// A choice that the seed makes, for each thing by itself.
    Seed(u64),
    /// Nothing of them survived.
    AllUnsynced,
    /// All of them survived.
    Nothing,
}

#[derive(Default)]
struct State {
    medium: Medium,
    ops: u64,
    trace: Vec<Op>,
    crash_at: Option<u64>,
    /// The process is dead, this being the operation it died in.
    died_in: Option<Change>,
    faults: Vec<Rule>,
    /// What of which file can't be read.
    unreadable: Vec<(String, Range<u64>)>,
    held_up: Option<HeldUp>,
    locked: BTreeSet<String>,
    without_tail: bool,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State")
            .field("ops", &self.ops)
            .field("dead", &self.died_in.is_some())
            .finish_non_exhaustive()
    }
}

type Predicate = Box<dyn Fn(OpKind, &str) -> bool + Send>;

/// An operation that waits before it begins.
struct HeldUp {
    matches: Predicate,
    wait: Box<dyn FnOnce() + Send>,
}

/// When an injected fault strikes.
enum When {
    Number(u64),
    /// At the match after `skip` more of them.
    Match {
        matches: Predicate,
        skip: u64,
    },
    Always {
        matches: Predicate,
    },
}

struct Rule {
    when: When,
    fault: Fault,
}

impl SimDisk {
    /// An empty disk without limits.
    #[allow(clippy::new_without_default)]
    pub fn new() -> SimDisk {
        SimDisk::from_state(State::default())
    }

    fn from_state(state: State) -> SimDisk {
        SimDisk { state: Arc::new(Mutex::new(state)) }
    }

    /// How many operations there were that change or sync something.
    pub fn ops(&self) -> u64 {
        self.state.lock().ops
    }

    /// Those operations, in order, also the ones that failed.
    pub fn trace(&self) -> Vec<Op> {
        self.state.lock().trace.clone()
    }

    /// The process dies in operation number `n`: it and everything after it fails, reads too.
    pub fn crash_after(&self, n: u64) {
        self.state.lock().crash_at = Some(n);
    }

    /// The disk that the next process finds when this one is killed now, or died already. Of the
    /// operation it died in, a write or a store has done its first `cut` bytes, and the making of a
    /// tail has erased as many of the old one; any other is done unless `cut` is 0.
    pub fn kill(&self, cut: usize) -> SimDisk {
        let state = self.state.lock();
        let mut medium = state.medium.image();
        if let Some(change) = &state.died_in
            && cut > 0
        {
            // It may be one that would have failed anyway.
            let _ = medium.apply(change, cut);
        }
        state.image_of(medium)
    }

    /// The disk that is found when the power fails now, or failed in the operation that the process
    /// died in.
    pub fn power_loss(&self, loss: Loss) -> SimDisk {
        let state = self.state.lock();
        let mut medium = state.medium.image();
        let mut rng = Rng::new(if let Loss::Seed(seed) = loss { seed } else { 0 });
        if let Some(change) = &state.died_in {
            let cut = match loss {
                Loss::Seed(_) => rng.below(change.len() + 2) as usize,
                Loss::AllUnsynced => 0,
                Loss::Nothing => usize::MAX,
            };
            // A sync that didn't return has promised nothing; what it might have saved is among
            // what the loss below chooses from.
            if cut > 0 && !change.is_sync() {
                let _ = medium.apply(change, cut);
            }
        }
        medium.lose_power(loss, &mut rng);
        state.image_of(medium)
    }

    /// Operation number `op_number` fails.
    pub fn fail(&self, op_number: u64, fault: Fault) {
        self.state.lock().faults.push(Rule { when: When::Number(op_number), fault });
    }

    /// Of the operations that match, number `nth`, counted from 0 and from now, fails, once.
    pub fn fail_when(
        &self,
        matches: impl Fn(OpKind, &str) -> bool + Send + 'static,
        nth: u64,
        fault: Fault,
    ) {
        let when = When::Match { matches: Box::new(matches), skip: nth };
        self.state.lock().faults.push(Rule { when, fault });
    }

    /// All operations that match fail until [`clear_faults`](SimDisk::clear_faults).
    pub fn fail_always(
        &self,
        matches: impl Fn(OpKind, &str) -> bool + Send + 'static,
        fault: Fault,
    ) {
        let when = When::Always { matches: Box::new(matches) };
        self.state.lock().faults.push(Rule { when, fault });
    }

    /// The medium has a bad sector: reads that touch these bytes of a file fail with [`EIO`] until
    /// [`clear_faults`](SimDisk::clear_faults).
    pub fn make_unreadable(&self, file: &str, bytes: Range<u64>) {
        self.state.lock().unreadable.push((file.to_owned(), bytes));
    }

    /// The next look into a file, write, change of length, sync, rename or removal that matches
    /// begins only when `wait` returns. Unlike in a predicate above, other threads go on using the
    /// disk meanwhile.
    pub fn hold_up(
        &self,
        matches: impl Fn(OpKind, &str) -> bool + Send + 'static,
        wait: impl FnOnce() + Send + 'static,
    ) {
        let held_up = HeldUp { matches: Box::new(matches), wait: Box::new(wait) };
        self.state.lock().held_up = Some(held_up);
    }

    /// Takes back all faults that haven't struck, and what can't be read.
    pub fn clear_faults(&self) {
        let mut state = self.state.lock();
        state.faults.clear();
        state.unreadable.clear();
    }

    /// How many bytes all files together may have: named ones, and removed ones still open. A write
    /// past it writes what fits. `None` is no limit.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.state.lock().medium.capacity = bytes;
    }

    /// Whether there is a tail file to be had; there is at first.
    pub fn set_tail(&self, available: bool) {
        self.state.lock().without_tail = !available;
    }

    /// The names of all files, in order.
    pub fn files(&self) -> Vec<String> {
        self.state.lock().medium.names()
    }

    /// A file's bytes, if there is one of that name.
    pub fn read_file(&self, file: &str) -> Option<Vec<u8>> {
        self.state.lock().medium.content(file).map(<[u8]>::to_vec)
    }

    /// Makes or replaces a file, durably, and makes all names durable. Like the methods below it
    /// acts on the medium: it is no operation of the process, isn't counted and can't fail.
    pub fn write_file(&self, file: &str, bytes: &[u8]) {
        self.state.lock().medium.plant(file, bytes.to_vec());
    }

    /// Removes a file, durably.
    ///
    /// # Panics
    /// If there is none of that name.
    pub fn remove_file(&self, file: &str) {
        self.state.lock().medium.uproot(file);
    }

    /// Flips one bit of a file, whose content so far becomes durable.
    ///
    /// # Panics
    /// If there is no such bit.
    pub fn flip_bit(&self, file: &str, bit: u64) {
        self.damage(file, |bytes| bytes[(bit / 8) as usize] ^= 1 << (bit % 8));
    }

    /// Cuts a file, whose content so far becomes durable.
    ///
    /// # Panics
    /// If there is no such file.
    pub fn truncate(&self, file: &str, len: u64) {
        self.damage(file, |bytes| bytes.truncate(len as usize));
    }

    fn damage(&self, file: &str, damage: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.state.lock();
        let mut bytes = state.medium.content(file).expect("no file of that name").to_vec();
        damage(&mut bytes);
        state.medium.plant(file, bytes);
    }
}

impl State {
    /// A new process's view of `medium`: no locks, no faults, no operations yet.
    fn image_of(&self, medium: Medium) -> SimDisk {
        let without_tail = self.without_tail;
        SimDisk::from_state(State { medium, without_tail, ..State::default() })
    }

    /// Every operation that changes or syncs something goes through here.
    fn run(&mut self, file: &str, change: Change) -> io::Result<()> {
        self.check_alive()?;
        if self.crash_at.is_some_and(|n| self.ops >= n) {
            self.died_in = Some(change);
            return self.check_alive();
        }
        let (kind, offset, len) = (change.kind(), change.offset(), change.len());
        let op = Op { number: self.ops, kind, file: file.to_owned(), offset, len };
        let fault = self.fault_for(&op);
        self.ops += 1;
        self.trace.push(op);
        match fault {
            None => self.medium.apply(&change, usize::MAX),
            Some(Fault::ShortWrite { bytes, code }) => {
                if kind == OpKind::Write {
                    self.medium.apply(&change, bytes)?;
                }
                Err(io::Error::from_raw_os_error(code))
            }
            Some(Fault::Error(code)) => Err(io::Error::from_raw_os_error(code)),
            Some(fault @ (Fault::SyncKeepsNew | Fault::SyncDropsNew)) => {
                self.medium.fail_sync(&change, fault == Fault::SyncKeepsNew);
                Err(io::Error::from_raw_os_error(EIO))
            }
        }
    }

    /// An operation that changes nothing: it isn't counted, but it can be made to fail.
    fn look(&mut self, kind: OpKind, file: &str) -> io::Result<()> {
        self.check_alive()?;
        let op = Op { number: u64::MAX, kind, file: file.to_owned(), offset: 0, len: 0 };
        match self.fault_for(&op) {
            Some(Fault::Error(code) | Fault::ShortWrite { code, .. }) => {
                Err(io::Error::from_raw_os_error(code))
            }
            _ => Ok(()),
        }
    }

    /// Fails where a file can't be read.
    fn check_readable(&self, file: &str, bytes: Range<u64>) -> io::Result<()> {
        let is_bad = |(name, bad): &(String, Range<u64>)| {
            name == file && bad.start < bytes.end && bytes.start < bad.end
        };
        match self.unreadable.iter().any(is_bad) {
            true => Err(io::Error::from_raw_os_error(EIO)),
            false => Ok(()),
        }
    }

    fn check_alive(&self) -> io::Result<()> {
        match self.died_in {
            Some(_) => Err(io::Error::other("the simulated process is dead")),
            None => Ok(()),
        }
    }

    fn fault_for(&mut self, op: &Op) -> Option<Fault> {
        if op.kind == OpKind::TailStore {
            return None;
        }
        let struck = self.faults.iter_mut().position(|rule| match &mut rule.when {
            When::Number(number) => *number == op.number,
            When::Match { matches, skip } => {
                let matched = matches(op.kind, &op.file);
                let strikes = matched && *skip == 0;
                *skip -= u64::from(matched && !strikes);
                strikes
            }
            When::Always { matches } => matches(op.kind, &op.file),
        })?;
        let fault = self.faults[struck].fault;
        if !matches!(self.faults[struck].when, When::Always { .. }) {
            self.faults.remove(struck);
        }
        Some(fault)
    }
}
