//! The thread that compacts when it is time, and what it goes by.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::plan::{Candidate, Plan, Policy, Space, cheapest, plan};
use super::run::run;
use crate::engine::roll;
use crate::error::{Error, Result};
use crate::event::event;
use crate::format::location::SegmentId;
use crate::format::manifest::{Manifest, SegmentEntry};
use crate::format::segment::HEADER_LEN;
use crate::options::MIN_SPACE_BOUND;
use crate::state::State;
use crate::sync::atomic::Ordering;
use crate::sync::thread::{Builder, JoinHandle};

/// How long after a change the store is looked at, and how often while it is written, beside the
/// looks when a segment is full.
pub(super) const PAUSE: Duration = Duration::from_secs(1);
/// After a failure it waits longer each time, up to this, or until a segment is full.
const MAX_PAUSE: Duration = Duration::from_secs(60);
/// How long what could not be read is left alone before it is tried again.
const RETRY_PAUSE: Duration = Duration::from_secs(3600);
/// A store to which less is appended in a pause is idle.
pub(super) const IDLE_LEN: u64 = 128 << 10;
/// An idle store keeps so much of what its bound allows beyond the live bytes: it has the time, and
/// the more is dead the less it takes to compact it.
const IDLE_SHARE: f64 = 0.4;
/// What an idle store may have beyond its bound, of the mebibyte that is promised.
const IDLE_SLACK: u64 = 128 << 10;
/// How much more than an idle one a store may have that is written.
const LOAD_EXTRA: f64 = 0.5;
/// So much of that it takes before it is compacted: the longer a segment lies, the more of it dies
/// by itself.
const LOAD_SHARE: f64 = 0.5;
/// While a store is written, runs are so much smaller: what one gives back comes at its end.
const LOAD_RUNS: u64 = 2;
/// Segments of no more than this share of a full one are small.
const SMALL_SHARE: u64 = 4;

/// Starts the thread, unless the store is not to be compacted by itself.
pub(crate) fn start(state: &Arc<State>) -> Result<Option<JoinHandle<()>>> {
    if state.options.space_bound.is_infinite() {
        return Ok(None);
    }
    let shared = state.clone();
    let named = Builder::new().name("kindlog-compact".to_owned());
    let spawned = named.spawn(move || work(&shared));
    spawned.map(Some).map_err(|e| Error::io("start a thread for", state.disk.path(), e))
}

fn work(state: &State) {
    let signals = &state.compaction.signals;
    let (mut pause, mut pulse, mut last_try) = (PAUSE, Pulse::new(state), Instant::now());
    // What an earlier process left.
    signals.raise(&signals.dirty);
    loop {
        if signals.wait(pause) {
            return;
        }
        let full = state.compaction.full.swap(false, Ordering::Relaxed);
        let pressure = |state: &State, pulse: &mut Pulse| match (full, pulse.is_idle(state)) {
            (true, _) => Pressure::Full,
            (false, true) => Pressure::Idle,
            (false, false) => Pressure::Load,
        };
        let done = {
            let _one_at_a_time = state.compaction.running.lock();
            let tried = match last_try.elapsed() >= RETRY_PAUSE {
                true => {
                    last_try = Instant::now();
                    try_unread(state, true).map(drop)
                }
                false => Ok(()),
            };
            tried.and_then(|()| bring_down(state, || pressure(state, &mut pulse)))
        };
        state.compaction.behind.store(false, Ordering::Relaxed);
        pause = if done.is_ok() { PAUSE } else { MAX_PAUSE.min(2 * pause) };
        if !matches!(done, Ok(Pressure::Idle)) {
            // There is more to do once it is idle.
            signals.raise(&signals.dirty);
        }
        if let Err(error) = &done {
            event!(warn, "compacting: {error}");
        }
        state.compaction.findings.lock().failure = done.err().map(|error| error.to_string());
    }
}

/// Whether commits come.
pub(super) struct Pulse {
    idle: bool,
    /// When that was judged last, and where commits ended then.
    pub(super) judged: Instant,
    end: u64,
}

impl Pulse {
    pub(super) fn new(state: &State) -> Pulse {
        Pulse { idle: false, judged: Instant::now(), end: state.order.lock().commit_end }
    }

    /// Idle is who has appended little for a while; and no longer, who has appended more since.
    pub(super) fn is_idle(&mut self, state: &State) -> bool {
        let end = state.order.lock().commit_end;
        // It goes back where a failed append withdraws commits.
        let little = end.saturating_sub(self.end) < IDLE_LEN;
        if self.judged.elapsed() >= PAUSE {
            *self = Pulse { idle: little, judged: Instant::now(), end };
        } else if !little {
            self.idle = false;
        }
        self.idle
    }
}

/// What the store is held to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Pressure {
    Load,
    Idle,
    /// The disk is full.
    Full,
}

