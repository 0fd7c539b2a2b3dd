//! Devices, components, manifests, boots: what is kept and what counts as news.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::super::{
    GatewayError, LaneRestart, LocalDevice, NewVersion, Origin, Recorded, RemoteDevice, Source, Upserted,
    time_floor,
};
use super::*;
use crate::clock::sources::{Claim, Source as Clocks};
use crate::clock::{BootId, Clock, Mono, VirtualClock, Wall};

fn remote(serial: &str, external_id: &str) -> RemoteDevice {
    RemoteDevice {
        service: "golioth".into(),
        service_kind: "golioth".into(),
        serial: serial.into(),
        external_id: external_id.into(),
        hardware_ids: vec!["h1".into(), "h2".into()],
        cohort: Some("field".into()),
        last_report_ms: Some(1000),
        ..RemoteDevice::default()
    }
}

#[tokio::test(start_paused = true)]
async fn a_version_seen_first_is_a_factory_default_and_a_changed_one_was_put_there_by_hand() {
    let dir = tempfile::tempdir().unwrap();
    let gateway = open(dir.path(), 1, 1);
    let sources: Vec<_> =
        [("1.0", Some(Source::FactoryDefault)), ("1.0", None), ("1.1", Some(Source::ManualProvision))]
            .into_iter()
            .collect();
    for (version, expected) in sources {
        let recorded = gateway.observe_version(&key("main"), version).await.unwrap();
        let source = match &recorded {
            Recorded::Appended(entry) => Some(entry.source),
            Recorded::Unchanged => None,
        };
        assert_eq!(source, expected, "{version}");
    }
    let rows = gateway.history(Default::default()).await.unwrap();
    assert_eq!(rows.len(), 2);
    assert_eq!(
        (rows[1].previous_version.as_deref(), rows[1].at.wall_unix_ms),
        (Some("1.0"), Some(WALL.unix_ms))
    );
    let device = gateway.device("gw").await.unwrap().unwrap();
    assert_eq!(
        (device.firmware_version.as_deref(), device.firmware_component.as_deref()),
        (Some("1.1"), Some("main"))
    );
}

#[tokio::test(start_paused = true)]
async fn an_imported_version_never_overrides_one_born_here() {
    let dir = tempfile::tempdir().unwrap();
    let gateway = open(dir.path(), 1, 1);
    let imported = |version: &str| NewVersion {
        key: key("main"),
        version: version.into(),
        source: Some(Source::OtaUpdate),
        origin: Origin::Imported,
        metadata: serde_json::Map::new(),
    };
    let shown = async || gateway.device("gw").await.unwrap().unwrap().firmware_version;
    gateway.record(imported("0.9")).await.unwrap();
    assert_eq!(shown().await.as_deref(), Some("0.9"), "nothing was born here yet");
    gateway.observe_version(&key("main"), "1.0").await.unwrap();
    gateway.record(imported("7.0")).await.unwrap();
    assert_eq!(shown().await.as_deref(), Some("1.0"));
    let components = gateway.components().await.unwrap();
    assert_eq!(components[0].version.as_deref(), Some("1.0"));
    gateway.observe_version(&key("main"), "1.1").await.unwrap();
    assert_eq!(shown().await.as_deref(), Some("1.1"));
    assert!(gateway.verify_history().await.unwrap().is_whole());
}

#[tokio::test(start_paused = true)]
async fn what_is_too_long_or_empty_is_refused_and_nothing_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let gateway = open(dir.path(), 1, 1);
    let long = "x".repeat(200);
    for (package, version) in [("main", ""), ("main", long.as_str()), ("", "1"), (long.as_str(), "1")] {
        let refused = gateway.observe_version(&key(package), version).await;
        assert!(matches!(refused, Err(GatewayError::TooLong { .. })), "{package} {version}: {refused:?}");
    }
    let metadata = json!({"note": "y".repeat(3000)}).as_object().unwrap().clone();
    let refused = gateway.record_version(&key("main"), "1", Source::OtaUpdate, metadata).await;
    assert!(matches!(refused, Err(GatewayError::TooLong { .. })));
    assert_eq!(gateway.history(Default::default()).await.unwrap(), []);
    assert_eq!(gateway.devices().await.unwrap(), []);
}

