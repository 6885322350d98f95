//! The characters that a kind's ids consist of, so that each takes few bits.
//!
//! ```text
//! alphabet = size { character }
//! ```
//!
//! `size` is a byte, and the characters are bytes in ascending order. A character is told by its
//! place among them, in as many bits as the last place takes, at least one: 4 of hex, 5 of a ULID,
//! 6 of base 64. With more than 128 characters, `size` is 0 and none of them is there: then a
//! character is told by itself, in 8 bits.

use super::bits::{BitWriter, WINDOW_BITS, mask, width, window};
use super::entries::Malformed;

/// A larger alphabet would save nothing.
const MAX_SIZE: usize = 128;

/// Characters of a text's head. Their codes fit in an integer.
pub(crate) const HEAD_LEN: usize = 8;

/// Which bytes there are.
#[derive(Clone, Debug)]
pub(crate) struct Alphabet {
    there: [bool; 256],
}

impl Alphabet {
    /// That of these strings.
    pub(crate) fn of<'a>(strings: impl Iterator<Item = &'a [u8]>) -> Alphabet {
        let mut there = [false; 256];
        for string in strings {
            let (eights, rest) = string.as_chunks::<8>();
            for eight in eights {
                eight.iter().for_each(|byte| there[usize::from(*byte)] = true);
            }
            rest.iter().for_each(|byte| there[usize::from(*byte)] = true);
        }
        Alphabet { there }
    }

    /// How its characters are written.
    pub(crate) fn codes(&self) -> Codes {
        let there = |byte: &u8| self.there[usize::from(*byte)];
        let mut characters: Vec<u8> = (0..=255).filter(there).collect();
        if characters.len() > MAX_SIZE {
            characters.clear();
        }
        let size = if characters.is_empty() { 256 } else { characters.len() };
        let mut codes: [u8; 256] = std::array::from_fn(|byte| byte as u8);
        for (code, character) in characters.iter().enumerate() {
            codes[usize::from(*character)] = code as u8;
        }
        Codes { characters, bits: bits(size), codes }
    }
}

fn bits(size: usize) -> u32 {
    width(size.saturating_sub(1) as u64).max(1)
}

/// How characters are written. Their codes are in the order that they are in themselves.
#[derive(Debug)]
pub(crate) struct Codes {
    /// None if each byte is its own code.
    characters: Vec<u8>,
    pub(crate) bits: u32,
    codes: [u8; 256],
}

impl Codes {
    /// Writes the alphabet.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.characters.len() as u8);
        out.extend_from_slice(&self.characters);
    }

    /// The code of a character.
    #[inline]
    pub(crate) fn of(&self, character: u8) -> u64 {
        u64::from(self.codes[usize::from(character)])
    }

    /// The codes of the first [`HEAD_LEN`] characters, the first one on top; zeros where there are
    /// fewer.
    #[inline]
    pub(crate) fn head(&self, characters: &[u8]) -> u64 {
        let Some(head) = characters.first_chunk::<HEAD_LEN>() else {
            let codes = self.join_slowly(characters.iter());
            return codes.unbounded_shl(self.bits * (HEAD_LEN - characters.len()) as u32);
        };
        match self.bits {
            4 => self.join::<4>(head.iter()),
            5 => self.join::<5>(head.iter()),
            6 => self.join::<6>(head.iter()),
            _ => self.join_slowly(head.iter()),
        }
    }

    /// Writes the codes of characters.
    #[inline]
    pub(super) fn put(&self, characters: &[u8], out: &mut BitWriter) {
        match self.bits {
            4 => self.put_all::<4>(characters, out),
            5 => self.put_all::<5>(characters, out),
            6 => self.put_all::<6>(characters, out),
            bits => characters.iter().for_each(|character| out.put(self.of(*character), bits)),
        }
    }

    #[inline]
    fn put_all<const BITS: u32>(&self, characters: &[u8], out: &mut BitWriter) {
        let (pieces, rest) = characters.as_chunks::<8>();
        for piece in pieces {
            out.put(self.join::<BITS>(piece.iter().rev()), 8 * BITS);
        }
        out.put(self.join::<BITS>(rest.iter().rev()), rest.len() as u32 * BITS);
    }

    /// Codes, one behind the other, the first one on top.
    fn join_slowly<'a>(&self, characters: impl Iterator<Item = &'a u8>) -> u64 {
        characters.fold(0, |word, character| word << self.bits | self.of(*character))
    }

    /// The same, quicker: by how much each is shifted the compiler knows.
    #[inline]
    fn join<'a, const BITS: u32>(&self, characters: impl Iterator<Item = &'a u8>) -> u64 {
        characters.fold(0, |word, character| word << BITS | self.of(*character))
    }
}

