//! Syncs and appends that fail while others wait for them.

use std::sync::Arc;
use std::sync::Mutex;

use super::*;
use crate::disk::sim::{EIO, Fault, Op, OpKind};

fn is_segment(file: &str) -> bool {
    file.ends_with(".seg")
}

type Commits = Vec<(String, Result<Revision>)>;

/// Small, or so large that every third commit rolls, which writes beside a sync under way.
fn any_len() -> usize {
    [100, 25_000][below(2) as usize]
}

/// Three writers; each says what became of its commits, and how many operations the disk had seen
/// when the first of them failed.
fn writers(
    store: &Store,
    disk: &SimDisk,
    durability: fn() -> Durability,
) -> Vec<JoinHandle<(Commits, Option<u64>)>> {
    let writers = (0..3).map(|writer| {
        let disk = disk.clone();
        go(store, move |store| {
            let (mut commits, mut failed_at) = (Vec::new(), None);
            for round in 0..2 {
                let (id, durability) = (format!("{writer}/{round}"), durability());
                let result = put_len(store, &id, any_len(), durability);
                if result.is_ok() && durability == Durability::Sync {
                    let left = after_power_loss(&disk);
                    assert!(has(&left, &id), "{id} was acknowledged and is not durable");
                }
                // A new segment whose sync fails is not used, and that is all.
                if result.as_ref().is_err_and(|e| is_refusal(e) || e.outcome() == Outcome::Unknown)
                {
                    failed_at.get_or_insert(disk.ops());
                }
                commits.push((id, result));
            }
            (commits, failed_at)
        })
    });
    writers.collect()
}

fn is_log_write(op: &Op) -> bool {
    matches!(op.kind, OpKind::Write | OpKind::TailStore)
        && (is_segment(&op.file) || op.file == "TAIL")
        && op.offset > 0
}

/// One of the log's syncs fails, in each of the ways in which kernels do it.
fn fail_a_sync(disk: &SimDisk) {
    let fault = [Fault::SyncKeepsNew, Fault::SyncDropsNew, Fault::Error(EIO)][below(3) as usize];
    let log = |kind, file: &str| kind == OpKind::Sync && is_segment(file);
    disk.fail_when(log, below(3), fault);
}

#[test]
fn a_failed_sync_is_an_error_to_all_who_wait_and_the_end_of_writing() {
    explore("a_failed_sync_is_an_error_to_all_who_wait_and_the_end_of_writing", || {
        let disk = any_disk();
        let store = open(&disk);
        put(&store, "there", Durability::Os).unwrap();
        fail_a_sync(&disk);
        // Waits until nothing is in flight, and then is not to be written.
        let deleter = go(&store, |store| {
            let mut batch = Batch::new();
            batch.delete_prefix("K", "th");
            store.commit_with(batch, Durability::Os)
        });
        let results = all(writers(&store, &disk, || Durability::Sync));
        let deleted = deleter.join().unwrap();
        let failed_at = results.iter().filter_map(|(_, failed_at)| *failed_at).min();
        let commits: Commits = results.into_iter().flat_map(|(commits, _)| commits).collect();
        let known = commits.iter().filter(|(_, result)| result.is_ok()).count() as u64;
        let there = store.count("K").unwrap();
        assert_eq!(there, known + u64::from(deleted.is_err()), "only what is durable is seen");
        for image in [disk.kill(0), disk.power_loss(Loss::AllUnsynced)] {
            check_outcomes(&look(&image), &commits, "after a failed sync");
        }
        if let Some(failed_at) = failed_at {
            assert!(matches!(put(&store, "later", Durability::Os), Err(Error::Poisoned)));
            let late =
                disk.trace().into_iter().find(|op| op.number >= failed_at && is_log_write(op));
            assert_eq!(late, None, "written after a failed sync");
            assert!(store.close().is_err());
        }
    });
}

fn sync_or_os() -> Durability {
    DURABILITIES[below(2) as usize]
}

/// An append that fails while others sync: who leads, who heals, and who is told what. Without a
/// tail file `Os` commits are written beside the leader.
#[test]
fn a_failed_append_beside_a_leader_withdraws_only_what_nobody_was_promised() {
    explore("a_failed_append_beside_a_leader_withdraws_only_what_nobody_was_promised", || {
        let disk = any_disk();
        let store = open(&disk);
        disk.set_tail(false);
        let struck = fail_a_write(&disk);
        let syncs = go(&store, |store| store.sync());
        let results = all(writers(&store, &disk, sync_or_os));
        let _fails_with_what_it_waits_for = syncs.join().unwrap();
        let commits: Commits = results.into_iter().flat_map(|(commits, _)| commits).collect();
        let known = commits.iter().filter(|(_, result)| result.is_ok()).count() as u64;
        assert_eq!(store.count("K").unwrap(), known);
        check_outcomes(&store, &commits, "beside the failure");
        put(&store, "later", Durability::Sync).expect("it has healed");
        assert!(!commits.iter().any(|(_, r)| r.as_ref().is_err_and(is_refusal)), "{commits:?}");
        for image in [disk.kill(0), disk.power_loss(Loss::AllUnsynced)] {
            check_outcomes(&look(&image), &commits, "after a failed append");
        }
        check_written_once(&disk, *struck.lock().unwrap());
        store.close().expect("close");
        check_outcomes(&open(&disk), &commits, "after close");
    });
}

