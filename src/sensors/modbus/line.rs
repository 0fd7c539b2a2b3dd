//! A serial line as one request sees it: what was sent, what was heard since, and the answer once it is there.
//!
//! [`Line`] stands between the port and the Modbus client, which is thrown away after every failure while the port
//! stays. The client is shown nothing but the answer to the request under way ([`Expected`]): bytes of late
//! answers never reach it. Invariant: everything here is bounded by a frame's length, however much a line babbles.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use fieldgate_sensor_inputs::modbus::{Expected, MOST_FRAME, is_of_others};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::config::{Bus, Parity};
use crate::daemon::rim::{Rim, SerialStream};

/// How long things take on a line (Modbus over Serial Line V1.02, 2.5.1).
#[derive(Clone, Copy, Debug)]
pub(super) struct LineTimes {
    character: Duration,
    /// The silence that ends a frame: 3.5 characters, fixed above 19200 baud.
    pub(super) silence: Duration,
}

impl LineTimes {
    /// A character is 11 bits by the specification. Lines set up with fewer are a little quicker than they are
    /// taken to be.
    pub(super) fn of(bus: &Bus) -> Self {
        let bits = 1 + 8 + u32::from(bus.parity != Parity::None) + u32::from(bus.stop_bits);
        let character = Duration::from_secs(1) * bits.max(11) / bus.baud.max(1);
        let silence = if bus.baud > 19_200 { Duration::from_micros(1_750) } else { character * 7 / 2 };
        Self { character, silence }
    }

    /// From the first byte of a read request to the last of its answer, were the slave to answer at once.
    pub(super) fn exchange(self, answer_bytes: u8) -> Duration {
        const REQUEST: u32 = 8;
        const AROUND_DATA: u32 = 5;
        self.character * (REQUEST + AROUND_DATA + u32::from(answer_bytes)) + self.silence
    }
}

/// A handle on the line; the client holds another.
#[derive(Clone, Debug)]
pub(super) struct Line(Arc<Mutex<Wire>>);

#[derive(Debug)]
struct Wire {
    port: Box<dyn SerialStream>,
    expected: Option<Expected>,
    sent: Vec<u8>,
    heard: Vec<u8>,
    /// The answer, or what the client has not yet read of it.
    answer: Vec<u8>,
    gone: Option<io::ErrorKind>,
}

impl Line {
    pub(super) fn new(port: Box<dyn SerialStream>) -> Self {
        Self(Arc::new(Mutex::new(Wire {
            port,
            expected: None,
            sent: Vec::new(),
            heard: Vec::new(),
            answer: Vec::new(),
            gone: None,
        })))
    }

    /// A request for that answer begins; what was heard so far is none.
    pub(super) fn expect(&self, expected: Expected) {
        if let Ok(mut wire) = self.wire() {
            wire.expected = Some(expected);
            wire.sent.clear();
            wire.heard.clear();
            wire.answer.clear();
        }
    }

    /// Whether the slave that was asked has said anything.
    pub(super) fn heard_from(&self, unit: u8) -> bool {
        self.wire().is_ok_and(|wire| !is_of_others(&wire.heard, &wire.sent, unit))
    }

    /// How the port went away, if it did.
    pub(super) fn gone(&self) -> Option<io::ErrorKind> {
        self.wire().map_or(Some(io::ErrorKind::Other), |wire| wire.gone)
    }

    /// Throws away what comes until nothing has come for `silence`, or `at_most` has passed.
    pub(super) async fn quiet(&self, rim: &Rim, silence: Duration, at_most: Duration) {
        let give_up = rim.now() + at_most;
        while rim.now() < give_up {
            tokio::select! {
                biased;
                there = self.throw_away() => if !there { return },
                () = rim.sleep(silence) => return,
            }
        }
    }

    /// Waits for bytes and forgets them; tells whether the port is still there.
    async fn throw_away(&self) -> bool {
        poll_fn(|cx| {
            let Ok(mut wire) = self.wire() else { return Poll::Ready(false) };
            let read = ready!(wire.poll_hear(cx));
            wire.heard.clear();
            Poll::Ready(read.is_ok())
        })
        .await
    }

    fn wire(&self) -> io::Result<MutexGuard<'_, Wire>> {
        self.0.lock().map_err(|_| io::ErrorKind::Other.into())
    }
}

impl Wire {
    fn poll_hear(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(kind) = self.gone {
            return Poll::Ready(Err(kind.into()));
        }
        let mut bytes = [0; MOST_FRAME];
        let mut buffer = ReadBuf::new(&mut bytes);
        let read = match ready!(Pin::new(&mut self.port).poll_read(cx, &mut buffer)) {
            // A serial port has no end: its other side, or the adapter itself, was taken away.
            Ok(()) if buffer.filled().is_empty() => Err(io::ErrorKind::UnexpectedEof),
            Ok(()) => Ok(()),
            Err(error) => Err(error.kind()),
        };
        if let Err(kind) = read {
            self.gone = Some(kind);
            return Poll::Ready(Err(kind.into()));
        }
        self.heard.extend_from_slice(buffer.filled());
        let too_many = self.heard.len().saturating_sub(2 * MOST_FRAME);
        self.heard.drain(..too_many);
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Line {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut wire = self.wire()?;
        while wire.answer.is_empty() {
            ready!(wire.poll_hear(cx))?;
            if let Some(found) = wire.expected.and_then(|expected| expected.find(&wire.heard)) {
                wire.answer = wire.heard.get(found).unwrap_or_default().to_vec();
                wire.expected = None;
            }
        }
        let take = wire.answer.len().min(buffer.remaining());
        buffer.put_slice(wire.answer.get(..take).unwrap_or_default());
        wire.answer.drain(..take);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Line {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut wire = self.wire()?;
        match ready!(Pin::new(&mut wire.port).poll_write(cx, bytes)) {
            Ok(taken) => {
                let room = MOST_FRAME.saturating_sub(wire.sent.len());
                wire.sent.extend_from_slice(bytes.get(..taken.min(room)).unwrap_or_default());
                Poll::Ready(Ok(taken))
            }
            Err(error) => {
                wire.gone = Some(error.kind());
                Poll::Ready(Err(error))
            }
        }
    }

    /// Nothing to do: what was written is with the kernel. Flushing a serial port means `tcdrain`, which blocks the
    /// thread until the last bit has left, forever where flow control holds it.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// The port stays open when a client is thrown away.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
