//! How one run of the daemon ends and the next begins: cleanly, in another boot, without a stop, on a copy of its folder.

use std::path::Path;
use std::sync::Arc;

use super::machine::MemoryPorts;
use super::wires::PROTECTED;
use super::{World, WorldError, WorldOptions, boot, daemon, folder, lend, ranked};
use fieldgate::daemon::rim::Rim;

/// The file in which a session waits for the next run.
const SESSION: &str = "golioth.session";

impl World {
    /// Stops the daemon cleanly and starts another on the same files, in the same surroundings: of the options only what makes
    /// the configuration, and what the board and its modem are, counts.
    ///
    /// # Errors
    /// [`WorldError`], when the options make no daemon.
    pub async fn restart(self, options: &WorldOptions) -> Result<Self, WorldError> {
        self.restart_looking(options, |_| ()).await
    }

    /// As [`World::restart`], with a look at the folder between the two.
    ///
    /// # Errors
    /// As [`World::restart`].
    pub async fn restart_looking(
        self,
        options: &WorldOptions,
        look: impl FnOnce(&Path),
    ) -> Result<Self, WorldError> {
        let Self { daemon: old, rim, clock, boots, dir, wires, .. } = self;
        old.stop().await;
        look(dir.path());
        start_again(options, rim, clock, boots, dir, wires)
    }

    /// As [`World::restart`], with the machine: another boot, whose system clock begins as the options say.
    ///
    /// # Errors
    /// As [`World::restart`].
    pub async fn reboot(self, options: &WorldOptions) -> Result<Self, WorldError> {
        let boots = self.boots.wrapping_add(1);
        Self { clock: Arc::new(boot(options, boots)), boots, ..self }.restart(options).await
    }

    /// As [`World::restart`], without a stop: as after a SIGKILL nothing more is sent, and nothing is kept of the session.
    ///
    /// # Errors
    /// As [`World::restart`].
    pub async fn crash(self, options: &WorldOptions) -> Result<Self, WorldError> {
        // The process is this one, so the daemon is stopped; what that would leave for the next run is taken away.
        let (kept, aside) = (self.dir.path().join(SESSION), self.dir.path().join("aside"));
        let was_there = std::fs::rename(&kept, &aside).is_ok();
        let wires = Arc::clone(&self.wires);
        wires.with(|state, _| state.dead = true);
        let Self { daemon: old, rim, clock, boots, dir, wires, .. } = self;
        old.stop().await;
        let _none = std::fs::remove_file(&kept);
        if was_there {
            std::fs::rename(&aside, &kept)?;
        }
        wires.with(|state, _| state.dead = false);
        start_again(options, rim, clock, boots, dir, wires)
    }

    /// As [`World::restart`]; also gives a copy of the folder as it was between the two.
    ///
    /// # Errors
    /// As [`World::restart`].
    pub async fn restart_and_copy(
        self,
        options: &WorldOptions,
    ) -> Result<(Self, tempfile::TempDir), WorldError> {
        let Self { daemon: old, rim, clock, boots, dir, wires, .. } = self;
        old.stop().await;
        let copy = folder()?;
        copy_files(dir.path(), copy.path())?;
        Ok((start_again(options, rim, clock, boots, dir, wires)?, copy))
    }

    /// As [`World::restart`], the next run being on another folder.
    ///
    /// # Errors
    /// As [`World::restart`].
    pub async fn restart_on(
        self,
        options: &WorldOptions,
        folder: tempfile::TempDir,
    ) -> Result<Self, WorldError> {
        let Self { daemon: old, rim, clock, boots, wires, .. } = self;
        old.stop().await;
        start_again(options, rim, clock, boots, folder, wires)
    }

    /// As [`World::restart`] twice, where before the second start the record of the session is put back that the first had
    /// taken: the very same file, as when a whole file system is set back.
    ///
    /// # Errors
    /// As [`World::restart`].
    pub async fn restart_set_back(self, options: &WorldOptions) -> Result<Self, WorldError> {
        let Self { daemon: old, rim, clock, boots, dir, wires, .. } = self;
        old.stop().await;
        let (kept, aside) = (dir.path().join(SESSION), dir.path().join("aside"));
        std::fs::hard_link(&kept, &aside)?;
        let world = start_again(options, rim, clock, boots, dir, wires)?;
        world.pass(std::time::Duration::from_secs(60)).await;
        let Self { daemon: old, rim, clock, boots, dir, wires, .. } = world;
        old.stop().await;
        std::fs::rename(&aside, &kept)?;
        start_again(options, rim, clock, boots, dir, wires)
    }

    /// From now on called as each run of the daemon sends its first DTLS record.
    pub fn at_first_datagram(&self, act: impl FnMut() + Send + 'static) {
        self.wires.with(|state, _| state.at_first_datagram = Some(Box::new(act)));
    }

    /// Whether the first DTLS record that this run of the daemon sent was one of a session that another run had made.
    #[must_use]
    pub fn began_within_a_session(&self) -> bool {
        self.wires.with(|state, _| state.began_with == Some(PROTECTED))
    }

    /// From now on notes the numbers of the gateway's protected records.
    pub fn watch_record_numbers(&self) {
        self.wires.with(|state, _| state.records = Some(super::wires::Records::default()));
    }

    /// How many records came under a number that was used before: each would repeat a nonce.
    #[must_use]
    pub fn repeated_records(&self) -> u64 {
        self.wires.with(|state, _| state.records.as_ref().map_or(0, |records| records.repeated))
    }
}

fn start_again(
    options: &WorldOptions,
    rim: Rim,
    clock: Arc<fieldgate::clock::VirtualClock>,
    boots: u8,
    dir: tempfile::TempDir,
    wires: Arc<super::Wires>,
) -> Result<World, WorldError> {
    wires.with(|state, _| state.began_with = None);
    // What the process before had heard of the time went with it.
    let rim = Rim {
        clock: ranked(&wires, &clock, dir.path()),
        ports: Arc::new(MemoryPorts::new(options, &wires)),
        hardware: options.board.map(Into::into),
        ..rim
    };
    let (daemon, config) = daemon(options, dir.path(), &rim, &wires)?;
    let logs = lend(&daemon, &config, &rim, &wires);
    Ok(World { daemon, config, rim, clock, boots, dir, wires, logs })
}

fn copy_files(from: &Path, to: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        std::fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}
