//! When a commit fails: what is cured on the spot, what is refused, and how a sick store gets well.
//!
//! | trouble | at once | until it ends |
//! |---|---|---|
//! | damage | the file is moved aside, another begins, the commit is made there | if none can be made: refused, tried again |
//! | doubt: it does not take what it should | looked at page by page; damaged, as above; whole, read again and the commit made | a third time in a row: as damage |
//! | quota reached | the oldest go, the commit is made in their place | only if all that waits is alarms: refused |
//! | disk full | the ballast is released, answers are booked in its room | what is free is given back to the disk; readings are given up only where that makes enough room; the ballast is taken back, then accepting resumes |
//! | read-only, fault | the file is let go of | opened again each second |
//! | a sync that failed | the file is kept open | the same pages of the log are written again |
//!
//! A failed sync is not let go of: the system counts what it could not write as written, so no later sync covers it, and
//! the log reads as if it were all there. The open file knows how far the log is good and writes over the rest; to a file
//! that is opened anew all of it looks good, and all of it has to be written again first ([`crate::store::relog`]).
//!
//! Invariant: a capture that was refused here is on record as refused with the first commit that succeeds.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::ballast::Ballast;
use super::super::damage::{self, Remains};
use super::super::open::{self, Kept, OpenOptions, Opened};
use super::super::schema;
use super::commit::Scope;
use super::disk::{self, Disk};
use super::salvage::Rescue;
use super::{Health, RETRY, Refused, SegmentBuilder, Waits, Writer};
use crate::clock::{Mono, Wall};
use crate::gather::Gather;
use crate::reading::StreamId;
use crate::store::sqlite::{self, OpenError, Trouble};

/// The log's usual size: it is brought home after a thousand pages.
pub(super) const LOG_BYTES: u64 = 1 << 20;

/// A log that the disk did not take is written again after this long: it is all of a log each time, on a disk that fails.
const RETRY_LOG: Duration = Duration::from_secs(30);

impl Writer {
    pub(super) fn trouble(&self, error: &rusqlite::Error) -> Trouble {
        sqlite::trouble(error, &self.options.path)
    }

    /// Removes the cause of a failed commit where that is in our hands. Tells whether to try again.
    pub(super) fn cure(&mut self, now: Mono, error: &rusqlite::Error) -> bool {
        match self.trouble(error) {
            Trouble::Damage => self.replace_damaged(now, &error.to_string()),
            Trouble::Doubt => self.resolve_doubt(now, error),
            Trouble::Full => self.is_at_limit() && self.make_room_at_limit(now),
            Trouble::ReadOnly | Trouble::Fault => false,
        }
    }

    /// What was answered is booked as that before anything is given up: that alone may be room enough, and a reading that
    /// a destination has must not go into the books as dropped.
    fn make_room_at_limit(&mut self, now: Mono) -> bool {
        let answered = !self.pending.settlements.is_empty();
        if answered {
            self.settle_without_accepting(now);
        }
        let booked = answered && self.pending.settlements.is_empty();
        (booked && !self.is_at_limit()) || self.make_room_in_quota(now)
    }

    /// The file does not take what it should. Either it is damaged where nothing looked yet, or what is held in memory is
    /// not what it says: then it is read again. Where neither helps, it is no use to anybody: it is replaced, and what it
    /// holds is salvaged.
    fn resolve_doubt(&mut self, now: Mono, error: &rusqlite::Error) -> bool {
        self.doubts += 1;
        let useless = (self.doubts > 2).then(|| format!("it does not take what its schema allows ({error})"));
        match damage::confirmed(&self.options.path).or(useless) {
            Some(found) => {
                self.doubts = 0;
                self.replace_damaged(now, &found)
            }
            None => {
                tracing::error!(%error, "the file is whole and refuses a commit; it is opened and read again");
                self.disk = Disk::LetGo;
                self.resume(now).is_ok()
            }
        }
    }

    /// The commit cannot be made.
    pub(super) fn fail(&mut self, now: Mono, error: &rusqlite::Error) {
        tracing::error!(%error, "a commit failed");
        self.fall_sick(now, error);
        self.refuse_waiting();
        if self.health == Health::DiskFull {
            // Settlements free room; in the ballast's place there is some.
            self.settle_without_accepting(now);
        }
    }

