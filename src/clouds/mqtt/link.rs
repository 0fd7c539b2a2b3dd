//! The drain's handle on a broker, and what it shares with the lane that keeps the connection.
//!
//! Invariant: whoever waits for an answer gets one. A message is handed to rumqttc and entered among those that wait in
//! one step, under one lock; when the connection ends, for whatever reason, everything that waits is answered.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use rumqttc::{AsyncClient, QoS};
use tokio::sync::{Notify, mpsc, oneshot, watch};

use super::answers::Answers;
use super::streak::Sick;
use super::{lane, owed, pack};
use crate::clouds::Means;
use crate::config::{Mqtt, NetworkPath};
use crate::daemon::rim::Rim;
use crate::daemon::supervisor::Lane;
use crate::spend::Cause;
use crate::store::queue::{Owed, QueuedRow};
use crate::uplink::link::{Capabilities, CloudEvent, EpochStatement, Link, Message, Outcome, Packed, Report};

/// The longest message body. Far below any broker's limit known (AWS IoT Core takes 128 KiB), and short enough that losing
/// the connection in the middle of one costs little.
pub const MAX_MESSAGE_BYTES: usize = 16 * 1024;
/// Topics are UTF-8 strings with two bytes of length (MQTT 3.1.1 section 1.5.3).
const MAX_TOPIC_BYTES: usize = 65_535;
/// How long a report may be without an answer.
const REPORT_DEADLINE: Duration = Duration::from_secs(120);
/// When rumqttc's own line is full.
const SOON: Duration = Duration::from_secs(1);

/// A generic MQTT broker as a destination. See the module head of [`super`] for what it sends.
#[derive(Debug)]
pub struct MqttLink {
    config: Arc<Mqtt>,
    gateway: String,
    max_in_flight: usize,
    shared: Arc<Shared>,
    rim: Rim,
    reports: Mutex<BTreeMap<String, ReportSlot>>,
    /// One report at a time, so that they arrive in order.
    reporting: tokio::sync::Mutex<()>,
}

/// The newest report of a package.
#[derive(Debug, Default)]
struct ReportSlot {
    newest: u64,
    body: Vec<u8>,
    acknowledged: u64,
}

impl MqttLink {
    /// The link, and the lane (`mqtt {name}`) that keeps its connection.
    ///
    /// `gateway` is the gateway's serial; `path` says which interface to bind to; `max_in_flight` bounds the messages on
    /// their way (at least 1, at most 128). The state stands on the board under the destination's name.
    #[must_use]
    pub fn new(
        config: &Mqtt,
        gateway: &str,
        path: &NetworkPath,
        max_in_flight: usize,
        means: Means<'_>,
    ) -> (Arc<Self>, Lane) {
        let config = Arc::new(config.clone());
        let max_in_flight = max_in_flight.clamp(1, 128);
        let shared = Arc::new(Shared::default());
        let link = Self {
            config: Arc::clone(&config),
            gateway: gateway.to_owned(),
            max_in_flight,
            shared: Arc::clone(&shared),
            rim: means.rim.clone(),
            reports: Mutex::new(BTreeMap::new()),
            reporting: tokio::sync::Mutex::new(()),
        };
        let NetworkPath::System { interface } = path;
        let settings = lane::Settings { config, interface: interface.clone(), max_in_flight };
        (Arc::new(link), lane::lane(settings, shared, means))
    }

    /// Publishes a page of the firmware log.
    async fn firmware_log(&self, page: &[u8]) -> Outcome {
        let topic = format!("fieldgate/{}/firmware_log", self.gateway);
        match unfit_topic(&topic) {
            Some(why) => Outcome::Bad { why },
            None => self.publish(&topic, page, Cause::FirmwareLog, REPORT_DEADLINE).await,
        }
    }

    /// Waits for the connection, publishes, waits for what becomes of it.
    async fn publish(&self, topic: &str, body: &[u8], cause: Cause, deadline: Duration) -> Outcome {
        loop {
            if let Err(sick) = self.shared.ready().await {
                return Outcome::LinkSick { why: sick.why, next_step: sick.next_step };
            }
            let give_up_at = self.rim.now() + deadline;
            match self.shared.hand_over(topic, body, cause, give_up_at) {
                HandedOver::Waits(answer) => return answer.await.unwrap_or(Outcome::Unknown),
                HandedOver::Full => return Outcome::Later { after: SOON },
                // It went down in between.
                HandedOver::NotUp => {}
            }
        }
    }
}

