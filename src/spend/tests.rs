//! The promises of the ledger.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

mod plans;

const HOUR: Duration = Duration::from_secs(3600);
const DAY_MS: i64 = 86_400_000;
/// 2026-03-01T00:00:00Z, a month of 31 days.
const MARCH: i64 = 1_772_323_200_000;
const MONTH: u64 = 5 << 20;
/// What a record stands for, of a plan of so much a month.
const LEASE: u64 = MONTH / 128;

fn plan(month: Option<u64>, day: Option<u64>) -> Plan {
    Plan { home: Allowance { day, month }, ..Plan::unlimited() }
}

/// True time goes by `mono`; what the ledger is told of the wall clock is up to the test.
struct Bench {
    ledger: Ledger,
    mono: Duration,
    trusted: bool,
    /// What the wall clock is ahead of the truth.
    lie_ms: i64,
    /// What really went, and when.
    went: Vec<(Duration, u64)>,
}

impl Bench {
    fn new(plan: Plan) -> Self {
        let mut bench = Self {
            ledger: Ledger::new(plan, None),
            mono: Duration::ZERO,
            trusted: true,
            lie_ms: 0,
            went: Vec::new(),
        };
        bench.ledger.advance(bench.now());
        bench.write_down();
        bench
    }

    fn now(&self) -> Moment {
        let true_ms = MARCH + i64::try_from(self.mono.as_millis()).unwrap();
        Moment { mono: self.mono, wall_ms: self.trusted.then_some(true_ms + self.lie_ms) }
    }

    fn write_down(&mut self) -> Record {
        let record = self.ledger.record();
        self.ledger.recorded(self.mono, true);
        record
    }

    fn ask(&mut self, purpose: Purpose, bytes: u64, waiting: u64) -> Grant {
        let ask = Ask { purpose, bytes, waiting, full: true, network: Network::Home };
        if self.ledger.wants_record(self.mono) {
            self.write_down();
        }
        self.ledger.grant(self.now(), &ask)
    }

    /// Asks, and spends what was asked for if that is granted.
    fn spend(&mut self, purpose: Purpose, bytes: u64) -> bool {
        let granted = !matches!(self.ask(purpose, bytes, bytes), Grant::Wait { .. });
        if granted {
            self.charge(purpose, bytes);
        }
        granted
    }

    fn charge(&mut self, purpose: Purpose, bytes: u64) {
        self.ledger.charge(self.now(), purpose, Direction::Up, bytes, Network::Home);
        self.went.push((self.mono, bytes));
    }

    fn went_within(&self, from: Duration, to: Duration) -> u64 {
        self.went.iter().filter(|(at, _)| *at >= from && *at < to).map(|(_, bytes)| bytes).sum()
    }

    /// The most that went within any stretch of this length.
    fn most_within(&self, length: Duration) -> u64 {
        self.went.iter().map(|(at, _)| self.went_within(*at, *at + length)).max().unwrap_or(0)
    }
}

fn days(n: u64) -> Duration {
    n as u32 * 24 * HOUR
}

#[test]
fn without_a_plan_everything_goes_and_is_counted() {
    let mut bench = Bench::new(Plan::unlimited());
    for _ in 0..1000 {
        assert!(bench.spend(Purpose::Diagnostics, 1 << 20));
    }
    let (day, month) = bench.ledger.spent(Network::Home);
    assert_eq!((day.total(), month.on(Purpose::Diagnostics)), (1000 << 20, 1000 << 20));
}

#[test]
fn ordinary_bytes_stop_where_the_reserves_of_others_begin_and_those_are_still_granted() {
    let mut bench = Bench::new(plan(Some(MONTH), None));
    bench.mono = days(30) + 23 * HOUR;
    while bench.spend(Purpose::State, 1000) {}
    let left = |bench: &Bench| MONTH - bench.ledger.spent(Network::Home).1.total();
    let a_quarter = MONTH / 40;
    // A tenth for each at the beginning of the month, a quarter of that at its end.
    let kept = left(&bench);
    assert!(
        (2 * a_quarter - 2..2 * a_quarter + 1000).contains(&kept),
        "for alarms and for management: {kept}"
    );
    while bench.spend(Purpose::Management, 128) {}
    let kept = left(&bench);
    assert!((a_quarter - 2..a_quarter + 1000).contains(&kept), "for alarms: {kept}");
    while bench.spend(Purpose::Alarm, 200) {}
    assert!(left(&bench) < 200, "alarms may use the last byte");
    assert!(matches!(bench.ask(Purpose::Alarm, 200, 0), Grant::Wait { why: Why::Month, .. }));
}

