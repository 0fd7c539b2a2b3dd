//! A line of a board that speaks AT and prints its application's messages on the same wire.
//!
//! Pure. What a cellular board's own application sends is one message a line: a JSON object, a SenML pack, or an NMEA
//! sentence. None of them can begin like an AT answer (3GPP TS 27.007: a result word, or `+`, `#` or `%` and a name), so
//! that the first characters tell who speaks. A board may mark its own lines with a word before them, which is then
//! required, and everything without it is left to AT.

/// Who speaks in a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spoken<'a> {
    /// AT: answers, result codes, banners, and whatever else is not the application's. The whole line.
    At(&'a [u8]),
    /// A JSON object, from its `{` on.
    Json(&'a [u8]),
    /// A list of SenML records, from its `[` on.
    Senml(&'a [u8]),
    /// An NMEA sentence, from its `$` or `!` on.
    Nmea(&'a [u8]),
    /// A line of the board's log (Zephyr and ESP-IDF forms): for people, no message.
    Log(&'a [u8]),
}

impl<'a> Spoken<'a> {
    /// Sorts a line without its end. `mark` is the word before the application's lines, empty for none; blanks behind it
    /// are passed over.
    #[must_use]
    pub fn sort(line: &'a [u8], mark: &str) -> Self {
        let own = if mark.is_empty() {
            line.trim_ascii_start()
        } else {
            match line.trim_ascii_start().strip_prefix(mark.as_bytes()) {
                Some(behind) => behind.trim_ascii_start(),
                None => return Self::not_own(line),
            }
        };
        match *own {
            [b'{', ..] => Self::Json(own),
            [b'[', ..] if is_pack(own) => Self::Senml(own),
            [b'$' | b'!', b'A'..=b'Z', ..] => Self::Nmea(own),
            _ => Self::not_own(line),
        }
    }

    fn not_own(line: &'a [u8]) -> Self {
        if is_log(line) { Self::Log(line) } else { Self::At(line) }
    }
}

/// `[{`, with blanks between. A log line of Zephyr begins with a bracket as well: `[00:00:01.234,000] <inf> …`.
fn is_pack(line: &[u8]) -> bool {
    line.get(1..).is_some_and(|behind| behind.trim_ascii_start().starts_with(b"{"))
}

/// Zephyr: `[` and a time. ESP-IDF: a letter for the level and a time in parentheses.
fn is_log(line: &[u8]) -> bool {
    match *line {
        [b'[', b'0'..=b'9', ..] => line.contains(&b']'),
        [b'E' | b'W' | b'I' | b'D' | b'V', b' ', b'(', b'0'..=b'9', ..] => line.contains(&b')'),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_characters_tell_who_speaks() {
        for at in
            ["OK", "ERROR", "+CEREG: 5,1", "#XGNSS: 1,1", "%XTIME: ,\"11\"", "Ready", "352656100367872", ""]
        {
            assert_eq!(Spoken::sort(at.as_bytes(), ""), Spoken::At(at.as_bytes()), "{at}");
        }
        assert_eq!(Spoken::sort(b" {\"t\":1}", ""), Spoken::Json(b"{\"t\":1}"));
        assert_eq!(Spoken::sort(b"[ {\"n\":\"a\"}]", ""), Spoken::Senml(b"[ {\"n\":\"a\"}]"));
        assert_eq!(Spoken::sort(b"$GPGGA,1", ""), Spoken::Nmea(b"$GPGGA,1"));
        let zephyr = b"[00:00:01.234,000] <inf> app: started";
        assert_eq!(Spoken::sort(zephyr, ""), Spoken::Log(zephyr));
        assert_eq!(Spoken::sort(b"W (321) wifi: x", ""), Spoken::Log(b"W (321) wifi: x"));
    }

    #[test]
    fn where_a_mark_is_agreed_only_marked_lines_are_the_applications() {
        assert_eq!(Spoken::sort(b"#DATA: {\"t\":1}", "#DATA:"), Spoken::Json(b"{\"t\":1}"));
        assert_eq!(Spoken::sort(b"{\"t\":1}", "#DATA:"), Spoken::At(b"{\"t\":1}"));
        assert_eq!(Spoken::sort(b"#DATA: hello", "#DATA:"), Spoken::At(b"#DATA: hello"));
    }
}
