//! The thread that does what commits leave behind: syncs, seals, prepares, cleans.

use std::sync::Arc;

use super::{commit, group, roll};
use crate::error::{Error, Result};
use crate::event::event;
use crate::format::contents::Contents;
use crate::log::segment::Segment;
use crate::options::Durability;
use crate::state::{Health, State};
use crate::sync::atomic::Ordering;
use crate::sync::thread::{Builder, JoinHandle};

/// How many slots of deleted keys are cleared in one go.
const CLEAN_LEN: usize = 16 << 10;

/// A store of this size gets its tail file when it is opened.
const TAIL_AHEAD_LEN: u64 = 1 << 20;

/// Starts the thread. It ends when it is told to.
pub(crate) fn start(state: &Arc<State>) -> Result<JoinHandle<()>> {
    let shared = state.clone();
    let spawned = Builder::new().name("kindlog".to_owned()).spawn(move || run(&shared));
    spawned.map_err(|e| Error::io("start a thread for", state.disk.path(), e))
}

/// Tells all threads to end, and waits for them.
pub(crate) fn stop(state: &State, threads: Vec<JoinHandle<()>>) {
    let index = &state.index.merger().signals;
    let signals = [&state.compaction.signals, &state.background, index];
    signals.iter().for_each(|signals| signals.raise(&signals.stop));
    for thread in threads {
        let _ = thread.join();
    }
}

fn run(state: &State) {
    make_tail_ahead(state);
    let mut troubles = Troubles::default();
    while !state.background.wait(state.options.sync_interval) {
        round(state, &mut troubles);
    }
}

/// Makes the tail file before the first commit has to wait for that. A small store, which may never
/// be written again, stays small.
fn make_tail_ahead(state: &State) {
    let log_len: u64 = state.segments.all().iter().map(|segment| segment.len()).sum();
    if state.options.durability != Durability::Os || log_len < TAIL_AHEAD_LEN {
        return;
    }
    let mut order = state.order.lock();
    if order.health == Health::Good {
        commit::see_to_tail(state, &mut order);
    }
}

/// Does all there is to do, once.
fn round(state: &State, troubles: &mut Troubles) {
    // Errors reach whoever commits next. A full disk is tried again at the next interval.
    let done = [sync_due(state), seal_rolled(state), prepare(state)];
    let errors = done.iter().filter_map(|done| done.as_ref().err());
    for error in errors.filter(|error| troubles.are_news(error)) {
        event!(warn, "in the background: {error}");
    }
    if done.iter().any(Result::is_err) {
        let order = state.order.lock();
        // Where nothing is written any more there is nothing to try again.
        let full = order.health == Health::Good && !order.rolled.is_empty();
        if order.health == Health::Broken || full {
            state.tell_dirty();
        }
    }
    clean(state);
    keep_reserve(state);
    write_hints(state);
}

/// What has been told of what fails.
#[derive(Default)]
struct Troubles {
    poisoned: bool,
}

impl Troubles {
    /// Whether an error is to be told: that nothing is written any more once, and not each time
    /// that something is to be.
    fn are_news(&mut self, error: &Error) -> bool {
        let poisoned = matches!(error, Error::Poisoned);
        !(poisoned && std::mem::replace(&mut self.poisoned, true))
    }
}

fn sync_due(state: &State) -> Result<()> {
    let mut order = state.lock_order()?;
    group::sync(state, &mut order)
}

/// Takes down, durably, that full segments end where they end. Their hints are due then: on a full
/// disk they would take the room of the next manifest.
pub(crate) fn seal_rolled(state: &State) -> Result<()> {
    let _one_at_a_time = state.sealing.lock();
    loop {
        let next = {
            let order = state.order.lock();
            let rolled = order.rolled.iter().find(|rolled| rolled.synced);
            rolled.map(|rolled| (rolled.segment.clone(), rolled.length, order.durable))
        };
        let Some((segment, length, durable)) = next else { return Ok(()) };
        let (contents, sealed) = Contents::read(&segment, length)?;
        state.manifest.update(|manifest| {
            manifest.watermark = manifest.watermark.max(durable);
            manifest.seal(segment.id, sealed);
        })?;
        // The room ahead that was never used. The length is already what counts.
        let _ = segment.file.set_len(length);
        state.order.lock().rolled.retain(|rolled| rolled.segment.id != segment.id);
        let id = segment.id;
        state.hints_due.lock().push((segment, contents));
        // Compaction may have removed it since it was sealed, and looked for its hint before. On a
        // full disk hints wait, and would hold the file open: its room would not come back.
        if !state.segments.has(id) {
            state.hints_due.lock().retain(|(due, _)| due.id != id);
        }
    }
}

/// Sees to it that a full disk can be emptied. Before hints are written: they can wait.
pub(crate) fn keep_reserve(state: &State) {
    let log_len = state.segments.all().iter().map(|segment| segment.len()).sum();
    if let Err(error) = state.reserve.keep(log_len) {
        event!(debug, "no reserve: {error}");
    }
}

