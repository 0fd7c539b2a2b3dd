use super::*;
use crate::clock::{VirtualClock, Wall};
use crate::store::gateway::tests::rim;

const HOUR: Duration = Duration::from_secs(3600);
const NOON: i64 = 1_795_176_000_000;

fn clock(boot: u8, trusted: bool) -> Arc<dyn Clock> {
    let wall = Wall { unix_ms: NOON, uncertainty_ms: 10, trusted };
    Arc::new(VirtualClock::starting_at(BootId([boot; 16]), wall))
}

/// What two runs may differ in.
#[derive(Clone)]
struct Run {
    clock: Arc<dyn Clock>,
    endpoint: &'static str,
    key: &'static str,
    hardware: Option<&'static str>,
    queue: u64,
    modem: bool,
    credential: [u8; 32],
}

fn run() -> Run {
    let (endpoint, key, hardware) = ("cloud:5684", "key", Some("board-1"));
    Run { clock: clock(1, true), endpoint, key, hardware, queue: 7, modem: true, credential: [3; 32] }
}

fn shelf(folder: &Path, run: &Run) -> (Arc<Shelf>, Rim) {
    let rim = Rim { hardware: run.hardware.map(Into::into), ..rim(&run.clock) };
    let bound = Bound {
        state_dir: folder,
        queue_file_id: run.queue,
        passes_on: true,
        modem: run.modem,
        time_floor_unix_ms: None,
    };
    let secret = Secret::new(run.key.as_bytes().to_vec());
    (Shelf::open(bound, run.endpoint, secret, &rim), rim)
}

/// Whether the run takes up what is there, and if not, why.
fn found(folder: &Path, run: &Run) -> Result<bool, String> {
    shelf(folder, run)
        .0
        .taken(run.credential, &*run.clock)
        .transpose()
        .map(|taken| taken.is_some())
        .map_err(|why| why.to_string())
}

fn leave(folder: &Path, run: &Run, silent: Duration) {
    let (shelf, rim) = shelf(folder, run);
    let observed = KeptObservation {
        request: Watched::Manifest.request(),
        token: Token::new(&[1, 2]).unwrap(),
        newest: Some(9),
    };
    shelf.leave(Kept {
        session: b"the keys".to_vec().into(),
        message_id: 0x1234,
        token: 0x5678,
        observations: vec![observed.into()],
        peer: Some(([192, 0, 2, 1], 5684).into()),
        heard: Moment::ago(&*run.clock, silent),
        credential: run.credential,
        modem: Some([5; 32]),
    });
    shelf.put_away(&rim.random);
}

#[tokio::test(start_paused = true)]
async fn the_next_run_goes_on_where_this_one_stopped_and_the_one_after_finds_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let run = run();
    tokio::time::advance(HOUR).await;
    leave(folder.path(), &run, Duration::from_secs(5));
    let bytes = std::fs::read(folder.path().join(FILE)).unwrap();
    assert!(!bytes.windows(8).any(|bytes| bytes == b"the keys" || bytes == b"115,104,"), "not in clear text");
    let (shelf_of_next, _) = shelf(folder.path(), &run);
    let (kept, silent) = shelf_of_next.taken(run.credential, &*run.clock).unwrap().unwrap();
    assert_eq!(
        (kept.session.as_slice(), kept.message_id, kept.token, kept.modem),
        (b"the keys".as_slice(), 0x1234, 0x5678, Some([5; 32]))
    );
    assert_eq!(silent.as_secs(), 5);
    let (watched, observed) = kept.observations[0].to_kept().unwrap();
    assert_eq!((watched, &observed.request), (Watched::Manifest, &Watched::Manifest.request()));
    assert_eq!(observed.request.max_body, Some(Watched::Manifest.most_bytes()), "with the limit on its size");
    assert_eq!((observed.token.as_bytes(), observed.newest), ([1, 2].as_slice(), Some(9)));
    assert!(shelf_of_next.taken(run.credential, &*run.clock).is_none());
    assert_eq!(found(folder.path(), &run), Ok(false));
}

