//! Sessions give back what they took. Alone in its process, so that the process's size means something.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests fail the test")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::{Wire, address, client_config, ms, rng, server_config};
use fieldgate_dtls::{CipherSuite, Rng, Server, Session};

/// Counts the random sources that are alive: each engine owns one.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn counted_rng(alive: &Arc<AtomicUsize>, seed: u64) -> Rng {
    alive.fetch_add(1, Ordering::SeqCst);
    let guard = Counted(Arc::clone(alive));
    let mut rng = rng(seed);
    Box::new(move |buffer| {
        let _alive = &guard;
        rng(buffer);
    })
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Handshake, data, then every way a session can end.
fn churn(alive: &Arc<AtomicUsize>, count: u64) {
    let server = Server::new(server_config(), ms(0), counted_rng(alive, 1)).unwrap();
    let mut wire = Wire::new(server);
    for seed in 0..count {
        let config = client_config(CipherSuite::PskAes128Gcm, seed % 2 == 0);
        let session = Session::client(&config, wire.now, counted_rng(alive, seed)).unwrap();
        wire.add(address(1000), session);
        if seed % 8 != 7 {
            wire.run_for(ms(100));
            wire.client_send(1000, b"data");
            wire.run_for(ms(20));
        }
        let session = wire.clients.remove(&address(1000)).unwrap();
        match seed % 4 {
            0 => drop(session),
            1 => {
                wire.add(address(1000), session);
                let now = wire.now;
                wire.client(1000).close(now);
                wire.run_for(ms(20));
            }
            _ => drop(session.save()),
        }
        wire.seen.clear();
        wire.client_events.clear();
        wire.server_events.clear();
    }
}

#[test]
fn a_thousand_sessions_leave_nothing_behind() {
    let alive = Arc::new(AtomicUsize::new(0));
    churn(&alive, 200);
    assert_eq!(alive.load(Ordering::SeqCst), 0);
    // The server holds up to a thousand sessions at once; what the allocator keeps of them serves the next round.
    churn(&alive, 1000);
    let before_kib = resident_kib();
    churn(&alive, 1000);
    assert_eq!(alive.load(Ordering::SeqCst), 0);
    let grown_kib = resident_kib().saturating_sub(before_kib);
    // A context alone leaked by each session would be 1 MiB, its buffers 33 MiB.
    assert!(grown_kib < 512, "{grown_kib} KiB");
}
