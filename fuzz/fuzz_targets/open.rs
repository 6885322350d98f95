//! A store whose files were changed: it opens as what it was at some time, or says what is wrong.
//!
//! Without repaired checksums every answer is one that the store gave once, in whole states. With
//! them anything may be in the records, and it is only asked that nothing panics, hangs or bloats.

#![no_main]

use arbitrary::Arbitrary;
use kindlog::disk::sim::{Loss, SimDisk};
use kindlog::{Durability, Error, Store};
use kindlog_fuzz::image::{self, Content, Image, content, images, options};
use kindlog_fuzz::seal;
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Plan {
    image: u8,
    edits: Vec<Edit>,
    /// The disk operation of the first open in which the process dies.
    crash: Option<u8>,
    cut: u8,
    power: bool,
}

#[derive(Arbitrary, Debug)]
enum Edit {
    Overwrite {
        file: u8,
        at: u16,
        bytes: Vec<u8>,
    },
    Flip {
        file: u8,
        bit: u32,
    },
    Truncate {
        file: u8,
        len: u16,
    },
    Extend {
        file: u8,
        zeros: u16,
        bytes: Vec<u8>,
    },
    Delete {
        file: u8,
    },
    Copy {
        from: u8,
        to: u8,
    },
    Plant {
        name: u8,
        bytes: Vec<u8>,
    },
    /// Bytes of one file over those of another.
    Splice {
        from: u8,
        from_at: u16,
        to: u8,
        to_at: u16,
        len: u16,
    },
    /// Bytes of the same file of another image of the collection.
    Graft {
        image: u8,
        file: u8,
    },
    /// A frame changed, and its checksums made right.
    Frame {
        file: u8,
        frame: u8,
        at: u8,
        bytes: Vec<u8>,
    },
    /// A file's header changed, and its checksum made right.
    Header {
        file: u8,
        at: u8,
        bytes: Vec<u8>,
    },
    /// The manifest's payload changed, and its checksum made right.
    Manifest {
        at: u16,
        remove: u8,
        bytes: Vec<u8>,
    },
    /// A hint changed, and its checksums made right.
    Hint {
        hint: u8,
        at: u16,
        remove: u8,
        bytes: Vec<u8>,
    },
}

/// What the oracle may still ask.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
enum Trust {
    /// The store was in this state at some time.
    States,
    /// Every value was the key's at some time.
    Values,
    Nothing,
}

fuzz_target!(|plan: Plan| {
    let images = images();
    let image = &images[usize::from(plan.image) % images.len()];
    let mut files = image.files.clone();
    let mut trust = Trust::States;
    for edit in plan.edits.iter().take(12) {
        let step = apply(edit, &mut files, image);
        trust = if step > trust { step } else { trust };
    }
    let disk = SimDisk::new();
    disk.set_tail(plan.image & 0x80 == 0);
    for (name, bytes) in &files {
        disk.write_file(name, bytes);
    }
    let read = read_only(&disk, image, trust);
    let mut written = disk.kill(0);
    if let Some(n) = plan.crash {
        // Dying while it opens changes nothing of what it opens as.
        written.crash_after(n.into());
        if let Ok(store) = options().open_on(&written) {
            drop(store);
        }
        written = match plan.power {
            true => written.power_loss(Loss::Seed(n.into())),
            false => written.kill(plan.cut.into()),
        };
    }
    read_write(&written, image, trust, read);
});

fn read_only(disk: &SimDisk, image: &Image, trust: Trust) -> Result<Content, Error> {
    let ops = disk.ops();
    let store = options().read_only(true).open_on(disk);
    let found = store.and_then(|store| {
        let found = look(&store, image, trust)?;
        store.refresh()?;
        assert_eq!(look(&store, image, trust)?, found);
        Ok(found)
    });
    assert_eq!(disk.ops(), ops, "a reader changed the disk");
    found
}

/// Opens, reads, writes, opens again.
fn read_write(disk: &SimDisk, image: &Image, trust: Trust, read: Result<Content, Error>) {
    let store = match (options().open_on(disk), &read) {
        (Ok(store), _) => store,
        (Err(Error::Corrupt { reason, .. }), Ok(_)) if reason.contains("is older than") => return,
        (Err(error), Ok(_)) if trust == Trust::States => panic!("a reader opens it: {error}"),
        (Err(_), _) => return,
    };
    let before = look(&store, image, trust);
    if let (Ok(before), true) = (&before, trust < Trust::Nothing) {
        match &read {
            Ok(read) => assert!(read == before, "a reader saw something else"),
            // There was no store, and now there is a new one.
            Err(Error::Io { .. }) => assert!(before.is_empty()),
            Err(error) => panic!("a reader fails: {error}"),
        }
    }
    let last = store.stats().revision;
    let put = store.put("Agent", "new", b"new");
    if let Ok(revision) = put {
        assert!(revision > last);
    }
    let deleted = store.delete_kind("AgentExecution");
    let closed = store.close();
    if let (Trust::States, Ok(before)) = (trust, before) {
        let mut expected = before;
        put.expect("a sound store");
        deleted.expect("a sound store");
        closed.expect("a sound store");
        expected.insert(("Agent".into(), "new".into()), b"new".to_vec());
        expected.retain(|(kind, _), _| kind != "AgentExecution");
        let store = options().open_on(disk).expect("closed in order");
        assert!(store.recovery().clean);
        assert!(content(&store).expect("a sound store") == expected);
        assert!(store.put("Agent", "new", b"newer").expect("a sound store") > last);
    } else if let Ok(store) = options().durability(Durability::Os).open_on(disk) {
        let _ = content(&store);
        let _ = store.put("Agent", "new", b"newer");
    }
}

