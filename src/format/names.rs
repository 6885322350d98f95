//! The names of the files in a store's directory, built and parsed here alone.

use super::location::SegmentId;

/// What the store consists of; replaced atomically.
pub(crate) const MANIFEST: &str = "MANIFEST";
/// The next manifest while it is written.
pub(crate) const MANIFEST_NEW: &str = "MANIFEST.new";
/// The file whose lock means owning the store.
pub(crate) const LOCK: &str = "LOCK";
/// The newest bytes of the log, for recovery after the death of the process.
pub(crate) const TAIL: &str = "TAIL";

const SEGMENT_SUFFIX: &str = ".seg";
const HINT_SUFFIX: &str = ".hint";

/// The file of a segment: its number in eight hex digits.
pub(crate) fn segment(id: SegmentId) -> String {
    format!("{:08x}{SEGMENT_SUFFIX}", id.0)
}

/// The segment that a file name stands for, if it is exactly what [`segment`] builds.
pub(crate) fn parse_segment(name: &str) -> Option<SegmentId> {
    parse(name, SEGMENT_SUFFIX, segment)
}

/// The hint of a segment.
pub(crate) fn hint(id: SegmentId) -> String {
    format!("{:08x}{HINT_SUFFIX}", id.0)
}

/// The segment whose hint a file name stands for, if it is exactly what [`hint`] builds.
pub(crate) fn parse_hint(name: &str) -> Option<SegmentId> {
    parse(name, HINT_SUFFIX, hint)
}

fn parse(name: &str, suffix: &str, build: impl Fn(SegmentId) -> String) -> Option<SegmentId> {
    let id = SegmentId(u32::from_str_radix(name.strip_suffix(suffix)?, 16).ok()?);
    (build(id) == name).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_built_is_parsed() {
        assert_eq!(parse_segment(&segment(SegmentId(0xab))), Some(SegmentId(0xab)));
        assert_eq!(parse_hint(&hint(SegmentId(0xab))), Some(SegmentId(0xab)));
        assert_eq!((parse_segment("000000ab.hint"), parse_hint("000000ab.seg")), (None, None));
        for other in ["ab.seg", "000000AB.seg", "+00000ab.seg", "000000ab.seg.bak", "MANIFEST", ""]
        {
            assert_eq!(parse_segment(other), None, "{other}");
        }
    }
}
