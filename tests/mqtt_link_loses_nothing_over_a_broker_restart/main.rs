//! The generic MQTT link against a real broker (mosquitto): nothing accepted is lost when the broker dies, and a broker that
//! refuses is told in words.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail by panicking")]

mod broker;
mod subscriber;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use broker::Broker;
use fieldgate::board::{Board, LinkPhase, LinkState};
use fieldgate::clock::{BootId, Clock, Mono, SystemClock, Wall};
use fieldgate::clouds::Means;
use fieldgate::clouds::mqtt::MqttLink;
use fieldgate::config::{self, NetworkPath, Secret, SecretRefused, SecretSource, Surroundings};
use fieldgate::daemon::rim::{Rim, machine};
use fieldgate::daemon::supervisor::Supervisor;
use fieldgate::reading::{Capture, Class, Quality, Resolution, Sample, StreamId, Value};
use fieldgate::spend::Purse;
use fieldgate::store::queue::{DestinationSpec, Epoch, OpenOptions, Queue, StreamSpec};
use fieldgate::uplink::drain::{self, DrainOptions};
use fieldgate::uplink::link::{Link, Message, Outcome, Report};
use subscriber::{Received, subscribe, take_over};
use tokio_util::sync::CancellationToken;

const LONG: Duration = Duration::from_secs(60);
const PASSWORD: &str = "correct horse";
const WINDOW: usize = 8;

/// Asks again and again until it is so.
async fn eventually(what: &str, within: Duration, mut holds: impl AsyncFnMut() -> bool) {
    let asking = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(tokio::time::timeout(within, asking).await.is_ok(), "within {within:?}: {what}");
}

/// The secrets of these tests: a file's name is its content.
struct Fixed;

impl Surroundings for Fixed {
    fn host_name(&self) -> &str {
        "host"
    }

    fn secret(&self, source: &SecretSource) -> Result<Secret, SecretRefused> {
        let SecretSource::Credential(name) = source else { panic!("{source:?}") };
        let secret = if name == "right" { PASSWORD } else { "staple battery" };
        Ok(Secret::new(secret.as_bytes().to_vec()))
    }
}

fn configured(broker: &str, keys: &str) -> config::Mqtt {
    let text =
        format!("[gateway]\nserial = \"gw-1\"\n[[mqtt]]\nname = \"plant\"\nbroker = \"{broker}\"\n{keys}\n");
    let loaded =
        config::parse(&[("fieldgate.toml", &text)], &Fixed).unwrap_or_else(|refused| panic!("{refused}"));
    loaded.config.mqtt[0].clone()
}

/// A gateway as far as its link needs one: supervised lanes on the real machine.
struct Gateway {
    link: Arc<MqttLink>,
    board: Arc<Board>,
    rim: Rim,
    stop: CancellationToken,
    supervisor: Supervisor,
}

impl Gateway {
    fn start(config: &config::Mqtt) -> Self {
        Self::start_at(config, Arc::new(SystemClock::new(true, None)))
    }

    fn start_at(config: &config::Mqtt, clock: Arc<dyn Clock>) -> Self {
        let rim = machine::rim(clock);
        let (board, stop) = (Board::shared(), CancellationToken::new());
        let path = NetworkPath::System { interface: None };
        let purse = Purse::unlimited(Arc::clone(&rim.clock));
        let means = Means { rim: &rim, board: &board, purse: &purse, stop: &stop };
        let (link, lane) = MqttLink::new(config, "gw-1", &path, WINDOW, means);
        let supervisor = Supervisor::new(rim.clone(), Arc::clone(&board), stop.clone());
        supervisor.spawn(lane);
        Self { link, board, rim, stop, supervisor }
    }

    fn state(&self) -> Option<LinkState> {
        self.board.links.get("plant").map(|stamped| stamped.value)
    }

    async fn reaches(&self, what: &str, holds: impl Fn(&LinkState) -> bool) -> LinkState {
        eventually(what, LONG, async || self.state().as_ref().is_some_and(&holds)).await;
        self.state().unwrap()
    }

    async fn is(&self, phase: LinkPhase) -> LinkState {
        self.reaches(&format!("the link is {phase:?}"), |state| state.phase == phase).await
    }

    async fn stops(self) {
        self.stop.cancel();
        self.supervisor.stopped(LONG).await;
    }
}

