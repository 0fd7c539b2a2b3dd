//! The line and who talks on it: receiving, timing, faults, silence.
//!
//! Time on the line is counted in characters. Bytes handed over at once take one character time each, so a
//! request that a pty delivers in no time still ends when it would have on a real line. A frame is given to the
//! driver when its last character would have left. The values in it are drawn at that moment, not when it was decided:
//! an answer that never goes on the wire takes no counter.

use super::BusError;
use super::codec::{self, ExceptionCode, Length, LineTimes, Request};
use super::fault::{Damage, Fault, Faults, When, bounded_noise, noise};
use super::ledger::{Ledger, LineLedger, SlaveLedger};
use super::slave::{Answer, Slave, SlaveSpec};
use crate::device::SerialDevice;
use crate::random::mix;
use std::collections::VecDeque;
use std::time::Duration;

/// A Modbus RTU line with slaves on it.
#[derive(Debug)]
pub struct SimBus {
    slaves: Vec<Station>,
    times: LineTimes,
    seed: u64,
    silent: bool,
    line: LineLedger,
    /// Bytes of the frame being heard.
    heard: Vec<u8>,
    /// Whether what is being heard is junk, to be passed over until the line is silent.
    skipping: bool,
    /// When the last character heard ended.
    heard_end: Duration,
    /// When the last character said ended.
    said_end: Duration,
    /// What waits for its time, in order of that time; never overlapping.
    waiting: Vec<Transmission>,
    /// What the driver may take now.
    ready: VecDeque<Transmission>,
}

#[derive(Debug)]
struct Station {
    slave: Slave,
    faults: Faults,
    requests: u64,
    answered: u64,
    exceptions: u64,
    broken: u64,
    unanswered: u64,
}

#[derive(Debug)]
struct Transmission {
    begin: Duration,
    end: Duration,
    what: What,
}

#[derive(Debug)]
enum What {
    Noise(Vec<u8>),
    Reply { station: usize, answer: Answer, damage: Option<Damage>, key: u64, overtaken: bool },
}

/// Most transmissions that wait at once; a request beyond them goes unanswered.
const MOST_WAITING: usize = 64;

impl SimBus {
    /// A bus with these slaves at this speed. Values, noise and the dice of faults follow from `seed`.
    pub fn new(slaves: Vec<SlaveSpec>, baud: u32, seed: u64) -> Result<Self, BusError> {
        let times = LineTimes::at(baud).ok_or(BusError::ZeroBaud)?;
        let mut stations: Vec<Station> = Vec::new();
        for spec in slaves {
            let unit = spec.unit;
            if stations.iter().any(|s| s.slave.unit == unit) {
                return Err(BusError::DuplicateUnit { unit });
            }
            stations.push(Station::new(Slave::new(spec, seed)?));
        }
        Ok(Self {
            slaves: stations,
            times,
            seed,
            silent: false,
            line: LineLedger::default(),
            heard: Vec::new(),
            skipping: false,
            heard_end: Duration::ZERO,
            said_end: Duration::ZERO,
            waiting: Vec::new(),
            ready: VecDeque::new(),
        })
    }

    /// Character and silence times of this line.
    #[must_use]
    pub fn times(&self) -> LineTimes {
        self.times
    }

    /// Adds a fault to a slave; of several the first that befalls an answer is the only one.
    pub fn set_fault(&mut self, unit: u8, fault: Fault, when: When) -> Result<(), BusError> {
        let added = self.station(unit)?.faults.add(fault, when);
        if added { Ok(()) } else { Err(BusError::TooManyFaults { unit, most: Faults::MOST }) }
    }

    /// Takes all faults from a slave.
    pub fn clear_faults(&mut self, unit: u8) -> Result<(), BusError> {
        self.station(unit)?.faults.clear();
        Ok(())
    }

    /// From now on nothing is said: answers still waiting are given up, requests are only counted as unanswered.
    /// `produced` does not move any more.
    pub fn fall_silent(&mut self) {
        self.silent = true;
        self.give_up_answers();
    }

    fn give_up_answers(&mut self) {
        for gone in self.waiting.drain(..).chain(self.ready.drain(..)) {
            if let What::Reply { station, .. } = gone.what
                && let Some(station) = self.slaves.get_mut(station)
            {
                station.unanswered += 1;
            }
        }
    }

