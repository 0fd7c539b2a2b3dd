//! `/`: the page that tells a technician on a phone in five seconds whether this gateway is fine and, if not, why.
//!
//! One request, no script, nothing from elsewhere: HTML rendered here, its style inline and named by hash in the content
//! policy. Every text is escaped by the template. The page never exceeds [`MOST_BYTES`]: lists show their most important
//! rows and say how many they leave out; the API has them all.

use std::time::Duration;

use askama::Template;
use axum::http::HeaderValue;
use sha2::{Digest, Sha256};

use super::api::{grade_word, phase_word};
use super::recent;
use super::snapshot::{Destination, Snapshot};
use super::verdict::{Level, Verdict, verdict};
use crate::board::{Hidden, LinkPhase, SignalGrade, Stamped, ago, in_words};
use crate::clock::Mono;
use crate::reading::{Quality, Value};
use crate::store::queue::Health;

/// No page is longer.
pub(super) const MOST_BYTES: usize = 48 * 1024;
const STYLE: &str = include_str!("../../templates/page.css");

/// The page as HTML; `refreshes` lets it reload itself.
///
/// # Errors
/// When the template does not render.
pub(super) fn render(snapshot: &Snapshot, refreshes: bool) -> Result<String, askama::Error> {
    let mut html = Page::new(snapshot, refreshes, 1).render()?;
    // Names of any length and lists of any length: shown shorter until it fits.
    for share in [2, 4, 8, 16] {
        if html.len() <= MOST_BYTES {
            break;
        }
        html = Page::new(snapshot, refreshes, share).render()?;
    }
    Ok(html)
}

/// What a browser may do with anything from here: show it, with the page's own style.
pub(super) fn content_policy() -> HeaderValue {
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{}'; img-src data:; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'",
        base64(&Sha256::digest(STYLE.as_bytes())),
    );
    // Base64 and the words above are all visible ASCII.
    HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
}

/// RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let group =
            chunk.iter().enumerate().fold(0u32, |sum, (n, byte)| sum | (u32::from(*byte) << (16 - 8 * n)));
        for n in 0..4 {
            let letter = LETTERS.get((group >> (18 - 6 * n)) as usize & 63).copied().unwrap_or(b'=');
            text.push(if n > chunk.len() { '=' } else { letter.into() });
        }
    }
    text
}

/// How something does, shown as a colour and always as a word too.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mark {
    Fine,
    Look,
    Bad,
    Plain,
}

impl Mark {
    fn class(self) -> &'static str {
        match self {
            Self::Fine => "ok",
            Self::Look => "look",
            Self::Bad => "bad",
            Self::Plain => "",
        }
    }
}

#[derive(Template)]
#[template(path = "page.html")]
struct Page {
    style: &'static str,
    refreshes: bool,
    name: String,
    serial: String,
    verdict: Verdict,
    class: &'static str,
    sign: &'static str,
    more_reasons: usize,
    tiles: Vec<Tile>,
    sections: Vec<Section>,
    streams: Vec<Stream>,
    more_streams: usize,
    as_of: String,
}

/// One of the four facts under the verdict.
struct Tile {
    label: &'static str,
    value: String,
    note: String,
    mark: Mark,
}

struct Section {
    id: &'static str,
    title: &'static str,
    rows: Vec<Row>,
    more: usize,
}

struct Row {
    label: String,
    value: String,
    note: String,
    mark: Mark,
}

struct Stream {
    name: String,
    value: String,
    unit: String,
    age: String,
    doubt: &'static str,
}

