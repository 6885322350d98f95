//! The charts: a panel for each row, a bar for each store, in SVG.

use std::fmt::Write;

use super::figures::{Figures, OURS, Row, shown};
use super::svg;

/// A chart's name, its title, and the rows that it shows: workload and metric, where an empty
/// metric is any.
type Group = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

const GROUPS: &[Group] = &[
    (
        "writes",
        "Puts",
        &[("W1", ""), ("W1b", ""), ("W2", ""), ("W2b", ""), ("W3", ""), ("W3b", "")],
    ),
    (
        "reads",
        "Gets",
        &[("R1", ""), ("R1x2", ""), ("R1z", ""), ("R1zx2", ""), ("R2", ""), ("R2x2", "")],
    ),
    ("scans", "Scans", &[("R3", ""), ("R3b", ""), ("R3c", ""), ("ME", "")]),
    (
        "mixed",
        "Mixed loads",
        &[
            ("M1", ""),
            ("M1x2", ""),
            ("M2", ""),
            ("M2x2", ""),
            ("MC", ""),
            ("MD", ""),
            ("M3", ""),
            ("M3x2", ""),
        ],
    ),
    (
        "latency",
        "Latency, opening, deleting: shorter is better",
        &[
            ("L1", "put_p99_us"),
            ("L1", "put_p999_us"),
            ("L1", "put_max_us"),
            ("L1", "get_p99_us"),
            ("L1", "get_p999_us"),
            ("L1", "get_max_us"),
            ("O1", "open_ms"),
            ("O1b", "open_ms"),
            ("O1c", "open_ms"),
            ("D1", "delete_ms"),
        ],
    ),
    (
        "space",
        "Disk and memory: shorter is better",
        &[
            ("S1", "loaded_ratio"),
            ("S1", "overwritten_ratio"),
            ("S1", "compacted_ratio"),
            ("MEM", "peak_heap_mib"),
            ("MEM", "peak_resident_mib"),
            ("O1", "heap_bytes_per_key"),
        ],
    ),
];

const PANEL_WIDTH: usize = 330;
const COLUMNS: usize = 3;
const LABEL_WIDTH: usize = 118;
const BAR_WIDTH: usize = 140;
const BAR_HEIGHT: usize = 14;
const TITLE_HEIGHT: usize = 34;

pub fn names() -> impl Iterator<Item = &'static str> {
    GROUPS.iter().map(|(name, ..)| *name)
}

/// Name, title and SVG of each chart that has anything to show.
pub fn all(figures: &Figures) -> Vec<(&'static str, &'static str, String)> {
    let mut charts = Vec::new();
    for (name, title, wanted) in GROUPS {
        let is_wanted = |row: &&Row| {
            wanted.iter().any(|(workload, metric)| {
                row.workload == *workload && (metric.is_empty() || row.metric == *metric)
            })
        };
        let rows: Vec<&Row> = figures.rows().filter(is_wanted).collect();
        if !rows.is_empty() {
            charts.push((*name, *title, bars(figures, title, &rows)));
        }
    }
    charts
}

fn bars(figures: &Figures, title: &str, rows: &[&Row]) -> String {
    let panel_height = TITLE_HEIGHT + figures.engines.len() * BAR_HEIGHT + 12;
    let (width, lines) = (COLUMNS * PANEL_WIDTH, rows.len().div_ceil(COLUMNS));
    let height = 30 + lines * panel_height;
    let mut content = String::new();
    for (i, row) in rows.iter().enumerate() {
        let (x, y) = (i % COLUMNS * PANEL_WIDTH + 8, i / COLUMNS * panel_height + 30);
        panel(&mut content, figures, row, x, y);
    }
    svg::page(title, width, height, &content)
}

fn panel(svg: &mut String, figures: &Figures, row: &Row, x: usize, y: usize) {
    let medians = figures.engines.iter();
    let medians: Vec<_> =
        medians.map(|engine| (engine, figures.median(row, &engine.name))).collect();
    let max = medians.iter().filter_map(|(_, median)| *median).fold(0.0, f64::max);
    text(svg, x, y + 14, "font-weight=\"bold\"", &format!("{}: {}", row.workload, row.unit()));
    text(svg, x, y + 27, "fill=\"#666\"", &escaped(row.about()));
    for (i, (engine, median)) in medians.into_iter().enumerate() {
        let top = y + TITLE_HEIGHT + i * BAR_HEIGHT;
        let middle = top + BAR_HEIGHT - 4;
        text(svg, x + LABEL_WIDTH - 6, middle, "text-anchor=\"end\"", &escaped(&engine.name));
        let Some(value) = median else { continue };
        let len = if max > 0.0 { value / max * BAR_WIDTH as f64 } else { 0.0 };
        let color = match engine {
            ours if ours.name == OURS => "#c2410c",
            limit if limit.limit => "#d4d4d4",
            _ => "#64748b",
        };
        let left = x + LABEL_WIDTH;
        // Writing to a string does not fail.
        let _ = writeln!(
            svg,
            "<rect x=\"{left}\" y=\"{}\" width=\"{len:.1}\" height=\"{}\" fill=\"{color}\"/>",
            top + 2,
            BAR_HEIGHT - 4
        );
        text(svg, left + len as usize + 4, middle, "", &shown(value));
    }
}

fn text(svg: &mut String, x: usize, y: usize, style: &str, content: &str) {
    let _ = writeln!(svg, "<text x=\"{x}\" y=\"{y}\" {style}>{content}</text>");
}

/// Names of external programs are whatever was given.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
