//! Why a command ends early, and the exit code that says so.

use std::fmt;
use std::io;
use std::path::Path;

/// What a command answers.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

/// A reason to end with something else than 0. Displayed as one line, without control characters.
#[derive(Debug)]
pub(crate) enum Failure {
    /// What was asked for isn't there.
    NotFound(String),
    /// The command line, or the input, is wrong.
    Usage(String),
    /// Something outside the store could not be read or written.
    Io(String),
    /// What is stored is not what was written.
    Damage(String),
    /// The store refused.
    Store(kindlog::Error),
    /// A failure, and what it came in the middle of.
    During(String, Box<Failure>),
    /// A failure, and what holds in spite of it.
    Noted(Box<Failure>, String),
    /// Whoever read the output has seen enough. Not an error.
    ClosedPipe,
}

impl Failure {
    /// An I/O error on `what`: a path, `standard input`, …
    pub(crate) fn io(what: impl fmt::Display, error: io::Error) -> Failure {
        Failure::Io(format!("{what}: {error}"))
    }

    pub(crate) fn file(path: &Path, error: io::Error) -> Failure {
        Failure::io(path.display(), error)
    }

    /// The same failure, its message introduced by where it happened.
    pub(crate) fn during(self, context: impl Into<String>) -> Failure {
        match self {
            Failure::ClosedPipe => Failure::ClosedPipe,
            other => Failure::During(context.into(), Box::new(other)),
        }
    }

    /// The same failure, its message followed by what holds in spite of it.
    pub(crate) fn noted(self, note: impl Into<String>) -> Failure {
        match self {
            Failure::ClosedPipe => Failure::ClosedPipe,
            other => Failure::Noted(Box::new(other), note.into()),
        }
    }

    /// The process's exit code; `kindlog --help` lists them.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Failure::ClosedPipe => 0,
            Failure::NotFound(_) => 1,
            Failure::Usage(_) => 2,
            Failure::Io(_) => 3,
            Failure::Damage(_) => 4,
            Failure::Store(error) => store_exit_code(error),
            Failure::During(_, failure) | Failure::Noted(failure, _) => failure.exit_code(),
        }
    }
}

fn store_exit_code(error: &kindlog::Error) -> u8 {
    use kindlog::Error;
    match error {
        Error::InvalidKey { .. } | Error::TooLarge { .. } => 2,
        Error::Corrupt { .. }
        | Error::MissingSegment { .. }
        | Error::Version { .. }
        | Error::Decode { .. } => 4,
        Error::Locked { .. } => 5,
        _ => 3,
    }
}

impl From<kindlog::Error> for Failure {
    fn from(error: kindlog::Error) -> Failure {
        Failure::Store(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::NotFound(text)
            | Failure::Usage(text)
            | Failure::Io(text)
            | Failure::Damage(text) => f.write_str(text),
            Failure::Store(error) => error.fmt(f),
            Failure::During(context, failure) => write!(f, "{context}: {failure}"),
            Failure::Noted(failure, note) => write!(f, "{failure}; {note}"),
            Failure::ClosedPipe => f.write_str("the output was closed"),
        }
    }
}
