//! The certificates that the gateway asked for, with their keys, on disk: one file, replaced whole, so that no key is ever there
//! without its certificate.
//!
//! It is sealed under the key that the operator configured and bound to the certificate beside it. So it opens for nobody who does
//! not hold that key already; and when the operator puts another certificate or key there, it does not open at all, and theirs
//! is used.

use std::io;
use std::path::{Path, PathBuf};

use fieldgate_dtls::{self as dtls, CertificateError, Identity};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::clouds::golioth::kept::zeroed;
use crate::config::Secret;
use crate::store::whole;

const FILE: &str = "golioth.certificate";
const PURPOSE: &str = "fieldgate golioth certificate 1";

/// A certificate with its key.
#[derive(Clone, Serialize, Deserialize, PartialEq, Eq)]
pub(in crate::clouds::golioth) struct Pair {
    /// DER: the certificate, then what leads from it to a root.
    certificates: Vec<Vec<u8>>,
    /// DER.
    #[serde(with = "zeroed")]
    key: Zeroizing<Vec<u8>>,
}

impl Pair {
    pub(in crate::clouds::golioth) fn new(certificates: Vec<Vec<u8>>, key: &[u8]) -> Self {
        Self { certificates, key: Zeroizing::new(key.to_vec()) }
    }

    /// As DTLS takes it.
    ///
    /// # Errors
    /// [`CertificateError`]; not of one that was examined.
    pub(in crate::clouds::golioth) fn identity(&self) -> Result<Identity, CertificateError> {
        let parts: Vec<&[u8]> = self.certificates.iter().map(Vec::as_slice).collect();
        Identity::from_parts(&parts, &self.key)
    }
}

impl std::fmt::Debug for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pair({} certificates and a key)", self.certificates.len())
    }
}

/// What the gateway holds besides what the operator configured.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub(super) struct Held {
    /// The cloud took it once: it is in use instead of the configured one.
    pub(super) proven: Option<Pair>,
    /// It was not shown yet, or not to the end.
    pub(super) fresh: Option<Pair>,
}

/// See the module head.
#[derive(Debug)]
pub(super) struct HeldFile {
    path: PathBuf,
    key: Secret,
}

/// The configured certificate that a file is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Root([u8; 32]);

impl Root {
    pub(super) fn of(configured: &Identity) -> Self {
        let certificates = configured.certificates();
        Self(Sha256::digest(certificates.first().map_or(&[][..], Vec::as_slice)).into())
    }
}

impl HeldFile {
    /// In the state folder, sealed under the configured key.
    pub(super) fn new(state_dir: &Path, key: Secret) -> Self {
        Self { path: state_dir.join(FILE), key }
    }

    /// What there is for a configured certificate.
    ///
    /// # Errors
    /// In words: the file is there and does not open.
    pub(super) fn read(&self, root: Root) -> Result<Held, String> {
        let sealed = whole::read(&self.path).map_err(|error| error.to_string())?;
        let Some(sealed) = sealed else { return Ok(Held::default()) };
        let plain = dtls::unseal(self.key.expose(), PURPOSE, &root.0, &sealed)
            .ok_or("it belongs to another certificate or key than the configured ones, or is damaged")?;
        serde_json::from_slice(&plain).map_err(|error| format!("it does not read: {error}"))
    }

    /// What writes it: to be called where waiting for the disk keeps nobody.
    ///
    /// # Errors
    /// The library is out of memory.
    pub(super) fn writer(
        &self,
        root: Root,
        held: &Held,
        rng: &mut dtls::Rng,
    ) -> io::Result<impl FnOnce() -> io::Result<()> + Send + use<>> {
        let plain = Zeroizing::new(serde_json::to_vec(held)?);
        let sealed =
            dtls::seal(self.key.expose(), PURPOSE, &root.0, &plain, rng).map_err(io::Error::other)?;
        let path = self.path.clone();
        Ok(move || whole::replace(&path, |_| Ok(sealed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rng() -> dtls::Rng {
        Box::new(|bytes| bytes.fill(7))
    }

    fn file(folder: &Path, key: &str) -> HeldFile {
        HeldFile::new(folder, Secret::new(key.as_bytes().to_vec()))
    }

    fn held() -> Held {
        Held { proven: None, fresh: Some(Pair::new(vec![b"certificate".to_vec()], b"the-private-key")) }
    }

    #[test]
    fn what_was_written_opens_with_the_key_and_beside_the_certificate_it_was_written_for() {
        let folder = tempfile::tempdir().unwrap();
        let (mine, root) = (file(folder.path(), "key"), Root([1; 32]));
        assert_eq!(mine.read(root), Ok(Held::default()));
        mine.writer(root, &held(), &mut rng()).unwrap()().unwrap();
        assert_eq!(mine.read(root), Ok(held()));
        assert!(mine.read(Root([2; 32])).is_err(), "the operator put another certificate there");
        assert!(file(folder.path(), "other").read(root).is_err(), "or another key");
    }

    #[test]
    fn neither_the_file_nor_anything_printed_shows_the_key() {
        let folder = tempfile::tempdir().unwrap();
        file(folder.path(), "key").writer(Root([1; 32]), &held(), &mut rng()).unwrap()().unwrap();
        let bytes = std::fs::read(folder.path().join(FILE)).unwrap();
        let shows = |bytes: &[u8]| bytes.windows(11).any(|part| part == b"private-key");
        assert!(!shows(&bytes));
        let printed = format!("{:?}", held());
        assert!(!shows(printed.as_bytes()) && !printed.contains("112, 114, 105"), "{printed}");
    }
}
