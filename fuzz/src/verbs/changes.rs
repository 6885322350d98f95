//! Commits, and what the model takes down of how they ended.

use std::collections::BTreeSet;

use kindlog::{Batch, Durability, Error, Expect, Outcome, Revision};

use super::plan::{Change, Guess, KINDS, Key, Len, PREFIXES, pick};
use super::{Run, State, Value};

impl Run {
    /// Commits changes as one batch, or a single put by its own verb.
    pub(super) fn commit(&mut self, changes: &[Change], level: Option<Durability>) {
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

    pub(super) fn delete(&mut self, key: Key) {
        let (kind, id) = key.names();
        let mut next = self.now().clone();
        let was = next.remove(&(kind, id)).is_some();
        let done = self.store.delete(kind, id);
        if let Ok(removed) = &done {
            assert_eq!(*removed, was, "{kind}/{id}");
        }
        self.deleted(done.map(drop), next);
    }

    pub(super) fn delete_prefix(&mut self, kind: &'static str, prefix: &'static str) {
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
    pub(super) fn expect(&self, key: (&'static str, &'static str), guess: Guess) -> (Expect, bool) {
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

    pub(super) fn put_if(&mut self, key: Key, guess: Guess) {
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

    pub(super) fn delete_if(&mut self, key: Key, guess: Guess) {
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

    pub(super) fn conflict(&self, key: (&str, &str), current: Option<Revision>, holds: bool) {
        let has = self.states.last().and_then(|state| {
            state.iter().find(|(k, _)| (k.0, k.1) == key).and_then(|(_, value)| value.revision)
        });
        assert!(!holds && current.map(u64::from) == has, "{key:?}: {current:?}, {has:?}");
    }

    /// A delete does not say its revision; the store does.
    pub(super) fn deleted(&mut self, done: Result<(), Error>, next: State) {
        let done = done.map(|()| (self.store.stats().revision, ()));
        self.committed(done, next, self.default);
    }

    /// Takes down how a commit ended.
    pub(super) fn committed(
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
}
