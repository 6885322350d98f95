//! Bugs of compaction that were found, and must not come back. Each test opens with its story.

use std::time::Duration;

use kindlog::disk::sim::{EIO, Fault, OpKind, SimDisk};
use kindlog::fuzzing::compact_picked;
use kindlog::{Durability, Error, MIN_SEGMENT_SIZE, Options, Store};

use crate::support::{Medium, TestStore, pattern};

/// Compacts when it is told to.
fn by_hand() -> Options {
    let options = Options::new().segment_size(MIN_SEGMENT_SIZE).durability(Durability::Os);
    options.sync_interval(Duration::from_secs(3600)).space_bound(f64::INFINITY)
}

/// Ends the segment that is written.
fn roll(store: &Store) {
    compact_picked(store, true, |_| false).unwrap();
}

/// Flips a bit in the only record that holds these bytes.
fn damage(store: &TestStore, bytes: &[u8]) -> String {
    let (file, offset) = store.places_of(bytes).remove(0);
    store.corrupt(&file, offset);
    file
}

/// How much a store may have beyond what is live was reckoned without a look at overflow: with no
/// bound at all, a compaction that was asked for panicked or, in a release build, left commits
/// giving way to it for ever.
#[test]
fn a_store_without_a_bound_is_compacted_all_the_same() {
    let store = TestStore::on(Medium::native(), by_hand().segment_size(1 << 20));
    for n in 0..300u64 {
        store.put("Log", &format!("{n:03}"), pattern(n, 10_000)).unwrap();
    }
    (0..300).step_by(2).for_each(|n| assert!(store.delete("Log", &format!("{n:03}")).unwrap()));
    store.compact().unwrap();
    assert!(store.stats().disk_bytes < 1_600_000);
}

/// Copies lie behind the log's end, and doctor took damage in one for a write that was cut short:
/// nobody's fault, and nothing to be done.
#[test]
fn damage_in_a_copy_is_not_called_torn() {
    let mut store = TestStore::on(Medium::native(), by_hand()).unverified();
    for n in 0..20u64 {
        store.put("Log", &format!("{n:02}"), pattern(n, 100)).unwrap();
    }
    store.compact().unwrap();
    store.close();
    damage(&store, &pattern(7, 100));
    let damages = Store::diagnose(store.dir()).unwrap().damages;
    assert_eq!(damages.len(), 1, "{damages:?}");
    assert!(!damages[0].torn, "{damages:?}");
}

/// The frames that had told how far the log is went with the segments that were compacted, and a
/// reader took the store for an older one than it was: its revision went back, and it refused to
/// add to a backup, since that seemed to have more than the store.
#[test]
fn a_reader_knows_the_last_revision_when_its_records_are_gone() {
    let (store, backup) =
        (TestStore::on(Medium::native(), by_hand()), tempfile::tempdir().unwrap());
    let to = backup.path().join("backup");
    store.put("Log", "a", b"1").unwrap();
    store.delete("Log", "a").unwrap();
    store.sync().unwrap();
    let reader = store.try_open_with(&by_hand().read_only(true)).unwrap();
    let before = reader.snapshot().revision();
    reader.backup(&to).unwrap();
    store.compact().unwrap();
    reader.refresh().unwrap();
    reader.backup(&to).unwrap();
    assert!(reader.snapshot().revision() >= before);
}
