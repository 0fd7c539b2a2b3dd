//! What was answered as accepted is in the file, however often and whenever the daemon is killed.
//!
//! A child (this program again) accepts readings from a counter with a writer on a thread of its own, settles them for one
//! of two destinations, and prints each identity after its answer. It is killed after a number of lines that the seed
//! chooses, fifty times over the same file.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail by panicking")]

#[path = "support/store.rs"]
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use fieldgate::clock::{Clock, Mono, SystemClock};
use fieldgate::reading::{Class, Value};
use fieldgate::store::queue::{OpenOptions, Outcome, Queue, verify};
use fieldgate::store::sqlite;
use support::{Hand, Rng, capture, steps, waiting};

const FILE: &str = "FIELDGATE_TEST_QUEUE";
const FIRST: &str = "FIELDGATE_TEST_FIRST";

fn options(path: PathBuf, epoch: u64) -> OpenOptions {
    let streams = vec![
        support::spec("counter", "bus", Class::Telemetry, &["golioth", "broker"]),
        support::spec("alarm", "bus", Class::Alarm, &["golioth"]),
    ];
    let options = support::options(path, streams, &["golioth", "broker"], epoch);
    OpenOptions { commit_window: Duration::from_millis(1), ..options }
}

/// The child. Ends only by being killed.
#[tokio::test]
#[ignore = "run as a child by the test below"]
async fn accepts_until_it_is_killed() {
    let path = PathBuf::from(std::env::var(FILE).expect("the parent says which file"));
    let first: i64 = std::env::var(FIRST).unwrap().parse().unwrap();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new(true, None));
    let queue = Queue::open(options(path, first.cast_unsigned() ^ 0xabcd), &clock).unwrap();
    let [(counter, group), (alarm, _)] = queue.streams() else { panic!("two streams") };
    let broker = queue.destinations()[1].0;
    let mut reader = queue.reader(broker).unwrap();
    let mut at = reader.start(Class::Telemetry);
    for n in first.. {
        // Several wait together, as lanes' captures do; every ninth comes with an alarm.
        let mut answers = Vec::new();
        for k in 0..4 {
            let value = n * 4 + k;
            let mut samples = vec![steps(*counter, value)];
            if value % 9 == 0 {
                samples.push(steps(*alarm, value));
            }
            let alarms = samples.len() > 1;
            answers.push((value, alarms, queue.offer(capture(*group, clock.mono(), samples)).await.unwrap()));
        }
        for (value, alarms, answer) in answers {
            let accepted = answer.await.unwrap().unwrap();
            println!("ACCEPTED {:016x} {} {value} {alarms}", accepted.epoch.0, accepted.sequence);
        }
        let picked = reader.pick(Class::Telemetry, at, 7).unwrap();
        let to = picked.resume.unwrap();
        let settlement = support::settlement(0, broker, at, to, &picked.rows, Outcome::Acknowledged);
        queue.settle(settlement).await;
        at = to;
    }
}

/// An accepted reading as the child printed it.
type Printed = (u64, u64, i64, bool);

/// Starts a child and kills it after so many lines; all lines that came through before the pipe closed count.
fn a_round(path: &Path, first: i64, kill_after: u64) -> Vec<Printed> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "accepts_until_it_is_killed", "--ignored", "--nocapture", "--test-threads=1"])
        .env(FILE, path)
        .env(FIRST, first.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let mut printed = Vec::new();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    if kill_after == 0 {
        // Wherever it is by now: not yet started, opening, or committing its first.
        child.kill().unwrap();
    }
    for line in lines {
        let line = line.unwrap();
        if let Some(at) = line.find("ACCEPTED ") {
            let words: Vec<&str> = line[at..].split(' ').collect();
            if let [_, epoch, sequence, value, alarm] = words[..] {
                printed.push((
                    u64::from_str_radix(epoch, 16).unwrap(),
                    sequence.parse().unwrap(),
                    value.parse().unwrap(),
                    alarm == "true",
                ));
                if printed.len() as u64 == kill_after {
                    child.kill().unwrap();
                }
            }
        }
    }
    let status = child.wait().unwrap();
    assert_eq!(
        std::os::unix::process::ExitStatusExt::signal(&status),
        Some(9),
        "it ended by itself: {status}"
    );
    printed
}

#[test]
fn fifty_kills_lose_no_accepted_reading_and_repeat_no_identity() {
    let mut rng = Rng(support::seed("fifty_kills_lose_no_accepted_reading_and_repeat_no_identity"));
    let folder = support::fast_folder();
    let path = folder.path().join("queue.db");
    let mut printed: Vec<Printed> = Vec::new();
    let mut kills_under_load = 0;
    for round in 0..50 {
        let kill_after = if round % 8 == 7 { 0 } else { 1 + rng.below(120) };
        let lines = a_round(&path, round * 1_000_000, kill_after);
        kills_under_load += usize::from(!lines.is_empty());
        printed.extend(lines);
    }
    let hand = Hand::open(options(path.clone(), 0xffff), Mono(1)).unwrap();

    let rows = waiting(&path, hand.writer.destination_ids()[0].0);
    let mut found: BTreeMap<(u64, String, u64), i64> = BTreeMap::new();
    let mut values = BTreeSet::new();
    for row in &rows {
        let Value::Steps(value) = row.sample.value else { panic!("{row:?}") };
        let identity = (row.epoch.epoch.0, row.stream.name.clone(), row.sequence);
        assert_eq!(found.insert(identity, value), None, "an identity twice: {row:?}");
        assert!(values.insert((row.stream.name.clone(), value)), "a value twice: {row:?}");
    }
    for (epoch, sequence, value, alarm) in &printed {
        assert_eq!(found.get(&(*epoch, "counter".into(), *sequence)), Some(value), "accepted, and lost");
        if *alarm {
            assert_eq!(found.get(&(*epoch, "alarm".into(), *sequence)), Some(value), "accepted, and lost");
        }
    }
    println!(
        "{} accepted and printed, {} in the file, {kills_under_load} kills under load",
        printed.len(),
        rows.len()
    );
    assert!(printed.len() > 1000 && kills_under_load >= 40);

    let verified = verify::verify(&path).unwrap();
    assert_eq!(verified.problems, Vec::<String>::new());
    assert!(verified.destinations["broker"].acknowledged > 0);
    let connection = sqlite::open_reader(&path).unwrap();
    let one = |sql: &str| -> i64 { connection.query_row(sql, [], |r| r.get(0)).unwrap() };
    let starts = one("SELECT count(*) FROM epochs WHERE clean_stop = 0") - 1;
    assert_eq!(one("SELECT count(DISTINCT epoch) FROM gaps WHERE reason = 'unclean_stop'"), starts);
    assert!(starts >= i64::try_from(kills_under_load).unwrap(), "each is on record");
    assert_eq!(one("SELECT count(*) FROM statements"), 0, "nothing was taken for damage");
}
