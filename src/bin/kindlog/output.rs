//! Standard output: buffered, styled only on terminals, quiet when its reader goes away.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};

use anstream::{AutoStream, ColorChoice};
use clap::builder::styling::{AnsiColor, Style};

use crate::failure::{Failure, Outcome};

/// The styles of what is printed; all empty where there is no terminal to show them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Styles {
    /// What is said about the data: headers, comments.
    pub(crate) faint: Style,
    /// Field numbers, column heads.
    pub(crate) name: Style,
    pub(crate) string: Style,
    pub(crate) heading: Style,
    pub(crate) error: Style,
}

impl Styles {
    fn colored() -> Styles {
        Styles {
            faint: Style::new().dimmed(),
            name: AnsiColor::Cyan.on_default(),
            string: AnsiColor::Green.on_default(),
            heading: Style::new().bold(),
            error: AnsiColor::Red.on_default().bold(),
        }
    }

    /// The styles for standard output: `NO_COLOR`, `CLICOLOR_FORCE` and the like are honoured.
    pub(crate) fn stdout() -> Styles {
        Styles::chosen(AutoStream::choice(&io::stdout()))
    }

    /// The styles for standard error.
    pub(crate) fn stderr() -> Styles {
        Styles::chosen(AutoStream::choice(&io::stderr()))
    }

    fn chosen(choice: ColorChoice) -> Styles {
        if choice == ColorChoice::Never { Styles::default() } else { Styles::colored() }
    }
}

/// Standard output. Call [`finish`](Output::finish) at the end, or a failed last write goes
/// unnoticed.
pub(crate) struct Output {
    writer: BufWriter<StdoutLock<'static>>,
    pub(crate) styles: Styles,
    pub(crate) is_terminal: bool,
}

impl Output {
    pub(crate) fn stdout() -> Output {
        let stdout = io::stdout();
        let is_terminal = stdout.is_terminal();
        let writer = BufWriter::with_capacity(64 << 10, stdout.lock());
        Output { writer, styles: Styles::stdout(), is_terminal }
    }

    /// Writes exactly these bytes.
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> Outcome {
        self.writer.write_all(bytes).map_err(write_failure)
    }

    pub(crate) fn line(&mut self, line: impl AsRef<str>) -> Outcome {
        self.raw(line.as_ref().as_bytes())?;
        self.raw(b"\n")
    }

    /// Writes what is buffered, so that it is seen now.
    pub(crate) fn show(&mut self) -> Outcome {
        Write::flush(&mut self.writer).map_err(write_failure)
    }

    pub(crate) fn finish(mut self) -> Outcome {
        self.show()
    }

    /// An id as it may be shown here: as it is, unless this is a terminal that it could fool.
    pub(crate) fn name<'a>(&self, name: &'a str) -> Cow<'a, str> {
        if self.is_terminal { escape_hidden(name) } else { Cow::Borrowed(name) }
    }
}

/// So that what prints to any writer prints here too.
impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

/// A failed write of standard output. A closed pipe is no error: its reader has seen enough.
pub(crate) fn write_failure(error: io::Error) -> Failure {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return Failure::ClosedPipe;
    }
    Failure::io("standard output", error)
}

/// Whether a character takes no place, or changes how others are shown: control characters, and
/// what reorders or hides text.
pub(crate) fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}')
}

/// The text with every [hidden](is_hidden) character written as `\u{..}`.
pub(crate) fn escape_hidden(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '\n' => escaped.push_str("\\n"),
            c if is_hidden(c) => write!(escaped, "{}", c.escape_unicode()).expect("to memory"),
            c => escaped.push(c),
        }
    }
    Cow::Owned(escaped)
}

/// A number with its thousands told apart: `1,234,567`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// A number and its noun: `1 resource`, `2 resources`.
pub(crate) fn counted(number: u64, noun: &str) -> String {
    format!("{} {noun}{}", count(number), if number == 1 { "" } else { "s" })
}

/// Says something beside the output, to whoever looks on.
pub(crate) fn note(text: &str) {
    // That nobody can read it is no reason to stop.
    let _ = writeln!(io::stderr(), "kindlog: {}", escape_hidden(text));
}

/// A size in bytes, kB, MB, … of 1000.
pub(crate) fn size(bytes: u64) -> String {
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut scaled = bytes as f64 / 1000.0;
    let mut unit = "kB";
    for larger in ["MB", "GB", "TB", "PB", "EB"] {
        if scaled < 999.95 {
            break;
        }
        scaled /= 1000.0;
        unit = larger;
    }
    format!("{scaled:.1} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_and_sizes_scaled() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(counted(1, "resource"), "1 resource");
        assert_eq!(size(999), "999 B");
        assert_eq!(size(1500), "1.5 kB");
        assert_eq!(size(999_999), "1.0 MB");
        assert_eq!(size(u64::MAX), "18.4 EB");
    }

    #[test]
    fn what_could_fool_a_terminal_is_escaped() {
        assert_eq!(escape_hidden("plain/ü"), "plain/ü");
        assert_eq!(escape_hidden("a\u{1b}[31m\nb\u{202e}c"), "a\\u{1b}[31m\\nb\\u{202e}c");
    }
}
