//! What a store should hold: a map, and the same verbs on it.

use std::collections::BTreeMap;

use bytes::Bytes;
use kindlog::{Expect, Scan, Snapshot, Store};

use super::Agent;

/// One change of a batch.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    Put(String, String, Bytes),
    Delete(String, String),
    /// The empty prefix is the whole kind.
    DeletePrefix(String, String),
}

/// Value and revision of every key.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Model {
    resources: BTreeMap<(String, String), (Bytes, u64)>,
    /// The newest commit's.
    pub(crate) revision: u64,
}

impl Model {
    pub(crate) fn new() -> Model {
        Model::default()
    }

    /// Applies changes one after the other as one commit, and says whether it took a revision and
    /// how many resources the deletes removed. `next` is its revision if it takes one.
    ///
    /// What counts is the net effect: a put always is one, a delete is one of what was there
    /// before the batch.
    pub(crate) fn commit(&mut self, changes: &[Change], next: u64) -> (bool, u64) {
        let mut after = self.resources.clone();
        let mut removed = 0;
        for change in changes {
            match change {
                Change::Put(kind, id, value) => {
                    after.insert((kind.clone(), id.clone()), (value.clone(), next));
                }
                Change::Delete(kind, id) => {
                    removed += u64::from(after.remove(&(kind.clone(), id.clone())).is_some());
                }
                Change::DeletePrefix(kind, prefix) => {
                    let before = after.len();
                    after.retain(|(k, id), _| k != kind || !id.starts_with(prefix.as_str()));
                    removed += (before - after.len()) as u64;
                }
            }
        }
        // Deleted and put again in one batch has a new revision, so this compares right.
        let changed = after != self.resources;
        if changed {
            self.resources = after;
            self.revision = next;
        }
        (changed, removed)
    }

    pub(crate) fn get(&self, kind: &str, id: &str) -> Option<&(Bytes, u64)> {
        self.resources.get(&(kind.to_owned(), id.to_owned()))
    }

    /// Whether a condition holds; if not, what is there.
    pub(crate) fn check(&self, kind: &str, id: &str, expect: Expect) -> Result<(), Option<u64>> {
        let current = self.get(kind, id).map(|(_, revision)| *revision);
        let holds = match expect {
            Expect::Absent => current.is_none(),
            Expect::Revision(revision) => current == Some(u64::from(revision)),
            _ => panic!("an expectation that the model does not know"),
        };
        if holds { Ok(()) } else { Err(current) }
    }

    pub(crate) fn kinds(&self) -> Vec<String> {
        let mut kinds: Vec<String> = self.resources.keys().map(|(kind, _)| kind.clone()).collect();
        kinds.dedup();
        kinds
    }

    pub(crate) fn count(&self, kind: &str) -> u64 {
        self.of(kind).count() as u64
    }

    /// A kind's ids, values and revisions, in order.
    pub(crate) fn of(&self, kind: &str) -> impl DoubleEndedIterator<Item = (&str, &Bytes, u64)> {
        let from = (kind.to_owned(), String::new());
        let until = (format!("{kind}\0"), String::new());
        let range = self.resources.range(from..until);
        range.map(|((_, id), (value, revision))| (id.as_str(), value, *revision))
    }

    /// Asserts that a store shows this, by every verb that reads.
    pub(crate) fn assert_is(&self, store: &Store, all_kinds: &[&str]) {
        assert_eq!(store.kinds().unwrap(), self.kinds());
        for kind in all_kinds {
            assert_eq!(store.count(kind).unwrap(), self.count(kind), "count of {kind}");
            self.assert_scanned(&store.scan(kind), kind);
            for (id, value, revision) in self.of(kind) {
                let resource = store.get_resource(kind, id).unwrap();
                let resource = resource.unwrap_or_else(|| panic!("{kind}/{id} is missing"));
                assert!(resource.data == *value, "the value of {kind}/{id}");
                assert_eq!(u64::from(resource.revision), revision, "of {kind}/{id}");
                assert!(resource.kind == *kind && resource.id == *id);
                let alone = store.get_value(kind, id).unwrap();
                assert!(alone == Some(resource.data), "the value of {kind}/{id} alone");
            }
        }
        let stats = store.stats();
        let counts: Vec<_> = stats.kinds.iter().map(|k| (k.name.clone(), k.live_count)).collect();
        let expected: Vec<_> =
            self.kinds().into_iter().map(|k| (k.clone(), self.count(&k))).collect();
        assert_eq!(counts, expected, "the counts in stats");
        let live: u64 = stats.segments.iter().map(|segment| segment.live_bytes).sum();
        assert_eq!(stats.kinds.iter().map(|kind| kind.live_bytes).sum::<u64>(), live);
        assert!(live <= stats.disk_bytes, "{live} live bytes of {}", stats.disk_bytes);
    }

    /// Asserts that a snapshot shows this.
    pub(crate) fn assert_is_in(&self, snapshot: &Snapshot, all_kinds: &[&str], ids: &[&str]) {
        for kind in all_kinds {
            self.assert_scanned(&snapshot.scan(kind), kind);
            for id in ids {
                let resource = snapshot.get_resource(kind, id).unwrap();
                let shown = resource.map(|r| (r.data, u64::from(r.revision)));
                assert!(shown.as_ref() == self.get(kind, id), "{kind}/{id} in a snapshot");
            }
        }
    }

    fn assert_scanned(&self, scan: &Scan, kind: &str) {
        let expected: Vec<_> = self.of(kind).collect();
        let scanned: Vec<_> = scan.iter().map(Result::unwrap).collect();
        let ids: Vec<&str> = scanned.iter().map(|resource| resource.id.as_str()).collect();
        assert_eq!(ids, expected.iter().map(|(id, ..)| *id).collect::<Vec<_>>(), "ids of {kind}");
        for (resource, (id, value, revision)) in scanned.iter().zip(expected) {
            assert!(resource.data == *value, "the scanned value of {kind}/{id}");
            assert_eq!(u64::from(resource.revision), revision, "scanned, of {kind}/{id}");
        }
    }

    /// A message's bytes as the model keeps them.
    pub(crate) fn encoded(agent: &Agent) -> Bytes {
        prost::Message::encode_to_vec(agent).into()
    }
}
