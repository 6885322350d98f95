//! A run gives way: to whoever closes the store; and, now and then, to everybody.

use std::time::{Duration, Instant};

use super::worker::excess;
use crate::error::{Error, Result};
use crate::state::State;
use crate::sync::atomic::Ordering;
use crate::sync::thread;

/// How much is read or copied between two looks at what else goes on.
const STEP_LEN: u64 = 1 << 20;
/// The longest rest between two of them.
const MAX_REST: Duration = Duration::from_millis(50);

pub(super) struct Pace {
    /// Rests as long as it works, so that commits and reads keep half of the machine; less, the
    /// more there is to do.
    gentle: bool,
    step: u64,
    step_began: Instant,
    commits: u64,
}

impl Pace {
    pub(super) fn new(state: &State, gentle: bool) -> Pace {
        let commits = state.counters.commits.load(Ordering::Relaxed);
        Pace { gentle, step: 0, step_began: Instant::now(), commits }
    }

    /// After each `len` bytes.
    ///
    /// # Errors
    /// `Closed` if the store is being closed.
    pub(super) fn go(&mut self, state: &State, len: u64) -> Result<()> {
        self.step += len;
        if self.step < STEP_LEN {
            return Ok(());
        }
        self.step = 0;
        let compaction = &state.compaction;
        if compaction.signals.stop.load(Ordering::Acquire) {
            return Err(Error::Closed);
        }
        let commits = state.counters.commits.load(Ordering::Relaxed);
        let alone = std::mem::replace(&mut self.commits, commits) == commits;
        let excess = excess(state);
        if self.gentle && !alone && excess < 1.0 {
            thread::sleep(self.step_began.elapsed().min(MAX_REST).mul_f64(1.0 - excess));
        }
        self.step_began = Instant::now();
        Ok(())
    }
}
