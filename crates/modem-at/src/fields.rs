//! One answer line taken apart into its fields.
//!
//! Fields are separated by commas; commas inside double quotes or parentheses belong to the field. Spaces around a field
//! are dropped, quotes are remembered. There is no escape character in this dialect.

use std::fmt;

/// Why a line could not be decoded. It carries names only, never the line, which may hold subscriber identities.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The line does not begin with the expected name and a colon.
    #[error("the line is not a {expected} line; it was ignored")]
    Name {
        /// The name expected, for instance `+CEREG`.
        expected: &'static str,
    },
    /// A field that must be there is not.
    #[error("{line} came without its field `{field}`; it was ignored, the next one will tell")]
    Missing {
        /// Name of the line.
        line: &'static str,
        /// Name of the field, as in the vendor's syntax.
        field: &'static str,
    },
    /// A field that must be there is not of its kind.
    #[error("{line} came with a `{field}` that is not of its kind; it was ignored, the next one will tell")]
    Malformed {
        /// Name of the line.
        line: &'static str,
        /// Name of the field, as in the vendor's syntax.
        field: &'static str,
    },
}

/// An optional field: what the modem said, and whether we understood it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Value<T> {
    /// Not there, empty, or the modem's own mark for "not known".
    #[default]
    Absent,
    /// Understood.
    Known(T),
    /// There, but not among the values we know: kept as it came, never guessed.
    Text(String),
}

impl<T> Value<T> {
    /// The value, where it was understood.
    pub fn known(&self) -> Option<&T> {
        match self {
            Self::Known(value) => Some(value),
            Self::Absent | Self::Text(_) => None,
        }
    }

    /// Decodes `field` with `decode`; a field it refuses is kept as text.
    pub(crate) fn read(field: Option<Field<'_>>, decode: impl FnOnce(&str) -> Option<T>) -> Self {
        match field {
            None => Self::Absent,
            Some(field) if field.text.is_empty() => Self::Absent,
            Some(field) => match decode(field.text) {
                Some(value) => Self::Known(value),
                None => Self::Text(field.text.to_owned()),
            },
        }
    }
}

impl<T: fmt::Display> fmt::Display for Value<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("unknown"),
            Self::Known(value) => value.fmt(f),
            Self::Text(text) => write!(f, "unknown ({text})"),
        }
    }
}

/// One field of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// The text without its quotes and surrounding spaces.
    pub text: &'a str,
    /// It stood in double quotes.
    pub quoted: bool,
}

/// Fields a decoder does not know, as they came: firmware newer than this code adds some. Empty where there are none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tail(Box<str>);

impl Tail {
    /// The fields, with their quotes and the commas between them.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// There are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Numbers a group may have, ranges written out.
const GROUP_MAX: usize = 256;

/// The fields of one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fields<'a> {
    name: &'static str,
    items: Vec<Field<'a>>,
}

impl<'a> Fields<'a> {
    /// Takes apart `line`, which must be `name` (for instance `+CEREG`), a colon, and fields. `+CEREG:` with nothing
    /// after it has no fields; a trailing comma makes a last, empty field.
    ///
    /// # Errors
    /// [`DecodeError::Name`] when the line has another name.
    pub fn of(line: &'a str, name: &'static str) -> Result<Self, DecodeError> {
        let body = line
            .trim_start()
            .strip_prefix(name)
            .and_then(|rest| rest.strip_prefix(':'))
            .ok_or(DecodeError::Name { expected: name })?;
        Ok(Self { name, items: split(body) })
    }

    /// How many fields there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// There is not a single field.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The field at `index`, counted from zero.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<Field<'a>> {
        self.items.get(index).copied()
    }

    /// Every field from `index` on, for syntaxes with repetitions or fields newer than this code.
    #[must_use]
    pub fn from(&self, index: usize) -> &[Field<'a>] {
        self.items.get(index..).unwrap_or_default()
    }

    /// The fields from `index` on, as they came: what this code does not know is kept, never guessed.
    pub(crate) fn tail(&self, index: usize) -> Tail {
        let mut text = String::new();
        for (at, field) in self.from(index).iter().enumerate() {
            let quote = if field.quoted { "\"" } else { "" };
            text.push_str(if at == 0 { "" } else { "," });
            text.push_str(quote);
            text.push_str(field.text);
            text.push_str(quote);
        }
        Tail(text.into_boxed_str())
    }

    /// The numbers of a test answer's group, `(0,1,4)` or `(0-3)`, at `index`; ranges are written out. `None` where the
    /// field is no such group, or one of more than 256 numbers.
    #[must_use]
    pub fn numbers(&self, index: usize) -> Option<Vec<u32>> {
        let inner = self.get(index)?.text.strip_prefix('(')?.strip_suffix(')')?;
        let mut numbers = Vec::new();
        for item in inner.split(',').map(str::trim).filter(|item| !item.is_empty()) {
            let (first, last) = item.split_once('-').unwrap_or((item, item));
            let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
            let more = usize::try_from(last.checked_sub(first)?).ok()?;
            if numbers.len() + more >= GROUP_MAX {
                return None;
            }
            numbers.extend(first..=last);
        }
        Some(numbers)
    }

    /// The number at `index`, which must be there.
    pub(crate) fn number<T: std::str::FromStr>(
        &self,
        index: usize,
        field: &'static str,
    ) -> Result<T, DecodeError> {
        let text = self.text(index, field)?;
        text.parse().map_err(|_| DecodeError::Malformed { line: self.name, field })
    }

    /// The text at `index`, which must be there and not empty.
    pub(crate) fn text(&self, index: usize, field: &'static str) -> Result<&'a str, DecodeError> {
        match self.get(index) {
            Some(found) if !found.text.is_empty() => Ok(found.text),
            _ => Err(DecodeError::Missing { line: self.name, field }),
        }
    }

    /// The text at `index`; empty where there is none.
    pub(crate) fn raw(&self, index: usize) -> &'a str {
        self.get(index).map_or("", |field| field.text)
    }

    /// The optional number at `index`.
    pub(crate) fn value<T: std::str::FromStr>(&self, index: usize) -> Value<T> {
        Value::read(self.get(index), |text| text.parse().ok())
    }

    /// The optional text at `index`, verbatim.
    pub(crate) fn string(&self, index: usize) -> Option<String> {
        self.get(index).filter(|field| !field.text.is_empty()).map(|field| field.text.to_owned())
    }
}

