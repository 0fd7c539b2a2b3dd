//! Asks the machine's NTP daemon about the system clock, on loopback.
//!
//! Nobody knows beforehand which daemon there is: all are asked, and one that is not there refuses at once. A question goes
//! unanswered at most [`PATIENCE`]; the answer counts for the clock only where it tells of a new synchronisation.

use std::time::Duration;

use super::rim::{Rim, UdpTarget};
use crate::clock::servers::{Answer, PATIENCE, Server};

/// How often while the time is known. Daemons look at their servers once in 64 to 1024 seconds.
pub(super) const EVERY: Duration = Duration::from_secs(60);

/// What the first that is synchronised says; `None` where none is.
pub(super) async fn ask(rim: &Rim) -> Option<Answer> {
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

async fn ask_one(rim: &Rim, server: Server) -> Option<Answer> {
    let target = UdpTarget { host: "127.0.0.1".into(), port: server.port(), interface: None };
    let socket = rim.net.udp(&target).await.ok()?;
    let nonce = rim.random.u64();
    socket.send(&server.question(nonce)).ok()?;
    let mut answer = [0; Server::LONGEST];
    let length = socket.recv(&mut answer).await.ok()?;
    server.answer(nonce, answer.get(..length)?)
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use async_trait::async_trait;

    use super::super::rim::{Datagrams, Entropy, Net, PortSettings, Ports, SerialStream};
    use super::*;
    use crate::clock::{BootId, Synchronised, VirtualClock, Wall};

    /// Only the port 123 answers; whoever listens on 323 is silent or not there.
    #[derive(Debug)]
    struct Loopback {
        silent_chrony: bool,
        asked: Mutex<Vec<u16>>,
    }

    #[derive(Debug)]
    struct Socket {
        answers: bool,
        question: Mutex<Vec<u8>>,
    }

    #[async_trait]
    impl Net for Loopback {
        async fn udp(&self, target: &UdpTarget) -> io::Result<Box<dyn Datagrams>> {
            assert_eq!(target.host, "127.0.0.1");
            self.asked.lock().unwrap().push(target.port);
            if target.port != 123 && !self.silent_chrony {
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            Ok(Box::new(Socket { answers: target.port == 123, question: Mutex::default() }))
        }
    }

    #[async_trait]
    impl Datagrams for Socket {
        fn send(&self, datagram: &[u8]) -> io::Result<()> {
            *self.question.lock().unwrap() = datagram.to_vec();
            Ok(())
        }

        async fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
            if !self.answers {
                std::future::pending::<()>().await;
            }
            // Version 4, server, stratum 2, by 192.0.2.1, at 2026-11-20T15:22:06Z; the nonce comes back.
            let mut answer = [0; 48];
            (answer[0], answer[1]) = (0x24, 2);
            answer[12..16].copy_from_slice(&[192, 0, 2, 1]);
            answer[16..20].copy_from_slice(&0xeeaa_e41e_u32.to_be_bytes());
            answer[40..44].copy_from_slice(&0xeeaa_e41f_u32.to_be_bytes());
            answer[24..32].copy_from_slice(&self.question.lock().unwrap()[40..48]);
            buffer[..48].copy_from_slice(&answer);
            Ok(48)
        }
    }

    #[derive(Debug)]
    struct Nothing;

    impl Ports for Nothing {
        fn open(&self, _: &PortSettings) -> io::Result<Box<dyn SerialStream>> {
            Err(io::ErrorKind::NotFound.into())
        }
    }

    impl Entropy for Nothing {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(7);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn every_daemon_is_asked_in_turn_and_a_silent_one_costs_no_more_than_patience() {
        for silent_chrony in [false, true] {
            let wall = Wall { unix_ms: 0, uncertainty_ms: u32::MAX, trusted: false };
            let net = Arc::new(Loopback { silent_chrony, asked: Mutex::default() });
            let rim = Rim {
                clock: Arc::new(VirtualClock::starting_at(BootId([1; 16]), wall)),
                random: Arc::new(Nothing),
                net: Arc::clone(&net) as Arc<dyn Net>,
                ports: Arc::new(Nothing),
                hardware: None,
            };
            let told = ask(&rim).await;
            let newest = Synchronised { at_unix_ms: 1_795_188_126_000, uncertainty_ms: 50 };
            assert_eq!(told, Some(Answer { newest, served_unix_ms: Some(1_795_188_127_000) }));
            assert_eq!(*net.asked.lock().unwrap(), [323, 123]);
            assert_eq!(rim.now(), if silent_chrony { PATIENCE } else { Duration::ZERO });
        }
    }
}
