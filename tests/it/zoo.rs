//! The zoo: every planted bug (`src/zoo.rs`) is let loose on this suite, which must catch it.
//!
//! Only in a build with `--cfg kindlog_zoo`. The test binary runs itself: a child is told by an
//! environment variable which bug it has, and runs the tests that are to catch it, else all.

use std::io::Read;
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use kindlog::zoo::Bug;

#[cfg(not(all(feature = "sim", feature = "cli")))]
compile_error!("the zoo needs the whole suite: build it with --all-features");

const BUG: &str = "KINDLOG_BUG";
/// A child that takes longer hangs, which counts as not caught.
const PATIENCE: Duration = Duration::from_secs(300);

/// The tests that are to catch a bug, as filters of test names, the quickest first.
fn catchers(bug: Bug) -> &'static [&'static str] {
    match bug {
        Bug::AckBeforeSync => &["in_flight::", "crash::a_crash_at_every"],
        Bug::SkipLogSync | Bug::CloseWithoutSync => &["crash::a_crash_at_every"],
        Bug::OsStaysInProcess => &["processes::", "crash::a_crash_at_every"],
        Bug::SegmentNotSynced | Bug::SegmentNameNotSynced => &["crash::a_crash_at_every"],
        Bug::ManifestNotSynced | Bug::ManifestNameNotSynced => &["crash::a_crash_at_every"],
        Bug::ManifestRenamedFirst | Bug::TailUnlinkedFirst => &["crash::a_crash_at_every"],
        Bug::SealUnsynced => &["crash::a_crash_at_every"],
        Bug::NoWatermarkCheck | Bug::NoWatermarkBehind => &["damage::damage_below"],
        Bug::NoWatermarkFrame => &["damage::damage_below"],
        Bug::WatermarkAhead => &["crash::a_crash_at_every"],
        Bug::LossNotReported => &["damage::frames_of_another", "damage::every_bit_of_a_crashed"],
        Bug::NoDigest => &["damage::segments_of_two_copies"],
        Bug::MissingSegmentIsEmpty | Bug::MissingManifestIsNew => &["errors::"],
        Bug::TrustUnsynced | Bug::AppendToTorn | Bug::StaysClean => &["crash::a_crash_at_every"],
        Bug::ReuseRevisions | Bug::HalfBatch => &["crash::a_crash_at_every"],
        Bug::WriteOnBroken | Bug::SayCertain => {
            &["errors::on_a_simulated_disk::", "faults::every_operation_fails"]
        }
        Bug::IgnoreFailedWrite => &["faults::every_operation_fails"],
        Bug::HealAlone => &["regressions::healing::"],
        Bug::RetrySync | Bug::NoPoison => &["errors::on_a_simulated_disk::"],
        Bug::OverwriteRing | Bug::UnitsFromTailAlone => &["crash::commits_around_the_tail_file"],
        Bug::TrustTail => &["crash::a_crash_at_every"],
        Bug::ForgetDelete | Bug::ForgetPrefixDelete => &["replay::", "crash::a_crash_at_every"],
        Bug::ForgetTombstone | Bug::ForgetPrefixTombstone => &["replay::"],
        Bug::PrefixTombstoneTakesAll | Bug::FileOrder => &["replay::"],
        Bug::StaleSlots | Bug::StaleSlotsQuickly => &["model::a_store_in_memory"],
        Bug::NoSalt => &["damage::frames_of_another"],
        Bug::NoPosition => &["damage::a_frame_in_another_place"],
        Bug::ValueUnchecked | Bug::ScanUnchecked | Bug::DamageIsAbsence => &["errors::"],
        Bug::WrittenTooSoon => &["in_flight::what_is_being_written"],
        Bug::GoneBeforeRetired | Bug::LeadsForEver | Bug::FailsInSilence => &[],
        Bug::WeakOvertakesSync | Bug::DropOverlay | Bug::AnswerInFlight => &["in_flight::"],
        Bug::PrefixDeleteRushes => &["in_flight::"],
        Bug::NoHistory => &["contract::", "handles::"],
        Bug::ViewWithoutLock | Bug::HalfBatchVisible | Bug::HalfBatchQuickly => &["concurrency::"],
        Bug::DropTombstones | Bug::DropPrefixTombstones => &["compaction::a_tombstone"],
        Bug::NewerFilesAreNewer | Bug::DamageNeedsNoTombstone => &["compaction::a_tombstone"],
        Bug::LeftAloneNeedsNoTombstone | Bug::GoesBesideWhatStays => {
            &["regressions_compaction::what_was_deleted"]
        }
        Bug::ScanWhileMerging | Bug::MergedTooSoon => &["merging::a_scan"],
        Bug::DeleteOnlyMerged => &["merging::a_prefix_delete"],
        Bug::MoveOverNewer => &["compaction::what_is_written", "compaction::everything_goes_on"],
        Bug::NoFollow => &["compaction::a_commit_in_flight"],
        Bug::CopyNotSynced | Bug::CopyNameNotSynced => &["compaction::power_loss"],
        Bug::InputsUnlinkedFirst | Bug::RetireUnsynced => &["crash::a_crash_at_every_operation_of"],
        Bug::RetireLive => &["compaction::a_damaged_record"],
        Bug::LetGoPinned => &["compaction::a_snapshot"],
        Bug::KeepReserve | Bug::ReserveForDeletes => &["reserve::a_store_"],
        Bug::OrderWithoutRoom => &["reserve::a_store_closes"],
        Bug::StaleHint | Bug::HintUnchecked => &["hints::a_hint_that_is_bad"],
        Bug::HintOfTorn => &["hints::opening_after_a_close", "hints::after_a_crash"],
        Bug::BackupNotSynced | Bug::BackupNameNotSynced => &["backup_sweeps::a_crash"],
        Bug::RestoreKeepsId => &["backup::a_restored"],
        Bug::NoLock => &["errors::", "processes::"],
        Bug::ReaderWrites | Bug::ReaderSeesUnsynced => &["processes::"],
        Bug::ReadableFiles | Bug::FollowLinks => &["handles::"],
    }
}

