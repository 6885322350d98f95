//! A store beside a model of it: a list of all states that its commits made, and how many of them
//! must outlive a crash.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use arbitrary::Arbitrary;
use kindlog::disk::Disk;
use kindlog::disk::sim::{EIO, ENOSPC, Fault, Loss, OpKind, SimDisk};
use kindlog::{Batch, Durability, Error, Expect, Outcome, Revision, Snapshot, Store};

use crate::image;

/// What the fuzzer chooses.
#[derive(Arbitrary, Debug)]
pub struct Plan {
    no_tail: bool,
    default: Level,
    ops: Vec<Op>,
}

/// A durability.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Level {
    /// On disk.
    Sync,
    /// With the kernel.
    Os,
    /// In memory.
    Buffered,
}

impl From<Level> for Durability {
    fn from(level: Level) -> Durability {
        match level {
            Level::Sync => Durability::Sync,
            Level::Os => Durability::Os,
            Level::Buffered => Durability::Buffered,
        }
    }
}

/// One step.
#[derive(Arbitrary, Debug)]
enum Op {
    Put {
        key: Key,
        len: Len,
    },
    PutAt {
        key: Key,
        len: Len,
        level: Level,
    },
    Delete {
        key: Key,
    },
    DeletePrefix {
        kind: u8,
        prefix: u8,
    },
    Commit {
        changes: Vec<Change>,
        level: Level,
    },
    PutIf {
        key: Key,
        expect: Guess,
    },
    DeleteIf {
        key: Key,
        expect: Guess,
    },
    Scan {
        kind: u8,
        prefix: u8,
        after: Option<u8>,
        from: Option<u8>,
        to: Option<(u8, bool)>,
        reverse: bool,
        limit: u8,
    },
    Snapshot,
    Look {
        snapshot: u8,
    },
    Forget {
        snapshot: u8,
    },
    Sync,
    Check,
    Reader,
    Reopen,
    Kill,
    PowerLoss {
        seed: u16,
    },
    DieLater {
        after: u8,
        cut: u8,
        seed: Option<u16>,
    },
    Fail {
        kind: u8,
        nth: u8,
        fault: u8,
    },
    Full {
        room: u16,
    },
    Heal,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
struct Key {
    kind: u8,
    id: u8,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Len {
    Small(u8),
    Large(u8),
}

#[derive(Arbitrary, Debug)]
enum Change {
    Put { key: Key, len: Len },
    Delete { key: Key },
    DeletePrefix { kind: u8, prefix: u8 },
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Guess {
    Absent,
    Right,
    Wrong,
}

const KINDS: [&str; 3] = ["A", "AB", "B"];
const IDS: [&str; 10] = ["a", "a/", "a/b", "a/bc", "b", "b/1", "b/2", "\u{e9}", "\u{10ffff}", "z"];
const PREFIXES: [&str; 6] = ["", "a", "a/", "b/", "z", "\u{10ffff}"];

fn pick(from: &[&'static str], at: u8) -> &'static str {
    from[usize::from(at) % from.len()]
}

impl Key {
    fn names(self) -> (&'static str, &'static str) {
        (pick(&KINDS, self.kind), pick(&IDS, self.id))
    }
}

/// A resource as the model has it. Of a commit that may not have happened the revision is unknown.
#[derive(Clone, Debug, PartialEq)]
struct Value {
    revision: Option<u64>,
    bytes: Vec<u8>,
}

type State = BTreeMap<(&'static str, &'static str), Value>;

/// How a step ended for the process.
#[derive(PartialEq)]
enum Life {
    Alive,
    Dead,
}

struct Run {
    disk: SimDisk,
    store: Store,
    default: Durability,
    /// After each commit, the first one being none.
    states: Vec<State>,
    /// A commit behind the last state that may be there after a crash, or may not.
    maybe: Option<State>,
    /// How many commits outlive the death of the process, and power loss.
    floor_kill: usize,
    floor_power: usize,
    /// The highest revision that anyone has seen.
    seen: u64,
    counter: u32,
    snapshots: Vec<(Snapshot, State)>,
    /// A fault was set since the store was opened: writes may fail.
    tainted: bool,
    /// A fault is set, or the disk is full: anything may fail.
    faulty: bool,
    /// A failed sync may have thrown away what readers were shown.
    dropped: bool,
    /// How the process dies when it does.
    death: Option<(usize, Option<u16>)>,
}

/// Runs a plan.
///
/// # Panics
/// If the store does what it must not.
pub fn run(plan: Plan) {
    let disk = SimDisk::new();
    disk.set_tail(!plan.no_tail);
    let default = plan.default.into();
    let store = image::options().durability(default).open_on(&disk).expect("a new store");
    let mut run = Run {
        disk,
        store,
        default,
        states: vec![State::new()],
        maybe: None,
        floor_kill: 0,
        floor_power: 0,
        seen: 0,
        counter: 0,
        snapshots: Vec::new(),
        tainted: false,
        faulty: false,
        dropped: false,
        death: None,
    };
    for op in plan.ops.iter().take(60) {
        if run.step(op) == Life::Dead {
            run.die();
        }
    }
    run.heal();
    if run.is_dead() {
        run.die();
    }
    run.reopen();
    run.check();
    run.crash(None);
    run.check();
    run.store.close().expect("a sound disk");
}

impl Run {
    fn step(&mut self, op: &Op) -> Life {
        match op {
            Op::Put { key, len } => {
                self.commit(&[Change::Put { key: *key, len: *len }], None);
            }
            Op::PutAt { key, len, level } => {
                self.commit(&[Change::Put { key: *key, len: *len }], Some((*level).into()));
            }
            Op::Delete { key } => self.delete(*key),
            Op::DeletePrefix { kind, prefix } => {
                self.delete_prefix(pick(&KINDS, *kind), pick(&PREFIXES, *prefix));
            }
            Op::Commit { changes, level } => self.commit(changes, Some((*level).into())),
            Op::PutIf { key, expect } => self.put_if(*key, *expect),
            Op::DeleteIf { key, expect } => self.delete_if(*key, *expect),
            Op::Scan { .. } => self.scan(op),
            Op::Snapshot => {
                if self.snapshots.len() < 3 {
                    let snapshot = self.store.snapshot();
                    self.snapshots.push((snapshot, self.now().clone()));
                }
            }
            Op::Look { snapshot } => self.look(*snapshot),
            Op::Forget { snapshot } => {
                if !self.snapshots.is_empty() {
                    let at = usize::from(*snapshot) % self.snapshots.len();
                    drop(self.snapshots.swap_remove(at));
                }
            }
            Op::Sync => match self.store.sync() {
                Ok(()) if !self.is_dead() => self.all_durable(),
                Ok(()) => {}
                Err(error) => self.excuse(&error),
            },
            Op::Check => self.check(),
            Op::Reader => self.reader(),
            Op::Reopen => {
                if !self.is_dead() {
                    self.heal();
                    self.reopen();
                }
            }
            Op::Kill => {
                self.death = None;
                self.crash(None);
            }
            Op::PowerLoss { seed } => {
                self.death = None;
                self.crash(Some(*seed));
            }
            Op::DieLater { after, cut, seed } => {
                if self.death.is_none() {
                    self.tainted = true;
                    self.death = Some((usize::from(*cut), *seed));
                    self.disk.crash_after(self.disk.ops() + u64::from(*after % 24));
                }
            }
            Op::Fail { kind, nth, fault } => self.fail(*kind, *nth, *fault),
            Op::Full { room } => {
                let used: usize = self
                    .disk
                    .files()
                    .iter()
                    .map(|f| self.disk.read_file(f).map_or(0, |b| b.len()))
                    .sum();
                self.disk.set_capacity(Some(used as u64 + u64::from(*room) * 2));
                (self.tainted, self.faulty) = (true, true);
            }
            Op::Heal => self.heal(),
        }
        if self.is_dead() { Life::Dead } else { Life::Alive }
    }

    fn now(&self) -> &State {
        self.states.last().expect("there is a first one")
    }

    fn is_dead(&self) -> bool {
        self.death.is_some() && self.disk.list().is_err_and(|e| e.raw_os_error().is_none())
    }

    fn excuse(&self, error: &Error) {
        assert!(self.tainted, "without a reason: {error}");
    }

    fn all_durable(&mut self) {
        self.floor_kill = self.states.len() - 1;
        self.floor_power = self.floor_kill;
    }

    fn fail(&mut self, kind: u8, nth: u8, fault: u8) {
        const KINDS: [OpKind; 9] = [
            OpKind::Write,
            OpKind::Sync,
            OpKind::SyncDir,
            OpKind::Reserve,
            OpKind::Create,
            OpKind::Rename,
            OpKind::SetLen,
            OpKind::Remove,
            OpKind::Read,
        ];
        let kind = KINDS[usize::from(kind) % KINDS.len()];
        let fault = match fault % 5 {
            0 => Fault::Error(EIO),
            1 => Fault::Error(ENOSPC),
            2 => Fault::ShortWrite { bytes: usize::from(nth) * 8, code: ENOSPC },
            3 => Fault::SyncKeepsNew,
            _ => Fault::SyncDropsNew,
        };
        self.dropped |= fault == Fault::SyncDropsNew;
        (self.tainted, self.faulty) = (true, true);
        self.disk.fail_when(move |k, _| k == kind, u64::from(nth % 8), fault);
    }

    fn heal(&mut self) {
        self.disk.clear_faults();
        self.disk.set_capacity(None);
        self.faulty = false;
    }

    fn value(&mut self, len: Len) -> Vec<u8> {
        self.counter += 1;
        let len = match len {
            Len::Small(len) => usize::from(len),
            Len::Large(len) => usize::from(len) * 100,
        };
        let mut value = self.counter.to_le_bytes().to_vec();
        value.resize(len.max(4), self.counter as u8);
        value
    }

    // Changes ----------------------------------------------------------------------------------

    /// Commits changes as one batch, or a single put by its own verb.
    fn commit(&mut self, changes: &[Change], level: Option<Durability>) {
        let (mut batch, mut next) = (Batch::new(), self.now().clone());
        let mut touched = BTreeSet::new();
        for change in changes.iter().take(8) {
            match change {
                Change::Put { key, len } => {
                    let ((kind, id), bytes) = (key.names(), self.value(*len));
                    batch.put(kind, id, &bytes);
                    next.insert((kind, id), Value { revision: None, bytes });
                    touched.insert((kind, id));
                }
                Change::Delete { key } => {
                    let (kind, id) = key.names();
                    batch.delete(kind, id);
                    next.remove(&(kind, id));
                }
                Change::DeletePrefix { kind, prefix } => {
                    let (kind, prefix) = (pick(&KINDS, *kind), pick(&PREFIXES, *prefix));
                    batch.delete_prefix(kind, prefix);
                    next.retain(|(k, id), _| *k != kind || !id.starts_with(prefix));
                }
            }
        }
        let durability = level.unwrap_or(self.default);
        let done = match (changes, level) {
            ([Change::Put { key, .. }], None) => {
                let (kind, id) = key.names();
                let bytes = next[&(kind, id)].bytes.clone();
                self.store.put(kind, id, bytes)
            }
            _ => self.store.commit_with(batch, durability),
        };
        self.committed(done.map(|revision| (revision, ())), next, durability);
    }

    fn delete(&mut self, key: Key) {
        let (kind, id) = key.names();
        let mut next = self.now().clone();
        let was = next.remove(&(kind, id)).is_some();
        let done = self.store.delete(kind, id);
        if let Ok(removed) = &done {
            assert_eq!(*removed, was, "{kind}/{id}");
        }
        self.deleted(done.map(drop), next);
    }

    fn delete_prefix(&mut self, kind: &'static str, prefix: &'static str) {
        let mut next = self.now().clone();
        next.retain(|(k, id), _| *k != kind || !id.starts_with(prefix));
        let count = (self.now().len() - next.len()) as u64;
        let done = self.store.delete_prefix(kind, prefix);
        if let Ok(removed) = &done {
            assert_eq!(*removed, count, "{kind}/{prefix}*");
        }
        self.deleted(done.map(drop), next);
    }

    /// What a guess about a key means, and whether it holds.
    fn expect(&self, key: (&'static str, &'static str), guess: Guess) -> (Expect, bool) {
        let current = self.now().get(&key).map(|value| value.revision.expect("it is known"));
        match (guess, current) {
            (Guess::Absent, current) => (Expect::Absent, current.is_none()),
            (Guess::Right, Some(revision)) => (Expect::Revision(revision.into()), true),
            (Guess::Right, None) => (Expect::Absent, true),
            (Guess::Wrong, current) => {
                let other = current.unwrap_or(self.seen) + 1;
                (Expect::Revision(other.into()), false)
            }
        }
    }

    fn put_if(&mut self, key: Key, guess: Guess) {
        let key = key.names();
        let (expect, holds) = self.expect(key, guess);
        let (bytes, mut next) = (self.value(Len::Small(8)), self.now().clone());
        let done = self.store.put_if(key.0, key.1, expect, &bytes);
        next.insert(key, Value { revision: None, bytes });
        match done {
            Err(Error::Conflict { current }) => self.conflict(key, current, holds),
            done => {
                assert!(holds || done.is_err());
                self.committed(done.map(|revision| (revision, ())), next, self.default);
            }
        }
    }

    fn delete_if(&mut self, key: Key, guess: Guess) {
        let key = key.names();
        let (expect, holds) = self.expect(key, guess);
        let mut next = self.now().clone();
        let was = next.remove(&key).is_some();
        match self.store.delete_if(key.0, key.1, expect) {
            Err(Error::Conflict { current }) => self.conflict(key, current, holds),
            done => {
                assert!(holds || done.is_err());
                if let Ok(removed) = &done {
                    assert_eq!(*removed, was);
                }
                self.deleted(done.map(drop), next);
            }
        }
    }

    fn conflict(&self, key: (&str, &str), current: Option<Revision>, holds: bool) {
        let has = self.states.last().and_then(|state| {
            state.iter().find(|(k, _)| (k.0, k.1) == key).and_then(|(_, value)| value.revision)
        });
        assert!(!holds && current.map(u64::from) == has, "{key:?}: {current:?}, {has:?}");
    }

    /// A delete does not say its revision; the store does.
    fn deleted(&mut self, done: Result<(), Error>, next: State) {
        let done = done.map(|()| (self.store.stats().revision, ()));
        self.committed(done, next, self.default);
    }

    /// Takes down how a commit ended.
    fn committed(
        &mut self,
        done: Result<(Revision, ()), Error>,
        mut next: State,
        durability: Durability,
    ) {
        let changes = next != *self.now();
        let dead = self.is_dead();
        match done {
            Ok((revision, ())) => {
                let revision = u64::from(revision);
                if !changes {
                    assert!(revision <= self.seen, "a revision for nothing");
                    return;
                }
                assert!(revision > self.seen, "{revision} again: {} was seen", self.seen);
                if dead {
                    self.maybe = Some(next);
                    return;
                }
                next.values_mut().for_each(|value| {
                    value.revision.get_or_insert(revision);
                });
                self.seen = revision;
                self.states.push(next);
                self.maybe = None;
                match durability {
                    Durability::Sync => self.all_durable(),
                    Durability::Os => self.floor_kill = self.states.len() - 1,
                    Durability::Buffered => {}
                }
            }
            Err(error) => {
                self.excuse(&error);
                if changes && (dead || error.outcome() == Outcome::Unknown) {
                    self.maybe = Some(next);
                }
            }
        }
    }

    // Reads ------------------------------------------------------------------------------------

    /// Everything that is visible, against the model.
    fn check(&mut self) {
        if self.is_dead() {
            return;
        }
        let now = self.now().clone();
        for kind in KINDS {
            let expected = now.keys().filter(|(k, _)| *k == kind).count() as u64;
            match self.store.count(kind) {
                Ok(count) => assert_eq!(count, expected, "{kind}"),
                Err(error) => panic!("{error}"),
            }
            for id in IDS {
                let found = self.store.get_resource(kind, id);
                let expected = now.get(&(kind, id));
                match (found, expected) {
                    (Ok(None), None) => {
                        assert!(!self.store.contains(kind, id).is_ok_and(|there| there));
                    }
                    (Ok(Some(found)), Some(expected)) => {
                        assert_eq!(found.data[..], expected.bytes[..], "{kind}/{id}");
                        assert_eq!(Some(u64::from(found.revision)), expected.revision);
                    }
                    (Err(_), _) if self.faulty || self.dropped || self.death.is_some() => {}
                    (found, expected) => panic!("{kind}/{id}: {found:?}, not {expected:?}"),
                }
            }
        }
        let kinds: BTreeSet<String> = now.keys().map(|(kind, _)| (*kind).to_owned()).collect();
        assert_eq!(self.store.kinds().expect("it is open"), Vec::from_iter(kinds));
        match self.store.verify() {
            Ok(report) if self.dropped => drop(report),
            Ok(report) => assert!(report.is_clean(), "{report:?}"),
            Err(error) => self.excuse(&error),
        }
        let revision = u64::from(self.store.stats().revision);
        assert!(revision <= self.seen, "{revision}, {}", self.seen);
    }

    fn scan(&mut self, op: &Op) {
        let Op::Scan { kind, prefix, after, from, to, reverse, limit } = op else { return };
        let (kind, prefix) = (pick(&KINDS, *kind), pick(&PREFIXES, *prefix));
        let from = from.map_or(Bound::Unbounded, |id| Bound::Included(pick(&IDS, id)));
        let to = to.map_or(Bound::Unbounded, |(id, included)| match included {
            true => Bound::Included(pick(&IDS, id)),
            false => Bound::Excluded(pick(&IDS, id)),
        });
        let mut scan = self.store.scan(kind).prefix(prefix).range((from, to));
        let mut expected: Vec<(&str, Value)> = Vec::new();
        for ((k, id), value) in self.now() {
            let above = match from {
                Bound::Included(from) => *id >= from,
                _ => true,
            };
            let below = match to {
                Bound::Included(to) => *id <= to,
                Bound::Excluded(to) => *id < to,
                Bound::Unbounded => true,
            };
            if *k == kind && id.starts_with(prefix) && above && below {
                expected.push((id, value.clone()));
            }
        }
        if *reverse {
            scan = scan.reverse();
            expected.reverse();
        }
        if let Some(after) = after {
            let after = pick(&IDS, *after);
            scan = scan.after(after);
            expected.retain(|(id, _)| if *reverse { *id < after } else { *id > after });
        }
        if *limit < 8 {
            scan = scan.limit((*limit).into());
            expected.truncate((*limit).into());
        }
        let ids: Vec<String> = scan.keys().map(|id| id.expect("the index is in memory")).collect();
        assert!(ids.iter().eq(expected.iter().map(|(id, _)| id)), "{ids:?}");
        let mut len = 0;
        for (found, (id, value)) in scan.iter().zip(&expected) {
            match found {
                Ok(found) => {
                    assert!(found.id == *id && found.data[..] == value.bytes[..], "{found:?}");
                    assert_eq!(Some(u64::from(found.revision)), value.revision);
                }
                Err(error) => assert!(self.faulty || self.dropped || self.is_dead(), "{error}"),
            }
            len += 1;
        }
        assert_eq!(len, expected.len());
    }

    fn look(&mut self, snapshot: u8) {
        if self.snapshots.is_empty() {
            return;
        }
        let (snapshot, state) = &self.snapshots[usize::from(snapshot) % self.snapshots.len()];
        let excused = self.faulty || self.dropped || self.death.is_some();
        for kind in KINDS {
            let ids: Vec<_> = snapshot.scan(kind).keys().map(|id| id.expect("in memory")).collect();
            let expected: Vec<_> =
                state.keys().filter(|(k, _)| *k == kind).map(|(_, id)| *id).collect();
            assert_eq!(ids, expected, "{kind}");
            for id in IDS {
                match (snapshot.get_resource(kind, id), state.get(&(kind, id))) {
                    (Ok(None), None) => {}
                    (Ok(Some(found)), Some(value)) => {
                        assert_eq!(found.data[..], value.bytes[..], "{kind}/{id}");
                    }
                    (Err(error), _) => assert!(excused, "{error}"),
                    (found, value) => panic!("{kind}/{id}: {found:?}, not {value:?}"),
                }
            }
        }
    }

    /// A reader beside the owner sees a state that was, and at least what is durable.
    fn reader(&mut self) {
        let reader = image::options().read_only(true).open_on(&self.disk);
        let found = reader.and_then(|reader| {
            let found = contents(&reader)?;
            assert!(reader.verify()?.is_clean());
            Ok(found)
        });
        match found {
            Ok(found) if !self.tainted => {
                let saw = self.states[self.floor_power..].iter().any(|state| same(state, &found));
                assert!(saw, "a reader sees what never was: {found:?}");
            }
            Ok(_) => {}
            Err(error) => self.excuse(&error),
        }
    }

    // Ends -------------------------------------------------------------------------------------

    /// Closes in order, and opens again.
    fn reopen(&mut self) {
        match self.store.close() {
            Ok(()) if self.is_dead() => return self.die(),
            Ok(()) => {
                self.all_durable();
                self.maybe = None;
            }
            Err(error) => {
                self.excuse(&error);
                if self.is_dead() {
                    return self.die();
                }
                // What a failed sync left in the cache may be gone.
                if self.dropped {
                    self.floor_kill = self.floor_power;
                }
            }
        }
        self.snapshots.clear();
        self.open();
    }

    fn die(&mut self) {
        let (cut, seed) = self.death.take().unwrap_or_default();
        match seed {
            None => {
                let image = self.disk.kill(cut);
                self.restart(image, self.floor_kill_now());
            }
            Some(seed) => {
                let image = self.disk.power_loss(Loss::Seed(seed.into()));
                self.restart(image, self.floor_power);
            }
        }
    }

    fn crash(&mut self, seed: Option<u16>) {
        match seed {
            None => self.restart(self.disk.kill(0), self.floor_kill_now()),
            Some(seed) => {
                let loss = match seed {
                    0 => Loss::AllUnsynced,
                    1 => Loss::Nothing,
                    seed => Loss::Seed(seed.into()),
                };
                self.restart(self.disk.power_loss(loss), self.floor_power);
            }
        }
    }

    fn floor_kill_now(&self) -> usize {
        if self.dropped { self.floor_power } else { self.floor_kill }
    }

    fn restart(&mut self, image: SimDisk, floor: usize) {
        self.snapshots.clear();
        let _ = self.store.close();
        self.disk = image;
        self.disk.set_capacity(None);
        self.floor_kill = floor;
        self.floor_power = self.floor_power.min(floor);
        self.open();
    }

    /// Opens, and finds out which of the states that may be there is.
    fn open(&mut self) {
        let store = image::options().durability(self.default).open_on(&self.disk);
        let found = store.and_then(|store| {
            let found = contents(&store)?;
            self.store = store;
            Ok(found)
        });
        let found = match found {
            Ok(found) => found,
            Err(_) if self.is_dead() => return self.die(),
            Err(error) => panic!("it does not open: {error}"),
        };
        (self.tainted, self.faulty, self.dropped) = (self.death.is_some(), false, false);
        let maybe = self.maybe.take();
        let at =
            (self.floor_kill..self.states.len()).rev().find(|at| same(&self.states[*at], &found));
        match (at, maybe) {
            (Some(at), _) => self.states.truncate(at + 1),
            (None, Some(mut maybe)) if same(&maybe, &found) => {
                for (key, value) in &mut maybe {
                    let revision = found[&(key.0.to_owned(), key.1.to_owned())].0;
                    if value.revision.is_none() {
                        assert!(revision > self.seen, "{revision}, {}", self.seen);
                    }
                    value.revision = Some(revision);
                }
                self.states.push(maybe);
            }
            (None, maybe) => panic!(
                "a state that must not be: {:?}; the last one was {:?}, perhaps {:?}; {} of {} must survive",
                short(&found),
                self.now().iter().map(|(k, v)| (k, v.revision, v.bytes.len())).collect::<Vec<_>>(),
                maybe.map(|m| m
                    .iter()
                    .map(|(k, v)| (*k, v.revision, v.bytes.len()))
                    .collect::<Vec<_>>()),
                self.floor_kill,
                self.states.len() - 1,
            ),
        }
        self.seen = self.seen.max(self.store.stats().revision.into());
        self.all_durable();
    }
}

type Found = BTreeMap<(String, String), (u64, Vec<u8>)>;

fn short(found: &Found) -> Vec<(&String, &String, u64, usize)> {
    found.iter().map(|((k, i), (r, b))| (k, i, *r, b.len())).collect()
}

fn contents(store: &Store) -> Result<Found, Error> {
    let mut found = Found::new();
    for kind in store.kinds()? {
        for resource in store.scan(&kind).iter() {
            let resource = resource?;
            let value = (resource.revision.into(), resource.data.to_vec());
            found.insert((kind.clone(), resource.id.to_string()), value);
        }
    }
    Ok(found)
}

/// Whether a state of the model is what was found. Revisions it does not know are all the same one.
fn same(state: &State, found: &Found) -> bool {
    let mut unknown = BTreeSet::new();
    state.len() == found.len()
        && state.iter().zip(found).all(|((key, value), (found_key, (revision, bytes)))| {
            if value.revision.is_none() {
                unknown.insert(*revision);
            }
            (found_key.0.as_str(), found_key.1.as_str()) == *key
                && *bytes == value.bytes
                && value.revision.is_none_or(|known| known == *revision)
        })
        && unknown.len() <= 1
}
