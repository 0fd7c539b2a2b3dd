//! What the modem is asked, and when.
//!
//! One question is outstanding at a time. The start sequence is the one Nordic's own tools use: identity and
//! subscriptions first, the radio only when it is off, then what needs the radio. After it the modem is looked at every
//! poll interval and otherwise left to report by itself. Owns the queue of questions; knows nothing of their answers.

use std::collections::VecDeque;
use std::time::Duration;

use fieldgate_modem_at::CommandId;

/// One question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    EchoOff,
    NumericErrors,
    Manufacturer,
    Model,
    Firmware,
    Hardware,
    Imei,
    ImeiBare,
    ReportRegistration,
    ReportSignalling,
    ReportSignal,
    ReportEvents,
    ReportWarnings,
    ReportPackets,
    ReportSim,
    ReportTime,
    ReportCauses,
    CountData,
    FunctionalMode,
    RadioOn,
    Sim,
    Iccid,
    Imsi,
    Monitor,
    SignalNow,
    Voltage,
    Temperature,
    Registration,
    Clock,
    DataCounters,
}

impl Ask {
    /// The command, without its end.
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::EchoOff => "ATE0",
            Self::NumericErrors => "AT+CMEE=1",
            Self::Manufacturer => "AT+CGMI",
            Self::Model => "AT+CGMM",
            Self::Firmware => "AT+CGMR",
            Self::Hardware => "AT%HWVERSION",
            Self::Imei => "AT+CGSN=1",
            Self::ImeiBare => "AT+CGSN",
            Self::ReportRegistration => "AT+CEREG=5",
            Self::ReportSignalling => "AT+CSCON=1",
            Self::ReportSignal => "AT%CESQ=1",
            Self::ReportEvents => "AT%MDMEV=2",
            Self::ReportWarnings => "AT%MDMEV=1",
            Self::ReportPackets => "AT+CGEREP=1",
            Self::ReportSim => "AT%XSIM=1",
            Self::ReportTime => "AT%XTIME=1",
            Self::ReportCauses => "AT+CNEC=24",
            Self::CountData => "AT%XCONNSTAT=1",
            Self::FunctionalMode => "AT+CFUN?",
            Self::RadioOn => "AT+CFUN=1",
            Self::Sim => "AT%XSIM?",
            Self::Iccid => "AT%XICCID",
            Self::Imsi => "AT+CIMI",
            Self::Monitor => "AT%XMONITOR",
            Self::SignalNow => "AT+CESQ",
            Self::Voltage => "AT%XVBAT",
            Self::Temperature => "AT%XTEMP?",
            Self::Registration => "AT+CEREG?",
            Self::Clock => "AT+CCLK?",
            Self::DataCounters => "AT%XCONNSTAT?",
        }
    }

    /// What to ask where this is refused: an older form of the same question.
    pub(super) fn fallback(self) -> Option<Self> {
        match self {
            // Modem firmware before 2.0 knows warnings only.
            Self::ReportEvents => Some(Self::ReportWarnings),
            Self::Imei => Some(Self::ImeiBare),
            _ => None,
        }
    }

    /// What it is for, where a refusal is worth a person's attention; others are normal on some firmware or in some mode.
    pub(super) fn needed_for(self) -> Option<&'static str> {
        match self {
            Self::ReportRegistration => Some("registration is known only as often as the modem is polled"),
            Self::ReportSignal => Some("signal is known only as often as the modem is polled"),
            Self::ReportTime => Some("the network's time is known only from the modem's clock, less exactly"),
            Self::Firmware => Some("the modem's firmware version is not known"),
            Self::FunctionalMode => Some("the radio is left as it is, and may be off"),
            Self::RadioOn => Some("the radio stays off"),
            _ => None,
        }
    }
}

const START: [Ask; 16] = [
    Ask::NumericErrors,
    Ask::Manufacturer,
    Ask::Model,
    Ask::Firmware,
    Ask::Hardware,
    Ask::Imei,
    Ask::ReportRegistration,
    Ask::ReportSignalling,
    Ask::ReportSignal,
    Ask::ReportEvents,
    Ask::ReportPackets,
    Ask::ReportSim,
    Ask::ReportTime,
    Ask::ReportCauses,
    Ask::CountData,
    // Its answer decides whether RadioOn comes next: a radio that is up is never touched.
    Ask::FunctionalMode,
];
const CARD: [Ask; 3] = [Ask::Sim, Ask::Iccid, Ask::Imsi];
const LOOK: [Ask; 5] = [Ask::Monitor, Ask::SignalNow, Ask::Voltage, Ask::Temperature, Ask::Registration];

