//! Opening: manifest, segments, the log's end, the index; for the owner also a new place to write.
//!
//! Nothing on disk changes before everything that is to be read has been found sound, and what
//! changes then is switched by one replacement of the manifest: a crash anywhere in between leaves
//! the store as it was, to be recovered again. To be read is all of the unsealed part, after an
//! unclean stop, and of the rest what no hint tells of.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::load::{self, Builders, Loaded};
use super::report::{Discarded, RecoveryReport};
use super::rewrite;
use super::survey::Chain;
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::event::event;
use crate::format::manifest::Manifest;
use crate::format::names;
use crate::format::record::Header;
use crate::format::segment::StoreId;
use crate::log::hint::Check;
use crate::log::manifest::ManifestFile;
use crate::log::scan::{Frame, Scan};
use crate::log::segment::Segment;
use crate::log::segments::Segments;
use crate::log::tail::TailCopy;
use crate::options::{MAX_SEGMENT_SIZE, MIN_SEGMENT_SIZE, MIN_SPACE_BOUND, Options, ReadMode};
use crate::state::State;
use crate::sync::atomic::Ordering;
use crate::sync::thread;
use crate::zoo::{Bug, planted};

/// Opens a store on a disk.
pub(crate) fn open(disk: Arc<dyn Disk>, options: Options) -> Result<(Arc<State>, RecoveryReport)> {
    let started = Instant::now();
    check_options(&options)?;
    let read_only = options.read_only;
    if read_only || !options.create {
        // Before the lock file is made where no store is.
        read_manifest(&*disk)?.ok_or_else(|| no_store(&*disk))?;
    }
    let lock = if read_only || planted(Bug::NoLock) { None } else { Some(take_lock(&*disk)?) };
    let (state, mut report) = match recover(&disk, &options, Check::NoEntries) {
        // It may be a hint whose checksum is right, and its entries are not: that shows when the
        // index is filled. Once more, then, with all hints checked before.
        Err(Error::Corrupt { .. }) => recover(&disk, &options, Check::All)?,
        done => done?,
    };
    *state.lock.lock() = lock;
    report.elapsed = started.elapsed();
    event!(
        info,
        "opened {}: {} records, {} bytes read, {} hints, {} torn, {} rewritten, in {:?}",
        state.disk.path().display(),
        report.records,
        report.bytes_read,
        report.hints_used,
        report.torn_bytes,
        report.rewritten_bytes,
        report.elapsed
    );
    Ok((Arc::new(state), report))
}

fn recover(
    disk: &Arc<dyn Disk>,
    options: &Options,
    check: Check,
) -> Result<(State, RecoveryReport)> {
    let read_only = options.read_only;
    let mut owned = read_only && is_locked(&**disk)?;
    let recovery = loop {
        let before = read_manifest(&**disk)?;
        let read = read_log(disk.clone(), options.clone(), owned, check);
        // An owner that came meanwhile, or came and went, may have been half seen: again.
        let moved = || Ok::<_, Error>(is_locked(&**disk)? || read_manifest(&**disk)? != before);
        if !read_only || owned || !moved()? {
            break read?;
        }
        owned = is_locked(&**disk)?;
    };
    if read_only { recovery.finish_reader() } else { recovery.finish_owner() }
}

/// Reads the log that the manifest names. Beside a living owner a segment may go between the two
/// steps: it is missing only if the manifest, read again, still names it.
fn read_log(disk: Arc<dyn Disk>, options: Options, owned: bool, check: Check) -> Result<Recovery> {
    let mut manifest = read_manifest(&*disk)?;
    loop {
        match Recovery::read(disk.clone(), options.clone(), manifest.clone(), owned, check) {
            Err(Error::MissingSegment { file }) => {
                let again = read_manifest(&*disk)?;
                if again == manifest {
                    return Err(Error::MissingSegment { file });
                }
                manifest = again;
            }
            done => return done,
        }
    }
}

/// Whether a read-only handle that was opened with no owner still sees all there is. Whoever comes
/// replaces the manifest before the log is written, and until then is not done reading: beside it
/// the log would seem to end at the watermark, and what the handle has behind that to be gone.
pub(crate) fn is_current(state: &State) -> Result<bool> {
    Ok(!state.owned && read_manifest(&*state.disk)?.as_ref() == Some(&state.manifest.get()))
}

