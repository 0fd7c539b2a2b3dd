use std::time::Duration;

use super::*;
use crate::board::Board;
use crate::daemon::supervisor::Supervisor;
use crate::store::gateway::tests::{clock, open_with, rim};
use crate::store::gateway::{ComponentKey, LogBody};
use crate::uplink::link::ManifestComponent;

fn key(package: &str) -> ComponentKey {
    ComponentKey { device: "gw".into(), package: package.into() }
}

fn manifest(sequence_number: u64, packages: &[(&str, &str)]) -> Manifest {
    let components = packages.iter().map(|(package, version)| ManifestComponent {
        package: (*package).into(),
        version: (*version).into(),
        sha256: [1; 32],
        size_bytes: 10,
        uri: format!("/.u/c/{package}@{version}"),
    });
    Manifest { sequence_number, components: components.collect() }
}

fn said(package: &str, version: &str, target: Option<&str>, reason: u8) -> Report {
    Report::Component {
        package: package.into(),
        version: (!version.is_empty()).then(|| version.into()),
        target: target.map(str::to_owned),
        state: 0,
        reason,
    }
}

struct House {
    gateway: Gateway,
    supervisor: Supervisor,
    stop: CancellationToken,
    manifests: mpsc::Sender<Manifest>,
    reports: mpsc::Receiver<Report>,
}

async fn house(folder: &std::path::Path) -> House {
    let clock = clock(1);
    let (rim, stop) = (rim(&clock), CancellationToken::new());
    let gateway = open_with(folder, &clock, 3);
    gateway.configure_components(vec![key("main"), key("cell")]).await.unwrap();
    gateway.observe_version(&key("main"), "1.0").await.unwrap();
    let supervisor = Supervisor::new(rim.clone(), Board::shared(), stop.clone());
    let (manifests, incoming) = mpsc::channel(4);
    let (outgoing, reports) = mpsc::channel(64);
    supervisor.spawn(lane(Parts {
        gateway: gateway.clone(),
        rim,
        own_serial: "gw".into(),
        manifests: incoming,
        reports: outgoing,
        stop: stop.clone(),
    }));
    House { gateway, supervisor, stop, manifests, reports }
}

impl House {
    async fn reported(&mut self) -> Vec<Report> {
        tokio::time::sleep(Duration::from_secs(1)).await;
        std::iter::from_fn(|| self.reports.try_recv().ok()).collect()
    }

    async fn end(self) {
        self.stop.cancel();
        self.supervisor.stopped(Duration::from_secs(20)).await;
        self.gateway.stop();
    }
}

#[tokio::test(start_paused = true)]
async fn every_component_is_reported_at_the_start_and_again_only_when_something_changed() {
    let dir = tempfile::tempdir().unwrap();
    let mut house = house(dir.path()).await;
    assert_eq!(house.reported().await, [said("cell", "", None, 0), said("main", "1.0", None, 0)]);
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(house.reported().await, []);
    house.gateway.observe_version(&key("cell"), "2.0.4").await.unwrap();
    assert_eq!(house.reported().await, [said("cell", "2.0.4", None, 0)]);
    house.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_deployment_is_journaled_once_and_answered_for_every_package() {
    let dir = tempfile::tempdir().unwrap();
    let mut house = house(dir.path()).await;
    house.reported().await;
    let wanted = manifest(7, &[("main", "1.1"), ("cell", "2.0.4"), ("toaster", "3")]);
    for _ in 0..3 {
        house.manifests.send(wanted.clone()).await.unwrap();
    }
    assert_eq!(
        house.reported().await,
        [
            said("cell", "", Some("2.0.4"), 0),
            said("main", "1.0", Some("1.1"), 6),
            said("toaster", "", Some("3"), 6)
        ]
    );
    let page = house.gateway.firmware_log_page(None, 100).await.unwrap();
    let steps: Vec<String> = page
        .rows
        .iter()
        .filter_map(|row| match &row.body {
            LogBody::Transition(step) => {
                Some(format!("{} {}", step.step, step.component.as_deref().unwrap_or("-")))
            }
            _ => None,
        })
        .collect();
    assert_eq!(steps, ["manifest -", "state cell", "state main"]);
    // The version the deployment wants appears by hand: nothing is missing any more.
    house.gateway.observe_version(&key("main"), "1.1").await.unwrap();
    assert_eq!(house.reported().await, [said("main", "1.1", None, 0)]);
    house.end().await;
}

#[tokio::test(start_paused = true)]
async fn an_empty_deployment_takes_everything_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut house = house(dir.path()).await;
    house.reported().await;
    house.manifests.send(manifest(7, &[("main", "1.1"), ("toaster", "3")])).await.unwrap();
    house.reported().await;
    house.manifests.send(manifest(8, &[])).await.unwrap();
    assert_eq!(house.reported().await, [said("main", "1.0", None, 0)]);
    let main = house.gateway.components().await.unwrap().remove(1);
    assert_eq!((main.target, main.words.as_str()), (None, "nothing is deployed"));
    house.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_was_deployed_is_remembered_over_a_restart_before_the_cloud_says_it_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = house(dir.path()).await;
    first.manifests.send(manifest(7, &[("main", "1.1")])).await.unwrap();
    first.reported().await;
    first.end().await;
    let mut second = house(dir.path()).await;
    assert_eq!(second.reported().await, [said("cell", "", None, 0), said("main", "1.0", Some("1.1"), 6)]);
    second.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_was_journaled_is_followed_although_the_run_ended_before_anything_came_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let wanted = manifest(7, &[("main", "1.1"), ("toaster", "3")]);
    assert_eq!(journaled_as(7, &detail(&wanted).to_string()).as_ref(), Some(&wanted));
    let first = house(dir.path()).await;
    first.gateway.record_manifest("gw", 7, &detail(&wanted)).await.unwrap();
    first.end().await;
    let mut second = house(dir.path()).await;
    assert_eq!(
        second.reported().await,
        [said("cell", "", None, 0), said("main", "1.0", Some("1.1"), 6), said("toaster", "", Some("3"), 6)]
    );
    second.end().await;
    assert_eq!(journaled_as(7, r#"{"components":[{"package":"main"}]}"#), None);
    assert_eq!(journaled_as(7, &detail(&wanted).to_string().replace("01", "0x")), None);
}

#[tokio::test(start_paused = true)]
async fn a_link_that_takes_no_reports_and_a_closed_one_stop_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut house = house(dir.path()).await;
    house.reports.close();
    house.manifests.send(manifest(7, &[("main", "1.1")])).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let main = house.gateway.components().await.unwrap().remove(1);
    assert_eq!(main.target.as_deref(), Some("1.1"));
    let (closed, _) = mpsc::channel(1);
    house.manifests = closed;
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert!(house.supervisor.every_lane_speaks());
    house.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_deployment_too_large_to_journal_is_not_followed_and_harms_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut house = house(dir.path()).await;
    house.reported().await;
    let name = "p".repeat(20_000);
    house.manifests.send(manifest(9, &[("main", "1.1"), (&name, "1")])).await.unwrap();
    assert_eq!(house.reported().await, []);
    house.manifests.send(manifest(10, &[("main", "1.2")])).await.unwrap();
    assert_eq!(house.reported().await, [said("main", "1.0", Some("1.2"), 6)]);
    house.end().await;
}
