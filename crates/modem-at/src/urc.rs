//! Unsolicited result codes, typed.

use crate::application::ApplicationReport;
use crate::classify::name_of;
use crate::device::SimState;
use crate::event::{FaultEvent, ModemEvent, NetworkCause, PdnEvent, Signalling};
use crate::fields::Fields;
use crate::neighbour::NeighbourCells;
use crate::power::Edrx;
use crate::registration::Registration;
use crate::signal::CesqReport;
use crate::time::NetworkTime;

/// What the modem or its application reported unasked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Urc {
    /// `+CEREG`.
    Registration(Registration),
    /// `%CESQ`.
    Signal(CesqReport),
    /// `+CSCON`.
    Signalling(Signalling),
    /// `%XSIM`.
    Sim(SimState),
    /// `%MDMEV`.
    Modem(ModemEvent),
    /// `+CGEV`.
    Pdn(PdnEvent),
    /// `%XTIME`.
    Time(NetworkTime),
    /// `%XVBATLOWLVL`: the supply fell below the level set, in millivolts.
    LowVoltage {
        /// Millivolts.
        millivolts: u32,
    },
    /// `+CEDRXP`.
    Edrx(Edrx),
    /// `#XMODEM`.
    Fault(FaultEvent),
    /// `%NCELLMEAS`.
    Cells(Box<NeighbourCells>),
    /// `+CNEC_EMM` and `+CNEC_ESM`.
    Cause(NetworkCause),
    /// Any other `#X...` of the application.
    Application(ApplicationReport),
    /// Any other report, and one of the above that could not be decoded, as it came.
    Other(String),
}

impl Urc {
    /// Decodes one line. Never fails: what is not understood is [`Urc::Other`].
    #[must_use]
    pub fn parse(line: &str) -> Self {
        Self::typed(line).unwrap_or_else(|| {
            if line.starts_with('#') {
                Self::Application(ApplicationReport::parse(line))
            } else {
                Self::Other(line.to_owned())
            }
        })
    }

    fn typed(line: &str) -> Option<Self> {
        match name_of(line)? {
            "+CEREG" => Registration::parse_urc(line).ok().map(Self::Registration),
            "%CESQ" => CesqReport::parse(line).ok().map(Self::Signal),
            "+CSCON" => Signalling::parse_urc(line).ok().map(Self::Signalling),
            "%XSIM" => SimState::parse(line).ok().map(Self::Sim),
            "%MDMEV" => ModemEvent::parse(line).ok().map(Self::Modem),
            "+CGEV" => PdnEvent::parse(line).ok().map(Self::Pdn),
            "%XTIME" => NetworkTime::parse(line).ok().map(Self::Time),
            "+CEDRXP" => Edrx::parse(line).ok().map(Self::Edrx),
            "%XVBATLOWLVL" => {
                let millivolts = Fields::of(line, "%XVBATLOWLVL").ok()?.number(0, "vbat").ok()?;
                Some(Self::LowVoltage { millivolts })
            }
            "%NCELLMEAS" => NeighbourCells::parse(line).ok().map(|cells| Self::Cells(Box::new(cells))),
            "+CNEC_EMM" | "+CNEC_ESM" => NetworkCause::parse(line).ok().map(Self::Cause),
            "#XMODEM" => FaultEvent::parse(line).ok().map(Self::Fault),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_not_understood_is_kept() {
        assert_eq!(Urc::parse("+CIND: \"service\",1"), Urc::Other("+CIND: \"service\",1".to_owned()));
        assert_eq!(Urc::parse("+CNEC_ESM: x"), Urc::Other("+CNEC_ESM: x".to_owned()));
        let odd = "#XNEW: 1,4".to_owned();
        assert_eq!(Urc::parse(&odd), Urc::Application(ApplicationReport::Other(odd)));
        assert_eq!(Urc::parse("%CESQ: "), Urc::Other("%CESQ: ".to_owned()));
        assert_eq!(Urc::parse("%XVBATLOWLVL: 3700"), Urc::LowVoltage { millivolts: 3700 });
    }

    proptest! {
        #[test]
        fn no_report_panics(
            name in prop::sample::select(vec![
                "+CEREG", "%CESQ", "+CSCON", "%XSIM", "%MDMEV", "+CGEV", "%XTIME", "%XVBATLOWLVL", "#XMODEM", "#XFOTA",
                "%NCELLMEAS", "+CNEC_ESM", "+CEDRXP", "#XGNSS", "#XGNSSPOS", "#XDFU", "#XPPP", "#XDATAMODE",
            ]),
            body in "[-0-9A-F\", x\u{e9}]{0,60}",
        ) {
            let line = format!("{name}:{body}");
            let _ = Urc::parse(&line);
            let _ = crate::Monitor::parse(&line.replace(name, "%XMONITOR"));
            let _ = crate::ConnectionEvaluation::parse(&line.replace(name, "%CONEVAL"));
            let _ = crate::parse_scan(&line.replace(name, "+COPS"));
        }
    }
}
