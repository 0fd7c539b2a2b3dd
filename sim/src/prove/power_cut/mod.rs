//! `prove power-cut`: nothing that was accepted is lost when the power goes, on a real file system.
//!
//! A program works on both database files, by the daemon's own library, on ext4 over a device that records every write and
//! flush, and says what it was answered and when ([`told`]). Then the disk is made as a cut at a random moment may leave it:
//! everything before the last flush, and of what came after any sectors or none ([`log`]). It is mounted, the files are opened by
//! the daemon's own library, and everything is compared. `synchronous=NORMAL` must be seen to lose: then the rig sees.

mod log;
mod rig;
pub(super) mod session;
mod told;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fieldgate::clock::{Clock as _, SystemClock};
use fieldgate::daemon::rim::machine;
use fieldgate::daemon::stores::Stores;
use fieldgate::reading::{Class, Value};
use fieldgate::store::queue::verify;
use tempfile::NamedTempFile;

use self::rig::{Mounted, Rig};
use self::told::{Reading, Told};
use super::{Common, Proof, Subject, times_are_judged};
use crate::clock::Clock;
use crate::gateway::{Trouble, config, helper};
use crate::random::Dice;

/// Streams of the configuration; all are captured together.
const STREAMS: i64 = 4;
/// The files must be open again within this.
const OPENS_WITHIN: Duration = Duration::from_secs(2);

/// What the claim is told.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub(super) common: Common,
    /// How often the power goes.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    cuts: Option<u32>,
    /// Where the dice begin.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
}

/// What all cuts came to.
#[derive(Debug, Default)]
struct Seen {
    lost: Vec<Reading>,
    came_back: Vec<Reading>,
    twice: Vec<Reading>,
    corrupted: u64,
    problems: Vec<String>,
    set_aside_as_damaged: u32,
    checked_first: u32,
    writes_in_doubt: usize,
    slowest: Duration,
}

pub(super) async fn prove(args: &Args, subject: Subject) -> Result<Proof, Trouble> {
    if let Some(missing) = rig::missing() {
        return Err(Trouble::LeftOut(missing));
    }
    let short = args.common.short;
    let cuts = args.cuts.unwrap_or(if short { 40 } else { 150 });
    let rounds: u32 = if short { 120 } else { 400 };
    let folder = crate::gateway::temporary_folder()?;
    let state = folder.path().join("state");
    std::fs::create_dir(&state).map_err(Trouble::system("make a folder"))?;
    let file = folder.path().join("fieldgate.toml");
    config::file(&file, &configuration(&state), 0o644)?;

    let rig = Rig::set_up(folder.path(), &state, Clock::start()).await?;
    let told = work(&subject, &file, &rig.log, rounds).await?;
    let (blank, log) = rig.take_down()?;
    let entries = log::entries(&log).map_err(|e| Trouble::Surroundings(e.to_string()))?;

    let mut dice = Dice::new(args.seed);
    let mut moments: Vec<usize> = (0..cuts).map(|_| moment(&mut dice, told.begins, entries.len())).collect();
    moments.sort_unstable();
    let mut disk = log::Disk::new(blank, &log, &entries);
    let mut seen = Seen::default();
    let image = image_file(folder.path())?;
    for cut in moments {
        let (bytes, in_doubt) = disk.cut(cut, &mut dice);
        seen.writes_in_doubt += in_doubt;
        write_image(image.path(), &bytes)?;
        look(image.path(), &state, &file, &told, cut, &mut seen)?;
    }
    Ok(judge(&seen, cuts, entries.len(), &told, (args.seed, short)))
}

/// Most cuts while it works, some while the files are being made.
fn moment(dice: &mut Dice, begins: usize, end: usize) -> usize {
    let first = if dice.between(0, 9) == 0 { 0 } else { begins };
    usize::try_from(dice.between(first as u64, end as u64)).unwrap_or(end)
}

