//! Read-only handles beside an owner that never stops: what they see is whole, sound and old or
//! new, never in between.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use kindlog::{Batch, Durability, Error, Options, ReadMode, Store};

use crate::support::{DURABILITIES, Medium, TestStore, pattern};

/// Each commit puts its number under several keys, and now and then more than a segment holds.
fn commit(store: &Store, number: u64, durability: Durability) {
    let mut batch = Batch::new();
    if number % 9 == 4 {
        batch.delete_prefix("K", "b");
    }
    for id in ["a", "b/1", "b/2", "c"] {
        let mut value = number.to_le_bytes().to_vec();
        value.extend(pattern(number, (number * 97 % 3000) as usize));
        batch.put("K", id, value);
    }
    if number % 40 == 17 {
        batch.put("Large", "large", pattern(number, 100_000));
    }
    store.commit_with(batch, durability).expect("commit");
}

/// The number that all keys have.
fn shown(reader: &Store) -> u64 {
    let mut numbers = Vec::new();
    for resource in reader.scan("K") {
        let resource = resource.expect("a sound resource");
        let number = u64::from_le_bytes(resource.data[..8].try_into().expect("eight bytes"));
        assert!(resource.data[8..] == pattern(number, (number * 97 % 3000) as usize));
        numbers.push(number);
    }
    assert!(numbers.len() == 4 || numbers.is_empty(), "{numbers:?}");
    assert!(numbers.windows(2).all(|pair| pair[0] == pair[1]), "half a commit: {numbers:?}");
    numbers.first().copied().unwrap_or(0)
}

#[test]
fn readers_beside_a_busy_owner_see_whole_commits_in_order() {
    let options = Options::new().segment_size(64 << 10).sync_interval(Duration::from_millis(1));
    let owner = TestStore::on(Medium::native(), options.clone());
    let (path, done) = (owner.dir(), &AtomicBool::new(false));
    commit(&owner, 1, Durability::Sync);
    thread::scope(|scope| {
        for mode in [ReadMode::Mapped, ReadMode::Pread] {
            let (options, path) = (options.clone().read_only(true).read_mode(mode), path.clone());
            scope.spawn(move || {
                let reader = options.open(&path).expect("open beside the owner");
                let mut last = shown(&reader);
                let mut opened = 0;
                while !done.load(Ordering::Acquire) {
                    reader.refresh().expect("refresh beside the owner");
                    let now = shown(&reader);
                    assert!(now >= last, "{now} after {last}");
                    last = now;
                    let held = reader.snapshot();
                    assert!(matches!(reader.put("K", "a", b""), Err(Error::ReadOnly)));
                    if opened < 20 {
                        let other = options.open(&path).expect("open beside the owner");
                        assert!(shown(&other) >= last);
                        opened += 1;
                    }
                    reader.refresh().expect("refresh beside the owner");
                    assert_eq!(held.scan("K").keys().count(), 4);
                }
                reader.refresh().expect("refresh");
                last = shown(&reader);
                assert_eq!(last, 400, "all of it is durable");
            });
        }
        let ended = Ended(done);
        for number in 2..=400 {
            commit(&owner, number, DURABILITIES[(number % 3) as usize]);
        }
        owner.sync().expect("sync");
        drop(ended);
    });
}

/// Says that the owner is done, also when it panics.
struct Ended<'a>(&'a AtomicBool);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

#[test]
fn a_reader_without_an_owner_sees_what_recovery_would_keep() {
    for durability in [Durability::Sync, Durability::Os] {
        let options = Options::new().segment_size(64 << 10).durability(durability);
        let options = options.sync_interval(Duration::from_secs(3600));
        let mut store = TestStore::on(Medium::native(), options.clone());
        for number in 1..=50 {
            commit(&store, number, durability);
        }
        store.crash();
        for number in 51..=60 {
            commit(&store, number, durability);
        }
        let left = store.killed();
        let reader = left.try_open_with(&options.clone().read_only(true)).expect("open");
        assert_eq!(shown(&reader), 60, "{durability:?}");
        assert!(reader.verify().expect("verify").is_clean());
        // It took no lock and changed nothing, so an owner may come.
        let owner = left.try_open_with(&options).expect("open for writing");
        assert_eq!(shown(&owner), 60);
        assert_eq!(shown(&reader), 60);
        commit(&owner, 61, Durability::Sync);
        reader.refresh().expect("refresh");
        assert_eq!(shown(&reader), 61);
    }
}
