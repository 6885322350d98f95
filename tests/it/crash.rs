//! Crashes at every operation, also of the recovery itself: the store holds a prefix of the
//! commits, with all in it that had to survive, and says the same however often it is opened.

use std::sync::atomic::{AtomicU64, Ordering};

use kindlog::disk::sim::{Loss, SimDisk};
use kindlog::{Durability, Store};

use crate::oracle::{Change, Crash, Found, Oracle};
use crate::support::full;
use crate::workload::{
    Run, Step, assert_no_strays, brief, commit_to, compacting, everything, is_dead, options, put,
};

/// What the sweep of one workload checked.
#[derive(Default)]
struct Sweep {
    images: AtomicU64,
}

/// What is asked of an image.
#[derive(Clone)]
struct Expected<'a> {
    oracle: &'a Oracle,
    crash: Crash,
    /// Nothing on the image can be lost any more, so that this and nothing else is to be found.
    exactly: Option<&'a Found>,
    /// For messages: how the image came about.
    story: String,
}

impl Expected<'_> {
    fn check(&self, found: &Found) {
        if let Err(what) = self.oracle.check(found, self.crash) {
            panic!("{}: {what}", self.story);
        }
        if let Some(exactly) = self.exactly {
            assert!(found == exactly, "{}: another opening had shown something else", self.story);
        }
    }
}

impl Sweep {
    /// Opens a copy of an image and reads it.
    fn open(&self, image: &SimDisk, expected: &Expected<'_>) -> (SimDisk, Store, Found) {
        self.images.fetch_add(1, Ordering::Relaxed);
        let disk = image.kill(0);
        let store = options().open_on(&disk);
        let store = store.unwrap_or_else(|error| panic!("{}: {error}", expected.story));
        let found = expected.oracle.read(&store);
        let found = found.unwrap_or_else(|error| panic!("{}: {error}", expected.story));
        expected.check(&found);
        (disk, store, found)
    }

    /// What an opened store shows is durable, sound, and goes on: it takes a commit with a
    /// revision that nobody has seen, is compacted, and closes.
    fn check(&self, image: &SimDisk, expected: &Expected<'_>) -> Found {
        let (disk, store, found) = self.open(image, expected);
        if !full() && !self.images.load(Ordering::Relaxed).is_multiple_of(3) {
            return found;
        }
        let durable = disk.power_loss(Loss::AllUnsynced);
        let story = format!("{}, then a power loss after the open", expected.story);
        let again = Expected { exactly: Some(&found), story, ..expected.clone() };
        drop(self.open(&durable, &again));
        let change = [Change::Put("After", "x".to_owned(), 8)];
        let attempt = expected.oracle.next();
        let revision = commit_to(&store, &change, Durability::Sync, attempt);
        let revision = revision.unwrap_or_else(|error| panic!("{}: {error}", expected.story));
        let seen = found.values().map(|(_, revision)| *revision).max();
        let seen = expected.oracle.seen.max(seen.unwrap_or(0));
        assert!(revision > seen, "{}: {revision} is not above {seen}", expected.story);
        store.compact().unwrap_or_else(|error| panic!("{}: compact: {error}", expected.story));
        let report = store.verify().expect("verify runs");
        assert!(report.is_clean(), "{}: {:?}", expected.story, report.problems);
        store.close().unwrap_or_else(|error| panic!("{}: close: {error}", expected.story));
        let disk = disk.power_loss(Loss::AllUnsynced);
        let store = options().open_on(&disk);
        let store = store.unwrap_or_else(|error| panic!("{}: reopen: {error}", expected.story));
        assert_no_strays(&disk, &store, &expected.story);
        assert!(store.recovery().clean, "{}: closed in order", expected.story);
        let mut after = expected.oracle.read(&store).expect("reads work");
        assert!(after.remove(&("After".to_owned(), "x".to_owned())).is_some());
        assert!(
            after == found,
            "{}: compacting and closing changed what was there",
            expected.story
        );
        found
    }

