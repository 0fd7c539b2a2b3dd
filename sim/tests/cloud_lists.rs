//! The gateway's reader of the pipelines' lists against the simulated cloud's management API.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail by panicking")]
#![allow(dead_code, reason = "what the tests share is more than this one needs")]

mod cloud_common;

use cloud_common::live::Live;
use cloud_common::{API_KEY, PROJECT, config};
use fieldgate::clock::SystemClock;
use fieldgate::clouds::golioth::delivery::PipelineLists;
use fieldgate::clouds::golioth::rest::GoliothProvider;
use fieldgate::config::{GoliothRest, OnUnrouted, Secret};
use fieldgate::spend::Purse;
use std::sync::Arc;
use std::time::Duration;

fn provider(live: &Live) -> GoliothProvider {
    let _chosen_already = rustls::crypto::ring::default_provider().install_default();
    let config = GoliothRest {
        url: format!("http://{}", live.http),
        project: PROJECT.to_owned(),
        api_key: Secret::new(API_KEY.as_bytes().to_vec()),
        poll: Duration::from_secs(3600),
        organization: None,
        check_delivery: Duration::from_secs(3600),
        on_unrouted: OnUnrouted::Hold,
    };
    let purse = Purse::unlimited(Arc::new(SystemClock::new(true, None)));
    GoliothProvider::new(&config, "gw", purse).unwrap()
}

async fn post(live: &Live, path: &str, json: &str) {
    live.coap(path, &["-m", "post", "-t", "50", "-e", json]).await.unwrap();
}

#[tokio::test]
async fn what_no_pipeline_took_and_what_failed_is_found_by_its_path() {
    let mut config = config();
    config.routes = Vec::new();
    let live = Live::start_with(config).await;
    let provider = provider(&live);
    let found = provider.look("/sensor").await.unwrap();
    assert!(found.unmatched.is_none() && found.failed.is_none(), "{found:?}");
    post(&live, ".s/sensor", r#"{"n":1}"#).await;
    post(&live, ".s/other", "2").await;
    let found = provider.look("/sensor").await.unwrap();
    assert_eq!(found.unmatched.map(|entry| entry.detail).as_deref(), Some("application/json"));
    assert!(provider.look("/elsewhere").await.unwrap().unmatched.is_none());

    let logs = "filter:\n  path: \"/*\"\nsteps:\n  - destination:\n      type: logs\n";
    live.handle.with(|cloud, now| cloud.add_pipeline(now, "logs", logs)).unwrap();
    post(&live, ".s/other", "3").await;
    assert!(provider.look("/sensor").await.unwrap().failed.is_none(), "another path's failure");
    let found = provider.look("/other").await.unwrap();
    assert_eq!(found.failed.map(|entry| entry.detail).as_deref(), Some("logs: not an object"));
    live.stop().await;
}
