//! What is known of the modem, from its answers and reports, as facts for the board.
//!
//! Pure: a line and the time go in, facts come out. A fact is made only where something was learned just now, because
//! the board stamps what it is given. What a restart makes doubtful is forgotten in one place, [`Known::restarted`].

use std::time::Duration;

use fieldgate_modem_at::{
    CellId, ClockReading, ConnectionStatistics, DecodeError, Fields, Grade, ModemEvent, Monitor, PdnEvent,
    RegistrationStatus, RejectCause, Rsrp, Rsrq, SimState, Snr, Urc, hardware_version, iccid, imei,
    imei_bare, imsi, manufacturer, model, parse_temperature, parse_voltage, revision,
};
use tracing::Level;

use super::script::Ask;
use super::time;
use super::words::{self, Trouble};
use crate::board::{
    DataCounters, Hidden, ModemIdentity, ModemState, NetworkTime, Registration, Signal, SignalGrade,
};

/// Something for the board.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Fact {
    Identity(ModemIdentity),
    Registration(Registration),
    Signal(Signal),
    /// Millivolts; `None` when no longer known.
    Voltage(Option<u32>),
    /// Degrees Celsius; `None` when no longer known.
    Temperature(Option<i16>),
    /// `None` when no longer known.
    Counters(Option<DataCounters>),
    NetworkTime(NetworkTime),
    State(ModemState),
}

/// A ratio is measured only when the modem is polled; with reports of newer power beside it, an old one misleads.
const SNR_LIFE: Duration = Duration::from_secs(600);

/// What one line taught.
#[derive(Debug, Default)]
pub(super) struct Lesson {
    pub(super) facts: Vec<Fact>,
    pub(super) notes: Vec<(Level, String)>,
    /// What should be asked because of it.
    pub(super) ask: Vec<Ask>,
    /// The modem does not follow the subscription it accepted: it restarted unseen.
    pub(super) forgot_subscription: bool,
}

impl Lesson {
    fn fact(fact: Fact) -> Self {
        Self { facts: vec![fact], ..Self::default() }
    }

    fn note(level: Level, text: impl Into<String>) -> Self {
        Self { notes: vec![(level, text.into())], ..Self::default() }
    }
}

/// Everything known of one modem.
#[derive(Debug, Default)]
pub(super) struct Known {
    application: String,
    identity: Identity,
    radio: Radio,
    /// Functional mode, as of the last start.
    mode: Option<u16>,
    sim: Option<SimState>,
    trouble: Option<Trouble>,
    /// The words last said, to tell news from repetition.
    told: Option<String>,
    subscribed: bool,
    /// It said what time it is, since its last start.
    told_time: bool,
}

#[derive(Debug, Default)]
struct Identity {
    model: Option<String>,
    hardware: Option<String>,
    firmware: Option<String>,
    imei: Option<Hidden>,
    iccid: Option<Hidden>,
    imsi: Option<Hidden>,
}

#[derive(Debug, Default)]
struct Radio {
    status: Option<RegistrationStatus>,
    /// Registered by its own word, but on a cell it marks as not valid.
    off_cell: bool,
    /// The last refusal since it was registered.
    reject: Option<RejectCause>,
    operator: Option<String>,
    plmn: Option<String>,
    access: Option<String>,
    band: Option<u16>,
    cell: Option<CellId>,
    rsrp: Option<Rsrp>,
    rsrq: Option<Rsrq>,
    snr: Option<(Duration, Snr)>,
}

impl Known {
    /// Another modem, perhaps: nothing of the last one holds.
    pub(super) fn found(&mut self, application: String) {
        *self = Self { application, told: self.told.take(), ..Self::default() };
    }

    /// The modem lost its settings and its network; who it is stays.
    pub(super) fn restarted(&mut self) {
        self.radio = Radio::default();
        self.mode = None;
        self.sim = None;
        self.trouble = None;
        self.subscribed = false;
        self.told_time = false;
    }

