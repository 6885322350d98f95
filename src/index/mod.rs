//! All keys, in memory: where each one's record is.
//!
//! An [`Index`] has a [`Kind`] for each kind of resource, and a kind holds its ids twice. The
//! *points* are hash tables of places, without keys, for lookups: one cache miss and the record.
//! The *ordered* side has the ids, packed in sorted leaves under a map, for scans, counts and
//! prefix deletes, and it is authoritative. Recent changes wait beside the leaves and are merged in
//! sorted runs, by a thread if there is one. Neither is versioned: while snapshots live, changes
//! save earlier states in the *history*, and a scan reads the leaves overlaid with that.
//!
//! The index does no I/O, and reads no record. It doesn't lock against two writers: the engine
//! applies one commit at a time. Readers never wait for more than a change, a chunk, or a run to be
//! sorted.
//!
//! ```text
//! Index ─┬─ Kind ─┬─ points   hash -> place              stale    deletes that hide slots
//!        │        ├─ recent   run, history, usage        settle   from the run to the leaves
//!        │        └─ ordered  leaves, run being merged   scan     leaves + history
//!        └─ merger            who merges, and when
//! ```

mod bulk;
mod chunk;
mod history;
mod kind;
mod kinds;
mod leaf;
mod leaves;
mod merger;
mod ordered;
mod points;
mod range;
mod relocate;
mod run;
mod scan;
mod settle;
mod snapshots;
mod splice;
mod stale;
#[cfg(test)]
mod tests;
mod usage;
mod within;

use std::sync::Arc;

use self::kinds::Kinds;

pub(crate) use bulk::Bulk;
pub(crate) use chunk::Chunk;
pub(crate) use history::Earlier;
pub(crate) use kind::{Kind, Likely};
use merger::Merger;
pub(crate) use relocate::Move;
pub(crate) use run::Hashed;
pub(crate) use snapshots::Snapshots;

/// All kinds, and the snapshots that live.
#[derive(Debug)]
pub(crate) struct Index {
    kinds: Kinds,
    snapshots: Snapshots,
    merger: Arc<Merger>,
}

impl Index {
    pub(crate) fn new() -> Index {
        let merger = Arc::<Merger>::default();
        Index { kinds: Kinds::new(merger.clone()), snapshots: Snapshots::new(), merger }
    }

    pub(crate) fn snapshots(&self) -> &Snapshots {
        &self.snapshots
    }

    /// What a thread that merges waits for.
    pub(crate) fn merger(&self) -> &Merger {
        &self.merger
    }

    /// Finds a kind. Takes no lock.
    #[inline]
    pub(crate) fn kind(&self, name: &str) -> Option<&Arc<Kind>> {
        self.kinds.get(name)
    }

    pub(crate) fn kind_or_create(&self, name: &str) -> &Arc<Kind> {
        self.kinds.get_or_create(name)
    }

    /// All kinds in order, empty ones included.
    pub(crate) fn kinds(&self) -> Vec<Arc<Kind>> {
        self.kinds.all()
    }

    /// Forgets what no snapshot needs any more. A change forgets a little of its own kind's; call
    /// this when a snapshot is released, or from the background. Without history it is one load.
    pub(crate) fn prune(&self) {
        if !self.snapshots.has_history() {
            return;
        }
        for kind in self.kinds() {
            kind.prune(&self.snapshots);
        }
    }

    /// The heap bytes of all of it, as far as they are known.
    pub(crate) fn memory_bytes(&self) -> usize {
        let kinds = self.kinds();
        let entry = |kind: &Arc<Kind>| Kinds::entry_size() + kind.name().len();
        kinds.iter().map(|kind| kind.memory_bytes() + entry(kind)).sum()
    }
}
