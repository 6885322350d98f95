//! Checking a backup without restoring it: every byte against the hashes, every record against its
//! checksums.

use std::time::SystemTime;

use sha2::{Digest, Sha256};

use super::restore::{header, open_file};
use crate::disk::{Disk, File};
use crate::engine::lenient::{Lenient, UNREADABLE, not_to_be_read};
use crate::engine::read::time_from_micros;
use crate::engine::verify::Problem;
use crate::error::{Error, Result};
use crate::format::backup::BackedUp;
use crate::format::file::MAX_HEADER_LEN;
use crate::format::segment::StoreId;
use crate::log::scan::Scan;
use crate::resource::Revision;

/// What [`Store::verify_backup`](crate::Store::verify_backup) found.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct BackupVerifyReport {
    /// The newest commit in the backup.
    pub revision: Revision,
    /// When it was made, as the clock said.
    pub created: SystemTime,
    /// How many segments it consists of.
    pub segments: u64,
    /// Sound records: puts and deletes, live or not.
    pub records: u64,
    /// Bytes read.
    pub bytes: u64,
    /// What is wrong; empty in a sound backup.
    pub problems: Vec<Problem>,
}

impl BackupVerifyReport {
    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.problems.is_empty()
    }
}

/// Reads all of a backup.
pub(crate) fn verify(from: &dyn Disk) -> Result<BackupVerifyReport> {
    let backup = super::open(from)?;
    let mut report = BackupVerifyReport {
        revision: Revision::from(backup.revision),
        created: time_from_micros(backup.created_us),
        segments: backup.files.len() as u64,
        records: 0,
        bytes: 0,
        problems: Vec::new(),
    };
    for segment in backup.segments() {
        match verify_segment(from, &segment, &backup.manifest().store_id(), &mut report) {
            Err(Error::MissingSegment { file }) => {
                let reason = "the file is missing: the backup names it".to_owned();
                report.problems.push(Problem { file, offset: 0, key: None, reason });
            }
            Err(Error::Corrupt { file, offset, reason }) => {
                report.problems.push(Problem { file, offset, key: None, reason });
            }
            Err(error) => {
                let reason = not_to_be_read(error)?;
                let file = from.path().join(segment.name());
                report.problems.push(Problem { file, offset: 0, key: None, reason });
            }
            Ok(()) => {}
        }
    }
    Ok(report)
}

fn verify_segment(
    from: &dyn Disk,
    segment: &BackedUp<'_>,
    store_id: &StoreId,
    report: &mut BackupVerifyReport,
) -> Result<()> {
    let name = segment.name();
    let path = from.path().join(&name);
    let failed = |e| Error::io("read", &path, e);
    let file = Lenient::new(open_file(from, &name)?);
    let (len, salt, base) = (segment.sealed.length, segment.entry.salt, segment.entry.base);
    let found = file.len().map_err(failed)?;
    if found < len {
        return Err(Error::corrupt(&path, found, format!("it is cut short: it had {len} bytes")));
    }
    let mut bytes = vec![0; len.min(MAX_HEADER_LEN as u64) as usize];
    file.read_exact_at(&mut bytes, 0).map_err(failed)?;
    let header = header(from, segment, &bytes, store_id);
    if header.is_err() && file.failed_in(0..bytes.len() as u64) {
        return Err(Error::corrupt(&path, 0, UNREADABLE));
    }
    let (_, first) = header?;
    let mut hash = Sha256::new();
    hash.update(&bytes[..first as usize]);
    report.bytes += first;
    let mut sound = true;
    let mut scan = Scan::new(&file, salt, base, first, len);
    loop {
        match scan.next().map_err(failed)? {
            None => break,
            Some(Ok(frame)) => {
                hash.update(frame.bytes);
                report.records += u64::from(frame.header.frame_type.is_record());
                report.bytes += frame.header.frame_len();
            }
            Some(Err(bad)) => {
                sound = false;
                let offset = scan.offset();
                let found = scan.search(len).map_err(failed)?;
                let reason = file.why(offset..if found { scan.offset() } else { len }, &bad);
                let file = path.clone();
                report.problems.push(Problem { file, offset, key: None, reason });
                if !found {
                    break;
                }
            }
        }
    }
    // Also bytes that no checksum covers are as they were.
    match sound && hash.finalize()[..] != segment.file.sha256[..] {
        true => Err(Error::corrupt(&path, 0, "these are not the bytes that were backed up")),
        false => Ok(()),
    }
}
