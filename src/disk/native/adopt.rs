//! A file of one directory that becomes one of another as well, without a copy of its bytes.
#![forbid(unsafe_code)]

use std::io;

use super::NativeDisk;
use crate::disk::{Disk, File};

/// See [`Disk::adopt`]. Shared blocks are tried before a second name: what happens to one of the
/// two files, other than on the medium, then never happens to the other.
pub(super) fn adopt(to: &NativeDisk, name: &str, file: &dyn File, len: u64) -> io::Result<bool> {
    let Some(from) = file.handle() else { return Ok(false) };
    if from.metadata()?.len() < len {
        return Ok(false);
    }
    let clone = to.create(name)?;
    if let Some(target) = clone.handle()
        && share_blocks(target, from).is_ok()
    {
        clone.sync()?;
        return Ok(true);
    }
    drop(clone);
    to.remove(name)?;
    // Whatever the reason, a copy either does better or fails with the same one.
    Ok(second_name(to, name, from).is_ok())
}

#[cfg(all(target_os = "linux", not(any(target_arch = "sparc", target_arch = "sparc64"))))]
fn share_blocks(to: &std::fs::File, from: &std::fs::File) -> io::Result<()> {
    Ok(rustix::fs::ioctl_ficlone(to, from)?)
}

#[cfg(not(all(target_os = "linux", not(any(target_arch = "sparc", target_arch = "sparc64")))))]
fn share_blocks(_to: &std::fs::File, _from: &std::fs::File) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// By the open handle, not by the name that it was opened by: that may be another file's by now.
#[cfg(target_os = "linux")]
fn second_name(to: &NativeDisk, name: &str, from: &std::fs::File) -> io::Result<()> {
    use std::os::fd::AsRawFd;

    use rustix::fs::{AtFlags, CWD};
    let handle = format!("/proc/self/fd/{}", from.as_raw_fd());
    Ok(rustix::fs::linkat(CWD, handle, &to.dir, name, AtFlags::SYMLINK_FOLLOW)?)
}

#[cfg(not(target_os = "linux"))]
fn second_name(_to: &NativeDisk, _name: &str, _from: &std::fs::File) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
