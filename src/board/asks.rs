//! What may be asked of lanes, of the log and of the machine, by rooms that do not know them.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::{Mutex, mpsc, oneshot, watch};

use crate::config::{Liveness, LogLevel};
use crate::logs::Logs;

/// See the module head.
#[derive(Debug)]
pub struct Asks {
    /// What is in force instead of the configuration.
    pub tuning: watch::Sender<Tuning>,
    /// Counts how often everything that waits was asked to leave now.
    pub flush: watch::Sender<u64>,
    /// The modem's.
    pub console: Console,
    /// The process and its machine; set once by whoever started the daemon, or never.
    pub hands: OnceLock<Arc<dyn Hands>>,
    /// The daemon's own log; set once by whoever started the daemon, or never.
    pub logs: OnceLock<Arc<Logs>>,
}

impl Default for Asks {
    fn default() -> Self {
        Self {
            tuning: watch::Sender::default(),
            flush: watch::Sender::new(0),
            console: Console::default(),
            hands: OnceLock::new(),
            logs: OnceLock::new(),
        }
    }
}

/// Values in force instead of the configuration's, where there are any. Each is within the bounds of its key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tuning {
    /// `log.level`.
    pub log_level: Option<LogLevel>,
    /// `log.cloud`; none inside means off.
    pub log_cloud: Option<Option<LogLevel>>,
    /// `store.commit_window`.
    pub commit_window: Option<Duration>,
    /// `golioth.liveness`.
    pub liveness: Option<Liveness>,
    /// `modem.poll`.
    pub modem_poll: Option<Duration>,
    /// `time.hold_untrusted`.
    pub hold_untrusted: Option<Duration>,
    /// `uplink.linger`.
    pub linger: Option<Duration>,
    /// `uplink.window`.
    pub window: Option<u8>,
}

/// What the process and its machine can be made to do.
pub trait Hands: Send + Sync + std::fmt::Debug {
    /// Whether the machine would reboot if asked.
    ///
    /// # Errors
    /// In words: why not, and what to do about it.
    fn may_reboot(&self) -> Result<(), String>;

    /// Asks for the reboot.
    ///
    /// # Errors
    /// In words.
    fn reboot(&self) -> Result<(), String>;

    /// Stops the daemon cleanly; whoever keeps it starts it again.
    fn restart(&self);
}

/// One command for the modem, and where its answer goes: lines, or why there are none.
#[derive(Debug)]
pub struct ConsoleAsk {
    /// The command, without its end.
    pub command: String,
    /// Dropped when the modem is lost before it answers.
    pub reply: oneshot::Sender<Result<Vec<String>, String>>,
}

/// The modem's console: one command at a time, each between two questions of the modem's lane.
#[derive(Debug)]
pub struct Console {
    ask: mpsc::Sender<ConsoleAsk>,
    /// Held by one life of the modem's lane.
    pub asked: Mutex<mpsc::Receiver<ConsoleAsk>>,
}

impl Default for Console {
    fn default() -> Self {
        let (ask, asked) = mpsc::channel(1);
        Self { ask, asked: Mutex::new(asked) }
    }
}

impl Console {
    /// The modem's lines to a command.
    ///
    /// # Errors
    /// In words, why there is no answer.
    pub async fn ask(&self, command: String) -> Result<Vec<String>, String> {
        let (reply, answer) = oneshot::channel();
        let busy = || "another command waits for the modem; ask again".to_owned();
        self.ask.try_send(ConsoleAsk { command, reply }).map_err(|_| busy())?;
        answer.await.unwrap_or_else(|_| Err("the modem was lost before it answered".into()))
    }
}
