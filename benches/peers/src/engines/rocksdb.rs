//! RocksDB, through rust-rocksdb.

use std::path::Path;

use rocksdb::{
    BlockBasedOptions, Cache, DB, DBCompressionType, DBRawIterator, Options, ReadOptions,
    WriteBatch, WriteOptions,
};

use super::CACHE_BYTES;
use crate::engine::{Each, Engine, Key, Level, Put, Result, Role, Spec};

pub const SPEC: Spec = Spec {
    name: "rocksdb",
    package: "librocksdb-sys",
    settings: "hyper clock cache of 1 GiB with index and filters in it, blocks of 16 KiB, bloom \
               filter of 10 bits, LZ4, 2 background jobs, bytes_per_sync 1 MiB, \
               level_compaction_dynamic_level_bytes, pinned gets; os: WAL without sync, each write \
               goes to the kernel; sync: WAL with sync",
    survives_kill: true,
    role: Role::Store,
    open: |dir, level, _| open(dir, level),
};

fn open(dir: &Path, level: Level) -> Result<Box<dyn Engine>> {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(&Cache::new_hyper_clock_cache(CACHE_BYTES as usize, 0));
    table.set_block_size(16 << 10);
    table.set_bloom_filter(10.0, false);
    table.set_cache_index_and_filter_blocks(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_block_based_table_factory(&table);
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_level_compaction_dynamic_level_bytes(true);
    options.set_max_background_jobs(2);
    options.set_bytes_per_sync(1 << 20);
    // Otherwise the log's bytes wait in this process, and a kill loses them.
    options.set_manual_wal_flush(false);
    let mut write = WriteOptions::default();
    write.set_sync(level == Level::Sync);
    Ok(Box::new(Rocks { db: DB::open(&options, dir)?, write }))
}

struct Rocks {
    db: DB,
    write: WriteOptions,
}

impl Rocks {
    /// The records of a kind from a key on: calls `each` for up to `limit` of them.
    fn list(
        &self,
        from: Key<'_>,
        limit: usize,
        mut each: impl FnMut(&DBRawIterator<'_>),
    ) -> Result<u64> {
        let mut options = ReadOptions::default();
        options.set_iterate_upper_bound(from.kind_end());
        let mut records = self.db.raw_iterator_opt(options);
        records.seek(from.bytes());
        let mut count = 0;
        while count < limit as u64 && records.valid() {
            each(&records);
            count += 1;
            records.next();
        }
        records.status()?;
        Ok(count)
    }
}

impl Engine for Rocks {
    fn put(&self, key: Key<'_>, value: &[u8]) -> Result<()> {
        Ok(self.db.put_opt(key.bytes(), value, &self.write)?)
    }

    fn put_batch(&self, puts: &[Put<'_>]) -> Result<()> {
        let mut batch = WriteBatch::default();
        for (key, value) in puts {
            batch.put(key.bytes(), value);
        }
        Ok(self.db.write_opt(batch, &self.write)?)
    }

    fn get(&self, key: Key<'_>, found: Each<'_>) -> Result<bool> {
        Ok(self.db.get_pinned(key.bytes())?.map(|value| found(&value)).is_some())
    }

    fn scan(&self, from: Key<'_>, limit: usize, each: Each<'_>) -> Result<u64> {
        self.list(from, limit, |record| record.value().into_iter().for_each(&mut *each))
    }

    fn keys(&self, kind: Key<'_>, each: Each<'_>) -> Result<u64> {
        self.list(kind, usize::MAX, |record| record.key().into_iter().for_each(&mut *each))
    }

    /// By a range delete; it gives no count, so the keys are counted first.
    fn delete_kind(&self, kind: Key<'_>) -> Result<u64> {
        let deleted = self.list(kind, usize::MAX, |_| ())?;
        let mut batch = WriteBatch::default();
        batch.delete_range(kind.kind_prefix(), kind.kind_end().as_slice());
        self.db.write_opt(batch, &self.write)?;
        Ok(deleted)
    }

    fn sync(&self) -> Result<()> {
        Ok(self.db.flush_wal(true)?)
    }

    fn compact(&mut self) -> Result<bool> {
        self.db.flush()?;
        self.db.compact_range::<&[u8], &[u8]>(None, None);
        Ok(true)
    }

    fn close(self: Box<Self>) -> Result<()> {
        self.sync()
    }
}
