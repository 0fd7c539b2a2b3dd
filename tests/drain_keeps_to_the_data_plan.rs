//! The promise: with a data plan too small for everything, alarms go, telemetry waits or is thinned, the books account for every
//! reading, and the board says what waits and why.
//!
//! The real drain, queue and purse in virtual time; the link acknowledges everything and charges what a message costs.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail by panicking")]

#[path = "support/store.rs"]
mod support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use fieldgate::board::{Board, Registration};
use fieldgate::clock::{BootId, Clock, VirtualClock, Wall};
use fieldgate::daemon::rim::machine;
use fieldgate::daemon::supervisor::Supervisor;
use fieldgate::reading::{Class, Value};
use fieldgate::spend::{Allowance, Cause, Direction, Ledger, Network, Plan, Purpose, Purse, Record, wire};
use fieldgate::store::queue::writer::GiveUp;
use fieldgate::store::queue::{Owed, Queue, QueuedRow};
use fieldgate::uplink::drain::{self, DrainOptions};
use fieldgate::uplink::link::{
    Capabilities, CloudEvent, EpochStatement, Link, Message, Outcome, Packed, Report,
};
use support::{BOOT, capture, options, problems, spec, steps};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

const S: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const PLAN: u64 = 256 << 10;

/// Acknowledges everything; what is sent costs what a message over DTLS does, or over TCP where it is longer than a datagram.
struct Willing {
    up: watch::Sender<bool>,
    purse: Arc<Purse>,
    arrived: Mutex<Vec<(Class, i64)>>,
    shape: Shape,
    disk: Arc<Disk>,
}

/// The longest message, and what a reading takes of it, bytes.
#[derive(Clone, Copy)]
struct Shape {
    message: usize,
    reading: usize,
}

const SHORT: Shape = Shape { message: 1024, reading: 8 };
const LONG: Shape = Shape { message: 16 << 10, reading: 64 };

/// What is on disk of the ledger, and what went over the wire.
struct Disk {
    plan: Plan,
    record: Mutex<Option<Record>>,
    wire: Mutex<u64>,
}

impl Disk {
    /// Whether a gateway that crashed now would know at least what went.
    fn knows_what_went(&self) -> bool {
        let record = self.record.lock().unwrap().clone();
        let after_a_crash = Ledger::new(self.plan.clone(), record);
        after_a_crash.spent(Network::Home).1.total() >= *self.wire.lock().unwrap()
    }
}

impl std::fmt::Debug for Willing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Willing")
    }
}

#[async_trait]
impl Link for Willing {
    fn name(&self) -> &str {
        "golioth"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { max_message_bytes: self.shape.message, max_in_flight: 8 }
    }

    fn pack(&self, _: Option<&EpochStatement>, rows: &[QueuedRow], limit: usize) -> Option<Packed> {
        let rows = &rows[..rows.len().min(limit / self.shape.reading)];
        let value = |row: &QueuedRow| match row.sample.value {
            Value::Steps(n) => n,
            _ => panic!("{row:?}"),
        };
        let mut body = Vec::new();
        for row in rows {
            body.extend(value(row).to_be_bytes());
            body.resize(body.len() + self.shape.reading - 8, 0);
        }
        let message = Message { address: "a".into(), body, class: rows[0].stream.class, readings: 0 };
        Some(Packed { message, rows: rows.len() })
    }

    fn pack_owed(&self, owed: &[Owed], _: usize) -> Option<Packed> {
        let message =
            Message { address: "losses".into(), body: Vec::new(), class: Class::Event, readings: 0 };
        Some(Packed { message, rows: owed.len() })
    }

    async fn send(&self, message: &Message, _: Duration) -> Outcome {
        let cause = Cause::Message(message.class);
        let body = message.body.len() as u64;
        let up = if self.shape.message > 1024 { wire::stream(body) } else { body + 73 };
        self.purse.caused("golioth", cause, Direction::Up, up);
        self.purse.caused("golioth", cause, Direction::Down, 65);
        *self.disk.wire.lock().unwrap() += up + 65;
        assert!(self.disk.knows_what_went(), "a crash now would forget some of it");
        let values = message.body.chunks_exact(self.shape.reading);
        let values = values.map(|v| i64::from_be_bytes(v[..8].try_into().unwrap()));
        self.arrived.lock().unwrap().extend(values.map(|value| (message.class, value)));
        tokio::time::sleep(S).await;
        Outcome::Acknowledged
    }

