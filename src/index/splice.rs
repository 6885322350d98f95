//! A leaf made from another and a few changes.

use super::leaf::{END_LEN, LOCATION_LEN, Leaf, encode};
use super::leaves::{MAX_ENTRIES, MAX_ID_BYTES};
use super::run::Sorted;

/// The next changes of a run, and where in a leaf each belongs.
struct Edits<'a> {
    leaf: &'a Leaf,
    run: &'a Sorted,
    places: [(u16, bool); MAX_ENTRIES],
    count: usize,
}

/// What comes next in the new leaf.
enum Piece<'a> {
    /// Entries of the old one.
    Kept(usize, usize),
    /// The run's change, and the rest of its id after the prefix.
    Put(usize, &'a [u8]),
}

impl Leaf {
    /// The leaf with the next `count` changes of `run` made, copied in long stretches. `None` where
    /// that is no simple matter: its first id would be another, it would want splitting or joining,
    /// or an id doesn't start as the others do.
    pub(super) fn splice(&self, run: &Sorted, count: usize) -> Option<Leaf> {
        let prefix = self.prefix();
        let mut edits = Edits { leaf: self, run, places: [(0, false); MAX_ENTRIES], count };
        let (mut len, mut suffixes_len) = (self.len(), self.suffixes().len());
        for nth in 0..count {
            let (id, location) = run.get(nth);
            let (at, present) = match self.search(id) {
                Ok(at) => (at, true),
                Err(at) => (at, false),
            };
            edits.places[nth] = (at as u16, present);
            if !id.starts_with(prefix) || at == 0 && (!present || location.is_none()) {
                return None;
            }
            match (location.is_some(), present) {
                (true, false) => {
                    (len, suffixes_len) = (len + 1, suffixes_len + id.len() - prefix.len())
                }
                (false, true) => {
                    (len, suffixes_len) = (len - 1, suffixes_len - (id.len() - prefix.len()));
                }
                _ => {}
            }
        }
        let id_bytes = len * prefix.len() + suffixes_len;
        if !(MAX_ENTRIES / 4..=MAX_ENTRIES).contains(&len) || id_bytes > MAX_ID_BYTES {
            return None;
        }
        let mut bytes =
            Vec::with_capacity(prefix.len() + suffixes_len + len * (END_LEN + LOCATION_LEN));
        bytes.extend_from_slice(prefix);
        edits.write_suffixes(&mut bytes);
        edits.write_ends(&mut bytes);
        edits.write_locations(&mut bytes);
        Some(Leaf::from_parts(bytes, len, prefix.len()))
    }
}

impl<'a> Edits<'a> {
    fn each(&self, mut f: impl FnMut(Piece<'a>)) {
        let prefix_len = self.leaf.prefix().len();
        let mut from = 0;
        for nth in 0..self.count {
            let (at, present) = self.places[nth];
            let at = usize::from(at);
            f(Piece::Kept(from, at));
            from = at + usize::from(present);
            let (id, location) = self.run.get(nth);
            if location.is_some() {
                f(Piece::Put(nth, &id[prefix_len..]));
            }
        }
        f(Piece::Kept(from, self.leaf.len()));
    }

    fn write_suffixes(&self, bytes: &mut Vec<u8>) {
        let suffixes = self.leaf.suffixes();
        self.each(|piece| match piece {
            Piece::Kept(from, to) => {
                bytes.extend_from_slice(&suffixes[self.leaf.start(from)..self.leaf.start(to)]);
            }
            Piece::Put(_, suffix) => bytes.extend_from_slice(suffix),
        });
    }

    fn write_ends(&self, bytes: &mut Vec<u8>) {
        let mut end = 0u16;
        self.each(|piece| match piece {
            Piece::Kept(from, to) => {
                let shift = end.wrapping_sub(self.leaf.start(from) as u16);
                for old in self.leaf.ends()[from * END_LEN..to * END_LEN].chunks_exact(END_LEN) {
                    end = u16::from_le_bytes([old[0], old[1]]).wrapping_add(shift);
                    bytes.extend_from_slice(&end.to_le_bytes());
                }
            }
            Piece::Put(_, suffix) => {
                end += suffix.len() as u16;
                bytes.extend_from_slice(&end.to_le_bytes());
            }
        });
    }

    fn write_locations(&self, bytes: &mut Vec<u8>) {
        let locations = self.leaf.locations();
        self.each(|piece| match piece {
            Piece::Kept(from, to) => {
                bytes.extend_from_slice(&locations[from * LOCATION_LEN..to * LOCATION_LEN]);
            }
            Piece::Put(nth, _) => {
                if let (_, Some(location)) = self.run.get(nth) {
                    bytes.extend_from_slice(&encode(location));
                }
            }
        });
    }
}
