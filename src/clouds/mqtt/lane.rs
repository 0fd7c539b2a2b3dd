//! The lane that keeps the connection: it alone touches rumqttc's event loop.
//!
//! One turn: a new client and event loop, connect, converse until something ends it, give back what has no answer, pause.
//! rumqttc makes its own socket and reads its own clock, so this lane has no place in virtual time.
//!
//! Its poll is only ever dropped together with the connection: dropped in the middle of a write it would forget a packet
//! that it counts as sent.

use std::sync::Arc;
use std::time::Duration;

use rumqttc::{
    AsyncClient, ConnectionError, Event, EventLoop, MqttOptions, NetworkOptions, Outgoing, Packet,
    TlsConfiguration, Transport,
};
use rustls::ClientConfig;
use tokio_util::sync::CancellationToken;

use super::explain;
use super::link::{MAX_MESSAGE_BYTES, Shared};
use super::streak::{End, Lost, STABLE, Streak};
use super::tls;
use crate::board::{Board, LinkPhase, LinkState, in_words};
use crate::clouds::Means;
use crate::config::{Mqtt, Secret};
use crate::daemon::rim::Rim;
use crate::daemon::supervisor::{Lane, LaneError, Progress};
use crate::spend::{Cause, Direction, Purpose, Purse, wire};
use crate::uplink::link::Outcome;

/// Silence is broken after this: below the five minutes after which many mobile networks forget a TCP connection.
const KEEP_ALIVE: Duration = Duration::from_secs(240);
/// Name resolution, TCP, TLS and CONNACK together; also how long one write may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(30);
/// For saying goodbye when the daemon stops.
const FAREWELL: Duration = Duration::from_secs(2);
/// Messages beside those of the drain: reports, and repetitions whose first try nobody waits for any more.
const SPARE: usize = 64;
/// Packet ids before rumqttc begins anew. Many more than messages in flight, so that one the broker never answers is given
/// up long before its id comes around.
const PACKET_IDS: u16 = 512;
/// Nothing is subscribed to: whatever comes is short.
const MAX_INCOMING_BYTES: usize = 4096;
/// Room beside the body: the longest topic, and the headers.
const MAX_OUTGOING_BYTES: usize = MAX_MESSAGE_BYTES + 65_535 + 16;

/// What TLS adds, estimated: a full handshake with a chain of two certificates each way, and a record's header and tag.
const TLS_HANDSHAKE_UP: u64 = 700;
const TLS_HANDSHAKE_DOWN: u64 = 3500;
const TLS_RECORD: u64 = 29;

/// How often the data plan is asked again when it has no room for connecting.
const PLAN_HOLDS: Duration = Duration::from_secs(600);

/// What the lane is told once.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) config: Arc<Mqtt>,
    pub(super) interface: Option<String>,
    pub(super) max_in_flight: usize,
}

/// Builds the lane.
pub(super) fn lane(settings: Settings, shared: Arc<Shared>, means: Means<'_>) -> Lane {
    let settings = Arc::new(settings);
    let (rim, board) = (means.rim.clone(), Arc::clone(means.board));
    let (purse, stop) = (Arc::clone(means.purse), means.stop.clone());
    Lane::new(format!("mqtt {}", settings.config.name), move |progress| {
        let keeper = Keeper {
            settings: Arc::clone(&settings),
            shared: Arc::clone(&shared),
            rim: rim.clone(),
            board: Arc::clone(&board),
            purse: Arc::clone(&purse),
            cause: Cause::Session,
            stop: stop.clone(),
            progress,
            state: board.links.get(&settings.config.name).map_or_else(untried, |before| before.value),
            streak: Streak::default(),
            tls: None,
        };
        keeper.run()
    })
}

fn untried() -> LinkState {
    LinkState {
        phase: LinkPhase::Idle,
        words: "not yet tried".into(),
        handshakes: 0,
        bytes_up: 0,
        bytes_down: 0,
        packets: 0,
        in_flight: 0,
        last_heard: None,
        owed_since: None,
    }
}

struct Keeper {
    settings: Arc<Settings>,
    shared: Arc<Shared>,
    rim: Rim,
    board: Arc<Board>,
    purse: Arc<Purse>,
    /// What the newest message was for: answers are taken to be to it.
    cause: Cause,
    stop: CancellationToken,
    progress: Progress,
    /// As it stands on the board. Bytes are an estimate: rumqttc does not tell what it writes and reads, so the sizes of
    /// the MQTT packets are added up, over TLS with what it usually adds. TCP and IP headers are not in it,
    /// but in what is charged to the data plan.
    state: LinkState,
    streak: Streak,
    /// Kept over connections, so that TLS sessions can be resumed.
    tls: Option<Arc<ClientConfig>>,
}

