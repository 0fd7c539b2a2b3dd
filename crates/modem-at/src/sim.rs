//! What the SIM wants before it works: `+CPIN` and `+CPINR`. Its state is [`crate::SimState`].

use crate::fields::{DecodeError, Fields};

/// The code the SIM waits for, from `+CPIN: READY` or `+CPIN: "<code>"`. Without a working SIM the command fails with
/// `+CME ERROR: 13` instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PinState {
    /// None: it works.
    Ready,
    /// `SIM PIN`.
    Pin,
    /// `SIM PUK`: the PIN was wrong too often.
    Puk,
    /// `SIM PIN2`; the network works without it.
    Pin2,
    /// `SIM PUK2`; the network works without it.
    Puk2,
    /// Any other, as it came: locks to a network or a device.
    Other(String),
}

impl PinState {
    /// Decodes the line.
    ///
    /// # Errors
    /// Another line, or nothing in it.
    pub fn parse(line: &str) -> Result<Self, DecodeError> {
        Ok(match Fields::of(line, "+CPIN")?.text(0, "code")? {
            "READY" => Self::Ready,
            "SIM PIN" => Self::Pin,
            "SIM PUK" => Self::Puk,
            "SIM PIN2" => Self::Pin2,
            "SIM PUK2" => Self::Puk2,
            other => Self::Other(other.to_owned()),
        })
    }
}

/// How often a code may still be wrong, from `+CPINR: "<code>",<retries>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinRetries {
    /// Which code, as it came: `SIM PIN`, `SIM PUK`, `SIM PIN2`, `SIM PUK2`.
    pub code: String,
    /// Retries left.
    pub left: u8,
}

impl PinRetries {
    /// Decodes the line.
    ///
    /// # Errors
    /// Another line, or fewer than two fields.
    pub fn parse(line: &str) -> Result<Self, DecodeError> {
        let fields = Fields::of(line, "+CPINR")?;
        Ok(Self { code: fields.text(0, "code")?.to_owned(), left: fields.number(1, "retries")? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sim_is_ready_or_wants_a_code() {
        let state = |line| PinState::parse(line).unwrap();
        assert_eq!(state("+CPIN: READY"), PinState::Ready);
        assert_eq!(state("+CPIN: \"SIM PIN\""), PinState::Pin);
        assert_eq!(state("+CPIN: SIM PUK"), PinState::Puk);
        assert_eq!(
            (state("+CPIN: \"SIM PIN2\""), state("+CPIN: \"SIM PUK2\"")),
            (PinState::Pin2, PinState::Puk2)
        );
        assert_eq!(state("+CPIN: \"PH-NET PIN\""), PinState::Other("PH-NET PIN".to_owned()));
        assert!(PinState::parse("+CPIN:").is_err());
    }

    #[test]
    fn retries_are_counted_for_each_code() {
        let retries = PinRetries::parse("+CPINR: \"SIM PIN\",3").unwrap();
        assert_eq!((retries.code.as_str(), retries.left), ("SIM PIN", 3));
        assert!(PinRetries::parse("+CPINR: \"SIM PIN\"").is_err());
    }
}
