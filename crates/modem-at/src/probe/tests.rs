//! The probe against a scripted far end.

use core::time::Duration;

use proptest::prelude::*;

use super::*;

/// What a build does with one command line.
type Answers = fn(&str) -> Option<&'static str>;

/// Runs a probe against a far end that ends commands at `terminator` and keeps a foreign CR or LF in them or, as the
/// Serial Modem does, throws away what stands before `AT`.
fn run(terminator: &str, answers: Answers, mute_for: Duration) -> (ProbeOutcome, Duration) {
    let mut now = Duration::ZERO;
    let mut probe = Probe::new(now);
    let mut input = String::new();
    for _ in 0..200 {
        while let Some(bytes) = probe.poll_transmit() {
            if now < mute_for {
                continue;
            }
            input.push_str(&String::from_utf8_lossy(&bytes));
            while let Some(end) = input.find(terminator) {
                let line: String = input.drain(..end + terminator.len()).collect();
                let line = line.strip_suffix(terminator).unwrap();
                let line = line.find("AT").map_or("", |at| &line[at..]);
                if let Some(answer) = (!line.is_empty()).then(|| answers(line)).flatten() {
                    now += Duration::from_millis(5);
                    probe.handle_bytes(now, answer.as_bytes());
                }
            }
        }
        if let Some(outcome) = probe.outcome() {
            return (outcome.clone(), now);
        }
        now = now.max(probe.poll_timeout().unwrap());
        probe.handle_timeout(now);
    }
    panic!("the probe does not end");
}

fn serial_modem(line: &str) -> Option<&'static str> {
    Some(match line {
        "AT" => "\r\nOK\r\n",
        "AT#XSMVER" => "\r\n#XSMVER: \"v1.99.0-67-ga9e396bc3d58\",\"3.3.99\"\r\n\r\nOK\r\n",
        _ => "\r\nERROR\r\n",
    })
}

fn serial_lte_modem(line: &str) -> Option<&'static str> {
    Some(match line {
        "AT" => "OK\r\n",
        "AT#XSLMVER" => "#XSLMVER: \"2.6.0\",\"2.6.0\",\"mine\"\r\nOK\r\n",
        _ => "ERROR\r\n",
    })
}

fn plain(line: &str) -> Option<&'static str> {
    Some(if line == "AT" { "OK\r\n" } else { "+CME ERROR: 100\r\n" })
}

#[test]
fn a_serial_modem_is_found_by_its_version() {
    let (outcome, took) = run("\r", serial_modem, Duration::ZERO);
    let version = AppVersion {
        version: "v1.99.0-67-ga9e396bc3d58".to_owned(),
        built_with: Some("3.3.99".to_owned()),
        customer: None,
    };
    assert_eq!(version.release(), Some((1, 99, 0)));
    let application = Application::SerialModem { version };
    assert_eq!(outcome, ProbeOutcome::Found { application, terminator: Terminator::CrLf, echo: false });
    assert!(took < Duration::from_secs(1));
}

#[test]
fn its_predecessor_is_found_by_its_own_version() {
    let (outcome, _) = run("\r\n", serial_lte_modem, Duration::ZERO);
    let ProbeOutcome::Found { application: Application::SerialLteModem { version }, terminator, .. } =
        outcome
    else {
        panic!("{outcome:?}");
    };
    assert_eq!((version.release(), version.customer.as_deref()), (Some((2, 6, 0)), Some("mine")));
    assert_eq!(terminator, Terminator::CrLf);
}

#[test]
fn two_refusals_mean_the_modem_alone() {
    let (outcome, _) = run("\r\n", plain, Duration::ZERO);
    assert_eq!(
        outcome,
        ProbeOutcome::Found { application: Application::PlainAt, terminator: Terminator::CrLf, echo: false }
    );
}

#[test]
fn a_build_for_lf_alone_is_found_by_the_third_try() {
    let (outcome, took) = run("\n", serial_modem, Duration::ZERO);
    assert!(matches!(
        outcome,
        ProbeOutcome::Found { application: Application::SerialModem { .. }, terminator: Terminator::Lf, .. }
    ));
    assert!(took < Duration::from_secs(2));
}

#[test]
fn a_modem_that_starts_late_is_found() {
    for answers in [serial_modem as Answers, serial_lte_modem, plain] {
        for mute in [1u64, 3, 6, 10] {
            let (outcome, _) = run("\r\n", answers, Duration::from_secs(mute));
            assert!(
                matches!(outcome, ProbeOutcome::Found { terminator: Terminator::CrLf, .. }),
                "{mute}: {outcome:?}"
            );
        }
    }
}

#[test]
fn silence_is_an_outcome_after_a_bounded_number_of_tries() {
    let (outcome, took) = run("\r", |_| None, Duration::ZERO);
    assert_eq!(outcome, ProbeOutcome::Silent { tries: TRIES_MAX });
    let pauses = 2 * ESCAPE_PAUSE + CMUX_CLOSE_PAUSE;
    assert_eq!(took, Duration::from_secs(3 * (1 + 2 + 3 + 4)) + pauses);
}

