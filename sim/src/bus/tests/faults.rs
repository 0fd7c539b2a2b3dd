//! What each fault does to an answer, and what it leaves alone.

use super::*;

#[test]
fn broken_answers_produce_nothing_and_leave_no_hole() {
    let faults =
        [Fault::BadCrc, Fault::FlippedBit, Fault::Truncated(4), Fault::Truncated(400), Fault::NoiseInto(3)];
    for fault in faults {
        let mut bench = Bench::new(three_slaves());
        bench.bus.set_fault(17, fault, When::Next(2)).unwrap();
        for _ in 0..2 {
            let answer = bench.read(17, 4, 3, 2);
            assert_ne!(answer, [0_u8; 0]);
            assert_eq!(decode(&answer, 17, 4), None, "{fault:?}");
        }
        assert_eq!(bench.produced(17, "fills"), 0, "{fault:?}");
        assert_eq!(decode(&bench.read(17, 4, 3, 2), 17, 4), Some(vec![0, 1]), "{fault:?}");
        let slave = bench.bus.ledger().slave(17).unwrap().clone();
        assert_eq!((slave.requests, slave.answered, slave.broken), (3, 1, 2), "{fault:?}");
    }
}

#[test]
fn noise_that_runs_into_a_frame_leaves_none_to_be_found_within_it() {
    let mut bench = Bench::new(three_slaves());
    bench.bus.set_fault(17, Fault::NoiseInto(5), When::Always).unwrap();
    // Often enough that the noise happens to be the unit itself a few times.
    for _ in 0..3000 {
        let said = bench.read(17, 4, 3, 2);
        for start in 0..said.len() {
            assert_eq!(decode(&said[start..], 17, 4), None);
        }
    }
}

#[test]
fn noise_before_a_frame_is_kept_apart_by_silence_and_the_frame_counts() {
    let mut bench = Bench::new(three_slaves());
    bench.bus.set_fault(17, Fault::NoiseBefore(6), When::Next(1)).unwrap();
    bench.send(&read_frame(17, 4, 3, 2));
    let [(noise_at, noise), (frame_at, frame)] = bench.listen().try_into().unwrap();
    let times = bench.bus.times();
    assert_eq!(noise.len(), 6);
    assert_eq!(frame_at - noise_at, times.silence + times.characters(frame.len()));
    assert_eq!(decode(&frame, 17, 4), Some(vec![0, 1]));
    assert_eq!(bench.produced(17, "fills"), 1);
}

#[test]
fn a_silent_slave_does_not_silence_the_others() {
    let mut bench = Bench::new(three_slaves());
    bench.bus.set_fault(18, Fault::Silent, When::Always).unwrap();
    assert_eq!(bench.read(18, 3, 0, 2), [0_u8; 0]);
    assert!(decode(&bench.read(17, 4, 0, 2), 17, 4).is_some());
    assert_eq!(bench.bus.ledger().slave(18).unwrap().unanswered, 1);
    assert_eq!(bench.bus.ledger().unanswered(), 1);
    bench.bus.clear_faults(18).unwrap();
    assert!(decode(&bench.read(18, 3, 0, 2), 18, 3).is_some());
}

#[test]
fn a_late_answer_comes_although_another_was_asked_and_is_marked_as_overtaken() {
    let mut bench = Bench::new(three_slaves());
    bench.bus.set_fault(17, Fault::Late(Duration::from_secs(2)), When::Next(1)).unwrap();
    bench.send(&read_frame(17, 4, 3, 2));
    bench.now += Duration::from_secs(1);
    bench.send(&read_frame(18, 3, 0, 2));
    let said = bench.listen();
    assert_eq!(said.iter().map(|(_, bytes)| bytes[0]).collect::<Vec<_>>(), [18, 17]);
    assert!(said[1].0 - said[0].0 > 500 * MS);
    let ledger = bench.bus.ledger();
    assert_eq!(
        (ledger.point(17, "fills").unwrap().produced, ledger.point(17, "fills").unwrap().overtaken),
        (1, 1)
    );
    assert_eq!(
        (ledger.point(18, "starts").unwrap().produced, ledger.point(18, "starts").unwrap().overtaken),
        (1, 0)
    );
}

