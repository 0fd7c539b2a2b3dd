//! The seam between the drain and a cloud's device plane.
//!
//! A link is object-safe and no cloud's type appears in it. The drain asks it to send a batch and gets an [`Outcome`];
//! outcomes come in any order, several sends may be under way at once. The link keeps its session to itself: connecting,
//! backoff, keepalive and rate limits are its business, and while it cannot send, a send waits.

use std::ops::Range;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{mpsc, watch};

use crate::reading::Class;
use crate::store::queue::{Epoch, Owed, QueuedRow};

/// What a link is able to do, so that the drain packs for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// The longest message body it takes, in bytes.
    pub max_message_bytes: usize,
    /// Messages in flight at once that make sense.
    pub max_in_flight: usize,
}

/// The statement that opens an epoch at a destination: this epoch, the one before, and where that one ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EpochStatement {
    /// The epoch that begins.
    pub epoch: Epoch,
    /// The one before, with the last sequence of each of its groups.
    pub previous: Option<(Epoch, Vec<(String, u64)>)>,
}

/// What [`Link::pack`] made of the head of a list of readings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packed {
    /// The message, as it goes on the wire.
    pub message: Message,
    /// How many of the readings (or records) are in it; the rest is for the next message.
    pub rows: usize,
}

/// One message, kept byte for byte until it is settled: a repetition is the same bytes under the same identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// For brokers: the topic. For Golioth: the path below `.s/`.
    pub address: String,
    /// The body.
    pub body: Vec<u8>,
    /// The class of the readings in it.
    pub class: Class,
    /// How many readings are in it; none in what only tells of some.
    pub readings: usize,
}

/// What became of a send. Anything a cloud answers that is not listed is [`Outcome::Later`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The destination said it has it.
    Acknowledged,
    /// The rows stay, the class waits.
    Later {
        /// At least this long.
        after: Duration,
    },
    /// The rows stay; the link stops sending until its configuration or the cloud's changes, and says so.
    LinkSick {
        /// What is so.
        why: String,
        /// What a person should do next.
        next_step: String,
    },
    /// The message is too long for the destination; it is packed again, smaller.
    TooLarge {
        /// The limit it named, if it did.
        limit: Option<usize>,
    },
    /// The destination refuses the content; the batch is halved until the one row it refuses is alone.
    Bad {
        /// What it said.
        why: String,
    },
    /// No answer: it may or may not have it. The same bytes are sent again.
    Unknown,
}

/// A deployment, in no cloud's terms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Grows with each deployment, as a rule.
    pub sequence_number: u64,
    /// What should run.
    pub components: Vec<ManifestComponent>,
}

/// One package of a deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestComponent {
    /// Package name.
    pub package: String,
    /// Version text, compared for equality only.
    pub version: String,
    /// SHA-256 of the image.
    pub sha256: [u8; 32],
    /// Its size.
    pub size_bytes: u64,
    /// Where the link fetches it.
    pub uri: String,
}

/// A call of a method of this gateway, made at a cloud.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Names it at the cloud; is given back with the answer.
    pub id: String,
    /// What to do.
    pub method: String,
    /// With what: scalars, in order. An object stands for something that is none.
    pub params: Vec<serde_json::Value>,
}

/// The settings a cloud has for this gateway, all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The cloud's number of this state of them, given back with what became of them.
    pub version: Option<i64>,
    /// Key and value: a scalar, or an object for something that is none. `None`: the cloud has none, and asks for no report.
    pub values: Option<Vec<(String, serde_json::Value)>>,
}

/// What is wrong with a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettingFault {
    /// No such setting here, or none that may be set from afar.
    NotRecognized,
    /// A key that no setting could have.
    KeyNotValid,
    /// Not of its type.
    FormatNotValid,
    /// Beyond its bounds.
    OutsideRange,
    /// A text too long to be one.
    TooLong,
    /// It is right, and could not be kept.
    General,
}

/// What a cloud says of its own accord. How the way to it is, is a state and no event: see [`Link::up`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CloudEvent {
    /// What should be deployed.
    Manifest(Manifest),
    /// A method is called. It is answered once, by [`Report::CallAnswer`].
    Call(Call),
    /// The settings as they are now. They are answered by [`Report::SettingsStatus`].
    Settings(Settings),
    /// The document of what operators want of this gateway as it is now; null where there is none.
    Desired(serde_json::Value),
}

/// Bytes of an artifact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Where they begin, bytes from the start of the artifact.
    pub offset: u64,
    /// The bytes, at least one.
    pub bytes: Vec<u8>,
}

/// An artifact that is being fetched, by whoever writes it down: blocks come in no order, each byte once. Nothing is fetched
/// faster than it is taken. Dropping it ends the download.
#[derive(Debug)]
pub struct Blocks {
    arrived: mpsc::Receiver<Result<Block, FetchError>>,
    /// Bytes still to come.
    left: u64,
}

impl Blocks {
    /// Blocks of which `left` bytes are to come, and the end that hands them over: at most `room` of them wait.
    #[must_use]
    pub fn new(room: usize, left: u64) -> (mpsc::Sender<Result<Block, FetchError>>, Self) {
        let (sender, arrived) = mpsc::channel(room.max(1));
        (sender, Self { arrived, left })
    }

    /// The next block, in no order; `None` when all that was asked for has been handed out.
    ///
    /// # Errors
    /// [`FetchError`]; blocks handed out before stay right, unless it is [`FetchError::Changed`].
    pub async fn next(&mut self) -> Result<Option<Block>, FetchError> {
        if self.left == 0 {
            return Ok(None);
        }
        let gone = || FetchError::Interrupted { why: "the link was closed during the download".into() };
        let block = self.arrived.recv().await.ok_or_else(gone)??;
        self.left = self.left.saturating_sub(block.bytes.len() as u64);
        Ok(Some(block))
    }
}

