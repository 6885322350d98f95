//! Which tombstones are needed still.
//!
//! A tombstone goes only when no other segment holds a put that it deletes: one that is older, of
//! its key or under its prefix. Otherwise, after the next open, that put would be back. Segments
//! that are not sealed need no look: all that is in them is newer than what is in sealed ones.

use std::collections::{BTreeSet, HashSet};

use super::{contents, unreadable};
use crate::error::{Error, Result};
use crate::format::contents::Contents;
use crate::format::location::{Place, SegmentId};
use crate::log::merge::{Merge, PrefixTombstone};
use crate::state::State;
use crate::zoo::{Bug, planted};

/// The tombstones of a run's inputs that it has to copy.
#[derive(Debug, Default)]
pub(super) struct Tombstones {
    needed: HashSet<Place>,
    /// The segments that they are needed for.
    pub(super) by: BTreeSet<SegmentId>,
}

/// A tombstone, and whether it is known to be needed.
struct Tombstone {
    id: Box<[u8]>,
    place: Place,
    revision: u64,
    needed: bool,
}

/// The tombstones of a kind that count, in the order of ids.
struct OfKind<'a> {
    name: &'a str,
    keys: Vec<Tombstone>,
    prefixes: Vec<Tombstone>,
}

impl Tombstones {
    /// Looks into all other sealed segments that may hold something older.
    pub(super) fn find(
        state: &State,
        merge: &Merge<'_>,
        inputs: &[SegmentId],
    ) -> Result<Tombstones> {
        let mut kinds: Vec<OfKind<'_>> =
            (merge.kinds().into_iter().filter(|name| merge.may_delete(name)))
                .filter_map(|name| of_kind(merge, name))
                .collect();
        let newest = kinds.iter().flat_map(OfKind::all).map(|t| t.revision).max();
        let mut found = Tombstones::default();
        let Some(newest) = newest else { return Ok(found) };
        for entry in &state.manifest.get().segments {
            let Some(sealed) = &entry.sealed else { continue };
            let has_kind = |kind: &OfKind<'_>| sealed.kinds.iter().any(|k| k.kind == kind.name);
            let older = sealed.last_put_revision > 0 && sealed.first_put_revision < newest;
            let is_left = || state.compaction.findings.lock().left_alone(entry.id()).is_some();
            let is_newer = || inputs.iter().all(|input| entry.id() > *input);
            let passed_over = (planted(Bug::NewerFilesAreNewer) && is_newer())
                || (planted(Bug::LeftAloneNeedsNoTombstone) && is_left());
            if inputs.contains(&entry.id()) || passed_over || !older || !kinds.iter().any(has_kind)
            {
                continue;
            }
            let marked = match contents(state, entry.id(), sealed) {
                Ok(other) => kinds.iter_mut().fold(false, |any, kind| kind.mark(&other) | any),
                Err(Error::Corrupt { .. }) if planted(Bug::DamageNeedsNoTombstone) => false,
                Err(error) => {
                    unreadable(error)?;
                    // It may hold anything.
                    kinds.iter_mut().for_each(OfKind::mark_all);
                    true
                }
            };
            if marked {
                found.by.insert(entry.id());
            }
        }
        let needed = kinds.iter().flat_map(OfKind::all).filter(|tombstone| tombstone.needed);
        found.needed = needed.map(|tombstone| tombstone.place).collect();
        Ok(found)
    }

    /// Whether the tombstone at a location has to be copied.
    pub(super) fn has(&self, place: Place) -> bool {
        self.needed.contains(&place) && !planted(Bug::DropTombstones)
    }
}

/// A kind's tombstones. One that a newer prefix tombstone covers is of no use: where that one goes,
/// nothing is left that either of them deletes.
fn of_kind<'a>(merge: &Merge<'a>, name: &'a str) -> Option<OfKind<'a>> {
    let mut entries = merge.kind(name);
    let prefixes: Vec<Tombstone> = entries
        .prefixes()
        .iter()
        .map(|tombstone| Tombstone {
            id: tombstone.prefix.into(),
            place: place_of(tombstone),
            revision: tombstone.fields.revision,
            needed: false,
        })
        .collect();
    let mut keys = Vec::new();
    while let Some(entry) = entries.next() {
        if entry.delete && !entry.covered {
            let (place, revision) = (entry.location.place, entry.revision);
            keys.push(Tombstone { id: entry.id.into(), place, revision, needed: false });
        }
    }
    let any = !keys.is_empty() || !prefixes.is_empty();
    any.then_some(OfKind { name, keys, prefixes })
}

/// Where a prefix tombstone lies.
pub(super) fn place_of(tombstone: &PrefixTombstone<'_>) -> Place {
    Place { segment: tombstone.segment, offset: tombstone.fields.offset }
}

impl OfKind<'_> {
    fn all(&self) -> impl Iterator<Item = &Tombstone> {
        self.keys.iter().chain(&self.prefixes)
    }

    fn mark_all(&mut self) {
        self.keys.iter_mut().chain(&mut self.prefixes).for_each(|one| one.needed = true);
    }

    /// Marks the tombstones that a segment's puts need, and says whether there are any.
    ///
    /// The puts that its contents leave out are dead by something newer in the same segment, and go
    /// together with it.
    fn mark(&mut self, other: &Contents) -> bool {
        let Some(kind) = other.kind(self.name) else { return false };
        let mut entries = other.entries(kind);
        let (mut key, mut prefix, mut any) = (0, 0, false);
        // The prefixes that the walk is inside of, each starting with the one before.
        let mut inside: Vec<usize> = Vec::new();
        while entries.step().expect("contents were gone through when they were made or read") {
            let (id, fields) = (entries.id(), entries.fields());
            while self.prefixes.get(prefix).is_some_and(|t| *t.id <= *id) {
                inside.retain(|at| self.prefixes[prefix].id.starts_with(&self.prefixes[*at].id));
                inside.push(prefix);
                prefix += 1;
            }
            inside.retain(|at| id.starts_with(&self.prefixes[*at].id));
            while self.keys.get(key).is_some_and(|t| *t.id < *id) {
                key += 1;
            }
            if fields.delete {
                continue;
            }
            let here = self.keys.get_mut(key).filter(|t| *t.id == *id);
            let over = inside.iter().copied();
            let prefixes = &mut self.prefixes;
            let mut mark = |tombstone: &mut Tombstone| {
                let needed = fields.revision < tombstone.revision;
                tombstone.needed |= needed;
                any |= needed;
            };
            here.into_iter().for_each(&mut mark);
            over.for_each(|at| mark(&mut prefixes[at]));
        }
        any
    }
}
