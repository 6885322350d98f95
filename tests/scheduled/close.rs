//! Closing in the middle of everything.

use super::*;

/// Two commits fill a segment, so that closing seals full ones, with the order lock let go.
const LEN: usize = 30_000;

#[test]
fn a_commit_that_races_close_is_acknowledged_and_there_or_refused_and_not() {
    explore("a_commit_that_races_close_is_acknowledged_and_there_or_refused_and_not", || {
        let disk = any_disk();
        let store = open(&disk);
        put_len(&store, "before/0", LEN, Durability::Os).unwrap();
        put_len(&store, "before/1", LEN, Durability::Os).unwrap();
        let mut writers = Vec::new();
        for writer in 0..2 {
            writers.push(go(&store, move |store| {
                let mut commits = Vec::new();
                for round in 0..3 {
                    let id = format!("{writer}/{round}");
                    let result = put_len(store, &id, LEN, any_durability());
                    if let Err(error) = &result {
                        assert!(matches!(error, Error::Closed), "{error}");
                    }
                    commits.push((id, result));
                }
                commits
            }));
        }
        let closers = (0..2).map(|_| go(&store, |store| store.close().expect("close")));
        let closers: Vec<_> = closers.collect();
        let reader = go(&store, |store| {
            let found = store.snapshot();
            assert!(found.scan("K").keys().count() >= 2);
            match store.get_resource("K", "before/0") {
                Ok(found) => assert_eq!(found.expect("there").data.len(), LEN),
                Err(error) => assert!(matches!(error, Error::Closed), "{error}"),
            }
        });
        let commits: Vec<_> = all(writers).into_iter().flatten().collect();
        all(closers);
        reader.join().unwrap();
        drop(store);
        for image in [disk.power_loss(Loss::AllUnsynced), disk.clone()] {
            let again = open(&image);
            assert!(again.recovery().clean, "{:?}", again.recovery());
            check_outcomes(&again, &commits, "after close");
            let acknowledged = commits.iter().filter(|(_, result)| result.is_ok()).count();
            assert_eq!(again.count("K").unwrap(), 2 + acknowledged as u64);
        }
    });
}

/// Dropping the last handle closes as well, with nobody left to tell.
#[test]
fn dropping_the_last_handle_closes_in_order() {
    explore("dropping_the_last_handle_closes_in_order", || {
        let disk = any_disk();
        let store = open(&disk);
        let threads = (0..2).map(|writer| {
            go(&store, move |store| put(store, &format!("{writer}"), any_durability()).unwrap())
        });
        let threads: Vec<_> = threads.collect();
        drop(store);
        all(threads);
        let again = open(&disk);
        assert!(again.recovery().clean);
        assert_eq!(again.count("K").unwrap(), 2);
    });
}
