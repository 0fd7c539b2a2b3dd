//! The words of a reading: what one stream said at one instant (requirement D3).
//!
//! A reading's identity is (gateway, store epoch, stream, sequence). Lanes make [`Capture`]s; the store gives them their
//! sequence and epoch; nothing after that changes them.

use crate::clock::Mono;

/// What a reading is for; fixed at acceptance, and the order in which things are sent and given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Class {
    /// Needs somebody now. Committed at once, given up never.
    Alarm = 0,
    /// Something happened. Committed at once.
    Event = 1,
    /// What is so now, until the next one.
    State = 2,
    /// Measurements.
    Telemetry = 3,
    /// For whoever looks into a fault. Given up first.
    Diagnostics = 4,
}

impl Class {
    /// Every class, most urgent first.
    pub const ALL: [Self; 5] = [Self::Alarm, Self::Event, Self::State, Self::Telemetry, Self::Diagnostics];

    /// The class stored as `number`.
    #[must_use]
    pub fn from_number(number: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|class| *class as i64 == number)
    }

    /// The word for it in configuration, logs and pages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Alarm => "alarm",
            Self::Event => "event",
            Self::State => "state",
            Self::Telemetry => "telemetry",
            Self::Diagnostics => "diagnostics",
        }
    }

    /// Whether a reading of this class waits for the commit window.
    #[must_use]
    pub fn waits_for_window(self) -> bool {
        !matches!(self, Self::Alarm | Self::Event)
    }
}

/// How far a value can be believed. `Good` is 0 on disk and never sent; the others travel as their number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Quality {
    /// Nothing speaks against it.
    Good = 0,
    /// Outside the plausible range given in the configuration.
    OutOfRange = 1,
    /// The device itself says it has no value (a sentinel, or NaN).
    DeviceInvalid = 2,
    /// The device answered, but only after its time.
    Late = 3,
}

impl Quality {
    /// The quality stored as `number`.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        [Self::Good, Self::OutOfRange, Self::DeviceInvalid, Self::Late]
            .into_iter()
            .find(|q| *q as u8 == number)
    }

    /// The word for it on pages and in the API.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::OutOfRange => "out_of_range",
            Self::DeviceInvalid => "device_invalid",
            Self::Late => "late",
        }
    }
}

/// The step a stream's values are counted in, as a fraction, so that 3 steps of 1/10 are exactly 0.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Resolution {
    /// At least 1.
    pub numerator: u32,
    /// At least 1.
    pub denominator: u32,
}

impl Resolution {
    /// Whole numbers.
    pub const ONE: Self = Self { numerator: 1, denominator: 1 };

    /// The value of `steps` steps.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "a display value; the steps stay exact")]
    pub fn value(self, steps: i64) -> f64 {
        (steps as f64) * f64::from(self.numerator) / f64::from(self.denominator)
    }

    /// The number of steps nearest to `value`, or `None` when it is not finite or does not fit.
    #[must_use]
    #[allow(clippy::cast_possible_truncation, reason = "range-checked on the line before")]
    pub fn steps(self, value: f64) -> Option<i64> {
        let steps = (value * f64::from(self.denominator) / f64::from(self.numerator)).round();
        (steps.is_finite() && steps.abs() < 9.0e15).then_some(steps as i64)
    }
}

/// What a stream said.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// That many steps of the stream's [`Resolution`].
    Steps(i64),
    /// A finite number of a stream that declares no resolution.
    Float(f64),
    /// A switch, coil or flag.
    Bool(bool),
    /// Text, at most [`Value::MAX_TEXT`] bytes.
    Text(Box<str>),
    /// The stream was heard, but said that it has no value; the quality says why.
    Absent,
}

impl Value {
    /// The longest text a reading may carry, in bytes.
    pub const MAX_TEXT: usize = 256;
}

/// A stream as the queue file numbers it. Only meaningful together with that file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId(pub u32);

/// The streams one lane captures together share a counter; this is its number in this run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupId(pub u32);

/// One value of one stream, as a lane decoded it.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Whose value it is.
    pub stream: StreamId,
    /// What it said.
    pub value: Value,
    /// How far to believe it.
    pub quality: Quality,
}

/// Why an instant has no value of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum GapReason {
    /// Nothing came back: no byte was heard before the deadline.
    Silent = 0,
    /// Bytes came back, but no complete valid frame before the deadline.
    Broken = 1,
    /// The device answered with an exception instead of a value.
    Exception = 2,
    /// The port could not be used.
    PortDown = 3,
    /// The device is being left alone after repeated silence, so that it does not slow the others.
    BackedOff = 4,
    /// The daemon ended without a clean stop; how much was on its way is not known.
    UncleanStop = 5,
    /// It was not asked at all: the bus was busy with others, or with this slave's own late answer.
    Overrun = 6,
}

impl GapReason {
    /// Every reason, in the order of its number.
    pub const ALL: [Self; 7] = [
        Self::Silent,
        Self::Broken,
        Self::Exception,
        Self::PortDown,
        Self::BackedOff,
        Self::UncleanStop,
        Self::Overrun,
    ];

    /// The word for it in records and reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Silent => "silent",
            Self::Broken => "broken",
            Self::Exception => "exception",
            Self::PortDown => "port_down",
            Self::BackedOff => "backed_off",
            Self::UncleanStop => "unclean_stop",
            Self::Overrun => "overrun",
        }
    }
}

/// Everything one lane learned of one group at one instant. It takes one sequence number, whole.
#[derive(Clone, Debug, PartialEq)]
pub struct Capture {
    /// Whose counter numbers it.
    pub group: GroupId,
    /// When it was captured: for a poll, when its answer was complete.
    pub at: Mono,
    /// The values that came.
    pub samples: Vec<Sample>,
    /// The streams that should have spoken and did not; each becomes part of a gap record.
    pub missing: Vec<(StreamId, GapReason)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_of_a_tenth_are_exact_decimals() {
        let tenth = Resolution { numerator: 1, denominator: 10 };
        assert_eq!(tenth.value(3), 0.3);
        assert_eq!(tenth.steps(0.3), Some(3));
        assert_eq!(tenth.steps(-21.74), Some(-217));
    }

    #[test]
    fn what_cannot_be_counted_is_refused() {
        assert_eq!(Resolution::ONE.steps(f64::NAN), None);
        assert_eq!(Resolution::ONE.steps(f64::INFINITY), None);
        assert_eq!(Resolution::ONE.steps(1.0e17), None);
    }
}
