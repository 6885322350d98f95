//! One segment: reading records by offset, from the buffers of what is not written yet and from
//! the file.

use std::collections::VecDeque;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use crate::disk::{File, Map};
use crate::error::{Error, Result};
use crate::format::location::{SegmentId, UNIT};
use crate::format::record::{Bad, Header, MAX_EXTENDED_HEADER_LEN};
use crate::sync::RwLock;

/// A segment file that records are read from. While it is active, [`Active`](super::active::Active)
/// alone moves its end.
pub(crate) struct Segment {
    pub(crate) id: SegmentId,
    pub(crate) salt: u64,
    /// The position of the file's first byte.
    pub(crate) base: u64,
    pub(crate) capacity: u64,
    /// The offset of the first frame.
    pub(crate) first: u64,
    /// For messages.
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<dyn File>,
    map: Option<Arc<dyn Map>>,
    readable: RwLock<Readable>,
}

/// What can be read: the file up to `written`, and behind it the pieces that it lacks.
#[derive(Default)]
struct Readable {
    written: u64,
    /// The file's first `written` bytes, which never change again; empty without a mapping.
    window: Bytes,
    /// Offset and bytes of each commit behind `written`, in order, without a gap.
    recent: VecDeque<(u64, Bytes)>,
}

/// Names the file, and not what it holds: values.
impl fmt::Debug for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Segment").field("id", &self.id).field("path", &self.path).finish()
    }
}

impl Segment {
    /// A segment whose first `written` bytes are final. With `mapped`, they are read through a
    /// mapping where the disk has one.
    pub(crate) fn new(
        header: crate::format::segment::SegmentHeader,
        first: u64,
        path: PathBuf,
        file: Arc<dyn File>,
        mapped: bool,
    ) -> Result<Segment> {
        let map = match mapped {
            true => file.map(header.capacity).map_err(|e| Error::io("map", &path, e))?,
            false => None,
        };
        Ok(Segment {
            id: header.id,
            salt: header.salt,
            base: header.base,
            capacity: header.capacity,
            first,
            path,
            file,
            map,
            readable: RwLock::default(),
        })
    }

    /// A byte's position in the log.
    #[inline]
    pub(crate) fn position(&self, offset: u64) -> u64 {
        self.base + offset
    }

    /// The file's first `written` bytes are final: they are read from it, no longer from pieces.
    pub(crate) fn set_written(&self, written: u64) {
        let window = self.map.clone().map(|map| map.prefix(written)).unwrap_or_default();
        let mut readable = self.readable.write();
        readable.written = written;
        let old = std::mem::replace(&mut readable.window, window);
        while readable.recent.front().is_some_and(|(offset, _)| *offset < written) {
            readable.recent.pop_front();
        }
        drop(readable);
        drop(old);
    }

    /// Whether records that the file has are read through a mapping: then reading one is no I/O
    /// that is asked for.
    pub(crate) fn is_mapped(&self) -> bool {
        self.map.is_some()
    }

    /// The file's final bytes. Empty without a mapping. Who shares it is counted apart from those
    /// who share another.
    pub(crate) fn window(&self) -> Bytes {
        let written = self.written();
        self.map.clone().map(|map| map.prefix(written)).unwrap_or_default()
    }

    /// How many bytes of the file are final.
    pub(crate) fn written(&self) -> u64 {
        self.readable.read().written
    }

    /// How many bytes can be read, those that the file lacks included.
    pub(crate) fn len(&self) -> u64 {
        let readable = self.readable.read();
        let last = readable.recent.back();
        last.map_or(readable.written, |(offset, bytes)| offset + bytes.len() as u64)
    }

    /// Adds the bytes that follow the last ones.
    pub(crate) fn push(&self, offset: u64, bytes: Bytes) {
        self.readable.write().recent.push_back((offset, bytes));
    }

    /// Takes back the bytes from `offset` on, which nobody has seen.
    pub(crate) fn withdraw(&self, offset: u64) {
        self.readable.write().recent.retain(|(at, _)| *at < offset);
    }

    /// The pieces at and behind `offset` that the file lacks.
    pub(crate) fn pieces(&self, offset: u64) -> Vec<(u64, Bytes)> {
        let readable = self.readable.read();
        let from = readable.recent.partition_point(|(at, _)| *at < offset);
        readable.recent.range(from..).cloned().collect()
    }

    /// Makes `out` the bytes from `written`, where the file ends, to `to`.
    pub(crate) fn gather(&self, written: u64, to: u64, out: &mut Vec<u8>) {
        let readable = self.readable.read();
        debug_assert_eq!(readable.written, written);
        out.clear();
        for (offset, piece) in readable.recent.iter().take_while(|(offset, _)| *offset < to) {
            let room = (to - offset) as usize;
            out.extend_from_slice(&piece[..piece.len().min(room)]);
        }
    }