fn judge(seen: &Seen, cuts: u32, entries: usize, told: &Told, (seed, short): (u64, bool)) -> Proof {
    let mut proof = Proof::default();
    let examples = |readings: &[Reading]| {
        readings.iter().take(3).map(|(e, s, v)| format!("{e}:{s}:{v}")).collect::<Vec<_>>().join(", ")
    };
    proof.demand(seen.lost.is_empty(), || {
        format!(
            "accepted readings survive a power cut ({} lost, as {})",
            seen.lost.len(),
            examples(&seen.lost)
        )
    });
    proof.demand(seen.came_back.is_empty(), || {
        let (count, as_) = (seen.came_back.len(), examples(&seen.came_back));
        format!("what was settled stays settled ({count} came back, as {as_})")
    });
    proof.demand(seen.twice.is_empty(), || {
        let (count, as_) = (seen.twice.len(), examples(&seen.twice));
        format!("what waits, waits once ({count} came twice, as {as_})")
    });
    proof.demand(seen.corrupted == 0, || {
        format!("readings keep their values ({} have others)", seen.corrupted)
    });
    proof.demand(seen.set_aside_as_damaged == 0, || {
        format!("no power cut damages a file ({} were set aside)", seen.set_aside_as_damaged)
    });
    proof.demand(seen.problems.is_empty(), || {
        format!(
            "the books close after each cut ({})",
            seen.problems.iter().take(3).cloned().collect::<Vec<_>>().join("; ")
        )
    });
    if times_are_judged(short) {
        proof.demand(seen.slowest < OPENS_WITHIN, || {
            format!("the files are open within {OPENS_WITHIN:?} (took {:?})", seen.slowest)
        });
    }
    // Cuts at which nothing hung in the balance would show nothing.
    proof.demand(seen.writes_in_doubt > 0, || "some cuts catch writes in doubt (none did)".into());
    proof.figures = serde_json::json!({
        "cuts": cuts, "seed": seed, "accepted": told.accepted(), "log_entries": entries,
        "writes_in_doubt": seen.writes_in_doubt, "lost": seen.lost.len(), "came_back": seen.came_back.len(),
        "came_twice": seen.twice.len(),
        "corrupted": seen.corrupted, "set_aside_as_damaged": seen.set_aside_as_damaged, "problems": seen.problems,
        "file_systems_checked_first": seen.checked_first, "slowest_open_ms": seen.slowest.as_millis() as u64,
    });
    proof
}

/// Has the program work on the disk, and reads what it says.
async fn work(subject: &Subject, file: &Path, log: &Path, rounds: u32) -> Result<Told, Trouble> {
    let program = helper("store_and_tell")?;
    let mut command = tokio::process::Command::new(&program);
    command.arg(file).arg(log).arg(rounds.to_string()).kill_on_drop(true);
    if let Some(sabotage) = &subject.sabotage {
        command.env("FIELDGATE_SABOTAGE", sabotage);
    }
    let output = command.output().await.map_err(Trouble::system(format!("run {}", program.display())))?;
    if !output.status.success() {
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(Trouble::Ended { how: output.status.to_string(), log });
    }
    let said = String::from_utf8_lossy(&output.stdout);
    Told::read(&said, STREAMS).ok_or_else(|| Trouble::Unreadable {
        what: "what it was answered".into(),
        detail: said.lines().last().unwrap_or_default().to_owned(),
    })
}

/// In memory where there is such a place: images are written and read once each.
fn image_file(folder: &Path) -> Result<NamedTempFile, Trouble> {
    let memory = Path::new("/dev/shm");
    let place = if memory.is_dir() { memory } else { folder };
    NamedTempFile::new_in(place).map_err(Trouble::system("make the file for a disk after a cut"))
}

fn write_image(image: &Path, bytes: &[u8]) -> Result<(), Trouble> {
    use std::io::Write as _;
    std::fs::File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .open(image)
        .and_then(|mut file| file.write_all(bytes))
        .map_err(Trouble::system("write the disk after a cut"))
}

