//! Carries out what pipelines ask of web services: plain HTTP on loopback, one request at a time, nothing repeated.

use super::CloudHandle;
use super::pipelines::Outgoing;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long a service may take.
const PATIENCE: Duration = Duration::from_secs(10);
const LONGEST_ANSWER: u64 = 1 << 20;

/// Never ends.
pub(super) async fn carry(handle: &CloudHandle) {
    loop {
        handle.until(|cloud| !cloud.plane.pipelines.outgoing.is_empty()).await;
        while let Some(request) = handle.with(|cloud, _| cloud.poll_webhook()) {
            let answer = tokio::time::timeout(PATIENCE, post(&request)).await;
            let answer = answer.unwrap_or_else(|_| Err("webhook: no answer in time".to_owned()));
            handle.with(|cloud, now| cloud.webhook_answered(now, request.id, answer));
        }
    }
}

/// Media type and body of a 2xx answer.
async fn post(request: &Outgoing) -> Result<(String, Vec<u8>), String> {
    let (authority, path) = request
        .url
        .strip_prefix("http://")
        .map(|rest| rest.split_once('/').unwrap_or((rest, "")))
        .ok_or("webhook: the simulated cloud only speaks plain HTTP, on loopback")?;
    let address: SocketAddr =
        authority.parse().map_err(|_| "webhook: the url needs an address and a port")?;
    if !address.ip().is_loopback() {
        return Err("webhook: the simulated cloud only reaches services on loopback".to_owned());
    }
    let mut head = format!("POST /{path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n");
    for (name, value) in &request.headers {
        if name.contains(['\r', '\n', ':']) || value.contains(['\r', '\n']) {
            return Err(format!("webhook: the header {name} cannot be sent"));
        }
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!("Content-Length: {}\r\n\r\n", request.body.len()));
    let failed = |error: std::io::Error| format!("webhook: {error}");
    let mut stream = TcpStream::connect(address).await.map_err(failed)?;
    stream.write_all(head.as_bytes()).await.map_err(failed)?;
    stream.write_all(&request.body).await.map_err(failed)?;
    let mut answer = Vec::new();
    stream.take(LONGEST_ANSWER).read_to_end(&mut answer).await.map_err(failed)?;
    read(&answer)
}

fn read(answer: &[u8]) -> Result<(String, Vec<u8>), String> {
    let end =
        answer.windows(4).position(|four| four == b"\r\n\r\n").ok_or("webhook: the answer is no HTTP")?;
    let head = String::from_utf8_lossy(answer.get(..end).unwrap_or_default());
    let body = answer.get(end + 4..).unwrap_or_default();
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).unwrap_or_default();
    if !status.starts_with('2') {
        return Err(format!("webhook: HTTP {status}"));
    }
    let header = |wanted: &str| {
        let mut pairs = head.lines().filter_map(|line| line.split_once(':'));
        pairs.find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value.trim().to_owned())
    };
    let content_type = header("content-type").unwrap_or_else(|| "application/octet-stream".to_owned());
    let length = header("content-length").and_then(|length| length.parse().ok()).unwrap_or(body.len());
    Ok((content_type, body.get(..length).unwrap_or(body).to_vec()))
}
