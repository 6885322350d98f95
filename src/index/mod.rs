//! All keys, in memory: where each one's record is.
//!
//! An [`Index`] has a [`Kind`] for each kind of resource, and a kind holds its ids twice. The
//! *points* are hash tables of places, without keys, for lookups: one cache miss and the record.
//! The *ordered* side has the ids, packed in sorted leaves under a map, for scans, counts and
//! prefix deletes, and it is authoritative. Recent changes wait beside the leaves and are merged in
//! sorted runs. Neither is versioned: while snapshots live, changes save earlier states in the
//! *history*, and a scan reads the leaves overlaid with that.
//!
//! The index does no I/O, and reads no record. It doesn't lock against two writers: the engine
//! applies one commit at a time. Readers never wait for more than a change or a chunk.
//!
//! ```text
//! Index ── Kind ─┬─ points    hash -> place              stale    deletes that hide slots
//!                ├─ ordered   leaves, run               history  earlier states
//!                └─ usage     bytes by segment          scan     leaves + history
//! ```

mod bulk;
mod chunk;
mod history;
mod kind;
mod leaf;
mod leaves;
mod ordered;
mod points;
mod range;
mod run;
mod scan;
mod snapshots;
mod splice;
mod stale;
#[cfg(test)]
mod tests;
mod usage;

use std::collections::BTreeMap;
use std::sync::Arc;

use foldhash::quality::RandomState;

use crate::sync::RwLock;

pub(crate) use bulk::Bulk;
pub(crate) use chunk::Chunk;
pub(crate) use history::Earlier;
pub(crate) use kind::Kind;
pub(crate) use snapshots::Snapshots;

/// All kinds, and the snapshots that live.
#[derive(Debug)]
pub(crate) struct Index {
    /// A kind is never removed.
    kinds: RwLock<BTreeMap<Box<str>, Arc<Kind>>>,
    snapshots: Snapshots,
    /// Seeded at random, so that nobody can prepare ids that collide.
    hasher: RandomState,
}

impl Index {
    pub(crate) fn new() -> Index {
        Index {
            kinds: RwLock::default(),
            snapshots: Snapshots::new(),
            hasher: RandomState::default(),
        }
    }

    pub(crate) fn snapshots(&self) -> &Snapshots {
        &self.snapshots
    }

    pub(crate) fn kind(&self, name: &str) -> Option<Arc<Kind>> {
        self.kinds.read().get(name).cloned()
    }

    pub(crate) fn kind_or_create(&self, name: &str) -> Arc<Kind> {
        if let Some(kind) = self.kind(name) {
            return kind;
        }
        let mut kinds = self.kinds.write();
        let new = || Arc::new(Kind::new(name, self.hasher.clone()));
        kinds.entry(name.into()).or_insert_with(new).clone()
    }

    /// All kinds in order, empty ones included.
    pub(crate) fn kinds(&self) -> Vec<Arc<Kind>> {
        self.kinds.read().values().cloned().collect()
    }

    /// Forgets what no snapshot needs any more. A change forgets a little of its own kind's; call
    /// this when a snapshot is released, or from the background.
    pub(crate) fn prune(&self) {
        for kind in self.kinds() {
            kind.prune(&self.snapshots);
        }
    }

    /// The heap bytes of all of it, as far as they are known.
    pub(crate) fn memory_bytes(&self) -> usize {
        let kinds = self.kinds();
        // What an entry of the map costs beside the kind.
        let entry = |kind: &Arc<Kind>| 48 + kind.name().len();
        kinds.iter().map(|kind| kind.memory_bytes() + entry(kind)).sum()
    }
}
