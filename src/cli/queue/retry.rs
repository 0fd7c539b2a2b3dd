//! `fieldgate queue retry`: readings that a destination refused are sent to it again, under the identity they have.

use clap::Args;

use super::{Trouble, change, say};
use crate::config::Config;
use crate::store::queue::writer::{Aside, AsideAction, AsideMoved};

/// Which readings that were set aside.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(in crate::cli) struct Which {
    /// Their numbers, as `ls` tells them.
    #[arg(value_name = "NUMBER", num_args = 1..)]
    ids: Vec<i64>,
    /// All that this destination refused.
    #[arg(long, value_name = "DESTINATION")]
    all_of: Option<String>,
}

pub(super) fn retry(config: &Config, which: &Which) -> Result<bool, Trouble> {
    let moved = move_them(config, which, AsideAction::Retry)?;
    let AsideMoved { moved: again, left } = moved;
    say(&format!(
        "{again} readings are queued again and go out when the daemon runs: systemctl start fieldgate\n"
    ))?;
    told_of_the_rest(left, again)
}

pub(super) fn move_them(config: &Config, which: &Which, action: AsideAction) -> Result<AsideMoved, Trouble> {
    let mut held = change::take(config)?;
    let mut sum = AsideMoved::default();
    let asked: Vec<Aside> = match &which.all_of {
        Some(name) => vec![Aside::AllOf(held.destination(name)?)],
        None => which.ids.iter().copied().map(Aside::One).collect(),
    };
    for which in asked {
        let moved = held.set_aside(which, action)?;
        if let Aside::One(id) = which
            && moved == AsideMoved::default()
        {
            eprintln!("nothing is set aside under the number {id}. What there is: fieldgate queue ls");
        }
        sum.moved += moved.moved;
        sum.left += moved.left;
    }
    held.give_back();
    Ok(sum)
}

pub(super) fn told_of_the_rest(left: u64, moved: u64) -> Result<bool, Trouble> {
    if left > 0 {
        say(&format!(
            "{left} stay set aside: their content does not read, or their destination is not configured. They can only be \
             given up: fieldgate queue drop set-aside\n"
        ))?;
    }
    Ok(left == 0 && moved > 0)
}
