//! `fieldgate run`: the daemon in the foreground, as systemd starts it.

use std::process::ExitCode;
use std::sync::Arc;

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::Loaded;
use crate::daemon;
use crate::logs::{Logs, LogsLayer};

pub(super) fn run(loaded: Loaded) -> ExitCode {
    let logs = Arc::new(Logs::new(loaded.config.log.level, loaded.config.log.cloud));
    log_to(&logs);
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    // Core dumps would carry keys; the unit forbids them too, but the daemon may be started without it.
    let _ = nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_CORE, 0, 0);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(daemon::run(loaded.config, logs)),
        Err(error) => Err(format!("the system gives no event queue: {error}")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            tracing::error!("{why}");
            ExitCode::FAILURE
        }
    }
}

/// To the journal with its fields when systemd connected us to it, to standard error otherwise.
fn log_to(logs: &Arc<Logs>) {
    let registry = tracing_subscriber::registry().with(LogsLayer(Arc::clone(logs)));
    let journal = std::env::var_os("JOURNAL_STREAM").and_then(|_| tracing_journald::layer().ok());
    // Fails only when a subscriber is set already, which nothing before this does.
    let _ = match journal {
        Some(journal) => registry.with(journal).try_init(),
        None => registry
            .with(
                tracing_subscriber::fmt::layer()
                    .with_writer(std::io::stderr)
                    .with_target(false)
                    .with_ansi(false),
            )
            .try_init(),
    };
}
