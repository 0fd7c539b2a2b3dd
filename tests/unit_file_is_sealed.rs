//! The files under `systemd/` keep what they promise: the unit is valid, supervised, sealed, and still lets the daemon do
//! its work; the user, the directories and the port rules parse and say what the unit relies on.
//!
//! Judged by systemd's own tools, which must be present: a missing `systemd-analyze` is a failure, not a skip. Nothing here
//! starts a service or touches the host: every file is a copy in a temporary directory, read offline. One daemon is started
//! as the socket unit would start it, on a port that was free.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of a test fail the test")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

/// Highest exposure, on systemd's scale of 0 to 10, that a release may have.
const EXPOSURE_FLOOR: f64 = 2.0;
/// The binary's place in the package. It does not exist on the machine that runs the tests.
const INSTALLED: &str = "/usr/bin/fieldgate";

#[test]
fn systemd_finds_nothing_wrong_with_the_unit() {
    let dir = tempfile::tempdir().unwrap();
    let unit = write(dir.path(), &with_built_binary(&shipped_unit()));

    let verdict = tool("systemd-analyze", &["verify", path(&unit)]);

    let said = String::from_utf8_lossy(&verdict.stderr).into_owned();
    assert!(verdict.status.success(), "systemd-analyze verify refused the unit:\n{said}");
    // An unknown key is only a warning there, and the directive it was meant to be is then silently off.
    let about_us: Vec<&str> = said.lines().filter(|line| line.contains("fieldgate")).collect();
    assert!(about_us.is_empty(), "systemd-analyze verify warned:\n{}", about_us.join("\n"));
}

#[test]
fn systemd_finds_nothing_wrong_with_the_socket_unit_and_it_is_the_pages_port() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &with_built_binary(&shipped_unit()));
    let socket = write_as(dir.path(), "fieldgate.socket", &repo_file("systemd/fieldgate.socket"));

    // Verified with the service beside it, which its name implies.
    let verdict = tool("systemd-analyze", &["verify", path(&socket)]);

    let said = String::from_utf8_lossy(&verdict.stderr).into_owned();
    assert!(verdict.status.success(), "systemd-analyze verify refused the socket unit:\n{said}");
    let about_us: Vec<&str> = said.lines().filter(|line| line.contains("fieldgate")).collect();
    assert!(about_us.is_empty(), "systemd-analyze verify warned:\n{}", about_us.join("\n"));
    let unit = Unit::parse(&repo_file("systemd/fieldgate.socket"));
    // What the configuration says unless told otherwise: `fieldgate status` asks there.
    assert_eq!(unit.all("Socket", "ListenStream"), ["127.0.0.1:8080"]);
    assert!(unit.all("Socket", "Accept").is_empty(), "one daemon takes every connection");
    assert!(Unit::shipped().all("Unit", "Requires").is_empty(), "the socket unit is optional");
}

#[test]
fn a_daemon_started_by_its_socket_answers_whoever_woke_it() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    fs::create_dir(&state).unwrap();
    let config = write_as(
        dir.path(),
        "fieldgate.toml",
        &format!(
            "[gateway]\nserial = \"gw\"\nstate_dir = \"{}\"\n[store]\nballast = \"1MiB\"\n\
             [http]\nlisten = \"127.0.0.1:1\"\n",
            path(&state)
        ),
    );
    let (mut daemon, mut stream) = woken(&config);
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream.write_all(b"GET /api/gateway/status HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();

    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("\"serial\":\"gw\""), "{answer}");
    let pid = nix::unistd::Pid::from_raw(daemon.0.id().try_into().unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    assert_eq!(daemon.0.wait().unwrap().code(), Some(0));
}

