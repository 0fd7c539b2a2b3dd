//! AT commands of the nRF91 series over a serial line, as pure state machines.
//!
//! What lives here: cutting bytes into lines ([`LineSplitter`]), asking one command at a time ([`Session`]), finding out
//! which application answers ([`Probe`]), and turning answer lines and unsolicited result codes into typed values with
//! units. Nothing here opens a port, reads a clock or draws random numbers: bytes and `now` come in, bytes and events go
//! out. `now` is a [`core::time::Duration`] since an origin of the caller's choice that never changes and never goes back.
//!
//! Who owns the state: a [`Session`] belongs to the task that owns the port; decoders are functions of one line.
//!
//! Invariants: at most one command is outstanding; an answer that came too late is never given to another command;
//! memory is bounded whatever the line carries; noise is counted, never reported as an error.
//!
//! The words are those of 3GPP TS 27.007 and of Nordic's "nRF91x1 AT Commands" reference.

mod classify;
mod command;
mod connection;
mod device;
mod event;
mod fields;
mod identity;
mod line;
mod monitor;
mod network;
mod power;
mod probe;
mod registration;
mod result;
mod session;
mod signal;
mod time;
mod timer;
mod urc;

pub use classify::Banner;
pub use command::{Command, Form, InvalidCommand, Terminator};
pub use connection::{ConnectionEvaluation, ConnectionStatistics, Evaluation, EvaluationRefused};
pub use device::{SimState, SystemMode, parse_temperature, parse_voltage};
pub use event::{FaultEvent, ModemEvent, PdnEvent, Rrc};
pub use fields::{DecodeError, Field, Fields, Value};
pub use identity::{
    Imei, Masked, hardware_version, iccid, imei, imei_bare, imsi, manufacturer, model, revision,
};
pub use line::{LINE_MAX, LineSplitter};
pub use monitor::{Camped, Monitor};
pub use network::{AccessTechnology, Operator, OperatorName, ScannedOperator, parse_scan};
pub use power::{Edrx, EdrxCycle, PsmGrant};
pub use probe::{AppVersion, Application, Probe, ProbeOutcome};
pub use registration::{CellId, Registration, RegistrationStatus, RejectAdvice, RejectCause};
pub use result::{CommandError, ReportedError, Success};
pub use session::{CommandDone, CommandId, Event, Noise, Session, SubmitError};
pub use signal::{CesqReport, Grade, Rsrp, Rsrq, Signal, Snr};
pub use time::{ClockReading, NetworkTime, UtcTime};
pub use timer::{PsmTimer, TimerKind};
pub use urc::Urc;
