//! The facts under the verdict: the cloud, the signal, what waits, what was lost, and the data plan where there is one.

use super::{Mark, Tile};
use crate::board::{LinkPhase, LinkState, ModemPhase, SignalGrade, ago};
use crate::gather::in_front;
use crate::http::snapshot::{Destination, Snapshot};
use crate::http::words::{bytes, capital, dbm, grade_word, grouped, within};
use crate::store::queue::Health;

/// So many destinations get a tile of their own.
const CLOUDS: usize = 3;

pub(super) fn tiles(s: &Snapshot) -> Vec<Tile> {
    let mut tiles = clouds(s);
    tiles.push(signal(s));
    tiles.push(waiting(s));
    tiles.push(lost(s));
    tiles.extend(data(s));
    tiles
}

/// A tile a destination, so that what it says of its age is said of itself; those that are not well first.
fn clouds(s: &Snapshot) -> Vec<Tile> {
    if s.destinations.is_empty() {
        let none = Tile {
            label: "Cloud".into(),
            value: "None".into(),
            note: "not configured".into(),
            mark: Mark::Look,
        };
        return vec![none];
    }
    let tiles: Vec<_> = s.destinations.iter().map(|d| cloud(s, d)).collect();
    let mut tiles = in_front(tiles, |tile| tile.mark != Mark::Fine);
    if let [only] = tiles.as_mut_slice() {
        only.label = "Cloud".into();
    }
    let more = tiles.len().saturating_sub(CLOUDS);
    tiles.truncate(CLOUDS);
    if let Some(last) = tiles.last_mut().filter(|_| more > 0) {
        last.note = format!("{}; {more} more below", last.note);
    }
    tiles
}

fn cloud(s: &Snapshot, destination: &Destination) -> Tile {
    let heard = |link: &LinkState| {
        link.last_heard.map_or_else(|| "never heard".to_owned(), |at| format!("heard {}", ago(s.now, at)))
    };
    let (value, note, mark) = match &destination.link {
        None => ("Not tried yet", String::new(), Mark::Look),
        Some(link) => match link.phase {
            LinkPhase::Up => ("Connected", heard(link), Mark::Fine),
            LinkPhase::Silent => ("No answer", heard(link), Mark::Bad),
            LinkPhase::Sick => ("Refused", heard(link), Mark::Bad),
            LinkPhase::Idle | LinkPhase::Connecting | LinkPhase::Waiting => {
                ("Not connected", heard(link), Mark::Bad)
            }
        },
    };
    Tile { label: format!("Cloud {}", shortened(&destination.name)), value: value.into(), note, mark }
}

/// A name of the configuration in a tile.
fn shortened(name: &str) -> String {
    match name.char_indices().nth(24) {
        Some((end, _)) => name.get(..end).unwrap_or(name).to_owned() + "…",
        None => name.to_owned(),
    }
}

fn signal(s: &Snapshot) -> Tile {
    let grade = s.signal.as_ref().map_or(SignalGrade::Unknown, |signal| signal.value.grade);
    let mut signal = Tile {
        label: "Signal".into(),
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
            (signal.value, signal.note, signal.mark) = ("No modem".into(), String::new(), Mark::Bad);
        }
        Some(registration) if !registration.registered => {
            (signal.value, signal.note, signal.mark) = ("No network".into(), String::new(), Mark::Bad);
        }
        None if s.signal.is_none() => signal.note = "no modem heard".into(),
        Some(_) | None => {}
    }
    signal
}

/// What waits for the destination that most waits for. A sum would count a reading once for each destination.
fn waiting(s: &Snapshot) -> Tile {
    let most = s.destinations.iter().max_by_key(|d| d.books.totals.queued);
    Tile {
        label: "Waiting".into(),
        value: grouped(most.map_or(0, |d| d.books.totals.queued)),
        note: match most {
            Some(most) if s.destinations.len() > 1 => format!("for {}, kept on disk", shortened(&most.name)),
            Some(_) | None => "kept on disk".into(),
        },
        mark: if s.queue.health == Health::Good { Mark::Plain } else { Mark::Bad },
    }
}

/// What never came to be accepted, and what was given up for the destination that lost most.
fn lost(s: &Snapshot) -> Tile {
    let intake = s.recent.intake;
    let most = s.destinations.iter().map(|d| d.moved.lost).max().unwrap_or(0);
    let lost = most.saturating_add(intake.refused).saturating_add(intake.missed);
    let (note, mark) = match (&s.queue.health, lost) {
        (Health::Good, 0) => (within(s.recent.over), Mark::Fine),
        (Health::Good, _) => (within(s.recent.over), Mark::Look),
        (Health::DiskFull | Health::ReadOnly | Health::Faulty(_), _) => {
            ("refusing new ones".to_owned(), Mark::Bad)
        }
    };
    Tile { label: "Lost".into(), value: grouped(lost), note, mark }
}

/// The month of the network that is used now.
fn data(s: &Snapshot) -> Option<Tile> {
    let plan = &s.data_plan.as_ref()?.value;
    let period = if plan.roaming { &plan.roaming_month } else { &plan.month };
    let limit = period.limit?;
    let percent = period.bytes.saturating_mul(100) / limit.max(1);
    let over = period.forecast.is_some_and(|forecast| forecast > limit);
    Some(Tile {
        label: if plan.roaming { "Data, roaming" } else { "Data" }.into(),
        value: if limit == 0 { "None".into() } else { format!("{percent} %") },
        note: format!("of {} this month", bytes(limit)),
        mark: match (period.bytes >= limit, over || !plan.waits.is_empty()) {
            (true, _) => Mark::Bad,
            (false, true) => Mark::Look,
            (false, false) => Mark::Fine,
        },
    })
}
