//! Does each verb to the store and to the map, and compares what they answer.

use bytes::Bytes;
use kindlog::{Batch, Durability, Error, Expect, Options, Revision, ScanIter, Snapshot};
use proptest::sample::Index;

use super::verbs::{Guess, IDS, KINDS, PREFIXES, Step, Verb};
use crate::support::{Agent, Change, Medium, Model, TestStore, agent, pattern};

/// The durability of the verbs that name none; `Kill` must lose none of these.
const DEFAULT: Durability = Durability::Os;

/// A view of an earlier state, and the state.
struct Held {
    snapshot: Snapshot,
    model: Model,
    /// A scan that was begun then, the kind it is of, and how far it has come.
    iter: ScanIter,
    kind: usize,
    seen: usize,
}

pub(crate) struct Driver {
    store: TestStore,
    /// The state after each effective commit since the store was opened, the first as it was then.
    history: Vec<Model>,
    /// Which of these a death of the process, or a loss of power, may go back to.
    safe_from_kill: usize,
    safe_from_power_loss: usize,
    /// Commits that had an effect, since the store was opened.
    commits: u64,
    /// No revision up to this one may be given out again.
    highest: u64,
    held: Vec<Held>,
    writes: u64,
    powered: bool,
}

impl Driver {
    pub(crate) fn new(medium: Medium, options: Options) -> Driver {
        let options = options.durability(DEFAULT);
        let powered = !matches!(medium, Medium::Memory | Medium::Native(_));
        Driver {
            store: TestStore::on(medium, options),
            history: vec![Model::new()],
            safe_from_kill: 0,
            safe_from_power_loss: 0,
            commits: 0,
            highest: 0,
            held: Vec::new(),
            writes: 0,
            powered,
        }
    }

    pub(crate) fn run(&mut self, verb: &Verb) {
        match verb {
            Verb::Put { kind, id, len } => self.put(*kind, *id, *len),
            Verb::PutIf { kind, id, guess, len } => self.put_if(*kind, *id, *guess, *len),
            Verb::Update { kind, id } => self.update(*kind, *id),
            Verb::Delete { kind, id } => self.delete(*kind, *id),
            Verb::DeleteIf { kind, id, guess } => self.delete_if(*kind, *id, *guess),
            Verb::DeletePrefix { kind, prefix } => self.delete_prefix(*kind, *prefix),
            Verb::Batch { steps, durability } => self.batch(steps, *durability),
            Verb::Many { kind, count, len, durability } => {
                self.many(*kind, *count, *len, *durability);
            }
            Verb::Scan(shape) => shape.check(&self.store, self.model()),
            Verb::Sync => {
                self.store.sync().unwrap();
                self.is_safe(Durability::Sync);
            }
            Verb::Compact => self.compact(),
            Verb::CompactSome { roll, seed } => self.compact_some(*roll, *seed),
            Verb::CheckAll => self.check_all(),
            Verb::Hold => self.hold(),
            Verb::Look(index) => self.look(index),
            Verb::Release(index) if !self.held.is_empty() => {
                drop(self.held.remove(index.index(self.held.len())));
            }
            Verb::Release(_) => {}
            Verb::Reopen => self.reopen(),
            Verb::Kill => self.kill(),
            Verb::LosePower(seed) => self.lose_power(*seed),
        }
    }

    /// Compares everything once more, after a last reopening, with all that is still held.
    pub(crate) fn finish(mut self) {
        self.check_all();
        self.reopen();
        self.check_all();
        for at in 0..self.held.len() {
            self.compare_held(at);
        }
    }

    fn model(&self) -> &Model {
        self.history.last().expect("never empty")
    }

    fn value(&mut self, len: usize) -> Bytes {
        self.writes += 1;
        pattern(self.writes, len).into()
    }

    /// Does the changes to the map, and checks that the revision that the store gave, if it did,
    /// is the next one.
    fn applied(&mut self, changes: &[Change], given: Option<Revision>, level: Durability) -> u64 {
        let mut after = self.model().clone();
        // The first revision after an unclean open is not known before.
        let next = match self.commits {
            0 => u64::from(self.store.snapshot().revision()),
            _ => self.model().revision + 1,
        };
        let (changed, removed) = after.commit(changes, next);
        if changed {
            assert!(next > self.highest, "revision {next} was given out before");
            self.highest = next;
            self.commits += 1;
            self.history.push(after);
            self.is_safe(level);
        }
        let shown = self.store.snapshot().revision();
        match (changed, self.commits) {
            (false, 0) => {}
            _ => assert_eq!(u64::from(shown), self.model().revision, "the visible revision"),
        }
        if let Some(given) = given {
            assert_eq!(given, shown, "the answer's revision");
        }
        assert_eq!(self.store.stats().commits, self.commits, "commits that took a revision");
        removed
    }

    fn is_safe(&mut self, level: Durability) {
        let last = self.history.len() - 1;
        if level != Durability::Buffered {
            self.safe_from_kill = last;
        }
        if level == Durability::Sync {
            self.safe_from_power_loss = last;
        }
    }

