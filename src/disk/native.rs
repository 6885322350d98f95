//! The real disk: a directory of the file system. The only file with `unsafe`: the mappings, and
//! what the processor is told to fetch of them.
//!
//! A [`NativeDisk`] holds its directory open and reaches every file relative to it, so a directory
//! that is renamed while the store is open stays the store's. Every file is opened without
//! following links and is refused unless it is a regular file. The path to the directory itself may
//! lead through links: whoever names it is trusted, whoever can write in it less so.
//!
//! Left out: file systems whose locks don't exclude other machines. One process at a time is what
//! the operating system's `flock` promises, and no more.
#![allow(unsafe_code)]

#[cfg(not(any(target_os = "linux", target_os = "macos")))]
compile_error!("kindlog runs on Linux and macOS");

mod adopt;
mod dirs;
mod lock;

use std::fs;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use memmap2::{MmapMut, MmapOptions, MmapRaw};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

pub(crate) use self::dirs::rename_dir;
use self::dirs::{check_name, create_dirs, not_a_directory, sync_parent};
use self::lock::{NativeLock, identity};
use super::{Disk, File, Lock, Map, TailMap};
use crate::zoo::{Bug, planted};

/// What is said of what is neither a file nor a link.
const NO_FILE: &str = "what has its name is not a regular file";

/// A directory of the file system.
#[derive(Debug)]
pub(crate) struct NativeDisk {
    path: PathBuf,
    dir: fs::File,
    fork_mark: ForkMark,
}

impl NativeDisk {
    /// Opens the directory at `path`. With `create`, makes it where it is missing, and its missing
    /// parents, mode 0700 and durable.
    pub(crate) fn open(path: impl AsRef<Path>, create: bool) -> io::Result<NativeDisk> {
        let path = path.as_ref();
        if create {
            create_dirs(path)?;
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = match rustix::fs::open(path, flags, Mode::empty()) {
            Ok(fd) => fs::File::from(fd),
            Err(Errno::NOTDIR) => return Err(not_a_directory(path)),
            Err(err) => return Err(err.into()),
        };
        let disk = NativeDisk { path: path.to_owned(), dir, fork_mark: ForkMark::new() };
        if create && disk.list()?.is_empty() {
            // The directory may be the work of a process that died before it synced the parent.
            // Without this the whole store could be lost with its name.
            sync_parent(path)?;
        }
        Ok(disk)
    }

    fn open_with(&self, name: &str, flags: OFlags) -> io::Result<fs::File> {
        check_name(name)?;
        // Without NONBLOCK, opening a pipe that someone put here would wait for its other end.
        let links = if planted(Bug::FollowLinks) { OFlags::empty() } else { OFlags::NOFOLLOW };
        let flags = flags | OFlags::CLOEXEC | links | OFlags::NONBLOCK;
        let others = if planted(Bug::ReadableFiles) { Mode::ROTH } else { Mode::empty() };
        let opened = rustix::io::retry_on_intr(|| {
            rustix::fs::openat(&self.dir, name, flags, Mode::RUSR | Mode::WUSR | others)
        });
        let other = |what| io::Error::new(io::ErrorKind::InvalidInput, what);
        let file = match opened {
            Ok(fd) => fs::File::from(fd),
            Err(Errno::LOOP) => return Err(other("a symbolic link has its name")),
            Err(Errno::ISDIR | Errno::NXIO) => return Err(other(NO_FILE)),
            Err(error) => return Err(error.into()),
        };
        if file.metadata()?.is_file() { Ok(file) } else { Err(other(NO_FILE)) }
    }

    /// Whether `file` still is what `name` leads to.
    fn is_named(&self, file: &fs::File, name: &str) -> io::Result<bool> {
        match self.open_with(name, OFlags::RDONLY) {
            Ok(named) => Ok(identity(&named)? == identity(file)?),
            Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(err) => Err(err),
        }
    }

    /// Whether a block, once written, is written in place ever after. Elsewhere (copy on write) a
    /// store to a mapped page may need room that isn't there, and then the process is killed.
    #[cfg(target_os = "linux")]
    fn overwrites_in_place(&self) -> io::Result<bool> {
        const EXT: u32 = 0xEF53;
        const TMPFS: u32 = 0x0102_1994;
        // The type's width and sign differ between targets; the magic numbers have 32 bits.
        let magic = rustix::fs::fstatfs(&self.dir)?.f_type as u32;
        Ok(magic == EXT || magic == TMPFS)
    }

    #[cfg(not(target_os = "linux"))]
    fn overwrites_in_place(&self) -> io::Result<bool> {
        Ok(false)
    }
}

impl Disk for NativeDisk {
    fn path(&self) -> &Path {
        &self.path
    }

