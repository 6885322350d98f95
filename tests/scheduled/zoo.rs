//! Planted bugs (`src/zoo.rs`) that only these tests can catch. `tests/it/zoo.rs` has the others.

use std::process::{Command, Stdio};

use crate::zoo::Bug;

/// The scenario that is to catch a bug.
fn catcher(bug: Bug) -> &'static str {
    match bug {
        Bug::GoneBeforeRetired => "a_segment_is_found_while_it_is_retired",
        Bug::LeadsForEver => "acknowledged_commits_are_durable_and_visible_in_order",
        Bug::FailsInSilence => "a_leader_that_can_not_heal_tells_those_who_wait_for_it",
        other => panic!("{other:?} is for tests/it/zoo.rs"),
    }
}

/// Whether a scenario ends well, with this bug or with none.
fn passes(scenario: &str, bug: Option<Bug>) -> bool {
    let mut command = Command::new(std::env::current_exe().expect("this binary"));
    command.args([scenario, "--test-threads=1"]).env_remove("KINDLOG_BUG");
    if let Some(bug) = bug {
        command.env("KINDLOG_BUG", format!("{bug:?}"));
    }
    let ended = command.stdout(Stdio::piped()).stderr(Stdio::null()).output().expect("run a child");
    let said = String::from_utf8_lossy(&ended.stdout);
    assert!(said.contains("running 1 test"), "{scenario}: {said}");
    ended.status.success()
}

#[test]
fn every_planted_bug_is_caught() {
    for bug in Bug::SCHEDULED.iter().copied() {
        let scenario = catcher(bug);
        assert!(passes(scenario, None), "{scenario} fails without a bug");
        assert!(!passes(scenario, Some(bug)), "not caught: {bug:?}");
        println!("| `{bug:?}` | {} | {} | `{scenario}` |", bug.what(), bug.rule());
    }
}
