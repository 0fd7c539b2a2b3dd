//! Opening an image of `queue.db` with the shipped code, and comparing it with what was promised.

use std::collections::BTreeMap;
use std::path::Path;

use fieldgate::clock::{BootId, Mono};
use fieldgate::reading::{Capture, Class, Quality, Sample, Value};
use fieldgate::store::queue::look::Source;
use fieldgate::store::queue::writer::Command;
use fieldgate::store::queue::{DestinationId, Reader, open, verify};
use fieldgate::store::sqlite;
use fieldgate::store::worker::Machine;
use rusqlite::Connection;
use tokio::sync::oneshot;

use super::super::check::{Judge, Verdict};
use super::super::promise::{DESTINATIONS, Found, GivenUp, GivenUpBy, Held, Promises, number};
use super::{NO_WALL, STREAMS, options};
use crate::clock::Clock;

/// See the module head.
#[derive(Debug)]
pub struct QueueJudge<'a> {
    /// What was promised in it.
    pub promises: &'a Promises,
    /// By which openings are timed.
    pub clock: Clock,
}

/// What the first reading after the crash says; no reading of a life has such a number.
const FIRST_AFTER: i64 = -7;

impl Judge for QueueJudge<'_> {
    fn stage(&self, point: usize) -> usize {
        self.promises.stage(point)
    }

    fn judge(&self, folder: &Path, point: usize, image: u64) -> Verdict {
        let path = folder.join("queue.db");
        let mut verdict = Verdict::default();
        if let Err(why) = self.open_and_accept(&path, image, &mut verdict) {
            verdict.unusable.push(why);
            return verdict;
        }
        if let Err(why) = self.compare(&path, point, &mut verdict) {
            verdict.unusable.push(why);
        }
        verdict
    }
}

impl QueueJudge<'_> {
    /// After a power cut: another boot, another epoch. The store must open and take the next reading.
    fn open_and_accept(&self, path: &Path, image: u64, verdict: &mut Verdict) -> Result<(), String> {
        let now = Mono(5_000_000_000);
        let options = options(path.to_owned(), 16 << 20, BootId([0xCC; 16]), image);
        let started = self.clock.now();
        let mut writer = open::open(options, now, NO_WALL).map_err(|e| e.to_string())?;
        verdict.opened_in = self.clock.now().saturating_sub(started);
        let first = (0..).zip(STREAMS).find(|(_, (_, class, _))| *class == Class::Alarm);
        let place = first.map_or(0, |(place, _)| place);
        let (stream, group) = writer.stream_ids().get(place).copied().ok_or("it has no streams")?;
        let sample = Sample { stream, value: Value::Steps(FIRST_AFTER), quality: Quality::Good };
        let capture = Capture { group, at: now, samples: vec![sample], missing: Vec::new() };
        let (reply, mut answer) = oneshot::channel();
        writer.handle(now, Command::Accept { capture, reply });
        match answer.try_recv() {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(refused)) => Err(format!("the first reading after the crash was refused: {refused}")),
            Err(_) => Err("the first reading after the crash was not answered".into()),
        }
    }

    fn compare(&self, path: &Path, point: usize, verdict: &mut Verdict) -> Result<(), String> {
        let whole = sqlite::open_reader(path).map_err(|e| e.to_string())?;
        let verified = verify::recount(&whole, &Source::Alone { path: path.to_owned(), without_log: false })
            .map_err(|e| e.to_string())?;
        verdict.wrong.extend(verified.problems);
        // A crash image is never damaged, and its log is never lost: saying so would be a false alarm, or a loss.
        verdict.wrong.extend(verified.statements.into_iter().map(|s| format!("the store says: {s}")));
        let verdict_of_sqlite: String =
            whole.query_row("PRAGMA integrity_check(1)", [], |r| r.get(0)).map_err(|e| e.to_string())?;
        if verdict_of_sqlite != "ok" {
            verdict.wrong.push(format!("SQLite: {verdict_of_sqlite}"));
            // Whatever a broken tree gives, it need not come to an end.
            return Ok(());
        }
        let (answered, offered) = self.promises.counts(point);
        let accepted = verified.intake.accepted.saturating_sub(1);
        if accepted < answered || accepted > offered {
            let words =
                format!("its books say {accepted} accepted; {answered} were answered, {offered} handed in");
            verdict.wrong.push(words);
        }
        let (found, twice) = found_by(&whole, path)?;
        verdict.wrong.extend(twice);
        let given_up = given_up_by(&whole).map_err(|e| e.to_string())?;
        let broken = self.promises.compare(point, &found, &given_up);
        verdict.lost.extend(broken.lost);
        verdict.returned.extend(broken.returned);
        verdict.wrong.extend(broken.corrupt);
        verdict.duplicates = broken.duplicates;
        Ok(())
    }
}

