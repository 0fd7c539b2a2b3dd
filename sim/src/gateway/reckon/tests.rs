use super::*;
use crate::bus::{Encoding, Source, WordOrder};
use crate::gateway::books::{EpochRecord, HeldRun};

const EPOCH: &str = "0102030405060708";
const PREFIX: [u8; 4] = [1, 2, 3, 4];

fn function() -> PointFunction {
    PointFunction::new(Source::CountedWalk, Encoding::I32, WordOrder::Abcd, 1, 17, 0).unwrap()
}

/// One stream of which the counters `1..=n` were produced and accepted as sequences `1..=n`, all acknowledged.
struct Lab {
    produced: BTreeMap<String, Produced>,
    books: Books,
    far: BTreeMap<String, Vec<FarValue>>,
    at_risk: AtRisk,
}

impl Lab {
    fn new(n: u64) -> Self {
        let account = Account { accepted: n, acknowledged: n, ..Account::default() };
        let stream = StreamBooks {
            name: "tank.level".into(),
            group: "field/tank".into(),
            alias: "l".into(),
            intake: Intake { accepted: n, ..Intake::default() },
            accounts: [("golioth".to_owned(), account)].into(),
        };
        let epoch = EpochRecord {
            epoch: EPOCH.into(),
            clean_stop: true,
            last_sequences: [("field/tank".to_owned(), n)].into(),
        };
        let value = |n| FarValue { epoch: PREFIX, sequence: n, value: Some(function().value(n)), copies: 1 };
        Self {
            produced: [("tank.level".to_owned(), Produced { function: function(), produced: n })].into(),
            books: Books { streams: vec![stream], epochs: vec![epoch], ..Books::default() },
            far: [("l".to_owned(), (1..=n).map(value).collect())].into(),
            at_risk: AtRisk::new(),
        }
    }

    fn far(&mut self) -> &mut Vec<FarValue> {
        self.far.get_mut("l").unwrap()
    }

    fn take_away(&mut self, sequence: u64) {
        self.far().retain(|v| v.sequence != sequence);
    }

    fn gap(&mut self, kind: &str, sequences: (u64, u64), count: u64) {
        self.books.gap_records.push(GapRecord {
            stream: Some("tank.level".into()),
            kind: kind.into(),
            reason: "silent".into(),
            epoch: Some(EPOCH.into()),
            sequences: Some(sequences),
            count: Some(count),
        });
    }

    fn intake(&mut self) -> &mut Intake {
        &mut self.books.streams[0].intake
    }

    fn account(&mut self) -> &mut Account {
        self.books.streams[0].accounts.get_mut("golioth").unwrap()
    }

    fn reckon(&self) -> Reckoning {
        reckon(&Sides {
            produced: &self.produced,
            at_risk: &self.at_risk,
            books: &self.books,
            far: &self.far,
            destination: "golioth",
        })
    }
}

#[test]
fn a_whole_account_closes() {
    let result = Lab::new(50).reckon();
    assert!(result.producing_side_closes() && result.consuming_side_closes());
    assert_eq!((result.produced, result.unique, result.lost.count, result.corrupted.count), (50, 50, 0, 0));
}

#[test]
fn an_acknowledged_reading_that_is_not_at_the_cloud_is_lost_by_its_identity() {
    let mut lab = Lab::new(50);
    lab.take_away(20);
    lab.take_away(50);
    let result = lab.reckon();
    assert_eq!(result.lost.names, ["tank.level 0102030405060708#20", "tank.level 0102030405060708#50"]);
}

#[test]
fn a_gap_record_explains_only_as_many_as_it_counts_and_only_in_its_range() {
    let mut lab = Lab::new(50);
    for sequence in [10, 12, 30] {
        lab.take_away(sequence);
    }
    lab.gap("missed", (10, 12), 1);
    let result = lab.reckon();
    assert_eq!(result.lost.count, 2, "{:?}", result.lost.names);
    assert!(result.lost.names.contains(&"tank.level 0102030405060708#30".to_owned()));
}

#[test]
fn overlapping_gap_records_are_used_so_that_each_explains_its_own() {
    let mut lab = Lab::new(50);
    lab.take_away(10);
    lab.take_away(20);
    lab.gap("missed", (1, 50), 1);
    lab.gap("missed", (10, 10), 1);
    assert_eq!(lab.reckon().lost.count, 0);
}

#[test]
fn a_missed_value_and_a_silent_poll_are_told_apart_by_the_counter() {
    // Sequence 10 took counter 10 with it; at sequence 20 nothing was produced.
    let mut lab = Lab::new(50);
    lab.take_away(10);
    lab.take_away(20);
    for value in lab.far() {
        if value.sequence > 20 {
            value.value = Some(function().value(value.sequence - 1));
        }
    }
    lab.produced.get_mut("tank.level").unwrap().produced = 49;
    lab.gap("missed", (10, 20), 2);
    *lab.intake() = Intake { accepted: 48, missed: 2, ..Intake::default() };
    *lab.account() = Account { accepted: 48, acknowledged: 48, ..Account::default() };
    let result = lab.reckon();
    assert_eq!((result.lost.count, result.missed, result.silent), (0, 1, 1), "{result:?}");
    assert!(result.producing_side_closes());
}