/// Mounts what the cut left, opens the files as the daemon does, and compares.
fn look(
    image: &Path,
    state: &Path,
    file: &Path,
    told: &Told,
    cut: usize,
    seen: &mut Seen,
) -> Result<(), Trouble> {
    let (_mounted, checked) = Mounted::after_a_cut(image, state)?;
    seen.checked_first += u32::from(checked);
    let due = told.due(cut);
    let clock = Arc::new(SystemClock::new(true, None));
    let rim = machine::rim(Arc::clone(&clock) as _);
    let configuration =
        fieldgate::config::load_without_secrets(file).map_err(|e| Trouble::Surroundings(e.to_string()))?;
    let before = clock.mono();
    let stores = match Stores::on_threads(&configuration.config, &rim) {
        Ok(stores) => stores,
        Err(error) => {
            seen.problems.push(format!("cut {cut}: {error}"));
            return Ok(());
        }
    };
    seen.slowest = seen.slowest.max(clock.mono().since(before));
    let damaged = std::fs::read_dir(state).into_iter().flatten().flatten();
    seen.set_aside_as_damaged += u32::try_from(
        damaged.filter(|entry| entry.file_name().to_string_lossy().contains(".damaged-")).count(),
    )
    .unwrap_or(u32::MAX);
    let there = readings(&stores).map_err(|e| Trouble::Surroundings(e.to_string()))?;
    let values = told.values();
    for (epoch, sequence, value) in there.keys() {
        if let Some(count) = values.get(&(epoch.as_str(), *sequence))
            && !(*count..*count + STREAMS).contains(value)
        {
            seen.corrupted += 1;
        }
    }
    seen.lost.extend(due.must_be.iter().filter(|reading| !there.contains_key(*reading)).cloned());
    seen.came_back.extend(due.must_be_gone.iter().filter(|reading| there.contains_key(*reading)).cloned());
    seen.twice.extend(there.iter().filter(|(_, times)| **times > 1).map(|(reading, _)| reading.clone()));
    let path = stores.queue.path().to_owned();
    let (gateway, version) = (stores.gateway.path().to_owned(), due.version);
    stores.stop();
    drop(stores);
    match verify::verify(&path) {
        Ok(books) => seen.problems.extend(books.problems.iter().map(|p| format!("cut {cut}: {p}"))),
        Err(error) => seen.problems.push(format!("cut {cut}: {error}")),
    }
    history(&gateway, version, cut, seen);
    Ok(())
}

/// Everything that waits for the destination, how often.
fn readings(stores: &Stores) -> Result<BTreeMap<Reading, u32>, fieldgate::store::queue::reader::ReadError> {
    let mut there = BTreeMap::new();
    let Some((destination, _)) = stores.queue.destinations().first() else { return Ok(there) };
    let mut reader = stores.queue.reader(*destination)?;
    for class in Class::ALL {
        let mut from = reader.start(class);
        loop {
            let picked = reader.pick(class, from, 512)?;
            for row in &picked.rows {
                let Value::Steps(value) = row.sample.value else { continue };
                let reading = (row.epoch.epoch.to_string(), row.sequence, value);
                *there.entry(reading).or_default() += 1;
            }
            match picked.resume.filter(|resume| *resume != from) {
                Some(resume) => from = resume,
                None => break,
            }
        }
    }
    Ok(there)
}

/// The chain holds, and ends with the version it was said to have, or a later one.
fn history(path: &Path, version: Option<String>, cut: usize, seen: &mut Seen) {
    match fieldgate::store::gateway::verify::verify(path) {
        Ok(whole) => seen.problems.extend(whole.problems.iter().map(|p| format!("cut {cut}: {p}"))),
        Err(error) => seen.problems.push(format!("cut {cut}: {error}")),
    }
    let Some(version) = version else { return };
    let rows = rusqlite::Connection::open(path).and_then(|connection| {
        connection.query_row(
            "SELECT count(*) FROM firmware_history WHERE component = 'main' AND version = ?1",
            [&version],
            |row| row.get::<_, i64>(0),
        )
    });
    if rows != Ok(1) {
        seen.problems.push(format!("cut {cut}: the history lacks version {version} ({rows:?})"));
    }
}

fn configuration(state: &Path) -> String {
    let mut text = format!(
        "[gateway]\nserial = \"gw-cut\"\nstate_dir = \"{}\"\n\n\
         [store]\ncommit_window = \"1s\"\nqueue_max = \"8MiB\"\nballast = \"1MiB\"\n\n\
         [[mqtt]]\nname = \"plant\"\nbroker = \"mqtt://broker.invalid\"\n\n\
         [[bus]]\nname = \"field\"\nkind = \"modbus-rtu\"\nport = \"/dev/null\"\n\n\
         [[bus.slave]]\nname = \"meter\"\nunit = 1\n",
        state.display()
    );
    for place in 0..STREAMS {
        text.push_str(&format!(
            "\n[[bus.slave.point]]\nstream = \"v{place}\"\ntable = \"holding\"\nregister = {place}\ntype = \"uint16\"\n"
        ));
    }
    text
}
