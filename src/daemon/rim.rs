//! The rim: everything the daemon takes from the machine, behind traits, so that a test can hand it another machine.
//!
//! Lanes get an `Arc<Rim>` and nothing else that touches the outside. In a test the clock is virtual, the wires are in
//! memory and the randomness comes from a seed; the same lanes run on both.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::clock::{Clock, Mono};
use crate::spend::wire;

/// What a lane may use of the outside.
#[derive(Clone, Debug)]
pub struct Rim {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub random: Arc<dyn Entropy>,
    /// Datagrams.
    pub net: Arc<dyn Net>,
    /// Serial ports.
    pub ports: Arc<dyn Ports>,
    /// The board's serial number. `None` where it has none it tells.
    pub hardware: Option<Arc<str>>,
}

impl Rim {
    /// Monotonic time, in the form the protocol cores take.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.clock.mono().since_boot()
    }

    /// Waits until `at`; returns at once when that has passed.
    pub async fn sleep_until(&self, at: Duration) {
        tokio::time::sleep(Mono::from(at).since(self.clock.mono())).await;
    }

    /// Waits.
    pub async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

/// A source of random bytes.
pub trait Entropy: Send + Sync + fmt::Debug {
    /// Fills the buffer.
    fn fill(&self, bytes: &mut [u8]);

    /// A random number.
    fn u64(&self) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    /// A random duration below `limit`: the jitter that keeps a thousand gateways from answering in step.
    fn below(&self, limit: Duration) -> Duration {
        let nanos = u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(if nanos == 0 { 0 } else { self.u64() % nanos })
    }
}

/// The path a socket takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UdpTarget {
    /// Name or address literal, IPv6 without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Interface to bind to, if the configuration names one.
    pub interface: Option<String>,
}

/// Makes sockets.
#[async_trait]
pub trait Net: Send + Sync + fmt::Debug {
    /// A UDP socket connected to the target. Name resolution is part of it.
    async fn udp(&self, target: &UdpTarget) -> io::Result<Box<dyn Datagrams>>;

    /// A TCP socket that listens at the address, on this interface only if one is named (`SO_BINDTODEVICE`). Wires in
    /// memory carry datagrams only: there, nobody listens.
    fn listen(&self, at: SocketAddr, interface: Option<&str>) -> io::Result<TcpListener> {
        let _ = (at, interface);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// A Unix stream socket that listens at the path, for its owner and its group. Wires in memory: as above.
    fn listen_local(&self, at: &Path) -> io::Result<UnixListener> {
        let _ = at;
        Err(io::ErrorKind::Unsupported.into())
    }

    /// What an interface has sent and received since it exists, in bytes, whoever caused it. `None` where nobody counts.
    fn counted(&self, _interface: &str) -> Option<u64> {
        None
    }
}

/// A connected UDP socket.
#[async_trait]
pub trait Datagrams: Send + Sync + fmt::Debug {
    /// Sends one datagram. A full buffer drops it, as the network would.
    fn send(&self, datagram: &[u8]) -> io::Result<()>;
    /// Receives one datagram into the buffer; the rest of a longer one is cut off.
    async fn recv(&self, buffer: &mut [u8]) -> io::Result<usize>;
    /// Where datagrams go to, if the socket knows.
    fn peer(&self) -> Option<SocketAddr> {
        None
    }
    /// Bytes of IP and UDP headers before each datagram.
    fn headers(&self) -> u64 {
        wire::UDP_OVER_IPV4
    }
}

/// Parity of a serial line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineParity {
    /// No parity bit.
    None,
    /// Even.
    Even,
    /// Odd.
    Odd,
}

/// How to open a serial port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortSettings {
    /// The device, by a stable name.
    pub path: PathBuf,
    /// Bits per second.
    pub baud: u32,
    /// Parity.
    pub parity: LineParity,
    /// 1 or 2.
    pub stop_bits: u8,
    /// RTS/CTS.
    pub flow_control: bool,
}

/// An open serial port: bytes both ways.
pub trait SerialStream: AsyncRead + AsyncWrite + Unpin + Send + fmt::Debug {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send + fmt::Debug> SerialStream for T {}

/// Opens serial ports, exclusively.
pub trait Ports: Send + Sync + fmt::Debug {
    /// Opens the port. Called again after a disappearance.
    fn open(&self, settings: &PortSettings) -> io::Result<Box<dyn SerialStream>>;
}

/// The machine itself.
pub mod machine {
    use tokio::net::TcpSocket;

    use std::os::unix::fs::PermissionsExt as _;

    use super::{
        Arc, Clock, Datagrams, Duration, Entropy, Net, Path, Rim, SocketAddr, TcpListener, UdpTarget,
        UnixListener, async_trait, io, wire,
    };

    /// The rim of a daemon that runs for real.
    #[must_use]
    pub fn rim(clock: Arc<dyn Clock>) -> Rim {
        Rim {
            clock,
            random: Arc::new(OsRandom),
            net: Arc::new(OsNet),
            ports: Arc::new(crate::serial::OsPorts),
            hardware: board_serial(),
        }
    }