    /// A name that isn't UTF-8 is none of ours and is left out as well.
    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.dir)? {
            let entry = entry?;
            let mut file_type = entry.file_type();
            if file_type == FileType::Unknown {
                let name = entry.file_name();
                match rustix::fs::statat(&self.dir, name, AtFlags::SYMLINK_NOFOLLOW) {
                    Ok(stat) => file_type = FileType::from_raw_mode(stat.st_mode),
                    Err(Errno::NOENT) => continue,
                    Err(err) => return Err(err.into()),
                }
            }
            if file_type == FileType::RegularFile
                && let Ok(name) = entry.file_name().to_str()
            {
                names.push(name.to_owned());
            }
        }
        Ok(names)
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let file = self.open_with(name, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL)?;
        Ok(Arc::new(NativeFile { file }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(NativeFile { file: self.open_with(name, OFlags::RDWR)? }))
    }

    fn open_read_only(&self, name: &str) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(NativeFile { file: self.open_with(name, OFlags::RDONLY)? }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        check_name(from)?;
        check_name(to)?;
        Ok(rustix::fs::renameat(&self.dir, from, &self.dir, to)?)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        check_name(name)?;
        Ok(rustix::fs::unlinkat(&self.dir, name, AtFlags::empty())?)
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.dir.sync_all()
    }

    fn adopt(&self, name: &str, file: &dyn File, len: u64) -> io::Result<bool> {
        check_name(name)?;
        adopt::adopt(self, name, file, len)
    }

    fn lock(&self, name: &str) -> io::Result<Result<Box<dyn Lock>, Option<u32>>> {
        // `is_locked` of others holds a shared lock for an instant: one refusal proves nothing.
        const TRIES: u32 = 10;
        const PAUSE: Duration = Duration::from_millis(5);
        let mut owner = None;
        for attempt in 0..TRIES {
            if attempt > 0 {
                thread::sleep(PAUSE);
            }
            let file = self.open_with(name, OFlags::RDWR | OFlags::CREATE)?;
            match NativeLock::take(file)? {
                // A lock on a file that was replaced meanwhile excludes nobody.
                Ok(lock) if self.is_named(&lock.file, name)? => {
                    lock.sign();
                    return Ok(Ok(Box::new(lock)));
                }
                Ok(_) => owner = None,
                Err(held_by) => owner = held_by,
            }
        }
        Ok(Err(owner))
    }

    fn is_locked(&self, name: &str) -> io::Result<bool> {
        let file = match self.open_with(name, OFlags::RDONLY) {
            Ok(file) => file,
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(err) => return Err(err),
        };
        lock::is_locked(&file)
    }

    /// A tail that is already there is written over from the front, so a process that dies in here
    /// never leaves a new header above old frames. It keeps its blocks, so that a store on a full
    /// disk still opens; without one before, a full disk is an error of kind `StorageFull`.
    fn create_tail(
        &self,
        name: &str,
        header: &[u8],
        len: usize,
    ) -> io::Result<Option<Box<dyn TailMap>>> {
        assert!(header.len() <= len, "the tail file is shorter than its header");
        if !self.overwrites_in_place()? {
            return Ok(None);
        }
        let file = self.open_with(name, OFlags::RDWR | OFlags::CREATE)?;
        if file.metadata()?.nlink() > 1 {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{} has a second name (a hard link)", self.path.join(name).display()),
            ));
        }
        if file.metadata()?.len() > len as u64 {
            file.set_len(len as u64)?;
        }
        // Written, not only allocated, and synced: only then do the blocks exist for good, and no
        // later store to the mapping can run out of room.
        file.write_all_at(&vec![0; len], 0)?;
        file.write_all_at(header, 0)?;
        file.sync_all()?;
        let map = MmapOptions::new().len(len).map_raw(&file)?;
        #[cfg(target_os = "linux")]
        // Spares the first round its page faults. Kernels before 5.14 refuse, and nothing is lost.
        let _ = map.advise(memmap2::Advice::PopulateWrite);
        Ok(Some(Box::new(NativeTail { map })))
    }

    fn same_process(&self) -> bool {
        self.fork_mark.is_ours()
    }
}

