//! The session against recorded conversations, faults, and a model of a slow modem.

mod data_mode;

use core::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::{
    ApplicationReport, FaultEvent, ModemEvent, NavigationStatus, PdnEvent, RegistrationStatus, Rrc, SimState,
    Value,
};

const SETTLE: Duration = Duration::from_millis(500);

/// A session with a hand on its clock and its line.
struct Desk {
    session: Session,
    now: Duration,
}

impl Desk {
    fn new() -> Self {
        Self { session: Session::new(Terminator::CrLf), now: Duration::from_secs(100) }
    }

    fn in_step() -> Self {
        let mut desk = Self::new();
        desk.submit("AT");
        assert_eq!(desk.sent().as_deref(), Some("AT\r\n"));
        desk.hears("\r\nOK\r\n");
        desk.wait(SETTLE);
        assert_eq!(desk.sent().as_deref(), Some("AT\r\n"));
        desk.hears("\r\nOK\r\n");
        assert!(matches!(desk.event(), Some(Event::CommandDone(_))));
        desk
    }

    fn submit(&mut self, text: &str) -> CommandId {
        self.session.submit(self.now, Command::new(text).unwrap()).unwrap()
    }

    fn sent(&mut self) -> Option<String> {
        self.session.poll_transmit().map(|bytes| String::from_utf8(bytes).unwrap())
    }

    fn hears(&mut self, text: &str) {
        self.session.handle_bytes(self.now, text.as_bytes());
    }

    /// Lets time pass, with every timeout handled at its moment.
    fn wait(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some(at) = self.session.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.session.handle_timeout(self.now);
        }
        self.now = end;
    }

    fn event(&mut self) -> Option<Event> {
        self.session.poll_event()
    }

    fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.event()).collect()
    }

    fn done(&mut self) -> CommandDone {
        match self.event() {
            Some(Event::CommandDone(done)) => done,
            other => panic!("expected the end of a command, got {other:?}"),
        }
    }

    /// One question and its answer; reports before it are returned with it.
    fn ask(&mut self, command: &str, answer: &[u8], cut: usize) -> (CommandDone, Vec<Urc>) {
        let id = self.submit(command);
        assert_eq!(self.sent().unwrap(), format!("{command}\r\n"));
        for piece in answer.chunks(cut) {
            self.session.handle_bytes(self.now, piece);
        }
        let mut urcs = Vec::new();
        loop {
            match self.event() {
                Some(Event::Urc(urc)) => urcs.push(urc),
                Some(Event::CommandDone(done)) => {
                    assert_eq!(done.id, id);
                    return (done, urcs);
                }
                other => panic!("{command}: {other:?}"),
            }
        }
    }
}

