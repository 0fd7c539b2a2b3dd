//! The cloud on real sockets, libcoap's client as a device, and plain HTTP requests as an operator.

use super::{API_KEY, KEY, PROJECT, UNIX_MS, config};
use fieldgate_sim::clock::Clock;
use fieldgate_sim::cloud::{Cloud, CloudConfig, CloudHandle, CloudServer, CloudServerError};
use serde_json::Value;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How long a peer may take before the test gives up on it.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Live {
    pub(crate) handle: CloudHandle,
    pub(crate) udp: SocketAddr,
    pub(crate) http: SocketAddr,
    pub(crate) folder: TempDir,
    stop: CancellationToken,
    task: JoinHandle<Result<(), CloudServerError>>,
}

impl Live {
    pub(crate) async fn start() -> Self {
        Self::start_with(config()).await
    }

    pub(crate) async fn start_with(config: CloudConfig) -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let handle = CloudHandle::new(Cloud::new(config, 11, UNIX_MS).unwrap(), Clock::start());
        let server = CloudServer::bind(handle.clone(), any, Some(any)).await.unwrap();
        let (udp, http) = (server.udp_addr(), server.http_addr().unwrap());
        let stop = CancellationToken::new();
        let task = tokio::spawn(server.run(stop.clone()));
        Self { handle, udp, http, folder: tempfile::tempdir().unwrap(), stop, task }
    }

    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap().unwrap();
    }

    fn coap_command(&self, path: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new("coap-client-openssl");
        command.args(["-u", &format!("gw@{PROJECT}"), "-k", KEY, "-B", "20"]);
        command.args(arguments).arg(format!("coaps://{}/{path}", self.udp));
        command.stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    /// Asks as the device `gw`. The body of a 2.xx answer, empty if it has none; what the client printed otherwise.
    pub(crate) async fn coap(&self, path: &str, arguments: &[&str]) -> Result<Vec<u8>, String> {
        let body = self.folder.path().join("body");
        let _none_yet = std::fs::remove_file(&body);
        let mut command = self.coap_command(path, arguments);
        command.args(["-o", body.to_str().unwrap()]);
        let ended = tokio::time::timeout(PATIENCE, command.output());
        let output = ended
            .await
            .expect("coap-client-openssl ends")
            .expect("coap-client-openssl (libcoap3-bin) is installed");
        let printed = [output.stdout, output.stderr].concat();
        let printed = String::from_utf8_lossy(&printed).trim().to_owned();
        if !printed.is_empty() {
            return Err(printed);
        }
        Ok(std::fs::read(&body).unwrap_or_default())
    }

    /// Observes as the device `gw`; what is told comes through the child's standard output.
    pub(crate) fn coap_observe(&self, path: &str, arguments: &[&str]) -> Child {
        let mut command = self.coap_command(path, arguments);
        command.args(["-s", "50", "-w"]).stdout(Stdio::piped()).stderr(Stdio::inherit());
        command.spawn().expect("coap-client-openssl (libcoap3-bin) is installed")
    }

    /// `openssl s_client` as the device `gw`, offering one suite: what goes in and out is what DTLS carries.
    pub(crate) fn s_client(&self, suite: &str) -> Child {
        let key: String = KEY.bytes().map(|byte| format!("{byte:02x}")).collect();
        let mut command = Command::new("openssl");
        command.args(["s_client", "-dtls1_2", "-quiet", "-connect", &self.udp.to_string(), "-psk", &key]);
        command.args(["-psk_identity", &format!("gw@{PROJECT}"), "-cipher", &format!("{suite}:@SECLEVEL=0")]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
        command.spawn().expect("the Debian package openssl is installed")
    }

    pub(crate) fn file(&self, name: &str, content: &[u8]) -> String {
        use std::io::Write as _;
        let path: PathBuf = self.folder.path().join(name);
        let mut file =
            std::fs::OpenOptions::new().create(true).truncate(true).write(true).open(&path).unwrap();
        file.write_all(content).unwrap();
        path.to_str().unwrap().to_owned()
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, Value) {
        self.request("GET", path, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        self.request("POST", path, Some(body)).await
    }

    pub(crate) async fn request(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        self.request_with(method, path, body, &format!("x-api-key: {API_KEY}\r\n")).await
    }

    /// One HTTP request, written out; status and JSON body of the answer.
    pub(crate) async fn request_with(
        &self,
        method: &str,
        path: &str,
        body: Option<Value>,
        headers: &str,
    ) -> (u16, Value) {
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n{headers}content-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            self.http,
            body.len()
        );
        let exchange = async {
            let mut stream = TcpStream::connect(self.http).await.unwrap();
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await.unwrap();
            String::from_utf8(answer).unwrap()
        };
        let answer = tokio::time::timeout(PATIENCE, exchange).await.expect("the API answers");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split_whitespace().nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}")))
    }
}

/// The next line a child says.
pub(crate) async fn line_of(child: &mut Child) -> Vec<u8> {
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = Vec::new();
    let read = out.read_until(b'\n', &mut line);
    tokio::time::timeout(PATIENCE, read).await.expect("the child says something").unwrap();
    assert!(out.buffer().is_empty(), "the child said more than one line");
    child.stdout = Some(out.into_inner());
    line.pop();
    line
}

/// Waits for a condition of the cloud.
pub(crate) async fn until(handle: &CloudHandle, met: impl FnMut(&Cloud) -> bool) {
    tokio::time::timeout(PATIENCE, handle.until(met)).await.expect("the cloud gets there");
}
