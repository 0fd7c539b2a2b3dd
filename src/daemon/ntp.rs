//! Asks the machine's NTP daemon about the system clock, on loopback.
//!
//! Nobody knows beforehand which daemon there is: all are asked, and one that is not there refuses at once. A question goes
//! unanswered at most [`PATIENCE`]; the answer counts for the clock only where it tells of a new synchronisation.

use std::time::Duration;

use super::rim::{Rim, UdpTarget};
use crate::clock::Synchronised;
use crate::clock::servers::Server;

/// How often. Daemons look at their servers once in 64 to 1024 seconds.
pub(super) const EVERY: Duration = Duration::from_secs(60);
const PATIENCE: Duration = Duration::from_millis(500);

/// What the first that is synchronised says; `None` where none is.
pub(super) async fn ask(rim: &Rim) -> Option<Synchronised> {
    for server in Server::ALL {
        let answer = tokio::select! {
            biased;
            answer = ask_one(rim, server) => answer,
            () = rim.sleep(PATIENCE) => None,
        };
        if answer.is_some() {
            return answer;
        }
    }
    None
}

async fn ask_one(rim: &Rim, server: Server) -> Option<Synchronised> {
    let target = UdpTarget { host: "127.0.0.1".into(), port: server.port(), interface: None };
    let socket = rim.net.udp(&target).await.ok()?;
    let nonce = rim.random.u64();
    socket.send(&server.question(nonce)).ok()?;
    let mut answer = [0; Server::LONGEST];
    let length = socket.recv(&mut answer).await.ok()?;
    server.answer(nonce, answer.get(..length)?)
}
