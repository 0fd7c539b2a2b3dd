//! Facts about destinations and the links to them.

use std::time::Duration;

use super::TroubleKind;
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

/// How the gateway's certificate at a destination stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateState {
    /// Where it stands.
    pub condition: CertificateCondition,
    /// In words: what is so, and what to do when something is to be done.
    pub words: String,
    /// The last moment of the one in use, Unix seconds.
    pub until_unix_s: u64,
}

/// Where a certificate stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateCondition {
    /// It holds for long.
    Valid,
    /// It was renewed lately.
    Renewed,
    /// The next one is asked for, or waits to be shown for the first time.
    Renewing,
    /// It ends soon, and no next one is there.
    ExpiresSoon,
    /// The cloud, or what it gave, does not do; it is asked again.
    RenewalRefused,
    /// It has ended.
    Expired,
    /// Nobody knows, for want of a clock.
    ClockNotTrusted,
}

impl CertificateCondition {
    /// The word for it in the API.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Renewed => "renewed",
            Self::Renewing => "renewing",
            Self::ExpiresSoon => "expires_soon",
            Self::RenewalRefused => "renewal_refused",
            Self::Expired => "expired",
            Self::ClockNotTrusted => "clock_not_trusted",
        }
    }

    /// What is wrong, where somebody has to act before it ends.
    #[must_use]
    pub fn trouble(self) -> Option<TroubleKind> {
        match self {
            Self::ExpiresSoon | Self::Expired => Some(TroubleKind::OwnCertificateEnds),
            Self::RenewalRefused => Some(TroubleKind::RenewalRefused),
            Self::Valid | Self::Renewed | Self::Renewing | Self::ClockNotTrusted => None,
        }
    }
}
