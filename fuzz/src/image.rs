//! Small stores to damage, and all that they ever held.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::Duration;

use kindlog::disk::sim::{Loss, SimDisk};
use kindlog::{Batch, Durability, Error, MIN_SEGMENT_SIZE, Options, Store};

/// What a store holds: values by kind and id.
pub type Content = BTreeMap<(String, String), Vec<u8>>;

/// Small segments, and a background thread that stays quiet.
pub fn options() -> Options {
    let options = Options::new().segment_size(MIN_SEGMENT_SIZE).space_bound(f64::INFINITY);
    options.sync_interval(Duration::from_secs(86_400))
}

/// A store's files and its history.
pub struct Image {
    /// Names and bytes.
    pub files: Vec<(String, Vec<u8>)>,
    /// What the store held after each of its commits, the first one being none.
    pub states: Vec<Content>,
}

impl Image {
    /// Whether a key ever had a value.
    pub fn had(&self, key: &(String, String), value: &[u8]) -> bool {
        self.states.iter().any(|state| state.get(key).is_some_and(|had| had == value))
    }
}

/// The images to choose from.
pub fn images() -> &'static [Image] {
    static IMAGES: OnceLock<Vec<Image>> = OnceLock::new();
    IMAGES.get_or_init(|| vec![closed(), torn(), with_tail(), rolled(), lost()])
}

/// All that a store holds, read in every way there is.
pub fn content(store: &Store) -> Result<Content, Error> {
    let mut content = Content::new();
    for kind in store.kinds()? {
        let mut count = 0;
        for resource in store.scan(&kind).iter() {
            let resource = resource?;
            assert_eq!(resource.kind, kind);
            let id = resource.id.to_string();
            let point = store.get_resource(&kind, &id)?;
            assert_eq!(point.as_ref(), Some(&resource), "{kind}/{id}");
            content.insert((kind.clone(), id), resource.data.to_vec());
            count += 1;
        }
        assert_eq!(store.count(&kind)?, count);
        assert_eq!(store.scan(&kind).reverse().keys().count() as u64, count);
    }
    Ok(content)
}

struct Builder {
    disk: SimDisk,
    store: Store,
    states: Vec<Content>,
    counter: u32,
}

impl Builder {
    fn new() -> Builder {
        let disk = SimDisk::new();
        let store = options().open_on(&disk).expect("a new store");
        Builder { disk, store, states: vec![Content::new()], counter: 0 }
    }

    /// A value that no other commit ever writes.
    fn value(&mut self, len: usize) -> Vec<u8> {
        self.counter += 1;
        let mut value = self.counter.to_le_bytes().to_vec();
        value.resize(len.max(4), self.counter as u8);
        value
    }

    fn commit(&mut self, durability: Durability, change: impl FnOnce(&mut Batch, &mut Content)) {
        let (mut batch, mut content) = (Batch::new(), self.states.last().unwrap().clone());
        change(&mut batch, &mut content);
        self.store.commit_with(batch, durability).expect("a sound disk");
        self.states.push(content);
    }

    fn put(&mut self, kind: &str, id: &str, len: usize, durability: Durability) {
        let value = self.value(len);
        self.commit(durability, |batch, content| {
            batch.put(kind, id, &value);
            content.insert((kind.into(), id.into()), value);
        });
    }

    fn delete(&mut self, kind: &str, id: &str, durability: Durability) {
        self.commit(durability, |batch, content| {
            batch.delete(kind, id);
            content.remove(&(kind.into(), id.into())).expect("it is there");
        });
    }

    fn delete_prefix(&mut self, kind: &str, prefix: &str, durability: Durability) {
        self.commit(durability, |batch, content| {
            batch.delete_prefix(kind, prefix);
            content.retain(|(k, id), _| k != kind || !id.starts_with(prefix));
        });
    }

    fn batch(&mut self, kind: &str, ids: &[&str], durability: Durability) {
        let values: Vec<_> = ids.iter().map(|_| self.value(20)).collect();
        self.commit(durability, |batch, content| {
            for (id, value) in ids.iter().zip(values) {
                batch.put(kind, id, &value);
                content.insert((kind.into(), (*id).into()), value);
            }
        });
    }

    /// A bit of everything.
    fn history(&mut self, durability: Durability) {
        self.put("Agent", "a", 10, durability);
        self.put("Agent", "b", 0, durability);
        self.batch("AgentExecution", &["run/1", "run/2", "other"], durability);
        self.put("Agent", "a", 70, durability);
        self.delete("Agent", "b", durability);
        self.delete_prefix("AgentExecution", "run/", durability);
        self.batch("Agent", &["b", "c", "d"], durability);
        self.put("AgentExecution", "run/1", 600, durability);
        self.delete_prefix("Agent", "c", durability);
    }

    /// The process dies, and the store is opened again.
    fn reopen_killed(&mut self) {
        self.wait_for_hints();
        let next = self.disk.kill(0);
        let _ = self.store.close();
        self.disk = next;
        self.store = options().open_on(&self.disk).expect("a store whose owner died");
    }

    /// The background writes the hints of what recovery has sealed.
    fn wait_for_hints(&self) {
        let opened = self.store.recovery();
        let hints = || self.disk.files().iter().filter(|name| name.ends_with(".hint")).count();
        while hints() < (opened.hints_used + opened.hints_rebuilt) as usize {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn finish(self, disk: SimDisk) -> Image {
        let _ = self.store.close();
        let names = disk.files().into_iter();
        let files = names.map(|name| (name.clone(), disk.read_file(&name).expect("it is listed")));
        Image { files: files.collect(), states: self.states }
    }
}

/// Closed in order.
fn closed() -> Image {
    let mut builder = Builder::new();
    builder.history(Durability::Sync);
    builder.store.close().expect("a sound disk");
    let disk = builder.disk.kill(0);
    builder.finish(disk)
}

/// Several segments, sealed by unclean opens, and the last one written and not synced.
fn torn() -> Image {
    let mut builder = Builder::new();
    for _ in 0..3 {
        builder.history(Durability::Sync);
        builder.reopen_killed();
    }
    builder.disk.set_tail(false);
    builder.history(Durability::Os);
    builder.wait_for_hints();
    let disk = builder.disk.kill(0);
    builder.finish(disk)
}

/// The newest commits are in the tail file alone.
fn with_tail() -> Image {
    let mut builder = Builder::new();
    builder.history(Durability::Sync);
    builder.history(Durability::Os);
    let disk = builder.disk.kill(0);
    builder.finish(disk)
}

/// Segments that were filled.
fn rolled() -> Image {
    let mut builder = Builder::new();
    builder.disk.set_tail(false);
    for i in 0..8 {
        builder.put("Log", &format!("{i}"), 20 << 10, Durability::Os);
        builder.delete_prefix("Log", &format!("{i}"), Durability::Buffered);
        builder.batch("Agent", &["x", "y"], Durability::Os);
    }
    let disk = builder.disk.kill(0);
    builder.finish(disk)
}

/// After a power loss.
fn lost() -> Image {
    let mut builder = Builder::new();
    builder.history(Durability::Sync);
    builder.disk.set_tail(false);
    builder.history(Durability::Os);
    builder.history(Durability::Os);
    let disk = builder.disk.power_loss(Loss::Seed(11));
    builder.finish(disk)
}