    async fn report(&self, _: Report) -> Outcome {
        Outcome::Acknowledged
    }

    fn up(&self) -> watch::Receiver<bool> {
        self.up.subscribe()
    }

    fn events(&self) -> Option<mpsc::Receiver<CloudEvent>> {
        None
    }
}

struct Bench {
    queue: Queue,
    link: Arc<Willing>,
    board: Arc<Board>,
    purse: Arc<Purse>,
    supervisor: Supervisor,
    stop: CancellationToken,
    clock: Arc<VirtualClock>,
    folder: tempfile::TempDir,
}

impl Bench {
    /// On 2026-06-10, a third of the month gone.
    fn start(plan: Plan) -> Self {
        Self::in_boot(BOOT, support::fast_folder(), plan)
    }

    fn in_boot(boot: BootId, folder: tempfile::TempDir, plan: Plan) -> Self {
        Self::with(boot, folder, plan, SHORT, &[])
    }

    /// `bands` by the number of the stream.
    fn with(
        boot: BootId,
        folder: tempfile::TempDir,
        plan: Plan,
        shape: Shape,
        bands: &[(usize, f64)],
    ) -> Self {
        let wall = Wall { unix_ms: 1_781_049_600_000, uncertainty_ms: 50, trusted: true };
        let clock = Arc::new(VirtualClock::starting_at(boot, wall));
        let shared: Arc<dyn Clock> = Arc::clone(&clock) as Arc<dyn Clock>;
        let streams = vec![
            spec("telemetry", "g", Class::Telemetry, &["golioth"]),
            spec("alarm", "g", Class::Alarm, &["golioth"]),
        ];
        let path = folder.path().join("queue.db");
        let (queue, pump) = Queue::open_inline(options(path, streams, &["golioth"], 1), &shared).unwrap();
        tokio::spawn(pump);
        let board = Board::shared();
        let purse = Purse::new(plan.clone(), None, 300 * S, Arc::clone(&shared), Arc::clone(&board));
        let disk = Arc::new(Disk { plan, record: Mutex::default(), wire: Mutex::default() });
        tokio::spawn(write_down(Arc::clone(&purse), Arc::clone(&disk)));
        let link = Arc::new(Willing {
            up: watch::Sender::new(false),
            purse: Arc::clone(&purse),
            arrived: Mutex::default(),
            shape,
            disk,
        });
        let rim = machine::rim(shared);
        let stop = CancellationToken::new();
        let supervisor = Supervisor::new(rim.clone(), Arc::clone(&board), stop.clone());
        let thin_bands = bands.iter().map(|(stream, band)| (queue.streams()[*stream].0, *band)).collect();
        let drain_options = DrainOptions {
            purse: Some(Arc::clone(&purse)),
            thin_bands: Arc::new(thin_bands),
            ..DrainOptions::default()
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
        Self { queue, link, board, purse, supervisor, stop, clock, folder }
    }

    async fn take(&self, stream: usize, values: std::ops::Range<i64>) {
        self.take_values(stream, values).await;
    }

    async fn take_values(&self, stream: usize, values: impl Iterator<Item = i64>) {
        let (id, group) = self.queue.streams()[stream];
        let mut answers = Vec::new();
        for value in values {
            let reading = capture(group, self.clock.mono(), vec![steps(id, value)]);
            answers.push(self.queue.offer(reading).await.unwrap());
        }
        for answer in answers {
            answer.await.unwrap().unwrap();
        }
    }

    async fn give_up_all_telemetry(&self) {
        let class = Class::Telemetry;
        let until = self.queue.status().borrow().ends[&class];
        let (destination, _) = self.queue.destinations()[0];
        let what = GiveUp { generation: 0, destination, class, until, streams: None };
        while self.queue.give_up(what.clone()).await.unwrap().more {}
    }

    fn arrived(&self, class: Class) -> usize {
        self.link.arrived.lock().unwrap().iter().filter(|(of, _)| *of == class).count()
    }

    async fn finish(self) -> tempfile::TempDir {
        self.stop.cancel();
        self.supervisor.stopped(5 * S).await;
        self.queue.stop();
        assert_eq!(problems(self.queue.path()), Vec::<String>::new());
        self.folder
    }
}

/// As the daemon's own lane does, to a slow disk.
async fn write_down(purse: Arc<Purse>, disk: Arc<Disk>) {
    loop {
        if let Some(record) = purse.record() {
            tokio::time::sleep(S).await;
            *disk.record.lock().unwrap() = Some(record);
            purse.recorded(true);
        }
        tokio::select! {
            () = purse.record_due() => {}
            () = tokio::time::sleep(30 * S) => {}
        }
    }
}

fn plan() -> Plan {
    Plan { home: Allowance { day: None, month: Some(PLAN) }, ..Plan::unlimited() }
}

fn in_virtual_time<R>(run: impl Future<Output = R>) -> R {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(run)
}

#[test]
fn telemetry_waits_for_the_plan_while_alarms_go_and_the_page_says_so() {
    in_virtual_time(async {
        let bench = Bench::start(plan());
        bench.purse.charge(Purpose::Live, Direction::Up, PLAN * 70 / 100);
        bench.link.up.send_replace(true);
        bench.take(0, 0..50).await;
        tokio::time::sleep(HOUR).await;
        assert_eq!(bench.arrived(Class::Telemetry), 0, "two thirds are spent in a third of the month");
        bench.take(1, 0..3).await;
        tokio::time::sleep(10 * S).await;
        assert_eq!(bench.arrived(Class::Alarm), 3);

        bench.purse.publish();
        let fact = bench.board.data_plan.get().unwrap().value;
        assert!(fact.waits.iter().any(|(what, _)| what.contains("backlog for golioth")), "{fact:?}");
        let lane = bench.board.lanes.get("drain golioth").unwrap().value;
        assert!(lane.fine && lane.words.contains("waits for the data plan"), "{lane:?}");

        tokio::time::sleep(20 * 24 * HOUR).await;
        assert_eq!(bench.arrived(Class::Telemetry), 50, "the line has caught up: nothing was lost");
        bench.finish().await;
    });
}

#[test]
fn what_an_earlier_boot_left_is_backlog_however_young_this_boot_is() {
    in_virtual_time(async {
        let bench = Bench::start(plan());
        bench.take(0, 0..50).await;
        let folder = bench.finish().await;
        let bench = Bench::in_boot(BootId([9; 16]), folder, plan());
        bench.link.up.send_replace(true);
        tokio::time::sleep(60 * S).await;
        assert_eq!(bench.arrived(Class::Telemetry), 50);
        bench.purse.publish();
        let spent = bench.board.data_plan.get().unwrap().value.by_purpose;
        let on = |name: &str| spent.iter().find(|(of, _)| *of == name).unwrap().1;
        assert_eq!(on("live"), 0, "{spent:?}");
        assert!(on("backlog") > 0, "{spent:?}");
        bench.finish().await;
    });
}

#[test]
fn a_backlog_beyond_the_plan_is_thinned_evenly_and_the_books_count_what_was_given_up() {
    in_virtual_time(async {
        let bench = Bench::start(plan());
        for hundred in 0..300 {
            bench.take(0, hundred * 100..hundred * 100 + 100).await;
        }
        tokio::time::sleep(600 * S).await;
        bench.link.up.send_replace(true);
        tokio::time::sleep(HOUR).await;
        bench.purse.publish();
        let fact = bench.board.data_plan.get().unwrap().value;
        assert!(matches!(&fact.thinned[..], [(name, 2..)] if name == "golioth"), "{fact:?}");
        let golioth = bench.queue.destinations()[0].0;
        let totals = bench.queue.status().borrow().destination(golioth);
        assert!(totals.dropped > 0 && totals.acknowledged > 0, "{totals:?}");
        assert_eq!(totals.accepted, totals.acknowledged + totals.dropped + totals.queued);
        assert_eq!(totals.acknowledged, bench.arrived(Class::Telemetry) as u64);
        let reason: String = rusqlite::Connection::open(bench.queue.path())
            .unwrap()
            .query_row("SELECT group_concat(DISTINCT reason) FROM drops", [], |row| row.get(0))
            .unwrap();
        assert_eq!(reason, "thinned");
        // The rest of the backlog ends by somebody's word, not by a grant.
        bench.give_up_all_telemetry().await;
        tokio::time::sleep(HOUR).await;
        bench.purse.publish();
        let fact = bench.board.data_plan.get().unwrap().value;
        assert!(fact.thinned.is_empty() && fact.waits.is_empty(), "{fact:?}");
        bench.finish().await;
    });
}

#[test]
fn what_is_live_is_never_thinned_though_it_is_at_hand_together_with_a_backlog() {
    in_virtual_time(async {
        let bench = Bench::start(plan());
        for hundred in 0..300 {
            bench.take(0, hundred * 100..hundred * 100 + 100).await;
        }
        bench.link.up.send_replace(true);
        // What becomes backlog now waited in memory; what comes next joins it there.
        tokio::time::sleep(400 * S).await;
        bench.take(0, 50_000..50_050).await;
        tokio::time::sleep(HOUR).await;
        let golioth = bench.queue.destinations()[0].0;
        assert!(bench.queue.status().borrow().given_up_for(golioth, "thinned") > 0);
        let live = bench.link.arrived.lock().unwrap().iter().filter(|(_, value)| *value >= 50_000).count();
        assert_eq!(live, 50);
        bench.finish().await;
    });
}

#[test]
fn a_foreign_network_without_bytes_is_silent_until_the_gateway_is_home() {
    in_virtual_time(async {
        let bench = Bench::start(Plan { roaming: Allowance { day: None, month: Some(0) }, ..plan() });
        let registration = |roaming| Registration {
            registered: true,
            roaming,
            words: String::new(),
            operator: None,
            plmn: None,
            access: None,
            band: None,
            cell: None,
        };
        bench.board.registration.set(bench.clock.mono(), registration(true));
        bench.link.up.send_replace(true);
        bench.take(1, 0..5).await;
        tokio::time::sleep(5 * HOUR).await;
        assert_eq!(bench.arrived(Class::Alarm), 0);
        assert!(bench.purse.refused(Purpose::Session, 300).is_some(), "not even a session is kept");
        bench.board.registration.set(bench.clock.mono(), registration(false));
        tokio::time::sleep(HOUR).await;
        assert_eq!(bench.arrived(Class::Alarm), 5);
        bench.finish().await;
    });
}

#[test]
fn where_a_stream_has_a_band_a_thinned_backlog_keeps_every_step_beyond_it() {
    in_virtual_time(async {
        // 5 units of 0.1 on either side.
        let bench = Bench::with(BOOT, support::fast_folder(), plan(), SHORT, &[(0, 0.5)]);
        // Rises by a tenth of a unit each hundred readings, and by ten units once, in the middle.
        let value = |n: i64| n / 100 + if n >= 15_000 { 100 } else { 0 };
        for hundred in 0..300 {
            let n = hundred * 100;
            bench.take_values(0, (n..n + 100).map(value)).await;
        }
        tokio::time::sleep(600 * S).await;
        bench.link.up.send_replace(true);
        tokio::time::sleep(2 * HOUR).await;
        let arrived: Vec<i64> = bench.link.arrived.lock().unwrap().iter().map(|(_, value)| *value).collect();
        let last = value(29_999);
        assert!(
            arrived.last().is_some_and(|sent| last - sent <= 5),
            "the backlog was gone through to its end"
        );
        assert!(arrived.len() < 2000, "{} of 30000", arrived.len());
        assert!(arrived.is_sorted(), "in the order of acceptance");
        let furthest =
            arrived.windows(2).map(|two| two[1] - two[0]).filter(|step| *step < 100).max().unwrap();
        assert!(furthest <= 6, "a change by more than the band is missing: {furthest}");
        assert!(arrived.windows(2).any(|two| two[1] - two[0] >= 100), "the step in the middle");
        let golioth = bench.queue.destinations()[0].0;
        let totals = bench.queue.status().borrow().destination(golioth);
        assert_eq!(totals.accepted, totals.acknowledged + totals.dropped + totals.queued);
        bench.finish().await;
    });
}

#[test]
fn long_messages_go_only_with_their_whole_cost_on_record_however_many_are_allowed_in_flight() {
    in_virtual_time(async {
        let plan = Plan { home: Allowance { day: None, month: Some(20 * PLAN) }, ..Plan::unlimited() };
        let bench = Bench::with(BOOT, support::fast_folder(), plan, LONG, &[]);
        for hundred in 0..40 {
            bench.take(0, hundred * 100..hundred * 100 + 100).await;
        }
        bench.link.up.send_replace(true);
        tokio::time::sleep(600 * S).await;
        // Each send asserts that a crash at its moment would forget nothing.
        assert_eq!(bench.arrived(Class::Telemetry), 4000);
        bench.finish().await;
    });
}
