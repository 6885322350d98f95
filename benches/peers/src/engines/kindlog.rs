//! kindlog, as a program links it.

use std::path::Path;

use kindlog::{Batch, Durability, Options, Store};

use super::counted;
use crate::engine::{Each, Engine, Key, Level, Put, Result, Role, Spec};

pub const SPEC: Spec = Spec {
    name: "kindlog",
    package: "kindlog",
    settings: "defaults; every read verifies its record's checksum",
    survives_kill: true,
    role: Role::Store,
    open: |dir, level, _| open(dir, level, true),
};

/// For comparison with stores that verify nothing.
pub const UNVERIFIED: Spec = Spec {
    name: "kindlog-unverified",
    package: "kindlog",
    settings: "verify_reads(false)",
    survives_kill: true,
    role: Role::Reader,
    open: |dir, level, _| open(dir, level, false),
};

fn open(dir: &Path, level: Level, verify: bool) -> Result<Box<dyn Engine>> {
    let durability = match level {
        Level::Os => Durability::Os,
        Level::Sync => Durability::Sync,
    };
    let store = Options::new().durability(durability).verify_reads(verify).open(dir)?;
    Ok(Box::new(Kindlog(store)))
}

struct Kindlog(Store);

impl Engine for Kindlog {
    fn put(&self, key: Key<'_>, value: &[u8]) -> Result<()> {
        self.0.put(key.kind(), key.id(), value)?;
        Ok(())
    }

    fn put_batch(&self, puts: &[Put<'_>]) -> Result<()> {
        let mut batch = Batch::new();
        for (key, value) in puts {
            batch.put(key.kind(), key.id(), value);
        }
        self.0.commit(batch)?;
        Ok(())
    }

    fn get(&self, key: Key<'_>, found: Each<'_>) -> Result<bool> {
        let value = self.0.get_value(key.kind(), key.id())?;
        Ok(value.map(|value| found(&value)).is_some())
    }

    fn scan(&self, from: Key<'_>, limit: usize, each: Each<'_>) -> Result<u64> {
        let mut scan = self.0.scan(from.kind()).limit(limit);
        if !from.id().is_empty() {
            scan = scan.range(from.id()..);
        }
        counted(scan.iter(), |resource| each(&resource.data))
    }

    fn keys(&self, kind: Key<'_>, each: Each<'_>) -> Result<u64> {
        counted(self.0.scan(kind.kind()).keys(), |id| each(id.as_bytes()))
    }

    fn delete_kind(&self, kind: Key<'_>) -> Result<u64> {
        Ok(self.0.delete_kind(kind.kind())?)
    }

    fn sync(&self) -> Result<()> {
        Ok(self.0.sync()?)
    }

    fn compact(&mut self) -> Result<bool> {
        self.0.compact()?;
        Ok(true)
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(self.0.close()?)
    }

    fn index_bytes(&self) -> Option<u64> {
        Some(self.0.stats().index_bytes)
    }
}
