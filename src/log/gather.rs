//! A segment's contents, gathered while the log's end is looked for, so that what is known durable
//! is read once.

use std::collections::VecDeque;

use super::contents::{Builder, Seen};
use super::scan::Frame;
use super::segment::Segment;
use crate::error::Result;

/// Keys that have been summed up are let go in pieces of this size.
const KEYS_LEN: usize = 1 << 20;

/// The frames of one segment, in order. Those of whole commits that are known durable are summed
/// up. The others wait: which of them stay where they are shows only when the end is found, and
/// then they are read again.
#[derive(Debug)]
pub(crate) struct Gathered {
    builder: Builder,
    /// The offset behind the last frame that was summed up.
    settled: u64,
    any: bool,
    waiting: VecDeque<Seen>,
    /// Kinds and ids of those that wait, from `keys_at` on.
    keys: Vec<u8>,
    keys_at: usize,
    /// Where whole commits end that wait, and how many frames each has.
    commits: VecDeque<(u64, usize)>,
    /// Frames of a commit that is not whole yet.
    begun: usize,
}

impl Gathered {
    /// Of the frames from an offset on.
    pub(crate) fn new(from: u64) -> Gathered {
        Gathered {
            builder: Builder::default(),
            settled: from,
            any: false,
            waiting: VecDeque::new(),
            keys: Vec::new(),
            keys_at: 0,
            commits: VecDeque::new(),
            begun: 0,
        }
    }

    /// Takes the next frame. `is_whole` says that its commit ends with it, `watermark` up to which
    /// offset the segment is known durable.
    ///
    /// # Errors
    /// As [`Builder::add`].
    pub(crate) fn take(
        &mut self,
        segment: &Segment,
        frame: &Frame<'_>,
        is_whole: bool,
        watermark: u64,
    ) -> Result<()> {
        let record = frame.header.record(frame.bytes);
        self.keys.extend_from_slice(record.kind);
        self.keys.extend_from_slice(record.id);
        self.waiting.push_back(Seen::of(frame));
        self.begun += 1;
        if is_whole {
            self.commits.push_back((frame.end(), std::mem::take(&mut self.begun)));
        }
        while let Some((end, frames)) = self.commits.pop_front() {
            if end > watermark {
                self.commits.push_front((end, frames));
                break;
            }
            for seen in self.waiting.drain(..frames) {
                let key = &self.keys[self.keys_at..][..seen.key_len()];
                self.builder.add_seen(segment, &seen, key)?;
                self.keys_at += key.len();
            }
            (self.settled, self.any) = (end, true);
        }
        if self.keys_at >= KEYS_LEN {
            self.keys.drain(..self.keys_at);
            self.keys_at = 0;
        }
        Ok(())
    }

    /// The offset behind what was summed up: from here on frames are to be read again.
    pub(crate) fn settled(&self) -> u64 {
        self.settled
    }

    /// What was summed up, if anything was.
    pub(crate) fn take_builder(&mut self) -> Option<Builder> {
        std::mem::take(&mut self.any).then(|| std::mem::take(&mut self.builder))
    }
}