    pub(super) fn fall_sick(&mut self, now: Mono, error: &rusqlite::Error) {
        self.pending.retry_at = Some(now.plus(RETRY));
        self.health = match self.trouble(error) {
            Trouble::Full => Health::DiskFull,
            Trouble::ReadOnly => Health::ReadOnly,
            Trouble::Damage | Trouble::Doubt | Trouble::Fault => Health::Faulty(error.to_string()),
        };
        match self.health {
            Health::Good => {}
            Health::DiskFull => {
                if !self.is_at_limit()
                    && let Some(ballast) = &self.ballast
                {
                    ballast.release();
                }
            }
            Health::Faulty(_)
                if sqlite::is_failed_sync(error) && !crate::sabotage::on("believe-failed-sync") => {}
            Health::ReadOnly | Health::Faulty(_) => {
                if self.disk.is_open() {
                    self.disk = Disk::LetGo;
                }
            }
        }
    }

    /// Answers what waits with the state the store is in, and puts it on record.
    pub(super) fn refuse_waiting(&mut self) {
        let refusal = match &self.health {
            Health::Good => return,
            Health::DiskFull => Refused::DiskFull,
            Health::ReadOnly => Refused::ReadOnly,
            Health::Faulty(detail) => Refused::Faulty(detail.clone()),
        };
        for Waits { stream, sequence, at } in &self.pending.streams {
            self.gaps.refuse(*stream, refusal.reason(), self.epoch_number, *sequence, *at);
        }
        for waiting in self.pending.captures.drain(..) {
            let _ = waiting.reply.send(Err(refusal.clone()));
        }
        self.clear_waiting();
    }

    /// Books answers and gaps while nothing is accepted.
    fn settle_without_accepting(&mut self, now: Mono) {
        match self.transact(now, Scope::Books) {
            Ok(done) => self.succeed(now, done),
            Err(error) => {
                if self.roomless.is_due(now, &error.to_string()) {
                    tracing::warn!(%error, "no room even to settle; waiting");
                }
            }
        }
    }

    /// Tries to leave a sick state; tells whether the store is well. Accepting resumes only with the ballast in its place.
    pub(super) fn recover(&mut self, now: Mono) -> bool {
        if self.health == Health::Good {
            return true;
        }
        if self.pending.retry_at.is_some_and(|at| now < at) {
            return false;
        }
        self.pending.retry_at = Some(now.plus(RETRY));
        let was = self.health.clone();
        let let_go = matches!(self.disk, Disk::LetGo).then_some(self.generation);
        let held = self.ballast.as_ref().is_none_or(Ballast::is_held);
        if !self.reach_file(now) || ((was == Health::DiskFull || !held) && !self.find_room(now)) {
            return false;
        }
        let probe = self.disk.connection().ok_or_else(disk::no_file).and_then(|connection| {
            connection.execute(
                "INSERT INTO meta (key, value) VALUES ('probe', ?1) ON CONFLICT (key) DO UPDATE SET value = ?1",
                [now.0.cast_signed()],
            )
        });
        match probe {
            Ok(_) => {
                tracing::info!(was = was.name(), "the disk takes writes again");
                if let_go == Some(self.generation) {
                    // The same file, perhaps on another mount: whoever reads the old one must look again.
                    self.generation += 1;
                }
                self.healed()
            }
            Err(error) => {
                let cured = matches!(self.trouble(&error), Trouble::Damage | Trouble::Doubt);
                if cured && self.cure(now, &error) {
                    return self.healed();
                }
                self.fall_sick(now, &error);
                false
            }
        }
    }

    fn healed(&mut self) -> bool {
        self.health = Health::Good;
        self.pending.retry_at = None;
        self.unusable.is_over();
        self.roomless.is_over();
        true
    }

    /// A file to write to: the one that was let go of, or the successor of one that was moved aside.
    fn reach_file(&mut self, now: Mono) -> bool {
        let reached = match &self.disk {
            Disk::Open(_) => return true,
            Disk::LetGo => self.resume(now),
            Disk::SetAside(remains) => {
                let remains = remains.clone();
                self.begin_again(now, &remains)
            }
        };
        match reached {
            Ok(()) => true,
            Err(OpenError::Damaged { detail, .. }) => self.replace_damaged(now, &detail),
            Err(error) => {
                if self.unusable.is_due(now, &error.to_string()) {
                    tracing::warn!(%error, "the queue file cannot be used yet");
                }
                match &error {
                    OpenError::NoRoom { .. } => {
                        self.health = Health::DiskFull;
                        if let Some(ballast) = &self.ballast {
                            ballast.release();
                        }
                    }
                    OpenError::Unsynced { .. } => {
                        self.health = Health::Faulty(error.to_string());
                        self.pending.retry_at = Some(now.plus(RETRY_LOG));
                    }
                    _ => {}
                }
                false
            }
        }
    }

