//! `/api/firmware/log`: how a cloud pulls the firmware log (requirement D11).
//!
//! The route needs its own bearer token and knows no other. Without a configured token it does not exist: 404, as any
//! unknown path. A cursor asked with is what the puller already has.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::guard::refusal;
use super::routes::{App, SOURCE_TIME};
use super::sources::LogError;
use crate::config::Secret;

/// The name this route's puller is remembered by: there is one token, so there is one.
const PULLER: &str = "http";
/// Entries in a page, unless asked otherwise, and at most.
const LIMIT: usize = 100;
const LIMIT_MOST: usize = 200;
/// A longer cursor was not given out here.
const CURSOR_BYTES: usize = 256;
/// Guessing is slow.
const AFTER_WRONG_TOKEN: Duration = Duration::from_millis(250);

/// The token's digest: enough to recognise it, and of one length whatever is compared.
pub(super) struct Token([u8; 32]);

impl Token {
    pub(super) fn new(token: &Secret) -> Self {
        Self(Sha256::digest(token.expose()).into())
    }

    fn is(&self, offered: &str) -> bool {
        let offered: [u8; 32] = Sha256::digest(offered.as_bytes()).into();
        self.0.ct_eq(&offered).into()
    }
}

#[derive(serde::Deserialize)]
pub(super) struct Asked {
    after: Option<String>,
    limit: Option<String>,
}

pub(super) async fn pull(State(app): State<Arc<App>>, request: Request) -> Response {
    let path = request.uri().path();
    let Some(token) = &app.firmware_log_token else {
        return refusal(path, StatusCode::NOT_FOUND, "There is nothing here. The page is at /");
    };
    match bearer(request.headers()) {
        None => return unauthorized("Bearer realm=\"firmware log\"", "This route needs a bearer token."),
        Some(offered) if !token.is(offered) => {
            tracing::warn!("the firmware log was asked for with a wrong token");
            tokio::time::sleep(AFTER_WRONG_TOKEN).await;
            return unauthorized(
                "Bearer realm=\"firmware log\", error=\"invalid_token\"",
                "This token opens nothing here.",
            );
        }
        Some(_) => {}
    }
    let asked = match parse(&request) {
        Ok(asked) => asked,
        Err(words) => return refusal(path, StatusCode::BAD_REQUEST, words),
    };
    let (after, limit) = asked;
    let page = app.sources.firmware_log.page(after.as_deref(), limit, PULLER);
    let (status, words) = match tokio::time::timeout(SOURCE_TIME, page).await {
        Ok(Ok(page)) => return axum::Json(page).into_response(),
        Ok(Err(LogError::Malformed(words))) => (StatusCode::BAD_REQUEST, words),
        Ok(Err(LogError::Foreign(words))) => (StatusCode::CONFLICT, words),
        Ok(Err(LogError::Diverged(words))) => (StatusCode::GONE, words),
        Ok(Err(LogError::Unavailable(why))) => {
            tracing::warn!(why, "the firmware log does not read");
            (StatusCode::SERVICE_UNAVAILABLE, BUSY.to_owned())
        }
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, BUSY.to_owned()),
    };
    refusal(path, status, &words)
}

const BUSY: &str = "The firmware log does not answer now. Try again with the same cursor.";

fn parse(request: &Request) -> Result<(Option<String>, usize), &'static str> {
    let Query(asked) = Query::<Asked>::try_from_uri(request.uri())
        .map_err(|_| "Ask with after=CURSOR and limit=N, each at most once.")?;
    let limit = match asked.limit.as_deref() {
        None => LIMIT,
        Some(text) => text
            .parse()
            .ok()
            .filter(|limit| (1..=LIMIT_MOST).contains(limit))
            .ok_or("limit is a number from 1 to 200.")?,
    };
    match asked.after {
        // Where a page had no entries and there was no cursor, `next` is empty: it begins at the oldest again.
        Some(after) if after.is_empty() => Ok((None, limit)),
        Some(after) if after.len() > CURSOR_BYTES => {
            Err("This cursor was not given out here: it is too long.")
        }
        after => Ok((after, limit)),
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (value, None) = (values.next()?, values.next()) else { return None };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn unauthorized(challenge: &'static str, words: &str) -> Response {
    let mut response = refusal("/api/", StatusCode::UNAUTHORIZED, words);
    response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    response
}
