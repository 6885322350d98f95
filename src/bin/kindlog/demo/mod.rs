//! The command demo: real data, a daemon's life, and a process killed in mid-write. Everything it
//! claims it has compared, byte by byte and count by count; the first mismatch ends it.

mod crash;
mod daemon;
mod data;
mod descriptors;
pub(crate) mod writer;

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

use kindlog::{Options, Store};
use prost_types::Timestamp;

use crate::args::DemoArgs;
use crate::failure::{Failure, Outcome};
use crate::inspect;
use crate::output::{Output, count, counted, size};
use crate::time::elapsed;

/// All data is made from this, so that every demo stores the same.
const SEED: u64 = 0x006b_696e_646c_6f67;

/// The resource by which a demo's store is known.
const MARKER_KIND: &str = "Demo";
const MARKER_ID: &str = "started-at";

pub(crate) fn demo(dir: Option<PathBuf>, args: &DemoArgs) -> Outcome {
    let mut teller = Teller { out: Output::stdout() };
    let dir = match dir {
        Some(dir) => dir,
        None => fresh_directory()?,
    };
    let store = open(&dir)?;
    let done = run(store, &dir, args.resources, &mut teller);
    done.map_err(|failure| failure.noted(format!("the store is kept, in {}", dir.display())))?;
    teller.out.finish()
}

fn run(store: Store, dir: &Path, resources: u32, teller: &mut Teller) -> Outcome {
    teller.title(&format!("kindlog demo, in {}", dir.display()))?;
    teller
        .line("A Sync commit returns when the disk has it, an Os commit when the kernel has it.")?;
    descriptors::run(&store, teller)?;
    daemon::run(&store, teller, resources)?;
    store.close()?;
    crash::run(dir, teller)?;
    finish(dir, teller)
}

fn fresh_directory() -> Outcome<PathBuf> {
    let parent = std::env::temp_dir();
    let pid = std::process::id();
    for attempt in 0..1000 {
        let dir = parent.join(format!("kindlog-demo-{pid}-{attempt}"));
        // The place is shared with other users; what is stored is nobody else's to read.
        match fs::DirBuilder::new().mode(0o700).create(&dir) {
            Ok(()) => return Ok(dir),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(Failure::file(&dir, error)),
        }
    }
    Err(Failure::Io(format!("{}: no free name for a directory", parent.display())))
}

/// Opens an empty directory, or an earlier demo's, which it empties.
fn open(dir: &Path) -> Outcome<Store> {
    if is_occupied(dir)? {
        let is_demo = Options::new()
            .read_only(true)
            .create(false)
            .open(dir)
            .and_then(|store| store.contains(MARKER_KIND, MARKER_ID));
        match is_demo {
            Ok(true) => {}
            Err(error @ kindlog::Error::Corrupt { .. }) => return Err(error.into()),
            _ => {
                let dir = dir.display();
                return Err(Failure::Usage(format!(
                    "{dir} is neither empty nor an earlier demo's store; it was left alone"
                )));
            }
        }
    }
    let store = Options::new().open(dir)?;
    let started_at = Timestamp::from(SystemTime::now());
    store.save(MARKER_KIND, MARKER_ID, &started_at)?;
    for kind in store.kinds()? {
        if kind != MARKER_KIND {
            store.delete_kind(&kind)?;
        }
    }
    Ok(store)
}

fn is_occupied(dir: &Path) -> Outcome<bool> {
    match fs::read_dir(dir) {
        Ok(mut entries) => Ok(entries.next().is_some()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Failure::file(dir, error)),
    }
}

/// Checks the whole store once more, and says how to look at it.
fn finish(dir: &Path, teller: &mut Teller) -> Outcome {
    teller.title("The store it leaves")?;
    let store = Options::new().read_only(true).create(false).open(dir)?;
    let stats = store.stats();
    for kind in &stats.kinds {
        let held = format!("{:<26} {:>10}", kind.name, count(kind.live_count));
        teller.line(&format!("{held} {:>10}", size(kind.live_bytes)))?;
    }
    let sound = inspect::verified(&store, |problem| teller.line(problem))?;
    teller.line(&format!("{sound}; {} on disk", size(stats.disk_bytes)))?;
    teller.title("Look at it")?;
    let dir = quoted(dir);
    let program = std::env::current_exe().map_or_else(|_| "kindlog".to_owned(), |p| quoted(&p));
    for command in [
        "kinds",
        "list Agent --prefix team-b/ --limit 5",
        "get Agent/team-b/agent-00001",
        "get WorkflowExecution run-000001",
        "list WorkflowExecution --output text --limit 2",
        "list WorkflowExecution --output json --limit 2",
        "stats",
        "verify",
        "export --kind Workflow",
        "clean --kind LogChunk --prefix run-000001/",
    ] {
        teller.line(&format!("{program} -s {dir} {command}"))?;
    }
    teller.line(&format!("rm -r {dir}"))
}

/// The path as a shell takes it.
fn quoted(path: &Path) -> String {
    let path = path.display().to_string();
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+:@".contains(c);
    if path.chars().all(is_plain) { path } else { format!("'{}'", path.replace('\'', "'\\''")) }
}

/// Tells the demo's story, each line as soon as it is true.
pub(super) struct Teller {
    out: Output,
}

impl Teller {
    fn title(&mut self, text: &str) -> Outcome {
        let heading = self.out.styles.heading;
        self.out.line(format!("\n{heading}{text}{heading:#}"))?;
        self.out.show()
    }

    fn line(&mut self, text: &str) -> Outcome {
        self.out.line(format!("  {text}"))?;
        self.out.show()
    }

    /// What was done so often since `start`, and how fast.
    fn did(&mut self, what: &str, times: u64, noun: &str, start: Instant) -> Outcome {
        let time = start.elapsed();
        let rate = times as f64 / time.as_secs_f64().max(1e-9);
        let (times, time, rate) = (counted(times, noun), elapsed(time), count(rate as u64));
        self.line(&format!("{what:<36} {times:>18} {time:>8} {rate:>10}/s"))
    }
}

/// Ends the demo with what is wrong unless it is as it should be.
fn check(is_right: bool, wrong: impl FnOnce() -> String) -> Outcome {
    if is_right { Ok(()) } else { Err(Failure::Damage(format!("the demo failed: {}", wrong()))) }
}

/// Checks that a count is exact.
fn check_count(what: &str, found: u64, expected: u64) -> Outcome {
    check(found == expected, || format!("{what}: {found}, but it should be {expected}"))
}

/// Checks that a resource is there, byte for byte.
fn check_bytes(store: &Store, kind: &str, id: &str, expected: &[u8]) -> Outcome {
    let found = store.get_resource(kind, id)?;
    check(found.is_some(), || format!("{kind}/{id} was stored, and is not there"))?;
    let same = found.is_some_and(|resource| resource.data == expected);
    check(same, || format!("{kind}/{id} does not hold the {} bytes stored", expected.len()))
}
