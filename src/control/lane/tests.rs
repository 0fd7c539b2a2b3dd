//! The lane on real sockets and in virtual time: a test's own connections are served by the same thread.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::json;
use tokio::net::UnixStream;

use super::*;
use crate::board::Board;
use crate::clock::Clock;
use crate::control::{Done, MAX_NUMBERS, ProbeVerdict, Probed};
use crate::daemon::rim;
use crate::daemon::supervisor::Supervisor;
use crate::store::gateway::tests::{clock, open};
use crate::store::queue::{ClassQuotas, DestinationSpec, Epoch, OpenOptions};

#[derive(Debug)]
struct Canned;

#[async_trait]
impl Prober for Canned {
    async fn probe(&self) -> Vec<Probed> {
        let words = "a pipeline takes it".to_owned();
        let (verdict, unrouted) = (ProbeVerdict::Open, None);
        vec![Probed { destination: "golioth".into(), verdict, words, unrouted, bytes: 412 }]
    }
}

struct Bench {
    dir: tempfile::TempDir,
    state: StateId,
    stop: CancellationToken,
    board: Arc<Board>,
    supervisor: Supervisor,
}

impl Bench {
    fn socket(&self) -> PathBuf {
        self.dir.path().join("control")
    }

    async fn start() -> Self {
        Self::start_in(tempfile::tempdir().unwrap())
    }

    fn start_in(dir: tempfile::TempDir) -> Self {
        let clock: Arc<dyn Clock> = clock(1);
        let gateway = open(dir.path(), 1, 1);
        let options = OpenOptions {
            path: dir.path().join("queue.db"),
            streams: Vec::new(),
            destinations: vec![DestinationSpec { name: "plant".into() }],
            commit_window: Duration::from_secs(1),
            max_bytes: 1 << 20,
            class_quotas: ClassQuotas::new(),
            ballast_bytes: 0,
            flash_budget_per_day: None,
            boot: clock.boot_id(),
            epoch: Epoch(1),
            file_id: 1,
        };
        let (queue, pump) = Queue::open_inline(options, &clock).unwrap();
        tokio::spawn(pump);
        let lock = fs::File::options().write(true).create(true).truncate(true).open(dir.path().join("lock"));
        let state = StateId::of(&lock.unwrap()).unwrap();
        let (stop, board) = (CancellationToken::new(), Board::shared());
        let rim = rim::machine::rim(clock);
        let supervisor = Supervisor::new(rim.clone(), Arc::clone(&board), stop.clone());
        let parts = Parts { state, queue, gateway, prober: Arc::new(Canned) };
        supervisor.spawn(lane(dir.path().join("control"), parts, rim, stop.clone()));
        Self { dir, state, stop, board, supervisor }
    }

    async fn connect(&self) -> UnixStream {
        connect(&self.socket()).await
    }

    /// Says it and returns the answer.
    async fn say(&self, line: &[u8]) -> Answer {
        let mut stream = self.connect().await;
        // A request that is refused for its length is not read to its end.
        let _ = stream.write_all(line).await;
        hear(stream).await
    }

    async fn ask(&self, request: serde_json::Value) -> Answer {
        let line = format!("{}\n", json!({ "of": self.state, "request": request }));
        self.say(line.as_bytes()).await
    }
}

async fn connect(socket: &Path) -> UnixStream {
    for _ in 0..1000 {
        if let Ok(stream) = UnixStream::connect(socket).await {
            return stream;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("nobody listens at {}", socket.display());
}

/// One line: what follows it may be the reset of a connection whose request was not read to its end.
async fn hear(stream: UnixStream) -> Answer {
    let mut line = Vec::new();
    BufReader::new(stream).read_until(b'\n', &mut line).await.unwrap();
    serde_json::from_slice(&line).unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&line)))
}

