//! No room, no quota left, no writes taken: each is a state with a name, and the store leaves it by itself.
//!
//! On real file systems of the test's own: a small tmpfs, and for a file system that turns read-only under open files an
//! ext4 image whose kernel is told that it has found an error. Both need root (or, for the first, a user namespace). Where they
//! cannot be had the test is left out, and says so; with `CI=true` it fails.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail by panicking")]

#[path = "support/store.rs"]
mod support;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use fieldgate::clock::{Clock, Mono, SystemClock};
use fieldgate::config;
use fieldgate::daemon::rim::machine;
use fieldgate::daemon::stores::Stores;
use fieldgate::reading::{Class, Sample, StreamId, Value};
use fieldgate::store::queue::{
    DestinationId, Health, OpenOptions, Outcome, Position, Reader, Refused, StreamSpec, verify,
};
use fieldgate::store::sqlite;
use support::{Hand, capture, options, problems, steps, waiting};

const BALLAST: u64 = 1 << 20;

/// A file system that is there for one test.
struct Mount {
    at: PathBuf,
    image: Option<PathBuf>,
    _folder: tempfile::TempDir,
}

fn run(program: &str, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(program).args(arguments).output().map_err(|e| format!("{program}: {e}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(format!("{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr)))
    }
}

/// What is missing fails where everything must be there, and is said elsewhere.
fn left_out(why: &str) -> Option<Mount> {
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{why}");
    // Not by a macro, whose words cargo's own runner keeps to itself when a test passes; for nextest see .config/nextest.toml.
    let _ = writeln!(std::io::stderr(), "left out: {why}");
    None
}

impl Mount {
    /// `None` where no file system can be mounted.
    fn tmpfs(size: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().join("disk");
        std::fs::create_dir(&at).unwrap();
        let option = format!("size={size}");
        if let Err(e) = run("mount", &["-t", "tmpfs", "-o", &option, "tmpfs", at.to_str().unwrap()]) {
            return left_out(&format!(
                "this test mounts a small tmpfs and needs root or `unshare -Urm`: {e}"
            ));
        }
        Some(Self { at, image: None, _folder: folder })
    }

    /// `None` where there are no loop devices, or no ext4.
    fn ext4() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let (at, image) = (folder.path().join("disk"), folder.path().join("image"));
        std::fs::create_dir(&at).unwrap();
        let file = std::fs::OpenOptions::new().write(true).create_new(true).open(&image).unwrap();
        file.set_len(16 << 20).unwrap();
        let mount = Self { at, image: Some(image), _folder: folder };
        let made =
            run("mkfs.ext4", &["-q", "-F", "-m", "0", mount.image.as_ref().unwrap().to_str().unwrap()]);
        let trigger = |_| {
            let trigger = mount.error_trigger()?;
            let opened = std::fs::OpenOptions::new().write(true).open(&trigger);
            opened.map_err(|e| format!("{}: {e}", trigger.display()))
        };
        if let Err(e) = made.and_then(|_| mount.mount_image()).and_then(trigger) {
            return left_out(&format!(
                "this test mounts an ext4 image through a loop device and needs root and mkfs.ext4: {e}"
            ));
        }
        Some(mount)
    }

    fn mount_image(&self) -> Result<String, String> {
        let image = self.image.as_ref().unwrap().to_str().unwrap();
        run("mount", &["-o", "loop,errors=remount-ro", image, self.at.to_str().unwrap()])
    }

    fn unmount(&self) -> Result<String, String> {
        run("umount", &[self.at.to_str().unwrap()])
    }

    /// The kernel believes that it has met an error on the disk, and takes no more writes, whoever has files open.
    fn turn_read_only(&self) {
        let mut trigger =
            std::fs::OpenOptions::new().write(true).open(self.error_trigger().unwrap()).unwrap();
        trigger.write_all(b"a test").unwrap();
    }

    /// Where the kernel takes such an error.
    fn error_trigger(&self) -> Result<PathBuf, String> {
        let device = run("findmnt", &["-no", "SOURCE", self.at.to_str().unwrap()])?;
        let name = device.trim().rsplit('/').next().unwrap();
        Ok(format!("/sys/fs/ext4/{name}/trigger_fs_error").into())
    }

    /// What an operator does about it, once nobody has a file open.
    fn repair(&self) {
        self.unmount().expect("the store must have let go of its file");
        let image = self.image.as_ref().unwrap().to_str().unwrap();
        // Exit status 1 is "errors were corrected".
        let _ = run("e2fsck", &["-fy", image]);
        self.mount_image().unwrap();
    }

    fn path(&self) -> PathBuf {
        self.at.join("queue.db")
    }

    fn free(&self) -> u64 {
        sqlite::free_bytes(&self.path()).unwrap()
    }

    /// Somebody else fills the disk until so many bytes are left.
    fn fill_leaving(&self, bytes: u64) -> PathBuf {
        let foreign = self.at.join("foreign");
        let mut file = std::fs::OpenOptions::new().append(true).create(true).open(&foreign).unwrap();
        while self.free() > bytes {
            let block = vec![1u8; usize::try_from((self.free() - bytes).min(4096)).unwrap()];
            if file.write_all(&block).is_err() {
                break;
            }
        }
        foreign
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = self.unmount().or_else(|_| run("umount", &["-l", self.at.to_str().unwrap()]));
    }
}

