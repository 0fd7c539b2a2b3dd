//! The only code that calls Mbed TLS: one [`Engine`] is one `mbedtls_ssl_context` with its own configuration.
//!
//! Invariants every SAFETY argument below leans on:
//! 1. `ssl`, `conf` and `wires` are made by `Box::into_raw`, stay at their addresses, and are freed exactly once, in `drop`.
//! 2. The engine is their only owner; it is not `Sync`, and every method that calls the library takes `&mut self` or only
//!    reads. So no two calls on one context overlap.
//! 3. Every call that does more than read fields of its own context runs inside a [`Room`], so no two such calls of the
//!    process overlap either: the library is built without threads, and its clock hooks are process-wide.
//! 4. While the library runs, no Rust reference into `ssl`, `conf` or `wires` is alive outside the callbacks.
#![allow(unsafe_code, reason = "this is the crate's boundary to Mbed TLS, which is C")]

mod callbacks;
pub(crate) mod code;
mod cookie;
pub(crate) mod seal;
pub(crate) mod x509;

use core::ffi::{c_int, c_uchar, c_void};
use core::ptr::{self, NonNull};
use core::time::Duration;
use std::collections::VecDeque;
use std::ffi::CString;
use std::panic::resume_unwind;
use std::sync::Arc;

use mbedtls_rs_sys as sys;
use zeroize::Zeroizing;

use self::callbacks::{Room, Timer, Wires};
use self::x509::{CertificateList, Name, PrivateKey};
use crate::certificate::WallTime;
use crate::config::{Credential, PskLookup, Rng, ServerCertificate};

pub(crate) use self::callbacks::{OUTGOING_MAX, Verified};
pub(crate) use self::cookie::CookieKey;

/// The library's receive buffer: what a datagram may measure.
pub(crate) const DATAGRAM_MAX_BYTES: usize = sys::MBEDTLS_SSL_IN_CONTENT_LEN as usize;

/// Everything an engine is built from.
pub(crate) struct Setup {
    pub(crate) role: Role,
    /// Code points, most wanted first.
    pub(crate) suites: Vec<u16>,
    pub(crate) mtu: u16,
    pub(crate) timer_min: Duration,
    pub(crate) timer_max: Duration,
    /// The Connection ID the peer shall use towards this side; empty: none, but the peer's is used. `None`: not negotiated.
    pub(crate) own_cid: Option<Vec<u8>>,
}

pub(crate) enum Role {
    Client {
        credential: Credential,
        server_name: Option<CString>,
    },
    Server {
        psk_lookup: PskLookup,
        certificate: Option<ServerCertificate>,
        cookies: Arc<CookieKey>,
        client_address: Vec<u8>,
    },
}

/// The time a call sees.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    pub(crate) now: Duration,
    pub(crate) wall: Option<WallTime>,
}

/// One DTLS association inside the library. Return values are the library's: 0 or a length, or a negative [`code`].
pub(crate) struct Engine {
    ssl: NonNull<sys::mbedtls_ssl_context>,
    conf: NonNull<sys::mbedtls_ssl_config>,
    wires: NonNull<Wires>,
    /// `conf` points into what these hold.
    _lent: Lent,
}

/// What an engine borrows and others may share.
struct Lent {
    _cookies: Option<Arc<CookieKey>>,
    own: Option<(Arc<CertificateList>, Arc<PrivateKey>)>,
    roots: Option<Arc<CertificateList>>,
}

impl Lent {
    fn of(role: &Role) -> Self {
        let (cookies, identity, roots) = match role {
            Role::Client { credential: Credential::Psk(_), .. } => (None, None, None),
            Role::Client { credential: Credential::Certificate { identity, roots }, .. } => {
                (None, Some(identity), Some(roots))
            }
            Role::Server { certificate, cookies, .. } => {
                let (identity, roots) = match certificate {
                    Some(ServerCertificate { identity, client_roots }) => {
                        (Some(identity), client_roots.as_ref())
                    }
                    None => (None, None),
                };
                (Some(Arc::clone(cookies)), identity, roots)
            }
        };
        Self {
            _cookies: cookies,
            own: identity.map(|it| (Arc::clone(it.chain()), Arc::clone(it.key()))),
            roots: roots.map(|it| Arc::clone(it.list())),
        }
    }
}

