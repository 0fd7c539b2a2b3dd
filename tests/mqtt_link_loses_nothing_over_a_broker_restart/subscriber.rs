//! A subscriber that shares no code with the link: the few packets of MQTT 3.1.1 it takes, written out.
//!
//! It keeps its session at the broker and takes everything with QoS 0, so it has nothing to say after SUBSCRIBE, and whatever
//! the broker wrote before it was killed is read to the last byte.

use std::io;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Received {
    pub(crate) topic: String,
    pub(crate) body: Vec<u8>,
    pub(crate) retained: bool,
}

#[derive(Default)]
pub(crate) struct Inbox {
    messages: Mutex<Vec<Received>>,
    pub(crate) subscribed: Notify,
}

impl Inbox {
    pub(crate) fn messages(&self) -> Vec<Received> {
        self.messages.lock().unwrap().clone()
    }
}

/// Subscribes to `filter` and stays subscribed over any number of connections, until aborted.
pub(crate) fn subscribe(
    port: u16,
    client_id: &'static str,
    filter: &'static str,
) -> (Arc<Inbox>, tokio::task::JoinHandle<()>) {
    let inbox = Arc::new(Inbox::default());
    let into = Arc::clone(&inbox);
    let task = tokio::spawn(async move {
        loop {
            let _ = listen(port, client_id, filter, &into).await;
            // The broker is away. Not a wait for anything: the pace of asking.
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    });
    (inbox, task)
}

/// Connects and leaves again: whoever had this client id is thrown out by the broker.
pub(crate) async fn take_over(port: u16, client_id: &str) -> io::Result<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    connect(&mut stream, client_id).await
}

async fn listen(port: u16, client_id: &str, filter: &str, inbox: &Inbox) -> io::Result<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    connect(&mut stream, client_id).await?;
    // SUBSCRIBE, packet id 1, QoS 0. A session that is resumed may deliver before it is answered.
    let mut body = vec![0, 1];
    body.extend(text(filter));
    body.push(0);
    stream.write_all(&packet(0x82, &body)).await?;
    loop {
        let (kind, body) = read_packet(&mut stream).await?;
        match kind >> 4 {
            3 => inbox.messages.lock().unwrap().push(publish(kind, &body)),
            9 => inbox.subscribed.notify_one(),
            other => panic!("packet type {other}"),
        }
    }
}

async fn connect(stream: &mut TcpStream, client_id: &str) -> io::Result<()> {
    // Protocol level 4, no flags: the session stays; no keepalive.
    let mut body = text("MQTT");
    body.extend([4, 0, 0, 0]);
    body.extend(text(client_id));
    stream.write_all(&packet(0x10, &body)).await?;
    let (kind, body) = read_packet(stream).await?;
    assert_eq!((kind, body.get(1)), (0x20, Some(&0)), "CONNACK");
    Ok(())
}

fn publish(kind: u8, body: &[u8]) -> Received {
    assert_eq!(kind & 0x06, 0, "QoS 0 was subscribed");
    let length = usize::from(u16::from_be_bytes([body[0], body[1]]));
    let topic = String::from_utf8(body[2..2 + length].to_vec()).unwrap();
    Received { topic, body: body[2 + length..].to_vec(), retained: kind & 1 == 1 }
}

fn text(text: &str) -> Vec<u8> {
    let mut bytes = u16::try_from(text.len()).unwrap().to_be_bytes().to_vec();
    bytes.extend(text.as_bytes());
    bytes
}

fn packet(kind: u8, body: &[u8]) -> Vec<u8> {
    assert!(body.len() < 128, "one byte of length");
    let mut packet = vec![kind, u8::try_from(body.len()).unwrap()];
    packet.extend(body);
    packet
}

async fn read_packet(stream: &mut TcpStream) -> io::Result<(u8, Vec<u8>)> {
    let kind = stream.read_u8().await?;
    let (mut length, mut shift) = (0usize, 0);
    loop {
        let byte = stream.read_u8().await?;
        length |= usize::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    Ok((kind, body))
}
