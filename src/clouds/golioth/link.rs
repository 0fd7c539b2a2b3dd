//! The drain's handle on Golioth: packs, hands messages to the session lane, waits for outcomes.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{Mutex, mpsc, oneshot, watch};

use super::pack;
use crate::config::Encoding;
use crate::reading::Class;
use crate::store::queue::{Owed, QueuedRow};
use crate::uplink::link::{Capabilities, EpochStatement, Link, Manifest, Message, Outcome, Packed, Report};

/// Golioth recommends at most this for any payload; it is one CoAP block, so that a message is one datagram.
pub const MAX_MESSAGE_BYTES: usize = 1024;

/// What the session lane is asked.
#[derive(Debug)]
pub(super) enum Request {
    /// Post a batch.
    Send { message: Message, deadline: Duration, reply: oneshot::Sender<Outcome> },
    /// Post a component's state.
    Report { report: Report, reply: oneshot::Sender<Outcome> },
}

/// The lane's end of what it is asked. Alarms and events have a way of their own, past whatever else waits.
#[derive(Debug)]
pub(super) struct Incoming {
    urgent: mpsc::Receiver<Request>,
    ordinary: mpsc::Receiver<Request>,
}

impl Incoming {
    /// The next request, urgent ones first; others only if `ordinary`. `None` when nobody can ask any more.
    pub(super) async fn next(&mut self, ordinary: bool) -> Option<Request> {
        tokio::select! {
            biased;
            request = self.urgent.recv() => request,
            request = self.ordinary.recv(), if ordinary => request,
        }
    }

    /// The same, without waiting.
    pub(super) fn try_next(&mut self, ordinary: bool) -> Option<Request> {
        let urgent = self.urgent.try_recv().ok();
        if urgent.is_some() || !ordinary { urgent } else { self.ordinary.try_recv().ok() }
    }
}

/// See the module head.
#[derive(Debug)]
pub struct GoliothLink {
    name: String,
    path: String,
    encoding: Encoding,
    max_in_flight: usize,
    urgent: mpsc::Sender<Request>,
    ordinary: mpsc::Sender<Request>,
    up: watch::Receiver<bool>,
    manifests: std::sync::Mutex<Option<mpsc::Receiver<Manifest>>>,
}

/// The lane's ends of the handle. They outlive any one life of the lane.
#[derive(Debug)]
pub(super) struct Ends {
    pub(super) incoming: Mutex<Incoming>,
    pub(super) up: watch::Sender<bool>,
    pub(super) manifests: mpsc::Sender<Manifest>,
}

impl GoliothLink {
    pub(super) fn new(
        name: &str,
        stream_path: &str,
        encoding: Encoding,
        max_in_flight: usize,
    ) -> (Arc<Self>, Arc<Ends>) {
        let (urgent, receive_urgent) = mpsc::channel(max_in_flight.max(1) * 2);
        let (ordinary, receive_ordinary) = mpsc::channel(max_in_flight.max(1) * 2);
        let (manifests, receive_manifests) = mpsc::channel(4);
        let up = watch::Sender::new(false);
        let link = Self {
            name: name.to_owned(),
            path: stream_path.to_owned(),
            encoding,
            max_in_flight,
            urgent,
            ordinary,
            up: up.subscribe(),
            manifests: std::sync::Mutex::new(Some(receive_manifests)),
        };
        let incoming = Incoming { urgent: receive_urgent, ordinary: receive_ordinary };
        let ends = Ends { incoming: Mutex::new(incoming), up, manifests };
        (Arc::new(link), Arc::new(ends))
    }
}

#[async_trait]
impl Link for GoliothLink {
    fn name(&self) -> &str {
        &self.name
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { max_message_bytes: MAX_MESSAGE_BYTES, max_in_flight: self.max_in_flight }
    }

    fn pack(&self, statement: Option<&EpochStatement>, rows: &[QueuedRow], limit: usize) -> Option<Packed> {
        let class = rows.first()?.stream.class;
        let (body, rows) = pack::pack(self.encoding, statement, rows, limit.min(MAX_MESSAGE_BYTES))?;
        Some(Packed { message: Message { address: self.path.clone(), body, class, readings: rows }, rows })
    }

    fn pack_owed(&self, owed: &[Owed], limit: usize) -> Option<Packed> {
        let (body, rows) = pack::pack_owed(owed, limit.min(MAX_MESSAGE_BYTES))?;
        // What was lost is an event, also where it was telemetry.
        Some(Packed {
            message: Message { address: self.path.clone(), body, class: Class::Event, readings: 0 },
            rows,
        })
    }

    async fn send(&self, message: &Message, deadline: Duration) -> Outcome {
        let (reply, outcome) = oneshot::channel();
        let request = Request::Send { message: message.clone(), deadline, reply };
        let way = if message.class.waits_for_window() { &self.ordinary } else { &self.urgent };
        if way.send(request).await.is_err() {
            return Outcome::Unknown;
        }
        outcome.await.unwrap_or(Outcome::Unknown)
    }

    async fn report(&self, report: Report) -> Outcome {
        let (reply, outcome) = oneshot::channel();
        if self.ordinary.send(Request::Report { report, reply }).await.is_err() {
            return Outcome::Unknown;
        }
        outcome.await.unwrap_or(Outcome::Unknown)
    }

    fn up(&self) -> watch::Receiver<bool> {
        self.up.clone()
    }

    fn manifests(&self) -> Option<mpsc::Receiver<Manifest>> {
        self.manifests.lock().ok()?.take()
    }
}
