//! Parsed certificates and keys, as the library keeps them: made once, lent to any number of engines.
//!
//! An engine's configuration holds raw pointers into them, so it holds an `Arc` of each beside (see `Engine`). The library
//! may write into a key or a certificate while it uses it (tables of a curve); it does so only inside a `Room`, as every
//! use is, so no two uses overlap.
#![allow(unsafe_code, reason = "this is part of the crate's boundary to Mbed TLS, which is C")]

use core::ffi::{c_int, c_uchar, c_void};
use core::ptr::{self, NonNull};
use core::time::Duration;

use mbedtls_rs_sys as sys;
use zeroize::Zeroizing;

use super::callbacks::{Room, unix_seconds};
use super::leak;

/// A list of certificates, never empty: a chain with its leaf first, or roots.
pub(crate) struct CertificateList {
    first: NonNull<sys::mbedtls_x509_crt>,
}

// SAFETY: owned by this value alone; the library reads and writes it only inside the room, which excludes other calls, and
// keeps no thread-local state.
unsafe impl Send for CertificateList {}
// SAFETY: as above; the methods read fields that the library sets when it parses and never changes.
unsafe impl Sync for CertificateList {}

/// The parts of a name this crate shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) common_name: Option<String>,
    pub(crate) organization: Option<String>,
}

impl CertificateList {
    /// Parses PEM text. Also answers how many of its certificates were left out because the library cannot read them.
    ///
    /// # Errors
    /// The library's code, when none is usable.
    pub(crate) fn parse(pem: &[u8]) -> Result<(Self, usize), i32> {
        let list = Self { first: leak(sys::mbedtls_x509_crt::default()) };
        let text = terminated(pem);
        let room = Room::enter(Duration::ZERO, None);
        // SAFETY: the structure is zeroed and ours; the text is readable for its length and copied.
        let code = unsafe {
            sys::mbedtls_x509_crt_init(list.first.as_ptr());
            sys::mbedtls_x509_crt_parse(list.first.as_ptr(), text.as_ptr(), text.len())
        };
        match usize::try_from(code) {
            Ok(left_out) => Ok((list, left_out)),
            Err(_) => {
                // The drop of what was made enters the room itself.
                drop(room);
                Err(code)
            }
        }
    }

    pub(super) fn as_ptr(&self) -> *mut sys::mbedtls_x509_crt {
        self.first.as_ptr()
    }

    /// Of the first: its subject.
    pub(crate) fn subject(&self) -> Name {
        // SAFETY: parsed, hence initialised, and never changed.
        unsafe { subject_of(self.first.as_ptr()) }
    }

    /// Of the first: the seconds of Unix time in which it is valid, both ends included.
    pub(crate) fn validity(&self) -> (u64, u64) {
        // SAFETY: as in `subject`.
        unsafe { validity_of(self.first.as_ptr()) }
    }
}

impl Drop for CertificateList {
    fn drop(&mut self) {
        let _room = Room::enter(Duration::ZERO, None);
        // SAFETY: made by `leak`, freed only here; no engine refers to it any more, since each holds an `Arc` of it.
        unsafe {
            sys::mbedtls_x509_crt_free(self.first.as_ptr());
            drop(Box::from_raw(self.first.as_ptr()));
        }
    }
}

/// # Safety
/// `certificate` was parsed by the library and lives.
pub(super) unsafe fn subject_of(certificate: *const sys::mbedtls_x509_crt) -> Name {
    const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
    const ORGANIZATION: &[u8] = &[0x55, 0x04, 0x0A];
    let mut name = Name::default();
    // SAFETY: the caller's promise; the list of parts ends with a null pointer, and each part's bytes point into the
    // certificate. A name has few parts, and the loop is bounded all the same.
    unsafe {
        let mut part: *const sys::mbedtls_x509_name = &raw const (*certificate).subject;
        for _ in 0..64 {
            if part.is_null() {
                break;
            }
            let value = || String::from_utf8(bytes_of(&(*part).val).to_vec()).ok();
            match bytes_of(&(*part).oid) {
                COMMON_NAME => name.common_name = name.common_name.or_else(value),
                ORGANIZATION => name.organization = name.organization.or_else(value),
                _ => {}
            }
            part = (*part).next;
        }
    }
    name
}

/// # Safety
/// As [`subject_of`].
pub(super) unsafe fn validity_of(certificate: *const sys::mbedtls_x509_crt) -> (u64, u64) {
    // SAFETY: the caller's promise.
    unsafe { (unix_seconds(&(*certificate).valid_from), unix_seconds(&(*certificate).valid_to)) }
}

/// # Safety
/// The buffer is one that the library filled, of a structure that lives at least as long as the answer is used.
unsafe fn bytes_of(buffer: &sys::mbedtls_x509_buf) -> &[u8] {
    if buffer.p.is_null() || buffer.len == 0 {
        return &[];
    }
    // SAFETY: the caller's promise.
    unsafe { core::slice::from_raw_parts(buffer.p, buffer.len) }
}

