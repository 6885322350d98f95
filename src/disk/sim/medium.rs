//! The state of a simulated disk: what the caches hold, what the medium holds, and the ways
//! between. No faults, no counting, no locks: those are the module's above.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use super::inode::{Inode, PAGE_BYTES, Rng, SECTOR_BYTES};
use super::{Loss, OpKind};
use crate::disk::memory::end_of;

pub(super) type InodeId = u64;

/// One operation that changes or syncs something, with all that it takes to do it, or part of it.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Create { name: String },
    Touch { name: String },
    Write { inode: InodeId, offset: u64, bytes: Vec<u8> },
    Sync { inode: InodeId },
    Reserve { inode: InodeId, offset: u64, len: u64 },
    SetLen { inode: InodeId, len: u64 },
    Rename { from: String, to: String },
    Remove { name: String },
    SyncDir,
    CreateTail { name: String, bytes: Vec<u8> },
    TailStore { inode: InodeId, offset: u64, bytes: Vec<u8> },
}

impl Change {
    pub(super) fn kind(&self) -> OpKind {
        match self {
            Change::Create { .. } => OpKind::Create,
            Change::Touch { .. } => OpKind::Lock,
            Change::Write { .. } => OpKind::Write,
            Change::Sync { .. } => OpKind::Sync,
            Change::Reserve { .. } => OpKind::Reserve,
            Change::SetLen { .. } => OpKind::SetLen,
            Change::Rename { .. } => OpKind::Rename,
            Change::Remove { .. } => OpKind::Remove,
            Change::SyncDir => OpKind::SyncDir,
            Change::CreateTail { .. } => OpKind::CreateTail,
            Change::TailStore { .. } => OpKind::TailStore,
        }
    }

    pub(super) fn is_sync(&self) -> bool {
        matches!(self, Change::Sync { .. } | Change::SyncDir)
    }

    pub(super) fn offset(&self) -> u64 {
        match self {
            Change::Write { offset, .. }
            | Change::TailStore { offset, .. }
            | Change::Reserve { offset, .. } => *offset,
            _ => 0,
        }
    }

    pub(super) fn len(&self) -> u64 {
        match self {
            Change::Write { bytes, .. }
            | Change::TailStore { bytes, .. }
            | Change::CreateTail { bytes, .. } => bytes.len() as u64,
            Change::Reserve { len, .. } | Change::SetLen { len, .. } => *len,
            _ => 0,
        }
    }
}

/// Files and their names, each in the cache and on the medium.
#[derive(Debug, Default)]
pub(super) struct Medium {
    inodes: BTreeMap<InodeId, Inode>,
    next_inode: InodeId,
    names: BTreeMap<String, InodeId>,
    durable_names: BTreeMap<String, InodeId>,
    /// What happened to the names since the directory was synced, in order.
    unsynced_names: Vec<NameChange>,
    pub(super) capacity: Option<u64>,
}

#[derive(Clone, Debug)]
enum NameChange {
    Link { name: String, inode: InodeId },
    Rename { from: String, to: String, inode: InodeId },
    Unlink { name: String },
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<String, InodeId>) {
        match self {
            NameChange::Link { name, inode } => {
                names.insert(name.clone(), *inode);
            }
            NameChange::Rename { from, to, inode } => {
                // Only if `from` is still this file: its creation may have been lost, and then the
                // name may be another's.
                if names.get(from) == Some(inode) {
                    names.remove(from);
                }
                names.insert(to.clone(), *inode);
            }
            NameChange::Unlink { name } => {
                names.remove(name);
            }
        }
    }
}

impl Medium {
    /// A copy for another process to find: with all that isn't durable, without open handles.
    pub(super) fn image(&self) -> Medium {
        let inodes = self.inodes.iter().map(|(id, inode)| (*id, inode.image())).collect();
        Medium {
            inodes,
            next_inode: self.next_inode,
            names: self.names.clone(),
            durable_names: self.durable_names.clone(),
            unsynced_names: self.unsynced_names.clone(),
            capacity: self.capacity,
        }
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.names.keys().cloned().collect()
    }

