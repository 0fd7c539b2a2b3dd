//! A queue file may be copied, cloned with its whole disk, or brought back from a backup. Each start draws an epoch, so
//! what is accepted afterwards is told apart everywhere without anybody noticing the copy.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail by panicking")]

#[path = "support/store.rs"]
mod support;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use fieldgate::clock::{Clock, Mono, VirtualClock};
use fieldgate::reading::Class;
use fieldgate::store::queue::{Epoch, Queue};
use support::{BOOT, Hand, Rng, capture, options, problems, spec, steps, waiting};

type Identity = (Epoch, String, u64);

fn open(path: &Path, clock: &Arc<dyn Clock>, epoch: u64) -> Queue {
    let streams = vec![spec("t", "bus", Class::Telemetry, &["golioth"])];
    let (queue, pump) =
        Queue::open_inline(options(path.to_owned(), streams, &["golioth"], epoch), clock).unwrap();
    tokio::spawn(pump);
    queue
}

async fn accept(queue: &Queue, clock: &Arc<dyn Clock>, count: i64) -> BTreeSet<Identity> {
    let (stream, group) = queue.streams()[0];
    let mut identities = BTreeSet::new();
    for n in 0..count {
        let answer = queue.accept(capture(group, clock.mono(), vec![steps(stream, n)])).await.unwrap();
        assert!(identities.insert((answer.epoch, "t".into(), answer.sequence)), "{answer:?}");
    }
    identities
}

fn in_file(path: &Path, queue: &Queue) -> BTreeSet<Identity> {
    let rows = waiting(path, queue.destinations()[0].0);
    let count = rows.len();
    let identities: BTreeSet<Identity> =
        rows.into_iter().map(|r| (r.epoch.epoch, r.stream.name.clone(), r.sequence)).collect();
    assert_eq!(identities.len(), count, "no identity stands twice in one file");
    identities
}

#[tokio::test(start_paused = true)]
async fn one_file_started_in_two_places_repeats_no_identity() {
    let clock: Arc<dyn Clock> = Arc::new(VirtualClock::starting_at(BOOT, support::NO_WALL));
    let mut random = Rng(support::seed("one_file_started_in_two_places_repeats_no_identity"));
    let folder = support::fast_folder();
    let path = folder.path().join("queue.db");
    let original = open(&path, &clock, random.next());
    let before = accept(&original, &clock, 20).await;
    // While it runs, as an image of a running gateway's disk is made.
    let copy = folder.path().join("copy.db");
    support::copy_with_log(&path, &copy);
    original.stop();

    let here = open(&path, &clock, random.next());
    let there = open(&copy, &clock, random.next());
    let (of_here, of_there) = tokio::join!(accept(&here, &clock, 30), accept(&there, &clock, 30));
    assert!(of_here.is_disjoint(&of_there) && of_here.is_disjoint(&before) && of_there.is_disjoint(&before));
    let ids = (here.status().borrow().file_id, there.status().borrow().file_id);
    assert_eq!(ids.0, ids.1, "a cursor into the one is a cursor into the other");
    let (rows_here, rows_there) = (in_file(&path, &here), in_file(&copy, &there));
    assert_eq!(rows_here.intersection(&rows_there).cloned().collect::<BTreeSet<_>>(), before);
    assert_eq!((rows_here.len(), rows_there.len()), (50, 50));
    here.stop();
    there.stop();
    assert_eq!((problems(&path), problems(&copy)), (Vec::new(), Vec::new()));
}

#[tokio::test(start_paused = true)]
async fn a_backup_brought_back_again_and_again_repeats_no_identity() {
    let clock: Arc<dyn Clock> = Arc::new(VirtualClock::starting_at(BOOT, support::NO_WALL));
    let mut random = Rng(support::seed("a_backup_brought_back_again_and_again_repeats_no_identity"));
    let folder = support::fast_folder();
    let (path, backup) = (folder.path().join("queue.db"), folder.path().join("backup.db"));
    let queue = open(&path, &clock, random.next());
    let mut seen = accept(&queue, &clock, 10).await;
    support::copy_with_log(&path, &backup);
    queue.stop();
    for _ in 0..5 {
        support::copy_with_log(&backup, &path);
        let queue = open(&path, &clock, random.next());
        for identity in accept(&queue, &clock, 10).await {
            assert!(seen.insert(identity.clone()), "{identity:?} again");
        }
        assert_eq!(in_file(&path, &queue).len(), 20);
        let status = queue.status().borrow().clone();
        assert_eq!(
            status.previous_epoch.unwrap().1,
            r#"{"bus":10}"#,
            "the first message names what came before"
        );
        queue.stop();
    }
    assert_eq!(seen.len(), 60);
}

#[test]
fn a_random_source_that_repeats_itself_repeats_no_identity_in_one_file() {
    let folder = support::fast_folder();
    let path = folder.path().join("queue.db");
    let mut epochs = BTreeSet::new();
    for start in 0..4 {
        let streams = vec![spec("t", "bus", Class::Telemetry, &["golioth"])];
        let mut hand =
            Hand::open(options(path.clone(), streams, &["golioth"], 77), Mono(1000 + start)).unwrap();
        let (stream, group) = hand.writer.stream_ids()[0];
        let accepted = hand.accept(capture(group, Mono(1000), vec![steps(stream, 1)])).unwrap();
        assert_eq!(Some(accepted.epoch), hand.status().epoch);
        assert!(epochs.insert(accepted.epoch), "epoch {} again", accepted.epoch);
        hand.close();
    }
    assert_eq!(problems(&path), Vec::<String>::new());
}
