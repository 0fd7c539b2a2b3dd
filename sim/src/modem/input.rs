//! The application's side of the line: bytes typed at it, cut into commands.

use super::profile::{CommandEnd, ModemProfile, SimApplication};

/// The application's largest command buffer.
const COMMAND_MAX: usize = 8192;

/// What a byte led to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Typed {
    /// Nothing yet.
    More,
    /// A byte the application threw away before a command.
    Discarded,
    /// A complete command without its end.
    Command(String),
    /// The buffer is full: the application answers `ERROR`.
    TooLong,
}

#[derive(Debug)]
pub(super) struct Reader {
    end: CommandEnd,
    /// The Serial Modem throws bytes away until an `A` and a `T` come.
    discards: bool,
    buffer: Vec<u8>,
    in_quotes: bool,
}

impl Reader {
    pub(super) fn new(profile: &ModemProfile) -> Self {
        Self {
            end: profile.command_end,
            discards: profile.application == SimApplication::SerialModem,
            buffer: Vec::new(),
            in_quotes: false,
        }
    }

    pub(super) fn clear(&mut self) {
        self.buffer.clear();
        self.in_quotes = false;
    }

    /// A command is partly typed.
    pub(super) fn is_partial(&self) -> bool {
        !self.buffer.is_empty()
    }

    pub(super) fn take(&mut self, byte: u8) -> Typed {
        if matches!(byte, 0x08 | 0x7f) {
            if self.buffer.pop() == Some(b'"') {
                self.in_quotes = !self.in_quotes;
            }
            return Typed::More;
        }
        if self.discards && !self.begins_command(byte) {
            self.clear();
            // The byte that broke the beginning may itself be one.
            if byte.eq_ignore_ascii_case(&b'A') {
                self.buffer.push(byte);
                return Typed::More;
            }
            return Typed::Discarded;
        }
        self.buffer.push(byte);
        self.in_quotes ^= byte == b'"';
        let end = self.end.bytes();
        if !self.in_quotes && self.buffer.ends_with(end) {
            let kept = self.buffer.len() - end.len();
            self.buffer.truncate(kept);
            let line = String::from_utf8_lossy(&self.buffer).into_owned();
            self.clear();
            let line = if self.discards { line } else { line.trim_matches(['\r', '\n']).to_owned() };
            return if line.is_empty() { Typed::Discarded } else { Typed::Command(line) };
        }
        if self.buffer.len() >= COMMAND_MAX {
            self.clear();
            return Typed::TooLong;
        }
        Typed::More
    }

    fn begins_command(&self, byte: u8) -> bool {
        match self.buffer.len() {
            0 => byte.eq_ignore_ascii_case(&b'A'),
            1 => byte.eq_ignore_ascii_case(&b'T'),
            _ => true,
        }
    }
}

/// A command taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Parsed {
    /// Name with its sign, upper case; empty for `AT`, `E0` or `E1` for those.
    pub(super) name: String,
    pub(super) form: Form,
    /// Arguments of the set form without their quotes.
    pub(super) arguments: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Action,
    Read,
    Test,
    Set,
}

impl Parsed {
    /// `None` for what the grammar does not allow, which never reaches the modem.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let bare = |name: &str| Self { name: name.to_owned(), form: Form::Action, arguments: Vec::new() };
        let head = line.get(..2)?;
        if !head.eq_ignore_ascii_case("AT") {
            return None;
        }
        let rest = line.get(2..)?;
        match rest.to_ascii_uppercase().as_str() {
            "" => return Some(bare("")),
            "E0" => return Some(bare("E0")),
            "E1" => return Some(bare("E1")),
            _ => {}
        }
        if !rest.starts_with(['+', '%', '#']) {
            return None;
        }
        let name_end = rest
            .char_indices()
            .skip(1)
            .find(|(_, character)| !(character.is_ascii_alphanumeric() || *character == '_'))
            .map_or(rest.len(), |(at, _)| at);
        let name = rest.get(..name_end)?.to_ascii_uppercase();
        if name.len() < 2 {
            return None;
        }
        let tail = rest.get(name_end..)?;
        let (form, arguments) = match tail {
            "" => (Form::Action, Vec::new()),
            "?" => (Form::Read, Vec::new()),
            "=?" => (Form::Test, Vec::new()),
            _ => (Form::Set, split(tail.strip_prefix('=')?)),
        };
        Some(Self { name, form, arguments })
    }

    pub(super) fn argument(&self, index: usize) -> Option<&str> {
        self.arguments.get(index).map(String::as_str)
    }

    pub(super) fn number(&self, index: usize) -> Option<u16> {
        self.argument(index)?.parse().ok()
    }
}

fn split(text: &str) -> Vec<String> {
    let mut arguments = vec![String::new()];
    let mut in_quotes = false;
    for character in text.chars() {
        match character {
            '"' => in_quotes = !in_quotes,
            ',' if !in_quotes => arguments.push(String::new()),
            _ => {
                if let Some(last) = arguments.last_mut() {
                    last.push(character);
                }
            }
        }
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commands(profile: &ModemProfile, bytes: &[u8]) -> Vec<String> {
        let mut reader = Reader::new(profile);
        bytes
            .iter()
            .filter_map(|byte| match reader.take(*byte) {
                Typed::Command(line) => Some(line),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn the_serial_modem_takes_cr_and_forgives_what_stands_before_at() {
        let profile = ModemProfile::serial_modem();
        assert_eq!(commands(&profile, b"\"xAAT\r\nAT+CFUN?\r\n"), ["AT", "AT+CFUN?"]);
        assert_eq!(commands(&profile, b"AT\nAT\r"), ["AT\nAT"]);
    }

    #[test]
    fn the_older_application_waits_for_cr_lf() {
        let profile = ModemProfile::serial_lte_modem();
        assert_eq!(commands(&profile, b"AT\r"), Vec::<String>::new());
        assert_eq!(commands(&profile, b"AT\r\n\r\nAT\r\n"), ["AT", "AT"]);
    }

    #[test]
    fn quotes_protect_line_ends_and_backspace_edits() {
        let profile = ModemProfile::serial_modem();
        assert_eq!(commands(&profile, b"AT%CMNG=0,1,0,\"a\rb\"\r"), ["AT%CMNG=0,1,0,\"a\rb\""]);
        assert_eq!(commands(&profile, b"AT+CFX\x08UN?\r"), ["AT+CFUN?"]);
    }

    #[test]
    fn an_endless_command_is_cut_off() {
        let mut reader = Reader::new(&ModemProfile::serial_modem());
        let mut cut = 0;
        for byte in b"AT".iter().copied().chain(std::iter::repeat_n(b'1', COMMAND_MAX)) {
            cut += usize::from(reader.take(byte) == Typed::TooLong);
        }
        assert_eq!(cut, 1);
    }

    #[test]
    fn the_grammar_of_the_application() {
        for line in ["ATI", "ATZ", "AT&F", "ATD*99#", "A/", "AT\r", "AT+", "AT+CFUN!", "\u{e9}"] {
            assert_eq!(Parsed::parse(line), None, "{line}");
        }
        let set = Parsed::parse("at+cpsms=1,,,\"10010100\",\"0,0\"").unwrap();
        assert_eq!((set.name.as_str(), set.form), ("+CPSMS", Form::Set));
        assert_eq!(set.arguments, ["1", "", "", "10010100", "0,0"]);
        assert_eq!(Parsed::parse("AT").unwrap().name, "");
        assert_eq!(Parsed::parse("ATE1").unwrap().name, "E1");
        assert_eq!(Parsed::parse("AT+COPS=?").unwrap().form, Form::Test);
    }
}
