//! redb.
//!
//! It has no level between none and an fsync each: what a `Durability::None` commit wrote is lost
//! when the process is killed, back to the last durable commit.

use std::path::Path;

use redb::{Database, Durability, ReadableDatabase, TableDefinition};

use super::{CACHE_BYTES, counted};
use crate::engine::{Each, Engine, Key, Level, Put, Result, Role, Spec};

pub const SPEC: Spec = Spec {
    name: "redb",
    package: "redb",
    settings: "cache 1 GiB; os: Durability::None, the nearest that it has; sync: \
               Durability::Immediate; a read transaction a get",
    survives_kill: false,
    role: Role::Store,
    open: |dir, level, _| open(dir, level),
};

const TABLE: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("records");

fn open(dir: &Path, level: Level) -> Result<Box<dyn Engine>> {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES as usize);
    let database = builder.create(dir.join("redb"))?;
    let durability = match level {
        Level::Os => Durability::None,
        Level::Sync => Durability::Immediate,
    };
    let redb = Redb { database, durability };
    redb.write(Durability::Immediate, |_| Ok(()))?;
    Ok(Box::new(redb))
}

struct Redb {
    database: Database,
    durability: Durability,
}

type Table<'a> = redb::Table<'a, &'static [u8], &'static [u8]>;

impl Redb {
    fn write<T>(
        &self,
        durability: Durability,
        change: impl FnOnce(&mut Table<'_>) -> Result<T>,
    ) -> Result<T> {
        let mut write = self.database.begin_write()?;
        write.set_durability(durability)?;
        let changed = change(&mut write.open_table(TABLE)?)?;
        write.commit()?;
        Ok(changed)
    }
}

impl Engine for Redb {
    fn put(&self, key: Key<'_>, value: &[u8]) -> Result<()> {
        self.put_batch(&[(key, value)])
    }

    fn put_batch(&self, batch: &[Put<'_>]) -> Result<()> {
        self.write(self.durability, |table| {
            for (key, value) in batch {
                table.insert(key.bytes(), *value)?;
            }
            Ok(())
        })
    }

    fn get(&self, key: Key<'_>, found: Each<'_>) -> Result<bool> {
        let table = self.database.begin_read()?.open_table(TABLE)?;
        Ok(table.get(key.bytes())?.map(|value| found(value.value())).is_some())
    }

    fn scan(&self, from: Key<'_>, limit: usize, each: Each<'_>) -> Result<u64> {
        let table = self.database.begin_read()?.open_table(TABLE)?;
        let records = table.range(from.bytes()..from.kind_end().as_slice())?;
        counted(records.take(limit), |(_, value)| each(value.value()))
    }

    fn keys(&self, kind: Key<'_>, each: Each<'_>) -> Result<u64> {
        let table = self.database.begin_read()?.open_table(TABLE)?;
        let records = table.range(kind.kind_prefix()..kind.kind_end().as_slice())?;
        counted(records, |(key, _)| each(key.value()))
    }

    fn delete_kind(&self, kind: Key<'_>) -> Result<u64> {
        self.write(self.durability, |table| {
            let mut deleted = 0;
            table.retain_in(kind.kind_prefix()..kind.kind_end().as_slice(), |_, _| {
                deleted += 1;
                false
            })?;
            Ok(deleted)
        })
    }

    fn sync(&self) -> Result<()> {
        self.write(Durability::Immediate, |_| Ok(()))
    }

    fn compact(&mut self) -> Result<bool> {
        self.sync()?;
        self.database.compact()?;
        Ok(true)
    }

    fn close(self: Box<Self>) -> Result<()> {
        self.sync()
    }
}
