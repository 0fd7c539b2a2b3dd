//! Certificates made when a test runs, by the `openssl` program, in a folder that goes with the test.

use std::path::{Path, PathBuf};
use std::process::Command;

use fieldgate_dtls::{Identity, Roots, WallTime};

pub(crate) const SERVER_NAME: &str = "coap.test.example";

/// A folder of keys and certificates, each by its name: `NAME.key`, `NAME.pem`.
pub(crate) struct Pki(tempfile::TempDir);

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    P256,
    P384,
    Rsa,
}

impl Pki {
    /// `rsa-root` (RSA), `ec-root` (P-384), `other-root` which nobody trusts; `between`, an intermediate below `ec-root`; `server` (P-256)
    /// below `rsa-root`, `server-below` with its chain below `between`, both for [`SERVER_NAME`]; `client` (P-384) and `client-256`
    /// below `ec-root`, `stranger` below `other-root`.
    pub(crate) fn make() -> Self {
        let pki = Self(tempfile::tempdir().unwrap());
        pki.root("rsa-root", Kind::Rsa);
        pki.root("ec-root", Kind::P384);
        pki.root("other-root", Kind::P256);
        pki.signed("between", Kind::P256, "/CN=between", "ec-root", "basicConstraints=critical,CA:TRUE\n");
        pki.server("server", "rsa-root");
        pki.server("server-below", "between");
        pki.append("server-below", "between");
        pki.client("client", Kind::P384, "ec-root");
        pki.client("client-256", Kind::P256, "ec-root");
        pki.client("stranger", Kind::P256, "other-root");
        pki
    }

    pub(crate) fn server(&self, name: &str, below: &str) {
        let extensions = format!("basicConstraints=CA:FALSE\nsubjectAltName=DNS:{SERVER_NAME}\n");
        self.signed(name, Kind::P256, "/CN=server", below, &extensions);
    }

    fn client(&self, name: &str, kind: Kind, below: &str) {
        self.signed(name, kind, &format!("/O=my-project/CN={name}"), below, "basicConstraints=CA:FALSE\n");
    }

    pub(crate) fn identity(&self, name: &str) -> Identity {
        Identity::from_pem(&self.read(name, "pem"), &self.read(name, "key")).unwrap()
    }

    pub(crate) fn roots(&self, names: &[&str]) -> Roots {
        Roots::from_pem(&self.bundle(names)).unwrap()
    }

    pub(crate) fn bundle(&self, names: &[&str]) -> Vec<u8> {
        names.iter().flat_map(|name| self.read(name, "pem")).collect()
    }

    /// A moment at which everything made here is valid, a day after it was made.
    pub(crate) fn now(&self) -> WallTime {
        WallTime { unix_s: self.identity("server").validity().0 + 86_400, trusted: true }
    }

    pub(crate) fn path(&self, name: &str, what: &str) -> PathBuf {
        self.0.path().join(format!("{name}.{what}"))
    }

    pub(crate) fn write(&self, name: &str, what: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name, what);
        let mut file =
            std::fs::OpenOptions::new().write(true).create(true).truncate(true).open(&path).unwrap();
        std::io::Write::write_all(&mut file, bytes).unwrap();
        path
    }

    pub(crate) fn read(&self, name: &str, what: &str) -> Vec<u8> {
        std::fs::read(self.path(name, what)).unwrap()
    }

    /// Puts the certificate `below` after `name`'s, to make a chain.
    fn append(&self, name: &str, below: &str) {
        let chain = self.bundle(&[name, below]);
        self.write(name, "pem", &chain);
    }

    /// P-256 keys in the form of SEC 1, the others in PKCS #8.
    fn key(&self, name: &str, kind: Kind) {
        let out = format!("{name}.key");
        match kind {
            Kind::P256 => {
                self.openssl(&["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", &out])
            }
            Kind::P384 => self.openssl(&[
                "genpkey",
                "-algorithm",
                "EC",
                "-pkeyopt",
                "ec_paramgen_curve:P-384",
                "-out",
                &out,
            ]),
            Kind::Rsa => self.openssl(&[
                "genpkey",
                "-algorithm",
                "RSA",
                "-pkeyopt",
                "rsa_keygen_bits:2048",
                "-out",
                &out,
            ]),
        }
    }

    pub(crate) fn root(&self, name: &str, kind: Kind) {
        self.key(name, kind);
        let (key, out, subject) = (format!("{name}.key"), format!("{name}.pem"), format!("/CN={name}"));
        self.openssl(&[
            "req", "-x509", "-new", "-sha256", "-key", &key, "-out", &out, "-subj", &subject, "-days", "3650",
        ]);
    }

    pub(crate) fn signed(&self, name: &str, kind: Kind, subject: &str, by: &str, extensions: &str) {
        self.key(name, kind);
        self.write(name, "ext", extensions.as_bytes());
        let file = |what: &str| format!("{name}.{what}");
        let (ca, ca_key) = (format!("{by}.pem"), format!("{by}.key"));
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
        self.openssl(&[
            "x509",
            "-req",
            "-sha256",
            "-in",
            &file("csr"),
            "-CA",
            &ca,
            "-CAkey",
            &ca_key,
            "-CAcreateserial",
            "-days",
            "365",
            "-extfile",
            &file("ext"),
            "-out",
            &file("pem"),
        ]);
    }

    fn openssl(&self, arguments: &[&str]) {
        let done = Command::new("openssl").args(arguments).current_dir(self.folder()).output().unwrap();
        assert!(done.status.success(), "openssl {arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    }

    pub(crate) fn folder(&self) -> &Path {
        self.0.path()
    }
}