/// Reads exactly `digits` hexadecimal digits.
pub(crate) fn hex(text: &str, digits: usize) -> Option<u32> {
    (text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit()))
        .then(|| u32::from_str_radix(text, 16).ok())
        .flatten()
}

fn split(body: &str) -> Vec<Field<'_>> {
    if body.trim().is_empty() {
        return Vec::new();
    }
    let mut items = Vec::new();
    let mut start = 0;
    let mut in_quotes = false;
    let mut depth = 0usize;
    for (at, character) in body.char_indices() {
        match character {
            '"' => in_quotes = !in_quotes,
            '(' if !in_quotes => depth += 1,
            ')' if !in_quotes => depth = depth.saturating_sub(1),
            ',' if !in_quotes && depth == 0 => {
                items.push(field(body.get(start..at).unwrap_or_default()));
                start = at + 1;
            }
            _ => {}
        }
    }
    items.push(field(body.get(start..).unwrap_or_default()));
    items
}

fn field(raw: &str) -> Field<'_> {
    let trimmed = raw.trim();
    match trimmed.strip_prefix('"') {
        // A missing closing quote means lost bytes; the field keeps what came.
        Some(inner) => Field { text: inner.strip_suffix('"').unwrap_or(inner), quoted: true },
        None => Field { text: trimmed, quoted: false },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn texts(line: &'static str, name: &'static str) -> Vec<(&'static str, bool)> {
        Fields::of(line, name).unwrap().items.iter().map(|field| (field.text, field.quoted)).collect()
    }

    #[test]
    fn empty_fields_keep_their_place() {
        assert_eq!(
            texts("+CEREG: 90,,\"FFFFFFFF\",,", "+CEREG"),
            [("90", false), ("", false), ("FFFFFFFF", true), ("", false), ("", false)]
        );
        assert_eq!(texts("+CEREG: 1,1,", "+CEREG"), [("1", false), ("1", false), ("", false)]);
        assert_eq!(texts("+COPS: ", "+COPS"), []);
    }

    #[test]
    fn commas_in_quotes_and_parentheses_do_not_split() {
        assert_eq!(texts("+CCLK: \"22/10/06,12:22:55+08\"", "+CCLK"), [("22/10/06,12:22:55+08", true)]);
        assert_eq!(
            texts("+COPS: (2,\"\",\"\",\"26201\",7),(1,\"a,)b\",\"\",\"26202\",7)", "+COPS"),
            [("(2,\"\",\"\",\"26201\",7)", false), ("(1,\"a,)b\",\"\",\"26202\",7)", false)]
        );
    }

    #[test]
    fn spaces_after_commas_and_a_missing_space_after_the_colon_are_accepted() {
        assert_eq!(texts("+CSCON: 1, 0, \"7\"", "+CSCON"), [("1", false), ("0", false), ("7", true)]);
        assert_eq!(texts("%NCELLMEAS:1", "%NCELLMEAS"), [("1", false)]);
    }

    #[test]
    fn a_longer_name_is_another_name() {
        assert_eq!(Fields::of("+CEREGX: 1", "+CEREG"), Err(DecodeError::Name { expected: "+CEREG" }));
    }

    #[test]
    fn what_is_not_known_keeps_its_quotes_and_places() {
        let fields = Fields::of("+X: 1,\"a,b\", 7,,\"\"", "+X").unwrap();
        assert_eq!(fields.tail(1).as_str(), "\"a,b\",7,,\"\"");
        assert!(fields.tail(5).is_empty());
    }

    #[test]
    fn groups_of_numbers_are_written_out_and_bounded() {
        let of = |line: &'static str| Fields::of(line, "+X").unwrap().numbers(0);
        assert_eq!(of("+X: (0,1,4,20)"), Some(vec![0, 1, 4, 20]));
        assert_eq!(of("+X: (0-3)"), Some(vec![0, 1, 2, 3]));
        assert_eq!(of("+X: ()"), Some(vec![]));
        for odd in ["+X: 1", "+X: (3-1)", "+X: (a)", "+X: (0-4294967295)", "+X: (0-100,0-200)"] {
            assert_eq!(of(odd), None, "{odd}");
        }
    }

    proptest! {
        #[test]
        fn any_text_splits_without_panic(body in "\\PC*") {
            let line = format!("+X:{body}");
            let fields = Fields::of(&line, "+X").unwrap();
            prop_assert!(fields.len() <= body.len() + 1);
        }
    }
}
