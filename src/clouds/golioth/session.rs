//! The lane that keeps Golioth's session: one UDP socket, one DTLS session, one CoAP endpoint.
//!
//! The two protocol cores are told the time and handed bytes; this loop is the only place where they meet a socket. One
//! iteration: take what happened (a datagram, a request, a time), then drain both cores until they have nothing to say.
//!
//! Silence is no reason for a handshake. A request that got no answer is sent again by its owner; only when nothing at
//! all was heard for [`DEAD_PATH`] while something waits for an answer is the session given up.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fieldgate_coap::{self as coap, Endpoint, Event, ObservationId, RequestId};
use fieldgate_dtls::{self as dtls, CloseReason, Session};
use fieldgate_golioth_proto::{content_format::ContentFormat, manifest, paths, state_report};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::link::{Ends, GoliothLink, Request};
use super::outcome;
use super::pace::Pace;
use crate::board::{Board, LinkPhase, LinkState};
use crate::config::{Golioth, NetworkPath, Suite};
use crate::daemon::rim::{Datagrams, Rim, UdpTarget};
use crate::daemon::supervisor::{Lane, LaneError, Progress};
use crate::uplink::link::{Manifest, ManifestComponent, Outcome, Report};
use crate::uplink::policy;

/// Nothing heard for this long while an answer is due: the session, or the way to it, is gone.
const DEAD_PATH: Duration = Duration::from_secs(180);
/// A handshake is given up after this and tried anew.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(60);
/// Pauses between attempts to connect: full jitter below a bound that doubles from the first to the last.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// A session that lived this long starts the pauses over.
const STABLE: Duration = Duration::from_secs(300);
/// An unauthenticated alert is a hint that earns one probe: this long, at most once in this long.
const PROBE_DEADLINE: Duration = Duration::from_secs(5);
const PROBE_EVERY: Duration = Duration::from_secs(60);
/// The largest datagram taken.
const DATAGRAM: usize = 2048;

/// Builds the link and the lane that serves it.
///
/// # Errors
/// When the configuration's key is one that DTLS cannot take.
pub fn link(
    config: &Golioth,
    path: &NetworkPath,
    max_in_flight: usize,
    rim: &Rim,
    board: &Arc<Board>,
    stop: &CancellationToken,
) -> Result<(Arc<GoliothLink>, Lane), LaneError> {
    let (link, ends) = GoliothLink::new("golioth", &config.stream_path, max_in_flight);
    let psk = dtls::Psk::new(config.psk_id.as_bytes(), config.psk.expose()).map_err(LaneError::new)?;
    let mut client = dtls::ClientConfig::new(psk);
    client.suites = config
        .suites
        .iter()
        .map(|suite| match suite {
            Suite::PskCcm8 => dtls::CipherSuite::PskAes128Ccm8,
            Suite::PskGcm => dtls::CipherSuite::PskAes128Gcm,
        })
        .collect();
    client.connection_id = config.connection_id;
    client.handshake_deadline = HANDSHAKE_DEADLINE;
    let NetworkPath::System { interface } = path;
    let settings = Arc::new(Settings {
        client,
        target: UdpTarget {
            host: config.endpoint.host.clone(),
            port: config.endpoint.port,
            interface: interface.clone(),
        },
        keepalive: config.keepalive,
        requests_per_second: config.requests_per_second,
        max_in_flight,
    });
    let (rim, board, stop) = (rim.clone(), Arc::clone(board), stop.clone());
    let lane = Lane::new("golioth", move |progress| {
        let keeper = Keeper {
            settings: Arc::clone(&settings),
            ends: Arc::clone(&ends),
            rim: rim.clone(),
            board: Arc::clone(&board),
            stop: stop.clone(),
            progress,
            state: LinkState {
                phase: LinkPhase::Idle,
                words: "not yet tried".into(),
                handshakes: 0,
                bytes_up: 0,
                bytes_down: 0,
                packets: 0,
                in_flight: 0,
                last_heard: None,
            },
        };
        keeper.run()
    });
    Ok((link, lane))
}

#[derive(Debug)]
struct Settings {
    client: dtls::ClientConfig,
    target: UdpTarget,
    keepalive: Duration,
    requests_per_second: u32,
    max_in_flight: usize,
}