// SAFETY: the three allocations are owned by this value alone (invariants 1 and 2), the library keeps no thread-local
// state, and what the callbacks reach is `Send`: the random source and the key lookup by their types, the rest is plain data.
unsafe impl Send for Engine {}

impl Engine {
    /// # Errors
    /// The library's code: no memory, or a value it does not take.
    pub(crate) fn new(setup: &Setup, rng: Rng, clock: Clock) -> Result<Self, i32> {
        let wires = Wires {
            incoming: None,
            outgoing: VecDeque::new(),
            overflowed: 0,
            timer: Timer { now_ms: 0, final_at_ms: None, longest_ms: millis(setup.timer_max) },
            rng,
            psk_lookup: match &setup.role {
                Role::Server { psk_lookup, .. } => Some(Arc::clone(psk_lookup)),
                Role::Client { .. } => None,
            },
            psk_identity: None,
            wall_trusted: false,
            verified: None,
            suites: setup.suites.iter().map(|&id| c_int::from(id)).chain([0]).collect(),
            panic: None,
        };
        let mut engine = Self {
            ssl: leak(sys::mbedtls_ssl_context::default()),
            conf: leak(sys::mbedtls_ssl_config::default()),
            wires: leak(wires),
            _lent: Lent::of(&setup.role),
        };
        let lent = (
            engine._lent.own.as_ref().map(|(chain, key)| (chain.as_ptr(), key.as_ptr())),
            engine._lent.roots.as_ref().map(|roots| roots.as_ptr()),
        );
        let configured = engine.enter(clock, |parts| {
            // SAFETY: both structures are zeroed, hence valid to initialise, and exclusively ours.
            unsafe {
                sys::mbedtls_ssl_init(parts.ssl);
                sys::mbedtls_ssl_config_init(parts.conf);
            }
            // SAFETY: just initialised; `parts` point to live allocations (invariant 1).
            unsafe { configure(&parts, setup, lent) }
        });
        // On failure the drop below frees what was made.
        configured.map(|()| engine)
    }

    /// Carries the handshake on: reads what was fed, sends what is due. 0 when it is complete.
    pub(crate) fn handshake(&mut self, clock: Clock) -> i32 {
        // SAFETY: set up in `new`; invariants 2 to 4.
        self.enter(clock, |parts| unsafe { sys::mbedtls_ssl_handshake(parts.ssl) })
    }

    /// Reads application data of one record into `buffer`; the length, or a code.
    pub(crate) fn read(&mut self, clock: Clock, buffer: &mut [u8]) -> i32 {
        // SAFETY: as in `handshake`; the buffer is Rust's own and outlives the call.
        self.enter(clock, |parts| unsafe {
            sys::mbedtls_ssl_read(parts.ssl, buffer.as_mut_ptr(), buffer.len())
        })
    }

    /// What of the record just read did not fit the buffer.
    pub(crate) fn unread_bytes(&self) -> usize {
        // SAFETY: reads fields only; the context is live.
        unsafe { sys::mbedtls_ssl_get_bytes_avail(self.ssl.as_ptr()) }
    }

    /// Sends one record of application data.
    pub(crate) fn write(&mut self, clock: Clock, payload: &[u8]) -> i32 {
        // SAFETY: as in `handshake`; the payload outlives the call and is only read.
        self.enter(clock, |parts| unsafe {
            sys::mbedtls_ssl_write(parts.ssl, payload.as_ptr(), payload.len())
        })
    }

    pub(crate) fn close_notify(&mut self, clock: Clock) -> i32 {
        // SAFETY: as in `handshake`.
        self.enter(clock, |parts| unsafe { sys::mbedtls_ssl_close_notify(parts.ssl) })
    }

    pub(crate) fn fatal_alert(&mut self, clock: Clock, description: u8) -> i32 {
        // SAFETY: as in `handshake`.
        self.enter(clock, |parts| unsafe {
            let level = sys::MBEDTLS_SSL_ALERT_LEVEL_FATAL as c_uchar;
            sys::mbedtls_ssl_send_alert_message(parts.ssl, level, description)
        })
    }

