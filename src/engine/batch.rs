//! Several changes as one commit.

use std::collections::BTreeSet;

use super::commit::{Change, What, check_value};
use crate::error::Result;
use crate::format::record::{MAX_BATCH_LEN, MAX_BATCH_OPS};
use crate::{error::Error, key};

/// Changes that are applied all or nothing, as one revision. Handed to
/// [`Store::commit`](crate::Store::commit).
///
/// What counts is the net effect: of several changes to one key the last one, and a `delete_kind`
/// or `delete_prefix` undoes what the batch did before to the keys it covers. Names and sizes are
/// checked when the batch is committed. At most 2 GiB and 2^24 operations. Values are copied in.
#[derive(Clone, Default)]
pub struct Batch {
    ops: Vec<Op>,
    /// Kind and id of each, one behind the other.
    names: String,
    values: Vec<u8>,
}

/// Where its kind, id and value end, which begin where those before them end.
#[derive(Clone, Copy)]
struct Op {
    kind: OpKind,
    kind_end: usize,
    id_end: usize,
    value_end: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum OpKind {
    Put,
    Delete,
    DeletePrefix,
}

impl Batch {
    /// A batch without changes. Committing it changes nothing and takes no revision.
    pub fn new() -> Batch {
        Batch::default()
    }

    /// Stores a message's encoded bytes, up to 1 GiB.
    pub fn put(&mut self, kind: &str, id: &str, value: impl AsRef<[u8]>) -> &mut Batch {
        self.push(OpKind::Put, kind, id, |bytes| bytes.extend_from_slice(value.as_ref()))
    }

    /// Encodes and stores a message.
    pub fn save<M: prost::Message>(&mut self, kind: &str, id: &str, message: &M) -> &mut Batch {
        self.push(OpKind::Put, kind, id, |bytes| bytes.extend_from_slice(&message.encode_to_vec()))
    }

    /// Deletes a key, if it is there.
    pub fn delete(&mut self, kind: &str, id: &str) -> &mut Batch {
        self.push(OpKind::Delete, kind, id, |_| {})
    }

    /// Deletes all of a kind.
    pub fn delete_kind(&mut self, kind: &str) -> &mut Batch {
        self.push(OpKind::DeletePrefix, kind, "", |_| {})
    }

    /// Deletes all ids of a kind that start so.
    pub fn delete_prefix(&mut self, kind: &str, prefix: &str) -> &mut Batch {
        self.push(OpKind::DeletePrefix, kind, prefix, |_| {})
    }

    /// How many changes were added.
    pub fn len(&self) -> usize {
        self.ops.len()
    }

    /// Whether no change was added.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// How many bytes its kinds, ids and values take.
    pub fn byte_len(&self) -> usize {
        self.names.len() + self.values.len()
    }

    fn push(
        &mut self,
        op: OpKind,
        kind: &str,
        id: &str,
        value: impl FnOnce(&mut Vec<u8>),
    ) -> &mut Batch {
        // First, since it is the caller's code: where that panics, no name is left behind.
        value(&mut self.values);
        self.names.push_str(kind);
        let kind_end = self.names.len();
        self.names.push_str(id);
        let (id_end, value_end) = (self.names.len(), self.values.len());
        self.ops.push(Op { kind: op, kind_end, id_end, value_end });
        self
    }

    fn changes(&self) -> impl DoubleEndedIterator<Item = Change<'_>> {
        let change = |(i, op): (usize, &Op)| {
            let before = i.checked_sub(1).map(|before| &self.ops[before]);
            let (at, value_at) = before.map_or((0, 0), |op| (op.id_end, op.value_end));
            let what = match op.kind {
                OpKind::Put => What::Put(&self.values[value_at..op.value_end]),
                OpKind::Delete => What::Delete,
                OpKind::DeletePrefix => What::DeletePrefix,
            };
            let (kind, id) = (&self.names[at..op.kind_end], &self.names[op.kind_end..op.id_end]);
            Change { kind, id, what }
        };
        self.ops.iter().enumerate().map(change)
    }

