//! SQLite, through rusqlite.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rusqlite::{Connection, Params, params};

use super::CACHE_BYTES;
use crate::engine::{Each, Engine, Key, Level, Put, Result, Role, Spec};

pub const SPEC: Spec = Spec {
    name: "sqlite",
    package: "libsqlite3-sys",
    settings: "bundled; one table of (kind, id, value), WITHOUT ROWID for values up to 200 bytes, \
               prepared statements, WAL, cache 1 GiB, mmap 64 GiB, a checkpoint after 64 MiB, a \
               connection a thread; os: synchronous=NORMAL; sync: synchronous=FULL",
    survives_kill: true,
    role: Role::Store,
    open,
};

const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS records (\
    kind TEXT NOT NULL, id TEXT NOT NULL, value BLOB NOT NULL, PRIMARY KEY (kind, id))";
/// Longer values make rows that its documentation would not have in the tree of the keys.
const WITHOUT_ROWID: usize = 200;
const PUT: &str = "INSERT INTO records VALUES (?1, ?2, ?3) \
    ON CONFLICT (kind, id) DO UPDATE SET value = excluded.value";
const GET: &str = "SELECT value FROM records WHERE kind = ?1 AND id = ?2";
const SCAN: &str = "SELECT value FROM records WHERE kind = ?1 AND id >= ?2 ORDER BY id LIMIT ?3";
const KEYS: &str = "SELECT id FROM records WHERE kind = ?1 ORDER BY id";
const DELETE_KIND: &str = "DELETE FROM records WHERE kind = ?1";

fn open(dir: &Path, level: Level, value_len: usize) -> Result<Box<dyn Engine>> {
    let rowid = if value_len <= WITHOUT_ROWID { " WITHOUT ROWID" } else { "" };
    let sqlite = Sqlite { path: dir.join("sqlite"), level, idle: Mutex::default() };
    sqlite.with(|connection| Ok(connection.execute_batch(&format!("{SCHEMA}{rowid}"))?))?;
    Ok(Box::new(sqlite))
}

struct Sqlite {
    path: PathBuf,
    level: Level,
    /// A connection is used by one thread at a time, which puts it back here.
    idle: Mutex<Vec<Connection>>,
}

impl Sqlite {
    fn with<T>(&self, work: impl FnOnce(&mut Connection) -> Result<T>) -> Result<T> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut connection = match idle {
            Some(connection) => connection,
            None => self.connect()?,
        };
        let done = work(&mut connection);
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        done
    }

    fn connect(&self) -> Result<Connection> {
        let connection = Connection::open(&self.path)?;
        let synchronous = match self.level {
            Level::Os => "NORMAL",
            Level::Sync => "FULL",
        };
        connection.busy_timeout(std::time::Duration::from_secs(60))?;
        connection.execute_batch(&format!(
            "PRAGMA journal_mode=WAL; PRAGMA synchronous={synchronous}; \
             PRAGMA cache_size=-{}; PRAGMA mmap_size={}; PRAGMA wal_autocheckpoint=16384;",
            CACHE_BYTES >> 10,
            64u64 << 30
        ))?;
        Ok(connection)
    }

    /// Calls `each` with the one column of each row.
    fn list(&self, query: &str, params: impl Params, each: Each<'_>) -> Result<u64> {
        self.with(|connection| {
            let mut query = connection.prepare_cached(query)?;
            let mut rows = query.query(params)?;
            let mut count = 0;
            while let Some(row) = rows.next()? {
                each(row.get_ref(0)?.as_bytes()?);
                count += 1;
            }
            Ok(count)
        })
    }
}

impl Engine for Sqlite {
    fn put(&self, key: Key<'_>, value: &[u8]) -> Result<()> {
        self.with(|connection| {
            connection.prepare_cached(PUT)?.execute(params![key.kind(), key.id(), value])?;
            Ok(())
        })
    }

    fn put_batch(&self, batch: &[Put<'_>]) -> Result<()> {
        self.with(|connection| {
            let write = connection.transaction()?;
            let mut put = write.prepare_cached(PUT)?;
            for (key, value) in batch {
                put.execute(params![key.kind(), key.id(), value])?;
            }
            drop(put);
            Ok(write.commit()?)
        })
    }

    fn get(&self, key: Key<'_>, found: Each<'_>) -> Result<bool> {
        self.with(|connection| {
            let mut get = connection.prepare_cached(GET)?;
            let mut rows = get.query(params![key.kind(), key.id()])?;
            let Some(row) = rows.next()? else { return Ok(false) };
            found(row.get_ref(0)?.as_blob()?);
            Ok(true)
        })
    }

    fn scan(&self, from: Key<'_>, limit: usize, each: Each<'_>) -> Result<u64> {
        let limit = i64::try_from(limit).unwrap_or(-1);
        self.list(SCAN, params![from.kind(), from.id(), limit], each)
    }

    fn keys(&self, kind: Key<'_>, each: Each<'_>) -> Result<u64> {
        self.list(KEYS, params![kind.kind()], each)
    }

    fn delete_kind(&self, kind: Key<'_>) -> Result<u64> {
        self.with(|connection| {
            Ok(connection.prepare_cached(DELETE_KIND)?.execute(params![kind.kind()])? as u64)
        })
    }

    fn sync(&self) -> Result<()> {
        self.with(|connection| {
            let mut checkpoint = connection.prepare_cached("PRAGMA wal_checkpoint(TRUNCATE)")?;
            checkpoint.query([])?.next()?;
            Ok(())
        })
    }

    fn compact(&mut self) -> Result<bool> {
        self.with(|connection| Ok(connection.execute_batch("VACUUM")?))?;
        self.sync()?;
        Ok(true)
    }

    fn close(self: Box<Self>) -> Result<()> {
        self.sync()
    }
}
