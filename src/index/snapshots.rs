//! Which revisions are being looked at, and since when.

use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Acquire, Ordering::Release};

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
    /// How many earlier states are saved for them, in all kinds: nearly always none, and then
    /// whoever releases one has nothing to look for.
    saved: AtomicUsize,
}

#[derive(Debug, Default)]
struct Live {
    revisions: Counts,
    generations: Counts,
    generation: u64,
}

/// How often each of a few numbers is held, in the order of numbers. A new one is nearly always the
/// greatest.
#[derive(Debug, Default)]
struct Counts(Vec<(u64, usize)>);

impl Snapshots {
    pub(super) fn new() -> Snapshots {
        Snapshots {
            live: Mutex::default(),
            oldest: AtomicU64::new(NONE),
            newest: AtomicU64::new(NONE),
            saved: AtomicUsize::new(0),
        }
    }

    /// Registers a snapshot, and returns its generation.
    pub(crate) fn register(&self, revision: u64) -> u64 {
        let mut live = self.live.lock();
        let generation = live.generation;
        live.revisions.count_up(revision);
        live.generations.count_up(generation);
        self.publish(&live.revisions);
        generation
    }

    pub(crate) fn release(&self, revision: u64, generation: u64) {
        let mut live = self.live.lock();
        live.revisions.count_down(revision);
        live.generations.count_down(generation);
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
        self.live.lock().generations.first()
    }

    fn publish(&self, live: &Counts) {
        self.oldest.store(live.first().unwrap_or(NONE), Release);
        self.newest.store(live.last().unwrap_or(NONE), Release);
    }

    /// A state was saved. With its kind's lock held, as for [`forgotten`](Snapshots::forgotten).
    pub(super) fn saved(&self) {
        self.saved.fetch_add(1, Release);
    }

    /// So many of the saved states were forgotten.
    pub(super) fn forgotten(&self, count: usize) {
        self.saved.fetch_sub(count, Release);
    }

    /// Whether any kind has any history.
    pub(super) fn has_history(&self) -> bool {
        self.saved.load(Acquire) > 0
    }

    pub(crate) fn oldest(&self) -> Option<u64> {
        Some(self.oldest.load(Acquire)).filter(|&revision| revision != NONE)
    }

    pub(crate) fn newest(&self) -> Option<u64> {
        Some(self.newest.load(Acquire)).filter(|&revision| revision != NONE)
    }
}

impl Counts {
    fn count_up(&mut self, number: u64) {
        let at = self.0.partition_point(|(other, _)| *other < number);
        match self.0.get_mut(at) {
            Some((other, count)) if *other == number => *count += 1,
            _ => self.0.insert(at, (number, 1)),
        }
    }

    fn count_down(&mut self, number: u64) {
        let at = self.0.partition_point(|(other, _)| *other < number);
        match self.0.get_mut(at) {
            Some((other, count)) if *other == number && *count > 1 => *count -= 1,
            Some((other, _)) if *other == number => drop(self.0.remove(at)),
            _ => {}
        }
    }

    fn first(&self) -> Option<u64> {
        self.0.first().map(|(number, _)| *number)
    }

    fn last(&self) -> Option<u64> {
        self.0.last().map(|(number, _)| *number)
    }
}
