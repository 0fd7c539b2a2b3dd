//! Power saving as granted: eDRX cycles and PSM.

use core::time::Duration;

use crate::fields::{DecodeError, Fields, Tail, Value};
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

/// What the network granted of eDRX, from an unsolicited `+CEDRXP` or the answer of `AT+CEDRXRDP`:
/// `<AcT>[,"<requested>"[,"<granted>"[,"<ptw>"]]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edrx {
    /// The access technology it holds for; `None` when eDRX is not used (0).
    pub access_technology: Option<Value<AccessTechnology>>,
    /// Asked for.
    pub requested: Value<EdrxCycle>,
    /// Granted; absent when not used.
    pub granted: Value<EdrxCycle>,
    /// Paging time window, as its four bits: see [`Edrx::paging_window`].
    window: Value<EdrxCycle>,
    /// Fields beyond these.
    pub tail: Tail,
}

impl Edrx {
    /// Decodes the line.
    ///
    /// # Errors
    /// Another line, or no access technology.
    pub fn parse(line: &str) -> Result<Self, DecodeError> {
        let fields = Fields::of(line, "+CEDRXP").or_else(|_| Fields::of(line, "+CEDRXRDP"))?;
        // This command counts access technologies its own way.
        let access_technology = match fields.text(0, "AcT-type")? {
            "0" => None,
            "4" => Some(Value::Known(AccessTechnology::LteM)),
            "5" => Some(Value::Known(AccessTechnology::NbIot)),
            other => Some(Value::Text(other.to_owned())),
        };
        Ok(Self {
            access_technology,
            requested: Value::read(fields.get(1), EdrxCycle::decode),
            granted: Value::read(fields.get(2), EdrxCycle::decode),
            window: Value::read(fields.get(3), EdrxCycle::decode),
            tail: fields.tail(4),
        })
    }

    /// The granted cycle, where it is used and understood.
    #[must_use]
    pub fn cycle(&self) -> Option<Duration> {
        Some(self.granted.known()?.length(*self.access_technology.as_ref()?.known()?))
    }

    /// The paging time window, where it is used and understood.
    #[must_use]
    pub fn paging_window(&self) -> Option<Duration> {
        let step = match self.access_technology.as_ref()?.known()? {
            AccessTechnology::LteM => 1280,
            AccessTechnology::NbIot => 2560,
        };
        Some(Duration::from_millis(step * (u64::from(self.window.known()?.bits) + 1)))
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
    fn a_granted_cycle_and_its_window() {
        let edrx = Edrx::parse("+CEDRXP: 4,\"0011\",\"0011\",\"0011\"").unwrap();
        assert_eq!(edrx.cycle(), Some(Duration::from_millis(40_960)));
        assert_eq!(edrx.paging_window(), Some(Duration::from_millis(5120)));
        let edrx = Edrx::parse("+CEDRXRDP: 4,\"0011\",\"0010\",\"1001\"").unwrap();
        assert_eq!(edrx.cycle(), Some(Duration::from_millis(20_480)));
        assert_eq!(edrx.paging_window(), Some(Duration::from_millis(12_800)));
    }

    #[test]
    fn edrx_that_is_not_used_has_no_cycle() {
        let unused = Edrx::parse("+CEDRXP: 0").unwrap();
        assert_eq!((unused.access_technology.clone(), unused.cycle()), (None, None));
        assert_eq!(Edrx::parse("+CEDRXRDP: 5,\"0010\",\"\",\"\"").unwrap().cycle(), None);
        let satellite = Edrx::parse("+CEDRXP: 6,\"0011\",\"0011\",\"0011\"").unwrap();
        assert_eq!(satellite.access_technology, Some(Value::Text("6".to_owned())));
        assert_eq!((satellite.cycle(), satellite.paging_window()), (None, None));
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
