//! The figures of one file, ready to be compared.

use std::collections::BTreeMap;

use crate::engine::Result;
use crate::line::{EngineLine, Line, Setup};
use crate::workloads;

/// The store that all others are compared with.
pub const OURS: &str = "kindlog";

/// What was measured once: a workload's metric, in the order of the tables.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row {
    place: usize,
    pub workload: String,
    pub metric: String,
}

impl Row {
    pub fn new(workload: &str, metric: &str) -> Row {
        let place = workloads::ALL.iter().position(|known| known.name == workload);
        let (workload, metric) = (workload.to_owned(), metric.to_owned());
        Row { place: place.unwrap_or(usize::MAX), workload, metric }
    }

    pub fn about(&self) -> &'static str {
        workloads::named(&self.workload).map_or("", |workload| workload.about)
    }

    /// The metric for readers.
    pub fn unit(&self) -> String {
        self.metric.replace("_per_s", "/s").replace('_', " ")
    }

    pub fn more_is_better(&self) -> bool {
        self.metric.ends_with("_per_s")
    }
}

pub struct Figures {
    pub setup: Setup,
    pub engines: Vec<EngineLine>,
    pub busiest: f64,
    /// A store, a workload and the reason; and how often.
    pub missing: BTreeMap<(String, String, String), usize>,
    /// By store and run.
    rows: BTreeMap<Row, BTreeMap<String, BTreeMap<u32, f64>>>,
}

impl Figures {
    /// Those of each setup in a file: `scale` writes several, one for each number of keys.
    pub fn all(lines: Vec<Line>) -> Result<Vec<Figures>> {
        let mut all: Vec<Figures> = Vec::new();
        for line in lines {
            match line {
                Line::Setup(setup) => all.push(Figures::new(setup)),
                line => all.last_mut().ok_or("does not begin with a setup")?.add(line),
            }
        }
        match all.is_empty() {
            true => Err("has no line of a setup".into()),
            false => Ok(all),
        }
    }

    fn new(setup: Setup) -> Figures {
        let (engines, missing, rows) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
        Figures { setup, engines, busiest: 0.0, missing, rows }
    }

    fn add(&mut self, line: Line) {
        match line {
            Line::Setup(setup) => self.setup = setup,
            Line::Engine(line) => self.engines.push(line),
            Line::Busy { share, .. } => self.busiest = share.max(self.busiest),
            Line::Figure(figure) => {
                let row = self.rows.entry(Row::new(&figure.workload, &figure.metric)).or_default();
                row.entry(figure.engine).or_default().insert(figure.run, figure.value);
            }
            Line::Took { .. } => {}
            Line::Missing { engine, workload, reason, .. } => {
                *self.missing.entry((engine, workload, reason)).or_default() += 1;
            }
        }
    }

    /// The version of a store, as it says it.
    pub fn version(&self, engine: &str) -> &str {
        let named = self.engines.iter().find(|line| line.name == engine);
        named.map_or("", |line| &line.version)
    }

    pub fn rows(&self) -> impl Iterator<Item = &Row> {
        self.rows.keys()
    }

    /// In how many runs a row was measured. Stores that take part in fewer runs than others are
    /// left out, where others are in it.
    pub fn runs(&self, row: &Row) -> Runs {
        let stores = self.rows.get(row).into_iter().flatten();
        let most = stores.clone().map(|(_, figures)| figures.len()).max().unwrap_or(0);
        let all = stores.filter(|(store, _)| self.runs_of(store) >= most);
        Runs::around(all.map(|(_, figures)| figures.len()))
    }

    /// The runs that a store took part in.
    pub fn runs_of(&self, engine: &str) -> usize {
        let figures = self.rows.values().filter_map(|row| row.get(engine));
        figures.map(BTreeMap::len).max().unwrap_or(0)
    }

    /// The runs that there are: fewer than were planned if somebody ended them.
    pub fn runs_done(&self) -> usize {
        self.rows.values().flat_map(BTreeMap::values).map(BTreeMap::len).max().unwrap_or(0)
    }

    /// The median over the runs.
    pub fn median(&self, row: &Row, engine: &str) -> Option<f64> {
        median(self.rows.get(row)?.get(engine)?.values().copied().collect())
    }

    /// How many times as good as another store ours is: the median of the ratios within each run.
    pub fn times(&self, row: &Row, engine: &str) -> Option<f64> {
        self.times_of(row, OURS, engine)
    }

