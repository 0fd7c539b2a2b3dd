//! What each section of the page shows, as rows of a label, a value and a note.

use std::time::Duration;

use super::{Bounds, Mark, Row, Stream};
use crate::board::{
    ClockCorrection, ClockState, Hidden, LinkPhase, SignalGrade, Stamped, Weight, WriterPhase, ago, in_words,
};
use crate::clock::Wall;
use crate::gather::in_front;
use crate::http::snapshot::Snapshot;
use crate::http::words::{
    bytes, capital, count, dbm, grade_word, grouped, millis, minus, modem_word, phase_word, shown, unit,
};
use crate::reading::Quality;
use crate::store::gateway::GatewayHealth;

pub(super) fn cloud(s: &Snapshot, bounds: Bounds) -> Vec<Row> {
    let mut rows = Vec::new();
    for destination in &s.destinations {
        let Some(link) = &destination.link else {
            rows.push(bounds.row(&destination.name, "not started", "", Mark::Look));
            continue;
        };
        let mark = match link.phase {
            LinkPhase::Up => Mark::Fine,
            LinkPhase::Idle | LinkPhase::Connecting | LinkPhase::Waiting => Mark::Look,
            LinkPhase::Silent | LinkPhase::Sick => Mark::Bad,
        };
        rows.push(bounds.row(&destination.name, &capital(phase_word(link.phase)), &link.words, mark));
        for (_, trouble) in &destination.troubles {
            let mark = if trouble.kind.weight() == Weight::Look { Mark::Look } else { Mark::Bad };
            let times = match trouble.times {
                1 => String::new(),
                times => format!(" ({} times)", grouped(times)),
            };
            let note = format!("{}{times}. Next: {}", trouble.words, trouble.next_step);
            rows.push(bounds.row(trouble.kind.name(), trouble.about, &note, mark));
        }
        let traffic = format!("{} up, {} down", bytes(link.bytes_up), bytes(link.bytes_down));
        let session = format!(
            "{} since the start, {} in flight, {}",
            count(link.handshakes, "handshake", "handshakes"),
            count(u64::from(link.in_flight), "message", "messages"),
            link.last_heard.map_or_else(|| "never heard".into(), |at| format!("heard {}", ago(s.now, at))),
        );
        rows.push(bounds.row("Traffic", &traffic, &session, Mark::Plain));
    }
    rows
}

/// Spending and what waits for it. Nothing without a limit.
pub(super) fn data_plan(s: &Snapshot, bounds: Bounds) -> Vec<Row> {
    let Some(plan) = s.data_plan.as_ref().map(|stamped| &stamped.value).filter(|plan| plan.limited) else {
        return Vec::new();
    };
    let mut rows = Vec::new();
    for (label, period) in
        [("Today", &plan.day), ("This month", &plan.month), ("Roaming", &plan.roaming_month)]
    {
        let Some(limit) = period.limit else { continue };
        let value = format!("{} of {}", bytes(period.bytes), bytes(limit));
        let forecast = period.forecast.map_or_else(
            || "no forecast yet".to_owned(),
            |forecast| format!("{} at the end, if it goes on like this", bytes(forecast)),
        );
        let mark = match period.bytes >= limit {
            _ if limit == 0 => Mark::Plain,
            true => Mark::Bad,
            false if period.forecast.is_some_and(|forecast| forecast > limit) => Mark::Look,
            false => Mark::Fine,
        };
        rows.push(bounds.row(label, &value, &forecast, mark));
    }
    let mut by: Vec<_> = plan.by_purpose.iter().filter(|(_, spent)| *spent > 0).collect();
    by.sort_by_key(|(_, spent)| std::cmp::Reverse(*spent));
    let by: Vec<_> =
        by.iter().map(|(name, spent)| format!("{} {}", name.replace('_', " "), bytes(*spent))).collect();
    if !by.is_empty() {
        rows.push(bounds.row("Spent on", "", &by.join(", "), Mark::Plain));
    }
    if let Some(others) = plan.others {
        let who = format!("over the same path since the start, by the {}'s counters", others.counter.name());
        rows.push(bounds.row("Others", &bytes(others.bytes), &who, Mark::Plain));
    }
    for (what, until) in &plan.waits {
        let left = format!("asked again in {}", in_words(until.since(s.now)));
        rows.push(bounds.row("Waits", what, &left, Mark::Look));
    }
    for (destination, factor) in &plan.thinned {
        let what =
            format!("one reading in {factor} of the backlog is sent, the others are given up on record");
        rows.push(bounds.row("Thinned", destination, &what, Mark::Look));
    }
    rows
}

