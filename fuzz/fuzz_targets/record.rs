//! Any bytes as frames: nothing panics, nothing is allocated, and whatever decodes means the same
//! when it is encoded again, here or elsewhere.

#![no_main]

use kindlog::fuzzing::{self, Frame};
use kindlog_fuzz::{alloc, seal};
use libfuzzer_sys::fuzz_target;

const SALT: u64 = 0x5a17;

fuzz_target!(|data: &[u8]| {
    let Some((head, bytes)) = data.split_at_checked(9) else { return };
    let position = u64::from_le_bytes(head[1..9].try_into().unwrap()) / 16 * 8;
    let mut bytes = bytes.to_vec();
    if head[0] & 1 != 0 {
        seal_all(&mut bytes, position);
    }
    let (len, allocated) = alloc::counted(|| fuzzing::frames_len(&bytes, SALT, position));
    assert_eq!(allocated, 0);
    assert!(len <= bytes.len());

    let mut at = 0;
    while at < len {
        let here = position + at as u64;
        let (frame, allocated) = alloc::counted(|| fuzzing::decode_frame(&bytes[at..], SALT, here));
        assert_eq!(allocated, 0);
        let frame = frame.expect("counted as sound");
        assert!(
            frame.len.is_multiple_of(8) && frame.len >= 24 && at as u64 + frame.len <= len as u64
        );
        check(&bytes[at..at + frame.len as usize], &frame, here);
        at += frame.len as usize;
    }
    let _ = fuzzing::decode_frame(&bytes[len..], SALT, position + len as u64);
});

/// Puts the checksums of all that can be frames right.
fn seal_all(bytes: &mut [u8], position: u64) {
    let mut at = 0;
    while at < bytes.len() {
        match seal::seal_frame(&mut bytes[at..], SALT, position + at as u64) {
            Some(end) => at += end.next_multiple_of(8),
            None => return,
        }
    }
}

fn check(bytes: &[u8], frame: &Frame<'_>, position: u64) {
    assert!(bytes.iter().any(|byte| *byte != 0));
    // Nowhere else is it a frame, nor for another segment.
    assert!(fuzzing::decode_frame(bytes, SALT, position + 8).is_none());
    assert!(fuzzing::decode_frame(bytes, SALT ^ 1, position).is_none());

    // Without what this build does not write, it is the same frame again.
    let again = fuzzing::encode_frame(frame, SALT, position);
    let decoded = fuzzing::decode_frame(&again, SALT, position).expect("just encoded");
    // A frame that neither begins its commit nor says what follows takes a byte more.
    assert!(decoded.len <= frame.len + 8);
    assert_eq!(Frame { len: frame.len, internal: frame.internal, ..decoded }, *frame);
    let third = fuzzing::encode_frame(&decoded, SALT, position);
    assert_eq!(third, again);

    // A copy keeps the record, byte for byte, and its checksum.
    let (salt, to) = (SALT + 7, position + 4096);
    let copy = fuzzing::copy_frame(bytes, (SALT, position), (salt, to)).expect("it is sound");
    let copied = fuzzing::decode_frame(&copy, salt, to).expect("a copy of a sound frame");
    assert_eq!(Frame { len: frame.len, watermark: frame.watermark, ..copied }, *frame);
    assert_eq!(copy[4..8], bytes[4..8]);
    let (record, copied_record) =
        (seal::record_at(bytes).unwrap(), seal::record_at(&copy).unwrap());
    let len = fuzzing::frame_ends(bytes, position).unwrap().1 - record;
    assert_eq!(copy[copied_record..][..len], bytes[record..][..len]);
}
