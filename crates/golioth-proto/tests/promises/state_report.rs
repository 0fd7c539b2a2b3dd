//! State reports: the fields of the report Golioth's SDK sends, in definite lengths.

use fieldgate_golioth_proto::state_report::{Reason, State, StateReport};

use crate::common::bytes;

#[test]
fn a_download_under_way_reports_both_versions() {
    let report = StateReport {
        state: State::Downloading,
        reason: Reason::Ready,
        package: "main",
        version: Some("1.2.3"),
        target: Some("1.2.4"),
    };
    let expected = bytes("a5 61 's' 01 61 'r' 00 63 'pkg' 64 'main' 61 'v' 65 '1.2.3' 61 't' 65 '1.2.4'");
    assert_eq!(report.encode(), expected);
}

#[test]
fn versions_that_are_not_known_are_left_out() {
    let idle = StateReport {
        state: State::Idle,
        reason: Reason::AwaitRetry,
        package: "modem",
        version: None,
        target: None,
    };
    assert_eq!(idle.encode(), bytes("a3 61 's' 00 61 'r' 0b 63 'pkg' 65 'modem'"));
    let proved = StateReport { state: State::Updating, version: Some("2"), ..idle };
    assert_eq!(proved.encode(), bytes("a4 61 's' 03 61 'r' 0b 63 'pkg' 65 'modem' 61 'v' 61 '2'"));
}

#[test]
fn states_and_reasons_have_golioths_numbers_and_words() {
    let states: Vec<(u8, &str)> = State::ALL.iter().map(|state| (state.code(), state.event_type())).collect();
    assert_eq!(states, [(0, "IDLE"), (1, "DOWNLOADING"), (2, "DOWNLOADED"), (3, "UPDATING")]);
    let numbered = [
        (0, Reason::Ready),
        (1, Reason::FirmwareUpdatedSuccessfully),
        (2, Reason::NotEnoughFlashMemory),
        (3, Reason::OutOfRam),
        (4, Reason::ConnectionLost),
        (5, Reason::IntegrityCheckFailure),
        (6, Reason::UnsupportedPackageType),
        (7, Reason::InvalidUri),
        (8, Reason::FirmwareUpdateFailed),
        (9, Reason::UnsupportedProtocol),
        (10, Reason::Io),
        (11, Reason::AwaitRetry),
    ];
    assert!(numbered.iter().all(|(code, reason)| reason.code() == *code));
    let mut names: Vec<&str> = numbered.iter().map(|(_, reason)| reason.name()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), 12, "no two reasons read alike");
}

#[test]
fn every_number_becomes_its_state_or_reason_and_others_none() {
    for code in 0..=u8::MAX {
        assert_eq!(State::from_code(code).map(State::code), (code <= 3).then_some(code));
        assert_eq!(Reason::from_code(code).map(Reason::code), (code <= 11).then_some(code));
    }
}
