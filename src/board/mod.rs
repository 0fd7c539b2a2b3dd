//! What the gateway knows now: one typed, stamped, watchable cell a fact.
//!
//! Rooms on the lane floor never import each other; what one learns and another needs goes through here. A cell holds the
//! newest value and when it was learned; a reader may look or wait for a change. Nothing here is history, and nothing here
//! is needed to lose nothing: the store does not depend on it. What a room may ask of another is here too ([`Asks`]).

mod asks;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;

use crate::clock::Mono;
use crate::clock::sources::{Contradiction, Source};
use crate::reading::{Quality, Value};

pub use asks::{Asks, Console, ConsoleAsk, Hands, Tuning};

/// A fact and when it was learned.
#[derive(Clone, Debug, PartialEq)]
pub struct Stamped<T> {
    /// The fact.
    pub value: T,
    /// When it was learned.
    pub at: Mono,
}

/// One fact that changes: empty until it is first learned.
#[derive(Debug)]
pub struct Cell<T>(watch::Sender<Option<Stamped<T>>>);

impl<T> Default for Cell<T> {
    fn default() -> Self {
        Self(watch::Sender::new(None))
    }
}

impl<T: Clone + PartialEq> Cell<T> {
    /// Writes the newest value. Readers that wait are woken only when it differs.
    pub fn set(&self, at: Mono, value: T) {
        self.0.send_if_modified(|cell| {
            let changed = cell.as_ref().is_none_or(|old| old.value != value);
            *cell = Some(Stamped { value, at });
            changed
        });
    }

    /// Empties it: what it held can no longer be vouched for.
    pub fn forget(&self) {
        self.0.send_if_modified(|cell| cell.take().is_some());
    }

    /// The newest value.
    #[must_use]
    pub fn get(&self) -> Option<Stamped<T>> {
        self.0.borrow().clone()
    }

    /// Watches it.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Option<Stamped<T>>> {
        self.0.subscribe()
    }
}

/// A cell for each of a set of names.
#[derive(Debug)]
pub struct Cells<T>(Mutex<BTreeMap<String, Stamped<T>>>);

impl<T> Default for Cells<T> {
    fn default() -> Self {
        Self(Mutex::new(BTreeMap::new()))
    }
}

impl<T: Clone> Cells<T> {
    /// Writes the newest value of `name`.
    pub fn set(&self, name: &str, at: Mono, value: T) {
        if let Ok(mut cells) = self.0.lock() {
            if let Some(cell) = cells.get_mut(name) {
                *cell = Stamped { value, at };
            } else {
                cells.insert(name.to_owned(), Stamped { value, at });
            }
        }
    }

    /// The newest value of `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Stamped<T>> {
        self.0.lock().ok()?.get(name).cloned()
    }

    /// All of them, by name.
    #[must_use]
    pub fn all(&self) -> BTreeMap<String, Stamped<T>> {
        self.0.lock().map(|cells| cells.clone()).unwrap_or_default()
    }
}

/// Whose time is followed, and who disagrees. The time itself is the clock's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockState {
    /// Whose; nobody's while nobody vouches for any.
    pub source: Option<Source>,
    /// Somebody of a lower rank cannot be right.
    pub contradicted_by: Option<Contradiction>,
    /// Somebody says a time that has certainly passed.
    pub in_the_past: Option<Source>,
    /// The last time since the daemon's start that the time turned out to have been wrong.
    pub corrected: Option<ClockCorrection>,
}

/// The time was wrong by more than it was stated to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockCorrection {
    /// When that was found out.
    pub at: Mono,
    /// By how much the right time is ahead of the wrong one, milliseconds.
    pub ahead_ms: i64,
    /// Whose was wrong.
    pub believed: Source,
    /// Whose is followed since.
    pub now: Source,
}

/// What time the modem says it was at the stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetworkTime {
    /// Unix milliseconds.
    pub unix_ms: i64,
    /// How far off that may be, either way.
    pub uncertainty_ms: u32,
}

