//! The promise: with a certificate instead of a key the gateway is known to Golioth as well, it is told who is at the other end, and
//! nothing is sent to anybody whose certificate could not be held against a clock.
//!
//! The whole daemon in virtual time; the certificates are made by the `openssl` program, valid around the time at which the
//! simulated world begins.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail by panicking")]

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use fieldgate::board::LinkPhase;
use fieldgate::reading::Value;
use fieldgate_dtls::{Identity, Roots, ServerCertificate};
use fieldgate_sim::world::{self, World, WorldOptions};

const MINUTE: Duration = Duration::from_secs(60);
/// The name the simulated world gives its endpoint.
const NAME: &str = "cloud.invalid";
const YEARS: (&str, &str) = ("20260101000000Z", "20360101000000Z");

/// Keys and certificates, `NAME.key` and `NAME.pem`: `root`, `server` and `gw` below it.
struct Pki(tempfile::TempDir);

impl Pki {
    fn make(server_name: &str, server_years: (&str, &str)) -> Self {
        let pki = Self(tempfile::tempdir().unwrap());
        pki.write(
            "ca.cnf",
            "[ca]\ndefault_ca=d\n[d]\ndatabase=index.txt\nserial=serial\nnew_certs_dir=.\ndefault_md=sha256\npolicy=p\n\
             unique_subject=no\n[p]\ncommonName=supplied\norganizationName=optional\n",
        );
        pki.write("index.txt", "");
        pki.write("serial", "01\n");
        pki.certificate("root", "/CN=root", "basicConstraints=critical,CA:TRUE\n", YEARS);
        let names = format!("subjectAltName=DNS:{server_name}\n");
        pki.certificate("server", "/CN=server", &names, server_years);
        pki.certificate("gw", "/O=p/CN=gw-1", "basicConstraints=CA:FALSE\n", YEARS);
        pki
    }

