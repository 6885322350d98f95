//! What the fuzz targets share.

pub mod alloc;
pub mod image;
pub mod seal;
pub mod verbs;
