//! The conversation without a wire: what is sent, what is told, and that it never hangs.

use proptest::prelude::*;

use super::*;
use crate::board::Registration;

const POLL: Duration = Duration::from_secs(60);

/// A conversation with a hand on its clock and its line, and the newest facts as a board would hold them.
struct Desk {
    core: Core,
    now: Duration,
    registration: Option<Registration>,
    states: Vec<ModemState>,
    notes: Vec<String>,
    radio_on: u32,
}

impl Desk {
    fn new() -> Self {
        let mut desk = Self {
            core: Core::new(POLL, "/dev/modem".to_owned()),
            now: Duration::from_secs(100),
            registration: None,
            states: Vec::new(),
            notes: Vec::new(),
            radio_on: 0,
        };
        desk.collect();
        desk
    }

    fn opened() -> Self {
        let mut desk = Self::new();
        desk.core.port_opened(desk.now);
        desk.collect();
        desk
    }

    /// Set up with a modem of plain AT firmware in the functional mode `mode`.
    fn set_up(mode: u16) -> Self {
        let mut desk = Self::opened();
        desk.answer_all(mode);
        assert_eq!(desk.state().phase, ModemPhase::Up);
        desk
    }

    fn collect(&mut self) {
        while let Some(fact) = self.core.poll_fact() {
            match fact {
                Fact::Registration(registration) => self.registration = Some(registration),
                Fact::State(state) => self.states.push(state),
                _ => {}
            }
        }
        while let Some((_, text)) = self.core.poll_note() {
            self.notes.push(text);
        }
    }

    fn state(&self) -> &ModemState {
        self.states.last().unwrap()
    }

    fn words(&self) -> &str {
        &self.registration.as_ref().unwrap().words
    }

    fn hears(&mut self, text: &str) {
        self.core.handle_bytes(self.now, text.as_bytes());
        self.collect();
    }

    /// Lets time pass until the next deadline, but no further than `until`.
    fn step(&mut self, until: Duration) -> bool {
        let Some(at) = self.core.poll_timeout().filter(|at| *at <= until) else { return false };
        self.now = self.now.max(at);
        self.core.handle_timeout(self.now);
        self.collect();
        true
    }

    /// Answers every command, letting time pass between them, until the conversation waits for its next look.
    fn answer_all(&mut self, mode: u16) -> Vec<String> {
        let mut sent = Vec::new();
        for _ in 0..200 {
            while let Some(bytes) = self.core.poll_transmit() {
                let command = String::from_utf8(bytes).unwrap().trim().to_owned();
                let answer = match command.as_str() {
                    "AT#XSMVER" | "AT#XSLMVER" => "ERROR\r\n".to_owned(),
                    "AT+CFUN?" => format!("+CFUN: {mode}\r\nOK\r\n"),
                    "AT+CEREG?" => "+CEREG: 5,1,\"0901\",\"02024720\",7\r\nOK\r\n".to_owned(),
                    "AT%XSIM?" => "%XSIM: 1\r\nOK\r\n".to_owned(),
                    "AT+CIMI" => "204080813630037\r\nOK\r\n".to_owned(),
                    "AT%XICCID" => "%XICCID: 8901234567012345678F\r\nOK\r\n".to_owned(),
                    _ => "OK\r\n".to_owned(),
                };
                self.radio_on += u32::from(command == "AT+CFUN=1");
                sent.push(command);
                self.hears(&answer);
            }
            // Only what comes soon: the quiet after an answer, not the next look.
            if !self.step(self.now + Duration::from_secs(5)) {
                return sent;
            }
        }
        panic!("the conversation never comes to rest: {sent:?}");
    }
}

#[test]
fn a_radio_that_is_up_is_never_touched() {
    for mode in [1, 2, 21, 31] {
        assert_eq!(Desk::set_up(mode).radio_on, 0, "mode {mode}");
    }
    for mode in [0, 4] {
        assert_eq!(Desk::set_up(mode).radio_on, 1, "mode {mode}");
    }
}

#[test]
fn between_looks_nothing_is_sent() {
    let mut desk = Desk::set_up(1);
    assert_eq!(desk.registration.as_ref().map(|it| it.registered), Some(true));
    let rested = desk.now;
    let next = desk.core.poll_timeout().unwrap();
    assert!(next >= rested + POLL - Duration::from_secs(5) && next <= rested + POLL, "{next:?}");
    desk.now = next - Duration::from_millis(1);
    desk.core.handle_timeout(desk.now);
    assert_eq!(desk.core.poll_transmit(), None);
    desk.now = next;
    desk.core.handle_timeout(desk.now);
    let sent = desk.answer_all(1);
    let look = ["AT%XMONITOR", "AT+CESQ", "AT%XVBAT", "AT%XTEMP?", "AT+CEREG?", "AT+CCLK?", "AT%XCONNSTAT?"];
    assert_eq!(sent, look);
}