/// How a child ended.
enum Ended {
    /// So many tests passed, and none failed.
    Passed(usize),
    /// At this test, which failed, or in which the process died.
    Caught(String),
    Hung(String),
}

/// What the child has said so far, and what that means.
#[derive(Default)]
struct Said(String);

impl Said {
    /// The tests that were begun, and what came of each.
    fn results(&self) -> impl Iterator<Item = (&str, &str)> {
        let lines = self.0.lines().filter_map(|line| line.strip_prefix("test "));
        lines.filter_map(|line| line.split_once(" ... "))
    }

    fn failed(&self) -> Option<String> {
        let (test, _) = self.results().find(|(_, result)| result.starts_with("FAILED"))?;
        Some(test.to_owned())
    }

    fn last(&self) -> String {
        self.results().last().map_or("(no test)", |(test, _)| test).to_owned()
    }
}

/// Runs the tests that a filter selects, all with an empty one, up to the first that fails.
fn run(bug: Option<Bug>, filter: &str) -> Ended {
    let mut command = Command::new(std::env::current_exe().expect("this binary"));
    command.args(["--skip", "zoo::", "--test-threads=1", filter]).env_remove(BUG);
    if let Some(bug) = bug {
        command.env(BUG, format!("{bug:?}"));
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().expect("start a child");
    let mut stdout = child.stdout.take().expect("it is piped");
    let (send, heard) = channel();
    let listener = thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(len @ 1..) = stdout.read(&mut buffer) {
            if send.send(buffer[..len].to_vec()).is_err() {
                return;
            }
        }
    });
    let (deadline, mut said) = (Instant::now() + PATIENCE, Said::default());
    let stopped = loop {
        match heard.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(bytes) => said.0.push_str(&String::from_utf8_lossy(&bytes)),
            Err(RecvTimeoutError::Timeout) => break Some(Ended::Hung(said.last())),
            Err(RecvTimeoutError::Disconnected) => break None,
        }
        if let Some(test) = said.failed() {
            break Some(Ended::Caught(test));
        }
    };
    drop(heard);
    if stopped.is_some() {
        let _ended_already = child.kill();
    }
    let status = child.wait().expect("wait for the child");
    listener.join().expect("the listener ends");
    stopped.unwrap_or_else(|| match status.success() {
        true => Ended::Passed(said.results().count()),
        false => Ended::Caught(format!("{} ({status})", said.last())),
    })
}

/// The bugs to let loose: the one that the environment names, else all but those that the scheduled
/// tests are to catch.
fn chosen() -> Vec<Bug> {
    let name = std::env::var(BUG).ok();
    let is_chosen = |bug: &Bug| name.as_ref().is_none_or(|name| format!("{bug:?}") == *name);
    let here = Bug::ALL.iter().filter(|bug| !Bug::SCHEDULED.contains(bug));
    here.copied().filter(is_chosen).collect()
}

/// Without a bug, what is to catch them passes: else it would prove nothing by failing.
#[test]
fn no_bug_is_no_failure() {
    let mut filters: Vec<_> = chosen().iter().flat_map(|bug| catchers(*bug)).collect();
    filters.sort_unstable();
    filters.dedup();
    for filter in filters {
        match run(None, filter) {
            Ended::Passed(0) => panic!("there is no test {filter}"),
            Ended::Passed(_) => {}
            Ended::Caught(test) => panic!("{test} fails without a bug"),
            Ended::Hung(test) => panic!("{test} hangs without a bug"),
        }
    }
}

/// The test that catches a bug, and whether it is one that was expected to.
fn caught(bug: Bug) -> Option<(String, bool)> {
    for filter in catchers(bug) {
        match run(Some(bug), filter) {
            Ended::Caught(test) => return Some((test, true)),
            Ended::Hung(test) => println!("(with {bug:?}, {test} hangs)"),
            Ended::Passed(_) => {}
        }
    }
    let test = match run(Some(bug), "") {
        Ended::Caught(test) => test,
        Ended::Hung(test) => {
            println!("(with {bug:?}, {test} hangs)");
            return None;
        }
        Ended::Passed(_) => return None,
    };
    // Nobody has seen yet that this one passes without the bug.
    let name = test.split(' ').next().unwrap_or_default();
    matches!(run(None, name), Ended::Passed(1..)).then_some((test, false))
}

#[test]
fn every_planted_bug_is_caught() {
    let mut free = Vec::new();
    println!("\n| bug | what it does | rules on | caught by | s |");
    println!("| --- | --- | --- | --- | ---: |");
    for bug in chosen() {
        let began = Instant::now();
        let by = match caught(bug) {
            Some((test, true)) => format!("`{test}`"),
            Some((test, false)) => format!("`{test}`, by chance"),
            None => {
                free.push(bug);
                "NOBODY".to_owned()
            }
        };
        let seconds = began.elapsed().as_secs_f64();
        println!("| `{bug:?}` | {} | {} | {by} | {seconds:.1} |", bug.what(), bug.rule());
    }
    assert!(free.is_empty(), "not caught: {free:?}");
}