    /// The facts that say that nothing is known, and why.
    pub(super) fn unknown(&mut self, why: &str) -> [Fact; 5] {
        let words = format!("not known: {why}");
        self.told = Some(words.clone());
        let registration = Registration {
            registered: false,
            roaming: false,
            words,
            operator: None,
            plmn: None,
            access: None,
            band: None,
            cell: None,
        };
        let signal = Signal { rsrp_dbm: None, rsrq_db: None, snr_db: None, grade: SignalGrade::Unknown };
        [
            Fact::Registration(registration),
            Fact::Signal(signal),
            Fact::Voltage(None),
            Fact::Temperature(None),
            Fact::Counters(None),
        ]
    }

    pub(super) fn application(&self) -> &str {
        &self.application
    }

    pub(super) fn trouble(&self) -> Option<Trouble> {
        self.trouble
    }

    pub(super) fn identity(&self) -> ModemIdentity {
        let Identity { model, hardware, firmware, imei, iccid, imsi } = &self.identity;
        ModemIdentity {
            application: self.application.clone(),
            hardware: hardware.clone().or_else(|| model.clone()),
            firmware: firmware.clone(),
            imei: imei.clone(),
            iccid: iccid.clone(),
            imsi: imsi.clone(),
        }
    }

    /// What every look should ask again, because it was not answered so far.
    pub(super) fn missing(&self) -> Vec<Ask> {
        let working = self.sim == Some(SimState::Initialised);
        [
            (!working, Ask::Sim),
            (working && self.identity.iccid.is_none(), Ask::Iccid),
            (working && self.identity.imsi.is_none(), Ask::Imsi),
            // Some networks never send the time, or sent it before anybody listened.
            (self.radio.status.is_some_and(RegistrationStatus::is_registered) && !self.told_time, Ask::Clock),
        ]
        .into_iter()
        .filter_map(|(missing, ask)| missing.then_some(ask))
        .collect()
    }

    /// Takes the answer to `ask`.
    ///
    /// # Errors
    /// No line of it could be understood.
    pub(super) fn answer(
        &mut self,
        now: Duration,
        ask: Ask,
        lines: &[String],
    ) -> Result<Lesson, DecodeError> {
        match ask {
            Ask::Manufacturer => {
                let text = bare(lines, manufacturer)?;
                if !text.contains("Nordic") {
                    let text = words::logged(&text);
                    return Ok(Lesson::note(
                        Level::WARN,
                        format!("the modem is not Nordic's but of {text}: only what is standard will work"),
                    ));
                }
            }
            Ask::Model => self.identity.model = Some(words::shown(&bare(lines, model)?)),
            Ask::Firmware => {
                let text = words::shown(&bare(lines, revision)?);
                // Noise may stand before the name, never inside it.
                let start = text.find("mfw_").unwrap_or(0);
                self.identity.firmware = text.get(start..).map(str::to_owned);
            }
            Ask::Hardware => {
                self.identity.hardware = Some(words::shown(&named(lines, "%HWVERSION", hardware_version)?));
            }
            Ask::Imei => {
                let number = named(lines, "+CGSN", imei)?.number;
                return Ok(self.learn_number(|it| &mut it.imei, number.reveal()));
            }
            Ask::ImeiBare => {
                let number = bare(lines, imei_bare)?.number;
                return Ok(self.learn_number(|it| &mut it.imei, number.reveal()));
            }
            Ask::Iccid => {
                let number = named(lines, "%XICCID", iccid)?;
                return Ok(self.learn_number(|it| &mut it.iccid, number.reveal()));
            }
            Ask::Imsi => {
                let number = bare(lines, imsi)?;
                return Ok(self.learn_number(|it| &mut it.imsi, number.reveal()));
            }
            Ask::ReportRegistration => self.subscribed = true,
            Ask::FunctionalMode => return Ok(self.learn_mode(named(lines, "+CFUN", functional_mode)?)),
            Ask::RadioOn => self.mode = Some(1),
            Ask::Sim => return Ok(self.learn_sim(named(lines, "%XSIM", SimState::parse)?)),
            Ask::Monitor => return Ok(self.learn_monitor(now, named(lines, "%XMONITOR", Monitor::parse)?)),
            Ask::SignalNow => {
                let signal = named(lines, "+CESQ", fieldgate_modem_at::Signal::parse)?;
                return Ok(self.learn_signal(now, &signal));
            }
            Ask::Voltage => {
                return Ok(Lesson::fact(Fact::Voltage(Some(named(lines, "%XVBAT", parse_voltage)?))));
            }
            Ask::Temperature => {
                return Ok(Lesson::fact(Fact::Temperature(Some(named(lines, "%XTEMP", parse_temperature)?))));
            }
            Ask::DataCounters => {
                let counted = named(lines, "%XCONNSTAT", ConnectionStatistics::parse)?;
                // The vendor says kilobytes and not which: the larger are certain not to hide anything.
                let bytes = |kilobytes: u32| u64::from(kilobytes) * 1024;
                let (sent, received) = (bytes(counted.sent_kb), bytes(counted.received_kb));
                return Ok(Lesson::fact(Fact::Counters(Some(DataCounters { sent, received }))));
            }
            Ask::Registration => {
                let read = named(lines, "+CEREG", fieldgate_modem_at::Registration::parse_read)?;
                let forgot = self.subscribed && read.subscription.is_some_and(|level| level != 5);
                return Ok(Lesson { forgot_subscription: forgot, ..self.learn_registration(&read) });
            }
            Ask::Clock => {
                let reading = named(lines, "+CCLK", ClockReading::parse)?;
                return Ok(self.learn_time(time::of_clock(&reading)));
            }
            Ask::EchoOff
            | Ask::NumericErrors
            | Ask::ReportSignalling
            | Ask::ReportSignal
            | Ask::ReportEvents
            | Ask::ReportWarnings
            | Ask::ReportPackets
            | Ask::ReportSim
            | Ask::ReportTime
            | Ask::ReportCauses
            | Ask::CountData => {}
        }
        Ok(Lesson::default())
    }

