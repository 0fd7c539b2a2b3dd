//! Everything around one gateway, in this process: a Modbus line and a modem on ptys, a cloud on loopback, and the network
//! between.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Trouble;
use super::books::Books;
use super::config::{API_KEY, GOLIOTH, Installation, PROJECT, PSK, SERIAL, free_address};
use super::points::POINTS;
use super::reckon::{AtRisk, FarValue, MOST_NAMED, Produced, Reckoning, Sides, reckon};
use crate::bus::{Ledger, SimBus, three_slaves};
use crate::clock::Clock;
use crate::cloud::{Cloud, CloudConfig, CloudHandle, CloudServer, DeviceConfig};
use crate::device::{SerialDevice, Shared};
use crate::modem::{ModemProfile, SimModem};
use crate::pty::{self, Pty};
use crate::relay::{RelayHandle, RelayProfile, UdpRelay};

/// What the surroundings are to be like.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// All chance comes from it.
    pub seed: u64,
    /// The network.
    pub network: RelayProfile,
    /// Speed of the bus.
    pub baud: u32,
    /// How often every point is read.
    pub period: Duration,
    /// The daemon's commit window.
    pub commit_window: Duration,
    /// How long its batches gather.
    pub linger: Duration,
    /// Its messages in flight.
    pub window: u8,
    /// Whether there is a modem, and the management API is used.
    pub whole: bool,
}

/// See the module head. They run until dropped.
#[derive(Debug)]
pub struct Surroundings {
    /// The time line of all of them.
    pub clock: Clock,
    /// The Modbus line.
    pub bus: Shared<SimBus>,
    /// The modem, if there is one.
    pub modem: Option<Shared<SimModem>>,
    /// The network.
    pub network: RelayHandle,
    /// The cloud.
    pub cloud: CloudHandle,
    /// The page of the gateway among them.
    pub page: SocketAddr,
    /// The gateway's configuration.
    pub config: PathBuf,
    bus_port: PathBuf,
    bus_line: CancellationToken,
    bus_task: JoinSet<()>,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl Surroundings {
    /// Makes them, and the configuration of the gateway in `folder`.
    ///
    /// # Errors
    /// When the system gives no pty or no port, or a file cannot be written.
    pub async fn make(wanted: &Wanted, folder: &Path) -> Result<Self, Trouble> {
        let clock = Clock::start();
        let stop = CancellationToken::new();
        let (mut tasks, mut bus_task) = (JoinSet::new(), JoinSet::new());
        let bus = SimBus::new(three_slaves(), wanted.baud, wanted.seed).map_err(cannot)?;
        let bus = Shared::new(bus, clock);
        let (bus_port, bus_line) = (folder.join("bus"), stop.child_token());
        line(&bus_port, bus.clone(), &bus_line, &mut bus_task)?;
        let modem = match wanted.whole {
            false => None,
            true => {
                let modem = Shared::new(modem(wanted.seed, clock.now()), clock);
                line(&folder.join("modem"), modem.clone(), &stop, &mut tasks)?;
                Some(modem)
            }
        };
        let (cloud, udp, rest) = cloud(wanted, clock, &stop, &mut tasks).await?;
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let relay = UdpRelay::bind(any, udp, wanted.network, wanted.seed ^ 1, clock).await.map_err(cannot)?;
        let (reached, network) = (relay.local_addr(), relay.handle());
        let stop_relay = stop.clone();
        tasks.spawn(async move {
            // A relay that broke shows as a link that stays down.
            let _broken = relay.run(stop_relay).await;
        });
        let state_dir = folder.join("state");
        std::fs::create_dir_all(&state_dir).map_err(Trouble::system("make the state folder"))?;
        let page = free_address()?;
        let installation = Installation {
            state_dir,
            http: page,
            bus_port: bus_port.clone(),
            baud: wanted.baud,
            period: wanted.period,
            modem_port: modem.as_ref().map(|_| folder.join("modem")),
            cloud: reached,
            rest,
            commit_window: wanted.commit_window,
            linger: wanted.linger,
            window: wanted.window,
        };
        let config = installation.write(folder)?;
        Ok(Self {
            clock,
            bus,
            modem,
            network,
            cloud,
            page,
            config,
            bus_port,
            bus_line,
            bus_task,
            stop,
            tasks,
        })
    }

    /// Gives the bus a new port under the old name, as if its adapter had lost power together with a killed daemon. A port
    /// remembers that it was opened for one program alone until its last user is gone, and here that is this process.
    ///
    /// What was asked on the old line is answered on neither: the next daemon asks the same question first, and would take such
    /// an answer for its own, and its own for noise.
    ///
    /// # Errors
    /// When the system gives no pty.
    pub async fn replug_bus(&mut self) -> Result<(), Trouble> {
        self.bus_line.cancel();
        self.bus_task.shutdown().await;
        self.bus.with(|bus, _| SimBus::unplug(bus));
        self.bus_line = self.stop.child_token();
        line(&self.bus_port, self.bus.clone(), &self.bus_line, &mut self.bus_task)
    }

    /// What the devices put on the wire.
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        self.bus.read(SimBus::ledger)
    }

