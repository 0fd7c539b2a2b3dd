//! The machine the daemon runs on: its randomness, its sockets, its ports.

use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use fieldgate::clock::{BootId, Machine, Mono, SystemTime, VirtualClock};
use fieldgate::daemon::rim::{Datagrams, Entropy, Net, PortSettings, Ports, SerialStream, UdpTarget};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use super::wires::Wires;
use super::{UNIX_MS, WorldOptions};
use crate::device::SerialDevice;
use crate::modem::{ModemProfile, SimModem};
use crate::relay::{Direction, FlowId};

#[derive(Debug)]
pub(super) struct Seeded(pub(super) Mutex<u64>);

impl Entropy for Seeded {
    fn fill(&self, bytes: &mut [u8]) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for chunk in bytes.chunks_mut(8) {
            *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let digest = Sha256::digest(state.to_le_bytes());
            chunk.copy_from_slice(&digest[..chunk.len()]);
        }
    }
}

/// The gateway's own clocks. Counts how often the daemon looks at the time: what never sleeps looks very often.
#[derive(Debug)]
pub(super) struct CountingMachine {
    pub(super) wires: Arc<Wires>,
    pub(super) clock: Arc<VirtualClock>,
}

impl Machine for CountingMachine {
    fn mono(&self) -> Mono {
        self.wires.looks.fetch_add(1, Ordering::Relaxed);
        Machine::mono(&*self.clock)
    }

    fn boot_id(&self) -> BootId {
        Machine::boot_id(&*self.clock)
    }

    fn system(&self) -> SystemTime {
        self.clock.system()
    }
}

#[derive(Debug)]
pub(super) struct MemoryNet(pub(super) Arc<Wires>);

#[async_trait]
impl Net for MemoryNet {
    async fn udp(&self, target: &UdpTarget) -> io::Result<Box<dyn Datagrams>> {
        // The gateway itself is on no wire, and runs no NTP daemon that could be asked.
        if target.host == "127.0.0.1" {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let (sender, receiver) = mpsc::channel(64);
        let flow = self.0.with(|state, _| {
            state.sockets_asked_for += 1;
            if state.interface_down {
                return Err(io::Error::from(io::ErrorKind::NetworkUnreachable));
            }
            state.next_port += 1;
            let flow = FlowId(u32::from(state.next_port));
            state.sockets.insert(flow, sender);
            Ok(flow)
        })?;
        let receiver = tokio::sync::Mutex::new(receiver);
        Ok(Box::new(MemorySocket { wires: Arc::clone(&self.0), flow, receiver }))
    }
}

#[derive(Debug)]
struct MemorySocket {
    wires: Arc<Wires>,
    flow: FlowId,
    receiver: tokio::sync::Mutex<mpsc::Receiver<Vec<u8>>>,
}

#[async_trait]
impl Datagrams for MemorySocket {
    fn send(&self, datagram: &[u8]) -> io::Result<()> {
        self.wires.with(|state, now| {
            state.trace(now, "gateway>", datagram);
            if state.interface_down {
                return Err(io::Error::from(io::ErrorKind::NetworkUnreachable));
            }
            if state.dead {
                return Ok(());
            }
            if let Some(kind @ 20..=25) = datagram.first()
                && state.began_with.is_none()
            {
                state.began_with = Some(*kind);
                if let Some(act) = &mut state.at_first_datagram {
                    act();
                }
            }
            if let Some(records) = &mut state.records {
                records.note(datagram);
            }
            state.leave_nat(now);
            state.relay.handle_flow(now, Direction::Up, self.flow, datagram);
            Ok(())
        })
    }

    async fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let datagram = self.receiver.lock().await.recv().await.ok_or(io::ErrorKind::NotConnected)?;
        let len = datagram.len().min(buffer.len());
        buffer[..len].copy_from_slice(&datagram[..len]);
        Ok(len)
    }
}

