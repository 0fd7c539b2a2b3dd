//! The cloud on real sockets, loopback only: UDP for devices, HTTP for the management API.

use super::core::Cloud;
use super::handle::CloudHandle;
use super::{rest, webhook};
use std::io;
use std::net::SocketAddr;
use tokio::net::{TcpListener, UdpSocket};
use tokio_util::sync::CancellationToken;

/// Greatest UDP payload.
const MOST_BYTES: usize = 65_535;

/// What keeps a cloud from being reached.
#[derive(Debug, thiserror::Error)]
pub enum CloudServerError {
    /// An address others could reach.
    #[error(
        "the simulated cloud only listens on this machine, because its keys are on its command line, and {address} is not \
         loopback; use 127.0.0.1 or [::1]"
    )]
    NotLoopback {
        /// The address.
        address: SocketAddr,
    },
    /// A socket cannot be had.
    #[error("cannot listen on {protocol} {address} ({source}); choose a free port, or port 0 for any")]
    Socket {
        /// `UDP` or `TCP`.
        protocol: &'static str,
        /// Where.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// A listening socket broke.
    #[error("the simulated cloud's {protocol} socket broke ({source}); start it again")]
    Broken {
        /// `UDP` or `TCP`.
        protocol: &'static str,
        /// Why.
        source: io::Error,
    },
}

/// A cloud on its ports, not yet running.
#[derive(Debug)]
pub struct CloudServer {
    handle: CloudHandle,
    udp: UdpSocket,
    udp_address: SocketAddr,
    http: Option<(TcpListener, SocketAddr)>,
}

impl CloudServer {
    /// Listens on `udp`, and on `http` where the management API is wanted (port 0 for any).
    ///
    /// # Errors
    /// An address that is not loopback, or that cannot be had.
    pub async fn bind(
        handle: CloudHandle,
        udp: SocketAddr,
        http: Option<SocketAddr>,
    ) -> Result<Self, CloudServerError> {
        for address in [Some(udp), http].into_iter().flatten() {
            if !address.ip().is_loopback() {
                return Err(CloudServerError::NotLoopback { address });
            }
        }
        let failed = |protocol, address| move |source| CloudServerError::Socket { protocol, address, source };
        let socket = UdpSocket::bind(udp).await.map_err(failed("UDP", udp))?;
        let udp_address = socket.local_addr().map_err(failed("UDP", udp))?;
        let http = match http {
            None => None,
            Some(address) => {
                let listener = TcpListener::bind(address).await.map_err(failed("TCP", address))?;
                let local = listener.local_addr().map_err(failed("TCP", address))?;
                Some((listener, local))
            }
        };
        Ok(Self { handle, udp: socket, udp_address, http })
    }

    /// Where devices send to.
    #[must_use]
    pub fn udp_addr(&self) -> SocketAddr {
        self.udp_address
    }

    /// Where the management API is.
    #[must_use]
    pub fn http_addr(&self) -> Option<SocketAddr> {
        self.http.as_ref().map(|(_, address)| *address)
    }

    /// Serves until `stop`.
    ///
    /// # Errors
    /// A socket that broke.
    pub async fn run(self, stop: CancellationToken) -> Result<(), CloudServerError> {
        let Self { handle, udp, http, .. } = self;
        let devices = serve_devices(&handle, &udp);
        let operators = async {
            match http {
                None => std::future::pending().await,
                Some((listener, _)) => axum::serve(listener, rest::router(handle.clone())).await,
            }
        };
        tokio::select! {
            () = stop.cancelled() => Ok(()),
            () = webhook::carry(&handle) => Ok(()),
            broken = devices => Err(CloudServerError::Broken { protocol: "UDP", source: broken }),
            ended = operators => match ended {
                Ok(()) => Ok(()),
                Err(source) => Err(CloudServerError::Broken { protocol: "TCP", source }),
            },
        }
    }
}

/// Ends only when the socket breaks.
async fn serve_devices(handle: &CloudHandle, udp: &UdpSocket) -> io::Error {
    let clock = handle.clock();
    let mut buffer = vec![0_u8; MOST_BYTES];
    loop {
        while let Some((to, datagram)) = handle.drive_quietly(Cloud::poll_transmit) {
            // One that the system refuses is lost: it is UDP.
            let _lost = udp.send_to(&datagram, to).await;
        }
        let due = handle.read(Cloud::poll_timeout);
        let timeout = async {
            match due {
                Some(at) => tokio::time::sleep_until(clock.instant(at)).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = handle.changed() => {}
            () = timeout => handle.drive(|cloud, now| cloud.handle_timeout(now)),
            received = udp.recv_from(&mut buffer) => match received {
                Ok((length, from)) => {
                    let datagram = buffer.get(..length).unwrap_or_default();
                    handle.drive(|cloud, now| cloud.handle_datagram(now, from, datagram));
                }
                Err(error) if is_passing(&error) => {}
                Err(error) => return error,
            },
        }
    }
}

/// Errors of a datagram that was sent earlier, reported late: nothing is wrong with the socket.
fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}
