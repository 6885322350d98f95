//! fjall.

use std::path::Path;

use fjall::{Database, Guard, Keyspace, KeyspaceCreateOptions, PersistMode};

use super::{CACHE_BYTES, counted};
use crate::engine::{Each, Engine, Key, Level, Put, Result, Role, Spec};

pub const SPEC: Spec = Spec {
    name: "fjall",
    package: "fjall",
    settings: "block cache 1 GiB, one keyspace; os: the default, each write goes to the kernel; \
               sync: persist(SyncData)",
    survives_kill: true,
    role: Role::Store,
    open: |dir, level, _| open(dir, level),
};

fn open(dir: &Path, level: Level) -> Result<Box<dyn Engine>> {
    let database = Database::builder(dir).cache_size(CACHE_BYTES).open()?;
    let records = database.keyspace("records", KeyspaceCreateOptions::default)?;
    Ok(Box::new(Fjall { database, records, level }))
}

struct Fjall {
    database: Database,
    records: Keyspace,
    level: Level,
}

impl Fjall {
    fn persist(&self) -> Result<()> {
        if self.level == Level::Sync {
            self.database.persist(PersistMode::SyncData)?;
        }
        Ok(())
    }
}

impl Engine for Fjall {
    fn put(&self, key: Key<'_>, value: &[u8]) -> Result<()> {
        self.records.insert(key.bytes(), value)?;
        self.persist()
    }

    fn put_batch(&self, puts: &[Put<'_>]) -> Result<()> {
        let mut batch = self.database.batch();
        for (key, value) in puts {
            batch.insert(&self.records, key.bytes(), *value);
        }
        batch.commit()?;
        self.persist()
    }

    fn get(&self, key: Key<'_>, found: Each<'_>) -> Result<bool> {
        Ok(self.records.get(key.bytes())?.map(|value| found(&value)).is_some())
    }

    fn scan(&self, from: Key<'_>, limit: usize, each: Each<'_>) -> Result<u64> {
        let records = self.records.range(from.bytes()..from.kind_end().as_slice());
        counted(records.take(limit).map(Guard::value), |value| each(&value))
    }

    fn keys(&self, kind: Key<'_>, each: Each<'_>) -> Result<u64> {
        counted(self.records.prefix(kind.kind_prefix()).map(Guard::key), |key| each(&key))
    }

    fn delete_kind(&self, kind: Key<'_>) -> Result<u64> {
        let mut batch = self.database.batch();
        let keys = self.records.prefix(kind.kind_prefix()).map(Guard::key);
        let deleted = counted(keys, |key| batch.remove(&self.records, key))?;
        batch.commit()?;
        self.persist()?;
        Ok(deleted)
    }

    fn sync(&self) -> Result<()> {
        Ok(self.database.persist(PersistMode::SyncAll)?)
    }

    fn compact(&mut self) -> Result<bool> {
        self.records.rotate_memtable_and_wait()?;
        self.records.major_compact()?;
        Ok(true)
    }

    fn close(self: Box<Self>) -> Result<()> {
        self.sync()
    }
}
