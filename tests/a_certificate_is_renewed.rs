//! The promise (D13): a gateway that is known by a certificate asks for the next one before it ends, with a key made on the spot;
//! uses it once the cloud has taken it in a handshake, and not before; goes on with the one before when anything is wrong with the
//! new one; and says how it stands. Nothing of that loses a reading, and a power cut at any point leaves one of the two, whole.
//!
//! The whole daemon in virtual time; the certificates are made by the `openssl` program.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail by panicking")]

#[path = "support/pki.rs"]
mod pki;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fieldgate::board::{CertificateCondition, CertificateState, LinkPhase, TroubleKind};
use fieldgate::reading::Value;
use fieldgate_coap::Code;
use fieldgate_sim::cloud::{Fault, FaultKind};
use fieldgate_sim::world::{self, World, WorldOptions};
use pki::{NAME, Pki, YEARS};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
/// In its last third when the world begins, on 20 November 2026; it ends twelve days later.
const ENDING: (&str, &str) = ("20261001000000Z", "20261202000000Z");
/// The same, and it ends two days later.
const ENDING_AT_ONCE: (&str, &str) = ("20261001000000Z", "20261122000000Z");
/// Of what is issued in its place.
const NEXT: (&str, &str) = ("20261119000000Z", "20270601000000Z");
const NEXT_ENDS: u64 = 1_811_808_000;

fn in_virtual_time<R>(run: impl Future<Output = R>) -> R {
    world::in_virtual_time(run).unwrap()
}

/// A project whose gateway's certificate ends soon, and what it takes to connect to it.
fn ending() -> (Arc<Pki>, WorldOptions) {
    valid(ENDING)
}

fn valid(years: (&str, &str)) -> (Arc<Pki>, WorldOptions) {
    let pki = Pki::make(NAME, YEARS);
    pki.sign("gw", "root", "basicConstraints=CA:FALSE\n", years);
    pki.certificate("other", "/CN=other", "basicConstraints=critical,CA:TRUE\n", YEARS);
    let options = pki.options();
    let golioth = format!("{}liveness = \"frugal\"\n", options.golioth);
    (Arc::new(pki), WorldOptions { golioth: golioth.into(), ..options })
}

/// Has the cloud certify whatever it is asked for, by `by`; how often it was asked.
fn issuing(world: &World, pki: &Arc<Pki>, by: &'static str) -> Arc<AtomicU32> {
    answering(world, pki, move |pki, request| Some(pki.issue(request, by, None, NEXT)))
}

fn answering(
    world: &World,
    pki: &Arc<Pki>,
    answer: impl Fn(&Pki, &[u8]) -> Option<Vec<u8>> + Send + 'static,
) -> Arc<AtomicU32> {
    let asked = Arc::new(AtomicU32::new(0));
    let (pki, count) = (Arc::clone(pki), Arc::clone(&asked));
    world.cloud(|cloud, _| {
        cloud.set_issuer(move |device, request| {
            assert_eq!(device, world::DEVICE);
            count.fetch_add(1, Ordering::Relaxed);
            answer(&pki, request)
        });
    });
    asked
}

fn certificate(world: &World) -> CertificateState {
    world.board().certificates.get(world::GOLIOTH).unwrap().value
}

/// A reading goes through.
async fn reaches(world: &World) {
    world.take("al", Value::Bool(true)).await.unwrap();
    world.drained(30 * MINUTE).await.unwrap();
}

/// Lets time pass, a little at a time, until the certificate stands so.
async fn until(world: &World, so: impl Fn(&CertificateState) -> bool) {
    for _ in 0..60 * 60 {
        if world.board().certificates.get(world::GOLIOTH).is_some_and(|certificate| so(&certificate.value)) {
            return;
        }
        world.pass(Duration::from_millis(20)).await;
    }
    panic!("{:?}", certificate(world));
}

fn renewed(certificate: &CertificateState) -> bool {
    certificate.condition == CertificateCondition::Renewed
}

