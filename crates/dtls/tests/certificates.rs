//! Handshakes with certificates over a wire in memory: both sides prove who they are, and whatever is wrong with a
//! certificate has a name.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests fail the test")]

mod common;

use std::time::Duration;

use common::pki::{Kind, Pki, SERVER_NAME};
use common::{Wire, address, ms, rng, server_config};
use fieldgate_dtls::{
    CertificateError, CertificateProblem, CipherSuite, ClientConfig, CloseReason, ConfigError, Event,
    Identity, Refusal, Server, ServerCertificate, Session, WallTime,
};

const YEAR_S: u64 = 365 * 86_400;

fn accepting(pki: &Pki, own: &str, client_roots: Option<&[&str]>) -> Server {
    let mut config = server_config();
    let client_roots = client_roots.map(|names| pki.roots(names));
    config.certificate = Some(ServerCertificate { identity: pki.identity(own), client_roots });
    let mut server = Server::new(config, Duration::ZERO, rng(1)).unwrap();
    server.set_wall_clock(Duration::ZERO, Some(pki.now()));
    server
}

fn asking(pki: &Pki, own: &str, roots: &[&str]) -> ClientConfig {
    ClientConfig::with_certificate(pki.identity(own), pki.roots(roots), SERVER_NAME)
}

fn begin(wire: &mut Wire, config: &ClientConfig, wall: Option<WallTime>) {
    let mut session = Session::client(config, wire.now, rng(2)).unwrap();
    session.set_wall_clock(wire.now, wall);
    wire.add(address(1000), session);
    wire.run_for(ms(6000));
}

fn client_end(wire: &Wire) -> Option<CloseReason> {
    wire.client_events.iter().find_map(|(_, event)| match event {
        Event::Closed { why } => Some(why.clone()),
        _ => None,
    })
}

fn server_end(wire: &Wire) -> Option<CloseReason> {
    wire.server_events.iter().find_map(|event| match &event.event {
        Event::Closed { why } => Some(why.clone()),
        _ => None,
    })
}

/// How a client of this configuration fails at this server at this time.
fn problem(server: Server, config: &ClientConfig, wall: Option<WallTime>) -> CertificateProblem {
    let mut wire = Wire::new(server);
    begin(&mut wire, config, wall);
    let why = client_end(&wire).expect("the client refuses");
    assert!(wire.client(1000).connection().is_none());
    assert_eq!(wire.server.counters().handshakes_completed, 0);
    match (why.refusal(), server_end(&wire)) {
        (Some(Refusal::PeerCertificate(problem)), Some(_)) => problem,
        (_, server) => panic!("{why:?}, {server:?}"),
    }
}

#[test]
fn every_suite_connects_both_ways_with_an_ecdsa_leaf_under_an_rsa_root_and_carries_data() {
    let pki = Pki::make();
    for suite in CipherSuite::CERTIFICATE {
        for (connection_id, own) in [(false, "client-256"), (true, "client")] {
            let mut config = asking(&pki, own, &["other-root", "rsa-root"]);
            config.suites = vec![suite];
            config.connection_id = connection_id;
            let mut wire = Wire::new(accepting(&pki, "server", Some(&["ec-root"])));
            begin(&mut wire, &config, Some(pki.now()));
            let connection = wire.client(1000).connection().unwrap_or_else(|| panic!("{suite}")).clone();
            assert_eq!((connection.suite, connection.time_unverified), (suite, false));
            assert_eq!(connection.peer_cid.is_some(), connection_id);
            assert_eq!(connection.peer.unwrap().common_name.as_deref(), Some("server"));
            let id = wire.server.session_ids().next().unwrap();
            let peer = wire.server.connection(id).unwrap().peer.clone().unwrap();
            assert_eq!(peer.common_name.as_deref(), Some(own));
            assert_eq!(peer.organization.as_deref(), Some("my-project"));
            wire.client_send(1000, b"up");
            wire.server_send(id, b"down");
            wire.run_for(ms(100));
            assert_eq!(wire.take_received_by_server(), [b"up".to_vec()]);
            assert_eq!(wire.take_received_by_clients(), [b"down".to_vec()]);
        }
    }
}

#[test]
fn the_cheapest_suite_is_asked_for_first() {
    let pki = Pki::make();
    assert_eq!(asking(&pki, "client", &["rsa-root"]).suites, CipherSuite::CERTIFICATE);
    let lengths: Vec<_> = CipherSuite::CERTIFICATE
        .into_iter()
        .map(|suite| {
            let mut config = asking(&pki, "client", &["rsa-root"]);
            (config.suites, config.connection_id) = (vec![suite], false);
            let mut wire = Wire::new(accepting(&pki, "server", None));
            begin(&mut wire, &config, Some(pki.now()));
            wire.client(1000).overhead().unwrap()
        })
        .collect();
    assert_eq!(lengths, [29, 37, 37]);
}

