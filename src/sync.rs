//! Locks, condition variables, atomics and threads: all that the engine orders itself by comes
//! from here, so that a test can take over the scheduler.
//!
//! These are parking_lot's and the standard library's own. In a test build with
//! `--cfg kindlog_shuttle` they are those of `shuttle`, which runs one thread at a time and picks
//! the next one at each of these operations: [`scheduled`]. No feature turns that on.

#[cfg(all(test, kindlog_shuttle))]
mod scheduled;
mod signals;
mod striped;

#[cfg(all(test, kindlog_shuttle))]
pub(crate) use striped::STRIPES;
pub(crate) use striped::Striped;

use std::time::Duration;
#[cfg(not(all(test, kindlog_shuttle)))]
use std::time::Instant;

#[cfg(not(all(test, kindlog_shuttle)))]
pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard};
#[cfg(not(all(test, kindlog_shuttle)))]
pub(crate) use std::{sync::atomic, thread};

pub(crate) use signals::{Signals, Woken};

/// How often who wants a lock looks whether it is free before he waits for it.
pub(crate) const SPINS: usize = if cfg!(all(test, kindlog_shuttle)) { 1 } else { 32 };

/// Hands a lock on to who waits for it, if anyone does.
#[cfg(not(all(test, kindlog_shuttle)))]
pub(crate) fn unlock_fair<T>(guard: parking_lot::RwLockWriteGuard<'_, T>) {
    parking_lot::RwLockWriteGuard::unlock_fair(guard);
}

/// The scheduler hands it on as it likes.
#[cfg(all(test, kindlog_shuttle))]
pub(crate) fn unlock_fair<T>(guard: shuttle::sync::RwLockWriteGuard<'_, T>) {
    drop(guard);
}

/// How many threads can work at the same time.
#[cfg(not(all(test, kindlog_shuttle)))]
pub(crate) fn processors() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// Starts a thread of a scope, if the system lets it.
#[cfg(not(all(test, kindlog_shuttle)))]
pub(crate) fn spawn_scoped<'scope, T: Send + 'scope>(
    scope: &'scope thread::Scope<'scope, '_>,
    work: impl FnOnce() -> T + Send + 'scope,
) -> std::io::Result<thread::ScopedJoinHandle<'scope, T>> {
    thread::Builder::new().spawn_scoped(scope, work)
}

/// The scheduler always does.
#[cfg(all(test, kindlog_shuttle))]
pub(crate) fn spawn_scoped<'scope, T: Send + 'scope>(
    scope: &'scope shuttle::thread::Scope<'scope, '_>,
    work: impl FnOnce() -> T + Send + 'scope,
) -> std::io::Result<shuttle::thread::ScopedJoinHandle<'scope, T>> {
    Ok(scope.spawn(work))
}

/// Says, again and again, whether a wait may still go on: for so long.
#[cfg(not(all(test, kindlog_shuttle)))]
pub(crate) fn patience(limit: Duration) -> impl FnMut() -> bool {
    let until = Instant::now() + limit;
    move || Instant::now() < until
}

/// Where time does not pass, that is a few turns.
#[cfg(all(test, kindlog_shuttle))]
pub(crate) fn patience(_limit: Duration) -> impl FnMut() -> bool {
    let mut turns = 0..3;
    move || turns.next().is_some()
}

/// The scheduled threads take turns; two of them show all that more would.
#[cfg(all(test, kindlog_shuttle))]
pub(crate) fn processors() -> usize {
    2
}

#[cfg(all(test, kindlog_shuttle))]
pub(crate) use scheduled::{Condvar, Mutex, MutexGuard, RwLock, thread};
#[cfg(all(test, kindlog_shuttle))]
pub(crate) use shuttle::sync::{RwLockReadGuard, atomic};
