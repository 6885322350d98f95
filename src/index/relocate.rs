//! Entries are pointed to copies of their records.
//!
//! That is no change to anybody: snapshots see the copy, too. So where the leaves have an entry as
//! it is, its location is overwritten there and then. Else its last change has not been merged yet,
//! and the move is one more change behind it.

use super::kind::Kind;
use super::leaf::Leaf;
use super::ordered::Ordered;
use super::run::Hashed;
use super::snapshots::Snapshots;
use crate::format::location::Location;
use crate::zoo::{Bug, planted};

/// A record that was copied: the key that it is of, from where, and to where.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Move<'a> {
    pub(crate) id: Hashed<'a>,
    pub(crate) revision: u64,
    pub(crate) from: Location,
    pub(crate) to: Location,
}

impl Kind {
    /// Points entries that are still where they were copied from to the copies, whose bytes were
    /// noted as dead, and tells `moved` of each. The moves come in the order of ids.
    ///
    /// The leaves are changed only if they are free: whoever merges or scans may take a while, and
    /// commits wait for this.
    pub(crate) fn relocate<'a>(
        &self,
        moves: impl Iterator<Item = Move<'a>>,
        snapshots: &Snapshots,
        mut moved: impl FnMut(&Move<'a>),
    ) {
        let covering = self.covering();
        let mut ordered = self.ordered.try_write().filter(|_| !planted(Bug::MoveOverNewer));
        let mut leaves = ordered.as_deref_mut().map(Ordered::leaves_mut);
        let mut recent = self.recent.write();
        let (mut leaf, mut waiting): (Option<&mut Leaf>, _) = (None, None);
        for one in moves {
            let Move { id, revision, from, to } = one;
            let stays = self.is_at_under(&covering, id, revision, from.place);
            if !stays && !planted(Bug::MoveOverNewer) {
                continue;
            }
            recent.usage.note_live(to);
            recent.usage.bury(from);
            if leaf.as_ref().is_none_or(|leaf| leaf.cmp_last(id.id).is_lt()) {
                leaf = leaves.as_deref_mut().and_then(|leaves| leaves.leaf_of_mut(id.id));
            }
            if !leaf.as_deref_mut().is_some_and(|leaf| leaf.relocate(id.id, from, to)) {
                waiting = Some(self.change(&mut recent, id, Some(to), Some(from), snapshots));
            }
            self.point_to(id.hash, to.place, Some(from));
            moved(&one);
        }
        drop((recent, ordered));
        if let Some(waiting) = waiting {
            self.merge_if_due(waiting);
        }
    }
}
