//! Hints make opening fast, and change nothing else: a store with its hints, with none of them and
//! with bad ones is the same store.

use std::time::Duration;

use kindlog::disk::sim::{ENOSPC, Fault, Loss, OpKind, SimDisk};
use kindlog::{Batch, Durability, Error, Options, RecoveryReport, Store};

use crate::oracle::{Found, Oracle, read_all};
use crate::support::{full, pattern};
use crate::workload::{Run, Step, delete, delete_prefix, everything, options, put};

/// Everything that reading tells: resources both ways, counts, and the figures of each kind and
/// segment.
#[derive(Debug, PartialEq)]
struct Shown {
    found: Found,
    figures: Vec<String>,
}

fn shown(store: &Store) -> Shown {
    let found = read_all(store).expect("reads work");
    for ((kind, id), (value, revision)) in &found {
        let got = store.get_resource(kind, id).expect("reads work").expect("it was scanned");
        assert_eq!((&got.data, u64::from(got.revision)), (value, *revision), "{kind}/{id}");
    }
    let stats = store.stats();
    let kinds = stats.kinds.iter().map(|kind| format!("{kind:?}"));
    let segments = stats.segments.iter().map(|one| format!("{} {}", one.id, one.live_bytes));
    let figures = kinds.chain(segments).chain([format!("{:?}", stats.revision)]).collect();
    Shown { found, figures }
}

fn reader() -> Options {
    options().read_only(true)
}

fn hints(disk: &SimDisk) -> Vec<String> {
    disk.files().into_iter().filter(|file| file.ends_with(".hint")).collect()
}

fn without_hints(disk: &SimDisk) -> SimDisk {
    let disk = disk.kill(0);
    hints(&disk).iter().for_each(|hint| disk.remove_file(hint));
    disk
}

/// A store with several sealed segments, all of them with hints, closed.
fn closed_store(steps: &[Step]) -> SimDisk {
    let disk = SimDisk::new();
    let mut run = Run::new(&disk);
    assert!(!run.play_open(steps), "nobody killed it");
    run.store.take().expect("it is open").close().expect("it closes");
    disk.kill(0)
}

/// Every kind of record, in segments that were rolled and in some that recovery sealed.
fn history() -> Vec<Step> {
    let mut steps = everything();
    steps.retain(|step| !matches!(step, Step::Reopen));
    steps.extend((0..6).map(|i| put("Log", &format!("s3/{i}"), 20_000, Durability::Os)));
    steps.push(delete_prefix("Log", "s3/1", Durability::Sync));
    steps.push(delete("Log", "s3/2", Durability::Sync));
    steps
}

fn report(disk: &SimDisk, options: &Options) -> (Shown, RecoveryReport) {
    let store = options.open_on(&disk.kill(0)).expect("it opens");
    (shown(&store), store.recovery().clone())
}

#[test]
fn with_hints_and_without_a_store_is_the_same() {
    let image = closed_store(&history());
    let (with, told) = report(&image, &reader());
    assert_eq!((told.hints_used, told.hints_rebuilt), (hints(&image).len() as u64, 0), "{told:?}");
    assert!(told.hints_used >= 3, "{told:?}");
    let (without, read) = report(&without_hints(&image), &reader());
    assert_eq!(with, without);
    assert_eq!((read.hints_used, read.hints_rebuilt), (0, told.hints_used));
    assert_eq!(told.records, read.records);
    assert!(told.bytes_read < read.bytes_read / 2, "{told:?} {read:?}");
}