pub(crate) fn check_options(options: &Options) -> Result<()> {
    let size = options.segment_size;
    if size > MAX_SEGMENT_SIZE {
        return Err(Error::TooLarge { limit: MAX_SEGMENT_SIZE, len: size });
    }
    if size < MIN_SEGMENT_SIZE {
        let source = io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{size} bytes are too few, at least {MIN_SEGMENT_SIZE}"),
        );
        return Err(Error::io("set", "segment_size", source));
    }
    let bound = options.space_bound;
    if bound.is_nan() || bound < MIN_SPACE_BOUND {
        let reason = format!("{bound} is too little, at least {MIN_SPACE_BOUND}");
        let source = io::Error::new(io::ErrorKind::InvalidInput, reason);
        return Err(Error::io("set", "space_bound", source));
    }
    Ok(())
}

pub(super) fn no_store(disk: &dyn Disk) -> Error {
    let source = io::Error::new(io::ErrorKind::NotFound, "there is no store here");
    Error::io("open", disk.path(), source)
}

pub(super) fn random_id(disk: &dyn Disk) -> Result<StoreId> {
    let mut id = StoreId::default();
    getrandom::fill(&mut id).map_err(|e| Error::io("draw an id for", disk.path(), e.into()))?;
    Ok(id)
}

fn take_lock(disk: &dyn Disk) -> Result<Box<dyn crate::disk::Lock>> {
    let path = disk.path().to_owned();
    match disk.lock(names::LOCK) {
        Ok(Ok(lock)) => Ok(lock),
        Ok(Err(owner)) => Err(Error::Locked { path, owner }),
        Err(source) => Err(Error::io("lock", path.join(names::LOCK), source)),
    }
}

/// Refuses a store that somebody writes: what is being written looks torn.
pub(super) fn check_unlocked(disk: &dyn Disk) -> Result<()> {
    match is_locked(disk)? {
        true => Err(Error::Locked { path: disk.path().to_owned(), owner: None }),
        false => Ok(()),
    }
}

fn is_locked(disk: &dyn Disk) -> Result<bool> {
    disk.is_locked(names::LOCK).map_err(|e| Error::io("lock", disk.path().join(names::LOCK), e))
}

/// The manifest. That there is none is the sign of a new store only where nothing else is.
fn read_manifest(disk: &dyn Disk) -> Result<Option<Manifest>> {
    if let Some(manifest) = ManifestFile::read(disk)? {
        return Ok(Some(manifest));
    }
    let files = disk.list().map_err(|e| Error::io("list", disk.path(), e))?;
    if files.iter().any(|name| name == names::BACKUP) {
        let source = io::Error::new(io::ErrorKind::InvalidInput, "it is a backup: restore it");
        return Err(Error::io("open", disk.path(), source));
    }
    let is_segment = |name: &&String| names::parse_segment(name).is_some();
    match files.iter().find(is_segment).filter(|_| !planted(Bug::MissingManifestIsNew)) {
        None => Ok(None),
        Some(segment) => Err(Error::corrupt(
            disk.path().join(names::MANIFEST),
            0,
            format!("the manifest is missing, but {segment} is there"),
        )),
    }
}

/// Where a frame was read.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Source {
    File,
    Tail,
}

/// A store that has been read, but not yet been made writable.
pub(super) struct Recovery {
    pub(super) state: State,
    pub(super) manifest: Manifest,
    pub(super) report: RecoveryReport,
    /// The unsealed segments.
    pub(super) open: Vec<Arc<Segment>>,
    pub(super) chain: Chain,
    /// What the segments hold, as far as it is known.
    pub(super) loaded: Vec<Loaded>,
    /// What a hint says of the segment that the store was closed in. It is the first of `open`, and
    /// read only behind that.
    pub(super) hinted: Option<Loaded>,
    /// The store has a living owner elsewhere: only what is durable is read.
    owned: bool,
}

