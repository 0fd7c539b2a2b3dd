//! Envelopes, paging and errors of the management API.

use crate::cloud::config::CloudError;
use axum::Json;
use axum::extract::{FromRequestParts, Query};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

/// What a handler answers.
pub(super) type Answer = Result<Json<Value>, ApiError>;

/// Items on a page unless asked for otherwise, and at most.
pub(super) const ONE_PAGE: usize = 100;

/// An error as the gateway in front of the API words it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ApiError {
    /// gRPC status code.
    code: u8,
    message: String,
}

impl ApiError {
    pub(super) fn new(code: u8, message: &str) -> Self {
        Self { code, message: message.to_owned() }
    }

    pub(super) fn invalid(message: &str) -> Self {
        Self::new(3, message)
    }
}

impl From<CloudError> for ApiError {
    fn from(error: CloudError) -> Self {
        let code = match &error {
            CloudError::DuplicateDevice { .. }
            | CloudError::DuplicateIdentity { .. }
            | CloudError::ArtifactExists { .. }
            | CloudError::NameTaken { .. }
            | CloudError::ReleaseTagTaken
            | CloudError::Exists { .. } => 6,
            CloudError::BadDevice { .. } | CloudError::BadPackage { .. } | CloudError::Invalid { .. } => 3,
            CloudError::UnknownDevice { .. } | CloudError::NotFound { .. } => 5,
            CloudError::Full { .. } => 8,
            CloudError::Dtls(_) => 13,
        };
        Self::new(code, &error.to_string())
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        // The stock mapping of gRPC codes to HTTP.
        let status = match self.code {
            3 | 9 | 11 => StatusCode::BAD_REQUEST,
            4 => StatusCode::GATEWAY_TIMEOUT,
            5 => StatusCode::NOT_FOUND,
            6 | 10 => StatusCode::CONFLICT,
            7 => StatusCode::FORBIDDEN,
            8 => StatusCode::TOO_MANY_REQUESTS,
            12 => StatusCode::NOT_IMPLEMENTED,
            14 => StatusCode::SERVICE_UNAVAILABLE,
            16 => StatusCode::UNAUTHORIZED,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        (status, Json(json!({"code": self.code, "message": self.message, "details": []}))).into_response()
    }
}

/// The query's parameters; a name may repeat.
#[derive(Debug, Default)]
pub(super) struct Params(Vec<(String, String)>);

impl Params {
    /// As if a page had been asked for in the query.
    pub(super) fn paged(page: usize, per_page: usize) -> Self {
        Self(vec![("page".to_owned(), page.to_string()), ("perPage".to_owned(), per_page.to_string())])
    }

    /// The first of this name, if it is not empty.
    pub(super) fn get<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        self.all(name).next()
    }

    /// All of this name that are not empty: `name=a&name=b`, or with brackets behind the name.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0
            .iter()
            .filter(move |(key, value)| key.strip_suffix("[]").unwrap_or(key) == name && !value.is_empty())
            .map(|(_, value)| value.as_str())
    }

    /// All of this name that are not empty, to keep.
    pub(super) fn every(&self, name: &str) -> Vec<String> {
        self.all(name).map(str::to_owned).collect()
    }

    /// A whole number.
    pub(super) fn number(&self, name: &str) -> Result<Option<usize>, ApiError> {
        let refused = |_| ApiError::invalid(&format!("{name} is not a whole number"));
        self.get(name).map(|text| text.parse().map_err(refused)).transpose()
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let pairs = Query::<Vec<(String, String)>>::from_request_parts(parts, state).await;
        pairs.map(|Query(pairs)| Self(pairs)).map_err(|_| ApiError::invalid("the query cannot be read"))
    }
}

/// One thing.
pub(super) fn one(data: Value) -> Answer {
    Ok(Json(json!({"data": data})))
}

