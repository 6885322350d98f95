//! What the commits in flight change, laid over the index: the next commit is decided against it.

use crate::state::{Effect, Order, Overlaid, Pending, overlay_key};

impl Order {
    /// Lays a commit's changes over the index, for those that are decided after it. Prefix deletes
    /// are ordered with nothing in flight, so whatever key is laid over is newer than they are.
    pub(super) fn overlay_commit(&mut self, pending: &Pending) {
        for change in &pending.changes {
            let location = match change.effect {
                Effect::Put { new, .. } => Some(new),
                Effect::Delete { .. } => None,
                Effect::DeletePrefix { .. } => {
                    let prefix = (change.kind.name().to_owned(), change.id.clone());
                    self.overlay_prefixes.push(prefix);
                    continue;
                }
            };
            let key = overlay_key(change.kind.name(), &change.id);
            self.overlay.insert(key, Overlaid { revision: pending.revision, location });
        }
    }

    /// Takes a commit's changes off again, once the index has them.
    pub(super) fn overlay_done(&mut self, pending: &Pending) {
        if self.pending.is_empty() {
            self.overlay.clear();
            self.overlay_prefixes.clear();
            return;
        }
        for change in &pending.changes {
            match change.effect {
                Effect::DeletePrefix { .. } => self.overlay_prefixes.clear(),
                _ => {
                    let key = overlay_key(change.kind.name(), &change.id);
                    if self.overlay.get(&key).is_some_and(|o| o.revision == pending.revision) {
                        self.overlay.remove(&key);
                    }
                }
            }
        }
    }

    /// Whether a prefix delete in flight covers the key.
    pub(super) fn overlay_deletes(&self, kind: &str, id: &str) -> bool {
        let covers =
            |(k, prefix): &(String, Box<[u8]>)| k == kind && id.as_bytes().starts_with(prefix);
        self.overlay_prefixes.iter().any(covers)
    }
}
