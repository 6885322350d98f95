//! The example daemon's resources, made from a seed and a number: the same every time, so that what
//! is read can be compared with what it should be without keeping a copy.

use prost_types::{Duration, Timestamp};

use super::SEED;
use crate::examples::log_chunk::Stream;
use crate::examples::session::{Turn, turn};
use crate::examples::workflow::Step;
use crate::examples::workflow_execution::{State, StepStatus};
use crate::examples::{Agent, LogChunk, Session, Workflow, WorkflowExecution};

/// 2026-01-01, when the daemon's life begins.
const BEGIN_SECONDS: i64 = 1_767_225_600;

const WORDS: &[&str] = &[
    "read",
    "the",
    "report",
    "check",
    "every",
    "number",
    "and",
    "write",
    "a",
    "summary",
    "for",
    "review",
    "open",
    "pull",
    "request",
    "when",
    "tests",
    "pass",
    "ask",
    "before",
    "deploying",
    "to",
    "production",
    "keep",
    "it",
    "short",
    "quote",
    "sources",
    "never",
    "guess",
];
const TEAMS: &[&str] = &["team-a", "team-b", "team-c", "team-d"];
const TOOLS: &[&str] = &["search", "shell", "browser", "git", "mail", "calendar"];

/// SplitMix64: small, fast, and the same on every machine.
pub(super) struct Rng(u64);

impl Rng {
    /// A generator for item `number` of stream `stream`.
    pub(super) fn new(seed: u64, stream: u64, number: u64) -> Rng {
        let mixed = Rng(seed ^ stream.wrapping_mul(0xd6e8_feb8_6659_fd93)).next();
        Rng(mixed ^ number.wrapping_mul(0xa076_1d64_78bd_642f))
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len() as u64) as usize]
    }

    fn words(&mut self, count: u64) -> String {
        let words: Vec<&str> = (0..count).map(|_| self.pick(WORDS)).collect();
        words.join(" ")
    }
}

fn time(number: u64) -> Option<Timestamp> {
    let nanos = (number % 1_000_000) as i32 * 1000;
    Some(Timestamp { seconds: BEGIN_SECONDS + number as i64, nanos })
}

pub(super) fn team(number: u64) -> &'static str {
    TEAMS[(number % TEAMS.len() as u64) as usize]
}

pub(super) fn agent_id(number: u64) -> String {
    format!("{}/agent-{number:05}", team(number))
}

pub(super) fn agent(number: u64) -> Agent {
    let mut rng = Rng::new(SEED, 1, number);
    Agent {
        name: format!("agent-{number:05}"),
        description: rng.words(12),
        model: format!("model-{}", rng.below(4)),
        instructions: rng.words(60),
        tools: TOOLS[..1 + rng.below(TOOLS.len() as u64) as usize]
            .iter()
            .map(|tool| tool.to_string())
            .collect(),
        labels: [("team".to_owned(), team(number).to_owned())].into(),
        temperature: rng.below(20) as f64 / 10.0,
        max_turns: 4 + rng.below(60) as u32,
        created_at: time(number),
        executions: 0,
    }
}

pub(super) fn workflow_id(number: u64) -> String {
    format!("workflow-{number:05}")
}

pub(super) fn workflow(number: u64, agents: u64) -> Workflow {
    let mut rng = Rng::new(SEED, 2, number);
    let steps = (0..1 + rng.below(5)).map(|step| Step {
        name: format!("step-{step}"),
        agent: agent_id(rng.below(agents)),
        prompt: rng.words(20),
        timeout: Some(Duration { seconds: 60 * (1 + rng.below(30) as i64), nanos: 0 }),
        max_attempts: 1 + rng.below(3) as u32,
        needs: if step > 0 { vec![format!("step-{}", step - 1)] } else { Vec::new() },
    });
    Workflow {
        name: workflow_id(number),
        steps: steps.collect(),
        description: format!("Number {number} of the example"),
        labels: [("team".to_owned(), team(number).to_owned())].into(),
        created_at: time(number),
    }
}

pub(super) fn execution_id(number: u64) -> String {
    format!("run-{number:06}")
}

/// The state in which execution `number` ends: one in eight fails.
pub(super) fn final_state(number: u64) -> State {
    if number % 8 == 7 { State::Failed } else { State::Succeeded }
}

pub(super) fn execution(number: u64, workflows: u64, state: State) -> WorkflowExecution {
    let mut rng = Rng::new(SEED, 3, number);
    let has_begun = state != State::Pending;
    let is_over = has_begun && state != State::Running;
    let has_failed = state == State::Failed;
    let step = StepStatus {
        name: "step-0".into(),
        state: state.into(),
        attempts: has_begun.into(),
        started_at: if has_begun { time(number + 1) } else { None },
        finished_at: if is_over { time(number + 30) } else { None },
    };
    WorkflowExecution {
        workflow: workflow_id(rng.below(workflows)),
        state: state.into(),
        steps: vec![step],
        created_at: time(number),
        finished_at: if is_over { time(number + 30) } else { None },
        error: if has_failed { rng.words(8) } else { String::new() },
        exit_code: if has_failed { -1 } else { 0 },
        attempt_times: if has_begun { vec![BEGIN_SECONDS + number as i64 + 1] } else { Vec::new() },
    }
}

pub(super) fn session_id(number: u64) -> String {
    format!("session-{number:06}")
}

pub(super) fn session(number: u64, agents: u64) -> Session {
    let mut rng = Rng::new(SEED, 4, number);
    let turns = (0..2 + rng.below(8)).map(|at| Turn {
        from: Some(match at % 2 {
            0 => turn::From::User(rng.words(8)),
            _ => turn::From::Agent(rng.words(30)),
        }),
        at: time(number + at),
        tokens: rng.below(500) as u32,
    });
    Session {
        turns: turns.collect(),
        agent: agent_id(number % agents),
        title: format!("Conversation {number}"),
        context_hash: Rng::new(SEED, 5, number).next(),
        created_at: time(number),
    }
}

pub(super) fn chunk_id(execution: u64, sequence: u64) -> String {
    format!("{}/{sequence:05}", execution_id(execution))
}

pub(super) fn chunk(execution: u64, sequence: u64) -> LogChunk {
    let mut rng = Rng::new(SEED, 6 + execution, sequence);
    let lines: Vec<String> = (0..1 + rng.below(8)).map(|_| rng.words(10)).collect();
    LogChunk {
        execution: execution_id(execution),
        sequence,
        stream: if rng.below(5) == 0 { Stream::Stderr } else { Stream::Stdout }.into(),
        content: (lines.join("\n") + "\n").into_bytes(),
        at: time(execution + sequence),
    }
}
