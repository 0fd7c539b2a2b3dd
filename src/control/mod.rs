//! The control socket: what an operator on this box asks of the running daemon (requirement H6). The page stays read-only;
//! what changes something comes in here, one request a connection, one line of JSON each way.
//!
//! - Here are the words of a request and its answer, where the socket is, and who may ask: root and the daemon's own user.
//! - [`lane`] listens: few connections, short requests, each within a time limit.
//! - [`mod@carry_out`] does what is asked, on the queue's own writer. With the daemon stopped the command line calls it
//!   itself, so that both are one code.
//! - [`client`] asks.
//! - A [`Prober`] answers the one request that changes nothing.
//!
//! Invariants: the daemon that holds the lock of the state folder is the one that listens; where it listens stands in that
//! lock file, so that whoever finds the lock taken knows where to ask. Nobody is answered whose user the kernel did not vouch
//! for. A change is in the audit before it is begun, and again with its outcome.

pub mod carry_out;
pub mod client;
pub mod lane;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

pub use carry_out::{Until, carry_out};

/// The longest request and the longest answer, bytes.
pub const LINE_BYTES: u64 = 64 * 1024;
/// As many numbers are taken in one request.
pub const MAX_NUMBERS: usize = 4096;
/// The file name of the socket.
const SOCKET: &str = "control";
/// Linux takes no longer path of a file.
const PATH_BYTES: u64 = 4096;

/// A line of JSON: what is asked, and of whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// The state folder it is about. Whoever listens for another one refuses.
    pub of: StateId,
    /// What is asked.
    pub request: Request,
}

/// A state folder, by its lock file's device and inode: the same under whatever path and in whatever sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateId {
    device: u64,
    inode: u64,
}

impl StateId {
    /// Of the folder with this lock file.
    ///
    /// # Errors
    /// What the file system says.
    pub fn of(lock: &File) -> io::Result<Self> {
        let about = lock.metadata()?;
        Ok(Self { device: about.dev(), inode: about.ino() })
    }
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Send readings that were set aside again.
    Retry(Which),
    /// Give up readings that were set aside.
    DropSetAside(Which),
    /// Give up readings that wait.
    DropWaiting(Waiting),
    /// Send a probe to every destination that takes one, and wait for what becomes of it. Changes nothing.
    Probe,
}

/// Which readings that were set aside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Which {
    /// Those of these numbers, at most [`MAX_NUMBERS`].
    Numbers(Vec<i64>),
    /// All that this destination refused.
    AllOf(String),
}

/// Which readings that wait: for a destination, of a class, from the oldest on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// For which destination.
    pub destination: String,
    /// The class by its name.
    pub class: String,
    /// Up to and with this segment.
    pub through: i64,
    /// Only of this stream.
    pub stream: Option<String>,
}

/// What came of it. A line of JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It was done.
    Done(Done),
    /// What became of the probes.
    Probed(Vec<Probed>),
    /// It was not, or not all of it, in words for the operator.
    Refused(String),
}

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// Readings sent again, or given up.
    pub moved: u64,
    /// Of those set aside: left where they were. They can only be given up.
    pub left: u64,
    /// Of those that wait: other streams' readings that stood among them, now at the end of the queue.
    pub behind: u64,
    /// Numbers under which nothing is set aside.
    pub unknown: Vec<i64>,
    /// Why it is not in the audit, if it is not.
    pub not_audited: Option<String>,
}

/// What became of the probe to a destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probed {
    /// Which.
    pub destination: String,
    /// What it means for readings.
    pub verdict: ProbeVerdict,
    /// In words: what happened, what it means, what to do.
    pub words: String,
    /// Where no pipeline took it: the content type that one is needed for.
    pub unrouted: Option<String>,
    /// What it cost, as charged to the data plan.
    pub bytes: u64,
}

/// What a probe says of the way that readings take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProbeVerdict {
    /// It leads to its end.
    Open,
    /// It leads to the cloud's door; nobody can look further.
    Unknown,
    /// It does not.
    Broken,
}

/// Sends probes.
#[async_trait]
pub trait Prober: Send + Sync + std::fmt::Debug {
    /// To every destination that takes one, and waits for what becomes of them: minutes at most.
    async fn probe(&self) -> Vec<Probed>;
}