#[test]
fn a_plan_too_small_for_everything_lasts_until_its_end() {
    let mut bench = Bench::new(plan(Some(MONTH), None));
    for _ in 0..31 * 24 {
        bench.mono += HOUR;
        while bench.mono < days(31) && bench.spend(Purpose::Live, 1024) {}
    }
    let weeks: Vec<u64> = (0..4).map(|week| bench.went_within(days(week * 7), days(week * 7 + 7))).collect();
    let even = MONTH * 9 / 10 * 7 / 31;
    for week in &weeks {
        assert!(week.abs_diff(even) < even / 5, "{weeks:?} around {even}");
    }
}

#[test]
fn a_gateway_that_spends_less_than_its_plan_never_waits() {
    let mut bench = Bench::new(plan(Some(MONTH), None));
    for minute in 0..31 * 24 * 60u32 {
        bench.mono = minute * Duration::from_secs(60);
        assert!(bench.spend(Purpose::Live, 80), "at minute {minute}");
    }
}

#[test]
fn what_an_outage_left_over_may_be_spent_after_it_but_not_all_on_one_day() {
    let mut bench = Bench::new(plan(Some(MONTH), None));
    bench.mono = days(10);
    while bench.spend(Purpose::Backlog, 1024) {}
    let share = MONTH * 8 / 10 / 31;
    let first = bench.went_within(days(10), days(11));
    assert!(
        first.abs_diff(4 * share) < share / 2,
        "its own share and three carried over: {first} of {share}"
    );
    bench.mono = days(11) + HOUR;
    assert!(bench.spend(Purpose::Backlog, 1024), "the rest is there on the next day");
}

#[test]
fn a_limit_a_day_carries_over_what_was_not_used_up_to_a_bound() {
    let mut bench = Bench::new(plan(None, Some(100_000)));
    bench.ask(Purpose::Event, 1, 1);
    bench.mono = days(20) + 23 * HOUR;
    while bench.spend(Purpose::Event, 1000) {}
    let went = bench.went_within(days(20), days(21));
    assert!((300_000..=400_000).contains(&went), "one day and three carried over, less reserves: {went}");
    bench.mono = days(21) + 23 * HOUR;
    while bench.spend(Purpose::Event, 1000) {}
    let went = bench.went_within(days(21), days(22));
    assert!(went < 200_000, "what was carried over is spent: {went}");
}

#[test]
fn roaming_is_counted_apart_and_with_no_bytes_nothing_is_granted_there() {
    let none = Allowance { day: None, month: Some(0) };
    let mut bench = Bench::new(Plan { roaming: none, ..plan(Some(MONTH), None) });
    bench.mono = days(15);
    for purpose in Purpose::ALL {
        let ask = Ask { purpose, bytes: 1, waiting: 1, full: true, network: Network::Roaming };
        assert!(matches!(bench.ledger.grant(bench.now(), &ask), Grant::Wait { .. }), "{purpose:?}");
    }
    bench.ledger.charge(bench.now(), Purpose::Session, Direction::Down, 500, Network::Roaming);
    assert_eq!(bench.ledger.spent(Network::Roaming).1.total(), 500);
    assert_eq!(bench.ledger.spent(Network::Home).1.total(), 0);
    assert!(bench.spend(Purpose::Live, 1024));
}

