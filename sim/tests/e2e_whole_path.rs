//! The whole path, as a user sees it: `fieldgate-sim demo` runs the real daemon as a child process against simulated
//! surroundings, cuts the link and brings it back, and the account of both sides closes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail by panicking")]

mod support;

use std::process::Command;

use serde_json::Value;

fn number(report: &Value, key: &str) -> u64 {
    report[key].as_u64().unwrap_or_else(|| panic!("{key} is {} and not a count", report[key]))
}

#[test]
fn a_reading_on_the_wire_reaches_the_cloud_once_over_a_link_that_is_cut_and_both_sides_say_so() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("report.json");
    let output = Command::new(support::SIM)
        .args(["demo", "--for", "15s", "--outage", "4s", "--seed", "7", "--report"])
        .arg(&file)
        .arg("--fieldgate")
        .arg(support::fieldgate())
        .output()
        .unwrap();
    let said =
        format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}");
    // Without a terminal it says what happens in plain lines, and at the end the account.
    assert!(!said.contains('\x1b') && said.contains("http://127.0.0.1:"), "{said}");
    assert!(said.contains("network CUT") && said.contains("The account closes."), "{said}");

    let report: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    let n = |key| number(&report, key);
    assert!(n("produced") >= 100, "too little was shown to show anything: {report:#}");
    assert_eq!((n("lost"), report["lost_identities"].as_array().unwrap().len()), (0, 0));
    assert_eq!(n("corrupted"), 0);
    assert_eq!(n("accepted"), n("acknowledged") + n("dropped") + n("set_aside") + n("queued"));
    assert_eq!(n("produced"), n("accepted") + n("refused") + n("coalesced") + n("missed"));
    // The demonstration demands 99.9 %; of so few that is all but one.
    assert!(n("produced") < 2000 && n("produced") - n("accepted") <= 1, "{report:#}");
    assert_eq!((n("queued"), n("set_aside"), n("dropped")), (0, 0, 0));
    assert_eq!(n("cloud_unique"), n("acknowledged"), "the cloud has what it acknowledged");
    // As it was, not as it was planned; a busy machine may cut late and for longer.
    let outage = report["outage_s"].as_f64().unwrap();
    assert!(outage > 0.0, "{outage}");
    assert!(n("handshakes") >= 1 && n("wire_bytes_up") > 0 && n("wire_bytes_down") > 0);
    assert!(n("pss_bytes") > 0 && n("peak_rss_bytes") >= n("pss_bytes") && n("binary_bytes") > 0);
    assert!(report["ready_ms"].as_f64().unwrap() > 0.0);
    assert!(n("cloud_duplicates") <= n("cloud_unique"));
    assert!(report["destinations"].as_object().unwrap().is_empty(), "there is no other destination");
    // The management API was asked, and its record matched with this gateway.
    assert_eq!(report["device"]["device"]["serial"], "gw-demo", "{report:#}");
    assert_eq!(report["device"]["integration"]["type"], "golioth", "{report:#}");
    firmware_is_told(&report);
    assert!(report["conditions"]["machine"]["cores"].as_u64().unwrap() > 0);
}

/// Every configured component is there, with its version, and each first version is a row of the history.
fn firmware_is_told(report: &Value) {
    let named = |list: &str, key: &str| -> Vec<(String, String)> {
        let entries = report[list].as_array().unwrap();
        let text = |entry: &Value, key: &str| entry[key].as_str().unwrap_or_default().to_owned();
        entries.iter().map(|entry| (text(entry, key), text(entry, "version"))).collect()
    };
    let own = ("main".to_owned(), env!("CARGO_PKG_VERSION").to_owned());
    let board = ("sensor-board".to_owned(), "1.2.3".to_owned());
    let cell = ("cell".to_owned(), "mfw_nrf91x1_2.0.4".to_owned());
    for expected in [&own, &board, &cell] {
        assert!(named("components", "package").contains(expected), "{expected:?}: {report:#}");
        assert!(named("firmware_history", "component").contains(expected), "{expected:?}: {report:#}");
    }
    let sources = report["firmware_history"].as_array().unwrap();
    assert!(sources.iter().all(|entry| entry["source"] == "factory_default"), "{sources:#?}");
}

#[test]
fn ctrl_c_ends_an_unbounded_show_with_its_account() {
    use std::io::{BufRead, BufReader};
    use std::process::Stdio;

    let mut child = Command::new(support::SIM)
        .args(["demo", "--fieldgate"])
        .arg(support::fieldgate())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    // Once readings were acknowledged there is something to account for.
    let working = |line: &String| !line.contains(" 0 acknowledged");
    let first = lines.by_ref().map(Result::unwrap).find(working);
    assert!(first.is_some(), "it ended before anything was acknowledged");
    let pid = nix::unistd::Pid::from_raw(child.id().try_into().unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    assert!(child.wait().unwrap().success(), "{rest:#?}");
    assert!(rest.iter().any(|line| line == "The account closes."), "{rest:#?}");
}
