//! What goes out: reports, held back by the Serial Modem and blurted out by its elders, and noise.

use core::time::Duration;

use super::profile::SimApplication;
use super::{Power, SimModem, Tick};

/// Bytes of reports held back; beyond it the backlog is dropped.
const HELD_MAX: usize = 4096;
/// Pieces of output nobody fetches.
const OUTPUT_MAX: usize = 1024;
/// How long input must be quiet before held reports come out although a command is partly typed.
const QUIET: Duration = Duration::from_millis(100);
const QUIET_WITH_ECHO: Duration = Duration::from_millis(1000);

impl SimModem {
    pub(super) fn report(&mut self, now: Duration, line: String) {
        let held: usize = self.held.iter().map(String::len).sum();
        if held + line.len() > HELD_MAX {
            self.held.clear();
        }
        self.held.push(line);
        self.release_reports(now);
    }

    pub(super) fn release_reports(&mut self, now: Duration) {
        if self.held.is_empty() || self.power != Power::On || now < self.faults.stalled_until {
            return;
        }
        if self.profile.application == SimApplication::SerialModem {
            if self.running.is_some() {
                return;
            }
            let quiet = if self.settings.echo { QUIET_WITH_ECHO } else { QUIET };
            if self.reader.is_partial() && now < self.last_input + quiet {
                self.schedule.add(self.last_input + quiet, Tick::ReleaseReports);
                return;
            }
        }
        for line in std::mem::take(&mut self.held) {
            let bytes = self.framed(&line);
            self.send(now, bytes);
        }
    }

    pub(super) fn report_event(&mut self, now: Duration, event: &str) {
        if self.settings.modem_events > 0 {
            self.report(now, format!("%MDMEV: {event}"));
        }
    }

    pub(super) fn framed(&self, line: &str) -> Vec<u8> {
        if self.profile.application == SimApplication::SerialModem {
            format!("\r\n{line}\r\n").into_bytes()
        } else {
            format!("{line}\r\n").into_bytes()
        }
    }

    pub(super) fn send(&mut self, now: Duration, bytes: Vec<u8>) {
        if now >= self.faults.silent_until && self.output.len() < OUTPUT_MAX {
            self.output.push_back(bytes);
        }
    }

    /// What a line picks up around power changes: breaks, framing errors, the odd printable byte, never a line end.
    pub(super) fn send_noise(&mut self, now: Duration) {
        let length = self.rng.between(2, 14);
        let bytes = (0..length)
            .map(|_| match self.rng.between(0, 9) {
                0..=2 => 0x00,
                3..=5 => 0xff,
                6..=8 => u8::try_from(self.rng.between(0x80, 0xfe)).unwrap_or(0xfe),
                _ => u8::try_from(self.rng.between(0x21, 0x7e)).unwrap_or(b'~'),
            })
            .collect();
        self.send(now, bytes);
    }
}
