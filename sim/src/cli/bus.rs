//! `fieldgate-sim bus`

use super::heard::Heard;
use super::{Ended, fresh_seed, say};
use crate::bus::codec::Table;
use crate::bus::{Encoding, PointSpec, SimBus, Source, WordOrder, three_slaves};
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
    let bus = SimBus::new(slaves, arguments.baud, fresh_seed()?)?;
    // Nobody reads the lines any more: the bus runs on.
    let announce = || drop(say("connected: somebody asks over the port"));
    let bus = Shared::new(Heard::new(bus, announce), Clock::start());
    pty::run(pty, bus.clone(), stop).await?;
    say(&serde_json::to_string(&bus.read(|heard| heard.device.ledger()))?)
}

/// One line of the register map.
fn described(point: &PointSpec) -> String {
    let table = match point.table {
        Table::Holding => "holding register",
        Table::Input => "input register",
    };
    let encoding = match point.encoding {
        Encoding::U16 => "u16",
        Encoding::I16 => "i16",
        Encoding::U32 => "u32",
        Encoding::I32 => "i32",
        Encoding::F32 => "f32",
    };
    // A single register has no order of words.
    let order = match (point.encoding.registers(), point.order) {
        (1, _) => "",
        (_, WordOrder::Abcd) => ", bytes ABCD",
        (_, WordOrder::Cdab) => ", bytes CDAB",
        (_, WordOrder::Badc) => ", bytes BADC",
        (_, WordOrder::Dcba) => ", bytes DCBA",
    };
    let source = match point.source {
        Source::Counter => "counts the reads".to_owned(),
        Source::CountedWalk => "a thousand for each read, and wanders below that".to_owned(),
        Source::Constant(value) => format!("always {value}"),
        Source::Walk { low, high } => format!("wanders between {low} and {high}"),
    };
    format!("{:<12} {table} {}, {encoding}{order}: {source}", point.name, point.address)
}
