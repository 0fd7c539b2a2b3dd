//! AT commands of the nRF91 series over a serial line, as pure state machines.
//!
//! What lives here: cutting bytes into lines ([`LineSplitter`]), asking one command at a time ([`Session`]), finding out
//! which application answers ([`Probe`]), turning answer lines and unsolicited result codes into typed values with units,
//! judging the signal for people ([`Quality`]), and parsing what a person types into a command of a known class
//! ([`ConsoleCommand`]). Nothing here opens a port, reads a clock or draws random numbers: bytes and `now` come in, bytes and events go
//! out. `now` is a [`core::time::Duration`] since an origin of the caller's choice that never changes and never goes back.
//!
//! Who owns the state: a [`Session`] belongs to the task that owns the port; decoders are functions of one line.
//!
//! Invariants: at most one command is outstanding; an answer that came too late is never given to another command;
//! memory is bounded whatever the line carries; noise is counted, never reported as an error; what a decoder does not know is
//! kept as it came ([`Value::Text`], [`Tail`], `Other`), never guessed; a command is never sent into data mode.
//!
//! The words are those of 3GPP TS 27.007 and of Nordic's "nRF91x1 AT Commands" reference.

mod application;
mod bands;
mod classify;
mod command;
mod connection;
mod console;
mod credential;
mod device;
mod event;
mod fields;
mod identity;
mod line;
mod meaning;
mod monitor;
mod navigation;
mod neighbour;
mod network;
mod payload;
mod pdn;
mod power;
mod probe;
mod quality;
mod registration;
mod result;
mod session;
mod signal;
mod sim;
mod time;
mod timer;
mod update;
mod urc;

pub use application::ApplicationReport;
pub use bands::{BandMask, current_band, supported_bands};
pub use classify::Banner;
pub use command::{Command, Form, InvalidCommand, Terminator};
pub use connection::{ConnectionEvaluation, ConnectionStatistics, Energy, Evaluation, EvaluationRefused};
pub use console::{ConsoleClass, ConsoleCommand, ConsoleError};
pub use credential::{Credential, CredentialKind};
pub use device::{FunctionalMode, SimState, SystemMode, parse_temperature, parse_voltage};
pub use event::{BandStatus, FaultEvent, InvalidBands, ModemEvent, NetworkCause, PdnEvent, Rrc, Signalling};
pub use fields::{DecodeError, Field, Fields, Tail, Value};
pub use identity::{
    Imei, Masked, device_uuid, firmware_uuid, hardware_version, iccid, iccid_of_file, imei, imei_bare, imsi,
    manufacturer, model, revision, short_version,
};
pub use line::{LINE_MAX, LineSplitter};
pub use monitor::{Camped, Monitor};
pub use navigation::{Fix, Millionths, NavigationStatus};
pub use neighbour::{MeasuredCell, MeasurementStatus, Neighbour, NeighbourCells};
pub use network::{AccessTechnology, Operator, OperatorName, ScannedOperator, parse_scan};
pub use payload::{CMUX_CLOSE, CMUX_CLOSE_PAUSE, ESCAPE, ESCAPE_PAUSE, InvalidPayload, PAYLOAD_MAX};
pub use pdn::{Addresses, PdnAddress, PdnContext, PdnState, PdnType};
pub use power::{Edrx, EdrxCycle, PsmGrant};
pub use probe::{AppVersion, Application, Probe, ProbeOutcome};
pub use quality::{Limit, Quality, SignalWindow};
pub use registration::{CellId, Registration, RegistrationStatus, RejectAdvice, RejectCause};
pub use result::{CommandError, ReportedError, Success};
pub use session::{CommandDone, CommandId, Event, Noise, Session, SubmitError};
pub use signal::{CesqReport, Grade, Rsrp, Rsrq, Signal, Snr};
pub use sim::{PinRetries, PinState};
pub use time::{ClockReading, NetworkTime, UtcTime};
pub use timer::{PsmTimer, TimerKind};
pub use update::{ImageReport, ModemReset, UpdateArea, UpdateReport, UpdateStage, UpdateStatus};
pub use urc::Urc;
