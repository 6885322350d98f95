//! What is measured, by the names of the tables. Each runs in a process of its own.

mod latency;
mod mixed;
mod open;
mod reads;
mod remove;
mod scans;
mod space;
mod writes;

use std::path::PathBuf;
use std::time::Duration;

use crate::data::{self, Keys, Values};
use crate::engine::{Engine, Level, Result, Role, Spec};
use crate::line;

/// A workload, and what it starts from.
pub struct Workload {
    pub name: &'static str,
    pub about: &'static str,
    pub needs: Needs,
    pub store: Store,
    pub level: Level,
    pub threads: u64,
    /// The operations of all threads, for so many records.
    pub ops: fn(u64) -> u64,
    pub run: fn(&Context) -> Result<()>,
}

/// What a workload starts from, and leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    /// An empty directory, removed afterwards.
    Fresh,
    /// An empty directory, in which W2 leaves the loaded store.
    Loads,
    /// The loaded store, as the workload before left it.
    Loaded,
    /// The same, and nothing of its files in memory.
    Cold,
}

/// Which stores and limits can do it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    Writes,
    DurableWrites,
    /// Gets, of what was loaded.
    Gets,
    /// And scans.
    Reads,
    Changes,
    Files,
}

impl Needs {
    pub fn met_by(self, role: Role) -> bool {
        match role {
            Role::Store => true,
            Role::Reader => matches!(self, Needs::Gets | Needs::Reads),
            Role::Memory => !matches!(self, Needs::DurableWrites | Needs::Files),
            Role::Log => matches!(self, Needs::Writes | Needs::DurableWrites),
            Role::Points => self == Needs::Gets,
        }
    }
}

/// What the process of one workload was asked to do.
pub struct Context {
    pub spec: &'static Spec,
    pub dir: PathBuf,
    pub level: Level,
    pub records: u64,
    pub value_len: usize,
    pub threads: u64,
    pub ops: u64,
    /// How long nothing may change on disk for a store to count as idle.
    pub settle: Duration,
    /// O1b: how many puts the killed process is known to have acknowledged.
    pub acked: u64,
}

impl Context {
    pub fn open(&self) -> Result<Box<dyn Engine>> {
        (self.spec.open)(&self.dir, self.level, self.value_len)
    }

    /// The loaded store; what has no files is loaded first.
    pub fn open_loaded(&self) -> Result<Box<dyn Engine>> {
        let engine = self.open()?;
        if self.spec.role == Role::Memory {
            self.load(&*engine)?;
        }
        Ok(engine)
    }

    /// Puts all records, at random, in batches of 100.
    pub fn load(&self, engine: &dyn Engine) -> Result<()> {
        self.put_in_batches(engine, &data::shuffled(self.records), 0)
    }

    pub fn put_in_batches(&self, engine: &dyn Engine, order: &[u32], version: u64) -> Result<()> {
        let values = self.values()?;
        for chunk in order.chunks(100) {
            let keys = Keys::of(chunk.iter().copied());
            let puts = keys.iter().zip(chunk);
            let puts = puts.map(|(key, record)| (key, values.of(*record, version)));
            engine.put_batch(&puts.collect::<Vec<_>>())?;
        }
        Ok(())
    }

    pub fn values(&self) -> Result<Values> {
        Values::new(self.value_len)
    }

    /// What a process reports: the metric's name ends in its unit.
    pub fn figure(&self, metric: &str, value: f64) {
        line::print_figure(metric, value);
    }

    pub fn rate(&self, metric: &str, count: u64, time: Duration) {
        self.figure(metric, count as f64 / time.as_secs_f64());
    }

    pub fn logical_bytes(&self) -> f64 {
        (self.records * (data::KEY_LEN + self.value_len) as u64) as f64
    }
}

const fn of(name: &'static str, about: &'static str, run: fn(&Context) -> Result<()>) -> Workload {
    Workload {
        name,
        about,
        needs: Needs::Changes,
        store: Store::Loaded,
        level: Level::Os,
        threads: 1,
        ops: |records| records,
        run,
    }
}

const fn write(
    name: &'static str,
    about: &'static str,
    run: fn(&Context) -> Result<()>,
) -> Workload {
    Workload { needs: Needs::Writes, store: Store::Fresh, ..of(name, about, run) }
}

const fn read(
    name: &'static str,
    about: &'static str,
    run: fn(&Context) -> Result<()>,
) -> Workload {
    Workload { needs: Needs::Reads, ..of(name, about, run) }
}

const fn get(name: &'static str, about: &'static str, run: fn(&Context) -> Result<()>) -> Workload {
    Workload { needs: Needs::Gets, ..of(name, about, run) }
}

const fn two_threads(workload: Workload) -> Workload {
    Workload { threads: 2, ops: |records| 2 * records, ..workload }
}

