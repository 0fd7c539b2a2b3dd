//! Faults an operator of the simulation can cause.

use core::time::Duration;

/// Something that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Noise on the line before every banner, until faults are cleared.
    GarbageAtBoot,
    /// Bursts of noise between lines for a while.
    Noise {
        /// How long.
        lasts: Duration,
    },
    /// `ATE1` now and after every start, until faults are cleared; `ATE0` ends it until the next start.
    Echo,
    /// The line is dead for a while: what is sent to the modem and what it says is lost.
    Silence {
        /// How long.
        lasts: Duration,
    },
    /// The modem does nothing for a while, then answers everything it was asked, in order.
    Stall {
        /// How long.
        lasts: Duration,
    },
    /// The next command other than `AT` makes the modem core fault and the application restart, in mid-answer.
    ResetInCommand,
    /// The modem core faults and is started again by the application, now. No banner; everything set is lost.
    CoreFault,
    /// The application restarts, now.
    Restart,
    /// No coverage for a while.
    NetworkLost {
        /// How long.
        lasts: Duration,
    },
    /// The SIM is gone, until faults are cleared.
    NoSim,
}

/// Which faults are in force.
#[derive(Clone, Debug, Default)]
pub(super) struct Faults {
    pub(super) garbage_at_boot: bool,
    pub(super) echo: bool,
    pub(super) no_sim: bool,
    pub(super) reset_in_command: bool,
    pub(super) noise_until: Duration,
    pub(super) silent_until: Duration,
    pub(super) stalled_until: Duration,
    pub(super) network_lost_until: Duration,
}
