//! How kindlog's figures grow with the number of keys: a table, and curves on two logarithmic axes.

use std::fmt::Write;

use super::figures::{Figures, OURS, Row, Runs, shown};
use super::image;
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
        "{}; kindlog {}, values of {} bytes. Each number of keys in stores of its own; medians. What \
         an operation or a key takes, and in brackets how many times as much as with the number of \
         keys before. What is logarithmic in their number has the ratio of the last line. {} keys \
         were not measured: that column is extrapolated, by the slope of the last step, or is the \
         last figure where that slope falls.\n",
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

const WIDTH: f64 = 990.0;
const HEIGHT: f64 = 460.0;
/// The plots: time left, memory right.
const PLOTS: [(&str, f64, f64); 2] = [("ns each", 60.0, 330.0), ("bytes a key", 600.0, 180.0)];
const TOP: f64 = 50.0;
const BOTTOM: f64 = HEIGHT - 40.0;
const COLORS: [&str; 7] =
    ["#c2410c", "#0f766e", "#1d4ed8", "#7c3aed", "#a16207", "#0284c7", "#475569"];

fn chart(sizes: &[Figures]) -> String {
    let title = "How kindlog grows with its keys; broken lines are extrapolated";
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{HEIGHT}\" \
         viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"11\">\n\
         <title>{title}</title>\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"8\" y=\"20\" font-size=\"15\" font-weight=\"bold\">{title}</text>\n"
    );
    let (times, bytes) = CURVES.iter().partition::<Vec<_>, _>(|curve| curve.is_time());
    for (curves, (unit, left, width)) in [times, bytes].into_iter().zip(PLOTS) {
        // Writing to a string does not fail.
        let _ = plot(&mut svg, sizes, &curves, unit, left, width);
    }
    svg + "</svg>\n"
}

/// From numbers to places on a logarithmic axis.
struct Axis {
    from: f64,
    to: f64,
    start: f64,
    end: f64,
}

impl Axis {
    /// Whole powers of ten around all of these.
    fn around(values: impl Iterator<Item = f64> + Clone, start: f64, end: f64) -> Axis {
        let from = values.clone().fold(f64::INFINITY, f64::min).log10().floor();
        let to = values.fold(1.0, f64::max).log10().ceil().max(from + 1.0);
        Axis { from, to, start, end }
    }

    fn place(&self, value: f64) -> f64 {
        let share = (value.log10() - self.from) / (self.to - self.from);
        self.start + share * (self.end - self.start)
    }

    fn powers(&self) -> impl Iterator<Item = f64> + use<> {
        (self.from as i32..=self.to as i32).map(|power| 10f64.powi(power))
    }
}

fn plot(
    svg: &mut String,
    sizes: &[Figures],
    curves: &[&Curve],
    unit: &str,
    left: f64,
    width: f64,
) -> std::fmt::Result {
    let mut lines = Vec::new();
    for (curve, color) in curves.iter().zip(COLORS.iter().cycle()) {
        let points = curve.points(sizes);
        let (solid, end) = (measured(&points), extrapolated(&points));
        let broken: Vec<_> = solid.last().copied().into_iter().chain(end).collect();
        if let Some(last) = broken.last().copied() {
            lines.push(Line { name: curve.name, color, solid, broken, last });
        }
    }
    if lines.is_empty() {
        return Ok(());
    }
    let seen = lines.iter().flat_map(|line| line.solid.iter().chain(&line.broken));
    let x = Axis::around(seen.clone().map(|point| point.0), left, left + width);
    let y = Axis::around(seen.map(|point| point.1), BOTTOM, TOP);
    grid(svg, &x, &y, unit)?;
    // Where names would lie on one another, the lower one moves down.
    lines.sort_by(|a, b| b.last.1.total_cmp(&a.last.1));
    let mut free = TOP - 6.0;
    for line in &lines {
        line.draw(svg, &x, &y)?;
        free = (y.place(line.last.1) + 4.0).max(free + 13.0);
        let (right, Line { name, color, .. }) = (left + width + 6.0, line);
        writeln!(svg, "<text x=\"{right}\" y=\"{free:.1}\" fill=\"{color}\">{name}</text>")?;
    }
    Ok(())
}

/// A curve in a plot.
struct Line {
    name: &'static str,
    color: &'static str,
    /// What was measured.
    solid: Vec<(f64, f64)>,
    /// From there to what is extrapolated, if anything is.
    broken: Vec<(f64, f64)>,
    last: (f64, f64),
}

impl Line {
    fn draw(&self, svg: &mut String, x: &Axis, y: &Axis) -> std::fmt::Result {
        let color = self.color;
        for (points, dashes) in [(&self.solid, ""), (&self.broken, " stroke-dasharray=\"4 4\"")] {
            let place = |(keys, each): &(f64, f64)| (x.place(*keys), y.place(*each));
            let places = points.iter().map(place).map(|(x, y)| format!("{x:.1},{y:.1}"));
            writeln!(
                svg,
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{color}\" \
                 stroke-width=\"2\"{dashes}/>",
                places.collect::<Vec<_>>().join(" ")
            )?;
        }
        for (keys, each) in &self.solid {
            let (x, y) = (x.place(*keys), y.place(*each));
            writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{color}\"/>")?;
        }
        Ok(())
    }
}

fn grid(svg: &mut String, x: &Axis, y: &Axis, unit: &str) -> std::fmt::Result {
    let line = "stroke=\"#e5e5e5\"";
    for power in x.powers() {
        let place = x.place(power);
        writeln!(svg, "<line x1=\"{place}\" y1=\"{TOP}\" x2=\"{place}\" y2=\"{BOTTOM}\" {line}/>")?;
        let exponent = power.log10().round();
        writeln!(
            svg,
            "<text x=\"{place}\" y=\"{}\" text-anchor=\"middle\">10<tspan dy=\"-4\" \
             font-size=\"8\">{exponent}</tspan></text>",
            BOTTOM + 16.0
        )?;
    }
    for power in y.powers() {
        let (place, from, to) = (y.place(power), x.start, x.end);
        writeln!(svg, "<line x1=\"{from}\" y1=\"{place}\" x2=\"{to}\" y2=\"{place}\" {line}/>")?;
        writeln!(
            svg,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>",
            from - 6.0,
            place + 4.0,
            shown_power(power)
        )?;
    }
    let (from, above) = (x.start, TOP - 10.0);
    writeln!(svg, "<text x=\"{from}\" y=\"{above}\" fill=\"#666\">{unit}</text>")?;
    let (middle, below) = ((x.start + x.end) / 2.0, BOTTOM + 32.0);
    writeln!(
        svg,
        "<text x=\"{middle}\" y=\"{below}\" text-anchor=\"middle\" fill=\"#666\">keys</text>"
    )
}

fn shown_power(power: f64) -> String {
    match power {
        p if p >= 1e6 => format!("{}M", p / 1e6),
        p if p >= 1e3 => format!("{}k", p / 1e3),
        p => format!("{p}"),
    }
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

    #[test]
    fn axes_run_from_power_to_power() {
        let axis = Axis::around([30.0, 4_000.0].into_iter(), 0.0, 300.0);
        assert_eq!((axis.place(10.0), axis.place(10_000.0)), (0.0, 300.0));
        assert_eq!(axis.powers().count(), 4);
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
