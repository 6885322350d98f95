//! The integration tests, linked once. One module per behaviour.

#[cfg(feature = "cli")]
mod cli;
mod concurrency;
mod contract;
mod errors;
mod format;
mod generated;
mod handles;
#[cfg(feature = "sim")]
mod in_flight;
mod limits;
#[cfg(feature = "cli")]
mod machine;
mod model;
mod processes;
mod readers;
mod regressions;
mod salvage;
mod support;