    /// Lets the process die in every operation of the recovery of `image`, and checks what is left,
    /// `depth` crashes deep.
    fn crash_in_recovery(
        &self,
        image: &SimDisk,
        expected: &Expected<'_>,
        reference: &Found,
        depth: u32,
    ) {
        // What the power left, it won't take later.
        let settled = expected.crash == Crash::PowerLoss;
        for n in 0.. {
            let disk = image.kill(0);
            disk.crash_after(n);
            let opened = options().open_on(&disk);
            let died = is_dead(&disk);
            drop(opened);
            if !died {
                return;
            }
            let story = format!("{}, dead again in operation {n} of the recovery", expected.story);
            let kill = Expected { exactly: Some(reference), story, ..expected.clone() };
            let power = Expected {
                crash: Crash::PowerLoss,
                exactly: settled.then_some(reference),
                story: format!("{}, without power", kill.story),
                ..expected.clone()
            };
            let losses = [Loss::AllUnsynced, Loss::Seed(n)];
            let kills = [disk.kill(0), disk.kill(usize::MAX)].into_iter().map(|d| (d, &kill));
            let losses = losses.map(|loss| (disk.power_loss(loss), &power));
            for (i, (image, expected)) in kills.chain(losses).enumerate() {
                // One in a few goes deeper: there are too many of them.
                let stride = if full() { 4 } else { 8 };
                if depth > 0 && !(n as usize + i).is_multiple_of(stride) {
                    continue;
                }
                let found = match depth {
                    0 => self.open(&image, expected).2,
                    _ => {
                        let found = self.open(&image, expected).2;
                        self.crash_in_recovery(&image, expected, &found, depth - 1);
                        found
                    }
                };
                assert!(!settled || found == *reference, "{}", expected.story);
            }
        }
    }

    /// All images that one death can leave.
    fn images(
        disk: &SimDisk,
        n: u64,
        story: &str,
    ) -> impl Iterator<Item = (SimDisk, Crash, String)> {
        let seeds = if full() { 24 } else { 2 };
        let mut cuts = vec![0, usize::MAX, 1 + n as usize * 37 % 4096];
        cuts.extend((0..if full() { 12 } else { 0 }).map(|i| i * i * 97 + 8));
        let kills = cuts.into_iter().map(move |cut| (Crash::Kill, cut, Loss::Nothing));
        let losses = (0..seeds).map(move |seed| Loss::Seed(n * 1000 + seed));
        let losses = [Loss::AllUnsynced, Loss::Nothing].into_iter().chain(losses);
        let losses = losses.map(|loss| (Crash::PowerLoss, 0, loss));
        let (disk, story) = (disk.clone(), story.to_owned());
        kills.chain(losses).map(move |(crash, cut, loss)| match crash {
            Crash::Kill => (disk.kill(cut), crash, format!("{story}, killed with {cut} bytes")),
            Crash::PowerLoss => (disk.power_loss(loss), crash, format!("{story}, {loss:?}")),
        })
    }

    /// A crash at every operation of `steps` on `first`; in the short form, at every `stride`th.
    fn sweep(
        &self,
        first: &SimDisk,
        steps: &[Step],
        stride: usize,
        deep: impl Fn(u64, usize) -> u32,
    ) {
        for n in (0..).step_by(if full() { 1 } else { stride }) {
            let disk = first.kill(0);
            disk.crash_after(n);
            let mut run = Run::new(&disk);
            let died = run.play(steps);
            let story = format!("dead in operation {n}");
            for (i, (image, crash, story)) in Sweep::images(&disk, n, &story).enumerate() {
                if !full() && (n as usize + i) % 3 == 2 {
                    continue;
                }
                let expected = Expected { oracle: &run.oracle, crash, exactly: None, story };
                let found = self.check(&image, &expected);
                if crash == Crash::Kill && (full() || n % 3 == i as u64) {
                    // What could be read was never synced, and now the power fails as well.
                    let later = image.power_loss(Loss::Seed(n));
                    let story = format!("{}, then {:?}", expected.story, Loss::Seed(n));
                    let crash = Crash::PowerLoss;
                    let later_expected = Expected { crash, story, ..expected.clone() };
                    self.check(&later, &later_expected);
                }
                let depth = deep(n, i);
                if depth > 0 {
                    self.crash_in_recovery(&image, &expected, &found, depth - 1);
                }
            }
            if !died {
                return;
            }
        }
    }

