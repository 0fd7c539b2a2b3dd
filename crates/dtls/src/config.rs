//! What a caller decides before a session exists: identities and keys, cipher suites, timers, sizes.
//!
//! Validated when a session is made; after that nobody re-checks.

use core::fmt;
use core::time::Duration;
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::{Identity, LibraryError, Roots};

/// A random source: fills the whole buffer. It must be cryptographically strong in production; a seeded one makes a
/// session's bytes reproducible.
pub type Rng = Box<dyn FnMut(&mut [u8]) + Send>;

/// Answers the key for a PSK identity, or `None` for an identity it does not know. It runs inside a call to the
/// session, so it must neither block for long nor call into a session.
pub type PskLookup = Arc<dyn Fn(&[u8]) -> Option<PskKey> + Send + Sync>;

/// The longest key Mbed TLS takes in this build.
pub(crate) const PSK_KEY_MAX_BYTES: usize = 32;
/// The longest identity a client key exchange message can carry within one handshake message here (RFC 4279 allows 65535;
/// RFC 4279 section 5.3 asks for at least 128).
const PSK_IDENTITY_MAX_BYTES: usize = 1024;
/// RFC 9146 allows 255; Mbed TLS is built for 32.
const CONNECTION_ID_MAX_BYTES: usize = 32;
/// Room for one handshake record with a little of its message; RFC 791's minimum datagram less headers.
const MTU_MIN_BYTES: u16 = 256;

/// A pre-shared key as both ends have it. Zeroed on drop; `Debug` shows only its length.
#[derive(Clone)]
pub struct PskKey(Zeroizing<Vec<u8>>);

impl PskKey {
    /// Takes the key's bytes. Golioth keys are the ASCII text itself, not decoded hexadecimal.
    pub fn new(key: impl Into<Vec<u8>>) -> Self {
        Self(Zeroizing::new(key.into()))
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for PskKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PskKey({} bytes)", self.0.len())
    }
}

/// A client's identity and key (RFC 4279). `Debug` shows only lengths; the key is zeroed on drop.
#[derive(Clone)]
pub struct Psk {
    identity: Vec<u8>,
    key: PskKey,
}

impl Psk {
    /// # Errors
    /// An empty identity or key, an identity over 1024 bytes, a key over 32 bytes.
    pub fn new(identity: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Result<Self, ConfigError> {
        let (identity, key) = (identity.into(), PskKey::new(key));
        if identity.is_empty() || identity.len() > PSK_IDENTITY_MAX_BYTES {
            return Err(ConfigError::PskIdentityLength {
                got: identity.len(),
                limit: PSK_IDENTITY_MAX_BYTES,
            });
        }
        if key.as_bytes().is_empty() || key.as_bytes().len() > PSK_KEY_MAX_BYTES {
            return Err(ConfigError::PskKeyLength { got: key.as_bytes().len(), limit: PSK_KEY_MAX_BYTES });
        }
        Ok(Self { identity, key })
    }

    pub(crate) fn identity(&self) -> &[u8] {
        &self.identity
    }

    pub(crate) fn key(&self) -> &[u8] {
        self.key.as_bytes()
    }
}

impl fmt::Debug for Psk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Psk(identity of {} bytes, {:?})", self.identity.len(), self.key)
    }
}

/// How a client proves who it is, and by what it knows the server.
#[derive(Debug, Clone)]
pub enum Credential {
    /// Both by the same key.
    Psk(Psk),
    /// By certificates; the server's must be for [`ClientConfig::server_name`].
    Certificate {
        /// This side's.
        identity: Identity,
        /// Who may vouch for the server.
        roots: Roots,
    },
}

/// How a server proves who it is to clients that want a certificate, and whom it lets in by one.
#[derive(Debug, Clone)]
pub struct ServerCertificate {
    /// The server's own.
    pub identity: Identity,
    /// Who may vouch for a client; `None` asks clients for no certificate.
    pub client_roots: Option<Roots>,
}

