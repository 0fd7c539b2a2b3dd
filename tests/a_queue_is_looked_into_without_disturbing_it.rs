//! The promise: whoever looks into a queue, copies it or takes it along changes nothing, holds no writer back, and is never
//! shown an older state as if it were the newest.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail by panicking")]

#[path = "support/store.rs"]
mod support;

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use fieldgate::clock::sources::{Claim, Source};
use fieldgate::clock::{Clock, Mono, SystemClock};
use fieldgate::daemon::rim::machine;
use fieldgate::reading::{Class, Quality, Sample, Value};
use fieldgate::store::gateway::{Gateway, OpenOptions as OpenGateway};
use fieldgate::store::queue::snapshot::{SnapshotError, snapshot};
use fieldgate::store::queue::writer::Command as Ask;
use fieldgate::store::queue::{OpenOptions, Outcome, Reader, StreamSpec};
use fieldgate::store::worker::Machine as _;
use support::{BOOT, Hand, capture, copy_with_log, options, problems, settlement, spec, steps};

/// 2026-03-01T00:00:00Z at monotonic zero.
const BOOTED: i64 = 1_772_323_200_000;
const AWKWARD: &str = "said \"no\", twice,\r\nand, =left";

struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        let config = format!(
            "[gateway]\nserial = \"gw-1\"\nstate_dir = \"{}\"\n[golioth]\npsk_id = \"gw-1@p\"\n\
             psk_credential = \"golioth-psk\"\n[[mqtt]]\nname = \"plant\"\nbroker = \"mqtt://127.0.0.1\"\n",
            files.0.path().display()
        );
        #[allow(clippy::disallowed_methods, reason = "the test plays the operator")]
        std::fs::write(files.path("fieldgate.toml"), config).unwrap();
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn queue(&self) -> PathBuf {
        self.path("queue.db")
    }

    /// A folder of its own, as on the machine of whoever the copy was sent to.
    fn elsewhere(&self) -> PathBuf {
        let folder = self.path("elsewhere");
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fieldgate"));
        command.arg("--config").arg(self.path("fieldgate.toml")).arg("queue").args(words);
        command.stdin(Stdio::null());
        command
    }

    /// As an operator on a gateway whose daemon has run and is stopped.
    fn operate(&self, words: &[&str]) -> (i32, String, String) {
        std::fs::File::options().write(true).create(true).truncate(false).open(self.path("lock")).unwrap();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new(true, None));
        let rim = machine::rim(Arc::clone(&clock));
        Gateway::open(OpenGateway::in_folder(self.0.path()), &clock, &*rim.random).unwrap().stop();
        self.say(words)
    }

    fn say(&self, words: &[&str]) -> (i32, String, String) {
        let Output { status, stdout, stderr } = self.command(words).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (status.code().unwrap_or(-1), text(stdout), text(stderr))
    }
}

fn listing(folder: &Path) -> Vec<(std::ffi::OsString, u64)> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let mut names: Vec<_> =
        entries.map(|entry| (entry.file_name(), entry.metadata().unwrap().len())).collect();
    names.sort();
    names
}

fn streams() -> Vec<StreamSpec> {
    let say = StreamSpec { resolution: None, ..spec("tank.say", "say", Class::Event, &["golioth"]) };
    vec![spec("tank.level", "tank", Class::Telemetry, &["golioth", "plant"]), say]
}

fn opened(path: PathBuf, epoch: u64) -> Hand {
    let options: OpenOptions = options(path, streams(), &["golioth", "plant"], epoch);
    Hand::open(options, Mono(1_000_000_000)).unwrap()
}

/// Levels 0, 1, 2, … a second apart, each its own commit.
fn levels(hand: &mut Hand, count: i64) {
    let (stream, group) = hand.writer.stream_ids()[0];
    for n in 0..count {
        hand.now = hand.now.plus(std::time::Duration::from_secs(1));
        hand.accept(capture(group, hand.now, vec![steps(stream, n)])).unwrap();
    }
}

