//! Authenticated encryption of what is kept on disk: AES-256-GCM under a key derived by HMAC-SHA-256.
#![allow(unsafe_code, reason = "this is part of the crate's boundary to Mbed TLS, which is C")]

use core::ffi::c_int;
use core::time::Duration;

use mbedtls_rs_sys as sys;
use zeroize::Zeroizing;

use super::callbacks::Room;

pub(crate) const TAG_BYTES: usize = 16;
pub(crate) const NONCE_BYTES: usize = 12;

/// HMAC-SHA-256 (RFC 2104).
///
/// # Errors
/// The library's code.
pub(crate) fn hmac(key: &[u8], message: &[u8]) -> Result<Zeroizing<[u8; 32]>, i32> {
    let mut output = Zeroizing::new([0; 32]);
    let _room = Room::enter(Duration::ZERO, None);
    // SAFETY: all buffers are ours and as long as said; the description is a static of the library.
    let code = unsafe {
        let sha256 = sys::mbedtls_md_info_from_type(sys::mbedtls_md_type_t_MBEDTLS_MD_SHA256);
        sys::mbedtls_md_hmac(
            sha256,
            key.as_ptr(),
            key.len(),
            message.as_ptr(),
            message.len(),
            output.as_mut_ptr(),
        )
    };
    if code == 0 { Ok(output) } else { Err(code) }
}

/// Encrypts; the answer is the ciphertext and after it the tag.
///
/// # Errors
/// The library's code.
pub(crate) fn encrypt(
    key: &[u8; 32],
    nonce: &[u8; NONCE_BYTES],
    bound_to: &[u8],
    plain: &[u8],
) -> Result<Vec<u8>, i32> {
    let mut sealed = vec![0; plain.len() + TAG_BYTES];
    let (text, tag) = sealed.split_at_mut(plain.len());
    with_key(key, |gcm| {
        // SAFETY: `gcm` has its key; every buffer is ours and as long as said; none overlaps another.
        unsafe {
            sys::mbedtls_gcm_crypt_and_tag(
                gcm,
                sys::MBEDTLS_GCM_ENCRYPT as c_int,
                plain.len(),
                nonce.as_ptr(),
                nonce.len(),
                bound_to.as_ptr(),
                bound_to.len(),
                plain.as_ptr(),
                text.as_mut_ptr(),
                tag.len(),
                tag.as_mut_ptr(),
            )
        }
    })?;
    Ok(sealed)
}

/// The reverse of [`encrypt`].
///
/// # Errors
/// The library's code; above all when something is not as it was sealed.
pub(crate) fn decrypt(
    key: &[u8; 32],
    nonce: &[u8; NONCE_BYTES],
    bound_to: &[u8],
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, i32> {
    let Some((text, tag)) = sealed.split_last_chunk::<TAG_BYTES>() else {
        return Err(sys::MBEDTLS_ERR_GCM_AUTH_FAILED);
    };
    let mut plain = Zeroizing::new(vec![0; text.len()]);
    with_key(key, |gcm| {
        // SAFETY: as in `encrypt`.
        unsafe {
            sys::mbedtls_gcm_auth_decrypt(
                gcm,
                text.len(),
                nonce.as_ptr(),
                nonce.len(),
                bound_to.as_ptr(),
                bound_to.len(),
                tag.as_ptr(),
                tag.len(),
                text.as_ptr(),
                plain.as_mut_ptr(),
            )
        }
    })?;
    Ok(plain)
}

fn with_key(key: &[u8; 32], work: impl FnOnce(*mut sys::mbedtls_gcm_context) -> i32) -> Result<(), i32> {
    let mut gcm = sys::mbedtls_gcm_context::default();
    let _room = Room::enter(Duration::ZERO, None);
    // SAFETY: the context lives on this stack frame, is initialised first and freed last, which zeroes the key.
    let code = unsafe {
        sys::mbedtls_gcm_init(&raw mut gcm);
        let aes = sys::mbedtls_cipher_id_t_MBEDTLS_CIPHER_ID_AES;
        let code = match sys::mbedtls_gcm_setkey(&raw mut gcm, aes, key.as_ptr(), 256) {
            0 => work(&raw mut gcm),
            code => code,
        };
        sys::mbedtls_gcm_free(&raw mut gcm);
        code
    };
    if code == 0 { Ok(()) } else { Err(code) }
}
