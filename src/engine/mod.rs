//! What the store does, one verb a file.

pub(crate) mod apply;
pub(crate) mod background;
pub(crate) mod backup;
pub(crate) mod batch;
pub(crate) mod close;
pub(crate) mod commit;
pub(crate) mod compact;
pub(crate) mod doctor;
pub(crate) mod examine;
pub(crate) mod group;
pub(crate) mod heal;
pub(crate) mod indexing;
pub(crate) mod load;
pub(crate) mod overlay;
pub(crate) mod parallel;
pub(crate) mod read;
mod records;
pub(crate) mod recover;
pub(crate) mod report;
pub(crate) mod rewrite;
pub(crate) mod roll;
pub(crate) mod salvage;
pub(crate) mod scan;
pub(crate) mod stats;
pub(crate) mod survey;
pub(crate) mod verify;
pub(crate) mod view;
