//! Certificates (RFC 5280): who this side is, whom it trusts, and what can be wrong with the peer's.
//!
//! Parsed once and checked then; a clone is cheap and shares what was parsed. Keys are zeroed on drop and never shown.

use core::fmt;
use std::sync::Arc;

use crate::LibraryError;
use crate::ffi::code::bad;
use crate::ffi::x509::{CertificateList, Name, PrivateKey};

/// A wall clock as of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WallTime {
    /// Seconds since 1970-01-01T00:00:00Z.
    pub unix_s: u64,
    /// Somebody vouches for it. Otherwise it is only a floor: it is at least this late. Then a certificate is refused if it
    /// ended before the floor, never because it seems not to have begun, and the connection says that its time is
    /// unverified.
    pub trusted: bool,
}

/// Whose certificate it is: the parts of its subject that identify a device or an organization.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subject {
    /// CN. Golioth: the certificate id.
    pub common_name: Option<String>,
    /// O. Golioth: the project id.
    pub organization: Option<String>,
}

impl From<Name> for Subject {
    fn from(name: Name) -> Self {
        Self { common_name: name.common_name, organization: name.organization }
    }
}

/// This side's certificate, with what leads from it to a root, and its key.
#[derive(Clone)]
pub struct Identity(Arc<Own>);

struct Own {
    chain: Arc<CertificateList>,
    key: Arc<PrivateKey>,
}

impl Identity {
    /// From PEM: the certificate first, then what signed it, roots left out; and the key, not encrypted (SEC 1 or PKCS #8).
    ///
    /// # Errors
    /// [`CertificateError`], by which of the two it is and what to do.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, CertificateError> {
        Self::from_parts(&[chain], key)
    }

    /// The same from several parts, each PEM or one certificate in DER; the key may be DER as well.
    ///
    /// # Errors
    /// As [`Identity::from_pem`].
    pub fn from_parts(parts: &[&[u8]], key: &[u8]) -> Result<Self, CertificateError> {
        let (chain, left_out) = CertificateList::parse(parts).map_err(CertificateError::chain)?;
        if left_out > 0 {
            return Err(CertificateError::PartOfChain { left_out });
        }
        let key = PrivateKey::parse(key).map_err(|code| CertificateError::Key(LibraryError::new(code)))?;
        if !key.is_ecdsa() {
            return Err(CertificateError::KeyKind);
        }
        if !key.belongs_to(&chain) {
            return Err(CertificateError::Mismatch);
        }
        Ok(Self(Arc::new(Own { chain: Arc::new(chain), key: Arc::new(key) })))
    }

    /// Whose it is.
    pub fn subject(&self) -> Subject {
        self.0.chain.subject().into()
    }

    /// The Unix seconds of its first and last moment.
    pub fn validity(&self) -> (u64, u64) {
        self.0.chain.validity()
    }

    /// Its certificates in DER: its own, then what signed it, as far as given.
    pub fn certificates(&self) -> Vec<Vec<u8>> {
        self.0.chain.der()
    }

    /// Whether a chain leads from it to one of these, all of it valid at `now`, whoever vouches for that time.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn leads_to(&self, roots: &Roots, now: WallTime) -> Result<(), CertificateProblem> {
        self.0.chain.verify(roots.list(), now.unix_s).map_err(CertificateProblem::of)
    }

    pub(crate) fn chain(&self) -> &Arc<CertificateList> {
        &self.0.chain
    }

    pub(crate) fn key(&self) -> &Arc<PrivateKey> {
        &self.0.key
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity(certificate and key)")
    }
}

/// The certificates of those who may vouch for the peer.
#[derive(Clone)]
pub struct Roots(Arc<CertificateList>);

impl Roots {
    /// From PEM, any number. One of a kind this build cannot read is left out, as long as others remain.
    ///
    /// # Errors
    /// [`CertificateError`], when none can be used.
    pub fn from_pem(pem: &[u8]) -> Result<Self, CertificateError> {
        Self::from_parts(&[pem])
    }

