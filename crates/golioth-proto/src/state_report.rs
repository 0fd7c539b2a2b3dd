//! What became of a component: the payload POSTed to [`crate::paths::component`], and Golioth's states and reasons.
//!
//! The codes are what the device says; [`State::event_type`] is what the management API's list of OTA events calls the
//! same state, where the reason's code stands under `status`.

use crate::cbor::Writer;

/// How far an update of one component has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum State {
    /// Nothing under way.
    Idle,
    /// Blocks are being fetched.
    Downloading,
    /// The artifact is here and its digest is right.
    Downloaded,
    /// The artifact is being installed; with [`Reason::FirmwareUpdatedSuccessfully`], it runs.
    Updating,
}

impl State {
    /// Every state, in the order of the codes.
    pub const ALL: [Self; 4] = [Self::Idle, Self::Downloading, Self::Downloaded, Self::Updating];

    /// The number on the wire, 0 to 3.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The state of a number; `None` above 3.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }

    /// The management API's `eventType`.
    pub const fn event_type(self) -> &'static str {
        match self {
            Self::Idle => "IDLE",
            Self::Downloading => "DOWNLOADING",
            Self::Downloaded => "DOWNLOADED",
            Self::Updating => "UPDATING",
        }
    }
}

/// Why a component is in its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// No particular reason.
    Ready,
    /// The new firmware runs and was confirmed.
    FirmwareUpdatedSuccessfully,
    /// The artifact does not fit.
    NotEnoughFlashMemory,
    /// Memory ran out.
    OutOfRam,
    /// The link went during the download.
    ConnectionLost,
    /// The digest or the signature is wrong.
    IntegrityCheckFailure,
    /// No adapter takes this kind of package.
    UnsupportedPackageType,
    /// The manifest's uri leads nowhere.
    InvalidUri,
    /// The firmware would not install or would not run.
    FirmwareUpdateFailed,
    /// The manifest's uri asks for another protocol.
    UnsupportedProtocol,
    /// The artifact could not be stored.
    Io,
    /// It failed and will be tried again.
    AwaitRetry,
}

impl Reason {
    /// Every reason, in the order of the codes.
    pub const ALL: [Self; 12] = [
        Self::Ready,
        Self::FirmwareUpdatedSuccessfully,
        Self::NotEnoughFlashMemory,
        Self::OutOfRam,
        Self::ConnectionLost,
        Self::IntegrityCheckFailure,
        Self::UnsupportedPackageType,
        Self::InvalidUri,
        Self::FirmwareUpdateFailed,
        Self::UnsupportedProtocol,
        Self::Io,
        Self::AwaitRetry,
    ];

    /// The number on the wire, 0 to 11.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The reason of a number; `None` above 11.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }

    /// A few words for people and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::FirmwareUpdatedSuccessfully => "firmware updated successfully",
            Self::NotEnoughFlashMemory => "not enough flash memory",
            Self::OutOfRam => "out of RAM",
            Self::ConnectionLost => "connection lost",
            Self::IntegrityCheckFailure => "integrity check failed",
            Self::UnsupportedPackageType => "unsupported package type",
            Self::InvalidUri => "invalid URI",
            Self::FirmwareUpdateFailed => "firmware update failed",
            Self::UnsupportedProtocol => "unsupported protocol",
            Self::Io => "I/O error storing the component",
            Self::AwaitRetry => "awaiting retry",
        }
    }
}

/// One report on one component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateReport<'a> {
    /// How far it has come.
    pub state: State,
    /// Why.
    pub reason: Reason,
    /// The package, as in the manifest.
    pub package: &'a str,
    /// The version that runs now, where known.
    pub version: Option<&'a str>,
    /// The version being moved to, while one is.
    pub target: Option<&'a str>,
}

impl StateReport<'_> {
    /// The payload, CBOR.
    pub fn encode(&self) -> Vec<u8> {
        let mut payload = Vec::with_capacity(64);
        let mut writer = Writer::new(&mut payload);
        let optional = [("v", self.version), ("t", self.target)];
        writer.map(3 + optional.iter().filter(|(_, value)| value.is_some()).count());
        writer.text("s");
        writer.unsigned(self.state.code().into());
        writer.text("r");
        writer.unsigned(self.reason.code().into());
        writer.text("pkg");
        writer.text(self.package);
        for (key, value) in optional {
            if let Some(value) = value {
                writer.text(key);
                writer.text(value);
            }
        }
        payload
    }
}
