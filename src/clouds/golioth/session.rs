//! The lane that keeps Golioth's session: connects, and when a session has ended, waits and connects again.
//!
//! Owns what outlives a session: the counters, the pace, what people are told. A session itself is `live`. The pauses
//! between attempts are jittered and double; a cloud that refuses us is asked more seldom than one that is out of reach,
//! because asking does not change its mind. A session of the run before is gone on with before any is made ([`super::kept`]).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use fieldgate_coap::{self as coap, Endpoint};
use fieldgate_dtls::{self as dtls, SavedSession, Session};
use tokio::sync::{Mutex, OwnedMutexGuard, watch};
use tokio_util::sync::CancellationToken;

use super::credential::{self, Loaded};
use super::fault;
use super::kept::{Bound, Kept, Refused, Shelf};
use super::link::{Ends, GoliothLink, Incoming};
use super::live::{Live, Start};
use super::looks::LastLooks;
use super::modem;
use super::pace::Pace;
use super::renewal::{NotAccepted, Renewal};
use super::services::Observed;
use crate::board::{Board, LinkPhase, LinkState, Trouble, TroubleKind, Tuning, in_words};
use crate::clock::RELEASE_FLOOR_UNIX_MS;
use crate::clouds::Means;
use crate::config::{Golioth, Liveness, NetworkPath};
use crate::daemon::rim::{Datagrams, Rim, UdpTarget};
use crate::daemon::supervisor::{Lane, LaneError, Progress};
use crate::sabotage;
use crate::spend::{Direction, Purpose, Purse, Why, wire};
use crate::uplink::policy;

/// The name of the destination, of the lane and of the link on the board.
pub const DESTINATION: &str = "golioth";
/// Requests in flight, blocks of a download among them: as many as a slow link of long delay can hold. Of messages there are as
/// many as is configured.
const MOST_IN_FLIGHT: u32 = 16;
/// A handshake is given up after this and tried anew.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(60);
/// How often the data plan is asked again when it has no room for that.
const PLAN_HOLDS: Duration = Duration::from_secs(600);
/// A session is gone on with at most so many message ids further on, all bits set.
const FURTHEST: u64 = 0xfff;
/// So long may it take to resolve the name and open a socket.
const SOCKET_DEADLINE: Duration = Duration::from_secs(60);
/// So long may the modem take to say which it is, where a session is bound to nothing else.
const MODEM_DEADLINE: Duration = Duration::from_secs(20);
/// Pauses between attempts to connect: full jitter below a bound that doubles from the first to the last.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// The last where the cloud refuses who we are.
const LONGEST_REFUSED_PAUSE: Duration = Duration::from_secs(1800);
/// A refusal that anyone could have sent is believed when it ended so many attempts in a row.
const BELIEVED_HINTS: u32 = 4;
/// A session that lived this long starts the pauses over.
const STABLE: Duration = Duration::from_secs(300);

