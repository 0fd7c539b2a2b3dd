//! Wiring: every room meets every other here and nowhere else.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::accountant;
use super::log_lines;
use super::log_push;
use super::probe::{GoliothProber, NoProber};
use super::reporter;
use super::rim::{Entropy, Rim};
use super::stores::{SharedConfig, Stores};
use super::supervisor::{Lane, Supervisor};
use super::timekeeper;
use super::views::{DeviceView, LogView, ReadingView};
use super::watch::Watch;
use crate::board::{Board, DeliveryState, Hands};
use crate::clock::Mono;
use crate::clouds::Means;
use crate::clouds::golioth::delivery::PipelineLists;
use crate::clouds::golioth::kept::{Bound, Shelf};
use crate::clouds::golioth::looks::{Held, LastLooks};
use crate::clouds::golioth::{self, delivery};
use crate::clouds::mqtt::MqttLink;
use crate::config::{Golioth, NetworkPath};
use crate::control;
use crate::gather::Gather;
use crate::http::sources::{GatewayFacts, Sources};
use crate::http::{self, Door};
use crate::logs::Logs;
use crate::modem;
use crate::ota;
use crate::registry::plan::Plan;
use crate::registry::provider::Provider;
use crate::registry::{self, own_record_lane};
use crate::remote;
use crate::sensors;
use crate::spend::Purse;
use crate::store::gateway::time_floor;
use crate::uplink::drain::{self, DrainOptions};
use crate::uplink::link::{CloudEvent, Link, Manifest};
use crate::uplink::share::Weights;

/// A running gateway: its lanes, and what they share.
#[derive(Debug)]
pub struct Daemon {
    /// What is known now.
    pub board: Arc<Board>,
    /// The open files.
    pub stores: Stores,
    /// The link that deploys, and that takes log lines, where one is configured.
    device_plane: OnceLock<Arc<dyn Link>>,
    /// What may be spent.
    purse: Arc<Purse>,
    supervisor: Arc<Supervisor>,
    stop: CancellationToken,
    /// When it was started.
    started: Mono,
    /// Where the session with Golioth is left for the next run, and what seals it.
    shelf: OnceLock<(Arc<Shelf>, Arc<dyn Entropy>)>,
}

/// How long lanes get to end after the stop.
const LANES_END: Duration = Duration::from_secs(5);

impl Daemon {
    /// Builds every lane of the configuration and starts it. Must run inside a tokio runtime.
    ///
    /// # Errors
    /// In words, when a part cannot be built at all.
    pub fn start(config: &SharedConfig, rim: &Rim, stores: Stores) -> Result<Self, String> {
        Self::start_with(config, rim, stores, None)
    }

    /// As [`Daemon::start`]; where a management key is configured, `lists` stands for the management API, for which no socket can
    /// be made in virtual time.
    ///
    /// # Errors
    /// As [`Daemon::start`].
    pub fn start_with(
        config: &SharedConfig,
        rim: &Rim,
        stores: Stores,
        lists: Option<Arc<dyn PipelineLists>>,
    ) -> Result<Self, String> {
        let board = Board::shared();
        let stop = CancellationToken::new();
        let supervisor = Arc::new(Supervisor::new(rim.clone(), Arc::clone(&board), stop.clone()));
        let purse = Purse::new(
            config.budget.clone(),
            accountant::kept(&stores.gateway),
            config.uplink.live_bound,
            Arc::clone(&rim.clock),
            Arc::clone(&board),
        );
        purse.look_at(&stores.queue);
        let daemon = Self {
            board,
            stores,
            purse,
            supervisor,
            stop,
            started: rim.clock.mono(),
            shelf: OnceLock::new(),
            device_plane: OnceLock::new(),
        };
        daemon.lane(timekeeper::lane(
            daemon.stores.clone(),
            rim.clone(),
            Arc::clone(&daemon.board),
            daemon.stop.clone(),
        ));
        let NetworkPath::System { interface } = &config.path;
        let (purse, gateway) = (Arc::clone(&daemon.purse), daemon.stores.gateway.clone());
        let counters =
            accountant::Counters { interface: interface.clone(), board: Arc::clone(&daemon.board) };
        daemon.lane(accountant::lane(purse, gateway, counters, rim.clone(), daemon.stop.clone()));
        daemon.registry(config, rim);
        daemon.modem(config, rim);
        daemon.buses(config, rim);
        daemon.links(config, rim, lists);
        Ok(daemon)
    }

