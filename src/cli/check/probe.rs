//! `fieldgate check --probe`: one message on the way of the readings, so that an unrouted path is found before the day.
//!
//! A daemon that runs is asked to send it over the session it has. While none runs it is sent from here, over a session of its own;
//! the lock of the state folder keeps a daemon from starting meanwhile.

use std::path::Path;
use std::sync::Arc;

use super::{Finding, Level};
use crate::cli::credentials_directory;
use crate::cli::lock::{Lock, NoLock, become_owner, lock};
use crate::clock::{Clock, SystemClock};
use crate::clouds::golioth::delivery::pipeline;
use crate::config::{self, Config, Golioth};
use crate::control::{self, Answer, Asked, ProbeVerdict, Probed, Request, StateId, client};
use crate::daemon::{probe, rim};
use crate::store::gateway::time_floor;

pub(super) fn findings(config: &Config, path: &Path) -> Vec<Finding> {
    let Some(golioth) = &config.golioth else {
        let words =
            "probe: no [golioth] is configured; brokers say by themselves whether they take a reading";
        return vec![Finding(Level::Ok, words.into())];
    };
    match sent(config, path) {
        Err(why) => vec![Finding(Level::Fail, format!("probe: {why}"))],
        Ok((probed, unrecorded)) => {
            let mut findings: Vec<_> = probed.iter().map(|probed| finding(golioth, probed)).collect();
            findings.extend(unrecorded.map(|why| {
                Finding(Level::Warn, format!("probe: its cost is not on record in the data plan: {why}"))
            }));
            findings
        }
    }
}

/// What became of it, and why its cost is not on record, if it is not.
fn sent(config: &Config, path: &Path) -> Result<(Vec<Probed>, Option<String>), String> {
    let state_dir = &config.gateway.state_dir;
    // Held until the end.
    let held = match lock(state_dir) {
        Ok(Lock::Daemons(file)) => {
            let socket = control::announced(&file).ok().flatten();
            let socket = socket.unwrap_or_else(|| control::place(state_dir, None));
            let of = StateId::of(&file).map_err(|e| NoLock::of(state_dir, e).to_string())?;
            return match client::ask(&socket, &Asked { of, request: Request::Probe }) {
                Ok(Answer::Probed(probed)) => Ok((probed, None)),
                Ok(Answer::Refused(why)) => Err(why),
                Ok(Answer::Done(_)) => Err("the daemon answers something else than was asked".into()),
                Err(error) => Err(error.to_string()),
            };
        }
        Ok(Lock::Ours(file)) => Some(file),
        // Before the first start there is nobody to disturb.
        Err(missing) if missing.is_missing() => None,
        Err(why) => return Err(why.to_string()),
    };
    // Before the user changes: a secret may be root's alone.
    let loaded = config::load(path, credentials_directory().as_deref()).map_err(|_| {
        "it needs the secrets, which this user cannot read here (see above). Start the daemon and run this again: then it is sent \
         by the daemon"
            .to_owned()
    })?;
    if let Some(lock) = &held {
        become_owner(lock, state_dir)?;
    }
    // A second time it is in place already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let clock: Arc<dyn Clock> =
        Arc::new(SystemClock::new(config.time.trust_system_clock, time_floor(state_dir)));
    let rim = rim::machine::rim(clock);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("the system gives no event queue: {error}"))?;
    Ok(runtime.block_on(probe::alone(&loaded.config, &rim)))
}

fn finding(golioth: &Golioth, probed: &Probed) -> Finding {
    let Probed { destination, verdict, words, unrouted, bytes } = probed;
    let level = match verdict {
        ProbeVerdict::Open => Level::Ok,
        ProbeVerdict::Unknown => Level::Warn,
        ProbeVerdict::Broken => Level::Fail,
    };
    let mut words = format!("{destination}: {words}. It cost {bytes} bytes of the data plan");
    if let Some(content_type) = unrouted {
        words.push_str(". The pipeline, as docs/pipelines has it for this path:\n\n");
        let path = format!("/{}", golioth.stream_path);
        for line in pipeline(&path, golioth.encoding, content_type).lines() {
            words.push_str("      ");
            words.push_str(line);
            words.push('\n');
        }
    }
    Finding(level, words)
}
