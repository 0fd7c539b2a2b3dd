//! The promise: whatever a link answers, in whatever order and however absurd, the drain loses nothing, holds little, hurries
//! nobody, and settles each reading once.
//!
//! The real drain and the real queue in virtual time; only the link is a script.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail by panicking")]

#[path = "support/store.rs"]
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use fieldgate::board::Board;
use fieldgate::clock::{BootId, Clock, Mono, VirtualClock, Wall};
use fieldgate::daemon::rim::{Entropy, Rim, machine};
use fieldgate::daemon::supervisor::Supervisor;
use fieldgate::reading::{Class, Value};
use fieldgate::spend::Purse;
use fieldgate::store::queue::{OpenOptions, Queue, QueuedRow, StreamSpec};
use fieldgate::uplink::drain::{self, DrainOptions};
use fieldgate::uplink::link::{
    Capabilities, EpochStatement, Link, Manifest, Message, Outcome, Packed, Report,
};
use proptest::prelude::*;
use support::{BOOT, Hand, capture, options, spec, steps};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

const S: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
/// A message body is four bytes a reading (its value), ten for the statement, which is `S` ten times.
const STATEMENT: [u8; 10] = [b'S'; 10];

type Script = dyn FnMut(&[u32], &Message) -> (Duration, Outcome) + Send;

struct Scripted {
    script: Mutex<Box<Script>>,
    up: watch::Sender<bool>,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    /// Values of each message, in order of sending.
    sent: Vec<Vec<u32>>,
    acknowledged: BTreeMap<u32, u32>,
    in_flight: usize,
    most_in_flight: usize,
    most_offered: usize,
}

impl std::fmt::Debug for Scripted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Scripted")
    }
}

fn value(row: &QueuedRow) -> u32 {
    match row.sample.value {
        Value::Steps(n) => u32::try_from(n).unwrap(),
        _ => panic!("{row:?}"),
    }
}

/// Values from a million on are long: half a kilobyte.
fn length(value: u32) -> usize {
    if value >= 1_000_000 { 512 } else { 4 }
}

fn values(body: &[u8]) -> Vec<u32> {
    let mut rest = body.strip_prefix(&STATEMENT).unwrap_or(body);
    let mut values = Vec::new();
    while let Some((head, _)) = rest.split_at_checked(4) {
        let value = u32::from_be_bytes(head.try_into().unwrap());
        rest = &rest[length(value)..];
        values.push(value);
    }
    values
}

#[async_trait]
impl Link for Scripted {
    fn name(&self) -> &str {
        "golioth"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { max_message_bytes: 1024, max_in_flight: 8 }
    }

    fn pack(&self, statement: Option<&EpochStatement>, rows: &[QueuedRow], limit: usize) -> Option<Packed> {
        let mut seen = self.seen.lock().unwrap();
        seen.most_offered = seen.most_offered.max(rows.len());
        let mut body = statement.map_or(Vec::new(), |_| STATEMENT.to_vec());
        let mut count = 0;
        for row in rows {
            if body.len() + length(value(row)) > limit {
                break;
            }
            body.extend(value(row).to_be_bytes());
            body.resize(body.len() + length(value(row)) - 4, 0);
            count += 1;
        }
        let message = Message { address: "a".into(), body, class: rows[0].stream.class };
        (count > 0).then_some(Packed { message, rows: count })
    }

    async fn send(&self, message: &Message, _: Duration) -> Outcome {
        let values = values(&message.body);
        let (after, outcome) = {
            let mut seen = self.seen.lock().unwrap();
            seen.sent.push(values.clone());
            seen.in_flight += 1;
            seen.most_in_flight = seen.most_in_flight.max(seen.in_flight);
            (self.script.lock().unwrap())(&values, message)
        };
        tokio::time::sleep(after).await;
        let mut seen = self.seen.lock().unwrap();
        seen.in_flight -= 1;
        if outcome == Outcome::Acknowledged {
            for value in values {
                *seen.acknowledged.entry(value).or_default() += 1;
            }
        }
        outcome
    }