#[test]
fn answers_wait_for_each_other_instead_of_colliding() {
    let mut bench = Bench::new(three_slaves());
    for unit in [17, 18, 19] {
        bench.bus.set_fault(unit, Fault::Late(100 * MS), When::Always).unwrap();
    }
    bench.send(&read_frame(17, 4, 0, 7));
    bench.send(&read_frame(18, 3, 0, 7));
    bench.send(&read_frame(19, 4, 0, 7));
    let said = bench.listen();
    assert_eq!(said.len(), 3);
    let times = bench.bus.times();
    for pair in said.windows(2) {
        assert!(pair[1].0 - pair[0].0 >= times.silence + times.characters(pair[1].1.len()));
    }
}

#[test]
fn an_exception_fault_refuses_and_carries_nothing_out() {
    let mut bench = Bench::new(vec![recorded_slave()]);
    bench.bus.set_fault(0x11, Fault::Exception(ExceptionCode::ServerDeviceBusy), When::Next(1)).unwrap();
    assert_eq!(bench.ask(&seal(vec![0x11, 6, 0, 1, 0, 9])), seal(vec![0x11, 0x86, 6]));
    assert_eq!(decode(&bench.read(0x11, 3, 1, 1), 0x11, 3), Some(vec![0]));
    assert_eq!(bench.bus.ledger().slave(0x11).unwrap().exceptions, 1);
}

#[test]
fn a_fault_one_in_so_many_befalls_about_that_share_and_the_same_ones_each_time() {
    let befallen = || -> Vec<bool> {
        let mut bench = Bench::new(three_slaves());
        bench.bus.set_fault(17, Fault::Silent, When::OneIn(4)).unwrap();
        (0..2000).map(|_| bench.read(17, 4, 0, 2).is_empty()).collect()
    };
    let first = befallen();
    let share = first.iter().filter(|silent| **silent).count();
    assert!((400..600).contains(&share), "{share} of 2000");
    assert_eq!(first, befallen());
}

#[test]
fn once_fallen_silent_nothing_is_said_and_produced_stands_still() {
    let mut bench = Bench::new(three_slaves());
    bench.read(17, 4, 0, 7);
    let produced = bench.bus.ledger().produced();
    bench.send(&read_frame(18, 3, 0, 2));
    bench.bus.fall_silent();
    assert_eq!(bench.listen(), [], "the answer that was waiting is given up");
    assert_eq!(bench.read(17, 4, 0, 7), [0_u8; 0]);
    let ledger = bench.bus.ledger();
    assert_eq!(ledger.produced(), produced);
    assert_eq!((ledger.slave(18).unwrap().unanswered, ledger.slave(17).unwrap().unanswered), (1, 1));
    bench.bus.speak_again();
    assert!(decode(&bench.read(17, 4, 0, 7), 17, 4).is_some());
}

#[test]
fn a_flood_of_requests_does_not_grow_the_bus_and_each_is_accounted_for() {
    let mut bench = Bench::new(three_slaves());
    for _ in 0..500 {
        bench.send(&read_frame(17, 4, 0, 2));
    }
    let slave = bench.bus.ledger().slave(17).unwrap().clone();
    assert_eq!(slave.requests, 500);
    assert_eq!(slave.waiting, 64);
    assert_eq!(slave.unanswered, 436);
    assert_eq!(bench.listen().len(), 64);
    assert_eq!(bench.produced(17, "level"), 64);
}

#[test]
fn what_was_asked_on_a_line_that_was_unplugged_is_answered_on_no_other() {
    let mut bench = Bench::new(three_slaves());
    bench.send(&read_frame(17, 4, 0, 2));
    bench.send(&read_frame(18, 3, 0, 2)[..3]);
    bench.bus.unplug();
    assert!(bench.listen().is_empty());
    assert_eq!((bench.produced(17, "level"), bench.bus.ledger().slave(17).unwrap().unanswered), (0, 1));
    // The first question on the next line gets its own answer, and that alone.
    bench.send(&read_frame(17, 4, 0, 2));
    assert_eq!((bench.listen().len(), bench.produced(17, "level")), (1, 1));
}
