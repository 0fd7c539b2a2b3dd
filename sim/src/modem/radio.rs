//! The simulated radio: registration, signal, timers granted. Its steps are scheduled by the modem.

use super::profile::SimNetwork;
use crate::random::Dice;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Registration {
    #[default]
    Idle,
    /// Searching, no cell yet.
    Looking,
    /// Searching, on a cell.
    Searching,
    Registered,
    NoCoverage,
    UiccFailure,
}

/// What the display shows of the signal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SimSignal {
    /// `<stat>` of `+CEREG`.
    pub registration: u8,
    /// dBm, while on a cell.
    pub rsrp_dbm: Option<i16>,
    /// dB, while on a cell.
    pub rsrq_db: Option<f32>,
    /// dB, while on a cell.
    pub snr_db: Option<i16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SignalIndices {
    pub(super) rsrp: u8,
    pub(super) rsrq: u8,
    pub(super) snr: u8,
}

#[derive(Clone, Debug)]
pub(super) struct Radio {
    pub(super) registration: Registration,
    pub(super) signal: Option<SignalIndices>,
    pub(super) connected: bool,
    pub(super) pdn: bool,
    /// Granted T3324 and T3412 extended; the network grants what was asked.
    pub(super) active_time: String,
    pub(super) periodic_tau: String,
}

impl Default for Radio {
    fn default() -> Self {
        Self {
            registration: Registration::Idle,
            signal: None,
            connected: false,
            pdn: false,
            active_time: "11100000".to_owned(),
            periodic_tau: "11100000".to_owned(),
        }
    }
}

impl Radio {
    pub(super) fn stat(&self, network: &SimNetwork) -> u8 {
        match self.registration {
            Registration::Idle => 0,
            Registration::Looking | Registration::Searching => 2,
            Registration::Registered if network.roaming => 5,
            Registration::Registered => 1,
            Registration::NoCoverage => 4,
            Registration::UiccFailure => 90,
        }
    }

    /// One step of the signal; the first one lands near the recorded values.
    pub(super) fn drift(&mut self, rng: &mut Dice) {
        let signal = self.signal.get_or_insert(SignalIndices { rsrp: 53, rsrq: 17, snr: 30 });
        signal.rsrp = walk(rng, signal.rsrp, 3, 12, 78);
        signal.rsrq = walk(rng, signal.rsrq, 2, 4, 30);
        signal.snr = walk(rng, signal.snr, 2, 16, 42);
    }

    pub(super) fn show(&self, network: &SimNetwork) -> SimSignal {
        let signal = self.signal.as_ref();
        SimSignal {
            registration: self.stat(network),
            rsrp_dbm: signal.map(|signal| i16::from(signal.rsrp) - 140),
            rsrq_db: signal.map(|signal| f32::from(signal.rsrq) / 2.0 - 19.5),
            snr_db: signal.map(|signal| i16::from(signal.snr) - 24),
        }
    }
}

/// One step of a random walk of at most `step`, kept within `low` and `high`.
fn walk(rng: &mut Dice, value: u8, step: u8, low: u8, high: u8) -> u8 {
    let up = rng.between(0, 2 * u64::from(step));
    let moved = (u64::from(value) + up).saturating_sub(u64::from(step));
    u8::try_from(moved).unwrap_or(high).clamp(low, high)
}