    pub(super) fn inode_of(&self, name: &str) -> io::Result<InodeId> {
        self.names.get(name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// What keeps a file while a handle is open, also after its last name is gone.
    pub(super) fn pin(&self, inode: InodeId) -> Arc<()> {
        self.inodes[&inode].pin.clone()
    }

    pub(super) fn bytes(&self, inode: InodeId) -> &[u8] {
        &self.inodes[&inode].cache
    }

    pub(super) fn content(&self, name: &str) -> Option<&[u8]> {
        Some(self.bytes(*self.names.get(name)?))
    }

    /// Does what `change` says; of a write or a store the first `cut` bytes.
    pub(super) fn apply(&mut self, change: &Change, cut: usize) -> io::Result<()> {
        match change {
            Change::Create { name } => self.create(name, false),
            Change::Touch { name } => self.create(name, true),
            Change::Write { inode, offset, bytes } => {
                self.write(*inode, *offset, &bytes[..bytes.len().min(cut)])
            }
            Change::TailStore { inode, offset, bytes } => {
                self.file(*inode).write(*offset, &bytes[..bytes.len().min(cut)])
            }
            Change::Sync { inode } => {
                self.file(*inode).sync();
                Ok(())
            }
            Change::Reserve { inode, offset, len } => {
                let end = end_of(*offset, *len)? as u64;
                let len = self.file(*inode).len();
                self.set_len(*inode, len.max(end))
            }
            Change::SetLen { inode, len } => self.set_len(*inode, *len),
            Change::Rename { from, to } => {
                let inode = self.inode_of(from)?;
                let (from, to) = (from.clone(), to.clone());
                self.change_name(NameChange::Rename { from, to, inode });
                Ok(())
            }
            Change::Remove { name } => {
                self.inode_of(name)?;
                self.change_name(NameChange::Unlink { name: name.clone() });
                Ok(())
            }
            Change::SyncDir => {
                self.sync_dir();
                Ok(())
            }
            Change::CreateTail { name, bytes } => self.create_tail(name, bytes, cut),
        }
    }

    fn file(&mut self, inode: InodeId) -> &mut Inode {
        self.inodes.get_mut(&inode).expect("a handle's file is pinned")
    }

    fn create(&mut self, name: &str, may_exist: bool) -> io::Result<()> {
        if self.names.contains_key(name) {
            return if may_exist { Ok(()) } else { Err(io::ErrorKind::AlreadyExists.into()) };
        }
        if self.room() == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let inode = self.add_inode(Inode::new(SECTOR_BYTES));
        self.change_name(NameChange::Link { name: name.to_owned(), inode });
        Ok(())
    }

    fn add_inode(&mut self, inode: Inode) -> InodeId {
        let id = self.next_inode;
        self.next_inode += 1;
        self.inodes.insert(id, inode);
        id
    }

    fn change_name(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.unsynced_names.push(change);
    }

    /// How many bytes more the files may have.
    fn room(&self) -> u64 {
        let Some(capacity) = self.capacity else { return u64::MAX };
        let named: BTreeSet<_> = self.names.values().collect();
        let used = self.inodes.iter().filter(|(id, inode)| named.contains(id) || inode.is_open());
        capacity.saturating_sub(used.map(|(_, inode)| inode.len()).sum())
    }

    fn write(&mut self, inode: InodeId, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let len = self.file(inode).len();
        let end = end_of(offset, bytes.len() as u64)? as u64;
        if end.saturating_sub(len) <= self.room() {
            return self.file(inode).write(offset, bytes);
        }
        // What fits is written, as a real disk would.
        let fits = (len + self.room()).saturating_sub(offset) as usize;
        self.file(inode).write(offset, &bytes[..fits])?;
        Err(io::ErrorKind::StorageFull.into())
    }

    fn set_len(&mut self, inode: InodeId, len: u64) -> io::Result<()> {
        end_of(0, len)?;
        if len.saturating_sub(self.file(inode).len()) > self.room() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.file(inode).set_len(len);
        Ok(())
    }

    /// Cut short, it has erased an old tail from the front, and synced nothing.
    fn create_tail(&mut self, name: &str, bytes: &[u8], cut: usize) -> io::Result<()> {
        let existing = self.names.get(name).copied();
        let len = existing.map_or(0, |inode| self.file(inode).len());
        if (bytes.len() as u64).saturating_sub(len) > self.room() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let inode = match existing {
            Some(inode) => inode,
            None => {
                let inode = self.add_inode(Inode::new(PAGE_BYTES));
                self.change_name(NameChange::Link { name: name.to_owned(), inode });
                inode
            }
        };
        let file = self.file(inode);
        if cut < bytes.len() {
            return file.write(0, &vec![0; cut]);
        }
        file.plant(bytes.to_vec());
        file.unit_bytes = PAGE_BYTES;
        Ok(())
    }

    fn sync_dir(&mut self) {
        for change in self.unsynced_names.drain(..) {
            change.apply(&mut self.durable_names);
        }
        self.forget_unreachable();
    }

    /// A sync that fails for good. See [`Fault`](super::Fault).
    pub(super) fn fail_sync(&mut self, change: &Change, keeps_new: bool) {
        match change {
            Change::Sync { inode } => self.file(*inode).fail_sync(keeps_new),
            Change::SyncDir => {
                self.unsynced_names.clear();
                if !keeps_new {
                    self.names = self.durable_names.clone();
                }
            }
            _ => {}
        }
    }

    pub(super) fn lose_power(&mut self, loss: Loss, rng: &mut Rng) {
        let chance = rng.chance_of_survival();
        for change in std::mem::take(&mut self.unsynced_names) {
            let survives = match loss {
                Loss::Seed(_) => rng.happens(chance),
                Loss::AllUnsynced => false,
                Loss::Nothing => true,
            };
            if survives {
                change.apply(&mut self.durable_names);
            }
        }
        self.names = self.durable_names.clone();
        for inode in self.inodes.values_mut() {
            inode.lose_power(loss, rng);
        }
        self.forget_unreachable();
    }

    fn forget_unreachable(&mut self) {
        let Medium { inodes, names, durable_names, .. } = self;
        let named: BTreeSet<_> = names.values().chain(durable_names.values()).collect();
        inodes.retain(|id, inode| named.contains(id) || inode.is_open());
    }

    /// Makes a file hold `bytes`, durably, and all names with it.
    pub(super) fn plant(&mut self, name: &str, bytes: Vec<u8>) {
        let inode = match self.names.get(name) {
            Some(inode) => *inode,
            None => self.add_inode(Inode::new(SECTOR_BYTES)),
        };
        self.file(inode).plant(bytes);
        self.names.insert(name.to_owned(), inode);
        self.sync_dir();
        self.durable_names = self.names.clone();
    }

    /// Removes a name, durably, and makes all names durable with it.
    pub(super) fn uproot(&mut self, name: &str) {
        assert!(self.names.contains_key(name), "no file named {name}");
        self.names.remove(name);
        self.sync_dir();
        self.durable_names = self.names.clone();
    }
}