    /// Opens the same file again. What it says counts: the commit that failed may have reached the disk after all.
    fn resume(&mut self, now: Mono) -> Result<(), OpenError> {
        let (connection, resumed) =
            open::resume(&self.options, self.file_id, self.epoch_number, &self.destinations)?;
        let mut landed: BTreeMap<StreamId, u64> = BTreeMap::new();
        for (stream, intake) in &resumed.books.intake {
            let known = self.books.intake.get(stream).map_or(0, |i| i.accepted);
            if intake.accepted > known {
                landed.insert(*stream, intake.accepted - known);
            }
        }
        self.gaps
            .resume(&connection, self.epoch_number, &landed)
            .map_err(|e| OpenError::from_sqlite(&self.options.path, &e))?;
        self.books = resumed.books;
        self.tally.again(&self.books, resumed.classes);
        self.rescue = Rescue::of(resumed.salvage, now);
        for (place, stream) in self.group_places.iter().zip(&self.streams) {
            if let Some(intake) = self.books.intake.get(&stream.id).filter(|i| i.epoch == self.epoch_number) {
                self.tally.accepted(*place, intake.last_sequence);
            }
        }
        self.cursors = resumed.cursors;
        self.next_segment = resumed.next_segment;
        self.disk = Disk::Open(connection);
        let at = self.disk.log();
        self.wear.begin_again(at.unwrap_or_default());
        Ok(())
    }

    /// A reader says that the file is damaged.
    pub(super) fn look_into_damage(&mut self, now: Mono, generation: u32, detail: &str) {
        if generation != self.generation || !self.disk.is_open() {
            return;
        }
        if self.replace_where_damaged(now, detail) {
            // What waits goes into the new file, and everyone is told of it.
            self.commit(now);
        }
        self.publish();
    }

    /// Replaces the file if what was met is really there. Tells whether there is another now.
    pub(super) fn replace_where_damaged(&mut self, now: Mono, met: &str) -> bool {
        let Some(found) = damage::confirmed(&self.options.path) else {
            tracing::warn!(met, "damage was met that is not there; nothing is done");
            return false;
        };
        let replaced = self.replace_damaged(now, &found);
        if !replaced {
            self.health = Health::Faulty(found);
            self.pending.retry_at = Some(now.plus(RETRY));
        }
        replaced
    }

    /// Moves the damaged file aside and begins another under a new epoch and the same stream numbers.
    fn replace_damaged(&mut self, now: Mono, detail: &str) -> bool {
        self.disk = Disk::LetGo;
        let begun = damage::set_aside(&self.options.path, self.options.epoch, detail).and_then(|remains| {
            self.disk = Disk::SetAside(remains.clone());
            self.begin_again(now, &remains)
        });
        if let Err(error) = &begun {
            tracing::error!(%error, "no new queue file can be made");
            if matches!(error, OpenError::NoRoom { .. })
                && let Some(ballast) = &self.ballast
            {
                ballast.release();
            }
        }
        begun.is_ok()
    }

    fn begin_again(&mut self, now: Mono, remains: &Remains) -> Result<(), OpenError> {
        let unknown = Wall { unix_ms: 0, uncertainty_ms: u32::MAX, trusted: false };
        let wall = self.wall.map_or(unknown, |claim| claim.wall_at(now));
        let mut options = self.options.clone();
        options.epoch = options.epoch.successor(options.file_id);
        options.file_id = options.epoch.successor(0).0;
        let kept = Kept { streams: &self.streams, destinations: &self.destinations };
        let (connection, opened) = open::begin_again(&options, &kept, now, wall, remains)?;
        self.previous_epoch = Some((self.options.epoch, self.last_sequences()));
        self.options = OpenOptions { epoch: opened.epoch, ..options };
        self.disk = Disk::Open(connection);
        self.rescue = Rescue::of(opened.salvage.clone(), now);
        let at = self.disk.log();
        self.wear.begin_again(at.unwrap_or_default());
        self.take_over(opened);
        Ok(())
    }

    fn take_over(&mut self, opened: Opened) {
        self.generation += 1;
        self.epoch_number = opened.epoch_number;
        self.books = opened.books;
        self.tally.again(&self.books, opened.classes);
        self.cursors = opened.cursors;
        self.next_segment = opened.next_segment;
        self.file_id = opened.file_id;
        self.definitions = opened.definitions;
        self.definitions_due = false;
        // Numbers of epochs begin anew with the file; so does who has been told.
        self.announced.clear();
        self.pending.settlements.clear();
        self.pending.told.clear();
        self.pending.settlements_since = None;
        self.gaps.begin_again(self.epoch_number);
        self.measure();
        self.read_statements();
    }

