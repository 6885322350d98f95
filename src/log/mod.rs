//! The log on disk: segments, the one that is written, the tail file, and the manifest that names
//! them all. Records go in at the end and are read by location; what they mean is not known here.

pub(crate) mod active;
pub(crate) mod aside;
pub(crate) mod contents;
mod covering;
pub(crate) mod gather;
pub(crate) mod hint;
pub(crate) mod manifest;
pub(crate) mod merge;
mod order;
mod records;
pub(crate) mod reserve;
mod room;
pub(crate) mod scan;
pub(crate) mod segment;
pub(crate) mod segments;
pub(crate) mod tail;
pub(crate) mod whole;

#[cfg(test)]
mod tests;
