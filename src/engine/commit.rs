//! Commits: decided, ordered, encoded, handed on.
//!
//! Everything about a commit is decided under the order lock, against all commits before it, also
//! those that are not visible yet (the overlay). A weak commit with nothing in flight before it is
//! visible at once; every other one is pending until a sync covers it (`group`).

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::apply::apply;
use super::decide::{
    Decided, Decisions, Spot, Spots, decide, find_old, lone_put, look_up, put_alone,
};
use super::read::now_micros;
use super::{group, heal, roll};
use crate::error::{Error, Result};
use crate::format::location::Location;
use crate::format::record::{
    FramePlace, FrameType, MAX_BATCH_LEN, MAX_BATCH_OPS, MAX_VALUE_LEN, Record, encoded_len,
};
use crate::log::tail::Tail;
use crate::options::Durability;
use crate::resource::Revision;
use crate::state::{Applied, Order, Pending, State, TailState, Ticket};
use crate::sync::MutexGuard;
use crate::sync::atomic::Ordering;
use crate::sync::thread;
use crate::zoo::{Bug, planted};

/// The committing thread writes what the file lacks in units of so many bytes. One commit in a few
/// hundred small ones does that, and takes as long as it takes; of large ones many do.
const FLUSH_LEN: u64 = 64 << 10;
const LARGE_FLUSH_LEN: u64 = 128 << 10;
/// A commit of so many bytes is large.
const LARGE_LEN: u64 = 4 << 10;
/// The lists that readers go by learn of it once in so many bytes.
const GROW_LEN: u64 = 128 << 10;

/// While compaction can't keep up, commits come at no more than about so many bytes a second.
const BEHIND_RATE: u64 = 16 << 20;
/// They pause after so many bytes: few commits for long, instead of each for as long as the clock
/// can do.
const PAUSE_LEN: i64 = 16 << 10;
/// So many bytes at most need no pause because one before was too long.
const MAX_CREDIT: i64 = 128 << 10;
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// After so many commits that took the order lock at once, nobody else is thought to want it.
const ALONE: u32 = 64;

/// One change of a commit. Names and lengths are checked by whoever makes it; each key and each
/// prefix comes at most once, prefixes before keys, both in order, and no prefix covers another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Change<'a> {
    pub(crate) kind: &'a str,
    pub(crate) id: &'a str,
    pub(crate) what: What<'a>,
}

/// What a change does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum What<'a> {
    Put(&'a [u8]),
    Delete,
    /// Deletes all ids that start with the change's id.
    DeletePrefix,
}

/// What a condition asks of a key's current state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Expect {
    /// The key is not there.
    Absent,
    /// The key is there, and this commit wrote it.
    Revision(Revision),
}

/// How a commit ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Done {
    /// The commit's own, or the last one if nothing changed.
    pub(crate) revision: Revision,
    /// How many resources its deletes removed.
    pub(crate) removed: u64,
}

