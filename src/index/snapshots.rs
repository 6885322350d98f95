//! Which revisions are being looked at.

use std::collections::BTreeMap;

use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU64, Ordering::Acquire, Ordering::Release};

/// No snapshot lives. Not a revision.
const NONE: u64 = u64::MAX;

/// The revisions of the snapshots that live, a scan's own among them.
///
/// Register with the apply lock held, at the revision of the last applied commit: a change that is
/// applied while its snapshot is being registered would leave no history. Releasing needs no lock;
/// a change that misses it saves a state that nobody will read.
#[derive(Debug)]
pub(crate) struct Snapshots {
    live: Mutex<BTreeMap<u64, usize>>,
    /// The ends of `live`, so that a change learns with one load whether anyone looks.
    oldest: AtomicU64,
    newest: AtomicU64,
}

impl Snapshots {
    pub(super) fn new() -> Snapshots {
        Snapshots {
            live: Mutex::default(),
            oldest: AtomicU64::new(NONE),
            newest: AtomicU64::new(NONE),
        }
    }

    pub(crate) fn register(&self, revision: u64) {
        let mut live = self.live.lock();
        *live.entry(revision).or_insert(0) += 1;
        self.publish(&live);
    }

    pub(crate) fn release(&self, revision: u64) {
        let mut live = self.live.lock();
        if let Some(count) = live.get_mut(&revision) {
            *count -= 1;
            if *count == 0 {
                live.remove(&revision);
            }
        }
        self.publish(&live);
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
