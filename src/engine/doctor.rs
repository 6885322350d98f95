//! What is wrong with a store, and what can still be had of it. Changes nothing.

use std::sync::Arc;

use super::examine::{Damage, Examination, Misnamed, examine};
use super::lenient::not_to_be_read;
use super::recover;
use super::report::RecoveryReport;
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::options::Options;

/// What [`Store::diagnose`](crate::Store::diagnose) found.
#[derive(Debug)]
#[non_exhaustive]
pub struct Diagnosis {
    /// What opening it would find, or why it would refuse.
    pub open: Result<RecoveryReport>,
    /// Sound records: puts and deletes, live or not.
    pub records: u64,
    /// Resources that sound records hold.
    pub live: u64,
    /// What is not sound.
    pub damages: Vec<Damage>,
    /// Segments that are there under other names.
    pub misnamed: Vec<Misnamed>,
}

impl Diagnosis {
    /// Whether nothing is wrong at all: it opens, and nothing is damaged, torn bytes included.
    pub fn is_healthy(&self) -> bool {
        self.open.is_ok() && self.damages.is_empty() && self.misnamed.is_empty()
    }
}

/// Examines a store.
pub(crate) fn diagnose(disk: &Arc<dyn Disk>) -> Result<Diagnosis> {
    recover::check_unlocked(&**disk)?;
    let seen = examine(disk)?;
    if seen.manifest.is_none() && seen.sources.is_empty() {
        return Err(recover::no_store(&**disk));
    }
    let live = seen.newest.iter().filter(|((kind, id), sound)| seen.is_live(kind, id, sound));
    let live = live.count() as u64;
    let open = match recover::open(disk.clone(), Options::new().read_only(true)) {
        Ok((_, report)) => Ok(report),
        Err(error @ Error::Io { .. }) if seen.manifest.is_some() => {
            // It may be that nothing but this process can't open it.
            not_to_be_read(error.share())?;
            Err(error)
        }
        Err(error) => Err(error),
    };
    let Examination { records, damages, misnamed, .. } = seen;
    Ok(Diagnosis { open, records, live, damages, misnamed })
}
