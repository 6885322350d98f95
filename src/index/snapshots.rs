//! Which revisions are being looked at, and since when.

use std::collections::BTreeMap;

use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU64, Ordering::Acquire, Ordering::Release};

/// No snapshot lives. Not a revision.
const NONE: u64 = u64::MAX;

/// The snapshots that live, a scan's own among them.
///
/// Register with the apply lock held, at the revision of the last applied commit: a change that is
/// applied while its snapshot is being registered would leave no history. Releasing needs no lock;
/// a change that misses it saves a state that nobody will read.
///
/// Places are pinned by generation, not by revision: compaction moves records without a change of
/// revision, and only who was there before that may still hold an old place.
#[derive(Debug)]
pub(crate) struct Snapshots {
    live: Mutex<Live>,
    /// The ends of the revisions that live, so that a change learns with one load whether anyone
    /// looks.
    oldest: AtomicU64,
    newest: AtomicU64,
}

#[derive(Debug, Default)]
struct Live {
    revisions: BTreeMap<u64, usize>,
    generations: BTreeMap<u64, usize>,
    generation: u64,
}

impl Snapshots {
    pub(super) fn new() -> Snapshots {
        Snapshots {
            live: Mutex::default(),
            oldest: AtomicU64::new(NONE),
            newest: AtomicU64::new(NONE),
        }
    }

    /// Registers a snapshot, and returns its generation.
    pub(crate) fn register(&self, revision: u64) -> u64 {
        let mut live = self.live.lock();
        let generation = live.generation;
        *live.revisions.entry(revision).or_insert(0) += 1;
        *live.generations.entry(generation).or_insert(0) += 1;
        self.publish(&live.revisions);
        generation
    }

    pub(crate) fn release(&self, revision: u64, generation: u64) {
        let mut live = self.live.lock();
        count_down(&mut live.revisions, revision);
        count_down(&mut live.generations, generation);
        self.publish(&live.revisions);
    }

    /// Begins a new generation, and returns the last one: places that no entry has any more are
    /// pinned by it and those before it. With the apply lock held.
    pub(crate) fn turn(&self) -> u64 {
        let mut live = self.live.lock();
        live.generation += 1;
        live.generation - 1
    }

    /// The oldest generation of which a snapshot lives.
    pub(crate) fn oldest_generation(&self) -> Option<u64> {
        self.live.lock().generations.first_key_value().map(|(generation, _)| *generation)
    }

    fn publish(&self, live: &BTreeMap<u64, usize>) {
        let end = |entry: Option<(&u64, &usize)>| entry.map_or(NONE, |(revision, _)| *revision);
        self.oldest.store(end(live.first_key_value()), Release);
        self.newest.store(end(live.last_key_value()), Release);
    }

    pub(crate) fn oldest(&self) -> Option<u64> {
        Some(self.oldest.load(Acquire)).filter(|&revision| revision != NONE)
    }

    pub(crate) fn newest(&self) -> Option<u64> {
        Some(self.newest.load(Acquire)).filter(|&revision| revision != NONE)
    }
}

fn count_down(counts: &mut BTreeMap<u64, usize>, key: u64) {
    if let Some(count) = counts.get_mut(&key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(&key);
        }
    }
}