/// Builds the link and the lane that serves it, and takes what the run before left of its session. What this one leaves is
/// on the shelf when the lane has ended.
#[must_use]
pub fn link(
    config: &Golioth,
    path: &NetworkPath,
    max_in_flight: usize,
    means: Means<'_>,
    bound: Bound<'_>,
    looks: LastLooks,
) -> (Arc<GoliothLink>, Lane, Arc<Shelf>) {
    let (link, ends) = GoliothLink::new(DESTINATION, &config.stream_path, config.encoding, max_in_flight);
    let NetworkPath::System { interface } = path;
    let endpoint = format!("{}:{}", config.endpoint.host, config.endpoint.port);
    let secret = credential::secret(&config.credential).clone();
    let shelf = Shelf::open(bound, &endpoint, secret, means.rim);
    let settings = Arc::new(Settings {
        target: UdpTarget {
            host: config.endpoint.host.clone(),
            port: config.endpoint.port,
            interface: interface.clone(),
        },
        requests_per_second: config.requests_per_second,
        max_in_flight: max_in_flight.max(1),
        handshake_bytes: credential::handshake_bytes(&config.credential),
        time_floor_unix_ms: bound.time_floor_unix_ms.unwrap_or(0).max(RELEASE_FLOOR_UNIX_MS),
        config: config.clone(),
    });
    let state_dir = bound.state_dir.to_owned();
    let (rim, board) = (means.rim.clone(), Arc::clone(means.board));
    let (purse, stop) = (Arc::clone(means.purse), means.stop.clone());
    let on_shelf = Arc::clone(&shelf);
    let looks = Arc::new(Mutex::new(looks));
    let lane = Lane::new(DESTINATION, move |progress| {
        let (settings, ends, shelf) = (Arc::clone(&settings), Arc::clone(&ends), Arc::clone(&shelf));
        let (rim, board, purse, stop) = (rim.clone(), Arc::clone(&board), Arc::clone(&purse), stop.clone());
        let (looks, state_dir) = (Arc::clone(&looks), state_dir.clone());
        async move {
            let pace = Pace::new(settings.requests_per_second);
            let renewal = Renewal::new(&settings.config.credential, &state_dir, &*rim.random);
            let state = LinkState {
                phase: LinkPhase::Idle,
                words: "not yet tried".into(),
                handshakes: 0,
                bytes_up: 0,
                bytes_down: 0,
                packets: 0,
                in_flight: 0,
                last_heard: None,
                owed_since: None,
            };
            // They outlive a life of the lane; only one life holds them at a time.
            let looks = looks.lock_owned().await;
            let tuning = board.asks.tuning.subscribe();
            let keeper = Keeper {
                settings,
                ends,
                rim,
                board,
                purse,
                stop,
                progress,
                shelf,
                looks,
                pace,
                renewal,
                tuning,
                state,
            };
            keeper.run().await
        }
    });
    (link, lane, on_shelf)
}

#[derive(Debug)]
pub(super) struct Settings {
    config: Golioth,
    pub(super) handshake_bytes: u64,
    time_floor_unix_ms: i64,
    target: UdpTarget,
    requests_per_second: u32,
    pub(super) max_in_flight: usize,
}

impl Settings {
    /// Where the serving cell goes below `.s/`.
    pub(super) fn location_path(&self) -> Option<&str> {
        self.config.location_path.as_deref()
    }
}

/// What outlives a session.
pub(super) struct Keeper {
    pub(super) settings: Arc<Settings>,
    pub(super) ends: Arc<Ends>,
    pub(super) rim: Rim,
    board: Arc<Board>,
    pub(super) purse: Arc<Purse>,
    pub(super) stop: CancellationToken,
    pub(super) progress: Progress,
    pub(super) shelf: Arc<Shelf>,
    pub(super) looks: OwnedMutexGuard<LastLooks>,
    pub(super) pace: Pace,
    pub(super) renewal: Option<Renewal>,
    pub(super) tuning: watch::Receiver<Tuning>,
    pub(super) state: LinkState,
}

