//! The public handle: opens and closes, checks names, and hands every verb down to the engine.

mod directory;

use std::fmt;
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use prost::Message;

use crate::collection::Collection;
use crate::disk::Disk;
use crate::disk::memory::MemoryDisk;
use crate::disk::native::NativeDisk;
use crate::engine::batch::Batch;
use crate::engine::commit::{self, Change, Expect, What};
use crate::engine::recover;
use crate::engine::report::RecoveryReport;
use crate::engine::scan::{OpenView, Scan};
use crate::engine::stats::{self, Stats};
use crate::engine::verify::{self, VerifyReport};
use crate::engine::view::View;
use crate::engine::{background, close, compact, group, indexing, read};
use crate::error::{Error, Result};
use crate::key;
use crate::options::{Durability, Options};
use crate::resource::{Resource, Revision};
use crate::snapshot::Snapshot;
use crate::state::State;
use crate::sync::atomic::Ordering;
use crate::sync::thread::JoinHandle;
use crate::sync::{Mutex, RwLock};

/// An open store. Cloning makes another handle of it, cheaply; all of them close together.
///
/// Every verb may be called from any thread. When the last handle drops, the store is closed in
/// order; [`close`](Store::close) does it earlier and reports errors, which drop cannot.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
}

struct Shared {
    state: Arc<State>,
    /// What a read-only handle sees since it was refreshed.
    refreshed: Option<RwLock<Arc<State>>>,
    /// One refreshes at a time.
    refreshing: Mutex<()>,
    report: RecoveryReport,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// The state that a verb works on.
pub(crate) enum Current<'a> {
    Opened(&'a Arc<State>),
    Refreshed(Arc<State>),
}

impl Deref for Current<'_> {
    type Target = Arc<State>;
    fn deref(&self) -> &Arc<State> {
        match self {
            Current::Opened(state) => state,
            Current::Refreshed(state) => state,
        }
    }
}

impl Options {
    /// Opens the store in a directory, and creates both where they are missing and
    /// [`create`](Options::create) allows it.
    ///
    /// Cost: keys and places are read from the hints. A segment without a good hint is read and
    /// checked, and so is, after an unclean stop, all that was written since the last full segment.
    ///
    /// # Errors
    /// - `Locked`: another handle has it open for writing.
    /// - `Io`: the directory or a file can't be used; `NotFound` where there is no store.
    /// - `Corrupt`, `MissingSegment`: what was durable is damaged. Nothing is changed or dropped.
    /// - `Version`: a newer kindlog wrote it.
    /// - `TooLarge`, or `Io` of kind `InvalidInput`: `segment_size` is out of bounds.
    pub fn open(&self, path: impl AsRef<Path>) -> Result<Store> {
        let path = path.as_ref();
        recover::check_options(self)?;
        let create = self.create && !self.read_only;
        let disk = NativeDisk::open(path, create).map_err(|e| Error::io("open", path, e))?;
        self.open_disk(Arc::new(disk))
    }

    /// Opens a new store that lives and dies with its handles: the same engine on a disk in memory.
    ///
    /// # Errors
    /// As [`open`](Options::open); `read_only` or `create(false)` find no store.
    pub fn open_in_memory(&self) -> Result<Store> {
        self.open_disk(Arc::new(MemoryDisk::new()))
    }

    /// Opens a store on a simulated disk.
    #[cfg(feature = "sim")]
    #[doc(hidden)]
    pub fn open_on(&self, disk: &crate::disk::sim::SimDisk) -> Result<Store> {
        self.open_disk(Arc::new(disk.clone()))
    }

    fn open_disk(&self, disk: Arc<dyn Disk>) -> Result<Store> {
        let (state, report) = recover::open(disk, self.clone())?;
        let refreshed = self.read_only.then(|| RwLock::new(state.clone()));
        let (refreshing, threads) = Default::default();
        let shared = Shared { state, refreshed, refreshing, report, threads };
        let store = Store { shared: Arc::new(shared) };
        if !self.read_only {
            // Where one can't be started the store is dropped: closed, and the others ended.
            store.shared.start()?;
        }
        Ok(store)
    }
}

impl Store {
    /// Opens the store in a directory with the default [`Options`]: created where missing, every
    /// commit on disk when it returns.
    ///
    /// # Errors
    /// As [`Options::open`].
    pub fn open(path: impl AsRef<Path>) -> Result<Store> {
        Options::new().open(path)
    }