/// Reads everything there is, and holds it against the image's history.
fn look(store: &Store, image: &Image, trust: Trust) -> Result<Content, Error> {
    let found = match image::content(store) {
        Err(error) if trust < Trust::Nothing => {
            // A hint told of what is damaged: each key is an error or what it once was.
            assert!(store.recovery().hints_used > 0, "{error}");
            look_at_each(store, image);
            return Err(error);
        }
        found => found?,
    };
    if trust < Trust::Nothing {
        for (key, value) in &found {
            assert!(image.had(key, value), "{key:?} never had this value");
        }
        let report = store.verify()?;
        // Behind a hint there may be damage in what nobody reads any more.
        assert!(report.is_clean() || store.recovery().hints_used > 0, "{report:?}");
        assert_eq!(report.live, found.len() as u64);
    } else {
        let _ = store.verify();
    }
    if trust == Trust::States {
        assert!(image.states.contains(&found), "the store was never in this state");
    }
    let _ = (store.stats(), store.snapshot().list::<()>("Agent"));
    Ok(found)
}

/// Of a store that can't be read to the end: what can is what it was once, no scan leaves anything
/// out, and verifying finds the damage.
fn look_at_each(store: &Store, image: &Image) {
    for kind in store.kinds().expect("from memory") {
        let ids: Vec<String> =
            store.scan(&kind).keys().map(|id| id.expect("from memory")).collect();
        assert_eq!(store.count(&kind).expect("from memory"), ids.len() as u64);
        assert_eq!(store.scan(&kind).iter().count(), ids.len());
        for id in ids {
            match store.get_resource(&kind, &id) {
                Err(_) => {}
                Ok(None) => panic!("{kind}/{id} is listed, and absent"),
                Ok(Some(found)) => {
                    let key = (kind.clone(), id);
                    assert!(image.had(&key, &found.data), "{key:?} never had this value");
                }
            }
        }
    }
    assert!(!store.verify().expect("it reads").is_clean());
}

type Files = Vec<(String, Vec<u8>)>;

fn pick(file: u8, files: &[(String, Vec<u8>)]) -> usize {
    usize::from(file) % files.len().max(1)
}

fn apply(edit: &Edit, files: &mut Files, image: &Image) -> Trust {
    if files.is_empty() {
        return Trust::States;
    }
    match edit {
        Edit::Delete { .. } | Edit::Copy { .. } | Edit::Plant { .. } | Edit::Graft { .. } => {
            apply_to_names(edit, files, image)
        }
        Edit::Frame { .. } | Edit::Header { .. } | Edit::Manifest { .. } | Edit::Hint { .. } => {
            apply_and_seal(edit, files)
        }
        _ => {
            apply_to_bytes(edit, files);
            Trust::States
        }
    }
}