/// How good the radio is, as people say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignalGrade {
    /// Nothing known.
    Unknown,
    /// Hardly usable.
    VeryPoor,
    /// Retries are normal.
    Poor,
    /// Works.
    Fair,
    /// Works well.
    Good,
    /// As good as it gets.
    Excellent,
}

/// What the modem last said of the radio.
#[derive(Clone, Debug, PartialEq)]
pub struct Signal {
    /// dBm.
    pub rsrp_dbm: Option<f32>,
    /// dB.
    pub rsrq_db: Option<f32>,
    /// dB.
    pub snr_db: Option<f32>,
    /// For people.
    pub grade: SignalGrade,
}

/// Where the modem stands with the network.
#[derive(Clone, Debug, PartialEq)]
pub struct Registration {
    /// Registered, home or roaming.
    pub registered: bool,
    /// Roaming.
    pub roaming: bool,
    /// In words, for people: `registered, roaming`, `searching`, `SIM failure`.
    pub words: String,
    /// Operator, numeric or by name.
    pub operator: Option<String>,
    /// Its number: country and network code, five or six digits.
    pub plmn: Option<String>,
    /// `LTE-M`, `NB-IoT`.
    pub access: Option<String>,
    /// Band.
    pub band: Option<u16>,
    /// Cell, hexadecimal as the network writes it.
    pub cell: Option<String>,
}

/// Who the modem is. The subscriber's numbers are [`Hidden`]: masked wherever they are shown.
#[derive(Clone, Debug, PartialEq)]
pub struct ModemIdentity {
    /// `Serial Modem v1.99.0`, `plain AT firmware`.
    pub application: String,
    /// `nRF9151 LACA A1A`.
    pub hardware: Option<String>,
    /// `mfw_nrf91x1_2.0.4`.
    pub firmware: Option<String>,
    /// Equipment identity.
    pub imei: Option<Hidden>,
    /// Card identity.
    pub iccid: Option<Hidden>,
    /// Subscriber identity.
    pub imsi: Option<Hidden>,
}

/// Whether the modem answers, and what it says of itself; the network's side is [`Registration`].
#[derive(Clone, Debug, PartialEq)]
pub struct ModemState {
    /// Where the lane stands with it.
    pub phase: ModemPhase,
    /// In words: what is so, and what to do when something is wrong.
    pub words: String,
    /// Nothing about it needs attention.
    pub fine: bool,
}

/// Where the modem's lane stands with the modem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModemPhase {
    /// The port is not open: not there, held by another, or closed before the next attempt.
    NoPort,
    /// The port is open; who answers is being found out.
    Probing,
    /// Something answers; it is being identified and told what to report.
    Starting,
    /// It answers and reports.
    Up,
    /// An answer is overdue; what is on the board may be old.
    Doubtful,
    /// It restarted by itself; it is set up again in a moment.
    Restarted,
    /// Its application waits for firmware and does nothing else.
    Bootloader,
}

/// A number that identifies a subscriber: shown masked until roles exist.
#[derive(Clone, PartialEq, Eq)]
pub struct Hidden(String);

impl Hidden {
    /// Wraps it.
    #[must_use]
    pub fn new(number: impl Into<String>) -> Self {
        Self(number.into())
    }

    /// All but the last four characters replaced.
    #[must_use]
    pub fn masked(&self) -> String {
        let keep = self.0.chars().count().saturating_sub(4);
        self.0.chars().enumerate().map(|(n, c)| if n < keep { '•' } else { c }).collect()
    }
}

impl std::fmt::Debug for Hidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.masked())
    }
}

