//! Keys on the command line: `Kind/ID`, or `KIND ID`. Whether the names in them are well formed
//! is for the store to say.

use std::fmt;

use crate::failure::{Failure, Outcome};

/// A kind and an id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) kind: String,
    pub(crate) id: String,
}

impl Key {
    /// Reads one word, `Kind/ID`, of which the first `/` ends the kind; or two, a kind and an id.
    pub(crate) fn parse(words: &[String]) -> Outcome<Key> {
        let (kind, id) = match words {
            [word] => word.split_once('/').ok_or_else(|| {
                Failure::Usage(format!("{word:?} is no key: write Kind/ID, or a kind and an id"))
            })?,
            [kind, id] => (kind.as_str(), id.as_str()),
            _ => {
                return Err(Failure::Usage("a key is one word, Kind/ID, or two".into()));
            }
        };
        if kind.is_empty() || id.is_empty() {
            let empty = if kind.is_empty() { "kind" } else { "id" };
            return Err(Failure::Usage(format!("invalid key: the {empty} is empty")));
        }
        if kind.contains('/') {
            return Err(Failure::Usage(format!("invalid key: the kind {kind:?} has a '/'")));
        }
        Ok(Key { kind: kind.to_owned(), id: id.to_owned() })
    }

    /// The same, where a last word `-` may say that the value comes from standard input. It is an
    /// id only where the words before it are no key.
    pub(crate) fn parse_before_dash(words: &[String]) -> Outcome<Key> {
        match words {
            [key, dash] if dash == "-" && key.contains('/') => {
                Key::parse(std::slice::from_ref(key))
            }
            [kind, id, dash] if dash == "-" => Key::parse(&[kind.clone(), id.clone()]),
            _ => Key::parse(words),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| word.to_string()).collect()
    }

    fn parsed(parse: fn(&[String]) -> Outcome<Key>, given: &[&str]) -> Option<(String, String)> {
        parse(&words(given)).ok().map(|key| (key.kind, key.id))
    }

    fn pair(kind: &str, id: &str) -> Option<(String, String)> {
        Some((kind.into(), id.into()))
    }

    #[test]
    fn the_first_slash_ends_the_kind() {
        assert_eq!(parsed(Key::parse, &["Agent/a"]), pair("Agent", "a"));
        assert_eq!(parsed(Key::parse, &["Log/run-1/7"]), pair("Log", "run-1/7"));
        assert_eq!(parsed(Key::parse, &["Log", "run-1/7"]), pair("Log", "run-1/7"));
        assert_eq!(parsed(Key::parse, &["A//b"]), pair("A", "/b"));
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for given in [
            &["Agent"][..],
            &["/a"],
            &["Agent/"],
            &[""],
            &["", "a"],
            &["Agent", ""],
            &["Agent/x", "a"],
            &["A", "b", "c"],
        ] {
            let failure = Key::parse(&words(given)).expect_err("no key");
            assert_eq!(failure.exit_code(), 2, "{given:?}");
        }
    }

    #[test]
    fn a_last_dash_is_standard_input_unless_it_is_the_id() {
        assert_eq!(parsed(Key::parse_before_dash, &["Agent/a", "-"]), pair("Agent", "a"));
        assert_eq!(parsed(Key::parse_before_dash, &["Agent", "a", "-"]), pair("Agent", "a"));
        assert_eq!(parsed(Key::parse_before_dash, &["Agent", "-"]), pair("Agent", "-"));
        assert_eq!(parsed(Key::parse_before_dash, &["Agent/-"]), pair("Agent", "-"));
        assert_eq!(parsed(Key::parse_before_dash, &["Agent/a", "b"]), None);
    }
}