    /// Takes a report. A core fault is not its business: it changes what is asked, not what is known.
    pub(super) fn report(&mut self, now: Duration, urc: &Urc) -> Lesson {
        match urc {
            Urc::Registration(registration) => self.learn_registration(registration),
            Urc::Signal(report) => self.learn_signal(now, &report.signal),
            Urc::Sim(state) => self.learn_sim(state.clone()),
            Urc::Time(time) => self.learn_time(time::of_network(time)),
            Urc::Modem(event) => self.learn_event(event),
            Urc::Pdn(event) => self.learn_packet_event(event),
            Urc::LowVoltage { millivolts } => Lesson {
                facts: vec![Fact::Voltage(Some(*millivolts))],
                ..Lesson::note(Level::WARN, format!("the modem's supply fell to {millivolts} mV"))
            },
            // The rest of such a line may hold a position or a number: its name is enough.
            Urc::Application(report) => of_name(report.name()),
            Urc::Other(line) => of_name(line.split(':').next().unwrap_or_default()),
            Urc::Cells(_) => of_name("measured cells"),
            Urc::Cause(_) => of_name("a cause of the network's"),
            Urc::Signalling(_) | Urc::Edrx(_) | Urc::Fault(_) => Lesson::default(),
        }
    }

    fn learn_time(&mut self, time: Result<NetworkTime, &'static str>) -> Lesson {
        self.told_time |= time.is_ok();
        match time {
            Ok(time) => Lesson {
                facts: vec![Fact::NetworkTime(time)],
                ..Lesson::note(Level::DEBUG, format!("it tells the time, within {} ms", time.uncertainty_ms))
            },
            Err(why) => Lesson::note(Level::DEBUG, why),
        }
    }

    fn learn_number(
        &mut self,
        slot: impl FnOnce(&mut Identity) -> &mut Option<Hidden>,
        number: &str,
    ) -> Lesson {
        let number = Some(Hidden::new(number));
        let slot = slot(&mut self.identity);
        if *slot == number {
            return Lesson::default();
        }
        *slot = number;
        Lesson::fact(Fact::Identity(self.identity()))
    }

