//! The integration tests, linked once. One module per behaviour.

#[cfg(feature = "cli")]
mod cli;
mod format;
mod generated;
#[cfg(feature = "cli")]
mod machine;
mod model;
mod regressions;
mod salvage;
mod support;
