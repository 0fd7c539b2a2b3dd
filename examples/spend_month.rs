//! A month on a data plan of 5 MB, by the ledger that ships, and by order of arrival alone. Prints JSON.
//!
//! ```text
//! spend_month TRACE [DAYS]   # plays the trace, or its first days
//! spend_month --make SEED    # writes a trace: how is described at `make`
//! ```
//!
//! Both see the same readings, outages, networks and message sizes. What goes over the wire is added up here by itself, headers
//! included, and compared with the plan; what the ledger was told is another sum. Everything happens by the minute.

use std::collections::VecDeque;
use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use fieldgate::reading::Class;
use fieldgate::spend::wire::{self, Learned, UDP_OVER_IPV4};
use fieldgate::spend::{Allowance, Ask, Direction, Grant, Ledger, Moment, Network, Plan, Purpose};
use fieldgate::uplink::policy::{self, Choice, Flow, FlowView};
use fieldgate::uplink::share::{Share, Weights};
use serde_json::{Value as Json, json};

/// The plan at home and while roaming, bytes a month.
const HOME: u64 = 5_000_000;
const ROAMING: u64 = 1_000_000;
/// 2026-06-01T00:00:00Z: a month of 30 days.
const BEGINS_MS: i64 = 1_780_272_000_000;
const MINUTE: Duration = Duration::from_secs(60);
const LIVE_MINUTES: u32 = 5;
/// What one message holds, bytes.
const MESSAGE: u64 = 1024;
/// A batch gathers this long although it is not full.
const LINGER: Duration = Duration::from_secs(60);
/// Messages a minute on a cellular link.
const A_MINUTE: usize = 120;
/// DTLS 1.2 record with Connection ID and an 8-byte tag, CoAP header, token and options; and the same of the answer.
const AROUND: usize = 29 + 16;
const ANSWER: usize = 29 + 8;
/// A batch's own header.
const BATCH: u64 = 12;
/// Every so many minutes the session is kept: one exchange.
const KEEPALIVE: u32 = 15;
/// Payloads of a handshake's datagrams, both ways.
const HANDSHAKE: [usize; 6] = [100, 60, 130, 330, 260, 160];

/// A class of readings, as its user values it.
struct Worth {
    class: Class,
    /// For one reading that arrives in time.
    weight: f64,
    /// In time, minutes.
    within: u32,
    /// Bytes of a message.
    bytes: u64,
}

