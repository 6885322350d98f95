//! A limit: a log alone. Each commit is encoded, checksummed and written by one `pwrite`; there is
//! no index, so nothing can be read.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use crate::engine::{Each, Engine, Key, Level, Put, Result, Role, Spec};

pub const SPEC: Spec = Spec {
    name: "rawlog",
    package: "",
    settings: "limit: encode, CRC-32, one pwrite a commit, no index; no group commit",
    survives_kill: true,
    role: Role::Log,
    open: |dir, level, _| open(dir, level),
};

fn open(dir: &Path, level: Level) -> Result<Box<dyn Engine>> {
    let file = File::options().write(true).create(true).truncate(false).open(dir.join("log"))?;
    let end = file.metadata()?.len();
    let log = Mutex::new(Log { file, end, frame: Vec::new() });
    Ok(Box::new(RawLog { log, level }))
}

struct RawLog {
    log: Mutex<Log>,
    level: Level,
}

struct Log {
    file: File,
    end: u64,
    frame: Vec<u8>,
}

const WRITES_ONLY: &str = "a log without an index can't be read";

impl Engine for RawLog {
    fn put(&self, key: Key<'_>, value: &[u8]) -> Result<()> {
        self.put_batch(&[(key, value)])
    }

    fn put_batch(&self, batch: &[Put<'_>]) -> Result<()> {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let Log { file, end, frame } = &mut *log;
        frame.clear();
        for (key, value) in batch {
            let start = frame.len();
            frame.extend([0; 4]);
            frame.extend((key.joined.len() as u32).to_le_bytes());
            frame.extend((value.len() as u32).to_le_bytes());
            frame.extend(key.bytes());
            frame.extend(*value);
            let sum = crc32fast::hash(&frame[start + 4..]);
            frame[start..start + 4].copy_from_slice(&sum.to_le_bytes());
        }
        file.write_all_at(frame, *end)?;
        *end += frame.len() as u64;
        if self.level == Level::Sync {
            file.sync_data()?;
        }
        Ok(())
    }

    fn get(&self, _: Key<'_>, _: Each<'_>) -> Result<bool> {
        Err(WRITES_ONLY.into())
    }

    fn scan(&self, _: Key<'_>, _: usize, _: Each<'_>) -> Result<u64> {
        Err(WRITES_ONLY.into())
    }

    fn keys(&self, _: Key<'_>, _: Each<'_>) -> Result<u64> {
        Err(WRITES_ONLY.into())
    }

    fn delete_kind(&self, _: Key<'_>) -> Result<u64> {
        Err(WRITES_ONLY.into())
    }

    fn sync(&self) -> Result<()> {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(log.file.sync_data()?)
    }

    fn compact(&mut self) -> Result<bool> {
        Ok(false)
    }

    fn close(self: Box<Self>) -> Result<()> {
        self.sync()
    }
}
