//! The file that says what a backup consists of.
//!
//! It is laid out as the [manifest](super::manifest): a header, then a `kindlog.v1.Backup`.

use prost::Message;

pub(crate) use super::backup_proto::{Backup, BackupFile};

use super::file::{self, FileType, HeaderError};
use super::manifest::{Manifest, Sealed, SegmentEntry};
use super::names;

/// The length of a SHA-256.
const HASH_LEN: usize = 32;

/// One segment of a backup: what the manifest says of it, and what the backup adds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BackedUp<'a> {
    pub(crate) entry: &'a SegmentEntry,
    pub(crate) sealed: &'a Sealed,
    pub(crate) file: &'a BackupFile,
}

impl BackedUp<'_> {
    /// Its file's name in the backup.
    pub(crate) fn name(&self) -> String {
        names::backup_segment(self.entry.salt, self.sealed.length)
    }
}

impl Backup {
    /// What stands in a directory before the first backup in it is complete.
    pub(crate) fn claim(store: &Manifest) -> Backup {
        let manifest = Some(Manifest::new(store.store_id()));
        Backup { manifest, ..Backup::default() }
    }

    /// The manifest of what is in it.
    pub(crate) fn manifest(&self) -> &Manifest {
        self.manifest.as_ref().expect("checked when it was made or read")
    }

    /// Its segments, in the order of their bases.
    pub(crate) fn segments(&self) -> impl Iterator<Item = BackedUp<'_>> {
        self.manifest().segments.iter().zip(&self.files).map(|(entry, file)| {
            let sealed = entry.sealed.as_ref().expect("checked when it was made or read");
            BackedUp { entry, sealed, file }
        })
    }

    /// The file's bytes.
    pub(crate) fn encode_file(&self) -> Vec<u8> {
        file::encode_message(FileType::Backup, &self.encode_to_vec())
    }

    /// Reads the file and checks that it makes sense.
    pub(crate) fn decode_file(bytes: &[u8]) -> Result<Backup, HeaderError> {
        let payload = file::decode_message(FileType::Backup, bytes)?;
        let backup = Backup::decode(payload)
            .map_err(|_| HeaderError::Damaged("the payload is no message of its type"))?;
        match backup.check() {
            true => Ok(backup),
            false => Err(HeaderError::Damaged("the backup contradicts itself")),
        }
    }

    fn check(&self) -> bool {
        let Some(manifest) = &self.manifest else { return false };
        let entries = &manifest.segments;
        let mut salts: Vec<u64> = entries.iter().map(|entry| entry.salt).collect();
        salts.sort_unstable();
        salts.dedup();
        let newest = self.files.iter().map(|file| file.last_revision).max();
        manifest.check()
            && entries.iter().all(|entry| entry.sealed.is_some())
            && salts.len() == entries.len()
            && self.files.len() == entries.len()
            && self.files.iter().all(|file| file.sha256.len() == HASH_LEN)
            && self.revision == newest.unwrap_or(0)
            && (self.complete || entries.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backup() -> Backup {
        let sealed = Some(Sealed { length: 80, ..Sealed::default() });
        let entry = SegmentEntry { number: 1, salt: 3, base: 8, capacity: 4096, sealed };
        let mut manifest = Manifest::new([7; 16]);
        (manifest.next_segment, manifest.next_position) = (2, 1 << 20);
        manifest.segments = vec![entry];
        let files = vec![BackupFile { sha256: vec![1; HASH_LEN], last_revision: 9 }];
        let manifest = Some(manifest);
        Backup { manifest, files, revision: 9, created_us: -1, complete: true }
    }

    #[test]
    fn every_flipped_bit_and_every_truncation_is_refused() {
        let bytes = backup().encode_file();
        assert_eq!(Backup::decode_file(&bytes).unwrap(), backup());
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(Backup::decode_file(&damaged).is_err(), "bit {bit}");
        }
        for len in 0..bytes.len() {
            assert!(Backup::decode_file(&bytes[..len]).is_err(), "length {len}");
        }
    }

    #[test]
    fn contradictions_are_refused() {
        let changes: [fn(&mut Backup); 7] = [
            |backup| backup.manifest = None,
            |backup| backup.files.clear(),
            |backup| backup.files[0].sha256.clear(),
            |backup| backup.revision += 1,
            |backup| backup.complete = false,
            |backup| backup.manifest.as_mut().unwrap().segments[0].sealed = None,
            |backup| {
                let manifest = backup.manifest.as_mut().unwrap();
                let again = SegmentEntry { number: 0, base: 8192, ..manifest.segments[0].clone() };
                manifest.segments.push(again);
                backup.files.push(backup.files[0].clone());
            },
        ];
        for (i, change) in changes.into_iter().enumerate() {
            let mut bad = backup();
            change(&mut bad);
            assert!(Backup::decode_file(&bad.encode_file()).is_err(), "change {i}");
        }
    }
}
