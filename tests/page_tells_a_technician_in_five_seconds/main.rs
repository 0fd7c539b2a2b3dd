//! The page says whether this gateway is fine and, if not, why and what to do next; it needs one request, no script and
//! nothing from elsewhere; and the API and the metrics say the same facts in shapes that programs can rely on.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail by panicking")]

mod accounts;
mod door;
#[path = "../http_gateway/mod.rs"]
mod http_gateway;
mod metrics;
mod small_and_safe;
mod status_api;

use fieldgate::board::{
    Counter, DataPlan, LinkPhase, Others, PlanPeriod, SlaveRefusal, Trouble, TroubleKind,
};
use fieldgate::clock::Mono;
use http_gateway::{Gateway, link, seconds_ago, slave_state};

#[tokio::test]
async fn a_fine_gateway_says_so_and_asks_for_nothing() {
    let page = Gateway::fine().serve().get("/").await;
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    assert_contains(
        &page.body,
        &[
            "<h1 id=\"verdict\">Fine</h1>",
            "Connected to golioth, nothing to do",
            "−92 dBm",
            "boiler.flow_temperature",
            "<b>61.4</b> °C",
            "mfw_nrf91x1_2.0.4",
            "accepted 1\u{202f}204\u{202f}331 = acknowledged 1\u{202f}204\u{202f}317 + dropped 0 + set aside 0 + queued 14",
            "running for 1 d 2 h",
            "At risk",
        ],
    );
    assert!(!page.body.contains("what to do"), "nothing is to be done");
}

#[tokio::test]
async fn a_gateway_that_needs_a_look_says_why_and_what_next() {
    let page = Gateway::attention().serve().get("/").await.body;
    assert_contains(
        &page,
        &[
            "<h1 id=\"verdict\">Attention</h1>",
            "pump does not answer",
            "Silent for 66 min, asked again in 48 s.",
            "<b>Next:</b> Check its power, its A/B wires and its unit address.",
            "The signal is weak (−121 dBm)",
            "1 value is in doubt",
            "out of range",
        ],
    );
}

#[tokio::test]
async fn a_broken_gateway_says_what_is_broken_first() {
    let page = Gateway::broken().serve().get("/").await.body;
    assert_contains(
        &page,
        &[
            "<h1 id=\"verdict\">Broken</h1>",
            "The disk is full, and ",
            "golioth refuses this gateway",
            "The key is not accepted (4.01); check golioth.psk_id and the key at the cloud.",
            "No mobile network",
            "no such port",
            "The clock is not set",
        ],
    );
    assert!(page.find("The disk is full").unwrap() < page.find("The clock is not set").unwrap());
}

#[tokio::test]
async fn what_is_wrong_with_a_cloud_has_one_name_on_the_page_in_the_api_and_in_the_metrics() {
    let gateway = Gateway::fine();
    let next = "look at the setting that was changed last";
    let trouble = Trouble::new(TroubleKind::Unreadable, "the settings", "they broke off", next);
    gateway.board.troubles.note("golioth", seconds_ago(30), trouble.clone());
    gateway.board.troubles.note("golioth", seconds_ago(3), trouble);
    let served = gateway.serve();
    let page = served.get("/").await.body;
    assert_contains(
        &page,
        &[
            "<h1 id=\"verdict\">Attention</h1>",
            "golioth: the settings cannot be read",
            "<b>Next:</b> Look at the setting that was changed last.",
            "unreadable",
            "they broke off (2 times). Next: look at the setting that was changed last",
        ],
    );
    let api = served.get("/api/gateway/status").await.json();
    let told = &api["destinations"][0]["troubles"][0];
    assert_eq!((&told["state"], &told["about"]), (&"unreadable".into(), &"the settings".into()), "{told}");
    assert_eq!((&told["nextStep"], &told["times"]), (&next.into(), &2.into()), "{told}");
    assert_eq!(told["sinceSeconds"], 30.0);
    let metrics = served.get("/metrics").await.body;
    let sample = "fieldgate_trouble{destination=\"golioth\",state=\"unreadable\",about=\"the settings\"} 1";
    assert_contains(&metrics, &[sample]);
}

