//! Bytes to values and back: the layout of every file. No I/O. The bytes are specified in
//! `docs/format.md`.

pub(crate) mod alphabet;
pub(crate) mod backup;
#[rustfmt::skip]
#[allow(missing_docs, unreachable_pub)]
mod backup_proto;
pub(crate) mod bits;
pub(crate) mod contents;
pub(crate) mod entries;
#[cfg(test)]
mod example;
pub(crate) mod file;
pub(crate) mod hint;
pub(crate) mod location;
pub(crate) mod manifest;
#[rustfmt::skip]
#[allow(missing_docs, unreachable_pub)]
mod manifest_proto;
pub(crate) mod names;
pub(crate) mod record;
pub(crate) mod segment;
pub(crate) mod tail;
pub(crate) mod varint;