/// The same with a sync that fails as well: the kernel tells one of those who sync, and whoever
/// syncs beside it must not vouch for what is lost.
#[test]
fn healing_and_leading_never_sync_side_by_side() {
    explore("healing_and_leading_never_sync_side_by_side", || {
        let disk = any_disk();
        let store = open(&disk);
        fail_a_write(&disk);
        fail_a_sync(&disk);
        let syncs = go(&store, |store| store.sync());
        let results = all(writers(&store, &disk, any_durability));
        let _fails_with_what_it_waits_for = syncs.join().unwrap();
        let commits: Commits = results.into_iter().flat_map(|(commits, _)| commits).collect();
        // What was acknowledged as durable is looked for when it is; a failed sync may take all
        // else back, also from those who could read it.
        check_outcomes(&look(&disk.power_loss(Loss::Nothing)), &refused(&commits), "after both");
        check_outcomes(
            &look(&disk.power_loss(Loss::AllUnsynced)),
            &refused(&commits),
            "after both",
        );
        let _may_be_poisoned = store.close();
    });
}

fn refused(commits: &Commits) -> Commits {
    let error = |r: &Result<Revision>| r.as_ref().err().map(Error::share);
    commits.iter().filter_map(|(id, r)| Some((id.clone(), Err(error(r)?)))).collect()
}

/// One of the log's writes fails, with some of its bytes written or none. Which one it was, as the
/// how-manieth of all writes to segments.
fn fail_a_write(disk: &SimDisk) -> Arc<Mutex<Option<usize>>> {
    let struck = Arc::new(Mutex::new(None));
    let (seen, told, nth) = (Mutex::new(0), struck.clone(), disk_writes(disk) + below(4) as usize);
    let fault = [
        Fault::Error(EIO),
        Fault::ShortWrite { bytes: 40, code: EIO },
        Fault::ShortWrite { bytes: 4000, code: EIO },
    ][below(3) as usize];
    *seen.lock().unwrap() = disk_writes(disk);
    let matches = move |kind: OpKind, file: &str| {
        if kind != OpKind::Write || !is_segment(file) {
            return false;
        }
        let mut seen = seen.lock().unwrap();
        *seen += 1;
        if *seen - 1 == nth {
            *told.lock().unwrap() = Some(nth);
        }
        *seen - 1 == nth
    };
    disk.fail_when(matches, 0, fault);
    struck
}

fn disk_writes(disk: &SimDisk) -> usize {
    disk.trace().iter().filter(|op| op.kind == OpKind::Write && is_segment(&op.file)).count()
}

/// Behind the last good byte of a broken segment nothing is written any more. A watermark frame may
/// be, as it was: it is all that there is to acknowledge in a write of its length.
fn check_written_once(disk: &SimDisk, struck: Option<usize>) {
    const WATERMARK_LEN: u64 = 64;
    let Some(struck) = struck else { return };
    let trace = disk.trace();
    let mut writes = trace.iter().filter(|op| op.kind == OpKind::Write && is_segment(&op.file));
    let failed = writes.nth(struck).expect("it struck");
    let again = writes.find(|op| op.file == failed.file && op.offset >= failed.offset);
    // A segment whose header can't be written is made once more, under its name.
    let made_anew = failed.offset == 0;
    assert!(
        made_anew || failed.len <= WATERMARK_LEN || again.is_none(),
        "{failed:?}, and then {again:?}"
    );
}

/// Whoever comes while a leader gathers waits for its sync, which a failed write takes away.
#[test]
fn a_failed_write_is_told_to_those_who_came_while_the_leader_gathered() {
    explore("a_failed_write_is_told_to_those_who_came_while_the_leader_gathered", || {
        let disk = any_disk();
        let store = open(&disk);
        store.state().unwrap().order.lock().company = 2;
        disk.fail_when(
            |kind, file| kind == OpKind::Write && is_segment(file),
            0,
            Fault::Error(EIO),
        );
        let two = ["a", "b"].map(|id| go(&store, move |store| put(store, id, Durability::Sync)));
        let results = two.map(|one| one.join().unwrap());
        assert!(results.iter().any(Result::is_err), "the write fails");
        let known = results.iter().filter(|result| result.is_ok()).count() as u64;
        assert_eq!(store.count("K").unwrap(), known);
        put(&store, "later", Durability::Sync).expect("it has healed");
    });
}

/// Where healing fails as well, who leads ends without a sync. Whoever found the log broken
/// meanwhile waits for it.
#[test]
fn a_leader_that_can_not_heal_tells_those_who_wait_for_it() {
    explore("a_leader_that_can_not_heal_tells_those_who_wait_for_it", || {
        let disk = any_disk();
        let store = open(&disk);
        let first = |kind, file: &str| kind == OpKind::Write && file == "00000000.seg";
        disk.fail_always(first, Fault::Error(EIO));
        // A large commit then ends the segment, which writes beside a leader that gathers.
        put_len(&store, "there", 50_000, Durability::Buffered).unwrap();
        store.state().unwrap().order.lock().company = 4;
        let commits = [("a", 100), ("b", 25_000), ("c", 100)];
        let commit =
            |(id, len)| go(&store, move |store| put_len(store, id, len, Durability::Sync).is_err());
        let failed = all(commits.into_iter().map(commit).collect());
        assert_eq!(failed, [true; 3], "nothing can be written");
        disk.clear_faults();
        put(&store, "later", Durability::Sync).expect("it has healed");
        assert_eq!(store.count("K").unwrap(), 2);
    });
}
