//! The command export: resources as a stream that import reads back, byte for byte.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use kindlog::Store;

use crate::Place;
use crate::args::{ExportArgs, Format};
use crate::delimited;
use crate::failure::{Failure, Outcome};
use crate::jsonl;
use crate::output::write_failure;
use crate::progress::Progress;

pub(crate) fn export(place: &Place, args: &ExportArgs) -> Outcome {
    let store = place.open_to_read()?;
    let kinds = match &args.kind {
        Some(kind) => vec![kind.clone()],
        None => store.kinds()?,
    };
    let mut sink = Sink::open(args.output.as_deref())?;
    let written = write(&store, &kinds, args.format, &mut sink).and_then(|()| sink.finish());
    if let (Err(_), Sink::File { partial, path, .. }) = (&written, &sink)
        && partial != path
    {
        // What was there before stays; half an export helps nobody.
        let _ = fs::remove_file(partial);
    }
    written
}

fn write(store: &Store, kinds: &[String], format: Format, sink: &mut Sink<'_>) -> Outcome {
    let mut progress = Progress::new();
    for kind in kinds {
        for resource in store.scan(kind).iter() {
            let resource = resource?;
            match format {
                Format::Jsonl => sink.write(&jsonl::line(&resource))?,
                Format::Delimited => sink.write(&delimited::message(&resource))?,
            }
            progress.add(resource.data.len());
        }
    }
    progress.finish("wrote");
    Ok(())
}

/// Where the resources go.
enum Sink<'a> {
    Stdout(BufWriter<io::StdoutLock<'static>>),
    /// A file beside the one that was asked for, whose place it takes when it is whole.
    File {
        writer: BufWriter<File>,
        partial: PathBuf,
        path: &'a Path,
    },
}

impl<'a> Sink<'a> {
    fn open(path: Option<&'a Path>) -> Outcome<Sink<'a>> {
        const BUFFER_LEN: usize = 256 << 10;
        match path.filter(|path| *path != Path::new("-")) {
            None => Ok(Sink::Stdout(BufWriter::with_capacity(BUFFER_LEN, io::stdout().lock()))),
            Some(path) => {
                // A device or a pipe is written as it is.
                let replaced = fs::metadata(path).map_or(true, |found| found.is_file());
                let mut partial = path.as_os_str().to_owned();
                partial.push(if replaced { ".partial" } else { "" });
                let partial = PathBuf::from(partial);
                let file = File::create(&partial).map_err(|e| Failure::file(&partial, e))?;
                let writer = BufWriter::with_capacity(BUFFER_LEN, file);
                Ok(Sink::File { writer, partial, path })
            }
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Outcome {
        match self {
            Sink::Stdout(writer) => writer.write_all(bytes).map_err(write_failure),
            Sink::File { writer, partial, .. } => {
                writer.write_all(bytes).map_err(|error| Failure::file(partial, error))
            }
        }
    }

    fn finish(&mut self) -> Outcome {
        match self {
            Sink::Stdout(writer) => writer.flush().map_err(write_failure),
            Sink::File { writer, partial, path } => {
                let failed = |error| Failure::file(path, error);
                writer.flush().map_err(failed)?;
                if partial != path {
                    writer.get_ref().sync_all().map_err(failed)?;
                    fs::rename(&*partial, *path).map_err(failed)?;
                }
                Ok(())
            }
        }
    }
}
