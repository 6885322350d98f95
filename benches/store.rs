//! Quick figures for comparing two commits: put, get, scan, open. Run with `cargo bench`.
//!
//! Keys are `Kind/prefix-ULID` of 40 bytes over 8 kinds, values 200 bytes. Comparisons with other
//! stores are a package of their own.
#![allow(missing_docs)]

use std::hint::black_box;
use std::path::Path;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use kindlog::{Batch, Durability, Options, Store};

const KEYS: u64 = 100_000;
const KINDS: [&str; 8] =
    ["Agent00", "Session", "Workfl1", "Workfl2", "Execut1", "Execut2", "LogChnk", "Project"];

/// Numbers that look random, the same in every run.
fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

fn key(i: u64) -> (&'static str, String) {
    (KINDS[(i % 8) as usize], format!("rsrc-01J{:07X}{:016X}", i / 8, mix(i)))
}

fn value(i: u64) -> [u8; 200] {
    let mut value = [b'p'; 200];
    for (word, chunk) in value[..100].chunks_mut(8).enumerate() {
        let bytes = mix(i * 31 + word as u64).to_le_bytes();
        chunk.copy_from_slice(&bytes[..chunk.len()]);
    }
    value
}

fn open(dir: &Path, durability: Durability) -> Store {
    Options::new().durability(durability).open(dir).expect("open")
}

fn filled(dir: &Path) -> Store {
    let store = open(dir, Durability::Os);
    for i in 0..KEYS {
        let (kind, id) = key(i);
        store.put(kind, &id, value(i)).expect("put");
    }
    store
}

fn puts(c: &mut Criterion) {
    let mut group = c.benchmark_group("put");
    for (name, durability, random) in [
        ("os, in order", Durability::Os, false),
        ("os, at random", Durability::Os, true),
        ("sync", Durability::Sync, false),
    ] {
        let dir = tempfile::tempdir().expect("a directory");
        let store = open(dir.path(), durability);
        let mut i = 0;
        group.throughput(Throughput::Elements(1));
        group.bench_function(name, |b| {
            b.iter(|| {
                let (kind, id) = key(if random { mix(i) % (1 << 22) } else { i });
                store.put(kind, &id, value(i)).expect("put");
                i += 1;
            });
        });
    }
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path(), Durability::Os);
    let mut i = 0;
    group.throughput(Throughput::Elements(100));
    group.bench_function("os, batch of 100", |b| {
        b.iter(|| {
            let mut batch = Batch::new();
            for _ in 0..100 {
                let (kind, id) = key(mix(i) % (1 << 22));
                batch.put(kind, &id, value(i));
                i += 1;
            }
            store.commit(batch).expect("commit");
        });
    });
    group.finish();
}

fn reads(c: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a directory");
    let store = filled(dir.path());
    let mut group = c.benchmark_group("get");
    let mut i = 0;
    group.throughput(Throughput::Elements(1));
    group.bench_function("at random", |b| {
        b.iter(|| {
            i += 1;
            let (kind, id) = key(mix(i) % KEYS);
            black_box(store.get_resource(kind, &id).expect("get").expect("there"));
        });
    });
    group.bench_function("missing", |b| {
        b.iter(|| {
            i += 1;
            let (kind, id) = key(KEYS + mix(i) % KEYS);
            assert!(store.get_resource(kind, &id).expect("get").is_none());
        });
    });
    group.finish();

    let mut group = c.benchmark_group("scan");
    group.throughput(Throughput::Elements(KEYS / 8));
    group.bench_function("a kind", |b| {
        b.iter(|| store.scan(KINDS[0]).iter().map(|r| r.expect("read").data.len()).sum::<usize>());
    });
    group.bench_function("a kind, keys only", |b| b.iter(|| store.scan(KINDS[0]).keys().count()));
    group.throughput(Throughput::Elements(1));
    group.bench_function("100 from a random key", |b| {
        b.iter(|| {
            i += 1;
            let (kind, id) = key(mix(i) % KEYS);
            store.scan(kind).after(&id).limit(100).iter().count()
        });
    });
    group.finish();
}

fn opens(c: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a directory");
    drop(filled(dir.path()));
    let mut group = c.benchmark_group("open");
    group.sample_size(20).throughput(Throughput::Elements(KEYS));
    group.bench_function("after a clean close", |b| {
        b.iter_batched(|| (), |()| open(dir.path(), Durability::Os), BatchSize::PerIteration);
    });
    group.finish();
}

/// Short, so that all of it takes about half a minute.
fn quick() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
}

criterion_group! {
    name = benches;
    config = quick();
    targets = puts, reads, opens
}
criterion_main!(benches);
