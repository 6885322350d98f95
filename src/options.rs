//! How a store is opened.

use std::time::Duration;

/// When a commit returns, and so what it survives.
///
/// In every level what survives is a prefix of the commit order. A commit becomes visible in the
/// order of revisions, so a weaker commit behind a [`Sync`](Durability::Sync) one waits for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Durability {
    /// On disk: an fsync, shared with everyone waiting. Survives power loss.
    #[default]
    Sync,
    /// With the kernel: survives the death of the process, and power loss but for the last
    /// [`sync_interval`](Options::sync_interval) and the sync under way.
    Os,
    /// In the write buffer: loses the last `sync_interval` when the process dies, the last two at
    /// power loss.
    Buffered,
}

/// How values are read from segments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ReadMode {
    /// Through a shared mapping, without a copy or a system call. A medium that fails under a
    /// mapping, or a file that someone else truncates, kills the process with SIGBUS.
    #[default]
    Mapped,
    /// By `pread` into a buffer of its own: slower, and a failing medium is an error.
    Pread,
}

/// Options of [`open`](Options::open). Start from the defaults, change what matters:
///
/// ```
/// # fn main() -> Result<(), kindlog::Error> {
/// use kindlog::{Durability, Options};
/// let store = Options::new().durability(Durability::Os).open_in_memory()?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Options {
    pub(crate) durability: Durability,
    pub(crate) sync_interval: Duration,
    pub(crate) segment_size: u64,
    pub(crate) verify_reads: bool,
    pub(crate) read_only: bool,
    pub(crate) create: bool,
    pub(crate) read_mode: ReadMode,
    pub(crate) space_bound: f64,
}

/// The smallest segment size, in bytes.
pub const MIN_SEGMENT_SIZE: u64 = 64 << 10;
/// The least [`space_bound`](Options::space_bound).
pub const MIN_SPACE_BOUND: f64 = 1.1;
/// The largest segment size, in bytes.
pub const MAX_SEGMENT_SIZE: u64 = 4 << 30;

impl Default for Options {
    fn default() -> Options {
        Options {
            durability: Durability::Sync,
            sync_interval: Duration::from_millis(100),
            segment_size: 64 << 20,
            verify_reads: true,
            read_only: false,
            create: true,
            read_mode: ReadMode::Mapped,
            space_bound: 1.5,
        }
    }
}

impl Options {
    /// The defaults: `Sync`, 100 ms, segments of 64 MiB, verified reads, created where missing.
    pub fn new() -> Options {
        Options::default()
    }

    /// The durability of commits that don't name their own. Default: [`Durability::Sync`].
    pub fn durability(mut self, durability: Durability) -> Options {
        self.durability = durability;
        self
    }

    /// How often the background syncs what `Os` and `Buffered` commits left. Default: 100 ms.
    pub fn sync_interval(mut self, interval: Duration) -> Options {
        self.sync_interval = interval;
        self
    }

    /// The bytes after which a new segment begins, 64 KiB to 4 GiB. Default: 64 MiB. A larger batch
    /// gets a segment of its own.
    pub fn segment_size(mut self, bytes: u64) -> Options {
        self.segment_size = bytes;
        self
    }

    /// Whether every read checks its record's checksum. Default: true.
    pub fn verify_reads(mut self, verify: bool) -> Options {
        self.verify_reads = verify;
        self
    }

    /// Opens without the lock and without changing a byte, also while another process owns the
    /// store. The view is fixed until [`refresh`](crate::Store::refresh). Default: false.
    pub fn read_only(mut self, read_only: bool) -> Options {
        self.read_only = read_only;
        self
    }

    /// Whether a store that isn't there is created. Default: true.
    pub fn create(mut self, create: bool) -> Options {
        self.create = create;
        self
    }

    /// How many bytes the log may have for each live byte, 1.1 and up: what is dead beyond that is
    /// compacted in the background. Default: 1.5.
    ///
    /// A store that is idle comes down to two fifths of the excess, 1.2 by default, and 1 MiB, but
    /// not below 1.1. While it is written it may have a half more than the bound, and two
    /// segments; commits are slowed down where compaction can't keep up. What
    /// snapshots pin comes on top of it. A lower bound saves space and costs writing:
    /// about `1 / (bound - 1)` bytes are copied for each byte that dies. With `f64::INFINITY`
    /// nothing is compacted unless [`compact`](crate::Store::compact) is called.
    pub fn space_bound(mut self, bound: f64) -> Options {
        self.space_bound = bound;
        self
    }

    /// How values are read. Default: [`ReadMode::Mapped`].
    pub fn read_mode(mut self, mode: ReadMode) -> Options {
        self.read_mode = mode;
        self
    }
}
