//! The promise: an acknowledgement of a path that no pipeline takes loses nothing where a management key is there and the path was
//! never routed; of one whose pipeline goes away, exactly as many readings as are put on record.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail by panicking")]

#[path = "support/drain_bench.rs"]
mod bench;
#[path = "support/store.rs"]
mod support;

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bench::{Bench, HOUR, S, in_virtual_time};
use fieldgate::board::DeliveryState;
use fieldgate::clouds::golioth::delivery::{Entry, Found, PipelineLists, Rules, Streamed, Verified};
use fieldgate::config::{Encoding, OnUnrouted};
use fieldgate::registry::provider::ProviderError;
use fieldgate::uplink::link::Outcome;

const DAY: Duration = Duration::from_secs(86_400);

/// A project: what it drops and lists, and what it keeps.
#[derive(Debug, Default)]
struct Project {
    routed: AtomicBool,
    reachable: AtomicBool,
    looks: AtomicU32,
    /// Grows with each message.
    clock: AtomicU32,
    newest_unmatched: Mutex<Option<i128>>,
    kept: Mutex<Vec<u32>>,
}

impl Project {
    fn new(routed: bool) -> Arc<Self> {
        let project = Self::default();
        project.routed.store(routed, Ordering::Relaxed);
        project.reachable.store(true, Ordering::Relaxed);
        Arc::new(project)
    }

    fn route(&self, routed: bool) {
        self.routed.store(routed, Ordering::Relaxed);
    }

    fn take(&self, values: &[u32]) -> (Duration, Outcome) {
        let now = self.clock.fetch_add(1, Ordering::Relaxed);
        if self.routed.load(Ordering::Relaxed) {
            self.kept.lock().unwrap().extend(values);
        } else {
            *self.newest_unmatched.lock().unwrap() = Some(i128::from(now));
        }
        (S / 5, Outcome::Acknowledged)
    }

    fn looks(&self) -> u32 {
        self.looks.load(Ordering::Relaxed)
    }

    fn kept(&self) -> Vec<u32> {
        let mut kept = self.kept.lock().unwrap().clone();
        kept.sort_unstable();
        kept
    }
}

#[async_trait]
impl PipelineLists for Project {
    async fn look(&self, path: &str) -> Result<Found, ProviderError> {
        assert_eq!(path, "/sensor");
        self.looks.fetch_add(1, Ordering::Relaxed);
        if !self.reachable.load(Ordering::Relaxed) {
            return Err(ProviderError::Unreachable { service: "golioth".into(), detail: "no route".into() });
        }
        let newest = *self.newest_unmatched.lock().unwrap();
        let entry = |unix_ns| Entry { unix_ns, detail: "application/cbor".into() };
        Ok(Found { unmatched: newest.map(entry), failed: None })
    }
}

fn start(project: &Arc<Project>, on_unrouted: OnUnrouted) -> Bench {
    let (taking, lists) = (Arc::clone(project), Arc::clone(project));
    Bench::start_behind(
        move |values, _| taking.take(values),
        move |link, rim, board| {
            let streamed = Streamed { path: "sensor", encoding: Encoding::Rows };
            Verified::new(link, streamed, lists, Rules { every: DAY, on_unrouted }, None, rim, board)
        },
    )
}

fn delivery(bench: &Bench) -> DeliveryState {
    bench.board.deliveries.get("golioth").unwrap().value
}

async fn wait(span: Duration) {
    tokio::time::sleep(span).await;
}

#[test]
fn a_path_that_was_never_routed_loses_nothing_and_is_drained_once_it_is() {
    in_virtual_time(async {
        let project = Project::new(false);
        let bench = start(&project, OnUnrouted::Hold);
        bench.take(0, 0..2000).await;
        wait(30 * S).await;
        assert_eq!((bench.queued(), bench.totals().acknowledged), (2000, 0));
        let told = delivery(&bench);
        assert!(told.unrouted && told.lost == 0, "{told:?}");
        assert!(told.words.contains("/sensor") && told.words.contains("docs/pipelines/rows.yml"), "{told:?}");
        let refuses = bench.board.destinations.get("golioth").unwrap().value.refuses;
        assert!(refuses.unwrap().contains("create and enable a pipeline"));
        wait(6 * HOUR).await;
        assert_eq!(bench.queued(), 2000);
        assert!((2..16).contains(&project.looks()), "less and less often: {}", project.looks());
        project.route(true);
        bench.drained(2 * HOUR).await;
        assert_eq!(project.kept(), (0..2000).collect::<Vec<_>>(), "each once");
        assert!(!delivery(&bench).unrouted);
        bench.finish().await;
    });
}