/// A cipher suite (IANA TLS Cipher Suites). Those with a pre-shared key have no forward secrecy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum CipherSuite {
    /// `TLS_PSK_WITH_AES_128_CCM_8` (0xC0A8): RFC 7252's mandatory suite, 16 bytes of expansion.
    PskAes128Ccm8,
    /// `TLS_PSK_WITH_AES_128_CCM` (0xC0A4): as above with a full tag, 24 bytes of expansion.
    PskAes128Ccm,
    /// `TLS_PSK_WITH_AES_128_GCM_SHA256` (0x00A8): 24 bytes of expansion.
    PskAes128Gcm,
    /// `TLS_PSK_WITH_AES_128_CBC_SHA256` (0x00AE): no AEAD, so neither Connection ID nor saving.
    PskAes128Cbc,
    /// `TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8` (0xC0AE): RFC 7252's mandatory suite with certificates, 16 bytes of expansion.
    EcdheEcdsaAes128Ccm8,
    /// `TLS_ECDHE_ECDSA_WITH_AES_128_CCM` (0xC0AC): 24 bytes of expansion.
    EcdheEcdsaAes128Ccm,
    /// `TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256` (0xC02B): 24 bytes of expansion.
    EcdheEcdsaAes128Gcm,
}

impl CipherSuite {
    /// Those with a pre-shared key that go with a Connection ID, in the order of what they cost on the wire.
    pub const PSK: [Self; 3] = [Self::PskAes128Ccm8, Self::PskAes128Ccm, Self::PskAes128Gcm];
    /// Those with certificates, likewise.
    pub const CERTIFICATE: [Self; 3] =
        [Self::EcdheEcdsaAes128Ccm8, Self::EcdheEcdsaAes128Ccm, Self::EcdheEcdsaAes128Gcm];
    const ALL: [Self; 7] = [
        Self::PskAes128Ccm8,
        Self::PskAes128Ccm,
        Self::PskAes128Gcm,
        Self::PskAes128Cbc,
        Self::EcdheEcdsaAes128Ccm8,
        Self::EcdheEcdsaAes128Ccm,
        Self::EcdheEcdsaAes128Gcm,
    ];

    /// Takes certificates, not a pre-shared key.
    pub fn is_certificate(self) -> bool {
        Self::CERTIFICATE.contains(&self)
    }

    /// The code point on the wire.
    pub fn id(self) -> u16 {
        match self {
            Self::PskAes128Ccm8 => 0xC0A8,
            Self::PskAes128Ccm => 0xC0A4,
            Self::PskAes128Gcm => 0x00A8,
            Self::PskAes128Cbc => 0x00AE,
            Self::EcdheEcdsaAes128Ccm8 => 0xC0AE,
            Self::EcdheEcdsaAes128Ccm => 0xC0AC,
            Self::EcdheEcdsaAes128Gcm => 0xC02B,
        }
    }

    /// The suite of a code point, where this crate offers it.
    pub fn from_id(id: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|suite| suite.id() == id)
    }

    /// Authenticated encryption with associated data: what Connection IDs and saved sessions need here.
    pub fn is_aead(self) -> bool {
        !matches!(self, Self::PskAes128Cbc)
    }

    /// The registered name.
    pub fn name(self) -> &'static str {
        match self {
            Self::PskAes128Ccm8 => "TLS_PSK_WITH_AES_128_CCM_8",
            Self::PskAes128Ccm => "TLS_PSK_WITH_AES_128_CCM",
            Self::PskAes128Gcm => "TLS_PSK_WITH_AES_128_GCM_SHA256",
            Self::PskAes128Cbc => "TLS_PSK_WITH_AES_128_CBC_SHA256",
            Self::EcdheEcdsaAes128Ccm8 => "TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8",
            Self::EcdheEcdsaAes128Ccm => "TLS_ECDHE_ECDSA_WITH_AES_128_CCM",
            Self::EcdheEcdsaAes128Gcm => "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        }
    }
}

