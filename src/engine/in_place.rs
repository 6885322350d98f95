//! What a dead process wrote, made durable where it lies: for a disk without room for a copy.
//!
//! Opening after an unclean stop writes once more what no sync is known to cover, since the kernel
//! may hold pages of it that will never reach the disk. A new segment is the better place: the old
//! one's blocks may be what failed. But that takes as much room as there is of it, up to 64 MiB and
//! more. Where there is less, the same bytes are written to where they are. That takes no room, and
//! as every byte stays what it is, a crash in between changes nothing. What the tail file has goes
//! to where its process would have written it, whose room was allocated before the commit.
//!
//! Then the manifest says that all of it is durable, and the store is read anew, with nothing left
//! to copy.

use super::recover::Recovery;
use super::rewrite;
use crate::error::{Error, Result};
use crate::log::scan::Scan;
use crate::log::segment::Segment;

/// How much is written at once.
const WRITE_LEN: usize = 1 << 20;

/// Makes the whole of the log durable where it is.
///
/// # Errors
/// `Io` if it can't be: then the store is as it was.
pub(super) fn finish_writes(recovery: &Recovery) -> Result<()> {
    let Recovery { state, open, chain, .. } = recovery;
    for (i, (segment, survey)) in open.iter().zip(&chain.surveys).take(chain.reached).enumerate() {
        let durable = chain.watermark.saturating_sub(segment.base).max(segment.first);
        write_again(segment, durable, survey.end)?;
        let mut end = survey.end;
        if i + 1 == chain.reached {
            write(segment, &chain.tail, end)?;
            end += chain.tail.len() as u64;
        }
        // The room ahead that was never used: others need it now.
        let _ = segment.file.set_len(end.max(survey.end + survey.rest));
        segment.file.sync().map_err(|e| Error::io("sync", &segment.path, e))?;
    }
    rewrite::with_room(state, || {
        state.manifest.update(|manifest| {
            manifest.watermark = manifest.watermark.max(chain.end);
            manifest.clean = false;
        })
    })
}

/// Writes the frames between two offsets to where they are. Each is checked once more: what is
/// written is what was found sound.
fn write_again(segment: &Segment, from: u64, to: u64) -> Result<()> {
    let mut scan = Scan::new(&*segment.file, segment.salt, segment.base, from, to);
    let (mut at, mut bytes) = (from, Vec::new());
    while let Some(frame) = scan.next().map_err(|e| Error::io("read", &segment.path, e))? {
        let frame = frame.map_err(|bad| {
            Error::corrupt(&segment.path, at, format!("changed while read: {bad}"))
        })?;
        bytes.extend_from_slice(frame.bytes);
        if bytes.len() >= WRITE_LEN {
            write(segment, &bytes, at)?;
            at += bytes.len() as u64;
            bytes.clear();
        }
    }
    write(segment, &bytes, at)
}

fn write(segment: &Segment, bytes: &[u8], offset: u64) -> Result<()> {
    match bytes.is_empty() {
        true => Ok(()),
        false => segment
            .file
            .write_all_at(bytes, offset)
            .map_err(|e| Error::io("write", &segment.path, e)),
    }
}
