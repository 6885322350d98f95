//! A limit: what a get waits for, and nothing else. One slot of a table, one record in a mapped
//! file, and a comparison of its key: no locks, no checksums, no order, no changes. A store that
//! keeps its records in a log and finds them by a hash can't do less.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use memmap2::Mmap;

use crate::data::mix;
use crate::engine::{Each, Engine, Key, Put, Result, Role, Spec};

pub const SPEC: Spec = Spec {
    name: "bare",
    package: "",
    settings: "limit: slots of 8 bytes, three of four taken, and a mapped file written in units of \
        128 KiB; read again when it is opened; gets only",
    survives_kill: false,
    role: Role::Points,
    open: |dir, _, _| open(dir),
};

/// The file is written in units of so many bytes, as kindlog writes its segments.
const UNIT_LEN: usize = 128 << 10;
/// Records begin at multiples of this, and slots count in it.
const ALIGN: usize = 8;
/// Before the key: its length and the value's.
const HEAD_LEN: usize = 8;

struct Bare {
    log: Mutex<Log>,
    loaded: Option<Loaded>,
}

struct Log {
    file: File,
    written: u64,
    buffer: Vec<u8>,
}

/// What was in the file when it was opened.
struct Loaded {
    map: Mmap,
    slots: Box<[Slot]>,
}

#[derive(Clone, Copy)]
struct Slot {
    hash: u32,
    /// In units of `ALIGN`.
    place: u32,
}

const EMPTY: Slot = Slot { hash: 0, place: u32::MAX };

fn open(dir: &Path) -> Result<Box<dyn Engine>> {
    let path = dir.join("records");
    let bytes = if path.exists() { fs::read(&path)? } else { Vec::new() };
    let file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
    let loaded = if bytes.is_empty() { None } else { Some(Loaded::new(&file, &bytes)?) };
    let log = Mutex::new(Log { file, written: bytes.len() as u64, buffer: Vec::new() });
    Ok(Box::new(Bare { log, loaded }))
}

/// The record that `bytes` begin with: key, value, and how long it is.
#[inline]
fn record(bytes: &[u8]) -> (&[u8], &[u8], usize) {
    let head = u64::from_le_bytes(bytes[..HEAD_LEN].try_into().expect("eight bytes"));
    let (key_len, value_len) = (head as u32 as usize, (head >> 32) as usize);
    let (key, rest) = bytes[HEAD_LEN..].split_at(key_len);
    (key, &rest[..value_len], (HEAD_LEN + key_len + value_len).next_multiple_of(ALIGN))
}

#[inline]
fn hash(key: &[u8]) -> u32 {
    let (words, rest) = key.as_chunks::<8>();
    let hash = words.iter().fold(rest.len() as u64, |hash, word| {
        (hash ^ u64::from_le_bytes(*word)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29)
    });
    mix(rest.iter().fold(hash, |hash, byte| hash << 8 ^ u64::from(*byte))) as u32
}

impl Loaded {
    #[expect(unsafe_code, reason = "the mapped file is this process's own")]
    fn new(file: &File, bytes: &[u8]) -> Result<Loaded> {
        let mut places = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            let (key, _, len) = record(&bytes[at..]);
            places.push(Slot { hash: hash(key), place: u32::try_from(at / ALIGN)? });
            at += len;
        }
        let mut slots = vec![EMPTY; places.len() * 4 / 3 + 1].into_boxed_slice();
        for slot in places {
            let mut at = home(&slots, slot.hash);
            while slots[at].place != EMPTY.place {
                at = if at + 1 == slots.len() { 0 } else { at + 1 };
            }
            slots[at] = slot;
        }
        // SAFETY: nobody else has the directory, and what is written from now on lies behind.
        let map = unsafe { Mmap::map(file)? };
        Ok(Loaded { map, slots })
    }

    #[inline]
    fn find(&self, key: &[u8]) -> Option<&[u8]> {
        let hash = hash(key);
        let mut at = home(&self.slots, hash);
        loop {
            let slot = self.slots[at];
            if slot.place == EMPTY.place {
                return None;
            }
            if slot.hash == hash {
                let (found, value, _) = record(&self.map[slot.place as usize * ALIGN..]);
                if found == key {
                    return Some(value);
                }
            }
            at = if at + 1 == self.slots.len() { 0 } else { at + 1 };
        }
    }
}

#[inline]
fn home(slots: &[Slot], hash: u32) -> usize {
    ((u64::from(hash) * slots.len() as u64) >> 32) as usize
}

impl Log {
    fn write(&mut self, len: usize) -> Result<()> {
        self.file.write_all_at(&self.buffer[..len], self.written)?;
        self.written += len as u64;
        self.buffer.drain(..len);
        Ok(())
    }
}

const GETS_ONLY: &str = "all that it can is gets";

impl Engine for Bare {
    fn put(&self, key: Key<'_>, value: &[u8]) -> Result<()> {
        self.put_batch(&[(key, value)])
    }

    /// What is put is found when the file is opened again.
    fn put_batch(&self, batch: &[Put<'_>]) -> Result<()> {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, value) in batch {
            let buffer = &mut log.buffer;
            buffer.extend((key.joined.len() as u32).to_le_bytes());
            buffer.extend((value.len() as u32).to_le_bytes());
            buffer.extend(key.bytes());
            buffer.extend(*value);
            buffer.resize(buffer.len().next_multiple_of(ALIGN), 0);
            while log.buffer.len() >= UNIT_LEN {
                log.write(UNIT_LEN)?;
            }
        }
        Ok(())
    }

    fn get(&self, key: Key<'_>, found: Each<'_>) -> Result<bool> {
        let loaded = self.loaded.as_ref().ok_or("nothing is loaded")?;
        Ok(loaded.find(key.bytes()).map(found).is_some())
    }

    fn scan(&self, _: Key<'_>, _: usize, _: Each<'_>) -> Result<u64> {
        Err(GETS_ONLY.into())
    }

    fn keys(&self, _: Key<'_>, _: Each<'_>) -> Result<u64> {
        Err(GETS_ONLY.into())
    }

    fn delete_kind(&self, _: Key<'_>) -> Result<u64> {
        Err(GETS_ONLY.into())
    }

    fn sync(&self) -> Result<()> {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let len = log.buffer.len();
        log.write(len)?;
        Ok(log.file.sync_data()?)
    }

    fn compact(&mut self) -> Result<bool> {
        Ok(false)
    }

    fn close(self: Box<Self>) -> Result<()> {
        self.sync()
    }
}