    /// What opening found and did. A refresh does not change it.
    pub fn recovery(&self) -> &RecoveryReport {
        &self.shared.report
    }

    /// Makes a read-only handle see what is there now. Iterators and snapshots keep what they had.
    /// Does nothing on a handle that writes: it sees everything anyway.
    ///
    /// # Errors
    /// As [`Options::open`]; the handle then keeps what it had.
    pub fn refresh(&self) -> Result<()> {
        self.shared.state.check_open()?;
        let Some(refreshed) = &self.shared.refreshed else { return Ok(()) };
        // The slower of two would put back what the other has replaced.
        let _one_at_a_time = self.shared.refreshing.lock();
        let current = self.current();
        if recover::is_current(&current)? {
            return Ok(());
        }
        let (next, _) = recover::open(current.disk.clone(), current.options.clone())?;
        let last = std::mem::replace(&mut *refreshed.write(), next);
        drop(last);
        Ok(())
    }

    // Typed ------------------------------------------------------------------------------------

    /// Stores a message. It replaces what the key held.
    ///
    /// # Errors
    /// `InvalidKey`, `TooLarge` over 1 GiB, `Io`, `ReadOnly`, `Poisoned`, `Closed`; after an error
    /// [`Error::outcome`] tells whether it may be there all the same.
    pub fn save<M: Message>(&self, kind: &str, id: &str, message: &M) -> Result<Revision> {
        self.put(kind, id, message.encode_to_vec())
    }

    /// Reads a message.
    ///
    /// # Errors
    /// `Decode` if the bytes are no `M`; `InvalidKey`, `Corrupt`, `Io`, `Closed`.
    pub fn get<M: Message + Default>(&self, kind: &str, id: &str) -> Result<Option<M>> {
        self.get_value(kind, id)?.map(|value| decode_value(kind, id, value)).transpose()
    }

    /// All messages of a kind, in the order of ids, as they were at one moment.
    ///
    /// # Errors
    /// As [`get`](Store::get), for the first that fails.
    pub fn list<M: Message + Default>(&self, kind: &str) -> Result<Vec<M>> {
        self.scan(kind).iter().map(|resource| decode(&resource?)).collect()
    }

    /// Deletes a key. False if it was not there.
    ///
    /// # Errors
    /// As [`save`](Store::save).
    pub fn delete(&self, kind: &str, id: &str) -> Result<bool> {
        key::check_key(kind, id)?;
        Ok(self.commit_one(kind, id, What::Delete, None)?.removed > 0)
    }

    /// Deletes all of a kind, and returns how many there were: one small record, all or nothing,
    /// however many there are.
    ///
    /// # Errors
    /// As [`save`](Store::save).
    pub fn delete_kind(&self, kind: &str) -> Result<u64> {
        self.delete_prefix(kind, "")
    }

    /// Deletes all ids of a kind that start so, and returns how many there were: one small record,
    /// all or nothing.
    ///
    /// # Errors
    /// As [`save`](Store::save).
    pub fn delete_prefix(&self, kind: &str, prefix: &str) -> Result<u64> {
        key::check_kind(kind)?;
        key::check_prefix(prefix)?;
        Ok(self.commit_one(kind, prefix, What::DeletePrefix, None)?.removed)
    }

    /// The same verbs for one kind and its type.
    ///
    /// # Errors
    /// `InvalidKey`.
    pub fn collection<M: Message + Default>(&self, kind: &str) -> Result<Collection<M>> {
        Collection::new(self.clone(), kind)
    }

    // Raw --------------------------------------------------------------------------------------

    /// Stores a message's encoded bytes, which the store does not look into.
    ///
    /// # Errors
    /// As [`save`](Store::save).
    pub fn put(&self, kind: &str, id: &str, value: impl AsRef<[u8]>) -> Result<Revision> {
        key::check_key(kind, id)?;
        Ok(self.commit_one(kind, id, What::Put(value.as_ref()), None)?.revision)
    }

    /// Reads a resource without a copy: its bytes are a slice of the log.
    ///
    /// # Errors
    /// `Corrupt`, naming the key, if its checksum is wrong; `InvalidKey`, `Io`, `Closed`.
    pub fn get_resource(&self, kind: &str, id: &str) -> Result<Option<Resource>> {
        read::get(&*self.state()?, kind, id)
    }