#[test]
fn a_backlog_that_can_never_be_paid_for_is_thinned_and_nothing_else_ever_is() {
    let mut bench = Bench::new(plan(Some(MONTH), None));
    bench.mono = days(10);
    assert_eq!(bench.ask(Purpose::Backlog, 1024, 100_000), Grant::Go);
    let Grant::Thin { factor } = bench.ask(Purpose::Backlog, 1024, 20 * MONTH) else { panic!("not thinned") };
    assert_eq!(factor, 16, "no thinner");
    let Grant::Thin { factor } = bench.ask(Purpose::Backlog, 1024, 2 * MONTH) else { panic!("not thinned") };
    assert!(factor == 4 || factor == 8, "two months' bytes in a week and what was left over: {factor}");
    for purpose in [Purpose::Alarm, Purpose::Event, Purpose::State, Purpose::Live, Purpose::Diagnostics] {
        assert_eq!(bench.ask(purpose, 100, 20 * MONTH), Grant::Go, "{purpose:?}");
    }
}

#[test]
fn small_messages_wait_to_become_full_ones_while_the_plan_is_short() {
    let mut bench = Bench::new(plan(Some(MONTH), None));
    bench.mono = days(10) + HOUR;
    while bench.spend(Purpose::Live, 1024) {}
    bench.mono += HOUR;
    let small = Ask { purpose: Purpose::Live, bytes: 200, waiting: 200, full: false, network: Network::Home };
    assert!(matches!(bench.ledger.grant(bench.now(), &small), Grant::Wait { why: Why::Gathering, .. }));
    assert_eq!(bench.ledger.grant(bench.now(), &Ask { full: true, ..small }), Grant::Go);
    assert_eq!(bench.ledger.grant(bench.now(), &Ask { purpose: Purpose::Alarm, ..small }), Grant::Go);
}

#[test]
fn what_the_session_takes_every_day_is_kept_for_the_days_to_come() {
    let mut bench = Bench::new(plan(Some(MONTH), None));
    for hour in 0..31 * 24u32 {
        bench.mono = hour * HOUR;
        bench.charge(Purpose::Session, 2000);
        while hour > 48 && bench.spend(Purpose::Event, 1000) {}
    }
    let total = bench.ledger.spent(Network::Home).1.total();
    assert!(total <= MONTH + MONTH / 100, "{total} of {MONTH}: the session's own bytes fitted in");
}

#[test]
fn before_it_is_known_what_the_session_takes_an_idle_days_cost_is_kept_for_each_day() {
    let mut bench = Bench::new(plan(Some(MONTH), None));
    while bench.spend(Purpose::Event, 1000) {}
    let left = MONTH - bench.ledger.spent(Network::Home).1.total();
    assert!(left >= 31 * 20_000, "{left}");
}

#[test]
fn the_forecast_says_what_the_month_will_have_taken() {
    let mut bench = Bench::new(plan(Some(MONTH), None));
    assert_eq!(bench.ledger.forecast(bench.now(), Network::Home).1.forecast, None, "nothing is known yet");
    for _ in 0..10 * 24 {
        bench.charge(Purpose::Session, 10_000);
        bench.mono += HOUR;
    }
    let (_, month) = bench.ledger.forecast(bench.now(), Network::Home);
    let forecast = month.forecast.unwrap();
    assert!(forecast.abs_diff(31 * 240_000) < 100_000, "{forecast}");
    assert_eq!(month.ends_ms, Some(MARCH + 31 * DAY_MS));
    bench.trusted = false;
    let (_, month) = bench.ledger.forecast(bench.now(), Network::Home);
    assert_eq!((month.forecast, month.ends_ms), (None, None), "without a clock nobody knows");
}

#[test]
fn a_record_that_is_not_one_of_ours_is_not_believed() {
    let mut ledger = Ledger::new(plan(Some(MONTH), None), None);
    let mut record = serde_json::to_value(ledger.record()).unwrap();
    record["home"]["day"]["window"]["buckets"] = serde_json::json!([]);
    let record: Record = serde_json::from_value(record).unwrap();
    let mut ledger = Ledger::new(plan(Some(MONTH), None), Some(record));
    ledger.advance(Moment { mono: days(400), wall_ms: None });
    assert_eq!(ledger.spent(Network::Home).1.total(), 0);
}

