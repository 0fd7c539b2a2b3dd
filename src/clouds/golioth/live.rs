//! One session with Golioth: one UDP socket at a time, one DTLS session, one CoAP endpoint over it.
//!
//! The two protocol cores are told the time and handed bytes; this loop is the only place where they meet a socket. One
//! iteration: take what happened (a request, a datagram, a time), then drain both cores until they have nothing to say.
//!
//! Silence is no reason for a handshake. A request that got no answer is sent again by its owner; only when nothing at
//! all was heard for [`DEAD_PATH`] while an answer is owed is the session given up. Nor is a socket that fails: the session
//! waits and goes on over another one, because a Connection ID makes us known behind any address.
//!
//! Invariant: every request taken is answered with exactly one outcome, or its asker sees its channel close, which means
//! the same as no answer.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use fieldgate_coap::{self as coap, Endpoint, Event, ObservationEnd, ObservationId, RequestId};
use fieldgate_dtls::{self as dtls, Session};
use fieldgate_golioth_proto::{content_format::ContentFormat, manifest, paths};
use tokio::sync::oneshot;

use super::link::{Incoming, Request};
use super::refresh::Refresh;
use super::session::{DESTINATION, Ended, Keeper, ended};
use super::{outcome, translate};
use crate::board::{LinkPhase, in_words};
use crate::clock::Mono;
use crate::daemon::rim::Datagrams;
use crate::spend::{Cause, Direction, Why, wire};
use crate::uplink::link::{Outcome, Report};
use crate::uplink::policy;

/// Nothing heard for this long while an answer is owed: the session, or the way to it, is gone.
const DEAD_PATH: Duration = Duration::from_secs(180);
/// A silence of this length that ends has cost something: what the cloud said of its own accord meanwhile.
const DOUBTFUL_PATH: Duration = Duration::from_secs(20);
/// An unauthenticated alert is a hint that earns one probe: this long, at most once in this long.
const PROBE_DEADLINE: Duration = Duration::from_secs(5);
const PROBE_EVERY: Duration = Duration::from_secs(60);
/// Pauses between sockets when they fail.
const FIRST_REOPEN: Duration = Duration::from_secs(1);
const LAST_REOPEN: Duration = Duration::from_secs(60);
/// A component report that the cloud refuses is not offered again before this.
const REFUSED_REPORTS: Duration = Duration::from_secs(600);
/// How often the board learns of counters; words go there at once.
const PUBLISH_EVERY: Duration = Duration::from_secs(1);
/// The longest sleep.
const LONGEST_SLEEP: Duration = Duration::from_secs(300);
/// What keeping the session takes until the plan is asked again, bytes.
const KEEPING: u64 = 300;
/// The largest datagram taken.
const DATAGRAM: usize = 2048;
/// Urgent messages that may be under way beyond the window.
const URGENT_PLACES: usize = 4;

/// Whose answer a CoAP request's is.
enum Waiting {
    Send(oneshot::Sender<Outcome>),
    Report(oneshot::Sender<Outcome>),
    Probe,
}

/// What the cloud may refuse by itself, so that one of them working does not hide that another does not.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Asked {
    Send,
    Report,
    Manifest,
}

/// See the module head.
pub(super) struct Live<'a> {
    keeper: &'a mut Keeper,
    socket: Option<Box<dyn Datagrams>>,
    /// When to open another socket, and how often that was done since anything was heard.
    reopen_at: Duration,
    reopened: u32,
    session: Session,
    endpoint: Endpoint,
    /// `connected, PSK-AES128-CCM8 with Connection ID`, once it is.
    connected: Option<String>,
    up_since: Option<Duration>,
    waiting: BTreeMap<RequestId, Waiting>,
    manifest: Option<ObservationId>,
    refresh: Refresh,
    last_heard: Duration,
    /// Since when an answer is owed.
    owed_since: Option<Duration>,
    last_probe: Option<Duration>,
    probe: Option<(RequestId, Duration)>,
    /// Refusals in force, in words.
    refusals: BTreeMap<Asked, String>,
    reports_refused: Option<(Duration, Outcome)>,
    published: Option<Duration>,
    /// Packets and requests under way when the board was last told.
    told: (u64, usize),
    /// Repetitions already counted by the pace.
    repeated: u64,
    /// When the plan is asked again whether the session may be kept.
    afford_at: Duration,
    /// What the datagrams of this turn are for: a request that was just taken, else the session.
    sending: Cause,
    /// What the newest message with readings was for: answers are taken to be to it while any is owed.
    asked_for: Cause,
}

