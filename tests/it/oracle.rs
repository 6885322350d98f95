//! What a store may hold after a crash: some prefix of the commits, and which of them at least.
//!
//! The oracle is told of every attempt to commit and how it ended. It keeps each state that the
//! store may be found in: one per prefix of the order, and both ways for each commit whose outcome
//! nobody knows.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::Arc;

use bytes::Bytes;
use kindlog::{Error, Store};

pub(crate) type Key = (String, String);
/// What was read from a store: each key's bytes and revision.
pub(crate) type Found = BTreeMap<Key, (Bytes, u64)>;
/// What is expected; the revision of a commit that nobody answered is not known.
type Content = BTreeMap<Key, (Arc<[u8]>, Option<u64>)>;

/// One change of a commit.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    /// Kind, id, and the value's length; its bytes are the attempt's own.
    Put(&'static str, String, usize),
    Delete(&'static str, String),
    DeletePrefix(&'static str, String),
}

/// How an attempt to commit ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Acknowledged, as this revision.
    Acknowledged(u64),
    /// Refused, for certain.
    Never,
    /// Whole or absent after the next open.
    Unknown,
}

/// What happened to the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Crash {
    Kill,
    PowerLoss,
}

/// The bytes that attempt number `attempt` puts.
pub(crate) fn value(attempt: usize, len: usize) -> Vec<u8> {
    let mut seed = attempt as u64 + 1;
    let mut value = Vec::with_capacity(len + 8);
    while value.len() < len {
        seed = seed.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(0x1405_7B7E_F767_814F);
        value.extend_from_slice(&(seed >> 16).to_le_bytes());
    }
    value.truncate(len);
    value
}

#[derive(Clone, Debug)]
struct Candidate {
    /// It holds all commits acknowledged among the first `upto` attempts.
    upto: usize,
    content: Content,
}

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Oracle {
    candidates: Vec<Candidate>,
    /// The candidates that the next commit may come on top of.
    frontier: Vec<usize>,
    /// The candidate that the running store shows.
    live: usize,
    attempts: usize,
    last_acknowledged: usize,
    kill_floor: usize,
    power_floor: usize,
    /// The highest revision that anyone saw.
    pub(crate) seen: u64,
    /// Every key that was ever put.
    keys: BTreeSet<Key>,
}

impl Oracle {
    pub(crate) fn new() -> Oracle {
        Oracle {
            candidates: vec![Candidate { upto: 0, content: Content::new() }],
            frontier: vec![0],
            live: 0,
            attempts: 0,
            last_acknowledged: 0,
            kill_floor: 0,
            power_floor: 0,
            seen: 0,
            keys: BTreeSet::new(),
        }
    }

    /// The number of the next attempt.
    pub(crate) fn next(&self) -> usize {
        self.attempts
    }

    /// Takes down an attempt and how it ended.
    pub(crate) fn attempted(&mut self, changes: &[Change], fate: Fate) {
        let attempt = self.attempts;
        self.attempts += 1;
        for change in changes {
            if let Change::Put(kind, id, _) = change {
                self.keys.insert(((*kind).to_owned(), id.clone()));
            }
        }
        let revision = match fate {
            Fate::Never => return,
            Fate::Acknowledged(revision) => Some(revision),
            Fate::Unknown => None,
        };
        let mut next = Vec::new();
        for at in self.frontier.clone() {
            let mut content = self.candidates[at].content.clone();
            for change in changes {
                apply(&mut content, change, attempt, revision);
            }
            if at == self.live && revision.is_some() {
                self.live = self.candidates.len();
            }
            next.push(self.candidates.len());
            self.candidates.push(Candidate { upto: attempt + 1, content });
        }
        match revision {
            None => self.frontier.extend(next),
            Some(revision) => {
                self.frontier = next;
                self.last_acknowledged = attempt + 1;
                self.seen = self.seen.max(revision);
            }
        }
    }

    /// All that was acknowledged so far survives the death of the process.
    pub(crate) fn with_kernel(&mut self) {
        self.kill_floor = self.last_acknowledged;
    }

    /// All that was acknowledged so far survives power loss.
    pub(crate) fn on_disk(&mut self) {
        self.kill_floor = self.last_acknowledged;
        self.power_floor = self.last_acknowledged;
    }

    /// What an open store showed, it keeps: this is what happened, all else did not.
    pub(crate) fn settle(&mut self, found: &Found) {
        let content = found.iter().map(|(key, (value, revision))| {
            let value: Arc<[u8]> = Arc::from(&value[..]);
            (key.clone(), (value, Some(*revision)))
        });
        let content = content.collect();
        self.seen = found.values().map(|(_, revision)| *revision).fold(self.seen, u64::max);
        self.candidates = vec![Candidate { upto: self.attempts, content }];
        self.frontier = vec![0];
        self.live = 0;
        self.last_acknowledged = self.attempts;
        self.on_disk();
    }

