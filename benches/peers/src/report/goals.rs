//! What kindlog was built to reach, row by row: against whom, and by how much.

use std::fmt::Write;

use super::figures::{Figures, OURS, Row, shown};

/// The length of value that most resources have: the goals were set for it.
pub const VALUE_LEN: usize = 200;

/// A row of the goals.
struct Goal {
    workload: &'static str,
    metric: &'static str,
    wanted: Wanted,
}

enum Wanted {
    /// So many times as good as this store.
    Times(&'static str, f64),
    /// The same, where neither verifies checksums.
    Unverified(&'static str, f64),
    /// So many times as good as kindlog itself in another workload.
    TimesOwn(&'static str, f64),
    /// No more than this.
    AtMost(f64),
    /// No more than this, in MiB, beyond the index.
    BeyondIndex(f64),
}

const UNVERIFIED: &str = "kindlog-unverified";

const fn goal(workload: &'static str, metric: &'static str, wanted: Wanted) -> Goal {
    Goal { workload, metric, wanted }
}

const fn rate(workload: &'static str, peer: &'static str, times: f64) -> Goal {
    goal(workload, "ops_per_s", Wanted::Times(peer, times))
}

const GOALS: &[Goal] = &[
    rate("W1", "lmdb-writemap", 1.5),
    rate("W1", "fjall", 3.5),
    rate("W2", "lmdb-writemap", 2.5),
    rate("W2", "rocksdb", 3.8),
    rate("W2", "memory", 1.0),
    rate("W2b", "rocksdb", 2.0),
    rate("W3", "fjall", 1.0),
    rate("W3b", "rocksdb", 1.6),
    rate("R1", "lmdb", 2.0),
    goal("R1", "ops_per_s", Wanted::Unverified("lmdb", 3.0)),
    rate("R1x2", "lmdb", 2.0),
    goal("R1x2", "ops_per_s", Wanted::Unverified("lmdb", 3.0)),
    rate("R1z", "lmdb", 2.0),
    rate("R1zx2", "lmdb", 2.0),
    rate("R2", "rocksdb", 3.0),
    goal("R3", "records_per_s", Wanted::Times("redb", 0.8)),
    goal("R3", "records_per_s", Wanted::Unverified("redb", 1.0)),
    goal("R3b", "records_per_s", Wanted::Times("redb", 1.8)),
    goal("R3c", "scans_per_s", Wanted::Times("redb", 1.2)),
    rate("M1", "lmdb-writemap", 3.0),
    rate("M1x2", "rocksdb", 2.5),
    goal("M1x2", "ops_per_s", Wanted::TimesOwn("M1", 1.5)),
    rate("M2", "lmdb-writemap", 2.0),
    rate("M2x2", "lmdb-writemap", 2.0),
    rate("M3", "lmdb-writemap", 3.0),
    rate("M3x2", "fjall", 3.0),
    goal("L1", "put_p999_us", Wanted::Times("rocksdb", 1.0)),
    goal("L1", "put_max_us", Wanted::Times("rocksdb", 1.0)),
    goal("D1", "delete_ms", Wanted::Times("redb", 12.0)),
    goal("D1", "delete_ms", Wanted::AtMost(1.0)),
    goal("O1", "open_ms", Wanted::AtMost(120.0)),
    goal("O1b", "open_ms", Wanted::AtMost(100.0)),
    goal("S1", "loaded_ratio", Wanted::AtMost(1.25)),
    goal("S1", "overwritten_ratio", Wanted::AtMost(1.5)),
    goal("S1", "compacted_ratio", Wanted::AtMost(1.2)),
    goal("O1", "index_bytes_per_key", Wanted::AtMost(80.0)),
    goal("MEM", "peak_resident_mib", Wanted::BeyondIndex(32.0)),
];

/// A line of the table, where all that it compares was measured.
struct Compared {
    ours: f64,
    /// Whom with, and what that one has.
    other: String,
    /// What the goal speaks of.
    reached: f64,
    wanted: String,
    met: bool,
}

impl Goal {
    fn compared(&self, figures: &Figures) -> Option<Compared> {
        let row = &Row::new(self.workload, self.metric);
        let times = |ours: &str, other: &str, times: f64| {
            let reached = figures.times_of(row, ours, other)?;
            let (ours, theirs) = (figures.median(row, ours)?, figures.median(row, other)?);
            Some(Compared::times(ours, (other, theirs), reached, times))
        };
        match self.wanted {
            Wanted::Times(other, wanted) => times(OURS, other, wanted),
            Wanted::Unverified(other, wanted) => times(UNVERIFIED, other, wanted),
            Wanted::TimesOwn(workload, wanted) => {
                let ours = figures.median(row, OURS)?;
                let own = figures.median(&Row::new(workload, self.metric), OURS)?;
                Some(Compared::times(ours, (workload, own), ours / own, wanted))
            }
            Wanted::AtMost(most) => {
                let ours = figures.median(row, OURS)?;
                Some(Compared::at_most(ours, ours, most))
            }
            Wanted::BeyondIndex(most) => {
                let ours = figures.median(row, OURS)?;
                let per_key = figures.median(&Row::new("O1", "index_bytes_per_key"), OURS)?;
                let index = per_key * figures.setup.records as f64 / f64::from(1 << 20);
                let mut compared = Compared::at_most(ours, ours - index, most);
                compared.wanted += " beyond the index";
                Some(compared)
            }
        }
    }
}

impl Compared {
    fn times(ours: f64, other: (&str, f64), reached: f64, times: f64) -> Compared {
        let (other, wanted) =
            (format!("{}: {}", other.0, shown(other.1)), format!("{times} times"));
        Compared { ours, other, reached, wanted, met: reached >= times }
    }

    fn at_most(ours: f64, reached: f64, most: f64) -> Compared {
        let wanted = format!("at most {most}");
        Compared { ours, other: String::new(), reached, wanted, met: reached <= most }
    }
}

/// The goals that these figures speak of.
pub fn table(text: &mut String, figures: &Figures) -> std::fmt::Result {
    writeln!(text, "#### By the goals\n")?;
    writeln!(text, "| | workload | metric | kindlog | compared with | reached | goal | |")?;
    writeln!(text, "| --- | --- | --- | ---: | --- | ---: | --- | --- |")?;
    for goal in GOALS {
        let Some(compared) = goal.compared(figures) else { continue };
        let row = Row::new(goal.workload, goal.metric);
        let unverified = match goal.wanted {
            Wanted::Unverified(..) => ", neither verifies",
            _ => "",
        };
        writeln!(
            text,
            "| {} | {}{unverified} | {} | {} | {} | {} | {} | {} |",
            row.workload,
            row.about(),
            row.unit(),
            shown(compared.ours),
            compared.other,
            shown(compared.reached),
            compared.wanted,
            if compared.met { "reached" } else { "**missed**" },
        )?;
    }
    writeln!(text)
}
