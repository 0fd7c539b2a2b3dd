//! The life of the process: one daemon a state folder, readiness when readings can be accepted, a watchdog that is fed
//! only while the parts that must move do move (see [`super::watchdog`]), and a clean stop.

use std::fs::File;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::Daemon;
use super::hands::MachineHands;
use super::rim;
use super::stores::Stores;
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::control;
use crate::http::Door;
use crate::logs::Logs;
use crate::sabotage;
use crate::store::queue::QueueStatus;

/// Runs the daemon until a signal ends it.
///
/// # Errors
/// In words, for whoever started it.
pub async fn run(config: Config, logs: Arc<Logs>) -> Result<(), String> {
    let lock = lock(&config.gateway.state_dir)?;
    let runtime = std::env::var_os("RUNTIME_DIRECTORY");
    let restart = CancellationToken::new();
    let hands = MachineHands::new(runtime.clone().map(Into::into), restart.clone());
    let socket = control::place(&config.gateway.state_dir, runtime);
    let state = control::StateId::of(&lock).map_err(|e| e.to_string())?;
    if let Err(error) = control::announce(&lock, &socket) {
        tracing::warn!(%error, "where operators are heard cannot be written down: they may have to stop the daemon first");
    }
    let floor = crate::store::gateway::time_floor(&config.gateway.state_dir);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new(config.time.trust_system_clock, floor));
    let rim = rim::machine::rim(clock);
    // One TLS provider for the whole process; a second installation would only repeat it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut terminate = signal(SignalKind::terminate()).map_err(|e| e.to_string())?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|e| e.to_string())?;
    // A terminal that closes must not cost a clean stop.
    let mut hangup = signal(SignalKind::hangup()).map_err(|e| e.to_string())?;
    let mut failed = None;
    let config = Arc::new(config);
    let stores = Stores::on_threads(&config, &rim).map_err(|e| e.to_string())?;
    let daemon = Daemon::start(&config, &rim, stores)?;
    daemon.lend(Arc::new(hands), logs, &rim);
    let inherited = super::inherited::listener();
    let door = inherited.map_or(Door::Bind, Door::Inherited);
    daemon.serve(&config, &rim, door);
    daemon.brokers(&config, &rim);
    daemon.manage(&config, &rim);
    daemon.control(&config, socket, state, &rim);
    if sabotage::on("slow-start") {
        rim.sleep(Duration::from_secs(2)).await;
    }
    say_ready(&config, &daemon.stores.queue.status().borrow());
    let watch = daemon.watch(&rim).keep(sd_notify::watchdog_enabled(), || notify(&[NotifyState::Watchdog]));
    tokio::select! {
        biased;
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        _ = hangup.recv() => {}
        () = restart.cancelled() => tracing::info!("a cloud asked for a restart"),
        why = watch => failed = Some(why),
    }
    tracing::info!("stopping");
    notify(&[NotifyState::Stopping]);
    daemon.stop().await;
    match failed {
        Some(why) => Err(format!("{why}; starting over is the only way on")),
        None => Ok(()),
    }
}

/// The window in force is said, not the configured one alone: the flash budget may have widened it.
fn say_ready(config: &Config, queue: &QueueStatus) {
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        at_risk_before_acceptance_ms = queue.commit_window.as_millis(),
        configured_ms = config.store.commit_window.as_millis(),
        "ready; nothing that was accepted can be lost, what was captured within the commit window can"
    );
    notify(&[NotifyState::Ready, NotifyState::Status("accepting readings")]);
}

fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "systemd was not told");
    }
}

/// One daemon a state folder: two would each acknowledge the other's readings.
fn lock(state_dir: &Path) -> Result<File, String> {
    let path = state_dir.join("lock");
    let file = File::options().read(true).write(true).create(true).truncate(false).open(&path);
    let file = file.map_err(|e| no_lock(&path, state_dir, &e))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(_) => Err(format!(
            "another fieldgate runs on {}. Stop it first, or give this one another gateway.state_dir",
            state_dir.display()
        )),
    }
}

fn no_lock(path: &Path, state_dir: &Path, error: &std::io::Error) -> String {
    let (file, folder) = (path.display(), state_dir.display());
    match error.kind() {
        ErrorKind::ReadOnlyFilesystem => format!(
            "{file} cannot be written: the file system of {folder} is read-only, so nothing can be accepted. What is stored \
             there is left as it is. After an error on the disk the kernel mounts it so: see dmesg, check the disk, and \
             mount it writable; the service tries again by itself"
        ),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => format!(
            "{file} cannot be made: there is no room on the disk of {folder}. What is stored there is left as it is. Make \
             room; the service tries again by itself"
        ),
        _ => format!(
            "{file} cannot be written: {error}. Create {folder} and give it to the user fieldgate runs as"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_folder_that_takes_no_writes_is_named_with_the_reason_and_the_next_step() {
        let (folder, file) = (Path::new("/var/lib/fieldgate"), Path::new("/var/lib/fieldgate/lock"));
        let said = |kind: ErrorKind| no_lock(file, folder, &kind.into());
        for (kind, reason, next) in [
            (ErrorKind::ReadOnlyFilesystem, "read-only", "mount it writable"),
            (ErrorKind::StorageFull, "no room", "Make room"),
            (ErrorKind::NotFound, "not found", "Create /var/lib/fieldgate"),
        ] {
            let words = said(kind);
            for part in ["/var/lib/fieldgate/lock", reason, next] {
                assert!(words.contains(part), "{part} in: {words}");
            }
        }
    }
}
