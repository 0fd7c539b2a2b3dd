//! How a session is kept alive: one profile for the network, and what is written beside it.

use std::time::Duration;

use crate::config::model::Liveness;
use crate::config::reader::Reader;

const STANDARD: Liveness = Liveness {
    keepalive: Duration::from_secs(15 * 60),
    seldom: Duration::from_secs(24 * 3600),
    extra: 4,
    dead_path: Duration::from_secs(180),
};

const FRUGAL: Liveness =
    Liveness { keepalive: Duration::from_secs(3600), dead_path: Duration::from_secs(600), ..STANDARD };

const PROMPT: Liveness = Liveness {
    keepalive: Duration::from_secs(55),
    seldom: Duration::from_secs(6 * 3600),
    extra: 48,
    dead_path: Duration::from_secs(60),
};

pub(in crate::config) const PROFILES: [(&str, Liveness); 3] =
    [("standard", STANDARD), ("frugal", FRUGAL), ("prompt", PROMPT)];

/// `liveness`, `keepalive` and `dead_path`.
pub(super) fn read(reader: &mut Reader<'_>) -> Liveness {
    let profile = reader.choice("liveness", "a liveness profile", &PROFILES).unwrap_or(STANDARD);
    let keepalive = match reader.has("keepalive") {
        true => reader.duration("keepalive", "15m", "1s"..="24h"),
        false => profile.keepalive,
    };
    let dead_path = match reader.has("dead_path") {
        true => reader.duration("dead_path", "3m", "30s"..="1h"),
        false => profile.dead_path,
    };
    Liveness { keepalive, dead_path, ..profile }
}
