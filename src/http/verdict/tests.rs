//! Each case begins with a gateway that is fine and spoils one thing. The table of causes stands apart; here is how several are
//! told together, and in which words.

mod each_cause;

use std::collections::BTreeMap;

use super::*;
use crate::board::{
    LaneState, Latest, ModemPhase, ModemState, Registration, Signal, SignalGrade, SlaveRefusal, SlaveState,
    Stamped, WriterPhase, WriterState,
};
use crate::clock::{Mono, Wall};
use crate::http::recent::{Moved, Outgoing, Recent};
use crate::http::sources::GatewayFacts;
use crate::reading::Quality;
use crate::reading::Value;
use crate::store::gateway::GatewayHealth;
use crate::store::queue::{Health, QueueStatus, Salvaging, Totals};

const NOW: Mono = Mono(10_000 * 1_000_000_000);

fn seconds_ago(seconds: u64) -> Mono {
    Mono(NOW.0 - seconds * 1_000_000_000)
}

fn stamped<T>(value: T) -> Stamped<T> {
    Stamped { value, at: seconds_ago(3) }
}

fn up() -> LinkState {
    LinkState {
        phase: LinkPhase::Up,
        words: "connected".into(),
        handshakes: 1,
        bytes_up: 1000,
        bytes_down: 500,
        packets: 12,
        in_flight: 0,
        last_heard: Some(seconds_ago(4)),
        owed_since: None,
    }
}

fn slave(answering: bool) -> Stamped<SlaveState> {
    stamped(SlaveState {
        bus: "field".into(),
        words: if answering { "answering" } else { "silent for 40 s, asked again in 8 s" }.into(),
        answering,
        answers: 100,
        failures: 0,
        last_answer: Some(seconds_ago(2)),
        refusal: None,
    })
}

fn refusing(exception: u8) -> Stamped<SlaveState> {
    let mut slave = slave(true);
    slave.value.refusal = Some(SlaveRefusal {
        streams: "pump.speed and 1 more".into(),
        asked: "holding registers 10 to 13".into(),
        exception,
        why: "it has no such address",
    });
    slave
}

fn fine() -> Snapshot {
    let names = ["boiler", "meter", "pump"];
    Snapshot {
        now: NOW,
        wall: Wall { unix_ms: 1_800_000_000_000, uncertainty_ms: 500, trusted: true },
        clock: None,
        gateway: GatewayFacts {
            name: "pump house".into(),
            serial: "gw-0042".into(),
            version: "0.1.0".into(),
            started: seconds_ago(9000),
        },
        destinations: vec![Destination {
            name: "golioth".into(),
            link: Some(up()),
            certificate: None,
            troubles: Vec::new(),
            delivery: None,
            books: Outgoing {
                totals: Totals { accepted: 5000, acknowledged: 4990, queued: 10, ..Totals::default() },
                ..Outgoing::default()
            },
            given_up: Vec::new(),
            moved: Moved { growth: Some(0), ..Moved::default() },
            classes: Vec::new(),
        }],
        queue: QueueStatus { used_bytes: 10, max_bytes: 1000, ..QueueStatus::default() },
        recent: Recent {
            over: Duration::from_secs(3600),
            intake: Totals { accepted: 3000, ..Totals::default() },
            ..Recent::default()
        },
        data_plan: None,
        signal: Some(stamped(Signal {
            rsrp_dbm: Some(-95.0),
            rsrq_db: Some(-9.0),
            snr_db: Some(12.0),
            grade: SignalGrade::Good,
        })),
        registration: Some(stamped(registration(true, "registered, home"))),
        modem_state: None,
        modem: None,
        modem_millivolts: None,
        modem_celsius: None,
        slaves: names.into_iter().map(|name| (name.to_owned(), slave(true))).collect(),
        latest: BTreeMap::new(),
        lanes: BTreeMap::from([("modem".to_owned(), stamped(lane(true, "advancing")))]),
        silent_lanes: Vec::new(),
        writers: BTreeMap::new(),
        gateway_db: GatewayHealth::Good,
        components: BTreeMap::new(),
        settings: None,
    }
}

fn registration(registered: bool, words: &str) -> Registration {
    Registration {
        registered,
        roaming: false,
        words: words.into(),
        operator: Some("Vodafone".into()),
        plmn: None,
        access: Some("LTE-M".into()),
        band: Some(20),
        cell: None,
    }
}

fn lane(fine: bool, words: &str) -> LaneState {
    LaneState { words: words.into(), fine, excused: false, restarts: 3, last_progress: seconds_ago(1) }
}

fn writer(s: &mut Snapshot, phase: WriterPhase, words: &str) {
    s.writers.insert("queue.db".into(), stamped(WriterState { phase, words: words.into() }));
}

fn modem(s: &mut Snapshot, phase: ModemPhase, words: &str, fine: bool) {
    s.modem_state = Some(stamped(ModemState { phase, words: words.into(), fine }));
}

fn link_of(s: &mut Snapshot) -> &mut LinkState {
    s.destinations[0].link.as_mut().unwrap()
}

