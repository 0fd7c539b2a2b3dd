//! The relay on real sockets, loopback only.
//!
//! The gateway sends to one port. Each source address there is a flow with a socket of its own towards the cloud, as a
//! translating router would keep it. A rebinding gives every flow a new socket; the old ones stay open, deaf, for a
//! while, so that what the cloud still sends there vanishes instead of being refused and so that the port is not
//! given out again. Nothing is ever sent anywhere but to loopback: other addresses are refused when the relay is made.

use super::core::{Delivery, Direction, FlowId, Relay, RelayCounters, RelayProfile};
use crate::clock::Clock;
use crate::device::Shared;
use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;

/// Most flows kept; the one unused longest goes first.
const MOST_FLOWS: usize = 8;
/// Most sockets of forgotten mappings kept open.
const MOST_RETIRED: usize = 16;
/// Greatest UDP payload.
const MOST_BYTES: usize = 65_535;

/// What keeps a relay from being made or from running on.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// An address that is not on this machine.
    #[error(
        "the simulated network only joins addresses of this machine, and {address} is not one; use 127.0.0.1 or [::1]"
    )]
    NotLoopback {
        /// The address.
        address: SocketAddr,
    },
    /// A socket cannot be had.
    #[error("cannot open a UDP socket on {address} ({source}); choose a free port, or port 0 for any")]
    Socket {
        /// Where.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// The listening socket broke.
    #[error("the simulated network's socket broke ({source}); start the simulator again")]
    Broken {
        /// Why.
        source: io::Error,
    },
}

/// A relay on a loopback port, not yet running.
#[derive(Debug)]
pub struct UdpRelay {
    relay: Shared<Relay>,
    listen: Arc<UdpSocket>,
    local: SocketAddr,
    upstream: SocketAddr,
    flows: Vec<Flow>,
    next_flow: u32,
    used: u64,
    retired: VecDeque<Arc<UdpSocket>>,
    rebinds_done: u64,
    from_cloud: mpsc::Sender<(FlowId, Vec<u8>)>,
    inbox: mpsc::Receiver<(FlowId, Vec<u8>)>,
}

