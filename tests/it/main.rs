//! The integration tests, linked once. One module per behaviour.

#[cfg(feature = "cli")]
mod cli;
mod format;
mod generated;
mod regressions;
mod salvage;
