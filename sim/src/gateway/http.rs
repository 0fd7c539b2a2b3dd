//! One HTTP request at a time, as curl would make it. No library: the daemon's own is not to be trusted here.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// The longest answer that is read.
const LONGEST: u64 = 8 << 20;
/// The daemon answers within this, or does not.
const PATIENCE: Duration = Duration::from_secs(5);

/// What came of a request.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// Nobody answered.
    #[error("no answer: {0}")]
    NoAnswer(#[from] std::io::Error),
    /// Nobody answered in time.
    #[error("no answer within {PATIENCE:?}")]
    Late,
    /// An answer that is not 200.
    #[error("answered {0:?}")]
    Refused(String),
    /// Not HTTP.
    #[error("the answer is not HTTP")]
    NotHttp,
}

/// The body of `GET path`, if it is answered with 200.
///
/// # Errors
/// See [`HttpError`].
pub async fn get(address: SocketAddr, path: &str) -> Result<Vec<u8>, HttpError> {
    let answer = tokio::time::timeout(PATIENCE, ask(address, path)).await.map_err(|_| HttpError::Late)??;
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").ok_or(HttpError::NotHttp)?;
    let (head, body) = answer.split_at(end);
    let line = String::from_utf8_lossy(head.split(|b| *b == b'\r').next().unwrap_or_default()).into_owned();
    if !line.starts_with("HTTP/1.1 200") {
        return Err(HttpError::Refused(line));
    }
    Ok(body.get(4..).unwrap_or_default().to_vec())
}

async fn ask(address: SocketAddr, path: &str) -> Result<Vec<u8>, HttpError> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(LONGEST).read_to_end(&mut answer).await?;
    Ok(answer)
}
