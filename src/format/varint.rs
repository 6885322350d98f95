//! Unsigned integers in base 128, least significant group first, as Protobuf writes them.

/// The most bytes a `u64` takes.
pub(crate) const MAX_LEN: usize = 10;

/// The largest number of four bytes.
pub(crate) const MAX_SHORT: u32 = (1 << 28) - 1;

/// How many bytes `value` takes.
pub(crate) fn len(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

/// Appends `value`.
pub(crate) fn put(out: &mut impl bytes::BufMut, mut value: u64) {
    while value >= 0x80 {
        out.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

/// Reads one integer at `*at` and moves `*at` past it. `None` if the bytes end first, or hold more
/// than 64 bits.
#[inline]
pub(crate) fn get(bytes: &[u8], at: &mut usize) -> Option<u64> {
    match bytes.get(*at) {
        Some(byte) if *byte < 0x80 => {
            *at += 1;
            Some(u64::from(*byte))
        }
        _ => get_slowly(bytes, at),
    }
}

/// The same where eight bytes can be loaded at once; of those, the groups of seven bits are told
/// apart and joined all together. `None` also if the integer is longer.
#[inline(always)]
pub(crate) fn get_in(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let word = u64::from_le_bytes(*bytes.get(*at..)?.first_chunk()?);
    let last = !word & 0x8080_8080_8080_8080;
    if last == 0 {
        return None;
    }
    *at += last.trailing_zeros() as usize / 8 + 1;
    // All bits up to the first byte without the mark that another follows.
    let groups = word & (last ^ (last - 1)) & 0x7f7f_7f7f_7f7f_7f7f;
    let pairs = (groups & 0x007f_007f_007f_007f) | (groups & 0x7f00_7f00_7f00_7f00) >> 1;
    let fours = (pairs & 0x0000_3fff_0000_3fff) | (pairs & 0x3fff_0000_3fff_0000) >> 2;
    Some((fours & 0x0fff_ffff) | (fours & 0x0fff_ffff_0000_0000) >> 4)
}

/// The same where four bytes can be loaded at once, for what seldom has more: `None` if it does.
#[inline(always)]
pub(crate) fn get_short(bytes: &[u8], at: &mut usize) -> Option<u32> {
    let word = u32::from_le_bytes(*bytes.get(*at..)?.first_chunk()?);
    let last = !word & 0x8080_8080;
    if last == 0 {
        return None;
    }
    *at += last.trailing_zeros() as usize / 8 + 1;
    let groups = word & (last ^ (last - 1)) & 0x7f7f_7f7f;
    let pairs = (groups & 0x007f_007f) | (groups & 0x7f00_7f00) >> 1;
    Some((pairs & 0x3fff) | (pairs & 0x3fff_0000) >> 2)
}

fn get_slowly(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let mut value = 0u64;
    for i in 0..MAX_LEN {
        let byte = *bytes.get(*at + i)?;
        let group = u64::from(byte & 0x7f);
        if i == MAX_LEN - 1 && group > 1 {
            return None;
        }
        value |= group << (7 * i);
        if byte < 0x80 {
            *at += i + 1;
            return Some(value);
        }
    }
    None
}

/// A signed number as an unsigned one, small ones of either sign as small ones: 0, -1, 1, -2 as
/// 0, 1, 2, 3.
pub(crate) fn zigzag(value: i64) -> u64 {
    (value << 1 ^ value >> 63) as u64
}

/// And back.
#[inline]
pub(crate) fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

#[cfg(test)]
mod tests {
    #[test]
    fn signed_numbers_round_trip() {
        for value in [0, -1, 1, 63, -64, 64, -65, i64::MAX, i64::MIN] {
            assert_eq!(super::unzigzag(super::zigzag(value)), value);
            assert_eq!(super::zigzag(value) < 128, (-64..64).contains(&value));
        }
    }

    #[test]
    fn every_length_round_trips_and_is_predicted() {
        for shift in 0..64 {
            for value in [1u64 << shift, (1u64 << shift) - 1, u64::MAX >> shift] {
                let mut bytes = Vec::new();
                super::put(&mut bytes, value);
                assert_eq!(bytes.len(), super::len(value));
                let mut at = 0;
                assert_eq!(super::get(&bytes, &mut at), Some(value));
                assert_eq!(at, bytes.len());
                assert_eq!(super::get(&bytes[..bytes.len() - 1], &mut 0), None);
                for behind in [0, 0x7f, 0x80, 0xff] {
                    let mut at = 0;
                    let found = super::get_in(&[&bytes[..], &[behind; 8]].concat(), &mut at);
                    let fits = bytes.len() <= 8;
                    assert_eq!(found, fits.then_some(value));
                    assert_eq!(at, if fits { bytes.len() } else { 0 });
                    let mut at = 0;
                    let found = super::get_short(&[&bytes[..], &[behind; 4]].concat(), &mut at);
                    let fits = bytes.len() <= 4;
                    assert_eq!(found, fits.then_some(value as u32));
                    assert_eq!(at, if fits { bytes.len() } else { 0 });
                }
            }
        }
        assert_eq!(super::get(&[0xff; 11], &mut 0), None);
    }
}
