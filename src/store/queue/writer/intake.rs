//! What is handed in: judged sample by sample, numbered, packed to wait for the commit.

use std::time::Duration;

use tokio::sync::oneshot;

use super::super::segment::MAX_ROWS;
use super::{Accepted, MAX_PENDING_ROWS, MAX_SAMPLES, Refused, Turned, Waiting, Waits, Writer};
use crate::clock::Mono;
use crate::reading::{Capture, Class, StreamId, Value};

/// What becomes of one sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is packed for this class and these destinations.
    Packed(Class, i64),
    /// It is held for the commit, as the newest of its stream.
    Held,
    /// It is on record as refused.
    Refused,
}

/// A capture is made before it is handed in. One that claims to be later than this is of another boot, or of no clock.
const MOST_AHEAD: Duration = Duration::from_secs(3600);
/// Streams this queue was not opened with share one record: their number is not ours to trust, or to grow by. Whoever handed
/// the reading in is told the number.
const NO_STREAM: StreamId = StreamId(0);

impl Writer {
    pub(super) fn accept(
        &mut self,
        now: Mono,
        capture: &Capture,
        reply: oneshot::Sender<Result<Accepted, Refused>>,
    ) {
        self.open_window(now);
        let Some(group) = self.groups.get_mut(capture.group.0 as usize) else {
            self.refuse_whole(capture, 0, Refused::UnknownGroup(capture.group.0), reply);
            return;
        };
        let sequence = group.next_sequence;
        let reuse = crate::sabotage::on("reuse-sequence") && sequence % 7 == 0 && capture.at.0 & 1024 == 0;
        if !reuse {
            group.next_sequence += 1;
        }
        if capture.samples.len() > MAX_SAMPLES || capture.missing.len() > MAX_SAMPLES {
            let readings = capture.samples.len().max(capture.missing.len());
            let refused = Refused::TooLarge { readings, stream: self.whose(capture) };
            self.refuse_whole(capture, sequence, refused, reply);
            return;
        }
        if capture.at > now.plus(MOST_AHEAD) {
            let refused =
                Refused::ImplausibleTime { ahead: capture.at.since(now), stream: self.whose(capture) };
            self.refuse_whole(capture, sequence, refused, reply);
            return;
        }
        let mut waiting =
            Waiting { reply, sequence, accepted: 0, refused: 0, first_refused: None, coalesced: 0 };
        self.judge(capture, &mut waiting);
        self.miss(capture, sequence);
        let mut at_once = self.pack(capture, sequence);
        at_once |= self.pace.window().is_zero() || self.pending.rows >= MAX_PENDING_ROWS;
        if crate::sabotage::on("answer-before-commit") {
            let (reply, _) = oneshot::channel();
            let early = std::mem::replace(&mut waiting.reply, reply);
            let Waiting { accepted, refused, first_refused, coalesced, .. } = waiting;
            let epoch = self.options.epoch;
            let _ = early.send(Ok(Accepted { epoch, sequence, accepted, refused, first_refused, coalesced }));
            if accepted > 0 {
                self.tally.accepted(capture.group.0 as usize, sequence);
                self.publish();
            }
        }
        self.pending.captures.push(waiting);
        // Captures that add no rows wait as well: of readings that were replaced or refused, or of gaps.
        at_once |= self.pending.captures.len() >= MAX_PENDING_ROWS as usize;
        if at_once {
            self.commit(now);
        }
    }

    fn refuse_whole(
        &mut self,
        capture: &Capture,
        sequence: u64,
        refused: Refused,
        reply: oneshot::Sender<Result<Accepted, Refused>>,
    ) {
        for sample in &capture.samples {
            let stream = self.known(sample.stream);
            self.gaps.refuse(stream, refused.reason(), self.epoch_number, sequence, capture.at);
        }
        self.miss(capture, sequence);
        let _ = reply.send(Err(refused));
    }

    fn miss(&mut self, capture: &Capture, sequence: u64) {
        for (stream, reason) in &capture.missing {
            let stream = self.known(*stream);
            self.gaps.miss(stream, reason.name(), self.epoch_number, sequence, capture.at);
        }
    }

