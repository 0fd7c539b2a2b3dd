//! Certificates for a simulated world, made by the `openssl` program.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::process::Command;

use fieldgate_dtls::{Identity, Roots, ServerCertificate};
use fieldgate_sim::world::WorldOptions;

/// The name the simulated world gives its endpoint.
pub const NAME: &str = "cloud.invalid";
/// Valid around the time at which the simulated world begins.
pub const YEARS: (&str, &str) = ("20260101000000Z", "20360101000000Z");

/// Keys and certificates, `NAME.key` and `NAME.pem`: `root`, `server` and `gw` below it.
pub struct Pki(tempfile::TempDir);

impl Pki {
    pub fn make(server_name: &str, server_years: (&str, &str)) -> Self {
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

    pub fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    pub fn options(&self) -> WorldOptions {
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
