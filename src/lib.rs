//! kindlog: an embedded store for Protobuf resources.
//!
//! A resource is `Kind/ID` and its encoded bytes. Values live in an append-only log of checksummed
//! records; an ordered index of all keys lives in memory and is rebuilt from the log on open.
//!
//! ```
//! use kindlog::{Batch, Expect, Options};
//!
//! # fn main() -> Result<(), kindlog::Error> {
//! let store = Options::new().open_in_memory()?;
//! let revision = store.put("Agent", "agent-123", b"\x0a\x05Maria")?;
//! let agent = store.get_resource("Agent", "agent-123")?.expect("just stored");
//! assert_eq!(agent.revision, revision);
//!
//! let mut batch = Batch::new();
//! batch.put("Agent", "agent-124", b"").delete("Agent", "agent-123");
//! store.commit(batch)?;
//! store.put_if("Agent", "agent-123", Expect::Absent, b"again")?;
//! assert_eq!(store.count("Agent")?, 2);
//! # Ok(()) }
//! ```
//!
//! # Where things are
//!
//! Each floor uses only those below it.
//!
//! | floor | what |
//! | --- | --- |
//! | `store`, `collection`, `snapshot` | the public handles |
//! | `engine` | what the store does, one verb a file |
//! | `state` | what the verbs share; the order of locks |
//! | `log`, `index` | segments, tail file and manifest; all keys in memory |
//! | `disk` | the only door to the operating system |
//! | `format` | bytes to values and back |
//! | `error`, `key`, `resource`, `options`, `event`, `sync`, `zoo` | words; locks; planted bugs |
//!
//! With the feature `tracing` the engine reports what it does on its own (opening, closing,
//! healing, failures in the background) as events of the target `kindlog`.

mod collection;
#[cfg(not(feature = "sim"))]
mod disk;
#[cfg(feature = "sim")]
#[doc(hidden)]
pub mod disk;
mod engine;
mod error;
mod event;
mod format;
#[cfg(feature = "sim")]
#[doc(hidden)]
pub mod fuzzing;
mod index;
mod key;
mod log;
mod options;
mod resource;
mod snapshot;
mod state;
mod store;
mod sync;
#[cfg(not(kindlog_zoo))]
mod zoo;
#[cfg(kindlog_zoo)]
#[doc(hidden)]
pub mod zoo;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

pub use collection::{Collection, CollectionIter, CollectionScan};
pub use engine::backup::BackupReport;
pub use engine::backup::restore::RestoreReport;
pub use engine::backup::verify::BackupVerifyReport;
pub use engine::batch::Batch;
pub use engine::commit::Expect;
pub use engine::compact::why::{CompactionStats, HeldSpace, WhyHeld};
pub use engine::doctor::Diagnosis;
pub use engine::examine::{Damage, LostRecord, Misnamed};
pub use engine::report::{Discarded, RecoveryReport};
pub use engine::salvage::SalvageReport;
pub use engine::scan::{KeyIter, Scan, ScanIter};
pub use engine::stats::{KindStats, SegmentStats, Stats};
pub use engine::verify::{Problem, VerifyReport};
pub use error::{Error, Op, Outcome, Result};
pub use key::{MAX_ID_LEN, MAX_KIND_LEN};
pub use options::{
    Durability, MAX_SEGMENT_SIZE, MIN_SEGMENT_SIZE, MIN_SPACE_BOUND, Options, ReadMode,
};
pub use resource::{Resource, Revision, Text};
pub use snapshot::Snapshot;
pub use store::Store;

#[cfg(all(test, kindlog_shuttle))]
#[path = "../tests/scheduled/mod.rs"]
mod scheduled_tests;
