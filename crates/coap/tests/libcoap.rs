//! Against libcoap, over plain UDP on loopback: the programs of Debian's `libcoap3-bin`.
//!
//! The endpoint's clock is the socket's read timeout, counted; nothing here measures or asserts time.

#![cfg(test)]

use std::io::{Read, Write};
use std::net::{SocketAddr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use fieldgate_coap::{
    Code, Config, Delivery, Endpoint, Event, Fetch, Method, ObserveRequest, ObserverId, Request, Response,
    Seed, Szx, format,
};

const TICK: Duration = Duration::from_millis(5);
/// Ten minutes of ticks: far beyond what a healthy peer needs.
const PATIENCE: u32 = 120_000;

struct Live {
    socket: UdpSocket,
    peer: Option<SocketAddr>,
    endpoint: Endpoint,
    now: Duration,
}

impl Live {
    fn new(config: Config) -> Live {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(TICK)).unwrap();
        let endpoint = Endpoint::new(config, Seed { message_id: 1, token: 1, random: 1 });
        Live { socket, peer: None, endpoint, now: Duration::ZERO }
    }

    /// Sends what waits, then takes one datagram or lets one tick pass.
    fn turn(&mut self) {
        while let Some(bytes) = self.endpoint.poll_transmit() {
            if let Some(peer) = self.peer {
                // A peer that is not up yet refuses; that is loss.
                let _ = self.socket.send_to(&bytes, peer);
            }
        }
        let mut buffer = [0; 2000];
        match self.socket.recv_from(&mut buffer) {
            Ok((len, from)) => {
                self.peer = Some(from);
                self.endpoint.handle_datagram(self.now, &buffer[..len]);
            }
            Err(_) => self.now += TICK,
        }
        if self.endpoint.poll_timeout().is_some_and(|at| at <= self.now) {
            self.endpoint.handle_timeout(self.now);
        }
    }

    fn next_event(&mut self) -> Event {
        for _ in 0..PATIENCE {
            if let Some(event) = self.endpoint.poll_event() {
                return event;
            }
            self.turn();
        }
        panic!("libcoap did not answer");
    }

    fn response(&mut self) -> Response {
        match self.next_event() {
            Event::Response { response, .. } => response,
            other => panic!("{other:?}"),
        }
    }
}

struct Peer(Child);

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn spawn(program: &str, arguments: &[&str], stdin: &[u8]) -> Peer {
    let child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("{program} cannot run ({error}): install the package libcoap3-bin"));
    let mut peer = Peer(child);
    peer.0.stdin.take().unwrap().write_all(stdin).unwrap();
    peer
}

/// A libcoap server and an endpoint that has heard from it. Somebody else may take the port between the look for a free one and
/// the server's bind: then nothing answers, and the next port is tried.
fn with_server() -> (Peer, Live) {
    for _ in 0..5 {
        let mut live = Live::new(Config { ack_timeout: Duration::from_millis(200), ..Config::default() });
        let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        live.peer = Some(port);
        let mut server = spawn(
            "coap-server-notls",
            &["-A", "127.0.0.1", "-p", &port.port().to_string(), "-d", "10", "-v", "0"],
            b"",
        );
        // Until it answers, or has ended because it could not bind.
        for _ in 0..20 {
            live.endpoint.ping(live.now).unwrap();
            let answered = matches!(live.next_event(), Event::Pong { .. });
            if server.0.try_wait().unwrap().is_some() {
                break;
            }
            if answered {
                return (server, live);
            }
        }
    }
    panic!("coap-server-notls never answered");
}

fn body(len: usize) -> Vec<u8> {
    (0..len).map(|at| b'a' + (at * 7 % 23) as u8).collect()
}

#[test]
fn libcoaps_server_takes_our_blocks_and_gives_them_back_whole_and_one_by_one() {
    let (_server, mut live) = with_server();
    let put = Request::put("fieldgate").payload(format::OCTET_STREAM, body(5000));
    live.endpoint.request(live.now, put).unwrap();
    assert_eq!(live.response().code, Code::CREATED);
    for get in [Request::get("fieldgate"), Request::get("fieldgate").assemble(Szx::B256, 10_000)] {
        live.endpoint.request(live.now, get).unwrap();
        let response = live.response();
        assert_eq!((response.code, response.payload), (Code::CONTENT, body(5000)));
    }
    for num in [3, 0, 4, 2, 1] {
        live.endpoint.get_block(live.now, Request::get("fieldgate"), num, Szx::B1024).unwrap();
    }
    let mut seen = vec![0; 5000];
    for _ in 0..5 {
        let response = live.response();
        let from = response.block2.unwrap().offset();
        seen[from..from + response.payload.len()].copy_from_slice(&response.payload);
    }
    assert_eq!(seen, body(5000));
    live.endpoint.request(live.now, Request::delete("fieldgate")).unwrap();
    assert_eq!(live.response().code, Code::DELETED);
    live.endpoint.request(live.now, Request::get("fieldgate")).unwrap();
    assert_eq!(live.response().code, Code::NOT_FOUND);
}

