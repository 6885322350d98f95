//! The rules of the house that a compiler does not know, read off the source. Each failure names
//! the rule, or what to do instead.

use std::fs;
use std::path::{Path, PathBuf};

const MAX_FILE_LINES: usize = 500;
const MAX_FUNCTION_LINES: usize = 70;
const MAX_COLUMNS: usize = 100;

/// The floors, lowest first. A file imports only from its own folder and from lower floors; `log`
/// and `index` do not import each other.
const FLOORS: &[&[&str]] = &[
    &["error", "key", "resource", "options", "event", "sync", "zoo"],
    &["format"],
    &["disk"],
    &["log", "index"],
    &["state"],
    &["engine"],
    &["store", "collection", "snapshot", "fuzzing", "lib"],
];
/// Modules on these floors may import each other.
const MUTUAL: &[usize] = &[0, 6];

const TOP_LEVEL: &[&str] = &[
    "Cargo.toml",
    "Cargo.lock",
    "README.md",
    "src",
    "proto",
    "benches",
    "tests",
    "fuzz",
    "docs",
    "rustfmt.toml",
    "target",
];

/// One file of Rust.
struct Source {
    /// Relative to the package, with `/`.
    path: String,
    text: String,
}

impl Source {
    fn is_generated(&self) -> bool {
        self.text.starts_with("// Generated from")
    }

    fn is_engine(&self) -> bool {
        self.path.starts_with("src/") && !self.path.starts_with("src/bin/")
    }

    fn is_test(&self) -> bool {
        self.path.starts_with("tests/") || self.path.contains("/tests")
    }

    /// The lines with their numbers, without comments; of `src` also without its test modules.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let end = match self.is_test() {
            true => None,
            false => self.text.find("#[cfg(test)]\nmod tests {"),
        };
        let lines = self.text[..end.unwrap_or(self.text.len())].lines();
        let numbered = lines.enumerate().map(|(i, line)| (i + 1, line));
        numbered.filter(|(_, line)| !line.trim_start().starts_with("//"))
    }
}

