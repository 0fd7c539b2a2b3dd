//! The state of the device itself: supply voltage, temperature, SIM, system mode.

use crate::fields::{DecodeError, Fields, Tail, Value};

/// Supply voltage in millivolts, from `%XVBAT: <mV>`. While the radio is active this is the last measured value.
///
/// # Errors
/// Another line, or no number.
pub fn parse_voltage(line: &str) -> Result<u32, DecodeError> {
    Fields::of(line, "%XVBAT")?.number(0, "vbat")
}

/// Temperature in whole degrees Celsius, from `%XTEMP: <°C>`, the answer of `AT%XTEMP?`.
///
/// # Errors
/// Another line, or no number.
pub fn parse_temperature(line: &str) -> Result<i16, DecodeError> {
    Fields::of(line, "%XTEMP")?.number(0, "temperature")
}

/// `+CFUN: <fun>`: what of the radio is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FunctionalMode {
    /// 0: everything off; settings are stored on the way there, so it wears the flash.
    Minimum,
    /// 1.
    Full,
    /// 2: it listens and does not send.
    ReceiveOnly,
    /// 4: radio off, without the wear of 0.
    Flight,
    /// 20: LTE off, satellite navigation as it was.
    LteOff,
    /// 21: LTE on, satellite navigation as it was.
    LteOn,
    /// 30: satellite navigation off, LTE as it was.
    GnssOff,
    /// 31: satellite navigation on, LTE as it was.
    GnssOn,
    /// 40: SIM off.
    SimOff,
    /// 41: SIM on.
    SimOn,
    /// 44: radio off, SIM kept on.
    FlightSimOn,
    /// Any other number.
    Other(u16),
}

impl FunctionalMode {
    /// Decodes the line.
    ///
    /// # Errors
    /// Another line, or no number.
    pub fn parse(line: &str) -> Result<Self, DecodeError> {
        Ok(match Fields::of(line, "+CFUN")?.number(0, "fun")? {
            0 => Self::Minimum,
            1 => Self::Full,
            2 => Self::ReceiveOnly,
            4 => Self::Flight,
            20 => Self::LteOff,
            21 => Self::LteOn,
            30 => Self::GnssOff,
            31 => Self::GnssOn,
            40 => Self::SimOff,
            41 => Self::SimOn,
            44 => Self::FlightSimOn,
            other => Self::Other(other),
        })
    }
}

/// The state of the SIM, from `%XSIM: <state>[,<cause>]`: a report or the answer of `AT%XSIM?`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SimState {
    /// 1: initialised.
    Initialised,
    /// 0: not initialised.
    NotInitialised {
        /// 1 PIN wanted ... 9 failed or absent ... 11 profile changed; see [`SimState::cause_meaning`].
        cause: Value<u8>,
    },
}

impl SimState {
    /// Decodes the line.
    ///
    /// # Errors
    /// Another line, or a state other than 0 and 1.
    pub fn parse(line: &str) -> Result<Self, DecodeError> {
        let fields = Fields::of(line, "%XSIM")?;
        match fields.number::<u8>(0, "state")? {
            1 => Ok(Self::Initialised),
            0 => Ok(Self::NotInitialised { cause: fields.value(1) }),
            _ => Err(DecodeError::Malformed { line: "%XSIM", field: "state" }),
        }
    }

    /// The cause in words, where there is one and it is known.
    #[must_use]
    pub fn cause_meaning(&self) -> Option<&'static str> {
        let Self::NotInitialised { cause: Value::Known(cause) } = self else { return None };
        Some(match cause {
            1 => "PIN wanted",
            2 => "PIN2 wanted",
            3 => "PUK wanted (PIN blocked)",
            4 => "PUK2 wanted (PIN2 blocked)",
            5 => "PUK blocked",
            6 => "PUK2 blocked",
            7 => "locked to another network",
            8 => "IMEI lock",
            9 => "SIM failed or absent",
            10 => "SIM changed",
            11 => "profile changed",
            _ => return None,
        })
    }
}