#[tokio::test(start_paused = true)]
async fn a_provider_record_brings_its_fields_and_never_the_version() {
    let dir = tempfile::tempdir().unwrap();
    let gateway = open(dir.path(), 1, 1);
    gateway.observe_version(&key("main"), "1.0").await.unwrap();
    let mut record = remote("gw", "e1");
    record.metadata = json!({"firmware": {"main": "0.1"}}).as_object().unwrap().clone();
    assert_eq!(gateway.upsert_device(record.clone()).await.unwrap(), Upserted::Changed);
    assert_eq!(gateway.upsert_device(record.clone()).await.unwrap(), Upserted::Unchanged);
    let device = gateway.device("gw").await.unwrap().unwrap();
    assert_eq!(device.firmware_version.as_deref(), Some("1.0"));
    assert_eq!(device.hardware_ids, ["h1", "h2"]);
    assert_eq!(device.assignments["golioth"].external_id.as_deref(), Some("e1"));
    assert_eq!(device.metadata["providers"]["golioth"]["firmware"]["main"], "0.1");
    // What it no longer says of a time stays known; what it owns follows it.
    record.last_report_ms = None;
    record.cohort = None;
    assert_eq!(gateway.upsert_device(record).await.unwrap(), Upserted::Changed);
    let device = gateway.device("gw").await.unwrap().unwrap();
    assert_eq!((device.last_report_ms, device.cohort), (Some(1000), None));
}

#[tokio::test(start_paused = true)]
async fn a_second_device_with_one_external_id_is_a_conflict_and_not_a_duplicate() {
    let dir = tempfile::tempdir().unwrap();
    let gateway = open(dir.path(), 1, 1);
    gateway.upsert_device(remote("old-name", "e1")).await.unwrap();
    assert_eq!(gateway.upsert_device(remote("new-name", "e1")).await.unwrap(), Upserted::Conflict);
    assert_eq!(gateway.upsert_device(remote("new-name", "e1")).await.unwrap(), Upserted::Conflict);
    let new = gateway.device("new-name").await.unwrap().unwrap();
    assert!(new.assignments.is_empty());
    let reader = crate::store::sqlite::open_reader(gateway.path()).unwrap();
    let open: i64 =
        reader.query_row("SELECT count(*) FROM conflicts WHERE state = 'open'", [], |r| r.get(0)).unwrap();
    assert_eq!(open, 1);
}

#[tokio::test(start_paused = true)]
async fn a_retired_device_stays_and_returns_when_it_is_configured_again() {
    let dir = tempfile::tempdir().unwrap();
    let gateway = open(dir.path(), 1, 1);
    let local = LocalDevice { serial: "b".into(), name: None, expected_interval_ms: Some(1000) };
    assert!(gateway.configure_device(local.clone()).await.unwrap());
    assert!(!gateway.configure_device(local.clone()).await.unwrap());
    assert!(gateway.retire_device("b").await.unwrap());
    assert!(gateway.device("b").await.unwrap().unwrap().retired);
    assert!(gateway.configure_device(local).await.unwrap());
    assert!(!gateway.device("b").await.unwrap().unwrap().retired);
}

#[tokio::test(start_paused = true)]
async fn a_component_no_longer_configured_keeps_its_row_and_is_no_longer_listed() {
    let dir = tempfile::tempdir().unwrap();
    let gateway = open(dir.path(), 1, 1);
    gateway.configure_components(vec![key("main"), key("cell")]).await.unwrap();
    gateway.observe_version(&key("cell"), "1.0").await.unwrap();
    gateway.configure_components(vec![key("main")]).await.unwrap();
    let names = async || -> Vec<String> {
        gateway.components().await.unwrap().into_iter().map(|c| c.key.package).collect()
    };
    assert_eq!(names().await, ["main"]);
    gateway.configure_components(vec![key("main"), key("cell")]).await.unwrap();
    assert_eq!(names().await, ["cell", "main"]);
    assert_eq!(gateway.components().await.unwrap()[0].version.as_deref(), Some("1.0"));
}