pub(super) fn radio(s: &Snapshot, bounds: Bounds) -> Vec<Row> {
    let mut rows = Vec::new();
    if let Some(Stamped { value, .. }) = &s.modem_state {
        let mark = if value.fine { Mark::Fine } else { Mark::Bad };
        rows.push(bounds.row("Modem", &capital(modem_word(value.phase)), &value.words, mark));
    }
    if let Some(Stamped { value, at }) = &s.registration {
        let mark = if value.registered { Mark::Fine } else { Mark::Bad };
        let age = format!("asked {}", ago(s.now, *at));
        rows.push(bounds.row("Network", &capital(&value.words), &age, mark));
        let operator = value.operator.as_deref().unwrap_or("unknown");
        let band = value.band.map_or_else(String::new, |band| format!("band {band}"));
        let access = [value.access.as_deref().unwrap_or_default(), &band].join(" ");
        rows.push(bounds.row("Operator", operator, access.trim(), Mark::Plain));
    }
    if let Some(Stamped { value, at }) = &s.signal {
        let mark = match value.grade {
            SignalGrade::VeryPoor => Mark::Bad,
            SignalGrade::Poor => Mark::Look,
            SignalGrade::Unknown => Mark::Plain,
            SignalGrade::Fair | SignalGrade::Good | SignalGrade::Excellent => Mark::Fine,
        };
        let mut parts: Vec<String> = Vec::new();
        parts.extend(value.rsrp_dbm.map(|v| format!("RSRP {}", dbm(v))));
        parts.extend(value.rsrq_db.map(|v| format!("RSRQ {} dB", minus(v))));
        parts.extend(value.snr_db.map(|v| format!("SNR {} dB", minus(v))));
        parts.push(format!("measured {}", ago(s.now, *at)));
        rows.push(bounds.row("Signal", &capital(grade_word(value.grade)), &parts.join(", "), mark));
    }
    if let Some(Stamped { value, .. }) = &s.modem {
        let firmware = value.firmware.as_deref().unwrap_or_default();
        let hardware = value.hardware.as_deref().unwrap_or("Modem");
        rows.push(bounds.row(hardware, &value.application, firmware, Mark::Plain));
        let shown = |name: &str, number: &Option<Hidden>| {
            number.as_ref().map(|number| format!("{name} •••{}", number.masked().trim_start_matches('•')))
        };
        let numbers: Vec<_> =
            [shown("IMEI", &value.imei), shown("ICCID", &value.iccid), shown("IMSI", &value.imsi)]
                .into_iter()
                .flatten()
                .collect();
        if !numbers.is_empty() {
            rows.push(bounds.row("Numbers", "Masked", &numbers.join(", "), Mark::Plain));
        }
    }
    if let Some(millivolts) = &s.modem_millivolts {
        let celsius =
            s.modem_celsius.as_ref().map_or_else(String::new, |c| format!("{} °C at the modem", c.value));
        let volts = format!("{:.2} V", f64::from(millivolts.value) / 1000.0);
        rows.push(bounds.row("Supply", &volts, &celsius, Mark::Plain));
    }
    rows
}

pub(super) fn slaves(s: &Snapshot, bounds: Bounds) -> Vec<Row> {
    s.slaves
        .iter()
        .map(|(name, Stamped { value, .. })| {
            let (word, mark) = match (value.answering, &value.refusal) {
                (true, None) => ("Answers", Mark::Fine),
                (true, Some(_)) => ("Refuses", Mark::Look),
                (false, _) => ("Silent", Mark::Bad),
            };
            let note = format!("bus {}: {}", value.bus, value.words);
            bounds.row(name, word, &note, mark)
        })
        .collect()
}

