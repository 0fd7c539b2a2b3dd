//! The daemon as a child process: started, watched through systemd's notification socket, measured, ended.
//!
//! [`Daemon`] owns the process; dropping it kills it, and waits until it is dead. It runs in a process group of its own, so that
//! Ctrl-C reaches this program alone, which then ends the daemon: the demonstration in order, a proof at once.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use tokio::net::UnixDatagram;
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

use super::Trouble;
use crate::clock::Clock;
use tokio::sync::watch;

/// As much of the end of a log is shown with an error.
const LOG_END: usize = 4_000;

/// How to start a daemon: the same for every start on one state folder.
#[derive(Debug, Clone)]
pub struct Start {
    /// The program.
    pub program: PathBuf,
    /// Its configuration.
    pub config: PathBuf,
    /// For the notification socket and the log.
    pub folder: PathBuf,
    /// The defect it is to have.
    pub sabotage: Option<String>,
    /// The time line.
    pub clock: Clock,
}

/// A running daemon.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    pid: Pid,
    started: Duration,
    clock: Clock,
    log: PathBuf,
    ready: watch::Receiver<Option<Duration>>,
    listener: JoinHandle<()>,
}

/// Memory of a process, bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Memory {
    /// Its share of the pages it maps (`smaps_rollup`).
    pub pss: u64,
    /// The most it ever had resident (`VmHWM`).
    pub peak_rss: u64,
}

impl Start {
    /// Starts it. Does not wait for anything.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(&self) -> Result<Daemon, Trouble> {
        let socket = self.folder.join("notify");
        // Left over from the start before.
        let _gone = std::fs::remove_file(&socket);
        let heard = UnixDatagram::bind(&socket).map_err(Trouble::system("make a notification socket"))?;
        let log = self.folder.join("fieldgate.log");
        let file = std::fs::File::options()
            .create(true)
            .append(true)
            .open(&log)
            .map_err(Trouble::system(format!("write {}", log.display())))?;
        let mut command = Command::new(&self.program);
        command
            .args(["run", "--config"])
            .arg(&self.config)
            .env("NOTIFY_SOCKET", &socket)
            .env_remove("WATCHDOG_USEC")
            .env_remove("WATCHDOG_PID")
            .env_remove("JOURNAL_STREAM")
            .env_remove("CREDENTIALS_DIRECTORY")
            .env_remove("LISTEN_FDS")
            .env_remove("FIELDGATE_SABOTAGE")
            .envs(self.sabotage.iter().map(|name| ("FIELDGATE_SABOTAGE", name)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::from(file))
            .process_group(0)
            .kill_on_drop(true);
        let started = self.clock.now();
        let child = command.spawn().map_err(Trouble::system(format!("start {}", self.program.display())))?;
        let pid = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
        let Some(pid) = pid else {
            return Err(Trouble::Ended { how: "at once".into(), log: end_of(&log) });
        };
        // So that whoever finds one left behind knows whose it was.
        eprintln!("fieldgate runs as process {pid}, its log is {}", log.display());
        let (said, ready) = watch::channel(None);
        let listener = tokio::spawn(listen(heard, said, self.clock));
        Ok(Daemon { child, pid, started, clock: self.clock, log, ready, listener })
    }
}

impl Daemon {
    /// Waits for `READY=1`; gives the time since it was started.
    ///
    /// # Errors
    /// [`Trouble::Ended`], [`Trouble::Late`].
    pub async fn ready(&mut self, within: Duration) -> Result<Duration, Trouble> {
        let ready = async { self.ready.wait_for(Option::is_some).await.ok().and_then(|at| *at) };
        tokio::select! {
            at = tokio::time::timeout(within, ready) => match at {
                Ok(Some(at)) => Ok(at.saturating_sub(self.started)),
                _ => Err(self.late("READY=1", within)),
            },
            status = self.child.wait() => Err(ended(&self.log, status)),
        }
    }