/// Random histories, closed, killed and reopened in between: the index from hints, the index from
/// records and a map of what was done agree.
#[test]
fn random_histories_read_the_same_from_hints_and_from_records() {
    for seed in 1..if full() { 400u64 } else { 25 } {
        let mut random = seed << 32;
        let mut below = |n: u64| {
            random = random.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(0x1405_7B7E_F767_814F);
            (random >> 33) % n
        };
        let mut run = Run::new(&SimDisk::new());
        run.open();
        for _ in 0..60 {
            let kind = ["Agent", "Log"][below(2) as usize];
            let id = format!("{}/{}", below(3), below(6));
            let durability = [Durability::Sync, Durability::Os][below(2) as usize];
            match below(12) {
                0 => run.step(&delete_prefix(kind, &format!("{}/", below(3)), durability)),
                1 => run.step(&delete_prefix(kind, "", durability)),
                2 | 3 => run.step(&delete(kind, &id, durability)),
                4 => run.step(&Step::Reopen),
                5 => {
                    run.die();
                    run.open()
                }
                _ => run.step(&put(kind, &id, below(9000) as usize, durability)),
            };
        }
        run.check_live();
        run.store.take().expect("it is open").close().expect("it closes");
        run.oracle.on_disk();
        let image = run.disk.kill(0);
        let (with, told) = report(&image, &reader());
        let (without, _) = report(&without_hints(&image), &reader());
        assert_eq!(with, without, "seed {seed}");
        assert_eq!(told.hints_rejected, 0, "seed {seed}");
        run.oracle.check_live(&with.found).expect("what was done is there");
    }
}

/// A bad hint is passed over, in every way in which it can be bad, and written anew by the owner.
fn is_passed_over(image: &SimDisk, expected: &Shown, hint: &str, bytes: &[u8], story: &str) {
    let disk = image.kill(0);
    disk.write_file(hint, bytes);
    let store = reader().open_on(&disk).expect("it opens");
    assert_eq!(&shown(&store), expected, "{story}");
    let told = store.recovery();
    assert_eq!((told.hints_rejected, told.hints_rebuilt), (1, 1), "{story}: {told:?}");
}

#[test]
fn a_hint_that_is_bad_in_any_way_is_passed_over() {
    let image = closed_store(&history());
    let (expected, _) = report(&image, &reader());
    let names = hints(&image);
    let read = |name: &str| image.read_file(name).expect("it is there");
    for (i, name) in names.iter().enumerate() {
        let bytes = read(name);
        for bit in (0..bytes.len() * 8).step_by(if full() { 1 } else { 61 }) {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            is_passed_over(&image, &expected, name, &flipped, &format!("{name}, bit {bit}"));
        }
        for len in (0..bytes.len()).step_by(if full() { 1 } else { 7 }) {
            is_passed_over(&image, &expected, name, &bytes[..len], &format!("{name} cut at {len}"));
        }
        let longer = [&bytes[..], &[0; 8]].concat();
        is_passed_over(&image, &expected, name, &longer, &format!("{name}, longer"));
        let other = read(&names[(i + 1) % names.len()]);
        is_passed_over(&image, &expected, name, &other, "the hint of another segment");
        let newer = resealed(&bytes, |header| header[8] = 2);
        is_passed_over(&image, &expected, name, &newer, "a later version");
        let other_layout = resealed(&bytes, |header| header[100] = 0);
        is_passed_over(&image, &expected, name, &other_layout, "an older layout");
        let flagged = resealed(&bytes, |header| header[12] = 1);
        is_passed_over(&image, &expected, name, &flagged, "an unknown required flag");
        for (at, what) in [(24, "store"), (40, "salt"), (48, "length"), (88, "number")] {
            let foreign = resealed(&bytes, |header| header[at] ^= 8);
            is_passed_over(&image, &expected, name, &foreign, &format!("of another {what}"));
        }
        let digest = resealed(&bytes, |header| header[92] ^= 1);
        is_passed_over(&image, &expected, name, &digest, "of other frames");
    }
}

