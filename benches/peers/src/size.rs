//! How many records a run has: as many as leave every cache larger than the data set, and fit on
//! the disk.

use std::path::Path;

use crate::data::KEY_LEN;
use crate::engine::Result;
use crate::engines::CACHE_BYTES;
use crate::machine;

/// Unless told otherwise.
const MOST: u64 = 1_000_000;
const QUICK: u64 = 10_000;
/// What a store keeps on disk at most for each byte of key and value, at the end of S1 and behind
/// the mixed loads: generous, as no store here was seen to need more.
const OVERWRITTEN: u64 = 8;
const LOADED: u64 = 2;
/// While a store is compacted that was only loaded.
const COMPACTING: u64 = 3;

fn record_len(value_len: usize) -> u64 {
    (KEY_LEN + value_len) as u64
}

/// The records of a run in which nobody said how many: half of the caches' size.
pub fn records(value_len: usize, quick: bool) -> u64 {
    let fit = CACHE_BYTES / 2 / record_len(value_len);
    fit.min(if quick { QUICK } else { MOST }) / 1000 * 1000
}

/// # Errors
/// Fewer than the workloads want, or more than the caches or the disk hold.
pub fn check(records: u64, value_len: usize, stores: u64, dir: &Path) -> Result<()> {
    fits(records, value_len, stores, machine::free_bytes(dir)?)
        .map_err(|error| format!("{}: {error}", dir.display()).into())
}

fn fits(records: u64, value_len: usize, stores: u64, free: u64) -> Result<()> {
    if records < 1000 {
        return Err("--records: the workloads want 1,000 at least".into());
    }
    let most = CACHE_BYTES / 4 * 3 / record_len(value_len);
    if records > most {
        return Err(format!(
            "{records} records with values of {value_len} bytes: the stores' caches of {} MiB \
             would not be larger than the data set; {most} records at most",
            CACHE_BYTES >> 20
        )
        .into());
    }
    let needed = records * record_len(value_len) * (OVERWRITTEN + LOADED * stores);
    there_is_room(&format!("{stores} stores of {records} records"), needed, free)
}

/// As [`check`], for loading one store of any size.
pub fn check_load(records: u64, value_len: usize, dir: &Path) -> Result<()> {
    if !(1000..=u64::from(u32::MAX)).contains(&records) {
        return Err("--sizes wants 1,000 to 4,294,967,295".into());
    }
    let needed = records * record_len(value_len) * COMPACTING;
    there_is_room(&format!("a store of {records} records"), needed, machine::free_bytes(dir)?)
}

fn there_is_room(what: &str, needed: u64, free: u64) -> Result<()> {
    match needed <= free {
        true => Ok(()),
        false => Err(format!(
            "{what} may take {} MiB and {} MiB are free: fewer records, fewer stores, or another \
             --dir",
            needed >> 20,
            free >> 20
        )
        .into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_scale_down_with_the_value() {
        let cases = [(200, 1_000_000), (1024, 504_000), (16_384, 32_000)];
        for (value_len, fit) in cases {
            assert_eq!(records(value_len, false), fit);
            assert_eq!(records(value_len, true), 10_000);
            assert!(fits(fit, value_len, 9, 16 << 30).is_ok());
            let error = fits(fit * 5, value_len, 9, 16 << 30).expect_err("too many").to_string();
            assert!(error.contains("caches"), "{error}");
            let error = fits(fit, value_len, 9, 1 << 30).expect_err("no room").to_string();
            assert!(error.contains("another --dir"), "{error}");
        }
        assert!(fits(10, 200, 0, 16 << 30).is_err());
    }
}
