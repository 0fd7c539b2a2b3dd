//! `[gateway]`, `[store]`, `[time]`, `[uplink]`, `[log]`, `[path]`, `[modem]`.

use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::time::Duration;

use super::Context;
use crate::config::model::{Gateway, Log, LogLevel, Modem, NetworkPath, Store, Time, Uplink};
use crate::config::reader::{Found, Numbers, Reader};
use crate::config::words;
use crate::gather::Gather;
use crate::reading::Class;

const MIB: u64 = 1 << 20;

pub(in crate::config) const LEVELS: [(&str, LogLevel); 5] = [
    ("error", LogLevel::Error),
    ("warn", LogLevel::Warn),
    ("info", LogLevel::Info),
    ("debug", LogLevel::Debug),
    ("trace", LogLevel::Trace),
];

pub(in crate::config) const CLOUD_LEVELS: [(&str, Option<LogLevel>); 5] = [
    ("off", None),
    ("error", Some(LogLevel::Error)),
    ("warn", Some(LogLevel::Warn)),
    ("info", Some(LogLevel::Info)),
    ("debug", Some(LogLevel::Debug)),
];

/// Rates a serial port can be set to by name (POSIX and Linux termios).
const BAUDS: [u32; 14] = [
    300, 600, 1_200, 2_400, 4_800, 9_600, 19_200, 38_400, 57_600, 115_200, 230_400, 460_800, 921_600,
    1_000_000,
];

pub(super) fn gateway(mut reader: Reader<'_>, host_name: &str) -> Gateway {
    let name = reader
        .text(
            "name",
            "\"pump house\"",
            |text| words::is_line(text, 128),
            "a name",
            "Write 1 to 128 bytes on one line.",
        )
        .map_or(host_name, |found| found.value);
    let name = if words::is_line(name, 128) { name } else { "gateway" };
    let serial = reader
        .required_text("serial", "\"gw-0042\"", words::is_device, "a device name", DEVICE_REMEDY)
        .map_or("", |found| found.value);
    let state_dir = reader
        .path_value("state_dir", "\"/var/lib/fieldgate\"")
        .map_or_else(|| PathBuf::from("/var/lib/fieldgate"), |found| found.value);
    reader.finish();
    Gateway { name: name.to_owned(), serial: serial.to_owned(), state_dir }
}

pub(super) const DEVICE_REMEDY: &str =
    "Use the device's name in the registry: at most 128 bytes, without / + # and without spaces at its ends.";

pub(super) fn store(mut reader: Reader<'_>) -> Store {
    let commit_window = reader.duration("commit_window", "1s", "0s"..="60s");
    let queue_max_bytes = reader.size("queue_max", 512 * MIB, 8 * MIB..=1 << 40);
    let ballast_bytes = reader.size("ballast", 4 * MIB, MIB..=queue_max_bytes / 2);
    let budget = "flash_budget_per_day";
    let has_budget = reader.has(budget);
    let flash_budget_per_day = reader.size(budget, 512 * MIB, 16 * MIB..=1 << 40);
    let flash_budget_per_day = has_budget.then_some(flash_budget_per_day);
    let (mut max_rows, mut max_bytes) = (BTreeMap::new(), BTreeMap::new());
    if let Some(mut reader) = reader.table("max_rows") {
        let numbers = Numbers { noun: "a number of readings", range: 1_000..=u32::MAX };
        for class in boundable(&mut reader, "for want of room") {
            if let Some(rows) = reader.number(class.name(), "1000000", &numbers) {
                max_rows.insert(class, rows.into());
            }
        }
        reader.finish();
    }
    if let Some(mut reader) = reader.table("max_bytes") {
        for class in boundable(&mut reader, "for want of room") {
            max_bytes.insert(class, reader.size(class.name(), 64 * MIB, 64 << 10..=queue_max_bytes));
        }
        reader.finish();
    }
    reader.finish();
    Store { commit_window, queue_max_bytes, max_rows, max_bytes, ballast_bytes, flash_budget_per_day }
}

/// The classes that this table has a bound for. One for alarms is refused.
fn boundable(reader: &mut Reader<'_>, why: &str) -> Vec<Class> {
    if reader.has("alarm") {
        // Taken, so that it is not also told to be unknown.
        reader.entry("alarm");
        reader.problem("alarm", format!("alarms are not given up {why}."), "Remove alarm.");
    }
    let classes = [Class::Event, Class::State, Class::Telemetry, Class::Diagnostics];
    classes.into_iter().filter(|class| reader.has(class.name())).collect()
}

