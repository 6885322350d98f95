//! A line on standard error that says how far a long command is, where someone may be watching.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use crate::output::{counted, size};
use crate::time::elapsed;

const INTERVAL: Duration = Duration::from_millis(100);

/// Counts what is done.
pub(crate) struct Progress {
    pub(crate) resources: u64,
    pub(crate) bytes: u64,
    start: Instant,
    drawn: Option<Instant>,
    is_watched: bool,
}

impl Progress {
    pub(crate) fn new() -> Progress {
        let is_watched = io::stderr().is_terminal();
        Progress { resources: 0, bytes: 0, start: Instant::now(), drawn: None, is_watched }
    }

    /// One more resource, of so many bytes.
    pub(crate) fn add(&mut self, bytes: usize) {
        self.resources += 1;
        self.bytes += bytes as u64;
        // The clock is asked now and then only: it costs more than counting.
        if self.is_watched && self.resources.is_multiple_of(64) {
            self.draw();
        }
    }

    fn draw(&mut self) {
        let now = Instant::now();
        if now.duration_since(self.drawn.unwrap_or(self.start)) < INTERVAL {
            return;
        }
        self.drawn = Some(now);
        // A terminal that can't be written to is no reason to stop.
        let _ = write!(io::stderr(), "\r\x1b[K{}", self.summary());
    }

    /// Takes the line away again.
    pub(crate) fn clear(&mut self) {
        if self.drawn.take().is_some() {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }

    /// Leaves a last line, where the command itself says nothing.
    pub(crate) fn finish(mut self, verb: &str) {
        self.clear();
        if self.is_watched {
            let _ = writeln!(io::stderr(), "kindlog: {verb} {}", self.summary());
        }
    }

    /// `1,000 resources, 1.2 MB, in 38 ms`.
    pub(crate) fn summary(&self) -> String {
        format!(
            "{}, {}, in {}",
            counted(self.resources, "resource"),
            size(self.bytes),
            elapsed(self.start.elapsed())
        )
    }
}

/// An error's message starts on a line of its own.
impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}