struct Keeper {
    settings: Arc<Settings>,
    ends: Arc<Ends>,
    rim: Rim,
    board: Arc<Board>,
    stop: CancellationToken,
    progress: Progress,
    state: LinkState,
}

/// Why a session ended, for people, and whether waiting alone will mend it.
struct Ended {
    words: String,
    sick: bool,
}

impl Keeper {
    async fn run(mut self) -> Result<(), LaneError> {
        if let Some(before) = self.board.links.get("golioth") {
            self.state = before.value;
        }
        let ends = Arc::clone(&self.ends);
        let mut requests = ends.requests.lock().await;
        let mut attempt = 0;
        loop {
            let began = self.rim.now();
            let ended = self.session(&mut requests).await;
            self.ends.up.send_replace(false);
            let Err(ended) = ended else { return Ok(()) };
            if self.rim.now().saturating_sub(began) > STABLE {
                attempt = 0;
            }
            let pause = policy::backoff(attempt, FIRST_PAUSE, LONGEST_PAUSE, self.rim.random.u64());
            attempt += 1;
            tracing::warn!(why = ended.words, again_in_ms = pause.as_millis(), "no session with Golioth");
            self.say(
                if ended.sick { LinkPhase::Sick } else { LinkPhase::Waiting },
                format!("{}; trying again in {} s", ended.words, pause.as_secs().max(1)),
            );
            self.progress.waiting("waiting before connecting again", pause);
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return Ok(()),
                () = self.rim.sleep(pause) => {}
            }
        }
    }

    fn say(&mut self, phase: LinkPhase, words: impl Into<String>) {
        self.state.phase = phase;
        self.state.words = words.into();
        self.publish();
    }

    fn publish(&self) {
        self.board.links.set("golioth", self.rim.clock.mono(), self.state.clone());
    }

    /// One session from the first flight to its end. `Ok` is a stop.
    async fn session(&mut self, requests: &mut tokio::sync::mpsc::Receiver<Request>) -> Result<(), Ended> {
        let waits = |words: String| Ended { words, sick: false };
        let target = &self.settings.target;
        let place = format!("{}:{}", target.host, target.port);
        self.say(LinkPhase::Connecting, format!("connecting to {place}"));
        self.progress.waiting("connecting", HANDSHAKE_DEADLINE);
        let socket = self.rim.net.udp(&self.settings.target).await.map_err(|e| {
            waits(format!("{place} cannot be reached: {e}. Check the cellular interface and DNS"))
        })?;
        let random = Arc::clone(&self.rim.random);
        let now = self.rim.now();
        let session = Session::client(&self.settings.client, now, Box::new(move |bytes| random.fill(bytes)))
            .map_err(|e| waits(e.to_string()))?;
        let seed = coap::Seed {
            message_id: u16::try_from(self.rim.random.u64() & 0xffff).unwrap_or(0),
            token: self.rim.random.u64(),
            random: self.rim.random.u64(),
        };
        let window = u32::try_from(self.settings.max_in_flight).unwrap_or(8);
        let config = coap::Config {
            max_in_flight: window,
            initial_window: window.div_ceil(2),
            token_length: 2,
            max_datagram: 1280,
            ..coap::Config::default()
        };
        let mut live = Live {
            keeper: self,
            socket,
            session,
            endpoint: Endpoint::new(config, seed),
            pace: Pace::new(0),
            connected: false,
            waiting: BTreeMap::new(),
            manifest: None,
            last_heard: now,
            awaiting_since: None,
            last_probe: None,
            probe: None,
            next_keepalive: Duration::MAX,
        };
        live.pace = Pace::new(live.keeper.settings.requests_per_second);
        live.run(requests).await
    }
}

/// Whose answer a CoAP request's is.
enum Waiting {
    Outcome(oneshot::Sender<Outcome>),
    Probe,
}

