//! Decoding the header that nearly every record has, quickly.

use super::{
    FramePlace, FrameType, Header, Layout, MAX_BATCH_LEN, MAX_HEADER_LEN, MAX_REVISION,
    MAX_VALUE_LEN, place_flag,
};
use crate::format::location::UNIT;
use crate::format::varint;
use crate::key::{MAX_ID_LEN, MAX_KIND_LEN};

/// What the header of a put without an extension says. What it says of its place is kept as it is
/// written: few ask for more.
#[derive(Clone, Copy)]
pub(crate) struct Skimmed {
    flags: u8,
    lag: u64,
    left: u64,
    pub(crate) revision: u64,
    pub(crate) time: i64,
    pub(crate) layout: Layout,
}

/// Reads that header, if it is what `head`, with which a frame begins, holds, and the value has
/// less than 256 MiB.
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
    let id_len = varint::get_short(head, &mut at)? as usize;
    const { assert!(MAX_VALUE_LEN >= varint::MAX_SHORT as u64) };
    let value_len = varint::get_short(head, &mut at)? as usize;
    let revision = varint::get_in(head, &mut at)?;
    let time = i64::from_le_bytes(*head.get(at..)?.first_chunk()?);
    let kind_len = usize::from(kind_len);
    let sound = frame_type == FrameType::Put as u8
        && record_flags == 0
        && (1..=MAX_KIND_LEN).contains(&kind_len)
        && (1..=MAX_ID_LEN).contains(&id_len)
        && revision <= MAX_REVISION;
    let layout = Layout { record_at, body_at: at + 8, kind_len, id_len, value_len };
    sound.then_some(Skimmed { flags, lag, left, revision, time, layout })
}

/// The same, with what it says of its place. Where this is `None`, [`Header::decode`] goes through
/// the bytes one by one, and says what is wrong with them, if anything.
#[inline(always)]
pub(super) fn put(head: &[u8; MAX_HEADER_LEN], position: u64) -> Option<Header> {
    let Skimmed { flags, lag, left, revision, time, layout } = skim(head)?;
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
        layout,
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

    /// What is too long to be read quickly is read all the same; what is too long at all is not.
    #[test]
    fn lengths_at_their_limits_are_read_as_well() {
        let head = |id_len: u64, value_len: u64| {
            let mut bytes = BytesMut::zeroed(8);
            bytes.extend_from_slice(&[place_flag::START, FrameType::Put as u8, 0, 4]);
            for number in [id_len, value_len, 1 << 55] {
                varint::put(&mut bytes, number);
            }
            bytes.resize(MAX_HEADER_LEN, 0);
            bytes
        };
        let short = u64::from(varint::MAX_SHORT);
        for (id_len, value_len, is_quick, is_sound) in [
            (1, short, true, true),
            (1, short + 1, false, true),
            (1, MAX_VALUE_LEN, false, true),
            (1, MAX_VALUE_LEN + 1, false, false),
            (MAX_ID_LEN as u64, 0, true, true),
            (MAX_ID_LEN as u64 + 1, 0, false, false),
            (short + 1, 0, false, false),
            (0, 0, false, false),
        ] {
            let head = head(id_len, value_len);
            let quick = put(head.first_chunk().expect("it is so long"), 0);
            let thorough = Header::decode_thoroughly(&head, 0);
            assert_eq!(quick.is_some(), is_quick, "{id_len}, {value_len}");
            assert_eq!(thorough.is_ok(), is_sound, "{id_len}, {value_len}");
            if let Some(quick) = quick {
                assert_eq!(format!("{quick:?}"), format!("{:?}", thorough.expect("the same")));
            }
        }
    }
}
