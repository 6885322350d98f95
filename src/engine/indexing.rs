//! The thread that merges changes into the index's leaves, so that commits need not.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::state::State;
use crate::sync::thread::{Builder, JoinHandle};

/// Starts the thread. It ends when it is told to; without it, commits merge.
pub(crate) fn start(state: &Arc<State>) -> Result<JoinHandle<()>> {
    let shared = state.clone();
    state.index.merger().attend(true);
    let named = Builder::new().name("kindlog-index".to_owned());
    let spawned = named.spawn(move || shared.index.merge_until_stopped());
    spawned.map_err(|e| {
        state.index.merger().attend(false);
        Error::io("start a thread for", state.disk.path(), e)
    })
}