impl Page {
    /// `share` divides what lists and texts may take.
    fn new(s: &Snapshot, refreshes: bool, share: usize) -> Self {
        let bounds = Bounds { share };
        let mut verdict = verdict(s);
        let (class, sign) = match verdict.level {
            Level::Fine => ("ok", "✓"),
            Level::Attention => ("look", "!"),
            Level::Broken => ("bad", "✕"),
        };
        let more_reasons = verdict.reasons.len().saturating_sub(bounds.rows(12));
        verdict.reasons.truncate(bounds.rows(12));
        verdict.headline = bounds.text(&verdict.headline, 160);
        for reason in &mut verdict.reasons {
            reason.what = bounds.text(&reason.what, 160);
            reason.meaning = bounds.text(&reason.meaning, 400);
            reason.next_step = bounds.text(&reason.next_step, 200);
        }
        let (streams, more_streams) = streams(s, bounds);
        let mut sections = vec![
            bounds.section("cloud", "Cloud", cloud(s, bounds)),
            bounds.section("radio", "Radio", radio(s, bounds)),
            bounds.section("queue", "Queue", queue(s, bounds)),
            bounds.section("sensors", "Sensors", slaves(s, bounds)),
            bounds.section("firmware", "Firmware", firmware(s, bounds)),
            bounds.section("daemon", "Daemon", daemon(s, bounds)),
        ];
        sections.retain(|section| !section.rows.is_empty() || section.id == "sensors");
        Self {
            style: STYLE,
            refreshes,
            name: bounds.text(&s.gateway.name, 80),
            serial: bounds.text(&s.gateway.serial, 128),
            verdict,
            class,
            sign,
            more_reasons,
            tiles: tiles(s),
            sections,
            streams,
            more_streams,
            as_of: as_of(s),
        }
    }
}

#[derive(Clone, Copy)]
struct Bounds {
    share: usize,
}

impl Bounds {
    fn rows(self, usual: usize) -> usize {
        (usual / self.share).max(2)
    }

    fn text(self, text: &str, usual: usize) -> String {
        let most = (usual / self.share).max(24);
        if text.chars().count() <= most {
            return text.to_owned();
        }
        text.chars().take(most - 1).chain(['…']).collect()
    }

    fn section(self, id: &'static str, title: &'static str, mut rows: Vec<Row>) -> Section {
        let most = self.rows(32);
        if rows.len() > most {
            rows.sort_by_key(|row| row.mark == Mark::Fine);
        }
        let more = rows.len().saturating_sub(most);
        rows.truncate(most);
        Section { id, title, rows, more }
    }

    fn row(self, label: &str, value: &str, note: &str, mark: Mark) -> Row {
        Row { label: self.text(label, 96), value: self.text(value, 96), note: self.text(note, 240), mark }
    }
}

fn tiles(s: &Snapshot) -> Vec<Tile> {
    let up = |d: &&Destination| d.link.as_ref().is_some_and(|link| link.phase == LinkPhase::Up);
    let (connected, all) = (s.destinations.iter().filter(up).count(), s.destinations.len());
    let heard = s.destinations.iter().filter_map(|d| d.link.as_ref()?.last_heard).max();
    let (cloud, mark) = match (connected, all) {
        (_, 0) => ("None".to_owned(), Mark::Look),
        (0, _) => ("Not connected".to_owned(), Mark::Bad),
        (n, all) if n == all => ("Connected".to_owned(), Mark::Fine),
        (n, all) => (format!("{n} of {all}"), Mark::Look),
    };
    let heard = heard.map_or_else(|| "never heard".to_owned(), |at| format!("heard {}", ago(s.now, at)));
    let cloud = Tile { label: "Cloud", value: cloud, note: heard, mark };

    let grade = s.signal.as_ref().map_or(SignalGrade::Unknown, |signal| signal.value.grade);
    let mut signal = Tile {
        label: "Signal",
        value: capital(grade_word(grade)),
        note: s.signal.as_ref().and_then(|signal| signal.value.rsrp_dbm).map_or_else(String::new, dbm),
        mark: match grade {
            SignalGrade::Unknown => Mark::Plain,
            SignalGrade::VeryPoor => Mark::Bad,
            SignalGrade::Poor => Mark::Look,
            SignalGrade::Fair | SignalGrade::Good | SignalGrade::Excellent => Mark::Fine,
        },
    };
    match s.registration.as_ref().map(|registration| &registration.value) {
        Some(registration) if !registration.registered => {
            signal =
                Tile { label: "Signal", value: "No network".into(), note: String::new(), mark: Mark::Bad };
        }
        None if s.signal.is_none() => signal.note = "no modem heard".into(),
        Some(_) | None => {}
    }

    let waiting = Tile {
        label: "Waiting",
        value: grouped(s.queued()),
        note: "readings on disk".into(),
        mark: if s.queue.health == Health::Good { Mark::Plain } else { Mark::Bad },
    };
    let moved = s.recent.moved;
    let lost = moved.dropped.saturating_add(moved.refused).saturating_add(moved.missed);
    let lost = Tile {
        label: "Lost",
        value: grouped(lost),
        note: format!("in the last {}", in_words(s.recent.over)),
        mark: if lost == 0 { Mark::Fine } else { Mark::Look },
    };
    vec![cloud, signal, waiting, lost]
}