/// Recorded on an nRF9160 with modem firmware 1.3.2, roaming: command, data line, and the reports that followed.
const ROAMING: &[(&str, &str, &[&str])] = &[
    ("AT%XSYSTEMMODE?", "%XSYSTEMMODE: 1,0,1,0", &[]),
    ("AT+CGSN", "352656106647673", &[]),
    ("AT+CEREG=5", "", &[]),
    ("AT+CSCON=1", "", &[]),
    ("AT+CPSMS=1,,,\"10010100\",\"00000000\"", "", &[]),
    ("AT+CEREG?", "+CEREG: 5,4", &[]),
    ("AT+CFUN?", "+CFUN: 0", &[]),
    ("AT+CFUN=1", "", &["%CESQ: 52,2,4,0", "+CEREG: 2,\"0901\",\"02024720\",7"]),
    ("AT+CGSN=1", "+CGSN: \"352656106647673\"", &[]),
    ("AT+CGMI", "Nordic Semiconductor ASA", &[]),
    ("AT+CGMR", "mfw_nrf9160_1.3.2", &[]),
    ("AT+CMEE?", "+CMEE: 0", &[]),
    ("AT+CGDCONT?", "+CGDCONT: 0,\"\",\"\",\"\",0,0", &["%CESQ: 56,2,17,2", "+CSCON: 1"]),
    ("AT+CESQ", "+CESQ: 99,99,255,255,11,54", &[]),
    ("AT%XSIM?", "%XSIM: 1", &[]),
    ("AT+CPINR=\"SIM PIN\"", "+CPINR: \"SIM PIN\",3", &[]),
    ("AT+CIMI", "204080813630037", &["+CGEV: ME PDN ACT 0,0"]),
    ("AT%XICCID", "%XICCID: 8901234567012345678F", &[]),
    (
        "AT%XCBAND",
        "%XCBAND: 13",
        &[
            "+CNEC_ESM: 50,0",
            "%MDMEV: SEARCH STATUS 2",
            "+CEREG: 5,\"0901\",\"02024720\",7,,,\"11100000\",\"11100000\"",
            "+CIND: \"service\",1",
            "%XTIME: \"80\",\"22016021225580\",\"01\"",
        ],
    ),
    (
        "AT%XMONITOR",
        "%XMONITOR: 5,\"Telia N@\",\"Telia N@\",\"24202\",\"0901\",7,20,\"02024720\",428,6300,53,22,\"\",\"11100000\",\"11100000\",\"01001001\"",
        &[],
    ),
    ("AT+CGDCONT?", "+CGDCONT: 0,\"IP\",\"ibasis.iot\",\"10.160.148.98\",0,0", &[]),
    ("AT+CGACT?", "+CGACT: 0,1", &[]),
];

/// Plays [`ROAMING`] in the framing of the modem itself or of the Serial Modem, reports after or (as older firmware may)
/// before the final result, cut into pieces, and returns the reports.
fn play_roaming(serial_modem: bool, reports_first: bool, cut: usize) -> Vec<Urc> {
    let mut desk = Desk::in_step();
    let mut urcs = Vec::new();
    for (command, data, reports) in ROAMING {
        let line = |text: &str| if serial_modem { format!("\r\n{text}\r\n") } else { format!("{text}\r\n") };
        let reports: String = reports.iter().map(|report| line(report)).collect();
        let data_line = if data.is_empty() { String::new() } else { line(data) };
        let answer = if reports_first {
            format!("{reports}{data_line}{}", line("OK"))
        } else {
            format!("{data_line}{}", line("OK"))
        };
        let (done, seen) = desk.ask(command, answer.as_bytes(), cut);
        urcs.extend(seen);
        assert_eq!(done.result, Ok(Success::Ok), "{command}");
        let expected: Vec<&str> = if data.is_empty() { Vec::new() } else { vec![data] };
        assert_eq!(done.lines, expected, "{command}");
        if !reports_first {
            for piece in reports.as_bytes().chunks(cut) {
                desk.session.handle_bytes(desk.now, piece);
            }
            for event in desk.events() {
                match event {
                    Event::Urc(urc) => urcs.push(urc),
                    other => panic!("{command}: {other:?}"),
                }
            }
        }
    }
    assert_eq!(desk.session.noise().unexpected_lines, 0);
    urcs
}

#[test]
fn the_recorded_attach_is_understood_line_by_line() {
    let urcs = play_roaming(false, false, 4096);
    assert_eq!(urcs.len(), 10);
    assert!(matches!(&urcs[1], Urc::Registration(r) if r.status == RegistrationStatus::Searching));
    assert!(matches!(&urcs[3], Urc::Signalling(it) if it.rrc == Rrc::Connected));
    assert!(matches!(&urcs[4], Urc::Pdn(PdnEvent::Activated { cid: 0, reason: Value::Known(0), .. })));
    assert!(matches!(&urcs[5], Urc::Cause(cause) if cause.cause == 50 && cause.about_connection));
    assert_eq!(urcs[6], Urc::Modem(ModemEvent::SearchDone));
    assert!(matches!(&urcs[7], Urc::Registration(r) if r.status == RegistrationStatus::Roaming));
    assert!(matches!(&urcs[9], Urc::Time(t) if t.utc.known().is_some()));
}