    /// From the device tree, the chip, or the firmware's tables (`Documentation/ABI/testing/sysfs-devices-soc` of the kernel).
    fn board_serial() -> Option<Arc<str>> {
        // The device tree is also below /proc, which a sandbox may hide.
        const SOURCES: [&str; 3] = [
            "/sys/firmware/devicetree/base/serial-number",
            "/sys/devices/soc0/serial_number",
            "/sys/class/dmi/id/product_serial",
        ];
        SOURCES.iter().find_map(|path| serial_in(&std::fs::read_to_string(path).ok()?))
    }

    /// A serial number, if the text is one: makers of boards leave the field as it came, and then all boards have the same.
    pub(super) fn serial_in(text: &str) -> Option<Arc<str>> {
        const NONE: [&str; 6] = [
            "to be filled by o.e.m.",
            "default string",
            "system serial number",
            "not specified",
            "not applicable",
            "none",
        ];
        let serial = text.trim_matches(|c: char| c.is_whitespace() || c == '\0');
        let first = serial.chars().next()?;
        let told =
            !NONE.iter().any(|none| serial.eq_ignore_ascii_case(none)) && serial.chars().any(|c| c != first);
        told.then(|| serial.into())
    }

    #[derive(Debug)]
    struct OsRandom;

    impl Entropy for OsRandom {
        fn fill(&self, bytes: &mut [u8]) {
            // The kernel's pool fails only before it was seeded, early in a boot: then waiting is the answer.
            while getrandom::fill(bytes).is_err() {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }

    #[derive(Debug)]
    struct OsNet;

    #[async_trait]
    impl Net for OsNet {
        async fn udp(&self, target: &UdpTarget) -> io::Result<Box<dyn Datagrams>> {
            let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
            for address in tokio::net::lookup_host((target.host.as_str(), target.port)).await? {
                let local = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
                let connect = async {
                    let socket = tokio::net::UdpSocket::bind(local).await?;
                    socket.bind_device(target.interface.as_ref().map(String::as_bytes))?;
                    socket.connect(address).await?;
                    // A socket nobody has waited for yet takes nothing from `try_send`: the first datagram would be lost.
                    socket.writable().await?;
                    Ok(socket)
                };
                match connect.await {
                    Ok(socket) => return Ok(Box::new(OsDatagrams(socket))),
                    Err(error) => last = error,
                }
            }
            Err(last)
        }

        fn listen(&self, at: SocketAddr, interface: Option<&str>) -> io::Result<TcpListener> {
            bound(at, interface)?.listen(BACKLOG)?.into_std()
        }

        fn listen_local(&self, at: &Path) -> io::Result<UnixListener> {
            let listener = UnixListener::bind(at)?;
            std::fs::set_permissions(at, std::fs::Permissions::from_mode(0o660))?;
            Ok(listener)
        }

        fn counted(&self, interface: &str) -> Option<u64> {
            // Documentation/ABI/testing/sysfs-class-net-statistics of the kernel. The configuration allows no slash in a name.
            let read = |name: &str| -> Option<u64> {
                let path = format!("/sys/class/net/{interface}/statistics/{name}");
                std::fs::read_to_string(path).ok()?.trim().parse().ok()
            };
            read("rx_bytes")?.checked_add(read("tx_bytes")?)
        }
    }

    fn bound(at: SocketAddr, interface: Option<&str>) -> io::Result<TcpSocket> {
        let socket = if at.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        socket.bind_device(interface.map(str::as_bytes))?;
        socket.bind(at)?;
        Ok(socket)
    }

    /// Whether [`Net::listen`] would get this address now: it is taken and released at once.
    ///
    /// # Errors
    /// Why not.
    pub fn may_listen(at: SocketAddr, interface: Option<&str>) -> io::Result<()> {
        bound(at, interface).map(drop)
    }

    /// The kernel's queue of connections not yet taken.
    const BACKLOG: u32 = 64;

    #[derive(Debug)]
    struct OsDatagrams(tokio::net::UdpSocket);

    #[async_trait]
    impl Datagrams for OsDatagrams {
        fn headers(&self) -> u64 {
            match self.0.peer_addr() {
                Ok(peer) if peer.is_ipv6() => wire::UDP_OVER_IPV6,
                Ok(_) | Err(_) => wire::UDP_OVER_IPV4,
            }
        }

        fn peer(&self) -> Option<SocketAddr> {
            self.0.peer_addr().ok()
        }

        fn send(&self, datagram: &[u8]) -> io::Result<()> {
            match self.0.try_send(datagram) {
                Ok(_) => Ok(()),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(()),
                // What an ICMP message says of an earlier datagram is noise: it can be forged, and retransmission decides.
                Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
                Err(e) => Err(e),
            }
        }

        async fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
            loop {
                match self.0.recv(buffer).await {
                    Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => tokio::task::yield_now().await,
                    other => return other,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::machine::serial_in;

    #[test]
    fn a_serial_number_that_every_board_of_its_kind_has_is_none() {
        assert_eq!(serial_in("10000000abcdef01\0").as_deref(), Some("10000000abcdef01"));
        assert_eq!(serial_in("  SN-7 \n").as_deref(), Some("SN-7"));
        for none in ["", "\0", "To Be Filled By O.E.M.\n", "Default string", "0000000000000000\0", "None"] {
            assert_eq!(serial_in(none), None, "{none:?}");
        }
    }
}