pub(super) fn time(mut reader: Reader<'_>) -> Time {
    let trust_system_clock = reader.flag("trust_system_clock", false);
    let hold_untrusted = reader.duration("hold_untrusted", "10m", "0s"..="24h");
    reader.finish();
    Time { trust_system_clock, hold_untrusted }
}

pub(super) fn uplink(mut reader: Reader<'_>) -> Uplink {
    let live_bound = reader.duration("live_bound", "5m", "1s"..="24h");
    let window = Numbers { noun: "a number of messages in flight", range: 1..=32 };
    let window = reader.number("window", "8", &window).and_then(|window| u8::try_from(window).ok());
    let linger = reader.duration("linger", "2s", "0s"..="10m");
    let live_weight = weight(&mut reader, "live_weight", 3);
    let backlog_weight = weight(&mut reader, "backlog_weight", 1);
    let max_age = reader.table("max_age").map(max_age).unwrap_or_default();
    reader.finish();
    Uplink { live_bound, live_weight, backlog_weight, max_age, window: window.unwrap_or(8), linger }
}

fn weight(reader: &mut Reader<'_>, key: &'static str, default: u16) -> NonZeroU16 {
    let numbers = Numbers { noun: "a weight", range: 1..=100 };
    let weight = reader.number(key, &default.to_string(), &numbers).and_then(|n| u16::try_from(n).ok());
    NonZeroU16::new(weight.unwrap_or(default)).unwrap_or(NonZeroU16::MIN)
}

fn max_age(mut reader: Reader<'_>) -> BTreeMap<Class, Duration> {
    let limits = boundable(&mut reader, "for their age")
        .into_iter()
        .map(|class| (class, reader.duration(class.name(), "30d", "1m"..="3650d")))
        .gathered();
    reader.finish();
    limits
}

pub(super) fn log(mut reader: Reader<'_>) -> Log {
    let level = reader.choice("level", "a log level", &LEVELS).unwrap_or(LogLevel::Info);
    let cloud = reader.choice("cloud", "a log level or off", &CLOUD_LEVELS).unwrap_or(Some(LogLevel::Error));
    reader.finish();
    Log { level, cloud }
}

pub(super) fn path(mut reader: Reader<'_>) -> NetworkPath {
    // The only kind there is: asked for so that a wrong word is refused.
    reader.choice("kind", "a kind of path", &[("system", ())]);
    let interface = interface(&mut reader).map(|found| found.value.to_owned());
    reader.finish();
    NetworkPath::System { interface }
}

pub(super) fn interface<'a>(reader: &mut Reader<'a>) -> Option<Found<&'a str>> {
    reader.text(
        "interface",
        "\"wwan0\"",
        words::is_interface,
        "an interface name",
        "Use a name that \"ip link\" shows, such as \"wwan0\".",
    )
}

pub(super) fn modem(mut reader: Reader<'_>, context: &mut Context<'_>) -> Modem {
    let port = port(&mut reader, context);
    let baud = baud(&mut reader, 115_200);
    let poll = reader.duration("poll", "60s", "1s"..="24h");
    let flow_control = reader.flag("flow_control", true);
    reader.finish();
    Modem { port, baud, poll, flow_control }
}

/// A serial port nobody else uses. Its name is compared as written: two names of one device are found only
/// when the second is opened.
pub(super) fn port(reader: &mut Reader<'_>, context: &mut Context<'_>) -> PathBuf {
    const EXAMPLE: &str = "\"/dev/serial/by-id/usb-FTDI_FT232R_A1-if00-port0\"";
    if !reader.has("port") {
        reader.missing("port", EXAMPLE);
    }
    let Some(found) = reader.path_value("port", EXAMPLE) else {
        return PathBuf::new();
    };
    let text = found.value.to_string_lossy();
    context.ports.claim(
        context.findings,
        &text,
        found.at,
        &reader.path("port"),
        "A serial port serves one bus or one modem: name another port.",
    );
    if text.starts_with("/dev/ttyUSB") || text.starts_with("/dev/ttyACM") {
        reader.warning(
            "port",
            format!("{text:?} may name another device after a restart."),
            "Use its name below /dev/serial/by-id or /dev/serial/by-path.",
        );
    }
    found.value
}

pub(in crate::config) fn baud(reader: &mut Reader<'_>, default: u32) -> u32 {
    let numbers = Numbers { noun: "a baud rate", range: 300..=1_000_000 };
    let Some(baud) = reader.number("baud", &default.to_string(), &numbers) else {
        return default;
    };
    if !BAUDS.contains(&baud) {
        let known: Vec<_> = BAUDS.iter().map(u32::to_string).collect();
        let remedy = format!("Use one of {}.", known.join(", "));
        reader.problem("baud", format!("{baud} is not a rate serial ports know."), remedy);
    }
    baud
}