#[test]
fn the_same_conversation_in_any_framing_and_order_means_the_same() {
    let reference = play_roaming(false, false, 4096);
    for serial_modem in [false, true] {
        for reports_first in [false, true] {
            assert_eq!(play_roaming(serial_modem, reports_first, 4096), reference);
        }
    }
}

#[test]
fn a_modem_without_sim_refuses_and_reports() {
    let mut desk = Desk::in_step();
    for (command, answer, result) in [
        ("AT+CFUN?", "+CFUN: 0\r\nOK\r\n", Ok(Success::Ok)),
        ("AT+CIMI", "ERROR\r\n", Err(CommandError::Error)),
        ("AT+CFUN=1", "OK\r\n", Ok(Success::Ok)),
        ("AT+CIMI", "ERROR\r\n", Err(CommandError::Error)),
        ("AT%XICCID", "ERROR\r\n", Err(CommandError::Error)),
        ("AT+CGMR", "mfw_nrf91x1_2.0.4\r\nOK\r\n", Ok(Success::Ok)),
        ("AT%HWVERSION", "%HWVERSION: nRF9151 LACA A1A\r\nOK\r\n", Ok(Success::Ok)),
        ("AT+CFUN=0", "OK\r\n", Ok(Success::Ok)),
        ("AT%XSIM=1", "OK\r\n", Ok(Success::Ok)),
        ("AT+CFUN=1", "OK\r\n", Ok(Success::Ok)),
    ] {
        assert_eq!(desk.ask(command, answer.as_bytes(), 7).0.result, result, "{command}");
    }
    desk.hears("%XSIM: 0,9\r\n");
    assert_eq!(desk.event(), Some(Event::Urc(Urc::Sim(SimState::NotInitialised { cause: Value::Known(9) }))));
}

#[test]
fn the_thingy_conversation_gives_its_lines() {
    let mut desk = Desk::in_step();
    for (command, line) in [
        ("AT+CFUN?", "+CFUN: 1"),
        ("AT%XSYSTEMMODE?", "%XSYSTEMMODE: 0,1,1,0"),
        ("AT+CGSN=1", "+CGSN: \"352656100885188\""),
        ("AT+CGMM", "nRF9160-SICA"),
        ("AT%XVBAT", "%XVBAT: 4464"),
        ("AT+CEMODE?", "+CEMODE: 0"),
        ("AT%XCBAND=?", "%XCBAND: (2,3,4,8,12,13,20,28)"),
        ("AT+CGDCONT?", "+CGDCONT: 0,\"IP\",\"\",\"\",0,0"),
        ("AT+CGACT?", "+CGACT: 0,0"),
    ] {
        let (done, urcs) = desk.ask(command, format!("{line}\r\nOK\r\n").as_bytes(), 5);
        assert_eq!((done.lines, urcs), (vec![line.to_owned()], vec![]), "{command}");
    }
}

#[test]
fn an_application_line_before_ok_is_answer_and_report() {
    let mut desk = Desk::in_step();
    let (done, urcs) = desk.ask("AT#XGNSS=1,0,0,0", b"\r\n#XGNSS: 1,1\r\n\r\nOK\r\n", 3);
    assert_eq!(done.lines, ["#XGNSS: 1,1"]);
    let started = ApplicationReport::Navigation { service: 1, status: NavigationStatus::Started };
    assert_eq!(urcs, [Urc::Application(started)]);
    desk.hears("\r\n#XGNSSPOS: 35.457576,139.625090,121.473785,22.199919,0.442868,0.000000,\"2021-06-02 06:25:48\"\r\n\r\n#XGNSS: 1,4\r\n");
    assert_eq!(desk.events().len(), 2);
}