/// Applies `changes`, all or none of them, to a store that is open. `expect` is about the first
/// one's key.
pub(crate) fn commit(
    state: &State,
    changes: &[Change<'_>],
    expect: Option<Expect>,
    durability: Durability,
) -> Result<Done> {
    state.check_owner()?;
    let bound = check_limits(changes)?;
    if state.compaction.behind.load(Ordering::Relaxed) {
        give_way(state, bound);
    }
    // Before the lock: nothing goes by the order of times.
    let time = now_micros();
    // What is large is made in its place: moved, it is read again before it is written.
    let mut spots = Spots::new();
    let mut order = take_turn(state, changes, &mut spots)?;
    let alone = !planted(Bug::PrefixDeleteRushes)
        && changes.iter().any(|change| matches!(change.what, What::DeletePrefix));
    group::make_ready(state, &mut order, alone)?;
    let lone = lone_put(changes, &spots, expect);
    let (mut several, mut one);
    let (decided, removed) = match lone {
        Some(spot) => {
            one = put_alone(&changes[0], spot);
            (std::slice::from_mut(&mut one), 0)
        }
        None => {
            several = Decisions::with_capacity(changes.len());
            let removed = conclude(state, &mut order, changes, &spots, expect, &mut several)?;
            let Some(removed) = removed else { return Ok(unchanged(state)) };
            (&mut several[..], removed)
        }
    };
    let max_len = decided.iter().map(|d| record(d, 0, 0).max_frame_len()).sum();
    let deletes = !decided.iter().any(|one| matches!(one.change.what, What::Put(_)));
    roll::make_room(state, &mut order, max_len, deletes).map_err(group::certain)?;
    let revision = order.revision + 1;
    let weak = durability != Durability::Sync || planted(Bug::AckBeforeSync);
    let at_once = weak && (order.pending.is_empty() || planted(Bug::WeakOvertakesSync));
    let to_kernel = at_once && durability == Durability::Os && !planted(Bug::OsStaysInProcess);
    if to_kernel {
        see_to_tail(state, &mut order);
    }
    let write = Write { revision, time, sync: durability == Durability::Sync, to_kernel };
    encode(state, &mut order, &write, decided, lone, max_len)?;
    let written = write.publish(&mut order);
    let deletes_prefix = matches!(decided[0].change.what, What::DeletePrefix);
    if at_once {
        finish_weak(state, &mut order, decided, &written)?;
        count_commit(state, order);
        state.tell_dirty();
    } else {
        let ticket = enqueue(&mut order, decided, &written);
        group::wait(state, &mut order, &ticket)?;
        count_commit(state, order);
    }
    if deletes_prefix {
        // The background clears what the point tables still have of it.
        state.tell_now();
    }
    Ok(Done { revision: Revision::from(revision), removed })
}

/// Encodes a commit. What a lone put overwrites is found meanwhile: its record is on its way from
/// memory.
#[inline(always)]
fn encode(
    state: &State,
    order: &mut Order,
    write: &Write,
    decided: &mut [Decided<'_>],
    lone: Option<&Spot<'_>>,
    max_len: u64,
) -> Result<()> {
    let Some(spot) = lone else {
        write.encode(order, decided, max_len);
        return Ok(());
    };
    let begun = spot.begin(state);
    write.encode(order, decided, max_len);
    let found = find_old(state, order, spot, &begun, &mut decided[0]);
    if found.is_err() {
        order.active().forget();
    }
    found
}

/// Decides on a commit's changes, also where an answer rests on what is in flight: it counts once
/// that is durable, and if it never will be, the answer is another. Returns how many resources they
/// remove, or `None` if they change nothing.
fn conclude<'a>(
    state: &'a State,
    order: &mut MutexGuard<'_, Order>,
    changes: &[Change<'a>],
    spots: &Spots<'a>,
    expect: Option<Expect>,
    decided: &mut Decisions<'a>,
) -> Result<Option<u64>> {
    loop {
        let mut awaited = false;
        decided.clear();
        let result = decide(state, order, changes, spots, expect, &mut awaited, decided);
        if result.is_ok() && !decided.is_empty() {
            return result.map(Some);
        }
        let failures = order.failures;
        if awaited && !planted(Bug::AnswerInFlight) {
            group::make_ready(state, order, true)?;
        }
        if order.failures == failures {
            return result.map(|_| None);
        }
    }
}

/// Takes the order lock. Where others want it as well, the keys are looked up before, so that it is
/// held for a shorter time; a commit that is alone would read them twice for nothing.
fn take_turn<'a>(
    state: &'a State,
    changes: &[Change<'a>],
    spots: &mut Spots<'a>,
) -> Result<MutexGuard<'a, Order>> {
    let wanted = state.order_wanted.load(Ordering::Relaxed);
    look_up(state, changes, wanted, spots);
    let at_once = state.try_lock_order()?;
    let waits = at_once.is_none();
    let mut order = at_once.map_or_else(|| state.await_order(), Ok)?;
    order.alone = if waits { 0 } else { order.alone.saturating_add(1) };
    let still_wanted = order.alone < ALONE;
    if wanted != still_wanted {
        state.order_wanted.store(still_wanted, Ordering::Relaxed);
    }
    Ok(order)
}

/// Pauses before a commit of `len` bytes, if it is time. Who comes meanwhile waits as well. What a
/// pause took longer than it should have, until there was a processor, counts for what comes next.
fn give_way(state: &State, len: u64) {
    let mut owed = state.compaction.owed.lock();
    *owed += len as i64;
    if *owed >= PAUSE_LEN {
        let pause = Duration::from_micros(*owed as u64 * 1_000_000 / BEHIND_RATE).min(MAX_PAUSE);
        let start = Instant::now();
        thread::sleep(pause);
        let late = start.elapsed().saturating_sub(pause).min(MAX_PAUSE);
        *owed = -(late.as_micros() as i64 * BEHIND_RATE as i64 / 1_000_000).min(MAX_CREDIT);
    }
}

/// Nobody else counts while the order is held, so that this needs no atomic addition.
fn count_commit(state: &State, _order: MutexGuard<'_, Order>) {
    let commits = &state.counters.commits;
    commits.store(commits.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
}

/// How a commit is written.
struct Write {
    revision: u64,
    time: i64,
    sync: bool,
    /// Whether the kernel is to have it before anyone sees it.
    to_kernel: bool,
}

/// Where it was written.
struct Written {
    by: Write,
    start: u64,
    len: u64,
}

/// What a commit without an effect answers: the last revision that anyone sees. One in flight may
/// yet fail, and be given to another commit.
fn unchanged(state: &State) -> Done {
    Done { revision: Revision::from(state.visible.load(Ordering::Acquire)), removed: 0 }
}

/// Refuses what is too large. Returns a bound of the commit's length.
fn check_limits(changes: &[Change<'_>]) -> Result<u64> {
    if changes.len() > MAX_BATCH_OPS {
        return Err(Error::TooLarge { limit: MAX_BATCH_OPS as u64, len: changes.len() as u64 });
    }
    let mut len = 0;
    for change in changes {
        if let What::Put(value) = change.what {
            check_value(value)?;
            len += value.len() as u64;
        }
        len += (change.kind.len() + change.id.len()) as u64;
    }
    let len = len + (changes.len() * crate::format::record::MAX_HEADER_LEN) as u64;
    match len <= MAX_BATCH_LEN {
        true => Ok(len),
        false => Err(Error::TooLarge { limit: MAX_BATCH_LEN, len }),
    }
}

/// Refuses a value over 1 GiB.
pub(crate) fn check_value(value: &[u8]) -> Result<()> {
    match value.len() as u64 <= MAX_VALUE_LEN {
        true => Ok(()),
        false => Err(Error::TooLarge { limit: MAX_VALUE_LEN, len: value.len() as u64 }),
    }
}

fn record<'a>(decided: &Decided<'a>, revision: u64, time: i64) -> Record<'a> {
    let (frame_type, value) = match decided.change.what {
        What::Put(value) => (FrameType::Put, value),
        What::Delete => (FrameType::Delete, &[][..]),
        What::DeletePrefix => (FrameType::DeletePrefix, &[][..]),
    };
    let (kind, id) = (decided.change.kind.as_bytes(), decided.change.id.as_bytes());
    Record { frame_type, revision, time, kind, id, value }
}

impl Write {
    /// Encodes the commit for the log's end. Nothing here can fail, and nobody sees it before it is
    /// published; what won't be has to be forgotten.
    fn encode(&self, order: &mut Order, decided: &mut [Decided<'_>], max_len: u64) {
        let Write { revision, time, sync, .. } = *self;
        let claim = if planted(Bug::WatermarkAhead) { order.commit_end } else { order.durable };
        let active = order.active();
        let position = active.position();
        let place = |first: bool, left| FramePlace {
            watermark: first.then_some(claim),
            left,
            start: first,
            sync,
        };
        // What follows each frame, from the last one to the first.
        let mut left = 0;
        for at in (0..decided.len()).rev() {
            decided[at].left = left;
            if at > 0 {
                let record = record(&decided[at], revision, time);
                left += encoded_len(position, &place(false, left), &record);
            }
        }
        active.begin(max_len);
        let segment = active.segment.id;
        for (i, one) in decided.iter_mut().enumerate() {
            let place = place(i == 0, one.left);
            let (offset, len) = active.encode(&place, &record(one, revision, time));
            one.new = Location::new(segment, offset, len);
        }
    }

    /// Puts what was encoded at the log's end. Nothing here can fail.
    fn publish(self, order: &mut Order) -> Written {
        let Order { active, tail, .. } = order;
        let active = active.as_mut().expect("a store that is written has an active segment");
        let start = active.end();
        if self.to_kernel
            && let TailState::Mapped(tail) = tail
        {
            active.copy_to_tail(tail);
        }
        let len = active.seal();
        order.revision = self.revision;
        order.commit_end = order.active().position();
        order.unsynced += len;
        Written { by: self, start, len }
    }
}

/// A commit that nothing in flight precedes, and that need not wait for a sync.
fn finish_weak(
    state: &State,
    order: &mut Order,
    decided: &[Decided<'_>],
    written: &Written,
) -> Result<()> {
    let active = order.active();
    // What the tail file can't take is written at once.
    if written.by.to_kernel
        && !active.is_handed_over()
        && let Err(error) = active.flush()
    {
        order.unsynced -= written.len;
        return Err(heal::append_failed(state, order, written.start, error));
    }
    let effects = decided.iter().map(|one| (&**one.kind, one.id(), one.effect()));
    apply(state, written.by.revision, written.by.time, effects);
    let Order { active, tail, .. } = order;
    let tail = if let TailState::Mapped(tail) = tail { Some(&*tail) } else { None };
    let unit = if written.len < LARGE_LEN { FLUSH_LEN } else { LARGE_FLUSH_LEN };
    if active.as_mut().is_some_and(|active| active.flush_units(unit, tail).is_err()) {
        // The commit itself is where it was promised to be. The next one finds out.
        order.health = crate::state::Health::Broken;
    }
    if written.start / GROW_LEN != (written.start + written.len) / GROW_LEN {
        state.segments.grow(&order.active().segment);
    }
    Ok(())
}

/// Sees to it that there is a tail file, if there can be one.
pub(super) fn see_to_tail(state: &State, order: &mut Order) {
    if matches!(order.tail, TailState::NotYet) {
        // Where it can't be made, on a full disk say, commits are written one by one until the
        // store is opened again.
        order.tail = create_tail(state).unwrap_or(TailState::Unavailable);
    }
}

/// Makes the tail file and has the manifest name it, before anything depends on it.
fn create_tail(state: &State) -> Result<TailState> {
    let path = state.disk.path().join(crate::format::names::TAIL);
    let tail = Tail::create(&*state.disk, &state.manifest.get().store_id())
        .map_err(|e| Error::io("create", path, e))?;
    let Some(tail) = tail else { return Ok(TailState::Unavailable) };
    state.manifest.update(|manifest| manifest.tail = true)?;
    Ok(TailState::Mapped(tail))
}

/// Puts the commit behind those that are in flight.
fn enqueue(
    order: &mut MutexGuard<'_, Order>,
    decided: &[Decided<'_>],
    written: &Written,
) -> Arc<Ticket> {
    let ticket = Arc::new(Ticket::new());
    let changes = decided.iter().map(|one| Applied {
        kind: one.kind.clone(),
        id: one.change.id.as_bytes().into(),
        hash: one.hash,
        effect: one.effect(),
    });
    let changes = changes.collect();
    let end = order.active().position();
    let pending = Pending {
        revision: written.by.revision,
        time: written.by.time,
        start: written.start,
        end,
        len: written.len,
        changes,
        ticket: ticket.clone(),
    };
    order.overlay_commit(&pending);
    order.pending.push_back(pending);
    ticket
}
