//! The promises of a plan: what is kept for whom, when it begins anew, and what is said of its end.

use std::sync::Arc;

use super::*;
use crate::board::Board;
use crate::clock::{BootId, VirtualClock, Wall};
use crate::reading::Class;

const PERCENT: u64 = MONTH / 100;

fn left(bench: &Bench) -> u64 {
    MONTH - bench.ledger.spent(Network::Home).1.total()
}

#[test]
fn a_gateway_that_begins_within_a_month_is_judged_by_the_days_it_has_counted() {
    let mut bench = Bench::new(Plan::unlimited());
    bench.ledger = Ledger::new(plan(Some(MONTH), None), None);
    bench.mono = days(20);
    assert_eq!(bench.ledger.forecast(bench.now(), Network::Home).1.forecast, None);
    for _ in 0..5 * 24 {
        bench.charge(Purpose::Session, 10_000);
        bench.mono += HOUR;
    }
    let forecast = |bench: &mut Bench| bench.ledger.forecast(bench.now(), Network::Home).1.forecast.unwrap();
    let by_then = forecast(&mut bench);
    assert!(by_then.abs_diff(11 * 240_000) < 30_000, "five days counted, six to come: {by_then}");

    let record = bench.ledger.closing_record();
    bench.ledger = Ledger::new(plan(Some(MONTH), None), Some(record));
    let again = forecast(&mut bench);
    assert!(again.abs_diff(by_then) < 10_000, "a restart forgets no beginning: {by_then} then {again}");
}

#[test]
fn a_record_from_before_beginnings_were_kept_has_counted_the_whole_period() {
    let mut bench = Bench::new(plan(Some(MONTH), None));
    bench.mono = days(10);
    bench.charge(Purpose::Session, 1_000_000);
    let mut record = serde_json::to_value(bench.ledger.closing_record()).unwrap();
    for network in ["home", "roaming"] {
        for period in ["day", "month"] {
            record[network][period]["window"].as_object_mut().unwrap().remove("counted_ms").unwrap();
        }
    }
    let record: Record = serde_json::from_value(record).unwrap();
    bench.ledger = Ledger::new(plan(Some(MONTH), None), Some(record));
    let forecast = bench.ledger.forecast(bench.now(), Network::Home).1.forecast.unwrap();
    assert!(forecast.abs_diff(3_100_000) < 10_000, "{forecast}");
}

#[test]
fn what_the_session_will_take_is_told_from_the_days_that_were_counted() {
    let mut bench = Bench::new(Plan::unlimited());
    bench.ledger = Ledger::new(plan(Some(MONTH), None), None);
    bench.mono = days(20);
    for _ in 0..5 * 24 {
        bench.charge(Purpose::Session, 8_000);
        bench.mono += HOUR;
    }
    while bench.spend(Purpose::Event, 1000) {}
    let kept = left(&bench);
    let to_come = 6 * 24 * 8_000;
    assert!(kept >= to_come, "{kept} for {to_come}");
}

#[test]
fn each_class_has_what_the_operator_keeps_for_it_and_leaves_the_others_theirs() {
    let reserves = Reserves::default().with(Purpose::Event, 20).with(Purpose::Live, 12);
    let mut bench = Bench::new(Plan { reserves, ..plan(Some(MONTH), None) });
    bench.mono = days(30) + 23 * HOUR;
    // At the month's end a quarter of each is kept.
    let quarter = |percent: u64| percent * PERCENT / 4;
    let about = |kept: u64, expected: u64| (expected - 100..expected + 1000).contains(&kept);
    while bench.spend(Purpose::State, 1000) {}
    assert!(about(left(&bench), quarter(10 + 10 + 20 + 12)), "{}", left(&bench));
    while bench.spend(Purpose::Event, 1000) {}
    assert!(about(left(&bench), quarter(10 + 10 + 12)), "no more than its own: {}", left(&bench));
    while bench.spend(Purpose::Management, 100) {}
    assert!(about(left(&bench), quarter(10)), "management comes before readings: {}", left(&bench));
    while bench.spend(Purpose::Alarm, 100) {}
    assert!(left(&bench) < 100);
}

#[test]
fn alarms_use_what_is_kept_for_other_readings_and_not_what_keeps_the_box_reachable() {
    let reserves = Reserves::default().with(Purpose::Event, 20).with(Purpose::Live, 40);
    let mut bench = Bench::new(Plan { reserves, ..plan(Some(MONTH), None) });
    bench.mono = days(1);
    while bench.spend(Purpose::Alarm, 200) {}
    let kept = left(&bench);
    assert!((9 * PERCENT..11 * PERCENT).contains(&kept), "{kept}");
    assert!(bench.spend(Purpose::Management, 1000));
}

