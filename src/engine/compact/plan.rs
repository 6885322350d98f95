//! Which segments to compact: a pure function of what is known about them.
//!
//! Space is bought with writing: a segment that is dead by half costs a byte written for each byte
//! gained. So nothing is done until the store is over its bound, and then the segments with the
//! largest dead share go first (the greedy policy of log-structured file systems; Rosenblum and
//! Ousterhout, 1992). On top of that, small segments that crashes and rolls leave are merged by
//! size class, as in tiered merging, so that their number stays bounded at a logarithmic cost.

use crate::format::location::SegmentId;

/// So many segments of one size class are merged into one.
pub(crate) const CLASS_LEN: usize = 6;
/// A size class ends at four times the size at which it begins.
const CLASS_BITS: u32 = 2;
/// So many segments are tried one by one on a full disk: each takes a new manifest.
const CHEAPEST_LEN: usize = 4;

/// A sealed segment. Bytes are those of frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) id: SegmentId,
    pub(crate) total: u64,
    pub(crate) live: u64,
    /// Tombstones that were found to be needed still: dead, and not to be had.
    pub(crate) needed: u64,
    /// Tombstones in other segments that are needed for what is dead in this one.
    pub(crate) awaited: u64,
    /// Compaction wrote it.
    pub(crate) ordered: bool,
}

/// What the bound is held against.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Space {
    /// Bytes of frames in all segments, and those that are live.
    pub(crate) total: u64,
    pub(crate) live: u64,
    /// The same of the records in the segment that is written, if it may be ended early.
    pub(crate) active: Option<(u64, u64)>,
}

/// How much may be dead, and how much is done at a time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Policy {
    /// What is allowed: live bytes times this, and `slack`.
    pub(crate) bound: f64,
    pub(crate) slack: u64,
    /// About how many live bytes one run copies.
    pub(crate) run_len: u64,
    /// Segments up to this length are small.
    pub(crate) small_len: u64,
}

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    Rest,
    /// End the segment that is written, since most of what is dead lies there.
    Roll,
    Compact(Vec<SegmentId>),
}

impl Candidate {
    /// What compacting it gives back.
    pub(super) fn gain(&self) -> u64 {
        (self.total - self.live).saturating_sub(self.needed)
    }
}

impl Policy {
    /// How many bytes a store with so many live ones may have.
    pub(crate) fn allowed(&self, live: u64) -> u64 {
        // A bound may be anything: the product stops at the greatest number there is.
        ((live as f64 * self.bound) as u64).saturating_add(self.slack)
    }
}

/// Decides what to do next. `candidates` are the sealed segments that can be compacted.
pub(crate) fn plan(candidates: &[Candidate], space: &Space, policy: &Policy) -> Plan {
    let dead: Vec<SegmentId> = candidates
        .iter()
        .filter(|c| c.live == 0 && c.total > 0 && c.needed == 0 && !c.ordered)
        .map(|c| c.id)
        .collect();
    if !dead.is_empty() {
        // Costs no writing but of what tombstones there are.
        return Plan::Compact(dead);
    }
    if space.total > policy.allowed(space.live) {
        let over = over_bound(candidates, space, policy);
        if over != Plan::Rest {
            return over;
        }
    }
    match small(candidates, policy) {
        Some(ids) => Plan::Compact(ids),
        None => Plan::Rest,
    }
}

fn over_bound(candidates: &[Candidate], space: &Space, policy: &Policy) -> Plan {
    let mut by_gain: Vec<&Candidate> = candidates.iter().filter(|c| c.gain() > 0).collect();
    by_gain.sort_by(|a, b| share(b.gain(), b.total).total_cmp(&share(a.gain(), a.total)));
    let best = by_gain.first().map_or(0.0, |c| share(c.gain(), c.total));
    let excess = space.total - policy.allowed(space.live);
    if let Some((total, live)) = space.active
        && share(total - live, total) >= best
        && total - live >= (excess / 2).max(policy.slack / 4)
    {
        return Plan::Roll;
    }
    // Half of what may be dead on average: below that, writing buys too little.
    let worth = (1.0 - 1.0 / policy.bound) / 2.0;
    let (mut ids, mut live) = (Vec::new(), 0);
    for candidate in by_gain {
        let fits = live + candidate.live <= policy.run_len;
        if !ids.is_empty() && (!fits || share(candidate.gain(), candidate.total) < worth) {
            break;
        }
        live += candidate.live;
        ids.push(candidate.id);
    }
    if ids.is_empty() {
        // All that is left are tombstones: compact what they wait for.
        let waited = candidates.iter().filter(|c| c.awaited > 0 && c.total > c.live);
        ids.extend(waited.max_by_key(|c| c.awaited).map(|c| c.id));
    }
    if ids.is_empty() { Plan::Rest } else { Plan::Compact(ids) }
}

