//! `%XMONITOR`: everything about the serving cell in one line.

use crate::fields::{DecodeError, Fields, Tail, Value};
use crate::network::AccessTechnology;
use crate::power::{EdrxCycle, PsmGrant};
use crate::registration::{CellId, RegistrationStatus, tracking_area};
use crate::signal::{Grade, Rsrp, Snr};
use crate::timer::{PsmTimer, TimerKind};

/// The answer of `AT%XMONITOR`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Monitor {
    /// Registration.
    pub status: RegistrationStatus,
    /// The rest; there only while registered.
    pub camped: Option<Camped>,
}

/// What the modem knows of the network it is registered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Camped {
    /// Long name of the operator.
    pub full_name: Option<String>,
    /// Short name of the operator.
    pub short_name: Option<String>,
    /// Country and network code, 5 or 6 digits.
    pub plmn: Option<String>,
    /// Tracking area code.
    pub tracking_area: Value<u16>,
    /// Access technology.
    pub access_technology: Value<AccessTechnology>,
    /// LTE band.
    pub band: Value<u16>,
    /// The cell.
    pub cell: Value<CellId>,
    /// Physical cell id; absent while not camped.
    pub physical_cell: Value<u16>,
    /// EARFCN; absent while not camped.
    pub earfcn: Value<u32>,
    /// Power; absent while not camped.
    pub rsrp: Value<Rsrp>,
    /// Signal to noise ratio; absent while not camped.
    pub snr: Value<Snr>,
    /// eDRX granted by the network; absent when not used.
    pub edrx: Value<EdrxCycle>,
    /// T3324.
    pub active_time: Value<PsmTimer>,
    /// T3412 extended.
    pub periodic_tau_ext: Value<PsmTimer>,
    /// T3412; firmware before 1.2 does not give it.
    pub periodic_tau: Value<PsmTimer>,
    /// Fields beyond these.
    pub tail: Tail,
}

impl Monitor {
    /// Decodes the line.
    ///
    /// # Errors
    /// Another line, or no status.
    pub fn parse(line: &str) -> Result<Self, DecodeError> {
        let fields = Fields::of(line, "%XMONITOR")?;
        let status = RegistrationStatus::from_number(fields.number(0, "reg_status")?);
        let camped = (fields.len() > 1).then(|| Camped {
            full_name: fields.string(1),
            short_name: fields.string(2),
            plmn: fields.string(3),
            tracking_area: Value::read(fields.get(4), tracking_area),
            access_technology: Value::read(fields.get(5), AccessTechnology::decode),
            band: fields.value(6),
            cell: Value::read(fields.get(7), CellId::decode),
            physical_cell: fields.value(8),
            earfcn: fields.value(9),
            rsrp: Rsrp::field(fields.get(10)),
            snr: Snr::field(fields.get(11)),
            edrx: Value::read(fields.get(12), EdrxCycle::decode),
            active_time: PsmTimer::field(fields.get(13), TimerKind::ActiveTime),
            periodic_tau_ext: PsmTimer::field(fields.get(14), TimerKind::PeriodicTauExt),
            periodic_tau: PsmTimer::field(fields.get(15), TimerKind::PeriodicTau),
            tail: fields.tail(16),
        });
        Ok(Self { status, camped })
    }
}

impl Camped {
    /// Power saving mode as granted, if it was.
    #[must_use]
    pub fn psm(&self) -> Option<PsmGrant> {
        PsmGrant::from_timers(
            self.active_time.known().copied(),
            self.periodic_tau_ext.known().copied(),
            self.periodic_tau.known().copied(),
        )
    }

    /// How good the signal is, where it is known.
    #[must_use]
    pub fn grade(&self) -> Option<Grade> {
        Grade::of(self.rsrp.known().copied(), self.snr.known().copied())
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;
    use crate::fields::Value::{Absent, Known};

    const ROAMING: &str = "%XMONITOR: 5,\"Telia N@\",\"Telia N@\",\"24202\",\"0901\",7,20,\"02024720\",428,6300,53,22,\"\",\"11100000\",\"11100000\",\"01001001\"";

    #[test]
    fn the_recorded_line_decodes_in_full() {
        let monitor = Monitor::parse(ROAMING).unwrap();
        assert_eq!(monitor.status, RegistrationStatus::Roaming);
        let camped = monitor.camped.unwrap();
        assert_eq!(
            camped,
            Camped {
                full_name: Some("Telia N@".to_owned()),
                short_name: Some("Telia N@".to_owned()),
                plmn: Some("24202".to_owned()),
                tracking_area: Known(0x0901),
                access_technology: Known(AccessTechnology::LteM),
                band: Known(20),
                cell: Known(CellId(0x0202_4720)),
                physical_cell: Known(428),
                earfcn: Known(6300),
                rsrp: Known(Rsrp { dbm: -87 }),
                snr: Known(Snr { db: -2 }),
                edrx: Absent,
                active_time: Known(PsmTimer::Deactivated),
                periodic_tau_ext: Known(PsmTimer::Deactivated),
                periodic_tau: Known(PsmTimer::After(Duration::from_secs(54 * 60))),
                tail: Tail::default(),
            }
        );
        assert_eq!(camped.psm(), None);
        assert_eq!(camped.grade(), Some(Grade::Poor));
    }

    #[test]
    fn registered_but_not_camped_leaves_the_cell_measurements_out() {
        let monitor = Monitor::parse(
            "%XMONITOR: 1,\"\",\"\",\"24201\",\"8169\",7,20,\"014ACE00\",,,,,\"\",\"00000001\",\"11000001\",\"01011111\"",
        )
        .unwrap();
        let camped = monitor.camped.unwrap();
        assert_eq!((camped.full_name.as_deref(), camped.plmn.as_deref()), (None, Some("24201")));
        assert_eq!(
            (camped.physical_cell.clone(), camped.rsrp.clone(), camped.snr.clone()),
            (Absent, Absent, Absent)
        );
        assert_eq!(camped.grade(), None);
        assert_eq!(
            camped.psm(),
            Some(PsmGrant {
                active_time: Duration::from_secs(2),
                periodic_tau: Some(Duration::from_secs(320 * 3600)),
            })
        );
    }

    #[test]
    fn not_registered_is_one_field() {
        let monitor = Monitor::parse("%XMONITOR: 2").unwrap();
        assert_eq!((monitor.status, monitor.camped), (RegistrationStatus::Searching, None));
    }

    #[test]
    fn older_firmware_lacks_the_last_timer_and_stubs_add_spaces() {
        let line = "%XMONITOR: 1, \"A B\", \"A\", \"26201\", \"0901\", 9, 8, \"02024720\", 1, 3600, 60, 30, \"0011\", \"00100001\", \"00000110\"";
        let camped = Monitor::parse(line).unwrap().camped.unwrap();
        assert_eq!(camped.periodic_tau, Absent);
        assert_eq!(camped.access_technology, Known(AccessTechnology::NbIot));
        assert_eq!(
            camped.edrx.known().unwrap().length(AccessTechnology::NbIot),
            Duration::from_millis(40_960)
        );
    }
}
