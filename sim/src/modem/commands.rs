//! What each command does and says. The framing is not known here.

use core::time::Duration;

use super::encode;
use super::input::{Form, Parsed};
use super::profile::SimApplication;
use super::radio::Registration;
use super::{SimModem, Tick};

/// How a command ends.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) lines: Vec<String>,
    pub(super) end: End,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    Ok,
    /// With the number to give at `+CMEE: 1`, where the modem has one.
    Error(Option<u16>),
    /// `OK`, then the application restarts.
    OkThenRestart,
    /// `OK`, then nothing until power returns.
    OkThenOff,
}

/// Subscriptions and modes; a restart loses all of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Settings {
    pub(super) functional_mode: u16,
    pub(super) echo: bool,
    pub(super) numeric_errors: bool,
    pub(super) registration: u8,
    pub(super) signalling: bool,
    pub(super) signal: bool,
    pub(super) modem_events: u8,
    pub(super) packet_events: bool,
    pub(super) sim: bool,
    pub(super) time: bool,
    pub(super) statistics: bool,
    pub(super) system_mode: Option<String>,
    pub(super) power_saving: Option<(String, String)>,
}

impl Settings {
    /// The radio may transmit.
    pub(super) fn radio_on(&self) -> bool {
        matches!(self.functional_mode, 1 | 21 | 31)
    }

    /// The core refuses some settings in these modes.
    fn active(&self) -> bool {
        matches!(self.functional_mode, 1 | 2 | 21)
    }

    fn sim_on(&self) -> bool {
        matches!(self.functional_mode, 1 | 21 | 31 | 41 | 44)
    }
}

/// How long the modem works on a command.
pub(super) fn takes(modem: &mut SimModem, line: &str) -> Duration {
    let upper = line.to_ascii_uppercase();
    let registered = modem.radio.registration == Registration::Registered;
    let (low, high) = match upper.as_str() {
        "AT+COPS=?" => (4000, 9000),
        "AT+CFUN=0" | "AT+CFUN=4" if registered => (800, 2500),
        "AT%CONEVAL" => (300, 900),
        _ => (3, 25),
    };
    Duration::from_millis(modem.rng.between(low, high))
}

pub(super) fn execute(modem: &mut SimModem, now: Duration, line: &str) -> Reply {
    let Some(parsed) = Parsed::parse(line) else { return error(None) };
    match parsed.name.as_str() {
        "" => ok(),
        "E0" => {
            modem.settings.echo = false;
            ok()
        }
        "E1" => {
            modem.settings.echo = true;
            ok()
        }
        name if name.starts_with('#') => application(modem, now, &parsed),
        _ => identity(modem, &parsed)
            .or_else(|| subscription(modem, &parsed))
            .or_else(|| state(modem, now, &parsed))
            .unwrap_or_else(|| error(None)),
    }
}

fn ok() -> Reply {
    Reply { lines: Vec::new(), end: End::Ok }
}

fn say(line: impl Into<String>) -> Reply {
    Reply { lines: vec![line.into()], end: End::Ok }
}

fn error(number: Option<u16>) -> Reply {
    Reply { lines: Vec::new(), end: End::Error(number) }
}

/// Commands of the application itself.
fn application(modem: &mut SimModem, now: Duration, parsed: &Parsed) -> Reply {
    let version = format!("\"{}\",\"{}\"", modem.profile.app_version, modem.profile.sdk_version);
    match (modem.profile.application, parsed.name.as_str(), parsed.form) {
        (SimApplication::PlainAt, ..) => error(None),
        (SimApplication::SerialModem, "#XSMVER", Form::Action) => say(format!("#XSMVER: {version}")),
        (SimApplication::SerialLteModem, "#XSLMVER", Form::Action) => say(format!("#XSLMVER: {version}")),
        (_, "#XRESET", Form::Action) => Reply { lines: Vec::new(), end: End::OkThenRestart },
        (_, "#XSHUTDOWN", Form::Action) => Reply { lines: Vec::new(), end: End::OkThenOff },
        (_, "#XMODEMRESET", Form::Action) => {
            modem.restart_core(now);
            say("#XMODEMRESET: 0")
        }
        (_, "#XUUID", Form::Action) => say("#XUUID: 50503041-3633-4261-803d-1e2b8f70111a"),
        (application, "#XCLAC", Form::Action) => {
            let version = if application == SimApplication::SerialModem { "AT#XSMVER" } else { "AT#XSLMVER" };
            let names = [version, "AT#XRESET", "AT#XSHUTDOWN", "AT#XMODEMRESET", "AT#XUUID", "AT#XCLAC"];
            Reply { lines: names.map(str::to_owned).to_vec(), end: End::Ok }
        }
        _ => error(None),
    }
}