const WORTHS: [Worth; 5] = [
    Worth { class: Class::Alarm, weight: 100.0, within: 6 * 60, bytes: 30 },
    Worth { class: Class::Event, weight: 20.0, within: 24 * 60, bytes: 30 },
    Worth { class: Class::State, weight: 5.0, within: 24 * 60, bytes: 14 },
    Worth { class: Class::Telemetry, weight: 1.0, within: 24 * 60, bytes: 6 },
    Worth { class: Class::Diagnostics, weight: 0.05, within: 72 * 60, bytes: 45 },
];

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--make", seed] => seed.parse().map_err(Into::into).map(make),
        [path] => play(path, 30),
        [path, days] => days.parse().map_err(Into::into).and_then(|days| play(path, days)),
        _ => {
            eprintln!("usage: spend_month TRACE [DAYS], or spend_month --make SEED");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn play(path: &str, days: u32) -> Result<String> {
    let trace = Trace::read(&std::fs::read_to_string(path)?)?;
    let minutes = days.min(30) * 1440;
    let ours = run(&trace, minutes, Ours::new());
    let fifo = run(&trace, minutes, Fifo { lump: HOME, queue: Queue::default() });
    let even = run(&trace, minutes, Fifo { lump: HOME / 30, queue: Queue::default() });
    let ratio = |other: &Outcome| ours.utility / other.utility.max(1.0);
    let result = json!({
        "days": days, "plan_bytes": HOME, "roaming_plan_bytes": ROAMING,
        "produced": trace.produced(minutes),
        "produced_in_reach": trace.in_reach(minutes),
        "ours": ours.json(), "fifo": fifo.json(), "fifo_with_a_share_a_day": even.json(),
        "times_fifo": ratio(&fifo), "times_fifo_with_a_share_a_day": ratio(&even),
        "worth": WORTHS.iter().map(|w| json!({
            "class": w.class.name(), "weight": w.weight, "within_minutes": w.within, "bytes": w.bytes,
        })).collect::<Vec<_>>(),
    });
    Ok(format!("{result:#}"))
}

/// What happens in a month.
#[derive(Default)]
struct Trace {
    /// Readings by minute and class.
    readings: Vec<[u32; 5]>,
    /// No network in these minutes, from and to.
    outages: Vec<(u32, u32)>,
    roaming: Vec<(u32, u32)>,
    /// The management API is asked, and answers so many bytes.
    rest: Vec<(u32, u64)>,
    /// The power fails.
    restarts: Vec<u32>,
}

impl Trace {
    /// Lines: `hour H t s d` (telemetry, state, diagnostics, spread evenly), `alarm M n`, `event M n`, `outage M M`,
    /// `roaming M M`, `rest M bytes`, `restart M`; M is a minute from the beginning.
    fn read(text: &str) -> Result<Self> {
        let mut trace = Self { readings: vec![[0; 5]; 30 * 1440], ..Self::default() };
        for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
            let mut words = line.split_ascii_whitespace();
            let word = words.next().unwrap_or_default();
            let n = words.map(str::parse).collect::<std::result::Result<Vec<u32>, _>>()?;
            match (word, n.as_slice()) {
                ("hour", &[hour, telemetry, state, diagnostics]) => {
                    for minute in 0..60 {
                        let share = |n: u32| n * (minute + 1) / 60 - n * minute / 60;
                        if let Some(slot) = trace.readings.get_mut((hour * 60 + minute) as usize) {
                            slot[2] += share(state);
                            slot[3] += share(telemetry);
                            slot[4] += share(diagnostics);
                        }
                    }
                }
                ("alarm" | "event", &[minute, count]) => {
                    let class = usize::from(word == "event");
                    if let Some(slot) = trace.readings.get_mut(minute as usize) {
                        slot[class] += count;
                    }
                }
                ("outage", &[from, to]) => trace.outages.push((from, to)),
                ("roaming", &[from, to]) => trace.roaming.push((from, to)),
                ("rest", &[minute, bytes]) => trace.rest.push((minute, bytes.into())),
                ("restart", &[minute]) => trace.restarts.push(minute),
                _ => return Err(format!("not a line of a trace: {line}").into()),
            }
        }
        Ok(trace)
    }

    fn within(spans: &[(u32, u32)], minute: u32) -> bool {
        spans.iter().any(|(from, to)| (*from..*to).contains(&minute))
    }

    fn produced(&self, minutes: u32) -> Json {
        self.sums(minutes, |_, _| true)
    }

    /// Those that could have been delivered in time: there was a network within their age limit, and within the month played.
    fn in_reach(&self, minutes: u32) -> Json {
        self.sums(minutes, |worth, minute| {
            (minute..=minute + worth.within).any(|at| at < minutes && !Self::within(&self.outages, at))
        })
    }

    fn sums(&self, minutes: u32, counts: impl Fn(&Worth, u32) -> bool) -> Json {
        let sum = |worth: &Worth| -> u64 {
            (0..minutes)
                .zip(&self.readings)
                .filter(|(minute, _)| counts(worth, *minute))
                .map(|(_, slot)| u64::from(slot[worth.class as usize]))
                .sum()
        };
        WORTHS
            .iter()
            .map(|w| (w.class.name().to_owned(), json!(sum(w))))
            .collect::<serde_json::Map<_, _>>()
            .into()
    }
}

/// Readings of one class and one minute.
#[derive(Clone, Copy)]
struct Batch {
    minute: u32,
    class: Class,
    count: u32,
}

/// What came of a month.
#[derive(Default)]
struct Outcome {
    utility: f64,
    in_time: [u64; 5],
    late: [u64; 5],
    thinned: u64,
    /// On the wire, headers included: home and roaming.
    wire: [u64; 2],
    messages: u64,
}

