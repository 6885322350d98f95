//! Planted bugs, let loose one at a time, to see that the tests catch each.
//!
//! A build with `--cfg kindlog_zoo`, which no feature turns on, has all of them, and the
//! environment variable `KINDLOG_BUG` names the one that bites. In every other build [`planted`] is
//! a constant `false`, so none of them is compiled in. `docs/testing.md` says how the zoo is run,
//! and has its table.
//!
//! To add one: a line below, its site in the engine, and the tests that are to catch it in
//! `tests/it/zoo.rs`.
#![cfg_attr(not(kindlog_zoo), allow(unreachable_pub))]

macro_rules! zoo {
    ($(#[doc = $what:literal] $bug:ident breaks $rule:literal,)*) => {
        /// What is wrong in a build that has this one let loose.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Bug {
            $(#[doc = $what] $bug,)*
        }

        #[cfg(kindlog_zoo)]
        impl Bug {
            /// All there are.
            pub const ALL: &[Bug] = &[$(Bug::$bug),*];

            /// What it does.
            pub fn what(self) -> &'static str {
                match self { $(Bug::$bug => $what.trim_ascii(),)* }
            }

            /// The rule of the design that it breaks.
            pub fn rule(self) -> &'static str {
                match self { $(Bug::$bug => $rule,)* }
            }
        }
    };
}

// Each names what the rules that it breaks are about; docs/durability.md has the rules.
zoo! {
    /// A `Sync` commit is acknowledged at once and synced by the background.
    AckBeforeSync breaks "levels",
    /// The log's fsync is left out.
    SkipLogSync breaks "levels",
    /// An `Os` commit stays in the process's buffers.
    OsStaysInProcess breaks "levels",
    /// A weak commit is visible before the `Sync` commit ahead of it.
    WeakOvertakesSync breaks "order",
    /// Closing does not sync the last segment.
    CloseWithoutSync breaks "levels",

    /// A new segment's bytes are not synced before the manifest names it.
    SegmentNotSynced breaks "new files",
    /// A new segment's name is not synced before the manifest names it.
    SegmentNameNotSynced breaks "new files",
    /// A new manifest is renamed without its bytes being synced.
    ManifestNotSynced breaks "manifest",
    /// The directory is not synced behind the manifest's rename.
    ManifestNameNotSynced breaks "manifest",
    /// The manifest is renamed first and written then.
    ManifestRenamedFirst breaks "manifest",
    /// The tail file is removed while the manifest still names it.
    TailUnlinkedFirst breaks "removal",
    /// A full segment is sealed in the manifest without ever being synced.
    SealUnsynced breaks "sealing",

    /// Damage below the watermark is taken for a torn tail.
    NoWatermarkCheck breaks "torn or rotten",
    /// Watermarks behind a bad frame are not looked at.
    NoWatermarkBehind breaks "torn or rotten",
    /// No frame says that the last commits are durable.
    NoWatermarkFrame breaks "torn or rotten",
    /// Commits claim that all before them is durable.
    WatermarkAhead breaks "torn or rotten",
    /// A discarded `Sync` commit is not owned up to.
    LossNotReported breaks "torn or rotten",
    /// A sealed segment is not held against its digest.
    NoDigest breaks "torn or rotten",
    /// A segment that the manifest names and that is gone counts as empty.
    MissingSegmentIsEmpty breaks "torn or rotten",
    /// A store whose manifest is gone counts as a new one.
    MissingManifestIsNew breaks "torn or rotten",

    /// What was read but never synced is left where it is.
    TrustUnsynced breaks "unclean open",
    /// Writing goes on in the segment that a crash tore.
    AppendToTorn breaks "unclean open",
    /// The manifest still says after a clean open that the store is closed.
    StaysClean breaks "unclean open",
    /// An unclean open goes on from the last revision that it found.
    ReuseRevisions breaks "revisions",
    /// Half a batch counts.
    HalfBatch breaks "batches",

    /// A failed write counts as done.
    IgnoreFailedWrite breaks "failures",
    /// Writing goes on in a segment behind a failed write.
    WriteOnBroken breaks "failures",
    /// A failed commit is called certain not to have happened though nothing proves it.
    SayCertain breaks "failures",
    /// A broken segment is closed without the full ones before it.
    HealAlone breaks "failures",
    /// A failed fsync is tried again.
    RetrySync breaks "failures",
    /// After a failed fsync the store takes further writes.
    NoPoison breaks "failures",

    /// The tail file is written over where the segment lacks the bytes.
    OverwriteRing breaks "tail file",
    /// What the tail file holds is replayed without a look at its checksums.
    TrustTail breaks "tail file",
    /// Units are written from the tail file also where it lacks some of their bytes.
    UnitsFromTailAlone breaks "tail file",

    /// Replay forgets deletes of a key.
    ForgetDelete breaks "deletes",
    /// Replay forgets deletes by prefix.
    ForgetPrefixDelete breaks "deletes",
    /// Replay forgets a key's tombstone before older segments are read.
    ForgetTombstone breaks "deletes",
    /// Replay forgets a prefix's tombstone before older segments are read.
    ForgetPrefixTombstone breaks "deletes",
    /// A prefix delete that is read late deletes what is newer as well.
    PrefixTombstoneTakesAll breaks "deletes",
    /// Slots of deleted keys are found until they are cleared.
    StaleSlots breaks "deletes",
    /// Slots of deleted keys are found on the short way until they are cleared.
    StaleSlotsQuickly breaks "deletes",
    /// Of two records of a key the one that is read last wins.
    FileOrder breaks "revisions",

    /// The header's checksum leaves the salt out.
    NoSalt breaks "checksums",
    /// The header's checksum leaves the position out.
    NoPosition breaks "checksums",
    /// A value's checksum is not checked when it is read.
    ValueUnchecked breaks "checksums",
    /// A value's checksum is not checked when it is read by a scan.
    ScanUnchecked breaks "checksums",
    /// A damaged record reads as absent.
    DamageIsAbsence breaks "checksums",

    /// Bytes are read from the file before they are written to it.
    WrittenTooSoon breaks "reads",
    /// A segment that is retired is gone before it is kept for snapshots.
    GoneBeforeRetired breaks "views",

    /// Who has waited for company before a sync does not let others sync.
    LeadsForEver breaks "order",
    /// Who can't write before a sync tells nobody who waits for it.
    FailsInSilence breaks "failures",

    /// Conditions are decided against what is visible, not against what is ordered.
    DropOverlay breaks "order",
    /// An answer is given before the commit that it rests on is durable.
    AnswerInFlight breaks "order",
    /// A prefix delete does not wait for what is in flight.
    PrefixDeleteRushes breaks "order",

    /// A change does not save what snapshots still want.
    NoHistory breaks "views",
    /// A view is registered while a commit enters the index.
    ViewWithoutLock breaks "views",
    /// A point read does not notice that a batch is entering the index.
    HalfBatchVisible breaks "views",
    /// A point read does not notice on the short way that a batch is entering the index.
    HalfBatchQuickly breaks "views",

    /// A scan that begins while changes are being merged takes the leaves for complete.
    ScanWhileMerging breaks "views",
    /// What a thread has just begun to merge is taken for merged.
    MergedTooSoon breaks "views",
    /// A prefix delete leaves the changes that nobody has begun to merge.
    DeleteOnlyMerged breaks "deletes",

    /// Compaction drops every tombstone.
    DropTombstones breaks "compaction",
    /// Compaction drops the tombstones of prefixes.
    DropPrefixTombstones breaks "compaction",
    /// Only segments with lower numbers are asked whether they hold what a tombstone deletes.
    NewerFilesAreNewer breaks "compaction",
    /// A segment that can't be read does not keep tombstones.
    DamageNeedsNoTombstone breaks "compaction",
    /// A segment that is left alone does not keep tombstones.
    LeftAloneNeedsNoTombstone breaks "compaction",
    /// Inputs go together with their tombstones, though one of the run stays.
    GoesBesideWhatStays breaks "compaction",
    /// An entry moves to the copy though a newer record has taken its place.
    MoveOverNewer breaks "compaction",
    /// Commits in flight are not told where the record that they replace has gone.
    NoFollow breaks "compaction",
    /// A copy is named in the manifest before it is synced.
    CopyNotSynced breaks "new files",
    /// A copy's name is not synced before the manifest names it.
    CopyNameNotSynced breaks "new files",
    /// The files of inputs are removed while the manifest still names them.
    InputsUnlinkedFirst breaks "removal",
    /// Inputs go before what made their records dead is durable.
    RetireUnsynced breaks "removal",
    /// Inputs go although records in them are live.
    RetireLive breaks "removal",
    /// Retired segments are let go although a snapshot reads them.
    LetGoPinned breaks "views",

    /// What is kept back for a full disk is never given up.
    KeepReserve breaks "full disk",
    /// Opening, closing and compaction do without what is kept back for a full disk.
    ReserveForDeletes breaks "full disk",
    /// A commit is ordered without a look whether the disk has room for it.
    OrderWithoutRoom breaks "full disk",

    /// A hint is believed whatever part of its segment it tells of.
    StaleHint breaks "hints",
    /// After an unclean stop the hint of the segment that was written is used.
    HintOfTorn breaks "hints",
    /// A hint's payload is believed without a look at its checksum.
    HintUnchecked breaks "hints",

    /// A backup's segments are not synced before it counts.
    BackupNotSynced breaks "backup",
    /// The names of a backup's segments are not synced before it counts.
    BackupNameNotSynced breaks "backup",
    /// A restored store has the id of the one that was backed up.
    RestoreKeepsId breaks "backup",

    /// A store is opened for writing without its lock.
    NoLock breaks "process",
    /// A read-only open replaces the manifest.
    ReaderWrites breaks "process",
    /// A reader beside an owner sees what is not durable.
    ReaderSeesUnsynced breaks "process",
    /// Files can be read by everyone.
    ReadableFiles breaks "process",
    /// Symbolic links are followed.
    FollowLinks breaks "process",
}

