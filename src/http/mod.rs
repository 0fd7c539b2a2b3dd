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
mod damage;
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
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::door::Listeners;
use self::recent::Recorder;
pub use self::snapshot::Snapshot;
pub use self::sources::Sources;
pub use self::verdict::{Level, Reason, Verdict, verdict};
use crate::config::Http;
use crate::daemon::rim::Net;
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
///
/// A page on a named interface is served on the loopback address too, with the same port: the kernel hands what the box
/// says to itself to no socket bound to an interface, and `fieldgate status` asks from there ([`own_address`]).
#[must_use]
pub fn lane(
    config: &Http,
    door: Door,
    net: Arc<dyn Net>,
    sources: Sources,
    stop: CancellationToken,
) -> (Lane, watch::Receiver<Option<SocketAddr>>) {
    let (tell, address) = watch::channel(None);
    let shared = Arc::new((door, config.clone(), net, tell));
    let recorder = Arc::new(Mutex::new(Recorder::default()));
    let lane = Lane::new("http", move |progress| {
        let (shared, recorder) = (Arc::clone(&shared), Arc::clone(&recorder));
        let (sources, stop) = (sources.clone(), stop.clone());
        async move {
            let (door, config, net, tell) = &*shared;
            let main = open(door, config, &**net, *tell.borrow()).map_err(|error| {
                LaneError::new(format!(
                    "the page cannot listen on {}: {error}. Is another program using that port, and is the \
                     interface there?",
                    config.listen
                ))
            })?;
            let address = main.local_addr().map_err(LaneError::new)?;
            let loopback = loopback(config, &**net, address);
            if tell.send_replace(Some(address)) != Some(address) {
                tracing::info!(%address, "the page is at http://{address}/");
            }
            let listeners = Listeners { main, loopback };
            run(listeners, config, sources, recorder, Some(progress), stop).await.map_err(LaneError::new)
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
    let listeners = Listeners { main: listener, loopback: None };
    run(listeners, config, sources, Arc::default(), None, stop).await
}

/// Answers under way at the stop get this long.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

async fn run(
    listeners: Listeners,
    config: &Http,
    sources: Sources,
    recorder: Arc<Mutex<Recorder>>,
    progress: Option<Progress>,
    stop: CancellationToken,
) -> io::Result<()> {
    let (clock, queue, samples) = (Arc::clone(&sources.clock), sources.queue.clone(), Arc::clone(&recorder));
    let door = door::Door::new(
        listeners,
        Box::new(move || {
            if let Some(progress) = &progress {
                progress.advanced();
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

/// The interface of the loopback addresses.
const LOOPBACK: &str = "lo";

fn open(
    door: &Door,
    config: &Http,
    net: &dyn Net,
    earlier: Option<SocketAddr>,
) -> io::Result<std::net::TcpListener> {
    match door {
        Door::Inherited(listener) => listener.try_clone(),
        Door::Bind => net.listen(earlier.unwrap_or(config.listen), config.interface.as_deref()),
    }
}

/// A second socket for who is on this box, if the first, at `main`, cannot be reached from it.
fn loopback(config: &Http, net: &dyn Net, main: SocketAddr) -> Option<std::net::TcpListener> {
    let interface = config.interface.as_deref().filter(|interface| *interface != LOOPBACK)?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, main.port()));
    // Bound to its interface as the first is to its own: otherwise the two would be in each other's way.
    match net.listen(address, Some(LOOPBACK)) {
        Ok(listener) => {
            tracing::info!("the page of {interface} is also at http://{address}/ for this box itself");
            Some(listener)
        }
        Err(error) => {
            tracing::warn!(
                "{address} is not to be had ({error}): `fieldgate status` on this box does not reach the page, which \
                 serves {interface} as it should. Is another program using that port?"
            );
            None
        }
    }
}

/// Where a program on this box reaches the page: at its own address, or beside the interface it is bound to.
#[must_use]
pub fn own_address(config: &Http) -> SocketAddr {
    match config.interface.as_deref() {
        Some(interface) if interface != LOOPBACK => {
            SocketAddr::from((Ipv4Addr::LOCALHOST, config.listen.port()))
        }
        Some(_) | None => config.listen,
    }
}
