//! The program that the public interface was designed for: every line of it compiles, and does
//! what it says.

use std::time::{Duration, SystemTime};

use kindlog::{
    Batch, Collection, Durability, Error, Expect, Options, Outcome, ReadMode, RecoveryReport,
    Resource, Result, Revision, Snapshot, Stats, Store, VerifyReport,
};

use crate::support::{Agent, TestStore, agent, store_dir};

#[test]
fn a_store_opens_as_its_options_say() -> Result<()> {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let state = store_dir(&dir);
    let store = Store::open(&state)?;
    assert!(state.is_dir(), "it creates the directory");
    store.put("Agent", "a", b"1")?;
    store.close()?;

    let store = Options::new()
        .durability(Durability::Os)
        .sync_interval(Duration::from_millis(100))
        .segment_size(64 << 20)
        .verify_reads(true)
        .open(&state)?;
    let report: &RecoveryReport = store.recovery();
    assert_eq!((report.records, report.torn_bytes, report.lost_acknowledged), (1, 0, false));
    assert!(report.clean && report.bytes_read > 0 && report.discarded.is_empty());
    let _: Duration = report.elapsed;

    let reader = Options::new().read_only(true).open(&state)?;
    assert_eq!(reader.count("Agent")?, 1);
    store.put("Agent", "b", b"2")?;
    store.sync()?;
    assert_eq!(reader.count("Agent")?, 1, "a reader's view is fixed");
    reader.refresh()?;
    assert_eq!(reader.count("Agent")?, 2);
    store.refresh()?;
    store.close()?;

    let store = Options::new().create(false).read_mode(ReadMode::Pread).open(&state)?;
    assert_eq!(store.count("Agent")?, 2);
    assert_eq!(Options::new().open_in_memory()?.count("Agent")?, 0);
    Ok(())
}

#[test]
fn messages_are_saved_listed_and_deleted_by_kind_and_id() -> Result<()> {
    let store = TestStore::native();
    let maria = agent("Maria", 3);
    let rev: Revision = store.save("Agent", "agent-123", &maria)?;
    let found: Option<Agent> = store.get("Agent", "agent-123")?;
    assert_eq!(found.as_ref(), Some(&maria));
    assert_eq!(store.get::<Agent>("Agent", "agent-124")?, None);
    let next = store.save("Agent", "agent-007", &agent("James", 7))?;
    assert_eq!(u64::from(next), u64::from(rev) + 1);
    let agents: Vec<Agent> = store.list("Agent")?;
    assert_eq!(agents, [agent("James", 7), maria]);

    let existed: bool = store.delete("Agent", "agent-123")?;
    assert!(existed);
    assert!(!store.delete("Agent", "agent-123")?, "it is gone already");
    for id in ["exec-7/1", "exec-7/2", "exec-70/1"] {
        store.put("LogChunk", id, b"line")?;
    }
    let removed: u64 = store.delete_prefix("LogChunk", "exec-7/")?;
    assert_eq!(removed, 2);
    let removed: u64 = store.delete_kind("LogChunk")?;
    assert_eq!(removed, 1);
    assert_eq!(store.delete_kind("LogChunk")?, 0);
    assert_eq!(store.kinds()?, ["Agent"]);

    store.put("Agent", "no-message", b"\xff")?;
    assert!(matches!(store.get::<Agent>("Agent", "no-message"), Err(Error::Decode { .. })));
    assert!(matches!(store.list::<Agent>("Agent"), Err(Error::Decode { .. })));
    Ok(())
}

#[test]
fn a_collection_has_the_same_verbs_without_the_kind() -> Result<()> {
    let store = TestStore::native();
    let agents: Collection<Agent> = store.collection::<Agent>("Agent")?;
    assert_eq!(agents.kind(), "Agent");
    let rev = agents.save("agent-123", &agent("Maria", 1))?;
    for id in ["team-a/1", "team-a/2", "team-b/1"] {
        agents.save(id, &agent(id, 0))?;
    }
    let mut seen = Vec::new();
    for entry in agents.scan().prefix("team-a/") {
        let (id, agent) = entry?;
        assert_eq!(id, agent.name);
        seen.push(id);
    }
    assert_eq!(seen, ["team-a/1", "team-a/2"]);
    let last: Vec<String> = agents.scan().reverse().limit(1).keys().collect::<Result<_>>()?;
    assert_eq!(last, ["team-b/1"]);
    assert_eq!(agents.get("agent-123")?, Some(agent("Maria", 1)));
    assert_eq!((agents.list()?.len(), agents.count()?), (4, 4));
    assert!(agents.contains("team-a/1")? && !agents.contains("team-a")?);
    assert!(agents.save_if("agent-123", Expect::Absent, &agent("", 0)).is_err());
    agents.save_if("agent-123", Expect::Revision(rev), &agent("Maria", 2))?;
    agents.update("agent-123", |old| Ok(agent("Maria", old.unwrap_or_default().runs + 1)))?;
    assert_eq!(agents.get("agent-123")?, Some(agent("Maria", 3)));
    assert!(!agents.clone().delete_if("nobody", Expect::Absent)?);
    assert!(agents.delete("team-b/1")?);
    assert_eq!(agents.delete_prefix("team-")?, 2);
    assert_eq!(agents.delete_all()?, 1);
    Ok(())
}