#[test]
fn it_is_renewed_before_it_ends_proven_by_a_handshake_and_used_from_then_on_also_after_a_restart() {
    let (pki, options) = valid(ENDING_AT_ONCE);
    in_virtual_time(async {
        let mut world = World::start(&options).await.unwrap();
        let asked = issuing(&world, &pki, "root");
        reaches(&world).await;
        world.pass(10 * MINUTE).await;
        let state = certificate(&world);
        assert_eq!(
            (state.condition, state.until_unix_s),
            (CertificateCondition::Renewed, NEXT_ENDS),
            "{state:?}"
        );
        assert_eq!((asked.load(Ordering::Relaxed), world.handshakes()), (1, 2));
        let link =
            world.board().links_as_seen(fieldgate::clock::Mono(u64::MAX)).remove(world::GOLIOTH).unwrap();
        assert!(link.value.words.contains("renewed and ends in 192 days"), "{}", link.value.words);
        reaches(&world).await;
        // The first one has ended by then, and the cloud would not take it.
        world.pass(2 * DAY).await;
        world = world.crash(&options).await.unwrap();
        reaches(&world).await;
        assert_eq!((world.link().unwrap().phase, world.handshakes()), (LinkPhase::Up, 3));
        assert_eq!(certificate(&world).condition, CertificateCondition::Valid);
        let outcome = world.finish().await.unwrap();
        assert_eq!((outcome.acknowledged, outcome.cloud_unique), (3, 3), "{outcome:?}");
        assert_eq!(asked.load(Ordering::Relaxed), 1);
    });
}

#[test]
fn a_cloud_that_does_not_certify_is_asked_seldom_named_and_used_as_before() {
    let (pki, options) = ending();
    in_virtual_time(async {
        let world = World::start(&options).await.unwrap();
        reaches(&world).await;
        world.pass(10 * MINUTE).await;
        let state = certificate(&world);
        assert_eq!(state.condition, CertificateCondition::RenewalRefused);
        for words in ["ends in 11 days", "no PKI provider", "asked again in", "golioth.certificate_file"] {
            assert!(state.words.contains(words), "{words}: {}", state.words);
        }
        assert_eq!((world.link().unwrap().phase, world.handshakes()), (LinkPhase::Up, 1));
        let troubles = world.board().troubles_as_seen(world::GOLIOTH);
        assert_eq!(troubles.iter().map(|(_, it)| it.kind).collect::<Vec<_>>(), [TroubleKind::RenewalRefused]);
        let asked = answering(&world, &pki, |_, _| None);
        world.pass(DAY).await;
        let times = asked.load(Ordering::Relaxed);
        assert!((3..=20).contains(&times), "{times} times in a day");
        let asked = issuing(&world, &pki, "root");
        world.pass(DAY + HOUR).await;
        assert_eq!(certificate(&world).condition, CertificateCondition::Renewed);
        assert_eq!(asked.load(Ordering::Relaxed), 1);
    });
}

type Answer = fn(&Pki, &[u8]) -> Option<Vec<u8>>;

#[test]
fn what_comes_and_cannot_be_used_is_named_and_changes_nothing() {
    let answers: [(&str, Answer); 8] = [
        ("is no certificate", |_, _| Some(b"\x30\x03\x02\x01\x01".to_vec())),
        ("is no certificate", |_, _| Some(Vec::new())),
        ("is no certificate", |pki, request| {
            Some([pki.issue(request, "root", None, NEXT), vec![0; 4096]].concat())
        }),
        ("for another key", |pki, _| {
            pki.certificate("else", "/O=p/CN=gw-1", "basicConstraints=CA:FALSE\n", NEXT);
            Some(pki.read("else.pem"))
        }),
        ("for gw-2 of p", |pki, request| Some(pki.issue(request, "root", Some("/O=p/CN=gw-2"), NEXT))),
        ("no later than", |pki, request| {
            Some(pki.issue(request, "root", None, ("20261119000000Z", "20261201000000Z")))
        }),
        ("not valid yet", |pki, request| {
            Some(pki.issue(request, "root", None, ("20261121000000Z", "20270601000000Z")))
        }),
        ("golioth.renew_ca_file", |pki, request| Some(pki.issue(request, "other", None, NEXT))),
    ];
    for (words, answer) in answers {
        let (pki, options) = ending();
        let golioth = format!("{}renew_ca_file = {:?}\n", options.golioth, pki.path("root.pem"));
        let options = WorldOptions { golioth: golioth.into(), ..options };
        in_virtual_time(async {
            let world = World::start(&options).await.unwrap();
            let asked = answering(&world, &pki, answer);
            reaches(&world).await;
            world.pass(2 * MINUTE).await;
            let state = certificate(&world);
            assert!(state.words.contains(words), "{words}: {}", state.words);
            assert_eq!(state.condition, CertificateCondition::RenewalRefused);
            assert_eq!((asked.load(Ordering::Relaxed), world.handshakes()), (1, 1));
            reaches(&world).await;
        });
    }
}