/// Why an artifact does not come, or not to its end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// This kind of link serves no artifacts.
    #[error("this destination serves no firmware; only a cloud that deploys does")]
    Unsupported,
    /// It stopped on the way, or the cloud is busy. Go on later with what is there.
    #[error("the download was interrupted: {why}; it goes on later where it stopped")]
    Interrupted {
        /// What happened.
        why: String,
    },
    /// Another file is there now. What was fetched is of no use.
    #[error(
        "the file changed at the cloud while it was fetched; what came is thrown away, and it is fetched anew"
    )]
    Changed,
    /// The cloud does not give it, or not as it was announced. The same request will fare no better.
    #[error("the cloud does not serve this firmware: {why}. Check the release in the cloud's console")]
    Refused {
        /// What it answers.
        why: String,
    },
}

/// What the gateway reports of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// A firmware component's state.
    Component {
        /// Package name.
        package: String,
        /// Running version, if known.
        version: Option<String>,
        /// Wanted version, if any.
        target: Option<String>,
        /// Golioth's numbering: 0 idle, 1 downloading, 2 downloaded, 3 updating.
        state: u8,
        /// Golioth's reason numbering.
        reason: u8,
    },
    /// A page of the firmware log, new to this cloud ([`crate::store::gateway::pages`]). Acknowledged, it is not sent again.
    FirmwareLog {
        /// JSON, at most [`Capabilities::max_message_bytes`] long.
        page: Vec<u8>,
    },
    /// The answer to a call.
    CallAnswer {
        /// Of [`Call::id`].
        id: String,
        /// A gRPC status code, 0 to 16.
        code: u8,
        /// What it gave.
        detail: Option<serde_json::Map<String, serde_json::Value>>,
    },
    /// What became of the settings.
    SettingsStatus {
        /// Of [`Settings::version`].
        version: Option<i64>,
        /// Those that are not in force, by key as the cloud sent it.
        faults: Vec<(String, SettingFault)>,
    },
    /// A part of what this gateway says of its own state. Objects merge into what the cloud has, all else replaces.
    State {
        /// Where in the document; empty for all of it.
        path: String,
        /// What is there; `None`: nothing any more.
        value: Option<serde_json::Value>,
    },
    /// A line of the daemon's own log.
    Log {
        /// How serious.
        level: tracing::Level,
        /// Which part of the program.
        module: String,
        /// What happened.
        message: String,
    },
    /// The cell that serves the modem.
    Network(ServingCell),
    /// What takes the way of the readings and is none, to tell where that way ends.
    Probe {
        /// As of a [`Message`] with readings.
        address: String,
        /// By which a person finds it at the cloud.
        mark: String,
        /// When it is sent, if the time is trusted, Unix milliseconds.
        unix_ms: Option<i64>,
    },
}

/// A cell of the mobile network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServingCell {
    /// NB-IoT; else LTE-M.
    pub narrowband: bool,
    /// Mobile country code.
    pub country: u16,
    /// Mobile network code.
    pub network: u16,
    /// E-UTRAN cell identity.
    pub id: u32,
    /// RSRP, dBm.
    pub strength_dbm: Option<i16>,
}

/// A cloud's device plane.
#[async_trait]
pub trait Link: Send + Sync + std::fmt::Debug {
    /// The destination's name.
    fn name(&self) -> &str;

    /// What to pack for.
    fn capabilities(&self) -> Capabilities;

    /// Packs as many of `rows` (one class, in order, at least one) as fit one message of at most `limit` bytes. `None`
    /// when not even the first row fits.
    fn pack(&self, statement: Option<&EpochStatement>, rows: &[QueuedRow], limit: usize) -> Option<Packed>;

    /// Packs as many of `owed` (at least one) as fit one message of at most `limit` bytes: losses and corrections of times.
    /// `None` when not even the first fits; it is then never told.
    fn pack_owed(&self, owed: &[Owed], limit: usize) -> Option<Packed>;

    /// Sends one message and waits for what becomes of it. May wait for the link to come up; never longer than
    /// `deadline` once the message has left. Dropping the future gives the message up; its outcome is then unknown.
    async fn send(&self, message: &Message, deadline: Duration) -> Outcome;

    /// Reports; the newest report of a component replaces an older one that has not left. What the destination has no place
    /// for is [`Outcome::Bad`].
    async fn report(&self, report: Report) -> Outcome;

    /// Fetches an artifact, but for the ranges of bytes in `have`. One artifact at a time; others wait for it to end, and all
    /// wait for the link to come up.
    ///
    /// # Errors
    /// [`FetchError::Unsupported`]; what happens later is told by [`Blocks::next`].
    async fn fetch(&self, artifact: &ManifestComponent, have: &[Range<u64>]) -> Result<Blocks, FetchError> {
        let _unused = (artifact, have);
        Err(FetchError::Unsupported)
    }

    /// Whether it can send now. While it cannot, nothing is packed: what is urgent then goes first when it can again.
    fn up(&self) -> watch::Receiver<bool>;

    /// What the cloud says of its own accord. Taken once; `None` for a cloud that says nothing. What nobody takes in time is
    /// lost, and all but a call comes again; such a call is answered by the link.
    fn events(&self) -> Option<mpsc::Receiver<CloudEvent>>;
}
