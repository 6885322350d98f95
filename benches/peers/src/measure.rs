//! Clocks, memory, bytes on disk.

use std::fs::{self, File, Metadata};
use std::hint::black_box;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{Advice, fadvise};

use crate::engine::Result;

/// Reads a byte of each cache line, as a program that uses the value would at least.
pub fn touch(value: &[u8]) {
    black_box(
        value.iter().step_by(64).map(|byte| u64::from(*byte)).sum::<u64>() + value.len() as u64,
    );
}

/// Runs `work` in each of some threads at once, and returns the time from the start of the first to
/// the end of the last. Each reads the clock itself: whoever waits for them may be woken late.
pub fn in_threads(threads: u64, work: impl Fn(u64) -> Result<()> + Sync) -> Result<Duration> {
    let barrier = Barrier::new(threads as usize);
    let run = |thread| -> Result<(Instant, Instant)> {
        barrier.wait();
        let start = Instant::now();
        work(thread)?;
        Ok((start, Instant::now()))
    };
    let run = &run;
    let times = thread::scope(|scope| {
        let handles: Vec<_> = (0..threads).map(|t| scope.spawn(move || run(t))).collect();
        let times = handles.into_iter();
        let times = times.map(|handle| handle.join().map_err(|_| "a thread panicked")?);
        times.collect::<Result<Vec<_>>>()
    })?;
    let start = times.iter().map(|(start, _)| *start).min().ok_or("no thread")?;
    let end = times.iter().map(|(_, end)| *end).max().ok_or("no thread")?;
    Ok(end - start)
}

/// Calls `each` with every file below a directory, and what it is. What goes meanwhile is left out:
/// a store may remove files.
fn files(dir: &Path, each: &mut dyn FnMut(&Path, &Metadata) -> Result<()>) -> Result<()> {
    let gone = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    let entries = match fs::read_dir(dir) {
        Err(error) if gone(&error) => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let path = entry?.path();
        match fs::symlink_metadata(&path) {
            Err(error) if gone(&error) => {}
            metadata => match metadata? {
                folder if folder.is_dir() => files(&path, each)?,
                file => each(&path, &file)?,
            },
        }
    }
    Ok(())
}

/// The bytes that the files below a directory take: their blocks, since some stores make files long
/// before they fill them.
pub fn bytes_on_disk(dir: &Path) -> Result<u64> {
    let mut bytes = 0;
    files(dir, &mut |_, metadata| {
        bytes += metadata.blocks() * 512;
        Ok(())
    })?;
    Ok(bytes)
}

/// Has the kernel forget what it holds in memory of the files below a directory, so that whoever
/// opens them reads the disk. What waits to be written is written first: the kernel keeps that.
pub fn forget_files(dir: &Path) -> Result<()> {
    files(dir, &mut |path, _| {
        let file = File::open(path)?;
        file.sync_all()?;
        Ok(fadvise(&file, 0, None, Advice::DontNeed)?)
    })
}

/// The bytes that this process has had read from a disk.
pub fn read_from_disk() -> Result<u64> {
    let io = fs::read_to_string("/proc/self/io")?;
    let line = io.lines().find_map(|line| line.strip_prefix("read_bytes: "));
    Ok(line.ok_or("/proc/self/io lacks a field")?.parse()?)
}

/// What this process has in memory, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// The heap and the stacks.
    pub anonymous: u64,
    /// With what is mapped of files; the kernel takes that back when it needs it.
    pub resident: u64,
}

impl Memory {
    pub fn now() -> Result<Memory> {
        let status = fs::read_to_string("/proc/self/status")?;
        let field = |name: &str| -> Option<u64> {
            let line = status.lines().find(|line| line.starts_with(name))?;
            Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? << 10)
        };
        let missing = "/proc/self/status lacks a field";
        let anonymous = field("RssAnon:").ok_or(missing)?;
        Ok(Memory { anonymous, resident: field("VmRSS:").ok_or(missing)? })
    }
}

/// The most memory that the process had while `work` ran, looked at every 10 ms.
pub fn peak_memory(work: impl FnOnce() -> Result<()>) -> Result<Memory> {
    let (over, anonymous, resident) =
        (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        let watcher = scope.spawn(|| -> Result<()> {
            while !over.load(Ordering::Relaxed) {
                let now = Memory::now()?;
                anonymous.fetch_max(now.anonymous, Ordering::Relaxed);
                resident.fetch_max(now.resident, Ordering::Relaxed);
                thread::sleep(Duration::from_millis(10));
            }
            Ok(())
        });
        let done = work();
        over.store(true, Ordering::Relaxed);
        watcher.join().map_err(|_| "a thread panicked")??;
        done
    })?;
    // What is done in less than that may have been seen by nobody.
    let last = Memory::now()?;
    Ok(Memory {
        anonymous: anonymous.into_inner().max(last.anonymous),
        resident: resident.into_inner().max(last.resident),
    })
}

/// How often each latency occurred: 32 buckets between one power of two and the next, so a figure
/// is off by 3 % at most.
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max_ns: u64,
}

const BUCKETS_LOG2: u32 = 5;

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram { counts: vec![0; 64 << BUCKETS_LOG2], total: 0, max_ns: 0 }
    }
}

impl Histogram {
    pub fn add(&mut self, latency: Duration) {
        let ns = latency.as_nanos() as u64;
        self.counts[bucket(ns)] += 1;
        self.total += 1;
        self.max_ns = self.max_ns.max(ns);
    }

    /// The latency in microseconds that this share of all was not longer than.
    pub fn percentile_us(&self, share: f64) -> f64 {
        let rank = (share * self.total as f64).ceil() as u64;
        let mut seen = 0;
        for (i, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return upper_ns(i).min(self.max_ns) as f64 / 1e3;
            }
        }
        self.max_us()
    }

    pub fn max_us(&self) -> f64 {
        self.max_ns as f64 / 1e3
    }
}

fn bucket(ns: u64) -> usize {
    let log2 = 63 - (ns | 1).leading_zeros();
    if log2 <= BUCKETS_LOG2 {
        return ns as usize;
    }
    let shift = log2 - BUCKETS_LOG2;
    ((u64::from(shift) << BUCKETS_LOG2) + (ns >> shift)) as usize
}

/// The longest latency in a bucket.
fn upper_ns(bucket: usize) -> u64 {
    let (bucket, width) = (bucket as u64, 1u64 << BUCKETS_LOG2);
    if bucket < 2 * width {
        return bucket;
    }
    let shift = bucket / width - 1;
    ((bucket % width + width + 1) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_off_by_little() {
        let mut histogram = Histogram::default();
        (1..=100_000).for_each(|us| histogram.add(Duration::from_micros(us)));
        for share in [0.01, 0.5, 0.99, 0.999] {
            let us = histogram.percentile_us(share);
            assert!((us / (share * 1e5) - 1.0).abs() < 0.04, "{share}: {us}");
        }
        assert_eq!(histogram.max_us(), 1e5);
        assert_eq!(histogram.percentile_us(1.0), 1e5);
    }

    #[test]
    fn each_latency_lies_in_its_bucket() {
        for ns in (0..100_000).chain([u64::MAX / 3, 1 << 40]) {
            assert!(ns <= upper_ns(bucket(ns)), "{ns}");
            assert!(bucket(ns) == 0 || ns > upper_ns(bucket(ns) - 1), "{ns}");
        }
    }
}
