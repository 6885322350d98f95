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

/// What a backup consists of; replaced atomically.
pub(crate) const BACKUP: &str = "BACKUP";
/// The same while it is written.
pub(crate) const BACKUP_NEW: &str = "BACKUP.new";

/// Room that is kept back for a full disk.
pub(crate) const RESERVE: &str = "RESERVE";

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

/// A segment's file in a backup: by its salt, which no other segment has, and its length, since the
/// segment may have had more bytes at the next backup. In hex, 16 digits each.
pub(crate) fn backup_segment(salt: u64, length: u64) -> String {
    format!("{salt:016x}-{length:016x}{SEGMENT_SUFFIX}")
}

/// Whether a file name is one that [`backup_segment`] builds.
pub(crate) fn is_backup_segment(name: &str) -> bool {
    let numbers = || {
        let (salt, length) = name.strip_suffix(SEGMENT_SUFFIX)?.split_once('-')?;
        let number = |digits| u64::from_str_radix(digits, 16).ok();
        Some((number(salt)?, number(length)?))
    };
    numbers().is_some_and(|(salt, length)| backup_segment(salt, length) == name)
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
            assert!(!is_backup_segment(other), "{other}");
        }
        let name = backup_segment(u64::MAX, 72);
        assert!(is_backup_segment(&name) && parse_segment(&name).is_none());
        assert!(!is_backup_segment(&name.to_uppercase()) && !is_backup_segment(&name[1..]));
    }
}