#[test]
fn a_banner_ends_what_is_known_at_once_and_the_modem_is_identified_anew() {
    let mut desk = Desk::set_up(1);
    desk.hears("\u{1}~Ready\r\n");
    assert_eq!(desk.state().phase, ModemPhase::Restarted);
    assert_eq!(desk.words(), "not known: the modem restarted; it is being set up again");
    assert_eq!(desk.core.poll_transmit(), None, "what may follow the banner is heard first");
    assert!(desk.step(desk.now + AFTER_BANNER));
    let sent = desk.answer_all(0);
    assert!(sent.contains(&"AT#XSMVER".to_owned()) && sent.contains(&"AT+CEREG=5".to_owned()), "{sent:?}");
    assert_eq!(desk.radio_on, 1);
    assert_eq!(desk.state().phase, ModemPhase::Up);
}

#[test]
fn a_crashed_core_is_set_up_again_when_it_is_back() {
    let mut desk = Desk::set_up(1);
    desk.hears("#XMODEM: FAULT,0x5,0x26D5C\r\n");
    assert_eq!(desk.state().phase, ModemPhase::Restarted);
    assert!(desk.words().contains("core crashed"), "{}", desk.words());
    assert_eq!(desk.core.poll_transmit(), None);
    desk.hears("#XMODEM: SHUTDOWN,0\r\n#XMODEM: INIT,0\r\n");
    let sent = desk.answer_all(0);
    assert!(!sent.contains(&"AT#XSMVER".to_owned()), "the application is the same: {sent:?}");
    assert!(sent.contains(&"AT+CEREG=5".to_owned()));
    assert_eq!((desk.state().phase, desk.radio_on), (ModemPhase::Up, 1));
}

#[test]
fn a_core_that_is_not_started_again_is_asked_after_a_while() {
    let mut desk = Desk::set_up(1);
    desk.hears("#XMODEM: FAULT,0x5,0x26D5C\r\n");
    assert!(desk.step(desk.now + CORE_RESTART));
    assert_eq!(desk.state().phase, ModemPhase::Probing);
    desk.answer_all(1);
    desk.hears("#XMODEM: INIT,-5\r\n");
    assert!(desk.state().words.contains("switch the modem off and on"), "{}", desk.state().words);
}

#[test]
fn silence_is_doubted_then_told_and_the_pauses_grow_to_a_limit() {
    let mut desk = Desk::set_up(1);
    let next = desk.core.poll_timeout().unwrap();
    desk.step(next);
    assert!(desk.core.poll_transmit().is_some());
    assert!(desk.step(desk.now + Duration::from_secs(5)));
    assert_eq!(desk.state().phase, ModemPhase::Doubtful);
    assert!(desk.state().words.starts_with("no answer to AT%XMONITOR within 5 s"), "{}", desk.state().words);
    assert!(desk.registration.as_ref().unwrap().registered, "one late answer does not unmake the network");
    let mut pauses = Vec::new();
    let mut probed_after_silence = false;
    for _ in 0..10 {
        while desk.step(Duration::MAX) {
            probed_after_silence |= desk.state().phase == ModemPhase::Probing;
            while desk.core.poll_transmit().is_some() {}
        }
        assert!(desk.words().starts_with("not known: nothing answers on /dev/modem"), "{}", desk.words());
        pauses.push(desk.core.pause().unwrap());
        desk.core.port_opened(desk.now);
        desk.collect();
        assert!(!desk.state().fine);
    }
    assert!(probed_after_silence);
    assert_eq!(pauses[..4], [PAUSE, 2 * PAUSE, 4 * PAUSE, 8 * PAUSE]);
    assert_eq!(*pauses.last().unwrap(), PAUSE_NO_ANSWER);
    desk.answer_all(1);
    assert_eq!(desk.state().phase, ModemPhase::Up);
    desk.core.port_lost(desk.now, "is gone");
    assert_eq!(desk.core.pause(), Some(PAUSE), "a modem that was set up starts with the shortest pause");
}

#[test]
fn an_answer_after_a_doubt_ends_the_doubt() {
    let mut desk = Desk::set_up(1);
    let next = desk.core.poll_timeout().unwrap();
    desk.step(next);
    while desk.core.poll_transmit().is_some() {}
    desk.step(desk.now + Duration::from_secs(5));
    assert_eq!(desk.state().phase, ModemPhase::Doubtful);
    let sent = desk.answer_all(1);
    assert!(sent.contains(&"AT%XMONITOR".to_owned()), "it is asked again: {sent:?}");
    assert_eq!(desk.state().phase, ModemPhase::Up);
    assert!(desk.state().fine);
}

#[test]
fn a_port_that_is_not_there_is_looked_for_often_and_said_in_words() {
    let mut desk = Desk::new();
    for _ in 0..12 {
        desk.core.port_refused(desk.now, &io::Error::from(io::ErrorKind::NotFound));
    }
    desk.collect();
    assert_eq!(desk.core.pause(), Some(PAUSE_NO_PORT));
    assert_eq!(desk.notes.len(), 1, "one line in the log, not one a try: {:?}", desk.notes);
    assert_eq!(
        desk.state().words,
        "the modem's port /dev/modem is not there: check its power and its cable. The port is opened again within 5 s"
    );
    assert!(desk.words().starts_with("not known: the modem's port /dev/modem is not there"));
    desk.core.port_refused(desk.now, &io::Error::from(io::ErrorKind::PermissionDenied));
    desk.collect();
    assert!(desk.state().words.contains("access"), "{}", desk.state().words);
}

