//! Decoding the header that nearly every record has, quickly.

use std::ops::Range;

use super::{
    FramePlace, FrameType, Header, MAX_BATCH_LEN, MAX_HEADER_LEN, MAX_REVISION, MAX_VALUE_LEN, crc,
    header_crc, place_flag,
};
use crate::format::file::le_u32;
use crate::format::location::UNIT;
use crate::format::varint;
use crate::key::{MAX_ID_LEN, MAX_KIND_LEN};

/// What the header of a put without an extension says of the record, and where that lies.
#[derive(Clone, Copy)]
pub(crate) struct Skimmed {
    flags: u8,
    lag: u64,
    left: u64,
    pub(crate) revision: u64,
    pub(crate) time: i64,
    kind_len: usize,
    id_len: usize,
    value_len: usize,
    record_at: usize,
    body_at: usize,
}

/// Reads that header, if it is what `head`, with which a frame begins, holds.
#[inline(always)]
pub(crate) fn skim(head: &[u8; MAX_HEADER_LEN]) -> Option<Skimmed> {
    let flags = head[8];
    let mut at = 9;
    if flags & !place_flag::KNOWN != 0 {
        return None;
    }
    let lag = if flags & place_flag::LAG != 0 { varint::get_in(head, &mut at)? } else { 0 };
    let left = if flags & place_flag::BATCH != 0 { varint::get_in(head, &mut at)? } else { 0 };
    let record_at = at;
    let [frame_type, record_flags, kind_len] = *head.get(at..)?.first_chunk()?;
    at += 3;
    let id_len = varint::get(head, &mut at)?;
    let value_len = varint::get_in(head, &mut at)?;
    let revision = varint::get_in(head, &mut at)?;
    let time = i64::from_le_bytes(*head.get(at..)?.first_chunk()?);
    let kind_len = usize::from(kind_len);
    let sound = frame_type == FrameType::Put as u8
        && record_flags == 0
        && (1..=MAX_KIND_LEN).contains(&kind_len)
        && (1..=MAX_ID_LEN as u64).contains(&id_len)
        && value_len <= MAX_VALUE_LEN
        && revision <= MAX_REVISION;
    let (id_len, value_len, body_at) = (id_len as usize, value_len as usize, at + 8);
    sound.then_some(Skimmed {
        flags,
        lag,
        left,
        revision,
        time,
        kind_len,
        id_len,
        value_len,
        record_at,
        body_at,
    })
}

impl Skimmed {
    /// Where in the frame kind, id and value lie.
    #[inline(always)]
    pub(crate) fn ranges(&self) -> [Range<usize>; 3] {
        let id_at = self.body_at + self.kind_len;
        let value_at = id_at + self.id_len;
        [self.body_at..id_at, id_at..value_at, value_at..value_at + self.value_len]
    }

    /// Where the value ends; padding follows.
    #[inline(always)]
    pub(crate) fn end(&self) -> usize {
        self.body_at + self.kind_len + self.id_len + self.value_len
    }

    /// The frame's length with padding.
    #[inline(always)]
    pub(crate) fn frame_len(&self) -> u64 {
        (self.end() as u64).next_multiple_of(UNIT)
    }

    /// Whether `bytes`, which hold the whole frame, are of this key.
    #[inline(always)]
    pub(crate) fn is_of(&self, bytes: &[u8], kind: &str, id: &[u8]) -> bool {
        let [k, i, _] = self.ranges();
        bytes[i] == *id && bytes[k] == *kind.as_bytes()
    }

    /// Whether `bytes`, which hold the whole frame, have the record's checksum.
    #[inline(always)]
    pub(crate) fn has_sound_body(&self, bytes: &[u8]) -> bool {
        le_u32(bytes, 4) == crc(&bytes[self.record_at..self.end()])
    }

    /// Whether they have the header's checksum, for this segment and position.
    #[inline(always)]
    pub(crate) fn is_sound(&self, bytes: &[u8], salt: u64, position: u64) -> bool {
        le_u32(bytes, 0) == header_crc(&bytes[4..], self.body_at - 4, salt, position)
    }
}

/// The header of a put without an extension, if that is what `head`, with which its frame begins,
/// holds. Where this is `None`, [`Header::decode`] goes through the bytes one by one, and says what
/// is wrong with them, if anything.
#[inline(always)]
pub(super) fn put(head: &[u8; MAX_HEADER_LEN], position: u64) -> Option<Header> {
    let skimmed = skim(head)?;
    let Skimmed { flags, lag, left, revision, time, .. } = skimmed;
    let Skimmed { kind_len, id_len, value_len, record_at, body_at, .. } = skimmed;
    let mut watermark = None;
    if flags & place_flag::LAG != 0 {
        watermark = Some(position.checked_sub(lag.checked_mul(UNIT)?)?);
    }
    let left = left.checked_mul(UNIT).filter(|left| *left <= MAX_BATCH_LEN)?;
    let start = flags & place_flag::START != 0;
    let sync = flags & place_flag::SYNC != 0;
    Some(Header {
        frame_type: FrameType::Put,
        place: FramePlace { watermark, left, start, sync },
        internal: false,
        revision,
        time,
        kind_len,
        id_len,
        value_len,
        record_at,
        body_at,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::record::{Record, encode};
    use bytes::BytesMut;

    /// Whatever the bytes are: what this says is what going through them says.
    #[test]
    fn a_quick_look_and_a_thorough_one_agree() {
        let mut random = 0x9e37_79b9_7f4a_7c15u64;
        let mut below = |n: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % n
        };
        let mut quick = 0;
        for _ in 0..20_000 {
            let position = below(1 << 40) * UNIT;
            let watermark = (below(2) == 0).then(|| position - below(position / UNIT + 1) * UNIT);
            let left = if below(3) == 0 { below(1 << 20) * UNIT } else { 0 };
            let place = FramePlace { watermark, left, start: below(2) == 0, sync: below(2) == 0 };
            let (id, value) = (vec![b'i'; 1 + below(300) as usize], vec![7; below(400) as usize]);
            let bits = 1 + below(61);
            let revision = below(1 << bits);
            let time = below(u64::MAX) as i64;
            let (kind, frame_type) = (&b"Kind"[..], FrameType::Put);
            let record = Record { frame_type, revision, time, kind, id: &id, value: &value };
            let mut frame = BytesMut::new();
            encode(&mut frame, 7, position, &place, &record);
            for _ in 0..below(3) {
                let at = 8 + below(40) as usize % (frame.len() - 8);
                frame[at] = below(256) as u8;
            }
            let Some(head) = frame.first_chunk() else { continue };
            if let Some(header) = put(head, position) {
                quick += 1;
                let thorough = Header::decode_thoroughly(&frame, position).expect("the same");
                assert_eq!(format!("{header:?}"), format!("{thorough:?}"));
            }
        }
        assert!(quick > 10_000, "{quick} of them");
    }
}
