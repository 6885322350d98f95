//! The data set: the same records, in the same orders, for every store and in every run.
//!
//! README.md defines all of it exactly, for programs in other languages; a change here is a change
//! there.

use prost::Message;

use crate::engine::{Key, Result};

/// The kinds, in order, and what their ids begin with: 12 bytes together, so that keys have 40.
pub const KINDS: [(&str, &str); 8] = [
    ("Agent", "agentid"),
    ("Execution", "exe"),
    ("LogChunk", "logc"),
    ("Project", "projt"),
    ("Schedule", "schd"),
    ("Secret", "secret"),
    ("Session", "sessn"),
    ("Workflow", "wflw"),
];
pub const KEY_LEN: usize = 40;
const POOL: u64 = 1024;
const BASE32: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const EPOCH_MS: u64 = 1_700_000_000_000;

/// Numbers that look random, the same in every run (splitmix64).
pub fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Keys in the order of their use, side by side: what a workload asks for next is in the cache, and
/// only the store's own misses are measured.
#[derive(Default)]
pub struct Keys {
    text: String,
    kind_lens: Vec<u8>,
}

impl Keys {
    pub fn of(records: impl IntoIterator<Item: Into<u64>>) -> Keys {
        let mut keys = Keys::default();
        records.into_iter().for_each(|record| keys.push(record.into()));
        keys
    }

    /// One key alone.
    pub fn one(record: u64) -> Keys {
        Keys::of([record])
    }

    /// Keys that are nowhere, each beside one that is: its last character is no digit of an id.
    pub fn missing(records: impl IntoIterator<Item = u64>) -> Keys {
        let mut keys = Keys::default();
        for record in records {
            keys.push(record);
            keys.text.pop();
            keys.text.push('_');
        }
        keys
    }

    fn push(&mut self, record: u64) {
        let (kind, prefix) = KINDS[(record % 8) as usize];
        for part in [kind, "/", prefix, "-"] {
            self.text.push_str(part);
        }
        let random = (u128::from(mix(2 * record)) << 16) | u128::from(mix(2 * record + 1) & 0xffff);
        base32(&mut self.text, u128::from(EPOCH_MS + record / 8), 10);
        base32(&mut self.text, random, 16);
        self.kind_lens.push(kind.len() as u8);
    }

    pub fn len(&self) -> usize {
        self.kind_lens.len()
    }

    pub fn get(&self, i: usize) -> Key<'_> {
        let joined = &self.text[i * KEY_LEN..(i + 1) * KEY_LEN];
        Key { joined, kind_len: usize::from(self.kind_lens[i]) }
    }

    pub fn iter(&self) -> impl Iterator<Item = Key<'_>> {
        (0..self.len()).map(|i| self.get(i))
    }
}

fn base32(text: &mut String, number: u128, digits: u32) {
    for digit in (0..digits).rev() {
        text.push(char::from(BASE32[(number >> (5 * digit)) as usize & 31]));
    }
}

/// `Kind/` of each kind, for what takes a whole one.
pub fn kinds() -> impl Iterator<Item = String> {
    KINDS.iter().map(|(kind, _)| format!("{kind}/"))
}

pub fn whole_kind(prefix: &str) -> Key<'_> {
    Key { joined: prefix, kind_len: prefix.len() - 1 }
}

/// The record numbers in the order of their keys.
pub fn in_order(records: u64) -> impl Iterator<Item = u64> {
    (0..8).flat_map(move |kind| (kind..records).step_by(8))
}

/// The record numbers at random: a shuffle of the order of keys.
pub fn shuffled(records: u64) -> Vec<u32> {
    let mut order: Vec<u32> = in_order(records).map(|record| record as u32).collect();
    for j in (1..order.len()).rev() {
        order.swap(j, (mix(j as u64) % (j as u64 + 1)) as usize);
    }
    order
}

/// What record numbers are drawn from: a stream of its own for each workload and thread.
#[derive(Clone, Copy)]
pub struct Stream(u64);

impl Stream {
    pub fn new(salt: u64, thread: u64) -> Stream {
        Stream((salt << 56) + (thread << 40))
    }

