//! The conversation with the modem, from opening the port to following its reports and back.
//!
//! A state machine without I/O: bytes, time and the fate of the port go in; bytes, facts and notes come out. It finds out
//! who answers ([`Probe`]), works through the [`Script`] over a [`Session`], and keeps what it learns in [`Known`].
//!
//! When the modem does not answer it climbs no further than this: the question is repeated once, the session gets back in
//! step, who answers is found out anew, and the port is closed and opened after growing pauses. Each step is told to the
//! board with its reason. It never takes power, resets the modem, or switches the radio off.
//!
//! Invariants: facts are made only from what was heard just now; whenever the modem is lost, the facts that say so leave
//! before anything else is tried; unless the port is closed there is always a time at which something will be done.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use fieldgate_modem_at::{
    Banner, Command, CommandDone, CommandError, CommandId, Event, FaultEvent, Probe, ProbeOutcome, Session,
    Terminator, Urc,
};
use tracing::Level;

use super::notes::Notes;
use super::script::{Ask, Overdue, Script, Step};
use super::state::{Fact, Known, Lesson};
use super::words;
use crate::board::{ModemPhase, ModemState, in_words};

/// After a banner the application may have more to say, and noise may follow; then it is asked who it is.
const AFTER_BANNER: Duration = Duration::from_secs(1);
/// The application starts a crashed core again within this, or it will not.
const CORE_RESTART: Duration = Duration::from_secs(10);
/// How often an application that waits for firmware is asked whether it is back.
const BOOTLOADER_LOOK: Duration = Duration::from_secs(60);
/// The first pause before the port is opened again; it doubles.
const PAUSE: Duration = Duration::from_millis(500);
/// The longest pause while the port is not there: trying is cheap, and a cable may be put in any moment.
const PAUSE_NO_PORT: Duration = Duration::from_secs(5);
/// The longest pause while nobody answers.
const PAUSE_NO_ANSWER: Duration = Duration::from_secs(60);

/// The conversation with one modem.
#[derive(Debug)]
pub(super) struct Core {
    poll: Duration,
    /// The port's name, for people.
    port: String,
    phase: Phase,
    known: Known,
    facts: VecDeque<Fact>,
    notes: Notes,
    /// Times in a row that the port was closed without the modem having been set up in between.
    closed: u32,
    pause: Duration,
    console: Console,
}

/// A command of a technician's: asked between two questions of ours, so that no answer is taken for another's.
#[derive(Debug, Default)]
enum Console {
    #[default]
    Idle,
    Waits(Command),
    Asked(CommandId),
    Answered(ConsoleAnswer),
}

/// The modem's lines to a technician's command; or why there are none, in words.
pub(super) type ConsoleAnswer = Result<Vec<String>, String>;

#[derive(Debug)]
enum Phase {
    Closed,
    Probing(Box<Probe>),
    Talking(Box<Talk>),
}

#[derive(Debug)]
struct Talk {
    session: Session,
    script: Script,
    /// Nothing is asked before this; then who answers is found out anew.
    hold: Option<Duration>,
    doubtful: bool,
}

impl Core {
    /// A conversation that has not begun: the port is not open.
    pub(super) fn new(poll: Duration, port: String) -> Self {
        let mut core = Self {
            poll,
            port,
            phase: Phase::Closed,
            known: Known::default(),
            facts: VecDeque::new(),
            notes: Notes::default(),
            closed: 0,
            pause: PAUSE,
            console: Console::Idle,
        };
        core.lose("the modem's port is being opened");
        core.state(ModemPhase::NoPort, "the port is being opened", true);
        core
    }

    /// The port is open.
    pub(super) fn port_opened(&mut self, now: Duration) {
        let quiet = self.closed == 0;
        self.probe(now, "who answers is being found out", quiet);
    }

    /// The port could not be opened.
    pub(super) fn port_refused(&mut self, now: Duration, error: &io::Error) {
        let port = &self.port;
        let why = match error.kind() {
            io::ErrorKind::NotFound => {
                format!("the modem's port {port} is not there: check its power and its cable")
            }
            io::ErrorKind::PermissionDenied => {
                format!("the modem's port {port} may not be opened: give fieldgate's user access to it")
            }
            _ => format!("the modem's port {port} cannot be opened: {error}"),
        };
        self.close(now, &why, PAUSE_NO_PORT);
    }