#[test]
fn a_resource_is_its_key_its_bytes_its_time_and_its_revision() -> Result<()> {
    let store = TestStore::native();
    let before = SystemTime::now() - Duration::from_millis(1);
    let bytes = vec![1, 2, 3];
    let rev = store.put("Agent", "agent-123", bytes)?;
    let resource: Option<Resource> = store.get_resource("Agent", "agent-123")?;
    let resource = resource.expect("just stored");
    assert!(resource.kind == "Agent" && resource.id == "agent-123");
    assert_eq!((&resource.data[..], resource.revision), (&[1, 2, 3][..], rev));
    assert!((before..=SystemTime::now()).contains(&resource.updated_at));
    assert_eq!(resource.detach(), resource);

    assert!(store.contains("Agent", "agent-123")? && !store.contains("Agent", "agent-12")?);
    assert_eq!((store.count("Agent")?, store.count("Agents")?), (1, 0));
    let kinds: Vec<String> = store.kinds()?;
    assert_eq!(kinds, ["Agent"]);
    let again = store.put("Agent", "agent-123", [])?;
    assert!(again > rev, "the same key, a new revision");
    assert_eq!(store.count("Agent")?, 1);
    Ok(())
}

#[test]
fn scans_page_in_both_directions() -> Result<()> {
    let store = TestStore::native();
    for number in 0..250 {
        store.put("Agent", &format!("team-a/x{number:03}"), [number as u8])?;
        store.put("AgentExecution", &format!("team-a/x{number:03}"), [])?;
    }
    store.put("Agent", "team-b/x", [])?;
    let page: Vec<Resource> = store
        .scan("Agent")
        .prefix("team-a/")
        .after("team-a/x150")
        .reverse()
        .limit(100)
        .iter()
        .collect::<Result<_, _>>()?;
    assert_eq!(page.len(), 100);
    assert!(page[0].id == "team-a/x149" && page[99].id == "team-a/x050");
    let mut ids = Vec::new();
    for id in store.scan("Agent").keys() {
        let id: String = id?;
        ids.push(id);
    }
    assert!(ids.len() == 251 && ids.is_sorted());

    let (mut paged, mut scan) = (Vec::new(), store.scan("Agent").limit(7));
    loop {
        let page: Vec<Resource> = scan.iter().collect::<Result<_>>()?;
        let Some(last) = page.last() else { break };
        scan = store.scan("Agent").limit(7).after(&last.id);
        paged.extend(page.iter().map(|resource| resource.id.to_string()));
    }
    assert_eq!(paged, ids, "pages that continue behind their last id leave out nothing");
    let ranged = store.scan("Agent").range("team-a/x010".."team-a/x012").keys();
    assert_eq!(ranged.collect::<Result<Vec<_>>>()?, ["team-a/x010", "team-a/x011"]);
    let mut values = 0;
    for resource in &store.scan("Agent").range("team-a/x248"..) {
        values += resource?.data.len();
    }
    assert_eq!(values, 2);
    Ok(())
}

#[test]
fn conditions_hold_or_tell_the_revision_that_is_there() -> Result<()> {
    let store = TestStore::native();
    let rev = store.put_if("Agent", "a", Expect::Absent, agent("a", 1).name)?;
    match store.put_if("Agent", "a", Expect::Absent, b"other") {
        Err(Error::Conflict { current: Some(revision) }) => assert_eq!(revision, rev),
        other => panic!("{other:?}"),
    }
    match store.delete_if("Agent", "b", Expect::Revision(rev)) {
        Err(error @ Error::Conflict { current: None }) => {
            assert_eq!(error.outcome(), Outcome::NotCommitted);
        }
        other => panic!("{other:?}"),
    }
    let next = store.put_if("Agent", "a", Expect::Revision(rev), b"")?;
    assert_eq!(u64::from(next), u64::from(rev) + 1, "refused writes take no revision");
    assert!(store.delete_if("Agent", "a", Expect::Revision(next))?);
    assert!(!store.delete_if("Agent", "a", Expect::Absent)?);

    let first: Agent = store.update("Agent", "a", |old: Option<Agent>| {
        assert_eq!(old, None);
        Ok(agent("a", 1))
    })?;
    assert_eq!(first.runs, 1);
    let mut calls = 0;
    let second = store.update("Agent", "a", |old: Option<Agent>| {
        let mut changed = old.expect("it is there");
        calls += 1;
        if calls == 1 {
            store.save("Agent", "a", &agent("a", 10))?;
        }
        changed.runs += 1;
        Ok(changed)
    })?;
    assert_eq!((calls, second.runs), (2, 11), "tried again on what came in between");
    let kept = store.update("Agent", "a", |_: Option<Agent>| Err(Error::caller("no")));
    assert!(matches!(kept, Err(Error::Caller(error)) if error.to_string() == "no"));
    assert_eq!(store.get::<Agent>("Agent", "a")?, Some(second));
    Ok(())
}

