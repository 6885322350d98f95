//! The command import: a stream of resources into batches, with one sync at the end.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use bytes::Bytes;
use kindlog::{Batch, Durability, Store};

use crate::Place;
use crate::args::{Format, ImportArgs};
use crate::delimited::Messages;
use crate::failure::{Failure, Outcome};
use crate::jsonl::Lines;
use crate::output::{Output, counted};
use crate::progress::Progress;

/// The largest value that a store takes, in bytes.
pub(crate) const MAX_VALUE_LEN: u64 = 1 << 30;

/// A batch that holds so many bytes of values is committed, however few they are.
const BATCH_BYTES: usize = 8 << 20;

/// A resource to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) kind: String,
    pub(crate) id: String,
    pub(crate) data: Bytes,
}

/// Resources one after the other. After an error nothing more is asked of it.
pub(crate) trait Source {
    /// The next one; `None` at the end.
    fn next(&mut self) -> Outcome<Option<Entry>>;

    /// Where the last one, or the error, was found: `line 7`.
    fn place(&self) -> String;
}

pub(crate) fn import(place: &Place, args: &ImportArgs) -> Outcome {
    // The input comes first: a file that isn't there must not leave an empty store behind.
    let path = args.file.as_deref().filter(|path| *path != Path::new("-"));
    let (name, reader) = open(path)?;
    let mut source: Box<dyn Source> = match args.format {
        Format::Jsonl => Box::new(Lines::new(reader)),
        Format::Delimited => Box::new(Messages::new(reader)),
    };
    let mut importer = Importer::new(place.open_to_add()?, args.batch as usize);
    let read = importer.read(source.as_mut());
    let stored = importer.finish();
    importer.progress.clear();

    let (Ok(()), Ok(())) = (&read, &stored) else {
        // What was wrong first explains what went wrong after it.
        let failure = read.and(stored).expect_err("one of them failed");
        let count = counted(importer.stored, "resource");
        return Err(failure.during(name).noted(format!("{count} stored before that")));
    };
    let mut out = Output::stdout();
    out.line(format!("stored {}", importer.progress.summary()))?;
    out.finish()
}

fn open(path: Option<&Path>) -> Outcome<(String, Box<dyn BufRead>)> {
    match path {
        None => Ok(("standard input".into(), Box::new(io::stdin().lock()))),
        Some(path) => {
            let file = File::open(path).map_err(|error| Failure::file(path, error))?;
            let reader = BufReader::with_capacity(256 << 10, file);
            Ok((path.display().to_string(), Box::new(reader)))
        }
    }
}

/// Fills batches and commits them.
struct Importer {
    store: Store,
    batch_len_max: usize,
    batch: Batch,
    batch_len: usize,
    batch_bytes: usize,
    /// How many resources are committed.
    stored: u64,
    progress: Progress,
}

impl Importer {
    fn new(store: Store, batch_len_max: usize) -> Importer {
        Importer {
            store,
            batch_len_max,
            batch: Batch::new(),
            batch_len: 0,
            batch_bytes: 0,
            stored: 0,
            progress: Progress::new(),
        }
    }

    /// Reads to the end, or to the first error.
    fn read(&mut self, source: &mut dyn Source) -> Outcome {
        loop {
            match source.next() {
                Ok(None) => return Ok(()),
                Ok(Some(entry)) => self.add(&entry, source)?,
                Err(failure) => return Err(failure.during(source.place())),
            }
        }
    }

    fn add(&mut self, entry: &Entry, source: &dyn Source) -> Outcome {
        let here = |error: kindlog::Error| Failure::from(error).during(source.place());
        // A batch with one malformed key is refused as a whole; asking for the key first finds out
        // which line it is on.
        self.store.contains(&entry.kind, &entry.id).map_err(here)?;
        if entry.data.len() as u64 > MAX_VALUE_LEN {
            let len = entry.data.len() as u64;
            return Err(here(kindlog::Error::TooLarge { limit: MAX_VALUE_LEN, len }));
        }
        if self.batch_bytes + entry.data.len() > BATCH_BYTES {
            self.commit()?;
        }
        self.batch.put(&entry.kind, &entry.id, &entry.data);
        self.batch_len += 1;
        self.batch_bytes += entry.data.len();
        self.progress.add(entry.data.len());
        if self.batch_len >= self.batch_len_max {
            self.commit()?;
        }
        Ok(())
    }

    fn commit(&mut self) -> Outcome {
        let batch = std::mem::replace(&mut self.batch, Batch::new());
        let batch_len = std::mem::take(&mut self.batch_len) as u64;
        self.batch_bytes = 0;
        if batch_len > 0 {
            self.store.commit_with(batch, Durability::Os)?;
            self.stored += batch_len;
        }
        Ok(())
    }

    /// Commits what is left, also after an error, and makes all of it durable.
    fn finish(&mut self) -> Outcome {
        self.commit()?;
        self.store.sync()?;
        Ok(self.store.close()?)
    }
}
