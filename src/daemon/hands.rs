//! What the process can be made to do to itself and its machine ([`Hands`]).
//!
//! The daemon has no privilege. To reboot it makes a file in its runtime directory; a root-owned unit (`fieldgate-reboot.path`) watches
//! for the file and reboots. An operator who does not want that does not enable the unit, and the call is refused.

use std::path::{Path, PathBuf};

use tokio_util::sync::CancellationToken;

use crate::board::Hands;

/// The file that asks for a reboot.
const ASKED: &str = "reboot";
/// Where systemd links an enabled path unit.
const ENABLED: [&str; 2] = [
    "/etc/systemd/system/paths.target.wants/fieldgate-reboot.path",
    "/etc/systemd/system/multi-user.target.wants/fieldgate-reboot.path",
];

/// The hands of a daemon that runs for real.
#[derive(Debug)]
pub(super) struct MachineHands {
    runtime: Option<PathBuf>,
    restart: CancellationToken,
}

impl MachineHands {
    /// `runtime` is the daemon's runtime directory, if systemd gave it one; `restart` stops the daemon.
    pub(super) fn new(runtime: Option<PathBuf>, restart: CancellationToken) -> Self {
        Self { runtime, restart }
    }

    fn runtime(&self) -> Result<&Path, String> {
        self.runtime.as_deref().ok_or_else(|| {
            "this daemon was not started by systemd and cannot reboot the machine; reboot it by hand".into()
        })
    }
}

impl Hands for MachineHands {
    fn may_reboot(&self) -> Result<(), String> {
        self.runtime()?;
        if ENABLED.iter().any(|link| Path::new(link).symlink_metadata().is_ok()) {
            return Ok(());
        }
        Err("remote reboots are not enabled on this gateway: systemctl enable --now fieldgate-reboot.path"
            .into())
    }

    fn reboot(&self) -> Result<(), String> {
        let path = self.runtime()?.join(ASKED);
        let made = std::fs::File::options().write(true).create(true).truncate(false).open(&path);
        made.map(drop).map_err(|error| format!("{} cannot be made: {error}", path.display()))
    }

    fn restart(&self) {
        self.restart.cancel();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reboot_is_asked_for_by_a_file_and_only_under_systemd() {
        let dir = tempfile::tempdir().unwrap();
        let hands = MachineHands::new(Some(dir.path().to_owned()), CancellationToken::new());
        hands.reboot().unwrap();
        assert!(dir.path().join(ASKED).exists());
        let by_hand = MachineHands::new(None, CancellationToken::new());
        assert!(by_hand.may_reboot().is_err() && by_hand.reboot().is_err());
    }
}
