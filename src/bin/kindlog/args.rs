//! The command line: what there is to type, and the help about it.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};

const EXIT_CODES: &str = "\
Exit codes:
  0  done (also when the reader of a pipe closes it)
  1  not found
  2  wrong usage, a malformed key, or malformed input
  3  an I/O error, or no store there
  4  corruption, or a store that needs a newer kindlog
  5  another process has the store open for writing

Reads take no lock and change nothing: they work, but for doctor, while another process owns the \
store.";

/// Look into a kindlog store, and change it: an embedded store for Protobuf resources.
#[derive(Parser, Debug)]
#[command(name = "kindlog", version, after_help = EXIT_CODES, max_term_width = 100)]
#[command(propagate_version = false, disable_help_subcommand = true, arg_required_else_help = true)]
pub(crate) struct Cli {
    /// The store's directory
    #[arg(short, long, global = true, env = "KINDLOG_STORE", value_name = "PATH")]
    #[arg(value_hint = ValueHint::DirPath)]
    pub(crate) store: Option<PathBuf>,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Store a value, and print the revision of the commit
    ///
    /// The bytes are stored as they are, and are on disk when the command returns. Creates the
    /// store where there is none.
    Put(PutArgs),
    /// Show a resource: its Protobuf, decoded without a schema
    Get(GetArgs),
    /// List the resources of a kind, in the order of their ids
    List(ListArgs),
    /// List the kinds, with how many resources and bytes each holds
    Kinds,
    /// Delete a resource; exits with 1 if there was none
    Delete {
        /// Kind/ID, of which the first '/' ends the kind; or a kind and an id, as two words
        #[arg(required = true, num_args = 1..=2, value_name = "KEY")]
        key: Vec<String>,
    },
    /// Delete a whole kind, or its ids that start with a prefix, in one commit
    ///
    /// Without --yes it deletes nothing, and says how many resources it would delete.
    Clean(CleanArgs),
    /// Show what the store holds and what it costs: kinds, segments, index, disk
    Stats {
        /// What to write
        #[arg(short, long, value_enum, default_value_t = StatsFormat::Text)]
        output: StatsFormat,
        /// Also how much is dead in each segment, and why it is not reclaimed
        ///
        /// As far as the files say, by the default bound: while another process owns the store, it
        /// may have another one, and knows of more reasons.
        #[arg(long)]
        why: bool,
    },
    /// Compact the whole store now: nothing that is dead stays, unless it is said why
    ///
    /// A process that owns a store compacts it by itself, to the bound that it was opened with, and
    /// this is not needed. It needs a store that nobody has open for writing, and room for a copy
    /// of what is live.
    Compact,
    /// Check every record against its checksums, and the index against the log
    ///
    /// Exits with 4, and a line for each problem, if anything is wrong: also if the end of the log
    /// is torn, as after a crash, which opening the store would mend. Of a backup every byte is
    /// checked against the backup's hashes, and every record against its checksums.
    Verify {
        /// Check this backup instead of a store
        #[arg(value_hint = ValueHint::DirPath)]
        backup: Option<PathBuf>,
    },
    /// Back the store up to a directory, also while another process writes to it
    ///
    /// What is there at one moment; beside an owner, what is durable then. Into a directory that
    /// holds an earlier backup of the same store only what is new is copied; the earlier one is
    /// replaced when the new one is complete. On the same file system whole segments are shared
    /// with the store, not copied.
    Backup {
        /// Where to: missing, empty, or with an earlier backup of this store
        #[arg(value_hint = ValueHint::DirPath)]
        dir: PathBuf,
    },
    /// Make a new store of a backup
    ///
    /// Every byte is compared with the backup's hashes. The new store has an id of its own, and its
    /// revisions go on 2^32 higher. --store is not used.
    Restore {
        /// The backup's directory
        #[arg(value_hint = ValueHint::DirPath)]
        backup: PathBuf,
        /// The new store's directory: missing or empty
        #[arg(value_hint = ValueHint::DirPath)]
        to: PathBuf,
    },
    /// Say what is wrong with a store that is damaged, what is lost, and what to do
    ///
    /// Changes nothing. Exits with 4 if anything is damaged. Needs a store that nobody writes just
    /// now; verify does not.
    Doctor,
    /// Copy what is sound of a damaged store into a new one, and list what is not
    ///
    /// The damaged store is left as it is. Revisions and times are kept. Exits with 4 if anything
    /// but a torn end was left behind: the new store is made all the same.
    Salvage {
        /// The new store's directory: missing or empty
        #[arg(value_hint = ValueHint::DirPath)]
        to: PathBuf,
    },
    /// Store resources from JSON lines or length-delimited Protobuf
    Import(ImportArgs),
    /// Write resources as JSON lines or length-delimited Protobuf
    Export(ExportArgs),
    /// Print the completion script for a shell
    Completions {
        /// The shell it is for
        shell: clap_complete::Shell,
    },
    /// See it work: real data, a daemon's life, and a process killed in mid-write
    ///
    /// Fills a store with Protobuf descriptors and with an example daemon's resources, kills a
    /// process that writes to it (SIGKILL) several times, and checks every byte and every count.
    /// The store is kept, to look at.
    ///
    /// --store says where it goes: a new or empty directory, or an earlier demo's. Without it that
    /// is a new one under the system's temporary directory; KINDLOG_STORE is not used.
    Demo(DemoArgs),
    /// The process that the demo kills
    #[command(hide = true)]
    DemoWriter {
        #[arg(long)]
        seed: u64,
        /// The number of the first commit to make
        #[arg(long)]
        from: u64,
    },
}