impl<'a> Live<'a> {
    pub(super) fn new(
        keeper: &'a mut Keeper,
        socket: Box<dyn Datagrams>,
        session: Session,
        endpoint: Endpoint,
    ) -> Self {
        let now = keeper.rim.now();
        let keepalive = keeper.settings.keepalive;
        Self {
            keeper,
            socket: Some(socket),
            reopen_at: now,
            reopened: 0,
            session,
            endpoint,
            connected: None,
            up_since: None,
            waiting: BTreeMap::new(),
            manifest: None,
            refresh: Refresh::new(now, keepalive),
            last_heard: now,
            owed_since: None,
            last_probe: None,
            probe: None,
            refusals: BTreeMap::new(),
            reports_refused: None,
            published: None,
            told: (0, 0),
            repeated: 0,
            afford_at: now,
            sending: Cause::Session,
            asked_for: Cause::Session,
        }
    }

    /// When it connected, if it did.
    pub(super) fn up_since(&self) -> Option<Duration> {
        self.up_since
    }

    /// Lives until the session ends.
    pub(super) async fn run(&mut self, incoming: &mut Incoming) -> Ended {
        match self.live(incoming).await {
            Ok(never) => match never {},
            Err(ended) => ended,
        }
    }

    async fn live(&mut self, incoming: &mut Incoming) -> Result<std::convert::Infallible, Ended> {
        let mut buffer = vec![0u8; DATAGRAM];
        loop {
            self.reopen().await?;
            self.turn()?;
            self.sending = Cause::Session;
            self.affordable()?;
            let now = self.keeper.rim.now();
            let may_send_at = self.keeper.pace.next_at(now);
            let (may_take, ordinary) = self.room(now, may_send_at);
            // First, because a flood of datagrams must not keep requests from being taken; room bounds how many.
            if may_take && let Some(request) = incoming.try_next(ordinary) {
                self.take(request);
                continue;
            }
            let wake = self.next_timeout(now, may_send_at);
            let stop = self.keeper.stop.clone();
            tokio::select! {
                biased;
                () = stop.cancelled() => {
                    self.session.close(self.keeper.rim.now());
                    self.transmit();
                    return Err(Ended::Stopped);
                }
                received = receive(self.socket.as_deref(), &mut buffer) => match received {
                    Ok(len) => self.receive(buffer.get(..len).unwrap_or_default()),
                    Err(error) => self.socket_failed(&error)?,
                },
                request = incoming.next(ordinary), if may_take => match request {
                    Some(request) => self.take(request),
                    None => return Err(Ended::Stopped),
                },
                () = self.keeper.rim.sleep_until(wake) => {}
            }
        }
    }

    /// Whether a request may be taken now, and whether one that is not urgent may.
    fn room(&self, now: Duration, may_send_at: Duration) -> (bool, bool) {
        if self.connected.is_none() || self.socket.is_none() || may_send_at > now {
            return (false, false);
        }
        let most = self.keeper.settings.max_in_flight;
        // What the congestion window has no place for waits outside, where something urgent can still pass it.
        let window = usize::try_from(self.endpoint.window()).unwrap_or(1).clamp(1, most);
        (self.waiting.len() < most + URGENT_PLACES, self.endpoint.outstanding() < window)
    }

    fn next_timeout(&self, now: Duration, may_send_at: Duration) -> Duration {
        let mut at = now + LONGEST_SLEEP;
        let mut sooner = |due: Option<Duration>| at = at.min(due.unwrap_or(at));
        sooner(self.session.poll_timeout());
        if self.told != self.to_tell() {
            sooner(self.published.map(|published| published + PUBLISH_EVERY));
        }
        if self.socket.is_none() {
            sooner(Some(self.reopen_at));
        }
        if self.connected.is_some() {
            sooner(self.endpoint.poll_timeout());
            sooner(self.socket.as_ref().map(|_| self.refresh.due()));
            sooner(self.owed_since.map(|since| since.max(self.last_heard) + DEAD_PATH));
            sooner(Some(may_send_at).filter(|at| *at > now));
        }
        at
    }

