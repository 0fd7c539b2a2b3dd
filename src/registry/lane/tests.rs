use std::path::Path;

use super::*;
use crate::board::ModemIdentity;
use crate::clock::Clock;
use crate::daemon::supervisor::Supervisor;
use crate::registry::own_record_lane;
use crate::registry::provider::{Operation, Provider, ProviderCapabilities, ProviderDevice, ProviderError};
use crate::store::gateway::tests::{clock, open_with, rim};
use crate::store::gateway::{ComponentKey, HistoryQuery, LocalDevice, Source};

fn plan() -> Arc<Plan> {
    let key = |package: &str| ComponentKey { device: "gw".into(), package: package.into() };
    let device = |serial: &str| LocalDevice { serial: serial.into(), name: None, expected_interval_ms: None };
    Arc::new(Plan {
        own_serial: "gw".into(),
        devices: vec![device("gw"), device("boiler-17")],
        components: vec![
            (key("main"), VersionSource::Daemon),
            (key("cell"), VersionSource::Modem),
            (key("board"), VersionSource::Fixed("1.2.3".into())),
        ],
    })
}

fn modem(firmware: &str) -> ModemIdentity {
    ModemIdentity {
        application: "plain AT firmware".into(),
        hardware: None,
        firmware: Some(firmware.into()),
        imei: None,
        iccid: None,
        imsi: None,
    }
}

struct House {
    parts: Parts,
    supervisor: Supervisor,
}

fn house(folder: &Path, clock: &Arc<dyn Clock>) -> House {
    let (rim, board, stop) = (rim(clock), Board::shared(), CancellationToken::new());
    let supervisor = Supervisor::new(rim.clone(), Arc::clone(&board), stop.clone());
    let gateway = open_with(folder, clock, 5);
    House { parts: Parts { gateway, board, rim, plan: plan(), stop }, supervisor }
}

impl House {
    fn run(&self) {
        self.supervisor.spawn(lane(self.parts.clone()));
    }

    async fn end(self) {
        self.parts.stop.cancel();
        self.supervisor.stopped(Duration::from_secs(20)).await;
        self.parts.gateway.stop();
    }

    async fn history(&self) -> Vec<(String, String, Source)> {
        let rows = self.parts.gateway.history(HistoryQuery::default()).await.unwrap();
        rows.into_iter().map(|r| (r.component, r.version, r.source)).collect()
    }
}

fn row(component: &str, version: &str, source: Source) -> (String, String, Source) {
    (component.into(), version.into(), source)
}

const OURS: &str = env!("CARGO_PKG_VERSION");

