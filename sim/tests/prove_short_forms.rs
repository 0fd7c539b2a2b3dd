//! Every claim holds in its short form, and the proof of each sees at least one deliberate defect.
//!
//! The defects are only in daemons built with the feature `sabotage`, as `make test` builds them; with another daemon the
//! second half is to be refused, not passed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail by panicking")]

mod support;

use std::process::{Command, Output};

fn prove(arguments: &[&str]) -> Output {
    Command::new(support::SIM).arg("prove").args(arguments).output().unwrap()
}

fn said(output: &Output) -> String {
    format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn holds(claim: &str) {
    support::fieldgate();
    let output = prove(&[claim, "--short"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let result: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&result["proved"], &result["conditions"]["claim"]), (&true.into(), &claim.into()));
}

fn sees(claim: &str, defect: &str) {
    let version = Command::new(support::fieldgate()).arg("--version").output().unwrap();
    let is_sabotaged = said(&version).contains("(sabotage build");
    let output = prove(&[claim, "--short", "--sabotage", defect]);
    if !is_sabotaged {
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        assert!(said(&output).contains("not a sabotage build"), "{}", said(&output));
        return;
    }
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    assert!(said(&output).lines().any(|line| line.starts_with("violated: ")), "{}", said(&output));
}

#[test]
fn nothing_accepted_is_lost_when_the_daemon_is_killed() {
    holds("no-loss");
}

#[test]
fn the_proof_of_no_loss_sees_readings_deleted_before_they_are_acknowledged() {
    sees("no-loss", "delete-before-ack");
}

#[test]
fn the_daemon_is_ready_in_time() {
    holds("footprint");
}

#[test]
fn the_proof_of_the_footprint_sees_a_slow_start() {
    sees("footprint", "slow-start");
}

#[test]
fn a_month_on_a_small_data_plan_is_kept_and_spent_on_what_matters() {
    holds("budget");
}

#[test]
fn the_proof_of_the_budget_sees_headers_that_are_not_charged() {
    sees("budget", "charge-payload-only");
}

#[test]
fn every_claim_is_listed_with_a_defect() {
    let listed = prove(&["--list-sabotage"]);
    assert!(listed.status.success());
    let listed = String::from_utf8(listed.stdout).unwrap();
    for claim in ["no-loss", "footprint", "budget"] {
        let pairs = listed.lines().filter(|line| line.split(' ').next() == Some(claim));
        assert!(
            pairs.clone().count() > 0 && pairs.clone().all(|line| line.split(' ').count() == 2),
            "{listed}"
        );
    }
}

#[test]
fn wrong_usage_is_told_from_a_broken_promise() {
    for wrong in [
        &["no-such-claim"][..],
        &["no-loss", "--kills", "many"],
        &["no-loss", "--sabotage", "no-such-defect"],
        &["footprint", "--sabotage", "delete-before-ack"],
        &[],
    ] {
        assert_eq!(prove(wrong).status.code(), Some(2), "{wrong:?}");
    }
    let nowhere = prove(&["no-loss", "--short", "--fieldgate", "/nowhere/fieldgate"]);
    assert_eq!(nowhere.status.code(), Some(1), "{}", said(&nowhere));
}