#[test]
fn the_time_the_machine_was_off_is_taken_from_a_clock_that_was_trusted_before_and_is_now() {
    let mut bench = Bench::new(plan(Some(MONTH), None));
    bench.mono = days(25);
    bench.charge(Purpose::State, MONTH);
    let record = bench.ledger.closing_record();
    let restart = |days_later: i64, trusted: bool| {
        let mut ledger = Ledger::new(plan(Some(MONTH), None), Some(record.clone()));
        let wall = MARCH + (25 + days_later) * DAY_MS;
        ledger.recorded(Duration::ZERO, false);
        let ask =
            Ask { purpose: Purpose::Event, bytes: 1000, waiting: 0, full: true, network: Network::Home };
        ledger.grant(Moment { mono: HOUR, wall_ms: trusted.then_some(wall) }, &ask)
    };
    assert!(matches!(restart(3, true), Grant::Wait { .. }), "the same month");
    assert!(matches!(restart(40, false), Grant::Wait { .. }), "who knows");
    assert_eq!(restart(10, true), Grant::Go, "the next month, and what was spent in it is nothing");
}

#[test]
fn a_record_whose_writer_died_keeps_nobody_waiting_once_the_next_writer_begins() {
    let mut bench = Bench::new(plan(Some(MONTH), None));
    bench.mono = days(10);
    bench.charge(Purpose::Event, LEASE);
    let _lost = bench.ledger.record();
    assert!(matches!(bench.ask(Purpose::Event, 1000, 0), Grant::Wait { why: Why::Recording, .. }));
    assert!(!bench.ledger.wants_record(bench.mono), "one at a time");
    bench.ledger.abandon_record();
    assert!(bench.ledger.wants_record(bench.mono));
    assert_eq!(bench.ask(Purpose::Event, 1000, 0), Grant::Go);
}

#[test]
fn alarms_do_not_wait_for_the_disk() {
    let mut bench = Bench::new(plan(Some(MONTH), None));
    bench.mono = days(10);
    bench.charge(Purpose::Event, LEASE);
    let _slow = bench.ledger.record();
    for purpose in Purpose::ALL {
        let waits = matches!(bench.ask(purpose, 200, 0), Grant::Wait { why: Why::Recording, .. });
        assert_eq!(waits, purpose != Purpose::Alarm, "{purpose:?}");
    }
}

#[test]
fn who_waits_for_a_record_gets_one_though_half_the_lease_is_left() {
    let mut bench = Bench::new(plan(Some(MONTH), None));
    bench.mono = days(10);
    let _ = bench.ledger.record();
    bench.ledger.recorded(bench.mono, true);
    bench.charge(Purpose::Event, LEASE / 2 - 1000);
    assert!(!bench.ledger.wants_record(bench.mono));
    assert!(matches!(
        bench.ask(Purpose::Event, LEASE / 2 + 2000, 0),
        Grant::Wait { why: Why::Recording, .. }
    ));
    assert_eq!(bench.ask(Purpose::Event, LEASE / 2 + 2000, 0), Grant::Go, "the record was written");
}

#[test]
fn grants_that_nobody_uses_shrink_the_plan_for_some_minutes_only_while_others_are_granted() {
    let mut bench = Bench::new(plan(Some(MONTH), None));
    bench.mono = days(10);
    assert_eq!(bench.ask(Purpose::Session, 10_000, 0), Grant::Go, "a handshake that came to nothing");
    for _ in 0..200 {
        bench.mono += Duration::from_secs(1);
        assert!(bench.spend(Purpose::Event, 100));
    }
    assert_eq!(bench.ledger.promised(), 0);
}

#[test]
fn what_a_session_takes_uses_up_what_it_was_granted() {
    let mut bench = Bench::new(plan(Some(MONTH), None));
    for _ in 0..100 {
        assert!(bench.spend(Purpose::Session, 1300));
    }
    assert_eq!(bench.ledger.promised(), 0);
}

fn purposes() -> impl Strategy<Value = Purpose> {
    (0..PURPOSES).prop_map(|n| Purpose::ALL[n])
}

#[derive(Clone, Debug)]
enum Step {
    Wait(u64),
    Spend(Purpose, u64),
    Clock(bool, i64),
    Crash,
}

