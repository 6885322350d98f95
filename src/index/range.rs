//! Half-open ranges of ids.

use std::ops::Bound;

/// The ids from `start` up to, and without, `end`; to the last one if there is no `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct IdRange<'a> {
    pub(super) start: &'a [u8],
    pub(super) end: Option<&'a [u8]>,
}

impl<'a> IdRange<'a> {
    pub(super) fn is_empty(&self) -> bool {
        self.end.is_some_and(|end| end <= self.start)
    }

    /// What `BTreeMap::range` takes. It panics on an empty range, so ask [`IdRange::is_empty`].
    pub(super) fn bounds(&self) -> (Bound<&'a [u8]>, Bound<&'a [u8]>) {
        (Bound::Included(self.start), self.end.map_or(Bound::Unbounded, Bound::Excluded))
    }
}

/// The least id that is greater than `id`.
fn after(id: &[u8]) -> Vec<u8> {
    let mut next = Vec::with_capacity(id.len() + 1);
    next.extend_from_slice(id);
    next.push(0);
    next
}

/// The inclusive start that a lower bound means.
pub(super) fn start_of(bound: Bound<&[u8]>) -> Vec<u8> {
    match bound {
        Bound::Included(id) => id.to_vec(),
        Bound::Excluded(id) => after(id),
        Bound::Unbounded => Vec::new(),
    }
}

/// The exclusive end that an upper bound means.
pub(super) fn end_of(bound: Bound<&[u8]>) -> Option<Vec<u8>> {
    match bound {
        Bound::Included(id) => Some(after(id)),
        Bound::Excluded(id) => Some(id.to_vec()),
        Bound::Unbounded => None,
    }
}

/// The least id that is greater than all that start with `prefix`; `None` if none is.
pub(super) fn prefix_end(prefix: &[u8]) -> Option<Box<[u8]>> {
    let last = prefix.iter().rposition(|&byte| byte != 0xff)?;
    let mut end: Box<[u8]> = prefix[..=last].into();
    end[last] += 1;
    Some(end)
}