fn identity(modem: &SimModem, parsed: &Parsed) -> Option<Reply> {
    let profile = &modem.profile;
    let sim_readable = modem.settings.sim_on() && modem.sim_works();
    Some(match (parsed.name.as_str(), parsed.form) {
        ("+CGMI", Form::Action) => say("Nordic Semiconductor ASA"),
        ("+CGMM", Form::Action) => say(profile.model.clone()),
        ("+CGMR", Form::Action) => say(profile.revision.clone()),
        ("%SHORTSWVER", Form::Action) => {
            say(format!("%SHORTSWVER: {}", profile.revision.trim_start_matches("mfw_")))
        }
        ("%HWVERSION", Form::Action) => say(format!("%HWVERSION: {}", profile.hardware)),
        ("%XMODEMUUID", Form::Action) => say("%XMODEMUUID: 25c95751-efa4-40d4-8b4a-1dcaab81fac9"),
        ("+CGSN", Form::Action) => say(profile.imei.clone()),
        ("+CGSN", Form::Set) if parsed.number(0) == Some(1) => say(format!("+CGSN: \"{}\"", profile.imei)),
        ("+CGSN", Form::Test) => say("+CGSN: (0-3)"),
        ("+CIMI", Form::Action) if sim_readable => say(profile.imsi.clone()),
        ("%XICCID", Form::Action) if sim_readable => say(encode::iccid(profile)),
        ("+CPIN", Form::Read) if sim_readable => say("+CPIN: READY"),
        ("+CPIN", Form::Read) => error(Some(13)),
        ("+CPINR", Form::Set) if sim_readable => say("+CPINR: \"SIM PIN\",3"),
        ("%XSIM", Form::Read) if sim_readable => say("%XSIM: 1"),
        ("%XSIM", Form::Read) if modem.settings.sim_on() => say("%XSIM: 0,9"),
        ("%XSIM", Form::Read) => say("%XSIM: 0"),
        _ => return None,
    })
}

fn subscription(modem: &mut SimModem, parsed: &Parsed) -> Option<Reply> {
    let level = parsed.number(0);
    let settings = &mut modem.settings;
    let flag = level == Some(1);
    match (parsed.name.as_str(), parsed.form) {
        ("+CEREG", Form::Set) => {
            let Some(level @ 0..=5) = level.and_then(|level| u8::try_from(level).ok()) else {
                return Some(error(None));
            };
            settings.registration = level;
        }
        ("+CEREG", Form::Read) => {
            let level = settings.registration;
            let tail = encode::registration(level, &modem.radio, &modem.profile.network);
            return Some(say(format!("+CEREG: {level},{tail}")));
        }
        ("+CSCON", Form::Set) => settings.signalling = flag,
        ("+CSCON", Form::Read) => {
            let (level, mode) = (u8::from(settings.signalling), u8::from(modem.radio.connected));
            return Some(say(format!("+CSCON: {level},{mode}")));
        }
        ("%CESQ", Form::Set) => settings.signal = flag,
        ("%MDMEV", Form::Set) => settings.modem_events = u8::try_from(level?).ok()?,
        ("+CGEREP", Form::Set) => settings.packet_events = flag,
        ("%XSIM", Form::Set) => settings.sim = flag,
        ("%XTIME", Form::Set) => settings.time = flag,
        ("+CMEE", Form::Set) => settings.numeric_errors = flag,
        ("+CMEE", Form::Read) => return Some(say(format!("+CMEE: {}", u8::from(settings.numeric_errors)))),
        ("%XCONNSTAT", Form::Set) => {
            settings.statistics = flag;
            modem.traffic = (0, 0);
        }
        ("%XCONNSTAT", Form::Read) => {
            let (sent, received) = modem.traffic;
            return Some(say(format!("%XCONNSTAT: 0,0,{},{},708,650", sent / 1024, received / 1024)));
        }
        (
            "+CNEC" | "+CEDRXS" | "%XPTW" | "%XVBATLVL" | "%XPOFWARN" | "%REL14FEAT" | "%XDATAPRFL",
            Form::Set,
        ) => {}
        _ => return None,
    }
    Some(ok())
}

