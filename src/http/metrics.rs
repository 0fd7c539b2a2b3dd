//! `/metrics` in Prometheus' text exposition format, version 0.0.4.
//!
//! Names end in their unit, totals in `_total`. Labels come from the configuration, so there are as many series as it has
//! names; there is none a stream, which would be thousands. Identities and positions are in no metric.

use std::fmt::Write;

use super::snapshot::Snapshot;
use super::verdict::verdict;
use crate::board::{LinkPhase, ModemPhase, WriterPhase};
use crate::store::gateway::GatewayHealth;
use crate::store::queue::Health;

/// All metrics of a snapshot.
pub(super) fn render(snapshot: &Snapshot) -> String {
    let mut text = Exposition::default();
    gateway(snapshot, &mut text);
    queue(snapshot, &mut text);
    links(snapshot, &mut text);
    data_plan(snapshot, &mut text);
    radio(snapshot, &mut text);
    sensors(snapshot, &mut text);
    lanes(snapshot, &mut text);
    text.text
}

fn gateway(s: &Snapshot, text: &mut Exposition) {
    text.family("fieldgate_build_info", "gauge", "The daemon's version; always 1.");
    text.sample(&[("version", &s.gateway.version)], 1.0);
    text.family("fieldgate_uptime_seconds", "gauge", "Since the daemon started.");
    text.sample(&[], s.now.since(s.gateway.started).as_secs_f64());
    text.family("fieldgate_verdict_level", "gauge", "0 fine, 1 attention, 2 broken: what the page says.");
    text.sample(&[], f64::from(verdict(s).level as u8));
    text.family("fieldgate_clock_trusted", "gauge", "1 when something vouches for the wall clock.");
    text.sample(&[], flag(s.wall.trusted));
    if s.wall.trusted {
        text.family("fieldgate_clock_uncertainty_seconds", "gauge", "How far the wall clock may be off.");
        text.sample(&[], f64::from(s.wall.uncertainty_ms) / 1000.0);
    }
    text.family(
        "fieldgate_component_info",
        "gauge",
        "A firmware component and the version that runs; always 1.",
    );
    for (package, component) in &s.components {
        let version = component.value.version.as_deref().unwrap_or("");
        let labels = [("package", package.as_str()), ("version", version), ("state", component.value.state)];
        text.sample(&labels, 1.0);
    }
}

fn queue(s: &Snapshot, text: &mut Exposition) {
    let intake = s.queue.intake;
    for (name, help, value) in [
        ("accepted", "Readings committed and synced.", intake.accepted),
        ("refused", "Readings the store turned away.", intake.refused),
        ("coalesced", "Readings replaced by a newer one before they were sent.", intake.coalesced),
        ("missed", "Readings that were due and never came.", intake.missed),
    ] {
        text.family(&format!("fieldgate_readings_{name}_total"), "counter", help);
        text.sample(&[], number(value));
    }
    for (name, kind, help, pick) in [
        ("fieldgate_queue_readings", "gauge", "Readings that wait.", 0),
        ("fieldgate_readings_acknowledged_total", "counter", "Readings the destination has.", 1),
        ("fieldgate_readings_dropped_total", "counter", "Readings given up, each on record.", 2),
        (
            "fieldgate_readings_set_aside_total",
            "counter",
            "Readings the destination refused for their content.",
            3,
        ),
    ] {
        text.family(name, kind, help);
        for destination in &s.destinations {
            for (class, totals) in &destination.classes {
                let value = match pick {
                    0 => totals.queued,
                    1 => totals.acknowledged,
                    2 => totals.dropped,
                    _ => totals.set_aside,
                };
                text.sample(&[("destination", &destination.name), ("class", class.name())], number(value));
            }
        }
    }
    text.family("fieldgate_queue_used_bytes", "gauge", "In use in the queue's file.");
    text.sample(&[], number(s.queue.used_bytes));
    text.family("fieldgate_queue_limit_bytes", "gauge", "What the queue's file may grow to.");
    text.sample(&[], number(s.queue.max_bytes));
    text.family("fieldgate_commit_window_seconds", "gauge", "What is at risk before acceptance.");
    text.sample(&[], s.queue.commit_window.as_secs_f64());
    text.family(
        "fieldgate_readings_lost_total",
        "counter",
        "Of the dropped, those neither superseded nor thinned nor given up by people.",
    );
    for destination in &s.destinations {
        text.sample(&[("destination", &destination.name)], number(destination.books.lost()));
    }
    text.family(
        "fieldgate_flash_written_bytes_total",
        "counter",
        "Blocks that the queue wrote since the start.",
    );
    text.sample(&[], number(s.queue.flash.written));
    text.family("fieldgate_queue_log_bytes", "gauge", "In the log, not yet brought home.");
    text.sample(&[], number(s.queue.log_bytes));
    text.family(
        "fieldgate_commit_time_seconds",
        "gauge",
        "What half, and 99 of a hundred, of the last commits did not exceed.",
    );
    for (quantile, time) in [("0.5", s.queue.commit_p50), ("0.99", s.queue.commit_p99)] {
        text.sample(&[("quantile", quantile)], time.as_secs_f64());
    }
    text.family(
        "fieldgate_last_commit_seconds",
        "gauge",
        "From the first reading that waited to the end of the sync.",
    );
    text.sample(&[], s.queue.last_commit.as_secs_f64());
    text.family("fieldgate_store_health", "gauge", "1 for the state the store is in.");
    for state in [Health::Good, Health::DiskFull, Health::ReadOnly, Health::Faulty(String::new())] {
        text.sample(&[("state", state.name())], flag(state.name() == s.queue.health.name()));
    }
    text.family("fieldgate_gateway_db_good", "gauge", "1 when gateway.db takes writes.");
    text.sample(&[], flag(s.gateway_db == GatewayHealth::Good));
    text.family("fieldgate_writer_state", "gauge", "1 for the state a file's writer is in.");
    for (writer, state) in &s.writers {
        for phase in WriterPhase::ALL {
            let labels = [("writer", writer.as_str()), ("state", phase.word())];
            text.sample(&labels, flag(phase == state.value.phase));
        }
    }
}

