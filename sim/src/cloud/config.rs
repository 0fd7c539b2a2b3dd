//! What a simulated cloud is told before it starts.
//!
//! Plain data, checked once by [`Cloud::new`](super::Cloud::new). Keys are zeroed on drop and never shown.

use super::pipelines::Route;
use fieldgate_dtls::{CipherSuite, ServerCertificate};
use std::fmt;
use std::time::Duration;
use zeroize::Zeroizing;

/// One project with its devices, and how strict the cloud is.
#[derive(Debug, Clone)]
pub struct CloudConfig {
    /// Project id, the part behind the `@` of every identity.
    pub project: String,
    /// Organization id; the REST routes take any, this one is shown.
    pub organization: String,
    /// The management key that REST requests must carry in `x-api-key`.
    pub api_key: ApiKey,
    /// The devices that exist at the start.
    pub devices: Vec<DeviceConfig>,
    /// Accepted cipher suites, most wanted first.
    pub suites: Vec<CipherSuite>,
    /// The cloud's certificate and whom it lets in by theirs; `None` for keys only.
    pub certificate: Option<ServerCertificate>,
    /// Whether clients that ask for a Connection ID (RFC 9146) get one.
    pub connection_id: bool,
    /// Requests a device may make within any second; one more is answered 4.29. `None` for no limit.
    pub requests_per_second: Option<u32>,
    /// Whether every block of a download counts as a request of its own. Not known of the real cloud; `false` counts
    /// only the first.
    pub count_blocks: bool,
    /// Description of the alert that protected records of an unknown session are answered with; `None` for silence.
    pub unknown_session_alert: Option<u8>,
    /// A session idle for longer is forgotten silently. `None` keeps it as long as there is room.
    pub session_lifetime: Option<Duration>,
    /// Which stream messages are taken. An unmatched message is acknowledged and lost.
    pub routes: Vec<Route>,
    /// Whether there is the pipeline of a new project, which brings CBOR messages on `.s/logs` to the logs.
    pub log_pipeline: bool,
    /// Stream messages kept per device, for queries; the ledger keeps every identity regardless.
    pub keep_messages: usize,
}

impl CloudConfig {
    /// The cloud as documented and observed: every suite, Connection IDs, 20 requests a second, alert 49 for unknown sessions,
    /// sessions of 3 h, every stream path routed.
    #[must_use]
    pub fn new(project: &str, api_key: &str, devices: Vec<DeviceConfig>) -> Self {
        Self {
            project: project.to_owned(),
            organization: "sim".to_owned(),
            api_key: ApiKey::new(api_key),
            devices,
            suites: vec![
                CipherSuite::EcdheEcdsaAes128Gcm,
                CipherSuite::EcdheEcdsaAes128Ccm,
                CipherSuite::EcdheEcdsaAes128Ccm8,
                CipherSuite::PskAes128Gcm,
                CipherSuite::PskAes128Ccm,
                CipherSuite::PskAes128Ccm8,
                CipherSuite::PskAes128Cbc,
            ],
            certificate: None,
            connection_id: true,
            requests_per_second: Some(20),
            count_blocks: false,
            unknown_session_alert: Some(49),
            session_lifetime: Some(Duration::from_secs(3 * 3600)),
            routes: vec![Route::everything()],
            log_pipeline: true,
            keep_messages: 2_000,
        }
    }
}

/// A management key. Zeroed on drop, never shown.
#[derive(Clone)]
pub struct ApiKey(Zeroizing<String>);

impl ApiKey {
    /// Takes the key's text.
    #[must_use]
    pub fn new(key: &str) -> Self {
        Self(Zeroizing::new(key.to_owned()))
    }

    /// Whether `offered` is this key. Every byte is looked at, wherever the first difference is.
    pub(super) fn is(&self, offered: &[u8]) -> bool {
        let key = self.0.as_bytes();
        key.len() == offered.len() && key.iter().zip(offered).fold(0, |seen, (a, b)| seen | (a ^ b)) == 0
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(hidden)")
    }
}

/// One device and its pre-shared key.
#[derive(Clone)]
pub struct DeviceConfig {
    /// Unique name.
    pub name: String,
    /// PSK identity, project included: `name@project`.
    pub psk_id: String,
    /// The key: the ASCII text itself is what both ends use, 1 to 32 bytes.
    pub key: Zeroizing<String>,
    /// Hardware ids, such as a serial number.
    pub hardware_ids: Vec<String>,
}

impl DeviceConfig {
    /// A device whose identity is `name@project` and whose hardware id is its name.
    #[must_use]
    pub fn new(name: &str, project: &str, key: &str) -> Self {
        Self {
            name: name.to_owned(),
            psk_id: format!("{name}@{project}"),
            key: Zeroizing::new(key.to_owned()),
            hardware_ids: vec![name.to_owned()],
        }
    }
}

impl fmt::Debug for DeviceConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceConfig")
            .field("name", &self.name)
            .field("psk_id", &self.psk_id)
            .field("hardware_ids", &self.hardware_ids)
            .finish_non_exhaustive()
    }
}

/// What a simulated cloud refuses to be or to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CloudError {
    /// Names are how devices are told apart.
    #[error("a device named {name:?} exists already; choose another name")]
    DuplicateDevice {
        /// The name.
        name: String,
    },
    /// Identities are how sessions find their device.
    #[error("the identity {psk_id:?} belongs to another device already; choose another")]
    DuplicateIdentity {
        /// The identity.
        psk_id: String,
    },
    /// An empty name or identity, or a key no client could use.
    #[error("device {name:?} cannot connect: it needs a name, an identity and a key of 1 to 32 characters")]
    BadDevice {
        /// The name.
        name: String,
    },
    /// No such device.
    #[error("no device is named {name:?}; name one that exists")]
    UnknownDevice {
        /// The name.
        name: String,
    },
    /// A package name or version that does not fit a path segment.
    #[error("{what:?} cannot be a package name or version: use 1 to 64 letters, digits and . _ - +")]
    BadPackage {
        /// The word.
        what: String,
    },
    /// An artifact of this package and version exists with other content.
    #[error("artifact already exists: {package}@{version}")]
    ArtifactExists {
        /// Package.
        package: String,
        /// Version.
        version: String,
    },
    /// A name of something that does not exist.
    #[error("{what} not found")]
    NotFound {
        /// What was looked for.
        what: &'static str,
    },
    /// A cohort or package of this name exists.
    #[error("{what} already exists")]
    Exists {
        /// What there is already.
        what: &'static str,
    },
    /// A tag or blueprint of this name exists.
    #[error("{what} name already being used")]
    NameTaken {
        /// What there is already.
        what: &'static str,
    },
    /// A release tag of another release.
    #[error("a release already exists with same release tag")]
    ReleaseTagTaken,
    /// A request that cannot be carried out as it is.
    #[error("{what}")]
    Invalid {
        /// What is wrong with it.
        what: String,
    },
    /// Too much is kept already.
    #[error("the simulated cloud already holds {limit} {what}; delete some, or start it again")]
    Full {
        /// Of what.
        what: &'static str,
        /// How many.
        limit: usize,
    },
    /// The DTLS side cannot be set up.
    #[error("the cloud cannot take sessions: {0}")]
    Dtls(#[from] fieldgate_dtls::ConfigError),
}
