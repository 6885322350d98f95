//! The commands that show resources: get, list, kinds.

use kindlog::{Resource, Store};

use crate::Place;
use crate::args::{GetArgs, GetFormat, ListArgs, ListFormat};
use crate::failure::{Failure, Outcome};
use crate::jsonl;
use crate::key::Key;
use crate::output::{Output, count, counted, note, size, write_failure};
use crate::print::Printer;
use crate::time::rfc3339;

pub(crate) fn get(place: &Place, args: &GetArgs) -> Outcome {
    let key = Key::parse(&args.key)?;
    let store = place.open_to_read()?;
    let Some(resource) = store.get_resource(&key.kind, &key.id)? else {
        return Err(Failure::NotFound(format!("{key} is not there")));
    };
    let mut out = Output::stdout();
    match args.output {
        GetFormat::Raw => out.raw(&resource.data)?,
        GetFormat::Json => out.raw(&jsonl::line(&resource))?,
        GetFormat::Text => show(&mut out, &resource, args.full)?,
    }
    out.finish()
}

fn show(out: &mut Output, resource: &Resource, full: bool) -> Outcome {
    let styles = out.styles;
    let (heading, faint) = (styles.heading, styles.faint);
    let key = format!("{}/{}", resource.kind, resource.id);
    let key = out.name(&key).into_owned();
    out.line(format!("{heading}# {key}{heading:#}"))?;
    out.line(format!(
        "{faint}# revision {}, updated {}, {}{faint:#}",
        resource.revision,
        rfc3339(resource.updated_at),
        counted(resource.data.len() as u64, "byte")
    ))?;
    Printer { out, styles, full }.value(&resource.data).map_err(write_failure)
}

pub(crate) fn list(place: &Place, args: &ListArgs) -> Outcome {
    let store = place.open_to_read()?;
    let mut scan = store.scan(&args.kind);
    if let Some(prefix) = &args.prefix {
        scan = scan.prefix(prefix);
    }
    if let Some(after) = &args.after {
        scan = scan.after(after);
    }
    if args.reverse {
        scan = scan.reverse();
    }
    if let Some(limit) = args.limit {
        scan = scan.limit(limit);
    }
    let mut out = Output::stdout();
    match args.output {
        ListFormat::Ids => {
            for id in scan.keys() {
                let id = id?;
                let shown = out.name(&id).into_owned();
                out.line(shown)?;
            }
        }
        ListFormat::Text => {
            let mut any = false;
            for resource in scan.iter() {
                if std::mem::replace(&mut any, true) {
                    out.line("")?;
                }
                show(&mut out, &resource?, false)?;
            }
            if !any {
                tell_of_nothing(&store, &args.kind)?;
            }
        }
        ListFormat::Json => {
            for resource in scan.iter() {
                out.raw(&jsonl::line(&resource?))?;
            }
        }
        ListFormat::Table => {
            let mut resources = scan.iter().peekable();
            // What is no kind is refused before anything is shown.
            resources.next_if(Result::is_err).transpose()?;
            if resources.peek().is_none() {
                return tell_of_nothing(&store, &args.kind);
            }
            let name = out.styles.name;
            let head = format!("{:>12}  {:<27}  {:>13}  ID", "REVISION", "UPDATED (UTC)", "BYTES");
            out.line(format!("{name}{head}{name:#}"))?;
            for resource in resources {
                let row = table_row(&out, &resource?);
                out.line(row)?;
            }
        }
    }
    out.finish()
}

/// Says to whoever looks on that nothing was found. It is no error, and nothing that a script which
/// reads the output would have to know.
fn tell_of_nothing(store: &Store, kind: &str) -> Outcome {
    let text = match store.count(kind)? {
        0 => format!("there are no resources of kind {kind}"),
        there => format!("none of the {} of kind {kind} is in range", counted(there, "resource")),
    };
    note(&text);
    Ok(())
}

fn table_row(out: &Output, resource: &Resource) -> String {
    format!(
        "{:>12}  {}  {:>13}  {}",
        u64::from(resource.revision),
        rfc3339(resource.updated_at),
        count(resource.data.len() as u64),
        out.name(&resource.id)
    )
}

pub(crate) fn kinds(place: &Place) -> Outcome {
    let stats = place.open_to_read()?.stats();
    if stats.kinds.is_empty() {
        note("there are no resources");
        return Ok(());
    }
    let mut out = Output::stdout();
    let name = out.styles.name;
    out.line(format!("{name}{:>13}  {:>10}  KIND{name:#}", "RESOURCES", "LIVE"))?;
    for kind in &stats.kinds {
        let row = format!(
            "{:>13}  {:>10}  {}",
            count(kind.live_count),
            size(kind.live_bytes),
            out.name(&kind.name)
        );
        out.line(row)?;
    }
    out.finish()
}