/// One whose payload is none, though its checksum says that it is, is found out while the index is
/// filled, and the store opened anew without it: by a reader, by an owner, and by one that writes
/// the log's end again.
#[test]
fn entries_that_are_malformed_behind_a_sound_checksum_are_passed_over() {
    let closed = closed_store(&history());
    let written = closed.kill(0);
    let store = options().open_on(&written).expect("it opens");
    store.put("Log", "last", pattern(7, 3_000)).expect("it has room");
    let killed = written.kill(0);
    drop(store);
    for (image, options) in [(&closed, reader()), (&closed, options()), (&killed, options())] {
        let (expected, _) = report(image, &options);
        let (mut malformed, mut all) = (0, 0);
        for name in hints(image) {
            let bytes = image.read_file(&name).expect("it is there");
            for at in (104..bytes.len()).step_by(if full() { 1 } else { 5 }) {
                let mut changed = bytes.clone();
                changed[at] ^= 0xFF;
                let crc = crc32(&changed[104..]);
                let changed = resealed(&changed, |header| {
                    header[96..100].copy_from_slice(&crc.to_le_bytes());
                });
                let disk = image.kill(0);
                disk.write_file(&name, &changed);
                let store = options.open_on(&disk).expect("it opens");
                all += 1;
                // What is well-formed and wrong behind a sound checksum is believed.
                if store.recovery().hints_rejected == 1 {
                    malformed += 1;
                    assert_eq!(shown(&store), expected, "{name}, byte {at}");
                }
            }
        }
        assert!(malformed > all / 3, "{malformed} of {all}");
    }
}

/// A hint with its header changed and the header's checksum made right.
fn resealed(bytes: &[u8], change: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let header = &mut bytes[..104];
    change(header);
    header[20..24].fill(0);
    let crc = crc32(header);
    header[20..24].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// CRC-32 as zlib has it, bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| crc >> 1 ^ (0xEDB8_8320 * (crc & 1)))
    })
}

/// Whatever befalls hints, the owner writes them anew, and removes those of no segment.
#[test]
fn the_owner_puts_hints_right() {
    let image = closed_store(&history());
    let names = hints(&image);
    let good: Vec<_> = names.iter().map(|name| image.read_file(name)).collect();
    let disk = image.kill(0);
    disk.remove_file(&names[0]);
    disk.truncate(&names[1], 50);
    disk.flip_bit(&names[2], 900);
    let stray = ["00000fff.hint", "ffffffff.hint"];
    stray.iter().for_each(|name| disk.write_file(name, b"of no segment"));
    disk.write_file("note.hint", b"not ours");
    // A reader leaves all of it as it is.
    let before = disk.files();
    drop(reader().open_on(&disk).expect("it opens"));
    assert_eq!(disk.files(), before);
    let store = options().open_on(&disk).expect("it opens");
    assert_eq!(store.recovery().hints_rebuilt, 3);
    store.close().expect("it closes");
    assert!(stray.iter().all(|name| disk.read_file(name).is_none()));
    assert!(disk.read_file("note.hint").is_some());
    let again: Vec<_> = names.iter().map(|name| disk.read_file(name)).collect();
    assert!(again == good, "the same segments have the same hints");
    assert_eq!(report(&disk, &reader()).1.hints_rebuilt, 0);
}