#[tokio::test(start_paused = true)]
async fn the_same_deployment_observed_again_is_not_news() {
    let dir = tempfile::tempdir().unwrap();
    let gateway = open(dir.path(), 1, 1);
    let detail = json!({"components": [{"package": "main"}]});
    assert!(gateway.record_manifest("gw", 1, &detail).await.unwrap());
    assert!(!gateway.record_manifest("gw", 1, &detail).await.unwrap());
    assert!(gateway.record_manifest("gw", 2, &detail).await.unwrap());
    assert!(gateway.record_manifest("gw", 1, &detail).await.unwrap(), "a rollback is news");
}

#[tokio::test(start_paused = true)]
async fn a_boot_has_one_number_however_often_the_daemon_starts_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut numbers = Vec::new();
    for boot in [1, 1, 2, 1, 3] {
        let gateway = open(dir.path(), boot, 1);
        numbers.push(gateway.identity().boot);
        gateway.stop();
    }
    assert_eq!(numbers, [1, 1, 2, 1, 3]);
}

#[tokio::test(start_paused = true)]
async fn the_time_floor_only_rises_and_only_on_trusted_time() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(time_floor(dir.path()), None);
    let gateway = open(dir.path(), 1, 1);
    let floor = WALL.unix_ms - i64::from(WALL.uncertainty_ms);
    assert_eq!(gateway.time_floor_unix_ms().await.unwrap(), Some(floor));
    let at = |unix_ms, trusted| Wall { unix_ms, uncertainty_ms: 0, trusted };
    gateway.note_time(minute(1), at(WALL.unix_ms - 9999, true)).await;
    gateway.note_time(minute(2), at(i64::MAX, false)).await;
    assert_eq!(gateway.time_floor_unix_ms().await.unwrap(), Some(floor));
    gateway.note_time(minute(4), at(WALL.unix_ms + 1, true)).await;
    // Set right again within the minute: not written.
    gateway.note_time(minute(4).plus(Duration::from_secs(1)), at(WALL.unix_ms + 9999, true)).await;
    assert_eq!(gateway.time_floor_unix_ms().await.unwrap(), Some(WALL.unix_ms + 1));
    gateway.stop();
    assert_eq!(time_floor(dir.path()), Some(WALL.unix_ms + 1));
}

#[tokio::test(start_paused = true)]
async fn a_wrong_time_that_is_put_right_is_an_event_and_leaves_no_floor_behind() {
    let dir = tempfile::tempdir().unwrap();
    let gateway = open(dir.path(), 1, 1);
    let right = Claim::new(Clocks::Ntp, minute(3), WALL.unix_ms + 180_000, 50);
    let ahead = Claim::new(Clocks::Ntp, minute(2), WALL.unix_ms + 120_000 + 10_800_000, 50);
    gateway.note_time(minute(2), ahead.wall_at(minute(2))).await;
    let floor = async || gateway.time_floor_unix_ms().await.unwrap().unwrap();
    assert_eq!(floor().await, ahead.wall_at(minute(2)).unix_ms - 50);
    gateway.clock_corrected(ahead, right).await.unwrap();
    assert_eq!(floor().await, right.wall_at(minute(3)).unix_ms - 50);
    gateway.clock_corrected(right, ahead).await.unwrap();
    assert_eq!(floor().await, right.wall_at(minute(3)).unix_ms - 50, "forward is raised by noting the time");
    gateway.stop();
    let file = rusqlite::Connection::open(dir.path().join("gateway.db")).unwrap();
    let by: Vec<i64> = file
        .prepare(
            "SELECT json_extract(detail, '$.by_ms') FROM events WHERE kind = 'clock_corrected' ORDER BY id",
        )
        .unwrap()
        .query_map([], |r| r.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(by.len(), 2);
    assert!(by[0] <= -10_800_000 + 60_000 && by[1] >= 10_800_000 - 60_000, "{by:?}");
}

/// Somewhat more than `n` minutes after the start.
fn minute(n: u64) -> Mono {
    Mono(n * 61_000_000_000)
}

#[tokio::test(start_paused = true)]
async fn time_that_only_passes_is_written_every_quarter_of_an_hour_and_a_corrected_clock_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let gateway = open(dir.path(), 1, 1);
    let wall = |n: u64, wrong_by_ms: i64| Wall {
        unix_ms: WALL.unix_ms + i64::try_from(minute(n).ms()).unwrap() + wrong_by_ms,
        uncertainty_ms: 0,
        trusted: true,
    };
    let (mut floors, mut last) = (Vec::new(), None);
    for n in 1..=46 {
        // From the 40th minute on the clock is an hour ahead of what was thought.
        let wrong_by_ms = if n < 40 { 400 } else { 3_600_000 };
        gateway.note_time(minute(n), wall(n, wrong_by_ms)).await;
        let floor = gateway.time_floor_unix_ms().await.unwrap();
        if floor != last {
            floors.push((n, floor.unwrap() - WALL.unix_ms));
            last = floor;
        }
    }
    let written: Vec<u64> = floors.iter().map(|(n, _)| *n).collect();
    // The first is the floor of the start.
    assert_eq!(written, [1, 15, 30, 40]);
    assert_eq!(floors[3].1, wall(40, 3_600_000).unix_ms - WALL.unix_ms);
    // What matters of a boot that ends without a stop is bounded by it.
    let connection = rusqlite::Connection::open(gateway.path()).unwrap();
    let lasted: i64 = connection.query_row("SELECT last_mono_ms FROM boots", [], |r| r.get(0)).unwrap();
    assert_eq!(lasted.cast_unsigned(), minute(40).ms());
}