fn cloud(s: &Snapshot, bounds: Bounds) -> Vec<Row> {
    let mut rows = Vec::new();
    for destination in &s.destinations {
        let Some(link) = &destination.link else {
            rows.push(bounds.row(&destination.name, "not started", "", Mark::Look));
            continue;
        };
        let mark = match link.phase {
            LinkPhase::Up => Mark::Fine,
            LinkPhase::Idle | LinkPhase::Connecting | LinkPhase::Waiting => Mark::Look,
            LinkPhase::Sick => Mark::Bad,
        };
        rows.push(bounds.row(&destination.name, &capital(phase_word(link.phase)), &link.words, mark));
        let traffic = format!("{} sent, {} received", bytes(link.bytes_up), bytes(link.bytes_down));
        let session = format!(
            "{} handshakes since the start, {} messages in flight, {}",
            grouped(link.handshakes),
            link.in_flight,
            link.last_heard.map_or_else(|| "never heard".into(), |at| format!("heard {}", ago(s.now, at))),
        );
        rows.push(bounds.row("Traffic", &traffic, &session, Mark::Plain));
    }
    rows
}

fn radio(s: &Snapshot, bounds: Bounds) -> Vec<Row> {
    let mut rows = Vec::new();
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
            number.as_ref().map(|number| format!("{name} {}", number.masked()))
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

fn queue(s: &Snapshot, bounds: Bounds) -> Vec<Row> {
    let totals = recent::all(&s.queue);
    let health = match &s.queue.health {
        Health::Good => ("Accepting", Mark::Fine, String::new()),
        Health::DiskFull => ("Disk full", Mark::Bad, "new readings are refused".into()),
        Health::ReadOnly => ("Read-only", Mark::Bad, "new readings are refused".into()),
        Health::Faulty(detail) => ("Disk fault", Mark::Bad, detail.clone()),
    };
    let last = format!("last commit took {}", millis(s.queue.last_commit));
    let note = if health.2.is_empty() { last } else { format!("{}; {last}", health.2) };
    let percent = s.queue.used_bytes.saturating_mul(100).checked_div(s.queue.max_bytes).unwrap_or(0);
    let room = format!("{percent} % of {} in use", bytes(s.queue.max_bytes));
    let lost = |n: u64| if n == 0 { Mark::Plain } else { Mark::Look };
    vec![
        bounds.row("Store", health.0, &note, health.1),
        bounds.row("Waiting", &grouped(s.queued()), &room, Mark::Plain),
        bounds.row("Accepted", &grouped(totals.accepted), "on disk, committed and synced", Mark::Plain),
        bounds.row("Acknowledged", &grouped(totals.acknowledged), "the cloud says it has them", Mark::Plain),
        bounds.row(
            "Given up",
            &grouped(totals.dropped),
            "too old, or no room: each is on record",
            lost(totals.dropped),
        ),
        bounds.row(
            "Set aside",
            &grouped(totals.set_aside),
            "the cloud refused their content: kept for people",
            lost(totals.set_aside),
        ),
        bounds.row("Refused", &grouped(totals.refused), "the disk could not take them", lost(totals.refused)),
        bounds.row(
            "Missed",
            &grouped(totals.missed),
            "were due and never came from a sensor",
            lost(totals.missed),
        ),
        bounds.row(
            "At risk",
            &millis(s.queue.commit_window),
            "of readings before they are accepted, if power fails",
            Mark::Plain,
        ),
    ]
}

fn slaves(s: &Snapshot, bounds: Bounds) -> Vec<Row> {
    s.slaves
        .iter()
        .map(|(name, Stamped { value, .. })| {
            let (word, mark) = if value.answering { ("Answers", Mark::Fine) } else { ("Silent", Mark::Bad) };
            let note = format!("bus {}: {}", value.bus, value.words);
            bounds.row(name, word, &note, mark)
        })
        .collect()
}

fn streams(s: &Snapshot, bounds: Bounds) -> (Vec<Stream>, usize) {
    let most = bounds.rows(48);
    let mut all: Vec<_> = s.latest.iter().collect();
    if all.len() > most {
        all.sort_by_key(|(_, latest)| latest.value.quality == Quality::Good);
    }
    let more = all.len().saturating_sub(most);
    let shown = all
        .into_iter()
        .take(most)
        .map(|(name, Stamped { value: latest, at })| Stream {
            name: bounds.text(name, 96),
            value: bounds.text(&shown(&latest.value, latest.decimals), 48),
            unit: bounds.text(unit(&latest.unit), 24),
            age: short_age(s.now, *at),
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

fn firmware(s: &Snapshot, bounds: Bounds) -> Vec<Row> {
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

fn daemon(s: &Snapshot, bounds: Bounds) -> Vec<Row> {
    let up = format!("running for {}", in_words(s.now.since(s.gateway.started)));
    let clock = if s.wall.trusted {
        (
            "Trusted",
            format!("right within {}", millis(Duration::from_millis(s.wall.uncertainty_ms.into()))),
            Mark::Fine,
        )
    } else {
        ("Not set", "nothing vouches for it yet".to_owned(), Mark::Look)
    };
    let mut rows = vec![
        bounds.row("fieldgate", &s.gateway.version, &up, Mark::Plain),
        bounds.row("Clock", clock.0, &clock.1, clock.2),
    ];
    for (name, Stamped { value, .. }) in &s.lanes {
        let silent = s.silent_lanes.iter().find(|(silent, _)| silent == name);
        let (word, mark) = match (silent, value.fine) {
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

fn as_of(s: &Snapshot) -> String {
    match jiff::Timestamp::from_millisecond(s.wall.unix_ms) {
        Ok(at) if s.wall.trusted => at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
        Ok(_) | Err(_) => "clock not set".into(),
    }
}

fn shown(value: &Value, decimals: u8) -> String {
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
fn unit(ucum: &str) -> &str {
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

fn short_age(now: Mono, then: Mono) -> String {
    in_words(now.since(then))
}

fn dbm(value: f32) -> String {
    format!("{} dBm", minus(value))
}

fn minus(value: f32) -> String {
    format!("{value:.0}").replacen('-', "−", 1)
}

fn capital(words: &str) -> String {
    let mut letters = words.chars();
    letters.next().map(char::to_uppercase).into_iter().flatten().chain(letters).collect()
}

/// `1 234 567`, with narrow no-break spaces.
fn grouped(n: u64) -> String {
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
fn bytes(n: u64) -> String {
    match n {
        0..1000 => format!("{n} B"),
        1000..1_000_000 => format!("{:.1} kB", n as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", n as f64 / 1e6),
        _ => format!("{:.1} GB", n as f64 / 1e9),
    }
}

fn millis(duration: Duration) -> String {
    match duration.as_millis() {
        ms @ 0..1000 => format!("{ms} ms"),
        ms if ms % 1000 == 0 => format!("{} s", ms / 1000),
        _ => format!("{:.1} s", duration.as_secs_f64()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_rfc_4648() {
        // RFC 4648, section 10.
        for (plain, coded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }

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
    fn a_long_text_is_cut_between_characters_and_says_so() {
        let bounds = Bounds { share: 1 };
        assert_eq!(bounds.text("äöü", 3), "äöü");
        assert_eq!(bounds.text(&"ä".repeat(200), 30), "ä".repeat(29) + "…");
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
