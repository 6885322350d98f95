//! Step 2: an example daemon's life. It saves agents and workflows, runs executions that write
//! logs, lists and pages through them, and cleans up; every count and every byte is checked.

use std::time::Instant;

use kindlog::{Batch, Durability, Error, Store};
use prost::Message;

use super::data;
use super::{Teller, check, check_bytes, check_count};
use crate::examples::workflow_execution::State;
use crate::examples::{Agent, WorkflowExecution};
use crate::failure::Outcome;
use crate::output::{counted, size};
use crate::time::elapsed;

const AGENT: &str = "Agent";
const WORKFLOW: &str = "Workflow";
const EXECUTION: &str = "WorkflowExecution";
const SESSION: &str = "Session";
const LOG: &str = "LogChunk";

/// How many commits of this step wait for the disk each, at most, per verb.
const SYNCED_MAX: u64 = 200;
/// Resources in a batch.
const BATCH_LEN: u64 = 100;
/// Resources on a page.
const PAGE_LEN: usize = 1000;

/// How many there are of each kind.
struct Plan {
    agents: u64,
    workflows: u64,
    executions: u64,
    /// How many of the executions go through their states one commit after the other.
    watched: u64,
    sessions: u64,
    chunks_per_execution: u64,
}

impl Plan {
    fn new(resources: u64) -> Plan {
        let agents = (resources / 100).clamp(8, SYNCED_MAX);
        let workflows = (resources / 100).max(10);
        let executions = resources / 20;
        let sessions = resources / 20;
        let others = agents + workflows + executions + sessions;
        let chunks_per_execution = (resources.saturating_sub(others) / executions).max(1);
        let watched = executions.min(SYNCED_MAX / 2);
        Plan { agents, workflows, executions, watched, sessions, chunks_per_execution }
    }

    fn chunks(&self) -> u64 {
        self.executions * self.chunks_per_execution
    }
}

pub(super) fn run(store: &Store, teller: &mut Teller, resources: u32) -> Outcome {
    let plan = Plan::new(resources.into());
    teller.title("2. A daemon's life: agents, workflows, executions, sessions and their logs")?;
    save_agents(store, teller, &plan)?;
    commit_workflows(store, teller, &plan)?;
    run_executions(store, teller, &plan)?;
    write_bulk(store, teller, &plan)?;
    read_back(store, teller, &plan)?;
    list(store, teller, &plan)?;
    clean_up(store, teller, &plan)
}

fn save_agents(store: &Store, teller: &mut Teller, plan: &Plan) -> Outcome {
    let start = Instant::now();
    for number in 0..plan.agents {
        store.save(AGENT, &data::agent_id(number), &data::agent(number))?;
    }
    teller.did("save (Sync)", plan.agents, "agent", start)
}

fn commit_workflows(store: &Store, teller: &mut Teller, plan: &Plan) -> Outcome {
    let start = Instant::now();
    for first in (0..plan.workflows).step_by(BATCH_LEN as usize) {
        let mut batch = Batch::new();
        for number in first..plan.workflows.min(first + BATCH_LEN) {
            let workflow = data::workflow(number, plan.agents);
            batch.save(WORKFLOW, &data::workflow_id(number), &workflow);
        }
        store.commit(batch)?;
    }
    teller.did("commit in batches of 100 (Sync)", plan.workflows, "workflow", start)
}

/// Pending, Running, Succeeded or Failed: each change is read, decided and written in one step.
fn run_executions(store: &Store, teller: &mut Teller, plan: &Plan) -> Outcome {
    let start = Instant::now();
    let mut updates = 0;
    for number in 0..plan.watched {
        let id = data::execution_id(number);
        let pending = data::execution(number, plan.workflows, State::Pending);
        store.save(EXECUTION, &id, &pending)?;
        for (from, to) in
            [(State::Pending, State::Running), (State::Running, data::final_state(number))]
        {
            store.update(EXECUTION, &id, |old: Option<WorkflowExecution>| match old {
                Some(old) if old.state() == from => Ok(data::execution(number, plan.workflows, to)),
                _ => Err(Error::caller(format!("{EXECUTION}/{id} is not {}", from.as_str_name()))),
            })?;
            updates += 1;
        }
        let agent = data::agent_id(number % plan.agents);
        store.update(AGENT, &agent, |old: Option<Agent>| {
            let mut agent = old.ok_or_else(|| Error::caller("an agent is gone"))?;
            agent.executions += 1;
            Ok(agent)
        })?;
        updates += 1;
    }
    teller.did("update, Pending to Succeeded (Sync)", updates, "change", start)
}

