//! Closing, dying and opening again: which of the states that may be there is.

use std::collections::{BTreeMap, BTreeSet};

use kindlog::disk::sim::{Loss, SimDisk};
use kindlog::{Error, Store};

use super::{Run, State};
use crate::image;

impl Run {
    /// Closes in order, and opens again.
    pub(super) fn reopen(&mut self) {
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

    pub(super) fn die(&mut self) {
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

    pub(super) fn crash(&mut self, seed: Option<u16>) {
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

    pub(super) fn floor_kill_now(&self) -> usize {
        if self.dropped { self.floor_power } else { self.floor_kill }
    }

    pub(super) fn restart(&mut self, image: SimDisk, floor: usize) {
        self.snapshots.clear();
        let _ = self.store.close();
        self.disk = image;
        self.disk.set_capacity(None);
        self.floor_kill = floor;
        self.floor_power = self.floor_power.min(floor);
        self.open();
    }

    /// Opens, and finds out which of the states that may be there is.
    pub(super) fn open(&mut self) {
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
                "a state that must not be: {:?}; the last one was {:?}, perhaps {:?}; {} of {} \
                 commits must be there",
                short(&found),
                outline(self.now()),
                maybe.as_ref().map(outline),
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
    found.iter().map(|((kind, id), (r, bytes))| (kind, id, *r, bytes.len())).collect()
}

fn outline(state: &State) -> Vec<(&str, &str, Option<u64>, usize)> {
    let line = |(key, value): (&(&'static str, &'static str), &super::Value)| {
        (key.0, key.1, value.revision, value.bytes.len())
    };
    state.iter().map(line).collect()
}

pub(super) fn contents(store: &Store) -> Result<Found, Error> {
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
pub(super) fn same(state: &State, found: &Found) -> bool {
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
