//! A destination of the simulator's own behind the daemon's seam for links: no protocol, only messages, answers and their
//! absence. For proofs about the queue with several destinations; what a real broker does is tested against one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use fieldgate::reading::{Class, Resolution, Value};
use fieldgate::store::queue::{Owed, QueuedRow};
use fieldgate::uplink::link::{
    Capabilities, CloudEvent, EpochStatement, Link, Message, Outcome, Packed, Report,
};
use tokio::sync::{mpsc, watch};

use crate::gateway::reckon::FarValue;

/// The longest message it takes, bytes.
const MESSAGE: usize = 4096;
/// Messages in flight.
const IN_FLIGHT: usize = 8;
/// One message there and its answer back.
const ROUND_TRIP: Duration = Duration::from_millis(200);

/// How a destination is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// Takes messages and answers them.
    Alive,
    /// Connected, as far as anybody can tell, and never answers.
    Mute,
    /// Cannot be reached.
    Away,
}

/// A destination and what it was sent.
#[derive(Debug)]
pub struct Destination {
    name: &'static str,
    condition: watch::Sender<Condition>,
    up: watch::Sender<bool>,
    /// By alias, then by epoch and sequence: the value that came first, and copies.
    taken: Mutex<Taken>,
}

type Taken = BTreeMap<String, BTreeMap<([u8; 4], u64), (Option<f64>, u64)>>;

impl Destination {
    /// A destination that is alive and has nothing.
    #[must_use]
    pub fn new(name: &'static str) -> Arc<Self> {
        Arc::new(Self {
            name,
            condition: watch::Sender::new(Condition::Alive),
            up: watch::Sender::new(true),
            taken: Mutex::default(),
        })
    }

    /// Changes how it is. What is under way when it stops answering is never answered.
    pub fn set(&self, condition: Condition) {
        self.condition.send_replace(condition);
        self.up.send_replace(condition != Condition::Away);
    }

    /// Every value of one stream that it has.
    #[must_use]
    pub fn far_values(&self, alias: &str) -> Vec<FarValue> {
        let taken = self.taken();
        let values = taken.get(alias).into_iter().flatten();
        values
            .map(|((epoch, sequence), (value, copies))| FarValue {
                epoch: *epoch,
                sequence: *sequence,
                value: *value,
                copies: *copies,
            })
            .collect()
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads one message; see [`encode`].
    fn take(&self, body: &[u8]) -> Option<()> {
        let mut rest = body;
        while !rest.is_empty() {
            let (epoch, after) = rest.split_first_chunk::<4>()?;
            let (sequence, after) = after.split_first_chunk::<8>()?;
            let (value, after) = after.split_first_chunk::<8>()?;
            let (length, after) = after.split_first()?;
            let (alias, after) = after.split_at_checked(usize::from(*length))?;
            rest = after;
            let value = Some(f64::from_be_bytes(*value)).filter(|value| !value.is_nan());
            let mut taken = self.taken();
            let stream = taken.entry(String::from_utf8_lossy(alias).into_owned()).or_default();
            let place = stream.entry((*epoch, u64::from_be_bytes(*sequence))).or_insert((value, 0));
            place.1 += 1;
            if place.0 != value {
                // Another value under the same identity: no value is right any more.
                place.0 = None;
            }
        }
        Some(())
    }
}

/// One reading: epoch prefix, sequence, value (not a number for what is none), length of the alias, alias.
fn encode(row: &QueuedRow) -> Vec<u8> {
    let value = match &row.sample.value {
        Value::Steps(mantissa) => row.stream.resolution.unwrap_or(Resolution::ONE).value(*mantissa),
        Value::Float(float) => *float,
        Value::Bool(_) | Value::Text(_) | Value::Absent => f64::NAN,
    };
    let alias = row.stream.alias.as_bytes();
    let mut bytes = row.epoch.epoch.prefix().to_vec();
    bytes.extend(row.sequence.to_be_bytes());
    bytes.extend(value.to_be_bytes());
    bytes.push(u8::try_from(alias.len()).unwrap_or(u8::MAX));
    bytes.extend(alias.iter().take(usize::from(u8::MAX)));
    bytes
}

#[async_trait]
impl Link for Destination {
    fn name(&self) -> &str {
        self.name
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { max_message_bytes: MESSAGE, max_in_flight: IN_FLIGHT }
    }

    fn pack(&self, _: Option<&EpochStatement>, rows: &[QueuedRow], limit: usize) -> Option<Packed> {
        let class = rows.first()?.stream.class;
        let mut body = Vec::new();
        let mut count = 0;
        for row in rows {
            let bytes = encode(row);
            if body.len() + bytes.len() > limit {
                break;
            }
            body.extend(bytes);
            count += 1;
        }
        let message = Message { address: self.name.to_owned(), body, class, readings: 0 };
        (count > 0).then_some(Packed { message, rows: count })
    }

    /// It takes note of losses and keeps nothing of them: the books are looked at where they are.
    fn pack_owed(&self, owed: &[Owed], _: usize) -> Option<Packed> {
        let message =
            Message { address: self.name.to_owned(), body: Vec::new(), class: Class::Event, readings: 0 };
        Some(Packed { message, rows: owed.len() })
    }

    async fn send(&self, message: &Message, deadline: Duration) -> Outcome {
        let mut condition = self.condition.subscribe();
        let answered = async {
            // It stays without an answer as long as nobody is there; a link that is gone says so at once.
            let there = condition.wait_for(|condition| *condition != Condition::Mute).await;
            if there.is_ok_and(|condition| *condition == Condition::Away) {
                return Outcome::Unknown;
            }
            tokio::time::sleep(ROUND_TRIP / 2).await;
            match self.take(&message.body) {
                Some(()) => {}
                None => return Outcome::Bad { why: "a message that does not read".into() },
            }
            tokio::time::sleep(ROUND_TRIP / 2).await;
            // What dies meanwhile has it, and nobody knows.
            match *self.condition.borrow() {
                Condition::Alive => Outcome::Acknowledged,
                Condition::Mute | Condition::Away => Outcome::Unknown,
            }
        };
        tokio::time::timeout(deadline, answered).await.unwrap_or(Outcome::Unknown)
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
