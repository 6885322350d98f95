//! Histories at random on a medium that fails in places, held against a map: what is there, what is
//! not, and that whoever asks for a compaction is told what has come of it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use super::super::why;
use super::super::worker::{Pressure, bring_down, compact, rows, try_unread};
use super::{end, len};
use crate::disk::sim::{EIO, Fault, OpKind, SimDisk};
use crate::engine::commit::{Change, What, commit};
use crate::engine::scan::Scan;
use crate::engine::view::View;
use crate::engine::{read, recover};
use crate::error::{Error, Result};
use crate::format::location::{Location, SegmentId};
use crate::format::names;
use crate::state::State;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::{Durability, MIN_SEGMENT_SIZE, Options, ReadMode};

const HISTORIES: u64 = 24;
/// So many with `KINDLOG_FULL`.
const ALL_HISTORIES: u64 = 3_000;
const KINDS: [&str; 3] = ["A", "B", "C"];
const PREFIXES: [&str; 5] = ["", "x", "x/", "y", "y1"];
/// A history that reads more often is taken for one without an end.
const MAX_READS: u64 = 300_000;

/// xorshift64*: the same sequence for the same seed, on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % n
    }

    fn kind(&mut self) -> &'static str {
        KINDS[self.below(KINDS.len())]
    }

    fn id(&mut self) -> String {
        format!("{}{}", ["x", "y", "x/z"][self.below(3)], self.below(6))
    }
}