    /// The port went away, or takes no bytes.
    pub(super) fn port_lost(&mut self, now: Duration, why: &str) {
        let why = format!("the modem's port {} {why}", self.port);
        self.close(now, &why, PAUSE_NO_PORT);
    }

    /// Takes bytes from the line, in pieces of any size.
    pub(super) fn handle_bytes(&mut self, now: Duration, bytes: &[u8]) {
        match &mut self.phase {
            Phase::Closed => {}
            Phase::Probing(probe) => probe.handle_bytes(now, bytes),
            Phase::Talking(talk) => talk.session.handle_bytes(now, bytes),
        }
        self.go_on(now);
    }

    /// Acts on deadlines that have passed.
    pub(super) fn handle_timeout(&mut self, now: Duration) {
        match &mut self.phase {
            Phase::Closed => {}
            Phase::Probing(probe) => probe.handle_timeout(now),
            Phase::Talking(talk) => talk.session.handle_timeout(now),
        }
        self.go_on(now);
    }

    /// The next bytes to write, whole.
    pub(super) fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        match &mut self.phase {
            Phase::Closed => None,
            Phase::Probing(probe) => probe.poll_transmit(),
            Phase::Talking(talk) => talk.session.poll_transmit(),
        }
    }

    /// When [`Core::handle_timeout`] wants to be called next; `None` only while the port is closed.
    pub(super) fn poll_timeout(&self) -> Option<Duration> {
        match &self.phase {
            Phase::Closed => None,
            Phase::Probing(probe) => probe.poll_timeout(),
            Phase::Talking(talk) => {
                let next = talk.hold.or_else(|| talk.script.poll_timeout());
                [talk.session.poll_timeout(), next].into_iter().flatten().min()
            }
        }
    }

    /// The next fact for the board.
    pub(super) fn poll_fact(&mut self) -> Option<Fact> {
        self.facts.pop_front()
    }

    /// The next note for the log.
    pub(super) fn poll_note(&mut self) -> Option<(Level, String)> {
        self.notes.pop()
    }

    /// Puts a technician's command among the questions. One at a time: the one before must have been answered.
    pub(super) fn console(&mut self, now: Duration, text: &str) {
        self.console = match (&self.phase, Command::new(text)) {
            (Phase::Talking(talk), Ok(command)) if talk.script.is_started() && talk.hold.is_none() => {
                Console::Waits(command)
            }
            (_, Ok(_)) => Console::Answered(Err("the modem is not ready; ask again in a minute".into())),
            (_, Err(error)) => Console::Answered(Err(error.to_string())),
        };
        self.go_on(now);
    }

    /// The answer to it, once.
    pub(super) fn poll_console(&mut self) -> Option<ConsoleAnswer> {
        match std::mem::take(&mut self.console) {
            Console::Answered(answer) => Some(answer),
            other => {
                self.console = other;
                None
            }
        }
    }

    /// From now on the modem is looked at so often.
    pub(super) fn set_poll(&mut self, now: Duration, poll: Duration) {
        self.poll = poll;
        if let Phase::Talking(talk) = &mut self.phase {
            talk.script.set_poll(now, poll);
        }
        self.go_on(now);
    }

    /// How long the port shall stay closed; `None` while it shall be open.
    pub(super) fn pause(&self) -> Option<Duration> {
        matches!(self.phase, Phase::Closed).then_some(self.pause)
    }

    /// What it waits for, in words.
    pub(super) fn waiting_for(&self) -> String {
        match &self.phase {
            Phase::Closed => format!("waiting before {} is opened again", self.port),
            Phase::Probing(_) => "finding out who answers".to_owned(),
            Phase::Talking(talk) if talk.hold.is_some() => "waiting for the modem to start".to_owned(),
            Phase::Talking(talk) if talk.doubtful => "waiting for the modem to answer at all".to_owned(),
            Phase::Talking(talk) => match talk.script.outstanding() {
                Some(ask) => format!("waiting for the answer to {}", ask.text()),
                None => "following the modem's reports until the next look".to_owned(),
            },
        }
    }

    /// Does everything that what happened calls for. Ends, because each round uses up an event, a question or a deadline.
    fn go_on(&mut self, now: Duration) {
        loop {
            match &mut self.phase {
                Phase::Closed => return,
                Phase::Probing(probe) => match probe.outcome().cloned() {
                    Some(outcome) => self.probed(now, outcome),
                    None => return,
                },
                Phase::Talking(talk) => match talk.session.poll_event() {
                    Some(event) => self.heard(now, event),
                    None if talk.hold.is_some_and(|until| now >= until) => {
                        self.probe(now, "it was waited for; who answers is being found out", false);
                    }
                    None if talk.hold.is_some() => return,
                    None => {
                        if !self.ask_next(now) {
                            return;
                        }
                    }
                },
            }
        }
    }

    fn probe(&mut self, now: Duration, words: &str, fine: bool) {
        self.state(ModemPhase::Probing, words, fine);
        self.phase = Phase::Probing(Box::new(Probe::new(now)));
    }

    fn probed(&mut self, now: Duration, outcome: ProbeOutcome) {
        match outcome {
            ProbeOutcome::Found { application, terminator, echo } => {
                let name = words::application(&application);
                self.notes.add(now, Level::INFO, format!("the modem answers: {}", words::logged(&name)));
                self.known.found(name);
                let why = "the modem is being asked";
                self.lose(why);
                self.state(
                    ModemPhase::Starting,
                    &format!("{} answers; it is being set up", self.known.application()),
                    true,
                );
                self.phase = Phase::Talking(Box::new(Talk {
                    session: Session::new(terminator),
                    script: Script::new(self.poll, echo),
                    hold: None,
                    doubtful: false,
                }));
            }
            ProbeOutcome::Bootloader => {
                // Only a banner or a new probe ends this; which terminator it would take does not matter.
                self.phase = Phase::Talking(Box::new(Talk {
                    session: Session::new(Terminator::CrLf),
                    script: Script::new(self.poll, false),
                    hold: None,
                    doubtful: false,
                }));
                self.in_bootloader(now);
            }
            ProbeOutcome::Refuses { .. } => {
                let why = format!(
                    "what is behind {} refuses every command: check that it is the modem's AT port",
                    self.port
                );
                self.close(now, &why, PAUSE_NO_ANSWER);
            }
            ProbeOutcome::Silent { .. } => {
                let why = format!(
                    "nothing answers on {}: check the modem's power, cable and speed, and that nothing else uses it",
                    self.port
                );
                self.close(now, &why, PAUSE_NO_ANSWER);
            }
        }
    }

    /// Submits the next question; `false` when there is nothing to do.
    fn ask_next(&mut self, now: Duration) -> bool {
        let Phase::Talking(talk) = &mut self.phase else { return false };
        if talk.script.is_free()
            && let Console::Waits(command) = &self.console
        {
            self.console = match talk.session.submit(now, command.clone()) {
                Ok(id) => Console::Asked(id),
                Err(error) => Console::Answered(Err(error.to_string())),
            };
            return true;
        }
        // An answer to the console is outstanding: nothing else is asked meanwhile.
        if matches!(self.console, Console::Asked(_)) {
            return false;
        }
        match talk.script.next(now, &self.known.missing()) {
            None => false,
            Some(Step::Started) => {
                self.closed = 0;
                self.facts.push_back(Fact::Identity(self.known.identity()));
                self.notes.add(now, Level::INFO, identity_words(&self.known));
                self.up();
                true
            }
            Some(Step::Ask(ask)) => {
                let Ok(command) = Command::new(ask.text()) else { return true };
                match talk.session.submit(now, command) {
                    Ok(id) => {
                        talk.script.asked(id, ask);
                        true
                    }
                    // With one question at a time this does not happen; if it does, the session is not what it seems.
                    Err(error) => {
                        self.notes.add(now, Level::WARN, error.to_string());
                        self.probe(now, "the conversation is begun anew", false);
                        true
                    }
                }
            }
        }
    }

    fn heard(&mut self, now: Duration, event: Event) {
        match event {
            Event::CommandDone(done) => self.ended(now, &done),
            Event::Urc(Urc::Fault(fault)) => self.core_fault(now, &fault),
            // Said before the restart and delivered after it: no longer so.
            Event::Urc(_) if self.is_held() => {}
            Event::Urc(urc) => {
                let lesson = self.known.report(now, &urc);
                self.learn(now, lesson);
            }
            Event::Banner(Banner::BootloaderReady) => self.in_bootloader(now),
            Event::Banner(banner) => {
                let words = if banner == Banner::InitError {
                    "the modem restarted, and its application could not start all of its parts"
                } else {
                    "the modem restarted"
                };
                self.notes.add(now, Level::WARN, words.to_owned());
                self.restarted(now, AFTER_BANNER, &format!("{words}; it is being set up again"));
            }
            Event::Silent => {
                let why = "the modem does not answer any more";
                self.notes.add(now, Level::WARN, why.to_owned());
                self.known.restarted();
                self.lose(why);
                self.probe(now, "it fell silent; who answers is being found out", false);
            }
            Event::Noise(_) => self.notes.add(now, Level::DEBUG, "noise on the modem's line".to_owned()),
        }
    }

    fn ended(&mut self, now: Duration, done: &CommandDone) {
        if matches!(&self.console, Console::Asked(id) if *id == done.id) {
            let answer = done.result.as_ref().map(|_| done.lines.clone()).map_err(ToString::to_string);
            self.console = Console::Answered(answer);
            return;
        }
        let Phase::Talking(talk) = &mut self.phase else { return };
        let Some(ask) = talk.script.ended(done.id) else { return };
        match &done.result {
            Ok(_) => {
                talk.script.answered();
                self.answered();
                match self.known.answer(now, ask, &done.lines) {
                    Ok(lesson) => self.learn(now, lesson),
                    // The error names line and field, never their text.
                    Err(error) => {
                        self.notes.add(
                            now,
                            Level::DEBUG,
                            format!("{} was not understood: {error}", ask.text()),
                        );
                    }
                }
            }
            Err(CommandError::TimedOut { after }) => {
                let words = format!("no answer to {} within {}", ask.text(), in_words(*after));
                match talk.script.overdue(ask) {
                    Overdue::Again => self.doubtful(&format!("{words}; it is asked again")),
                    Overdue::LeftOut => {
                        self.notes.add(now, Level::WARN, format!("{words}, twice; it is left out"));
                        self.doubtful(&words);
                    }
                    Overdue::Lost => {
                        let why = "the modem leaves too many questions unanswered";
                        self.notes.add(now, Level::WARN, why.to_owned());
                        self.known.restarted();
                        self.lose(why);
                        self.probe(now, "it answers too little; who answers is being found out", false);
                    }
                }
            }
            // The banner, or the silence, is told by an event of its own.
            Err(CommandError::Reset | CommandError::Silent | CommandError::DataMode) => {}
            Err(refused) => {
                talk.script.answered();
                if let Some(older) = ask.fallback() {
                    talk.script.first(older);
                } else {
                    // Some questions are refused by some firmware, or without a card: that is an answer too.
                    let (level, so) = ask.needed_for().map_or((Level::DEBUG, ""), |so| (Level::WARN, so));
                    let why = words::logged(&refused.to_string());
                    self.notes.add(now, level, format!("{} was refused: {why}; {so}", ask.text()));
                }
                self.answered();
            }
        }
    }

    fn learn(&mut self, now: Duration, lesson: Lesson) {
        let Lesson { facts, notes, ask, forgot_subscription } = lesson;
        for (level, text) in notes {
            self.notes.add(now, level, text);
        }
        let Phase::Talking(talk) = &mut self.phase else { return };
        let started = talk.script.is_started();
        // Who it is, is told whole: at the end of the start, and from then on.
        self.facts.extend(facts.into_iter().filter(|fact| started || !matches!(fact, Fact::Identity(_))));
        for ask in ask {
            if ask == Ask::RadioOn { talk.script.first(ask) } else { talk.script.also(ask) }
        }
        if started && !talk.doubtful && talk.hold.is_none() {
            self.up();
        }
        if forgot_subscription {
            let why = "the modem forgot its settings: it restarted without saying so";
            self.notes.add(now, Level::WARN, why.to_owned());
            self.set_up_again(why);
        }
    }

    /// The core crashed; the application starts it again by itself and says so.
    fn core_fault(&mut self, now: Duration, fault: &FaultEvent) {
        match fault {
            FaultEvent::Fault { reason, program_counter } => {
                let words = format!("the modem's core crashed (reason {reason:#x} at {program_counter:#x})");
                self.notes.add(now, Level::ERROR, words.clone());
                self.restarted(now, CORE_RESTART, &format!("{words}; it is starting again"));
            }
            FaultEvent::Shutdown { .. } => {}
            FaultEvent::Init { result: 0 } => self.set_up_again("the modem's core was started again"),
            FaultEvent::Init { result } => {
                let words = format!(
                    "the modem's core could not be started again (result {result}): switch the modem off and on"
                );
                self.notes.add(now, Level::ERROR, words.clone());
                self.restarted(now, CORE_RESTART, &words);
            }
        }
    }

    /// Everything the modem was told is lost. Who answers is found out anew after `hold`.
    fn restarted(&mut self, now: Duration, hold: Duration, words: &str) {
        if let Phase::Talking(talk) = &mut self.phase {
            talk.script.restart();
            talk.hold = Some(now.saturating_add(hold));
            talk.doubtful = false;
        }
        self.known.restarted();
        self.lose(words);
        self.state(ModemPhase::Restarted, words, false);
    }

    /// The application is the same, its core is not: the start sequence again.
    fn set_up_again(&mut self, why: &str) {
        self.known.restarted();
        self.lose(why);
        self.state(ModemPhase::Restarted, &format!("{why}; it is being set up again"), false);
        if let Phase::Talking(talk) = &mut self.phase {
            talk.script.restart();
            talk.hold = None;
            talk.doubtful = false;
        }
    }

    fn in_bootloader(&mut self, now: Duration) {
        let words =
            "the modem waits for firmware and does nothing else: finish its update, or switch it off and on";
        self.notes.add(now, Level::WARN, words.to_owned());
        self.restarted(now, BOOTLOADER_LOOK, words);
        self.state(ModemPhase::Bootloader, words, false);
    }

    fn close(&mut self, now: Duration, why: &str, longest: Duration) {
        self.notes.add(now, Level::WARN, why.to_owned());
        let doubled = PAUSE.saturating_mul(1 << self.closed.min(16));
        self.pause = doubled.min(longest);
        self.closed = self.closed.saturating_add(1);
        self.phase = Phase::Closed;
        self.known.restarted();
        self.lose(why);
        let words = format!("{why}. The port is opened again within {}", in_words(longest));
        self.state(ModemPhase::NoPort, &words, false);
    }

    fn is_held(&self) -> bool {
        matches!(&self.phase, Phase::Talking(talk) if talk.hold.is_some())
    }

    fn answered(&mut self) {
        if let Phase::Talking(talk) = &mut self.phase
            && std::mem::take(&mut talk.doubtful)
            && talk.script.is_started()
        {
            self.up();
        }
    }

    fn doubtful(&mut self, words: &str) {
        if let Phase::Talking(talk) = &mut self.phase {
            talk.doubtful = true;
        }
        self.state(ModemPhase::Doubtful, words, false);
    }

    fn up(&mut self) {
        let application = self.known.application();
        let (words, fine) = match self.known.trouble() {
            Some(trouble) => (trouble.words().to_owned(), false),
            None => (format!("{application} answers"), true),
        };
        self.state(ModemPhase::Up, &words, fine);
    }

    fn lose(&mut self, why: &str) {
        if matches!(self.console, Console::Waits(_) | Console::Asked(_)) {
            self.console = Console::Answered(Err(why.to_owned()));
        }
        self.facts.extend(self.known.unknown(why));
    }

    fn state(&mut self, phase: ModemPhase, words: &str, fine: bool) {
        self.facts.push_back(Fact::State(ModemState { phase, words: words.to_owned(), fine }));
    }
}

/// Hardware and firmware only: the subscriber's numbers stay out of the log.
fn identity_words(known: &Known) -> String {
    let identity = known.identity();
    let or_unknown = |text: Option<String>| text.map_or("unknown".to_owned(), |text| words::logged(&text));
    format!(
        "the modem is set up: hardware {}, firmware {}",
        or_unknown(identity.hardware),
        or_unknown(identity.firmware)
    )
}

#[cfg(test)]
mod tests;