/// Compacts until the store is within its bound, which is asked for before each run, and returns
/// which one that is. That ends: each run has an input go, or be left alone from then on.
pub(super) fn bring_down(
    state: &State,
    mut pressure: impl FnMut() -> Pressure,
) -> Result<Pressure> {
    loop {
        let pressure = pressure();
        state.check_open()?;
        if state.compaction.signals.stop.load(Ordering::Acquire) {
            return Ok(pressure);
        }
        let (candidates, space) = survey(state, pressure != Pressure::Load);
        match plan(&candidates, &space, &policy(state, pressure)) {
            Plan::Rest => return Ok(pressure),
            Plan::Roll => state.reserve.with(|| roll::end_early(state))?,
            Plan::Compact(inputs) => match run(state, &inputs, true) {
                Err(error) if error.is_storage_full() => {
                    // With what is kept back for this there is room for one that takes little.
                    let released = state.reserve.release();
                    let done = run_cheapest(state, &candidates, error);
                    drop(released);
                    // The background passed over it meanwhile.
                    state.tell_now();
                    done?;
                }
                ran => ran?,
            },
        }
    }
}

/// Compacts a single segment: the first of the cheapest that the disk has room for. If it has none,
/// that is the error.
fn run_cheapest(state: &State, candidates: &[Candidate], mut full: Error) -> Result<()> {
    for id in cheapest(candidates) {
        match run(state, &[id], false) {
            Err(error) if error.is_storage_full() => full = error,
            ran => return ran,
        }
    }
    Err(full)
}

/// Compacts all there is, now: what is dead goes, and what is live lies in the order of keys.
pub(crate) fn compact(state: &State) -> Result<()> {
    let _one_at_a_time = state.compaction.running.lock();
    let compacted = compact_all(state);
    // Commits gave way to this, and there may be no thread that says that it is over.
    state.compaction.behind.store(false, Ordering::Relaxed);
    compacted
}

fn compact_all(state: &State) -> Result<()> {
    state.check_writable()?;
    let (_, space) = survey(state, true);
    if space.active.is_some_and(|(total, _)| total > 0) {
        roll::end_early(state)?;
    }
    // What is damaged shows on the way, and keeps all inputs of that run that have tombstones. So
    // once more, without it.
    while compact_others(state)? {}
    // Whoever asks may have seen to what could not be read.
    if try_unread(state, false)? {
        // What was kept for it goes, too, and what it held takes its place in the order.
        while compact_others(state)? {}
    }
    match state.compaction.findings.lock().unread() {
        None => Ok(()),
        Some((id, reason)) => {
            let source = std::io::Error::other(reason.to_owned());
            Err(Error::io("compact", state.segments.path(id), source))
        }
    }
}

/// Tries each segment again that could not be read, by itself: what ailed the medium may be over.
/// True if one has gone.
pub(super) fn try_unread(state: &State, gentle: bool) -> Result<bool> {
    let unread = state.compaction.findings.lock().forget_unread();
    unread.iter().try_for_each(|id| run(state, &[*id], gentle))?;
    Ok(!unread.iter().all(|id| state.segments.has(*id)))
}

/// Compacts all segments that are not left alone, unless they are compact. True if one of them is
/// to be left alone from now on.
fn compact_others(state: &State) -> Result<bool> {
    let left = || state.compaction.findings.lock().all_left_alone();
    let known = left();
    let manifest = state.manifest.get();
    let (candidates, _) = survey(state, false);
    let has_records = |candidate: &&Candidate| {
        let entry = manifest.segments.iter().find(|entry| entry.id() == candidate.id);
        entry.and_then(|entry| entry.sealed.as_ref()).is_some_and(|sealed| sealed.records > 0)
    };
    let (mut candidates, mut empty): (Vec<Candidate>, Vec<Candidate>) =
        candidates.iter().partition(has_records);
    if is_compact(&manifest, &candidates, state.options.segment_size) {
        candidates.clear();
    }
    candidates.append(&mut empty);
    if candidates.is_empty() {
        return Ok(false);
    }
    let inputs: Vec<SegmentId> = candidates.iter().map(|candidate| candidate.id).collect();
    run(state, &inputs, false)?;
    Ok(!left().is_subset(&known))
}

/// Compacts the segments that `pick` says, by their numbers: runs that no plan would make.
#[cfg(feature = "sim")]
pub(crate) fn compact_picked(state: &State, roll: bool, pick: &dyn Fn(u32) -> bool) -> Result<()> {
    let _one_at_a_time = state.compaction.running.lock();
    state.check_writable()?;
    if roll {
        roll::end_early(state)?;
    }
    let picked = survey(state, false).0.into_iter().map(|candidate| candidate.id);
    let inputs: Vec<SegmentId> = picked.filter(|id| pick(id.0)).collect();
    run(state, &inputs, false)
}

