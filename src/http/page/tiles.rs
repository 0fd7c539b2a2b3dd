//! The four facts under the verdict, and the data plan where there is one.

use super::{Mark, Tile};
use crate::board::{LinkPhase, ModemPhase, SignalGrade, ago};
use crate::http::snapshot::{Destination, Snapshot};
use crate::http::words::{bytes, capital, dbm, grade_word, grouped, within};
use crate::store::queue::Health;

pub(super) fn tiles(s: &Snapshot) -> Vec<Tile> {
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
    let modem_is_up =
        s.modem_state.as_ref().is_none_or(|state| state.value.fine || state.value.phase == ModemPhase::Up);
    match s.registration.as_ref().map(|registration| &registration.value) {
        _ if !modem_is_up => {
            signal = Tile { label: "Signal", value: "No modem".into(), note: String::new(), mark: Mark::Bad };
        }
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
        note: "kept on disk".into(),
        mark: if s.queue.health == Health::Good { Mark::Plain } else { Mark::Bad },
    };
    let moved = s.recent.moved;
    let lost = moved.dropped.saturating_add(moved.refused).saturating_add(moved.missed);
    let (note, mark) = match (&s.queue.health, lost) {
        (Health::Good, 0) => (within(s.recent.over), Mark::Fine),
        (Health::Good, _) => (within(s.recent.over), Mark::Look),
        (Health::DiskFull | Health::ReadOnly | Health::Faulty(_), _) => {
            ("refusing new ones".to_owned(), Mark::Bad)
        }
    };
    let lost = Tile { label: "Lost", value: grouped(lost), note, mark };
    let mut tiles = vec![cloud, signal, waiting, lost];
    tiles.extend(data(s));
    tiles
}

/// The month of the network that is used now.
fn data(s: &Snapshot) -> Option<Tile> {
    let plan = &s.data_plan.as_ref()?.value;
    let period = if plan.roaming { &plan.roaming_month } else { &plan.month };
    let limit = period.limit?;
    let percent = period.bytes.saturating_mul(100) / limit.max(1);
    let over = period.forecast.is_some_and(|forecast| forecast > limit);
    Some(Tile {
        label: if plan.roaming { "Data, roaming" } else { "Data" },
        value: if limit == 0 { "None".into() } else { format!("{percent} %") },
        note: format!("of {} this month", bytes(limit)),
        mark: match (period.bytes >= limit, over || !plan.waits.is_empty()) {
            (true, _) => Mark::Bad,
            (false, true) => Mark::Look,
            (false, false) => Mark::Fine,
        },
    })
}