#[test]
fn the_first_command_is_preceded_by_a_clean_at() {
    let mut desk = Desk::new();
    desk.submit("AT+CFUN?");
    assert_eq!(desk.sent().as_deref(), Some("AT\r\n"));
    assert_eq!(desk.sent(), None);
    // Half an answer from before the daemon started.
    desk.hears("un: 1\r\nERROR\r\n");
    desk.hears("OK\r\n");
    assert_eq!(desk.sent(), None);
    desk.wait(SETTLE);
    assert_eq!(desk.sent().as_deref(), Some("AT+CFUN?\r\n"));
    desk.hears("+CFUN: 1\r\nOK\r\n");
    assert_eq!(desk.done().lines, ["+CFUN: 1"]);
}

#[test]
fn commands_wait_for_one_another() {
    let mut desk = Desk::in_step();
    let first = desk.submit("AT+CFUN?");
    let second = desk.submit("AT+CGMR");
    assert_eq!(desk.sent().as_deref(), Some("AT+CFUN?\r\n"));
    assert_eq!(desk.sent(), None);
    desk.hears("+CFUN: 1\r\nOK\r\n");
    assert_eq!(desk.done().id, first);
    assert_eq!(desk.sent().as_deref(), Some("AT+CGMR\r\n"));
    desk.hears("mfw_nrf91x1_2.0.4\r\nOK\r\n");
    assert_eq!(desk.done().id, second);
    assert!(desk.session.is_idle());
}

#[test]
fn a_late_answer_is_never_given_to_the_next_command() {
    let mut desk = Desk::in_step();
    desk.submit("AT+CGSN=1");
    desk.submit("AT+CGSN=1");
    desk.sent();
    desk.wait(Duration::from_secs(5));
    assert_eq!(desk.done().result, Err(CommandError::TimedOut { after: Duration::from_secs(5) }));
    assert_eq!(desk.sent().as_deref(), Some("AT\r\n"));
    // The late answer, then the AT's: the modem works in order.
    desk.hears("+CGSN: \"000000000000000\"\r\nOK\r\n");
    desk.wait(Duration::from_millis(200));
    assert_eq!(desk.sent(), None);
    desk.hears("OK\r\n");
    desk.wait(SETTLE);
    assert_eq!(desk.sent().as_deref(), Some("AT+CGSN=1\r\n"));
    desk.hears("+CGSN: \"352656106647673\"\r\nOK\r\n");
    assert_eq!(desk.done().lines, ["+CGSN: \"352656106647673\""]);
    assert_eq!(desk.session.noise().stale_lines, 4);
}

#[test]
fn a_late_registration_answer_is_not_reported_as_news() {
    let mut desk = Desk::in_step();
    desk.submit("AT+CEREG?");
    desk.sent();
    desk.wait(Duration::from_secs(5));
    desk.done();
    desk.hears("+CEREG: 5,1\r\nOK\r\nOK\r\n+CSCON: 1\r\n");
    assert!(matches!(desk.event(), Some(Event::Urc(Urc::Signalling(it))) if it.rrc == Rrc::Connected));
    desk.wait(SETTLE);
    desk.hears("+CEREG: 2\r\n");
    assert!(matches!(desk.event(), Some(Event::Urc(Urc::Registration(_)))));
}

#[test]
fn an_unsent_command_whose_time_is_over_is_not_sent_late() {
    let mut desk = Desk::in_step();
    desk.submit("AT+CFUN=0");
    // The port took nothing for a minute.
    desk.wait(Duration::from_secs(60));
    assert!(matches!(desk.done().result, Err(CommandError::TimedOut { .. })));
    assert_eq!(desk.sent().as_deref(), Some("AT\r\n"));
    assert_eq!(desk.sent(), None);
}

