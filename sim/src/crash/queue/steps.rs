//! What happens in a life, one step after the other, as the dice fall.

use std::path::Path;
use std::time::Duration;

use fieldgate::clock::sources::{Claim, Source};
use fieldgate::reading::{Capture, Class, GapReason, Quality, Sample, Value};
use fieldgate::store::queue::writer::Command;
use fieldgate::store::queue::{Health, Outcome, Reader, SettledRow, Settlement};
use fieldgate::store::sqlite::{self, OpenError};
use rusqlite::Connection;
use tokio::sync::oneshot;

use super::super::disk::Fate;
use super::super::fault::Faults;
use super::super::promise::{self, DESTINATIONS, Stream};
use super::{Kind, Life, LifeError, STREAMS};

/// So many virtual seconds a store may take to be well again on a disk that is.
const RECOVERY_S: u32 = 5;

impl Life {
    pub(super) fn step(&mut self) -> Result<(), LifeError> {
        match self.dice.below(20) {
            7 | 16 if self.kind == Kind::Faulty => self.suffer()?,
            0..=6 => self.offer_some(),
            7 | 8 => self.offer("doors", 1),
            9 | 10 => {
                let ms = self.dice.below(900);
                self.pass(Duration::from_millis(ms));
            }
            11 => {
                self.flush();
                self.keep_index();
            }
            12..=15 => self.settle()?,
            16 | 18 if self.kind == Kind::Long => self.settle()?,
            16 => self.checkpoint()?,
            17 => self.know_the_time(),
            18 => self.start_again()?,
            _ => match self.kind {
                Kind::Plain => self.offer_some(),
                Kind::Quota => self.offer("board", 60),
                Kind::Long => self.offer("board", 40),
                Kind::Faulty => self.suffer()?,
            },
        }
        Ok(())
    }

    fn offer_some(&mut self) {
        for _ in 0..=self.dice.below(4) {
            let group = *["bus", "bus", "board"].get(self.dice.place(3)).unwrap_or(&"bus");
            let rows = 1 + self.dice.place(3);
            self.offer(group, rows);
        }
    }

    /// Hands in captures of a group, `rows` of each of its streams.
    fn offer(&mut self, group: &str, rows: usize) {
        for _ in 0..rows {
            self.now = self.now.plus(Duration::from_millis(7));
            let (mut samples, mut numbers) = (Vec::new(), Vec::new());
            let point = self.recording.point();
            let streams: Vec<(usize, Stream)> =
                (0..).zip(STREAMS).filter(|(_, (of, ..))| *of == group).map(|(n, (.., s))| (n, s)).collect();
            for (place, stream) in &streams {
                let Some((id, _)) = self.ids.get(*place) else { continue };
                let number = self.promises.offer(*stream, point);
                let value = promise::value(number, stream.texts);
                samples.push(Sample { stream: *id, value, quality: Quality::Good });
                numbers.push(number);
            }
            let Some((id, group)) = streams.first().and_then(|(place, _)| self.ids.get(*place)).copied()
            else {
                continue;
            };
            let mut missing = Vec::new();
            if self.dice.one_in(6) {
                // One that cannot be stored, and one that did not come: each is to be on record.
                missing.push((id, GapReason::Silent));
                samples.push(Sample { stream: id, value: Value::Float(f64::NAN), quality: Quality::Good });
            }
            let (reply, answer) = oneshot::channel();
            self.answers.push((numbers, answer));
            let capture = Capture { group, at: self.now, samples, missing };
            self.command(Command::Accept { capture, reply });
        }
    }

    /// A destination takes what comes next of a class, and answers.
    fn settle(&mut self) -> Result<(), LifeError> {
        let place = self.dice.place(DESTINATIONS.len());
        let most_often = [Class::Telemetry, Class::Telemetry, Class::Diagnostics, Class::State, Class::Alarm];
        let class = *most_often.get(self.dice.place(most_often.len())).unwrap_or(&Class::Telemetry);
        // Often all there is, so that the backlog comes and goes.
        let most = 1 + self.dice.place(300);
        let Some((destination, _)) = self.destinations.get(place).cloned() else { return Ok(()) };
        let mut reader = Reader::open(&self.path, destination)?;
        let from = *self.shelves.entry((place, class)).or_insert_with(|| reader.start(class));
        let picked = reader.pick(class, from, most)?;
        let Some(to) = picked.resume.filter(|to| *to != from && !picked.rows.is_empty()) else {
            return Ok(());
        };
        self.shelves.insert((place, class), to);
        let outcome = match self.dice.below(8) {
            0 => Outcome::SetAside("4.00".into()),
            1 => Outcome::Dropped("age"),
            _ => Outcome::Acknowledged,
        };
        let point = self.recording.point();
        for number in picked.rows.iter().filter_map(|row| promise::number(&row.sample.value)) {
            self.promises.settling(number, place, point);
            self.unconfirmed.push((number, place));
        }
        let rows = picked.rows.iter().map(SettledRow::of);
        let settlement = Settlement {
            generation: self.generation(),
            destination,
            class,
            from,
            to,
            rows: rows.collect(),
            outcome,
            announces_epoch: self.dice.one_in(4),
            given_up: Vec::new(),
        };
        self.command(Command::Settle(settlement));
        Ok(())
    }