fn message(topic: &str, body: &str) -> Message {
    Message { address: topic.into(), body: body.as_bytes().to_vec(), class: Class::Event, readings: 1 }
}

/// Epoch, stream, sequence; the gateway is always the same.
type Identity = (String, String, u64);

/// What messages say, reading by reading, each with the value as the digits on the wire.
fn readings(messages: &[Received]) -> Vec<(Identity, String)> {
    let mut readings = Vec::new();
    for message in messages {
        let body: serde_json::Value = serde_json::from_slice(&message.body).unwrap();
        assert_eq!(body["g"], "gw-1");
        for record in body["r"].as_array().unwrap() {
            for (stream, value) in record["v"].as_object().unwrap() {
                let device = stream.split('.').next().unwrap();
                assert_eq!(message.topic, format!("fieldgate/gw-1/{device}/telemetry"));
                let identity =
                    (body["e"].as_str().unwrap().into(), stream.clone(), record["s"].as_u64().unwrap());
                readings.push((identity, value.to_string()));
            }
        }
    }
    readings
}

fn stream(name: &str, device: &str, resolution: Option<Resolution>) -> StreamSpec {
    StreamSpec {
        name: name.into(),
        group: format!("bus/{device}"),
        device: device.into(),
        class: Class::Telemetry,
        unit: "Cel".into(),
        resolution,
        alias: name.replace('.', "_"),
        routes: vec!["plant".into()],
        latest_only: false,
    }
}

fn queue(directory: &Path, clock: &Arc<dyn Clock>) -> Queue {
    let options = OpenOptions {
        path: directory.join("queue.db"),
        streams: vec![
            stream("tank.level", "tank", Some(Resolution { numerator: 1, denominator: 10 })),
            stream("tank.open", "tank", None),
            stream("pump.speed", "pump", None),
        ],
        destinations: vec![DestinationSpec { name: "plant".into() }],
        commit_window: Duration::ZERO,
        max_bytes: 16 << 20,
        class_quotas: Default::default(),
        ballast_bytes: 0,
        flash_budget_per_day: None,
        boot: BootId([7; 16]),
        epoch: Epoch(0x00c0_ffee_00c0_ffee),
        file_id: 1,
    };
    Queue::open(options, clock).unwrap()
}

/// Has readings accepted, and remembers what was.
struct Producer {
    queue: Queue,
    clock: Arc<dyn Clock>,
    count: i64,
    accepted: BTreeMap<Identity, String>,
}

impl Producer {
    async fn accept(&mut self, captures: i64) {
        for _ in 0..captures {
            self.count += 1;
            let n = self.count;
            let number = u32::try_from(n).unwrap();
            let tenths = format!("{}.{}", n / 10, n % 10);
            let tenths = tenths.strip_suffix(".0").unwrap_or(&tenths).to_owned();
            let tank = [(0, Value::Steps(n), tenths), (1, Value::Bool(n % 2 == 0), (n % 2 == 0).to_string())];
            let speed = f64::from(number) * 0.25;
            let pump = [(2, Value::Float(speed), serde_json::Value::from(speed).to_string())];
            self.capture(&tank).await;
            self.capture(&pump).await;
        }
    }

    async fn capture(&mut self, values: &[(usize, Value, String)]) {
        let streams = self.queue.streams().to_vec();
        let sample = |(stream, value, _): &(usize, Value, String)| Sample {
            stream: streams[*stream].0,
            value: value.clone(),
            quality: Quality::Good,
        };
        let capture = Capture {
            group: streams[values[0].0].1,
            at: self.clock.mono(),
            samples: values.iter().map(sample).collect(),
            missing: Vec::<(StreamId, _)>::new(),
        };
        let accepted = self.queue.accept(capture).await.unwrap();
        for (stream, _, digits) in values {
            let name = ["tank.level", "tank.open", "pump.speed"][*stream];
            let identity = (accepted.epoch.to_string(), name.to_owned(), accepted.sequence);
            assert_eq!(self.accepted.insert(identity, digits.clone()), None);
        }
    }
}

