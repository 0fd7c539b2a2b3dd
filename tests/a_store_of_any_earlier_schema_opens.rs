//! The promise: what any earlier schema of the queue left behind is used by this release with nothing lost and every book in
//! order; and what a release of that schema writes into today's file is so too when this release comes back.
//!
//! The earlier files are made by the numbered migrations themselves and filled, column by column, with what a whole life left
//! in a file of today. The other way round, every row of today's file is written again with the columns that the earlier
//! schema has, as its statements would: what was added since gets its default.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail by panicking")]

#[path = "support/earlier.rs"]
mod earlier;
#[path = "support/store.rs"]
mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use earlier::{at_schema, tables, write_as_before};
use fieldgate::clock::Mono;
use fieldgate::clock::sources::{Claim, Source};
use fieldgate::reading::{Capture, Class, GapReason, Quality, Sample, Value};
use fieldgate::store::queue::writer::Command;
use fieldgate::store::queue::{
    DestinationId, GivenUp, Health, Outcome, Position, QueuedRow, Reader, SettledRow, Totals, schema, verify,
};
use fieldgate::store::worker::Machine;
use fieldgate::store::{gateway, sqlite};
use rusqlite::Connection;
use support::{Hand, capture, options, settlement, spec, steps, waiting};

const START: Mono = Mono(5_000_000_000);

fn open(path: &Path, destinations: &[&str], epoch: u64) -> Hand {
    let streams = vec![
        spec("level", "bus", Class::Telemetry, &["golioth", "plant"]),
        spec("valve", "bus", Class::State, &["golioth", "plant", "archive"]),
        spec("smoke", "bus", Class::Alarm, &["golioth"]),
        spec("noise", "board", Class::Diagnostics, &["plant"]),
    ];
    Hand::open(options(path.to_owned(), streams, destinations, epoch), START).unwrap()
}

fn id_of(hand: &Hand, name: &str) -> DestinationId {
    hand.writer.destination_ids().iter().find(|(_, n)| n == name).unwrap().0
}

fn accept(hand: &mut Hand, values: std::ops::Range<i64>) {
    let ids = hand.writer.stream_ids();
    for n in values {
        hand.now = hand.now.plus(Duration::from_millis(250));
        let mut samples: Vec<Sample> = ids[..3].iter().map(|(id, _)| steps(*id, n)).collect();
        let mut missing = Vec::new();
        if n % 5 == 0 {
            samples.pop();
            missing.push((ids[2].0, GapReason::Silent));
            samples[0] = Sample { stream: ids[0].0, value: Value::Float(f64::NAN), quality: Quality::Good };
        }
        hand.accept(Capture { group: ids[0].1, at: hand.now, samples, missing }).unwrap();
        hand.accept(capture(ids[3].1, hand.now, vec![steps(ids[3].0, n)])).unwrap();
    }
}

/// Settles a part of what waits for a destination in a class, by place, each part on its own.
fn settle(
    hand: &mut Hand,
    path: &Path,
    name: &str,
    class: Class,
    parts: &[(std::ops::Range<usize>, Outcome)],
) {
    let destination = id_of(hand, name);
    let rows: Vec<QueuedRow> =
        waiting(path, destination).into_iter().filter(|row| row.stream.class == class).collect();
    for (range, outcome) in parts {
        let rows = &rows[range.clone()];
        let from = rows[0].position;
        let to = rows.last().unwrap().position.next_segment();
        let mut said = settlement(0, destination, from, to, rows, outcome.clone());
        if *outcome == Outcome::Acknowledged && rows.len() > 2 {
            // The drain passed over one of them: a newer one of its stream was there.
            let row = rows[1].position;
            let given: Vec<SettledRow> = said.rows.iter().copied().filter(|r| r.position == row).collect();
            said.rows.retain(|r| r.position != row);
            said.given_up = given.into_iter().map(|row| GivenUp { row, reason: "superseded" }).collect();
        }
        hand.settle(said);
        assert_eq!(hand.flush(), Health::Good);
    }
}

