//! Changes that a thread merges into the index meanwhile: scans and counts see them wherever they
//! are on the way. There are enough of them for that thread to have work.

use std::time::Duration;

use kindlog::{Batch, Options, Store};

/// A kind of this size has runs of a few hundred changes.
const BASE: u64 = 8_000;
const ROUNDS: u64 = 120;

/// Spreads numbers, so that changes are for leaves all over the kind.
fn spread(n: u64) -> u64 {
    n.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn store() -> Store {
    let store = Options::new().durability(kindlog::Durability::Buffered).open_in_memory();
    let store = store.expect("open");
    for chunk in (0..BASE).collect::<Vec<_>>().chunks(1000) {
        let mut batch = Batch::new();
        for n in chunk {
            batch.put("Log", &format!("{:016x}", spread(*n)), b"base");
        }
        store.commit(batch).expect("commit");
    }
    store
}

fn count(store: &Store, prefix: &str) -> usize {
    store.scan("Log").prefix(prefix).keys().inspect(|id| assert!(id.is_ok())).count()
}

/// The runs of this kind become long with a sixteenth of its size. The scans come when one has just
/// become so, and nothing behind it, or a little later; each leaves an empty run.
#[test]
fn a_scan_sees_what_was_put_just_before() {
    let store = store();
    for round in 0..ROUNDS {
        let ids: Vec<String> = (0..BASE / 16 + round / 2 % 8)
            .map(|n| format!("{:016x}", spread(BASE + round / 2 * 1000 + n)))
            .collect();
        for id in &ids {
            match round % 2 {
                0 => _ = store.put("Log", id, b"new").expect("put"),
                _ => assert!(store.delete("Log", id).expect("delete")),
            }
        }
        std::thread::sleep(Duration::from_micros(50 * (round % 5)));
        let there = BASE + if round % 2 == 0 { ids.len() as u64 } else { 0 };
        assert_eq!(count(&store, "") as u64, there, "in round {round}");
        assert_eq!(store.count("Log").expect("count"), there);
    }
    assert!(store.verify().expect("verify").is_clean());
}

#[test]
fn a_prefix_delete_takes_what_is_on_its_way() {
    let store = store();
    let mut left = BASE;
    for round in 0..ROUNDS {
        // The other half of the round's puts stays.
        let puts = 1 + round * 97 % 700;
        for n in 0..puts {
            let id = format!("{:x}{:015x}", n % 2, spread(round * 1000 + n) >> 4);
            store.put("Log", &id, b"new").expect("put");
        }
        left = store.count("Log").expect("count");
        let zeros = count(&store, "0") as u64;
        if round % 3 == 0 {
            store.put("Log", "0", b"unmerged").expect("put");
            left += 1;
            assert_eq!(store.delete_prefix("Log", "0").expect("delete"), zeros + 1);
        } else {
            assert_eq!(store.delete_prefix("Log", "0").expect("delete"), zeros);
        }
        left -= zeros + u64::from(round % 3 == 0);
        assert_eq!(count(&store, "0"), 0);
        assert_eq!(store.scan("Log").keys().count() as u64, left);
    }
    assert_eq!(store.delete_kind("Log").expect("delete"), left);
    assert!(store.verify().expect("verify").is_clean());
}
