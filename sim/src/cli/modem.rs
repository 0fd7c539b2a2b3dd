//! `fieldgate-sim modem`

use super::heard::Heard;
use super::{Ended, fresh_seed, say};
use crate::clock::{Clock, unix_ms};
use crate::device::Shared;
use crate::modem::{ModemProfile, SimModem};
use crate::pty::{self, Pty};
use std::path::PathBuf;
use tokio_util::sync::CancellationToken;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Makes a symbolic link to the pseudo-terminal here, for as long as the modem runs.
    #[arg(long, value_name = "PATH")]
    link: Option<PathBuf>,
    /// Which application answers.
    #[arg(long, value_enum, default_value = "sm")]
    profile: Profile,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Profile {
    /// Serial Modem.
    Sm,
    /// Serial LTE Modem.
    Slm,
    /// Plain AT firmware.
    At,
}

pub(super) async fn run(arguments: Arguments, stop: CancellationToken) -> Ended {
    let profile = match arguments.profile {
        Profile::Sm => ModemProfile::serial_modem(),
        Profile::Slm => ModemProfile::serial_lte_modem(),
        Profile::At => ModemProfile::plain_at(),
    };
    let mut pty = Pty::open()?;
    if let Some(link) = &arguments.link {
        pty.link_at(link)?;
    }
    say(&format!("port: {}", pty.link().unwrap_or(pty.path()).display()))?;
    let unix_s = u64::try_from(unix_ms() / 1_000).unwrap_or_default();
    // Nobody reads the lines any more: the modem runs on.
    let announce = || drop(say("connected: somebody speaks to the modem"));
    let modem = Heard::new(SimModem::new(profile, fresh_seed()?, unix_s), announce);
    let modem = Shared::new(modem, Clock::start());
    modem.with(|heard, now| heard.device.power_on(now));
    pty::run(pty, modem, stop).await?;
    Ok(())
}