    fn put(&mut self, kind: usize, id: usize, len: usize) {
        let value = self.value(len);
        let revision = self.store.put(KINDS[kind], IDS[id], &value).unwrap();
        let change = Change::Put(KINDS[kind].into(), IDS[id].into(), value);
        self.applied(&[change], Some(revision), DEFAULT);
        self.check_key(kind, id);
    }

    fn expectation(&self, kind: usize, id: usize, guess: Guess) -> Expect {
        let current = self.model().get(KINDS[kind], IDS[id]).map(|(_, revision)| *revision);
        match (guess, current) {
            (Guess::Right, Some(revision)) => Expect::Revision(revision.into()),
            (Guess::Right | Guess::Absent, _) => Expect::Absent,
            (Guess::Wrong, _) => Expect::Revision((current.unwrap_or(6) + 1).into()),
        }
    }

    fn put_if(&mut self, kind: usize, id: usize, guess: Guess, len: usize) {
        let (value, expect) = (self.value(len), self.expectation(kind, id, guess));
        let answer = self.store.put_if(KINDS[kind], IDS[id], expect, &value);
        match self.model().check(KINDS[kind], IDS[id], expect) {
            Ok(()) => {
                let change = Change::Put(KINDS[kind].into(), IDS[id].into(), value);
                self.applied(&[change], Some(answer.unwrap()), DEFAULT);
            }
            Err(current) => self.refused(answer.map(drop), current),
        }
        self.check_key(kind, id);
    }

    fn delete_if(&mut self, kind: usize, id: usize, guess: Guess) {
        let expect = self.expectation(kind, id, guess);
        let answer = self.store.delete_if(KINDS[kind], IDS[id], expect);
        match self.model().check(KINDS[kind], IDS[id], expect) {
            Ok(()) => {
                let change = Change::Delete(KINDS[kind].into(), IDS[id].into());
                let removed = self.applied(&[change], None, DEFAULT);
                assert_eq!(answer.unwrap(), removed == 1);
            }
            Err(current) => self.refused(answer.map(drop), current),
        }
        self.check_key(kind, id);
    }

    fn refused(&mut self, answer: Result<(), Error>, current: Option<u64>) {
        match answer {
            Err(Error::Conflict { current: told }) => assert_eq!(told.map(u64::from), current),
            other => panic!("not a conflict: {other:?}"),
        }
        self.applied(&[], None, DEFAULT);
    }

    fn update(&mut self, kind: usize, id: usize) {
        let new = agent("updated", self.highest);
        // Most values here are no messages: then it fails, and changes nothing.
        let answer = self.store.update(KINDS[kind], IDS[id], |_: Option<Agent>| Ok(new.clone()));
        match answer {
            Ok(written) => {
                assert_eq!(written, new);
                let encoded = Model::encoded(&new);
                let change = Change::Put(KINDS[kind].into(), IDS[id].into(), encoded);
                self.applied(&[change], None, DEFAULT);
            }
            Err(Error::Decode { .. }) => drop(self.applied(&[], None, DEFAULT)),
            Err(error) => panic!("{error}"),
        }
        self.check_key(kind, id);
    }

    fn delete(&mut self, kind: usize, id: usize) {
        let existed = self.store.delete(KINDS[kind], IDS[id]).unwrap();
        let change = Change::Delete(KINDS[kind].into(), IDS[id].into());
        let removed = self.applied(&[change], None, DEFAULT);
        assert_eq!(existed, removed == 1);
        self.check_key(kind, id);
    }

    fn delete_prefix(&mut self, kind: usize, prefix: usize) {
        let told = match PREFIXES[prefix] {
            "" => self.store.delete_kind(KINDS[kind]).unwrap(),
            prefix => self.store.delete_prefix(KINDS[kind], prefix).unwrap(),
        };
        let change = Change::DeletePrefix(KINDS[kind].into(), PREFIXES[prefix].into());
        assert_eq!(told, self.applied(&[change], None, DEFAULT), "how many were removed");
        assert_eq!(self.store.count(KINDS[kind]).unwrap(), self.model().count(KINDS[kind]));
    }

    fn batch(&mut self, steps: &[Step], durability: Durability) {
        let mut changes = Vec::new();
        for step in steps {
            changes.push(match *step {
                Step::Put { kind, id, len } => {
                    Change::Put(KINDS[kind].into(), IDS[id].into(), self.value(len))
                }
                Step::Delete { kind, id } => Change::Delete(KINDS[kind].into(), IDS[id].into()),
                Step::DeletePrefix { kind, prefix } => {
                    Change::DeletePrefix(KINDS[kind].into(), PREFIXES[prefix].into())
                }
            });
        }
        self.commit(&changes, durability);
    }

    fn many(&mut self, kind: usize, count: usize, len: usize, durability: Durability) {
        let puts = (0..count).map(|number| {
            let id = format!("n/{number:03}");
            Change::Put(KINDS[kind].into(), id, self.value(len))
        });
        let changes: Vec<Change> = puts.collect();
        self.commit(&changes, durability);
    }

