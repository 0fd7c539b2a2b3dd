//! What `get_status` and `get_network_info` say: a few facts, short enough for one message.

use serde_json::{Map, Value, json};

use super::lane::Parts;
use crate::board::{Board, Registration};
use crate::uplink::link::ServingCell;

/// Lanes that are named.
const MOST_LANES: usize = 4;
/// Longest words about one thing, bytes.
const WORDS: usize = 100;

/// How the gateway does. What matters most is first by name, so that a bound takes the rest.
pub(super) fn status(parts: &Parts) -> Value {
    let (queue, board) = (parts.queue.status(), &parts.board);
    let status = queue.borrow();
    let (used, most) = (status.used_bytes, status.max_bytes.max(1));
    let gateway = parts.gateway.status();
    let link = board.links.get(parts.link.name());
    let mut said = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_s": parts.rim.clock.mono().ms() / 1000,
        "boot": gateway.borrow().identity.boot,
        "log": gateway.borrow().log_head.sequence,
        "queued": queued_in(&status),
        "store": status.health.name(),
        "store_percent": used.saturating_mul(100) / most,
        "time_trusted": parts.rim.clock.wall().trusted,
        "handshakes": link.map_or(0, |link| link.value.handshakes),
        "lanes": not_fine(board),
    });
    drop(status);
    if let Some(map) = said.as_object_mut() {
        let plan = board.data_plan.get().map(|plan| plan.value);
        let facts = [
            ("settings", board.settings.get().and_then(|settings| settings.value.version).map(Value::from)),
            ("month_bytes", plan.map(|plan| plan.month.bytes.into())),
            ("modem", board.modem_state.get().map(|modem| cut(&modem.value.words).into())),
            ("rsrp_dbm", rsrp(board).map(Value::from)),
        ];
        map.extend(facts.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))));
    }
    said
}

/// Readings that wait, for the destination that most wait for.
pub(super) fn queued(parts: &Parts) -> u64 {
    queued_in(&parts.queue.status().borrow())
}

fn queued_in(status: &crate::store::queue::QueueStatus) -> u64 {
    let mut by_destination = std::collections::BTreeMap::<_, u64>::new();
    for ((destination, _), totals) in &status.totals {
        *by_destination.entry(destination).or_default() += totals.queued;
    }
    by_destination.into_values().max().unwrap_or(0)
}

/// How the modem stands with the network; nothing that names the subscriber.
pub(super) fn network(board: &Board) -> Value {
    let mut said = Map::new();
    let mut say = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            said.insert(key.to_owned(), value);
        }
    };
    if let Some(registration) = board.registration.get() {
        let Registration { registered, roaming, words, operator, plmn, access, band, cell } =
            registration.value;
        say("registered", Some(registered.into()));
        say("roaming", Some(roaming.into()));
        say("words", Some(cut(&words).into()));
        say("operator", operator.map(Value::from));
        say("plmn", plmn.map(Value::from));
        say("access", access.map(Value::from));
        say("band", band.map(Value::from));
        say("cell", cell.map(Value::from));
    }
    if let Some(signal) = board.signal.get() {
        say("rsrp_dbm", signal.value.rsrp_dbm.map(Value::from));
        say("rsrq_db", signal.value.rsrq_db.map(Value::from));
        say("snr_db", signal.value.snr_db.map(Value::from));
    }
    Value::Object(said)
}

/// The cell that serves the modem, where all of it is known.
pub(super) fn serving_cell(board: &Board) -> Option<ServingCell> {
    let Registration { registered, plmn, access, cell, .. } = board.registration.get()?.value;
    let plmn = plmn.filter(|text| {
        registered && (5..=6).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit())
    })?;
    let (country, network) = plmn.split_at_checked(3)?;
    Some(ServingCell {
        narrowband: access.is_some_and(|access| access.contains("NB")),
        country: country.parse().ok()?,
        network: network.parse().ok()?,
        id: u32::from_str_radix(&cell?, 16).ok()?,
        strength_dbm: rsrp(board).and_then(|dbm| i16::try_from(dbm).ok()),
    })
}

fn rsrp(board: &Board) -> Option<i64> {
    let dbm = board.signal.get()?.value.rsrp_dbm?;
    #[expect(clippy::cast_possible_truncation, reason = "a float becomes the nearest integer there is")]
    Some(dbm.round() as i64)
}

/// The first lanes that need attention, by name; the empty text when none does.
pub(super) fn not_fine(board: &Board) -> String {
    let lanes = board.lanes.all();
    let names = lanes.iter().filter(|(_, lane)| !lane.value.fine).map(|(name, _)| name.as_str());
    names.take(MOST_LANES).collect::<Vec<_>>().join(", ")
}

fn cut(words: &str) -> &str {
    words.get(..words.floor_char_boundary(WORDS)).unwrap_or_default()
}
