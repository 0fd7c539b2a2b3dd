//! The AT core of the daemon against the simulated modem, over a wire that cuts bytes anywhere, in virtual time.
#![allow(clippy::unwrap_used, clippy::panic, reason = "the helpers of a test may fail it")]

use std::collections::VecDeque;
use std::time::Duration;

use fieldgate_modem_at::{
    Application, Banner, CesqReport, Command, CommandDone, CommandError, CommandId, Event, FaultEvent,
    Monitor, NetworkTime, Probe, ProbeOutcome, Registration, RegistrationStatus, Session, Success,
    Terminator, Urc, hardware_version, iccid, imei, imei_bare, imsi, manufacturer, model, parse_temperature,
    parse_voltage, revision,
};
use fieldgate_sim::modem::{CommandEnd, Fault, ModemProfile, SimModem};

const WALL: u64 = 1_700_000_000;

/// What stands at the daemon's end of the wire.
trait Client {
    fn hear(&mut self, now: Duration, bytes: &[u8]);
    fn say(&mut self) -> Option<Vec<u8>>;
    fn deadline(&self) -> Option<Duration>;
    fn wake(&mut self, now: Duration);
}

macro_rules! client {
    ($type:ty) => {
        impl Client for $type {
            fn hear(&mut self, now: Duration, bytes: &[u8]) {
                self.handle_bytes(now, bytes);
            }
            fn say(&mut self) -> Option<Vec<u8>> {
                self.poll_transmit()
            }
            fn deadline(&self) -> Option<Duration> {
                self.poll_timeout()
            }
            fn wake(&mut self, now: Duration) {
                self.handle_timeout(now);
            }
        }
    };
}
client!(Probe);
client!(Session);

/// One direction: pieces of bytes with the moment each arrives.
#[derive(Default)]
struct Wire {
    pieces: VecDeque<(Duration, Vec<u8>)>,
}

struct Lab<C> {
    client: C,
    modem: SimModem,
    now: Duration,
    to_modem: Wire,
    to_client: Wire,
    chance: u64,
    longest_piece: u64,
}

impl<C: Client> Lab<C> {
    fn new(client: C, modem: SimModem, now: Duration, seed: u64, longest_piece: u64) -> Self {
        let (to_modem, to_client) = Default::default();
        Self { client, modem, now, to_modem, to_client, chance: seed | 1, longest_piece }
    }

    fn draw(&mut self, up_to: u64) -> u64 {
        // xorshift: good enough to cut bytes.
        self.chance ^= self.chance << 13;
        self.chance ^= self.chance >> 7;
        self.chance ^= self.chance << 17;
        self.chance % up_to.max(1)
    }

    fn cut(&mut self, bytes: &[u8], last: Option<Duration>) -> Vec<(Duration, Vec<u8>)> {
        let mut at = last.unwrap_or(self.now).max(self.now);
        let mut rest = bytes;
        let mut pieces = Vec::new();
        while !rest.is_empty() {
            let size = usize::try_from(1 + self.draw(self.longest_piece)).unwrap().min(rest.len());
            let (piece, tail) = rest.split_at(size);
            at += Duration::from_millis(self.draw(3));
            pieces.push((at, piece.to_vec()));
            rest = tail;
        }
        pieces
    }

    fn exchange(&mut self) {
        while let Some(bytes) = self.client.say() {
            let pieces = self.cut(&bytes, self.to_modem.pieces.back().map(|piece| piece.0));
            self.to_modem.pieces.extend(pieces);
        }
        while let Some(bytes) = self.modem.poll_transmit() {
            let pieces = self.cut(&bytes, self.to_client.pieces.back().map(|piece| piece.0));
            self.to_client.pieces.extend(pieces);
        }
    }

    /// One thing happens, not later than `end`. False when nothing does.
    fn step(&mut self, end: Duration) -> bool {
        self.exchange();
        let (to_modem, to_client) = (self.to_modem.pieces.front(), self.to_client.pieces.front());
        let next = [
            to_modem.map(|piece| piece.0),
            to_client.map(|piece| piece.0),
            self.modem.poll_timeout(),
            self.client.deadline(),
        ];
        let Some((which, at)) = next
            .iter()
            .enumerate()
            .filter_map(|(which, at)| at.map(|at| (which, at)))
            .min_by_key(|(which, at)| (*at, *which))
            .filter(|(_, at)| *at <= end)
        else {
            self.now = end;
            return false;
        };
        self.now = self.now.max(at);
        match which {
            0 => {
                let (_, bytes) = self.to_modem.pieces.pop_front().unwrap();
                self.modem.handle_bytes(self.now, &bytes);
            }
            1 => {
                let (_, bytes) = self.to_client.pieces.pop_front().unwrap();
                self.client.hear(self.now, &bytes);
            }
            2 => self.modem.handle_timeout(self.now),
            _ => self.client.wake(self.now),
        }
        true
    }

