//! The index against a model that remembers the state at every snapshot's revision.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;

use super::Random;
use crate::format::location::{Location, Place, SegmentId};
use crate::index::usage::SegmentUsage;
use crate::index::*;

type Id = Vec<u8>;
type Ids = BTreeMap<Id, Location>;
/// A snapshot's revision and generation, and what it sees.
type Seen = (u64, u64, Ids);

/// What the log would be: every record ever written, by its place.
type Records = HashMap<Place, (Id, u64)>;

struct Model {
    index: Index,
    kind: Arc<Kind>,
    random: Random,
    /// How many different ids there are.
    universe: usize,
    now: Ids,
    snapshots: Vec<Seen>,
    records: Records,
    total_bytes: u64,
    revision: u64,
    written: u64,
    merging: Merging,
}

/// Who merges.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Merging {
    /// Changes do, for want of a thread.
    Changes,
    /// A thread, which takes a step between two changes about every so many of them.
    Thread { every: usize },
}

const MERGING: [Merging; 4] = [
    Merging::Changes,
    Merging::Thread { every: 2 },
    // So seldom that runs grow until changes help, and until they have to wait.
    Merging::Thread { every: 40 },
    Merging::Thread { every: 10_000 },
];

impl Model {
    fn new(seed: u64, universe: usize, merging: Merging) -> Model {
        let index = Index::new();
        index.merger().attend(merging != Merging::Changes);
        let kind = index.kind_or_create("Agent").clone();
        Model {
            index,
            kind,
            random: Random::new(seed),
            universe,
            now: Ids::new(),
            snapshots: Vec::new(),
            records: Records::new(),
            total_bytes: 0,
            revision: 0,
            written: 0,
            merging,
        }
    }

    /// What the thread that merges may do between two changes.
    fn merge(&mut self) {
        let Merging::Thread { every } = self.merging else { return };
        if !self.random.one_in(every) {
            return;
        }
        match self.random.below(20) {
            0 => self.index.merge_long(),
            1 => self.index.merge_idle(),
            _ if self.kind.merges() => self.kind.merge_some(),
            _ => {}
        }
    }

    /// Ids of very different shapes, many with a prefix in common.
    fn id(&mut self) -> Id {
        let n = self.random.below(self.universe);
        let letter = |n: usize| char::from(b'a' + n as u8);
        let id = match n % 7 {
            0 => format!("{}", n),
            1 | 2 => format!("{}/{:06}", letter(n % 4), n),
            3 => format!("{}/{}/{n}", letter(n % 3), letter(n % 5)),
            4 => letter(n % 26).to_string().repeat(1 + n % 50),
            5 => format!("long/{}{n}", "x".repeat(n % 700)),
            _ => return vec![0xff; 1 + n % 4],
        };
        id.into_bytes()
    }

    fn prefix(&mut self) -> Id {
        let mut prefix = self.id();
        let len = if self.random.one_in(8) { 0 } else { 1 + self.random.below(prefix.len()) };
        prefix.truncate(len);
        prefix
    }

    fn location(&mut self, id: &[u8]) -> Location {
        self.written += 1;
        let segment = SegmentId((self.written / 500) as u32);
        let len = 8 * (1 + self.random.below(30) as u64);
        let location = Location::new(segment, self.written * 256, len);
        self.records.insert(location.place, (id.to_vec(), self.revision));
        self.total_bytes += len;
        location
    }

    /// As the engine does it: candidates, the record, its key, what hides it.
    fn get(&self, id: &[u8]) -> Option<Place> {
        let mut lookup = self.kind.lookup(self.kind.hash(id));
        while let Some(place) = lookup.candidate() {
            let (found, revision) = &self.records[&place];
            if found == id && !lookup.covered(id, *revision) {
                return Some(place);
            }
        }
        None
    }

    fn put(&mut self) {
        let id = self.id();
        self.revision += 1;
        let (old, new) = (self.now.get(&id).copied(), self.location(&id));
        assert_eq!(self.get(&id), old.map(|old| old.place));
        self.kind.put(
            self.kind.hashed(&id),
            new,
            old,
            self.revision,
            self.revision as i64,
            self.index.snapshots(),
        );
        self.now.insert(id, new);
    }

    fn delete(&mut self) {
        let id = self.id();
        if let Some(old) = self.now.remove(&id) {
            self.revision += 1;
            self.kind.delete(self.kind.hashed(&id), old, self.revision, self.index.snapshots());
        }
    }

