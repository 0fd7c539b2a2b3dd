//! One session with Golioth: one UDP socket at a time, one DTLS session, one CoAP endpoint over it.
//!
//! The two protocol cores are told the time and handed bytes; this loop is the only place where they meet a socket. One
//! iteration: take what happened (a request, a datagram, a time), then drain both cores until they have nothing to say.
//! `path` is the way to the cloud, `asks` what is asked of it, `answers` what becomes of that, `download` an artifact's blocks,
//! `certificate` the gateway's next certificate.
//!
//! Silence is no reason for a handshake. A request that got no answer is sent again by its owner; only when nothing at
//! all was heard for the configured `dead_path` while an answer is owed is the session given up. Nor is a socket that fails: the session
//! waits and goes on over another one, because a Connection ID makes us known behind any address. Nor is a clean stop: what the
//! next run needs is left for it ([`Live::leave`]). There one record goes out first, once, and something must be heard within
//! [`UNPROVEN_PATH`]: the cloud takes no record number twice, so an answer shows that nobody has used the session since.
//!
//! Invariant: every request taken is answered with exactly one outcome, or its asker sees its channel close, which means
//! the same as no answer.

mod answers;
mod asks;
mod certificate;
mod download;
mod path;
mod refused;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use fieldgate_coap::{Endpoint, RequestId};
use fieldgate_dtls::Session;
use tokio::sync::oneshot;

use self::refused::Refused;
use super::fault;
use super::fetch::Fetching;
use super::kept::SESSION_LIMIT;
use super::link::{Incoming, Next};
use super::modem::Claim;
use super::services::{Kind, Observed, Watched, Watches};
use super::session::{Ended, Keeper};
use crate::board::in_words;
use crate::clock::Mono;
use crate::config::Liveness;
use crate::daemon::rim::Datagrams;
use crate::spend::Cause;
use crate::uplink::link::{Call, Outcome};

/// What `dead_path` is for a session of an earlier run of which nothing was heard yet: the cloud may not take it, and says nothing then.
const UNPROVEN_PATH: Duration = Duration::from_secs(30);
/// How often the board learns of counters; words go there at once.
const PUBLISH_EVERY: Duration = Duration::from_secs(1);
/// The longest sleep.
const LONGEST_SLEEP: Duration = Duration::from_secs(300);
/// The largest datagram taken.
const DATAGRAM: usize = 2048;

/// What a session begins with.
pub(super) struct Start {
    /// None: there will be one.
    pub(super) socket: Option<Box<dyn Datagrams>>,
    /// Where the cloud was last, if that is known.
    pub(super) peer: Option<SocketAddr>,
    pub(super) session: Session,
    pub(super) endpoint: Endpoint,
    /// What the cloud serves already.
    pub(super) observed: Observed,
    /// Of a session of an earlier run: for how long nothing was heard of it.
    pub(super) resumed: Option<Duration>,
    /// Of such a one: the modem that it was kept with.
    pub(super) claim: Option<Claim>,
    /// Who we were and whom we trusted when it was made.
    pub(super) credential: [u8; 32],
}

/// Whose answer a CoAP request's is.
enum Waiting {
    Send(oneshot::Sender<Outcome>),
    /// And its path.
    Report(Kind, String, oneshot::Sender<Outcome>),
    Probe,
    Certificate,
}

/// What the cloud may refuse by itself, so that one of them working does not hide that another does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Asked {
    Send,
    Report(Kind),
    Watch(Watched),
}

impl Asked {
    /// For people.
    fn words(self) -> &'static str {
        match self {
            Self::Send => "readings",
            Self::Report(kind) => kind.words(),
            Self::Watch(watched) => watched.words(),
        }
    }

    /// Whether a refusal says something of this one alone, and nothing of the next: calls are each another's.
    fn concerns_one_thing(self) -> bool {
        matches!(self, Self::Report(Kind::Answer))
    }

    /// What to do where the cloud does not find the path.
    fn if_not_found(self) -> &'static str {
        match self {
            Self::Send => "check golioth.endpoint and golioth.stream_path in the configuration",
            Self::Report(Kind::Component) => {
                "create the package in the Golioth console, or correct its name under firmware.component in the configuration"
            }
            Self::Report(Kind::Network) => {
                "check golioth.endpoint and golioth.location_path in the configuration"
            }
            Self::Report(_) | Self::Watch(_) => "check golioth.endpoint in the configuration",
        }
    }
}

