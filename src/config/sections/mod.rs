//! One file a group of sections. `read` fixes the order: what later sections refer to is read before them.

mod budget;
pub(super) mod bus;
mod clouds;
mod firmware;
pub(super) mod gateway;
mod golioth_credential;
mod http;
mod liveness;
pub(super) mod measure;
mod point;
mod secret;

pub(super) use gateway::{CLOUD_LEVELS, LEVELS};
pub(super) use liveness::PROFILES;

use super::model::{Bus, Config, Plan, Store};
use super::parse::Surroundings;
use super::problem::{Findings, Place, Taken};
use super::reader::Reader;
use super::tree::Table;

/// What sections share while they are read.
struct Context<'a> {
    findings: &'a Findings,
    surroundings: &'a dyn Surroundings,
    /// The gateway's serial, or empty where it was refused.
    serial: String,
    /// Names routes may use.
    destinations: Vec<String>,
    ports: Taken,
    bus_names: Taken,
    slave_names: Taken,
    streams: Taken,
    aliases: Taken,
    points: usize,
}

/// Most destinations, Golioth included.
const MOST_DESTINATIONS: usize = 8;

/// Reads all sections. The result is worth something only if `findings` holds no problem afterwards.
pub(super) fn read(mut root: Reader<'_>, findings: &Findings, surroundings: &dyn Surroundings) -> Config {
    let nothing = Table::empty(Place { file: 0, line: 0 });
    // A section of the wrong shape is one problem, not one more for each key it should have had.
    let unheard = Findings::new(Vec::new());
    let mut section = |key: &'static str| {
        let findings = if root.has(key) { &unheard } else { findings };
        root.table(key).unwrap_or_else(|| Reader::new(&nothing, key, findings))
    };
    let mut context = Context {
        findings,
        surroundings,
        serial: String::new(),
        destinations: Vec::new(),
        ports: Taken::default(),
        bus_names: Taken::default(),
        slave_names: Taken::default(),
        streams: Taken::default(),
        aliases: Taken::default(),
        points: 0,
    };

    let gateway = gateway::gateway(section("gateway"), surroundings.host_name());
    context.serial.clone_from(&gateway.serial);
    let store_reader = section("store");
    let window_at = store_reader.place("commit_window");
    let store = gateway::store(store_reader);
    let time = gateway::time(section("time"));
    let uplink = gateway::uplink(section("uplink"));
    let log = gateway::log(section("log"));
    let path = gateway::path(section("path"));
    let http = http::http(section("http"), &context);
    let budget = root.table("budget").map_or_else(Plan::unlimited, budget::budget);
    let modem = root.table("modem").map(|reader| gateway::modem(reader, &mut context));
    let golioth = root.table("golioth").map(|reader| clouds::golioth(reader, &mut context));
    let mqtt = clouds::mqtt(root.tables("mqtt"), &mut context);
    if context.destinations.len() > MOST_DESTINATIONS {
        let what = format!("{} destinations are too many.", context.destinations.len());
        root.problem("mqtt", what, format!("Configure at most {MOST_DESTINATIONS}, Golioth included."));
    }
    let buses = bus::buses(root.tables("bus"), &mut context);
    let components = match root.table("firmware") {
        Some(reader) => firmware::components(reader, modem.is_some(), &context),
        None => vec![firmware::default_component(&context.serial)],
    };
    root.finish();

    fits_the_queue(&store, &buses, window_at, findings);
    if context.destinations.is_empty() {
        findings.warning(
            Place { file: 0, line: 0 },
            "",
            "No destination is configured: readings stay on this gateway until the queue is full.",
            "Add [golioth] or [[mqtt]].",
        );
    }
    Config { gateway, store, time, uplink, budget, http, modem, path, buses, golioth, mqtt, components, log }
}

/// One commit must be a small part of the queue, or a single one could push everything older out.
fn fits_the_queue(store: &Store, buses: &[Bus], at: Place, findings: &Findings) {
    /// A packed reading with its share of the segment and of SQLite's pages, in bytes, rounded up.
    const READING_BYTES: u128 = 64;
    let window = store.commit_window.as_millis();
    let readings: u128 = buses
        .iter()
        .flat_map(|bus| &bus.slaves)
        .map(|slave| {
            let polls = (window / slave.period.as_millis().max(1)).max(1);
            polls * slave.points.len() as u128
        })
        .sum();
    if readings * READING_BYTES > u128::from(store.queue_max_bytes) / 4 {
        findings.problem(
            at,
            "store.commit_window",
            format!("{readings} readings in one commit are more than a quarter of the queue."),
            "Shorten commit_window, raise store.queue_max or poll less often.",
        );
    }
}