#[tokio::test(start_paused = true)]
async fn from_the_first_start_devices_exist_and_each_known_version_is_a_factory_default() {
    let dir = tempfile::tempdir().unwrap();
    let house = house(dir.path(), &clock(1));
    house.run();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let serials: Vec<String> =
        house.parts.gateway.devices().await.unwrap().into_iter().map(|d| d.serial).collect();
    assert_eq!(serials, ["boiler-17", "gw"]);
    assert_eq!(
        house.history().await,
        [row("main", OURS, Source::FactoryDefault), row("board", "1.2.3", Source::FactoryDefault)]
    );
    let shown = house.parts.board.components.all();
    assert_eq!(shown["main"].value.version.as_deref(), Some(OURS));
    assert_eq!((shown["cell"].value.version.as_deref(), shown["cell"].value.state), (None, "IDLE"));
    house.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_modem_version_is_recorded_when_it_is_learned_and_a_flash_behind_our_back_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let house = house(dir.path(), &clock(1));
    house.run();
    let learn = async |firmware: &str| {
        house.parts.board.modem.set(house.parts.rim.clock.mono(), modem(firmware));
        tokio::time::sleep(Duration::from_secs(1)).await;
    };
    tokio::time::sleep(Duration::from_secs(1)).await;
    learn("mfw_nrf91x1_2.0.3").await;
    learn(" ").await;
    learn("mfw_nrf91x1_2.0.3\r\n").await;
    learn("mfw_nrf91x1_2.0.4").await;
    assert_eq!(
        house.history().await[2..],
        [
            row("cell", "mfw_nrf91x1_2.0.3", Source::FactoryDefault),
            row("cell", "mfw_nrf91x1_2.0.4", Source::ManualProvision)
        ]
    );
    assert_eq!(
        house.parts.board.components.get("cell").unwrap().value.version.as_deref(),
        Some("mfw_nrf91x1_2.0.4")
    );
    house.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_restart_adds_nothing_to_the_history() {
    let dir = tempfile::tempdir().unwrap();
    let clock = clock(1);
    for _ in 0..3 {
        let house = house(dir.path(), &clock);
        house.run();
        tokio::time::sleep(Duration::from_secs(200)).await;
        assert_eq!(house.history().await.len(), 2);
        house.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_lane_keeps_the_noted_time_within_a_quarter_of_an_hour_and_is_never_silent() {
    let dir = tempfile::tempdir().unwrap();
    let house = house(dir.path(), &clock(1));
    house.run();
    let before = house.parts.gateway.time_floor_unix_ms().await.unwrap().unwrap();
    tokio::time::sleep(Duration::from_secs(3600)).await;
    let after = house.parts.gateway.time_floor_unix_ms().await.unwrap().unwrap();
    assert!(after - before >= 2_700_000, "{}", after - before);
    assert!(house.supervisor.every_lane_speaks());
    assert_eq!(house.parts.board.lanes.get("registry").unwrap().value.restarts, 0);
    house.end().await;
}

#[test]
fn the_board_tells_packages_of_two_devices_apart() {
    let key = |device: &str, package: &str| ComponentKey { device: device.into(), package: package.into() };
    let plan = Plan {
        own_serial: "gw".into(),
        devices: Vec::new(),
        components: vec![
            (key("gw", "main"), VersionSource::Daemon),
            (key("cell-1", "main"), VersionSource::Modem),
            (key("cell-1", "modem"), VersionSource::Modem),
        ],
    };
    let names: Vec<String> = plan.components.iter().map(|(key, _)| plan.board_name(key)).collect();
    assert_eq!(names, ["main", "cell-1/main", "modem"]);
}

/// A cloud that answers what it is told to, one answer a call.
#[derive(Debug)]
struct Scripted {
    answers: std::sync::Mutex<std::collections::VecDeque<Result<ProviderDevice, ProviderError>>>,
    asked_at: std::sync::Mutex<Vec<Duration>>,
    clock: Arc<dyn Clock>,
}

#[async_trait::async_trait]
impl Provider for Scripted {
    fn service(&self) -> &str {
        "golioth"
    }

    fn capabilities(&self) -> ProviderCapabilities {
        ProviderCapabilities { operations: vec![Operation::OwnDevice], least_interval: None }
    }

    async fn own_device(&self) -> Result<ProviderDevice, ProviderError> {
        self.asked_at.lock().unwrap().push(self.clock.mono().since_boot());
        let gone = || ProviderError::Unreachable { service: "golioth".into(), detail: "gone".into() };
        self.answers.lock().unwrap().pop_front().unwrap_or_else(|| Err(gone()))
    }
}

#[tokio::test(start_paused = true)]
async fn the_own_record_is_asked_for_again_after_failures_and_taken_only_under_the_own_name() {
    let dir = tempfile::tempdir().unwrap();
    let clock = clock(1);
    let house = house(dir.path(), &clock);
    let record = |name: &str, id: &str| ProviderDevice {
        external_id: id.into(),
        name: name.into(),
        cohort: Some("field".into()),
        firmware: [("main".to_owned(), "0.0.1".to_owned())].into(),
        ..ProviderDevice::default()
    };
    let too_many =
        ProviderError::TooMany { service: "golioth".into(), after: Some(Duration::from_secs(300)) };
    let provider = Arc::new(Scripted {
        answers: std::sync::Mutex::new(
            [Err(too_many), Ok(record("other", "x")), Ok(record("gw", "e1"))].into(),
        ),
        asked_at: std::sync::Mutex::default(),
        clock: Arc::clone(&clock),
    });
    let poll = Duration::from_secs(3600);
    house.supervisor.spawn(own_record_lane(
        provider.clone(),
        house.parts.gateway.clone(),
        "gw".into(),
        poll,
        house.parts.rim.clone(),
        house.parts.stop.clone(),
    ));
    tokio::time::sleep(Duration::from_secs(3 * 3600)).await;
    let asked: Vec<u64> = provider.asked_at.lock().unwrap().iter().map(Duration::as_secs).collect();
    assert!((300..331).contains(&asked[1]), "{asked:?}");
    assert!((3900..4300).contains(&asked[2]), "{asked:?}");
    let device = house.parts.gateway.device("gw").await.unwrap().unwrap();
    assert_eq!((device.cohort.as_deref(), device.firmware_version), (Some("field"), None));
    assert_eq!(device.assignments["golioth"].external_id.as_deref(), Some("e1"));
    assert_eq!(house.parts.gateway.devices().await.unwrap().len(), 1, "a stranger's record makes no device");
    house.end().await;
}
