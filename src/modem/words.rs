//! What the lane knows, in words a technician can act on. Nothing here promises what the daemon does not do.

use std::fmt::Write;

use fieldgate_modem_at::{Application, RejectAdvice, RejectCause, SimState, Value};

/// Longest text of the modem's that is shown or logged, in characters.
const TEXT_MAX: usize = 80;
/// So many digits in a row may be a subscriber's number.
const NUMBER_MIN: usize = 6;

/// The application in front of the modem.
pub(super) fn application(application: &Application) -> String {
    match application {
        Application::SerialModem { version } => format!("Serial Modem {}", shown(&version.version)),
        Application::SerialLteModem { version } => format!("Serial LTE Modem {}", shown(&version.version)),
        Application::PlainAt => "plain AT firmware".to_owned(),
    }
}

/// A text of the modem's for display: printable, and no longer than a line.
pub(super) fn shown(text: &str) -> String {
    text.trim().chars().filter(|c| !c.is_control()).take(TEXT_MAX).collect()
}

/// A text of the modem's for the log: as [`shown`], with everything that might be a subscriber's number left out.
pub(super) fn logged(text: &str) -> String {
    let mut out = String::new();
    let mut digits = String::new();
    for c in shown(text).chars().chain(std::iter::once('\n')) {
        if c.is_ascii_digit() {
            digits.push(c);
            continue;
        }
        if digits.len() >= NUMBER_MIN {
            out.push('…');
        } else {
            out.push_str(&digits);
        }
        digits.clear();
        if c != '\n' {
            out.push(c);
        }
    }
    out
}

/// What is wrong with the card and what to do; `None` while it works or is still being read.
pub(super) fn sim(state: &SimState) -> Option<String> {
    let SimState::NotInitialised { cause } = state else { return None };
    let cause = match cause {
        Value::Known(cause) => *cause,
        Value::Absent => return None,
        Value::Text(_) => return Some("the SIM does not work, for a reason not known here".to_owned()),
    };
    Some(match cause {
        1 | 2 => "the SIM wants a PIN: switch its PIN off in a phone, or use a SIM without one".to_owned(),
        3..=6 => "the SIM is blocked: unblock it in a phone with the PUK from its operator, or replace it"
            .to_owned(),
        7 => "the modem is locked to another operator: use a SIM of that operator".to_owned(),
        8 => "the SIM does not accept this modem (IMEI lock): ask its operator".to_owned(),
        9 => NO_SIM.to_owned(),
        10 | 11 => "the SIM or its profile was changed: switch the modem off and on".to_owned(),
        other => format!("the SIM does not work (cause {other}): replace it, or ask its operator"),
    })
}

/// No card, a dead one, or an eSIM without a profile: the modem says the same of all three.
pub(super) const NO_SIM: &str = "no working SIM: insert one, or take it out and put it back with the modem \
                                 switched off; an eSIM needs an enabled profile";

/// Why the network refused, and what to do.
pub(super) fn rejection(reject: RejectCause) -> String {
    let mut words = match reject.meaning() {
        Some(meaning) => format!("{meaning} (cause {})", reject.cause),
        None => format!("cause {} of kind {}", reject.cause, reject.kind),
    };
    let advice = match reject.advice() {
        RejectAdvice::Subscription => "ask the SIM's operator whether it is active and allowed in this modem",
        RejectAdvice::OtherNetwork => {
            "this network or area does not serve the SIM; ask its operator about roaming here"
        }
        RejectAdvice::Later => "the network is busy; wait",
        RejectAdvice::Unknown => return words,
    };
    let _ = write!(words, ": {advice}");
    words
}

/// A state in which the modem keeps its radio off, or warns that it cannot work as it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    Overheated,
    BatteryLow,
    ResetLoop,
    NoImei,
    NotCalibrated,
    InvalidBands,
}

impl Trouble {
    /// Ends when the modem is on the network.
    pub(super) fn keeps_off_network(self) -> bool {
        matches!(self, Self::Overheated | Self::BatteryLow | Self::ResetLoop | Self::NoImei)
    }

    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Overheated => {
                "the modem is too hot and switched its radio off: let it cool, then switch it off and on"
            }
            Self::BatteryLow => {
                "the modem's supply is too low and it switched its radio off: check the supply, then switch the \
                 modem off and on"
            }
            Self::ResetLoop => {
                "the modem was reset too often and stays off the network for 30 minutes: leave it switched on"
            }
            Self::NoImei => "the modem has no IMEI: no network will accept it; replace it",
            Self::NotCalibrated => "the modem's radio is not calibrated: it may not work; replace it",
            Self::InvalidBands => {
                "the modem's band lock leaves it no band: correct the bands it is locked to"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_could_be_a_subscribers_never_reaches_the_log() {
        assert_eq!(logged("a 352656106647673,\"8901\" \u{7}x"), "a …,\"8901\" x");
        assert_eq!(logged("204080813630037"), "…");
        assert_eq!(logged("mfw_nrf91x1_2.0.4"), "mfw_nrf91x1_2.0.4");
        assert_eq!(logged("nRF9151 LACA A1A"), "nRF9151 LACA A1A");
        assert_eq!(logged(&"x".repeat(500)).chars().count(), TEXT_MAX);
    }

    #[test]
    fn every_card_fault_says_what_to_do() {
        for cause in 1..=12 {
            let words = sim(&SimState::NotInitialised { cause: Value::Known(cause) }).unwrap();
            assert!(words.contains(':'), "{words}");
        }
        assert_eq!(sim(&SimState::Initialised), None);
        assert_eq!(sim(&SimState::NotInitialised { cause: Value::Absent }), None, "it is still being read");
    }

    #[test]
    fn a_refusal_names_its_cause_and_who_can_help() {
        let words = |cause| rejection(RejectCause { kind: 0, cause });
        assert!(words(8).starts_with("no services allowed (cause 8): ask the SIM's operator"));
        assert!(words(13).contains("roaming"));
        assert!(words(22).ends_with("wait"));
        assert_eq!(words(200), "cause 200 of kind 0");
    }
}
