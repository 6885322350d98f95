//! What many read and few change, kept once a stripe.

use super::{RwLock, RwLockReadGuard};

/// How many stripes there are. More let more threads read side by side, and make a change dearer.
pub(crate) const STRIPES: usize = 8;

/// A value behind several locks, of which each thread reads by its own.
///
/// Taking a lock writes to it, also to read, and a cache line that two processors write by turns
/// costs each of them as much as a miss. Threads share a stripe only if there are more of them than
/// stripes.
///
/// Each stripe has a copy of the value, and a change is made to each. It is complete when
/// [`update`](Striped::update) returns; while it runs, some threads may see it already and others
/// not yet.
#[derive(Debug)]
pub(crate) struct Striped<T> {
    stripes: [Apart<RwLock<T>>; STRIPES],
}

/// On a cache line of its own, and away from the line that processors fetch with it.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Apart<T>(T);

impl<T: Default> Default for Striped<T> {
    fn default() -> Striped<T> {
        Striped { stripes: std::array::from_fn(|_| Apart::default()) }
    }
}

impl<T> Striped<T> {
    /// The value, as the calling thread's stripe has it.
    #[inline]
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, T> {
        self.stripes[stripe()].0.read()
    }

    /// Changes each stripe's copy, in the same order as other changes. What they have to agree in,
    /// `change` has to make the same in each.
    pub(crate) fn update(&self, mut change: impl FnMut(&mut T)) {
        let [first, others @ ..] = &self.stripes;
        // Held to the end: changes come to all stripes in the same order.
        let mut first = first.0.write();
        change(&mut first);
        for other in others {
            change(&mut other.0.write());
        }
    }

    /// Changes the copies that nobody reads just now: for what need not be the same in all.
    pub(crate) fn update_idle(&self, mut change: impl FnMut(&mut T)) {
        let idle = self.stripes.iter().filter_map(|stripe| stripe.0.try_write());
        idle.for_each(|mut copy| change(&mut copy));
    }
}

/// The stripe of the calling thread.
#[cfg(not(all(test, kindlog_shuttle)))]
#[inline]
fn stripe() -> usize {
    use std::cell::Cell;
    use std::sync::atomic::{AtomicUsize, Ordering};

    static NEXT: AtomicUsize = AtomicUsize::new(0);
    const NONE: usize = usize::MAX;
    thread_local!(static MINE: Cell<usize> = const { Cell::new(NONE) });
    MINE.with(|mine| {
        if mine.get() == NONE {
            mine.set(NEXT.fetch_add(1, Ordering::Relaxed) % STRIPES);
        }
        mine.get()
    })
}

/// The scheduled threads are all one to the operating system.
#[cfg(all(test, kindlog_shuttle))]
fn stripe() -> usize {
    usize::from(shuttle::current::me()) % STRIPES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_comes_to_every_stripe() {
        let striped: Striped<Vec<u32>> = Striped::default();
        striped.update(|list| list.push(7));
        assert!(striped.stripes.iter().all(|stripe| *stripe.0.read() == [7]));
        assert_eq!(*striped.read(), [7]);
    }

    #[test]
    fn who_reads_holds_up_no_change_of_the_idle_ones() {
        let striped: Striped<u32> = Striped::default();
        let reading = striped.read();
        striped.update_idle(|number| *number = 7);
        assert_eq!(*reading, 0);
        drop(reading);
        let changed = striped.stripes.iter().filter(|stripe| *stripe.0.read() == 7).count();
        assert_eq!(changed, STRIPES - 1);
    }
}
