//! One consistent look at everything, taken for one answer.
//!
//! The page, the JSON and the metrics are made from the same snapshot, so that none of them says what another does not.

use std::collections::BTreeMap;

use super::recent::{Moved, Outgoing, Recent};
use super::sources::{GatewayFacts, Sources};
use crate::board::{
    CertificateState, ClockState, ComponentState, DataPlan, DeliveryState, LaneState, Latest, LinkState,
    ModemIdentity, ModemState, Registration, RemoteSettings, Signal, SlaveState, Stamped, Trouble,
    WriterState,
};
use crate::clock::{Mono, Wall};
use crate::reading::Class;
use crate::store::gateway::GatewayHealth;
use crate::store::queue::{DestinationId, QueueStatus, Totals};

/// What the gateway is at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The moment.
    pub now: Mono,
    /// The wall clock then.
    pub wall: Wall,
    /// Whose time that is, once it was looked at.
    pub clock: Option<Stamped<ClockState>>,
    /// Name, serial, version, start.
    pub gateway: GatewayFacts,
    /// Where readings go, in the configured order.
    pub destinations: Vec<Destination>,
    /// The queue after its last commit.
    pub queue: QueueStatus,
    /// How the books moved within the last hour.
    pub recent: Recent,
    /// Radio quality.
    pub signal: Option<Stamped<Signal>>,
    /// Network registration.
    pub registration: Option<Stamped<Registration>>,
    /// Whether the modem answers.
    pub modem_state: Option<Stamped<ModemState>>,
    /// The modem; its numbers can only be shown masked.
    pub modem: Option<Stamped<ModemIdentity>>,
    /// Supply at the modem, millivolts.
    pub modem_millivolts: Option<Stamped<u32>>,
    /// Modem temperature, degrees Celsius.
    pub modem_celsius: Option<Stamped<i16>>,
    /// Spending against the data plan.
    pub data_plan: Option<Stamped<DataPlan>>,
    /// Bus slaves by name.
    pub slaves: BTreeMap<String, Stamped<SlaveState>>,
    /// Streams by name.
    pub latest: BTreeMap<String, Stamped<Latest>>,
    /// Lanes by name.
    pub lanes: BTreeMap<String, Stamped<LaneState>>,
    /// Lanes that neither advance nor wait, and since when.
    pub silent_lanes: Vec<(String, Mono)>,
    /// The two files' writers, by file name, once they have been looked at.
    pub writers: BTreeMap<String, Stamped<WriterState>>,
    /// Whether `gateway.db` takes writes.
    pub gateway_db: GatewayHealth,
    /// Firmware components by package.
    pub components: BTreeMap<String, Stamped<ComponentState>>,
    /// What a cloud set from afar, once one may.
    pub settings: Option<Stamped<RemoteSettings>>,
}

/// A destination: its link, and its side of the books.
#[derive(Clone, Debug)]
pub struct Destination {
    /// Its name.
    pub name: String,
    /// Its link, once its lane has said anything.
    pub link: Option<LinkState>,
    /// The gateway's certificate there, where it has one.
    pub certificate: Option<CertificateState>,
    /// What is wrong with it, what weighs most first, and since when.
    pub troubles: Vec<(Mono, Trouble)>,
    /// What becomes of what it acknowledged.
    pub delivery: Option<DeliveryState>,
    /// All classes, with what was given up told apart.
    pub books: Outgoing,
    /// Why readings were given up: reason and count.
    pub given_up: Vec<(String, u64)>,
    /// Within the last hour.
    pub moved: Moved,
    /// By class, most urgent first; classes nothing was ever accepted under are left out.
    pub classes: Vec<(Class, Totals)>,
}

impl Snapshot {
    /// Looks at everything once.
    #[must_use]
    pub fn take(sources: &Sources, recent: Recent) -> Self {
        let board = &sources.board;
        let queue = sources.queue.borrow().clone();
        let now = sources.clock.mono();
        let links = board.links_as_seen(now);
        let mut data_plan = board.data_plan.get();
        if let Some(plan) = &mut data_plan {
            // It was said when it began, and it may be over.
            plan.value.waits.retain(|(_, until)| *until > now);
        }
        let destinations = sources
            .destinations
            .iter()
            .map(|(id, name)| Destination {
                name: name.clone(),
                link: links.get(name).map(|link| link.value.clone()),
                certificate: board.certificates.get(name).map(|certificate| certificate.value),
                troubles: board.troubles_as_seen(name),
                delivery: board.deliveries.get(name).map(|delivery| delivery.value),
                books: Outgoing::of(&queue, *id),
                given_up: given_up(&queue, *id),
                moved: recent.destinations.get(id).copied().unwrap_or_default(),
                classes: Class::ALL
                    .into_iter()
                    .filter_map(|class| Some((class, *queue.totals.get(&(*id, class))?)))
                    .collect(),
            })
            .collect();
        Self {
            now,
            wall: sources.clock.wall(),
            clock: board.clock.get(),
            gateway: sources.gateway.clone(),
            destinations,
            queue,
            recent,
            signal: board.signal.get(),
            registration: board.registration.get(),
            modem_state: board.modem_state.get(),
            modem: board.modem.get(),
            modem_millivolts: board.modem_millivolts.get(),
            modem_celsius: board.modem_celsius.get(),
            data_plan,
            slaves: board.slaves.all(),
            latest: board.latest.all(),
            lanes: board.lanes.all(),
            silent_lanes: (sources.silent_lanes)(),
            writers: board.writers.all(),
            gateway_db: (sources.gateway_db)(),
            components: board.components.all(),
            settings: board.settings.get(),
        }
    }
}

fn given_up(queue: &QueueStatus, destination: DestinationId) -> Vec<(String, u64)> {
    let of = queue.given_up.iter().filter(|((id, _), count)| *id == destination && **count > 0);
    of.map(|((_, reason), count)| (reason.clone().into_owned(), *count)).collect()
}
