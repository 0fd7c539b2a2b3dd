//! A real broker: Debian's mosquitto on a free loopback port, with its files in a directory of its own.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::eventually;

const MOSQUITTO: &str = "/usr/sbin/mosquitto";

pub(crate) struct Broker {
    directory: tempfile::TempDir,
    pub(crate) port: u16,
    child: Child,
}

impl Broker {
    /// Starts it with these further lines of configuration, made from the directory; waits until it listens.
    pub(crate) async fn start(settings: impl Fn(&Path) -> String) -> Self {
        assert!(Path::new(MOSQUITTO).exists(), "{MOSQUITTO} is missing: apt-get install mosquitto");
        let directory = tempfile::tempdir().unwrap();
        let configuration = directory.path().join("mosquitto.conf");
        // Between finding a free port and taking it somebody else may: then another one is tried.
        for _ in 0..10 {
            let port = free_port();
            let mut text = format!("listener {port} 127.0.0.1\n{}\n", settings(directory.path()));
            // As root it would otherwise become another user, who may not read this directory.
            writeln!(
                text,
                "user root\npersistence true\npersistence_location {}/",
                directory.path().display()
            )
            .unwrap();
            // The database is written at every change of a session, and readings wait in it for who is away.
            text += "autosave_on_changes true\nautosave_interval 1\nqueue_qos0_messages true\n";
            text += "max_queued_messages 0\nlog_dest file ";
            writeln!(text, "{}", directory.path().join("log").display()).unwrap();
            #[allow(clippy::disallowed_methods, reason = "a test's file need not survive a power cut")]
            std::fs::write(&configuration, text).unwrap();
            let mut child = spawn(&configuration);
            if listening(&mut child, port).await {
                return Self { directory, port, child };
            }
        }
        panic!("mosquitto does not start: {}", log(directory.path()));
    }

    pub(crate) fn database_mentions(&self, words: &str) -> bool {
        std::fs::read(self.directory.path().join("mosquitto.db"))
            .is_ok_and(|bytes| bytes.windows(words.len()).any(|window| window == words.as_bytes()))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// It neither reads nor answers, but its socket stays open.
    pub(crate) fn freeze(&self) {
        kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGSTOP).unwrap();
    }

    pub(crate) fn thaw(&self) {
        kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGCONT).unwrap();
    }

    /// SIGKILL: it finishes nothing.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) async fn restart(&mut self) {
        self.child = spawn(&self.directory.path().join("mosquitto.conf"));
        assert!(listening(&mut self.child, self.port).await, "{}", log(self.directory.path()));
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(configuration: &Path) -> Child {
    Command::new(MOSQUITTO)
        .arg("-c")
        .arg(configuration)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Waits until it listens; false when it ended instead.
async fn listening(child: &mut Child, port: u16) -> bool {
    let mut alive = true;
    eventually("mosquitto listens or ends", Duration::from_secs(30), async || {
        alive = child.try_wait().unwrap().is_none();
        !alive || tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok()
    })
    .await;
    alive
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn log(directory: &Path) -> String {
    std::fs::read_to_string(directory.join("log")).unwrap_or_default()
}

/// Runs a tool to its end in the directory.
pub(crate) fn run(directory: &Path, tool: &str, arguments: &[&str]) {
    let output = Command::new(tool)
        .args(arguments)
        .current_dir(directory)
        .output()
        .unwrap_or_else(|error| panic!("{tool} is missing ({error}): apt-get install {tool}"));
    assert!(output.status.success(), "{tool} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}