fn apply_to_bytes(edit: &Edit, files: &mut Files) {
    match edit {
        Edit::Overwrite { file, at, bytes } => {
            let at_file = pick(*file, files);
            overwrite(&mut files[at_file].1, (*at).into(), bytes);
        }
        Edit::Flip { file, bit } => {
            let at_file = pick(*file, files);
            let bytes = &mut files[at_file].1;
            if !bytes.is_empty() {
                let bit = *bit as usize % (bytes.len() * 8);
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
        }
        Edit::Truncate { file, len } => {
            let at_file = pick(*file, files);
            files[at_file].1.truncate((*len).into());
        }
        Edit::Extend { file, zeros, bytes } => {
            let at_file = pick(*file, files);
            let len = files[at_file].1.len() + usize::from(*zeros);
            files[at_file].1.resize(len, 0);
            files[at_file].1.extend(bytes);
        }
        Edit::Splice { from, from_at, to, to_at, len } => {
            let bytes = &files[pick(*from, files)].1;
            let start = usize::from(*from_at).min(bytes.len());
            let end = (start + usize::from(*len)).min(bytes.len());
            let bytes = bytes[start..end].to_vec();
            let at_file = pick(*to, files);
            overwrite(&mut files[at_file].1, (*to_at).into(), &bytes);
        }
        _ => {}
    }
}

fn apply_to_names(edit: &Edit, files: &mut Files, image: &Image) -> Trust {
    match edit {
        Edit::Delete { file } => drop(files.remove(pick(*file, files))),
        Edit::Copy { from, to } => {
            let bytes = files[pick(*from, files)].1.clone();
            let at_file = pick(*to, files);
            files[at_file].1 = bytes;
        }
        Edit::Plant { name, bytes } => {
            let name = match name % 6 {
                0 => "MANIFEST.new".to_owned(),
                1 => "notes.txt".to_owned(),
                2 => "LOCK".to_owned(),
                n => format!("{:08x}.seg", u32::from(n) + u32::from(*name) / 6),
            };
            match files.iter_mut().find(|(other, _)| *other == name) {
                Some(file) => file.1 = bytes.clone(),
                None => files.push((name, bytes.clone())),
            }
        }
        Edit::Graft { image: other, file } => {
            let other = &images()[usize::from(*other) % images().len()];
            let (name, bytes) = &other.files[pick(*file, &other.files)];
            let own = std::ptr::eq(other, image);
            match files.iter_mut().find(|(own, _)| own == name) {
                Some(file) => file.1 = bytes.clone(),
                None => files.push((name.clone(), bytes.clone())),
            }
            // All of another store may have come over.
            if !own && name == "MANIFEST" {
                return Trust::Nothing;
            }
        }
        _ => {}
    }
    Trust::States
}

/// Changes what checksums cover, and the checksums with it.
fn apply_and_seal(edit: &Edit, files: &mut Files) -> Trust {
    match edit {
        Edit::Frame { file, frame, at, bytes } => {
            let at_file = pick(*file, files);
            change_frame(&mut files[at_file].1, *frame, *at, bytes);
            return Trust::Nothing;
        }
        Edit::Header { file, at, bytes } => {
            let at_file = pick(*file, files);
            let (name, file) = &mut files[at_file];
            let at = usize::from(*at) % 80;
            overwrite(file, at.min(file.len()), bytes);
            match name.as_str() {
                "MANIFEST" => seal::seal_manifest(file),
                "TAIL" => seal::seal_header(file, 24),
                hint if hint.ends_with(".hint") => seal::seal_header(file, 80),
                _ => seal::seal_header(file, 48),
            }
            // A salt or a base can be put back right.
            return if name == "MANIFEST" { Trust::Nothing } else { Trust::Values };
        }
        Edit::Manifest { at, remove, bytes } => {
            let Some((_, file)) = files.iter_mut().find(|(name, _)| name == "MANIFEST") else {
                return Trust::States;
            };
            if file.len() > 32 {
                let start = 32 + usize::from(*at) % (file.len() - 32);
                let end = (start + usize::from(*remove)).min(file.len());
                file.splice(start..end, bytes.iter().copied());
                seal::seal_manifest(file);
            }
            return Trust::Nothing;
        }
        Edit::Hint { hint, at, remove, bytes } => {
            let mut hints: Vec<_> =
                files.iter_mut().filter(|(n, _)| n.ends_with(".hint")).collect();
            let nth = usize::from(*hint) % hints.len().max(1);
            let Some((_, file)) = hints.get_mut(nth) else { return Trust::States };
            let start = usize::from(*at) % (file.len() + 1);
            let end = (start + usize::from(*remove)).min(file.len());
            file.splice(start..end, bytes.iter().copied());
            seal::seal_hint(file);
            return Trust::Nothing;
        }
        _ => {}
    }
    Trust::States
}

fn overwrite(file: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    if file.len() < at + bytes.len() {
        file.resize(at + bytes.len(), 0);
    }
    file[at..at + bytes.len()].copy_from_slice(bytes);
}

/// Changes frame number `frame` of a segment, and makes its checksums right.
fn change_frame(file: &mut [u8], frame: u8, at: u8, bytes: &[u8]) {
    let Some(header) = file.get(..72) else { return };
    let field = |at: usize| u64::from_le_bytes(header[at..at + 8].try_into().unwrap());
    let (salt, base) = (field(40), field(48));
    let mut offset = 72;
    for _ in 0..frame % 32 {
        let ends = kindlog::fuzzing::frame_ends(&file[offset..], base.wrapping_add(offset as u64));
        match ends {
            Some((_, end)) if offset + end.next_multiple_of(8) < file.len() => {
                offset += end.next_multiple_of(8);
            }
            _ => break,
        }
    }
    let start = (offset + 8 + usize::from(at)).min(file.len());
    let end = (start + bytes.len()).min(file.len());
    file[start..end].copy_from_slice(&bytes[..end - start]);
    seal::seal_frame(&mut file[offset..], salt, base.wrapping_add(offset as u64));
}
