//! Files that can't be read, in part or at all.

use super::*;
use crate::disk::Disk;
use crate::disk::memory::MemoryDisk;
use crate::disk::sim::{self, Fault, OpKind, SimDisk};
use crate::engine::{doctor, salvage};
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::{Durability, MIN_SEGMENT_SIZE, Options};

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

/// A medium that fails fails more and more: what was sound when it was looked at, and could not be
/// read again when it was copied, ended a salvage, and nothing was saved.
#[test]
fn what_goes_bad_between_two_looks_is_lost_alone() {
    let disk = SimDisk::new();
    let store = Options::new().open_on(&disk).expect("it opens");
    for n in 0..10 {
        store.put("Log", &n.to_string(), vec![n; 5_000]).expect("there is room");
    }
    store.close().expect("it closes");
    let from: Arc<dyn Disk> = Arc::new(disk.clone());
    let seen = salvage::prepare(&from).expect("all is sound");
    let bytes = disk.read_file("00000000.seg").expect("it is there");
    let place = bytes.windows(5_000).position(|bytes| *bytes == [6; 5_000]).expect("it is there");
    disk.make_unreadable("00000000.seg", place as u64..place as u64 + 100);
    let report = salvage::salvage(seen, Arc::new(MemoryDisk::new())).expect("the others are saved");
    let [damage] = &report.damages[..] else { panic!("{:?}", report.damages) };
    assert_eq!((report.saved, &*damage.reason), (9, UNREADABLE));
    assert_eq!(damage.lost.as_ref().expect("it has a name").key, "Log/6");
}

/// A tail file of which a part can't be read was the end of looking, and of saving, for all. It is
/// one problem among others, and what of it can be read is saved.
#[test]
fn a_tail_file_that_can_not_be_read_is_damage() {
    let disk = SimDisk::new();
    let store = Options::new().durability(Durability::Os).open_on(&disk).expect("it opens");
    for n in 0..10 {
        store.put("Log", &n.to_string(), vec![n; 5_000]).expect("there is room");
        if n == 4 {
            store.sync().expect("it syncs");
        }
    }
    let tail = disk.read_file("TAIL").expect("there is one");
    let at = |n: u8| tail.windows(5_000).position(|bytes| *bytes == [n; 5_000]);
    let within = at(8).expect("it is in there") as u64 + 4_500;
    // Its header; the middle of what it alone holds; what holds nothing.
    for (offset, saved) in [(0, 5), (within, 8), (tail.len() as u64 - 1, 10)] {
        let disk = disk.kill(0);
        disk.make_unreadable("TAIL", offset..offset + 1);
        let from: Arc<dyn Disk> = Arc::new(disk);
        let found = doctor::diagnose(&from).expect("what can be had");
        assert!(found.open.is_err() && !found.is_healthy());
        let [damage] = &found.damages[..] else { panic!("{:?}", found.damages) };
        assert!(damage.file.ends_with("TAIL") && damage.reason == UNREADABLE, "{damage:?}");
        assert_eq!(found.live, saved);
        let seen = salvage::prepare(&from).expect("what can be had");
        let report = salvage::salvage(seen, Arc::new(MemoryDisk::new())).expect("it is saved");
        assert_eq!(report.saved, saved);
    }
}

/// The first bad sector ended verifying with an error, and nobody heard which resource was lost,
/// nor whether there were more.
#[test]
fn verify_goes_on_behind_what_can_not_be_read() {
    let disk = SimDisk::new();
    let store = Options::new().open_on(&disk).expect("it opens");
    for n in 0..10 {
        store.put("Log", &n.to_string(), vec![n; 20_000]).expect("there is room");
    }
    let bytes = disk.read_file("00000000.seg").expect("it is there");
    for n in [3, 7] {
        let place = bytes.windows(20_000).position(|bytes| *bytes == [n; 20_000]);
        let place = place.expect("it is there") as u64 + 10_000;
        disk.make_unreadable("00000000.seg", place..place + 1);
    }
    let report = store.verify().expect("it reads what there is");
    let keys: Vec<_> =
        report.problems.iter().filter_map(|problem| problem.key.as_deref()).collect();
    assert_eq!((report.live, keys), (8, vec!["Log/3", "Log/7"]));
    let unread = report.problems.iter().filter(|problem| problem.reason == UNREADABLE);
    assert_eq!(unread.count(), 2, "{:?}", report.problems);
}
