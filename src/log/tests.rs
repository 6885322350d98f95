//! Contents and their merge against a map, on histories whose records lie anywhere.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::disk::memory::MemoryDisk;
use crate::disk::native::NativeDisk;
use crate::format::contents::Contents;
use crate::format::location::{Location, SegmentId};
use crate::format::manifest::Sealed;
use crate::format::record::{self, FramePlace, FrameType, Record};
use crate::log::active::Active;
use crate::log::aside::Aside;
use crate::log::merge::Merge;
use crate::log::segment::Segment;
use crate::log::segments::{Held, Segments};
use crate::log::tail::Tail;

/// xorshift64*: the same sequence for the same seed, on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % n
    }
}

/// One record of a history.
#[derive(Clone, Debug)]
struct Written {
    frame_type: FrameType,
    revision: u64,
    kind: &'static str,
    id: String,
}

/// What is alive after a history: the revision of each key.
type Alive = BTreeMap<(&'static str, String), u64>;

const KINDS: [&str; 3] = ["Agent", "AgentRun", "Log"];
const PREFIXES: [&str; 6] = ["", "a", "ab", "abc", "b", "ba"];

fn id(random: &mut Random) -> String {
    let letters = (0..1 + random.below(4)).map(|_| ["a", "b", "c"][random.below(3)]);
    letters.collect()
}

/// Commits of one or several changes, each key once in each, prefix deletes first.
fn history(random: &mut Random, commits: u64) -> (Vec<Written>, Alive) {
    let (mut records, mut alive) = (Vec::new(), Alive::new());
    for revision in 1..=commits {
        let kind = KINDS[random.below(3)];
        let mut write = |frame_type, id: String| {
            records.push(Written { frame_type, revision, kind, id });
        };
        if random.below(9) == 0 {
            let prefix = PREFIXES[random.below(6)];
            write(FrameType::DeletePrefix, prefix.to_owned());
            alive.retain(|(k, id), _| *k != kind || !id.starts_with(prefix));
        }
        let mut changes = BTreeMap::new();
        for _ in 0..random.below(4) {
            changes.insert(id(random), random.below(4));
        }
        for (id, choice) in changes {
            match choice {
                0 => {
                    write(FrameType::Delete, id.clone());
                    alive.remove(&(kind, id));
                }
                _ => {
                    write(FrameType::Put, id.clone());
                    alive.insert((kind, id), revision);
                }
            }
        }
    }
    (records, alive)
}

/// Writes records to a segment of their own.
fn segment(segments: &Segments, number: u32, records: &[Written]) -> (Arc<Segment>, u64) {
    let (base, capacity) = (u64::from(number) << 20, 1 << 20);
    let segment = segments.create(SegmentId(number), base, capacity).expect("a segment");
    let mut active = Active::new(segment.clone(), segment.first);
    for Written { frame_type, revision, kind, id } in records {
        let place = FramePlace { watermark: None, left: 0, start: true, sync: false };
        let value: &[u8] = if *frame_type == FrameType::Put { &[7; 90][id.len()..] } else { b"" };
        let (revision, time) = (*revision, *revision as i64 - 50);
        let (kind, id) = (kind.as_bytes(), id.as_bytes());
        let record = Record { frame_type: *frame_type, revision, time, kind, id, value };
        active.begin(record.max_frame_len());
        active.encode(&place, &record);
        active.seal();
    }
    active.append_bare(FrameType::End, 0, base);
    active.flush().expect("it has room");
    let end = active.end();
    (segment, end)
}

/// What a merge says is alive, and where; all that it must keep is checked on the way.
fn merged(contents: &[(SegmentId, &Contents)]) -> BTreeMap<(String, String), (u64, Location)> {
    let merge = Merge::new(contents.to_vec());
    let mut found = BTreeMap::new();
    for name in merge.kinds() {
        let mut kind = merge.kind(name);
        assert!(kind.prefixes().is_sorted_by(|a, b| a.prefix < b.prefix));
        let mut last = Vec::new();
        while let Some(entry) = kind.next() {
            assert!(*last < *entry.id, "ids ascend");
            last = entry.id.to_vec();
            if !entry.delete && !entry.covered {
                let key = (name.to_owned(), String::from_utf8_lossy(entry.id).into_owned());
                found.insert(key, (entry.revision, entry.location));
            }
        }
    }
    found
}

#[test]
fn wherever_records_lie_the_newest_ones_are_found() {
    for seed in 1..400 {
        let mut random = Random(seed << 32 | 0x7f4a_7c15);
        let (records, alive) = history(&mut random, seed % 70);
        let count = 1 + random.below(5);
        let mut heaps = vec![Vec::new(); count];
        // As a log is, or as compaction leaves it: any record anywhere.
        let in_order = seed % 3 == 0;
        for (i, record) in records.iter().enumerate() {
            let at = if in_order { i * count / records.len() } else { random.below(count) };
            heaps[at].push(record.clone());
        }
        let segments = Segments::new(Arc::new(MemoryDisk::default()), [7; 16], false);
        let mut all = Vec::new();
        for (number, heap) in heaps.iter().enumerate() {
            let (segment, end) = segment(&segments, number as u32, heap);
            let (contents, sealed) = Contents::read(&segment, end).expect("sound frames");
            check_totals(&contents, &sealed, heap);
            segments.insert(segment.clone());
            all.push((segment.id, contents));
        }
        let sources: Vec<_> = all.iter().map(|(id, contents)| (*id, contents)).collect();
        let found = merged(&sources);
        let revisions = found.iter().map(|((k, i), (r, _))| ((&**k, i.clone()), *r));
        assert_eq!(revisions.collect::<Alive2<'_>>(), borrowed(&alive), "seed {seed}");
        for ((kind, id), (revision, location)) in &found {
            let segment = segments.get(location.place.segment).expect("it is there");
            let bytes = segment.frame(location.place.offset_bytes()).expect("it is written");
            let position = segment.position(location.place.offset_bytes());
            let header = crate::format::record::decode(&bytes, segment.salt, position);
            let header = header.expect("a frame is there");
            let record = header.record(&bytes);
            assert_eq!((record.kind, record.id), (kind.as_bytes(), id.as_bytes()));
            assert_eq!((record.revision, header.frame_len()), (*revision, location.len_bytes()));
        }
        let decode = |contents: &Contents| {
            Contents::decode(contents.totals, contents.payload().to_vec()).expect("it was encoded")
        };
        let again: Vec<_> = all.iter().map(|(id, contents)| (*id, decode(contents))).collect();
        let mut again: Vec<_> = again.iter().map(|(id, contents)| (*id, contents)).collect();
        again.reverse();
        assert_eq!(merged(&again), found, "seed {seed}");
    }
}

type Alive2<'a> = BTreeMap<(&'a str, String), u64>;

fn borrowed(alive: &Alive) -> Alive2<'_> {
    alive.iter().map(|((kind, id), revision)| ((*kind, id.clone()), *revision)).collect()
}