    /// Where the last piece ends of which no byte lies at or behind `to`, in what the file lacks.
    pub(crate) fn whole_below(&self, to: u64) -> u64 {
        let readable = self.readable.read();
        let mut ends = readable.recent.iter().rev().map(|(at, piece)| at + piece.len() as u64);
        ends.find(|end| *end <= to).unwrap_or(readable.written)
    }

    /// Bytes that begin with the frame at `offset` and hold all of it, if it is one. The frame's
    /// length is believed here, and checked by whoever decodes it.
    ///
    /// # Errors
    /// `Io` if the file can't be read; `Corrupt` if nothing was ever written there.
    pub(crate) fn frame(&self, offset: u64) -> Result<Bytes> {
        match self.held(offset)? {
            Some((bytes, at)) => Ok(bytes.slice(at..)),
            None => self.pread_frame(offset, self.written()),
        }
    }

    /// What holds the frame at `offset`, if the file need not be read for it, and where it begins
    /// in that.
    ///
    /// # Errors
    /// `Corrupt` if nothing was ever written there.
    pub(super) fn held(&self, offset: u64) -> Result<Option<(Bytes, usize)>> {
        let readable = self.readable.read();
        if offset < readable.written {
            let window = self.map.as_ref().map(|_| readable.window.clone());
            return Ok(window.map(|window| (window, offset as usize)));
        }
        let piece = begun_at(&readable.recent, offset).checked_sub(1);
        let piece = piece.and_then(|at| readable.recent.get(at));
        match piece {
            Some((at, bytes)) if offset - at < bytes.len() as u64 => {
                Ok(Some((bytes.clone(), (offset - at) as usize)))
            }
            _ => Err(Error::corrupt(&self.path, offset, "a location points behind the log's end")),
        }
    }

    fn pread_frame(&self, offset: u64, written: u64) -> Result<Bytes> {
        let left = (written - offset) as usize;
        let mut bytes = vec![0; left.min(MAX_EXTENDED_HEADER_LEN)];
        if self.read_at(&mut bytes, offset).is_err() {
            bytes = self.pread_header(offset, bytes.len())?;
        }
        if let Ok(header) = Header::decode(&bytes, self.position(offset)) {
            let (have, want) = (bytes.len(), left.min(header.frame_len() as usize));
            if want > have {
                bytes.resize(want, 0);
                self.read_at(&mut bytes[have..], offset + have as u64)?;
            }
            bytes.truncate(want);
        }
        Ok(bytes.into())
    }

    /// What can't be read may lie behind the record: the header at `offset`, and no more.
    #[cold]
    fn pread_header(&self, offset: u64, max_len: usize) -> Result<Vec<u8>> {
        let mut len = 0;
        loop {
            len = max_len.min(len + UNIT as usize);
            let mut bytes = vec![0; len];
            self.read_at(&mut bytes, offset)?;
            let header = Header::decode(&bytes, self.position(offset));
            if len == max_len || !matches!(header, Err(Bad::Short)) {
                return Ok(bytes);
            }
        }
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        self.file.read_exact_at(buf, offset).map_err(|e| Error::io("read", &self.path, e))
    }
}

/// How many of the pieces begin at or before `offset`. They are much alike in length, so it is
/// looked for where it would be if they were of one length, and around there: nearly always two
/// looks, where halving takes one for each bit of their number.
fn begun_at(pieces: &VecDeque<(u64, Bytes)>, offset: u64) -> usize {
    let (Some((first, _)), Some((last, _))) = (pieces.front(), pieces.back()) else { return 0 };
    if offset < *first || offset >= *last {
        return if offset < *first { 0 } else { pieces.len() };
    }
    // The piece at `low` begins at or before `offset`, the one at `high` behind it.
    let (mut low, mut high, mut step) = (0, pieces.len() - 1, 1);
    let mut at = ((offset - first) * high as u64 / (last - first)) as usize;
    while high - low > 1 {
        at = if low < at && at < high { at } else { low.midpoint(high) };
        match pieces[at].0 <= offset {
            true => (low, at) = (at, at + step),
            false => (high, at) = (at, at.saturating_sub(step)),
        }
        step *= 2;
    }
    high
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_is_found_where_it_begins_whatever_their_lengths() {
        let lengths: [&dyn Fn(u64) -> u64; 4] = [
            &|_| 270,
            &|at| 1 + at * at % 977,
            &|at| if at % 97 == 50 { 1 << 30 } else { 3 },
            &|at| 1 << (at % 40),
        ];
        for (of, len) in lengths.into_iter().flat_map(|len| [0, 1, 2, 3, 700].map(|of| (of, len))) {
            let mut end = 5000;
            let mut pieces = VecDeque::new();
            for at in 0..of {
                pieces.push_back((end, Bytes::new()));
                end += len(at);
            }
            let around = pieces.iter().flat_map(|(at, _)| [at - 1, *at, at + 1]);
            for offset in around.chain([0, 4999, 5000, end, u64::MAX]) {
                let halving = pieces.partition_point(|(at, _)| *at <= offset);
                assert_eq!(begun_at(&pieces, offset), halving, "{offset} of {of}");
            }
        }
    }
}
