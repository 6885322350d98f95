//! Where the log ends: torn, or rotten.
//!
//! Segments that the manifest calls sealed are durable to their last byte. What follows is a chain
//! of unsealed ones, which ends at the first frame that is missing, unsound, or part of a commit
//! that is not whole. Above the durable watermark that is a torn tail; below it, it is corruption.
//! The watermark is the highest one found, also behind the end, and in the manifest.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::format::record::{FrameType, Header};
use crate::log::gather::Gathered;
use crate::log::scan::Scan;
use crate::log::segment::Segment;
use crate::log::tail::TailCopy;
use crate::zoo::{Bug, planted};

/// What one unsealed segment holds.
#[derive(Debug)]
pub(crate) struct Survey {
    /// The offset behind its last whole commit.
    pub(crate) end: u64,
    /// It ends with an end frame: the log goes on in the next segment.
    pub(crate) ended: bool,
    /// Whether one of its whole commits asked for `Sync`.
    has_sync: bool,
    /// Why the commits end there, if it is not the end of what was written.
    reason: String,
    /// Where that was found: in the commit that is not whole.
    bad_at: u64,
    /// The highest watermark in it.
    watermark: u64,
    /// Bytes behind `end`, up to the last one that is not zero.
    pub(crate) rest: u64,
    /// Whether a commit that asked for `Sync` may be in `rest`.
    may_be_sync: bool,
    /// Sound frames in `rest`.
    sound: u64,
    /// The last commit's revision, as a watermark says that vouches for all before it; or 0.
    revision: u64,
    /// What its frames are, as far as they are known durable.
    pub(crate) gathered: Gathered,
}

/// The unsealed part of the log.
#[derive(Debug)]
pub(crate) struct Chain {
    /// One per unsealed segment, in order.
    pub(crate) surveys: Vec<Survey>,
    /// How many of them the log reaches: the last of these holds its end.
    pub(crate) reached: usize,
    /// Frames of the tail file that continue the last segment reached.
    pub(crate) tail: Vec<u8>,
    /// The position at which the log ends.
    pub(crate) end: u64,
    /// The log is known durable below this position.
    pub(crate) watermark: u64,
    /// A revision that was given to a durable commit, whose record may be gone since.
    pub(crate) revision: u64,
}

impl Chain {
    /// Finds the end of the log. The frames of the first segment below `from`, an offset, are
    /// known. Beside a living owner (`owned`) the end moves while it is looked for.
    ///
    /// # Errors
    /// `Corrupt` if it lies below the watermark.
    pub(crate) fn survey(
        segments: &[Arc<Segment>],
        mut from: Option<u64>,
        tail: Option<&TailCopy>,
        manifest_watermark: u64,
        owned: bool,
    ) -> Result<Chain> {
        let mut chain = Chain {
            surveys: Vec::new(),
            reached: 0,
            tail: Vec::new(),
            end: 0,
            watermark: manifest_watermark,
            revision: 0,
        };
        let mut open = true;
        for segment in segments {
            let from = from.take().unwrap_or(segment.first);
            let mut survey = survey(segment, from, chain.watermark, owned)?;
            chain.watermark = chain.watermark.max(survey.watermark);
            if open {
                chain.reached += 1;
                chain.end = segment.position(survey.end);
                chain.revision = chain.revision.max(survey.revision);
                open = survey.ended;
                if let (false, Some(tail)) = (survey.ended, tail) {
                    chain.tail = whole_commits(tail, segment, survey.end, &mut chain.watermark);
                    chain.end += chain.tail.len() as u64;
                }
            } else {
                survey.discard(segment.first);
            }
            chain.surveys.push(survey);
        }
        chain.check(segments)?;
        Ok(chain)
    }

