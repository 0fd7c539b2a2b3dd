//! `fieldgate status`: asks the running daemon over its own page's API, so that both always say the same.
//!
//! The verdict and what to do next come first, then what matters of everything else, within one screen: [`summary`].

mod summary;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

use self::summary::summary;
use crate::config::Config;
use crate::http::own_address;

/// The longest answer that is read.
const ANSWER: u64 = 1 << 20;

/// How much is printed.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(super) struct Shape {
    /// Print the answer as JSON, whole.
    #[arg(long, conflicts_with = "all")]
    json: bool,
    /// Print every fact, a line each.
    #[arg(long)]
    all: bool,
}

pub(super) fn status(config: &Config, shape: Shape) -> ExitCode {
    let Some(http) = &config.http else {
        eprintln!("http.listen is \"off\", so the daemon cannot be asked. Turn it on, or read its log");
        return ExitCode::FAILURE;
    };
    let address = own_address(http);
    match ask(address) {
        Ok(body) if shape.json => {
            println!("{body}");
            ExitCode::SUCCESS
        }
        Ok(body) => match serde_json::from_str::<serde_json::Value>(&body) {
            Ok(status) => {
                print!("{}", if shape.all { in_words(&status, 0) } else { summary(&status) });
                ExitCode::SUCCESS
            }
            Err(error) => fail(&format!("the daemon's answer is not JSON ({error})")),
        },
        Err(error) => fail(&format!(
            "no daemon answers at {address}: {error}. Is it running? Try: systemctl status fieldgate"
        )),
    }
}

fn fail(words: &str) -> ExitCode {
    eprintln!("{words}");
    ExitCode::FAILURE
}

fn ask(address: SocketAddr) -> std::io::Result<String> {
    let timeout = Duration::from_secs(5);
    let mut stream = TcpStream::connect_timeout(&address, timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    write!(stream, "GET /api/gateway/status HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(ANSWER).read_to_string(&mut answer)?;
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.starts_with("HTTP/1.1 200") => Ok(body.to_owned()),
        Some((head, _)) => Err(std::io::Error::other(head.lines().next().unwrap_or_default().to_owned())),
        None => Err(std::io::Error::other("the answer broke off")),
    }
}

/// Nested names and values, one a line, indented: enough for a terminal, and nothing is left out.
fn in_words(value: &serde_json::Value, depth: usize) -> String {
    use std::fmt::Write as _;
    let mut out = String::new();
    let indent = "  ".repeat(depth);
    let mut entry = |name: &str, value: &serde_json::Value| match value {
        serde_json::Value::Object(_) | serde_json::Value::Array(_) => {
            let _ = writeln!(out, "{indent}{name}");
            out.push_str(&in_words(value, depth + 1));
        }
        serde_json::Value::String(text) => {
            let _ = writeln!(out, "{indent}{name}: {text}");
        }
        other => {
            let _ = writeln!(out, "{indent}{name}: {other}");
        }
    };
    match value {
        serde_json::Value::Object(map) => map.iter().for_each(|(name, value)| entry(name, value)),
        serde_json::Value::Array(list) => list.iter().for_each(|value| entry("-", value)),
        _ => {}
    }
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_fact_of_the_answer_is_said() {
        let said = super::in_words(&serde_json::json!({"a": {"b": [1, "x"]}, "c": true}), 0);
        assert_eq!(said, "a\n  b\n    -: 1\n    -: x\nc: true\n");
    }
}
