//! Everything outside the daemon, under one lock, and what moves datagrams through it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fieldgate::clock::{Clock, VirtualClock};
use sha2::{Digest, Sha256};
use tokio::sync::{Notify, mpsc};

use crate::bus::SimBus;
use crate::cloud::Cloud;
use crate::relay::{Direction, FlowId, Relay};

/// The outside. Whoever acts on it wakes [`carry`].
#[derive(Debug)]
pub(super) struct Wires {
    pub(super) state: Mutex<State>,
    pub(super) changed: Notify,
    /// Counts from the start of the world, over reboots of the gateway.
    pub(super) clock: VirtualClock,
    /// How often the daemon looked at the time.
    pub(super) looks: AtomicU64,
    /// What a cloud has done to the machine.
    pub(super) hands: Arc<super::VirtualHands>,
}

pub(super) struct State {
    pub(super) cloud: Cloud,
    pub(super) relay: Relay,
    pub(super) bus: SimBus,
    pub(super) trace: Sha256,
    pub(super) trace_events: u64,
    /// Datagrams to the gateway that are longer than a block.
    pub(super) blocks_down: u64,
    /// The gateway's open sockets.
    pub(super) sockets: BTreeMap<FlowId, mpsc::Sender<Vec<u8>>>,
    pub(super) next_port: u16,
    pub(super) sockets_asked_for: u64,
    /// When each answer of a slave was on the line, by unit and function code.
    pub(super) answers: BTreeMap<(u8, u8), Vec<Duration>>,
    /// The interface is gone: sockets give errors.
    pub(super) interface_down: bool,
    /// The gateway has no power: what it does no longer reaches anybody.
    pub(super) dead: bool,
    /// The address translation on the way, if it forgets by itself.
    pub(super) nat: Option<Nat>,
    /// The type of the first DTLS record that this run of the daemon has sent (RFC 6347 section 4.1).
    pub(super) began_with: Option<u8>,
    /// Called as each run of the daemon sends its first.
    pub(super) at_first_datagram: Option<Box<dyn FnMut() + Send>>,
    /// Numbers of protected records the gateway has sent, once somebody wants to know whether one comes twice.
    pub(super) records: Option<Records>,
    /// Nobody answers at the management API.
    pub(super) management_down: bool,
    /// How often its lists of pipelines were asked for.
    pub(super) looks_at_lists: u64,
}

/// An address translation that forgets what is idle: nothing gets back in, and what goes out next comes from another address.
#[derive(Debug, Clone, Copy)]
pub(super) struct Nat {
    pub(super) forgets_after: Duration,
    pub(super) used: Duration,
}

/// The type of a record with Connection ID: one of a session that is established (RFC 9146 section 4).
pub(super) const PROTECTED: u8 = 25;

/// Which record numbers were used under which Connection ID.
#[derive(Debug, Default)]
pub(super) struct Records {
    seen: BTreeSet<Vec<u8>>,
    pub(super) repeated: u64,
}

impl Records {
    /// Of a record with Connection ID (RFC 9146 section 4) epoch, number and identifier; the simulated cloud's have 8 bytes.
    pub(super) fn note(&mut self, datagram: &[u8]) {
        if let Some(number) = datagram.get(3..19).filter(|_| datagram.first() == Some(&PROTECTED)) {
            self.repeated += u64::from(!self.seen.insert(number.to_vec()));
        }
    }
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("State")
    }
}

impl Wires {
    pub(super) fn now(&self) -> Duration {
        self.clock.mono().since_boot()
    }

    pub(super) fn with<R>(&self, act: impl FnOnce(&mut State, Duration) -> R) -> R {
        let now = self.now();
        let result = act(&mut self.lock(), now);
        self.changed.notify_one();
        result
    }

    /// One thread: the lock is never contended, and poisoned only when a panic is under way already.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The largest block of CoAP, bytes: only a datagram with such a one in it is longer.
const BLOCK: usize = 1024;

/// As many answers are remembered of one slave and function.
const MOST_ANSWERS: usize = 200_000;

impl State {
    pub(super) fn note_answer(&mut self, now: Duration, frame: &[u8]) {
        if let [unit, function, ..] = frame {
            let times = self.answers.entry((*unit, *function)).or_default();
            if times.len() < MOST_ANSWERS {
                times.push(now);
            }
        }
    }

    pub(super) fn trace(&mut self, now: Duration, wire: &str, bytes: &[u8]) {
        self.trace.update(now.as_nanos().to_le_bytes());
        self.trace.update(wire.as_bytes());
        self.trace.update((bytes.len() as u64).to_le_bytes());
        self.trace.update(bytes);
        self.trace_events += 1;
    }

    /// A datagram leaves the gateway: the address translation knows it again, behind another address if it had forgotten.
    pub(super) fn leave_nat(&mut self, now: Duration) {
        if !self.enter_nat(now) {
            self.relay.rebind();
        }
        if let Some(nat) = &mut self.nat {
            nat.used = now;
        }
    }

    /// Whether the address translation lets a datagram in now.
    fn enter_nat(&mut self, now: Duration) -> bool {
        let Some(nat) = &mut self.nat else { return true };
        let knows = now.saturating_sub(nat.used) <= nat.forgets_after;
        if knows {
            nat.used = now;
        }
        knows
    }

    /// What the cloud sees of a socket of the gateway: the address translation keeps the port and changes its own address
    /// each time it forgets.
    fn public_address(&self, flow: FlowId) -> SocketAddr {
        let rebinds = u8::try_from(self.relay.counters().rebinds % 250).unwrap_or(0);
        SocketAddr::from(([203, 0, 113, 1 + rebinds], u16::try_from(flow.0).unwrap_or(0)))
    }
}

/// Moves datagrams between the gateway's sockets, the relay and the cloud, when their time has come.
pub(super) async fn carry(wires: Arc<Wires>) {
    loop {
        let now = wires.now();
        // Not through `with`: it would wake this very loop.
        let wake = step(&mut wires.lock(), now);
        tokio::select! {
            biased;
            () = wires.changed.notified() => {}
            () = tokio::time::sleep(wake.saturating_sub(now)) => {}
        }
    }
}

/// One look at everything; returns when to look again.
fn step(state: &mut State, now: Duration) -> Duration {
    loop {
        let mut quiet = true;
        while let Some(delivery) = state.relay.poll_deliver(now) {
            quiet = false;
            match delivery.direction {
                Direction::Up => {
                    state.trace(now, "cloud<", &delivery.bytes);
                    let from = state.public_address(delivery.flow);
                    state.cloud.handle_datagram(now, from, &delivery.bytes);
                }
                Direction::Down => {
                    state.trace(now, "gateway<", &delivery.bytes);
                    if let Some(socket) = state.sockets.get(&delivery.flow) {
                        state.blocks_down += u64::from(delivery.bytes.len() > BLOCK);
                        let _ = socket.try_send(delivery.bytes);
                    }
                }
            }
        }
        state.cloud.handle_timeout(now);
        while let Some((to, datagram)) = state.cloud.poll_transmit() {
            quiet = false;
            state.trace(now, "cloud>", &datagram);
            let flow = FlowId(u32::from(to.port()));
            // What is sent to an address that was given up finds nobody.
            if state.public_address(flow) == to && state.enter_nat(now) {
                state.relay.handle_flow(now, Direction::Down, flow, &datagram);
            }
        }
        if quiet {
            break;
        }
    }
    let far = now + Duration::from_secs(3600);
    state.relay.poll_timeout().unwrap_or(far).min(state.cloud.poll_timeout().unwrap_or(far))
}