impl fmt::Display for CipherSuite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A client's side of a session.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// Who this client is, and how it knows the server.
    pub credential: Credential,
    /// Offered suites, most wanted first; all of the credential's kind.
    pub suites: Vec<CipherSuite>,
    /// Offer Connection IDs (RFC 9146): this side asks for none towards itself and uses whatever the server assigns, so
    /// that the client may change its address without a handshake. Needs AEAD suites only.
    pub connection_id: bool,
    /// Server name indication (RFC 6066). With certificates it is required: the server's must be for this host name or address
    /// literal (RFC 6125).
    pub server_name: Option<String>,
    /// The largest UDP payload to send, in bytes.
    pub mtu: u16,
    /// A handshake not complete after this is given up.
    pub handshake_deadline: Duration,
    /// First retransmission interval; it doubles (RFC 6347 section 4.2.4.1).
    pub timer_min: Duration,
    /// The interval stops doubling here; retransmission goes on until the deadline, or about twenty times.
    pub timer_max: Duration,
}

impl ClientConfig {
    /// [`CipherSuite::PSK`], Connection ID offered, no server name, 1280-byte datagrams, RFC 6347's timers (1 s to 60 s), and
    /// 60 s for a handshake.
    pub fn new(psk: Psk) -> Self {
        Self::with(Credential::Psk(psk), None)
    }

    /// The same with certificates, for the server of this name.
    pub fn with_certificate(identity: Identity, roots: Roots, server_name: impl Into<String>) -> Self {
        Self::with(Credential::Certificate { identity, roots }, Some(server_name.into()))
    }

    fn with(credential: Credential, server_name: Option<String>) -> Self {
        let suites = match &credential {
            Credential::Psk(_) => CipherSuite::PSK,
            Credential::Certificate { .. } => CipherSuite::CERTIFICATE,
        };
        Self {
            credential,
            suites: suites.to_vec(),
            connection_id: true,
            server_name,
            mtu: 1280,
            handshake_deadline: Duration::from_secs(60),
            timer_min: Duration::from_secs(1),
            timer_max: Duration::from_secs(60),
        }
    }

    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        check_common(&self.suites, self.mtu, self.timer_min, self.timer_max)?;
        let certificate = matches!(self.credential, Credential::Certificate { .. });
        if let Some(&suite) = self.suites.iter().find(|suite| suite.is_certificate() != certificate) {
            return Err(ConfigError::SuiteOfOtherKind { suite });
        }
        if certificate && self.server_name.is_none() {
            return Err(ConfigError::ServerName);
        }
        match self.suites.iter().find(|suite| !suite.is_aead()) {
            Some(&suite) if self.connection_id => Err(ConfigError::ConnectionIdNeedsAead { suite }),
            _ => Ok(()),
        }
    }
}

/// A server's side of all its sessions.
#[derive(Clone)]
pub struct ServerConfig {
    /// Who may come in.
    pub psk_lookup: PskLookup,
    /// The server's own certificate; without one, suites with certificates are never chosen.
    pub certificate: Option<ServerCertificate>,
    /// Accepted suites, most wanted first; the server's order decides. While Connection IDs are on, AEAD suites come first
    /// whatever the order, and a client that offers none of them gets no Connection ID.
    pub suites: Vec<CipherSuite>,
    /// Length of the Connection IDs assigned to clients that ask; 0 turns them off, 32 is the most.
    pub connection_id_length: usize,
    /// The largest UDP payload to send, in bytes.
    pub mtu: u16,
    /// A handshake not complete after this is given up.
    pub handshake_deadline: Duration,
    /// First retransmission interval; it doubles.
    pub timer_min: Duration,
    /// The interval stops doubling here.
    pub timer_max: Duration,
    /// How many sessions a [`crate::Server`] holds, handshakes included; one more evicts the one idle longest.
    pub max_sessions: usize,
    /// What a [`crate::Server`] answers, in clear text, to protected records of a session it does not know: the
    /// description of a fatal alert (clouds have been seen to send 49), or nothing, as RFC 6347 prefers.
    pub unknown_session_alert: Option<u8>,
}