/// Of the segments that give something back, those with the least to copy, cheapest first: what a
/// full disk has room for, if for anything. A few, since nobody knows before a segment is looked
/// through how many of its tombstones are needed still.
pub(crate) fn cheapest(candidates: &[Candidate]) -> Vec<SegmentId> {
    let mut worth: Vec<&Candidate> = candidates.iter().filter(|c| c.gain() > 0).collect();
    worth.sort_by_key(|c| c.live + c.needed);
    worth.iter().take(CHEAPEST_LEN).map(|c| c.id).collect()
}

/// The segments of a size class of which there are too many.
fn small(candidates: &[Candidate], policy: &Policy) -> Option<Vec<SegmentId>> {
    let class = |c: &Candidate| c.total.max(1).ilog2() / CLASS_BITS;
    let is_small = |c: &&Candidate| c.total <= policy.small_len;
    let mut classes: Vec<(u32, SegmentId)> =
        candidates.iter().filter(is_small).map(|c| (class(c), c.id)).collect();
    classes.sort_unstable();
    let many = classes.chunk_by(|a, b| a.0 == b.0).find(|class| class.len() >= CLASS_LEN)?;
    Some(many.iter().map(|(_, id)| *id).collect())
}

fn share(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: Policy = Policy { bound: 1.5, slack: 1000, run_len: 64_000, small_len: 16_000 };

    fn candidate(id: u32, total: u64, live: u64) -> Candidate {
        let id = SegmentId(id);
        Candidate { id, total, live, needed: 0, awaited: 0, ordered: false }
    }

    fn space(candidates: &[Candidate]) -> Space {
        let sum = |f: fn(&Candidate) -> u64| candidates.iter().map(f).sum();
        Space { total: sum(|c| c.total), live: sum(|c| c.live), active: None }
    }

    fn run(candidates: &[Candidate]) -> Plan {
        plan(candidates, &space(candidates), &POLICY)
    }

    fn ids(ids: &[u32]) -> Plan {
        Plan::Compact(ids.iter().map(|id| SegmentId(*id)).collect())
    }

    #[test]
    fn nothing_below_the_bound() {
        assert_eq!(run(&[]), Plan::Rest);
        assert_eq!(run(&[candidate(1, 60_000, 41_000), candidate(2, 60_000, 41_000)]), Plan::Rest);
    }

    #[test]
    fn the_deadest_go_first_and_fill_a_run() {
        let segments = [
            candidate(1, 60_000, 59_000),
            candidate(2, 60_000, 20_000),
            candidate(3, 60_000, 10_000),
            candidate(4, 60_000, 50_000),
        ];
        assert_eq!(run(&segments), ids(&[3, 2]));
    }

    #[test]
    fn what_is_dead_whole_goes_at_once() {
        let segments = [candidate(1, 60_000, 60_000), candidate(2, 600, 0)];
        assert_eq!(run(&segments), ids(&[2]));
    }

    #[test]
    fn tombstones_that_are_needed_are_not_copied_again_and_again() {
        let tombstones = Candidate { needed: 60_000, ordered: true, ..candidate(1, 60_000, 0) };
        let awaited = Candidate { awaited: 60_000, needed: 0, ..candidate(2, 60_000, 59_900) };
        assert_eq!(run(&[tombstones]), Plan::Rest);
        assert_eq!(run(&[Candidate { needed: 100, ..awaited }, tombstones]), ids(&[2]));
    }

    #[test]
    fn the_active_segment_is_ended_where_most_is_dead() {
        let segments = [candidate(1, 60_000, 50_000)];
        let dead_in_active = Space { total: 160_000, live: 51_000, active: Some((100_000, 1_000)) };
        assert_eq!(plan(&segments, &dead_in_active, &POLICY), Plan::Roll);
        let not_allowed = Space { active: None, ..dead_in_active };
        assert_eq!(plan(&segments, &not_allowed, &POLICY), ids(&[1]));
        // One that was just begun is not ended for what is dead elsewhere.
        let segments = [candidate(1, 160_000, 10)];
        let begun = Space { total: 160_040, live: 10, active: Some((40, 0)) };
        assert_eq!(plan(&segments, &begun, &POLICY), ids(&[1]));
    }

    #[test]
    fn many_small_ones_are_merged_and_their_number_stays_bounded() {
        let mut segments: Vec<Candidate> = Vec::new();
        let (mut next, mut most, mut written) = (0, 0, 0);
        for _ in 0..5_000 {
            segments.push(candidate(next, 100, 100));
            next += 1;
            while let Plan::Compact(merged) = run(&segments) {
                let sum = |s: &[Candidate]| s.iter().map(|c| c.total).sum::<u64>();
                let before = sum(&segments);
                segments.retain(|c| !merged.contains(&c.id));
                let len = before - sum(&segments);
                segments.push(candidate(next, len, len));
                next += 1;
                written += len;
            }
            most = most.max(segments.len());
        }
        assert!(most <= 60, "{most} segments");
        assert!(written <= 10 * 5_000 * 100, "{written} bytes written");
    }
}