/// A gateway in the `boot`th boot, whose clock already shows `running` when the file is opened.
async fn after(dir: &std::path::Path, boot: u8, running: Duration, wall: Wall) -> (Gateway, Arc<dyn Clock>) {
    let clock: Arc<dyn Clock> = Arc::new(VirtualClock::starting_at(BootId([boot; 16]), wall));
    tokio::time::sleep(running).await;
    (open_with(dir, &clock, boot), clock)
}

const HOUR: Duration = Duration::from_secs(3600);
const UNTRUSTED: Wall = Wall { unix_ms: 0, uncertainty_ms: u32::MAX, trusted: false };

#[tokio::test(start_paused = true)]
async fn how_long_ago_a_restart_was_is_told_from_running_time_where_no_clock_is_trusted() {
    let dir = tempfile::tempdir().unwrap();
    let lanes = || vec!["bus field".to_owned(), "modem".to_owned()];
    let (gateway, _) = after(dir.path(), 1, 2 * HOUR, UNTRUSTED).await;
    assert_eq!(gateway.restarts().await.unwrap(), []);
    gateway.remember_restart(lanes()).await.unwrap();
    tokio::time::sleep(3 * HOUR).await;
    let told =
        |ago: Duration| lanes().into_iter().rev().map(|lane| LaneRestart { lane, ago }).collect::<Vec<_>>();
    assert_eq!(gateway.restarts().await.unwrap(), told(3 * HOUR));
    gateway.stop();
    // Another boot: what this one has run is added; how long it was off, nobody knows.
    let (gateway, _) = after(dir.path(), 2, HOUR, UNTRUSTED).await;
    assert_eq!(gateway.restarts().await.unwrap(), told(4 * HOUR));
    gateway.stop();
    let (gateway, _) = after(dir.path(), 3, HOUR, WALL).await;
    assert_eq!(
        gateway.restarts().await.unwrap(),
        told(5 * HOUR),
        "it was not dated, so the clock adds nothing"
    );
}

#[tokio::test(start_paused = true)]
async fn a_restart_dated_by_a_trusted_clock_counts_the_time_switched_off() {
    let dir = tempfile::tempdir().unwrap();
    let (gateway, _) = after(dir.path(), 1, HOUR, WALL).await;
    gateway.remember_restart(vec!["modem".into()]).await.unwrap();
    gateway.stop();
    let next_week = Wall { unix_ms: WALL.unix_ms + 7 * 86_400_000, ..WALL };
    let (gateway, _) = after(dir.path(), 2, Duration::ZERO, next_week).await;
    assert_eq!(gateway.restarts().await.unwrap()[0].ago, 7 * 24 * HOUR - HOUR);
    gateway.stop();
    // A clock that went back takes nothing away.
    let earlier = Wall { unix_ms: WALL.unix_ms - 86_400_000, ..WALL };
    let (gateway, _) = after(dir.path(), 3, 2 * HOUR, earlier).await;
    assert_eq!(gateway.restarts().await.unwrap()[0].ago, 2 * HOUR);
}