#[test]
fn a_batch_is_one_revision() -> Result<()> {
    let store = TestStore::native();
    for (kind, id) in [("Agent", "b"), ("Draft", "1"), ("LogChunk", "exec-7/1")] {
        store.put(kind, id, b"old")?;
    }
    let last = store.snapshot().revision();
    let mut batch = Batch::new();
    batch.put("Workflow", "wf-1", b"w");
    batch.save("Agent", "a", &agent("a", 1));
    batch.delete("Agent", "b");
    batch.delete_kind("Draft");
    batch.delete_prefix("LogChunk", "exec-7/");
    assert!(batch.len() == 5 && !batch.is_empty() && batch.byte_len() > 0);
    let rev = store.commit(batch)?;
    assert_eq!(u64::from(rev), u64::from(last) + 1);
    assert_eq!(store.kinds()?, ["Agent", "Workflow"]);
    for (kind, id) in [("Agent", "a"), ("Workflow", "wf-1")] {
        assert_eq!(store.get_resource(kind, id)?.expect("stored").revision, rev);
    }
    let mut batch = Batch::new();
    batch.put("Workflow", "wf-2", b"");
    let next = store.commit_with(batch, Durability::Os)?;
    assert_eq!(u64::from(next), u64::from(rev) + 1);
    assert_eq!(store.commit(Batch::new())?, next, "an empty one takes none");
    let mut batch = Batch::new();
    batch.delete("Agent", "nobody").delete_kind("Nothing").delete_prefix("Agent", "x");
    assert_eq!(store.commit(batch)?, next, "nor does one that finds nothing");
    Ok(())
}

#[test]
fn a_snapshot_keeps_what_was_visible() -> Result<()> {
    let store = TestStore::native();
    store.save("Agent", "a", &agent("a", 1))?;
    let rev = store.save("Agent", "b", &agent("b", 2))?;
    let snap: Snapshot = store.snapshot();
    assert_eq!(snap.revision(), rev);
    store.save("Agent", "a", &agent("a", 9))?;
    store.delete_kind("Agent")?;
    store.save("Agent", "c", &agent("c", 3))?;
    assert_eq!(snap.get::<Agent>("Agent", "a")?, Some(agent("a", 1)));
    assert!(snap.get_resource("Agent", "b")?.is_some_and(|b| b.revision == rev));
    assert!(snap.get_resource("Agent", "c")?.is_none());
    let ids: Vec<_> = snap.scan("Agent").iter().map(|r| r.map(|r| r.id.to_string())).collect();
    assert_eq!(ids.into_iter().collect::<Result<Vec<_>>>()?, ["a", "b"]);
    assert_eq!(snap.clone().list::<Agent>("Agent")?, [agent("a", 1), agent("b", 2)]);
    Ok(())
}

#[test]
fn upkeep_reports_what_there_is_and_closing_ends_it() -> Result<()> {
    let store = TestStore::native();
    for id in ["a", "b", "b", "c"] {
        store.put("Agent", id, vec![7; 100])?;
    }
    store.delete("Agent", "c")?;
    store.sync()?;
    let report: VerifyReport = store.verify()?;
    assert!(report.is_clean() && report.problems.is_empty());
    assert_eq!(report.live, 2);
    let stats: Stats = store.stats();
    let [agents] = &stats.kinds[..] else { panic!("{stats:?}") };
    assert_eq!((agents.name.as_str(), agents.live_count), ("Agent", 2));
    assert!(agents.live_bytes >= 200 && agents.dead_bytes >= 200, "{agents:?}");
    assert!(agents.oldest <= agents.newest && agents.newest <= Some(SystemTime::now()));
    assert_eq!((stats.commits, !stats.segments.is_empty(), stats.index_bytes > 0), (5, true, true));
    assert!(stats.fsyncs >= 5, "{stats:?}");

    let other: Store = store.clone();
    other.close()?;
    other.close()?;
    assert!(matches!(store.put("Agent", "d", b""), Err(Error::Closed)));
    Ok(())
}
