//! `prove session-cut`: a session's record is off the disk for good before anything is sent on that session.
//!
//! The whole daemon in virtual time, its folder on a real file system over a device that records every write and flush ([`rig`]). Noted is
//! how much the device had been told when a clean stop was through, when the next run was made and none of its lanes had run yet, and
//! when it sent its first datagram. Then the power is cut after each single write: a run that can send must find no record any
//! more, whatever the disk kept of what it was not told to keep; a stop that is through must have left one; and one that is there
//! at all is whole.
//!
//! The moment before the first lane runs is the harder one: soon after it a database syncs, which happens to sync the deletion.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fieldgate::reading::Value;

use super::rig::{Mounted, Rig};
use super::{image_file, log, rig, write_image};
use crate::clock::Clock;
use crate::gateway::{Trouble, run_alone, temporary_folder};
use crate::prove::{Common, Proof, few};
use crate::random::Dice;
use crate::world::{World, WorldOptions, in_virtual_time};

const RESTARTS: u64 = 4;
const SHORT_RESTARTS: u64 = 2;
/// Disks that each cut is tried on: what was in doubt is kept or not by chance.
const DISKS: u32 = 2;
const SHORT_DISKS: u32 = 1;
const ARRIVES: Duration = Duration::from_secs(120);
/// The file's name in the daemon's folder.
const RECORD: &str = "golioth.session";

/// What the claim is told.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub(in crate::prove) common: Common,
    /// Where the dice begin.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
}

/// From which entry of the device's log on a restart was how far.
#[derive(Debug, Clone, Default)]
struct Restart {
    /// The stop begins: from now on there may be a record.
    stops: usize,
    /// It is through: there is this one.
    stopped: usize,
    record: Vec<u8>,
    /// The next run is made: from now on there is none, up to the next stop.
    made: usize,
    /// It sends.
    sends: usize,
}

pub(in crate::prove) fn prove(args: &Args) -> Result<Proof, Trouble> {
    if let Some(missing) = rig::missing() {
        return Err(Trouble::LeftOut(missing));
    }
    let short = args.common.short;
    let (restarts, disks) = if short { (SHORT_RESTARTS, SHORT_DISKS) } else { (RESTARTS, DISKS) };
    let folder = temporary_folder()?;
    let disk = folder.path().join("disk-of-the-gateway");
    std::fs::create_dir(&disk).map_err(Trouble::system("make a folder"))?;
    let rig = run_alone(Rig::set_up(folder.path(), &disk, Clock::start()))?;
    let lived =
        in_virtual_time(live(&disk, &rig.log, restarts)).map_err(Trouble::system("make an event queue"))?;
    let (lived, end, state) = lived?;
    let (blank, log) = rig.take_down()?;
    let entries = log::entries(&log).map_err(|e| Trouble::Surroundings(e.to_string()))?;
    let record = Path::new(&state).join(RECORD);

    let image = image_file(folder.path())?;
    let mut dice = Dice::new(args.seed);
    let mut device = log::Disk::new(blank, &log, &entries);
    let mut seen = Seen::default();
    let first = lived.first().map_or(0, |restart| restart.stops);
    let end = end.min(entries.len());
    let matters =
        |cut| lived.iter().any(|it| cut == it.stopped || (it.made..it.made + JUST_MADE).contains(&cut));
    for cut in (first..=end).filter(|cut| !short || cut % SHORT_STEP == 0 || matters(*cut)) {
        for _ in 0..disks {
            let (bytes, in_doubt) = device.cut(cut, &mut dice);
            seen.cuts += 1;
            seen.in_doubt += in_doubt;
            write_image(image.path(), &bytes)?;
            let (mounted, _) = Mounted::after_a_cut(image.path(), &disk)?;
            let there = std::fs::read(disk.join(&record)).ok();
            drop(mounted);
            seen.judge(cut, &lived, there.as_deref());
        }
    }
    let mut proof = seen.proof(restarts, entries.len(), args.seed);
    let early = lived.iter().filter(|restart| restart.sends < restart.made).count();
    proof.demand(early == 0, || format!("nothing is sent while a run is being made ({early} did)"));
    Ok(proof)
}

/// In the short form only every so many of the writes that matter little; and as many matter after a run was made.
const SHORT_STEP: usize = 8;
const JUST_MADE: usize = 16;