fn refusal(answer: Answer) -> String {
    match answer {
        Answer::Refused(why) => why,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_is_answered_and_whatever_is_none_is_refused_by_name() {
    let bench = Bench::start().await;
    let done = bench.ask(json!({ "retry": { "numbers": [5] } })).await;
    assert_eq!(done, Answer::Done(Done { unknown: vec![5], ..Done::default() }));
    let none = bench.ask(json!({ "retry": { "all_of": "plant" } })).await;
    assert_eq!(none, Answer::Done(Done::default()));
    assert_eq!(bench.ask(json!("probe")).await, Answer::Probed(Canned.probe().await));
    for (request, words) in [
        (
            json!({ "retry": { "all_of": "nowhere" } }),
            "no destination nowhere is configured. There are: plant",
        ),
        (json!({ "forget": { "all_of": "plant" } }), "the request is not understood"),
        (json!({ "retry": { "numbers": vec![1; MAX_NUMBERS + 1] } }), "more than 4096 numbers at once"),
        (
            json!({ "drop_waiting": { "destination": "plant", "class": "alarm", "through": i64::MAX } }),
            "is not of class alarm",
        ),
        (
            json!({ "drop_waiting": { "destination": "plant", "class": "x", "through": 1 } }),
            "the classes are",
        ),
    ] {
        let why = refusal(bench.ask(request).await);
        assert!(why.contains(words), "{words}: {why}");
    }
    for (line, words) in [
        (&b"\xff\xfe\n"[..], "is not understood"),
        (b"{}\n", "is not understood"),
        (&vec![b' '; 200_000], "longer than 65536 bytes"),
    ] {
        let why = refusal(bench.say(line).await);
        assert!(why.contains(words), "{words}: {why}");
    }
    let elsewhere = json!({ "of": { "device": 1, "inode": 1 }, "request": { "retry": { "numbers": [1] } } });
    let why = refusal(bench.say(format!("{elsewhere}\n").as_bytes()).await);
    assert!(why.contains("has another state folder; nothing was changed"), "{why}");
}

#[tokio::test(start_paused = true)]
async fn who_says_nothing_is_told_so_and_keeps_no_place() {
    let bench = Bench::start().await;
    let mut silent = Vec::new();
    for _ in 0..SLOTS * 3 {
        silent.push(bench.connect().await);
    }
    // Behind all of them.
    assert_eq!(bench.ask(json!({ "retry": { "all_of": "plant" } })).await, Answer::Done(Done::default()));
    for stream in silent {
        let why = refusal(hear(stream).await);
        assert!(why.contains("did not come within 5 s"), "{why}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_socket_of_a_dead_daemon_is_replaced_and_goes_with_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("control");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let bench = Bench::start_in(dir);
    assert_eq!(bench.ask(json!({ "retry": { "all_of": "plant" } })).await, Answer::Done(Done::default()));
    use std::os::unix::fs::PermissionsExt as _;
    let made = fs::symlink_metadata(&path).unwrap();
    assert_eq!(made.permissions().mode() & 0o777, 0o660);
    bench.stop.cancel();
    bench.supervisor.stopped(Duration::from_secs(10)).await;
    assert!(!path.exists(), "it is left behind");
}

#[tokio::test(start_paused = true)]
async fn the_socket_of_a_living_program_and_any_other_file_are_left_alone_and_the_lane_says_so() {
    let listens = tempfile::tempdir().unwrap();
    let living = std::os::unix::net::UnixListener::bind(listens.path().join("control")).unwrap();
    let other = tempfile::tempdir().unwrap();
    fs::File::options().write(true).create(true).truncate(true).open(other.path().join("control")).unwrap();
    for (dir, words) in [(listens, "another program listens"), (other, "is no socket and was left as it is")]
    {
        let before = fs::symlink_metadata(dir.path().join("control")).unwrap().ino();
        let bench = Bench::start_in(dir);
        let mut tries = 0;
        let said = loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let lanes = format!("{:?}", bench.board.lanes.all());
            tries += 1;
            if lanes.contains(words) || tries == 100 {
                break lanes;
            }
        };
        assert!(said.contains(words), "{words}: {said}");
        assert_eq!(fs::symlink_metadata(bench.socket()).unwrap().ino(), before);
    }
    drop(living);
}

#[tokio::test(start_paused = true)]
async fn whoever_is_being_heard_when_the_daemon_ends_is_told_so() {
    let bench = Bench::start().await;
    let stream = bench.connect().await;
    // Its place has been taken: the lane answers another that came later.
    assert!(matches!(bench.ask(json!({ "retry": { "numbers": [5] } })).await, Answer::Done(_)));
    bench.stop.cancel();
    assert!(refusal(hear(stream).await).contains("the daemon is stopping; nothing was changed"));
    let socket = bench.socket();
    bench.supervisor.stopped(Duration::from_secs(60)).await;
    assert!(!socket.exists());
}
