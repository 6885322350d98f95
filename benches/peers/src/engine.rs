//! What every store here can be asked, and what each says about itself.

use std::path::Path;

/// Stores fail in types of their own; here an error only has to be shown.
pub type Result<T, E = Error> = std::result::Result<T, E>;
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// When a write returns. No store is asked for more than the other, or for less.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Level {
    /// The kernel has the bytes: what returned survives `kill -9`, not power loss.
    Os,
    /// An fsync each: what returned survives power loss.
    Sync,
}

/// `Kind/ID`, and where the kind ends: kindlog takes them apart, everyone else joined.
#[derive(Clone, Copy, Debug)]
pub struct Key<'a> {
    pub joined: &'a str,
    pub kind_len: usize,
}

impl<'a> Key<'a> {
    pub fn kind(self) -> &'a str {
        &self.joined[..self.kind_len]
    }

    pub fn id(self) -> &'a str {
        &self.joined[self.kind_len + 1..]
    }

    pub fn bytes(self) -> &'a [u8] {
        self.joined.as_bytes()
    }

    /// What all keys of its kind begin with.
    pub fn kind_prefix(self) -> &'a [u8] {
        &self.joined.as_bytes()[..=self.kind_len]
    }

    /// The end, exclusive, of the keys of its kind: `Kind0`, as `0` follows `/`.
    pub fn kind_end(self) -> Vec<u8> {
        [self.kind().as_bytes(), &[b'/' + 1]].concat()
    }
}

/// One record to put.
pub type Put<'a> = (Key<'a>, &'a [u8]);

/// What is done with the value of each record that is read.
pub type Each<'a> = &'a mut dyn FnMut(&[u8]);

/// A store that is open. Writes are durable as the level that it was opened with says.
pub trait Engine: Send + Sync {
    /// Stores one record, in a commit of its own.
    fn put(&self, key: Key<'_>, value: &[u8]) -> Result<()>;

    /// Stores all of them, in one commit: all or nothing.
    fn put_batch(&self, batch: &[Put<'_>]) -> Result<()>;

    /// Calls `found` with the value, where the store can without copying it; whether it is there.
    fn get(&self, key: Key<'_>, found: Each<'_>) -> Result<bool>;

    /// Calls `each` with the values of up to `limit` records of the key's kind from the key on, in
    /// order, and returns how many there were. An empty id begins at the kind's first.
    fn scan(&self, from: Key<'_>, limit: usize, each: Each<'_>) -> Result<u64>;

    /// Calls `each` with the keys of all records of a kind, joined or without the kind, in order.
    /// Values are not touched where the store has a way not to.
    fn keys(&self, kind: Key<'_>, each: Each<'_>) -> Result<u64>;

    /// Deletes all records of a kind, in one commit where the store can, and returns how many they
    /// were.
    fn delete_kind(&self, kind: Key<'_>) -> Result<u64>;

    /// Makes all that was written durable.
    fn sync(&self) -> Result<()>;

    /// Takes out all that is dead, now, to the end. False where a store has no such thing.
    fn compact(&mut self) -> Result<bool>;

    fn close(self: Box<Self>) -> Result<()>;

    /// What an index of all keys takes in memory, by the store's own account, if it has one.
    fn index_bytes(&self) -> Option<u64> {
        None
    }
}

/// What a store is and how it was set.
pub struct Spec {
    pub name: &'static str,
    /// Its package, whose version Cargo.lock has; empty if it is written here.
    pub package: &'static str,
    /// The settings that differ from its defaults, and why, for the tables.
    pub settings: &'static str,
    /// Whether at `Level::Os` all that returned survives `kill -9`. O1b shows it. A store of which
    /// this is false is marked in the tables as measured at less.
    pub survives_kill: bool,
    pub role: Role,
    /// Opens it for values of about so many bytes: a layout may depend on that.
    pub open: fn(&Path, Level, usize) -> Result<Box<dyn Engine>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A store that is compared.
    Store,
    /// The same store set differently: runs only what reads the loaded one.
    Reader,
    /// A limit: memory alone, which is gone when the process ends.
    Memory,
    /// A limit: a log alone, which nobody can read from.
    Log,
    /// A limit: gets alone, of what was loaded before it was opened.
    Points,
}