/// A link to a destination, as people need to know it.
#[derive(Clone, Debug, PartialEq)]
pub struct LinkState {
    /// Where it stands.
    pub phase: LinkPhase,
    /// In words: what is so, and what to do when something is wrong.
    pub words: String,
    /// Handshakes completed since the daemon started.
    pub handshakes: u64,
    /// Bytes sent, UDP or TCP payload.
    pub bytes_up: u64,
    /// Bytes received, UDP or TCP payload.
    pub bytes_down: u64,
    /// Datagrams (or segments' worth of writes) sent and received, for header arithmetic.
    pub packets: u64,
    /// Messages sent and not yet answered.
    pub in_flight: u32,
    /// The last answer of any kind.
    pub last_heard: Option<Mono>,
    /// Since when an answer is owed: when the oldest that is still unanswered was sent, or, if something else was heard
    /// since, when that was. Nothing while the link is not up.
    pub owed_since: Option<Mono>,
}

/// An answer that is owed for longer is overdue: even the slowest first repetition (3 s, RFC 7252 section 4.8.2) has then been
/// sent and had time to be answered.
pub const ANSWER_OVERDUE: Duration = Duration::from_secs(10);

/// Where a link stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkPhase {
    /// Not yet tried.
    Idle,
    /// Resolving, shaking hands.
    Connecting,
    /// Ready to send.
    Up,
    /// It was ready to send, and what was sent is not answered for longer than [`ANSWER_OVERDUE`]. No lane says so: it is
    /// seen by whoever looks.
    Silent,
    /// Waiting before the next attempt.
    Waiting,
    /// The cloud refuses in a way that waiting does not mend; somebody must act.
    Sick,
}

/// How a destination takes what it is sent; the way to it is [`LinkState`].
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct DestinationState {
    /// It refuses readings so that nothing more is sent for now: why, and what to do next.
    pub refuses: Option<String>,
}

/// What is known of the way of acknowledged readings beyond the cloud's door.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct DeliveryState {
    /// In words; where they are lost, what to do next.
    pub words: String,
    /// The cloud drops what it acknowledges.
    pub unrouted: bool,
    /// Readings that were acknowledged and lost since the daemon started, at most.
    pub lost: u64,
}

/// How a bus slave does.
#[derive(Clone, Debug, PartialEq)]
pub struct SlaveState {
    /// The bus.
    pub bus: String,
    /// In words: `answering`, `silent for 40 s, asked again in 8 s`.
    pub words: String,
    /// It answered the last time it was asked.
    pub answering: bool,
    /// Answers since start.
    pub answers: u64,
    /// Polls without a usable answer since start.
    pub failures: u64,
    /// The last time it answered.
    pub last_answer: Option<Mono>,
    /// What it refuses to tell, if anything: it answered, so the wiring is not at fault.
    pub refusal: Option<SlaveRefusal>,
}

/// A read that a slave answers with an exception.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlaveRefusal {
    /// The streams that are missing for it: the first, and how many more.
    pub streams: String,
    /// What was asked: `holding registers 10 to 11`.
    pub asked: String,
    /// The exception (Modbus Application Protocol V1.1b3, section 7).
    pub exception: u8,
    /// What the exception means: `it has no such address`.
    pub why: &'static str,
}

impl SlaveRefusal {
    /// As what a slave does: `refuses holding register 10 (pump.speed): it has no such address (exception 2)`.
    #[must_use]
    pub fn words(&self) -> String {
        let Self { streams, asked, exception, why } = self;
        format!("refuses {asked} ({streams}): {why} (exception {exception})")
    }
}

/// The newest value of a stream, for display.
#[derive(Clone, Debug, PartialEq)]
pub struct Latest {
    /// The device it belongs to.
    pub device: String,
    /// As captured; a `Steps` value is already multiplied out.
    pub value: Value,
    /// For a stream with a resolution, how many decimals mean something.
    pub decimals: u8,
    /// How far to believe it.
    pub quality: Quality,
    /// UCUM unit.
    pub unit: String,
}

/// How a lane does.
#[derive(Clone, Debug, PartialEq)]
pub struct LaneState {
    /// In words: `advancing`, `waiting for the port, until …`, `failed: …; restarted in 4 s`.
    pub words: String,
    /// Advanced or waits for a named reason.
    pub fine: bool,
    /// It hangs, no restart helped, and it is tried again once an hour only.
    pub excused: bool,
    /// Restarts since the daemon started.
    pub restarts: u32,
    /// When it last advanced.
    pub last_progress: Mono,
}

