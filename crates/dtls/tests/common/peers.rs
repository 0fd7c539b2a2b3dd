//! Foreign peers as processes, and one session of ours over a real socket.
#![allow(clippy::disallowed_methods, reason = "foreign peers live in real time")]

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fieldgate_dtls::{ClientConfig, Event, Session};

use super::{ms, rng};

pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A child process that does not outlive its test.
pub(crate) struct Peer(pub(crate) Child);

impl Peer {
    pub(crate) fn start(program: &str, arguments: &[&str]) -> Self {
        let spawned =
            Command::new(program).args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        match spawned {
            Ok(child) => Self(child),
            Err(error) => panic!(
                "{program} does not run ({error}): install the Debian packages libcoap3-bin and openssl"
            ),
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Two neighbouring UDP ports that are free now: libcoap's server takes one for CoAP and the next for DTLS.
pub(crate) fn free_pair() -> u16 {
    for _ in 0..100 {
        let first = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
        let port = first.local_addr().unwrap().port();
        let Some(next) = port.checked_add(1) else { continue };
        if UdpSocket::bind(("127.0.0.1", next)).is_ok()
            && std::net::TcpListener::bind(("127.0.0.1", next)).is_ok()
        {
            return port;
        }
    }
    panic!("no two neighbouring ports are free")
}

/// Drives one client session over a real socket.
pub(crate) struct Driver {
    socket: UdpSocket,
    pub(crate) origin: Instant,
    pub(crate) session: Session,
}

impl Driver {
    pub(crate) fn new(config: &ClientConfig, peer: SocketAddr) -> Self {
        let socket = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
        socket.connect(peer).unwrap();
        let seed = u64::from(socket.local_addr().unwrap().port());
        Self {
            socket,
            origin: Instant::now(),
            session: Session::client(config, Duration::ZERO, rng(seed)).unwrap(),
        }
    }

    /// The next event, or none before `deadline`.
    pub(crate) fn next_event(&mut self, deadline: Duration) -> Option<Event> {
        let mut buffer = [0; 2048];
        loop {
            while let Some(datagram) = self.session.poll_transmit() {
                // Refused while the peer is still starting: lost, as far as DTLS is concerned.
                let _ = self.socket.send(&datagram);
            }
            if let Some(event) = self.session.poll_event() {
                return Some(event);
            }
            let now = self.origin.elapsed();
            if now >= deadline {
                return None;
            }
            let until = self.session.poll_timeout().unwrap_or(deadline).min(deadline);
            let wait = until.saturating_sub(now).max(ms(1));
            self.socket.set_read_timeout(Some(wait)).unwrap();
            match self.socket.recv(&mut buffer) {
                Ok(length) => self.session.handle_datagram(self.origin.elapsed(), &buffer[..length]),
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                    // Nobody there yet: leave the rest to the retransmission timer.
                    std::thread::yield_now();
                }
                Err(_) => {}
            }
            self.session.handle_timeout(self.origin.elapsed());
        }
    }
}