impl Outcome {
    fn json(&self) -> Json {
        let by = |counts: &[u64; 5]| -> Json {
            WORTHS
                .iter()
                .map(|w| (w.class.name().to_owned(), json!(counts[w.class as usize])))
                .collect::<serde_json::Map<_, _>>()
                .into()
        };
        json!({
            "utility": self.utility, "in_time": by(&self.in_time), "late": by(&self.late), "thinned": self.thinned,
            "wire_bytes": self.wire[0], "roaming_wire_bytes": self.wire[1], "messages": self.messages,
            "over_percent": (self.wire[0] as f64 / HOME as f64 - 1.0) * 100.0,
            "roaming_over_percent": (self.wire[1] as f64 / ROAMING as f64 - 1.0) * 100.0,
        })
    }

    /// A message of so many readings went; they are `batches`.
    fn deliver(&mut self, minute: u32, batches: &[Batch]) {
        self.messages += 1;
        for batch in batches {
            let worth = &WORTHS[batch.class as usize];
            let counts =
                if minute - batch.minute <= worth.within { &mut self.in_time } else { &mut self.late };
            counts[batch.class as usize] += u64::from(batch.count);
            if minute - batch.minute <= worth.within {
                self.utility += worth.weight * f64::from(batch.count);
            }
        }
    }
}

/// Who decides what is sent.
trait Sender {
    fn arrived(&mut self, batch: Batch);
    /// Bytes that go whether it wants or not: sessions, handshakes. The payload of a datagram.
    fn caused(&mut self, minute: u32, network: Network, payload: usize);
    /// Whether the management API may be asked: what it would cost.
    fn may_ask(&mut self, minute: u32, network: Network, bytes: u64, out: &Outcome) -> bool;
    /// The next message to send this minute.
    fn next(&mut self, minute: u32, network: Network, out: &mut Outcome) -> Option<Vec<Batch>>;
    fn restart(&mut self, _minute: u32) {}
}

fn run(trace: &Trace, minutes: u32, mut sender: impl Sender) -> Outcome {
    let mut out = Outcome::default();
    let mut connected = false;
    for minute in 0..minutes {
        for worth in &WORTHS {
            let count = trace.readings[minute as usize][worth.class as usize];
            if count > 0 {
                sender.arrived(Batch { minute, class: worth.class, count });
            }
        }
        if trace.restarts.contains(&minute) {
            sender.restart(minute);
            connected = false;
        }
        if Trace::within(&trace.outages, minute) {
            connected = false;
            continue;
        }
        let network = if Trace::within(&trace.roaming, minute) { Network::Roaming } else { Network::Home };
        let wire =
            |out: &mut Outcome, bytes: u64| out.wire[usize::from(network == Network::Roaming)] += bytes;
        let handshake = if connected { &[][..] } else { &HANDSHAKE[..] };
        let keeping = if minute % KEEPALIVE == 0 { &[AROUND + 20, ANSWER + 20][..] } else { &[][..] };
        connected = true;
        for payload in handshake.iter().chain(keeping) {
            wire(&mut out, *payload as u64 + UDP_OVER_IPV4);
            sender.caused(minute, network, *payload);
        }
        for (_, bytes) in trace.rest.iter().filter(|(at, _)| *at == minute) {
            if sender.may_ask(minute, network, *bytes, &out) {
                wire(&mut out, *bytes);
            }
        }
        for _ in 0..A_MINUTE {
            let Some(batches) = sender.next(minute, network, &mut out) else { break };
            for payload in [body(&batches) as usize + AROUND, ANSWER] {
                wire(&mut out, payload as u64 + UDP_OVER_IPV4);
            }
            out.deliver(minute, &batches);
        }
    }
    out
}

fn body(batches: &[Batch]) -> u64 {
    BATCH + batches.iter().map(|b| u64::from(b.count) * WORTHS[b.class as usize].bytes).sum::<u64>()
}

/// Readings that wait, in order.
#[derive(Default)]
struct Queue {
    batches: VecDeque<Batch>,
    rows: u64,
    bytes: u64,
}

impl Queue {
    fn push(&mut self, batch: Batch) {
        self.count(batch, true);
        self.batches.push_back(batch);
    }