    /// Minimum functionality and flight mode are where a restart leaves the modem: the radio is wanted. Every other mode
    /// is somebody's choice, and most of them have the radio up.
    fn learn_mode(&mut self, mode: u16) -> Lesson {
        self.mode = Some(mode);
        let ask = if matches!(mode, 0 | 4) { vec![Ask::RadioOn] } else { Vec::new() };
        Lesson { ask, ..Lesson::default() }
    }

    fn learn_sim(&mut self, state: SimState) -> Lesson {
        let broken = words::sim(&state).is_some();
        self.sim = Some(state);
        let mut lesson = Lesson::default();
        if broken {
            // Whatever card comes next is another one until it says its numbers.
            let numbers = (self.identity.iccid.take(), self.identity.imsi.take());
            if numbers != (None, None) {
                lesson.facts.push(Fact::Identity(self.identity()));
            }
        } else {
            let card = |ask: &Ask| matches!(ask, Ask::Iccid | Ask::Imsi);
            lesson.ask = self.missing().into_iter().filter(card).collect();
        }
        if self.radio.status.is_some() {
            lesson.facts.push(self.registration(&mut lesson.notes));
        }
        lesson
    }

    fn learn_registration(&mut self, it: &fieldgate_modem_at::Registration) -> Lesson {
        let was = (self.radio.status, self.radio.cell);
        self.radio.off_cell = it.cell_not_valid;
        self.take_status(it.status);
        if !it.is_registered()
            && let Some(reject) = it.reject.known()
        {
            self.radio.reject = Some(*reject);
        }
        self.radio.cell = it.cell.known().copied();
        if let Some(access) = it.access_technology.known() {
            self.radio.access = Some(access.to_string());
        }
        let mut lesson = Lesson::default();
        if it.is_registered() && was != (self.radio.status, self.radio.cell) {
            lesson.ask.push(Ask::Monitor);
        }
        lesson.facts.push(self.registration(&mut lesson.notes));
        lesson
    }

    fn learn_monitor(&mut self, now: Duration, monitor: Monitor) -> Lesson {
        self.take_status(monitor.status);
        let mut lesson = Lesson::default();
        if let Some(camped) = monitor.camped {
            self.radio.cell = camped.cell.known().copied().filter(|cell| cell.0 != u32::MAX);
            self.radio.off_cell = self.radio.off_cell && self.radio.cell.is_none();
            self.radio.plmn.clone_from(&camped.plmn);
            self.radio.operator = camped.full_name.or(camped.short_name).or(camped.plmn);
            self.radio.band = camped.band.known().copied();
            if let Some(access) = camped.access_technology.known() {
                self.radio.access = Some(access.to_string());
            }
            self.radio.rsrp = camped.rsrp.known().copied();
            self.radio.snr = camped.snr.known().map(|snr| (now, *snr));
            lesson.facts.push(self.signal(now));
        }
        let registration = self.registration(&mut lesson.notes);
        lesson.facts.push(registration);
        lesson
    }

    fn take_status(&mut self, status: RegistrationStatus) {
        self.radio.status = Some(status);
        if status.is_registered() {
            self.radio.reject = None;
            self.trouble = self.trouble.filter(|trouble| !trouble.keeps_off_network());
        } else {
            self.radio = Radio {
                operator: None,
                plmn: None,
                access: None,
                band: None,
                cell: None,
                snr: None,
                ..std::mem::take(&mut self.radio)
            };
        }
    }

    fn learn_signal(&mut self, now: Duration, signal: &fieldgate_modem_at::Signal) -> Lesson {
        self.radio.rsrp = signal.rsrp.known().copied();
        self.radio.rsrq = signal.rsrq.known().copied();
        if self.radio.rsrp.is_none() {
            // Not on a cell: what was measured on the last one says nothing.
            self.radio.snr = None;
        }
        Lesson::fact(self.signal(now))
    }

