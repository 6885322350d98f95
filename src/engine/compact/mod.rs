//! Compaction: space comes back by itself.
//!
//! A run takes a few sealed segments, its *inputs*, copies what is live of them in the order of
//! keys, and tombstones that are needed still, to new segments, points the index to the copies, and
//! retires the inputs. In this order:
//!
//! 1. `run`: what is live is found, by a walk through the index or by a merge of the inputs'
//!    contents. `batch` and `copy`: it is read and checked, and a copy written and synced.
//! 2. `publish`: the manifest names it, beside the inputs. From here on a record may stand in two
//!    segments; it is the same record, so it doesn't matter which one a crash leaves to be found.
//! 3. Each entry of the index that still points to an input moves to the copy.
//! 4. Once no entry points to an input, and all that made its records dead is durable, the manifest
//!    lets it go. Then its file is removed; who reads at a snapshot from before keeps it open.
//!
//! A crash, an error or a close in between leaves a sound store with more dead bytes.

mod batch;
mod copy;
mod handover;
mod pace;
pub(crate) mod plan;
mod publish;
mod run;
#[cfg(all(test, feature = "sim", not(kindlog_shuttle)))]
mod tests;
mod tombstones;
pub(crate) mod why;
pub(crate) mod worker;

use crate::error::{Error, Result};
use crate::format::contents::Contents;
use crate::format::location::SegmentId;
use crate::format::manifest::Sealed;
use crate::log::hint::{Check, Hint};
use crate::state::State;
use crate::state::compaction::Trouble;

/// Why it can't be known what a segment holds, where that is the segment's fault: it is damaged, or
/// the medium fails under it. That would be so for every run that comes after: the others go on.
///
/// # Errors
/// Any other error.
fn unreadable(error: Error) -> Result<Trouble> {
    match error {
        Error::Corrupt { reason, .. } => Ok(Trouble::damage(reason)),
        Error::Io { source, .. } => Ok(Trouble::unread(&source)),
        error => Err(error),
    }
}

/// What a sealed segment holds: by its hint, or by reading it.
///
/// # Errors
/// `Corrupt` if it has no hint and is not what was sealed, `Io` if that can't be read: then it may
/// hold anything.
fn contents(state: &State, id: SegmentId, sealed: &Sealed) -> Result<Contents> {
    let segment = state.segments.find(id)?;
    match state.segments.read_hint(&segment, Check::All, |totals| totals.is_of(sealed)) {
        Hint::Good(contents, _) => Ok(contents),
        Hint::Missing | Hint::Bad(_) => match Contents::read(&segment, sealed.length)? {
            (contents, found) if found.digest == sealed.digest => Ok(contents),
            _ => Err(Error::corrupt(&segment.path, 0, "this is not the segment that was sealed")),
        },
    }
}
