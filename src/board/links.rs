//! Facts about destinations and the links to them.

use std::time::Duration;

use crate::clock::Mono;

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
    /// Then, what to put there so that it does not, as text to copy.
    pub remedy: Option<String>,
    /// Readings that were acknowledged and lost since the daemon started, at most.
    pub lost: u64,
}
