//! `fieldgate check`: what a technician wants to know before starting the daemon, or when it does not start.
//!
//! Each line is a finding: `ok`, `warn` or `FAIL`, what was looked at, what was found, what to do. Looks only; changes
//! nothing, and holds no port, serial or of the page, longer than it takes to open it. With `--probe` it also sends one message.

mod delivery;
mod probe;

use std::path::Path;
use std::process::ExitCode;

use super::{REFUSED_CONFIGURATION, credentials_directory, queue_file};
use crate::config::{self, Config, Http};
use crate::daemon::rim;
use crate::http::own_address;
use crate::store::queue::Totals;
use crate::store::sqlite;

enum Level {
    Ok,
    Warn,
    Fail,
}

struct Finding(Level, String);

pub(super) fn check(path: &Path, probed: bool) -> ExitCode {
    let loaded = match config::load_without_secrets(path) {
        Ok(loaded) => loaded,
        Err(refused) => {
            eprintln!("{refused}");
            return ExitCode::from(REFUSED_CONFIGURATION);
        }
    };
    let secrets = secrets(path);
    let mut findings = vec![Finding(Level::Ok, format!("configuration: {} is valid", path.display()))];
    findings.extend(loaded.warnings.iter().map(|w| Finding(Level::Warn, w.to_string())));
    findings.extend(secrets);
    findings.extend(all(&loaded.config));
    if probed {
        // It tells more than the lists alone do, and reads them itself.
        findings.extend(probe::findings(&loaded.config, path));
    } else {
        findings.extend(delivery::finding(&loaded.config, path));
    }
    let mut failed = false;
    for Finding(level, words) in findings {
        let mark = match level {
            Level::Ok => "ok  ",
            Level::Warn => "warn",
            Level::Fail => {
                failed = true;
                "FAIL"
            }
        };
        println!("{mark}  {words}");
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// What the daemon would say of its secrets. Credentials that only systemd can pass are not held against the one who asks.
fn secrets(path: &Path) -> Vec<Finding> {
    let Err(refused) = config::load(path, credentials_directory().as_deref()) else {
        return vec![Finding(Level::Ok, "secrets: all can be read".into())];
    };
    let by_systemd = credentials_directory().is_none();
    let level = |problem: &config::Problem| {
        if by_systemd && problem.key.ends_with("_credential") { Level::Warn } else { Level::Fail }
    };
    refused.0.iter().map(|problem| Finding(level(problem), format!("secrets: {problem}"))).collect()
}

fn all(config: &Config) -> Vec<Finding> {
    let mut findings = vec![state_dir(config), queue(config), risk(config)];
    findings.extend(config.buses.iter().map(|bus| port(&format!("bus {}", bus.name), &bus.port)));
    findings.extend(config.modem.iter().map(|modem| port("modem", &modem.port)));
    findings.extend(config.http.as_ref().map(|http| page(config, http)));
    findings.push(thief(config));
    findings
}

fn state_dir(config: &Config) -> Finding {
    let dir = &config.gateway.state_dir;
    let probe = dir.join(".check");
    let written = std::fs::create_dir(&probe).and_then(|()| std::fs::remove_dir(&probe));
    match written {
        Ok(()) => Finding(Level::Ok, format!("state: {} can be written", dir.display())),
        Err(error) => Finding(
            Level::Fail,
            format!(
                "state: {} cannot be written ({error}). Create it and give it to the user fieldgate runs as, or mount the \
                 file system writable",
                dir.display()
            ),
        ),
    }
}

fn queue(config: &Config) -> Finding {
    let path = queue_file(config);
    if !path.exists() {
        return Finding(Level::Ok, format!("queue: {} will be made at the first start", path.display()));
    }
    match crate::store::queue::verify::verify(&path) {
        Ok(verified) if verified.problems.is_empty() => {
            let wait = |(name, totals): (&String, &Totals)| format!("{} wait for {name}", totals.queued);
            let queued: Vec<String> = verified.destinations.iter().map(wait).collect();
            Finding(
                Level::Ok,
                format!(
                    "queue: the books agree; {}",
                    if queued.is_empty() { "no destination".to_owned() } else { queued.join(", ") }
                ),
            )
        }
        Ok(verified) => Finding(
            Level::Fail,
            format!(
                "queue: {} {}, the first: {}. Run: fieldgate queue verify",
                verified.problems.len(),
                if verified.problems.len() == 1 { "disagreement" } else { "disagreements" },
                verified.problems.first().map_or("", String::as_str)
            ),
        ),
        Err(error @ sqlite::OpenError::Damaged { .. }) => Finding(
            Level::Warn,
            format!("queue: {error}. The daemon will move it aside at its next start and begin a new one"),
        ),
        Err(error) => Finding(Level::Fail, format!("queue: {error}")),
    }
}

fn risk(config: &Config) -> Finding {
    Finding(
        Level::Ok,
        format!(
            "at risk before acceptance: up to {} ms of readings at a power cut; after acceptance nothing",
            config.store.commit_window.as_millis()
        ),
    )
}

fn port(what: &str, path: &Path) -> Finding {
    match std::fs::metadata(path) {
        Err(error) => Finding(
            Level::Fail,
            format!(
                "{what}: {} is not there ({error}). Plug the adapter in, or list what there is: ls -l /dev/serial/by-id",
                path.display()
            ),
        ),
        Ok(_) => match open_for_a_look(path).map(|f| f.try_lock()) {
            Ok(Ok(())) => Finding(Level::Ok, format!("{what}: {} is there and free", path.display())),
            Ok(Err(_)) => Finding(
                Level::Warn,
                format!("{what}: {} is in use; a running fieldgate would be why", path.display()),
            ),
            // Whoever holds it keeps others out by TIOCEXCL.
            Err(error) if error.kind() == std::io::ErrorKind::ResourceBusy => Finding(
                Level::Warn,
                format!("{what}: {} is in use; a running fieldgate would be why", path.display()),
            ),
            Err(error) => Finding(
                Level::Fail,
                format!(
                    "{what}: {} cannot be opened ({error}). Add the user fieldgate runs as to the group dialout",
                    path.display()
                ),
            ),
        },
    }
}

/// Whether the page's port is to be had: opened as the daemon would, and released.
fn page(config: &Config, http: &Http) -> Finding {
    if runs(config) {
        return Finding(Level::Ok, format!("page: a running fieldgate serves http://{}/", own_address(http)));
    }
    let (at, port) = (http.listen, http.listen.port());
    let Err(error) = rim::machine::may_listen(at, http.interface.as_deref()) else {
        return Finding(Level::Ok, format!("page: {at} is free"));
    };
    match error.kind() {
        std::io::ErrorKind::AddrInUse if Path::new(ACTIVATED).exists() => Finding(
            Level::Ok,
            format!(
                "page: {at} is in use, as it should be where systemd holds it for fieldgate (fieldgate.socket)"
            ),
        ),
        std::io::ErrorKind::AddrInUse => Finding(
            Level::Fail,
            format!(
                "page: {at} is in use by another program: fieldgate would run, but without its page. See which, as root: \
                 ss -ltnp 'sport = :{port}'. Stop it, or choose another port (http.listen)"
            ),
        ),
        std::io::ErrorKind::PermissionDenied => Finding(
            Level::Warn,
            format!(
                "page: {at} cannot be tried by this user ({error}). Run this as root, or as the user fieldgate runs as"
            ),
        ),
        _ => Finding(
            Level::Fail,
            format!(
                "page: {at} cannot be listened on ({error}). Is the address this box's, and the interface there? See: ip address"
            ),
        ),
    }
}

/// Where systemd notes that the socket unit is enabled.
const ACTIVATED: &str = "/etc/systemd/system/sockets.target.wants/fieldgate.socket";

/// Whether a daemon holds the state folder.
fn runs(config: &Config) -> bool {
    let lock = config.gateway.state_dir.join("lock");
    std::fs::File::open(lock)
        .is_ok_and(|lock| matches!(lock.try_lock(), Err(std::fs::TryLockError::WouldBlock)))
}

/// Without waiting for a carrier and without becoming anybody's terminal.
fn open_for_a_look(path: &Path) -> std::io::Result<std::fs::File> {
    use std::os::unix::fs::OpenOptionsExt;
    let flags = nix::fcntl::OFlag::O_NOCTTY | nix::fcntl::OFlag::O_NONBLOCK;
    std::fs::File::options().read(true).write(true).custom_flags(flags.bits()).open(path)
}

/// What somebody who carries this box away holds in hand.
fn thief(config: &Config) -> Finding {
    let mut held = Vec::new();
    if config.golioth.is_some() {
        held.push("this gateway's own Golioth key");
    }
    if config.golioth.as_ref().is_some_and(|g| g.rest.is_some()) {
        held.push("a Golioth management key, with which other devices of the project can be read");
    }
    if config.mqtt.iter().any(|m| m.password.is_some()) {
        held.push("MQTT passwords");
    }
    if held.is_empty() {
        Finding(Level::Ok, "a thief of this box would hold no cloud credential".into())
    } else {
        Finding(Level::Ok, format!("a thief of this box would hold: {}", held.join("; ")))
    }
}