fn sources() -> Vec<Source> {
    let mut sources = Vec::new();
    for folder in ["src", "tests", "benches", "fuzz"] {
        collect(&root().join(folder), &mut sources);
    }
    assert!(sources.len() > 50, "the source tree is somewhere else");
    sources
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn collect(folder: &Path, sources: &mut Vec<Source>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries {
        let path = entry.expect("the folder can be read").path();
        if path.is_dir() {
            if path.file_name().is_none_or(|name| name != "target") {
                collect(&path, sources);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("the file can be read");
            let path = path.strip_prefix(root()).expect("it is inside");
            sources.push(Source { path: path.to_string_lossy().replace('\\', "/"), text });
        }
    }
}

/// Fails with all that was found against a rule.
fn check(broken: Vec<String>, instead: &str) {
    assert!(broken.is_empty(), "{instead}:\n  {}\n", broken.join("\n  "));
}

fn floor_of(module: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.contains(&module))
}

fn module_of(path: &str) -> &str {
    let path = path.trim_start_matches("src/");
    path.split('/').next().unwrap_or(path).trim_end_matches(".rs")
}

/// The modules that a line of code names behind `crate::`.
fn imports(line: &str) -> Vec<&str> {
    let mut modules = Vec::new();
    for rest in line.split("crate::").skip(1) {
        let list = match rest.strip_prefix('{') {
            Some(list) => list.split('}').next().unwrap_or(list),
            None => rest.split(',').next().unwrap_or(rest),
        };
        for item in list.split(',') {
            let item = item.trim();
            let end = item.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(item.len());
            modules.push(&item[..end]);
        }
    }
    modules
}

fn against_floors(source: &Source) -> Vec<String> {
    let module = module_of(&source.path);
    let Some(floor) = floor_of(module) else {
        return vec![format!("{}: on no floor", source.path)];
    };
    let mut broken = Vec::new();
    for (number, line) in source.code() {
        for import in imports(line) {
            let Some(other) = floor_of(import) else { continue };
            let sibling = other == floor && (import == module || MUTUAL.contains(&floor));
            if other >= floor && !sibling {
                broken.push(format!("{}:{number} imports crate::{import}", source.path));
            }
        }
    }
    broken
}

#[test]
fn files_import_only_from_lower_floors() {
    let engine = sources().into_iter().filter(Source::is_engine).collect::<Vec<_>>();
    check(
        engine.iter().flat_map(against_floors).collect(),
        "move what both need to a lower floor (a shared noun belongs on floor 0 or 1)",
    );
}

#[test]
fn the_command_line_uses_the_public_api() {
    let hidden = concat!("kindlog::", "disk");
    let broken =
        sources().into_iter().filter(|s| s.path.starts_with("src/bin/")).flat_map(|source| {
            let lines = source.code().filter(|(_, l)| l.contains(hidden) || l.contains("#[path"));
            lines.map(|(number, _)| format!("{}:{number}", source.path)).collect::<Vec<_>>()
        });
    check(
        broken.collect(),
        "the command line is a user like any other: use kindlog's public names",
    );
}

#[test]
fn unsafe_stands_in_one_file() {
    let broken = sources().into_iter().flat_map(|source| {
        let native = source.path == "src/disk/native.rs";
        let is = |line: &str| {
            let mut words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
            let code = !line.contains('"');
            code && (words.any(|word| word == concat!("un", "safe")))
                || line.contains(concat!("allow(un", "safe"))
        };
        let lines = source.code().filter(|(_, line)| source.is_engine() && !native && is(line));
        lines.map(|(number, _)| format!("{}:{number}", source.path)).collect::<Vec<_>>()
    });
    check(broken.collect(), "what needs it goes through trait Disk, into src/disk/native.rs");
}

/// What a scheduler that the tests control would not see.
fn unseen_waits(source: &Source) -> Vec<String> {
    let exempt = ["src/sync", "src/disk/native"];
    if !source.is_engine() || source.is_test() || exempt.iter().any(|e| source.path.starts_with(e))
    {
        return Vec::new();
    }
    let bans = ["parking_lot", "std::sync::atomic", "std::thread", "std::sync::mpsc"];
    let locks = ["Mutex", "RwLock", "Condvar", "Barrier", "LazyLock", "atomic::"];
    let seen = |line: &str| {
        bans.iter().any(|ban| line.contains(ban))
            || (line.contains("std::sync::") && locks.iter().any(|lock| line.contains(lock)))
    };
    let lines = source.code().filter(|(_, line)| seen(line));
    lines.map(|(number, line)| format!("{}:{number} {}", source.path, line.trim())).collect()
}

#[test]
fn threads_meet_where_tests_control_the_scheduler() {
    check(
        sources().iter().flat_map(unseen_waits).collect(),
        "take locks, atomics and threads from crate::sync, so that the scheduled tests see them",
    );
}

#[test]
fn files_and_functions_fit() {
    let mut broken = Vec::new();
    for source in sources().iter().filter(|source| !source.is_generated()) {
        let lines: Vec<&str> = source.text.lines().collect();
        if lines.len() > MAX_FILE_LINES {
            broken.push(format!("{} has {} lines", source.path, lines.len()));
        }
        for (from, len) in functions(&lines) {
            if len > MAX_FUNCTION_LINES {
                broken.push(format!("{}:{} has {len} lines", source.path, from + 1));
            }
        }
    }
    check(
        broken,
        "a file past 500 lines is two concepts, a function past 70 does not fit on a screen: \
         split it where its concepts part",
    );
}

/// Where each function begins, and how many lines it has, in formatted code.
fn functions(lines: &[&str]) -> Vec<(usize, usize)> {
    let mut functions = Vec::new();
    for (from, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        let indent = &line[..line.len() - code.len()];
        let words = ["pub", "pub(crate)", "pub(super)", "const", "async", "unsafe", "extern"];
        let mut rest = code.split_whitespace().skip_while(|word| words.contains(word));
        if rest.next() != Some("fn") {
            continue;
        }
        let opens = lines[from..].iter().find(|line| line.ends_with(['{', '}', ';']));
        if opens.is_none_or(|line| !line.ends_with('{')) {
            continue;
        }
        let closing = format!("{indent}}}");
        if let Some(len) = lines[from..].iter().position(|line| **line == closing) {
            functions.push((from, len + 1));
        }
    }
    functions
}

#[test]
fn lines_have_at_most_100_columns() {
    let broken = sources().into_iter().filter(|source| !source.is_generated()).flat_map(|source| {
        let lines = source.text.lines().enumerate();
        let long = lines.filter(|(_, line)| line.chars().count() > MAX_COLUMNS);
        long.map(|(i, _)| format!("{}:{}", source.path, i + 1)).collect::<Vec<_>>()
    });
    check(broken.collect(), "break the line: rustfmt can't break strings and comments");
}

#[test]
fn nothing_is_left_for_later() {
    let marks = [
        concat!("todo", "!("),
        concat!("unimplemented", "!("),
        concat!("dbg", "!("),
        concat!("#[", "ignore"),
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
    ];
    let broken = sources().into_iter().flat_map(|source| {
        let lines = source.text.lines().enumerate();
        let marked = lines.filter(|(_, line)| marks.iter().any(|mark| line.contains(mark)));
        marked.map(|(i, line)| format!("{}:{} {line}", source.path, i + 1)).collect::<Vec<_>>()
    });
    check(broken.collect(), "do it now, or take it out and write an issue");
}

#[test]
fn the_engine_returns_errors() {
    let bans = [
        (concat!(".unwrap", "()"), "`?`, or expect(\"why it can't fail\")"),
        (concat!("panic", "!("), "an Error"),
    ];
    let mut broken = Vec::new();
    for source in sources().iter().filter(|s| s.path.starts_with("src/") && !s.is_test()) {
        for (number, line) in source.code() {
            for (ban, instead) in bans {
                if line.contains(ban) {
                    broken.push(format!("{}:{number} instead of {ban}: {instead}", source.path));
                }
            }
            if let Some((_, rest)) = line.split_once(".expect(")
                && !says_why(rest)
            {
                broken.push(format!("{}:{number} {}", source.path, line.trim()));
            }
        }
    }
    check(broken, "an error is returned; expect(\"...\") says why it can't happen");
}

/// A message of at least two words that is not merely an exclamation.
fn says_why(rest: &str) -> bool {
    let Some(message) = rest.strip_prefix('"') else { return rest.is_empty() };
    let message = message.split('"').next().unwrap_or("");
    let hollow = ["failed", "should", "error", "could not"];
    message.split_whitespace().count() >= 2 && !hollow.iter().any(|word| message.contains(word))
}

#[test]
fn the_top_level_holds_what_belongs_there() {
    let mut broken = Vec::new();
    for entry in fs::read_dir(root()).expect("the package can be read") {
        let name = entry.expect("the package can be read").file_name();
        let name = name.to_string_lossy();
        let allowed =
            TOP_LEVEL.contains(&&*name) || name.starts_with('.') || name.starts_with("LICENSE-");
        if !allowed {
            broken.push(name.into_owned());
        }
    }
    check(broken, "put it into src, proto, benches, tests, fuzz or docs");
}

#[test]
fn the_checks_see_what_they_look_for() {
    let source = |path: &str, text: &str| Source { path: path.to_owned(), text: text.to_owned() };
    let upwards = source("src/log/a.rs", "use crate::state::State;\n");
    let sideways = source("src/log/a.rs", "use crate::{error::Error, index::Index};\n");
    let downwards = source("src/log/a.rs", "use crate::disk::Disk;\nuse crate::log::b;\n");
    assert_eq!(against_floors(&upwards).len(), 1);
    assert_eq!(against_floors(&sideways).len(), 1);
    assert!(against_floors(&downwards).is_empty());
    let lock = "use std::sync::{Arc, Mutex};\nuse std::sync::Arc;\nuse parking_lot::RwLock;\n";
    assert_eq!(unseen_waits(&source("src/log/a.rs", lock)).len(), 2);
    let long = format!("    fn f(\n        a: u8,\n    ) {{\n{}    }}", "        x;\n".repeat(70));
    let lines: Vec<&str> = long.lines().collect();
    assert_eq!(functions(&lines), [(0, 74)]);
    assert!(says_why("\"four bytes\")") && !says_why("\"failed\")") && !says_why("&x)"));
}