#[test]
fn something_that_always_refuses_is_not_a_modem() {
    assert_eq!(
        run("\r", |_| Some("ERROR\r\n"), Duration::ZERO).0,
        ProbeOutcome::Refuses { tries: TRIES_MAX }
    );
}

/// Answers a probe's questions in order, each `AT` settled before the next.
fn answer(answers: &[&str]) -> Probe {
    let mut now = Duration::ZERO;
    let mut probe = Probe::new(now);
    for text in answers {
        probe.handle_bytes(now, text.as_bytes());
        if matches!(probe.step, Step::Settle { .. }) {
            now = probe.poll_timeout().unwrap();
            probe.handle_timeout(now);
        }
    }
    probe
}

#[test]
fn a_straggling_ok_is_not_taken_for_the_version_answer() {
    let mut probe = answer(&["OK\r\n", "OK\r\n"]);
    assert_eq!(probe.outcome(), None);
    probe.handle_bytes(Duration::from_secs(1), b"#XSMVER: \"v1.99.0\",\"3.3.99\"\r\nOK\r\n");
    assert!(matches!(
        probe.outcome(),
        Some(ProbeOutcome::Found { application: Application::SerialModem { .. }, .. })
    ));
}

#[test]
fn an_ok_left_over_from_another_terminator_is_not_believed() {
    // Somebody else's OK, then the refusal of an LF build: CR LF is not the terminator.
    let mut probe = answer(&["OK\r\nERROR\r\n"]);
    assert_eq!(probe.poll_transmit().as_deref(), Some(b"AT\r\n".as_slice()));
    probe.handle_bytes(Duration::from_secs(1), b"ERROR\r\n");
    assert_eq!(probe.poll_transmit().as_deref(), Some(b"AT\n".as_slice()));
}

#[test]
fn a_restart_during_the_probe_is_asked_at_once() {
    let mut probe = Probe::new(Duration::ZERO);
    probe.poll_transmit();
    probe.handle_bytes(Duration::from_millis(100), b"\xff\x00Ready\r\n");
    assert_eq!(probe.poll_transmit().as_deref(), Some(b"AT\r\n".as_slice()));
}

#[test]
fn the_bootloader_announces_itself() {
    let mut probe = Probe::new(Duration::ZERO);
    probe.handle_bytes(Duration::ZERO, b"Bootloader mode ready\r\n");
    assert_eq!(probe.outcome(), Some(&ProbeOutcome::Bootloader));
    assert_eq!(probe.poll_timeout(), None);
}

#[test]
fn echo_is_noticed() {
    let probe = answer(&["AT\r\r\nOK\r\n", "AT#XSMVER\r\r\nERROR\r\n", "AT#XSLMVER\r\r\nERROR\r\n"]);
    assert_eq!(
        probe.outcome(),
        Some(&ProbeOutcome::Found {
            application: Application::PlainAt,
            terminator: Terminator::CrLf,
            echo: true
        })
    );
}

#[test]
fn versions_that_are_not_numbers_have_no_release() {
    let release = |text: &str| AppVersion { version: text.to_owned(), ..AppVersion::default() }.release();
    assert_eq!(release("2.0.0-rc1"), Some((2, 0, 0)));
    assert_eq!(release("2.0"), None);
    assert_eq!(release("main"), None);
}

/// A far end that hears nothing but `wakes` until it has heard that.
fn asleep_until(wakes: &[u8]) -> (ProbeOutcome, Duration) {
    let mut now = Duration::ZERO;
    let mut probe = Probe::new(now);
    let mut awake = None;
    while probe.outcome().is_none() {
        while let Some(bytes) = probe.poll_transmit() {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            match awake {
                None if bytes == wakes => awake = Some(now),
                // It takes commands a moment later only.
                Some(since) if now >= since + ESCAPE_PAUSE => {
                    let answer = serial_modem(text.trim()).unwrap();
                    probe.handle_bytes(now, answer.as_bytes());
                }
                _ => {}
            }
        }
        if let Some(at) = probe.poll_timeout() {
            now = now.max(at);
            probe.handle_timeout(now);
        }
    }
    (probe.outcome().unwrap().clone(), now)
}

#[test]
fn a_modem_left_in_data_mode_or_multiplexing_is_found() {
    for (wakes, within) in [(ESCAPE, 5), (CMUX_CLOSE, 14)] {
        let (outcome, took) = asleep_until(wakes);
        assert!(
            matches!(outcome, ProbeOutcome::Found { application: Application::SerialModem { .. }, .. }),
            "{wakes:?}: {outcome:?}"
        );
        assert!(took < Duration::from_secs(within), "{wakes:?}: {took:?}");
    }
}

proptest! {
    #[test]
    fn any_bytes_end_in_an_outcome(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..20)) {
        let mut now = Duration::ZERO;
        let mut probe = Probe::new(now);
        for piece in pieces {
            probe.handle_bytes(now, &piece);
            prop_assert!(probe.transmit.len() <= 1);
            if let Some(at) = probe.poll_timeout() {
                now = now.max(at);
                probe.handle_timeout(now);
            }
        }
        for _ in 0..60 {
            if let Some(at) = probe.poll_timeout() {
                now = now.max(at);
                probe.handle_timeout(now);
            }
        }
        prop_assert!(probe.outcome().is_some());
    }
}
