//! Hints, from any bytes, and from any payload behind sound checksums: what is accepted keeps the
//! rules, merges, and reads back, and nothing is allocated that isn't there.

#![no_main]

use kindlog::fuzzing::{self, Hint};
use kindlog_fuzz::{alloc, seal};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((mode, rest)) = data.split_first() else { return };
    match mode % 3 {
        0 => check(rest),
        1 => {
            let Some((length, payload)) = rest.split_at_checked(2) else { return };
            let length = u64::from(u16::from_le_bytes([length[0], length[1]])) * 8;
            check(&seal::hint_file(payload, length));
        }
        _ => {
            let mut file = rest.to_vec();
            seal::seal_hint(&mut file);
            check(&file);
        }
    }
});

fn check(file: &[u8]) {
    let (sound, allocated) = alloc::counted(|| fuzzing::check_hint(file));
    // A kind takes some thirty bytes of the file, and the table by which its ids are read 8 KiB.
    assert!(allocated <= (1 << 16) + file.len() * 1024, "{allocated} for {}", file.len());
    let decoded = fuzzing::decode_hint(file);
    assert_eq!(decoded.is_ok(), sound);
    let Ok((hint, again)) = decoded else { return };
    keeps_the_rules(&hint);
    let (same, bytes) = fuzzing::decode_hint(&again).expect("just encoded");
    assert_eq!(same, hint);
    assert_eq!(bytes, again, "the encoder has one way to say a thing");
}

fn keeps_the_rules(hint: &Hint) {
    let keys = hint.entries.iter().map(|(kind, id, ..)| (kind, id));
    assert!(keys.is_sorted_by(|a, b| a < b), "keys ascend");
    let prefixes = hint.prefixes.iter().map(|(kind, prefix, _)| (kind, prefix));
    assert!(prefixes.is_sorted_by(|a, b| a < b), "prefixes ascend");
    for (kind, id, revision, offset, len, _) in &hint.entries {
        assert!(!kind.is_empty() && kind.len() <= 255 && !kind.contains('/'));
        assert!(!id.is_empty() && id.len() <= 65_535 && *revision <= 1 << 62 && *len > 0);
        let id = std::str::from_utf8(id).expect("an id is UTF-8");
        assert!(!id.chars().any(char::is_control));
        assert!((u64::from(*offset) + u64::from(*len)) * 8 <= hint.length, "inside the segment");
    }
}