/// How the writer of one of the two files does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriterState {
    /// In one word.
    pub phase: WriterPhase,
    /// In words.
    pub words: String,
}

/// How a writer does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriterPhase {
    /// It writes, or has nothing to write.
    Working,
    /// One write takes long, or did a moment ago: the disk is slow, and a restart would not make it faster.
    SlowFsync,
    /// One write takes so long that it is not expected to end.
    Stuck,
}

impl WriterPhase {
    /// All of them, the best first.
    pub const ALL: [Self; 3] = [Self::Working, Self::SlowFsync, Self::Stuck];

    /// One word for pages and metrics.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Working => "working",
            Self::SlowFsync => "slow_fsync",
            Self::Stuck => "stuck",
        }
    }
}

/// A firmware component as people and the cloud see it (requirement D10).
#[derive(Clone, Debug, PartialEq)]
pub struct ComponentState {
    /// Package name at the cloud.
    pub package: String,
    /// The registry device.
    pub device: String,
    /// The version that runs, once known.
    pub version: Option<String>,
    /// The version the cloud wants, if it wants one.
    pub target: Option<String>,
    /// Golioth's state word: `IDLE`, `DOWNLOADING`, `DOWNLOADED`, `UPDATING`.
    pub state: &'static str,
    /// In words.
    pub reason: String,
}

/// What the modem counted on the air since it was last told to begin, whoever caused it; bytes, counted in kilobytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataCounters {
    /// Sent.
    pub sent: u64,
    /// Received.
    pub received: u64,
}

/// How spending stands to the data plan (requirement D5). Bytes are those on the wire, headers included.
#[derive(Clone, Debug, PartialEq)]
pub struct DataPlan {
    /// There is a limit.
    pub limited: bool,
    /// What is spent now is spent while roaming.
    pub roaming: bool,
    /// This day, at home.
    pub day: PlanPeriod,
    /// This month, at home.
    pub month: PlanPeriod,
    /// This month, roaming.
    pub roaming_month: PlanPeriod,
    /// This month by purpose, both networks.
    pub by_purpose: Vec<(&'static str, u64)>,
    /// What others sent and received since the daemon started, and by whose counters that is known.
    pub others: Option<Others>,
    /// What waits for the plan, in words, and until when.
    pub waits: Vec<(String, Mono)>,
    /// Destinations whose backlog is thinned: one reading in so many is sent, the others are dropped on record.
    pub thinned: Vec<(String, u64)>,
    /// Bytes on the wire for 100 bytes of message, as learned, by destination and class.
    pub wire_percent: Vec<(String, u64)>,
}

/// What went over the same path and was not charged to the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Others {
    /// Bytes, both ways.
    pub bytes: u64,
    /// By whose counters.
    pub counter: Counter,
}

/// Who counts what goes over the path, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Counter {
    /// The network interface: to the byte.
    Interface,
    /// The modem: in kilobytes, and anew after each of its restarts.
    Modem,
}

impl Counter {
    /// The word for it on the page, in the API and in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Interface => "interface",
            Self::Modem => "modem",
        }
    }
}

/// One period of the data plan.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PlanPeriod {
    /// What counts against the limit.
    pub bytes: u64,
    /// The limit, with what was carried over.
    pub limit: Option<u64>,
    /// What it will be at the end, if it goes on like this.
    pub forecast: Option<u64>,
    /// When that is; `None` without a clock.
    pub ends_unix_ms: Option<i64>,
}

/// What a cloud set of this gateway from afar.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RemoteSettings {
    /// The cloud's number of what is in force.
    pub version: Option<i64>,
    /// Key of the configuration and value, as the configuration writes them.
    pub in_force: Vec<(String, String)>,
    /// What is not in force: the cloud's key, and why in words.
    pub refused: Vec<(String, String)>,
}

