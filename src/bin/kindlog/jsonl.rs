//! JSON lines: `{"kind": .., "id": .., "revision": .., "updated_at": .., "data": BASE64}`, of which
//! import wants kind, id and data.

use std::borrow::Cow;
use std::io::{BufRead, Read};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kindlog::Resource;
use serde::{Deserialize, Serialize};

use crate::failure::{Failure, Outcome};
use crate::import::{Entry, MAX_VALUE_LEN, Source};
use crate::time::rfc3339;

/// The longest line: the largest value in base64, and room for the rest.
const MAX_LINE_LEN: u64 = MAX_VALUE_LEN / 3 * 4 + (1 << 20);

#[derive(Serialize)]
struct Written<'a> {
    kind: &'a str,
    id: &'a str,
    revision: u64,
    updated_at: String,
    data: String,
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    data: Cow<'a, str>,
}

/// A resource as a line, with its newline.
pub(crate) fn line(resource: &Resource) -> Vec<u8> {
    let written = Written {
        kind: &resource.kind,
        id: &resource.id,
        revision: resource.revision.into(),
        updated_at: rfc3339(resource.updated_at),
        data: STANDARD.encode(&resource.data),
    };
    let mut line = serde_json::to_vec(&written).expect("text and numbers are always JSON");
    line.push(b'\n');
    line
}

/// Reads lines, one at a time. Blank ones are skipped.
pub(crate) struct Lines<R> {
    reader: R,
    line: Vec<u8>,
    number: u64,
}

impl<R: BufRead> Lines<R> {
    pub(crate) fn new(reader: R) -> Lines<R> {
        Lines { reader, line: Vec::new(), number: 0 }
    }

    /// Whether there is a line; without its end it is in `self.line`.
    fn advance(&mut self) -> Outcome<bool> {
        self.line.clear();
        self.number += 1;
        let read = (&mut self.reader)
            .take(MAX_LINE_LEN)
            .read_until(b'\n', &mut self.line)
            .map_err(|error| Failure::io("reading", error))?;
        if read as u64 == MAX_LINE_LEN {
            return Err(Failure::Usage("longer than any resource can be".into()));
        }
        Ok(read > 0)
    }
}

impl<R: BufRead> Source for Lines<R> {
    fn next(&mut self) -> Outcome<Option<Entry>> {
        while self.advance()? {
            if !self.line.trim_ascii().is_empty() {
                return parse(&self.line).map(Some);
            }
        }
        Ok(None)
    }

    fn place(&self) -> String {
        format!("line {}", self.number)
    }
}

fn parse(line: &[u8]) -> Outcome<Entry> {
    let line: Line<'_> = serde_json::from_slice(line).map_err(|error| {
        // Its own place is always in line 1.
        let text = error.to_string();
        let reason = text.split(" at line ").next().unwrap_or_default();
        Failure::Usage(format!("column {}: {reason}", error.column()))
    })?;
    let data = STANDARD.decode(line.data.as_bytes()).map_err(|error| {
        let reason = error.to_string();
        Failure::Usage(format!("data is no base64: {}", reason.trim_end_matches('.')))
    })?;
    Ok(Entry { kind: line.kind.into_owned(), id: line.id.into_owned(), data: data.into() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &[u8]) -> Result<Vec<Entry>, String> {
        let mut lines = Lines::new(text);
        let mut entries = Vec::new();
        loop {
            match lines.next() {
                Ok(None) => return Ok(entries),
                Ok(Some(entry)) => entries.push(entry),
                Err(failure) => return Err(format!("{}: {failure}", lines.place())),
            }
        }
    }

    fn entry(kind: &str, id: &str, data: &[u8]) -> Entry {
        Entry { kind: kind.into(), id: id.into(), data: data.to_vec().into() }
    }

    #[test]
    fn further_fields_and_blank_lines_are_ignored() {
        let text = b"\r\n{\"x\":[{}],\"data\":\"AAE=\",\"id\":\"a\\/b\",\"kind\":\"K\"}\r\n\n\
            {\"kind\":\"K\",\"id\":\"c\",\"data\":\"\"}";
        assert_eq!(read(text), Ok(vec![entry("K", "a/b", &[0, 1]), entry("K", "c", b"")]));
    }

    #[test]
    fn errors_name_the_line_and_what_is_wrong() {
        let good = "{\"kind\":\"K\",\"id\":\"c\",\"data\":\"\"}\n\n";
        for (line, error) in [
            ("{\"kind\":\"K\",\"data\":\"\"}", "line 3: column 22: missing field `id`"),
            ("{\"kind\":\"K\",\"id\":\"x\",\"data\":\"A\"}", "line 3: data is no base64"),
            ("{\"kind\":\"K\",\"id\":7}", "line 3: column 18: invalid type: integer `7`"),
            ("{\"kind\":", "line 3: column 8: EOF while parsing"),
            ("\u{1}", "line 3: column 1: expected value"),
        ] {
            let found = read(format!("{good}{line}").as_bytes()).expect_err(line);
            assert!(found.starts_with(error) && !found.ends_with('.'), "{found}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_entries_or_an_error(text: Vec<u8>) {
            let _ = read(&text);
        }

        #[test]
        fn lines_read_back(kind: String, id: String, data: Vec<u8>) {
            let written = Written {
                kind: &kind,
                id: &id,
                revision: 7,
                updated_at: String::new(),
                data: STANDARD.encode(&data),
            };
            let line = serde_json::to_vec(&written).expect("JSON");
            prop_assert_eq!(read(&line), Ok(vec![entry(&kind, &id, &data)]));
        }
    }
}
