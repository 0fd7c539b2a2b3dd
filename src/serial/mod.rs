//! Finding, locking and opening serial ports.
//!
//! A port is ours alone while it is open: `TIOCEXCL` keeps other programs out, and an exclusive `flock` on the device node
//! those that run as root, whom `TIOCEXCL` does not stop. The serial library takes both when it opens a port; a lock of
//! our own beside them would be somebody else's to it. Where a port disappears (an unplugged adapter), the lane that
//! held it opens it again; this room only opens.

use std::io;

use tokio_serial::{DataBits, FlowControl, Parity, SerialPort, SerialPortBuilderExt, StopBits};

use crate::daemon::rim::{LineParity, PortSettings, Ports, SerialStream};

/// The machine's serial ports.
#[derive(Debug)]
pub struct OsPorts;

impl Ports for OsPorts {
    fn open(&self, settings: &PortSettings) -> io::Result<Box<dyn SerialStream>> {
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
            .map_err(|error| refused(error, settings))?;
        // Pseudo-terminals know no modem lines, and some adapters none worth setting: not a reason to refuse the port.
        let _ = port.write_data_terminal_ready(true);
        Ok(Box::new(port))
    }
}

/// A port that somebody else has is a common finding, and deserves better words than the library's.
fn refused(error: tokio_serial::Error, settings: &PortSettings) -> io::Error {
    match error.kind() {
        // What a lock that is taken comes back as, and `TIOCEXCL`.
        tokio_serial::ErrorKind::NoDevice if settings.path.exists() => io::Error::new(
            io::ErrorKind::ResourceBusy,
            format!("another program holds the port ({error}); stop it, or name another port"),
        ),
        _ => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pty() -> (nix::pty::PtyMaster, PortSettings) {
        let master = nix::pty::posix_openpt(nix::fcntl::OFlag::O_RDWR | nix::fcntl::OFlag::O_NOCTTY).unwrap();
        nix::pty::grantpt(&master).unwrap();
        nix::pty::unlockpt(&master).unwrap();
        let path = nix::pty::ptsname_r(&master).unwrap().into();
        let settings =
            PortSettings { path, baud: 19_200, parity: LineParity::None, stop_bits: 1, flow_control: false };
        (master, settings)
    }

    #[tokio::test]
    async fn a_port_opens_once_and_again_after_it_was_closed() {
        let (master, settings) = pty();
        let port = OsPorts.open(&settings).unwrap();
        let busy = OsPorts.open(&settings).unwrap_err();
        assert!(busy.to_string().contains("another program holds the port"), "{busy}");
        drop(port);
        OsPorts.open(&settings).unwrap();
        drop(master);
    }
}