    /// A copy of the record goes to another place, if it is still where it was.
    fn relocate(&mut self) {
        let id = self.id();
        let Some(old) = self.now.get(&id).copied() else { return };
        let record = self.records[&old.place].clone();
        assert!(self.kind.is_at(self.kind.hashed(&id), record.1, old.place));
        let new = self.location(&id);
        assert!(!self.kind.is_at(self.kind.hashed(&id), record.1, new.place));
        let revision = record.1;
        self.records.insert(new.place, record);
        let segment = new.place.segment;
        self.kind.note_segment(segment, new.len_bytes(), 0, 0);
        let moves = [Move { id: self.kind.hashed(&id), revision, from: old, to: new }];
        let mut moved = 0;
        self.kind.relocate(moves.into_iter(), self.index.snapshots(), |_| moved += 1);
        assert_eq!(moved, 1);
        self.now.insert(id.clone(), new);
        // Snapshots that saw the same record see the copy.
        for (_, _, ids) in &mut self.snapshots {
            if let Some(location) = ids.get_mut(&id).filter(|location| **location == old) {
                *location = new;
            }
        }
    }

    fn delete_prefix(&mut self) {
        let prefix = self.prefix();
        self.revision += 1;
        let before = self.now.len();
        let expected = self.now.keys().filter(|id| id.starts_with(&prefix)).count() as u64;
        assert_eq!(self.kind.count_prefix(&prefix), expected);
        let (count, garbage) =
            self.kind.delete_prefix(&prefix, self.revision, self.index.snapshots());
        drop(garbage);
        self.now.retain(|id, _| !id.starts_with(&prefix));
        assert_eq!(count, (before - self.now.len()) as u64);
        assert_eq!(count, expected);
        if self.random.one_in(2) {
            // The same commit may put what it has just deleted.
            self.revision -= 1;
            self.put();
        }
    }

    fn bounds(&mut self) -> (Bound<Id>, Bound<Id>) {
        let mut bound = || match self.random.below(3) {
            0 => Bound::Unbounded,
            1 => Bound::Included(self.id()),
            _ => Bound::Excluded(self.id()),
        };
        (bound(), bound())
    }

    fn snapshot(&mut self) {
        let generation = self.index.snapshots().register(self.revision);
        self.snapshots.push((self.revision, generation, self.now.clone()));
    }

    fn release(&mut self) {
        if !self.snapshots.is_empty() {
            let at = self.random.below(self.snapshots.len());
            let (revision, generation, _) = self.snapshots.swap_remove(at);
            self.index.snapshots().release(revision, generation);
        }
        if self.random.one_in(3) {
            self.index.prune();
        }
    }

    /// Scans a snapshot a chunk at a time, with changes in between.
    fn scan(&mut self, at: usize, changes: bool) {
        let (start, end) = self.bounds();
        let (reverse, max) = (self.random.one_in(2), 1 + self.random.below(200));
        let revision = self.snapshots[at].0;
        self.kind.prepare_scan();
        let (mut chunk, mut found) = (Chunk::new(), Vec::new());
        let (mut from, mut to) = (start.clone(), end.clone());
        loop {
            let bounds = (from.as_ref().map(Vec::as_slice), to.as_ref().map(Vec::as_slice));
            self.kind.fill(&mut chunk, revision, bounds, reverse, max);
            let Some(last) = chunk.last_id() else { break };
            assert!(chunk.len() <= max);
            let last = Bound::Excluded(last.to_vec());
            *(if reverse { &mut to } else { &mut from }) = last;
            // A relocation in between shows in some chunks and not in others: compare records.
            for (id, location) in chunk.iter() {
                found.push((id.to_vec(), self.record(location)));
            }
            if changes {
                (0..5).for_each(|_| self.change());
            }
        }
        let in_range = |id: &&Id| {
            (match &start {
                Bound::Included(s) => *id >= s,
                Bound::Excluded(s) => *id > s,
                _ => true,
            }) && (match &end {
                Bound::Included(e) => *id <= e,
                Bound::Excluded(e) => *id < e,
                _ => true,
            })
        };
        let seen = self.snapshots[at].2.iter().filter(|(id, _)| in_range(id));
        let mut expected: Vec<_> =
            seen.map(|(id, location)| (id.clone(), self.record(*location))).collect();
        if reverse {
            expected.reverse();
        }
        assert_eq!(found.len(), expected.len(), "scan at {revision}, now {}", self.revision);
        assert!(found == expected, "scan at {revision}, now {}", self.revision);
    }

    fn record(&self, location: Location) -> (Id, u64) {
        self.records[&location.place].clone()
    }
}

// What may happen, and what must hold.
impl Model {
    fn change(&mut self) {
        self.merge();
        match self.random.below(1000) {
            0..620 => self.put(),
            620..860 => self.delete(),
            860..960 => self.relocate(),
            960..997 => _ = self.kind.clean(self.random.below(60)),
            _ => self.delete_prefix(),
        }
    }