/// Ten levels, one awkward text that golioth refused, a dated boot.
fn filled(path: PathBuf) -> Hand {
    let mut hand = opened(path, 5);
    levels(&mut hand, 10);
    let (stream, group) = hand.writer.stream_ids()[1];
    let text = Sample { stream, value: Value::Text(AWKWARD.into()), quality: Quality::Good };
    hand.accept(capture(group, hand.now, vec![text])).unwrap();
    let (golioth, _) = hand.writer.destination_ids()[0];
    let mut reader = Reader::open(&hand.writer.options().path, golioth).unwrap();
    let from = reader.start(Class::Event);
    let picked = reader.pick(Class::Event, from, 10).unwrap();
    let refused = Outcome::SetAside("4.00, too long".into());
    hand.settle(settlement(0, golioth, from, picked.resume.unwrap(), &picked.rows, refused));
    let claim = Claim::new(Source::Ntp, Mono(60_000_000_000), BOOTED + 60_000, 250);
    hand.writer.handle(hand.now, Ask::WallKnown(claim));
    hand.flush();
    hand
}

#[test]
fn a_snapshot_is_looked_into_from_anywhere_and_nothing_is_created_beside_it() {
    let files = Files::new();
    let running = filled(files.queue());
    let copy = files.elsewhere().join("taken along.db");
    let copy = copy.to_str().unwrap();
    let (code, said, trouble) = files.say(&["snapshot", copy]);
    assert_eq!((code, trouble.as_str()), (0, ""), "{said}");
    assert!(said.contains("the whole queue at one moment"), "{said}");
    let before = listing(&files.elsewhere());
    assert_eq!(before.len(), 1, "{before:?}");
    std::fs::remove_file(files.path("fieldgate.toml")).unwrap();
    for words in [
        &["ls"][..],
        &["verify"],
        &["verify", "--json"],
        &["show", "stream", "tank.level"],
        &["show", "set-aside", "1"],
        &["export"],
    ] {
        let (words, file): (Vec<&str>, _) = match words {
            ["show", rest @ ..] => (["show", "--file", copy].iter().chain(rest).copied().collect(), vec![]),
            _ => (words.to_vec(), vec!["--file", copy]),
        };
        let words = [words, file].concat();
        let (code, said, trouble) = files.say(&words);
        assert_eq!((code, trouble.as_str()), (0, ""), "{words:?}: {said}");
        assert!(
            said.contains("tank.level") || said.contains("tank.say") || words[0] == "ls",
            "{words:?}: {said}"
        );
        assert_eq!(listing(&files.elsewhere()), before, "{words:?}");
    }
    running.close();
}

#[test]
fn both_equations_are_told_for_each_destination_stream_and_class() {
    let files = Files::new();
    let running = filled(files.queue());
    let (code, said, _) = files.say(&["verify"]);
    assert_eq!(code, 0, "{said}");
    for line in [
        "golioth: accepted 11 = acknowledged 0 + dropped 0 + set aside 1 + queued 10",
        "plant: accepted 10 = acknowledged 0 + dropped 0 + set aside 0 + queued 10",
        "  tank.level (telemetry): produced 10 = accepted 10 + refused 0 + coalesced 0 + missed 0",
        "    plant: accepted 10 = acknowledged 0 + dropped 0 + set aside 0 + queued 10",
        "  tank.say (event): produced 1 = accepted 1 + refused 0 + coalesced 0 + missed 0",
        "    golioth: accepted 1 = acknowledged 0 + dropped 0 + set aside 1 + queued 0",
        "The books agree with what is there.",
    ] {
        assert!(said.lines().any(|l| l == line), "{line}\n{said}");
    }
    running.close();
    let behind = rusqlite::Connection::open(files.queue()).unwrap();
    behind.execute("UPDATE accounts SET acknowledged = 3 WHERE destination = 1 AND stream = 1", []).unwrap();
    drop(behind);
    let (code, said, _) = files.say(&["verify"]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("accepted 10 IS NOT acknowledged 3"), "{said}");
    let problem = "PROBLEM: plant, tank.level: accepted 10, but acknowledged 3 + dropped 0 + set aside 0 + queued 10 = 13";
    assert!(said.lines().any(|l| l == problem), "{said}");
    assert!(said.contains("The books do not close. Nothing was changed."), "{said}");
}