/// What the store gave up itself, by its drop records. What a destination or an operator had dropped is settled.
fn given_up_by(whole: &Connection) -> rusqlite::Result<GivenUpBy> {
    let mut records = GivenUpBy::new();
    // A sum says nothing of any one reading: it explains none.
    let mut rows = whole.prepare(
        "SELECT d.name, s.name, e.epoch, r.first_sequence, r.last_sequence, r.count, r.extent
         FROM drops AS r JOIN destinations AS d ON d.id = r.destination JOIN streams AS s ON s.id = r.stream
         JOIN epochs AS e ON e.number = r.epoch
         WHERE r.reason IN ('quota', 'class_quota', 'disk_full') AND r.first_sequence IS NOT NULL",
    )?;
    let mut rows = rows.query([])?;
    while let Some(row) = rows.next()? {
        let destination: String = row.get(0)?;
        let Some(place) = DESTINATIONS.iter().position(|name| *name == destination) else { continue };
        let number = |column| row.get::<_, i64>(column).map(i64::cast_unsigned);
        let sequences = (number(3)?, number(4)?);
        let given_up =
            GivenUp { epoch: number(2)?, sequences, count: number(5)?, whole: row.get::<_, i64>(6)? == 0 };
        records.entry((place, row.get(1)?)).or_default().push(given_up);
    }
    Ok(records)
}

/// Everything that waits for each destination, as a drain that starts now reads it.
///
/// Beside it, in words, what is there more than once for one destination.
///
/// # Errors
/// In words, when the file does not read.
pub(super) fn found_in(path: &Path) -> Result<(Found, Vec<String>), String> {
    found_by(&sqlite::open_reader(path).map_err(|e| e.to_string())?, path)
}

/// The same of a file that is already open: each opening reads the whole schema, and there are thousands of images.
fn found_by(whole: &Connection, path: &Path) -> Result<(Found, Vec<String>), String> {
    let mut twice = Vec::new();
    let mut found = Found::default();
    let mut names = whole.prepare("SELECT id, name FROM destinations").map_err(|e| e.to_string())?;
    let ids = names
        .query_map([], |r| Ok((r.get::<_, String>(1)?, DestinationId(r.get(0)?))))
        .and_then(Iterator::collect::<Result<BTreeMap<_, _>, _>>)
        .map_err(|e| e.to_string())?;
    for (held, name) in found.iter_mut().zip(DESTINATIONS) {
        let Some(id) = ids.get(name) else { continue };
        let mut reader = Reader::open(path, *id).map_err(|e| e.to_string())?;
        for class in Class::ALL {
            let mut at = reader.start(class);
            loop {
                let picked = reader.pick(class, at, 500).map_err(|e| e.to_string())?;
                for row in picked.rows {
                    let value = row.sample.value;
                    if value == Value::Steps(FIRST_AFTER) {
                        continue;
                    }
                    let identity = (row.epoch.epoch.0, row.sequence);
                    let row = Held { identity, stream: row.stream.name.clone(), value };
                    // What says no number is nobody's reading; the comparison finds it under one that was never given.
                    if let Some(other) = held.insert(number(&row.value).unwrap_or(u64::MAX), row) {
                        twice.push(format!(
                            "{name}: there twice, once as {:?}: {:?}",
                            other.identity, other.value
                        ));
                    }
                }
                match picked.resume.filter(|resume| *resume > at) {
                    Some(resume) => at = resume,
                    None => break,
                }
            }
        }
    }
    Ok((found, twice))
}