/// A file of today that holds something of everything.
fn lived() -> (tempfile::TempDir, PathBuf) {
    let folder = support::fast_folder();
    let path = folder.path().join("queue.db");
    let mut hand = open(&path, &["golioth", "plant", "archive"], 1);
    accept(&mut hand, 1..41);
    let aside = || Outcome::SetAside("4.00".into());
    settle(
        &mut hand,
        &path,
        "golioth",
        Class::Telemetry,
        &[(0..9, Outcome::Acknowledged), (14..18, Outcome::Dropped("age")), (22..24, aside())],
    );
    settle(&mut hand, &path, "golioth", Class::Alarm, &[(0..5, Outcome::Acknowledged), (8..9, aside())]);
    settle(&mut hand, &path, "plant", Class::State, &[(3..7, Outcome::Acknowledged)]);
    settle(&mut hand, &path, "plant", Class::Diagnostics, &[(0..30, Outcome::Acknowledged)]);
    // Nobody says goodbye; one destination is gone at the next start, and one goes by another's routes.
    drop(hand);
    let mut hand = open(&path, &["golioth", "plant"], 2);
    accept(&mut hand, 41..50);
    let golioth = id_of(&hand, "golioth");
    let owed = Reader::open(&path, golioth).unwrap().owed(50).unwrap();
    let told: Vec<_> = owed.new.iter().take(3).map(|owed| owed.told()).collect();
    assert_eq!(told.len(), 3);
    hand.writer.handle(hand.now, Command::Told { generation: 0, destination: golioth, told });
    for (source, unix_ms) in [(Source::Modem, 1_790_000_000_000), (Source::Ntp, 1_790_009_000_000)] {
        let claim = Claim::new(source, hand.now, unix_ms, 500);
        hand.writer.handle(hand.now, Command::WallKnown(claim));
        hand.flush();
    }
    hand.close();
    (folder, path)
}

/// Epoch, sequence, time, what it says, its stream, and where it stands.
type Row = (u64, u64, Mono, Sample, String, Position);

/// What a file says, as far as the schema at `steps` can say it.
#[derive(Debug, PartialEq)]
struct Said {
    rows: BTreeMap<String, Vec<Row>>,
    destinations: BTreeMap<String, Totals>,
    intake: Totals,
    gaps: BTreeMap<(String, String), Option<u64>>,
    set_aside: Vec<String>,
    drops: Vec<(i64, i64, String, i64)>,
    told: i64,
    corrections: i64,
}

fn said(path: &Path, steps: i64) -> Said {
    let c = sqlite::open_reader(path).unwrap();
    let count = |table: &str, since: i64| -> i64 {
        if steps < since {
            return 0;
        }
        c.query_row(&format!("SELECT count(*) FROM {table}"), [], |r| r.get(0)).unwrap()
    };
    let verified = verify::verify(path).unwrap();
    assert_eq!(verified.problems, Vec::<String>::new());
    assert_eq!(verified.statements, Vec::<String>::new(), "nothing is taken for damage");
    let mut drops = c
        .prepare(
            "SELECT destination, stream, reason, sum(count) FROM drops GROUP BY 1, 2, 3 ORDER BY 1, 2, 3",
        )
        .unwrap();
    let drops = drops.query_map([], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?))).unwrap();
    let mut ids = c.prepare("SELECT id, name FROM destinations WHERE removed = 0").unwrap();
    let ids: Vec<(u8, String)> =
        ids.query_map([], |r| Ok((r.get(0)?, r.get(1)?))).unwrap().map(Result::unwrap).collect();
    let row = |row: QueuedRow| {
        (row.epoch.epoch.0, row.sequence, row.at, row.sample, row.stream.name.clone(), row.position)
    };
    Said {
        rows: ids
            .into_iter()
            .map(|(id, name)| (name, waiting(path, DestinationId(id)).into_iter().map(row).collect()))
            .collect(),
        destinations: verified.destinations,
        intake: verified.intake,
        gaps: verified.gaps,
        set_aside: verified.set_aside,
        drops: drops.map(Result::unwrap).collect(),
        told: count("told", 2),
        corrections: count("corrections", 3),
    }
}

