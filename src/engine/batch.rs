//! Several changes as one commit.

use std::collections::BTreeMap;

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
    /// Kinds, ids and values one after the other.
    bytes: Vec<u8>,
}

#[derive(Clone, Copy)]
struct Op {
    kind: OpKind,
    /// Where its kind begins in `bytes`; id and value follow.
    at: usize,
    kind_len: usize,
    id_len: usize,
    value_len: usize,
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
        self.bytes.len()
    }

    fn push(
        &mut self,
        op: OpKind,
        kind: &str,
        id: &str,
        value: impl FnOnce(&mut Vec<u8>),
    ) -> &mut Batch {
        let at = self.bytes.len();
        self.bytes.extend_from_slice(kind.as_bytes());
        self.bytes.extend_from_slice(id.as_bytes());
        let value_at = self.bytes.len();
        value(&mut self.bytes);
        let value_len = self.bytes.len() - value_at;
        self.ops.push(Op { kind: op, at, kind_len: kind.len(), id_len: id.len(), value_len });
        self
    }

    fn change(&self, op: &Op) -> Change<'_> {
        let (kind, rest) = self.bytes[op.at..].split_at(op.kind_len);
        let (id, rest) = rest.split_at(op.id_len);
        let text = |bytes| std::str::from_utf8(bytes).expect("a str was copied here");
        let what = match op.kind {
            OpKind::Put => What::Put(&rest[..op.value_len]),
            OpKind::Delete => What::Delete,
            OpKind::DeletePrefix => What::DeletePrefix,
        };
        Change { kind: text(kind), id: text(id), what }
    }

    /// The net effect: prefix deletes first, none covering another; then the last change of each
    /// key, those after the last prefix delete that covers it.
    pub(crate) fn net(&self) -> Result<Vec<Change<'_>>> {
        if self.ops.len() > MAX_BATCH_OPS {
            let (limit, len) = (MAX_BATCH_OPS as u64, self.ops.len() as u64);
            return Err(Error::TooLarge { limit, len });
        }
        if self.bytes.len() as u64 > MAX_BATCH_LEN {
            let (limit, len) = (MAX_BATCH_LEN, self.bytes.len() as u64);
            return Err(Error::TooLarge { limit, len });
        }
        let mut keys: BTreeMap<(&str, &str), What<'_>> = BTreeMap::new();
        let mut prefixes: BTreeMap<(&str, &str), ()> = BTreeMap::new();
        for op in &self.ops {
            let Change { kind, id, what } = self.change(op);
            key::check_kind(kind)?;
            match what {
                What::DeletePrefix => {
                    key::check_prefix(id)?;
                    drop_covered(&mut keys, kind, id);
                    if !is_covered(&prefixes, kind, id) {
                        drop_covered(&mut prefixes, kind, id);
                        prefixes.insert((kind, id), ());
                    }
                    continue;
                }
                What::Put(value) => check_value(value)?,
                What::Delete => {}
            }
            key::check_id(id)?;
            keys.insert((kind, id), what);
        }
        let deletes = prefixes.into_keys();
        let deletes = deletes.map(|(kind, id)| Change { kind, id, what: What::DeletePrefix });
        let changes = keys.into_iter().map(|((kind, id), what)| Change { kind, id, what });
        Ok(deletes.chain(changes).collect())
    }
}

/// Takes out all keys of `kind` that start with `prefix`.
fn drop_covered<'a, V>(map: &mut BTreeMap<(&'a str, &'a str), V>, kind: &'a str, prefix: &'a str) {
    let covered: Vec<_> = map
        .range((kind, prefix)..)
        .map(|(key, _)| *key)
        .take_while(|(k, id)| *k == kind && id.starts_with(prefix))
        .collect();
    covered.into_iter().for_each(|key| drop(map.remove(&key)));
}

/// Whether one of the prefixes covers this one. They don't cover each other, so of those that cover
/// it there is at most one, and none can lie between the two.
fn is_covered(prefixes: &BTreeMap<(&str, &str), ()>, kind: &str, id: &str) -> bool {
    let last = prefixes.range(..=(kind, id)).next_back();
    last.is_some_and(|((k, prefix), ())| *k == kind && id.starts_with(prefix))
}

impl std::fmt::Debug for Batch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Batch")
            .field("ops", &self.ops.len())
            .field("byte_len", &self.bytes.len())
            .finish()
    }
}

#[cfg(test)]
mod tests {
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
