//! What a session tells its caller: events, why it ended, what could not be sent, and counts of what was dropped.

use core::fmt;

use crate::{Alert, CertificateProblem, CipherSuite, LibraryError, Subject};

/// Something that happened on a session, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The handshake is complete, or a saved session is back in use.
    Connected(Connection),
    /// One record of application data from the peer, authenticated, never twice.
    Received(Vec<u8>),
    /// A plaintext alert reached a connected session. Anybody could have sent it, so it is a hint to probe the peer, and
    /// the session goes on.
    UnauthenticatedAlert(Alert),
    /// The certificates of a connection whose time was unverified hold against a clock that is trusted now.
    TimeVerified,
    /// The session is over; nothing follows.
    Closed {
        /// Why.
        why: CloseReason,
    },
}

/// What the handshake settled.
#[derive(Clone, PartialEq, Eq)]
pub struct Connection {
    /// The suite in use.
    pub suite: CipherSuite,
    /// The Connection ID this side puts on its records, where one was negotiated and is not empty.
    pub peer_cid: Option<Vec<u8>>,
    /// The Connection ID the peer puts on its records, likewise.
    pub own_cid: Option<Vec<u8>>,
    /// Server role: the identity whose key opened the session.
    pub psk_identity: Option<Vec<u8>>,
    /// Whose certificate the peer has shown, with suites that take one.
    pub peer: Option<Subject>,
    /// The peer's certificates were checked without a trusted clock: they had not ended before the floor. Nothing that cannot be undone
    /// should happen on it before [`Event::TimeVerified`].
    pub time_unverified: bool,
    /// Taken up from a saved session, without a handshake.
    pub restored: bool,
}

impl fmt::Debug for Connection {
    // The identity names a device; it is the caller's choice to show it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("suite", &self.suite)
            .field("peer_cid", &self.peer_cid)
            .field("own_cid", &self.own_cid)
            .field("time_unverified", &self.time_unverified)
            .field("restored", &self.restored)
            .finish_non_exhaustive()
    }
}

/// Why a session is over. `Display` says what happened, what it means and what to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CloseReason {
    /// The peer said goodbye, authenticated.
    CloseNotify,
    /// This side did.
    LocalClose,
    /// The peer sent a fatal alert.
    Alert {
        /// Which.
        alert: Alert,
        /// It came in a protected record. During a handshake alerts usually cannot.
        authenticated: bool,
        /// The handshake was not complete.
        during_handshake: bool,
    },
    /// The handshake did not complete in time; the peer may be unreachable, or silent about a wrong key.
    HandshakeDeadline,
    /// This side does not accept the peer's certificate; during the handshake, or once the time was known.
    BadCertificate(CertificateProblem),
    /// This side gave the handshake up.
    HandshakeFailed(LibraryError),
    /// An established session cannot go on.
    Broken(LibraryError),
    /// Server only: the same address completed a newer handshake.
    Replaced,
    /// Server only: made room for another, having been idle the longest.
    Evicted,
}

/// Who refused whom, and why: what waiting does not mend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// The keys of the two sides differ.
    WrongKey,
    /// The peer knows no such identity; as a server: this side does not.
    UnknownIdentity,
    /// The peer does not accept this side's certificate.
    OwnCertificate,
    /// This side does not accept the peer's.
    PeerCertificate(CertificateProblem),
    /// No suite or protocol in common.
    NothingInCommon,
}

impl CloseReason {
    /// The refusal that this is, if it is one. An alert in clear text can be forged: one during a handshake is taken for what it
    /// says only after the peer was given time to contradict it.
    pub fn refusal(&self) -> Option<Refusal> {
        match self {
            Self::Alert { alert, during_handshake: true, .. } => match alert.description {
                20 | 21 | 51 => Some(Refusal::WrongKey),
                Alert::ACCESS_DENIED | Alert::UNKNOWN_PSK_IDENTITY => Some(Refusal::UnknownIdentity),
                41..=46 | 48 | 116 => Some(Refusal::OwnCertificate),
                Alert::HANDSHAKE_FAILURE | 70 | 71 => Some(Refusal::NothingInCommon),
                _ => None,
            },
            Self::BadCertificate(problem) => Some(Refusal::PeerCertificate(*problem)),
            Self::HandshakeFailed(error) => error.refusal(),
            _ => None,
        }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CloseNotify => f.write_str("the peer closed the session"),
            Self::LocalClose => f.write_str("closed by this side"),
            Self::Alert { alert, during_handshake: true, .. } => {
                write!(f, "the peer refused the handshake with alert {alert}: {}", alert.advice())
            }
            Self::Alert { alert, .. } => {
                write!(f, "the peer ended the session with alert {alert}: connect again")
            }
            Self::HandshakeDeadline => f.write_str(
                "no complete handshake within the deadline: the peer cannot be reached, or stays silent about a wrong \
                 identity or key; check the path first, then the credentials",
            ),
            Self::BadCertificate(problem) => problem.fmt(f),
            Self::HandshakeFailed(error) => write!(f, "this side gave up the handshake: {error}"),
            Self::Broken(error) => write!(f, "the session cannot go on: {error}; connect again"),
            Self::Replaced => f.write_str("replaced by a newer session from the same address"),
            Self::Evicted => f.write_str("dropped to make room: it was idle the longest"),
        }
    }
}

/// Application data that was not sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The handshake is not complete, or the server knows no such session.
    #[error("not connected: wait for the handshake to complete")]
    NotConnected,
    /// The session is over.
    #[error("the session is closed: connect again")]
    Closed,
    /// One call is one record is one datagram.
    #[error("{got} bytes do not fit one record: at most {limit}")]
    TooLarge {
        /// The most a record takes now.
        limit: usize,
        /// Bytes given.
        got: usize,
    },
    /// Too many datagrams wait for `poll_transmit`.
    #[error("the send queue is full: transmit what is queued first")]
    QueueFull,
    /// The session broke while sending; a `Closed` event follows.
    #[error("not sent: {0}")]
    Library(LibraryError),
}

/// What a session dropped, as counts since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Datagrams that moved nothing: not DTLS, forged, replayed, too large, late, or after the end.
    pub ignored_datagrams: u64,
    /// Plaintext alerts that reached a connected session.
    pub unauthenticated_alerts: u64,
    /// Datagrams to send that found the queue full.
    pub overflowed_transmits: u64,
    /// Application records that found the event queue full.
    pub overflowed_events: u64,
}
