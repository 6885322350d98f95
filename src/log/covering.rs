//! Which prefix tombstone covers an id, asked in the order of ids.

/// A walk through sorted ids beside sorted prefix tombstones. What it does for all ids together is
/// linear in the number of both, whatever the prefixes are.
#[derive(Debug)]
pub(crate) struct Covering<'a> {
    /// Prefixes in order, each once, with their revisions.
    tombstones: Vec<(&'a [u8], u64)>,
    next: usize,
    /// The prefixes that the walk is inside of, each starting with the one before, and the highest
    /// revision of each and of those before it.
    inside: Vec<(&'a [u8], u64)>,
}

impl<'a> Covering<'a> {
    /// A walk beside tombstones that are sorted by prefix.
    pub(crate) fn new(tombstones: Vec<(&'a [u8], u64)>) -> Covering<'a> {
        debug_assert!(tombstones.is_sorted_by(|a, b| a.0 < b.0));
        Covering { tombstones, next: 0, inside: Vec::new() }
    }

    /// The highest revision of a tombstone whose prefix `id` starts with; 0 if there is none. A
    /// record of the id is dead if its own is lower: at equal revision a prefix delete comes before
    /// the puts of its commit. Each id is at or above the one before.
    #[inline]
    pub(crate) fn revision(&mut self, id: &[u8]) -> u64 {
        while let Some(&(prefix, revision)) = self.tombstones.get(self.next)
            && prefix <= id
        {
            self.leave(prefix);
            let above = self.inside.last().map_or(0, |(_, revision)| *revision);
            self.inside.push((prefix, revision.max(above)));
            self.next += 1;
        }
        self.leave(id);
        self.inside.last().map_or(0, |(_, revision)| *revision)
    }

    /// Leaves the prefixes that `id` does not start with; no later id does.
    #[inline]
    fn leave(&mut self, id: &[u8]) {
        while self.inside.last().is_some_and(|(prefix, _)| !id.starts_with(prefix)) {
            self.inside.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_what_asking_every_tombstone_says() {
        let words = ["", "a", "ab", "abc", "abd", "ac", "b", "ba", "c", "ca", "cab"];
        for mask in 0..1u32 << words.len() {
            let nth = |(i, word): (usize, &&'static str)| {
                let revision = (i as u64 * 7 + u64::from(mask)) % 11 + 1;
                (mask >> i & 1 == 1).then_some((word.as_bytes(), revision))
            };
            let tombstones: Vec<(&[u8], u64)> = words.iter().enumerate().filter_map(nth).collect();
            let mut covering = Covering::new(tombstones.clone());
            for id in ["a", "aa", "abc", "abcd", "abz", "abz", "ac", "b", "bb", "cab", "cb", "d"] {
                let over =
                    tombstones.iter().filter(|(prefix, _)| id.as_bytes().starts_with(prefix));
                let expected = over.map(|(_, revision)| *revision).max().unwrap_or(0);
                assert_eq!(covering.revision(id.as_bytes()), expected, "{id}, {mask:b}");
            }
        }
    }
}