fn streams() -> Vec<StreamSpec> {
    vec![
        support::spec("smoke", "bus", Class::Alarm, &["golioth"]),
        support::spec("temperature", "bus", Class::Telemetry, &["golioth"]),
        support::spec("debug", "bus", Class::Diagnostics, &["golioth"]),
    ]
}

fn with_ballast(path: PathBuf, epoch: u64) -> OpenOptions {
    OpenOptions { ballast_bytes: BALLAST, ..options(path, streams(), &["golioth"], epoch) }
}

fn text(stream: StreamId, n: u64) -> Sample {
    let value = Value::Text(format!("{n:0200}").into());
    Sample { value, ..steps(stream, 0) }
}

/// Offers one reading of the stream in this place and lets its window close.
fn one(hand: &mut Hand, place: usize, n: u64) -> Result<(), Refused> {
    let (stream, group) = hand.writer.stream_ids()[place];
    let answer = hand.offer(capture(group, Mono(hand.now.0 / 1000 * 1000), vec![text(stream, n)]));
    hand.pass(Duration::from_millis(1100));
    support::answered(answer).map(|_| ())
}

fn destination(hand: &Hand) -> DestinationId {
    hand.writer.destination_ids()[0].0
}

fn ballast_is_held(path: &Path) -> bool {
    std::fs::metadata(path.with_file_name("ballast")).is_ok_and(|m| m.len() == BALLAST)
}

/// The numbers in the queued readings of the stream, in order.
fn queued(path: &Path, hand: &Hand, place: usize) -> Vec<u64> {
    let stream = hand.writer.stream_ids()[place].0;
    waiting(path, destination(hand))
        .into_iter()
        .filter(|r| r.sample.stream == stream)
        .map(|r| match r.sample.value {
            Value::Text(text) => text.trim_start_matches('0').parse().unwrap_or(0),
            other => panic!("{other:?}"),
        })
        .collect()
}

#[test]
fn a_disk_filled_by_somebody_else_refuses_settles_and_resumes_by_itself() {
    let Some(mount) = Mount::tmpfs("6m") else { return };
    let path = mount.path();
    let mut hand = Hand::open(with_ballast(path.clone(), 1), Mono(1_000_000_000)).unwrap();
    assert!(ballast_is_held(&path));
    let mut accepted = Vec::new();
    for n in 1..40 {
        one(&mut hand, 1, n).unwrap();
        accepted.push(n);
    }
    let foreign = mount.fill_leaving(0);

    // Accepting goes on until the log cannot grow, then stops with a name.
    let mut n = 40;
    let refused = loop {
        match one(&mut hand, 1, n) {
            Ok(()) => accepted.push(n),
            Err(refused) => break refused,
        }
        n += 1;
        assert!(n < 5000, "the disk never filled");
    };
    assert_eq!((refused, hand.status().health), (Refused::DiskFull, Health::DiskFull));
    assert!(!ballast_is_held(&path), "its room is needed now");
    assert_eq!(queued(&path, &hand, 1), accepted, "nothing accepted is given up for what would not help");

    // While full: the drain goes on, its answers are booked.
    let to_settle = &waiting(&path, destination(&hand))[..30];
    let from = Position::first_of(Class::Telemetry);
    let to = to_settle[29].position.next_segment();
    hand.settle(support::settlement(0, destination(&hand), from, to, to_settle, Outcome::Acknowledged));
    hand.pass(Duration::from_secs(3));
    assert_eq!(hand.status().health, Health::DiskFull);
    assert_eq!(hand.status().destination(destination(&hand)).acknowledged, 30);
    assert_eq!(queued(&path, &hand, 1), accepted[30..]);
    assert_eq!(one(&mut hand, 1, 9000), Err(Refused::DiskFull));

    // Room returns: nobody has to do anything.
    std::fs::remove_file(&foreign).unwrap();
    hand.pass(Duration::from_secs(3));
    assert_eq!(hand.status().health, Health::Good);
    assert!(ballast_is_held(&path));
    one(&mut hand, 1, 9001).unwrap();
    accepted.push(9001);
    assert_eq!(queued(&path, &hand, 1), accepted[30..]);
    let verified = verify::verify(&path).unwrap();
    assert_eq!(verified.problems, Vec::<String>::new());
    assert_eq!(verified.gaps[&("refused".into(), "disk_full".into())], Some(2));
    assert_eq!(verified.destinations["golioth"].dropped, 0);
    hand.close();
    let mut hand = Hand::open(with_ballast(path.clone(), 2), Mono(1)).unwrap();
    assert_eq!(queued(&path, &hand, 1), accepted[30..], "and after a restart");
    assert_eq!(hand.flush(), Health::Good);
}

