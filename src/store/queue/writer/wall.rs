//! What this boot's readings are dated with, and the record of having been wrong about it (requirement D3).
//!
//! A boot has one offset from monotonic to wall time. A later claim replaces it. Where both cannot be right that is a correction: it is
//! kept with what was believed, since when, and which epochs it is about; and every destination is owed the new offset, because
//! it may hold readings dated with the old one.

use rusqlite::{Connection, Transaction};

use super::super::Position;
use super::Writer;
use crate::clock::sources::Claim;
use crate::reading::Class;

/// Corrections kept; a boot that needs more has a source of time that is good for nothing.
const KEPT: i64 = 256;
/// So many segments of a class are looked at for what waits for the time; a boot that has more has waited for a day.
const COUNTED: i64 = 10_000;
/// After so many of other boots in a row there are no more of this one.
const PASSED_OVER: u32 = 256;

impl Writer {
    pub(super) fn write_wall(&self, tx: &Transaction<'_>, claim: &Claim) -> rusqlite::Result<()> {
        let boot = self.options.boot.0;
        let wrong = self.wall.filter(|known| known.contradicts(claim, claim.at));
        if let Some(known) = wrong {
            write_correction(tx, boot, &known, claim)?;
        }
        tx.execute(
            "UPDATE epochs SET wall_offset_ms = ?2, wall_uncertainty_ms = ?3, wall_known_ns = ?4, wall_source = ?5
             WHERE boot_id = ?1",
            (
                boot,
                claim.offset_ms,
                claim.uncertainty_ms,
                claim.at.0.cast_signed(),
                claim.source.word(),
            ),
        )?;
        Ok(())
    }

    /// Counts what waits for the time. Segments of this boot are the newest of each class, but for those that were sent again,
    /// kept or salvaged and stand behind them: few of another boot are read.
    pub(super) fn count_undated(&mut self) {
        if self.wall.is_some() {
            return;
        }
        let boot = self.options.boot.0;
        let counted = self.disk.connection().map(|c| undated(c, boot));
        // For show only: an error that matters is met by the next commit.
        self.undated = counted.and_then(Result::ok).unwrap_or(self.undated);
    }
}

fn undated(c: &Connection, boot: [u8; 16]) -> rusqlite::Result<u64> {
    let mut segments = c.prepare_cached(
        "SELECT s.rows, e.number IS NOT NULL FROM segments AS s LEFT JOIN epochs AS e ON e.number = s.epoch AND e.boot_id = ?4
         WHERE s.id >= ?1 AND s.id < ?2 ORDER BY s.id DESC LIMIT ?3",
    )?;
    let mut count = 0;
    for class in Class::ALL {
        let start = Position::first_of(class).segment;
        let mut rows = segments.query((start, start + (1 << 48), COUNTED, boot))?;
        let mut of_others = 0;
        while let Some(row) = rows.next()? {
            if row.get(1)? {
                count += row.get::<_, i64>(0)?.cast_unsigned();
                of_others = 0;
            } else if of_others == PASSED_OVER {
                break;
            } else {
                of_others += 1;
            }
        }
    }
    Ok(count)
}

