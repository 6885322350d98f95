//! Any operations on a store, against a map: what it answers, what survives, what never returns.

#![no_main]

use kindlog_fuzz::verbs::{self, Plan};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|plan: Plan| verbs::run(plan));
