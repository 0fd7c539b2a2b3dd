//! The promise: the lane reads what somebody else's Modbus server holds, over a pair of pseudo terminals and the
//! library of the daemon's own serial ports. The server is pymodbus (`tests/peers/modbus_server.py`), the line is
//! socat's. Neither is optional.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail by panicking")]

mod sensors_bench;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use fieldgate::clock::{Clock, SystemClock};
use fieldgate::daemon::rim::{PortSettings, Ports, SerialStream};
use fieldgate::reading::{Quality, Value};
use sensors_bench::{Bench, Record};
use tempfile::TempDir;
use tokio_serial::SerialPortBuilderExt;

const BAUD: u32 = 19_200;

/// Opens terminals as serial ports.
#[derive(Debug)]
struct Terminals;

impl Ports for Terminals {
    fn open(&self, settings: &PortSettings) -> std::io::Result<Box<dyn SerialStream>> {
        let port = tokio_serial::new(settings.path.to_string_lossy(), settings.baud).open_native_async()?;
        Ok(Box::new(port))
    }
}

/// A program that ends with the test.
struct Peer(Child);

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Two pseudo terminals joined by socat, by names of their own: the kernel gives a terminal's number to the next who asks for
/// one, and that may be another test.
struct Line {
    near: PathBuf,
    far: PathBuf,
    _names: TempDir,
    _socat: Peer,
}

impl Line {
    fn new() -> Self {
        let names = TempDir::new().unwrap();
        let (near, far) = (names.path().join("near"), names.path().join("far"));
        let terminal = |name: &Path| format!("pty,raw,echo=0,link={}", name.display());
        let mut socat = Command::new("socat")
            .args(["-d", "-d", &terminal(&near), &terminal(&far)])
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("socat is needed: scripts/need.sh test");
        let mut said = BufReader::new(socat.stderr.take().unwrap()).lines().map(Result::unwrap);
        let socat = Peer(socat);
        said.find(|line| line.contains("starting data transfer loop")).expect("socat makes two terminals");
        Self { near, far, _names: names, _socat: socat }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        // Before socat ends: the names must never lead to somebody else's terminals.
        let _ = std::fs::remove_file(&self.near);
        let _ = std::fs::remove_file(&self.far);
    }
}

/// The foreign server, ready on that terminal.
fn server(port: &Path) -> Peer {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = root.join("target/peers-venv/bin/python");
    let mut python = Command::new(&python)
        .arg(root.join("tests/peers/modbus_server.py"))
        .arg(port)
        .arg(BAUD.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("{} is needed: scripts/need.sh test ({e})", python.display()));
    let mut said = BufReader::new(python.stdout.take().unwrap());
    let peer = Peer(python);
    let mut word = String::new();
    said.read_line(&mut word).unwrap();
    assert_eq!(word, "ready\n", "pymodbus opens the terminal");
    peer
}

fn point(stream: &str, table: &str, register: u16, rest: &str) -> String {
    format!(
        "[[bus.slave.point]]\nstream = \"{stream}\"\ntable = \"{table}\"\nregister = {register}\n{rest}\n"
    )
}

fn configured(port: &Path) -> String {
    let slave = |name: &str, unit: u8| {
        format!("[[bus.slave]]\nname = \"{name}\"\nunit = {unit}\nperiod = \"250ms\"\n")
    };
    let mut text = format!(
        "[store]\ncommit_window = \"100ms\"\n\
         [[bus]]\nname = \"b\"\nkind = \"modbus-rtu\"\nport = \"{}\"\nbaud = {BAUD}\ntimeout = \"2s\"\n",
        port.display()
    );
    text += &slave("one", 1);
    text += &point("temperature", "input", 0, "type = \"int16\"\nscale = 0.1");
    text += &point("humidity", "input", 1, "type = \"uint16\"\nscale = 0.1\nmax = 40");
    text += &point("cold", "input", 2, "type = \"int16\"");
    text += &point("gone", "input", 3, "type = \"int16\"\nsentinel = [-32768]");
    text += &point("float", "holding", 10, "type = \"float32\"");
    text += &point("signed", "holding", 12, "type = \"int32\"");
    text += &point("long", "holding", 14, "type = \"uint64\"");
    text += &point("swapped", "holding", 18, "type = \"uint32\"\norder = \"cdab\"");
    text += &point("double", "holding", 20, "type = \"float64\"");
    for bit in 0..9 {
        text += &point(&format!("coil{bit}"), "coil", bit, "");
    }
    text += &point("door", "discrete", 1, "");
    text += &slave("two", 2);
    for register in 100..225 {
        text += &point(&format!("r{register}"), "holding", register, "type = \"uint16\"");
    }
    text += &point("nowhere", "input", 9000, "type = \"uint16\"");
    text += &slave("nobody", 9);
    text += &point("value", "input", 0, "type = \"uint16\"");
    text
}