/// A process that does not outlive its test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts the daemon as the socket unit would, and connects to it: the connection starts it, and waits for it.
fn woken(config: &Path) -> (Ended, TcpStream) {
    // The tool takes no port 0. Another program may take the one that was free a moment ago: then another one is tried.
    for _ in 0..10 {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let arguments =
            ["--listen", &free.to_string(), env!("CARGO_BIN_EXE_fieldgate"), "--config", path(config), "run"];
        let starter = Command::new("systemd-socket-activate").args(arguments).stderr(Stdio::null()).spawn();
        let mut daemon =
            Ended(starter.expect("systemd-socket-activate comes with the Debian package systemd"));
        while daemon.0.try_wait().unwrap().is_none() {
            if let Ok(stream) = TcpStream::connect(free) {
                return (daemon, stream);
            }
            std::thread::yield_now();
        }
    }
    panic!("no port could be had");
}

#[test]
fn a_misspelt_directive_does_not_pass_unseen() {
    let dir = tempfile::tempdir().unwrap();
    let misspelt = shipped_unit().replace("WatchdogSec=", "WatchdogSecs=");
    let unit = write(dir.path(), &with_built_binary(&misspelt));

    let verdict = tool("systemd-analyze", &["verify", path(&unit)]);

    assert!(String::from_utf8_lossy(&verdict.stderr).contains("WatchdogSecs"));
}

#[test]
fn the_unit_is_sealed_below_the_exposure_floor() {
    let dir = tempfile::tempdir().unwrap();
    let unit = write(dir.path(), &shipped_unit());

    let exposure = exposure_of(&unit);

    println!("exposure {exposure:.1} of 10 (floor {EXPOSURE_FLOOR:.1}, goal 1.5)");
    assert!(
        exposure <= EXPOSURE_FLOOR,
        "exposure {exposure:.1} is over {EXPOSURE_FLOOR:.1}; what adds to it:\n{}",
        what_is_open(&unit)
    );
}

#[test]
fn a_unit_with_capabilities_and_every_system_call_is_over_the_floor() {
    let dir = tempfile::tempdir().unwrap();
    let open: String = shipped_unit()
        .lines()
        .filter(|line| !line.starts_with("CapabilityBoundingSet=") && !line.starts_with("SystemCallFilter="))
        .flat_map(|line| [line, "\n"])
        .collect();
    let unit = write(dir.path(), &open);

    assert!(exposure_of(&unit) > EXPOSURE_FLOOR, "the measure must tell a sealed unit from an open one");
}

#[test]
fn a_hang_or_a_crash_always_ends_in_a_restart() {
    let unit = Unit::shipped();

    assert_eq!(unit.all("Service", "Type"), ["notify"]);
    assert_eq!(unit.all("Service", "NotifyAccess"), ["main"]);
    assert_eq!(unit.all("Service", "ExecStart"), [format!("{INSTALLED} run")]);
    assert_eq!(unit.all("Service", "WatchdogSec"), ["60"]);
    assert_eq!(unit.all("Service", "Restart"), ["always"]);
    // In [Unit]: in [Service] systemd ignores it, and the sixth crash within ten seconds would be the last start.
    assert_eq!(unit.all("Unit", "StartLimitIntervalSec"), ["0"]);
    let pause_s: u64 = unit.all("Service", "RestartSec").concat().parse().unwrap();
    assert!((1..=30).contains(&pause_s), "a restart after {pause_s} s is a busy loop or a hole in the data");
}

#[test]
fn the_daemon_has_no_privilege_and_leaves_no_key_in_a_core_or_swap_file() {
    let unit = Unit::shipped();

    assert_eq!(unit.all("Service", "User"), ["fieldgate"]);
    assert_eq!(unit.all("Service", "CapabilityBoundingSet"), [""]);
    assert_eq!(unit.all("Service", "AmbientCapabilities"), [""]);
    assert_eq!(unit.all("Service", "NoNewPrivileges"), ["yes"]);
    assert_eq!(unit.all("Service", "LimitCORE"), ["0"]);
    assert_eq!(unit.all("Service", "MemorySwapMax"), ["0"]);
}