/// Everything the gateway knows now, and what may be asked. One instance, shared.
#[derive(Debug, Default)]
pub struct Board {
    /// See [`Signal`].
    pub signal: Cell<Signal>,
    /// See [`Registration`].
    pub registration: Cell<Registration>,
    /// See [`ModemIdentity`].
    pub modem: Cell<ModemIdentity>,
    /// See [`ModemState`].
    pub modem_state: Cell<ModemState>,
    /// Supply voltage at the modem, millivolts.
    pub modem_millivolts: Cell<u32>,
    /// Modem temperature, degrees Celsius.
    pub modem_celsius: Cell<i16>,
    /// See [`ClockState`].
    pub clock: Cell<ClockState>,
    /// See [`NetworkTime`].
    pub network_time: Cell<NetworkTime>,
    /// See [`DataCounters`].
    pub data_counters: Cell<DataCounters>,
    /// See [`DataPlan`].
    pub data_plan: Cell<DataPlan>,
    /// Links by destination name.
    pub links: Cells<LinkState>,
    /// Destinations by name.
    pub destinations: Cells<DestinationState>,
    /// Deliveries by destination name.
    pub deliveries: Cells<DeliveryState>,
    /// Slaves by name.
    pub slaves: Cells<SlaveState>,
    /// Streams by full name.
    pub latest: Cells<Latest>,
    /// Lanes by name.
    pub lanes: Cells<LaneState>,
    /// Writers by file name.
    pub writers: Cells<WriterState>,
    /// Components by package name.
    pub components: Cells<ComponentState>,
    /// See [`RemoteSettings`].
    pub settings: Cell<RemoteSettings>,
    /// What may be asked of others.
    pub asks: Asks,
}

impl Board {
    /// An empty board, to be shared.
    #[must_use]
    pub fn shared() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// The links as people need to see them: one that owes an answer for too long is silent, whatever its lane still hopes
    /// for, and one over which the destination refuses what it is sent is sick, however well it is connected.
    #[must_use]
    pub fn links_as_seen(&self, now: Mono) -> BTreeMap<String, Stamped<LinkState>> {
        let mut links = self.links.all();
        for link in links.values_mut().map(|link| &mut link.value) {
            let owed = link.owed_since.map(|since| now.since(since)).filter(|owed| *owed > ANSWER_OVERDUE);
            if let (LinkPhase::Up, Some(owed)) = (link.phase, owed) {
                (link.phase, link.words) = (
                    LinkPhase::Silent,
                    format!("no answer since {}; what was sent is sent again", in_words(owed)),
                );
            }
        }
        for (name, Stamped { value: delivery, .. }) in self.deliveries.all() {
            let Some(link) = links.get_mut(&name).map(|link| &mut link.value) else { continue };
            if link.phase == LinkPhase::Up {
                if delivery.unrouted {
                    link.phase = LinkPhase::Sick;
                    link.words = delivery.words;
                } else {
                    link.words = format!("{}; {}", link.words, delivery.words);
                }
                if delivery.lost > 0 {
                    link.words.push_str(&format!(
                        " ({} readings at most were acknowledged and lost there since the start)",
                        delivery.lost
                    ));
                }
            }
        }
        for (name, destination) in self.destinations.all() {
            if let (Some(words), Some(link)) = (destination.value.refuses, links.get_mut(&name))
                && matches!(link.value.phase, LinkPhase::Up | LinkPhase::Silent)
            {
                (link.value.phase, link.value.words) = (LinkPhase::Sick, words);
            }
        }
        links
    }
}

/// Says how long ago, for people.
#[must_use]
pub fn ago(now: Mono, then: Mono) -> String {
    in_words(now.since(then)) + " ago"
}