    fn check(&self, segments: &[Arc<Segment>]) -> Result<()> {
        let rotten = self.end < self.watermark && !planted(Bug::NoWatermarkCheck);
        let (Some(last), true) = (self.reached.checked_sub(1), rotten) else {
            return Ok(());
        };
        let (segment, survey) = (&segments[last], &self.surveys[last]);
        let sound: u64 = self.surveys[last..].iter().map(|survey| survey.sound).sum();
        let reason = format!(
            "{}; the log was durable up to position {}, {} bytes further, with {sound} sound \
             frames out of reach",
            survey.reason,
            self.watermark,
            self.watermark - self.end,
        );
        Err(Error::corrupt(&segment.path, survey.bad_at, reason))
    }

    /// Whether anything at all lies behind the log's end.
    pub(crate) fn is_torn(&self) -> bool {
        self.torn_bytes() > 0
    }

    /// Bytes behind the log's end.
    pub(crate) fn torn_bytes(&self) -> u64 {
        let torn = |(i, survey): (usize, &Survey)| match i + 1 >= self.reached {
            true => self.torn_in(i, survey),
            false => 0,
        };
        self.surveys.iter().enumerate().map(torn).sum()
    }

    /// Bytes behind the log's end in one segment.
    pub(crate) fn torn_in(&self, i: usize, survey: &Survey) -> u64 {
        match i + 1 == self.reached {
            true => survey.rest.saturating_sub(self.tail.len() as u64),
            false => survey.rest,
        }
    }

    /// Whether a `Sync` commit that was acknowledged may lie behind the log's end.
    pub(crate) fn lost_acknowledged(&self) -> bool {
        let torn = self.surveys.iter().enumerate().skip(self.reached.saturating_sub(1));
        torn.into_iter().any(|(i, survey)| self.torn_in(i, survey) > 0 && survey.may_be_sync)
    }
}

impl Survey {
    /// The log ends in a segment before this one: none of its commits count.
    fn discard(&mut self, first: u64) {
        self.rest += self.end.saturating_sub(first);
        self.end = self.end.min(first);
        self.may_be_sync |= self.has_sync;
    }
}

/// Reads one segment from an offset to its end, and looks for sound frames behind it. The log is
/// known durable below `watermark`, a position.
fn survey(segment: &Segment, from: u64, watermark: u64, owned: bool) -> Result<Survey> {
    let failed = |e| Error::io("read", &segment.path, e);
    let len = segment.file.len().map_err(failed)?.min(segment.capacity);
    let mut scan = Scan::new(&*segment.file, segment.salt, segment.base, from, len);
    let mut survey = Survey {
        end: from.min(len),
        ended: false,
        has_sync: false,
        reason: "the log breaks off".to_owned(),
        bad_at: from.min(len),
        watermark: 0,
        rest: 0,
        may_be_sync: false,
        sound: 0,
        revision: 0,
        gathered: Gathered::new(from.min(len)),
    };
    let mut commit = Commit::default();
    while !survey.ended {
        match scan.next().map_err(failed)? {
            None => break,
            Some(Ok(frame)) if commit.takes(&frame.header) => {
                let header = &frame.header;
                survey.watermark = survey.watermark.max(header.place.watermark.unwrap_or(0));
                survey.has_sync |= header.place.sync;
                let here = Some(segment.position(frame.offset));
                if header.frame_type == FrameType::Watermark && header.place.watermark == here {
                    survey.revision = survey.revision.max(header.revision);
                }
                let durable = survey.watermark.max(watermark).saturating_sub(segment.base);
                survey.gathered.take(segment, &frame, commit.is_whole(), durable)?;
                if commit.is_whole() {
                    survey.end = frame.end();
                    survey.ended = header.frame_type == FrameType::End;
                }
            }
            Some(Ok(_)) => {
                survey.reason = "a commit's frames do not follow each other".to_owned();
                break;
            }
            Some(Err(bad)) => {
                survey.reason = bad.to_string();
                break;
            }
        }
    }
    survey.bad_at = scan.offset();
    let mut rest = Scan::new(&*segment.file, segment.salt, segment.base, survey.end.min(len), len);
    survey.rest = rest.rest().map_err(failed)?;
    if survey.rest > 0 && !survey.ended {
        let before = survey.watermark;
        look_behind(segment, &mut survey).map_err(failed)?;
        // What stands there now, and did not when the end was found, the owner has written since:
        // no damage, and none of this reader's business.
        let mut again = Scan::new(&*segment.file, segment.salt, segment.base, survey.end, len);
        if owned && begins_with_commit(&mut again).map_err(failed)? {
            survey.watermark = before;
        }
    }
    Ok(survey)
}

