//! What a commit's changes come to: which of them have an effect, and on what.
//!
//! Where a key is takes a change most of its time, waiting for memory. So where several threads
//! commit it is looked up before the order lock is taken, and believed later if it still holds.
//! Else only its slot is asked for before.

use std::sync::Arc;

use smallvec::SmallVec;

use super::commit::{Change, Expect, What};
use super::read::{self, Begun, KEYED_LEN};
use crate::error::{Error, Result};
use crate::format::location::{Location, SegmentId};
use crate::index::{Hashed, Kind};
use crate::resource::Revision;
use crate::state::{Effect, Order, State, overlay_key};
use crate::zoo::{Bug, planted};

/// A change that has an effect.
pub(super) struct Decided<'a> {
    pub(super) change: Change<'a>,
    pub(super) kind: &'a Arc<Kind>,
    /// The hash of the id. A prefix has none.
    pub(super) hash: u64,
    /// Where the key's resource is so far.
    old: Option<Location>,
    /// Where the record lies once it is written.
    pub(super) new: Location,
    /// How many bytes of the commit come after it.
    pub(super) left: u64,
}

/// Most commits have one change: theirs needs no allocation.
pub(super) type Decisions<'a> = SmallVec<[Decided<'a>; 1]>;

impl<'a> Decided<'a> {
    fn new(change: Change<'a>, at: &Spot<'a>, old: Option<Location>) -> Decided<'a> {
        let nowhere = Location::new(SegmentId(0), 0, 0);
        Decided { change, kind: at.kind, hash: at.hash, old, new: nowhere, left: 0 }
    }

    pub(super) fn id(&self) -> Hashed<'a> {
        Hashed { id: self.change.id.as_bytes(), hash: self.hash }
    }

    /// What the index is to do. The record's place is known.
    pub(super) fn effect(&self) -> Effect {
        let new = self.new;
        match (self.change.what, self.old) {
            (What::Put(_), old) => Effect::Put { new, old },
            (What::Delete, Some(old)) => Effect::Delete { tombstone: new, old },
            _ => Effect::DeletePrefix { tombstone: new },
        }
    }
}

/// Where a change takes place, as far as that was found without the order lock.
#[derive(Clone, Copy)]
pub(super) struct Spot<'a> {
    kind: &'a Arc<Kind>,
    hash: u64,
    /// The key's record, and its revision.
    seen: Option<(Location, u64)>,
}

impl Spot<'_> {
    /// Begins to look for the key's record.
    #[inline(always)]
    pub(super) fn begin(&self, state: &State) -> Begun {
        read::begin::<KEYED_LEN>(state, self.kind, self.hash)
    }
}

/// The spots of all changes; `None` is a kind that nothing was ever put into.
pub(super) type Spots<'a> = SmallVec<[Option<Spot<'a>>; 1]>;

/// Looks up where the changes will take place; with `ahead`, also where their keys are by now.
/// What can't be read is looked at again when it is decided.
pub(super) fn look_up<'a>(
    state: &'a State,
    changes: &[Change<'a>],
    ahead: bool,
    spots: &mut Spots<'a>,
) {
    // Most often the next change is of the same kind.
    let mut last: Option<&'a Arc<Kind>> = None;
    let mut spot = |change: &Change<'a>| {
        let kind = match (last.filter(|last| last.name() == change.kind), change.what) {
            (Some(last), _) => last,
            (None, What::Put(_)) => state.index.kind_or_create(change.kind),
            (None, What::Delete | What::DeletePrefix) => state.index.kind(change.kind)?,
        };
        last = Some(kind);
        if let What::DeletePrefix = change.what {
            return Some(Spot { kind, hash: 0, seen: None });
        }
        let id = kind.hashed(change.id.as_bytes());
        let seen = match ahead {
            true => read::locate(state, kind, id).ok().flatten(),
            false => {
                kind.prefetch(id.hash);
                None
            }
        };
        Some(Spot { kind, hash: id.hash, seen })
    };
    match changes {
        [change] => spots.push(spot(change)),
        _ => spots.extend(changes.iter().map(spot)),
    }
}

