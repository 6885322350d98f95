//! Bugs of read-only handles that were found, and must not come back. Each test opens with its
//! story.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use kindlog::disk::sim::{OpKind, SimDisk};
use kindlog::{Batch, Durability, Error, MIN_SEGMENT_SIZE, Options, Store};

use crate::support::{Medium, TestStore, pattern};

/// Syncs when it is told to.
fn by_hand() -> Options {
    let options = Options::new().segment_size(MIN_SEGMENT_SIZE).durability(Durability::Os);
    options.sync_interval(Duration::from_secs(3600)).space_bound(f64::INFINITY)
}

fn look(disk: &SimDisk) -> Result<Store, Error> {
    by_hand().read_only(true).open_on(disk)
}

fn has(store: &Store, id: &str) -> bool {
    store.contains("Log", id).unwrap()
}

/// A reader beside a living owner finds the log's end while that moves, and looks once more whether
/// what seemed damaged was just being written. It looked at the first frame alone: with damage in a
/// later one of a batch, the batch and all behind it were passed over without a word, however
/// durable, and a backup that was made so had none of it.
#[test]
fn a_reader_beside_the_owner_reports_damage_wherever_in_a_batch_it_is() {
    for damaged in 0..3 {
        let store = TestStore::on(Medium::Sim(SimDisk::new()), by_hand()).unverified();
        let mut batch = Batch::new();
        for n in 0..3 {
            batch.put("Log", &n.to_string(), pattern(n, 100));
        }
        store.commit_with(batch, Durability::Sync).unwrap();
        store.put("Log", "later", b"").unwrap();
        store.sync().unwrap();
        assert_eq!(look(store.disk()).unwrap().count("Log").unwrap(), 4);
        let bytes = store.disk().read_file("00000000.seg").unwrap();
        let at = bytes.windows(100).position(|found| *found == pattern(damaged, 100)[..]).unwrap();
        store.disk().flip_bit("00000000.seg", at as u64 * 8);
        let opened = look(store.disk());
        assert!(matches!(opened, Err(Error::Corrupt { .. })), "record {damaged}: {opened:?}");
    }
}

/// A reader that was opened with no owner had seen what recovery would keep. While an owner came,
/// and had not yet made that durable, a refresh took it away again.
#[test]
fn a_reader_loses_nothing_while_an_owner_comes() {
    let disk = SimDisk::new();
    let store = by_hand().open_on(&disk).unwrap();
    store.put("Log", "a", b"").unwrap();
    store.sync().unwrap();
    store.put("Log", "b", b"").unwrap();
    let left = disk.kill(0);
    let reader = look(&left).unwrap();
    assert!(has(&reader, "b"), "recovery would keep it");
    let (beside, (tells, told)) = (reader.clone(), channel());
    let is_it = |kind: OpKind, file: &str| kind == OpKind::Rename && file == "MANIFEST";
    left.hold_up(is_it, move || {
        beside.refresh().unwrap();
        tells.send((has(&beside, "b"), beside.snapshot().revision())).unwrap();
    });
    let before = reader.snapshot().revision();
    let owner = by_hand().open_on(&left).unwrap();
    assert_eq!(told.recv().unwrap(), (true, before));
    owner.put("Log", "c", b"").unwrap();
    owner.sync().unwrap();
    reader.refresh().unwrap();
    assert!(has(&reader, "b") && has(&reader, "c"));
}

/// Of two refreshes of one handle at the same time, the one that had looked earlier could end
/// later, and put back what the other had replaced: a thread no longer saw what it had just seen.
#[test]
fn the_slower_of_two_refreshes_does_not_undo_the_other() {
    let store = TestStore::on(Medium::Sim(SimDisk::new()), by_hand());
    let manifest = || store.disk().read_file("MANIFEST");
    store.put("Log", "half a segment", pattern(1, 40_000)).unwrap();
    let before = manifest();
    store.put("Log", "a", b"").unwrap();
    while manifest() == before {
        // The next segment is being made: a reader looks into it last.
        thread::sleep(Duration::from_millis(1));
    }
    let reader = look(store.disk()).unwrap();
    let (looks, others) = (AtomicU64::new(0), (Store::clone(&store), reader.clone()));
    let is_it = move |kind: OpKind, file: &str| {
        let is_look = kind == OpKind::Read && file == "00000001.seg";
        // Behind the two for its header.
        is_look && looks.fetch_add(1, Ordering::Relaxed) == 2
    };
    let (gives, takes) = channel();
    store.disk().hold_up(is_it, move || {
        let (owner, beside) = others;
        owner.put("Log", "new", b"").unwrap();
        owner.sync().unwrap();
        let (says, said) = channel();
        gives
            .send(thread::spawn(move || {
                beside.refresh().unwrap();
                assert!(has(&beside, "new"));
                let _nobody_waits = says.send(());
            }))
            .unwrap();
        // It ends now, or waits for the one that is held up here.
        let _ = said.recv_timeout(Duration::from_millis(200));
    });
    reader.refresh().unwrap();
    takes.recv().unwrap().join().unwrap();
    assert!(has(&reader, "new"), "it was seen before");
}

/// A sync said in the log that it was over only if no commit had come meanwhile. So a reader that
/// came after it did not see what it had made durable, nor did a backup that was made so, before a
/// later sync or a later commit told: with a long interval not for a long time.
#[test]
fn a_reader_sees_what_a_sync_has_made_durable_whatever_came_meanwhile() {
    for durability in [Durability::Os, Durability::Buffered] {
        let store = TestStore::on(Medium::Sim(SimDisk::new()), by_hand());
        store.put("Log", "a", b"").unwrap();
        let other = Store::clone(&store);
        let is_log = |kind: OpKind, file: &str| kind == OpKind::Sync && file.ends_with(".seg");
        store.disk().hold_up(is_log, move || {
            let mut batch = Batch::new();
            batch.put("Log", "b", b"");
            other.commit_with(batch, durability).unwrap();
        });
        store.sync().unwrap();
        let reader = look(store.disk()).unwrap();
        assert!(has(&store, "b") && !has(&reader, "b"), "nobody has synced it");
        assert!(has(&reader, "a"), "{durability:?}");
    }
}
