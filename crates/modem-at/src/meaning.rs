//! What error numbers mean, in plain words: `+CME ERROR` (3GPP TS 27.007 section 9.2; from 513 on the vendor's own) and
//! `+CMS ERROR` (3GPP TS 27.005 section 3.2.5). A number that is not here is shown as it came.

/// Meaning of a `+CME ERROR` number.
pub(crate) fn cme(code: u16) -> Option<&'static str> {
    Some(match code {
        0 => "phone failure",
        1 => "no connection to the phone",
        2 => "the link to the phone is reserved",
        3 => "operation not allowed",
        4 => "operation not supported",
        5 => "the modem wants the code of its lock to a SIM",
        10 => "no SIM inserted",
        11 => "the SIM wants its PIN",
        12 => "the SIM wants its PUK",
        13 => "SIM failure, or a SIM without an enabled profile",
        14 => "SIM busy",
        15 => "wrong SIM",
        16 => "wrong password",
        17 => "the SIM wants its PIN2",
        18 => "the SIM wants its PUK2",
        20 => "memory full",
        21 => "there is no such entry",
        22 => "not found",
        23 => "memory failure",
        24 => "text too long",
        25 => "a character in the text is not allowed",
        26 => "number to dial too long",
        27 => "a character in the number to dial is not allowed",
        30 => "no network service",
        31 => "the network did not answer in time",
        32 => "network not allowed, emergency calls only",
        40..=47 => "the modem is locked to another network",
        50 => "incorrect parameters",
        51 => "the command is switched off at present",
        52 => "aborted",
        53 => "not attached: the modem's functions are restricted",
        54 => "only emergency calls are allowed",
        100 => "unknown error",
        103 => "illegal device",
        106 => "illegal equipment",
        107 => "packet services not allowed",
        111 => "network not allowed",
        112 => "area not allowed",
        113 => "roaming not allowed in this area",
        132 => "service not supported",
        133 => "service not subscribed",
        134 => "service out of order for a while",
        148 => "unspecified error of the packet service",
        149 => "user name or password of the data connection refused",
        513 => "credential not found",
        514 => "no access",
        515 => "credential memory full",
        518 => "not allowed while the modem is active",
        519 => "already exists",
        528 => "power-off warning in force",
        _ => return None,
    })
}

/// Meaning of a `+CMS ERROR` number.
pub(crate) fn cms(code: u16) -> Option<&'static str> {
    Some(match code {
        300 => "modem failure",
        301 => "the message service is reserved",
        302 => "operation not allowed",
        303 => "operation not supported",
        304 => "malformed message",
        305 => "incorrect text parameter",
        310 => "no SIM inserted",
        311 => "the SIM wants its PIN",
        312 => "the modem wants the code of its lock to a SIM",
        313 => "SIM failure",
        314 => "SIM busy",
        315 => "wrong SIM",
        316 => "the SIM wants its PUK",
        317 => "the SIM wants its PIN2",
        318 => "the SIM wants its PUK2",
        320 => "message memory failure",
        321 => "there is no such message",
        322 => "message memory full",
        330 => "the message centre's address is unknown",
        331 => "no network service",
        332 => "the network did not answer in time",
        340 => "no acknowledgement was expected",
        500 => "unknown error",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_a_technician_meets_has_words() {
        let vendor = [513, 514, 515, 518, 519, 528];
        for code in [0, 3, 4, 10, 11, 12, 13, 14, 15, 16, 20, 22, 30, 50, 100].into_iter().chain(vendor) {
            assert!(cme(code).is_some(), "{code}");
        }
        assert_eq!(
            (cme(13), cms(310)),
            (Some("SIM failure, or a SIM without an enabled profile"), Some("no SIM inserted"))
        );
    }

    #[test]
    fn a_number_without_a_known_meaning_is_not_guessed() {
        // The vendor uses 520 without saying what for.
        for code in [8, 99, 512, 516, 520, 977, u16::MAX] {
            assert_eq!(cme(code), None, "{code}");
        }
        for code in [0, 127, 299, 319, 501] {
            assert_eq!(cms(code), None, "{code}");
        }
    }
}
