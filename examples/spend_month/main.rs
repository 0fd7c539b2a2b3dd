//! A month on a data plan of 5 MB, by the ledger that ships, and by order of arrival alone. Prints JSON.
//!
//! ```text
//! spend_month TRACE [DAYS]       # plays the trace, or its first days
//! spend_month --make KIND SEED   # writes a trace, of an ordinary `month` or with a `flood`: how is described in `make`
//! ```
//!
//! The same is played a third time by a ledger whose word to thin a backlog is not heeded.
//!
//! All see the same readings, outages, networks and message sizes. What goes over the wire is added up here by itself, headers
//! included, and compared with the plan; what the ledger was told is another sum. Everything happens by the minute.

mod fifo;
mod make;
mod ours;
mod queue;
mod trace;

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use fieldgate::reading::Class;
use fieldgate::spend::Network;
use fieldgate::spend::wire::UDP_OVER_IPV4;
use serde_json::{Value as Json, json};

use fifo::Fifo;
use make::Kind;
use ours::Ours;
use queue::Batch;
use trace::Trace;

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
        ["--make", "month", seed] => {
            seed.parse().map_err(Into::into).map(|seed| make::make(Kind::Month, seed))
        }
        ["--make", "flood", seed] => {
            seed.parse().map_err(Into::into).map(|seed| make::make(Kind::Flood, seed))
        }
        [path] => play(path, 30),
        [path, days] => days.parse().map_err(Into::into).and_then(|days| play(path, days)),
        _ => {
            eprintln!("usage: spend_month TRACE [DAYS], or spend_month --make month|flood SEED");
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
    let ours = run(&trace, minutes, Ours::new(true));
    let never_thinned = run(&trace, minutes, Ours::new(false));
    let fifo = run(&trace, minutes, Fifo::with_at_once(HOME));
    let even = run(&trace, minutes, Fifo::with_at_once(HOME / 30));
    let ratio = |other: &Outcome| ours.utility / other.utility.max(1.0);
    let result = json!({
        "days": days, "plan_bytes": HOME, "roaming_plan_bytes": ROAMING,
        "produced": trace.produced(minutes),
        "produced_in_reach": trace.in_reach(minutes),
        "ours": ours.json(), "never_thinned": never_thinned.json(), "fifo": fifo.json(), "fifo_with_a_share_a_day": even.json(),
        "times_never_thinned": ratio(&never_thinned),
        "times_fifo": ratio(&fifo), "times_fifo_with_a_share_a_day": ratio(&even),
        "worth": WORTHS.iter().map(|w| json!({
            "class": w.class.name(), "weight": w.weight, "within_minutes": w.within, "bytes": w.bytes,
        })).collect::<Vec<_>>(),
    });
    Ok(format!("{result:#}"))
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
                sender.arrived(Batch { minute, class: worth.class, count, whole: count });
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
