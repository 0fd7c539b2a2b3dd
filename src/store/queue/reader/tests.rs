use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::*;
use crate::clock::Wall;
use crate::reading::{Capture, GroupId, Quality, Value};
use crate::store::queue::writer::Command;
use crate::store::queue::{DestinationSpec, OpenOptions, StreamSpec, open};
use crate::store::worker::Machine;

const WALL: Wall = Wall { unix_ms: 1_795_132_800_000, uncertainty_ms: 50, trusted: true };
const NOW: Mono = Mono(1_000_000_000);
/// The first destination of a file.
const CLOUD: DestinationId = DestinationId(0);

/// A file with some segments of telemetry for a destination, closed.
fn file(folder: &Path) -> std::path::PathBuf {
    let path = folder.join("queue.db");
    let stream = StreamSpec {
        name: "t".into(),
        group: "g".into(),
        device: "d".into(),
        class: Class::Telemetry,
        unit: String::new(),
        resolution: None,
        alias: "t".into(),
        routes: vec!["cloud".into()],
        latest_only: false,
    };
    let options = OpenOptions {
        path: path.clone(),
        streams: vec![stream],
        destinations: vec![DestinationSpec { name: "cloud".into() }],
        commit_window: Duration::from_secs(1),
        max_bytes: 8 << 20,
        class_quotas: Default::default(),
        ballast_bytes: 0,
        flash_budget_per_day: None,
        boot: BootId([1; 16]),
        epoch: Epoch(1),
        file_id: 1,
    };
    let mut writer = open::open(options, NOW, WALL).unwrap();
    assert_eq!(writer.destination_ids()[0].0, CLOUD);
    let (stream, group): (StreamId, GroupId) = writer.stream_ids()[0];
    for n in 0..5 {
        let sample = Sample { stream, value: Value::Steps(n), quality: Quality::Good };
        let (reply, _) = oneshot::channel();
        let capture = Capture { group, at: NOW, samples: vec![sample], missing: Vec::new() };
        writer.handle(NOW, Command::Accept { capture, reply });
        let (reply, mut answer) = oneshot::channel();
        writer.handle(NOW, Command::Flush(reply));
        answer.try_recv().unwrap();
    }
    drop(writer);
    Connection::open(&path).unwrap().query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    path
}

/// Spoils the first page of a table.
fn spoil(path: &Path, table: &str) {
    let root: u64 = Connection::open(path)
        .unwrap()
        .query_row("SELECT rootpage FROM sqlite_schema WHERE name = ?1", [table], |r| r.get::<_, i64>(0))
        .unwrap()
        .cast_unsigned();
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(&[0x5a; 1024], (root - 1) * 1024).unwrap();
}

/// A view that keeps what it reports.
fn reporting(path: &Path) -> (Reader, Arc<Mutex<Vec<String>>>) {
    let reports = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&reports);
    let report = Box::new(move |error: &ReadError| told.lock().unwrap().push(error.to_string()));
    (Reader::reporting(path, CLOUD, report).unwrap(), reports)
}

#[test]
fn damage_is_reported_whatever_was_asked() {
    type Ask = fn(&mut Reader) -> bool;
    let asked: [(&str, Ask); 3] = [
        ("gaps", |reader| reader.owed(9).is_err()),
        ("intake", |reader| reader.newest(StreamId(1)).is_err()),
        ("segments", |reader| {
            let first = Position::first_of(Class::Telemetry);
            let end = Position { segment: first.segment + 9, row: 0 };
            reader.first_since(first, end, BootId([1; 16]), NOW).is_err()
        }),
    ];
    for (table, ask) in asked {
        let folder = tempfile::tempdir().unwrap();
        let path = file(folder.path());
        assert!(!ask(&mut reporting(&path).0), "{table} reads while it is whole");
        spoil(&path, table);
        let (mut reader, reports) = reporting(&path);
        assert!(ask(&mut reader), "{table} is spoilt");
        assert_eq!(reports.lock().unwrap().len(), 1, "{table}");
    }
}

#[test]
fn a_record_that_does_not_resolve_is_not_owed_and_keeps_no_other_waiting() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path());
    {
        let file = Connection::open(&path).unwrap();
        let drop = "INSERT INTO drops (destination, stream, reason, count, at_epoch, at_mono_ns) VALUES (0, ?1, 'age', 3, ?2, 5)";
        let stream: i64 = file.query_row("SELECT id FROM streams", [], |r| r.get(0)).unwrap();
        for (stream, epoch) in [(stream, 77), (stream + 70, 1), (stream, 1)] {
            file.execute(drop, (stream, epoch)).unwrap();
        }
        let gap = "INSERT INTO gaps (stream, kind, reason, epoch, count, first_mono_ns, last_mono_ns) VALUES (?1, 'missed', 'silent', ?2, 3, 5, 5)";
        for (stream, epoch) in [(Some(stream), 77), (None, 1)] {
            file.execute(gap, (stream, epoch)).unwrap();
        }
    }
    let (mut reader, reports) = reporting(&path);
    let owed = reader.owed(1).unwrap();
    let losses: Vec<_> = owed
        .new
        .iter()
        .map(|owed| match owed {
            Owed::Loss(loss) => (loss.of, loss.epoch.number, loss.count),
            Owed::Clock(epoch) => panic!("{epoch:?}"),
        })
        .collect();
    assert_eq!(losses, [("dropped", 1, Some(3)), ("missed", 1, Some(3))]);
    assert_eq!(reader.owed(9).unwrap().new.len(), 2);
    assert_eq!(*reports.lock().unwrap(), Vec::<String>::new());
}

/// Two leaves of the segments' tree are put in the place of those behind them. SQLite looks for a number among the keys above and
/// answers with what it finds there.
#[test]
fn a_tree_out_of_order_is_damage_and_no_look_stands_still() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path());
    let first = Position::first_of(Class::Telemetry);
    let root: i64 = {
        let c = Connection::open(&path).unwrap();
        for n in 10..80 {
            let id = first.segment + n;
            let sql = "INSERT INTO segments (id, epoch, routes, rows, first_mono_us, body) VALUES (?1, 1, 0, 1, 0, zeroblob(150))";
            c.execute(sql, [id]).unwrap();
        }
        c.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
        let root = "SELECT rootpage FROM sqlite_schema WHERE name = 'segments'";
        c.query_row(root, [], |r| r.get(0)).unwrap()
    };
    let at = (root.cast_unsigned() - 1) * 1024;
    let disk = std::fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let mut page = [0; 1024];
    disk.read_exact_at(&mut page, at).unwrap();
    assert_eq!(page[0], 5, "an interior page of a table");
    let cell = |n: usize| usize::from(u16::from_be_bytes([page[12 + 2 * n], page[13 + 2 * n]]));
    let child = |n: usize| page[cell(n)..cell(n) + 4].to_vec();
    for (n, moved) in [(3, child(2)), (4, child(3))] {
        disk.write_all_at(&moved, at + cell(n) as u64).unwrap();
    }
    let (mut reader, reports) = reporting(&path);
    let mut disordered = 0;
    for n in 0..80 {
        let from = Position { segment: first.segment + n, row: 0 };
        match reader.pick(Class::Telemetry, from, 9) {
            Ok(picked) => assert!(picked.resume >= Some(from), "{n}: {:?}", picked.resume),
            Err(ReadError::Disordered { .. }) => disordered += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert!(disordered > 0, "the tree is in order");
    assert_eq!(reports.lock().unwrap().len(), disordered);
}