/// What is told of a segment as a whole.
fn check_totals(contents: &Contents, sealed: &Sealed, records: &[Written]) {
    let puts = records.iter().filter(|one| one.frame_type == FrameType::Put);
    let revisions = puts.clone().map(|one| one.revision);
    assert_eq!(sealed.records, records.len() as u64);
    assert_eq!(sealed.first_put_revision, revisions.clone().min().unwrap_or(0));
    assert_eq!(sealed.last_put_revision, revisions.max().unwrap_or(0));
    assert_eq!(contents.totals.digest, sealed.digest);
    let last = records.iter().map(|one| one.revision).max().unwrap_or(0);
    assert_eq!(contents.totals.revision, last);
    for kind in KINDS {
        let mine = puts.clone().filter(|one| one.kind == kind);
        let range = sealed.kinds.iter().find(|range| range.kind == kind);
        let first = mine.clone().map(|one| &*one.id).min();
        assert_eq!(range.map(|range| &*range.first_id), first);
        assert_eq!(range.map(|r| &*r.last_id), mine.clone().map(|one| &*one.id).max());
        let Some(held) = contents.kind(kind) else {
            assert!(records.iter().all(|one| one.kind != kind));
            continue;
        };
        let oldest = mine.clone().map(|one| one.revision as i64 - 50).min();
        assert_eq!(held.oldest, oldest.unwrap_or(i64::MAX));
        let newest = mine.map(|one| one.revision as i64 - 50).max();
        assert_eq!(held.newest, newest.unwrap_or(i64::MIN));
    }
}