    /// Drives both cores until neither has anything left to say, and does what time alone asks for.
    fn turn(&mut self) -> Result<(), Ended> {
        let now = self.keeper.rim.now();
        self.session.handle_timeout(now);
        if self.connected.is_some() {
            self.endpoint.handle_timeout(now);
        }
        self.drain_cores(now)?;
        if let Some(since) = self.owed_since
            && now >= since.max(self.last_heard) + DEAD_PATH
        {
            let silent = in_words(now.saturating_sub(self.last_heard));
            return Err(Ended::Lost(format!("nothing was heard for {silent}; starting a new session")));
        }
        if self.connected.is_some() && self.socket.is_some() && now >= self.refresh.due() {
            self.register(now);
            self.drain_cores(now)?;
        }
        self.tell(now);
        Ok(())
    }

    fn drain_cores(&mut self, now: Duration) -> Result<(), Ended> {
        loop {
            let mut quiet = true;
            while let Some(event) = self.session.poll_event() {
                quiet = false;
                self.session_event(now, event)?;
            }
            while let Some(event) = self.endpoint.poll_event() {
                quiet = false;
                self.endpoint_event(now, event)?;
            }
            if self.connected.is_some() {
                while let Some(datagram) = self.endpoint.poll_transmit() {
                    quiet = false;
                    if let Err(error) = self.session.send(now, &datagram) {
                        // As if lost on the way: retransmission decides.
                        tracing::debug!(%error, "a CoAP message did not enter the DTLS session");
                    }
                }
            }
            // A repetition may be the first copy that arrives: the cloud counts it then.
            let repeated = self.endpoint.counters().retransmissions;
            for _ in self.repeated..repeated {
                self.keeper.pace.leaves(now);
            }
            self.repeated = repeated;
            if let Some(error) = self.transmit() {
                self.socket_failed(&error)?;
            }
            if quiet {
                return Ok(());
            }
        }
    }

    /// Sends what the session has to say. Without a socket it is lost, as on the way.
    fn transmit(&mut self) -> Option<io::Error> {
        let mut failed = None;
        while let Some(datagram) = self.session.poll_transmit() {
            match self.socket.as_ref().map(|socket| socket.send(&datagram)) {
                Some(Ok(())) => {
                    self.keeper.state.bytes_up += datagram.len() as u64;
                    self.keeper.state.packets += 1;
                    self.charge(self.sending, Direction::Up, datagram.len());
                }
                Some(Err(error)) => failed = failed.or(Some(error)),
                None => {}
            }
        }
        failed
    }

    /// The socket is of no use: before the session is established that ends the attempt, afterwards another is opened.
    fn socket_failed(&mut self, error: &io::Error) -> Result<(), Ended> {
        let words = format!("the network cannot be used: {error}. Check that the cellular interface is up");
        if self.connected.is_none() {
            return Err(Ended::Lost(words));
        }
        let now = self.keeper.rim.now();
        let pause = policy::backoff(self.reopened, FIRST_REOPEN, LAST_REOPEN, self.keeper.rim.random.u64());
        tracing::warn!(why = words, again_in_ms = pause.as_millis(), "the session waits for the network");
        self.socket = None;
        self.reopen_at = now + pause;
        self.reopened = self.reopened.saturating_add(1);
        self.owed_since.get_or_insert(now);
        self.keeper.ends.up.send_replace(false);
        self.keeper.say(LinkPhase::Waiting, words);
        Ok(())
    }

