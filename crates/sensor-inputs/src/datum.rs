//! One value as a device said it.

use std::borrow::Cow;

/// A value before calibration, unit and plausibility; whole numbers stay whole.
#[derive(Clone, Debug, PartialEq)]
pub enum Datum<'a> {
    /// A whole number.
    Integer(i64),
    /// Any other number; always finite.
    Number(f64),
    /// A switch or flag.
    Bool(bool),
    /// Text, as long as the message it came in allows.
    Text(Cow<'a, str>),
    /// The device spoke of it, but has no value: JSON `null`, CBOR undefined, an empty NMEA field.
    Absent,
}

impl Datum<'_> {
    /// The number, if it is one.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "whoever wants a double takes what a double holds")]
    pub fn number(&self) -> Option<f64> {
        match self {
            Self::Integer(whole) => Some(*whole as f64),
            Self::Number(number) => Some(*number),
            _ => None,
        }
    }

    /// The datum of a float: what is not finite is no value.
    #[must_use]
    pub fn finite(number: f64) -> Self {
        if number.is_finite() { Self::Number(number) } else { Self::Absent }
    }
}
