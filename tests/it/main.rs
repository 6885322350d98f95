//! The integration tests, linked once. One module per behaviour.

#[cfg(feature = "cli")]
mod cli;
mod contract;
mod format;
mod generated;
mod limits;
#[cfg(feature = "cli")]
mod machine;
mod model;
mod regressions;
mod salvage;
mod support;
