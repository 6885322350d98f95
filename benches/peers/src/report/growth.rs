//! How kindlog's figures grow with the number of keys: a table, and curves on two logarithmic axes.

use std::fmt::Write;

use super::figures::{Figures, OURS, Row, Runs, shown};
use super::image;
use super::plot::{self, Line};
use super::table::{grouped, on, planned};
use crate::engine::Result;

/// The chart's file, and what the section is called.
pub const CHART: &str = "growth";
pub const TITLE: &str = "How it grows";

/// What grows: its name, the row that it is read from, and how a figure of it becomes nanoseconds
/// or bytes for each operation or key.
struct Curve {
    name: &'static str,
    workload: &'static str,
    metric: &'static str,
    unit: Unit,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    /// From a rate.
    NsEach,
    /// From the milliseconds that something takes for all keys.
    NsPerKeyOfMs,
    BytesPerKey,
    /// From the mebibytes that all keys take.
    BytesPerKeyOfMib,
}

const fn curve(
    name: &'static str,
    workload: &'static str,
    metric: &'static str,
    unit: Unit,
) -> Curve {
    Curve { name, workload, metric, unit }
}

const CURVES: &[Curve] = &[
    curve("put at random, while loading", "W2", "ops_per_s", Unit::NsEach),
    curve("get at random", "R1", "ops_per_s", Unit::NsEach),
    curve("scan of 100", "R3c", "scans_per_s", Unit::NsEach),
    curve("list, a record", "R3", "records_per_s", Unit::NsEach),
    curve("open, a key", "O1", "open_ms", Unit::NsPerKeyOfMs),
    curve("open cold, a key", "O1c", "open_ms", Unit::NsPerKeyOfMs),
    curve("compact, a record", "CP", "compact_ms", Unit::NsPerKeyOfMs),
    curve("index, a key", "O1", "index_bytes_per_key", Unit::BytesPerKey),
    curve("heap after open, a key", "O1", "heap_bytes_per_key", Unit::BytesPerKey),
    curve("peak resident while loading, a key", "MEM", "peak_resident_mib", Unit::BytesPerKeyOfMib),
];

impl Curve {
    fn is_time(&self) -> bool {
        matches!(self.unit, Unit::NsEach | Unit::NsPerKeyOfMs)
    }

    fn row(&self) -> Row {
        Row::new(self.workload, self.metric)
    }

    /// For each number of keys what one operation or key takes, where it was measured.
    fn points(&self, sizes: &[Figures]) -> Vec<(f64, Option<f64>)> {
        let row = self.row();
        let point = |figures: &Figures| {
            let keys = figures.setup.records as f64;
            let each = figures.median(&row, OURS).map(|value| match self.unit {
                Unit::NsEach => 1e9 / value,
                Unit::NsPerKeyOfMs => value * 1e6 / keys,
                Unit::BytesPerKey => value,
                Unit::BytesPerKeyOfMib => value * f64::from(1 << 20) / keys,
            });
            (keys, each.filter(|each| each.is_finite() && *each > 0.0))
        };
        sizes.iter().map(point).collect()
    }

    fn line(&self, sizes: &[Figures]) -> Option<Line> {
        let points = self.points(sizes);
        Line::new(self.name, measured(&points), extrapolated(&points))
    }
}

fn measured(points: &[(f64, Option<f64>)]) -> Vec<(f64, f64)> {
    points.iter().filter_map(|(keys, each)| Some((*keys, (*each)?))).collect()
}

/// What ten times the last number of keys would have: the last step's slope, once more, or the last
/// figure, since nothing gets cheaper because there is more of it: what fell was noise, or a fixed
/// cost that more keys share. Only for what was measured to the end.
fn extrapolated(points: &[(f64, Option<f64>)]) -> Option<(f64, f64)> {
    let (end, _) = points.last()?;
    let points = measured(points);
    let [.., before, last] = points.as_slice() else { return None };
    let slope = (last.1 / before.1).ln() / (last.0 / before.0).ln();
    (last.0 == *end).then_some((last.0 * 10.0, last.1 * 10f64.powf(slope.max(0.0))))
}

/// The table and the chart of what `scale` measured, in one file or several.
///
/// # Errors
/// There are no figures, or two for the same number of keys.
pub fn of(mut sizes: Vec<Figures>) -> Result<(String, String)> {
    sizes.retain(|size| size.runs_done() > 0);
    sizes.sort_by_key(|size| size.setup.records);
    if let Some(two) = sizes.windows(2).find(|two| two[0].setup.records == two[1].setup.records) {
        return Err(format!("{} keys were measured twice", two[0].setup.records).into());
    }
    let last = sizes.last().ok_or("no number of keys has a figure")?;
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = table(&mut text, &sizes, last);
    let svg = chart(&sizes);
    Ok((text, svg))
}