fn write_correction(tx: &Transaction<'_>, boot: [u8; 16], old: &Claim, new: &Claim) -> rusqlite::Result<()> {
    tx.execute(
        "INSERT INTO corrections (boot_id, first_epoch, last_epoch, at_mono_ns, believed_since_ns, old_offset_ms,
                                  old_uncertainty_ms, old_source, new_offset_ms, new_uncertainty_ms, new_source)
         SELECT ?1, min(number), max(number), ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9 FROM epochs WHERE boot_id = ?1",
        (
            boot,
            new.at.0.cast_signed(),
            old.at.0.cast_signed(),
            old.offset_ms,
            old.uncertainty_at(new.at),
            old.source.word(),
            new.offset_ms,
            new.uncertainty_ms,
            new.source.word(),
        ),
    )?;
    tx.execute("DELETE FROM corrections WHERE id <= ?1", [tx.last_insert_rowid() - KEPT])?;
    tx.execute(
        "UPDATE epochs SET wall_revision = wall_revision + 1, wall_first_ms = coalesce(wall_first_ms, wall_offset_ms)
         WHERE boot_id = ?1",
        [boot],
    )?;
    tx.execute(
        "INSERT INTO told (destination, kind, record, count)
         SELECT d.id, 2, e.number, 0 FROM epochs AS e, destinations AS d WHERE e.boot_id = ?1 AND d.removed = 0
         ON CONFLICT DO NOTHING",
        [boot],
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::{Command, Health};
    use super::*;
    use crate::clock::sources::Source;
    use crate::clock::{BootId, Mono, Wall};
    use crate::store::queue::look;
    use crate::store::queue::reader::{Owed, Reader, RecordKind};
    use crate::store::queue::{DestinationSpec, Epoch, OpenOptions, open};
    use crate::store::worker::Machine;

    const NOON: i64 = 1_800_000_000_000;
    const HOUR: Mono = Mono(3_600_000_000_000);
    const UNTRUSTED: Wall = Wall { unix_ms: 0, uncertainty_ms: u32::MAX, trusted: false };

    fn options(folder: &std::path::Path, epoch: u64) -> OpenOptions {
        OpenOptions {
            path: folder.join("queue.db"),
            streams: Vec::new(),
            destinations: vec![DestinationSpec { name: "golioth".into() }],
            commit_window: std::time::Duration::from_millis(10),
            max_bytes: 8 << 20,
            class_quotas: Default::default(),
            ballast_bytes: 0,
            flash_budget_per_day: None,
            boot: BootId([1; 16]),
            epoch: Epoch(epoch << 32),
            file_id: 1,
        }
    }

    fn tell(writer: &mut Writer, claim: Claim) {
        let (reply, mut answer) = tokio::sync::oneshot::channel();
        writer.handle(claim.at, Command::WallKnown(claim));
        writer.handle(claim.at, Command::Flush(reply));
        assert_eq!(answer.try_recv(), Ok(Health::Good));
    }

    fn corrections(path: &std::path::Path) -> Vec<(i64, i64, String, i64, i64)> {
        let file = rusqlite::Connection::open(path).unwrap();
        let mut rows = file
            .prepare(
                "SELECT old_offset_ms, new_offset_ms, new_source, first_epoch, last_epoch FROM corrections",
            )
            .unwrap();
        rows.query_map([], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?, r.get(4)?)))
            .unwrap()
            .map(Result::unwrap)
            .collect()
    }

    fn owed(writer: &Writer) -> Vec<Owed> {
        let golioth = writer.destination_ids()[0].0;
        Reader::open(&writer.options.path, golioth).unwrap().owed(9).unwrap().new
    }

    #[test]
    fn a_time_within_what_was_stated_is_no_correction_and_one_beyond_is_recorded_and_owed() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = open::open(options(folder.path(), 1), Mono(1), UNTRUSTED).unwrap();
        tell(&mut writer, Claim::new(Source::Modem, HOUR, NOON, 2000));
        tell(&mut writer, Claim::new(Source::Ntp, HOUR, NOON + 2100, 500));
        assert_eq!(corrections(&writer.options.path), []);
        assert_eq!(owed(&writer), []);
        let stepped = Claim::new(Source::Ntp, HOUR, NOON + 10_800_000, 500);
        tell(&mut writer, stepped);
        let old = NOON + 2100 - 3_600_000;
        assert_eq!(corrections(&writer.options.path), [(old, stepped.offset_ms, "ntp".into(), 1, 1)]);
        let owed = owed(&writer);
        let [Owed::Clock(epoch)] = owed.as_slice() else { panic!("{owed:?}") };
        assert_eq!((epoch.dated_with_ms, epoch.revision), (Some(old), 1));
        assert_eq!(epoch.stated_at(HOUR), None, "from now on none goes out dated");
        assert_eq!(epoch.wall_at(HOUR), Some((NOON + 10_800_000, 500)));
        assert_eq!((owed[0].told().kind, owed[0].told().count), (RecordKind::Clock, 2));
    }

    #[test]
    fn each_correction_is_owed_anew_and_the_readings_stay_dated_with_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = open::open(options(folder.path(), 1), Mono(1), UNTRUSTED).unwrap();
        for step in [0, 10_800_000, 0] {
            tell(&mut writer, Claim::new(Source::Ntp, HOUR, NOON + step, 500));
        }
        let told = owed(&writer)[0].told();
        let golioth = writer.destination_ids()[0].0;
        writer.handle(HOUR, Command::Told { generation: 0, destination: golioth, told: vec![told] });
        tell(&mut writer, Claim::new(Source::Ntp, HOUR, NOON, 500));
        assert_eq!(owed(&writer), []);
        tell(&mut writer, Claim::new(Source::Ntp, HOUR, NOON - 10_800_000, 500));
        let [Owed::Clock(epoch)] = owed(&writer)[..] else { panic!() };
        assert_eq!((epoch.dated_with_ms, epoch.revision), (Some(NOON - 3_600_000), 3));
        assert_eq!(corrections(&writer.options.path).len(), 3);
        let file = look::open(&look::Source::Beside(writer.options.path.clone())).unwrap();
        let listed = look::corrections::corrections(&file, 2).unwrap();
        let [newest, before] = listed.as_slice() else { panic!("{listed:?}") };
        assert_eq!((newest.ahead_ms(), before.ahead_ms()), (-10_800_000, -10_800_000));
        assert_eq!((newest.id, before.id), (3, 2), "newest first, no more than asked for");
        assert_eq!((newest.at, newest.epochs, newest.now.source.as_str()), (HOUR, 1, "ntp"));
    }

    #[test]
    fn what_waits_for_the_time_is_counted_in_this_boot_only_and_until_it_comes() {
        let folder = tempfile::tempdir().unwrap();
        drop(open::open(
            OpenOptions { boot: BootId([9; 16]), ..options(folder.path(), 1) },
            Mono(1),
            UNTRUSTED,
        ));
        let mut writer = open::open(options(folder.path(), 2), Mono(1), UNTRUSTED).unwrap();
        let start = Position::first_of(Class::Telemetry).segment;
        for (number, epoch, rows) in [(1, 1, 100), (2, 2, 20), (3, 2, 3), (4, 1, 7)] {
            let segment = (start + number, epoch, rows);
            let sql = "INSERT INTO segments (id, epoch, routes, rows, first_mono_us, body) VALUES (?1, ?2, 1, ?3, 0, x'')";
            writer.disk.connection().unwrap().execute(sql, segment).unwrap();
        }
        writer.count_undated();
        assert_eq!(writer.undated, 23);
        tell(&mut writer, Claim::new(Source::Ntp, HOUR, NOON, 500));
        assert_eq!(writer.undated, 0);
    }

    #[test]
    fn a_restart_within_a_boot_knows_what_the_run_before_knew_and_another_boot_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = open::open(options(folder.path(), 1), Mono(1), UNTRUSTED).unwrap();
        let claim = Claim::new(Source::Modem, HOUR, NOON, 2000);
        tell(&mut writer, claim);
        drop(writer);
        let writer = open::open(options(folder.path(), 2), HOUR, UNTRUSTED).unwrap();
        assert_eq!(writer.wall_remembered(), Some(claim));
        drop(writer);
        let rebooted = OpenOptions { boot: BootId([2; 16]), ..options(folder.path(), 3) };
        assert_eq!(open::open(rebooted, Mono(1), UNTRUSTED).unwrap().wall_remembered(), None);
    }

    #[test]
    fn an_instant_far_from_when_the_time_was_said_is_less_certain() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = open::open(options(folder.path(), 1), Mono(1), UNTRUSTED).unwrap();
        tell(&mut writer, Claim::new(Source::Modem, Mono(6 * HOUR.0), NOON, 2000));
        let golioth = writer.destination_ids()[0].0;
        writer.handle(
            HOUR,
            Command::Told {
                generation: 0,
                destination: golioth,
                told: vec![crate::store::queue::reader::Told {
                    kind: RecordKind::Clock,
                    record: 1,
                    count: 0,
                }],
            },
        );
        let (reply, _answer) = tokio::sync::oneshot::channel();
        writer.handle(HOUR, Command::Flush(reply));
        let [Owed::Clock(epoch)] = owed(&writer)[..] else { panic!() };
        assert_eq!(epoch.wall_at(Mono(6 * HOUR.0)), Some((NOON, 2000)));
        assert_eq!(epoch.wall_at(Mono(0)), Some((NOON - 6 * 3_600_000, 2000 + 1100)));
    }
}
