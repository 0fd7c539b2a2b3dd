//! Who may pull, by bearer token (RFC 6750), and what every pull has in common.
//!
//! A route that nobody may pull from does not exist: 404, as any unknown path. The name a token is configured under is the
//! identity that acknowledgements are kept by, so that pullers do not disturb each other.

use std::time::Duration;

use axum::extract::Query;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::guard::refusal;
use super::sources::LogError;
use crate::config::Puller;

/// Entries in a page, unless asked otherwise, and at most.
const LIMIT: usize = 100;
const LIMIT_MOST: usize = 200;
/// The longest a puller may wait for something new, in seconds: below the minute after which many networks forget a
/// silent connection.
const WAIT_MOST: u64 = 50;
/// A longer cursor was not given out here.
const CURSOR_BYTES: usize = 256;
/// Guessing is slow.
const AFTER_WRONG_TOKEN: Duration = Duration::from_millis(250);

/// What a token may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    FirmwareLog,
    Queue,
}

impl Scope {
    fn realm(self) -> &'static str {
        match self {
            Self::FirmwareLog => "firmware log",
            Self::Queue => "queue",
        }
    }

    fn of(self, puller: &Known) -> bool {
        match self {
            Self::FirmwareLog => puller.firmware_log,
            Self::Queue => puller.queue,
        }
    }
}

/// A puller; of its token only the digest: enough to recognise it, and of one length whatever is compared.
struct Known {
    name: String,
    digest: [u8; 32],
    firmware_log: bool,
    queue: bool,
}

/// See the module head.
pub(super) struct Pullers(Vec<Known>);

impl Pullers {
    pub(super) fn new(pullers: &[Puller]) -> Self {
        let known = |puller: &Puller| Known {
            name: puller.name.clone(),
            digest: Sha256::digest(puller.token.expose()).into(),
            firmware_log: puller.firmware_log,
            queue: puller.queue,
        };
        Self(pullers.iter().map(known).collect())
    }

    /// The name of whoever asks, if it may; otherwise the answer it gets.
    pub(super) async fn admit(&self, scope: Scope, request: &Parts) -> Result<&str, Box<Response>> {
        let path = request.uri.path();
        if !self.0.iter().any(|puller| scope.of(puller)) {
            return Err(Box::new(refusal(
                path,
                StatusCode::NOT_FOUND,
                "There is nothing here. The page is at /",
            )));
        }
        let realm = scope.realm();
        let Some(offered) = bearer(&request.headers) else {
            let challenge = format!("Bearer realm=\"{realm}\"");
            return Err(challenged(StatusCode::UNAUTHORIZED, &challenge, "This route needs a bearer token."));
        };
        let offered: [u8; 32] = Sha256::digest(offered.as_bytes()).into();
        // Every token is compared, so that the time tells nothing about which one came close.
        let mut found = None;
        for puller in &self.0 {
            if bool::from(offered.ct_eq(&puller.digest)) {
                found = Some(puller);
            }
        }
        match found {
            Some(puller) if scope.of(puller) => Ok(&puller.name),
            Some(puller) => {
                tracing::warn!(puller = puller.name, realm, "asked for what its token does not open");
                let challenge = format!("Bearer realm=\"{realm}\", error=\"insufficient_scope\"");
                Err(challenged(StatusCode::FORBIDDEN, &challenge, "This token does not open this route."))
            }
            None => {
                tracing::warn!(realm, "asked for with a wrong token");
                tokio::time::sleep(AFTER_WRONG_TOKEN).await;
                let challenge = format!("Bearer realm=\"{realm}\", error=\"invalid_token\"");
                Err(challenged(StatusCode::UNAUTHORIZED, &challenge, "This token opens nothing here."))
            }
        }
    }
}

fn challenged(status: StatusCode, challenge: &str, words: &str) -> Box<Response> {
    let mut response = refusal("/api/", status, words);
    if let Ok(challenge) = HeaderValue::from_str(challenge) {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    }
    Box::new(response)
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (value, None) = (values.next()?, values.next()) else { return None };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

#[derive(serde::Deserialize)]
struct Written {
    after: Option<String>,
    limit: Option<String>,
    wait: Option<String>,
}

/// What a puller asks for.
pub(super) struct Asked {
    pub(super) after: Option<String>,
    pub(super) limit: usize,
    /// How long it would rather wait than get an empty page.
    pub(super) wait: Duration,
}

impl Asked {
    pub(super) fn parse(request: &Parts) -> Result<Self, &'static str> {
        let Query(written) = Query::<Written>::try_from_uri(&request.uri)
            .map_err(|_| "Ask with after=CURSOR, limit=N and wait=SECONDS, each at most once.")?;
        let limit = match written.limit.as_deref() {
            None => LIMIT,
            Some(text) => text
                .parse()
                .ok()
                .filter(|limit| (1..=LIMIT_MOST).contains(limit))
                .ok_or("limit is a number from 1 to 200.")?,
        };
        let wait = match written.wait.as_deref() {
            None => 0,
            Some(text) => text
                .parse()
                .ok()
                .filter(|wait| (0..=WAIT_MOST).contains(wait))
                .ok_or("wait is a number of seconds from 0 to 50.")?,
        };
        let after = match written.after {
            // Where a page had no entries and there was no cursor, `next` is empty: it begins at the oldest again.
            Some(after) if after.is_empty() => None,
            Some(after) if after.len() > CURSOR_BYTES => {
                return Err("This cursor was not given out here: it is too long.");
            }
            after => after,
        };
        Ok(Self { after, limit, wait: Duration::from_secs(wait) })
    }
}

/// The answer to a cursor or a source that does not do.
pub(super) fn refused(path: &str, error: LogError) -> Response {
    let (status, words) = match error {
        LogError::Malformed(words) => (StatusCode::BAD_REQUEST, words),
        LogError::Foreign(words) => (StatusCode::CONFLICT, words),
        LogError::Diverged(words) => (StatusCode::GONE, words),
        LogError::Unavailable(why) => {
            tracing::warn!(why, path, "a pull is not answered");
            (StatusCode::SERVICE_UNAVAILABLE, BUSY.to_owned())
        }
        LogError::Busy => {
            let mut answer = refusal(path, StatusCode::SERVICE_UNAVAILABLE, ONE_AT_A_TIME);
            answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            return answer;
        }
    };
    refusal(path, status, &words)
}

const ONE_AT_A_TIME: &str =
    "Somebody else is pulling just now; one at a time. Try again with the same cursor in a second.";
const BUSY: &str = "This does not answer now. Try again with the same cursor.";