fn table(text: &mut String, sizes: &[Figures], last: &Figures) -> std::fmt::Result {
    let setup = &last.setup;
    let extrapolation = setup.records * 10;
    writeln!(text, "### {TITLE}\n\n{}", image(TITLE, CHART))?;
    writeln!(
        text,
        "{}; kindlog {}, values of {} bytes. Each number of keys in stores of its own; medians. \
         What an operation or a key takes, and in brackets how many times as much as with the \
         number of keys before. What is logarithmic in their number has the ratio of the last \
         line. {} keys were not measured: that column is extrapolated, by the slope of the last \
         step, or is the last figure where that slope falls.\n",
        on(setup),
        last.version(OURS),
        setup.value_len,
        grouped(extrapolation),
    )?;
    write!(text, "| | unit |")?;
    for figures in sizes {
        write!(text, " {} |", grouped(figures.setup.records))?;
    }
    writeln!(text, " {}, extrapolated |", grouped(extrapolation))?;
    writeln!(text, "| --- | --- |{}", " ---: |".repeat(sizes.len() + 1))?;
    for curve in CURVES {
        let mut points = curve.points(sizes);
        points.push((extrapolation as f64, extrapolated(&points).map(|point| point.1)));
        line(text, curve.name, if curve.is_time() { "ns" } else { "bytes" }, &points)?;
    }
    let logs = sizes.iter().map(|figures| figures.setup.records as f64);
    let logs = logs.chain([extrapolation as f64]).map(|keys| (keys, Some(keys.log10())));
    line(text, "log10 of the keys", "", &logs.collect::<Vec<_>>())?;
    write!(text, "| medians of | |")?;
    for figures in sizes {
        let runs = Runs::around(CURVES.iter().map(|curve| figures.runs(&curve.row()).most));
        write!(text, " {runs}{} |", planned(figures, runs.least))?;
    }
    writeln!(text, " |\n")
}

fn line(
    text: &mut String,
    name: &str,
    unit: &str,
    points: &[(f64, Option<f64>)],
) -> std::fmt::Result {
    write!(text, "| {name} | {unit} |")?;
    let mut before = None;
    for (_, value) in points {
        match (value, before) {
            (None, _) => write!(text, " |")?,
            (Some(value), None) => write!(text, " {} |", shown(*value))?,
            (Some(value), Some(before)) => {
                write!(text, " {} ({:.2}) |", shown(*value), value / before)?;
            }
        }
        before = *value;
    }
    writeln!(text)
}

/// Times left, memory right.
fn chart(sizes: &[Figures]) -> String {
    let title = "How kindlog grows with its keys; broken lines are extrapolated";
    let (times, bytes) = CURVES.iter().partition::<Vec<_>, _>(|curve| curve.is_time());
    let lines = |curves: Vec<&Curve>| curves.iter().filter_map(|curve| curve.line(sizes)).collect();
    let plots = [("ns each", 60, 330, lines(times)), ("bytes a key", 600, 180, lines(bytes))];
    plot::chart(title, plots)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::line;

    #[test]
    fn the_last_step_goes_on() {
        let points = [(1e4, Some(100.0)), (1e5, Some(300.0)), (1e6, Some(330.0))];
        let (keys, value) = extrapolated(&points).expect("two points");
        assert!((keys - 1e7).abs() < 1.0 && (value - 363.0).abs() < 1e-6, "{keys} {value}");
        assert!(extrapolated(&points[..1]).is_none());
    }

    /// Ten times the keys were said to be faster, where the last step happened to be.
    #[test]
    fn nothing_gets_cheaper_by_being_more() {
        let points = [(1e6, Some(330.0)), (1e7, Some(300.0))];
        assert_eq!(extrapolated(&points), Some((1e8, 300.0)));
    }

    #[test]
    fn what_the_last_size_lacks_is_not_extrapolated() {
        let points = [(1e4, Some(100.0)), (1e5, Some(300.0)), (1e6, None)];
        assert!(extrapolated(&points).is_none());
        let points = [(1e4, Some(100.0)), (1e5, None), (1e6, Some(10_000.0))];
        let (_, value) = extrapolated(&points).expect("two points");
        assert!((value - 1e5).abs() < 1e-6, "{value}");
    }

    /// Three numbers of keys, three runs of each planned: somebody ended it in the second run of
    /// the second.
    fn ended_early() -> Vec<Figures> {
        let mut text = String::new();
        for keys in [10_000, 100_000, 1_000_000] {
            text += &format!(
                "{{\"line\":\"setup\",\"date\":\"\",\"cpu\":\"\",\"cores\":2,\"memory_gib\":1,\
                 \"kernel\":\"\",\"file_system\":\"\",\"records\":{keys},\"value_len\":200,\
                 \"runs\":3,\"growth\":true}}\n"
            );
            let done = CURVES.iter().flat_map(|curve| (1..=3).map(move |run| (run, curve)));
            for (run, curve) in done {
                if keys == 10_000 || keys == 100_000 && (run, curve.workload) <= (2, "O1") {
                    let (workload, metric) = (curve.workload, curve.metric);
                    text += &format!(
                        "{{\"line\":\"figure\",\"run\":{run},\"engine\":\"kindlog\",\
                         \"workload\":\"{workload}\",\"metric\":\"{metric}\",\"value\":50}}\n"
                    );
                }
            }
        }
        Figures::all(line::parse(&text).expect("lines")).expect("figures")
    }

    #[test]
    fn a_file_that_ended_early_says_how_many_runs_it_has() {
        let (text, svg) = of(ended_early()).expect("figures");
        let runs = text.lines().find(|line| line.starts_with("| medians of")).expect("a line");
        assert_eq!(runs, "| medians of | | 3 runs | 1 to 2 runs of 3 planned | |");
        let head = text.lines().find(|line| line.starts_with("| | unit |")).expect("a line");
        assert_eq!(head, "| | unit | 10,000 | 100,000 | 1,000,000, extrapolated |");
        assert_eq!(svg.matches("<polyline").count(), 2 * CURVES.len());
        let nothing = ended_early().into_iter().skip(2).collect();
        assert!(of(nothing).is_err());
        assert!(of(ended_early().into_iter().chain(ended_early()).collect()).is_err());
    }
}
