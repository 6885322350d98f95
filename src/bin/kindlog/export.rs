//! The command export: resources as a stream that import reads back, byte for byte.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

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
    let mut progress = Progress::new();
    for kind in &kinds {
        for resource in store.scan(kind).iter() {
            let resource = resource?;
            match args.format {
                Format::Jsonl => sink.write(&jsonl::line(&resource))?,
                Format::Delimited => sink.write(&delimited::message(&resource))?,
            }
            progress.add(resource.data.len());
        }
    }
    sink.finish()?;
    progress.finish("wrote");
    Ok(())
}

/// Where the resources go.
enum Sink<'a> {
    Stdout(BufWriter<io::StdoutLock<'static>>),
    File(BufWriter<File>, &'a Path),
}

impl<'a> Sink<'a> {
    fn open(path: Option<&'a Path>) -> Outcome<Sink<'a>> {
        const BUFFER_LEN: usize = 256 << 10;
        match path.filter(|path| *path != Path::new("-")) {
            None => Ok(Sink::Stdout(BufWriter::with_capacity(BUFFER_LEN, io::stdout().lock()))),
            Some(path) => {
                let file = File::create(path).map_err(|error| Failure::file(path, error))?;
                Ok(Sink::File(BufWriter::with_capacity(BUFFER_LEN, file), path))
            }
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Outcome {
        match self {
            Sink::Stdout(writer) => writer.write_all(bytes).map_err(write_failure),
            Sink::File(writer, path) => {
                writer.write_all(bytes).map_err(|error| Failure::file(path, error))
            }
        }
    }

    fn finish(&mut self) -> Outcome {
        match self {
            Sink::Stdout(writer) => writer.flush().map_err(write_failure),
            Sink::File(writer, path) => writer.flush().map_err(|error| Failure::file(path, error)),
        }
    }
}