fn links(s: &Snapshot, text: &mut Exposition) {
    type Pick = fn(&crate::board::LinkState) -> f64;
    let families: [(&str, &str, &str, Pick); 7] = [
        ("fieldgate_link_up", "gauge", "1 when the link can send.", |l| flag(l.phase == LinkPhase::Up)),
        ("fieldgate_link_sick", "gauge", "1 when the cloud refuses and somebody must act.", |l| {
            flag(l.phase == LinkPhase::Sick)
        }),
        ("fieldgate_link_in_flight_messages", "gauge", "Sent and not yet answered.", |l| {
            f64::from(l.in_flight)
        }),
        ("fieldgate_link_handshakes_total", "counter", "Handshakes completed.", |l| number(l.handshakes)),
        ("fieldgate_link_sent_bytes_total", "counter", "Payload of UDP or TCP sent.", |l| number(l.bytes_up)),
        ("fieldgate_link_received_bytes_total", "counter", "Payload of UDP or TCP received.", |l| {
            number(l.bytes_down)
        }),
        ("fieldgate_link_packets_total", "counter", "Datagrams or segments, both ways.", |l| {
            number(l.packets)
        }),
    ];
    for (name, kind, help, pick) in families {
        text.family(name, kind, help);
        for destination in &s.destinations {
            if let Some(link) = &destination.link {
                text.sample(&[("destination", &destination.name)], pick(link));
            }
        }
    }
    text.family(
        "fieldgate_readings_lost_beyond_acceptance_total",
        "counter",
        "Readings a destination acknowledged and kept nowhere, at most.",
    );
    for destination in &s.destinations {
        if let Some(delivery) = &destination.delivery {
            text.sample(&[("destination", &destination.name)], number(delivery.lost));
        }
    }
    text.family("fieldgate_trouble", "gauge", "1 for what is wrong with a destination now, by name.");
    for destination in &s.destinations {
        for (_, trouble) in &destination.troubles {
            let labels = [
                ("destination", destination.name.as_str()),
                ("state", trouble.kind.name()),
                ("about", trouble.about),
            ];
            text.sample(&labels, 1.0);
        }
    }
}

fn data_plan(s: &Snapshot, text: &mut Exposition) {
    let Some(plan) = s.data_plan.as_ref().map(|stamped| &stamped.value) else { return };
    type Pick = fn(&crate::board::PlanPeriod) -> Option<u64>;
    let families: [(&str, &str, Pick); 3] = [
        ("fieldgate_data_plan_spent_bytes", "Counted against the limit, headers included.", |p| {
            Some(p.bytes)
        }),
        ("fieldgate_data_plan_limit_bytes", "The limit, with what was carried over.", |p| p.limit),
        ("fieldgate_data_plan_forecast_bytes", "At the end, if it goes on like this.", |p| p.forecast),
    ];
    for (name, help, pick) in families {
        text.family(name, "gauge", help);
        let periods = [
            ("home", "day", plan.day),
            ("home", "month", plan.month),
            ("roaming", "month", plan.roaming_month),
        ];
        for (network, period, state) in periods {
            if let Some(bytes) = pick(&state) {
                text.sample(&[("network", network), ("period", period)], number(bytes));
            }
        }
    }
    text.family("fieldgate_data_plan_purpose_bytes", "gauge", "Spent this month, both networks.");
    for (purpose, bytes) in &plan.by_purpose {
        text.sample(&[("purpose", purpose)], number(*bytes));
    }
    if let Some(others) = plan.others {
        text.family(
            "fieldgate_data_plan_others_bytes",
            "gauge",
            "By others over the same path since the start.",
        );
        text.sample(&[("counter", others.counter.name())], number(others.bytes));
    }
}

