//! Bytes in, lines out, for formats of one message a line.
//!
//! CR and LF both end a line and blank lines vanish. Control bytes but TAB never belong to a line: they are left out. An
//! overlong line is dropped whole, up to the next line end, so that its tail is not taken for a message of its own.
//! Invariant: at most one unfinished line of the given length is kept.

/// Cuts a byte stream into lines. The buffer is reused: a line lives until the next call.
#[derive(Debug)]
pub struct Lines {
    line: Vec<u8>,
    most: usize,
    is_whole: bool,
    skipping: bool,
}

/// What came to an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinePiece<'a> {
    /// A line, without its end; never empty.
    Line(&'a [u8]),
    /// A line was longer than allowed and is left out up to its end.
    Overlong,
}

impl Lines {
    /// For lines of at most `most` bytes; at least 1.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { line: Vec::new(), most: most.max(1), is_whole: false, skipping: false }
    }

    /// Takes from `rest` up to the end of the next line; `None` when all of `rest` is taken.
    pub fn next(&mut self, rest: &mut &[u8]) -> Option<LinePiece<'_>> {
        if self.is_whole {
            self.forget();
        }
        while let Some((&byte, behind)) = rest.split_first() {
            *rest = behind;
            match byte {
                b'\r' | b'\n' if self.skipping => self.skipping = false,
                b'\r' | b'\n' if self.line.is_empty() => {}
                b'\r' | b'\n' => {
                    self.is_whole = true;
                    return Some(LinePiece::Line(&self.line));
                }
                0x00..=0x08 | 0x0b..=0x1f | 0x7f => {}
                _ if self.skipping => {}
                _ if self.line.len() >= self.most => {
                    self.line.clear();
                    self.skipping = true;
                    return Some(LinePiece::Overlong);
                }
                _ => self.line.push(byte),
            }
        }
        None
    }

    /// Forgets an unfinished line, for instance when the port was opened again. Whether there was one.
    pub fn forget(&mut self) -> bool {
        let had = !self.is_whole && (self.skipping || !self.line.is_empty());
        self.line.clear();
        (self.is_whole, self.skipping) = (false, false);
        had
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Every piece; `None` stands for an overlong one.
    fn pieces(lines: &mut Lines, mut bytes: &[u8]) -> Vec<Option<Vec<u8>>> {
        let mut found = Vec::new();
        while let Some(piece) = lines.next(&mut bytes) {
            found.push(match piece {
                LinePiece::Line(line) => Some(line.to_vec()),
                LinePiece::Overlong => None,
            });
        }
        found
    }

    fn line(text: &str) -> Option<Vec<u8>> {
        Some(text.as_bytes().to_vec())
    }

    #[test]
    fn any_line_end_ends_a_line_and_blank_lines_vanish() {
        let found = pieces(&mut Lines::new(80), b"\r\na\r\n\r\nb\nc\rd");
        assert_eq!(found, [line("a"), line("b"), line("c")]);
    }

    #[test]
    fn a_line_of_the_limit_passes_and_one_byte_more_is_dropped_whole() {
        let mut lines = Lines::new(4);
        assert_eq!(pieces(&mut lines, b"1234\n12345678\nok\n"), [line("1234"), None, line("ok")]);
        assert!(!lines.forget());
    }

    #[test]
    fn control_bytes_are_left_out() {
        assert_eq!(pieces(&mut Lines::new(9), b"\0a\x1b\tb\x7f\n"), [line("a\tb")]);
    }

    #[test]
    fn an_unfinished_line_is_forgotten_on_demand() {
        let mut lines = Lines::new(80);
        assert_eq!(pieces(&mut lines, b"$GPG"), []);
        assert!(lines.forget());
        assert_eq!(pieces(&mut lines, b"x\n"), [line("x")]);
    }

    proptest! {
        #[test]
        fn where_the_bytes_are_cut_does_not_matter(
            bytes in prop::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), any::<u8>()], 0..300),
            cut in 1usize..40,
        ) {
            let mut in_pieces = Lines::new(24);
            let found: Vec<_> = bytes.chunks(cut).flat_map(|chunk| pieces(&mut in_pieces, chunk)).collect();
            prop_assert!(in_pieces.line.len() <= 24);
            prop_assert_eq!(found, pieces(&mut Lines::new(24), &bytes));
        }
    }
}