#[test]
fn a_disk_filled_by_the_queue_itself_gives_up_the_oldest_and_never_an_alarm() {
    // A quota beyond what others leave of the disk.
    let Some(mount) = Mount::tmpfs("16m") else { return };
    let path = mount.path();
    mount.fill_leaving(4 << 20);
    let mut hand = Hand::open(with_ballast(path.clone(), 1), Mono(1_000_000_000)).unwrap();
    let (stream, group) = hand.writer.stream_ids()[1];
    for n in 1..20 {
        one(&mut hand, 0, n).unwrap();
    }
    let mut accepted = Vec::new();
    let mut refused = 0;
    let mut n = 0;
    while n < 40_000 {
        let samples: Vec<u64> = (n..n + 100).collect();
        n += 100;
        let answers: Vec<_> = samples
            .iter()
            .map(|n| hand.offer(capture(group, Mono(hand.now.0 / 1000 * 1000), vec![text(stream, *n)])))
            .collect();
        hand.pass(Duration::from_millis(1100));
        for (n, answer) in samples.iter().zip(answers) {
            match support::answered(answer) {
                Ok(_) => accepted.push(*n),
                Err(e) => {
                    assert_eq!(e, Refused::DiskFull);
                    refused += 1;
                }
            }
        }
    }
    hand.pass(Duration::from_secs(2));
    assert_eq!(hand.status().health, Health::Good, "it leaves the state by giving up its own");
    assert!(ballast_is_held(&path));
    let kept = queued(&path, &hand, 1);
    println!("{} accepted, {refused} refused, {} kept", accepted.len(), kept.len());
    assert!(kept.len() > 1000 && kept.len() < accepted.len());
    assert_eq!(kept, accepted[accepted.len() - kept.len()..], "the oldest went");
    assert_eq!(queued(&path, &hand, 0), (1..20).collect::<Vec<u64>>(), "the alarms stayed");
    let verified = verify::verify(&path).unwrap();
    assert_eq!(verified.problems, Vec::<String>::new());
    assert_eq!(verified.destinations["golioth"].dropped, (accepted.len() - kept.len()) as u64);
    assert_eq!(verified.gaps[&("refused".into(), "disk_full".into())], Some(refused));
    assert!(refused < accepted.len() as u64 / 4, "most is accepted all the same: {refused} were refused");
}

#[test]
fn a_quota_beyond_the_disks_end_ends_below_it() {
    let Some(mount) = Mount::tmpfs("6m") else { return };
    let path = mount.path();
    let mut hand = Hand::open(with_ballast(path.clone(), 1), Mono(1_000_000_000)).unwrap();
    let limit = hand.status().max_bytes;
    assert!(limit > 3 << 20 && limit < (6 << 20) - BALLAST, "{limit}");
    let (stream, group) = hand.writer.stream_ids()[1];
    let mut accepted = 0;
    for n in 0..400 {
        let answers: Vec<_> = (0..100)
            .map(|k| {
                hand.offer(capture(group, Mono(hand.now.0 / 1000 * 1000), vec![text(stream, n * 100 + k)]))
            })
            .collect();
        hand.pass(Duration::from_millis(1100));
        accepted += answers.into_iter().map(|a| support::answered(a).unwrap().accepted).sum::<u32>();
    }
    assert_eq!(accepted, 40_000, "nothing is refused: the oldest goes before the disk is full");
    assert!(ballast_is_held(&path));
    assert!(hand.status().destination(destination(&hand)).dropped > 10_000);
    assert_eq!(problems(&path), Vec::<String>::new());
}