/// See the module head.
pub(super) struct Live<'a> {
    keeper: &'a mut Keeper,
    /// Where the cloud is, once a socket knows: a new one goes there without asking for the name again.
    peer: Option<SocketAddr>,
    socket: Option<Box<dyn Datagrams>>,
    /// When to open another socket, and how often that was done since anything was heard.
    reopen_at: Duration,
    reopened: u32,
    session: Session,
    endpoint: Endpoint,
    /// `connected, PSK-AES128-CCM8 with Connection ID`, once it is.
    connected: Option<String>,
    /// Since when nothing was heard of a session of an earlier run, and until something is.
    resumed: Option<Duration>,
    /// Its one record that may be sent before something is heard has been.
    tried: bool,
    /// The modem that it was kept with, until the modem here has said which it is.
    claim: Option<Claim>,
    /// See [`Start`].
    credential: [u8; 32],
    up_since: Option<Duration>,
    waiting: BTreeMap<RequestId, Waiting>,
    fetching: Option<Fetching>,
    /// What the session began with; moves into the table once it is connected.
    observed: Observed,
    watches: Watches,
    liveness: Liveness,
    last_heard: Duration,
    /// Messages since then that were none: what can be told apart is heard.
    unreadable: u32,
    /// When the path was last found to have been in doubt.
    doubted: Option<Duration>,
    /// When too many calls at once were told of last.
    flood_said: Option<Duration>,
    /// Datagrams that came.
    received: u64,
    /// Since when an answer is owed.
    owed_since: Option<Duration>,
    last_probe: Option<Duration>,
    probe: Option<(RequestId, Duration)>,
    refused: Refused,
    published: Option<Duration>,
    /// Packets and requests under way when the board was last told.
    told: (u64, usize),
    /// Messages of requests, and repetitions, that the pace has counted.
    left: u64,
    repeated: u64,
    /// Calls for which there was no place, and that are not answered yet.
    unplaced: VecDeque<Call>,
    /// When the plan is asked again whether the session may be kept.
    afford_at: Duration,
    /// What the datagrams of this turn are for: a request that was just taken, else the session.
    sending: Cause,
    /// What the newest message with readings was for: answers are taken to be to it while any is owed.
    asked_for: Cause,
}

impl<'a> Live<'a> {
    pub(super) fn new(keeper: &'a mut Keeper, start: Start) -> Self {
        let now = keeper.rim.now();
        let liveness = keeper.liveness();
        let Start { socket, peer, session, endpoint, observed, resumed, claim, credential } = start;
        Self {
            keeper,
            peer: socket.as_ref().and_then(|socket| socket.peer()).or(peer),
            socket,
            reopen_at: now,
            reopened: 0,
            session,
            endpoint,
            connected: None,
            resumed,
            tried: false,
            claim,
            credential,
            up_since: None,
            waiting: BTreeMap::new(),
            fetching: None,
            observed,
            watches: Watches::new(now, liveness, observed, None, |_| None),
            liveness,
            last_heard: now.saturating_sub(resumed.unwrap_or_default()),
            unreadable: 0,
            doubted: None,
            flood_said: None,
            received: 0,
            owed_since: None,
            last_probe: None,
            probe: None,
            refused: Refused::default(),
            published: None,
            told: (0, 0),
            left: 0,
            repeated: 0,
            unplaced: VecDeque::new(),
            afford_at: now,
            sending: Cause::Session,
            asked_for: Cause::Session,
        }
    }

    /// For how long the cloud was heard on it.
    pub(super) fn lived(&self) -> Duration {
        self.up_since.map_or(Duration::ZERO, |since| self.last_heard.saturating_sub(since))
    }