type Model = BTreeMap<(&'static str, String), Vec<u8>>;

/// A store, what should be in it, and what of its files can't be read.
struct World {
    disk: SimDisk,
    state: Arc<State>,
    model: Model,
    /// All keys that ever were.
    keys: BTreeSet<(&'static str, String)>,
    bad: Vec<(String, Range<u64>)>,
    snapshot: Option<(Arc<View>, Model)>,
    random: Random,
    puts: u64,
}

fn open(disk: &SimDisk) -> Arc<State> {
    let reads = AtomicU64::new(0);
    let too_many =
        move |op, _: &str| op == OpKind::Read && reads.fetch_add(1, Ordering::Relaxed) >= MAX_READS;
    disk.fail_always(too_many, Fault::Error(EIO));
    let options = Options::new().segment_size(MIN_SEGMENT_SIZE).read_mode(ReadMode::Pread);
    recover::open(Arc::new(disk.clone()), options).expect("it opens").0
}

impl World {
    fn new(seed: u64) -> World {
        let disk = SimDisk::new();
        World {
            state: open(&disk),
            disk,
            model: Model::new(),
            keys: BTreeSet::new(),
            bad: Vec::new(),
            snapshot: None,
            random: Random((seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            puts: 0,
        }
    }

    /// What the test says when it fails is how it came to that.
    fn step(&mut self) {
        match self.random.below(26) {
            0..=8 => (0..=self.random.below(4)).for_each(|_| self.put()),
            9..=11 => self.delete(),
            12 => self.delete_prefix(),
            13..=15 => {
                println!("end");
                end(&self.state);
            }
            16 | 17 => self.spoil(),
            18 => self.heal(),
            19 => self.remove_hint(),
            20..=22 => self.bring_down(),
            23 => self.ask(),
            24 => self.reopen(self.disk.kill(0)),
            _ => {
                let snapshot = || (Arc::new(View::new(self.state.clone())), self.model.clone());
                self.snapshot = self.snapshot.is_none().then(snapshot);
            }
        }
        self.look();
    }

    fn change(&self, kind: &str, id: &str, what: What<'_>) {
        let change = Change { kind, id, what };
        commit(&self.state, &[change], None, Durability::Sync).expect("there is room");
    }

    fn put(&mut self) {
        let (kind, id, len) = (self.random.kind(), self.random.id(), self.random.below(6_000));
        println!("put {kind}/{id}, {len} bytes");
        self.puts += 1;
        let value = [&self.puts.to_le_bytes()[..], &vec![self.puts as u8; len]].concat();
        self.change(kind, &id, What::Put(&value));
        self.keys.insert((kind, id.clone()));
        self.model.insert((kind, id), value);
    }

    fn delete(&mut self) {
        let (kind, id) = (self.random.kind(), self.random.id());
        println!("delete {kind}/{id}");
        self.change(kind, &id, What::Delete);
        self.model.remove(&(kind, id));
    }

    fn delete_prefix(&mut self) {
        let (kind, prefix) = (self.random.kind(), PREFIXES[self.random.below(PREFIXES.len())]);
        println!("delete {kind}/{prefix}*");
        self.change(kind, prefix, What::DeletePrefix);
        self.model.retain(|(other, id), _| *other != kind || !id.starts_with(prefix));
    }

    fn spoil(&mut self) {
        let manifest = self.state.manifest.get();
        let sealed = |id: SegmentId, length| (names::segment(id), length as usize);
        let entries = manifest.segments.iter();
        let all: Vec<(String, usize)> =
            entries.filter_map(|e| Some(sealed(e.id(), e.sealed.as_ref()?.length))).collect();
        let Some((file, length)) = all.get(self.random.below(all.len().max(1))) else { return };
        let at = self.random.below(*length) as u64;
        let more = if self.random.below(4) == 0 { self.random.below(9_000) as u64 } else { 0 };
        let bytes = at..at + 1 + more;
        println!("spoil {file}, {bytes:?}");
        self.disk.make_unreadable(file, bytes.clone());
        self.bad.push((file.clone(), bytes));
    }

    fn heal(&mut self) {
        println!("heal");
        self.disk.clear_faults();
        self.bad.clear();
    }

    fn remove_hint(&mut self) {
        let mut hints = self.disk.files();
        hints.retain(|file| file.ends_with(".hint"));
        if let Some(hint) = hints.get(self.random.below(hints.len().max(1))) {
            println!("remove {hint}");
            self.disk.remove_file(hint);
        }
    }

    fn bring_down(&mut self) {
        let pressure = [Pressure::Full, Pressure::Idle, Pressure::Load][self.random.below(3)];
        let room = (self.random.below(4) == 0).then(|| self.random.below(30_000) as u64);
        println!("bring down, {room:?} bytes of room");
        self.disk.set_capacity(room.map(|room| len(&self.disk) + room));
        let tried = match self.random.below(4) {
            0 => try_unread(&self.state, true).map(drop),
            _ => Ok(()),
        };
        let done = tried.and_then(|()| bring_down(&self.state, || pressure));
        self.disk.set_capacity(None);
        match done {
            Ok(_) => self.look_for_leaks(),
            Err(error) => assert!(room.is_some() && error.is_storage_full(), "{error}"),
        }
    }

    fn ask(&mut self) {
        println!("compact");
        match compact(&self.state) {
            Ok(()) => {}
            Err(Error::Io { .. }) if !self.bad.is_empty() => {}
            Err(error) => panic!("{error}"),
        }
        self.look_for_leaks();
        let findings = self.state.compaction.findings.lock();
        let is_left = |id: SegmentId| findings.left_alone(id).is_some();
        for row in rows(&self.state) {
            let needed = findings.needed.get(&row.id);
            let stays = row.ordered.is_none() || is_left(row.id);
            let kept = needed.map_or(0, |needed| needed.bytes);
            assert!(stays || row.total - row.live <= kept, "{:?} has more that is dead", row.id);
            let for_what = needed.is_none_or(|needed| needed.by.iter().any(|id| is_left(*id)));
            assert!(stays || for_what, "{:?} has tombstones that nothing needs", row.id);
        }
    }

    fn reopen(&mut self, image: SimDisk) {
        println!("open again");
        self.snapshot = None;
        self.bad.clear();
        image.clear_faults();
        (self.state, self.disk) = (open(&image), image);
        self.look_for_leaks();
    }

    /// Whether a key's record has bytes that can't be read.
    fn is_bad(&self, kind: &str, id: &str) -> bool {
        let kind = self.state.index.kind(kind).expect("there is one");
        let Location { place, .. } = kind.find_ordered(id.as_bytes()).expect("it lives");
        let from = place.offset_bytes();
        let to = from + kind.find_ordered(id.as_bytes()).expect("it lives").len_bytes();
        let file = names::segment(place.segment);
        self.bad.iter().any(|(bad, bytes)| *bad == file && bytes.start < to && bytes.end > from)
    }

    /// Each key has its value, or can't be read, or is not there.
    fn look(&self) {
        for (kind, id) in &self.keys {
            let want = self.model.get(&(*kind, id.clone()));
            match read::get(&self.state, kind, id) {
                Ok(found) => {
                    let found = found.map(|found| found.data.to_vec());
                    assert_eq!(found.as_ref(), want, "{kind}/{id}");
                }
                Err(error) => {
                    let may_be = want.is_some() && self.is_bad(kind, id);
                    assert!(may_be && matches!(error, Error::Io { .. }), "{kind}/{id}: {error}");
                }
            }
        }
        let now = (Arc::new(View::new(self.state.clone())), self.model.clone());
        self.snapshot.iter().chain([&now]).for_each(|(view, model)| self.scan(view, model));
    }

    /// A scan has each key, and as many errors as there may be.
    fn scan(&self, view: &Arc<View>, model: &Model) {
        for kind in KINDS {
            let held = view.clone();
            let scan = Scan::new(Arc::new(move || Ok(held.clone())), kind);
            let of_kind = || model.iter().filter(|((other, _), _)| *other == kind);
            let ids: Result<Vec<String>> = scan.keys().collect();
            let want: Vec<&String> = of_kind().map(|((_, id), _)| id).collect();
            assert!(ids.expect("ids need no reading").iter().eq(want), "{kind}");
            let mut found = scan.iter();
            for ((_, id), value) in of_kind() {
                let found = found.next().expect("there are as many");
                let at = read::get_at(&self.state, kind, id, view.revision).transpose();
                for found in [found, at.expect("it was there")] {
                    let is_it = found.map(|found| found.data == value[..]);
                    assert!(is_it.unwrap_or(!self.bad.is_empty()), "{kind}/{id}");
                }
            }
            assert!(found.next().is_none(), "{kind}");
        }
    }

    /// There are no segments but those that are part of the store, and all that is dead is told of.
    fn look_for_leaks(&self) {
        let mut files = self.disk.files();
        files.retain(|file| file.ends_with(".seg"));
        let manifest = self.state.manifest.get();
        let mut named: Vec<String> =
            manifest.segments.iter().map(|entry| names::segment(entry.id())).collect();
        named.sort_unstable();
        assert_eq!(files, named);
        let stats = why::compaction(&self.state);
        let held: u64 = stats.held.iter().map(|held| held.dead_bytes).sum();
        assert_eq!(held, stats.dead_bytes + stats.pinned_bytes);
    }
}

#[test]
fn nothing_is_lost_back_or_kept_on_a_medium_that_fails_in_places() {
    let full = std::env::var_os("KINDLOG_FULL").is_some_and(|value| value == "1");
    for seed in 0..if full { ALL_HISTORIES } else { HISTORIES } {
        println!("history {seed}");
        let mut world = World::new(seed);
        for _ in 0..30 + world.random.below(120) {
            world.step();
        }
        let image = world.disk.kill(0);
        world.snapshot = None;
        world.heal();
        world.ask();
        world.look();
        for image in [image, world.disk.kill(0)] {
            world.reopen(image);
            world.look();
            world.ask();
            world.look();
        }
        let sealed = rows(&world.state).into_iter().filter(|row| row.ordered.is_some());
        assert_eq!(sealed.map(|row| row.total - row.live).sum::<u64>(), 0);
    }
}
