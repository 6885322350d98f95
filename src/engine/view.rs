//! A revision that stays readable for as long as somebody holds it.

use std::fmt;
use std::sync::Arc;

use crate::state::State;
use crate::sync::atomic::Ordering;
use crate::sync::thread;
use crate::zoo::{Bug, planted};

/// Keeps the index's history from forgetting what was visible at one revision.
pub(crate) struct View {
    pub(crate) state: Arc<State>,
    pub(crate) revision: u64,
    generation: u64,
}

impl View {
    /// A view of what is visible now. Constant time; waits for a commit that is just entering the
    /// index.
    pub(crate) fn new(state: Arc<State>) -> View {
        let (revision, generation) = {
            let all_or_nothing = state.apply.lock();
            let revision = state.visible.load(Ordering::Acquire);
            if planted(Bug::ViewWithoutLock) {
                drop(all_or_nothing);
                thread::yield_now();
            }
            (revision, state.index.snapshots().register(revision))
        };
        View { state, revision, generation }
    }
}

impl Drop for View {
    fn drop(&mut self) {
        let snapshots = self.state.index.snapshots();
        snapshots.release(self.revision, self.generation);
        self.state.index.prune();
        self.state.segments.let_go(|| snapshots.oldest_generation());
    }
}

/// Says which view it is, and not what the state behind it holds: buffers with values.
impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View")
            .field("path", &self.state.disk.path())
            .field("revision", &self.revision)
            .finish()
    }
}
