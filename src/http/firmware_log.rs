//! `/api/firmware/log`: how a cloud pulls the firmware log (requirement D11).
//!
//! A cursor asked with is what the puller already has, and is recorded as its acknowledgement. With `wait=SECONDS` an
//! empty page is not answered at once but when an entry is appended, or when the time is over; then it is answered empty.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::door::CameTo;
use super::guard::refusal;
use super::pullers::{Asked, Scope, refused};
use super::routes::{App, SOURCE_TIME};
use super::sources::{LogError, LogPage};

pub(super) async fn pull(State(app): State<Arc<App>>, request: Request) -> Response {
    let (request, _no_body) = request.into_parts();
    let path = request.uri.path();
    let puller = match app.pullers.admit(Scope::FirmwareLog, &request).await {
        Ok(puller) => puller,
        Err(answer) => return *answer,
    };
    let asked = match Asked::parse(&request) {
        Ok(asked) => asked,
        Err(words) => return refusal(path, StatusCode::BAD_REQUEST, words),
    };
    let mut page = look(&app, &asked, puller).await;
    if let Ok(first) = &page
        && first.entries.is_empty()
        && !asked.wait.is_zero()
        // A few may wait; whoever finds no place is answered at once, as if it had not asked to wait.
        && let Ok(_place) = app.waiters.try_acquire()
    {
        if let Some(ConnectInfo(came_to)) = request.extensions.get::<ConnectInfo<CameTo>>() {
            came_to.be_patient(asked.wait + SOURCE_TIME);
        }
        if tokio::time::timeout(asked.wait, app.sources.firmware_log.moved_from(first.head)).await.is_ok() {
            page = look(&app, &asked, puller).await;
        }
    }
    match page {
        Ok(page) => axum::Json(page).into_response(),
        Err(error) => refused(path, error),
    }
}

async fn look(app: &App, asked: &Asked, puller: &str) -> Result<LogPage, LogError> {
    let page = app.sources.firmware_log.page(asked.after.as_deref(), asked.limit, puller);
    let late = |_| LogError::Unavailable(format!("no page within {}", in_seconds(SOURCE_TIME)));
    tokio::time::timeout(SOURCE_TIME, page).await.map_err(late)?
}

fn in_seconds(time: Duration) -> String {
    format!("{} s", time.as_secs())
}