#[test]
fn a_copy_with_its_log_beside_it_is_refused_and_the_named_remedy_works() {
    let files = Files::new();
    let running = filled(files.queue());
    let copy = files.elsewhere().join("queue.db");
    copy_with_log(&files.queue(), &copy);
    let copy = copy.to_str().unwrap();
    let before = listing(&files.elsewhere());
    for words in [&["ls"][..], &["verify"], &["export"]] {
        let (code, said, trouble) = files.say(&[words, &["--file", copy]].concat());
        assert_eq!((code, said.as_str()), (1, ""), "{words:?}");
        assert!(trouble.contains("has a log beside it"), "{trouble}");
        assert!(trouble.contains(&format!("fieldgate queue snapshot --file {copy} NEW")), "{trouble}");
        assert_eq!(listing(&files.elsewhere()), before, "{words:?}");
    }
    let taken = files.path("new.db");
    let taken = taken.to_str().unwrap();
    assert_eq!(files.say(&["snapshot", "--file", copy, taken]).0, 0);
    let (code, said, _) = files.say(&["verify", "--file", taken]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("golioth: accepted 11 ="), "{said}");
    running.close();
}

/// After a clean stop the file is whole; whoever copies it after the next start copies something older than the log.
#[test]
fn a_copy_whose_log_was_left_behind_is_recognised_whatever_the_daemon_did_before() {
    let files = Files::new();
    for starts_before in 0..3 {
        let mut running = opened(files.queue(), 100 + starts_before);
        levels(&mut running, 3);
        let copy = files.elsewhere().join(format!("copy-{starts_before}.db"));
        std::fs::copy(files.queue(), &copy).unwrap();
        running.close();
        let copy = copy.to_str().unwrap();
        let (code, said, trouble) = files.say(&["verify", "--file", copy]);
        assert_eq!((code, said.as_str()), (1, ""), "after {starts_before} starts");
        assert!(trouble.contains("was not closed by its daemon and its log"), "{trouble}");
        assert!(trouble.contains("fieldgate queue snapshot NEW"), "{trouble}");
        let (code, said, trouble) = files.say(&["verify", "--without-log", "--file", copy]);
        assert_eq!(code, 0, "{said}{trouble}");
        assert!(trouble.contains("this is an older state than the gateway had"), "{trouble}");
    }
    // Closed by its daemon, the file alone is all there is.
    let copy = files.elsewhere().join("whole.db");
    std::fs::copy(files.queue(), &copy).unwrap();
    let (code, said, _) = files.say(&["verify", "--file", copy.to_str().unwrap()]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("plant: accepted 9 ="), "{said}");
}

#[test]
fn a_snapshot_of_a_busy_queue_closes_and_holds_no_writer_back() {
    let files = Files::new();
    let mut running = opened(files.queue(), 7);
    levels(&mut running, 2_000);
    let (stop, during, target) = (AtomicBool::new(false), AtomicU64::new(0), files.path("copy.db"));
    let taken = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                levels(&mut running, 1);
                during.fetch_add(1, Ordering::Relaxed);
            }
            running
        });
        while during.load(Ordering::Relaxed) == 0 {
            std::thread::yield_now();
        }
        let before = during.load(Ordering::Relaxed);
        snapshot(&files.queue(), &target, 0).unwrap();
        let after = during.load(Ordering::Relaxed);
        stop.store(true, Ordering::Relaxed);
        (before, after, writer.join().unwrap())
    });
    let (before, after, running) = taken;
    assert!(after > before + 1, "{} commits while the copy was made", after - before);
    let verified = fieldgate::store::queue::verify::verify(&target).unwrap();
    assert_eq!(verified.problems, Vec::<String>::new());
    let accepted = verified.destinations["plant"].accepted;
    assert!((2_000 + before..=2_000 + after).contains(&accepted), "{accepted}: one moment between the two");
    running.close();
    assert_eq!(problems(&files.queue()), Vec::<String>::new());
}

