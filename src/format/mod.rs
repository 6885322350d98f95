//! Bytes to values and back: the layout of every file. No I/O. The bytes are specified in
//! `docs/format.md`.

pub(crate) mod location;