#[async_trait]
impl Link for MqttLink {
    fn name(&self) -> &str {
        &self.config.name
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { max_message_bytes: MAX_MESSAGE_BYTES, max_in_flight: self.max_in_flight }
    }

    fn pack(&self, statement: Option<&EpochStatement>, rows: &[QueuedRow], limit: usize) -> Option<Packed> {
        pack::pack(&self.config.topic, &self.gateway, statement, rows, limit.min(MAX_MESSAGE_BYTES))
    }

    fn pack_owed(&self, owed: &[Owed], limit: usize) -> Option<Packed> {
        owed::pack(&self.gateway, owed, limit.min(MAX_MESSAGE_BYTES))
    }

    async fn send(&self, message: &Message, deadline: Duration) -> Outcome {
        if message.body.len() > MAX_MESSAGE_BYTES {
            return Outcome::TooLarge { limit: Some(MAX_MESSAGE_BYTES) };
        }
        if let Some(why) = unfit_topic(&message.address) {
            return Outcome::Bad { why };
        }
        self.publish(&message.address, &message.body, Cause::Message(message.class), deadline).await
    }

    /// Publishes the newest state of the component, retained, as the module head of [`super`] describes it. A report that a
    /// newer one replaced is acknowledged by that one.
    async fn report(&self, report: Report) -> Outcome {
        let (package, version, target, state, reason) = match report {
            Report::Component { package, version, target, state, reason } => {
                (package, version, target, state, reason)
            }
            Report::FirmwareLog { page } => return self.firmware_log(&page).await,
            _ => return Outcome::Bad { why: "a broker has no place for it".into() },
        };
        let topic = format!("fieldgate/{}/firmware/{package}", self.gateway);
        if let Some(why) = unfit_topic(&topic) {
            return Outcome::Bad { why };
        }
        let body = serde_json::json!({
            "package": package, "version": version, "target": target, "state": state, "reason": reason,
        });
        let mine = {
            let mut reports = locked(&self.reports);
            let slot = reports.entry(package.clone()).or_default();
            slot.newest += 1;
            slot.body = body.to_string().into_bytes();
            slot.newest
        };
        let _turn = self.reporting.lock().await;
        if let Err(sick) = self.shared.ready().await {
            return Outcome::LinkSick { why: sick.why, next_step: sick.next_step };
        }
        let (newest, body) = match locked(&self.reports).get(&package) {
            Some(slot) if slot.acknowledged < mine => (slot.newest, slot.body.clone()),
            _ => return Outcome::Acknowledged,
        };
        let outcome = self.publish(&topic, &body, Cause::Management, REPORT_DEADLINE).await;
        if outcome == Outcome::Acknowledged
            && let Some(slot) = locked(&self.reports).get_mut(&package)
        {
            slot.acknowledged = newest;
        }
        outcome
    }

    fn up(&self) -> watch::Receiver<bool> {
        self.shared.up.subscribe()
    }

    /// `None`: a broker deploys nothing.
    fn events(&self) -> Option<mpsc::Receiver<CloudEvent>> {
        None
    }
}

/// Whether the link can be sent on.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Standing {
    Down,
    Up,
    Sick(Sick),
}

/// What the handle and the lane share.
#[derive(Debug)]
pub(super) struct Shared {
    session: Mutex<Session>,
    standing: watch::Sender<Standing>,
    up: watch::Sender<bool>,
    /// Something was handed over: the lane looks at its deadlines again.
    pub(super) handed: Notify,
}

/// The client exists exactly while the connection is up.
#[derive(Debug, Default)]
struct Session {
    client: Option<AsyncClient>,
    answers: Answers<Pending>,
}

/// A message that waits for its acknowledgement.
#[derive(Debug)]
pub(super) struct Pending {
    answer: oneshot::Sender<Outcome>,
    give_up_at: Duration,
    pub(super) topic_bytes: usize,
    pub(super) body_bytes: usize,
    cause: Cause,
}

