//! The promise: whatever comes from the cloud's side that is wrong has a name on the page, in the API and in the metrics, and a next
//! step for a technician; it is tried again within bounds and told in few lines; readings are accepted all the while, and delivered
//! once it is over.
//!
//! The whole daemon in virtual time against the simulated cloud, an hour of each.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail by panicking")]

#[path = "support/pki.rs"]
mod pki;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fieldgate::board::{Trouble, TroubleKind};
use fieldgate::http::recent::Recent;
use fieldgate::http::{Snapshot, verdict};
use fieldgate::reading::Value;
use fieldgate::uplink::link::{FetchError, ManifestComponent};
use fieldgate_coap::Code;
use fieldgate_sim::cloud::{Babble, CallOutcome, Fault, FaultKind};
use fieldgate_sim::world::{self, DEVICE, GOLIOTH, UNIX_MS, World, WorldOptions};
use pki::{NAME, Pki};
use serde_json::json;
use tracing_subscriber::layer::SubscriberExt as _;

const S: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
/// Lines an hour, whatever is wrong: one a minute.
const LINES: u64 = 60;

fn in_virtual_time<R>(run: impl Future<Output = R>) -> R {
    world::in_virtual_time(run).unwrap()
}

/// Counts the lines that are written on this thread while it lives.
struct Lines {
    count: Arc<AtomicU64>,
    _guard: tracing::subscriber::DefaultGuard,
}

struct Counting(Arc<AtomicU64>);

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Counting {
    fn on_event(&self, event: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
        // What a daemon writes by default.
        self.0.fetch_add(u64::from(*event.metadata().level() <= tracing::Level::INFO), Ordering::Relaxed);
    }
}

impl Lines {
    fn listen() -> Self {
        let count = Arc::new(AtomicU64::new(0));
        let counting = tracing_subscriber::registry().with(Counting(Arc::clone(&count)));
        let _guard = tracing::subscriber::set_default(counting);
        tracing::callsite::rebuild_interest_cache();
        Self { count, _guard }
    }