/// One open file. Offsets are always given, so handles share no cursor.
#[derive(Debug)]
struct NativeFile {
    file: fs::File,
}

impl File for NativeFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buf, offset)
    }

    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(buf, offset)
    }

    /// `fdatasync`, which covers the length too; on macOS `F_FULLFSYNC`, since `fsync` there stops
    /// at the drive's cache.
    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// `fallocate`, and nothing where the file system doesn't know it, nor on macOS. Invalid ranges
    /// count as "doesn't know it" too: what some file systems answer to a file they can't allocate.
    #[cfg(target_os = "linux")]
    fn reserve(&self, offset: u64, len: u64) -> io::Result<()> {
        use rustix::io::Errno;
        let len_before = self.len()?;
        let allocated = rustix::io::retry_on_intr(|| {
            rustix::fs::fallocate(&self.file, rustix::fs::FallocateFlags::empty(), offset, len)
        });
        match allocated {
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => Ok(()),
            Err(err) => {
                // ext4 keeps what it had allocated, and the length that goes with it, when the disk
                // is full half way. Left so, the file would hold the room that a smaller one needs.
                if self.len()? > len_before {
                    self.file.set_len(len_before)?;
                }
                Err(err.into())
            }
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn reserve(&self, _offset: u64, _len: u64) -> io::Result<()> {
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn handle(&self) -> Option<&fs::File> {
        Some(&self.file)
    }

    fn map(&self, capacity: u64) -> io::Result<Option<Arc<dyn Map>>> {
        let len = usize::try_from(capacity)
            .ok()
            .filter(|len| isize::try_from(*len).is_ok())
            .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        let raw = MmapOptions::new().len(len).map_raw_read_only(&self.file)?;
        Ok(Some(Arc::new(NativeMap { raw, len })))
    }
}

/// A shared, read-only mapping. It is kept raw: no slice over the bytes that are still to be
/// written ever exists.
#[derive(Debug)]
struct NativeMap {
    raw: MmapRaw,
    len: usize,
}

impl Map for NativeMap {
    fn prefix(self: Arc<Self>, len: u64) -> Bytes {
        assert!(len <= self.len as u64, "a prefix of {len} bytes of a mapping of {}", self.len);
        Bytes::from_owner(Prefix { len: len as usize, map: self })
    }
}

/// The part of a mapping that no longer changes, and what keeps it mapped. The count of those who
/// hold it lies beside it, on a cache line that no other prefix's count shares.
#[repr(align(128))]
struct Prefix {
    map: Arc<NativeMap>,
    len: usize,
}

impl AsRef<[u8]> for Prefix {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: the mapping is at least `len` bytes long (checked in `Map::prefix`), is readable,
        // and lives as long as `self.map`, which `self` owns. That the file has these bytes and
        // that nobody writes them again is what the caller of `Map::prefix` promises, and what the
        // engine's write-once offsets keep.
        unsafe { std::slice::from_raw_parts(self.map.raw.as_ptr(), self.len) }
    }
}

/// The tail file's mapping. Raw as well: it is only ever stored to.
#[derive(Debug)]
struct NativeTail {
    map: MmapRaw,
}

impl TailMap for NativeTail {
    fn store(&mut self, offset: usize, bytes: &[u8]) {
        self.check_range(offset, bytes.len());
        // SAFETY: the range lies inside the mapping, which is writable and lives as long as `self`;
        // `&mut self` keeps other threads out, and references into the mapping live no longer than
        // a call of `write_to`, so `bytes` can't overlap it.
        unsafe {
            let target = self.map.as_mut_ptr().add(offset);
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), target, bytes.len());
        }
    }

    fn write_to(&self, offset: usize, len: usize, file: &dyn File, to: u64) -> io::Result<()> {
        self.check_range(offset, len);
        // SAFETY: the range lies inside the mapping, which lives as long as `self`; `store`, by
        // which alone this process writes it, wants `&mut self`. Others don't: the store is locked,
        // and a child refuses its parent's handles.
        let bytes = unsafe { std::slice::from_raw_parts(self.map.as_ptr().add(offset), len) };
        file.write_all_at(bytes, to)
    }
}