/// Says a duration for people: the two largest units at most.
#[must_use]
pub fn in_words(d: Duration) -> String {
    let s = d.as_secs();
    match s {
        0..60 => format!("{s} s"),
        60..3600 => format!("{} min", s / 60),
        3600..86_400 => format!("{} h {} min", s / 3600, s / 60 % 60),
        _ => format!("{} d {} h", s / 86_400, s / 3600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscribers_number_is_masked_wherever_it_is_printed() {
        let imsi = Hidden::new("204080813630037");
        assert_eq!(imsi.masked(), "•••••••••••0037");
        assert!(!format!("{imsi:?}").contains("20408"));
    }

    #[test]
    fn a_connected_link_whose_destination_refuses_is_shown_sick_with_the_reason() {
        let board = Board::default();
        let link = LinkState {
            phase: LinkPhase::Up,
            words: "connected".into(),
            handshakes: 1,
            bytes_up: 0,
            bytes_down: 0,
            packets: 0,
            in_flight: 0,
            last_heard: None,
            owed_since: None,
        };
        board.links.set("golioth", Mono(1), link);
        let phase = || board.links_as_seen(Mono(4)).remove("golioth").map(|l| (l.value.phase, l.value.words));
        assert_eq!(phase(), Some((LinkPhase::Up, "connected".into())));
        let refuses = Some("too many refusals. Next: look".to_owned());
        board.destinations.set("golioth", Mono(2), DestinationState { refuses });
        assert_eq!(phase(), Some((LinkPhase::Sick, "too many refusals. Next: look".into())));
        board.destinations.set("golioth", Mono(3), DestinationState::default());
        assert_eq!(phase(), Some((LinkPhase::Up, "connected".into())));
    }

    #[test]
    fn a_link_that_owes_an_answer_for_too_long_is_not_shown_as_up() {
        let board = Board::default();
        let seconds = |s: u64| Mono(s * 1_000_000_000);
        let link = LinkState {
            phase: LinkPhase::Up,
            words: "connected".into(),
            handshakes: 1,
            bytes_up: 0,
            bytes_down: 0,
            packets: 0,
            in_flight: 1,
            last_heard: Some(seconds(90)),
            owed_since: Some(seconds(100)),
        };
        board.links.set("golioth", Mono(1), link.clone());
        let seen = |now| board.links_as_seen(seconds(now)).remove("golioth").map(|l| l.value);
        assert_eq!(seen(110), Some(link.clone()), "it may still come");
        let silent = seen(111).unwrap();
        assert_eq!(silent.phase, LinkPhase::Silent);
        assert_eq!(silent.words, "no answer since 11 s; what was sent is sent again");
        board.links.set("golioth", Mono(2), LinkState { phase: LinkPhase::Waiting, ..link.clone() });
        assert_eq!(seen(111).map(|l| l.phase), Some(LinkPhase::Waiting), "its lane knows already");
        board.links.set("golioth", Mono(3), LinkState { owed_since: None, ..link });
        assert_eq!(seen(5000).map(|l| l.phase), Some(LinkPhase::Up), "nothing is owed: silence says nothing");
    }

    #[tokio::test]
    async fn an_unchanged_fact_wakes_nobody_but_is_stamped_anew() {
        let cell = Cell::default();
        cell.set(Mono(1), 5);
        let mut watch = cell.watch();
        watch.mark_unchanged();
        cell.set(Mono(2), 5);
        assert!(!watch.has_changed().unwrap());
        assert_eq!(cell.get(), Some(Stamped { value: 5, at: Mono(2) }));
        cell.set(Mono(3), 6);
        assert!(watch.has_changed().unwrap());
    }

    #[tokio::test]
    async fn a_forgotten_fact_is_gone_and_those_who_watch_learn_it_once() {
        let cell = Cell::default();
        cell.set(Mono(1), 5);
        let mut watch = cell.watch();
        watch.mark_unchanged();
        cell.forget();
        assert_eq!(cell.get(), None);
        assert!(watch.has_changed().unwrap());
        watch.mark_unchanged();
        cell.forget();
        assert!(!watch.has_changed().unwrap());
    }
}
