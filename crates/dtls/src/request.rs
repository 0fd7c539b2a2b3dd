//! Certification requests (PKCS #10, RFC 2986): a new key, and the signed wish that somebody certify it.
//!
//! The request is four fixed shapes of DER around bytes that are there already: the subject is copied from the certificate that
//! is to be replaced, byte for byte, because whoever reads a subject as text and writes it again may change its encoding; key
//! and signature are written by Mbed TLS.

use core::fmt;

use zeroize::Zeroizing;

use crate::ffi::x509::PrivateKey;
use crate::{Identity, LibraryError, Rng};

/// A new key and the request to certify it. The key is zeroed on drop and never shown.
pub struct CertificationRequest {
    /// The request in DER.
    pub request: Vec<u8>,
    /// The key in DER (SEC 1).
    pub key: Zeroizing<Vec<u8>>,
}

impl CertificationRequest {
    /// Makes both, for the subject of `like` and on its key's curve. The key is another one each time.
    ///
    /// # Errors
    /// The library is out of memory, or the random source gives no key.
    pub fn new(like: &Identity, rng: &mut Rng) -> Result<Self, LibraryError> {
        Self::make(like, rng).map_err(LibraryError::new)
    }

    fn make(like: &Identity, rng: &mut Rng) -> Result<Self, i32> {
        let key = PrivateKey::generate(like.key().bits(), rng)?;
        let subject = like.chain().subject_der();
        // CertificationRequestInfo: version 0, subject, key, no attributes.
        let info =
            sequence(&[&tagged(INTEGER, &[&[0]]), &subject, &key.public_der()?, &tagged(ATTRIBUTES, &[])]);
        let algorithm = match key.bits() {
            384 => &ECDSA_WITH_SHA384,
            _ => &ECDSA_WITH_SHA256,
        };
        let signature = key.sign(&info, rng)?;
        // A bit string begins with how many bits of its last byte are unused.
        let signature = tagged(BIT_STRING, &[&[0], &signature]);
        let request = sequence(&[&info, &sequence(&[&tagged(OBJECT_IDENTIFIER, &[algorithm])]), &signature]);
        Ok(Self { request, key: key.der()? })
    }
}

impl fmt::Debug for CertificationRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CertificationRequest({} bytes)", self.request.len())
    }
}

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OBJECT_IDENTIFIER: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
/// `[0]`, constructed: RFC 2986 section 4.1. It is there even when it is empty.
const ATTRIBUTES: u8 = 0xA0;
/// 1.2.840.10045.4.3.2 and .3, RFC 5758 section 3.2.
const ECDSA_WITH_SHA256: [u8; 8] = [0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x04, 0x03, 0x02];
const ECDSA_WITH_SHA384: [u8; 8] = [0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x04, 0x03, 0x03];

fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    tagged(SEQUENCE, parts)
}

/// Tag, length and content (X.690 section 8.1), the length in as few bytes as it takes.
fn tagged(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let length = content.len().to_be_bytes();
    let significant = length.iter().position(|byte| *byte != 0).unwrap_or(length.len());
    let length = length.get(significant..).unwrap_or_default();
    let mut der = vec![tag];
    match length {
        [] => der.push(0),
        [short] if *short < 0x80 => der.push(*short),
        long => {
            der.push(0x80 | u8::try_from(long.len()).unwrap_or(u8::MAX));
            der.extend_from_slice(long);
        }
    }
    der.extend_from_slice(&content);
    der
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_take_the_form_that_x690_wants() {
        let head = |length: usize| tagged(0x04, &[&vec![7; length]]).get(..4).unwrap_or_default().to_vec();
        assert_eq!(tagged(0x04, &[]), [0x04, 0x00]);
        assert_eq!(head(0x7F), [0x04, 0x7F, 7, 7]);
        assert_eq!(head(0x80), [0x04, 0x81, 0x80, 7]);
        assert_eq!(head(0x0123), [0x04, 0x82, 0x01, 0x23]);
    }
}
