//! Facts about the modem and its radio.

use sha2::{Digest, Sha256};

/// How good the radio is, as people say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignalGrade {
    /// Nothing known.
    Unknown,
    /// Hardly usable.
    VeryPoor,
    /// Retries are normal.
    Poor,
    /// Works.
    Fair,
    /// Works well.
    Good,
    /// As good as it gets.
    Excellent,
}

/// What the modem last said of the radio.
#[derive(Clone, Debug, PartialEq)]
pub struct Signal {
    /// dBm.
    pub rsrp_dbm: Option<f32>,
    /// dB.
    pub rsrq_db: Option<f32>,
    /// dB.
    pub snr_db: Option<f32>,
    /// For people.
    pub grade: SignalGrade,
}

/// Where the modem stands with the network.
#[derive(Clone, Debug, PartialEq)]
pub struct Registration {
    /// Registered, home or roaming.
    pub registered: bool,
    /// Roaming.
    pub roaming: bool,
    /// In words, for people: `registered, roaming`, `searching`, `SIM failure`.
    pub words: String,
    /// Operator, numeric or by name.
    pub operator: Option<String>,
    /// Its number: country and network code, five or six digits.
    pub plmn: Option<String>,
    /// `LTE-M`, `NB-IoT`.
    pub access: Option<String>,
    /// Band.
    pub band: Option<u16>,
    /// Cell, hexadecimal as the network writes it.
    pub cell: Option<String>,
}

/// Who the modem is. The subscriber's numbers are [`Hidden`]: masked wherever they are shown.
#[derive(Clone, Debug, PartialEq)]
pub struct ModemIdentity {
    /// `Serial Modem v1.99.0`, `plain AT firmware`.
    pub application: String,
    /// `nRF9151 LACA A1A`.
    pub hardware: Option<String>,
    /// `mfw_nrf91x1_2.0.4`.
    pub firmware: Option<String>,
    /// Equipment identity.
    pub imei: Option<Hidden>,
    /// Card identity.
    pub iccid: Option<Hidden>,
    /// Subscriber identity.
    pub imsi: Option<Hidden>,
}

/// Whether the modem answers, and what it says of itself; the network's side is [`Registration`].
#[derive(Clone, Debug, PartialEq)]
pub struct ModemState {
    /// Where the lane stands with it.
    pub phase: ModemPhase,
    /// In words: what is so, and what to do when something is wrong.
    pub words: String,
    /// Nothing about it needs attention.
    pub fine: bool,
}

/// Where the modem's lane stands with the modem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModemPhase {
    /// The port is not open: not there, held by another, or closed before the next attempt.
    NoPort,
    /// The port is open; who answers is being found out.
    Probing,
    /// Something answers; it is being identified and told what to report.
    Starting,
    /// It answers and reports.
    Up,
    /// An answer is overdue; what is on the board may be old.
    Doubtful,
    /// It restarted by itself; it is set up again in a moment.
    Restarted,
    /// Its application waits for firmware and does nothing else.
    Bootloader,
}

/// A number that identifies a subscriber: shown masked until roles exist.
#[derive(Clone, PartialEq, Eq)]
pub struct Hidden(String);

impl Hidden {
    /// Wraps it.
    #[must_use]
    pub fn new(number: impl Into<String>) -> Self {
        Self(number.into())
    }

    /// SHA-256 of it, to know it again by. It has few digits and can be found from this by trying: no place for it but a sealed one.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        Sha256::digest(&self.0).into()
    }

    /// All but the last four characters replaced.
    #[must_use]
    pub fn masked(&self) -> String {
        let keep = self.0.chars().count().saturating_sub(4);
        self.0.chars().enumerate().map(|(n, c)| if n < keep { '•' } else { c }).collect()
    }
}

impl std::fmt::Debug for Hidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.masked())
    }
}

/// What the modem counted on the air since it was last told to begin, whoever caused it; bytes, counted in kilobytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataCounters {
    /// Sent.
    pub sent: u64,
    /// Received.
    pub received: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscribers_number_is_masked_wherever_it_is_printed() {
        let imsi = Hidden::new("204080813630037");
        assert_eq!(imsi.masked(), "•••••••••••0037");
        assert_eq!(imsi.digest(), Hidden::new("204080813630037").digest());
        assert_ne!(imsi.digest(), Hidden::new("204080813630038").digest());
        assert!(!format!("{imsi:?}").contains("20408"));
    }
}
