//! A pseudo-terminal with a simulated device behind it.
//!
//! [`Pty`] owns both ends and, if asked, a symlink to the slave; [`run`] carries bytes between the master and a
//! [`SerialDevice`] in real time. The slave end is held open too, so that the line outlives its clients: a gateway may
//! open it late, crash and come back, as with a real port. Unlike a real port nothing is lost while nobody
//! has it open: what the device said last stays in the kernel for the next client, up to the kernel's buffer.
//! A pty knows no parity, no modem lines and no speed: timing is the device's own.

use crate::device::{SerialDevice, Shared};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::pty::{PtyMaster, grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::stat::Mode;
use nix::sys::termios::{SetArg, cfmakeraw, tcgetattr, tcsetattr};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use tokio::io::unix::AsyncFd;
use tokio_util::sync::CancellationToken;

/// A raw pty pair. Dropping it hangs up the line and removes the symlink.
#[derive(Debug)]
pub struct Pty {
    master: PtyMaster,
    /// Held so that the master never reads EIO between clients.
    slave: OwnedFd,
    path: PathBuf,
    link: Option<Link>,
}

/// A symlink to the slave, removed on drop.
#[derive(Debug)]
struct Link {
    at: PathBuf,
    target: PathBuf,
}

/// What keeps a pty from being made or used.
#[derive(Debug, thiserror::Error)]
pub enum PtyError {
    /// The system gave no pty.
    #[error("cannot {step} a pseudo-terminal ({source}); check that /dev/pts is mounted and not full")]
    Open {
        /// What was being done.
        step: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// The symlink cannot be made.
    #[error(
        "cannot make the link {link} to the simulated port ({source}); choose a path in a writable folder"
    )]
    Link {
        /// Where it should be.
        link: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Something that is not a symlink is where the symlink should be; it is left alone.
    #[error("{link} exists and is not a symlink, so it is not replaced; remove it or choose another path")]
    Occupied {
        /// Where the link should be.
        link: PathBuf,
    },
    /// The line broke while running.
    #[error(
        "the simulated port broke ({source}); its bytes are no longer carried, start the simulator again"
    )]
    Broken {
        /// Why.
        source: io::Error,
    },
}

impl Pty {
    /// Opens a pair: 8 bits, no echo, no translation; closed on exec.
    pub fn open() -> Result<Self, PtyError> {
        let failed = |step| move |errno: Errno| PtyError::Open { step, source: errno.into() };
        let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        let master = posix_openpt(flags | OFlag::O_NONBLOCK).map_err(failed("open"))?;
        grantpt(&master).map_err(failed("grant"))?;
        unlockpt(&master).map_err(failed("unlock"))?;
        let path = PathBuf::from(ptsname_r(&master).map_err(failed("name"))?);
        let slave = open(&path, flags, Mode::empty()).map_err(failed("open the slave of"))?;
        let mut termios = tcgetattr(&slave).map_err(failed("read the settings of"))?;
        cfmakeraw(&mut termios);
        tcsetattr(&slave, SetArg::TCSANOW, &termios).map_err(failed("make raw"))?;
        Ok(Self { master, slave, path, link: None })
    }