    fn certificate(&self, name: &str, subject: &str, extensions: &str, (from, until): (&str, &str)) {
        let file = |what: &str| format!("{name}.{what}");
        self.write(&file("ext"), extensions);
        self.openssl(&["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", &file("key")]);
        self.openssl(&[
            "req",
            "-new",
            "-sha256",
            "-key",
            &file("key"),
            "-out",
            &file("csr"),
            "-subj",
            subject,
        ]);
        let mut arguments = vec![
            "ca".to_owned(),
            "-batch".into(),
            "-notext".into(),
            "-config".into(),
            "ca.cnf".into(),
            "-in".into(),
            file("csr"),
            "-out".into(),
            file("pem"),
            "-extfile".into(),
            file("ext"),
            "-startdate".into(),
            from.into(),
            "-enddate".into(),
            until.into(),
            "-keyfile".into(),
            "root.key".into(),
        ];
        if name == "root" {
            arguments.push("-selfsign".into());
        } else {
            arguments.extend(["-cert".to_owned(), "root.pem".into()]);
        }
        self.openssl(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    }

    fn openssl(&self, arguments: &[&str]) {
        let done = Command::new("openssl").args(arguments).current_dir(self.0.path()).output().unwrap();
        assert!(done.status.success(), "openssl {arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    }

    fn write(&self, name: &str, text: &str) {
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).open(self.path(name)).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    fn options(&self) -> WorldOptions {
        let mut golioth = String::new();
        for (key, file) in [("certificate_file", "gw.pem"), ("ca_file", "root.pem")] {
            writeln!(golioth, "{key} = {:?}", self.path(file)).unwrap();
        }
        let identity = Identity::from_pem(&self.read("server.pem"), &self.read("server.key")).unwrap();
        let client_roots = Some(Roots::from_pem(&self.read("root.pem")).unwrap());
        let key = String::from_utf8(self.read("gw.key")).unwrap();
        WorldOptions {
            bus: false,
            certificate: Some(ServerCertificate { identity, client_roots }),
            // As long as the test.
            key: Box::leak(key.into_boxed_str()),
            golioth: golioth.into(),
            ..WorldOptions::default()
        }
    }
}

fn in_virtual_time<R>(run: impl Future<Output = R>) -> R {
    world::in_virtual_time(run).unwrap()
}

/// Phase and words of the link.
fn said(world: &World) -> (LinkPhase, String) {
    let link = world.link().unwrap();
    (link.phase, link.words)
}

#[test]
fn readings_arrive_and_the_session_outlives_a_move_and_a_restart() {
    let pki = Pki::make(NAME, YEARS);
    in_virtual_time(async {
        let options = pki.options();
        let mut world = World::start(&options).await.unwrap();
        world.take("al", Value::Bool(true)).await.unwrap();
        world.drained(MINUTE).await.unwrap();
        let (phase, words) = said(&world);
        assert!(phase == LinkPhase::Up && words.contains("TLS_ECDHE_ECDSA_WITH_"), "{words}");
        world.relay(|relay| relay.rebind());
        world.take("al", Value::Bool(false)).await.unwrap();
        world.drained(MINUTE).await.unwrap();
        world = world.restart(&options).await.unwrap();
        world.take("al", Value::Bool(true)).await.unwrap();
        world.drained(MINUTE).await.unwrap();
        let outcome = world.finish().await.unwrap();
        assert_eq!(
            (outcome.handshakes, outcome.acknowledged, outcome.cloud_unique),
            (1, 3, 3),
            "{outcome:?}"
        );
    });
}

#[test]
fn without_a_clock_nothing_is_sent_until_the_time_is_known_and_then_without_another_handshake() {
    let pki = Pki::make(NAME, YEARS);
    in_virtual_time(async {
        let options = WorldOptions { trusted: false, ..pki.options() };
        let world = World::start(&options).await.unwrap();
        world.take("al", Value::Bool(true)).await.unwrap();
        world.pass(20 * MINUTE).await;
        let (phase, words) = said(&world);
        assert!(phase == LinkPhase::Waiting && words.contains("time unverified"), "{words}");
        assert_eq!((world.handshakes(), world.requests(), world.queued()), (1, 0, 1));
        world.trust_the_clock();
        world.drained(6 * MINUTE).await.unwrap();
        assert_eq!((world.handshakes(), said(&world).0), (1, LinkPhase::Up));
    });
}

#[test]
fn a_certificate_that_ended_or_is_anothers_has_a_name_on_the_board_and_gets_nothing() {
    let ended = ("20260101000000Z", "20260601000000Z");
    for (name, years, words) in [(NAME, ended, "expired"), ("other.invalid", YEARS, "another name")] {
        let pki = Pki::make(name, years);
        in_virtual_time(async {
            let world = World::start(&pki.options()).await.unwrap();
            world.take("al", Value::Bool(true)).await.unwrap();
            world.pass(10 * MINUTE).await;
            let (phase, said) = said(&world);
            assert!(phase == LinkPhase::Sick && said.contains(words), "{said}");
            assert_eq!((world.handshakes(), world.queued()), (0, 1));
        });
    }
}

#[test]
fn a_certificate_that_cannot_be_read_keeps_no_reading_from_being_accepted_and_needs_no_restart_once_it_can() {
    let pki = Pki::make(NAME, YEARS);
    let options = pki.options();
    let move_to = |from: &str, to: &str| std::fs::rename(pki.path(from), pki.path(to)).unwrap();
    move_to("gw.pem", "away.pem");
    in_virtual_time(async {
        let world = World::start(&options).await.unwrap();
        world.take("al", Value::Bool(true)).await.unwrap();
        world.pass(MINUTE).await;
        let (phase, said) = said(&world);
        let names = |path: &Path| said.contains(&path.display().to_string());
        assert!(
            phase == LinkPhase::Sick && names(&pki.path("gw.pem")) && said.contains("certificate_file"),
            "{said}"
        );
        move_to("away.pem", "gw.pem");
        world.drained(31 * MINUTE).await.unwrap();
    });
}