/// Whether a whole commit stands at the cursor.
fn begins_with_commit(scan: &mut Scan<'_>) -> std::io::Result<bool> {
    let mut commit = Commit::default();
    while let Some(Ok(frame)) = scan.next()? {
        if !commit.takes(&frame.header) {
            break;
        }
        if commit.is_whole() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Looks at what lies behind a segment's end: which watermarks it has, and whether a `Sync` commit
/// may be among it.
fn look_behind(segment: &Segment, survey: &mut Survey) -> std::io::Result<()> {
    let end = survey.end + survey.rest;
    // Frames end in zeros, a watermark's last eight bytes are nothing else: one that begins before
    // `end` may end behind it. Overlooking it would call damage below its watermark a torn tail,
    // and drop what was durable.
    let len = segment.file.len()?.min(segment.capacity);
    let mut scan = Scan::new(&*segment.file, segment.salt, segment.base, survey.end, len);
    while scan.offset() < end {
        match scan.next()? {
            None => break,
            Some(Ok(frame)) => {
                survey.sound += 1;
                survey.may_be_sync |= frame.header.place.sync;
                let seen =
                    frame.header.place.watermark.filter(|_| !planted(Bug::NoWatermarkBehind));
                survey.watermark = survey.watermark.max(seen.unwrap_or(0));
                continue;
            }
            Some(Err(_)) => {}
        }
        // A frame whose header is sound says itself whether its commit asked for `Sync`. Bytes
        // without one might have been anything.
        match scan.peek()? {
            Ok(header) => {
                survey.may_be_sync |= header.place.sync;
                scan.skip(&header);
            }
            Err(_) => {
                survey.may_be_sync = true;
                if !scan.search(end)? {
                    break;
                }
            }
        }
    }
    Ok(())
}

/// What of the tail file continues a segment, in whole commits.
fn whole_commits(tail: &TailCopy, segment: &Segment, end: u64, watermark: &mut u64) -> Vec<u8> {
    let mut bytes = tail.following(segment.salt, segment.position(end));
    let (mut at, mut whole, mut commit) = (0, 0, Commit::default());
    while let Ok(header) = Header::decode(&bytes[at..], segment.position(end + at as u64)) {
        if header.frame_len() > (bytes.len() - at) as u64 || !commit.takes(&header) {
            break;
        }
        *watermark = (*watermark).max(header.place.watermark.unwrap_or(0));
        at += header.frame_len() as usize;
        if commit.is_whole() {
            whole = at;
        }
    }
    bytes.truncate(whole);
    bytes
}

/// Follows the frames of commits: each says how many bytes of its commit come after it.
#[derive(Debug, Default)]
pub(crate) struct Commit {
    left: u64,
}

impl Commit {
    /// Whether the frame is the next one of its commit, or the first of one.
    pub(crate) fn takes(&mut self, header: &Header) -> bool {
        let expected = match header.place.start {
            true => self.left == 0,
            false => self.left > 0 && self.left == header.frame_len() + header.place.left,
        };
        if expected {
            self.left = header.place.left;
        }
        expected
    }

    /// Goes on in the middle of a commit whose beginning is lost.
    pub(crate) fn resume(header: &Header) -> Commit {
        Commit { left: header.place.left }
    }

    /// Whether the last frame ended its commit.
    pub(crate) fn is_whole(&self) -> bool {
        self.left == 0 || planted(Bug::HalfBatch)
    }
}