#[test]
fn a_reset_in_mid_command_fails_it_at_once() {
    let mut desk = Desk::in_step();
    let outstanding = desk.submit("AT+COPS=?");
    let queued = desk.submit("AT+CGMR");
    desk.sent();
    desk.hears("\u{0}\u{0}\u{f0}~Ready\r\n");
    let events = desk.events();
    let [
        Event::CommandDone(first),
        Event::CommandDone(second),
        Event::Banner(Banner::Ready),
        Event::Noise(_),
    ] = events.as_slice()
    else {
        panic!("{events:?}");
    };
    assert_eq!((first.id, &first.result), (outstanding, &Err(CommandError::Reset)));
    assert_eq!((second.id, &second.result), (queued, &Err(CommandError::Reset)));
    // The next command is asked of a modem known to answer.
    desk.submit("AT+CGMR");
    assert_eq!(desk.sent().as_deref(), Some("AT\r\n"));
}

#[test]
fn a_banner_during_resynchronisation_asks_again_at_once() {
    let mut desk = Desk::new();
    desk.submit("AT");
    desk.sent();
    desk.hears("Ready\r\n");
    assert_eq!(desk.sent().as_deref(), Some("\r\nAT\r\n"));
}

#[test]
fn silence_fails_the_queue_after_a_bounded_time() {
    let mut desk = Desk::new();
    let id = desk.submit("AT+CFUN?");
    desk.wait(Duration::from_secs(31));
    let events = desk.events();
    let [Event::CommandDone(done), Event::Silent] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!((done.id, &done.result), (id, &Err(CommandError::Silent)));
    assert_eq!(desk.session.poll_timeout(), None);
    // The next command tries again.
    desk.submit("AT+CFUN?");
    assert_eq!(desk.sent().as_deref(), Some("AT\r\n"));
}

#[test]
fn a_line_that_never_falls_quiet_is_given_up() {
    let mut desk = Desk::new();
    desk.submit("AT+CFUN?");
    for _ in 0..400 {
        desk.hears("OK\r\n");
        desk.wait(Duration::from_millis(200));
    }
    assert!(desk.events().contains(&Event::Silent));
}

#[test]
fn half_a_command_in_the_modems_input_is_flushed_out() {
    let mut desk = Desk::new();
    desk.submit("AT+CFUN?");
    assert_eq!(desk.sent().as_deref(), Some("AT\r\n"));
    desk.hears("ERROR\r\n");
    desk.wait(SETTLE);
    assert_eq!(desk.sent().as_deref(), Some("\r\nAT\r\n"));
    desk.hears("OK\r\n");
    desk.wait(SETTLE);
    assert_eq!(desk.sent().as_deref(), Some("AT+CFUN?\r\n"));
}

#[test]
fn echo_is_dropped_and_counted() {
    let mut desk = Desk::in_step();
    let (done, urcs) = desk.ask("AT+CGSN", b"AT+CGSN\r\r\n352656106647673\r\n\r\nOK\r\n", 4);
    assert_eq!((done.lines, urcs), (vec!["352656106647673".to_owned()], vec![]));
    assert_eq!(desk.session.noise().echoes, 1);
}

#[test]
fn noise_around_an_answer_does_no_harm_and_is_told_once() {
    let mut desk = Desk::in_step();
    let (done, _) = desk.ask("AT+CFUN?", b"\xff\xfe zap\r\n\r\n+CFUN: 1\r\n\x00\x01\r\nOK\r\n", 2);
    assert_eq!(done.lines, ["+CFUN: 1"]);
    let noise = desk.session.noise();
    assert_eq!((noise.unexpected_lines, noise.control_bytes), (1, 2));
    assert_eq!(desk.event(), Some(Event::Noise(noise)));
    assert_eq!(desk.event(), None);
}

#[test]
fn a_fault_of_the_modem_core_is_reported() {
    let mut desk = Desk::in_step();
    desk.hears("\r\n#XMODEM: FAULT,0x5,0x1234\r\n\r\n#XMODEM: SHUTDOWN,0\r\n\r\n#XMODEM: INIT,0\r\n");
    assert_eq!(
        desk.events(),
        [
            Event::Urc(Urc::Fault(FaultEvent::Fault { reason: 5, program_counter: 0x1234 })),
            Event::Urc(Urc::Fault(FaultEvent::Shutdown { result: 0 })),
            Event::Urc(Urc::Fault(FaultEvent::Init { result: 0 })),
        ]
    );
}

