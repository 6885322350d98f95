//! What opening a store found and did.

use std::path::PathBuf;
use std::time::Duration;

/// What opening the store found and did.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct RecoveryReport {
    /// Records in the log: puts and deletes, live or not; read, or told of by a hint.
    pub records: u64,
    /// Bytes that were read for them: of hints, of segments, and of the tail file.
    pub bytes_read: u64,
    /// Hints that were good: as many segments were not read, or not from their beginning.
    pub hints_used: u64,
    /// Hints that were passed over since they are damaged, or of something else. That loses
    /// nothing: the segment was read instead.
    pub hints_rejected: u64,
    /// Sealed segments that have no good hint. They were read, and the owner writes their hints in
    /// the background; a read-only handle doesn't.
    pub hints_rebuilt: u64,
    /// Bytes behind the log's end that were discarded: commits that were being written when the
    /// process or the machine stopped.
    pub torn_bytes: u64,
    /// Where the discarded bytes lie.
    pub discarded: Vec<Discarded>,
    /// Whether a `Sync` commit that was acknowledged may be among the discarded bytes: the medium
    /// lost what it had promised, where nothing in the log can prove it. False is certain.
    pub lost_acknowledged: bool,
    /// The store had been closed in order.
    pub clean: bool,
    /// Bytes that no sync was known to cover and that were written again, into a new segment.
    pub rewritten_bytes: u64,
    /// How long it took.
    pub elapsed: Duration,
}

/// A stretch of a file that is not part of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Discarded {
    /// The segment's file.
    pub file: PathBuf,
    /// Where it begins.
    pub offset: u64,
    /// How long it is, up to the last byte that is not zero.
    pub len: u64,
}