enum HandedOver {
    Waits(oneshot::Receiver<Outcome>),
    NotUp,
    Full,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            session: Mutex::default(),
            standing: watch::Sender::new(Standing::Down),
            up: watch::Sender::new(false),
            handed: Notify::new(),
        }
    }
}

impl Shared {
    /// Waits until messages can be handed over, or somebody must act first.
    async fn ready(&self) -> Result<(), Sick> {
        let mut standing = self.standing.subscribe();
        let found = standing.wait_for(|standing| *standing != Standing::Down).await;
        match found.as_deref() {
            Ok(Standing::Sick(sick)) => Err(sick.clone()),
            // The sender is a neighbour of this method's owner: it cannot be gone.
            Ok(_) | Err(_) => Ok(()),
        }
    }

    fn hand_over(&self, topic: &str, body: &[u8], cause: Cause, give_up_at: Duration) -> HandedOver {
        let mut session = locked(&self.session);
        let Some(client) = &session.client else { return HandedOver::NotUp };
        // Room for every message that is allowed in flight was made with the client.
        // A state that is reported is for whoever looks later, too.
        let retain = cause == Cause::Management;
        if client.try_publish(topic, QoS::AtLeastOnce, retain, body).is_err() {
            return HandedOver::Full;
        }
        let (answer, waits) = oneshot::channel();
        let pending = Pending { answer, give_up_at, topic_bytes: topic.len(), body_bytes: body.len(), cause };
        session.answers.handed(pending);
        drop(session);
        self.handed.notify_one();
        HandedOver::Waits(waits)
    }

    /// The connection is up.
    pub(super) fn opened(&self, client: AsyncClient) {
        locked(&self.session).client = Some(client);
        self.standing.send_replace(Standing::Up);
        self.up.send_replace(true);
    }

    /// Nothing more can be handed over. What waits still waits.
    pub(super) fn closed(&self) {
        self.up.send_replace(false);
        self.standing.send_replace(Standing::Down);
        locked(&self.session).client = None;
    }

    /// The connection is gone: answers everything that waits.
    pub(super) fn give_back(&self, outcome: impl Fn(&Pending) -> Outcome) {
        let pending = locked(&self.session).answers.drain();
        for pending in pending {
            let outcome = outcome(&pending);
            // Nobody may be waiting any more.
            let _ = pending.answer.send(outcome);
        }
    }

    /// Whoever waits for the connection learns that somebody must act first.
    pub(super) fn fall_sick(&self, sick: Sick) {
        self.standing.send_replace(Standing::Sick(sick));
    }

    /// When the first message that waits has waited long enough.
    pub(super) fn give_up_at(&self) -> Option<Duration> {
        locked(&self.session).answers.iter().map(|pending| pending.give_up_at).min()
    }

    /// How many messages wait.
    pub(super) fn in_flight(&self) -> usize {
        locked(&self.session).answers.len()
    }

    /// A message left under this packet id: the bytes of its topic and body.
    pub(super) fn left(&self, id: u16) -> Result<(usize, usize, Cause), super::answers::Confused> {
        let mut session = locked(&self.session);
        session.answers.left(id).map(|pending| (pending.topic_bytes, pending.body_bytes, pending.cause))
    }

    /// The broker acknowledged this packet id. Whether something waited under it.
    pub(super) fn acknowledged(&self, id: u16) -> bool {
        let pending = locked(&self.session).answers.acknowledged(id);
        let waited = pending.is_some();
        if let Some(pending) = pending {
            let _ = pending.answer.send(Outcome::Acknowledged);
        }
        waited
    }
}

/// Why a topic cannot be published to (MQTT 3.1.1 section 4.7).
fn unfit_topic(topic: &str) -> Option<String> {
    if topic.is_empty() || topic.len() > MAX_TOPIC_BYTES {
        return Some(format!("a topic has 1 to {MAX_TOPIC_BYTES} bytes, this one {}", topic.len()));
    }
    topic
        .chars()
        .find(|c| matches!(c, '+' | '#') || c.is_control())
        .map(|c| format!("the topic {topic:?} holds {c:?}, which cannot be published to"))
}

/// Nothing under these locks can leave its data half changed, so a panic of another holder spoils nothing.
fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
