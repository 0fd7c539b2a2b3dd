//! A simulated nRF9151 on a serial line, for the three applications the daemon meets.
//!
//! [`SimModem`] owns everything: the typed input, the command that runs, reports held back, the radio's walk, the faults
//! in force. It is a state machine: bytes and `now` in, bytes out; `now` counts from an origin whose wall time is given
//! at creation, all chance comes from one seed. Its encoders are its own: it shares no code with the daemon's decoders,
//! so that the two cannot agree in error.
//!
//! Not played: data mode, CMUX, PPP, GNSS, firmware update, credentials.

mod commands;
mod encode;
mod fault;
mod input;
mod profile;
mod radio;
mod report;
mod run;
mod schedule;
mod serial_device;
#[cfg(test)]
mod tests;
mod walk;

use core::time::Duration;
use std::collections::VecDeque;

use commands::{End, Reply, Settings};
use fault::Faults;
use input::{Reader, Typed};
use radio::{Radio, Registration};
use schedule::Schedule;

use crate::random::Dice;

pub use fault::Fault;
pub use profile::{CommandEnd, ModemProfile, SimApplication, SimNetwork};
pub use radio::SimSignal;

/// Commands waiting while one runs; more are lost, as in a full receive buffer.
const WAITING_MAX: usize = 16;

/// A simulated modem. Created without power; see [`SimModem::power_on`].
#[derive(Debug)]
pub struct SimModem {
    profile: ModemProfile,
    unix_at_origin: u64,
    /// Before this the network does not say what time it is.
    tells_time_from: Duration,
    rng: Dice,
    power: Power,
    reader: Reader,
    waiting: VecDeque<String>,
    running: Option<String>,
    schedule: Schedule<Tick>,
    output: VecDeque<Vec<u8>>,
    held: Vec<String>,
    last_input: Duration,
    settings: Settings,
    radio: Radio,
    faults: Faults,
    /// Bytes sent and received over the air since counting began.
    traffic: (u64, u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Power {
    Off,
    Starting,
    On,
}

/// What the modem does at a planned moment.
#[derive(Debug)]
enum Tick {
    Started,
    BootNoise,
    CommandDone,
    CommandCut,
    ReleaseReports,
    SimChecked,
    CellFound,
    SearchDone,
    Registered,
    PdnUp,
    SignalStep,
    RadioIdle,
    NetworkBack,
    NetworkTime,
    LineNoise,
}

impl Tick {
    /// Belongs to the radio, and ends with it.
    fn is_radio(&self) -> bool {
        matches!(
            self,
            Self::SimChecked
                | Self::CellFound
                | Self::SearchDone
                | Self::Registered
                | Self::PdnUp
                | Self::SignalStep
                | Self::RadioIdle
        )
    }

    /// Comes from outside the modem.
    fn is_outside(&self) -> bool {
        matches!(self, Self::NetworkBack | Self::NetworkTime | Self::LineNoise)
    }
}

impl SimModem {
    /// A modem without power. `unix_at_origin` is the wall time, in seconds since 1970, at which `now` is zero.
    #[must_use]
    pub fn new(profile: ModemProfile, seed: u64, unix_at_origin: u64) -> Self {
        let reader = Reader::new(&profile);
        Self {
            profile,
            unix_at_origin,
            tells_time_from: Duration::ZERO,
            rng: Dice::new(seed),
            power: Power::Off,
            reader,
            waiting: VecDeque::new(),
            running: None,
            schedule: Schedule::new(),
            output: VecDeque::new(),
            held: Vec::new(),
            last_input: Duration::ZERO,
            settings: Settings::default(),
            radio: Radio::default(),
            faults: Faults::default(),
            traffic: (0, 0),
        }
    }

    /// The network says what time it is from `at` on, and then at once; without this, whenever the modem registers.
    pub fn tell_time_from(&mut self, at: Duration) {
        self.tells_time_from = at;
        if at < Duration::MAX {
            self.schedule.add(at, Tick::NetworkTime);
        }
    }

    /// Gives power, or takes and gives it again: two seconds later the application says `Ready`.
    pub fn power_on(&mut self, now: Duration) {
        self.lose_everything();
        self.power = Power::Starting;
        if self.faults.garbage_at_boot {
            let early = self.rng.between(50, 1800);
            self.schedule.add(now + Duration::from_millis(early), Tick::BootNoise);
        }
        self.schedule.add(now + self.profile.boot, Tick::Started);
    }

    /// Takes bytes from the line, in pieces of any size.
    pub fn handle_bytes(&mut self, now: Duration, bytes: &[u8]) {
        self.handle_timeout(now);
        if self.power != Power::On || now < self.faults.silent_until {
            return;
        }
        self.last_input = now;
        for &byte in bytes {
            let typed = self.reader.take(byte);
            if self.settings.echo && typed != Typed::Discarded {
                self.send(now, vec![byte]);
            }
            match typed {
                Typed::Command(line) if self.waiting.len() < WAITING_MAX => self.waiting.push_back(line),
                Typed::TooLong => self.answer(now, &Reply { lines: Vec::new(), end: End::Error(None) }),
                Typed::Command(_) | Typed::More | Typed::Discarded => {}
            }
        }
        self.run_next(now);
        self.release_reports(now);
    }

    /// Does everything that is due.
    pub fn handle_timeout(&mut self, now: Duration) {
        while let Some((at, tick)) = self.schedule.pop_due(now) {
            self.tick(at, &tick);
        }
    }

    /// The next bytes the modem says.
    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        self.output.pop_front()
    }

    /// When [`SimModem::handle_timeout`] wants to be called next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        self.schedule.next_at()
    }

