//! Against aiocoap over its tinydtls socket (PyPI: aiocoap, DTLSSocket), with a pre-shared key: as a client of the simulated cloud,
//! and as a server for the gateway's own sessions and endpoints.
//!
//! tinydtls has to be compiled when it is installed. Where it could not be, these tests are left out, and say so; with `CI=true`
//! they fail.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail by panicking")]
#![allow(clippy::disallowed_methods, reason = "foreign peers live in real time")]

mod cloud_common;

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use cloud_common::live::Live;
use cloud_common::{API_KEY, PROJECT};
use fieldgate_coap::{Code, Config, Endpoint, Event, Request, Response, Seed, Szx};
use fieldgate_dtls::{CipherSuite, ClientConfig, Event as DtlsEvent, Psk, Session};
use fieldgate_sim::cloud::{CloudConfig, DeviceConfig};
use serde_json::json;

const PATIENCE: Duration = Duration::from_secs(60);
/// tinydtls takes no longer ones.
const KEY: &str = "0123456789abcdef";

/// The script and the interpreter that can run it, unless this machine has none.
fn peer() -> Option<(PathBuf, PathBuf)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let venv = root.join("target/peers-venv");
    if venv.join("peers-built.txt").exists() {
        return Some((venv.join("bin/python"), root.join("tests/peers/coap_over_dtls.py")));
    }
    assert!(std::env::var("CI").as_deref() != Ok("true"), "aiocoap is not installed: scripts/need.sh test");
    eprintln!("left out: aiocoap is not installed (scripts/need.sh test says why)");
    None
}

struct Aiocoap(Child);

impl Drop for Aiocoap {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What aiocoap prints when it asks the cloud as the device `gw`.
async fn ask(live: &Live, role: &str, path: &str, rest: &[&str]) -> Vec<String> {
    let (python, script) = peer().unwrap();
    let uri = format!("coaps://{}/{path}", live.udp);
    let mut command = tokio::process::Command::new(python);
    command.arg(script).args([role, &format!("gw@{PROJECT}"), KEY, &uri]).args(rest);
    let output = tokio::time::timeout(PATIENCE, command.kill_on_drop(true).output()).await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    said.lines().map(str::to_owned).collect()
}

async fn cloud() -> Live {
    let mut config = CloudConfig::new(PROJECT, API_KEY, vec![DeviceConfig::new("gw", PROJECT, KEY)]);
    config.requests_per_second = None;
    Live::start_with(config).await
}

fn line(code: &str, payload: &[u8]) -> String {
    let digits: String = payload.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{code} {digits}")
}

#[tokio::test]
async fn aiocoap_is_a_device_of_the_simulated_cloud() {
    if peer().is_none() {
        return;
    }
    let live = cloud().await;
    assert_eq!(ask(&live, "get", "hello", &[]).await, [line("2.05", b"Hello gw")]);
    assert_eq!(ask(&live, "get", ".u/desired", &["60"]).await, [line("2.05", &[0xA0])]);
    assert_eq!(ask(&live, "get", "nowhere", &[]).await.first().unwrap()[..4], *"4.04");
    let batch = "81a46165440102030461730961741903e86474656d70f94a40";
    assert_eq!(ask(&live, "post", ".s/sensor", &["60", batch]).await.first().unwrap()[..2], *"2.");
    assert!(live.handle.read(|cloud| cloud.intake().contains("gw", [1, 2, 3, 4], "temp", 9)));
    live.stop().await;
}

#[tokio::test]
async fn bodies_go_up_and_come_down_in_aiocoaps_blocks() {
    if peer().is_none() {
        return;
    }
    let live = cloud().await;
    let body: Vec<u8> = (0..5_000_u32).map(|n| (n * n / 11) as u8).collect();
    let digits: String = body.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(ask(&live, "post", ".s/large", &["42", &digits]).await.first().unwrap()[..2], *"2.");
    let kept = live.handle.read(|cloud| cloud.messages("gw").unwrap().back().unwrap().body.clone());
    assert_eq!(kept, body);
    live.handle.with(|cloud, now| cloud.deploy(now, &["gw"], "main", "1.2.3", body.clone())).unwrap();
    assert_eq!(ask(&live, "get", ".u/c/main@1.2.3", &["42"]).await, [line("2.05", &body)]);
    live.stop().await;
}

#[tokio::test]
async fn aiocoap_is_told_of_a_change_that_it_observes() {
    if peer().is_none() {
        return;
    }
    let live = cloud().await;
    let handle = live.handle.clone();
    let change = async {
        cloud_common::live::until(&handle, |cloud| cloud.counters().requests > 0).await;
        handle.with(|cloud, now| cloud.set_state(now, "gw", "led", json!(7))).unwrap();
    };
    let (said, ()) = tokio::join!(ask(&live, "observe", ".d/led", &["2"]), change);
    assert_eq!(said, [line("2.05", b"null"), line("2.05", b"7")]);
    live.stop().await;
}

/// One session and one endpoint of ours over a real socket.
struct Ours {
    socket: UdpSocket,
    origin: Instant,
    session: Session,
    endpoint: Endpoint,
}

impl Ours {
    fn new(server: SocketAddr, key: &str, connection_id: bool) -> Self {
        let mut config = ClientConfig::new(Psk::new("gateway", key).unwrap());
        config.suites = vec![CipherSuite::PskAes128Ccm8];
        config.connection_id = connection_id;
        config.handshake_deadline = Duration::from_secs(5);
        let socket = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
        socket.connect(server).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let mut random = u64::from(socket.local_addr().unwrap().port());
        let rng = Box::new(move |buffer: &mut [u8]| {
            for byte in buffer {
                random =
                    random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                *byte = random.to_be_bytes()[0];
            }
        });
        let session = Session::client(&config, Duration::ZERO, rng).unwrap();
        let endpoint = Endpoint::new(Config::default(), Seed { message_id: 1, token: 1, random: 1 });
        Self { socket, origin: Instant::now(), session, endpoint }
    }

