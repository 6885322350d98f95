//! What of a segment's file is final, for readers who take no lock.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use crate::sync::{STRIPES, stripe};

/// A segment has about so many steps. A step's cells cost two kilobytes.
const MAX_STEPS: u64 = 16;
const MIN_STEP_BITS: u32 = 16;

/// The written part of a segment's file, by steps of its length.
///
/// A segment grows, so what is final of it is behind a lock. But what was final once stays so: when
/// all of a step has been written, its cell is set to the mapping's prefix as it is then, and never
/// changes again. A reader finds it with two loads. The prefix ends behind the step, and where a
/// frame ends, so that it holds all of each frame that begins in the step.
///
/// There is one prefix a stripe: whoever reads a record counts up its prefix, and all threads
/// counting up the same one would wait for each other.
pub(super) struct Windows {
    steps: Box<[OnceLock<Arc<[Bytes; STRIPES]>>]>,
    step_bits: u32,
}

impl Windows {
    pub(super) fn new(capacity: u64) -> Windows {
        let step_bits = (capacity / MAX_STEPS).max(1).next_power_of_two().trailing_zeros();
        let step_bits = step_bits.max(MIN_STEP_BITS);
        let steps = (0..=capacity >> step_bits).map(|_| OnceLock::new()).collect();
        Windows { steps, step_bits }
    }

    /// What holds the frame at `offset`, if it is known to be final.
    #[inline]
    pub(super) fn at(&self, offset: u64) -> Option<&Bytes> {
        let window = &self.steps.get((offset >> self.step_bits) as usize)?.get()?[stripe()];
        (offset < window.len() as u64).then_some(window)
    }

    /// The first `written` bytes are final, and end where a frame does. `prefix` returns them.
    pub(super) fn grow(&self, written: u64, prefix: impl FnMut() -> Bytes) {
        self.set(written >> self.step_bits, prefix);
    }

    /// Nothing comes behind what is written, which `prefix` returns.
    pub(super) fn end(&self, prefix: impl FnMut() -> Bytes) {
        self.set(self.steps.len() as u64, prefix);
    }

    /// Sets the first `count` steps that aren't set yet.
    fn set(&self, count: u64, mut prefix: impl FnMut() -> Bytes) {
        let steps = self.steps.iter().take(count as usize);
        let mut missing = steps.filter(|step| step.get().is_none()).peekable();
        if missing.peek().is_some() {
            let prefixes: Arc<[Bytes; STRIPES]> = Arc::new(std::array::from_fn(|_| prefix()));
            missing.for_each(|step| {
                step.get_or_init(|| prefixes.clone());
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_holds_all_of_its_frames_and_nothing_that_is_not_final() {
        const FRAME: u64 = 24 << 10;
        let file = Bytes::from(vec![0; 3 << 20]);
        let windows = Windows::new(file.len() as u64);
        let frames = || (0..).step_by(FRAME as usize);
        let mut known = 0;
        for written in frames().take_while(|end| *end < 2 << 20) {
            windows.grow(written, || file.slice(..written as usize));
            let found = frames().take_while(|at| windows.at(*at).is_some()).last().unwrap_or(0);
            assert!(found >= known, "what was final is so no longer");
            known = found;
            for at in frames().take_while(|at| *at <= file.len() as u64) {
                let Some(window) = windows.at(at) else { continue };
                assert!(window.len() as u64 <= written, "{at} of {written}");
                assert!(at + FRAME <= window.len() as u64, "half a frame at {at} of {written}");
            }
            assert!(written - known < 2 * (256 << 10), "{known} of {written} is known");
        }
        windows.end(|| file.slice(..2 << 20));
        assert!(windows.at((2 << 20) - 1).is_some());
        assert!(windows.at(2 << 20).is_none());
    }

    #[test]
    fn without_a_mapping_there_is_no_window() {
        let windows = Windows::new(0);
        assert!([0, 1, 1 << 20, u64::MAX].iter().all(|at| windows.at(*at).is_none()));
    }
}