#[test]
fn libcoaps_server_gives_a_body_to_a_download_with_several_blocks_in_flight() {
    let (_server, mut live) = with_server();
    // A whole number of blocks, and not.
    for len in [40 * 1024, 50_000] {
        let put = Request::put("fieldgate").payload(format::OCTET_STREAM, body(len));
        live.endpoint.request(live.now, put).unwrap();
        assert!(live.response().code.is_success());
        let mut fetch = Fetch::new(len as u64, Szx::B1024, &[]).unwrap();
        let (mut image, get) = (vec![0; len], Request::get("fieldgate"));
        while fetch.outcome().is_none() {
            while fetch.in_flight() < 4 && fetch.ask(live.now, &mut live.endpoint, &get).is_some() {}
            match live.next_event() {
                Event::Response { id, response, retransmissions, .. } => {
                    fetch.answered(live.now, id, response, retransmissions);
                }
                Event::Failed { id, why, .. } => fetch.failed(live.now, id, why),
                other => panic!("{other:?}"),
            }
            while let Some(piece) = fetch.poll_piece() {
                let at = piece.offset as usize;
                image[at..at + piece.bytes.len()].copy_from_slice(&piece.bytes);
            }
        }
        assert_eq!((fetch.outcome(), fetch.is_one_at_a_time()), (Some(Ok(())), false));
        assert_eq!(image, body(len));
    }
}

#[test]
fn libcoaps_separate_responses_are_taken() {
    let (_server, mut live) = with_server();
    live.endpoint.request(live.now, Request::get("async").query("1")).unwrap();
    assert_eq!(live.response().code, Code::CONTENT);
    assert_eq!(live.endpoint.outstanding(), 0);
}

#[test]
fn libcoaps_clock_is_observed_until_cancelled() {
    let (_server, mut live) = with_server();
    let observation = live.endpoint.observe(live.now, Request::get("time")).unwrap();
    let mut last = None;
    for _ in 0..3 {
        let Event::Notification { response, .. } = live.next_event() else { panic!() };
        assert!(response.observe > last, "{response:?}");
        last = response.observe;
    }
    live.endpoint.cancel_observation(live.now, observation).unwrap();
    assert!(matches!(live.next_event(), Event::ObservationEnded { .. }));
}

/// Runs libcoap's client against our endpoint and returns what it printed. `tick` may notify.
fn serve(
    arguments: &[&str],
    stdin: &[u8],
    mut answer: impl FnMut(&fieldgate_coap::IncomingRequest) -> Response,
    mut tick: impl FnMut(&mut Live, ObserverId),
) -> Vec<u8> {
    let mut live = Live::new(Config::default());
    let uri = format!("coap://{}/fieldgate/x", live.socket.local_addr().unwrap());
    let mut client = spawn("coap-client-notls", &[arguments, &["-v", "0", &uri]].concat(), stdin);
    let mut observer = None;
    for _ in 0..PATIENCE {
        live.turn();
        while let Some(event) = live.endpoint.poll_event() {
            let Event::Request(request) = event else { continue };
            let response = answer(&request);
            if request.observe == Some(ObserveRequest::Register) {
                observer = Some(live.endpoint.accept_observer(live.now, request.exchange, response).unwrap());
            } else {
                live.endpoint.respond(live.now, request.exchange, response).unwrap();
            }
        }
        if let Some(observer) = observer {
            tick(&mut live, observer);
        }
        if client.0.try_wait().unwrap().is_some() {
            let mut printed = Vec::new();
            client.0.stdout.take().unwrap().read_to_end(&mut printed).unwrap();
            return printed;
        }
    }
    panic!("libcoap's client did not finish");
}

#[test]
fn libcoaps_client_puts_our_blocks_together() {
    let printed = serve(
        &["-m", "get"],
        b"",
        |request| {
            assert_eq!((request.method, request.path.join("/")), (Method::Get, "fieldgate/x".into()));
            Response::content(format::TEXT, body(5000))
        },
        |_, _| {},
    );
    assert_eq!(printed.trim_ascii_end(), body(5000));
}

#[test]
fn libcoaps_client_uploads_in_blocks_and_we_see_the_body_once() {
    let mut bodies = Vec::new();
    serve(
        &["-m", "post", "-b", "256", "-f", "-"],
        &body(3000),
        |request| {
            bodies.push(request.payload.clone());
            Response::new(Code::CHANGED)
        },
        |_, _| {},
    );
    assert_eq!(bodies, [body(3000)]);
}

#[test]
fn libcoaps_client_observes_our_notifications() {
    let mut sent = 0u8;
    let printed = serve(
        &["-m", "get", "-s", "4"],
        b"",
        |_| Response::content(format::TEXT, *b"<0>"),
        |live, observer| {
            if sent < 5 {
                sent += 1;
                let state = Response::content(format::TEXT, format!("<{sent}>"));
                live.endpoint.notify(live.now, observer, state, Delivery::Every).unwrap();
            }
        },
    );
    let printed = String::from_utf8(printed).unwrap();
    for n in 0..=5 {
        assert!(printed.contains(&format!("<{n}>")), "{printed}");
    }
}