#[test]
fn a_routed_path_costs_one_look_a_day_and_only_when_something_was_acknowledged() {
    in_virtual_time(async {
        let project = Project::new(true);
        let bench = start(&project, OnUnrouted::Hold);
        wait(3 * DAY).await;
        assert_eq!(project.looks(), 0, "nothing was sent");
        for day in 0..3 {
            for hour in 0..24 {
                bench.take(0, [day * 24 + hour]).await;
                wait(HOUR).await;
            }
        }
        assert_eq!(project.looks(), 3);
        assert_eq!(project.kept().len(), 72);
        bench.finish().await;
    });
}

#[test]
fn a_pipeline_that_goes_away_costs_what_was_acknowledged_since_the_last_look_and_that_is_said() {
    in_virtual_time(async {
        let project = Project::new(true);
        let bench = start(&project, OnUnrouted::Hold);
        bench.take(0, 0..500).await;
        bench.drained(60 * S).await;
        project.route(false);
        bench.take(0, 500..800).await;
        bench.drained(HOUR).await;
        assert_eq!(bench.totals().acknowledged, 800, "the list is not read for a day");
        wait(DAY).await;
        bench.take(0, 800..2000).await;
        wait(HOUR).await;
        let (kept, told) = (project.kept(), delivery(&bench));
        assert_eq!(kept, (0..500).collect::<Vec<_>>());
        assert_eq!(bench.totals().acknowledged, 800, "what came after the look is held");
        assert_eq!((told.unrouted, told.lost), (true, 300), "exactly what is lost: {told:?}");
        project.route(true);
        bench.drained(3 * HOUR).await;
        let expected: Vec<u32> = (0..500).chain(800..2000).collect();
        assert_eq!(project.kept(), expected);
        bench.finish().await;
    });
}

#[test]
fn an_old_entry_of_the_list_delays_the_first_message_and_loses_and_doubles_nothing_else() {
    in_virtual_time(async {
        let project = Project::new(true);
        *project.newest_unmatched.lock().unwrap() = Some(-5);
        let bench = start(&project, OnUnrouted::Hold);
        bench.take(0, 0..100).await;
        bench.drained(300 * S).await;
        let kept = project.kept();
        let mut distinct = kept.clone();
        distinct.dedup();
        assert_eq!(distinct, (0..100).collect::<Vec<_>>());
        assert!(kept.len() <= 200, "the first message is sent once more: {}", kept.len());
        assert!(!delivery(&bench).unrouted);
        bench.finish().await;
    });
}

#[test]
fn a_list_that_cannot_be_read_holds_nothing_and_is_said_to_be_so() {
    in_virtual_time(async {
        let project = Project::new(false);
        project.reachable.store(false, Ordering::Relaxed);
        let bench = start(&project, OnUnrouted::Hold);
        bench.take(0, 0..300).await;
        bench.drained(120 * S).await;
        let told = delivery(&bench);
        assert!(told.words.contains("unverified") && !told.unrouted, "{told:?}");
        project.reachable.store(true, Ordering::Relaxed);
        wait(HOUR).await;
        bench.take(0, 300..400).await;
        wait(60 * S).await;
        let told = delivery(&bench);
        assert_eq!((told.unrouted, told.lost), (true, 300), "{told:?}");
        assert_eq!(bench.queued(), 100);
        bench.finish().await;
    });
}

#[test]
fn who_asked_to_send_all_the_same_is_told_how_much_was_lost() {
    in_virtual_time(async {
        let project = Project::new(false);
        let bench = start(&project, OnUnrouted::Send);
        for n in 0..10 {
            bench.take(0, n * 10..n * 10 + 10).await;
            wait(HOUR).await;
        }
        assert_eq!(bench.queued(), 0);
        let told = delivery(&bench);
        // What was acknowledged after the last look is not yet counted.
        assert!(told.unrouted && (80..=100).contains(&told.lost), "{told:?}");
        assert_eq!(project.kept().len(), 0);
        bench.finish().await;
    });
}
