//! The lane that serves the page: where it listens, what it inherits, how it ends.

use std::time::Duration;

use fieldgate::daemon::rim;
use fieldgate::daemon::supervisor::Supervisor;
use fieldgate::http::Door;
use tokio_util::sync::CancellationToken;

use super::http_gateway::{self, Gateway};

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
