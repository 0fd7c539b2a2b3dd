//! The promise: whoever stands before the box with a shell gets an answer that says what is so and what to do, whether the
//! daemon runs or not, whether it may read the secrets or not; and a daemon ends cleanly on each of the usual signals.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail by panicking")]

use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const FIELDGATE: &str = env!("CARGO_BIN_EXE_fieldgate");

/// A folder with a configuration and a state folder, as an operator would have them.
struct Installed {
    dir: tempfile::TempDir,
}

impl Installed {
    fn new(rest: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        std::fs::create_dir(&state).unwrap();
        let text = format!(
            "[gateway]\nserial = \"gw-1\"\nstate_dir = \"{}\"\n[store]\nballast = \"1MiB\"\n{rest}",
            state.display()
        );
        write(&dir.path().join("fieldgate.toml"), &text);
        Self { dir }
    }

    fn config(&self) -> PathBuf {
        self.dir.path().join("fieldgate.toml")
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(FIELDGATE);
        command.arg("--config").arg(self.config()).args(words);
        command.env_remove("CREDENTIALS_DIRECTORY").env_remove("NOTIFY_SOCKET").stdin(Stdio::null());
        command
    }

    fn say(&self, words: &[&str]) -> (i32, String) {
        let Output { status, stdout, stderr } = self.command(words).output().unwrap();
        let text = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
        (status.code().unwrap_or(-1), text)
    }

    /// Starts the daemon and returns once it says that it is ready, as systemd would hear it.
    fn run(&self) -> Running {
        let socket = self.dir.path().join("notify");
        let _ = std::fs::remove_file(&socket);
        let notify = UnixDatagram::bind(&socket).unwrap();
        notify.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut command = self.command(&["run"]);
        command.env("NOTIFY_SOCKET", &socket).stdout(Stdio::null()).stderr(Stdio::null());
        let running = Running(command.spawn().unwrap());
        let mut buffer = [0; 512];
        loop {
            let len = notify.recv(&mut buffer).expect("the daemon never said that it is ready");
            if String::from_utf8_lossy(&buffer[..len]).lines().any(|line| line == "READY=1") {
                return running;
            }
        }
    }
}

/// A daemon that does not outlive its test.
struct Running(Child);

