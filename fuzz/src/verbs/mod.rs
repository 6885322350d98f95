//! A store beside a model of it: a list of all states that its commits made, and how many of them
//! must outlive a crash.

mod changes;
mod ends;
mod plan;
mod reads;

use std::collections::BTreeMap;

use kindlog::disk::Disk;
use kindlog::disk::sim::{EIO, ENOSPC, Fault, OpKind, SimDisk};
use kindlog::{Durability, Error, MIN_SEGMENT_SIZE, Snapshot, Store};

use crate::image;
pub use plan::Plan;
use plan::{Change, KINDS, Len, Op, PREFIXES, pick};

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
            Op::Scan(range) => self.scan(range),
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
            Op::Full { room } => self.fill((*room).into()),
            Op::Heal => self.heal(),
            Op::Fill { key, left, level } => {
                let len = Len::Exact(self.room().saturating_sub(u64::from(*left) * 4) as u16);
                self.commit(&[Change::Put { key: *key, len }], Some((*level).into()));
            }
            Op::Compact { roll, pick } => self.compact(*roll, *pick),
        }
        if self.is_dead() { Life::Dead } else { Life::Alive }
    }

    /// Whatever it does, nobody may notice.
    fn compact(&mut self, roll: bool, pick: u8) {
        let picked = |number: u32| pick >> (number % 8) & 1 == 1;
        if let Err(error) = kindlog::fuzzing::compact_picked(&self.store, roll, picked) {
            self.excuse(&error);
        }
        if !self.is_dead() {
            self.check();
        }
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

    /// What the active segment has left, if it is of the usual size.
    fn room(&self) -> u64 {
        let stats = self.store.stats();
        let active = stats.segments.iter().find(|segment| segment.active);
        MIN_SEGMENT_SIZE.saturating_sub(active.map_or(0, |segment| segment.total_bytes))
    }

    /// Leaves the disk little room.
    fn fill(&mut self, room: u64) {
        let files = self.disk.files();
        let len = |name: &String| self.disk.read_file(name).map_or(0, |bytes| bytes.len() as u64);
        let used: u64 = files.iter().map(len).sum();
        self.disk.set_capacity(Some(used + room * 2));
        (self.tainted, self.faulty) = (true, true);
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
            Len::Exact(len) => len.into(),
        };
        let mut value = self.counter.to_le_bytes().to_vec();
        value.resize(len.max(4), self.counter as u8);
        value
    }
}