/// Each byte of a payload, changed to others: it is refused, or what it says keeps the rules, and a
/// merge of it ends.
#[test]
fn payloads_that_were_changed_are_refused_or_keep_the_rules() {
    let mut random = Random(77);
    let (records, _) = history(&mut random, 30);
    let segments = Segments::new(Arc::new(MemoryDisk::default()), [7; 16], false);
    let (segment, end) = segment(&segments, 3, &records);
    let (contents, _) = Contents::read(&segment, end).expect("sound frames");
    for at in 0..contents.payload().len() {
        let cut = Contents::decode(contents.totals, contents.payload()[..at].to_vec());
        assert!(cut.is_err(), "cut at {at}");
        for value in 0..=255 {
            let mut payload = contents.payload().to_vec();
            payload[at] = value;
            if let Ok(changed) = Contents::decode(contents.totals, payload) {
                let of_kinds = changed.kinds().iter().map(|kind| kind.total_bytes);
                assert!(of_kinds.sum::<u64>() <= changed.totals.length);
                merged(&[(segment.id, &changed)]);
            }
        }
    }
}

/// Frames that are written at once, in whole units, with or without the tail file, or not yet: each
/// is read whole, and what is lent of the file ends where nothing is written any more.
#[test]
fn frames_are_read_whole_while_the_file_grows_and_nothing_behind_them_is_lent() {
    const UNIT: u64 = 16 << 10;
    let dir = tempfile::tempdir().expect("a directory");
    let disk = NativeDisk::open(dir.path().join("store"), true).expect("a disk");
    let disk = Arc::new(disk);
    // On memory: this is about the bytes, and not every file system has one.
    let tail = Tail::create(&MemoryDisk::default(), &[7; 16]).expect("there is room");
    let mut tail = tail.expect("memory overwrites in place");
    let segments = Segments::new(disk, [7; 16], true);
    // The ring's end lies anywhere in a unit.
    let segment = segments.create(SegmentId(0), 77_776, 1 << 20).expect("a segment");
    segments.insert(segment.clone());
    let check = |places: &[(u64, u64)], end: u64| {
        let written = segment.written();
        for (offset, len) in places.iter().copied() {
            let bytes = segment.frame(offset).expect("it is there");
            let position = segment.position(offset);
            let header = record::decode(&bytes, segment.salt, position).expect("it is sound");
            assert_eq!(header.frame_len(), len);
            let limit = if offset < written { written } else { end };
            assert!(offset + bytes.len() as u64 <= limit, "{offset} of {written}");
            // The same by the list, which may not know of all that is written.
            let held = segments.held::<64>(Location::new(segment.id, offset, len).place);
            let Held { bytes: held, at, .. } = held.expect("no file need be read");
            assert!(held[at..].starts_with(&bytes[..len as usize]));
            assert!(offset - at as u64 + held.len() as u64 <= limit, "{offset} of {written}");
        }
    };
    let (mut active, mut places) = (Active::new(segment.clone(), segment.first), Vec::new());
    let (mut random, mut from_tail) = (Random(0x7f4a_7c15), 0);
    while active.has_room(UNIT) {
        let value = vec![7; random.below(6_000)];
        let (frame_type, revision) = (FrameType::Put, places.len() as u64 + 1);
        let record = Record { frame_type, revision, time: 0, kind: b"K", id: b"i", value: &value };
        let place = FramePlace { watermark: None, left: 0, start: true, sync: false };
        active.reserve(record.max_frame_len()).expect("room");
        active.begin(record.max_frame_len());
        let forgotten = random.below(9) == 0;
        if forgotten {
            active.encode(&place, &Record { value: b"of a commit that failed", ..record });
            active.forget();
        }
        places.push(active.encode(&place, &record));
        if random.below(40) > 0 {
            active.copy_to_tail(&mut tail);
        }
        active.seal();
        let (handed_over, before) = (active.is_handed_over(), segment.written());
        let written = match random.below(8) {
            0 if random.below(4) == 0 => active.flush(),
            1..4 => active.flush_units(UNIT, Some(&tail)),
            4 => active.flush_units(UNIT, None),
            _ => Ok(()),
        };
        written.expect("it is written");
        from_tail += usize::from(handed_over && segment.written() > before);
        if random.below(3) == 0 {
            segments.grow(&segment);
        }
        check(&places, active.end());
    }
    active.flush().expect("it is written");
    segments.end(&segment);
    check(&places, active.end());
    assert_eq!(segments.source(segment.id).expect("it is there").1.len() as u64, active.end());
    segments.remove(segment.id);
    assert!(segments.held::<64>(Location::new(segment.id, places[0].0, 8).place).is_none());
    assert!(from_tail > 20, "{from_tail} were written from the tail");
}