/// Who asks is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "user {uid} may not change the queue: only root and the user the daemon runs as ({own}) may. Try: sudo fieldgate …"
)]
pub struct NotYours {
    /// Who asked, as the kernel says. 65534 also stands for a user that the daemon's sandbox does not see.
    pub uid: u32,
    /// The daemon's own user.
    pub own: u32,
}

/// Whether a user may ask a daemon that runs as `own`.
///
/// # Errors
/// [`NotYours`].
pub fn may_ask(uid: u32, own: u32) -> Result<(), NotYours> {
    if uid == 0 || uid == own { Ok(()) } else { Err(NotYours { uid, own }) }
}

/// Where the daemon of this state folder listens: in the runtime directory that systemd gave it, else beside its state.
#[must_use]
pub fn place(state_dir: &Path, runtime_directory: Option<OsString>) -> PathBuf {
    // systemd.exec(5): several directories are separated by colons.
    let first = runtime_directory
        .as_deref()
        .and_then(|all| all.as_bytes().split(|byte| *byte == b':').next())
        .filter(|first| !first.is_empty());
    let folder = first.map_or(state_dir, |first| Path::new(OsStr::from_bytes(first)));
    std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned()).join(SOCKET)
}

/// Writes into the lock file where the daemon that holds it listens. Touches the disk only where it says something else.
///
/// # Errors
/// What the file system says.
pub fn announce(lock: &File, socket: &Path) -> io::Result<()> {
    if announced(lock)?.as_deref() == Some(socket) {
        return Ok(());
    }
    let mut lock = lock;
    lock.set_len(0)?;
    lock.rewind()?;
    lock.write_all(socket.as_os_str().as_bytes())
}

/// Where the daemon that holds this lock file listens, as far as it has said so.
///
/// # Errors
/// What the file system says.
pub fn announced(lock: &File) -> io::Result<Option<PathBuf>> {
    let mut lock = lock;
    let mut path = Vec::new();
    lock.rewind()?;
    lock.take(PATH_BYTES).read_to_end(&mut path)?;
    Ok((!path.is_empty()).then(|| PathBuf::from(OsString::from_vec(path))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_and_the_daemons_own_user_may_ask_and_nobody_else() {
        assert_eq!(may_ask(0, 998), Ok(()));
        assert_eq!(may_ask(998, 998), Ok(()));
        assert_eq!(may_ask(0, 0), Ok(()));
        for other in [1, 997, 999, 65_534, u32::MAX] {
            assert_eq!(may_ask(other, 998), Err(NotYours { uid: other, own: 998 }));
            assert!(may_ask(other, 0).is_err(), "not of a daemon that runs as root either");
        }
    }

    #[test]
    fn the_socket_is_in_the_first_runtime_directory_or_beside_the_state() {
        let state = Path::new("/var/lib/fieldgate");
        let at = |runtime: &str| place(state, Some(runtime.into()));
        assert_eq!(at("/run/fieldgate"), Path::new("/run/fieldgate/control"));
        assert_eq!(at("/run/one:/run/two"), Path::new("/run/one/control"));
        assert_eq!(at(""), Path::new("/var/lib/fieldgate/control"));
        assert_eq!(place(state, None), Path::new("/var/lib/fieldgate/control"));
    }

    #[test]
    fn a_lock_file_says_where_its_newest_holder_listens() {
        let lock = tempfile::tempfile().unwrap();
        assert_eq!(announced(&lock).unwrap(), None);
        for socket in ["/a/longer/place/control", "/run/x/control"] {
            announce(&lock, Path::new(socket)).unwrap();
            announce(&lock, Path::new(socket)).unwrap();
            assert_eq!(announced(&lock).unwrap().as_deref(), Some(Path::new(socket)));
        }
    }

    #[test]
    fn a_request_is_one_line_whatever_its_names_hold() {
        let asked = Request::DropWaiting(Waiting {
            destination: "a \"b\"\nc".into(),
            class: "telemetry".into(),
            through: i64::MAX,
            stream: None,
        });
        let line = serde_json::to_string(&asked).unwrap();
        assert!(!line.contains('\n'), "{line}");
        assert_eq!(serde_json::from_str::<Request>(&line).unwrap(), asked);
        assert_eq!(
            serde_json::to_string(&Request::Retry(Which::Numbers(vec![1, 2]))).unwrap(),
            r#"{"retry":{"numbers":[1,2]}}"#
        );
    }
}