    fn registry(&self, config: &SharedConfig, rim: &Rim) {
        let parts = registry::Parts {
            gateway: self.stores.gateway.clone(),
            board: Arc::clone(&self.board),
            rim: rim.clone(),
            plan: Arc::new(Plan::of(config)),
            stop: self.stop.clone(),
        };
        self.lane(registry::lane(parts));
    }

    /// Firmware truth for a link that deploys: what it delivers is compared and journaled, what runs is reported.
    fn updates(&self, link: &Arc<dyn Link>, config: &SharedConfig, rim: &Rim) {
        let Some(events) = link.events() else { return };
        let (to_updates, manifests) = mpsc::channel(4);
        self.remote(link, events, to_updates, config, rim);
        let (reports, to_report) = mpsc::channel(32);
        let parts = ota::Parts {
            gateway: self.stores.gateway.clone(),
            rim: rim.clone(),
            own_serial: config.gateway.serial.clone(),
            manifests,
            reports,
            stop: self.stop.clone(),
        };
        self.lane(ota::lane(parts));
        self.lane(reporter::lane(
            Arc::clone(link),
            to_report,
            Arc::clone(&self.purse),
            rim.clone(),
            self.stop.clone(),
        ));
    }

    /// What a cloud does from afar, and what it knows of the gateway's state.
    fn remote(
        &self,
        link: &Arc<dyn Link>,
        events: mpsc::Receiver<CloudEvent>,
        manifests: mpsc::Sender<Manifest>,
        config: &SharedConfig,
        rim: &Rim,
    ) {
        let (desired, wanted) = watch::channel(serde_json::Value::Null);
        let (gateway, queue) = (self.stores.gateway.clone(), self.stores.queue.clone());
        self.lane(remote::lane(remote::Parts {
            link: Arc::clone(link),
            events,
            manifests,
            desired,
            gateway: gateway.clone(),
            queue,
            board: Arc::clone(&self.board),
            rim: rim.clone(),
            configured: remote::Configured {
                log_level: config.log.level,
                log_cloud: config.log.cloud,
                commit_window: config.store.commit_window,
            },
            stop: self.stop.clone(),
        }));
        self.lane(remote::reported::lane(remote::reported::Parts {
            link: Arc::clone(link),
            desired: wanted,
            location: config.golioth.as_ref().is_some_and(|golioth| golioth.location_path.is_some()),
            gateway,
            board: Arc::clone(&self.board),
            purse: Arc::clone(&self.purse),
            rim: rim.clone(),
            stop: self.stop.clone(),
        }));
    }

    /// Lends the process's and the machine's hands, and the daemon's own log, to those who ask from afar. Once, after the start.
    pub fn lend(&self, hands: Arc<dyn Hands>, logs: Arc<Logs>, rim: &Rim) {
        let _first = self.board.asks.hands.set(hands);
        // Settings kept by a run before are in force already.
        let tuning = self.board.asks.tuning.borrow().clone();
        if let Some(level) = tuning.log_level {
            logs.set_level(level);
        }
        if let Some(cloud) = tuning.log_cloud {
            logs.set_cloud(cloud);
        }
        if let Some(link) = self.device_plane.get() {
            let (logs, purse) = (Arc::clone(&logs), Arc::clone(&self.purse));
            self.lane(log_lines::lane(Arc::clone(link), logs, purse, rim.clone(), self.stop.clone()));
        }
        let _first = self.board.asks.logs.set(logs);
    }