    /// JSON `{group: sequence}` of this epoch.
    fn last_sequences(&self) -> String {
        let newest: BTreeMap<&str, u64> = self
            .groups
            .iter()
            .zip(self.tally.newest(self.groups.len()))
            .filter(|(_, newest)| **newest > 0)
            .map(|(group, newest)| (group.name.as_str(), *newest))
            .gathered();
        serde_json::to_string(&newest).unwrap_or_default()
    }

    /// While the disk is full: books what can be booked, gives back what is free, gives up what would help.
    fn find_room(&mut self, now: Mono) -> bool {
        if !self.pending.settlements.is_empty() || !self.gaps.is_clean() {
            self.settle_without_accepting(now);
        }
        if self.is_at_limit() {
            self.make_room_in_quota(now);
            if self.is_at_limit() {
                return false;
            }
        }
        let ballast = self.ballast.clone();
        if ballast.as_ref().is_some_and(Ballast::is_held) {
            return true;
        }
        // More than the ballast alone: a log can grow beside it before the disk is full again. Asked, not tried, so that
        // a disk that stays full is not written to each second.
        let wanted = ballast.as_ref().map_or(0, Ballast::bytes) + LOG_BYTES;
        self.give_back();
        let path = self.options.path.clone();
        let has_room = || sqlite::free_bytes(&path).is_none_or(|free| free >= wanted);
        if !has_room() && self.make_room_on_disk(now, wanted) {
            self.give_back();
        }
        if !has_room() {
            tracing::debug!(wanted, "still not enough room");
            return false;
        }
        match ballast.map(|ballast| ballast.take()) {
            None | Some(Ok(())) => true,
            Some(Err(error)) => {
                tracing::debug!(%error, "the ballast cannot be taken back");
                if sqlite::trouble_of(&error) == Trouble::ReadOnly {
                    self.health = Health::ReadOnly;
                    self.disk = Disk::LetGo;
                }
                false
            }
        }
    }

    fn give_back(&mut self) {
        if let Err(error) = self.disk.shrink() {
            tracing::debug!(%error, "the file cannot be made smaller just now");
        }
        self.measure();
    }

    /// Whether it is the file's own limit, not the disk, that has no room.
    pub(super) fn is_at_limit(&mut self) -> bool {
        self.disk.pages().is_some_and(|pages| pages.left() < self.pages_of_a_commit())
    }

