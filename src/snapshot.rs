//! A store as it was at one revision.

use std::sync::Arc;

use prost::Message;

use crate::engine::read;
use crate::engine::scan::Scan;
use crate::engine::view::View;
use crate::error::Result;
use crate::key;
use crate::resource::{Resource, Revision};
use crate::store::decode;

/// What was visible at one moment. Cheap to take, to clone and to send; blocks nobody.
///
/// While it lives, the index keeps the place of each resource that is overwritten or deleted, and
/// the log keeps its bytes. It reads on after the store is closed.
#[derive(Clone, Debug)]
pub struct Snapshot {
    view: Arc<View>,
}

impl Snapshot {
    pub(crate) fn new(view: View) -> Snapshot {
        Snapshot { view: Arc::new(view) }
    }

    /// The newest revision that it sees.
    pub fn revision(&self) -> Revision {
        Revision::from(self.view.revision)
    }

    /// As [`Store::get`](crate::Store::get).
    ///
    /// # Errors
    /// The same, but never `Closed`.
    pub fn get<M: Message + Default>(&self, kind: &str, id: &str) -> Result<Option<M>> {
        self.get_resource(kind, id)?.map(|resource| decode(&resource)).transpose()
    }

    /// As [`Store::get_resource`](crate::Store::get_resource).
    ///
    /// # Errors
    /// The same, but never `Closed`.
    pub fn get_resource(&self, kind: &str, id: &str) -> Result<Option<Resource>> {
        key::check_key(kind, id)?;
        read::get_at(&self.view.state, kind, id, self.view.revision)
    }

    /// As [`Store::scan`](crate::Store::scan).
    pub fn scan(&self, kind: &str) -> Scan {
        let view = self.view.clone();
        Scan::new(Arc::new(move || Ok(view.clone())), kind)
    }

    /// As [`Store::list`](crate::Store::list).
    ///
    /// # Errors
    /// The same, but never `Closed`.
    pub fn list<M: Message + Default>(&self, kind: &str) -> Result<Vec<M>> {
        self.scan(kind).iter().map(|resource| decode(&resource?)).collect()
    }
}
