//! Which AT commands may be sent from afar, and what of their answers is shown. Pure.
//!
//! A command is parsed and made anew, and sent only where it is known to read and to change nothing. An identity is not asked for;
//! where an answer holds one all the same, its digits are hidden.

use fieldgate_modem_at::ConsoleCommand;

/// As many digits in a row are a subscriber's or a device's number, or part of one.
const IDENTITY_DIGITS: usize = 8;
/// So many of its last are shown.
const SHOWN_DIGITS: usize = 2;

/// The command, if it may be sent.
///
/// # Errors
/// In words, why not and what may be.
pub(super) fn allowed(text: &str) -> Result<String, String> {
    let command = ConsoleCommand::parse(text).map_err(|error| error.to_string())?;
    let class = command.class();
    if class.is_default() {
        return Ok(command.text().to_owned());
    }
    Err(format!(
        "{class}; only what changes nothing is sent from afar, for instance AT+CEREG? or AT%XMONITOR"
    ))
}

/// The lines with long numbers hidden, in at most `most` bytes.
pub(super) fn shown(lines: &[String], most: usize) -> String {
    let mut shown = String::new();
    for line in lines {
        if !shown.is_empty() {
            shown.push('\n');
        }
        hide(line, &mut shown);
    }
    shown.truncate(shown.floor_char_boundary(most));
    shown
}

fn hide(line: &str, shown: &mut String) {
    let mut rest = line;
    while let Some(first) = rest.chars().next() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (head, tail) = rest.split_at(digits.max(first.len_utf8()));
        if digits >= IDENTITY_DIGITS {
            let hidden = digits - SHOWN_DIGITS;
            shown.extend(std::iter::repeat_n('*', hidden));
            shown.push_str(head.get(hidden..).unwrap_or_default());
        } else {
            shown.push_str(head);
        }
        rest = tail;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_reads_is_sent_and_it_is_made_anew() {
        for (given, sent) in [
            ("AT+CEREG?", "AT+CEREG?"),
            ("at+cereg?", "AT+CEREG?"),
            (" AT%XMONITOR ", "AT%XMONITOR"),
            ("AT+CFUN=?", "AT+CFUN=?"),
            ("AT+CGPADDR= 0", "AT+CGPADDR=0"),
        ] {
            assert_eq!(allowed(given), Ok(sent.to_owned()));
        }
        for refused in [
            "AT+CFUN=0",
            "AT+CFUN",
            "AT+COPS=?",
            "AT+CIMI",
            "AT+CGSN=1",
            "AT%XICCID",
            "AT%CMNG=1",
            "AT+CEREG?;+CFUN=0",
            "ATE1",
            "AT#XRESET",
            "AT#XSEND",
            "AT+NEW?",
            "hello",
            "",
        ] {
            assert!(allowed(refused).is_err(), "{refused}");
        }
    }

    #[test]
    fn long_numbers_are_hidden_and_short_ones_are_not() {
        let lines =
            ["+CEREG: 5,1,\"76C1\",\"0102DA04\",7".to_owned(), "204080813630037 and 89450421F".to_owned()];
        let expected = "+CEREG: 5,1,\"76C1\",\"0102DA04\",7\n*************37 and ******21F";
        assert_eq!(shown(&lines, 100), expected);
        assert_eq!(shown(&lines, 8), "+CEREG: ");
    }
}
