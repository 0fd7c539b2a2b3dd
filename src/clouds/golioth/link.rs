//! The drain's handle on Golioth: packs, hands messages to the session lane, waits for outcomes.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{Mutex, mpsc, oneshot, watch};

use super::fetch::Order;
use super::pace::{SHARES, Share};
use super::pack;
use crate::config::Encoding;
use crate::reading::Class;
use crate::store::queue::{Owed, QueuedRow};
use crate::uplink::link::{
    Blocks, Capabilities, CloudEvent, EpochStatement, FetchError, Link, ManifestComponent, Message, Outcome,
    Packed, Report,
};

/// Golioth recommends at most this for any payload; it is one CoAP block, so that a message is one datagram.
pub const MAX_MESSAGE_BYTES: usize = 1024;

/// What the cloud said and nobody took yet.
const EVENTS: usize = 16;

/// What the session lane is asked.
#[derive(Debug)]
pub(super) enum Request {
    /// Post a batch.
    Send { message: Message, deadline: Duration, reply: oneshot::Sender<Outcome> },
    /// Post a report.
    Report { report: Report, reply: oneshot::Sender<Outcome> },
}

/// The lane's end of what it is asked: a way for each share of the requests, so that none waits behind another, and downloads.
#[derive(Debug)]
pub(super) struct Incoming {
    urgent: mpsc::Receiver<Request>,
    state: mpsc::Receiver<Request>,
    bulk: mpsc::Receiver<Request>,
    downloads: mpsc::Receiver<Order>,
}

/// Something that came in.
#[derive(Debug)]
pub(super) enum Next {
    /// A request of this share.
    Request(Share, Request),
    /// A download.
    Download(Box<Order>),
}

/// Of which shares a request may be taken now.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Room {
    /// Urgent ones.
    pub(super) urgent: bool,
    /// States and other readings.
    pub(super) ordinary: bool,
    /// Blocks.
    pub(super) blocks: bool,
    /// A download that begins.
    pub(super) download: bool,
}

impl Incoming {
    /// Which shares have a request that there is room for; blocks are not among what comes in.
    pub(super) fn waiting(&self, room: Room) -> [bool; SHARES] {
        let mut waiting = [false; SHARES];
        waiting[Share::Urgent as usize] = room.urgent && !self.urgent.is_empty();
        waiting[Share::State as usize] = room.ordinary && !self.state.is_empty();
        waiting[Share::Bulk as usize] = room.ordinary && !self.bulk.is_empty();
        waiting
    }

    /// The next that there is room for. `None` when nobody can ask any more.
    pub(super) async fn next(&mut self, room: Room) -> Option<Next> {
        tokio::select! {
            biased;
            request = self.urgent.recv(), if room.urgent => Some(Next::Request(Share::Urgent, request?)),
            request = self.state.recv(), if room.ordinary => Some(Next::Request(Share::State, request?)),
            request = self.bulk.recv(), if room.ordinary => Some(Next::Request(Share::Bulk, request?)),
            order = self.downloads.recv(), if room.download => Some(Next::Download(Box::new(order?))),
            else => std::future::pending().await,
        }
    }

    /// The next of one share, if one waits.
    pub(super) fn take(&mut self, share: Share) -> Option<Request> {
        match share {
            Share::Urgent => self.urgent.try_recv().ok(),
            Share::State => self.state.try_recv().ok(),
            Share::Bulk => self.bulk.try_recv().ok(),
            Share::Firmware => None,
        }
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
    state: mpsc::Sender<Request>,
    bulk: mpsc::Sender<Request>,
    downloads: mpsc::Sender<Order>,
    up: watch::Receiver<bool>,
    events: std::sync::Mutex<Option<mpsc::Receiver<CloudEvent>>>,
}

/// The lane's ends of the handle. They outlive any one life of the lane.
#[derive(Debug)]
pub(super) struct Ends {
    pub(super) incoming: Mutex<Incoming>,
    pub(super) up: watch::Sender<bool>,
    pub(super) events: mpsc::Sender<CloudEvent>,
}

impl GoliothLink {
    pub(super) fn new(
        name: &str,
        stream_path: &str,
        encoding: Encoding,
        max_in_flight: usize,
    ) -> (Arc<Self>, Arc<Ends>) {
        let (urgent, receive_urgent) = mpsc::channel(max_in_flight.max(1) * 2);
        let (state, receive_state) = mpsc::channel(max_in_flight.max(1) * 2);
        let (bulk, receive_bulk) = mpsc::channel(max_in_flight.max(1) * 2);
        let (downloads, receive_downloads) = mpsc::channel(1);
        let (events, receive_events) = mpsc::channel(EVENTS);
        let up = watch::Sender::new(false);
        let link = Self {
            name: name.to_owned(),
            path: stream_path.to_owned(),
            encoding,
            max_in_flight,
            urgent,
            state,
            bulk,
            downloads,
            up: up.subscribe(),
            events: std::sync::Mutex::new(Some(receive_events)),
        };
        let incoming = Incoming {
            urgent: receive_urgent,
            state: receive_state,
            bulk: receive_bulk,
            downloads: receive_downloads,
        };
        let ends = Ends { incoming: Mutex::new(incoming), up, events };
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
        Some(Packed { message: Message { address: self.path.clone(), body, class }, rows })
    }

    fn pack_owed(&self, owed: &[Owed], limit: usize) -> Option<Packed> {
        let (body, rows) = pack::pack_owed(owed, limit.min(MAX_MESSAGE_BYTES))?;
        // What was lost is an event, also where it was telemetry.
        Some(Packed { message: Message { address: self.path.clone(), body, class: Class::Event }, rows })
    }

    async fn send(&self, message: &Message, deadline: Duration) -> Outcome {
        let (reply, outcome) = oneshot::channel();
        let request = Request::Send { message: message.clone(), deadline, reply };
        let way = match message.class {
            Class::Alarm | Class::Event => &self.urgent,
            Class::State => &self.state,
            Class::Telemetry | Class::Diagnostics => &self.bulk,
        };
        if way.send(request).await.is_err() {
            return Outcome::Unknown;
        }
        outcome.await.unwrap_or(Outcome::Unknown)
    }

    async fn report(&self, report: Report) -> Outcome {
        let (reply, outcome) = oneshot::channel();
        let way = match &report {
            // Whoever called waits for seconds only.
            Report::CallAnswer { .. } => &self.urgent,
            Report::FirmwareLog { .. } | Report::Log { .. } => &self.bulk,
            _ => &self.state,
        };
        if way.send(Request::Report { report, reply }).await.is_err() {
            return Outcome::Unknown;
        }
        outcome.await.unwrap_or(Outcome::Unknown)
    }

    async fn fetch(&self, artifact: &ManifestComponent, have: &[Range<u64>]) -> Result<Blocks, FetchError> {
        let (order, blocks) = Order::new(artifact, have)?;
        let gone = |_| FetchError::Interrupted { why: "the link is being stopped".into() };
        self.downloads.send(order).await.map_err(gone)?;
        Ok(blocks)
    }

    fn up(&self) -> watch::Receiver<bool> {
        self.up.clone()
    }

    fn events(&self) -> Option<mpsc::Receiver<CloudEvent>> {
        self.events.lock().ok()?.take()
    }
}
