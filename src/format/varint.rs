//! Unsigned integers in base 128, least significant group first, as Protobuf writes them.

/// The most bytes a `u64` takes.
pub(crate) const MAX_LEN: usize = 10;

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
pub(crate) fn get(bytes: &[u8], at: &mut usize) -> Option<u64> {
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
            }
        }
        assert_eq!(super::get(&[0xff; 11], &mut 0), None);
    }
}