    pub fn at(self, i: u64) -> u64 {
        mix(self.0 + i)
    }
}

/// Ranks with the probabilities of YCSB: rank `r` is proportional to `1 / (r + 1)^0.99`.
pub struct Zipfian {
    n: f64,
    zeta_n: f64,
    eta: f64,
}

const THETA: f64 = 0.99;

impl Zipfian {
    pub fn new(n: u64) -> Zipfian {
        let zeta = |n: u64| (1..=n).map(|i| (i as f64).powf(-THETA)).sum::<f64>();
        let (zeta_n, zeta_2) = (zeta(n), zeta(2));
        let n = n as f64;
        let eta = (1.0 - (2.0 / n).powf(1.0 - THETA)) / (1.0 - zeta_2 / zeta_n);
        Zipfian { n, zeta_n, eta }
    }

    pub fn rank(&self, random: u64) -> usize {
        let u = (random >> 11) as f64 / (1u64 << 53) as f64;
        let uz = u * self.zeta_n;
        if uz < 1.0 {
            return 0;
        }
        if uz < 1.0 + 0.5f64.powf(THETA) {
            return 1;
        }
        let rank = self.n * (self.eta * u - self.eta + 1.0).powf(1.0 / (1.0 - THETA));
        (rank as usize).min(self.n as usize - 1)
    }
}

/// Picks a record by a random number, each as likely as any other.
pub fn uniform(records: u64) -> impl Fn(u64) -> u64 {
    let order = shuffled(records);
    move |random| u64::from(order[(random % records) as usize])
}

/// Picks a record by a random number, few of them most of the time.
pub fn zipfian(records: u64) -> impl Fn(u64) -> u64 {
    let (order, zipfian) = (shuffled(records), Zipfian::new(records));
    move |random| u64::from(order[zipfian.rank(random)])
}

/// `kindlog.examples.v1.LogChunk` of `proto/examples/daemon.proto`.
#[derive(Clone, PartialEq, Message)]
struct LogChunk {
    #[prost(string, tag = "1")]
    execution: String,
    #[prost(uint64, tag = "2")]
    sequence: u64,
    #[prost(int32, tag = "3")]
    stream: i32,
    #[prost(bytes = "vec", tag = "4")]
    content: Vec<u8>,
    #[prost(message, optional, tag = "5")]
    at: Option<Timestamp>,
}

/// `google.protobuf.Timestamp`.
#[derive(Clone, PartialEq, Message)]
struct Timestamp {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

/// 1024 values of one length, each an encoded message, half of it incompressible. Few enough to
/// stay in the cache at 200 bytes; too far apart for a block compressor to see one twice.
pub struct Values(Vec<Vec<u8>>);

impl Values {
    /// # Errors
    /// A length that no such message has.
    pub fn new(len: usize) -> Result<Values> {
        (0..POOL).map(|i| value(i, len)).collect::<Result<_>>().map(Values)
    }

    /// The value of a record in its `version`th version, from 0.
    pub fn of(&self, record: impl Into<u64>, version: u64) -> &[u8] {
        &self.0[((record.into() + 131 * version) % POOL) as usize]
    }
}

fn value(i: u64, len: usize) -> Result<Vec<u8>> {
    let text = b"step finished; next step is waiting for its turn. ";
    let mut chunk = LogChunk {
        execution: format!("exe-{:016x}", mix(i)),
        sequence: 1_000_000 + i,
        stream: 1,
        content: Vec::new(),
        at: Some(Timestamp { seconds: 1_700_000_000 + i as i64, nanos: 500_000_000 }),
    };
    // Three bytes for the content's own tag and length, where that is 128 to 16,383.
    let content = len.saturating_sub(chunk.encoded_len() + 3);
    let random = (0..).flat_map(|word| mix((i << 32) + word).to_le_bytes());
    chunk.content.extend(random.take(len / 2));
    chunk.content.extend(text.iter().cycle().take(content.saturating_sub(len / 2)));
    let bytes = chunk.encode_to_vec();
    match bytes.len() == len {
        true => Ok(bytes),
        false => Err(format!("no value has {len} bytes: 200 to 16384 do").into()),
    }
}
