//! The manifest file: which segments the store consists of, and what must outlive a crash.
//!
//! ```text
//! 24  4  payload length in bytes
//! 28  4  CRC-32 of the payload
//!     .. the payload, a `kindlog.v1.Manifest`; the file ends with it
//! ```

use prost::Message;

pub(crate) use super::manifest_proto::{KindRange, Manifest, Sealed, Segment as SegmentEntry};

use super::file::{self, FileType, HeaderError};
use super::location::{SegmentId, UNIT};
use super::record::MAX_REVISION;
use super::segment::{HEADER_LEN, StoreId};

/// A segment has to fit the offsets of a [`super::location::Place`].
const MAX_CAPACITY: u64 = UNIT << 32;

impl Manifest {
    /// The manifest of a store that has just been born.
    pub(crate) fn new(store_id: StoreId) -> Manifest {
        Manifest { store_id: store_id.to_vec(), clean: true, ..Manifest::default() }
    }

    /// The store's id.
    pub(crate) fn store_id(&self) -> StoreId {
        self.store_id.as_slice().try_into().expect("checked when it was made or read")
    }

    /// Takes down that a segment is never written again.
    pub(crate) fn seal(&mut self, id: SegmentId, sealed: Sealed) {
        if let Some(entry) = self.segments.iter_mut().find(|entry| entry.id() == id) {
            entry.sealed = Some(sealed);
        }
    }

    /// The file's bytes.
    pub(crate) fn encode_file(&self) -> Vec<u8> {
        file::encode_message(FileType::Manifest, &self.encode_to_vec())
    }

    /// Reads a manifest and checks that it makes sense.
    pub(crate) fn decode_file(bytes: &[u8]) -> Result<Manifest, HeaderError> {
        let payload = file::decode_message(FileType::Manifest, bytes)?;
        let manifest = Manifest::decode(payload)
            .map_err(|_| HeaderError::Damaged("the manifest is no Protobuf message"))?;
        match manifest.check() {
            true => Ok(manifest),
            false => Err(HeaderError::Damaged("the manifest contradicts itself")),
        }
    }

    /// Whether it makes sense.
    pub(super) fn check(&self) -> bool {
        let mut position = 0;
        let ordered = self.segments.iter().all(|segment| {
            let aligned =
                segment.base.is_multiple_of(UNIT) && segment.capacity.is_multiple_of(UNIT);
            let follows = segment.base >= position && aligned;
            position = segment.base.saturating_add(segment.capacity);
            let fits = (HEADER_LEN..=MAX_CAPACITY).contains(&segment.capacity);
            follows && fits && segment.number < self.next_segment && segment.check_sealed()
        });
        let mut numbers: Vec<u32> = self.segments.iter().map(|s| s.number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        ordered
            && numbers.len() == self.segments.len()
            && self.store_id.len() == 16
            && position <= self.next_position
            && self.next_segment < u32::MAX
            && self.revision_ceiling <= MAX_REVISION
            && self.next_position <= 1 << 62
            && self.next_position.is_multiple_of(UNIT)
            && self.watermark.is_multiple_of(UNIT)
    }
}

impl SegmentEntry {
    /// The segment's number.
    pub(crate) fn id(&self) -> SegmentId {
        SegmentId(self.number)
    }

    fn check_sealed(&self) -> bool {
        self.sealed.as_ref().is_none_or(|sealed| {
            sealed.length.is_multiple_of(UNIT)
                && (HEADER_LEN..=self.capacity).contains(&sealed.length)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_and_every_truncation_is_refused() {
        let mut manifest = Manifest::new([7; 16]);
        manifest.next_segment = 2;
        manifest.next_position = 1 << 20;
        manifest.segments =
            vec![SegmentEntry { number: 1, salt: 3, base: 8, capacity: 4096, sealed: None }];
        let bytes = manifest.encode_file();
        assert_eq!(Manifest::decode_file(&bytes).unwrap(), manifest);
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(Manifest::decode_file(&damaged).is_err(), "bit {bit}");
        }
        for len in 0..bytes.len() {
            assert!(Manifest::decode_file(&bytes[..len]).is_err(), "length {len}");
        }
    }

    #[test]
    fn contradictions_are_refused() {
        let entry =
            |number, base| SegmentEntry { number, salt: 3, base, capacity: 4096, sealed: None };
        let with = |segments| Manifest {
            next_segment: 2,
            next_position: 8192,
            segments,
            ..Manifest::new([7; 16])
        };
        assert!(
            Manifest::decode_file(&with(vec![entry(0, 0), entry(1, 4096)]).encode_file()).is_ok()
        );
        for bad in [
            vec![entry(0, 0), entry(0, 4096)],
            vec![entry(1, 4096), entry(0, 0)],
            vec![entry(0, 0), entry(1, 4088)],
            vec![entry(2, 0)],
            vec![entry(1, 4104)],
            vec![entry(1, 4)],
        ] {
            assert!(Manifest::decode_file(&with(bad).encode_file()).is_err());
        }
    }
}