impl NativeTail {
    fn check_range(&self, offset: usize, len: usize) {
        let whole = self.map.len();
        let inside = offset <= whole && len <= whole - offset;
        assert!(inside, "{len} bytes at {offset} of a tail file of {whole}");
    }
}

/// Tells a process from a child that it forked.
///
/// On Linux a page that the kernel clears in the child, so that asking is one load; where that
/// isn't to be had, the process id.
#[derive(Debug)]
struct ForkMark {
    page: Option<MmapMut>,
    pid: u32,
}

impl ForkMark {
    fn new() -> ForkMark {
        ForkMark { page: Self::page(), pid: process::id() }
    }

    #[cfg(target_os = "linux")]
    fn page() -> Option<MmapMut> {
        let mut page = MmapOptions::new().len(1).map_anon().ok()?;
        // SAFETY: the range is the mapping's own, and the advice changes nothing in this process.
        // In a child the page reads as zeros, which is what `is_ours` is made to see.
        unsafe {
            let (start, len) = (page.as_mut_ptr().cast(), page.len());
            rustix::mm::madvise(start, len, rustix::mm::Advice::LinuxWipeOnFork).ok()?;
        }
        page[0] = 1;
        Some(page)
    }

    #[cfg(not(target_os = "linux"))]
    fn page() -> Option<MmapMut> {
        None
    }

    fn is_ours(&self) -> bool {
        match &self.page {
            Some(page) => {
                // SAFETY: the page is mapped for as long as `self` lives, a byte is always aligned,
                // and nobody writes to it after `new`: in a child the kernel hands out a new page.
                // Atomic, so that the compiler may not keep the value across a fork.
                let mark = unsafe { AtomicU8::from_ptr(page.as_ptr().cast_mut()) };
                mark.load(Ordering::Relaxed) == 1
            }
            None => self.pid == process::id(),
        }
    }
}

/// The length of a cache line, or less.
const LINE_LEN: usize = 64;

/// The same of the line in which `item` begins.
#[inline(always)]
pub(crate) fn prefetch_item<T>(item: &T) {
    prefetch_line(std::ptr::from_ref(item).cast());
}

/// Asks the processor for the cache lines of `bytes`, and does not wait for them: what comes until
/// they are needed is done meanwhile. A load would hold up all that is behind it. Where there is no
/// such instruction, it does nothing.
#[inline(always)]
pub(crate) fn prefetch(bytes: &[u8]) {
    let last = &bytes[bytes.len().saturating_sub(1)..];
    bytes.chunks(LINE_LEN).map(<[u8]>::as_ptr).chain([last.as_ptr()]).for_each(prefetch_line);
}

/// The same of the first `LEN` bytes, or of all there are, without a loop.
#[inline(always)]
pub(crate) fn prefetch_first<const LEN: usize>(bytes: &[u8]) {
    match bytes.first_chunk::<LEN>() {
        Some(first) => first.as_chunks::<LINE_LEN>().0.iter().for_each(prefetch_item),
        None => prefetch(bytes),
    }
}

#[inline(always)]
fn prefetch_line(at: *const u8) {
    // SAFETY: every processor of this kind has the instruction, which changes nothing that the
    // program could see, and does not fault, whatever the address.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(at.cast());
    }
    // SAFETY: as above.
    #[cfg(all(target_arch = "aarch64", not(miri)))]
    unsafe {
        std::arch::asm!("prfm pldl1keep, [{}]", in(reg) at, options(nostack, readonly));
    }
    let _ = at;
}
