//! Which credentials the modem keeps (`%CMNG`): that they are there, never what they are.
//!
//! Invariant: no content of a credential gets into a value made here. A digest is kept only of what is public anyway: that of
//! a short key would give the key away to whoever tries all of them.

use crate::fields::{DecodeError, Fields};

/// Kind of a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialKind {
    /// 0: certificate of an authority.
    Authority,
    /// 1: the modem's own certificate.
    Certificate,
    /// 2: the private key that belongs to it. It cannot be read.
    PrivateKey,
    /// 3: pre-shared key.
    SharedKey,
    /// 4: the identity that belongs to it.
    SharedKeyIdentity,
    /// Any other number, of newer firmware.
    Other(u16),
}

impl CredentialKind {
    /// The number's meaning.
    #[must_use]
    pub fn from_number(number: u16) -> Self {
        match number {
            0 => Self::Authority,
            1 => Self::Certificate,
            2 => Self::PrivateKey,
            3 => Self::SharedKey,
            4 => Self::SharedKeyIdentity,
            other => Self::Other(other),
        }
    }
}

/// One line of a list, `%CMNG: <sec_tag>,<type>[,"<sha256>"[,"<content>"]]`, the answer of `AT%CMNG=1`. A list without lines
/// is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// Under which tag, 0 to 2147483647.
    pub tag: u32,
    /// What it is.
    pub kind: CredentialKind,
    /// SHA-256 of a certificate, 64 hexadecimal digits; `None` for everything that is not public.
    pub digest: Option<String>,
}

impl Credential {
    /// Decodes the line. A content in it is passed over.
    ///
    /// # Errors
    /// Another line, or no tag or type.
    pub fn parse(line: &str) -> Result<Self, DecodeError> {
        let fields = Fields::of(line, "%CMNG")?;
        let tag = fields.number(0, "sec_tag")?;
        if tag > TAG_MAX {
            return Err(DecodeError::Malformed { line: "%CMNG", field: "sec_tag" });
        }
        let kind = CredentialKind::from_number(fields.number(1, "type")?);
        let public = matches!(kind, CredentialKind::Authority | CredentialKind::Certificate);
        let digest = fields.string(2).filter(|text| public && is_digest(text));
        Ok(Self { tag, kind, digest })
    }
}

const TAG_MAX: u32 = i32::MAX.unsigned_abs();

fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "2C43952EE9E000FF2ACC4E2ED0897C0A72AD5FA72C3D934E81741CBD54F05BD1";

    #[test]
    fn presence_is_told_and_a_certificate_is_recognised() {
        let one = Credential::parse(&format!("%CMNG: 16842753,0,\"{DIGEST}\"")).unwrap();
        assert_eq!(
            (one.tag, one.kind, one.digest.as_deref()),
            (16_842_753, CredentialKind::Authority, Some(DIGEST))
        );
        let bare = Credential::parse("%CMNG: 7,1").unwrap();
        assert_eq!((bare.kind, bare.digest), (CredentialKind::Certificate, None));
        let newer = Credential::parse("%CMNG: 7,6").unwrap();
        assert_eq!(newer.kind, CredentialKind::Other(6));
        assert!(Credential::parse("%CMNG: 2147483648,0").is_err());
        assert!(Credential::parse("%CMNG: 7").is_err());
    }

    #[test]
    fn neither_a_content_nor_a_secrets_digest_is_kept() {
        for line in [
            format!("%CMNG: 16,3,\"{DIGEST}\",\"c0ffee\""),
            format!("%CMNG: 16,4,\"{DIGEST}\",\"c0ffee\""),
            format!("%CMNG: 16,2,\"{DIGEST}\""),
            "%CMNG: 16,0,\"c0ffee\",\"-----BEGIN\nc0ffee\n-----END\"".to_owned(),
        ] {
            let credential = Credential::parse(&line).unwrap();
            assert_eq!((credential.tag, credential.digest.as_deref()), (16, None), "{line}");
            assert!(!format!("{credential:?}").contains("c0ffee"));
        }
    }
}