impl Recovery {
    /// Loads the sealed segments, and finds the log's end in the others.
    fn read(
        disk: Arc<dyn Disk>,
        options: Options,
        manifest: Option<Manifest>,
        owned: bool,
        check: Check,
    ) -> Result<Recovery> {
        let manifest = match manifest {
            Some(manifest) => manifest,
            None => Manifest::new(random_id(&*disk)?),
        };
        let writable = !options.read_only;
        let mapped = options.read_mode == ReadMode::Mapped;
        let segments = Segments::new(disk.clone(), manifest.store_id(), mapped);
        let mut state = State::new(disk, options, manifest.clone(), segments);
        state.owned = writable || owned;
        let mut report = RecoveryReport { clean: manifest.clean, ..RecoveryReport::default() };
        let (mut sealed, mut open) = (Vec::new(), Vec::new());
        for entry in &manifest.segments {
            let segment = match state.segments.open(entry, writable) {
                Err(Error::MissingSegment { .. }) if planted(Bug::MissingSegmentIsEmpty) => {
                    continue;
                }
                opened => Arc::new(opened?),
            };
            let Some(seal) = &entry.sealed else {
                open.push(segment);
                continue;
            };
            segment.set_written(checked_len(&segment, seal.length)?);
            state.segments.insert(segment.clone());
            sealed.push((segment, seal));
        }
        let loaded = load::sealed(&state.segments, &sealed, check, &mut report)?;
        let tail = match manifest.tail && !owned {
            true => Some(TailCopy::read(&*state.disk, &manifest.store_id())?),
            false => None,
        };
        // After an unclean stop the whole of the unsealed part is read: what of it is torn and what
        // is rotten must be told now, before anything is built on it.
        let mut hinted = match &open[..] {
            [segment] if (manifest.clean || planted(Bug::HintOfTorn)) && !owned => {
                let end = manifest.watermark.saturating_sub(segment.base);
                load::closed(&state.segments, segment, end, check, &mut report)?
            }
            _ => None,
        };
        let from = hinted.as_ref().map(|hinted| hinted.contents.totals.length);
        let chain = match survey(&open, from, tail.as_ref(), manifest.watermark, owned) {
            // What is wrong may be the hint: it says where to go on from.
            Err(Error::Corrupt { .. }) if hinted.take().is_some() => {
                report.hints_used -= 1;
                report.hints_rejected += 1;
                survey(&open, None, tail.as_ref(), manifest.watermark, owned)?
            }
            chain => chain?,
        };
        Ok(Recovery { state, manifest, report, open, chain, loaded, hinted, owned })
    }

    /// What was gathered of the unsealed part while its end was looked for.
    pub(super) fn gathered(&mut self) -> Builders {
        let reached = self.chain.reached;
        Builders::resume(&self.open[..reached], &mut self.chain.surveys[..reached])
    }