/// Large records, small ones, and one longer than a piece that is written: what was summed up on
/// the way is what the file holds.
#[test]
fn what_is_written_aside_is_summed_up_as_it_is_read() {
    let mut random = Random(31);
    let segments = Segments::new(Arc::new(MemoryDisk::default()), [7; 16], false);
    let segment = segments.create(SegmentId(3), 1 << 30, 64 << 20).expect("there is room");
    let mut aside = Aside::new(segment.clone());
    let mut len = 0;
    for nth in 0..400u64 {
        let value = vec![nth as u8; random.below(30_000) + if nth == 200 { 5 << 20 } else { 0 }];
        let (id, place) = (
            format!("{nth:05}"),
            FramePlace {
                watermark: Some(8),
                left: random.below(9) as u64 * 8,
                start: random.below(2) == 0,
                sync: true,
            },
        );
        let record = Record {
            frame_type: FrameType::Put,
            revision: 1 + nth * 7 % 400,
            time: nth as i64,
            kind: KINDS[nth as usize / 150].as_bytes(),
            id: id.as_bytes(),
            value: &value,
        };
        let mut frame = bytes::BytesMut::new();
        record::encode(&mut frame, 5, 80 * nth + 8, &place, &record);
        let header = record::decode(&frame, 5, 80 * nth + 8).expect("it was encoded here");
        assert!(aside.has_room(header.frame_len()));
        len += aside.copy(&header, &frame).expect("it is written");
    }
    let (contents, sealed) = aside.finish().expect("it is written");
    assert_eq!(segment.len(), segment.first + len);
    let (read, read_sealed) = Contents::read(&segment, segment.len()).expect("all is sound");
    assert_eq!((contents.totals, contents.payload()), (read.totals, read.payload()));
    assert_eq!(sealed, read_sealed);
}

/// More kinds than are found at once, some of one letter, some that differ in the middle.
#[test]
fn records_of_many_kinds_are_told_apart() {
    let dir = tempfile::tempdir().expect("a directory");
    let disk = NativeDisk::open(dir.path().join("store"), true).expect("a disk");
    let segments = Segments::new(Arc::new(disk), [7; 16], true);
    let segment = segments.create(SegmentId(0), 0, 4 << 20).expect("a segment");
    let mut active = Active::new(segment.clone(), segment.first);
    let letter = |nth: u64| char::from(b'a' + (nth % 26) as u8);
    let name = |nth: u64| match nth {
        0..26 => letter(nth).to_string(),
        26..52 => format!("Kind{}End", letter(nth)),
        _ => format!("K{nth}"),
    };
    let place = FramePlace { watermark: None, left: 0, start: true, sync: false };
    let mut bytes = [0; 150];
    for revision in 1..=6_000 {
        let nth = revision * revision % 149;
        let (kind, id) = (name(nth), format!("{:04}", revision * 7_919 % 6_007));
        let (kind, id, time) = (kind.as_bytes(), id.as_bytes(), revision as i64);
        let frame_type = FrameType::Put;
        let record = Record { frame_type, revision, time, kind, id, value: &[7; 99] };
        active.begin(record.max_frame_len());
        bytes[nth as usize] += active.encode(&place, &record).1;
        active.seal();
        if revision == 3_000 {
            active.flush().expect("it has room");
        }
    }
    active.flush().expect("it has room");
    let (contents, _) = Contents::read(&segment, active.end()).expect("sound frames");
    assert!(contents.kinds().is_sorted_by(|a, b| a.name < b.name));
    for nth in 0..150 {
        let total = contents.kind(&name(nth)).map_or(0, |kind| kind.total_bytes);
        assert_eq!(total, bytes[nth as usize], "{}", name(nth));
    }
}

/// A copy is not read back before what it was copied from goes: what is wrong in the buffer that is
/// written has to show there.
#[test]
fn what_is_damaged_on_the_way_is_not_written_aside() {
    let segments = Segments::new(Arc::new(MemoryDisk::default()), [7; 16], false);
    let segment = segments.create(SegmentId(3), 1 << 30, 64 << 20).expect("there is room");
    let place = FramePlace { watermark: None, left: 0, start: true, sync: false };
    let (frame_type, kind) = (FrameType::Put, KINDS[0].as_bytes());
    let record = Record { frame_type, revision: 7, time: 1, kind, id: b"a", value: &[7; 100] };
    let mut frame = bytes::BytesMut::new();
    record::encode(&mut frame, 5, 80, &place, &record);
    let header = record::decode(&frame, 5, 80).expect("it was encoded here");
    let mut aside = Aside::new(segment.clone());
    aside.copy(&header, &frame).expect("it is sound");
    frame[80] ^= 1;
    let damaged = aside.copy(&header, &frame).expect_err("a bit of the value is another");
    assert!(matches!(damaged, crate::Error::Corrupt { .. }), "{damaged}");
}