    /// Reads a resource's value alone, without a copy: checked as by
    /// [`get_resource`](Store::get_resource), and less to hand out. The bytes keep their buffer, or
    /// their segment's mapping, alive for as long as they are held; `to_vec` copies them.
    ///
    /// # Errors
    /// As [`get_resource`](Store::get_resource).
    pub fn get_value(&self, kind: &str, id: &str) -> Result<Option<Bytes>> {
        read::get_value(&*self.state()?, kind, id)
    }

    /// Whether a key is there. Does not read its value.
    ///
    /// # Errors
    /// As [`get_resource`](Store::get_resource).
    pub fn contains(&self, kind: &str, id: &str) -> Result<bool> {
        key::check_key(kind, id)?;
        read::contains(&*self.state()?, kind, id)
    }

    /// How many resources a kind has. Constant time.
    ///
    /// # Errors
    /// `InvalidKey`, `Closed`.
    pub fn count(&self, kind: &str) -> Result<u64> {
        key::check_kind(kind)?;
        let state = self.state()?;
        read::consistent(&state, || Ok(state.index.kind(kind).map_or(0, |kind| kind.count())))
    }

    /// The kinds that have resources, in order.
    ///
    /// # Errors
    /// `Closed`.
    pub fn kinds(&self) -> Result<Vec<String>> {
        let state = self.state()?;
        read::consistent(&state, || {
            let kinds = state.index.kinds();
            let kinds = kinds.iter().filter(|kind| kind.count() > 0);
            Ok(kinds.map(|kind| kind.name().to_owned()).collect())
        })
    }

    /// Lists a kind: choose what and how, then iterate.
    pub fn scan(&self, kind: &str) -> Scan {
        let store = self.clone();
        let open: OpenView =
            Arc::new(move || Ok(Arc::new(View::new(Arc::clone(&*store.state()?)))));
        Scan::new(open, kind)
    }

    // Conditions -------------------------------------------------------------------------------

    /// Stores bytes if the key is as expected.
    ///
    /// # Errors
    /// `Conflict` with the key's revision if it isn't; otherwise as [`save`](Store::save).
    pub fn put_if(
        &self,
        kind: &str,
        id: &str,
        expect: Expect,
        value: impl AsRef<[u8]>,
    ) -> Result<Revision> {
        key::check_key(kind, id)?;
        Ok(self.commit_one(kind, id, What::Put(value.as_ref()), Some(expect))?.revision)
    }

    /// Deletes a key if it is as expected. False if it was expected to be absent, and is.
    ///
    /// # Errors
    /// As [`put_if`](Store::put_if).
    pub fn delete_if(&self, kind: &str, id: &str, expect: Expect) -> Result<bool> {
        key::check_key(kind, id)?;
        Ok(self.commit_one(kind, id, What::Delete, Some(expect))?.removed > 0)
    }

    /// Reads, changes and writes one message atomically, and returns what was written. `change` is
    /// called again, with what is there then, for as long as somebody else writes in between.
    ///
    /// # Errors
    /// What `change` returns, as it is; otherwise as [`get`](Store::get) and [`save`](Store::save).
    pub fn update<M, F>(&self, kind: &str, id: &str, mut change: F) -> Result<M>
    where
        M: Message + Default,
        F: FnMut(Option<M>) -> Result<M>,
    {
        loop {
            let old = self.get_resource(kind, id)?;
            let expect = old.as_ref().map_or(Expect::Absent, |r| Expect::Revision(r.revision));
            let new = change(old.as_ref().map(decode).transpose()?)?;
            match self.put_if(kind, id, expect, new.encode_to_vec()) {
                Err(Error::Conflict { .. }) => {}
                done => return done.map(|_| new),
            }
        }
    }

    // All or nothing ---------------------------------------------------------------------------

    /// Applies a batch, all of it or nothing, at the store's durability. An empty one, or one that
    /// changes nothing, takes no revision and returns the last one.
    ///
    /// # Errors
    /// As [`save`](Store::save); `TooLarge` over 2 GiB or 2^24 operations.
    pub fn commit(&self, batch: Batch) -> Result<Revision> {
        let durability = self.state()?.options.durability;
        self.commit_with(batch, durability)
    }

    /// Applies a batch at a durability of its own.
    ///
    /// # Errors
    /// As [`commit`](Store::commit).
    pub fn commit_with(&self, batch: Batch, durability: Durability) -> Result<Revision> {
        let state = self.state()?;
        Ok(commit::commit(&state, &batch.net()?, None, durability)?.revision)
    }

