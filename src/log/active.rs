//! The segment that is written: frames are encoded into buffers that readers share, and reach the
//! file in large writes behind.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::BytesMut;

use crate::error::{Error, Result};
use crate::format::record::{self, FramePlace, FrameType, Header, MAX_HEADER_LEN, Record};
use crate::log::room::Room;
use crate::log::segment::Segment;
use crate::log::tail::{MAX_UNWRITTEN_LEN, Tail};
use crate::zoo::{Bug, planted};

/// Commits share buffers of this size; a larger one has its own.
const BLOCK_LEN: usize = 64 << 10;
/// So many are kept to be used again: as many as there are pieces of before they are written.
const MAX_SPARES: usize = 3;
/// Pieces from this size on are written from where they are, not gathered first.
const GATHER_LEN: usize = 64 << 10;
/// Room that is kept behind every commit for a watermark frame and the end frame.
pub(crate) const TRAILER_LEN: u64 = 128;

/// The end of the log. One at a time, under the order lock.
///
/// `written <= tailed <= end`: the file has the bytes below `written`, the kernel those below
/// `tailed` (the tail file has the difference), and readers all below `end`. The tail file may have
/// a commit just before readers do.
#[derive(Debug)]
pub(crate) struct Active {
    pub(crate) segment: Arc<Segment>,
    end: u64,
    written: u64,
    tailed: u64,
    room: Room,
    block: BytesMut,
    /// The blocks before, to be used again: their pages are there, and some are in the cache.
    spares: VecDeque<BytesMut>,
    gathered: Vec<u8>,
}

impl Active {
    /// Goes on behind a segment's first `end` bytes, which are final.
    pub(crate) fn new(segment: Arc<Segment>, end: u64) -> Active {
        segment.set_written(end);
        Active {
            segment,
            end,
            written: end,
            tailed: end,
            room: Room::upto(end),
            block: BytesMut::new(),
            spares: VecDeque::new(),
            gathered: Vec::new(),
        }
    }

    /// The position behind the last byte.
    pub(crate) fn position(&self) -> u64 {
        self.segment.position(self.end)
    }

    /// The offset behind the last byte.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// The position below which the file has every byte.
    pub(crate) fn written_position(&self) -> u64 {
        self.segment.position(self.written)
    }

    /// How many bytes the file lacks.
    pub(crate) fn unwritten(&self) -> u64 {
        self.end - self.written
    }

    /// Whether a commit of `len` bytes still fits.
    pub(crate) fn has_room(&self, len: u64) -> bool {
        self.end + len + TRAILER_LEN <= self.segment.capacity
    }

    /// Allocates the file's blocks for `len` more bytes and a step ahead, so that a full disk shows
    /// before anything is ordered.
    pub(crate) fn reserve(&mut self, len: u64) -> Result<()> {
        self.room.reserve(&self.segment, self.end, len)
    }

    /// Encodes one frame at the end of what [`seal`](Active::seal) will make one piece of.
    /// Returns its offset and length. [`begin`](Active::begin) has made room.
    pub(crate) fn encode(&mut self, place: &FramePlace, record: &Record<'_>) -> (u64, u64) {
        let from = self.block.len() as u64;
        let offset = self.end + from;
        let position = self.segment.position(offset);
        record::encode(&mut self.block, self.segment.salt, position, place, record);
        (offset, self.block.len() as u64 - from)
    }

    /// Makes room for a commit of at most `len` bytes in one buffer.
    pub(crate) fn begin(&mut self, len: u64) {
        debug_assert!(self.block.is_empty());
        if self.block.capacity() >= len as usize {
            return;
        }
        let len = (len as usize).max(BLOCK_LEN);
        // The oldest is free, unless someone still holds a piece of it.
        let full = match self.spares.front_mut().is_some_and(|spare| spare.try_reclaim(len)) {
            true => std::mem::replace(&mut self.block, self.spares.pop_front().unwrap_or_default()),
            false => std::mem::replace(&mut self.block, BytesMut::with_capacity(len)),
        };
        self.spares.push_back(full);
        if self.spares.len() > MAX_SPARES {
            self.spares.pop_front();
        }
    }

    /// Forgets what was encoded for a commit that then failed.
    pub(crate) fn forget(&mut self) {
        self.block.clear();
    }

    /// Ends the commit: readers may see its frames, and the log's end moves behind them. Returns
    /// how many bytes it has.
    pub(crate) fn seal(&mut self) -> u64 {
        let piece = self.block.split().freeze();
        let len = piece.len() as u64;
        if piece.len() > BLOCK_LEN {
            // A large commit's buffer goes with its last reader.
            self.block = BytesMut::new();
        }
        self.segment.push(self.end, piece);
        self.end += len;
        len
    }

    /// Appends a frame that carries no key.
    pub(crate) fn append_bare(&mut self, frame_type: FrameType, revision: u64, watermark: u64) {
        let place = FramePlace { watermark: Some(watermark), left: 0, start: true, sync: false };
        let record = Record::bare(frame_type, revision);
        self.begin(record.max_frame_len());
        self.encode(&place, &record);
        self.seal();
    }