#[test]
fn a_chain_over_an_intermediate_is_followed_and_one_over_a_leaf_is_not() {
    let pki = Pki::make();
    let config = asking(&pki, "client", &["ec-root"]);
    let mut wire = Wire::new(accepting(&pki, "server-below", Some(&["ec-root"])));
    begin(&mut wire, &config, Some(pki.now()));
    assert!(wire.client(1000).connection().is_some(), "{:?}", client_end(&wire));

    // A certificate that may not sign, signing.
    pki.server("sly", "client-256");
    let chain = pki.bundle(&["sly", "client-256"]);
    pki.write("sly", "pem", &chain);
    let refused = problem(accepting(&pki, "sly", None), &config, Some(pki.now()));
    assert_eq!(refused, CertificateProblem::UnknownRoot);
}

#[test]
fn a_server_of_another_root_or_another_name_is_refused_by_name() {
    let pki = Pki::make();
    let now = Some(pki.now());
    let other_root = asking(&pki, "client", &["other-root", "ec-root"]);
    assert_eq!(problem(accepting(&pki, "server", None), &other_root, now), CertificateProblem::UnknownRoot);
    let mut other_name = asking(&pki, "client", &["rsa-root"]);
    other_name.server_name = Some("coap.other.example".into());
    assert_eq!(problem(accepting(&pki, "server", None), &other_name, now), CertificateProblem::WrongName);
}

#[test]
fn a_certificate_outside_its_validity_is_refused_by_a_clock_that_is_trusted() {
    let pki = Pki::make();
    let config = asking(&pki, "client", &["rsa-root"]);
    let (from, until) = pki.identity("server").validity();
    for (unix_s, expected) in
        [(from - 2 * YEAR_S, CertificateProblem::NotYetValid), (until + YEAR_S, CertificateProblem::Expired)]
    {
        let wall = Some(WallTime { unix_s, trusted: true });
        assert_eq!(problem(accepting(&pki, "server", None), &config, wall), expected);
    }
    assert_eq!(problem(accepting(&pki, "server", None), &config, None), CertificateProblem::Unchecked);
}

#[test]
fn an_untrusted_clock_relaxes_validity_to_the_floor_and_nothing_else() {
    let pki = Pki::make();
    let config = asking(&pki, "client", &["rsa-root"]);
    let (from, until) = pki.identity("server").validity();
    let floor = |unix_s| Some(WallTime { unix_s, trusted: false });
    let early = floor(from - 2 * YEAR_S);

    let mut wire = Wire::new(accepting(&pki, "server", Some(&["ec-root"])));
    begin(&mut wire, &config, early);
    let connection = wire.client(1000).connection().expect("a floor before the certificate's time");
    assert!(connection.time_unverified);

    let late = floor(until + YEAR_S);
    assert_eq!(problem(accepting(&pki, "server", None), &config, late), CertificateProblem::Expired);
    let other_root = asking(&pki, "client", &["other-root"]);
    assert_eq!(problem(accepting(&pki, "server", None), &other_root, early), CertificateProblem::UnknownRoot);
    let mut other_name = config.clone();
    other_name.server_name = Some("coap.other.example".into());
    assert_eq!(problem(accepting(&pki, "server", None), &other_name, early), CertificateProblem::WrongName);
}

#[test]
fn a_clock_that_becomes_trusted_settles_what_was_unverified() {
    let pki = Pki::make();
    let config = asking(&pki, "client", &["rsa-root"]);
    let (from, until) = pki.identity("server").validity();
    let connected = || {
        let mut wire = Wire::new(accepting(&pki, "server", None));
        begin(&mut wire, &config, Some(WallTime { unix_s: from - YEAR_S, trusted: false }));
        wire.client_events.clear();
        wire
    };

    let mut wire = connected();
    let now = wire.now;
    wire.client(1000).set_wall_clock(now, Some(pki.now()));
    assert_eq!(wire.client(1000).poll_event(), Some(Event::TimeVerified));
    assert!(!wire.client(1000).connection().unwrap().time_unverified);
    wire.client(1000).set_wall_clock(now, Some(WallTime { unix_s: until + YEAR_S, trusted: true }));
    assert_eq!(wire.client(1000).poll_event(), None, "a handshake is checked once");

    for (unix_s, expected) in
        [(until + 1, CertificateProblem::Expired), (from - 1, CertificateProblem::NotYetValid)]
    {
        let mut wire = connected();
        let now = wire.now;
        wire.client(1000).set_wall_clock(now, Some(WallTime { unix_s, trusted: true }));
        wire.run_for(ms(100));
        assert_eq!(client_end(&wire), Some(CloseReason::BadCertificate(expected)));
        assert!(
            matches!(server_end(&wire), Some(CloseReason::Alert { authenticated: true, .. })),
            "it is told"
        );
    }
}