/// Why a session ended.
pub(super) enum Ended {
    /// The daemon stops.
    Stopped,
    /// Waiting may mend it.
    Lost(Trouble),
    /// The cloud refuses us, and somebody must act.
    Refused(Trouble),
    /// So it seems, but anyone could have sent the alert that says so: believed when it is met again and again.
    Hinted(Trouble),
    /// A session of the run before is not to be used; one is made anew.
    NotTakenUp(&'static str),
    /// The data plan has no bytes for keeping it; connecting asks the plan again.
    Unaffordable(Why),
    /// The next one is to be made with a renewed certificate.
    Renewing,
}

/// The daemon stops.
struct Stopped;

/// Says that the link is down however the lane's life ends.
struct DownAfterwards(Arc<Ends>);

impl Drop for DownAfterwards {
    fn drop(&mut self) {
        self.0.up.send_replace(false);
    }
}

impl Keeper {
    async fn run(mut self) -> Result<(), LaneError> {
        if let Some(before) = self.board.links.get(DESTINATION) {
            self.state = before.value;
        }
        let ends = Arc::clone(&self.ends);
        let _down = DownAfterwards(Arc::clone(&ends));
        let mut incoming = ends.incoming.lock().await;
        let (mut attempt, mut hints) = (0, 0_u32);
        loop {
            if let Some((until, why)) = self.purse.link_refused(DESTINATION, self.settings.handshake_bytes) {
                let now = self.rim.now();
                let until = until.clamp(now + Duration::from_secs(1), now + PLAN_HOLDS);
                self.say(LinkPhase::Waiting, format!("not connected: {}", why.words()));
                self.progress.waiting("waiting for the data plan", PLAN_HOLDS);
                tokio::select! {
                    biased;
                    () = self.stop.cancelled() => return Ok(()),
                    () = self.purse.alarm_comes(DESTINATION) => continue,
                    () = self.rim.sleep_until(until) => continue,
                }
            }
            let mut lived = Duration::ZERO;
            let ended = self.session(&mut incoming, &mut lived).await;
            self.ends.up.send_replace(false);
            (self.state.in_flight, self.state.owed_since) = (0, None);
            hints = if matches!(ended, Ended::Hinted(_)) { hints.saturating_add(1) } else { 0 };
            let (trouble, phase, longest) = match ended {
                Ended::Stopped => return Ok(()),
                Ended::Unaffordable(why) => {
                    tracing::warn!(why = why.words(), "the session with Golioth is not kept");
                    continue;
                }
                Ended::NotTakenUp(why) => {
                    tracing::warn!(why, "the session of the run before is given up");
                    continue;
                }
                Ended::Renewing => {
                    tracing::info!("a new session is made, to show the cloud the renewed certificate");
                    attempt = 0;
                    continue;
                }
                Ended::Hinted(trouble) if hints < BELIEVED_HINTS => {
                    (trouble, LinkPhase::Waiting, LONGEST_PAUSE)
                }
                Ended::Lost(trouble) => (trouble, LinkPhase::Waiting, LONGEST_PAUSE),
                Ended::Refused(trouble) | Ended::Hinted(trouble) => {
                    (trouble, LinkPhase::Sick, LONGEST_REFUSED_PAUSE)
                }
            };
            if lived > STABLE {
                attempt = 0;
            }
            let pause = policy::backoff(attempt, FIRST_PAUSE, longest, self.rim.random.u64());
            attempt += 1;
            let (state, words) = (trouble.kind.name(), trouble.words.clone());
            tracing::warn!(state, why = words, again_in_ms = pause.as_millis(), "no session with Golioth");
            self.note(trouble);
            self.say(
                phase,
                format!("{words}; trying again in {}", in_words(pause.max(Duration::from_secs(1)))),
            );
            self.progress.waiting("waiting before connecting again", pause);
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return Ok(()),
                () = self.rim.sleep(pause) => {}
            }
        }
    }

    pub(super) fn say(&mut self, phase: LinkPhase, words: impl Into<String>) {
        self.state.phase = phase;
        self.state.words = words.into();
        self.publish();
    }

    /// How a session is kept alive: as set from afar, or as configured.
    pub(super) fn liveness(&self) -> Liveness {
        self.tuning.borrow().liveness.unwrap_or(self.settings.config.liveness)
    }

    /// Puts what is wrong on the board. Whether that is new.
    pub(super) fn note(&self, trouble: Trouble) -> bool {
        self.board.troubles.note(DESTINATION, self.rim.clock.mono(), trouble)
    }

    /// Takes from the board what is over.
    pub(super) fn clear(&self, over: impl Fn(TroubleKind, &str) -> bool) {
        self.board.troubles.clear(DESTINATION, over);
    }