    async fn report(&self, _: Report) -> Outcome {
        Outcome::Acknowledged
    }

    fn up(&self) -> watch::Receiver<bool> {
        self.up.subscribe()
    }

    fn manifests(&self) -> Option<mpsc::Receiver<Manifest>> {
        None
    }
}

fn streams() -> Vec<StreamSpec> {
    vec![
        spec("telemetry", "g", Class::Telemetry, &["golioth"]),
        spec("alarm", "g", Class::Alarm, &["golioth"]),
        spec("elsewhere", "g", Class::Telemetry, &["other"]),
    ]
}

struct Bench {
    queue: Queue,
    link: Arc<Scripted>,
    supervisor: Supervisor,
    stop: CancellationToken,
    board: Arc<Board>,
    clock: Arc<VirtualClock>,
    _folder: tempfile::TempDir,
}

#[derive(Debug)]
struct Even(Mutex<u64>);

impl Entropy for Even {
    fn fill(&self, bytes: &mut [u8]) {
        let mut state = self.0.lock().unwrap();
        for byte in bytes {
            *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            *byte = (*state >> 56) as u8;
        }
    }
}

impl Bench {
    fn start(script: impl FnMut(&[u32], &Message) -> (Duration, Outcome) + Send + 'static) -> Self {
        Self::start_in(support::fast_folder(), script)
    }

    fn start_in(
        folder: tempfile::TempDir,
        script: impl FnMut(&[u32], &Message) -> (Duration, Outcome) + Send + 'static,
    ) -> Self {
        let wall = Wall { unix_ms: 1_795_132_800_000, uncertainty_ms: 50, trusted: true };
        let clock = Arc::new(VirtualClock::starting_at(BOOT, wall));
        let shared: Arc<dyn Clock> = Arc::clone(&clock) as Arc<dyn Clock>;
        let path = folder.path().join("queue.db");
        let (queue, pump) =
            Queue::open_inline(options(path, streams(), &["golioth", "other"], 1), &shared).unwrap();
        tokio::spawn(pump);
        let link = Arc::new(Scripted {
            script: Mutex::new(Box::new(script)),
            up: watch::Sender::new(true),
            seen: Mutex::default(),
        });
        let rim = Rim { random: Arc::new(Even(Mutex::new(1))), ..machine::rim(shared) };
        let stop = CancellationToken::new();
        let board = Board::shared();
        let supervisor = Supervisor::new(rim.clone(), Arc::clone(&board), stop.clone());
        let drain_options = DrainOptions {
            window: 8,
            linger: 2 * S,
            hold_untrusted: 600 * S,
            purse: Purse::unlimited(Arc::clone(&rim.clock)),
        };
        let destination = queue.destinations()[0].0;
        let as_link: Arc<dyn Link> = Arc::clone(&link) as Arc<dyn Link>;
        let shown = Arc::clone(&board);
        supervisor.spawn(drain::lane(
            as_link,
            destination,
            queue.clone(),
            rim,
            drain_options,
            shown,
            stop.clone(),
        ));
        Self { queue, link, supervisor, stop, board, clock, _folder: folder }
    }

    async fn take(&self, stream: usize, values: impl IntoIterator<Item = u32>) {
        let (id, group) = self.queue.streams()[stream];
        let mut answers = Vec::new();
        for value in values {
            let reading = capture(group, self.clock.mono(), vec![steps(id, i64::from(value))]);
            answers.push(self.queue.offer(reading).await.unwrap());
        }
        for answer in answers {
            answer.await.unwrap().unwrap();
        }
    }

    fn queued(&self) -> u64 {
        self.queue.status().borrow().destination(self.queue.destinations()[0].0).queued
    }

    fn set_aside(&self) -> u64 {
        self.queue.status().borrow().destination(self.queue.destinations()[0].0).set_aside
    }