    /// Back to the beginning of a server handshake, for the same client address: what follows a cookie request.
    pub(crate) fn reset_for(&mut self, clock: Clock, client_address: &[u8]) -> i32 {
        self.enter(clock, |parts| {
            // SAFETY: as in `handshake`; the address is copied.
            unsafe {
                match sys::mbedtls_ssl_session_reset(parts.ssl) {
                    0 => set_client_address(parts.ssl, client_address),
                    code => code,
                }
            }
        })
    }

    /// Another client's address for a server engine that is at the beginning of its handshake.
    pub(crate) fn set_client_address(&mut self, clock: Clock, client_address: &[u8]) -> i32 {
        // SAFETY: as in `handshake`; the address is copied.
        self.enter(clock, |parts| unsafe { set_client_address(parts.ssl, client_address) })
    }

    /// Negotiate `own_cid` or nothing in the handshake about to start. Its length is fixed by the setup.
    pub(crate) fn set_connection_id(&mut self, clock: Clock, own_cid: Option<&[u8]>) -> i32 {
        // SAFETY: as in `handshake`; the bytes are copied.
        self.enter(clock, |parts| unsafe { set_connection_id(parts.ssl, own_cid) })
    }

    /// Whether the first record of the datagram is this session's, authentic and not seen before. Changes nothing.
    pub(crate) fn is_authentic(&mut self, clock: Clock, datagram: &[u8]) -> bool {
        // The library decrypts in place.
        let mut copy = datagram.to_vec();
        // SAFETY: as in `handshake`; the copy is exclusively ours. Without keys nothing is authentic: `transform_in`
        // is asked first, since the library would then only look at the header.
        self.enter(clock, |parts| unsafe {
            !(*parts.ssl).private_transform_in.is_null()
                && sys::mbedtls_ssl_check_record(parts.ssl, copy.as_mut_ptr(), copy.len()) == 0
        })
    }

    /// Serialises the connection; afterwards this engine is useless, unless the answer is an error other than one
    /// after the first length query, which leaves it as it was.
    ///
    /// # Errors
    /// The library's code.
    pub(crate) fn save(&mut self, clock: Clock) -> Result<Zeroizing<Vec<u8>>, i32> {
        self.enter(clock, |parts| {
            let mut needed = 0;
            // SAFETY: as in `handshake`; a null buffer of no length asks for the size.
            match unsafe { sys::mbedtls_ssl_context_save(parts.ssl, ptr::null_mut(), 0, &raw mut needed) } {
                0 | code::BUFFER_TOO_SMALL => {}
                code => return Err(code),
            }
            let mut bytes = Zeroizing::new(vec![0; needed]);
            let mut written = 0;
            // SAFETY: the buffer is ours and as long as said.
            match unsafe {
                sys::mbedtls_ssl_context_save(parts.ssl, bytes.as_mut_ptr(), bytes.len(), &raw mut written)
            } {
                0 => {
                    bytes.truncate(written);
                    Ok(bytes)
                }
                code => Err(code),
            }
        })
    }

    /// Takes up a saved connection on a fresh engine.
    pub(crate) fn load(&mut self, clock: Clock, saved: &[u8]) -> i32 {
        // SAFETY: as in `handshake`; the library checks format and lengths and copies what it keeps.
        self.enter(clock, |parts| unsafe {
            sys::mbedtls_ssl_context_load(parts.ssl, saved.as_ptr(), saved.len())
        })
    }

    /// Hands over one datagram, to be fetched by the next call. Empty ones are left out by the caller.
    pub(crate) fn feed(&mut self, datagram: Vec<u8>) {
        self.wires_mut().incoming = Some(datagram);
    }

    /// Whether there is more of the last datagram to process.
    pub(crate) fn has_pending_input(&self) -> bool {
        // SAFETY: reads fields only; the context is live.
        self.wires().incoming.is_some() || unsafe { sys::mbedtls_ssl_check_pending(self.ssl.as_ptr()) } != 0
    }

    pub(crate) fn drop_input(&mut self) {
        self.wires_mut().incoming = None;
    }

    pub(crate) fn take_outgoing(&mut self) -> Option<Vec<u8>> {
        self.wires_mut().outgoing.pop_front()
    }

    pub(crate) fn outgoing_len(&self) -> usize {
        self.wires().outgoing.len()
    }

    pub(crate) fn overflowed_transmits(&self) -> u64 {
        self.wires().overflowed
    }

