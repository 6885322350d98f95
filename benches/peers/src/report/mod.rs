//! From files of results to the page and its charts.

mod chart;
mod figures;
mod goals;
mod growth;
mod table;

use std::fs;
use std::path::{Path, PathBuf};

use crate::engine::Result;
use crate::line;
use crate::runner::QUIET;
use figures::Figures;

const BEGIN: &str = "<!-- figures: begin -->";
const END: &str = "<!-- figures: end -->";

/// Replaces what stands between the marks of `docs/benchmarks.md`, and the charts beside it.
///
/// # Errors
/// A machine that was busy with something else, unless `loaded`: such figures mislead.
pub fn report(files: &[PathBuf], docs: &Path, loaded: bool, print: bool) -> Result<()> {
    let read = |file: &PathBuf| -> Result<Vec<Figures>> {
        let text = fs::read_to_string(file).map_err(|e| format!("{}: {e}", file.display()))?;
        Figures::all(line::parse(&text)?).map_err(|e| format!("{}: {e}", file.display()).into())
    };
    let all = files.iter().map(read).collect::<Result<Vec<_>>>()?;
    let (growth, runs): (Vec<_>, Vec<_>) = all.into_iter().partition(|file| file.len() > 1);
    let runs: Vec<Figures> = runs.into_iter().flatten().collect();
    let mut sections = table::sections(&runs);
    sections.extend(growth.iter().map(|sizes| growth::section(sizes)));
    if print {
        println!("{}", sections.join("\n"));
        return Ok(());
    }
    let shares = runs.iter().chain(growth.iter().flatten()).map(|figures| figures.busiest);
    let busiest = shares.fold(0.0, f64::max);
    if busiest > QUIET && !loaded {
        let percent = busiest * 100.0;
        return Err(format!(
            "the machine was {percent:.0} % busy with something else: measure again when it is \
             quiet, or say --loaded"
        )
        .into());
    }
    let mut charts = runs.first().map(chart::all).unwrap_or_default();
    charts.extend(growth.first().map(|sizes| ("growth", "How it grows", growth::chart(sizes))));
    fs::create_dir_all(docs.join("benchmarks"))?;
    let mut body = String::new();
    for (name, title, svg) in charts {
        fs::write(docs.join("benchmarks").join(format!("{name}.svg")), svg)?;
        body += &format!("![{title}](benchmarks/{name}.svg)\n\n");
    }
    body += &sections.join("\n");
    let page = docs.join("benchmarks.md");
    let text = fs::read_to_string(&page).map_err(|e| format!("{}: {e}", page.display()))?;
    let (head, rest) = text.split_once(BEGIN).ok_or("benchmarks.md lacks the first mark")?;
    let (_, tail) = rest.split_once(END).ok_or("benchmarks.md lacks the second mark")?;
    Ok(fs::write(&page, format!("{head}{BEGIN}\n\n{body}\n{END}{tail}"))?)
}