impl Running {
    fn end_by(mut self, signal: Signal) -> Option<i32> {
        kill(Pid::from_raw(self.0.id().try_into().unwrap()), signal).unwrap();
        self.0.wait().unwrap().code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[allow(clippy::disallowed_methods, reason = "the test plays the operator")]
fn write(path: &std::path::Path, text: &str) {
    std::fs::write(path, text).unwrap();
}

const OFF: &str = "[http]\nlisten = \"off\"\n";

#[test]
fn a_refused_configuration_has_its_own_exit_status_and_every_line_a_remedy() {
    let gateway = Installed::new("[store2]\nx = 1\n");
    for words in [&["run"][..], &["check"], &["status"], &["queue", "ls"], &["firmware", "history"]] {
        let (code, said) = gateway.say(words);
        assert_eq!(code, 78, "{words:?}: {said}");
        assert!(said.contains("fieldgate.toml:6: store2: this key is unknown."), "{words:?}: {said}");
    }
}

#[test]
fn who_only_looks_needs_no_secret_and_the_daemon_does() {
    let golioth = format!("{OFF}[golioth]\npsk_id = \"gw-1@p\"\npsk_credential = \"golioth-psk\"\n");
    let gateway = Installed::new(&golioth);
    let (code, said) = gateway.say(&["run"]);
    assert_eq!(code, 78, "{said}");
    assert!(said.contains("systemd passed no credentials."), "{said}");
    let (code, said) = gateway.say(&["check"]);
    assert_eq!(code, 0, "a credential that only systemd can pass is no fault of the asker's: {said}");
    assert!(said.contains("warn  secrets: fieldgate.toml:10: golioth.psk_credential"), "{said}");
    let (code, said) = gateway.say(&["queue", "ls"]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("does not exist: the daemon has not run here yet"), "{said}");
}

#[test]
fn check_names_each_port_that_is_missing_and_what_to_do() {
    let bus = "[[bus]]\nname = \"field\"\nkind = \"modbus-rtu\"\nport = \"/dev/serial/by-id/not-there\"\n\
               [[bus.slave]]\nname = \"tank\"\nunit = 1\n[[bus.slave.point]]\nstream = \"level\"\ntable = \"input\"\n\
               register = 0\ntype = \"uint16\"\n";
    let (code, said) = Installed::new(&format!("{OFF}{bus}")).say(&["check"]);
    assert_eq!(code, 1, "{said}");
    let line = said.lines().find(|line| line.starts_with("FAIL")).expect("a finding");
    assert!(line.contains("bus field: /dev/serial/by-id/not-there is not there"), "{line}");
    assert!(line.contains("Plug the adapter in, or list what there is"), "{line}");
}

#[test]
fn check_notices_that_another_program_has_the_page_s_port_and_says_how_to_find_it() {
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = other.local_addr().unwrap();
    let gateway = Installed::new(&format!("[http]\nlisten = \"{at}\"\n"));
    let (code, said) = gateway.say(&["check"]);
    assert_eq!(code, 1, "{said}");
    let line = said.lines().find(|line| line.starts_with("FAIL")).expect("a finding");
    assert!(line.contains(&format!("page: {at} is in use by another program")), "{line}");
    assert!(line.contains(&format!("ss -ltnp 'sport = :{}'", at.port())), "{line}");
    drop(other);
    let (code, said) = gateway.say(&["check"]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains(&format!("ok    page: {at} is free")), "{said}");
    // Our own daemon has it then: that is no fault.
    let running = gateway.run();
    let (code, said) = gateway.say(&["check"]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("page: a running fieldgate serves http://"), "{said}");
    assert_eq!(running.end_by(Signal::SIGTERM), Some(0));
}

#[test]
fn the_status_begins_with_the_verdict_and_what_to_do_and_fits_a_screen() {
    let at = free_port();
    let gateway = Installed::new(&format!("[http]\nlisten = \"{at}\"\n"));
    let running = gateway.run();
    let said = answered(&gateway, &["status"]);
    let mut lines = said.lines();
    let verdict = lines.next().unwrap();
    assert!(verdict.starts_with("Attention: ") || verdict.starts_with("Broken: "), "{said}");
    assert!(lines.next().unwrap().starts_with("  next: "), "{said}");
    assert!(said.lines().count() <= 24, "{said}");
    for part in ["\nlost ", "\nsensors ", "\nclock ", "\ndisk ", "\nflash "] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let whole: serde_json::Value = serde_json::from_str(&answered(&gateway, &["status", "--json"])).unwrap();
    assert_eq!(whole["queue"]["configuredWindowMilliseconds"], 1000);
    let all = answered(&gateway, &["status", "--all"]);
    assert!(all.contains("queue\n") && all.contains("  configuredWindowMilliseconds: 1000\n"), "{all}");
    assert_eq!(running.end_by(Signal::SIGTERM), Some(0));
}

/// What the daemon answers: it is ready to accept readings before its page listens.
fn answered(gateway: &Installed, words: &[&str]) -> String {
    for _ in 0..1000 {
        let (code, said) = gateway.say(words);
        if code == 0 {
            return said;
        }
        assert!(said.contains("no daemon answers"), "{said}");
    }
    panic!("the page never listened");
}

/// An address that was free a moment ago: the configuration needs one before the daemon takes it.
fn free_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[test]
fn a_silent_daemon_is_explained_to_who_asks_for_its_status() {
    let (code, said) = Installed::new("[http]\nlisten = \"127.0.0.1:1\"\n").say(&["status"]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("no daemon answers at 127.0.0.1:1"), "{said}");
    assert!(said.contains("Is it running?"), "{said}");
}

#[test]
fn a_second_daemon_on_the_same_folder_is_refused_and_the_first_goes_on() {
    let gateway = Installed::new(OFF);
    let first = gateway.run();
    let (code, said) = gateway.say(&["run"]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("another fieldgate runs on"), "{said}");
    assert!(said.contains("Stop it first"), "{said}");
    assert_eq!(first.end_by(Signal::SIGTERM), Some(0));
}

#[test]
fn every_usual_signal_ends_the_daemon_cleanly_and_leaves_books_that_agree() {
    let gateway = Installed::new(OFF);
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        assert_eq!(gateway.run().end_by(signal), Some(0), "{signal}");
        let (code, said) = gateway.say(&["queue", "verify"]);
        assert_eq!(code, 0, "{signal}: {said}");
        assert!(said.contains("The books agree"), "{signal}: {said}");
        assert!(!said.contains("unclean_stop"), "{signal}: {said}");
    }
    assert_eq!(gateway.run().end_by(Signal::SIGKILL), None);
    assert_eq!(gateway.run().end_by(Signal::SIGTERM), Some(0));
    let (_, said) = gateway.say(&["queue", "verify"]);
    assert!(said.contains("missed, unclean_stop: an unknown number"), "a kill is on record: {said}");
}

#[test]
fn the_history_of_a_first_start_is_told_and_verified_with_the_daemon_running_or_not() {
    let gateway = Installed::new(OFF);
    let running = gateway.run();
    let told = |what: &str| {
        let deadline = 200;
        for _ in 0..deadline {
            let (code, said) = gateway.say(&["firmware", "history"]);
            if code == 0 && said.contains(what) {
                return said;
            }
        }
        panic!("the history never said {what}");
    };
    let said = told("factory_default");
    assert!(said.contains(env!("CARGO_PKG_VERSION")), "{said}");
    assert_eq!(running.end_by(Signal::SIGTERM), Some(0));
    let (code, said) = gateway.say(&["firmware", "verify"]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("The firmware history is whole: 1 entry,"), "{said}");
}