    /// About as many pages as the commit at hand takes: its bodies, and what is booked beside them.
    fn pages_of_a_commit(&self) -> u64 {
        let bytes: usize = self.pending.segments.values().map(SegmentBuilder::bytes).sum();
        16 + (bytes as u64) * 5 / 4 / u64::from(schema::KIND.page_size)
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::ffi;
    use tokio::sync::oneshot;

    use super::super::super::open::{DestinationSpec, StreamSpec, open};
    use super::super::super::{Epoch, verify};
    use super::*;
    use crate::clock::BootId;
    use crate::reading::{Capture, Class, GapReason, Quality, Sample, Value};
    use crate::store::worker::Machine;

    fn writer(path: std::path::PathBuf) -> Writer {
        let stream = |name: &str| StreamSpec {
            name: name.into(),
            group: "bus".into(),
            device: "d".into(),
            class: Class::Telemetry,
            unit: String::new(),
            resolution: None,
            alias: name.into(),
            routes: vec!["golioth".into()],
            latest_only: false,
        };
        let options = OpenOptions {
            path,
            streams: vec![stream("a"), stream("b")],
            destinations: vec![DestinationSpec { name: "golioth".into() }],
            commit_window: Duration::from_secs(1),
            max_bytes: 1 << 20,
            class_quotas: Default::default(),
            ballast_bytes: 0,
            flash_budget_per_day: None,
            boot: BootId([1; 16]),
            epoch: Epoch(5),
            file_id: 6,
        };
        open(options, Mono(1), Wall { unix_ms: 0, uncertainty_ms: 0, trusted: false }).unwrap()
    }

    /// A commit fails in a way that the file is let go of, and what it wrote is found on the disk afterwards.
    #[test]
    fn a_commit_that_failed_and_landed_all_the_same_is_accepted_and_not_also_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("queue.db");
        let mut writer = writer(path.clone());
        let (a, b, group) = (writer.streams[0].id, writer.streams[1].id, writer.stream_ids()[0].1);
        let offer = |writer: &mut Writer, at: u64| {
            let (reply, answer) = oneshot::channel();
            let good = Sample { stream: a, value: Value::Bool(true), quality: Quality::Good };
            let bad = Sample { stream: b, value: Value::Float(f64::NAN), quality: Quality::Good };
            let capture = Capture {
                group,
                at: Mono(at),
                samples: vec![good, bad],
                missing: vec![(b, GapReason::Silent)],
            };
            writer.accept(Mono(at), &capture, reply);
            answer
        };
        let mut first = offer(&mut writer, 1000);
        writer.commit(Mono(2000));
        assert!(first.try_recv().unwrap().is_ok());

        let mut second = offer(&mut writer, 3000);
        drop(writer.transact(Mono(4000), Scope::All).unwrap());
        let failed = rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_IOERR_WRITE), None);
        writer.fail(Mono(4000), &failed);
        assert!(matches!(second.try_recv().unwrap(), Err(Refused::Faulty(_))));

        let third = offer(&mut writer, 5000);
        writer.handle_timeout(Mono(9_000_000_000));
        let mut third = third;
        assert!(third.try_recv().unwrap().is_ok());
        let books = writer.books.intake[&a];
        assert_eq!((books.accepted, books.refused, books.missed), (3, 0, 0));
        let books = writer.books.intake[&b];
        assert_eq!((books.accepted, books.refused, books.missed), (0, 3, 3));
        let status = writer.subscribe().borrow().clone();
        assert_eq!((status.intake.accepted, status.intake.refused), (3, 3));
        assert_eq!(status.newest_sequences["bus"], 3);
        let verified = verify::verify(&path).unwrap();
        assert_eq!((verified.problems, verified.rows), (Vec::<String>::new(), 3));
    }

    /// What the log holds after a failed sync may never be on the disk; only the open file knows from where.
    #[test]
    fn a_failed_sync_does_not_make_the_writer_let_go_of_the_file_and_another_fault_does() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = writer(folder.path().join("queue.db"));
        let error = |code| rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
        for unsynced in [ffi::SQLITE_IOERR_FSYNC, ffi::SQLITE_IOERR_DIR_FSYNC] {
            writer.fail(Mono(1000), &error(unsynced));
            assert!(matches!(writer.health, Health::Faulty(_)) && writer.disk.is_open());
        }
        writer.handle_timeout(Mono(5_000_000_000));
        assert_eq!((&writer.health, writer.generation), (&Health::Good, 0));
        writer.fail(Mono(6_000_000_000), &error(ffi::SQLITE_IOERR_READ));
        assert!(!writer.disk.is_open());
    }

    #[test]
    fn readings_set_aside_are_kept_to_a_number_and_the_oldest_become_drops_on_record() {
        use super::super::super::{Outcome, SettledRow, Settlement};
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("queue.db");
        let mut writer = writer(path.clone());
        let (a, group) = (writer.streams[0].id, writer.stream_ids()[0].1);
        let destination = writer.destinations[0].0;
        for n in 0..20 {
            let (reply, _answer) = oneshot::channel();
            let sample = Sample { stream: a, value: Value::Steps(n), quality: Quality::Good };
            let capture = Capture { group, at: Mono(1000), samples: vec![sample], missing: vec![] };
            let from = writer.next_segment[&Class::Telemetry];
            writer.accept(Mono(1000), &capture, reply);
            writer.commit(Mono(1000));
            writer.settle(
                Mono(1000),
                Settlement {
                    generation: 0,
                    destination,
                    class: Class::Telemetry,
                    from,
                    to: from.next_segment(),
                    rows: vec![SettledRow {
                        position: from,
                        stream: a,
                        epoch: 1,
                        sequence: n.cast_unsigned() + 1,
                    }],
                    given_up: Vec::new(),
                    outcome: Outcome::SetAside("4.00".into()),
                    announces_epoch: false,
                },
            );
        }
        writer.commit(Mono(2000));
        let verified = verify::verify(&path).unwrap();
        assert_eq!(verified.problems, Vec::<String>::new());
        let totals = verified.destinations["golioth"];
        assert_eq!((totals.accepted, totals.set_aside, totals.dropped), (20, 8, 12));
        assert_eq!(writer.subscribe().borrow().destination(destination), totals);
    }
}