#[tokio::test]
async fn every_accepted_reading_arrives_although_the_broker_is_killed_twice() {
    let mut broker = Broker::start(|_| "allow_anonymous true".into()).await;
    let (inbox, subscription) = subscribe(broker.port, "witness", "fieldgate/#");
    inbox.subscribed.notified().await;
    eventually("the broker will remember the subscription", LONG, async || {
        broker.database_mentions("fieldgate/#")
    })
    .await;

    let gateway = Gateway::start(&configured(&format!("mqtt://127.0.0.1:{}", broker.port), ""));
    let directory = tempfile::tempdir().unwrap();
    let queue = queue(directory.path(), &gateway.rim.clock);
    let (destination, _) = queue.destinations()[0].clone();
    let options = DrainOptions {
        window: WINDOW,
        linger: Duration::ZERO,
        hold_untrusted: Duration::ZERO,
        ..DrainOptions::default()
    };
    let link: Arc<dyn Link> = gateway.link.clone();
    gateway.supervisor.spawn(drain::lane(
        link,
        destination,
        queue.clone(),
        gateway.rim.clone(),
        options,
        Arc::clone(&gateway.board),
        gateway.stop.clone(),
    ));
    let clock = Arc::clone(&gateway.rim.clock);
    let mut producer = Producer { queue: queue.clone(), clock, count: 0, accepted: BTreeMap::new() };

    producer.accept(60).await;
    eventually("the first readings arrived", LONG, async || !inbox.messages().is_empty()).await;

    // It dies with messages on their way that it never read.
    broker.freeze();
    producer.accept(20).await;
    gateway.reaches("messages wait for an answer", |state| state.in_flight > 0).await;
    broker.kill();
    producer.accept(20).await;
    gateway.reaches("the link noticed", |state| state.phase != LinkPhase::Up && state.in_flight == 0).await;
    broker.restart().await;
    gateway.is(LinkPhase::Up).await;

    // It dies while messages and their answers are on their way.
    producer.accept(60).await;
    let arrived = inbox.messages().len();
    producer.accept(10).await;
    eventually("more arrived", LONG, async || inbox.messages().len() > arrived).await;
    broker.kill();
    producer.accept(20).await;
    broker.restart().await;
    producer.accept(20).await;

    let accepted: BTreeSet<_> = producer.accepted.clone().into_iter().collect();
    eventually("everything accepted arrived", LONG, async || {
        let arrived: BTreeSet<_> = readings(&inbox.messages()).into_iter().collect();
        accepted.difference(&arrived).next().is_none()
    })
    .await;
    let arrived: BTreeSet<_> = readings(&inbox.messages()).into_iter().collect();
    assert_eq!(arrived.difference(&accepted).collect::<Vec<_>>(), Vec::<&(Identity, String)>::new());

    eventually("the books agree", LONG, async || {
        queue.flush().await;
        let books = queue.status().borrow().destination(destination);
        books.queued == 0 && books.acknowledged == accepted.len() as u64 && books.set_aside == 0
    })
    .await;

    // A repetition is the same bytes; each kill leaves at most a window of messages to repeat.
    let bodies: Vec<_> = inbox.messages().into_iter().map(|message| (message.topic, message.body)).collect();
    let distinct: BTreeSet<_> = bodies.iter().collect();
    assert!(
        bodies.len() - distinct.len() <= 2 * WINDOW,
        "{} of {}",
        bodies.len() - distinct.len(),
        bodies.len()
    );
    assert_eq!(gateway.is(LinkPhase::Up).await.handshakes, 3);
    gateway.stops().await;
    subscription.abort();
}

#[tokio::test]
async fn a_wrong_password_is_told_in_words_and_the_right_one_works() {
    let broker = Broker::start(|directory| {
        broker::run(directory, "mosquitto_passwd", &["-b", "-c", "passwords", "gw-1", PASSWORD]);
        format!("allow_anonymous false\npassword_file {}/passwords", directory.display())
    })
    .await;
    let address = format!("mqtt://127.0.0.1:{}", broker.port);

    let wrong = Gateway::start(&configured(&address, "username = \"gw-1\"\npassword_credential = \"wrong\""));
    let state = wrong.is(LinkPhase::Sick).await;
    assert!(state.words.contains("Check username and the password's file or credential"), "{}", state.words);
    assert!(!format!("{state:?}{wrong_link:?}", wrong_link = wrong.link).contains("staple"), "{state:?}");
    let outcome = wrong.link.send(&message("a/b", "1"), LONG).await;
    let Outcome::LinkSick { why, next_step } = outcome else { panic!("{outcome:?}") };
    assert!(!why.is_empty() && next_step.contains("password"));
    assert!(!*wrong.link.up().borrow());
    wrong.stops().await;

    let right = Gateway::start(&configured(&address, "username = \"gw-1\"\npassword_credential = \"right\""));
    assert_eq!(right.link.send(&message("a/b", "1"), LONG).await, Outcome::Acknowledged);
    assert!(*right.link.up().borrow());
    right.stops().await;
}

