//! Random verbs on a store and on a map, which must agree, also after every kind of end.
//!
//! Deleted data that comes back is the bug of this class of engine, so the ids collide in every way
//! that ids can, and every reopening compares everything.

mod driver;
mod scans;
mod verbs;

use std::time::Duration;

use kindlog::{Options, ReadMode};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::support::Medium;
use driver::Driver;
use verbs::{Verb, verb};

/// So small that a run rolls through many segments, and that batches are larger than one.
const SEGMENT_SIZE: u64 = 64 << 10;

fn run(cases: u32, max_verbs: usize, open: impl Fn() -> (Medium, Options)) {
    // PROPTEST_CASES multiplies what is too slow for its default of 256.
    let factor = std::env::var("PROPTEST_CASES").ok().and_then(|text| text.parse().ok());
    let config = ProptestConfig {
        cases: cases * factor.unwrap_or(1),
        failure_persistence: None,
        max_shrink_iters: 2000,
        ..ProptestConfig::default()
    };
    let verbs = vec(verb(), 1..max_verbs);
    let ran = TestRunner::new(config).run(&verbs, |verbs: Vec<Verb>| {
        let (medium, options) = open();
        let mut driver = Driver::new(medium, options.segment_size(SEGMENT_SIZE));
        verbs.iter().for_each(|verb| driver.run(verb));
        driver.finish();
        Ok(())
    });
    if let Err(failure) = ran {
        panic!("{failure}");
    }
}

/// Nothing becomes durable by itself, so that what may be lost often is.
fn quiet() -> Options {
    Options::new().sync_interval(Duration::from_secs(3600)).space_bound(f64::INFINITY)
}

#[test]
fn a_store_in_memory_agrees_with_a_map() {
    run(64, 120, || (Medium::Memory, quiet()));
}

#[test]
fn a_store_in_a_directory_agrees_with_a_map() {
    run(24, 100, || (Medium::native(), quiet()));
}

#[test]
fn a_store_that_is_read_by_pread_agrees_with_a_map() {
    run(16, 100, || (Medium::native(), quiet().read_mode(ReadMode::Pread)));
}

#[cfg(feature = "sim")]
#[test]
fn a_store_on_a_simulated_disk_agrees_with_a_map() {
    run(32, 100, || (Medium::Sim(kindlog::disk::sim::SimDisk::new()), quiet()));
}

#[cfg(feature = "sim")]
#[test]
fn a_store_without_a_tail_file_agrees_with_a_map() {
    run(24, 100, || {
        let disk = kindlog::disk::sim::SimDisk::new();
        disk.set_tail(false);
        (Medium::Sim(disk), quiet())
    });
}

/// The background syncs, seals and prepares all the time, between any two steps.
#[cfg(feature = "sim")]
#[test]
fn a_store_whose_background_never_rests_agrees_with_a_map() {
    run(24, 100, || {
        let options = quiet().sync_interval(Duration::from_micros(1));
        (Medium::Sim(kindlog::disk::sim::SimDisk::new()), options)
    });
}
