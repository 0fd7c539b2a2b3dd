//! Finding, locking and opening serial ports.
//!
//! A port is ours alone while it is open: `TIOCEXCL` keeps other programs out, and a lock on the device node keeps out
//! those that run as root, whom `TIOCEXCL` does not stop. Where a port disappears (an unplugged adapter), the lane that
//! held it opens it again; this room only opens.

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_serial::{DataBits, FlowControl, Parity, SerialPort, SerialPortBuilderExt, StopBits};

use crate::daemon::rim::{LineParity, PortSettings, Ports, SerialStream};

/// The machine's serial ports.
#[derive(Debug)]
pub struct OsPorts;

impl Ports for OsPorts {
    fn open(&self, settings: &PortSettings) -> io::Result<Box<dyn SerialStream>> {
        let lock = lock(settings)?;
        let mut port = tokio_serial::new(settings.path.to_string_lossy(), settings.baud)
            .data_bits(DataBits::Eight)
            .parity(match settings.parity {
                LineParity::None => Parity::None,
                LineParity::Even => Parity::Even,
                LineParity::Odd => Parity::Odd,
            })
            .stop_bits(if settings.stop_bits == 2 { StopBits::Two } else { StopBits::One })
            .flow_control(if settings.flow_control { FlowControl::Hardware } else { FlowControl::None })
            .open_native_async()
            .map_err(io::Error::from)?;
        // Pseudo-terminals know no modem lines, and some adapters none worth setting: not a reason to refuse the port.
        let _ = port.write_data_terminal_ready(true);
        Ok(Box::new(OpenPort { port, _lock: lock }))
    }
}

/// Takes the advisory lock on the device node before the port itself is opened, which makes it exclusive.
fn lock(settings: &PortSettings) -> io::Result<File> {
    let node = File::options()
        .read(true)
        .write(true)
        .custom_flags(nix::fcntl::OFlag::O_NOCTTY.bits() | nix::fcntl::OFlag::O_NONBLOCK.bits())
        .open(&settings.path)?;
    node.try_lock().map_err(|e| match e {
        std::fs::TryLockError::WouldBlock => io::Error::new(
            io::ErrorKind::ResourceBusy,
            "another program holds the port; stop it, or name another port",
        ),
        std::fs::TryLockError::Error(e) => e,
    })?;
    Ok(node)
}

/// A port and the lock that makes it ours; both end together.
#[derive(Debug)]
struct OpenPort {
    port: tokio_serial::SerialStream,
    _lock: File,
}

impl AsyncRead for OpenPort {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.port).poll_read(cx, buf)
    }
}

impl AsyncWrite for OpenPort {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.port).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.port).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.port).poll_shutdown(cx)
    }
}
