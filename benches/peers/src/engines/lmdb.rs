//! LMDB, through heed.
//!
//! Without syncs LMDB keeps what returned over `kill -9`, but after power loss the whole file may
//! be unusable, not only the newest commits: at `Os` it promises less than a store with a log does.

use std::ops::Bound;
use std::path::Path;

use heed::types::Bytes;
use heed::{Database, Env, EnvFlags, EnvOpenOptions};

use super::counted;
use crate::engine::{Each, Engine, Key, Level, Put, Result, Role, Spec};

pub const SPEC: Spec = Spec {
    name: "lmdb",
    package: "heed",
    settings: "map of 64 GiB, NORDAHEAD; os: NOSYNC (after power loss the file may be unusable); \
               a read transaction a get",
    survives_kill: true,
    role: Role::Store,
    open: |dir, level, _| open(dir, level, EnvFlags::empty()),
};

pub const WRITEMAP: Spec = Spec {
    name: "lmdb-writemap",
    package: "heed",
    settings: "as lmdb, and WRITEMAP: a stray write of the program can damage the file",
    survives_kill: true,
    role: Role::Store,
    open: |dir, level, _| open(dir, level, EnvFlags::WRITE_MAP),
};

/// Address space, not memory or disk: larger than any data set here.
const MAP_BYTES: usize = 64 << 30;

#[expect(unsafe_code, reason = "the caller of LMDB vouches that nobody else changes the file")]
fn open(dir: &Path, level: Level, flags: EnvFlags) -> Result<Box<dyn Engine>> {
    let mut flags = flags | EnvFlags::NO_READ_AHEAD;
    if level == Level::Os {
        flags |= EnvFlags::NO_SYNC;
    }
    let mut options = EnvOpenOptions::new();
    options.map_size(MAP_BYTES);
    // SAFETY: the directory is this process's own, and neither flag lets LMDB skip its locks.
    let env = unsafe { options.flags(flags).open(dir)? };
    let mut write = env.write_txn()?;
    let records = env.create_database(&mut write, None)?;
    write.commit()?;
    Ok(Box::new(Lmdb { env, records }))
}

struct Lmdb {
    env: Env,
    records: Database<Bytes, Bytes>,
}

fn range<'a>(from: &'a [u8], end: &'a [u8]) -> (Bound<&'a [u8]>, Bound<&'a [u8]>) {
    (Bound::Included(from), Bound::Excluded(end))
}

impl Engine for Lmdb {
    fn put(&self, key: Key<'_>, value: &[u8]) -> Result<()> {
        self.put_batch(&[(key, value)])
    }

    fn put_batch(&self, batch: &[Put<'_>]) -> Result<()> {
        let mut write = self.env.write_txn()?;
        for (key, value) in batch {
            self.records.put(&mut write, key.bytes(), value)?;
        }
        Ok(write.commit()?)
    }

    fn get(&self, key: Key<'_>, found: Each<'_>) -> Result<bool> {
        let read = self.env.read_txn()?;
        Ok(self.records.get(&read, key.bytes())?.map(found).is_some())
    }

    fn scan(&self, from: Key<'_>, limit: usize, each: Each<'_>) -> Result<u64> {
        let read = self.env.read_txn()?;
        let end = from.kind_end();
        let records = self.records.range(&read, &range(from.bytes(), &end))?;
        counted(records.take(limit), |(_, value)| each(value))
    }

    fn keys(&self, kind: Key<'_>, each: Each<'_>) -> Result<u64> {
        let read = self.env.read_txn()?;
        let records = self.records.prefix_iter(&read, kind.kind_prefix())?;
        counted(records, |(key, _)| each(key))
    }

    fn delete_kind(&self, kind: Key<'_>) -> Result<u64> {
        let end = kind.kind_end();
        let mut write = self.env.write_txn()?;
        let deleted = self.records.delete_range(&mut write, &range(kind.kind_prefix(), &end))?;
        write.commit()?;
        Ok(deleted as u64)
    }

    fn sync(&self) -> Result<()> {
        Ok(self.env.force_sync()?)
    }

    /// It reuses pages, and gives none back but by a copy of the whole.
    fn compact(&mut self) -> Result<bool> {
        Ok(false)
    }

    fn close(self: Box<Self>) -> Result<()> {
        self.env.force_sync()?;
        self.env.prepare_for_closing().wait();
        Ok(())
    }
}