    /// The line is taken away: answers still waiting are given up, and what was being heard is forgotten. Nobody hears on the
    /// next line what was asked on this one.
    pub fn unplug(&mut self) {
        self.give_up_answers();
        self.heard.clear();
        self.skipping = false;
    }

    /// Ends [`fall_silent`](Self::fall_silent).
    pub fn speak_again(&mut self) {
        self.silent = false;
    }

    /// Whether the bus has fallen silent.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        self.silent
    }

    /// The account up to now.
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        let waits = |index: usize| {
            let all = self.waiting.iter().chain(&self.ready);
            all.filter(|t| matches!(t.what, What::Reply { station, .. } if station == index)).count() as u64
        };
        let entry = |(index, s): (usize, &Station)| SlaveLedger {
            unit: s.slave.unit,
            name: s.slave.name.clone(),
            requests: s.requests,
            answered: s.answered,
            exceptions: s.exceptions,
            broken: s.broken,
            unanswered: s.unanswered,
            waiting: waits(index),
            points: s.slave.points().to_vec(),
        };
        Ledger { slaves: self.slaves.iter().enumerate().map(entry).collect(), line: self.line }
    }

    fn station(&mut self, unit: u8) -> Result<&mut Station, BusError> {
        self.slaves.iter_mut().find(|s| s.slave.unit == unit).ok_or(BusError::UnknownUnit { unit })
    }

    /// Lets time pass: silence ends what was being heard, and what is due becomes ready.
    fn advance(&mut self, now: Duration) {
        if self.is_hearing() && now >= self.heard_end.saturating_add(self.times.silence) {
            let frame = std::mem::take(&mut self.heard);
            if !std::mem::take(&mut self.skipping) {
                self.handle_frame(&frame);
            }
        }
        let due = self.waiting.iter().take_while(|t| t.end <= now).count();
        for transmission in self.waiting.drain(..due) {
            self.said_end = transmission.end;
            self.ready.push_back(transmission);
        }
    }

    fn is_hearing(&self) -> bool {
        self.skipping || !self.heard.is_empty()
    }

    fn hear(&mut self, now: Duration, byte: u8) {
        if !self.is_hearing()
            && now < self.said_end.saturating_add(self.times.silence)
            && self.said_end > self.heard_end
        {
            self.line.crowded += 1;
        }
        self.heard_end = now.max(self.heard_end.saturating_add(self.times.character));
        self.line.bytes_heard += 1;
        if self.skipping {
            return;
        }
        self.heard.push(byte);
        match codec::request_length(&self.heard) {
            Length::Exactly(length) if length > codec::MAX_FRAME => self.pass_over(),
            Length::Exactly(length) if length == self.heard.len() => {
                let frame = std::mem::take(&mut self.heard);
                self.skipping = !self.handle_frame(&frame);
            }
            Length::NotYetKnown | Length::Exactly(_) | Length::UntilSilence => {
                if self.heard.len() > codec::MAX_FRAME {
                    self.pass_over();
                }
            }
        }
    }

    fn pass_over(&mut self) {
        self.heard.clear();
        self.skipping = true;
        self.line.junk += 1;
    }

    /// Handles what may be a request. `false` when it is no frame.
    fn handle_frame(&mut self, frame: &[u8]) -> bool {
        let Some(request) = codec::parse_request(frame) else {
            self.line.junk += 1;
            return false;
        };
        for transmission in &mut self.waiting {
            if let What::Reply { overtaken, .. } = &mut transmission.what {
                *overtaken = true;
            }
        }
        if request.unit == 0 {
            self.line.broadcasts += 1;
            if !self.silent {
                for station in &mut self.slaves {
                    // Every slave carries it out; nobody answers (Serial Line V1.02 §2.1).
                    let _unsaid = station.slave.handle(&request);
                }
            }
            return true;
        }
        match self.slaves.iter().position(|s| s.slave.unit == request.unit) {
            Some(index) => self.handle_request(index, &request),
            None => self.line.foreign += 1,
        }
        true
    }

    fn handle_request(&mut self, index: usize, request: &Request) {
        let Some(station) = self.slaves.get_mut(index) else { return };
        station.requests += 1;
        let key = mix(self.seed ^ mix(u64::from(request.unit) ^ station.requests.rotate_left(16)));
        let fault = station.faults.draw(key);
        if self.silent || fault == Some(Fault::Silent) || self.waiting.len() >= MOST_WAITING {
            station.unanswered += 1;
            return;
        }
        let answer = match fault {
            Some(Fault::Exception(code)) => refusal(request, code),
            _ => station.slave.handle(request),
        };
        let damage = match fault {
            Some(Fault::BadCrc) => Some(Damage::BadCrc),
            Some(Fault::FlippedBit) => Some(Damage::FlippedBit),
            Some(Fault::Truncated(kept)) => Some(Damage::Truncated(kept)),
            Some(Fault::NoiseInto(n)) => Some(Damage::NoiseInto(n)),
            _ => None,
        };
        let delay = match fault {
            Some(Fault::Late(delay)) => delay,
            _ => station.slave.answer_delay,
        };
        let mut begin = self.heard_end.saturating_add(delay.max(self.times.silence));
        if let Some(Fault::NoiseBefore(n)) = fault {
            let end = self.schedule(begin, bounded_noise(n), What::Noise(noise(n, key)));
            begin = end.saturating_add(self.times.silence);
        }
        let length = damage.map_or(answer.frame_length(), |d| d.length(answer.frame_length()));
        self.schedule(begin, length, What::Reply { station: index, answer, damage, key, overtaken: false });
    }

    /// Puts a transmission into the first gap from `begin` on that holds it with silence around; gives its end.
    fn schedule(&mut self, begin: Duration, length: usize, what: What) -> Duration {
        let (silence, takes) = (self.times.silence, self.times.characters(length));
        let mut begin = begin.max(self.said_end.saturating_add(silence));
        // `waiting` is in order, so one pass finds the gap.
        for other in &self.waiting {
            let before = begin.saturating_add(takes).saturating_add(silence) <= other.begin;
            let after = begin >= other.end.saturating_add(silence);
            if !before && !after {
                begin = other.end.saturating_add(silence);
            }
        }
        let end = begin.saturating_add(takes);
        let place = self.waiting.partition_point(|t| t.end <= end);
        self.waiting.insert(place, Transmission { begin, end, what });
        end
    }
}

