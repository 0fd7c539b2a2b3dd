//! Certificates and keys, as the library keeps them: parsed or made once, lent to any number of engines.
//!
//! An engine's configuration holds raw pointers into them, so it holds an `Arc` of each beside (see `Engine`). The library
//! may write into a key or a certificate while it uses it (tables of a curve); it does so only inside a `Room`, as every
//! use is, so no two uses overlap.
#![allow(unsafe_code, reason = "this is part of the crate's boundary to Mbed TLS, which is C")]

use core::any::Any;
use core::ffi::{c_int, c_uchar, c_void};
use core::ptr::{self, NonNull};
use core::time::Duration;
use std::panic::resume_unwind;

use mbedtls_rs_sys as sys;
use zeroize::Zeroizing;

use super::callbacks::{Room, guarded, unix_seconds};
use super::{leak, succeed};
use crate::config::Rng;

/// A key of P-384 takes 167 bytes in SEC 1, its public half 120, a signature 104.
const LARGEST_DER: usize = 256;
/// No list that is of use is longer; a loop over one ends here whatever it looks like.
const LONGEST_LIST: usize = 64;

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
    /// Parses parts, each PEM text or one certificate in DER, into one list. Also answers how many certificates were left out
    /// because the library cannot read them.
    ///
    /// # Errors
    /// The library's code, when of a part none is usable, or when there is no part.
    pub(crate) fn parse(parts: &[&[u8]]) -> Result<(Self, usize), i32> {
        let list = Self { first: leak(sys::mbedtls_x509_crt::default()) };
        let texts: Vec<Vec<u8>> = parts.iter().map(|part| terminated(part)).collect();
        let room = Room::enter(Duration::ZERO, None);
        // SAFETY: the structure is zeroed and ours.
        unsafe { sys::mbedtls_x509_crt_init(list.first.as_ptr()) };
        let mut left_out = 0;
        let mut failed = texts.is_empty().then_some(sys::MBEDTLS_ERR_X509_BAD_INPUT_DATA);
        for text in &texts {
            // SAFETY: initialised above and ours; the text is readable for its length and copied. DER may be followed by the
            // zero that PEM needs.
            let code = unsafe { sys::mbedtls_x509_crt_parse(list.first.as_ptr(), text.as_ptr(), text.len()) };
            match usize::try_from(code) {
                Ok(more) => left_out += more,
                Err(_) => failed = failed.or(Some(code)),
            }
        }
        // The drop of what was made enters the room itself.
        drop(room);
        match failed {
            None => Ok((list, left_out)),
            Some(code) => Err(code),
        }
    }

    /// All of them in DER, in order.
    pub(crate) fn der(&self) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        let mut certificate = self.first.as_ptr().cast_const();
        // SAFETY: parsed, hence initialised, and never changed; the list ends with a null pointer.
        unsafe {
            while !certificate.is_null() && all.len() < LONGEST_LIST {
                all.push(bytes_of(&(*certificate).raw).to_vec());
                certificate = (*certificate).next;
            }
        }
        all
    }

    /// Of the first: its subject in DER (RFC 5280 section 4.1.2.6).
    pub(crate) fn subject_der(&self) -> Vec<u8> {
        // SAFETY: as in `subject`.
        unsafe { bytes_of(&(*self.first.as_ptr()).subject_raw).to_vec() }
    }

    /// Checks the chain of the first, by way of the others, up to one of the roots, at a time.
    ///
    /// # Errors
    /// What is wrong, as the library's bits; 0 where the check itself could not be made.
    pub(crate) fn verify(&self, roots: &Self, unix_s: u64) -> Result<(), u32> {
        let mut flags = 0;
        let _room = Room::enter(Duration::ZERO, Some(unix_s));
        // SAFETY: both lists are parsed and live, and used only inside the room; no revocation list, name or callback is
        // given; `flags` outlives the call.
        let code = unsafe {
            sys::mbedtls_x509_crt_verify(
                self.first.as_ptr(),
                roots.first.as_ptr(),
                ptr::null_mut(),
                ptr::null(),
                &raw mut flags,
                None,
                ptr::null_mut(),
            )
        };
        match code {
            0 => Ok(()),
            sys::MBEDTLS_ERR_X509_CERT_VERIFY_FAILED => Err(flags),
            _ => Err(0),
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
        for _ in 0..LONGEST_LIST {
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
    /// Makes a key for ECDSA on P-256, or on P-384 with 384 `bits`.
    ///
    /// # Errors
    /// The library's code.
    pub(crate) fn generate(bits: usize, rng: &mut Rng) -> Result<Self, i32> {
        let curve = match bits {
            384 => sys::mbedtls_ecp_group_id_MBEDTLS_ECP_DP_SECP384R1,
            _ => sys::mbedtls_ecp_group_id_MBEDTLS_ECP_DP_SECP256R1,
        };
        let key = Self { context: leak(sys::mbedtls_pk_context::default()) };
        let context = key.context.as_ptr();
        with_random(rng, |random, p_rng| {
            let _room = Room::enter(Duration::ZERO, None);
            // SAFETY: the structure is zeroed and ours; after `pk_setup` for this type its inner context is an initialised key
            // pair of the library's; the random source outlives the call.
            unsafe {
                sys::mbedtls_pk_init(context);
                let kind = sys::mbedtls_pk_info_from_type(sys::mbedtls_pk_type_t_MBEDTLS_PK_ECKEY);
                succeed(sys::mbedtls_pk_setup(context, kind))?;
                let pair = (*context).private_pk_ctx.cast::<sys::mbedtls_ecp_keypair>();
                succeed(sys::mbedtls_ecp_gen_key(curve, pair, random, p_rng))
            }
        })?;
        Ok(key)
    }

    /// The key itself in DER (SEC 1).
    ///
    /// # Errors
    /// The library's code.
    pub(crate) fn der(&self) -> Result<Zeroizing<Vec<u8>>, i32> {
        self.written(sys::mbedtls_pk_write_key_der)
    }

    /// Its public half in DER (`SubjectPublicKeyInfo`, RFC 5280 section 4.1.2.7).
    ///
    /// # Errors
    /// The library's code.
    pub(crate) fn public_der(&self) -> Result<Zeroizing<Vec<u8>>, i32> {
        self.written(sys::mbedtls_pk_write_pubkey_der)
    }

    /// What one of the library's writers makes of the key. They write at the end of the buffer.
    fn written(
        &self,
        writer: unsafe extern "C" fn(*const sys::mbedtls_pk_context, *mut c_uchar, usize) -> c_int,
    ) -> Result<Zeroizing<Vec<u8>>, i32> {
        let mut buffer = Zeroizing::new([0; LARGEST_DER]);
        let _room = Room::enter(Duration::ZERO, None);
        // SAFETY: parsed or made, hence initialised; the buffer is ours and as long as said.
        let code = unsafe { writer(self.context.as_ptr(), buffer.as_mut_ptr(), buffer.len()) };
        let length = usize::try_from(code).map_err(|_| code)?;
        let der = buffer.len().checked_sub(length).and_then(|start| buffer.get(start..));
        der.map(|der| Zeroizing::new(der.to_vec())).ok_or(sys::MBEDTLS_ERR_X509_BUFFER_TOO_SMALL)
    }

    /// Signs a message by ECDSA with SHA-256, or with SHA-384 for a key on P-384. The signature in DER (RFC 3279 section 2.2.3).
    ///
    /// # Errors
    /// The library's code.
    pub(crate) fn sign(&self, message: &[u8], rng: &mut Rng) -> Result<Vec<u8>, i32> {
        let (kind, length) = match self.bits() {
            384 => (sys::mbedtls_md_type_t_MBEDTLS_MD_SHA384, 48),
            _ => (sys::mbedtls_md_type_t_MBEDTLS_MD_SHA256, 32),
        };
        let mut digest = [0; 48];
        let mut signature = vec![0; LARGEST_DER];
        let mut written = 0;
        with_random(rng, |random, p_rng| {
            let _room = Room::enter(Duration::ZERO, None);
            // SAFETY: the key is initialised; `digest` holds the longest digest there is of the two; all buffers are ours and as
            // long as said; the random source outlives the call.
            unsafe {
                let hash = sys::mbedtls_md_info_from_type(kind);
                succeed(sys::mbedtls_md(hash, message.as_ptr(), message.len(), digest.as_mut_ptr()))?;
                succeed(sys::mbedtls_pk_sign(
                    self.context.as_ptr(),
                    kind,
                    digest.as_ptr(),
                    length,
                    signature.as_mut_ptr(),
                    signature.len(),
                    &raw mut written,
                    random,
                    p_rng,
                ))
            }
        })?;
        signature.truncate(written);
        Ok(signature)
    }

    /// Length of its order, bits.
    pub(crate) fn bits(&self) -> usize {
        // SAFETY: parsed or made, hence initialised.
        unsafe { sys::mbedtls_pk_get_bitlen(self.context.as_ptr()) }
    }

    /// Parses PEM text that is not encrypted, or the same in DER.
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
        // SAFETY: parsed or made, hence initialised.
        let kind = unsafe { sys::mbedtls_pk_get_type(self.context.as_ptr()) };
        kind == sys::mbedtls_pk_type_t_MBEDTLS_PK_ECKEY && matches!(self.bits(), 256 | 384)
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

/// A caller's random source on its way through the library.
struct Random<'a> {
    rng: &'a mut Rng,
    panic: Option<Box<dyn Any + Send>>,
}

/// Lends a random source to library code, as callback and its context, and lets a panic of it go on afterwards.
fn with_random<R>(
    rng: &mut Rng,
    work: impl FnOnce(sys::mbedtls_f_rng_t, *mut c_void) -> Result<R, i32>,
) -> Result<R, i32> {
    let mut random = Random { rng, panic: None };
    let answer = work(Some(on_random), (&raw mut random).cast::<c_void>());
    if let Some(payload) = random.panic.take() {
        resume_unwind(payload);
    }
    answer
}

unsafe extern "C" fn on_random(context: *mut c_void, output: *mut c_uchar, length: usize) -> c_int {
    if length == 0 {
        return 0;
    }
    // SAFETY: `context` is the `Random` of `with_random`, alive and otherwise unused during the call, whose lifetime is not
    // kept; `output` is a buffer of `length` bytes of the library's, zeroed before a reference to it exists.
    let (random, buffer) = unsafe {
        ptr::write_bytes(output, 0, length);
        (&mut *context.cast::<Random<'_>>(), core::slice::from_raw_parts_mut(output, length))
    };
    let rng = &mut *random.rng;
    match guarded(&mut random.panic, || rng(buffer)) {
        Some(()) => 0,
        None => sys::MBEDTLS_ERR_SSL_NO_RNG,
    }
}

/// The library takes PEM only with its terminating zero.
fn terminated(pem: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(pem.len() + 1);
    text.extend_from_slice(pem);
    text.push(0);
    text
}
