//! The lane that keeps Golioth's session: connects, and when a session has ended, waits and connects again.
//!
//! Owns what outlives a session: the counters, the pace, what people are told. A session itself is `live`. The pauses
//! between attempts are jittered and double; a cloud that refuses us is asked more seldom than one that is out of reach,
//! because asking does not change its mind.

use std::sync::Arc;
use std::time::Duration;

use fieldgate_coap::{self as coap, Endpoint};
use fieldgate_dtls::{self as dtls, CloseReason, Session};
use tokio_util::sync::CancellationToken;

use super::link::{Ends, GoliothLink, Incoming};
use super::live::Live;
use super::pace::Pace;
use crate::board::{Board, LinkPhase, LinkState, in_words};
use crate::clouds::Means;
use crate::config::{Golioth, NetworkPath, Suite};
use crate::daemon::rim::{Datagrams, Rim, UdpTarget};
use crate::daemon::supervisor::{Lane, LaneError, Progress};
use crate::spend::{Direction, Purpose, Purse, Why, wire};
use crate::uplink::policy;

/// The name of the destination, of the lane and of the link on the board.
pub(super) const DESTINATION: &str = "golioth";
/// A handshake is given up after this and tried anew.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(60);
/// A handshake with a cookie, the question for the name before it and the first look at the manifest after it, headers
/// included: what there must be room for before one is begun.
const HANDSHAKE_BYTES: u64 = 2100;
/// How often the data plan is asked again when it has no room for that.
const PLAN_HOLDS: Duration = Duration::from_secs(600);
/// So long may it take to resolve the name and open a socket.
const SOCKET_DEADLINE: Duration = Duration::from_secs(60);
/// Pauses between attempts to connect: full jitter below a bound that doubles from the first to the last.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// The last where the cloud refuses who we are.
const LONGEST_REFUSED_PAUSE: Duration = Duration::from_secs(1800);
/// A session that lived this long starts the pauses over.
const STABLE: Duration = Duration::from_secs(300);

/// Builds the link and the lane that serves it.
///
/// # Errors
/// When the configuration's key is one that DTLS cannot take.
pub fn link(
    config: &Golioth,
    path: &NetworkPath,
    max_in_flight: usize,
    means: Means<'_>,
) -> Result<(Arc<GoliothLink>, Lane), LaneError> {
    let (link, ends) = GoliothLink::new(DESTINATION, &config.stream_path, config.encoding, max_in_flight);
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
        max_in_flight: max_in_flight.max(1),
    });
    let (rim, board) = (means.rim.clone(), Arc::clone(means.board));
    let (purse, stop) = (Arc::clone(means.purse), means.stop.clone());
    let lane = Lane::new(DESTINATION, move |progress| {
        let keeper = Keeper {
            settings: Arc::clone(&settings),
            ends: Arc::clone(&ends),
            rim: rim.clone(),
            board: Arc::clone(&board),
            purse: Arc::clone(&purse),
            stop: stop.clone(),
            progress,
            pace: Pace::new(settings.requests_per_second),
            state: LinkState {
                phase: LinkPhase::Idle,
                words: "not yet tried".into(),
                handshakes: 0,
                bytes_up: 0,
                bytes_down: 0,
                packets: 0,
                in_flight: 0,
                last_heard: None,
                owed_since: None,
            },
        };
        keeper.run()
    });
    Ok((link, lane))
}

#[derive(Debug)]
pub(super) struct Settings {
    client: dtls::ClientConfig,
    target: UdpTarget,
    pub(super) keepalive: Duration,
    requests_per_second: u32,
    pub(super) max_in_flight: usize,
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
    pub(super) pace: Pace,
    pub(super) state: LinkState,
}