/// The same life in a file of an earlier schema.
fn as_before(today: &Path, steps: i64) -> PathBuf {
    let path = today.with_file_name(format!("of-{steps}.db"));
    let c = at_schema(&path, steps);
    c.execute("ATTACH ?1 AS today", [today.to_str().unwrap()]).unwrap();
    for (table, columns) in tables(&c) {
        let columns = columns.join(", ");
        c.execute_batch(&format!(
            "DELETE FROM main.{table}; INSERT INTO main.{table} ({columns}) SELECT {columns} FROM today.{table};"
        ))
        .unwrap();
    }
    c.execute("UPDATE meta SET value = '0.0.1' WHERE key = 'written_by'", []).unwrap();
    c.execute_batch("DETACH today; PRAGMA wal_checkpoint(TRUNCATE);").unwrap();
    path
}

/// Everything that waits is acknowledged, what was set aside is sent again and acknowledged too, and the equation closes.
fn goes_on(path: &Path, epoch: u64) {
    let mut hand = open(path, &["golioth", "plant"], epoch);
    assert_eq!(hand.status().generation, 0);
    accept(&mut hand, 50..53);
    for name in ["golioth", "plant"] {
        let destination = id_of(&hand, name);
        for class in Class::ALL {
            let rows: Vec<QueuedRow> =
                waiting(path, destination).into_iter().filter(|row| row.stream.class == class).collect();
            let Some(last) = rows.last() else { continue };
            let from = Position::first_of(class);
            let to = last.position.next_segment();
            hand.settle(settlement(0, destination, from, to, &rows, Outcome::Acknowledged));
        }
        assert_eq!(hand.flush(), Health::Good);
        assert_eq!(waiting(path, destination), Vec::new());
        let totals = hand.status().destination(destination);
        assert_eq!(totals.queued, 0);
        assert_eq!(totals.accepted, totals.acknowledged + totals.dropped + totals.set_aside, "{name}");
    }
    hand.close();
    assert_eq!(support::problems(path), Vec::<String>::new());
}

#[test]
fn the_life_that_is_carried_over_has_something_of_everything() {
    let (_folder, path) = lived();
    let said = said(&path, schema::STEPS);
    let golioth = said.destinations["golioth"];
    assert!(golioth.acknowledged > 0 && golioth.dropped > 4 && golioth.set_aside == 3 && golioth.queued > 20);
    let reasons: Vec<&str> = said.drops.iter().map(|(.., reason, _)| reason.as_str()).collect();
    for reason in ["age", "superseded", "destination_removed"] {
        assert!(reasons.contains(&reason), "{reasons:?}");
    }
    for gap in [("missed", "silent"), ("missed", "unclean_stop"), ("refused", "not_finite")] {
        assert!(said.gaps.contains_key(&(gap.0.into(), gap.1.into())), "{:?}", said.gaps);
    }
    assert!(said.told >= 3 && said.corrections == 1);
    let c = sqlite::open_reader(&path).unwrap();
    let islands: i64 =
        c.query_row("SELECT count(*) FROM cursors WHERE length(islands) > 0", [], |r| r.get(0)).unwrap();
    assert!(islands > 1);
}

