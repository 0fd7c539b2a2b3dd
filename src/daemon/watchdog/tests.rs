//! Each reason by itself, and any course of events within the budget.

use proptest::prelude::*;

use super::*;

const HOUR: Duration = Duration::from_secs(3600);

fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn writer(busy_since: Option<u64>) -> WriterSight {
    WriterSight { name: "queue.db", busy_since: busy_since.map(s), gone: false }
}

fn helpless(lanes: &[&str]) -> BTreeSet<String> {
    lanes.iter().map(|&l| l.to_owned()).collect()
}

/// A daemon that is well but for these lanes.
fn sight(now: Duration, lanes: &[&str]) -> Sight {
    Sight { supervisor_turned: now, helpless: helpless(lanes), writers: vec![writer(None)] }
}

fn withheld_for(lane: &str) -> Decision {
    Decision::Withhold(Why::Lane(lane.into()))
}

#[test]
fn the_watchdog_is_withheld_for_what_a_new_process_may_mend_and_for_nothing_else() {
    let now = s(10_000);
    let well = || sight(now, &[]);
    let cases: [(&str, Sight, Decision); 9] = [
        ("all is well", well(), Decision::Feed),
        ("nothing to write", Sight { writers: vec![writer(None)], ..well() }, Decision::Feed),
        ("a slow disk", Sight { writers: vec![writer(Some(9990))], ..well() }, Decision::Feed),
        ("a very slow disk", Sight { writers: vec![writer(Some(9401))], ..well() }, Decision::Feed),
        (
            "a stuck writer",
            Sight { writers: vec![writer(Some(9400))], ..well() },
            Decision::Withhold(Why::Writer("queue.db")),
        ),
        (
            "a writer that is no more",
            Sight { writers: vec![WriterSight { gone: true, ..writer(None) }], ..well() },
            Decision::End(Why::WriterGone("queue.db")),
        ),
        ("a supervisor at work", Sight { supervisor_turned: s(9940), ..well() }, Decision::Feed),
        (
            "a supervisor that stands still",
            Sight { supervisor_turned: s(9939), ..well() },
            Decision::Withhold(Why::Supervisor),
        ),
        ("a helpless lane", sight(now, &["modem"]), Decision::Remember(helpless(&["modem"]))),
    ];
    for (what, sight, expected) in cases {
        assert_eq!(Watchdog::new(s(0), true, []).handle(now, &sight), expected, "{what}");
    }
}

#[test]
fn a_slow_write_has_a_name_while_it_lasts_and_for_a_minute_after() {
    let mut watchdog = Watchdog::new(s(0), true, []);
    let mut phase_at = |now: u64, busy_since: Option<u64>| {
        let writer = writer(busy_since);
        let seen = Sight { supervisor_turned: s(now), writers: vec![writer], ..Sight::default() };
        let _ = watchdog.handle(s(now), &seen);
        watchdog.writer(s(now), &writer).0
    };
    assert_eq!(phase_at(100, Some(96)), WriterPhase::Working);
    assert_eq!(phase_at(101, Some(96)), WriterPhase::SlowFsync);
    assert_eq!(phase_at(110, None), WriterPhase::SlowFsync);
    assert_eq!(phase_at(160, Some(159)), WriterPhase::SlowFsync);
    assert_eq!(phase_at(161, None), WriterPhase::Working);
    assert_eq!(phase_at(900, Some(300)), WriterPhase::Stuck);
    assert_eq!(WriterPhase::SlowFsync.word(), "slow_fsync");
}

#[test]
fn a_helpless_lane_withholds_it_only_once_its_restart_is_on_disk() {
    let mut watchdog = Watchdog::new(s(0), true, []);
    let (now, seen) = (s(200), sight(s(200), &["bus a", "bus b"]));
    let both = helpless(&["bus a", "bus b"]);
    assert_eq!(watchdog.handle(now, &seen), Decision::Remember(both.clone()));
    watchdog.remembered(now, &both, true);
    assert_eq!(watchdog.handle(now, &seen), withheld_for("bus a"));
    assert!(watchdog.excused().is_empty());
    // It came to life before systemd lost patience.
    assert_eq!(watchdog.handle(s(210), &sight(s(210), &["bus b"])), withheld_for("bus b"));
    assert_eq!(watchdog.handle(s(220), &sight(s(220), &[])), Decision::Feed);
}

#[test]
fn a_restart_that_cannot_be_put_on_disk_is_not_made() {
    let mut watchdog = Watchdog::new(s(0), true, []);
    let lanes = helpless(&["modem"]);
    assert_eq!(watchdog.handle(s(200), &sight(s(200), &["modem"])), Decision::Remember(lanes.clone()));
    watchdog.remembered(s(200), &lanes, false);
    for at in [201, 3799] {
        assert_eq!(watchdog.handle(s(at), &sight(s(at), &["modem"])), Decision::Feed);
        assert_eq!(watchdog.excused(), lanes);
    }
    assert_eq!(watchdog.handle(s(3800), &sight(s(3800), &["modem"])), Decision::Remember(lanes));
}

