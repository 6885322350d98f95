//! Manifests and file headers, from any bytes, from any payload, and from fields: what contradicts
//! itself is refused, what is accepted reads back, and nothing is allocated that isn't there.

#![no_main]

use arbitrary::{Arbitrary, Unstructured};
use kindlog::fuzzing;
use kindlog_fuzz::{alloc, seal};
use libfuzzer_sys::fuzz_target;
use prost::Message;

#[allow(dead_code)]
#[rustfmt::skip]
#[path = "../../src/format/manifest_proto.rs"]
mod proto;

/// A manifest as the fuzzer builds it.
#[derive(Arbitrary, Debug)]
struct Plan {
    id_len: u8,
    ceiling: u64,
    watermark: u64,
    next_segment: u32,
    next_position: u64,
    clean: bool,
    tail: bool,
    /// Taken as they are, or made to follow each other.
    sound: bool,
    segments: Vec<PlannedSegment>,
}

#[derive(Arbitrary, Debug)]
struct PlannedSegment {
    number: u32,
    salt: u64,
    base: u64,
    capacity: u64,
    sealed: Option<(u64, u32, u64, u64)>,
    kind: Option<(String, String)>,
}

fuzz_target!(|data: &[u8]| {
    let Some((mode, rest)) = data.split_first() else { return };
    match mode % 5 {
        0 => drop(decode(rest)),
        1 => drop(decode(&seal::manifest_file(rest))),
        2 => {
            let mut file = rest.to_vec();
            seal::seal_manifest(&mut file);
            drop(decode(&file));
        }
        3 => headers(rest),
        _ => {
            let Ok(plan) = Plan::arbitrary(&mut Unstructured::new(rest)) else { return };
            let manifest = build(plan);
            let file = seal::manifest_file(&manifest.encode_to_vec());
            let decoded = decode(&file);
            assert_eq!(decoded.is_some(), makes_sense(&manifest), "{manifest:?}");
            if let Some(decoded) = decoded {
                assert_eq!(decoded, manifest);
            }
        }
    }
});

/// What decodes encodes to a file that decodes to the same.
fn decode(file: &[u8]) -> Option<proto::Manifest> {
    let (decoded, allocated) = alloc::counted(|| fuzzing::decode_manifest(file));
    // An empty segment takes two bytes of the file, and some hundred in memory.
    assert!(allocated <= (1 << 16) + file.len() * 512, "{allocated} for {}", file.len());
    let again = decoded.ok()?;
    assert_eq!(fuzzing::decode_manifest(&again).as_ref(), Ok(&again));
    let manifest = proto::Manifest::decode(&again[32..]).expect("just encoded");
    assert!(makes_sense(&manifest), "{manifest:?}");
    Some(manifest)
}

fn headers(bytes: &[u8]) {
    let mut bytes = bytes.to_vec();
    for fields_len in [48, 24] {
        let ((segment, tail), allocated) = alloc::counted(|| {
            (fuzzing::decode_segment_header(&bytes), fuzzing::decode_tail_header(&bytes))
        });
        assert!(allocated <= 4096);
        if let Ok((again, first)) = segment {
            assert!(first <= bytes.len() as u64 && first.is_multiple_of(8));
            assert_eq!(fuzzing::decode_segment_header(&again), Ok((again.clone(), 72)));
            assert_eq!(again[24..68], bytes[24..68]);
        }
        if let Ok((id, len)) = tail {
            assert_eq!(
                (&id[..], len.to_le_bytes()),
                (&bytes[24..40], bytes[40..48].try_into().unwrap())
            );
        }
        seal::seal_header(&mut bytes, fields_len);
    }
}

fn build(plan: Plan) -> proto::Manifest {
    let mut position = 0_u64;
    let mut segments = Vec::new();
    for (i, planned) in plan.segments.iter().take(40).enumerate() {
        let kinds = planned.kind.iter().map(|(kind, id)| proto::KindRange {
            kind: kind.clone(),
            first_id: id.clone(),
            last_id: id.clone(),
        });
        let sealed = planned.sealed.map(|(length, digest, records, revision)| proto::Sealed {
            length,
            digest,
            records,
            first_put_revision: revision,
            last_put_revision: revision,
            kinds: kinds.collect(),
            ordered: records % 2 == 1,
        });
        let mut segment = proto::Segment {
            number: planned.number,
            salt: planned.salt,
            base: planned.base,
            capacity: planned.capacity,
            sealed,
        };
        if plan.sound {
            segment.number = i as u32;
            segment.base = position + planned.base % 4096 * 8;
            segment.capacity = 72 + planned.capacity % (1 << 17) * 8;
            if let Some(sealed) = &mut segment.sealed {
                sealed.length = 72 + sealed.length % (segment.capacity - 71);
                sealed.length -= sealed.length % 8;
            }
            position = (segment.base + segment.capacity).next_multiple_of(8);
        }
        segments.push(segment);
    }
    let mut manifest = proto::Manifest {
        store_id: vec![7; usize::from(plan.id_len)],
        revision_ceiling: plan.ceiling,
        watermark: plan.watermark,
        next_segment: plan.next_segment,
        next_position: plan.next_position,
        clean: plan.clean,
        segments,
        tail: plan.tail,
    };
    if plan.sound {
        manifest.store_id.resize(16, 1);
        manifest.next_segment = 40 + plan.next_segment % 1000;
        manifest.next_position = position + plan.next_position % 4096 * 8;
        manifest.watermark = plan.watermark % (manifest.next_position + 1) / 8 * 8;
        manifest.revision_ceiling = plan.ceiling % (1 << 62);
    }
    manifest
}

/// The rules, as the format states them.
fn makes_sense(manifest: &proto::Manifest) -> bool {
    let mut end = 0_u128;
    for segment in &manifest.segments {
        let (base, capacity) = (u128::from(segment.base), u128::from(segment.capacity));
        let sealed = segment.sealed.as_ref().map_or(72, |sealed| u128::from(sealed.length));
        if base < end
            || base % 8 != 0
            || !(72..=8 << 32).contains(&capacity)
            || capacity % 8 != 0
            || segment.number >= manifest.next_segment
            || !(72..=capacity).contains(&sealed)
            || sealed % 8 != 0
        {
            return false;
        }
        end = base + capacity;
    }
    let numbers: std::collections::BTreeSet<_> =
        manifest.segments.iter().map(|s| s.number).collect();
    numbers.len() == manifest.segments.len()
        && manifest.store_id.len() == 16
        && end <= u128::from(manifest.next_position)
        && manifest.next_position <= 1 << 62
        && manifest.next_position.is_multiple_of(8)
        && manifest.watermark.is_multiple_of(8)
        && manifest.next_segment < u32::MAX
        && manifest.revision_ceiling <= 1 << 62
}
