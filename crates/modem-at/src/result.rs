//! How a command ended.

use core::time::Duration;

use crate::meaning;

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
    #[error("the modem refused the command: {}", described(.0.cme_meaning(), "+CME ERROR", .0.text()))]
    Cme(ReportedError),
    /// `+CMS ERROR: <n>`, the short message service's.
    #[error("the modem's message service refused the command: {}", described(.0.cms_meaning(), "+CMS ERROR", .0.text()))]
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
    /// The application took the command and not its payload, `#XDATAMODE: -1`.
    #[error("the application did not take the data that belongs to the command; send it again")]
    PayloadRefused,
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

    /// What the number means, where it is known.
    #[must_use]
    pub fn cme_meaning(&self) -> Option<&'static str> {
        meaning::cme(self.code()?)
    }

    /// What the number means as one of the message service, where it is known.
    #[must_use]
    pub fn cms_meaning(&self) -> Option<&'static str> {
        meaning::cms(self.code()?)
    }
}

/// `(meaning, kind, as it came)` in one text.
fn described(meaning: Option<&str>, kind: &str, text: &str) -> String {
    match meaning {
        Some(meaning) => format!("{meaning} ({kind} {text})"),
        None => format!("{kind} {text}"),
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
        let error = CommandError::Cme(ReportedError::new("518"));
        let words = "the modem refused the command: not allowed while the modem is active (+CME ERROR 518)";
        assert_eq!(error.to_string(), words);
        let error = CommandError::Cms(ReportedError::new("322"));
        assert!(error.to_string().ends_with("message memory full (+CMS ERROR 322)"), "{error}");
        // The same number means another thing to the other service.
        assert_eq!(ReportedError::new("322").cme_meaning(), None);
    }
}
