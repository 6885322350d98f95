//! Reading a file's frames one after the other, by `pread`, with every checksum checked.

use std::io;

use crate::disk::File;
use crate::format::location::UNIT;
use crate::format::record::{self, Bad, Header, MAX_EXTENDED_HEADER_LEN};

/// What is read at once stays in the cache until it is looked at.
const CHUNK_LEN: usize = 256 << 10;

/// A cursor over the frames between two offsets of a file.
pub(crate) struct Scan<'a> {
    file: &'a dyn File,
    salt: u64,
    base: u64,
    offset: u64,
    end: u64,
    /// The file's bytes from `chunk_at` on.
    chunk: Vec<u8>,
    chunk_at: u64,
}

/// A frame whose checksums are right.
pub(crate) struct Frame<'a> {
    /// Where it begins in the file.
    pub(crate) offset: u64,
    pub(crate) header: Header,
    /// All of it, with padding.
    pub(crate) bytes: &'a [u8],
}

impl Frame<'_> {
    /// Where the next one begins.
    pub(crate) fn end(&self) -> u64 {
        self.offset + self.header.frame_len()
    }

    /// The frame's two checksums.
    #[inline]
    pub(crate) fn checksums(&self) -> &[u8; 8] {
        self.bytes.first_chunk().expect("a frame is longer")
    }
}

impl<'a> Scan<'a> {
    /// A cursor at `offset`. `end` is not behind the file's end.
    pub(crate) fn new(file: &'a dyn File, salt: u64, base: u64, offset: u64, end: u64) -> Scan<'a> {
        Scan { file, salt, base, offset, end, chunk: Vec::new(), chunk_at: 0 }
    }

    /// The offset of the next frame.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// The next frame; `None` at the end. After `Bad` the cursor stays where it is.
    #[inline(always)]
    pub(crate) fn next(&mut self) -> io::Result<Option<Result<Frame<'_>, Bad>>> {
        if self.offset >= self.end {
            return Ok(None);
        }
        let offset = self.offset;
        Ok(Some(match self.decode(offset)? {
            Ok(header) => {
                self.offset += header.frame_len();
                let at = (offset - self.chunk_at) as usize;
                let bytes = &self.chunk[at..at + header.frame_len() as usize];
                Ok(Frame { offset, header, bytes })
            }
            Err(bad) => Err(bad),
        }))
    }

    /// The header at the cursor, if its own checksum is right; its record may be damaged.
    pub(crate) fn peek(&mut self) -> io::Result<Result<Header, Bad>> {
        if self.offset >= self.end {
            return Ok(Err(Bad::Short));
        }
        self.header(self.offset)
    }

    /// Moves to the next offset at which a whole frame stands, on 64 bits of evidence: both its
    /// checksums, over its place. False if none begins below `before`.
    pub(crate) fn search(&mut self, before: u64) -> io::Result<bool> {
        self.offset += UNIT;
        while self.offset < self.end.min(before) {
            if self.decode(self.offset)?.is_ok() {
                return Ok(true);
            }
            self.offset += UNIT;
        }
        Ok(false)
    }

    /// Moves behind a frame whose header is sound, whatever its record is.
    pub(crate) fn skip(&mut self, header: &Header) {
        self.offset += header.frame_len();
    }

    /// How many bytes there are from the cursor to the last one that is not zero.
    pub(crate) fn rest(&mut self) -> io::Result<u64> {
        let (from, mut at, mut last) = (self.offset, self.offset, self.offset);
        while at < self.end {
            let len = (self.end - at).min(CHUNK_LEN as u64);
            self.fill(at, len as usize)?;
            let start = (at - self.chunk_at) as usize;
            let bytes = &self.chunk[start..start + len as usize];
            if let Some(i) = bytes.iter().rposition(|b| *b != 0) {
                last = at + i as u64 + 1;
            }
            at += len;
        }
        Ok(last - from)
    }

    /// Decodes and checks the frame at `offset`. The header's checksum is checked before its
    /// lengths are used to read on.
    #[inline(always)]
    fn decode(&mut self, offset: u64) -> io::Result<Result<Header, Bad>> {
        let header = match self.header(offset)? {
            Ok(header) if header.frame_len() > self.end - offset => return Ok(Err(Bad::Short)),
            Ok(header) => header,
            Err(bad) => return Ok(Err(bad)),
        };
        self.fill(offset, header.frame_len() as usize)?;
        let bytes = &self.chunk[(offset - self.chunk_at) as usize..];
        Ok(header.check_body(bytes).map(|()| header))
    }

    #[inline(always)]
    fn header(&mut self, offset: u64) -> io::Result<Result<Header, Bad>> {
        let left = self.end - offset;
        self.fill(offset, left.min(MAX_EXTENDED_HEADER_LEN as u64) as usize)?;
        let position = self.base + offset;
        let bytes = &self.chunk[(offset - self.chunk_at) as usize..];
        let checked = Header::decode(bytes, position)
            .and_then(|header| header.check(bytes, self.salt, position).map(|()| header));
        Ok(checked)
    }

    /// Sees to it that the chunk holds `len` bytes at `offset`, which the file has.
    #[inline]
    fn fill(&mut self, offset: u64, len: usize) -> io::Result<()> {
        let have = self.chunk_at..self.chunk_at + self.chunk.len() as u64;
        if have.start <= offset && offset + len as u64 <= have.end {
            return Ok(());
        }
        self.read(offset, len)
    }

    #[cold]
    fn read(&mut self, offset: u64, len: usize) -> io::Result<()> {
        let want = ((self.end - offset) as usize).min(len.max(CHUNK_LEN));
        self.chunk.resize(want, 0);
        self.chunk_at = offset;
        let read = self.file.read_exact_at(&mut self.chunk, offset);
        if read.is_err() {
            self.chunk.clear();
        }
        read
    }
}

/// The frames that `bytes` begin with, without a gap, at `position` and behind it: how many bytes
/// they take.
pub(crate) fn frames_len(bytes: &[u8], salt: u64, position: u64) -> usize {
    let mut at = 0;
    while let Ok(header) = record::decode(&bytes[at..], salt, position + at as u64) {
        let end = at + header.frame_len() as usize;
        if end > bytes.len() {
            break;
        }
        at = end;
    }
    at
}