    fn run_for(&mut self, span: Duration) {
        let end = self.now + span;
        while self.step(end) {}
    }
}

fn modem(profile: ModemProfile, seed: u64) -> SimModem {
    SimModem::new(profile, seed, WALL)
}

fn probe(mut modem: SimModem, seed: u64, longest_piece: u64) -> (ProbeOutcome, Lab<Probe>) {
    modem.power_on(Duration::ZERO);
    let mut lab = Lab::new(Probe::new(Duration::ZERO), modem, Duration::ZERO, seed, longest_piece);
    while lab.client.outcome().is_none() {
        assert!(lab.step(Duration::from_secs(120)), "the probe did not end");
    }
    (lab.client.outcome().unwrap().clone(), lab)
}

/// A session with a modem that has started, and everything it reported.
struct Desk {
    lab: Lab<Session>,
    urcs: Vec<Urc>,
    banners: Vec<Banner>,
    silent: usize,
}

impl Desk {
    fn new(profile: ModemProfile, seed: u64) -> Self {
        let mut modem = modem(profile, seed);
        modem.power_on(Duration::ZERO);
        let mut lab = Lab::new(Session::new(Terminator::CrLf), modem, Duration::ZERO, seed, 9);
        lab.run_for(Duration::from_secs(3));
        let mut desk = Self { lab, urcs: Vec::new(), banners: Vec::new(), silent: 0 };
        desk.fetch();
        assert_eq!(std::mem::take(&mut desk.banners), [Banner::Ready]);
        desk
    }

    fn fetch(&mut self) -> Option<CommandDone> {
        while let Some(event) = self.lab.client.poll_event() {
            match event {
                Event::CommandDone(done) => return Some(done),
                Event::Urc(urc) => self.urcs.push(urc),
                Event::Banner(banner) => self.banners.push(banner),
                Event::Silent => self.silent += 1,
                Event::Noise(_) => {}
            }
        }
        None
    }

    fn submit(&mut self, text: &str) -> CommandId {
        self.lab.client.submit(self.lab.now, Command::new(text).unwrap()).unwrap()
    }

    fn ask(&mut self, text: &str) -> CommandDone {
        let id = self.submit(text);
        let end = self.lab.now + Duration::from_secs(400);
        loop {
            if let Some(done) = self.fetch() {
                assert_eq!(done.id, id);
                return done;
            }
            assert!(self.lab.step(end), "{text} never ended");
        }
    }

    /// Asks and expects `OK` with one line.
    fn line(&mut self, text: &str) -> String {
        let done = self.ask(text);
        assert_eq!(done.result, Ok(Success::Ok), "{text}");
        assert_eq!(done.lines.len(), 1, "{text}: {done:?}");
        done.lines[0].clone()
    }

    fn ok(&mut self, text: &str) {
        let done = self.ask(text);
        assert_eq!((done.result, done.lines.len()), (Ok(Success::Ok), 0), "{text}");
    }

    fn subscribe(&mut self) {
        for text in [
            "ATE0",
            "AT+CMEE=1",
            "AT+CEREG=5",
            "AT+CSCON=1",
            "AT%CESQ=1",
            "AT%MDMEV=2",
            "AT+CGEREP=1",
            "AT%XSIM=1",
            "AT%XTIME=1",
        ] {
            self.ok(text);
        }
    }

    /// Runs until a report satisfies `wanted`, and returns it.
    fn until(&mut self, what: &str, wanted: impl Fn(&Urc) -> bool) -> Urc {
        let end = self.lab.now + Duration::from_secs(120);
        loop {
            if let Some(done) = self.fetch() {
                panic!("waiting for {what}: {done:?}");
            }
            if let Some(at) = self.urcs.iter().position(&wanted) {
                return self.urcs.drain(..=at).next_back().unwrap();
            }
            assert!(self.lab.step(end), "{what} never came");
        }
    }

    fn attach(&mut self) -> Registration {
        self.subscribe();
        self.ok("AT+CFUN=1");
        self.registered()
    }

    fn registered(&mut self) -> Registration {
        let urc = self.until("registration", |urc| matches!(urc, Urc::Registration(r) if r.is_registered()));
        let Urc::Registration(registration) = urc else { unreachable!() };
        registration
    }
}

fn all_profiles() -> [ModemProfile; 3] {
    [ModemProfile::serial_modem(), ModemProfile::serial_lte_modem(), ModemProfile::plain_at()]
}

