//! A segment that is written beside the log: nobody reads it before it is whole.

use std::sync::Arc;

use bytes::BytesMut;

use super::active::TRAILER_LEN;
use super::contents::Builder;
use super::room::Room;
use super::scan::Frame;
use super::segment::Segment;
use crate::error::{Error, Result};
use crate::format::contents::Contents;
use crate::format::manifest::Sealed;
use crate::format::record::{self, FramePlace, Header};

/// The file is written in pieces that end at multiples of this. What is written in whole large
/// pages the kernel keeps and maps as such: a read at random has to look up an address less.
const PIECE_LEN: u64 = 2 << 20;

/// Each frame is a commit of its own, and says nothing about the log.
const PLACE: FramePlace = FramePlace { watermark: None, left: 0, start: true, sync: false };

/// Takes records that were read elsewhere, and sums them up on the way.
#[derive(Debug)]
pub(crate) struct Aside {
    pub(crate) segment: Arc<Segment>,
    room: Room,
    written: u64,
    /// What the file lacks.
    buffer: BytesMut,
    builder: Builder,
}

impl Aside {
    /// Begins behind the header of a segment that has nothing else.
    pub(crate) fn new(segment: Arc<Segment>) -> Aside {
        let (room, written) = (Room::upto(segment.first), segment.first);
        Aside { segment, room, written, buffer: BytesMut::new(), builder: Builder::default() }
    }

    /// How many bytes of the file are written.
    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    /// The offset behind the last byte.
    fn end(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    /// Whether a record still fits whose frame elsewhere has `len` bytes. Here it has no more: no
    /// place takes less to tell of.
    pub(crate) fn has_room(&self, len: u64) -> bool {
        self.end() + len + TRAILER_LEN <= self.segment.capacity
    }

    /// Appends a record as it is, with the checksum that it has, and returns its frame's length.
    /// `bytes` are the frame that it was read from.
    pub(crate) fn copy(&mut self, header: &Header, bytes: &[u8]) -> Result<u64> {
        let offset = self.end();
        self.room.reserve(&self.segment, offset, header.frame_len())?;
        let (from, position) = (self.buffer.len(), self.segment.position(offset));
        record::encode_copy(&mut self.buffer, self.segment.salt, position, &PLACE, header, bytes);
        let frame = &self.buffer[from..];
        // Once more, as it is written: where it was read from it will be gone.
        let header = record::decode(frame, self.segment.salt, position)
            .map_err(|bad| Error::corrupt(&self.segment.path, offset, bad.to_string()))?;
        let len = header.frame_len();
        self.builder.add(&self.segment, &Frame { offset, header, bytes: frame })?;
        let whole = self.end() / PIECE_LEN * PIECE_LEN;
        if whole > self.written {
            self.write((whole - self.written) as usize)?;
        }
        Ok(len)
    }

    /// Writes what the file lacks, gives room back that is not needed, and says what there is.
    pub(crate) fn finish(mut self) -> Result<(Contents, Sealed)> {
        self.write(self.buffer.len())?;
        self.room.trim(&self.segment, self.written)?;
        self.segment.set_written(self.written);
        Ok(self.builder.finish(self.written))
    }

    /// Writes the first `len` bytes of what the file lacks.
    fn write(&mut self, len: usize) -> Result<()> {
        let file = &self.segment.file;
        file.write_all_at(&self.buffer[..len], self.written)
            .map_err(|e| Error::io("write", &self.segment.path, e))?;
        self.written += len as u64;
        let rest = self.buffer.len() - len;
        self.buffer.copy_within(len.., 0);
        self.buffer.truncate(rest);
        Ok(())
    }
}
