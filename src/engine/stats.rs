//! What a store holds and costs, from figures that are kept anyway: no record is read.

use std::collections::BTreeMap;
use std::time::SystemTime;

use super::compact::why::{self, CompactionStats};
use super::read::{consistent, time_from_micros};
use crate::format::location::SegmentId;
use crate::resource::Revision;
use crate::state::State;
use crate::sync::atomic::Ordering;

/// What a store holds and costs. Bytes are those of whole frames: headers, keys, values, padding.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Stats {
    /// The kinds that have resources, in order.
    pub kinds: Vec<KindStats>,
    /// The segments, by number.
    pub segments: Vec<SegmentStats>,
    /// Memory that the index takes.
    pub index_bytes: u64,
    /// Bytes of the log, live and dead, in all segments.
    pub disk_bytes: u64,
    /// What compaction does about what is dead.
    pub compaction: CompactionStats,
    /// The newest visible revision.
    pub revision: Revision,
    /// Commits since the store was opened.
    pub commits: u64,
    /// Fsyncs of segments since the store was opened.
    pub fsyncs: u64,
}

/// One kind.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct KindStats {
    /// The kind.
    pub name: String,
    /// How many resources it has.
    pub live_count: u64,
    /// The bytes that they take in the log.
    pub live_bytes: u64,
    /// The bytes of what was overwritten and deleted, and of tombstones.
    pub dead_bytes: u64,
    /// No resource is older. A bound: as old as the oldest record in any segment that still holds
    /// one of them.
    pub oldest: Option<SystemTime>,
    /// No resource is newer. A bound, as `oldest`.
    pub newest: Option<SystemTime>,
}

/// One segment.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct SegmentStats {
    /// Its number, which names its file in hex.
    pub id: u32,
    /// The bytes of live records in it.
    pub live_bytes: u64,
    /// All its bytes.
    pub total_bytes: u64,
    /// Whether it is the one that is written; of a read-only handle, whether somebody who had the
    /// store open for writing may still have written it.
    pub active: bool,
    /// Whether it is never written again. The last segment of a store that nobody has open is
    /// neither active nor sealed: who opens it next goes on in it, or seals it.
    pub sealed: bool,
}

/// Cost: the kinds times the segments they lie in.
pub(crate) fn stats(state: &State) -> Stats {
    // Not while commits are held up, for who holds up takes no lock that commits hold.
    let active = state.order.lock().active.as_ref().map(|active| active.segment.id);
    let (kinds, live) = kinds(state);
    let manifest = state.manifest.get();
    let sealed = |id| manifest.segments.iter().any(|e| e.id() == id && e.sealed.is_some());
    let segments: Vec<SegmentStats> = state
        .segments
        .all()
        .iter()
        .map(|segment| {
            let sealed = sealed(segment.id);
            SegmentStats {
                id: segment.id.0,
                live_bytes: live.get(&segment.id).copied().unwrap_or(0),
                total_bytes: segment.len(),
                active: active.map_or(state.owned && !sealed, |active| active == segment.id),
                sealed,
            }
        })
        .collect();
    Stats {
        kinds,
        index_bytes: state.index.memory_bytes() as u64,
        disk_bytes: segments.iter().map(|segment| segment.total_bytes).sum(),
        segments,
        compaction: why::compaction(state),
        revision: Revision::from(state.visible.load(Ordering::Acquire)),
        commits: state.counters.commits.load(Ordering::Relaxed),
        fsyncs: state.counters.fsyncs.load(Ordering::Relaxed),
    }
}

type LiveBytes = BTreeMap<SegmentId, u64>;

/// The kinds that have resources, and what lives in each segment.
fn kinds(state: &State) -> (Vec<KindStats>, LiveBytes) {
    let all = consistent(state, || Ok(count(state)));
    all.unwrap_or_default()
}

fn count(state: &State) -> (Vec<KindStats>, LiveBytes) {
    let (mut live, mut kinds) = (LiveBytes::new(), Vec::new());
    for kind in state.index.kinds() {
        let mut stats = KindStats { name: kind.name().to_owned(), ..KindStats::default() };
        let (mut oldest, mut newest) = (i64::MAX, i64::MIN);
        for usage in kind.usage() {
            *live.entry(usage.segment).or_default() += usage.live_bytes;
            stats.live_count += usage.live_count;
            stats.live_bytes += usage.live_bytes;
            stats.dead_bytes += usage.total_bytes - usage.live_bytes;
            if usage.live_count > 0 {
                oldest = oldest.min(usage.oldest);
                newest = newest.max(usage.newest);
            }
        }
        if stats.live_count > 0 {
            stats.oldest = Some(time_from_micros(oldest));
            stats.newest = Some(time_from_micros(newest));
            kinds.push(stats);
        }
    }
    (kinds, live)
}
