//! The page for technicians, the API, the metrics (requirements H1, H2, H4, H5, D11).
//!
//! Read-only: nothing a request does changes the gateway, except that pulling the firmware log is recorded as its puller's
//! acknowledgement. Nothing here is needed to lose nothing: this room looks at the board and the store and is a lane like
//! any other. Until roles exist, subscriber identities are masked on every route, and where the gateway stands (its cell
//! included) is shown on none.
//!
//! - [`door`] takes connections, few and short; [`guard`] looks at every request; [`routes`] has the paths.
//! - [`snapshot`] is one look at everything; [`recent`] what moved within the hour; [`mod@verdict`] judges both.
//! - [`page`], [`api`] and [`metrics`] show a snapshot to people, programs and Prometheus.
//!
//! | path | what |
//! |---|---|
//! | `/` | the page; `/?refresh=off` does not refresh itself |
//! | `/api/gateway/status` | the same facts as JSON |
//! | `/api/devices`, `/api/devices/{id}/status` | the registry's devices, one shape for every provider |
//! | `/api/firmware/log?after=CURSOR&limit=N&wait=SECONDS` | the firmware log, with a bearer token; 404 where none is configured |
//! | `/api/queue?after=CURSOR&limit=N` | the readings on disk, the same way |
//! | `/metrics` | Prometheus text exposition format 0.0.4 |
//! | `/healthz` | 200, or 503 and why |

mod api;
mod door;
mod firmware_log;
mod guard;
mod metrics;
mod page;
mod pullers;
mod queue;
pub mod recent;
mod routes;
pub mod snapshot;
pub mod sources;
pub mod verdict;
mod words;

use std::future::IntoFuture;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::recent::Recorder;
pub use self::snapshot::Snapshot;
pub use self::sources::Sources;
pub use self::verdict::{Level, Reason, Verdict, verdict};
use crate::config::Http;
use crate::daemon::supervisor::{Lane, LaneError, Progress};

/// Where the listening socket comes from.
#[derive(Debug)]
pub enum Door {
    /// It is opened at the configured address, on the configured interface.
    Bind,
    /// It was inherited, already listening, from socket activation.
    Inherited(std::net::TcpListener),
}

/// The lane `http`, and a watch that tells the address once it listens (port 0 takes any; later lives keep it).
#[must_use]
pub fn lane(
    config: &Http,
    door: Door,
    sources: Sources,
    stop: CancellationToken,
) -> (Lane, watch::Receiver<Option<SocketAddr>>) {
    let (tell, address) = watch::channel(None);
    let shared = Arc::new((door, config.clone(), tell));
    let recorder = Arc::new(Mutex::new(Recorder::default()));
    let lane = Lane::new("http", move |progress| {
        let (shared, recorder) = (Arc::clone(&shared), Arc::clone(&recorder));
        let (sources, stop) = (sources.clone(), stop.clone());
        async move {
            let (door, config, tell) = &*shared;
            let listener = open(door, config, *tell.borrow()).map_err(|error| {
                LaneError::new(format!(
                    "the page cannot listen on {}: {error}. Is another program using that port, and is the \
                     interface there?",
                    config.listen
                ))
            })?;
            let address = listener.local_addr().map_err(LaneError::new)?;
            if tell.send_replace(Some(address)) != Some(address) {
                tracing::info!(%address, "the page is at http://{address}/");
            }
            run(listener, config, sources, recorder, Some(progress), stop).await.map_err(LaneError::new)
        }
    });
    (lane, address)
}

/// Serves on a listening socket until the stop.
///
/// # Errors
/// When the socket cannot be used at all.
pub async fn serve(
    listener: std::net::TcpListener,
    config: &Http,
    sources: Sources,
    stop: CancellationToken,
) -> io::Result<()> {
    run(listener, config, sources, Arc::default(), None, stop).await
}

/// Answers under way at the stop get this long.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

async fn run(
    listener: std::net::TcpListener,
    config: &Http,
    sources: Sources,
    recorder: Arc<Mutex<Recorder>>,
    progress: Option<Progress>,
    stop: CancellationToken,
) -> io::Result<()> {
    let (clock, queue, samples) = (Arc::clone(&sources.clock), sources.queue.clone(), Arc::clone(&recorder));
    let door = door::Door::new(
        listener,
        Box::new(move || {
            if let Some(progress) = &progress {
                progress.waiting("waiting for a request", door::TURN);
            }
            if let Ok(mut samples) = samples.lock() {
                samples.look(clock.mono(), &queue.borrow());
            }
        }),
    )?;
    let service =
        routes::router(config, sources, recorder).into_make_service_with_connect_info::<door::CameTo>();
    let server =
        axum::serve(door, service).with_graceful_shutdown(stop.clone().cancelled_owned()).into_future();
    let too_late = async {
        stop.cancelled().await;
        tokio::time::sleep(LAST_ANSWERS).await;
    };
    tokio::select! {
        biased;
        ended = server => ended,
        () = too_late => Ok(()),
    }
}

fn open(door: &Door, config: &Http, earlier: Option<SocketAddr>) -> io::Result<std::net::TcpListener> {
    match door {
        Door::Inherited(listener) => listener.try_clone(),
        Door::Bind => door::bind(config, earlier.unwrap_or(config.listen)),
    }
}
