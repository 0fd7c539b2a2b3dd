//! Numbers, values, units and states as people write them: the same words wherever they stand.

use std::time::Duration;

use super::recent::{BY_PEOPLE, SUPERSEDED, THINNED};
use crate::board::{LinkPhase, ModemPhase, SignalGrade, in_words};
use crate::reading::Value;

pub(super) fn shown(value: &Value, decimals: u8) -> String {
    match value {
        Value::Steps(steps) => steps.to_string(),
        Value::Float(number) => format!("{number:.*}", usize::from(decimals.min(9))).replacen('-', "−", 1),
        Value::Bool(true) => "on".into(),
        Value::Bool(false) => "off".into(),
        Value::Text(text) => text.to_string(),
        Value::Absent => "no value".into(),
    }
}

/// A UCUM code as people write it.
pub(super) fn unit(ucum: &str) -> &str {
    match ucum {
        "Cel" => "°C",
        "[degF]" => "°F",
        "kW.h" => "kWh",
        "W.h" => "Wh",
        "m3/h" => "m³/h",
        "m3" => "m³",
        "Ohm" => "Ω",
        "deg" => "°",
        other => other,
    }
}

pub(super) fn dbm(value: f32) -> String {
    format!("{} dBm", minus(value))
}

pub(super) fn minus(value: f32) -> String {
    format!("{value:.0}").replacen('-', "−", 1)
}

pub(super) fn capital(words: &str) -> String {
    let mut letters = words.chars();
    letters.next().map(char::to_uppercase).into_iter().flatten().chain(letters).collect()
}

/// `1 234 567`, with narrow no-break spaces.
pub(super) fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() * 2);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

#[allow(clippy::cast_precision_loss, reason = "for people, to three digits")]
pub(super) fn bytes(n: u64) -> String {
    match n {
        0..1000 => format!("{n} B"),
        1000..1_000_000 => format!("{:.1} kB", n as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", n as f64 / 1e6),
        _ => format!("{:.1} GB", n as f64 / 1e9),
    }
}

pub(super) fn millis(duration: Duration) -> String {
    match duration.as_millis() {
        ms @ 0..1000 => format!("{ms} ms"),
        ms if ms % 1000 == 0 => format!("{} s", ms / 1000),
        _ => format!("{:.1} s", duration.as_secs_f64()),
    }
}

/// `1 reading is`, `12 readings are`.
pub(super) fn count(n: u64, one: &str, many: &str) -> String {
    format!("{} {}", grouped(n), if n == 1 { one } else { many })
}

/// Why readings were given up that are lost: the reasons on record in words, each with its count. What is no loss is left out.
pub(super) fn given_up_why(given_up: &[(String, u64)]) -> String {
    let is_loss = |reason: &str| ![SUPERSEDED, THINNED].contains(&reason) && !BY_PEOPLE.contains(&reason);
    let lost = given_up.iter().filter(|(reason, _)| is_loss(reason));
    let told: Vec<_> =
        lost.map(|(reason, count)| format!("{} {}", grouped(*count), reason_words(reason))).collect();
    if told.is_empty() { "the reasons are on record".to_owned() } else { told.join(", ") }
}

/// A reason as the store writes it.
fn reason_words(reason: &str) -> &str {
    match reason {
        "age" => "too old",
        "quota" => "no room in the queue",
        "class_quota" => "no room in their class",
        "disk_full" => "no room on the disk",
        "set_aside_limit" => "too many set aside",
        other => other,
    }
}

/// The word for a phase, in the API and on the page.
pub(super) fn phase_word(phase: LinkPhase) -> &'static str {
    match phase {
        LinkPhase::Idle => "idle",
        LinkPhase::Connecting => "connecting",
        LinkPhase::Up => "up",
        LinkPhase::Silent => "silent",
        LinkPhase::Waiting => "waiting",
        LinkPhase::Sick => "sick",
    }
}

/// The word for a grade.
pub(super) fn grade_word(grade: SignalGrade) -> &'static str {
    match grade {
        SignalGrade::Unknown => "unknown",
        SignalGrade::VeryPoor => "very poor",
        SignalGrade::Poor => "poor",
        SignalGrade::Fair => "fair",
        SignalGrade::Good => "good",
        SignalGrade::Excellent => "excellent",
    }
}

/// The word for where the modem stands.
pub(super) fn modem_word(phase: ModemPhase) -> &'static str {
    match phase {
        ModemPhase::NoPort => "no port",
        ModemPhase::Probing => "probing",
        ModemPhase::Starting => "starting",
        ModemPhase::Up => "up",
        ModemPhase::Doubtful => "doubtful",
        ModemPhase::Restarted => "restarted",
        ModemPhase::Bootloader => "bootloader",
    }
}

/// Over how long something was counted.
pub(super) fn within(over: Duration) -> String {
    match over.as_secs() {
        0..60 => "just now".to_owned(),
        _ => format!("in the last {}", in_words(over)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_and_sizes_rounded_for_people() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(1_234_567), "1.2 MB");
        assert_eq!(millis(Duration::from_millis(1500)), "1.5 s");
        assert_eq!(millis(Duration::from_secs(1)), "1 s");
    }

    #[test]
    fn values_read_as_on_an_instrument() {
        assert_eq!(shown(&Value::Float(-21.74), 1), "−21.7");
        assert_eq!(shown(&Value::Bool(true), 0), "on");
        assert_eq!(shown(&Value::Absent, 0), "no value");
        assert_eq!(unit("Cel"), "°C");
        assert_eq!(unit("kPa"), "kPa");
    }
}
