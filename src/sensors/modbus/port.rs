//! The port of a bus: open or waiting to be opened, and one request at a time on it.
//!
//! Invariant: a reply is the answer to the request it is returned for, or says why there is none. Before each
//! request the line is left to fall quiet; after each failure the Modbus client is made anew, because half of what
//! it holds may be of a frame that will never be whole.

use std::time::Duration;

use fieldgate_sensor_inputs::modbus::{Expected, Read};
use tokio_modbus::client::{Client, Context, rtu};
use tokio_modbus::slave::{Slave, SlaveContext};
use tokio_modbus::{Request as Pdu, Response};

use super::line::{Line, LineTimes};
use crate::config::{Bus, Parity, Table};
use crate::daemon::rim::{LineParity, PortSettings, Rim};

/// The first pause before a port is opened again; doubled each time.
const RETRY_FIRST: Duration = Duration::from_millis(250);
/// The longest.
const RETRY_CAP: Duration = Duration::from_secs(5);
/// A line that babbles is listened to for this long, then asked all the same.
const BABBLE: Duration = Duration::from_millis(500);

/// What came of a request.
#[derive(Debug, PartialEq)]
pub(super) enum Reply {
    /// The registers asked for.
    Registers(Vec<u16>, Heard),
    /// The bits asked for, and up to seven more.
    Bits(Vec<bool>, Heard),
    /// An exception, by its code.
    Exception(u8, Heard),
    /// Not a byte came from the slave.
    Silent,
    /// Bytes came, but not the answer.
    Broken,
    /// The port is gone.
    PortGone,
}

/// When an answer was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Heard {
    /// When it was complete.
    pub(super) at: Duration,
    /// How long the slave took to begin it, about.
    pub(super) latency: Duration,
}

/// See the module head.
pub(super) struct Port {
    bus: String,
    settings: PortSettings,
    rim: Rim,
    open: Option<Open>,
    retry_at: Duration,
    pause: Duration,
    /// Why it could not be used last, and whether that outage has been logged.
    why: String,
    said: bool,
}

struct Open {
    line: Line,
    client: Option<Context>,
}

impl Port {
    pub(super) fn new(bus: &Bus, rim: Rim) -> Self {
        let settings = PortSettings {
            path: bus.port.clone(),
            baud: bus.baud,
            parity: match bus.parity {
                Parity::None => LineParity::None,
                Parity::Even => LineParity::Even,
                Parity::Odd => LineParity::Odd,
            },
            stop_bits: bus.stop_bits,
            flow_control: false,
        };
        let retry_at = rim.now();
        Self {
            bus: bus.name.clone(),
            settings,
            rim,
            open: None,
            retry_at,
            pause: RETRY_FIRST,
            why: String::new(),
            said: false,
        }
    }

    /// Opens the port if it is not open and its time has come; tells whether that made it open.
    pub(super) fn try_open(&mut self, now: Duration) -> bool {
        if self.open.is_some() || now < self.retry_at {
            return false;
        }
        match self.rim.ports.open(&self.settings) {
            Ok(port) => {
                tracing::info!(bus = self.bus, port = %self.settings.path.display(), "port opened");
                self.open = Some(Open { line: Line::new(port), client: None });
                self.said = false;
                true
            }
            Err(error) => {
                self.try_later(now, error.to_string());
                false
            }
        }
    }

    /// Closes the port if it is gone; tells whether it was.
    pub(super) fn lost(&mut self) -> bool {
        let Some(kind) = self.open.as_ref().and_then(|open| open.line.gone()) else { return false };
        self.open = None;
        self.try_later(self.rim.now(), format!("it is gone ({kind})"));
        true
    }

    fn try_later(&mut self, now: Duration, why: String) {
        self.retry_at = now + self.pause / 2 + self.rim.random.below(self.pause / 2);
        self.pause = (self.pause * 2).min(RETRY_CAP);
        self.why = why;
        if !std::mem::replace(&mut self.said, true) {
            tracing::warn!(
                bus = self.bus,
                "{}; its slaves' instants are gaps until it can. Check cable, adapter and configuration",
                self.trouble()
            );
        }
    }

    /// Whether it cannot be used now.
    pub(super) fn is_gone(&self) -> bool {
        self.open.as_ref().is_none_or(|open| open.line.gone().is_some())
    }

    /// When it will be tried again, while it is not open.
    pub(super) fn retry_at(&self) -> Option<Duration> {
        self.open.is_none().then_some(self.retry_at)
    }

    /// What is wrong with it, in words.
    pub(super) fn trouble(&self) -> String {
        format!("the port {} cannot be used: {}", self.settings.path.display(), self.why)
    }

    /// Asks once. The slave may take `patience` to begin its answer; what the characters take comes on top.
    pub(super) async fn ask(
        &mut self,
        unit: u8,
        request: &Read,
        times: LineTimes,
        patience: Duration,
    ) -> Reply {
        let Some(Open { line, client }) = &mut self.open else { return Reply::PortGone };
        line.quiet(&self.rim, times.silence, BABBLE).await;
        let bytes = request.answer_bytes();
        let (function, pdu) = pdu(request);
        line.expect(Expected::read(unit, function, bytes));

        let talk = client.get_or_insert_with(|| rtu::attach_slave(line.clone(), Slave(unit)));
        talk.set_slave(Slave(unit));
        let began = self.rim.now();
        let called = tokio::select! {
            biased;
            called = talk.call(pdu) => Some(called),
            () = self.rim.sleep(patience + times.exchange(bytes)) => None,
        };
        let at = self.rim.now();
        let heard = Heard { at, latency: at.saturating_sub(began + times.exchange(bytes)) };
        let reply = match called {
            Some(Ok(Ok(Response::ReadInputRegisters(words) | Response::ReadHoldingRegisters(words)))) => {
                Reply::Registers(words, heard)
            }
            Some(Ok(Ok(Response::ReadCoils(bits) | Response::ReadDiscreteInputs(bits)))) => {
                Reply::Bits(bits, heard)
            }
            Some(Ok(Err(exception))) => Reply::Exception(exception.into(), heard),
            // The line lets only the answer through, so what is left is that none came.
            _ => {
                *client = None;
                return match line.gone() {
                    Some(_) => Reply::PortGone,
                    None if line.heard_from(unit) => Reply::Broken,
                    None => Reply::Silent,
                };
            }
        };
        // A port that opens and fails at once is not opened again at once; one that carried an answer is.
        self.pause = RETRY_FIRST;
        reply
    }
}

/// Modbus Application Protocol V1.1b3, 6.1 to 6.4.
fn pdu(request: &Read) -> (u8, Pdu<'static>) {
    let (first, count) = (request.first, request.count);
    match request.table {
        Table::Coil => (1, Pdu::ReadCoils(first, count)),
        Table::Discrete => (2, Pdu::ReadDiscreteInputs(first, count)),
        Table::Holding => (3, Pdu::ReadHoldingRegisters(first, count)),
        Table::Input => (4, Pdu::ReadInputRegisters(first, count)),
    }
}