/// Whatever ends the lane's life, nobody waits for a connection that no longer exists.
struct GiveBack(Arc<Shared>);

impl Drop for GiveBack {
    fn drop(&mut self) {
        self.0.closed();
        self.0.give_back(|_| Outcome::Unknown);
    }
}

/// Messages that left on this connection, and those that were acknowledged.
#[derive(Debug, Default)]
struct Tally {
    published: u64,
    acknowledged: u64,
}

/// Why a conversation ended.
enum Over {
    Stopped,
    Error(ConnectionError),
    Ours(String),
}

impl Keeper {
    async fn run(mut self) -> Result<(), LaneError> {
        let _give_back = GiveBack(Arc::clone(&self.shared));
        loop {
            if let Some((until, why)) =
                self.purse.link_refused(&self.settings.config.name, self.connecting_bytes())
            {
                let now = self.rim.now();
                let until = until.clamp(now + Duration::from_secs(1), now + PLAN_HOLDS);
                self.say(LinkPhase::Waiting, format!("not connected: {}", why.words()));
                self.progress.waiting("waiting for the data plan", PLAN_HOLDS);
                tokio::select! {
                    biased;
                    () = self.stop.cancelled() => return Ok(()),
                    () = self.purse.alarm_comes(&self.settings.config.name) => continue,
                    () = self.rim.sleep_until(until) => continue,
                }
            }
            let end = self.connection().await;
            self.shared.closed();
            if end == End::Stopped {
                self.shared.give_back(|_| Outcome::Unknown);
                self.say(LinkPhase::Idle, "stopped".into());
                return Ok(());
            }
            self.conclude(&end);
            let verdict = self.streak.after(&end, &self.settings.config.client_id, self.rim.random.u64());
            self.shared.give_back(|pending| verdict.unanswered(pending.body_bytes));
            let words = format!("{}; next attempt in {}", verdict.words, in_words(verdict.pause));
            let destination = &self.settings.config.name;
            if let Some(sick) = verdict.sick {
                tracing::error!(
                    destination,
                    why = sick.why,
                    next_step = sick.next_step,
                    "the broker is of no use"
                );
                self.shared.fall_sick(sick);
                self.say(LinkPhase::Sick, words);
            } else {
                tracing::warn!(destination, "{words}");
                self.say(LinkPhase::Waiting, words);
            }
            self.progress.waiting("pausing before the next attempt", verdict.pause);
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return Ok(()),
                () = self.rim.sleep(verdict.pause) => {}
            }
        }
    }

    /// One connection, from its making to its end.
    async fn connection(&mut self) -> End {
        let options = match self.options() {
            Ok(options) => options,
            Err(end) => return end,
        };
        self.say(LinkPhase::Connecting, "connecting".into());
        self.progress.waiting("connecting", CONNECT_WITHIN);
        let (client, mut events) = AsyncClient::new(options, self.settings.max_in_flight + SPARE);
        events.set_network_options(self.network_options());
        let connected = tokio::select! {
            biased;
            () = self.stop.cancelled() => return End::Stopped,
            event = events.poll() => event,
        };
        // Nothing was written where not even TCP came up.
        if !matches!(connected, Err(ConnectionError::Io(_) | ConnectionError::NetworkTimeout)) {
            self.count_connecting();
        }
        if let Err(error) = connected {
            return explain::before_up(&error, &self.settings.config);
        }
        let since = self.rim.now();
        self.state.handshakes += 1;
        self.heard(4);
        self.progress.advanced();
        self.shared.opened(client.clone());
        tracing::info!(destination = self.settings.config.name, "connected");

        let mut tally = Tally::default();
        let over = self.converse(&mut events, since, &mut tally).await;
        self.shared.closed();
        // What arrived together with the end counts: it saves a repetition.
        for event in std::mem::take(&mut events.state.events) {
            let _ = self.take(&event, &mut tally);
        }
        let (why, by_peer) = match over {
            Over::Stopped => {
                self.say_goodbye(&client, &mut events, &mut tally).await;
                return End::Stopped;
            }
            Over::Error(error) => explain::once_up(&error, &self.settings.config),
            Over::Ours(why) => (why, false),
        };
        let lived = self.rim.now().saturating_sub(since);
        End::Lost(Lost { lived, published: tally.published, acknowledged: tally.acknowledged, by_peer, why })
    }

    async fn converse(&mut self, events: &mut EventLoop, since: Duration, tally: &mut Tally) -> Over {
        loop {
            let words = self.words_while_up(since);
            self.say(LinkPhase::Up, words);
            self.progress.waiting("connected", KEEP_ALIVE * 2);
            let mut poll = std::pin::pin!(events.poll());
            let event = loop {
                let give_up_at = self.shared.give_up_at();
                tokio::select! {
                    biased;
                    () = self.stop.cancelled() => return Over::Stopped,
                    event = &mut poll => break event,
                    () = self.shared.handed.notified() => self.show(),
                    () = self.rim.sleep_until(give_up_at.unwrap_or_default()), if give_up_at.is_some() => {
                        return Over::Ours("the broker did not acknowledge a message in time".into());
                    }
                }
            };
            match event {
                Err(error) => return Over::Error(error),
                Ok(event) => {
                    if let Err(why) = self.take(&event, tally) {
                        return Over::Ours(why);
                    }
                }
            }
        }
    }

    /// Takes one event into account. An error ends the connection.
    fn take(&mut self, event: &Event, tally: &mut Tally) -> Result<(), String> {
        match event {
            Event::Outgoing(Outgoing::Publish(id)) => {
                let (topic, body, cause) = self.shared.left(*id).map_err(|confused| confused.to_string())?;
                self.cause = cause;
                tally.published += 1;
                self.wrote(packet_bytes(2 + topic + 2 + body));
            }
            Event::Incoming(Packet::PubAck(acknowledgement)) => {
                self.heard(4);
                if self.shared.acknowledged(acknowledgement.pkid) {
                    tally.acknowledged += 1;
                    self.progress.advanced();
                }
            }
            // rumqttc holds everything back until the broker answers this id, and later gives up in a loop.
            Event::Outgoing(Outgoing::AwaitAck(id)) => {
                return Err(format!("the broker left packet {id} unanswered while it answered later ones"));
            }
            Event::Outgoing(Outgoing::PingReq) => {
                self.state.owed_since.get_or_insert(self.rim.clock.mono());
                self.cause = Cause::Session;
                self.wrote(2);
            }
            Event::Outgoing(_) => {
                self.cause = Cause::Session;
                self.wrote(2);
            }
            Event::Incoming(Packet::Publish(publish)) => {
                self.heard(packet_bytes(2 + publish.topic.len() + 2 + publish.payload.len()));
            }
            Event::Incoming(_) => self.heard(2),
        }
        Ok(())
    }

    /// Ends the connection as the protocol wants it. Answers that come meanwhile count.
    async fn say_goodbye(&mut self, client: &AsyncClient, events: &mut EventLoop, tally: &mut Tally) {
        if client.try_disconnect().is_err() {
            return;
        }
        let until = self.rim.now() + FAREWELL;
        loop {
            tokio::select! {
                biased;
                event = events.poll() => match event {
                    Ok(Event::Outgoing(Outgoing::Disconnect)) | Err(_) => return,
                    Ok(event) => {
                        let _ = self.take(&event, tally);
                    }
                },
                () = self.rim.sleep_until(until) => return,
            }
        }
    }

    fn options(&mut self) -> Result<MqttOptions, End> {
        let config = Arc::clone(&self.settings.config);
        // rumqttc joins host and port with a colon and splits at the last one: IPv6 goes without brackets.
        let mut options = MqttOptions::new(&config.client_id, &config.broker.host, config.broker.port);
        options
            .set_clean_session(true)
            .set_keep_alive(KEEP_ALIVE)
            .set_inflight(PACKET_IDS)
            .set_max_packet_size(MAX_INCOMING_BYTES, MAX_OUTGOING_BYTES);
        if let Some(username) = &config.username {
            // Configuration takes only text for a password.
            let password = config.password.as_ref().and_then(Secret::expose_str).unwrap_or_default();
            options.set_credentials(username, password);
        }
        if config.tls {
            let client = match &self.tls {
                Some(client) => Arc::clone(client),
                None => tls::client(config.ca_file.as_deref(), &self.rim.clock).map_err(End::Refused)?,
            };
            self.tls = Some(Arc::clone(&client));
            options.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(client)));
        }
        Ok(options)
    }

    fn network_options(&self) -> NetworkOptions {
        let mut options = NetworkOptions::new();
        options.set_connection_timeout(CONNECT_WITHIN.as_secs());
        if let Some(interface) = &self.settings.interface {
            options.set_bind_device(interface);
        }
        options
    }

    /// Draws what has to be drawn from an end before the pause.
    fn conclude(&mut self, end: &End) {
        if matches!(end, End::Refused(_)) {
            // The certificates may be mended meanwhile: they are read again.
            self.tls = None;
        }
    }

    fn words_while_up(&self, since: Duration) -> String {
        let mut words = String::from("connected");
        if self.settings.config.tls && !self.rim.clock.wall().trusted {
            words += "; the dates of the broker's certificate wait for a trusted clock";
        }
        if self.rim.now().saturating_sub(since) < STABLE && self.streak.suspects_another_client() {
            words += "; another client seems to use the same client id, which ends this connection again and again: \
                      give each its own client_id";
        }
        words
    }

    fn say(&mut self, phase: LinkPhase, words: String) {
        (self.state.phase, self.state.words) = (phase, words);
        self.show();
    }

    fn show(&mut self) {
        self.state.in_flight = u32::try_from(self.shared.in_flight()).unwrap_or(u32::MAX);
        if self.state.phase != LinkPhase::Up {
            self.state.owed_since = None;
        } else if self.state.in_flight > 0 {
            self.state.owed_since.get_or_insert(self.rim.clock.mono());
        }
        self.board.links.set(&self.settings.config.name, self.rim.clock.mono(), self.state.clone());
    }

    fn count_connecting(&mut self) {
        let config = Arc::clone(&self.settings.config);
        self.cause = Cause::Session;
        let overhead = wire::lookup(&config.broker.host) + wire::TCP_CONNECTION;
        self.purse.charge(Purpose::Session, Direction::Up, overhead);
        let text = |text: &str| 2 + text.len();
        let credentials = config.username.as_deref().map_or(0, text)
            + config.password.as_ref().map_or(0, |password| 2 + password.expose().len());
        self.wrote(packet_bytes(10 + text(&config.client_id) + credentials));
        if config.tls {
            self.state.bytes_up += TLS_HANDSHAKE_UP;
            self.state.bytes_down += TLS_HANDSHAKE_DOWN;
            self.purse.charge(Purpose::Session, Direction::Up, TLS_HANDSHAKE_UP + 2 * wire::TCP_SEGMENT);
            self.purse.charge(Purpose::Session, Direction::Down, TLS_HANDSHAKE_DOWN + 3 * wire::TCP_SEGMENT);
        }
    }

    fn wrote(&mut self, bytes: u64) {
        self.state.bytes_up += bytes + self.record();
        self.state.packets += 1;
        self.charge(Direction::Up, bytes + self.record());
    }

    fn heard(&mut self, bytes: u64) {
        self.state.bytes_down += bytes + self.record();
        self.state.packets += 1;
        self.charge(Direction::Down, bytes + self.record());
        (self.state.last_heard, self.state.owed_since) = (Some(self.rim.clock.mono()), None);
    }

    /// Charges a packet in segments of its own, and their acknowledgements.
    fn charge(&self, direction: Direction, bytes: u64) {
        self.purse.caused(&self.settings.config.name, self.cause, direction, wire::stream(bytes));
    }

    /// What there must be room for before connecting.
    fn connecting_bytes(&self) -> u64 {
        let tls = if self.settings.config.tls { TLS_HANDSHAKE_UP + TLS_HANDSHAKE_DOWN } else { 0 };
        tls + wire::TCP_CONNECTION + 5 * wire::TCP_SEGMENT
    }

    fn record(&self) -> u64 {
        if self.settings.config.tls { TLS_RECORD } else { 0 }
    }
}

/// The whole packet around so many bytes: type, and one to four bytes of length (MQTT 3.1.1 section 2.2).
fn packet_bytes(remaining: usize) -> u64 {
    let length = match remaining {
        0..128 => 1,
        128..16_384 => 2,
        16_384..2_097_152 => 3,
        _ => 4,
    };
    1 + length + u64::try_from(remaining).unwrap_or(u64::MAX / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_is_as_long_as_the_protocol_makes_it() {
        for (remaining, bytes) in [(2, 4), (127, 129), (128, 131), (16_383, 16_386), (16_384, 16_388)] {
            assert_eq!(packet_bytes(remaining), bytes);
        }
    }
}
