//! Processes that get a time limit: one that hangs must not take the whole run with it.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use crate::engine::{Error, Result};

/// How a process ended, and what it said.
pub struct Ended {
    pub status: ExitStatus,
    pub said: String,
    /// What it printed to standard error.
    pub complained: String,
}

/// How often somebody looks whether a process has ended: that long an answer may come late, and no
/// figure has this in it.
const LOOK: Duration = Duration::from_millis(10);

/// Runs a process to its end, or kills it when the limit is over.
///
/// # Errors
/// The limit is over, or the process can't be run.
pub fn output(command: &mut Command, limit: Duration) -> Result<Ended> {
    let mut child = spawn(command.stderr(Stdio::piped()))?;
    let said = child.stdout.take().map(read_all).ok_or("its output is piped")?;
    let complained = child.stderr.take().map(read_all).ok_or("its errors are piped")?;
    let end = Instant::now() + limit;
    let status = ended_by(&mut child, end)?;
    // What it started may live on and hold the pipes, so these have an end, too.
    let text = |text: mpsc::Receiver<Vec<u8>>| {
        let left = end.saturating_duration_since(Instant::now());
        text.recv_timeout(left.max(LOOK))
            .map_err(|_| "it left a process behind that holds its output")
    };
    let (said, complained) = (text(said)?, text(complained)?);
    let complained = String::from_utf8_lossy(&complained).into_owned();
    Ok(Ended { status, said: String::from_utf8(said)?, complained })
}

/// Kills a process when `enough` says so about a line that it printed; `enough` also gets the lines
/// that it printed before it died. If it ended by itself, returns how.
///
/// # Errors
/// As [`output`].
pub fn kill_when(
    command: &mut Command,
    limit: Duration,
    mut enough: impl FnMut(&str) -> bool,
) -> Result<Option<ExitStatus>> {
    let mut child = spawn(command)?;
    let said = child.stdout.take().ok_or("its output is piped")?;
    let (send, lines) = mpsc::channel();
    thread::spawn(move || BufReader::new(said).lines().try_for_each(|line| send.send(line)));
    let end = Instant::now() + limit;
    let mut killed = false;
    loop {
        match lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                if enough(&line?) && !killed {
                    child.kill()?;
                    killed = true;
                }
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => return Err(over(&mut child, limit)),
        }
    }
    let status = ended_by(&mut child, end)?;
    Ok(if killed { None } else { Some(status) })
}

fn spawn(command: &mut Command) -> Result<Child> {
    Ok(command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?)
}

fn read_all(mut from: impl Read + Send + 'static) -> mpsc::Receiver<Vec<u8>> {
    let (send, text) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // What was read before an error is as much as can be known.
        let _ = from.read_to_end(&mut bytes);
        send.send(bytes)
    });
    text
}

fn ended_by(child: &mut Child, end: Instant) -> Result<ExitStatus> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if Instant::now() >= end {
            return Err(over(child, end - start));
        }
        thread::sleep(LOOK);
    }
}

fn over(child: &mut Child, limit: Duration) -> Error {
    // It may have ended this moment.
    let _ = child.kill();
    let _ = child.wait();
    format!("killed: it was not done after {} s", limit.as_secs_f64().round()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn a_process_that_ends_is_heard() {
        let ended = output(&mut sh("echo said; echo complained >&2; exit 3"), LONG).expect("ends");
        assert_eq!(ended.status.code(), Some(3));
        assert_eq!((ended.said.as_str(), ended.complained.as_str()), ("said\n", "complained\n"));
    }

    #[test]
    fn a_process_that_hangs_is_killed() {
        let short = Duration::from_millis(100);
        for script in ["exec sleep 600", "exec >&- 2>&-; exec sleep 600"] {
            let error = output(&mut sh(script), short).err().expect("an error").to_string();
            assert!(error.contains("not done after"), "{error}");
            let error = kill_when(&mut sh(script), short, |_| true).expect_err("an error");
            assert!(error.to_string().contains("not done after"), "{error}");
        }
    }

    #[test]
    fn a_process_is_killed_when_it_said_enough() {
        let script = "echo 1; echo 2; echo 3; exec sleep 600";
        let mut seen = 0;
        let ended = kill_when(&mut sh(script), LONG, |line| {
            seen += 1;
            line == "2"
        });
        assert!(ended.expect("no error").is_none());
        assert!(seen >= 2, "{seen}");
        let ended = kill_when(&mut sh("echo 1"), LONG, |_| false).expect("no error");
        assert!(ended.expect("it ended by itself").success());
    }
}
