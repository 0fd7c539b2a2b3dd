//! How a run ends and the next begins: cleanly, by a crash, with an old copy, after a later or an earlier release; and what the
//! configuration says then.

use fieldgate::reading::Class;
use fieldgate::store::queue::schema;
use fieldgate::store::sqlite;
use fieldgate::store::worker::Machine;

use super::rig::{DESTINATIONS, Rig};
use super::support::{self, Rng};
use super::{How, earlier};

impl Rig {
    pub(super) fn reopen(&mut self, how: How, change: u64) {
        // Nobody puts a file in another's place while it is being read.
        if how != How::Clean {
            self.drains.clear();
        }
        match how {
            How::Clean => self.stop(),
            How::NextRelease => {
                self.stop();
                self.next_release();
            }
            How::EarlierRelease => {
                self.stop();
                earlier::write_as_before(
                    &self.path,
                    1 + (change % (schema::STEPS - 1).cast_unsigned()).cast_signed(),
                );
                self.seen.earlier += 1;
            }
            How::Crash => {
                let crashed = self.path.with_extension("crashed");
                support::copy_with_log(&self.path, &crashed);
                self.hand = None;
                support::copy_with_log(&crashed, &self.path);
                self.model.unclean_stops += 1;
                self.seen.crashes += 1;
            }
            How::Torn => {
                self.tear(change);
                self.model.unclean_stops += 1;
            }
            How::OldCopy => {
                let Some(old) = self.old_model.clone() else { return };
                self.hand = None;
                support::copy_with_log(&self.old_copy, &self.path);
                self.model = old;
                self.seen.old_copies += 1;
                self.model.unclean_stops += 1;
            }
        }
        // Half of the starts change nothing.
        if change.is_multiple_of(2) {
            self.reconfigure(&mut Rng(change));
        }
        self.open();
    }

    fn stop(&mut self) {
        let mut hand = self.hand.take().unwrap();
        hand.status.mark_unchanged();
        hand.writer.close(self.now);
        // A drain that still reads keeps the log's file, but there is nothing in it.
        let log = sqlite::log_of(&self.path);
        assert!(matches!(log, sqlite::Log::Missing | sqlite::Log::Empty), "a clean stop brings its log home");
        self.hand = Some(hand);
        // What waited was committed on the way.
        self.committed();
        self.hand = None;
    }

    /// What waits is committed, and of that commit the disk has only so much.
    #[allow(clippy::disallowed_methods, reason = "the test is the power cut")]
    fn tear(&mut self, change: u64) {
        let log = sqlite::suffixed(&self.path, "-wal");
        let read = |path: &std::path::Path| std::fs::read(path).unwrap_or_default();
        let (file, before) = (read(&self.path), read(&log));
        self.hand().flush();
        let after = read(&log);
        self.hand = None;
        // Where the log began anew, or went home, the commit is as good as not begun.
        let mut torn = before.clone();
        if after.len() > before.len() && after.starts_with(&before) && read(&self.path) == file {
            let written = (after.len() - before.len()) as u64;
            let there = before.len() + usize::try_from(change % written).unwrap();
            torn.extend_from_slice(&after[before.len()..there]);
            self.seen.torn += 1;
        }
        let _ = std::fs::remove_file(sqlite::suffixed(&self.path, "-shm"));
        std::fs::write(&self.path, file).unwrap();
        std::fs::write(&log, torn).unwrap();
    }

    /// It adds what a release may add, or finds what it added, fills it, and leaves.
    fn next_release(&mut self) {
        let next = rusqlite::Connection::open(&self.path).unwrap();
        let version: i64 = next.query_row("PRAGMA user_version", [], |r| r.get(0)).unwrap();
        if version == schema::STEPS {
            next.execute_batch(&format!(
                "CREATE TABLE later (id INTEGER PRIMARY KEY, what TEXT NOT NULL);
                 ALTER TABLE segments ADD COLUMN codec INTEGER;
                 ALTER TABLE streams ADD COLUMN shown_as TEXT;
                 ALTER TABLE accounts ADD COLUMN coalesced INTEGER;
                 ALTER TABLE set_aside ADD COLUMN tries INTEGER;
                 CREATE INDEX segments_by_epoch ON segments (epoch);
                 PRAGMA user_version = {};",
                schema::STEPS + 1
            ))
            .unwrap();
            self.seen.upgraded += 1;
        } else {
            assert_eq!(version, schema::STEPS + 1);
            let kept: i64 = next.query_row("SELECT count(*) FROM later", [], |r| r.get(0)).unwrap();
            assert!(kept > 0, "what the next release had added is still there");
            self.seen.downgraded += 1;
        }
        next.execute_batch(
            "INSERT INTO later (what) VALUES ('kept'); UPDATE segments SET codec = 1;
             UPDATE accounts SET coalesced = 0; UPDATE streams SET shown_as = name; UPDATE set_aside SET tries = 1;",
        )
        .unwrap();
    }

    fn reconfigure(&mut self, rng: &mut Rng) {
        match rng.below(6) {
            0 | 1 => {
                let d = DESTINATIONS[rng.below(3) as usize];
                match self.destinations.iter().position(|have| *have == d) {
                    Some(n) if self.destinations.len() > 1 => {
                        self.destinations.remove(n);
                    }
                    Some(_) => {}
                    None => self.destinations.push(d),
                }
            }
            2 | 3 => {
                let n = rng.below(self.streams.len() as u64) as usize;
                let d = DESTINATIONS[rng.below(3) as usize].to_owned();
                let routes = &mut self.streams[n].routes;
                match routes.iter().position(|r| *r == d) {
                    Some(n) => {
                        routes.remove(n);
                    }
                    None => routes.push(d),
                }
            }
            4 => {
                let n = rng.below(self.streams.len() as u64) as usize;
                let spec = &mut self.streams[n];
                spec.unit = if spec.unit == "Cel" { "K".into() } else { "Cel".into() };
                if rng.below(2) == 0 && spec.class != Class::Alarm {
                    spec.class = if spec.class == Class::Telemetry { Class::State } else { Class::Telemetry };
                }
            }
            _ => {
                // One goes, or comes back.
                match self.streams.iter().position(|s| s.name == "pressure") {
                    Some(n) => {
                        self.streams.remove(n);
                    }
                    None => {
                        self.streams.insert(
                            0,
                            support::spec("pressure", "bus1", Class::Telemetry, &["golioth", "archive"]),
                        );
                    }
                }
            }
        }
    }
}
