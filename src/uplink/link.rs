//! The seam between the drain and a cloud's device plane.
//!
//! A link is object-safe and no cloud's type appears in it. The drain asks it to send a batch and gets an [`Outcome`];
//! outcomes come in any order, several sends may be under way at once. The link keeps its session to itself: connecting,
//! backoff, keepalive and rate limits are its business, and while it cannot send, a send waits.

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

    /// Reports; the newest report of a component replaces an older one that has not left.
    async fn report(&self, report: Report) -> Outcome;

    /// Whether it can send now. While it cannot, nothing is packed: what is urgent then goes first when it can again.
    fn up(&self) -> watch::Receiver<bool>;

    /// What the cloud wants deployed, each time it says so. Taken once; `None` for a cloud that deploys nothing.
    fn manifests(&self) -> Option<mpsc::Receiver<Manifest>>;
}
