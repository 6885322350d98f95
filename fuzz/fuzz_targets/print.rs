//! What the command line shows and reads: the raw printer on any value, and both import formats on
//! any input. The command line's own pure modules, compiled in here.

#![no_main]
#![allow(dead_code)]

#[path = "../../src/bin/kindlog/delimited.rs"]
mod delimited;
#[path = "../../src/bin/kindlog/failure.rs"]
mod failure;
#[path = "../../src/bin/kindlog/jsonl.rs"]
mod jsonl;
#[path = "../../src/bin/kindlog/output.rs"]
mod output;
#[path = "../../src/bin/kindlog/print.rs"]
mod print;
#[rustfmt::skip]
#[path = "../../src/bin/kindlog/resource_proto.rs"]
mod resource_proto;
#[path = "../../src/bin/kindlog/time.rs"]
mod time;
#[path = "../../src/bin/kindlog/wire.rs"]
mod wire;

/// What the readers need of the command `import`, which itself needs a store.
mod import {
    use crate::failure::Outcome;

    pub(crate) const MAX_VALUE_LEN: u64 = 1 << 30;

    #[derive(Clone, Debug, PartialEq, Eq)]
    pub(crate) struct Entry {
        pub(crate) kind: String,
        pub(crate) id: String,
        pub(crate) data: bytes::Bytes,
    }

    pub(crate) trait Source {
        fn next(&mut self) -> Outcome<Option<Entry>>;
        fn place(&self) -> String;
    }
}

use import::{Entry, Source};
use kindlog_fuzz::alloc;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((mode, data)) = data.split_first() else { return };
    match mode % 3 {
        0 => {
            for full in [false, true] {
                let text = printed(data, full);
                // Nothing that a terminal would act on.
                assert!(!text.chars().any(|c| output::is_hidden(c) && c != '\n'), "{text:?}");
                // Indentation makes it longer by depth, nothing else does by much.
                assert!(text.len() <= 1024 + data.len() * 160, "{} for {}", text.len(), data.len());
                if !data.is_empty() && !full && wire::check(data).is_err() {
                    assert!(text.contains("# no Protobuf"), "{text:?}");
                }
            }
        }
        1 => drop(read(&mut jsonl::Lines::new(data), data.len())),
        _ => {
            let entries = read(&mut delimited::Messages::new(data), data.len());
            let again: Vec<u8> = entries.iter().flat_map(encode).collect();
            assert_eq!(read(&mut delimited::Messages::new(&again[..]), again.len()), entries);
        }
    }
});

fn printed(data: &[u8], full: bool) -> String {
    let mut out = Vec::new();
    let mut printer = print::Printer { out: &mut out, styles: output::Styles::default(), full };
    printer.value(data).expect("to memory");
    String::from_utf8(out).expect("what is printed is UTF-8")
}

/// All entries up to the end or the first error, which is one line without control characters.
fn read(source: &mut dyn Source, len: usize) -> Vec<Entry> {
    let (mut entries, mut left) = (Vec::new(), len + 2);
    loop {
        let (next, allocated) = alloc::counted(|| source.next());
        assert!(allocated <= (3 << 20) + len * 64, "{allocated} for {len}");
        match next {
            Ok(Some(entry)) => entries.push(entry),
            Ok(None) => return entries,
            Err(failure) => {
                let text = format!("{}: {failure}", source.place());
                assert!(!text.chars().any(char::is_control), "{text:?}");
                return entries;
            }
        }
        left -= 1;
        assert!(left > 0, "more entries than bytes");
    }
}

fn encode(entry: &Entry) -> Vec<u8> {
    use prost::Message;
    let message = resource_proto::Resource {
        kind: entry.kind.clone(),
        id: entry.id.clone(),
        data: entry.data.clone(),
        ..Default::default()
    };
    message.encode_length_delimited_to_vec()
}