/// Where a put takes place that is all of a commit, without a condition: it has an effect whatever
/// it overwrites.
pub(super) fn lone_put<'s, 'a>(
    changes: &[Change<'a>],
    spots: &'s Spots<'a>,
    expect: Option<Expect>,
) -> Option<&'s Spot<'a>> {
    match (changes, &spots[..], expect) {
        ([Change { what: What::Put(_), .. }], [Some(spot)], None) => Some(spot),
        _ => None,
    }
}

/// The decision on a lone put. What it overwrites is still to be found: to encode the put, which
/// comes first, takes about as long as that is on its way from memory.
#[inline(always)]
pub(super) fn put_alone<'a>(change: &Change<'a>, spot: &Spot<'a>) -> Decided<'a> {
    Decided::new(*change, spot, None)
}

/// Finds what a lone put overwrites, as was begun when the order was locked.
#[inline(always)]
pub(super) fn find_old(
    state: &State,
    order: &Order,
    spot: &Spot<'_>,
    begun: &Begun,
    decided: &mut Decided<'_>,
) -> Result<()> {
    decided.old = current(state, order, spot, decided.change.id, Some(begun), &mut false)?;
    Ok(())
}

/// Finds out which changes have an effect, and on what: they are added to `decided`. Returns how
/// many resources they remove. `awaited` tells whether a commit in flight had a say.
pub(super) fn decide<'a>(
    state: &'a State,
    order: &Order,
    changes: &[Change<'a>],
    spots: &[Option<Spot<'a>>],
    expect: Option<Expect>,
    awaited: &mut bool,
    decided: &mut Decisions<'a>,
) -> Result<u64> {
    let (mut prefixes, mut removed) = (0, 0);
    for (i, (change, spot)) in changes.iter().zip(spots).enumerate() {
        let again = || {
            let kind = state.index.kind(change.kind)?;
            Some(Spot { kind, hash: kind.hash(change.id.as_bytes()), seen: None })
        };
        // Its first record may have come meanwhile.
        let Some(spot) = spot.or_else(again) else {
            if i == 0 {
                check_expectation(expect, || Ok(None))?;
            }
            continue;
        };
        if let What::DeletePrefix = change.what {
            let count = spot.kind.count_prefix(change.id.as_bytes());
            removed += count;
            if count > 0 {
                decided.push(Decided::new(*change, &spot, None));
                prefixes = decided.len();
            }
            continue;
        }
        let mut old = current(state, order, &spot, change.id, None, awaited)?;
        if i == 0 {
            check_expectation(expect, || revision_of(state, order, spot.kind, change.id, old))?;
        }
        if is_covered(&decided[..prefixes], change) {
            old = None;
        }
        match (change.what, old) {
            (What::Delete, None) => continue,
            (What::Delete, Some(_)) => removed += 1,
            _ => {}
        }
        decided.push(Decided::new(*change, &spot, old));
    }
    Ok(removed)
}

/// Whether one of the commit's prefix deletes covers the key of `change`. They are in order, and
/// none covers another, so only the last one before the key can.
fn is_covered(deletes: &[Decided<'_>], change: &Change<'_>) -> bool {
    let key = (change.kind, change.id);
    let behind = deletes.partition_point(|delete| (delete.change.kind, delete.change.id) <= key);
    behind.checked_sub(1).is_some_and(|at| {
        let delete = &deletes[at].change;
        delete.kind == change.kind && change.id.starts_with(delete.id)
    })
}

/// Where a key's resource is, after all commits that were ordered. The look for it in the index may
/// have begun.
#[inline(always)]
fn current(
    state: &State,
    order: &Order,
    spot: &Spot<'_>,
    id: &str,
    begun: Option<&Begun>,
    awaited: &mut bool,
) -> Result<Option<Location>> {
    let Spot { kind, hash, seen } = *spot;
    if !order.overlay.is_empty()
        && !planted(Bug::DropOverlay)
        && let Some(overlaid) = order.overlay.get(&overlay_key(kind.name(), id.as_bytes()))
    {
        *awaited = true;
        return Ok(overlaid.location);
    }
    if order.overlay_deletes(kind.name(), id) {
        *awaited = true;
        return Ok(None);
    }
    let id = Hashed { id: id.as_bytes(), hash };
    if let Some((location, revision)) = seen
        && kind.is_at(id, revision, location.place)
    {
        return Ok(Some(location));
    }
    let located = match begun {
        Some(begun) => read::locate_begun(state, kind, id, begun),
        None => read::locate(state, kind, id),
    };
    match located {
        Ok(located) => Ok(located.map(|(location, _)| location)),
        // A record that is damaged or can't be read can be written over and deleted.
        Err(Error::Corrupt { .. } | Error::Io { .. }) => Ok(kind.find_ordered(id.id)),
        Err(error) => Err(error),
    }
}

fn revision_of(
    state: &State,
    order: &Order,
    kind: &Kind,
    id: &str,
    location: Option<Location>,
) -> Result<Option<Revision>> {
    if let Some(overlaid) = order.overlay.get(&overlay_key(kind.name(), id.as_bytes())) {
        return Ok(overlaid.location.map(|_| Revision::from(overlaid.revision)));
    }
    if location.is_none() {
        return Ok(None);
    }
    let located = read::locate(state, kind, kind.hashed(id.as_bytes()))?;
    Ok(located.map(|(_, revision)| Revision::from(revision)))
}

fn check_expectation(
    expect: Option<Expect>,
    current: impl FnOnce() -> Result<Option<Revision>>,
) -> Result<()> {
    let holds = |current: Option<Revision>| match expect {
        None => true,
        Some(Expect::Absent) => current.is_none(),
        Some(Expect::Revision(revision)) => current == Some(revision),
    };
    if expect.is_none() {
        return Ok(());
    }
    let current = current()?;
    if holds(current) { Ok(()) } else { Err(Error::Conflict { current }) }
}

#[cfg(all(test, not(kindlog_shuttle)))]
mod tests {
    use super::*;
    use crate::{Options, Store};

    /// What a delete of a key comes to that was looked up before `meanwhile`.
    fn delete_after(store: &Store, meanwhile: impl FnOnce()) -> Option<Effect> {
        let state = store.state().expect("it is open");
        let changes = [Change { kind: "Agent", id: "a", what: What::Delete }];
        let spots = looked_up(&state, &changes);
        assert!(spots[0].is_some_and(|spot| spot.seen.is_some()), "it was there");
        meanwhile();
        decided(&state, &changes, &spots)
    }

    fn looked_up<'a>(state: &'a State, changes: &[Change<'a>]) -> Spots<'a> {
        let mut spots = Spots::new();
        look_up(state, changes, true, &mut spots);
        spots
    }

    fn decided(state: &State, changes: &[Change<'_>], spots: &Spots<'_>) -> Option<Effect> {
        let order = state.order.lock();
        let mut decided = Decisions::new();
        let removed = decide(state, &order, changes, spots, None, &mut false, &mut decided);
        assert_eq!(decided.len() as u64, removed.expect("it is decided"));
        decided.first().map(Decided::effect)
    }

    #[test]
    fn what_was_looked_up_is_believed_only_while_it_holds() {
        let store = Options::new().open_in_memory().expect("it opens");
        let put = || {
            store.put("Agent", "a", "value").expect("it is put");
        };
        let place = || {
            let state = store.state().expect("it is open");
            let kind = state.index.kind("Agent").expect("there is one");
            kind.find_ordered(b"a").map(|location| location.place)
        };
        let deleted = |effect| match effect {
            Some(Effect::Delete { old, .. }) => Some(old.place),
            _ => None,
        };
        put();
        assert_eq!(deleted(delete_after(&store, || ())), place());
        let before = place();
        assert_eq!(deleted(delete_after(&store, put)), place());
        assert_ne!(place(), before);
        type Meanwhile<'a> = &'a dyn Fn();
        let (delete, prefix, kind): (Meanwhile<'_>, Meanwhile<'_>, Meanwhile<'_>) = (
            &|| assert!(store.delete("Agent", "a").expect("it is deleted")),
            &|| assert_eq!(store.delete_prefix("Agent", "a").expect("it is deleted"), 1),
            &|| assert_eq!(store.delete_kind("Agent").expect("it is deleted"), 1),
        );
        for gone in [delete, prefix, kind] {
            assert!(delete_after(&store, gone).is_none(), "it is no longer there");
            put();
        }
    }

    /// Compaction moves a record, and lets its segment go, between the look and the order: what was
    /// found is no longer the key's place. Or in the middle of the look, which finds a place whose
    /// segment is missing: that is for the decision to look at again, and no error of the commit's.
    #[test]
    fn a_record_that_compaction_moves_meanwhile_is_found_where_it_went() {
        let store = Options::new().open_in_memory().expect("it opens");
        store.put("Agent", "a", "value").expect("it is put");
        let state = store.state().expect("it is open");
        let kind = state.index.kind("Agent").expect("there is one");
        let place = || kind.find_ordered(b"a").expect("it is there").place;
        let before = place();
        let effect = delete_after(&store, || store.compact().expect("it is compacted"));
        assert_ne!(place(), before, "it was not moved");
        assert!(!state.segments.has(before.segment), "its segment is there still");
        let is_there = |effect| match effect {
            Some(Effect::Delete { old, .. }) => old.place == place(),
            _ => false,
        };
        assert!(is_there(effect));

        let segment = state.segments.find(place().segment).expect("it is there");
        state.segments.remove(segment.id);
        let changes = [Change { kind: "Agent", id: "a", what: What::Delete }];
        let spots = looked_up(&state, &changes);
        state.segments.insert(segment);
        assert!(spots[0].is_some_and(|spot| spot.seen.is_none()), "there was nothing to see");
        assert!(is_there(decided(&state, &changes, &spots)));
    }
}