    /// The first message's worth.
    fn pack(&mut self) -> Vec<Batch> {
        let mut message = Vec::new();
        let mut room = MESSAGE - BATCH;
        while let Some(batch) = self.batches.front_mut() {
            let bytes = WORTHS[batch.class as usize].bytes;
            let fits = u32::try_from(room / bytes).unwrap_or(u32::MAX).min(batch.count);
            if fits == 0 {
                break;
            }
            room -= u64::from(fits) * bytes;
            message.push(Batch { count: fits, ..*batch });
            batch.count -= fits;
            if batch.count == 0 {
                self.batches.pop_front();
            }
        }
        message.iter().for_each(|batch| self.count(*batch, false));
        message
    }

    /// Keeps one reading in `factor` of the first few hundred; returns how many are given up.
    fn thin(&mut self, factor: u32, before: u32) -> u64 {
        let mut given_up = Vec::new();
        let mut looked_at = 0;
        for batch in self.batches.iter_mut().take_while(|batch| batch.minute < before) {
            let kept = batch.count.div_ceil(factor.max(1));
            given_up.push(Batch { count: batch.count - kept, ..*batch });
            looked_at += batch.count;
            batch.count = kept;
            if looked_at > 512 {
                break;
            }
        }
        given_up.iter().for_each(|batch| self.count(*batch, false));
        given_up.iter().map(|batch| u64::from(batch.count)).sum()
    }

    fn count(&mut self, batch: Batch, more: bool) {
        let rows = u64::from(batch.count);
        let bytes = rows * WORTHS[batch.class as usize].bytes;
        (self.rows, self.bytes) = if more {
            (self.rows + rows, self.bytes + bytes)
        } else {
            (self.rows - rows, self.bytes - bytes)
        };
    }
}

/// Order of arrival, all classes in one message, full messages or what a quarter of an hour gathered; until the bytes of the
/// month, or of the day, are used up. It counts rightly.
struct Fifo {
    /// The month's bytes, or a day's share; what a day leaves over the next has.
    lump: u64,
    queue: Queue,
}

impl Fifo {
    fn may(&self, minute: u32, network: Network, bytes: u64, out: &Outcome) -> bool {
        let days = u64::from(minute / 1440 + 1);
        let (limit, spent) = match network {
            Network::Home => (HOME.min(self.lump.saturating_mul(days)), out.wire[0]),
            Network::Roaming => (ROAMING, out.wire[1]),
        };
        spent + bytes <= limit
    }
}

impl Sender for Fifo {
    fn arrived(&mut self, batch: Batch) {
        self.queue.push(batch);
    }

    fn caused(&mut self, _: u32, _: Network, _: usize) {}

    fn may_ask(&mut self, minute: u32, network: Network, bytes: u64, out: &Outcome) -> bool {
        self.may(minute, network, bytes, out)
    }

    fn next(&mut self, minute: u32, network: Network, out: &mut Outcome) -> Option<Vec<Batch>> {
        let oldest = self.queue.batches.front()?.minute;
        let waiting = BATCH + self.queue.bytes;
        if waiting < MESSAGE && minute - oldest < 15 {
            return None;
        }
        let bytes = waiting.min(MESSAGE) + (AROUND + ANSWER) as u64 + 2 * UDP_OVER_IPV4;
        self.may(minute, network, bytes, out).then(|| self.queue.pack())
    }
}

/// The ledger that ships, asked in the order of the drain's policy.
///
/// The disk takes a minute for every record, and each tenth never arrives: whoever wrote it is gone, and another begins anew.
struct Ours {
    ledger: Ledger,
    record: fieldgate::spend::Record,
    /// Being written, and since which minute.
    writing: Option<(u32, fieldgate::spend::Record)>,
    records: u32,
    /// Monotonic time of the boot.
    booted: u32,
    queues: [Queue; 5],
    paused: [Option<Duration>; 5],
    learned: [Learned; 5],
}

impl Ours {
    fn plan() -> Plan {
        let limit = |month| Allowance { day: None, month: Some(month) };
        Plan { home: limit(HOME), roaming: limit(ROAMING), ..Plan::unlimited() }
    }

