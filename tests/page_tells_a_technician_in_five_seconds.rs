//! The page says whether this gateway is fine and, if not, why and what to do next; it needs one request, no script and
//! nothing from elsewhere; and the API and the metrics say the same facts in shapes that programs can rely on.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail by panicking")]

mod http_gateway;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use fieldgate::board::{Counter, DataPlan, LaneState, LinkPhase, Others, PlanPeriod};
use fieldgate::clock::Mono;
use fieldgate::daemon::rim;
use fieldgate::daemon::supervisor::Supervisor;
use fieldgate::http::Door;
use fieldgate::reading::{Class, Quality};
use fieldgate::store::queue::{DestinationId, Totals};
use http_gateway::{Gateway, latest, link, seconds_ago, slave_state};
use serde_json::Value as Json;
use tokio_util::sync::CancellationToken;

/// What one look at the page may cost on a slow link (the goal; the floor is 50 kB).
const PAGE_BYTES: usize = 30_000;

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
            "1\u{202f}204\u{202f}331",
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
async fn the_page_is_one_small_request_with_nothing_from_elsewhere() {
    for gateway in [Gateway::fine(), Gateway::attention(), Gateway::broken()] {
        let page = gateway.serve().get("/").await.body;
        assert!(page.len() < PAGE_BYTES, "{} bytes", page.len());
        assert_needs_nothing_else(&page);
    }
}

#[tokio::test]
async fn a_gateway_with_endless_lists_and_names_still_has_a_small_page() {
    let mut gateway = Gateway::fine();
    let evil = "<&\"'>".repeat(60);
    for n in 0..4096 {
        let quality = if n == 4000 { Quality::OutOfRange } else { Quality::Good };
        gateway.board.latest.set(&format!("{evil}{n}"), seconds_ago(1), latest(1.5, &evil, quality));
        gateway.board.slaves.set(&format!("{evil}{n}"), seconds_ago(1), slave_state(n % 2 == 0));
        let lane = LaneState {
            words: evil.clone(),
            fine: n % 2 == 0,
            excused: false,
            restarts: 1,
            last_progress: seconds_ago(1),
        };
        gateway.board.lanes.set(&format!("{evil}{n}"), seconds_ago(1), lane);
    }
    for n in 0..8 {
        let name = format!("{evil}{n}");
        gateway.board.links.set(&name, seconds_ago(1), link(LinkPhase::Sick, &evil, 1));
        gateway.destinations.push((DestinationId(n), name));
    }
    gateway.facts.name = evil.clone();
    let page = gateway.serve().get("/").await.body;
    assert!(page.len() <= 50_000, "{} bytes", page.len());
    assert!(
        page.contains("in <a href=\"/api/gateway/status\">the full status</a>"),
        "it says that there is more"
    );
    assert!(page.contains("out of range"), "the one value in doubt is among those shown");
    assert_needs_nothing_else(&page);
}

#[tokio::test]
async fn whatever_names_hold_they_are_shown_and_never_run() {
    let mut gateway = Gateway::fine();
    let evil = "</style><script>alert(1)</script><img src=x onerror=alert(2)>\"'";
    gateway.facts.name = evil.into();
    gateway.facts.serial = evil.into();
    gateway.board.links.set("golioth", seconds_ago(1), link(LinkPhase::Sick, evil, 1));
    gateway.board.latest.set(evil, seconds_ago(1), latest(1.0, evil, Quality::OutOfRange));
    gateway.board.slaves.set(evil, seconds_ago(1), slave_state(false));
    gateway.destinations.push((DestinationId(1), evil.into()));
    let page = gateway.serve().get("/").await.body;
    for tag in ["<script", "<img", "</style><", "onerror=alert(2)>"] {
        assert!(!page.contains(tag), "{tag} is in the page");
    }
    assert!(page.contains("&#60;script&#62;alert(1)&#60;/script&#62;"), "it is shown as text");
}

