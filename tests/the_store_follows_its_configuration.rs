//! The store takes what the configuration defines, refuses the rest on record, and follows it when it changes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail by panicking")]

#[path = "support/store.rs"]
mod support;

use std::time::Duration;

use fieldgate::clock::Mono;
use fieldgate::reading::{Capture, Class, GapReason, GroupId, Sample};
use fieldgate::store::queue::{DestinationId, Outcome, Position, Refused, Totals};
use fieldgate::store::worker::Machine;
use support::Hand;

#[test]
fn a_capture_that_no_lane_makes_is_refused_whole_and_on_record() {
    let folder = support::fast_folder();
    let path = folder.path().join("queue.db");
    let spec = support::spec("t", "bus", Class::Telemetry, &["golioth"]);
    let mut hand = Hand::open(support::options(path.clone(), vec![spec], &["golioth"], 1), Mono(1)).unwrap();
    let (stream, group) = hand.writer.stream_ids()[0];
    let many: Vec<Sample> = (0..1025).map(|n| support::steps(stream, n)).collect();
    assert_eq!(hand.accept(support::capture(group, Mono(1000), many)), Err(Refused::TooLarge(1025)));
    let stray = support::capture(GroupId(9), Mono(1000), vec![support::steps(stream, 1)]);
    assert_eq!(hand.accept(stray), Err(Refused::UnknownGroup(9)));
    let silent = Capture {
        group,
        at: Mono(1000),
        samples: Vec::new(),
        missing: vec![(stream, GapReason::Silent); 1025],
    };
    assert_eq!(hand.accept(silent), Err(Refused::TooLarge(1025)));
    let status = hand.status();
    assert_eq!((status.intake.accepted, status.intake.refused, status.intake.missed), (0, 1026, 1025));
    hand.close();
    assert_eq!(support::problems(&path), Vec::<String>::new());
}

#[test]
fn a_writer_with_nothing_to_do_sleeps() {
    let folder = support::fast_folder();
    let spec = support::spec("t", "bus", Class::Telemetry, &["golioth"]);
    let options = support::options(folder.path().join("queue.db"), vec![spec], &["golioth"], 1);
    let mut hand = Hand::open(options, Mono(1)).unwrap();
    let group = hand.writer.stream_ids()[0].1;
    // Nothing to accept, nothing to put on record: a lane that captured an instant in which nothing was due.
    let answer = hand.offer(support::capture(group, Mono(1), Vec::new()));
    // An answer about another file is void.
    let first = Position::first_of(Class::Telemetry);
    hand.settle(support::settlement(9, DestinationId(0), first, first, &[], Outcome::Acknowledged));
    hand.pass(Duration::from_secs(5));
    assert_eq!(support::answered(answer).unwrap().accepted, 0);
    // A capture that is refused, with nothing in it to put on record.
    assert!(support::answered(hand.offer(support::capture(GroupId(9), Mono(1), Vec::new()))).is_err());
    hand.pass(Duration::from_secs(5));
    assert_eq!(hand.writer.poll_timeout(), None);
}

/// What was accepted while a route was interrupted is nobody's loss: it was never that destination's.
#[test]
fn a_route_that_was_taken_away_and_given_back_counts_only_what_was_accepted_while_it_stood() {
    let folder = support::fast_folder();
    let path = folder.path().join("queue.db");
    let mut epoch = 0;
    let mut start = |routes: &[&str], destinations: &[&str], count: i64| {
        epoch += 1;
        let streams = vec![support::spec("t", "bus", Class::Telemetry, routes)];
        let mut hand =
            Hand::open(support::options(path.clone(), streams, destinations, epoch), Mono(1)).unwrap();
        let (stream, group) = hand.writer.stream_ids()[0];
        for n in 0..count {
            hand.accept(support::capture(group, Mono(1000), vec![support::steps(stream, n)])).unwrap();
        }
        let ids: Vec<_> = hand.writer.destination_ids().to_vec();
        let of = |name: &str| {
            let id = ids.iter().find(|(_, n)| n == name).map(|(id, _)| *id);
            id.map(|id| (hand.status().destination(id), support::waiting(&path, id).len() as u64))
        };
        let (golioth, broker) = (of("golioth"), of("broker"));
        hand.close();
        assert_eq!(support::problems(&path), Vec::<String>::new());
        (golioth.unwrap(), broker)
    };
    let totals = |accepted, dropped, queued| Totals { accepted, dropped, queued, ..Totals::default() };
    let both = ["golioth", "broker"];
    assert_eq!(start(&both, &both, 3).1, Some((totals(3, 0, 3), 3)));
    // The route goes; what waits on it still waits.
    assert_eq!(start(&["golioth"], &both, 5).1, Some((totals(3, 0, 3), 3)));
    assert_eq!(start(&both, &both, 7).1, Some((totals(10, 0, 10), 10)));
    // The destination itself goes: what waited is dropped, on record.
    assert_eq!(start(&both, &["golioth"], 11).1, None);
    let (golioth, broker) = start(&both, &both, 13);
    assert_eq!(broker, Some((totals(23, 10, 13), 13)));
    assert_eq!(golioth, (totals(39, 0, 39), 39), "the other never noticed");
}

#[test]
fn the_sixty_third_destination_takes_the_number_of_one_that_is_gone() {
    let folder = support::fast_folder();
    let path = folder.path().join("queue.db");
    for n in 0..70u64 {
        let name = format!("cloud {n}");
        let streams = vec![support::spec("t", "bus", Class::Telemetry, &[&name])];
        let options = support::options(path.clone(), streams, &[&name], n + 1);
        let mut hand = Hand::open(options, Mono(1)).unwrap();
        let (stream, group) = hand.writer.stream_ids()[0];
        hand.accept(support::capture(group, Mono(1000), vec![support::steps(stream, 1)])).unwrap();
        let id = hand.writer.destination_ids()[0].0;
        assert!(id.0 < 62);
        assert_eq!((hand.status().destination(id).queued, support::waiting(&path, id).len()), (1, 1));
        hand.close();
        assert_eq!(support::problems(&path), Vec::<String>::new());
    }
    let names: Vec<String> = (0..63).map(|n| format!("at once {n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let streams = vec![support::spec("t", "bus", Class::Telemetry, &[])];
    let refused = Hand::open(support::options(path.clone(), streams, &names, 1000), Mono(1));
    let error = refused.err().unwrap().to_string();
    assert!(error.contains("62 destinations"), "{error}");
    assert!(path.exists(), "a configuration that asks too much is not damage");
}
