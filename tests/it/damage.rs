//! Damage: files cut at every byte, every bit flipped, sectors zeroed and swapped. A store that
//! was closed in order answers as before, or with an error: it refuses to open, or, where a hint
//! tells of what is damaged, it is an error to read it. One that crashed may also have lost its
//! end, and then says so.

use kindlog::disk::sim::{Loss, SimDisk};
use kindlog::{Durability, Error, RecoveryReport};

use crate::hints::check_damaged;
use crate::oracle::{Crash, Found, Oracle};
use crate::support::full;
use crate::workload::{
    Run, Step, Went, compacting, delete, delete_prefix, everything, options, put,
};

const SECTOR: usize = 512;

/// A store, and what it holds.
struct Subject {
    image: SimDisk,
    oracle: Oracle,
    found: Found,
    images: u64,
}

impl Subject {
    fn new(image: SimDisk, oracle: Oracle) -> Subject {
        let store = options().open_on(&image.kill(0)).expect("an undamaged store opens");
        let found = oracle.read(&store).expect("reads work");
        oracle.check(&found, Crash::Kill).expect("nothing is lost before anything is damaged");
        Subject { image, oracle, found, images: 0 }
    }

    /// Each file and its bytes, the lock's apart.
    fn files(&self) -> Vec<(String, Vec<u8>)> {
        let names = self.image.files().into_iter();
        let read = |name: String| {
            let bytes = self.image.read_file(&name).expect("it was listed");
            (name, bytes)
        };
        names.map(read).filter(|(_, bytes)| !bytes.is_empty()).collect()
    }

    /// Opens a damaged copy, reads all of it, and verifies it.
    fn answers(&mut self, damage: impl FnOnce(&SimDisk)) -> Result<(Found, RecoveryReport), Error> {
        self.images += 1;
        let disk = self.image.kill(0);
        damage(&disk);
        let store = options().open_on(&disk)?;
        let found = self.oracle.read(&store)?;
        store.verify()?;
        Ok((found, store.recovery().clone()))
    }

    /// An error, or the same answers; if it opens, so for each key by itself. Verifying finds
    /// whatever reading does.
    fn same_or_error(&mut self, story: &str, damage: impl FnOnce(&SimDisk)) {
        self.images += 1;
        let disk = self.image.kill(0);
        damage(&disk);
        let Ok(store) = options().open_on(&disk) else { return };
        if let Err(what) = check_damaged(&store, &self.oracle, &self.found) {
            panic!("{story}: {what}");
        }
        let verified = store.verify().expect("it reads");
        match self.oracle.read(&store) {
            Ok(found) => assert!(found == self.found, "{story}: other answers"),
            Err(error) => assert!(!verified.is_clean(), "{story}: {error}, and verified"),
        }
    }

    /// An error, or a prefix; `told`: and a lost `Sync` commit is owned up to.
    fn prefix_or_error(&mut self, story: &str, told: bool, damage: impl FnOnce(&SimDisk)) {
        let Ok((found, report)) = self.answers(damage) else { return };
        if let Err(what) = self.oracle.check_prefix(&found) {
            panic!("{story}: {what}");
        }
        if told && !self.oracle.has_all_synced(&found) {
            assert!(
                report.lost_acknowledged && report.torn_bytes > 0 && !report.discarded.is_empty(),
                "{story}: lost a synced commit and does not say so: {report:?}"
            );
        }
    }
}

/// Every kind of frame, in several small segments.
fn small(closed: bool, with_tail: bool) -> Subject {
    use Durability::{Buffered, Os, Sync};
    let sessions = [
        vec![put("A", "x", 40, Sync), put("A", "y/1", 30, Sync), put("B", "z", 9, Sync)],
        vec![
            put("A", "y/2", 70, Os),
            delete("A", "x", Sync),
            Step::Commit(
                vec![
                    crate::oracle::Change::DeletePrefix("B", String::new()),
                    crate::oracle::Change::Put("A", "w".to_owned(), 600),
                    crate::oracle::Change::Put("B", "v".to_owned(), 25),
                ],
                Sync,
            ),
        ],
        vec![
            put("C", "1", 50, Sync),
            delete_prefix("A", "y/", Sync),
            put("C", "2", 20, Buffered),
            put("C", "3", 20, Os),
            put("C", "4", 35, Sync),
            put("A", "y/3", 45, Os),
            put("C", "5", 35, Sync),
        ],
    ];
    let disk = SimDisk::new();
    disk.set_tail(with_tail);
    let mut run = Run::new(&disk);
    for (i, steps) in sessions.iter().enumerate() {
        if i > 0 {
            run.die();
        }
        assert!(!run.play_open(steps), "nobody killed it");
    }
    if closed {
        run.store.take().expect("it is open").close().expect("it closes");
        run.oracle.on_disk();
    }
    Subject::new(run.disk.kill(0), run.oracle.clone())
}