/// Why a session ended.
pub(super) enum Ended {
    /// The daemon stops.
    Stopped,
    /// In words, for people; waiting may mend it.
    Lost(String),
    /// In words; the cloud refuses us, and somebody must act.
    Refused(String),
    /// The data plan has no bytes for keeping it; connecting asks the plan again.
    Unaffordable(Why),
}

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
        let mut attempt = 0;
        loop {
            if let Some((until, why)) = self.purse.link_refused(DESTINATION, HANDSHAKE_BYTES) {
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
            let mut up_since = None;
            let ended = self.session(&mut incoming, &mut up_since).await;
            self.ends.up.send_replace(false);
            (self.state.in_flight, self.state.owed_since) = (0, None);
            let (words, phase, longest) = match ended {
                Ended::Stopped => return Ok(()),
                Ended::Unaffordable(why) => {
                    tracing::warn!(why = why.words(), "the session with Golioth is not kept");
                    continue;
                }
                Ended::Lost(words) => (words, LinkPhase::Waiting, LONGEST_PAUSE),
                Ended::Refused(words) => (words, LinkPhase::Sick, LONGEST_REFUSED_PAUSE),
            };
            if up_since.is_some_and(|since| self.rim.now().saturating_sub(since) > STABLE) {
                attempt = 0;
            }
            let pause = policy::backoff(attempt, FIRST_PAUSE, longest, self.rim.random.u64());
            attempt += 1;
            tracing::warn!(why = words, again_in_ms = pause.as_millis(), "no session with Golioth");
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

    pub(super) fn publish(&self) {
        self.board.links.set(DESTINATION, self.rim.clock.mono(), self.state.clone());
    }

    /// Resolves the endpoint's name and opens a socket.
    pub(super) async fn socket(&self) -> Result<Box<dyn Datagrams>, Ended> {
        let target = &self.settings.target;
        let unreachable = |why: &dyn std::fmt::Display| {
            Ended::Lost(format!(
                "{}:{} cannot be reached: {why}. Check the cellular interface and DNS",
                target.host, target.port
            ))
        };
        self.purse.charge(Purpose::Session, Direction::Up, wire::lookup(&target.host));
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(Ended::Stopped),
            socket = self.rim.net.udp(target) => socket.map_err(|error| unreachable(&error)),
            () = self.rim.sleep(SOCKET_DEADLINE) => {
                Err(unreachable(&format!("the name did not resolve within {}", in_words(SOCKET_DEADLINE))))
            }
        }
    }

    /// One session from the first flight to its end. `up_since` tells whether it connected, and when.
    async fn session(&mut self, incoming: &mut Incoming, up_since: &mut Option<Duration>) -> Ended {
        let target = &self.settings.target;
        let words = format!("connecting to {}:{}", target.host, target.port);
        self.say(LinkPhase::Connecting, words);
        self.progress.waiting("connecting", SOCKET_DEADLINE);
        let socket = match self.socket().await {
            Ok(socket) => socket,
            Err(ended) => return ended,
        };
        let random = Arc::clone(&self.rim.random);
        let now = self.rim.now();
        let rng = Box::new(move |bytes: &mut [u8]| random.fill(bytes));
        let session = match Session::client(&self.settings.client, now, rng) {
            Ok(session) => session,
            Err(error) => return Ended::Lost(error.to_string()),
        };
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
        let mut live = Live::new(self, socket, session, Endpoint::new(config, seed));
        let ended = live.run(incoming).await;
        *up_since = live.up_since();
        ended
    }
}

/// What the end of a DTLS session means.
pub(super) fn ended(why: &CloseReason, was_connected: bool) -> Ended {
    let words = why.to_string();
    match why {
        // A refusal during the handshake is about who we are.
        CloseReason::Alert { .. } | CloseReason::HandshakeFailed(_) if !was_connected => {
            Ended::Refused(words)
        }
        // Anyone can forge an alert, but not this one.
        CloseReason::Alert { authenticated: true, .. } => Ended::Refused(format!(
            "{words}. If it happens again: check in the Golioth console that this device is enabled and that its \
             credential belongs to this project"
        )),
        _ => Ended::Lost(words),
    }
}