fn radio(s: &Snapshot, text: &mut Exposition) {
    if let Some(state) = &s.modem_state {
        text.family("fieldgate_modem_up", "gauge", "1 when the modem answers and reports.");
        text.sample(&[], flag(state.value.phase == ModemPhase::Up));
    }
    if let Some(registration) = &s.registration {
        text.family("fieldgate_modem_registered", "gauge", "1 when registered, at home or roaming.");
        text.sample(&[], flag(registration.value.registered));
        text.family("fieldgate_modem_roaming", "gauge", "1 when roaming.");
        text.sample(&[], flag(registration.value.roaming));
    }
    if let Some(signal) = &s.signal {
        let signal = &signal.value;
        for (name, help, value) in [
            ("fieldgate_modem_rsrp_dbm", "Reference signal received power.", signal.rsrp_dbm),
            ("fieldgate_modem_rsrq_db", "Reference signal received quality.", signal.rsrq_db),
            ("fieldgate_modem_snr_db", "Signal to noise ratio.", signal.snr_db),
        ] {
            if let Some(value) = value {
                text.family(name, "gauge", help);
                text.sample(&[], f64::from(value));
            }
        }
    }
    if let Some(millivolts) = &s.modem_millivolts {
        text.family("fieldgate_modem_supply_volts", "gauge", "Supply voltage at the modem.");
        text.sample(&[], f64::from(millivolts.value) / 1000.0);
    }
    if let Some(celsius) = &s.modem_celsius {
        text.family("fieldgate_modem_temperature_celsius", "gauge", "Temperature of the modem.");
        text.sample(&[], f64::from(celsius.value));
    }
}

fn sensors(s: &Snapshot, text: &mut Exposition) {
    type Pick = fn(&crate::board::SlaveState) -> f64;
    let families: [(&str, &str, &str, Pick); 3] = [
        ("fieldgate_slave_answering", "gauge", "1 when it answered the last time.", |slave| {
            flag(slave.answering)
        }),
        ("fieldgate_slave_answers_total", "counter", "Usable answers.", |slave| number(slave.answers)),
        ("fieldgate_slave_failures_total", "counter", "Polls without one.", |slave| number(slave.failures)),
    ];
    for (name, kind, help, pick) in families {
        text.family(name, kind, help);
        for (slave, state) in &s.slaves {
            text.sample(&[("bus", &state.value.bus), ("slave", slave)], pick(&state.value));
        }
    }
}

fn lanes(s: &Snapshot, text: &mut Exposition) {
    text.family("fieldgate_lane_fine", "gauge", "1 when the lane advances, or waits for a named reason.");
    for (lane, state) in &s.lanes {
        let silent = s.silent_lanes.iter().any(|(name, _)| name == lane);
        text.sample(&[("lane", lane)], flag(state.value.fine && !silent));
    }
    text.family("fieldgate_lane_excused", "gauge", "1 when no restart helped the lane: it is tried hourly.");
    for (lane, state) in &s.lanes {
        text.sample(&[("lane", lane)], flag(state.value.excused));
    }
    text.family("fieldgate_lane_restarts_total", "counter", "Restarts since the daemon started.");
    for (lane, state) in &s.lanes {
        text.sample(&[("lane", lane)], f64::from(state.value.restarts));
    }
}

fn flag(yes: bool) -> f64 {
    f64::from(u8::from(yes))
}

#[allow(clippy::cast_precision_loss, reason = "Prometheus keeps every sample as a double")]
fn number(n: u64) -> f64 {
    n as f64
}

/// Writes families and their samples; a family's samples follow it.
#[derive(Default)]
struct Exposition {
    text: String,
    /// The family that samples belong to.
    name: String,
}

impl Exposition {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        debug_assert!(!help.contains(['\\', '\n']), "a help text would need escaping");
        // Writing to a String does not fail.
        let _ = write!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        self.name = name.to_owned();
    }

    fn sample(&mut self, labels: &[(&str, &str)], value: f64) {
        self.text.push_str(&self.name);
        for (n, (label, text)) in labels.iter().enumerate() {
            self.text.push(if n == 0 { '{' } else { ',' });
            self.text.push_str(label);
            self.text.push_str("=\"");
            for c in text.chars() {
                match c {
                    '\\' => self.text.push_str("\\\\"),
                    '"' => self.text.push_str("\\\""),
                    '\n' => self.text.push_str("\\n"),
                    other => self.text.push(other),
                }
            }
            self.text.push('"');
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        let _ = writeln!(self.text, " {value}");
    }
}