/// Segments that compaction wrote, beside ones that it hasn't seen yet.
fn compacted(closed: bool) -> Subject {
    let disk = SimDisk::new();
    disk.set_tail(false);
    let mut run = Run::new(&disk);
    assert!(!run.play_open(&compacting()), "nobody killed it");
    if closed {
        assert!(matches!(run.reopen(), Went::Well));
        run.store.take().expect("it is open").close().expect("it closes");
    }
    Subject::new(run.disk.kill(0), run.oracle.clone())
}

/// How far into a file damage can matter, and a little further.
fn relevant(bytes: &[u8]) -> usize {
    let last = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
    (last + 24).min(bytes.len())
}

#[test]
fn truncation_at_every_byte() {
    for (closed, with_tail) in [(true, false), (false, false), (false, true)] {
        let mut subject = small(closed, with_tail);
        for (file, bytes) in subject.files() {
            // The tail file makes each image a quarter of a megabyte larger.
            let step = if with_tail && !full() { 61 } else { 1 };
            let relevant = relevant(&bytes);
            let more = [(relevant + bytes.len()) / 2, bytes.len().saturating_sub(1)];
            for len in (0..relevant).step_by(step).chain(more) {
                let story = format!("{file} cut at {len}, closed {closed}");
                let cut = |disk: &SimDisk| disk.truncate(&file, len as u64);
                match closed {
                    true => subject.same_or_error(&story, cut),
                    false => subject.prefix_or_error(&story, false, cut),
                }
            }
        }
        eprintln!("damage, truncation, closed {closed}: {} images", subject.images);
    }
}

/// In the short form every `short_step`th.
fn bits(bytes: &[u8], short_step: usize) -> impl Iterator<Item = u64> + use<> {
    let step = if full() { 1 } else { short_step };
    (0..relevant(bytes) as u64 * 8).step_by(step)
}

#[test]
fn every_bit_of_a_closed_store() {
    let mut subject = small(true, false);
    for (file, bytes) in subject.files() {
        for bit in bits(&bytes, 9) {
            let story = format!("{file}, bit {bit} flipped");
            subject.same_or_error(&story, |disk| disk.flip_bit(&file, bit));
        }
    }
    eprintln!("damage, bits of a closed store: {} images", subject.images);
}

#[test]
fn every_bit_of_a_crashed_store() {
    for (with_tail, short_step) in [(false, 17), (true, 1009)] {
        let mut subject = small(false, with_tail);
        for (file, bytes) in subject.files() {
            for bit in bits(&bytes, short_step) {
                let story = format!("{file}, bit {bit} flipped, tail {with_tail}");
                subject.prefix_or_error(&story, true, |disk| disk.flip_bit(&file, bit));
            }
        }
        eprintln!("damage, bits of a crashed store, tail {with_tail}: {} images", subject.images);
    }
}

#[test]
fn every_bit_of_a_compacted_store() {
    for closed in [true, false] {
        let mut subject = compacted(closed);
        for (file, bytes) in subject.files() {
            for bit in bits(&bytes, 23) {
                let story = format!("{file}, bit {bit} flipped, closed {closed}");
                let flip = |disk: &SimDisk| disk.flip_bit(&file, bit);
                match closed {
                    true => subject.same_or_error(&story, flip),
                    false => subject.prefix_or_error(&story, true, flip),
                }
            }
        }
        eprintln!("damage, bits of a compacted store, closed {closed}: {} images", subject.images);
    }
}