    /// When the library wants to retransmit.
    pub(crate) fn timer(&self) -> Option<Duration> {
        self.wires().timer.final_at_ms.map(Duration::from_millis)
    }

    pub(crate) fn psk_identity(&self) -> Option<&[u8]> {
        self.wires().psk_identity.as_deref()
    }

    /// What the check of the peer's certificates came to, once there was one.
    pub(crate) fn verified(&self) -> Option<Verified> {
        self.wires().verified
    }

    /// The subject of the peer's certificate, if it has shown one that was accepted.
    pub(crate) fn peer_subject(&self) -> Option<Name> {
        // SAFETY: reads the context; the certificate, if there is one, is the session's and lives as long as it.
        unsafe {
            let certificate = sys::mbedtls_ssl_get_peer_cert(self.ssl.as_ptr());
            (!certificate.is_null()).then(|| x509::subject_of(certificate))
        }
    }

    /// The suite in use; 0 before there is one.
    pub(crate) fn suite(&self) -> u16 {
        // SAFETY: reads fields only; the context is live.
        let id = unsafe { sys::mbedtls_ssl_get_ciphersuite_id_from_ssl(self.ssl.as_ptr()) };
        u16::try_from(id).unwrap_or(0)
    }

    /// The peer's Connection ID, if one is in use. Only after the handshake.
    pub(crate) fn peer_cid(&self) -> Option<Vec<u8>> {
        let (mut enabled, mut cid, mut length) = (0, [0; sys::MBEDTLS_SSL_CID_OUT_LEN_MAX as usize], 0);
        // SAFETY: reads the context; the buffer is the largest Connection ID the library keeps.
        let answer = unsafe {
            sys::mbedtls_ssl_get_peer_cid(
                self.ssl.as_ptr(),
                &raw mut enabled,
                cid.as_mut_ptr(),
                &raw mut length,
            )
        };
        let in_use = answer == 0 && enabled == sys::MBEDTLS_SSL_CID_ENABLED as c_int;
        cid.get(..length).filter(|_| in_use).map(<[u8]>::to_vec)
    }

    /// The library still keeps its last flight, because the peer may not have it.
    pub(crate) fn keeps_handshake(&self) -> bool {
        // SAFETY: reads a field of a live context.
        unsafe { !(*self.ssl.as_ptr()).private_handshake.is_null() }
    }

    /// A server that has taken a ClientHello as genuine and works on it.
    pub(crate) fn is_past_client_hello(&self) -> bool {
        // SAFETY: reads a field of a live context.
        let state = unsafe { (*self.ssl.as_ptr()).private_state };
        let state = u32::try_from(state).unwrap_or(0);
        state > sys::mbedtls_ssl_states_MBEDTLS_SSL_CLIENT_HELLO
            && state != sys::mbedtls_ssl_states_MBEDTLS_SSL_SERVER_HELLO_VERIFY_REQUEST_SENT
    }

    /// The anti-replay window: newest record number of this epoch, and a bit for each of the last 64.
    pub(crate) fn replay_window(&self) -> (u64, u64) {
        // SAFETY: reads fields of a live context.
        unsafe { ((*self.ssl.as_ptr()).private_in_window_top, (*self.ssl.as_ptr()).private_in_window) }
    }

    /// After a fatal alert or a close: level, description, and whether the record was protected.
    pub(crate) fn last_alert(&self) -> Option<(u8, u8, bool)> {
        // SAFETY: reads fields of a live context; `in_msg` points into its input buffer, with at least `in_msglen`
        // readable bytes after a record was parsed.
        unsafe {
            let ssl = self.ssl.as_ptr();
            if (*ssl).private_in_msg.is_null() || (*ssl).private_in_msglen < 2 {
                return None;
            }
            let message = (*ssl).private_in_msg;
            Some((*message, *message.add(1), !(*ssl).private_transform_in.is_null()))
        }
    }

    /// The most a record adds to its payload, once there are keys.
    pub(crate) fn record_expansion(&self) -> Option<usize> {
        // SAFETY: reads the context only.
        usize::try_from(unsafe { sys::mbedtls_ssl_get_record_expansion(self.ssl.as_ptr()) }).ok()
    }