#[test]
fn the_seal_leaves_the_daemon_its_ports() {
    let unit = Unit::shipped();

    assert_eq!(unit.all("Service", "DevicePolicy"), ["closed"]);
    assert!(unit.all("Service", "PrivateDevices").is_empty(), "PrivateDevices= hides every serial port");
    // By number: a class named in words is looked up once, when the service starts, and an adapter whose driver is
    // loaded later would be refused.
    for (major, port) in [(4, "ttyS"), (166, "ttyACM"), (188, "ttyUSB"), (204, "ttyAMA")] {
        let entry = format!("char-{major} rw");
        assert!(unit.all("Service", "DeviceAllow").contains(&entry), "{port} ({entry}) is not allowed");
    }
    assert_eq!(unit.words("SupplementaryGroups"), ["dialout"]);
}

#[test]
fn the_seal_leaves_the_daemon_its_sockets_directories_and_boot_id() {
    let unit = Unit::shipped();

    let families = unit.words("RestrictAddressFamilies");
    assert_eq!(families, ["AF_INET", "AF_INET6", "AF_UNIX", "AF_NETLINK"]);
    assert_eq!(unit.all("Service", "ProtectSystem"), ["strict"]);
    for key in ["StateDirectory", "ConfigurationDirectory", "RuntimeDirectory"] {
        assert_eq!(unit.all("Service", key), ["fieldgate"], "{key}=");
    }
    // ProcSubset=pid would hide /proc/sys/kernel/random/boot_id, and with it the time of a reading taken before the
    // clock is known.
    assert_eq!(unit.all("Service", "ProcSubset"), ["all"]);
}

#[test]
fn the_shipped_unit_names_no_secret_that_a_fresh_install_lacks() {
    let unit = Unit::shipped();

    // A named credential whose file is missing stops the start.
    for key in
        ["LoadCredential", "LoadCredentialEncrypted", "SetCredential", "Environment", "EnvironmentFile"]
    {
        assert!(unit.all("Service", key).is_empty(), "{key}= belongs in the operator's drop-in");
    }
}

#[test]
fn the_user_the_unit_runs_as_is_made_with_the_group_of_the_ports() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("etc")).unwrap();

    let made =
        tool("systemd-sysusers", &[&root_argument(root.path()), &repo_path("systemd/fieldgate.sysusers")]);

    assert!(made.status.success(), "systemd-sysusers: {}", String::from_utf8_lossy(&made.stderr));
    let users = fs::read_to_string(root.path().join("etc/passwd")).unwrap();
    let user = users.lines().find(|line| line.starts_with("fieldgate:")).expect("the user is made");
    assert!(user.ends_with(":/var/lib/fieldgate:/usr/sbin/nologin"), "{user}");
    let groups = fs::read_to_string(root.path().join("etc/group")).unwrap();
    let dialout = groups.lines().find(|line| line.starts_with("dialout:")).expect("the group exists");
    assert!(dialout.ends_with(":fieldgate"), "{dialout}");
}

#[test]
fn the_directories_file_parses_keeps_credentials_to_root_and_cleans_nothing() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("etc")).unwrap();
    let file = "systemd/fieldgate.tmpfiles";

    // As at boot: the owners it names exist by then.
    tool("systemd-sysusers", &[&root_argument(root.path()), &repo_path("systemd/fieldgate.sysusers")]);
    // --clean reads every line and acts only on ages, so it is the reading alone that is tested, also without root.
    let read = tool("systemd-tmpfiles", &["--clean", &root_argument(root.path()), &repo_path(file)]);

    assert!(read.status.success(), "systemd-tmpfiles: {}", String::from_utf8_lossy(&read.stderr));
    let text = repo_file(file);
    let lines: Vec<Vec<&str>> = settings(&text).map(|line| line.split_whitespace().collect()).collect();
    assert!(lines.contains(&vec!["d", "/etc/fieldgate/credentials", "0700", "root", "root", "-", "-"]));
    assert!(
        lines.iter().all(|line| line.get(5) == Some(&"-")),
        "a line with an age deletes the operator's files"
    );
}