impl ServerConfig {
    /// Every suite, GCM first, no certificate; 8-byte Connection IDs; 1280-byte datagrams; RFC 6347's timers; 60 s for a handshake; 1024
    /// sessions; silence for unknown ones.
    pub fn new(psk_lookup: impl Fn(&[u8]) -> Option<PskKey> + Send + Sync + 'static) -> Self {
        Self {
            psk_lookup: Arc::new(psk_lookup),
            certificate: None,
            suites: vec![
                CipherSuite::EcdheEcdsaAes128Gcm,
                CipherSuite::EcdheEcdsaAes128Ccm,
                CipherSuite::EcdheEcdsaAes128Ccm8,
                CipherSuite::PskAes128Gcm,
                CipherSuite::PskAes128Ccm,
                CipherSuite::PskAes128Ccm8,
                CipherSuite::PskAes128Cbc,
            ],
            connection_id_length: 8,
            mtu: 1280,
            handshake_deadline: Duration::from_secs(60),
            timer_min: Duration::from_secs(1),
            timer_max: Duration::from_secs(60),
            max_sessions: 1024,
            unknown_session_alert: None,
        }
    }

    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        check_common(&self.suites, self.mtu, self.timer_min, self.timer_max)?;
        if self.connection_id_length > CONNECTION_ID_MAX_BYTES {
            return Err(ConfigError::ConnectionIdLength {
                got: self.connection_id_length,
                limit: CONNECTION_ID_MAX_BYTES,
            });
        }
        if self.max_sessions == 0 {
            return Err(ConfigError::NoSessions);
        }
        Ok(())
    }

    /// The order in which suites are tried: AEAD first while Connection IDs are assigned.
    pub(crate) fn suites_in_effect(&self) -> Vec<CipherSuite> {
        let mut suites = self.suites.clone();
        if self.certificate.is_none() {
            suites.retain(|suite| !suite.is_certificate());
        }
        if self.connection_id_length > 0 {
            suites.sort_by_key(|suite| !suite.is_aead());
        }
        suites
    }
}

impl fmt::Debug for ServerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerConfig")
            .field("suites", &self.suites)
            .field("connection_id_length", &self.connection_id_length)
            .field("mtu", &self.mtu)
            .field("handshake_deadline", &self.handshake_deadline)
            .field("timer_min", &self.timer_min)
            .field("timer_max", &self.timer_max)
            .field("max_sessions", &self.max_sessions)
            .field("unknown_session_alert", &self.unknown_session_alert)
            .finish_non_exhaustive()
    }
}

/// A configuration no session can be made from.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigError {
    /// RFC 4279 identities are 1 byte or more.
    #[error("the PSK identity has {got} bytes; it must have 1 to {limit}: correct the identity")]
    PskIdentityLength {
        /// Bytes given.
        got: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// Longer keys cannot be used.
    #[error("the pre-shared key has {got} bytes; it must have 1 to {limit}: correct the key")]
    PskKeyLength {
        /// Bytes given.
        got: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// Nothing to offer.
    #[error("no cipher suite is configured: name at least one")]
    NoSuites,
    /// Certificates where the credential is a key, or the reverse.
    #[error(
        "{suite} does not go with the credential: offer suites with a pre-shared key or with certificates, as it is"
    )]
    SuiteOfOtherKind {
        /// The suite.
        suite: CipherSuite,
    },
    /// With Connection IDs, records in CBC do not interoperate.
    #[error("{suite} cannot be offered together with a Connection ID: leave out one of the two")]
    ConnectionIdNeedsAead {
        /// The suite that is no AEAD.
        suite: CipherSuite,
    },
    /// Over what the library takes.
    #[error("Connection IDs of {got} bytes are too long: at most {limit}")]
    ConnectionIdLength {
        /// Bytes asked for.
        got: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// A handshake does not fit.
    #[error("datagrams of {got} bytes are too small for a handshake: allow at least {limit}")]
    MtuTooSmall {
        /// Bytes given.
        got: u16,
        /// Bytes needed.
        limit: u16,
    },
    /// Retransmission could never fire, or would fire without pause.
    #[error("the handshake timer must start between 100 ms and 1 h and end no lower than it starts")]
    Timers,
    /// A name no certificate or server name extension can hold.
    #[error(
        "the server name is missing, empty, over 255 bytes, or contains a zero byte: give the server's host name"
    )]
    ServerName,
    /// A server that could hold no session.
    #[error("a server must be allowed at least one session")]
    NoSessions,
    /// Memory, or an inconsistency inside the library.
    #[error("the DTLS library refused the configuration: {0}")]
    Library(LibraryError),
}

