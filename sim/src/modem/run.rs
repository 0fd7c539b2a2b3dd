//! Commands, one at a time, and the framing of their answers.

use core::time::Duration;

use super::commands::{self, End, Reply, Settings};
use super::profile::SimApplication;
use super::radio::Radio;
use super::{Power, SimModem, Tick};

impl SimModem {
    pub(super) fn run_next(&mut self, now: Duration) {
        if self.running.is_some() || self.power != Power::On {
            return;
        }
        if now < self.faults.stalled_until {
            // Tick::ReleaseReports at the end of the stall comes back here.
            return;
        }
        let Some(line) = self.waiting.pop_front() else { return };
        let at = now + commands::takes(self, &line);
        let cut = self.faults.reset_in_command && !line.eq_ignore_ascii_case("AT");
        self.schedule.add(at, if cut { Tick::CommandCut } else { Tick::CommandDone });
        self.running = Some(line);
    }

    pub(super) fn finish_command(&mut self, now: Duration) {
        let Some(line) = self.running.clone() else { return };
        let reply = commands::execute(self, now, &line);
        self.answer(now, &reply);
        // Only now: what the command set off must not be reported before its own answer.
        self.running = None;
        match reply.end {
            End::Ok | End::Error(_) => {
                self.release_reports(now);
                self.run_next(now);
            }
            End::OkThenRestart => self.power_on(now),
            End::OkThenOff => {
                self.lose_everything();
                self.power = Power::Off;
            }
        }
    }

    /// The first bytes of an answer, the fault, and silence until the banner.
    pub(super) fn cut_command(&mut self, now: Duration) {
        self.faults.reset_in_command = false;
        self.running = None;
        self.send(now, b"\r\n+C".to_vec());
        if self.profile.application != SimApplication::PlainAt {
            let fault = self.framed("#XMODEM: FAULT,0x5,0x26D5C");
            self.send(now, fault);
        }
        self.power_on(now);
    }

    pub(super) fn core_fault(&mut self, now: Duration) {
        if self.power != Power::On {
            return;
        }
        self.restart_core(now);
        if self.profile.application != SimApplication::PlainAt {
            for text in ["#XMODEM: FAULT,0x5,0x26D5C", "#XMODEM: SHUTDOWN,0", "#XMODEM: INIT,0"] {
                self.report(now, text.to_owned());
            }
        }
    }

    /// The core forgets; the application, its echo and a running command stay.
    pub(super) fn restart_core(&mut self, now: Duration) {
        let echo = self.settings.echo;
        self.schedule.retain(|tick| !tick.is_radio());
        self.settings = Settings { echo, ..Settings::default() };
        self.radio = Radio::default();
        self.release_reports(now);
    }

    pub(super) fn answer(&mut self, now: Duration, reply: &Reply) {
        let end = match reply.end {
            End::Error(Some(number)) if self.settings.numeric_errors => format!("+CME ERROR: {number}"),
            End::Error(_) => "ERROR".to_owned(),
            End::Ok | End::OkThenRestart | End::OkThenOff => "OK".to_owned(),
        };
        let mut bytes = Vec::new();
        if self.profile.application == SimApplication::SerialModem {
            if !reply.lines.is_empty() {
                bytes.extend_from_slice(b"\r\n");
            }
            for line in &reply.lines {
                bytes.extend_from_slice(line.as_bytes());
                bytes.extend_from_slice(b"\r\n");
            }
            bytes.extend_from_slice(b"\r\n");
        } else {
            for line in &reply.lines {
                bytes.extend_from_slice(line.as_bytes());
                bytes.extend_from_slice(b"\r\n");
            }
        }
        bytes.extend_from_slice(end.as_bytes());
        bytes.extend_from_slice(b"\r\n");
        self.send(now, bytes);
    }
}