/// Sectors that the medium zeroes, and sectors that it puts in each other's place.
#[test]
fn zeroed_and_swapped_sectors() {
    for closed in [true, false] {
        let mut subject = small(closed, !closed && full());
        let files = subject.files();
        let mut sectors = Vec::new();
        for (file, bytes) in &files {
            let used = relevant(bytes).div_ceil(SECTOR);
            sectors.extend((0..used).filter(|s| !is_zero(bytes, *s)).map(|s| (file, bytes, s)));
        }
        let mut check = |story: String, changes: Vec<(&String, Vec<u8>)>| {
            let damage = |disk: &SimDisk| {
                changes.iter().for_each(|(file, bytes)| disk.write_file(file, bytes));
            };
            match closed {
                true => subject.same_or_error(&story, damage),
                false => subject.prefix_or_error(&story, false, damage),
            }
        };
        for (i, (file, bytes, sector)) in sectors.iter().enumerate() {
            let zeroed = with_sector(bytes, *sector, &[0; SECTOR]);
            check(format!("{file}, sector {sector} zeroed"), vec![(file, zeroed)]);
            for (other_file, other_bytes, other) in &sectors[..i] {
                let story = format!("{file} {sector} and {other_file} {other} swapped");
                let (one, two) = (sector_of(bytes, *sector), sector_of(other_bytes, *other));
                if file == other_file {
                    let swapped = with_sector(&with_sector(bytes, *sector, two), *other, one);
                    check(story, vec![(file, swapped)]);
                } else {
                    let first = with_sector(bytes, *sector, two);
                    let second = with_sector(other_bytes, *other, one);
                    check(story, vec![(file, first), (other_file, second)]);
                }
            }
        }
        eprintln!("damage, sectors, closed {closed}: {} images", subject.images);
    }
}

fn sector_of(bytes: &[u8], sector: usize) -> &[u8] {
    &bytes[sector * SECTOR..((sector + 1) * SECTOR).min(bytes.len())]
}

fn is_zero(bytes: &[u8], sector: usize) -> bool {
    sector_of(bytes, sector).iter().all(|byte| *byte == 0)
}

/// A copy of a file with another sector, as much of it as the file has room for.
fn with_sector(bytes: &[u8], sector: usize, other: &[u8]) -> Vec<u8> {
    let mut copy = bytes.to_vec();
    let from = sector * SECTOR;
    let len = other.len().min(copy.len() - from);
    copy[from..from + len].copy_from_slice(&other[..len]);
    copy
}

/// Bits flipped in what each crash of a longer workload leaves: several unsealed segments too.
#[test]
fn bits_of_every_crashed_store() {
    bits_of_crashed(&everything(), 9);
}

#[test]
fn bits_of_every_store_that_crashed_while_it_was_compacted() {
    bits_of_crashed(&compacting(), 61);
}

/// In the short form every `short_step`th crash.
fn bits_of_crashed(steps: &[Step], short_step: usize) {
    let mut images = 0;
    for n in (30..).step_by(if full() { 1 } else { short_step }) {
        let disk = SimDisk::new();
        disk.crash_after(n);
        let mut run = Run::new(&disk);
        let died = run.play(steps);
        let image = if n % 2 == 0 { disk.kill(0) } else { disk.power_loss(Loss::Nothing) };
        let mut subject = Subject::new(image, run.oracle.clone());
        let mut flips = Vec::new();
        for (file, bytes) in subject.files() {
            // Frame headers are where it is least likely and matters most.
            let seed = n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 8;
            let bits = relevant(&bytes) as u64 * 8;
            let count = if full() { 60 } else { 6 };
            flips.extend(
                (0..count).map(|i| (file.clone(), seed.wrapping_mul((i + 1) * 7919) % bits)),
            );
            let keys = [&b"Agent"[..], b"Log", b"Blob", b"Big"];
            let frames =
                (64..bytes.len()).filter(|at| keys.iter().any(|key| bytes[*at..].starts_with(key)));
            let frames: Vec<usize> = frames.collect();
            let last = frames.iter().rev().take(if full() { 40 } else { 8 });
            flips.extend(last.map(|at| (file.clone(), *at as u64 * 8 - seed % 160)));
        }
        for (file, bit) in flips {
            let story = format!("dead in operation {n}, {file}, bit {bit} flipped");
            subject.prefix_or_error(&story, true, |disk| disk.flip_bit(&file, bit));
        }
        images += subject.images;
        if !died {
            break;
        }
    }
    eprintln!("damage, bits of crashed stores: {images} images");
}

const SEGMENT: &str = "00000000.seg";
const HINT: &str = "00000000.hint";
/// A segment's header, with no extension.
const HEADER_LEN: usize = 72;

/// Three commits of the same length.
fn three(disk: &SimDisk, value: u8, durability: Durability) -> kindlog::Store {
    let store = options().open_on(disk).expect("open");
    for id in ["1", "2", "3"] {
        let mut batch = kindlog::Batch::new();
        batch.put("Key", id, [value; 40]);
        store.commit_with(batch, durability).expect("commit");
    }
    store
}

