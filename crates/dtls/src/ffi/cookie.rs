//! The secret of a server's cookies, as the library keeps it.
#![allow(unsafe_code, reason = "this is part of the crate's boundary to Mbed TLS, which is C")]

use core::ffi::{c_int, c_uchar, c_void};
use core::ptr::{self, NonNull};
use core::time::Duration;

use mbedtls_rs_sys as sys;
use zeroize::Zeroizing;

use super::callbacks::Room;
use super::{Clock, leak};
use crate::config::Rng;

/// The secret behind HelloVerifyRequest cookies (RFC 6347 section 4.2.1): shared by all handshakes of one server.
pub(crate) struct CookieKey {
    context: NonNull<sys::mbedtls_ssl_cookie_ctx>,
}

// SAFETY: the context is only used by library calls, which exclude one another by the room (invariant 3 of the module above), and freed
// once.
unsafe impl Send for CookieKey {}
// SAFETY: as above; no method gives out a reference to its inside.
unsafe impl Sync for CookieKey {}

impl CookieKey {
    /// Draws a fresh key.
    ///
    /// # Errors
    /// The library's code.
    pub(crate) fn new(clock: Clock, rng: &mut Rng) -> Result<Self, i32> {
        let key = Self { context: leak(sys::mbedtls_ssl_cookie_ctx::default()) };
        // The cookie setup calls its random source once, here; a borrowed one is lent through the session's own callback.
        let mut seed = Zeroizing::new([0; 64]);
        rng(seed.as_mut_slice());
        let mut lent = DrawnBefore { bytes: seed, used: 0 };
        let room = Room::enter(clock.now, None);
        // SAFETY: the context is zeroed and exclusively ours; `lent` outlives the call, which does not keep it.
        let code = unsafe {
            sys::mbedtls_ssl_cookie_init(key.context.as_ptr());
            sys::mbedtls_ssl_cookie_setup(
                key.context.as_ptr(),
                Some(on_lent_random),
                (&raw mut lent).cast::<c_void>(),
            )
        };
        drop(room);
        if code == 0 { Ok(key) } else { Err(code) }
    }

    pub(super) fn as_ptr(&self) -> *mut sys::mbedtls_ssl_cookie_ctx {
        self.context.as_ptr()
    }
}

impl Drop for CookieKey {
    fn drop(&mut self) {
        let _room = Room::enter(Duration::ZERO, None);
        // SAFETY: made in `new`, freed only here, and no engine refers to it any more: each holds an `Arc` of it.
        unsafe {
            sys::mbedtls_ssl_cookie_free(self.context.as_ptr());
            drop(Box::from_raw(self.context.as_ptr()));
        }
    }
}

/// Random bytes drawn beforehand.
struct DrawnBefore {
    bytes: Zeroizing<[u8; 64]>,
    used: usize,
}

unsafe extern "C" fn on_lent_random(context: *mut c_void, output: *mut c_uchar, length: usize) -> c_int {
    // SAFETY: `context` is the `DrawnBefore` of `CookieKey::new`, alive and otherwise unused during the call.
    let lent = unsafe { &mut *context.cast::<DrawnBefore>() };
    let Some(bytes) = lent.bytes.get(lent.used..).and_then(|rest| rest.get(..length)) else {
        return sys::MBEDTLS_ERR_SSL_NO_RNG;
    };
    lent.used += length;
    // SAFETY: `output` has room for `length` bytes and is the library's.
    unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), output, length) };
    0
}
