//! The process that the demo kills: it owns the store and makes commits in an order that follows
//! from the seed alone, so that the parent knows what each of them did. After each one it writes
//! the commit's number to standard output: the acknowledgement.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

use kindlog::{Batch, Durability, Options, Store};
use prost::Message;

use super::data::Rng;
use crate::examples::LogChunk;
use crate::failure::{Failure, Outcome};
use crate::output::write_failure;

/// The kind that only the killed process writes.
pub(super) const KIND: &str = "KilledWriterLog";

/// It ends by itself after so many commits, should nobody kill it.
const COMMITS_MAX: u64 = 10_000_000;

/// Every so many commits, one waits for the disk.
const SYNC_EVERY: u64 = 32;

/// What commit `number` does.
#[derive(Debug)]
pub(super) enum Change {
    Put(String, Vec<u8>),
    Delete(String),
    DeletePrefix(String),
    Batch { puts: Vec<(String, Vec<u8>)>, delete: String },
}

/// The state that commits add up to: bytes by id.
pub(super) type Model = BTreeMap<String, Vec<u8>>;

impl Change {
    pub(super) fn of(seed: u64, number: u64) -> Change {
        let group = number / 16;
        match number % 16 {
            5 | 11 => Change::Delete(id(number - 3)),
            13 => Change::Batch {
                puts: (0..4)
                    .map(|n| (format!("{}+{n}", id(number)), value(seed, number, n)))
                    .collect(),
                delete: id(number - 6),
            },
            15 if group % 4 == 3 => Change::DeletePrefix(format!("group-{:06}/", group - 2)),
            _ => Change::Put(id(number), value(seed, number, 0)),
        }
    }

    fn commit(self, store: &Store, number: u64) -> Result<(), kindlog::Error> {
        let mut batch = Batch::new();
        match self {
            Change::Put(id, value) => {
                batch.put(KIND, &id, &value);
            }
            Change::Delete(id) => return store.delete(KIND, &id).map(drop),
            Change::DeletePrefix(prefix) => return store.delete_prefix(KIND, &prefix).map(drop),
            Change::Batch { puts, delete } => {
                for (id, value) in &puts {
                    batch.put(KIND, id, value);
                }
                batch.delete(KIND, &delete);
            }
        }
        let durability =
            if number.is_multiple_of(SYNC_EVERY) { Durability::Sync } else { Durability::Os };
        store.commit_with(batch, durability).map(drop)
    }

    pub(super) fn apply(self, model: &mut Model) {
        match self {
            Change::Put(id, value) => {
                model.insert(id, value);
            }
            Change::Delete(id) => {
                model.remove(&id);
            }
            Change::DeletePrefix(prefix) => model.retain(|id, _| !id.starts_with(&prefix)),
            Change::Batch { puts, delete } => {
                model.extend(puts);
                model.remove(&delete);
            }
        }
    }
}

fn id(number: u64) -> String {
    format!("group-{:06}/{:02}", number / 16, number % 16)
}

/// A log chunk of 0 to 4 KiB of noise.
fn value(seed: u64, number: u64, part: u64) -> Vec<u8> {
    let mut rng = Rng::new(seed, number, part);
    let content_len = rng.below(4097) as usize;
    let content: Vec<u8> = (0..content_len).map(|_| rng.next() as u8).collect();
    let chunk = LogChunk { sequence: number, content, ..LogChunk::default() };
    chunk.encode_to_vec()
}

/// Makes commits until it is killed.
pub(crate) fn run(dir: &Path, seed: u64, from: u64) -> Outcome {
    // Deletes are of this durability too: what `Os` promises is to survive the process.
    let store = Options::new().create(false).durability(Durability::Os).open(dir)?;
    let mut stdout = io::stdout().lock();
    for number in from..from.saturating_add(COMMITS_MAX) {
        Change::of(seed, number)
            .commit(&store, number)
            .map_err(|error| Failure::from(error).during(format!("commit {number}")))?;
        // One write of one line: it is in the pipe whole, or not at all.
        stdout
            .write_all(format!("{number}\n").as_bytes())
            .and_then(|()| stdout.flush())
            .map_err(write_failure)?;
    }
    Ok(store.close()?)
}
