//! The kinds by name.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher};
use std::sync::{Arc, OnceLock};

use foldhash::quality::RandomState;

use super::kind::Kind;
use super::merger::Merger;
use crate::sync::RwLock;

/// The first step's choice: most stores have fewer kinds than this.
const ROOTS: usize = 64;
const ROOT_BITS: u32 = ROOTS.trailing_zeros();
const CHILDREN: usize = 4;
const CHILD_BITS: u32 = CHILDREN.trailing_zeros();

/// All kinds, found by name without a lock.
///
/// A kind is never removed, so a reference to one is good for as long as the index, and a lookup
/// writes nothing: no lock, no count. It walks a tree of cells that are set once: the first bits of
/// the name's hash choose a root, and each node that holds another name chooses the next cell by
/// the next few. A lookup meets each cell empty or with all that it will ever hold. Adding goes the
/// same way, to the first empty cell, one at a time: whoever finds that cell full later goes on
/// behind it, so no name is ever out of reach or there twice.
///
/// When the hash has no bits left, the rest of the way is a list; two names that share all of a
/// hash that is seeded at random are not to be expected.
#[derive(Debug)]
pub(super) struct Kinds {
    roots: [Cell; ROOTS],
    /// In order, for listing. Whoever adds a kind holds it.
    sorted: RwLock<BTreeMap<Box<str>, Arc<Kind>>>,
    /// Seeded at random, so that nobody can prepare names or ids that collide.
    hasher: RandomState,
    merger: Arc<Merger>,
}

type Cell = OnceLock<Box<Node>>;

#[derive(Debug)]
struct Node {
    kind: Arc<Kind>,
    children: [Cell; CHILDREN],
}

impl Kinds {
    pub(super) fn new(merger: Arc<Merger>) -> Kinds {
        Kinds {
            roots: [const { Cell::new() }; ROOTS],
            sorted: RwLock::default(),
            hasher: RandomState::default(),
            merger,
        }
    }

    /// The kind of that name; or the cell where the way to it ends.
    fn find(&self, name: &str) -> Result<&Arc<Kind>, &Cell> {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(name.as_bytes());
        let mut hash = hasher.finish();
        let mut cell = &self.roots[hash as usize % ROOTS];
        hash >>= ROOT_BITS;
        while let Some(node) = cell.get() {
            if node.kind.name() == name {
                return Ok(&node.kind);
            }
            cell = &node.children[hash as usize % CHILDREN];
            hash >>= CHILD_BITS;
        }
        Err(cell)
    }

    #[inline]
    pub(super) fn get(&self, name: &str) -> Option<&Arc<Kind>> {
        self.find(name).ok()
    }

    pub(super) fn get_or_create(&self, name: &str) -> &Arc<Kind> {
        if let Some(kind) = self.get(name) {
            return kind;
        }
        let mut sorted = self.sorted.write();
        // Again with the lock held: somebody may have added it, or another in its place.
        match self.find(name) {
            Ok(kind) => kind,
            Err(cell) => {
                let kind = Arc::new(Kind::new(name, self.hasher.clone(), self.merger.clone()));
                sorted.insert(name.into(), kind.clone());
                let children = [const { Cell::new() }; CHILDREN];
                &cell.get_or_init(|| Box::new(Node { kind, children })).kind
            }
        }
    }

    /// All kinds in order.
    pub(super) fn all(&self) -> Vec<Arc<Kind>> {
        self.sorted.read().values().cloned().collect()
    }

    /// What a kind costs beside itself and its name: the map's entry and the node.
    pub(super) const fn entry_size() -> usize {
        48 + size_of::<Node>()
    }
}