    /// The same for any two.
    pub fn times_of(&self, row: &Row, ours: &str, engine: &str) -> Option<f64> {
        let figures = self.rows.get(row)?;
        let (ours, theirs) = (figures.get(ours)?, figures.get(engine)?);
        let pairs = ours.iter().filter_map(|(run, ours)| Some((*ours, *theirs.get(run)?)));
        let ratio = |(ours, theirs)| match row.more_is_better() {
            true => ours / theirs,
            false => theirs / ours,
        };
        median(pairs.map(ratio).filter(|ratio: &f64| ratio.is_finite() && *ratio > 0.0).collect())
    }

    /// The store that is best in a row, ours and limits left out.
    pub fn best_peer(&self, row: &Row) -> Option<&EngineLine> {
        let peers = self.engines.iter().filter(|engine| !engine.limit && engine.name != OURS);
        let with = peers.filter_map(|engine| Some((engine, self.median(row, &engine.name)?)));
        let better = |a: f64, b: f64| if row.more_is_better() { a > b } else { a < b };
        with.reduce(|a, b| if better(b.1, a.1) { b } else { a }).map(|(engine, _)| engine)
    }
}

/// How many runs figures are medians of: not all need to have the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Runs {
    pub least: usize,
    pub most: usize,
}

impl Runs {
    pub fn around(counts: impl Iterator<Item = usize> + Clone) -> Runs {
        Runs { least: counts.clone().min().unwrap_or(0), most: counts.max().unwrap_or(0) }
    }
}

impl From<usize> for Runs {
    fn from(count: usize) -> Runs {
        Runs { least: count, most: count }
    }
}

impl std::fmt::Display for Runs {
    fn fmt(&self, text: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {
            Runs { least: 1, most: 1 } => write!(text, "a single run"),
            Runs { least, most } if least == most => write!(text, "{most} runs"),
            Runs { least, most } => write!(text, "{least} to {most} runs"),
        }
    }
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(values[middle]),
        _ => Some((values[middle - 1] + values[middle]) / 2.0),
    }
}

/// Three digits that count, in the metric's unit.
pub fn shown(value: f64) -> String {
    let (value, suffix) = match value {
        v if v >= 999_500.0 => (v / 1e6, "M"),
        v if v >= 9_995.0 => (v / 1e3, "k"),
        v => (v, ""),
    };
    let digits = match value {
        v if v >= 99.95 => 0,
        v if v >= 9.995 => 1,
        _ => 2,
    };
    format!("{value:.digits$}{suffix}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::line::Figure;

    fn figures(values: &[(u32, &str, f64)], metric: &str) -> Figures {
        let setup = r#"{"line":"setup","date":"","cpu":"","cores":2,"memory_gib":1,"kernel":"",
            "file_system":"","records":1,"value_len":200,"runs":3}"#;
        let mut lines = crate::line::parse(&setup.replace('\n', " ")).expect("a line");
        for (run, engine, value) in values {
            let (engine, workload) = ((*engine).to_owned(), "W1".to_owned());
            let metric = metric.to_owned();
            lines.push(Line::Figure(Figure { run: *run, engine, workload, metric, value: *value }));
        }
        Figures::all(lines).expect("figures").remove(0)
    }

    /// A machine that slows down from run to run changes the medians and not the ratio.
    #[test]
    fn ratios_are_taken_within_a_run() {
        let values = [
            (1, OURS, 900.0),
            (1, "other", 300.0),
            (2, OURS, 90.0),
            (2, "other", 30.0),
            (3, "other", 10.0),
        ];
        for (metric, times) in [("ops_per_s", 3.0), ("open_ms", 1.0 / 3.0)] {
            let figures = figures(&values, metric);
            let row = figures.rows().next().expect("a row").clone();
            assert!((figures.times(&row, "other").expect("a ratio") - times).abs() < 1e-9);
            assert_eq!(figures.median(&row, OURS), Some(495.0));
            assert_eq!(figures.median(&row, "other"), Some(30.0));
        }
    }

    /// A store that takes part in the first run only does not make a row look broken.
    #[test]
    fn runs_are_counted_by_row_and_by_store() {
        let values = [(1, OURS, 1.0), (2, OURS, 1.0), (1, "once", 1.0)];
        let figures = figures(&values, "ops_per_s");
        let row = figures.rows().next().expect("a row").clone();
        assert_eq!(figures.runs(&row), 2.into());
        assert_eq!((figures.runs_of(OURS), figures.runs_of("once")), (2, 1));
        assert_eq!((figures.runs_done(), figures.setup.runs), (2, 3));
    }

    #[test]
    fn three_digits_are_shown() {
        let cases = [(962_345.0, "962k"), (1.0, "1.00"), (12_345_678.0, "12.3M"), (0.0, "0.00")];
        for (value, text) in cases {
            assert_eq!(shown(value), text);
        }
    }
}
