//! Promises of the schedule, and a simulated bus that checks them all at once.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

const TIMEOUT: Duration = ms(500);

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn rhythms(periods_ms: &[u64]) -> Vec<Rhythm> {
    periods_ms.iter().map(|period| Rhythm { period: ms(*period), cost: ms(10) }).collect()
}

fn open(now: Duration, periods_ms: &[u64]) -> Schedule {
    let mut schedule = Schedule::new(now, TIMEOUT, &rhythms(periods_ms));
    schedule.port_opened(now);
    schedule
}

/// The instants of slave 0 until it is polled again, and that poll.
fn until_poll(schedule: &mut Schedule, now: &mut Duration) -> (Vec<(Duration, GapReason)>, Poll) {
    let mut gaps = Vec::new();
    loop {
        match schedule.next(*now) {
            Action::Gap { due, reason, .. } => gaps.push((due, reason)),
            Action::Poll(poll) => return (gaps, poll),
            Action::Wait(at) => *now = at.unwrap(),
        }
    }
}

#[test]
fn a_late_poll_does_not_move_the_next() {
    let mut schedule = open(ms(0), &[1000]);
    let mut now = ms(0);
    assert_eq!(until_poll(&mut schedule, &mut now).1.due, ms(0));
    now = ms(1700);
    assert_eq!(until_poll(&mut schedule, &mut now).1.due, ms(1000));
    schedule.answered(0, ms(5));
    assert_eq!(until_poll(&mut schedule, &mut now).1.due, ms(2000));
    assert_eq!(now, ms(2000));
}

#[test]
fn cycles_that_passed_are_gaps_and_never_bunch() {
    let mut schedule = open(ms(0), &[100]);
    let mut now = ms(0);
    until_poll(&mut schedule, &mut now);
    schedule.answered(0, ms(5));
    now = ms(350);
    let (gaps, poll) = until_poll(&mut schedule, &mut now);
    assert_eq!(gaps, [(ms(100), GapReason::Overrun), (ms(200), GapReason::Overrun)]);
    assert_eq!((poll.due, now), (ms(300), ms(350)));
}

#[test]
fn three_silent_polls_and_a_slave_is_left_alone_until_a_probe() {
    let mut schedule = open(ms(0), &[1000]);
    let mut now = ms(0);
    for _ in 0..3 {
        let (gaps, poll) = until_poll(&mut schedule, &mut now);
        assert_eq!(gaps, []);
        now += poll.patience;
        schedule.failed(now, 0, 0);
    }
    assert!(matches!(schedule.standing(0), Standing::LeftAlone(_)));
    let mut apart = Vec::new();
    for _ in 0..10 {
        let before = now;
        let (gaps, poll) = until_poll(&mut schedule, &mut now);
        assert!(gaps.iter().all(|(_, reason)| *reason == GapReason::BackedOff));
        apart.push((now - before).as_secs());
        now += poll.patience;
        schedule.failed(now, 0, 1023);
    }
    assert!(apart.is_sorted(), "{apart:?}");
    assert!(apart.iter().all(|s| *s <= 60));
    assert!(apart.last() >= Some(&59));
}

#[test]
fn an_answer_ends_the_leaving_alone() {
    let mut schedule = open(ms(0), &[1000]);
    let mut now = ms(0);
    for _ in 0..5 {
        let (_, poll) = until_poll(&mut schedule, &mut now);
        now += poll.patience;
        schedule.failed(now, 0, 7);
    }
    until_poll(&mut schedule, &mut now);
    schedule.answered(0, ms(20));
    assert_eq!(schedule.standing(0), Standing::Well);
    let before = now;
    let (gaps, poll) = until_poll(&mut schedule, &mut now);
    assert_eq!((gaps, poll.patience), (vec![], TIMEOUT));
    assert!(now - before <= ms(1000));
}

#[test]
fn a_slave_that_failed_is_given_what_it_was_seen_to_need() {
    let mut schedule = open(ms(0), &[5000]);
    let mut now = ms(0);
    let mut patience = Vec::new();
    until_poll(&mut schedule, &mut now);
    schedule.answered(0, ms(90));
    while now < Duration::from_secs(450) {
        let (_, poll) = until_poll(&mut schedule, &mut now);
        patience.push(poll.patience);
        now += poll.patience;
        schedule.failed(now, 0, 0);
    }
    let (brief, patient): (Vec<Duration>, _) = patience[1..].iter().partition(|p| **p == ms(180));
    assert!(patience[0] == TIMEOUT && brief.len() > 10, "{patience:?}");
    // Should it have become slower: now and then it is given all.
    assert_eq!(patient, [TIMEOUT, TIMEOUT]);
}