#[tokio::test]
async fn a_broker_that_falls_silent_costs_an_unknown_and_a_new_connection() {
    let broker = Broker::start(|_| "allow_anonymous true".into()).await;
    let gateway = Gateway::start(&configured(&format!("mqtt://127.0.0.1:{}", broker.port), ""));
    gateway.is(LinkPhase::Up).await;
    broker.freeze();
    let unanswered = message("a/b", "1");
    let (outcome, owing) = tokio::join!(
        gateway.link.send(&unanswered, Duration::from_secs(2)),
        gateway.reaches("it says that an answer is owed", |state| state.owed_since.is_some()),
    );
    assert_eq!((outcome, owing.phase), (Outcome::Unknown, LinkPhase::Up));
    broker.thaw();
    assert_eq!(gateway.link.send(&message("a/b", "1"), LONG).await, Outcome::Acknowledged);
    let state = gateway.reaches("nothing is owed any more", |state| state.in_flight == 0).await;
    assert_eq!((state.handshakes, state.phase, state.owed_since), (2, LinkPhase::Up, None));
    gateway.stops().await;
}

#[tokio::test]
async fn another_client_with_the_same_id_is_named_as_the_likely_cause() {
    let broker = Broker::start(|_| "allow_anonymous true".into()).await;
    let gateway = Gateway::start(&configured(&format!("mqtt://127.0.0.1:{}", broker.port), ""));
    let state = loop {
        let state = gateway
            .reaches("connected or sick", |s| matches!(s.phase, LinkPhase::Up | LinkPhase::Sick))
            .await;
        if state.phase == LinkPhase::Sick {
            break state;
        }
        take_over(broker.port, "gw-1").await.unwrap();
        let taken = state.handshakes;
        gateway.reaches("thrown out", |s| s.phase != LinkPhase::Up || s.handshakes > taken).await;
    };
    assert!(state.words.contains("another client seems to use the client id \"gw-1\""), "{}", state.words);
    assert_eq!(state.handshakes, 3);
    gateway.stops().await;
}

#[tokio::test]
async fn a_components_newest_state_stays_at_the_broker() {
    let broker = Broker::start(|_| "allow_anonymous true".into()).await;
    let gateway = Gateway::start(&configured(&format!("mqtt://127.0.0.1:{}", broker.port), ""));
    for (version, state) in [("1.0.0", 3), ("1.1.0", 0)] {
        let report = Report::Component {
            package: "main".into(),
            version: Some(version.into()),
            target: None,
            state,
            reason: 0,
        };
        assert_eq!(gateway.link.report(report).await, Outcome::Acknowledged);
    }
    assert!(gateway.link.events().is_none());
    gateway.stops().await;

    let (inbox, subscription) = subscribe(broker.port, "later", "fieldgate/+/firmware/+");
    eventually("the retained state arrives", LONG, async || !inbox.messages().is_empty()).await;
    let messages = inbox.messages();
    assert_eq!(messages.len(), 1);
    assert_eq!((messages[0].topic.as_str(), messages[0].retained), ("fieldgate/gw-1/firmware/main", true));
    let body: serde_json::Value = serde_json::from_slice(&messages[0].body).unwrap();
    assert_eq!((&body["version"], &body["state"]), (&"1.1.0".into(), &0.into()));
    subscription.abort();
}

#[tokio::test]
async fn a_page_of_the_firmware_log_goes_to_its_own_topic_as_it_is() {
    let broker = Broker::start(|_| "allow_anonymous true".into()).await;
    let (inbox, subscription) = subscribe(broker.port, "log", "fieldgate/+/firmware_log");
    let gateway = Gateway::start(&configured(&format!("mqtt://127.0.0.1:{}", broker.port), ""));
    let page = br#"{"rows":[],"next":"x","more":false}"#.to_vec();
    // A subscription that comes after a message misses it; a page may come twice anyway.
    eventually("the page arrives", LONG, async || {
        let report = Report::FirmwareLog { page: page.clone() };
        assert_eq!(gateway.link.report(report).await, Outcome::Acknowledged);
        !inbox.messages().is_empty()
    })
    .await;
    let first = &inbox.messages()[0];
    assert_eq!((first.topic.as_str(), first.retained), ("fieldgate/gw-1/firmware_log", false));
    assert_eq!(first.body, page);
    gateway.stops().await;
    subscription.abort();
}