const fn on_files(workload: Workload) -> Workload {
    Workload { needs: Needs::Files, ..workload }
}

const fn durable(workload: Workload) -> Workload {
    Workload { needs: Needs::DurableWrites, level: Level::Sync, ..workload }
}

// What stands in both lists below.
const MEM: Workload = Workload {
    needs: Needs::Changes,
    ..write("MEM", "memory while loading, one put a commit", space::memory)
};
const W2: Workload = Workload {
    store: Store::Loads,
    ..write("W2", "put at random, one a commit", writes::at_random)
};
const O1: Workload = on_files(of("O1", "open after a clean close, first get", open::after_close));
const O1C: Workload = Workload {
    store: Store::Cold,
    ..on_files(of("O1c", "open with no file in memory, first get", open::cold))
};
const CP: Workload = on_files(of("CP", "compact all of it", space::compact));
const R1: Workload = get("R1", "get at random", reads::uniform);
const R3: Workload = read("R3", "list kinds with values", scans::values);
const R3C: Workload = Workload {
    ops: |records| (records / 20).max(500),
    ..read("R3c", "scan of 100 from a random key", scans::short)
};

/// All of them, in the order in which they run: those before W2 each in a directory of their own,
/// those behind it in the store that it loaded.
pub const ALL: &[Workload] = &[
    write("W1", "put in key order, one a commit", writes::in_order),
    write("W1b", "put in key order, 100 a commit", writes::batches_in_order),
    write("W2b", "put at random, 100 a commit", writes::batches_at_random),
    Workload {
        ops: |records| (records / 100).max(200),
        ..durable(write("W3", "put at random, an fsync each", writes::at_random))
    },
    Workload {
        threads: 8,
        ops: |records| (records / 25).max(800),
        ..durable(write("W3b", "put at random, an fsync each, 8 threads", writes::at_random))
    },
    Workload {
        ops: killed_ops,
        ..on_files(write("O1b", "open after kill -9 amid puts, first get", open::after_kill))
    },
    MEM,
    Workload {
        ops: |records| 5 * records,
        ..on_files(write(
            "S1",
            "bytes on disk: loaded, overwritten 5 times, compacted",
            space::on_disk,
        ))
    },
    Workload {
        needs: Needs::Changes,
        ops: |records| 2 * records,
        ..write("L1", "latency of overwriting puts beside a reader", latency::beside)
    },
    W2,
    O1,
    O1C,
    CP,
    R1,
    two_threads(get("R1x2", "get at random, 2 threads", reads::uniform)),
    get("R1z", "get, zipfian", reads::zipfian),
    two_threads(get("R1zx2", "get, zipfian, 2 threads", reads::zipfian)),
    get("R2", "get what is missing", reads::missing),
    two_threads(get("R2x2", "get what is missing, 2 threads", reads::missing)),
    R3,
    read("R3b", "list kinds, keys only", scans::keys),
    R3C,
    of("M1", "YCSB A: half gets, half puts, zipfian", mixed::a),
    two_threads(of("M1x2", "YCSB A, 2 threads", mixed::a)),
    of("M2", "YCSB B: 95 % gets, 5 % puts", mixed::b),
    two_threads(of("M2x2", "YCSB B, 2 threads", mixed::b)),
    of("MC", "YCSB C: gets", mixed::c),
    of("MD", "YCSB D: 95 % gets of the latest, 5 % inserts", mixed::d),
    of("M3", "YCSB F: half gets, half read-modify-writes", mixed::f),
    two_threads(of("M3x2", "YCSB F, 2 threads", mixed::f)),
    Workload {
        ops: |records| (records / 20).max(500),
        ..of("ME", "YCSB E: 95 % scans of 1 to 100, 5 % inserts", mixed::e)
    },
    of("D1", "delete a kind, an eighth of the records", remove::kind),
];

/// What `scale` does for each number of keys: as many operations, so that figures compare.
pub const GROWTH: &[Workload] = &[
    MEM,
    W2,
    O1,
    O1C,
    CP,
    Workload { ops: |_| 1_000_000, ..R1 },
    R3,
    Workload { ops: |_| 20_000, ..R3C },
];

/// O1b's first half: writes until it is killed. Not in the tables, and in no list of a user.
pub const KILLED: &Workload = &Workload {
    ops: killed_ops,
    ..on_files(write("O1b-write", "puts until it is killed", open::until_killed))
};

const fn killed_ops(records: u64) -> u64 {
    let fifth = records / 5;
    if fifth < 2000 { 2000 } else { fifth }
}

pub fn named(name: &str) -> Option<&'static Workload> {
    ALL.iter().chain([KILLED]).find(|workload| workload.name == name)
}
