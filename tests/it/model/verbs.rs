//! What may happen to a store, and to whom.

use kindlog::Durability;
use proptest::prelude::*;
use proptest::sample::{Index, select};

/// Kinds that are prefixes of each other, or sort next to each other.
pub(crate) const KINDS: [&str; 5] = ["Agent", "AgentExecution", "A", "\u{10ffff}", "Agent\u{e9}"];

/// Ids that are prefixes of each other, hold separators, or end with the highest bytes there are.
pub(crate) const IDS: [&str; 18] = [
    "a",
    "a/",
    "a/b",
    "a/b/",
    "a/b/c",
    "ab",
    "b",
    " ",
    "~",
    "\u{fc}",
    "\u{fc}b",
    "\u{7ff}",
    "\u{800}",
    "\u{ffff}",
    "\u{10fffe}",
    "\u{10ffff}",
    "\u{10ffff}a",
    "a\u{10ffff}",
];

pub(crate) const PREFIXES: [&str; 12] =
    ["", "", "a", "a/", "a/b", "\u{fc}", "\u{10ffff}", "a\u{10ffff}", "x", "n/", "n/1", "n/02"];

/// A change of a batch, by indices into the lists above.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Put { kind: usize, id: usize, len: usize },
    Delete { kind: usize, id: usize },
    DeletePrefix { kind: usize, prefix: usize },
}

/// What a conditional verb expects.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Guess {
    /// What is there, so that it holds.
    Right,
    Absent,
    /// A revision that it does not have.
    Wrong,
}

#[derive(Clone, Debug)]
pub(crate) struct ScanShape {
    pub(crate) kind: usize,
    pub(crate) prefix: Option<usize>,
    /// Two ids, and whether each is included.
    pub(crate) range: Option<(usize, bool, usize, bool)>,
    pub(crate) after: Option<usize>,
    pub(crate) reverse: bool,
    pub(crate) limit: Option<usize>,
}

#[derive(Clone, Debug)]
pub(crate) enum Verb {
    Put {
        kind: usize,
        id: usize,
        len: usize,
    },
    PutIf {
        kind: usize,
        id: usize,
        guess: Guess,
        len: usize,
    },
    Update {
        kind: usize,
        id: usize,
    },
    Delete {
        kind: usize,
        id: usize,
    },
    DeleteIf {
        kind: usize,
        id: usize,
        guess: Guess,
    },
    DeletePrefix {
        kind: usize,
        prefix: usize,
    },
    Batch {
        steps: Vec<Step>,
        durability: Durability,
    },
    /// Puts `n/000` to `n/{count}` in one commit: more than a leaf of the index holds.
    Many {
        kind: usize,
        count: usize,
        len: usize,
        durability: Durability,
    },
    Scan(ScanShape),
    Sync,
    Compact,
    /// Compacts some of the segments, or ends the active one and does.
    CompactSome {
        roll: bool,
        seed: u32,
    },
    CheckAll,
    Hold,
    /// Compares one of the snapshots and iterators that are held.
    Look(Index),
    Release(Index),
    Reopen,
    Kill,
    /// On a simulated disk only.
    LosePower(u64),
}

fn durability() -> impl Strategy<Value = Durability> {
    select(&[Durability::Sync, Durability::Os, Durability::Buffered][..])
}

fn len() -> impl Strategy<Value = usize> {
    prop_oneof![2 => Just(0), 12 => 1..200_usize, 4 => 200..5_000_usize, 1 => 5_000..20_000_usize]
}

fn guess() -> impl Strategy<Value = Guess> {
    prop_oneof![3 => Just(Guess::Right), 1 => Just(Guess::Absent), 1 => Just(Guess::Wrong)]
}

fn step() -> impl Strategy<Value = Step> {
    let (kind, id, prefix) = (0..KINDS.len(), 0..IDS.len(), 0..PREFIXES.len());
    prop_oneof![
        5 => (kind.clone(), id.clone(), len())
            .prop_map(|(kind, id, len)| Step::Put { kind, id, len }),
        2 => (kind.clone(), id).prop_map(|(kind, id)| Step::Delete { kind, id }),
        2 => (kind, prefix).prop_map(|(kind, prefix)| Step::DeletePrefix { kind, prefix }),
    ]
}

fn scan() -> impl Strategy<Value = Verb> {
    let ids = 0..IDS.len();
    let shape = (
        0..KINDS.len(),
        proptest::option::of(0..PREFIXES.len()),
        proptest::option::of((ids.clone(), any::<bool>(), ids.clone(), any::<bool>())),
        proptest::option::of(ids),
        any::<bool>(),
        proptest::option::of(0..8_usize),
    );
    shape.prop_map(|(kind, prefix, range, after, reverse, limit)| {
        Verb::Scan(ScanShape { kind, prefix, range, after, reverse, limit })
    })
}

pub(crate) fn verb() -> impl Strategy<Value = Verb> {
    let (k, i) = (0..KINDS.len(), 0..IDS.len());
    let key = || (k.clone(), i.clone());
    prop_oneof![
        16 => (key(), len()).prop_map(|((kind, id), len)| Verb::Put { kind, id, len }),
        6 => (key(), guess(), len())
            .prop_map(|((kind, id), guess, len)| Verb::PutIf { kind, id, guess, len }),
        3 => key().prop_map(|(kind, id)| Verb::Update { kind, id }),
        8 => key().prop_map(|(kind, id)| Verb::Delete { kind, id }),
        4 => (key(), guess()).prop_map(|((kind, id), guess)| Verb::DeleteIf { kind, id, guess }),
        5 => (k.clone(), 0..PREFIXES.len())
            .prop_map(|(kind, prefix)| Verb::DeletePrefix { kind, prefix }),
        10 => (proptest::collection::vec(step(), 0..12), durability())
            .prop_map(|(steps, durability)| Verb::Batch { steps, durability }),
        4 => (k.clone(), 1..300_usize, 0..600_usize, durability())
            .prop_map(|(kind, count, len, durability)| Verb::Many { kind, count, len, durability }),
        8 => scan(),
        3 => Just(Verb::Sync),
        2 => Just(Verb::Compact),
        8 => (any::<bool>(), any::<u32>())
            .prop_map(|(roll, seed)| Verb::CompactSome { roll, seed }),
        3 => Just(Verb::CheckAll),
        4 => Just(Verb::Hold),
        6 => any::<Index>().prop_map(Verb::Look),
        2 => any::<Index>().prop_map(Verb::Release),
        2 => Just(Verb::Reopen),
        2 => Just(Verb::Kill),
        2 => any::<u64>().prop_map(Verb::LosePower),
    ]
}
