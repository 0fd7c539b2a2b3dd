//! The lane that listens: at most [`SLOTS`] connections, one request each, of bounded length and within a time limit.
//!
//! A change that has begun goes on when whoever asked has gone: what is done is on record either way. Where the lane ends
//! first, the change ends between two of its steps, and that too is on record.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Answer, Asked, LINE_BYTES, Prober, Request, StateId, Until, carry_out, may_ask};
use crate::daemon::rim::Rim;
use crate::daemon::supervisor::{Lane, LaneError, Progress};
use crate::store::gateway::Gateway;
use crate::store::queue::Queue;

/// Connections served at once; more wait in the kernel's queue.
const SLOTS: usize = 4;
/// A request must have come within this, and its answer be taken.
const LINE_TIME: Duration = Duration::from_secs(5);
/// A change may take this long; what is not done then, is not done.
const CHANGE_TIME: Duration = Duration::from_secs(600);
/// Changes that are cut off by the lane's end have this long to say so.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// The lane turns at least this often.
const TURN: Duration = Duration::from_secs(30);

/// Who listens, and what for.
#[derive(Clone, Debug)]
pub struct Parts {
    /// The state folder's.
    pub state: StateId,
    /// Its readings.
    pub queue: Queue,
    /// Its audit.
    pub gateway: Gateway,
    /// Who sends probes.
    pub prober: Arc<dyn Prober>,
}

/// The lane `control`, listening at `socket`.
#[must_use]
pub fn lane(socket: PathBuf, parts: Parts, rim: Rim, stop: CancellationToken) -> Lane {
    let socket = Arc::new(socket);
    Lane::new("control", move |progress| {
        let (socket, rim, stop) = (Arc::clone(&socket), rim.clone(), stop.clone());
        let parts = parts.clone();
        async move {
            let door = Door::open(&socket, &rim).await.map_err(LaneError::new)?;
            tracing::debug!(socket = %socket.display(), "operators are heard");
            listen(&door.listener, parts, &rim, &progress, &stop).await;
            Ok(())
        }
    })
}

async fn listen(
    listener: &UnixListener,
    parts: Parts,
    rim: &Rim,
    progress: &Progress,
    stop: &CancellationToken,
) {
    let own = nix::unistd::geteuid().as_raw();
    let mut served = JoinSet::new();
    loop {
        progress.advanced();
        progress.waiting("waiting for an operator", TURN * 2);
        let taken = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some(_) = served.join_next() => continue,
            taken = listener.accept(), if served.len() < SLOTS => taken,
            () = rim.sleep(TURN) => continue,
        };
        match taken {
            Ok((stream, _)) => {
                served.spawn(serve(stream, own, parts.clone(), stop.clone()));
            }
            // Out of descriptors: a pause lets that pass.
            Err(error) => {
                tracing::debug!(%error, "an operator's connection could not be taken");
                rim.sleep(Duration::from_millis(100)).await;
            }
        }
    }
    tokio::select! {
        biased;
        () = async { while served.join_next().await.is_some() {} } => {}
        () = rim.sleep(LAST_WORDS) => {}
    }
}

async fn serve(mut stream: UnixStream, own: u32, parts: Parts, stop: CancellationToken) {
    let answer = answer(&mut stream, own, &parts, &stop).await.unwrap_or_else(Answer::Refused);
    let Ok(mut line) = serde_json::to_vec(&answer) else { return };
    line.push(b'\n');
    // Whoever asked may have gone, or does not listen.
    let _ = tokio::time::timeout(LINE_TIME, stream.write_all(&line)).await;
}

async fn answer(
    stream: &mut UnixStream,
    own: u32,
    parts: &Parts,
    stop: &CancellationToken,
) -> Result<Answer, String> {
    // SO_PEERCRED: the user at the time of the connect, by the kernel's word.
    let uid = stream.peer_cred().map_err(|e| format!("the system does not say who asks: {e}"))?.uid();
    if let Err(refused) = may_ask(uid, own) {
        tracing::warn!(uid, "an operator is refused: neither root nor the daemon's own user");
        return Err(refused.to_string());
    }
    let Asked { of, request } = tokio::select! {
        biased;
        () = stop.cancelled() => return Err("the daemon is stopping; nothing was changed".to_owned()),
        asked = tokio::time::timeout(LINE_TIME, read(stream)) => {
            asked.map_err(|_| "the request did not come within 5 s; nothing was changed".to_owned())??
        }
    };
    if of != parts.state {
        return Err("the daemon that listens here has another state folder; nothing was changed. Give each daemon a runtime \
                    directory of its own"
            .into());
    }
    tracing::info!(uid, ?request, "an operator asks");
    if request == Request::Probe {
        let probed = tokio::time::timeout(CHANGE_TIME, parts.prober.probe()).await;
        return probed.map(Answer::Probed).map_err(|_| "the probe was not answered within 10 minutes".into());
    }
    let until = Until { limit: Some(CHANGE_TIME), stop: stop.clone() };
    let done = carry_out(&parts.queue, Some(&parts.gateway), uid, &request, &until).await?;
    Ok(Answer::Done(done))
}

async fn read(stream: &mut UnixStream) -> Result<Asked, String> {
    let mut line = Vec::new();
    let mut limited = BufReader::new(stream).take(LINE_BYTES);
    limited.read_until(b'\n', &mut line).await.map_err(|e| format!("the request broke off: {e}"))?;
    if line.pop() != Some(b'\n') {
        return Err(format!(
            "the request is longer than {LINE_BYTES} bytes, or broke off; nothing was changed"
        ));
    }
    serde_json::from_slice(&line).map_err(|e| {
        format!("the request is not understood ({e}); nothing was changed. Is the program of the daemon's release?")
    })
}

/// A listening socket and its name, which goes with it.
struct Door {
    listener: UnixListener,
    path: PathBuf,
    inode: u64,
}

impl Door {
    async fn open(path: &Path, rim: &Rim) -> Result<Self, String> {
        let wrong = |e: io::Error| {
            format!(
                "operators cannot be heard at {}: {e}. May this user write there, and is the path at most 107 bytes?",
                path.display()
            )
        };
        make_way(path).await?;
        let listener = rim.net.listen_local(path).map_err(wrong)?;
        let inode = fs::symlink_metadata(path).map_err(wrong)?.ino();
        listener.set_nonblocking(true).map_err(wrong)?;
        Ok(Self { listener: UnixListener::from_std(listener).map_err(wrong)?, path: path.to_owned(), inode })
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|found| found.ino() == self.inode) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Removes the socket that a killed daemon left. One that somebody listens at, and any other file, stays.
async fn make_way(path: &Path) -> Result<(), String> {
    let there = match fs::symlink_metadata(path) {
        Ok(there) => there,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(format!("{}: {e}", path.display())),
    };
    if !there.file_type().is_socket() {
        return Err(format!(
            "{} is no socket and was left as it is; operators cannot be heard. Move it away",
            path.display()
        ));
    }
    match UnixStream::connect(path).await {
        Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(|e| format!("{} cannot be removed: {e}", path.display()))
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        // Answered, or too busy to: somebody lives there.
        Ok(_) | Err(_) => Err(format!(
            "another program listens at {}; it was left alone, and operators are not heard by this daemon. Give each daemon \
             a runtime directory of its own",
            path.display()
        )),
    }
}

#[cfg(test)]
mod tests;
