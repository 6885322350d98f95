//! Numbers of a few bits each, one behind the other, the lowest bit of each first.

/// So many bits are there from any place in a [`window`].
pub(crate) const WINDOW_BITS: u32 = 57;

/// Appends numbers of any width to bytes.
#[derive(Debug, Default)]
pub(crate) struct BitWriter {
    out: Vec<u8>,
    /// Bits that wait until there are 64 of them, and how many.
    pending: u64,
    count: u32,
}

impl BitWriter {
    /// Appends the lowest `width` bits of a number that has no others.
    #[inline]
    pub(crate) fn put(&mut self, value: u64, width: u32) {
        debug_assert!(width <= 64 && value & !mask(width) == 0);
        self.pending |= value << self.count;
        self.count += width;
        if self.count >= 64 {
            self.out.extend_from_slice(&self.pending.to_le_bytes());
            self.count -= 64;
            // What had no place; nothing if all of it had.
            self.pending = value.checked_shr(width - self.count).unwrap_or(0);
        }
    }

    /// Goes on at the next whole byte; what is left of this one is zeros.
    pub(crate) fn align(&mut self) {
        let bytes = self.pending.to_le_bytes();
        self.out.extend_from_slice(&bytes[..self.count.div_ceil(8) as usize]);
        (self.pending, self.count) = (0, 0);
    }

    /// The bytes. Nothing but whole ones is there.
    pub(crate) fn bytes(&mut self) -> &mut Vec<u8> {
        debug_assert_eq!(self.count, 0);
        &mut self.out
    }
}

/// The bits from the place `at` on: [`WINDOW_BITS`] of them, zeros behind the last byte. What is
/// above them is to be masked.
#[inline]
pub(crate) fn window(bytes: &[u8], at: usize) -> u64 {
    let (byte, shift) = (at / 8, at % 8);
    let word = match bytes.get(byte..byte + 8) {
        Some(eight) => u64::from_le_bytes(eight.try_into().expect("eight bytes")),
        None => {
            let mut eight = [0; 8];
            let rest = bytes.get(byte..).unwrap_or_default();
            eight[..rest.len()].copy_from_slice(rest);
            u64::from_le_bytes(eight)
        }
    };
    word >> shift
}

/// The lowest `width` bits, all set.
#[inline]
pub(crate) fn mask(width: u32) -> u64 {
    if width >= 64 { u64::MAX } else { (1 << width) - 1 }
}

/// Reads a number of `width` bits at the place `*at`, and moves on behind it.
#[inline]
pub(crate) fn get(bytes: &[u8], at: &mut usize, width: u32) -> u64 {
    if width > WINDOW_BITS {
        let low = get(bytes, at, 32);
        return low | get(bytes, at, width - 32) << 32;
    }
    let value = window(bytes, *at) & mask(width);
    *at += width as usize;
    value
}

/// How many bits a number takes.
pub(crate) fn width(value: u64) -> u32 {
    64 - value.leading_zeros()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_every_width_are_read_as_they_were_written() {
        let numbers: Vec<(u64, u32)> = (0..=64)
            .flat_map(|width| [(0, width), (mask(width), width), (mask(width) / 3, width)])
            .collect();
        let mut writer = BitWriter::default();
        for (i, (value, width)) in numbers.iter().enumerate() {
            writer.put(*value, *width);
            if i % 50 == 49 {
                writer.align();
            }
        }
        writer.align();
        let (bytes, mut at) = (writer.bytes().clone(), 0);
        for (i, (value, width)) in numbers.iter().enumerate() {
            assert_eq!(get(&bytes, &mut at, *width), *value, "{i}");
            if i % 50 == 49 {
                at = at.next_multiple_of(8);
            }
        }
        assert_eq!(at.div_ceil(8), bytes.len());
        assert_eq!((window(&bytes, at + 7), window(&bytes, usize::MAX / 8 * 8)), (0, 0));
        assert_eq!((width(0), width(1), width(255), width(u64::MAX)), (0, 1, 8, 64));
    }
}
