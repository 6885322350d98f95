//! Hints: a segment's contents beside it, so that opening the store reads no values.
//!
//! A hint is advisory. It is written without a sync, at any time, by the owner, and believed only
//! if all of it is sound and it is of this segment, as far as it is asked for. Otherwise the
//! segment itself is read. So nothing that befalls a hint is an error.

use std::io;

use super::segment::Segment;
use super::segments::Segments;
use crate::format::contents::{Contents, Totals};
use crate::format::file::{HeaderError, MAX_HEADER_LEN};
use crate::format::hint::HintHeader;
use crate::format::names;
use crate::zoo::{Bug, planted};

/// What became of a hint that was asked for.
#[derive(Debug)]
pub(crate) enum Hint {
    /// What it says, and how many bytes it has.
    Good(Contents, u64),
    /// There is none.
    Missing,
    /// There is one, and it is not to be believed.
    Bad(String),
}

/// What of a hint is checked beyond its checksum when it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Check {
    All,
    /// All but entries, which the merge checks that goes through them.
    NoEntries,
}

impl Segments {
    /// Writes a segment's hint, in place of an older one.
    pub(crate) fn write_hint(&self, segment: &Segment, contents: &Contents) -> io::Result<()> {
        let header = HintHeader::new(self.store_id(), segment.salt, segment.id, contents);
        let name = names::hint(segment.id);
        self.remove_hint(segment)?;
        let header = header.encode();
        let file = self.disk().create(&name)?;
        let written = file
            .write_all_at(&header, 0)
            .and_then(|()| file.write_all_at(contents.payload(), header.len() as u64));
        if written.is_err() {
            // It would be passed over anyway; but its room may be what the disk is short of.
            let _ = self.disk().remove(&name);
        }
        written
    }

    /// Removes a segment's hint, if it has one.
    pub(crate) fn remove_hint(&self, segment: &Segment) -> io::Result<()> {
        match self.disk().remove(&names::hint(segment.id)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    }

    /// Reads a segment's hint. `wanted` says whether it tells of the right part of it.
    pub(crate) fn read_hint(
        &self,
        segment: &Segment,
        check: Check,
        wanted: impl FnOnce(&Totals) -> bool,
    ) -> Hint {
        match self.try_read_hint(segment, check, wanted) {
            Ok(hint) => hint,
            Err(e) if e.kind() == io::ErrorKind::NotFound => Hint::Missing,
            Err(e) => Hint::Bad(e.to_string()),
        }
    }

    fn try_read_hint(
        &self,
        segment: &Segment,
        check: Check,
        wanted: impl FnOnce(&Totals) -> bool,
    ) -> io::Result<Hint> {
        let bad = |reason: &str| Ok(Hint::Bad(reason.to_owned()));
        let file = self.disk().open_read_only(&names::hint(segment.id))?;
        let len = file.len()?;
        let mut bytes = vec![0; len.min(MAX_HEADER_LEN as u64) as usize];
        file.read_exact_at(&mut bytes, 0)?;
        let (header, payload_at) = match HintHeader::decode(&bytes) {
            Ok(decoded) => decoded,
            Err(HeaderError::Unknown(found)) => return Ok(Hint::Bad(found)),
            Err(HeaderError::Damaged(reason)) => return bad(reason),
        };
        let of = (header.store_id, header.salt, header.id);
        if of != (self.store_id(), segment.salt, segment.id) {
            return bad("it is of another segment");
        }
        if !wanted(&header.totals) && !planted(Bug::StaleHint) {
            return bad("it is of another part of the segment");
        }
        // An entry is shorter than its frame, and what comes on top for each kind is shorter than
        // two: a longer payload is none, and is not read.
        let most = header.totals.length.saturating_mul(2).min(len - payload_at as u64);
        if header.payload_len > most || len != payload_at as u64 + header.payload_len {
            return bad("its length does not match");
        }
        let mut payload = vec![0; header.payload_len as usize];
        file.read_exact_at(&mut payload, payload_at as u64)?;
        if crc32fast::hash(&payload) != header.payload_crc && !planted(Bug::HintUnchecked) {
            return bad("its checksum does not match");
        }
        let contents = match check {
            Check::All => Contents::decode(header.totals, payload),
            Check::NoEntries => Contents::skim(header.totals, payload),
        };
        match contents {
            Ok(contents) => Ok(Hint::Good(contents, len)),
            Err(_) => bad("its entries are malformed"),
        }
    }
}