    pub(super) fn publish(&mut self) {
        let now = self.rim.clock.mono();
        let wall = self.wall_time();
        if let Some(state) = self.renewal.as_mut().and_then(|renewal| renewal.tell(now.since_boot(), wall)) {
            self.board.certificates.set(DESTINATION, now, state);
        }
        self.board.links.set(DESTINATION, now, self.state.clone());
    }

    /// Opens a socket: to the address where the cloud was, or resolves the endpoint's name.
    pub(super) async fn socket(&self, peer: Option<SocketAddr>) -> Result<Box<dyn Datagrams>, Ended> {
        let target = &self.settings.target;
        let unreachable = |why: &dyn std::fmt::Display| {
            Ended::Lost(fault::unreachable(format!(
                "{}:{} cannot be reached: {why}. Check the cellular interface and DNS",
                target.host, target.port
            )))
        };
        let known = peer.map(|peer| UdpTarget {
            host: peer.ip().to_string(),
            port: peer.port(),
            interface: target.interface.clone(),
        });
        if known.is_none() {
            self.purse.charge(Purpose::Session, Direction::Up, wire::lookup(&target.host));
        }
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(Ended::Stopped),
            socket = self.rim.net.udp(known.as_ref().unwrap_or(target)) => {
                socket.map_err(|error| unreachable(&error))
            }
            () = self.rim.sleep(SOCKET_DEADLINE) => {
                Err(unreachable(&format!("the name did not resolve within {}", in_words(SOCKET_DEADLINE))))
            }
        }
    }

    /// The time, or the floor below which it is not.
    pub(super) fn wall_time(&self) -> dtls::WallTime {
        let wall = self.rim.clock.wall();
        let unix_ms = if wall.trusted { wall.unix_ms } else { self.settings.time_floor_unix_ms };
        dtls::WallTime { unix_s: u64::try_from(unix_ms / 1000).unwrap_or(0), trusted: wall.trusted }
    }

    /// What this clock says, for people.
    pub(super) fn clock_words(&self) -> String {
        let unix_s = i64::try_from(self.wall_time().unix_s).unwrap_or(i64::MAX);
        jiff::Timestamp::from_second(unix_s).map_or_else(|_| "no time".to_owned(), |at| at.to_string())
    }

    /// One session from the first flight to its end. `lived` tells for how long the cloud was heard on it.
    async fn session(&mut self, incoming: &mut Incoming, lived: &mut Duration) -> Ended {
        let start = match self.begin().await {
            Ok(start) => start,
            Err(ended) => return ended,
        };
        let mut live = Live::new(self, start);
        let ended = live.run(incoming).await;
        *lived = live.lived();
        let connected = live.was_up();
        match ended {
            Ended::Stopped => {
                live.leave();
                self.looks.finish().await;
            }
            Ended::Renewing => live.end(),
            _ => drop(live),
        }
        self.settle_certificate(ended, connected)
    }

    /// Goes on with the session of the run before, if there is one, or makes one.
    async fn begin(&mut self) -> Result<Start, Ended> {
        // Waiting does not mend a certificate that cannot be read; somebody must act.
        let own = |words| Ended::Refused(fault::own_credential(words));
        let now = self.rim.now();
        let identity = self.renewal.as_mut().map(|renewal| renewal.identity(now)).transpose();
        let loaded = identity.and_then(|identity| credential::load(&self.settings.config, identity));
        let Loaded { mut client, digest: credential } = loaded.map_err(own)?;
        client.handshake_deadline = HANDSHAKE_DEADLINE;
        let target = &self.settings.target;
        let mut words = format!("connecting to {}:{}", target.host, target.port);
        match self.take_up(&client, credential).await? {
            Some(Ok(start)) => {
                if let Some(renewal) = &mut self.renewal {
                    renewal.taken_up();
                }
                return Ok(start);
            }
            Some(Err(why)) => {
                if why.is_ordinary() {
                    tracing::info!(%why, "the session of the run before is not gone on with");
                } else {
                    tracing::warn!(%why, "the session of the run before is not gone on with");
                }
                words.push_str(&format!("; the session of the run before is not gone on with: {why}"));
            }
            None => {}
        }
        self.say(LinkPhase::Connecting, words);
        self.progress.waiting("connecting", SOCKET_DEADLINE);
        let socket = Some(self.socket(None).await?);
        let now = self.rim.now();
        let mut session = Session::client(&client, now, self.rng())
            .map_err(|e| Ended::Lost(fault::unreachable(e.to_string())))?;
        session.set_wall_clock(now, Some(self.wall_time()));
        let seed = coap::Seed {
            message_id: u16::try_from(self.rim.random.u64() & 0xffff).unwrap_or(0),
            token: self.rim.random.u64(),
            random: self.rim.random.u64(),
        };
        let endpoint = self.endpoint(seed);
        let observed = Observed::default();
        Ok(Start { socket, peer: None, session, endpoint, observed, resumed: None, claim: None, credential })
    }

    /// The session of the run before, ready to send on the first socket there is; or why it is not to be used.
    async fn take_up(
        &mut self,
        client: &dtls::ClientConfig,
        credential: [u8; 32],
    ) -> Result<Option<Result<Start, Refused>>, Ended> {
        let (kept, silent) = match self.shelf.taken(credential, &*self.rim.clock) {
            None => return Ok(None),
            Some(Err(why)) => return Ok(Some(Err(why))),
            Some(Ok(taken)) => taken,
        };
        if self.shelf.needs_modem() {
            let same = match kept.modem {
                Some(number) => self.same_modem(number).await,
                None => Ok(Err(Refused::NoModem)),
            };
            let Ok(same) = same else {
                // Nothing was sent: the next run may use it.
                self.shelf.leave(kept);
                return Err(Ended::Stopped);
            };
            if let Err(why) = same {
                return Ok(Some(Err(why)));
            }
        }
        Ok(Some(self.restore(client, kept, silent)))
    }

    /// Waits until the modem says which it is. Nothing else tells this hardware from another.
    async fn same_modem(&mut self, number: [u8; 32]) -> Result<Result<(), Refused>, Stopped> {
        self.say(LinkPhase::Connecting, "waiting for the modem to say which it is");
        self.progress.waiting("waiting for the modem's identity", MODEM_DEADLINE);
        let mut modem = modem::Claim::new(&self.board, number);
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(Stopped),
            same = modem.settled() => Ok(if same { Ok(()) } else { Err(Refused::OtherModem) }),
            () = self.rim.sleep(MODEM_DEADLINE) => Ok(Err(Refused::NoModem)),
        }
    }

    fn restore(&self, client: &dtls::ClientConfig, kept: Kept, silent: Duration) -> Result<Start, Refused> {
        let Kept { session, message_id, token, observations, peer, modem: number, credential, .. } = kept;
        let (message_id, token) = if sabotage::on("message-id-reuse") {
            (message_id.wrapping_sub(1), token.wrapping_sub(1))
        } else {
            further(message_id, token, self.rim.random.u64())
        };
        let now = self.rim.now();
        let saved = SavedSession::from_bytes(session.to_vec());
        let session = Session::restore(client, saved, now, self.rng())
            .map_err(|error| Refused::Unusable(error.to_string()))?;
        tracing::info!(age_s = silent.as_secs(), "the session of the run before is gone on with");
        let mut endpoint = self.endpoint(coap::Seed { message_id, token, random: self.rim.random.u64() });
        let mut observed = Observed::default();
        for (watched, kept) in observations.iter().filter_map(super::kept::Observed::to_kept) {
            observed.set(watched, endpoint.keep_observing(now, kept));
        }
        let claim = number.map(|number| modem::Claim::new(&self.board, number));
        Ok(Start {
            socket: None,
            peer,
            session,
            endpoint,
            observed,
            resumed: Some(silent),
            claim,
            credential,
        })
    }

    /// What the modem said of itself.
    pub(super) fn modem(&self) -> Option<[u8; 32]> {
        modem::said(&self.board)
    }

    pub(super) fn rng(&self) -> dtls::Rng {
        let random = Arc::clone(&self.rim.random);
        Box::new(move |bytes: &mut [u8]| random.fill(bytes))
    }

    /// What the end of a session says of the certificate it was begun with.
    fn settle_certificate(&mut self, ended: Ended, connected: bool) -> Ended {
        let (now, wall) = (self.rim.now(), self.wall_time());
        let Some(renewal) = &mut self.renewal else { return ended };
        renewal.session_ended(now, wall, &*self.rim.random);
        let why = match &ended {
            Ended::Refused(trouble) => NotAccepted::Refused(&trouble.words),
            Ended::Hinted(trouble) => NotAccepted::Hinted(&trouble.words),
            Ended::Lost(_) => NotAccepted::Silent,
            _ => return ended,
        };
        if connected || !renewal.not_accepted(why) {
            return ended;
        }
        // Waiting may mend it after all: the next attempt shows another certificate.
        match ended {
            Ended::Refused(trouble) | Ended::Hinted(trouble) => {
                let words = format!("{}; the certificate before is shown next", trouble.words);
                Ended::Lost(Trouble { words, ..trouble })
            }
            ended => ended,
        }
    }

    /// Has the disk keep what the cloud certified, before it is used.
    pub(super) async fn keep_certificate(&mut self) {
        let rng = self.rng();
        let Some(renewal) = self.renewal.as_mut().filter(|renewal| renewal.has_to_write()) else { return };
        let Some(write) = renewal.next_write(self.rim.now(), rng) else { return };
        // Not on the daemon's one thread: it waits for the disk.
        let written = tokio::task::spawn_blocking(write).await;
        let written = written.unwrap_or_else(|died| Err(std::io::Error::other(died)));
        let now = self.rim.now();
        if let Some(renewal) = &mut self.renewal {
            renewal.written(now, written);
        }
    }

    fn endpoint(&self, seed: coap::Seed) -> Endpoint {
        let window = u32::try_from(self.settings.max_in_flight).unwrap_or(8);
        let config = coap::Config {
            max_in_flight: window.max(MOST_IN_FLIGHT),
            initial_window: window.div_ceil(2),
            token_length: 2,
            max_datagram: 1280,
            ..coap::Config::default()
        };
        Endpoint::new(config, seed)
    }
}

/// Further on by a random distance: should another have gone on from here before, an answer that the cloud kept for it fits nothing
/// that is asked now. Short, so that many restarts within the life of an id (RFC 7252 section 4.8.2: 247 s) do not come round.
fn further(message_id: u16, token: u64, random: u64) -> (u16, u64) {
    let ids = u16::try_from(random & FURTHEST).unwrap_or(0);
    (message_id.wrapping_add(ids), token.wrapping_add(random >> 16 & 0xffff))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dozen_restarts_within_the_life_of_an_id_repeat_none() {
        // A thousand messages in each run.
        const SENT: u16 = 1000;
        let (mut message_id, mut token, mut gone) = (60_000_u16, 0, 0_u32);
        for _ in 0..12 {
            let (next, next_token) = further(message_id, token, u64::MAX);
            assert!(next_token > token);
            gone += u32::from(next.wrapping_sub(message_id)) + u32::from(SENT);
            (message_id, token) = (next.wrapping_add(SENT), next_token);
        }
        assert!(gone < 1 << 16, "{gone}");
        assert_ne!(further(1, 1, 1), further(1, 1, 2), "two runs from one record go on elsewhere");
    }
}