pub(super) fn streams(s: &Snapshot, bounds: Bounds) -> (Vec<Stream>, usize) {
    let most = bounds.rows(48);
    let mut all: Vec<_> = s.latest.iter().collect();
    if all.len() > most {
        all = in_front(all, |(_, latest)| latest.value.quality != Quality::Good);
    }
    let more = all.len().saturating_sub(most);
    let shown = all
        .into_iter()
        .take(most)
        .map(|(name, Stamped { value: latest, at })| Stream {
            name: bounds.text(name, 96),
            value: bounds.text(&shown(&latest.value, latest.decimals), 48),
            unit: bounds.text(unit(&latest.unit), 24),
            age: ago(s.now, *at),
            doubt: match latest.quality {
                Quality::Good => "",
                Quality::OutOfRange => "out of range",
                Quality::DeviceInvalid => "the device has no value",
                Quality::Late => "late",
            },
        })
        .collect();
    (shown, more)
}

pub(super) fn firmware(s: &Snapshot, bounds: Bounds) -> Vec<Row> {
    s.components
        .values()
        .map(|Stamped { value, .. }| {
            let version = value.version.as_deref().unwrap_or("not known yet");
            let wanted = value
                .target
                .as_ref()
                .filter(|target| value.version.as_ref() != Some(target))
                .map_or_else(String::new, |target| format!(", wanted: {target}"));
            let state = value.state.to_ascii_lowercase();
            let reason = if value.reason.is_empty() { String::new() } else { format!(", {}", value.reason) };
            bounds.row(&value.package, version, &format!("{state}{reason}{wanted}"), Mark::Plain)
        })
        .collect()
}

/// What a cloud set, instead of the configuration; and what of it is not in force.
pub(super) fn settings(s: &Snapshot, bounds: Bounds) -> Vec<Row> {
    let Some(Stamped { value: settings, .. }) = &s.settings else { return Vec::new() };
    let set = settings
        .in_force
        .iter()
        .map(|(key, value)| bounds.row(key, value, "in force instead of what is configured", Mark::Plain));
    let refused = settings.refused.iter().map(|(key, why)| {
        let note = format!("{why}. Next: correct it in the cloud's console, if it is meant for this gateway");
        bounds.row(key, "Not in force", &note, Mark::Look)
    });
    set.chain(refused).collect()
}

/// Whose time it is, how far it may be off, and who says another.
fn clock(wall: Wall, state: Option<ClockState>) -> (&'static str, String, Mark) {
    let past = state.and_then(|state| state.in_the_past);
    let past =
        past.map(|source| format!("; {} says a time that has passed", source.words())).unwrap_or_default();
    if !wall.trusted {
        return ("Not set", format!("nothing vouches for it yet{past}"), Mark::Look);
    }
    let within = millis(Duration::from_millis(wall.uncertainty_ms.into()));
    let by = state.and_then(|state| state.source).map(|source| format!(" by {}", source.words()));
    let right = format!("right within {within}{}{past}", by.unwrap_or_default());
    match state.and_then(|state| state.contradicted_by) {
        Some(other) => {
            let by = Duration::from_millis(other.ahead_ms.unsigned_abs());
            let by = if by < Duration::from_secs(60) { millis(by) } else { in_words(by) };
            let direction = if other.ahead_ms < 0 { "behind" } else { "ahead" };
            let words = format!("{right}; {} is {by} {direction} and not followed", other.source.words());
            ("Contradicted", words, Mark::Look)
        }
        None if past.is_empty() => ("Trusted", right, Mark::Fine),
        None => ("Trusted", right, Mark::Look),
    }
}

/// What was wrong, and that nothing need be done for it.
fn correction(corrected: &ClockCorrection) -> String {
    let by = in_words(Duration::from_millis(corrected.ahead_ms.unsigned_abs()));
    let (believed, now) = (corrected.believed.words(), corrected.now.words());
    let wrong = if corrected.ahead_ms < 0 { "ahead of" } else { "behind" };
    format!("{believed} was {by} {wrong} {now}; the destinations are told of readings dated with it")
}

