//! `fieldgate-sim bus`

use super::{Ended, fresh_seed, say};
use crate::bus::{PointSpec, SimBus, three_slaves};
use crate::clock::Clock;
use crate::device::Shared;
use crate::pty::{self, Pty};
use std::path::PathBuf;
use tokio_util::sync::CancellationToken;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Makes a symbolic link to the pseudo-terminal here, for as long as the bus runs.
    #[arg(long, value_name = "PATH")]
    link: Option<PathBuf>,
    /// Speed of the line in baud.
    #[arg(long, default_value_t = 19_200)]
    baud: u32,
}

pub(super) async fn run(arguments: Arguments, stop: CancellationToken) -> Ended {
    let slaves = three_slaves();
    let mut pty = Pty::open()?;
    if let Some(link) = &arguments.link {
        pty.link_at(link)?;
    }
    say(&format!("port: {}", pty.link().unwrap_or(pty.path()).display()))?;
    for slave in &slaves {
        say(&format!("slave {}: {}", slave.unit, slave.name))?;
        for point in &slave.points {
            say(&format!("  {}", described(point)))?;
        }
    }
    let bus = Shared::new(SimBus::new(slaves, arguments.baud, fresh_seed()?)?, Clock::start());
    pty::run(pty, bus.clone(), stop).await?;
    say(&serde_json::to_string(&bus.read(SimBus::ledger))?)
}

/// One line of the register map.
fn described(point: &PointSpec) -> String {
    format!(
        "{:<12} {:?} {} {:?} {:?} {:?}",
        point.name, point.table, point.address, point.encoding, point.order, point.source
    )
}