    /// Whether names and sizes are such as may be.
    fn check(&self) -> Result<()> {
        let too_large = |limit, len| Err(Error::TooLarge { limit, len });
        if self.ops.len() > MAX_BATCH_OPS {
            return too_large(MAX_BATCH_OPS as u64, self.ops.len() as u64);
        }
        if self.byte_len() as u64 > MAX_BATCH_LEN {
            return too_large(MAX_BATCH_LEN, self.byte_len() as u64);
        }
        let mut last_kind = None;
        self.changes().try_for_each(|Change { kind, id, what }| {
            if last_kind != Some(kind) {
                key::check_kind(kind)?;
                last_kind = Some(kind);
            }
            match what {
                What::Put(value) => check_value(value).and_then(|()| key::check_id(id)),
                What::Delete => key::check_id(id),
                What::DeletePrefix => key::check_prefix(id),
            }
        })
    }

    /// The net effect: prefix deletes first, none covering another; then the last change of each
    /// key, those after the last prefix delete that covers it.
    pub(crate) fn net(&self) -> Result<Vec<Change<'_>>> {
        self.check()?;
        let mut prefixes = BTreeSet::new();
        let mut changes = Vec::with_capacity(self.ops.len());
        // From the last one to the first: what comes later decides.
        for change in self.changes().rev() {
            let Change { kind, id, what } = change;
            if is_covered(&prefixes, kind, id) {
                continue;
            }
            match what {
                What::DeletePrefix => {
                    drop_covered(&mut prefixes, kind, id);
                    prefixes.insert((kind, id));
                }
                What::Put(_) | What::Delete => changes.push(change),
            }
        }
        // As they came, since most often that is the order of their keys. Sorting is stable: of one
        // key's changes the last one stays behind the others, and is kept.
        changes.reverse();
        changes.sort_by_key(|change| (change.kind, change.id));
        changes.dedup_by(|next, kept| {
            let same = (next.kind, next.id) == (kept.kind, kept.id);
            if same {
                *kept = *next;
            }
            same
        });
        let delete = |(kind, id)| Change { kind, id, what: What::DeletePrefix };
        let deletes = prefixes.into_iter().map(delete);
        changes.splice(..0, deletes);
        Ok(changes)
    }
}

type Prefixes<'a> = BTreeSet<(&'a str, &'a str)>;

/// Takes out all prefixes of `kind` that start with `prefix`.
fn drop_covered<'a>(prefixes: &mut Prefixes<'a>, kind: &'a str, prefix: &'a str) {
    let from = prefixes.range((kind, prefix)..).copied();
    let covered: Vec<_> =
        from.take_while(|(k, other)| *k == kind && other.starts_with(prefix)).collect();
    for key in covered {
        prefixes.remove(&key);
    }
}

/// Whether one of the prefixes covers this id or prefix. They don't cover each other, so of those
/// that cover it there is at most one, and none can lie between the two.
fn is_covered(prefixes: &Prefixes<'_>, kind: &str, id: &str) -> bool {
    let last = prefixes.range(..=(kind, id)).next_back();
    last.is_some_and(|(k, prefix)| *k == kind && id.starts_with(prefix))
}