/// Whether an alphabet, which `bytes` begin with, is ASCII without control characters.
pub(super) fn is_plain(bytes: &[u8]) -> bool {
    Characters::decode(bytes, 0).is_ok_and(|(characters, _)| characters.plain)
}

/// What codes stand for.
#[derive(Debug)]
pub(super) struct Characters {
    bits: u32,
    /// Codes that stand for nothing are 0, which is no character of an id.
    characters: [u8; 256],
    /// Two characters at a time, where that pays: by the codes of both. With [`NOTHING`] where one
    /// of the codes stands for nothing.
    pairs: Vec<u16>,
    /// The last code.
    last: u8,
    /// So many characters are taken from a window, an even number.
    per_window: usize,
    /// All of them are ASCII, and no control characters.
    pub(super) plain: bool,
}

/// So many entries pay for a table of pairs, if it has no more than 2^12 of them.
const MIN_FOR_PAIRS: u64 = 256;
const MAX_BITS_OF_PAIRS: u32 = 6;
/// In no pair of ASCII characters.
const NOTHING: u16 = 0x8080;

impl Characters {
    /// Reads an alphabet of so many ids, and says how many bytes it takes.
    pub(super) fn decode(bytes: &[u8], ids: u64) -> Result<(Characters, usize), Malformed> {
        let size = usize::from(*bytes.first().ok_or(Malformed)?);
        let there = bytes.get(1..1 + size).ok_or(Malformed)?;
        let mut characters = [0; 256];
        if size > MAX_SIZE || !there.is_sorted_by(|a, b| a < b) || there.first() == Some(&0) {
            return Err(Malformed);
        }
        match size {
            0 => (0..=255).for_each(|byte| characters[usize::from(byte)] = byte),
            _ => characters[..size].copy_from_slice(there),
        }
        let plain = size > 0 && there.iter().all(|byte| (b' '..=b'~').contains(byte));
        let bits = bits(if size == 0 { 256 } else { size });
        let per_window = (WINDOW_BITS / bits / 2 * 2) as usize;
        let (last, pairs) = (mask(bits) as u8, Vec::new());
        let mut read = Characters { bits, characters, pairs, last, per_window, plain };
        if plain && bits <= MAX_BITS_OF_PAIRS && ids >= MIN_FOR_PAIRS {
            read.pairs = read.all_pairs();
        }
        Ok((read, 1 + size))
    }

    fn all_pairs(&self) -> Vec<u16> {
        let codes = 0..1usize << self.bits;
        let two = |second: usize| {
            let second = u16::from(self.characters[second]);
            codes.clone().map(move |first| match (self.characters[first], second) {
                (0, _) | (_, 0) => NOTHING,
                (first, second) => u16::from(first) | second << 8,
            })
        };
        codes.clone().flat_map(two).collect()
    }

    /// How many bits so many characters take.
    pub(super) fn width(&self, characters: usize) -> usize {
        characters * self.bits as usize
    }

    /// Reads as many characters as there is room for, from the bit `at` on.
    #[inline]
    pub(super) fn read(
        &self,
        bytes: &[u8],
        mut at: usize,
        out: &mut [u8],
    ) -> Result<(), Malformed> {
        if self.pairs.is_empty() {
            return self.read_one_by_one(bytes, at, out);
        }
        let (both, last_pair) = (2 * self.bits, self.pairs.len() - 1);
        let mut seen = 0;
        for piece in out.chunks_mut(self.per_window) {
            let mut window = window(bytes, at);
            at += piece.len() * self.bits as usize;
            let mut pairs = piece.chunks_exact_mut(2);
            for pair in &mut pairs {
                let characters = self.pairs[window as usize & last_pair];
                seen |= characters;
                pair.copy_from_slice(&characters.to_le_bytes());
                window >>= both;
            }
            if let [odd] = pairs.into_remainder() {
                *odd = self.of(window);
                seen |= if *odd == 0 { NOTHING } else { 0 };
            }
        }
        if seen & NOTHING == 0 { Ok(()) } else { Err(Malformed) }
    }

    fn read_one_by_one(
        &self,
        bytes: &[u8],
        mut at: usize,
        out: &mut [u8],
    ) -> Result<(), Malformed> {
        let mut least = u8::MAX;
        for piece in out.chunks_mut(self.per_window) {
            let mut window = window(bytes, at);
            at += piece.len() * self.bits as usize;
            for character in piece {
                *character = self.of(window);
                least = least.min(*character);
                window >>= self.bits;
            }
        }
        if least > 0 { Ok(()) } else { Err(Malformed) }
    }

    /// What the lowest code of a window stands for; 0 if that is nothing.
    #[inline]
    fn of(&self, window: u64) -> u8 {
        self.characters[usize::from(window as u8 & self.last)]
    }
}
