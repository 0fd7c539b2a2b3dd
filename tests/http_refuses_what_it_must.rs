//! What the page's server refuses, and how: foreign hosts and origins, other methods, bodies, long and slow requests, wrong
//! tokens. And what it never tells anybody. Over a real loopback socket, in raw bytes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail by panicking")]

mod http_gateway;

use std::time::Duration;

use fieldgate::board::{WriterPhase, WriterState};
use fieldgate::store::gateway::GatewayHealth;
use fieldgate::store::queue::Health;
use http_gateway::{
    CELL, Gateway, ICCID, IMEI, IMSI, OTHER_TOKEN, QUEUE_TOKEN, Served, TOKEN, read, seconds_ago,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const ROUTES: [&str; 10] = [
    "/",
    "/?refresh=off",
    "/api/gateway/status",
    "/api/devices",
    "/api/devices/gw-0042/status",
    "/api/devices/nobody/status",
    "/api/firmware/log",
    "/metrics",
    "/healthz",
    "/nothing/here",
];

#[tokio::test]
async fn only_the_gateways_own_names_are_answered() {
    let gateway = Gateway::fine().serve();
    let port = gateway.address.port();
    for (host, status) in [
        (format!("127.0.0.1:{port}"), 200),
        ("127.0.0.1".into(), 200),
        (format!("localhost:{port}"), 200),
        (format!("[::1]:{port}"), 200),
        ("pump-house".into(), 200),
        ("Pump-House.local:80".into(), 200),
        ("gateway.example".into(), 200),
        ("evil.example".into(), 421),
        ("192.168.1.1".into(), 421),
        ("localhost.evil.example".into(), 421),
        ("gateway.example@evil.example".into(), 421),
        (String::new(), 421),
    ] {
        let answer = gateway.raw(&format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        assert_eq!(answer.status, status, "{host:?}: {answer:?}");
    }
    let refused = gateway.raw("GET /api/gateway/status HTTP/1.1\r\nHost: evil.example\r\n\r\n").await;
    assert!(refused.json()["error"].as_str().unwrap().contains("http.hosts"), "{refused:?}");
}

#[tokio::test]
async fn a_request_with_no_host_two_hosts_or_a_foreign_target_is_refused() {
    let gateway = Gateway::fine().serve();
    for (request, status) in [
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.0\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n", 400),
        ("GET http://evil.example/ HTTP/1.1\r\nHost: localhost\r\n\r\n", 421),
        ("GET http://localhost/ HTTP/1.1\r\nHost: localhost\r\n\r\n", 200),
    ] {
        assert_eq!(gateway.raw(request).await.status, status, "{request:?}");
    }
}

#[tokio::test]
async fn only_get_and_head_are_answered_and_a_foreign_origin_is_refused_before_that() {
    let gateway = Gateway::fine().serve();
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"] {
        for path in ["/", "/api/gateway/status", "/nothing/here"] {
            let answer = gateway.request(method, path, &[]).await;
            assert_eq!(answer.status, 405, "{method} {path}");
            assert_eq!(answer.header("allow"), Some("GET, HEAD"), "{method} {path}");
        }
    }
    for (origin, status) in [
        ("http://evil.example".to_owned(), 403),
        ("null".into(), 403),
        (format!("https://{}", gateway.address), 403),
        (format!("http://{}", gateway.address), 405),
    ] {
        let answer = gateway.request("POST", "/", &[("Origin", &origin)]).await;
        assert_eq!(answer.status, status, "{origin}");
    }
}

#[tokio::test]
async fn head_answers_as_get_does_without_the_body() {
    let gateway = Gateway::fine().serve();
    for path in ["/", "/api/gateway/status", "/metrics", "/healthz", "/nothing/here"] {
        let head = gateway.request("HEAD", path, &[]).await;
        let get = gateway.get(path).await;
        assert_eq!((head.status, head.body.as_str()), (get.status, ""), "{path}");
        assert_eq!(head.header("content-type"), get.header("content-type"), "{path}");
    }
}

#[tokio::test]
async fn unknown_paths_are_refused_in_the_form_they_were_asked_for() {
    let gateway = Gateway::fine().serve();
    let page = gateway.get("/admin").await;
    assert_eq!((page.status, page.header("content-type")), (404, Some("text/plain; charset=utf-8")));
    let api = gateway.get("/api/gateways").await;
    assert_eq!((api.status, api.header("content-type")), (404, Some("application/json")));
    assert!(api.json()["error"].is_string());
    for path in ["/..%2f..%2fetc%2fpasswd", "//", "/api/devices//status", "/api/devices/a/b/status", "/%00"] {
        assert_eq!(gateway.get(path).await.status, 404, "{path}");
    }
    let unknown = gateway.get("/api/devices/nobody/status").await;
    assert_eq!(unknown.status, 404);
    assert_eq!(unknown.json()["error"], "There is no device with this id or serial number.");
    let endless = format!("/api/devices/{}/status", "x".repeat(5000));
    assert_eq!(gateway.get(&endless).await.status, 404);
}

#[tokio::test]
async fn a_body_is_refused_before_it_is_read() {
    let gateway = Gateway::fine().serve();
    let long = gateway.request("GET", "/", &[("Content-Length", "99999999999")]).await;
    assert_eq!(long.status, 413);
    let chunked = gateway.request("GET", "/", &[("Transfer-Encoding", "chunked")]).await;
    assert_eq!(chunked.status, 413);
    let posted = gateway.request("POST", "/", &[("Content-Length", "99999999999")]).await;
    assert_eq!(posted.status, 405);
    assert_eq!(gateway.request("GET", "/healthz", &[("Content-Length", "0")]).await.status, 200);
}

#[tokio::test]
async fn what_is_too_long_or_no_http_is_refused_and_the_next_request_is_answered() {
    let gateway = Gateway::fine().serve();
    let host = format!("Host: {}\r\n", gateway.address);
    let many: String = (0..150).map(|n| format!("X-{n}: 1\r\n")).collect();
    for (what, request, status) in [
        ("one long header", format!("GET / HTTP/1.1\r\n{host}X: {}\r\n\r\n", "x".repeat(40_000)), 431),
        ("an endless header", format!("GET / HTTP/1.1\r\n{host}X: {}", "x".repeat(400_000)), 431),
        ("many headers", format!("GET / HTTP/1.1\r\n{host}{many}\r\n"), 431),
        ("a long path", format!("GET /{} HTTP/1.1\r\n{host}\r\n", "x".repeat(40_000)), 431),
        ("garbage", "\u{16}\u{3}\u{1}\u{2}\r\n\r\n".to_owned(), 400),
        ("another protocol", "SSH-2.0-OpenSSH_9.2\r\n\r\n".to_owned(), 400),
    ] {
        assert_eq!(gateway.raw(&request).await.status, status, "{what}");
        assert_eq!(gateway.get("/healthz").await.status, 200, "after {what}");
    }
}

#[tokio::test]
async fn a_connection_carries_one_request() {
    let gateway = Gateway::fine().serve();
    let request = format!("GET /healthz HTTP/1.1\r\nHost: {}\r\n\r\n", gateway.address);
    let answer = gateway.raw(&request.repeat(5)).await;
    assert_eq!(answer.header("connection"), Some("close"));
    assert_eq!(answer.body, "ok\n", "no second answer follows");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_never_ends_is_told_so_and_closed() {
    let gateway = Gateway::fine().serve();
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: loc").await.unwrap();
    assert_eq!(read(&mut stream).await.status, 408);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_drips_is_closed_although_it_never_pauses() {
    let gateway = Gateway::fine().serve();
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nX: ").await.unwrap();
    let (mut reading, mut writing) = stream.split();
    let drip = async {
        // Long enough that only the gateway can end it.
        for _ in 0..3600 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            if writing.write_all(b"x").await.is_err() {
                return;
            }
        }
        panic!("the gateway listened for an hour");
    };
    let mut answer = Vec::new();
    let closed = async {
        // Whether the end comes as an end or as a reset is the kernel's choice.
        let _ = reading.read_to_end(&mut answer).await;
    };
    tokio::select! { () = drip => {}, () = closed => {} }
    assert!(answer.starts_with(b"HTTP/1.1 408 "), "{}", String::from_utf8_lossy(&answer));
}

#[tokio::test(start_paused = true)]
async fn silent_connections_in_every_place_keep_nobody_out_for_long() {
    let gateway = Gateway::fine().serve();
    let mut silent = Vec::new();
    for _ in 0..48 {
        silent.push(TcpStream::connect(gateway.address).await.unwrap());
    }
    assert_eq!(gateway.get("/healthz").await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_take_its_answer_is_dropped() {
    let gateway = Gateway::fine();
    // Longer than what the sockets' buffers hold between them.
    for n in 0..60_000 {
        let latest = http_gateway::latest(f64::from(n), "Cel", fieldgate::reading::Quality::Good);
        gateway.board.latest.set(&format!("slave_{n}.{}", "s".repeat(60)), seconds_ago(1), latest);
    }
    let gateway = gateway.serve();
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    let request = format!("GET /api/gateway/status HTTP/1.1\r\nHost: {}\r\n\r\n", gateway.address);
    stream.write_all(request.as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    let mut taken = Vec::new();
    let _ = stream.read_to_end(&mut taken).await;
    let text = String::from_utf8_lossy(&taken);
    assert!(text.starts_with("HTTP/1.1 200 OK"), "{}", text.get(..200).unwrap_or(&text));
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let promised = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    assert!(body.len() < promised.parse().unwrap(), "{promised} bytes were waited for");
}

#[tokio::test]
async fn the_firmware_log_opens_to_its_token_and_to_nothing_else() {
    let gateway = Gateway::fine().serve();
    let good = format!("Bearer {TOKEN}");
    let longer = format!("{good}x");
    for (authorization, status) in [
        (None, 401),
        (Some("Bearer "), 401),
        (Some("Bearer wrong"), 401),
        (Some(&good[..good.len() - 1]), 401),
        (Some(longer.as_str()), 401),
        (Some(TOKEN), 401),
        (Some("Basic YTpi"), 401),
        (Some(good.as_str()), 200),
        (Some(&*good.replace("Bearer", "bearer")), 200),
    ] {
        let headers: Vec<_> = authorization.map(|value| ("Authorization", value)).into_iter().collect();
        let answer = gateway.request("GET", "/api/firmware/log", &headers).await;
        assert_eq!(answer.status, status, "{authorization:?}");
        let challenged =
            answer.header("www-authenticate").is_some_and(|value| value.starts_with("Bearer realm="));
        assert_eq!(challenged, status == 401, "{authorization:?}");
    }
    let in_the_address = gateway.get(&format!("/api/firmware/log?access_token={TOKEN}")).await;
    assert_eq!(in_the_address.status, 401, "a token in an address ends in logs");
    let twice = [("Authorization", good.as_str()), ("Authorization", "Bearer wrong")];
    assert_eq!(gateway.request("GET", "/api/firmware/log", &twice).await.status, 401);
    assert_eq!(gateway.log.asked.lock().unwrap().len(), 2, "only the right token reaches the log");
}

#[tokio::test]
async fn the_token_opens_no_route_that_the_gateway_does_not_have() {
    let mut gateway = Gateway::fine();
    gateway.config.pullers.clear();
    let gateway = gateway.serve();
    let authorization = format!("Bearer {TOKEN}");
    let answer = gateway.request("GET", "/api/firmware/log", &[("Authorization", &authorization)]).await;
    assert_eq!(answer.status, 404);
}

#[tokio::test]
async fn the_firmware_log_is_pulled_page_by_page_and_asking_is_acknowledging() {
    let gateway = Gateway::fine().serve();
    let authorization = format!("Bearer {TOKEN}");
    let headers = [("Authorization", authorization.as_str())];
    let mut seen = Vec::new();
    let mut path = "/api/firmware/log?limit=4".to_owned();
    loop {
        let page = gateway.request("GET", &path, &headers).await.json();
        seen.extend(
            page["entries"].as_array().unwrap().iter().map(|entry| entry["sequence"].as_u64().unwrap()),
        );
        let next = page["next"].as_str().unwrap();
        path = format!("/api/firmware/log?after={next}&limit=4");
        if page["more"] == false {
            break;
        }
    }
    assert_eq!(seen, (1..=10).collect::<Vec<_>>());
    let asked = gateway.log.asked.lock().unwrap().clone();
    let expected = [(None, 4), (Some("4"), 4), (Some("8"), 4)];
    assert_eq!(asked, expected.map(|(after, limit)| (after.map(str::to_owned), limit, "cloud".to_owned())));
}

#[tokio::test(start_paused = true)]
async fn a_bad_question_to_the_firmware_log_gets_its_own_clear_answer() {
    let gateway = Gateway::fine().serve();
    let authorization = format!("Bearer {TOKEN}");
    let long = format!("after={}", "9".repeat(257));
    for (query, status, words) in [
        ("limit=0", 400, "limit is a number from 1 to 200."),
        ("limit=201", 400, "limit is a number from 1 to 200."),
        ("limit=-1", 400, "limit is a number from 1 to 200."),
        ("limit=ten", 400, "limit is a number from 1 to 200."),
        ("limit=99999999999999999999", 400, "limit is a number from 1 to 200."),
        ("limit=1&limit=2", 400, "Ask with after=CURSOR, limit=N and wait=SECONDS, each at most once."),
        ("wait=51", 400, "wait is a number of seconds from 0 to 50."),
        ("wait=-1", 400, "wait is a number of seconds from 0 to 50."),
        ("after=x", 400, "That is not a cursor of this log."),
        (&long, 400, "This cursor was not given out here: it is too long."),
        ("after=foreign", 409, "That cursor is another gateway's."),
        ("after=diverged", 410, "That part of the log is gone."),
        ("after=broken", 503, "This does not answer now. Try again with the same cursor."),
        ("after=never", 503, "This does not answer now. Try again with the same cursor."),
    ] {
        let path = format!("/api/firmware/log?{query}");
        let answer = gateway.request("GET", &path, &[("Authorization", &authorization)]).await;
        assert_eq!(answer.status, status, "{query}");
        assert_eq!(answer.json()["error"], words, "{query}");
    }
}

async fn pulled(gateway: &Served, path: &str, token: &str) -> http_gateway::Answer {
    gateway.request("GET", path, &[("Authorization", &format!("Bearer {token}"))]).await
}

#[tokio::test]
async fn each_puller_is_known_by_the_name_of_its_token_and_opens_what_it_may() {
    let gateway = Gateway::fine().serve();
    for (path, token, status) in [
        ("/api/firmware/log?after=4", TOKEN, 200),
        ("/api/firmware/log?after=2", OTHER_TOKEN, 200),
        ("/api/firmware/log", QUEUE_TOKEN, 403),
        ("/api/queue", QUEUE_TOKEN, 200),
        ("/api/queue", TOKEN, 403),
        ("/api/queue", "a-token-of-nobody-0123456789", 401),
    ] {
        let answer = pulled(&gateway, path, token).await;
        assert_eq!(answer.status, status, "{path} {token}");
    }
    let asked = gateway.log.asked.lock().unwrap().clone();
    let names: Vec<&str> = asked.iter().map(|(_, _, puller)| puller.as_str()).collect();
    assert_eq!(names, ["cloud", "lab"], "whoever may not is not acknowledged for");
    let mut closed = Gateway::fine();
    closed.config.pullers.retain(|puller| !puller.queue);
    assert_eq!(pulled(&closed.serve(), "/api/queue", TOKEN).await.status, 404);
}

#[tokio::test]
async fn readings_are_pulled_page_by_page_and_a_bad_cursor_gets_its_own_answer() {
    let gateway = Gateway::fine().serve();
    let first = pulled(&gateway, "/api/queue?limit=2", QUEUE_TOKEN).await.json();
    assert_eq!((first["readings"].as_array().unwrap().len(), &first["more"]), (2, &true.into()));
    let rest = pulled(&gateway, "/api/queue?after=2", QUEUE_TOKEN).await.json();
    assert_eq!((rest["readings"][0]["sequence"].as_u64(), &rest["more"]), (Some(3), &false.into()));
    let bad = pulled(&gateway, "/api/queue?after=x", QUEUE_TOKEN).await;
    assert_eq!(
        (bad.status, bad.json()["error"].as_str()),
        (400, Some("That is not a cursor of this queue."))
    );
    assert_eq!(pulled(&gateway, "/api/queue?wait=5", QUEUE_TOKEN).await.status, 400);
    let busy = pulled(&gateway, "/api/queue?after=busy", QUEUE_TOKEN).await;
    assert_eq!((busy.status, busy.header("retry-after")), (503, Some("1")));
}

const WAITING: &str = "/api/firmware/log?after=10&wait=40";

#[tokio::test(start_paused = true)]
async fn a_puller_that_waits_for_nothing_is_answered_empty_when_its_time_is_over() {
    let gateway = Gateway::fine().serve();
    let early = tokio::time::timeout(Duration::from_secs(39), pulled(&gateway, WAITING, TOKEN)).await;
    assert!(early.is_err(), "it was answered early: {early:?}");
    // Longer than any other request may take, and no offence.
    let late = tokio::time::timeout(Duration::from_secs(45), pulled(&gateway, WAITING, TOKEN)).await.unwrap();
    assert_eq!((late.status, late.json()["entries"].as_array().unwrap().len()), (200, 0));
}

#[tokio::test(start_paused = true)]
async fn a_puller_that_waits_is_answered_at_once_when_an_entry_is_appended() {
    let gateway = Gateway::fine().serve();
    let appended = async {
        // Seen at the log it waits, or is about to: what is appended now reaches it either way.
        while gateway.log.asked.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        gateway.log.entries.send_replace(11);
    };
    let both = async { tokio::join!(pulled(&gateway, WAITING, TOKEN), appended).0 };
    let answer = tokio::time::timeout(Duration::from_secs(1), both).await.expect("it went on waiting");
    assert_eq!(answer.json()["entries"][0]["sequence"], 11);
}

#[tokio::test(start_paused = true)]
async fn pullers_that_wait_leave_room_for_everyone_else() {
    let gateway = Gateway::fine().serve();
    let all = futures_util::future::join_all((0..40).map(|_| pulled(&gateway, WAITING, TOKEN)));
    let other = async {
        while gateway.log.asked.lock().unwrap().len() < 40 {
            tokio::task::yield_now().await;
        }
        gateway.get("/healthz").await
    };
    let (answers, health) = tokio::join!(all, other);
    assert_eq!(health.status, 200);
    assert!(answers.iter().all(|answer| answer.status == 200));
}

#[tokio::test]
async fn subscriber_numbers_the_cell_and_the_token_are_on_no_route() {
    let gateway = Gateway::fine().serve();
    let authorization = format!("Bearer {TOKEN}");
    for path in ROUTES {
        let answer = gateway.request("GET", path, &[("Authorization", &authorization)]).await;
        let everything = format!("{:?}{}", answer.headers, answer.body);
        for secret in [IMEI, IMSI, ICCID, CELL, TOKEN, OTHER_TOKEN, QUEUE_TOKEN] {
            assert!(!everything.contains(secret), "{secret} stands on {path}");
            // Nor in part: at most the last four characters are shown.
            let most = secret.get(..secret.len() - 4).unwrap();
            assert!(!everything.contains(most), "the beginning of {secret} stands on {path}");
        }
    }
    let page = gateway.get("/").await.body;
    assert!(page.contains("•7673"), "the end tells one modem from another");
    let status = gateway.get("/api/gateway/status").await.json();
    assert_eq!(status["radio"]["modem"]["iccid"], "••••••••••••••••678F");
}

#[tokio::test]
async fn what_is_wrong_inside_is_not_told_outside() {
    let gateway = Gateway::fine().serve();
    let answer = gateway.get("/api/devices/unreadable/status").await;
    assert_eq!(answer.status, 503);
    assert!(!answer.body.contains("/var/lib"), "{answer:?}");
}

#[tokio::test]
async fn every_answer_forbids_scripts_frames_sniffing_and_keeping() {
    let gateway = Gateway::fine().serve();
    for path in ROUTES {
        let answer = gateway.get(path).await;
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{path}: {policy}");
        assert!(policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"), "{path}: {policy}");
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("cache-control", "no-store"),
            ("x-frame-options", "DENY"),
            ("connection", "close"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{name} on {path}");
        }
        assert_eq!(answer.header("access-control-allow-origin"), None, "{path}");
    }
}

#[tokio::test]
async fn health_is_refused_with_the_reason() {
    let mut gateway = Gateway::fine();
    gateway.silent.push(("modem".into(), seconds_ago(90)));
    let gateway = gateway.serve();
    let answer = gateway.get("/healthz").await;
    assert_eq!((answer.status, answer.body.as_str()), (503, "the lane modem has said nothing for 1 min\n"));

    let gateway = Gateway::fine().serve();
    assert_eq!(gateway.get("/healthz").await.body, "ok\n");
    gateway.status.send_modify(|status| status.health = Health::ReadOnly);
    let answer = gateway.get("/healthz").await;
    assert_eq!((answer.status, answer.body.as_str()), (503, "the store is not good: read_only\n"));

    let mut gateway = Gateway::fine();
    gateway.gateway_db = GatewayHealth::Faulty("the disk is full".into());
    let stuck = WriterState { phase: WriterPhase::Stuck, words: "in one write for 10 min".into() };
    gateway.board.writers.set("queue.db", seconds_ago(1), stuck);
    let mut lane = gateway.board.lanes.get("modem").unwrap().value;
    lane.excused = true;
    gateway.board.lanes.set("modem", seconds_ago(1), lane);
    let answer = gateway.serve().get("/healthz").await;
    assert_eq!(answer.status, 503);
    assert_eq!(
        answer.body,
        "gateway.db takes no writes: the disk is full\n\
         the writer of queue.db is stuck: in one write for 10 min\n\
         the lane modem hangs and no restart helped\n"
    );
}

#[tokio::test]
async fn a_slow_disk_is_no_illness() {
    let gateway = Gateway::fine();
    let slow = WriterState { phase: WriterPhase::SlowFsync, words: "one write has taken 12 s so far".into() };
    gateway.board.writers.set("queue.db", seconds_ago(1), slow);
    let gateway = gateway.serve();
    assert_eq!(gateway.get("/healthz").await.body, "ok\n");
    let status = gateway.get("/api/gateway/status").await.json();
    assert_eq!(status["writers"][1]["phase"], "slow_fsync");
    assert!(gateway.get("/").await.body.contains("slow_fsync"));
    let metrics = gateway.get("/metrics").await.body;
    assert!(
        metrics.contains("fieldgate_writer_state{writer=\"queue.db\",state=\"slow_fsync\"} 1"),
        "{metrics}"
    );
}
