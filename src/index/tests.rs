//! The index against a model that remembers the state at every revision.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;

use super::points::{Points, Probe};
use super::*;
use crate::format::location::{Location, Place};

/// xorshift64*: the same sequence for the same seed, on every machine.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % n
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

type Id = Vec<u8>;
type Ids = BTreeMap<Id, Location>;

/// What the log would be: every record ever written, by its place.
type Records = HashMap<Place, (Id, u64)>;

struct Model {
    index: Index,
    kind: Arc<Kind>,
    random: Random,
    /// How many different ids there are.
    universe: usize,
    now: Ids,
    snapshots: Vec<(u64, Ids)>,
    records: Records,
    total_bytes: u64,
    revision: u64,
    written: u64,
}

impl Model {
    fn new(seed: u64, universe: usize) -> Model {
        let index = Index::new();
        let kind = index.kind_or_create("Agent");
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
        self.kind.put(&id, new, old, self.revision, self.revision as i64, self.index.snapshots());
        self.now.insert(id, new);
    }

    fn delete(&mut self) {
        let id = self.id();
        if let Some(old) = self.now.remove(&id) {
            self.revision += 1;
            self.kind.delete(&id, old, self.revision, self.index.snapshots());
        }
    }

    fn relocate(&mut self) {
        let id = self.id();
        let Some(old) = self.now.get(&id).copied() else { return };
        let new = self.location(&id);
        self.records.insert(new.place, self.records[&old.place].clone());
        self.kind.relocate(&id, new, old, 0, self.index.snapshots());
        self.now.insert(id.clone(), new);
        // Snapshots that saw the same record see the copy.
        for (_, ids) in &mut self.snapshots {
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
        self.index.snapshots().register(self.revision);
        self.snapshots.push((self.revision, self.now.clone()));
    }

    fn release(&mut self) {
        if !self.snapshots.is_empty() {
            let at = self.random.below(self.snapshots.len());
            let (revision, _) = self.snapshots.swap_remove(at);
            self.index.snapshots().release(revision);
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
        let seen = self.snapshots[at].1.iter().filter(|(id, _)| in_range(id));
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

// The second half: what may happen, and what must hold.
impl Model {
    fn change(&mut self) {
        match self.random.below(1000) {
            0..620 => self.put(),
            620..860 => self.delete(),
            860..960 => self.relocate(),
            960..997 => _ = self.kind.clean(self.random.below(60)),
            _ => self.delete_prefix(),
        }
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
        for _ in 0..200 {
            let id = self.id();
            let now = self.now.get(&id).copied();
            assert_eq!(self.get(&id), now.map(|now| now.place));
            assert_eq!(self.kind.find_ordered(&id), now);
            for (revision, ids) in &self.snapshots {
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
    }

    fn run(seed: u64, universe: usize, steps: usize) {
        let mut model = Model::new(seed, universe);
        for step in 1..=steps {
            model.step();
            if step % (steps / 20) == 0 {
                model.check();
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
    for seed in 1..=20 {
        Model::run(seed, 300, 6_000);
    }
}

#[test]
fn agrees_with_a_model_of_many_ids() {
    for seed in 1..=4 {
        Model::run(seed, 20_000, 60_000);
    }
}

#[test]
fn ids_in_order_fill_their_leaves() {
    let index = Index::new();
    let kind = index.kind_or_create("Agent");
    for n in 0..20_000u64 {
        let id = format!("agent-{n:020}");
        kind.put(id.as_bytes(), location(n), None, n + 1, 0, index.snapshots());
    }
    kind.prepare_scan();
    let (entries, leaves) = kind.leaf_counts();
    assert_eq!(entries, 20_000);
    assert!(leaves <= entries / leaves::MAX_ENTRIES + 1, "{leaves} leaves");
}

#[test]
fn a_kind_that_shrinks_joins_its_leaves() {
    let index = Index::new();
    let kind = index.kind_or_create("Agent");
    let id = |n: u64| format!("agent-{n:020}");
    for n in 0..20_000 {
        kind.put(id(n).as_bytes(), location(n), None, n + 1, 0, index.snapshots());
    }
    for n in (0..20_000).filter(|n| n % 100 != 0) {
        kind.delete(id(n).as_bytes(), location(n), 20_001 + n, index.snapshots());
    }
    kind.prepare_scan();
    let (entries, leaves) = kind.leaf_counts();
    assert_eq!(entries, 200);
    assert!(leaves <= 20, "{leaves} leaves");
}

#[test]
fn an_empty_kind_is_small() {
    let index = Index::new();
    for n in 0..1000u64 {
        let kind = index.kind_or_create(&format!("Kind{n}"));
        kind.put(b"only", location(n), None, n + 1, 0, index.snapshots());
    }
    assert!(index.memory_bytes() < 1000 * 1500, "{} bytes", index.memory_bytes());
}

#[test]
fn the_longest_ids_fit_in_leaves() {
    let index = Index::new();
    let kind = index.kind_or_create("Agent");
    let id = |n: u64| format!("{n:05}{}", "x".repeat(65_530)).into_bytes();
    for n in 0..200 {
        kind.put(&id(n * 7 % 200), location(n), None, n + 1, 0, index.snapshots());
    }
    kind.prepare_scan();
    for n in 0..200 {
        assert_eq!(kind.find_ordered(&id(n * 7 % 200)), Some(location(n)));
    }
}

fn location(n: u64) -> Location {
    Location::new(SegmentId(1), n * 8, 8)
}

/// Hashes that agree in nearly all bits fill one shard and run into each other, also around the
/// end of the table.
#[test]
fn points_survive_collisions() {
    for seed in 1..=50 {
        let mut random = Random::new(seed);
        let (points, mut model) = (Points::new(), BTreeMap::<u64, Vec<Place>>::new());
        for n in 0..3_000 {
            let hash = match random.below(3) {
                0 => u64::from(u32::MAX) - random.below(20) as u64,
                1 => random.below(20) as u64,
                _ => random.below(1 << 32) as u64,
            };
            let places = model.entry(hash).or_default();
            let place = Place { segment: SegmentId(0), offset: n };
            match places.len() {
                1.. if random.one_in(2) || places.len() > 5 => {
                    let old = places.swap_remove(random.below(places.len()));
                    assert!(points.remove(hash, old));
                    assert!(!points.remove(hash, old));
                }
                1.. if random.one_in(2) => {
                    let at = random.below(places.len());
                    assert!(points.replace(hash, places[at], place));
                    places[at] = place;
                }
                _ => {
                    points.insert(hash, place);
                    places.push(place);
                }
            }
        }
        for (hash, places) in &mut model {
            let mut probe = Probe::new(*hash);
            let mut found: Vec<Place> = std::iter::from_fn(|| probe.next(&points)).collect();
            found.sort();
            places.sort();
            assert_eq!(&found, places);
        }
        assert_eq!(points.len(), model.values().map(Vec::len).sum());
    }
}

/// A reader that has seen a stale slot must still find the live one behind it when the stale one is
/// cleaned away in between; and must not take a slot for live because the delete that hid it is
/// done.
#[test]
fn a_lookup_is_not_fooled_by_cleaning() {
    let index = Index::new();
    let kind = index.kind_or_create("Agent");
    kind.put(b"a/1", location(1), None, 1, 0, index.snapshots());
    drop(kind.delete_prefix(b"a/", 2, index.snapshots()));
    kind.put(b"a/1", location(3), None, 3, 0, index.snapshots());
    let mut lookup = kind.lookup(kind.hash(b"a/1"));
    assert_eq!(lookup.candidate(), Some(location(1).place));
    assert!(kind.clean(10));
    assert!(lookup.covered(b"a/1", 1));
    assert!(!lookup.covered(b"a/1", 3));
    assert_eq!(lookup.candidate(), Some(location(3).place));
    assert_eq!(lookup.candidate(), None);
}
