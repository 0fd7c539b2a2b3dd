//! Questions to a management plane: GET over HTTP/1.1 (RFC 9112), one at a time, several over one connection.
//!
//! Makes sockets of its own, through tokio, rustls and hyper: left out of runs in virtual time. The roots are the system's, dates are
//! held against the system's clock, names are verified. Nothing is followed: an answer that points elsewhere is the answer.
//!
//! Invariant: one question has one deadline, whatever it is spent on, and its answer is bounded.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{HOST, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio_rustls::TlsConnector;

/// From connecting to the last byte of the answer.
const DEADLINE: Duration = Duration::from_secs(30);
/// A connection is closed after this, whatever is under way on it: that is asked again on a new one.
const KEPT: Duration = Duration::from_secs(90);

/// Why there is no answer. No message has the address: it would repeat the project in every line.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HttpError {
    /// Not an address of this kind.
    #[error("the address cannot be asked: {0}")]
    Address(String),
    /// TLS cannot be set up on this system.
    #[error("TLS cannot be set up: {0}. Install ca-certificates")]
    Tls(String),
    /// No connection, or it broke.
    #[error("{0}")]
    Connection(String),
    /// Nothing, or not all, within the deadline.
    #[error("no answer in time")]
    TimedOut,
    /// More than was to be expected.
    #[error("the answer is longer than {0} bytes")]
    TooLong(usize),
}

/// What came back, whatever its status.
#[derive(Debug)]
pub(crate) struct Answer {
    /// As in RFC 9110, section 15.
    pub status: u16,
    /// All of them.
    pub headers: HeaderMap,
    /// Whole.
    pub body: Vec<u8>,
}

/// Asks one service.
pub(crate) struct HttpClient {
    host: String,
    port: u16,
    authority: HeaderValue,
    /// What goes before each path.
    base: String,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    kept: Mutex<Option<Connection>>,
}

type Connection = SendRequest<Empty<Bytes>>;

impl HttpClient {
    /// For `https://host[:port][/base]`, or `http://` without TLS.
    ///
    /// # Errors
    /// [`HttpError::Address`], [`HttpError::Tls`].
    pub(crate) fn new(url: &str) -> Result<Self, HttpError> {
        let wrong = |what: &str| HttpError::Address(what.to_owned());
        let uri: Uri = url.parse().map_err(|_| wrong("it is no URL"))?;
        let authority = uri.authority().ok_or_else(|| wrong("it names no host"))?;
        // An IPv6 address stands in brackets there, and nowhere else.
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let is_secure = uri.scheme_str() == Some("https");
        let tls = match is_secure {
            true => Some((
                connector()?,
                ServerName::try_from(host.clone()).map_err(|_| wrong("it names no host"))?,
            )),
            false => None,
        };
        Ok(Self {
            port: authority.port_u16().unwrap_or(if is_secure { 443 } else { 80 }),
            authority: HeaderValue::from_str(authority.as_str()).map_err(|_| wrong("it names no host"))?,
            base: uri.path().trim_end_matches('/').to_owned(),
            host,
            tls,
            kept: Mutex::new(None),
        })
    }

    /// Whom it asks, for what is charged for finding that out.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// Whether anybody on the way could change an answer.
    pub(crate) fn is_secure(&self) -> bool {
        self.tls.is_some()
    }

    /// Asks for `path`, which begins with `/` and may have a query, with one more header. The body is at most `longest` bytes.
    ///
    /// # Errors
    /// [`HttpError`]. Any status is an answer.
    pub(crate) async fn get(
        &self,
        path: &str,
        header: (HeaderName, HeaderValue),
        longest: usize,
    ) -> Result<Answer, HttpError> {
        let request = || {
            Request::get(format!("{}{path}", self.base))
                .header(HOST, &self.authority)
                .header(USER_AGENT, concat!("fieldgate/", env!("CARGO_PKG_VERSION")))
                .header(&header.0, &header.1)
                .body(Empty::new())
                .map_err(|_| HttpError::Address("the path has characters that no path has".into()))
        };
        let asked = async {
            let mut kept = self.kept.lock().await;
            if let Some(mut connection) = kept.take() {
                match ask(&mut connection, request()?, longest).await {
                    // It may have been closed meanwhile; and a question that changes nothing may be asked again.
                    Err(HttpError::Connection(_)) => {}
                    answered => {
                        *kept = Some(connection);
                        return answered;
                    }
                }
            }
            let mut connection = self.connect().await?;
            let answer = ask(&mut connection, request()?, longest).await?;
            *kept = Some(connection);
            Ok(answer)
        };
        tokio::time::timeout(DEADLINE, asked).await.unwrap_or(Err(HttpError::TimedOut))
    }

    async fn connect(&self) -> Result<Connection, HttpError> {
        let tcp = TcpStream::connect((self.host.as_str(), self.port)).await.map_err(|e| broken(&e))?;
        match &self.tls {
            None => speaking(tcp).await,
            Some((tls, name)) => {
                speaking(tls.connect(name.clone(), tcp).await.map_err(|e| broken(&e))?).await
            }
        }
    }
}

impl std::fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpClient")
            .field("host", &self.host)
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

/// The certificates this system trusts. Those that do not parse are passed over: systems carry some.
pub(super) fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

