//! Whatever ends `fieldgate-sim` before its time, no daemon of it is left running.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail by panicking")]

mod support;

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{ChildStderr, Command, ExitStatus, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Starts it in a temporary folder of its own, signals it as soon as it has said that its daemon is started, and waits for its end.
/// Gives the daemon's process id, the status, and whatever else it said.
fn signalled(arguments: &[&str], signal: Signal) -> (String, ExitStatus, String) {
    let folder = tempfile::tempdir().unwrap();
    let mut child = Command::new(support::SIM)
        .args(arguments)
        .arg("--fieldgate")
        .arg(support::fieldgate())
        .env("TMPDIR", folder.path())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut errors = BufReader::new(child.stderr.take().unwrap());
    let daemon = first_daemon(&mut errors);
    kill(Pid::from_raw(child.id().try_into().unwrap()), signal).unwrap();
    let status = child.wait().unwrap();
    let mut said = String::new();
    errors.read_to_string(&mut said).unwrap();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "its files are gone too");
    (daemon, status, said)
}

fn first_daemon(errors: &mut BufReader<ChildStderr>) -> String {
    let mut said = String::new();
    errors.read_line(&mut said).unwrap();
    let id = said.strip_prefix("fieldgate runs as process ").and_then(|rest| rest.split(',').next());
    id.unwrap_or_else(|| panic!("it said {said:?}")).to_owned()
}

fn assert_gone(daemon: &str) {
    // Collected, not just dead: its id is free again, or somebody else's.
    let command = std::fs::read(Path::new("/proc").join(daemon).join("cmdline")).unwrap_or_default();
    assert!(!String::from_utf8_lossy(&command).contains("fieldgate"), "process {daemon} is left behind");
}

#[test]
fn a_proof_that_is_interrupted_takes_its_daemon_along() {
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let (daemon, status, said) = signalled(&["prove", "no-loss", "--kills", "1000"], signal);
        assert_gone(&daemon);
        assert_eq!(status.code(), Some(1), "nothing is known about the promise: {said}");
        assert!(said.contains(&format!("ended by {signal}")), "{said}");
    }
}

#[test]
fn a_demonstration_that_is_ended_before_it_is_ready_takes_its_daemon_along() {
    let (daemon, status, said) = signalled(&["demo"], Signal::SIGTERM);
    assert_gone(&daemon);
    // Whether it was ready by then, and made an account, is a matter of moments.
    assert!(status.code().is_some(), "{said}");
}