    /// Whether it has said `READY=1`.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.ready.borrow().is_some()
    }

    /// Since it was started.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.clock.now().saturating_sub(self.started)
    }

    /// Completes with an error if the process ends by itself. Safe to drop and ask again.
    pub async fn dies(&mut self) -> Trouble {
        let status = self.child.wait().await;
        ended(&self.log, status)
    }

    /// Its memory now. All zero once it has ended.
    #[must_use]
    pub fn memory(&self) -> Memory {
        let of = |file: &str, key: &str| -> u64 {
            let text = std::fs::read_to_string(format!("/proc/{}/{file}", self.pid)).unwrap_or_default();
            let line = text.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
            line.split_whitespace().next().and_then(|kb| kb.parse::<u64>().ok()).unwrap_or(0) * 1024
        };
        Memory { pss: of("smaps_rollup", "Pss:"), peak_rss: of("status", "VmHWM:") }
    }

    /// SIGKILL: the power cut of a process.
    ///
    /// # Errors
    /// [`Trouble::Ended`] if it had ended before, by itself.
    pub async fn kill(mut self) -> Result<(), Trouble> {
        if let Ok(Some(status)) = self.child.try_wait() {
            return Err(ended(&self.log, Ok(status)));
        }
        let _gone = kill(self.pid, Signal::SIGKILL);
        self.child.wait().await.map_err(Trouble::system("wait for the killed fieldgate"))?;
        Ok(())
    }

    /// SIGTERM; it must then end with status 0.
    ///
    /// # Errors
    /// [`Trouble::Late`]; [`Trouble::Ended`] with any other status.
    pub async fn stop(mut self, within: Duration) -> Result<(), Trouble> {
        let _gone = kill(self.pid, Signal::SIGTERM);
        match tokio::time::timeout(within, self.child.wait()).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(status) => Err(ended(&self.log, status)),
            Err(_) => Err(self.late("the end after SIGTERM", within)),
        }
    }

    /// An error: `what` did not happen in time.
    #[must_use]
    pub fn late(&self, what: &str, within: Duration) -> Trouble {
        Trouble::Late { what: what.to_owned(), within, log: end_of(&self.log) }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.listener.abort();
        // The id is not given out again before the process was waited for.
        if self.child.id().is_some() && kill(self.pid, Signal::SIGKILL).is_ok() {
            // Nothing survives SIGKILL; left to be collected by its owner, the child handle.
            let _dead = waitid(Id::Pid(self.pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT);
        }
    }
}

/// What `--version` says.
///
/// # Errors
/// When it cannot be run.
pub async fn version(program: &Path) -> Result<String, Trouble> {
    let output = Command::new(program)
        .arg("--version")
        .kill_on_drop(true)
        .output()
        .await
        .map_err(Trouble::system(format!("run {} --version", program.display())))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Takes every datagram, so that the daemon never waits for a full socket, and notes the first `READY=1`.
async fn listen(socket: UnixDatagram, said: watch::Sender<Option<Duration>>, clock: Clock) {
    let mut buffer = [0; 4096];
    while let Ok(length) = socket.recv(&mut buffer).await {
        let at = clock.now();
        let text = String::from_utf8_lossy(buffer.get(..length).unwrap_or_default());
        if text.lines().any(|line| line == "READY=1") {
            said.send_if_modified(|ready| ready.replace(at).is_none());
        }
    }
}

fn ended(log: &Path, status: std::io::Result<ExitStatus>) -> Trouble {
    let how = status.map_or_else(|error| error.to_string(), |status| status.to_string());
    Trouble::Ended { how, log: end_of(log) }
}

fn end_of(log: &Path) -> String {
    let bytes = std::fs::read(log).unwrap_or_default();
    let from = bytes.len().saturating_sub(LOG_END);
    String::from_utf8_lossy(bytes.get(from..).unwrap_or_default()).into_owned()
}