pub(super) fn daemon(s: &Snapshot, bounds: Bounds) -> Vec<Row> {
    let up = format!("running for {}", in_words(s.now.since(s.gateway.started)));
    let clock = clock(s.wall, s.clock.as_ref().map(|clock| clock.value));
    let mut rows = vec![
        bounds.row("fieldgate", &s.gateway.version, &up, Mark::Plain),
        bounds.row("Clock", clock.0, &clock.1, clock.2),
    ];
    if s.queue.undated > 0 {
        let words = "captured since the start of the machine; they are dated once the time is known";
        let value = grouped(s.queue.undated);
        rows.push(bounds.row("Readings without a time", &value, words, Mark::Look));
    }
    if let Some(corrected) = s.clock.as_ref().and_then(|clock| clock.value.corrected) {
        rows.push(bounds.row(
            "Time corrected",
            &ago(s.now, corrected.at),
            &correction(&corrected),
            Mark::Plain,
        ));
    }
    if let GatewayHealth::Faulty(detail) = &s.gateway_db {
        rows.push(bounds.row("gateway.db", "Takes no writes", detail, Mark::Bad));
    }
    for (name, Stamped { value, .. }) in &s.writers {
        let mark = match value.phase {
            WriterPhase::Working => Mark::Fine,
            WriterPhase::SlowFsync => Mark::Look,
            WriterPhase::Stuck => Mark::Bad,
        };
        rows.push(bounds.row(&format!("Writer of {name}"), value.phase.word(), &value.words, mark));
    }
    for (name, Stamped { value, .. }) in &s.lanes {
        let silent = s.silent_lanes.iter().find(|(silent, _)| silent == name);
        let (word, mark) = match (silent, value.fine) {
            _ if value.excused => ("Hangs; tried hourly", Mark::Bad),
            (Some(_), _) => ("Hangs", Mark::Bad),
            (None, false) => ("Fails", Mark::Bad),
            (None, true) => ("Works", Mark::Fine),
        };
        let restarts = match value.restarts {
            0 => String::new(),
            1 => "; restarted once".into(),
            n => format!("; restarted {n} times"),
        };
        rows.push(bounds.row(name, word, &format!("{}{restarts}", value.words), mark));
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::sources::{Contradiction, Source};

    #[test]
    fn the_clock_says_whose_time_it_is_and_who_says_another() {
        let wall = Wall { unix_ms: 0, uncertainty_ms: 500, trusted: true };
        let fine = ClockState {
            source: Some(Source::Ntp),
            contradicted_by: None,
            in_the_past: None,
            corrected: None,
        };
        assert_eq!(clock(wall, Some(fine)).1, "right within 500 ms by a time server");
        let by = |ahead_ms| Contradiction { source: Source::Modem, ahead_ms };
        let other = |ahead_ms| ClockState { contradicted_by: Some(by(ahead_ms)), ..fine };
        let (word, detail, mark) = clock(wall, Some(other(-10_800_000)));
        assert!(word == "Contradicted" && mark == Mark::Look);
        assert_eq!(
            detail,
            "right within 500 ms by a time server; the cellular network is 3 h 0 min behind and not followed"
        );
        let nobody = ClockState { source: None, in_the_past: Some(Source::Operator), ..fine };
        let unknown = Wall { trusted: false, ..wall };
        assert_eq!(
            clock(unknown, Some(nobody)).1,
            "nothing vouches for it yet; the operator's word says a time that has passed"
        );
    }

    #[test]
    fn a_correction_says_who_was_wrong_by_how_much_and_which_way() {
        let corrected = |ahead_ms| ClockCorrection {
            at: crate::clock::Mono(0),
            ahead_ms,
            believed: Source::Modem,
            now: Source::Ntp,
        };
        assert_eq!(
            correction(&corrected(10_800_000)),
            "the cellular network was 3 h 0 min behind a time server; the destinations are told of readings dated with it"
        );
        assert!(correction(&corrected(-10_800_000)).contains("ahead of"));
    }
}
