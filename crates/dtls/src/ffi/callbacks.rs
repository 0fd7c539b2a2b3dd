//! What Mbed TLS calls back into: time, randomness, datagrams, timers, keys.
//!
//! Each engine owns one [`Wires`], which the library knows by raw pointer. Only the callbacks below touch it while the
//! library runs, and only the engine touches it while the library does not: the two never overlap, because every callback
//! is made synchronously on the engine's own thread.
//!
//! Time inside the library is process-wide. [`Room`] holds the one lock, publishes the caller's time for as long as
//! it lives, and is entered around every call.
#![allow(unsafe_code, reason = "the callbacks receive their context as raw pointers from Mbed TLS")]

use core::any::Any;
use core::ffi::{c_int, c_uchar, c_void};
use core::sync::atomic::{AtomicI64, Ordering};
use core::time::Duration;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

use mbedtls_rs_sys as sys;
use sys::hook::timer::{MbedtlsTimer, hook_timer};
use sys::hook::wall_clock::{MbedtlsWallClock, hook_wall_clock};

use crate::config::{PSK_KEY_MAX_BYTES, PskLookup, Rng};

/// Datagrams waiting for `poll_transmit`. A handshake flight is a handful; beyond this the wire is stuck and datagrams are
/// lost as on any wire.
pub(crate) const OUTGOING_MAX: usize = 64;

/// What the callbacks of one session read and write.
pub(super) struct Wires {
    /// The datagram being handed to the library, until it fetches it.
    pub(super) incoming: Option<Vec<u8>>,
    pub(super) outgoing: VecDeque<Vec<u8>>,
    pub(super) overflowed: u64,
    pub(super) timer: Timer,
    pub(super) rng: Rng,
    pub(super) psk_lookup: Option<PskLookup>,
    /// The identity whose key was found last.
    pub(super) psk_identity: Option<Vec<u8>>,
    /// Whether certificates are checked against a time that is known, or only against a floor.
    pub(super) wall_trusted: bool,
    /// What the check of the peer's certificates came to.
    pub(super) verified: Option<Verified>,
    /// Zero-terminated suite list: the library keeps a pointer to it.
    pub(super) suites: Vec<c_int>,
    /// A panic of the caller's code inside a callback, carried across the C frames.
    pub(super) panic: Option<Box<dyn Any + Send>>,
}

/// The check of a chain of certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Verified {
    /// What is wrong, as the library's bits; 0 if nothing is.
    pub(crate) flags: u32,
    /// The Unix seconds in which every certificate of the chain is valid.
    pub(crate) not_before: u64,
    pub(crate) not_after: u64,
    /// Against a time somebody vouched for.
    pub(crate) time_trusted: bool,
}

/// The retransmission timer, in milliseconds of the caller's time.
pub(super) struct Timer {
    pub(super) now_ms: u64,
    pub(super) final_at_ms: Option<u64>,
    /// The library doubles without end; the interval it gets stops here.
    pub(super) longest_ms: u64,
}

/// The library's process-wide lock, with the time it sees while this lives.
pub(super) struct Room {
    _lock: MutexGuard<'static, ()>,
}

impl Room {
    /// Waits for the lock and sets the time: `now` for differences, `wall_unix_s` for certificate validity. Without the
    /// latter the library treats every certificate as outside its validity.
    pub(super) fn enter(now: Duration, wall_unix_s: Option<u64>) -> Self {
        static LOCK: Mutex<()> = Mutex::new(());
        static HOOKS: Once = Once::new();
        // A panic inside the room leaves nothing half-written in it: the guarded state is the time, set below.
        let lock = LOCK.lock().unwrap_or_else(PoisonError::into_inner);
        HOOKS.call_once(|| {
            // SAFETY: the lock is held and this runs before the first library call of the process, since every call
            // enters here first; both objects are statics.
            unsafe {
                hook_timer(Some(&PassedTime));
                hook_wall_clock(Some(&PassedTime));
            }
        });
        NOW_MS.store(i64::try_from(now.as_millis()).unwrap_or(i64::MAX), Ordering::Relaxed);
        let wall = wall_unix_s.and_then(|s| i64::try_from(s).ok()).unwrap_or(NO_WALL_CLOCK);
        WALL_UNIX_S.store(wall, Ordering::Relaxed);
        Self { _lock: lock }
    }
}