    /// The same from several parts, each PEM or one certificate in DER. One that signs others need not have signed itself.
    ///
    /// # Errors
    /// As [`Roots::from_pem`].
    pub fn from_parts(parts: &[&[u8]]) -> Result<Self, CertificateError> {
        let (list, _) = CertificateList::parse(parts).map_err(CertificateError::chain)?;
        Ok(Self(Arc::new(list)))
    }

    pub(crate) fn list(&self) -> &Arc<CertificateList> {
        &self.0
    }
}

impl fmt::Debug for Roots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Roots(certificates)")
    }
}

/// Why a certificate or its key cannot be used here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// No PEM, or a certificate the library does not understand.
    #[error("no usable certificate ({0}): give PEM text that begins with -----BEGIN CERTIFICATE-----")]
    Certificate(LibraryError),
    /// A chain with a link missing is no chain.
    #[error("{left_out} of the chain's certificates cannot be read: correct or remove them")]
    PartOfChain {
        /// How many.
        left_out: usize,
    },
    /// No PEM, encrypted, or a kind the library does not understand.
    #[error("no usable private key ({0}): give PEM text of an unencrypted key")]
    Key(LibraryError),
    /// RSA for instance.
    #[error("the private key is no ECDSA key on P-256 or P-384: make one of these and have it signed")]
    KeyKind,
    /// Two files of different pairs.
    #[error("the private key does not belong to the certificate: give the pair that was made together")]
    Mismatch,
}

impl CertificateError {
    fn chain(code: i32) -> Self {
        Self::Certificate(LibraryError::new(code))
    }
}

/// What is wrong with the peer's certificate. Where several things are, the first of this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum CertificateProblem {
    /// No chain leads from it to a trusted root, or a certificate on the way may not sign others.
    UnknownRoot,
    /// It is another host's.
    WrongName,
    /// It, or one on the way, has ended.
    Expired,
    /// It, or one on the way, begins later than the clock says.
    NotYetValid,
    /// There is none.
    Missing,
    /// This side was told no time, not even a floor.
    Unchecked,
    /// It must not be used for this, or its signature or key is too weak.
    NotAcceptable,
}

impl CertificateProblem {
    /// The first of what the library's bits name, in the order of how much the rest depends on it.
    pub(crate) fn of(flags: u32) -> Self {
        let problems = [
            (bad::NOT_TRUSTED, Self::UnknownRoot),
            (bad::WRONG_NAME, Self::WrongName),
            (bad::EXPIRED, Self::Expired),
            (bad::NOT_YET_VALID, Self::NotYetValid),
            (bad::MISSING, Self::Missing),
        ];
        let first = problems.into_iter().find(|(bit, _)| flags & bit != 0);
        first.map_or(Self::NotAcceptable, |(_, problem)| problem)
    }
}

impl fmt::Display for CertificateProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnknownRoot => {
                "no trusted root vouches for the peer's certificate: check the roots configured here and whom the name \
                 leads to"
            }
            Self::WrongName => {
                "the peer's certificate is for another name: check the endpoint, or give the name the certificate has"
            }
            Self::Expired => {
                "the peer's certificate has expired: check this clock; if it is right, the peer needs a new certificate"
            }
            Self::NotYetValid => "the peer's certificate is not valid yet: check this clock first",
            Self::Missing => "the peer showed no certificate: give it one",
            Self::Unchecked => "the peer's certificate cannot be checked without a clock: set this one",
            Self::NotAcceptable => {
                "the peer's certificate must not be used for this, or is too weak: it needs another one"
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_certificate_is_refused_with_what_to_give() {
        let error = Roots::from_pem(b"nonsense").unwrap_err();
        assert!(error.to_string().contains("BEGIN CERTIFICATE"), "{error}");
        assert!(Identity::from_pem(b"", b"").is_err());
    }
}
