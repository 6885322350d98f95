//! Changes made in a leaf: locations in place, all else in a copy.

use super::leaf::{END_LEN, LOCATION_LEN, Leaf, encode};
use super::leaves::{MAX_ENTRIES, MAX_ID_BYTES};
use super::run::Sorted;

/// Where in a leaf the next changes of a run belong.
struct Edits {
    /// Of each change: the entry that it is about, or before which it goes, and whether the id is
    /// there.
    places: [(u16, bool); MAX_ENTRIES],
    count: usize,
    /// How many ids the leaf has after them, and how many bytes their suffixes.
    len: usize,
    suffixes_len: usize,
    /// Only locations change.
    in_place: bool,
}

/// The parts of a new leaf behind its prefix, each with what is still to be written.
struct Parts<'a> {
    suffixes: &'a mut [u8],
    ends: &'a mut [u8],
    locations: &'a mut [u8],
    /// Where the last suffix ends.
    end: u16,
}

impl Leaf {
    /// Makes the next `count` changes of `run`, without a word to the map above. False, and nothing
    /// is changed, where that is no simple matter: the leaf's first id would be another, it would
    /// want splitting or joining, or an id doesn't start as the others do.
    pub(super) fn apply(&mut self, run: &Sorted, count: usize) -> bool {
        let Some(edits) = self.edits(run, count) else { return false };
        if edits.in_place {
            for nth in 0..count {
                if let (_, Some(location)) = run.get(nth) {
                    self.set_location(usize::from(edits.places[nth].0), location);
                }
            }
            return true;
        }
        let prefix_len = self.prefix().len();
        let id_bytes = edits.len * prefix_len + edits.suffixes_len;
        if !(MAX_ENTRIES / 4..=MAX_ENTRIES).contains(&edits.len) || id_bytes > MAX_ID_BYTES {
            return false;
        }
        *self = self.spliced(run, &edits);
        true
    }

    /// `None` where the leaf has to be built anew.
    fn edits(&self, run: &Sorted, count: usize) -> Option<Edits> {
        let prefix = self.prefix();
        let mut edits = Edits {
            places: [(0, false); MAX_ENTRIES],
            count,
            len: self.len(),
            suffixes_len: self.suffixes().len(),
            in_place: true,
        };
        let mut from = 0;
        for nth in 0..count {
            let (id, location) = run.get(nth);
            let (at, present) = match self.search_from(from, id) {
                Ok(at) => (at, true),
                Err(at) => (at, false),
            };
            edits.places[nth] = (at as u16, present);
            from = at + usize::from(present);
            match (location.is_some(), present) {
                // Of the latter, it was put and deleted, and never came here.
                (true, true) | (false, false) => {}
                _ if !id.starts_with(prefix) || at == 0 => return None,
                (true, _) => {
                    edits.in_place = false;
                    edits.len += 1;
                    edits.suffixes_len += id.len() - prefix.len();
                }
                (false, _) => {
                    edits.in_place = false;
                    edits.len -= 1;
                    edits.suffixes_len -= id.len() - prefix.len();
                }
            }
        }
        Some(edits)
    }

    /// A copy with the changes made, in long stretches.
    fn spliced(&self, run: &Sorted, edits: &Edits) -> Leaf {
        let prefix = self.prefix();
        let (len, suffixes_len) = (edits.len, edits.suffixes_len);
        let size = prefix.len() + suffixes_len + len * (END_LEN + LOCATION_LEN);
        let mut bytes = vec![0; size].into_boxed_slice();
        let (head, rest) = bytes.split_at_mut(prefix.len());
        head.copy_from_slice(prefix);
        let (suffixes, rest) = rest.split_at_mut(suffixes_len);
        let (ends, locations) = rest.split_at_mut(len * END_LEN);
        let mut parts = Parts { suffixes, ends, locations, end: 0 };
        let mut from = 0;
        for nth in 0..edits.count {
            let (at, present) = edits.places[nth];
            let at = usize::from(at);
            parts.keep(self, from, at);
            from = at + usize::from(present);
            if let (id, Some(location)) = run.get(nth) {
                let suffix = &id[prefix.len()..];
                parts.suffixes(suffix);
                parts.end += suffix.len() as u16;
                front(&mut parts.ends, END_LEN).copy_from_slice(&parts.end.to_le_bytes());
                front(&mut parts.locations, LOCATION_LEN).copy_from_slice(&encode(location));
            }
        }
        parts.keep(self, from, self.len());
        Leaf::from_parts(bytes, len, prefix.len())
    }
}

impl Parts<'_> {
    /// Copies the entries from `from` up to `to`.
    fn keep(&mut self, leaf: &Leaf, from: usize, to: usize) {
        if from == to {
            return;
        }
        let (start, end) = (leaf.start(from), leaf.start(to));
        self.suffixes(&leaf.suffixes()[start..end]);
        let shift = self.end.wrapping_sub(start as u16);
        let old = leaf.ends()[from * END_LEN..to * END_LEN].as_chunks::<END_LEN>().0;
        let new = front(&mut self.ends, (to - from) * END_LEN).as_chunks_mut::<END_LEN>().0;
        for (new, old) in new.iter_mut().zip(old) {
            *new = u16::from_le_bytes(*old).wrapping_add(shift).to_le_bytes();
        }
        self.end = (end as u16).wrapping_add(shift);
        let locations = &leaf.locations()[from * LOCATION_LEN..to * LOCATION_LEN];
        front(&mut self.locations, locations.len()).copy_from_slice(locations);
    }

    fn suffixes(&mut self, bytes: &[u8]) {
        front(&mut self.suffixes, bytes.len()).copy_from_slice(bytes);
    }
}

/// Takes the first `len` bytes off what is to be written.
fn front<'a>(rest: &mut &'a mut [u8], len: usize) -> &'a mut [u8] {
    let (front, behind) = std::mem::take(rest).split_at_mut(len);
    *rest = behind;
    front
}
