//! What is visible, against the model.

use std::collections::BTreeSet;
use std::ops::Bound;

use super::ends::{contents, same};
use super::plan::{IDS, KINDS, PREFIXES, Range, pick};
use super::{Run, Value};
use crate::image;

impl Run {
    /// Everything that is visible, against the model.
    pub(super) fn check(&mut self) {
        if self.is_dead() {
            return;
        }
        let now = self.now().clone();
        for kind in KINDS {
            let expected = now.keys().filter(|(k, _)| *k == kind).count() as u64;
            match self.store.count(kind) {
                Ok(count) => assert_eq!(count, expected, "{kind}"),
                Err(error) => panic!("{error}"),
            }
            for id in IDS {
                let found = self.store.get_resource(kind, id);
                let expected = now.get(&(kind, id));
                match (found, expected) {
                    (Ok(None), None) => {
                        assert!(!self.store.contains(kind, id).is_ok_and(|there| there));
                    }
                    (Ok(Some(found)), Some(expected)) => {
                        assert_eq!(found.data[..], expected.bytes[..], "{kind}/{id}");
                        assert_eq!(Some(u64::from(found.revision)), expected.revision);
                        match self.store.get_value(kind, id) {
                            Ok(value) => assert_eq!(value, Some(found.data), "{kind}/{id}"),
                            Err(_) if self.faulty || self.dropped || self.death.is_some() => {}
                            Err(error) => panic!("{kind}/{id}: {error}"),
                        }
                    }
                    (Err(_), _) if self.faulty || self.dropped || self.death.is_some() => {}
                    (found, expected) => panic!("{kind}/{id}: {found:?}, not {expected:?}"),
                }
            }
        }
        let kinds: BTreeSet<String> = now.keys().map(|(kind, _)| (*kind).to_owned()).collect();
        assert_eq!(self.store.kinds().expect("it is open"), Vec::from_iter(kinds));
        match self.store.verify() {
            Ok(report) if self.dropped => drop(report),
            Ok(report) => assert!(report.is_clean(), "{report:?}"),
            Err(error) => self.excuse(&error),
        }
        let revision = u64::from(self.store.stats().revision);
        assert!(revision <= self.seen, "{revision}, {}", self.seen);
    }

    pub(super) fn scan(&mut self, range: &Range) {
        let Range { kind, prefix, after, from, to, reverse, limit } = range;
        let (kind, prefix) = (pick(&KINDS, *kind), pick(&PREFIXES, *prefix));
        let from = from.map_or(Bound::Unbounded, |id| Bound::Included(pick(&IDS, id)));
        let to = to.map_or(Bound::Unbounded, |(id, included)| match included {
            true => Bound::Included(pick(&IDS, id)),
            false => Bound::Excluded(pick(&IDS, id)),
        });
        let mut scan = self.store.scan(kind).prefix(prefix).range((from, to));
        let mut expected: Vec<(&str, Value)> = Vec::new();
        for ((k, id), value) in self.now() {
            let above = match from {
                Bound::Included(from) => *id >= from,
                _ => true,
            };
            let below = match to {
                Bound::Included(to) => *id <= to,
                Bound::Excluded(to) => *id < to,
                Bound::Unbounded => true,
            };
            if *k == kind && id.starts_with(prefix) && above && below {
                expected.push((id, value.clone()));
            }
        }
        if *reverse {
            scan = scan.reverse();
            expected.reverse();
        }
        if let Some(after) = after {
            let after = pick(&IDS, *after);
            scan = scan.after(after);
            expected.retain(|(id, _)| if *reverse { *id < after } else { *id > after });
        }
        if *limit < 8 {
            scan = scan.limit((*limit).into());
            expected.truncate((*limit).into());
        }
        let ids: Vec<String> = scan.keys().map(|id| id.expect("the index is in memory")).collect();
        assert!(ids.iter().eq(expected.iter().map(|(id, _)| id)), "{ids:?}");
        let mut len = 0;
        for (found, (id, value)) in scan.iter().zip(&expected) {
            match found {
                Ok(found) => {
                    assert!(found.id == *id && found.data[..] == value.bytes[..], "{found:?}");
                    assert_eq!(Some(u64::from(found.revision)), value.revision);
                }
                Err(error) => assert!(self.faulty || self.dropped || self.is_dead(), "{error}"),
            }
            len += 1;
        }
        assert_eq!(len, expected.len());
    }

    pub(super) fn look(&mut self, snapshot: u8) {
        if self.snapshots.is_empty() {
            return;
        }
        let (snapshot, state) = &self.snapshots[usize::from(snapshot) % self.snapshots.len()];
        let excused = self.faulty || self.dropped || self.death.is_some();
        for kind in KINDS {
            let ids: Vec<_> = snapshot.scan(kind).keys().map(|id| id.expect("in memory")).collect();
            let expected: Vec<_> =
                state.keys().filter(|(k, _)| *k == kind).map(|(_, id)| *id).collect();
            assert_eq!(ids, expected, "{kind}");
            for id in IDS {
                match (snapshot.get_resource(kind, id), state.get(&(kind, id))) {
                    (Ok(None), None) => {}
                    (Ok(Some(found)), Some(value)) => {
                        assert_eq!(found.data[..], value.bytes[..], "{kind}/{id}");
                    }
                    (Err(error), _) => assert!(excused, "{error}"),
                    (found, value) => panic!("{kind}/{id}: {found:?}, not {value:?}"),
                }
            }
        }
    }

    /// A reader beside the owner sees a state that was, and at least what is durable.
    pub(super) fn reader(&mut self) {
        let reader = image::options().read_only(true).open_on(&self.disk);
        let found = reader.and_then(|reader| {
            let found = contents(&reader)?;
            assert!(reader.verify()?.is_clean());
            Ok(found)
        });
        match found {
            Ok(found) if !self.tainted => {
                let saw = self.states[self.floor_power..].iter().any(|state| same(state, &found));
                assert!(saw, "a reader sees what never was: {found:?}");
            }
            Ok(_) => {}
            Err(error) => self.excuse(&error),
        }
    }
}
