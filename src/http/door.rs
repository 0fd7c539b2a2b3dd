//! The door: one or two listening sockets that take few connections, each for one request and a short while.
//!
//! A connection owns one of [`SLOTS`] places. Until its answer begins it may send [`REQUEST_BYTES`] within
//! [`REQUEST_TIME`]; then the answer must be taken within [`ANSWER_TIME`]. Whoever is slower or longer is told so and
//! closed, so that no peer holds a place or memory for longer. There is no keep-alive: the page is one request.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::IncomingStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;

/// Connections served at once; more wait in the kernel's queue.
pub(super) const SLOTS: usize = 32;
/// What a request may be long, headers and all.
pub(super) const REQUEST_BYTES: usize = 16 * 1024;
/// From the connection to the first byte of the answer.
pub(super) const REQUEST_TIME: Duration = Duration::from_secs(10);
/// From the first byte of the answer to its last.
pub(super) const ANSWER_TIME: Duration = Duration::from_secs(10);
/// How long the peer gets to take note of the end, and how much it may still send meanwhile.
const FAREWELL_TIME: Duration = Duration::from_secs(1);
const FAREWELL_BYTES: usize = 256 * 1024;
/// The door turns at least this often, with or without a connection.
pub(super) const TURN: Duration = Duration::from_secs(30);

/// See the module head.
pub(super) struct Door {
    main: TcpListener,
    /// For who is on this box, where the main one is bound to an interface.
    loopback: Option<TcpListener>,
    slots: Arc<Semaphore>,
    turn: Turn,
}

/// What a door listens on.
pub(super) struct Listeners {
    /// Where the configuration says.
    pub(super) main: std::net::TcpListener,
    /// See [`Door`].
    pub(super) loopback: Option<std::net::TcpListener>,
}

/// Called before each wait for a connection, and so at least every [`TURN`].
pub(super) type Turn = Box<dyn Fn() + Send>;

impl Door {
    pub(super) fn new(listeners: Listeners, turn: Turn) -> io::Result<Self> {
        let listening = |listener: std::net::TcpListener| {
            listener.set_nonblocking(true)?;
            TcpListener::from_std(listener)
        };
        let loopback = listeners.loopback.map(listening).transpose()?;
        Ok(Self { main: listening(listeners.main)?, loopback, slots: Arc::new(Semaphore::new(SLOTS)), turn })
    }

    async fn next(
        main: &TcpListener,
        loopback: Option<&TcpListener>,
        slots: &Arc<Semaphore>,
    ) -> io::Result<Guarded> {
        let slot = Arc::clone(slots).acquire_owned().await.map_err(io::Error::other)?;
        let local = async {
            match loopback {
                Some(listener) => listener.accept().await,
                None => std::future::pending().await,
            }
        };
        let (stream, peer) = tokio::select! {
            biased;
            taken = local => taken?,
            taken = main.accept() => taken?,
        };
        stream.set_nodelay(true)?;
        Ok(Guarded {
            local: stream.local_addr()?,
            peer,
            stream,
            phase: Phase::Request,
            patience: Arc::default(),
            left: REQUEST_BYTES,
            deadline: Box::pin(tokio::time::sleep(REQUEST_TIME)),
            _slot: slot,
        })
    }
}

impl axum::serve::Listener for Door {
    type Io = Guarded;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Guarded, SocketAddr) {
        loop {
            (self.turn)();
            match tokio::time::timeout(TURN, Self::next(&self.main, self.loopback.as_ref(), &self.slots))
                .await
            {
                Err(_) => {}
                Ok(Ok(guarded)) => {
                    let peer = guarded.peer;
                    return (guarded, peer);
                }
                // Out of descriptors, or the peer was gone before it was taken: a pause lets either pass.
                Ok(Err(error)) => {
                    tracing::debug!(%error, "a connection to the page could not be taken");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.main.local_addr()
    }
}

/// Where a connection came in.
#[derive(Clone, Debug)]
pub(super) struct CameTo(pub(super) SocketAddr, Arc<AtomicU64>);

impl CameTo {
    /// The answer will take so long and is worth waiting for: the request's time is extended by it, once.
    pub(super) fn be_patient(&self, time: Duration) {
        self.1.store(u64::try_from(time.as_millis()).unwrap_or(0), Ordering::Relaxed);
    }
}

impl Connected<IncomingStream<'_, Door>> for CameTo {
    fn connect_info(stream: IncomingStream<'_, Door>) -> Self {
        Self(stream.io().local, Arc::clone(&stream.io().patience))
    }
}

/// A connection that is watched over.
pub(super) struct Guarded {
    stream: TcpStream,
    local: SocketAddr,
    peer: SocketAddr,
    phase: Phase,
    /// More time for the request, where a route granted it: whoever waits for something new is not slow.
    patience: Arc<AtomicU64>,
    /// Bytes it may still send in this phase.
    left: usize,
    /// When this phase ends.
    deadline: Pin<Box<Sleep>>,
    /// Given back when the connection is dropped.
    _slot: OwnedSemaphorePermit,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Request,
    Answer,
    /// Nothing more is sent; what still arrives is thrown away, because a reset would take the answer with it.
    Farewell,
}

impl Guarded {
    fn enter(&mut self, phase: Phase, left: usize, time: Duration) {
        self.phase = phase;
        self.patience.store(0, Ordering::Relaxed);
        self.left = left;
        self.deadline.set(tokio::time::sleep(time));
    }

    fn is_late(&mut self, cx: &mut Context<'_>) -> bool {
        if self.deadline.as_mut().poll(cx).is_pending() {
            return false;
        }
        let more = Duration::from_millis(self.patience.swap(0, Ordering::Relaxed));
        self.deadline.set(tokio::time::sleep(more));
        self.deadline.as_mut().poll(cx).is_ready()
    }

    /// Says why in one answer of its own, as far as the socket takes it at once, and sees the peer off.
    fn refuse(&mut self, cx: &mut Context<'_>, status: &str, words: &str) -> Poll<io::Result<()>> {
        let answer = format!(
            "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\
             Connection: close\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n\r\n{words}",
            words.len(),
        );
        // A peer whose window is closed before the first byte of its answer gets none.
        let _ = self.stream.try_write(answer.as_bytes());
        ready!(self.farewell(cx))?;
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "refused at the door")))
    }

    fn farewell(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.phase != Phase::Farewell {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
            self.enter(Phase::Farewell, FAREWELL_BYTES, FAREWELL_TIME);
        }
        let mut scratch = [0; 1024];
        while self.left > 0 && !self.is_late(cx) {
            let mut buffer = ReadBuf::new(&mut scratch);
            match ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => {
                    self.left = self.left.saturating_sub(buffer.filled().len());
                }
                Ok(()) | Err(_) => break,
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Guarded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let late = this.phase != Phase::Farewell && this.is_late(cx);
        match this.phase {
            Phase::Request if this.left == 0 => {
                return this.refuse(cx, "431 Request Header Fields Too Large", "The request is too long.\n");
            }
            Phase::Request if late => {
                return this.refuse(cx, "408 Request Timeout", "The request took too long.\n");
            }
            Phase::Answer if late => return Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Phase::Request | Phase::Answer => {}
            Phase::Farewell => {
                ready!(this.farewell(cx))?;
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(cx, buffer))?;
        this.left = this.left.saturating_sub(buffer.filled().len() - before);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if this.phase == Phase::Request {
            this.enter(Phase::Answer, FAREWELL_BYTES, ANSWER_TIME);
        }
        if this.is_late(cx) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Pin::new(&mut this.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.farewell(cx)
    }
}
