//! The watchdog, over real lanes and a real `gateway.db`, in virtual time: what withholds it, how often, and what a lane
//! that never answers looks like from then on. systemd is played by the test: a process that goes unfed for its limit ends,
//! and the next one begins on the same files.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use tokio_util::sync::CancellationToken;

use super::*;
use crate::board::LaneState;
use crate::config::{self, Secret, SecretRefused, SecretSource, Surroundings};
use crate::daemon::supervisor::Lane;
use crate::store::gateway::tests::{clock, rim as wireless};

/// What the shipped unit says.
const LIMIT: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

fn configured(dir: &Path) -> config::Config {
    struct NoSecrets;
    impl Surroundings for NoSecrets {
        fn host_name(&self) -> &str {
            "gw"
        }
        fn secret(&self, _: &SecretSource) -> Result<Secret, SecretRefused> {
            Err(SecretRefused { what: "None here.".into(), remedy: "Use none.".into() })
        }
    }
    let text = format!(
        "[gateway]\nserial = \"gw\"\nstate_dir = \"{}\"\n[store]\nballast = \"1MiB\"\n\
         [[mqtt]]\nname = \"plant\"\nbroker = \"mqtt://127.0.0.1\"\n",
        dir.display()
    );
    config::parse(&[("watch.toml", &text)], &NoSecrets).unwrap().config
}

/// One process: its lanes, its open files, and whoever feeds its watchdog.
struct Process {
    rim: Rim,
    board: Arc<Board>,
    supervisor: Arc<Supervisor>,
    stores: Stores,
    stop: CancellationToken,
    fed: Arc<AtomicU32>,
    watch: tokio::task::JoinHandle<()>,
}

impl Process {
    fn start(dir: &Path, rim: &Rim, limit: Option<Duration>, lanes: Vec<Lane>) -> Self {
        let (board, stop) = (Board::shared(), CancellationToken::new());
        let stores = Stores::inline(&configured(dir), rim).unwrap();
        let supervisor = Arc::new(Supervisor::new(rim.clone(), Arc::clone(&board), stop.clone()));
        lanes.into_iter().for_each(|lane| supervisor.spawn(lane));
        let fed = Arc::new(AtomicU32::new(0));
        let (watch, count) = (Watch::new(&stores, &supervisor, &board, rim), Arc::clone(&fed));
        let watch = tokio::spawn(async move {
            let feed = || {
                count.fetch_add(1, Ordering::Relaxed);
            };
            let why = watch.keep(limit, feed).await;
            panic!("nothing here ends the process by itself: {why}");
        });
        Self { rim: rim.clone(), board, supervisor, stores, stop, fed, watch }
    }

    /// Runs until the watchdog has gone unfed for the limit, as systemd would let it; returns after how long, if it did.
    async fn runs_for(&self, at_most: Duration) -> Option<Duration> {
        let begun = self.rim.now();
        let (mut fed, mut fed_at) = (self.fed.load(Ordering::Relaxed), begun);
        while self.rim.now() - begun < at_most {
            self.rim.sleep(Duration::from_secs(1)).await;
            let now = self.fed.load(Ordering::Relaxed);
            if now != fed {
                (fed, fed_at) = (now, self.rim.now());
            }
            if self.rim.now() - fed_at > LIMIT {
                return Some(self.rim.now() - begun);
            }
        }
        None
    }

    /// The process is killed: nothing of it gets to say goodbye but the file handles.
    async fn ends(self) {
        self.watch.abort();
        self.stop.cancel();
        self.supervisor.stopped(Duration::from_secs(30)).await;
        self.stores.stop();
    }

    fn lane(&self, name: &str) -> LaneState {
        self.board.lanes.get(name).unwrap().value
    }
}

fn rim() -> Rim {
    wireless(&clock(1))
}

/// A lane that begins and is never heard of again. Counts its lives.
fn mute(name: &str, lives: &Arc<AtomicU32>) -> Lane {
    let lives = Arc::clone(lives);
    Lane::new(name, move |_| {
        lives.fetch_add(1, Ordering::Relaxed);
        std::future::pending()
    })
}

/// A lane that works, a step every ten seconds.
fn well(name: &str, rim: &Rim) -> Lane {
    let rim = rim.clone();
    Lane::new(name, move |progress| {
        let rim = rim.clone();
        async move {
            loop {
                progress.advanced();
                rim.sleep(Duration::from_secs(10)).await;
            }
        }
    })
}

fn excused(process: &Process) -> BTreeSet<String> {
    process.board.lanes.all().into_iter().filter(|(_, l)| l.value.excused).map(|(name, _)| name).collect()
}