#[tokio::test(start_paused = true)]
async fn another_key_identity_endpoint_board_or_queue_is_told_by_name_and_leaves_nothing() {
    let sealed = "does not open: the cloud's address or the credential is another";
    for (other, why) in [
        (Run { key: "another", ..run() }, sealed),
        (Run { endpoint: "cloud:5685", ..run() }, sealed),
        (Run { hardware: Some("board-2"), ..run() }, "on another board"),
        (Run { hardware: None, ..run() }, "on another board"),
        (
            Run { credential: [4; 32], ..run() },
            "with another identity, certificate, root, name or list of suites",
        ),
        (Run { queue: 8, ..run() }, "beside another queue file"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        leave(folder.path(), &run(), Duration::ZERO);
        let said = found(folder.path(), &other).unwrap_err();
        assert!(said.contains(why), "{said}");
        assert_eq!(found(folder.path(), &run()), Ok(false), "gone with the refusal");
    }
}

#[tokio::test(start_paused = true)]
async fn a_board_without_a_serial_number_is_told_apart_by_its_modem_alone() {
    for (hardware, modem, needs) in [(None, true, true), (None, false, false), (Some("board-1"), true, false)]
    {
        let folder = tempfile::tempdir().unwrap();
        let run = Run { hardware, modem, ..run() };
        assert_eq!(shelf(folder.path(), &run).0.needs_modem(), needs);
    }
}

#[tokio::test(start_paused = true)]
async fn a_copy_of_the_folder_finds_nothing() {
    let (folder, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    leave(folder.path(), &run(), Duration::ZERO);
    std::fs::copy(folder.path().join(FILE), copy.path().join(FILE)).unwrap();
    let said = found(copy.path(), &run()).unwrap_err();
    assert!(said.contains("is a copy"), "{said}");
    assert_eq!(found(folder.path(), &run()), Ok(true));
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_too_old_or_of_unknown_age_is_not_taken_up() {
    // Whether the next run is of the same boot, and whether it knows the time.
    for (same_boot, knows, silent, taken) in [
        (true, false, SESSION_LIMIT - HOUR, true),
        (true, true, SESSION_LIMIT + HOUR, false),
        (false, true, HOUR, true),
        (false, true, SESSION_LIMIT + HOUR, false),
        (false, false, HOUR, false),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let before = run();
        // So that what is past lies after the boot.
        tokio::time::advance(5 * HOUR).await;
        leave(folder.path(), &before, silent);
        let wall = Wall { unix_ms: NOON + 5 * 3_600_000, uncertainty_ms: 10, trusted: knows };
        let other: Arc<dyn Clock> = Arc::new(VirtualClock::starting_at(BootId([2; 16]), wall));
        let next = Run { clock: if same_boot { before.clock } else { other }, ..run() };
        let found = found(folder.path(), &next);
        assert_eq!(found.is_ok(), taken, "same boot {same_boot}, knows {knows}, silent {silent:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_record_that_is_damaged_is_not_taken_up() {
    let folder = tempfile::tempdir().unwrap();
    leave(folder.path(), &run(), Duration::ZERO);
    let path = folder.path().join(FILE);
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"x", 60).unwrap();
    assert!(found(folder.path(), &run()).is_err());
}

#[tokio::test(start_paused = true)]
async fn a_session_is_as_old_as_it_is_when_it_is_asked_for() {
    let run = run();
    for (hours, taken) in [(2, Some(3)), (3, None)] {
        let folder = tempfile::tempdir().unwrap();
        tokio::time::advance(HOUR).await;
        leave(folder.path(), &run, HOUR);
        let (next, _) = shelf(folder.path(), &run);
        tokio::time::advance(hours * HOUR).await;
        let found = next.taken(run.credential, &*run.clock).unwrap();
        match taken {
            Some(silent_hours) => assert_eq!(found.unwrap().1, silent_hours * HOUR),
            None => assert!(matches!(found, Err(Refused::TooOld(age)) if age == 4 * HOUR), "{found:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_run_has_not_asked_for_is_there_for_the_next_with_its_true_age() {
    let folder = tempfile::tempdir().unwrap();
    let run = run();
    leave(folder.path(), &run, Duration::ZERO);
    let (unused, rim) = shelf(folder.path(), &run);
    tokio::time::advance(HOUR).await;
    unused.put_away(&rim.random);
    assert!(unused.taken(run.credential, &*run.clock).is_none(), "not here as well");
    let (next, rim) = shelf(folder.path(), &run);
    assert_eq!(next.taken(run.credential, &*run.clock).unwrap().unwrap().1, HOUR);
    next.put_away(&rim.random);
    assert_eq!(found(folder.path(), &run), Ok(false), "what was asked for is not put back");
}