impl SerialDevice for SimBus {
    fn handle_bytes(&mut self, now: Duration, bytes: &[u8]) {
        self.advance(now);
        for byte in bytes {
            self.hear(now, *byte);
        }
    }

    fn handle_timeout(&mut self, now: Duration) {
        self.advance(now);
    }

    fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        let bytes = match self.ready.pop_front()?.what {
            What::Noise(bytes) => bytes,
            What::Reply { station, answer, damage, key, overtaken } => {
                self.slaves.get_mut(station)?.say(&answer, damage, key, overtaken)
            }
        };
        self.line.bytes_said += bytes.len() as u64;
        Some(bytes)
    }

    fn poll_timeout(&self) -> Option<Duration> {
        let silence = self.is_hearing().then(|| self.heard_end.saturating_add(self.times.silence));
        let due = self.waiting.first().map(|t| t.end);
        silence.into_iter().chain(due).min()
    }
}

impl Station {
    fn new(slave: Slave) -> Self {
        Self {
            slave,
            faults: Faults::default(),
            requests: 0,
            answered: 0,
            exceptions: 0,
            broken: 0,
            unanswered: 0,
        }
    }

    /// Writes a reply that goes on the wire now, and accounts for it.
    fn say(&mut self, answer: &Answer, damage: Option<Damage>, key: u64, overtaken: bool) -> Vec<u8> {
        let frame = self.slave.compose(answer, damage.is_none(), overtaken);
        match (damage, answer) {
            (Some(_), _) => self.broken += 1,
            (None, Answer::Exception(_)) => self.exceptions += 1,
            (None, Answer::Frame(_) | Answer::Registers { .. }) => self.answered += 1,
        }
        damage.map_or(frame.clone(), |d| d.apply(frame, key))
    }
}

fn refusal(request: &Request, code: ExceptionCode) -> Answer {
    Answer::Exception(codec::exception_reply(request.unit, request.function, code))
}