fn state(modem: &mut SimModem, now: Duration, parsed: &Parsed) -> Option<Reply> {
    let registered = modem.radio.registration == Registration::Registered;
    let network = &modem.profile.network;
    Some(match (parsed.name.as_str(), parsed.form) {
        ("+CFUN", Form::Read) => say(format!("+CFUN: {}", modem.settings.functional_mode)),
        ("+CFUN", Form::Test) => say("+CFUN: (0,1,4,20,21,30,31,40,41,44)"),
        ("+CFUN", Form::Set) => match parsed.number(0) {
            Some(mode @ (0 | 1 | 2 | 4 | 20 | 21 | 30 | 31 | 40 | 41 | 44)) => {
                modem.set_functional_mode(now, mode);
                ok()
            }
            _ => error(None),
        },
        ("+CCLK", Form::Read) => modem.clock(now).map_or_else(|| error(None), say),
        ("+COPS", Form::Read) if registered => {
            say(format!("+COPS: 0,2,\"{}\",{}", network.plmn, network.access_technology))
        }
        ("+COPS", Form::Read) => say("+COPS: 0"),
        ("+COPS", Form::Test) if modem.settings.radio_on() => {
            let stat = if registered { 2 } else { 1 };
            say(format!(
                "+COPS: ({stat},\"\",\"\",\"{}\",{act}),(3,\"\",\"\",\"24201\",{act})",
                network.plmn,
                act = network.access_technology
            ))
        }
        ("+COPS", Form::Set) => ok(),
        ("+CESQ", Form::Action) => say(encode::signal_answer(&modem.radio)),
        ("%XMONITOR", Form::Action) => say(encode::monitor(&modem.radio, network)),
        ("%XSYSTEMMODE", Form::Read) => {
            say(format!("%XSYSTEMMODE: {}", modem.settings.system_mode.as_deref().unwrap_or("1,0,1,0")))
        }
        ("%XSYSTEMMODE", Form::Set) if modem.settings.active() => error(Some(518)),
        ("%XSYSTEMMODE", Form::Set) => {
            modem.settings.system_mode = Some(parsed.arguments.join(","));
            ok()
        }
        ("+CPSMS", Form::Set) => {
            let asked = parsed.number(0) == Some(1);
            let timers = parsed.argument(4).zip(parsed.argument(3)).filter(|_| asked);
            modem.settings.power_saving = timers.map(|(active, tau)| (active.to_owned(), tau.to_owned()));
            ok()
        }
        ("%XVBAT", Form::Action) => say(format!("%XVBAT: {}", modem.rng.between(5030, 5070))),
        ("%XTEMP", Form::Read) if modem.settings.active() => {
            say(format!("%XTEMP: {}", modem.rng.between(24, 31)))
        }
        ("%XCBAND", Form::Action) => say(format!("%XCBAND: {}", if registered { network.band } else { 0 })),
        ("%XCBAND", Form::Test) => say("%XCBAND: (1,2,3,4,5,8,12,13,20,28,66)"),
        ("+CGDCONT", Form::Read) if modem.radio.pdn => {
            say("+CGDCONT: 0,\"IP\",\"ibasis.iot\",\"10.160.148.98\",0,0")
        }
        ("+CGDCONT", Form::Read) => say("+CGDCONT: 0,\"\",\"\",\"\",0,0"),
        ("+CGDCONT", Form::Set) => ok(),
        ("+CGACT", Form::Read) => say(format!("+CGACT: 0,{}", u8::from(modem.radio.pdn))),
        ("%CONEVAL", Form::Action) => evaluation(modem)?,
        _ => return None,
    })
}

fn evaluation(modem: &SimModem) -> Option<Reply> {
    if !modem.settings.active() {
        return None;
    }
    let network = &modem.profile.network;
    Some(match &modem.radio.signal {
        Some(signal) => say(format!(
            "%CONEVAL: 0,{},7,{},{},{},\"{:08X}\",\"{}\",{},{},{},0,0,23,1,1,{}",
            u8::from(modem.radio.connected),
            signal.rsrp,
            signal.rsrq,
            signal.snr,
            network.cell,
            network.plmn,
            network.physical_cell,
            network.earfcn,
            network.band,
            163u16.saturating_sub(u16::from(signal.rsrp)),
        )),
        None => say("%CONEVAL: 1"),
    })
}

impl SimModem {
    fn set_functional_mode(&mut self, now: Duration, mode: u16) {
        let was_on = self.settings.radio_on();
        match mode {
            // LTE off, or the UICC off: the radio cannot stay.
            20 | 40 => self.settings.functional_mode = 4,
            // GNSS off: the rest stays.
            30 => {}
            _ => self.settings.functional_mode = mode,
        }
        if self.settings.radio_on() && !was_on {
            if let Some((active, tau)) = self.settings.power_saving.clone() {
                self.radio.active_time = active;
                self.radio.periodic_tau = tau;
            }
            self.schedule.add(now + Duration::from_millis(150), Tick::SimChecked);
        } else if !self.settings.radio_on() {
            self.leave_network(now, Registration::Idle);
        } else {
            // Already on: nothing to start.
        }
    }
}