#[test]
fn a_certificate_as_pem_is_taken_too() {
    let (pki, options) = ending();
    in_virtual_time(async {
        let world = World::start(&options).await.unwrap();
        answering(&world, &pki, |pki, request| {
            pki.issue(request, "root", None, NEXT);
            Some(pki.read("asked.pem"))
        });
        reaches(&world).await;
        until(&world, renewed).await;
        reaches(&world).await;
    });
}

#[test]
fn one_that_comes_alone_takes_over_what_leads_from_the_one_before_to_a_root() {
    let (pki, options) = ending();
    pki.certificate("between", "/CN=between", "basicConstraints=critical,CA:TRUE\n", YEARS);
    pki.sign("gw", "between", "basicConstraints=CA:FALSE\n", ENDING);
    pki.append("gw", "between");
    in_virtual_time(async {
        let world = World::start(&options).await.unwrap();
        issuing(&world, &pki, "between");
        // The cloud trusts the root only: without what stands between, it would let neither in.
        reaches(&world).await;
        until(&world, renewed).await;
        reaches(&world).await;
        assert_eq!(world.handshakes(), 2);
    });
}

#[test]
fn one_that_the_cloud_refuses_is_given_up_for_the_one_before_and_another_is_asked_for() {
    let (pki, options) = ending();
    in_virtual_time(async {
        let world = World::start(&options).await.unwrap();
        let asked = issuing(&world, &pki, "other");
        reaches(&world).await;
        world.pass(5 * MINUTE).await;
        assert_eq!(
            certificate(&world).condition,
            CertificateCondition::Renewing,
            "anyone could have said so"
        );
        assert_eq!(world.handshakes(), 2, "the second with the one before");
        let mut minutes = 0;
        while certificate(&world).condition != CertificateCondition::RenewalRefused {
            world.pass(MINUTE).await;
            minutes += 1;
            assert!(minutes < 4 * 60, "{:?}", certificate(&world));
        }
        assert!(minutes >= 110, "it is shown an hour apart: {minutes}");
        assert!(certificate(&world).words.contains("the cloud refuses it"), "{}", certificate(&world).words);
        assert_eq!((asked.load(Ordering::Relaxed), world.handshakes()), (1, 4), "it was shown three times");
        assert_eq!(world.link().unwrap().phase, LinkPhase::Up);
        reaches(&world).await;
        world.pass(5 * MINUTE).await;
        let world = world.crash(&options).await.unwrap();
        reaches(&world).await;
        let asked = issuing(&world, &pki, "root");
        world.pass(4 * HOUR).await;
        assert_eq!(certificate(&world).condition, CertificateCondition::Renewed, "{:?}", certificate(&world));
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        reaches(&world).await;
    });
}