/// Between two looks at the data counters, which count kilobytes only.
const COUNTED_EVERY: Duration = Duration::from_secs(600);
/// Questions unanswered one after another before the whole conversation counts as lost.
const TIMEOUTS_MAX: u8 = 4;

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Ask this.
    Ask(Ask),
    /// Nothing: the start sequence has just been worked through.
    Started,
}

/// What follows a question without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overdue {
    /// It is asked once more.
    Again,
    /// It is left out.
    LeftOut,
    /// Too many: who answers must be found out anew.
    Lost,
}

/// The questions to one modem.
#[derive(Debug)]
pub(super) struct Script {
    poll: Duration,
    queue: VecDeque<Ask>,
    current: Option<(CommandId, Ask)>,
    repeated: Option<Ask>,
    timeouts: u8,
    started: bool,
    next_look: Duration,
    /// The data counters are part of the first look after this.
    next_count: Duration,
}

impl Script {
    /// Begins with the start sequence. `poll` is the time between looks.
    pub(super) fn new(poll: Duration, echo: bool) -> Self {
        let mut script = Self {
            poll,
            queue: VecDeque::new(),
            current: None,
            repeated: None,
            timeouts: 0,
            started: false,
            next_look: Duration::ZERO,
            next_count: Duration::ZERO,
        };
        script.restart();
        if echo {
            script.queue.push_front(Ask::EchoOff);
        }
        script
    }

    /// Begins anew; an answer to what was asked before means nothing any more.
    pub(super) fn restart(&mut self) {
        self.queue = START.into_iter().chain(CARD).chain(LOOK).collect();
        self.current = None;
        self.repeated = None;
        self.started = false;
        self.next_count = Duration::ZERO;
    }

    /// From now on there is so much time between looks.
    pub(super) fn set_poll(&mut self, now: Duration, poll: Duration) {
        self.poll = poll;
        self.next_look = self.next_look.min(now.saturating_add(poll));
    }

    /// Whether a question of somebody else's may be asked now: the start is over and no answer is outstanding.
    pub(super) fn is_free(&self) -> bool {
        self.started && self.current.is_none()
    }

    /// What to do next; `None` while an answer is outstanding or nothing is due. `missing` is asked with every look.
    pub(super) fn next(&mut self, now: Duration, missing: &[Ask]) -> Option<Step> {
        if self.current.is_some() {
            return None;
        }
        if self.queue.is_empty() {
            if !self.started {
                self.started = true;
                self.next_look = now.saturating_add(self.poll);
                return Some(Step::Started);
            }
            if now < self.next_look {
                return None;
            }
            self.next_look = now.saturating_add(self.poll);
            self.queue.extend(LOOK.iter().chain(missing));
            if now >= self.next_count {
                self.next_count = now.saturating_add(COUNTED_EVERY);
                self.queue.push_back(Ask::DataCounters);
            }
        }
        self.queue.pop_front().map(Step::Ask)
    }

    /// `ask` is outstanding under this id.
    pub(super) fn asked(&mut self, id: CommandId, ask: Ask) {
        self.current = Some((id, ask));
    }

    /// The question that ended; `None` when it was asked before a restart.
    pub(super) fn ended(&mut self, id: CommandId) -> Option<Ask> {
        let (_, ask) = self.current.take_if(|(current, _)| *current == id)?;
        Some(ask)
    }

    /// The modem answered, well or badly.
    pub(super) fn answered(&mut self) {
        self.timeouts = 0;
        self.repeated = None;
    }

    /// `ask` got no answer in time.
    pub(super) fn overdue(&mut self, ask: Ask) -> Overdue {
        self.timeouts = self.timeouts.saturating_add(1);
        if self.timeouts >= TIMEOUTS_MAX {
            Overdue::Lost
        } else if self.repeated == Some(ask) {
            Overdue::LeftOut
        } else {
            self.repeated = Some(ask);
            self.queue.push_front(ask);
            Overdue::Again
        }
    }

    /// Asks this before everything else.
    pub(super) fn first(&mut self, ask: Ask) {
        self.queue.push_front(ask);
    }

    /// Asks this too, unless it is about to be asked anyway.
    pub(super) fn also(&mut self, ask: Ask) {
        if !self.queue.contains(&ask) {
            self.queue.push_back(ask);
        }
    }

    /// When the next look is due, while nothing else is to be asked.
    pub(super) fn poll_timeout(&self) -> Option<Duration> {
        (self.current.is_none() && self.queue.is_empty()).then_some(self.next_look)
    }

    /// The question that is outstanding.
    pub(super) fn outstanding(&self) -> Option<Ask> {
        self.current.map(|(_, ask)| ask)
    }

    /// The start sequence has been worked through.
    pub(super) fn is_started(&self) -> bool {
        self.started
    }
}

