//! The frame of a sentence: start, address, fields, checksum.

use core::num::NonZeroU8;

/// The longest sentence taken, in bytes. The standard allows 82; proprietary ones of some receivers are longer.
const MOST_BYTES: usize = 512;

/// A sentence whose frame is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sentence<'a> {
    address: &'a str,
    body: &'a str,
    checked: bool,
}

/// Why a line is no sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SentenceError {
    /// No `$` and no `!` in it.
    #[error("no sentence begins in this line")]
    NoStart,
    /// Longer than any sentence.
    #[error("{0} bytes are too long for a sentence")]
    TooLong(usize),
    /// The checksum in the line and that of its bytes.
    #[error("the checksum is {found:02X}, the sentence says {said:02X}")]
    Checksum {
        /// Of the bytes.
        found: u8,
        /// In the line.
        said: u8,
    },
    /// The line has an asterisk, but not two hexadecimal digits and the end behind it.
    #[error("what follows the asterisk is no checksum")]
    NoChecksum,
    /// The address, or a character, is none of the standard's.
    #[error("the sentence has no address, or characters that no sentence has")]
    Malformed,
}

impl<'a> Sentence<'a> {
    /// Reads the last sentence that begins in `line`, which has no line end. What stands before it is noise, or a
    /// sentence that broke off.
    ///
    /// # Errors
    /// See [`SentenceError`].
    pub fn parse(line: &'a [u8]) -> Result<Self, SentenceError> {
        let start =
            line.iter().rposition(|byte| matches!(byte, b'$' | b'!')).ok_or(SentenceError::NoStart)?;
        let rest = line.get(start + 1..).unwrap_or_default().trim_ascii_end();
        if rest.len() > MOST_BYTES {
            return Err(SentenceError::TooLong(rest.len()));
        }
        let (content, check) = match rest.iter().position(|byte| *byte == b'*') {
            Some(at) => (rest.get(..at).unwrap_or_default(), rest.get(at + 1..)),
            None => (rest, None),
        };
        if let Some(check) = check {
            let said = hexadecimal(check).ok_or(SentenceError::NoChecksum)?;
            let found = content.iter().fold(0, |sum, byte| sum ^ byte);
            if said != found {
                return Err(SentenceError::Checksum { found, said });
            }
        }
        let text = core::str::from_utf8(content).map_err(|_| SentenceError::Malformed)?;
        let (address, body) = text.split_once(',').unwrap_or((text, ""));
        let is_address = (3..=10).contains(&address.len())
            && address.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
        if !is_address || !text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            return Err(SentenceError::Malformed);
        }
        Ok(Self { address, body, checked: check.is_some() })
    }

    /// Whether it had a checksum, which was then right. Without one, any byte of it may be wrong.
    #[must_use]
    pub fn is_checked(&self) -> bool {
        self.checked
    }

    /// Whether it is a manufacturer's own: `PUBX`, `PMTK001`.
    #[must_use]
    pub fn is_proprietary(&self) -> bool {
        self.address.starts_with('P')
    }

    /// Everything up to the first comma: `GPGGA`, `PUBX`.
    #[must_use]
    pub fn address(&self) -> &'a str {
        self.address
    }

    /// Who speaks: `GP` GPS, `GL` GLONASS, `GA` Galileo, `GB` BeiDou, `GN` several, `WI` a weather station. Empty for a
    /// proprietary sentence.
    #[must_use]
    pub fn talker(&self) -> &'a str {
        if self.is_proprietary() {
            ""
        } else {
            self.address.get(..self.address.len() - 3).unwrap_or_default()
        }
    }

    /// What is said: the last three letters of the address, `GGA`; of a proprietary sentence all behind the `P`.
    #[must_use]
    pub fn kind(&self) -> &'a str {
        let from = if self.is_proprietary() { 1 } else { self.address.len() - 3 };
        self.address.get(from..).unwrap_or_default()
    }

    /// All fields, as they were sent.
    #[must_use]
    pub fn body(&self) -> &'a str {
        self.body
    }

    /// Field `index` behind the address, from 0; `None` when it is empty or not there.
    #[must_use]
    pub fn field(&self, index: usize) -> Option<&'a str> {
        self.body.split(',').nth(index).map(str::trim).filter(|field| !field.is_empty())
    }

    /// How many fields there are, empty ones included.
    #[must_use]
    pub fn fields(&self) -> usize {
        if self.body.is_empty() { 0 } else { self.body.split(',').count() }
    }

    /// The number in field `index`, which counts from 1.
    pub(super) fn ordinal(&self, index: usize) -> Option<NonZeroU8> {
        self.field(index)?.parse().ok()
    }
}

/// Two hexadecimal digits and nothing else.
fn hexadecimal(check: &[u8]) -> Option<u8> {
    let digits = core::str::from_utf8(check).ok().filter(|digits| digits.len() == 2)?;
    if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    u8::from_str_radix(digits, 16).ok()
}