#[derive(Args, Debug)]
pub(crate) struct PutArgs {
    /// Kind/ID, of which the first '/' ends the kind; or a kind and an id, as two words
    #[arg(required = true, num_args = 1..=3, value_name = "KEY")]
    pub(crate) key: Vec<String>,
    /// Read the value from a file; '-', like no --file, is standard input
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) file: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct GetArgs {
    /// Kind/ID, of which the first '/' ends the kind; or a kind and an id, as two words
    #[arg(required = true, num_args = 1..=2, value_name = "KEY")]
    pub(crate) key: Vec<String>,
    /// What to write
    #[arg(short, long, value_enum, default_value_t = GetFormat::Text)]
    pub(crate) output: GetFormat,
    /// Show all of long bytes, not just the first 64
    #[arg(long)]
    pub(crate) full: bool,
}

#[derive(ValueEnum, Clone, Copy, Debug)]
pub(crate) enum GetFormat {
    /// Decoded without a schema; guesses are marked with '?'
    Text,
    /// The stored bytes, and nothing else
    Raw,
    /// One JSON line: kind, id, revision, updated_at, data (base64)
    Json,
}

#[derive(Args, Debug)]
pub(crate) struct ListArgs {
    /// The kind, as the store has it
    pub(crate) kind: String,
    /// Only ids that start so
    #[arg(short, long)]
    pub(crate) prefix: Option<String>,
    /// Go on after this id, the last one of the page before
    #[arg(short, long, value_name = "ID")]
    pub(crate) after: Option<String>,
    /// From the last id to the first
    #[arg(short, long)]
    pub(crate) reverse: bool,
    /// At most so many resources
    #[arg(short = 'n', long, value_name = "N")]
    pub(crate) limit: Option<usize>,
    /// What to write
    #[arg(short, long, value_enum, default_value_t = ListFormat::Table)]
    pub(crate) output: ListFormat,
}

#[derive(ValueEnum, Clone, Copy, Debug)]
pub(crate) enum ListFormat {
    /// Revision, time of the update in UTC, size in bytes, id
    Table,
    /// One id a line; reads no values
    Ids,
    /// Each resource as get shows it: decoded without a schema
    Text,
    /// One JSON line a resource: kind, id, revision, updated_at, data (base64)
    Json,
}

#[derive(Args, Debug)]
pub(crate) struct CleanArgs {
    /// The kind to delete from
    #[arg(short, long)]
    pub(crate) kind: String,
    /// Only ids that start so
    #[arg(short, long)]
    pub(crate) prefix: Option<String>,
    /// Delete, instead of counting
    #[arg(short, long)]
    pub(crate) yes: bool,
}

#[derive(ValueEnum, Clone, Copy, Debug)]
pub(crate) enum StatsFormat {
    /// For people; kB, MB and GB are powers of 1000
    Text,
    /// One JSON object; sizes in bytes
    Json,
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// A JSON object a line: kind, id, data (base64); export adds revision and updated_at, which
    /// import passes over: it gives new ones
    Jsonl,
    /// kindlog.v1.Resource messages, each after its length as a varint
    Delimited,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Resources are stored in batches, each all or nothing, without waiting for the disk; one sync at \
the end makes all of them durable before the command says so. At the first bad line it stops: what \
stands before it is stored and synced.

A line is {\"kind\": \"Agent\", \"id\": \"a-1\", \"data\": \"CgNib2I=\"}; other fields, and blank \
lines, are ignored. Creates the store where there is none.")]
pub(crate) struct ImportArgs {
    /// What to read; standard input if missing or '-'
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) file: Option<PathBuf>,
    /// What a resource looks like
    #[arg(short, long, value_enum, default_value_t = Format::Jsonl)]
    pub(crate) format: Format,
    /// Resources in a commit; a commit also ends at 8 MiB
    #[arg(long, value_name = "N", default_value_t = 1000)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) batch: u32,
}

#[derive(Args, Debug)]
pub(crate) struct ExportArgs {
    /// Only this kind
    #[arg(short, long)]
    pub(crate) kind: Option<String>,
    /// What a resource looks like
    #[arg(short, long, value_enum, default_value_t = Format::Jsonl)]
    pub(crate) format: Format,
    /// Write to a file instead of standard output
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) output: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct DemoArgs {
    /// Resources of the example daemon
    #[arg(long, value_name = "N", default_value_t = 50_000)]
    #[arg(value_parser = clap::value_parser!(u32).range(100..=50_000_000))]
    pub(crate) resources: u32,
}
