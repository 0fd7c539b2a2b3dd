//! Remote calls in `gateway.db`: one is begun once, whatever ends in between, and memory ends too.

use std::time::Duration;

use super::{clock, open, open_with};
use crate::store::gateway::{Begun, CallKey};

fn key(id: &str) -> CallKey {
    CallKey { source: "golioth".into(), id: id.into(), digest: [7; 32] }
}

const NEW: Begun = Begun::New { rebooted: None };

#[tokio::test(start_paused = true)]
async fn a_call_is_new_once_and_answered_from_memory_after_a_restart_too() {
    let dir = tempfile::tempdir().unwrap();
    let gateway = open(dir.path(), 1, 1);
    assert_eq!(gateway.begin_call(&key("a")).await, Ok(NEW));
    assert_eq!(gateway.begin_call(&key("a")).await, Ok(Begun::Before(None)), "how it ended is not known");
    gateway.end_call(&key("a"), 3, Some("{}".into()), false).await.unwrap();
    let known = Begun::Before(Some((3, Some("{}".into()))));
    assert_eq!(gateway.begin_call(&key("a")).await, Ok(known.clone()));
    gateway.stop();
    drop(gateway);
    let gateway = open(dir.path(), 2, 2);
    assert_eq!(gateway.begin_call(&key("a")).await, Ok(known));
    let other = CallKey { digest: [8; 32], ..key("a") };
    assert_eq!(gateway.begin_call(&other).await, Ok(NEW), "another call under the same id");
    let elsewhere = CallKey { source: "plant".into(), ..key("a") };
    assert_eq!(gateway.begin_call(&elsewhere).await, Ok(NEW));
}

#[tokio::test(start_paused = true)]
async fn a_call_is_forgotten_after_an_hour_or_behind_many_others() {
    let dir = tempfile::tempdir().unwrap();
    let clock = clock(1);
    let gateway = open_with(dir.path(), &clock, 1);
    assert_eq!(gateway.begin_call(&key("a")).await, Ok(NEW));
    tokio::time::sleep(Duration::from_secs(3599)).await;
    assert_eq!(gateway.begin_call(&key("a")).await, Ok(Begun::Before(None)));
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(gateway.begin_call(&key("a")).await, Ok(NEW));
    for n in 0..128 {
        gateway.begin_call(&key(&n.to_string())).await.unwrap();
    }
    assert_eq!(gateway.begin_call(&key("a")).await, Ok(NEW), "one of 128 others pushed it out");
}

#[tokio::test(start_paused = true)]
async fn a_reboot_is_never_taken_for_longer_ago_than_is_certain() {
    let dir = tempfile::tempdir().unwrap();
    let clock = clock(1);
    let gateway = open_with(dir.path(), &clock, 1);
    gateway.begin_call(&key("a")).await.unwrap();
    gateway.end_call(&key("a"), 0, None, true).await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    let ago = Some(Duration::from_secs(60));
    assert_eq!(gateway.begin_call(&key("b")).await, Ok(Begun::New { rebooted: ago }));
    gateway.stop();
    drop(gateway);
    // Another boot, switched on after nobody knows how long.
    let gateway = open(dir.path(), 2, 2);
    let Ok(Begun::New { rebooted: Some(ago) }) = gateway.begin_call(&key("c")).await else {
        panic!("no reboot")
    };
    assert!(ago <= Duration::from_secs(61), "{ago:?}");
}