#[test]
fn where_alarms_took_of_what_was_kept_for_readings_the_rest_is_not_kept_from_everybody() {
    let reserves = Reserves::default().with(Purpose::Event, 20).with(Purpose::State, 40);
    let mut bench = Bench::new(Plan { reserves, ..plan(Some(MONTH), None) });
    bench.mono = days(10);
    bench.charge(Purpose::Alarm, 60 * PERCENT);
    while bench.spend(Purpose::Diagnostics, 500) {}
    assert_eq!(left(&bench), MONTH - 60 * PERCENT, "those without a reserve have nothing");
    while bench.spend(Purpose::Event, 500) {}
    let took = MONTH - 60 * PERCENT - left(&bench);
    assert!(took > 10 * PERCENT && took <= 20 * PERCENT, "{took}");
}

#[test]
fn a_backlog_that_takes_all_it_gets_leaves_live_what_is_kept_for_it_on_every_day() {
    let reserves = Reserves::default().with(Purpose::Live, 30);
    let mut bench = Bench::new(Plan { reserves, ..plan(Some(MONTH), None) });
    let mut live_days = 0;
    for hour in 0..31 * 24u32 {
        bench.mono = hour * HOUR;
        while bench.spend(Purpose::Backlog, 1024) {}
        if hour % 24 == 23 {
            let before = bench.ledger.spent(Network::Home).1.on(Purpose::Live);
            while bench.ledger.spent(Network::Home).1.on(Purpose::Live) < before + 30 * PERCENT / 31
                && bench.spend(Purpose::Live, 1024)
            {}
            let took = bench.ledger.spent(Network::Home).1.on(Purpose::Live) - before;
            live_days += u32::from(took >= 30 * PERCENT / 31);
        }
    }
    assert!(live_days >= 29, "only on {live_days} days of 31");
}

#[test]
fn the_plan_begins_anew_at_midnight_before_its_reset_day_and_not_before() {
    let mut bench = Bench::new(Plan { reset_day: 15, ..plan(Some(MONTH), None) });
    bench.charge(Purpose::Management, MONTH);
    bench.mono = days(14) - Duration::from_millis(1);
    assert!(matches!(bench.ask(Purpose::Event, 1000, 0), Grant::Wait { why: Why::Month, .. }));
    let (_, month) = bench.ledger.forecast(bench.now(), Network::Home);
    assert_eq!(month.ends_ms, Some(MARCH + 14 * DAY_MS));
    bench.mono = days(14);
    assert_eq!(bench.ask(Purpose::Event, 1000, 0), Grant::Go);
    assert_eq!(bench.ledger.spent(Network::Home).1.total(), 0);
    let (_, month) = bench.ledger.forecast(bench.now(), Network::Home);
    assert_eq!(month.ends_ms, Some(MARCH + (14 + 31) * DAY_MS), "on the 15th of April");
}

#[test]
fn with_nothing_carried_over_each_day_has_its_own_and_with_days_carried_over_so_many_more() {
    let on_the_tenth_day = |carry_over_days: u8| {
        let mut bench = Bench::new(Plan { carry_over_days, ..plan(None, Some(100_000)) });
        bench.mono = days(9) + 23 * HOUR;
        while bench.spend(Purpose::Event, 500) {}
        bench.went_within(days(9), days(10))
    };
    let (none, two, all) = (on_the_tenth_day(0), on_the_tenth_day(2), on_the_tenth_day(31));
    assert!(none <= 100_000 && none > 85_000, "{none}");
    assert!(two <= 300_000 && two > 260_000, "{two}");
    assert!(all <= 1_000_000 && all > 870_000, "nine days went by before: {all}");
}

#[test]
fn several_long_messages_are_never_granted_beyond_what_the_record_on_disk_stands_for() {
    const LONG: u64 = 18_000;
    let mut bench = Bench::new(plan(Some(MONTH), None));
    bench.mono = days(10);
    let mut record = bench.write_down();
    let mut granted = 0;
    for _ in 0..8 {
        if bench.ask(Purpose::Event, LONG, LONG) == Grant::Go {
            granted += 1;
        }
    }
    assert_eq!(granted, LEASE / LONG, "no more than the lease, though nothing was charged yet");
    for sent in 1..=50 {
        bench.charge(Purpose::Event, LONG);
        let after_a_crash = Ledger::new(plan(Some(MONTH), None), Some(record.clone()));
        let known = after_a_crash.spent(Network::Home).1.total();
        assert!(known >= sent * LONG, "{known} known of {}", sent * LONG);
        bench.mono += Duration::from_secs(1);
        while let Grant::Wait { why, .. } = bench.ledger.grant(
            bench.now(),
            &Ask { purpose: Purpose::Event, bytes: LONG, waiting: LONG, full: true, network: Network::Home },
        ) {
            assert_eq!(why, Why::Recording);
            if !bench.ledger.wants_record(bench.mono) {
                break;
            }
            record = bench.write_down();
        }
    }
}

