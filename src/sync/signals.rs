//! How a thread in the background is told that there is work.

use std::time::Duration;

use super::atomic::{AtomicBool, Ordering};
use super::{Condvar, Mutex};

/// What a thread was woken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Woken {
    Now,
    /// What was due within the interval; it is over.
    Interval,
    ToStop,
}

/// Flags that any thread raises, and one waits for.
#[derive(Debug, Default)]
pub(crate) struct Signals {
    /// Guards nothing but the step from looking at the flags to waiting for `told`.
    idle: Mutex<()>,
    told: Condvar,
    /// Something is due within the interval.
    pub(crate) dirty: AtomicBool,
    /// Something is due now.
    pub(crate) now: AtomicBool,
    pub(crate) stop: AtomicBool,
}

impl Signals {
    /// Whether there is anything to do.
    fn is_raised(&self) -> bool {
        let raised = |flag: &AtomicBool| flag.load(Ordering::Acquire);
        raised(&self.dirty) || raised(&self.now) || raised(&self.stop)
    }

    /// Whether all that is to do can wait for the interval.
    fn waits_for_interval(&self) -> bool {
        !self.now.load(Ordering::Acquire) && !self.stop.load(Ordering::Acquire)
    }

    /// Waits until there is something to do; for what is due within the interval, an `interval`
    /// longer. Lowers the flags. True if the thread is to end.
    pub(crate) fn wait(&self, interval: Duration) -> bool {
        self.wait_for_work(interval) == Woken::ToStop
    }

    /// The same, and says what it is.
    pub(crate) fn wait_for_work(&self, interval: Duration) -> Woken {
        let mut idle = self.idle.lock();
        while !self.is_raised() {
            self.told.wait(&mut idle);
        }
        if self.waits_for_interval() {
            self.told.wait_for(&mut idle, interval);
        }
        drop(idle);
        if self.stop.load(Ordering::Acquire) {
            return Woken::ToStop;
        }
        let now = self.now.swap(false, Ordering::AcqRel);
        self.dirty.store(false, Ordering::Release);
        if now { Woken::Now } else { Woken::Interval }
    }

    /// Sets one of the flags, and wakes the thread if it was not set before.
    pub(crate) fn raise(&self, flag: &AtomicBool) {
        if !flag.load(Ordering::Acquire) && !flag.swap(true, Ordering::AcqRel) {
            drop(self.idle.lock());
            self.told.notify_one();
        }
    }
}