#[test]
fn a_value_that_vanished_before_acceptance_without_a_record_is_lost() {
    let mut lab = Lab::new(50);
    for value in lab.far() {
        if value.sequence > 20 {
            value.value = Some(function().value(value.sequence + 1));
        }
    }
    lab.produced.get_mut("tank.level").unwrap().produced = 51;
    let result = lab.reckon();
    assert_eq!(result.lost.names, ["tank.level value number 21, said after epoch 0 #20"]);
    assert!(!result.producing_side_closes());
}

#[test]
fn what_waits_is_not_lost() {
    let mut lab = Lab::new(50);
    for sequence in 41..=50 {
        lab.take_away(sequence);
    }
    *lab.account() = Account { accepted: 50, acknowledged: 40, queued: 10, ..Account::default() };
    lab.books.held.push(HeldRun {
        destination: "golioth".into(),
        stream: "tank.level".into(),
        epoch: Some(EPOCH.into()),
        sequences: (41, 50),
        set_aside: false,
    });
    let result = lab.reckon();
    assert_eq!(result.lost.count, 0, "{:?}", result.lost.names);
    assert!(result.producing_side_closes() && result.consuming_side_closes());
    // For another destination it does not wait.
    lab.books.held[0].destination = "plant".into();
    assert_eq!(lab.reckon().lost.count, 10);
}

#[test]
fn another_value_under_an_identity_is_corrupted() {
    let mut lab = Lab::new(50);
    lab.far()[30].value = Some(function().value(31) + 1.0);
    assert_eq!(lab.reckon().corrupted.count, 1);
    // A value that was said, but earlier, is none of this instant.
    lab.far()[30].value = Some(function().value(5));
    assert_eq!(lab.reckon().corrupted.count, 1);
    // And one that will be said is none either.
    lab.far()[30].value = Some(function().value(1000));
    assert_eq!(lab.reckon().corrupted.count, 1);
}

#[test]
fn an_identity_the_gateway_never_gave_is_corrupted() {
    let mut lab = Lab::new(50);
    let value = lab.far()[0];
    lab.far().push(FarValue { sequence: 51, ..value });
    lab.far().push(FarValue { epoch: [9; 4], ..value });
    assert_eq!(lab.reckon().corrupted.count, 2);
}

#[test]
fn books_that_do_not_add_up_are_named() {
    let mut lab = Lab::new(50);
    lab.account().acknowledged = 49;
    let result = lab.reckon();
    assert!(!result.consuming_side_closes());
    assert!(result.unbalanced[0].starts_with("tank.level: accepted 50 is not"), "{:?}", result.unbalanced);
}

#[test]
fn what_a_kill_took_before_acceptance_is_not_lost_but_is_told() {
    let mut lab = Lab::new(50);
    lab.books.epochs[0].clean_stop = false;
    lab.books.gap_records.push(GapRecord {
        kind: "missed".into(),
        reason: "unclean_stop".into(),
        epoch: Some(EPOCH.into()),
        ..GapRecord::default()
    });
    lab.produced.get_mut("tank.level").unwrap().produced = 53;
    lab.at_risk.insert("tank.level".into(), vec![40..52, 48..54]);
    let result = lab.reckon();
    assert_eq!((result.lost.count, result.unaccepted_at_kill, result.overdue.count), (0, 3, 0));
    assert!(result.producing_side_closes());
    // Of these, one was said long before the kill and should have been accepted.
    lab.at_risk.insert("tank.level".into(), vec![52..54]);
    let result = lab.reckon();
    assert_eq!((result.lost.count, result.unaccepted_at_kill), (0, 3));
    assert_eq!(result.overdue.names, ["tank.level, one of the values 51 to 53, said after epoch 0 #50"]);
    // Only at the end of that life.
    lab.take_away(20);
    assert_eq!(lab.reckon().lost.count, 1);
}

#[test]
fn counters_are_followed_beyond_their_period() {
    let function = PointFunction::new(Source::CountedWalk, Encoding::F32, WordOrder::Abcd, 7, 1, 0).unwrap();
    let period = function.period().unwrap();
    let point = Produced { function, produced: period + 10 };
    assert_eq!(counter_after(point, period - 1, Some(function.value(period))), Some(period));
    assert_eq!(counter_after(point, period, Some(function.value(period + 1))), Some(period + 1));
    assert_eq!(counter_after(point, period + 5, Some(function.value(period + 11))), None, "not yet produced");
}

#[test]
fn an_instant_in_which_nobody_was_asked_explains_no_value() {
    let mut lab = Lab::new(50);
    lab.take_away(10);
    lab.gap("missed", (10, 10), 1);
    *lab.intake() = Intake { accepted: 49, missed: 1, ..Intake::default() };
    *lab.account() = Account { accepted: 49, acknowledged: 49, ..Account::default() };
    assert_eq!(lab.reckon().lost.count, 0);
    lab.books.gap_records[0].reason = "overrun".into();
    assert_eq!(lab.reckon().lost.names, ["tank.level value number 10, said after epoch 0 #9"]);
}