#[test]
fn what_a_real_disk_answers_is_told_apart() {
    let kind = sqlite::FileKind { application_id: 0x4647_5154, page_size: 1024, name: "t.db" };
    let grow =
        |c: &rusqlite::Connection| c.execute("INSERT INTO t VALUES (zeroblob(300000))", []).unwrap_err();
    let say =
        |what: &str, e: &rusqlite::Error| println!("{what}: {:?}", e.sqlite_error().map(|e| e.extended_code));

    let Some(mount) = Mount::tmpfs("4m") else { return };
    let path = mount.path();
    let connection = sqlite::open_writer(&path, kind).unwrap();
    connection.execute_batch("CREATE TABLE t (a);").unwrap();
    let foreign = mount.fill_leaving(0);
    let error = grow(&connection);
    say("full, log", &error);
    assert_eq!(sqlite::trouble(&error, &path), sqlite::Trouble::Full);
    drop(connection);
    mount.fill_leaving(0);
    // Without its index yet: it cannot even be made.
    let error = sqlite::open_writer(&path, kind).and_then(|c| {
        c.execute_batch("INSERT INTO t VALUES (1)").map_err(|e| sqlite::OpenError::from_sqlite(&path, &e))
    });
    println!("full, index: {error:?}");
    assert!(matches!(error, Err(sqlite::OpenError::NoRoom { .. })));
    let ballast = fieldgate::store::queue::ballast::Ballast::beside(&path, BALLAST);
    let error = ballast.take().unwrap_err();
    println!("full, ballast: {error:?}");
    assert_eq!(sqlite::trouble_of(&error), sqlite::Trouble::Full);
    std::fs::remove_file(foreign).unwrap();
    ballast.take().unwrap();

    let Some(mount) = Mount::ext4() else { return };
    let path = mount.path();
    let connection = sqlite::open_writer(&path, kind).unwrap();
    connection.execute_batch("CREATE TABLE t (a);").unwrap();
    mount.turn_read_only();
    let error = grow(&connection);
    say("read-only under an open file", &error);
    assert_eq!(sqlite::trouble(&error, &path), sqlite::Trouble::ReadOnly);
}

#[test]
fn a_store_that_starts_on_a_full_disk_starts_sick_and_gets_well() {
    let Some(mount) = Mount::tmpfs("6m") else { return };
    let path = mount.path();
    let mut hand = Hand::open(with_ballast(path.clone(), 1), Mono(1_000_000_000)).unwrap();
    one(&mut hand, 1, 1).unwrap();
    hand.close();
    let foreign = mount.fill_leaving(0);
    let mut hand = Hand::open(with_ballast(path.clone(), 2), Mono(1_000_000_000)).unwrap();
    mount.fill_leaving(0);
    assert_eq!(hand.status().health, Health::DiskFull);
    assert_eq!(one(&mut hand, 1, 2), Err(Refused::DiskFull));
    std::fs::remove_file(&foreign).unwrap();
    hand.pass(Duration::from_secs(2));
    one(&mut hand, 1, 3).unwrap();
    assert_eq!(queued(&path, &hand, 1), [1, 3]);
    assert_eq!(problems(&path), Vec::<String>::new());
}

/// Both files of a daemon, as it opens them: `gateway.db` comes first, and writes.
fn stores(mount: &Mount, configuration: &Path) -> Result<Stores, sqlite::OpenError> {
    let text = format!("[gateway]\nserial = \"gw\"\nstate_dir = \"{}\"\n", mount.at.display());
    let written = std::fs::OpenOptions::new().write(true).create(true).truncate(true).open(configuration);
    written.unwrap().write_all(text.as_bytes()).unwrap();
    let config = config::load_without_secrets(configuration).unwrap().config;
    assert!(config.store.ballast_bytes > BALLAST);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new(false, None));
    Stores::on_threads(&config, &machine::rim(clock))
}