    /// The answer; `None` if there was no session or no answer.
    fn ask(&mut self, request: Request) -> Option<Response> {
        let mut waiting = Some(request);
        let mut buffer = [0; 2048];
        while self.origin.elapsed() < PATIENCE {
            let now = self.origin.elapsed();
            if self.session.connection().is_some()
                && let Some(request) = waiting.take()
            {
                self.endpoint.request(now, request).unwrap();
            }
            while let Some(datagram) = self.endpoint.poll_transmit() {
                self.session.send(now, &datagram).unwrap();
            }
            while let Some(datagram) = self.session.poll_transmit() {
                // Refused while nobody is there: lost.
                let _ = self.socket.send(&datagram);
            }
            if let Ok(length) = self.socket.recv(&mut buffer) {
                self.session.handle_datagram(self.origin.elapsed(), &buffer[..length]);
            }
            let now = self.origin.elapsed();
            self.session.handle_timeout(now);
            while let Some(event) = self.session.poll_event() {
                match event {
                    DtlsEvent::Received(datagram) => self.endpoint.handle_datagram(now, &datagram),
                    DtlsEvent::Closed { .. } => return None,
                    _ => {}
                }
            }
            self.endpoint.handle_timeout(now);
            while let Some(event) = self.endpoint.poll_event() {
                match event {
                    Event::Response { response, .. } => return Some(response),
                    Event::Failed { .. } => return None,
                    _ => {}
                }
            }
        }
        None
    }
}

/// aiocoap's server, and where it listens. Another process may take the port before it does: then the next is tried.
fn server() -> (Aiocoap, SocketAddr) {
    let (python, script) = peer().unwrap();
    for _ in 0..5 {
        let free = UdpSocket::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap();
        let mut child = Command::new(&python)
            .arg(&script)
            .args(["serve", "gateway", KEY, &free.port().to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut word = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut word).unwrap();
        let child = Aiocoap(child);
        if word == "ready\n" {
            return (child, free);
        }
    }
    panic!("aiocoap did not serve");
}

#[test]
fn our_client_is_answered_by_aiocoap_with_and_without_an_offer_of_a_connection_id() {
    if peer().is_none() {
        return;
    }
    let (_aiocoap, address) = server();
    for connection_id in [false, true] {
        let mut ours = Ours::new(address, KEY, connection_id);
        let answer = ours.ask(Request::get("greeting")).expect("an answer");
        assert_eq!((answer.code, answer.payload.as_slice()), (Code::CONTENT, &b"greetings from aiocoap"[..]));
        let body: Vec<u8> = (0..5_000_u32).map(|n| (n * n / 11) as u8).collect();
        for size in [Szx::B1024, Szx::B64] {
            let answer = ours.ask(Request::get("big").assemble(size, 10_000)).expect("a body in blocks");
            assert_eq!(answer.payload, body);
        }
    }
}

#[test]
fn a_wrong_key_gets_nothing_from_aiocoap() {
    if peer().is_none() {
        return;
    }
    let (_aiocoap, address) = server();
    assert_eq!(Ours::new(address, "not the key 16 b", false).ask(Request::get("greeting")), None);
    assert!(Ours::new(address, KEY, false).ask(Request::get("greeting")).is_some(), "the right one does");
}
