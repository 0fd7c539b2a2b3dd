//! One slave: its points, the requests that read them and how they fare, and what came of a poll.

use std::time::Duration;

use fieldgate_sensor_inputs::modbus::{Placed, Read};

use super::super::decode::Decoder;
use super::super::exact;
use super::super::plan;
use super::line::LineTimes;
use super::port::{Heard, Port, Reply};
use crate::board::{Board, Latest, SlaveRefusal};
use crate::clock::Mono;
use crate::config::{Slave, Table};
use crate::reading::{GapReason, GroupId, Quality, Resolution, Sample, StreamId, Value};

/// A request that stays silent so often in a row, while its slave answers others, is left out…
const SILENT_BLOCK: u32 = 3;
/// … for this many polls: a device that ignores what it does not know would cost a timeout each time.
const BLOCK_REST: u32 = 15;
/// Decimals shown of a float that declares no resolution.
const FLOAT_DECIMALS: u8 = 3;

/// A slave as the lane polls it.
pub(super) struct Polled {
    pub(super) name: String,
    pub(super) period: Duration,
    pub(super) group: GroupId,
    unit: u8,
    points: Vec<Point>,
    blocks: Vec<Block>,
    /// The block the next poll begins with.
    begin: usize,
    /// What it refuses to tell.
    pub(super) refusal: Option<SlaveRefusal>,
    /// Polls it answered.
    pub(super) answers: u64,
    /// Polls it did not answer.
    pub(super) failures: u64,
    pub(super) last_answer: Option<Mono>,
    /// The first instant without an answer since the last with one.
    pub(super) silent_since: Option<Duration>,
    /// What came instead was bytes, but no answer.
    pub(super) is_garbled: bool,
}

struct Point {
    stream: StreamId,
    decoder: Decoder,
    name: String,
    device: String,
    unit: String,
    decimals: u8,
}

/// A request and how it fares.
struct Block {
    request: Read,
    /// Polls in a row in which this timed out although the slave answered others.
    silences: u32,
    /// Polls for which it is left out.
    resting: u32,
}

/// What came of a poll: every point is in one of the two lists.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// With the position of the point.
    pub(super) samples: Vec<(usize, Sample)>,
    pub(super) missing: Vec<(StreamId, GapReason)>,
    /// When the last answer, or exception, was complete.
    pub(super) answered_at: Option<Duration>,
    /// The slowest beginning of an answer.
    pub(super) latency: Duration,
    /// Why the poll ended early.
    pub(super) timed_out: Option<GapReason>,
}

impl Polled {
    /// `None` for a slave without points: there is nothing to ask.
    pub(super) fn new(slave: &Slave, streams: &[(StreamId, GroupId)]) -> Option<Self> {
        let (_, group) = *streams.first()?;
        let points = slave.points.iter().zip(streams).map(|(point, (stream, _))| {
            let decoder = Decoder::new(point);
            let decimals = match decoder.resolution() {
                Some(step) => exact::decimals(step),
                None if point.table.is_bits() => 0,
                None => FLOAT_DECIMALS,
            };
            let (name, device, unit) = (point.stream.clone(), slave.device.clone(), point.unit.clone());
            Point { stream: *stream, decoder, name, device, unit, decimals }
        });
        Some(Self {
            name: slave.name.clone(),
            period: slave.period,
            group,
            unit: slave.unit,
            points: points.collect(),
            blocks: plan::requests(&slave.points).into_iter().map(Block::new).collect(),
            begin: 0,
            refusal: None,
            answers: 0,
            failures: 0,
            last_answer: None,
            silent_since: None,
            is_garbled: false,
        })
    }

    /// How long a poll keeps the bus when every answer comes promptly.
    pub(super) fn cost(&self, times: LineTimes) -> Duration {
        const PROMPT: Duration = Duration::from_millis(5);
        let one = |block: &Block| times.exchange(block.request.answer_bytes()) + times.silence + PROMPT;
        self.blocks.iter().map(one).sum()
    }

    /// Whether it answered the last time it was asked.
    pub(super) fn is_answering(&self) -> bool {
        self.last_answer.is_some() && self.silent_since.is_none()
    }

    /// Every point missing for one reason.
    pub(super) fn all_missing(&self, reason: GapReason) -> Vec<(StreamId, GapReason)> {
        self.points.iter().map(|point| (point.stream, reason)).collect()
    }