    fn new() -> Self {
        let mut ledger = Ledger::new(Self::plan(), None);
        let record = ledger.record();
        ledger.recorded(Duration::ZERO, true);
        Self {
            ledger,
            record,
            writing: None,
            records: 0,
            booted: 0,
            queues: Default::default(),
            paused: [None; 5],
            learned: [Learned::default(); 5],
        }
    }

    fn now(&self, minute: u32) -> Moment {
        let mono = MINUTE * (minute - self.booted);
        Moment { mono, wall_ms: Some(BEGINS_MS + i64::from(minute) * 60_000) }
    }

    fn charge(&mut self, minute: u32, network: Network, purpose: Purpose, direction: Direction, bytes: u64) {
        let now = self.now(minute);
        self.ledger.charge(now, purpose, direction, bytes, network);
        self.write_down(minute);
    }

    fn write_down(&mut self, minute: u32) {
        let mono = self.now(minute).mono;
        if let Some((_, record)) = self.writing.take_if(|(since, _)| *since < minute) {
            self.records += 1;
            if self.records.is_multiple_of(10) {
                self.ledger.abandon_record();
            } else {
                self.record = record;
                self.ledger.recorded(mono, true);
            }
        }
        if self.ledger.wants_record(mono) {
            self.writing = Some((minute, self.ledger.record()));
        }
    }

    /// What the drain's policy would send.
    fn choose(&self, now: Duration, minute: u32) -> Option<Class> {
        let views: Vec<FlowView> = WORTHS
            .iter()
            .map(|worth| {
                let n = worth.class as usize;
                let waiting = self.queues[n].rows;
                let oldest = self.queues[n].batches.front().map_or(minute, |batch| batch.minute);
                FlowView {
                    flow: flow(worth.class),
                    rows: waiting as usize,
                    fills_a_message: waiting * worth.bytes >= MESSAGE,
                    oldest_since: MINUTE * oldest.saturating_sub(self.booted),
                    paused_until: self.paused[n],
                }
            })
            .collect();
        match policy::choose(&views, &Share::new(Weights::default()), now, LINGER) {
            Choice::Send { flow, .. } => Some(flow.class()),
            Choice::WaitUntil(_) | Choice::Idle => None,
        }
    }
}

/// The flow a class's queue is here: telemetry goes in the order of its capture, live and backlog in one.
fn flow(class: Class) -> Flow {
    match class {
        Class::Alarm => Flow::Alarm,
        Class::Event => Flow::Event,
        Class::State => Flow::State,
        Class::Telemetry => Flow::Live,
        Class::Diagnostics => Flow::Diagnostics,
    }
}

impl Sender for Ours {
    fn arrived(&mut self, batch: Batch) {
        self.queues[batch.class as usize].push(batch);
    }

    fn caused(&mut self, minute: u32, network: Network, payload: usize) {
        let bytes = wire::datagram(payload, UDP_OVER_IPV4);
        self.charge(minute, network, Purpose::Session, Direction::Up, bytes);
    }

    fn may_ask(&mut self, minute: u32, network: Network, bytes: u64, _: &Outcome) -> bool {
        let ask = Ask { purpose: Purpose::Management, bytes, waiting: bytes, full: true, network };
        let may = self.ledger.grant(self.now(minute), &ask) == Grant::Go;
        if may {
            self.charge(minute, network, Purpose::Management, Direction::Down, bytes);
        }
        may
    }