    /// Appends a frame that was read elsewhere, as it is but for its place. Returns its offset and
    /// length.
    pub(crate) fn copy(&mut self, place: &FramePlace, header: &Header, bytes: &[u8]) -> (u64, u64) {
        self.begin(header.frame_len() + MAX_HEADER_LEN as u64);
        let position = self.position();
        record::encode_copy(&mut self.block, self.segment.salt, position, place, header, bytes);
        let offset = self.end;
        self.seal();
        (offset, self.end - offset)
    }

    /// Copies what the kernel lacks into the tail file, the frames that [`seal`](Active::seal) is
    /// about to make a piece of included, if it takes so much.
    pub(crate) fn copy_to_tail(&mut self, tail: &mut Tail) {
        let end = self.end + self.block.len() as u64;
        if end - self.written > MAX_UNWRITTEN_LEN && !planted(Bug::OverwriteRing) {
            return;
        }
        if self.tailed < self.end {
            for (offset, piece) in self.segment.pieces(self.tailed) {
                tail.store(self.segment.position(offset), &piece);
            }
        }
        tail.store(self.position(), &self.block);
        self.tailed = end;
    }

    /// Whether the kernel has all there is.
    pub(crate) fn is_handed_over(&self) -> bool {
        self.tailed == self.end
    }

    /// Writes what the file lacks. After an error the same bytes can be written again at the same
    /// place.
    pub(crate) fn flush(&mut self) -> Result<()> {
        if self.written == self.end {
            return Ok(());
        }
        let segment = self.segment.clone();
        let mut at = self.written;
        self.gathered.clear();
        let write = |bytes: &[u8], at: u64| {
            if planted(Bug::WrittenTooSoon) {
                segment.set_written(at + bytes.len() as u64);
            }
            let done = segment.file.write_all_at(bytes, at);
            done.or_else(|e| if planted(Bug::IgnoreFailedWrite) { Ok(()) } else { Err(e) })
        };
        for (offset, piece) in segment.pieces(self.written) {
            debug_assert_eq!(offset, at + self.gathered.len() as u64);
            if piece.len() < GATHER_LEN {
                self.gathered.extend_from_slice(&piece);
                continue;
            }
            if !self.gathered.is_empty() {
                write(&self.gathered, at).map_err(|e| self.failed(e))?;
            }
            write(&piece, offset).map_err(|e| self.failed(e))?;
            at = offset + piece.len() as u64;
            self.gathered.clear();
        }
        if !self.gathered.is_empty() {
            write(&self.gathered, at).map_err(|e| self.failed(e))?;
        }
        self.written = self.end;
        self.tailed = self.end;
        self.segment.set_written(self.end);
        Ok(())
    }

    /// Writes what the file lacks below the last multiple of `unit`, in one piece.
    ///
    /// The kernel keeps a file in large pages where whole ones are written at once, and then maps
    /// them as such: a read at random has to look up an address less. The frame that lies across
    /// the end of the unit is not counted as written, and its first bytes are written once more
    /// with the rest of it; nobody reads them meanwhile.
    ///
    /// What the tail file has is written from there, where it lies in one piece or two. A commit
    /// that spans a unit is written to its end, with all before it: else it would be written once
    /// more with each commit behind it, until one ends a unit.
    pub(crate) fn flush_units(&mut self, unit: u64, tail: Option<&Tail>) -> Result<()> {
        let to = self.end / unit * unit;
        if to <= self.written.next_multiple_of(unit) {
            return Ok(());
        }
        let whole = self.segment.whole_below(to);
        if whole + unit <= to {
            return self.flush();
        }
        let (file, position) = (&*self.segment.file, self.segment.position(self.written));
        let in_tail = self.tailed >= to || planted(Bug::UnitsFromTailAlone);
        let done = match tail.filter(|_| in_tail) {
            Some(tail) => tail.write_to(file, position, (to - self.written) as usize, self.written),
            None => {
                self.segment.gather(self.written, to, &mut self.gathered);
                file.write_all_at(&self.gathered, self.written)
            }
        };
        done.map_err(|e| self.failed(e))?;
        self.written = whole;
        self.tailed = self.tailed.max(whole);
        self.segment.set_written(whole);
        Ok(())
    }

    /// Takes back everything from `offset` on: commits that failed before anyone saw them.
    pub(crate) fn withdraw(&mut self, offset: u64) {
        debug_assert!(offset >= self.written);
        self.segment.withdraw(offset);
        self.end = self.end.min(offset);
        self.tailed = self.tailed.min(self.end);
    }

    /// Gives the room ahead of the end back to the file system.
    pub(crate) fn trim(&mut self) -> Result<()> {
        self.room.trim(&self.segment, self.end)
    }

    fn failed(&self, source: std::io::Error) -> Error {
        Error::io("write", &self.segment.path, source)
    }
}