/// `%XSYSTEMMODE: <LTE-M>,<NB-IoT>,<GNSS>,<preference>`. Newer firmware may add fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SystemMode {
    /// LTE-M is allowed.
    pub lte_m: bool,
    /// NB-IoT is allowed.
    pub nb_iot: bool,
    /// GNSS is allowed.
    pub gnss: bool,
    /// 0 none, 1 LTE-M, 2 NB-IoT; 3 and 4 leave it to the network selection in ways the vendor describes differently.
    pub preference: u8,
    /// Fields beyond these.
    pub tail: Tail,
}

impl SystemMode {
    /// Decodes the line.
    ///
    /// # Errors
    /// Another line, or fewer than four numbers.
    pub fn parse(line: &str) -> Result<Self, DecodeError> {
        let fields = Fields::of(line, "%XSYSTEMMODE")?;
        let flag = |index, field| fields.number::<u8>(index, field).map(|number| number != 0);
        Ok(Self {
            lte_m: flag(0, "LTE_M_support")?,
            nb_iot: flag(1, "NB_IoT_support")?,
            gnss: flag(2, "GNSS_support")?,
            preference: fields.number(3, "LTE_preference")?,
            tail: fields.tail(4),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn voltage_and_temperature() {
        assert_eq!(parse_voltage("%XVBAT: 5059").unwrap(), 5059);
        assert_eq!(parse_voltage("%XVBAT: 4464").unwrap(), 4464);
        assert_eq!(parse_temperature("%XTEMP: 50").unwrap(), 50);
        assert_eq!(parse_temperature("%XTEMP: -12").unwrap(), -12);
        assert!(parse_voltage("%XVBAT: ").is_err());
    }

    #[test]
    fn every_functional_mode_has_its_name() {
        let modes = [0, 1, 2, 4, 20, 21, 30, 31, 40, 41, 44]
            .map(|number| FunctionalMode::parse(&format!("+CFUN: {number}")).unwrap());
        for (at, mode) in modes.iter().enumerate() {
            assert!(!matches!(mode, FunctionalMode::Other(_)));
            assert!(!modes[..at].contains(mode), "{mode:?}");
        }
        assert_eq!(FunctionalMode::parse("+CFUN: 9").unwrap(), FunctionalMode::Other(9));
        assert!(FunctionalMode::parse("+CFUN: (0,1,4,20,21,30,31,40,41,44)").is_err());
    }

    #[test]
    fn a_missing_sim_says_so() {
        assert_eq!(SimState::parse("%XSIM: 1").unwrap(), SimState::Initialised);
        let missing = SimState::parse("%XSIM: 0,9").unwrap();
        assert_eq!(missing, SimState::NotInitialised { cause: Value::Known(9) });
        assert_eq!(missing.cause_meaning(), Some("SIM failed or absent"));
        assert_eq!(SimState::parse("%XSIM: 0").unwrap(), SimState::NotInitialised { cause: Value::Absent });
        assert_eq!(SimState::parse("%XSIM: 0,77").unwrap().cause_meaning(), None);
        assert!(SimState::parse("%XSIM: 2").is_err());
    }

    #[test]
    fn system_mode_takes_four_fields_or_more() {
        let mode = SystemMode::parse("%XSYSTEMMODE: 1,0,1,0").unwrap();
        let tail = Tail::default();
        assert_eq!(mode, SystemMode { lte_m: true, nb_iot: false, gnss: true, preference: 0, tail });
        let mode = SystemMode::parse("%XSYSTEMMODE: 0,1,1,0,1").unwrap();
        assert_eq!((mode.nb_iot, mode.tail.as_str()), (true, "1"));
        assert!(SystemMode::parse("%XSYSTEMMODE: 1,0,1").is_err());
    }
}
