//! A certificate authority that lives as long as a test: keys and certificates made by the `openssl` program, valid around the time
//! at which the simulated world begins.

#![allow(dead_code, reason = "each test file uses its own part")]

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::process::Command;

use fieldgate_dtls::{Identity, Roots, ServerCertificate};
use fieldgate_sim::world::WorldOptions;

/// The name the simulated world gives its endpoint.
pub(crate) const NAME: &str = "cloud.invalid";
pub(crate) const YEARS: (&str, &str) = ("20260101000000Z", "20360101000000Z");

/// Keys and certificates, `NAME.key` and `NAME.pem`: `root`, `server` and `gw` below it.
pub(crate) struct Pki(tempfile::TempDir);

impl Pki {
    pub(crate) fn make(server_name: &str, server_years: (&str, &str)) -> Self {
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

    pub(crate) fn certificate(
        &self,
        name: &str,
        subject: &str,
        extensions: &str,
        (from, until): (&str, &str),
    ) {
        let file = |what: &str| format!("{name}.{what}");
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
        self.sign(
            name,
            if name == "root" || name == "other" { name } else { "root" },
            extensions,
            (from, until),
        );
    }

    /// Has `by` sign the request `NAME.csr`; by itself, if it is its own.
    pub(crate) fn sign(&self, name: &str, by: &str, extensions: &str, years: (&str, &str)) {
        self.signed(name, by, extensions, years, None);
    }

    fn signed(
        &self,
        name: &str,
        by: &str,
        extensions: &str,
        (from, until): (&str, &str),
        subject: Option<&str>,
    ) {
        let file = |what: &str| format!("{name}.{what}");
        let (ca, key) = (format!("{by}.pem"), format!("{by}.key"));
        self.write(&file("ext"), extensions);
        let (csr, pem, ext) = (file("csr"), file("pem"), file("ext"));
        let mut arguments = vec![
            "ca",
            "-batch",
            "-notext",
            "-config",
            "ca.cnf",
            "-in",
            &csr,
            "-out",
            &pem,
            "-extfile",
            &ext,
            "-startdate",
            from,
            "-enddate",
            until,
            "-keyfile",
            &key,
        ];
        match name == by {
            true => arguments.push("-selfsign"),
            false => arguments.extend(["-cert", &ca]),
        }
        if let Some(subject) = subject {
            arguments.extend(["-subj", subject]);
        }
        self.openssl(&arguments);
    }

    /// What `by` makes of a certification request in DER: a certificate in DER, for another subject if one is named.
    pub(crate) fn issue(
        &self,
        request: &[u8],
        by: &str,
        subject: Option<&str>,
        years: (&str, &str),
    ) -> Vec<u8> {
        self.write("asked.der", request);
        self.openssl(&["req", "-inform", "DER", "-in", "asked.der", "-out", "asked.csr"]);
        self.signed("asked", by, "basicConstraints=CA:FALSE\n", years, subject);
        self.openssl(&["x509", "-in", "asked.pem", "-outform", "DER", "-out", "given.der"]);
        self.read("given.der")
    }

    pub(crate) fn openssl(&self, arguments: &[&str]) {
        let done = Command::new("openssl").args(arguments).current_dir(self.0.path()).output().unwrap();
        assert!(done.status.success(), "openssl {arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).open(self.path(name)).unwrap();
        file.write_all(content.as_ref()).unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    /// Puts the certificate `above` after `name`'s, to make a chain.
    pub(crate) fn append(&self, name: &str, above: &str) {
        let file = |name: &str| format!("{name}.pem");
        self.write(&file(name), [self.read(&file(name)), self.read(&file(above))].concat());
    }

    pub(crate) fn options(&self) -> WorldOptions {
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