struct Live<'a> {
    keeper: &'a mut Keeper,
    socket: Box<dyn Datagrams>,
    session: Session,
    endpoint: Endpoint,
    pace: Pace,
    connected: bool,
    waiting: BTreeMap<RequestId, Waiting>,
    manifest: Option<ObservationId>,
    last_heard: Duration,
    /// Since when something is to be answered and nothing at all was heard.
    awaiting_since: Option<Duration>,
    last_probe: Option<Duration>,
    probe: Option<RequestId>,
    next_keepalive: Duration,
}

impl Live<'_> {
    async fn run(&mut self, requests: &mut tokio::sync::mpsc::Receiver<Request>) -> Result<(), Ended> {
        let mut buffer = vec![0u8; DATAGRAM];
        loop {
            self.turn()?;
            let now = self.keeper.rim.now();
            let may_send_at = self.pace.next_at(now);
            let may_take = self.connected && self.waiting.len() < self.keeper.settings.max_in_flight;
            let mut wake = self.next_timeout(now);
            if may_take && may_send_at > now {
                wake = wake.min(may_send_at);
            }
            let stop = self.keeper.stop.clone();
            tokio::select! {
                biased;
                () = stop.cancelled() => {
                    self.session.close(self.keeper.rim.now());
                    self.transmit()?;
                    return Ok(());
                }
                received = self.socket.recv(&mut buffer) => {
                    let len = received.map_err(|e| waits(format!("the socket failed: {e}")))?;
                    self.receive(buffer.get(..len).unwrap_or_default());
                }
                request = requests.recv(), if may_take && may_send_at <= now => match request {
                    Some(request) => self.take(request),
                    None => return Ok(()),
                },
                () = self.keeper.rim.sleep_until(wake) => {}
            }
        }
    }

    fn next_timeout(&self, now: Duration) -> Duration {
        let mut at = now + Duration::from_secs(30);
        for due in [self.session.poll_timeout(), self.endpoint.poll_timeout(), Some(self.next_keepalive)] {
            at = at.min(due.unwrap_or(at));
        }
        at
    }

    /// Drives both cores until neither has anything left to say, and checks what time alone changes.
    fn turn(&mut self) -> Result<(), Ended> {
        let now = self.keeper.rim.now();
        self.session.handle_timeout(now);
        if self.connected {
            self.endpoint.handle_timeout(now);
        }
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
            if self.connected {
                while let Some(datagram) = self.endpoint.poll_transmit() {
                    quiet = false;
                    if let Err(error) = self.session.send(now, &datagram) {
                        // As if lost on the way: retransmission decides.
                        tracing::debug!(%error, "a CoAP message did not enter the DTLS session");
                    }
                }
            }
            self.transmit()?;
            if quiet {
                break;
            }
        }
        self.watch_the_path(now)?;
        if self.connected && now >= self.next_keepalive {
            self.keep_alive(now);
            return self.turn();
        }
        self.report_progress();
        Ok(())
    }

    fn transmit(&mut self) -> Result<(), Ended> {
        while let Some(datagram) = self.session.poll_transmit() {
            self.socket.send(&datagram).map_err(|e| {
                waits(format!("datagrams cannot be sent: {e}. Check that the cellular interface is up"))
            })?;
            self.keeper.state.bytes_up += datagram.len() as u64;
            self.keeper.state.packets += 1;
        }
        Ok(())
    }

    fn receive(&mut self, datagram: &[u8]) {
        let now = self.keeper.rim.now();
        self.keeper.state.bytes_down += datagram.len() as u64;
        self.keeper.state.packets += 1;
        self.session.handle_datagram(now, datagram);
    }

    fn session_event(&mut self, now: Duration, event: dtls::Event) -> Result<(), Ended> {
        match event {
            dtls::Event::Connected(connection) => {
                self.connected = true;
                self.heard(now);
                self.keeper.state.handshakes += 1;
                let cid = if connection.peer_cid.is_some() { " with Connection ID" } else { "" };
                tracing::info!(
                    suite = connection.suite.name(),
                    cid = connection.peer_cid.is_some(),
                    "connected to Golioth"
                );
                self.keeper.say(LinkPhase::Up, format!("connected, {}{cid}", connection.suite.name()));
                self.observe_manifest(now);
                self.keeper.ends.up.send_replace(true);
            }
            dtls::Event::Received(message) => {
                self.heard(now);
                self.endpoint.handle_datagram(now, &message);
            }
            dtls::Event::UnauthenticatedAlert(alert) => {
                tracing::info!(%alert, "an alert that anyone could have sent; probing");
                self.probe(now);
            }
            dtls::Event::Closed { why } => return Err(ended(&why, self.connected)),
            // A later event of the core that this lane has no use for.
            _ => {}
        }
        Ok(())
    }

    fn heard(&mut self, now: Duration) {
        self.last_heard = now;
        self.awaiting_since = None;
        self.next_keepalive = now + self.keeper.settings.keepalive;
        self.keeper.state.last_heard = Some(crate::clock::Mono::from(now));
    }

    fn endpoint_event(&mut self, now: Duration, event: Event) -> Result<(), Ended> {
        match event {
            Event::Response { id, response, .. } => match self.waiting.remove(&id) {
                Some(Waiting::Outcome(reply)) => {
                    let outcome = outcome::of_response(&response);
                    if let Outcome::LinkSick { why, next_step } = &outcome {
                        self.keeper.say(LinkPhase::Sick, format!("{why}. Next: {next_step}"));
                    } else if self.keeper.state.phase == LinkPhase::Sick && outcome == Outcome::Acknowledged {
                        self.keeper.say(LinkPhase::Up, "connected");
                    }
                    let _ = reply.send(outcome);
                }
                Some(Waiting::Probe) | None => self.probe = None,
            },
            Event::Failed { id, why, .. } => match self.waiting.remove(&id) {
                Some(Waiting::Outcome(reply)) => {
                    let _ = reply.send(outcome::of_failure(why));
                }
                Some(Waiting::Probe) | None if self.probe == Some(id) => {
                    // A reset is an answer: the peer is there and knows us.
                    self.probe = None;
                    if why != coap::Failure::Reset {
                        return Err(waits("an alert came and the cloud no longer answers".into()));
                    }
                }
                _ => {}
            },
            Event::Pong { id, .. } => {
                self.waiting.remove(&id);
                self.probe = None;
            }
            Event::Notification { observation, response } if Some(observation) == self.manifest => {
                self.manifest_arrived(&response.payload);
            }
            Event::ObservationEnded { observation, why } if Some(observation) == self.manifest => {
                tracing::info!(
                    ?why,
                    "the manifest is no longer observed; it is asked for again with the keepalive"
                );
                self.next_keepalive = self.next_keepalive.min(now + Duration::from_secs(60));
            }
            Event::Request(request) => {
                let _ =
                    self.endpoint.respond(now, request.exchange, coap::Response::new(coap::Code::NOT_FOUND));
            }
            _ => {}
        }
        Ok(())
    }

    fn take(&mut self, request: Request) {
        let now = self.keeper.rim.now();
        let (request, reply) = match request {
            Request::Send { message, deadline, reply } => {
                let path = format!(".s/{}", message.address);
                let post = coap::Request::post(&path).payload(ContentFormat::Cbor.number(), message.body);
                (post.deadline(deadline), reply)
            }
            Request::Report { report, reply } => match report_request(&report) {
                Some(post) => (post, reply),
                None => {
                    let _ = reply.send(Outcome::Bad { why: "the package's name cannot be a path".into() });
                    return;
                }
            },
        };
        match self.endpoint.request(now, request) {
            Ok(id) => {
                self.pace.leaves(now);
                self.awaiting_since.get_or_insert(now);
                self.waiting.insert(id, Waiting::Outcome(reply));
            }
            Err(coap::SendError::TooLarge { limit, .. }) => {
                let _ = reply.send(Outcome::TooLarge { limit: Some(limit) });
            }
            Err(error) => {
                tracing::warn!(%error, "a request was not taken");
                let _ = reply.send(Outcome::Later { after: Duration::from_secs(5) });
            }
        }
    }

    fn observe_manifest(&mut self, now: Duration) {
        let get = coap::Request::get(paths::MANIFEST).accept(ContentFormat::Cbor.number());
        match self.endpoint.observe(now, get) {
            Ok(observation) => {
                self.pace.leaves(now);
                self.manifest = Some(observation);
            }
            Err(error) => tracing::warn!(%error, "the manifest cannot be observed"),
        }
    }

    /// Registering the manifest's observation again is the sign of life: it keeps the path open and the cloud's list of
    /// observers right, and its answer is the manifest itself.
    fn keep_alive(&mut self, now: Duration) {
        self.next_keepalive = now + self.keeper.settings.keepalive;
        self.awaiting_since.get_or_insert(now);
        self.pace.leaves(now);
        let registered = self.manifest.map(|observation| self.endpoint.reregister(now, observation));
        if !matches!(registered, Some(Ok(()))) {
            self.observe_manifest(now);
        }
    }

    fn probe(&mut self, now: Duration) {
        if !self.connected || self.probe.is_some() || self.last_probe.is_some_and(|at| now < at + PROBE_EVERY)
        {
            return;
        }
        self.last_probe = Some(now);
        let get =
            coap::Request::get(paths::MANIFEST).accept(ContentFormat::Cbor.number()).deadline(PROBE_DEADLINE);
        if let Ok(id) = self.endpoint.request(now, get) {
            self.pace.leaves(now);
            self.waiting.insert(id, Waiting::Probe);
            self.probe = Some(id);
        }
    }

    fn watch_the_path(&mut self, now: Duration) -> Result<(), Ended> {
        if !self.connected {
            return Ok(());
        }
        if self.endpoint.outstanding() == 0 {
            self.awaiting_since = None;
        }
        let silent = self.awaiting_since.map(|since| now.saturating_sub(since.max(self.last_heard)));
        match silent {
            Some(silent) if silent > DEAD_PATH => {
                Err(waits(format!("nothing was heard for {} s; starting a new session", silent.as_secs())))
            }
            _ => Ok(()),
        }
    }

    fn manifest_arrived(&mut self, payload: &[u8]) {
        match manifest::decode(payload) {
            Ok(desired) => {
                let manifest = match desired {
                    manifest::Desired::Nothing => Manifest { sequence_number: 0, components: Vec::new() },
                    manifest::Desired::Deployment(deployment) => Manifest {
                        sequence_number: deployment.sequence_number,
                        components: deployment
                            .components
                            .into_iter()
                            .map(|c| ManifestComponent {
                                package: c.package,
                                version: c.version,
                                sha256: c.sha256,
                                size_bytes: c.size_bytes,
                                uri: c.uri,
                            })
                            .collect(),
                    },
                };
                if self.keeper.ends.manifests.try_send(manifest).is_err() {
                    // Level-triggered: the next answer to the observation says the same again.
                    tracing::warn!("nobody takes manifests; it will come again");
                }
            }
            Err(error) => {
                tracing::warn!(%error, "the cloud's manifest is not one; nothing is deployed from it")
            }
        }
    }

    fn report_progress(&mut self) {
        self.keeper.state.in_flight = u32::try_from(self.waiting.len()).unwrap_or(u32::MAX);
        self.keeper.publish();
        if self.waiting.is_empty() {
            self.keeper.progress.waiting("connected, nothing to send", Duration::from_secs(60));
        } else {
            self.keeper.progress.waiting("waiting for answers", DEAD_PATH);
        }
    }
}

fn waits(words: String) -> Ended {
    Ended { words, sick: false }
}

fn ended(why: &CloseReason, was_connected: bool) -> Ended {
    let words = why.to_string();
    // A refusal during the handshake is about who we are; the cloud's mind does not change by asking more often.
    let sick = !was_connected && matches!(why, CloseReason::Alert { .. } | CloseReason::HandshakeFailed(_));
    Ended { words, sick }
}

fn report_request(report: &Report) -> Option<coap::Request> {
    let Report::Component { package, version, target, state, reason } = report;
    let path = paths::component(package).ok()?;
    let body = state_report::StateReport {
        state: state_report::State::from_code(*state)?,
        reason: state_report::Reason::from_code(*reason)?,
        package,
        version: version.as_deref(),
        target: target.as_deref(),
    }
    .encode();
    Some(
        coap::Request::post(&path)
            .payload(ContentFormat::Cbor.number(), body)
            .deadline(Duration::from_secs(120)),
    )
}