#[track_caller]
fn assert_refused(image: &SimDisk, story: &str) {
    match options().open_on(image) {
        Err(Error::Corrupt { file, .. }) => assert!(file.ends_with(SEGMENT), "{story}: {file:?}"),
        other => panic!("{story}: {other:?}"),
    }
}

/// Each of them is known to be durable: by the watermark of one behind it, and the last one by the
/// frame that a sync leaves. So none of this is a torn tail, and owning up to it is not enough.
#[test]
fn damage_below_the_watermark_is_never_a_torn_tail() {
    let disk = SimDisk::new();
    let _store = three(&disk, 7, Durability::Sync);
    let bytes = disk.kill(0).read_file(SEGMENT).expect("a segment");
    for id in ["1", "2", "3"] {
        let key = format!("Key{id}");
        let at = bytes.windows(4).position(|window| window == key.as_bytes()).expect("a frame");
        for byte in [at - 12, at, at + 20] {
            let image = disk.kill(0);
            image.flip_bit(SEGMENT, byte as u64 * 8);
            assert_refused(&image, &format!("{key}, byte {byte}"));
        }
    }
}

/// As a medium leaves it that writes to the wrong place, or not at all where a file of another
/// store lay before: everything fits but the salt.
#[test]
fn frames_of_another_store_are_never_read() {
    for closed in [true, false] {
        let disks = [SimDisk::new(), SimDisk::new()];
        let stores = [three(&disks[0], 1, Durability::Sync), three(&disks[1], 2, Durability::Sync)];
        if closed {
            stores.iter().for_each(|store| store.close().expect("close"));
        }
        let [mut ours, theirs] = disks.each_ref().map(|d| d.read_file(SEGMENT).expect("a segment"));
        assert_eq!(ours.len(), theirs.len());
        ours[HEADER_LEN..].copy_from_slice(&theirs[HEADER_LEN..]);
        let image = disks[0].kill(0);
        image.write_file(SEGMENT, &ours);
        if closed {
            assert_refused(&image, "all of it is gone");
            continue;
        }
        // Nothing that is sound says that anything had been durable.
        let store = options().open_on(&image).expect("a torn log");
        assert_eq!(store.count("Key").expect("count"), 0);
        assert!(store.recovery().lost_acknowledged);
    }
}

/// A sound frame of the same segment, in the place of another.
#[test]
fn a_frame_in_another_place_is_damage() {
    let disk = SimDisk::new();
    three(&disk, 7, Durability::Buffered).close().expect("close");
    let image = disk.kill(0);
    let mut bytes = image.read_file(SEGMENT).expect("a segment");
    let key = |id| bytes.windows(4).position(|window| window == id).expect("a frame");
    let (first, second) = (key(b"Key1"), key(b"Key2"));
    let len = second - first;
    bytes.copy_within(HEADER_LEN..HEADER_LEN + len, HEADER_LEN + len);
    image.write_file(SEGMENT, &bytes);
    assert_refused(&image, "the second is gone");
}

/// Two copies of a store go on in the same segment, each in its own way: same salt, same positions.
/// Once it is sealed its digest tells whose it is.
#[test]
fn segments_of_two_copies_of_a_store_are_not_mixed() {
    let disk = SimDisk::new();
    three(&disk, 7, Durability::Sync).close().expect("close");
    let copies = [disk.kill(0), disk.kill(0)];
    for (value, copy) in copies.iter().enumerate() {
        let store = three(copy, value as u8, Durability::Buffered);
        for id in ["4", "5", "6", "7"] {
            store.put("Key", id, [value as u8; 20_000]).expect("put");
        }
        assert!(store.stats().segments.len() > 1);
        store.close().expect("close");
        assert!(options().open_on(&copy.kill(0)).is_ok());
    }
    copies[0].write_file(SEGMENT, &copies[1].read_file(SEGMENT).expect("a segment"));
    // By its hint the store opens, and says what is wrong when it is asked.
    let store = options().open_on(&copies[0].kill(0)).expect("the hint is the store's own");
    let report = store.verify().expect("verify");
    assert!(report.problems.iter().any(|p| p.reason.contains("not the segment")), "{report:?}");
    drop(store);
    copies[0].remove_file(HINT);
    assert_refused(&copies[0], "the other's");
}