#[test]
fn every_application_is_recognised_however_the_bytes_are_cut() {
    for seed in 1..40 {
        for longest_piece in [1, 3, 17, 500] {
            let (outcome, _) = probe(modem(ModemProfile::serial_modem(), seed), seed, longest_piece);
            let ProbeOutcome::Found { application: Application::SerialModem { version }, .. } = outcome
            else {
                panic!("{outcome:?}");
            };
            assert_eq!(
                (version.release(), version.built_with.as_deref()),
                (Some((1, 99, 0)), Some("3.3.99"))
            );

            let (outcome, _) = probe(modem(ModemProfile::serial_lte_modem(), seed), seed, longest_piece);
            assert!(matches!(
                outcome,
                ProbeOutcome::Found { application: Application::SerialLteModem { .. }, .. }
            ));

            let (outcome, _) = probe(modem(ModemProfile::plain_at(), seed), seed, longest_piece);
            assert_eq!(
                outcome,
                ProbeOutcome::Found {
                    application: Application::PlainAt,
                    terminator: Terminator::CrLf,
                    echo: false
                }
            );
        }
    }
}

#[test]
fn a_build_for_lf_alone_is_recognised_with_its_terminator() {
    let profile = ModemProfile { command_end: CommandEnd::Lf, ..ModemProfile::serial_modem() };
    let (outcome, lab) = probe(modem(profile, 5), 5, 9);
    let ProbeOutcome::Found { application: Application::SerialModem { .. }, terminator, .. } = outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!(terminator, Terminator::Lf);
    // And the terminator found is one a session works with.
    let mut lab = Lab::new(Session::new(terminator), lab.modem, lab.now, 5, 9);
    lab.client.submit(lab.now, Command::new("AT+CGMI").unwrap()).unwrap();
    lab.run_for(Duration::from_secs(5));
    assert!(
        matches!(lab.client.poll_event(), Some(Event::CommandDone(done)) if done.lines == ["Nordic Semiconductor ASA"])
    );
}

#[test]
fn the_probe_sees_through_garbage_and_echo_and_names_silence() {
    for profile in all_profiles() {
        for seed in 1..20 {
            let mut noisy = modem(profile.clone(), seed);
            noisy.set_fault(Fault::GarbageAtBoot, Duration::ZERO);
            noisy.set_fault(Fault::Echo, Duration::ZERO);
            let (outcome, _) = probe(noisy, seed, 4);
            assert!(matches!(outcome, ProbeOutcome::Found { echo: true, .. }), "{outcome:?}");
        }
        let mut dead = modem(profile, 1);
        dead.set_fault(Fault::Silence { lasts: Duration::from_secs(1000) }, Duration::ZERO);
        assert!(matches!(probe(dead, 1, 9).0, ProbeOutcome::Silent { .. }));
    }
}

#[test]
fn identity_comes_across_whole() {
    for profile in all_profiles() {
        let mut desk = Desk::new(profile.clone(), 3);
        assert_eq!(manufacturer(&desk.line("AT+CGMI")).unwrap(), "Nordic Semiconductor ASA");
        assert_eq!(model(&desk.line("AT+CGMM")).unwrap(), profile.model);
        assert_eq!(revision(&desk.line("AT+CGMR")).unwrap(), profile.revision);
        assert_eq!(hardware_version(&desk.line("AT%HWVERSION")).unwrap(), profile.hardware);
        let quoted = imei(&desk.line("AT+CGSN=1")).unwrap();
        assert_eq!((quoted.number.reveal(), quoted.check_digit_ok), ("352656106647673", true));
        assert_eq!(imei_bare(&desk.line("AT+CGSN")).unwrap(), quoted);
        assert_eq!(parse_voltage(&desk.line("AT%XVBAT")).unwrap() / 100, 50);
        // The SIM is readable only with the UICC on.
        assert_eq!(desk.ask("AT+CIMI").result, Err(CommandError::Error));
        desk.ok("AT+CFUN=1");
        assert_eq!(imsi(&desk.line("AT+CIMI")).unwrap().reveal(), profile.imsi);
        assert_eq!(iccid(&desk.line("AT%XICCID")).unwrap().reveal(), profile.iccid);
        assert!((20..40).contains(&parse_temperature(&desk.line("AT%XTEMP?")).unwrap()));
    }
}

