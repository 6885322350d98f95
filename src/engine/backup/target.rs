//! The directory that a backup goes to, and what it holds from earlier.

use std::io;

use super::refused;
use crate::disk::{Disk, Lock};
use crate::error::{Error, Result};
use crate::format::backup::{BackedUp, Backup};
use crate::format::manifest::Manifest;
use crate::format::names;
use crate::log::whole;
use crate::zoo::{Bug, unless};

/// A directory that holds backups of one store, and that nobody else backs up to meanwhile.
///
/// What is in it counts only through the file `BACKUP`, which is replaced last; so up to then the
/// earlier backup is untouched.
pub(super) struct Target<'a> {
    pub(super) disk: &'a dyn Disk,
    /// The earlier backup, or the claim on the directory.
    pub(super) earlier: Backup,
    _lock: Box<dyn Lock>,
}

impl<'a> Target<'a> {
    /// Takes the directory for a store. Nothing is changed in it before [`settle`](Target::settle).
    ///
    /// # Errors
    /// `Io` of kind `AlreadyExists` if there are files and no backup, of kind `InvalidInput` if it
    /// is another store's; `Locked` if a backup is being made there.
    pub(super) fn open(disk: &'a dyn Disk, store: &Manifest) -> Result<Target<'a>> {
        // Twice, since without the lock it may change, and to a stranger's directory not even a
        // lock file is added.
        earlier(disk, store)?;
        let path = disk.path();
        let lock = match disk.lock(names::LOCK) {
            Ok(Ok(lock)) => lock,
            Ok(Err(owner)) => return Err(Error::Locked { path: path.to_owned(), owner }),
            Err(e) => return Err(Error::io("lock", path.join(names::LOCK), e)),
        };
        let earlier = match earlier(disk, store)? {
            Some(earlier) => earlier,
            None => Backup::claim(store),
        };
        Ok(Target { disk, earlier, _lock: lock })
    }

    /// The same segment in the earlier backup, as long as it was then.
    pub(super) fn segment(&self, salt: u64) -> Option<BackedUp<'_>> {
        self.earlier.segments().find(|segment| segment.entry.salt == salt)
    }

    /// Whether a file of the earlier backup is there, with all its bytes. They are not read.
    pub(super) fn has(&self, segment: &BackedUp<'_>) -> Result<bool> {
        let name = segment.name();
        match self.disk.open_read_only(&name).and_then(|file| file.len()) {
            Ok(len) => Ok(len >= segment.sealed.length),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(Error::io("read", self.disk.path().join(name), e)),
        }
    }

    /// Removes a file that no backup needs, or that is too short for it, if there is one.
    pub(super) fn discard(&self, name: &str) -> Result<()> {
        match self.disk.remove(name) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                Err(Error::io("remove", self.disk.path().join(name), e))
            }
            _ => Ok(()),
        }
    }

    /// Claims a directory that is empty, durably, before anything else is put into it: so what an
    /// attempt leaves that dies is never taken for somebody's files, nor a backup that lost its
    /// `BACKUP` for such an attempt. Then removes what earlier attempts left.
    ///
    /// Before that, what counts now is made durable once more: an attempt may have died, or failed,
    /// where it had replaced `BACKUP` and not yet synced that. If power loss then took it back,
    /// what was there before would count again: a backup whose files are gone, or nothing, beside
    /// files that nobody claims.
    pub(super) fn settle(&self) -> Result<()> {
        let strays = self.strays(&self.earlier)?;
        if strays.is_empty() && self.earlier.complete {
            return Ok(());
        }
        self.replace(&self.earlier).map_err(|(_, error)| error)?;
        strays.iter().try_for_each(|name| self.discard(name))
    }

    /// The segments in the directory that `backup` doesn't consist of.
    pub(super) fn strays(&self, backup: &Backup) -> Result<Vec<String>> {
        let mut wanted: Vec<String> = backup.segments().map(|segment| segment.name()).collect();
        wanted.sort_unstable();
        let files = self.disk.list().map_err(|e| Error::io("list", self.disk.path(), e))?;
        let stray =
            |name: &String| names::is_backup_segment(name) && wanted.binary_search(name).is_err();
        Ok(files.into_iter().filter(stray).collect())
    }

    /// Makes the names of a backup's files durable, and then what names them. An error comes with
    /// whether the earlier backup may have been replaced all the same.
    pub(super) fn replace(&self, backup: &Backup) -> Result<(), (bool, Error)> {
        let disk = self.disk;
        let synced = unless(Bug::BackupNameNotSynced, || disk.sync_dir())
            .map_err(|e| Error::io("sync", disk.path(), e));
        synced
            .and_then(|()| whole::write_new(disk, names::BACKUP_NEW, &backup.encode_file()))
            .map_err(|error| (false, error))?;
        whole::switch(disk, names::BACKUP_NEW, names::BACKUP).map_err(|error| (true, error))
    }
}

/// What the directory holds of the store; `None` if nothing at all.
fn earlier(disk: &dyn Disk, store: &Manifest) -> Result<Option<Backup>> {
    let path = disk.path();
    if let Some(backup) = whole::read(disk, names::BACKUP, Backup::decode_file)? {
        return match backup.manifest().store_id == store.store_id {
            true => Ok(Some(backup)),
            false => Err(refused(path, "it holds a backup of another store")),
        };
    }
    let files = disk.list().map_err(|e| Error::io("list", path, e))?;
    match files.iter().all(|name| name == names::LOCK || name == names::BACKUP_NEW) {
        true => Ok(None),
        false => {
            let reason = "it holds files, and no backup";
            let source = io::Error::new(io::ErrorKind::AlreadyExists, reason);
            Err(Error::io("back up to", path, source))
        }
    }
}
