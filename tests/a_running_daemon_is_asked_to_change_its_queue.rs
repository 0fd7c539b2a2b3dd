//! The promise: `queue retry` and `queue drop` do on a running daemon what they do on a stopped one. The books close, who
//! asked is in the audit, and nobody but root and the daemon's own user is heard.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail by panicking")]

#[path = "support/store.rs"]
mod support;

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use fieldgate::clock::Mono;
use fieldgate::reading::Class;
use fieldgate::store::queue::{OpenOptions, StreamSpec};
use fieldgate_coap::Code;
use fieldgate_sim::cloud::{Fault, FaultKind};
use fieldgate_sim::gateway::books::{self, Account, Books};
use fieldgate_sim::gateway::child::Start;
use fieldgate_sim::gateway::eventually;
use fieldgate_sim::gateway::surroundings::{Surroundings, Wanted};
use fieldgate_sim::relay::RelayProfile;
use nix::unistd::Pid;
use support::{Hand, capture, options, spec, steps};

const FIELDGATE: &str = env!("CARGO_BIN_EXE_fieldgate");
const NOBODY: u32 = 65_534;

/// A gateway whose two brokers are never there, so that what waits goes on waiting.
struct Installed {
    dir: tempfile::TempDir,
    /// Shared by several daemons, as two services could by mistake.
    runtime: Option<PathBuf>,
}

impl Installed {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        std::fs::create_dir(&state).unwrap();
        for folder in [dir.path(), &state] {
            std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        let text = format!(
            "[gateway]\nserial = \"gw-1\"\nstate_dir = \"{}\"\n[store]\nballast = \"1MiB\"\n[http]\nlisten = \"off\"\n\
             [[mqtt]]\nname = \"plant\"\nbroker = \"mqtt://127.0.0.1:1\"\n[[mqtt]]\nname = \"lab\"\nbroker = \"mqtt://127.0.0.1:2\"\n",
            state.display()
        );
        #[allow(clippy::disallowed_methods, reason = "the test plays the operator")]
        std::fs::write(dir.path().join("fieldgate.toml"), text).unwrap();
        Self { dir, runtime: None }
    }

    fn state(&self, name: &str) -> PathBuf {
        self.dir.path().join("state").join(name)
    }

    fn socket(&self) -> PathBuf {
        self.state("control")
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(FIELDGATE);
        command.arg("--config").arg(self.dir.path().join("fieldgate.toml")).args(words);
        command
            .env_remove("CREDENTIALS_DIRECTORY")
            .env_remove("NOTIFY_SOCKET")
            .env_remove("RUNTIME_DIRECTORY");
        command.stdin(Stdio::null());
        command
    }

    fn say(&self, words: &[&str]) -> (i32, String, String) {
        heard(&mut self.command(words))
    }