    /// Asks everything once, from where the last poll left off, up to the first timeout. The slave may take
    /// `patience` to begin its first answer and, once it has answered, `timeout` for each further one.
    pub(super) async fn ask(
        &mut self,
        port: &mut Port,
        times: LineTimes,
        mut patience: Duration,
        timeout: Duration,
    ) -> Outcome {
        let mut outcome = Outcome::default();
        let mut refused = None;
        let mut ended: Option<GapReason> = None;
        let begin = self.begin.min(self.blocks.len());
        for index in (begin..self.blocks.len()).chain(0..begin) {
            let Some(block) = self.blocks.get_mut(index) else { continue };
            if let Some(reason) = ended {
                outcome.miss(&self.points, &block.request, reason);
                continue;
            }
            if block.resting > 0 {
                block.resting -= 1;
                outcome.miss(&self.points, &block.request, GapReason::BackedOff);
                continue;
            }
            let heard = match port.ask(self.unit, &block.request, times, patience).await {
                Reply::Registers(words, heard) => {
                    outcome.take(&self.points, &block.request, |decoder, placed| {
                        decoder.registers(words.get(placed.offset..placed.offset + placed.len)?)
                    });
                    heard
                }
                Reply::Bits(bits, heard) => {
                    outcome.take(&self.points, &block.request, |_, placed| {
                        Some((Value::Bool(*bits.get(placed.offset)?), Quality::Good))
                    });
                    heard
                }
                Reply::Exception(code, heard) => {
                    outcome.miss(&self.points, &block.request, GapReason::Exception);
                    refused.get_or_insert((index, code));
                    heard
                }
                Reply::PortGone => {
                    outcome.miss(&self.points, &block.request, GapReason::PortDown);
                    ended = Some(GapReason::PortDown);
                    continue;
                }
                silence @ (Reply::Silent | Reply::Broken) => {
                    let reason = if silence == Reply::Silent { GapReason::Silent } else { GapReason::Broken };
                    outcome.miss(&self.points, &block.request, reason);
                    (ended, outcome.timed_out) = (Some(reason), Some(reason));
                    if outcome.answered_at.is_some() {
                        block.silences += 1;
                        block.resting = if block.silences >= SILENT_BLOCK { BLOCK_REST } else { 0 };
                    }
                    // What comes late is then for the request that is asked last, not first.
                    self.begin = index + 1;
                    continue;
                }
            };
            outcome.hear(heard);
            block.silences = 0;
            patience = timeout;
        }
        if refused.is_some() || ended.is_none() {
            self.note_refusal(refused);
        }
        outcome
    }

    /// Remembers what was refused; what the device calls an illegal address or count is asked in halves from now on.
    fn note_refusal(&mut self, refused: Option<(usize, u8)>) {
        let refused = refused.and_then(|(index, code)| Some((index, code, self.blocks.get(index)?)));
        let Some((index, code, block)) = refused else {
            self.refusal = None;
            return;
        };
        self.refusal = Some(refusal(&block.request, &self.points, code));
        if let (2 | 3, Some(halves)) = (code, block.request.halves()) {
            self.blocks.splice(index..=index, halves.map(Block::new));
            self.begin += usize::from(self.begin > index);
        }
    }

    /// Puts the newest values on the board.
    pub(super) fn show(&self, samples: &[(usize, Sample)], at: Mono, board: &Board) {
        for (index, sample) in samples {
            let Some(point) = self.points.get(*index) else { continue };
            let latest = Latest {
                device: point.device.clone(),
                value: multiplied_out(&sample.value, point.decoder.resolution()),
                decimals: point.decimals,
                quality: sample.quality,
                unit: point.unit.clone(),
            };
            board.latest.set(&point.name, at, latest);
        }
    }
}

impl Block {
    fn new(request: Read) -> Self {
        Self { request, silences: 0, resting: 0 }
    }
}

impl Outcome {
    fn hear(&mut self, heard: Heard) {
        self.answered_at = Some(heard.at);
        self.latency = self.latency.max(heard.latency);
    }

    fn miss(&mut self, points: &[Point], request: &Read, reason: GapReason) {
        let missing = request.points.iter().filter_map(|placed| points.get(placed.point));
        self.missing.extend(missing.map(|point| (point.stream, reason)));
    }

    fn take(
        &mut self,
        points: &[Point],
        request: &Read,
        decode: impl Fn(&Decoder, &Placed) -> Option<(Value, Quality)>,
    ) {
        for placed in &request.points {
            let Some(point) = points.get(placed.point) else { continue };
            match decode(&point.decoder, placed) {
                Some((value, quality)) => {
                    self.samples.push((placed.point, Sample { stream: point.stream, value, quality }));
                }
                None => self.missing.push((point.stream, GapReason::Broken)),
            }
        }
    }
}

fn multiplied_out(value: &Value, step: Option<Resolution>) -> Value {
    match (value, step) {
        (Value::Steps(steps), Some(step)) => Value::Float(step.value(*steps)),
        (value, _) => value.clone(),
    }
}

fn refusal(request: &Read, points: &[Point], code: u8) -> SlaveRefusal {
    let Read { table, first, count, .. } = request;
    let last = u32::from(*first) + u32::from(*count).saturating_sub(1);
    let table = match table {
        Table::Input => "input registers",
        Table::Holding => "holding registers",
        Table::Coil => "coils",
        Table::Discrete => "discrete inputs",
    };
    // Modbus Application Protocol V1.1b3, section 7.
    let why = match code {
        1 => "it does not know the function",
        2 => "it has no such address",
        3 => "it does not take that many at once",
        4 => "it says that it has failed",
        5 | 6 => "it says that it is busy",
        10 | 11 => "the gateway it stands behind does not reach it",
        _ => "it gives no known reason",
    };
    let mut streams =
        request.points.iter().filter_map(|placed| points.get(placed.point)).map(|p| p.name.as_str());
    let named = streams.next().unwrap_or_default();
    let streams = match streams.count() {
        0 => named.to_owned(),
        more => format!("{named} and {more} more"),
    };
    let asked = if u32::from(*first) == last {
        format!("{} {first}", table.trim_end_matches('s'))
    } else {
        format!("{table} {first} to {last}")
    };
    SlaveRefusal { streams, asked, exception: code, why }
}