const NO_WALL_CLOCK: i64 = i64::MIN;
static NOW_MS: AtomicI64 = AtomicI64::new(0);
static WALL_UNIX_S: AtomicI64 = AtomicI64::new(NO_WALL_CLOCK);

struct PassedTime;

impl MbedtlsTimer for PassedTime {
    fn now(&self) -> i64 {
        NOW_MS.load(Ordering::Relaxed)
    }
}

impl MbedtlsWallClock for PassedTime {
    fn instant(&self) -> Option<sys::tm> {
        match WALL_UNIX_S.load(Ordering::Relaxed) {
            NO_WALL_CLOCK => None,
            unix_s => utc(unix_s),
        }
    }
}

/// Unix seconds as a UTC calendar date, for the years 1970 to 9999.
fn utc(unix_s: i64) -> Option<sys::tm> {
    if !(0..=253_402_300_799).contains(&unix_s) {
        return None;
    }
    let (days, second) = (unix_s / 86_400, unix_s % 86_400);
    // Whole years are skipped by their length; at most 8029 steps, and certificates are checked rarely.
    let (mut year, mut day) = (1970, days);
    while day >= days_in_year(year) {
        day -= days_in_year(year);
        year += 1;
    }
    let year_day = day;
    let mut month = 0;
    for length in month_lengths(year).map(i64::from) {
        if day < length {
            break;
        }
        day -= length;
        month += 1;
    }
    let int = |value: i64| c_int::try_from(value).ok();
    Some(sys::tm {
        tm_sec: int(second % 60)?,
        tm_min: int(second / 60 % 60)?,
        tm_hour: int(second / 3600)?,
        tm_mday: int(day + 1)?,
        tm_mon: month,
        tm_year: int(year - 1900)?,
        tm_wday: int((days + 4) % 7)?,
        tm_yday: int(year_day)?,
        tm_isdst: 0,
    })
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in_year(year: i64) -> i64 {
    if is_leap(year) { 366 } else { 365 }
}

fn month_lengths(year: i64) -> [i32; 12] {
    let february = if is_leap(year) { 29 } else { 28 };
    [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
}

/// Runs the caller's code; a panic is kept and answered with `None`, because it may not unwind through C.
pub(super) fn guarded<R>(panic: &mut Option<Box<dyn Any + Send>>, work: impl FnOnce() -> R) -> Option<R> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(answer) => Some(answer),
        Err(payload) => {
            *panic = Some(payload);
            None
        }
    }
}

pub(super) unsafe extern "C" fn on_random(
    context: *mut c_void,
    output: *mut c_uchar,
    length: usize,
) -> c_int {
    if length == 0 {
        return 0;
    }
    // SAFETY: `context` is the engine's `Wires`, not otherwise borrowed while the library runs (module head); `output`
    // is a buffer of `length` bytes of the library's, which it does not touch meanwhile. It may be uninitialised, so it is
    // zeroed before a reference to it exists.
    let (wires, buffer) = unsafe {
        core::ptr::write_bytes(output, 0, length);
        (&mut *context.cast::<Wires>(), core::slice::from_raw_parts_mut(output, length))
    };
    let rng = &mut wires.rng;
    match guarded(&mut wires.panic, || rng(buffer)) {
        Some(()) => 0,
        None => sys::MBEDTLS_ERR_SSL_NO_RNG,
    }
}

pub(super) unsafe extern "C" fn on_send(
    context: *mut c_void,
    buffer: *const c_uchar,
    length: usize,
) -> c_int {
    if length == 0 {
        return 0;
    }
    // SAFETY: as in `on_random`; `buffer` is an initialised, readable record buffer of `length` bytes.
    let (wires, datagram) =
        unsafe { (&mut *context.cast::<Wires>(), core::slice::from_raw_parts(buffer, length)) };
    if wires.outgoing.len() < OUTGOING_MAX {
        wires.outgoing.push_back(datagram.to_vec());
    } else {
        wires.overflowed += 1;
    }
    c_int::try_from(length).unwrap_or(sys::MBEDTLS_ERR_SSL_INTERNAL_ERROR)
}

