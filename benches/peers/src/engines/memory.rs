//! A limit: an ordered map in memory behind one lock. Nothing is kept when the process ends.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

use crate::engine::{Each, Engine, Key, Put, Result, Role, Spec};

pub const SPEC: Spec = Spec {
    name: "memory",
    package: "",
    settings: "limit: RwLock<BTreeMap<Vec<u8>, Vec<u8>>>, no file",
    survives_kill: false,
    role: Role::Memory,
    open: |_, _, _| Ok(Box::new(Memory::default())),
};

#[derive(Default)]
struct Memory(RwLock<Map>);

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

impl Memory {
    fn change<T>(&self, change: impl FnOnce(&mut Map) -> T) -> T {
        change(&mut self.0.write().unwrap_or_else(PoisonError::into_inner))
    }

    fn read<T>(&self, read: impl FnOnce(&Map) -> T) -> T {
        read(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Engine for Memory {
    fn put(&self, key: Key<'_>, value: &[u8]) -> Result<()> {
        self.put_batch(&[(key, value)])
    }

    fn put_batch(&self, batch: &[Put<'_>]) -> Result<()> {
        self.change(|map| {
            for (key, value) in batch {
                map.insert(key.bytes().to_vec(), value.to_vec());
            }
        });
        Ok(())
    }

    fn get(&self, key: Key<'_>, found: Each<'_>) -> Result<bool> {
        Ok(self.read(|map| map.get(key.bytes()).map(|value| found(value)).is_some()))
    }

    fn scan(&self, from: Key<'_>, limit: usize, each: Each<'_>) -> Result<u64> {
        Ok(self.read(|map| {
            let records = map.range(from.bytes().to_vec()..from.kind_end());
            records.take(limit).map(|(_, value)| each(value)).count() as u64
        }))
    }

    fn keys(&self, kind: Key<'_>, each: Each<'_>) -> Result<u64> {
        Ok(self.read(|map| {
            map.range(kind.bytes().to_vec()..kind.kind_end()).map(|(key, _)| each(key)).count()
                as u64
        }))
    }

    fn delete_kind(&self, kind: Key<'_>) -> Result<u64> {
        Ok(self.change(|map| {
            let mut deleted = map.split_off(kind.kind_prefix());
            map.append(&mut deleted.split_off(&kind.kind_end()));
            deleted.len() as u64
        }))
    }

    fn sync(&self) -> Result<()> {
        Ok(())
    }

    fn compact(&mut self) -> Result<bool> {
        Ok(false)
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}
