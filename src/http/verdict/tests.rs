//! Each case begins with a gateway that is fine and spoils one thing.

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

type Spoil = fn(&mut Snapshot);

#[test]
fn each_thing_that_is_wrong_has_its_level_headline_and_next_step() {
    use Level::{Attention, Broken, Fine};
    let table: &[(&str, Spoil, Level, &str, &str)] = &[
        ("full disk", |s| s.queue.health = Health::DiskFull, Broken, "The disk is full", "make room"),
        ("read-only", |s| s.queue.health = Health::ReadOnly, Broken, "The disk is read-only", "replace it"),
        (
            "disk fault",
            |s| s.queue.health = Health::Faulty("I/O error".into()),
            Broken,
            "The disk refuses writes",
            "replace it",
        ),
        ("nearly full", |s| s.queue.used_bytes = 930, Attention, "The queue is 93 % full", "drains"),
        ("not nearly full", |s| s.queue.used_bytes = 890, Fine, "Connected", ""),
        (
            "reconnecting",
            |s| down(s, LinkPhase::Waiting, 60),
            Attention,
            "No connection to golioth",
            "data plan",
        ),
        ("offline", |s| down(s, LinkPhase::Waiting, 901), Broken, "No connection to golioth", "data plan"),
        (
            "shaking hands",
            |s| down(s, LinkPhase::Connecting, 60),
            Attention,
            "Connecting to golioth",
            "Wait two minutes",
        ),
        (
            "shaking hands for an hour",
            |s| down(s, LinkPhase::Connecting, 3600),
            Broken,
            "No connection to golioth",
            "data plan",
        ),
        (
            "refused",
            |s| down(s, LinkPhase::Sick, 5),
            Broken,
            "golioth refuses this gateway",
            "Act on what it says",
        ),
        (
            "link never started",
            |s| s.destinations[0].link = None,
            Broken,
            "golioth has not been tried yet",
            "systemctl restart fieldgate",
        ),
        (
            "link not started just after the start",
            |s| {
                s.destinations[0].link = None;
                s.gateway.started = seconds_ago(20);
            },
            Attention,
            "golioth has not been tried yet",
            "Wait two minutes",
        ),
        ("no cloud", |s| s.destinations.clear(), Attention, "No cloud is configured", "[golioth]"),
        (
            "SIM failure",
            |s| s.registration = Some(stamped(registration(false, "SIM failure"))),
            Broken,
            "The SIM card does not work",
            "seated",
        ),
        (
            "no card",
            |s| {
                s.registration =
                    Some(stamped(registration(false, "no working SIM: insert one, or look for another")))
            },
            Broken,
            "The SIM card does not work",
            "Insert one, or look for another.",
        ),
        (
            "refused by the network, in words that name the card",
            |s| {
                let words =
                    "the network refuses: illegal UE (cause 3): ask the SIM's operator whether it is active";
                s.registration = Some(stamped(registration(false, words)));
            },
            Broken,
            "The network refuses the SIM card",
            "Ask the SIM's operator whether it is active.",
        ),
        (
            "a busy network",
            |s| {
                let words =
                    "searching; the last network refused: congestion (cause 22): the network is busy; wait";
                s.registration = Some(stamped(registration(false, words)));
            },
            Attention,
            "The network refuses the SIM card",
            "operator",
        ),
        (
            "no coverage",
            |s| s.registration = Some(stamped(registration(false, "no coverage: check the antenna"))),
            Attention,
            "No mobile network",
            "Check the antenna.",
        ),
        (
            "a modem that went while another path carries the link",
            |s| {
                modem(s, ModemPhase::NoPort, "/dev/ttyACM0: no such port", false);
                s.registration = Some(stamped(registration(false, "/dev/ttyACM0: no such port")));
            },
            Attention,
            "The modem's port is not there",
            "cable",
        ),
        (
            "a modem with trouble that keeps it off the network is told once",
            |s| {
                let words = "the modem is too hot and switched its radio off: let it cool";
                modem(s, ModemPhase::Up, words, false);
                s.registration = Some(stamped(registration(false, words)));
            },
            Attention,
            "The modem has trouble",
            "Let it cool.",
        ),
        (
            "a modem that is being set up",
            |s| modem(s, ModemPhase::Starting, "it answers; it is being set up", true),
            Fine,
            "Connected",
            "",
        ),
        (
            "searching while another path carries the link",
            |s| s.registration = Some(stamped(registration(false, "searching"))),
            Attention,
            "No mobile network",
            "antenna",
        ),
        (
            "a very poor signal",
            |s| s.signal.as_mut().unwrap().value.grade = SignalGrade::VeryPoor,
            Attention,
            "The signal is weak (−95 dBm)",
            "antenna",
        ),
        (
            "a poor signal that works",
            |s| s.signal.as_mut().unwrap().value.grade = SignalGrade::Poor,
            Fine,
            "Connected",
            "",
        ),
        (
            "one silent slave",
            |s| drop(s.slaves.insert("pump".into(), slave(false))),
            Attention,
            "pump does not answer",
            "unit address",
        ),
        (
            "two of three silent",
            |s| {
                s.slaves.insert("pump".into(), slave(false));
                s.slaves.insert("meter".into(), slave(false));
            },
            Attention,
            "2 sensors do not answer",
            "unit addresses",
        ),
        (
            "a silent bus",
            |s| s.slaves.values_mut().for_each(|state| *state = slave(false)),
            Broken,
            "Nothing answers on bus field",
            "bus cable",
        ),
        (
            "a value out of range",
            |s| drop(s.latest.insert("boiler.t".into(), latest(Quality::OutOfRange))),
            Attention,
            "1 value is in doubt",
            "probe",
        ),
        (
            "a late value",
            |s| drop(s.latest.insert("boiler.t".into(), latest(Quality::Late))),
            Fine,
            "Connected",
            "",
        ),
        (
            "a failing lane",
            |s| drop(s.lanes.insert("modem".into(), stamped(lane(false, "failed: no such port")))),
            Attention,
            "A part of the daemon fails: modem",
            "a port",
        ),
        (
            "a silent lane",
            |s| s.silent_lanes.push(("bus field".into(), seconds_ago(90))),
            Broken,
            "A part of the daemon hangs: bus field",
            "systemctl restart",
        ),
        (
            "a lane that no restart helps",
            |s| {
                let excused = LaneState { excused: true, ..lane(false, "failed; restarts in 1 h 0 min") };
                s.lanes.insert("modem".into(), stamped(excused));
                // Found silent as well while it is tried again: one reason, not two.
                s.silent_lanes.push(("modem".into(), seconds_ago(90)));
            },
            Broken,
            "A part of the daemon hangs: modem",
            "Check what it works with",
        ),
        (
            "a slow disk",
            |s| writer(s, WriterPhase::SlowFsync, "one write has taken 12 s so far"),
            Attention,
            "The disk is slow (slow_fsync)",
            "worn",
        ),
        (
            "a disk that hangs",
            |s| writer(s, WriterPhase::Stuck, "in one write for 10 min"),
            Broken,
            "The disk hangs",
            "damaged",
        ),
        (
            "a gateway.db that takes no writes",
            |s| s.gateway_db = GatewayHealth::Faulty("the disk is full".into()),
            Broken,
            "gateway.db takes no writes",
            "Make room",
        ),
        (
            "a growing queue",
            |s| {
                s.destinations[0].books.totals.queued = 2000;
                s.destinations[0].moved.growth = Some(700);
            },
            Attention,
            "The queue for golioth grows although it is connected",
            "signal",
        ),
        (
            "a link that owes an answer for longer than a repetition takes",
            |s| down(s, LinkPhase::Silent, 40),
            Attention,
            "No answer from golioth",
            "data plan",
        ),
        (
            "a link that owes an answer for a quarter of an hour",
            |s| down(s, LinkPhase::Silent, 901),
            Broken,
            "No answer from golioth",
            "data plan",
        ),
        (
            "superseded and thinned",
            |s| {
                let books = &mut s.destinations[0].books;
                (books.totals.dropped, books.superseded, books.thinned) = (900, 600, 300);
                s.destinations[0].moved.thinned = 300;
            },
            Fine,
            "Connected",
            "",
        ),
        (
            "a register that the slave does not have",
            |s| {
                s.slaves.insert("pump".into(), refusing(2));
                // Its readings are missing, and no cable is at fault.
                s.recent.intake.missed = 900;
            },
            Attention,
            "pump refuses to tell pump.speed and 1 more",
            "compare the table, register and type of pump.speed and 1 more with the device's manual: it was asked for \
             holding registers 10 to 13",
        ),
        (
            "a slave that is busy",
            |s| drop(s.slaves.insert("pump".into(), refusing(6))),
            Attention,
            "pump refuses to tell pump.speed and 1 more",
            "read less often",
        ),
        (
            "a gateway that does not reach the slave behind it",
            |s| drop(s.slaves.insert("pump".into(), refusing(11))),
            Attention,
            "pump refuses to tell",
            "behind the gateway",
        ),
        (
            "a damaged file whose readings are being saved",
            |s| {
                s.queue.salvage =
                    Some(Salvaging { file: "queue.db.damaged-1".into(), thousandths: 420, readings: 7 });
            },
            Attention,
            "The queue's file was damaged",
            "goes on by itself",
        ),
        (
            "a slow commit",
            |s| s.queue.slow_fsync = Some(Duration::from_millis(2500)),
            Attention,
            "The disk is slow (slow_fsync)",
            "worn",
        ),
        (
            "a slow commit that the writer's state tells already",
            |s| {
                writer(s, WriterPhase::SlowFsync, "one write has taken 12 s so far");
                s.queue.slow_fsync = Some(Duration::from_millis(2500));
            },
            Attention,
            "The disk is slow (slow_fsync)",
            "worn",
        ),
        ("a growing batch", |s| s.destinations[0].moved.growth = Some(9), Fine, "Connected", ""),
        (
            "given up",
            |s| s.destinations[0].moved.lost = 1,
            Attention,
            "1 reading was given up for golioth in the last 1 h 0 min",
            "queue_max",
        ),
        (
            "refused a while ago",
            |s| s.recent.intake.refused = 12,
            Attention,
            "12 readings were refused in the last 1 h 0 min",
            "Check the disk",
        ),
        (
            "set aside",
            |s| s.destinations[0].moved.set_aside = 2,
            Attention,
            "golioth refused 2 readings",
            "fieldgate queue ls",
        ),
        (
            "one in a hundred missed",
            |s| s.recent.intake.missed = 31,
            Attention,
            "31 readings were missed in the last 1 h 0 min",
            "termination",
        ),
        ("a frame lost now and then", |s| s.recent.intake.missed = 5, Fine, "Connected", ""),
        (
            "lost a year ago",
            |s| {
                s.destinations[0].books.totals.dropped = 99;
                s.queue.intake.missed = 99;
            },
            Fine,
            "Connected",
            "",
        ),
        ("no clock", |s| s.wall.trusted = false, Attention, "The clock is not set", "time server"),
    ];
    for (case, spoil, level, headline, next) in table {
        let mut snapshot = fine();
        spoil(&mut snapshot);
        let verdict = verdict(&snapshot);
        assert_eq!(verdict.level, *level, "{case}: {verdict:?}");
        assert!(verdict.headline.starts_with(headline), "{case}: {}", verdict.headline);
        assert_eq!(verdict.reasons.len(), usize::from(*level != Fine), "{case}: {:?}", verdict.reasons);
        for reason in &verdict.reasons {
            assert!(reason.next_step.contains(next), "{case}: {}", reason.next_step);
            assert!(!reason.meaning.is_empty(), "{case}");
        }
    }
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
