//! `/api/queue`: how somebody pulls the readings that are on this gateway's disk, beside their destinations.
//!
//! It moves no account: what is pulled is still sent, and goes when its destinations have it. A puller's cursor is its own;
//! the page tells how many segments were freed before it came by.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::guard::refusal;
use super::pullers::{Asked, Scope, refused};
use super::routes::App;

pub(super) async fn pull(State(app): State<Arc<App>>, request: Request) -> Response {
    let (request, _no_body) = request.into_parts();
    let path = request.uri.path();
    if let Err(answer) = app.pullers.admit(Scope::Queue, &request).await {
        return *answer;
    }
    let asked = match Asked::parse(&request) {
        Ok(asked) if asked.wait.is_zero() => asked,
        Ok(_) => {
            let words = "There is no waiting here: readings come all the time. Ask without wait.";
            return refusal(path, StatusCode::BAD_REQUEST, words);
        }
        Err(words) => return refusal(path, StatusCode::BAD_REQUEST, words),
    };
    match app.sources.readings.page(asked.after.as_deref(), asked.limit).await {
        Ok(page) => axum::Json(page).into_response(),
        Err(error) => refused(path, error),
    }
}