    fn written(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}

fn quiet() -> WorldOptions {
    WorldOptions { bus: false, ..WorldOptions::default() }
}

/// A world that is connected and has said what there is to say after a start.
async fn connected() -> World {
    let world = World::start(&quiet()).await.unwrap();
    world.pass(2 * MINUTE).await;
    assert_eq!(troubles(&world), [], "nothing is wrong yet");
    world
}

fn troubles(world: &World) -> Vec<Trouble> {
    world.board().troubles_as_seen(GOLIOTH).into_iter().map(|(_, trouble)| trouble).collect()
}

/// What happens within an hour, with a reading a minute.
struct Hour {
    sockets: u64,
    requests: u64,
    handshakes: u64,
    lines: u64,
}

async fn an_hour(world: &World) -> Hour {
    let lines = Lines::listen();
    let before = (world.sockets_asked_for(), world.requests(), world.handshakes());
    let accepted = world.account(GOLIOTH).accepted;
    for n in 0..60 {
        world.take("q1", Value::Steps(n)).await.expect("readings are accepted all the while");
        world.pass(59 * S).await;
    }
    assert_eq!(world.account(GOLIOTH).accepted - accepted, 60);
    let hour = Hour {
        sockets: world.sockets_asked_for() - before.0,
        requests: world.requests() - before.1,
        handshakes: world.handshakes() - before.2,
        lines: lines.written(),
    };
    assert!(hour.lines <= LINES, "{} lines in an hour", hour.lines);
    println!(
        "{} sockets, {} requests, {} handshakes, {} lines",
        hour.sockets, hour.requests, hour.handshakes, hour.lines
    );
    hour
}

/// It has this name, and page and `fieldgate status` tell the next step in these words.
#[track_caller]
fn named(world: &World, kind: TroubleKind, about: &str, next: &str) {
    let all = troubles(world);
    let found = all.iter().find(|trouble| trouble.kind == kind && trouble.about == about);
    let trouble = found.unwrap_or_else(|| panic!("{kind:?} about {about:?} is not among {all:?}"));
    assert!(trouble.next_step.contains(next), "{trouble:?}");
    let verdict = verdict(&Snapshot::take(&world.sources(), Recent::default()));
    // As a sentence of its own it begins with a capital.
    let told = verdict.reasons.iter().find(|reason| reason.next_step[1..].contains(&next[1..]));
    let told = told.unwrap_or_else(|| panic!("the page does not say {next:?}: {:?}", verdict.reasons));
    assert!(told.what.starts_with("golioth: ") || told.what.ends_with("golioth"), "{told:?}");
}

/// It is over: nothing is wrong any more, and everything that was accepted has arrived.
async fn is_over(world: World, within: Duration) {
    world.take("q1", Value::Steps(99)).await.unwrap();
    world.drained(within).await.unwrap();
    // What was refused is asked for again within the hour.
    for _ in 0..65 {
        if troubles(&world).is_empty() {
            break;
        }
        world.pass(MINUTE).await;
    }
    assert_eq!(troubles(&world), [], "nothing is wrong any more");
    let outcome = world.finish().await.unwrap();
    assert_eq!(
        (outcome.acknowledged, outcome.dropped, outcome.set_aside, outcome.lost, outcome.corrupted),
        (outcome.accepted, 0, 0, 0, 0),
        "{outcome:?}"
    );
    assert_eq!(outcome.problems, Vec::<String>::new());
}

#[test]
fn a_wrong_key() {
    in_virtual_time(async {
        let world = World::start(&WorldOptions { key: "another-key", ..quiet() }).await.unwrap();
        let hour = an_hour(&world).await;
        named(&world, TroubleKind::WrongKey, "", "compare the key of golioth.psk_file");
        assert!((3..=20).contains(&hour.sockets), "{} attempts", hour.sockets);
        is_over(world.restart(&quiet()).await.unwrap(), MINUTE).await;
    });
}

#[test]
fn an_unknown_identity() {
    in_virtual_time(async {
        let world = World::start(&WorldOptions { identity: "gw-7@p", ..quiet() }).await.unwrap();
        let hour = an_hour(&world).await;
        named(&world, TroubleKind::UnknownIdentity, "", "golioth.psk_id, its @project included");
        assert!((3..=20).contains(&hour.sockets), "{} attempts", hour.sockets);
        is_over(world.restart(&quiet()).await.unwrap(), MINUTE).await;
    });
}

#[test]
fn a_clock_before_the_certificates_validity() {
    /// A day in 2026, before the certificate begins and after anything this release believes in.
    const EARLY_UNIX_MS: i64 = UNIX_MS - 50 * 86_400_000;
    let pki = Pki::make(NAME, ("20261110000000Z", "20360101000000Z"));
    in_virtual_time(async {
        let options = WorldOptions { system_unix_ms: EARLY_UNIX_MS, ..pki.options() };
        let world = World::start(&options).await.unwrap();
        let hour = an_hour(&world).await;
        named(&world, TroubleKind::CertificateNotYetValid, "", "compare this clock with a watch");
        let words = &troubles(&world)[0].words;
        assert!(words.contains("This clock says 2026-10-"), "{words}");
        assert!((3..=20).contains(&hour.sockets), "{} attempts", hour.sockets);
        assert_eq!(hour.requests, 0, "nothing is sent to it");
        world.trust_the_clock();
        is_over(world, 40 * MINUTE).await;
    });
}

#[test]
fn something_that_answers_a_handshake_with_noise() {
    in_virtual_time(async {
        let world = World::start(&quiet()).await.unwrap();
        world.cloud(|cloud, _| cloud.silence(None));
        let noise: Vec<u8> = (0..200).collect();
        let lines = Lines::listen();
        let sockets = world.sockets_asked_for();
        for n in 0..720 {
            world.forge(&noise);
            if n % 12 == 0 {
                world.take("q1", Value::Steps(n)).await.unwrap();
            }
            world.pass(5 * S).await;
        }
        let sockets = world.sockets_asked_for() - sockets;
        named(&world, TroubleKind::Nonsense, "", "check golioth.endpoint");
        assert!((3..=30).contains(&sockets), "{sockets} attempts in an hour");
        assert!(lines.written() <= LINES, "{} lines", lines.written());
        drop(lines);
        world.cloud(|cloud, _| cloud.speak());
        is_over(world, 40 * MINUTE).await;
    });
}

#[test]
fn a_cloud_whose_messages_are_none() {
    in_virtual_time(async {
        let world = connected().await;
        world.cloud(|cloud, _| cloud.babble(Some(Babble::Noise)));
        let hour = an_hour(&world).await;
        named(&world, TroubleKind::Nonsense, "", "does not speak as Golioth does");
        assert!((1..=12).contains(&hour.handshakes), "{} handshakes", hour.handshakes);
        world.cloud(|cloud, _| cloud.babble(None));
        is_over(world, 40 * MINUTE).await;
    });
}

#[test]
fn a_cloud_that_resets_whatever_it_is_asked() {
    in_virtual_time(async {
        let world = connected().await;
        world.cloud(|cloud, _| cloud.babble(Some(Babble::Resets)));
        let hour = an_hour(&world).await;
        named(&world, TroubleKind::Unexpected, "readings", "does not speak as Golioth does");
        // Each was carried out there.
        assert!(hour.requests <= 60, "{} requests", hour.requests);
        world.cloud(|cloud, _| cloud.babble(None));
        is_over(world, 40 * MINUTE).await;
    });
}

#[test]
fn a_cloud_that_waits_for_more_of_what_is_whole() {
    in_virtual_time(async {
        let world = connected().await;
        world.cloud(|cloud, _| cloud.babble(Some(Babble::Continues)));
        let hour = an_hour(&world).await;
        named(&world, TroubleKind::Unexpected, "readings", "does not speak as Golioth does");
        assert_eq!(world.account(GOLIOTH).acknowledged, 0, "it has none of them");
        assert!(hour.requests <= 60, "{} requests", hour.requests);
        world.cloud(|cloud, _| cloud.babble(None));
        is_over(world, 40 * MINUTE).await;
    });
}

#[test]
fn answers_nobody_has_described_and_a_cloud_that_fails() {
    for (code, kind) in [
        (Code::METHOD_NOT_ALLOWED, TroubleKind::Unexpected),
        (Code::SERVICE_UNAVAILABLE, TroubleKind::Failing),
    ] {
        in_virtual_time(async {
            let world = connected().await;
            let odd = FaultKind::Answer { code, max_age: None };
            world.cloud(|cloud, _| cloud.set_fault(Fault::new(odd).path(".s/sensor")));
            let hour = an_hour(&world).await;
            named(&world, kind, "readings", "look at Golioth's status page");
            assert!(hour.requests <= 60, "{} requests", hour.requests);
            world.cloud(|cloud, _| cloud.clear_faults());
            is_over(world, 20 * MINUTE).await;
        });
    }
}

/// A service says this for an hour in which everything is asked for anew.
async fn says(world: &World, path: &str, body: &[u8]) -> Hour {
    world.cloud(|cloud, _| {
        cloud.set_fault(Fault::new(FaultKind::Body(body.to_vec())).path(path));
        cloud.restart();
    });
    let hour = an_hour(world).await;
    assert!(hour.handshakes <= 1 && hour.requests <= 180, "{} requests", hour.requests);
    assert_eq!(world.queued(), 0, "readings go all the while");
    hour
}

/// And then what it should, once it is asked for anew.
async fn says_what_it_should(world: &World) {
    world.cloud(|cloud, _| {
        cloud.clear_faults();
        cloud.restart();
    });
    world.take("q1", Value::Steps(1)).await.unwrap();
    world.pass(2 * MINUTE).await;
}

#[test]
fn settings_that_cannot_be_read() {
    in_virtual_time(async {
        let world = connected().await;
        world.cloud(|cloud, now| cloud.set_setting(now, "UPLINK_WINDOW", json!(4), None).unwrap());
        world.pass(10 * S).await;
        says(&world, ".c", b"\xff\x00nonsense").await;
        named(&world, TroubleKind::Unreadable, "the settings", "setting that was changed last");
        assert_eq!(world.board().asks.tuning.borrow().window, Some(4), "what was in force stays");
        world.cloud(|cloud, now| cloud.set_setting(now, "UPLINK_WINDOW", json!(2), None).unwrap());
        says_what_it_should(&world).await;
        assert_eq!(world.board().asks.tuning.borrow().window, Some(2));
        is_over(world, MINUTE).await;
    });
}

#[test]
fn calls_that_cannot_be_read() {
    in_virtual_time(async {
        let world = connected().await;
        says(&world, ".rpc", b"\xa1\x62id").await;
        named(&world, TroubleKind::Unreadable, "remote calls", "call again from the Golioth console");
        says_what_it_should(&world).await;
        let call = world.cloud(|cloud, now| cloud.call(now, DEVICE, "get_status", &[]).unwrap());
        world.pass(10 * S).await;
        let outcome = world.cloud(|cloud, _| cloud.call_outcome(&call).cloned());
        assert!(matches!(outcome, Some(CallOutcome::Answered { code: 0, .. })), "{outcome:?}");
        is_over(world, MINUTE).await;
    });
}

#[test]
fn a_manifest_that_cannot_be_read() {
    in_virtual_time(async {
        let world = connected().await;
        // A sequence number and no components.
        says(&world, ".u/desired", b"\xa1\x01\x00").await;
        named(&world, TroubleKind::Unreadable, "the manifest", "deploy again in the Golioth console");
        world.cloud(|cloud, now| cloud.deploy(now, &[DEVICE], "main", "9.9.9", vec![7; 900]).unwrap());
        says_what_it_should(&world).await;
        let wanted =
            world.cloud(|cloud, _| cloud.ota_events().iter().any(|e| e.target.as_deref() == Some("9.9.9")));
        assert!(wanted, "the next one is taken");
        is_over(world, MINUTE).await;
    });
}

#[test]
fn a_manifest_whose_digest_is_none() {
    in_virtual_time(async {
        let world = connected().await;
        // One component, whose digest has 63 digits.
        let digest = [b"\x78\x3f".as_slice(), &[b'b'; 63]].concat();
        let body = [
            b"\xa2\x01\x01\x03\x81\xa5\x01\x64main\x02\x651.2.3\x03".as_slice(),
            &digest,
            b"\x04\x19\x13\x88\x05\x70/.u/c/main@1.2.3",
        ]
        .concat();
        says(&world, ".u/desired", &body).await;
        named(&world, TroubleKind::Unreadable, "the manifest", "deploy again in the Golioth console");
        let events = world.cloud(|cloud, _| cloud.ota_events().iter().filter(|e| e.target.is_some()).count());
        assert_eq!(events, 0, "nothing follows from it");
        says_what_it_should(&world).await;
        is_over(world, MINUTE).await;
    });
}

#[test]
fn a_manifest_of_more_packages_than_a_gateway_has() {
    in_virtual_time(async {
        let world = connected().await;
        let digest = [b"\x78\x40".as_slice(), &[b'b'; 64]].concat();
        let mut body = b"\xa2\x01\x01\x03\x98\xc8".to_vec();
        for n in 0..200 {
            body.extend(b"\xa5\x01\x68");
            body.extend(format!("main-{n:03}").bytes());
            body.extend(b"\x02\x651.2.3\x03");
            body.extend(&digest);
            body.extend(b"\x04\x19\x13\x88\x05\x74/.u/c/main-000@1.2.3");
        }
        says(&world, ".u/desired", &body).await;
        named(&world, TroubleKind::TooLarge, "the manifest", "deploy fewer packages at once");
        says_what_it_should(&world).await;
        is_over(world, MINUTE).await;
    });
}

#[test]
fn a_control_document_that_cannot_be_read() {
    in_virtual_time(async {
        let world = connected().await;
        says(&world, ".d/desired", b"{\"generation\":").await;
        named(&world, TroubleKind::Unreadable, "the desired state", "LightDB State anew");
        let wish = json!({"generation": "g-2"});
        world.cloud(|cloud, now| cloud.set_state(now, DEVICE, "desired", wish).unwrap());
        says_what_it_should(&world).await;
        world.pass(2 * MINUTE).await;
        let read = world.cloud(|cloud, _| cloud.state(DEVICE).unwrap()["reported"]["generation"].clone());
        assert_eq!(read, json!("g-2"));
        is_over(world, MINUTE).await;
    });
}

#[test]
fn a_service_that_alone_does_not_answer() {
    in_virtual_time(async {
        let world = connected().await;
        world.cloud(|cloud, _| {
            cloud.set_fault(Fault::new(FaultKind::LoseAnswer).path(".c"));
            cloud.restart();
        });
        let hour = an_hour(&world).await;
        named(&world, TroubleKind::Unexpected, "the settings", "look at Golioth's status page");
        assert!(hour.handshakes <= 1 && hour.requests <= 120, "{} requests", hour.requests);
        assert_eq!(world.queued(), 0, "readings go all the while");
        says_what_it_should(&world).await;
        is_over(world, MINUTE).await;
    });
}

#[test]
fn a_flood_of_calls_that_nobody_knows() {
    in_virtual_time(async {
        let world = connected().await;
        let (lines, mut calls) = (Lines::listen(), Vec::new());
        for n in 0..60 {
            for _ in 0..30 {
                calls.push(
                    world.cloud(|cloud, now| cloud.call(now, DEVICE, "make_coffee", &[json!(n)]).unwrap()),
                );
            }
            world.take("q1", Value::Steps(n)).await.unwrap();
            world.pass(20 * S).await;
        }
        assert!(lines.written() <= LINES, "{} lines", lines.written());
        let answered = |call: &String| {
            let outcome = world.cloud(|cloud, _| cloud.call_outcome(call).cloned());
            // Not found, or too many at once.
            matches!(outcome, Some(CallOutcome::Answered { code: 5 | 8, .. }))
        };
        let answered = calls.iter().filter(|call| answered(call)).count();
        assert!(answered * 10 >= calls.len() * 9, "{answered} of {} are answered", calls.len());
        assert_eq!(world.handshakes(), 1);
        is_over(world, MINUTE).await;
    });
}

#[test]
fn a_notification_that_is_far_too_long() {
    in_virtual_time(async {
        let world = connected().await;
        let down = world.link().unwrap().bytes_down;
        let long = json!({"generation": "x".repeat(70_000)});
        world.cloud(|cloud, now| cloud.set_state(now, DEVICE, "desired", long).unwrap());
        let hour = an_hour(&world).await;
        named(&world, TroubleKind::TooLarge, "the desired state", "LightDB State shorter");
        let down = world.link().unwrap().bytes_down - down;
        assert!(down < 60_000, "{down} bytes of it came in an hour");
        assert!(hour.requests <= 120, "{} requests", hour.requests);
        assert_eq!(world.queued(), 0, "readings go all the while");
        let wish = json!({"generation": "g-3"});
        world.cloud(|cloud, now| cloud.set_state(now, DEVICE, "desired", wish).unwrap());
        world.pass(3 * MINUTE).await;
        let read = world.cloud(|cloud, _| cloud.state(DEVICE).unwrap()["reported"]["generation"].clone());
        assert_eq!(read, json!("g-3"), "a shorter one is taken at once");
        is_over(world, MINUTE).await;
    });
}

#[test]
fn settings_that_are_far_too_long() {
    in_virtual_time(async {
        let world = connected().await;
        let hour = says(&world, ".c", &[0x40; 70_000]).await;
        named(&world, TroubleKind::TooLarge, "the settings", "delete settings");
        assert!(hour.requests <= 120, "{} requests", hour.requests);
        says_what_it_should(&world).await;
        is_over(world, MINUTE).await;
    });
}

/// The image that is deployed.
fn image() -> Vec<u8> {
    (0..40_000_u32).map(|n| n.to_le_bytes()[1] ^ n.to_le_bytes()[0]).collect()
}

fn artifact() -> ManifestComponent {
    ManifestComponent {
        package: "main".into(),
        version: "9.9.9".into(),
        sha256: [0; 32],
        size_bytes: 40_000,
        uri: "/.u/c/main@9.9.9".into(),
    }
}

/// Fetches the image through the daemon's link.
async fn fetch(world: &World) -> Result<Vec<u8>, FetchError> {
    let link = world.device_plane().unwrap();
    let mut blocks = link.fetch(&artifact(), &[]).await?;
    let mut whole = vec![0; 40_000];
    while let Some(block) = blocks.next().await? {
        let at = usize::try_from(block.offset).unwrap();
        whole[at..at + block.bytes.len()].copy_from_slice(&block.bytes);
    }
    Ok(whole)
}

#[test]
fn blocks_that_come_out_of_order_twice_and_not_at_all() {
    in_virtual_time(async {
        let bad = WorldOptions { loss: 0.2, reorder: 0.3, duplicate: 0.3, ..quiet() };
        let world = World::start(&bad).await.unwrap();
        world.pass(5 * MINUTE).await;
        world.cloud(|cloud, now| cloud.deploy(now, &[DEVICE], "main", "9.9.9", image()).unwrap());
        assert!(fetch(&world).await == Ok(image()), "every byte is where it belongs");
        let wrong = troubles(&world);
        assert!(wrong.iter().all(|trouble| trouble.kind == TroubleKind::NoAnswer), "{wrong:?}");
    });
}

#[test]
fn an_image_that_is_announced_and_not_served() {
    in_virtual_time(async {
        let world = connected().await;
        world.cloud(|cloud, now| cloud.deploy(now, &[DEVICE], "main", "9.9.9", image()).unwrap());
        let gone = FaultKind::Answer { code: Code::NOT_FOUND, max_age: None };
        world.cloud(|cloud, _| cloud.set_fault(Fault::new(gone).path(".u/c/main@")));
        let requests = world.requests();
        let error = fetch(&world).await.unwrap_err();
        assert!(matches!(error, FetchError::Refused { .. }), "{error}");
        assert!(world.requests() - requests <= 60, "{} requests", world.requests() - requests);
        named(&world, TroubleKind::ArtifactRefused, "firmware", "upload the artifact again");
        let hour = an_hour(&world).await;
        assert!(hour.requests <= 100, "{} requests", hour.requests);
        world.cloud(|cloud, _| cloud.clear_faults());
        assert!(fetch(&world).await == Ok(image()));
        is_over(world, MINUTE).await;
    });
}
