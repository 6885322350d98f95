//! The tests' words: a store that can be reopened, killed and damaged, and that verifies itself.

pub(crate) mod fork;
mod model;

use std::fs;
use std::ops::Deref;
use std::path::{Path, PathBuf};

#[cfg(feature = "sim")]
use kindlog::disk::sim::{Loss, SimDisk};
use kindlog::{Durability, Error, Options, Store};
use tempfile::TempDir;

pub(crate) use model::{Change, Model};

/// A message to store: what an example daemon would keep.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Agent {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(uint64, tag = "2")]
    pub(crate) runs: u64,
}

pub(crate) fn agent(name: &str, runs: u64) -> Agent {
    Agent { name: name.to_owned(), runs }
}

/// Whether the long form of the sweeps was asked for.
pub(crate) fn full() -> bool {
    std::env::var_os("KINDLOG_FULL").is_some_and(|value| value == "1")
}

pub(crate) const DURABILITIES: [Durability; 3] =
    [Durability::Sync, Durability::Os, Durability::Buffered];

/// What a store lies on.
pub(crate) enum Medium {
    /// Gone when it is closed.
    Memory,
    /// `store` in a temporary directory.
    Native(TempDir),
    #[cfg(feature = "sim")]
    Sim(SimDisk),
}

impl Medium {
    pub(crate) fn native() -> Medium {
        Medium::Native(tempfile::tempdir().expect("a temporary directory"))
    }
}

/// An open store and what it lies on. Verified when it is dropped, and must then be clean.
pub(crate) struct TestStore {
    store: Option<Store>,
    medium: Medium,
    options: Options,
    verified: bool,
}

impl Deref for TestStore {
    type Target = Store;
    fn deref(&self) -> &Store {
        self.store.as_ref().expect("the store is open")
    }
}

impl TestStore {
    /// On a temporary directory, with the default options.
    pub(crate) fn native() -> TestStore {
        TestStore::on(Medium::native(), Options::new())
    }

    pub(crate) fn memory() -> TestStore {
        TestStore::on(Medium::Memory, Options::new())
    }

    #[cfg(feature = "sim")]
    pub(crate) fn sim() -> TestStore {
        TestStore::on(Medium::Sim(SimDisk::new()), Options::new())
    }

    pub(crate) fn on(medium: Medium, options: Options) -> TestStore {
        let mut store = TestStore { store: None, medium, options, verified: true };
        store.store = Some(store.try_open().expect("open the store"));
        store
    }

    /// Not verified on drop: it was damaged, or belongs to somebody else.
    pub(crate) fn unverified(mut self) -> TestStore {
        self.verified = false;
        self
    }

    /// Opens once more what the medium has.
    pub(crate) fn try_open(&self) -> Result<Store, Error> {
        self.try_open_with(&self.options)
    }

    pub(crate) fn try_open_with(&self, options: &Options) -> Result<Store, Error> {
        match &self.medium {
            Medium::Memory => options.open_in_memory(),
            Medium::Native(dir) => options.open(store_dir(dir)),
            #[cfg(feature = "sim")]
            Medium::Sim(disk) => options.open_on(disk),
        }
    }

    /// Closes the store in order.
    pub(crate) fn close(&mut self) {
        if let Some(store) = self.store.take() {
            store.close().expect("close the store");
        }
    }

    /// Closes the store in order and opens it again. In memory nothing would be left, so there it
    /// does nothing, and says so.
    pub(crate) fn reopen(&mut self) -> bool {
        if matches!(self.medium, Medium::Memory) {
            return false;
        }
        self.close();
        self.open();
        true
    }

    /// Opens the store after [`close`](TestStore::close).
    pub(crate) fn open(&mut self) {
        self.store = Some(self.try_open().expect("open the store again"));
    }

    /// Goes on with what a SIGKILL would leave now, opened again. Nothing would, in memory.
    pub(crate) fn crash(&mut self) -> bool {
        if matches!(self.medium, Medium::Memory) {
            return false;
        }
        let left = self.left_by_kill();
        self.go_on_with(left);
        true
    }

    /// What a SIGKILL would leave now, not opened yet.
    pub(crate) fn killed(&self) -> TestStore {
        let medium = self.left_by_kill();
        TestStore { store: None, medium, options: self.options.clone(), verified: true }
    }

