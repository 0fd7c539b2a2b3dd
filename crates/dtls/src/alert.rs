//! Alerts (RFC 5246 section 7.2): two bytes by which one peer tells the other why it gives up.

use core::fmt;

/// An alert as it came from the peer. `Display` gives the name the registry has for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Alert {
    /// Level fatal (2); otherwise a warning.
    pub fatal: bool,
    /// The description byte, e.g. 115 for `unknown_psk_identity`.
    pub description: u8,
}

impl Alert {
    /// `close_notify`: the peer will send nothing more.
    pub const CLOSE_NOTIFY: u8 = 0;
    /// `handshake_failure`: no common ground, usually no common cipher suite.
    pub const HANDSHAKE_FAILURE: u8 = 40;
    /// `bad_certificate`.
    pub const BAD_CERTIFICATE: u8 = 42;
    /// `certificate_expired`.
    pub const CERTIFICATE_EXPIRED: u8 = 45;
    /// `access_denied`: some clouds send it in clear text for session data they no longer know.
    pub const ACCESS_DENIED: u8 = 49;
    /// `unknown_psk_identity` (RFC 4279).
    pub const UNKNOWN_PSK_IDENTITY: u8 = 115;

    pub(crate) fn from_bytes(level: u8, description: u8) -> Self {
        Self { fatal: level == 2, description }
    }

    /// The registered name (IANA TLS Alerts), or `unregistered`.
    pub fn name(self) -> &'static str {
        match self.description {
            0 => "close_notify",
            10 => "unexpected_message",
            20 => "bad_record_mac",
            21 => "decryption_failed",
            22 => "record_overflow",
            30 => "decompression_failure",
            40 => "handshake_failure",
            41 => "no_certificate",
            42 => "bad_certificate",
            43 => "unsupported_certificate",
            44 => "certificate_revoked",
            45 => "certificate_expired",
            46 => "certificate_unknown",
            47 => "illegal_parameter",
            48 => "unknown_ca",
            49 => "access_denied",
            50 => "decode_error",
            51 => "decrypt_error",
            52 => "too_many_cids_requested",
            60 => "export_restriction",
            70 => "protocol_version",
            71 => "insufficient_security",
            80 => "internal_error",
            86 => "inappropriate_fallback",
            90 => "user_canceled",
            100 => "no_renegotiation",
            109 => "missing_extension",
            110 => "unsupported_extension",
            111 => "certificate_unobtainable",
            112 => "unrecognized_name",
            113 => "bad_certificate_status_response",
            115 => "unknown_psk_identity",
            116 => "certificate_required",
            120 => "no_application_protocol",
            _ => "unregistered",
        }
    }

    /// What an operator should look at when the peer sends this during a handshake.
    pub(crate) fn advice(self) -> &'static str {
        match self.description {
            20 | 21 | 51 => {
                "the pre-shared key here probably differs from the peer's: compare both sides' key for this identity"
            }
            49 | 115 => {
                "the peer does not know this identity: check the identity, its project suffix, and that it was not deleted"
            }
            40 | 71 => "no cipher suite in common: compare both lists",
            70 => "the peer does not speak DTLS 1.2",
            42..=46 | 48 | 116 => {
                "the peer does not accept this side's certificate: check its issuer and validity"
            }
            80 => "the peer had an internal error: try again later",
            _ => "see the peer's log for the reason",
        }
    }
}

impl fmt::Display for Alert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name(), self.description)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alert_shows_its_registered_name_and_number() {
        assert_eq!(Alert::from_bytes(2, 115).to_string(), "unknown_psk_identity (115)");
        assert_eq!(Alert::from_bytes(1, 0).to_string(), "close_notify (0)");
        assert_eq!(Alert::from_bytes(2, 255).to_string(), "unregistered (255)");
        assert!(Alert::from_bytes(2, 0).fatal && !Alert::from_bytes(1, 0).fatal);
    }
}
