//! A page that is bound to an interface: it answers who comes in by that interface, and `fieldgate status` on the box.
//!
//! In network namespaces of the test's own: the gateway's, with the interface `page`, and the technician's at the other end of
//! that cable. Nothing leaves them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail by panicking")]

use std::io::Write;
use std::path::Path;
use std::process::Command;

/// Makes both networks, then runs what follows. Exit status 77: this machine makes no networks.
const NETWORKS: &str = "
ip link set lo up && ip link add page type veth peer name tech && ip addr add 192.0.2.7/24 dev page || exit 77
trap 'kill $technician $daemon $other 2>/dev/null' EXIT
unshare -n sh -c 'echo up; exec sleep 600' >ready 2>&1 & technician=$!
until grep -q up ready; do sleep 0.01; done
ip link set tech netns $technician || exit 77
there() { nsenter -t $technician -n \"$@\"; }
there ip addr add 192.0.2.8/24 dev tech && there ip link set tech up && ip link set page up || exit 77
ask() { printf 'GET /healthz HTTP/1.1\\r\\nHost: 192.0.2.7\\r\\n\\r\\n' | there socat -t5 - TCP:192.0.2.7:8080 | grep '^HTTP/1.1 '; }
status() { \"$FIELDGATE\" --config $1.toml status --json; }
# Tries until it succeeds, for a minute at least: a daemon that has said nothing yet is starting.
eventually() { for n in $(seq 600); do \"$@\" >said 2>&1 && return 0; sleep 0.1; done; cat said log; exit 1; }
";

const SERVES_BOTH: &str = "
\"$FIELDGATE\" --config gateway.toml run >log 2>&1 & daemon=$!
eventually status gateway
grep -q '\"serial\":\"gateway\"' said || { cat said log; exit 1; }
eventually ask
kill -TERM $daemon; wait $daemon
";

const SERVES_THE_INTERFACE_ALONE: &str = "
\"$FIELDGATE\" --config other.toml run >log-other 2>&1 & other=$!
eventually status other
\"$FIELDGATE\" --config gateway.toml run >log 2>&1 & daemon=$!
eventually grep -q 'is not to be had' log
eventually ask
kill -TERM $daemon $other; wait $daemon && wait $other
";

/// Runs a script within the networks, in a folder with the configurations `gateway.toml` (a page on the interface) and
/// `other.toml` (one on loopback, with the same port). `None` where this machine makes no networks.
fn in_networks(script: &str) -> Option<(bool, String)> {
    let dir = tempfile::tempdir().unwrap();
    let page = "interface = \"page\"\nplaintext = \"I accept\"\nlisten = \"192.0.2.7:8080\"\n";
    configured(dir.path(), "gateway", page);
    configured(dir.path(), "other", "listen = \"127.0.0.1:8080\"\n");
    let output = Command::new("unshare")
        .args(["-rn", "sh", "-c", &format!("{NETWORKS}{script}")])
        .env("FIELDGATE", env!("CARGO_BIN_EXE_fieldgate"))
        .env_remove("NOTIFY_SOCKET")
        .current_dir(dir.path())
        .output()
        .unwrap();
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.code() != Some(77)).then_some((output.status.success(), said))
}

#[allow(clippy::disallowed_methods, reason = "the test plays the operator")]
fn configured(dir: &Path, name: &str, http: &str) {
    let state = dir.join(name);
    std::fs::create_dir(&state).unwrap();
    let text = format!(
        "[gateway]\nserial = \"{name}\"\nstate_dir = \"{}\"\n[store]\nballast = \"1MiB\"\n[http]\n{http}",
        state.display()
    );
    std::fs::write(dir.join(format!("{name}.toml")), text).unwrap();
}

/// What a machine without namespaces leaves out fails where everything must be there.
fn checked(result: Option<(bool, String)>) {
    match result {
        Some((passed, said)) => assert!(passed, "{said}"),
        None if std::env::var("CI").is_ok_and(|ci| ci == "true") => panic!("this machine makes no networks"),
        // Not by a macro, whose words cargo's own runner keeps to itself when a test passes; for nextest see .config/nextest.toml.
        None => {
            let words = "left out: the page on an interface (`unshare -rn` or a veth pair is refused here)";
            let _ = writeln!(std::io::stderr(), "{words}");
        }
    }
}

#[test]
fn it_is_served_there_and_to_the_box_itself() {
    checked(in_networks(SERVES_BOTH));
}

#[test]
fn a_loopback_port_that_is_taken_costs_the_box_its_status_and_the_technician_nothing() {
    checked(in_networks(SERVES_THE_INTERFACE_ALONE));
}