    fn left_by_kill(&self) -> Medium {
        match &self.medium {
            Medium::Memory => panic!("nothing is left of a store in memory"),
            Medium::Native(dir) => {
                let left = tempfile::tempdir().expect("a temporary directory");
                copy_as_killed(&store_dir(dir), &store_dir(&left));
                Medium::Native(left)
            }
            #[cfg(feature = "sim")]
            Medium::Sim(disk) => Medium::Sim(disk.kill(0)),
        }
    }

    /// Goes on with what a power failure would leave now, opened again.
    #[cfg(feature = "sim")]
    pub(crate) fn lose_power(&mut self, loss: Loss) {
        let Medium::Sim(disk) = &self.medium else { return };
        let left = Medium::Sim(disk.power_loss(loss));
        self.go_on_with(left);
    }

    fn go_on_with(&mut self, left: Medium) {
        let dead = (self.store.take(), std::mem::replace(&mut self.medium, left));
        self.open();
        drop(dead);
    }

    #[cfg(feature = "sim")]
    pub(crate) fn disk(&self) -> &SimDisk {
        match &self.medium {
            Medium::Sim(disk) => disk,
            _ => panic!("not on a simulated disk"),
        }
    }

    pub(crate) fn dir(&self) -> PathBuf {
        match &self.medium {
            Medium::Native(dir) => store_dir(dir),
            _ => panic!("not in a directory"),
        }
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.dir().join(file)
    }

    /// The names of all files, in order.
    pub(crate) fn files(&self) -> Vec<String> {
        files(&self.dir())
    }

    pub(crate) fn segments(&self) -> Vec<String> {
        self.files().into_iter().filter(|name| name.ends_with(".seg")).collect()
    }

    /// Flips one bit of a file.
    pub(crate) fn corrupt(&self, file: &str, offset: u64) {
        let path = self.path(file);
        let mut bytes = fs::read(&path).expect("read the file to damage");
        bytes[offset as usize] ^= 0x10;
        fs::write(&path, bytes).expect("damage the file");
    }

    /// Where in the segments these bytes stand: file and offset of each place.
    pub(crate) fn places_of(&self, marker: &[u8]) -> Vec<(String, u64)> {
        let mut places = Vec::new();
        for name in self.segments() {
            let bytes = fs::read(self.path(&name)).expect("read a segment");
            let windows = bytes.windows(marker.len()).enumerate();
            let here = windows.filter(|(_, window)| *window == marker);
            places.extend(here.map(|(at, _)| (name.clone(), at as u64)));
        }
        places
    }
}

impl Drop for TestStore {
    fn drop(&mut self) {
        if std::thread::panicking() || !self.verified {
            return;
        }
        let report = match self.store.as_ref().map(Store::verify) {
            Some(Err(Error::Closed)) | None if !matches!(self.medium, Medium::Memory) => {
                drop(self.store.take());
                self.try_open().expect("open, to verify").verify()
            }
            Some(Err(Error::Closed)) | None => return,
            Some(report) => report,
        };
        let report = report.expect("verify the store");
        assert!(report.is_clean(), "{:?}", report.problems);
    }
}

pub(crate) fn store_dir(dir: &TempDir) -> PathBuf {
    dir.path().join("store")
}

/// The names of all files of a directory, in order.
pub(crate) fn files(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).expect("list the directory");
    let names = entries.map(|entry| entry.expect("list the directory").file_name());
    let mut names: Vec<String> =
        names.map(|name| name.into_string().expect("a UTF-8 name")).collect();
    names.sort();
    names
}

/// Copies a store that is open, with nobody writing to it. Its background threads may be busy, so
/// what depends on others is copied first: the manifest on the segments, these on the tail file.
/// Compaction removes segments: if the manifest is another one afterwards, all is copied again.
fn copy_as_killed(from: &Path, to: &Path) {
    let manifest = || fs::read(from.join("MANIFEST")).ok();
    loop {
        let before = manifest();
        fs::create_dir(to).expect("make the copy's directory");
        let copy = |name: &str| {
            let _gone_meanwhile = fs::copy(from.join(name), to.join(name));
        };
        copy("MANIFEST");
        let first_and_last = ["MANIFEST", "TAIL"];
        let others = files(from).into_iter().filter(|name| !first_and_last.contains(&&**name));
        others.for_each(|name| copy(&name));
        copy("TAIL");
        if manifest() == before {
            return;
        }
        fs::remove_dir_all(to).expect("remove the copy");
    }
}

/// Bytes that tell where they were written for: different for each number, and of any length.
pub(crate) fn pattern(number: u64, len: usize) -> Vec<u8> {
    let mut state = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}
