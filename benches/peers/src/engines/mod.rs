//! The stores, one a file.

mod bare;
mod kindlog;
mod memory;
mod rawlog;

#[cfg(feature = "fjall")]
mod fjall;
#[cfg(feature = "lmdb")]
mod lmdb;
#[cfg(feature = "redb")]
mod redb;
#[cfg(feature = "rocksdb")]
mod rocksdb;
#[cfg(feature = "sled")]
mod sled;
#[cfg(feature = "sqlite")]
mod sqlite;

use crate::engine::{Error, Result, Spec};

/// What every store that has a page or block cache of its own gets for it.
pub const CACHE_BYTES: u64 = 1 << 30;

/// Does something with each of them, and returns how many they were.
fn counted<T, E: Into<Error>>(
    items: impl IntoIterator<Item = Result<T, E>>,
    mut each: impl FnMut(T),
) -> Result<u64> {
    let mut count = 0;
    for item in items {
        each(item.map_err(Into::into)?);
        count += 1;
    }
    Ok(count)
}

/// All that this program was built with, in the order of the tables.
pub fn all() -> Vec<&'static Spec> {
    vec![
        &kindlog::SPEC,
        &kindlog::UNVERIFIED,
        #[cfg(feature = "rocksdb")]
        &rocksdb::SPEC,
        #[cfg(feature = "lmdb")]
        &lmdb::SPEC,
        #[cfg(feature = "lmdb")]
        &lmdb::WRITEMAP,
        #[cfg(feature = "redb")]
        &redb::SPEC,
        #[cfg(feature = "fjall")]
        &fjall::SPEC,
        #[cfg(feature = "sled")]
        &sled::SPEC,
        #[cfg(feature = "sqlite")]
        &sqlite::SPEC,
        &memory::SPEC,
        &rawlog::SPEC,
        &bare::SPEC,
    ]
}

pub fn named(name: &str) -> Option<&'static Spec> {
    all().into_iter().find(|spec| spec.name == name)
}
