//! Names and directories of the real file system.
#![forbid(unsafe_code)]

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

/// Refuses what would lead out of the directory.
pub(super) fn check_name(name: &str) -> io::Result<()> {
    if name.is_empty() || name == "." || name == ".." || name.contains('/') {
        let message = format!("{name:?} is not the name of a file in a store");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    Ok(())
}

pub(super) fn not_a_directory(path: &Path) -> io::Error {
    let message = format!("{} is not a directory", path.display());
    io::Error::new(io::ErrorKind::NotADirectory, message)
}

/// Makes the directory and its missing parents, from the top down, each durable in its parent
/// before the next is made in it.
pub(super) fn create_dirs(path: &Path) -> io::Result<()> {
    match fs::metadata(path) {
        Ok(meta) if meta.is_dir() => return Ok(()),
        Ok(_) => return Err(not_a_directory(path)),
        Err(err) if err.kind() == io::ErrorKind::NotFound => {}
        Err(err) => return Err(err),
    }
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        create_dirs(parent)?;
    }
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => sync_parent(path),
        // Someone else was faster; what they made is looked at when it is opened.
        Err(err) if err.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(err) => Err(err),
    }
}

pub(super) fn sync_parent(path: &Path) -> io::Result<()> {
    // Through `..`, not by cutting the path: `path` may end in a link or in dots.
    match fs::File::open(path.join("..")) {
        Ok(parent) => parent.sync_all(),
        // A parent that may be passed but not read can't be synced by us, and that is no reason to
        // refuse the store.
        Err(err) if err.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        Err(err) => Err(err),
    }
}

/// Gives a directory the name of another, which is missing or empty; durable when this returns.
pub(crate) fn rename_dir(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    let parent = to.parent().filter(|parent| !parent.as_os_str().is_empty());
    fs::File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}
