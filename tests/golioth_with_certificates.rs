//! The promise: with a certificate instead of a key the gateway is known to Golioth as well, it is told who is at the other end, and
//! nothing is sent to anybody whose certificate could not be held against a clock.
//!
//! The whole daemon in virtual time; the certificates are made by the `openssl` program, valid around the time at which the
//! simulated world begins.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail by panicking")]

#[path = "support/pki.rs"]
mod pki;

use std::path::Path;
use std::time::Duration;

use fieldgate::board::LinkPhase;
use fieldgate::reading::Value;
use fieldgate_sim::world::{self, World, WorldOptions};
use pki::{NAME, Pki, YEARS};

const MINUTE: Duration = Duration::from_secs(60);

fn in_virtual_time<R>(run: impl Future<Output = R>) -> R {
    world::in_virtual_time(run).unwrap()
}

/// Phase and words of the link.
fn said(world: &World) -> (LinkPhase, String) {
    let link = world.link().unwrap();
    (link.phase, link.words)
}

#[test]
fn readings_arrive_and_the_session_outlives_a_move_and_a_restart() {
    let pki = Pki::make(NAME, YEARS);
    in_virtual_time(async {
        let options = pki.options();
        let mut world = World::start(&options).await.unwrap();
        world.take("al", Value::Bool(true)).await.unwrap();
        world.drained(MINUTE).await.unwrap();
        let (phase, words) = said(&world);
        assert!(phase == LinkPhase::Up && words.contains("TLS_ECDHE_ECDSA_WITH_"), "{words}");
        world.relay(|relay| relay.rebind());
        world.take("al", Value::Bool(false)).await.unwrap();
        world.drained(MINUTE).await.unwrap();
        world = world.restart(&options).await.unwrap();
        world.take("al", Value::Bool(true)).await.unwrap();
        world.drained(MINUTE).await.unwrap();
        let outcome = world.finish().await.unwrap();
        assert_eq!(
            (outcome.handshakes, outcome.acknowledged, outcome.cloud_unique),
            (1, 3, 3),
            "{outcome:?}"
        );
    });
}

#[test]
fn without_a_clock_nothing_is_sent_until_the_time_is_known_and_then_without_another_handshake() {
    let pki = Pki::make(NAME, YEARS);
    in_virtual_time(async {
        let options = WorldOptions { trusted: false, ..pki.options() };
        let world = World::start(&options).await.unwrap();
        world.take("al", Value::Bool(true)).await.unwrap();
        world.pass(20 * MINUTE).await;
        let (phase, words) = said(&world);
        assert!(phase == LinkPhase::Waiting && words.contains("time unverified"), "{words}");
        assert_eq!((world.handshakes(), world.requests(), world.queued()), (1, 0, 1));
        world.trust_the_clock();
        world.drained(6 * MINUTE).await.unwrap();
        assert_eq!((world.handshakes(), said(&world).0), (1, LinkPhase::Up));
    });
}

#[test]
fn a_certificate_that_ended_or_is_anothers_has_a_name_on_the_board_and_gets_nothing() {
    let ended = ("20260101000000Z", "20260601000000Z");
    for (name, years, words) in [(NAME, ended, "expired"), ("other.invalid", YEARS, "another name")] {
        let pki = Pki::make(name, years);
        in_virtual_time(async {
            let world = World::start(&pki.options()).await.unwrap();
            world.take("al", Value::Bool(true)).await.unwrap();
            world.pass(10 * MINUTE).await;
            let (phase, said) = said(&world);
            assert!(phase == LinkPhase::Sick && said.contains(words), "{said}");
            assert_eq!((world.handshakes(), world.queued()), (0, 1));
        });
    }
}

#[test]
fn a_certificate_that_cannot_be_read_keeps_no_reading_from_being_accepted_and_needs_no_restart_once_it_can() {
    let pki = Pki::make(NAME, YEARS);
    let options = pki.options();
    let move_to = |from: &str, to: &str| std::fs::rename(pki.path(from), pki.path(to)).unwrap();
    move_to("gw.pem", "away.pem");
    in_virtual_time(async {
        let world = World::start(&options).await.unwrap();
        world.take("al", Value::Bool(true)).await.unwrap();
        world.pass(MINUTE).await;
        let (phase, said) = said(&world);
        let names = |path: &Path| said.contains(&path.display().to_string());
        assert!(
            phase == LinkPhase::Sick && names(&pki.path("gw.pem")) && said.contains("certificate_file"),
            "{said}"
        );
        move_to("away.pem", "gw.pem");
        world.drained(31 * MINUTE).await.unwrap();
    });
}

#[test]
fn another_certificate_or_other_roots_end_the_session_at_a_restart() {
    for file in ["gw.pem", "root.pem"] {
        let pki = Pki::make(NAME, YEARS);
        in_virtual_time(async {
            let options = pki.options();
            let mut world = World::start(&options).await.unwrap();
            world.take("al", Value::Bool(true)).await.unwrap();
            world.drained(MINUTE).await.unwrap();
            match file {
                // For the same key, with another number.
                "gw.pem" => pki.sign("gw", "root", "basicConstraints=CA:FALSE\n", YEARS),
                other => pki.append("root", other.trim_end_matches(".pem")),
            }
            world = world.restart(&options).await.unwrap();
            world.take("al", Value::Bool(false)).await.unwrap();
            world.drained(MINUTE).await.unwrap();
            assert_eq!(world.handshakes(), 2, "{file}");
        });
    }
}