fn start(port: &Path) -> Bench {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new(true, None));
    Bench::start(&configured(port), clock, Arc::new(Terminals))
}

/// Waits until so many readings are accepted and so many missed.
async fn until(bench: &Bench, accepted: u64, missed: u64) {
    let mut status = bench.queue.status();
    let enough = status.wait_for(|s| s.intake.accepted >= accepted && s.intake.missed >= missed);
    let found = tokio::time::timeout(Duration::from_secs(60), enough).await;
    assert!(found.is_ok(), "{:?}; {:?}", bench.queue.status().borrow().intake, bench.board.slaves.all());
}

fn all_are(record: &Record, stream: &str, value: &Value, quality: Quality) {
    let rows: Vec<_> = record.of(stream).collect();
    assert!(!rows.is_empty(), "{stream}: {:?}", record.missed);
    assert!(rows.iter().all(|row| (&row.value, row.quality) == (value, quality)), "{stream}: {rows:?}");
}

#[tokio::test]
async fn what_a_foreign_server_holds_is_what_is_on_record() {
    let line = Line::new();
    let _server = server(&line.far);
    let bench = start(&line.near);
    until(&bench, 3 * (19 + 125), 3 * 2).await;
    let record = bench.finish().await;

    use Value::{Absent, Bool, Float, Steps};
    for (stream, value, quality) in [
        ("one.temperature", Steps(215), Quality::Good),
        ("one.humidity", Steps(483), Quality::OutOfRange),
        ("one.cold", Steps(-55), Quality::Good),
        ("one.gone", Absent, Quality::DeviceInvalid),
        ("one.float", Float(23.5), Quality::Good),
        ("one.signed", Steps(-123_456_789), Quality::Good),
        ("one.long", Steps(0x0123_4567_89AB_CDEF), Quality::Good),
        ("one.swapped", Steps(4_000_000_000), Quality::Good),
        ("one.double", Float(-40.25), Quality::Good),
        ("one.door", Bool(true), Quality::Good),
    ] {
        all_are(&record, stream, &value, quality);
    }
    for (bit, value) in [true, false, true, true, false, false, true, false, true].into_iter().enumerate() {
        all_are(&record, &format!("one.coil{bit}"), &Bool(value), Quality::Good);
    }
    for register in 100..225 {
        all_are(&record, &format!("two.r{register}"), &Steps(900 + register), Quality::Good);
    }
    // An address that is not there is refused; a unit that is not there is refused by this server, silent on others.
    assert_eq!(record.of("two.nowhere").count(), 0);
    assert!(record.missed("two.nowhere", "exception") > 0, "{:?}", record.missed);
    assert_eq!(record.of("nobody.value").count(), 0);
    assert!(record.all_missed("nobody.value") > 0, "{:?}", record.missed);
}

#[tokio::test]
async fn a_line_that_goes_away_is_a_gap_that_says_so() {
    let line = Line::new();
    let server = server(&line.far);
    let bench = start(&line.near);
    until(&bench, 200, 0).await;
    drop(server);
    drop(line);
    let missed = bench.queue.status().borrow().intake.missed;
    // Twice: what was under way when it went away may still be silence.
    until(&bench, 200, missed + 2 * 150).await;
    let record = bench.finish().await;
    assert!(record.missed("one.float", "port_down") > 0, "{:?}", record.missed);
    assert!(record.missed("two.r100", "port_down") > 0, "{:?}", record.missed);
}