/// After a close the whole store opens without a look at the values, but for what the last segment
/// got since its hint was written: at most a mebibyte.
#[test]
fn opening_after_a_close_reads_no_values() {
    let disk = SimDisk::new();
    let options = options().segment_size(8 << 20);
    let store = options.open_on(&disk).expect("it opens");
    let put = |store: &Store, from: u64, to: u64| {
        for i in from..to {
            let id = format!("{:04}", i * 37 % 1000);
            store
                .commit_with(
                    std::mem::take(Batch::new().put("Blob", &id, pattern(i, 20_000))),
                    Durability::Os,
                )
                .expect("it has room");
        }
    };
    put(&store, 0, 1000);
    store.close().expect("it closes");
    let (first, told) = report(&disk, &options);
    let hint_bytes = |disk: &SimDisk| -> u64 {
        let read = |hint: &String| disk.read_file(hint).expect("it is listed").len() as u64;
        hints(disk).iter().map(read).sum()
    };
    assert_eq!((told.hints_used, told.records), (3, 1000), "{told:?}");
    assert!(told.clean && told.bytes_read == hint_bytes(&disk), "{told:?}");
    // One that says, with sound checksums, that the log goes on where it doesn't, is given up.
    let last = hints(&disk).pop().expect("it is there");
    let bytes = disk.read_file(&last).expect("it is there");
    let lying = disk.kill(0);
    lying.write_file(&last, &resealed(&bytes, |header| header[48] ^= 8));
    let (same, told) = report(&lying, &options);
    assert_eq!(same, first);
    assert_eq!((told.clean, told.hints_used, told.hints_rejected), (true, 2, 1), "{told:?}");
    // A little more is not worth a new hint.
    let small = disk.kill(0);
    let store = options.open_on(&small).expect("it opens");
    put(&store, 1000, 1020);
    store.close().expect("it closes");
    let (_, told) = report(&small, &options);
    assert_eq!((told.hints_used, told.records), (3, 1020), "{told:?}");
    let more = told.bytes_read - hint_bytes(&small);
    assert!((400_000..1 << 20).contains(&more), "{told:?}");
    // After an unclean stop the last segment is read, all of it, whatever hint it has.
    let store = options.open_on(&disk).expect("it opens");
    let killed = disk.kill(0);
    drop(store);
    let (again, told) = report(&killed, &options);
    assert_eq!(again.found, first.found);
    assert!(!told.clean && told.hints_used == 2 && told.bytes_read > 2 << 20, "{told:?}");
}

/// Damage in a sealed segment is found when it is read, and by whoever reads all of it; nothing
/// that it touches is ever absent. Without its hint the segment is read at open, which refuses.
#[test]
fn damage_behind_a_hint_is_an_error_that_names_the_key() {
    let disk = SimDisk::new();
    let store = options().open_on(&disk).expect("it opens");
    for i in 0..9u64 {
        store.put("Blob", &i.to_string(), pattern(i, 20_000)).expect("it has room");
    }
    store.close().expect("it closes");
    let first = disk.read_file("00000000.seg").expect("it is there");
    let value = pattern(1, 20_000);
    let at = first.windows(100).position(|bytes| bytes == &value[..100]).expect("it is there");
    disk.flip_bit("00000000.seg", at as u64 * 8 + 3);
    let store = reader().open_on(&disk).expect("hints tell of the segment");
    let names_it =
        |error: &Error| matches!(error, Error::Corrupt { reason, .. } if reason.contains("Blob/1"));
    assert!(names_it(&store.get_resource("Blob", "1").expect_err("it is damaged")));
    assert_eq!(store.count("Blob").expect("it is counted"), 9);
    let scanned: Vec<_> = store.scan("Blob").iter().collect();
    assert_eq!(scanned.len(), 9);
    for (i, resource) in scanned.into_iter().enumerate() {
        match resource {
            Ok(resource) => assert_eq!(resource.data, pattern(i as u64, 20_000)),
            Err(error) => assert!(i == 1 && names_it(&error), "{i}: {error}"),
        }
    }
    assert!(!store.verify().expect("it reads").is_clean());
    disk.remove_file("00000000.hint");
    assert!(matches!(reader().open_on(&disk), Err(Error::Corrupt { .. })));
}

/// Hints that can't be written are no error of anything.
#[test]
fn a_store_does_without_the_hints_it_cannot_write() {
    for kind in [OpKind::Create, OpKind::Write, OpKind::Remove] {
        let disk = SimDisk::new();
        let hinted = move |op: OpKind, file: &str| op == kind && file.ends_with(".hint");
        disk.fail_always(hinted, Fault::Error(ENOSPC));
        let mut run = Run::new(&disk);
        assert!(!run.play_open(&history()), "nobody killed it");
        run.check_live();
        run.store.take().expect("it is open").close().expect("it closes");
        disk.clear_faults();
        if kind != OpKind::Remove {
            assert_eq!(hints(&disk), [""; 0], "half a hint is removed");
        }
        let (expected, _) = report(&without_hints(&disk), &reader());
        assert_eq!(report(&disk, &options()).0, expected, "{kind:?}");
    }
}