fn steps(honest: bool) -> impl Strategy<Value = Vec<Step>> {
    let clock = if honest {
        (Just(true), Just(0i64)).boxed()
    } else {
        (any::<bool>(), -90 * 24i64..90 * 24).prop_map(|(trusted, h)| (trusted, h * 3_600_000)).boxed()
    };
    let step = prop_oneof![
        4 => (1u64..40 * 3600).prop_map(Step::Wait),
        8 => (purposes(), 1u64..30_000).prop_map(|(purpose, bytes)| {
            // An alarm is small: the half of a lease that is left when a record is due covers it.
            Step::Spend(purpose, if purpose == Purpose::Alarm { bytes / 10 } else { bytes })
        }),
        1 => clock.prop_map(|(trusted, lie)| Step::Clock(trusted, lie)),
        1 => Just(Step::Crash),
    ];
    proptest::collection::vec(step, 1..400)
}

fn run(bench: &mut Bench, plan: &Plan, steps: &[Step], crashes: bool) {
    let mut record = bench.write_down();
    for step in steps {
        match step {
            Step::Wait(seconds) => bench.mono += Duration::from_secs(*seconds),
            Step::Spend(purpose, bytes) => {
                if bench.ledger.wants_record(bench.mono) {
                    bench.ledger.advance(bench.now());
                    record = bench.write_down();
                }
                bench.spend(*purpose, *bytes);
            }
            Step::Clock(trusted, lie) => (bench.trusted, bench.lie_ms) = (*trusted, *lie),
            Step::Crash if crashes => {
                let before = bench.ledger.spent(Network::Home);
                bench.ledger = Ledger::new(plan.clone(), Some(record.clone()));
                let after = bench.ledger.spent(Network::Home);
                assert!(
                    after.1.total() >= before.1.total() || before.1.total() == 0,
                    "a crash forgot {} bytes",
                    before.1.total() - after.1.total()
                );
                record = bench.write_down();
            }
            Step::Crash => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn with_an_honest_clock_no_day_and_no_month_is_ever_exceeded(steps in steps(true)) {
        let plan = Plan { carry_over_days: 0, ..plan(Some(600_000), Some(60_000)) };
        let mut bench = Bench::new(plan.clone());
        run(&mut bench, &plan, &steps, false);
        // March, April, May, June: true months of the calendar.
        let mut from = 0;
        for length in [31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
            prop_assert!(bench.went_within(days(from), days(from + length)) <= 600_000);
            from += length;
        }
        for day in 0..from {
            prop_assert!(bench.went_within(days(day), days(day + 1)) <= 60_000);
        }
    }

    #[test]
    fn without_a_clock_no_stretch_of_a_day_or_31_days_exceeds_its_limit(steps in steps(true)) {
        let plan = Plan { carry_over_days: 0, ..plan(Some(600_000), Some(60_000)) };
        let mut bench = Bench::new(plan.clone());
        bench.trusted = false;
        let steps: Vec<_> = steps.into_iter().filter(|step| !matches!(step, Step::Clock(..))).collect();
        run(&mut bench, &plan, &steps, true);
        prop_assert!(bench.most_within(days(31)) <= 600_000);
        prop_assert!(bench.most_within(days(1)) <= 60_000);
    }

    #[test]
    fn a_clock_that_lies_never_gives_more_than_two_months_meet_at_their_border(steps in steps(false)) {
        let plan = Plan { carry_over_days: 0, ..plan(Some(300_000), None) };
        let mut bench = Bench::new(plan.clone());
        run(&mut bench, &plan, &steps, false);
        prop_assert!(bench.most_within(days(28)) <= 600_000);
    }

    #[test]
    fn a_crash_never_forgets_what_was_spent(steps in steps(true)) {
        let plan = Plan { carry_over_days: 0, ..plan(Some(2_000_000), None) };
        let mut bench = Bench::new(plan.clone());
        let steps: Vec<_> = steps.into_iter().filter(|step| !matches!(step, Step::Clock(..))).collect();
        run(&mut bench, &plan, &steps, true);
        let mut from = 0;
        for length in [31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
            prop_assert!(bench.went_within(days(from), days(from + length)) <= 2_000_000);
            from += length;
        }
    }
}