#[test]
fn after_connect_the_line_is_not_ours() {
    let mut desk = Desk::in_step();
    desk.submit("AT+CGDATA=\"PPP\",0");
    let queued = desk.submit("AT+CFUN?");
    desk.sent();
    desk.hears("\r\nCONNECT\r\n~\x7d\x23\r\nOK\r\n");
    assert_eq!(desk.done().result, Ok(Success::Connect));
    let refused = desk.done();
    assert_eq!((refused.id, refused.result), (queued, Err(CommandError::DataMode)));
    assert_eq!(desk.session.submit(desk.now, Command::attention()), Err(SubmitError::DataMode));
    assert_eq!(desk.events(), []);
}

#[test]
fn the_queue_is_bounded_until_results_are_fetched() {
    let mut desk = Desk::new();
    for _ in 0..QUEUE_MAX {
        desk.submit("AT+CFUN?");
    }
    assert_eq!(desk.session.submit(desk.now, Command::attention()), Err(SubmitError::QueueFull));
    desk.wait(Duration::from_secs(60));
    assert_eq!(desk.session.submit(desk.now, Command::attention()), Err(SubmitError::QueueFull));
    desk.done();
    assert!(desk.session.submit(desk.now, Command::attention()).is_ok());
}

#[test]
fn an_endless_answer_is_cut_and_says_so() {
    let mut desk = Desk::in_step();
    let long = "+X: 1\r\n".repeat(ANSWER_LINES_MAX + 3);
    let (done, _) = desk.ask("AT+X?", format!("{long}OK\r\n").as_bytes(), 4096);
    assert_eq!((done.lines.len(), done.truncated), (ANSWER_LINES_MAX, true));
}

#[test]
fn reports_nobody_fetches_are_bounded_and_results_are_kept() {
    let mut desk = Desk::in_step();
    desk.submit("AT+CFUN?");
    desk.sent();
    desk.hears("+CFUN: 1\r\nOK\r\n");
    desk.hears(&"+CSCON: 1\r\n".repeat(1000));
    let events = desk.events();
    assert!(events.len() < 300);
    assert!(matches!(events[0], Event::CommandDone(_)));
    assert_eq!(desk.session.noise().dropped_reports, 1000 - 256);
}

#[test]
fn identities_do_not_show_in_debug_output() {
    let mut desk = Desk::in_step();
    let (done, _) = desk.ask("AT+CGSN", b"352656106647673\r\nOK\r\n", 99);
    assert_eq!(done.lines, ["352656106647673"]);
    assert!(!format!("{done:?}").contains("3526"));
    desk.hears("352656106647673");
    assert!(!format!("{:?}", desk.session).contains("3526"));
}

#[test]
fn long_measurements_come_as_reports() {
    let mut desk = Desk::in_step();
    let measured = "%NCELLMEAS: 0,\"021D140C\",\"24201\",\"0821\",65535,5300,449,50,15,10891,5300,194,46,8,0,1650,292,60,27,24,8061152878017748";
    let (done, urcs) = desk.ask("AT%NCELLMEAS", format!("{measured}\r\nOK\r\n").as_bytes(), 30);
    assert_eq!(done.lines, Vec::<String>::new());
    let [Urc::Cells(cells)] = urcs.as_slice() else { panic!("{urcs:?}") };
    assert_eq!(cells.serving().unwrap().neighbours.len(), 2);
}

/// A modem that works through its input in order, each command taking its own time, and sometimes loses an answer.
struct SlowModem {
    input: Vec<u8>,
    pending: std::collections::VecDeque<(Duration, Vec<u8>)>,
    free_at: Duration,
    questions: u32,
}

