//! What bytes are spent on.

use crate::reading::Class;

/// A class of bytes: the classes of readings, telemetry by its age, and what the daemon causes besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Purpose {
    /// Alarms.
    Alarm = 0,
    /// Events.
    Event = 1,
    /// State.
    State = 2,
    /// Telemetry younger than the live bound.
    Live = 3,
    /// Telemetry older than that.
    Backlog = 4,
    /// Diagnostics.
    Diagnostics = 5,
    /// The firmware log.
    FirmwareLog = 6,
    /// Firmware images.
    Firmware = 7,
    /// Reports, manifests, settings, the management API.
    Management = 8,
    /// Names, handshakes, keepalives, repetitions: what keeps the box reachable.
    Session = 9,
}

/// How many there are.
pub const PURPOSES: usize = 10;

impl Purpose {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; PURPOSES] = [
        Self::Alarm,
        Self::Event,
        Self::State,
        Self::Live,
        Self::Backlog,
        Self::Diagnostics,
        Self::FirmwareLog,
        Self::Firmware,
        Self::Management,
        Self::Session,
    ];

    /// Those for which something may be kept: the session lives on what is kept for management.
    pub const WITH_RESERVES: [Self; PURPOSES - 1] = [
        Self::Alarm,
        Self::Management,
        Self::Event,
        Self::State,
        Self::Live,
        Self::Backlog,
        Self::Diagnostics,
        Self::FirmwareLog,
        Self::Firmware,
    ];

    /// Those of them that alarms and management come before.
    pub(super) const RESERVED_BELOW: [Self; PURPOSES - 3] = [
        Self::Event,
        Self::State,
        Self::Live,
        Self::Backlog,
        Self::Diagnostics,
        Self::FirmwareLog,
        Self::Firmware,
    ];

    /// What readings of a class are; `live` says whether telemetry is younger than the live bound.
    #[must_use]
    pub fn of(class: Class, live: bool) -> Self {
        match class {
            Class::Alarm => Self::Alarm,
            Class::Event => Self::Event,
            Class::State => Self::State,
            Class::Telemetry if live => Self::Live,
            Class::Telemetry => Self::Backlog,
            Class::Diagnostics => Self::Diagnostics,
        }
    }

    /// The word for it on the page, in the API and in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Alarm => "alarm",
            Self::Event => "event",
            Self::State => "state",
            Self::Live => "live",
            Self::Backlog => "backlog",
            Self::Diagnostics => "diagnostics",
            Self::FirmwareLog => "firmware_log",
            Self::Firmware => "firmware",
            Self::Management => "management",
            Self::Session => "session",
        }
    }

    /// Ordinary bytes keep to an even pace; what is urgent, or keeps the box reachable, is bound by the plan's end only.
    #[must_use]
    pub fn is_ordinary(self) -> bool {
        matches!(self, Self::Live | Self::Backlog | Self::Diagnostics | Self::FirmwareLog | Self::Firmware)
    }

    /// Small messages of these wait to become full ones while the plan is short.
    #[must_use]
    pub fn gathers(self) -> bool {
        self.is_ordinary() || self == Self::State
    }

    /// How many sixteenths of a day's share these leave to what matters more, before they take of it.
    #[must_use]
    pub fn leaves_alone(self) -> u64 {
        match self {
            Self::Backlog | Self::FirmwareLog | Self::Firmware => 1,
            Self::Diagnostics => 2,
            _ => 0,
        }
    }
}

/// Which way bytes went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Sent.
    Up,
    /// Received.
    Down,
}