    // Upkeep -----------------------------------------------------------------------------------

    /// What is visible now, for as long as the snapshot lives. Constant time; blocks nobody.
    ///
    /// On a closed store it still answers, with what was visible last.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::new(View::new(Arc::clone(&*self.current())))
    }

    /// Makes everything that was committed so far durable.
    ///
    /// # Errors
    /// `Io`, `Poisoned`, `ReadOnly`, `Closed`.
    pub fn sync(&self) -> Result<()> {
        let state = self.state()?;
        let mut order = state.lock_order()?;
        group::sync(&state, &mut order)
    }

    /// Compacts all there is, now, beyond what [`space_bound`](Options::space_bound) asks for: what
    /// is dead goes, what is live lies in the order of keys. Commits and reads go on meanwhile.
    /// Copies all live bytes, unless nothing is to be done, with a second thread and some 64 MiB of
    /// memory, or a few of the largest records; what a snapshot or a `Bytes` holds keeps its space.
    /// Where it meets damage, all else is copied once more.
    ///
    /// # Errors
    /// `Io`, of kind `StorageFull` where there is no room for the copy; also, when all else is
    /// compacted, if a segment could not be read; `Poisoned`, `ReadOnly`;
    /// `Closed`, also when it is closed meanwhile. The store is then as sound as before.
    pub fn compact(&self) -> Result<()> {
        compact::worker::compact(&*self.state()?)
    }

    /// Reads every record of the store, while it is used, and checks it against its checksums and
    /// the index.
    ///
    /// # Errors
    /// `Io`, `Closed`. What is wrong with the store is not an error but in the report.
    pub fn verify(&self) -> Result<VerifyReport> {
        verify::verify(&*self.state()?)
    }

    /// What the store holds and costs. Reads no record.
    pub fn stats(&self) -> Stats {
        stats::stats(&self.current())
    }

    /// Makes everything durable and closes all handles of this store. Snapshots, iterators and
    /// `Bytes` read on. Closing again does nothing.
    ///
    /// # Errors
    /// `Io` if something could not be made durable, `Poisoned` after a failed fsync; it is closed
    /// all the same, and what was acknowledged is recovered as far as its durability says.
    pub fn close(&self) -> Result<()> {
        self.shared.close()
    }

    fn commit_one(
        &self,
        kind: &str,
        id: &str,
        what: What<'_>,
        expect: Option<Expect>,
    ) -> Result<commit::Done> {
        let state = self.state()?;
        commit::commit(&state, &[Change { kind, id, what }], expect, state.options.durability)
    }

    /// The state, if the store is open.
    pub(crate) fn state(&self) -> Result<Current<'_>> {
        self.shared.state.check_open()?;
        Ok(self.current())
    }

    fn current(&self) -> Current<'_> {
        match &self.shared.refreshed {
            None => Current::Opened(&self.shared.state),
            Some(refreshed) => Current::Refreshed(refreshed.read().clone()),
        }
    }
}

/// Decodes a resource's bytes.
pub(crate) fn decode<M: Message + Default>(resource: &Resource) -> Result<M> {
    decode_value(&resource.kind, &resource.id, resource.data.clone())
}

fn decode_value<M: Message + Default>(kind: &str, id: &str, value: Bytes) -> Result<M> {
    M::decode(value).map_err(|source| Error::Decode {
        kind: kind.to_owned(),
        id: id.to_owned(),
        source,
    })
}

impl Shared {
    /// Starts the threads of a store that is written.
    fn start(&self) -> Result<()> {
        let mut threads = self.threads.lock();
        threads.push(background::start(&self.state)?);
        threads.push(indexing::start(&self.state)?);
        threads.extend(compact::worker::start(&self.state)?);
        Ok(())
    }

    fn close(&self) -> Result<()> {
        // Held to the end: when a second call returns, the store is closed, too.
        let mut threads = self.threads.lock();
        // After a fork the threads are the parent's: the child has nothing to wait for.
        let taken = std::mem::take(&mut *threads);
        if self.state.disk.same_process() {
            background::stop(&self.state, taken);
        }
        close::close(&self.state)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // Nobody is left to tell. What was acknowledged is recovered at the next open.
        let _ = self.close();
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.current();
        f.debug_struct("Store")
            .field("path", &state.disk.path())
            .field("revision", &state.visible.load(Ordering::Acquire))
            .finish()
    }
}