    fn commit(&mut self, changes: &[Change], durability: Durability) {
        let mut batch = Batch::new();
        for change in changes {
            match change {
                Change::Put(kind, id, value) => batch.put(kind, id, value),
                Change::Delete(kind, id) => batch.delete(kind, id),
                Change::DeletePrefix(kind, id) if id.is_empty() => batch.delete_kind(kind),
                Change::DeletePrefix(kind, id) => batch.delete_prefix(kind, id),
            };
        }
        let revision = self.store.commit_with(batch, durability).unwrap();
        self.applied(changes, Some(revision), durability);
    }

    fn check_key(&self, kind: usize, id: usize) {
        let (kind, id) = (KINDS[kind], IDS[id]);
        let found = self.store.get_resource(kind, id).unwrap();
        let found = found.map(|resource| (resource.data, u64::from(resource.revision)));
        assert!(found.as_ref() == self.model().get(kind, id), "{kind}/{id}");
        assert_eq!(self.store.contains(kind, id).unwrap(), found.is_some());
        assert!(self.store.get_value(kind, id).unwrap() == found.map(|(value, _)| value));
        assert_eq!(self.store.count(kind).unwrap(), self.model().count(kind));
    }

    fn check_all(&self) {
        self.model().assert_is(&self.store, &KINDS);
        let report = self.store.verify().unwrap();
        assert!(report.is_clean(), "{:?}", report.problems);
    }

    /// No change to anything that can be seen, and all in the inputs that is dead is gone.
    fn compact(&mut self) {
        self.store.compact().unwrap();
        self.is_safe(Durability::Sync);
        let stats = self.store.stats();
        let dead: u64 = stats.kinds.iter().map(|kind| kind.dead_bytes).sum();
        assert_eq!(dead, 0, "{stats:?}");
        self.check_all();
    }

    #[cfg(feature = "sim")]
    fn compact_some(&mut self, roll: bool, seed: u32) {
        let pick = |number: u32| (number ^ seed).wrapping_mul(0x9E37_79B9) >> 30 != 0;
        kindlog::fuzzing::compact_picked(&self.store, roll, pick).unwrap();
        if roll {
            self.is_safe(Durability::Sync);
        }
        self.check_all();
    }

    #[cfg(not(feature = "sim"))]
    fn compact_some(&mut self, _roll: bool, _seed: u32) {
        self.compact();
    }

    fn hold(&mut self) {
        let (snapshot, model) = (self.store.snapshot(), self.model().clone());
        let kind = self.writes as usize % KINDS.len();
        let iter = self.store.scan(KINDS[kind]).iter();
        self.held.push(Held { snapshot, model, iter, kind, seen: 0 });
    }

    fn look(&mut self, index: &Index) {
        if self.held.is_empty() {
            return;
        }
        let at = index.index(self.held.len());
        self.compare_held(at);
        // A few steps of the scan, and the rest another time.
        let held = &mut self.held[at];
        let expected = held.model.of(KINDS[held.kind]).skip(held.seen).take(7);
        for (id, value, _) in expected {
            let resource = held.iter.next().expect("the scan ended early").unwrap();
            assert!(resource.id == *id && resource.data == *value, "a scan that was begun before");
            held.seen += 1;
        }
        if held.seen as u64 == held.model.count(KINDS[held.kind]) {
            assert!(held.iter.next().is_none());
        }
    }

    fn compare_held(&self, at: usize) {
        let held = &self.held[at];
        held.model.assert_is_in(&held.snapshot, &KINDS, &IDS);
    }

    fn reopen(&mut self) {
        if self.store.reopen() {
            assert!(self.store.recovery().clean);
            // None is lost, and none left out.
            let shown = self.store.snapshot().revision();
            assert_eq!(u64::from(shown), self.model().revision.max(self.highest));
            self.opened(self.history.len() - 1);
        }
    }

    fn kill(&mut self) {
        if self.store.crash() {
            self.opened(self.safe_from_kill);
        }
    }

    #[cfg(feature = "sim")]
    fn lose_power(&mut self, seed: u64) {
        if self.powered {
            self.store.lose_power(kindlog::disk::sim::Loss::Seed(seed));
            self.opened(self.safe_from_power_loss);
        }
    }

    #[cfg(not(feature = "sim"))]
    fn lose_power(&mut self, _seed: u64) {
        assert!(!self.powered);
    }

    /// Finds which state the store came back to, which may be none before `safe`.
    fn opened(&mut self, safe: usize) {
        let shown = |model: &Model| {
            KINDS.iter().all(|kind| {
                let resources = self.store.scan(kind).iter().map(Result::unwrap);
                let resources = resources.map(|r| (r.id.to_string(), r.revision.into()));
                resources.eq(model.of(kind).map(|(id, _, revision)| (id.to_owned(), revision)))
            })
        };
        let same = self.history.iter().rposition(shown).expect("some state after a commit");
        assert!(same >= safe, "commit {same} is the last, and {safe} was acknowledged");
        let mut model = self.history.swap_remove(same);
        model.revision = self.store.snapshot().revision().into();
        self.commits = self.store.stats().commits;
        self.history = vec![model];
        (self.safe_from_kill, self.safe_from_power_loss) = (0, 0);
        self.model().assert_is(&self.store, &KINDS);
    }
}