/// Hints are not synced: power loss leaves them torn, or old, or takes them away.
#[test]
fn power_loss_may_leave_any_part_of_a_hint() {
    let disk = SimDisk::new();
    let mut run = Run::new(&disk);
    assert!(!run.play_open(&history()), "nobody killed it");
    run.store.take().expect("it is open").close().expect("it closes");
    run.oracle.on_disk();
    let (mut rejected, mut rebuilt) = (0, 0);
    for seed in 0..if full() { 500 } else { 60 } {
        let image = disk.power_loss(Loss::Seed(seed));
        let (found, told) = report(&image, &options());
        run.oracle.check_live(&found.found).unwrap_or_else(|what| panic!("seed {seed}: {what}"));
        rejected += told.hints_rejected;
        rebuilt += told.hints_rebuilt;
    }
    assert!(rejected > 0 && rebuilt >= rejected, "{rejected} torn, {rebuilt} torn or gone");
}

/// The background writes a hint when it seals: an owner that never closes leaves them, too.
#[test]
fn segments_that_are_full_get_their_hints_at_once() {
    let disk = SimDisk::new();
    let store = options().sync_interval(Duration::from_millis(1)).open_on(&disk).expect("it opens");
    for i in 0..20u64 {
        store.put("Blob", &i.to_string(), pattern(i, 20_000)).expect("it has room");
    }
    for _ in 0..10_000 {
        if hints(&disk).len() >= 4 {
            break;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(hints(&disk).len() >= 4, "{:?}", disk.files());
    let killed = disk.kill(0);
    drop(store);
    let (_, told) = report(&killed, &reader());
    assert!(told.hints_used >= 3 && told.records == 20, "{told:?}");
}

/// Each image of a crash, read with its hints and without any.
#[test]
fn after_a_crash_hints_change_nothing() {
    let (steps, mut images) = (everything(), 0);
    for n in (0..).step_by(if full() { 1 } else { 5 }) {
        let disk = SimDisk::new();
        disk.crash_after(n);
        let mut run = Run::new(&disk);
        let died = run.play(&steps);
        for image in [disk.kill(0), disk.kill(usize::MAX), disk.power_loss(Loss::Seed(n))] {
            if hints(&image).is_empty() {
                continue;
            }
            images += 1;
            let (with, _) = report(&image, &options());
            let (without, _) = report(&without_hints(&image), &options());
            assert_eq!(with.found, without.found, "dead in operation {n}");
        }
        if !died {
            break;
        }
    }
    assert!(images > 10, "{images} images with hints");
}

/// What a store answers whose segments were damaged behind its hints: for each key what it was, or
/// an error; never another answer, and never none.
pub(crate) fn check_damaged(store: &Store, oracle: &Oracle, sound: &Found) -> Result<(), String> {
    for (kind, id) in oracle.keys() {
        let expected = sound.get(&(kind.clone(), id.clone()));
        match (store.get_resource(kind, id), expected) {
            (Err(_), Some(_)) => {}
            (Ok(None), None) => {}
            (Ok(Some(got)), Some((value, revision)))
                if got.data == value && u64::from(got.revision) == *revision => {}
            (got, _) => return Err(format!("{kind}/{id} is {got:?}")),
        }
        match store.contains(kind, id) {
            Ok(there) if there != expected.is_some() => {
                return Err(format!("{kind}/{id} is there: {there}"));
            }
            _ => {}
        }
    }
    for kind in store.kinds().map_err(|error| error.to_string())? {
        let mut expected = sound.iter().filter(|((k, _), _)| *k == kind);
        for resource in store.scan(&kind).iter() {
            let Some(((_, id), (value, _))) = expected.next() else {
                return Err(format!("more of {kind} than there is"));
            };
            match resource {
                Err(_) => {}
                Ok(got) if got.id == *id && got.data == value => {}
                Ok(got) => return Err(format!("{kind}/{} where {id} comes", got.id)),
            }
        }
        if expected.next().is_some() {
            return Err(format!("a scan of {kind} ends early"));
        }
    }
    Ok(())
}
