//! One file of a simulated disk, and the chance that decides what a power loss leaves of it.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use super::Loss;
use crate::disk::memory::write_all_at;

/// How many of the last unsynced versions of a sector a power loss chooses from.
const VERSIONS_KEPT: usize = 4;
pub(super) const SECTOR_BYTES: usize = 512;
pub(super) const PAGE_BYTES: usize = 4096;

/// One file. Between syncs `cache` and `durable` differ by `dirty` and by their lengths.
#[derive(Debug)]
pub(super) struct Inode {
    /// What reads see.
    pub(super) cache: Vec<u8>,
    /// What the medium has for sure.
    durable: Vec<u8>,
    /// What the medium takes whole or not at all: a sector, or in the tail file a page.
    pub(super) unit_bytes: usize,
    /// Per unit what the last few unsynced writes made of it, oldest first, padded with zeros.
    /// Whole units, as the cache writes them back: a later version holds the earlier ones' bytes.
    dirty: BTreeMap<usize, Vec<Vec<u8>>>,
    /// The lengths that the file had since the last sync, oldest first.
    unsynced_lens: Vec<usize>,
    /// Cloned by every open handle.
    pub(super) pin: Arc<()>,
}

impl Inode {
    pub(super) fn new(unit_bytes: usize) -> Inode {
        Inode {
            cache: Vec::new(),
            durable: Vec::new(),
            unit_bytes,
            dirty: BTreeMap::new(),
            unsynced_lens: Vec::new(),
            pin: Arc::new(()),
        }
    }

    pub(super) fn image(&self) -> Inode {
        Inode {
            cache: self.cache.clone(),
            durable: self.durable.clone(),
            unit_bytes: self.unit_bytes,
            dirty: self.dirty.clone(),
            unsynced_lens: self.unsynced_lens.clone(),
            pin: Arc::new(()),
        }
    }

    pub(super) fn is_open(&self) -> bool {
        Arc::strong_count(&self.pin) > 1
    }

    pub(super) fn len(&self) -> u64 {
        self.cache.len() as u64
    }

    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let len_before = self.cache.len();
        write_all_at(&mut self.cache, bytes, offset)?;
        if self.cache.len() != len_before {
            self.unsynced_lens.push(self.cache.len());
        }
        self.mark_dirty(offset as usize, offset as usize + bytes.len());
        Ok(())
    }

    pub(super) fn set_len(&mut self, len: u64) {
        let (len, len_before) = (len as usize, self.cache.len());
        if len == len_before {
            return;
        }
        self.cache.resize(len, 0);
        self.unsynced_lens.push(len);
        // What was cut off is gone for good: if the file grows again, zeros are there.
        self.mark_dirty(len, len_before);
    }

    fn mark_dirty(&mut self, start: usize, end: usize) {
        if start >= end {
            return;
        }
        for unit in start / self.unit_bytes..=(end - 1) / self.unit_bytes {
            let version = unit_of(&self.cache, unit, self.unit_bytes);
            let versions = self.dirty.entry(unit).or_default();
            versions.push(version);
            if versions.len() > VERSIONS_KEPT {
                versions.remove(0);
            }
        }
    }

    pub(super) fn sync(&mut self) {
        for (unit, mut versions) in std::mem::take(&mut self.dirty) {
            let version = versions.pop().expect("a dirty unit has a version");
            set_unit(&mut self.durable, unit, &version);
        }
        self.durable.resize(self.cache.len(), 0);
        self.unsynced_lens.clear();
    }

    /// The length stays to be synced in either case: file systems keep it apart from the pages.
    pub(super) fn fail_sync(&mut self, keeps_new: bool) {
        for unit in std::mem::take(&mut self.dirty).into_keys() {
            if !keeps_new {
                let old = unit_of(&self.durable, unit, self.unit_bytes);
                let len = self.cache.len();
                set_unit(&mut self.cache, unit, &old);
                self.cache.truncate(len);
            }
        }
    }

    pub(super) fn lose_power(&mut self, loss: Loss, rng: &mut Rng) {
        match loss {
            Loss::Nothing => self.sync(),
            Loss::AllUnsynced => {}
            Loss::Seed(_) => {
                let chance = rng.chance_of_survival();
                let len_before = self.durable.len();
                for (unit, versions) in &self.dirty {
                    if rng.happens(chance) {
                        let version = rng.mostly_last(versions);
                        set_unit(&mut self.durable, *unit, version);
                    }
                }
                let survives = !self.unsynced_lens.is_empty() && rng.happens(chance);
                let len = if survives { *rng.mostly_last(&self.unsynced_lens) } else { len_before };
                self.durable.resize(len, 0);
            }
        }
        self.dirty.clear();
        self.unsynced_lens.clear();
        self.cache = self.durable.clone();
    }

    pub(super) fn plant(&mut self, bytes: Vec<u8>) {
        self.dirty.clear();
        self.unsynced_lens.clear();
        self.durable = bytes.clone();
        self.cache = bytes;
    }
}

/// A unit of `bytes`, padded with zeros.
fn unit_of(bytes: &[u8], unit: usize, unit_bytes: usize) -> Vec<u8> {
    let start = (unit * unit_bytes).min(bytes.len());
    let end = (start + unit_bytes).min(bytes.len());
    let mut copy = bytes[start..end].to_vec();
    copy.resize(unit_bytes, 0);
    copy
}

fn set_unit(bytes: &mut Vec<u8>, unit: usize, version: &[u8]) {
    let start = unit * version.len();
    if bytes.len() < start + version.len() {
        bytes.resize(start + version.len(), 0);
    }
    bytes[start..start + version.len()].copy_from_slice(version);
}

/// SplitMix64: small, and the same everywhere.
pub(super) struct Rng(u64);

impl Rng {
    pub(super) fn new(seed: u64) -> Rng {
        Rng(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Less than `bound`, which isn't 0.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// How many of 16 unsynced things survive in one file. Even odds alone would never leave a long
    /// write whole, or all but one sector of it, and those are the images that find bugs.
    pub(super) fn chance_of_survival(&mut self) -> u64 {
        [0, 1, 4, 8, 12, 15, 16][self.below(7) as usize]
    }

    pub(super) fn happens(&mut self, chance_of_16: u64) -> bool {
        self.below(16) < chance_of_16
    }

    fn mostly_last<'a, T>(&mut self, versions: &'a [T]) -> &'a T {
        let last = versions.len() - 1;
        let chosen =
            if self.happens(12) { last } else { self.below(versions.len() as u64) as usize };
        &versions[chosen]
    }
}