pub(super) unsafe extern "C" fn on_receive(
    context: *mut c_void,
    buffer: *mut c_uchar,
    length: usize,
) -> c_int {
    // SAFETY: `context` as in `on_random`.
    let wires = unsafe { &mut *context.cast::<Wires>() };
    let Some(datagram) = wires.incoming.take() else {
        return sys::MBEDTLS_ERR_SSL_WANT_READ;
    };
    // Zero would mean end of stream, and a datagram that does not fit is not one record of ours.
    if datagram.is_empty() || datagram.len() > length {
        return sys::MBEDTLS_ERR_SSL_WANT_READ;
    }
    // SAFETY: `buffer` has room for `length` bytes, at least the datagram's; the two do not overlap, as one is Rust's.
    unsafe { core::ptr::copy_nonoverlapping(datagram.as_ptr(), buffer, datagram.len()) };
    c_int::try_from(datagram.len()).unwrap_or(sys::MBEDTLS_ERR_SSL_WANT_READ)
}

pub(super) unsafe extern "C" fn on_set_timer(context: *mut c_void, _intermediate_ms: u32, final_ms: u32) {
    // SAFETY: `context` as in `on_random`.
    let timer = unsafe { &mut (*context.cast::<Wires>()).timer };
    timer.final_at_ms = match u64::from(final_ms) {
        0 => None,
        after => Some(timer.now_ms.saturating_add(after.min(timer.longest_ms))),
    };
}

pub(super) unsafe extern "C" fn on_get_timer(context: *mut c_void) -> c_int {
    // SAFETY: `context` as in `on_random`.
    let timer = unsafe { &(*context.cast::<Wires>()).timer };
    match timer.final_at_ms {
        None => -1,
        Some(at) if timer.now_ms >= at => 2,
        // The intermediate delay only matters to a caller that polls; this one is told the time.
        Some(_) => 0,
    }
}

pub(super) unsafe extern "C" fn on_psk_identity(
    context: *mut c_void,
    ssl: *mut sys::mbedtls_ssl_context,
    identity: *const c_uchar,
    length: usize,
) -> c_int {
    if identity.is_null() || length == 0 {
        return sys::MBEDTLS_ERR_SSL_UNKNOWN_IDENTITY;
    }
    // SAFETY: `context` as in `on_random`; `identity` is `length` readable bytes of the received message.
    let (wires, identity) =
        unsafe { (&mut *context.cast::<Wires>(), core::slice::from_raw_parts(identity, length)) };
    let Some(lookup) = wires.psk_lookup.clone() else {
        return sys::MBEDTLS_ERR_SSL_UNKNOWN_IDENTITY;
    };
    let Some(Some(key)) = guarded(&mut wires.panic, || lookup(identity)) else {
        return sys::MBEDTLS_ERR_SSL_UNKNOWN_IDENTITY;
    };
    let key = key.as_bytes();
    if key.is_empty() || key.len() > PSK_KEY_MAX_BYTES {
        return sys::MBEDTLS_ERR_SSL_UNKNOWN_IDENTITY;
    }
    wires.psk_identity = Some(identity.to_vec());
    // SAFETY: `ssl` is the context this callback was made for, in its handshake; the key is copied.
    unsafe { sys::mbedtls_ssl_set_hs_psk(ssl, key.as_ptr(), key.len()) }
}

/// Called for each certificate of the peer's chain, the root first.
pub(super) unsafe extern "C" fn on_verify(
    context: *mut c_void,
    certificate: *mut sys::mbedtls_x509_crt,
    _depth: c_int,
    flags: *mut u32,
) -> c_int {
    // SAFETY: `context` as in `on_random`; the certificate is parsed and lives during the call; `flags` is the library's.
    let (wires, (not_before, not_after), flags) =
        unsafe { (&mut *context.cast::<Wires>(), super::x509::validity_of(certificate), &mut *flags) };
    if !wires.wall_trusted {
        // The library's time is a floor then. What ended before it has ended; what seems not to have begun may have.
        *flags &= !sys::MBEDTLS_X509_BADCERT_FUTURE;
    }
    let fresh = Verified { flags: 0, not_before: 0, not_after: u64::MAX, time_trusted: wires.wall_trusted };
    let verified = wires.verified.get_or_insert(fresh);
    verified.flags |= *flags;
    verified.not_before = verified.not_before.max(not_before);
    verified.not_after = verified.not_after.min(not_after);
    0
}

