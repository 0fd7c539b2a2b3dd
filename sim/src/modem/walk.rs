//! The radio's walk from `AT+CFUN=1` to registered and back, told in reports where they were subscribed to.

use core::time::Duration;

use super::encode;
use super::radio::Registration;
use super::{SimModem, Tick};

/// The radio falls idle this long after the last traffic.
const RADIO_IDLE: Duration = Duration::from_secs(10);

impl SimModem {
    pub(super) fn after(&mut self, now: Duration, low_ms: u64, high_ms: u64, tick: Tick) {
        let wait = self.rng.between(low_ms, high_ms);
        self.schedule.add(now + Duration::from_millis(wait), tick);
    }

    pub(super) fn sim_checked(&mut self, now: Duration) {
        if self.settings.sim {
            let line = if self.sim_works() { "%XSIM: 1" } else { "%XSIM: 0,9" };
            self.report(now, line.to_owned());
        }
        if !self.sim_works() {
            self.leave_network(now, Registration::UiccFailure);
        } else if now < self.faults.network_lost_until {
            self.leave_network(now, Registration::NoCoverage);
        } else {
            self.search(now);
        }
    }

    pub(super) fn search(&mut self, now: Duration) {
        self.schedule.retain(|tick| !tick.is_radio());
        self.radio.registration = Registration::Looking;
        self.after(now, 400, 1500, Tick::CellFound);
    }

    pub(super) fn cell_found(&mut self, now: Duration) {
        self.report_event(now, "SEARCH STATUS 1");
        self.radio.drift(&mut self.rng);
        self.report_signal(now);
        self.set_registration(now, Registration::Searching);
        self.after(now, 3000, 6000, Tick::SignalStep);
        let attach = self.rng.between(1500, 4000);
        self.schedule.add(now + Duration::from_millis(attach), Tick::SearchDone);
        self.schedule.add(now + Duration::from_millis(attach + 20), Tick::Registered);
        self.wake_radio(now);
    }

    pub(super) fn registered(&mut self, now: Duration) {
        self.set_registration(now, Registration::Registered);
        self.wake_radio(now);
        self.after(now, 50, 300, Tick::PdnUp);
        self.network_time(now);
    }

    /// What the network says of the time, if it does and somebody wants to know.
    pub(super) fn network_time(&mut self, now: Duration) {
        let registered = self.radio.registration == Registration::Registered;
        if !registered || !self.settings.time || !self.profile.sends_time || now < self.tells_time_from {
            return;
        }
        let wall = self.unix_at_origin.saturating_add(now.as_secs());
        if let Some(line) = encode::network_time(wall, self.profile.quarter_hours) {
            self.report(now, line);
        }
    }

    /// What the modem's own clock says, once the network could set it; `None` before.
    pub(super) fn clock(&self, now: Duration) -> Option<String> {
        let registered = self.radio.registration == Registration::Registered;
        if !registered || now < self.tells_time_from {
            return self.profile.unset_clock.as_ref().map(|time| format!("+CCLK: \"{time}\""));
        }
        let wall = self.unix_at_origin.saturating_add(now.as_secs());
        encode::clock(wall, self.profile.quarter_hours, self.profile.clock_is_local)
    }

    pub(super) fn pdn_up(&mut self, now: Duration) {
        self.radio.pdn = true;
        if self.settings.packet_events {
            self.report(now, "+CGEV: ME PDN ACT 0,0".to_owned());
        }
    }

    pub(super) fn signal_step(&mut self, now: Duration) {
        self.radio.drift(&mut self.rng);
        self.report_signal(now);
        self.after(now, 3000, 6000, Tick::SignalStep);
    }

    /// No cell any more, for the reason that `registration` is.
    pub(super) fn leave_network(&mut self, now: Duration, registration: Registration) {
        self.schedule.retain(|tick| !tick.is_radio());
        let had_pdn = std::mem::take(&mut self.radio.pdn);
        let had_signal = self.radio.signal.take().is_some();
        self.set_connected(now, false);
        if had_signal {
            self.report_signal(now);
        }
        if had_pdn && self.settings.packet_events {
            self.report(now, "+CGEV: ME PDN DEACT 0".to_owned());
        }
        if registration == Registration::NoCoverage {
            self.report_event(now, "SEARCH STATUS 2");
        }
        self.set_registration(now, registration);
    }

    pub(super) fn set_registration(&mut self, now: Duration, registration: Registration) {
        if self.radio.registration == registration {
            return;
        }
        self.radio.registration = registration;
        let level = self.settings.registration;
        if level > 0 {
            let tail = encode::registration(level, &self.radio, &self.profile.network);
            self.report(now, format!("+CEREG: {tail}"));
        }
    }

    pub(super) fn report_signal(&mut self, now: Duration) {
        if self.settings.signal {
            let line = encode::signal_report(&self.radio);
            self.report(now, line);
        }
    }

    pub(super) fn wake_radio(&mut self, now: Duration) {
        self.schedule.retain(|tick| !matches!(tick, Tick::RadioIdle));
        self.set_connected(now, true);
        self.schedule.add(now + RADIO_IDLE, Tick::RadioIdle);
    }

    pub(super) fn set_connected(&mut self, now: Duration, connected: bool) {
        if self.radio.connected == connected {
            return;
        }
        self.radio.connected = connected;
        if self.settings.signalling {
            self.report(now, format!("+CSCON: {}", u8::from(connected)));
        }
    }
}