#[test]
fn modem_manager_is_kept_off_the_at_port() {
    let rules = UdevRules::shipped();

    for vendor in ["1366", "1915"] {
        let device = format!("ATTR{{idVendor}}=={vendor}");
        assert!(
            rules.any(&["SUBSYSTEM==usb", "ENV{DEVTYPE}==usb_device", &device, "ENV{ID_MM_DEVICE_IGNORE}=1"]),
            "no rule marks the USB device of vendor {vendor}"
        );
    }
    assert!(rules.any(&["ENV{ID_VENDOR_ID}==1366|1915", "ENV{FIELDGATE_MODEM}=1"]));
    assert!(rules.any(&["ENV{ID_MM_DEVICE_IGNORE}=1", "ENV{ID_MM_PORT_IGNORE}=1"]));
}

#[test]
fn a_modem_port_has_a_name_that_survives_a_reset() {
    let rules = UdevRules::shipped();

    assert!(rules.any(&["SYMLINK+=fieldgate/modem-$env{ID_SERIAL_SHORT}-if$env{ID_USB_INTERFACE_NUM}"]));
    assert!(rules.any(&["TAG+=systemd"]));
}

#[test]
fn every_jump_in_the_port_rules_has_a_place_to_land() {
    let rules = UdevRules::shipped();

    // udev ignores a rule whose label is missing, and with it what the jump was meant to skip.
    let targets = rules.values("GOTO=");
    assert!(!targets.is_empty());
    for target in targets {
        assert!(rules.any(&[&format!("LABEL={target}")]), "GOTO {target} leads nowhere");
    }
}

// ---- The unit file ------------------------------------------------------------------------------------------------------

/// Assignments of a unit file by section and key, in order, repeated keys kept.
struct Unit(BTreeMap<(String, String), Vec<String>>);

impl Unit {
    fn shipped() -> Self {
        Self::parse(&shipped_unit())
    }

    fn parse(text: &str) -> Self {
        let mut section = String::new();
        let mut assignments: BTreeMap<_, Vec<String>> = BTreeMap::new();
        for line in settings(text) {
            if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                section = name.to_owned();
                continue;
            }
            let (key, value) = line.split_once('=').unwrap_or_else(|| panic!("not an assignment: {line}"));
            assignments.entry((section.clone(), key.to_owned())).or_default().push(value.to_owned());
        }
        Self(assignments)
    }

    fn all(&self, section: &str, key: &str) -> Vec<String> {
        self.0.get(&(section.to_owned(), key.to_owned())).cloned().unwrap_or_default()
    }

    fn words(&self, key: &str) -> Vec<String> {
        self.all("Service", key)
            .iter()
            .flat_map(|value| value.split_whitespace())
            .map(str::to_owned)
            .collect()
    }
}

fn shipped_unit() -> String {
    repo_file("systemd/fieldgate.service")
}

/// `verify` wants the program to exist, so it gets the one built for these tests.
fn with_built_binary(unit: &str) -> String {
    assert!(unit.contains(INSTALLED), "the unit starts the packaged binary");
    unit.replace(INSTALLED, env!("CARGO_BIN_EXE_fieldgate"))
}

/// Overall exposure as `systemd-analyze security` prints it. Its JSON has the parts only, not their sum.
fn exposure_of(unit: &Path) -> f64 {
    let report = tool("systemd-analyze", &["security", "--offline=yes", "--no-pager", path(unit)]);
    let text = String::from_utf8_lossy(&report.stdout).into_owned();
    let (_, verdict) = text
        .rsplit_once("exposure level for fieldgate.service: ")
        .unwrap_or_else(|| panic!("no verdict in:\n{text}{}", String::from_utf8_lossy(&report.stderr)));
    let figure = verdict.split_whitespace().next().unwrap_or_default();
    figure.parse().unwrap_or_else(|_| panic!("not a figure: {figure}"))
}