    fn finish(&self, what: &str) {
        eprintln!("crash, {what}: {} images", self.images.load(Ordering::Relaxed));
    }
}

/// How deep to crash in the recovery of image `i` of operation `n`: in the short form, one image of
/// each operation in `every`, another one each time.
fn sampled(every: u64) -> impl Fn(u64, usize) -> u32 {
    move |n, i| match full() {
        true => 1 + u32::from(i as u64 == n % 7),
        false => u32::from(n % every == 0 && i as u64 == n / every % 7),
    }
}

fn disk(with_tail: bool) -> SimDisk {
    let disk = SimDisk::new();
    disk.set_tail(with_tail);
    disk
}

#[test]
fn a_crash_at_every_operation_leaves_a_prefix() {
    let sweep = Sweep::default();
    sweep.sweep(&disk(true), &everything(), 1, sampled(20));
    sweep.finish("with a tail file");
}

#[test]
fn a_crash_at_every_operation_leaves_a_prefix_without_a_tail_file() {
    let sweep = Sweep::default();
    sweep.sweep(&disk(false), &everything(), 1, sampled(20));
    sweep.finish("without a tail file");
}

#[test]
fn a_crash_at_every_operation_of_compactions_leaves_a_prefix() {
    let sweep = Sweep::default();
    sweep.sweep(&disk(true), &compacting(), 4, sampled(40));
    sweep.finish("compacting, with a tail file");
}

#[test]
fn a_crash_at_every_operation_of_compactions_leaves_a_prefix_without_a_tail_file() {
    let sweep = Sweep::default();
    sweep.sweep(&disk(false), &compacting(), 7, sampled(70));
    sweep.finish("compacting, without a tail file");
}

#[test]
fn crashes_two_deep_in_the_recovery_change_nothing() {
    let sweep = Sweep::default();
    sweep.sweep(&disk(true), &brief(), 1, |n, i| match full() {
        true => 1 + 2 * u32::from(n % 4 == 0 && i as u64 == n / 4 % 7),
        false => 2 * u32::from(n % 16 == 0 && i as u64 == n / 16 % 7),
    });
    sweep.finish("deep");
}

/// What the tail file holds must not be overwritten before the segment has it: commits too large
/// for it, ones that would go round the ring, so many that it goes round often, and ones that are
/// written to the segment without ever having been in it.
#[test]
fn commits_around_the_tail_file() {
    let mut steps = vec![
        put("A", "1", 100, Durability::Os),
        put("A", "2", 25_000, Durability::Buffered),
        put("A", "3", 247_000, Durability::Os),
        put("A", "4", 50, Durability::Os),
        put("A", "5", 75_000, Durability::Os),
    ];
    steps.extend((0..12).map(|i| put("B", &format!("{i}"), 22_500, Durability::Os)));
    steps.extend((0..6).map(|i| put("C", &format!("{i}"), 25_000, Durability::Buffered)));
    let sweep = Sweep::default();
    for n in 0.. {
        let disk = disk(true);
        disk.crash_after(n);
        let mut run = Run::new(&disk);
        run.options = options().segment_size(8 << 20);
        let died = run.play(&steps);
        for cut in [0, 7_500, usize::MAX] {
            if !full() && n.wrapping_add(cut as u64) % 2 > 0 {
                continue;
            }
            let story = format!("dead in operation {n}, killed with {cut} bytes");
            let (oracle, crash) = (&run.oracle, Crash::Kill);
            let expected = Expected { oracle, crash, exactly: None, story };
            drop(sweep.open(&disk.kill(cut), &expected));
        }
        if !died {
            break;
        }
    }
    sweep.finish("around the tail file");
}
