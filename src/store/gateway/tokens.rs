//! Bearer tokens: compared by hash and in constant time, so that neither the store nor a timing tells one.

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::config::Secret;

/// What a token may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// To pull and acknowledge the firmware log, and nothing else.
    FirmwareLog,
}

impl Scope {
    /// The word on disk.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::FirmwareLog => "firmware_log",
        }
    }
}

/// What is stored of a token: the SHA-256 of its bytes. Tokens are random, so that no salt or stretching is needed.
#[must_use]
pub fn hash(token: &[u8]) -> [u8; 32] {
    Sha256::digest(token).into()
}

/// Whether the value of an `Authorization` header (RFC 6750, 2.1) is `Bearer` and this token. The time it takes tells
/// nothing of the token.
#[must_use]
pub fn bearer_matches(authorization: Option<&str>, token: &Secret) -> bool {
    let Some((scheme, given)) = authorization.and_then(|value| value.split_once(' ')) else { return false };
    let given = given.trim();
    scheme.eq_ignore_ascii_case("bearer")
        && !given.is_empty()
        && bool::from(hash(given.as_bytes()).ct_eq(&hash(token.expose())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_token_under_the_bearer_scheme_is_let_in() {
        let token = Secret::new(b"s3cret".to_vec());
        for good in ["Bearer s3cret", "bearer s3cret", "BEARER  s3cret "] {
            assert!(bearer_matches(Some(good), &token), "{good}");
        }
        for bad in ["", "Bearer", "Bearer ", "Bearer s3cre", "Bearer s3cret2", "Basic s3cret", "s3cret"] {
            assert!(!bearer_matches(Some(bad), &token), "{bad}");
        }
        assert!(!bearer_matches(None, &token));
        assert!(!bearer_matches(Some("Bearer "), &Secret::new(Vec::new())));
    }
}