    /// What the counted points put on the wire, by stream.
    #[must_use]
    pub fn produced(&self) -> BTreeMap<String, Produced> {
        let ledger = self.ledger();
        let counted = POINTS.iter().filter(|wired| wired.counted);
        counted
            .filter_map(|wired| {
                let point = ledger.point(wired.unit, wired.point)?;
                Some((wired.stream(), Produced { function: point.function, produced: point.produced }))
            })
            .collect()
    }

    /// What the cloud has of the gateway, by alias.
    #[must_use]
    pub fn far(&self) -> BTreeMap<String, Vec<FarValue>> {
        self.cloud.read(|cloud| {
            let mut far: BTreeMap<String, Vec<FarValue>> = BTreeMap::new();
            for entry in cloud.intake().iter().filter(|entry| entry.device == SERIAL) {
                let wired = POINTS.iter().find(|wired| wired.alias == entry.alias);
                let value = entry.seen.value.as_f64();
                let value = FarValue {
                    epoch: entry.epoch,
                    sequence: entry.sequence,
                    value: value.map(|value| wired.map_or(value, |wired| wired.as_said(value))),
                    copies: entry.seen.copies.into(),
                };
                far.entry(entry.alias.to_owned()).or_default().push(value);
            }
            far
        })
    }

    /// Compares both sides, once the daemon has stopped and `books` are its last word; kills may have taken what is
    /// `at_risk`. What the cloud itself noticed is among the corrupted: one identity with two values, a message that is broken.
    #[must_use]
    pub fn reckon(&self, books: &Books, at_risk: &AtRisk) -> Reckoning {
        let (produced, far) = (self.produced(), self.far());
        let sides = Sides { produced: &produced, at_risk, books, far: &far, destination: GOLIOTH };
        let mut result = reckon(&sides);
        self.cloud.read(|cloud| {
            let (intake, counts) = (cloud.intake(), cloud.intake().counts());
            result.corrupted.count += counts.conflicts + counts.broken + counts.foreign;
            for conflict in intake.conflicts().iter().take(MOST_NAMED) {
                let (first, other) = &conflict.values;
                let name = format!("{} #{}: {first}, then {other}", conflict.alias, conflict.sequence);
                result.corrupted.names.push(name);
            }
            result
                .corrupted
                .names
                .extend(intake.faults().iter().take(MOST_NAMED).map(|fault| fault.what.clone()));
        });
        result
    }

    /// Whether everything still runs. A pty or a socket that broke ends its part.
    #[must_use]
    pub fn are_whole(&mut self) -> bool {
        self.tasks.try_join_next().is_none() && self.bus_task.try_join_next().is_none()
    }
}

impl Drop for Surroundings {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn modem(seed: u64, now: Duration) -> SimModem {
    let unix = u64::try_from(unix_ms() / 1000).unwrap_or(0);
    let mut modem = SimModem::new(ModemProfile::serial_modem(), seed, unix);
    modem.power_on(now);
    modem
}

fn line<D: SerialDevice + Send + 'static>(
    link: &Path,
    device: Shared<D>,
    stop: &CancellationToken,
    tasks: &mut JoinSet<()>,
) -> Result<(), Trouble> {
    let mut pty = Pty::open().map_err(cannot)?;
    pty.link_at(link).map_err(cannot)?;
    let stop = stop.clone();
    tasks.spawn(async move {
        // A line that broke shows as silence.
        let _broken = pty::run(pty, device, stop).await;
    });
    Ok(())
}

async fn cloud(
    wanted: &Wanted,
    clock: Clock,
    stop: &CancellationToken,
    tasks: &mut JoinSet<()>,
) -> Result<(CloudHandle, SocketAddr, Option<SocketAddr>), Trouble> {
    let devices = vec![DeviceConfig::new(SERIAL, PROJECT, PSK)];
    let config = CloudConfig::new(PROJECT, API_KEY, devices);
    let origin = unix_ms() - i64::try_from(clock.now().as_millis()).unwrap_or(0);
    let cloud = CloudHandle::new(Cloud::new(config, wanted.seed ^ 2, origin).map_err(cannot)?, clock);
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let server = CloudServer::bind(cloud.clone(), any, wanted.whole.then_some(any)).await.map_err(cannot)?;
    let (udp, rest) = (server.udp_addr(), server.http_addr());
    let stop = stop.clone();
    tasks.spawn(async move {
        // A cloud that broke shows as a link that stays down.
        let _broken = server.run(stop).await;
    });
    Ok((cloud, udp, rest))
}

fn cannot(error: impl std::fmt::Display) -> Trouble {
    Trouble::Surroundings(error.to_string())
}

fn unix_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}
