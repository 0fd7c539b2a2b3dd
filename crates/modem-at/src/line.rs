//! Bytes in, lines out.
//!
//! The splitter owns at most one unfinished line of [`LINE_MAX`] bytes. CR and LF both end a line and blank lines vanish,
//! because the generations of firmware disagree on where they put them. Control bytes never belong to a line: they are
//! dropped and counted. An overlong line is dropped whole up to the next line end, so that its tail is not mistaken for
//! a line of its own.

use std::collections::VecDeque;
use std::fmt;

/// Longest line kept, in bytes. The modem's own answer buffer is this long (`%NCELLMEAS` comes close to it).
pub const LINE_MAX: usize = 4096;

/// Cuts a byte stream into lines.
#[derive(Default)]
pub struct LineSplitter {
    partial: Vec<u8>,
    /// Where the current physical line begins in `partial`; differs from 0 only inside a quoted string with line ends.
    physical: usize,
    in_quotes: bool,
    skipping: bool,
    overlong: u64,
    control_bytes: u64,
}

impl LineSplitter {
    /// A splitter at the beginning of a line.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes `bytes` and appends the lines they complete to `lines`, without their line ends. At most one line is
    /// appended per byte given. Bytes that are not UTF-8 appear as U+FFFD.
    pub fn push(&mut self, bytes: &[u8], lines: &mut VecDeque<String>) {
        for &byte in bytes {
            match byte {
                b'\r' | b'\n' => self.end_of_line(byte, lines),
                0x00..=0x1f | 0x7f => self.control_bytes = self.control_bytes.saturating_add(1),
                _ if self.skipping => {}
                _ if self.partial.len() >= LINE_MAX => self.overflow(),
                _ => {
                    self.in_quotes ^= byte == b'"';
                    self.partial.push(byte);
                }
            }
        }
    }

    /// Forgets an unfinished line, for instance after the peer was restarted.
    pub fn reset(&mut self) {
        self.partial.clear();
        self.physical = 0;
        self.in_quotes = false;
        self.skipping = false;
    }

    /// Lines dropped because they were longer than [`LINE_MAX`].
    #[must_use]
    pub fn overlong(&self) -> u64 {
        self.overlong
    }

    /// Control bytes dropped: NUL after a break, flow control characters, glitches.
    #[must_use]
    pub fn control_bytes(&self) -> u64 {
        self.control_bytes
    }

    fn end_of_line(&mut self, byte: u8, lines: &mut VecDeque<String>) {
        if self.skipping {
            self.reset();
            return;
        }
        let here = self.partial.get(self.physical..).unwrap_or_default();
        if ends_any_quote(here) && self.physical > 0 {
            // The quoted string never closed: the peer restarted or bytes were lost. What it held is worthless, the
            // line that proves it is not.
            let line = String::from_utf8_lossy(here).into_owned();
            self.reset();
            lines.push_back(line);
            return;
        }
        if self.in_quotes && may_span_lines(&self.partial) {
            // A credential: its line ends are data. CR LF counts once.
            let after_cr = byte == b'\n' && self.partial.last() == Some(&b'\n');
            if !after_cr {
                if self.partial.len() >= LINE_MAX {
                    self.overflow();
                    return;
                }
                self.partial.push(b'\n');
            }
            self.physical = self.partial.len();
            return;
        }
        if !self.partial.is_empty() {
            lines.push_back(String::from_utf8_lossy(&self.partial).into_owned());
        }
        self.reset();
    }

    fn overflow(&mut self) {
        self.reset();
        self.skipping = true;
        self.overlong = self.overlong.saturating_add(1);
    }
}

/// Counts only: an unfinished line may hold an identity or a credential.
impl fmt::Debug for LineSplitter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LineSplitter")
            .field("partial_bytes", &self.partial.len())
            .field("overlong", &self.overlong)
            .field("control_bytes", &self.control_bytes)
            .finish_non_exhaustive()
    }
}

