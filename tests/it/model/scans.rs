//! Scans of every shape, on a store and on a map.

use std::ops::Bound;

use kindlog::Store;

use super::verbs::{IDS, KINDS, PREFIXES, ScanShape};
use crate::support::Model;

impl ScanShape {
    /// Asserts that the store finds what the map has, in the same order.
    pub(crate) fn check(&self, store: &Store, model: &Model) {
        let kind = KINDS[self.kind];
        let mut scan = store.scan(kind);
        let mut expected: Vec<&str> = model.of(kind).map(|(id, ..)| id).collect();
        if let Some(prefix) = self.prefix {
            scan = scan.prefix(PREFIXES[prefix]);
            expected.retain(|id| id.starts_with(PREFIXES[prefix]));
        }
        if let Some((from, with_from, to, with_to)) = self.range {
            let bound = |id: usize, with| match with {
                true => Bound::Included(IDS[id]),
                false => Bound::Excluded(IDS[id]),
            };
            scan = scan.range((bound(from, with_from), bound(to, with_to)));
            expected.retain(|id| *id > IDS[from] || (with_from && *id == IDS[from]));
            expected.retain(|id| *id < IDS[to] || (with_to && *id == IDS[to]));
        }
        if self.reverse {
            scan = scan.reverse();
            expected.reverse();
        }
        if let Some(after) = self.after {
            scan = scan.after(IDS[after]);
            expected.retain(|id| if self.reverse { *id < IDS[after] } else { *id > IDS[after] });
        }
        if let Some(limit) = self.limit {
            scan = scan.limit(limit);
            expected.truncate(limit);
        }
        let keys: Vec<String> = scan.keys().map(Result::unwrap).collect();
        assert_eq!(keys, expected, "{self:?}");
        let resources: Vec<_> = scan.iter().map(Result::unwrap).collect();
        assert_eq!(resources.iter().map(|r| r.id.as_str()).collect::<Vec<_>>(), expected);
        let values = expected.iter().map(|id| &model.get(kind, id).unwrap().0);
        assert!(resources.iter().map(|r| &r.data).eq(values), "values of {self:?}");
    }
}
