//! Work on several threads at once, where it is enough to pay for them.

use std::panic;

use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::{processors, spawn_scoped, thread};

/// Does all of `jobs` jobs, on as many threads as there are processors if `worthwhile`, and returns
/// what they came to, in order. Jobs are begun in order, so that the long ones should come first.
pub(super) fn map<T: Send>(
    jobs: usize,
    worthwhile: bool,
    job: impl Fn(usize) -> T + Sync,
) -> Vec<T> {
    let threads = if worthwhile { processors().min(jobs) } else { 1 };
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            if at >= jobs {
                return done;
            }
            done.push((at, job(at)));
        }
    };
    let mut done = thread::scope(|scope| {
        // Those that can't be started are done without.
        let others: Vec<_> = (1..threads).map_while(|_| spawn_scoped(scope, work).ok()).collect();
        let mut done = work();
        for other in others {
            match other.join() {
                Ok(more) => done.extend(more),
                Err(panicked) => panic::resume_unwind(panicked),
            }
        }
        done
    });
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, done)| done).collect()
}