/// Whether nothing is dead in the candidates but tombstones that others need, and they lie in the
/// order of keys, one behind the other. One of them that needed a tombstone would have a dead put.
fn is_compact(manifest: &Manifest, candidates: &[Candidate], segment_size: u64) -> bool {
    if candidates.iter().any(|c| !c.ordered || c.gain() > 0) {
        return false;
    }
    let is_candidate = |entry: &&SegmentEntry| candidates.iter().any(|c| c.id == entry.id());
    let entries = manifest.segments.iter().filter(is_candidate);
    let sealed = entries.filter_map(|entry| entry.sealed.as_ref());
    let mut ranges: Vec<(&str, &str, &str)> = sealed
        .clone()
        .flat_map(|sealed| &sealed.kinds)
        .map(|range| (&*range.kind, &*range.first_id, &*range.last_id))
        .collect();
    ranges.sort_unstable();
    let apart = ranges.windows(2).all(|pair| pair[0].0 != pair[1].0 || pair[0].2 < pair[1].1);
    let small = sealed.filter(|sealed| sealed.length < segment_size / 2).count();
    apart && small <= 1
}

/// What an idle store is held to.
pub(super) fn idle_policy(state: &State) -> Policy {
    policy(state, Pressure::Idle)
}

fn policy(state: &State, pressure: Pressure) -> Policy {
    let (segment, bound) = (state.options.segment_size, state.options.space_bound);
    let (bound, slack, run_len) = match pressure {
        Pressure::Load => (bound + LOAD_EXTRA * LOAD_SHARE, segment, segment / LOAD_RUNS),
        Pressure::Idle => (idle_bound(bound), IDLE_SLACK.min(segment), segment),
        Pressure::Full => (MIN_SPACE_BOUND, 0, segment),
    };
    Policy { bound, slack, run_len, small_len: segment / SMALL_SHARE }
}

fn idle_bound(bound: f64) -> f64 {
    (1.0 + (bound - 1.0) * IDLE_SHARE).clamp(MIN_SPACE_BOUND, bound)
}

/// How far a store that is written is on its way from where it is compacted, at 0, to what is
/// promised for it, at 1. Beyond that commits are held back.
pub(super) fn excess(state: &State) -> f64 {
    let (_, space) = survey(state, false);
    let allowed = |bound: f64, segments: u64| {
        space.live as f64 * bound + (segments * state.options.segment_size) as f64
    };
    let bound = state.options.space_bound;
    let start = bound + LOAD_EXTRA * LOAD_SHARE;
    let (held_to, promised) = (allowed(start, 1), allowed(bound + LOAD_EXTRA, 2));
    let total = space.total as f64;
    state.compaction.behind.store(total > promised, Ordering::Relaxed);
    match bound.is_finite() {
        true => ((total - held_to) / (promised - held_to)).clamp(0.0, 1.0),
        false => 0.0,
    }
}

/// A segment that the manifest names, and how full of what it is.
pub(super) struct Row {
    pub(super) id: SegmentId,
    /// Bytes of frames.
    pub(super) total: u64,
    /// Those of records.
    records: u64,
    /// Those of records that are live.
    pub(super) live: u64,
    /// Whether compaction wrote it; `None` if it is not sealed.
    pub(super) ordered: Option<bool>,
}

/// All segments, in the order of their positions.
pub(super) fn rows(state: &State) -> Vec<Row> {
    // Of all kinds together: live bytes, and those of all records.
    let mut usages: BTreeMap<SegmentId, (u64, u64)> = BTreeMap::new();
    for usage in state.index.kinds().iter().flat_map(|kind| kind.usage()) {
        let sum = usages.entry(usage.segment).or_default();
        *sum = (sum.0 + usage.live_bytes, sum.1 + usage.total_bytes);
    }
    let manifest = state.manifest.get();
    let row = |entry: &SegmentEntry| {
        let id = entry.id();
        let total = state.segments.get(id)?.len().saturating_sub(HEADER_LEN);
        let (live, records) = usages.get(&id).copied().unwrap_or_default();
        // Where the counts are wrong, that shows when the segment is compacted.
        let live = live.min(total);
        let ordered = entry.sealed.as_ref().map(|sealed| sealed.ordered);
        Some(Row { id, total, records, live, ordered })
    };
    manifest.segments.iter().filter_map(row).collect()
}

/// What is known about the segments that are not left alone. The active one may be ended early in a
/// store that is idle.
pub(crate) fn survey(state: &State, idle: bool) -> (Vec<Candidate>, Space) {
    let (mut candidates, mut space) = (Vec::new(), Space { total: 0, live: 0, active: None });
    let active = state.order.lock().active.as_ref().map(|active| active.segment.id);
    let rows = rows(state);
    let findings = state.compaction.findings.lock();
    for Row { id, total, records, live, ordered } in rows {
        // Were what can't go counted, the others would be compacted on and on for the little that
        // is dead in them, since nothing would bring the store within its bound.
        space.total += total - findings.staying(id, total - live);
        space.live += live;
        if active == Some(id) && idle {
            space.active = Some((records, live));
        }
        let Some(ordered) = ordered else { continue };
        if findings.left_alone(id).is_some() {
            continue;
        }
        let needed = findings.needed.get(&id).map_or(0, |needed| needed.bytes);
        let waiting = findings.needed.values().filter(|needed| needed.by.contains(&id));
        let awaited = waiting.map(|needed| needed.bytes).sum();
        candidates.push(Candidate { id, total, live, needed, awaited, ordered });
    }
    (candidates, space)
}