    /// Opens another socket for a session that lost its own. The link is up again once the cloud is heard through it.
    async fn reopen(&mut self) -> Result<(), Ended> {
        let now = self.keeper.rim.now();
        if self.socket.is_some() || now < self.reopen_at {
            return Ok(());
        }
        match self.keeper.socket().await {
            Ok(socket) => {
                self.socket = Some(socket);
                self.refresh.path_is_back(self.keeper.rim.now());
                self.keeper.say(LinkPhase::Waiting, "the network can be used again; waiting for the cloud");
            }
            Err(Ended::Lost(words)) => {
                let random = self.keeper.rim.random.u64();
                let pause = policy::backoff(self.reopened, FIRST_REOPEN, LAST_REOPEN, random);
                self.reopened = self.reopened.saturating_add(1);
                self.reopen_at = self.keeper.rim.now() + pause;
                self.keeper.say(LinkPhase::Waiting, words);
            }
            Err(ended) => return Err(ended),
        }
        Ok(())
    }

    /// Charges a datagram with its headers.
    fn charge(&self, cause: Cause, direction: Direction, length: usize) {
        let headers = self.socket.as_ref().map_or(wire::UDP_OVER_IPV4, |socket| socket.headers());
        self.keeper.purse.caused(DESTINATION, cause, direction, wire::datagram(length, headers));
    }

    /// Ends the session where the plan has no bytes for keeping it, in a foreign network for instance. Keeping it costs less
    /// than making it again: it is not ended because a record is still on its way to the disk.
    fn affordable(&mut self) -> Result<(), Ended> {
        let now = self.keeper.rim.now();
        if self.connected.is_none() || now < self.afford_at {
            return Ok(());
        }
        self.afford_at = now + LONGEST_SLEEP;
        match self.keeper.purse.link_refused(DESTINATION, KEEPING) {
            None | Some((_, Why::Recording)) => Ok(()),
            Some((_, why)) => Err(Ended::Unaffordable(why)),
        }
    }

    fn receive(&mut self, datagram: &[u8]) {
        let now = self.keeper.rim.now();
        self.keeper.state.bytes_down += datagram.len() as u64;
        self.keeper.state.packets += 1;
        let owed = self.waiting.values().any(|waiting| matches!(waiting, Waiting::Send(_)));
        self.charge(if owed { self.asked_for } else { Cause::Session }, Direction::Down, datagram.len());
        self.session.handle_datagram(now, datagram);
    }

    fn session_event(&mut self, now: Duration, event: dtls::Event) -> Result<(), Ended> {
        match event {
            dtls::Event::Connected(connection) => {
                let cid = connection.peer_cid.is_some();
                tracing::info!(suite = connection.suite.name(), cid, "connected to Golioth");
                let with = if cid { " with Connection ID" } else { "" };
                self.connected = Some(format!("connected, {}{with}", connection.suite.name()));
                self.up_since = Some(now);
                // There was room for the handshake: the session it made is not ended at once.
                self.afford_at = now + LONGEST_SLEEP;
                self.refresh = Refresh::new(now, self.keeper.settings.keepalive);
                self.keeper.state.handshakes += 1;
                self.heard(now);
                self.say_how_it_is();
                self.keeper.ends.up.send_replace(true);
            }
            dtls::Event::Received(message) => {
                self.endpoint.handle_datagram(now, &message);
                self.heard(now);
            }
            dtls::Event::UnauthenticatedAlert(alert) => {
                tracing::info!(%alert, "an alert that anyone could have sent; probing");
                self.probe(now);
            }
            dtls::Event::Closed { why } => return Err(ended(&why, self.connected.is_some())),
            // A later event of the core that this lane has no use for.
            _ => {}
        }
        Ok(())
    }

    /// The cloud said something, authenticated.
    fn heard(&mut self, now: Duration) {
        let silent = self.owed_since.map(|since| now.saturating_sub(since.max(self.last_heard)));
        if silent.is_some_and(|silent| silent > DOUBTFUL_PATH) {
            self.refresh.path_is_back(now);
        }
        self.last_heard = now;
        self.owed_since = (self.endpoint.outstanding() > 0).then_some(now);
        self.refresh.heard(now);
        self.keeper.state.last_heard = Some(Mono::from(now));
        if std::mem::take(&mut self.reopened) > 0 {
            self.say_how_it_is();
            self.keeper.ends.up.send_replace(true);
        }
    }

