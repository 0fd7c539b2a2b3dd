//! `prove wire-cost`: what a reading costs on the wire, every datagram counted, and that it arrives as it was.
//!
//! In virtual time: the whole daemon, its DTLS and CoAP, the simulated cloud. A datagram costs its bytes and 28 for IPv4 and UDP, both
//! ways. Each part has figures of its own in the result: `batches`, `idle`.

mod batches;
mod idle;

use std::time::Duration;

use super::{Common, Proof};
use crate::gateway::Trouble;
use crate::world::in_virtual_time;
use batches::{Load, Run, Values};

/// What the claim is told.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub(super) common: Common,
    /// Messages for each figure: less than a day's, since daily a poll that nobody answers is told of beside them.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(10..=800))]
    batches: Option<u64>,
}

/// `columns`, 100 readings of one stream a message.
const DENSE: Load = Load {
    encoding: "columns",
    suite: "psk-ccm8",
    streams: 1,
    instants: 100,
    values: Values::Walk,
    steps_in_one: 1,
    answered_after: Duration::ZERO,
};

/// `rows`, 96 readings of 8 streams a message.
const STOCK: Load = Load { encoding: "rows", streams: 8, instants: 12, ..DENSE };

/// Longer than the cloud's CoAP waits before it acknowledges without an answer.
const SEPARATELY: Duration = Duration::from_secs(1);

/// A figure: its name, what it is measured with, and the most bytes a reading where there is such a promise.
const FIGURES: [(&str, Load, Option<f64>); 9] = [
    ("dense", DENSE, Some(5.0)),
    ("dense_gcm", Load { suite: "psk-gcm", ..DENSE }, None),
    ("dense_separate_responses", Load { answered_after: SEPARATELY, ..DENSE }, None),
    ("dense_uniform_noise", Load { values: Values::Uniform, ..DENSE }, None),
    ("stock", STOCK, Some(12.0)),
    ("stock_gcm", Load { suite: "psk-gcm", ..STOCK }, None),
    ("stock_separate_responses", Load { answered_after: SEPARATELY, ..STOCK }, None),
    ("stock_uniform_noise", Load { values: Values::Uniform, ..STOCK }, None),
    ("stock_in_tenths", Load { steps_in_one: 10, ..STOCK }, None),
];

pub(super) fn prove(args: &Args) -> Result<Proof, Trouble> {
    let batches = args.batches.unwrap_or(if args.common.short { 20 } else { 500 });
    let mut proof = Proof::default();
    let mut figures = serde_json::Map::new();
    for (name, load, floor) in FIGURES {
        let run = in_virtual_time(batches::run(&load, batches))
            .map_err(Trouble::system("make an event queue"))??;
        judge(&mut proof, name, &load, &run, floor);
        figures.insert(name.to_owned(), words(&load, &run, floor));
    }
    let idle = idle::prove(&mut proof, args.common.short)?;
    proof.figures = serde_json::json!({ "batches": figures, "idle": idle });
    Ok(proof)
}

fn judge(proof: &mut Proof, name: &str, load: &Load, run: &Run, floor: Option<f64>) {
    let cost = run.bytes_a_reading();
    if let Some(floor) = floor {
        proof.demand(cost <= floor, || {
            format!("{name}: a reading costs at most {floor} B on the wire (it was {cost:.2} B)")
        });
    }
    proof.demand(run.missing == 0 && run.wrong == 0 && run.readings > 0, || {
        format!(
            "{name}: every reading arrives under its identity, with its value and time (of {}, {} did not, {} are wrong)",
            run.readings, run.missing, run.wrong
        )
    });
    proof.demand(run.messages == run.batches, || {
        format!("{name}: a batch is one message ({} messages for {} batches)", run.messages, run.batches)
    });
    // A registration now and then beside them.
    let each = if load.answered_after.is_zero() { 1 } else { 2 };
    let spare = run.messages / 10 + 10;
    let most = run.messages * each + spare;
    proof.demand(run.up.datagrams <= most && run.down.datagrams <= most, || {
        format!(
            "{name}: a message takes {each} datagrams each way ({} and {} for {})",
            run.up.datagrams, run.down.datagrams, run.messages
        )
    });
    proof.demand(load.answered_after.is_zero() || run.down.datagrams >= 2 * run.messages, || {
        format!("{name}: answers come separately ({} datagrams for {})", run.down.datagrams, run.messages)
    });
}

fn words(load: &Load, run: &Run, floor: Option<f64>) -> serde_json::Value {
    let round = |number: f64| (number * 1000.0).round() / 1000.0;
    serde_json::json!({
        "bytes_a_reading": round(run.bytes_a_reading()), "floor": floor, "readings": run.readings,
        "body_bytes_a_reading": round(run.body_bytes as f64 / run.readings.max(1) as f64),
        "other_bytes_a_message": round(run.wire_bytes().saturating_sub(run.body_bytes) as f64 / run.messages.max(1) as f64),
        "messages": run.messages, "datagrams_up": run.up.datagrams, "datagrams_down": run.down.datagrams,
        "wire_bytes_up": run.up.wire_bytes, "wire_bytes_down": run.down.wire_bytes,
        "conditions": {
            "encoding": load.encoding, "suite": load.suite, "connection_id": true, "ip": 4, "streams": load.streams,
            "instants_a_message": load.instants, "period_s": 1, "jitter_ms": 5, "values": load.values.words(), "steps_in_one": load.steps_in_one,
            "responses": if load.answered_after.is_zero() { "piggybacked" } else { "separate" },
        },
    })
}
