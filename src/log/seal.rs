//! What the manifest keeps of a segment that is never written again.

use std::collections::BTreeMap;

use crate::error::{Error, Result};
use crate::format::manifest::{KindRange, Sealed};
use crate::format::record::FrameType;
use crate::log::scan::{Frame, Scan};
use crate::log::segment::Segment;

/// Reads a segment's frames below `length` and sums them up.
///
/// # Errors
/// `Corrupt` if they are not all sound, so that damage is found while the segment's commits are
/// still in memory elsewhere, and never sealed in.
pub(crate) fn summarize(segment: &Segment, length: u64) -> Result<Sealed> {
    let mut summary = Summary::default();
    let mut scan = Scan::new(&*segment.file, segment.salt, segment.base, segment.first, length);
    while let Some(frame) = scan.next().map_err(|e| Error::io("read", &segment.path, e))? {
        match frame {
            Ok(frame) => summary.add(&frame),
            Err(bad) => {
                return Err(Error::corrupt(&segment.path, scan.offset(), bad.to_string()));
            }
        }
    }
    Ok(summary.finish(length))
}

/// Sums up frames one by one.
#[derive(Default)]
pub(crate) struct Summary {
    digest: crc32fast::Hasher,
    sealed: Sealed,
    kinds: BTreeMap<String, (String, String)>,
}

impl Summary {
    /// Adds the next frame.
    pub(crate) fn add(&mut self, frame: &Frame<'_>) {
        self.digest.update(frame.checksums());
        let record = frame.header.record(frame.bytes);
        self.sealed.records += u64::from(record.frame_type.is_record());
        if record.frame_type != FrameType::Put {
            return;
        }
        let (first, last) =
            (&mut self.sealed.first_put_revision, &mut self.sealed.last_put_revision);
        *first = if *first == 0 { record.revision } else { record.revision.min(*first) };
        *last = record.revision.max(*last);
        let text = |bytes| String::from_utf8_lossy(bytes);
        let (kind, id) = (text(record.kind), text(record.id));
        match self.kinds.get_mut(&*kind) {
            Some((first, _)) if *id < **first => *first = id.into_owned(),
            Some((_, last)) if *id > **last => *last = id.into_owned(),
            Some(_) => {}
            None => {
                let id = id.into_owned();
                self.kinds.insert(kind.into_owned(), (id.clone(), id));
            }
        }
    }

    /// What the manifest keeps.
    pub(crate) fn finish(self, length: u64) -> Sealed {
        let kinds = self.kinds.into_iter();
        let range = |(kind, (first_id, last_id))| KindRange { kind, first_id, last_id };
        Sealed {
            length,
            digest: self.digest.finalize(),
            kinds: kinds.map(range).collect(),
            ..self.sealed
        }
    }
}