#[test]
fn a_file_of_each_earlier_schema_opens_with_nothing_lost_and_every_book_in_order() {
    for steps in 1..schema::STEPS {
        let (_folder, today) = lived();
        let path = as_before(&today, steps);
        let hand = open(&path, &["golioth", "plant"], 3);
        assert_eq!(hand.status().generation, 0, "the same file, of schema {steps}");
        hand.close();
        assert_eq!(said(&path, steps), said(&today, steps), "schema {steps}");
        let version: i64 =
            sqlite::open_reader(&path).unwrap().query_row("PRAGMA user_version", [], |r| r.get(0)).unwrap();
        assert_eq!(version, schema::STEPS);
        goes_on(&path, 4);
    }
}

#[test]
fn what_a_release_of_each_earlier_schema_writes_into_todays_file_is_all_there_when_this_one_comes_back() {
    for steps in 1..schema::STEPS {
        let (_folder, path) = lived();
        let before = said(&path, schema::STEPS);
        write_as_before(&path, steps);
        let hand = open(&path, &["golioth", "plant"], 3);
        assert_eq!(hand.status().generation, 0, "written by schema {steps}");
        hand.close();
        assert_eq!(said(&path, schema::STEPS), before, "written by schema {steps}");
        goes_on(&path, 4);
    }
}

/// Of a column: its name, type, whether it may not be NULL, its default, its place in the primary key.
type Column = (String, String, bool, Option<String>, i64);

fn columns(c: &Connection, table: &str) -> Vec<Column> {
    let mut rows =
        c.prepare(r#"SELECT name, type, "notnull", dflt_value, pk FROM pragma_table_info(?1)"#).unwrap();
    rows.query_map([table], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?, r.get(4)?)))
        .unwrap()
        .map(Result::unwrap)
        .collect()
}

/// Everything that is no table: name and text.
fn others(c: &Connection) -> BTreeMap<String, String> {
    let mut rows =
        c.prepare("SELECT name, sql FROM sqlite_schema WHERE type <> 'table' AND sql IS NOT NULL").unwrap();
    rows.query_map([], |r| Ok((r.get(0)?, r.get(1)?))).unwrap().map(Result::unwrap).collect()
}

fn only_adds(of: &str, migrations: &rusqlite_migration::Migrations<'_>, steps: usize) -> usize {
    let mut compared = 0;
    let at = |steps: usize| {
        let mut c = Connection::open_in_memory().unwrap();
        migrations.to_version(&mut c, steps).unwrap();
        c
    };
    for step in 1..steps {
        let (before, after) = (at(step), at(step + 1));
        for table in tables(&before).keys() {
            let (had, has) = (columns(&before, table), columns(&after, table));
            assert_eq!(has.get(..had.len()), Some(had.as_slice()), "{of}, step {}: {table}", step + 1);
            for (name, _, not_null, default, key) in &has[had.len()..] {
                let may_be_left_out = (!not_null || default.is_some()) && *key == 0;
                assert!(may_be_left_out, "{of}, step {}: {table}.{name}", step + 1);
            }
            compared += 1;
        }
        for (name, sql) in others(&before) {
            assert_eq!(others(&after).get(&name), Some(&sql), "{of}, step {}: {name}", step + 1);
        }
        let old: Vec<String> = tables(&before).into_keys().collect();
        for (name, sql) in others(&after) {
            // A rule that an earlier release does not know of could refuse what it writes.
            let is_rule = sql.contains("CREATE UNIQUE") || sql.contains("CREATE TRIGGER");
            let on_old = old.iter().any(|table| sql.contains(&format!(" ON {table} ")));
            let is_new = !others(&before).contains_key(&name);
            assert!(!(is_rule && on_old && is_new), "{of}, step {}: {name}", step + 1);
        }
    }
    compared
}

#[test]
fn each_migration_only_adds_what_an_earlier_release_may_leave_out() {
    let queue = only_adds("queue.db", &schema::migrations(), usize::try_from(schema::STEPS).unwrap());
    assert!(queue > 30, "{queue}");
    let steps = usize::try_from(gateway::schema::version()).unwrap();
    only_adds("gateway.db", &gateway::schema::migrations(), steps);
}
