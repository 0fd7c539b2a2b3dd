//! `fieldgate queue retry`: readings that a destination refused are sent to it again, under the identity they have.

use clap::Args;

use super::change::{Changed, change};
use super::{Trouble, say};
use crate::config::Config;
use crate::control::{self, Request};

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

impl Which {
    pub(super) fn asked(&self) -> control::Which {
        match &self.all_of {
            Some(name) => control::Which::AllOf(name.clone()),
            None => control::Which::Numbers(self.ids.clone()),
        }
    }

    /// Says what was not there. Where all of a destination is meant and there is none, nothing is wrong.
    pub(super) fn told_of_none(&self, changed: &Changed) -> Result<bool, Trouble> {
        for number in &changed.done.unknown {
            eprintln!("nothing is set aside under the number {number}. What there is: fieldgate queue ls");
        }
        if let Some(name) = &self.all_of
            && changed.done.moved + changed.done.left == 0
        {
            say(&format!("nothing is set aside of what {name} was sent; there is nothing to do\n"))?;
            return Ok(true);
        }
        Ok(false)
    }
}

pub(super) fn retry(config: &Config, which: &Which) -> Result<bool, Trouble> {
    let changed = change(config, &Request::Retry(which.asked()))?;
    if which.told_of_none(&changed)? {
        return Ok(true);
    }
    let (again, left) = (changed.done.moved, changed.done.left);
    let when = if changed.running {
        "go out as the link and the data plan allow: fieldgate queue ls"
    } else {
        "go out when the daemon runs: systemctl start fieldgate"
    };
    say(&format!("{again} readings are queued again and {when}\n"))?;
    if left > 0 {
        say(&format!(
            "{left} stay set aside: their content does not read, or their destination is not configured. They can only be \
             given up: fieldgate queue drop set-aside\n"
        ))?;
    }
    Ok(left == 0 && again > 0)
}