#[test]
fn registration_signal_and_time_are_seen_as_reports() {
    for profile in all_profiles() {
        for seed in 1..10 {
            let mut desk = Desk::new(profile.clone(), seed);
            let registration = desk.attach();
            assert_eq!(registration.status, RegistrationStatus::Roaming);
            assert_eq!(registration.cell.known().unwrap().0, profile.network.cell);
            let Urc::Time(NetworkTime { utc, offset_quarter_hours, .. }) =
                desk.until("time", |urc| matches!(urc, Urc::Time(_)))
            else {
                unreachable!()
            };
            let told = utc.known().unwrap().since_1970();
            let real = Duration::from_secs(WALL) + desk.lab.now;
            assert!(real - told < Duration::from_secs(2), "{told:?} {real:?}");
            assert_eq!(offset_quarter_hours.known(), Some(&profile.quarter_hours));

            let Urc::Signal(CesqReport { signal, .. }) =
                desk.until("signal", |urc| matches!(urc, Urc::Signal(_)))
            else {
                unreachable!()
            };
            let shown = desk.lab.modem.signal();
            assert_eq!(signal.rsrp.known().map(|rsrp| rsrp.dbm), shown.rsrp_dbm);
            assert_eq!(signal.rsrq.known().map(|rsrq| rsrq.db()), shown.rsrq_db);

            let camped = Monitor::parse(&desk.line("AT%XMONITOR")).unwrap().camped.unwrap();
            assert_eq!(camped.plmn.as_deref(), Some("24202"));
            assert_eq!(camped.snr.known().map(|snr| snr.db), desk.lab.modem.signal().snr_db);
            assert!(camped.grade().is_some());
            let read = Registration::parse_read(&desk.line("AT+CEREG?")).unwrap();
            assert_eq!((read.subscription, read.status), (Some(5), RegistrationStatus::Roaming));
        }
    }
}

#[test]
fn a_lost_network_and_a_missing_sim_are_seen_as_reports() {
    let mut desk = Desk::new(ModemProfile::serial_modem(), 4);
    desk.attach();
    desk.lab.modem.set_fault(Fault::NetworkLost { lasts: Duration::from_secs(30) }, desk.lab.now);
    desk.until(
        "no coverage",
        |urc| matches!(urc, Urc::Registration(r) if r.status == RegistrationStatus::NoCoverage),
    );
    desk.registered();
    desk.lab.modem.set_fault(Fault::NoSim, desk.lab.now);
    let Urc::Sim(state) = desk.until("sim", |urc| matches!(urc, Urc::Sim(_))) else { unreachable!() };
    assert_eq!(state.cause_meaning(), Some("SIM failed or absent"));
    desk.until(
        "uicc failure",
        |urc| matches!(urc, Urc::Registration(r) if r.status == RegistrationStatus::UiccFailure),
    );
    assert!(matches!(desk.ask("AT+CPIN?").result, Err(CommandError::Cme(error)) if error.code() == Some(13)));
}

#[test]
fn echo_is_survived_and_switched_off() {
    for profile in all_profiles() {
        let mut desk = Desk::new(profile, 6);
        desk.lab.modem.set_fault(Fault::Echo, desk.lab.now);
        assert_eq!(desk.line("AT+CFUN?"), "+CFUN: 0");
        assert_eq!(desk.line("AT+CGSN"), "352656106647673");
        desk.ok("ATE0");
        let echoes = desk.lab.client.noise().echoes;
        assert!(echoes > 0);
        assert_eq!(desk.line("AT+CFUN?"), "+CFUN: 0");
        assert_eq!(desk.lab.client.noise().echoes, echoes);
    }
}

#[test]
fn a_reset_in_mid_command_fails_it_and_the_modem_is_set_up_again() {
    for profile in all_profiles() {
        for seed in 1..20 {
            let mut desk = Desk::new(profile.clone(), seed);
            desk.attach();
            desk.lab.modem.set_fault(Fault::GarbageAtBoot, desk.lab.now);
            desk.lab.modem.set_fault(Fault::ResetInCommand, desk.lab.now);
            let asked_at = desk.lab.now;
            let done = desk.ask("AT+CGMR");
            assert_eq!(done.result, Err(CommandError::Reset));
            // At the banner, not at the deadline.
            assert!(desk.lab.now - asked_at < Duration::from_secs(3));
            desk.fetch();
            assert_eq!(desk.banners, [Banner::Ready]);
            desk.attach();
            assert_eq!(revision(&desk.line("AT+CGMR")).unwrap(), "mfw_nrf91x1_2.0.4");
        }
    }
}

