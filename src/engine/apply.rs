//! A commit's changes enter the index, all of them or, to whoever reads, none.

use crate::index::{Hashed, Kind};
use crate::state::{Effect, State};
use crate::sync::atomic::Ordering;

/// Above this many prefix deletes of one kind whose slots are not cleared yet, the commit clears
/// them itself: every lookup looks at each of them.
const MAX_STALE: usize = 64;

/// Makes a commit visible. Called in the order of revisions, one at a time.
pub(crate) fn apply<'a>(
    state: &State,
    revision: u64,
    time: i64,
    changes: impl ExactSizeIterator<Item = (&'a Kind, Hashed<'a>, Effect)> + Clone,
) {
    let wide = |effect: Effect| matches!(effect, Effect::DeletePrefix { .. });
    let many = changes.len() > 1 || changes.clone().any(|(_, _, effect)| wide(effect));
    let guard = state.apply.lock();
    if many {
        state.applying.fetch_add(1, Ordering::AcqRel);
    }
    let snapshots = state.index.snapshots();
    let mut garbage = Vec::new();
    for (kind, id, effect) in changes {
        match effect {
            Effect::Put { new, old } => kind.put(id, new, old, revision, time, snapshots),
            Effect::Delete { tombstone, old } => {
                kind.delete(id, old, revision, snapshots);
                kind.note_dead(tombstone.place.segment, tombstone.len_bytes());
            }
            Effect::DeletePrefix { tombstone } => {
                garbage.push(kind.delete_prefix(id.id, revision, snapshots).1);
                if kind.stale_deletes() > MAX_STALE {
                    kind.clean(usize::MAX);
                }
                kind.note_dead(tombstone.place.segment, tombstone.len_bytes());
            }
        }
    }
    state.visible.store(revision, Ordering::Release);
    if many {
        state.applying.fetch_add(1, Ordering::AcqRel);
    }
    drop(guard);
    let signals = &state.compaction.signals;
    signals.raise(&signals.dirty);
    // What a whole kind consisted of is freed off the locks.
    drop(garbage);
}