/// A private key.
pub(crate) struct PrivateKey {
    context: NonNull<sys::mbedtls_pk_context>,
}

// SAFETY: as for `CertificateList`.
unsafe impl Send for PrivateKey {}
// SAFETY: as for `CertificateList`.
unsafe impl Sync for PrivateKey {}

impl PrivateKey {
    /// Parses PEM text that is not encrypted.
    ///
    /// # Errors
    /// The library's code.
    pub(crate) fn parse(pem: &[u8]) -> Result<Self, i32> {
        let key = Self { context: leak(sys::mbedtls_pk_context::default()) };
        let text = Zeroizing::new(terminated(pem));
        let mut blinding = Blinding::from(pem);
        let room = Room::enter(Duration::ZERO, None);
        // SAFETY: the structure is zeroed and ours; the text is readable for its length; no password is given; `blinding`
        // outlives the call, which does not keep it.
        let code = unsafe {
            sys::mbedtls_pk_init(key.context.as_ptr());
            sys::mbedtls_pk_parse_key(
                key.context.as_ptr(),
                text.as_ptr(),
                text.len(),
                ptr::null(),
                0,
                Some(on_blinding),
                (&raw mut blinding).cast::<c_void>(),
            )
        };
        if code == 0 {
            Ok(key)
        } else {
            // As above.
            drop(room);
            Err(code)
        }
    }

    pub(super) fn as_ptr(&self) -> *mut sys::mbedtls_pk_context {
        self.context.as_ptr()
    }

    /// A key for ECDSA on P-256 or P-384, the curves this build knows.
    pub(crate) fn is_ecdsa(&self) -> bool {
        // SAFETY: parsed, hence initialised.
        unsafe {
            sys::mbedtls_pk_get_type(self.context.as_ptr()) == sys::mbedtls_pk_type_t_MBEDTLS_PK_ECKEY
                && matches!(sys::mbedtls_pk_get_bitlen(self.context.as_ptr()), 256 | 384)
        }
    }

    /// Whether it belongs to the first certificate of the list.
    pub(crate) fn belongs_to(&self, list: &CertificateList) -> bool {
        let mut blinding = Blinding::from(b"check");
        let _room = Room::enter(Duration::ZERO, None);
        // SAFETY: both are parsed and live; `blinding` outlives the call.
        unsafe {
            sys::mbedtls_pk_check_pair(
                &raw const (*list.as_ptr()).pk,
                self.context.as_ptr(),
                Some(on_blinding),
                (&raw mut blinding).cast::<c_void>(),
            ) == 0
        }
    }
}

impl Drop for PrivateKey {
    fn drop(&mut self) {
        let _room = Room::enter(Duration::ZERO, None);
        // SAFETY: as in `CertificateList`; the library zeroes the key.
        unsafe {
            sys::mbedtls_pk_free(self.context.as_ptr());
            drop(Box::from_raw(self.context.as_ptr()));
        }
    }
}

/// Numbers that hide a key from whoever measures the time its parsing takes. Derived from the key itself: whoever could guess
/// them knows it already, and parsing stays a function of its input.
struct Blinding {
    seed: Zeroizing<Vec<u8>>,
    block: u64,
}

impl From<&[u8]> for Blinding {
    fn from(seed: &[u8]) -> Self {
        let mut kept = Zeroizing::new(Vec::with_capacity(seed.len() + 8));
        kept.extend_from_slice(seed);
        Self { seed: kept, block: 0 }
    }
}

impl<const N: usize> From<&[u8; N]> for Blinding {
    fn from(seed: &[u8; N]) -> Self {
        Self::from(seed.as_slice())
    }
}

unsafe extern "C" fn on_blinding(context: *mut c_void, output: *mut c_uchar, length: usize) -> c_int {
    // SAFETY: `context` is the `Blinding` of the caller, alive and otherwise unused during the call.
    let blinding = unsafe { &mut *context.cast::<Blinding>() };
    let mut done = 0;
    while done < length {
        let seed = blinding.seed.len();
        blinding.seed.extend_from_slice(&blinding.block.to_le_bytes());
        blinding.block += 1;
        let mut digest = Zeroizing::new([0; 32]);
        // SAFETY: both buffers are ours and as long as the function needs.
        let code = unsafe {
            sys::mbedtls_sha256(blinding.seed.as_ptr(), blinding.seed.len(), digest.as_mut_ptr(), 0)
        };
        blinding.seed.truncate(seed);
        if code != 0 {
            return code;
        }
        let now = digest.len().min(length - done);
        // SAFETY: `output` has room for `length` bytes and is the library's.
        unsafe { ptr::copy_nonoverlapping(digest.as_ptr(), output.add(done), now) };
        done += now;
    }
    0
}

/// The library takes PEM only with its terminating zero.
fn terminated(pem: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(pem.len() + 1);
    text.extend_from_slice(pem);
    text.push(0);
    text
}