    async fn drained(&self, at_most: Duration) {
        let mut status = self.queue.status();
        let golioth = self.queue.destinations()[0].0;
        let empty = status.wait_for(|status| status.destination(golioth).queued == 0);
        let done = tokio::time::timeout(at_most, empty).await.map(|_| ());
        done.unwrap_or_else(|_| panic!("{} still queued", self.queued()));
    }

    async fn finish(self) -> Seen {
        self.stop.cancel();
        self.supervisor.stopped(5 * S).await;
        self.queue.stop();
        let verified = fieldgate::store::queue::verify::verify(self.queue.path()).unwrap();
        assert_eq!(verified.problems, Vec::<String>::new());
        std::mem::take(&mut *self.link.seen.lock().unwrap())
    }
}

fn in_virtual_time<R>(run: impl Future<Output = R>) -> R {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(run)
}

#[test]
fn a_link_that_says_at_once_that_it_does_not_know_is_not_asked_in_a_tight_loop() {
    in_virtual_time(async {
        let bench = Bench::start(|_, _| (Duration::ZERO, Outcome::Unknown));
        bench.take(0, 0..2000).await;
        tokio::time::sleep(60 * S).await;
        let seen = bench.finish().await;
        assert!(seen.sent.len() < 8 * 70, "{} messages in a minute", seen.sent.len());
    });
}

#[test]
fn a_queue_of_any_length_keeps_only_a_few_messages_worth_in_memory() {
    in_virtual_time(async {
        let bench = Bench::start(|_, _| (30 * S, Outcome::Unknown));
        for n in 0..20 {
            bench.take(0, n * 1000..(n + 1) * 1000).await;
        }
        tokio::time::sleep(HOUR).await;
        let seen = bench.finish().await;
        assert!(seen.most_offered <= 512, "{}", seen.most_offered);
        let distinct: BTreeSet<u32> = seen.sent.iter().flatten().copied().collect();
        assert!(distinct.len() <= 8 * 256, "{} readings outside the queue", distinct.len());
        assert!(seen.most_in_flight <= 8);
    });
}

#[test]
fn one_place_in_the_window_is_kept_for_what_is_urgent() {
    in_virtual_time(async {
        let bench = Bench::start(|_, message| match message.class {
            Class::Alarm => (S, Outcome::Acknowledged),
            _ => (100 * S, Outcome::Acknowledged),
        });
        bench.take(0, 0..5000).await;
        tokio::time::sleep(5 * S).await;
        bench.take(1, [9]).await;
        tokio::time::sleep(2 * S).await;
        assert!(bench.link.seen.lock().unwrap().acknowledged.contains_key(&9));
    });
}

#[test]
fn what_got_no_answer_goes_again_oldest_first_and_unchanged() {
    in_virtual_time(async {
        let mut asked = 0;
        let bench = Bench::start(move |values, _| {
            asked += 1;
            // The first window is lost, and noticed in any order.
            if asked <= 7 {
                (Duration::from_millis(500 + u64::from(values[0]) % 7 * 10), Outcome::Unknown)
            } else {
                (S, Outcome::Acknowledged)
            }
        });
        bench.take(0, 0..2000).await;
        bench.drained(60 * S).await;
        let seen = bench.finish().await;
        let (first, rest) = seen.sent.split_at(7);
        let mut again: Vec<&Vec<u32>> = rest.iter().filter(|m| first.contains(m)).collect();
        assert_eq!(again.len(), 7, "the same messages");
        let in_order = again.clone();
        again.sort();
        assert_eq!(again, in_order);
        assert!(seen.acknowledged.values().all(|copies| *copies == 1) && seen.acknowledged.len() == 2000);
    });
}

#[test]
fn a_limit_that_the_message_was_within_does_not_go_round_in_circles() {
    in_virtual_time(async {
        let bench = Bench::start(|_, message| match message.body.len() {
            0..=300 => (S / 10, Outcome::Acknowledged),
            _ => (S / 10, Outcome::TooLarge { limit: Some(5000) }),
        });
        bench.take(0, 0..1000).await;
        bench.drained(60 * S).await;
        let seen = bench.finish().await;
        assert!(seen.sent.len() < 60, "{}", seen.sent.len());
        assert_eq!(seen.acknowledged.len(), 1000);
    });
}