    fn modem(&self, config: &SharedConfig, rim: &Rim) {
        if let Some(settings) = &config.modem {
            let board = Arc::clone(&self.board);
            self.lane(modem::lane(settings.clone(), rim.clone(), board, self.stop.clone()));
        }
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

    /// Starts what reads the gateway's own record at a cloud, where a key allows it. Makes sockets of its own: left out in
    /// virtual time.
    pub fn manage(&self, config: &SharedConfig, rim: &Rim) {
        let Some(rest) = config.golioth.as_ref().and_then(|g| g.rest.as_ref()) else { return };
        let serial = &config.gateway.serial;
        match golioth::rest::GoliothProvider::new(rest, serial, Arc::clone(&self.purse)) {
            Ok(provider) => {
                let (provider, gateway): (Arc<dyn Provider>, _) =
                    (Arc::new(provider), self.stores.gateway.clone());
                let stop = self.stop.clone();
                self.lane(own_record_lane(provider, gateway, serial.clone(), rest.poll, rim.clone(), stop));
            }
            Err(error) => tracing::error!(%error, "the management API cannot be used"),
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
        let sources = self.sources(config, rim);
        let (lane, address) = http::lane(http, door, Arc::clone(&rim.net), sources, self.stop.clone());
        self.lane(lane);
        Some(address)
    }

    /// What the page and the API are made from.
    #[must_use]
    pub fn sources(&self, config: &SharedConfig, rim: &Rim) -> Sources {
        let (supervisor, gateway_db) = (Arc::clone(&self.supervisor), self.stores.gateway.status());
        Sources {
            board: Arc::clone(&self.board),
            queue: self.stores.queue.status(),
            destinations: self.stores.queue.destinations().into(),
            gateway: GatewayFacts {
                name: config.gateway.name.clone(),
                serial: config.gateway.serial.clone(),
                version: env!("CARGO_PKG_VERSION").into(),
                started: self.started,
            },
            clock: Arc::clone(&rim.clock),
            firmware_log: Arc::new(LogView(self.stores.gateway.clone())),
            readings: Arc::new(ReadingView::new(self.stores.queue.clone(), self.stores.gateway.clone())),
            devices: Arc::new(DeviceView {
                gateway: self.stores.gateway.clone(),
                board: Arc::clone(&self.board),
                clock: Arc::clone(&rim.clock),
                own_serial: config.gateway.serial.clone(),
            }),
            silent_lanes: Arc::new(move || supervisor.silent()),
            gateway_db: Arc::new(move || gateway_db.borrow().health.clone()),
        }
    }

    /// The link that deploys, where one is configured.
    #[must_use]
    pub fn device_plane(&self) -> Option<Arc<dyn Link>> {
        self.device_plane.get().cloned()
    }

    fn lane(&self, lane: Lane) {
        self.supervisor.spawn(lane);
    }

    fn links(&self, config: &SharedConfig, rim: &Rim, lists: Option<Arc<dyn PipelineLists>>) {
        let window = usize::from(config.uplink.window);
        let means = Means { rim, board: &self.board, purse: &self.purse, stop: &self.stop };
        if let Some(settings) = &config.golioth {
            let state_dir = &config.gateway.state_dir;
            let bound = Bound {
                state_dir,
                passes_on: true,
                queue_file_id: self.stores.queue.status().borrow().file_id,
                modem: config.modem.is_some(),
                time_floor_unix_ms: time_floor(state_dir),
            };
            let gateway = &self.stores.gateway;
            let held = Held {
                settings: remote::settings_in_force(gateway, golioth::session::DESTINATION),
                manifest: gateway.last_manifest(&config.gateway.serial).map(|(number, _)| number),
            };
            let looks = LastLooks::open(gateway, held);
            let (link, lane, shelf) =
                golioth::session::link(settings, &config.path, window, means, bound, looks);
            // Set once: a daemon has one link to Golioth.
            let _first = self.shelf.set((shelf, Arc::clone(&rim.random)));
            self.lane(lane);
            let link: Arc<dyn Link> = link;
            let _first = self.device_plane.set(Arc::clone(&link));
            self.updates(&link, config, rim);
            self.drain_into(self.verified(link, settings, lists, config, rim), config, rim);
        }
    }

    /// With a management key, what Golioth acknowledges is looked after.
    fn verified(
        &self,
        link: Arc<dyn Link>,
        settings: &Golioth,
        lists: Option<Arc<dyn PipelineLists>>,
        config: &SharedConfig,
        rim: &Rim,
    ) -> Arc<dyn Link> {
        let unverified = match &settings.rest {
            None => delivery::UNVERIFIED.to_owned(),
            Some(rest) => {
                let serial = &config.gateway.serial;
                let made = || {
                    let made = golioth::rest::GoliothProvider::new(rest, serial, Arc::clone(&self.purse));
                    made.map(|made| Arc::new(made) as Arc<dyn PipelineLists>)
                };
                match lists.map_or_else(made, Ok) {
                    Ok(lists) => {
                        let rules =
                            delivery::Rules { every: rest.check_delivery, on_unrouted: rest.on_unrouted };
                        let streamed =
                            delivery::Streamed { path: &settings.stream_path, encoding: settings.encoding };
                        let gateway = Some(self.stores.gateway.clone());
                        let (rim, board) = (rim.clone(), Arc::clone(&self.board));
                        return delivery::Verified::new(link, streamed, lists, rules, gateway, rim, board);
                    }
                    Err(error) => format!("delivery beyond acceptance is unverified: {error}"),
                }
            }
        };
        let state = DeliveryState { words: unverified, ..DeliveryState::default() };
        self.board.deliveries.set(link.name(), rim.clock.mono(), state);
        link
    }

    /// Connects to the brokers of the configuration. Sockets of their own: left out in virtual time, where another link may
    /// stand for a broker, see [`Daemon::drain_into`].
    pub fn brokers(&self, config: &SharedConfig, rim: &Rim) {
        let window = usize::from(config.uplink.window);
        let means = Means { rim, board: &self.board, purse: &self.purse, stop: &self.stop };
        for settings in &config.mqtt {
            let serial = &config.gateway.serial;
            let (link, lane) = MqttLink::new(settings, serial, &config.path, window, means);
            self.lane(lane);
            self.drain_into(link, config, rim);
        }
    }

    /// Hears operators at this socket. One of the machine's: left out in virtual time.
    pub fn control(&self, config: &SharedConfig, socket: PathBuf, state: control::StateId, rim: &Rim) {
        let (queue, gateway) = (self.stores.queue.clone(), self.stores.gateway.clone());
        let prober: Arc<dyn control::Prober> = match (self.device_plane(), &config.golioth) {
            (Some(link), Some(golioth)) => {
                let (board, purse) = (Arc::clone(&self.board), Arc::clone(&self.purse));
                let serial = &config.gateway.serial;
                Arc::new(GoliothProber::new(link, golioth, serial, board, purse, rim.clone()))
            }
            _ => Arc::new(NoProber),
        };
        let parts = control::lane::Parts { state, queue, gateway, prober };
        self.lane(control::lane::lane(socket, parts, rim.clone(), self.stop.clone()));
    }

    /// Drains the destination of the link's name into it. A link of no configured destination gets nothing.
    pub fn drain_into(&self, link: Arc<dyn Link>, config: &SharedConfig, rim: &Rim) {
        let destination = self.stores.queue.destinations().iter().find(|(_, name)| name == link.name());
        let Some((destination, _)) = destination else { return };
        let points = config.buses.iter().flat_map(|bus| &bus.slaves).flat_map(|slave| &slave.points);
        // The same order in which the streams were opened: see `stores::streams`.
        let streams: Vec<_> =
            points.zip(self.stores.queue.streams()).map(|(point, (id, _))| (point, *id)).collect();
        let latest_only = streams
            .iter()
            .filter(|(point, _)| point.latest_only && point.routes.iter().any(|route| route == link.name()))
            .map(|(_, stream)| *stream)
            .gathered();
        let thin_bands =
            streams.iter().filter_map(|(point, stream)| Some((*stream, point.thin_band?))).gathered();
        let options = DrainOptions {
            window: usize::from(config.uplink.window),
            linger: config.uplink.linger,
            hold_untrusted: config.time.hold_untrusted,
            purse: Some(Arc::clone(&self.purse)),
            live_bound: config.uplink.live_bound,
            weights: Weights { live: config.uplink.live_weight, backlog: config.uplink.backlog_weight },
            max_age: config.uplink.max_age.clone(),
            asks: Some((self.board.asks.tuning.subscribe(), self.board.asks.flush.subscribe())),
            latest_only,
            thin_bands: Arc::new(thin_bands),
        };
        let (gateway, purse, stop) =
            (self.stores.gateway.clone(), Arc::clone(&self.purse), self.stop.clone());
        self.lane(log_push::lane(Arc::clone(&link), gateway, purse, rim.clone(), stop));
        let (queue, board, stop) = (self.stores.queue.clone(), Arc::clone(&self.board), self.stop.clone());
        self.lane(drain::lane(link, *destination, queue, rim.clone(), options, board, stop));
    }

    /// What watches over this daemon.
    #[must_use]
    pub fn watch(&self, rim: &Rim) -> Watch {
        Watch::new(&self.stores, &self.supervisor, &self.board, rim)
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
        if let Some((shelf, random)) = self.shelf.get() {
            shelf.put_away(random);
        }
        self.stores.stop();
    }
}