    /// Reads the unsealed part, but for what a hint tells of it and what was gathered, and hands
    /// each of its frames to `take`. Nothing behind `limit`, a position, is read. Returns the
    /// highest revision.
    pub(super) fn read_open(
        &mut self,
        limit: u64,
        mut take: impl FnMut(Source, &Arc<Segment>, &Frame<'_>) -> Result<()>,
    ) -> Result<u64> {
        let mut revision = 0;
        let mut from = self.hinted.as_ref().map(|hinted| hinted.contents.totals.length);
        for (segment, survey) in self.open.iter().zip(&self.chain.surveys).take(self.chain.reached)
        {
            let from = from.take().unwrap_or(segment.first);
            let end = readable_end(segment, survey.end, limit).max(from);
            let at = survey.gathered.settled().max(from);
            let mut scan = Scan::new(&*segment.file, segment.salt, segment.base, at, end);
            while let Some(frame) = scan.next().map_err(|e| Error::io("read", &segment.path, e))? {
                let frame = frame.map_err(|bad| {
                    Error::corrupt(&segment.path, survey.end, format!("changed while read: {bad}"))
                })?;
                revision = revision.max(frame.header.revision);
                take(Source::File, segment, &frame)?;
            }
            self.report.bytes_read += end - from;
        }
        if let Some(last) = self.chain.reached.checked_sub(1) {
            let (segment, from) = (&self.open[last], self.chain.surveys[last].end);
            let mut at = 0;
            while at < self.chain.tail.len() && segment.position(from) < limit {
                let (bytes, offset) = (&self.chain.tail[at..], from + at as u64);
                let header = Header::decode(bytes, segment.position(offset))
                    .map_err(|bad| Error::corrupt(&segment.path, offset, bad.to_string()))?;
                let bytes = &bytes[..header.frame_len() as usize];
                revision = revision.max(header.revision);
                take(Source::Tail, segment, &Frame { offset, header, bytes })?;
                at += bytes.len();
            }
            self.report.bytes_read += at as u64;
        }
        Ok(revision)
    }

    /// The same, where each frame stays where it is.
    pub(super) fn load_open(&mut self, limit: u64) -> Result<u64> {
        let mut builders = self.gathered();
        let revision = self.read_open(limit, |_, segment, frame| builders.add(segment, frame))?;
        self.loaded.extend(builders.finish().into_iter().map(|(loaded, _)| loaded));
        self.loaded.extend(self.hinted.take());
        Ok(revision)
    }

    /// Fills the index with all that was loaded. `seen` is the highest revision of what was read.
    /// Returns the highest of all.
    pub(super) fn fill_index(&mut self, seen: u64) -> Result<u64> {
        let Recovery { state, report, loaded, .. } = self;
        load::fill(&state.index, loaded)?;
        let mut revision = seen;
        for Loaded { segment, contents, wants_hint } in loaded.drain(..) {
            report.records += contents.totals.records - contents.totals.internal;
            revision = revision.max(contents.totals.revision);
            if wants_hint {
                report.hints_rebuilt += 1;
                if !state.options.read_only {
                    state.hints_due.lock().push((segment, contents));
                }
            }
        }
        Ok(revision)
    }

    /// The report of what lies behind the log's end.
    fn report_torn(&mut self) {
        let Recovery { report, open, chain, .. } = self;
        report.torn_bytes = chain.torn_bytes();
        report.lost_acknowledged = chain.lost_acknowledged() && !planted(Bug::LossNotReported);
        for (i, (segment, survey)) in open.iter().zip(&chain.surveys).enumerate() {
            let len = chain.torn_in(i, survey);
            if i + 1 >= chain.reached && len > 0 {
                let (file, offset) = (segment.path.clone(), survey.end);
                report.discarded.push(Discarded { file, offset, len });
            }
        }
    }

    /// Readers see what recovery would keep; beside a living owner, what is durable.
    fn finish_reader(mut self) -> Result<(State, RecoveryReport)> {
        if planted(Bug::ReaderWrites) {
            self.state.manifest.update(|_| {})?;
        }
        let owned = self.owned && !planted(Bug::ReaderSeesUnsynced);
        let limit = if owned { self.chain.watermark } else { u64::MAX };
        if !self.owned {
            self.report_torn();
        }
        for (i, (segment, survey)) in self.open.iter().zip(&self.chain.surveys).enumerate() {
            if i < self.chain.reached {
                segment.set_written(readable_end(segment, survey.end, limit));
            }
            if i + 1 == self.chain.reached && !self.chain.tail.is_empty() {
                segment.push(survey.end, Bytes::copy_from_slice(&self.chain.tail));
            }
            self.state.segments.insert(segment.clone());
        }
        // The last commit's record may have been compacted away.
        let seen = self.load_open(limit)?.max(self.chain.revision);
        let revision = self.fill_index(seen)?;
        self.state.order.get_mut().revision = revision;
        self.state.visible.store(revision, Ordering::Release);
        Ok((self.state, self.report))
    }

    /// The owner goes on in the segment that was closed in order, or rewrites what no sync is known
    /// to cover into a new one. Either way the manifest says, before the first write, that the
    /// store is no longer closed in order.
    fn finish_owner(mut self) -> Result<(State, RecoveryReport)> {
        self.report_torn();
        self.report.clean &= !self.chain.is_torn() && self.chain.tail.is_empty();
        rewrite::finish(self)
    }
}

/// How far a segment's frames are read when nothing behind the position `limit` is.
fn readable_end(segment: &Segment, end: u64, limit: u64) -> u64 {
    end.min(limit.saturating_sub(segment.base)).max(segment.first)
}

/// Beside a living owner, bytes change between two reads: what looks like damage is read again.
fn survey(
    open: &[Arc<Segment>],
    from: Option<u64>,
    tail: Option<&TailCopy>,
    watermark: u64,
    owned: bool,
) -> Result<Chain> {
    let mut tries = if owned { 8 } else { 1 };
    loop {
        tries -= 1;
        match Chain::survey(open, from, tail, watermark, owned) {
            Err(error) if tries > 0 && may_pass(&error) => pause(),
            chain => return chain,
        }
    }
}

/// Whether an error may come from the owner's work between two reads: it writes, and it cuts off
/// what was allocated ahead and never used.
fn may_pass(error: &Error) -> bool {
    match error {
        Error::Corrupt { .. } => true,
        Error::Io { source, .. } => source.kind() == io::ErrorKind::UnexpectedEof,
        _ => false,
    }
}

fn pause() {
    thread::sleep(Duration::from_millis(2));
}

/// A sealed segment's length, if its file still has it.
fn checked_len(segment: &Segment, length: u64) -> Result<u64> {
    let len = segment.file.len().map_err(|e| Error::io("read", &segment.path, e))?;
    match len >= length {
        true => Ok(length),
        false => Err(Error::corrupt(
            &segment.path,
            len,
            format!("the file is cut short: it was sealed with {length} bytes"),
        )),
    }
}