    /// The name of the first stream of a capture, for people.
    fn whose(&self, capture: &Capture) -> String {
        let sampled = capture.samples.first().map(|sample| sample.stream);
        let Some(stream) = sampled.or_else(|| capture.missing.first().map(|(stream, _)| *stream)) else {
            return "of no stream".into();
        };
        let spec = self.by_id.get(&stream).and_then(|place| self.options.streams.get(*place));
        spec.map_or_else(|| format!("an unknown stream ({})", stream.0), |spec| spec.name.clone())
    }

    fn known(&self, stream: StreamId) -> StreamId {
        if self.by_id.contains_key(&stream) { stream } else { NO_STREAM }
    }

    /// Fills [`Writer::verdicts`], and counts.
    fn judge(&mut self, capture: &Capture, waiting: &mut Waiting) {
        self.verdicts.clear();
        let group = self.groups.get(capture.group.0 as usize).map_or("", |g| g.name.as_str());
        let mut held = Vec::new();
        for sample in &capture.samples {
            let place = self.by_id.get(&sample.stream).copied();
            let stream = place.and_then(|n| self.streams.get(n));
            let intake = place.and_then(|n| self.pending.intake.get_mut(n));
            let refused = match (place, stream, intake) {
                (Some(place), Some(stream), Some(intake)) => {
                    // An identity is (epoch, stream, sequence): one value of a stream at an instant, and of one counter.
                    let wrong = if stream.group != group {
                        Some("wrong_group")
                    } else if intake.1 == waiting.sequence {
                        Some("duplicate")
                    } else {
                        unacceptable(&sample.value)
                    };
                    if wrong.is_none() {
                        intake.1 = waiting.sequence;
                        if stream.is_coalesced() {
                            self.verdicts.push(Verdict::Held);
                            held.push((place, sample));
                        } else {
                            intake.0 += 1;
                            let Waiting { sequence, .. } = *waiting;
                            self.pending.streams.push(Waits { stream: stream.id, sequence, at: capture.at });
                            self.verdicts.push(Verdict::Packed(stream.class, stream.routes));
                        }
                    }
                    wrong.map(|reason| (sample.stream, reason))
                }
                _ => Some((NO_STREAM, "unknown_stream")),
            };
            match refused {
                None => waiting.accepted += 1,
                Some((stream, reason)) => {
                    waiting.refused += 1;
                    waiting.first_refused.get_or_insert(Turned { stream: sample.stream, reason });
                    self.verdicts.push(Verdict::Refused);
                    self.gaps.refuse(stream, reason, self.epoch_number, waiting.sequence, capture.at);
                }
            }
        }
        for (place, sample) in held {
            let replaces = self.hold_latest(place, waiting.sequence, capture.at, sample);
            if !replaces && let Some(intake) = self.pending.intake.get_mut(place) {
                intake.0 += 1;
            }
        }
    }

    /// Packs what is acceptable; tells whether it must be committed at once.
    fn pack(&mut self, capture: &Capture, sequence: u64) -> bool {
        let mut at_once = false;
        let verdicts = &self.verdicts;
        for (n, verdict) in verdicts.iter().enumerate() {
            let Verdict::Packed(class, routes) = *verdict else { continue };
            // The first of its kind packs all of them.
            if verdicts.iter().take(n).any(|earlier| earlier == verdict) {
                continue;
            }
            at_once |= !class.waits_for_window();
            let alike = capture.samples.iter().zip(verdicts).filter(|(_, v)| *v == verdict);
            let builder = self.pending.segments.entry((class, routes)).or_default();
            self.pending.rows += builder.push(capture.at, sequence, alike.map(|(sample, _)| sample));
            at_once |= builder.rows() + MAX_SAMPLES as u32 > MAX_ROWS;
        }
        at_once
    }
}

/// Why a value cannot be accepted, if it cannot.
fn unacceptable(value: &Value) -> Option<&'static str> {
    match value {
        Value::Float(f) if !f.is_finite() => Some("not_finite"),
        Value::Text(text) if text.len() > Value::MAX_TEXT => Some("too_long"),
        Value::Float(_) | Value::Text(_) | Value::Steps(_) | Value::Bool(_) | Value::Absent => None,
    }
}