#[test]
fn a_core_fault_is_reported_and_forgets_subscriptions() {
    let mut desk = Desk::new(ModemProfile::serial_modem(), 8);
    desk.attach();
    desk.lab.modem.set_fault(Fault::CoreFault, desk.lab.now);
    desk.until("fault", |urc| matches!(urc, Urc::Fault(FaultEvent::Fault { .. })));
    desk.until("init", |urc| matches!(urc, Urc::Fault(FaultEvent::Init { result: 0 })));
    assert_eq!(desk.line("AT+CEREG?"), "+CEREG: 0,0");
}

#[test]
fn silence_times_out_and_what_follows_is_answered_right() {
    let mut desk = Desk::new(ModemProfile::serial_modem(), 9);
    desk.ok("AT+CMEE=1");
    desk.lab.modem.set_fault(Fault::Silence { lasts: Duration::from_secs(12) }, desk.lab.now);
    assert!(matches!(desk.ask("AT+CGMR").result, Err(CommandError::TimedOut { .. })));
    assert_eq!(desk.line("AT+CFUN?"), "+CFUN: 0");
    assert_eq!(desk.silent, 0);

    desk.lab.modem.set_fault(Fault::Silence { lasts: Duration::from_secs(100) }, desk.lab.now);
    assert!(matches!(desk.ask("AT+CGMR").result, Err(CommandError::TimedOut { .. })));
    assert_eq!(desk.ask("AT+CGMR").result, Err(CommandError::Silent));
    desk.lab.run_for(Duration::from_secs(100));
    assert_eq!(desk.line("AT+CFUN?"), "+CFUN: 0");
}

#[test]
fn answers_that_come_after_a_stall_are_given_to_nobody() {
    for profile in all_profiles() {
        for seed in 1..20 {
            let mut desk = Desk::new(profile.clone(), seed);
            desk.ok("AT");
            desk.lab.modem.set_fault(Fault::Stall { lasts: Duration::from_secs(3 + seed) }, desk.lab.now);
            let first = desk.ask("AT+CGSN");
            assert_eq!(first.result.is_err(), seed > 1, "{first:?}");
            assert_eq!(desk.line("AT+CGMM"), "nRF9151-LACA");
            assert_eq!(desk.line("AT+CFUN?"), "+CFUN: 0");
        }
    }
}

#[test]
fn an_hour_of_random_faults_never_mixes_up_an_answer() {
    let questions = [
        ("AT+CGSN", "352656106647673"),
        ("AT+CGMM", "nRF9151-LACA"),
        ("AT+CGMR", "mfw_nrf91x1_2.0.4"),
        ("AT+CEREG?", "+CEREG: "),
        ("AT+CESQ", "+CESQ: "),
        ("AT%XMONITOR", "%XMONITOR: "),
        ("AT+COPS?", "+COPS: "),
        ("AT%XVBAT", "%XVBAT: "),
        ("AT+CFUN?", "+CFUN: "),
    ];
    for profile in all_profiles() {
        for seed in 1..6 {
            let mut desk = Desk::new(profile.clone(), seed);
            desk.attach();
            let end = desk.lab.now + Duration::from_secs(3600);
            let (mut right, mut failed) = (0u32, 0u32);
            while desk.lab.now < end {
                let (lasts, which) = (Duration::from_millis(desk.lab.draw(15_000)), desk.lab.draw(60));
                let fault = match which {
                    0 => Some(Fault::Silence { lasts }),
                    1 => Some(Fault::Stall { lasts }),
                    2 => Some(Fault::ResetInCommand),
                    3 => Some(Fault::CoreFault),
                    4 => Some(Fault::Restart),
                    5 => Some(Fault::NetworkLost { lasts }),
                    6 => Some(Fault::Noise { lasts }),
                    7 => Some(Fault::Echo),
                    8 => Some(Fault::GarbageAtBoot),
                    _ => None,
                };
                if let Some(fault) = fault {
                    desk.lab.modem.set_fault(fault, desk.lab.now);
                }
                let pick = usize::try_from(desk.lab.draw(questions.len() as u64)).unwrap();
                let (question, answer) = questions[pick];
                let done = desk.ask(question);
                if done.result == Ok(Success::Ok) {
                    // Noise may cost a line; it must never put another in its place.
                    for line in &done.lines {
                        assert!(line.starts_with(answer), "{question}: {line}");
                    }
                    right += 1;
                } else {
                    failed += 1;
                }
                let pause = Duration::from_millis(desk.lab.draw(5000));
                desk.lab.run_for(pause);
            }
            assert!(right > 10 * failed && failed > 0, "right {right} failed {failed}");
            desk.lab.modem.clear_faults(desk.lab.now);
            desk.lab.run_for(Duration::from_secs(60));
            while desk.fetch().is_some() {}
            assert_eq!(desk.line("AT+CGSN"), "352656106647673");
        }
    }
}