#[tokio::test]
async fn the_page_refreshes_itself_unless_asked_not_to() {
    let gateway = Gateway::fine().serve();
    let refresh = "<meta http-equiv=\"refresh\" content=\"10\">";
    assert!(gateway.get("/").await.body.contains(refresh));
    assert!(!gateway.get("/?refresh=off").await.body.contains("http-equiv"));
}

#[tokio::test]
async fn the_page_is_built_for_screen_readers_and_small_screens() {
    let page = Gateway::attention().serve().get("/").await.body;
    assert_contains(
        &page,
        &[
            "<html lang=\"en\">",
            "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">",
            "<main>",
            "<a class=\"skip\" href=\"#details\">",
            "<div id=\"details\">",
            "<th scope=\"col\">",
            "<th scope=\"row\">",
            "<caption>",
        ],
    );
    assert_eq!(page.matches("<h1").count(), 1);
    // No heading skips a level.
    let levels: Vec<u32> =
        page.split("<h").skip(1).filter_map(|rest| rest.chars().next()?.to_digit(10)).collect();
    assert!(levels.windows(2).all(|pair| pair[1] <= pair[0] + 1), "{levels:?}");
    let ids: Vec<&str> = page.split(" id=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert_eq!(ids.len(), ids.iter().collect::<BTreeSet<_>>().len(), "{ids:?}");
}

#[test]
fn every_colour_of_text_stands_out_from_what_is_behind_it() {
    let style = include_str!("../templates/page.css");
    let themes: Vec<BTreeMap<&str, [f64; 3]>> = style.split(":root{").skip(1).map(colours).collect();
    assert_eq!(themes.len(), 2, "light and dark");
    for theme in themes {
        for (text, behind) in [
            ("--ink", "--bg"),
            ("--ink", "--card"),
            ("--soft", "--bg"),
            ("--soft", "--card"),
            ("--link", "--bg"),
            ("--link", "--card"),
            ("--ok", "--card"),
            ("--look", "--card"),
            ("--bad", "--card"),
            ("white", "--okbg"),
            ("white", "--lookbg"),
            ("white", "--badbg"),
        ] {
            let behind_it = theme[behind];
            let text_colour = theme.get(text).copied().unwrap_or([1.0; 3]);
            let ratio = contrast(text_colour, behind_it);
            assert!(ratio >= 4.5, "{text} on {behind}: {ratio:.2}");
        }
    }
}

#[tokio::test]
async fn the_status_has_the_keys_that_programs_rely_on() {
    let mut gateway = Gateway::attention();
    gateway.status.health = fieldgate::store::queue::Health::Faulty("I/O error".into());
    gateway.board.data_plan.set(seconds_ago(1), plan());
    let status = gateway.serve().get("/api/gateway/status").await;
    assert_eq!(status.header("content-type"), Some("application/json"));
    assert_eq!(
        keys(&status.json()),
        lines(GATEWAY_KEYS),
        "a key that went or changed its name breaks its readers"
    );
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

#[tokio::test]
async fn metrics_follow_the_exposition_grammar_whatever_names_hold() {
    let mut gateway = Gateway::attention();
    let evil = "a\\b\"c\nd}{,=é";
    gateway.destinations.push((DestinationId(1), evil.into()));
    gateway.board.links.set(evil, seconds_ago(1), link(LinkPhase::Waiting, evil, 1));
    gateway.board.slaves.set(evil, seconds_ago(1), slave_state(false));
    gateway.status.totals.insert((DestinationId(1), Class::Event), Totals { queued: 3, ..Totals::default() });
    let answer = gateway.serve().get("/metrics").await;
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let samples = parse_exposition(&answer.body);
    for (series, value) in [
        ("fieldgate_queue_readings{destination=\"golioth\",class=\"telemetry\"}", 14.0),
        ("fieldgate_queue_readings{destination=\"a\\\\b\\\"c\\nd}{,=é\",class=\"event\"}", 3.0),
        ("fieldgate_readings_accepted_total", 1_204_331.0),
        ("fieldgate_readings_missed_total", 12.0),
        ("fieldgate_readings_acknowledged_total{destination=\"golioth\",class=\"telemetry\"}", 1_204_317.0),
        ("fieldgate_link_up{destination=\"golioth\"}", 1.0),
        ("fieldgate_link_handshakes_total{destination=\"golioth\"}", 2.0),
        ("fieldgate_link_sent_bytes_total{destination=\"golioth\"}", 5_812_331.0),
        ("fieldgate_modem_rsrp_dbm", -121.0),
        ("fieldgate_slave_answering{bus=\"field\",slave=\"pump\"}", 0.0),
        ("fieldgate_lane_restarts_total{lane=\"modem\"}", 0.0),
        ("fieldgate_store_health{state=\"good\"}", 1.0),
        ("fieldgate_store_health{state=\"disk_full\"}", 0.0),
        ("fieldgate_verdict_level", 1.0),
    ] {
        assert_eq!(samples.get(series), Some(&value), "{series}\n{}", answer.body);
    }
}

#[tokio::test]
async fn the_lane_tells_where_it_listens_keeps_that_address_and_ends_with_the_stop() {
    let gateway = Gateway::fine();
    let stop = CancellationToken::new();
    let machine = rim::machine::rim(std::sync::Arc::new(http_gateway::FixedClock { trusted: true }));
    let net = std::sync::Arc::clone(&machine.net);
    let supervisor = Supervisor::new(machine, std::sync::Arc::clone(&gateway.board), stop.clone());
    let config = gateway.config.clone();
    let (_status, queue) = tokio::sync::watch::channel(gateway.status.clone());
    let sources = gateway.sources(queue);
    let (lane, mut address) = fieldgate::http::lane(&config, Door::Bind, net, sources.clone(), stop.clone());
    supervisor.spawn(lane);
    let address = address.wait_for(Option::is_some).await.unwrap().unwrap();
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\n\r\n");
    tokio::io::AsyncWriteExt::write_all(&mut stream, request.as_bytes()).await.unwrap();
    assert_eq!(http_gateway::read(&mut stream).await.body, "ok\n");
    assert_eq!(sources.board.lanes.get("http").unwrap().value.words, "waiting for a request");
    stop.cancel();
    supervisor.stopped(Duration::from_secs(60)).await;
    assert!(tokio::net::TcpStream::connect(address).await.is_err(), "the door is closed");
}

#[tokio::test]
async fn an_inherited_socket_is_served() {
    let gateway = Gateway::fine();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let inherited = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let machine = rim::machine::rim(std::sync::Arc::new(http_gateway::FixedClock { trusted: true }));
    let net = std::sync::Arc::clone(&machine.net);
    let supervisor = Supervisor::new(machine, std::sync::Arc::clone(&gateway.board), stop.clone());
    let config = gateway.config.clone();
    let (_status, queue) = tokio::sync::watch::channel(gateway.status.clone());
    let (lane, mut address) =
        fieldgate::http::lane(&config, Door::Inherited(listener), net, gateway.sources(queue), stop.clone());
    supervisor.spawn(lane);
    assert_eq!(*address.wait_for(Option::is_some).await.unwrap(), Some(inherited));
    let mut stream = tokio::net::TcpStream::connect(inherited).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut stream, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await
        .unwrap();
    assert_eq!(http_gateway::read(&mut stream).await.status, 200);
    stop.cancel();
    supervisor.stopped(Duration::from_secs(60)).await;
}

#[tokio::test]
async fn a_browser_shows_the_verdict_and_finds_nothing_to_complain_of() {
    for (name, gateway, headline) in [
        ("fine", Gateway::fine(), "Connected to golioth, nothing to do"),
        ("attention", Gateway::attention(), "pump does not answer"),
        ("broken", Gateway::broken(), "The disk is full"),
    ] {
        let gateway = gateway.serve();
        let url = format!("http://{}/", gateway.address);
        let (dom, said) = chromium(&["--dump-dom", &url]).await;
        assert!(dom.contains(headline), "{name}: {dom}\n{said}");
        assert!(!said.contains("CONSOLE"), "{name}: the browser complains:\n{said}");
        let picture = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("page-{name}.png"));
        let screenshot = format!("--screenshot={}", picture.display());
        chromium(&[&screenshot, &url]).await;
        let bytes = std::fs::read(&picture).unwrap();
        assert!(bytes.starts_with(b"\x89PNG") && bytes.len() > 5_000, "{name}: {} bytes", bytes.len());
    }
}

#[tokio::test]
async fn a_browser_that_complains_would_be_heard() {
    let (_, said) = chromium(&["--dump-dom", "data:text/html,<script>console.error('heard')</script>"]).await;
    assert!(said.contains("CONSOLE") && said.contains("heard"), "{said}");
}

/// What the browser prints, and what it says of it.
async fn chromium(arguments: &[&str]) -> (String, String) {
    let profile = tempfile::tempdir().unwrap();
    let browser = tokio::process::Command::new("/usr/bin/chromium")
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .args(["--enable-logging=stderr", "--window-size=360,740", "--hide-scrollbars"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(Duration::from_secs(120), browser)
        .await
        .expect("chromium ends within two minutes")
        .expect("chromium is installed: apt-get install --no-install-recommends chromium");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

fn assert_contains(page: &str, parts: &[&str]) {
    for part in parts {
        assert!(page.contains(part), "{part:?} is not in the page:\n{page}");
    }
}

/// Nothing that a browser would fetch, run or send, and no address but this gateway's.
fn assert_needs_nothing_else(page: &str) {
    let page = page.to_ascii_lowercase();
    for part in
        ["<script", "<iframe", "<form", "<object", "<embed", "<img", " src=", "srcset", "url(", "@import"]
    {
        assert!(!page.contains(part), "{part}");
    }
    for target in page.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next()) {
        let here = target.starts_with('#') || target == "data:,";
        assert!(here || (target.starts_with('/') && !target.starts_with("//")), "{target}");
    }
}

/// Every key's path, lists as `[]`, keys that are names as `*`.
fn keys(json: &Json) -> BTreeSet<String> {
    fn walk(json: &Json, path: &str, found: &mut BTreeSet<String>) {
        match json {
            Json::Object(map) => {
                for (key, value) in map {
                    let named = [
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

/// Checks the text exposition format 0.0.4 and gives every series with its value.
fn parse_exposition(text: &str) -> BTreeMap<String, f64> {
    assert!(text.ends_with('\n'));
    let mut samples = BTreeMap::new();
    let mut families: BTreeMap<String, String> = BTreeMap::new();
    let mut current = String::new();
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, words) = help.split_once(' ').unwrap();
            assert!(is_metric_name(name) && !words.is_empty(), "{line}");
            current = name.to_owned();
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            assert_eq!(name, current, "TYPE follows its HELP");
            assert!(["counter", "gauge"].contains(&kind), "{line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            assert!(families.insert(name.to_owned(), kind.to_owned()).is_none(), "{name} stands twice");
        } else {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let name = series.split('{').next().unwrap();
            assert_eq!(name, current, "samples follow their family");
            assert!(name.starts_with("fieldgate_") && families.contains_key(name), "{line}");
            if let Some(labels) = series.get(name.len()..).filter(|labels| !labels.is_empty()) {
                assert_labels(labels);
            }
            let value: f64 = value.parse().unwrap();
            assert!(samples.insert(series.to_owned(), value).is_none(), "{series} stands twice");
        }
    }
    samples
}

fn is_metric_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

/// `{a="b",c="d"}`, with `\\`, `\"` and `\n` the only escapes.
fn assert_labels(labels: &str) {
    let mut rest = labels.strip_prefix('{').unwrap_or_else(|| panic!("{labels}"));
    loop {
        let (name, after) = rest.split_once("=\"").unwrap_or_else(|| panic!("{labels}"));
        assert!(is_metric_name(name), "{labels}");
        let mut letters = after.char_indices();
        let end = loop {
            match letters.next() {
                Some((_, '\\')) => assert!(matches!(letters.next(), Some((_, '\\' | '"' | 'n'))), "{labels}"),
                Some((at, '"')) => break at,
                Some(_) => {}
                None => panic!("{labels}"),
            }
        };
        rest = &after[end + 1..];
        match rest {
            "}" => return,
            _ => rest = rest.strip_prefix(',').unwrap_or_else(|| panic!("{labels}")),
        }
    }
}

fn colours(style: &str) -> BTreeMap<&str, [f64; 3]> {
    let block = style.split('}').next().unwrap();
    block
        .split(';')
        .filter_map(|line| line.trim().split_once(":#"))
        .map(|(name, hex)| (name, rgb(hex)))
        .collect()
}

fn rgb(hex: &str) -> [f64; 3] {
    let wide: String =
        if hex.len() == 3 { hex.chars().flat_map(|c| [c, c]).collect() } else { hex.to_owned() };
    let part = |at: usize| f64::from(u8::from_str_radix(&wide[at..at + 2], 16).unwrap()) / 255.0;
    [part(0), part(2), part(4)]
}

/// WCAG 2.2, contrast ratio.
fn contrast(one: [f64; 3], other: [f64; 3]) -> f64 {
    let luminance = |colour: [f64; 3]| {
        let linear = colour.map(|c| if c <= 0.040_45 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) });
        0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    };
    let (a, b) = (luminance(one), luminance(other));
    (a.max(b) + 0.05) / (a.min(b) + 0.05)
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
    destinations[].classes.*.accepted destinations[].classes.*.acknowledged
    destinations[].classes.*.dropped destinations[].classes.*.queued destinations[].classes.*.setAside
    destinations[].link.handshakes destinations[].link.inFlight destinations[].link.lastHeardAgeSeconds
    destinations[].link.packets destinations[].link.phase destinations[].link.receivedBytes
    destinations[].link.sentBytes destinations[].link.words destinations[].name gateway.clock.source gateway.clock.trusted
    gateway.clock.uncertaintyMilliseconds gateway.clock.unixMilliseconds gateway.name gateway.serial
    gateway.uptimeSeconds gateway.version gatewayDb.detail gatewayDb.health lanes[].excused lanes[].fine lanes[].lastProgressAgeSeconds lanes[].name
    lanes[].restarts lanes[].silent lanes[].words queue.accepted queue.coalesced
    queue.commitWindowMilliseconds queue.detail queue.epoch queue.health queue.lastCommitMilliseconds
    queue.limitBytes queue.missed queue.newestSequences.* queue.queued queue.refused queue.usedBytes radio.access radio.band
    radio.grade radio.modem.application radio.modem.firmware radio.modem.hardware radio.modem.iccid
    radio.modem.imei radio.modem.imsi radio.modemState.fine radio.modemState.phase
    radio.modemState.words radio.operator radio.registered radio.registration radio.roaming
    radio.rsrpDbm radio.rsrqDb radio.signalAgeSeconds radio.snrDb radio.supplyMillivolts
    radio.temperatureCelsius sensors.slaves[].answering sensors.slaves[].answers sensors.slaves[].bus
    sensors.slaves[].failures sensors.slaves[].lastAnswerAgeSeconds sensors.slaves[].name
    sensors.slaves[].words sensors.streams[].ageSeconds sensors.streams[].device sensors.streams[].name
    sensors.streams[].quality sensors.streams[].unit sensors.streams[].value verdict.headline
    verdict.level verdict.reasons[].meaning verdict.reasons[].nextStep verdict.reasons[].what
    writers[].name writers[].phase writers[].words
";
const DEVICE_KEYS: &str = "
    connection.lastSeenOffline connection.lastSeenOnline connection.uptime device.id device.name
    device.serial firmware.components[].package firmware.components[].reason firmware.components[].state
    firmware.components[].target firmware.components[].version firmware.updateAvailable firmware.version
    integration.capabilities[] integration.name integration.type status statusWords telemetry.*.ageSeconds
    telemetry.*.quality telemetry.*.time telemetry.*.unit telemetry.*.value
";