impl std::fmt::Debug for Batch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Batch")
            .field("ops", &self.ops.len())
            .field("byte_len", &self.byte_len())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn net(batch: &Batch) -> Vec<String> {
        let show = |change: &Change<'_>| match change.what {
            What::Put(value) => format!("{}/{}={}", change.kind, change.id, value.len()),
            What::Delete => format!("{}/{}-", change.kind, change.id),
            What::DeletePrefix => format!("{}/{}*", change.kind, change.id),
        };
        batch.net().unwrap().iter().map(show).collect()
    }

    #[test]
    fn the_last_change_of_a_key_counts() {
        let mut batch = Batch::new();
        batch.put("A", "x", b"1").delete("A", "x").put("A", "x", b"22").put("A", "y", b"");
        batch.delete("A", "y");
        assert_eq!(net(&batch), ["A/x=2", "A/y-"]);
    }

    #[test]
    fn prefix_deletes_come_first_and_undo_what_was_before_them() {
        let mut batch = Batch::new();
        batch.put("A", "p/1", b"1").put("A", "q", b"1").delete_prefix("A", "p/1");
        batch.delete_prefix("A", "p/").delete_prefix("A", "p/2").put("A", "p/2", b"333");
        batch.put("B", "p/1", b"1").delete_prefix("A", "z");
        assert_eq!(net(&batch), ["A/p/*", "A/z*", "A/p/2=3", "A/q=1", "B/p/1=1"]);
        batch.delete_kind("A").put("A", "a", b"");
        assert_eq!(net(&batch), ["A/*", "A/a=0", "B/p/1=1"]);
    }

    type Resources<'a> = BTreeMap<(&'a str, &'a str), &'a [u8]>;

    fn apply<'a>(resources: &mut Resources<'a>, change: Change<'a>) {
        let Change { kind, id, what } = change;
        match what {
            What::Put(value) => drop(resources.insert((kind, id), value)),
            What::Delete => drop(resources.remove(&(kind, id))),
            What::DeletePrefix => resources.retain(|(k, i), _| *k != kind || !i.starts_with(id)),
        }
    }

    #[test]
    fn the_net_effect_is_that_of_all_changes_one_after_the_other() {
        const IDS: [&str; 6] = ["a", "ab", "abc", "ä", "äb", "c"];
        const PREFIXES: [&str; 6] = ["", "a", "ab", "abc", "ä", "äb"];
        const VALUES: &[u8] = b"some bytes that are told apart by where they are";
        let mut random = 0x9e37_79b9_7f4a_7c15u64;
        let mut below = |n: usize| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random as usize % n
        };
        for round in 0..3_000 {
            let (mut batch, mut changes) = (Batch::new(), Vec::new());
            for value in 0..below(16) {
                let (kind, id) = (["A", "AB"][below(2)], IDS[below(IDS.len())]);
                let (id, what) = match below(8) {
                    0 => (PREFIXES[below(PREFIXES.len())], What::DeletePrefix),
                    1 | 2 => (id, What::Delete),
                    _ => (id, What::Put(&VALUES[value..][..1 + value % 3])),
                };
                match what {
                    What::DeletePrefix => batch.delete_prefix(kind, id),
                    What::Delete => batch.delete(kind, id),
                    What::Put(value) => batch.put(kind, id, value),
                };
                changes.push(Change { kind, id, what });
            }
            let before = IDS.map(|id| [(("A", id), &b"old"[..]), (("AB", id), b"old")]);
            let before: Resources<'_> = before.into_iter().flatten().collect();
            let (mut one_by_one, mut at_once) = (before.clone(), before);
            changes.iter().for_each(|change| apply(&mut one_by_one, *change));
            let net = batch.net().unwrap();
            net.iter().for_each(|change| apply(&mut at_once, *change));
            assert_eq!(at_once, one_by_one, "round {round}");
            let order = |change: &Change<'_>| {
                let is_key = !matches!(change.what, What::DeletePrefix);
                (is_key, change.kind.to_owned(), change.id.to_owned())
            };
            assert!(net.iter().map(order).is_sorted_by(|a, b| a < b), "round {round}");
            let prefixes = net.iter().filter(|one| matches!(one.what, What::DeletePrefix));
            let covers =
                |a: &Change<'_>, b: &Change<'_>| a.kind == b.kind && b.id.starts_with(a.id);
            for prefix in prefixes.clone() {
                let covered = prefixes.clone().filter(|other| covers(prefix, other)).count();
                assert_eq!(covered, 1, "round {round}");
            }
        }
    }

    /// A caller's code that panics in the middle of a put leaves nothing of it behind.
    #[test]
    fn a_value_that_panics_adds_no_change() {
        struct Panics;
        impl AsRef<[u8]> for Panics {
            fn as_ref(&self) -> &[u8] {
                panic!("on purpose")
            }
        }
        let mut batch = Batch::new();
        let put = || batch.put("A", "x", Panics).len();
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(put)).is_err());
        batch.put("B", "y", b"1");
        assert_eq!(net(&batch), ["B/y=1"]);
    }

    #[test]
    fn what_is_malformed_is_refused_as_a_whole() {
        for (kind, id) in [("", "x"), ("A/B", "x"), ("A", ""), ("A", "a\nb"), ("A\u{7f}", "x")] {
            assert!(matches!(
                Batch::new().put("A", "fine", b"").put(kind, id, b"").net(),
                Err(Error::InvalidKey { .. })
            ));
        }
        assert!(Batch::new().delete_prefix("A", "").net().is_ok());
        assert!(Batch::new().delete("A", "").net().is_err());
    }
}