#[tokio::test(start_paused = true)]
async fn a_lane_that_never_answers_costs_two_processes_and_is_then_red_and_tried_hourly() {
    let (dir, rim) = (tempfile::tempdir().unwrap(), rim());
    let lives = Arc::new(AtomicU32::new(0));
    for process in 1..=2 {
        let it =
            Process::start(dir.path(), &rim, Some(LIMIT), vec![mute("bus", &lives), well("modem", &rim)]);
        let ended = it.runs_for(HOUR).await.expect("systemd ends it");
        // Silent for a minute, started again, silent for another, unfed for a third.
        assert!((180..200).contains(&ended.as_secs()), "process {process} ended after {ended:?}");
        assert_eq!(excused(&it), BTreeSet::new());
        assert!(!it.lane("bus").fine);
        it.ends().await;
    }

    let third = Process::start(dir.path(), &rim, Some(LIMIT), vec![mute("bus", &lives), well("modem", &rim)]);
    assert_eq!(third.runs_for(Duration::from_secs(300)).await, None);
    let before = lives.load(Ordering::Relaxed);
    for hour in 1..=6u32 {
        assert_eq!(third.runs_for(HOUR + Duration::from_secs(70)).await, None, "hour {hour}");
        let tried = lives.load(Ordering::Relaxed) - before;
        assert!((hour - 1..=hour).contains(&tried), "{tried} lives in {hour} hours");
        assert_eq!(excused(&third), BTreeSet::from(["bus".to_owned()]));
        let lane = third.lane("bus");
        assert!(!lane.fine, "{lane:?}");
    }
    assert!(third.lane("modem").fine, "a lane that hangs takes no other with it");
    assert_eq!(third.lane("modem").restarts, 0);

    // A day after the first restart there is one again, and no more.
    let again = third.runs_for(24 * HOUR).await.expect("the budget of the next day");
    assert!((15..18).contains(&(again.as_secs() / 3600)), "{again:?}");
    third.ends().await;
}

#[tokio::test(start_paused = true)]
async fn a_lane_whose_restart_helps_costs_no_process() {
    let (dir, rim) = (tempfile::tempdir().unwrap(), rim());
    let (lives, own) = (Arc::new(AtomicU32::new(0)), rim.clone());
    let count = Arc::clone(&lives);
    // Every life works for two minutes and then hangs.
    let tiring = Lane::new("tiring", move |progress| {
        let own = own.clone();
        count.fetch_add(1, Ordering::Relaxed);
        async move {
            for _ in 0..12 {
                progress.advanced();
                own.sleep(Duration::from_secs(10)).await;
            }
            std::future::pending().await
        }
    });
    let it = Process::start(dir.path(), &rim, Some(LIMIT), vec![tiring]);
    assert_eq!(it.runs_for(2 * HOUR).await, None);
    assert!(lives.load(Ordering::Relaxed) > 10);
    assert!(it.supervisor.helpless().is_empty());
    assert_eq!(it.stores.gateway.restarts().await.unwrap(), []);
    it.ends().await;
}

#[tokio::test(start_paused = true)]
async fn an_excused_lane_that_gets_going_is_like_any_other() {
    let (dir, rim) = (tempfile::tempdir().unwrap(), rim());
    let (mended, own) = (Arc::new(AtomicBool::new(false)), rim.clone());
    let seen = Arc::clone(&mended);
    let lane = Lane::new("bus", move |progress| {
        let (seen, own) = (Arc::clone(&seen), own.clone());
        async move {
            while seen.load(Ordering::Relaxed) {
                progress.advanced();
                own.sleep(Duration::from_secs(10)).await;
            }
            std::future::pending().await
        }
    });
    // Nobody watches: a restart of the process is not to be had.
    let it = Process::start(dir.path(), &rim, None, vec![lane]);
    it.runs_for(Duration::from_secs(600)).await;
    assert_eq!(excused(&it), BTreeSet::from(["bus".to_owned()]));
    assert_eq!(it.stores.gateway.restarts().await.unwrap(), []);
    mended.store(true, Ordering::Relaxed);
    it.runs_for(HOUR + Duration::from_secs(120)).await;
    assert_eq!(excused(&it), BTreeSet::new());
    assert!(it.lane("bus").fine);
    it.ends().await;
}

#[tokio::test(start_paused = true)]
async fn a_restart_that_cannot_be_put_on_record_is_not_made() {
    let (dir, rim) = (tempfile::tempdir().unwrap(), rim());
    let it = Process::start(dir.path(), &rim, Some(LIMIT), vec![mute("bus", &Arc::default())]);
    it.stores.gateway.stop();
    assert_eq!(it.runs_for(6 * HOUR).await, None);
    assert_eq!(excused(&it), BTreeSet::from(["bus".to_owned()]));
    it.ends().await;
}

#[tokio::test(start_paused = true)]
async fn a_lane_whose_keeper_is_no_more_stops_the_supervisors_turn_and_ends_the_process() {
    let (dir, rim) = (tempfile::tempdir().unwrap(), rim());
    let mut lives = 0;
    // The builder runs in the keeper, not in the lane: its panic takes the keeper along.
    let lane = Lane::new("bus", move |_| {
        lives += 1;
        assert!(lives < 2, "built only once");
        std::future::pending()
    });
    let it = Process::start(dir.path(), &rim, Some(LIMIT), vec![lane, well("modem", &rim)]);
    let ended = it.runs_for(HOUR).await.expect("the supervisor stands still");
    assert!(ended < Duration::from_secs(400), "{ended:?}");
    assert_eq!(it.stores.gateway.restarts().await.unwrap(), [], "it is not held against the lane");
    it.ends().await;
}

#[tokio::test(start_paused = true)]
async fn writers_at_work_are_said_to_be_so() {
    let (dir, rim) = (tempfile::tempdir().unwrap(), rim());
    let it = Process::start(dir.path(), &rim, Some(LIMIT), vec![well("modem", &rim)]);
    assert_eq!(it.runs_for(LIMIT).await, None);
    let writers = it.board.writers.all();
    let said: Vec<_> = writers.iter().map(|(name, w)| (name.as_str(), w.value.phase)).collect();
    assert_eq!(said, [("gateway.db", WriterPhase::Working), ("queue.db", WriterPhase::Working)]);
    it.ends().await;
}