    fn learn_event(&mut self, event: &ModemEvent) -> Lesson {
        let trouble = match event {
            ModemEvent::Overheated => Trouble::Overheated,
            ModemEvent::BatteryLow => Trouble::BatteryLow,
            ModemEvent::ResetLoop => Trouble::ResetLoop,
            ModemEvent::NoImei => Trouble::NoImei,
            ModemEvent::RfCalibrationNotDone => Trouble::NotCalibrated,
            ModemEvent::InvalidBandConfiguration(_) => Trouble::InvalidBands,
            ModemEvent::LightSearchDone => return Lesson::note(Level::DEBUG, "the light search is done"),
            ModemEvent::SearchDone => return Lesson::note(Level::DEBUG, "the network search is done"),
            ModemEvent::CoverageEnhancement(level) => {
                return Lesson::note(Level::DEBUG, format!("coverage enhancement level {level}"));
            }
            ModemEvent::DetectedCountry(mcc) => {
                return Lesson::note(Level::DEBUG, format!("the network's country code is {mcc}"));
            }
            ModemEvent::Other(text) => {
                return Lesson::note(Level::INFO, format!("the modem reported: {}", words::logged(text)));
            }
        };
        self.learn_trouble(trouble)
    }

    fn learn_trouble(&mut self, trouble: Trouble) -> Lesson {
        if self.trouble == Some(trouble) {
            return Lesson::default();
        }
        self.trouble = Some(trouble);
        let mut lesson = Lesson::note(Level::WARN, trouble.words());
        if self.radio.status.is_some() {
            lesson.facts.push(self.registration(&mut Vec::new()));
        }
        lesson
    }

    fn learn_packet_event(&mut self, event: &PdnEvent) -> Lesson {
        match event {
            PdnEvent::Overheated => self.learn_trouble(Trouble::Overheated),
            PdnEvent::BatteryLow => self.learn_trouble(Trouble::BatteryLow),
            PdnEvent::Activated { cid, .. } => {
                Lesson::note(Level::INFO, format!("data connection {cid} is up"))
            }
            PdnEvent::Deactivated { cid, .. } => {
                Lesson::note(Level::INFO, format!("data connection {cid} is down"))
            }
            PdnEvent::NetworkDetach => Lesson::note(Level::WARN, "the network detached the modem"),
            PdnEvent::Detach => Lesson::note(Level::INFO, "the modem detached from the network"),
            PdnEvent::Ipv6Fail { .. } => Lesson::note(Level::DEBUG, "the network gives no IPv6"),
            PdnEvent::Other(text) => {
                Lesson::note(Level::DEBUG, format!("the modem reported: {}", words::logged(text)))
            }
        }
    }

    fn signal(&self, now: Duration) -> Fact {
        let Radio { rsrp, rsrq, snr, .. } = &self.radio;
        let snr = snr.filter(|(at, _)| now.saturating_sub(*at) <= SNR_LIFE).map(|(_, snr)| snr);
        Fact::Signal(Signal {
            rsrp_dbm: rsrp.map(|rsrp| f32::from(rsrp.dbm)),
            rsrq_db: rsrq.map(Rsrq::db),
            snr_db: snr.map(|snr| f32::from(snr.db)),
            grade: match Grade::of(*rsrp, snr) {
                None => SignalGrade::Unknown,
                Some(Grade::VeryPoor) => SignalGrade::VeryPoor,
                Some(Grade::Poor) => SignalGrade::Poor,
                Some(Grade::Fair) => SignalGrade::Fair,
                Some(Grade::Good) => SignalGrade::Good,
                Some(Grade::Excellent) => SignalGrade::Excellent,
            },
        })
    }

    /// Where it stands, and a note when that is news.
    fn registration(&mut self, notes: &mut Vec<(Level, String)>) -> Fact {
        let radio = &self.radio;
        let status = radio.status.unwrap_or(RegistrationStatus::Idle);
        let registered = status.is_registered() && !radio.off_cell;
        let words = self.registration_words(status, registered);
        if self.told.as_ref() != Some(&words) {
            let level = if self.somebody_must_act(status, registered) { Level::WARN } else { Level::INFO };
            notes.push((level, format!("network: {words}")));
            self.told = Some(words.clone());
        }
        let radio = &self.radio;
        Fact::Registration(Registration {
            registered,
            roaming: registered && status == RegistrationStatus::Roaming,
            words,
            operator: radio.operator.as_deref().map(words::shown),
            plmn: radio.plmn.clone(),
            access: radio.access.clone(),
            band: radio.band,
            cell: radio.cell.map(|cell| format!("{:08X}", cell.0)),
        })
    }