#[test]
fn a_message_longer_than_a_lease_goes_once_a_record_that_stands_for_it_is_on_disk() {
    const LONG: u64 = 2 * LEASE;
    let mut bench = Bench::new(plan(Some(MONTH), None));
    bench.mono = days(10);
    let ask = Ask { purpose: Purpose::Live, bytes: LONG, waiting: LONG, full: true, network: Network::Home };
    for sent in 1..4 {
        assert!(matches!(bench.ledger.grant(bench.now(), &ask), Grant::Wait { why: Why::Recording, .. }));
        let record = bench.write_down();
        assert_eq!(bench.ledger.grant(bench.now(), &ask), Grant::Go);
        bench.charge(Purpose::Live, LONG);
        let known = Ledger::new(plan(Some(MONTH), None), Some(record)).spent(Network::Home).1.total();
        assert!(known >= sent * LONG, "{known}");
        bench.mono += HOUR;
    }
    bench.write_down();
    let waits = bench.ask(Purpose::Live, LEASE + 1000, 0);
    assert!(matches!(waits, Grant::Wait { why: Why::Recording, .. }), "the next is an ordinary one again");
}

fn purse(month: u64) -> Arc<Purse> {
    let wall = Wall { unix_ms: MARCH, uncertainty_ms: 50, trusted: true };
    let clock = Arc::new(VirtualClock::starting_at(BootId([1; 16]), wall));
    let purse = Purse::new(plan(Some(month), None), None, 300 * HOUR / 3600, clock, Board::shared());
    write_down(&purse);
    purse
}

fn write_down(purse: &Purse) {
    if purse.record().is_some() {
        purse.recorded(true);
    }
}

fn want(packed: Option<Size>) -> Want<'static> {
    let (class, most) = (Class::Event, 16 << 10);
    Want { destination: "plant", class, age: HOUR, rows: 100, waiting: 100, most, packed }
}

#[test]
fn a_message_that_costs_more_than_was_guessed_waits_for_the_rest_and_gives_back_what_it_had() {
    let purse = purse(MONTH);
    let size = Size { body: 16 << 10, address: 40 };
    assert_eq!(purse.ask(&want(None)), Grant::Go, "a hundred short readings");
    assert_eq!(purse.falls_short("plant", Class::Event, size), None, "there is room for the rest too");
    // What is held for the first leaves no room for the rest of a second within one lease.
    assert_eq!(purse.ask(&want(None)), Grant::Go);
    let (_, why) = purse.falls_short("plant", Class::Event, size).unwrap();
    assert_eq!(why, Why::Recording);
    assert!(matches!(purse.ask(&want(Some(size))), Grant::Wait { why: Why::Recording, .. }), "all of it");
    purse.packed("plant", Class::Event, 100, 16 << 10);
    let up = wire::stream(16 << 10);
    purse.caused("plant", Cause::Message(Class::Event), Direction::Up, up);
    assert!(matches!(purse.ask(&want(Some(size))), Grant::Wait { why: Why::Recording, .. }));
    write_down(&purse);
    assert_eq!(purse.ask(&want(Some(size))), Grant::Go, "the first has gone and is on record");
    assert_eq!(purse.falls_short("plant", Class::Event, size), None);
}

#[test]
fn what_a_message_costs_is_learned_when_it_leaves_however_many_are_packed_before() {
    let purse = purse(100 * MONTH);
    let ask = |packed| match purse.ask(&want(packed)) {
        Grant::Go => purse.falls_short("plant", Class::Event, Size { body: 10_000, address: 0 }),
        other => panic!("{other:?}"),
    };
    for _ in 0..50 {
        purse.packed("plant", Class::Event, 100, 10_000);
    }
    for _ in 0..50 {
        purse.caused("plant", Cause::Message(Class::Event), Direction::Up, 20_000);
        write_down(&purse);
    }
    assert_eq!(ask(None), None);
    purse.publish();
    let learned = purse.wire_percent("plant", Class::Event);
    assert!((180..=220).contains(&learned), "{learned}");
}