    /// Starts the daemon and returns once operators are heard.
    fn run(&self) -> Running {
        let running = self.start();
        let socket = self.runtime.as_ref().map_or_else(|| self.socket(), |folder| folder.join("control"));
        for _ in 0..6000 {
            if std::os::unix::net::UnixStream::connect(&socket).is_ok() {
                return running;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("nobody listens at {}", socket.display());
    }

    /// Starts the daemon and returns once it says that it is ready.
    fn start(&self) -> Running {
        let socket = self.dir.path().join("notify");
        let _ = std::fs::remove_file(&socket);
        let notify = UnixDatagram::bind(&socket).unwrap();
        notify.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut command = self.command(&["run"]);
        if let Some(runtime) = &self.runtime {
            command.env("RUNTIME_DIRECTORY", runtime);
        }
        command.env("NOTIFY_SOCKET", &socket).stdout(Stdio::null()).stderr(Stdio::null());
        let running = Running(command.spawn().unwrap());
        let mut buffer = [0; 512];
        loop {
            let len = notify.recv(&mut buffer).expect("the daemon never said that it is ready");
            if String::from_utf8_lossy(&buffer[..len]).lines().any(|line| line == "READY=1") {
                return running;
            }
        }
    }

    /// Ten instants of two streams wait for both brokers, each instant its own commit. Returns the numbers of the segments.
    fn fill(&self) -> Vec<i64> {
        let mut hand = opened(self.state("queue.db"), 5);
        let [(level, group), (flow, _)] = hand.writer.stream_ids()[..] else { panic!("two streams") };
        for n in 0..10 {
            hand.now = hand.now.plus(Duration::from_secs(1));
            hand.accept(capture(group, hand.now, vec![steps(level, n), steps(flow, 100 + n)])).unwrap();
        }
        hand.close();
        let file = fieldgate::store::sqlite::open_reader(&self.state("queue.db")).unwrap();
        let mut ids = file.prepare("SELECT id FROM segments ORDER BY id").unwrap();
        ids.query_map([], |r| r.get(0)).unwrap().map(Result::unwrap).collect()
    }

    fn books(&self) -> serde_json::Value {
        let (code, said, trouble) = self.say(&["queue", "verify", "--json"]);
        assert_eq!(code, 0, "the books do not close: {said}{trouble}");
        serde_json::from_str(&said).unwrap()
    }

    /// `dropped` and `queued` of each stream at a destination.
    fn waiting(&self, destination: &str) -> Vec<(String, u64, u64)> {
        let books = self.books();
        let streams = books["streams"].as_array().unwrap().clone();
        let of = |stream: &serde_json::Value| {
            let account = &stream["accounts"][destination];
            let count = |name: &str| account[name].as_u64().unwrap();
            (stream["name"].as_str().unwrap().to_owned(), count("dropped"), count("queued"))
        };
        streams.iter().map(of).collect()
    }

    fn audit(&self) -> Vec<(String, String, String, serde_json::Value)> {
        audit(&self.state("gateway.db"))
    }
}

/// Who, what, with what outcome, and the details.
fn audit(path: &Path) -> Vec<(String, String, String, serde_json::Value)> {
    let file = fieldgate::store::sqlite::open_reader(path).unwrap();
    let mut rows = file.prepare("SELECT who, action, outcome, detail FROM audit ORDER BY id").unwrap();
    let rows = rows.query_map([], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get::<_, String>(3)?))).unwrap();
    rows.map(Result::unwrap)
        .map(|(who, action, outcome, detail)| (who, action, outcome, serde_json::from_str(&detail).unwrap()))
        .collect()
}

fn heard(command: &mut Command) -> (i32, String, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (status.code().unwrap_or(-1), text(stdout), text(stderr))
}

fn opened(path: PathBuf, epoch: u64) -> Hand {
    let streams: Vec<StreamSpec> = vec![
        spec("tank.level", "tank", Class::Telemetry, &["plant", "lab"]),
        spec("tank.flow", "tank", Class::Telemetry, &["plant", "lab"]),
    ];
    let options: OpenOptions = options(path, streams, &["plant", "lab"], epoch);
    Hand::open(options, Mono(1_000_000_000)).unwrap()
}

/// A daemon that does not outlive its test.
struct Running(Child);