#[derive(Debug)]
struct Flow {
    id: FlowId,
    gateway: SocketAddr,
    socket: Arc<UdpSocket>,
    reader: AbortHandle,
    last_used: u64,
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl UdpRelay {
    /// Listens on `listen` (port 0 for any) and will forward to `upstream`. Both must be loopback addresses.
    pub async fn bind(
        listen: SocketAddr,
        upstream: SocketAddr,
        profile: RelayProfile,
        seed: u64,
        clock: Clock,
    ) -> Result<Self, RelayError> {
        for address in [listen, upstream] {
            if !is_loopback(address.ip()) {
                return Err(RelayError::NotLoopback { address });
            }
        }
        let failed = |source| RelayError::Socket { address: listen, source };
        let socket = UdpSocket::bind(listen).await.map_err(failed)?;
        let local = socket.local_addr().map_err(failed)?;
        let (from_cloud, inbox) = mpsc::channel(256);
        Ok(Self {
            relay: Shared::new(Relay::new(profile, seed), clock),
            listen: Arc::new(socket),
            local,
            upstream,
            flows: Vec::new(),
            next_flow: 0,
            used: 0,
            retired: VecDeque::new(),
            rebinds_done: 0,
            from_cloud,
            inbox,
        })
    }

    /// Where the gateway sends to.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Disturbs and reads the network while it runs.
    #[must_use]
    pub fn handle(&self) -> RelayHandle {
        RelayHandle { relay: self.relay.clone() }
    }

    /// Carries datagrams until `stop`.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), RelayError> {
        let listen = Arc::clone(&self.listen);
        let clock = self.relay.clock();
        let mut buffer = vec![0_u8; MOST_BYTES];
        loop {
            self.follow_rebinds().await?;
            self.deliver().await;
            let deadline = self.relay.read(Relay::poll_timeout);
            let arrival = async {
                match deadline {
                    Some(at) => tokio::time::sleep_until(clock.instant(at)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = self.relay.changed() => {}
                () = arrival => {}
                Some((flow, bytes)) = self.inbox.recv() => {
                    self.relay.lock().handle_flow(clock.now(), Direction::Down, flow, &bytes);
                }
                received = listen.recv_from(&mut buffer) => match received {
                    Ok((n, gateway)) => {
                        let flow = self.flow_of(gateway).await?;
                        let bytes = buffer.get(..n).unwrap_or_default();
                        self.relay.lock().handle_flow(clock.now(), Direction::Up, flow, bytes);
                    }
                    Err(error) if is_passing(&error) => {}
                    Err(source) => return Err(RelayError::Broken { source }),
                },
            }
        }
    }

    /// Sends what has arrived. A datagram whose flow was forgotten meanwhile, or that the system refuses, is lost: it
    /// is UDP.
    async fn deliver(&mut self) {
        loop {
            let delivery = {
                let mut relay = self.relay.lock();
                relay.poll_deliver(self.relay.clock().now())
            };
            let Some(Delivery { direction, flow, bytes }) = delivery else { return };
            let Some(flow) = self.flows.iter().find(|f| f.id == flow) else { continue };
            let _refused = match direction {
                Direction::Up => flow.socket.send_to(&bytes, self.upstream).await,
                Direction::Down => self.listen.send_to(&bytes, flow.gateway).await,
            };
        }
    }

    /// Gives every flow a new source port when the core has counted a rebinding.
    async fn follow_rebinds(&mut self) -> Result<(), RelayError> {
        let rebinds = self.relay.read(|relay| relay.counters().rebinds);
        if rebinds == self.rebinds_done {
            return Ok(());
        }
        self.rebinds_done = rebinds;
        for flow in &mut self.flows {
            // The new socket is opened while the old one holds its port, so the port differs.
            let (socket, reader) = open_upstream(self.upstream, flow.id, self.from_cloud.clone()).await?;
            flow.reader.abort();
            flow.reader = reader;
            self.retired.push_back(std::mem::replace(&mut flow.socket, socket));
        }
        while self.retired.len() > MOST_RETIRED {
            self.retired.pop_front();
        }
        Ok(())
    }

    async fn flow_of(&mut self, gateway: SocketAddr) -> Result<FlowId, RelayError> {
        self.used += 1;
        if let Some(flow) = self.flows.iter_mut().find(|f| f.gateway == gateway) {
            flow.last_used = self.used;
            return Ok(flow.id);
        }
        if self.flows.len() >= MOST_FLOWS
            && let Some((oldest, _)) = self.flows.iter().enumerate().min_by_key(|(_, f)| f.last_used)
        {
            self.flows.remove(oldest);
        }
        let id = FlowId(self.next_flow);
        self.next_flow = self.next_flow.wrapping_add(1);
        let (socket, reader) = open_upstream(self.upstream, id, self.from_cloud.clone()).await?;
        self.flows.push(Flow { id, gateway, socket, reader, last_used: self.used });
        Ok(id)
    }
}

/// A socket towards the cloud, and the task that reads it.
async fn open_upstream(
    upstream: SocketAddr,
    flow: FlowId,
    inbox: mpsc::Sender<(FlowId, Vec<u8>)>,
) -> Result<(Arc<UdpSocket>, AbortHandle), RelayError> {
    let any = SocketAddr::new(loopback_like(upstream.ip()), 0);
    let socket = UdpSocket::bind(any).await.map_err(|source| RelayError::Socket { address: any, source })?;
    let socket = Arc::new(socket);
    let reading = Arc::clone(&socket);
    let reader = tokio::spawn(async move {
        let mut buffer = vec![0_u8; MOST_BYTES];
        loop {
            match reading.recv_from(&mut buffer).await {
                // Only the cloud may answer through this mapping.
                Ok((n, from)) if from == upstream => {
                    let bytes = buffer.get(..n).unwrap_or_default().to_vec();
                    if inbox.send((flow, bytes)).await.is_err() {
                        return;
                    }
                }
                Ok(_) => {}
                Err(error) if is_passing(&error) => {}
                Err(_) => return,
            }
        }
    });
    Ok((socket, reader.abort_handle()))
}

/// Errors of a datagram that was sent earlier, reported late: nothing is wrong with the socket.
fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}

fn is_loopback(ip: IpAddr) -> bool {
    ip.is_loopback()
}

fn loopback_like(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
        IpAddr::V6(_) => IpAddr::V6(std::net::Ipv6Addr::LOCALHOST),
    }
}

/// A hand on a running relay. Cheap to clone.
#[derive(Debug, Clone)]
pub struct RelayHandle {
    relay: Shared<Relay>,
}

impl RelayHandle {
    /// Cuts the link both ways; what is under way is lost.
    pub fn cut(&self) {
        self.relay.with(|relay, now| {
            relay.cut();
            relay.outage.begins(now);
        });
    }

    /// Joins the link again.
    pub fn heal(&self) {
        self.relay.with(|relay, now| {
            relay.heal();
            relay.outage.ends(now);
        });
    }

    /// How long the link was cut up to now, all cuts by this hand together.
    #[must_use]
    pub fn cut_for(&self) -> Duration {
        self.relay.read(|relay| relay.outage.until(self.relay.clock().now()))
    }

    /// From now on the cloud sees another source port.
    pub fn rebind(&self) {
        self.with(Relay::rebind);
    }

    /// Changes the probability of loss, both ways.
    pub fn set_loss(&self, loss: f64) {
        self.with(|relay| relay.set_loss(loss));
    }

    /// Changes the profile.
    pub fn set_profile(&self, profile: RelayProfile) {
        self.with(|relay| relay.set_profile(profile));
    }

    /// What happened up to now.
    #[must_use]
    pub fn counters(&self) -> RelayCounters {
        self.relay.read(Relay::counters)
    }

    /// Anything else the core can do; the driver looks again afterwards. `f` must not block.
    pub fn with<R>(&self, f: impl FnOnce(&mut Relay) -> R) -> R {
        self.relay.with(|relay, _now| f(relay))
    }
}