    fn endpoint_event(&mut self, now: Duration, event: Event) -> Result<(), Ended> {
        match event {
            Event::Response { id, response, .. } => {
                let outcome = outcome::of_response(&response);
                match self.waiting.remove(&id) {
                    Some(Waiting::Send(reply)) => {
                        self.answered(Asked::Send, &outcome);
                        let _ = reply.send(outcome);
                    }
                    Some(Waiting::Report(reply)) => {
                        self.answered(Asked::Report, &outcome);
                        if matches!(outcome, Outcome::LinkSick { .. }) {
                            self.reports_refused = Some((now + REFUSED_REPORTS, outcome.clone()));
                        }
                        let _ = reply.send(outcome);
                    }
                    Some(Waiting::Probe) | None => self.probe = None,
                }
            }
            Event::Failed { id, why, .. } => {
                self.refresh.unanswered(now);
                match self.waiting.remove(&id) {
                    Some(Waiting::Send(reply) | Waiting::Report(reply)) => {
                        let _ = reply.send(outcome::of_failure(why));
                    }
                    Some(Waiting::Probe) | None => {
                        let begun = self.probe.take().filter(|(probe, _)| *probe == id);
                        // Whatever was heard since says that the peer is there and knows us, a reset included.
                        if begun.is_some_and(|(_, begun)| self.last_heard < begun) {
                            return Err(Ended::Lost("an alert came and the cloud no longer answers".into()));
                        }
                    }
                }
            }
            Event::Notification { observation, response } if Some(observation) == self.manifest => {
                self.refresh.answered(now);
                self.answered(Asked::Manifest, &Outcome::Acknowledged);
                self.manifest_arrived(&response.payload);
            }
            Event::NotificationLost { observation, why } if Some(observation) == self.manifest => {
                tracing::info!(%why, "the manifest came, but not whole; it is asked for again");
                self.refresh.unanswered(now);
            }
            Event::ObservationEnded { observation, why } if Some(observation) == self.manifest => {
                self.observation_ended(now, why);
            }
            Event::Request(request) => {
                let _ =
                    self.endpoint.respond(now, request.exchange, coap::Response::new(coap::Code::NOT_FOUND));
            }
            _ => {}
        }
        Ok(())
    }

    fn observation_ended(&mut self, now: Duration, why: ObservationEnd) {
        match why {
            ObservationEnd::Rejected(response) => {
                let outcome = outcome::of_response(&response);
                tracing::warn!(code = %response.code, "the cloud refuses to show the manifest");
                self.answered(Asked::Manifest, &outcome);
                self.refresh.refused(now, self.keeper.rim.random.u64());
            }
            // It answered; asking at intervals does instead of observing.
            ObservationEnd::NotObservable | ObservationEnd::Cancelled => self.refresh.answered(now),
            ObservationEnd::Failed(_) => self.refresh.unanswered(now),
        }
    }

    /// Keeps what people are told in step with what the cloud answers to each kind of request.
    fn answered(&mut self, asked: Asked, outcome: &Outcome) {
        let changed = match outcome {
            Outcome::LinkSick { why, next_step } => {
                let words = format!("{why}. Next: {next_step}");
                self.refusals.insert(asked, words.clone()) != Some(words)
            }
            Outcome::Acknowledged => self.refusals.remove(&asked).is_some(),
            _ => false,
        };
        if changed {
            self.say_how_it_is();
        }
    }

    fn say_how_it_is(&mut self) {
        let connected = self.connected.clone().unwrap_or_default();
        match self.refusals.values().next() {
            Some(words) => self.keeper.say(LinkPhase::Sick, words.clone()),
            None => self.keeper.say(LinkPhase::Up, connected),
        }
    }