impl Drop for MemorySocket {
    fn drop(&mut self) {
        self.wires.with(|state, _| state.sockets.remove(&self.flow));
    }
}

#[derive(Debug)]
pub(super) struct MemoryPorts {
    wires: Arc<Wires>,
    seed: u64,
    network_time: Option<Duration>,
    imei: Option<&'static str>,
}

impl MemoryPorts {
    pub(super) fn new(options: &WorldOptions, wires: &Arc<Wires>) -> Self {
        let WorldOptions { seed, network_time, imei, .. } = *options;
        Self { wires: Arc::clone(wires), seed, network_time, imei }
    }
}

impl Ports for MemoryPorts {
    fn open(&self, settings: &PortSettings) -> io::Result<Box<dyn SerialStream>> {
        let (ours, theirs) = tokio::io::duplex(4096);
        let wires = Arc::clone(&self.wires);
        if settings.path.ends_with("bus") {
            tokio::spawn(bus(wires, theirs));
        } else if settings.path.ends_with("quiet") {
            tokio::spawn(quiet(theirs));
        } else {
            let mut profile = ModemProfile::serial_modem();
            if let Some(imei) = self.imei {
                profile.imei = imei.to_owned();
            }
            let mut modem = SimModem::new(profile, self.seed, UNIX_MS.unsigned_abs() / 1000);
            modem.tell_time_from(self.network_time.unwrap_or(Duration::MAX));
            modem.power_on(wires.now());
            tokio::spawn(modem_line(wires, modem, theirs));
        }
        Ok(Box::new(ours))
    }
}

async fn bus(wires: Arc<Wires>, mut line: tokio::io::DuplexStream) {
    let mut buffer = [0; 512];
    loop {
        let (out, wake) = wires.with(|state, now| {
            state.bus.handle_timeout(now);
            let mut out = Vec::new();
            while let Some(bytes) = state.bus.poll_transmit() {
                state.note_answer(now, &bytes);
                out.extend(bytes);
            }
            if !out.is_empty() {
                state.trace(now, "bus>", &out);
            }
            (out, state.bus.poll_timeout())
        });
        if line.write_all(&out).await.is_err() {
            return;
        }
        let sleep = wake.map_or(Duration::from_secs(3600), |at| at.saturating_sub(wires.now()));
        tokio::select! {
            biased;
            read = line.read(&mut buffer) => match read {
                Ok(n) if n > 0 => wires.with(|state, now| {
                    state.trace(now, "bus<", &buffer[..n]);
                    state.bus.handle_bytes(now, &buffer[..n]);
                }),
                _ => return,
            },
            () = tokio::time::sleep(sleep) => {}
        }
    }
}

async fn modem_line(wires: Arc<Wires>, mut modem: SimModem, mut line: tokio::io::DuplexStream) {
    let mut buffer = [0; 512];
    loop {
        let now = wires.now();
        modem.handle_timeout(now);
        while let Some(bytes) = modem.poll_transmit() {
            wires.with(|state, now| state.trace(now, "modem>", &bytes));
            if line.write_all(&bytes).await.is_err() {
                return;
            }
        }
        let sleep =
            modem.poll_timeout().map_or(Duration::from_secs(3600), |at| at.saturating_sub(wires.now()));
        tokio::select! {
            biased;
            read = line.read(&mut buffer) => match read {
                Ok(n) if n > 0 => {
                    let now = wires.now();
                    wires.with(|state, now| state.trace(now, "modem<", &buffer[..n]));
                    modem.handle_bytes(now, &buffer[..n]);
                }
                _ => return,
            },
            () = tokio::time::sleep(sleep) => {}
        }
    }
}

/// A line on which nobody answers.
async fn quiet(mut line: tokio::io::DuplexStream) {
    let mut buffer = [0; 512];
    while line.read(&mut buffer).await.is_ok_and(|n| n > 0) {}
}