#[test]
fn a_session_whose_time_is_unverified_is_not_saved_and_a_verified_one_comes_back_with_its_peer() {
    let pki = Pki::make();
    let config = asking(&pki, "client", &["rsa-root"]);
    for trusted in [false, true] {
        let mut wire = Wire::new(accepting(&pki, "server", Some(&["ec-root"])));
        begin(&mut wire, &config, Some(WallTime { trusted, ..pki.now() }));
        let session = wire.clients.remove(&address(1000)).unwrap();
        match session.save() {
            Err(refused) => {
                assert_eq!((refused.why, trusted), (fieldgate_dtls::SaveError::TimeUnverified, false))
            }
            Ok(saved) => {
                assert!(trusted);
                let again = Session::restore(&config, saved, wire.now, rng(3)).unwrap();
                assert_eq!(
                    again.connection().unwrap().peer.clone().unwrap().common_name.as_deref(),
                    Some("server")
                );
                wire.add(address(1001), again);
                wire.client_send(1001, b"again");
                wire.run_for(ms(100));
                assert_eq!(wire.take_received_by_server(), [b"again".to_vec()]);
            }
        }
    }
}

#[test]
fn a_server_lets_in_only_clients_its_roots_vouch_for() {
    let pki = Pki::make();
    let mut wire = Wire::new(accepting(&pki, "server", Some(&["ec-root"])));
    begin(&mut wire, &asking(&pki, "stranger", &["rsa-root"]), Some(pki.now()));
    assert_eq!(
        server_end(&wire),
        Some(CloseReason::BadCertificate(CertificateProblem::UnknownRoot)),
        "{:?}",
        client_end(&wire)
    );
    assert_eq!(client_end(&wire).unwrap().refusal(), Some(Refusal::OwnCertificate));
}

#[test]
fn a_server_with_a_certificate_still_takes_pre_shared_keys() {
    let pki = Pki::make();
    let psk = ClientConfig::new(common::psk());
    let (wire, _) = Wire::connected(&psk, accepting(&pki, "server", Some(&["ec-root"])));
    assert!(!wire.clients[&address(1000)].connection().unwrap().suite.is_certificate());
}

#[test]
fn keys_and_certificates_that_do_not_fit_are_refused_when_they_are_read() {
    let pki = Pki::make();
    pki.signed("rsa", Kind::Rsa, "/CN=rsa", "ec-root", "");
    let of = |certificate: &str, key: &str| {
        Identity::from_pem(&pki.read(certificate, "pem"), &pki.read(key, "key")).map(|_| ()).unwrap_err()
    };
    assert_eq!(of("rsa", "rsa"), CertificateError::KeyKind);
    assert_eq!(of("client", "client-256"), CertificateError::Mismatch);
    let garbled = Identity::from_pem(&pki.read("client", "pem"), b"-----BEGIN EC PRIVATE KEY-----\nAAAA\n");
    assert!(matches!(garbled, Err(CertificateError::Key(_))), "{garbled:?}");
    let subject = pki.identity("client").subject();
    assert_eq!(subject.organization.as_deref(), Some("my-project"));
    assert!(!format!("{:?}", pki.identity("client")).contains("BEGIN"));
}

#[test]
fn suites_of_the_other_kind_and_a_missing_server_name_are_refused_before_anything_is_sent() {
    let pki = Pki::make();
    let mut config = asking(&pki, "client", &["rsa-root"]);
    config.suites.push(CipherSuite::PskAes128Ccm8);
    let refused = Session::client(&config, Duration::ZERO, rng(1)).unwrap_err();
    assert_eq!(refused, ConfigError::SuiteOfOtherKind { suite: CipherSuite::PskAes128Ccm8 });
    let mut config = asking(&pki, "client", &["rsa-root"]);
    config.server_name = None;
    assert_eq!(Session::client(&config, Duration::ZERO, rng(1)).unwrap_err(), ConfigError::ServerName);
}
