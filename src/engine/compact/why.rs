//! What compaction has done, and why what is dead is still there.

use super::worker::{Row, idle_policy, rows};
use crate::state::State;
use crate::state::compaction::Findings;
use crate::sync::atomic::Ordering;

/// What compaction has done since the store was opened, and what it has left. Bytes are those of
/// whole frames.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct CompactionStats {
    /// Runs that ended well, those of [`compact`](crate::Store::compact) included.
    pub runs: u64,
    /// Bytes that were written to new segments.
    pub copied_bytes: u64,
    /// Bytes of segments that were removed. Less `copied_bytes`, that is what runs gave back.
    pub reclaimed_bytes: u64,
    /// Bytes of the log that are no live record: what was overwritten and deleted, tombstones, and
    /// what the log keeps of itself. What snapshots pin is not among them.
    pub dead_bytes: u64,
    /// So many of them may stay in a store that is idle, by
    /// [`space_bound`](crate::Options::space_bound); `u64::MAX` if it is infinite. Of a read-only
    /// handle: by its own `space_bound`, whatever the owner's is.
    pub allowed_bytes: u64,
    /// Bytes of segments that have left the store, and that snapshots and scans of this handle keep
    /// on the disk.
    pub pinned_bytes: u64,
    /// At this moment something is compacted, or looked at whether it should be.
    pub running: bool,
    /// Why the last attempt in the background failed; `None` if it went well. It is tried again.
    pub failure: Option<String>,
    /// What is dead and not reclaimed, in the order of segments. A segment has an entry for each
    /// reason; together they are `dead_bytes` and `pinned_bytes`.
    ///
    /// Needed tombstones and damage are told once a run has come upon them. A read-only handle
    /// compacts nothing: it does not know of them, nor of the owner's snapshots.
    pub held: Vec<HeldSpace>,
}

/// Bytes of a segment that are dead and still there.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HeldSpace {
    /// The segment's number.
    pub segment: u32,
    /// How many bytes.
    pub dead_bytes: u64,
    /// Why they are there.
    pub why: WhyHeld,
}

/// Why dead bytes are not reclaimed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WhyHeld {
    /// The store is within its [`space_bound`](crate::Options::space_bound): there is no need.
    BelowBound,
    /// The store is over what it may have when idle: compaction is at it, or will come to it. If
    /// that fails, `failure` says why.
    Due,
    /// The segment may still be written. It is ended early if most of what is dead lies there.
    Active,
    /// They are tombstones, and these segments still hold older puts that they delete.
    Tombstones {
        /// The numbers of those segments. They are compacted next, when space is wanted.
        needed_by: Vec<u32>,
    },
    /// The segment can't be compacted: a record that is needed is damaged, can't be read, or is of
    /// an unknown type. It is left alone until that record is written over or deleted, or the
    /// store is opened again, or, if it could not be read, an hour has gone by or somebody asks
    /// for a compaction. What is dead in it does not count against the bound.
    Damaged {
        /// Where, and what is wrong with it.
        reason: String,
    },
    /// The bound is infinite: nothing is compacted unless it is asked for.
    AutomaticOff,
    /// A snapshot or a scan may still read the segment, which has left the store.
    Pinned,
}

/// Cost: the kinds times the segments they lie in.
pub(crate) fn compaction(state: &State) -> CompactionStats {
    let rows = rows(state);
    let retired = state.segments.retired();
    let live = rows.iter().map(|row| row.live).sum();
    let total: u64 = rows.iter().map(|row| row.total).sum();
    let policy = idle_policy(state);
    let allowed = (!policy.bound.is_infinite()).then(|| policy.allowed(live));
    let running = state.compaction.running.try_lock().is_none();
    let counters = &state.compaction.counters;
    let mut stats = CompactionStats {
        runs: counters.runs.load(Ordering::Relaxed),
        copied_bytes: counters.copied_bytes.load(Ordering::Relaxed),
        reclaimed_bytes: counters.reclaimed_bytes.load(Ordering::Relaxed),
        dead_bytes: total - live,
        allowed_bytes: allowed.map_or(u64::MAX, |allowed| allowed - live),
        pinned_bytes: retired.iter().map(|segment| segment.len()).sum(),
        running,
        failure: None,
        held: Vec::new(),
    };
    let findings = state.compaction.findings.lock();
    stats.failure.clone_from(&findings.failure);
    let stays: u64 = rows.iter().map(|row| findings.staying(row.id, row.total - row.live)).sum();
    let otherwise = match allowed {
        None => WhyHeld::AutomaticOff,
        Some(allowed) if total - stays > allowed => WhyHeld::Due,
        Some(_) => WhyHeld::BelowBound,
    };
    stats.held = rows.iter().flat_map(|row| held(row, &findings, &otherwise)).collect();
    stats.held.extend(retired.iter().map(|segment| HeldSpace {
        segment: segment.id.0,
        dead_bytes: segment.len(),
        why: WhyHeld::Pinned,
    }));
    stats
}

/// What is dead of a segment, reason by reason; `otherwise` if nothing in particular holds it.
fn held(row: &Row, findings: &Findings, otherwise: &WhyHeld) -> Vec<HeldSpace> {
    let dead = row.total - row.live;
    let entry = |dead_bytes, why| HeldSpace { segment: row.id.0, dead_bytes, why };
    let mut held = match (findings.left_alone(row.id), findings.needed.get(&row.id)) {
        _ if row.ordered.is_none() => vec![entry(dead, WhyHeld::Active)],
        (Some(reason), _) => vec![entry(dead, WhyHeld::Damaged { reason: reason.to_owned() })],
        (None, Some(needed)) => {
            let tombstones = needed.bytes.min(dead);
            let needed_by = needed.by.iter().map(|id| id.0).collect();
            let why = WhyHeld::Tombstones { needed_by };
            vec![entry(tombstones, why), entry(dead - tombstones, otherwise.clone())]
        }
        (None, None) => vec![entry(dead, otherwise.clone())],
    };
    held.retain(|held| held.dead_bytes > 0);
    held
}
