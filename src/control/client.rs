//! Asking a running daemon, from a program that may wait.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Answer, Asked, LINE_BYTES};

/// A little longer than the daemon gives a change.
const PATIENCE: Duration = Duration::from_secs(660);
/// A daemon that listens takes a request at once.
const SENDING: Duration = Duration::from_secs(5);

/// The daemon could not be asked, or did not answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The socket is not there, or nobody listens.
    #[error(
        "fieldgate runs, but does not answer at {socket} ({error}); nothing was changed. It may be starting or ending: try again \
         in a moment. If it stays so, look at its log: journalctl -u fieldgate", socket = .socket.display()
    )]
    Silent {
        /// Where.
        socket: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// The file system keeps this user away.
    #[error(
        "this user may not ask the daemon at {}; nothing was changed. Only root and the user the daemon runs as may. \
         Try: sudo fieldgate …", .0.display()
    )]
    NotAllowed(PathBuf),
    /// The connection ended, or took too long.
    #[error(
        "the daemon gave no answer ({0}). What it had done by then is done and on record: fieldgate queue ls. Run it again for \
         the rest"
    )]
    NoAnswer(String),
}

/// Asks. Waits as long as a change may take.
///
/// # Errors
/// [`AskError`].
pub fn ask(socket: &Path, asked: &Asked) -> Result<Answer, AskError> {
    let mut stream = UnixStream::connect(socket).map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => AskError::NotAllowed(socket.to_owned()),
        _ => AskError::Silent { socket: socket.to_owned(), error },
    })?;
    let no_answer = |e: io::Error| AskError::NoAnswer(e.to_string());
    stream.set_write_timeout(Some(SENDING)).map_err(no_answer)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(no_answer)?;
    let mut line = serde_json::to_string(asked).map_err(|e| AskError::NoAnswer(e.to_string()))?;
    line.push('\n');
    // One that refuses at once may have closed its side already: its answer is there all the same.
    let sent = stream.write_all(line.as_bytes());
    line.clear();
    let read = BufReader::new(stream.take(LINE_BYTES)).read_line(&mut line);
    match serde_json::from_str(&line) {
        Ok(answer) => Ok(answer),
        Err(_) => Err(AskError::NoAnswer(match sent.and(read) {
            Err(error) => error.to_string(),
            Ok(0) => "the connection ended".into(),
            Ok(_) => "what it says is no answer".into(),
        })),
    }
}