/// Only credentials (`%CMNG`) carry line ends inside quotes. Anywhere else an odd quote is noise, and letting it swallow
/// the following lines would lose good answers.
fn may_span_lines(partial: &[u8]) -> bool {
    partial.starts_with(b"%CMNG:")
}

/// Lines that no credential contains (a PEM body line has a length divisible by four) and that prove the quote is stale.
fn ends_any_quote(physical: &[u8]) -> bool {
    matches!(physical, b"OK" | b"ERROR" | b"Ready" | b"INIT ERROR" | b"Bootloader mode ready")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn split(bytes: &[u8]) -> Vec<String> {
        let mut lines = VecDeque::new();
        LineSplitter::new().push(bytes, &mut lines);
        lines.into()
    }

    #[test]
    fn both_framings_give_the_same_lines() {
        assert_eq!(split(b"\r\n+CFUN: 1\r\n\r\nOK\r\n"), ["+CFUN: 1", "OK"]);
        assert_eq!(split(b"+CFUN: 1\r\nOK\r\n"), ["+CFUN: 1", "OK"]);
    }

    #[test]
    fn a_line_of_the_limit_passes_and_one_byte_more_is_dropped_whole() {
        let mut bytes = vec![b'x'; LINE_MAX];
        bytes.extend_from_slice(b"\r\n");
        assert_eq!(split(&bytes).len(), 1);

        let mut splitter = LineSplitter::new();
        let mut lines = VecDeque::new();
        splitter.push(&vec![b'x'; LINE_MAX + 700], &mut lines);
        splitter.push(b"tail\r\nOK\r\n", &mut lines);
        assert_eq!(lines, ["OK"]);
        assert_eq!(splitter.overlong(), 1);
    }

    #[test]
    fn control_bytes_are_dropped_and_counted() {
        let mut splitter = LineSplitter::new();
        let mut lines = VecDeque::new();
        splitter.push(b"\0\0O\x11K\r\n", &mut lines);
        assert_eq!(lines, ["OK"]);
        assert_eq!(splitter.control_bytes(), 3);
    }

    #[test]
    fn a_stray_quote_does_not_swallow_the_next_line() {
        assert_eq!(split(b"\xf0\"\r\nOK\r\n"), ["\u{fffd}\"", "OK"]);
    }

    #[test]
    fn a_credential_keeps_its_line_ends() {
        let lines = split(b"%CMNG: 16,0,\"AA\",\"-----BEGIN\r\nabcd\r\n-----END\"\r\nOK\r\n");
        assert_eq!(lines, ["%CMNG: 16,0,\"AA\",\"-----BEGIN\nabcd\n-----END\"", "OK"]);
    }

    #[test]
    fn a_restart_inside_a_credential_is_still_seen() {
        assert_eq!(split(b"%CMNG: 16,0,\"AA\",\"-----BEGIN\r\nab\r\nReady\r\nOK\r\n"), ["Ready", "OK"]);
    }

    proptest! {
        #[test]
        fn memory_stays_bounded_whatever_arrives(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..900), 0..20)) {
            let mut splitter = LineSplitter::new();
            let mut lines = VecDeque::new();
            for chunk in &chunks {
                splitter.push(chunk, &mut lines);
                prop_assert!(splitter.partial.len() <= LINE_MAX);
            }
            for line in lines {
                prop_assert!(!line.is_empty());
                // A replacement character takes three bytes.
                prop_assert!(line.len() <= 3 * LINE_MAX);
            }
        }

        #[test]
        fn chunking_changes_nothing(bytes in prop::collection::vec(prop_oneof![Just(b'"'), Just(b'\r'), Just(b'\n'), any::<u8>()], 0..400), cuts in prop::collection::vec(1usize..40, 0..40)) {
            let mut splitter = LineSplitter::new();
            let mut lines = VecDeque::new();
            let mut rest = bytes.as_slice();
            for cut in cuts {
                let (head, tail) = rest.split_at(cut.min(rest.len()));
                splitter.push(head, &mut lines);
                rest = tail;
            }
            splitter.push(rest, &mut lines);
            prop_assert_eq!(Vec::from(lines), split(&bytes));
        }
    }
}
