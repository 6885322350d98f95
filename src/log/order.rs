//! Sorting ids where they lie.

use std::cmp::Ordering;

use crate::format::alphabet::{Codes, HEAD_LEN};

/// The numbers below `count` in the order of the texts that they stand for, which have no other
/// characters than those of `codes`; those of the same text as `same` has them.
///
/// The texts lie scattered in memory, so that looking at two of them costs more than anything else.
/// What is sorted is the codes of each one's first characters, joined, with its number behind them:
/// one integer. Only where those characters do not tell are the texts themselves compared.
pub(super) fn by_text<'a>(
    count: usize,
    codes: &Codes,
    text: impl Fn(u32) -> &'a [u8],
    same: impl Fn(u32, u32) -> Ordering,
) -> Vec<u32> {
    let number_bits = usize::BITS - count.leading_zeros();
    // What has no room beside a number is of the last characters.
    let room = u64::BITS - number_bits;
    let spare = (HEAD_LEN as u32 * codes.bits).saturating_sub(room);
    let number = |key: u64| (key & ((1 << number_bits) - 1)) as u32;
    let key = |at: u32| codes.head(text(at)) >> spare << number_bits | u64::from(at);
    let mut keys: Vec<u64> = (0..count as u32).map(key).collect();
    sort(&mut keys, number_bits);
    let tied = |a: &u64, b: &u64| a >> number_bits == b >> number_bits;
    for tie in keys.chunk_by_mut(tied).filter(|tie| tie.len() > 1) {
        tie.sort_unstable_by(|a, b| {
            let (a, b) = (number(*a), number(*b));
            text(a).cmp(text(b)).then_with(|| same(a, b))
        });
    }
    keys.into_iter().map(number).collect()
}

/// Fewer are sorted sooner by comparing them.
const MIN_FOR_DIGITS: usize = 1024;
/// A digit's counts fit in the innermost cache.
const DIGIT_BITS: u32 = 11;

/// Sorts integers that ascend in their lowest `sorted_bits`: by one digit after another, from the
/// lowest one that is not the same in all of them.
fn sort(keys: &mut Vec<u64>, sorted_bits: u32) {
    if keys.len() < MIN_FOR_DIGITS {
        return keys.sort_unstable();
    }
    let differ = keys.iter().fold(0, |differ, key| differ | key ^ keys[0]);
    let mut sorted = vec![0; keys.len()];
    let mut shift = sorted_bits;
    while let Some(left) = differ.checked_shr(shift).filter(|left| *left != 0) {
        shift += left.trailing_zeros();
        let digit = |key: u64| (key >> shift) as usize % (1 << DIGIT_BITS);
        let mut places = [0u32; 1 << DIGIT_BITS];
        keys.iter().for_each(|key| places[digit(*key)] += 1);
        let mut next = 0;
        places.iter_mut().for_each(|place| next += std::mem::replace(place, next));
        for key in keys.iter() {
            let place = &mut places[digit(*key)];
            sorted[*place as usize] = *key;
            *place += 1;
        }
        std::mem::swap(keys, &mut sorted);
        shift += DIGIT_BITS;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::alphabet::Alphabet;

    /// Few texts and many, alphabets whose codes have from 1 to 8 bits, short texts, empty ones,
    /// and many that are the same.
    #[test]
    fn texts_are_sorted_as_comparing_them_sorts_them() {
        let mut random = 0x9e37_79b9_7f4a_7c15u64;
        let mut below = |n: usize| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            (random % n as u64) as usize
        };
        for size in [1, 2, 3, 10, 16, 17, 32, 33, 64, 65, 128, 129, 255] {
            for (count, len) in [(0, 1), (1, 4), (300, 3), (2000, 2), (3000, 30)] {
                let byte = |n: usize| (n * 255 / size) as u8;
                let one = |below: &mut dyn FnMut(usize) -> usize| -> Vec<u8> {
                    (0..below(len + 1)).map(|_| byte(below(size))).collect()
                };
                let texts: Vec<Vec<u8>> = (0..count).map(|_| one(&mut below)).collect();
                let codes = Alphabet::of(texts.iter().map(|text| &text[..])).codes();
                let text = |at: u32| &*texts[at as usize];
                let sorted = by_text(count, &codes, text, |a, b| b.cmp(&a));
                let mut expected: Vec<u32> = (0..count as u32).collect();
                expected.sort_by(|a, b| text(*a).cmp(text(*b)).then(b.cmp(a)));
                assert_eq!(sorted, expected, "{count} of {size} characters");
            }
        }
    }
}
