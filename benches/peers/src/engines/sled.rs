//! sled.
//!
//! It buffers writes in its own memory and writes them out every so often: at `Os` it may lose what
//! returned when the process is killed. Its `flush` ends in `sync_file_range` on Linux, which
//! leaves out the drive's cache and the file's length: at `Sync` it promises less than an fsync.

use std::path::Path;

use sled::{Batch, Config, Db, Mode};

use super::{CACHE_BYTES, counted};
use crate::engine::{Each, Engine, Key, Level, Put, Result, Role, Spec};

pub const SPEC: Spec = Spec {
    name: "sled",
    package: "sled",
    settings: "cache 1 GiB, Mode::HighThroughput; os: a flush every 100 ms, the nearest that it \
               has; sync: flush(), which is no fsync on Linux but sync_file_range",
    survives_kill: false,
    role: Role::Store,
    open: |dir, level, _| open(dir, level),
};

fn open(dir: &Path, level: Level) -> Result<Box<dyn Engine>> {
    let config = Config::new().path(dir).cache_capacity(CACHE_BYTES).mode(Mode::HighThroughput);
    let database = config.flush_every_ms(Some(100)).open()?;
    Ok(Box::new(Sled { database, level }))
}

struct Sled {
    database: Db,
    level: Level,
}

impl Sled {
    fn persist(&self) -> Result<()> {
        if self.level == Level::Sync {
            self.database.flush()?;
        }
        Ok(())
    }
}

impl Engine for Sled {
    fn put(&self, key: Key<'_>, value: &[u8]) -> Result<()> {
        self.database.insert(key.bytes(), value)?;
        self.persist()
    }

    fn put_batch(&self, puts: &[Put<'_>]) -> Result<()> {
        let mut batch = Batch::default();
        for (key, value) in puts {
            batch.insert(key.bytes(), *value);
        }
        self.database.apply_batch(batch)?;
        self.persist()
    }

    fn get(&self, key: Key<'_>, found: Each<'_>) -> Result<bool> {
        Ok(self.database.get(key.bytes())?.map(|value| found(&value)).is_some())
    }

    fn scan(&self, from: Key<'_>, limit: usize, each: Each<'_>) -> Result<u64> {
        let records = self.database.range(from.bytes()..from.kind_end().as_slice());
        counted(records.take(limit), |(_, value)| each(&value))
    }

    fn keys(&self, kind: Key<'_>, each: Each<'_>) -> Result<u64> {
        counted(self.database.scan_prefix(kind.kind_prefix()).keys(), |key| each(&key))
    }

    fn delete_kind(&self, kind: Key<'_>) -> Result<u64> {
        let mut batch = Batch::default();
        let keys = self.database.scan_prefix(kind.kind_prefix()).keys();
        let deleted = counted(keys, |key| batch.remove(key))?;
        self.database.apply_batch(batch)?;
        self.persist()?;
        Ok(deleted)
    }

    fn sync(&self) -> Result<()> {
        self.database.flush()?;
        Ok(())
    }

    fn compact(&mut self) -> Result<bool> {
        Ok(false)
    }

    fn close(self: Box<Self>) -> Result<()> {
        self.sync()
    }
}