/// The page of many things that was asked for, `page` from 0.
pub(super) fn listed(all: Vec<Value>, params: &Params, per_page: usize) -> Answer {
    let page = params.number("page")?.unwrap_or(0);
    // To the real API nought is as good as nothing said.
    let per_page = params.number("perPage")?.filter(|said| *said > 0).unwrap_or(per_page);
    if !(1..=ONE_PAGE).contains(&per_page) {
        return Err(ApiError::invalid("perPage must be 1 to 100"));
    }
    let total = all.len();
    let list: Vec<Value> = all.into_iter().skip(page.saturating_mul(per_page)).take(per_page).collect();
    Ok(Json(json!({"list": list, "page": page, "perPage": per_page, "total": total})))
}

/// Many things that come without pages: `{"list"}`.
pub(super) fn listed_whole(all: Vec<Value>) -> Answer {
    Ok(Json(json!({"list": all})))
}

/// Many things that come without pages but counted: `{"list", "total"}`.
pub(super) fn listed_counted(all: Vec<Value>) -> Answer {
    let total = all.len();
    Ok(Json(json!({"list": all, "total": total})))
}

/// What a delete answers.
pub(super) fn nothing() -> Answer {
    Ok(Json(json!({})))
}

/// A body that must be a JSON object; an empty one counts as `{}`.
pub(super) fn object(body: &[u8]) -> Result<Value, ApiError> {
    if body.is_empty() {
        return Ok(json!({}));
    }
    let value: Value =
        serde_json::from_slice(body).map_err(|error| ApiError::invalid(&format!("invalid JSON: {error}")))?;
    if value.is_object() { Ok(value) } else { Err(ApiError::invalid("the body must be a JSON object")) }
}

/// A text field of a body; empty counts as absent.
pub(super) fn text<'a>(body: &'a Value, name: &str) -> Option<&'a str> {
    body.get(name).and_then(Value::as_str).filter(|text| !text.is_empty())
}

/// A text field that must be there.
pub(super) fn needed<'a>(body: &'a Value, name: &str) -> Result<&'a str, ApiError> {
    text(body, name).ok_or_else(|| ApiError::invalid(&format!("{name} is required")))
}

/// An array of texts, or one text for an array of one; absent counts as empty.
pub(super) fn texts(body: &Value, name: &str) -> Vec<String> {
    let items = match body.get(name) {
        Some(Value::Array(items)) => items.as_slice(),
        Some(one) => std::slice::from_ref(one),
        None => &[],
    };
    items.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// A whole number of a body: as JSON writes it, or as text, as 64-bit integers are written.
pub(super) fn number(body: &Value, name: &str) -> Result<Option<u64>, ApiError> {
    let refused = || ApiError::invalid(&format!("{name} is not a whole number"));
    match body.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => text.parse().map(Some).map_err(|_| refused()),
        Some(value) => value.as_u64().map(Some).ok_or_else(refused),
    }
}

/// With `updateMask` (in the query or in the body; names joined by commas, or repeated) only the fields it names are changed, and
/// one that the body does not have is cleared. Whether there was a mask.
pub(super) fn masked(body: Value, params: &Params) -> (Value, bool) {
    let of_body = text(&body, "updateMask").map(str::to_owned);
    let masks: Vec<String> = params.all("updateMask").map(str::to_owned).chain(of_body).collect();
    let named: Vec<&str> = masks.iter().flat_map(|mask| mask.split(',')).map(str::trim).collect();
    let Value::Object(mut fields) = body else { return (body, false) };
    if !named.is_empty() {
        fields.retain(|name, _| named.contains(&name.as_str()));
        for name in &named {
            clear(&mut fields, name);
        }
    }
    (Value::Object(fields), !named.is_empty())
}

/// Makes a field that is not there one that says there is nothing.
pub(super) fn clear(fields: &mut Map<String, Value>, name: &str) {
    let cleared = if name.ends_with("Ids") { json!([]) } else { Value::Null };
    fields.entry(name).or_insert(cleared);
}