fn write_bulk(store: &Store, teller: &mut Teller, plan: &Plan) -> Outcome {
    let start = Instant::now();
    for number in plan.watched..plan.executions {
        let execution = data::execution(number, plan.workflows, data::final_state(number));
        let mut one = Batch::new();
        one.save(EXECUTION, &data::execution_id(number), &execution);
        store.commit_with(one, Durability::Os)?;
    }
    for number in 0..plan.sessions {
        let mut one = Batch::new();
        one.save(SESSION, &data::session_id(number), &data::session(number, plan.agents));
        store.commit_with(one, Durability::Os)?;
    }
    let singles = plan.executions - plan.watched + plan.sessions;
    teller.did("save (Os)", singles, "resource", start)?;

    let start = Instant::now();
    let mut bytes = 0;
    for execution in 0..plan.executions {
        let mut batch = Batch::new();
        for sequence in 0..plan.chunks_per_execution {
            let chunk = data::chunk(execution, sequence).encode_to_vec();
            bytes += chunk.len() as u64;
            batch.put(LOG, &data::chunk_id(execution, sequence), &chunk);
        }
        store.commit_with(batch, Durability::Os)?;
    }
    let what = format!("commit a batch a run (Os), {}", size(bytes));
    teller.did(&what, plan.chunks(), "log chunk", start)?;
    let start = Instant::now();
    store.sync()?;
    teller.line(&format!("sync: all of it is on disk, in {}", elapsed(start.elapsed())))
}

fn read_back(store: &Store, teller: &mut Teller, plan: &Plan) -> Outcome {
    let start = Instant::now();
    for number in 0..plan.agents {
        let mut agent = data::agent(number);
        let rounds = plan.watched / plan.agents;
        agent.executions = rounds + u64::from(number < plan.watched % plan.agents);
        check_bytes(store, AGENT, &data::agent_id(number), &agent.encode_to_vec())?;
    }
    for number in 0..plan.workflows {
        let expected = data::workflow(number, plan.agents).encode_to_vec();
        check_bytes(store, WORKFLOW, &data::workflow_id(number), &expected)?;
    }
    for number in 0..plan.executions {
        let expected = data::execution(number, plan.workflows, data::final_state(number));
        let expected = expected.encode_to_vec();
        check_bytes(store, EXECUTION, &data::execution_id(number), &expected)?;
    }
    for number in 0..plan.sessions {
        let expected = data::session(number, plan.agents).encode_to_vec();
        check_bytes(store, SESSION, &data::session_id(number), &expected)?;
    }
    for execution in 0..plan.executions {
        for sequence in 0..plan.chunks_per_execution {
            let expected = data::chunk(execution, sequence).encode_to_vec();
            check_bytes(store, LOG, &data::chunk_id(execution, sequence), &expected)?;
        }
    }
    let total = plan.agents + plan.workflows + plan.executions + plan.sessions + plan.chunks();
    teller.did("read back, every byte the same", total, "resource", start)
}

fn list(store: &Store, teller: &mut Teller, plan: &Plan) -> Outcome {
    let agents: Vec<Agent> = store.list(AGENT)?;
    check_count("the agents listed", agents.len() as u64, plan.agents)?;
    let team = data::team(1);
    let mut found = 0;
    for agent in store.scan(AGENT).prefix(format!("{team}/")) {
        let id = agent?.id;
        check(id.starts_with(team), || format!("{id} is not under {team}/"))?;
        found += 1;
    }
    let expected = (0..plan.agents).filter(|&number| data::team(number) == team).count() as u64;
    check_count("the agents of one team", found, expected)?;
    teller.line(&format!(
        "list by prefix {team}/: {} of {}",
        found,
        counted(plan.agents, "agent")
    ))?;

    let start = Instant::now();
    let mut after: Option<String> = None;
    let mut paged = 0;
    let mut pages = 0;
    loop {
        let mut scan = store.scan(LOG).limit(PAGE_LEN);
        if let Some(after) = &after {
            scan = scan.after(after);
        }
        let page = scan.iter().collect::<Result<Vec<_>, _>>()?;
        for chunk in &page {
            let (execution, sequence) =
                (paged / plan.chunks_per_execution, paged % plan.chunks_per_execution);
            let expected = data::chunk_id(execution, sequence);
            check(chunk.id == expected, || format!("{} stands where {expected} should", chunk.id))?;
            paged += 1;
        }
        pages += 1;
        match page.last() {
            Some(last) if page.len() == PAGE_LEN => after = Some(String::from(&last.id)),
            _ => break,
        }
    }
    check_count("the log chunks on all pages", paged, plan.chunks())?;
    let what = format!("page through the logs, {}", counted(pages, "page"));
    teller.did(&what, paged, "log chunk", start)
}

fn clean_up(store: &Store, teller: &mut Teller, plan: &Plan) -> Outcome {
    let start = Instant::now();
    let removed = store.delete_kind(SESSION)?;
    check_count("the sessions deleted", removed, plan.sessions)?;
    check_count("the sessions left", store.count(SESSION)?, 0)?;
    teller.did("delete the kind Session (Sync)", removed, "session", start)?;

    let start = Instant::now();
    let execution = plan.executions - 1;
    let prefix = format!("{}/", data::execution_id(execution));
    let removed = store.delete_prefix(LOG, &prefix)?;
    check_count("the log chunks deleted", removed, plan.chunks_per_execution)?;
    check_count("the log chunks left", store.count(LOG)?, plan.chunks() - removed)?;
    let gone = store.get_resource(LOG, &data::chunk_id(execution, 0))?;
    check(gone.is_none(), || format!("a log chunk under {prefix} was deleted, and is there"))?;
    let what = format!("delete logs under {prefix} (Sync)");
    teller.did(&what, removed, "log chunk", start)
}
