//! The binary: what it prints, what it serves, how it ends.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail by panicking")]

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdout, Command, Output, Stdio};

const PROGRAM: &str = env!("CARGO_BIN_EXE_fieldgate-sim");

struct Running {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Running {
    fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(PROGRAM).args(arguments).stdout(Stdio::piped()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Self { child, out }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.out.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Ctrl-C, and what it says then.
    fn interrupt(mut self) -> String {
        kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGINT).unwrap();
        let mut rest = String::new();
        self.out.read_to_string(&mut rest).unwrap();
        assert!(self.child.wait().unwrap().success());
        rest
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn refused(arguments: &[&str]) -> String {
    let Output { status, stderr, .. } = Command::new(PROGRAM).args(arguments).output().unwrap();
    assert!(!status.success());
    String::from_utf8(stderr).unwrap()
}

#[test]
fn the_cloud_prints_its_addresses_serves_libcoap_and_ends_with_its_account() {
    let any = ["--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--project", "plant"];
    let mut cloud = Running::start(&[["cloud", "--device", "gw:a-key"].as_slice(), &any].concat());
    let devices = cloud.line();
    let address = devices.strip_prefix("devices: ").unwrap();
    assert_eq!(cloud.line(), "device: gw@plant");
    let api = cloud.line();
    assert!(api.starts_with("api: http://127.0.0.1:") && api.ends_with("/v1/projects/plant"), "{api}");
    let asked = Command::new("coap-client-openssl")
        .args(["-u", "gw@plant", "-k", "a-key", "-B", "20", &format!("{address}/hello")])
        .output()
        .expect("coap-client-openssl (libcoap3-bin) is installed");
    assert_eq!(String::from_utf8_lossy(&asked.stdout).trim(), "Hello gw");
    // A client that left again between two looks has no name any more.
    let connected = cloud.line();
    assert!(
        ["connected: gw@plant", "connected: somebody, for a moment"].contains(&connected.as_str()),
        "{connected}"
    );
    let account: serde_json::Value = serde_json::from_str(&cloud.interrupt()).unwrap();
    assert_eq!((&account["cloud"]["handshakes"], &account["cloud"]["requests"]), (&1.into(), &1.into()));
}

#[test]
fn the_bus_prints_its_register_map_and_answers_on_its_link() {
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("bus");
    let mut bus = Running::start(&["bus", "--link", link.to_str().unwrap(), "--baud", "115200"]);
    assert_eq!(bus.line(), format!("port: {}", link.display()));
    assert_eq!(bus.line(), "slave 17: tank");
    let map: Vec<String> = (0..7).map(|_| bus.line()).collect();
    let fills = "  fills        input register 3, u32, bytes ABCD: counts the reads";
    assert!(map.iter().any(|line| line == fills), "{map:?}");
    assert!(!map.iter().any(|line| line.contains("Abcd") || line.contains("Counter")), "{map:?}");
    // Unit 17, input registers 3 and 4: the counter `fills`, first value 1.
    let mut port = OpenOptions::new().read(true).write(true).open(&link).unwrap();
    port.write_all(&[0x11, 0x04, 0x00, 0x03, 0x00, 0x02, 0x83, 0x5B]).unwrap();
    let mut answer = [0; 9];
    port.read_exact(&mut answer).unwrap();
    assert_eq!(answer[..7], [0x11, 0x04, 0x04, 0, 0, 0, 1]);
    drop(port);
    let rest = bus.interrupt();
    assert!(rest.lines().any(|line| line == "connected: somebody asks over the port"), "{rest}");
    assert!(rest.contains("\"slaves\""));
    assert!(std::fs::symlink_metadata(&link).is_err(), "the link goes with the bus");
}

#[test]
fn a_link_that_another_simulator_holds_is_refused_with_its_name_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("bus");
    let arguments = ["bus", "--link", link.to_str().unwrap()];
    let mut first = Running::start(&arguments);
    assert_eq!(first.line(), format!("port: {}", link.display()));
    let target = std::fs::read_link(&link).unwrap();
    let said = refused(&arguments);
    let holder = format!("{} is held by fieldgate-sim, process {}", link.display(), first.child.id());
    assert!(said.contains(&holder), "{said}");
    assert_eq!(std::fs::read_link(&link).unwrap(), target);
    // One that was killed holds nothing any more.
    first.child.kill().unwrap();
    first.child.wait().unwrap();
    let mut second = Running::start(&arguments);
    assert_eq!(second.line(), format!("port: {}", link.display()));
}

#[test]
fn each_profile_of_the_modem_answers_at_on_its_link() {
    let folder = tempfile::tempdir().unwrap();
    for (profile, end) in [("sm", "\r"), ("slm", "\r\n"), ("at", "\r\n")] {
        let link = folder.path().join(profile);
        let mut modem = Running::start(&["modem", "--link", link.to_str().unwrap(), "--profile", profile]);
        assert_eq!(modem.line(), format!("port: {}", link.display()));
        let port = OpenOptions::new().read(true).write(true).open(&link).unwrap();
        let mut typing = port.try_clone().unwrap();
        let mut lines = BufReader::new(port).lines().map(|line| line.unwrap().trim().to_owned());
        assert!(lines.any(|line| line.eq_ignore_ascii_case("ready")), "{profile} starts");
        typing.write_all(format!("AT{end}").as_bytes()).unwrap();
        assert!(lines.any(|line| line == "OK"), "{profile} answers");
        drop((typing, lines));
        modem.interrupt();
    }
}

#[test]
fn what_cannot_be_done_is_said_with_the_remedy() {
    let open = refused(&["cloud", "--device", "gw:key", "--listen", "0.0.0.0:0"]);
    assert!(open.contains("0.0.0.0:0 is not loopback; use 127.0.0.1"), "{open}");
    assert!(refused(&["cloud"]).contains("--device"));
    assert!(refused(&["cloud", "--device", "gw"]).contains("such as gw:0123456789abcdef"));
    let long = refused(&["cloud", "--listen", "127.0.0.1:0", "--device", &format!("gw:{}", "k".repeat(33))]);
    assert!(long.contains("a key of 1 to 32 characters") && !long.contains("kkk"), "{long}");
    let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let busy = refused(&["cloud", "--device", "gw:key", "--listen", &address]);
    assert!(busy.contains("choose a free port, or port 0 for any"), "{busy}");
}