#[test]
fn a_daemon_whose_disk_was_filled_while_it_was_stopped_starts_in_the_ballasts_room_and_gets_well() {
    let Some(mount) = Mount::tmpfs("16m") else { return };
    let folder = tempfile::tempdir().unwrap();
    let configuration = folder.path().join("fieldgate.toml");
    let ballast = mount.at.join("ballast");
    let first = stores(&mount, &configuration).unwrap();
    let gateway = first.gateway.identity().gateway;
    first.stop();
    drop(first);
    assert!(ballast.exists());
    let foreign = mount.fill_leaving(0);

    let stores = stores(&mount, &configuration).expect("the ballast is room enough to start");
    assert_eq!(stores.gateway.identity().gateway, gateway);
    assert_eq!(stores.queue.status().borrow().health, Health::DiskFull, "a state with a name, not an end");
    assert!(!ballast.exists());

    std::fs::remove_file(foreign).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let mut status = stores.queue.status();
        let well = status.wait_for(|status| status.health == Health::Good && status.ballast.held);
        tokio::time::timeout(Duration::from_secs(120), well).await.expect("it never got well").unwrap();
    });
    stores.stop();
}

#[test]
fn a_small_quota_drops_diagnostics_then_the_oldest_telemetry_and_never_an_alarm() {
    let folder = support::fast_folder();
    let path = folder.path().join("queue.db");
    let mut hand =
        Hand::open(OpenOptions { max_bytes: 96 << 10, ..with_ballast(path.clone(), 1) }, Mono(1_000_000_000))
            .unwrap();
    for n in 1..30 {
        one(&mut hand, 0, n).unwrap();
        one(&mut hand, 2, n).unwrap();
    }
    let mut telemetry = Vec::new();
    for n in 0..600 {
        one(&mut hand, 1, n).unwrap();
        telemetry.push(n);
        let (kept, debug) = (queued(&path, &hand, 1), queued(&path, &hand, 2));
        assert_eq!(kept, telemetry[telemetry.len() - kept.len()..], "the oldest went");
        assert!(debug.is_empty() || kept.len() == telemetry.len(), "diagnostics go first");
    }
    assert!(queued(&path, &hand, 1).len() < 600);
    assert_eq!(queued(&path, &hand, 0), (1..30).collect::<Vec<u64>>());
    assert_eq!(problems(&path), Vec::<String>::new());
    let dropped = hand.status().destination(destination(&hand)).dropped;
    assert_eq!(dropped, 29 + 600 - queued(&path, &hand, 1).len() as u64);
    assert!(std::fs::metadata(&path).unwrap().len() <= 96 << 10);
    let connection = sqlite::open_reader(&path).unwrap();
    let records: i64 = connection.query_row("SELECT count(*) FROM drops", [], |r| r.get(0)).unwrap();
    assert!(records <= 3, "what goes one after the other is one record: {records}");
    let telemetry: (i64, i64, i64) = connection
        .query_row(
            "SELECT d.count, d.first_sequence, d.last_sequence FROM drops AS d JOIN streams AS s ON s.id = d.stream
             WHERE s.class = ?1",
            [Class::Telemetry as i64],
            |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)),
        )
        .unwrap();
    assert_eq!(telemetry.0, telemetry.2 - telemetry.1 + 1, "exactly those");
}

#[test]
fn a_quota_full_of_alarms_refuses_and_says_so_until_they_are_sent() {
    let folder = support::fast_folder();
    let path = folder.path().join("queue.db");
    let mut hand =
        Hand::open(OpenOptions { max_bytes: 64 << 10, ..with_ballast(path.clone(), 1) }, Mono(1_000_000_000))
            .unwrap();
    let mut n = 0;
    let refused = loop {
        match one(&mut hand, 0, n) {
            Ok(()) => n += 1,
            Err(refused) => break refused,
        }
        assert!(n < 1000, "the quota was never reached");
    };
    assert_eq!(refused, Refused::DiskFull);
    assert!(ballast_is_held(&path), "the disk has room: it is the quota that has none");
    assert_eq!(queued(&path, &hand, 0), (0..n).collect::<Vec<u64>>(), "no alarm is given up");
    let rows = waiting(&path, destination(&hand));
    let from = Position::first_of(Class::Alarm);
    let to = rows[rows.len() - 1].position.next_segment();
    hand.settle(support::settlement(0, destination(&hand), from, to, &rows, Outcome::Acknowledged));
    hand.pass(Duration::from_secs(3));
    assert_eq!(hand.status().health, Health::Good);
    one(&mut hand, 0, 5000).unwrap();
    assert_eq!(queued(&path, &hand, 0), [5000]);
    assert_eq!(problems(&path), Vec::<String>::new());
}

