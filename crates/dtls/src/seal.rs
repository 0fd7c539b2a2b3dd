//! Keeping a small secret on disk: sealed under a secret that is kept elsewhere.
//!
//! Each sealing has a salt of its own, so its AES key and nonce are used once, however often the same secret seals.

use zeroize::Zeroizing;

use crate::LibraryError;
use crate::config::Rng;
use crate::ffi::seal::{NONCE_BYTES, decrypt, encrypt, hmac};

const SALT_BYTES: usize = 32;

/// Seals `plain`: a random salt, then AES-256-GCM under HMAC-SHA-256 keys of `secret`, `purpose` and the salt. It opens again only with
/// the same secret, purpose and `bound_to`. The answer is 48 bytes longer than `plain`.
///
/// # Errors
/// The library is out of memory.
pub fn seal(
    secret: &[u8],
    purpose: &str,
    bound_to: &[u8],
    plain: &[u8],
    rng: &mut Rng,
) -> Result<Vec<u8>, LibraryError> {
    let mut salt = [0; SALT_BYTES];
    rng(&mut salt);
    let (key, nonce) = derive(secret, purpose, &salt).map_err(LibraryError::new)?;
    let sealed = encrypt(&key, &nonce, bound_to, plain).map_err(LibraryError::new)?;
    Ok([salt.as_slice(), &sealed].concat())
}

/// Opens what [`seal`] made. `None` when it was made otherwise, or changed.
pub fn unseal(secret: &[u8], purpose: &str, bound_to: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (salt, sealed) = sealed.split_first_chunk::<SALT_BYTES>()?;
    let (key, nonce) = derive(secret, purpose, salt).ok()?;
    decrypt(&key, &nonce, bound_to, sealed).ok()
}

type Keys = (Zeroizing<[u8; 32]>, [u8; NONCE_BYTES]);

fn derive(secret: &[u8], purpose: &str, salt: &[u8; SALT_BYTES]) -> Result<Keys, i32> {
    let of = |what: &[u8]| hmac(secret, &[what, purpose.as_bytes(), &[0], salt].concat());
    let mut nonce = [0; NONCE_BYTES];
    nonce.copy_from_slice(of(b"nonce\0")?.split_at(NONCE_BYTES).0);
    Ok((of(b"key\0")?, nonce))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counting() -> Rng {
        let mut next = 0u8;
        Box::new(move |buffer| {
            for byte in buffer {
                next = next.wrapping_add(1);
                *byte = next;
            }
        })
    }

    #[test]
    fn what_was_sealed_opens_only_with_the_same_secret_purpose_and_binding() {
        let sealed = seal(b"secret", "session", b"here", b"plain text", &mut counting()).unwrap();
        assert_eq!(sealed.len(), 10 + 48);
        let open = |secret: &[u8], purpose, bound: &[u8], sealed: &[u8]| {
            unseal(secret, purpose, bound, sealed).map(|plain| plain.to_vec())
        };
        assert_eq!(open(b"secret", "session", b"here", &sealed).as_deref(), Some(b"plain text".as_slice()));
        assert_eq!(open(b"Secret", "session", b"here", &sealed), None);
        assert_eq!(open(b"secret", "other", b"here", &sealed), None);
        assert_eq!(open(b"secret", "session", b"there", &sealed), None);
        for changed in 0..sealed.len() {
            let mut copy = sealed.clone();
            copy[changed] ^= 1;
            assert_eq!(open(b"secret", "session", b"here", &copy), None, "byte {changed}");
            assert_eq!(open(b"secret", "session", b"here", &sealed[..changed]), None);
        }
    }

    #[test]
    fn the_same_text_never_looks_the_same_twice() {
        let mut rng = counting();
        let mut once = || seal(b"secret", "session", b"", b"plain text", &mut rng).unwrap();
        assert_ne!(once()[32..], once()[32..]);
    }

    #[test]
    fn the_key_derivation_is_hmac_sha_256() {
        // RFC 4231 section 4.3.
        let mac = hmac(b"Jefe", b"what do ya want for nothing?").unwrap();
        assert_eq!(mac[..4], [0x5b, 0xdc, 0xc1, 0x46]);
        assert_eq!(mac[28..], [0x64, 0xec, 0x38, 0x43]);
    }
}
