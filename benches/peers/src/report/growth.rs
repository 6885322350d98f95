//! How kindlog's figures grow with the number of keys: a table, and curves on two logarithmic axes.

use std::fmt::Write;

use super::figures::{Figures, OURS, Row, shown};
use super::table::grouped;

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
    curve("compact, a record", "CP", "compact_ms", Unit::NsPerKeyOfMs),
    curve("index, a key", "O1", "index_bytes_per_key", Unit::BytesPerKey),
    curve("heap after open, a key", "O1", "heap_bytes_per_key", Unit::BytesPerKey),
    curve("peak resident while loading, a key", "MEM", "peak_resident_mib", Unit::BytesPerKeyOfMib),
];

impl Curve {
    fn is_time(&self) -> bool {
        matches!(self.unit, Unit::NsEach | Unit::NsPerKeyOfMs)
    }

    /// Keys, and what one operation or key takes at that many.
    fn points(&self, sizes: &[Figures]) -> Vec<(f64, f64)> {
        let row = Row::new(self.workload, self.metric);
        let point = |figures: &Figures| {
            let keys = figures.setup.records as f64;
            let value = figures.median(&row, OURS)?;
            let each = match self.unit {
                Unit::NsEach => 1e9 / value,
                Unit::NsPerKeyOfMs => value * 1e6 / keys,
                Unit::BytesPerKey => value,
                Unit::BytesPerKeyOfMib => value * f64::from(1 << 20) / keys,
            };
            (each > 0.0).then_some((keys, each))
        };
        sizes.iter().filter_map(point).collect()
    }
}

/// What ten times the last number of keys would have: the last step's ratio, once more.
fn extrapolated(points: &[(f64, f64)]) -> Option<(f64, f64)> {
    let [.., before, last] = points else { return None };
    let slope = (last.1 / before.1).ln() / (last.0 / before.0).ln();
    Some((last.0 * 10.0, last.1 * 10f64.powf(slope)))
}

pub fn section(sizes: &[Figures]) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = table(&mut text, sizes);
    text
}

fn table(text: &mut String, sizes: &[Figures]) -> std::fmt::Result {
    let Some(last) = sizes.last() else { return Ok(()) };
    let setup = &last.setup;
    let extrapolation = setup.records * 10;
    let runs: Vec<String> = sizes.iter().map(|figures| figures.setup.runs.to_string()).collect();
    writeln!(text, "### How it grows\n")?;
    writeln!(
        text,
        "{}, {}, {} cores, {} GiB, {}, {}; kindlog {}, values of {} bytes. Each number of keys in \
         stores of its own; medians of {} runs. What an operation or a key takes, and in brackets \
         how many times as much as with the number of keys before. What is logarithmic in their \
         number has the ratio of the last line. {} keys were not measured: that column is \
         extrapolated, by the slope of the last step.\n",
        setup.date,
        setup.cpu,
        setup.cores,
        setup.memory_gib,
        setup.kernel,
        setup.file_system,
        last.version(OURS),
        setup.value_len,
        runs.join(", "),
        grouped(extrapolation),
    )?;
    write!(text, "| | unit |")?;
    for figures in sizes {
        write!(text, " {} |", grouped(figures.setup.records))?;
    }
    writeln!(text, " {}, extrapolated |", grouped(extrapolation))?;
    writeln!(text, "| --- | --- |{}", " ---: |".repeat(sizes.len() + 1))?;
    for curve in CURVES {
        let points = curve.points(sizes);
        let with = points.iter().copied().chain(extrapolated(&points));
        let unit = if curve.is_time() { "ns" } else { "bytes" };
        line(text, curve.name, unit, with.collect::<Vec<_>>().as_slice(), shown)?;
    }
    let logs = sizes.iter().map(|figures| figures.setup.records as f64);
    let logs = logs.chain([extrapolation as f64]).map(|keys| (keys, keys.log10()));
    line(text, "log10 of the keys", "", &logs.collect::<Vec<_>>(), |log| format!("{log:.0}"))?;
    writeln!(text)
}

