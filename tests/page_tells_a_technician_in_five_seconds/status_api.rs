//! The status API: the same facts as the page, in shapes that programs can rely on; one shape for every device.

use std::collections::BTreeSet;

use fieldgate::board::{
    CertificateCondition, CertificateState, DeliveryState, SlaveRefusal, Trouble, TroubleKind,
};
use fieldgate::store::queue::{DestinationId, Salvaging};
use serde_json::Value as Json;

use super::http_gateway::{Gateway, seconds_ago, slave_state};
use super::plan;

#[tokio::test]
async fn the_status_has_the_keys_that_programs_rely_on() {
    let mut gateway = Gateway::attention();
    gateway.status.health = fieldgate::store::queue::Health::Faulty("I/O error".into());
    gateway.board.data_plan.set(seconds_ago(1), plan());
    gateway.status.salvage =
        Some(Salvaging { file: "queue.db.damaged-1".into(), thousandths: 1, readings: 2 });
    gateway.status.damaged = std::sync::Arc::new(vec![r#"{"file":"f","lost":null}"#.into()]);
    gateway.status.given_up = std::sync::Arc::new([((DestinationId(0), "age".into()), 1)].into());
    let mut pump = slave_state(true);
    pump.refusal = Some(SlaveRefusal {
        streams: "pump.speed".into(),
        asked: "coil 1".into(),
        exception: 2,
        why: "it has no such address",
    });
    gateway.board.slaves.set("pump", seconds_ago(1), pump);
    let certificate = CertificateState {
        condition: CertificateCondition::Renewed,
        words: "the certificate was renewed and ends in 90 days".into(),
        until_unix_s: 1_803_000_000,
    };
    gateway.board.certificates.set("golioth", seconds_ago(1), certificate);
    let trouble = Trouble::new(TroubleKind::Unreadable, "the settings", "they broke off", "look");
    gateway.board.troubles.note("golioth", seconds_ago(1), trouble);
    gateway.board.deliveries.set("golioth", seconds_ago(1), DeliveryState::default());
    let status = gateway.serve().get("/api/gateway/status").await;
    assert_eq!(status.header("content-type"), Some("application/json"));
    assert_eq!(
        keys(&status.json()),
        lines(GATEWAY_KEYS),
        "a key that went or changed its name breaks its readers"
    );
}

#[tokio::test]
async fn the_status_tells_what_the_board_and_the_books_say() {
    let status = Gateway::fine().serve().get("/api/gateway/status").await.json();
    for (pointer, value) in [
        ("/gateway/serial", Json::from("gw-0042")),
        ("/gateway/uptimeSeconds", 93_784.into()),
        ("/gateway/clock/trusted", true.into()),
        ("/verdict/level", "fine".into()),
        ("/destinations/0/name", "golioth".into()),
        ("/destinations/0/link/phase", "up".into()),
        ("/destinations/0/link/sentBytes", 5_812_331.into()),
        ("/destinations/0/account/queued", 14.into()),
        ("/destinations/0/classes/telemetry/acknowledged", 1_204_317.into()),
        ("/queue/accepted", 1_204_331.into()),
        ("/queue/missed", 12.into()),
        ("/queue/health", "good".into()),
        ("/queue/commitWindowMilliseconds", 1000.into()),
        ("/radio/rsrpDbm", (-92.0).into()),
        ("/radio/grade", "good".into()),
        ("/sensors/slaves/0/name", "boiler".into()),
        ("/sensors/streams/0/value", 61.4.into()),
        ("/sensors/streams/0/quality", "good".into()),
        ("/sensors/streams/0/ageSeconds", 2.0.into()),
        ("/components/1/package", "main".into()),
        ("/lanes/0/fine", true.into()),
    ] {
        assert_eq!(status.pointer(pointer), Some(&value), "{pointer}");
    }
    let bare = Gateway { board: fieldgate::board::Board::shared(), ..Gateway::fine() };
    let status = bare.serve().get("/api/gateway/status").await.json();
    assert_eq!((&status["radio"], &status["destinations"][0]["link"]), (&Json::Null, &Json::Null));
}

#[tokio::test]
async fn a_link_whose_answer_is_overdue_is_silent_for_programs_too() {
    let served = Gateway::dead_cloud().serve();
    let status = served.get("/api/gateway/status").await.json();
    let link = &status["destinations"][0]["link"];
    assert_eq!((&link["phase"], &link["owedSeconds"]), (&Json::from("silent"), &Json::from(14.0)));
    assert_eq!(status["destinations"][1]["link"]["phase"], "up");
    let metrics = served.get("/metrics").await.body;
    assert!(metrics.contains("fieldgate_link_up{destination=\"golioth\"} 0\n"), "{metrics}");
}

#[tokio::test]
async fn a_device_has_one_shape_and_a_status_with_its_reason() {
    let gateway = Gateway::fine().serve();
    for (id, status, words) in [
        ("d-1", "online", None),
        ("gw-0042", "online", None),
        ("fresh", "online", None),
        ("stale", "offline", Some("No report within three of its intervals.")),
        ("heard-here", "online", None),
        ("weak", "warning", Some("low battery")),
        ("ill", "error", Some("sensor fault")),
        ("unseen", "offline", Some("No report within three of its intervals.")),
    ] {
        let device = gateway.get(&format!("/api/devices/{id}/status")).await.json();
        assert_eq!(device["status"], status, "{id}");
        assert_eq!(device["statusWords"], words.map_or(Json::Null, Json::from), "{id}");
        let top: Vec<&str> = device.as_object().unwrap().keys().map(String::as_str).collect();
        let expected =
            ["connection", "device", "firmware", "integration", "status", "statusWords", "telemetry"];
        assert_eq!(top, expected, "{id}");
    }
    let device = gateway.get("/api/devices/gw-0042/status").await.json();
    assert_eq!(keys(&device), lines(DEVICE_KEYS));
    assert_eq!(device["device"]["id"], "d-1");
    assert_eq!(device["connection"]["uptime"], 93_784);
    assert_eq!(device["connection"]["lastSeenOnline"], "2026-11-20T10:19:59Z");
    assert_eq!(device["firmware"]["updateAvailable"], true);
    assert_eq!(device["integration"]["type"], "golioth");
    let heard = gateway.get("/api/devices/heard-here/status").await.json();
    assert_eq!(heard["telemetry"]["boiler.flow_temperature"]["value"], 61.4);
    assert_eq!(heard["telemetry"]["battery"]["value"], 87, "what the registry remembers stands beside it");
    let all = gateway.get("/api/devices").await.json();
    assert_eq!(all["devices"].as_array().unwrap().len(), 7);
}

#[tokio::test]
async fn a_gateway_that_is_not_fine_is_a_device_that_is_not_online() {
    for (gateway, status) in [(Gateway::attention(), "warning"), (Gateway::broken(), "offline")] {
        let device = gateway.serve().get("/api/devices/gw-0042/status").await.json();
        assert_eq!(device["status"], status);
        assert!(device["statusWords"].is_string());
    }
    let mut full = Gateway::fine();
    full.status.health = fieldgate::store::queue::Health::DiskFull;
    assert_eq!(full.serve().get("/api/devices/gw-0042/status").await.json()["status"], "error");
}

/// Every key's path, lists as `[]`, keys that are names as `*`.
fn keys(json: &Json) -> BTreeSet<String> {
    fn walk(json: &Json, path: &str, found: &mut BTreeSet<String>) {
        match json {
            Json::Object(map) => {
                for (key, value) in map {
                    let named = [
                        "givenUp",
                        "classes",
                        "telemetry",
                        "newestSequences",
                        "monthByPurpose",
                        "thinned",
                        "wirePercent",
                    ]
                    .iter()
                    .any(|map| path.ends_with(map));
                    let at = format!(
                        "{path}{}{}",
                        if path.is_empty() { "" } else { "." },
                        if named { "*" } else { key }
                    );
                    walk(value, &at, found);
                }
            }
            Json::Array(items) => items.iter().for_each(|item| walk(item, &format!("{path}[]"), found)),
            _ => {
                found.insert(path.to_owned());
            }
        }
    }
    let mut found = BTreeSet::new();
    walk(json, "", &mut found);
    found
}

fn lines(text: &str) -> BTreeSet<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

const GATEWAY_KEYS: &str = "
    components[].device components[].package components[].reason components[].state components[].target
    components[].version dataPlan.day.bytes dataPlan.day.endsUnixMilliseconds dataPlan.day.forecastBytes
    dataPlan.day.limitBytes dataPlan.limited dataPlan.month.bytes dataPlan.month.endsUnixMilliseconds
    dataPlan.month.forecastBytes dataPlan.month.limitBytes dataPlan.monthByPurpose.* dataPlan.othersBytes dataPlan.othersCounter
    dataPlan.roaming dataPlan.roamingMonth.bytes dataPlan.roamingMonth.endsUnixMilliseconds
    dataPlan.roamingMonth.forecastBytes dataPlan.roamingMonth.limitBytes dataPlan.thinned.*
    dataPlan.waits[].seconds dataPlan.waits[].what dataPlan.wirePercent.* destinations[].account.accepted destinations[].account.acknowledged
    destinations[].account.dropped destinations[].account.queued destinations[].account.setAside
    destinations[].certificate.condition destinations[].certificate.endsUnixSeconds
    destinations[].certificate.words destinations[].givenUp.* destinations[].lost destinations[].classes.*.accepted destinations[].classes.*.acknowledged
    destinations[].classes.*.dropped destinations[].classes.*.queued destinations[].classes.*.setAside
    destinations[].link.handshakes destinations[].link.inFlight destinations[].link.lastHeardAgeSeconds
    destinations[].link.owedSeconds destinations[].link.packets destinations[].link.phase destinations[].link.receivedBytes
    destinations[].delivery.lostAtMost destinations[].delivery.unrouted destinations[].delivery.words
    destinations[].troubles[].about destinations[].troubles[].nextStep destinations[].troubles[].paste
    destinations[].troubles[].sinceSeconds destinations[].troubles[].state destinations[].troubles[].times
    destinations[].troubles[].words
    destinations[].link.sentBytes destinations[].link.words destinations[].name gateway.clock.corrected gateway.clock.source gateway.clock.trusted gateway.clock.undatedReadings
    gateway.clock.uncertaintyMilliseconds gateway.clock.unixMilliseconds gateway.name gateway.serial
    gateway.uptimeSeconds gateway.version gatewayDb.detail gatewayDb.health lanes[].excused lanes[].fine lanes[].lastProgressAgeSeconds lanes[].name
    lanes[].restarts lanes[].silent lanes[].words queue.accepted queue.coalesced
    queue.ballast.bytes queue.ballast.held queue.commitP50Milliseconds queue.commitP99Milliseconds
    queue.commitWindowMilliseconds queue.configuredWindowMilliseconds queue.damaged[].file queue.damaged[].lost queue.detail queue.epoch queue.flash.budgetBytesPerDay
    queue.flash.forecastBytesPerDay queue.flash.writtenBytes queue.health queue.lastCommitMilliseconds queue.logBytes
    queue.limitBytes queue.missed queue.newestSequences.* queue.queued queue.refused
    queue.salvage.file queue.salvage.readings queue.salvage.thousandths queue.slowFsyncMilliseconds queue.usedBytes
    queue.whyWidened radio.access radio.band
    radio.grade radio.modem.application radio.modem.firmware radio.modem.hardware radio.modem.iccid
    radio.modem.imei radio.modem.imsi radio.modemState.fine radio.modemState.phase
    radio.modemState.words radio.operator radio.registered radio.registration radio.roaming
    radio.rsrpDbm radio.rsrqDb radio.signalAgeSeconds radio.snrDb radio.supplyMillivolts
    radio.temperatureCelsius sensors.slaves[].answering sensors.slaves[].answers sensors.slaves[].bus
    sensors.slaves[].failures sensors.slaves[].lastAnswerAgeSeconds sensors.slaves[].name
    sensors.slaves[].refusal sensors.slaves[].refusal.asked sensors.slaves[].refusal.exception
    sensors.slaves[].refusal.streams sensors.slaves[].refusal.why sensors.slaves[].words sensors.streams[].ageSeconds sensors.streams[].device sensors.streams[].name
    sensors.streams[].quality sensors.streams[].unit sensors.streams[].value verdict.headline
    verdict.level verdict.reasons[].meaning verdict.reasons[].nextStep verdict.reasons[].what
    writers[].name writers[].phase writers[].words settings
";

const DEVICE_KEYS: &str = "
    connection.lastSeenOffline connection.lastSeenOnline connection.uptime device.id device.name
    device.serial firmware.components[].package firmware.components[].reason firmware.components[].state
    firmware.components[].target firmware.components[].version firmware.updateAvailable firmware.version
    integration.capabilities[] integration.name integration.type status statusWords telemetry.*.ageSeconds
    telemetry.*.quality telemetry.*.time telemetry.*.unit telemetry.*.value
";