    fn take(&mut self, request: Request) {
        let now = self.keeper.rim.now();
        let (request, waiting) = match request {
            Request::Send { reply, .. } | Request::Report { reply, .. } if reply.is_closed() => return,
            Request::Send { message, deadline, reply } => {
                self.asked_for = Cause::Message(message.class);
                self.sending = self.asked_for;
                (translate::post(message).deadline(deadline), Waiting::Send(reply))
            }
            Request::Report { report, reply } => {
                if let Some((until, refused)) = self.reports_refused.clone()
                    && now < until
                {
                    let _ = reply.send(refused);
                    return;
                }
                self.sending = match &report {
                    Report::FirmwareLog { .. } => Cause::FirmwareLog,
                    Report::Component { .. } => Cause::Management,
                };
                match translate::report(&report) {
                    Some(post) => (post, Waiting::Report(reply)),
                    None => {
                        let why = "the package's name cannot be a path".into();
                        let _ = reply.send(Outcome::Bad { why });
                        return;
                    }
                }
            }
        };
        match self.endpoint.request(now, request) {
            Ok(id) => {
                self.keeper.pace.leaves(now);
                self.owed_since.get_or_insert(now);
                self.waiting.insert(id, waiting);
            }
            Err(error) => {
                tracing::warn!(%error, "a request was not taken");
                let outcome = match error {
                    coap::SendError::TooLarge { .. } => Outcome::TooLarge { limit: None },
                    _ => Outcome::Later { after: Duration::from_secs(5) },
                };
                if let Waiting::Send(reply) | Waiting::Report(reply) = waiting {
                    let _ = reply.send(outcome);
                }
            }
        }
    }

    /// Registers as an observer of the manifest, again or for the first time: it keeps the path open and the cloud's list of
    /// observers right, and its answer is the manifest itself.
    fn register(&mut self, now: Duration) {
        let registered = match self.manifest {
            Some(observation) => self.endpoint.reregister(now, observation),
            None => {
                let get = coap::Request::get(paths::MANIFEST).accept(ContentFormat::Cbor.number());
                self.endpoint.observe(now, get).map(|observation| self.manifest = Some(observation))
            }
        };
        self.refresh.asked(now);
        match registered {
            Ok(()) => {
                self.keeper.pace.leaves(now);
                self.owed_since.get_or_insert(now);
            }
            Err(error) => {
                tracing::warn!(%error, "the manifest cannot be observed now");
                self.refresh.unanswered(now);
            }
        }
    }

    fn probe(&mut self, now: Duration) {
        let lately = self.last_probe.is_some_and(|at| now < at + PROBE_EVERY);
        if self.connected.is_none() || self.probe.is_some() || lately {
            return;
        }
        self.last_probe = Some(now);
        let get =
            coap::Request::get(paths::MANIFEST).accept(ContentFormat::Cbor.number()).deadline(PROBE_DEADLINE);
        if let Ok(id) = self.endpoint.request(now, get) {
            self.keeper.pace.leaves(now);
            self.owed_since.get_or_insert(now);
            self.waiting.insert(id, Waiting::Probe);
            self.probe = Some((id, now));
        }
    }

    fn manifest_arrived(&mut self, payload: &[u8]) {
        match manifest::decode(payload) {
            Ok(desired) => {
                if self.keeper.ends.manifests.try_send(translate::manifest(desired)).is_err() {
                    // Level-triggered: the next answer to the observation says the same again.
                    tracing::warn!("nobody takes manifests; it will come again");
                }
            }
            Err(error) => {
                tracing::warn!(%error, "the cloud's manifest is not one; nothing is deployed from it");
            }
        }
    }

    fn to_tell(&self) -> (u64, usize) {
        (self.keeper.state.packets, self.waiting.len())
    }

    /// Lets people and the supervisor know, not more often than they look.
    fn tell(&mut self, now: Duration) {
        if self.published.is_some_and(|at| now < at + PUBLISH_EVERY) {
            return;
        }
        self.published = Some(now);
        self.told = self.to_tell();
        self.keeper.state.in_flight = u32::try_from(self.waiting.len()).unwrap_or(u32::MAX);
        self.keeper.state.owed_since = self.owed_since.map(Mono::from);
        self.keeper.publish();
        let reason = match (&self.connected, &self.socket, self.waiting.is_empty()) {
            (None, ..) => "shaking hands",
            (Some(_), None, _) => "waiting for the network",
            (Some(_), Some(_), true) => "connected, nothing to send",
            (Some(_), Some(_), false) => "waiting for answers",
        };
        self.keeper.progress.waiting(reason, LONGEST_SLEEP);
    }
}

async fn receive(socket: Option<&dyn Datagrams>, buffer: &mut [u8]) -> io::Result<usize> {
    match socket {
        Some(socket) => socket.recv(buffer).await,
        None => std::future::pending().await,
    }
}