    /// The most one record takes now.
    pub(crate) fn max_payload(&self) -> Option<usize> {
        // SAFETY: reads the context only.
        usize::try_from(unsafe { sys::mbedtls_ssl_get_max_out_record_payload(self.ssl.as_ptr()) }).ok()
    }

    /// Runs library code in the room, at the caller's time, and lets a panic of a callback go on afterwards.
    fn enter<R>(&mut self, clock: Clock, work: impl FnOnce(Parts) -> R) -> R {
        self.wires_mut().timer.now_ms = millis(clock.now);
        let parts = Parts { ssl: self.ssl.as_ptr(), conf: self.conf.as_ptr(), wires: self.wires.as_ptr() };
        self.wires_mut().wall_trusted = clock.wall.is_some_and(|wall| wall.trusted);
        let room = Room::enter(clock.now, clock.wall.map(|wall| wall.unix_s));
        let answer = work(parts);
        drop(room);
        if let Some(payload) = self.wires_mut().panic.take() {
            resume_unwind(payload);
        }
        answer
    }

    fn wires(&self) -> &Wires {
        // SAFETY: invariants 1 and 4: live, and the library is not running, since that needs `&mut self`.
        unsafe { self.wires.as_ref() }
    }

    fn wires_mut(&mut self) -> &mut Wires {
        // SAFETY: as in `wires`; `&mut self` makes it unique.
        unsafe { self.wires.as_mut() }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _room = Room::enter(Duration::ZERO, None);
        // SAFETY: made by `leak` in `new`, freed only here; `ssl` refers to `conf` and both to `wires`, so they go in that
        // order. The library's free functions take initialised and zeroed structures alike.
        unsafe {
            sys::mbedtls_ssl_free(self.ssl.as_ptr());
            sys::mbedtls_ssl_config_free(self.conf.as_ptr());
            drop(Box::from_raw(self.ssl.as_ptr()));
            drop(Box::from_raw(self.conf.as_ptr()));
            drop(Box::from_raw(self.wires.as_ptr()));
        }
    }
}

/// Raw pointers to an engine's allocations, for the duration of one visit to the room.
struct Parts {
    ssl: *mut sys::mbedtls_ssl_context,
    conf: *mut sys::mbedtls_ssl_config,
    wires: *mut Wires,
}

/// The own certificate with its key, and the roots.
type LentPointers =
    (Option<(*mut sys::mbedtls_x509_crt, *mut sys::mbedtls_pk_context)>, Option<*mut sys::mbedtls_x509_crt>);

