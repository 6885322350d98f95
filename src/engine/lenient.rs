//! A file of which a medium that fails can't read every part.
//!
//! Whoever saves what is sound goes on where everybody else stops: what can't be read is read as
//! bytes that are no frame, so that it is passed over as damage, and it is known afterwards which
//! damage was that.

use std::collections::BTreeSet;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use crate::disk::{File, Map};
use crate::error::Error;
use crate::sync::Mutex;

/// What stands in the place of what can't be read. Zeros would be room that was never written.
const FILLER: u8 = 0xff;
/// What can't be read whole is read in pieces of this size.
const PIECE_LEN: u64 = 4 << 10;
/// How Linux and macOS say that the medium failed.
const EIO: i32 = 5;

/// Reads on behind what can't be read. Writes nothing.
#[derive(Debug)]
pub(super) struct Lenient {
    file: Arc<dyn File>,
    /// The pieces that can't be read, by number.
    unreadable: Mutex<BTreeSet<u64>>,
}

impl Lenient {
    pub(super) fn new(file: Arc<dyn File>) -> Lenient {
        Lenient { file, unreadable: Mutex::default() }
    }

    /// Whether something in a range was asked for and could not be read.
    pub(super) fn failed_in(&self, range: Range<u64>) -> bool {
        let pieces = range.start / PIECE_LEN..range.end.div_ceil(PIECE_LEN);
        !pieces.is_empty() && self.unreadable.lock().range(pieces).next().is_some()
    }

    fn read_pieces(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let (mut at, mut left) = (offset, buf);
        while !left.is_empty() {
            let piece = at / PIECE_LEN;
            let len = ((piece + 1) * PIECE_LEN - at).min(left.len() as u64);
            let (part, rest) = left.split_at_mut(len as usize);
            let known = self.unreadable.lock().contains(&piece);
            let read = if known { Err(medium_error()) } else { self.file.read_exact_at(part, at) };
            match read {
                Err(error) if is_of_medium(&error) => {
                    self.unreadable.lock().insert(piece);
                    part.fill(FILLER);
                }
                read => read?,
            }
            (at, left) = (at + len, rest);
        }
        Ok(())
    }
}

impl File for Lenient {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        if self.failed_in(offset..offset + buf.len() as u64) {
            return self.read_pieces(buf, offset);
        }
        match self.file.read_exact_at(buf, offset) {
            Err(error) if is_of_medium(&error) => self.read_pieces(buf, offset),
            read => read,
        }
    }

    fn write_all_at(&self, _buf: &[u8], _offset: u64) -> io::Result<()> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    fn sync(&self) -> io::Result<()> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    fn reserve(&self, _offset: u64, _len: u64) -> io::Result<()> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    fn set_len(&self, _len: u64) -> io::Result<()> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    fn map(&self, _capacity: u64) -> io::Result<Option<Arc<dyn Map>>> {
        Ok(None)
    }
}

fn medium_error() -> io::Error {
    io::Error::from_raw_os_error(EIO)
}

fn is_of_medium(error: &io::Error) -> bool {
    error.raw_os_error() == Some(EIO)
}

/// Whether it was the medium that failed, and not this process that may not, or can't now.
pub(super) fn medium_failed(error: &Error) -> bool {
    matches!(error, Error::Io { source, .. } if is_of_medium(source))
}

#[cfg(all(test, feature = "sim", not(kindlog_shuttle)))]
mod tests {
    use super::*;
    use crate::disk::Disk;
    use crate::disk::memory::MemoryDisk;
    use crate::disk::sim::{self, Fault, OpKind, SimDisk};
    use crate::engine::{doctor, salvage};
    use crate::sync::atomic::{AtomicBool, Ordering};
    use crate::{MIN_SEGMENT_SIZE, Options};

    /// A file with a bad sector.
    #[derive(Debug)]
    struct Bad(Vec<u8>, Range<u64>);

    impl File for Bad {
        fn len(&self) -> io::Result<u64> {
            Ok(self.0.len() as u64)
        }

        fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
            let end = offset + buf.len() as u64;
            if offset < self.1.end && self.1.start < end {
                return Err(medium_error());
            }
            let bytes = self.0.get(offset as usize..end as usize);
            buf.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        }

        fn write_all_at(&self, _: &[u8], _: u64) -> io::Result<()> {
            Ok(())
        }

        fn sync(&self) -> io::Result<()> {
            Ok(())
        }

        fn reserve(&self, _: u64, _: u64) -> io::Result<()> {
            Ok(())
        }

        fn set_len(&self, _: u64) -> io::Result<()> {
            Ok(())
        }

        fn map(&self, _: u64) -> io::Result<Option<Arc<dyn Map>>> {
            Ok(None)
        }
    }

    #[test]
    fn only_the_pieces_that_can_not_be_read_are_passed_over() {
        let file = Lenient::new(Arc::new(Bad(vec![7; 20_000], 9_000..9_512)));
        for _ in 0..2 {
            let mut bytes = vec![0; 19_990];
            file.read_exact_at(&mut bytes, 10).expect("it is read");
            let is_right = |(at, byte): (usize, &u8)| match at + 10 {
                8_192..12_288 => *byte == FILLER,
                _ => *byte == 7,
            };
            assert!(bytes.iter().enumerate().all(is_right));
            assert!(file.failed_in(12_287..12_288) && file.failed_in(0..8_193));
            assert!(!file.failed_in(0..8_192) && !file.failed_in(12_288..20_000));
        }
        let behind = file.read_exact_at(&mut [0; 2], 19_999).expect_err("the file ends");
        assert_eq!(behind.kind(), io::ErrorKind::UnexpectedEof);
    }

    /// One file that the medium could not read was the end of looking, and of saving, for all.
    #[test]
    fn what_other_segments_hold_is_saved_when_one_can_not_be_read() {
        let disk = SimDisk::new();
        let store = Options::new().segment_size(MIN_SEGMENT_SIZE).open_on(&disk).expect("it opens");
        for n in 0..30 {
            store.put("Log", &format!("{n:02}"), vec![n; 5_000]).expect("there is room");
        }
        store.close().expect("it closes");
        drop(store);
        // How long it is can be told: that is the first thing that is asked for.
        let measured = AtomicBool::new(false);
        let unreadable = move |op, file: &str| match (op, file) {
            (OpKind::Open, "00000000.seg") => {
                measured.store(false, Ordering::Relaxed);
                false
            }
            (OpKind::Read, "00000000.seg") => measured.swap(true, Ordering::Relaxed),
            _ => false,
        };
        disk.fail_always(unreadable, Fault::Error(sim::EIO));
        let from: Arc<dyn Disk> = Arc::new(disk);
        let found = doctor::diagnose(&from).expect("what can be had");
        assert!((10..30).contains(&found.live), "{found:?}");
        let unread = |damage: &&crate::Damage| damage.file.ends_with("00000000.seg");
        let damage = found.damages.iter().find(unread).expect("it is damaged");
        assert!(!damage.torn && damage.reason.contains("can't be read"), "{found:?}");
        let seen = salvage::prepare(&from).expect("what can be had");
        let saved = salvage::salvage(seen, Arc::new(MemoryDisk::new())).expect("it is saved");
        assert_eq!(saved.saved, found.live);
    }
}