/// What `systemd-analyze security` holds against the unit, one line each.
fn what_is_open(unit: &Path) -> String {
    let report = tool("systemd-analyze", &["security", "--offline=yes", "--json=short", path(unit)]);
    let checks: Vec<serde_json::Value> = serde_json::from_slice(&report.stdout).unwrap();
    checks
        .iter()
        .filter(|check| check["set"] == false)
        .map(|check| format!("  {} {}", check["exposure"], check["description"]))
        .collect::<Vec<_>>()
        .join("\n")
}

// ---- The udev rules -----------------------------------------------------------------------------------------------------

/// Rules as lists of key, operator and value, without the quotes. Reading is strict where udev would skip a line and go on.
struct UdevRules(Vec<Vec<String>>);

impl UdevRules {
    fn shipped() -> Self {
        Self(settings(&repo_file("systemd/60-fieldgate.rules")).map(Self::parse).collect())
    }

    fn parse(line: &str) -> Vec<String> {
        let mut tokens = Vec::new();
        let mut rest = line;
        loop {
            let (head, after) = rest.split_once('"').unwrap_or_else(|| panic!("no quoted value: {line}"));
            let (value, after) = after.split_once('"').unwrap_or_else(|| panic!("unfinished value: {line}"));
            let key = head.trim_end_matches(['=', '!', '+', '-', ':']);
            let operator = head.strip_prefix(key).unwrap_or_default();
            let name = key.split('{').next().unwrap_or_default();
            assert!(KNOWN_KEYS.contains(&name), "a key these rules have no use for, {name}: {line}");
            assert_eq!(key.contains('{'), key.ends_with('}'), "unbalanced braces: {line}");
            assert!(["==", "!=", "=", "+="].contains(&operator), "unknown operator {operator}: {line}");
            tokens.push(format!("{key}{operator}{value}"));
            if after.is_empty() {
                return tokens;
            }
            rest = after.strip_prefix(", ").unwrap_or_else(|| panic!("tokens are parted by commas: {line}"));
        }
    }

    /// Whether one rule has all of these tokens.
    fn any(&self, tokens: &[&str]) -> bool {
        self.0.iter().any(|rule| tokens.iter().all(|token| rule.iter().any(|have| have == token)))
    }

    /// Values of every token that begins with `prefix`.
    fn values(&self, prefix: &str) -> Vec<&str> {
        self.0.iter().flatten().filter_map(|token| token.strip_prefix(prefix)).collect()
    }
}

/// The keys of udev(7) that the rules may use: RUN and PROGRAM are not among them, for these rules run nothing.
const KNOWN_KEYS: [&str; 12] = [
    "ACTION",
    "SUBSYSTEM",
    "SUBSYSTEMS",
    "ATTR",
    "ENV",
    "IMPORT",
    "SYMLINK",
    "TAG",
    "GROUP",
    "MODE",
    "GOTO",
    "LABEL",
];

// ---- Files and tools ----------------------------------------------------------------------------------------------------

/// The lines that mean something: neither blank nor comment.
fn settings(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
}

fn repo_path(name: &str) -> String {
    format!("{}/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn repo_file(name: &str) -> String {
    fs::read_to_string(repo_path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn root_argument(root: &Path) -> String {
    format!("--root={}", path(root))
}

fn path(path: &Path) -> &str {
    path.to_str().expect("temporary paths are UTF-8")
}

/// Puts a unit where systemd's tools take its name from the file's.
fn write(dir: &Path, unit: &str) -> PathBuf {
    write_as(dir, "fieldgate.service", unit)
}

fn write_as(dir: &Path, name: &str, unit: &str) -> PathBuf {
    let path = dir.join(name);
    let mut file = fs::OpenOptions::new().write(true).create_new(true).open(&path).unwrap();
    file.write_all(unit.as_bytes()).unwrap();
    path
}

/// Runs one of systemd's tools in a fixed locale. Its absence fails the test: these files must never ship unchecked.
fn tool(name: &str, arguments: &[&str]) -> Output {
    Command::new(name).args(arguments).env("LC_ALL", "C.UTF-8").output().unwrap_or_else(|error| {
        panic!("{name} could not be run ({error}): install the Debian package systemd, or run `scripts/need.sh test`")
    })
}
