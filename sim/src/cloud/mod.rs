//! A Golioth-compatible cloud: CoAP over DTLS 1.2 for devices, the management API over HTTP for operators, and a ledger of
//! everything that came in.
//!
//! [`Cloud`] is sans-IO: it is handed datagrams and `now`, and gives datagrams back. [`CloudServer`] carries it on loopback
//! sockets; a [`CloudHandle`] reads its ledgers, disturbs it and deploys while it runs. Its payload encoders and decoders are its own:
//! they share nothing with the gateway's, so that the two cannot agree in error.
//!
//! Known of the real cloud, and kept: a path-less DELETE as a sign of life; `a0` where nothing is deployed; a
//! missing LightDB path reads as null, and its arrays are objects; 20 requests a second, then 4.29; logs are always taken; a stream
//! message, and a log is one, that no pipeline takes is acknowledged and lost; alert 49 for records of a forgotten session. Not known,
//! and chosen: success codes are 2.04 for writes and 2.02 for deletes; notifications are Confirmable; blocks of one download count
//! as one request; a refused request does not count against the limit.

mod base64;
mod calls;
mod catalogue;
mod cbor;
mod config;
mod core;
mod device;
mod document;
mod driver;
mod fault;
mod firmware_log;
mod handle;
mod intake;
mod legacy;
mod limiter;
mod operator;
mod pipelines;
mod plane;
mod random;
mod releases;
mod rest;
mod services;
mod settings;
mod wall;
mod webhook;
mod x509;

pub use self::core::{Cloud, CloudCounters};
pub use calls::CallOutcome;
pub use config::{ApiKey, CloudConfig, CloudError, DeviceConfig};
pub use device::{LogEntry, OtaEvent, StreamMessage};
pub use driver::{CloudServer, CloudServerError};
pub use fault::{Babble, Fault, FaultId, FaultKind};
pub use firmware_log::FirmwareLogSeen;
pub use handle::CloudHandle;
pub use intake::{
    Arrival, BatchFault, ClockStatement, Conflict, Entry, Epoch, Intake, IntakeCounts, PreviousEpoch, Repeat,
    RowTime, Seen, SeenValue, Stated,
};
pub use pipelines::{Delivered, Outgoing, PipelineError, Route, Unmatched};
pub use settings::{SettingError, SettingsStatus};
