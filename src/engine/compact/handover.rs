//! How what one thread reads gets to another that writes it.

use crate::sync::{Condvar, Mutex};

/// One thing at a time goes over, for one that is used up and comes back.
#[derive(Default)]
pub(super) struct Handover<T> {
    between: Mutex<Between<T>>,
    changed: Condvar,
}

#[derive(Default)]
struct Between<T> {
    full: Option<T>,
    empty: Option<T>,
    /// One of the two has gone.
    over: bool,
}

/// One end. Who drops it sets the other one free.
pub(super) struct End<'a, T>(&'a Handover<T>);

impl<T> Handover<T> {
    pub(super) fn end(&self) -> End<'_, T> {
        End(self)
    }
}

impl<T: Default> End<'_, T> {
    /// Gives a full one away, once the one before has been used up, and returns an empty one.
    /// `None` if nobody takes it any more.
    pub(super) fn give(&self, full: T) -> Option<T> {
        let mut between = self.0.between.lock();
        while between.full.is_some() && !between.over {
            self.0.changed.wait(&mut between);
        }
        if between.over {
            return None;
        }
        between.full = Some(full);
        self.0.changed.notify_all();
        Some(between.empty.take().unwrap_or_default())
    }

    /// Waits for a full one; gives back the one that is used up. `None` if there is none any more.
    pub(super) fn take(&self, used: Option<T>) -> Option<T> {
        let mut between = self.0.between.lock();
        between.empty = used.or(between.empty.take());
        while between.full.is_none() && !between.over {
            self.0.changed.wait(&mut between);
        }
        let full = between.full.take();
        self.0.changed.notify_all();
        full
    }
}

impl<T> Drop for End<'_, T> {
    fn drop(&mut self) {
        self.0.between.lock().over = true;
        self.0.changed.notify_all();
    }
}

#[cfg(all(test, not(kindlog_shuttle)))]
mod tests {
    use super::*;
    use crate::sync::thread;

    #[test]
    fn all_that_is_given_is_taken_in_order() {
        let handover = Handover::default();
        let (giving, taking) = (handover.end(), handover.end());
        thread::scope(|scope| {
            let taken = scope.spawn(move || {
                let (mut used, mut taken) = (None, Vec::new());
                while let Some(full) = taking.take(used.take()) {
                    taken.push(full);
                    used = Some(full);
                }
                taken
            });
            assert!((0..1000).all(|n| giving.give(n).is_some()));
            drop(giving);
            assert_eq!(taken.join().expect("it ends"), (0..1000).collect::<Vec<i32>>());
        });
    }

    #[test]
    fn who_gives_hears_that_nobody_takes() {
        let handover = Handover::default();
        let (giving, taking) = (handover.end(), handover.end());
        assert!(giving.give(1).is_some());
        drop(taking);
        assert_eq!(giving.give(2), None);
    }
}
