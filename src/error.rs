//! The one error type: few variants, each with what a caller needs in order to act.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::resource::Revision;

/// A `Result` whose error is [`enum@Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What a failed commit may have done. See [`Error::outcome`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Certain not to have happened, now and after any reopen.
    NotCommitted,
    /// Not acknowledged, but it may be there, whole, after the store is opened again.
    Unknown,
}

/// What the store was doing when an I/O operation failed.
///
/// It compares with, and displays as, its name: `"write"`, `"sync"`, `"open"`, …
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Op {
    name: &'static str,
    outcome: Outcome,
}

impl Op {
    /// An operation whose failure leaves no trace.
    pub(crate) const fn new(name: &'static str) -> Op {
        Op { name, outcome: Outcome::NotCommitted }
    }

    /// An operation whose failure leaves it open whether the commit is there.
    pub(crate) const fn in_doubt(name: &'static str) -> Op {
        Op { name, outcome: Outcome::Unknown }
    }

    /// The operation's name.
    pub fn name(&self) -> &'static str {
        self.name
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl PartialEq<&str> for Op {
    fn eq(&self, other: &&str) -> bool {
        self.name == *other
    }
}

/// Everything that can go wrong.
///
/// A missing key is never an error: reads answer `None`. Messages name files, keys and lengths,
/// never a value's bytes.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused an operation. A full disk has a `source` of kind
    /// [`io::ErrorKind::StorageFull`]; writing resumes by itself once there is room.
    Io {
        /// What the store was doing.
        op: Op,
        /// The file or directory it was doing it to.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// Bytes on disk are not what was written. Nothing is repaired or dropped.
    Corrupt {
        /// The damaged file.
        file: PathBuf,
        /// The byte in the file at which the damaged frame or structure begins.
        offset: u64,
        /// What is wrong, and the key where one is known.
        reason: String,
    },
    /// A store's manifest, or a backup, names a segment file that its directory lacks.
    MissingSegment {
        /// The missing file.
        file: PathBuf,
    },
    /// Another handle, of this process or of another, has the store open for writing.
    Locked {
        /// The store's directory.
        path: PathBuf,
        /// The process that holds it, where that is known.
        owner: Option<u32>,
    },
    /// The handle was opened with `read_only(true)`.
    ReadOnly,
    /// An earlier fsync failed, so what the disk holds is unknown: the store refuses every further
    /// write until it is opened again.
    Poisoned,
    /// The kind or the id breaks a rule of names.
    InvalidKey {
        /// Which rule, and where it was broken.
        reason: String,
    },
    /// A value, a batch or an option is over its limit. Nothing was written.
    TooLarge {
        /// The limit, in the unit of `len`.
        limit: u64,
        /// What was asked for.
        len: u64,
    },
    /// A condition did not hold.
    Conflict {
        /// The revision that the key has; `None` if it is absent.
        current: Option<Revision>,
    },
    /// The changes asked for are no longer in the log.
    Compacted {
        /// The oldest revision from which changes can still be had.
        oldest: Revision,
    },
    /// A watch fell too far behind.
    Lagged,
    /// The stored bytes are not a message of the type asked for.
    Decode {
        /// The resource's kind.
        kind: String,
        /// The resource's id.
        id: String,
        /// What the decoder said.
        source: prost::DecodeError,
    },
    /// A file was written by a version, or with a feature, that this build does not know.
    Version {
        /// The file.
        file: PathBuf,
        /// What it asks for that is not known here.
        found: String,
    },
    /// The store was closed, or the handle crossed a `fork`.
    Closed,
    /// The caller's own error, carried out of a closure.
    Caller(Box<dyn std::error::Error + Send + Sync>),
}

impl Error {
    /// Wraps a caller's own error, to carry it out of [`update`](crate::Store::update).
    pub fn caller(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        Error::Caller(error.into())
    }

    /// Whether the disk is full.
    pub(crate) fn is_storage_full(&self) -> bool {
        matches!(self, Error::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull)
    }

    /// For an error from a commit: whether it is certain not to have happened.
    ///
    /// After [`Outcome::Unknown`] the commit is there whole, or not at all, once the store has been
    /// opened again. Errors of reads answer [`Outcome::NotCommitted`].
    pub fn outcome(&self) -> Outcome {
        match self {
            Error::Io { op, .. } => op.outcome,
            _ => Outcome::NotCommitted,
        }
    }

    pub(crate) fn io(op: &'static str, path: impl AsRef<Path>, source: io::Error) -> Error {
        Error::Io { op: Op::new(op), path: path.as_ref().to_owned(), source }
    }

    pub(crate) fn in_doubt(op: &'static str, path: impl AsRef<Path>, source: io::Error) -> Error {
        Error::Io { op: Op::in_doubt(op), path: path.as_ref().to_owned(), source }
    }

    pub(crate) fn corrupt(file: impl AsRef<Path>, offset: u64, reason: impl Into<String>) -> Error {
        Error::Corrupt { file: file.as_ref().to_owned(), offset, reason: reason.into() }
    }

    /// The same error for everyone who shared the commit that failed.
    pub(crate) fn share(&self) -> Error {
        match self {
            Error::Io { op, path, source } => {
                let copy = match source.raw_os_error() {
                    Some(code) => io::Error::from_raw_os_error(code),
                    None => io::Error::new(source.kind(), source.to_string()),
                };
                Error::Io { op: *op, path: path.clone(), source: copy }
            }
            Error::Corrupt { file, offset, reason } => {
                Error::Corrupt { file: file.clone(), offset: *offset, reason: reason.clone() }
            }
            Error::Closed => Error::Closed,
            _ => Error::Poisoned,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Io { op, path, source } => write!(f, "{op} {}: {source}", path.display()),
            Error::Corrupt { file, offset, reason } => {
                write!(f, "{} is damaged at byte {offset}: {reason}", file.display())
            }
            Error::MissingSegment { file } => {
                write!(f, "segment {} is missing, which is part of ", file.display())?;
                match file.parent() {
                    Some(whole) => write!(f, "the store or backup in {}", whole.display()),
                    None => f.write_str("the store or backup"),
                }
            }
            Error::Locked { path, owner: Some(pid) } => {
                write!(f, "store {} is open for writing in process {pid}", path.display())
            }
            Error::Locked { path, owner: None } => {
                write!(f, "store {} is open for writing elsewhere", path.display())
            }
            Error::ReadOnly => f.write_str("the store was opened read-only"),
            Error::Poisoned => f.write_str(
                "an fsync failed earlier; the store takes no writes until it is reopened",
            ),
            Error::InvalidKey { reason } => write!(f, "invalid key: {reason}"),
            Error::TooLarge { limit, len } => write!(f, "too large: {len}, the limit is {limit}"),
            Error::Conflict { current: Some(revision) } => {
                write!(f, "conflict: the key is at revision {revision}")
            }
            Error::Conflict { current: None } => f.write_str("conflict: the key is absent"),
            Error::Compacted { oldest } => {
                write!(f, "changes before revision {oldest} are compacted away")
            }
            Error::Lagged => f.write_str("the watch fell too far behind"),
            Error::Decode { kind, id, source } => write!(f, "{kind}/{id}: {source}"),
            Error::Version { file, found } => {
                write!(f, "{} needs a newer kindlog: {found}", file.display())
            }
            Error::Closed => f.write_str("the store is closed"),
            Error::Caller(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Io { source, .. } => Some(source),
            Error::Decode { source, .. } => Some(source),
            Error::Caller(error) => error.source(),
            _ => None,
        }
    }
}