    /// Whether there ever was a session.
    pub(super) fn was_up(&self) -> bool {
        self.up_since.is_some()
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
            self.keeper.keep_certificate().await;
            self.turn()?;
            self.sending = Cause::Session;
            self.affordable()?;
            let now = self.keeper.rim.now();
            let may_send_at = self.keeper.pace.next_at(now);
            let room = self.room(now, may_send_at);
            // First, because a flood of datagrams must not keep requests from being taken; room bounds how many.
            if self.take_turn(now, room, incoming) {
                continue;
            }
            let wake = self.next_timeout(now, may_send_at);
            let stop = self.keeper.stop.clone();
            tokio::select! {
                biased;
                () = stop.cancelled() => return Err(Ended::Stopped),
                same = settled(self.claim.as_mut()) => {
                    self.claim = None;
                    if !same {
                        // Without a goodbye: its number may be used by whoever has the session too.
                        return Err(Ended::NotTakenUp("it was kept with another modem"));
                    }
                }
                received = receive(self.socket.as_deref(), &mut buffer) => match received {
                    Ok(len) => self.receive(buffer.get(..len).unwrap_or_default()),
                    Err(error) => self.socket_failed(&error)?,
                },
                next = incoming.next(room) => match next {
                    Some(Next::Request(share, request)) => {
                        self.keeper.pace.took(share);
                        self.take(request);
                    }
                    Some(Next::Download(order)) => self.fetching = Some(Fetching::new(*order)),
                    None => return Err(Ended::Stopped),
                },
                () = taker_moved(self.fetching.as_ref()) => {}
                () = self.keeper.looks.write(&self.keeper.rim) => {}
                Ok(()) = self.keeper.tuning.changed() => self.tuned(),
                () = self.keeper.rim.sleep_until(wake) => {}
            }
        }
    }

    /// Signs of life go by another profile from now on, without another session.
    fn tuned(&mut self) {
        let liveness = self.keeper.liveness();
        if liveness != self.liveness {
            self.liveness = liveness;
            self.watches.retime(self.keeper.rim.now(), liveness);
        }
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
            sooner(self.may_ask().then(|| self.watches.due().0.max(may_send_at)));
            sooner(self.dead_at());
            sooner(Some(may_send_at).filter(|at| *at > now));
            sooner(self.block_due(now));
            sooner(self.refused.next_over());
        }
        at
    }

    /// When the silence means that the session, or the way to it, is gone.
    fn dead_at(&self) -> Option<Duration> {
        let patience = if self.resumed.is_some() { UNPROVEN_PATH } else { self.liveness.dead_path };
        self.owed_since.map(|since| since.max(self.last_heard) + patience)
    }

    /// Whether the cloud may be asked for anything now: of a session of an earlier run, for one thing first.
    fn may_ask(&self) -> bool {
        let tried = self.resumed.is_some() && self.endpoint.outstanding() > 0;
        self.connected.is_some() && self.socket.is_some() && !tried && !self.time_unverified()
    }

    /// Drives both cores until neither has anything left to say, and does what time alone asks for.
    fn turn(&mut self) -> Result<(), Ended> {
        let now = self.keeper.rim.now();
        // It was young enough when it was taken up; without a network since, it no longer is.
        if self.resumed.is_some() && !self.tried && now.saturating_sub(self.last_heard) > SESSION_LIMIT {
            return Err(Ended::NotTakenUp("nothing was heard of it for too long"));
        }
        self.session.handle_timeout(now);
        if self.connected.is_some() {
            self.endpoint.handle_timeout(now);
        }
        self.drain_cores(now)?;
        if self.dead_at().is_some_and(|at| now >= at) {
            if self.resumed.is_some() {
                return Err(Ended::NotTakenUp("the cloud does not answer on it"));
            }
            let silent = in_words(now.saturating_sub(self.last_heard));
            return Err(fault::dead(&silent, self.unreadable > 0));
        }
        if self.settle_download(now) {
            self.drain_cores(now)?;
        }
        self.settle_time(now);
        self.forget_refusals(now);
        while self.may_ask()
            && self.keeper.pace.next_at(now) <= now
            && let (due, watched) = self.watches.due()
            && now >= due
        {
            self.register(now, watched);
            self.drain_cores(now)?;
        }
        self.renew(now)?;
        while !self.unplaced.is_empty() && self.may_ask() && self.keeper.pace.next_at(now) <= now {
            self.refuse_call();
            self.drain_cores(now)?;
        }
        self.tell(now);
        Ok(())
    }

    fn drain_cores(&mut self, now: Duration) -> Result<(), Ended> {
        loop {
            let mut quiet = true;
            self.keep_pace(now);
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
                    // Beyond the first, numbers could be new to the cloud although the session was used before: where the
                    // first is a repetition only silence must follow. So a copy counts as lost.
                    if self.resumed.is_some() && std::mem::replace(&mut self.tried, true) {
                        continue;
                    }
                    if let Err(error) = self.session.send(now, &datagram) {
                        // As if lost on the way: retransmission decides.
                        tracing::debug!(%error, "a CoAP message did not enter the DTLS session");
                    }
                }
            }
            if let Some(error) = self.transmit() {
                self.socket_failed(&error)?;
            }
            if quiet {
                return Ok(());
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
            (Some(_), Some(_), _) if self.time_unverified() => "waiting for the time",
            (Some(_), Some(_), true) if self.fetching.is_some() => "downloading",
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

async fn settled(claim: Option<&mut Claim>) -> bool {
    match claim {
        Some(claim) => claim.settled().await,
        None => std::future::pending().await,
    }
}

async fn taker_moved(fetching: Option<&Fetching>) {
    match fetching {
        Some(fetching) => fetching.taker_moved().await,
        None => std::future::pending().await,
    }
}