fn check_common(
    suites: &[CipherSuite],
    mtu: u16,
    timer_min: Duration,
    timer_max: Duration,
) -> Result<(), ConfigError> {
    if suites.is_empty() {
        return Err(ConfigError::NoSuites);
    }
    if mtu < MTU_MIN_BYTES {
        return Err(ConfigError::MtuTooSmall { got: mtu, limit: MTU_MIN_BYTES });
    }
    let sane = Duration::from_millis(100)..=Duration::from_secs(3600);
    if !sane.contains(&timer_min) || timer_max < timer_min {
        return Err(ConfigError::Timers);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_and_identities_never_show_in_debug() {
        let psk = Psk::new("gateway-7@plant", "0123456789abcdef").unwrap();
        let shown = format!("{:?} {:?}", psk, ClientConfig::new(psk.clone()));
        assert!(!shown.contains("gateway-7") && !shown.contains("0123456789"), "{shown}");
        let key_bytes = format!("{:?}", b"0123456789abcdef");
        assert!(!shown.contains(key_bytes.trim_matches(['[', ']'])), "{shown}");
    }

    #[test]
    fn lengths_outside_the_limits_are_refused_by_name() {
        assert_eq!(Psk::new("", "k").unwrap_err(), ConfigError::PskIdentityLength { got: 0, limit: 1024 });
        assert_eq!(Psk::new("i", "").unwrap_err(), ConfigError::PskKeyLength { got: 0, limit: 32 });
        assert_eq!(Psk::new("i", [0; 33]).unwrap_err(), ConfigError::PskKeyLength { got: 33, limit: 32 });
        assert!(Psk::new("i", [0; 32]).is_ok());
    }

    #[test]
    fn a_connection_id_is_not_offered_beside_a_suite_without_aead() {
        let mut config = ClientConfig::new(Psk::new("i", "k").unwrap());
        config.suites.push(CipherSuite::PskAes128Cbc);
        assert_eq!(
            config.check(),
            Err(ConfigError::ConnectionIdNeedsAead { suite: CipherSuite::PskAes128Cbc })
        );
        config.connection_id = false;
        assert_eq!(config.check(), Ok(()));
    }

    #[test]
    fn a_server_that_assigns_connection_ids_prefers_aead() {
        let mut config = ServerConfig::new(|_| None);
        config.suites =
            vec![CipherSuite::PskAes128Cbc, CipherSuite::PskAes128Ccm8, CipherSuite::PskAes128Gcm];
        let aead_first = [CipherSuite::PskAes128Ccm8, CipherSuite::PskAes128Gcm, CipherSuite::PskAes128Cbc];
        assert_eq!(config.suites_in_effect(), aead_first);
        config.connection_id_length = 0;
        assert_eq!(config.suites_in_effect(), config.suites);
    }

    #[test]
    fn suites_map_to_their_code_points_and_back() {
        for suite in CipherSuite::ALL {
            assert_eq!(CipherSuite::from_id(suite.id()), Some(suite));
        }
        assert_eq!(CipherSuite::from_id(0x1301), None);
    }

    #[test]
    fn nonsensical_timers_and_sizes_are_refused() {
        let mut config = ClientConfig::new(Psk::new("i", "k").unwrap());
        config.timer_min = Duration::ZERO;
        assert_eq!(config.check(), Err(ConfigError::Timers));
        config.timer_min = Duration::from_secs(70);
        assert_eq!(config.check(), Err(ConfigError::Timers));
        config.timer_min = Duration::from_secs(1);
        config.mtu = 100;
        assert_eq!(config.check(), Err(ConfigError::MtuTooSmall { got: 100, limit: 256 }));
        config.mtu = 1280;
        config.suites.clear();
        assert_eq!(config.check(), Err(ConfigError::NoSuites));
    }
}
