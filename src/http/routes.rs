//! The paths and what answers them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::guard::{guard, refusal};
use super::pullers::Pullers;
use super::recent::{Recent, Recorder};
use super::snapshot::Snapshot;
use super::sources::{Sources, Unavailable};
use super::{api, firmware_log, metrics, page, queue};
use crate::board::{WriterPhase, in_words};
use crate::config::Http;
use crate::store::gateway::GatewayHealth;
use crate::store::queue::Health;

/// What `gateway.db` is given to answer in.
pub(super) const SOURCE_TIME: Duration = Duration::from_secs(3);
/// Devices in one listing.
const LISTED: usize = 200;
/// Pullers that may wait at once.
const WAITERS: usize = 8;
/// The longest device id or serial anybody has.
const ID_BYTES: usize = 128;

/// What the handlers share.
pub(super) struct App {
    pub(super) sources: Sources,
    pub(super) recorder: Arc<Mutex<Recorder>>,
    /// Names this gateway is called by, lower case; addresses are compared apart.
    pub(super) hosts: Vec<String>,
    pub(super) content_policy: HeaderValue,
    pub(super) pullers: Pullers,
    /// Places for pullers that wait for something new: far fewer than the door has.
    pub(super) waiters: tokio::sync::Semaphore,
}

impl App {
    fn recent(&self) -> Recent {
        let now = self.sources.clock.mono();
        let status = self.sources.queue.borrow();
        self.recorder.lock().map(|mut recorder| recorder.look(now, &status)).unwrap_or_default()
    }

    fn snapshot(&self) -> Snapshot {
        Snapshot::take(&self.sources, self.recent())
    }
}

pub(super) fn router(config: &Http, sources: Sources, recorder: Arc<Mutex<Recorder>>) -> Router {
    let mut hosts = config.hosts.clone();
    hosts.push(sources.gateway.name.to_ascii_lowercase());
    hosts.push(format!("{}.local", sources.gateway.name.to_ascii_lowercase()));
    let app = Arc::new(App {
        sources,
        recorder,
        hosts,
        content_policy: page::content_policy(),
        pullers: Pullers::new(&config.pullers),
        waiters: tokio::sync::Semaphore::new(WAITERS),
    });
    Router::new()
        .route("/", get(show_page))
        .route("/api/gateway/status", get(gateway_status))
        .route("/api/devices", get(devices))
        .route("/api/devices/{id}/status", get(device_status))
        .route("/api/firmware/log", get(firmware_log::pull))
        .route("/api/queue", get(queue::pull))
        .route("/metrics", get(show_metrics))
        .route("/healthz", get(healthz))
        .fallback(nothing_here)
        .layer(middleware::from_fn_with_state(Arc::clone(&app), guard))
        .with_state(app)
}

async fn show_page(State(app): State<Arc<App>>, request: Request) -> Response {
    let refreshes = request.uri().query() != Some("refresh=off");
    match page::render(&app.snapshot(), refreshes) {
        Ok(html) => ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], html).into_response(),
        Err(error) => {
            tracing::error!(%error, "the page does not render");
            refusal(
                "/",
                StatusCode::INTERNAL_SERVER_ERROR,
                "The page does not render. See /api/gateway/status.",
            )
        }
    }
}

async fn gateway_status(State(app): State<Arc<App>>) -> Response {
    axum::Json(api::gateway(&app.snapshot())).into_response()
}

async fn devices(State(app): State<Arc<App>>) -> Response {
    match within(app.sources.devices.list(LISTED)).await {
        Ok(records) => {
            let snapshot = app.snapshot();
            let devices: Vec<_> = records.into_iter().map(|record| api::device(record, &snapshot)).collect();
            axum::Json(serde_json::json!({ "devices": devices })).into_response()
        }
        Err(refused) => refused,
    }
}

async fn device_status(State(app): State<Arc<App>>, Path(id): Path<String>) -> Response {
    let unknown =
        || refusal("/api/", StatusCode::NOT_FOUND, "There is no device with this id or serial number.");
    if id.len() > ID_BYTES {
        return unknown();
    }
    match within(app.sources.devices.get(&id)).await {
        Ok(Some(record)) => axum::Json(api::device(record, &app.snapshot())).into_response(),
        Ok(None) => unknown(),
        Err(refused) => refused,
    }
}

async fn within<T>(read: impl Future<Output = Result<T, Unavailable>>) -> Result<T, Response> {
    let why = match tokio::time::timeout(SOURCE_TIME, read).await {
        Ok(Ok(found)) => return Ok(found),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "the registry took too long".to_owned(),
    };
    tracing::warn!(why, "a device's status cannot be told");
    Err(refusal("/api/", StatusCode::SERVICE_UNAVAILABLE, "The registry does not answer now. Try again."))
}

async fn show_metrics(State(app): State<Arc<App>>) -> Response {
    let text = metrics::render(&app.snapshot());
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

async fn healthz(State(app): State<Arc<App>>) -> Response {
    let mut ill = Vec::new();
    let health = app.sources.queue.borrow().health.clone();
    if health != Health::Good {
        ill.push(format!("the store is not good: {}", health.name()));
    }
    if let GatewayHealth::Faulty(detail) = (app.sources.gateway_db)() {
        ill.push(format!("gateway.db takes no writes: {detail}"));
    }
    for (name, writer) in app.sources.board.writers.all() {
        if writer.value.phase == WriterPhase::Stuck {
            ill.push(format!("the writer of {name} is stuck: {}", writer.value.words));
        }
    }
    for (lane, state) in app.sources.board.lanes.all() {
        if state.value.excused {
            ill.push(format!("the lane {lane} hangs and no restart helped"));
        }
    }
    let now = app.sources.clock.mono();
    for (lane, since) in (app.sources.silent_lanes)() {
        ill.push(format!("the lane {lane} has said nothing for {}", in_words(now.since(since))));
    }
    if ill.is_empty() {
        "ok\n".into_response()
    } else {
        refusal("/healthz", StatusCode::SERVICE_UNAVAILABLE, &ill.join("\n"))
    }
}

async fn nothing_here(request: Request) -> Response {
    refusal(request.uri().path(), StatusCode::NOT_FOUND, "There is nothing here. The page is at /")
}
