//! What every request passes before a route sees it, and what every answer carries.
//!
//! A browser on the technician's phone may also have a hostile page open. That page can make the browser ask here under a
//! name it controls, so only known `Host`s are answered; it can send a form, so nothing but GET and HEAD is answered and a
//! foreign `Origin` is refused before that. Answers forbid scripts, frames, caching and sniffing.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::{self, HeaderName};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::door::CameTo;
use super::routes::App;

/// Refuses what must be refused, and dresses the answer.
pub(super) async fn guard(
    State(app): State<Arc<App>>,
    ConnectInfo(came_to): ConnectInfo<CameTo>,
    request: Request,
    next: Next,
) -> Response {
    let path = request.uri().path().to_owned();
    let mut response = match check(&request, came_to.0.ip(), &app.hosts) {
        Ok(()) => next.run(request).await,
        Err((status, words)) => refusal(&path, status, words),
    };
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONNECTION, "close"),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("permissions-policy"), "geolocation=(), camera=(), microphone=()"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert(header::CONTENT_SECURITY_POLICY, app.content_policy.clone());
    response
}

/// An answer in words: JSON below `/api/`, else plain text.
pub(super) fn refusal(path: &str, status: StatusCode, words: &str) -> Response {
    let mut response = if path.starts_with("/api/") {
        (status, axum::Json(serde_json::json!({ "error": words }))).into_response()
    } else {
        (status, format!("{words}\n")).into_response()
    };
    if status == StatusCode::METHOD_NOT_ALLOWED {
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    response
}

type Refusal = (StatusCode, &'static str);

fn check(request: &Request, local: IpAddr, names: &[String]) -> Result<(), Refusal> {
    let headers = request.headers();
    let host = only(headers, header::HOST)
        .map_err(|()| (StatusCode::BAD_REQUEST, "A request carries one Host header."))?
        .ok_or((StatusCode::BAD_REQUEST, "A request carries a Host header."))?;
    let target = request.uri().authority().map_or(Ok(()), |authority| {
        if is_ours(authority.as_str(), local, names) { Ok(()) } else { Err(NOT_OURS) }
    });
    if !is_ours(host, local, names) {
        return Err(NOT_OURS);
    }
    target?;
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let origin =
            only(headers, header::ORIGIN).map_err(|()| (StatusCode::BAD_REQUEST, "Two Origin headers."))?;
        if origin.is_some_and(|origin| !same_origin(origin, host)) {
            return Err((StatusCode::FORBIDDEN, "Another site's page may not ask for this."));
        }
        return Err((StatusCode::METHOD_NOT_ALLOWED, "Only GET and HEAD are answered here."));
    }
    let has_body = headers.contains_key(header::TRANSFER_ENCODING)
        || headers.get(header::CONTENT_LENGTH).is_some_and(|length| length != "0");
    if has_body {
        return Err((StatusCode::PAYLOAD_TOO_LARGE, "No request here takes a body."));
    }
    Ok(())
}

const NOT_OURS: Refusal = (
    StatusCode::MISDIRECTED_REQUEST,
    "This gateway is not known by that name. Use its address, or add the name to http.hosts.",
);

fn only(headers: &HeaderMap, name: HeaderName) -> Result<Option<&str>, ()> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| ()),
        (Some(_), Some(_)) => Err(()),
    }
}

/// `http` only: there is no other scheme here.
fn same_origin(origin: &str, host: &str) -> bool {
    origin.strip_prefix("http://").is_some_and(|origin| origin.eq_ignore_ascii_case(host))
}

/// Whether `host`, with or without a port, names this gateway. Any port: a tunnel or a forwarded port has its own.
fn is_ours(host: &str, local: IpAddr, names: &[String]) -> bool {
    let Some(name) = without_port(host) else { return false };
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    if let Some(address) = address(&name) {
        return address == local.to_canonical()
            || address.is_loopback()
            || names.iter().any(|own| self::address(own) == Some(address));
    }
    name == "localhost" || names.contains(&name)
}

fn address(name: &str) -> Option<IpAddr> {
    let inner = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    match inner {
        Some(v6) => v6.parse().ok().map(IpAddr::V6),
        None => name.parse().ok().map(IpAddr::V4),
    }
}

fn without_port(host: &str) -> Option<&str> {
    let end = if host.starts_with('[') { host.find(']')? + 1 } else { host.find(':').unwrap_or(host.len()) };
    let (name, rest) = host.split_at_checked(end)?;
    let port_is_fine =
        rest.is_empty() || rest.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok());
    (port_is_fine && !name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_answers_to_its_own_names_and_addresses_only() {
        let names = ["pump-house".to_owned(), "gateway.example".to_owned(), "[fd00::7]".to_owned()];
        let local: IpAddr = "10.0.0.5".parse().unwrap();
        for (host, ours) in [
            ("10.0.0.5", true),
            ("10.0.0.5:8080", true),
            ("127.0.0.1:9999", true),
            ("localhost", true),
            ("LOCALHOST:8080", true),
            ("localhost.", true),
            ("[::1]:8080", true),
            ("[fd00::7]", true),
            ("Pump-House:80", true),
            ("gateway.example", true),
            ("10.0.0.6", false),
            ("evil.example", false),
            ("gateway.example.evil.example", false),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("localhost:", false),
            ("localhost:99999", false),
            ("localhost:80:80", false),
            ("user@localhost", false),
            ("[::1", false),
            ("[::1]x", false),
            ("", false),
            (":80", false),
        ] {
            assert_eq!(is_ours(host, local, &names), ours, "{host:?}");
        }
    }

    #[test]
    fn an_address_that_arrived_mapped_into_ipv6_is_the_same_address() {
        let local: IpAddr = "::ffff:10.0.0.5".parse().unwrap();
        assert!(is_ours("10.0.0.5:8080", local, &[]));
    }

    #[test]
    fn an_origin_is_the_same_only_with_scheme_name_and_port() {
        assert!(same_origin("http://localhost:8080", "localhost:8080"));
        for foreign in ["https://localhost:8080", "http://localhost:81", "http://evil.example", "null", ""] {
            assert!(!same_origin(foreign, "localhost:8080"), "{foreign}");
        }
    }
}