#[test]
fn a_long_reading_is_not_set_aside_for_a_limit_that_was_only_guessed() {
    in_virtual_time(async {
        // The destination takes 600 bytes, but does not say so; halving arrives at less than the long reading has.
        let bench = Bench::start(|_, message| match message.body.len() {
            0..=600 => (S / 10, Outcome::Acknowledged),
            _ => (S / 10, Outcome::TooLarge { limit: None }),
        });
        bench.take(0, (0..250).chain([1_000_000]).chain(300..400)).await;
        bench.drained(60 * S).await;
        assert_eq!(bench.set_aside(), 0);
        assert_eq!(bench.finish().await.acknowledged.len(), 351);
    });
}

#[test]
fn a_reading_too_long_for_any_message_is_set_aside_and_blocks_nothing() {
    in_virtual_time(async {
        let bench = Bench::start(|_, message| match message.body.len() {
            0..=200 => (S / 10, Outcome::Acknowledged),
            _ => (S / 10, Outcome::TooLarge { limit: Some(200) }),
        });
        bench.take(0, (0..50).chain([1_000_000]).chain(60..100)).await;
        bench.drained(60 * S).await;
        assert_eq!(bench.set_aside(), 1);
        bench.queue.flush().await;
        // And a person who looks is told which one it was, and why.
        let told = fieldgate::store::queue::verify::verify(bench.queue.path()).unwrap().set_aside;
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].contains("number") && told[0].contains("too long for one message"), "{told:?}");
        assert_eq!(bench.finish().await.acknowledged.len(), 90);
    });
}

#[test]
fn refusals_of_a_whole_window_count_as_one() {
    in_virtual_time(async {
        let sick = Outcome::LinkSick { why: "no".into(), next_step: "do".into() };
        let mut asked = 0;
        let bench = Bench::start(move |_, _| {
            asked += 1;
            (S, if asked <= 7 { sick.clone() } else { Outcome::Acknowledged })
        });
        bench.take(0, 0..3000).await;
        // The first pause is a minute at most.
        bench.drained(90 * S).await;
        let seen = bench.finish().await;
        assert_eq!(seen.acknowledged.len(), 3000);
    });
}

#[test]
fn leftovers_of_a_full_message_have_gathered_since_they_came_and_not_since_it_left() {
    in_virtual_time(async {
        let mut asked = 0;
        let bench = Bench::start(move |_, _| {
            asked += 1;
            let later = Outcome::Later { after: 5 * S };
            (S / 10, if asked == 1 { later } else { Outcome::Acknowledged })
        });
        // Two messages and ten readings; the second leaves after the pause, and the ten do not gather anew from then on.
        bench.take(0, 0..522).await;
        tokio::time::sleep(13 * S / 2).await;
        assert_eq!(bench.link.seen.lock().unwrap().acknowledged.len(), 522);
        bench.finish().await;
    });
}

#[test]
fn a_destination_that_refuses_everything_is_shown_until_it_takes_something() {
    in_virtual_time(async {
        let mut asked = 0;
        let bench = Bench::start(move |values, _| {
            asked += 1;
            let refuses = asked < 400 && !values.is_empty();
            (S / 10, if refuses { Outcome::Bad { why: "no".into() } } else { Outcome::Acknowledged })
        });
        let refuses = |bench: &Bench| bench.board.destinations.get("golioth").unwrap().value.refuses;
        bench.take(0, 0..1000).await;
        tokio::time::sleep(60 * S).await;
        let words = refuses(&bench).unwrap();
        assert!(words.contains("more than 100 readings") && words.contains("Next: "), "{words}");
        bench.drained(100 * HOUR).await;
        assert_eq!(refuses(&bench), None);
        bench.finish().await;
    });
}