#[tokio::test]
async fn what_no_broker_takes_is_refused_without_asking_one() {
    let gateway = Gateway::start(&configured("mqtt://127.0.0.1:1", ""));
    let long = "x".repeat(fieldgate::clouds::mqtt::MAX_MESSAGE_BYTES + 1);
    let outcome = gateway.link.send(&message("a/b", &long), LONG).await;
    assert_eq!(outcome, Outcome::TooLarge { limit: Some(fieldgate::clouds::mqtt::MAX_MESSAGE_BYTES) });
    for topic in ["", "a/+", "a/#", "a\0b"] {
        assert!(
            matches!(gateway.link.send(&message(topic, "1"), LONG).await, Outcome::Bad { .. }),
            "{topic:?}"
        );
    }
    let state = gateway.is(LinkPhase::Waiting).await;
    assert!(state.words.contains("127.0.0.1:1 cannot be reached"), "{}", state.words);
    gateway.stops().await;
}

/// A gateway without a battery-backed clock, before anything told it the time.
#[derive(Debug)]
struct Year1970(SystemClock);

impl Clock for Year1970 {
    fn mono(&self) -> Mono {
        self.0.mono()
    }

    fn wall(&self) -> Wall {
        Wall { unix_ms: 42, uncertainty_ms: u32::MAX, trusted: false }
    }

    fn boot_id(&self) -> BootId {
        self.0.boot_id()
    }
}

#[tokio::test]
async fn over_tls_only_a_broker_somebody_vouches_for_gets_readings() {
    let broker = Broker::start(|directory| {
        let openssl = |arguments: &str| {
            broker::run(directory, "openssl", &arguments.split(' ').collect::<Vec<_>>());
        };
        openssl("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=Plant -keyout ca.key -out ca.pem -addext keyUsage=critical,keyCertSign");
        openssl("req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=broker -keyout server.key -out server.csr -addext subjectAltName=IP:127.0.0.1");
        openssl("x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -copy_extensions copy -out server.pem");
        let at = directory.display();
        format!("allow_anonymous true\ncafile {at}/ca.pem\ncertfile {at}/server.pem\nkeyfile {at}/server.key")
    })
    .await;
    let address = format!("mqtts://127.0.0.1:{}", broker.port);
    let ca_file = |name: &str| format!("ca_file = \"{}\"", broker.path(name).display());

    let trusting = Gateway::start(&configured(&address, &ca_file("ca.pem")));
    assert_eq!(trusting.link.send(&message("a/b", "1"), LONG).await, Outcome::Acknowledged);
    assert_eq!(trusting.is(LinkPhase::Up).await.words, "connected");
    trusting.stops().await;

    let clockless = Gateway::start_at(
        &configured(&address, &ca_file("ca.pem")),
        Arc::new(Year1970(SystemClock::new(true, None))),
    );
    assert_eq!(clockless.link.send(&message("a/b", "1"), LONG).await, Outcome::Acknowledged);
    assert!(clockless.is(LinkPhase::Up).await.words.contains("wait for a trusted clock"));
    clockless.stops().await;

    for (keys, words) in [
        (String::new(), "is not signed by anyone in the system's certificates. Set ca_file"),
        (ca_file("server.key"), "holds no certificate"),
        (ca_file("missing.pem"), "missing.pem cannot be read"),
    ] {
        let gateway = Gateway::start(&configured(&address, &keys));
        let state = gateway.is(LinkPhase::Sick).await;
        assert!(state.words.contains(words), "{}", state.words);
        gateway.stops().await;
    }

    let plain = Gateway::start(&configured(&address.replace("mqtts", "mqtt"), ""));
    let state = plain.reaches("it says what is wrong", |state| state.words.contains("mqtts://")).await;
    assert!(matches!(state.phase, LinkPhase::Waiting | LinkPhase::Sick), "{state:?}");
    plain.stops().await;
}