#[test]
fn a_snapshot_overwrites_nothing_and_says_what_is_in_its_way() {
    let files = Files::new();
    let running = filled(files.queue());
    #[allow(clippy::disallowed_methods, reason = "the test plays the operator")]
    std::fs::write(files.path("mine"), "keep me").unwrap();
    let refused = snapshot(&files.queue(), &files.path("mine"), 0).unwrap_err();
    assert!(matches!(refused, SnapshotError::Exists(_)), "{refused}");
    assert_eq!(std::fs::read_to_string(files.path("mine")).unwrap(), "keep me");
    let refused = snapshot(&files.path("nothing.db"), &files.path("new"), 0).unwrap_err();
    assert!(matches!(refused, SnapshotError::NoSource(_)), "{refused}");
    let refused = snapshot(&files.queue(), &files.path("no/such/folder"), 0).unwrap_err();
    assert!(matches!(refused, SnapshotError::Failed { .. }), "{refused}");
    assert!(!files.path("new").exists() && !files.path("new.partial").exists());
    running.close();
}

#[test]
fn a_restored_snapshot_goes_on_as_a_queue_under_a_new_epoch() {
    let files = Files::new();
    let mut running = filled(files.queue());
    snapshot(&files.queue(), &files.elsewhere().join("queue.db"), 0).unwrap();
    levels(&mut running, 1);
    running.close();
    let mut restored = opened(files.elsewhere().join("queue.db"), 6);
    levels(&mut restored, 2);
    let status = restored.status();
    assert_eq!(status.totals[&(restored.writer.destination_ids()[1].0, Class::Telemetry)].queued, 12);
    restored.close();
    assert_eq!(problems(&files.elsewhere().join("queue.db")), Vec::<String>::new());
}

fn exported(files: &Files, words: &[&str]) -> Vec<serde_json::Value> {
    let (code, said, trouble) = files.say(&[&["export"], words].concat());
    assert_eq!(code, 0, "{words:?}: {trouble}");
    said.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn an_export_gives_every_reading_that_waits_once_a_destination_and_what_is_set_aside() {
    let files = Files::new();
    let running = filled(files.queue());
    let all = exported(&files, &[]);
    assert_eq!(all.len(), 21);
    let values = |lines: &[serde_json::Value]| lines.iter().map(|l| l["value"].clone()).collect::<Vec<_>>();
    let plant = exported(&files, &["--destination", "plant"]);
    let tenths: Vec<serde_json::Value> = (0..10).map(|n| (f64::from(n) / 10.0).into()).collect();
    assert_eq!(values(&plant), tenths);
    assert_eq!(plant[0]["time"], "2026-03-01T00:00:02.000Z");
    assert_eq!(plant[0]["uncertainty_ms"], 250);
    assert_eq!((&plant[0]["sequence"], &plant[0]["boot_us"]), (&1.into(), &2_000_000.into()));
    assert_eq!(plant[0]["boot"], format!("{BOOT:?}"));
    assert_eq!(exported(&files, &["--stream", "tank.level"]).len(), 20);
    assert_eq!(exported(&files, &["--since", "2026-03-01T00:00:09Z", "--destination", "plant"]).len(), 3);
    assert_eq!(exported(&files, &["--since", "2026-03-02"]).len(), 0);
    let aside = exported(&files, &["--only", "set-aside"]);
    assert_eq!(aside.len(), 1);
    assert_eq!(aside[0]["value"], AWKWARD);
    assert_eq!(aside[0]["reason"], "4.00, too long");
    assert_eq!(aside[0]["state"], "set_aside");
    running.close();
}

#[test]
fn an_export_as_csv_reads_back_as_it_was_said() {
    let files = Files::new();
    let running = filled(files.queue());
    let target = files.path("out.csv");
    let (code, said, trouble) = files.say(&["export", "--format", "csv", "-o", target.to_str().unwrap()]);
    assert_eq!((code, said.as_str(), trouble.as_str()), (0, "", ""));
    let mut csv = csv::Reader::from_path(&target).unwrap();
    let titles = csv.headers().unwrap().clone();
    let column = |name: &str| titles.iter().position(|title| title == name).unwrap();
    let rows: Vec<csv::StringRecord> = csv.records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), 21);
    assert_eq!(&rows[20][column("value")], AWKWARD);
    assert_eq!(&rows[20][column("reason")], "4.00, too long");
    assert_eq!(&rows[4][column("value")], "0.2");
    assert_eq!(&rows[4][column("class")], "telemetry");
    let (code, _, trouble) = files.say(&["export", "-o", target.to_str().unwrap()]);
    assert_eq!(code, 1);
    assert!(trouble.contains("an export overwrites nothing"), "{trouble}");
    running.close();
}

