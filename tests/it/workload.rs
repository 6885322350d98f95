//! A store on a simulated disk, driven step by step, with an oracle that watches.

use std::cell::Cell;
use std::time::Duration;

use kindlog::disk::Disk;
use kindlog::disk::sim::SimDisk;
use kindlog::fuzzing::compact_picked;
use kindlog::{Batch, Durability, Error, MIN_SEGMENT_SIZE, Options, Outcome, Store};

use crate::oracle::{Change, Fate, Oracle, value};

use Durability::{Buffered, Os, Sync};

/// Small segments, and a background that syncs only when it is told to.
pub(crate) fn options() -> Options {
    let options = Options::new().segment_size(MIN_SEGMENT_SIZE);
    options.sync_interval(Duration::from_secs(3600)).space_bound(f64::INFINITY)
}

/// One step of a workload.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Commit(Vec<Change>, Durability),
    Sync,
    /// Closes in order, and opens again.
    Reopen,
    Compact,
    /// Ends the segment that is written, if it is to `roll`; then compacts the sealed segments
    /// whose bits are set: the lowest is that of the one that comes first in the log.
    CompactSome {
        roll: bool,
        picked: u32,
    },
}

pub(crate) fn put(kind: &'static str, id: &str, len: usize, durability: Durability) -> Step {
    Step::Commit(vec![Change::Put(kind, id.to_owned(), len)], durability)
}

pub(crate) fn delete(kind: &'static str, id: &str, durability: Durability) -> Step {
    Step::Commit(vec![Change::Delete(kind, id.to_owned())], durability)
}

pub(crate) fn delete_prefix(kind: &'static str, prefix: &str, durability: Durability) -> Step {
    Step::Commit(vec![Change::DeletePrefix(kind, prefix.to_owned())], durability)
}

/// Ends the segment that is written, and compacts none.
pub(crate) const ROLL: Step = Step::CompactSome { roll: true, picked: 0 };

/// Compacts some of the sealed segments.
pub(crate) fn some(picked: u32) -> Step {
    Step::CompactSome { roll: false, picked }
}

