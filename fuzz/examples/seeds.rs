//! Writes a few small seeds per target into `corpus/`, from where the fuzzers start:
//! `cargo run --example seeds`.

use std::fs;
use std::path::Path;

use kindlog::disk::sim::SimDisk;
use kindlog::fuzzing::{self, Frame};
use kindlog_fuzz::image;

fn main() -> std::io::Result<()> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let (record, manifest, print) = (record(), manifest(), print());
    for (target, seeds) in [
        ("record", record),
        ("manifest", manifest),
        ("print", print),
        ("hint", hint()),
        ("open", plans()),
        ("verbs", plans()),
    ] {
        let directory = corpus.join(target);
        fs::create_dir_all(&directory)?;
        for (i, seed) in seeds.iter().enumerate() {
            fs::write(directory.join(format!("seed-{i}")), seed)?;
        }
        println!("{}: {} seeds", directory.display(), seeds.len());
    }
    Ok(())
}

/// Frames of every type, alone and as a commit; their checksums are made right by the target.
fn record() -> Vec<Vec<u8>> {
    let frame = Frame {
        frame_type: 1,
        internal: false,
        revision: 300,
        time: 1_700_000_000_000_000,
        kind: b"Agent",
        id: b"agent-123",
        value: b"\x0a\x05Maria",
        watermark: None,
        left: 0,
        start: true,
        sync: true,
        len: 0,
    };
    let bare = Frame { kind: b"", id: b"", value: b"", watermark: Some(0), ..frame };
    let frames = [
        vec![frame],
        vec![Frame { frame_type: 2, value: b"", watermark: Some(64), ..frame }],
        vec![Frame { frame_type: 3, id: b"", value: b"", ..frame }],
        vec![Frame { frame_type: 4, ..bare }],
        vec![Frame { frame_type: 5, ..bare }],
        vec![Frame { left: 48, ..frame }, Frame { start: false, left: 0, id: b"b", ..frame }],
    ];
    let position = 4096_u64;
    let seed = |frames: &Vec<Frame<'_>>| {
        let mut seed = vec![1];
        seed.extend((position * 2).to_le_bytes());
        for frame in frames {
            seed.extend(fuzzing::encode_frame(frame, 0, position));
        }
        seed
    };
    frames.iter().map(seed).collect()
}

/// Manifests and headers of real stores, in every mode.
fn manifest() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for image in image::images().iter().take(3) {
        let file = |name: &str| image.files.iter().find(|(n, _)| n.ends_with(name)).map(|(_, b)| b);
        let manifest = file("MANIFEST").expect("every store has one");
        seeds.push([&[0], &manifest[..]].concat());
        seeds.push([&[1], &manifest[32..]].concat());
        seeds.push([&[2], &manifest[..]].concat());
        let header = file(".seg").or(file("TAIL")).expect("it has one");
        seeds.push([&[3], &header[..72]].concat());
    }
    seeds.push([&[4], &[1; 200][..]].concat());
    seeds
}

/// Hints of real stores, in every mode.
fn hint() -> Vec<Vec<u8>> {
    let images = image::images().iter();
    let files = images.flat_map(|image| &image.files).filter(|(name, _)| name.ends_with(".hint"));
    let mut seeds = Vec::new();
    for (_, file) in files {
        let length = u16::from_le_bytes([file[48], file[49]]) / 8;
        seeds.push([&[0], &file[..]].concat());
        seeds.push([&[1], &length.to_le_bytes()[..], &file[104..]].concat());
        seeds.push([&[2], &file[..]].concat());
    }
    seeds
}

fn print() -> Vec<Vec<u8>> {
    let values: [&[u8]; 6] = [
        b"\x08\x96\x01\x12\x05a\"b\\c\x1a\x02\x08\x01",
        b"\x33\x08\x01\x34\x39\x00\x00\x00\x00\x00\x00\xf8\x3f",
        b"\x0a\x06\x08\x80\xc8\xaf\xa0\x06",
        b"hello\n",
        b"\x08\x01\x07\xff",
        b"\x2a\x04\x0a\x00\x14\x01",
    ];
    let lines: [&[u8]; 2] = [
        b"{\"kind\":\"K\",\"id\":\"a\\/b\",\"data\":\"AAE=\"}\n\n{\"kind\":\"K\",\"id\":7}",
        b"{\"x\":[{}],\"data\":\"\",\"id\":\"\\u00e9\",\"kind\":\"K\",\"revision\":1}\r\n",
    ];
    let messages: [&[u8]; 1] = [b"\x0a\x0a\x01K\x12\x01c\x1a\x02xy\x02\x0a\x00"];
    let mode = |mode: u8| move |bytes: &&[u8]| [&[mode], *bytes].concat();
    let values = values.iter().map(mode(0));
    values.chain(lines.iter().map(mode(1))).chain(messages.iter().map(mode(2))).collect()
}

/// Bytes to draw plans from: different, the same every time.
fn plans() -> Vec<Vec<u8>> {
    let draw = |seed: u64, len: usize| {
        let mut state = seed;
        let next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        };
        std::iter::repeat_with(next).take(len).collect()
    };
    // Opening once shows that the images can be built before an hour of fuzzing does.
    let disk = SimDisk::new();
    image::images()[0].files.iter().for_each(|(name, bytes)| disk.write_file(name, bytes));
    image::options().open_on(&disk).expect("a sound store");
    (1..=12).map(|i| draw(i, 40 * i as usize)).collect()
}
