//! Wiring: every room meets every other here and nowhere else.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::rim::Rim;
use super::stores::{SharedConfig, Stores};
use super::supervisor::{Lane, Supervisor};
use super::timekeeper;
use crate::board::Board;
use crate::clouds::golioth;
use crate::clouds::mqtt::MqttLink;
use crate::http::sources::{GatewayFacts, NoDevices, NoFirmwareLog, Sources};
use crate::http::{self, Door};
use crate::sensors;
use crate::uplink::drain::{self, DrainOptions};
use crate::uplink::link::Link;

/// A running gateway: its lanes, and what they share.
#[derive(Debug)]
pub struct Daemon {
    /// What is known now.
    pub board: Arc<Board>,
    /// The open files.
    pub stores: Stores,
    supervisor: Arc<Supervisor>,
    stop: CancellationToken,
}

/// How long lanes get to end after the stop.
const LANES_END: Duration = Duration::from_secs(5);

impl Daemon {
    /// Builds every lane of the configuration and starts it. Must run inside a tokio runtime.
    ///
    /// # Errors
    /// In words, when a part cannot be built at all.
    pub fn start(config: &SharedConfig, rim: &Rim, stores: Stores) -> Result<Self, String> {
        let board = Board::shared();
        let stop = CancellationToken::new();
        let supervisor = Arc::new(Supervisor::new(rim.clone(), Arc::clone(&board), stop.clone()));
        let daemon = Self { board, stores, supervisor, stop };
        daemon.lane(timekeeper::lane(daemon.stores.clone(), rim.clone(), daemon.stop.clone()));
        daemon.buses(config, rim);
        daemon.links(config, rim)?;
        Ok(daemon)
    }

    fn buses(&self, config: &SharedConfig, rim: &Rim) {
        let mut ids = self.stores.queue.streams();
        for bus in &config.buses {
            // The same order in which the streams were opened: see `stores::streams`.
            let (own, rest) = ids.split_at(sensors::streams(bus).len().min(ids.len()));
            ids = rest;
            let (queue, board) = (self.stores.queue.clone(), Arc::clone(&self.board));
            self.lane(sensors::lane(bus.clone(), own.to_vec(), queue, rim.clone(), board, self.stop.clone()));
        }
    }

    /// Starts the page and the API, if the configuration wants them. Sockets of its own: left out in virtual time.
    pub fn serve(
        &self,
        config: &SharedConfig,
        rim: &Rim,
        door: Door,
    ) -> Option<watch::Receiver<Option<SocketAddr>>> {
        let http = config.http.as_ref()?;
        let supervisor = Arc::clone(&self.supervisor);
        let sources = Sources {
            board: Arc::clone(&self.board),
            queue: self.stores.queue.status(),
            destinations: self.stores.queue.destinations().into(),
            gateway: GatewayFacts {
                name: config.gateway.name.clone(),
                serial: config.gateway.serial.clone(),
                version: env!("CARGO_PKG_VERSION").into(),
                started: rim.clock.mono(),
            },
            clock: Arc::clone(&rim.clock),
            firmware_log: Arc::new(NoFirmwareLog),
            devices: Arc::new(NoDevices),
            silent_lanes: Arc::new(move || supervisor.silent()),
        };
        let (lane, address) = http::lane(http, door, sources, self.stop.clone());
        self.lane(lane);
        Some(address)
    }

    fn lane(&self, lane: Lane) {
        self.supervisor.spawn(lane);
    }

    fn links(&self, config: &SharedConfig, rim: &Rim) -> Result<(), String> {
        let window = usize::from(config.uplink.window);
        if let Some(settings) = &config.golioth {
            let (link, lane) =
                golioth::session::link(settings, &config.path, window, rim, &self.board, &self.stop)
                    .map_err(|e| e.to_string())?;
            self.lane(lane);
            self.drain(link, config, rim);
        }
        for settings in &config.mqtt {
            let serial = &config.gateway.serial;
            let (link, lane) =
                MqttLink::new(settings, serial, &config.path, window, rim, &self.board, &self.stop);
            self.lane(lane);
            self.drain(link, config, rim);
        }
        Ok(())
    }

    fn drain(&self, link: Arc<dyn Link>, config: &SharedConfig, rim: &Rim) {
        let destination = self.stores.queue.destinations().iter().find(|(_, name)| name == link.name());
        let Some((destination, _)) = destination else { return };
        let options = DrainOptions {
            window: usize::from(config.uplink.window),
            linger: config.uplink.linger,
            hold_untrusted: config.time.hold_untrusted,
        };
        let (queue, stop) = (self.stores.queue.clone(), self.stop.clone());
        self.lane(drain::lane(link, *destination, queue, rim.clone(), options, stop));
    }

    /// The lanes' keeper.
    #[must_use]
    pub fn supervisor(&self) -> &Arc<Supervisor> {
        &self.supervisor
    }

    /// Ends every lane, commits what waits and closes the files.
    pub async fn stop(self) {
        self.stop.cancel();
        self.supervisor.stopped(LANES_END).await;
        self.stores.stop();
    }
}