#[test]
fn a_reader_of_the_export_that_has_seen_enough_is_no_fault() {
    let files = Files::new();
    let mut running = opened(files.queue(), 7);
    levels(&mut running, 3_000);
    let mut child = files.command(&["export"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut some = [0; 100];
    child.stdout.take().unwrap().read_exact(&mut some).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    running.close();
}

#[test]
fn a_stream_is_shown_with_what_waits_why_and_what_was_lost() {
    let files = Files::new();
    let running = filled(files.queue());
    running.close();
    // Nobody tells the daemon's end: the next start records a gap of an unknown number.
    let killed = opened(files.queue(), 8);
    drop(killed);
    let next = opened(files.queue(), 9);
    let (code, said, _) = files.say(&["show", "stream", "tank.level"]);
    assert_eq!(code, 0, "{said}");
    for words in [
        "stream tank.level: telemetry, group tank, on the wire tank.level",
        "plant: 10 wait, captured from 2026-03-01T00:00:02.000Z to 2026-03-01T00:00:11.000Z",
        "0 readings are sent before it",
        "missed, unclean_stop: an unknown number of all streams",
    ] {
        assert!(said.contains(words), "{words}\n{said}");
    }
    let (_, said, _) = files.say(&["show", "set-aside", "1"]);
    assert!(said.contains("golioth refuses it: 4.00, too long"), "{said}");
    assert!(said.contains(r#"value: "said \"no\", twice,\r\nand, =left""#), "{said}");
    let (code, _, trouble) = files.say(&["show", "tank.level"]);
    assert_eq!(code, 1);
    assert!(trouble.contains("Try: fieldgate queue show stream tank.level"), "{trouble}");
    let (code, _, trouble) = files.say(&["show", "segment", "tank.level"]);
    assert_eq!(code, 2);
    assert!(trouble.contains("If it is a stream: fieldgate queue show stream tank.level"), "{trouble}");
    let (code, _, trouble) = files.say(&["show", "stream", "tank.lvl"]);
    assert_eq!(code, 1);
    assert!(trouble.contains("there is no stream tank.lvl in"), "{trouble}");
    assert!(trouble.contains("It has tank.level, tank.say"), "{trouble}");
    let (_, said, _) = files.say(&["ls"]);
    let (_, rest) = said.split_once("the oldest in segment ").expect("ls names the segment");
    let (id, _) = rest.split_once(' ').unwrap();
    let (code, said, _) = files.say(&["show", "segment", id]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("tank.level number 1: 0 Cel, good; waits for golioth, plant"), "{said}");
    next.close();
}

#[test]
fn an_operator_sends_again_or_gives_up_what_was_set_aside_and_it_is_on_record() {
    let files = Files::new();
    for (words, told, closing) in [
        (&["retry", "1"][..], "1 readings are queued again", "set aside 0 + queued"),
        (
            &["drop", "set-aside", "1"],
            "1 readings that were set aside are given up",
            "dropped 1 + set aside 0",
        ),
        (&["retry", "--all-of", "golioth"], "1 readings are queued again", "set aside 0 + queued"),
    ] {
        let _ = std::fs::remove_file(files.queue());
        filled(files.queue()).close();
        let (code, said, trouble) = files.operate(words);
        assert_eq!((code, trouble.as_str()), (0, ""), "{words:?}: {said}");
        assert!(said.contains(told), "{words:?}: {said}");
        let (code, said, _) = files.say(&["verify"]);
        assert_eq!(code, 0, "{words:?}: {said}");
        let line = said.lines().find(|line| line.starts_with("golioth: ")).unwrap();
        assert!(line.contains(closing), "{words:?}: {line}");
        assert!(!said.contains("unclean_stop"), "{words:?}: {said}");
    }
    let (code, said, trouble) = files.operate(&["retry", "77"]);
    assert_eq!(code, 1, "{said}");
    assert!(trouble.contains("nothing is set aside under the number 77"), "{trouble}");
}

#[test]
fn an_operator_gives_up_a_range_only_after_being_told_what_is_in_it() {
    let files = Files::new();
    filled(files.queue()).close();
    let (_, said, _) = files.say(&["ls"]);
    let (_, rest) = said.split_once("the oldest in segment ").unwrap();
    let first: i64 = rest.split_once(' ').unwrap().0.parse().unwrap();
    let through = (first + 3).to_string();
    let words = ["drop", "waiting", "--destination", "plant", "--class", "telemetry", "--through", &through];
    // Also beside a running daemon: it only looks.
    let lock =
        std::fs::File::options().write(true).create(true).truncate(false).open(files.path("lock")).unwrap();
    lock.lock().unwrap();
    let before = std::fs::read(files.queue()).unwrap();
    let (code, said, trouble) = files.say(&words);
    assert_eq!((code, trouble.as_str()), (0, ""), "{said}");
    assert_eq!(std::fs::read(files.queue()).unwrap(), before, "no start on the file, nothing applied");
    lock.unlock().unwrap();
    assert!(said.contains("4 readings of class telemetry wait for plant"), "{said}");
    assert!(said.contains("Nothing was changed"), "{said}");
    let (code, said, _) = files.operate(&[&words[..], &["--yes"]].concat());
    assert_eq!(code, 0, "{said}");
    let (code, said, _) = files.say(&["verify"]);
    assert_eq!(code, 0, "{said}");
    assert!(
        said.contains("plant: accepted 10 = acknowledged 0 + dropped 4 + set aside 0 + queued 6"),
        "{said}"
    );
    assert!(
        said.contains("golioth: accepted 11 = acknowledged 0 + dropped 0 + set aside 1 + queued 10"),
        "{said}"
    );
    let (_, said, _) = files.say(&["show", "stream", "tank.level"]);
    let expected =
        "dropped for plant: 4 of tank.level, operator, numbers 1 to 4 of epoch 0000000000000005, last ";
    assert!(said.contains(expected), "{said}");
    let (code, _, trouble) = files.operate(&[
        "drop",
        "waiting",
        "--destination",
        "plant",
        "--class",
        "alarm",
        "--through",
        &through,
    ]);
    assert_eq!(code, 1);
    assert!(trouble.contains("is not of class alarm; nothing was changed"), "{trouble}");
}

#[test]
fn nothing_is_changed_while_a_daemon_has_the_lock_and_does_not_answer() {
    let files = Files::new();
    filled(files.queue()).close();
    let lock =
        std::fs::File::options().write(true).create(true).truncate(false).open(files.path("lock")).unwrap();
    lock.lock().unwrap();
    let before = listing(files.0.path());
    for words in [&["retry", "1"][..], &["drop", "set-aside", "1"]] {
        let (code, said, trouble) = files.say(words);
        assert_eq!((code, said.as_str()), (1, ""), "{words:?}");
        assert!(trouble.contains("fieldgate runs, but does not answer at"), "{trouble}");
        assert!(trouble.contains("nothing was changed"), "{trouble}");
    }
    assert_eq!(listing(files.0.path()), before);
}
