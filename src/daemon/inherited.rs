//! The listening socket that systemd may have opened for the page before the daemon started (`LISTEN_FDS`).

use std::net::TcpListener;

/// The first inherited descriptor, if it is a listening TCP socket.
pub(super) fn listener() -> Option<TcpListener> {
    let descriptor = sd_notify::listen_fds().ok()?.next()?;
    let listener = adopt(descriptor);
    match listener.local_addr() {
        Ok(address) => {
            tracing::info!(%address, "serving on the socket that systemd opened");
            Some(listener)
        }
        Err(error) => {
            tracing::warn!(%error, "the inherited descriptor is no TCP socket; the configured address is used");
            None
        }
    }
}

#[allow(
    unsafe_code,
    reason = "a number from the service manager becomes an owned descriptor in one place, here"
)]
fn adopt(descriptor: std::os::fd::RawFd) -> TcpListener {
    use std::os::fd::FromRawFd;
    // SAFETY: by the socket activation protocol (sd_listen_fds(3)) the descriptors from 3 on are open and belong to the
    // process named in LISTEN_PID, which `listen_fds` has compared with ours; nothing else in this program takes them, and
    // this runs once.
    unsafe { TcpListener::from_raw_fd(descriptor) }
}