fn down(s: &mut Snapshot, phase: LinkPhase, heard_seconds_ago: u64) {
    let link = link_of(s);
    link.phase = phase;
    link.words = "no answer from coap.golioth.io; tried again in 20 s".into();
    link.last_heard = Some(seconds_ago(heard_seconds_ago));
}

fn trouble(s: &mut Snapshot, kind: TroubleKind, about: &'static str, times: u64) {
    let trouble = Trouble { times, ..Trouble::new(kind, about, "this was met", "do this and that") };
    s.destinations[0].troubles.push((seconds_ago(30), trouble));
}

fn latest(quality: Quality) -> Stamped<Latest> {
    stamped(Latest {
        device: "gw-0042".into(),
        value: Value::Float(1.0),
        decimals: 1,
        quality,
        unit: "Cel".into(),
    })
}

#[test]
fn a_gateway_with_nothing_wrong_is_fine_and_says_where_it_is_connected() {
    let verdict = verdict(&fine());
    assert_eq!(verdict.level, Level::Fine);
    assert_eq!(verdict.headline, "Connected to golioth, nothing to do");
    assert!(verdict.reasons.is_empty());
}

#[test]
fn an_offline_gateway_names_the_missing_network_before_the_missing_cloud() {
    let mut snapshot = fine();
    snapshot.registration = Some(stamped(registration(false, "searching")));
    down(&mut snapshot, LinkPhase::Waiting, 3600);
    let verdict = verdict(&snapshot);
    assert_eq!(verdict.level, Level::Broken);
    assert_eq!(verdict.headline, "No mobile network, and 1 more");
    assert_eq!(verdict.reasons[1].what, "No connection to golioth");
    assert!(verdict.reasons[1].next_step.starts_with("First bring the mobile network back"));
}

#[test]
fn a_modem_that_took_the_link_with_it_is_named_before_the_link() {
    let mut snapshot = fine();
    modem(&mut snapshot, ModemPhase::Doubtful, "an answer is overdue", false);
    down(&mut snapshot, LinkPhase::Waiting, 60);
    let verdict = verdict(&snapshot);
    assert_eq!(
        (verdict.level, verdict.headline.as_str()),
        (Level::Broken, "The modem does not answer, and 1 more")
    );
    assert_eq!(verdict.reasons[0].meaning, "An answer is overdue.");
}

#[test]
fn what_is_broken_stands_before_what_needs_a_look() {
    let mut snapshot = fine();
    snapshot.wall.trusted = false;
    snapshot.slaves.insert("pump".into(), slave(false));
    snapshot.silent_lanes.push(("modem".into(), seconds_ago(100)));
    let verdict = verdict(&snapshot);
    assert_eq!(verdict.headline, "A part of the daemon hangs: modem, and 2 more");
    let what: Vec<_> = verdict.reasons.iter().map(|reason| reason.what.as_str()).collect();
    assert_eq!(what, ["A part of the daemon hangs: modem", "pump does not answer", "The clock is not set"]);
}

#[test]
fn an_outage_says_how_much_waits_and_since_when() {
    let mut snapshot = fine();
    down(&mut snapshot, LinkPhase::Waiting, 120);
    snapshot.destinations[0].books.totals.queued = 321;
    let meaning = &verdict(&snapshot).reasons[0].meaning;
    assert_eq!(
        meaning,
        "No answer from coap.golioth.io; tried again in 20 s. Last heard 2 min ago. \
         321 readings are kept on disk and sent later."
    );
}

#[test]
fn a_silent_slave_is_not_told_twice_as_missed_readings() {
    let mut snapshot = fine();
    snapshot.slaves.insert("pump".into(), slave(false));
    snapshot.recent.intake.missed = 900;
    assert_eq!(verdict(&snapshot).reasons.len(), 1);
}

#[test]
fn many_names_are_listed_shortly() {
    assert_eq!(listed(&["a"]), "a");
    assert_eq!(listed(&["a", "b"]), "a and b");
    assert_eq!(listed(&["a", "b", "c", "d"]), "a, b, c and d");
    assert_eq!(listed(&["a", "b", "c", "d", "e", "f"]), "a, b, c, d and 2 more");
}

#[test]
fn a_slave_that_refuses_is_said_to_be_wired_well_with_register_and_exception() {
    let mut snapshot = fine();
    snapshot.slaves.insert("pump".into(), refusing(2));
    let reason = &verdict(&snapshot).reasons[0];
    assert_eq!(
        reason.meaning,
        "It answers, but refuses holding registers 10 to 13 (pump.speed and 1 more): it has no such address \
         (exception 2). The wiring is fine; these readings are missing."
    );
    assert!(!reason.next_step.contains("wires"), "{}", reason.next_step);
}

#[test]
fn each_destination_answers_for_its_own_losses() {
    let mut snapshot = fine();
    let mut other = snapshot.destinations[0].clone();
    other.name = "backup".into();
    other.moved.lost = 4;
    snapshot.destinations[0].moved.lost = 3;
    snapshot.destinations.push(other);
    let what: Vec<_> = verdict(&snapshot).reasons.into_iter().map(|reason| reason.what).collect();
    assert_eq!(
        what,
        [
            "3 readings were given up for golioth in the last 1 h 0 min",
            "4 readings were given up for backup in the last 1 h 0 min"
        ]
    );
}
