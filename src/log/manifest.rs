//! The manifest as a file that is replaced: write new, fsync, rename, fsync the directory.

use std::sync::Arc;

use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::format::manifest::Manifest;
use crate::format::names;
use crate::log::whole;
use crate::sync::Mutex;

/// The manifest on disk and its last state. The lock is held across a replacement.
#[derive(Debug)]
pub(crate) struct ManifestFile {
    disk: Arc<dyn Disk>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    manifest: Manifest,
    /// A replacement failed where either the old or the new state may be the durable one.
    in_doubt: bool,
}

impl ManifestFile {
    /// Starts from what was read, or from a new store's manifest that is not written yet.
    pub(crate) fn new(disk: Arc<dyn Disk>, manifest: Manifest) -> ManifestFile {
        ManifestFile { disk, state: Mutex::new(State { manifest, in_doubt: false }) }
    }

    /// Reads the manifest; `None` if there is none.
    pub(crate) fn read(disk: &dyn Disk) -> Result<Option<Manifest>> {
        whole::read(disk, names::MANIFEST, Manifest::decode_file)
    }

    /// The last state.
    pub(crate) fn get(&self) -> Manifest {
        self.state.lock().manifest.clone()
    }

    /// Refuses when it can't be known which manifest is on disk: it may name files that the last
    /// state doesn't, and those must not be replaced.
    pub(crate) fn check_known(&self) -> Result<()> {
        if self.state.lock().in_doubt { Err(Error::Poisoned) } else { Ok(()) }
    }

    /// Changes the manifest, durably. After an error the old state stands; if it can't be known
    /// which of the two is on disk, every later change is refused.
    pub(crate) fn update(&self, change: impl FnOnce(&mut Manifest)) -> Result<()> {
        let mut state = self.state.lock();
        if state.in_doubt {
            return Err(Error::Poisoned);
        }
        let mut next = state.manifest.clone();
        change(&mut next);
        whole::write_new(&*self.disk, names::MANIFEST_NEW, &next.encode_file())?;
        let renamed = whole::switch(&*self.disk, names::MANIFEST_NEW, names::MANIFEST);
        if renamed.is_err() {
            state.in_doubt = true;
            return renamed;
        }
        state.manifest = next;
        Ok(())
    }
}