#[test]
fn the_third_time_within_a_day_a_lane_is_excused_until_a_restart_is_a_day_old() {
    let past = [("modem".to_owned(), 5 * HOUR), ("modem".to_owned(), HOUR), ("bus".to_owned(), HOUR)];
    let mut watchdog = Watchdog::new(s(0), true, past);
    let seen = |now| sight(now, &["bus", "modem"]);
    // The bus has a restart left, and it is not for the modem.
    assert_eq!(watchdog.handle(HOUR, &seen(HOUR)), Decision::Remember(helpless(&["bus"])));
    watchdog.remembered(HOUR, &helpless(&["bus"]), true);
    assert_eq!(watchdog.handle(HOUR, &seen(HOUR)), withheld_for("bus"));
    assert_eq!(watchdog.excused(), helpless(&["modem"]));
    let modem = |now| sight(now, &["modem"]);
    assert_eq!(watchdog.handle(18 * HOUR, &modem(18 * HOUR)), Decision::Feed);
    assert_eq!(watchdog.handle(19 * HOUR, &modem(19 * HOUR)), Decision::Remember(helpless(&["modem"])));
}

#[test]
fn where_nobody_watches_a_helpless_lane_is_excused_at_once() {
    let mut watchdog = Watchdog::new(s(0), false, []);
    assert_eq!(watchdog.handle(s(200), &sight(s(200), &["modem"])), Decision::Feed);
    assert_eq!(watchdog.excused(), helpless(&["modem"]));
}

#[test]
fn a_lane_that_gets_going_is_no_longer_excused() {
    let mut watchdog = Watchdog::new(s(0), false, []);
    let _ = watchdog.handle(s(200), &sight(s(200), &["modem"]));
    let _ = watchdog.handle(s(300), &sight(s(300), &[]));
    assert!(watchdog.excused().is_empty());
}

#[derive(Clone, Debug)]
struct Step {
    seconds: u64,
    helpless: [bool; 3],
    disk_works: bool,
    process_ends: bool,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (1..20_000u64, any::<[bool; 3]>(), prop::bool::weighted(0.8), prop::bool::weighted(0.2))
        .prop_map(|(seconds, helpless, disk_works, process_ends)| Step {
            seconds,
            helpless,
            disk_works,
            process_ends,
        });
    prop::collection::vec(step, 1..200)
}

proptest! {
    /// The disk of the model keeps what was remembered over every end of the process.
    #[test]
    fn whatever_happens_a_lane_costs_two_restarts_within_any_day(steps in steps()) {
        const LANES: [&str; 3] = ["bus", "http", "modem"];
        let mut now = Duration::ZERO;
        let mut disk: Vec<(String, Duration)> = Vec::new();
        let mut watchdog = Watchdog::new(now, true, []);
        for step in steps {
            now += s(step.seconds);
            let lanes: Vec<_> = LANES.into_iter().zip(step.helpless).filter(|(_, h)| *h).map(|(l, _)| l).collect();
            let seen = sight(now, &lanes);
            let mut decision = watchdog.handle(now, &seen);
            if let Decision::Remember(new) = decision {
                prop_assert!(new.is_subset(&seen.helpless) && !new.is_empty());
                if step.disk_works {
                    disk.extend(new.iter().map(|lane| (lane.clone(), now)));
                }
                watchdog.remembered(now, &new, step.disk_works);
                decision = watchdog.handle(now, &seen);
                prop_assert!(!matches!(decision, Decision::Remember(_)), "asked twice for {new:?}");
            }
            if let Decision::Withhold(Why::Lane(lane)) = &decision {
                prop_assert!(disk.iter().any(|(l, _)| l == lane), "{lane} is not on disk");
                prop_assert!(!watchdog.excused().contains(lane));
            }
            prop_assert!(watchdog.excused().is_subset(&seen.helpless));
            if step.process_ends {
                let past: Vec<_> = disk.iter().map(|(lane, at)| (lane.clone(), now - *at)).collect();
                watchdog = Watchdog::new(now, true, past);
            }
        }
        for lane in LANES {
            let at: Vec<_> = disk.iter().filter(|(l, _)| l == lane).map(|(_, at)| *at).collect();
            for three in at.windows(RESTARTS_A_DAY + 1) {
                prop_assert!(three[RESTARTS_A_DAY] - three[0] >= DAY, "{lane}: {three:?}");
            }
        }
    }
}
