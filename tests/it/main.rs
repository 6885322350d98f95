//! The integration tests, linked once. One module per behaviour.

mod backup;
#[cfg(feature = "sim")]
mod backup_sweeps;
#[cfg(feature = "cli")]
mod cli;
#[cfg(feature = "sim")]
mod compaction;
#[cfg(feature = "sim")]
mod compaction_large;
mod concurrency;
mod contract;
#[cfg(feature = "sim")]
mod crash;
#[cfg(feature = "sim")]
mod damage;
mod errors;
#[cfg(feature = "sim")]
mod faults;
mod format;
mod generated;
mod handles;
#[cfg(feature = "sim")]
mod held;
#[cfg(feature = "sim")]
mod hints;
#[cfg(feature = "sim")]
mod in_flight;
mod limits;
#[cfg(feature = "cli")]
mod machine;
mod merging;
mod model;
#[cfg(feature = "sim")]
mod oracle;
#[cfg(feature = "sim")]
mod overtaken;
mod processes;
mod readers;
mod regressions;
#[cfg(feature = "sim")]
mod regressions_compaction;
#[cfg(feature = "sim")]
mod regressions_readers;
#[cfg(feature = "sim")]
mod replay;
#[cfg(feature = "sim")]
mod reserve;
mod round_trip;
mod salvage;
mod stress;
mod support;
#[cfg(feature = "sim")]
mod tail;
mod tidy;
#[cfg(feature = "sim")]
mod workload;
#[cfg(kindlog_zoo)]
mod zoo;
