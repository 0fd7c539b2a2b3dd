//! A real file system on a block device that records every write and flush, and images of it mounted again.
//!
//! The device is a file that `qemu-storage-daemon` shows through FUSE and logs; ext4 lies on it through a loop device. Needs root.
//! What is mounted or started here ends with its owner.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::log;
use crate::clock::Clock;
use crate::gateway::{Trouble, eventually};

/// Bytes of the disk.
pub(super) const DISK: u64 = 32 << 20;
/// Bytes the log may grow to; the file is sparse.
const LOG: u64 = 1 << 30;
/// How long the recording device may take to appear.
const PATIENCE: Duration = Duration::from_secs(20);

/// What is missing for the rig on this machine, if anything: in words, with what to do.
pub(super) fn missing() -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("it mounts file systems and needs root".into());
    }
    for device in ["/dev/fuse", "/dev/loop-control"] {
        if let Err(error) = std::fs::File::options().read(true).write(true).open(device) {
            return Some(format!("{device} cannot be used: {error}"));
        }
    }
    for (program, package) in [
        ("qemu-storage-daemon", "qemu-utils"),
        ("mkfs.ext4", "e2fsprogs"),
        ("e2fsck", "e2fsprogs"),
        ("mount", "mount"),
        ("umount", "mount"),
    ] {
        if Command::new(program)
            .arg("--version")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_err()
        {
            return Some(format!("{program} was not found: install the package {package}"));
        }
    }
    None
}

/// Runs a program to its end.
fn run(program: &str, arguments: &[&std::ffi::OsStr]) -> Result<(), Trouble> {
    let output =
        Command::new(program).args(arguments).output().map_err(Trouble::system(format!("run {program}")))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Trouble::Surroundings(format!("{program} ended with {}: {said}", output.status)))
}

/// An image mounted on a folder for as long as this lives.
#[derive(Debug)]
pub(super) struct Mounted(PathBuf);

impl Mounted {
    /// Mounts the file system in the file `image`.
    pub(super) fn new(image: &Path, on: &Path) -> Result<Self, Trouble> {
        run("mount", &["-o".as_ref(), "loop".as_ref(), image.as_ref(), on.as_ref()])?;
        Ok(Self(on.to_owned()))
    }

    /// The same; an image that does not mount is checked first, as a boot does it. Tells whether it had to be.
    pub(super) fn after_a_cut(image: &Path, on: &Path) -> Result<(Self, bool), Trouble> {
        if let Ok(mounted) = Self::new(image, on) {
            return Ok((mounted, false));
        }
        // Its exit status tells that something was mended.
        let _ = run("e2fsck", &["-fy".as_ref(), image.as_ref()]);
        Ok((Self::new(image, on)?, true))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if run("umount", &[self.0.as_ref()]).is_err() {
            let _ = run("umount", &["-l".as_ref(), self.0.as_ref()]);
        }
    }
}

/// The recording device, with a new file system mounted from it.
#[derive(Debug)]
pub(super) struct Rig {
    // In this order: the file system goes before the device it lies on.
    _mounted: Mounted,
    _recorder: Recorder,
    /// What the disk held before the first entry of the log.
    pub(super) blank: Vec<u8>,
    /// The log.
    pub(super) log: PathBuf,
}

/// The program that shows the device, and where it does.
#[derive(Debug)]
struct Recorder(Child, PathBuf);

impl Drop for Recorder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
        // A program that is killed leaves its mount behind, and with it the folder.
        let _ = run("umount", &["-l".as_ref(), self.1.as_ref()]);
    }
}

impl Rig {
    /// Makes the device in `folder` and mounts its file system on `on`.
    pub(super) async fn set_up(folder: &Path, on: &Path, clock: Clock) -> Result<Self, Trouble> {
        let (disk, log, shown) = (folder.join("disk"), folder.join("log"), folder.join("shown"));
        for (file, length) in [(&disk, DISK), (&log, LOG), (&shown, 0)] {
            std::fs::File::options()
                .write(true)
                .create_new(true)
                .open(file)
                .and_then(|file| file.set_len(length))
                .map_err(Trouble::system(format!("make {}", file.display())))?;
        }
        run("mkfs.ext4", &["-q".as_ref(), "-F".as_ref(), "-m".as_ref(), "0".as_ref(), disk.as_ref()])?;
        let blank = std::fs::read(&disk).map_err(Trouble::system("read the new disk"))?;
        let option = |words: &str, path: &Path| format!("{words}{}", path.display());
        let mut recorder = Recorder(
            Command::new("qemu-storage-daemon")
                .args(["--blockdev", &option("driver=file,node-name=disk,filename=", &disk)])
                .args(["--blockdev", &option("driver=file,node-name=log,filename=", &log)])
                .arg("--blockdev")
                .arg(
                    "driver=blklogwrites,node-name=recorded,file=disk,log=log,log-sector-size=512,\
                     log-super-update-interval=1",
                )
                .arg("--export")
                .arg(option(
                    "type=fuse,id=shown,node-name=recorded,writable=on,allow-other=off,mountpoint=",
                    &shown,
                ))
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .map_err(Trouble::system("run qemu-storage-daemon"))?,
            shown.clone(),
        );
        // The file has no bytes until the device is shown in its place.
        let is_there = || {
            let there = std::fs::metadata(&shown).is_ok_and(|m| m.len() == DISK);
            let ended = matches!(recorder.0.try_wait(), Ok(Some(_)));
            async move { (there || ended).then_some(there) }
        };
        if eventually(clock, Duration::from_millis(20), PATIENCE, is_there).await != Some(true) {
            let _ = recorder.0.kill();
            let mut said = String::new();
            if let Some(mut error) = recorder.0.stderr.take() {
                let _ = std::io::Read::read_to_string(&mut error, &mut said);
            }
            return Err(Trouble::Surroundings(format!(
                "qemu-storage-daemon shows no device: {}",
                said.trim()
            )));
        }
        let mounted = Mounted::new(&shown, on)?;
        Ok(Self { _mounted: mounted, _recorder: recorder, blank, log })
    }

    /// Takes everything down and reads the log.
    pub(super) fn take_down(self) -> Result<(Vec<u8>, Vec<u8>), Trouble> {
        let Self { _mounted, _recorder, blank, log } = self;
        drop(_mounted);
        drop(_recorder);
        let bytes = log::read(&log).map_err(Trouble::system("read the log"))?;
        Ok((blank, bytes))
    }
}