fn connector() -> Result<TlsConnector, HttpError> {
    let roots = system_roots();
    if roots.is_empty() {
        return Err(HttpError::Tls("this system has no certificates to trust".into()));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| HttpError::Tls(e.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// A connection, moved on by a task of its own for as long as it may last.
async fn speaking<S>(stream: S) -> Result<Connection, HttpError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (requests, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|e| broken(&e))?;
    // How it ended is heard by whoever asks on it.
    tokio::spawn(tokio::time::timeout(KEPT, connection));
    Ok(requests)
}

/// On a connection that was closed this fails at once.
async fn ask(
    connection: &mut Connection,
    request: Request<Empty<Bytes>>,
    longest: usize,
) -> Result<Answer, HttpError> {
    connection.ready().await.map_err(|e| broken(&e))?;
    let response = connection.send_request(request).await.map_err(|e| broken(&e))?;
    let (head, mut incoming) = response.into_parts();
    let mut body = Vec::new();
    while let Some(frame) = incoming.frame().await {
        let Ok(data) = frame.map_err(|e| broken(&e))?.into_data() else { continue };
        if body.len() + data.len() > longest {
            return Err(HttpError::TooLong(longest));
        }
        body.extend_from_slice(&data);
    }
    Ok(Answer { status: head.status.as_u16(), headers: head.headers, body })
}

/// The innermost cause: those around it only say that a connection was made or a request sent.
fn broken(error: &(dyn std::error::Error + 'static)) -> HttpError {
    let mut innermost = error;
    while let Some(cause) = innermost.source() {
        innermost = cause;
    }
    HttpError::Connection(innermost.to_string())
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
    use tokio::net::TcpListener;

    use super::*;

    fn key() -> (HeaderName, HeaderValue) {
        (HeaderName::from_static("x-api-key"), HeaderValue::from_static("the-key"))
    }

    /// Answers so many questions on each connection with the question's first line, for so many connections, and closes.
    async fn echo(
        connections: usize,
        questions: usize,
    ) -> (HttpClient, tokio::task::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = HttpClient::new(&format!("http://{}/base/", listener.local_addr().unwrap())).unwrap();
        let server = tokio::spawn(async move {
            let mut heard = Vec::new();
            for _ in 0..connections {
                let (stream, _) = listener.accept().await.unwrap();
                let mut stream = BufReader::new(stream);
                for _ in 0..questions {
                    let mut lines = Vec::new();
                    loop {
                        let mut line = String::new();
                        assert!(stream.read_line(&mut line).await.unwrap() > 0, "a whole question");
                        if line == "\r\n" {
                            break;
                        }
                        lines.push(line.trim_end().to_owned());
                    }
                    let answer =
                        format!("HTTP/1.1 404 X\r\ncontent-length: {}\r\n\r\n{}", lines[0].len(), lines[0]);
                    stream.write_all(answer.as_bytes()).await.unwrap();
                    heard.append(&mut lines);
                }
            }
            heard
        });
        (client, server)
    }

    #[tokio::test]
    async fn several_questions_go_over_one_connection_with_what_http_asks_for() {
        let (client, server) = echo(1, 3).await;
        for n in 0..3 {
            let answer = client.get(&format!("/v1/x?n={n}"), key(), 1000).await.unwrap();
            assert_eq!(answer.status, 404, "any status is an answer");
            assert_eq!(answer.body, format!("GET /base/v1/x?n={n} HTTP/1.1").into_bytes());
        }
        let heard = server.await.unwrap();
        let host = format!("host: 127.0.0.1:{}", client.port);
        assert_eq!(heard.iter().filter(|line| **line == host).count(), 3);
        assert_eq!(heard.iter().filter(|line| *line == "x-api-key: the-key").count(), 3);
        assert!(!client.is_secure());
    }

    #[tokio::test]
    async fn a_connection_that_the_service_closed_is_replaced() {
        let (client, server) = echo(3, 1).await;
        for _ in 0..3 {
            assert_eq!(client.get("/", key(), 1000).await.unwrap().status, 404);
        }
        server.await.unwrap();
    }

    #[tokio::test]
    async fn an_answer_that_is_too_long_or_breaks_off_is_none() {
        let (client, _server) = echo(1, 1).await;
        let error = client.get("/a-long-path", key(), 10).await.unwrap_err();
        assert!(matches!(error, HttpError::TooLong(10)), "{error:?}");
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = HttpClient::new(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = String::new();
            BufReader::new(&mut stream).read_line(&mut head).await.unwrap();
            stream.write_all(b"HTTP/1.1 200 X\r\ncontent-length: 9\r\n\r\nhalf").await.unwrap();
        });
        let error = client.get("/", key(), 1000).await.unwrap_err();
        assert!(matches!(error, HttpError::Connection(_)), "{error:?}");
        server.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_service_that_says_nothing_is_given_up_at_the_deadline() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = HttpClient::new(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        assert!(matches!(client.get("/", key(), 1000).await, Err(HttpError::TimedOut)));
    }

    #[tokio::test]
    async fn nobody_there_is_said_without_the_address_and_what_is_no_address_is_refused() {
        let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let error =
            HttpClient::new(&format!("http://{gone}")).unwrap().get("/", key(), 10).await.unwrap_err();
        assert!(error.to_string().contains("refused") && !error.to_string().contains("127.0.0.1"), "{error}");
        for wrong in ["", "/v1", "http://", "a b"] {
            assert!(matches!(HttpClient::new(wrong), Err(HttpError::Address(_))), "{wrong:?}");
        }
        let v6 = HttpClient::new("http://[::1]:8080/x").unwrap();
        assert_eq!((v6.host(), v6.port, v6.authority.to_str().unwrap()), ("::1", 8080, "[::1]:8080"));
    }
}