#[cfg(kindlog_zoo)]
impl Bug {
    /// Those that make threads wait for ever, or that one order of threads in thousands shows: the
    /// scheduled tests are to catch them (`tests/scheduled/zoo.rs`).
    pub const SCHEDULED: &[Bug] = &[Bug::GoneBeforeRetired, Bug::LeadsForEver, Bug::FailsInSilence];
}

/// Whether this bug is let loose.
#[cfg(not(kindlog_zoo))]
#[inline(always)]
pub(crate) const fn planted(_: Bug) -> bool {
    false
}

/// Whether this bug is let loose.
#[cfg(kindlog_zoo)]
pub(crate) fn planted(bug: Bug) -> bool {
    static CHOSEN: std::sync::OnceLock<Option<Bug>> = std::sync::OnceLock::new();
    let chosen = CHOSEN.get_or_init(|| {
        let name = std::env::var("KINDLOG_BUG").ok()?;
        let found = Bug::ALL.iter().copied().find(|bug| format!("{bug:?}") == name);
        assert!(found.is_some(), "KINDLOG_BUG={name}: there is no such bug");
        found
    });
    *chosen == Some(bug)
}

/// Takes a step that a bug leaves out.
#[inline(always)]
pub(crate) fn unless<E>(bug: Bug, step: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
    if planted(bug) { Ok(()) } else { step() }
}