#[test]
fn living_slaves_go_before_one_that_failed() {
    let mut schedule = Schedule::new(ms(0), TIMEOUT, &rhythms(&[1000, 1000]));
    schedule.port_opened(ms(0));
    let mut now = ms(0);
    assert_eq!(until_poll(&mut schedule, &mut now).1.slave, 0);
    schedule.failed(ms(400), 0, 0);
    now = ms(500);
    assert_eq!(until_poll(&mut schedule, &mut now).1.slave, 1);
    schedule.answered(1, ms(5));
    // Both are due, slave 0 since earlier.
    now = ms(1600);
    assert_eq!(until_poll(&mut schedule, &mut now).1.slave, 1);
    assert_eq!(until_poll(&mut schedule, &mut now).1.slave, 0);
}

#[test]
fn a_slave_that_timed_out_is_not_asked_before_its_late_answer_had_its_time() {
    let mut schedule = open(ms(0), &[100]);
    let mut now = ms(0);
    until_poll(&mut schedule, &mut now);
    schedule.failed(ms(520), 0, 0);
    now = ms(520);
    let (gaps, poll) = until_poll(&mut schedule, &mut now);
    assert_eq!((now, poll.due), (ms(1020), ms(1000)));
    assert_eq!(gaps.len(), 9);
    assert!(gaps.iter().all(|(_, reason)| *reason == GapReason::Overrun));
}

#[test]
fn without_a_port_every_instant_is_a_gap_and_the_cadence_is_kept() {
    let mut schedule = open(ms(0), &[1000]);
    let mut now = ms(0);
    until_poll(&mut schedule, &mut now);
    schedule.port_closed();
    for second in 1..=5u64 {
        assert_eq!(schedule.next(now), Action::Wait(Some(ms(second * 1000))));
        now = ms(second * 1000);
        let gap = Action::Gap { slave: 0, due: now, reason: GapReason::PortDown };
        assert_eq!(schedule.next(now), gap);
    }
    schedule.port_opened(ms(5500));
    assert_eq!(until_poll(&mut schedule, &mut now).1.due, ms(6000));
}

#[test]
fn a_machine_that_slept_does_not_tell_every_instant_of_its_sleep() {
    let mut schedule = open(ms(0), &[50]);
    let mut now = Duration::from_secs(86_400 * 30) + ms(7);
    let (gaps, poll) = until_poll(&mut schedule, &mut now);
    assert!(gaps.len() <= 1001, "{}", gaps.len());
    assert_eq!(poll.due, now - ms(7));
}

#[test]
fn first_instants_are_spread_but_not_over_a_long_period() {
    let mut schedule = Schedule::new(ms(0), TIMEOUT, &rhythms(&[1000, 1000, 86_400_000, 1000]));
    schedule.port_opened(ms(0));
    let mut firsts = Vec::new();
    let mut now = ms(0);
    while firsts.len() < 4 {
        let (_, poll) = until_poll(&mut schedule, &mut now);
        schedule.answered(poll.slave, ms(1));
        firsts.push((poll.slave, poll.due));
    }
    assert_eq!(firsts, [(0, ms(0)), (1, ms(250)), (2, ms(500)), (3, ms(750))]);
}

#[test]
fn a_failed_slave_on_an_overloaded_bus_is_asked_again_in_the_end() {
    let mut schedule = open(ms(0), &[1000, 50]);
    let mut now = ms(0);
    let mut asked = 0;
    while now < Duration::from_secs(60) {
        match schedule.next(now) {
            Action::Poll(Poll { slave: 0, patience, .. }) => {
                asked += 1;
                now += patience;
                schedule.failed(now, 0, 0);
            }
            Action::Poll(_) => now += ms(60),
            Action::Gap { .. } => {}
            Action::Wait(at) => now = at.unwrap(),
        }
    }
    assert!(asked >= 4, "{asked}");
}

