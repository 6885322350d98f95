//! Curves over numbers of keys, on two logarithmic axes, in SVG.

use std::fmt::Write;

use super::svg;

const WIDTH: usize = 990;
const HEIGHT: usize = 460;
const TOP: f64 = 50.0;
const BOTTOM: f64 = HEIGHT as f64 - 40.0;
const NAME_HEIGHT: f64 = 13.0;
const COLORS: [&str; 7] =
    ["#c2410c", "#0f766e", "#1d4ed8", "#7c3aed", "#a16207", "#0284c7", "#475569"];

/// A curve: keys, and what they cost.
pub struct Line {
    name: &'static str,
    /// What was measured.
    solid: Vec<(f64, f64)>,
    /// From there to what is extrapolated, if anything is.
    broken: Vec<(f64, f64)>,
    last: (f64, f64),
}

/// Some curves that share their axes: the unit, where they lie, and how wide they are.
pub type Plot = (&'static str, usize, usize, Vec<Line>);

pub fn chart(title: &str, plots: impl IntoIterator<Item = Plot>) -> String {
    let mut content = String::new();
    for (unit, left, width, lines) in plots {
        // Writing to a string does not fail.
        let _ = plot(&mut content, lines, unit, left as f64, width as f64);
    }
    svg::page(title, WIDTH, HEIGHT, &content)
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

fn plot(svg: &mut String, lines: Vec<Line>, unit: &str, left: f64, width: f64) -> std::fmt::Result {
    if lines.is_empty() {
        return Ok(());
    }
    let seen = lines.iter().flat_map(|line| line.solid.iter().chain(&line.broken));
    let x = Axis::around(seen.clone().map(|point| point.0), left, left + width);
    let y = Axis::around(seen.map(|point| point.1), BOTTOM, TOP);
    grid(svg, &x, &y, unit)?;
    let mut lines: Vec<_> = lines.iter().zip(COLORS.iter().cycle()).collect();
    lines.sort_by(|a, b| b.0.last.1.total_cmp(&a.0.last.1));
    let names = apart(lines.iter().map(|(line, _)| y.place(line.last.1) + 4.0).collect());
    for ((line, color), at) in lines.into_iter().zip(names) {
        line.draw(svg, color, &x, &y)?;
        let (right, name) = (left + width + 6.0, line.name);
        writeln!(svg, "<text x=\"{right}\" y=\"{at:.1}\" fill=\"{color}\">{name}</text>")?;
    }
    Ok(())
}

/// Places of names, from above: where they would lie on one another the lower ones move down, and
/// all move up where the last would lie on what stands below the axis.
fn apart(mut places: Vec<f64>) -> Vec<f64> {
    let mut free = TOP;
    for place in &mut places {
        *place = place.max(free);
        free = *place + NAME_HEIGHT;
    }
    let mut free = BOTTOM + 2.0;
    for place in places.iter_mut().rev() {
        *place = place.min(free);
        free = *place - NAME_HEIGHT;
    }
    places
}

impl Line {
    /// None where nothing was measured.
    pub fn new(
        name: &'static str,
        solid: Vec<(f64, f64)>,
        extrapolated: Option<(f64, f64)>,
    ) -> Option<Line> {
        let broken: Vec<_> = solid.last().copied().into_iter().chain(extrapolated).collect();
        let last = *broken.last()?;
        Some(Line { name, solid, broken, last })
    }

    fn draw(&self, svg: &mut String, color: &str, x: &Axis, y: &Axis) -> std::fmt::Result {
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

    #[test]
    fn names_lie_beside_their_curves_and_apart() {
        assert_eq!(apart(vec![100.0, 105.0, 300.0]), [100.0, 113.0, 300.0]);
        assert_eq!(apart(vec![100.0, BOTTOM, BOTTOM]), [100.0, BOTTOM - 11.0, BOTTOM + 2.0]);
    }

    #[test]
    fn axes_run_from_power_to_power() {
        let axis = Axis::around([30.0, 4_000.0].into_iter(), 0.0, 300.0);
        assert_eq!((axis.place(10.0), axis.place(10_000.0)), (0.0, 300.0));
        assert_eq!(axis.powers().count(), 4);
    }
}
