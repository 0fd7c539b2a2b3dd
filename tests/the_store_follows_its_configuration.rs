//! The store takes what the configuration defines, refuses the rest on record, and follows it when it changes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail by panicking")]

#[path = "support/store.rs"]
mod support;

use std::time::Duration;

use fieldgate::clock::Mono;
use fieldgate::reading::{Capture, Class, GapReason, GroupId, Sample, Value};
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
    let too_large = || Refused::TooLarge { readings: 1025, stream: "t".into() };
    let many: Vec<Sample> = (0..1025).map(|n| support::steps(stream, n)).collect();
    assert_eq!(hand.accept(support::capture(group, Mono(1000), many)), Err(too_large()));
    let stray = support::capture(GroupId(9), Mono(1000), vec![support::steps(stream, 1)]);
    assert_eq!(hand.accept(stray), Err(Refused::UnknownGroup(9)));
    let silent = Capture {
        group,
        at: Mono(1000),
        samples: Vec::new(),
        missing: vec![(stream, GapReason::Silent); 1025],
    };
    assert_eq!(hand.accept(silent), Err(too_large()));
    let status = hand.status();
    assert_eq!((status.intake.accepted, status.intake.refused, status.intake.missed), (0, 1026, 1025));
    hand.close();
    assert_eq!(support::problems(&path), Vec::<String>::new());
}

/// What is refused is on record under its stream's name, with a reason in one word.
#[test]
fn each_bad_reading_is_refused_by_itself_and_the_record_names_the_stream_and_the_reason() {
    let folder = support::fast_folder();
    let path = folder.path().join("queue.db");
    let names = ["nan", "infinite", "long", "twice", "good"];
    let mut streams: Vec<_> =
        names.iter().map(|n| support::spec(n, "bus", Class::Telemetry, &["golioth"])).collect();
    streams.push(support::spec("elsewhere", "other bus", Class::Telemetry, &["golioth"]));
    let mut hand = Hand::open(support::options(path.clone(), streams, &["golioth"], 1), Mono(1)).unwrap();
    let ids = hand.writer.stream_ids();
    let value = |place: usize, value| Sample { value, ..support::steps(ids[place].0, 0) };
    let samples = vec![
        value(0, Value::Float(f64::NAN)),
        value(1, Value::Float(f64::NEG_INFINITY)),
        value(2, Value::Text("x".repeat(Value::MAX_TEXT + 1).into())),
        value(3, Value::Bool(true)),
        value(3, Value::Bool(false)),
        value(4, Value::Text("x".repeat(Value::MAX_TEXT).into())),
        value(5, Value::Bool(true)),
        Sample { stream: fieldgate::reading::StreamId(4711), ..value(4, Value::Absent) },
    ];
    let accepted = hand.accept(support::capture(ids[0].1, Mono(1), samples)).unwrap();
    assert_eq!((accepted.accepted, accepted.refused), (2, 6));
    let ahead = support::capture(ids[0].1, Mono(7_200_000_000_000), vec![value(4, Value::Bool(true))]);
    let refused = hand.accept(ahead).unwrap_err();
    assert!(matches!(refused, Refused::ImplausibleTime { .. }), "{refused}");
    hand.close();
    let verified = fieldgate::store::queue::verify::verify(&path).unwrap();
    assert_eq!(verified.problems, Vec::<String>::new());
    let mut told: Vec<(Option<String>, String, Option<u64>)> =
        verified.detail.gaps.into_iter().map(|g| (g.stream, g.reason, g.count)).collect();
    told.sort();
    let line = |stream: &str, reason: &str| (Some(stream.to_owned()), reason.to_owned(), Some(1));
    assert_eq!(
        told,
        [
            (None, "unknown_stream".to_owned(), Some(1)),
            line("elsewhere", "wrong_group"),
            line("good", "implausible_time"),
            line("infinite", "not_finite"),
            line("long", "too_long"),
            line("nan", "not_finite"),
            line("twice", "duplicate"),
        ]
    );
}

/// An unclean stop is a gap of an unknown number, between what was last known and the start after it.
#[test]
fn an_unclean_stop_is_a_gap_from_what_was_last_known_to_the_next_start() {
    let folder = support::fast_folder();
    let path = folder.path().join("queue.db");
    let open = |boot: u8, epoch: u64, now: u64| {
        let spec = support::spec("t", "bus", Class::Telemetry, &["golioth"]);
        let mut options = support::options(path.clone(), vec![spec], &["golioth"], epoch);
        options.boot = fieldgate::clock::BootId([boot; 16]);
        Hand::open(options, Mono(now)).unwrap()
    };
    let accept = |hand: &mut Hand, at: u64| {
        let (stream, group) = hand.writer.stream_ids()[0];
        hand.accept(support::capture(group, Mono(at), vec![support::steps(stream, 1)])).unwrap();
    };
    let mut hand = open(1, 1, 1_000_000);
    accept(&mut hand, 5_000_000);
    accept(&mut hand, 9_000_000);
    drop(hand);
    // Within the same boot, and then in another, whose clock begins anew.
    let mut hand = open(1, 2, 20_000_000);
    accept(&mut hand, 30_000_000);
    drop(hand);
    let hand = open(2, 3, 7_000);
    hand.close();
    let connection = fieldgate::store::sqlite::open_reader(&path).unwrap();
    let mut gaps =
        connection.prepare("SELECT epoch, count, first_mono_ns, last_mono_ns FROM gaps ORDER BY id").unwrap();
    let gaps: Vec<(i64, Option<i64>, i64, i64)> = gaps
        .query_map([], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?)))
        .unwrap()
        .map(|gap| gap.unwrap())
        .collect();
    assert_eq!(gaps, [(1, None, 9_000_000, 20_000_000), (2, None, 30_000_000, 30_000_000)]);
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