    /// Not merely on the way to a network.
    fn somebody_must_act(&self, status: RegistrationStatus, registered: bool) -> bool {
        let on_its_way = matches!(status, RegistrationStatus::Idle | RegistrationStatus::Searching)
            && self.radio.reject.is_none()
            && self.sim.as_ref().and_then(words::sim).is_none()
            && !self.trouble.is_some_and(Trouble::keeps_off_network);
        !registered && !on_its_way
    }

    fn registration_words(&self, status: RegistrationStatus, registered: bool) -> String {
        if registered {
            return match status {
                RegistrationStatus::Roaming => "registered, roaming".to_owned(),
                _ => "registered, home network".to_owned(),
            };
        }
        if let Some(words) = self.sim.as_ref().and_then(words::sim) {
            return words;
        }
        if let Some(trouble) = self.trouble.filter(|trouble| trouble.keeps_off_network()) {
            return trouble.words().to_owned();
        }
        let refusal = self.radio.reject.map(words::rejection);
        match (status, refusal) {
            (RegistrationStatus::UiccFailure, _) => words::NO_SIM.to_owned(),
            (RegistrationStatus::Searching, None) => "searching for a network".to_owned(),
            (RegistrationStatus::Searching, Some(why)) => {
                format!("searching; the last network refused: {why}")
            }
            (RegistrationStatus::Denied, Some(why)) => format!("the network refuses: {why}"),
            (RegistrationStatus::Denied, None) => {
                "the network refuses, without a reason: ask the SIM's operator whether it is active"
                    .to_owned()
            }
            (RegistrationStatus::NoCoverage, _) => {
                "no coverage: check the antenna and its cable, or move the gateway".to_owned()
            }
            (RegistrationStatus::Home | RegistrationStatus::Roaming, _) => {
                "the modem says registered but is on no cell: wait, or check the antenna".to_owned()
            }
            (RegistrationStatus::Idle, Some(why)) => {
                format!("not registered; the last network refused: {why}")
            }
            (RegistrationStatus::Idle, None) => self.idle_words(),
            (RegistrationStatus::Other(number), _) => {
                format!("not registered, in a state not known here ({number})")
            }
        }
    }

    fn idle_words(&self) -> String {
        match self.mode {
            Some(mode @ (0 | 4 | 20 | 40 | 41 | 44)) => {
                format!("the modem's radio is switched off (AT+CFUN={mode})")
            }
            _ => "not registered and not searching".to_owned(),
        }
    }
}

/// An answer without a name is the last line: what noise left on the line before it looks just the same.
fn bare<T>(lines: &[String], decode: impl Fn(&str) -> Result<T, DecodeError>) -> Result<T, DecodeError> {
    decode(lines.last().map(String::as_str).unwrap_or_default())
}

fn named<T>(
    lines: &[String],
    name: &'static str,
    decode: impl Fn(&str) -> Result<T, DecodeError>,
) -> Result<T, DecodeError> {
    let mut outcome = Err(DecodeError::Name { expected: name });
    for line in lines {
        outcome = decode(line);
        if outcome.is_ok() {
            break;
        }
    }
    outcome
}

/// Something was reported that changes nothing here: its name is told and no more.
fn of_name(name: &str) -> Lesson {
    Lesson::note(Level::DEBUG, format!("the modem reported {}", words::logged(name)))
}

fn functional_mode(line: &str) -> Result<u16, DecodeError> {
    let fields = Fields::of(line, "+CFUN")?;
    let field = fields.get(0).ok_or(DecodeError::Missing { line: "+CFUN", field: "fun" })?;
    field.text.parse().map_err(|_| DecodeError::Malformed { line: "+CFUN", field: "fun" })
}

#[cfg(test)]
mod tests;
