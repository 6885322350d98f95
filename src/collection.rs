//! One kind with its message type.

use std::fmt;
use std::marker::PhantomData;

use prost::Message;

use crate::engine::commit::Expect;
use crate::engine::scan::{KeyIter, Scan, ScanIter};
use crate::error::Result;
use crate::key;
use crate::resource::Revision;
use crate::store::{Store, decode};

/// The verbs of a [`Store`] for one kind, whose messages are of one type.
pub struct Collection<M> {
    store: Store,
    kind: String,
    message: PhantomData<fn() -> M>,
}

impl<M: Message + Default> Collection<M> {
    pub(crate) fn new(store: Store, kind: &str) -> Result<Collection<M>> {
        key::check_kind(kind)?;
        Ok(Collection { store, kind: kind.to_owned(), message: PhantomData })
    }

    /// The kind.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// As [`Store::save`].
    ///
    /// # Errors
    /// The same.
    pub fn save(&self, id: &str, message: &M) -> Result<Revision> {
        self.store.save(&self.kind, id, message)
    }

    /// As [`Store::get`].
    ///
    /// # Errors
    /// The same.
    pub fn get(&self, id: &str) -> Result<Option<M>> {
        self.store.get(&self.kind, id)
    }

    /// As [`Store::list`].
    ///
    /// # Errors
    /// The same.
    pub fn list(&self) -> Result<Vec<M>> {
        self.store.list(&self.kind)
    }

    /// As [`Store::contains`].
    ///
    /// # Errors
    /// The same.
    pub fn contains(&self, id: &str) -> Result<bool> {
        self.store.contains(&self.kind, id)
    }

    /// As [`Store::count`].
    ///
    /// # Errors
    /// The same.
    pub fn count(&self) -> Result<u64> {
        self.store.count(&self.kind)
    }

    /// As [`Store::delete`].
    ///
    /// # Errors
    /// The same.
    pub fn delete(&self, id: &str) -> Result<bool> {
        self.store.delete(&self.kind, id)
    }

    /// As [`Store::delete_kind`].
    ///
    /// # Errors
    /// The same.
    pub fn delete_all(&self) -> Result<u64> {
        self.store.delete_kind(&self.kind)
    }

    /// As [`Store::delete_prefix`].
    ///
    /// # Errors
    /// The same.
    pub fn delete_prefix(&self, prefix: &str) -> Result<u64> {
        self.store.delete_prefix(&self.kind, prefix)
    }

    /// Stores a message if the key is as expected.
    ///
    /// # Errors
    /// As [`Store::put_if`].
    pub fn save_if(&self, id: &str, expect: Expect, message: &M) -> Result<Revision> {
        self.store.put_if(&self.kind, id, expect, message.encode_to_vec())
    }

    /// As [`Store::delete_if`].
    ///
    /// # Errors
    /// The same.
    pub fn delete_if(&self, id: &str, expect: Expect) -> Result<bool> {
        self.store.delete_if(&self.kind, id, expect)
    }

    /// As [`Store::update`].
    ///
    /// # Errors
    /// The same.
    pub fn update(&self, id: &str, change: impl FnMut(Option<M>) -> Result<M>) -> Result<M> {
        self.store.update(&self.kind, id, change)
    }

    /// As [`Store::scan`], but yields ids and messages.
    pub fn scan(&self) -> CollectionScan<M> {
        CollectionScan { scan: self.store.scan(&self.kind), message: PhantomData }
    }
}

impl<M> Clone for Collection<M> {
    fn clone(&self) -> Self {
        Collection { store: self.store.clone(), kind: self.kind.clone(), message: PhantomData }
    }
}

impl<M> fmt::Debug for Collection<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collection").field("kind", &self.kind).finish()
    }
}

/// A [`Scan`] that decodes what it finds.
pub struct CollectionScan<M> {
    scan: Scan,
    message: PhantomData<fn() -> M>,
}

impl<M: Message + Default> CollectionScan<M> {
    /// As [`Scan::prefix`].
    pub fn prefix(self, prefix: impl AsRef<str>) -> Self {
        self.with(|scan| scan.prefix(prefix))
    }

    /// As [`Scan::range`].
    pub fn range<'a>(self, range: impl std::ops::RangeBounds<&'a str>) -> Self {
        self.with(|scan| scan.range(range))
    }

    /// As [`Scan::after`].
    pub fn after(self, id: impl AsRef<str>) -> Self {
        self.with(|scan| scan.after(id))
    }

    /// As [`Scan::reverse`].
    pub fn reverse(self) -> Self {
        self.with(Scan::reverse)
    }

    /// As [`Scan::limit`].
    pub fn limit(self, limit: usize) -> Self {
        self.with(|scan| scan.limit(limit))
    }

    /// Begins. One that can't be read or decoded is an error in its place.
    pub fn iter(&self) -> CollectionIter<M> {
        CollectionIter { iter: self.scan.iter(), message: PhantomData }
    }

    /// As [`Scan::keys`].
    pub fn keys(&self) -> KeyIter {
        self.scan.keys()
    }

    fn with(self, change: impl FnOnce(Scan) -> Scan) -> Self {
        CollectionScan { scan: change(self.scan), message: PhantomData }
    }
}

impl<M> fmt::Debug for CollectionScan<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.scan.fmt(f)
    }
}

impl<M: Message + Default> IntoIterator for CollectionScan<M> {
    type Item = Result<(String, M)>;
    type IntoIter = CollectionIter<M>;
    fn into_iter(self) -> CollectionIter<M> {
        self.iter()
    }
}

/// The ids and messages of a collection, in order.
pub struct CollectionIter<M> {
    iter: ScanIter,
    message: PhantomData<fn() -> M>,
}

impl<M: Message + Default> Iterator for CollectionIter<M> {
    type Item = Result<(String, M)>;

    fn next(&mut self) -> Option<Result<(String, M)>> {
        let resource = self.iter.next()?;
        Some(resource.and_then(|resource| Ok((resource.id.to_string(), decode(&resource)?))))
    }
}

impl<M> fmt::Debug for CollectionIter<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.iter.fmt(f)
    }
}