    /// An operator's tool brings the log home while the writer is at work.
    fn checkpoint(&mut self) -> Result<(), LifeError> {
        let mode = if self.dice.one_in(2) { "PASSIVE" } else { "TRUNCATE" };
        let checkpointed = Connection::open(&self.path).and_then(|tool| {
            tool.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |r| r.get::<_, i64>(0))
        });
        checkpointed.map_err(|e| OpenError::from_sqlite(&self.path, &e))?;
        Ok(())
    }

    fn know_the_time(&mut self) {
        let unix_ms = 1_790_000_000_000 + i64::try_from(self.dice.below(1_000_000)).unwrap_or(0);
        self.command(Command::WallKnown(Claim::new(Source::Ntp, self.now, unix_ms, 500)));
    }

    /// The daemon stops in order, or is killed; and starts again.
    fn start_again(&mut self) -> Result<(), LifeError> {
        if self.dice.one_in(2) {
            self.close();
        }
        self.writer = None;
        self.hear();
        // What was told and not committed is forgotten with the daemon.
        self.unconfirmed.clear();
        self.recording.note_folder()?;
        self.open()
    }

    /// In turn and not by chance, because a short life is sick a few times only and must meet all of it: the daemon ends on
    /// a disk whose syncs fail; syncs fail for a while; the disk is full.
    fn suffer(&mut self) -> Result<(), LifeError> {
        self.sick += 1;
        match self.sick % 3 {
            1 => self.end_on_a_sick_disk(),
            2 => {
                let failing_syncs = 1 + u32::try_from(self.dice.below(4)).unwrap_or(0);
                let fate = Some(self.fate());
                self.bear(Faults { failing_syncs, fate, ..Faults::default() });
                Ok(())
            }
            _ => {
                let room_bytes = Some(self.dice.place(6000));
                self.bear(Faults { room_bytes, ..Faults::default() });
                Ok(())
            }
        }
    }

    fn fate(&mut self) -> Fate {
        match self.dice.below(4) {
            0 => Fate::Waiting,
            1 => Fate::Divided(self.dice.number()),
            _ => Fate::Lost,
        }
    }

    /// No sync succeeds any more, and the daemon is killed or stopped over it. Whoever starts next, in the same boot, reads
    /// what never reached the disk as if it were there; at first it may find the disk as sick as before.
    fn end_on_a_sick_disk(&mut self) -> Result<(), LifeError> {
        let fate = Some(self.fate());
        let faults = Faults { failing_syncs: u32::MAX, fate, ..Faults::default() };
        self.recording.set_faults(faults);
        for _ in 0..=self.dice.below(3) {
            self.offer_some();
            self.offer("doors", 1);
            self.pass(Duration::from_millis(600));
        }
        if self.dice.one_in(2) {
            self.close();
        }
        self.writer = None;
        self.hear();
        self.unconfirmed.clear();
        if self.dice.one_in(2) {
            // Somebody looks into the file before the daemon is back, and for a while: its log cannot begin anew meanwhile.
            self.onlooker = Some(look(&self.path)?);
        }
        if self.dice.one_in(2) {
            match self.open() {
                Err(LifeError::Open(_)) => {}
                Err(other) => return Err(other),
                Ok(()) => self.wrong.push("the store opened on a disk whose syncs fail".into()),
            }
            self.writer = None;
        }
        self.recording.set_faults(Faults::default());
        self.restarts += 1;
        self.open()?;
        for _ in 0..8 {
            self.offer("doors", 1);
            self.offer_some();
            self.settle()?;
        }
        self.onlooker = None;
        Ok(())
    }

    /// The disk fails, then is well again, and so must the store be.
    fn bear(&mut self, faults: Faults) {
        self.recording.set_faults(faults);
        for _ in 0..3 {
            self.offer_some();
            self.pass(Duration::from_millis(600));
        }
        // Every sync that is to fail has its turn: a store that is sick tries again each second.
        for _ in 0..20 {
            if self.recording.faults().failing_syncs == 0 {
                break;
            }
            self.offer("doors", 1);
            self.pass(Duration::from_secs(1));
        }
        self.recording.set_faults(Faults::default());
        for _ in 0..RECOVERY_S {
            if self.health() == Health::Good {
                break;
            }
            self.pass(Duration::from_secs(1));
        }
        if self.health() != Health::Good {
            let state = self.health();
            self.wrong.push(format!("{RECOVERY_S} s after the disk was well again the store is {state:?}"));
        }
        // The file may have been opened again: what was picked is picked from there.
        self.shelves.clear();
        self.unconfirmed.clear();
    }
}

/// A reader in the midst of a transaction.
fn look(path: &Path) -> Result<Connection, OpenError> {
    let onlooker = sqlite::open_reader(path)?;
    onlooker
        .execute_batch("BEGIN; SELECT count(*) FROM segments;")
        .map_err(|e| OpenError::from_sqlite(path, &e))?;
    Ok(onlooker)
}