#[test]
fn a_file_system_that_turns_read_only_is_a_state_left_when_it_is_repaired() {
    let Some(mount) = Mount::ext4() else { return };
    let path = mount.path();
    let mut hand = Hand::open(with_ballast(path.clone(), 1), Mono(1_000_000_000)).unwrap();
    for n in 1..20 {
        one(&mut hand, 1, n).unwrap();
    }
    let before = hand.status();
    mount.turn_read_only();
    assert_eq!(one(&mut hand, 1, 20), Err(Refused::ReadOnly));
    assert_eq!(hand.status().health, Health::ReadOnly);
    assert_eq!(hand.flush(), Health::ReadOnly, "a flush answers, whatever the disk does");
    hand.pass(Duration::from_secs(3));
    assert_eq!(one(&mut hand, 1, 21), Err(Refused::ReadOnly));
    assert_eq!(hand.status().health, Health::ReadOnly);

    mount.repair();
    hand.pass(Duration::from_secs(3));
    let after = hand.status();
    assert_eq!(after.health, Health::Good);
    assert_eq!((after.file_id, after.epoch), (before.file_id, before.epoch), "the same file, the same epoch");
    assert_eq!(after.generation, before.generation + 1, "whoever reads opens it again, once");
    one(&mut hand, 1, 22).unwrap();
    let expected: Vec<u64> = (1..20).chain([22]).collect();
    let kept = queued(&path, &hand, 1);
    // A commit that failed at its last step may be found on the repaired disk: it is accepted then, not refused.
    let landed: Vec<u64> = kept.iter().copied().filter(|n| !expected.contains(n)).collect();
    assert!(landed.iter().all(|n| [20, 21].contains(n)), "{kept:?}");
    assert_eq!(kept.len(), expected.len() + landed.len());
    let verified = verify::verify(&path).unwrap();
    assert_eq!(verified.problems, Vec::<String>::new());
    let refused = verified.gaps.get(&("refused".into(), "read_only".into())).copied().flatten().unwrap_or(0);
    assert_eq!(refused + landed.len() as u64, 2, "what was refused is on record");
    hand.close();
}

#[test]
fn a_queue_file_that_vanished_under_the_store_is_not_replaced_by_an_empty_one() {
    let Some(mount) = Mount::ext4() else { return };
    let path = mount.path();
    let mut hand = Hand::open(with_ballast(path.clone(), 1), Mono(1_000_000_000)).unwrap();
    one(&mut hand, 1, 1).unwrap();
    mount.turn_read_only();
    assert_eq!(one(&mut hand, 1, 2), Err(Refused::ReadOnly));
    mount.unmount().unwrap();
    // What lies beneath the mount is an empty folder, and writable.
    hand.pass(Duration::from_secs(3));
    assert!(matches!(one(&mut hand, 1, 3), Err(Refused::ReadOnly | Refused::Faulty(_))));
    assert!(!path.exists());
    let image = mount.image.as_ref().unwrap().to_str().unwrap();
    let _ = run("e2fsck", &["-fy", image]);
    mount.mount_image().unwrap();
    hand.pass(Duration::from_secs(3));
    one(&mut hand, 1, 4).unwrap();
    assert_eq!(queued(&path, &hand, 1).last(), Some(&4));
    assert_eq!(problems(&path), Vec::<String>::new());
    hand.close();
}

#[test]
fn a_log_held_long_by_a_reader_comes_back_to_its_size() {
    let folder = support::fast_folder();
    let path = folder.path().join("queue.db");
    let mut hand = Hand::open(options(path.clone(), streams(), &["golioth"], 1), Mono(1)).unwrap();
    one(&mut hand, 1, 1).unwrap();
    let long = sqlite::open_reader(&path).unwrap();
    long.execute_batch("BEGIN; SELECT count(*) FROM segments;").unwrap();
    let log = || std::fs::metadata(sqlite::suffixed(&path, "-wal")).unwrap().len();
    for n in 2..2500 {
        one(&mut hand, 1, n).unwrap();
    }
    assert!(log() > 5 << 20, "the reader keeps the log from being used again");
    drop(long);
    for n in 2500..2510 {
        one(&mut hand, 1, n).unwrap();
    }
    assert!(log() <= 4 << 20, "{} bytes", log());
    // Beside readers that keep their promise it never grows at all.
    let before = log();
    for n in 2510..3500 {
        let mut reader = Reader::open(&path, destination(&hand)).unwrap();
        let at = reader.start(Class::Telemetry);
        reader.pick(Class::Telemetry, at, 10).unwrap();
        one(&mut hand, 1, n).unwrap();
    }
    assert!(log() <= before.max(2 << 20), "{} bytes", log());
}