/// Applies `setup` to freshly initialised structures.
///
/// # Safety
/// `parts` point to live structures, initialised by the library, used by nobody else; what is lent outlives them.
unsafe fn configure(parts: &Parts, setup: &Setup, (own, roots): LentPointers) -> Result<(), i32> {
    let Parts { ssl, conf, wires } = *parts;
    let context = wires.cast::<c_void>();
    // SAFETY: the caller's promise. `wires` and the suite list inside it outlive `conf` and `ssl` (see `Engine::drop`),
    // and so do the certificates, keys and roots (`Engine::_lent`); identities, pre-shared keys and names are copied by the
    // library.
    unsafe {
        let endpoint = match setup.role {
            Role::Client { .. } => sys::MBEDTLS_SSL_IS_CLIENT,
            Role::Server { .. } => sys::MBEDTLS_SSL_IS_SERVER,
        };
        succeed(sys::mbedtls_ssl_config_defaults(
            conf,
            endpoint as c_int,
            sys::MBEDTLS_SSL_TRANSPORT_DATAGRAM as c_int,
            sys::MBEDTLS_SSL_PRESET_DEFAULT as c_int,
        ))?;
        sys::mbedtls_ssl_conf_rng(conf, Some(callbacks::on_random), context);
        let suites = &raw const (*wires).suites;
        sys::mbedtls_ssl_conf_ciphersuites(conf, (&*suites).as_ptr());
        // Without end: the caller's deadline ends a handshake, not the library's count of doublings.
        let timer_min = u32::try_from(setup.timer_min.as_millis()).unwrap_or(u32::MAX);
        sys::mbedtls_ssl_conf_handshake_timeout(conf, timer_min, u32::MAX);
        // Tickets would cost a few hundred bytes a handshake, and a saved session does more.
        sys::mbedtls_ssl_conf_session_tickets(conf, sys::MBEDTLS_SSL_SESSION_TICKETS_DISABLED as c_int);
        if let Some(cid) = &setup.own_cid {
            let ignore = sys::MBEDTLS_SSL_UNEXPECTED_CID_IGNORE as c_int;
            succeed(sys::mbedtls_ssl_conf_cid(conf, cid.len(), ignore))?;
        }
        if let Some((chain, key)) = own {
            succeed(sys::mbedtls_ssl_conf_own_cert(conf, chain, key))?;
        }
        if let Some(roots) = roots {
            sys::mbedtls_ssl_conf_ca_chain(conf, roots, ptr::null_mut());
        }
        // A client checks by default; a server asks for a certificate only where it has roots to check it against. Suites with
        // a pre-shared key show none, and none is missed there.
        let verify = match (&setup.role, roots) {
            (Role::Server { .. }, None) => sys::MBEDTLS_SSL_VERIFY_NONE,
            _ => sys::MBEDTLS_SSL_VERIFY_REQUIRED,
        };
        sys::mbedtls_ssl_conf_authmode(conf, verify as c_int);
        sys::mbedtls_ssl_conf_verify(conf, Some(callbacks::on_verify), context);
        match &setup.role {
            Role::Client { credential: Credential::Psk(psk), .. } => succeed(sys::mbedtls_ssl_conf_psk(
                conf,
                psk.key().as_ptr(),
                psk.key().len(),
                psk.identity().as_ptr(),
                psk.identity().len(),
            ))?,
            Role::Client { credential: Credential::Certificate { .. }, .. } => {}
            Role::Server { cookies, .. } => {
                sys::mbedtls_ssl_conf_psk_cb(conf, Some(callbacks::on_psk_identity), context);
                sys::mbedtls_ssl_conf_dtls_cookies(
                    conf,
                    Some(sys::mbedtls_ssl_cookie_write),
                    Some(sys::mbedtls_ssl_cookie_check),
                    cookies.as_ptr().cast::<c_void>(),
                );
            }
        }
        succeed(sys::mbedtls_ssl_setup(ssl, conf))?;
        sys::mbedtls_ssl_set_bio(ssl, context, Some(callbacks::on_send), Some(callbacks::on_receive), None);
        sys::mbedtls_ssl_set_timer_cb(
            ssl,
            context,
            Some(callbacks::on_set_timer),
            Some(callbacks::on_get_timer),
        );
        sys::mbedtls_ssl_set_mtu(ssl, setup.mtu);
        if let Some(cid) = &setup.own_cid {
            succeed(set_connection_id(ssl, Some(cid)))?;
        }
        match &setup.role {
            Role::Client { server_name: Some(name), .. } => {
                succeed(sys::mbedtls_ssl_set_hostname(ssl, name.as_ptr()))
            }
            Role::Client { server_name: None, .. } => Ok(()),
            Role::Server { client_address, .. } => succeed(set_client_address(ssl, client_address)),
        }
    }
}

/// # Safety
/// `ssl` is a live context that was set up as a server.
unsafe fn set_client_address(ssl: *mut sys::mbedtls_ssl_context, address: &[u8]) -> i32 {
    // SAFETY: the caller's promise; the address is copied.
    unsafe { sys::mbedtls_ssl_set_client_transport_id(ssl, address.as_ptr(), address.len()) }
}

/// # Safety
/// `ssl` is a live context that was set up.
unsafe fn set_connection_id(ssl: *mut sys::mbedtls_ssl_context, own_cid: Option<&[u8]>) -> i32 {
    let (enable, cid) = match own_cid {
        Some(cid) => (sys::MBEDTLS_SSL_CID_ENABLED, cid),
        None => (sys::MBEDTLS_SSL_CID_DISABLED, [].as_slice()),
    };
    // SAFETY: the caller's promise; the bytes are copied.
    unsafe { sys::mbedtls_ssl_set_cid(ssl, enable as c_int, cid.as_ptr(), cid.len()) }
}

fn succeed(code: i32) -> Result<(), i32> {
    if code == 0 { Ok(()) } else { Err(code) }
}

fn leak<T>(value: T) -> NonNull<T> {
    NonNull::from(Box::leak(Box::new(value)))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