#[test]
fn the_bootloader_is_named_and_asked_again_later() {
    let mut desk = Desk::opened();
    desk.hears("Bootloader mode ready\r\n");
    assert_eq!(desk.state().phase, ModemPhase::Bootloader);
    assert!(desk.state().words.contains("waits for firmware"), "{}", desk.state().words);
    assert_eq!(desk.core.poll_timeout(), Some(desk.now + BOOTLOADER_LOOK));
    desk.hears("Ready\r\n");
    desk.step(desk.now + AFTER_BANNER);
    desk.answer_all(0);
    assert_eq!(desk.state().phase, ModemPhase::Up);
}

#[test]
fn an_echoing_modem_is_told_to_stop() {
    let mut desk = Desk::opened();
    let first = desk.core.poll_transmit().unwrap();
    desk.hears(&String::from_utf8(first).unwrap());
    desk.hears("OK\r\n");
    let sent = desk.answer_all(1);
    assert!(sent.contains(&"ATE0".to_owned()), "{sent:?}");
}

#[test]
fn what_can_be_printed_of_it_holds_no_subscribers_number() {
    let desk = Desk::set_up(1);
    let printed = format!("{:?} {:?}", desk.core, desk.core.known.identity());
    assert!(printed.contains("0037"), "the number is there, masked: {printed}");
    assert!(!printed.contains("204080813630037") && !printed.contains("8901234567012345678"));
}

#[derive(Clone, Debug)]
enum Happening {
    Bytes(Vec<u8>),
    Line(&'static str),
    Deadline,
    Later(u64),
    Lost,
    Opened,
}

fn happening() -> impl Strategy<Value = Happening> {
    let lines = prop::sample::select(vec![
        "OK",
        "ERROR",
        "+CME ERROR: 13",
        "Ready",
        "INIT ERROR",
        "Bootloader mode ready",
        "+CEREG: 90",
        "+CEREG: 5,2",
        "+CEREG: 0,0",
        "%XSIM: 0,9",
        "%XSIM: 1",
        "#XMODEM: FAULT,0x5,0x26D5C",
        "#XMODEM: INIT,0",
        "+CFUN: 0",
        "#XSMVER: \"v2.0.0\",\"3.3\"",
        "%MDMEV: RESET LOOP",
        "%CESQ: 64,3,17,2",
        "AT+CGMR",
        "CONNECT",
    ]);
    prop_oneof![
        2 => prop::collection::vec(any::<u8>(), 0..40).prop_map(Happening::Bytes),
        8 => lines.prop_map(Happening::Line),
        6 => Just(Happening::Deadline),
        2 => (0u64..100_000).prop_map(Happening::Later),
        1 => Just(Happening::Lost),
        1 => Just(Happening::Opened),
    ]
}

proptest! {
    #[test]
    fn whatever_happens_something_is_announced_and_a_lost_modem_is_told_as_lost(
        happenings in prop::collection::vec(happening(), 0..200),
    ) {
        let mut desk = Desk::opened();
        for happening in happenings {
            match happening {
                Happening::Bytes(bytes) => desk.core.handle_bytes(desk.now, &bytes),
                Happening::Line(line) => desk.core.handle_bytes(desk.now, format!("\r\n{line}\r\n").as_bytes()),
                Happening::Deadline => {
                    desk.step(Duration::MAX);
                }
                Happening::Later(ms) => {
                    desk.now += Duration::from_millis(ms);
                    desk.core.handle_timeout(desk.now);
                }
                Happening::Lost => desk.core.port_lost(desk.now, "is gone"),
                Happening::Opened => {
                    if desk.core.pause().is_some() {
                        desk.core.port_opened(desk.now);
                    }
                }
            }
            desk.collect();
            let mut written = 0;
            while desk.core.poll_transmit().is_some() {
                written += 1;
            }
            prop_assert!(written <= 2, "one command, or the attention before it");
            match desk.core.poll_timeout() {
                // A deadline that has come is acted upon; one that stays would spin.
                Some(at) => prop_assert!(at > desk.now || desk.step(desk.now) , "a deadline that is never met"),
                None => prop_assert!(desk.core.pause().is_some(), "an open port without a deadline"),
            }
            if desk.core.pause().is_some() || desk.state().phase == ModemPhase::Probing {
                prop_assert!(desk.words().starts_with("not known"), "{}", desk.words());
            }
            if desk.state().phase == ModemPhase::Up {
                prop_assert!(!matches!(desk.core.phase, Phase::Closed | Phase::Probing(_)));
            }
        }
    }
}