#[cfg(test)]
mod tests {
    use fieldgate_modem_at::{Command, Session, Terminator};

    use super::*;

    const POLL: Duration = Duration::from_secs(60);

    /// Ids as a session gives them.
    struct Ids(Session);

    impl Ids {
        fn new() -> Self {
            Self(Session::new(Terminator::CrLf))
        }

        fn next(&mut self) -> CommandId {
            // A session that gave up forgets its queue, so this never fills.
            self.0.submit(Duration::ZERO, Command::attention()).unwrap()
        }
    }

    fn run(script: &mut Script, ids: &mut Ids, now: Duration, missing: &[Ask]) -> Vec<Ask> {
        let mut asked = Vec::new();
        while let Some(step) = script.next(now, missing) {
            let Step::Ask(ask) = step else { break };
            let id = ids.next();
            script.asked(id, ask);
            assert_eq!(script.next(now, missing), None, "one question at a time");
            assert_eq!(script.ended(id), Some(ask));
            script.answered();
            asked.push(ask);
        }
        asked
    }

    #[test]
    fn every_question_is_a_command_the_modem_would_take() {
        let rare = [Ask::EchoOff, Ask::RadioOn, Ask::ImeiBare, Ask::ReportWarnings, Ask::DataCounters];
        for ask in START.into_iter().chain(CARD).chain(LOOK).chain(rare) {
            assert_eq!(Command::new(ask.text()).unwrap().text(), ask.text());
        }
    }

    #[test]
    fn the_radio_is_not_part_of_the_start_and_the_mode_is_asked_before_the_card() {
        let asked = run(&mut Script::new(POLL, false), &mut Ids::new(), POLL, &[]);
        assert!(!asked.contains(&Ask::RadioOn));
        let at = |ask| asked.iter().position(|it| *it == ask).unwrap();
        assert!(at(Ask::FunctionalMode) < at(Ask::Sim));
        assert_eq!(asked.first(), Some(&Ask::NumericErrors));
        assert_eq!(
            run(&mut Script::new(POLL, true), &mut Ids::new(), POLL, &[]).first(),
            Some(&Ask::EchoOff)
        );
    }

    #[test]
    fn after_the_start_the_modem_is_asked_no_more_often_than_configured() {
        let (mut script, mut ids) = (Script::new(POLL, false), Ids::new());
        run(&mut script, &mut ids, POLL, &[]);
        assert!(script.is_started());
        assert_eq!(script.poll_timeout(), Some(2 * POLL));
        assert_eq!(script.next(2 * POLL - Duration::from_millis(1), &[Ask::Iccid]), None);
        let mut expected = LOOK.to_vec();
        expected.extend([Ask::Iccid, Ask::DataCounters]);
        assert_eq!(run(&mut script, &mut ids, 2 * POLL, &[Ask::Iccid]), expected);
        assert_eq!(script.next(2 * POLL, &[]), None);
    }

    #[test]
    fn the_data_counters_are_asked_for_with_a_look_and_no_more_often_than_every_ten_minutes() {
        let mut script = Script::new(POLL, false);
        run(&mut script, &mut Ids::new(), POLL, &[]);
        let asked: Vec<u32> = (2..=32)
            .filter(|n| run(&mut script, &mut Ids::new(), POLL * *n, &[]).contains(&Ask::DataCounters))
            .collect();
        assert_eq!(asked, [2, 12, 22, 32]);
    }

    #[test]
    fn a_question_without_answer_is_repeated_once_then_left_out_and_too_many_end_the_talk() {
        let mut script = Script::new(POLL, false);
        assert_eq!(script.overdue(Ask::Model), Overdue::Again);
        assert_eq!(script.next(POLL, &[]), Some(Step::Ask(Ask::Model)));
        assert_eq!(script.overdue(Ask::Model), Overdue::LeftOut);
        assert_eq!(script.overdue(Ask::Firmware), Overdue::Again);
        script.answered();
        assert_eq!(script.overdue(Ask::Hardware), Overdue::Again);
        assert_eq!(script.overdue(Ask::Hardware), Overdue::LeftOut);
        assert_eq!(script.overdue(Ask::Imei), Overdue::Again);
        assert_eq!(script.overdue(Ask::Imei), Overdue::Lost);
    }

    #[test]
    fn an_answer_from_before_a_restart_answers_nothing() {
        let (mut script, mut ids) = (Script::new(POLL, false), Ids::new());
        let id = ids.next();
        script.asked(id, Ask::Model);
        script.restart();
        assert_eq!(script.ended(id), None);
        assert_eq!(script.next(POLL, &[]), Some(Step::Ask(Ask::NumericErrors)));
    }
}