#[derive(Clone, Debug)]
struct Simulated {
    period: u64,
    /// Per poll: answers after so many milliseconds, or not at all.
    behaviour: Vec<Option<u64>>,
}

fn simulated() -> impl Strategy<Value = Simulated> {
    let behaviour = prop::collection::vec(prop::option::weighted(0.6, 1u64..40), 1..12);
    (50u64..3000, behaviour).prop_map(|(period, behaviour)| Simulated { period, behaviour })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_instant_is_given_out_once_and_in_order(
        slaves in prop::collection::vec(simulated(), 1..6),
        down in prop::option::of((1_000u64..20_000, 100u64..5_000)),
        seed in any::<u64>(),
    ) {
        let periods: Vec<_> = slaves.iter().map(|s| s.period).collect();
        let mut schedule = open(ms(0), &periods);
        let mut now = ms(0);
        let mut seen: BTreeMap<usize, Vec<Duration>> = BTreeMap::new();
        let mut polls = vec![0; slaves.len()];
        let mut is_down = false;
        while now < Duration::from_secs(30) {
            let should_be_down = down.is_some_and(|(at, long)| (ms(at)..ms(at + long)).contains(&now));
            if should_be_down != is_down {
                is_down = should_be_down;
                if is_down { schedule.port_closed() } else { schedule.port_opened(now) }
            }
            match schedule.next(now) {
                Action::Gap { slave, due, reason } => {
                    prop_assert!(due <= now);
                    prop_assert_eq!(reason == GapReason::PortDown, is_down);
                    seen.entry(slave).or_default().push(due);
                }
                Action::Poll(poll) => {
                    prop_assert!(!is_down);
                    prop_assert!(poll.due <= now && now < poll.due + ms(periods[poll.slave]));
                    prop_assert!(poll.patience >= BRIEF_FLOOR && poll.patience <= TIMEOUT);
                    seen.entry(poll.slave).or_default().push(poll.due);
                    let turns = &slaves[poll.slave].behaviour;
                    match turns[polls[poll.slave] % turns.len()] {
                        Some(latency) => {
                            now += ms(latency);
                            schedule.answered(poll.slave, ms(latency));
                        }
                        None => {
                            now += poll.patience;
                            schedule.failed(now, poll.slave, seed);
                        }
                    }
                    polls[poll.slave] += 1;
                }
                Action::Wait(at) => {
                    let at = at.unwrap();
                    prop_assert!(at > now, "a wait that does not wait");
                    now = down.map_or(at, |(begin, long)| {
                        [ms(begin), ms(begin + long)].into_iter().filter(|edge| *edge > now).fold(at, Duration::min)
                    });
                }
            }
        }
        for (slave, instants) in seen {
            let first = instants[0];
            for (n, due) in instants.iter().enumerate() {
                prop_assert_eq!(*due, first + ms(periods[slave]) * n as u32);
            }
        }
    }

}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]

    /// 24 living slaves, 8 dead, a second each: what the silence of a quarter of them does to the others.
    #[test]
    fn a_living_slave_waits_at_most_one_patience_and_the_polls_before_it(seed in any::<u64>()) {
        const POLL: Duration = ms(20);
        // Who is dead is learned first, at one timeout each.
        const LEARNED: Duration = Duration::from_secs(10);
        let mut schedule = open(ms(0), &[1000; 32]);
        let is_dead = |slave: usize| slave % 4 == 3;
        let mut now = ms(0);
        let mut late = Vec::new();
        while now < Duration::from_secs(1800) {
            match schedule.next(now) {
                Action::Poll(poll) if is_dead(poll.slave) => {
                    now += poll.patience;
                    schedule.failed(now, poll.slave, seed.rotate_left(poll.slave as u32));
                }
                Action::Poll(poll) => {
                    if now > LEARNED {
                        late.push(now - poll.due);
                    }
                    now += POLL;
                    schedule.answered(poll.slave, ms(10));
                }
                Action::Gap { slave, due, .. } => prop_assert!(is_dead(slave) || due < LEARNED),
                Action::Wait(at) => now = at.unwrap(),
            }
        }
        late.sort();
        let (p99, most) = (late[late.len() * 99 / 100], late[late.len() - 1]);
        prop_assert!(most <= TIMEOUT + POLL * 24, "{most:?}");
        prop_assert!(p99 <= ms(100), "{p99:?}");
    }
}
