//! From files of results to the page and its charts.

mod chart;
mod figures;
mod goals;
mod growth;
mod plot;
mod svg;
mod table;

use std::collections::BTreeMap;
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
    let all = files.iter().map(read).collect::<Result<Vec<_>>>()?.into_iter().flatten();
    let (growth, runs): (Vec<_>, Vec<_>) = all.partition(|figures| figures.setup.growth);
    let shares = runs.iter().chain(&growth).map(|figures| figures.busiest);
    let busiest = shares.fold(0.0, f64::max);
    let mut charts = runs.first().map(chart::all).unwrap_or_default();
    let linked = charts.iter().map(|(name, title, _)| image(title, name));
    let mut sections: Vec<String> = linked.chain(table::sections(&runs)).collect();
    if !growth.is_empty() {
        let (text, svg) = growth::of(growth)?;
        sections.push(text);
        charts.push((growth::CHART, growth::TITLE, svg));
    }
    let body = sections.join("\n");
    if print {
        println!("{body}");
        return Ok(());
    }
    if busiest > QUIET && !loaded {
        let percent = busiest * 100.0;
        return Err(format!(
            "the machine was {percent:.0} % busy with something else: measure again when it is \
             quiet, or say --loaded"
        )
        .into());
    }
    let page = docs.join("benchmarks.md");
    let text = fs::read_to_string(&page).map_err(|e| format!("{}: {e}", page.display()))?;
    let (head, rest) = text.split_once(BEGIN).ok_or("benchmarks.md lacks the first mark")?;
    let (_, tail) = rest.split_once(END).ok_or("benchmarks.md lacks the second mark")?;
    let charts = charts.iter().map(|(name, _, svg)| (*name, svg.as_str())).collect();
    draw(&docs.join("benchmarks"), &charts)?;
    Ok(fs::write(&page, format!("{head}{BEGIN}\n\n{body}\n{END}{tail}"))?)
}

/// A line that shows a chart.
fn image(title: &str, name: &str) -> String {
    format!("![{title}](benchmarks/{name}.svg)\n")
}

/// Writes the charts, and removes those of earlier reports that nothing shows any more.
fn draw(folder: &Path, charts: &BTreeMap<&str, &str>) -> Result<()> {
    fs::create_dir_all(folder)?;
    for name in chart::names().chain([growth::CHART]) {
        let file = folder.join(format!("{name}.svg"));
        match charts.get(name) {
            Some(svg) => fs::write(file, svg)?,
            None if file.exists() => fs::remove_file(file)?,
            None => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of results: so many runs were planned, W1 is in so many, a store more is in R3.
    fn results(folder: &Path, name: &str, head: (u64, u64, bool), done: u32) -> PathBuf {
        let (records, value_len, growth) = head;
        let mut text = format!(
            r#"{{"line":"setup","date":"","cpu":"","cores":2,"memory_gib":1,"kernel":"",
            "file_system":"","records":{records},"value_len":{value_len},"runs":3,
            "growth":{growth}}}"#
        )
        .replace('\n', " ");
        for name in ["kindlog", "lmdb"] {
            text += &format!(
                "\n{{\"line\":\"engine\",\"name\":\"{name}\",\"version\":\"\",\"settings\":\"\",\
                 \"survives_kill\":true,\"limit\":false}}"
            );
        }
        let mut figure = |run, engine, workload, metric, value: u64| {
            text += &format!(
                "\n{{\"line\":\"figure\",\"run\":{run},\"engine\":\"{engine}\",\
                 \"workload\":\"{workload}\",\"metric\":\"{metric}\",\"value\":{value}}}"
            );
        };
        for run in 1..=done {
            figure(run, "kindlog", "W2", "ops_per_s", 2_000);
            figure(run, "lmdb", "W2", "ops_per_s", 1_000);
        }
        figure(1, "kindlog", "R3", "records_per_s", 10_000);
        figure(1, "lmdb", "R3", "records_per_s", 40_000);
        let file = folder.join(name);
        fs::write(&file, text).expect("a file");
        file
    }

    #[test]
    fn a_page_has_what_the_files_have() {
        let name = format!("kindlog-report-{}", std::process::id());
        let docs = std::env::temp_dir().join(name);
        fs::create_dir_all(&docs).expect("a folder");
        let page = docs.join("benchmarks.md");
        fs::write(&page, format!("before\n{BEGIN}\nwhat was there\n{END}\nafter\n"))
            .expect("a file");
        let runs = results(&docs, "runs", (1_000_000, 200, false), 2);
        let longer = results(&docs, "longer", (10_000, 16_384, false), 3);
        let small = results(&docs, "small", (10_000, 200, true), 3);
        let large = results(&docs, "large", (100_000, 200, true), 3);
        let chart = docs.join("benchmarks/growth.svg");

        report(&[runs.clone(), longer, large, small], &docs, false, false).expect("a report");
        let text = fs::read_to_string(&page).expect("a page");
        assert!(text.starts_with("before\n") && text.ends_with("after\n"), "{text}");
        assert!(!text.contains("what was there"), "{text}");
        assert!(text.contains("each figure the median of 2 runs of 3 planned where"), "{text}");
        assert!(text.contains("each figure the median of 3 runs where"), "{text}");
        assert!(text.contains("| W2 | put at random, one a commit | ops/s | 2000 |"), "{text}");
        assert!(text.contains("list kinds with values (a single run)"), "{text}");
        let (first, second) = text.split_once("values of 16384 bytes").expect("its section");
        assert!(first.contains("By the goals") && !second.contains("By the goals"), "{text}");
        assert!(second.contains("| records/s | 10.0k | lmdb 40.0k (0.25) |"), "{text}");
        assert!(second.contains("| R3 (a single run) | records/s |"), "{text}");
        assert!(first.contains("#### Stores") && !second.contains("#### Stores"), "{text}");
        assert!(second.contains("### How it grows\n\n![How it grows](benchmarks/growth.svg)"));
        assert!(second.contains("| 10,000 | 100,000 | 1,000,000, extrapolated |"), "{text}");
        assert!(chart.exists());

        report(&[runs], &docs, false, false).expect("a report");
        let text = fs::read_to_string(&page).expect("a page");
        assert!(!text.contains("grows") && !chart.exists(), "{text}");
        fs::remove_dir_all(&docs).expect("the folder goes");
    }
}