/// Restarts cleanly so often, readings at hand each time. Also how far the device's log was before the last stop, and where the
/// daemon's folder is on the disk.
async fn live(disk: &Path, log: &Path, restarts: u64) -> Result<(Vec<Restart>, usize, PathBuf), Trouble> {
    let options = WorldOptions { bus: false, ..WorldOptions::default() };
    let device = Arc::new(log::Told::open(log)?);
    let folder = tempfile::tempdir_in(disk).map_err(Trouble::system("make a folder"))?;
    let state = PathBuf::from(folder.path().file_name().unwrap_or_default());
    let mut world = World::start_in(folder, &options).await?;
    let sends = Arc::new(Mutex::new(0));
    let (noted, on) = (Arc::clone(&sends), Arc::clone(&device));
    world.at_first_datagram(move || *noted.lock().unwrap_or_else(PoisonError::into_inner) = on.entries());
    let mut lived = Vec::new();
    for n in 0..=restarts {
        world.take("al", Value::Bool(n % 2 == 0)).await?;
        world.drained(ARRIVES).await?;
        world.pass(Duration::from_secs(20)).await;
        if n == restarts {
            break;
        }
        let mut restart = Restart { stops: device.entries(), ..Restart::default() };
        world = world
            .restart_looking(&options, |folder| {
                restart.stopped = device.entries();
                restart.record = std::fs::read(folder.join(RECORD)).unwrap_or_default();
            })
            .await?;
        restart.made = device.entries();
        world.take("al", Value::Bool(true)).await?;
        world.drained(ARRIVES).await?;
        restart.sends = *sends.lock().unwrap_or_else(PoisonError::into_inner);
        lived.push(restart);
    }
    let end = device.entries();
    world.stop().await?;
    Ok((lived, end, state))
}

/// What all cuts came to.
#[derive(Debug, Default)]
struct Seen {
    cuts: u64,
    in_doubt: usize,
    /// Cuts after a run was made and before it stops.
    after_made: u64,
    still_there: Vec<String>,
    not_there: Vec<String>,
    not_whole: Vec<String>,
}

impl Seen {
    fn judge(&mut self, cut: usize, lived: &[Restart], there: Option<&[u8]>) {
        let Some(at) = lived.iter().rposition(|restart| restart.stops <= cut) else { return };
        let Some(restart) = lived.get(at) else { return };
        match there {
            _ if restart.record.is_empty() => self.not_there.push(format!("restart {at}")),
            Some(_) if cut >= restart.made => self.still_there.push(format!("cut {cut}")),
            Some(bytes) if bytes != restart.record => self.not_whole.push(format!("cut {cut}")),
            None if cut == restart.stopped => self.not_there.push(format!("cut {cut}")),
            _ => {}
        }
        self.after_made += u64::from(cut >= restart.made);
    }

    fn proof(&self, restarts: u64, entries: usize, seed: u64) -> Proof {
        let mut proof = Proof::default();
        proof.demand(self.still_there.is_empty(), || {
            format!(
                "a session that may be sent on has no record on the disk any more ({})",
                few(&self.still_there)
            )
        });
        proof.demand(self.not_there.is_empty(), || {
            format!("a clean stop that is through has left a record ({})", few(&self.not_there))
        });
        proof.demand(self.not_whole.is_empty(), || {
            format!("a record that is there is the one that was written ({})", few(&self.not_whole))
        });
        // Cuts at which nothing hung in the balance would show nothing.
        proof.demand(self.in_doubt > 0 && self.after_made > 0, || {
            format!("some cuts catch writes in doubt, and some come while a run may send ({self:?})")
        });
        proof.figures = serde_json::json!({
            "clean_restarts": restarts, "seed": seed, "log_entries": entries, "cuts": self.cuts,
            "cuts_while_sending": self.after_made, "writes_in_doubt": self.in_doubt,
            "still_there": self.still_there.len(), "not_there": self.not_there.len(), "not_whole": self.not_whole.len(),
        });
        proof
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_due_when_the_stop_is_through_and_gone_when_the_next_run_is_made() {
        let lived = [(10, 20, 30), (40, 50, 60)].map(|(stops, stopped, made)| Restart {
            stops,
            stopped,
            made,
            sends: made,
            record: vec![7],
        });
        let judged = |cut, there: Option<&[u8]>| {
            let mut seen = Seen::default();
            seen.judge(cut, &lived, there);
            (seen.still_there.len(), seen.not_there.len(), seen.not_whole.len())
        };
        let record: Option<&[u8]> = Some(&[7]);
        for (cut, there, verdict) in [
            (5, None, (0, 0, 0)),
            (15, None, (0, 0, 0)),
            (15, record, (0, 0, 0)),
            (15, Some(&[8][..]), (0, 0, 1)),
            (20, None, (0, 1, 0)),
            (25, None, (0, 0, 0)),
            (30, None, (0, 0, 0)),
            (30, record, (1, 0, 0)),
            (39, record, (1, 0, 0)),
            (45, record, (0, 0, 0)),
            (60, record, (1, 0, 0)),
        ] {
            assert_eq!(judged(cut, there), verdict, "cut {cut}, {there:?}");
        }
    }
}
