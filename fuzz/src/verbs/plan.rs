//! What the fuzzer chooses: operations over few and awkward names.

use arbitrary::Arbitrary;
use kindlog::Durability;

/// What the fuzzer chooses.
#[derive(Arbitrary, Debug)]
pub struct Plan {
    pub(super) no_tail: bool,
    pub(super) default: Level,
    pub(super) ops: Vec<Op>,
}

/// A durability.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Level {
    /// On disk.
    Sync,
    /// With the kernel.
    Os,
    /// In memory.
    Buffered,
}

impl From<Level> for Durability {
    fn from(level: Level) -> Durability {
        match level {
            Level::Sync => Durability::Sync,
            Level::Os => Durability::Os,
            Level::Buffered => Durability::Buffered,
        }
    }
}

/// One step.
#[derive(Arbitrary, Debug)]
pub(super) enum Op {
    Put {
        key: Key,
        len: Len,
    },
    PutAt {
        key: Key,
        len: Len,
        level: Level,
    },
    Delete {
        key: Key,
    },
    DeletePrefix {
        kind: u8,
        prefix: u8,
    },
    Commit {
        changes: Vec<Change>,
        level: Level,
    },
    PutIf {
        key: Key,
        expect: Guess,
    },
    DeleteIf {
        key: Key,
        expect: Guess,
    },
    Scan(Range),
    Snapshot,
    Look {
        snapshot: u8,
    },
    Forget {
        snapshot: u8,
    },
    Sync,
    Check,
    Reader,
    Reopen,
    Kill,
    PowerLoss {
        seed: u16,
    },
    DieLater {
        after: u8,
        cut: u8,
        seed: Option<u16>,
    },
    Fail {
        kind: u8,
        nth: u8,
        fault: u8,
    },
    Full {
        room: u16,
    },
    Heal,
    /// A put that leaves the active segment little room.
    Fill {
        key: Key,
        left: u8,
        level: Level,
    },
    /// Compacts segments by their numbers, the active one too if it is to roll.
    Compact {
        roll: bool,
        pick: u8,
    },
}

/// Which part of a kind to list, and how.
#[derive(Arbitrary, Debug)]
pub(super) struct Range {
    pub(super) kind: u8,
    pub(super) prefix: u8,
    pub(super) after: Option<u8>,
    pub(super) from: Option<u8>,
    pub(super) to: Option<(u8, bool)>,
    pub(super) reverse: bool,
    pub(super) limit: u8,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub(super) struct Key {
    pub(super) kind: u8,
    pub(super) id: u8,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub(super) enum Len {
    Small(u8),
    Large(u8),
    Exact(u16),
}

#[derive(Arbitrary, Debug)]
pub(super) enum Change {
    Put { key: Key, len: Len },
    Delete { key: Key },
    DeletePrefix { kind: u8, prefix: u8 },
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub(super) enum Guess {
    Absent,
    Right,
    Wrong,
}

pub(super) const KINDS: [&str; 3] = ["A", "AB", "B"];
pub(super) const IDS: [&str; 10] =
    ["a", "a/", "a/b", "a/bc", "b", "b/1", "b/2", "\u{e9}", "\u{10ffff}", "z"];
pub(super) const PREFIXES: [&str; 6] = ["", "a", "a/", "b/", "z", "\u{10ffff}"];

pub(super) fn pick(from: &[&'static str], at: u8) -> &'static str {
    from[usize::from(at) % from.len()]
}

impl Key {
    pub(super) fn names(self) -> (&'static str, &'static str) {
        (pick(&KINDS, self.kind), pick(&IDS, self.id))
    }
}