    fn next(&mut self, minute: u32, network: Network, out: &mut Outcome) -> Option<Vec<Batch>> {
        let now = self.now(minute);
        self.write_down(minute);
        loop {
            let class = self.choose(now.mono, minute)?;
            let n = class as usize;
            let (oldest, rows) = (self.queues[n].batches.front()?.minute, self.queues[n].rows);
            let purpose = Purpose::of(class, minute - oldest <= LIVE_MINUTES);
            let (bytes, full) = self.learned[n].message(rows, MESSAGE);
            let full = full || !class.waits_for_window() || minute - oldest > 30;
            let ask = Ask { purpose, bytes, waiting: self.learned[n].all(rows, MESSAGE), full, network };
            match self.ledger.grant(now, &ask) {
                Grant::Wait { until, .. } => {
                    self.paused[n] = Some(until.max(now.mono + Duration::from_secs(1)));
                    continue;
                }
                Grant::Thin { factor } => {
                    let factor = u32::try_from(factor).unwrap_or(1);
                    out.thinned += self.queues[n].thin(factor, minute.saturating_sub(LIVE_MINUTES));
                }
                Grant::Go => {}
            }
            let message = self.queues[n].pack();
            let body = body(&message);
            self.learned[n].packed(message.iter().map(|b| u64::from(b.count)).sum(), body);
            let sent = [(Direction::Up, body as usize + AROUND), (Direction::Down, ANSWER)];
            for (direction, payload) in sent {
                let bytes = wire::datagram(payload, UDP_OVER_IPV4);
                self.learned[n].charged(bytes);
                self.charge(minute, network, purpose, direction, bytes);
            }
            return Some(message);
        }
    }

    fn restart(&mut self, minute: u32) {
        self.booted = minute;
        self.writing = None;
        self.ledger = Ledger::new(Self::plan(), Some(self.record.clone()));
        self.record = self.ledger.record();
        self.ledger.recorded(Duration::ZERO, true);
        self.paused = [None; 5];
    }
}

/// A gateway at a pumping station, as a month goes: 20 streams polled every minute with a deadband, so that about a third of the values
/// goes on by day and an eighth at night; a few states and events a day; alarms in clusters of a few on every third day;
/// a few hundred lines of diagnostics a day. Twice somebody looks into a fault and leaves the diagnostics on, for four and
/// for eight days. The network fails for minutes every other day, for hours every week, and once for 31 hours. For two days the
/// station's antenna hangs on the neighbour country's mast. The management API is asked once a day. The power fails twice.
fn make(seed: u64) -> String {
    let mut random = Random(seed);
    let mut lines = vec![
        "# A month of a gateway, made by: cargo run --example spend_month -- --make SEED, which says how it was made.".to_owned(),
        format!("# Seed {seed}. Nothing was changed by hand. Lines: see Trace::read there."),
    ];
    for hour in 0..720u32 {
        let (day, of_day) = (hour / 24, hour % 24);
        let busy = (6..20).contains(&of_day);
        let telemetry = if busy { 340 + random.below(120) } else { 120 + random.below(60) };
        let left_on = (5..9).contains(&day) || (14..22).contains(&day);
        let diagnostics = if left_on { 330 + random.below(120) } else { random.below(30) };
        lines.push(format!("hour {hour} {telemetry} {} {diagnostics}", random.below(8)));
    }
    for day in 0..30u32 {
        let at = |random: &mut Random| day * 1440 + random.below(1440);
        for _ in 0..4 + random.below(12) {
            lines.push(format!("event {} 1", at(&mut random)));
        }
        if random.below(3) == 0 {
            let begins = at(&mut random);
            for _ in 0..3 + random.below(12) {
                lines.push(format!("alarm {} 1", (begins + random.below(90)).min(43_199)));
            }
        }
        if random.below(2) == 0 {
            let begins = at(&mut random);
            lines.push(format!("outage {begins} {}", begins + 2 + random.below(20)));
        }
        if day % 7 == 3 {
            let begins = at(&mut random);
            lines.push(format!("outage {begins} {}", begins + 60 + random.below(300)));
        }
        lines.push(format!("rest {} {}", at(&mut random), 9_000 + random.below(3_000)));
    }
    lines.push(format!("outage {} {}", 11 * 1440 + 300, 11 * 1440 + 300 + 31 * 60));
    lines.push(format!("roaming {} {}", 24 * 1440 + 600, 26 * 1440 + 600));
    lines.push(format!("restart {}", 8 * 1440 + random.below(1440)));
    lines.push(format!("restart {}", 19 * 1440 + random.below(1440)));
    lines.join("\n")
}

/// SplitMix64 (Steele, Lea, Flood, 2014).
struct Random(u64);

impl Random {
    fn below(&mut self, n: u32) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        u32::try_from(z % u64::from(n.max(1))).unwrap_or(0)
    }
}
