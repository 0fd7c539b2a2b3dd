//! Power saving as granted: eDRX cycles and PSM.

use core::time::Duration;

use crate::network::AccessTechnology;
use crate::timer::PsmTimer;

/// An eDRX cycle, by its four bits (3GPP TS 24.008 table 10.5.5.32).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EdrxCycle {
    bits: u8,
}

impl EdrxCycle {
    /// Decodes four characters `0` or `1`.
    #[must_use]
    pub fn decode(bits: &str) -> Option<Self> {
        (bits.len() == 4 && bits.bytes().all(|byte| matches!(byte, b'0' | b'1')))
            .then(|| u8::from_str_radix(bits, 2).ok())
            .flatten()
            .map(|bits| Self { bits })
    }

    /// The length of a cycle. The same bits mean different lengths on LTE-M and NB-IoT.
    #[must_use]
    pub fn length(self, access: AccessTechnology) -> Duration {
        let half_hyperframes = match (access, self.bits) {
            (AccessTechnology::LteM, 0) => 1,
            (AccessTechnology::LteM, 1) => 2,
            (AccessTechnology::LteM, 4) => 12,
            (AccessTechnology::LteM, 6) => 20,
            (AccessTechnology::LteM, 7) => 24,
            (AccessTechnology::LteM, 8) => 28,
            (AccessTechnology::LteM, 14..) => 512,
            (_, 3) => 8,
            (_, 5) => 16,
            (_, 9) => 32,
            (_, 10) => 64,
            (_, 11) => 128,
            (_, 12) => 256,
            (_, 13) => 512,
            (_, 14) => 1024,
            (_, 15) => 2048,
            _ => 4,
        };
        Duration::from_millis(5120 * half_hyperframes)
    }
}

/// What power saving mode amounts to, from the three timers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PsmGrant {
    /// How long the modem stays reachable after the link went idle.
    pub active_time: Duration,
    /// The period of tracking area updates; the legacy timer's where the extended one is switched off.
    pub periodic_tau: Option<Duration>,
}

impl PsmGrant {
    /// `None` when power saving mode was not granted: no Active-Time, or a deactivated one.
    #[must_use]
    pub fn from_timers(
        active_time: Option<PsmTimer>,
        periodic_tau_ext: Option<PsmTimer>,
        periodic_tau: Option<PsmTimer>,
    ) -> Option<Self> {
        let active_time = active_time?.duration()?;
        let extended = periodic_tau_ext.and_then(PsmTimer::duration);
        let legacy = periodic_tau.and_then(PsmTimer::duration);
        Some(Self { active_time, periodic_tau: extended.or(legacy) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(bits: &str, access: AccessTechnology) -> f64 {
        EdrxCycle::decode(bits).unwrap().length(access).as_secs_f64()
    }

    #[test]
    fn every_cycle_of_the_table() {
        let table = [
            ("0000", 5.12, 20.48),
            ("0001", 10.24, 20.48),
            ("0010", 20.48, 20.48),
            ("0011", 40.96, 40.96),
            ("0100", 61.44, 20.48),
            ("0101", 81.92, 81.92),
            ("0110", 102.4, 20.48),
            ("0111", 122.88, 20.48),
            ("1000", 143.36, 20.48),
            ("1001", 163.84, 163.84),
            ("1010", 327.68, 327.68),
            ("1011", 655.36, 655.36),
            ("1100", 1310.72, 1310.72),
            ("1101", 2621.44, 2621.44),
            ("1110", 2621.44, 5242.88),
            ("1111", 2621.44, 10485.76),
        ];
        for (bits, lte_m, nb_iot) in table {
            assert_eq!(seconds(bits, AccessTechnology::LteM), lte_m, "{bits} LTE-M");
            assert_eq!(seconds(bits, AccessTechnology::NbIot), nb_iot, "{bits} NB-IoT");
        }
    }

    #[test]
    fn anything_but_four_bits_is_no_cycle() {
        assert_eq!(
            (EdrxCycle::decode(""), EdrxCycle::decode("00112"), EdrxCycle::decode("+011")),
            (None, None, None)
        );
    }

    #[test]
    fn psm_is_granted_only_with_an_active_time() {
        let tau = Some(PsmTimer::After(Duration::from_secs(3240)));
        assert_eq!(PsmGrant::from_timers(Some(PsmTimer::Deactivated), tau, tau), None);
        assert_eq!(PsmGrant::from_timers(None, tau, tau), None);
        let grant = PsmGrant::from_timers(
            Some(PsmTimer::After(Duration::from_secs(2))),
            Some(PsmTimer::Deactivated),
            tau,
        );
        assert_eq!(grant.unwrap().periodic_tau, Some(Duration::from_secs(3240)));
    }
}