impl Running {
    fn stop(mut self) {
        let pid = Pid::from_raw(self.0.id().try_into().unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        assert_eq!(self.0.wait().unwrap().code(), Some(0));
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn own_uid() -> String {
    format!("uid {}", nix::unistd::getuid())
}

fn drop_waiting<'w>(through: &'w str, rest: &[&'w str]) -> Vec<&'w str> {
    let words =
        ["queue", "drop", "waiting", "--destination", "plant", "--class", "telemetry", "--through", through];
    [&words[..], rest].concat()
}

#[test]
fn what_waits_is_given_up_by_a_running_daemon_and_by_a_stopped_one_alike() {
    for running in [true, false] {
        let gateway = Installed::new();
        let segments = gateway.fill();
        let daemon = gateway.run();
        let daemon = if running {
            Some(daemon)
        } else {
            daemon.stop();
            None
        };
        let through = segments[3].to_string();
        let (code, said, trouble) = gateway.say(&drop_waiting(&through, &[]));
        assert_eq!((code, trouble.as_str()), (0, ""), "{said}");
        assert!(said.contains("8 readings of class telemetry wait for plant"), "{said}");
        let (code, said, trouble) = gateway.say(&drop_waiting(&through, &["--yes"]));
        assert_eq!((code, trouble.as_str()), (0, ""), "{said}");
        assert!(said.contains("8 readings of class telemetry are given up for plant"), "{said}");
        let of = |dropped, queued| {
            [("tank.level".to_owned(), dropped, queued), ("tank.flow".to_owned(), dropped, queued)]
        };
        assert_eq!(gateway.waiting("plant"), of(4, 6));
        assert_eq!(gateway.waiting("lab"), of(0, 10), "the other still gets them");
        let audit = gateway.audit();
        let [asked, done] = &audit[..] else { panic!("{audit:?}") };
        let (code, said, trouble) = gateway.say(&["audit"]);
        assert_eq!((code, trouble.as_str()), (0, ""), "{said}");
        let lines: Vec<_> = said.lines().collect();
        let [titles, first, second, ..] = lines[..] else { panic!("{said}") };
        assert!(titles.starts_with("#  when") && titles.contains("outcome"), "{said}");
        assert!(first.contains("queue.drop_waiting plant  asked"), "{said}");
        assert!(second.contains("queue.drop_waiting plant  done"), "{said}");
        let (code, said, _) = gateway.say(&["audit", "--last", "1", "--json"]);
        let row: serde_json::Value = serde_json::from_str(&said).unwrap();
        assert_eq!((code, &row["id"], &row["detail"]["moved"]), (0, &2.into(), &8.into()), "{said}");
        assert_eq!(
            (&asked.0, asked.1.as_str(), asked.2.as_str()),
            (&own_uid(), "queue.drop_waiting", "asked")
        );
        assert_eq!(asked.3["request"]["drop_waiting"]["through"], segments[3]);
        assert_eq!((&done.0, done.2.as_str(), &done.3["moved"]), (&own_uid(), "done", &8.into()));
        let (_, said, _) = gateway.say(&["queue", "ls"]);
        assert!(
            said.contains("dropped for plant: 4 of tank.level, operator, numbers 1 to 4 of epoch "),
            "{said}"
        );
        if let Some(daemon) = daemon {
            daemon.stop();
            assert_eq!(gateway.waiting("plant"), of(4, 6), "and after its end");
        }
    }
}

#[test]
fn one_stream_is_given_up_and_the_others_among_it_go_on_waiting_under_their_identity() {
    let gateway = Installed::new();
    let segments = gateway.fill();
    let daemon = gateway.run();
    let exported = || -> Vec<serde_json::Value> {
        let words = ["queue", "export", "--destination", "plant", "--stream", "tank.level"];
        let (code, said, trouble) = gateway.say(&words);
        assert_eq!(code, 0, "{trouble}");
        let mut lines: Vec<serde_json::Value> =
            said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        lines.sort_by_key(|line| line["sequence"].as_u64());
        lines
    };
    let before = exported();
    let through = segments[6].to_string();
    let (_, said, _) = gateway.say(&drop_waiting(&through, &["--stream", "tank.flow"]));
    assert!(said.contains("7 readings of tank.flow of class telemetry wait for plant"), "{said}");
    let (code, said, trouble) = gateway.say(&drop_waiting(&through, &["--stream", "tank.flow", "--yes"]));
    assert_eq!((code, trouble.as_str()), (0, ""), "{said}");
    assert!(said.contains("7 readings of tank.flow of class telemetry are given up for plant"), "{said}");
    assert!(said.contains("7 readings of other streams stood among them"), "{said}");
    assert_eq!(gateway.waiting("plant"), [("tank.level".to_owned(), 0, 10), ("tank.flow".to_owned(), 7, 3)]);
    assert_eq!(gateway.waiting("lab"), [("tank.level".to_owned(), 0, 10), ("tank.flow".to_owned(), 0, 10)]);
    assert_eq!(exported(), before, "the same readings under the same identities");
    let (code, _, trouble) = gateway.say(&drop_waiting(&through, &["--stream", "tank.lvl", "--yes"]));
    assert_eq!(code, 1);
    assert!(
        trouble.contains("there is no segment") || trouble.contains("knows no stream tank.lvl"),
        "{trouble}"
    );
    daemon.stop();
    gateway.books();
}

#[test]
fn a_segment_that_is_not_there_is_answered_with_those_that_are() {
    let gateway = Installed::new();
    let segments = gateway.fill();
    let daemon = gateway.run();
    let absent = (segments[9] + 100).to_string();
    let (code, said, trouble) = gateway.say(&drop_waiting(&absent, &["--yes"]));
    assert_eq!((code, said.as_str()), (1, ""));
    assert!(trouble.contains(&format!("there is no segment {absent}")), "{trouble}");
    let those = format!("Of class telemetry there are 10, from {} to {}", segments[0], segments[9]);
    assert!(trouble.contains(&those), "{trouble}");
    daemon.stop();
    assert!(gateway.audit().is_empty(), "nothing was asked of the queue");
}

#[test]
fn nothing_to_retry_is_said_and_no_fault_and_a_number_that_is_not_there_is_one() {
    let gateway = Installed::new();
    gateway.fill();
    let daemon = gateway.run();
    for words in
        [&["queue", "retry", "--all-of", "plant"][..], &["queue", "drop", "set-aside", "--all-of", "plant"]]
    {
        let (code, said, trouble) = gateway.say(words);
        assert_eq!((code, trouble.as_str()), (0, ""), "{words:?}: {said}");
        assert!(
            said.contains("nothing is set aside of what plant was sent; there is nothing to do"),
            "{said}"
        );
    }
    let (code, _, trouble) = gateway.say(&["queue", "retry", "77"]);
    assert_eq!(code, 1);
    assert!(trouble.contains("nothing is set aside under the number 77"), "{trouble}");
    let (code, _, trouble) = gateway.say(&["queue", "retry", "--all-of", "plnt"]);
    assert_eq!(code, 1);
    assert!(trouble.contains("no destination plnt is configured. There are: plant, lab"), "{trouble}");
    daemon.stop();
}

/// Nothing in the folder is touched as root: its owner may have put there what he likes.
#[test]
fn with_the_daemon_stopped_root_changes_the_queue_as_the_daemons_user() {
    use std::os::unix::fs::MetadataExt as _;
    if !nix::unistd::getuid().is_root() {
        println!("only root can become another user");
        return;
    }
    let gateway = Installed::new();
    let segments = gateway.fill();
    gateway.run().stop();
    let state = gateway.dir.path().join("state");
    let owned = |path: &Path| std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    let files = || std::fs::read_dir(&state).unwrap().map(|entry| entry.unwrap().path());
    files().for_each(|path| owned(&path));
    owned(&state);
    // A file of root's that the daemon's user cannot write, in the place of one that root would have written.
    let roots = gateway.dir.path().join("roots");
    std::fs::copy(gateway.dir.path().join("fieldgate.toml"), &roots).unwrap();
    std::fs::set_permissions(&roots, std::fs::Permissions::from_mode(0o600)).unwrap();
    let before = std::fs::read(&roots).unwrap();
    std::os::unix::fs::symlink(&roots, state.join("queue.db-probe")).unwrap();
    let (code, said, trouble) = gateway.say(&drop_waiting(&segments[3].to_string(), &["--yes"]));
    assert_eq!((code, trouble.as_str()), (0, ""), "{said}");
    assert_eq!(std::fs::read(&roots).unwrap(), before);
    assert_eq!(std::fs::metadata(&roots).unwrap().uid(), 0);
    for path in files().filter(|path| !path.is_symlink()) {
        assert_eq!(std::fs::metadata(&path).unwrap().uid(), NOBODY, "{}", path.display());
    }
    let audit = gateway.audit();
    assert_eq!(audit.last().map(|row| (row.0.as_str(), row.2.as_str())), Some(("uid 0", "done")));
    // What only root can open is opened by nobody.
    std::os::unix::fs::chown(gateway.state("queue.db"), Some(0), Some(0)).unwrap();
    std::fs::set_permissions(gateway.state("queue.db"), std::fs::Permissions::from_mode(0o600)).unwrap();
    let (code, said, _) = gateway.say(&drop_waiting(&segments[5].to_string(), &["--yes"]));
    assert_ne!(code, 0, "{said}");
    assert_eq!(gateway.audit().len(), audit.len());
}

#[test]
fn another_user_is_refused_by_the_file_system_and_by_the_daemon() {
    if !nix::unistd::getuid().is_root() {
        println!(
            "only root can become another user; who may ask is decided by control::may_ask, tested there"
        );
        return;
    }
    let gateway = Installed::new();
    gateway.fill();
    let daemon = gateway.run();
    let program = gateway.dir.path().join("fieldgate");
    std::fs::copy(FIELDGATE, &program).unwrap();
    let ask = || {
        let mut command = Command::new(&program);
        command.arg("--config").arg(gateway.dir.path().join("fieldgate.toml"));
        command.args(["queue", "retry", "--all-of", "plant"]).uid(NOBODY).gid(NOBODY);
        heard(&mut command)
    };
    let lock = gateway.state("lock");
    std::fs::set_permissions(&lock, std::fs::Permissions::from_mode(0o644)).unwrap();
    let (code, said, trouble) = ask();
    assert_eq!((code, said.as_str()), (1, ""));
    assert!(trouble.contains("this user may not ask the daemon at"), "{trouble}");
    // As if somebody had opened the socket to everybody: the daemon asks the kernel who it is.
    std::fs::set_permissions(gateway.socket(), std::fs::Permissions::from_mode(0o666)).unwrap();
    let (code, said, trouble) = ask();
    assert_eq!((code, said.as_str()), (1, ""));
    assert!(trouble.contains(&format!("user {NOBODY} may not change the queue: only root and")), "{trouble}");
    // A lock that this user cannot even look at.
    std::fs::set_permissions(&lock, std::fs::Permissions::from_mode(0o600)).unwrap();
    let (code, _, trouble) = ask();
    assert_eq!(code, 1);
    assert!(trouble.contains("Only root and the user the daemon runs as may"), "{trouble}");
    daemon.stop();
    assert!(gateway.audit().is_empty(), "what was refused is no change");
}

#[test]
fn a_killed_daemons_socket_is_in_nobodys_way() {
    let gateway = Installed::new();
    gateway.fill();
    drop(gateway.run());
    assert!(gateway.socket().exists(), "a kill leaves it");
    // With nobody running it is no sign of life.
    let (code, said, trouble) = gateway.say(&["queue", "retry", "--all-of", "plant"]);
    assert_eq!((code, trouble.as_str()), (0, ""), "{said}");
    let daemon = gateway.run();
    let (code, said, trouble) = gateway.say(&["queue", "retry", "--all-of", "plant"]);
    assert_eq!((code, trouble.as_str()), (0, ""), "{said}");
    daemon.stop();
    assert!(!gateway.socket().exists());
}

#[test]
fn a_daemon_whose_place_is_taken_is_not_confused_with_who_took_it() {
    let runtime = tempfile::tempdir().unwrap();
    let shared = |gateway: Installed| Installed { runtime: Some(runtime.path().to_owned()), ..gateway };
    let (first, second) = (shared(Installed::new()), shared(Installed::new()));
    let segments = first.fill();
    assert_eq!(second.fill(), segments);
    let running = first.run();
    let (other, through) = (second.start(), segments[0].to_string());
    let (code, _, trouble) = second.say(&drop_waiting(&through, &["--yes"]));
    assert_eq!(code, 1);
    assert!(
        trouble.contains("the daemon that listens here has another state folder; nothing was changed"),
        "{trouble}"
    );
    let (code, said, trouble) = first.say(&drop_waiting(&through, &["--yes"]));
    assert_eq!((code, trouble.as_str()), (0, ""), "{said}");
    assert!(second.audit().is_empty());
    other.stop();
    let (code, _, trouble) = first.say(&["queue", "retry", "--all-of", "plant"]);
    assert_eq!(code, 0, "the socket of who lives is still there: {trouble}");
    running.stop();
}

/// All streams' at Golioth.
fn account(books: &Books) -> Account {
    let mut sum = Account::default();
    for account in books.streams.iter().filter_map(|stream| stream.accounts.get("golioth")) {
        sum.acknowledged += account.acknowledged;
        sum.dropped += account.dropped;
        sum.set_aside += account.set_aside;
        sum.queued += account.queued;
    }
    sum
}

const MINUTE: Duration = Duration::from_secs(60);

/// Readings that the cloud refused for their content are sent again while the daemon runs, and it has them then.
#[tokio::test]
async fn what_was_set_aside_reaches_the_cloud_without_the_daemon_being_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let wanted = Wanted {
        seed: 7,
        network: RelayProfile::default(),
        baud: 19_200,
        period: Duration::from_secs(1),
        commit_window: Duration::from_millis(200),
        linger: Duration::from_millis(500),
        window: 4,
        whole: false,
    };
    let around = Surroundings::make(&wanted, folder.path()).await.unwrap();
    // Refused until a message of one reading is, which is then set aside; enough for a few.
    around.cloud.with(|cloud, _| {
        let refused = FaultKind::Answer { code: Code::BAD_REQUEST, max_age: None };
        cloud.set_fault(Fault::new(refused).path(".s/").times(24));
    });
    let program = PathBuf::from(FIELDGATE);
    let start = Start {
        program: program.clone(),
        config: around.config.clone(),
        folder: folder.path().to_owned(),
        sabotage: None,
        clock: around.clock,
    };
    let mut daemon = start.start().unwrap();
    daemon.ready(MINUTE).await.unwrap();
    let read = || async { books::read(&program, &around.config).await.unwrap() };
    let until = async |holds: &dyn Fn(&Books) -> bool| {
        let every = Duration::from_millis(200);
        let found =
            eventually(around.clock, every, 2 * MINUTE, || async { Some(read().await).filter(holds) }).await;
        match found {
            Some(books) => books,
            None => panic!("it never came to that: {:?}", account(&read().await)),
        }
    };
    let before = until(&|books| account(books).set_aside > 0 && account(books).acknowledged > 0).await;
    let aside = account(&before).set_aside;
    let asked = tokio::process::Command::new(FIELDGATE)
        .arg("--config")
        .arg(&around.config)
        .args(["queue", "retry", "--all-of", "golioth"])
        .env_remove("RUNTIME_DIRECTORY")
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&asked.stdout).into_owned();
    assert!(asked.status.success(), "{said}{}", String::from_utf8_lossy(&asked.stderr));
    let moved: u64 = said.split(' ').next().unwrap().parse().unwrap();
    assert!(moved >= aside, "{said}");
    assert!(said.contains("go out as the link and the data plan allow"), "{said}");
    // Those that were held are acknowledged now, and none is held twice.
    let held: Vec<_> = before.held.iter().filter(|run| run.set_aside).cloned().collect();
    assert!(!held.is_empty());
    let after = until(&|books| account(books).set_aside == 0 && account(books).queued < 40).await;
    assert_eq!(account(&after).dropped, 0);
    for run in &held {
        let still = |now: &books::HeldRun| {
            now.stream == run.stream
                && now.epoch == run.epoch
                && now.sequences.0 <= run.sequences.1
                && run.sequences.0 <= now.sequences.1
        };
        until(&|books| !books.held.iter().any(still)).await;
    }
    let state = around.config.parent().unwrap().join("state");
    let audit = audit(&state.join("gateway.db"));
    assert_eq!(audit.len(), 2, "{audit:?}");
    assert_eq!((&audit[1].0, audit[1].2.as_str(), &audit[1].3["moved"]), (&own_uid(), "done", &moved.into()));
    daemon.stop(MINUTE).await.unwrap();
}