/// A certificate's date as Unix seconds; what no calendar has counts as the nearest end of time.
pub(super) fn unix_seconds(date: &sys::mbedtls_x509_time) -> u64 {
    let (year, month, day) = (i64::from(date.year), i64::from(date.mon), i64::from(date.day));
    if year < 1970 {
        return 0;
    }
    // Days before the year, then before the month.
    let before = year - 1;
    let years = 365 * (year - 1970) + (before / 4 - before / 100 + before / 400)
        - (1969 / 4 - 1969 / 100 + 1969 / 400);
    let months: i32 = month_lengths(year).iter().take(usize::try_from(month - 1).unwrap_or(0)).sum();
    let days = years + i64::from(months) + day - 1;
    let seconds = i64::from(date.hour) * 3600 + i64::from(date.min) * 60 + i64::from(date.sec);
    u64::try_from(days * 86_400 + seconds).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn date(unix_s: i64) -> Option<(i32, i32, i32, i32, i32, i32)> {
        utc(unix_s).map(|tm| (tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec))
    }

    #[test]
    fn unix_seconds_become_calendar_dates() {
        assert_eq!(date(0), Some((1970, 1, 1, 0, 0, 0)));
        assert_eq!(date(951_827_696), Some((2000, 2, 29, 12, 34, 56)));
        assert_eq!(date(1_795_132_799), Some((2026, 11, 19, 23, 59, 59)));
        assert_eq!(date(4_107_542_400), Some((2100, 3, 1, 0, 0, 0)));
        assert_eq!(date(253_402_300_799), Some((9999, 12, 31, 23, 59, 59)));
        assert_eq!(date(253_402_300_800), None);
        assert_eq!(date(-1), None);
    }

    #[test]
    fn calendar_dates_become_unix_seconds_again() {
        for unix_s in [0, 951_827_696, 1_795_132_799, 4_107_542_400, 253_402_300_799] {
            let tm = utc(unix_s).unwrap();
            let date = sys::mbedtls_x509_time {
                year: tm.tm_year + 1900,
                mon: tm.tm_mon + 1,
                day: tm.tm_mday,
                hour: tm.tm_hour,
                min: tm.tm_min,
                sec: tm.tm_sec,
            };
            assert_eq!(unix_seconds(&date), unix_s.unsigned_abs());
        }
    }

    #[test]
    fn weekdays_and_days_of_the_year_are_right() {
        let thursday = utc(0).unwrap();
        assert_eq!((thursday.tm_wday, thursday.tm_yday), (4, 0));
        let leap_end = utc(978_220_800).unwrap();
        assert_eq!((leap_end.tm_wday, leap_end.tm_yday), (0, 365), "31 December 2000 was a Sunday");
    }

    /// What a certificate's end of validity is compared with.
    fn library_thinks_past(end: &sys::mbedtls_x509_time, wall_unix_s: Option<u64>) -> bool {
        let _room = Room::enter(Duration::from_secs(5), wall_unix_s);
        // SAFETY: reads `end` and the hooked clock.
        unsafe { sys::mbedtls_x509_time_is_past(end) != 0 }
    }

    #[test]
    fn the_library_sees_the_wall_clock_it_is_told_and_without_one_everything_is_past() {
        let end = sys::mbedtls_x509_time { year: 2026, mon: 11, day: 19, hour: 23, min: 59, sec: 59 };
        assert!(!library_thinks_past(&end, Some(1_795_132_798)));
        assert!(library_thinks_past(&end, Some(1_795_132_800)));
        let far = sys::mbedtls_x509_time { year: 9999, mon: 1, day: 1, hour: 0, min: 0, sec: 0 };
        assert!(!library_thinks_past(&far, Some(1_795_132_800)));
        assert!(library_thinks_past(&far, None), "an unknown time must not make certificates valid");
    }
}
