//! The promise (D6): `fieldgate check --probe` sends one message, marked as none, the way readings take to Golioth, and says in words
//! what became of it, with the pipeline to make where none took it, and what it cost. A daemon that runs sends it over the session
//! it has; while none runs the session that waits on disk is left alone.
//!
//! The program as it is, against the simulated cloud on loopback.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail by panicking")]

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use fieldgate::clouds::golioth::probe::{Fate, probe};
use fieldgate_sim::clock::Clock;
use fieldgate_sim::cloud::{Cloud, CloudConfig, CloudHandle, CloudServer, DeviceConfig};
use fieldgate_sim::world::{self, World, WorldOptions};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio_util::sync::CancellationToken;

const FIELDGATE: &str = env!("CARGO_BIN_EXE_fieldgate");
const KEY: &str = "a-shared-key";

/// A cloud that runs, and a gateway's folder.
struct Bench {
    folder: tempfile::TempDir,
    cloud: CloudHandle,
    udp: SocketAddr,
    http: SocketAddr,
    stop: CancellationToken,
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Bench {
    async fn start() -> Self {
        let config = CloudConfig::new("p", "api-key", vec![DeviceConfig::new("gw-1", "p", KEY)]);
        let clock = Clock::start();
        let cloud = CloudHandle::new(Cloud::new(config, 1, world::UNIX_MS).unwrap(), clock);
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let server = CloudServer::bind(cloud.clone(), any, Some(any)).await.unwrap();
        let (udp, http) = (server.udp_addr(), server.http_addr().unwrap());
        let stop = CancellationToken::new();
        tokio::spawn(server.run(stop.clone()));
        let bench = Self { folder: tempfile::tempdir().unwrap(), cloud, udp, http, stop };
        std::fs::create_dir(bench.path("state")).unwrap();
        bench.configure(KEY, true);
        bench
    }

    fn configure(&self, key: &str, managed: bool) {
        file(&self.path("psk"), key);
        file(&self.path("api-key"), "api-key");
        let mut text = format!(
            "[gateway]\nserial = \"gw-1\"\nstate_dir = {:?}\n[store]\nballast = \"1MiB\"\n[http]\nlisten = \"off\"\n[budget]\nmonth = \"5MiB\"\n[golioth]\n\
             endpoint = \"{}\"\npsk_id = \"gw-1@p\"\npsk_file = {:?}\nstream_path = \"field/one\"\n",
            self.path("state"),
            self.udp,
            self.path("psk"),
        );
        if managed {
            text += &format!(
                "[golioth.rest]\nurl = \"http://{}\"\napi_key_file = {:?}\norganization = \"sim\"\n",
                self.http,
                self.path("api-key")
            );
        }
        file(&self.path("fieldgate.toml"), &text);
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(FIELDGATE);
        command.arg("--config").arg(self.path("fieldgate.toml")).args(words).stdin(Stdio::null());
        for unset in ["CREDENTIALS_DIRECTORY", "NOTIFY_SOCKET", "RUNTIME_DIRECTORY", "JOURNAL_STREAM"] {
            command.env_remove(unset);
        }
        command
    }

    /// What the probe's lines say, from its own on, and how the program ended.
    async fn probe(&self) -> (i32, String) {
        let mut command = self.command(&["check", "--probe"]);
        let heard = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        let said = String::from_utf8(heard.stdout).unwrap();
        let lines = said.find("golioth: ").or(said.find("probe: "));
        let lines = lines.unwrap_or_else(|| panic!("{said}{}", String::from_utf8_lossy(&heard.stderr)));
        (heard.status.code().unwrap(), said[lines.saturating_sub(6)..].to_owned())
    }

    /// A daemon that is connected.
    async fn run(&self) -> Running {
        let running = Running(self.command(&["run"]).stderr(Stdio::null()).spawn().unwrap());
        self.cloud.until(|cloud| cloud.requests_of("gw-1") > Some(0)).await;
        while std::os::unix::net::UnixStream::connect(self.path("state/control")).is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        running
    }

    fn handshakes(&self) -> u64 {
        self.cloud.read(|cloud| cloud.counters().handshakes)
    }

    fn spent(&self) -> u64 {
        spent(&self.path("state/gateway.db"))
    }

    /// Bodies of the messages on the readings' path that are readings, and that are none.
    fn arrived(&self) -> (u64, u64) {
        self.cloud.read(|cloud| (cloud.intake().counts().rows, cloud.intake().counts().foreign))
    }
}

/// What `gateway.db` has on record as spent in this month.
fn spent(gateway_db: &Path) -> u64 {
    let file = rusqlite::Connection::open_with_flags(gateway_db, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY)
        .unwrap();
    let record: String =
        file.query_row("SELECT value FROM meta WHERE key = 'spending'", [], |row| row.get(0)).unwrap();
    let record: serde_json::Value = serde_json::from_str(&record).unwrap();
    let by_purpose = record["home"]["month"]["spent"]["by"].as_array().unwrap();
    by_purpose.iter().map(|bytes| bytes.as_u64().unwrap()).sum()
}

struct Running(Child);

impl Running {
    async fn stop(mut self) {
        kill(Pid::from_raw(self.0.id().cast_signed()), Signal::SIGTERM).unwrap();
        let ended = tokio::task::spawn_blocking(move || self.0.wait().unwrap()).await.unwrap();
        assert!(ended.success());
    }
}

fn file(path: &Path, text: &str) {
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

fn assert_contains(said: &str, all: &[&str]) {
    for words in all {
        assert!(said.contains(words), "{words}: {said}");
    }
}

#[tokio::test]
async fn before_the_first_start_one_that_a_pipeline_takes_is_said_to_arrive_and_is_no_reading() {
    let bench = Bench::start().await;
    let (status, said) = bench.probe().await;
    assert_contains(
        &said,
        &["ok  ", "was accepted on /field/one, and a pipeline took it", "bytes of the data plan"],
    );
    assert_contains(&said, &["its cost is not on record in the data plan: the daemon has not run here yet"]);
    assert_eq!((status, bench.arrived(), bench.handshakes()), (0, (0, 1), 1));
    assert_eq!(std::fs::read_dir(bench.path("state")).unwrap().count(), 0, "nothing was made");
}

#[tokio::test]
async fn one_that_no_pipeline_takes_is_said_to_be_lost_with_the_pipeline_to_make() {
    let bench = Bench::start().await;
    bench.cloud.with(|cloud, _| cloud.set_routes(Vec::new()));
    let (status, said) = bench.probe().await;
    let lost = "FAIL  golioth: probe ";
    assert_contains(
        &said,
        &[lost, "no pipeline took it: readings would be lost there", "bytes of the data plan"],
    );
    assert_contains(
        &said,
        &["path /field/one and content type application/cbor", "      type: cbor-to-json"],
    );
    assert_contains(&said, &["        path: /field/one\n"]);
    assert_eq!(status, 1);
}

#[tokio::test]
async fn without_a_management_key_it_is_said_that_nobody_can_look_further() {
    let bench = Bench::start().await;
    bench.configure(KEY, false);
    let (status, said) = bench.probe().await;
    assert_contains(
        &said,
        &["warn  golioth: probe ", "is not known (delivery beyond acceptance is unverified"],
    );
    assert_eq!((status, bench.arrived()), (0, (0, 1)));
}

#[tokio::test]
async fn a_wrong_key_is_named_and_nothing_is_sent() {
    let bench = Bench::start().await;
    bench.configure("another-key", true);
    let (status, said) = bench.probe().await;
    assert_contains(&said, &["FAIL  golioth: no probe was taken: ", "bytes of the data plan"]);
    assert_eq!((status, bench.arrived(), bench.handshakes()), (1, (0, 0), 0));
}

#[tokio::test]
async fn a_daemon_that_runs_sends_it_over_its_own_session_and_goes_on_with_it() {
    let bench = Bench::start().await;
    let running = bench.run().await;
    let (status, said) = bench.probe().await;
    assert_contains(&said, &["ok  ", "and a pipeline took it", "bytes of the data plan"]);
    assert!(!said.contains("not on record"), "{said}");
    assert_eq!((status, bench.arrived(), bench.handshakes()), (0, (0, 1), 1));
    bench.cloud.with(|cloud, _| cloud.set_routes(Vec::new()));
    let (status, said) = bench.probe().await;
    assert_contains(&said, &["FAIL  golioth: probe ", "type: cbor-to-json"]);
    assert_eq!((status, bench.handshakes()), (1, 1));
    running.stop().await;
}

#[tokio::test]
async fn a_session_that_waits_on_disk_is_left_alone_and_the_cost_is_on_record() {
    let bench = Bench::start().await;
    bench.run().await.stop().await;
    let session = bench.path("state/golioth.session");
    assert!(session.exists());
    let before = bench.spent();
    let (status, said) = bench.probe().await;
    assert_contains(&said, &["and a pipeline took it"]);
    assert!(!said.contains("not on record"), "{said}");
    let cost = said.split_once("It cost ").unwrap().1.split_once(' ').unwrap().0;
    assert_eq!(bench.spent() - before, cost.parse::<u64>().unwrap(), "{said}");
    assert!(session.exists());
    assert_eq!((status, bench.handshakes()), (0, 2), "one of the daemon, one of the probe");
    let requests = bench.cloud.read(|cloud| cloud.requests_of("gw-1"));
    let running = Running(bench.command(&["run"]).stderr(Stdio::null()).spawn().unwrap());
    bench.cloud.until(|cloud| cloud.requests_of("gw-1") > requests).await;
    running.stop().await;
    assert_eq!(bench.handshakes(), 2, "the daemon went on with its session");
}

#[test]
fn a_cloud_out_of_reach_is_said_to_be_within_a_minute_and_a_quarter() {
    world::in_virtual_time(async {
        let world = World::start(&WorldOptions { bus: false, ..WorldOptions::default() }).await.unwrap();
        world.relay(|relay| relay.cut());
        let link = world.device_plane().unwrap();
        let began = world.now();
        let fate = probe(&*link, "sensor", "1a2b", Err("no key"), world.board(), world.rim()).await;
        let Fate::Unreachable(words) = fate else { panic!("{fate:?}") };
        assert!(words.contains("connect") || words.contains("answer"), "{words}");
        assert!(world.now() - began <= Duration::from_secs(76));
    })
    .unwrap();
}

#[test]
fn one_that_the_cloud_acknowledges_and_nobody_can_look_after_says_so() {
    world::in_virtual_time(async {
        let world = World::start(&WorldOptions { bus: false, ..WorldOptions::default() }).await.unwrap();
        let link = world.device_plane().unwrap();
        let fate = probe(&*link, "sensor", "1a2b", Err("no key"), world.board(), world.rim()).await;
        assert_eq!(fate, Fate::Unverified("no key".into()));
        assert_eq!(world.cloud(|cloud, _| cloud.intake().counts().foreign), 1);
    })
    .unwrap();
}