    /// Registration and signal as they are, whether or not anybody asked.
    #[must_use]
    pub fn signal(&self) -> SimSignal {
        self.radio.show(&self.profile.network)
    }

    /// Counts bytes that went over the air; the radio wakes for them.
    pub fn count_traffic(&mut self, now: Duration, sent: u64, received: u64) {
        if self.settings.statistics {
            self.traffic = (self.traffic.0.saturating_add(sent), self.traffic.1.saturating_add(received));
        }
        if self.radio.registration == Registration::Registered {
            self.wake_radio(now);
        }
    }

    /// Causes `fault`.
    pub fn set_fault(&mut self, fault: Fault, now: Duration) {
        match fault {
            Fault::GarbageAtBoot => self.faults.garbage_at_boot = true,
            Fault::Noise { lasts } => {
                self.faults.noise_until = now.saturating_add(lasts);
                self.schedule.retain(|tick| !matches!(tick, Tick::LineNoise));
                self.schedule.add(now, Tick::LineNoise);
            }
            Fault::Echo => {
                self.faults.echo = true;
                self.settings.echo = true;
            }
            Fault::Silence { lasts } => self.faults.silent_until = now.saturating_add(lasts),
            Fault::Stall { lasts } => {
                self.faults.stalled_until = now.saturating_add(lasts);
                self.schedule.add(now.saturating_add(lasts), Tick::ReleaseReports);
            }
            Fault::ResetInCommand => self.faults.reset_in_command = true,
            Fault::CoreFault => self.core_fault(now),
            Fault::Restart => self.power_on(now),
            Fault::NetworkLost { lasts } => {
                self.faults.network_lost_until = now.saturating_add(lasts);
                self.schedule.retain(|tick| !matches!(tick, Tick::NetworkBack));
                self.schedule.add(now.saturating_add(lasts), Tick::NetworkBack);
                if self.settings.radio_on() && self.sim_works() {
                    self.leave_network(now, Registration::NoCoverage);
                }
            }
            Fault::NoSim => {
                self.faults.no_sim = true;
                if self.settings.radio_on() {
                    self.sim_checked(now);
                }
            }
        }
    }

    /// Ends every fault. A modem that lost its SIM needs `AT+CFUN=1` or a restart to find it again.
    pub fn clear_faults(&mut self, now: Duration) {
        let network_was_lost = now < self.faults.network_lost_until;
        self.faults = Faults::default();
        if network_was_lost {
            self.schedule.retain(|tick| !matches!(tick, Tick::NetworkBack));
            self.schedule.add(now, Tick::NetworkBack);
        }
    }

    fn tick(&mut self, now: Duration, tick: &Tick) {
        match tick {
            Tick::Started => self.started(now),
            Tick::BootNoise => self.send_noise(now),
            Tick::CommandDone => self.finish_command(now),
            Tick::CommandCut => self.cut_command(now),
            Tick::ReleaseReports => {
                self.run_next(now);
                self.release_reports(now);
            }
            Tick::SimChecked => self.sim_checked(now),
            Tick::CellFound => self.cell_found(now),
            Tick::SearchDone => self.report_event(now, "SEARCH STATUS 2"),
            Tick::Registered => self.registered(now),
            Tick::PdnUp => self.pdn_up(now),
            Tick::SignalStep => self.signal_step(now),
            Tick::RadioIdle => self.set_connected(now, false),
            Tick::NetworkBack => {
                if self.settings.radio_on() && self.sim_works() {
                    self.search(now);
                }
            }
            Tick::NetworkTime => self.network_time(now),
            Tick::LineNoise => {
                if now < self.faults.noise_until {
                    self.send_noise(now);
                    let pause = self.rng.between(150, 900);
                    self.schedule.add(now + Duration::from_millis(pause), Tick::LineNoise);
                }
            }
        }
    }

    fn lose_everything(&mut self) {
        self.schedule.retain(Tick::is_outside);
        self.reader.clear();
        self.waiting.clear();
        self.running = None;
        self.held.clear();
        self.settings = Settings::default();
        self.radio = Radio::default();
        self.traffic = (0, 0);
    }

    fn started(&mut self, now: Duration) {
        if self.faults.garbage_at_boot {
            self.send_noise(now);
        }
        self.power = Power::On;
        self.settings.echo = self.faults.echo;
        self.send(now, b"Ready\r\n".to_vec());
    }

    fn sim_works(&self) -> bool {
        !self.faults.no_sim
    }
}
