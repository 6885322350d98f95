//! The example in `docs/format.md` is a store: its bytes, written to files, open and hold what the
//! text says.

use std::fs;

use kindlog::Options;

/// The files of the document's example: each a fenced block of the language `hex`, whose first line
/// is `; ` and the name; in all others stand an offset, bytes, and behind a `;` what they are.
fn documented_files() -> Vec<(&'static str, Vec<u8>)> {
    let document = include_str!("../../docs/format.md");
    let blocks = document.split("```hex\n; ").skip(1);
    let blocks = blocks.filter_map(|block| block.split("```").next()?.split_once('\n'));
    let bytes = |line: &str| -> Vec<u8> {
        let words = line.split(';').next().unwrap_or("").split_whitespace().skip(1);
        words.map(|word| u8::from_str_radix(word, 16).unwrap()).collect()
    };
    blocks.map(|(name, lines)| (name, lines.lines().flat_map(bytes).collect())).collect()
}

#[test]
fn the_documented_example_opens() {
    let dir = tempfile::tempdir().unwrap();
    for (name, bytes) in documented_files() {
        fs::write(dir.path().join(name), bytes).unwrap();
    }
    for read_only in [true, false] {
        let store = Options::new().read_only(read_only).create(false).open(dir.path()).unwrap();
        assert!(store.recovery().clean);
        assert_eq!(store.recovery().hints_used, 1, "the documented hint is good");
        assert!(store.verify().unwrap().is_clean());
        assert_eq!(store.kinds().unwrap(), ["Agent"]);
        assert_eq!(store.get_resource("Agent", "a-1").unwrap(), None);
        let agent = store.get_resource("Agent", "a-2").unwrap().unwrap();
        assert_eq!(&agent.data[..], b"\x0a\x03Bob");
        assert_eq!(u64::from(agent.revision), 2);
        let since_1970 = agent.updated_at.duration_since(std::time::UNIX_EPOCH).unwrap();
        assert_eq!(since_1970.as_micros(), 1_768_694_400_000_000);
    }
}