#[test]
fn readings_of_other_destinations_in_between_are_passed_over() {
    in_virtual_time(async {
        let bench = Bench::start(|_, _| (S / 10, Outcome::Acknowledged));
        for n in 0..40 {
            bench.take(2, [n]).await;
            if n % 10 == 9 {
                bench.take(0, [n]).await;
            }
        }
        bench.drained(30 * S).await;
        let other = bench.queue.destinations()[1].0;
        assert_eq!(bench.queue.status().borrow().destination(other).queued, 40);
        assert_eq!(bench.finish().await.acknowledged.len(), 4);
    });
}

#[test]
fn a_reading_of_an_earlier_boot_does_not_wait_for_that_boots_clock() {
    in_virtual_time(async {
        let folder = support::fast_folder();
        let path = folder.path().join("queue.db");
        let earlier =
            OpenOptions { boot: BootId([6; 16]), ..options(path, streams(), &["golioth", "other"], 7) };
        // That boot never learned the time, and had run for a month.
        let month = Mono::from(720 * HOUR);
        let mut hand = Hand::open(earlier, month).unwrap();
        let (id, group) = hand.writer.stream_ids()[0];
        hand.accept(capture(group, month, vec![steps(id, 5)])).unwrap();
        hand.close();
        let bench = Bench::start_in(folder, |_, _| (S, Outcome::Acknowledged));
        bench.take(0, [6]).await;
        bench.drained(30 * S).await;
        assert_eq!(bench.finish().await.acknowledged.len(), 2);
    });
}

#[derive(Clone, Copy, Debug)]
enum Mood {
    Takes,
    Later,
    Sick,
    TooLarge,
    Unknown,
    Bad,
}

fn moods() -> impl Strategy<Value = Vec<(Mood, u64)>> {
    let mood = prop_oneof![
        4 => Just(Mood::Takes),
        1 => Just(Mood::Later),
        1 => Just(Mood::Sick),
        1 => Just(Mood::TooLarge),
        2 => Just(Mood::Unknown),
        1 => Just(Mood::Bad),
    ];
    prop::collection::vec((mood, 1..4000u64), 0..60)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// A link in any mood that in the end takes everything but three poisoned readings.
    #[test]
    fn whatever_the_answers_every_reading_is_settled_once(moods in moods(), alarms in 0..4u32) {
        let (seen, set_aside) = in_virtual_time(async {
            let mut moods = moods.into_iter();
            let bench = Bench::start(move |values, message| {
                let (mood, after) = moods.next().unwrap_or((Mood::Takes, 100));
                let outcome = match mood {
                    _ if values.iter().any(|v| [77, 500, 1399].contains(v)) && !matches!(mood, Mood::Unknown) => {
                        Outcome::Bad { why: "poison".into() }
                    }
                    Mood::Takes => Outcome::Acknowledged,
                    Mood::Later => Outcome::Later { after: Duration::from_millis(after) },
                    Mood::Sick => Outcome::LinkSick { why: "no".into(), next_step: "do".into() },
                    Mood::TooLarge if values.len() > 1 => Outcome::TooLarge { limit: Some(message.body.len() / 2) },
                    Mood::Bad if values.len() > 1 => Outcome::Bad { why: "moody".into() },
                    Mood::TooLarge | Mood::Bad | Mood::Unknown => Outcome::Unknown,
                };
                (Duration::from_millis(after), outcome)
            });
            bench.take(0, 0..1400).await;
            bench.take(1, 2000..2000 + alarms).await;
            bench.drained(100 * HOUR).await;
            let set_aside = bench.set_aside();
            (bench.finish().await, set_aside)
        });
        prop_assert_eq!(set_aside, 3);
        prop_assert_eq!(seen.acknowledged.len() as u32, 1400 - 3 + alarms);
        prop_assert!(seen.acknowledged.values().all(|copies| *copies == 1));
        prop_assert!(seen.most_in_flight <= 8);
    }
}