    /// Makes `link` a symlink to the slave, for as long as this pty lives. A symlink that is there already, left by
    /// an earlier run, is replaced; anything else is not touched.
    pub fn link_at(&mut self, link: &Path) -> Result<(), PtyError> {
        self.link = None;
        let failed = |source| PtyError::Link { link: link.to_owned(), source };
        match std::fs::symlink_metadata(link) {
            Ok(found) if found.is_symlink() => std::fs::remove_file(link).map_err(failed)?,
            Ok(_) => return Err(PtyError::Occupied { link: link.to_owned() }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        std::os::unix::fs::symlink(&self.path, link).map_err(failed)?;
        self.link = Some(Link { at: link.to_owned(), target: self.path.clone() });
        Ok(())
    }

    /// The slave: `/dev/pts/N`.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The symlink, if one was made.
    #[must_use]
    pub fn link(&self) -> Option<&Path> {
        self.link.as_ref().map(|link| link.at.as_path())
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // Another run may have put its own link there meanwhile: only ours is removed.
        if std::fs::read_link(&self.at).is_ok_and(|target| target == self.target) {
            // A link that cannot be removed dangles; the next run replaces it.
            let _dangling = std::fs::remove_file(&self.at);
        }
    }
}

/// What a driver carried.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PtyCounters {
    /// Bytes from the gateway to the device.
    pub to_device: u64,
    /// Bytes from the device that the kernel took.
    pub to_gateway: u64,
    /// Bytes the device said while [`UNREAD_LIMIT`] bytes waited unread; they are lost, as in an overrun.
    pub overrun: u64,
}

/// Most bytes of the device that wait for a gateway that does not read, beyond what the kernel keeps.
pub const UNREAD_LIMIT: usize = 64 * 1024;

/// Carries bytes between the pty and the device until `stop`, then gives the counters. The symlink goes with the pty.
///
/// What the device says through [`Shared::with`] is carried at once.
pub async fn run<D: SerialDevice>(
    pty: Pty,
    device: Shared<D>,
    stop: CancellationToken,
) -> Result<PtyCounters, PtyError> {
    let broken = |source| PtyError::Broken { source };
    let Pty { master, slave: _held, link: _link, path: _ } = pty;
    let line = watch(master).map_err(broken)?;
    let clock = device.clock();
    let mut counters = PtyCounters::default();
    let mut unsent: Vec<u8> = Vec::new();
    let mut buffer = [0_u8; 1024];
    loop {
        let deadline = drain(&device, &mut unsent, &mut counters);
        tokio::select! {
            () = stop.cancelled() => return Ok(counters),
            () = device.changed() => {}
            () = sleep_until(deadline.map(|at| clock.instant(at))) => {}
            ready = line.readable() => {
                let mut ready = ready.map_err(broken)?;
                match ready.try_io(|fd| { let mut master = fd.get_ref(); master.read(&mut buffer) }) {
                    Ok(Ok(0)) => return Err(broken(io::ErrorKind::UnexpectedEof.into())),
                    Ok(Ok(n)) => {
                        counters.to_device += n as u64;
                        device.lock().handle_bytes(clock.now(), buffer.get(..n).unwrap_or_default());
                    }
                    Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                    Ok(Err(error)) => return Err(broken(error)),
                    Err(_not_ready) => {}
                }
            }
            ready = line.writable(), if !unsent.is_empty() => {
                let mut ready = ready.map_err(broken)?;
                match ready.try_io(|fd| { let mut master = fd.get_ref(); master.write(&unsent) }) {
                    Ok(Ok(n)) => {
                        counters.to_gateway += n as u64;
                        unsent.drain(..n.min(unsent.len()));
                    }
                    Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                    Ok(Err(error)) => return Err(broken(error)),
                    Err(_not_ready) => {}
                }
            }
        }
    }
}

#[allow(
    deprecated,
    reason = "its successor is unsafe because a type could name a descriptor it does not own; PtyMaster owns its own \
              and never changes it, and this crate has no unsafe code"
)]
fn watch(master: PtyMaster) -> io::Result<AsyncFd<PtyMaster>> {
    AsyncFd::new(master)
}

/// Takes what the device has to say now; gives when it next wants to be called.
fn drain<D: SerialDevice>(
    device: &Shared<D>,
    unsent: &mut Vec<u8>,
    counters: &mut PtyCounters,
) -> Option<std::time::Duration> {
    let clock = device.clock();
    let mut device = device.lock();
    let now = clock.now();
    if device.poll_timeout().is_some_and(|at| at <= now) {
        device.handle_timeout(now);
    }
    while let Some(bytes) = device.poll_transmit() {
        // Whole transmissions are lost, never the middle of one.
        if unsent.len() + bytes.len() > UNREAD_LIMIT {
            counters.overrun += bytes.len() as u64;
        } else {
            unsent.extend_from_slice(&bytes);
        }
    }
    device.poll_timeout()
}

async fn sleep_until(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