fn line(
    text: &mut String,
    name: &str,
    unit: &str,
    points: &[(f64, f64)],
    shown: impl Fn(f64) -> String,
) -> std::fmt::Result {
    write!(text, "| {name} | {unit} |")?;
    for (i, (_, value)) in points.iter().enumerate() {
        match i.checked_sub(1) {
            None => write!(text, " {} |", shown(*value))?,
            Some(before) => write!(text, " {} ({:.2}) |", shown(*value), value / points[before].1)?,
        }
    }
    writeln!(text)
}

const WIDTH: f64 = 990.0;
const HEIGHT: f64 = 460.0;
/// The plots: time left, memory right.
const PLOTS: [(&str, f64, f64); 2] = [("ns each", 60.0, 330.0), ("bytes a key", 600.0, 180.0)];
const TOP: f64 = 50.0;
const BOTTOM: f64 = HEIGHT - 40.0;
const COLORS: [&str; 6] = ["#c2410c", "#0f766e", "#1d4ed8", "#7c3aed", "#a16207", "#475569"];

pub fn chart(sizes: &[Figures]) -> String {
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
    let all: Vec<_> = curves.iter().map(|curve| curve.points(sizes)).collect();
    if all.iter().all(Vec::is_empty) {
        return Ok(());
    }
    let ends = all.iter().filter_map(|points| extrapolated(points));
    let seen: Vec<_> = all.iter().flatten().copied().chain(ends).collect();
    let x = Axis::around(seen.iter().map(|point| point.0), left, left + width);
    let y = Axis::around(seen.iter().map(|point| point.1), BOTTOM, TOP);
    grid(svg, &x, &y, unit)?;
    // Where names would lie on one another, the lower one moves down.
    let mut names: Vec<_> = curves.iter().zip(&all).enumerate().collect();
    names.sort_by(|a, b| {
        let last = |points: &[(f64, f64)]| points.last().map_or(0.0, |point| point.1);
        last(b.1.1).total_cmp(&last(a.1.1))
    });
    let mut free = TOP - 6.0;
    for (i, (curve, points)) in names {
        let color = COLORS[i % COLORS.len()];
        let at =
            |(keys, value): &(f64, f64)| format!("{:.1},{:.1}", x.place(*keys), y.place(*value));
        let places: Vec<String> = points.iter().map(at).collect();
        let style = format!("fill=\"none\" stroke=\"{color}\" stroke-width=\"2\"");
        writeln!(svg, "<polyline points=\"{}\" {style}/>", places.join(" "))?;
        for place in &places {
            let (cx, cy) = place.split_once(',').unwrap_or_default();
            writeln!(svg, "<circle cx=\"{cx}\" cy=\"{cy}\" r=\"3\" fill=\"{color}\"/>")?;
        }
        let Some(last) = points.last() else { continue };
        let end = extrapolated(points).unwrap_or(*last);
        writeln!(
            svg,
            "<polyline points=\"{} {}\" {style} stroke-dasharray=\"4 4\"/>",
            at(last),
            at(&end)
        )?;
        free = (y.place(end.1) + 4.0).max(free + 13.0);
        let right = left + width + 6.0;
        writeln!(
            svg,
            "<text x=\"{right}\" y=\"{free:.1}\" fill=\"{color}\">{}</text>",
            curve.name
        )?;
    }
    Ok(())
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

    #[test]
    fn the_last_step_goes_on() {
        let points = [(1e4, 100.0), (1e5, 300.0), (1e6, 330.0)];
        let (keys, value) = extrapolated(&points).expect("two points");
        assert!((keys - 1e7).abs() < 1.0 && (value - 363.0).abs() < 1e-6, "{keys} {value}");
        assert!(extrapolated(&points[..1]).is_none());
    }

    #[test]
    fn axes_run_from_power_to_power() {
        let axis = Axis::around([30.0, 4_000.0].into_iter(), 0.0, 300.0);
        assert_eq!((axis.place(10.0), axis.place(10_000.0)), (0.0, 300.0));
        assert_eq!(axis.powers().count(), 4);
    }
}