#[test]
fn a_power_cut_before_the_answer_has_it_asked_again_with_another_key_and_one_after_it_costs_nothing() {
    let (pki, options) = ending();
    in_virtual_time(async {
        let world = World::start(&options).await.unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        let asked = answering(&world, &pki, move |pki, request| {
            seen.lock().unwrap().push(request.to_vec());
            Some(pki.issue(request, "root", None, NEXT))
        });
        world.cloud(|cloud, _| cloud.set_fault(Fault::new(FaultKind::LoseAnswer).path("v1/csr").times(1)));
        reaches(&world).await;
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        assert_eq!(certificate(&world).condition, CertificateCondition::Renewing, "no answer came");
        let world = world.crash(&options).await.unwrap();
        // The answer is on the disk, and the handshake that is to show it has not come to its end.
        until(&world, |certificate| certificate.words.contains("is shown to the cloud next")).await;
        let world = world.crash(&options).await.unwrap();
        until(&world, renewed).await;
        reaches(&world).await;
        assert_eq!(asked.load(Ordering::Relaxed), 2);
        let requests = requests.lock().unwrap();
        assert!(requests[0] != requests[1], "a key that was never certified is not kept");
    });
}

#[test]
fn nothing_is_asked_while_the_clock_is_not_trusted() {
    let (pki, options) = ending();
    in_virtual_time(async {
        let world = World::start(&WorldOptions { trusted: false, ..options }).await.unwrap();
        let asked = issuing(&world, &pki, "root");
        world.pass(HOUR).await;
        assert_eq!(certificate(&world).condition, CertificateCondition::ClockNotTrusted);
        assert_eq!(asked.load(Ordering::Relaxed), 0);
        world.trust_the_clock();
        world.pass(2 * HOUR).await;
        assert_eq!(
            (certificate(&world).condition, asked.load(Ordering::Relaxed)),
            (CertificateCondition::Renewed, 1)
        );
    });
}

#[test]
fn without_renewal_its_end_is_announced_and_told() {
    let (pki, options) = valid(ENDING_AT_ONCE);
    let golioth = format!("{}renew = false\n", options.golioth);
    in_virtual_time(async {
        let world = World::start(&WorldOptions { golioth: golioth.into(), ..options }).await.unwrap();
        let asked = issuing(&world, &pki, "root");
        reaches(&world).await;
        world.pass(HOUR + MINUTE).await;
        let state = certificate(&world);
        assert_eq!(state.condition, CertificateCondition::ExpiresSoon);
        assert!(
            state.words.contains("ends in 1 d 22 h and is not renewed (golioth.renew)"),
            "{}",
            state.words
        );
        world.pass(2 * DAY).await;
        let state = certificate(&world);
        assert_eq!(state.condition, CertificateCondition::Expired);
        assert!(state.words.contains("golioth.certificate_file"), "{}", state.words);
        assert_eq!(asked.load(Ordering::Relaxed), 0);
    });
}

#[test]
fn what_an_operator_puts_there_replaces_what_came_by_renewal() {
    let (pki, options) = ending();
    in_virtual_time(async {
        let world = World::start(&options).await.unwrap();
        issuing(&world, &pki, "root");
        reaches(&world).await;
        until(&world, renewed).await;
        pki.sign("gw", "root", "basicConstraints=CA:FALSE\n", YEARS);
        let world = world.crash(&options).await.unwrap();
        reaches(&world).await;
        let state = certificate(&world);
        assert_eq!((state.condition, state.until_unix_s), (CertificateCondition::Valid, 2_082_758_400));
    });
}

#[test]
fn a_cloud_that_has_too_many_requests_or_is_ill_is_asked_again() {
    for code in [Code::TOO_MANY_REQUESTS, Code::INTERNAL_SERVER_ERROR] {
        let (pki, options) = ending();
        in_virtual_time(async {
            let world = World::start(&options).await.unwrap();
            issuing(&world, &pki, "root");
            let fault = Fault::new(FaultKind::Answer { code, max_age: None }).path("v1/csr").times(1);
            world.cloud(|cloud, _| cloud.set_fault(fault));
            reaches(&world).await;
            world.pass(2 * HOUR).await;
            assert_eq!(certificate(&world).condition, CertificateCondition::Renewed);
        });
    }
}