    /// Whether the running store shows what it should.
    pub(crate) fn check_live(&self, found: &Found) -> Result<(), String> {
        let live = &self.candidates[self.live].content;
        difference(live, found).map_or(Ok(()), |what| Err(format!("the running store: {what}")))
    }

    /// Whether `found` may be there after a crash.
    pub(crate) fn check(&self, found: &Found, crash: Crash) -> Result<(), String> {
        let floor = match crash {
            Crash::Kill => self.kill_floor,
            Crash::PowerLoss => self.power_floor,
        };
        self.check_from(found, floor)
    }

    /// Whether `found` is a prefix of the commits, however short.
    pub(crate) fn check_prefix(&self, found: &Found) -> Result<(), String> {
        self.check_from(found, 0)
    }

    /// Every key that was ever put.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &Key> {
        self.keys.iter()
    }

    /// Whether all that must survive power loss is in `found`, which is some prefix.
    pub(crate) fn has_all_synced(&self, found: &Found) -> bool {
        self.check_from(found, self.power_floor).is_ok()
    }

    fn check_from(&self, found: &Found, floor: usize) -> Result<(), String> {
        let matches = |candidate: &&Candidate| difference(&candidate.content, found).is_none();
        let upto = self.candidates.iter().rev().find(matches).map(|candidate| candidate.upto);
        match upto {
            Some(upto) if upto >= floor => Ok(()),
            Some(upto) => Err(format!(
                "only the first {upto} commits are there, of {} tried; {floor} had to survive",
                self.attempts
            )),
            None => {
                let mut what = format!("no prefix of {} commits:", self.attempts);
                for candidate in &self.candidates {
                    if candidate.upto >= floor {
                        let difference = difference(&candidate.content, found);
                        let difference = difference.unwrap_or_default();
                        let _ = write!(what, "\n  not the first {}: {difference}", candidate.upto);
                    }
                }
                Err(what)
            }
        }
    }

    /// Reads all of a store, each key in every way there is, and also the keys that are not there.
    ///
    /// # Panics
    /// If the ways differ.
    pub(crate) fn read(&self, store: &Store) -> Result<Found, Error> {
        let found = read_all(store)?;
        for (kind, id) in &self.keys {
            let expected = found.get(&(kind.clone(), id.clone()));
            let got = store.get_resource(kind, id)?;
            let got = got.map(|resource| (resource.data, u64::from(resource.revision)));
            assert!(got.as_ref() == expected, "{kind}/{id} is not what the scan shows");
            assert_eq!(store.contains(kind, id)?, got.is_some(), "{kind}/{id}");
        }
        Ok(found)
    }
}

/// Scans all kinds.
pub(crate) fn read_all(store: &Store) -> Result<Found, Error> {
    let mut found = Found::new();
    for kind in store.kinds()? {
        let mut count = 0;
        for resource in store.scan(&kind).iter() {
            let resource = resource?;
            count += 1;
            let key = (kind.clone(), String::from(&resource.id));
            found.insert(key, (resource.data, u64::from(resource.revision)));
        }
        assert_eq!(store.count(&kind)?, count, "the count of {kind}");
    }
    Ok(found)
}

fn apply(content: &mut Content, change: &Change, attempt: usize, revision: Option<u64>) {
    match change {
        Change::Put(kind, id, len) => {
            let value = Arc::from(value(attempt, *len));
            content.insert(((*kind).to_owned(), id.clone()), (value, revision));
        }
        Change::Delete(kind, id) => {
            content.remove(&((*kind).to_owned(), id.clone()));
        }
        Change::DeletePrefix(kind, prefix) => {
            content.retain(|(k, id), _| k != kind || !id.starts_with(prefix));
        }
    }
}

/// The first difference, in words; `None` if there is none.
fn difference(expected: &Content, found: &Found) -> Option<String> {
    for ((kind, id), (value, revision)) in expected {
        match found.get(&(kind.clone(), id.clone())) {
            None => return Some(format!("{kind}/{id} is missing")),
            Some((got, _)) if got[..] != value[..] => {
                return Some(format!("{kind}/{id} has another value, {} bytes", got.len()));
            }
            Some((_, got)) if revision.is_some_and(|revision| revision != *got) => {
                return Some(format!("{kind}/{id} has revision {got}, not {revision:?}"));
            }
            Some(_) => {}
        }
    }
    let extra = found.keys().find(|key| !expected.contains_key(*key));
    extra.map(|(kind, id)| format!("{kind}/{id} should not be there"))
}
