//! The verbs that take a directory: looking into a damaged store, and moving a whole one.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use super::Store;
use crate::disk::Disk;
use crate::disk::native::{self, NativeDisk};
use crate::engine::backup::restore::{self, RestoreReport};
use crate::engine::backup::verify::{self, BackupVerifyReport};
use crate::engine::backup::{self, BackupReport};
use crate::engine::doctor::{self, Diagnosis};
use crate::engine::salvage::{self, SalvageReport};
use crate::error::{Error, Result};

impl Store {
    /// Says what is wrong with the store in a directory, and what of it is sound. Changes nothing.
    /// Costs a read of the whole log, and memory for all its keys.
    ///
    /// # Errors
    /// `Io`, also where there is no store; `Version`; `Locked` while it is open for writing: what
    /// is being written looks torn, and [`verify`](Store::verify) can tell. Damage is not an error
    /// but in the diagnosis.
    pub fn diagnose(path: impl AsRef<Path>) -> Result<Diagnosis> {
        doctor::diagnose(&existing(path.as_ref())?)
    }

    /// Copies what is sound of the store in `from` into a new store in `to`, a directory that is
    /// empty or missing, and says exactly what was not. `from` is left as it is, to the byte; it
    /// must not be in use. The new store is `to` with `.partial` appended until it is whole.
    ///
    /// # Errors
    /// `Io`, also where there is no store, or `to` or its `.partial` is not empty; `Version`;
    /// `Locked` while `from` is open for writing.
    pub fn salvage(from: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<SalvageReport> {
        let (from, to) = (existing(from.as_ref())?, to.as_ref());
        let seen = salvage::prepare(&from)?;
        make_store(to, "salvage to", |disk| salvage::salvage(seen, disk))
    }

    /// Backs the store up to a directory, which is made where it is missing. What is in it
    /// afterwards is the store at one moment: everything that was committed before the call, and
    /// perhaps some of what is committed during it. Writers wait for one sync, readers for
    /// nothing.
    ///
    /// A second backup into the same directory reads and copies only what is new, and replaces the
    /// first one when it is complete; until then, and if it fails, the first one stays as it was.
    /// Where the file system can, sealed segments are shared with the store instead of copied:
    /// shared blocks, else hard links. A read-only handle backs up what it sees.
    ///
    /// Cost: every byte that is new is read, checked and hashed. The segment that is written is
    /// read each time, and copied anew if it has grown. Other bytes of earlier backups are not read
    /// again: [`verify_backup`](Store::verify_backup) does that.
    ///
    /// # Errors
    /// - `Io` of kind `AlreadyExists`: the directory holds something else. Of kind `InvalidInput`:
    ///   it holds a backup of another store, or of another history of this one. Nothing is changed.
    /// - `Locked`: another backup into it is being made.
    /// - `Corrupt`: a record of the store is damaged, or the directory's file `BACKUP` is. Damage
    ///   is not carried into a backup.
    /// - `Io`, `Poisoned`, `Version`, `Closed`.
    pub fn backup(&self, dir: impl AsRef<Path>) -> Result<BackupReport> {
        let state = self.state()?;
        let dir = dir.as_ref();
        let disk = NativeDisk::open(dir, true).map_err(|e| Error::io("open", dir, e))?;
        backup::backup(&state, &disk)
    }

    /// Makes a new store in `to`, a directory that is empty or missing, of the backup in `from`,
    /// which is left as it is. Every byte is compared with the backup's hashes on the way. The new
    /// store is `to` with `.partial` appended until it is whole.
    ///
    /// It is a store of its own: it has an id of its own, so that a backup of it into the
    /// original's directory is refused, and its revisions go on 2^32 above the original's.
    ///
    /// # Errors
    /// `Corrupt` or `MissingSegment` if the backup is damaged; `Io`, also where there is no backup,
    /// or `to` or its `.partial` is not empty; `Locked` while a backup is being made there;
    /// `Version`.
    pub fn restore(from: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<RestoreReport> {
        let (from, to) = (existing(from.as_ref())?, to.as_ref());
        make_store(to, "restore to", |disk| restore::restore(&*from, &disk))
    }

    /// Reads all of a backup, without restoring it, and checks it against its hashes and every
    /// record against its checksums. Changes nothing.
    ///
    /// # Errors
    /// `Corrupt` or `Version` if the file `BACKUP` can't be understood; `Io`, also where there is
    /// no backup; `Locked` while a backup is being made there. What is wrong with the segments is
    /// not an error but in the report.
    pub fn verify_backup(dir: impl AsRef<Path>) -> Result<BackupVerifyReport> {
        verify::verify(&*existing(dir.as_ref())?)
    }

    /// Backs up to a simulated disk.
    #[cfg(feature = "sim")]
    #[doc(hidden)]
    pub fn backup_on(&self, disk: &crate::disk::sim::SimDisk) -> Result<BackupReport> {
        backup::backup(&*self.state()?, disk)
    }

    /// Restores from one simulated disk to another.
    #[cfg(feature = "sim")]
    #[doc(hidden)]
    pub fn restore_on(
        from: &crate::disk::sim::SimDisk,
        to: &crate::disk::sim::SimDisk,
    ) -> Result<RestoreReport> {
        let to: Arc<dyn Disk> = Arc::new(to.clone());
        restore::restore(from, &to)
    }

    /// Verifies a backup on a simulated disk.
    #[cfg(feature = "sim")]
    #[doc(hidden)]
    pub fn verify_backup_on(disk: &crate::disk::sim::SimDisk) -> Result<BackupVerifyReport> {
        verify::verify(disk)
    }
}

/// The disk of a directory that is there.
fn existing(path: &Path) -> Result<Arc<dyn Disk>> {
    let disk = NativeDisk::open(path, false).map_err(|e| Error::io("open", path, e))?;
    Ok(Arc::new(disk))
}

/// Has a new store made under another name until it is whole: half a store would look like a sound
/// one.
fn make_store<T>(
    to: &Path,
    op: &'static str,
    make: impl FnOnce(Arc<dyn Disk>) -> Result<T>,
) -> Result<T> {
    if to.exists() {
        salvage::check_empty(&*existing(to)?, op)?;
    }
    let mut partial: OsString = to.as_os_str().to_owned();
    partial.push(".partial");
    let partial = Path::new(&partial);
    let disk = NativeDisk::open(partial, true).map_err(|e| Error::io("open", partial, e))?;
    let made = make(Arc::new(disk));
    if made.is_err() {
        // If nothing was left in it.
        let _ = fs::remove_dir(partial);
    }
    let made = made?;
    native::rename_dir(partial, to).map_err(|e| Error::io("move the new store to", to, e))?;
    Ok(made)
}