fn batch(durability: Durability, changes: &[(&'static str, &str, Option<usize>)]) -> Step {
    let change = |(kind, id, len): &(&'static str, &str, Option<usize>)| match (len, id) {
        (Some(len), _) => Change::Put(kind, (*id).to_owned(), *len),
        (None, id) => match id.strip_suffix('*') {
            Some(prefix) => Change::DeletePrefix(kind, prefix.to_owned()),
            None => Change::Delete(kind, (*id).to_owned()),
        },
    };
    Step::Commit(changes.iter().map(change).collect(), durability)
}

/// Every verb and every durability, rolling, a batch larger than a segment, closing and reopening.
pub(crate) fn everything() -> Vec<Step> {
    vec![
        put("Agent", "a", 40, Sync),
        put("Agent", "b", 0, Os),
        put("Log", "s1/1", 300, Os),
        batch(Sync, &[("Log", "s1/2", Some(700)), ("Log", "s2/1", Some(9)), ("Agent", "b", None)]),
        put("Agent", "a", 50, Buffered),
        put("Log", "s1/3", 30, Os),
        delete("Agent", "a", Sync),
        delete_prefix("Log", "s1/", Os),
        put("Log", "s1/9", 600, Buffered),
        Step::Sync,
        put("Blob", "x", 24_000, Os),
        put("Blob", "y", 24_000, Buffered),
        put("Blob", "x", 24_000, Sync),
        put("Agent", "c", 12, Os),
        batch(Os, &[("Blob", "*", None), ("Blob", "z", Some(1000)), ("Log", "s1/9", Some(5))]),
        Step::Reopen,
        put("Agent", "a", 33, Os),
        batch(Buffered, &[("Big", "1", Some(30_000)), ("Big", "2", Some(45_000))]),
        put("Agent", "d", 21, Buffered),
        delete_prefix("Big", "", Sync),
        put("Big", "1", 100, Os),
        Step::Sync,
        delete("Agent", "c", Buffered),
        put("Agent", "c", 13, Os),
        batch(Sync, &[("Log", "s*", None), ("Agent", "a", None), ("Agent", "e", Some(3000))]),
        Step::Reopen,
        delete_prefix("Agent", "", Buffered),
        put("Agent", "f", 70, Os),
        put("Agent", "g", 70, Sync),
    ]
}

/// A few commits in one segment.
pub(crate) fn brief() -> Vec<Step> {
    vec![
        put("Agent", "a", 40, Sync),
        put("Log", "s1/1", 300, Os),
        batch(Os, &[("Log", "s1/2", Some(700)), ("Agent", "a", None)]),
        put("Agent", "b", 30, Buffered),
        delete_prefix("Log", "s1/", Sync),
        put("Agent", "b", 10, Os),
        Step::Sync,
        delete("Agent", "b", Os),
        Step::Reopen,
        put("Agent", "c", 10, Os),
    ]
}

/// Compactions of some segments and of all, of their outputs too: tombstones whose puts lie in
/// another segment, puts whose successors are not durable yet, keys that come back.
pub(crate) fn compacting() -> Vec<Step> {
    vec![
        put("Log", "a/1", 40, Os),
        put("Agent", "x", 30, Sync),
        batch(Os, &[("Agent", "y", Some(20)), ("Log", "a/2", Some(9)), ("Log", "b", Some(60))]),
        ROLL,
        delete("Log", "b", Os),
        delete_prefix("Log", "a/", Os),
        put("Log", "a/4", 70, Os),
        put("Agent", "z", 15, Os),
        ROLL,
        // The tombstones stay: what they delete is in the older one.
        some(0b10),
        put("Agent", "x", 35, Buffered),
        delete("Agent", "y", Os),
        // What makes the older one's records dead has not been synced.
        some(0b01),
        Step::Reopen,
        put("Log", "b", 44, Os),
        batch(Os, &[("Log", "a/*", None), ("Log", "a/1", Some(11)), ("Agent", "z", None)]),
        Step::CompactSome { roll: true, picked: 0b110 },
        some(!0),
        put("Log", "a/4", 72, Buffered),
        Step::Compact,
        // Again, what was deleted and compacted away; and deleted again.
        put("Agent", "y", 24, Os),
        ROLL,
        batch(Sync, &[("Agent", "*", None), ("Log", "b", None), ("Agent", "x", Some(5))]),
        Step::CompactSome { roll: true, picked: !0b11 },
        Step::Reopen,
        some(0b1),
        delete("Agent", "x", Buffered),
        Step::Compact,
        put("Agent", "x", 6, Os),
    ]
}

/// How a step went.
#[derive(Debug)]
pub(crate) enum Went {
    Well,
    Wrong(Error),
    /// The process died in it.
    Dead,
}

/// A store and what is expected of it.
pub(crate) struct Run {
    pub(crate) disk: SimDisk,
    pub(crate) store: Option<Store>,
    pub(crate) oracle: Oracle,
    /// The revision that the next commit takes, where that is known.
    next_revision: Option<u64>,
    /// A sync that fails may drop what the kernel had: `Os` is then no promise.
    pub(crate) drops_cache: bool,
    /// For messages: what it goes through.
    pub(crate) story: String,
    pub(crate) options: Options,
}

impl Run {
    pub(crate) fn new(disk: &SimDisk) -> Run {
        Run {
            disk: disk.clone(),
            store: None,
            oracle: Oracle::new(),
            next_revision: None,
            drops_cache: false,
            story: String::new(),
            options: options(),
        }
    }

    /// Takes the steps until the process dies, and drops the store. Whether it died.
    pub(crate) fn play(&mut self, steps: &[Step]) -> bool {
        let mut died = matches!(self.open(), Went::Dead);
        for step in steps {
            if !died {
                match self.step(step) {
                    Went::Well => {}
                    Went::Dead => died = true,
                    Went::Wrong(error) => panic!("{step:?}: {error}"),
                }
            }
        }
        self.store = None;
        died || self.is_dead()
    }

    /// The same, but the store stays open.
    pub(crate) fn play_open(&mut self, steps: &[Step]) -> bool {
        let opened = self.open();
        let mut wents = steps.iter().map(|step| self.step(step));
        matches!(opened, Went::Dead) || wents.any(|went| matches!(went, Went::Dead))
    }

    /// The process dies now; the next one finds the disk.
    pub(crate) fn die(&mut self) {
        self.disk = self.disk.kill(0);
        self.store = None;
    }

    /// Opens the store, where it isn't open, and checks what it holds against what `close` left.
    pub(crate) fn open(&mut self) -> Went {
        if self.store.is_some() {
            return Went::Well;
        }
        let opened = self.options.open_on(&self.disk);
        if self.is_dead() {
            return Went::Dead;
        }
        let store = match opened {
            Ok(store) => store,
            Err(error) => return Went::Wrong(error),
        };
        let found = match self.oracle.read(&store) {
            Ok(found) => found,
            Err(error) => return Went::Wrong(error),
        };
        if let Err(what) = self.oracle.check(&found, crate::oracle::Crash::Kill) {
            panic!("{}, after the store was opened: {what}", self.story);
        }
        self.oracle.settle(&found);
        self.store = Some(store);
        self.next_revision = None;
        Went::Well
    }

    pub(crate) fn step(&mut self, step: &Step) -> Went {
        match step {
            Step::Commit(changes, durability) => self.commit(changes, *durability),
            Step::Sync => self.sync(),
            Step::Reopen => self.reopen(),
            Step::Compact => self.compact(true, Store::compact),
            Step::CompactSome { roll, picked } => self.compact(*roll, |store| {
                let at = Cell::new(0);
                let pick = |_| picked >> at.replace(at.get() + 1) & 1 == 1;
                compact_picked(store, *roll, pick)
            }),
        }
    }

    /// It changes nothing that can be seen, whatever comes of it.
    fn compact(&mut self, syncs: bool, run: impl FnOnce(&Store) -> Result<(), Error>) -> Went {
        match run(self.store.as_ref().expect("the store is open")) {
            _ if self.is_dead() => Went::Dead,
            Ok(()) => {
                if syncs {
                    self.oracle.on_disk();
                }
                Went::Well
            }
            Err(error) => Went::Wrong(error),
        }
    }

    fn commit(&mut self, changes: &[Change], durability: Durability) -> Went {
        let store = self.store.as_ref().expect("the store is open");
        let attempt = self.oracle.next();
        let before = u64::from(store.stats().revision);
        let done = commit_to(store, changes, durability, attempt);
        if self.is_dead() {
            self.oracle.attempted(changes, Fate::Unknown);
            return Went::Dead;
        }
        match done {
            Ok(revision) => {
                if let Some(next) = self.next_revision {
                    let unchanged = revision + 1 == next && changes.iter().all(is_delete);
                    assert!(
                        revision == next || unchanged,
                        "revision {revision} of {changes:?}, where {next} comes next"
                    );
                }
                self.next_revision = Some(revision + 1);
                self.oracle.attempted(changes, Fate::Acknowledged(revision));
                match durability {
                    // It found nothing to do, and had nothing to wait for.
                    _ if revision == before => {}
                    Sync => self.oracle.on_disk(),
                    Os if !self.drops_cache => self.oracle.with_kernel(),
                    Os | Buffered => {}
                }
                Went::Well
            }
            Err(error) => {
                let fate = match error.outcome() {
                    Outcome::NotCommitted => Fate::Never,
                    Outcome::Unknown => Fate::Unknown,
                };
                self.oracle.attempted(changes, fate);
                Went::Wrong(error)
            }
        }
    }

    fn sync(&mut self) -> Went {
        let synced = self.store.as_ref().expect("the store is open").sync();
        match synced {
            _ if self.is_dead() => Went::Dead,
            Ok(()) => {
                self.oracle.on_disk();
                Went::Well
            }
            Err(error) => Went::Wrong(error),
        }
    }

    /// Whatever closing says, the store is opened again.
    pub(crate) fn reopen(&mut self) -> Went {
        let closed = match self.store.take() {
            Some(store) => store.close(),
            None => Ok(()),
        };
        if self.is_dead() {
            return Went::Dead;
        }
        if closed.is_ok() {
            self.oracle.on_disk();
        }
        match (self.open(), closed) {
            (Went::Well, Err(error)) => Went::Wrong(error),
            (went, _) => went,
        }
    }

    /// The running store must show what the oracle says. Where the kernel has dropped what was
    /// written, what rested on it can't be read any more, and is an error.
    pub(crate) fn check_live(&self) {
        let store = self.store.as_ref().expect("the store is open");
        let found = match self.oracle.read(store) {
            Err(Error::Corrupt { .. }) if self.drops_cache => return,
            found => found.expect("reads work"),
        };
        if let Err(what) = self.oracle.check_live(&found) {
            panic!("{}: {what}", self.story);
        }
    }

    /// Whether the process on the disk is dead.
    pub(crate) fn is_dead(&self) -> bool {
        is_dead(&self.disk)
    }
}

pub(crate) fn is_dead(disk: &SimDisk) -> bool {
    disk.list().is_err_and(|error| error.to_string().contains("process is dead"))
}

/// A store that was just opened has no segment and no hint that it doesn't know of, but for one
/// segment that somebody died in the making of.
pub(crate) fn assert_no_strays(disk: &SimDisk, store: &Store, story: &str) {
    let known: Vec<u32> = store.stats().segments.iter().map(|segment| segment.id).collect();
    let last = known.iter().max().copied().unwrap_or(0);
    let strays = disk.files().into_iter().filter(|name| {
        let number = name.split_once('.').and_then(|(hex, _)| u32::from_str_radix(hex, 16).ok());
        let in_the_making = |n: u32| n > last && name.ends_with(".seg");
        number.is_some_and(|number| !known.contains(&number) && !in_the_making(number))
    });
    let strays: Vec<String> = strays.collect();
    assert!(strays.is_empty(), "{story}: nobody knows of {strays:?}");
}

/// Commits by the store's own verb where it has one for this durability, else as a batch.
pub(crate) fn commit_to(
    store: &Store,
    changes: &[Change],
    durability: Durability,
    attempt: usize,
) -> Result<u64, Error> {
    if let ([Change::Put(kind, id, len)], Sync) = (changes, durability) {
        return store.put(kind, id, value(attempt, *len)).map(u64::from);
    }
    let mut batch = Batch::new();
    for change in changes {
        match change {
            Change::Put(kind, id, len) => batch.put(kind, id, value(attempt, *len)),
            Change::Delete(kind, id) => batch.delete(kind, id),
            Change::DeletePrefix(kind, prefix) => batch.delete_prefix(kind, prefix),
        };
    }
    store.commit_with(batch, durability).map(u64::from)
}

fn is_delete(change: &Change) -> bool {
    !matches!(change, Change::Put(..))
}
