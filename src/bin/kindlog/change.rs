//! The commands that change single resources and whole kinds: put, delete, clean.

use std::fs;
use std::io::{self, IsTerminal, Read};
use std::path::Path;

use crate::Place;
use crate::args::{CleanArgs, PutArgs};
use crate::failure::{Failure, Outcome};
use crate::key::Key;
use crate::output::{Output, counted, note};

pub(crate) fn put(place: &Place, args: &PutArgs) -> Outcome {
    let key = match &args.file {
        None => Key::parse_before_dash(&args.key)?,
        Some(_) => Key::parse(&args.key)?,
    };
    // The value comes first: a file that isn't there must not leave an empty store behind.
    let value = match args.file.as_deref() {
        Some(path) if path != Path::new("-") => {
            fs::read(path).map_err(|error| Failure::file(path, error))?
        }
        _ => read_stdin()?,
    };
    let store = place.open_to_add()?;
    let revision = store.put(&key.kind, &key.id, &value)?;
    store.close()?;
    let mut out = Output::stdout();
    out.line(revision.to_string())?;
    out.finish()
}

fn read_stdin() -> Outcome<Vec<u8>> {
    let mut stdin = io::stdin().lock();
    if stdin.is_terminal() {
        note("reading the value from the terminal; Ctrl-D ends it");
    }
    let mut value = Vec::new();
    stdin.read_to_end(&mut value).map_err(|error| Failure::io("standard input", error))?;
    Ok(value)
}

pub(crate) fn delete(place: &Place, words: &[String]) -> Outcome {
    let key = Key::parse(words)?;
    let store = place.open_to_change()?;
    let existed = store.delete(&key.kind, &key.id)?;
    store.close()?;
    if existed { Ok(()) } else { Err(Failure::NotFound(format!("{key} is not there"))) }
}

pub(crate) fn clean(place: &Place, args: &CleanArgs) -> Outcome {
    if args.prefix.as_deref() == Some("") {
        // As an unset variable in a script gives it.
        let text = "the prefix is empty: leave --prefix out to mean the whole kind";
        return Err(Failure::Usage(text.to_owned()));
    }
    let what = match &args.prefix {
        None => format!("kind {}", args.kind),
        Some(prefix) => format!("kind {} under {prefix:?}", args.kind),
    };
    let mut out = Output::stdout();
    let what = out.name(&what).into_owned();
    let line = if args.yes {
        let store = place.open_to_change()?;
        let removed = match &args.prefix {
            None => store.delete_kind(&args.kind)?,
            Some(prefix) => store.delete_prefix(&args.kind, prefix)?,
        };
        store.close()?;
        format!("deleted {} of {what}", counted(removed, "resource"))
    } else {
        let count = count(place, args)?;
        format!("would delete {} of {what}; --yes does it", counted(count, "resource"))
    };
    out.line(line)?;
    out.finish()
}

fn count(place: &Place, args: &CleanArgs) -> Outcome<u64> {
    let store = place.open_to_read()?;
    let Some(prefix) = &args.prefix else {
        return Ok(store.count(&args.kind)?);
    };
    let mut count = 0;
    for id in store.scan(&args.kind).prefix(prefix).keys() {
        id?;
        count += 1;
    }
    Ok(count)
}