    /// Goes through what lies in some segments, to which nothing is written any more; with
    /// `changes`, while keys are put and deleted.
    fn walk(&mut self, changes: bool) {
        let newest = SegmentId((self.written / 500) as u32);
        let rows = self.kind.usage().into_iter().map(|row| row.segment);
        let segments: Vec<SegmentId> =
            rows.filter(|id| *id != newest && self.random.one_in(3)).collect();
        let kind = self.kind.clone();
        let (mut walk, mut chunk) = (kind.within(&segments), Chunk::new());
        let mut found: Vec<(Id, Location)> = Vec::new();
        while walk.fill(&mut chunk) {
            found.extend(chunk.iter().map(|(id, location)| (id.to_vec(), location)));
            for _ in 0..if changes { 20 } else { 0 } {
                match self.random.below(100) {
                    0..60 => self.put(),
                    60..99 => self.delete(),
                    _ => self.delete_prefix(),
                }
            }
        }
        assert!(found.is_sorted_by(|a, b| a.0 < b.0), "in order, and each once");
        let lies_in = |location: &Location| segments.contains(&location.place.segment);
        assert!(found.iter().all(|(_, location)| lies_in(location)));
        let found: Ids = found.into_iter().collect();
        let there = self.now.iter().filter(|(_, location)| lies_in(location));
        let there: Ids = there.map(|(id, location)| (id.clone(), *location)).collect();
        assert!(there.iter().all(|(id, location)| found.get(id) == Some(location)));
        assert!(changes || found == there, "what has changed since the walk began is no excuse");
    }

    fn step(&mut self) {
        match self.random.below(1000) {
            0..990 => self.change(),
            990..994 if self.snapshots.len() < 6 => self.snapshot(),
            990..998 => self.release(),
            _ if !self.snapshots.is_empty() => {
                let at = self.random.below(self.snapshots.len());
                let changes = self.random.one_in(2);
                self.scan(at, changes);
            }
            _ => {}
        }
    }

    fn check(&mut self) {
        assert_eq!(self.kind.count(), self.now.len() as u64);
        let usage = self.kind.usage();
        let sum = |f: fn(&SegmentUsage) -> u64| usage.iter().map(f).sum::<u64>();
        assert_eq!(sum(|row| row.live_count), self.now.len() as u64);
        assert_eq!(sum(|row| row.total_bytes), self.total_bytes);
        for row in &usage {
            let here = self.now.values().filter(|location| location.place.segment == row.segment);
            assert_eq!(row.live_bytes, here.map(Location::len_bytes).sum::<u64>());
        }
        for _ in 0..if cfg!(miri) { 5 } else { 200 } {
            let id = self.id();
            let now = self.now.get(&id).copied();
            assert_eq!(self.get(&id), now.map(|now| now.place));
            assert_eq!(self.kind.find_ordered(&id), now);
            for (revision, _, ids) in &self.snapshots {
                let was = match self.kind.earlier(&id, *revision) {
                    Earlier::Unchanged => now,
                    Earlier::Was(was) => was,
                };
                assert_eq!(
                    was,
                    ids.get(&id).copied(),
                    "{id:?} at {revision}, now {}",
                    self.revision
                );
            }
        }
        for at in 0..self.snapshots.len() {
            self.scan(at, false);
        }
        self.walk(false);
    }

    fn run(seed: u64, universe: usize, steps: usize, merging: Merging) {
        let mut model = Model::new(seed, universe, merging);
        for step in 1..=steps {
            model.step();
            if step % (steps / 20) == 0 {
                model.check();
                model.walk(true);
            }
        }
        model.check();
        while !model.snapshots.is_empty() {
            model.release();
        }
        model.index.prune();
        while !model.kind.clean(1000) {}
        model.kind.prepare_scan();
        model.check();
        model.check_nothing_is_left();
    }

    fn check_nothing_is_left(&self) {
        assert_eq!(self.kind.slots(), self.now.len());
        assert!(!self.kind.has_history());
    }
}

#[test]
fn agrees_with_a_model_of_few_ids() {
    let (seeds, steps) = if cfg!(miri) { (1, 100) } else { (20, 6_000) };
    for seed in 1..=seeds {
        Model::run(seed, 300, steps, MERGING[seed as usize % 4]);
    }
}

#[test]
fn agrees_with_a_model_of_many_ids() {
    for seed in 1..=4 {
        Model::run(seed, 20_000, 60_000, MERGING[seed as usize % 4]);
    }
}