/// Writes the hints that sealed segments lack, unless the disk is full. What fails is left to the
/// next open.
pub(crate) fn write_hints(state: &State) {
    let mut written = false;
    while !state.reserve.is_short() {
        let Some((segment, contents)) = state.hints_due.lock().pop() else { break };
        write_hint(state, &segment, &contents);
        written = true;
    }
    if written {
        // They may be too many, and can be compacted from now on.
        let signals = &state.compaction.signals;
        signals.raise(&signals.now);
    }
}

/// Writes a segment's hint, unless the segment has gone meanwhile.
pub(crate) fn write_hint(state: &State, segment: &Segment, contents: &Contents) {
    if !state.segments.has(segment.id) {
        return;
    }
    if let Err(error) = state.segments.write_hint(segment, contents) {
        event!(warn, "no hint for {}: {error}", segment.path.display());
    }
    if !state.segments.has(segment.id) {
        // Compaction has removed the segment, and may have done so before the hint was there.
        let _ = state.segments.remove_hint(segment);
    }
}

/// Makes the next segment, and raises the ceiling, ahead of need.
fn prepare(state: &State) -> Result<()> {
    let (asked, low) = {
        let order = state.order.lock();
        (order.asked, order.ceiling - order.revision < roll::CEILING_STEP / 2)
    };
    if asked {
        roll::prepare(state)?;
    }
    if low {
        let ceiling = state.order.lock().revision + roll::CEILING_STEP;
        state.manifest.update(|manifest| {
            manifest.revision_ceiling = manifest.revision_ceiling.max(ceiling);
        })?;
        let mut order = state.order.lock();
        order.ceiling = order.ceiling.max(ceiling);
    }
    Ok(())
}

fn clean(state: &State) {
    for kind in state.index.kinds() {
        while !kind.clean(CLEAN_LEN) {
            let background = &state.background;
            if background.stop.load(Ordering::Acquire) || background.dirty.load(Ordering::Acquire) {
                // What is left waits: commits want to be synced.
                return state.tell_dirty();
            }
        }
    }
}

#[cfg(all(test, feature = "sim", not(kindlog_shuttle)))]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::disk::sim::{EIO, Fault, OpKind, SimDisk};
    use crate::engine::commit::{Change, What, commit};
    use crate::engine::compact::worker::compact_picked;
    use crate::engine::recover;
    use crate::{Durability, MIN_SEGMENT_SIZE, Options};

    /// A poisoned store with a full segment that was not sealed was gone through at each interval,
    /// and each time somebody was warned.
    #[test]
    fn a_poisoned_store_is_told_of_once_and_not_tried_again() {
        let disk = SimDisk::new();
        let options = Options::new().segment_size(MIN_SEGMENT_SIZE).durability(Durability::Os);
        let options = options.space_bound(f64::INFINITY).sync_interval(Duration::from_secs(3600));
        let store = options.open_on(&disk).expect("it opens");
        let is_sync = |op, file: &str| op == OpKind::Sync && file == "00000000.seg";
        disk.fail_always(is_sync, Fault::Error(EIO));
        // The first segment is never half full, so nobody syncs it before it is ended.
        store.put("Log", "a", [7; 10_000]).expect("it fits");
        store.put("Log", "b", [7; 60_000]).expect("it goes to the next one");
        while store.put("Log", "a", [7; 1_000]).is_ok() {}
        let state = store.state().expect("it is open");
        let (health, full) = {
            let order = state.order.lock();
            (order.health, order.rolled.len())
        };
        assert!(health == Health::Poisoned && full > 0, "{health:?}, {full} full");
        let mut troubles = Troubles::default();
        for _ in 0..3 {
            state.background.dirty.store(false, Ordering::Release);
            round(&state, &mut troubles);
            assert!(!state.background.dirty.load(Ordering::Acquire), "it would be tried again");
            assert!(!troubles.are_news(&Error::Poisoned), "it has been told");
        }
    }

    /// Compaction removed a segment between the moment that it was sealed and the one at which its
    /// hint became due. On a full disk, where no hint is written, that held the file open, and its
    /// room did not come back.
    #[test]
    fn no_hint_is_due_of_a_segment_that_went_as_it_was_sealed() {
        let disk = SimDisk::new();
        let options = Options::new().segment_size(MIN_SEGMENT_SIZE);
        // Without its threads.
        let (state, _) = recover::open(Arc::new(disk.clone()), options).expect("it opens");
        let put = || {
            let change = Change { kind: "Log", id: "a", what: What::Put(&[7; 40_000]) };
            commit(&state, &[change], None, Durability::Sync).expect("there is room");
        };
        put();
        put();
        let compacts = state.clone();
        disk.hold_up(
            |op, file| op == OpKind::SetLen && file == "00000000.seg",
            move || compact_picked(&compacts, false, &|number| number == 0).expect("it is dead"),
        );
        seal_rolled(&state).expect("the disk is sound");
        assert!(!disk.files().contains(&"00000000.seg".to_owned()), "it was not compacted");
        assert!(state.hints_due.lock().is_empty(), "its file is held open");
    }
}
