//! How a command ended.

use core::time::Duration;

/// A command ended well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Success {
    /// `OK`.
    Ok,
    /// `CONNECT`: from here on the line carries data, not AT. Drop the session.
    Connect,
}

/// A command did not end well.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// Plain `ERROR`: refused without a reason (reasons need `AT+CMEE=1`).
    #[error(
        "the modem refused the command without a reason; check that this firmware has it and that the modem is in the right mode"
    )]
    Error,
    /// `+CME ERROR: <n>`.
    #[error("the modem refused the command: {0}")]
    Cme(ReportedError),
    /// `+CMS ERROR: <n>`, the short message service's.
    #[error("the modem's message service refused the command: error {}", .0.text())]
    Cms(ReportedError),
    /// No final result within the command's deadline.
    #[error("the modem did not answer within {} s; its state is unknown and it is asked again before the next command", .after.as_secs())]
    TimedOut {
        /// The deadline that passed.
        after: Duration,
    },
    /// The modem restarted before it answered; subscriptions and modes are lost.
    #[error("the modem restarted before it answered; initialise it again, then repeat the command")]
    Reset,
    /// The modem did not answer a single `AT`: the command was never sent.
    #[error("the modem answers nothing; the command was not sent. Check power, cable, DTR and speed")]
    Silent,
    /// The line was handed over to data before the command was sent.
    #[error("the line carries data now; the command was not sent. Use another AT channel")]
    DataMode,
}

/// The error a modem named, verbatim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportedError {
    text: String,
}

impl ReportedError {
    pub(crate) fn new(text: &str) -> Self {
        Self { text: text.trim().to_owned() }
    }

    /// What stood after the colon.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The number, where it is one.
    #[must_use]
    pub fn code(&self) -> Option<u16> {
        self.text.parse().ok()
    }

    /// What a `+CME ERROR` number means (3GPP TS 27.007 section 9.2; from 513 on Nordic's own), where it is known.
    #[must_use]
    pub fn cme_meaning(&self) -> Option<&'static str> {
        Some(match self.code()? {
            0 => "phone failure",
            3 => "operation not allowed",
            4 => "operation not supported",
            10 => "no SIM inserted",
            11 => "the SIM wants its PIN",
            12 => "the SIM wants its PUK",
            13 => "SIM failure, or a SIM without an enabled profile",
            14 => "SIM busy",
            15 => "wrong SIM",
            16 => "wrong password",
            20 => "memory full",
            22 => "not found",
            30 => "no network service",
            50 => "incorrect parameters",
            100 => "unknown error",
            513 => "credential not found",
            514 => "no access",
            515 => "credential memory full",
            518 => "not allowed while the modem is active",
            519 => "already exists",
            528 => "power-off warning in force",
            _ => return None,
        })
    }
}

impl std::fmt::Display for ReportedError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.cme_meaning() {
            Some(meaning) => write!(f, "{meaning} (+CME ERROR {})", self.text),
            None => write!(f, "+CME ERROR {}", self.text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_error_number_is_shown_verbatim() {
        assert_eq!(
            CommandError::Cme(ReportedError::new("977")).to_string(),
            "the modem refused the command: +CME ERROR 977"
        );
        assert_eq!(ReportedError::new("SIM wrong").code(), None);
    }

    #[test]
    fn a_known_error_number_says_what_it_means() {
        let error = ReportedError::new("518");
        assert_eq!(error.code(), Some(518));
        assert_eq!(error.to_string(), "not allowed while the modem is active (+CME ERROR 518)");
    }
}