impl SlowModem {
    fn hears(&mut self, now: Duration, bytes: &[u8], delay: Duration, lost: bool) {
        self.input.extend_from_slice(bytes);
        while let Some(end) = self.input.iter().position(|byte| *byte == b'\r') {
            let line: Vec<u8> = self.input.drain(..=end).filter(|byte| !byte.is_ascii_control()).collect();
            let (took, answer) = match line.as_slice() {
                b"AT+T?" => {
                    self.questions += 1;
                    (delay, format!("\r\n+T: {}\r\n\r\nOK\r\n", self.questions))
                }
                b"AT" => (delay.min(Duration::from_millis(300)), "\r\nOK\r\n".to_owned()),
                b"" => continue,
                _ => (Duration::ZERO, "\r\nERROR\r\n".to_owned()),
            };
            self.free_at = self.free_at.max(now) + took;
            if !lost || line == b"AT" {
                self.pending.push_back((self.free_at, answer.into_bytes()));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn cut_anywhere_the_conversation_means_the_same(cut in 1usize..60, serial_modem: bool, reports_first: bool) {
        prop_assert_eq!(play_roaming(serial_modem, reports_first, cut), play_roaming(false, false, 4096));
    }

    #[test]
    fn any_bytes_at_any_time_leave_a_working_session(
        pieces in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..300), 0u64..4000), 0..40),
    ) {
        let mut desk = Desk::new();
        let mut submitted = 0;
        for (bytes, wait) in pieces {
            if desk.session.submit(desk.now, Command::new("AT+CFUN?").unwrap()).is_ok() {
                submitted += 1;
            }
            desk.sent();
            desk.session.handle_bytes(desk.now, &bytes);
            desk.wait(Duration::from_millis(wait));
            prop_assert!(desk.session.transmit.len() <= 1);
        }
        desk.wait(Duration::from_secs(4000));
        let done = desk.events().into_iter().filter(|event| matches!(event, Event::CommandDone(_))).count();
        prop_assert_eq!(done, submitted);
        prop_assert!(desk.session.is_idle());
    }

    #[test]
    fn every_answer_belongs_to_its_question(
        plan in prop::collection::vec((0u64..20_000, prop::bool::weighted(0.2)), 1..12),
    ) {
        let mut desk = Desk::new();
        let mut modem = SlowModem {
            input: Vec::new(), pending: Default::default(), free_at: Duration::ZERO, questions: 0,
        };
        let in_time = plan.iter().filter(|(millis, lost)| *millis <= 5000 && !lost).count();
        let mut plan = plan.into_iter().map(|(millis, lost)| (Duration::from_millis(millis), lost));
        for _ in 0..plan.len() {
            desk.submit("AT+T?");
        }
        let (mut asked, mut answered, mut next) = (0u32, 0usize, (Duration::from_millis(10), false));
        for _ in 0..4000 {
            while let Some(event) = desk.event() {
                if let Event::CommandDone(done) = event && done.result == Ok(Success::Ok) {
                    prop_assert_eq!(done.lines, [format!("+T: {asked}")]);
                    answered += 1;
                }
            }
            while let Some(bytes) = desk.session.poll_transmit() {
                if bytes.starts_with(b"AT+T?") {
                    asked += 1;
                    next = plan.next().unwrap_or(next);
                }
                modem.hears(desk.now, &bytes, next.0, next.1);
            }
            if desk.session.is_idle() {
                break;
            }
            let answer_at = modem.pending.front().map(|(at, _)| *at);
            let timer_at = desk.session.poll_timeout();
            let Some(at) = answer_at.into_iter().chain(timer_at).min() else { break };
            desk.now = desk.now.max(at);
            if answer_at == Some(at) {
                let (_, bytes) = modem.pending.pop_front().unwrap();
                desk.session.handle_bytes(desk.now, &bytes);
            } else {
                desk.session.handle_timeout(desk.now);
            }
        }
        prop_assert!(desk.session.is_idle());
        prop_assert_eq!(answered, in_time);
    }
}