#[tokio::test]
async fn a_cloud_that_no_longer_answers_is_not_called_connected_and_each_tile_tells_its_own_age() {
    let gateway = Gateway::dead_cloud();
    gateway.board.links.set("backup", seconds_ago(2), link(LinkPhase::Up, "connected", 3));
    let page = gateway.serve().get("/").await.body;
    assert_contains(
        &page,
        &[
            "<h1 id=\"verdict\">Attention</h1>",
            "No answer from golioth",
            "No answer since 14 s; what was sent is sent again.",
            "<dt>Cloud golioth</dt><dd><b>No answer</b> <span>heard 14 s ago</span>",
            "<dt>Cloud backup</dt><dd><b>Connected</b> <span>heard 3 s ago</span>",
        ],
    );
    assert!(page.find("Cloud golioth").unwrap() < page.find("Cloud backup").unwrap(), "the unwell one first");
}

#[tokio::test]
async fn a_full_disk_says_what_is_refused_and_that_the_reserve_is_in_use() {
    let page = Gateway::full_disk().serve().get("/").await.body;
    assert_contains(
        &page,
        &[
            "<h1 id=\"verdict\">Broken</h1>",
            "The disk is full",
            "refusing new ones",
            "Disk full",
            "Released, 4.2 MB",
            "<b>Next:</b> Let the queue drain",
        ],
    );
}

#[tokio::test]
async fn a_register_that_a_sensor_does_not_have_is_said_to_be_configuration_and_not_wiring() {
    let gateway = Gateway::fine();
    let mut pump = slave_state(true);
    pump.refusal = Some(SlaveRefusal {
        streams: "pump.speed".into(),
        asked: "holding register 4711".into(),
        exception: 2,
        why: "it has no such address",
    });
    gateway.board.slaves.set("pump", seconds_ago(1), pump);
    let page = gateway.serve().get("/").await.body;
    assert_contains(
        &page,
        &[
            "pump refuses to tell pump.speed",
            "refuses holding register 4711 (pump.speed): it has no such address (exception 2). The wiring is fine",
            "<b>Next:</b> In the configuration, compare the table, register and type of pump.speed",
            "<b class=\"look\">Refuses</b>",
        ],
    );
    assert!(!page.contains("A/B wires"), "nobody is sent to look at cables");
}

/// A month that is running short.
fn plan() -> DataPlan {
    let period = |bytes, limit| PlanPeriod {
        bytes,
        limit,
        forecast: Some(6_100_000),
        ends_unix_ms: Some(1_782_864_000_000),
    };
    DataPlan {
        limited: true,
        roaming: false,
        day: period(120_000, None),
        month: period(3_100_000, Some(5_000_000)),
        roaming_month: period(0, Some(0)),
        by_purpose: vec![("alarm", 2_000), ("backlog", 2_100_000), ("session", 400_000)],
        others: Some(Others { bytes: 70_000, counter: Counter::Interface }),
        waits: vec![("backlog for golioth: the data plan must last until its end".into(), Mono(u64::MAX))],
        thinned: vec![("golioth".into(), 4)],
        wire_percent: vec![("golioth telemetry".into(), 117)],
    }
}

#[tokio::test]
async fn a_data_plan_that_runs_short_says_what_was_spent_what_waits_and_what_is_given_up() {
    let gateway = Gateway::fine();
    gateway.board.data_plan.set(seconds_ago(1), plan());
    let served = gateway.serve();
    let page = served.get("/").await.body;
    for words in [
        "62 %",
        "of 5.0 MB this month",
        "3.1 MB of 5.0 MB",
        "6.1 MB at the end",
        "backlog 2.1 MB, session 400.0 kB, alarm 2.0 kB",
        "70.0 kB",
        "the data plan must last until its end",
        "one reading in 4 of the backlog",
    ] {
        assert!(page.contains(words), "{words}");
    }
    let metrics = served.get("/metrics").await.body;
    for line in [
        "fieldgate_data_plan_spent_bytes{network=\"home\",period=\"month\"} 3100000",
        "fieldgate_data_plan_limit_bytes{network=\"roaming\",period=\"month\"} 0",
        "fieldgate_data_plan_purpose_bytes{purpose=\"backlog\"} 2100000",
        "fieldgate_data_plan_others_bytes{counter=\"interface\"} 70000",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line}");
    }
}

fn assert_contains(page: &str, parts: &[&str]) {
    for part in parts {
        assert!(page.contains(part), "{part:?} is not in the page:\n{page}");
    }
}
