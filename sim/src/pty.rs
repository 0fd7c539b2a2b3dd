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
    /// Another simulator that runs has its link there.
    #[error("{link} is held by {name}, process {process}; end it first or choose another path")]
    Held {
        /// Where the link should be.
        link: PathBuf,
        /// Which program.
        name: String,
        /// Its process id.
        process: u32,
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
    /// an earlier run, is replaced, unless another process of this program still holds its port; anything else is not touched.
    pub fn link_at(&mut self, link: &Path) -> Result<(), PtyError> {
        self.link = None;
        let failed = |source| PtyError::Link { link: link.to_owned(), source };
        match std::fs::symlink_metadata(link) {
            Ok(found) if found.is_symlink() => {
                let target = std::fs::read_link(link).map_err(failed)?;
                if let Some((process, name)) = holder(&target) {
                    return Err(PtyError::Held { link: link.to_owned(), name, process });
                }
                std::fs::remove_file(link).map_err(failed)?;
            }
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

/// Another process of this program that has the port open. A number of a pseudo-terminal that ended may be a shell's by now:
/// others do not count.
fn holder(port: &Path) -> Option<(u32, String)> {
    let name = |process: &str| std::fs::read_to_string(format!("/proc/{process}/comm")).ok();
    let own = name("self")?;
    for entry in std::fs::read_dir("/proc").ok()?.flatten() {
        let process = entry.file_name().to_str().and_then(|number| number.parse::<u32>().ok());
        let Some(process) = process.filter(|process| *process != std::process::id()) else { continue };
        if name(&process.to_string()).as_deref() != Some(own.as_str()) {
            continue;
        }
        // Those of other users do not show what they have open, and end up replaced as a left link would be.
        let Ok(open) = std::fs::read_dir(entry.path().join("fd")) else { continue };
        if open.flatten().any(|file| std::fs::read_link(file.path()).is_ok_and(|target| target == port)) {
            return Some((process, own.trim_end().to_owned()));
        }
    }
    None
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::tests::recorded_slave;
    use crate::bus::{SimBus, three_slaves};
    use crate::clock::Clock;
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use std::collections::VecDeque;
    use std::fs::File;
    use std::os::fd::AsFd;
    use std::os::unix::fs::OpenOptionsExt;
    use std::time::Duration;
    use tokio::task::{JoinHandle, spawn_blocking};

    /// Says back what it hears, each byte turned over.
    #[derive(Default)]
    struct Inverter {
        says: VecDeque<Vec<u8>>,
    }

    impl SerialDevice for Inverter {
        fn handle_bytes(&mut self, _now: Duration, bytes: &[u8]) {
            self.says.push_back(bytes.iter().map(|b| !b).collect());
        }
        fn handle_timeout(&mut self, _now: Duration) {}
        fn poll_transmit(&mut self) -> Option<Vec<u8>> {
            self.says.pop_front()
        }
        fn poll_timeout(&self) -> Option<Duration> {
            None
        }
    }

    struct Line<D> {
        device: Shared<D>,
        path: PathBuf,
        stop: CancellationToken,
        task: JoinHandle<Result<PtyCounters, PtyError>>,
    }

    impl<D: SerialDevice + Send + 'static> Line<D> {
        fn start(device: D, pty: Pty) -> Self {
            let (device, path, stop) =
                (Shared::new(device, Clock::start()), pty.path().to_owned(), CancellationToken::new());
            let task = tokio::spawn(run(pty, device.clone(), stop.clone()));
            Self { device, path, stop, task }
        }

        async fn stop(self) -> PtyCounters {
            self.stop.cancel();
            self.task.await.unwrap().unwrap()
        }
    }

    /// A client that knows nothing of this module: a plain file on the slave's path.
    fn open_client(path: &Path) -> File {
        let flags = (OFlag::O_NOCTTY | OFlag::O_NONBLOCK).bits();
        std::fs::OpenOptions::new().read(true).write(true).custom_flags(flags).open(path).unwrap()
    }

    /// Writes, then reads as many bytes as expected. The limit only keeps a broken line from hanging the run.
    fn exchange(mut client: &File, request: &[u8], expected: usize) -> Vec<u8> {
        client.write_all(request).unwrap();
        let mut answer = Vec::new();
        while answer.len() < expected {
            let mut waits = [PollFd::new(client.as_fd(), PollFlags::POLLIN)];
            assert_eq!(
                poll(&mut waits, PollTimeout::try_from(20_000).unwrap()),
                Ok(1),
                "only {answer:02x?} came"
            );
            let mut buffer = [0; 512];
            let n = client.read(&mut buffer).unwrap();
            answer.extend_from_slice(&buffer[..n]);
        }
        answer
    }

    #[tokio::test]
    async fn a_plain_client_gets_the_recorded_answers() {
        let bus = SimBus::new(vec![recorded_slave()], 115_200, 1).unwrap();
        let line = Line::start(bus, Pty::open().unwrap());
        let path = line.path.clone();
        spawn_blocking(move || {
            let client = open_client(&path);
            for (request, answer) in [
                ("1104000000 03b29b", "110406 00d701e3ffc9 a8ed"),
                ("1103000a0002e699", "110304 41bc0000 3e2a"),
                ("1103138800010234", "118302c134"),
                ("11060001 00ff9ada", "1106000100ff9ada"),
                ("1110000000020400 0a0102073c", "1110000000024358"),
                ("1101000000083f5c", "110101dd9511"),
            ] {
                let (request, answer) = (unhex(request), unhex(answer));
                assert_eq!(exchange(&client, &request, answer.len()), answer);
            }
        })
        .await
        .unwrap();
        let ledger = line.device.read(SimBus::ledger);
        assert_eq!(ledger.slave(0x11).unwrap().requests, 6);
        line.stop().await;
    }

    #[tokio::test]
    async fn the_ledger_can_be_read_and_the_bus_disturbed_while_it_runs() {
        let line = Line::start(SimBus::new(three_slaves(), 115_200, 1).unwrap(), Pty::open().unwrap());
        let path = line.path.clone();
        let read_fills = unhex("1104000300 02835b");
        let answer = {
            let (path, request) = (path.clone(), read_fills.clone());
            spawn_blocking(move || exchange(&open_client(&path), &request, 9)).await.unwrap()
        };
        assert_eq!(answer[3..7], [0, 0, 0, 1]);
        assert_eq!(line.device.read(|bus| bus.ledger().point(17, "fills").unwrap().produced), 1);
        line.device.with(|bus, _| bus.fall_silent());
        spawn_blocking(move || exchange(&open_client(&path), &read_fills, 0)).await.unwrap();
        while line.device.read(|bus| bus.ledger().unanswered()) == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(line.device.read(|bus| bus.ledger().produced()), 1);
        line.stop().await;
    }

    #[tokio::test]
    async fn every_byte_passes_as_it_is_and_none_is_echoed() {
        let line = Line::start(Inverter::default(), Pty::open().unwrap());
        let path = line.path.clone();
        let all: Vec<u8> = (0..=255).collect();
        let answer = spawn_blocking(move || exchange(&open_client(&path), &all, 256)).await.unwrap();
        assert_eq!(answer, (0..=255_u8).rev().collect::<Vec<_>>());
        let counters = line.stop().await;
        assert_eq!(counters, PtyCounters { to_device: 256, to_gateway: 256, overrun: 0 });
    }

    #[tokio::test]
    async fn the_line_outlives_its_clients() {
        let line = Line::start(Inverter::default(), Pty::open().unwrap());
        for _ in 0..3 {
            let path = line.path.clone();
            let answer = spawn_blocking(move || exchange(&open_client(&path), &[1], 1)).await.unwrap();
            assert_eq!(answer, [254]);
        }
        line.stop().await;
    }

    #[tokio::test]
    async fn what_a_device_says_unasked_is_carried_at_once() {
        let line = Line::start(Inverter::default(), Pty::open().unwrap());
        line.device.with(|device, _| device.says.push_back(b"+CEREG: 1\r\n".to_vec()));
        let path = line.path.clone();
        let heard = spawn_blocking(move || exchange(&open_client(&path), &[], 11)).await.unwrap();
        assert_eq!(heard, b"+CEREG: 1\r\n");
        line.stop().await;
    }

    #[tokio::test]
    async fn what_nobody_reads_is_bounded_and_counted_as_overrun() {
        let line = Line::start(Inverter::default(), Pty::open().unwrap());
        let said: u64 = 4 * 1024 * 1024;
        line.device.with(|device, _| device.says.extend((0..said / 1024).map(|_| vec![0x55; 1024])));
        while line.device.read(|device| !device.says.is_empty()) {
            tokio::task::yield_now().await;
        }
        let counters = line.stop().await;
        let kept = said - counters.overrun;
        assert!(counters.overrun > 0 && kept >= counters.to_gateway, "{counters:?}");
        assert!(kept - counters.to_gateway <= UNREAD_LIMIT as u64, "{counters:?}");
    }

    #[tokio::test]
    async fn the_link_leads_to_the_line_and_goes_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("bus");
        // Left over from a run that was killed.
        std::os::unix::fs::symlink("/dev/pts/nowhere", &link).unwrap();
        let mut pty = Pty::open().unwrap();
        pty.link_at(&link).unwrap();
        assert_eq!(
            (pty.link(), std::fs::read_link(&link).unwrap().as_path()),
            (Some(link.as_path()), pty.path())
        );
        let line = Line::start(Inverter::default(), pty);
        let through = link.clone();
        let answer = spawn_blocking(move || exchange(&open_client(&through), &[7], 1)).await.unwrap();
        assert_eq!(answer, [248]);
        line.stop().await;
        assert!(std::fs::symlink_metadata(&link).is_err());
    }

    #[test]
    fn a_file_in_the_links_place_is_left_alone_and_so_is_anothers_link() {
        let folder = tempfile::tempdir().unwrap();
        let mut pty = Pty::open().unwrap();
        assert!(matches!(pty.link_at(folder.path()), Err(PtyError::Occupied { .. })));
        let missing = folder.path().join("no/such/folder");
        assert!(matches!(pty.link_at(&missing), Err(PtyError::Link { .. })));

        let link = folder.path().join("bus");
        pty.link_at(&link).unwrap();
        let mut other = Pty::open().unwrap();
        other.link_at(&link).unwrap();
        drop(pty);
        assert_eq!(std::fs::read_link(&link).unwrap(), other.path(), "the later run's link stays");
    }

    fn unhex(text: &str) -> Vec<u8> {
        let digits: Vec<char> = text.chars().filter(|c| !c.is_whitespace()).collect();
        digits
            .chunks(2)
            .map(|pair| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap())
            .collect()
    }
}
