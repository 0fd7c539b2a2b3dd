//! The promise: each thing that is wrong has its level, its headline and its next step, and only one reason.

use super::*;

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
            "a key that the cloud has otherwise, while it is tried again",
            |s| {
                down(s, LinkPhase::Connecting, 5);
                trouble(s, TroubleKind::WrongKey, "", 9);
            },
            Broken,
            "golioth: it has another key for this gateway",
            "Do this and that.",
        ),
        (
            "silence with a known cause that may mend itself",
            |s| {
                down(s, LinkPhase::Waiting, 60);
                trouble(s, TroubleKind::NoAnswer, "", 3);
            },
            Attention,
            "No connection to golioth",
            "Do this and that.",
        ),
        (
            "settings that cannot be read",
            |s| trouble(s, TroubleKind::Unreadable, "the settings", 1),
            Attention,
            "golioth: the settings cannot be read",
            "Do this and that.",
        ),
        (
            "a cloud that failed once",
            |s| trouble(s, TroubleKind::Failing, "readings", 1),
            Fine,
            "Connected",
            "",
        ),
        (
            "a cloud that goes on failing",
            |s| trouble(s, TroubleKind::Failing, "readings", 3),
            Attention,
            "golioth: it fails at readings",
            "Do this and that.",
        ),
        (
            "readings that are acknowledged and kept nowhere",
            |s| {
                link_of(s).phase = LinkPhase::Sick;
                trouble(s, TroubleKind::Unrouted, "", 1);
            },
            Broken,
            "golioth: it keeps no readings",
            "Do this and that.",
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
            "given up for want of room among those set aside",
            |s| (s.destinations[0].moved.lost, s.destinations[0].moved.crowded_out) = (3, 3),
            Attention,
            "3 refused readings were given up for golioth in the last 1 h 0 min",
            "queue retry",
        ),
        (
            "given up by people",
            |s| (s.destinations[0].books.totals.dropped, s.destinations[0].books.by_people) = (40, 40),
            Fine,
            "Connected",
            "",
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
